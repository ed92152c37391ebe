"""`client: httpx` is held to the same table of faults as the timed client, except for what httpx2 can't see."""

import asyncio
import contextlib
import os
import socket
import sys
from dataclasses import replace

import msgspec
import pytest

import running
from faulty import (
    IMPATIENT,
    PATIENT,
    STEADY,
    TABLE,
    TOKENS,
    Row,
    assert_as_in_the_table_and_alone,
    assert_seen_as_sent,
    assert_sent_once_more,
    beside_a_steady_stream,
    outcome,
    send,
)
from h2_server import h2_server
from ptubench.client.exchange import Exchange
from ptubench.client.make import make_client
from ptubench.engine.ways_out import way_out
from ptubench.sim import faults
from ptubench.sim.script import Do
from ptubench.target.model import Target
from servers import CHAT, FORBIDDEN, HANG, Authority, background, healthy, healthy_server, proxy, script_server

CANNOT_SEE = {
    # Its parser stops at the end of an answer, and what follows stays in it.
    "bytes_after_end": Row(tokens=TOKENS, kept=True),
    # Reads an event of any length piece by piece, as the timed client does, and is over with the body it is in.
    "huge_headers": replace(TABLE["huge_headers"], tokens=None),
}
"""The rows of the table that are others for httpx2."""


def client_of(url, *, kind="httpx", ca_file=None, env=None, timeouts=PATIENT):
    return make_client(
        kind,
        url=url,
        headers={},
        timeouts=timeouts,
        stream=True,
        ca_file=str(ca_file) if ca_file else None,
        env=env or {},
        max_connections=10,
    )


def run(work):
    return asyncio.run(work)


def connections(client):
    """How many it keeps for further use."""
    pool = client._client._transport._pool
    return len([one for one in pool.connections if one.is_idle() and not one.has_expired()])


async def both(url, timeouts):
    """The faulty exchange and the steady one, and how many connections stay open."""
    client = client_of(url, timeouts=timeouts)
    steady, faulty = await asyncio.gather(send(client, STEADY), send(client))
    kept = connections(client)
    await client.close()
    return steady, faulty, kept


async def in_turn(url, count, **options):
    """Requests one after the other through one client."""
    client = client_of(url, **options)
    exchanges = [await send(client) for _ in range(count)]
    await client.close()
    return exchanges


@pytest.mark.parametrize("kind", sorted(TABLE))
def test_a_fault_is_named_as_by_the_timed_client_and_the_stream_beside_it_untouched(kind):
    row = CANNOT_SEE.get(kind, TABLE[kind])
    steady, faulty, kept, logs = beside_a_steady_stream(kind, lambda *where: run(both(*where)))

    assert_as_in_the_table_and_alone(row, faulty, steady, logs)
    assert kept == 1 + row.kept


def test_what_a_429_asks_for_is_kept():
    with script_server(faults.script("throttled_ms")) as server:
        (exchange,) = run(in_turn(server.url, 1))

    assert exchange.headers == {"retry-after-ms": "1234", "retry-after": "2"}


def test_opening_a_connection_is_timed_and_in_no_latency():
    with healthy_server() as server:
        first, second = run(in_turn(server.url, 2))

    assert first.connect_s > 0
    assert second.connect_s is None
    assert (first.peer, first.tls_s) == ("127.0.0.1", None)
    assert first.sent < server.log[0].began < first.answer.first_content


def test_the_handshake_is_a_part_of_connecting(tmp_path):
    authority = Authority()
    with healthy_server(tls=authority.serving()) as server:
        (exchange,) = run(in_turn(server.url, 1, ca_file=authority.file(tmp_path)))

    assert 0 < exchange.tls_s < exchange.connect_s


def test_a_pooled_connection_that_closes_is_replaced_and_the_request_sent_once_more():
    with script_server(faults.script("pooled_close", tokens=TOKENS)) as server:
        exchanges = run(in_turn(server.url, 2))

    assert_sent_once_more(exchanges, server.log)


def test_a_second_close_is_a_failure():
    def script(ask):
        return healthy()(ask) if (ask.connection, ask.nth) == (0, 0) else [Do.CLOSE]

    with script_server(script) as server:
        _, second = run(in_turn(server.url, 2))

    assert (second.failure, second.resent) == ("closed", True)
    assert len(server.log) == 3


def test_a_reused_connection_that_breaks_after_the_first_byte_is_not_sent_again():
    broken = faults.script("reset_midstream")
    with script_server(lambda ask: (broken if ask.nth else healthy())(ask)) as server:
        _, second = run(in_turn(server.url, 2))

    assert (second.failure, second.resent) == ("broken_stream", False)
    assert len(server.log) == 2


