"""Refused ratio against call rate: the curve through the steps of a search, and the rate at which it reaches a limit.

A bucket of K calls that drains c calls a second and is offered ρ · c of them at random is, seen from afar, a Brownian motion
with drift u = 1 − 1/ρ and variance σ² per offered call, between two reflecting ends. What it loses at the upper end is

    refused ratio p = u / (1 − exp(−2 u κ)),  κ = K / σ²;  1 / (2 κ) where u = 0;  → u far above

(Harrison, Brownian Motion and Stochastic Flow Systems, 1985, chapter 5: what two-sided regulated Brownian motion loses at
its upper barrier). Two numbers, c and κ, are fitted; that neither is Azure's does not matter as long as the curve has this shape:
flat at 0, bending near the capacity, then the straight overload.

Refusals come in bursts. Between two of them the bucket must come down and fill again, so that of n calls the number of
refusals varies φ times as much as that of independent ones, φ about σ² / (|u| + 3 / (2 κ)): σ² / 3 per call at u = 0
(Williams, "Asymptotic variance parameters for the boundary local times of reflected Brownian motion on a compact interval",
J. Appl. Prob. 29, 1992), the bursts of a bucket that is seldom full below, the arrivals' own variance above.

Rates in calls a second. Knows no files, no clock and no target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CAPACITIES = np.linspace(0.88, 1.12, 161)
_DEPTHS = np.geomspace(0.5, 20_000, 97)
_SPREAD = 0.02
"""How far the capacity of the curve may be from what saturation measured, as a standard deviation."""
_GUESS = 1.0
"""The same of the logarithm of the depth."""
_LEAST = 1.25
"""What is added to the scatter of the steps in any case, as it is guessed from few of them."""
_ROUNDS = 4
_TAIL = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturated:
    """What the saturation step told."""

    rate: float
    """Calls a second that are admitted while the bucket is full."""
    depth: float
    """Calls that an idle bucket holds, roughly."""
    variance: float = 1.0
    """σ² of an offered call: 1 for equal calls at random (Poisson), more for bursty ones and mixed sizes."""

    @property
    def far(self) -> float:
        """κ: the depth as it is seen from afar."""
        return self.depth / self.variance


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
    """κ."""
    scatter: float
    """How much further the steps lie from the curve than chance explains; 1 is not at all."""


def refused(load: Floats, depth: Floats) -> Floats:
    """Refused ratio at a load (share of the capacity) with a depth of κ calls; arrays that broadcast."""
    drift = 1 - 1 / load
    exponent = 2 * drift * depth
    near = np.abs(exponent) < 1e-6
    safe = np.where(near, 1.0, exponent)
    with np.errstate(over="ignore"):
        ratio: Floats = np.where(near, 1 / (2 * depth), drift / -np.expm1(-safe))
    # A bucket of a few calls is too shallow to be seen from afar.
    return np.minimum(ratio, 1.0)


def load_at(limit: float, depth: Floats) -> Floats:
    """The load at which the refused ratio is `limit` (in 0…1), for each depth: by bisection, as the curve is monotone."""
    low, high = np.full(depth.shape, 1e-3), np.full(depth.shape, 1 / (1 - limit) + 1e-9)
    for _ in range(50):
        middle = (low + high) / 2
        over = refused(middle, depth) > limit
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return low


def memory(load: float, depth: float, variance: float = 1.0) -> float:
    """Calls after which a bucket with a depth of κ calls has forgotten how it started, by a factor of e.

    The slowest mode of a Brownian motion between two reflecting ends: σ² / (u² / 2 + π² / (2 κ²)).
    """
    return float(variance / ((1 - 1 / load) ** 2 / 2 + np.pi**2 / (2 * depth**2)))


def fit(steps: Sequence[Seen], saturated: Saturated, limit: float) -> Fit:
    """The curve through the steps, and where it reaches `limit`.

    By likelihood on a grid of capacities and depths, near what saturation told. The number of refusals enters as Poisson,
    its weight lowered by how bursty they are; such a likelihood does not care by which rule a step was ended, so
    that one which was ended early because it was lost counts as any other.
    """
    capacity = saturated.rate * _CAPACITIES[:, None]
    depth = _DEPTHS[None, :]
    at = capacity * load_at(limit, _DEPTHS)[None, :]
    start = -(((_CAPACITIES[:, None] - 1) / _SPREAD) ** 2) / 2 - (np.log(depth / saturated.far) / _GUESS) ** 2 / 2
    weights = _normalized(start)
    told = [_likelihood(step, refused(step.rate / capacity, depth)) for step in steps]
    for _ in range(_ROUNDS):
        best = _means(weights, capacity, depth)
        worse = _scatter(steps, *best, saturated.variance)
        log = start.copy()
        for step, counted in zip(steps, told, strict=True):
            log += counted / (worse * _bursts(step, *best, saturated.variance))
        weights = _normalized(log)
    order = np.argsort(at, axis=None)
    below = np.cumsum(weights.ravel()[order])
    low, middle, high = (float(at.ravel()[order][np.searchsorted(below, q)]) for q in (_TAIL, 0.5, 1 - _TAIL))
    return Fit(rate=middle, low=low, high=high, capacity=best[0], depth=best[1], scatter=worse)


def _likelihood(step: Seen, expected: Floats) -> Floats:
    """The logarithm of Poisson's, but for a constant."""
    return step.refused * np.log(np.maximum(expected, 1e-300)) - step.offered * expected


def _bursts(step: Seen, capacity: float, depth: float, variance: float) -> float:
    """φ of a step: by the curve, or by the step itself where that is more."""
    return max(1.0, step.bursts, variance / (abs(1 - capacity / step.rate) + 1.5 / depth))


def _scatter(steps: Sequence[Seen], capacity: float, depth: float, variance: float) -> float:
    """How much further the steps lie from the curve than φ explains; at least `_LEAST`."""
    squares = 0.0
    for step in steps:
        expected = step.offered * float(refused(np.array(step.rate / capacity), np.array(depth)))
        squares += (step.refused - expected) ** 2 / max(expected * _bursts(step, capacity, depth, variance), 1e-9)
    return max(_LEAST, squares / max(1, len(steps) - 2))


def _means(weights: Floats, capacity: Floats, depth: Floats) -> tuple[float, float]:
    """Capacity and depth (its geometric mean) by weight."""
    return float((weights * capacity).sum()), float(np.exp((weights * np.log(depth)).sum()))


def _normalized(log: Floats) -> Floats:
    weights: Floats = np.exp(log - log.max())
    weights /= weights.sum()
    return weights
