"""What one answer has shown so far, whichever API it came by. No socket and no clock: the caller says when.

Content is non-empty text, refusal, reasoning text or tool-call arguments; a role, a filter event, an annotation or
usage is not. Here is also how an error is told in one line, and which errors inside a stream are a 429.
"""

from typing import Annotated, ClassVar

import msgspec

Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**9)] | None
"""A count in a `usage`; beyond it is no possible number of tokens."""
NOTHING, REASONING, OUTPUT = range(3)
"""What an event holds; the larger is said of an event that holds both."""

# OpenAI's documented `rate_limit_exceeded`, and what Azure was seen to send beside it, as code or as type (2026-08).
_THROTTLED = frozenset(("429", "rate_limit_exceeded", "too_many_requests"))


class BadEvent(ValueError):
    """An event (or a body) that is not the JSON of an answer."""


class Answer:
    """Filled by the parser of an API (`stream.apis`). Times are whatever clock the caller reads; None means not yet."""

    __slots__ = (
        "cached_tokens",
        "completion_tokens",
        "content_events",
        "done",
        "error",
        "finish",
        "first_content",
        "first_output",
        "last_content",
        "model",
        "prompt_tokens",
        "reasoning_tokens",
        "summarized",
        "throttled",
    )
    text_mark: ClassVar[bytes | None] = None
    """What the text of an event's content follows, if such events differ in nothing else."""

    def __init__(self) -> None:
        self.first_content: float | None = None
        self.first_output: float | None = None
        self.last_content: float | None = None
        self.content_events = 0
        self.prompt_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self.finish: str | None = None
        self.model: str | None = None
        self.error: str | None = None
        self.summarized = False
        """Reasoning was shown as a summary, not as the tokens that were counted."""
        self.throttled = False
        """An error inside the answer says that it is a 429."""
        self.done = False

    def content(self, held: int, at: float) -> None:
        """Count an event with content (`REASONING` or `OUTPUT`) that arrived `at`."""
        self.content_events += 1
        self.last_content = at
        if self.first_output is None:
            if self.first_content is None:
                self.first_content = at
            if held == OUTPUT:
                self.first_output = at

    def more(self, events: int, at: float) -> None:
        """Count so many events with output that followed one, the last of which arrived `at`."""
        self.content_events += events
        self.last_content = at

    def fail(self, error: object) -> None:
        """Keep what an `error` value inside the answer says."""
        self.error = error_text(error)
        if isinstance(error, dict) and any(str(error.get(key)).lower() in _THROTTLED for key in ("code", "type")):
            self.throttled = True


def error_text(error: object) -> str:
    """One line of what an `error` value says, whatever its shape."""
    try:
        if isinstance(error, dict):
            parts = [str(error[key]) for key in ("code", "message") if error.get(key)]
            error = ": ".join(parts) or error
        return one_line(str(error))
    except RecursionError:  # as deep as can be read is too deep to be written
        return "an error of senseless depth"


def error_of_body(body: bytes) -> str:
    """One line of what an error body says: its `error` value, else its first characters."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return excerpt(body)
    if isinstance(value, dict) and value.get("error"):
        return error_text(value["error"])
    if isinstance(value, dict) and (value.get("message") or value.get("detail")):
        return error_text(value.get("message") or value.get("detail"))
    return excerpt(body)


def one_line(text: str) -> str:
    """At most 300 characters without line breaks or control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())[:300]


def excerpt(data: bytes) -> str:
    """The beginning of what was sent, in one line."""
    return one_line(data[:300].decode("utf-8", "replace"))
