"""Lines of a run in, its columns out: from a run file, or as a simulated run makes them.

Keeps what the numbers need, some thousand lines at a time, and forgets the rest. Derives nothing.
"""

from collections.abc import Callable, Hashable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptubench import record
from ptubench.analysis.causes import LIMITS, cause, may_be_ptu
from ptubench.analysis.columns import MOMENTS, Attempts, Drops, Floats, Ints, Run, Ticks
from ptubench.analysis.packed import Grown, microseconds, whole
from ptubench.failures import RENAMED
from ptubench.record import (
    REASONING_SUMMARY,
    THROTTLED_IN_BAND,
    Attempt,
    Dropped,
    End,
    Head,
    Line,
    Lost,
    Monitor,
    Resource,
    Tick,
)
from ptubench.results import store
from ptubench.waits import LONGEST, retry_after

_CHUNK = 4096
_MOST_TOKENS = 10**9
_MOST_NAMES = 1000
_OTHER = "other"
_LAST_SECOND = 2**31
_LARGEST_BUCKET = 2000  # 1 µs · 1.0198^2000 is longer than any run


def load(path: Path) -> Run:
    """Read a run file.

    Raises:
        UsageError: no file, no run file, or a newer schema.
    """
    broken: list[int] = []
    reader = store.lines(path, broken=broken)
    head = next(reader)
    assert isinstance(head, Head)  # noqa: S101 - what `lines` promises
    gathered = Gathering(head)
    for line in reader:
        gathered.add(line)
    return gathered.run(path, broken=broken)


