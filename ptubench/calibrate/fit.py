"""Straight lines through points in the order of time, and what they leave open. Numbers in, numbers out.

Intervals are 95 %. Residuals that are alike from one point to the next carry less than their number says: the variance is
scaled by (1 + r) / (1 - r), r their lag-1 correlation, itself corrected for its bias in short series, r + (1 + 4 r) / n
(Marriott and Pope 1954, Biometrika 41).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis.columns import Floats, Ints
from ptubench.analysis.stats import Z95, student

_NEAR = 0.01
_ALIKE = 0.99  # more is a walk that no line fits
_EXACT = 1e-9  # of the spread: what rounding leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the interval, as a share of the figure; infinite where the figure is 0."""
        return (self.high - self.low) / 2 / abs(self.value) if self.value else math.inf

    def holds(self, value: float) -> bool:
        """Whether the interval holds a value."""
        return self.low <= value <= self.high

    def near(self, value: float, share: float = _NEAR) -> bool:
        """Whether a value is the same for all that it is used for: within 1 %, or another share."""
        return abs(value - self.value) <= share * abs(self.value)

    def times(self, factor: float) -> "Found":
        """The same in another unit; the factor is above 0."""
        return Found(value=self.value * factor, low=self.low * factor, high=self.high * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """y = a + b · x, with an a of its own in each stretch."""

    slopes: Floats
    covariance: NDArray[np.float64]
    rest: Floats
    """Residuals, in the unit of y."""
    t95: float
    """How many standard errors make an interval."""

    def error(self, gradient: Sequence[float]) -> float:
        """Half of the interval of a function of the slopes, by its gradient there (the delta method)."""
        g = np.asarray(gradient, dtype=np.float64)
        return float(self.t95 * math.sqrt(max(0.0, float(g @ self.covariance @ g))))

    @property
    def noise(self) -> float:
        """Half of the interval of a single point."""
        return self.t95 * float(np.sqrt(np.mean(np.square(self.rest))))


def line(x: NDArray[np.float64], y: Floats, stretch: Ints) -> Line | None:
    """Least squares; None where the points are too few, or do not tell the slopes apart.

    Args:
        x: shape (n, k), in the order of time.
        y: shape (n,).
        stretch: to which stretch each point belongs, from 0 on, ascending.
    """
    count = np.bincount(stretch)
    free = len(y) - np.count_nonzero(count) - x.shape[1]
    if free < 1:
        return None
    x, y = (_centred(values, stretch, count) for values in (x, y[:, None]))
    scale = np.sqrt(np.square(x).sum(axis=0))
    if not np.all(scale > 0):
        return None
    x = x / scale
    normal = x.T @ x
    if np.linalg.eigvalsh(normal)[0] < _EXACT:
        return None
    inverse = np.linalg.inv(normal)
    slopes = inverse @ x.T @ y[:, 0]
    rest = y[:, 0] - x @ slopes
    covariance = inverse * float(rest @ rest) / free * inflation(rest)
    return Line(slopes=slopes / scale, covariance=covariance / np.outer(scale, scale), rest=rest, t95=student(free))


def of_sums(above: Floats, below: Floats) -> Found | None:
    """The ratio of two sums over calls, such as cached to prompt tokens; None where there is nothing to divide by."""
    count, total = len(below), float(below.sum())
    if count < 2 or total <= 0:
        return None
    ratio = float(above.sum()) / total
    rest = above - ratio * below
    half = Z95 * math.sqrt(float(rest @ rest) * count / (count - 1) * inflation(rest)) / total
    return Found(value=ratio, low=ratio - half, high=ratio + half)


def _centred(values: NDArray[np.float64], stretch: Ints, count: Ints) -> NDArray[np.float64]:
    """Without the mean of each stretch; the shape is (n, k)."""
    means = np.stack([np.bincount(stretch, column) for column in values.T], axis=1) / np.maximum(count, 1)[:, None]
    centred: NDArray[np.float64] = values - means[stretch]
    return centred


def inflation(rest: Floats) -> float:
    """By how much neighbours that are alike raise the variance; never below 1."""
    squares = float(rest @ rest)
    if squares <= 0 or len(rest) < 4:
        return 1.0
    alike = float(rest[1:] @ rest[:-1]) / squares
    alike = min(max(alike + (1 + 4 * alike) / len(rest), 0.0), _ALIKE)
    return (1 + alike) / (1 - alike)
