"""A run in memory: columns of numbers instead of a million objects.

What the numbers need is kept in arrays, in few bytes, and read as floats (NaN: never happened or not told). Strings are
kept once, and a column holds their codes. `gather` fills them. Derives nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis import packed
from ptubench.record import End, Head, Monitor, Resource

_Kind = TypeVar("_Kind", bound=np.generic)
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

PART = 65_536
"""Rows that are taken at a time, where what is derived from all of them on the way need not be there at once."""
MOMENTS = ("taken", "sent", "answered", "first_content", "first_output", "last_content", "end")
"""Columns of `Attempts` that are kept as microseconds since the attempt was due: half the bytes of those since the start."""

OUTCOMES = ("ok", "throttled", "failed", "cut", "dropped")
OK, THROTTLED, FAILED, CUT, DROPPED = range(len(OUTCOMES))


class _Column(Generic[_Kind]):
    """A column of `Attempts`: what is kept of it, read as what it is."""

    def __init__(self, read: Callable[["Attempts", NDArray[Any]], NDArray[_Kind]]) -> None:
        self._read = read

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, rows: "Attempts", owner: type) -> NDArray[_Kind]:
        return self._read(rows, rows.kept[self._name])


def _plain(_: "Attempts", kept: NDArray[Any]) -> NDArray[Any]:
    """As it is kept. Whole numbers may be narrower than `Ints` says: to be compared and counted, not to calculate with."""
    return kept


def _tokens(_: "Attempts", kept: NDArray[Any]) -> Floats:
    return packed.told(kept)


def _seconds(_: "Attempts", kept: NDArray[Any]) -> Floats:
    values: Floats = packed.told(kept) / 1e6
    return values


def _moment(rows: "Attempts", kept: NDArray[Any]) -> Floats:
    values = packed.microseconds(rows.scheduled)
    values += packed.told(kept)
    values /= 1e6
    return values


@dataclass(frozen=True, slots=True)
class Attempts:
    """One row per attempt, in order of due time, index and attempt. Times in seconds since the start of the run.

    Columns are read anew each time they are asked for: three million times eight bytes are not at hand for each at once.
    """

    kept: Mapping[str, NDArray[Any]]
    """By the name of the column: `scheduled` as it is, the rest in whole numbers (`packed`), times in microseconds."""

    index = _Column[np.int64](_plain)
    attempt = _Column[np.int64](_plain)
    scheduled = _Column[np.float64](_plain)
    taken = _Column(_moment)
    lane_wait = _Column(_seconds)
    connect_s = _Column(_seconds)
    tls_s = _Column(_seconds)
    sent = _Column(_moment)
    answered = _Column(_moment)
    first_content = _Column(_moment)
    first_output = _Column(_moment)
    last_content = _Column(_moment)
    end = _Column(_moment)
    content_events = _Column(_tokens)
    prompt_asked = _Column(_tokens)
    cached_asked = _Column(_tokens)
    completion_asked = _Column(_tokens)
    limit = _Column(_tokens)
    prompt_tokens = _Column(_tokens)
    cached_tokens = _Column(_tokens)
    completion_tokens = _Column(_tokens)
    reasoning_tokens = _Column(_tokens)
    retry_after = _Column(_seconds)
    status = _Column[np.int64](_plain)
    """0 where there was no HTTP answer."""
    cut = _Column[np.bool_](_plain)
    name = _Column[np.int64](_plain)
    """Codes of `Run.names`, as `failure`, `finish`, `model` and `region` are of theirs."""
    failure = _Column[np.int64](_plain)
    finish = _Column[np.int64](_plain)
    model = _Column[np.int64](_plain)
    region = _Column[np.int64](_plain)
    """That the answer named (`x-ms-region`)."""
    cause = _Column[np.int64](_plain)
    """Of a throttled attempt (`causes.CAUSES`)."""
    streamed = _Column[np.bool_](_plain)
    waited = _Column(_seconds)
    diverted = _Column[np.bool_](_plain)
    """Sent to the second target of `divert`."""
    spilled = _Column[np.bool_](_plain)
    """Answered by another deployment, because the service spilled it."""
    gave_up = _Column[np.bool_](_plain)
    limited = _Column[np.bool_](_plain)
    """Answered with `x-ratelimit-*` headers."""
    in_band = _Column[np.bool_](_plain)
    """Throttled inside a stream."""
    summarized = _Column[np.bool_](_plain)
    """Reasoning was shown as a summary."""
    retried_inside = _Column[np.bool_](_plain)
    """Sent more than once by the user's own client, out of our sight."""

    def __len__(self) -> int:
        return len(self.kept["index"])

    def of(self, column: str, rows: Ints | slice) -> NDArray[Any]:
        """One column of some rows; the others are not read."""
        needed = (column, "scheduled") if column in MOMENTS else (column,)
        read: NDArray[Any] = getattr(Attempts({name: self.kept[name][rows] for name in needed}), column)
        return read

    @property
    def by_target(self) -> Bools:
        """Which are exchanges with the target itself: neither diverted by us nor spilled by the service."""
        return ~(self.diverted | self.spilled)

    @property
    def outcome(self) -> NDArray[np.int8]:
        """Positions in `OUTCOMES`; the order of precedence is that of `Attempt.outcome`."""
        cases = [self.cut, self.failure != 0, (self.status == 429) | self.in_band]
        codes: NDArray[np.int8] = np.select(cases, [np.int8(CUT), np.int8(FAILED), np.int8(THROTTLED)], np.int8(OK))
        return codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Drops:
    """One row per request without an attempt: never sent because `max_in_flight` was reached, or lost with its worker."""

    index: Ints
    scheduled: Floats
    name: Ints
    lost: Bools
    """Due when its worker was lost; whether it was sent is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """One row per worker and second; and the histograms, one row per second and bucket."""

    t: Ints
    worker: Ints
    cpu: Floats
    gaps: Ints
    """Shape (n, 3): second, bucket, count."""
    loop_lag: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that the lines of a run say, as columns."""

    path: Path | None
    """None where the lines came from no file."""
    head: Head
    end: End | None
    attempts: Attempts
    drops: Drops
    ticks: Ticks
    names: list[str]
    failures: list[str | None]
    finishes: list[str | None]
    models: list[str | None]
    regions: list[str | None]
    causes: list[str | None]
    azure: list[Resource | Monitor]
    """What Azure said, in the order of the file."""
    broken: list[int]
    """Numbers of the lines that could not be read."""


def select(rows: Attempts, which: NDArray[Any] | slice) -> Attempts:
    """The same columns with only some rows: a mask, row numbers, or a slice (which copies nothing)."""
    if isinstance(which, np.ndarray) and which.dtype == np.bool_ and which.all():
        return rows  # a copy of a million rows is dear
    return Attempts({name: column[which] for name, column in rows.kept.items()})
