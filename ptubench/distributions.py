"""Distributions of sizes: parameters, draws and expected means. Pure arithmetic on tokens; knows no workload beyond `Sizes`.

Every draw is rounded to a whole number, cut to `max` as an application cuts its prompts (which leaves a p95 below
`max` what it was asked to be), and raised to `least`: a prompt has room for its instruction, an answer has a token.
`mean` is the mean of exactly that, so that a load given in tokens a minute and the draws agree.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ptubench.workload.model import Fixed, Lognormal, Sizes, Uniform

LEAST_PROMPT = 32
"""Tokens: message overhead, a code that makes the prompt unique, and the instruction."""
MOST_TOKENS = 10_000_000
"""Of one prompt or answer: more than any model takes."""
LEAST_CACHED = 1024
"""Tokens: Azure caches no shorter prefix (Azure AI documentation, prompt-caching, 2026-08-12)."""

_NORMAL = NormalDist()
_Z95 = _NORMAL.inv_cdf(0.95)
MOST_SPREAD = 3.86
"""The largest p95 / mean that a lognormal can have is exp(z²/2) = 3.868 with z = 1.645, the 95th percentile of the
standard normal; near it the solution is ill-conditioned, so a little less is allowed."""


def lognormal(mean: float, p95: float) -> tuple[float, float]:
    """Mean and standard deviation (mu, sigma) of the logarithm, from the mean and the 95th percentile.

    mean = exp(mu + sigma²/2) and p95 = exp(mu + z·sigma) give sigma²/2 − z·sigma + ln(p95/mean) = 0. Of its two roots the
    smaller is meant; the other (sigma > 1.645) has nearly all of its mass far below the mean.

    Raises:
        ValueError: no lognormal is like that.
    """
    # The slack is for p95 = 3.86 · mean, which floats may put a hair above.
    if not (mean > 0 and 1 < p95 / mean <= MOST_SPREAD * (1 + 1e-9)):
        raise ValueError(
            f"no lognormal has mean {mean:g} and p95 {p95:g}; choose p95 above the mean and at most {MOST_SPREAD} times it"
        )
    sigma = _Z95 - math.sqrt(_Z95**2 - 2 * math.log(p95 / mean))
    return math.log(mean) - sigma**2 / 2, sigma


def mean(sizes: Sizes, *, least: int = 1) -> float:
    """Expected tokens of a draw, after rounding, cutting to `max` and raising to `least`.

    The lognormal's is the closed form of the partial expectation; rounding to the nearest changes it by less than
    0.01 tokens unless the sizes are a handful of tokens.
    """
    match sizes:
        case Fixed(tokens=tokens):
            return float(max(tokens, least))
        case Uniform(min=low, max=high):
            return float(np.arange(low, high + 1).clip(least).mean())
        case Lognormal():
            return _lognormal_mean(sizes, least)


def draw(sizes: Sizes, rng: np.random.Generator, count: int, *, least: int = 1) -> NDArray[np.float64]:
    """`count` sizes in whole tokens, as floats (exact below 2^53)."""
    match sizes:
        case Fixed(tokens=tokens):
            values = np.full(count, float(tokens))
        case Uniform(min=low, max=high):
            values = rng.integers(low, high + 1, count).astype(float)
        case Lognormal(mean=average, p95=p95, max=most):
            mu, sigma = lognormal(average, p95)
            values = np.minimum(np.rint(np.exp(mu + sigma * rng.standard_normal(count))), most or math.inf)
    raised: NDArray[np.float64] = np.maximum(values, least)
    return raised


def _lognormal_mean(sizes: Lognormal, least: int) -> float:
    """E[min(max(X, a), b)] from E[X; X ≤ x] = exp(mu + sigma²/2) · Phi((ln x − mu)/sigma − sigma), Phi the normal CDF."""
    mu, sigma = lognormal(sizes.mean, sizes.p95)
    lower = (math.log(least) - mu) / sigma
    upper = math.inf if sizes.max is None else (math.log(max(sizes.max, least)) - mu) / sigma
    inside = sizes.mean * (_NORMAL.cdf(upper - sigma) - _NORMAL.cdf(lower - sigma))
    above = 0.0 if sizes.max is None else max(sizes.max, least) * (1 - _NORMAL.cdf(upper))
    return least * _NORMAL.cdf(lower) + inside + above
