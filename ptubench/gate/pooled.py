"""Repeats as one run: the metrics of several runs of one workload, as `metrics` of a summary.

Percentiles and shares are of all their requests together, counts are added, rates and means are those of all their
windows, a peak is the highest of them. What one run lacks, all lack: nothing is guessed.

Requests of one run are alike in more than time: the service has better and worse hours. So an interval is at least as wide as
that of the runs' own values, each taken as one measurement: ± t · s / √runs, with Student's t (Röver, Knapp and Friede 2015,
BMC Medical Research Methodology 15:99, the modified Knapp-Hartung interval).
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ptubench.analysis import latencies, limits, names, stats
from ptubench.analysis.columns import THROTTLED, Bools, Floats, Ints, select
from ptubench.analysis.metrics import due_slice
from ptubench.compare.side import Side
from ptubench.samples import PERCENTILES

Metrics = dict[str, Any]

_HITS: dict[str, Callable[[Side], Bools]] = {
    "refused": lambda side: side.offered.refused,
    "throttled": lambda side: side.offered.outcome == THROTTLED,
    "failed": lambda side: side.offered.failed,
    "slo": lambda side: side.met_slo,
}
_SHARES = tuple(f"{name}.ratio" for name in _HITS)
_BY_CALLS = ("gap.events_per_token", "asked.limit")
_TOTALS = ("cost.total",)
_TWO = 2
_FOUND_LATER = ("attempts.throttled_ratio", "cost.per_million_tokens", *_SHARES)


def metrics(sides: Sequence[Side]) -> Metrics:
    """`metrics` of all the runs together; of one run its own.

    Args:
        sides: runs of one workload.
    """
    told = [side.summary["metrics"] for side in sides]
    if len(told) == 1:
        return dict(told[0])
    result: Metrics = {}
    for path, unit in names.SCALARS.items():
        if path not in _FOUND_LATER:
            _put(result, path, _combined(path, unit, [_get(one, path) for one in told], sides))
    attempts = result["attempts"]
    attempts["throttled_ratio"] = attempts["throttled"] / attempts["total"] if attempts["total"] else None
    _add_cost(result, sides)
    for name in names.DISTRIBUTIONS:
        result[name] = result.get(name, {}) | _distribution(name, sides)
    for name, hits in _HITS.items():
        result[name] = result.get(name, {}) | _share(name, hits, sides)
    for path in names.OPEN:
        _put(result, path, dict(sum((Counter(_get(one, path) or {}) for one in told), Counter())))
    return result


def spread(values: Sequence[float | None]) -> float | None:
    """The standard deviation between runs; None with fewer than two values."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def doubts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the intervals of repeats don't know, in sentences.

    Args:
        rows: checks with `by_run`, which is empty for a single run.
    """
    told = {row["metric"]: row["by_run"] for row in rows if row["by_run"] and row["metric"] is not None}
    found = (
        ["two runs say little of how much runs differ; take three or more"] if _TWO in map(len, told.values()) else []
    )
    blind = [name for name, values in told.items() if spread(values) is None]
    if blind:
        found.append(
            f"{', '.join(blind)}: the runs have no values of their own (too few calls, or unanswered), so its interval knows "
            "nothing of how much they differ"
        )
    return found


def student(freedom: int) -> float:
    """The 97.5 % point of Student's distribution, exact where `stats.student` is not (one and two degrees of freedom)."""
    exact = {1: math.tan(0.475 * math.pi), 2: 0.95 / math.sqrt(2 * 0.975 * 0.025)}
    return exact.get(freedom) or stats.student(freedom)


def _combined(path: str, unit: str, values: Sequence[float | None], sides: Sequence[Side]) -> float | None:
    """One number of several runs, by what it is."""
    known = [value for value in values if value is not None]
    if path == "throttled.first_s":
        return min(known, default=None)
    if len(known) < len(values):
        return None
    if path.rpartition(".")[2] in {"max", "before"} or ".peak_" in path:
        return max(known)
    if path in _TOTALS or (unit == "count" and path != "in_flight.mean" and path not in _BY_CALLS):
        return sum(known)
    by_calls = path in _BY_CALLS or path.startswith("asked.")
    weights = [len(side.offered) if by_calls else side.window[1] - side.window[0] for side in sides]
    return float(np.average(known, weights=weights)) if sum(weights) > 0 else None


