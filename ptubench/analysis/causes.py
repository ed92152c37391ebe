"""Why a 429 was one: a PTU deployment at its capacity, or another cause.

Decided from status and headers alone, because the body of a PTU deployment's 429 is not published: `x-ratelimit-*`
headers come from Standard deployments and not from PTU; "high demand" on Standard is a 429 whose rate limit had
room; a stream of the Responses API may tell of a rate limit after its 200.
"""

import math
from typing import Any

from ptubench.record import THROTTLED_IN_BAND, Attempt

CAUSES = {
    "capacity": "PTUs at their capacity: no `x-ratelimit-*` headers",
    "quota": "a rate limit: `x-ratelimit-remaining-*` told of less than the call asked for",
    "high_demand": "not the rate limit: `x-ratelimit-remaining-*` told of room for the call",
    "in_band": "told inside a stream that had begun with 200",
    "unknown": "not from a PTU deployment, and without `x-ratelimit-*` headers",
}

LIMITS = frozenset(f"x-ratelimit-{kind}-{of}" for kind in ("limit", "remaining") for of in ("requests", "tokens"))
"""Headers that Standard deployments send and PTU deployments apparently don't."""


def may_be_ptu(target: dict[str, Any] | None) -> bool:
    """Whether a described target can be a PTU deployment: on Azure (or simulated), and not said to be Standard."""
    return target is not None and str(target.get("kind")) in {"azure", "simulated"} and target.get("type") != "standard"


def cause(attempt: Attempt, *, ptu: bool) -> str | None:
    """The cause of a throttled attempt, one of `CAUSES`; None for any other.

    Args:
        attempt: any.
        ptu: whether who answered may be a PTU deployment.
    """
    if attempt.outcome != "throttled":
        return None
    if THROTTLED_IN_BAND in attempt.flags:
        return "in_band"
    requests, tokens = (_remaining(attempt, kind) for kind in ("requests", "tokens"))
    if requests is None and tokens is None:
        return "capacity" if ptu else "unknown"
    # A limit on tokens refuses what would not fit, also while some are left.
    needed = max(1, (attempt.prompt_asked or 0) + (attempt.limit or 0))
    short = (requests is not None and requests < 1) or (tokens is not None and tokens < needed)
    return "quota" if short else "high_demand"


def _remaining(attempt: Attempt, kind: str) -> float | None:
    """What a header says is left; None without one, or where it is no number that can be."""
    try:
        left = float(attempt.headers[f"x-ratelimit-remaining-{kind}"])
    except (KeyError, ValueError):
        return None
    return left if math.isfinite(left) else None
