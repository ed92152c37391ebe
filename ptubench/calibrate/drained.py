"""How fast a bucket drains, how deep it is and how completions weigh, from the moments at which it was full.

At a refusal the level is the depth plus what drains until a call is admitted again (`ptu.bucket`). As long as the bucket
does not run empty between them, all refusals lie on one line,

    t + retry after = a + (prompts charged + ratio · completions charged) / R

whose slope is the drain R. Without the retry-after they scatter about it by that much: that is the capacity as it was
admitted; with it, as the service's own arithmetic has it. Where calls differ in their mix of prompt and completion, the two
slopes also tell the ratio. The moment is regressed on the charges, and not the other way, because it is the moment that
is rounded. Times in seconds.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis.columns import Attempts, Floats, Ints
from ptubench.analysis.ledger import PARTS, Ledger, Refusals, fastest, ledger, refusals, reserved
from ptubench.calibrate.fit import Found, Line, line
from ptubench.ptu.catalogue import Weights

FEWEST = 10
"""Refusals, beyond one for each stretch in which the bucket did not run empty."""
TOLD = 0.10
"""Half of its interval, as a share of a figure, up to which a figure is told."""

_PUBLISHED = 0.03  # a ratio that is as near to the published one is taken for it: those are whole numbers
_SAME = 0.005  # seconds between calls that may have come in another order than they were sent
_SHALLOW = 2.0  # seconds: 429s that come sooner are of a bucket that was not empty before
_POINTS = 120  # refusals close to each other say the same
_IDLE = 0.1  # seconds between two refusals that the drain does not explain: more, and the bucket ran empty
_SCATTER = 6 * 1.4826  # median absolute deviations that are as many as 6 standard deviations
_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What the refusals of a run tell; capacities in normalized tokens a second, by `ratio_used`."""

    admitted: Found | None
    """The capacity, by what was charged between refusals; None where these came in stretches that are too short."""
    by_retry_after: Found | None
    """The same with the retry-after of each; None where these were not told."""
    ratio: Found | None
    """What a completion token counts as, where the calls tell."""
    ratio_used: float
    """The published ratio, unless the run contradicts it; or the one that was typed."""
    depth: Found | None
    """Seconds of capacity that fill the bucket, if it was empty when the run began."""
    scatter: float | None
    """Seconds by which the refusals are off their line, with the retry-after of each: rounding, if nobody else called."""
    refusals: int
    """That were looked at."""

    @property
    def agrees(self) -> bool | None:
        """Whether both ways to the capacity come to the same; None where there is one only."""
        other, own = self.by_retry_after, self.admitted
        if other is None or own is None:
            return None
        return own.near(other.value) or (other.low <= own.high and own.low <= other.high)


def drained(attempts: Attempts, weights: Weights, *, typed: bool) -> Drained | None:
    """Read the account of a run by its refusals; None where too few of them came from a bucket that stayed full.

    Where a call had no output limit, neither ratio nor depth is told.

    Args:
        attempts: sent to the target itself.
        weights: of tokens, as published, or as typed.
        typed: whether the ratio is the latter: then it stands, whatever the run says.
    """
    account, refused, limited = ledger(attempts, weights), refusals(attempts), reserved(attempts)
    ratio = weights.output
    told = ~np.isnan(refused.retry_after)
    exact = np.count_nonzero(told) > FEWEST
    refused = refused.select(told) if exact else refused
    rows = _thin(refused.at)
    at, after = refused.at[rows], (refused.retry_after[rows] if exact else None)
    # What was admitted just after a refusal was judged before it: else it would have been refused too.
    judged = at if after is None else at + np.minimum(after, _SAME)
    prompt, completion = account.prompt_until(judged), account.completion_until(judged)
    full_until = at if after is None else at + after
    charges, telling = np.stack((prompt, completion), axis=1), after is not None and limited
    stretch = _stretches(full_until, charges, ratio, exact=after is not None, joint=telling and not typed)
    if stretch is None:
        return None
    found = _ratio(charges, full_until, stretch) if telling else None
    used = ratio if typed or found is None or found.holds(ratio) or found.near(ratio, _PUBLISHED) else found.value
    charged = prompt + used * completion
    # A ratio that was found is as unsure as it is; one that was published is taken for granted.
    weight = float(used * np.ptp(completion) / np.ptp(charged))
    unsure = 0.0 if found is None or used != found.value else found.half * weight
    admitted = _rate(line(charged[:, None], at, stretch), unsure)
    exactly = None if after is None else line(charged[:, None], full_until, stretch)
    by_retry_after = _rate(exactly, unsure)
    if admitted is None and by_retry_after is None:
        return None
    depth = None
    if limited and exactly is not None and by_retry_after is not None:
        depth = _depth(account, refused, by_retry_after, ratio=used, noise=exactly.noise)
    return Drained(
        admitted=admitted,
        by_retry_after=by_retry_after,
        ratio=found,
        ratio_used=used,
        depth=depth,
        scatter=None if exactly is None else exactly.noise,
        refusals=len(at),
    )


def _thin(at: Floats) -> Ints:
    """Row numbers of at most `_POINTS` refusals: the first in each part of the time."""
    if len(at) <= _POINTS:
        return np.arange(len(at))
    part = ((at - at[0]) / max(at[-1] - at[0], 1e-9) * (_POINTS - 1)).astype(np.int64)
    return np.unique(part, return_index=True)[1].astype(np.int64)


