"""Chat completions on the wire: a request's body out; the answer's events in, content and tokens seen."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from ptubench.stream.answer import NOTHING, OUTPUT, REASONING, BadEvent, Tokens, excerpt, one_line
from ptubench.stream.answer import Answer as AnyAnswer
from ptubench.stream.body import Bodies


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
    cached_tokens: Tokens = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Tokens = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Tokens = None
    completion_tokens: Tokens = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice | None] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class Answer(AnyAnswer):
    """The answer to one chat completion."""

    __slots__ = ()
    text_mark = b'"content":"'

    def event(self, data: bytes, at: float) -> bool:
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
            raise BadEvent(one_line(f"{exc}: {excerpt(data)}")) from None
        seen = NOTHING
        for choice in chunk.choices or ():
            held = self._choice(choice)
            if held > seen:  # noqa: PLR1730 - max() takes three times as long
                seen = held
        if self.model is None and chunk.model:
            self.model = chunk.model[:200]
        if chunk.usage is not None:
            self._count(chunk.usage)
        if chunk.error is not None:
            self.fail(chunk.error)
        if seen == NOTHING:
            return False
        self.content(seen, at)
        return True

    def whole(self, body: bytes, at: float) -> None:
        """Take an answer that was not streamed; its last byte arrived `at`. Raises as `event`."""
        self.event(body, at)

    def usage(self, told: Mapping[str, Any]) -> None:
        """Take the counts that a client of the user's own tells.

        Raises:
            BadEvent: no counts of a chat completion.
        """
        try:
            self._count(msgspec.convert(told, _Usage))
        except msgspec.ValidationError as exc:
            raise BadEvent(f"usage: {exc}") from None

    def _choice(self, choice: _Choice | None) -> int:
        """What one choice of an event holds: nothing, reasoning or output."""
        if choice is None:
            return NOTHING
        if choice.finish_reason:
            self.finish = choice.finish_reason[:40]
        delta = choice.delta or choice.message
        if delta is None:
            return NOTHING
        if delta.content or delta.refusal or _calls(delta):
            return OUTPUT
        return REASONING if delta.reasoning_content or delta.reasoning else NOTHING

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


class BodyMaker(Bodies):
    """Bodies of one run; a stream is asked for with usage."""

    prompt_field = "messages"
    streamed: ClassVar[Mapping[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}
