"""A run file in memory: columns of numbers instead of a million objects.

Reads lines, keeps what the numbers need in arrays (NaN: never happened or not told) and forgets the rest.
Strings are kept once, and a column holds their codes. Derives nothing.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ptubench import record
from ptubench.analysis.causes import LIMITS, cause, may_be_ptu
from ptubench.record import REASONING_SUMMARY, THROTTLED_IN_BAND, Attempt, Dropped, End, Head, Monitor, Resource, Tick
from ptubench.results import store
from ptubench.waits import retry_after

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Rows = TypeVar("_Rows", bound="DataclassInstance")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Counts = NDArray[np.float32]

OUTCOMES = ("ok", "throttled", "failed", "cut", "dropped")
OK, THROTTLED, FAILED, CUT, DROPPED = range(len(OUTCOMES))

_CHUNK = 4096
_MOST_TOKENS = 10**9
_LAST_SECOND = 2**31
_LARGEST_BUCKET = 2000  # 1 µs · 1.0198^2000 is longer than any run


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """One row per attempt, in order of due time, index and attempt. Times in seconds since the start of the run."""

    index: Ints
    attempt: NDArray[np.int16]
    scheduled: Floats
    taken: Floats
    lane_wait: Floats
    connect_s: Floats
    tls_s: Floats
    sent: Floats
    answered: Floats
    first_content: Floats
    first_output: Floats
    last_content: Floats
    end: Floats
    content_events: Counts
    """A request has few enough tokens and events for 32 bits: whole numbers up to 16.7 million are exact."""
    prompt_asked: Counts
    cached_asked: Counts
    completion_asked: Counts
    limit: Counts
    prompt_tokens: Counts
    cached_tokens: Counts
    completion_tokens: Counts
    reasoning_tokens: Counts
    retry_after: Floats
    status: NDArray[np.int16]
    """0 where there was no HTTP answer."""
    cut: Bools
    name: NDArray[np.int32]
    """Codes of `Run.names`, as `failure`, `finish` and `model` are of theirs."""
    failure: NDArray[np.int32]
    finish: NDArray[np.int32]
    model: NDArray[np.int32]
    cause: NDArray[np.int32]
    """Of a throttled attempt (`causes.CAUSES`)."""
    streamed: Bools
    waited: Floats
    diverted: Bools
    """Sent to the second target of `divert`."""
    spilled: Bools
    """Answered by another deployment, because the service spilled it."""
    gave_up: Bools
    limited: Bools
    """Answered with `x-ratelimit-*` headers."""
    in_band: Bools
    """Throttled inside a stream."""
    summarized: Bools
    """Reasoning was shown as a summary."""

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
    """One row per request that was never sent because `max_in_flight` was reached."""

    index: Ints
    scheduled: Floats
    name: NDArray[np.int32]


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
    """Everything that a run file says, as columns."""

    path: Path
    head: Head
    end: End | None
    attempts: Attempts
    drops: Drops
    ticks: Ticks
    names: list[str]
    failures: list[str | None]
    finishes: list[str | None]
    models: list[str | None]
    causes: list[str | None]
    azure: list[Resource | Monitor]
    """What Azure said, in the order of the file."""
    broken: list[int]
    """Numbers of the lines that could not be read."""


def select(rows: _Rows, which: NDArray[Any] | slice) -> _Rows:
    """The same columns with only some rows: a mask, row numbers, or a slice (which copies nothing)."""
    if isinstance(which, np.ndarray) and which.dtype == np.bool_ and which.all():
        return rows  # a copy of a million rows is dear
    return replace(rows, **{field.name: getattr(rows, field.name)[which] for field in fields(rows)})


class _Codes(dict[Hashable, int]):
    """A number for each value, in order of appearance."""

    def __missing__(self, value: Hashable) -> int:
        return self.setdefault(value, len(self))


def load(path: Path) -> Run:
    """Read a run file.

    Raises:
        UsageError: no file, no run file, or a newer schema.
    """
    broken: list[int] = []
    reader = store.lines(path, broken=broken)
    head = next(reader)
    assert isinstance(head, Head)  # noqa: S101 - what `lines` promises
    codes = {"name": _Codes({"": 0}), **{key: _Codes({None: 0}) for key in ("failure", "finish", "model", "cause")}}
    attempts = _Collector(_attempt_columns(codes, head))
    drops = _Collector(_drop_columns(codes["name"]))
    ticks: list[tuple[int, int, float]] = []
    gaps: list[Ints] = []
    loop_lag: list[Ints] = []
    azure: list[Resource | Monitor] = []
    end: End | None = None
    for line in reader:
        match line:
            case Attempt():
                attempts.add(line)
            case Dropped():
                drops.add(line)
            case Tick() if 0 <= line.t < _LAST_SECOND:
                ticks.append((line.t, line.worker, line.cpu))
                gaps.append(_counts(line.t, line.gaps))
                loop_lag.append(_counts(line.t, line.loop_lag))
            case End():
                end = line
            case Resource() | Monitor():
                azure.append(line)
    columns = attempts.rows()
    return Run(
        path=path,
        head=head,
        end=end,
        attempts=_in_place(columns, np.lexsort((columns["attempt"], columns["index"], columns["scheduled"]))),
        drops=Drops(**drops.rows()),
        ticks=Ticks(
            t=_numbers([t for t, _, _ in ticks]).astype(np.int64),
            worker=_numbers([worker for _, worker, _ in ticks]).astype(np.int64),
            cpu=_numbers([cpu for _, _, cpu in ticks]),
            gaps=np.concatenate([_counts(0, {}), *gaps]),
            loop_lag=np.concatenate([_counts(0, {}), *loop_lag]),
        ),
        names=list(codes["name"]),  # type: ignore[arg-type] # filled with one type each
        failures=list(codes["failure"]),  # type: ignore[arg-type]
        finishes=list(codes["finish"]),  # type: ignore[arg-type]
        models=list(codes["model"]),  # type: ignore[arg-type]
        causes=list(codes["cause"]),  # type: ignore[arg-type]
        azure=azure,
        broken=broken,
    )


_Column = Callable[[list[Any]], NDArray[Any]]
_COUNTS = (
    "content_events",
    "prompt_asked",
    "cached_asked",
    "completion_asked",
    "limit",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
)


class _Collector:
    """Turns records into columns, some thousand at a time.

    Each column grows in one buffer: a million small arrays, joined in the end, would take the memory twice.
    """

    def __init__(self, columns: Mapping[str, _Column]) -> None:
        self._columns = columns
        self._waiting: list[Any] = []
        self._buffers = {name: bytearray() for name in columns}

    def add(self, row: Attempt | Dropped) -> None:
        self._waiting.append(row)
        if len(self._waiting) == _CHUNK:
            self._convert()

    def rows(self) -> dict[str, NDArray[Any]]:
        """All columns, each of the same length."""
        self._convert()
        return {
            name: np.frombuffer(self._buffers[name], dtype=column([]).dtype) for name, column in self._columns.items()
        }

    def _convert(self) -> None:
        for name, column in self._columns.items():
            self._buffers[name] += column(self._waiting).data
        self._waiting.clear()


def _attempt_columns(codes: Mapping[str, _Codes], head: Head) -> dict[str, _Column]:
    target, second = may_be_ptu(head.target), may_be_ptu(head.divert_to)

    def cause_of(row: Attempt) -> str | None:
        return cause(row, ptu=second if row.diverted else target and record.SPILLED not in row.headers)

    def asked_to_wait(row: Attempt) -> float | None:
        throttled = row.status == 429 or THROTTLED_IN_BAND in row.flags
        return retry_after(row.headers, head.started_unix + (row.answered or 0.0)) if throttled else None

    columns = {field.name: _float(field.name) for field in fields(Attempts)}
    columns |= {name: _count(name) for name in _COUNTS}
    columns |= {name: _coded(attrgetter(name), codes[name]) for name in ("name", "failure", "finish", "model")}
    columns |= {name: _whole(name, np.bool_) for name in ("streamed", "cut", "diverted", "gave_up")}
    columns |= {
        "index": _whole("index", np.int64),
        "attempt": _whole("attempt", np.int16),
        "status": _whole("status", np.int16),
        "cause": _coded(cause_of, codes["cause"]),
        "spilled": _told(lambda row: record.SPILLED in row.headers),
        "limited": _told(lambda row: not LIMITS.isdisjoint(row.headers)),
        "in_band": _told(lambda row: THROTTLED_IN_BAND in row.flags),
        "summarized": _told(lambda row: REASONING_SUMMARY in row.flags),
        "retry_after": lambda rows: _numbers(list(map(asked_to_wait, rows))),
    }
    return columns


def _drop_columns(names: _Codes) -> dict[str, _Column]:
    return {
        "index": _whole("index", np.int64),
        "scheduled": _float("scheduled"),
        "name": _coded(attrgetter("name"), names),
    }


def _float(name: str) -> _Column:
    get = attrgetter(name)
    return lambda rows: _numbers(list(map(get, rows)))


def _count(name: str) -> _Column:
    """Counts came from a service: one that is no possible number of tokens is none."""
    get = attrgetter(name)

    def column(rows: list[Any]) -> NDArray[Any]:
        values = _numbers(list(map(get, rows)))
        return np.where((values >= 0) & (values <= _MOST_TOKENS), values, np.nan).astype(np.float32)

    return column


def _whole(name: str, kind: Any) -> _Column:
    get = attrgetter(name)
    top = np.iinfo(kind).max if kind is not np.bool_ else 1
    return lambda rows: np.nan_to_num(_numbers(list(map(get, rows)))).clip(0, min(top, 2**53)).astype(kind)


def _told(of: Callable[[Any], bool]) -> _Column:
    return lambda rows: np.fromiter(map(of, rows), dtype=np.bool_, count=len(rows))


def _coded(get: Callable[[Any], Any], codes: _Codes) -> _Column:
    return lambda rows: np.fromiter(map(codes.__getitem__, map(get, rows)), dtype=np.int32, count=len(rows))


def _numbers(values: list[Any]) -> Floats:
    """Floats, with NaN for None and for whole numbers that no float can hold."""
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return np.array([None if isinstance(v, int) and abs(v) > 2**63 else v for v in values], dtype=np.float64)


def _counts(t: int, histogram: Mapping[int, int]) -> Ints:
    rows = [(t, bucket, n) for bucket, n in histogram.items() if 0 <= bucket < _LARGEST_BUCKET and 0 < n < 2**31]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _in_place(columns: dict[str, NDArray[Any]], order: Ints) -> Attempts:
    """Sorted rows; one column at a time, because all of them twice would not fit."""
    for column in columns.values():
        column[:] = column[order]
    return Attempts(**columns)
