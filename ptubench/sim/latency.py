"""How fast a simulated deployment answers. Pure: the jitter of a call is a function of seed and prompt.

So the same prompt is equally fast in every run with the same seed, whatever else arrives and in whatever order, and
two sizes can be compared on the same calls. None of the figures is published; only the target speed is.
"""

import math
from hashlib import blake2b
from statistics import NormalDist
from typing import NamedTuple

_STANDARD = NormalDist()
_SLOWEST = _STANDARD.inv_cdf(0.01)
"""The standard normal deviate that 99 % exceed."""


class Draw(NamedTuple):
    """The luck of one call: two independent standard normal deviates."""

    first: float
    speed: float


def draw(seed: int, prompt: bytes) -> Draw:
    """The luck of a prompt (its text or a digest of it) under a simulator seed."""
    digest = blake2b(prompt, digest_size=16, key=str(seed).encode()[:64]).digest()
    return Draw(_deviate(digest[:8]), _deviate(digest[8:]))


def chance(seed: int, key: bytes) -> float:
    """A number in (0, 1), uniform over all keys."""
    return _uniform(blake2b(key, digest_size=8, key=str(seed).encode()[:64]).digest())


def first_token(
    uncached: int, level: float, first: float, *, latency: float, prefill: float, load: float, jitter: float
) -> float:
    """Seconds from admission to the first generated token.

    TTFT = (b + u / p) · (1 + g · min(ℓ, 1)) · exp(σ · z), with base latency b, u uncached prompt tokens read at p a
    second, growth g from idle to full, ℓ the bucket level as a share, jitter σ and z standard normal.
    """
    return (latency + uncached / prefill) * (1 + load * min(level, 1.0)) * math.exp(jitter * first)


def per_token(speed: float, *, target_tps: float, jitter: float) -> float:
    """Seconds from one token of a call to the next.

    Speed = v · exp(σ · (z − z₁)), with z₁ = −2.33 the deviate that 99 % of calls exceed: so 99 % of calls are
    faster than the target v. Load does not slow tokens down: admitted calls keep their speed.
    """
    return 1 / (target_tps * math.exp(jitter * (speed - _SLOWEST)))


def _deviate(eight: bytes) -> float:
    return _STANDARD.inv_cdf(_uniform(eight))


def _uniform(eight: bytes) -> float:
    # Half a step off zero: 0 and 1 have no finite deviate.
    return (int.from_bytes(eight, "big") // 2**11 + 0.5) / 2**53
