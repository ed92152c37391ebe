"""The Responses API on the wire: a request's body out; the answer's events in, content and tokens seen.

Events as in OpenAI's API reference (streaming events of Responses) and its Python client 3.54. What an event is stands
in the `type` of its JSON; the last one, `response.completed`, `.incomplete` or `.failed`, brings status and usage, and
no `[DONE]` needs to follow. A refusal that comes inside the stream was seen in three shapes: `response.failed` with an
error, that and an `error` event before it, and (Azure, 2026-08) `response.failed` without one and an `error` event after it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from ptubench.stream.answer import NOTHING, OUTPUT, REASONING, BadEvent, Tokens, excerpt, one_line
from ptubench.stream.answer import Answer as AnyAnswer
from ptubench.stream.body import Bodies

LEAST_LIMIT = 16
"""The smallest `max_output_tokens` that is accepted: "Expected a value >= 16" (OpenAI and Azure, seen 2025-11)."""

_SUMMARY = "response.reasoning_summary_text.delta"
_CONTENT = {
    "response.output_text.delta": OUTPUT,
    "response.refusal.delta": OUTPUT,
    "response.function_call_arguments.delta": OUTPUT,
    "response.custom_tool_call_input.delta": OUTPUT,
    "response.mcp_call_arguments.delta": OUTPUT,
    "response.reasoning_text.delta": REASONING,
    _SUMMARY: REASONING,
}
"""Events whose `delta` is content, and of which kind."""
_LAST = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
_FINISH = {"max_output_tokens": "length"}
"""Reasons of an incomplete answer that chat completions call otherwise."""


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Tokens = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Tokens = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Tokens = None
    output_tokens: Tokens = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    status: str | None = None
    model: str | None = None
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: Any = None


class _Document(_Response, gc=False):
    output: list[Any] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None  # what it is depends on the type, and there are types that we do not know
    response: _Response | None = None
    error: Any = None
    code: Any = None
    message: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_document = msgspec.json.Decoder(_Document).decode


class Answer(AnyAnswer):
    """The answer to one call of the Responses API. Finish reasons are named as chat completions name them."""

    __slots__ = ()

    def event(self, data: bytes, at: float) -> bool:
        """Take one event that arrived `at`; True if it held content.

        Raises:
            BadEvent: not JSON, or not an event of a response.
        """
        if data == b"[DONE]":
            return False  # some servers send it; it says nothing that the last event has not said
        try:
            event = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise BadEvent(one_line(f"{exc}: {excerpt(data)}")) from None
        held = _CONTENT.get(event.type)
        if held is not None:
            if not event.delta:
                return False
            self.content(held, at)
            if event.type == _SUMMARY:
                self.summarized = True
            return True
        if event.response is not None:
            self._response(event.response, _LAST.get(event.type))
        if event.error is not None:
            self.fail(event.error)
        elif event.type == "error":
            known = event.code or event.message
            self.fail({"code": event.code, "message": event.message} if known else "an error without a reason")
        return False

    def whole(self, body: bytes, at: float) -> None:
        """Take an answer that was not streamed; its last byte arrived `at`.

        Raises:
            BadEvent: not JSON, or not a response.
        """
        try:
            document = _decode_document(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise BadEvent(one_line(f"{exc}: {excerpt(body)}")) from None
        self._response(document, document.status)
        held = max(map(_held, document.output or ()), default=NOTHING)
        if held != NOTHING:
            self.content(held, at)

    def usage(self, told: Mapping[str, Any]) -> None:
        """Take the counts that a client of the user's own tells.

        Raises:
            BadEvent: no counts of a response.
        """
        try:
            self._count(msgspec.convert(told, _Usage))
        except msgspec.ValidationError as exc:
            raise BadEvent(f"usage: {exc}") from None

    def _response(self, response: _Response, ended: str | None) -> None:
        """Take what an event says of the whole response; `ended` is the status with which it is over, if it is."""
        if response.model and self.model is None:
            self.model = response.model[:200]
        if response.usage is not None:
            self._count(response.usage)
        if response.error is not None:
            self.fail(response.error)
        if ended is None:
            return
        self.done = True
        if ended == "completed":
            self.finish = "stop"
        elif ended == "incomplete":
            reason = (response.incomplete_details and response.incomplete_details.reason) or ended
            self.finish = _FINISH.get(reason, reason)[:40]
        elif self.error is None:
            self.error = f"the response ended as {ended[:40]}, without a reason"

    def _count(self, usage: _Usage) -> None:
        self.prompt_tokens = usage.input_tokens
        self.completion_tokens = usage.output_tokens
        if usage.input_tokens_details is not None:
            self.cached_tokens = usage.input_tokens_details.cached_tokens
        if usage.output_tokens_details is not None:
            self.reasoning_tokens = usage.output_tokens_details.reasoning_tokens


def _held(item: object) -> int:
    """What an item of a whole answer's `output` holds: a message, a tool call, reasoning, or something else."""
    if not isinstance(item, dict):
        return NOTHING
    if item.get("arguments") or item.get("input"):
        return OUTPUT
    lists = [value for key in ("content", "summary") if isinstance(value := item.get(key), list)]
    parts = [part for value in lists for part in value if isinstance(part, dict)]
    if not any(part.get("text") or part.get("refusal") for part in parts):
        return NOTHING
    return REASONING if item.get("type") == "reasoning" else OUTPUT


