"""Samples to numbers: nearest-rank percentiles, their intervals, shares.

A value of infinity is a request that was never answered; NaN is one for which the metric is not defined. Knows
nothing of requests, only values and their positions in the order in which they were due.

Intervals come from a circular moving-block bootstrap (Künsch 1989; Politis and Romano 1992), because neighbours in
time are alike, and are at least as wide as the exact order-statistic (binomial) interval, or, for a share, as
Wilson's and as that of ten long batches. What is resampled are *counts* per bin of values and per stretch of requests: then all resamples of a
million values are one matrix product.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptubench import histogram
from ptubench.samples import NEEDED, PERCENTILES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SEED = 20_261_122  # the same file always gives the same report
_RESAMPLES = 400
_STRETCHES = 2048
_EXACT_BINS = 512
_EDGES = 48  # on each side of a percentile's rank
_REACH = 40.0  # in binomial standard deviations: neighbours that are alike widen the interval
_BATCHES = 10
_PART = 2**18  # values that are put into bins at a time: for all of a long run that takes more than the values
_TAIL = 0.025
Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often each stretch of consecutive requests stands in each resample; shared by all metrics of a run.

    `weights` has the shape (resamples, stretches).
    """

    size: int
    weights: NDArray[np.float32]
    blocks: int
    """How many blocks make a resample."""

    def stretch(self, positions: NDArray[np.integer]) -> Ints:
        """The stretch of each position in 0…size − 1."""
        stretches: Ints = positions.astype(np.int64) * self.weights.shape[1] // max(self.size, 1)
        return stretches


