"""Answers by either API: proper ones, odd ones and broken ones, each a script.

Odd ones are legal: a client must get the same tokens from them. Everything here is played by `sim.wire`.
Pure: no socket and no clock, except that a date in a header is one (`throttled_until`).
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from email.utils import formatdate
from itertools import islice

import msgspec

from ptubench.sim.dialects import of
from ptubench.sim.script import LAST_CHUNK, Action, Ask, Do, Pace, chunked, document, head

HUGE_EVENT = 40 * 2**20
HUGE_HEADERS = 80 * 2**10
_WORDS = (" one", " two", " three", " four", " five", " six", " seven", " eight")


def texts(pace: Pace) -> list[str]:
    """One word for each token."""
    return [_WORDS[i % len(_WORDS)] for i in range(pace.tokens)]


def contents(events: Iterable[bytes], pace: Pace) -> Iterator[Action]:
    """Events with content, the first after `ttft`, the others `gap` apart."""
    wait = pace.ttft
    for event in events:
        yield from (wait, event, Do.CONTENT)
        wait = pace.gap


def stream(events: Iterable[bytes], pace: Pace, *, tokens: int | None = None, reason: str = "stop") -> Iterator[Action]:
    """The events of a whole answer around those with content, in the service's order."""
    say = of(pace)
    yield from say.opening
    yield from contents(events, pace)
    yield from _closing(pace, tokens=tokens, reason=reason)


def _closing(pace: Pace, *, tokens: int | None = None, reason: str = "stop") -> Iterator[Action]:
    """The events behind the content."""
    say = of(pace)
    yield say.ending(reason)
    yield say.counts(pace.tokens if tokens is None else tokens)
    if say.last:
        yield say.last


def healthy(pace: Pace) -> Iterator[Action]:
    """As it should be: one token per event, one event per write."""
    return stream(map(of(pace).content, texts(pace)), pace)


