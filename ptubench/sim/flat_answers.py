"""What the flat-out server (`flat_out`) sends: streams of chat completions, encoded beforehand; pure functions.

Pieces begin behind the value of `x-request-id`, which is the last header that differs from answer to answer.
"""

import json
from typing import Any

PROMPT_TOKENS = 32
"""What every answer says it read: the shortest prompt that ptubench makes."""
WORDS = (" capacity", " and", " the", " of", " latency", " tokens", " each", " measured")
_COMMON = {
    "created": 1_790_000_000,
    "id": "chatcmpl-CkT2vXf3mPqYw0aRz8LhUeBn5sJdO",
    "model": "gpt-4.1-2025-04-14",
    "object": "chat.completion.chunk",
    "system_fingerprint": "fp_3b7e1c9a42",
}


def event(choices: list[Any], **more: Any) -> bytes:
    """One chunk that holds one event."""
    text = b"data: " + json.dumps({"choices": choices, **_COMMON, **more}, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(text), text)


def choice(delta: dict[str, Any], finish: str | None = None) -> list[Any]:
    """The choices of an event."""
    return [{"content_filter_results": {}, "delta": delta, "finish_reason": finish, "index": 0, "logprobs": None}]


def opening() -> bytes:
    """The rest of the head behind `x-request-id`, the filter event and the role."""
    safe = {"filtered": False, "severity": "safe"}
    filters = dict.fromkeys(("hate", "self_harm", "sexual", "violence"), safe)
    prompt = [{"prompt_index": 0, "content_filter_results": filters}]
    head = b"\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-ms-region: Nowhere\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + event([], prompt_filter_results=prompt) + event(choice({"content": "", "role": "assistant"}))


def writes(tokens: int) -> list[bytes]:
    """A content event for each token, and the end of the stream."""
    contents = [event(choice({"content": WORDS[i % len(WORDS)]})) for i in range(tokens)]
    ending = event(choice({}, "stop")) + event([], usage=usage(tokens)) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    return [*contents, ending]


def usage(tokens: int) -> dict[str, int]:
    """What an answer says that it used."""
    return {"completion_tokens": tokens, "prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS + tokens}


def whole(tokens: int) -> bytes:
    """The rest of the head behind `x-request-id`, and a completion that is not streamed."""
    message = {"role": "assistant", "content": "".join(WORDS[i % len(WORDS)] for i in range(tokens))}
    choices = [{"finish_reason": "stop", "index": 0, "message": message}]
    body = {**_COMMON, "object": "chat.completion", "choices": choices, "usage": usage(tokens)}
    return document(json.dumps(body).encode())


def document(body: bytes) -> bytes:
    """The rest of the head, and a JSON body."""
    return b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