@pytest.mark.parametrize(
    ("limits", "failure"),
    [
        ({"first_byte": 0.2}, "first_byte_timeout"),
        ({"idle": 0.2}, None),
        ({"total": 0.2}, "total_timeout"),
    ],
)
def test_the_first_byte_has_a_limit_of_its_own(limits, failure):
    def script(ask):
        return [0.5, *faults.script("one_write")(ask)]  # so that nothing is idle after the first byte

    with script_server(script) as server:
        (exchange,) = run(in_turn(server.url, 1, timeouts=msgspec.structs.replace(PATIENT, **limits)))

    assert exchange.failure == failure


def test_what_stands_before_a_connection_is_named(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        silent = run(in_turn(f"https://127.0.0.1:{port}/", 1, timeouts=IMPATIENT))
    refused = run(in_turn(f"http://127.0.0.1:{port}/", 1))
    unknown = run(in_turn("http://nowhere.invalid/", 1))
    with healthy_server(tls=Authority().serving()) as server:
        untrusted = run(in_turn(server.url, 1))
    with proxy(FORBIDDEN) as tunnel:
        forbidden = run(in_turn("https://model.test/v1/", 1, env={"HTTPS_PROXY": tunnel.url}))
    with proxy(HANG) as tunnel:
        hanging = run(in_turn("https://model.test/v1/", 1, env={"HTTPS_PROXY": tunnel.url}, timeouts=IMPATIENT))

    named = {one.failure: one for (one,) in (silent, refused, unknown, untrusted, forbidden)}
    assert list(named) == ["connect_timeout", "refused", "dns", "tls", "proxy"]
    assert (hanging[0].failure, hanging[0].error) == ("connect_timeout", "ReadTimeout: after 0.5 s")
    assert {one.sent for one in (*named.values(), *hanging)} == {None}


def test_a_server_that_does_not_read_does_not_answer():
    limits = msgspec.structs.replace(PATIENT, first_byte=0.3, idle=0.1)

    async def sent(url):
        client = client_of(url, timeouts=limits)
        exchange = await send(client, b" " * 50_000_000)
        await client.close()
        return exchange

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        exchange = run(sent(f"http://127.0.0.1:{listener.getsockname()[1]}/"))

    assert (exchange.failure, exchange.error, exchange.resent) == (
        "first_byte_timeout",
        "WriteTimeout: after 0.3 s",
        False,
    )


def test_what_tls_makes_of_a_stream_that_was_spoilt_is_no_failed_handshake(tmp_path):
    authority = Authority()

    async def spoil(reader, writer):
        """Between the two, and not for long honest."""
        there, to_there = await asyncio.open_connection("127.0.0.1", server.port)

        async def forth():
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    to_there.write(data)

        going, passed = asyncio.create_task(forth()), 0
        with contextlib.suppress(OSError), contextlib.closing(writer), contextlib.closing(to_there):
            while data := await there.read(65536):
                passed += len(data)
                writer.write(b"\xff" * 4096 if passed > 3500 else data)
                await writer.drain()
        going.cancel()

    with (
        healthy_server(tls=authority.serving(), tokens=100, gap=0.01) as server,
        background() as thread,
        thread.listening(asyncio.start_server(spoil, "127.0.0.1", 0)) as port,
    ):
        (exchange,) = run(in_turn(f"https://127.0.0.1:{port}{CHAT}", 1, ca_file=authority.file(tmp_path)))

    assert (exchange.failure, exchange.status) == ("broken_stream", 200)
    assert exchange.answer.content_events > 0


@pytest.mark.parametrize("hears", [0, 100])
@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_server_that_leaves_in_the_handshake_is_named_as_by_the_timed_client(how, hears):
    async def leave(reader, writer):
        await reader.read(hears)
        getattr(writer.transport, how)()

    with background() as thread, thread.listening(asyncio.start_server(leave, "127.0.0.1", 0)) as port:
        seen = {kind: run(in_turn(f"https://127.0.0.1:{port}/", 1, kind=kind))[0] for kind in ("timed", "httpx")}

    assert {kind: (one.failure, one.sent) for kind, one in seen.items()} == dict.fromkeys(seen, ("tls", None))


@pytest.mark.parametrize("kind", ["timed", "httpx"])
def test_the_authority_of_a_certificate_is_asked_for_whichever_client_does_not_know_it(kind):
    with healthy_server(tls=Authority().serving()) as server:
        (exchange,) = run(in_turn(server.url, 1, kind=kind))
    target = Target(kind="openai", style="openai", endpoint="", url=server.url, deployment="d", body_model="d")

    assert (exchange.failure, exchange.sent) == ("tls", None)
    assert way_out(target, exchange, proxy=None).startswith("name the authority that signed it with --ca-file")


def test_a_server_that_wants_a_certificate_of_the_clients_own_is_told_from_a_wrong_port():
    exchange = Exchange()
    exchange.fail("closed", "SSLError: [SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
    target = Target(kind="openai", style="openai", endpoint="", url=CHAT, deployment="d", body_model="d")

    assert way_out(target, exchange, proxy=None).startswith("it wants a certificate of the client's own")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
@pytest.mark.parametrize("kind", ["timed", "httpx"])
def test_a_machine_without_a_file_left_for_a_connection_is_not_the_targets_failure(kind):
    import resource

    async def out_of_files(url):
        client, limits = client_of(url, kind=kind), resource.getrlimit(resource.RLIMIT_NOFILE)
        least = os.dup(0)
        os.close(least)
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, limits[1]))
        try:
            return await send(client)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            await client.close()

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        exchange = run(out_of_files(f"http://127.0.0.1:{listener.getsockname()[1]}/"))

    assert (exchange.failure, exchange.sent) == ("no_socket", None)
    assert "Too many open files" in exchange.error


