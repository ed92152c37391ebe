"""Recorded traffic: a file in, offsets and sizes out. Knows no clock; times are seconds from `start`, at `speed`.

| format | a line | what it says |
|---|---|---|
| azure | `TIMESTAMP,ContextTokens,GeneratedTokens` | one request (Azure public dataset, LLM inference 2023) |
| jsonl | `timestamp` (seconds or ISO 8601), `prompt_tokens`, `completion_tokens`, optional `cached_tokens` | one request |
| usage | `minute,requests,prompt_tokens,cached_tokens,completion_tokens` | totals of one UTC minute |

A minute's totals do not say when in it a request came or how sizes differed: its requests are spread uniformly at random
(a Poisson process, given its count) and all have the minute's mean size, so queues and tails are milder than they were.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ptubench.distributions import LEAST_CACHED, LEAST_PROMPT, MOST_TOKENS
from ptubench.errors import UsageError
from ptubench.load.sizes import ARRIVALS, generator
from ptubench.secret import shown
from ptubench.units import duration_text
from ptubench.workload.model import Trace

Floats = NDArray[np.float64]
USAGE_HEADER = "minute,requests,prompt_tokens,cached_tokens,completion_tokens"
_MINUTE = 60.0
_LAST = 1e12  # seconds, in thirty thousand years
_MOST_REQUESTS = 10_000_000  # more in a minute is a broken line, and in a run would not fit in memory


@dataclass(frozen=True, slots=True)
class Entries:
    """The requests of a trace as arrays of one length: seconds from the start of the run, and tokens."""

    offsets: Floats
    prompt: Floats
    cached: Floats
    completion: Floats
    raised: int
    """Prompts under 32 tokens, which were raised to 32: a prompt needs room for its instruction."""


class Row(NamedTuple):
    """A line: one request, or the totals of one minute."""

    time: float
    """Seconds since the epoch, or since whatever the file counts from."""
    prompt: int
    cached: int
    completion: int
    requests: int = 1


class _Entry(msgspec.Struct):
    """A line of a JSONL trace."""

    timestamp: float | str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None


def read(load: Trace, *, duration: float, seed: int) -> Entries:
    """The requests due in [0, duration); `seed` places those of a usage file inside their minutes.

    Raises:
        UsageError: the file can't be read, a line of it is broken or out of order, or `start` lies behind its end.
    """
    rows = lines(load.file, load.format)
    length = _length(load, rows)
    begin = rows[0].time + load.start
    end = begin + min(duration * load.speed, length)
    _check_count(load, rows, begin, end)
    table = _expanded(rows, begin, end, seed) if load.format == "usage" else np.array([row[:4] for row in rows], float)
    table = table[(table[:, 0] >= begin) & (table[:, 0] < end)]
    times, prompt, cached, completion = table.T
    return Entries(
        offsets=(times - begin) / load.speed,
        prompt=np.maximum(prompt, LEAST_PROMPT),
        cached=cached,
        completion=np.maximum(completion, 1),
        raised=int((prompt < LEAST_PROMPT).sum()),
    )


def span(load: Trace) -> float:
    """Seconds from `start` to the end of the trace at its `speed`, in whole seconds with the last request inside.

    Raises:
        UsageError: as `read`.
    """
    return float(math.ceil(_length(load, lines(load.file, load.format)) / load.speed))


def _length(load: Trace, rows: list[Row]) -> float:
    """Seconds of the trace behind `start`, in its own time."""
    # One request more than a whole second behind the first is still inside: the end is exclusive.
    last = _MINUTE if load.format == "usage" else 1e-6
    whole = rows[-1].time - rows[0].time + last
    if load.start >= whole:
        raise UsageError(
            f"{load.file}: the trace lasts {duration_text(math.ceil(whole))}, so nothing is left at "
            f"`start: {duration_text(load.start)}`; start earlier"
        )
    return whole - load.start


def lines(file: str, format_: str) -> list[Row]:
    """All lines of a trace, in time and at least one of them with a request.

    Raises:
        UsageError: the file can't be read, or a line of it is broken or out of order.
    """
    header, parse = _FORMATS[format_]
    rows: list[Row] = []
    for number, line in _lines(file, header):
        try:
            row = _checked(parse(line))
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            raise UsageError(f"{file}:{number}: {error}") from None
        if rows and row.time == rows[-1].time and format_ == "usage":
            raise UsageError(
                f"{file}:{number}: the minute is the same as that of the line before; add up what was used in it, and keep one line"
            )
        if rows and row.time < rows[-1].time:
            raise UsageError(f"{file}:{number}: the line is not later than the one before; sort the trace by time")
        rows.append(row)
    if not any(row.requests for row in rows):
        raise UsageError(f"{file}: the trace has no requests")
    return rows


def _lines(file: str, header: str | None) -> Iterator[tuple[int, str]]:
    """The lines that hold data, with their numbers from 1. CRLF and a missing last newline are fine."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{file}: the {_called(header)} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: the {_called(header)} is not UTF-8 text") from None
    numbered = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    if header is not None:
        number, first = next(numbered, (1, ""))
        if first.replace(" ", "") != header:
            raise UsageError(f"{file}:{number}: the first line must be `{header}`")
    return numbered


