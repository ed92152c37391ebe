"""One row per offered request, joined from its attempts.

A request's outcome is that of its last attempt; a dropped one has no attempt, nor has one that was lost with its worker,
which counts as cut: in flight when all ended, as far as anybody knows.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis.columns import CUT, DROPPED, FAILED, OK, THROTTLED, Attempts, Bools, Drops, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Offered requests in the order in which they were due; columns are gathered from the attempts when asked for."""

    attempts: Attempts
    """Of the whole run."""
    first: Ints
    """The row of each request's first attempt; -1 when dropped or lost with its worker, as in `last`."""
    last: Ints
    index: Ints
    scheduled: Floats
    name: Ints
    outcome: NDArray[np.int8]
    """Position in `columns.OUTCOMES`."""
    streams: bool
    """Whether the workload asks for streams; what was dropped would have been one."""

    def __len__(self) -> int:
        return len(self.scheduled)

    def select(self, which: NDArray[np.bool_] | slice) -> "Requests":
        """Some of the requests: a mask or a slice."""
        if isinstance(which, np.ndarray) and which.all():
            return self  # a copy of a million rows is dear
        columns = ("first", "last", "index", "scheduled", "name", "outcome")
        return replace(self, **{name: getattr(self, name)[which] for name in columns})

    def of_first(self, column: str) -> Floats:
        """A column of the first attempts; NaN for what was dropped."""
        return _gather(self.attempts, column, self.first)

    def of_last(self, column: str) -> Floats:
        """A column of the last attempts; NaN for what was dropped."""
        return _gather(self.attempts, column, self.last)

    @property
    def rows(self) -> Bools:
        """Which attempts are theirs; one value for each attempt of the run."""
        sent = self.first >= 0
        edges = np.zeros(len(self.attempts) + 1, dtype=np.int64)
        edges[self.first[sent]] += 1
        edges[self.last[sent] + 1] -= 1  # where the next one begins, both
        return np.cumsum(edges[:-1]) > 0

    @property
    def ok(self) -> Bools:
        """Answered in full."""
        return np.equal(self.outcome, OK)

    @property
    def failed(self) -> Bools:
        """Failed for a named reason."""
        return np.equal(self.outcome, FAILED)

    @property
    def admitted(self) -> Bools:
        """Sent, and not answered with a 429: whatever became of it is the target's doing."""
        return np.not_equal(self.outcome, THROTTLED) & ~np.isnan(self.sent)

    @property
    def retried(self) -> Bools:
        """More than one attempt."""
        return np.greater(self.last, self.first)

    @property
    def diverted(self) -> Bools:
        """Sent by us to a second target, because the target had answered 429."""
        return np.equal(self.of_last("diverted"), 1)

    @property
    def spilled(self) -> Bools:
        """Answered by another deployment, because the service spilled it."""
        return np.equal(self.of_last("spilled"), 1)

    @property
    def by_target(self) -> Bools:
        """Whose last attempt is the target's own doing; what was dropped would have been."""
        return ~(self.diverted | self.spilled)

    @property
    def at_once(self) -> Bools:
        """Neither retried nor diverted nor spilled: one attempt, or none where it was dropped."""
        return ~self.retried & self.by_target

    @property
    def gave_up(self) -> Bools:
        """Throttled or failed, and not tried again although the policy wanted to."""
        return np.equal(self.of_last("gave_up"), 1)

    @property
    def refused(self) -> Bools:
        """Not served by the target at the first attempt: throttled, diverted, or spilled."""
        throttled = np.equal(self.of_first("status"), 429) | np.equal(self.of_first("in_band"), 1)
        return throttled | np.equal(self.of_first("spilled"), 1) | ~self.by_target

    @property
    def waited(self) -> Floats:
        """Seconds between the attempts of a request, in all; NaN where there was no wait."""
        waits = np.nan_to_num(self.attempts.waited)
        if not waits.any():
            return np.full(len(self), np.nan)
        running, waiting = (np.concatenate(([0.0], np.cumsum(values))) for values in (waits, waits > 0))
        some = waiting[self.last + 1] > waiting[self.first]
        return np.where(some & (self.last >= 0), running[self.last + 1] - running[self.first], np.nan)

    @property
    def streamed(self) -> Bools:
        """Asked for as a stream."""
        streamed = self.of_last("streamed")
        return np.where(np.isnan(streamed), self.streams, streamed == 1)

    @property
    def sent(self) -> Floats:
        """Of the last attempt, as everything below."""
        return self.of_last("sent")

    @property
    def first_content(self) -> Floats:
        """First content."""
        return self.of_last("first_content")

    @property
    def first_output(self) -> Floats:
        """First content that is not reasoning."""
        return self.of_last("first_output")

    @property
    def summarized(self) -> Bools:
        """Reasoning was shown as a summary."""
        return np.equal(self.of_last("summarized"), 1)

    @property
    def last_content(self) -> Floats:
        """Last content."""
        return self.of_last("last_content")

    @property
    def done(self) -> Floats:
        """When the answer was there: its last content, or its last byte when it was not streamed."""
        last = self.last_content
        return np.where(self.streamed & ~np.isnan(last), last, self.of_last("end"))

    @property
    def completion_tokens(self) -> Floats:
        """By the service's count; NaN without usage."""
        return self.of_last("completion_tokens")

    @property
    def reasoning_tokens(self) -> Floats:
        """The part of the completion that is reasoning; NaN where usage does not tell."""
        return self.of_last("reasoning_tokens")

    @property
    def visible(self) -> Floats:
        """Completion tokens that were shown; NaN without usage."""
        return self.completion_tokens - hidden_tokens(self)


