"""Refused ratio against call rate: the curve through the steps of a search, and the rate at which it reaches a limit.

A bucket of K calls that drains c calls a second and is offered ρ · c of them is, seen from afar, a random walk with drift
u = 1 − 1/ρ per offered call between two reflecting ends. What it loses at the upper end is

    refused ratio p = u / (1 − exp(θ K));  → u far above the capacity, → exp(−θ K) · |u| far below

which for Brownian motion, θ = −2 u / σ², is exact (Harrison, Brownian Motion and Stochastic Flow Systems, 1985, chapter 5).
A bucket of few calls is emptied by so low a load that its θ is another: Lundberg's exponent, the root of
E exp(θ (cost − drained between two calls)) = 1 (Asmussen, Ruin Probabilities, chapter IV), here with times and costs that
are gamma distributed, which Poisson arrivals and equal calls are too. Two numbers, c and K, are fitted; that neither is Azure's does
not matter as long as the curve has this shape: flat at 0, bending near the capacity, then the straight overload.

Refusals come in bursts. Between two of them the bucket must come down and fill again, so that of n calls the number of
refusals varies φ times as much as that of independent ones, φ about σ² / (|u| + 3 σ² / (2 K)): σ² / 3 per call at u = 0
(Williams, "Asymptotic variance parameters for the boundary local times of reflected Brownian motion on a compact interval",
J. Appl. Prob. 29, 1992), the bursts of a bucket that is seldom full below, the arrivals' own variance above.

Rates in calls a second. Knows no files, no clock and no target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ptubench.analysis.columns import Floats

_CAPACITIES = np.linspace(0.88, 1.12, 81)
_DEPTHS = np.geomspace(0.5, 20_000, 257)
_SPREAD = 0.02
"""How far the capacity of the curve may be from what saturation measured, as a standard deviation."""
_GUESS = 1.0
"""The same of the logarithm of the depth."""
_LEAST = 1.25
"""What is added to the scatter of the steps in any case, as it is guessed from few of them."""
_ROUNDS = 4
_EVEN = 0.05, 0.001
"""Times and costs are never taken for more even than that."""
_NEWTON = 12
_TAIL = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturated:
    """What the saturation step told."""

    rate: float
    """Calls a second that are admitted while the bucket is full."""
    depth: float
    """Calls that an idle bucket holds, roughly."""
    times: float = 1.0
    """How uneven the times between calls are, as their variance by their mean squared: 1 at random (Poisson)."""
    costs: float = 0.0
    """The same of what calls cost: 0 where all are alike."""

    @property
    def variance(self) -> float:
        """σ² of an offered call."""
        return max(_EVEN[0], self.times) + self.costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a step told of refusals."""

    rate: float
    """Calls a second that were offered."""
    offered: int
    refused: int
    bursts: float = 1.0
    """How much more the refusals vary than independent ones, as resampling the step shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The rate at which the limit is reached, with its central 95 %."""

    rate: float
    low: float
    high: float
    capacity: float
    depth: float
    """Calls."""
    scatter: float
    """How much further the steps lie from the curve than chance explains; 1 is not at all."""


def refused(load: Floats, depth: Floats, times: float = 1.0, costs: float = 0.0) -> Floats:
    """Refused ratio at a load (share of the capacity) with a depth in calls; arrays that broadcast."""
    drift = 1 - 1 / load
    exponent = _lundberg(load, times, costs) * depth
    near = np.abs(exponent) < 1e-6
    safe = np.where(near, 1.0, exponent)
    with np.errstate(over="ignore"):
        at_capacity = (max(_EVEN[0], times) + max(_EVEN[1], costs)) / (2 * depth)
        ratio: Floats = np.where(near, at_capacity, drift / -np.expm1(safe))
    # A bucket of a few calls is too shallow to be seen from afar.
    return np.minimum(ratio, 1.0)


def load_at(limit: float, depth: Floats, times: float = 1.0, costs: float = 0.0) -> Floats:
    """The load at which the refused ratio is `limit` (in 0…1), for each depth: by bisection, as the curve is monotone."""
    low, high = np.full(depth.shape, 1e-3), np.full(depth.shape, 1 / (1 - limit) + 1e-9)
    for _ in range(40):
        middle = (low + high) / 2
        over = refused(middle, depth, times, costs) > limit
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return low


def _lundberg(load: Floats, times: float, costs: float) -> Floats:
    """θ at a load: above 0 below the capacity, below 0 above it; 0 at it.

    The root beside 0 of log(1 + s θ / ρ) / s + log(1 − t θ) / t, s and t the unevenness of times and costs. It is concave, so
    that Newton's steps from beyond its summit come to the root.
    """
    s, t = max(_EVEN[0], times), max(_EVEN[1], costs)
    theta = 2 * (1 - load) / (s + t)  # twice the summit's
    last = np.where(load < 1, 1 / t, -load / s)
    theta = np.where(np.abs(theta) < np.abs(last), theta, last * 0.99)
    for _ in range(_NEWTON):
        value = np.log1p(s * theta / load) / s + np.log1p(-t * theta) / t
        slope = 1 / (load + s * theta) - 1 / (1 - t * theta)
        after = theta - value / np.where(slope == 0, 1.0, slope)
        beyond = np.abs(after) >= np.abs(last)
        theta = np.where(beyond, (theta + last) / 2, after)
    found: Floats = theta
    return found


