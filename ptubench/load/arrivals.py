"""Arrival times of an open loop: absolute offsets, computed up front.

A unit-rate process (one arrival per unit on average) is laid on the cumulative rate of the stages,

    R(t) = ∫ r(s) ds from 0 to t,   arrival i at R⁻¹(u_i),

which is exact for rates that change with time: a Poisson process stays one (Çinlar's method; D. Lewis and
G. Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", 1979, section 1). Times in seconds, rates per second.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptubench.load.sizes import ARRIVALS, generator
from ptubench.workload.model import OpenLoop, Stage

_SLACK = 1e-9
"""Arrivals this close to the end (as a share of one) are rounding: 45/min for 10 minutes are 450 and not 451."""


def offsets(load: OpenLoop, *, duration: float, seed: int) -> NDArray[np.float64]:
    """When each request is due: ascending seconds in [0, duration)."""
    total = cumulative(load.stages)[-1]
    units = _units(load, total=total, rng=generator(seed, ARRIVALS))
    due = inverse(load.stages, units)
    kept: NDArray[np.float64] = due[due < duration]
    return kept


def cumulative(stages: Sequence[Stage]) -> NDArray[np.float64]:
    """Expected arrivals before each stage and, last, in all; length len(stages) + 1."""
    areas = [stage.seconds * (stage.value + _last(stage)) / 2 for stage in stages]
    return np.concatenate(([0.0], np.cumsum(areas)))


def inverse(stages: Sequence[Stage], units: NDArray[np.float64]) -> NDArray[np.float64]:
    """The times by which `units` arrivals are expected; `units` lie in [0, cumulative(stages)[-1]).

    In a stage that goes from rate a to rate b in d seconds, x = a·t + (b − a)·t²/(2d), so
    t = 2x / (a + sqrt(a² + 2x·(b − a)/d)): of the two forms of the root the one that also holds for a = b.
    """
    before = cumulative(stages)
    starts = np.concatenate(([0.0], np.cumsum([stage.seconds for stage in stages])))
    # "right": a stage without arrivals owns no unit, not even the one at its edge.
    number = np.clip(np.searchsorted(before, units, side="right") - 1, 0, len(stages) - 1)
    rate = np.array([stage.value for stage in stages])[number]
    slope = np.array([(_last(stage) - stage.value) / stage.seconds for stage in stages])[number]
    inside = units - before[number]
    root = rate + np.sqrt(np.maximum(rate**2 + 2 * slope * inside, 0.0))
    times: NDArray[np.float64] = starts[number] + np.divide(2 * inside, root, out=np.zeros_like(inside), where=root > 0)
    return times


def _last(stage: Stage) -> float:
    return stage.value if stage.to is None else stage.to


def _units(load: OpenLoop, *, total: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The unit-rate process in [0, total)."""
    if load.arrivals == "constant":
        return np.arange(max(0, int(np.ceil(total - _SLACK))), dtype=float)
    # Poisson is the gamma process of shape 1. A longer run begins with the same gaps: they are drawn in sequence.
    shape = load.burstiness if load.arrivals == "gamma" else 1.0
    units, reached = [np.empty(0)], 0.0
    while reached < total:
        size = int((total - reached) + 4 * np.sqrt((total - reached) / shape)) + 16
        gaps = rng.standard_exponential(size) if shape == 1 else rng.standard_gamma(shape, size) / shape
        units.append(reached + np.cumsum(gaps))
        reached = float(units[-1][-1])
    return (found := np.concatenate(units))[found < total]
