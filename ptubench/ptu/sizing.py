"""How many PTUs a load needs by the published formula, and which sizes can be deployed.

    normalized tokens a minute = calls a minute · (uncached prompt + cached weight · cached + output ratio · completion)
    raw PTU                    = normalized tokens a minute / TPM per PTU
    deployable                 = the minimum, or above it raw rounded up to the next multiple of the increment

Source: Azure AI documentation, how-to-provisioned-throughput-sizing (2026-09-23); its calculator asks for the *peak* calls
a minute. The formula knows averages of a minute: neither what happens inside one nor what output limits reserve.
Pure arithmetic.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptubench.ptu.capacity import Capacity

Floats = NDArray[np.float64]
Sizes = tuple[int, int]
"""Minimum and increment of a model in a deployment type, in PTU."""

TYPES = {"global": "Global", "datazone": "Data Zone", "regional": "Regional"}
"""Deployment types that are bought in PTU, in the order in which they are shown."""
MOST_SIZES = 8
"""Sizes around a need."""
_ROUNDING = 1e-9
"""A need of exactly 35 PTU must not become 40 because it was computed as 35.000000000000007."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a load asks for, minute by minute: totals of each minute; minutes without calls may be left out."""

    calls: Floats
    prompt: Floats
    """Tokens; cached ones are part of them."""
    cached: Floats
    completion: Floats
    minutes: float
    """How long the load lasts, minutes without calls included; the last one may be a part of a minute."""
    lasts: Floats | None = None
    """Minutes that each of them lasts, where the last one may be a part of a minute; None: all are full."""
    scale: float = 1.0
    """What turns totals into those to be expected: a drawn sample has more or fewer calls than the rate that was asked for."""
    judged: "Demand | None" = None
    """The minutes whose busiest one counts, where these are others: full ones, of one draw. Means and prices are of all."""

    @property
    def peak(self) -> "Demand":
        """The minutes whose busiest one counts."""
        return self.judged or self

    def with_cached(self, share: float) -> "Demand":
        """The same calls with this share of every prompt (0…1) read from the cache."""
        judged = self.judged and self.judged.with_cached(share)
        return replace(self, cached=self.prompt * share, judged=judged)

    @property
    def tokens_per_hour(self) -> float:
        """Prompt and completion, each token counted once."""
        return float(self.prompt.sum() + self.completion.sum()) * self.scale / self.minutes * 60

    def normalized(self, one: Capacity) -> Floats:
        """Normalized tokens of each minute, by the weights of the model."""
        return one.normalized(self.prompt, self.cached, self.completion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Raw PTU, not yet rounded to what can be deployed."""

    mean: float
    peak: float
    """In the busiest minute."""
    headroom: float
    """So that the busiest minute uses no more than the share that was asked for."""


def need(demand: Demand, one: Capacity, *, headroom: float) -> Need:
    """Raw PTU of a load.

    Args:
        demand: minute by minute.
        one: the capacity of a single PTU.
        headroom: the share of its capacity that a deployment may use in the busiest minute (0…1].
    """
    tokens = demand.normalized(one)
    peak = float(demand.peak.normalized(one).max()) / one.tpm
    mean = float(tokens.sum()) * demand.scale / demand.minutes / one.tpm
    return Need(mean=mean, peak=peak, headroom=peak / headroom)


def deployable(raw: float, sizes: Sizes) -> int:
    """The smallest size that can be deployed and is no less than `raw` PTU."""
    minimum, increment = sizes
    return minimum if raw <= minimum else math.ceil(raw / increment - _ROUNDING) * increment


def fits(ptu: int, sizes: Sizes) -> bool:
    """Whether a deployment of exactly that size can be made."""
    return ptu > 0 and deployable(ptu, sizes) == ptu


def neighbours(ptu: int, sizes: Sizes) -> list[int]:
    """The deployable sizes next to one that is none, the smaller first."""
    above = deployable(ptu, sizes)
    below = _below(above, sizes)
    return [above] if below is None else [below, above]


def around(need: Need, sizes: Sizes, *, most: int = MOST_SIZES) -> list[int]:
    """Deployable sizes around a need, ascending: from one under the mean's to one above what the headroom asks for.

    Where these are more than `most`, the increments are widened to whole multiples, and the sizes next to the
    headroom's stay: that is where the answer is. A headroom over 1 can ask for less than the mean; then only those.
    """
    centre = deployable(need.headroom, sizes)
    enough = deployable(need.mean, sizes)
    low, high = _below(enough, sizes) or enough, deployable(centre + 1, sizes)
    near = _between(_below(centre, sizes) or centre, high, sizes)
    far = _between(low, near[0], sizes)[:-1]
    step = max(1, math.ceil(len(far) / (most - len(near))))
    return [*far[::step], *near]


def above(ptu: int, sizes: Sizes, *, count: int) -> list[int]:
    """The next `count` deployable sizes above one, each at least a tenth larger than the one before."""
    found = [ptu]
    for _ in range(count):
        found.append(deployable(max(found[-1] + 1, found[-1] * 1.1), sizes))
    return found[1:]


def between(low: int, high: int, sizes: Sizes, *, most: int = MOST_SIZES) -> list[int]:
    """Deployable sizes strictly between two that are deployable; where there are more than `most`, evenly spread ones."""
    inner = _between(low, high, sizes)[1:-1]
    return inner[:: max(1, math.ceil(len(inner) / most))]


def all_up_to(raw: float, sizes: Sizes) -> list[int]:
    """Every deployable size up to the first that is no less than `raw` PTU."""
    return _between(sizes[0], deployable(raw, sizes), sizes)


def _between(low: int, high: int, sizes: Sizes) -> list[int]:
    """All deployable sizes from `low` to `high`, both deployable."""
    return [low, *range(deployable(low + 1, sizes), high + 1, sizes[1])]


def _below(ptu: int, sizes: Sizes) -> int | None:
    """The deployable size under one; None under the minimum."""
    minimum, increment = sizes
    lower = (ptu - 1) // increment * increment
    return None if ptu <= minimum else max(minimum, lower)
