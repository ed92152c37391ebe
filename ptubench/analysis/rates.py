"""What happened per unit of time: tokens, calls and requests in flight, by the time of the event.

Whichever request an event belongs to, it counts when it happens: prompt tokens when sent (if admitted),
completion tokens evenly between first and last content, reasoning that is not shown between sent and first
content, answers that are not streamed at their end. Tokens that the service did not tell are never guessed.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis.columns import OK, PART, THROTTLED, Attempts, Bools, Floats, select
from ptubench.analysis.requests import first_token, hidden_tokens
from ptubench.ptu.capacity import Capacity

Window = tuple[float, float]
"""[from, to) in seconds since the start of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Bins of equal width, in seconds since the start of the run."""

    start: float
    width: float
    bins: int

    def count(self, at: Floats, weights: Floats | None = None) -> Floats:
        """Events (or their weights) in each bin, by the time they happened."""
        place = np.floor((at - self.start) / self.width)
        inside = (place >= 0) & (place < self.bins)  # false for NaN
        chosen = None if weights is None else np.nan_to_num(weights[inside])
        counts = np.bincount(place[inside].astype(np.int64), weights=chosen, minlength=self.bins)
        return counts.astype(np.float64)

    def spread(self, begin: Floats, finish: Floats, amounts: Floats) -> Floats:
        """Amounts spread evenly over [begin, finish]: what falls into each bin."""
        total = np.zeros(self.bins)
        for start in range(0, len(begin), PART):  # what it needs on the way is ten times its input
            rows = slice(start, start + PART)
            total += self._spread(begin[rows], finish[rows], amounts[rows])
        return total

    def _spread(self, begin: Floats, finish: Floats, amounts: Floats) -> Floats:
        whole = (np.isfinite(begin) & np.isfinite(finish) & (amounts > 0)).nonzero()
        begin, finish, amounts = begin[whole], finish[whole], amounts[whole]
        first = np.floor((begin - self.start) / self.width).clip(-1, self.bins)
        last = np.floor((finish - self.start) / self.width).clip(-1, self.bins)
        near = last - first <= 1
        total = np.zeros(self.bins)
        for place in (first, last):  # the bins at the two ends hold a part
            left = self.start + place * self.width
            part = amounts * overlap(begin, finish, (left, left + self.width))
            part[(place == last) & (place == first)] /= 2  # counted from both ends
            inside = (place >= 0) & (place < self.bins)
            total += np.bincount(place[inside].astype(np.int64), weights=part[inside], minlength=self.bins)
        # The bins between hold as much each: switched on after the first, off at the last.
        begin, finish, amounts, first, last = (x[~near] for x in (begin, finish, amounts, first, last))
        each = amounts / (finish - begin) * self.width
        on = np.bincount((first + 1).astype(np.int64), weights=each, minlength=self.bins + 1)
        off = np.bincount(last.astype(np.int64), weights=each, minlength=self.bins + 1)
        total += np.cumsum(on - off)[: self.bins]
        return total


def overlap(begin: Floats, finish: Floats, window: tuple[Any, Any]) -> Floats:
    """The share of each [begin, finish] that lies in the window; an instant is in it or not."""
    low, high = window
    length = finish - begin
    inside = np.minimum(finish, high) - np.maximum(begin, low)
    instant = ((begin >= low) & (begin < high)).astype(np.float64)
    shares: Floats = np.where(length > 0, np.maximum(inside, 0) / np.where(length > 0, length, 1), instant)
    return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of admitted attempts, and when they count. One row per attempt of which the service told usage."""

    sent: Floats
    prompt: Floats
    cached: Floats
    """NaN where usage has no such detail, as in `reasoning`."""
    first: Floats
    last: Floats
    visible: Floats
    hidden: Floats
    reasoning: Floats

    def within(self, window: Window) -> "Amounts":
        """What counts in the window."""
        low, high = window
        prompt = (self.sent >= low) & (self.sent < high)
        shown, thought = overlap(self.first, self.last, window), overlap(self.sent, self.first, window)
        visible, hidden = self.visible * shown, self.hidden * thought
        # Reasoning that is shown is a part of what is visible.
        reasoning = hidden + np.maximum(self.reasoning - self.hidden, 0) * shown
        return Amounts(
            prompt=float(self.prompt[prompt].sum()),
            cached=_told(self.cached[prompt]),
            completion=float((visible + hidden).sum()),
            reasoning=_told(reasoning),
        )

    def over(self, grid: Grid) -> NDArray[np.float64]:
        """Prompt, cached and completion tokens in each bin: the shape is (3, bins)."""
        completion = grid.spread(self.first, self.last, self.visible) + grid.spread(self.sent, self.first, self.hidden)
        return np.stack((grid.count(self.sent, self.prompt), grid.count(self.sent, self.cached), completion))


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Tokens; None where no answer told that detail."""

    prompt: float
    cached: float | None
    completion: float
    reasoning: float | None


def _told(values: Floats) -> float | None:
    """The sum of what was told; None if there was something and nothing was told."""
    known = ~np.isnan(values)
    return float(values[known].sum()) if known.any() or not len(values) else None


def admitted(attempts: Attempts) -> Bools:
    """Sent and not answered with a 429."""
    return np.not_equal(attempts.outcome, THROTTLED) & ~np.isnan(attempts.sent)


def told(attempts: Attempts) -> Bools:
    """Admitted, with usage."""
    return admitted(attempts) & ~np.isnan(attempts.prompt_tokens) & ~np.isnan(attempts.completion_tokens)


def tokens_within(attempts: Attempts, window: Window) -> Amounts:
    """The tokens that count in the window."""
    parts = [_tokens(part).within(window) for part in _parts(attempts)]
    return Amounts(
        prompt=math.fsum(part.prompt for part in parts),
        cached=_sum([part.cached for part in parts]),
        completion=math.fsum(part.completion for part in parts),
        reasoning=_sum([part.reasoning for part in parts]),
    )


def tokens_over(attempts: Attempts, grid: Grid) -> NDArray[np.float64]:
    """Prompt, cached and completion tokens in each bin: the shape is (3, bins)."""
    total = np.zeros((3, grid.bins))
    for part in _parts(attempts):
        total += _tokens(part).over(grid)
    return total


def _parts(attempts: Attempts) -> Iterator[Attempts]:
    """All rows, some at a time: what is derived from a million rows need not be there at once."""
    for start in range(0, len(attempts), PART):
        yield select(attempts, slice(start, start + PART))


def _sum(values: list[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return math.fsum(told) if told or not values else None


def _tokens(attempts: Attempts) -> Tokens:
    """The tokens of those attempts that were admitted and of which the service told usage."""
    rows = select(attempts, told(attempts))
    hidden = hidden_tokens(rows)
    first_seen = first_token(rows)
    streamed = rows.streamed & ~np.isnan(first_seen)
    first = np.where(streamed, first_seen, rows.end)
    return Tokens(
        sent=rows.sent,
        prompt=rows.prompt_tokens.astype(np.float64),
        cached=rows.cached_tokens.astype(np.float64),
        first=first,
        last=np.where(streamed & ~np.isnan(rows.last_content), rows.last_content, first),
        # Not streamed: all of it at the end, hidden or not.
        visible=np.where(rows.streamed, rows.completion_tokens - hidden, rows.completion_tokens),
        hidden=np.where(rows.streamed, hidden, 0.0),
        reasoning=rows.reasoning_tokens.astype(np.float64),
    )


def tpm(attempts: Attempts, window: Window, capacity: Capacity | None) -> dict[str, Any]:
    """Tokens per minute in the window; None without usage, and what needs a capacity without one."""
    seconds = window[1] - window[0]
    sent = admitted(attempts) & (attempts.sent >= window[0]) & (attempts.sent < window[1])
    known = told(attempts)
    # An answer with an error status was charged nothing.
    unknown = int(np.count_nonzero(sent & ~known & ((attempts.status < 400) | (attempts.outcome == OK))))
    result: dict[str, Any] = dict.fromkeys(
        ("prompt", "cached", "completion", "reasoning", "total", "normalized", "per_ptu", "of_published")
    )
    result["unknown_requests"] = unknown
    if seconds <= 0 or (unknown and not known.any()):
        return result
    within = tokens_within(attempts, window)

    def per_minute(amount: float | None) -> float | None:
        return None if amount is None else amount / seconds * 60

    result["prompt"], result["cached"] = per_minute(within.prompt), per_minute(within.cached)
    result["completion"], result["reasoning"] = per_minute(within.completion), per_minute(within.reasoning)
    result["total"] = per_minute(within.prompt + within.completion)
    if capacity is not None:
        normalized = capacity.normalized(within.prompt, within.cached or 0.0, within.completion) / seconds * 60
        result["normalized"] = normalized
        result["per_ptu"], result["of_published"] = normalized / capacity.ptu, normalized / capacity.tpm
    return result


def in_flight(attempts: Attempts, window: Window) -> dict[str, Any]:
    """Requests between sent and end: the mean over the window, and the most at once."""
    low, high = window
    if high <= low:
        return {"mean": None, "max": None}
    end = np.where(np.isnan(attempts.end), np.inf, attempts.end)
    inside = (attempts.sent < high) & (end >= low)
    begin, finish = np.sort(attempts.sent[inside]), np.sort(end[inside])
    busy = np.minimum(finish, high).sum() - np.maximum(begin, low).sum()
    at = np.maximum(begin, low)  # it only grows when one is sent
    level = np.searchsorted(begin, at, side="right") - np.searchsorted(finish, at, side="right")
    return {"mean": float(busy / (high - low)), "max": int(level.max(initial=0))}


def full_minutes(started_unix: float, window: Window) -> Grid:
    """The full UTC minutes inside the window."""
    # A window that was laid on a full minute may miss it by what a float can't hold.
    start = window[0] + -round(started_unix + window[0], 3) % 60
    return Grid(start=start, width=60.0, bins=max(0, int((window[1] - start) // 60)))


def estimated(attempts: Attempts, *, mean: float | None, minutes: Grid, capacity: Capacity | None) -> dict[str, Any]:
    """Utilization by the published table: {mean, peak_minute}; an estimate, not what the service measured.

    Args:
        attempts: of the whole run.
        mean: normalized tokens per minute in the window / capacity.
        minutes: the full UTC minutes of the run.
        capacity: None where the model or the size is not known.
    """
    peak = None
    if capacity is not None and mean is not None and minutes.bins:
        prompt, cached, completion = tokens_over(attempts, minutes)
        peak = float(capacity.normalized(prompt, cached, completion).max() / capacity.tpm)
    return {"mean": mean, "peak_minute": peak}


def simulated(
    said: dict[str, Any] | None, started_unix: float, *, window: Window, load: Window
) -> dict[str, Any] | None:
    """Utilization by the simulated deployment's own account, over full UTC minutes: {mean, peak_minute, peak_level}.

    `mean` is over the full minutes of the window, `peak_minute` over those of the whole load; None where there is
    none. `peak_level` is the fullest that the bucket was. None without an account that can be read.
    """
    try:
        if said is None:
            return None
        charged = {float(start): float(amount) for start, amount in said["minutes"]}
        tpm, peak_level = float(said["tpm"]), float(said["peak_level"])
    except (KeyError, TypeError, ValueError):
        return None

    def shares(within: Window) -> list[float]:
        grid = full_minutes(started_unix, within)
        first = round(started_unix + grid.start)
        return [charged.get(float(first + 60 * k), 0.0) / tpm for k in range(grid.bins)]

    def over(within: Window, of: Callable[[list[float]], float]) -> float | None:
        values = shares(within) if tpm > 0 else []
        return of(values) if values else None

    return {
        "mean": over(window, lambda values: sum(values) / len(values)),
        "peak_minute": over(load, max),
        "peak_level": peak_level,
    }
