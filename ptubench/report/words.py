"""A workload in words, for the reader of a report.

Knows the workload's frozen data and units; neither numbers that were measured nor layout.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptubench.report.text import clean
from ptubench.sim.options import ASSUMED
from ptubench.units import duration_text, number_text, rate_text, share_text
from ptubench.workload.model import ClosedLoop, Fixed, Load, Lognormal, Sizes, Stage, Trace, Workload

_SHOWN_STAGES = 4
_ON_429 = {"none": "counted, not repeated"}


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
        return f"open loop, trace {clean(Path(value.file).name, 40)}{start}{speed}"
    arrivals = f"{value.arrivals} of shape {value.burstiness:g}" if value.arrivals == "gamma" else value.arrivals
    if len(value.stages) == 1:
        return f"open loop, {arrivals}, {_level(value.stages[0])}"
    shown = ", ".join(f"{_level(stage)} for {duration_text(stage.seconds)}" for stage in value.stages[:_SHOWN_STAGES])
    more = f", {len(value.stages) - _SHOWN_STAGES} more" if len(value.stages) > _SHOWN_STAGES else ""
    return f"open loop, {arrivals}: {shown}{more}"


def on_429(workload: Workload) -> str:
    """What happens to a request that was refused."""
    policy = workload.throttling.on_429
    return f"{policy}: {_ON_429[policy]}" if policy in _ON_429 else clean(policy)


def assumed(simulate: Mapping[str, Any]) -> str:
    """What a simulated deployment assumes because Azure does not publish it, as `--simulate` takes it."""
    values = {name: simulate[name] for name in ASSUMED if name in simulate}
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
