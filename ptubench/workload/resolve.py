"""What a workload leaves to be found out: relative loads become call rates, the rest of a trace a duration.

Expected sizes stand for the sizes that will be drawn, so the load is met on average. Every cached prefix counts as
a hit, which it is but for the first call of each.
"""

from typing import NamedTuple

import msgspec

from ptubench import distributions
from ptubench.errors import UsageError
from ptubench.ptu.capacity import Capacity
from ptubench.units import duration_text
from ptubench.workload.fields import LONGEST
from ptubench.workload.model import Class, Fixed, Lognormal, OpenLoop, Sizes, Stage, Workload

MOST_CALLS = 10_000_000
"""Of an open loop: arrivals are computed before the run, and the run file holds a line for each."""


class MeanCall(NamedTuple):
    """Expected tokens of a call, over all classes by weight."""

    prompt: float
    cached: float
    completion: float


def resolve(workload: Workload, capacity: Capacity | None, trace_seconds: float | None = None) -> Workload:
    """The workload with all stages in calls a second, and its duration known.

    Args:
        workload: as read.
        capacity: of the deployment, where model and size are known.
        trace_seconds: what is left of the trace from its `start`, at its `speed`; needed where the workload gives
            no duration (`duration` is in `Workload.pending`).

    Raises:
        UsageError: a load in utilization without the model and size; a warm-up as long as the trace; far too many calls.
    """
    if workload.pending:
        workload = _timed(workload, trace_seconds)
    if isinstance(workload.load, OpenLoop):
        stages = tuple(_in_calls(stage, workload, capacity) for stage in workload.load.stages)
        calls = sum((stage.value + _end(stage)) / 2 * stage.seconds for stage in stages)
        if calls > MOST_CALLS:
            raise UsageError(
                f"{workload.name}: the load is about {calls:,.0f} calls, more than the {MOST_CALLS:,} that one run "
                "can hold; lower `load` or `duration`"
            )
        workload = msgspec.structs.replace(workload, load=msgspec.structs.replace(workload.load, stages=stages))
    return workload


def mean_call(workload: Workload) -> MeanCall:
    """Expected tokens of a call of a workload whose classes all have sizes."""
    total = sum(kind.weight for kind in workload.classes)
    parts = [(kind.weight / total, _mean_of(kind)) for kind in workload.classes]
    return MeanCall(*(sum(share * call[i] for share, call in parts) for i in range(3)))


def _mean_of(kind: Class) -> MeanCall:
    if kind.prompt is None or kind.completion is None:
        raise ValueError(f"class {kind.name!r} has no sizes")
    cached = kind.cached.tokens if kind.cached else 0
    return MeanCall(
        prompt=distributions.mean(kind.prompt, least=distributions.LEAST_PROMPT + cached),
        cached=float(cached),
        completion=distributions.mean(_within(kind.completion, kind.limit)),
    )


def _within(completion: Sizes, limit: Sizes | None) -> Sizes:
    """The answers as the limit leaves them: longer ones end there."""
    if isinstance(limit, Fixed) and isinstance(completion, Lognormal):
        return msgspec.structs.replace(completion, max=min(limit.tokens, completion.max or limit.tokens))
    return completion


def _in_calls(stage: Stage, workload: Workload, capacity: Capacity | None) -> Stage:
    """The same stage in calls a second."""
    if stage.unit == "rate":
        return stage
    call = mean_call(workload)
    if stage.unit == "tokens":
        per_unit = 1 / (call.prompt + call.completion)
    elif capacity is not None:
        per_unit = capacity.per_second / capacity.normalized(*call)
    else:
        raise UsageError(
            f"{workload.name}: load.utilization needs the model and size: give --model and --ptu, or "
            "`target: {model, ptu}`, with `ratio` and `tpm_per_ptu` for a model that the catalogue doesn't know; for a Standard "
            "deployment, which has no PTU, write `rate` or `tokens_per_minute`"
        )
    end = None if stage.to is None else stage.to * per_unit
    return Stage(value=stage.value * per_unit, to=end, seconds=stage.seconds)


def _end(stage: Stage) -> float:
    return stage.value if stage.to is None else stage.to


def _timed(workload: Workload, trace_seconds: float | None) -> Workload:
    """Duration, and the default warm-up, from what is left of the trace."""
    if trace_seconds is None:
        raise ValueError("a trace without a duration needs trace_seconds")
    if trace_seconds > LONGEST:
        raise UsageError(
            f"{workload.name}: what is left of the trace lasts {duration_text(trace_seconds)}, longer than the 31 days of "
            "a run; give `duration`, or a higher `speed`"
        )
    warmup = min(0.1 * trace_seconds, 60.0) if "warmup" in workload.pending else workload.warmup
    if warmup >= trace_seconds:
        raise UsageError(
            f"{workload.name}: the warm-up of {duration_text(warmup)} is not shorter than the "
            f"{duration_text(round(trace_seconds, 1))} that are left of the trace: nothing would be measured"
        )
    return msgspec.structs.replace(workload, duration=trace_seconds, warmup=warmup, pending=())
