"""What a scripted server does, as a stream of actions, and the bytes of a chat completion as Azure writes them.

A script is a function of a request that yields actions: bytes to write, seconds to sleep, or a `Do`. ASGI can't
express most of what goes wrong on a connection; this can. Pure: no socket and no clock.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, Literal

import msgspec


class Do(Enum):
    """What a script can do besides writing and sleeping. After the first three it is over."""

    CLOSE = "close"
    """Close the connection in order (FIN)."""
    RESET = "reset"
    """Abort the connection (RST); what was not sent yet is lost."""
    STALL = "stall"
    """Send nothing more and keep the connection open until the client gives up."""
    CONTENT = "content"
    """The bytes written last completed an event with content: log when they were written."""


Action = bytes | float | Do


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request as it arrived."""

    method: str
    target: str
    """Path and query, as sent."""
    headers: Mapping[str, str]
    """Names in lower case; of a repeated header the last."""
    body: bytes
    connection: int
    """Which connection of this server, from 0."""
    nth: int
    """Which request of its connection, from 0."""
    arrived: float
    """`time.perf_counter` when its first byte was read."""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def api(self) -> Literal["chat", "responses"]:
        """The API that it is asked by."""
        return "responses" if self.path.rstrip("/").endswith("/responses") else "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is answered, and how fast; the times in seconds."""

    tokens: int = 8
    ttft: float = 0.0
    gap: float = 0.0
    api: Literal["chat", "responses"] = "chat"
    """Which of them the answer is written in (`dialects`)."""


Script = Callable[[Ask], Iterable[Action]]

LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
MODEL = "gpt-4.1-2025-04-14"
EVENT_STREAM = {
    "content-type": "text/event-stream; charset=utf-8",
    "apim-request-id": "5c0f1e9a",
    "x-ms-region": "Nowhere",
}
_SAFE = {"filtered": False, "severity": "safe"}
_FILTERS = {"hate": _SAFE, "self_harm": _SAFE, "sexual": _SAFE, "violence": _SAFE}
_UNSET: Any = object()


def head(status: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Status line and headers."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()


def document(
    status: int, body: bytes, *, kind: str = "application/json", headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole answer with its length."""
    return head(status, {"content-type": kind, "content-length": str(len(body)), **(headers or {})}) + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(actions: Iterable[Action], headers: Mapping[str, str] | None = None) -> Iterator[Action]:
    """The actions' bytes as a chunked body behind the head of an event stream, ended properly unless they end it otherwise."""
    yield head(200, {**EVENT_STREAM, **(headers or {}), "transfer-encoding": "chunked"})
    for action in actions:
        yield chunk(action) if isinstance(action, bytes) else action
        if isinstance(action, Do) and action is not Do.CONTENT:
            return
    yield LAST_CHUNK


def data(value: Any) -> bytes:
    """An event: JSON unless it is bytes already."""
    return b"data: " + (value if isinstance(value, bytes) else msgspec.json.encode(value)) + b"\n\n"


def completion(choices: list[Any], **more: Any) -> bytes:
    """An event of a streamed chat completion."""
    named = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": MODEL}
    return data({**named, "system_fingerprint": "fp_scripted", "choices": choices, "usage": None, **more})


def delta(value: Any = _UNSET, *, finish: str | None = None, **more: Any) -> bytes:
    """An event with one choice; without a value it has no `delta` at all."""
    choice = {"index": 0, "finish_reason": finish, "logprobs": None, "content_filter_results": _FILTERS, **more}
    return completion([choice if value is _UNSET else {**choice, "delta": value}])


def content(text: str) -> bytes:
    """An event with text."""
    return delta({"content": text})


def finish(reason: str = "stop") -> bytes:
    """The empty delta that names the finish reason."""
    return delta({}, finish=reason)


def usage(completion_tokens: int, *, prompt_tokens: int = 20, **details: Any) -> bytes:
    """The event that tells what was used."""
    total = prompt_tokens + completion_tokens
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}
    return completion([], usage={**counts, **details})


FILTER = completion([], prompt_filter_results=[{"prompt_index": 0, "content_filter_results": _FILTERS}])
"""Azure's leading event: no choice, no token."""
ROLE = delta({"role": "assistant", "content": "", "refusal": None})
