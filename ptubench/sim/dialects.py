"""The bytes of an answer by each API, event by event: what a script that plays one puts between its sleeps.

Both say the same: an opening, events with content, an ending. Pure: no socket and no clock.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ptubench.sim import script
from ptubench.sim.script import MODEL, Pace, data


class Dialect(NamedTuple):
    """How one API says what every answer holds."""

    opening: tuple[bytes, ...]
    """Before the first content; no token."""
    content: Callable[[str], bytes]
    """An event with text."""
    thought: Callable[[str], bytes]
    """One with reasoning text."""
    refusal: Callable[[str], bytes]
    """One in which the model declines."""
    calling: tuple[bytes, ...]
    """The opening of an answer that calls a tool."""
    arguments: Callable[[str], bytes]
    """An event with arguments of the call."""
    ending: Callable[[str], bytes]
    """What stands before the last events, with a finish reason."""
    counts: Callable[..., bytes]
    """The event that tells what was used: of how many completion tokens, and `reasoning` of them."""
    uncounted: bytes
    """What stands there where nothing is told."""
    last: bytes
    """What ends a stream behind that."""
    odd: tuple[bytes, ...]
    """Legal events without content."""
    error: bytes
    """A fault of the service's, told inside the stream."""
    not_json: bytes
    wrong_shape: bytes
    document: Callable[[str, int], bytes]
    """A whole answer in one JSON document: its text and tokens."""


# --- chat completions


def _chat_counts(tokens: int, *, reasoning: int | None = None) -> bytes:
    if reasoning is None:
        return script.usage(tokens)
    details: Any = {"reasoning_tokens": reasoning}
    return script.usage(tokens, completion_tokens_details=details)


def _chat_arguments(text: str) -> bytes:
    return script.delta({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})


def _chat_document(text: str, tokens: int) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    counts = {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens}
    return msgspec.json.encode({"object": "chat.completion", "choices": [choice], "usage": counts})


_FUNCTION = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
_SERVER_ERROR = "The server had an error. Retry your request."

CHAT = Dialect(
    opening=(script.FILTER, script.ROLE),
    content=script.content,
    thought=lambda text: script.delta({"reasoning_content": text}),
    refusal=lambda text: script.delta({"refusal": text}),
    calling=(script.FILTER, script.delta({"role": "assistant", "content": None, "tool_calls": [_FUNCTION]})),
    arguments=_chat_arguments,
    ending=script.finish,
    counts=_chat_counts,
    uncounted=b"",
    last=script.DONE,
    odd=(
        *(script.delta(None), script.delta(), script.delta({"content": None}), script.delta({"content": ""})),
        *(script.completion([]), script.delta(content_filter_offsets={"check_offset": 44, "start_offset": 44})),
    ),
    error=data({"error": {"code": "500", "type": "server_error", "message": _SERVER_ERROR}}),
    not_json=data(b'{"choices": [{"delta": {"conte'),
    wrong_shape=data({"choices": {"delta": 7}}),
    document=_chat_document,
)


# --- Responses; events carry no sequence numbers, which nobody needs who reads them in order


def _event(kind: str, **fields: Any) -> bytes:
    named = f"response.{kind}"
    return f"event: {named}\n".encode() + data({"type": named, **fields})


def _whole(status: str, **fields: Any) -> dict[str, Any]:
    named = {"id": "resp_scripted", "object": "response", "created_at": 1_790_000_000, "model": MODEL}
    return {**named, "status": status, "error": None, "incomplete_details": None, "usage": None, **fields}


def _response_counts(tokens: int, *, reasoning: int | None = None) -> bytes:
    return _event("completed", response=_whole("completed", usage=_used(tokens, reasoning)))


def _used(tokens: int, reasoning: int | None = None) -> dict[str, Any]:
    details = {} if reasoning is None else {"output_tokens_details": {"reasoning_tokens": reasoning}}
    return {"input_tokens": 20, "output_tokens": tokens, **details, "total_tokens": 20 + tokens}


def _message(text: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": [part]}


def _delta(kind: str, item: str) -> Callable[[str], bytes]:
    return lambda text: _event(f"{kind}.delta", item_id=item, output_index=0, content_index=0, delta=text)


def _response_document(text: str, tokens: int) -> bytes:
    return msgspec.json.encode(_whole("completed", output=[_message(text)], usage=_used(tokens)))


_BEGUN = tuple(_event(kind, response=_whole("in_progress")) for kind in ("created", "in_progress"))
_CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": ""}
_FAULT = {"code": "server_error", "message": _SERVER_ERROR}
_ANNOTATION = {"type": "url_citation", "url": "https://example.test"}

RESPONSES = Dialect(
    opening=(*_BEGUN, _event("output_item.added", output_index=0, item=_message("", "in_progress"))),
    content=_delta("output_text", "msg_1"),
    thought=_delta("reasoning_text", "rs_1"),
    refusal=_delta("refusal", "msg_1"),
    calling=(*_BEGUN, _event("output_item.added", output_index=0, item=_CALL)),
    arguments=_delta("function_call_arguments", "fc_1"),
    ending=lambda _: _event("output_item.done", output_index=0, item=_message("")),
    # The event with the counts is the last one, and says by itself that the answer is whole.
    counts=_response_counts,
    uncounted=_event("completed", response=_whole("completed")),
    last=b"",
    odd=(
        _event("output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=""),
        _event("output_text.annotation.added", item_id="msg_1", annotation=_ANNOTATION),
        _event("something.new", delta=7),
        _event("output_text.delta", item_id="msg_1"),
    ),
    error=_event("failed", response=_whole("failed", error=_FAULT)),
    not_json=b'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", "del\n\n',
    wrong_shape=data({"type": "response.completed", "response": 7}),
    document=_response_document,
)


_DIALECTS = {"chat": CHAT, "responses": RESPONSES}


def of(pace: Pace) -> Dialect:
    """The dialect of an answer."""
    return _DIALECTS[pace.api]
