"""A run in memory: columns of numbers instead of a million objects.

What the numbers need is kept in arrays (NaN: never happened or not told). Strings are kept once, and a column holds
their codes. `gather` fills them. Derives nothing.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ptubench.record import End, Head, Monitor, Resource

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Rows = TypeVar("_Rows", bound="DataclassInstance")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Counts = NDArray[np.float32]

OUTCOMES = ("ok", "throttled", "failed", "cut", "dropped")
OK, THROTTLED, FAILED, CUT, DROPPED = range(len(OUTCOMES))


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
    """Codes of `Run.names`, as `failure`, `finish`, `model` and `region` are of theirs."""
    failure: NDArray[np.int32]
    finish: NDArray[np.int32]
    model: NDArray[np.int32]
    region: NDArray[np.int32]
    """That the answer named (`x-ms-region`)."""
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
    retried_inside: Bools
    """Sent more than once by the user's own client, out of our sight."""

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
    name: NDArray[np.int32]
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


def select(rows: _Rows, which: NDArray[Any] | slice) -> _Rows:
    """The same columns with only some rows: a mask, row numbers, or a slice (which copies nothing)."""
    if isinstance(which, np.ndarray) and which.dtype == np.bool_ and which.all():
        return rows  # a copy of a million rows is dear
    return replace(rows, **{field.name: getattr(rows, field.name)[which] for field in fields(rows)})
