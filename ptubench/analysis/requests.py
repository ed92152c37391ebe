"""One row per offered request, and what each metric is for it.

A request's outcome is that of its last attempt; a dropped one has no attempt, nor has one that was lost with its worker,
which counts as cut: in flight when all ended, as far as anybody knows. In every metric NaN means that it
is not defined for the request, and infinity that the request was never answered: unanswered is never fast.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis.columns import CUT, DROPPED, FAILED, OK, THROTTLED, Attempts, Bools, Drops, Floats, Ints

Metric = Callable[["Requests"], Floats]


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
    name: NDArray[np.int32]
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
        return _gather(getattr(self.attempts, column), self.first)

    def of_last(self, column: str) -> Floats:
        """A column of the last attempts; NaN for what was dropped."""
        return _gather(getattr(self.attempts, column), self.last)

    @property
    def rows(self) -> Bools:
        """Which attempts are theirs; one value for each attempt of the run."""
        sent = self.first >= 0
        edges = np.zeros(len(self.attempts.index) + 1, dtype=np.int64)
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
        waits = self.attempts.waited
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
        row, at, names = np.arange(len(index)), attempts.scheduled, attempts.name
        shared = {"first": row, "last": row, "index": index}
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


def _gather(column: NDArray[np.generic], rows: Ints) -> Floats:
    sent = rows >= 0
    if sent.all():
        return column[rows].astype(np.float64, copy=False)
    values = np.full(len(rows), np.nan)
    values[sent] = column[rows[sent]]
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
    return _where(of.outcome == THROTTLED, np.where(of.in_band | np.isnan(of.answered), of.end, of.answered))


def first_token(rows: Requests | Attempts) -> Floats:
    """When the first of the tokens came that were shown: a summary of the reasoning is none of them."""
    return np.where(rows.summarized, rows.first_output, rows.first_content)


def _since(start: Floats, event: Floats) -> Floats:
    """Time from start to the event; infinite where it never happened."""
    return np.where(np.isnan(event), np.inf, event - start)


def _where(defined: Bools, values: Floats) -> Floats:
    return np.where(defined, values, np.nan)


def _positive(values: Floats) -> Floats:
    return _where(values > 0, values)


def ttft(of: Requests) -> Floats:
    """Sent to first content, of what was admitted."""
    return _where(of.admitted & of.streamed, _since(of.sent, of.first_content))


def ttfo(of: Requests) -> Floats:
    """Sent to first content that is not reasoning, of what was admitted."""
    return _where(of.admitted & of.streamed, _since(of.sent, of.first_output))


def ttft_scheduled(of: Requests) -> Floats:
    """Due to first content, of everything offered."""
    return _where(of.streamed, _since(of.scheduled, of.first_content))


def e2e(of: Requests) -> Floats:
    """Sent to last content, of what was admitted."""
    return _where(of.admitted, np.where(of.ok, of.done - of.sent, np.inf))


def e2e_scheduled(of: Requests) -> Floats:
    """Due to last content, of everything offered."""
    return np.where(of.ok, of.done - of.scheduled, np.inf)


def tbt(of: Requests) -> Floats:
    """Mean time between the tokens that were shown, of answers in which it can be told."""
    visible = of.visible
    defined = of.ok & of.streamed & (of.of_last("content_events") >= 2) & (visible >= 2)
    defined &= ~of.summarized | (of.last_content > of.first_output)  # of the events some are the summary's
    return _where(defined, (of.last_content - first_token(of)) / np.where(defined, visible - 1, 1))


def tps(of: Requests) -> Floats:
    """1 / TBT."""
    between = tbt(of)
    return _where(between > 0, 1 / np.where(between > 0, between, 1))


def tps_e2e(of: Requests) -> Floats:
    """Completion tokens / E2E, of what was answered."""
    whole = _where(of.ok, of.done - of.sent)
    return _where(whole > 0, of.completion_tokens / np.where(whole > 0, whole, 1))


PER_REQUEST: dict[str, Metric] = {
    "ttft": ttft,
    "ttfo": ttfo,
    "ttft_scheduled": ttft_scheduled,
    "tbt": tbt,
    "tps": tps,
    "tps_e2e": tps_e2e,
    "e2e": e2e,
    "e2e_scheduled": e2e_scheduled,
    "lag": lambda of: np.maximum(of.of_first("taken") - of.scheduled, 0),
    "lane_wait": lambda of: _positive(of.of_first("lane_wait")),
    "waited": lambda of: of.waited,
    "prompt_tokens": lambda of: _where(of.ok, of.of_last("prompt_tokens")),
    "completion_tokens": lambda of: _where(of.ok, of.completion_tokens),
}
"""One value per offered request."""

OURS = ("lag", "lane_wait", "waited")
"""What we did with a request, whoever answered it; the others are how it was answered."""

PER_ATTEMPT: dict[str, Callable[[Attempts], Floats]] = {
    "connect": lambda of: of.connect_s,
    "retry_after": lambda of: of.retry_after,
    "reject": lambda of: throttled_at(of) - of.sent,
}
"""One value per attempt of an offered request."""


def met(of: Requests, limits: dict[str, float | None]) -> Bools:
    """Which requests met all of an SLO {"ttft": seconds or None, "e2e": …}; what was never answered does not."""
    good = of.ok
    for name, limit in limits.items():
        if limit is not None:
            good = good & (PER_REQUEST[name](of) <= limit)
    return good


def failures(of: Requests, names: list[str | None]) -> dict[str, int]:
    """Failed requests by kind, the most frequent first."""
    return by_name(of.attempts.failure[of.last[of.failed]], names)


def finishes(of: Requests, names: list[str | None]) -> dict[str, int]:
    """Answered requests by finish reason, the most frequent first; without one they are `none`."""
    return by_name(of.attempts.finish[of.last[of.ok]], names)


def by_name(codes: NDArray[np.int32], names: list[str | None]) -> dict[str, int]:
    """How often each name occurs, by its code, the most frequent first; None is `none`."""
    counts = np.bincount(codes, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return {names[code] or "none": int(counts[code]) for code in order if counts[code]}
