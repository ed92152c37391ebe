"""Which field of a request's body a service has refused, read from its 400. No socket, no clock, no request.

Seen at OpenAI and Azure (2024 to 2026): code `unsupported_parameter` or `unsupported_value` with the field in `param`;
from the Responses API the same sentence with `code: null`; from old api-versions only the sentence
"Unrecognized request argument supplied: stream_options".
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

Why = Literal["parameter", "value", "unknown"]


class Refusal(NamedTuple):
    """A field that was refused."""

    field: str
    """As the service names it; one inside another with a dot: `reasoning.effort`."""
    why: Why
    """The model has no such parameter, or not this value of it; or the service does not know the name."""


_CODES: dict[str, Why] = {
    "unsupported_parameter": "parameter",
    "unsupported_value": "value",
    "unknown_parameter": "unknown",
}
_SENTENCES: dict[str, Why] = {
    "unsupported parameter": "parameter",
    "unsupported value": "value",
    "unknown parameter": "unknown",
    "unrecognized request argument supplied": "unknown",
}
_SAID = re.compile(rf"({'|'.join(_SENTENCES)}): ['\"`]?(\w{{1,60}}(?:\.\w{{1,60}})*)", re.IGNORECASE)


def of_body(body: bytes) -> Refusal | None:
    """What the body of a 400 says; None where it names no field."""
    try:
        error = msgspec.json.decode(body)["error"]
        code, param, message = (error.get(key) for key in ("code", "param", "message"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError, KeyError, TypeError, IndexError):
        return of_text(body[:2000].decode("utf-8", "replace"))
    said = of_text(str(message)[:2000])
    why = _CODES.get(str(code)) or (said and said.why)
    field = param if isinstance(param, str) and param else said and said.field
    return Refusal(field, why) if why and field else None


def of_text(text: str) -> Refusal | None:
    """The same of a sentence, as SDKs raise it."""
    said = _SAID.search(text)
    return None if said is None else Refusal(said[2], _SENTENCES[said[1].lower()])


def has(fields: Mapping[str, Any], name: str) -> bool:
    """Whether a body has a field; `name` as in `Refusal`."""
    outer, dot, inner = name.partition(".")
    if not dot or outer not in fields:
        return outer in fields
    return isinstance(fields[outer], Mapping) and has(fields[outer], inner)


def without(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A body without a field, and without the one around it if nothing else is in there."""
    if not has(fields, name):
        return dict(fields)
    outer, dot, inner = name.partition(".")
    held = without(fields[outer], inner) if dot else {}
    return {key: held if key == outer else value for key, value in fields.items() if key != outer or held}
