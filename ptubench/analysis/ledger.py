"""What a deployment was charged, and when: the account that its 429s are read by.

Estimates when calls are sent, corrections at their end (`ptu.bucket`). Times are those of the client, which differ from
the service's by the way there and back: about the same for all, so that it cancels in differences.
"""

from dataclasses import dataclass

import numpy as np

from ptubench.analysis import rates
from ptubench.analysis.columns import Attempts, Bools, Floats, Ints, select
from ptubench.analysis.requests import throttled_at
from ptubench.ptu.catalogue import Weights

PARTS = 20
"""What jitter makes of refusals that are closer than this part of the time is no rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Charges in the order of time; the arrays are of equal length. What comes before an event is known at it."""

    at: Floats
    """Seconds since the start of the run."""
    prompt: Floats
    """Normalized tokens of prompts."""
    completion: Floats
    """Completion tokens, not weighted: the output limit when sent, what is left of it taken back at the end."""

    def prompt_until(self, at: Floats) -> Floats:
        """Charged for prompts up to each moment."""
        return _until(self.at, self.prompt, at)

    def completion_until(self, at: Floats) -> Floats:
        """Charged for completions up to each moment, in tokens."""
        return _until(self.at, self.completion, at)

    def overshoot(self, ratio: float) -> tuple[float, float]:
        """By how much a bucket can be over full, in normalized tokens: the mean charge of a call, and the largest."""
        charges = self.prompt + ratio * self.completion
        charges = charges[charges > 0]
        return (float(charges.mean()), float(charges.max())) if len(charges) else (0.0, 0.0)

    def level(self, at: Floats, *, drain: float, ratio: float) -> Floats:
        """Normalized tokens in the bucket just before each moment, had it been empty at 0 s.

        Reflected at 0: X - min(0, lowest X so far), with X = charged - drained.

        Args:
            at: seconds, in any order.
            drain: normalized tokens a second.
            ratio: what a completion token counts as.
        """
        total = np.cumsum(self.prompt + ratio * self.completion)
        drained = drain * self.at
        after = total - drained
        before = np.concatenate(([0.0], total[:-1])) - drained
        lowest = np.concatenate(([0.0], np.minimum.accumulate(np.minimum(before, after)).clip(max=0.0)))
        place = np.searchsorted(self.at, at)
        now = np.concatenate(([0.0], total))[place] - drain * at
        level: Floats = now - np.minimum(lowest[place], now)
        return level

    def depth(self, refused: "Refusals", *, drain: float, ratio: float) -> float:
        """Seconds of capacity that the bucket held at the first refusal, less what had to drain; had it been empty at 0 s."""
        wait = float(np.nan_to_num(refused.retry_after[0]))
        return float(self.level(refused.at[:1], drain=drain, ratio=ratio)[0]) / drain - wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """When the target refused, in the order of time."""

    at: Floats
    """When the refused calls were sent."""
    retry_after: Floats
    """Seconds; NaN where the answer did not say, as where the service spilled."""

    def select(self, rows: Bools) -> "Refusals":
        """Some of them."""
        return Refusals(at=self.at[rows], retry_after=self.retry_after[rows])


def ledger(attempts: Attempts, weights: Weights) -> Ledger:
    """The charges for calls whose usage was told; cached tokens that nobody told are none."""
    calls = select(attempts, rates.told(attempts) & attempts.by_target)
    cached, completion = (
        np.nan_to_num(calls.cached_tokens).astype(np.float64),
        calls.completion_tokens.astype(np.float64),
    )
    # What is reserved for a call without a limit is not published: its answer stands for it.
    reserved = np.where(np.isnan(calls.limit), completion, calls.limit)
    prompt = weights.input * (calls.prompt_tokens - cached) + weights.cached * cached
    at = np.concatenate((calls.sent, calls.end))
    order = np.argsort(at, kind="stable")
    return Ledger(
        at=at[order],
        prompt=np.concatenate((prompt, np.zeros(len(prompt))))[order],
        completion=np.concatenate((reserved, completion - reserved))[order],
    )


def refusals(attempts: Attempts) -> Refusals:
    """Every refusal by the target itself: its 429s, and what the service spilled instead."""
    found = select(attempts, refused(attempts) & ~attempts.diverted & ~np.isnan(attempts.sent))
    order = np.argsort(found.sent, kind="stable")
    return Refusals(at=found.sent[order], retry_after=np.where(found.spilled, np.nan, found.retry_after)[order])


def refused(attempts: Attempts) -> Bools:
    """Which attempts were refused, with a 429 or by being spilled."""
    return attempts.spilled | ~np.isnan(throttled_at(attempts))


def reserved(attempts: Attempts) -> bool:
    """Whether every admitted call had an output limit: what is reserved for others is not published."""
    return not np.isnan(attempts.limit[rates.admitted(attempts)]).any()


def in_flight(attempts: Attempts, at: Floats) -> Ints:
    """How many admitted calls were under way at each moment."""
    calls = select(attempts, rates.admitted(attempts) & attempts.by_target)
    begun, ended = (np.searchsorted(np.sort(times), at) for times in (calls.sent, calls.end))
    return begun - ended


def fastest(
    full_until: Floats, charged: Floats, *, least: float, unsure: float = 0.0, alike: Ints | None = None
) -> float | None:
    """The most that was charged a second between any two refusals; None where none are far enough apart.

    Args:
        full_until: when the bucket would have been below its depth again after each, in seconds.
        charged: up to each, normalized tokens.
        least: seconds that two of these moments must be apart.
        unsure: seconds by which two of those moments may be further apart.
        alike: a number for each; only refusals with the same are compared.
    """
    spans = full_until[None, :] - full_until[:, None]
    apart = (spans >= least) & (spans > 0)
    if alike is not None:
        apart &= alike[None, :] == alike[:, None]
    charges = charged[None, :] - charged[:, None]
    return float((charges[apart] / (spans[apart] + unsure)).max()) if apart.any() else None


def _until(times: Floats, amounts: Floats, at: Floats) -> Floats:
    total: Floats = np.concatenate(([0.0], np.cumsum(amounts)))[np.searchsorted(times, at, side="right")]
    return total
