"""One field of the workload file at a time: plain data to a typed value, or one sentence that says what is wrong.

Knows the names of all keys (`KEYS`) but not what they mean together.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ptubench import units
from ptubench.errors import UsageError
from ptubench.secret import looks_secret, names_secret, shown

KEYS: dict[str, tuple[str, ...]] = {
    "workload": (
        *("name", "description", "prompt_tokens", "completion_tokens", "output_limit", "reasoning_tokens", "cached"),
        *("messages", "mix", "load", "duration", "warmup", "seed", "throttling", "checks", "abort", "slo"),
        *("max_in_flight", "drain", "timeouts", "stream", "parameters", "client", "target"),
    ),
    "sizes": ("mean", "p95", "min", "max"),
    "cached": ("tokens", "prefixes"),
    "messages": ("file", "order"),
    "class": (
        *("weight", "prompt_tokens", "completion_tokens", "output_limit", "reasoning_tokens", "cached", "messages"),
    ),
    "load": (
        *("rate", "tokens_per_minute", "utilization", "stages", "concurrency", "trace"),
        *("arrivals", "burstiness", "think_time"),
    ),
    "stage": ("rate", "tokens_per_minute", "utilization", "to", "for"),
    "trace": ("file", "format", "start", "speed"),
    "throttling": ("on_429", "max_retries", "max_wait", "divert_to"),
    "slo": ("ttft", "e2e"),
    "timeouts": ("connect", "first_byte", "idle", "total"),
    "target": (
        *("endpoint", "deployment", "api_version", "api_style", "api", "auth", "key_env", "headers"),
        *("model", "ptu", "type", "ratio", "tpm_per_ptu", "simulate"),
    ),
}
"""Every key of a workload file by the mapping it stands in; `docs/workloads.md` describes the same."""

ON_429 = ("none", "retry", "divert")
"""What may happen after a 429."""
MOST = 1_000_000_000
"""The largest whole number that makes sense anywhere; beyond it arithmetic on millions of them would overflow."""
MOST_SEED = 10**15
LONGEST = 31 * 86_400.0
"""Seconds."""

Fields = dict[str, Any]

DECIDED_AFTERWARDS = ("auto", "until_429")
"""Rules of `warmup` that are no duration."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: what the file is called, and the dotted path of keys."""

    where: str
    path: str = ""

    def at(self, key: str | int) -> "Place":
        """The place of one key or list item below."""
        return Place(self.where, f"{self.path}.{key}" if self.path else str(key))

    def fault(self, sentence: str) -> UsageError:
        """The error to raise."""
        return UsageError(f"{self.where}: {self.path}: {sentence}" if self.path else f"{self.where}: {sentence}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def section(value: object, place: Place, keys: str) -> Fields:
    """A mapping with none but the keys of one row of `KEYS`."""
    known = KEYS[keys]
    # Each row of `KEYS` begins with what a bare value is meant for.
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        said, key = shown(value), known[0]
        raise place.fault(
            f"`{said}` is not a mapping; write `{key}: {said}` below it, or --set {shown(place.at(key).path)}={said}"
        )
    fields = mapping(value, place)
    for key in fields:
        if key not in known:
            raise UsageError(f"{place.where}: unknown key `{shown(place.at(key).path)}`; {_way_out(key, place, known)}")
    return fields


def mapping(value: object, place: Place) -> Fields:
    """A mapping."""
    if not isinstance(value, dict):
        raise place.fault(f"`{shown(value)}` is not a mapping; write `key: value` lines below it")
    return value


def items(value: object, place: Place) -> list[Any]:
    """A list that is not empty."""
    if not isinstance(value, list) or not value:
        raise place.fault("must be a list with at least one item, each on a line that begins with `- `")
    return value


def text(value: object, place: Place) -> str:
    """Text; a number in its place needs quotes."""
    if not isinstance(value, str) or not value.strip():
        raise place.fault(f"`{shown(value)}` is not text; put it in quotes")
    return value


def flag(value: object, place: Place) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise place.fault(f"`{shown(value)}` is neither true nor false")
    return value


def choice(value: object, place: Place, known: tuple[str, ...]) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in known:
        meant = nearest(value, known) if isinstance(value, str) else None
        raise place.fault(
            f"`{shown(value)}` is not one of {words(known)}" + (f"; did you mean `{meant}`?" * bool(meant))
        )
    return value


def whole(value: object, place: Place, *, least: int = 1, most: int = MOST) -> int:
    """A whole number; "200k" is one."""
    negative = isinstance(value, int | float) and value < 0
    number: int = least - 1 if negative else _converted(units.count, value, place)
    if number < least:
        raise place.fault(f"must be at least {least:,}, not {shown(value)}")
    if number > most:
        raise place.fault(f"must be at most {most:,}, not {shown(value)}")
    return number


def number(value: object, place: Place) -> float:
    """A number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.fault(f"`{shown(value)}` is not a number")
    return _positive(float(value), place)


def duration(value: object, place: Place, *, zero: bool = False) -> float:
    """Seconds of "30s"; above 0 unless `zero` is allowed."""
    seconds: float = _converted(units.duration, value, place)
    if seconds > LONGEST:
        raise place.fault(f"`{shown(value)}` is longer than 31 days")
    return seconds if zero and seconds == 0 else _positive(seconds, place)


def warmup(value: object, place: Place) -> float | None:
    """Seconds of a warm-up, 0 for none; None for a rule that is decided afterwards."""
    if value in DECIDED_AFTERWARDS:
        return None
    if isinstance(value, str) and value[:1].isalpha():
        raise place.fault(f"`{shown(value)}` is neither a duration such as 1m nor `auto` nor `until_429`")
    return duration(value, place, zero=True)


def rate(value: object, place: Place, *, zero: bool = False) -> float:
    """Calls a second of "45/min"."""
    per_second: float = _converted(units.rate, value, place)
    return per_second if zero and per_second == 0 else _positive(per_second, place)


def tokens_per_minute(value: object, place: Place, *, zero: bool = False) -> float:
    """Tokens a second of "200k", which is per minute."""
    return whole(value, place, least=0 if zero else 1) / 60


def share(value: object, place: Place, *, zero: bool = False) -> float:
    """A share of "90%" or 0.9."""
    part: float = _converted(units.share, value, place)
    return part if zero and part == 0 else _positive(part, place)


def words(known: Iterable[str]) -> str:
    """A list of words for a sentence."""
    return ", ".join(f"`{word}`" for word in known)


def refuse_secrets(value: object, place: Place) -> None:
    """Refuse anything that looks like a key or a token, wherever it stands: workload files are shared and stored."""
    if isinstance(value, dict):
        for key, below in value.items():
            hidden = place.at("(not shown)" if looks_secret(key) else shown(key))
            named = names_secret(key) and isinstance(below, str | int | float) and not str(below).startswith("env:")
            if named or looks_secret(key):
                raise _secret(hidden)
            refuse_secrets(below, hidden)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            refuse_secrets(below, place.at(index))
    elif isinstance(value, str) and looks_secret(value):
        raise _secret(place)


def _way_out(key: str, place: Place, known: tuple[str, ...]) -> str:
    """The key that was probably meant: here, or below `load`, where many look one level too high."""
    if meant := nearest(key, known):
        return f"did you mean `{place.at(meant).path}`?"
    if not place.path and (meant := nearest(key, KEYS["load"])):
        return f"did you mean `load.{meant}`?"
    return f"known are {words(known)}"


def _secret(place: Place) -> UsageError:
    return place.fault(
        "a secret has no place in a workload file; set the environment variable AZURE_OPENAI_API_KEY, "
        "or name another one with `target.key_env`"
    )


def _converted(convert: Callable[[object], Any], value: object, place: Place) -> Any:
    """What `units` makes of a value; its sentence with the place before it."""
    try:
        result = convert(value)
    except (ValueError, OverflowError):
        try:
            convert(shown(value))  # its sentence, on what may be shown
        except ValueError as exc:
            raise place.fault(str(exc)) from None
        raise place.fault(f"`{shown(value)}` is not understood") from None
    if not math.isfinite(result):
        raise place.fault(f"`{shown(value)}` is too large")
    return result


def _positive(value: float, place: Place) -> float:
    if value <= 0:
        raise place.fault("must be above 0")
    return value