@lru_cache(maxsize=4)
def resampling(size: int, *, seed: int = _SEED, resamples: int = _RESAMPLES, longer: float = 1.0) -> Resampling:
    """Blocks drawn for `size` requests in the order in which they were due.

    A block is 3 · size^(1/3) requests long: what Künsch's rule gives for a lag-1 correlation of about 0.8. Blocks
    start at any request, or at one of 2,048 stretches of a long run.

    Args:
        size: how many requests.
        seed: of the draw.
        resamples: how many.
        longer: so many times as long, as far as ten blocks still make a resample.
    """
    rng = np.random.default_rng(seed)
    stretches = max(1, min(size, _STRETCHES))
    per_stretch = max(size, 1) / stretches
    length = max(1, min(math.ceil(3 * size ** (1 / 3) / per_stretch), stretches // 5))
    length = max(length, min(round(length * longer), stretches // 10))
    if per_stretch > 1:
        length = max(length, min(2, stretches))
    blocks = max(1, round(stretches / length))
    starts = rng.integers(stretches, size=(resamples, blocks))
    rows = np.arange(resamples)[:, None]
    drawn = np.bincount((starts + rows * stretches).ravel(), minlength=resamples * stretches)
    drawn = drawn.reshape(resamples, stretches)
    # A stretch stands in every block that started up to `length` before it, around the end.
    summed = np.cumsum(np.hstack((drawn[:, stretches - length :], drawn)), axis=1)
    return Resampling(size, (summed[:, length:] - summed[:, :stretches]).astype(np.float32), blocks)


def distribution(values: Floats, positions: NDArray[np.integer], blocks: Resampling, *, unit: str) -> dict[str, Any]:
    """A sample as the summary shows it: {unit, count, of, mean, std, min, max, p50…p999, unanswered, ci95}.

    `count` values were measured `of` those for which the metric is defined; the rest were never answered. With any
    of these, mean, std and max are None (they would be infinite). A percentile is the smallest measured value
    that at least its share of the sample does not exceed; None below `NEEDED`, and, named in `unanswered`, where
    it lands on a request that was never answered. A bound of `ci95` that lands there is None.

    Args:
        values: one per request or attempt; infinite: unanswered, NaN: not defined.
        positions: of each value's request among all requests, in the order in which they were due.
        blocks: for that many requests.
        unit: of the values.
    """
    defined = ~np.isnan(values)
    if not defined.all():
        values, positions = values[defined], positions[defined]
    ordered = np.sort(values)
    of = len(ordered)
    count = int(np.searchsorted(ordered, np.inf))
    result = empty(unit) | {"count": count, "of": of}
    if count:
        result["min"] = float(ordered[0])
    if count and count == of:
        result |= {"mean": float(ordered.mean()), "max": float(ordered[-1])}
        result["std"] = float(ordered.std(ddof=1)) if count > 1 else None
    supported = [name for name in PERCENTILES if of >= NEEDED[name]]
    for name in supported:
        value = ordered[rank(of, PERCENTILES[name]) - 1]
        result[name] = _finite(value)
        if math.isinf(value):
            result["unanswered"].append(name)
    shown = [name for name in supported if name not in result["unanswered"]]
    if shown:
        result["ci95"] |= _intervals(ordered, values, positions, blocks, shown)
    return result


def pooled(counts: Mapping[int, int], *, unit: str) -> dict[str, Any]:
    """A sample that is only known by its histogram (relative error < 1 %); without intervals."""
    total = sum(counts.values())
    result = empty(unit) | {"count": total, "of": total, "ci95": None}
    if total:
        middles = np.array([histogram.middle(bucket) for bucket in counts])
        weights = np.array(list(counts.values()), dtype=np.float64)
        mean = float(np.average(middles, weights=weights))
        result |= {"mean": mean, "min": float(middles.min()), "max": float(middles.max())}
        if total > 1:
            result["std"] = math.sqrt(float(weights @ (middles - mean) ** 2) / (total - 1))
    shares = {name: share for name, share in PERCENTILES.items() if total >= NEEDED[name]}
    return result | {name: histogram.quantile(counts, share) for name, share in shares.items()}


def empty(unit: str) -> dict[str, Any]:
    """The distribution of nothing."""
    return {
        "unit": unit,
        "count": 0,
        "of": 0,
        **dict.fromkeys(("mean", "std", "min", "max", *PERCENTILES)),
        "unanswered": [],
        "ci95": dict.fromkeys(PERCENTILES),
    }


def percentile(values: Floats, name: str) -> float | None:
    """One percentile by the rules of `distribution`."""
    values = values[~np.isnan(values)]
    if len(values) < NEEDED[name]:
        return None
    place = rank(len(values), PERCENTILES[name]) - 1
    return _finite(np.partition(values, place)[place])


def share(hits: NDArray[np.bool_], blocks: Resampling) -> dict[str, Any]:
    """{count, ratio, ci95} of those requests for which something is true; `hits` has one value per request, as they were due.

    Blocks are short against what a full bucket remembers, so the interval is at least that of ten long batches (`batch_error`).
    """
    total, count = len(hits), int(np.count_nonzero(hits))
    if total == 0:
        return {"count": 0, "ratio": None, "ci95": None}
    stretches = blocks.stretch(np.arange(total))
    width = blocks.weights.shape[1]
    per_stretch = np.column_stack(
        (np.bincount(stretches[hits], minlength=width), np.bincount(stretches, minlength=width))
    ).astype(np.float32)
    hit, drawn = (blocks.weights @ per_stretch).T
    low, high = central(np.sort(hit / drawn))
    wilson_low, wilson_high = wilson(count, total)
    ratio, half = count / total, BATCH_POINT * batch_error(hits)
    return {
        "count": count,
        "ratio": ratio,
        "ci95": [
            min(float(low), wilson_low, max(0.0, ratio - half)),
            max(float(high), wilson_high, min(1.0, ratio + half)),
        ],
    }


def batch_error(values: NDArray[Any]) -> float:
    """The standard error of the mean of neighbours that are alike: from the means of ten batches, nine degrees of freedom.

    Batch means (Law, Simulation Modeling and Analysis, 9.5.3): a batch is long against what links neighbours. 0 for fewer
    than ten values.
    """
    if len(values) < _BATCHES:
        return 0.0
    means = np.array([batch.mean() for batch in np.array_split(values, _BATCHES)])
    return float(means.std(ddof=1)) / math.sqrt(_BATCHES)


def student(freedom: int) -> float:
    """The 97.5 % point of Student's distribution (Abramowitz and Stegun 26.7.5): within 1 % from 3 degrees of freedom on."""
    z, n = Z95, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / n**power for power, term in enumerate(terms, start=1))


BATCH_POINT = student(_BATCHES - 1)
"""So many `batch_error`s reach to each side of the mean."""


def rank(size: int, share: float) -> int:
    """The nearest rank, 1…size: the smallest k with k / size ≥ share; in whole numbers, so that nothing rounds up."""
    return max(1, -(-size * round(share * 1000) // 1000))


@lru_cache(maxsize=256)
def order_interval(size: int, share: float) -> tuple[int, int]:
    """Ranks (1…size) whose values enclose the percentile with at least 95 %, whatever the distribution.

    The largest l with P(B < l) ≤ 2.5 % and the smallest u with P(B ≥ u) ≤ 2.5 %, B binomial(size, share): each
    tail exact (Hahn and Meeker, Statistical Intervals, 5.2). Needs `NEEDED` values.
    """
    spread = 12 * math.sqrt(size * share * (1 - share)) + 12
    low = max(0, math.floor(size * share - spread))
    high = min(size, math.ceil(size * share + spread))
    k = np.arange(low, high)
    # Neighbouring probabilities by their ratio; beyond twelve standard deviations there is nothing to add.
    logs = np.concatenate(([0.0], np.cumsum(np.log((size - k) / (k + 1) * (share / (1 - share))))))
    mass = np.exp(logs - logs.max())
    below = np.cumsum(mass) / mass.sum()  # P(B ≤ low + i)
    first = low + int(np.searchsorted(below, _TAIL, side="right"))
    above = np.cumsum(mass[::-1])[::-1] / mass.sum()  # P(B ≥ low + i)
    last = low + int(np.count_nonzero(above > _TAIL))
    return max(1, first), min(size, last)


def _intervals(
    ordered: Floats, values: Floats, positions: NDArray[np.integer], blocks: Resampling, names: list[str]
) -> dict[str, list[float | None]]:
    """The 95 % interval of each percentile."""
    edges = _edges(ordered, names)
    shape = (blocks.weights.shape[1], len(edges))
    counts = np.zeros(shape, dtype=np.int64)
    for start in range(0, len(values), _PART):
        part = slice(start, start + _PART)
        cells = blocks.stretch(positions[part]) * shape[1] + np.searchsorted(edges, values[part])
        counts += np.bincount(cells, minlength=counts.size).reshape(shape)
    running = np.cumsum(blocks.weights @ counts.astype(np.float32), axis=1, dtype=np.float64)
    running = running[running[:, -1] > 0]
    # A bin holds (edge before, edge]: outwards, the interval takes in the whole of it.
    lowest = ordered[np.searchsorted(ordered, np.concatenate(([-np.inf], edges[:-1])), side="right")]
    result = {}
    for name in names:
        share = PERCENTILES[name]
        needed = np.ceil(running[:, -1] * share - 1e-6)
        chosen = np.sort((running < needed[:, None]).sum(axis=1))
        low_bin, high_bin = central(chosen)
        first, last = order_interval(len(ordered), share)
        low, high = min(lowest[low_bin], ordered[first - 1]), max(edges[high_bin], ordered[last - 1])
        result[name] = [_finite(low), _finite(high)]
    return result


def _edges(ordered: Floats, names: list[str]) -> Floats:
    """Upper edges of the bins: every value of a small sample, else those of ranks that crowd around the percentiles."""
    size = len(ordered)
    if size <= _EXACT_BINS:
        return np.unique(ordered)
    steps = np.linspace(-1, 1, 2 * _EDGES + 1)
    ranks = [np.array([size])]
    for name in names:
        share = PERCENTILES[name]
        deviation = math.sqrt(size * share * (1 - share))
        ranks.append(np.round(rank(size, share) + _REACH * deviation * steps**3).astype(np.int64))
    return np.unique(ordered[np.unique(np.concatenate(ranks).clip(1, size)) - 1])


def central(ordered: NDArray[Any]) -> tuple[Any, Any]:
    """The bounds of the central 95 % of sorted values, outwards."""
    size = len(ordered)
    return ordered[math.floor(_TAIL * (size - 1))], ordered[math.ceil((1 - _TAIL) * (size - 1))]


def wilson(count: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    ratio, square = count / total, Z95**2
    middle = (ratio + square / (2 * total)) / (1 + square / total)
    half = Z95 * math.sqrt(ratio * (1 - ratio) / total + square / (4 * total**2)) / (1 + square / total)
    # At the ends the formula is exact and only its rounding is not.
    return (0.0 if count == 0 else max(0.0, middle - half)), (1.0 if count == total else min(1.0, middle + half))


def _finite(value: np.floating[Any] | float) -> float | None:
    return float(value) if math.isfinite(value) else None
