"""One row per offered request, and what each metric is for it.

A request's outcome is that of its last attempt; a dropped one has no attempt. In every metric NaN means that it
is not defined for the request, and infinity that the request was never answered: unanswered is never fast.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis.columns import DROPPED, FAILED, OK, THROTTLED, Attempts, Bools, Drops, Floats, Ints

Metric = Callable[["Requests"], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Offered requests in the order in which they were due. Times in seconds since the start of the run."""

    scheduled: Floats
    name: NDArray[np.int32]
    outcome: NDArray[np.int8]
    """Position in `columns.OUTCOMES`."""
    attempts: Ints
    """How many it took; 0 when dropped."""
    refused: Bools
    """Throttled at its first attempt, or answered by another deployment because the service spilled it."""
    spilled: Bools
    taken: Floats
    lane_wait: Floats
    sent: Floats
    """Of the last attempt, as everything below."""
    streamed: Bools
    first_content: Floats
    first_output: Floats
    last_content: Floats
    end: Floats
    content_events: Floats
    prompt_asked: Floats
    cached_asked: Floats
    completion_asked: Floats
    limit: Floats
    prompt_tokens: Floats
    cached_tokens: Floats
    completion_tokens: Floats
    reasoning_tokens: Floats
    failure: NDArray[np.int32]
    finish: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scheduled)

    @property
    def ok(self) -> Bools:
        """Answered in full."""
        return self.outcome == OK

    @property
    def admitted(self) -> Bools:
        """Sent, and not answered with a 429: whatever became of it is the target's doing."""
        return ~np.isnan(self.sent) & (self.outcome != THROTTLED)

    @property
    def done(self) -> Floats:
        """When the answer was there: its last content, or its last byte when it was not streamed."""
        return np.where(self.streamed & ~np.isnan(self.last_content), self.last_content, self.end)

    @property
    def hidden(self) -> Floats:
        """Reasoning tokens of which nothing was shown."""
        return hidden_tokens(self)

    @property
    def visible(self) -> Floats:
        """Completion tokens that were shown; NaN without usage."""
        return self.completion_tokens - self.hidden


_OF_LAST = (
    "sent",
    "first_content",
    "first_output",
    "last_content",
    "end",
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


def requests(attempts: Attempts, drops: Drops, *, streamed: bool) -> Requests:
    """Join the attempts of each request, and the requests that were dropped.

    Args:
        attempts: in order of due time, index and attempt.
        drops: in any order.
        streamed: whether the workload asks for streams; what was dropped would have been one.
    """
    index = attempts.index
    new = np.ones(len(index), dtype=bool)
    new[1:] = index[1:] != index[:-1]
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(index))[: len(first)] - 1
    dropped = len(drops.index)
    order = np.argsort(np.concatenate((attempts.scheduled[first], drops.scheduled)), kind="stable")

    def joined(recorded: NDArray[np.generic], missing: object) -> NDArray[np.generic]:
        filler = np.broadcast_to(np.asarray(missing, dtype=recorded.dtype), (dropped,))
        return np.concatenate((recorded, filler))[order]

    outcome = attempts.outcome
    spilled = attempts.spilled[last]
    return Requests(
        scheduled=joined(attempts.scheduled[first], drops.scheduled),
        name=joined(attempts.name[last], drops.name),
        outcome=joined(outcome[last], DROPPED),
        attempts=joined(last - first + 1, 0),
        refused=joined((outcome[first] == THROTTLED) | spilled, False),
        spilled=joined(spilled, False),
        taken=joined(attempts.taken[first], np.nan),
        lane_wait=joined(attempts.lane_wait[first], np.nan),
        streamed=joined(attempts.streamed[last], streamed),
        failure=joined(attempts.failure[last], 0),
        finish=joined(attempts.finish[last], 0),
        **{name: joined(getattr(attempts, name)[last], np.nan) for name in _OF_LAST},
    )


def hidden_tokens(rows: Requests | Attempts) -> Floats:
    """Reasoning tokens that the service counted and did not show: output was the first content. Never NaN."""
    shown = (rows.first_content < rows.first_output) | (~np.isnan(rows.first_content) & np.isnan(rows.first_output))
    counted = np.minimum(np.nan_to_num(rows.reasoning_tokens), np.nan_to_num(rows.completion_tokens))
    return np.where(shown, 0.0, counted)


def _since(start: Floats, event: Floats) -> Floats:
    """Time from start to the event; infinite where it never happened."""
    return np.where(np.isnan(event), np.inf, event - start)


def _where(defined: Bools, values: Floats) -> Floats:
    return np.where(defined, values, np.nan)


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
    defined = of.ok & of.streamed & (of.content_events >= 2) & (visible >= 2)
    return _where(defined, (of.last_content - of.first_content) / np.where(defined, visible - 1, 1))


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
    "lag": lambda of: np.maximum(of.taken - of.scheduled, 0),
    "lane_wait": lambda of: _where(of.lane_wait > 0, of.lane_wait),
    "prompt_tokens": lambda of: _where(of.ok, of.prompt_tokens),
    "completion_tokens": lambda of: _where(of.ok, of.completion_tokens),
}
"""One value per offered request."""

PER_ATTEMPT: dict[str, Callable[[Attempts], Floats]] = {
    "connect": lambda of: of.connect_s,
    "retry_after": lambda of: of.retry_after,
    "reject": lambda of: _where(of.outcome == THROTTLED, of.answered - of.sent),
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
    return _by_name(of.failure[of.outcome == FAILED], names)


def finishes(of: Requests, names: list[str | None]) -> dict[str, int]:
    """Answered requests by finish reason, the most frequent first; without one they are `none`."""
    return _by_name(of.finish[of.ok], names)


def _by_name(codes: NDArray[np.int32], names: list[str | None]) -> dict[str, int]:
    counts = np.bincount(codes, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return {names[code] or "none": int(counts[code]) for code in order if counts[code]}
