"""What a plan asks for, minute by minute: the numbers that the published sizing formula goes by.

Minutes are counted from the start of the load; where its end is no full one, its last 60 seconds are judged as one too. Nothing
here was measured.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ptubench.errors import UsageError
from ptubench.load.plan import Floats, Plan
from ptubench.ptu.sizing import Demand


def demand(plan: Plan, *, prompt_limit: int | None = None) -> tuple[Demand, int]:
    """Calls and tokens of each minute, and how many calls were left out because their prompt is too long.

    Args:
        plan: of an open loop or a trace, with sizes.
        prompt_limit: tokens; longer prompts are answered with 400, and take nothing of the capacity.

    Raises:
        UsageError: a closed loop, own messages, or nothing but prompts that are too long.
    """
    workload = plan.workload
    if plan.offsets is None:
        raise UsageError(
            f"{workload.name}: a closed loop sends as fast as it is answered and needs no certain size; give the rate "
            "of your callers, such as --rate 45/min, or a trace"
        )
    found, too_long = minutes(plan, prompt_limit=prompt_limit)
    if math.isnan(found.prompt.sum() + found.completion.sum()):
        raise UsageError(
            f"{workload.name}: the tokens of own `messages`, or of answers without a length, are not known before they "
            "are sent; give `prompt_tokens` and `completion_tokens` as a run of them measured (asked, got)"
        )
    if not found.calls.any():
        raise UsageError(
            f"{workload.name}: every prompt is over the {prompt_limit or 0:,} tokens that a PTU deployment of this model "
            "takes (it answers 400); shorten them, or choose another model"
        )
    return found, too_long


def minutes(plan: Plan, *, prompt_limit: int | None = None) -> tuple[Demand, int]:
    """The same of any draw, also of one without calls; NaN where tokens are not known."""
    amounts = _amounts(plan, prompt_limit)
    total = _summed(plan, plan.per_minute, amounts)
    lasts = np.clip(total.minutes - np.arange(len(total.calls)), 0.0, 1.0)
    found = replace(total, lasts=lasts, judged=_summed(plan, plan.whole_minutes, amounts))
    return found, int((amounts[0] == 0).sum())


def sliding(plan: Plan, *, prompt_limit: int | None = None) -> Demand:
    """The same over the 60 seconds from each call on, which know nothing of full minutes."""
    return _summed(plan, plan.any_minute, _amounts(plan, prompt_limit))


def _amounts(plan: Plan, prompt_limit: int | None) -> list[Floats]:
    """1 or, for a prompt that is too long, 0; prompt, cached and completion tokens: of each call."""
    tokens = plan.whole("prompt", "cached", "completion")
    kept = ~(tokens["prompt"] > (math.inf if prompt_limit is None else prompt_limit))  # NaN stays
    return [kept.astype(float), *(np.where(kept, column, 0.0) for column in tokens.values())]


def _summed(plan: Plan, over: Callable[[Floats], Floats], amounts: Sequence[Floats]) -> Demand:
    calls, prompt, cached, completion = map(over, amounts)
    duration = max(1.0, plan.workload.duration / 60)
    return Demand(calls=calls, prompt=prompt, cached=cached, completion=completion, minutes=duration)