class BodyMaker(Bodies):
    """Bodies of one run; parameters that chat completions name otherwise (`reasoning_effort`, `verbosity`) are moved."""

    prompt_field = "input"
    streamed: ClassVar[Mapping[str, Any]] = {"stream": True}

    def placed(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters, each where the API has it."""
        fields = dict(parameters)
        for name, (group, key) in _GROUPED.items():
            held = fields.get(group, {})
            if name in fields and isinstance(held, Mapping):
                fields[group] = {key: fields.pop(name), **held}
        return fields

    def body(self, messages: bytes, limit: int | None) -> bytes:
        """The body for a JSON array of chat messages, with an output limit in tokens or none."""
        return super().body(as_input(messages), limit)


_GROUPED = {"reasoning_effort": ("reasoning", "effort"), "verbosity": ("text", "verbosity")}


def as_input(messages: bytes) -> bytes:
    """A JSON array of chat messages as the `input` of this API.

    Raises:
        ValueError: something in them has no counterpart; the sentence says what.
    """
    try:
        items = [item for message in msgspec.json.decode(messages) for item in _items(message)]
    except (AttributeError, TypeError):
        raise ValueError("a message is not in the form of chat completions") from None
    return msgspec.json.encode(items)


def _items(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The items for one chat message: itself, the tool calls in it, or the result of one."""
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        return [{"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": _text(content)}]
    if role not in ("user", "system", "developer", "assistant"):
        raise ValueError(f"the Responses API knows no role `{role}`")
    items = []
    if content:
        parts = content if isinstance(content, str) else [_part(part, role) for part in content]
        items.append({"role": role, "content": parts})
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        named = {"name": function.get("name"), "arguments": function.get("arguments")}
        items.append({"type": "function_call", "call_id": call.get("id"), **named})
    return items


def _text(content: Any) -> str:
    """The text of a tool's result."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def _part(part: dict[str, Any], role: str) -> dict[str, Any]:
    match part.get("type"):
        case "text":
            return {"type": "output_text" if role == "assistant" else "input_text", "text": part.get("text")}
        case "image_url":
            image = part.get("image_url") or {}
            return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail", "auto")}
        case "refusal" | "input_text" | "input_image" | "input_file" | "output_text":
            return part
        case kind:
            raise ValueError(f"the Responses API has no counterpart of a part of type `{kind}`")
