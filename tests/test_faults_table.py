"""What becomes of a request for each thing that can go wrong: outcome, failure kind, flags.

Each fault meets one request of a client while a healthy stream runs through the same client. Nothing is lost, the
healthy stream is untouched, and what was seen of the content is what the server's log says.
"""

import asyncio
import contextlib
import socket
import sys

import pytest

from faulty import (
    IMPATIENT,
    PATIENT,
    STEADY,
    TABLE,
    TOKENS,
    assert_as_in_the_table_and_alone,
    assert_sent_once_more,
    beside_a_steady_stream,
    outcome,
    patience,
    send,
)
from ptubench import failures
from ptubench.client import connect
from ptubench.client.connect import address
from ptubench.client.timed import TimedClient
from ptubench.sim import faults
from ptubench.sim.script import Do
from ptubench.workload.model import Timeouts
from servers import (
    FORBIDDEN,
    HANG,
    UNAUTHENTICATED,
    Authority,
    background,
    greeting_server,
    healthy,
    healthy_server,
    proxy,
    script_server,
)

LOOPS = ["asyncio"] if sys.platform == "win32" else ["asyncio", "uvloop"]


@pytest.fixture(params=LOOPS)
def run(request):
    """Runs a coroutine on each kind of loop that carries load."""

    def runner(work):
        factory = None
        if request.param == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as loop:
            return loop.run(work)

    return runner


def client_of(url, *, ca_file=None, env=None, timeouts=PATIENT):
    where = address(url, ca_file=str(ca_file) if ca_file else None, env=env or {})
    return TimedClient(url, where, headers={}, timeouts=timeouts, stream=True)


async def once(url, **options):
    """One request with a client of its own."""
    client = client_of(url, **options)
    exchange = await send(client)
    await client.close()
    return exchange


async def both(url, timeouts):
    """The faulty exchange and the steady one, and how many connections stay open."""
    client = client_of(url, timeouts=timeouts)
    steady, faulty = await asyncio.gather(send(client, STEADY), send(client))
    before = len([c for c in client._idle if not c.closed])
    await client.close()
    return steady, faulty, before


def test_the_table_names_every_fault():
    assert set(TABLE) == set(faults.FAULTS)


@pytest.mark.parametrize("kind", sorted(TABLE))
def test_a_fault_is_named_and_the_stream_beside_it_untouched(kind, run):
    row = TABLE[kind]
    steady, faulty, open_connections, logs = beside_a_steady_stream(kind, lambda *where: run(both(*where)))

    assert_as_in_the_table_and_alone(row, faulty, steady, logs)
    assert open_connections == 1 + row.kept


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        ("throttled_ms", {"retry-after-ms": "1234", "retry-after": "2"}),
        ("throttled_seconds", {"retry-after": "2"}),
        ("throttled_bare", {}),
        ("throttled_absurd", {"retry-after": str(faults.ABSURD_WAIT)}),
    ],
)
def test_a_429_keeps_what_it_asks_for(kind, headers, run):
    with script_server(faults.script(kind)) as server:
        exchange = run(once(server.url))

    assert exchange.headers == headers
    assert "provisioned capacity" in exchange.error


def test_a_429_with_a_date_keeps_the_date(run):
    with script_server(faults.script("throttled_date")) as server:
        exchange = run(once(server.url))

    assert exchange.headers["retry-after"].endswith("GMT")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("http_404", "DeploymentNotFound: The API deployment for this resource does not exist."),
        ("error_event", "500: The server had an error. Retry your request."),
        ("html", "Sign in to the network"),
        ("not_json", '{"choices": [{"delta": {"conte'),
    ],
)
def test_the_error_quotes_the_service(kind, said, run):
    with script_server(faults.script(kind)) as server:
        exchange = run(once(server.url))

    assert said in exchange.error


def test_every_failure_in_the_table_is_explained():
    kinds = {row.failure for row in TABLE.values() if row.failure}

    assert all(kind in failures.FAILURES or kind.startswith("http_") for kind in kinds)


def test_visible_reasoning_is_content_but_no_output(run):
    with script_server(faults.script("reasoning", tokens=TOKENS, gap=0.005)) as server:
        answer = run(once(server.url)).answer

    assert answer.first_content < answer.first_output <= answer.last_content
    assert answer.reasoning_tokens == TOKENS // 2


