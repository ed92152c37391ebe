"""A read that differs from a decoded one in plain text alone is known by its bytes, and no other is."""

import asyncio
from types import SimpleNamespace

import pytest

from ptubench.client import alike, http1
from ptubench.client.exchange import Exchange, GapSink
from ptubench.workload.model import Timeouts
from wire import asked, connected

MARK = b'"content":"'
EVENT = b'data: {"choices":[{"delta":{"content":"%b"},"index":0}],"id":"c"}\n\n'


def read(text, event=EVENT, size=0):
    body = event % text
    return b"%x\r\n%b\r\n" % (len(body) + size, body)


def learn(read, body):
    return alike.learn(read, body, MARK, GapSink(), 1.0)


def learnt(text=b" and", event=EVENT):
    return learn(read(text, event), event % text)


@pytest.mark.parametrize("text", [b" of", b"0", b" and", b"{}[]:,/'" * 20, b"~ !#", b"x" * 3000])
def test_another_text_of_any_length_fits(text):
    assert learnt().took(read(text), 2.0)


@pytest.mark.parametrize(
    "text", [b"", b'"', b"\\", b"a\\n", b'a" b', b"a\x1fb", b"\n", b"\x7f", "é".encode(), b"\xff", b"x" * 5000]
)
def test_what_would_have_to_be_decoded_does_not_fit(text):
    assert not learnt().took(read(text), 2.0)


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\0",
        read(b" of", size=1),
        read(b" of", size=-1),
        read(b" of") + read(b" of"),
        read(b" of")[:-1],
        read(b" of")[1:],
        b"0" + read(b" of"),
        read(b" of").upper(),
        read(b" of", EVENT.replace(b'"c"', b'"d"')),
        read(b" of", EVENT.replace(b"0", b"1")),
        read(b" of", EVENT.replace(b"\n\n", b"\n")),
        EVENT % b" of",
    ],
)
def test_nothing_else_fits(other):
    assert not learnt().took(other, 2.0)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (b"", EVENT),
        (b"a\\n", EVENT),
        (b" and", EVENT.replace(b"content", b"reasoning")),
        (b" and", EVENT.replace(b'"c"', b'"c","content":"x"')),
        (b" and", b"event: x\n" + EVENT),
        (b" and", EVENT + b"data: {}\n\n"),
        (b" and", EVENT.replace(b"\n\n", b"\r\n\r\n")),
        (b" and", EVENT.replace(b"data: ", b"data:")),
        (b"x" * 5000, EVENT),
    ],
)
def test_nothing_is_learnt_of_an_event_of_another_make(text, event):
    assert learnt(text, event) is None


def test_nothing_is_learnt_of_a_read_that_is_more_or_less_than_the_chunk():
    assert learn(EVENT % b" and", EVENT % b" and") is None
    assert learn(read(b" and") + b"0\r\n\r\n", EVENT % b" and") is None
    assert learn(read(b" and")[3:], EVENT % b" and") is None


def test_what_fits_is_counted_with_the_time_since_the_one_before_it_and_nothing_else_is():
    gaps = GapSink()
    known = alike.learn(read(b" and"), EVENT % b" and", MARK, gaps, 1.0)
    for at, text in ((1.5, b" of"), (1.75, b"a\\n"), (2.5, b" course")):
        known.took(read(text), at)
    assert (known.events, known.last, gaps.events) == (2, 2.5, 2)
    twice = GapSink()
    twice.content(1.5, 1.0)
    twice.content(2.5, 1.5)
    assert gaps.counts == twice.counts


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%b\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"


@pytest.fixture
def clock(monkeypatch):
    """What the connection takes for the time."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(http1, "perf_counter", lambda: clock.now)
    return clock


async def begun(head, limits=None):
    """A connection whose answer begins, the exchange, where its gaps go, and the task that waits for its end."""
    gaps, exchange = GapSink(), Exchange()
    connection = connected(gaps=gaps, timeouts=limits)
    under_way = await asked(connection, exchange)
    connection.data_received(head)
    return connection, exchange, gaps, under_way


def lose(connection, exc=None):
    connection.connection_lost(exc)


ENDS = {
    "done": lambda connection: connection.data_received(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"),
    "no chunk": lambda connection: connection.data_received(b"data: "),
    "torn": lambda connection: connection.data_received(read(b" the")[:-9]) or lose(connection),
    "closed": lose,
    "reset": lambda connection: lose(connection, ConnectionResetError("reset")),
    "cut": None,
}


@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_an_answer_all_its_events_are_told_with_the_time_of_the_last(clock, end, spilled):
    events = ((1.0, b" and"), (2.0, b" and so"), (4.0, b" on"), (5.5, b"\\n"), (8.0, b" the"), (8.25, b" end"))

    async def streamed():
        head = HEAD % (CHUNKED + (b"x-ms-spillover-from-deployment: a\r\n" if spilled else b""))
        connection, exchange, gaps, under_way = await begun(head)
        for clock.now, text in events:
            connection.data_received(read(text))
        clock.now = 9.0
        _ = ENDS[end](connection) if ENDS[end] else under_way.cancel()
        await asyncio.wait((under_way,), timeout=20)
        return exchange.answer, gaps

    answer, gaps = asyncio.run(streamed())

    one_by_one = GapSink()
    for (at, _), before in zip(events, (None, *(at for at, _ in events)), strict=False):
        one_by_one.content(at, None if spilled else before)
    assert (answer.content_events, answer.first_output, answer.last_content) == (6, 1.0, 8.25)
    assert (gaps.events, gaps.counts) == (6, one_by_one.counts)


def test_a_stream_is_idle_from_its_last_event_on_however_that_was_read(clock):
    async def streamed():
        limits = Timeouts(first_byte=0.05, idle=0.05, total=60.0)
        connection, exchange, _, under_way = await begun(HEAD % CHUNKED, limits)
        for at in (0.01, 0.04, 0.08):
            clock.now = at
            connection.data_received(read(b" and"))
        await asyncio.sleep(0.5)  # its timer looks in the meantime; the clock that it reads stands still
        alive = not under_way.done()
        clock.now = 0.14
        await asyncio.wait_for(under_way, 20)
        return alive, exchange

    alive, exchange = asyncio.run(streamed())

    assert alive
    assert (exchange.failure, exchange.answer.content_events, exchange.answer.last_content) == ("idle_timeout", 3, 0.08)
