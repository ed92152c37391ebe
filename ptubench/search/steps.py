"""The steps of a search as workloads: one that saturates, and those that measure a rate.

Each step offers the workload's own requests at one constant rate. A measuring step fills the bucket first, so that no
idle deployment flatters it, and then waits until the bucket has forgotten that, so that the full one does not either:

    fill, above the capacity | settle at the rate | window at the rate

How long the first two last is told by the saturating step. Knows no files and no target.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from ptubench.analysis import checks
from ptubench.analysis.checks import Rule
from ptubench.errors import UsageError
from ptubench.ptu.capacity import Capacity
from ptubench.search.curve import Saturated, load_at, memory
from ptubench.units import duration_text
from ptubench.workload.model import OpenLoop, Stage, Workload
from ptubench.workload.resolve import mean_call, resolve

PATIENCE = 400.0
"""Seconds that a saturating step waits for the first 429: a bucket of 120 s absorbs 30 % too much for so long."""
ABOVE = 1.3
"""The first saturating rate, as a share of the published capacity."""
FEWEST = 200
"""Calls after the first 429 that tell a capacity."""
REFUSALS = 5.0
"""Refusals that a window at the limit should see."""
LIMIT = 0.01
"""The refused ratio that a search goes by where the workload has no other."""

_MEMORIES = (2.0, 3.0)  # settling, and the window at least: what is left of the full bucket is under a tenth of it
_LONGEST = 7200.0  # seconds to count refusals for: where calls are few, several steps do
_LEAST = 5  # calls of a window: without any, nothing was measured
_CHANCE = 3.0  # standard deviations of a Poisson count
_SURE = 1.5  # fill longer than what was absorbed at the first time, when a burst may have ended it


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Of a measuring step, in seconds."""

    fill: float
    settle: float
    window: float

    @property
    def whole(self) -> float:
        """Of the load."""
        return self.fill + self.settle + self.window


def check(workload: Workload) -> OpenLoop:
    """The open loop of a workload that can be searched.

    Raises:
        UsageError: a closed loop or a trace.
    """
    if isinstance(workload.load, OpenLoop):
        return workload.load
    what = "a trace has its own times" if workload.load.__struct_config__.tag == "trace" else "lanes wait for answers"
    raise UsageError(
        f"{workload.name}: a capacity is searched at constant call rates, and {what}; give the sizes of the calls and a "
        "rate to begin near, such as --rate 45/min"
    )


def first_rate(workload: Workload, capacity: Capacity | None) -> float:
    """Calls a second that should saturate: above the published capacity, or twice the workload's own rate."""
    stages = check(workload).stages
    if capacity is None or not _sized(workload):
        return 2 * max(max(stage.value, stage.to or 0.0) for stage in stages)
    return ABOVE * capacity.per_second / capacity.normalized(*mean_call(workload))


def tokens(workload: Workload) -> float:
    """Expected tokens of a call, prompt and completion; 0 where the sizes are not known before they are sent."""
    if not _sized(workload):
        return 0.0
    call = mean_call(workload)
    return call.prompt + call.completion


def saturating(workload: Workload, rate: float, *, measure: float, seed: int) -> Workload:
    """A step that saturates; it may be ended `measure` seconds after its first 429."""
    seconds = _whole(PATIENCE + ends_after(rate, measure))
    return _constant(workload, (Stage(value=rate, seconds=seconds),), warmup=0.0, rule="until_429", seed=seed)


def measuring(workload: Workload, rate: float, lengths: Lengths, *, fill: float, seed: int) -> Workload:
    """A step that measures `rate`, after a fill at the rate `fill` (calls a second)."""
    stages = (
        Stage(value=fill, seconds=lengths.fill),
        Stage(value=rate, seconds=lengths.settle + lengths.window),
    )
    return _constant(workload, stages, warmup=lengths.fill + lengths.settle, rule="fixed", seed=seed)


