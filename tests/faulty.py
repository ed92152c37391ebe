"""What becomes of a request for each thing that can go wrong: the table that clients are held to, and how it is tried."""

from dataclasses import dataclass

from msgspec.structs import replace

from ptubench.client.exchange import Exchange
from ptubench.record import Attempt
from ptubench.sim import faults
from ptubench.workload.model import Timeouts
from running import calmly
from servers import healthy, script_server

TOKENS = 8
PATIENT = Timeouts(connect=30.0, first_byte=30.0, idle=30.0, total=60.0)
IMPATIENT = replace(PATIENT, connect=0.5)
STALLS = {
    "stall_first_byte": replace(PATIENT, first_byte=0.3),
    "stall_headers": replace(PATIENT, idle=0.3),
    "stall_midstream": replace(PATIENT, idle=0.3),
}
STEADY = b'{"stream":true,"steady":1}'
FAULTY = b'{"stream":true}'


@dataclass(frozen=True)
class Row:
    """What is expected of a fault."""

    outcome: str = "ok"
    failure: str | None = None
    flags: tuple[str, ...] = ()
    status: int | None = 200
    tokens: int | None = None
    kept: bool = True
    """Whether its connection may be used again."""
    read: bool = True
    """Whether all of its content is read."""


def failed(kind, *, status=200, tokens=None, kept=False, read=True):
    return Row("failed", kind, (), status, tokens, kept, read)


def refused(status, kind=None):
    return Row("failed", kind or f"http_{status}", (), status, None, kept=True)


OK = Row(tokens=TOKENS)
THROTTLED = Row("throttled", status=429)
TABLE = {
    "reset_before_headers": failed("closed", status=None),
    "close_before_headers": failed("closed", status=None),
    "reset_midstream": failed("broken_stream"),
    "close_midstream": failed("broken_stream"),
    "cut_chunk": failed("broken_stream"),
    "pooled_close": OK,
    "idle_close": Row(tokens=TOKENS, kept=False),
    "stall_first_byte": failed("first_byte_timeout", status=None),
    "stall_headers": failed("idle_timeout"),
    "stall_midstream": failed("idle_timeout"),
    "garbage": failed("bad_http", status=None),
    "bytes_after_end": Row(flags=("bytes_after_end",), tokens=TOKENS, kept=False),
    "huge_headers": failed("headers_too_large", status=None, read=False),
    "by_close": Row(tokens=TOKENS, kept=False),
    "http_400": refused(400),
    "http_401": refused(401),
    "http_403": refused(403),
    "keys_disabled": refused(403),
    "wrong_audience": refused(401),
    "no_role": refused(401),
    "network_rule": refused(403),
    "http_404": refused(404),
    "http_408": refused(408),
    "http_500": refused(500),
    "http_503": refused(503),
    "redirect": refused(302, "redirect"),
    "throttled_ms": THROTTLED,
    "throttled_seconds": THROTTLED,
    "throttled_date": THROTTLED,
    "throttled_bare": THROTTLED,
    "throttled_absurd": THROTTLED,
    "html": failed("not_a_stream", kept=True),
    "json": failed("not_a_stream", kept=True),
    "empty": failed("broken_stream", kept=True),
    "no_content": failed("empty", tokens=0, kept=True),
    "error_event": failed("stream_error", kept=True),
    "not_json": failed("bad_event", kept=True),
    "wrong_shape": failed("bad_event", kept=True),
    "half_event": failed("broken_stream", kept=True),
    "huge_event": failed("event_too_large", read=False),
    "no_done": Row(flags=("no_done",), tokens=TOKENS),
    "no_usage": Row(tokens=None),
    "after_done": OK,
    "crlf": OK,
    "bytewise": Row(tokens=TOKENS, kept=False),
    "three_per_write": OK,
    "one_write": OK,
    "comments": OK,
    "cut_characters": OK,
    "odd_deltas": OK,
    "tool_calls": OK,
    "reasoning": OK,
    "refusal": OK,
    "packed": OK,
    "one_event": OK,
}


def patience(kind):
    """Limits under which only a stall is one: short for these alone, so that a stall of the machine is none."""
    return STALLS.get(kind, PATIENT)


async def send(client, body=FAULTY):
    exchange = Exchange()
    await client.send(body, exchange)
    return exchange


def outcome(exchange):
    return Attempt(index=0, scheduled=0.0, taken=0.0, failure=exchange.failure, status=exchange.status).outcome


def beside_a_steady_stream(kind, both):
    """What `both` finds of a steady stream, of the fault and of their connections; and the server's log by their bodies.

    Again if the machine stalled for as long as the server is to: then the steady stream meets the limit, too.
    """
    fault, steady = faults.script(kind, tokens=TOKENS, gap=0.001), healthy(tokens=8, ttft=0.01, gap=0.004)

    def once():
        with script_server(lambda ask: (steady if ask.body == STEADY else fault)(ask)) as server:
            return *both(server.url, patience(kind)), {played.ask.body: played for played in server.log}

    return calmly(once, lambda found: outcome(found[0]) == "ok")


def assert_seen_as_sent(exchange, contents, *, whole=True):
    """The client's content against the server's log: as much, and none before it was sent."""
    assert exchange.sent <= exchange.end
    if whole:
        assert exchange.answer.content_events == len(contents)
    if exchange.answer.content_events:
        assert contents[0] <= exchange.answer.first_content
        assert contents[exchange.answer.content_events - 1] <= exchange.answer.last_content <= exchange.end


def assert_as_in_the_table(row, faulty, contents):
    """What became of a request; `contents` are the stamps of the server's log."""
    seen = (outcome(faulty), faulty.failure, faulty.flags, faulty.status)

    assert seen == (row.outcome, row.failure, row.flags, row.status)
    assert faulty.answer.completion_tokens == row.tokens
    assert_seen_as_sent(faulty, contents, whole=row.read)


def assert_as_in_the_table_and_alone(row, faulty, steady, logs):
    """What became of the faulty request, and that the steady stream beside it is untouched; `logs` by the request's body."""
    assert_as_in_the_table(row, faulty, logs[FAULTY].contents)
    assert (outcome(steady), steady.flags, steady.answer.content_events) == ("ok", (), 8)
    assert_seen_as_sent(steady, logs[STEADY].contents)


def assert_sent_once_more(exchanges, log):
    """Of two requests on a connection that closes when it is used again, the second went over a new one, after the close."""
    asks = [(played.ask.connection, played.ask.nth) for played in log]

    assert asks == [(0, 0), (0, 1), (1, 0)]
    assert [(outcome(one), one.resent, one.answer.completion_tokens) for one in exchanges] == [
        ("ok", False, TOKENS),
        ("ok", True, TOKENS),
    ]
    assert exchanges[1].sent >= log[1].ended