def midway(pace: Pace, *ending: Action) -> Iterator[Action]:
    """A proper answer up to the middle of its content, then the ending."""
    yield from of(pace).opening
    yield from contents(map(of(pace).content, texts(pace)[: max(1, pace.tokens // 2)]), pace)
    yield from ending


def endless(pace: Pace) -> Iterator[Action]:
    """Without the event that says that it is over."""
    say = of(pace)
    return without(say.last or say.counts(pace.tokens), healthy(pace))


def uncounted(pace: Pace) -> Iterator[Action]:
    """Nothing tells how many tokens it had."""
    say = of(pace)
    told = (say.uncounted if action == say.counts(pace.tokens) else action for action in healthy(pace))
    return (action for action in told if action != b"")


def late(pace: Pace) -> Iterator[Action]:
    """Content behind the end."""
    yield from healthy(pace)
    yield of(pace).content(" late")
    yield Do.CONTENT


def without(event: bytes, actions: Iterable[Action]) -> Iterator[Action]:
    """The actions without one of the events."""
    return (action for action in actions if action != event)


def joined(actions: Iterable[Action], *, events: int) -> Iterator[Action]:
    """As many events in each write; the sleeps between them are left out, the one before the first is kept."""
    held, marks = b"", 0
    for action in actions:
        if isinstance(action, bytes):
            held += action
        elif action is Do.CONTENT:
            marks += 1
        elif not marks:
            yield action
        if marks == events:
            yield held
            yield from [Do.CONTENT] * marks
            held, marks = b"", 0
    if held or marks:
        yield held
        yield from [Do.CONTENT] * marks


def bytewise(actions: Iterable[Action]) -> Iterator[Action]:
    """Every byte in a write of its own."""
    for action in actions:
        if isinstance(action, bytes):
            for byte in action:
                yield from (bytes((byte,)), 0.0)
        else:
            yield action


def crlf(actions: Iterable[Action]) -> Iterator[Action]:
    """Events that end their lines with CRLF."""
    return (action.replace(b"\n", b"\r\n") if isinstance(action, bytes) else action for action in actions)


def commented(actions: Iterable[Action]) -> Iterator[Action]:
    """Comments, other fields and an event without data before each event."""
    for action in actions:
        if isinstance(action, bytes):
            yield b": keep-alive\n\nevent: message\nid: 7\nretry: 10\n\n:data: none\n" + action
        else:
            yield action


def cut_characters(pace: Pace) -> Iterator[Action]:
    """Text of three bytes per character, each write ending inside a character."""
    for action in stream([of(pace).content(" 日本語")] * pace.tokens, pace):
        cut = action.find("本".encode()) + 1 if isinstance(action, bytes) else 0
        if isinstance(action, bytes) and cut:
            yield from (action[:cut], 0.001, action[cut:])
        else:
            yield action


def odd_deltas(pace: Pace) -> Iterator[Action]:
    """Between the tokens, what is legal and holds none: deltas that are null, missing or empty, and events without text."""
    for action in healthy(pace):
        yield action
        if action is Do.CONTENT:
            yield b"".join(of(pace).odd)


def tool_calls(pace: Pace) -> Iterator[Action]:
    """A tool call: its arguments are the content, one token each."""
    yield from of(pace).calling
    yield from contents(map(of(pace).arguments, texts(pace)), pace)
    yield from _closing(pace, reason="tool_calls")


def reasoning(pace: Pace) -> Iterator[Action]:
    """Visible reasoning text for the first half of the tokens, then the answer."""
    say, words, half = of(pace), texts(pace), pace.tokens // 2
    events = [*map(say.thought, words[:half]), *map(say.content, words[half:])]
    plain, detailed = say.counts(pace.tokens), say.counts(pace.tokens, reasoning=half)
    return (detailed if action == plain else action for action in stream(events, pace))


def refusal(pace: Pace) -> Iterator[Action]:
    """The model refuses in words."""
    return stream(map(of(pace).refusal, texts(pace)), pace)


def packed(pace: Pace, *, tokens_per_event: int) -> Iterator[Action]:
    """Several tokens in each event, as a buffering content filter sends them."""
    words = iter(texts(pace))
    groups = iter(lambda: "".join(islice(words, tokens_per_event)), "")
    return stream(map(of(pace).content, groups), pace)


def huge_event(pace: Pace) -> Iterator[Action]:
    """One event of 40 MB, in pieces, after a proper token."""
    opening, _, closing = of(pace).content("HERE").partition(b"HERE")
    piece = b"x" * 2**16
    yield from of(pace).opening
    yield from contents([of(pace).content(" one")], pace)
    yield opening
    for _ in range(HUGE_EVENT // len(piece)):
        yield piece
    yield closing
    yield Do.CONTENT
    yield from _closing(pace)


def huge_headers(pace: Pace) -> Iterator[Action]:
    """A proper answer behind more than 64 KiB of headers."""
    return chunked(healthy(pace), {f"x-padding-{i}": "x" * 4000 for i in range(HUGE_HEADERS // 4000)})


def by_close(pace: Pace) -> Iterator[Action]:
    """Neither a length nor chunks: the answer ends where the connection does."""
    yield head(200, {"content-type": "text/event-stream", "connection": "close"})
    yield from healthy(pace)
    yield Do.CLOSE


def cut_chunk(pace: Pace) -> Iterator[Action]:
    """Closed inside a chunk that promised more."""
    for action in chunked(midway(pace, Do.CLOSE)):
        if action is Do.CLOSE:
            yield b"1000\r\n" + of(pace).content(" seen")
            yield Do.CONTENT
        yield action


def pooled(ask: Ask, pace: Pace) -> Iterator[Action]:
    """A connection answers once; the next request on it finds it closing."""
    return chunked(healthy(pace)) if ask.nth == 0 else iter([Do.CLOSE])


def closing(pace: Pace) -> Iterator[Action]:
    """A whole answer, and the connection closes without having said so."""
    yield from chunked(healthy(pace))
    yield Do.CLOSE


def overlong(pace: Pace) -> Iterator[Action]:
    """A whole answer, and in the same write more bytes behind its end."""
    for action in chunked(healthy(pace)):
        yield action + b"HTTP/1.1 what is this" if action == LAST_CHUNK else action


def refused(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Iterator[Action]:
    """An error answer with a body as Azure writes it."""
    body = msgspec.json.encode({"error": {"code": code, "message": message}})
    yield document(status, body, headers=headers)


def throttled(**headers: str) -> Iterator[Action]:
    """A 429; underscores in the names of headers are dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return refused(429, "429", "The deployment is at its provisioned capacity. Retry later.", named)


def throttled_until(seconds: float) -> Iterator[Action]:
    """A 429 whose `retry-after` is a date."""
    return throttled(retry_after=formatdate(time.time() + seconds, usegmt=True))


def empty() -> Iterator[Action]:
    """An event stream of no bytes."""
    yield head(200, {"content-type": "text/event-stream", "content-length": "0"})


def contentless(pace: Pace) -> Iterator[Action]:
    """A whole answer without a token."""
    return stream((), pace, tokens=0)


def whole(pace: Pace) -> Iterator[Action]:
    """An answer as one JSON document, where a stream was asked for."""
    yield document(200, of(pace).document("".join(texts(pace)), pace.tokens))
