"""What a search will take, before anything is sent: by the published capacity, else by the rate that should saturate."""

from typing import Any

from ptubench.errors import UsageError
from ptubench.search import steps
from ptubench.search.curve import Saturated
from ptubench.search.drive import Asked
from ptubench.units import duration_text, number_text

ASSUMED = 60.0
"""Seconds of capacity that a bucket is assumed to hold: Azure does not publish it."""


def check(asked: Asked) -> None:
    """Whether a search can say anything at all.

    Raises:
        UsageError: typed steps are too short for a rule, or saturating alone goes beyond a bound.
    """
    if asked.window is not None and asked.capacity is not None:
        steps.check_rules(asked.rules, _expected(asked), asked.window)
    first = steps.first_rate(asked.workload, asked.capacity)
    least = _after_429(asked)
    most = _said(least + steps.PATIENCE)
    if asked.max_time is not None and asked.max_time < least:
        raise UsageError(
            f"--max-time {duration_text(asked.max_time)}: saturating the deployment alone takes {_said(least)} after the first "
            f"429, and may take {most} in all; give more than that, or a shorter --step"
        )
    tokens = steps.tokens(asked.workload) * first * least
    if asked.max_tokens is not None and asked.max_tokens < tokens:
        raise UsageError(
            f"--max-tokens {number_text(asked.max_tokens)}: saturating the deployment alone takes about "
            f"{number_text(round(tokens))} after the first 429; give more, or a shorter --step"
        )


def forecast(asked: Asked, *, depth: float | None) -> dict[str, Any]:
    """Time, calls and tokens of a search that takes all its steps; most are over earlier.

    Args:
        asked: what is searched.
        depth: seconds of capacity that the bucket holds; None where it is not known, and assumed.

    Returns:
        {depth_s, saturating_s, step_s, seconds, calls, tokens}; tokens are None where the sizes are not known.
    """
    held = ASSUMED if depth is None else depth
    rate, fill = _expected(asked), steps.first_rate(asked.workload, asked.capacity)
    bucket = Saturated(rate=rate, depth=max(1.0, held * rate))
    each = steps.lengths(asked.workload, bucket, fill=fill, limit=asked.goal.limit, window=asked.window)
    each = steps.judging(each, asked.rules, rate)
    saturating = min(steps.PATIENCE, bucket.depth / (fill - rate)) + _after_429(asked)
    of_each = each.fill * fill + (each.settle + each.window) * rate
    calls = saturating * fill + asked.goal.most * of_each
    # What is refused costs nothing.
    served = saturating * rate + asked.goal.most * each.whole * rate + bucket.depth
    size = steps.tokens(asked.workload)
    return {
        "depth_s": held,
        "saturating_s": saturating,
        "step_s": each.whole,
        "seconds": saturating + asked.goal.most * each.whole,
        "calls": round(calls),
        "tokens": round(served * size) if size else None,
    }


def _expected(asked: Asked) -> float:
    """Calls a second that are expected at saturation."""
    return steps.first_rate(asked.workload, asked.capacity) / steps.ABOVE


def _after_429(asked: Asked) -> float:
    first = steps.first_rate(asked.workload, asked.capacity)
    return steps.ends_after(first, asked.window or asked.workload.duration)


def _said(seconds: float) -> str:
    return duration_text(round(seconds + 0.5))