async def in_turn(url, count):
    """Requests one after the other through one client."""
    client = client_of(url)
    exchanges = [await send(client) for _ in range(count)]
    await client.close()
    return exchanges


def test_a_connection_is_used_again_after_a_good_answer_a_429_and_a_500(run):
    scripts = [faults.script(kind) for kind in ("http_500", "throttled_ms", "crlf", "no_done")]
    with script_server(lambda ask: scripts[ask.nth](ask)) as server:
        exchanges = run(in_turn(server.url, 4))

    assert [outcome(exchange) for exchange in exchanges] == ["failed", "throttled", "ok", "ok"]
    assert [exchange.connect_s is not None for exchange in exchanges] == [True, False, False, False]
    assert server.connections == 1


def test_a_pooled_connection_that_closes_is_replaced_and_the_request_sent_once_more(run):
    with script_server(faults.script("pooled_close", tokens=TOKENS)) as server:
        exchanges = run(in_turn(server.url, 2))

    assert_sent_once_more(exchanges, server.log)
    assert exchanges[1].connect_s is not None


def test_a_pooled_connection_that_was_reset_is_replaced_too(run):
    def script(ask):
        return [Do.RESET] if ask.nth else healthy()(ask)

    with script_server(script) as server:
        _, second = run(in_turn(server.url, 2))

    assert (outcome(second), second.resent) == ("ok", True)


def test_a_second_close_is_a_failure(run):
    def script(ask):
        return healthy()(ask) if (ask.connection, ask.nth) == (0, 0) else [Do.CLOSE]

    with script_server(script) as server:
        _, second = run(in_turn(server.url, 2))

    assert (second.failure, second.resent) == ("closed", True)
    assert len(server.log) == 3


def test_a_reused_connection_that_breaks_after_the_first_byte_is_not_sent_again(run):
    broken = faults.script("reset_midstream")
    with script_server(lambda ask: (broken if ask.nth else healthy())(ask)) as server:
        _, second = run(in_turn(server.url, 2))

    assert (second.failure, second.resent) == ("broken_stream", False)
    assert len(server.log) == 2


def test_a_stream_that_stalls_ends_at_its_idle_limit_though_the_first_byte_had_longer(run):
    with script_server(faults.script("stall_midstream")) as server:
        exchange = run(once(server.url, timeouts=patience("stall_midstream")))

    assert exchange.failure == "idle_timeout"
    assert 0.3 <= exchange.end - exchange.sent < PATIENT.first_byte


def test_a_slow_answer_meets_the_total_limit(run):
    limits = Timeouts(connect=5.0, first_byte=5.0, idle=5.0, total=0.3)
    with healthy_server(tokens=1000, gap=0.05) as server:
        exchange = run(once(server.url, timeouts=limits))

    assert exchange.failure == "total_timeout"
    assert exchange.end - exchange.sent >= 0.3
    assert exchange.answer.content_events < 1000


# --- before there is a connection -------------------------------------------------------------------------------------


def test_a_refused_connection_is_named(run):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    exchange = run(once(f"http://127.0.0.1:{port}/v1/chat/completions"))

    assert (exchange.failure, exchange.sent, exchange.resent) == ("refused", None, False)


def test_an_unknown_host_is_named(run):
    exchange = run(once("http://nowhere.invalid/v1/chat/completions"))

    assert exchange.failure == "dns"


def test_a_listener_that_never_shakes_hands_is_a_connect_timeout(run):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        exchange = run(once(f"https://127.0.0.1:{listener.getsockname()[1]}/", timeouts=IMPATIENT))

    assert exchange.failure == "connect_timeout"
    assert exchange.error.endswith("after 0.5 s")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-hello\r\n"])
def test_a_server_that_speaks_first_or_hangs_up_is_named(scheme, greeting, run):
    with greeting_server(greeting) as port:
        exchanges = [run(once(f"{scheme}://127.0.0.1:{port}/")) for _ in range(20)]

    assert {exchange.failure for exchange in exchanges} <= {"closed", "tls", "bad_http"}


