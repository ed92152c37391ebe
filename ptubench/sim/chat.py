"""Chat completions as Azure OpenAI writes them: a request body read and judged, an answer in events and bytes.

Order and shape of the stream follow the Azure AI documentation (content-streaming, 2026-03-20): an event with the
prompt's filter results and no choice, one with the role, content, the finish reason, usage if asked for, `[DONE]`.
The wording of the errors is close enough for clients that look for the parameter's name. No sockets and no clock.
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from ptubench.sim.cache import marks
from ptubench.sim.deployment import Admitted, Call
from ptubench.sim.options import SimOptions

MOST_DIGITS = 7
"""A prompt that asks for more tokens than this many digits can say is not read as asking."""
FILTER_SHARE = 0.25
"""When the leading filter event leaves, as a share of the time to the first token [assumed]."""
DONE = b"data: [DONE]\n\n"

_UNSAMPLED = ("top_p", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs")
"""Beside `temperature`, what reasoning models refuse (Azure AI documentation, reasoning models)."""

_ASKED = re.compile(rf"(?<![0-9.,])([0-9]{{1,{MOST_DIGITS}}}) tokens?")
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*?)`(?: - at `\$\.?(.*)`)?$")
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_PROSE = """\
the river runs past quiet fields and old stone houses while people walk home under warm light
they carry bread fruit letters and small stories about rain work music friends and distant hills
every evening someone opens a window looks at the sky and thinks of what the morning may bring
"""
WORDS = tuple(f" {word}".encode() for word in _PROSE.split())
"""What answers are made of, over and over: each word with its space is one token."""


class BadRequest(Exception):
    """What is wrong with a request, as the service would say it."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.body = error(message, code=code, param=param, kind="invalid_request_error")


class _Part(msgspec.Struct, frozen=True):
    type: Literal["text"]
    text: str


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[_Part] | None = None

    @property
    def text(self) -> str:
        """Its words; parts are words apart."""
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content)
        return self.content or ""


class _StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    include_usage: bool = False
    include_obfuscation: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that are accepted; any other is refused with 400. Those that no line here uses change nothing."""

    messages: list[_Message]
    model: str | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: Literal[1] | None = 1
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None

    @property
    def limit(self) -> int | None:
        """The output limit, whichever name it came by."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def with_usage(self) -> bool:
        """Whether a stream is to end with a usage event."""
        return self.stream_options is not None and self.stream_options.include_usage

    def answer(self, identity: str, created: int, model: str, admitted: Admitted) -> "Answer":
        """What it is answered with."""
        return Answer(f"chatcmpl-{identity}", created, model, admitted, with_usage=self.with_usage)


_DECODER = msgspec.json.Decoder(Request)
_Body = TypeVar("_Body")


def read(body: bytes, *, reasoning: bool) -> Request:
    """The request in a body; `reasoning` says that the model refuses `max_tokens`, and to be told how to choose tokens.

    Raises:
        BadRequest: not JSON, an unknown field, a senseless value.
    """
    request = decoded(body, _DECODER)
    if reasoning and request.max_tokens is not None:
        raise unsupported("max_tokens", "Use 'max_completion_tokens' instead.", code="unsupported_parameter")
    if reasoning and request.temperature not in (None, 1):
        raise BadRequest(
            f"Unsupported value: 'temperature' does not support {request.temperature:g} with this model. "
            "Only the default (1) value is supported.",
            param="temperature",
            code="unsupported_value",
        )
    if reasoning and (name := next((name for name in _UNSAMPLED if getattr(request, name) is not None), None)):
        raise unsupported(name, code="unsupported_parameter")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise BadRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    if request.limit is not None and request.limit < 1:
        raise BadRequest(f"Invalid output limit: {request.limit} is less than the minimum of 1.", code="invalid_value")
    if not request.messages:
        raise BadRequest("Invalid 'messages': an empty array, expected at least one message.", param="messages")
    if request.stream_options is not None and not request.stream:
        raise BadRequest("'stream_options' is only allowed when 'stream' is enabled.", param="stream_options")
    return request


