"""The Responses API as Azure OpenAI writes it: a request body read and judged, an answer in events and bytes.

Order and shape of the stream follow OpenAI's API reference and its Python client (3.54, `types/responses`): created, in
progress, an output item with its part, its deltas and what closes each of them, and a last event with status and usage.
Reasoning is an item of its own before the message; its text stays hidden unless the request asks for a summary. No
sockets and no clock.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ptubench.sim import chat
from ptubench.sim.chat import BadRequest, Event
from ptubench.sim.deployment import Admitted

LEAST_LIMIT = 16
"""A smaller `max_output_tokens` is refused, as Azure was seen to do (2025-11)."""

_TEXT = {"type": "output_text", "annotations": [], "logprobs": []}


class _Part(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None


class _Item(msgspec.Struct, frozen=True):
    """A message, or anything else that a conversation holds: a tool call, its result."""

    type: str = "message"
    role: str = ""
    content: str | list[_Part] | None = None
    output: str | None = None
    arguments: str | None = None

    @property
    def text(self) -> str:
        """Its words; parts are words apart."""
        parts = self.content if isinstance(self.content, list) else []
        said = self.content if isinstance(self.content, str) else " ".join(part.text or "" for part in parts)
        return " ".join(text for text in (said, self.output, self.arguments) if text)


class _Reasoning(msgspec.Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None


class _StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    include_obfuscation: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that are accepted; any other is refused with 400. Those that no line here uses change nothing."""

    input: str | list[_Item]
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    max_output_tokens: int | None = None
    reasoning: _Reasoning | None = None
    text: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    truncation: str | None = None
    user: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None

    @property
    def limit(self) -> int | None:
        """The output limit."""
        return self.max_output_tokens

    @property
    def messages(self) -> list[_Item]:
        """What is read as the prompt, as `chat.call` reads it."""
        items = [_Item(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        return [_Item(role="developer", content=self.instructions), *items] if self.instructions else items

    def answer(self, identity: str, created: int, model: str, admitted: Admitted) -> "Answer":
        """What it is answered with."""
        summary = self.reasoning is not None and self.reasoning.summary is not None
        return Answer(identity.replace("-", ""), created, model, admitted, summary=summary, limit=self.limit)


_DECODER = msgspec.json.Decoder(Request)


def read(body: bytes, *, reasoning: bool) -> Request:
    """The request in a body; `reasoning` says that the model takes no sampling parameters.

    Raises:
        BadRequest: not JSON, an unknown field, a senseless value.
    """
    request = chat.decoded(body, _DECODER)
    limit = request.max_output_tokens
    if limit is not None and limit < LEAST_LIMIT:
        raise BadRequest(
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {LEAST_LIMIT}, "
            f"but got {limit} instead.",
            param="max_output_tokens",
            code="integer_below_min_value",
        )
    if reasoning and request.temperature not in (None, 1):
        raise chat.unsupported("temperature", code=None)  # where chat says "value", and with a code (seen 2026-01)
    if reasoning and request.top_p not in (None, 1):
        raise chat.unsupported("top_p", code=None)
    if not request.input:
        raise BadRequest("Invalid 'input': empty, expected some text or at least one item.", param="input")
    if request.stream_options is not None and not request.stream:
        raise BadRequest("'stream_options' is only allowed when 'stream' is enabled.", param="stream_options")
    return request


class Answer(NamedTuple):
    """One answer: what is said in every event of it, and how many tokens it has."""

    id: str
    """Letters and digits, which the ids of the response and of its items end in."""
    created: int
    """Seconds since the epoch."""
    model: str
    admitted: Admitted
    summary: bool = False
    """Whether the reasoning is shown: a word for each of its tokens, which no real summary has."""
    limit: int | None = None

    def events(self, *, tokens_per_event: int) -> Iterator[Event]:
        """The stream. An event of several tokens is due when the last of them is generated."""
        for number, (due, kind, fields, content) in enumerate(self._said(tokens_per_event)):
            yield Event(due, _event(number, kind, fields), content)

    def document(self) -> bytes:
        """The whole answer as one JSON document, for a request without `stream`."""
        return msgspec.json.encode(self._whole())

    def _said(self, tokens_per_event: int) -> Iterator[tuple[float, bytes, bytes, bool]]:
        """When, which event, its fields, and whether they hold content."""
        call = self.admitted
        begun = _fields(response=self._response("in_progress"))
        for kind in (b"response.created", b"response.in_progress"):
            yield chat.FILTER_SHARE * call.start, kind, begun, False
        if call.reasoning:
            yield from self._reasoning(tokens_per_event)
        if call.visible:
            yield from self._message(tokens_per_event)
        last = b"response.completed" if call.finish == "stop" else b"response.incomplete"
        yield call.end, last, _fields(response=self._whole()), False

    def _reasoning(self, tokens_per_event: int) -> Iterator[tuple[float, bytes, bytes, bool]]:
        call, item = self.admitted, self._reasoning_item()
        place = {"item_id": item["id"], "output_index": 0, "summary_index": 0}
        text = chat.prose(0, call.reasoning).decode()
        ended = call.token(-1)
        yield call.start, b"response.output_item.added", _fields(output_index=0, item={**item, "summary": []}), False
        if self.summary:
            kind = b"response.reasoning_summary_"
            empty, part = ({"type": "summary_text", "text": said} for said in ("", text))
            yield call.start, kind + b"part.added", _fields(**place, part=empty), False
            yield from self._deltas(kind + b"text.delta", place, -call.reasoning, call.reasoning, tokens_per_event)
            yield ended, kind + b"text.done", _fields(**place, text=text), False
            yield ended, kind + b"part.done", _fields(**place, part=part), False
        yield ended, b"response.output_item.done", _fields(output_index=0, item=item), False

    def _message(self, tokens_per_event: int) -> Iterator[tuple[float, bytes, bytes, bool]]:
        call, item = self.admitted, self._message_item()
        index = 1 if call.reasoning else 0
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        (part,) = item["content"]
        opened = {**item, "status": "in_progress", "content": []}
        yield call.ttft, b"response.output_item.added", _fields(output_index=index, item=opened), False
        yield call.ttft, b"response.content_part.added", _fields(**place, part={**part, "text": ""}), False
        yield from self._deltas(
            b"response.output_text.delta", {**place, "logprobs": []}, 0, call.visible, tokens_per_event
        )
        yield call.end, b"response.output_text.done", _fields(**place, logprobs=[], text=part["text"]), False
        yield call.end, b"response.content_part.done", _fields(**place, part=part), False
        yield call.end, b"response.output_item.done", _fields(output_index=index, item=item), False

    def _deltas(
        self, kind: bytes, place: dict[str, Any], first: int, count: int, tokens_per_event: int
    ) -> Iterator[tuple[float, bytes, bytes, bool]]:
        """Text of `count` tokens, the first of which is token `first` of the answer (hidden ones are below 0)."""
        head = _fields(**place) + b',"delta":"'  # made once, because there is an event per token
        for begin in range(0, count, tokens_per_event):
            end = min(begin + tokens_per_event, count)
            yield self.admitted.token(first + end - 1), kind, head + chat.prose(begin, end) + b'"', True

    def _whole(self) -> dict[str, Any]:
        call = self.admitted
        output = ([self._reasoning_item()] if call.reasoning else []) + ([self._message_item()] if call.visible else [])
        return {
            **self._response("completed" if call.finish == "stop" else "incomplete"),
            "incomplete_details": None if call.finish == "stop" else {"reason": "max_output_tokens"},
            "output": output,
            "usage": usage(call),
        }

    def _response(self, status: str) -> dict[str, Any]:
        return _response(self.id, self.created, self.model, status) | {"max_output_tokens": self.limit}

    def _reasoning_item(self) -> dict[str, Any]:
        text = chat.prose(0, self.admitted.reasoning).decode()
        summary = [{"type": "summary_text", "text": text}] if self.summary else []
        return {"id": f"rs_{self.id}", "type": "reasoning", "summary": summary}

    def _message_item(self) -> dict[str, Any]:
        part = {**_TEXT, "text": chat.prose(0, self.admitted.visible).decode()}
        status = "completed" if self.admitted.finish == "stop" else "incomplete"
        return {"id": f"msg_{self.id}", "type": "message", "status": status, "role": "assistant", "content": [part]}


def usage(call: Admitted) -> dict[str, Any]:
    """The counts that an answer ends with."""
    return {
        "input_tokens": call.prompt,
        "input_tokens_details": {"cached_tokens": call.cached},
        "output_tokens": call.completion,
        "output_tokens_details": {"reasoning_tokens": call.reasoning},
        "total_tokens": call.prompt + call.completion,
    }


def refusal(identity: str, created: int, model: str, message: str) -> bytes:
    """The stream of a call that is refused for its rate, which status 200 came too early to say."""
    begun, ended = (
        _response(identity.replace("-", ""), created, model, status) for status in ("in_progress", "failed")
    )
    ended["error"] = {"code": "rate_limit_exceeded", "message": message}
    created_event = _event(0, b"response.created", _fields(response=begun))
    return created_event + _event(1, b"response.failed", _fields(response=ended))


def _response(identity: str, created: int, model: str, status: str) -> dict[str, Any]:
    """A response without output."""
    return {
        "id": f"resp_{identity}",
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
        "usage": None,
    }


def _event(number: int, kind: bytes, fields: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (kind, kind, number, fields)


def _fields(**fields: Any) -> bytes:
    """Fields as JSON, without the braces."""
    return msgspec.json.encode(fields)[1:-1]
