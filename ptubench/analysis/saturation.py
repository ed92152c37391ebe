"""What a deployment sustains, as its refusals tell: the capacity, or a bound of it.

A refusal says that the bucket (`ptu.bucket`) was full at that moment, and its retry-after by how much more than full. So
between two refusals at t1 and t2 exactly as much drained as was charged,

    C = charged between / (t2 + retry after 2 - t1 - retry after 1)

unless the bucket ran empty meanwhile, when it drained less: no two refusals tell of more than the capacity. What is
charged is known of calls with an output limit and usage: the limit when they are sent, corrected at their end. What
is reserved for a call without a limit is not published, and cancels between refusals with as many calls in flight. A
wait that was not told, as where the service spilled, is no longer than the largest charge takes to drain.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptubench.analysis import rates
from ptubench.analysis.columns import Attempts, Bools, Floats, Ints, Run
from ptubench.analysis.ledger import PARTS, fastest, in_flight, ledger, refusals, reserved
from ptubench.analysis.rates import Window
from ptubench.analysis.requests import throttled_at
from ptubench.ptu.capacity import Capacity
from ptubench.units import number_text

DEEPEST = 120.0
"""Seconds of capacity that an idle deployment may absorb before its first 429 [assumed: Azure does not publish it]."""
_DEEPEST_TOLD = 86_400.0  # seconds; a file that says more was damaged
_APART = 0.005  # seconds: what is nearer may have reached the service in another order
_MOST = 300  # refusals of which all pairs are looked at
# Of the time between two refusals, the most that is not known of their waits; half a window does at any rate.
_SMALL = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """Charged between refusals, in normalized tokens per minute."""

    highest: float
    """Between any two: the capacity, unless the bucket ran empty between all of them."""
    overall: float
    """From the first to the last."""
    limited: bool
    """Every call had an output limit; else `overall` may be more than drained, by what was reserved for calls in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLeast:
    """What the deployment sustains at least; per minute."""

    rpm: float
    """Calls of this workload."""
    tpm_normalized: float | None
    """None where the capacity is not known, and with it the weights of tokens."""

    @property
    def text(self) -> str:
        """As a sentence says it."""
        tokens = self.tpm_normalized
        return f"{number_text(self.rpm)} calls/min" if tokens is None else f"{tokens:,.0f} normalized tokens/min"


def first_refusal(attempts: Attempts) -> float | None:
    """When the target first refused: its 429, or the answer of another deployment to which the service spilled."""
    times = np.where(attempts.spilled, attempts.answered, throttled_at(attempts))
    return float(np.nanmin(times)) if np.any(~np.isnan(times)) else None


def between_refusals(attempts: Attempts, capacity: Capacity, window: Window) -> Sustained | None:
    """What was charged per minute between refusals in the window; None where there are no two that are apart.

    Args:
        attempts: sent to the target itself.
        capacity: for the weights of tokens; where no wait was told, also for how long a charge takes to drain.
        window: seconds.
    """
    refused = refusals(attempts)
    inside = _within(refused.at, window)
    at, waits = refused.at[inside], np.nan_to_num(refused.retry_after[inside])
    charges = ledger(attempts, capacity.weights)
    rows = _chosen(at, charges.at)
    at, full_until = at[rows], (at + waits)[rows]
    over, limited = window[1] - window[0], reserved(attempts)
    told = not np.isnan(refused.retry_after[inside]).any()
    costs = (0.0, 0.0) if told else charges.overshoot(capacity.weights.output)
    typical, most = (cost / capacity.per_second for cost in costs)
    charged = charges.prompt_until(at) + capacity.weights.output * charges.completion_until(at)
    alike = None if limited else in_flight(attempts, at)
    least = max(over / PARTS, min(most / _SMALL, over / 2))
    highest = fastest(full_until, charged, least=least, unsure=typical, alike=alike)
    if highest is None or full_until[-1] <= full_until[0]:
        return None
    overall = float((charged[-1] - charged[0]) / (full_until[-1] - full_until[0] + most))
    return Sustained(highest=highest * 60, overall=overall * 60, limited=limited)


def though_idle(run: Run, served: Attempts, capacity: Capacity | None, *, load_end: float) -> AtLeast:
    """What a deployment sustains at least that never refused, though its bucket was empty before the load.

    Over t seconds at most C · t drains, and C · T fits into the bucket: C is at least what was admitted / (t + T).

    Args:
        run: its simulated deployment may say how deep it is.
        served: attempts that the target itself answered.
        capacity: of the target, where it is known.
        load_end: seconds.
    """
    filled = load_end / (load_end + depth(run)) if load_end > 0 else 0.0
    window = (0.0, load_end)
    tokens = rates.tpm(served, window, capacity)["normalized"]
    return AtLeast(
        rpm=admitted_rpm(served, window) * filled, tpm_normalized=None if tokens is None else tokens * filled
    )


def admitted_rpm(served: Attempts, window: Window) -> float:
    """Calls per minute that were sent in the window and admitted."""
    calls = np.count_nonzero(rates.admitted(served) & _within(served.sent, window))
    return float(calls) * 60 / (window[1] - window[0]) if window[1] > window[0] else 0.0


def depth(run: Run) -> float:
    """Seconds of capacity that the bucket may hold: what a simulated deployment tells of itself, else what is assumed."""
    said: dict[str, Any] = (run.end.simulated if run.end is not None else None) or {}
    told = said.get("depth_s")
    return float(told) if isinstance(told, int | float) and 0 <= told < _DEEPEST_TOLD else DEEPEST


def _chosen(at: Floats, charged_at: Floats) -> Ints:
    """Which refusals are looked at: those of which it is clear what came before them, and not too many."""
    around = np.concatenate(([-np.inf], charged_at, [np.inf]))
    place = np.searchsorted(around, at)
    clear = np.flatnonzero(np.minimum(around[place] - at, at - around[place - 1]) > _APART)
    rows = clear if len(clear) > 1 else np.arange(len(at))
    return rows if len(rows) <= _MOST else rows[np.linspace(0, len(rows) - 1, _MOST).astype(np.int64)]


def _within(times: Floats, window: Window) -> Bools:
    inside: Bools = (times >= window[0]) & (times < window[1])
    return inside
