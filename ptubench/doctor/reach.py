"""How far what was measured reaches: the share of this machine that a load takes, and the PTUs that it can fill.

A call costs so much and an event costs so much: two loads that were just bearable, one of many tokens and one of few, tell
both. Nothing reaches beyond what was seen. Pure arithmetic; docs/doctor.md has the formulas.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from ptubench.load.plan import Plan
from ptubench.ptu import catalogue
from ptubench.ptu.capacity import Capacity, capacity
from ptubench.ptu.catalogue import Model
from ptubench.workload.model import ClosedLoop

PROMPT, COMPLETION = 1000, 200
"""Tokens of the calls that PTUs are counted in: those of the shipped workload `chat`."""
_REST = 1.0
"""Seconds of an answer beyond its tokens at the published speed, as everywhere where an answer's time is guessed."""
_SPEED = 50.0  # tokens a second of a model that is not in the catalogue
_TOKENS = 200  # of an answer whose length nobody tells
_SPARE_FILES = 64  # descriptors that a worker has open beside its streams


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a load takes of so many workers: 1 is all that they do truthfully."""

    call: Annotated[float, msgspec.Meta(ge=0)]
    """Of one call a second."""
    event: Annotated[float, msgspec.Meta(ge=0)]
    """Of one content event a second."""
    most_calls: Annotated[float, msgspec.Meta(gt=0)]
    """The most calls a second that were seen to be truthful."""
    most_events: Annotated[float, msgspec.Meta(gt=0)]
    """The same of events."""

    def share(self, calls: float, events: float) -> float:
        """What calls and events, both per second, take; more than 1 also for more of either than was seen."""
        return max(calls * self.call + events * self.event, calls / self.most_calls, events / self.most_events)


class Asked(NamedTuple):
    """What a load asks of the machine that makes it, per second; `streams` at once."""

    calls: float
    events: float
    streams: float


def cost(many: tuple[float, float], few: tuple[float, float]) -> Cost:
    """The cost of a call and of an event, by two loads (calls, events a second) that each take all there is.

    It solves calls · call + events · event = 1 for both. Where noise has one load beat the other in both, so that nothing
    positive does, only the most that was seen of either counts.

    Args:
        many: of answers with many tokens.
        few: of answers with few.
    """
    (calls, events), (other_calls, other_events) = many, few
    both = other_calls * events - calls * other_events
    call = (events - other_events) / both if both else -1.0
    event = (other_calls - calls) / both if both else -1.0
    if min(call, event) < 0:
        call = event = 0.0
    return Cost(call=call, event=event, most_calls=max(calls, other_calls), most_events=max(events, other_events))


def ptu_row(model: Model, found: Cost, *, workers: int, files: int | None) -> dict[str, Any]:
    """Up to how many PTUs of a model the machine fills with calls of `chat`, and what these ask of it.

    Args:
        model: of the catalogue.
        found: for these workers.
        workers: how many there are.
        files: that each of them may have open; None for no limit that matters.
    """
    one = capacity(model.name, 1)
    assert one is not None  # noqa: S101 - a model of the catalogue has all that it takes
    calls = _calls(one)
    per_ptu = Asked(calls, calls * COMPLETION, calls * (_REST + COMPLETION / model.target_tps))
    most = 1 / found.share(per_ptu.calls, per_ptu.events)
    by_files = most_streams(workers, files) / per_ptu.streams
    step = model.sizes["global"][1]
    ptu = math.floor(min(most, by_files) / step) * step
    at = {name: round(value * ptu, 1) for name, value in per_ptu._asdict().items()}
    return {"model": model.name, "workers": workers, "ptu": ptu, **at}


def most_streams(workers: int, files: int | None) -> float:
    """How many streams so many workers can have open, each with so many files; None for no limit that matters."""
    return math.inf if files is None else float(workers * max(0, files - _SPARE_FILES))


def _calls(one: Capacity) -> float:
    """Calls of `chat` a second that one PTU takes."""
    return one.per_second / one.normalized(PROMPT, 0, COMPLETION)


def asked(plan: Plan, model: str | None) -> Asked:
    """What a load asks for in its busiest ten seconds, guessed where only its answers will tell.

    A token is an event, and an answer takes a second and its tokens at the model's published speed.
    """
    workload = plan.workload
    known = catalogue.find(model) if model else None
    count = 200 if plan.offsets is None else len(plan.offsets)
    some = [plan.request(index) for index in range(0, count, max(1, count // 200))]
    tokens = float(np.mean([one.completion or one.limit or _TOKENS for one in some])) if some else 0.0
    seconds = _REST + tokens / (known.target_tps if known else _SPEED)
    if isinstance(workload.load, ClosedLoop):
        calls = workload.load.concurrency / (seconds + workload.load.think_time)
    elif plan.offsets is None or not count:
        calls = 0.0
    else:
        span = min(10.0, workload.duration)
        calls = float(np.bincount((plan.offsets / span).astype(int)).max()) / span
    return Asked(calls, calls * tokens if workload.stream else 0.0, calls * seconds)


def share(load: Asked, workers: int, measured: Sequence[tuple[int, Cost]]) -> float | None:
    """What a load takes of so many workers, 1 being all that was measured; None where nothing was.

    Fewer workers than were measured do proportionally less, more do no more; the best that any measurement proves counts.
    """
    bounds = (found.share(load.calls, load.events) * of / min(workers, of) for of, found in measured)
    return min(bounds, default=None)
