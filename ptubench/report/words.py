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


def on_429(workload: Workload, divert_to: Mapping[str, Any] | None = None) -> str:
    """What happens after a 429; `divert_to` is the second target as it was described."""
    how = workload.throttling
    if how.on_429 == "retry":
        most = f", not after a wait over {duration_text(how.max_wait)}" if how.max_wait is not None else ""
        return f"retry: as the official Python client does, {how.max_retries} times at most{most}"
    if how.on_429 == "divert":
        return f"divert: at once to {_second(divert_to or {})}, measured apart"
    closed = "; the lane waits before its next request" if isinstance(workload.load, ClosedLoop) else ""
    return f"none: counted, not repeated{closed}"


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