class Gathering:
    """The lines that follow a head, one after another; `run` makes columns of them."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self._codes = {
            "name": _Codes({"": 0}),
            **{key: _FewCodes({None: 0}) for key in ("failure", "finish", "model", "cause", "region")},
        }
        self._attempts = _Collector(_attempt_columns(self._codes, head))
        self._drops = _Collector(_drop_columns(self._codes["name"]))
        self._ticks: list[tuple[int, int, float]] = []
        self._gaps = Grown(np.dtype(np.int64))
        self._loop_lag = Grown(np.dtype(np.int64))
        self._azure: list[Resource | Monitor] = []
        self._end: End | None = None

    def add(self, line: Line) -> None:
        """Take one line."""
        match line:
            case Attempt():
                self._attempts.add(line)
            case Dropped() | Lost():
                self._drops.add(line)
            case Tick() if 0 <= line.t < _LAST_SECOND:
                self._ticks.append((line.t, line.worker, line.cpu))
                self._gaps.add(_counts(line.t, line.gaps))
                self._loop_lag.add(_counts(line.t, line.loop_lag))
            case End():
                self._end = line
            case Resource() | Monitor():
                self._azure.append(line)

    def run(self, path: Path | None = None, *, broken: list[int] | None = None) -> Run:
        """Everything so far; once, at the end.

        Args:
            path: the file that the lines came from, if they did.
            broken: numbers of its lines that could not be read.
        """
        columns = self._attempts.rows()
        ticks, codes = self._ticks, {name: list(of) for name, of in self._codes.items()}
        return Run(
            path=path,
            head=self.head,
            end=self._end,
            attempts=_in_place(columns, np.lexsort((columns["attempt"], columns["index"], columns["scheduled"]))),
            drops=Drops(**self._drops.rows()),
            ticks=Ticks(
                t=_numbers([t for t, _, _ in ticks]).astype(np.int64),
                worker=_numbers([worker for _, worker, _ in ticks]).astype(np.int64),
                cpu=_numbers([cpu for _, _, cpu in ticks]),
                gaps=self._gaps.values().reshape(-1, 3),
                loop_lag=self._loop_lag.values().reshape(-1, 3),
            ),
            names=codes["name"],  # type: ignore[arg-type] # filled with one type each
            failures=codes["failure"],  # type: ignore[arg-type]
            finishes=codes["finish"],  # type: ignore[arg-type]
            models=codes["model"],  # type: ignore[arg-type]
            regions=codes["region"],  # type: ignore[arg-type]
            causes=codes["cause"],  # type: ignore[arg-type]
            azure=self._azure,
            broken=[] if broken is None else broken,
        )


class _Codes(dict[Hashable, int]):
    """A number for each value, in order of appearance."""

    def __missing__(self, value: Hashable) -> int:
        return self.setdefault(value, len(self))


class _FewCodes(_Codes):
    """The same of what a server names: after some, all that are new are one."""

    def __missing__(self, value: Hashable) -> int:
        return super().__missing__(value) if len(self) < _MOST_NAMES else self.setdefault(_OTHER, len(self))


_Column = Callable[[list[Any]], NDArray[Any]]
_Columns = dict[str, NDArray[Any]]
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
_DURATIONS = ("lane_wait", "waited", "connect_s", "tls_s")
_PARTS = {"cached_tokens": "prompt_tokens", "reasoning_tokens": "completion_tokens"}
"""Counts that are a part of another one."""


class _Collector:
    """Turns records into columns, some thousand at a time."""

    def __init__(self, columns: Callable[[list[Any]], _Columns]) -> None:
        self._columns = columns
        self._waiting: list[Any] = []
        self._grown = {name: Grown(column.dtype) for name, column in columns([]).items()}

    def add(self, row: Attempt | Dropped | Lost) -> None:
        self._waiting.append(row)
        if len(self._waiting) == _CHUNK:
            self._convert()

    def rows(self) -> _Columns:
        """All columns, each of the same length."""
        self._convert()
        return {name: grown.values() for name, grown in self._grown.items()}

    def _convert(self) -> None:
        for name, column in self._columns(self._waiting).items():
            self._grown[name].add(column)
        self._waiting.clear()


def _attempt_columns(codes: Mapping[str, _Codes], head: Head) -> Callable[[list[Any]], _Columns]:
    target, second = may_be_ptu(head.target), may_be_ptu(head.divert_to)

    def cause_of(row: Attempt) -> str | None:
        return cause(row, ptu=second if row.diverted else target and record.SPILLED not in row.headers)

    def asked_to_wait(row: Attempt) -> float | None:
        throttled = row.status == 429 or THROTTLED_IN_BAND in row.flags
        return retry_after(row.headers, head.started_unix + (row.answered or row.end or 0.0)) if throttled else None

    columns = {name: _float(name) for name in MOMENTS}
    columns |= {name: _seconds(name) for name in _DURATIONS}
    columns |= {name: _count(name) for name in _COUNTS}
    columns |= {part: _part_of(of, part) for part, of in _PARTS.items()}
    columns |= {name: _coded(attrgetter(name), codes[name]) for name in ("name", "finish", "model")}
    columns |= {name: _whole(name, np.bool_) for name in ("streamed", "cut", "diverted", "gave_up")}
    columns |= {
        "scheduled": _always("scheduled"),
        "index": _whole("index", np.int64),
        "attempt": _whole("attempt", np.int16),
        "status": _whole("status", np.int16),
        "failure": _coded(lambda row: RENAMED.get(row.failure, row.failure), codes["failure"]),
        "cause": _coded(cause_of, codes["cause"]),
        "region": _coded(lambda row: row.headers.get("x-ms-region"), codes["region"]),
        "spilled": _told(lambda row: record.SPILLED in row.headers),
        "limited": _told(lambda row: not LIMITS.isdisjoint(row.headers)),
        "in_band": _told(lambda row: THROTTLED_IN_BAND in row.flags),
        "summarized": _told(lambda row: REASONING_SUMMARY in row.flags),
        "retried_inside": _told(lambda row: record.RETRIED_INSIDE in row.flags),
        "retry_after": lambda rows: whole(microseconds(_numbers(list(map(asked_to_wait, rows))))),
    }
    if head.clock == "virtual":
        columns["taken"] = lambda rows: np.full(len(rows), np.nan)  # no generator can be late on it

    def kept(rows: list[Any]) -> _Columns:
        found = {name: column(rows) for name, column in columns.items()}
        due = microseconds(found["scheduled"])
        return found | {name: whole(microseconds(found[name]) - due) for name in MOMENTS}

    return kept


def _drop_columns(names: _Codes) -> Callable[[list[Any]], _Columns]:
    columns = {
        "index": _whole("index", np.int64),
        "scheduled": _always("scheduled"),
        "name": _coded(attrgetter("name"), names),
        "lost": _told(lambda row: isinstance(row, Lost)),
    }
    return lambda rows: {name: column(rows) for name, column in columns.items()}


def _float(name: str) -> _Column:
    """Seconds; what no time can be is none."""
    get = attrgetter(name)

    def column(rows: list[Any]) -> Floats:
        values = _numbers(list(map(get, rows)))
        return np.where(np.abs(values) <= LONGEST, values, np.nan)

    return column


def _seconds(name: str) -> _Column:
    """How long something took, as it is kept."""
    column = _float(name)
    return lambda rows: whole(microseconds(column(rows)))


def _always(name: str) -> _Column:
    """Seconds of which every row has some; what no time can be is the nearest that can."""
    get = attrgetter(name)
    return lambda rows: np.nan_to_num(_numbers(list(map(get, rows)))).clip(-LONGEST, LONGEST)


def _count(name: str) -> _Column:
    """Counts came from a service: one that is no possible number of tokens is none."""
    get = attrgetter(name)

    def column(rows: list[Any]) -> Ints:
        values = _numbers(list(map(get, rows)))
        return whole(np.where((values >= 0) & (values <= _MOST_TOKENS), values, np.nan))

    return column


def _part_of(of: str, part: str) -> _Column:
    """A part that exceeds its whole is none: some gateways count cached or reasoning tokens beside the others."""
    parts, wholes = _count(part), _count(of)

    def column(rows: list[Any]) -> Ints:
        values = parts(rows)
        return np.where(values <= wholes(rows), values, -1)  # neither is anything where the whole was not told

    return column


def _whole(name: str, kind: Any) -> _Column:
    get = attrgetter(name)
    top = np.iinfo(kind).max if kind is not np.bool_ else 1
    return lambda rows: np.nan_to_num(_numbers(list(map(get, rows)))).clip(0, min(top, 2**53)).astype(kind)


def _told(of: Callable[[Any], bool]) -> _Column:
    return lambda rows: np.fromiter(map(of, rows), dtype=np.bool_, count=len(rows))


def _coded(get: Callable[[Any], Any], codes: _Codes) -> _Column:
    return lambda rows: np.fromiter(map(codes.__getitem__, map(get, rows)), dtype=np.int64, count=len(rows))


def _numbers(values: list[Any]) -> Floats:
    """Floats, with NaN for None and for whole numbers that no float can hold."""
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return np.array([None if isinstance(v, int) and abs(v) > 2**63 else v for v in values], dtype=np.float64)


def _counts(t: int, histogram: Mapping[int, int]) -> Ints:
    rows = [(t, bucket, n) for bucket, n in histogram.items() if 0 <= bucket < _LARGEST_BUCKET and 0 < n < 2**31]
    return np.array(rows, dtype=np.int64).ravel()


def _in_place(columns: dict[str, NDArray[Any]], order: Ints) -> Attempts:
    """Sorted rows; one column at a time, because all of them twice would not fit."""
    for column in columns.values():
        if column.flags.writeable:  # else it is one value
            column[:] = column[order]
    return Attempts(columns)
