"""The other two clients, tokens instead of keys, and the probe: each says the same as the timed client would."""

import asyncio
import gc
import textwrap
import time
from dataclasses import dataclass

import pytest

from faulty import PATIENT, patience
from ptubench.client import auth, http1
from ptubench.client.exchange import Exchange
from ptubench.client.make import make_client
from ptubench.engine.probe import probe
from ptubench.errors import TargetRefused, UsageError
from ptubench.sim import answers
from ptubench.sim.script import Pace, chunked
from ptubench.stream import sse
from ptubench.target.model import Target
from ptubench.workload.model import Class, Fixed, OpenLoop, Stage, Workload
from servers import fault_server, healthy_server, script_server
from wire import asked, connected

BODY = b'{"messages":[{"role":"user","content":" hi"}],"max_tokens":8,"stream":true}'


def make(kind, url, *, stream=True, timeouts=PATIENT, headers=None):
    return make_client(
        kind,
        url=url,
        headers=headers or {},
        timeouts=timeouts,
        stream=stream,
        ca_file=None,
        env={},
        max_connections=10,
    )


def send(kind, url, *, body=BODY, times=1, **how):
    async def all_of_them():
        client = make(kind, url, **how)
        done = []
        for _ in range(times):
            done.append(Exchange())
            await client.send(body, done[-1])
        await client.close()
        return done, client.gaps

    return asyncio.run(all_of_them())


# --- httpx


def test_httpx_sees_the_same_answer_as_the_timed_client():
    with healthy_server(tokens=8, ttft=0.1, gap=0.02) as server:
        seen = {kind: send(kind, server.url)[0][0] for kind in ("timed", "httpx")}
    facts = {
        kind: (
            exchange.failure,
            exchange.status,
            exchange.answer.content_events,
            exchange.answer.completion_tokens,
            exchange.answer.finish,
            exchange.flags,
        )
        for kind, exchange in seen.items()
    }

    assert facts["httpx"] == facts["timed"]
    assert seen["httpx"].answer.first_content - seen["httpx"].sent >= 0.1


# --- the user's own function


