"""The Responses API: what of an answer is content, tokens and an error; what is sent; and a run by it from end to end."""

import asyncio
import contextlib
import http.client
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import running
import runs
from ptubench.client.exchange import Exchange
from ptubench.client.make import make_client
from ptubench.engine.probe import probe
from ptubench.errors import TargetRefused, UsageError
from ptubench.load import fit
from ptubench.load.plan import make_plan
from ptubench.record import Attempt
from ptubench.sim import responses as simulated_responses
from ptubench.sim.deployment import Call, Deployment
from ptubench.sim.options import parse
from ptubench.sim.script import Do, chunked, document
from ptubench.stream.answer import BadEvent
from ptubench.stream.apis import APIS
from ptubench.stream.responses import Answer, BodyMaker, as_input
from ptubench.target.model import Target
from ptubench.workload.model import Class, Fixed, Messages, OpenLoop, Stage, Timeouts, Uniform, Workload
from runs import ok
from servers import fault_server, script_server
from simulated import PATIENCE, simulated

pytestmark = pytest.mark.alone

# --- the parser


def answer(*events):
    """An answer whose events arrive one second apart, the first at 1."""
    seen = Answer()
    for at, event in enumerate(events, 1):
        seen.event(event if isinstance(event, bytes) else json.dumps(event).encode(), float(at))
    return seen


def event(kind, **fields):
    return {"type": f"response.{kind}", "sequence_number": 0, **fields}


def text(delta=" hi"):
    return event("output_text.delta", item_id="m", output_index=0, content_index=0, delta=delta, logprobs=[])


def last(status="completed", **fields):
    return event(status, response={"id": "resp_1", "status": status, "model": "gpt-4.1-2025-04-14", **fields})


USAGE = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 896},
    "output_tokens": 64,
    "output_tokens_details": {"reasoning_tokens": 10},
}
NO_CONTENT = [
    event("created", response={"status": "in_progress", "output": []}),
    event("in_progress", response={"status": "in_progress", "usage": None}),
    event("queued", response={"status": "queued"}),
    event("output_item.added", item={"type": "message", "content": []}),
    event("content_part.added", part={"type": "output_text", "text": ""}),
    event("output_text.delta", delta=""),
    event("output_text.delta"),
    event("output_text.annotation.added", annotation={"type": "url_citation"}),
    event("output_text.done", text="the whole text"),
    event("reasoning_summary_text.done", text="the whole summary"),
    event("function_call_arguments.done", arguments="{}"),
    event("web_search_call.searching"),
    event("audio.delta", delta="UklGRg=="),
    event("of_tomorrow.delta", delta={"op": "add"}),
    last(usage=USAGE),
    {},
    b"[DONE]",
]


@pytest.mark.parametrize(
    "one", NO_CONTENT, ids=lambda one: one.get("type", "{}") if isinstance(one, dict) else str(one)
)
def test_an_event_without_text_is_no_content(one):
    seen = answer(one)

    assert (seen.content_events, seen.first_content, seen.last_content) == (0, None, None)


OUTPUT = ["output_text", "refusal", "function_call_arguments", "custom_tool_call_input", "mcp_call_arguments"]


@pytest.mark.parametrize("kind", OUTPUT)
def test_a_delta_of_text_refusal_or_arguments_is_content_and_output(kind):
    seen = answer(event("created", response={}), event(f"{kind}.delta", delta="x"))

    assert (seen.content_events, seen.first_content, seen.first_output, seen.last_content) == (1, 2.0, 2.0, 2.0)


@pytest.mark.parametrize("kind", ["reasoning_text", "reasoning_summary_text"])
def test_reasoning_is_content_but_not_yet_output(kind):
    seen = answer(event(f"{kind}.delta", delta="hmm"), event(f"{kind}.delta", delta="so"), text("42"))

    assert (seen.first_content, seen.first_output, seen.last_content, seen.content_events) == (1.0, 3.0, 3.0, 3)


def test_the_last_event_brings_tokens_and_model_and_does_not_extend_the_answer():
    seen = answer(text(), text(), event("output_text.done", text="hihi"), last(usage=USAGE), b"[DONE]")

    assert (seen.prompt_tokens, seen.cached_tokens, seen.completion_tokens, seen.reasoning_tokens) == (
        1000,
        896,
        64,
        10,
    )
    assert (seen.model, seen.last_content, seen.done) == ("gpt-4.1-2025-04-14", 2.0, True)