def _called(header: str | None) -> str:
    return "usage file" if header == USAGE_HEADER else "trace"


def _azure(line: str) -> Row:
    time, prompt, completion = _fields(line, 3)
    return Row(_time(time), _count("ContextTokens", prompt), 0, _count("GeneratedTokens", completion))


def _jsonl(line: str) -> Row:
    entry = msgspec.json.decode(line, type=_Entry)
    time = _time(entry.timestamp) if isinstance(entry.timestamp, str) else entry.timestamp
    return Row(time, entry.prompt_tokens, entry.cached_tokens or 0, entry.completion_tokens)


def _usage(line: str) -> Row:
    minute, *totals = _fields(line, 5)
    requests, prompt, cached, completion = map(_count, USAGE_HEADER.split(",")[1:], totals)
    if not requests and (prompt or completion):
        raise ValueError("tokens without requests")
    if requests > _MOST_REQUESTS:
        raise ValueError(f"{requests} requests in a minute are more than any trace has")
    time = _time(minute, "2026-11-22T09:15Z")
    if time % _MINUTE:
        raise ValueError(f"`{shown(minute)}` is not the start of a minute")
    return Row(time, prompt, cached, completion, requests)


_FORMATS: dict[str, tuple[str | None, Callable[[str], Row]]] = {
    "azure": ("TIMESTAMP,ContextTokens,GeneratedTokens", _azure),
    "jsonl": (None, _jsonl),
    "usage": (USAGE_HEADER, _usage),
}


def _fields(line: str, count: int) -> list[str]:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != count:
        raise ValueError(f"{len(fields)} fields where {count} belong")
    return fields


def _time(text: str, example: str = "2023-11-16 18:15:46.680") -> float:
    """Seconds since the epoch of an ISO 8601 time; without a zone it is UTC. Digits behind the microsecond are cut."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"`{shown(text)}` is not a time such as {example}") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _count(column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{column}: `{shown(text)}` is not a whole number of 0 or more")
    if len(text) > 18:
        raise ValueError("a number is too large")
    return int(text)


def _checked(row: Row) -> Row:
    if min(row[1:]) < 0:
        raise ValueError("a number of tokens is negative")
    if max(row[1:4]) > MOST_TOKENS * max(row.requests, 1) or not abs(row.time) < _LAST:
        raise ValueError("a number is too large")
    if row.cached > row.prompt:
        raise ValueError("more cached tokens than prompt tokens")
    return row


def _check_count(load: Trace, rows: list[Row], begin: float, end: float) -> None:
    """A file of some lines may tell of more requests than any memory holds."""
    count = sum(row.requests for row in rows if begin - _MINUTE < row.time < end)
    if count > _MOST_REQUESTS:
        raise UsageError(
            f"{load.file}: {count:,} requests, more than the {_MOST_REQUESTS:,} that one run can hold; lower `duration` or `speed`"
        )


def _expanded(rows: list[Row], begin: float, end: float, seed: int) -> Floats:
    """Requests out of the minutes that touch [begin, end): time, prompt, cached, completion; shape (n, 4)."""
    minutes = [
        _minute(row, generator(seed, ARRIVALS, block=number))
        for number, row in enumerate(rows)
        if row.requests and begin - _MINUTE < row.time < end
    ]
    return np.concatenate([np.empty((0, 4)), *minutes])


def _minute(row: Row, rng: np.random.Generator) -> Floats:
    count = row.requests
    cached = np.zeros(count)
    # A mean under what Azure caches at all was a longer prefix of some of the requests: so many get 1,024 or more.
    holders = min(count, row.cached // LEAST_CACHED)
    cached[_even(holders, count) > 0] = _even(row.cached, holders)
    times = row.time + np.sort(rng.random(count)) * _MINUTE
    return np.column_stack([times, _even(row.prompt, count), cached, _even(row.completion, count)])


def _even(total: int, count: int) -> Floats:
    """`count` whole numbers as equal as can be, with exactly the sum `total`."""
    # In whole numbers: by floats 45 · (13 / 45) is less than 13.
    each, rest = divmod(total, max(count, 1))
    return each + np.diff(np.arange(count + 1) * rest // max(count, 1)).astype(float)