def _add_cost(result: Metrics, sides: Sequence[Side]) -> None:
    """What a million tokens cost, from all that was paid for all tokens."""
    tokens = [(side.summary["metrics"]["tpm"]["total"], side.window) for side in sides]
    total, cost = result["cost"]["total"], None
    if total is not None and all(told is not None for told, _ in tokens):
        all_of_them = sum(told * (high - low) / 60 for told, (low, high) in tokens)
        cost = total / all_of_them * 1e6 if all_of_them else None
    result["cost"]["per_million_tokens"] = cost


def _distribution(name: str, sides: Sequence[Side]) -> Metrics:
    """The percentiles of all values of several runs."""
    unit = names.DISTRIBUTIONS[name].unit
    if name == "gap":
        counts: Counter[int] = Counter()
        for side in sides:
            counts.update(limits.histogram_of(side.run.ticks.gaps, side.window))
        return stats.pooled(counts, unit=unit)
    places, blocks = _order(sides)
    values, rows = zip(*(_values(name, side) for side in sides), strict=True)
    where = np.concatenate([own[of] for own, of in zip(places, rows, strict=True)])
    found = stats.distribution(np.concatenate(values), where, blocks, unit=unit)
    for percentile in PERCENTILES:
        told = [side.summary["metrics"][name][percentile] for side in sides]
        found["ci95"][percentile] = _widened(found[percentile], found["ci95"][percentile], told)
    return found


def _values(name: str, side: Side) -> tuple[Floats, Ints]:
    """One value for each request or attempt, and the position of its request."""
    offered = side.offered
    if name in latencies.PER_REQUEST:
        values = latencies.PER_REQUEST[name](offered)
        own = np.where(offered.by_target, values, np.nan)
        return values if name in latencies.OURS else own, np.arange(len(offered))
    sent = select(side.run.attempts, ~side.run.attempts.diverted)
    tried = select(sent, due_slice(sent.scheduled, side.window))
    return latencies.PER_ATTEMPT[name](tried), np.searchsorted(offered.scheduled, tried.scheduled)


def _share(name: str, hits: Callable[[Side], Bools], sides: Sequence[Side]) -> Metrics:
    """{count, ratio, ci95} of a share of all requests."""
    told = [side.summary["metrics"][name]["ratio"] for side in sides]
    if name == "slo" and None in told:
        return {"ratio": None, "ci95": None}
    places, blocks = _order(sides)
    joint = np.zeros(blocks.size, dtype=np.bool_)
    for side, own in zip(sides, places, strict=True):
        joint[own] = hits(side)
    found = stats.share(joint, blocks)
    widened = _widened(found["ratio"], found["ci95"], told)
    return found | {
        "ci95": None if widened is None else [None if bound is None else min(1.0, max(0.0, bound)) for bound in widened]
    }


def _order(sides: Sequence[Side]) -> tuple[list[Ints], stats.Resampling]:
    """The place of each run's requests among all, and blocks of these.

    Runs of one seed send the same requests at the same times: these lie beside each other, so that what they share is drawn
    together, and blocks are as long in each run as they would be in one. Other runs follow each other.
    """
    sizes = [len(side.offered) for side in sides]
    together = len({side.run.head.seed for side in sides}) == 1
    due = [
        side.offered.scheduled if together else np.full(size, number)
        for number, (side, size) in enumerate(zip(sides, sizes, strict=True))
    ]
    ranks = np.empty(sum(sizes), dtype=np.int64)
    ranks[np.argsort(np.concatenate(due), kind="stable")] = np.arange(len(ranks))
    blocks = stats.resampling(len(ranks), longer=float(len(sides)) if together else 1.0)
    return np.split(ranks, np.cumsum(sizes)[:-1]), blocks


def _widened(
    value: float | None, interval: Sequence[float | None] | None, told: Sequence[float | None]
) -> list[float | None] | None:
    """An interval that is at least as wide as that of the runs' own values."""
    between = spread(told)
    if value is None or interval is None or between is None:
        return None if interval is None else list(interval)
    runs = sum(one is not None for one in told)
    half = student(runs - 1) * between / math.sqrt(runs)
    low, high = interval
    return [
        None if low is None else min(low, max(0.0, value - half)),
        None if high is None else max(high, value + half),
    ]


def _get(holder: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path; None where there is no such thing."""
    found: Any = holder
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _put(holder: Metrics, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        holder = holder.setdefault(part, {})
    holder[last] = value