@pytest.mark.parametrize(
    ("ending", "finish", "done"),
    [
        (last(), "stop", True),
        (last("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length", True),
        (last("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter", True),
        (last("incomplete", incomplete_details=None), "incomplete", True),
        (last("failed", error={"code": "server_error", "message": "no"}), None, True),
        (b"[DONE]", None, False),
        (event("output_text.done", text=" hi"), None, False),
    ],
    ids=str,
)
def test_only_a_last_event_ends_an_answer_and_its_reason_has_the_name_that_chat_gives_it(ending, finish, done):
    seen = answer(text(), ending)

    assert (seen.finish, seen.done) == (finish, done)


RATE = {"type": "too_many_requests", "code": "rate_limit_exceeded", "message": "Slow down."}
SERVER = {"code": "server_error", "message": "It broke."}


@pytest.mark.parametrize(
    ("events", "said", "throttled"),
    [
        ([last("failed", error=RATE)], "rate_limit_exceeded: Slow down.", True),
        ([last("failed", error=None), {"type": "error", "error": RATE}], "rate_limit_exceeded: Slow down.", True),
        ([{"type": "error", "error": RATE}, last("failed", error=RATE)], "rate_limit_exceeded: Slow down.", True),
        ([{"type": "error", "error": RATE}, last("failed", error=None)], "rate_limit_exceeded: Slow down.", True),
        ([{"type": "error", "code": "429", "message": "Busy"}], "429: Busy", True),
        ([{"type": "error", "code": 429, "message": "Busy"}], "429: Busy", True),
        ([{"error": {"type": "too_many_requests", "message": "Busy"}}], "Busy", True),
        ([last("failed", error=SERVER)], "server_error: It broke.", False),
        ([{"type": "error", "code": None, "message": "It broke."}], "It broke.", False),
        ([last("failed", error=None)], "the response ended as failed, without a reason", False),
        ([{"type": "error"}], "an error without a reason", False),
    ],
    ids=str,
)
def test_an_error_is_told_in_one_line_and_a_rate_limit_among_them_known(events, said, throttled):
    seen = answer(event("created", response={"status": "in_progress"}), *events)

    assert (seen.error, seen.throttled) == (said, throttled)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nothing",
        b"[1]",
        b'{"type": 7}',
        b'{"type": "response.completed", "response": 7}',
        b'{"type": "response.completed", "response": {"usage": {"output_tokens": -1}}}',
        b"\xff\xfe",
        b"[" * 100000,
    ],
    ids=lambda data: repr(data[:50]),
)
def test_what_is_no_response_is_a_bad_event(data):
    with pytest.raises(BadEvent):
        Answer().event(data, 1.0)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "usage", "output", "content"]), inner),
)
_FIELDS = ["delta", "response", "error", "code", "message", "status", "output", "usage", "incomplete_details", "model"]
_EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["response.output_text.delta", "response.completed", "response.failed", "error", ""])},
    optional=dict.fromkeys(_FIELDS, _JSON),
)


@given(st.binary() | st.text().map(str.encode) | (_JSON | _EVENTS).map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_event_or_a_bad_event(data):
    with contextlib.suppress(BadEvent):
        Answer().event(data, 1.0)
    with contextlib.suppress(BadEvent):
        Answer().whole(data, 1.0)


def whole(status="completed", output=(), **fields):
    seen = Answer()
    seen.whole(json.dumps({"object": "response", "status": status, "output": list(output), **fields}).encode(), 9.0)
    return seen


MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
HIDDEN = {"type": "reasoning", "summary": []}


@pytest.mark.parametrize(
    ("output", "held"),
    [
        ([MESSAGE], (1, 9.0, 9.0)),
        ([HIDDEN, MESSAGE], (1, 9.0, 9.0)),
        ([{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}], (1, 9.0, 9.0)),
        ([{"type": "function_call", "arguments": "{}"}], (1, 9.0, 9.0)),
        ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]}], (1, 9.0, None)),
        ([HIDDEN], (0, None, None)),
        ([{"type": "message", "content": []}, None, 7], (0, None, None)),
        ([], (0, None, None)),
    ],
    ids=str,
)
def test_content_of_an_answer_that_was_not_streamed(output, held):
    seen = whole(output=output)

    assert (seen.content_events, seen.first_content, seen.first_output) == held


