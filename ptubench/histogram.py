"""Counts by size class, for what is too frequent to keep one by one: gaps between events, loop lag.

Bucket k holds the values in [MIN · BASE^k, MIN · BASE^(k+1)); read back at the bucket's geometric middle,
the relative error is at most sqrt(BASE) − 1 < 1 %. Values below MIN (1 µs) are counted in bucket 0.
"""

import math
from array import array
from collections.abc import Mapping

import numpy as np

MIN = 1e-6
BASE = 1.0198
_SCALE = 1 / math.log(BASE)
_SHIFT = -math.log(MIN) * _SCALE


def bucket(seconds: float) -> int:
    """The bucket of a time in seconds."""
    return int(math.log(seconds) * _SCALE + _SHIFT) if seconds > MIN else 0


def counts(seconds: "array[float]") -> dict[int, int]:
    """How many of these times (`array("d")`) lie in each bucket that has any."""
    times = np.maximum(np.frombuffer(seconds, np.float64), MIN)
    found = np.bincount((np.log(times) * _SCALE + _SHIFT).astype(np.int64).clip(0))
    return {int(index): int(found[index]) for index in np.flatnonzero(found)}


def middle(index: int) -> float:
    """The time in seconds for which bucket `index` stands."""
    return MIN * math.exp((index + 0.5) / _SCALE)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The smallest bucket middle with at least `share` of the counts at or below it; None when empty."""
    total = sum(counts.values())
    if total == 0:
        return None
    rank, seen, index = math.ceil(share * total), 0, 0
    for index in sorted(counts):
        seen += counts[index]
        if seen >= rank:
            break
    return middle(index)
