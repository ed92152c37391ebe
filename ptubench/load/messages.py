"""The user's own prompts: a JSONL file in, messages and output limits out. Knows neither order nor time.

A line is an array of messages, an object with `messages`, or a line of an OpenAI batch file, whose `body` is such an object.
`max_completion_tokens` or `max_tokens` beside the messages is the line's output limit. Other fields (model,
temperature) are not sent: the workload's `parameters` says those for all lines.
"""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ptubench.distributions import MOST_TOKENS
from ptubench.errors import UsageError

_FORMS = 'write {"messages": […]}, an OpenAI batch line or an array of messages'


class Line(NamedTuple):
    """One prompt of the file."""

    messages: bytes
    """A JSON array."""
    limit: int | None
    """Output limit in tokens; None where the line has none."""
    number: int
    """Of the line in the file, from 1."""


def read(file: str) -> tuple[Line, ...]:
    """All lines of a messages file; blank lines are passed over.

    Raises:
        UsageError: no such file, no line in it, or a line that is none of the three forms; named by its number.
    """
    try:
        raw = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: the messages can't be read: {error.strerror}") from None
    numbered = enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1)
    lines = tuple(_line(text, number, f"{file}:{number}") for number, text in numbered if text.strip())
    if not lines:
        raise UsageError(f"{file}: the file is empty; {_FORMS} on each line")
    return lines


def _line(text: bytes, number: int, where: str) -> Line:
    try:
        value = msgspec.json.decode(text)
    except UnicodeDecodeError:
        raise UsageError(f"{where}: not UTF-8 text; save the file as UTF-8") from None
    except (msgspec.DecodeError, RecursionError):
        raise UsageError(f"{where}: not JSON; {_FORMS}") from None
    body = value.get("body", value) if isinstance(value, dict) else {"messages": value}
    if not isinstance(body, dict) or "messages" not in body:
        raise UsageError(f"{where}: no messages; {_FORMS}")
    messages = body["messages"]
    if not (isinstance(messages, list) and messages and all(map(_is_message, messages))):
        raise UsageError(f"{where}: messages must be a list of objects with a `role`, and not empty")
    return Line(msgspec.json.encode(messages), _limit(body, where), number)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def _limit(body: dict[str, Any], where: str) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        limit = body.get(key)
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                raise UsageError(f"{where}: `{key}` must be a whole number of tokens, 1 or more")
            if limit > MOST_TOKENS:
                raise UsageError(f"{where}: `{key}` must be at most {MOST_TOKENS:,} tokens")
            return limit
    return None