def test_tokens_and_end_of_an_answer_that_was_not_streamed():
    cut = whole("incomplete", [MESSAGE], incomplete_details={"reason": "max_output_tokens"}, usage=USAGE)
    failed = whole("failed", error=RATE)

    assert (cut.finish, cut.prompt_tokens, cut.completion_tokens, cut.done) == ("length", 1000, 64, True)
    assert (failed.error, failed.throttled) == ("rate_limit_exceeded: Slow down.", True)


# --- what is sent

USER = {"role": "user", "content": "x"}


def test_a_body_carries_input_limit_stream_and_parameters_where_this_api_has_them():
    parameters = {"temperature": 0.5, "reasoning_effort": "low", "reasoning": {"summary": "auto"}, "verbosity": "low"}
    maker = BodyMaker(model="d", limit_field="max_output_tokens", stream=True, parameters=parameters)

    assert json.loads(maker.body(json.dumps([USER]).encode(), 20)) == {
        "input": [USER],
        "max_output_tokens": 20,
        "model": "d",
        "temperature": 0.5,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
        "stream": True,
    }
    assert parameters["reasoning"] == {"summary": "auto"}


def test_a_body_without_limit_or_stream_says_nothing_of_them():
    maker = BodyMaker(model="d", limit_field="max_output_tokens", stream=False, parameters={})

    assert json.loads(maker.body(json.dumps([USER]).encode(), None)) == {"input": [USER], "model": "d"}


CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}


@pytest.mark.parametrize(
    ("message", "items"),
    [
        ({"role": "system", "content": "Be brief."}, [{"role": "system", "content": "Be brief."}]),
        ({"role": "user", "name": "ann", "content": "x"}, [USER]),
        (
            {"role": "user", "content": [{"type": "text", "text": "what?"}, IMAGE]},
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "what?"},
                        {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "auto"},
                    ],
                }
            ],
        ),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "so"}]},
            [{"role": "assistant", "content": [{"type": "output_text", "text": "so"}]}],
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            [{"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}"}],
        ),
        (
            {"role": "tool", "tool_call_id": "call_1", "content": "7"},
            [{"type": "function_call_output", "call_id": "call_1", "output": "7"}],
        ),
    ],
    ids=str,
)
def test_chat_messages_become_input_items(message, items):
    assert json.loads(as_input(json.dumps([message]).encode())) == items


@given(_JSON, _JSON)
def test_any_messages_become_input_or_one_sentence(content, calls):
    messages = [{"role": "assistant", "content": content, "tool_calls": calls}, {"role": "tool", "content": content}]
    try:
        made = as_input(json.dumps(messages).encode())
    except ValueError as exc:
        made = json.dumps(str(exc))

    assert json.loads(made)


def shaped(**shape):
    return Workload(
        name="mine",
        classes=(Class(**{"prompt": Fixed(tokens=32), "completion": Fixed(tokens=20), **shape}),),
        load=OpenLoop(stages=(Stage(value=50, seconds=1),)),
        duration=1.0,
        warmup=0.0,
    )


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}], "max_tokens": 20},
            "the Responses API has no counterpart of a part of type `input_audio`; change the line, or use --api chat",
        ),
        (
            {"messages": [{"role": "function", "content": "x"}], "max_tokens": 20},
            "the Responses API knows no role `function`; change the line, or use --api chat",
        ),
        (
            {"messages": [USER], "max_tokens": 8},
            "the line's output limit is 8, and Responses takes none under 16; set `output_limit: 16`, or use --api chat",
        ),
    ],
    ids=str,
)
def test_a_line_that_has_no_form_in_this_api_is_named_before_anything_is_sent(tmp_path, line, sentence):
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({"messages": [USER], "max_tokens": 20}) + "\n" + json.dumps(line))
    workload = shaped(prompt=None, completion=None, messages=Messages(file=str(file)))
    plan = make_plan(workload)
    fit.check(plan, APIS["chat"])

    with pytest.raises(UsageError) as raised:
        fit.check(plan, APIS["responses"])

    assert str(raised.value) == f"{file}:2: {sentence}"


