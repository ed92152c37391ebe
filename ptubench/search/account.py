"""The bucket of one step, as the refusals of it tell: what drains from it while it is full, and how much an idle one holds.

Attempts in, numbers out; knows no files.
"""

from dataclasses import dataclass

import numpy as np

from ptubench.analysis import rates, saturation
from ptubench.analysis.columns import Attempts, Run, select
from ptubench.analysis.ledger import Ledger, ledger, refusals, reserved
from ptubench.analysis.rates import Window
from ptubench.calibrate.drained import Drained, drained
from ptubench.ptu.capacity import Capacity

_EMPTIED = 0.01  # share of the capacity that was idle, from which on it is accounted for
_THROUGHOUT = 0.02  # share by which a bucket that was full all the while may seem to have drained less than it can


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """A bucket that was driven full."""

    rate: float
    """Calls a second that drain."""
    tpm: float | None
    """The same in normalized tokens a minute; None where their weights are not known."""
    depth: float
    """Calls that an idle one holds, roughly."""
    at_least: bool
    """It was not full all the while, so that more may drain than any refusals tell."""


def full(own: Attempts, capacity: Capacity | None, window: Window, *, rate: float, tpm: float | None) -> Full:
    """What a step that saturated tells of the bucket.

    What output limits reserve of it comes and goes; from refusal to refusal that is accounted for.

    Args:
        own: attempts that were sent to the target itself.
        capacity: for the weights of tokens; None where they are not known.
        window: from the first refusal on, in seconds.
        rate: calls a second that were admitted in it.
        tpm: the same in normalized tokens a minute.
    """
    found = None if capacity is None else saturation.between_refusals(own, capacity, window)
    told = None if capacity is None else account(own, capacity)
    drains, at_least = tpm, capacity is not None and found is None
    if found is not None and tpm:
        drains, at_least = _charged(found, per_minute(told) or 0.0)
        rate *= drains / tpm
    seconds = None if capacity is None or not drains else _depth(own, capacity, told, drain=drains / 60)
    depth = _absorbed(own, window[0], drain=rate) if seconds is None else seconds * rate
    return Full(rate=rate, tpm=drains, depth=depth, at_least=at_least)


def own(run: Run) -> Attempts:
    """What was sent to the target itself."""
    return select(run.attempts, ~run.attempts.diverted)


def account(own: Attempts, capacity: Capacity) -> Drained | None:
    """What refusals say with their retry-after; None where they don't, or what was admitted does not agree with it."""
    found = drained(own, capacity.weights, typed=True) if reserved(own) else None
    return found if found is not None and found.by_retry_after is not None and found.agrees else None


def per_minute(found: Drained | None) -> float | None:
    """Normalized tokens a minute by the retry-after of refusals."""
    return None if found is None or found.by_retry_after is None else found.by_retry_after.value * 60


def costs(own: Attempts, capacity: Capacity | None) -> float:
    """How uneven the costs of calls are: their variance by their mean squared."""
    served = select(own, rates.told(own) & own.by_target)
    prompt, completion = served.prompt_tokens, served.completion_tokens
    if capacity is None:
        cost = prompt + completion
    else:
        cost = capacity.normalized(prompt, np.nan_to_num(served.cached_tokens), completion)
    mean = float(cost.mean()) if len(cost) else 0.0
    return float(cost.var()) / mean**2 if mean > 0 else 0.0


def _charged(found: saturation.Sustained, exact: float) -> tuple[float, bool]:
    """Normalized tokens a minute that drain from the full bucket, and whether it may be more.

    Args:
        found: charged between refusals.
        exact: by their retry-after, stretch by stretch; 0 where that is not known.
    """
    if found.highest <= found.overall * (1 + _THROUGHOUT):
        return exact if exact > found.overall * (1 + _EMPTIED) else found.overall, False
    # It ran empty in between, and drained less than it could. Stretches too short to be told apart tell too little.
    return (exact, False) if exact >= found.highest * (1 - _THROUGHOUT) else (found.highest, True)


def _depth(own: Attempts, capacity: Capacity, told: Drained | None, *, drain: float) -> float | None:
    """Seconds of capacity in the bucket at the first refusal, if it was empty before; None where that is not known."""
    if told is not None and told.depth is not None:
        return told.depth.value
    refused = refusals(own)
    if not len(refused.at) or not reserved(own):
        return None
    return max(0.0, ledger(own, capacity.weights).depth(refused, drain=drain, ratio=capacity.weights.output))


def _absorbed(own: Attempts, until: float, *, drain: float) -> float:
    """Calls that are in a bucket at a moment which drains so many a second, and was empty at 0 s and perhaps later."""
    sent = np.sort(own.sent[rates.admitted(own) & own.by_target])
    calls = Ledger(at=sent, prompt=np.ones(len(sent)), completion=np.zeros(len(sent)))
    return float(calls.level(np.array([until]), drain=drain, ratio=0.0)[0])
