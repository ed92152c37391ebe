"""What a run will offer, from its plan alone: the JSON of a dry run. Nothing here was measured.

Minutes are counted from the start of the run, not on the UTC clock that a run keeps: when it will start is not known yet.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptubench.load.plan import Plan
from ptubench.ptu import prices
from ptubench.ptu.capacity import Capacity
from ptubench.samples import NEEDED
from ptubench.stream.apis import reasoning_effort
from ptubench.workload.model import ClosedLoop, Workload

Floats = NDArray[np.float64]


def preview(
    workload: Workload, plan: Plan, capacity: Capacity | None, *, standard: bool = False, model: str | None = None
) -> dict[str, Any]:
    """Calls, tokens, utilization, sample and cost that the plan leads to; None where it can't be told beforehand.

    In a closed loop nearly nothing can: the answers decide how many calls there are. With a warm-up that is decided
    afterwards, it is not known which of the calls will be measured.

    Args:
        workload: resolved.
        plan: of the same.
        capacity: of the target, where it is known.
        standard: whether the target is billed by the token.
        model: of the target, as it was named.

    Returns:
        offered: requests, calls a minute (mean; in the busiest minute, and which, from 0), requests in the window.
        tokens: sums over the run, and tokens a minute (prompt + completion).
        utilization: shares of the published capacity: with answers as asked for, and with what the output limits reserve.
        sample: requests in the window and which percentiles they support, if all are answered.
        cost: money by list price for a run on a target that is billed by the token, else None.
        reasoning_effort: what the parameters ask for.
    """
    decided = workload.warmup_rule == "fixed"  # else the window begins where the records say, and nobody knows yet
    measured = plan.in_window(workload.warmup, workload.duration) if decided else None
    table = _table(plan)
    tokens = _tokens(workload, plan, table)
    return {
        "offered": _offered(workload, plan, measured),
        "tokens": tokens,
        "utilization": None if capacity is None else _utilization(workload, plan, table, capacity),
        "sample": {
            "expected": measured,
            "percentiles": {name: None if measured is None else measured >= needed for name, needed in NEEDED.items()},
        },
        "cost": _cost(tokens, model) if standard else None,
        "reasoning_effort": reasoning_effort(workload.parameters),
    }


def _table(plan: Plan) -> dict[str, Floats | None]:
    """The columns of the whole plan that are known for each of its requests."""
    names = ("prompt", "cached", "completion", "limit")
    if plan.count is None:
        return dict.fromkeys(names)
    return {name: None if np.isnan(column).any() else column for name, column in plan.whole(*names).items()}


def _offered(workload: Workload, plan: Plan, measured: int | None) -> dict[str, Any]:
    minutes = None if plan.offsets is None else plan.whole_minutes(np.ones(len(plan.offsets)))
    return {
        "requests": plan.count,
        "measured": measured,
        "rpm_mean": None if plan.count is None else plan.count / workload.duration * 60,
        "rpm_peak_minute": None if minutes is None else float(minutes.max()),
        "peak_minute": None if minutes is None else int(minutes.argmax()),
        "lanes": workload.load.concurrency if isinstance(workload.load, ClosedLoop) else None,
        "duration_s": workload.duration,
        "window_s": [workload.warmup if workload.warmup_rule == "fixed" else None, workload.duration],
    }


def _tokens(workload: Workload, plan: Plan, table: dict[str, Floats | None]) -> dict[str, Any]:
    prompt, completion = table["prompt"], table["completion"]
    both = None if prompt is None or completion is None else prompt + completion
    return {
        **{name: None if column is None else int(column.sum()) for name, column in table.items()},
        "tpm_mean": None if both is None else float(both.sum()) / workload.duration * 60,
        "tpm_peak_minute": None if both is None else float(plan.whole_minutes(both).max()),
        "prompts_raised": plan.raised,
    }


def _utilization(workload: Workload, plan: Plan, table: dict[str, Floats | None], capacity: Capacity) -> dict[str, Any]:
    mean, peak = _normalized(workload, plan, table, capacity, "completion")
    reserved_mean, reserved_peak = _normalized(workload, plan, table, capacity, "limit")
    return {
        "mean": _share(mean, capacity),
        "peak_minute": _share(peak, capacity),
        "reserved_mean": _share(reserved_mean, capacity),
        "reserved_peak_minute": _share(reserved_peak, capacity),
        "tpm_normalized": mean,
        "tpm_normalized_peak_minute": peak,
        "capacity_tpm": capacity.tpm,
        "source": capacity.source,
    }


def _normalized(
    workload: Workload, plan: Plan, table: dict[str, Floats | None], capacity: Capacity, output: str
) -> tuple[float | None, float | None]:
    """Normalized tokens a minute, mean and busiest minute, if answers have `output` ("completion" or "limit") tokens."""
    prompt, cached, answer = table["prompt"], table["cached"], table[output]
    if prompt is None or cached is None or answer is None:
        return None, None
    tokens = capacity.normalized(prompt, cached, answer)
    return float(tokens.sum()) / workload.duration * 60, float(plan.whole_minutes(tokens).max())


def _cost(tokens: dict[str, Any], model: str | None) -> dict[str, Any]:
    """{total, at_most, currency, source, why}: with answers as asked for; with every limit used and nothing cached."""
    result: dict[str, Any] = {"total": None, "at_most": None, "currency": prices.CURRENCY, "source": None, "why": None}
    price = None if model is None else prices.find(model)
    if price is None:
        return result | {"why": prices.unknown(model)}
    result["source"] = prices.source(price)
    prompt, cached, completion, limit = (tokens[name] for name in ("prompt", "cached", "completion", "limit"))
    if prompt is None or completion is None:
        return result | {"why": "how many tokens there will be is not known beforehand"}
    if price.cached is None:
        cached = 0  # at the full price
    return result | {
        "total": price.of(prompt, cached or 0, completion),
        "at_most": None if limit is None else price.of(prompt, 0, limit),
    }


def _share(per_minute: float | None, capacity: Capacity) -> float | None:
    return None if per_minute is None else per_minute / capacity.tpm