def test_a_limit_that_the_service_would_refuse_is_refused_and_a_drawn_one_raised():
    with pytest.raises(UsageError) as raised:
        fit.check(make_plan(shaped(completion=Fixed(tokens=1))), APIS["responses"])
    fit.check(make_plan(shaped(completion=Fixed(tokens=1), limit=Fixed(tokens=16))), APIS["responses"])
    fit.check(make_plan(shaped(completion=Fixed(tokens=1), unlimited=True)), APIS["responses"])
    drawn = shaped(completion=Uniform(min=1, max=30))
    plan = make_plan(drawn, least_limit=APIS["responses"].least_limit)
    fit.check(plan, APIS["responses"])
    requests = [plan.request(i) for i in range(50)]

    assert str(raised.value) == (
        "mine: the output limit is 1, and Responses takes none under 16; set `output_limit: 16`, or use --api chat"
    )
    assert [r.limit for r in requests] == [max(r.completion, 16) for r in requests]
    assert min(r.completion for r in requests) < 16


# --- clients


def sse(*events):
    """Events as the service frames them, each a write of its own."""
    for one in events:
        yield f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode()
        if one["type"].endswith(".delta"):
            yield Do.CONTENT


def stream(*events, **headers):
    begun = event("created", response={"status": "in_progress", "model": "m"})
    return lambda _ask: chunked(sse(begun, *events), {name.replace("_", "-"): text for name, text in headers.items()})


def send(kind, url, *, stream=True):
    async def once():
        client = make_client(
            kind,
            url=url,
            api="responses",
            headers={},
            timeouts=Timeouts(connect=1.0, first_byte=1.0, idle=1.0, total=5.0),
            stream=stream,
            ca_file=None,
            env={},
            max_connections=1,
        )
        exchange = Exchange()
        await client.send(b'{"input":"hi"}', exchange)
        await client.close()
        return exchange

    return asyncio.run(once())


def outcome(exchange):
    told = {"failure": exchange.failure, "status": exchange.status, "flags": exchange.flags}
    return Attempt(index=0, scheduled=0.0, taken=0.0, **told).outcome


BY_EVENTS = {
    "completed": ([text(), text(), last(usage=USAGE)], ("ok", None, ())),
    "incomplete": ([text(), last("incomplete", incomplete_details={"reason": "max_output_tokens"})], ("ok", None, ())),
    "reasoning only": ([last("incomplete", usage=USAGE)], ("failed", "empty", ())),
    "no last event": ([text()], ("failed", "broken_stream", ())),
    "failed": ([text(), last("failed", error=SERVER)], ("failed", "stream_error", ())),
    "error": ([text(), {"type": "error", "code": "server_error", "message": "no"}], ("failed", "stream_error", ())),
    "throttled": ([last("failed", error=RATE)], ("throttled", None, ("throttled_in_band",))),
    "throttled, as Azure says it": (
        [last("failed", error=None), {"type": "error", "error": RATE}],
        ("throttled", None, ("throttled_in_band",)),
    ),
    "wrong shape": ([text(), event("completed", response=[])], ("failed", "bad_event", ())),
}


@pytest.mark.parametrize("kind", ["timed", "httpx"])
@pytest.mark.parametrize("name", BY_EVENTS)
def test_every_ending_has_its_outcome_in_each_client(name, kind):
    events, expected = BY_EVENTS[name]
    with script_server(stream(*events)) as server:
        exchange = send(kind, f"{server.base}/openai/v1/responses")
        (played,) = server.log

    assert (outcome(exchange), exchange.failure, exchange.flags) == expected
    assert exchange.answer.content_events == len(played.contents)
    if played.contents:
        assert played.contents[-1] <= exchange.answer.last_content <= exchange.end


def test_a_429_inside_a_stream_keeps_what_its_headers_ask_for():
    with script_server(stream(last("failed", error=RATE), retry_after="2", retry_after_ms="1500")) as server:
        exchange = send("timed", f"{server.base}/openai/v1/responses")

    assert exchange.headers == {"retry-after": "2", "retry-after-ms": "1500", "apim-request-id": "5c0f1e9a"} | {
        "x-ms-region": "Nowhere"
    }
    assert exchange.error == "rate_limit_exceeded: Slow down."


