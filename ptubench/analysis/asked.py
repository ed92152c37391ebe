"""What the workload asked for against what the service counted, of answered requests with synthetic prompts.

Own messages have no asked size, and are left out. The completion is what was asked for, so without reasoning. Means per request, in tokens.
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

    Each pair is over the answered requests of which both are known; `limit` is the mean output limit that was sent,
    whatever became of the call.
    """
    which = requests.ok & synthetic
    result: dict[str, Any] = {}
    for name, (wanted, counted) in _PAIRS.items():
        aim, truth = requests.of_last(wanted), requests.of_last(counted)
        if name == "completion_tokens":
            truth = truth - np.nan_to_num(requests.reasoning_tokens)  # which have an allowance of their own
        both = which & ~np.isnan(aim) & ~np.isnan(truth)
        result[name] = {"asked": _mean(aim[both]), "got": _mean(truth[both])}
    limit = requests.of_last("limit")
    result["limit"] = _mean(limit[~np.isnan(limit)])
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
    limit, length = requests.of_last("limit"), requests.completion_tokens
    known = requests.ok & ~np.isnan(limit) & ~np.isnan(length)
    return float(np.mean(length[known] >= limit[known])) if known.any() else None


def emptied(requests: Requests) -> tuple[int, float | None]:
    """Failed requests whose reasoning used the whole output limit, so that nothing was left to show; their mean limit."""
    limit, length, shown = requests.of_last("limit"), requests.completion_tokens, requests.of_last("content_events")
    which = requests.failed & (length > 0) & (length >= limit) & (shown == 0) & ~(requests.reasoning_tokens < length)
    return int(np.count_nonzero(which)), _mean(limit[which])


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
