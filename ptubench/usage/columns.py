"""A usage history as columns: one row per UTC minute with traffic, ascending. Knows no file, no service, no model.

A minute that has no row had no traffic: that is how Azure Monitor tells it, by a minute without a value. Whether a
minute was quiet or just not recorded can't be told apart, so how many there are and the longest run of them are named.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MINUTE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The columns have one length; tokens and requests are totals of their minute."""

    source: str
    """Where it comes from: a file, or a deployment in Azure Monitor."""
    span: tuple[int, int]
    """[from, to) in seconds since the epoch, whole minutes: what was recorded, quiet minutes included."""
    minute: NDArray[np.int64]
    """Starts of the minutes, in seconds since the epoch."""
    requests: Floats
    """That were answered."""
    prompt: Floats
    cached: Floats
    """The part of `prompt` that was cached."""
    completion: Floats
    throttled: float | None = None
    """Requests that were answered 429, in all: their tokens are in no column. None where nobody says."""
    notes: tuple[str, ...] = ()
    """What must be known to read the figures, a sentence each."""

    @property
    def minutes(self) -> int:
        """Of the span, with traffic or without."""
        return (self.span[1] - self.span[0]) // MINUTE

    @property
    def hours(self) -> float:
        """Of the span."""
        return self.minutes / 60


def longest_gap(usage: Usage) -> tuple[int, int] | None:
    """The longest run of minutes without a row, as [from, to) in seconds since the epoch; None where every minute has one."""
    edges = np.concatenate([[usage.span[0] - MINUTE], usage.minute, [usage.span[1]]])
    gaps = np.diff(edges) - MINUTE
    longest = int(gaps.argmax())
    if gaps[longest] <= 0:
        return None
    return int(edges[longest]) + MINUTE, int(edges[longest + 1])


def from_totals(totals: Mapping[str, Mapping[int, float]], *, source: str, span: tuple[int, int]) -> Usage:
    """Columns out of totals by minute; a minute where all are 0 gets no row.

    Args:
        totals: `requests`, `prompt`, `cached` and `completion`, each by the start of the minute.
        source: see `Usage`.
        span: see `Usage`; what lies outside is left out.
    """
    names = ("requests", "prompt", "cached", "completion")
    minute = np.array(sorted({at for name in names for at in totals[name] if span[0] <= at < span[1]}), np.int64)
    columns = np.array([[totals[name].get(at, 0.0) for at in minute.tolist()] for name in names], float)
    busy = columns.any(axis=0)
    return Usage(source=source, span=span, minute=minute[busy], **dict(zip(names, columns[:, busy], strict=True)))