@pytest.mark.parametrize("kind", ["timed", "httpx"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "completed", "output": [MESSAGE], "usage": USAGE}, ("ok", None, 64)),
        ({"status": "failed", "output": [], "error": SERVER}, ("failed", "stream_error", None)),
        ({"status": "failed", "output": [], "error": RATE}, ("throttled", None, None)),
        ({"status": "incomplete", "output": [HIDDEN], "usage": USAGE}, ("failed", "empty", 64)),
        ([], ("failed", "bad_event", None)),
    ],
    ids=str,
)
def test_every_whole_answer_has_its_outcome_in_each_client(body, expected, kind):
    with script_server([document(200, json.dumps(body).encode())]) as server:
        exchange = send(kind, f"{server.base}/openai/v1/responses", stream=False)

    assert (outcome(exchange), exchange.failure, exchange.answer.completion_tokens) == expected


def test_a_client_of_the_users_own_tells_tokens_as_this_api_does(tmp_path, monkeypatch):
    (tmp_path / "own_responses.py").write_text(
        "async def ask(call):\n"
        "    assert call.body['input']\n"
        "    yield 'one '\n"
        "    yield {'input_tokens': 8, 'output_tokens': 2, 'output_tokens_details': {'reasoning_tokens': 1}}\n"
    )
    monkeypatch.chdir(tmp_path)
    exchange = send("own_responses:ask", "http://127.0.0.1:9/v1/responses")

    assert exchange.failure is None
    assert (exchange.answer.prompt_tokens, exchange.answer.completion_tokens) == (8, 2)
    assert exchange.answer.reasoning_tokens == 1


# --- a summary of the reasoning


@pytest.mark.parametrize("kind", ["timed", "httpx"])
def test_a_summary_is_flagged_since_it_is_not_the_reasoning_that_was_counted(kind):
    shown = event("reasoning_text.delta", delta="hm")
    told_of = event("reasoning_summary_text.delta", delta="I thought.")
    scripts = {"/a": stream(told_of, text(), last(usage=USAGE)), "/b": stream(shown, text(), last(usage=USAGE))}
    with script_server(scripts) as server:
        flags = [send(kind, server.base + path).flags for path in scripts]

    assert flags == [("reasoning_summary",), ()]


def test_tokens_behind_a_summary_are_timed_from_the_first_of_them(tmp_path):
    # Thought for 8 s, of which a summary told after 2; then 20 tokens in 4 s.
    usage = {"completion_tokens": 100, "reasoning_tokens": 80, "flags": ("reasoning_summary",)}
    rows = [ok(i, 12.0 + i, ttft=2.0, e2e=12.0, first_output=20.0 + i, **usage) for i in range(36)]
    metrics = runs.summary(tmp_path, *rows)["metrics"]

    assert metrics["tbt"]["p50"] == pytest.approx(4 / 19)
    assert metrics["ttft"]["p50"] == pytest.approx(2)
    assert metrics["ttfo"]["p50"] == pytest.approx(8)
    assert metrics["tpm"]["completion"] == pytest.approx(36 * 100)


def test_one_event_behind_a_summary_has_no_time_between_tokens(tmp_path):
    usage = {"completion_tokens": 100, "reasoning_tokens": 80, "flags": ("reasoning_summary",)}
    rows = [ok(i, 12.0 + i, ttft=2.0, e2e=8.0, first_output=20.0 + i, **usage) for i in range(36)]

    assert runs.summary(tmp_path, *rows)["metrics"]["tbt"]["count"] == 0


# --- the probe


def probed(url, api="responses"):
    target = Target(kind="azure", style="v1", endpoint=url, url=url, api=api, deployment="d", body_model="d")
    timeouts = Timeouts(connect=1.0, first_byte=1.0, idle=0.3, total=5.0)

    def make():
        given = {"headers": {}, "timeouts": timeouts, "stream": True, "ca_file": None, "env": {}, "max_connections": 1}
        return make_client("timed", url=url, api=api, **given)

    return asyncio.run(probe(make, target, shaped()))


