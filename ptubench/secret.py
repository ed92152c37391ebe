"""What looks like a secret, and how to name a value in a message without giving one away.

A guess by shape, so it errs on the careful side: what is taken for a key is refused or hidden, never stored.
Secrets that are known are found wherever a server or a library repeats them.
"""

import re
from collections.abc import Iterable

from ptubench.inert import defused

_SHAPES = re.compile(
    r"""
    (?<![A-Za-z0-9]) sk-(?=[A-Za-z0-9_-]*[0-9])[A-Za-z0-9_-]{16,}     # OpenAI, and those who copy its form
    | \b[Bb]earer\s+\S{8,}
    | (?<![A-Za-z0-9_-]) eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+          # a JSON web token
    | (?<![\w./-]) [0-9a-fA-F]{32,} (?![\w./-])                      # Azure until 2024; not a part of a file name
    | (?<![A-Za-z0-9]) (?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{44,} (?![A-Za-z0-9])  # Azure since: 84 of these
    """,
    re.VERBOSE,
)
_NAMES = {
    *("key", "api_key", "apikey", "x_api_key", "subscription_key", "ocp_apim_subscription_key"),
    *("token", "access_token", "auth_token", "bearer", "bearer_token", "authorization"),
    *("password", "passwd", "secret", "client_secret", "credential", "credentials"),
}

_HIDDEN = "(not shown)"
_LEAST = 8
"""Characters: what is shorter is a placeholder such as `EMPTY`, and a beginning that short gives nothing away."""


def looks_secret(text: str) -> bool:
    """Whether a text has the shape of a key or a token, or holds one."""
    return _SHAPES.search(text) is not None


def names_secret(name: str) -> bool:
    """Whether a field of this name holds a secret, as `api_key`, `Authorization` and `password` do."""
    return name.strip().lower().replace("-", "_").replace(" ", "_") in _NAMES


def shown(value: object, *, most: int = 60) -> str:
    """A value as a message may name it: one line of at most `most` characters, printable, and no secret."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if looks_secret(text):
        return _HIDDEN
    line = defused("".join(char if char.isprintable() else " " for char in text).strip())
    return line if len(line) <= most else line[: most - 1] + "…"


def words(values: Iterable[str]) -> tuple[str, ...]:
    """The words of request headers that hold secrets: of `Bearer KEY` a server repeats the key alone."""
    return tuple(word for value in values for word in value.split())


def hide(text: str, secrets: Iterable[str]) -> str:
    """A text that somebody else wrote, without the secrets that it repeats, also where it ends inside one."""
    for secret in secrets:
        at = text.find(secret[:_LEAST]) if len(secret) >= _LEAST else -1
        while at >= 0:
            length = next((i for i, (a, b) in enumerate(zip(text[at:], secret, strict=False)) if a != b), len(secret))
            text = text[:at] + _HIDDEN + text[at + length :]
            at = text.find(secret[:_LEAST], at + len(_HIDDEN))
    return text