def lengths(
    workload: Workload, saturated: Saturated, *, fill: float, limit: float | None, window: float | None
) -> Lengths:
    """How long the steps are.

    Args:
        workload: its duration is the shortest window.
        saturated: as measured.
        fill: calls a second that saturated.
        limit: the refused ratio that is allowed; None where refusals are not what is searched by.
        window: seconds, where they were typed: then the bucket gets no more than so long to settle.
    """
    limit = limit or LIMIT
    load = float(load_at(limit, np.array([saturated.depth]), saturated.times, saturated.costs)[0])
    remembered = memory(load, saturated.depth, saturated.variance) / (load * saturated.rate)
    settle, least = (times * remembered for times in _MEMORIES)
    filling = _SURE * saturated.depth / (fill - saturated.rate) + 2 / saturated.rate
    if window is not None:
        return Lengths(fill=_whole(filling), settle=_whole(min(settle, window)), window=window)
    counting = min(REFUSALS / (limit * load * saturated.rate), _LONGEST)
    longest = max(workload.duration, least, counting)
    return Lengths(fill=_whole(filling), settle=_whole(settle), window=_whole(longest))


def beside(saturated: Saturated, earlier: Sequence[tuple[float, float]]) -> Saturated:
    """The same, with what steps before it that did not saturate had left in the bucket.

    Args:
        saturated: by a bucket that was taken for empty.
        earlier: of each step its rate (calls a second) and its seconds, in their order.
    """
    level = 0.0
    for rate, seconds in earlier:
        level = max(0.0, level + (rate - saturated.rate) * seconds)
    return replace(saturated, depth=saturated.depth + level)


def check_rules(rules: Sequence[Rule], rate: float, window: float) -> None:
    """Whether typed windows are long enough to judge the rules.

    Args:
        rules: of the search.
        rate: calls a second of the highest rate that may pass.
        window: seconds.

    Raises:
        UsageError: one is not.
    """
    for rule in rules:
        needed, expected = checks.calls_needed(rule), round(rate * window)
        if expected < needed:
            raise UsageError(
                f"--step {duration_text(round(window))}: `{rule.text}` needs {needed:,} calls, and a step will measure about "
                f"{expected:,}; give --step {duration_text(_supporting(needed, rate))} or leave --step out, or drop the "
                "rules with --set 'checks=[]'"
            )


def judging(found: Lengths, rules: Sequence[Rule], rate: float) -> Lengths:
    """The same, with a window in which so low a rate (calls a second) still makes calls, and enough for the rules."""
    needed = max(_LEAST, *(checks.calls_needed(rule) for rule in rules), 0)
    return replace(found, window=max(found.window, _supporting(needed, rate)))


def remembers(found: Lengths, saturated: Saturated, limit: float | None) -> str | None:
    """A sentence where typed windows are too short for the bucket; None where they are not."""
    needed = lengths(_MOMENT, saturated, fill=2 * saturated.rate, limit=limit, window=None)
    if found.settle >= needed.settle * 0.99:
        return None
    return (
        f"the bucket needs about {duration_text(_rounded(needed.settle))} to forget that it was full, and gets "
        f"{duration_text(_rounded(found.settle))}: the rate that is found is rather low; leave --step out, or make it longer"
    )


def ends_after(rate: float, measure: float) -> float:
    """Seconds after the first 429 at which a saturating step has seen enough."""
    return max(measure, FEWEST / rate)


def _supporting(needed: int, rate: float) -> float:
    """Seconds in which a rate makes so many calls, with what chance may take and what is refused."""
    return _whole((needed + _CHANCE * needed**0.5) / rate)


def _sized(workload: Workload) -> bool:
    return all(kind.prompt is not None and kind.completion is not None for kind in workload.classes)


def _constant(workload: Workload, stages: tuple[Stage, ...], *, warmup: float, rule: str, seed: int) -> Workload:
    made = msgspec.structs.replace(
        workload,
        load=msgspec.structs.replace(check(workload), stages=stages),
        duration=sum(stage.seconds for stage in stages),
        warmup=warmup,
        warmup_rule=rule,
        seed=seed,
    )
    return resolve(made, None)  # which refuses more calls than a run can hold


def _whole(seconds: float) -> float:
    return float(np.ceil(seconds))


def _rounded(seconds: float) -> float:
    return float(round(seconds / 60) * 60 or round(seconds))


_MOMENT = Workload(name="", classes=(), load=OpenLoop(stages=()), duration=0.0, warmup=0.0)
