"""What the workload asked for against what the service counted, of answered requests with synthetic prompts.

Own messages have no asked size, and are left out. Means per request, in tokens.
"""

from typing import Any

import numpy as np

from ptubench.analysis.columns import Bools, Floats
from ptubench.analysis.requests import Requests

_PAIRS = {
    "prompt_tokens": ("prompt_asked", "prompt_tokens"),
    "cached_tokens": ("cached_asked", "cached_tokens"),
    "completion_tokens": ("completion_asked", "completion_tokens"),
}


def asked(requests: Requests, synthetic: Bools) -> dict[str, Any]:
    """{prompt_tokens{asked, got}, cached_tokens{…}, completion_tokens{…}, limit}; None where nothing was told.

    Each pair is over the requests of which both are known; `limit` is the mean output limit that was sent.
    """
    which = requests.ok & synthetic
    result: dict[str, Any] = {}
    for name, (wanted, counted) in _PAIRS.items():
        both = which & ~np.isnan(getattr(requests, wanted)) & ~np.isnan(getattr(requests, counted))
        result[name] = {
            "asked": _mean(getattr(requests, wanted)[both]),
            "got": _mean(getattr(requests, counted)[both]),
        }
    result["limit"] = _mean(requests.limit[requests.ok & ~np.isnan(requests.limit)])
    return result


def shortfall(pair: dict[str, float | None]) -> float | None:
    """1 − got / asked; negative when more came. None where it is not known, or nothing was asked."""
    wanted, got = pair["asked"], pair["got"]
    return None if not wanted or got is None else 1 - got / wanted


def cached_off(figures: dict[str, Any]) -> float | None:
    """How far the cached share of the prompt is from the one asked for, as a share of the prompt."""
    prompt, cached = figures["prompt_tokens"], figures["cached_tokens"]
    if not prompt["asked"] or not prompt["got"] or cached["got"] is None:
        return None
    off: float = abs(cached["got"] / prompt["got"] - cached["asked"] / prompt["asked"])
    return off


def limit_reached(requests: Requests) -> float | None:
    """The share of answered requests with a limit that used all of it; None if there are none."""
    known = requests.ok & ~np.isnan(requests.limit) & ~np.isnan(requests.completion_tokens)
    if not known.any():
        return None
    return float(np.mean(requests.completion_tokens[known] >= requests.limit[known]))


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
