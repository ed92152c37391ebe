"""Whatever bytes a server sends, an attempt ends, under a name that is documented, in bounded memory."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import fuzzed, is_failure, pieces, spoilt, torn
from ptubench import record, waits
from ptubench.client.exchange import Exchange, GapSink
from ptubench.record import Attempt
from ptubench.stream import refusal, sse
from ptubench.stream.answer import Answer, BadEvent, error_of_body
from ptubench.stream.apis import APIS
from ptubench.workload.model import Timeouts
from wire import Wire, asked, connected

CHAT = {
    "id": "c",
    "model": "gpt-4.1-2025-04-14",
    "choices": [
        {
            "index": 0,
            "delta": {
                "role": "assistant",
                "content": "Hi",
                "refusal": None,
                "reasoning_content": "so",
                "tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}],
            },
            "message": {"content": "Hi"},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "error": {"code": "429", "message": "slow down", "type": "x", "param": "stream_options"},
}
RESPONSE = {
    "status": "incomplete",
    "model": "gpt-4.1",
    "usage": {
        "input_tokens": 9,
        "output_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
    "incomplete_details": {"reason": "max_output_tokens"},
    "error": {"code": "server_error", "message": "no"},
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}], "summary": [{"text": "so"}]}],
}
EVENTS = {
    "chat": [CHAT],
    "responses": [
        {"type": "response.output_text.delta", "delta": "Hi"},
        {"type": "response.incomplete", "response": RESPONSE},
        {"type": "error", "code": "429", "message": "slow down", "error": {"message": "no"}},
        RESPONSE,
    ],
}
WIRE = [
    *(
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\n",
        b"HTTP/1.0 500 \r\n",
    ),
    *(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", b"HTTP/1.1 99999 No\r\n"),
    *(b"content-type: text/event-stream\r\n", b"content-type: application/json\r\n", b"transfer-encoding: chunked\r\n"),
    *(b"content-length: 5\r\n", b"content-length: -1\r\n", b"content-length: 99999999999999999999\r\n"),
    *(b"connection: close\r\n", b"retry-after: nan\r\n", b"x-request-id: \xff\x00\r\n", b"a" * 70_000, b" folded\r\n"),
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nx: ",
        b"1;a=",
        b"ffffffffffffffffffff\r\n",
        b"-5\r\n",
    ),
    *(
        b"7\r\ndata: \n\r\n",
        b"e\r\ndata: [DONE]\n\n\r\n",
        b"data: ",
        b"data: [DONE]\n\n",
        b"event: x\n",
        b": c\n",
        b"{}",
    ),
]
STREAM = [
    *(b"data", b":", b" ", b"\n", b"\r\n", b"\r", b"\xef\xbb\xbf", b"event: x\n", b": c\n", b"id", b"data: [DONE]\n\n"),
    *(b"data: " + msgspec.json.encode(event) + b"\n\n" for events in EVENTS.values() for event in events),
]
LIMITS = Timeouts(connect=60, first_byte=60, idle=60, total=60)


async def exchanged(reads, *, api, stream, broken, gaps=None):
    """What a client makes of these reads and of the end of the connection after them."""
    connection, exchange = connected(gaps=gaps, timeouts=LIMITS, stream=stream), Exchange()
    exchange.answer = APIS[api].answer()
    under_way = await asked(connection, exchange)
    for read in reads:
        if not connection.closed:
            connection.data_received(read)
    if connection.transport is not None:
        connection.connection_lost(ConnectionResetError("reset") if broken else None)
    await asyncio.wait_for(under_way, 20)
    return exchange


def check_short(refused):
    assert len(str(refused)) <= 300


def check_stored(exchange):
    """It can be written as an attempt and read again."""
    answer = exchange.answer
    attempt = Attempt(
        index=0,
        scheduled=0.0,
        taken=0.0,
        status=exchange.status,
        headers=exchange.headers,
        failure=exchange.failure,
        error=exchange.error,
        flags=exchange.flags,
        finish=answer.finish,
        model=answer.model,
        prompt_tokens=answer.prompt_tokens,
        cached_tokens=answer.cached_tokens,
        completion_tokens=answer.completion_tokens,
        reasoning_tokens=answer.reasoning_tokens,
    )

    assert record.decode(record.encode(attempt)) == attempt
    assert len(record.encode(attempt)) < 20_000
    assert attempt.outcome != "failed" or is_failure(exchange.failure)


@given(data=st.data(), api=st.sampled_from(sorted(APIS)), stream=st.booleans(), broken=st.booleans())
@fuzzed(60)
def test_any_bytes_end_an_exchange_under_a_name(data, api, stream, broken):
    reads = data.draw(torn(WIRE + STREAM).flatmap(pieces))

    exchange = asyncio.run(exchanged(reads, api=api, stream=stream, broken=broken))

    assert exchange.end is not None
    assert exchange.failure or exchange.status is not None
    check_stored(exchange)


@given(data=st.data(), api=st.sampled_from(sorted(APIS)), broken=st.booleans())
@fuzzed(60)
def test_any_body_behind_proper_headers_ends_an_exchange_under_a_name(data, api, broken):
    status = data.draw(st.sampled_from([b"200", b"400", b"429", b"503"]))
    kind = data.draw(st.sampled_from([b"text/event-stream", b"application/json"]))
    body = data.draw(torn(STREAM))
    head = b"HTTP/1.1 %b X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, kind, len(body))
    reads = data.draw(pieces(head + body))

    exchange = asyncio.run(exchanged(reads, api=api, stream=data.draw(st.booleans()), broken=broken))

    check_stored(exchange)


def seen_of(reads, *, broken):
    """Everything about an exchange that does not depend on when its bytes came."""
    gaps = GapSink()
    exchange = asyncio.run(exchanged(reads, api="chat", stream=True, broken=broken, gaps=gaps))
    told = {name: getattr(exchange, name) for name in ("status", "failure", "error", "flags")}
    answer = {
        name: getattr(exchange.answer, name) for name in Answer.__slots__ if not name.startswith(("first_", "last_"))
    }
    return told, answer, gaps.events, sum(gaps.counts.values()), exchange.answer.first_output is None


def chunked(text, *, lie=0):
    """An event as servers send it: one chunk, whose size may be a lie."""
    return b"%x\r\n%b\r\n" % (len(text) + lie, text)


PLAIN = (b" and", b" of", b"0", b" more words than others have")
TEXTS = st.one_of(
    *[st.sampled_from(PLAIN)] * 3,
    st.sampled_from((b"", b"\\n", b'\\"', b"\\", b'"', b"\x00", b"\n", b"\n\n", b"\xff", b"\xc3\xa9")),
)
SHAPES = st.sampled_from(
    (
        b'data: {"choices":[{"delta":{"content":"%b"},"index":0}],"id":"c"}\n\n',
        b'data: {"choices":[{"delta":{"content":"%b"},"index":0}],"id":"d","model":"m"}\n\n',
        b'data: {"choices":[{"delta":{"content":"%b"},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"%b"}}],"usage":{"completion_tokens":3}}\n\n',
        b'data: {"choices":[{"delta":{"content":"%b"}}],"error":{"message":"no"}}\n\n',
        b'data: {"choices":[{"delta":{"content": "x"}}],"error":{"content":"%b"}}\n\n',
        b'data: {"choices":[{"delta":{"content":"%b"}},{"delta":{"content":"y"}}]}\n\n',
        b'data: {"choices":[{"delta":{"reasoning":"%b"}}]}\n\n',
        b'data: {"choices":[{"delta":{"reasoning":"x"}}],"meta":{"content":"%b"}}\n\n',
        b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\ndata: {}\n\n',
        b'data: {"choices":[{"delta":{"content":"%b"}}]}\n',
        b'data:{"choices":[{"delta":{"content":"%b"}}]}\r\n\r\n',
        b'event: x\ndata: {"choices":[{"delta":{"content":"%b"}}]}\n\n',
        b'data: "content":"%b"\n\n',
        b": %b\n\n",
    )
)


STREAMED = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@st.composite
def alike(draw):
    """Reads of whole events of very few shapes, now and then with a lie about their size."""
    shapes, lies = draw(st.lists(SHAPES, min_size=1, max_size=2)), st.sampled_from((0, 0, 0, 0, 0, 0, 1, -1))
    events = st.builds(lambda shape, text, lie: chunked(shape % text, lie=lie), st.sampled_from(shapes), TEXTS, lies)
    done = chunked(b"data: [DONE]\n\n")
    return [
        *draw(st.lists(events, min_size=2, max_size=20)),
        *draw(st.sampled_from(([], [done], [done + b"0\r\n\r\n"]))),
    ]


@given(reads=alike(), data=st.data(), broken=st.booleans())
@fuzzed(200)
def test_an_answer_reads_the_same_whether_its_events_come_whole_or_cut_anywhere(reads, data, broken):
    cuts = [data.draw(st.integers(1, len(read) - 1)) for read in reads]
    cut = [part for read, at in zip(reads, cuts, strict=True) for part in (read[:at], read[at:])]

    assert seen_of([STREAMED, *reads], broken=broken) == seen_of([STREAMED, *cut], broken=broken)


def test_an_event_that_follows_an_unfinished_one_is_not_taken_for_another_like_the_last():
    whole = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n'
    reads = [chunked(whole % b"a"), chunked(whole % b"b"), chunked((whole % b"c")[:-1]), chunked(whole % b"d")]

    told, answer, *_ = seen_of([STREAMED, *reads], broken=False)

    assert told["failure"] == "bad_event"
    assert answer["content_events"] == 2


def test_a_connection_that_was_lost_while_it_was_opened_may_be_opened_to_the_next_address():
    async def opened_twice():
        connection, exchange = connected(timeouts=LIMITS), Exchange()
        connection.connection_lost(None)
        connection.connection_made(Wire())
        under_way = await asked(connection, exchange)
        connection.data_received(STREAMED + chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await asyncio.wait_for(under_way, 1)
        return exchange

    exchange = asyncio.run(opened_twice())

    assert (exchange.status, exchange.answer.done) == (200, True)


def test_the_last_line_of_an_event_is_not_taken_for_another_event():
    first, last = b'data: {"choices":[{"delta":\n', b'data: {"content":"%b"}}]}\n\n'
    reads = [chunked(first), chunked(last % b"a"), chunked(last % b"b")]

    told, answer, *_ = seen_of([STREAMED, *reads], broken=False)

    assert told["failure"] == "bad_event"
    assert answer["content_events"] == 1


def test_reasoning_beside_a_text_that_changes_is_no_output():
    event = b'data: {"choices":[{"delta":{"reasoning":"x"}}],"meta":{"content":"%b"}}\n\n'

    *_, without_output = seen_of([STREAMED, *(chunked(event % text) for text in (b"a", b"b", b"c"))], broken=False)

    assert without_output


@given(stream=torn(STREAM), data=st.data())
@fuzzed(100)
def test_events_are_the_same_however_a_stream_is_cut(stream, data):
    def fed(reads):
        decoder = sse.Decoder(limit=200_000)
        events = [event for read in reads for event in decoder.feed(read)]
        return events, decoder.torn, decoder.close()

    assert fed(data.draw(pieces(stream))) == fed([stream])


@pytest.mark.parametrize("api", sorted(APIS))
@given(data=st.data())
@fuzzed(100)
def test_an_event_of_any_shape_is_read_or_refused(api, data):
    answer = APIS[api].answer()
    for event in data.draw(st.lists(st.sampled_from(EVENTS[api]).flatmap(spoilt), min_size=1, max_size=3)):
        for take in (answer.event, answer.whole):
            try:
                take(msgspec.json.encode(event), 1.0)
            except BadEvent as exc:
                check_short(exc)

    exchange = Exchange()
    exchange.answer = answer
    check_stored(exchange)


@given(st.one_of(torn(STREAM), spoilt({"error": CHAT["error"]}).map(msgspec.json.encode)))
@fuzzed(50)
def test_any_body_of_an_error_is_one_line(body):
    refusal.of_body(body)

    assert len(error_of_body(body)) <= 300
    assert error_of_body(body).isprintable()


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms"]),
        st.one_of(
            st.text(max_size=30), st.sampled_from(["Fri, 31 Dec 9999 23:59:59 GMT", "1e999", "0x1", "٣", "-1", "inf"])
        ),
    )
)
@fuzzed(50)
def test_a_wait_is_none_or_a_number_that_sums_can_hold(headers):
    wait = waits.retry_after(headers, 1.8e9)

    assert wait is None or 0 <= wait <= waits.LONGEST


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"


@pytest.mark.parametrize(
    "endless",
    [
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (HEAD + b"\r\n1;", b"y" * 1000),
        (HEAD + b"\r\n0\r\n", b"x: y\r\n" * 100),
        (HEAD + b"\r\n0\r\nx: ", b"y" * 1000),
    ],
    ids=["headers", "a header", "interim answers", "an extension of a chunk", "trailers", "a trailer"],
)
def test_what_frames_an_answer_may_not_be_endless(endless):
    first, more = endless

    exchange = asyncio.run(exchanged([first, *[more] * 200], api="chat", stream=True, broken=True))

    assert exchange.failure == "headers_too_large"


def test_trailers_and_extensions_of_chunks_are_passed_over():
    wire = HEAD + b"\r\ne;a=b\r\ndata: [DONE]\n\n\r\n0\r\nx: y\r\n\r\n"

    exchange = asyncio.run(exchanged([wire], api="chat", stream=True, broken=False))

    assert (exchange.failure, exchange.flags) == ("empty", ())


def test_an_empty_read_changes_nothing():
    decoder = sse.Decoder()

    assert decoder.feed(b"data: x\n\n") == [b"x"]
    assert decoder.feed(b"") == []
    assert not decoder.torn


class Counted(bytes):
    """Bytes that count how often their length is asked for."""

    asked = 0

    def __len__(self) -> int:
        Counted.asked += 1
        return super().__len__()


def test_an_event_of_very_many_lines_costs_linear_work():
    decoder = sse.Decoder()
    decoder.feed(b"data: x\n")
    decoder._data[0] = Counted(b"x")
    for _ in range(1000):
        assert decoder.feed(b"data:\n") == []

    assert Counted.asked == 0  # else a server with many small lines stops the load: their sum, anew with each read
    assert decoder.feed(b"\n") == [b"x" + b"\n" * 1000]


def test_an_event_of_very_many_lines_reaches_the_limit_before_the_memory_ends():
    decoder = sse.Decoder(limit=100_000)

    with pytest.raises(sse.EventTooLarge):
        for _ in range(3000):  # of 1 byte
            decoder.feed(b"data:x\n")
