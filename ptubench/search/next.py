"""Which rate to try next, and what the tried ones say: pure, from step to step.

Where refusals decide, a curve is laid through all steps (`search.curve`), which holds even if a step was lucky. Where
another rule is broken below that, such as one on latency, nothing is known of its curve, and the rate is halved into between
the highest that passed and the lowest that did not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ptubench.search.curve import Fit, Saturated, fit
from ptubench.search.tried import Tried

MOST = 16
"""Measuring steps."""
FEWEST = 4
"""Before a curve is believed."""
WITHIN = 0.03
"""Half the width of the interval that ends a search, as a share of the rate."""

_FAR, _NEAR = 0.05, 0.01  # how far from the estimate the next step is, as shares of it
_DOWN, _UP = 0.8, 1.2
_LEAST = 0.02
"""Of the saturated rate: the lowest that is tried."""

Why = Literal["narrow", "steps", "nothing_passes", "all_pass"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """When a search is over."""

    limit: float | None
    """The refused ratio that is allowed; None where no rule is about it or nothing at all may be refused."""
    within: float = WITHIN
    most: int = MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The highest rate that passes; calls a second."""

    rate: float
    low: float
    high: float
    by: Literal["curve", "bracket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What to do next: try `rate`, or stop, and why; with what is known so far."""

    rate: float | None
    why: Why | None
    result: Result | None


def move(steps: Sequence[Tried], saturated: Saturated, goal: Goal) -> Move:
    """The next move after some steps."""
    curve = None if goal.limit is None else fit([step.seen for step in steps], saturated, goal.limit)
    broken = min((step.seen.rate for step in steps if step.by_others), default=math.inf)
    # A curve that leads lower does not fit: it knows nothing of a bucket that holds a call or two.
    if curve is None or broken < curve.high or curve.rate < _LEAST * saturated.rate:
        return _bracketing(steps, saturated, goal)
    return _narrowing(steps, saturated, curve, goal)


def _narrowing(steps: Sequence[Tried], saturated: Saturated, curve: Fit, goal: Goal) -> Move:
    """Along the curve: on either side of the estimate in turns, nearer as it gets narrower."""
    result = Result(rate=curve.rate, low=curve.low, high=curve.high, by="curve") if steps else None
    passed, failed = _split(steps)
    if passed and failed and len(steps) >= FEWEST and _narrow(curve.low, curve.high, goal):
        return Move(rate=None, why="narrow", result=result)
    if len(steps) >= goal.most:
        return Move(rate=None, why="steps", result=result)
    off = min(max((curve.high / curve.low - 1) / 2, _NEAR), _FAR)
    if not steps:
        side = 0.0
    elif not failed:
        side = off
    elif not passed:
        side = -off
    else:
        side = off / 2 * (-1) ** len(steps)
    return Move(rate=max(curve.rate * (1 + side), _LEAST * saturated.rate), why=None, result=result)


def _bracketing(steps: Sequence[Tried], saturated: Saturated, goal: Goal) -> Move:
    """Between the highest rate that passed and the lowest that did not."""
    passed, failed = _split(steps)
    high = min(failed, default=None)
    low = max((rate for rate in passed if high is None or rate < high), default=None)
    result = None if low is None else Result(rate=low, low=low, high=high or low, by="bracket")
    if low is not None and high is not None:
        found, why = math.sqrt(low * high), "narrow" if _narrow(low, high, goal) else None
    elif high is not None:
        least = _LEAST * saturated.rate
        found = max(high * _DOWN ** len(failed), least)  # farther each time: the answer may lie far below the capacity
        why = "nothing_passes" if high <= least else None
    else:
        found = saturated.rate if low is None else low * _UP
        why = "all_pass" if found > 2 * saturated.rate else None
    if why is None and len(steps) >= goal.most:
        why = "steps"
    return Move(rate=None if why else found, why=why, result=result)  # type: ignore[arg-type] # literals, chosen above


def _split(steps: Sequence[Tried]) -> tuple[list[float], list[float]]:
    return [s.seen.rate for s in steps if s.passed], [s.seen.rate for s in steps if not s.passed]


def _narrow(low: float, high: float, goal: Goal) -> bool:
    return high / low - 1 <= 2 * goal.within