def test_the_probe_asks_once_with_the_limits_only_name():
    with script_server(stream(text(), last(usage=USAGE | {"output_tokens": 2}))) as server:
        found = probed(f"{server.base}/openai/v1/responses")
        bodies = [json.loads(played.ask.body) for played in server.log]

    assert (found.limit_field, found.model, found.warning) == ("max_output_tokens", "m", None)
    assert [(body["max_output_tokens"], body["input"][0]["role"]) for body in bodies] == [(16, "user")]


def test_a_deployment_that_is_busy_in_band_is_only_a_warning():
    with script_server(stream(last("failed", error=RATE))) as server:
        found = probed(f"{server.base}/openai/v1/responses")

    assert found.warning == "the probe call was answered 429: the deployment is busy before the load has begun"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "http_404",
            "check --deployment, --endpoint and --api-style, and that model, region and API version offer Responses",
        ),
        ("html", "check --endpoint and --api-style: this is no Responses address"),
    ],
)
def test_an_address_without_this_api_is_one_sentence_with_the_way_out(kind, said):
    with fault_server(kind) as server, pytest.raises(TargetRefused) as raised:
        probed(server.url)

    assert str(raised.value).endswith(f"; {said}")


# --- the simulated deployment

PLAIN = "/openai/v1/responses"


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    with simulated(tmp_path_factory.mktemp("sim"), model="o3", ptu=200, reasoning=4) as running_one:
        yield running_one


def ask(sim, path=PLAIN, **fields):
    """Status, headers and body of one exchange."""
    body = {"model": "mine", "input": "one two, in 5 tokens.", **fields}
    connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body))
        got = connection.getresponse()
        return got.status, {name.lower(): value for name, value in got.getheaders()}, got.read()


def told(body):
    """The events of a stream; the name before each must be its type."""
    pairs = [part.split(b"\n") for part in body.split(b"\n\n") if part]
    events = [json.loads(data.removeprefix(b"data: ")) for _, data in pairs]
    assert [name for name, _ in pairs] == [f"event: {one['type']}".encode() for one in events]
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    return events


OPENING = ["response.created", "response.in_progress", "response.output_item.added"]
WORDS = [" the", " river", " runs", " past", " quiet"]
MESSAGE_EVENTS = [
    "response.output_item.added",
    "response.content_part.added",
    *["response.output_text.delta"] * 5,
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


@pytest.mark.parametrize("path", [PLAIN, "/v1/responses", "/openai/responses?api-version=2025-04-01-preview"])
def test_a_stream_has_azures_order_of_events(sim, path):
    status, headers, body = ask(sim, path, stream=True)
    events = told(body)
    final = events[-1]["response"]

    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["x-ms-deployment-name"], headers["x-ptubench-simulated"]) == ("mine", "o3:200")
    assert [one["type"] for one in events] == [*OPENING, "response.output_item.done", *MESSAGE_EVENTS]
    assert [one["delta"] for one in events if one["type"].endswith(".delta")] == WORDS
    assert (final["status"], final["output"][1]["content"][0]["text"]) == ("completed", "".join(WORDS))
    assert final["usage"]["input_tokens"] == 7 + 5 + 1
    assert (final["usage"]["output_tokens"], final["usage"]["output_tokens_details"]) == (9, {"reasoning_tokens": 4})


def test_a_summary_of_the_reasoning_is_streamed_only_when_asked_for(sim):
    _, _, body = ask(sim, stream=True, reasoning={"effort": "low", "summary": "auto"})
    events = told(body)
    kinds = [one["type"] for one in events]

    assert kinds[3:-11] == [
        "response.reasoning_summary_part.added",
        *["response.reasoning_summary_text.delta"] * 4,
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
    ]
    assert kinds[-11:] == MESSAGE_EVENTS


def test_the_log_tells_which_events_had_content(tmp_path):
    with simulated(tmp_path, latency=0.1, tps=100) as sim:
        ask(sim, stream=True)
        (entry,) = sim.log(1)

    assert (entry["status"], entry["prompt_tokens"], entry["completion_tokens"]) == (200, 13, 5)
    assert (len(entry["sent"]), entry["content"]) == (2 + len(MESSAGE_EVENTS), [4, 5, 6, 7, 8])
    assert entry["first_content"] - entry["arrived"] > 0.09


