"""A workload in words, for the reader of a report.

Knows the workload's frozen data and units; neither numbers that were measured nor layout.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptubench.report.text import clean
from ptubench.sim.options import ASSUMED
from ptubench.stream.apis import reasoning_effort
from ptubench.units import duration_text, number_text, rate_text, share_text
from ptubench.waits import LANE_WAIT
from ptubench.workload.model import ClosedLoop, Fixed, Load, Lognormal, Sizes, Stage, Trace, Workload

_SHOWN_STAGES = 4
_SHOWN_PARAMETERS = 8

WARM_UP = {
    "auto": "auto: decided afterwards, the window begins where throughput and 429 ratio are flat",
    "until_429": "until_429: decided afterwards, the window begins at the first 429",
}
"""Rules of `warmup` that are no duration."""


def sizes(value: Sizes | None) -> str:
    """Tokens: "200", "mean 1,000, p95 3,000", "500 to 1,500"."""
    if value is None:
        return "as recorded"
    if isinstance(value, Fixed):
        return f"{value.tokens:,}"
    if isinstance(value, Lognormal):
        top = f", at most {value.max:,}" if value.max is not None else ""
        return f"mean {number_text(value.mean)}, p95 {number_text(value.p95)}{top}"
    return f"{value.min:,} to {value.max:,}"


def load(value: Load) -> str:
    """When requests are sent."""
    if isinstance(value, ClosedLoop):
        pause = f", {duration_text(value.think_time)} between an answer and the next" if value.think_time else ""
        return f"closed loop, {value.concurrency:,} at once{pause}"
    if isinstance(value, Trace):
        start = f" from {duration_text(value.start)}" if value.start else ""
        speed = f" at {value.speed:g} times its speed" if value.speed != 1 else ""
        inside = ": Poisson inside each minute, sizes at its mean" if value.format == "usage" else ""
        return f"open loop, trace {clean(Path(value.file).name, 40)}{start}{speed}{inside}"
    arrivals = f"{value.arrivals} of shape {value.burstiness:g}" if value.arrivals == "gamma" else value.arrivals
    if len(value.stages) == 1:
        return f"open loop, {arrivals}, {_level(value.stages[0])}"
    shown = ", ".join(f"{_level(stage)} for {duration_text(stage.seconds)}" for stage in value.stages[:_SHOWN_STAGES])
    more = f", {len(value.stages) - _SHOWN_STAGES} more" if len(value.stages) > _SHOWN_STAGES else ""
    return f"open loop, {arrivals}: {shown}{more}"


def parameters(values: Mapping[str, Any], *, reasons: bool, left_out: Sequence[str] = ()) -> str:
    """What every call carries besides its size, the reasoning effort first, and what of it was refused; empty for nothing.

    Args:
        values: the workload's `parameters`.
        reasons: whether the model does, so that no effort is worth a word too.
        left_out: fields that the target refused.
    """
    effort = reasoning_effort(values)
    others = {name: value for name, value in values.items() if name not in ("reasoning_effort", "reasoning", *left_out)}
    parts = [f"reasoning_effort={clean(effort, 20)}"] if effort is not None else []
    parts += ["reasoning_effort not set"] if effort is None and reasons else []
    parts += [
        f"{clean(name, 30)}={clean(_value(value), 30)}" for name, value in list(others.items())[:_SHOWN_PARAMETERS]
    ]
    parts += ["…"] if len(others) > _SHOWN_PARAMETERS else []
    refused = ", ".join(clean(name, 30) for name in left_out[:_SHOWN_PARAMETERS])
    return ", ".join(parts) + (
        f"{'; ' if parts else ''}left out, since the target refuses it: {refused}" if refused else ""
    )


def _value(value: Any) -> str:
    """One value of a parameter; the inside of a larger one is not shown."""
    return "{…}" if isinstance(value, Mapping) else "[…]" if isinstance(value, list) else str(value)


def on_429(workload: Workload, divert_to: Mapping[str, Any] | None = None) -> str:
    """What happens after a 429; `divert_to` is the second target as it was described."""
    how = workload.throttling
    if how.on_429 == "retry":
        most = f", not after a wait over {duration_text(how.max_wait)}" if how.max_wait is not None else ""
        said = f"retry: as the official Python client does, {how.max_retries} times at most{most}"
    elif how.on_429 == "divert":
        said = f"divert: at once to {_second(divert_to or {})}, measured apart"
    else:
        said = "none: counted, not repeated"
    if not isinstance(workload.load, ClosedLoop):
        return said
    after = "" if how.on_429 == "none" else "after a last 429 "
    return f"{said}; {after}the lane waits as long as it asks, else {duration_text(LANE_WAIT)}"


def _second(target: Mapping[str, Any]) -> str:
    """A second target in a few words."""
    said = (
        target.get("deployment"),
        f"at {target['endpoint']}" if target.get("endpoint") else None,
        target.get("type"),
    )
    words = " ".join(clean(part, 60) for part in said if part) or "a second target"
    return f"{words} (simulated)" if target.get("kind") == "simulated" else words


def assumed(simulate: Mapping[str, Any]) -> str:
    """What a simulated deployment assumes because Azure does not publish it, as `--simulate` takes it."""
    names = (*ASSUMED, "spill_slower") if simulate.get("spill") else ASSUMED
    values = {name: simulate[name] for name in names if name in simulate}
    texts = {name: f"{value:g}" if isinstance(value, float) else clean(value, 20) for name, value in values.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items())


def _level(stage: Stage) -> str:
    """One stage's rate, or the ramp between two."""
    first = _amount(stage.value, stage.unit)
    return first if stage.to is None else f"{first} to {_amount(stage.to, stage.unit)}"


def _amount(value: float, unit: str) -> str:
    """A stage's value in its unit."""
    if unit == "utilization":
        return share_text(value)
    return f"{number_text(value * 60)} tokens/min" if unit == "tokens" else rate_text(value)
