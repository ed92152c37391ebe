"""Repeats as one side of a comparison: a figure of all their requests, and how it differs from another pool's.

The interval of a difference is that of `compare.differences`, from blocks of neighbouring requests, drawn alike in all runs
that send the same requests. Where there are repeats it is at least as wide as that of the runs' own values (Student's two-sample
interval, runs + baselines − 2 degrees of freedom): blocks of one run know nothing of better and worse hours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np

from ptubench.analysis.columns import Bools, Floats, Ints
from ptubench.analysis.stats import Resampling
from ptubench.compare import differences, unlike
from ptubench.compare.differences import Difference, Draw
from ptubench.compare.runs import draw as drawn_alone
from ptubench.compare.runs import resampling
from ptubench.compare.side import LATENCIES, OF_ALL, RATES, SHARES, Rates, Side, percentile_of
from ptubench.gate import pooled
from ptubench.samples import PERCENTILES

_COMMON = 0.95
"""Of the requests: with fewer in common, runs are not laid beside each other."""


@dataclass(frozen=True)
class Pool:
    """One run, or several of one workload."""

    sides: tuple[Side, ...]

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """`metrics` of the summary, of all runs together."""
        return pooled.metrics(self.sides)

    def value(self, name: str) -> float | str:
        """A figure of all requests: infinite where it was never answered; a text says why there is none."""
        if len(self.sides) == 1:
            return self.sides[0].value(name)
        distribution, _, statistic = name.rpartition(".")
        if distribution in LATENCIES:
            return percentile_of(self.metrics[distribution], statistic)
        told = [side.value(name) for side in self.sides]
        missing = [value for value in told if isinstance(value, str)]
        if missing:
            return missing[0]
        if name in SHARES:
            return float(self.hits(name).mean())
        return float(self._rate(name, [side.rates for side in self.sides]))

    def by_run(self, name: str) -> list[float | None]:
        """The same of each run; None where there is none, or it was never answered."""
        told = [side.value(name) for side in self.sides]
        return [value if isinstance(value, float) and math.isfinite(value) else None for value in told]

    def hits(self, name: str, draws: Sequence[Draw] | None = None) -> Bools:
        """For which requests a share counts: of all, or of those that take part in the draws."""
        parts = [SHARES[name](side) for side in self.sides]
        if draws is not None:
            parts = [part[draw.rows] for part, draw in zip(parts, draws, strict=True)]
        return np.concatenate(parts)

    def drawn(self, name: str, draws: Sequence[Draw]) -> Floats:
        """A figure in every resample."""
        distribution, _, percentile = name.rpartition(".")
        if distribution in LATENCIES:
            values = np.concatenate([side.latencies(distribution) for side in self.sides])
            return differences.quantiles(values, self._joined(draws), PERCENTILES[percentile])
        if name in SHARES:
            return differences.shares(self.hits(name), self._joined(draws))
        rates = [side.drawn_rates(draw) for side, draw in zip(self.sides, draws, strict=True)]
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = np.asarray(self._rate(name, rates), dtype=np.float64)
        return np.broadcast_to(found, len(draws[0].blocks.weights))

    def lacks(self, name: str) -> str | None:
        """Why a figure can't be held against another's although there is one; None if it can."""
        own, offered = (sum(each) for each in zip(*((side.own, len(side.offered)) for side in self.sides), strict=True))
        if name.partition(".")[0] in OF_ALL and own < offered:
            return f"{own:,} of {offered:,} calls, the diverted and spilled left out"
        return None

    def _rate(self, name: str, rates: Sequence[Rates]) -> Any:
        """A rate over the windows of all runs, each by its own size and price: `--force` lets these differ."""
        of_each = list(zip(self.sides, rates, strict=True))
        if name != "cost.per_million_tokens" or len(of_each) == 1:
            return self._mean([RATES[name](side, of) for side, of in of_each])
        tokens = self._mean([of.total for of in rates])
        return self._mean([RATES[name](side, of) * of.total for side, of in of_each]) / tokens

    def _mean(self, values: Sequence[Any]) -> Any:
        """One value of each run, or of each of its resamples, over the windows of all."""
        if len(values) == 1:
            return values[0]
        weights = [side.window[1] - side.window[0] for side in self.sides]
        return sum(weight * of for weight, of in zip(weights, values, strict=True)) / (sum(weights) or 1.0)

    def _joined(self, draws: Sequence[Draw]) -> Draw:
        """The draws of all runs as one, over their requests one run after another."""
        starts = np.concatenate(([0], np.cumsum([len(side.offered) for side in self.sides])[:-1]))
        rows = np.concatenate([draw.rows + start for draw, start in zip(draws, starts, strict=True)])
        first = draws[0].blocks
        if _together(draws):
            return Draw(first, rows, np.concatenate([draw.stretches for draw in draws]))
        widths = np.cumsum([0, *(draw.blocks.weights.shape[1] for draw in draws)])
        places = [draw.stretches + start for draw, start in zip(draws, widths[:-1], strict=True)]
        weights = np.hstack([draw.blocks.weights for draw in draws])
        return Draw(Resampling(len(rows), weights, _blocks(draws)), rows, np.concatenate(places))


@dataclass(frozen=True)
class Against:
    """A baseline and the runs that are held against it, with their resamples."""

    baseline: Pool
    runs: Pool

    @cached_property
    def load_differs(self) -> list[str]:
        """The keys that make their loads unlike; only where it was forced."""
        return unlike.unlike(unlike.keys(self.baseline.sides[0], self.runs.sides[0]))

    @cached_property
    def unpaired_because(self) -> str | None:
        """Why not all send the same requests, nearly all of them in all windows; None where they do."""
        first, *others = (*self.baseline.sides, *self.runs.sides)
        common = len(_common((first, *others)))
        told = (unlike.unpaired_because(first, one, common=common, found=unlike.keys(first, one)) for one in others)
        return next(filter(None, told), None)

    @cached_property
    def draws(self) -> tuple[tuple[Draw, ...], tuple[Draw, ...]]:
        """Of each run of the baseline and of the others: from the same blocks where all send the same requests."""
        sides = (*self.baseline.sides, *self.runs.sides)
        groups = [sides] if self.unpaired_because is None else [self.baseline.sides, self.runs.sides]
        found = [draw for group in groups for draw in _draws(group, together=len(groups) == 1)]
        count = len(self.baseline.sides)
        return tuple(found[:count]), tuple(found[count:])

    @property
    def paired(self) -> bool:
        """Whether all runs have the same resamples."""
        return _together([draw for part in self.draws for draw in part])

    def difference(self, name: str) -> Difference | None:
        """How much a figure of the runs exceeds the baseline's; None where an interval can't be told.

        Args:
            name: a figure that both have (`Pool.value` is a number).
        """
        found = self.by_blocks(name)
        return None if found is None else self._between_runs(name, found)

    def by_blocks(self, name: str) -> Difference | None:
        """The same, as if what runs differ in were all of a few minutes."""
        values = self.baseline.value(name), self.runs.value(name)
        pools = list(zip((self.baseline, self.runs), self.draws, strict=True))
        first, second = (pool.drawn(name, draws) for pool, draws in pools)
        blocks = min(_blocks(draws) for draws in self.draws)
        found = differences.between((float(values[0]), float(values[1])), (first, second), blocks)
        if name in SHARES:
            hits = [pool.hits(name, draws) for pool, draws in pools]
            paired = self.paired and len(hits[0]) == len(hits[1])
            found = differences.between_shares(found, (hits[0], hits[1]), paired=paired)
        return found

    def _between_runs(self, name: str, found: Difference) -> Difference:
        """At least as wide as the interval of the runs' own values."""
        groups = [[value for value in pool.by_run(name) if value is not None] for pool in (self.baseline, self.runs)]
        freedom = sum(map(len, groups)) - 2
        if freedom < 1 or not all(groups):
            return found
        squares = math.fsum((value - np.mean(group)) ** 2 for group in groups for value in group)
        error = math.sqrt(squares / freedom * math.fsum(1 / len(group) for group in groups))
        half = pooled.student(freedom) * error
        return Difference(found.change, min(found.low, found.change - half), max(found.high, found.change + half))