def test_an_answer_without_a_stream_has_the_same_words_and_counts(sim):
    status, _, body = ask(
        sim, input=[{"role": "user", "content": "Tell me something, in 90 tokens."}], max_output_tokens=16
    )
    got = json.loads(body)

    assert (status, got["object"], got["status"]) == (200, "response", "incomplete")
    assert got["incomplete_details"] == {"reason": "max_output_tokens"}
    assert len(got["output"][1]["content"][0]["text"].split()) == 16 - 4
    assert got["usage"]["total_tokens"] == 7 + 6 + 1 + 16


def test_reasoning_that_eats_the_limit_leaves_no_message(tmp_path):
    with simulated(tmp_path, model="o3", ptu=200, reasoning=40) as thinking:
        _, _, body = ask(thinking, stream=True, max_output_tokens=20)
    events = told(body)

    assert [one["type"] for one in events] == [*OPENING, "response.output_item.done", "response.incomplete"]
    assert events[-1]["response"]["usage"]["output_tokens_details"] == {"reasoning_tokens": 20}


def test_instructions_parts_and_items_are_prompt_too(sim):
    parts = [{"type": "input_text", "text": "one two"}, {"type": "input_text", "text": "three in 2 tokens"}]
    items = [
        {"role": "user", "content": parts},
        {"type": "function_call_output", "call_id": "c", "output": "four five"},
    ]
    _, _, body = ask(sim, instructions="Be brief.", input=items)

    assert json.loads(body)["usage"]["input_tokens"] == 7 + 2 + 6 + 1 + 2
    assert json.loads(body)["usage"]["output_tokens"] == 4 + 2


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        (PLAIN, {"messages": []}, (400, "messages", "unknown_parameter")),
        (PLAIN, {"max_completion_tokens": 20}, (400, "max_completion_tokens", "unknown_parameter")),
        (PLAIN, {"max_output_tokens": 15}, (400, "max_output_tokens", "integer_below_min_value")),
        (PLAIN, {"input": []}, (400, "input", None)),
        (PLAIN, {"input": 7}, (400, "input", "invalid_type")),
        (PLAIN, {"stream_options": {}}, (400, "stream_options", None)),
        (PLAIN, {"model": None}, (400, "model", None)),
        (
            PLAIN,
            {"stream": True, "stream_options": {"include_usage": True}},
            (400, "stream_options.include_usage", "unknown_parameter"),
        ),
        ("/openai/responses", {}, (404, None, "404")),
        ("/openai/deployments/mine/responses?api-version=1", {}, (404, None, "404")),
    ],
    ids=str,
)
def test_a_request_that_azure_would_refuse_is_refused(sim, path, fields, expected):
    status, _, body = ask(sim, path, **fields)
    error = json.loads(body)["error"]

    assert (status, error.get("param"), error["code"]) == expected


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b'{"input":' * 100_000, b'{"input":"\\ud800"}'])
def test_a_body_that_is_no_request_is_refused(raw):
    with pytest.raises(simulated_responses.BadRequest):
        simulated_responses.read(raw, reasoning=False)


@pytest.mark.parametrize("tokens_per_event", [1, 2, 7, 100])
def test_all_tokens_are_sent_whatever_an_event_holds(tokens_per_event):
    admitted = Deployment(parse("gpt-4.1:50,reasoning=9")).offer(0, Call(prompt=10, asked=41))
    made = simulated_responses.Answer("id", 0, "gpt-4.1", admitted, summary=True)
    sent = list(made.events(tokens_per_event=tokens_per_event))
    deltas = [json.loads(e.body.partition(b"data: ")[2])["delta"] for e in sent if e.content]

    assert len("".join(deltas).split()) == 9 + 41
    assert [e.due for e in sent] == sorted(e.due for e in sent)
    assert sent[-1].due == admitted.end


@pytest.mark.parametrize(("in_band", "streamed", "status"), [(True, True, 200), (True, False, 429), (False, True, 429)])
def test_a_429_comes_inside_a_stream_where_the_deployment_does_so(tmp_path, in_band, streamed, status):
    with simulated(tmp_path, level="full", depth=10, ptu=1, prefill=1e7, in_band=in_band) as sim:
        ask(sim, input="word " * 20_000)  # minutes of its capacity
        got, headers, body = ask(sim, stream=streamed)
        _, entry = sim.log(2)

    assert (got, entry["status"]) == (status, status)
    assert int(headers["retry-after-ms"]) == entry["retry_after_ms"] > 0
    if status == 200:
        created, failed = told(body)
        assert created["type"] == "response.created"
        assert (failed["type"], failed["response"]["error"]["code"]) == ("response.failed", "rate_limit_exceeded")


