"""How fast a bucket drains, how deep it is and how completions weigh, from the moments at which it was full.

At a refusal the level is the depth plus what drains until a call is admitted again (`ptu.bucket`). As long as the bucket
does not run empty between them, all refusals lie on one line,

    t + retry after = a + (prompts charged + ratio · completions charged) / R

whose slope is the drain R. Without the retry-after they scatter about it by that much: that is the capacity as it was
admitted; with it, as the service's own arithmetic has it. Where calls differ in their mix of prompt and completion, the two
slopes also tell the ratio. The moment is regressed on the charges, and not the other way, because it is the moment that
is rounded. Times in seconds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis.columns import Floats, Ints
from ptubench.analysis.fit import Found, Line, line
from ptubench.analysis.ledger import Ledger, Refusals

FEWEST = 10
"""Refusals, beyond one for each stretch in which the bucket did not run empty."""
TOLD = 0.10
"""Half of its interval, as a share of a figure, up to which a figure is told."""

_SHALLOW = 2.0  # seconds: 429s that come sooner are of a bucket that was not empty before
_POINTS = 120  # refusals close to each other say the same
_PART = 20  # a pair of refusals is at least this part of all apart: what jitter makes of closer ones is no rate
_IDLE = 0.1  # seconds between two refusals that the drain does not explain: more, and the bucket ran empty
_SCATTER = 6 * 1.4826  # median absolute deviations that are as many as 6 standard deviations
_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What the refusals of a run tell; capacities in normalized tokens a second, by `ratio_used`."""

    admitted: Found
    """The capacity, by what was charged between refusals."""
    by_retry_after: Found | None
    """The same with the retry-after of each; None where these were not told."""
    ratio: Found | None
    """What a completion token counts as, where the calls tell."""
    ratio_used: float
    """The published ratio, unless the run contradicts it; or the one that was typed."""
    depth: Found | None
    """Seconds of capacity that fill the bucket, if it was empty when the run began."""
    refusals: int
    """That were looked at."""

    @property
    def agrees(self) -> bool | None:
        """Whether both ways to the capacity come to the same; None where there is one only."""
        other, own = self.by_retry_after, self.admitted
        if other is None:
            return None
        return own.near(other.value) or (other.low <= own.high and own.low <= other.high)


def drained(ledger: Ledger, refusals: Refusals, *, ratio: float, typed: bool, limited: bool) -> Drained | None:
    """Read the account of a run by its refusals; None where too few of them came from a bucket that stayed full.

    Args:
        ledger: what was charged.
        refusals: of the same target.
        ratio: as published, or as typed.
        typed: whether the latter: then it stands, whatever the run says.
        limited: whether every call had an output limit; what is reserved for others is not published, so that neither
            ratio nor depth is told.
    """
    told = ~np.isnan(refusals.retry_after)
    exact = np.count_nonzero(told) > FEWEST
    at = refusals.at[told] if exact else refusals.at
    rows = _thin(at)
    at, after = at[rows], (refusals.retry_after[told][rows] if exact else None)
    prompt, completion = ledger.prompt_before(at), ledger.completion_before(at)
    full_until = at if after is None else at + after
    charged = prompt + ratio * completion
    stretch = _stretches(full_until, charged)
    if stretch is None:
        return None
    found = None
    if after is not None and limited:
        found = _ratio(np.stack((prompt, completion), axis=1), full_until, stretch)
    used = ratio if typed or found is None or found.holds(ratio) or found.near(ratio) else found.value
    charged = prompt + used * completion
    # A ratio that was found is as unsure as it is; one that was published is taken for granted.
    weight = float(used * np.ptp(completion) / np.ptp(charged))
    unsure = 0.0 if found is None or used != found.value else found.half * weight
    admitted = _rate(line(charged[:, None], at, stretch), unsure)
    if admitted is None:
        return None
    exactly = None if after is None else line(charged[:, None], full_until, stretch)
    by_retry_after = _rate(exactly, unsure)
    depth = None
    if limited and exactly is not None and by_retry_after is not None:
        first = float(refusals.at[told][0]), float(refusals.retry_after[told][0])
        depth = _depth(ledger, first, by_retry_after, ratio=used, noise=exactly.noise)
    return Drained(
        admitted=admitted,
        by_retry_after=by_retry_after,
        ratio=found,
        ratio_used=used,
        depth=depth,
        refusals=len(at),
    )


def _thin(at: Floats) -> Ints:
    """Row numbers of at most `_POINTS` refusals: the first in each part of the time."""
    if len(at) <= _POINTS:
        return np.arange(len(at))
    part = ((at - at[0]) / max(at[-1] - at[0], 1e-9) * (_POINTS - 1)).astype(np.int64)
    return np.unique(part, return_index=True)[1].astype(np.int64)


def _stretches(full_until: Floats, charged: Floats) -> Ints | None:
    """To which stretch without an empty bucket each refusal belongs; None where there are too few for it.

    What is empty can't drain, so that time passes which the charges do not explain.
    """
    rate = _highest(full_until, charged)
    stretch: Ints = np.zeros(len(full_until), dtype=np.int64)
    for _ in range(_ROUNDS):
        if rate is None:
            return None
        idle = np.diff(full_until) - np.diff(charged) / rate
        usual = float(np.median(idle))
        scatter = float(np.median(np.abs(idle - usual)))
        before, stretch = stretch, np.concatenate(([0], np.cumsum(idle > max(_IDLE, _SCATTER * scatter))))
        if len(stretch) - len(np.unique(stretch)) < FEWEST:
            return None
        if np.array_equal(before, stretch):
            break
        found = _rate(line(charged[:, None], full_until, stretch))
        rate = None if found is None else found.value
    return stretch


def _highest(full_until: Floats, charged: Floats) -> float | None:
    """Charged a second between any two refusals that are apart, the most: the drain, where the bucket never ran empty."""
    if len(full_until) <= FEWEST:
        return None
    spans = full_until[None, :] - full_until[:, None]
    apart = spans > max(float(spans.max()) / _PART, 0.0)
    if not apart.any():
        return None
    highest = float(((charged[None, :] - charged[:, None])[apart] / spans[apart]).max())
    return highest if highest > 0 else None


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


def _depth(ledger: Ledger, first: tuple[float, float], drain: Found, *, ratio: float, noise: float) -> Found | None:
    """Seconds of capacity that the bucket held at the first refusal, less what had to drain."""
    at, after = first

    def seconds(per_second: float) -> float:
        return float(ledger.level(np.array([at]), drain=per_second, ratio=ratio)[0]) / per_second - after

    value, ends = seconds(drain.value), sorted((seconds(drain.low), seconds(drain.high)))
    around = 2 * noise  # a retry-after is rounded up, and so by half of its step on average
    found = Found(value=value, low=min(value, ends[0]) - around, high=max(value, ends[1]) + around)
    return found if value >= _SHALLOW and found.half <= 2 * TOLD else None