def unsupported(name: str, more: str = "", *, code: str | None) -> BadRequest:
    """What is said of a parameter that the model does not have."""
    said = f"Unsupported parameter: '{name}' is not supported with this model. {more}"
    return BadRequest(said.rstrip(), param=name, code=code)


def decoded(body: bytes, decoder: msgspec.json.Decoder[_Body]) -> _Body:
    """The fields of a request body.

    Raises:
        BadRequest: not JSON, an unknown field, one of another type.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise _refused_field(str(exc)) from None
    except (ValueError, RecursionError):
        raise BadRequest("The body of your request is not valid JSON.") from None


class _Said(Protocol):
    @property
    def role(self) -> str: ...
    @property
    def text(self) -> str: ...


class Prompted(Protocol):
    """What `call` needs of a request, of either API."""

    @property
    def messages(self) -> Sequence[_Said]:
        """What is said in the prompt."""

    @property
    def limit(self) -> int | None:
        """The output limit."""


_NUMBER = re.compile(r"(?<!\S)\d+(?!\S)")


def call(request: Prompted, options: SimOptions) -> Call:
    """What the request asks of the deployment: prompt tokens are words, plus the overhead of a call.

    A number counts as the tokenizers of current models count it: a token for the space before it and one for
    each three digits.
    """
    texts = [message.text for message in request.messages]
    words = [word for text in texts for word in text.split()]
    numbers = (len(number) for text in texts for number in _NUMBER.findall(text))
    prompt = options.overhead + len(words) + sum(-(-digits // 3) for digits in numbers)
    last = next((m.text for m in reversed(request.messages) if m.role == "user"), "")
    return Call(
        prompt=prompt,
        asked=asked(last),
        limit=request.limit,
        key=blake2b("\n".join(texts).encode(), digest_size=16).digest(),
        marks=marks(words, overhead=options.overhead) if options.cache else (),
    )


def asked(text: str) -> int | None:
    """The number in the last "<N> tokens" of a prompt; None without one."""
    end = len(text)
    # From the end: a prompt may have 100,000 words, and the instruction is its last sentence.
    while (end := text.rfind(" token", 0, end)) >= 0:
        found = _ASKED.search(text, max(0, end - MOST_DIGITS - 1), end + len(" tokens"))
        if found is not None:
            return int(found[1])
    return None


class Event(NamedTuple):
    """One event of a stream: when it is due, in seconds since admission, and its bytes."""

    due: float
    body: bytes
    content: bool = False


class Answer(NamedTuple):
    """One answer: what is said in every event of it, and how many tokens it has."""

    id: str
    created: int
    """Seconds since the epoch."""
    model: str
    admitted: Admitted
    with_usage: bool = False

    def events(self, *, tokens_per_event: int) -> Iterator[Event]:
        """The stream. An event of several tokens is due when the last of them is generated."""
        call = self.admitted
        tail = self._tail()
        yield Event(FILTER_SHARE * call.start, _FILTER + tail)
        yield Event(call.token(0) if call.visible else call.end, _ROLE + tail)
        for begin in range(0, call.visible, tokens_per_event):
            end = min(begin + tokens_per_event, call.visible)
            yield Event(call.token(end - 1), _CONTENT + prose(begin, end) + _CONTENT_END + tail, content=True)
        yield Event(call.end, _FINISH % call.finish.encode() + tail)
        if self.with_usage:
            yield Event(call.end, self._last())
        yield Event(call.end, DONE)

    def document(self) -> bytes:
        """The whole answer as one JSON document, for a request without `stream`."""
        call = self.admitted
        message = {"role": "assistant", "content": prose(0, call.visible).decode(), "refusal": None}
        choice = {"content_filter_results": _SAFE, "finish_reason": call.finish, "index": 0, "logprobs": None}
        return msgspec.json.encode(
            {
                "choices": [{**choice, "message": message}],
                "created": self.created,
                "id": self.id,
                "model": self.model,
                "object": "chat.completion",
                "prompt_filter_results": _PROMPT_FILTER,
                "usage": usage(call),
            }
        )

    def _tail(self) -> bytes:
        """What ends every event: made once, because there is an event per token."""
        said = {"created": self.created, "id": self.id, "model": self.model, "object": "chat.completion.chunk"}
        ended = {**said, "usage": None} if self.with_usage else said
        return msgspec.json.encode(ended).replace(b"{", b",", 1) + b"\n\n"

    def _last(self) -> bytes:
        said = {"created": self.created, "id": self.id, "model": self.model, "object": "chat.completion.chunk"}
        return b"data: " + msgspec.json.encode({"choices": [], **said, "usage": usage(self.admitted)}) + b"\n\n"


def usage(call: Admitted) -> dict[str, Any]:
    """The counts that an answer ends with."""
    return {
        "completion_tokens": call.completion,
        "completion_tokens_details": {"reasoning_tokens": call.reasoning, "audio_tokens": 0},
        "prompt_tokens": call.prompt,
        "prompt_tokens_details": {"cached_tokens": call.cached, "audio_tokens": 0},
        "total_tokens": call.prompt + call.completion,
    }


def too_long(prompt: int, most: int | None) -> BadRequest:
    """What is said of a prompt with more tokens than the model takes on PTU."""
    return BadRequest(
        f"This deployment takes prompts of up to {most} tokens; your messages resulted in {prompt} tokens.",
        param="messages",
        code="context_length_exceeded",
    )


def error(message: str, *, code: str | None, param: str | None = None, kind: str | None = None) -> bytes:
    """An error body."""
    said = {"code": code, "message": message, "param": param, "type": kind}
    return msgspec.json.encode({"error": said if kind is not None else {"code": code, "message": message}})


def _refused_field(said: str) -> BadRequest:
    """The fault that msgspec names, in the service's shape."""
    unknown = _UNKNOWN_FIELD.search(said)
    if unknown is not None:
        name = f"{unknown[2]}.{unknown[1]}" if unknown[2] else unknown[1]
        return BadRequest(f"Unrecognized request argument supplied: {name}", param=name, code="unknown_parameter")
    place = _PLACE.search(said)
    fault = _PLACE.sub("", said)
    return BadRequest(f"Invalid request: {fault}.", param=place[1] if place else None, code="invalid_type")