# --- HTTP/2


def test_http2_is_spoken_where_the_server_offers_it(tmp_path):
    authority = Authority()
    with h2_server(authority.serving(), tokens=8, ttft=0.1, gap=0.01) as server:
        first, second = run(in_turn(server.url, 2, ca_file=authority.file(tmp_path)))

    assert [(one.http, outcome(one), one.answer.completion_tokens) for one in (first, second)] == [
        ("HTTP/2", "ok", TOKENS)
    ] * 2
    assert (server.connections, len(server.contents)) == (1, 2)
    assert (first.connect_s > 0, second.connect_s) == (True, None)
    for exchange, contents in zip((first, second), server.contents, strict=True):
        assert_seen_as_sent(exchange, contents)
        assert exchange.answer.first_content - exchange.sent >= 0.1


def test_http2_calls_that_wait_for_their_turn_on_the_connection_are_not_sent_yet(tmp_path):
    authority = Authority()

    async def at_once(url):
        client = client_of(url, ca_file=authority.file(tmp_path))
        await send(client)  # opens the connection, and learns how many streams it takes
        exchanges = await asyncio.gather(*(send(client) for _ in range(4)))
        await client.close()
        return sorted(exchanges, key=lambda exchange: exchange.sent)

    with h2_server(authority.serving(), tokens=2, ttft=0.1, most_streams=2) as server:
        early, _, late, _ = run(at_once(server.url))

    assert server.connections == 1
    assert late.sent >= early.answer.last_content
    assert late.answer.first_content - late.sent >= 0.1


def test_an_http2_stream_that_is_reset_breaks_off_alone(tmp_path):
    authority = Authority()

    async def two(url):
        client = client_of(url, ca_file=authority.file(tmp_path))
        await send(client)
        exchanges = await asyncio.gather(send(client, b'{"reset":true}'), send(client))
        await client.close()
        return exchanges

    with h2_server(authority.serving(), tokens=4, gap=0.02) as server:
        broken, whole = run(two(server.url))

    assert (broken.failure, broken.answer.content_events) == ("broken_stream", 1)
    assert (outcome(whole), whole.answer.completion_tokens) == ("ok", 4)


@pytest.mark.parametrize(
    ("body", "again"), [(b'{"refused":7}', True), (b'{"goaway":true}', True), (b'{"refused":2}', False)]
)
def test_an_http2_request_is_sent_once_more_only_where_the_server_says_that_it_has_not_looked_at_it(
    tmp_path, body, again
):
    authority = Authority()

    async def two(url):
        client = client_of(url, ca_file=authority.file(tmp_path))
        exchanges = [await send(client), await send(client, body)]
        await client.close()
        return exchanges

    with h2_server(authority.serving(), tokens=4) as server:
        _, second = run(two(server.url))

    assert (outcome(second), second.failure, second.resent) == (
        ("ok", None, True) if again else ("failed", "closed", False)
    )
    assert (server.turned_away, len(server.contents)) == (1, 1 + again)


def test_the_verdict_of_a_run_says_when_one_connections_streams_limit_the_load(tmp_path):
    authority = Authority()
    with h2_server(authority.serving(), tokens=4, ttft=0.1, most_streams=3) as server:
        target = running.endpoint(server.url.removesuffix(CHAT), "--ca-file", str(authority.file(tmp_path)))
        run = running.start(tmp_path / "run", *target, client="httpx", duration="1s").finish()
    reasons = {reason["code"]: reason["text"] for reason in run.summary["validity"]["reasons"]}

    assert (run.code, run.head.probe["http"]) == (4, "HTTP/2")
    assert run.metrics["requests"]["ok"] == run.head.planned == 40
    assert (
        run.metrics["ttft_scheduled"]["p50"] > 2 * run.metrics["ttft"]["p50"]
    )  # 40 calls a second where 30 go through
    assert "what limits the load is the connections of `client: httpx`" in reasons["held"]