CLIENT = """
import asyncio

class Busy(Exception):
    status_code = 429
    class response:
        headers = {"retry-after-ms": "250", "set-cookie": "secret"}

async def good(call):
    assert call.body["messages"][0]["content"] == " hi"
    await asyncio.sleep(0.05)
    yield "one "
    await asyncio.sleep(0.02)
    yield "two"
    yield {"prompt_tokens": 8, "completion_tokens": 2}

async def busy(call):
    raise Busy("slow down")
    yield

async def broken(call):
    yield "some"
    raise RuntimeError("it broke")

async def silent(call):
    return
    yield

async def told(call):
    yield {"headers": {"X-Ms-Region": "Sweden Central", "set-cookie": "secret"}, "retries": 1}
    yield "text"
    yield {"usage": {"prompt_tokens": 8, "completion_tokens": 1}, "model": "gpt-4.1", "finish_reason": "stop"}
    yield {"usage": None, "retries": 0}

async def spilled(call):
    yield {"headers": {"x-ms-spillover-from-deployment": "mine"}}
    yield "one"
    yield "two"

async def unavailable(call):
    error = RuntimeError("come back later")
    error.status_code = 503
    raise error
    yield

async def chunks(call):
    yield 7

async def unknown(call):
    yield {"headers": {}, "text": "mine"}

async def wrong(call):
    yield {"headers": "x-ms-region"}

def plain(call):
    return "no generator"
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_client.py").write_text(textwrap.dedent(CLIENT))
    monkeypatch.chdir(tmp_path)


def test_the_users_own_function_is_measured_as_an_application_sees_it(own):
    (exchange,), gaps = send("own_client:good", "http://127.0.0.1:9/v1")

    assert exchange.failure is None
    assert (exchange.status, exchange.answer.prompt_tokens, exchange.answer.completion_tokens) == (200, 8, 2)
    assert exchange.answer.first_content - exchange.sent >= 0.05
    assert gaps.events == 2


def test_what_the_function_tells_of_the_answer_is_kept(own):
    (exchange,), _ = send("own_client:told", "http://127.0.0.1:9/v1")
    answer = exchange.answer

    assert (exchange.failure, exchange.flags) == (None, ("retried_inside",))
    assert exchange.headers == {"x-ms-region": "Sweden Central"}
    assert (answer.model, answer.finish, answer.completion_tokens) == ("gpt-4.1", "stop", 1)


def test_a_spilled_answer_is_seen_through_a_function_and_its_gaps_are_not_the_targets(own):
    (exchange,), gaps = send("own_client:spilled", "http://127.0.0.1:9/v1")

    assert exchange.spilled
    assert (gaps.events, gaps.counts) == (2, {})


def test_a_429_that_the_users_client_raises_is_a_429(own):
    (exchange,), _ = send("own_client:busy", "http://127.0.0.1:9/v1")

    assert (exchange.status, exchange.failure) == (429, None)
    assert exchange.headers == {"retry-after-ms": "250"}


@pytest.mark.parametrize(
    ("name", "failure", "error"),
    [
        ("broken", "client_error", "RuntimeError: it broke"),
        ("silent", "empty", "the function yielded no text"),
        ("unavailable", "http_503", "RuntimeError: come back later"),
        ("chunks", "client_error", "TypeError: the function yielded a int; it must yield text or mappings"),
        (
            "unknown",
            "client_error",
            "TypeError: the function yielded `text`; a mapping may tell headers, usage, model, finish_reason, retries",
        ),
        ("wrong", "client_error", "TypeError: the function yielded `headers` as a str"),
    ],
)
def test_what_goes_wrong_in_the_users_client_is_a_named_failure(own, name, failure, error):
    (exchange,), _ = send(f"own_client:{name}", "http://127.0.0.1:9/v1")

    assert (exchange.failure, exchange.error) == (failure, error)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            "no_such_module:f",
            (
                "client: no_such_module:f: can't be imported (No module named 'no_such_module'); "
                "give an importable package.module:function"
            ),
        ),
        (
            "own_client:plain",
            "client: own_client:plain: is no async generator function; it must be `async def` and `yield` its pieces",
        ),
    ],
)
def test_a_function_that_cannot_be_used_is_one_sentence(own, spec, sentence):
    with pytest.raises(UsageError) as raised:
        send(spec, "http://127.0.0.1:9/v1")

    assert str(raised.value) == sentence


# --- tokens


@dataclass
class FakeCredential:
    """Gives a new token each time it is asked; remembers for what."""

    fault: str | None = None
    asked: int = 0
    scope: str = ""

    def get_token(self, *scopes):
        self.asked += 1
        (self.scope,) = scopes
        if self.fault:
            raise RuntimeError(self.fault)

        @dataclass
        class Token:
            token: str = f"fake-token-{self.asked}"
            expires_on: int = int(time.time()) + 3600

        return Token()


def target(url, style="v1"):
    return Target(kind="azure", style=style, endpoint=url, url=url, deployment="d", body_model="d")


@pytest.mark.parametrize(
    ("url", "style", "scope"),
    [
        ("https://r.openai.azure.com/openai/v1/chat/completions", "v1", "https://ai.azure.com/.default"),
        (
            "https://r.openai.azure.com/openai/deployments/d/x?api-version=1",
            "classic",
            "https://cognitiveservices.azure.com/.default",
        ),
        ("https://r.openai.azure.us/openai/v1/chat/completions", "v1", "https://cognitiveservices.azure.us/.default"),
        (
            "https://r.openai.azure.cn:443/openai/v1/chat/completions",
            "v1",
            "https://cognitiveservices.azure.cn/.default",
        ),
    ],
)
def test_a_token_is_asked_for_the_scope_of_the_targets_cloud(url, style, scope):
    credential = FakeCredential()
    headers, expires = asyncio.run(auth.bearer(credential, target(url, style)))

    assert credential.scope == scope
    assert headers == {"Authorization": "Bearer fake-token-1"}
    assert expires > time.time()


def test_a_credential_that_gives_no_token_is_one_sentence_without_its_details():
    with pytest.raises(TargetRefused) as raised:
        asyncio.run(
            auth.bearer(
                FakeCredential(fault="not signed in\nlong trace"), target("https://r.openai.azure.com/openai/v1")
            )
        )

    assert str(raised.value) == (
        "Entra gave no token for https://ai.azure.com/.default: not signed in; "
        "sign in with `az login`, or set a key in AZURE_OPENAI_API_KEY"
    )


# --- the probe


def workload(*, stream=True):
    return Workload(
        name="w",
        classes=(Class(prompt=Fixed(tokens=32), completion=Fixed(tokens=8)),),
        load=OpenLoop(stages=(Stage(value=1, seconds=1),)),
        duration=1.0,
        warmup=0.0,
        stream=stream,
    )


def probed(url, *, timeouts=PATIENT):
    return asyncio.run(probe(lambda: make("timed", url, timeouts=timeouts), target(url), workload()))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("http_400", "check the workload's parameters against what the model accepts"),
        (
            "http_401",
            "no key was sent; set AZURE_OPENAI_API_KEY (or name a variable with --key-env), or use --auth entra",
        ),
        (
            "http_403",
            (
                "the call went to 127.0.0.1, a private address; check the rules of the resource, and its private "
                "endpoint; see docs/private-network.md"
            ),
        ),
        ("http_404", "check --deployment, --endpoint and --api-style"),
        ("redirect", "give --endpoint the final address"),
        ("html", "check --endpoint and --api-style: this is no chat completions address"),
        ("garbage", "check scheme and port of --endpoint"),
    ],
)
def test_a_target_that_refuses_the_probe_is_one_sentence_with_its_words_and_the_way_out(kind, said):
    with fault_server(kind) as server, pytest.raises(TargetRefused) as raised:
        probed(server.url)

    assert str(raised.value).startswith(f"{server.url}: ")
    assert str(raised.value).endswith(said)


@pytest.mark.parametrize("kind", ["throttled_ms", "http_500", "http_503", "stall_midstream"])
def test_a_busy_or_stumbling_target_is_only_a_warning(kind):
    with fault_server(kind) as server:
        found = probed(server.url, timeouts=patience(kind))

    assert found.warning is not None


def test_the_limits_name_is_found_by_the_probe():
    asked = []

    def old_server(ask):
        asked.append(ask.body)
        if b"max_completion_tokens" in ask.body:
            return answers.refused(400, "unknown_parameter", "Unrecognized argument: max_completion_tokens", {})
        return chunked(answers.healthy(Pace(tokens=3, ttft=0.0, gap=0.0)))

    with script_server(old_server) as server:
        found = probed(server.url)

    assert found.limit_field == "max_tokens"
    assert len(asked) == 2


def test_an_event_that_is_too_large_is_let_go_at_once_and_not_by_the_collector():
    async def overfed():
        connection, exchange = connected(), Exchange()
        asking = await asked(connection, exchange)
        connection.data_received(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        while not connection.closed:
            connection.data_received(b"100000\r\n" + bytes(2**20) + b"\r\n")
        await asking
        return exchange.failure

    gc.collect()
    gc.disable()
    try:
        failure = asyncio.run(overfed())
        held = [thing for thing in gc.get_objects() if isinstance(thing, sse.Decoder)]
    finally:
        gc.enable()

    assert failure == "event_too_large"
    assert held == []


@pytest.mark.parametrize("kind", ["close_midstream", "reset_before_headers", "stall_midstream", "idle_close"])
def test_a_connection_that_is_lost_is_let_go_at_once_and_not_by_the_collector(kind):
    gc.collect()
    gc.disable()
    try:
        with fault_server(kind) as server:
            send("timed", server.url, times=5, timeouts=patience(kind))
        held = [thing for thing in gc.get_objects() if isinstance(thing, http1.Connection)]
    finally:
        gc.enable()

    assert held == []