# --- a run from end to end

LATENCY, TOKENS, SPEED = 0.2, 20, 60


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Attempts of a run on a simulated deployment of varied latency, each with the server's own account, and the run."""
    return running.calmly(lambda: on_deployment(tmp_path_factory.mktemp("responses")), lambda found: found[1].calm)


def on_deployment(folder):
    with simulated(folder, ptu=1000, latency=LATENCY, tps=SPEED, jitter=0.3) as server:
        load = {"rate": "40/s", "arrivals": "poisson"}
        run = running.start(
            folder / "run",
            *running.endpoint(server.url, "--api", "responses"),
            load=load,
            completion_tokens=TOKENS,
            duration="2s",
        ).finish()
        entries = server.log(len(run.attempts) + 1)  # and the probe
    return run.beside({entry["request_id"]: entry for entry in entries}), run


def test_a_run_says_which_api_it_used(done):
    _, run = done

    assert run.head.target["api"] == run.summary["target"]["api"] == "responses"
    assert run.head.target["url"].endswith("/openai/v1/responses")
    assert run.head.probe["limit_field"] == "max_output_tokens"


def test_tokens_finish_and_outcomes_are_the_servers(done):
    pairs, run = done

    assert {(a.outcome, a.finish, a.flags, a.content_events) for a, _ in pairs} == {("ok", "stop", (), TOKENS)}
    assert all(a.prompt_tokens == e["prompt_tokens"] == a.prompt_asked for a, e in pairs)
    assert all(a.completion_tokens == e["completion_tokens"] == TOKENS for a, e in pairs)
    assert run.metrics["requests"]["ok"] == len(pairs) == run.head.planned


def test_ttft_and_e2e_are_the_servers(done):
    pairs, run = done
    first = [(a.first_content - a.sent) - (e["first_content"] - e["arrived"]) for a, e in pairs]
    end = [(a.last_content - a.sent) - (e["last_content"] - e["arrived"]) for a, e in pairs]
    stamped = [run.clock(a.first_content) - e["first_content"] for a, e in pairs]

    for errors in (first, end, stamped):
        running.assert_small(errors, LATENCY)
    for name, of in (("ttft", "first_content"), ("e2e", "last_content")):
        true = np.percentile([e[of] - e["arrived"] for _, e in pairs], 50)

        assert run.metrics[name]["p50"] == pytest.approx(true, rel=0.15)


FAST = "gpt-4.1:200,latency=0.02,tps=2000,jitter=0"
OTHER_WAYS = {
    "whole answers": (FAST, "--set", "stream=false"),
    "httpx": (FAST, "--set", "client=httpx"),
    "classic": (FAST, "--api-style", "classic"),
    "in band": ("gpt-4.1:1,latency=0.02,tps=2000,jitter=0,depth=0.5,in_band=on",),
}


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Runs on simulated deployments of their own, all at once."""
    folder = tmp_path_factory.mktemp("others")
    started = [
        running.start(folder / name, "--api", "responses", "--simulate", *options, completion_tokens=20, duration="1s")
        for name, options in OTHER_WAYS.items()
    ]
    return dict(zip(OTHER_WAYS, running.finish(started), strict=True))


@pytest.mark.parametrize("way", ["whole answers", "httpx", "classic"])
def test_it_also_runs_without_a_stream_through_httpx_and_at_the_classic_address(others, way):
    run = others[way]

    assert run.metrics["requests"]["ok"] == run.head.planned == 40
    assert run.metrics["tpm"]["completion"] > 0


def test_a_429_inside_a_stream_is_a_429_of_the_run(others):
    run = others["in band"]
    flagged = [attempt for attempt in run.attempts if "throttled_in_band" in attempt.flags]

    assert run.metrics["requests"]["throttled"] == len(flagged) > 0
    assert run.metrics["refused"]["count"] == len(flagged)
    assert {(a.status, a.outcome, "retry-after-ms" in a.headers) for a in flagged} == {(200, "throttled", True)}
