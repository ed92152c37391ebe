"""The difference between two runs of one figure, and its 95 % interval.

Figures are drawn again from resampled blocks of neighbouring requests (`stats.resampling`): of both runs from the same
blocks where they are paired, so that what both share drops out of the difference. Knows no metrics, only values and
their positions. Infinity is a request that was never answered, NaN one for which a figure is not defined.

Around the difference d stands d ± t · s · √(b / (b − 1)), s the standard deviation of the resampled differences, t the 97.5 %
point of Student's distribution with b − 1 degrees of freedom, b the number of blocks. Measured (benchmarks/compare.py),
it holds its level better than the percentiles of the resampled differences, which are too wide for paired quantiles; they are
taken where a resample lands on a request that was never answered.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis.columns import Bools, Floats, Ints
from ptubench.analysis.stats import BATCH_POINT, Resampling, batch_error, central, rank, student, wilson

RESAMPLES = 1000
LONGER = 2.0
"""Blocks are so many times as long as those of a run's own intervals: shorter ones make too many words of a bucket that swings."""
FEWEST_BLOCKS = 5
"""With fewer blocks nothing is said of the spread: about twenty requests."""

_REACH = 25.0  # binomial standard deviations around a rank in which a resample's may lie; neighbours are alike
_PART = 100  # resamples at a time


@dataclass(frozen=True, slots=True)
class Draw:
    """Resampled blocks of one run, and where its requests lie in them."""

    blocks: Resampling
    rows: Ints
    """The requests that take part, as positions among those that were offered, in the order in which they were due."""
    places: Ints | None = None
    """The stretch of each of `rows`; None: they follow each other through all of them."""

    @property
    def stretches(self) -> Ints:
        """The stretch of each of `rows`."""
        return self.blocks.stretch(np.arange(len(self.rows))) if self.places is None else self.places


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference and its 95 % interval, in the unit of the figure; infinite where one run has no answer."""

    change: float
    low: float
    high: float


def quantiles(values: Floats, draw: Draw, share: float) -> Floats:
    """The nearest-rank quantile in every resample.

    Args:
        values: one for each offered request; NaN: not defined, infinite: unanswered.
        draw: the resamples.
        share: such as 0.95.
    """
    chosen = values[draw.rows]
    defined = ~np.isnan(chosen)
    chosen, stretches = chosen[defined], draw.stretches[defined]
    order = np.argsort(chosen, kind="stable")
    ordered, stretches = chosen[order], stretches[order]
    size = len(ordered)
    if size == 0:
        return np.full(len(draw.blocks.weights), np.nan)
    reach = _REACH * math.sqrt(size * share * (1 - share)) + 10
    low, high = max(0, int(rank(size, share) - reach)), min(size, math.ceil(rank(size, share) + reach))
    total, below = _drawn(draw, stretches, stretches[:low])
    needed = np.ceil(total * share - 1e-3)
    places = np.empty(len(total), dtype=np.int64)
    for start in range(0, len(total), _PART):
        part = slice(start, start + _PART)
        running = np.cumsum(draw.blocks.weights[part, stretches[low:high]], axis=1) + below[part, None]
        places[part] = (running < needed[part, None]).sum(axis=1)
    found: Floats = ordered[np.minimum(low + places, size - 1)]
    return np.where(total > 0, found, np.nan)


def shares(hits: Bools, draw: Draw) -> Floats:
    """The share of requests for which something is true, in every resample; `hits` has one value per request."""
    stretches = draw.stretches
    hit, drawn = _drawn(draw, stretches[hits[draw.rows]], stretches)
    found: Floats = (hit / drawn).astype(np.float64)
    return found


def totals(amounts: NDArray[np.float64], draw: Draw) -> NDArray[np.float64]:
    """Amounts per stretch of time, as many in every resample as there are stretches.

    Args:
        amounts: shape (figures, stretches).
        draw: the resamples.

    Returns:
        Shape (figures, resamples).
    """
    weights = draw.blocks.weights.astype(np.float64)
    drawn = weights.sum(axis=1) / weights.shape[1]
    found: NDArray[np.float64] = (amounts @ weights.T) / drawn
    return found


def between(values: tuple[float, float], drawn: tuple[Floats, Floats], blocks: int) -> Difference | None:
    """The difference of a figure, second run − first; None where its interval can't be told.

    Args:
        values: the figure of both runs, as reported; infinite where it lands on a request that was never answered.
        drawn: the same in every resample.
        blocks: how many blocks make one, in the run that has fewer.
    """
    if blocks < FEWEST_BLOCKS or all(map(math.isinf, values)):
        return None
    change = values[1] - values[0]
    with np.errstate(invalid="ignore"):
        changes = drawn[1] - drawn[0]
    if math.isfinite(change) and np.isfinite(changes).all():
        half = student(blocks - 1) * float(changes.std(ddof=1)) * math.sqrt(blocks / (blocks - 1))
        return Difference(change, change - half, change + half)
    # Where both are unanswered, or nothing is defined, the difference may be anything.
    low, _ = central(np.sort(np.where(np.isnan(changes), -np.inf, changes)))
    _, high = central(np.sort(np.where(np.isnan(changes), np.inf, changes)))
    return Difference(change, float(low), float(high))


def between_shares(found: Difference | None, hits: tuple[Bools, Bools], *, paired: bool) -> Difference | None:
    """The difference of two shares, at least as wide as two other intervals that see what blocks do not.

    Blocks know nothing of what never occurred: Newcombe 1998 (Statistics in Medicine 17, 873 and 2635) does, from Wilson's
    interval of each share and, where requests are paired, their correlation. And they are short against what a full
    bucket remembers: so the shares of ten long batches give a second standard deviation (batch means, nine degrees of
    freedom).

    Args:
        found: the difference by resampling.
        hits: one value per request of each run, those of a pair at the same place.
        paired: whether they are.
    """
    if found is None or not all(map(len, hits)):
        return None
    (first, (low_1, high_1)), (second, (low_2, high_2)) = (
        (part.mean(), wilson(int(np.count_nonzero(part)), len(part))) for part in hits
    )
    alike = _correlation(*hits) if paired else 0.0

    def reach(of_second: float, of_first: float) -> float:
        return math.sqrt(max(0.0, of_second**2 + of_first**2 - 2 * alike * of_second * of_first))

    down, up = reach(second - low_2, high_1 - first), reach(high_2 - second, first - low_1)
    half = BATCH_POINT * _of_batches(hits, paired=paired)
    low, high = (found.change - max(down, half)), (found.change + max(up, half))
    return Difference(found.change, min(found.low, low), max(found.high, high))


def _of_batches(hits: tuple[Bools, Bools], *, paired: bool) -> float:
    """The standard error of the difference of two shares, from those of ten batches of neighbours."""
    first, second = (part.astype(np.float64) for part in hits)
    return batch_error(second - first) if paired else math.hypot(batch_error(first), batch_error(second))


def _drawn(draw: Draw, *parts: Ints) -> NDArray[np.float32]:
    """How many requests of each part, given by their stretches, stand in every resample: shape (parts, resamples)."""
    width = draw.blocks.weights.shape[1]
    per_stretch = np.column_stack([np.bincount(part, minlength=width) for part in parts]).astype(np.float32)
    found: NDArray[np.float32] = (draw.blocks.weights @ per_stretch).T
    return found


def _correlation(first: Bools, second: Bools) -> float:
    """Of two columns of yes and no; 0 where one of them never changes."""
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
