"""What a chart of a run shows beyond its summary: attempts and tokens by steps of time, percentiles in slices, whole distributions.

In: a run and its requests. Out: few numbers, however many attempts there were. Knows no colours and no layout.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ptubench.analysis import azure, rates, stats
from ptubench.analysis.columns import CUT, DROPPED, FAILED, OK, THROTTLED, Floats, Ints, Run, select
from ptubench.analysis.rates import Grid
from ptubench.analysis.requests import Requests
from ptubench.ptu.capacity import Capacity
from ptubench.samples import NEEDED, PERCENTILES

STEPS = 240
"""At most so many steps of time."""
SLICES = 120
"""At most so many slices of a percentile."""
FEWEST_MINUTES = 2
"""With fewer full UTC minutes, tokens are told by shorter steps."""

_NICE = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
_CALLS = 20  # a step of fewer shows chance


def step_width(span: float, count: int, *, each: float, most: int) -> float:
    """Seconds of a step: the shortest round one that holds `each` of `count` events, so that `most` steps are enough.

    At least four steps are made of a span, even if they hold fewer; at most `most` whatever they hold.
    """
    fits = [width for width in _NICE if span <= width * most]
    held = [width for width in fits if width * count >= each * span and width * 4 <= span]
    spacious = [width for width in fits if width * 4 <= span]
    if held:
        return float(held[0])
    return float(spacious[-1] if spacious else fits[0] if fits else math.ceil(span / most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What was offered and sent in each step of time; whole numbers, one for each step."""

    edges: Floats
    """Where the steps begin and, last, where the last one ends; seconds since the start of the run. A step ends where the load does."""
    width: float
    """Seconds of nearly all steps."""
    offered: Ints
    """Requests, by the time they were due."""
    sent: Mapping[str, Ints]
    """Attempts at the target by the time they were sent and by what became of them: ok, spilled, throttled, failed, cut. They
    add up to all of them; one that never got a connection counts when it was due."""
    dropped: Ints
    """Requests that were never sent, by the time they were due."""
    diverted: Ints
    """Attempts at the second target, by the time they were sent."""

    @property
    def admitted(self) -> Ints:
        """Attempts that the target did not answer with a 429, by the time they were sent."""
        total: Ints = np.sum([counts for name, counts in self.sent.items() if name != "throttled"], axis=0)
        return total


def calls(run: Run, requests: Requests, *, load_end: float, finished: float) -> Calls:
    """Attempts by steps of time.

    Args:
        run: all of its attempts.
        requests: all of its requests.
        load_end: seconds at which the last request was due.
        finished: seconds at which the last thing happened.
    """
    width = step_width(max(finished, 1.0), len(requests), each=_CALLS, most=STEPS)
    edges = _edges(load_end, finished, width)
    attempts = run.attempts
    at = np.where(np.isnan(attempts.sent), attempts.scheduled, attempts.sent)
    outcome, own = attempts.outcome, ~attempts.diverted
    parts = {
        "ok": (outcome == OK) & ~attempts.spilled,
        "spilled": (outcome == OK) & attempts.spilled,
        "throttled": outcome == THROTTLED,
        "failed": outcome == FAILED,
        "cut": outcome == CUT,
    }
    return Calls(
        edges=edges,
        width=width,
        offered=_count(edges, requests.scheduled),
        sent={name: _count(edges, at[own & which]) for name, which in parts.items()},
        dropped=_count(edges, requests.scheduled[requests.outcome == DROPPED]),
        diverted=_count(edges, at[attempts.diverted]),
    )


def _edges(load_end: float, finished: float, width: float) -> Floats:
    """Steps of a width up to the end of the load, and from there on: one that went beyond it would show a drop that was none.

    What is left over before either end and is shorter than half a step goes to the step before.
    """
    last = max(finished, width, 1.0)
    parts = [(0.0, min(load_end, last)), (min(load_end, last), last)]
    whole = [np.arange(max(1, round((end - start) / width))) * width + start for start, end in parts if end > start]
    return np.append(np.concatenate(whole), last)


def _count(edges: Floats, at: Floats) -> Ints:
    """Every event counts: one outside the steps, as a damaged file may have, in the step next to it."""
    place = np.searchsorted(edges, at, side="right") - 1
    steps = len(edges) - 1
    return np.bincount(place.clip(0, steps - 1), minlength=steps).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens per minute that the target answered itself, in each step of time."""

    grid: Grid
    minutes: bool
    """Whether the steps are full UTC minutes."""
    prompt: Floats
    cached: Floats
    """A part of `prompt`."""
    completion: Floats
    azure: Mapping[int, float]
    """Utilization by Azure Monitor, in shares, by position of the step; only of minutes."""
    simulated: Mapping[int, float]
    """Normalized tokens per minute by the simulated deployment's own account, by position of the step; only of minutes."""


