"""What the clients once got wrong, each as it was found: by a server or a user's function that does the unusual."""

import asyncio
import contextlib
import socket
import struct
import textwrap
import threading

import pytest

import virtual
from ptubench.client.connect import address, find_proxy
from ptubench.client.exchange import Exchange
from ptubench.client.make import make_client
from ptubench.client.timed import TimedClient
from ptubench.engine.generator import Load, drain, offer
from ptubench.errors import UsageError
from ptubench.load.plan import make_plan
from ptubench.record import Attempt
from ptubench.sim import answers
from ptubench.sim.script import EVENT_STREAM, Do, Pace, chunk, chunked, head
from ptubench.stream import answer
from ptubench.workload.model import Class, ClosedLoop, Fixed, OpenLoop, Stage, Timeouts, Workload
from servers import FORBIDDEN, Authority, proxy, script_server

PLAIN = ("timed", "httpx")
NOWHERE = "http://127.0.0.1:9/v1/chat/completions"


def make(kind, url, *, headers=None, env=None, ca_file=None):
    return make_client(
        kind,
        url=url,
        headers=headers or {},
        timeouts=Timeouts(connect=10.0, first_byte=10.0, idle=10.0, total=30.0),
        stream=True,
        ca_file=ca_file,
        env=env or {},
        max_connections=10,
    )


def send(kind, url, *, times=1, **how):
    async def all_of_them():
        client = make(kind, url, **how)
        exchanges = [Exchange() for _ in range(times)]
        for exchange in exchanges:
            await client.send(b'{"messages":[{"role":"user","content":" hi"}]}', exchange)
        await client.close()
        return exchanges

    return asyncio.run(all_of_them())


# --- answers


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize(
    ("status", "failure"), [(429, None), (503, "http_503"), (302, "redirect")], ids=["429", "503", "302"]
)
def test_what_a_status_says_stands_whatever_becomes_of_its_body(kind, status, failure):
    cut_short = [head(status, {"content-length": "50", "retry-after-ms": "100"}) + b"abc", 0.05, Do.CLOSE]
    with script_server(cut_short) as server:
        (exchange,) = send(kind, server.url)

    assert (exchange.status, exchange.failure) == (status, failure)
    assert exchange.headers["retry-after-ms"] == "100"


def test_a_trailer_is_not_taken_for_a_header():
    events = [action for action in answers.healthy(Pace(tokens=8)) if isinstance(action, bytes)]
    first, rest = b"".join(events)[:-20], b"".join(events)[-20:]
    trailer = b"0\r\ncontent-type: text/event-stream\r\nretry-after-ms: 1\r\n\r\n"
    whole = head(200, {**EVENT_STREAM, "transfer-encoding": "chunked"}) + chunk(first) + chunk(rest) + trailer
    with script_server([whole]) as server:
        (exchange,) = send("timed", server.url)

    assert (exchange.failure, exchange.flags, exchange.answer.completion_tokens) == (None, (), 8)


@pytest.mark.parametrize("kind", PLAIN)
def test_no_encoding_is_asked_for_and_no_header_is_sent_twice(kind):
    with script_server(lambda _: chunked(answers.healthy(Pace()))) as server:
        send(kind, server.url, headers={"user-agent": "mine", "x-gateway": "1"})
        headers = server.log[0].ask.headers

    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "mine"
    assert headers["x-gateway"] == "1"


@contextlib.contextmanager
def hanging_up():
    """The port of a server that resets every connection as soon as it has accepted it."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:

        def serve():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_server_that_hangs_up_at_once_is_a_named_failure_however_far_the_client_got(kind):
    with hanging_up() as port:
        exchanges = send(kind, f"http://127.0.0.1:{port}/v1", times=40)

    assert {exchange.failure for exchange in exchanges} <= {"connect", "closed", "broken_stream"}
    assert all(exchange.error for exchange in exchanges)


# --- opening connections


def test_connections_that_the_target_does_not_take_are_not_all_tried_before_the_load():
    with proxy(FORBIDDEN) as refusing:

        async def warm():
            where = address("https://127.0.0.1:9/v1", ca_file=None, env={"HTTPS_PROXY": refusing.url})
            client = TimedClient("https://127.0.0.1:9/v1", where, headers={}, timeouts=Timeouts(), stream=True)
            return await client.warm(400)

        opened = asyncio.run(warm())

    assert opened == 0
    assert len(refusing.asked) < 100


def test_a_proxy_in_lower_case_wins_whatever_the_order_of_the_environment():
    upper, lower = ("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "http://lower:2")

    assert find_proxy("https", "h:443", dict([upper, lower])).host == "lower"
    assert find_proxy("https", "h:443", dict([lower, upper])).host == "lower"


@pytest.mark.parametrize("kind", PLAIN)
def test_both_clients_use_the_proxy_that_the_environment_names(kind, tmp_path):
    authority = Authority()
    with (
        script_server(lambda _: chunked(answers.healthy(Pace())), tls=authority.serving()) as server,
        proxy() as tunnel,
    ):
        env = {"HTTPS_PROXY": tunnel.url.replace("//", "//user:word@")}
        (exchange,) = send(kind, server.url, env=env, ca_file=str(authority.file(tmp_path)))

    assert (exchange.failure, exchange.status) == (None, 200)
    assert len(tunnel.asked) == 1
    assert tunnel.headers[0]["proxy-authorization"] == "Basic dXNlcjp3b3Jk"


def test_a_proxy_that_is_not_there_is_not_taken_for_the_target():
    (exchange,) = send("httpx", "https://h/v1", env={"HTTPS_PROXY": "http://127.0.0.1:9"})

    assert exchange.failure == "proxy"


# --- the user's own function


CLIENT = """
import asyncio, sys

