"""What a complete answer was: good, or failed for a named reason. Shared by every client; pure."""

from collections.abc import Callable

from ptubench import failures
from ptubench.client.exchange import Exchange
from ptubench.record import REASONING_SUMMARY, THROTTLED_IN_BAND
from ptubench.stream import refusal, sse
from ptubench.stream.answer import BadEvent, error_of_body


def stream(exchange: Exchange, events: sse.Decoder, take: Callable[[bytes], object]) -> None:
    """Judge an event stream whose last byte has arrived."""
    for data in events.close():
        take(data)
    answer = exchange.answer
    if answer.error is not None:
        _error(exchange, answer.error)
    elif events.torn or not (answer.done or answer.finish):
        exchange.fail("broken_stream", "the stream ended without a finish reason and without its last event")
    elif answer.first_content is None:
        empty(exchange)
    elif not answer.done:
        exchange.flags += ("no_done",)
    if answer.summarized:
        exchange.flags += (REASONING_SUMMARY,)


def body(exchange: Exchange, content: bytes, at: float, *, stream: bool) -> None:
    """Judge a whole body that came with status 200."""
    if stream:
        exchange.fail("not_a_stream", error_of_body(content))
        return
    try:
        exchange.answer.whole(content, at)
    except BadEvent as exc:
        exchange.fail("bad_event", str(exc))
        return
    if exchange.answer.error is not None:
        _error(exchange, exchange.answer.error)
    elif exchange.answer.first_content is None:
        empty(exchange)


def status(exchange: Exchange, content: bytes) -> None:
    """Judge an answer with another status than 200; a 429 is no failure."""
    assert exchange.status is not None  # noqa: S101 - the caller has read it
    exchange.error = error_of_body(content) or None
    exchange.refused = refusal.of_body(content) if exchange.status == 400 else None
    if exchange.status != 429:
        exchange.failure = failures.http(exchange.status)


def broken(exchange: Exchange, kind: str, text: str, content: bytes = b"") -> None:
    """Judge an answer that broke off: what a status other than 200 says stands, whatever became of its body."""
    if exchange.status in (None, 200):
        exchange.fail(kind, text)
    else:
        status(exchange, content)


def _error(exchange: Exchange, text: str) -> None:
    """An error inside a 200 is a failure, unless it says that it is a 429."""
    if exchange.answer.throttled:
        exchange.flags += (THROTTLED_IN_BAND,)
        exchange.error = text
    else:
        exchange.fail("stream_error", text)


def empty(exchange: Exchange) -> None:
    """Judge a whole answer without content: a failure."""
    answer = exchange.answer
    said = f"finish reason {answer.finish or 'none'}"
    if answer.completion_tokens:
        said += f", {answer.completion_tokens} completion tokens, none of them visible"
    exchange.fail("empty", said)