def memory(load: float, depth: float, variance: float = 1.0) -> float:
    """Calls after which a bucket has forgotten how it started, by a factor of e.

    The slowest mode of a Brownian motion between two reflecting ends: 1 / (u² / (2 σ²) + π² σ² / (2 K²)).
    """
    return float(1 / ((1 - 1 / load) ** 2 / (2 * variance) + np.pi**2 * variance / (2 * depth**2)))


def fit(steps: Sequence[Seen], saturated: Saturated, limit: float) -> Fit:
    """The curve through the steps, and where it reaches `limit`.

    By likelihood on a grid of capacities and depths, near what saturation told. The number of refusals enters as Poisson,
    its weight lowered by how bursty they are; such a likelihood does not care by which rule a step was ended, so
    that one which was ended early because it was lost counts as any other.
    """
    weights, best, worse = _posterior(steps, saturated)
    at = saturated.rate * _CAPACITIES[:, None] * _loads_at(limit, saturated.times, saturated.costs)[None, :]
    low, middle, high = _quantiles(at, weights)
    return Fit(rate=middle, low=low, high=high, capacity=best[0], depth=best[1], scatter=worse)


def band(steps: Sequence[Seen], saturated: Saturated, rates: Floats) -> list[tuple[float, float, float]]:
    """The refused ratio at some rates by the same likelihood: low, middle and high, the central 95 % of each.

    As the ratio grows with the rate, the middle reaches a limit at the rate of `fit`, and both ends at those of its interval.
    """
    weights, _, _ = _posterior(steps, saturated)
    capacity, depth = saturated.rate * _CAPACITIES[:, None], _DEPTHS[None, :]
    uneven = saturated.times, saturated.costs
    return [_quantiles(refused(rate / capacity, depth, *uneven), weights) for rate in rates]


def _posterior(steps: Sequence[Seen], saturated: Saturated) -> tuple[Floats, tuple[float, float], float]:
    """The weight of each capacity and depth of the grid; their means; how far the steps lie from the curve."""
    capacity, depth = saturated.rate * _CAPACITIES[:, None], _DEPTHS[None, :]
    start = -(((_CAPACITIES[:, None] - 1) / _SPREAD) ** 2) / 2 - (np.log(depth / saturated.depth) / _GUESS) ** 2 / 2
    weights = _normalized(start)
    uneven = saturated.times, saturated.costs
    told = [_likelihood(step, refused(step.rate / capacity, depth, *uneven)) for step in steps]
    for _ in range(_ROUNDS):
        best = _means(weights, capacity, depth)
        worse = _scatter(steps, *best, saturated)
        log = start.copy()
        for step, counted in zip(steps, told, strict=True):
            log += counted / (worse * _bursts(step, *best, saturated.variance))
        weights = _normalized(log)
    return weights, best, worse


def _quantiles(values: Floats, weights: Floats) -> tuple[float, float, float]:
    """The weighted median, between the ends of the central 95 %."""
    order = np.argsort(values, axis=None)
    ordered, below = values.ravel()[order], np.cumsum(weights.ravel()[order])
    low, middle, high = (float(ordered[np.searchsorted(below, q)]) for q in (_TAIL, 0.5, 1 - _TAIL))
    return low, middle, high


@lru_cache(maxsize=16)
def _loads_at(limit: float, times: float, costs: float) -> Floats:
    return load_at(limit, _DEPTHS, times, costs)


def _likelihood(step: Seen, expected: Floats) -> Floats:
    """The logarithm of Poisson's, but for a constant."""
    return step.refused * np.log(np.maximum(expected, 1e-300)) - step.offered * expected


def _bursts(step: Seen, capacity: float, depth: float, variance: float) -> float:
    """φ of a step: by the curve, or by the step itself where that is more."""
    return max(1.0, step.bursts, variance / (abs(1 - capacity / step.rate) + 1.5 * variance / depth))


def _scatter(steps: Sequence[Seen], capacity: float, depth: float, saturated: Saturated) -> float:
    """How much further the steps lie from the curve than φ explains; at least `_LEAST`."""
    squares = 0.0
    for step in steps:
        load = np.array(step.rate / capacity)
        expected = step.offered * float(refused(load, np.array(depth), saturated.times, saturated.costs))
        squares += (step.refused - expected) ** 2 / max(
            expected * _bursts(step, capacity, depth, saturated.variance), 1e-9
        )
    return max(_LEAST, squares / max(1, len(steps) - 2))


def _means(weights: Floats, capacity: Floats, depth: Floats) -> tuple[float, float]:
    """Capacity and depth (its geometric mean) by weight."""
    return float((weights * capacity).sum()), float(np.exp((weights * np.log(depth)).sum()))


def _normalized(log: Floats) -> Floats:
    weights: Floats = np.exp(log - log.max())
    weights /= weights.sum()
    return weights