@pytest.mark.parametrize("env", [{}, {"HTTPS_PROXY": "http://no..such:3128"}])
def test_a_host_that_is_no_name_is_named(env, run):
    exchange = run(once("https://no..such/", env=env))

    assert (exchange.failure, "it is no host name" in exchange.error) == ("proxy" if env else "dns", True)


def test_an_address_that_leads_nowhere_keeps_nobody_from_the_next(monkeypatch):
    connected = asyncio.BaseEventLoop.create_connection

    async def getaddrinfo(_loop, _host, port, **_):
        return [(0, 0, 0, "", (at, port)) for at in ("2001:db8::1", "127.0.0.1")]

    async def create_connection(loop, make, host, *more, **options):
        if host == "2001:db8::1":
            await asyncio.sleep(60)
        return await connected(loop, make, "127.0.0.1", *more, **options)

    monkeypatch.setattr(connect, "_NEXT_ADDRESS", 0.1)
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)
    with healthy_server() as server:
        exchange = asyncio.run(once(f"http://two.test:{server.port}/v1/"))

    assert (outcome(exchange), exchange.peer) == ("ok", "127.0.0.1")
    assert exchange.tcp_s < exchange.connect_s


def test_a_certificate_of_an_unknown_authority_is_refused(run):
    with healthy_server(tls=Authority().serving()) as server:
        exchange = run(once(server.url))

    assert exchange.failure == "tls"
    assert server.log == []


def test_a_certificate_for_another_name_is_refused(run, tmp_path):
    authority = Authority()
    with healthy_server(tls=authority.serving("another.test")) as server:
        exchange = run(once(server.url, ca_file=authority.file(tmp_path)))

    assert exchange.failure == "tls"
    assert server.log == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_trusted_certificate_is_accepted_and_its_handshake_timed(run, tmp_path, host):
    authority = Authority()
    with healthy_server(tls=authority.serving(), host=host) as server:
        exchange = run(once(server.url, ca_file=authority.file(tmp_path)))

    assert (outcome(exchange), exchange.answer.completion_tokens) == ("ok", TOKENS)
    assert 0 < exchange.tls_s <= exchange.connect_s


@pytest.mark.parametrize("kind", ["reset_midstream", "cut_chunk", "by_close", "stall_midstream", "pooled_close"])
def test_the_connections_faults_are_the_same_under_tls(kind, run, tmp_path):
    authority = Authority()
    with script_server(faults.script(kind, tokens=TOKENS, gap=0.001), tls=authority.serving()) as server:
        exchange = run(once(server.url, ca_file=authority.file(tmp_path), timeouts=patience(kind)))

    assert (outcome(exchange), exchange.failure) == (TABLE[kind].outcome, TABLE[kind].failure)


def test_a_proxy_tunnels_to_a_name_that_only_it_knows(run, tmp_path):
    authority = Authority()
    with healthy_server(tls=authority.serving("model.test")) as server, proxy(host="127.0.0.1") as tunnel:
        url = f"https://model.test:{server.port}/openai/v1/chat/completions"
        with_password = tunnel.url.replace("//", "//user:p%40ss@")
        exchange = run(once(url, ca_file=authority.file(tmp_path), env={"HTTPS_PROXY": with_password}))

    assert outcome(exchange) == "ok"
    assert tunnel.asked == [f"model.test:{server.port}"]
    assert tunnel.headers[0]["proxy-authorization"] == "Basic dXNlcjpwQHNz"


@pytest.mark.parametrize(
    ("answer", "failure", "said"),
    [
        (FORBIDDEN, "proxy", "403 Forbidden"),
        (UNAUTHENTICATED, "proxy", "407 Proxy Authentication Required"),
        (b"what?\r\n\r\n", "proxy", "did not open the tunnel"),
        (HANG, "connect_timeout", "after 0.5 s"),
    ],
)
def test_a_proxy_that_refuses_is_named(answer, failure, said, run):
    with proxy(answer) as tunnel:
        exchange = run(once("https://model.test/v1/", env={"HTTPS_PROXY": tunnel.url}, timeouts=IMPATIENT))

    assert exchange.failure == failure
    assert said in exchange.error


def test_the_servers_loop_is_not_the_tests_loop():
    with background() as thread:

        async def who():
            return asyncio.get_running_loop()

        assert thread.run(who()) is thread.loop
