"""Answers to a chat completion: proper ones, odd ones and broken ones, each a script.

Odd ones are legal: a client must get the same tokens from them. Everything here is played by `sim.wire`.
Pure: no socket and no clock, except that a date in a header is one (`throttled_until`).
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from email.utils import formatdate
from itertools import islice

import msgspec

from ptubench.sim.script import (
    DONE,
    FILTER,
    LAST_CHUNK,
    ROLE,
    Action,
    Ask,
    Do,
    Pace,
    chunked,
    completion,
    content,
    delta,
    document,
    finish,
    head,
    usage,
)

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
    """The events of a whole answer around those with content, in Azure's order."""
    yield FILTER
    yield ROLE
    yield from contents(events, pace)
    yield finish(reason)
    yield usage(pace.tokens if tokens is None else tokens)
    yield DONE


def healthy(pace: Pace) -> Iterator[Action]:
    """As it should be: one token per event, one event per write."""
    return stream(map(content, texts(pace)), pace)


def midway(pace: Pace, *ending: Action) -> Iterator[Action]:
    """A proper answer up to the middle of its content, then the ending."""
    yield FILTER
    yield ROLE
    yield from contents(map(content, texts(pace)[: max(1, pace.tokens // 2)]), pace)
    yield from ending


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
    for action in stream([content(" 日本語")] * pace.tokens, pace):
        cut = action.find("本".encode()) + 1 if isinstance(action, bytes) else 0
        if isinstance(action, bytes) and cut:
            yield from (action[:cut], 0.001, action[cut:])
        else:
            yield action


def odd_deltas(pace: Pace) -> Iterator[Action]:
    """Between the tokens: a delta that is null or missing, text that is null, no choices, a choice without text."""
    for action in healthy(pace):
        yield action
        if action is Do.CONTENT:
            yield delta(None) + delta() + delta({"content": None}) + delta({"content": ""}) + completion([])
            yield delta(content_filter_offsets={"check_offset": 44, "start_offset": 44, "end_offset": 198})


def tool_calls(pace: Pace) -> Iterator[Action]:
    """A tool call: its arguments are the content, one token each."""
    opening = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
    yield FILTER
    yield delta({"role": "assistant", "content": None, "tool_calls": [opening]})
    calls = ([{"index": 0, "function": {"arguments": text}}] for text in texts(pace))
    yield from contents((delta({"tool_calls": call}) for call in calls), pace)
    yield finish("tool_calls")
    yield usage(pace.tokens)
    yield DONE


def reasoning(pace: Pace) -> Iterator[Action]:
    """Visible reasoning text for the first half of the tokens, then the answer."""
    half = pace.tokens // 2
    words = texts(pace)
    events = [delta({"reasoning_content": text}) for text in words[:half]] + [content(text) for text in words[half:]]
    detailed = usage(pace.tokens, completion_tokens_details={"reasoning_tokens": half})
    return (detailed if action == usage(pace.tokens) else action for action in stream(events, pace))


def refusal(pace: Pace) -> Iterator[Action]:
    """The model refuses in words."""
    return stream((delta({"refusal": text}) for text in texts(pace)), pace)


def packed(pace: Pace, *, tokens_per_event: int) -> Iterator[Action]:
    """Several tokens in each event, as a buffering content filter sends them."""
    words = iter(texts(pace))
    groups = iter(lambda: "".join(islice(words, tokens_per_event)), "")
    return stream(map(content, groups), pace)


def huge_event(pace: Pace) -> Iterator[Action]:
    """One event of 40 MB, in pieces, after a proper token."""
    opening, _, closing = content("HERE").partition(b"HERE")
    piece = b"x" * 2**16
    yield from (FILTER, ROLE, pace.ttft, content(" one"), Do.CONTENT, opening)
    for _ in range(HUGE_EVENT // len(piece)):
        yield piece
    yield from (closing, Do.CONTENT, finish(), usage(pace.tokens), DONE)


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
            yield b"1000\r\n" + content(" seen")
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
    """A completion as one JSON document, where a stream was asked for."""
    message = {"role": "assistant", "content": "".join(texts(pace))}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    counts = {"prompt_tokens": 20, "completion_tokens": pace.tokens, "total_tokens": 20 + pace.tokens}
    yield document(200, msgspec.json.encode({"object": "chat.completion", "choices": [choice], "usage": counts}))