class Response:
    status_code = 429
    headers = {"retry-after-ms": "250"}

class StatusError(Exception):
    response = Response()

async def busy(call):
    raise StatusError("as httpx says it")
    yield

async def late(call):
    yield "some"
    raise TimeoutError("mine")

async def leaves(call):
    yield "some"
    sys.exit(3)

async def cancels(call):
    yield "some"
    raise asyncio.CancelledError

async def slow(call):
    yield "some"
    await asyncio.sleep(60)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "odd_client.py").write_text(textwrap.dedent(CLIENT))
    (tmp_path / "no_client.py").write_text("raise KeyError('a setting')")
    (tmp_path / "torn_client.py").write_text("def f(:")
    monkeypatch.chdir(tmp_path)


def test_a_429_is_a_429_also_where_only_the_response_tells(own):
    (exchange,) = send("odd_client:busy", NOWHERE)

    assert (exchange.status, exchange.failure, exchange.headers) == (429, None, {"retry-after-ms": "250"})


@pytest.mark.parametrize(
    ("name", "error"),
    [("late", "TimeoutError: mine"), ("leaves", "SystemExit: 3"), ("cancels", "CancelledError:")],
)
def test_whatever_a_function_raises_is_its_own_failure(own, name, error):
    (exchange,) = send(f"odd_client:{name}", NOWHERE)

    assert (exchange.failure, exchange.error) == ("client_error", error)


def test_a_function_that_is_cut_is_cut(own):
    async def cut():
        client, exchange = make("odd_client:slow", NOWHERE), Exchange()
        sending = asyncio.create_task(client.send(b"{}", exchange))
        await asyncio.sleep(0.05)
        sending.cancel()
        await asyncio.wait([sending])
        return sending, exchange

    sending, exchange = asyncio.run(cut())

    assert sending.cancelled()
    assert exchange.failure is None


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no_client:f", "KeyError: 'a setting'"),
        ("torn_client:f", "SyntaxError: invalid syntax (torn_client.py, line 1)"),
    ],
)
def test_a_module_that_breaks_when_it_is_imported_is_one_sentence(own, spec, said):
    with pytest.raises(UsageError) as raised:
        make(spec, NOWHERE)

    assert str(raised.value) == (
        f"client: {spec}: can't be imported ({said}); give an importable package.module:function"
    )


# --- the generator


class Client:
    """A client of the test's own: does what it is told with each exchange."""

    secrets = ()

    def __init__(self, do) -> None:
        self.send = do


def workload(load, *, duration=0.3, drain_=0.1):
    kind = Class(prompt=Fixed(tokens=40), completion=Fixed(tokens=4))
    return Workload(name="w", classes=(kind,), load=load, duration=duration, warmup=0.0, drain=drain_)


def load_of(planned, do):
    """On the loop's own clock, which is a virtual one."""
    kept: list[Attempt] = []
    load = Load(
        plan=make_plan(planned), body=lambda _: b"{}", client=Client(do), sink=kept.append, zero=0.0, clock=virtual.now
    )
    return load, kept


def test_a_fault_that_leaves_no_record_ends_the_run_and_is_not_passed_over():
    async def run():
        async def do(_body, _exchange):
            raise ValueError("a fault of ours")

        load, kept = load_of(workload(OpenLoop(stages=(Stage(value=20.0, seconds=0.3),), arrivals="constant")), do)
        await offer(load)
        with pytest.raises(ValueError, match="a fault of ours"):
            await drain(load, 0.1)
        return kept

    virtual.run(run)


def test_what_the_lanes_have_in_flight_when_the_load_ends_is_cut_when_the_drain_does():
    async def run():
        async def do(_body, exchange):
            exchange.sent = virtual.now()
            await asyncio.sleep(60)

        load, kept = load_of(workload(ClosedLoop(concurrency=3), duration=0.8), do)
        await offer(load)
        ended = load.now()
        await drain(load, 0.1)
        return ended, load.now(), kept

    offered, drained, kept = virtual.run(run)

    assert (offered, drained) == pytest.approx((0.8, 0.9), abs=0.01)
    assert [attempt.outcome for attempt in kept] == ["cut"] * 3


def test_a_lane_does_not_spin_on_failures():
    async def run():
        async def do(_body, exchange):
            exchange.sent = exchange.end = virtual.now()
            exchange.fail("http_503", "at once")

        load, kept = load_of(workload(ClosedLoop(concurrency=2), duration=1.7), do)
        await offer(load)
        return kept

    kept = virtual.run(run)

    assert len(kept) <= 5
    assert max(attempt.lane_wait for attempt in kept) > 0.5


# --- bodies


@pytest.mark.parametrize("opening", [b"[", b'{"message":'])
def test_an_error_of_any_depth_is_one_line(opening):
    closing = b"]" if opening == b"[" else b"}"
    lines = [
        answer.error_of_body(b'{"error":' + opening * depth + b"1" + closing * depth + b"}")
        for depth in range(880, 1040)
    ]

    assert all(0 < len(line) <= 300 for line in lines)
