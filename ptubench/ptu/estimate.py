"""What the published formula says of a load: the first half of `ptubench size --json`. Pure.

Figures per minute are of the mean and of the busiest minute; raw PTU is before rounding to what can be deployed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ptubench.ptu import sizing
from ptubench.ptu.capacity import Capacity
from ptubench.ptu.sizing import Demand, Need, Sizes


def formula(demand: Demand, one: Capacity, *, headroom: float, sizes: Sizes | None = None) -> dict[str, Any]:
    """The inputs of the calculator, and what it comes to.

    Args:
        demand: minute by minute.
        one: the capacity of a single PTU.
        headroom: the share of its capacity that a deployment may use in the busiest minute.
        sizes: what can be deployed; None where nobody knows.

    Returns:
        mean_rpm, peak_rpm: calls a minute; the mean is that of the rate that was asked for, where one was.
        prompt_tokens, cached_tokens, completion_tokens: means of a call, over all draws; None where no calls were counted.
        cached_share: of the prompt tokens.
        tpm_mean, tpm_peak: normalized tokens a minute.
        raw_mean, raw, raw_headroom: PTU for the mean, for the busiest minute, and for it at the headroom's share.
        ptu: the deployable size for `raw`, as the calculator answers.
        headroom: that share.
    """
    columns = (demand.calls, demand.prompt, demand.cached, demand.completion)
    calls, prompt, cached, completion = (float(column.sum()) for column in columns)
    need = sizing.need(demand, one, headroom=headroom)
    return {
        "mean_rpm": calls * demand.scale / demand.minutes,
        "peak_rpm": float(demand.peak.calls.max()),
        "prompt_tokens": prompt / calls if calls else None,
        "cached_tokens": cached / calls if calls else None,
        "cached_share": cached / prompt if prompt else 0.0,
        "completion_tokens": completion / calls if calls else None,
        "tpm_mean": need.mean * one.tpm,
        "tpm_peak": need.peak * one.tpm,
        "raw_mean": need.mean,
        "raw": need.peak,
        "raw_headroom": need.headroom,
        "ptu": None if sizes is None else sizing.deployable(need.peak, sizes),
        "headroom": headroom,
        "weights": {"input": one.weights.input, "cached": one.weights.cached, "output": one.weights.output},
        "tpm_per_ptu": one.tpm_per_ptu,
        "source": one.source,
    }


def types(need: Need, offered: Mapping[str, Sizes]) -> dict[str, dict[str, int]]:
    """By deployment type: what can be deployed at all, and what the formula comes to there.

    Returns:
        minimum, increment; ptu_mean, ptu, ptu_headroom: the deployable sizes for the three raw figures of `formula`.
    """
    return {
        name: {
            "minimum": sizes[0],
            "increment": sizes[1],
            "ptu_mean": sizing.deployable(need.mean, sizes),
            "ptu": sizing.deployable(need.peak, sizes),
            "ptu_headroom": sizing.deployable(need.headroom, sizes),
        }
        for name, sizes in offered.items()
    }


def cached(
    demand: Demand, one: Capacity, offered: Mapping[str, Sizes], *, headroom: float, measured: float | None
) -> list[dict[str, Any]]:
    """The same load with no prompt tokens cached, as it says, and as they were `measured` (a share): often the largest lever.

    Returns:
        One entry each: source (`none`, `workload`, `measured`), share, raw_headroom, ptu{type: deployable}.
    """
    whole = float(demand.prompt.sum())
    said = float(demand.cached.sum()) / whole if whole else 0.0
    rows: Sequence[tuple[str, float, Demand]] = [("none", 0.0, demand.with_cached(0.0)), ("workload", said, demand)]
    if measured is not None:
        rows = [*rows, ("measured", measured, demand.with_cached(measured))]
    return [_row(source, share, sizing.need(load, one, headroom=headroom), offered) for source, share, load in rows]


def _row(source: str, share: float, need: Need, offered: Mapping[str, Sizes]) -> dict[str, Any]:
    return {
        "source": source,
        "share": share,
        "raw_headroom": need.headroom,
        "ptu": {name: sizing.deployable(need.headroom, sizes) for name, sizes in offered.items()},
    }