def _draws(sides: Sequence[Side], *, together: bool) -> list[Draw]:
    """Resamples for each run: from the same blocks where all send the same requests, else from its own."""
    common, most = _common(sides), max(len(side.offered) for side in sides)
    repeats = len(sides) > 1 and len({side.run.head.seed for side in sides}) == 1 and len(common) >= _COMMON * most
    if not together and not repeats:
        return [drawn_alone(len(side.offered), side) for side in sides]
    blocks = resampling(len(common)) if together else drawn_alone(len(common), sides[0]).blocks
    in_order = common[np.argsort(_rows(sides[0], common))]
    return [Draw(blocks, _rows(side, in_order)) for side in sides]


def _common(sides: Sequence[Side]) -> Ints:
    """The indices of the requests that all runs offered in their windows."""
    return reduce(np.intersect1d, (side.offered.index for side in sides))


def _rows(side: Side, indices: Ints) -> Ints:
    """Where the requests of these indices stand among those that a run offered."""
    order = np.argsort(side.offered.index)
    found: Ints = order[np.searchsorted(side.offered.index, indices, sorter=order)]
    return found


def _together(draws: Sequence[Draw]) -> bool:
    """Whether they are of the same blocks."""
    return all(draw.blocks is draws[0].blocks for draw in draws)


def _blocks(draws: Sequence[Draw]) -> int:
    """How many blocks make a resample of all the runs."""
    return draws[0].blocks.blocks if _together(draws) else sum(draw.blocks.blocks for draw in draws)