def tokens(run: Run, *, load_end: float) -> Tokens | None:
    """Tokens by full UTC minutes of the load, or by shorter steps where it has less than two; None without `usage`.

    Args:
        run: all of its attempts.
        load_end: seconds.
    """
    served = select(run.attempts, run.attempts.by_target)
    known = int(np.count_nonzero(rates.told(served)))
    if not known or load_end <= 0:
        return None
    grid = rates.full_minutes(run.head.started_unix, (0.0, load_end))
    minutes = grid.bins >= FEWEST_MINUTES
    if not minutes:
        width = step_width(load_end, known, each=_CALLS, most=STEPS)
        grid = Grid(start=0.0, width=width, bins=max(1, math.floor(load_end / width)))
    prompt, cached, completion = np.maximum(rates.tokens_over(served, grid), 0.0) * (60 / grid.width)
    first = round(run.head.started_unix + grid.start)
    place = {first + 60 * step: step for step in range(grid.bins)} if minutes else {}
    monitored = azure.utilization(azure.last(run, "run"))
    return Tokens(
        grid=grid,
        minutes=minutes,
        prompt=prompt,
        cached=cached,
        completion=completion,
        azure={place[minute]: share for minute, share in monitored.items() if minute in place},
        simulated={place[minute]: amount for minute, amount in _charged(run).items() if minute in place},
    )


def _charged(run: Run) -> dict[int, float]:
    """What the simulated deployment says that it charged in each UTC minute; empty where it says nothing that can be read."""
    standard = run.head.target.get("type") == "standard"
    try:
        rows = run.end.simulated["minutes"] if run.end is not None and run.end.simulated and not standard else []
        charged = {round(float(start)): float(amount) for start, amount in rows}
    except (KeyError, TypeError, ValueError, OverflowError):
        return {}
    return {start: amount for start, amount in charged.items() if math.isfinite(amount) and amount >= 0}


def by_kind(amounts: Tokens, capacity: Capacity | None) -> dict[str, Floats]:
    """Tokens per minute of each step by what they are: uncached, cached, completion; normalized with a capacity.

    They add up to all tokens, or to the normalized tokens.
    """
    prompt, cached, completion = np.maximum(amounts.prompt, amounts.cached), amounts.cached, amounts.completion
    if capacity is None:
        return {"uncached": prompt - cached, "cached": cached, "completion": completion}
    zero = np.zeros_like(prompt)
    return {
        "uncached": capacity.normalized(prompt - cached, zero, zero),
        "cached": capacity.normalized(cached, cached, zero),
        "completion": capacity.normalized(zero, zero, completion),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One percentile of the requests that were due in a slice of the load."""

    start: float
    """Seconds since the start of the run, as `end`."""
    end: float
    of: int
    """Requests for which the metric is defined."""
    unanswered: int
    value: float | None
    """None where there were too few, or where it lands on a request that was never answered."""
    enough: bool
    """Whether there were enough for this percentile."""


def slices(values: Floats, scheduled: Floats, name: str, *, window: tuple[float, float]) -> list[Slice]:
    """A percentile over the window, in slices of which each holds enough for it, if the window does.

    Args:
        values: one for each request; infinite: unanswered, NaN: not defined.
        scheduled: when they were due, ascending.
        name: `p50`, `p95` or another of `PERCENTILES`.
        window: in seconds.
    """
    start, end = window
    if end <= start:
        return []
    inside = ~np.isnan(values) & (scheduled >= start) & (scheduled < end)
    values, scheduled = values[inside], scheduled[inside]
    edges = _sliced(scheduled, window, NEEDED[name])
    return [
        Slice(
            start=float(low),
            end=float(high),
            of=last - first,
            unanswered=int(np.count_nonzero(np.isinf(values[first:last]))),
            value=stats.percentile(values[first:last], name),
            enough=last - first >= NEEDED[name],
        )
        for (low, high), (first, last) in zip(
            pairwise(edges), pairwise(np.searchsorted(scheduled, edges).tolist()), strict=True
        )
    ]


def _sliced(scheduled: Floats, window: tuple[float, float], needed: int) -> Floats:
    """The edges of the slices: round ones where each holds enough, else as many equal ones as do, else the whole window."""
    start, end = window
    span = end - start
    # Arrivals are uneven: with half as many again as are needed, few slices lack some.
    width = step_width(span, len(scheduled), each=1.5 * needed, most=SLICES)
    count = max(1, int(span / width))
    tried = np.append(start + width * np.arange(count), end)  # what is left over goes to the last
    while count > 1 and np.diff(np.searchsorted(scheduled, tried)).min() < needed:
        count -= 1
        tried = np.linspace(start, end, count + 1)
    return tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A whole distribution, thinned: the share `shares[i]` of the sample is at most `values[i]`."""

    values: Floats
    """Measured values in ascending order, among them the smallest, the largest and those at the percentiles of the summary."""
    shares: Floats
    """In 0…1; the last is less than 1 where some were never answered."""
    count: int
    """Measured."""
    of: int
    """Measured and unanswered."""


def curve(values: Floats, *, most: int = 1000) -> Curve:
    """The distribution of a sample by at most about `most` of its values, closer together at both ends.

    Args:
        values: infinite: unanswered, NaN: not defined.
        most: values to keep.
    """
    ordered = np.sort(values[~np.isnan(values)])
    of = len(ordered)
    count = int(np.searchsorted(ordered, np.inf))
    if not count:
        return Curve(values=np.zeros(0), shares=np.zeros(0), count=0, of=of)
    if count <= most:
        ranks = np.arange(1, count + 1)
    else:
        named = [stats.rank(of, share) for share in PERCENTILES.values()]
        near = np.geomspace(1, of, most // 4)
        chosen = np.concatenate((np.linspace(1, count, most // 2), near, of + 1 - near, named, (1, count)))
        ranks = np.unique(np.round(chosen).astype(np.int64))
        ranks = ranks[(ranks >= 1) & (ranks <= count)]
    return Curve(values=ordered[ranks - 1], shares=ranks / of, count=count, of=of)