def prose(begin: int, end: int) -> bytes:
    """The tokens of an answer from `begin` to before `end`."""
    return b"".join([WORDS[i % len(WORDS)] for i in range(begin, end)])


_UNHARMED = {"filtered": False, "severity": "safe"}
_SAFE = {"hate": _UNHARMED, "self_harm": _UNHARMED, "sexual": _UNHARMED, "violence": _UNHARMED}
_PROMPT_FILTER = [{"prompt_index": 0, "content_filter_results": _SAFE}]


def _choice(before: str, delta: str, finish: str) -> bytes:
    """An event up to the end of its only choice, whose delta is given as JSON."""
    return (
        b'data: {"choices":[{"content_filter_results":'
        + before.encode()
        + b',"delta":'
        + delta.encode()
        + b',"finish_reason":'
        + finish.encode()
        + b',"index":0,"logprobs":null}]'
    )


_FILTER = b"data: " + msgspec.json.encode({"choices": [], "prompt_filter_results": _PROMPT_FILTER}).removesuffix(b"}")
_ROLE = _choice("{}", '{"content":"","refusal":null,"role":"assistant"}', "null")
_CONTENT, _CONTENT_END = _choice(msgspec.json.encode(_SAFE).decode(), '{"content":"\0"}', "null").split(b"\0")
_FINISH = _choice("{}", "{}", '"%s"')