def _stretches(
    full_until: Floats, charges: NDArray[np.float64], ratio: float, *, exact: bool, joint: bool
) -> Ints | None:
    """To which stretch without an empty bucket each refusal belongs; None where there are too few for it.

    What is empty can't drain, so that time passes which the charges do not explain. It is looked for from the highest rate
    on; from that within the shorter gaps, in which no bucket runs empty; and with the ratio that the charges themselves tell,
    since a wrong one leaves time unexplained too. The stretches that leave the rate least open stand.

    Args:
        full_until: when each bucket would have been below its depth again.
        charges: for prompts and completions before each refusal.
        ratio: as published.
        exact: whether the retry-after was told, so that short gaps tell a rate.
        joint: whether the charges may tell another ratio.
    """
    weights = np.array([1.0, ratio])
    best: Ints | None = None
    least = math.inf
    for slopes, of_mix in _starts(full_until, charges, weights, exact=exact, joint=joint):
        stretch = _split(full_until, charges, slopes, joint=of_mix) if np.all(slopes > 0) else None
        found = (
            None if stretch is None else line(charges if of_mix else (charges @ weights)[:, None], full_until, stretch)
        )
        if found is None or found.slopes[0] <= 0:
            continue
        # With a ratio of its own the rate is as open as for that mix of calls.
        mix = np.ptp(charges, axis=0) if of_mix else np.ones(1)
        left_open = found.error(mix.tolist()) / float(found.slopes @ mix)
        if left_open < least:
            best, least = stretch, left_open
    return best


def _starts(
    full_until: Floats, charges: NDArray[np.float64], weights: Floats, *, exact: bool, joint: bool
) -> list[tuple[Floats, bool]]:
    """Slopes to begin with, and whether their ratio is one that the charges tell; none where the refusals are too few."""
    charged = charges @ weights
    rate = _highest(full_until, charged)
    if rate is None:
        return []
    starts = [(weights / rate, False)]
    gaps = np.diff(full_until)
    whole, short = np.zeros(len(gaps) + 1, dtype=np.int64), np.concatenate(([0], np.cumsum(gaps > np.median(gaps))))
    for stretch in (whole, short) if exact else ():
        alone = line(charged[:, None], full_until, stretch)
        together = line(charges, full_until, stretch) if joint else None
        starts += [(weights * alone.slopes[0], False)] if alone is not None else []
        starts += [(together.slopes, True)] if together is not None else []
    return starts


def _split(full_until: Floats, charges: NDArray[np.float64], slopes: Floats, *, joint: bool) -> Ints | None:
    """The stretches, from these slopes on, which are found anew with them until nothing changes."""
    stretch: Ints = np.zeros(len(full_until), dtype=np.int64)
    for _ in range(_ROUNDS):
        idle = np.diff(full_until) - np.diff(charges, axis=0) @ slopes
        scatter = float(np.median(np.abs(idle - np.median(idle))))
        before, stretch = stretch, np.concatenate(([0], np.cumsum(idle > max(_IDLE, _SCATTER * scatter))))
        if len(stretch) - len(np.unique(stretch)) < FEWEST:
            return None
        if np.array_equal(before, stretch):
            break
        weights = slopes / slopes[0]
        found = line(charges if joint else (charges @ weights)[:, None], full_until, stretch)
        if found is None or not np.all(found.slopes > 0):
            return None
        slopes = found.slopes if joint else weights * found.slopes[0]
    return stretch


def _highest(full_until: Floats, charged: Floats) -> float | None:
    """Charged a second between any two refusals that are apart, the most: the drain, where the bucket never ran empty."""
    if len(full_until) <= FEWEST:
        return None
    highest = fastest(full_until, charged, least=float(np.ptp(full_until)) / PARTS)
    return highest if highest is not None and highest > 0 else None


def _rate(found: Line | None, unsure: float = 0.0) -> Found | None:
    """1 / slope; None where the interval is too wide to be of use. `unsure` is what else is, as a share of the slope."""
    if found is None:
        return None
    slope = float(found.slopes[0])
    half = float(np.hypot(found.error([1.0]), unsure * slope))
    if slope <= 0 or half > TOLD * slope:
        return None
    return Found(value=1 / slope, low=1 / (slope + half), high=1 / (slope - half))


def _ratio(charges: NDArray[np.float64], full_until: Floats, stretch: Ints) -> Found | None:
    """The ratio of the slopes, where the calls tell them apart."""
    found = line(charges, full_until, stretch)
    if found is None or not np.all(found.slopes > 0):
        return None
    of_prompt, of_completion = (float(slope) for slope in found.slopes)
    ratio = of_completion / of_prompt
    half = found.error([-ratio / of_prompt, 1 / of_prompt])
    return Found(value=ratio, low=ratio - half, high=ratio + half) if half <= TOLD * ratio else None


def _depth(charges: Ledger, refused: Refusals, drain: Found, *, ratio: float, noise: float) -> Found | None:
    """Seconds of capacity that the bucket held at the first refusal, less what had to drain."""
    value, *ends = (charges.depth(refused, drain=rate, ratio=ratio) for rate in (drain.value, drain.low, drain.high))
    around = 2 * noise  # a retry-after is rounded up, and so by half of its step on average
    found = Found(value=value, low=min(value, *ends) - around, high=max(value, *ends) + around)
    return found if value >= _SHALLOW and found.half <= 2 * TOLD else None
