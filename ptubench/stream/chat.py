"""Chat completions on the wire: a request's body out; the answer's events in, content and tokens seen.

No socket and no clock: the caller says when each event arrived. Content is non-empty text, refusal, reasoning
text or tool-call arguments; a role, a filter event, an annotation or usage is not.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**9)] | None


class BadEvent(ValueError):
    """An event (or a body) that is not the JSON of a chat completion."""


class _Function(msgspec.Struct, gc=False):
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall | None] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Tokens = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Tokens = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Tokens = None
    completion_tokens: _Tokens = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice | None] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode
_NOTHING, _REASONING, _OUTPUT = range(3)


class Answer:
    """What one answer has shown so far. Times are whatever clock the caller reads; None means not yet."""

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
    )

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
        self.done = False

    def event(self, data: bytes, at: float) -> bool:  # noqa: C901 - one pass: this is the hot path
        """Take one event that arrived `at`; True if it held content.

        Raises:
            BadEvent: not JSON, or not a chat completion's.
        """
        if data == b"[DONE]":
            self.done = True
            return False
        try:
            chunk = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise BadEvent(one_line(f"{exc}: {_excerpt(data)}")) from None
        seen = _NOTHING
        for choice in chunk.choices or ():
            held = self._choice(choice)
            if held > seen:  # noqa: PLR1730 - a call of max costs more than the comparison
                seen = held
        if chunk.model and self.model is None:
            self.model = chunk.model[:200]
        if chunk.usage is not None:
            self._count(chunk.usage)
        if chunk.error is not None:
            self.error = error_text(chunk.error)
        if seen == _NOTHING:
            return False
        self.content_events += 1
        self.last_content = at
        if self.first_content is None:
            self.first_content = at
        if seen == _OUTPUT and self.first_output is None:
            self.first_output = at
        return True

    def _choice(self, choice: _Choice | None) -> int:
        """What one choice of an event holds: nothing, reasoning or output."""
        if choice is None:
            return _NOTHING
        if choice.finish_reason:
            self.finish = choice.finish_reason[:40]
        delta = choice.delta or choice.message
        if delta is None:
            return _NOTHING
        if delta.content or delta.refusal or _calls(delta):
            return _OUTPUT
        return _REASONING if delta.reasoning_content or delta.reasoning else _NOTHING

    def _count(self, usage: _Usage) -> None:
        self.prompt_tokens = usage.prompt_tokens
        self.completion_tokens = usage.completion_tokens
        if usage.prompt_tokens_details is not None:
            self.cached_tokens = usage.prompt_tokens_details.cached_tokens
        if usage.completion_tokens_details is not None:
            self.reasoning_tokens = usage.completion_tokens_details.reasoning_tokens


def _calls(delta: _Delta) -> bool:
    """Whether a delta carries arguments of a tool call."""
    if delta.function_call is not None and delta.function_call.arguments:
        return True
    return any(call and call.function and call.function.arguments for call in delta.tool_calls or ())


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
        return _excerpt(body)
    if isinstance(value, dict) and value.get("error"):
        return error_text(value["error"])
    if isinstance(value, dict) and (value.get("message") or value.get("detail")):
        return error_text(value.get("message") or value.get("detail"))
    return _excerpt(body)


def one_line(text: str) -> str:
    """At most 300 characters without line breaks or control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())[:300]


def _excerpt(data: bytes) -> str:
    return one_line(data[:300].decode("utf-8", "replace"))


class BodyMaker:
    """Bodies of one run: all that is constant is encoded once.

    Args:
        model: the `model` field, or None where the URL names the deployment.
        limit_field: `max_completion_tokens` or `max_tokens`.
        stream: whether to ask for an event stream (with usage).
        parameters: further fields, as the workload gives them.
    """

    def __init__(self, *, model: str | None, limit_field: str, stream: bool, parameters: Mapping[str, Any]) -> None:
        fields: dict[str, Any] = {} if model is None else {"model": model}
        fields |= parameters
        if stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        encoded = msgspec.json.encode(fields)[1:-1]
        self._tail = (b"," + encoded if encoded else b"") + b"}"
        self._limit = f',"{limit_field}":'.encode()

    def body(self, messages: bytes, limit: int | None) -> bytes:
        """The body for a JSON array of messages, with an output limit in tokens or none."""
        if limit is None:
            return b'{"messages":' + messages + self._tail
        return b"".join((b'{"messages":', messages, self._limit, str(limit).encode(), self._tail))
