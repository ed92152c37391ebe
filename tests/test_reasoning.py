"""Reasoning models and what they refuse: parameters are left out by themselves, and `ttfo` is read first."""

import asyncio
import json
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import running
import runs
from goldens import shown
from ptubench.analysis.summary import summarize
from ptubench.client.make import make_client
from ptubench.engine.accepted import MOST_LEFT_OUT
from ptubench.engine.account import Account
from ptubench.engine.probe import probe
from ptubench.engine.progress import Progress
from ptubench.errors import TargetRefused
from ptubench.load.plan import make_plan
from ptubench.load.preview import preview
from ptubench.report import live
from ptubench.report.table import render
from ptubench.report.words import parameters as in_words
from ptubench.sim import answers, chat, responses
from ptubench.sim.script import Pace, chunked, document
from ptubench.stream import refusal
from ptubench.stream.apis import APIS, reasoning_effort
from ptubench.stream.refusal import Refusal
from ptubench.target.model import Target
from servers import CHAT, script_server
from simulated import simulated
from summaries import summary

PATHS = {"chat": CHAT, "responses": "/openai/v1/responses"}
O3 = {"kind": "azure", "model": "o3", "ptu": 100}


# --- which field was refused


def body(message, **more):
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", **more}}).encode()


VALUE = (
    "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported."
)
PARAMETER = "Unsupported parameter: 'top_p' is not supported with this model."


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (body(VALUE, param="temperature", code="unsupported_value"), Refusal("temperature", "value")),
        (body(PARAMETER, param="top_p", code=None), Refusal("top_p", "parameter")),
        (body("This model has none.", param="seed", code="unsupported_parameter"), Refusal("seed", "parameter")),
        (
            body("Unsupported parameter: 'reasoning.effort' is not supported with this model.", param=""),
            Refusal("reasoning.effort", "parameter"),
        ),
        (
            body("Unrecognized request argument supplied: stream_options. Please contact us", param="", code=None),
            Refusal("stream_options", "unknown"),
        ),
        (body("Unknown parameter: 'frob'.", param="frob", code="unknown_parameter"), Refusal("frob", "unknown")),
        (body("The prompt was filtered.", param="prompt", code="content_filter"), None),
        (b"Unsupported parameter: `logprobs` is not", Refusal("logprobs", "parameter")),
        (b'{"error": "no such thing"}', None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_a_refused_field_is_known_by_code_or_sentence(said, expected):
    assert refusal.of_body(said) == expected


@given(st.binary(max_size=300))
def test_any_body_names_a_field_or_none(said):
    found = refusal.of_body(said)

    assert found is None or found.field


FIELDS = st.dictionaries(
    st.text("abc_", min_size=1, max_size=3),
    st.one_of(st.integers(), st.dictionaries(st.text("abc_", min_size=1, max_size=3), st.integers(), max_size=3)),
    max_size=4,
)


@given(FIELDS, st.text("abc_.", min_size=1, max_size=6))
def test_what_is_left_out_is_gone_and_nothing_else(fields, name):
    rest = refusal.without(fields, name)
    outer = name.partition(".")[0]

    assert not refusal.has(rest, name)
    assert {key: value for key, value in rest.items() if key != outer} == {
        key: value for key, value in fields.items() if key != outer
    }
    assert refusal.has(fields, name) or rest == fields


# --- what the probe learns


def refusing(*names, why="parameter"):
    """Answers 400 as long as a field is there."""

    def script(ask):
        held = msgspec.json.decode(ask.body)
        for name in names:
            if refusal.has(held, name):
                said = body(f"Unsupported {why}: '{name}' is not supported with this model.", param=name, code=None)
                return [document(400, said)]
        return chunked(answers.healthy(Pace(tokens=3, api=ask.api)))

    return script


def probed(script, parameters, *, api="chat", client="timed"):
    """What the probe found, and the bodies that it sent."""
    with script_server(script) as server:
        url = server.base + PATHS[api]
        target = Target(kind="azure", style="v1", endpoint=url, url=url, api=api, deployment="d", body_model="d")
        workload = msgspec.structs.replace(runs.WORKLOAD, parameters=parameters, client=client)
        given = {"headers": {}, "timeouts": workload.timeouts, "stream": True, "ca_file": None, "env": {}}

        def make():
            return make_client(client, url=url, api=api, max_connections=1, **given)

        found = asyncio.run(probe(make, target, workload))
        return found, [json.loads(played.ask.body) for played in server.log]


@pytest.mark.parametrize("client", ["timed", "httpx"])
@pytest.mark.parametrize("api", PATHS)
def test_what_the_model_does_not_take_is_left_out_one_after_the_other(api, client):
    parameters = {"temperature": 0.2, "top_p": 0.5, "user": "me"}
    found, bodies = probed(refusing("temperature", "top_p"), parameters, api=api, client=client)

    assert list(found.left_out) == ["temperature", "top_p"]
    assert [sorted(parameters.keys() & sent.keys()) for sent in bodies] == [
        ["temperature", "top_p", "user"],
        ["top_p", "user"],
        ["user"],
    ]
    assert found.warnings[0] == (
        "the target refuses `temperature` (Unsupported parameter: 'temperature' is not supported with this model.); "
        "the run goes on without it"
    )


def test_what_ptubench_adds_by_itself_is_left_out_too_and_what_that_costs_is_said():
    def old(ask):
        if b"stream_options" in ask.body:
            return [
                document(400, body("Unrecognized request argument supplied: stream_options", param=None, code=None))
            ]
        return chunked(answers.healthy(Pace(tokens=3)))

    found, bodies = probed(old, {})

    assert (list(found.left_out), "stream_options" in bodies[-1]) == (["stream_options"], False)
    assert found.warnings[0].endswith("the run goes on without it; no stream tells its tokens")


def test_the_limits_other_name_and_a_refused_parameter_are_learned_together():
    def script(ask):
        if b"max_completion_tokens" in ask.body:
            return [document(400, body("Unrecognized request argument supplied: max_completion_tokens"))]
        return refusing("seed")(ask)

    found, bodies = probed(script, {"seed": 1})

    assert (found.limit_field, list(found.left_out), len(bodies)) == ("max_tokens", ["seed"], 3)


def test_a_field_inside_another_is_left_out_alone():
    found, bodies = probed(
        refusing("reasoning.effort"), {"reasoning": {"effort": "low", "summary": "auto"}}, api="responses"
    )

    assert list(found.left_out) == ["reasoning.effort"]
    assert bodies[-1]["reasoning"] == {"summary": "auto"}


@pytest.mark.parametrize(
    ("parameters", "name", "why"),
    [
        ({}, "stream", "parameter"),
        ({"tools": []}, "tools", "parameter"),
        ({"store": False}, "store", "parameter"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "value"),
        ({"stop": "x"}, "stop", "value"),
        ({"temprature": 1}, "temprature", "x"),
    ],
)
def test_what_would_change_what_is_measured_is_not_left_out(parameters, name, why):
    def script(ask):
        code = "unknown_parameter" if why == "x" else f"unsupported_{why}"
        return [document(400, body(f"Not this: '{name}'", param=name, code=code))]

    with pytest.raises(TargetRefused, match="check the workload's parameters against what the model accepts"):
        probed(script, parameters)


def test_a_target_that_refuses_everything_is_asked_so_often_and_no_more():
    many = {f"p{i}": i for i in range(3 * MOST_LEFT_OUT)}
    seen = []

    def script(ask):
        seen.append(ask)
        return refusing(*many)(ask)

    with pytest.raises(TargetRefused):
        probed(script, many)

    assert len(seen) == MOST_LEFT_OUT + 1


def test_a_client_of_the_users_own_that_raises_the_400_learns_too(tmp_path, monkeypatch):
    (tmp_path / "refused_client.py").write_text(
        "class Refused(Exception):\n    status_code = 400\n\n"
        "async def ask(call):\n"
        "    if 'top_p' in call.body:\n"
        f"        raise Refused({PARAMETER!r})\n"
        "    yield 'hello'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found, _ = probed(refusing(), {"top_p": 0.5, "seed": 1}, client="refused_client:ask")

    assert (list(found.left_out), found.warning) == (["top_p"], None)


# --- the simulated deployment


@pytest.mark.parametrize(
    ("fields", "reasoning", "param"),
    [
        ({"temperature": 0.2}, True, "temperature"),
        ({"temperature": 1}, True, None),
        ({"temperature": 0.2, "top_p": 0.3}, False, None),
        ({"top_p": 0.5}, True, "top_p"),
    ],
)
@pytest.mark.parametrize("api", [chat, responses])
def test_a_model_that_reasons_takes_no_sampling(api, fields, reasoning, param):
    asked = {"messages": [{"role": "user", "content": "x"}]} if api is chat else {"input": "x"}
    refused = None
    try:
        api.read(json.dumps({**asked, **fields}).encode(), reasoning=reasoning)
    except chat.BadRequest as exc:
        refused = json.loads(exc.body)["error"]

    assert (refused and refused["param"]) == param
    if api is chat and param == "temperature":
        assert (refused["code"], refused["message"]) == ("unsupported_value", VALUE)


# --- from end to end


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A run by each API on a simulated model that reasons, with parameters that it refuses."""
    folder = tmp_path_factory.mktemp("thought")
    with simulated(folder, model="o3", ptu=500, reasoning=24, tps=400) as server:
        started = [
            running.start(
                folder / api,
                *running.endpoint(server.url, "--api", api, "--model", "o3", "--ptu", "500"),
                parameters={"temperature": 0.2, "top_p": 0.5, "reasoning_effort": "high"},
                completion_tokens=20,
                output_limit=30,
                reasoning_tokens=34,
                duration="1s",
            )
            for api in PATHS
        ]
        return dict(zip(PATHS, running.finish(started), strict=True))


@pytest.fixture(params=PATHS)
def thought(request, both):
    """One of them, and its API."""
    return request.param, both[request.param]


def test_the_run_goes_on_without_what_was_refused(thought):
    _, run = thought

    assert run.metrics["requests"]["ok"] == run.head.planned == 40
    assert list(run.head.probe["left_out"]) == run.summary["target"]["left_out"] == ["temperature", "top_p"]
    assert run.said.count("; the run goes on without it") == 2
    assert sum(note["text"].endswith("the run goes on without it") for note in run.summary["notes"]) == 2


def test_the_limit_has_room_for_the_reasoning_and_the_counts_include_it(thought):
    api, run = thought

    assert run.head.probe["limit_field"] in APIS[api].limit_fields
    assert {a.limit for a in run.attempts} == {64}
    assert {(a.completion_tokens, a.reasoning_tokens, a.finish) for a in run.attempts} == {(44, 24, "stop")}
    assert run.metrics["asked"]["completion_tokens"] == {"asked": 20, "got": 20}


def test_effort_and_headline_are_told(thought):
    _, run = thought
    view = shown(render(run.summary), width=120)
    rows = view[view.index("Latency ") :].splitlines()

    assert (run.summary["target"]["reasoning"], run.summary["target"]["reasoning_effort"]) == (True, "high")
    assert "parameters  reasoning_effort=high; left out, since the target refuses it: temperature, top_p" in view
    assert [row.split()[0] for row in rows[1:3]] == ["ttfo", "ttft"]


def test_a_dry_run_tells_the_effort_and_what_would_be_left_out(tmp_path):
    workload = {
        **running.WORKLOAD,
        "parameters": {"reasoning": {"effort": "low"}, "temperature": 0.5},
        "output_limit": 16,
    }
    file = tmp_path / "w.yaml"
    file.write_text(json.dumps(workload))
    command = [sys.executable, "-m", "ptubench", "run", str(file), "--api", "responses", "--dry-run", "--probe"]
    command += ["--simulate", "o3:100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=running.environment(), timeout=60)

    assert "reasoning_effort=low, temperature=0.5" in done.stdout, done.stderr
    assert "the target refuses `temperature`: it would be left out" in done.stdout


def test_the_plan_as_json_tells_the_effort_too():
    workload = msgspec.structs.replace(runs.WORKLOAD, parameters={"reasoning_effort": "low"})

    assert preview(workload, make_plan(workload), None)["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("parameters", "effort"),
    [
        ({"reasoning_effort": "low"}, "low"),
        ({"reasoning": {"effort": "high"}}, "high"),
        ({"reasoning": {"summary": "auto"}}, None),
        ({"reasoning": "x", "reasoning_effort": "low"}, "low"),
        ({"reasoning_effort": 3}, None),
        ({}, None),
    ],
)
def test_the_effort_is_known_by_either_apis_name(parameters, effort):
    assert reasoning_effort(parameters) == effort


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\u202e", "x" * 5000])
def test_parameters_of_anybody_are_told_in_one_short_line(hostile):
    values = {f"{hostile}{i}": hostile for i in range(50)} | {"reasoning_effort": hostile, "tools": [hostile]}
    said = in_words(values, reasons=True, left_out=[hostile] * 50)

    assert said.isprintable()
    assert len(said) < 1000


# --- what is read first


@pytest.mark.parametrize(
    ("target", "changes", "first"),
    [
        (O3, {}, "ttfo"),
        ({"kind": "openai"}, {"reasoning_tokens": 5}, "ttfo"),
        ({"kind": "openai"}, {"model": "gpt-5-2025-08-07"}, "ttfo"),
        ({"kind": "azure", "model": "gpt-4.1"}, {}, "ttft"),
    ],
)
def test_the_headline_is_by_catalogue_or_by_tokens_seen(tmp_path, target, changes, first):
    found = runs.summary(tmp_path, *runs.steady(40, **{"model": None, **changes}), target=target)
    view = shown(render(found), width=120)
    rows = view[view.index("Latency ") :].splitlines()

    assert found["target"]["reasoning"] == (first == "ttfo")
    assert rows[1].split()[0] == first


def test_the_tables_of_groups_have_the_same_headline():
    read = summary()
    read["target"]["reasoning"] = True
    read["groups"] = {"class:a": read["metrics"], "first": read["metrics"]}
    view = shown(render(read), width=120)

    assert view.count("ttfo p50") == 2
    assert "ttft p50  ttft p95" not in view


def test_the_live_view_turns_to_ttfo_when_the_model_reasons():
    progress = Progress(duration=30, warmup=0, drain=60, planned=None, now=5.0, phase="load")
    account = Account(progress)
    account.add(runs.ok(0, 1.0, ttft=0.2, model=None))
    before = live.line(progress)
    account.add(runs.ok(1, 2.0, ttft=0.2, first_output=4.0, reasoning_tokens=64))
    after = live.line(progress)

    assert "ttft p50 200 ms" in before
    assert "ttfo p50 1.10 s" in after
    assert "ttfo" in shown(live.rows(live.title("azure", "w", "o3"), progress))


def test_reasoning_does_not_stand_in_for_an_answer_that_came_too_short(tmp_path):
    rows = runs.steady(40, completion_tokens=66, reasoning_tokens=64)
    found = runs.summary(tmp_path, *rows, target=O3)

    assert found["metrics"]["asked"]["completion_tokens"] == {"asked": 20, "got": 2}
    assert found["validity"]["verdict"] == "invalid"


# --- older run files


def test_an_older_name_of_a_failure_is_read_as_the_new_one(tmp_path):
    rows = [runs.failed(i, 20.0 + i, "no_content") for i in range(3)]
    checks = ("failed.by_kind.no_content <= 2", "failed.by_kind.empty <= 3")
    found = runs.summary(tmp_path, *runs.steady(10), *rows, checks=checks)

    assert found["metrics"]["failed"]["by_kind"] == {"empty": 3}
    assert [(row["measured"], row["passed"]) for row in found["checks"]] == [(3, False), (3, True)]
    assert "a complete 200 without any content" in shown(render(found), width=120)


def test_a_head_that_was_edited_by_hand_is_read(tmp_path):
    for left_out in (None, 3, ["x"], {"x": 1}):
        head = runs.head(probe={"left_out": left_out}, divert_probe={"left_out": left_out}, divert_to={})
        path = runs.write(tmp_path / "run.jsonl", head, *runs.steady(3), runs.end())

        assert isinstance(summarize(path)["target"]["left_out"], list)