def requests(attempts: Attempts, drops: Drops, *, streams: bool) -> Requests:
    """Join the attempts of each request, and the requests that were dropped or lost.

    Args:
        attempts: in order of due time, index and attempt.
        drops: in any order.
        streams: whether the workload asks for streams.
    """
    index = attempts.index
    if not len(drops.index) and np.all(index[1:] != index[:-1]):  # nothing to join: nothing is copied
        row, at, names = np.arange(len(index), dtype=np.int32), attempts.scheduled, attempts.name
        shared: dict[str, Any] = {"first": row, "last": row, "index": index}
        return Requests(
            **shared, attempts=attempts, scheduled=at, name=names, outcome=attempts.outcome, streams=streams
        )
    first = np.flatnonzero(np.concatenate(([True], index[1:] != index[:-1]))[: len(index)])
    last = np.append(first[1:], len(index))[: len(first)] - 1
    nothing = np.full(len(drops.index), -1)
    scheduled = np.concatenate((attempts.scheduled[first], drops.scheduled))
    order = np.argsort(scheduled, kind="stable")
    without = np.where(drops.lost, np.int8(CUT), np.int8(DROPPED))
    outcome = np.concatenate((attempts.outcome[last], without))
    return Requests(
        attempts=attempts,
        first=np.concatenate((first, nothing))[order],
        last=np.concatenate((last, nothing))[order],
        index=np.concatenate((index[first], drops.index))[order],
        scheduled=scheduled[order],
        name=np.concatenate((attempts.name[last], drops.name))[order],
        outcome=outcome[order],
        streams=streams,
    )


def _gather(attempts: Attempts, column: str, rows: Ints) -> Floats:
    if len(rows) and rows[0] >= 0 and np.all(rows[1:] - rows[:-1] == 1):  # nothing retried: nothing is copied
        return attempts.of(column, slice(rows[0], rows[-1] + 1)).astype(np.float64, copy=False)
    sent = rows >= 0
    values = np.full(len(rows), np.nan)
    values[sent] = attempts.of(column, rows[sent])
    return values


def hidden_tokens(rows: Requests | Attempts) -> Floats:
    """Reasoning tokens that the service counted and did not show: output came first, or after a summary. Never NaN."""
    shown = (rows.first_content < rows.first_output) | (~np.isnan(rows.first_content) & np.isnan(rows.first_output))
    shown &= ~rows.summarized
    counted = np.minimum(np.nan_to_num(rows.reasoning_tokens), np.nan_to_num(rows.completion_tokens))
    return np.where(shown, 0.0, counted)


def throttled_at(of: Attempts) -> Floats:
    """When each 429 came; NaN for other attempts.

    Its first byte, or the end of the stream that told of it; the end too where the user's own client did not show the answer.
    """
    came = np.where(of.in_band | np.isnan(of.answered), of.end, of.answered)
    return np.where(of.outcome == THROTTLED, came, np.nan)


def first_token(rows: Requests | Attempts) -> Floats:
    """When the first of the tokens came that were shown: a summary of the reasoning is none of them."""
    return np.where(rows.summarized, rows.first_output, rows.first_content)


def failures(of: Requests, names: list[str | None]) -> dict[str, int]:
    """Failed requests by kind, the most frequent first."""
    return by_name(of.attempts.failure[of.last[of.failed]], names)


def finishes(of: Requests, names: list[str | None]) -> dict[str, int]:
    """Answered requests by finish reason, the most frequent first; without one they are `none`."""
    return by_name(of.attempts.finish[of.last[of.ok]], names)


def by_name(codes: Ints, names: list[str | None]) -> dict[str, int]:
    """How often each name occurs, by its code, the most frequent first; None is `none`."""
    counts = np.bincount(codes, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return {names[code] or "none": int(counts[code]) for code in order if counts[code]}
