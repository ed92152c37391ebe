"""A search from its first step to its answer: saturate, then measure one rate after the other.

Makes no load itself: `play` does, and leaves a run file for each step. A step whose run file is there already is read
instead, so that an interrupted search goes on where it stopped.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from ptubench.analysis.checks import Rule
from ptubench.errors import MeasurementLost, PtubenchError
from ptubench.load.plan import make_plan
from ptubench.ptu.capacity import Capacity
from ptubench.record import Line
from ptubench.search import folder as folders
from ptubench.search import steps
from ptubench.search.curve import Saturated
from ptubench.search.next import Goal, Move, move
from ptubench.search.steps import Lengths
from ptubench.search.tried import Enough, Full, Lost, Spent, Tried, measured, saturation_of, spent_of
from ptubench.units import duration_text
from ptubench.workload.model import Workload

_Read = TypeVar("_Read")
Ended = Literal["completed", "max_time", "max_tokens", "not_saturated", "not_valid", "stopped"]
_DOUBLINGS = 8
_OVERLOAD = 0.05  # share that a saturated deployment refuses: fewer come in a burst below its capacity too
_SHALLOW = 8.0  # calls
_SHORT = 5.0  # seconds that a step without calls at its end may seem too short
_SEEDS = 1000  # steps of neighbouring seeds must not share their luck


class Order(NamedTuple):
    """One step to be played."""

    workload: Workload
    label: str
    enough: Callable[[Line], bool]
    """Told every line of the run; true ends its load early."""


Play = Callable[[Order], Path | None]
"""Makes the run file of a step; None when it was stopped."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Everything that a search goes by."""

    workload: Workload
    """Resolved, an open loop; its rate does not matter where the capacity is known."""
    rules: tuple[Rule, ...]
    beside: tuple[Rule, ...]
    """Rules that can't be judged, and are only shown."""
    goal: Goal
    capacity: Capacity | None
    window: float | None
    """Of each step, in seconds; None for as long as the bucket asks for."""
    max_time: float | None
    """Seconds of load."""
    max_tokens: float | None
    """Prompt and completion tokens."""
    lasting: bool = True
    """Whether each step finds the bucket as the step before left it; a simulated deployment begins anew."""


@dataclass(kw_only=True)
class Found:
    """What a search has found so far."""

    full: list[Full] = field(default_factory=list)
    fill: float = 0.0
    """The rate that saturated."""
    lengths: Lengths | None = None
    tried: list[Tried] = field(default_factory=list)
    last: Move | None = None
    ended: Ended = "completed"
    read: int = 0
    """Steps that were read and not played."""
    cut: list[Spent] = field(default_factory=list)
    """By steps that were interrupted."""
    fault: str | None = None
    """Why the last step is no measurement."""

    @property
    def saturated(self) -> Saturated | None:
        """What saturation told, once it did."""
        return self.full[-1].saturated if self.full else None

    @property
    def spent(self) -> Spent:
        """By all steps, those that were read or interrupted included."""
        parts = [*self.cut, *(full.spent for full in self.full), *(tried.spent for tried in self.tried)]
        return Spent(seconds=sum(p.seconds for p in parts), tokens=sum(p.tokens for p in parts))


def search(asked: Asked, folder: Path, play: Play, watch: Callable[[str], None]) -> Found:
    """Do the whole search.

    Args:
        asked: what is searched.
        folder: of its run files.
        play: makes the run file of a step, in that folder.
        watch: takes a line about each step.

    Raises:
        UsageError: a step would be more calls than a run can hold, or too few for a rule. And whatever `play` raises.
    """
    found = Found(cut=_cut(folder))
    driver = _Driver(asked, folders.done(folder), play, watch, found)
    try:
        found.ended = driver.saturate() or driver.measure()
    except MeasurementLost as lost:  # what the steps before it say stands
        found.ended, found.fault = "not_valid", str(lost)
    found.cut = _cut(folder)
    return found


def _cut(folder: Path) -> list[Spent]:
    spent = []
    for path in folders.cut(folder):
        with contextlib.suppress(PtubenchError):  # so damaged that it does not say
            spent.append(spent_of(path))
    return spent


class _Driver:
    def __init__(
        self,
        asked: Asked,
        done: list[tuple[Workload, Path]],
        play: Play,
        watch: Callable[[str], None],
        found: Found,
    ) -> None:
        self._asked = asked
        self._done = done
        self._play = play
        self._watch = watch
        self._found = found

    def saturate(self) -> Ended | None:
        """Raise the rate until there are 429s; why the search is over, if it is."""
        asked, found = self._asked, self._found
        rate = steps.first_rate(asked.workload, asked.capacity)
        for _ in range(_DOUBLINGS):
            measure = steps.ends_after(rate, asked.window or asked.workload.duration)
            workload = steps.saturating(asked.workload, rate, measure=measure, seed=self._seed())
            if ended := self._too_much(rate, measure):
                return ended
            patience, tokens = self._patience(rate, measure)
            self._watch(
                f"saturating at {rate * 60:,.1f}/min: until the first 429 (at most {_rounded(patience)}) and then for "
                f"{_rounded(measure)}"
            )
            full = self._step(
                Order(workload, "saturate", Enough(patience=patience, measure=measure, tokens=tokens)),
                partial(saturation_of, rate=rate, capacity=asked.capacity),
                # One that an earlier bound cut short did not wait long enough.
                partial(_waited, patience=patience),
            )
            if full is None:
                return "stopped"
            if full.saturated is not None and full.refused < _OVERLOAD:
                full = replace(full, saturated=None, tpm_normalized=None)  # a burst, and no overload
            if full.saturated is not None and asked.lasting:
                full = replace(full, saturated=steps.beside(full.saturated, [told.offered for told in found.full]))
            found.full.append(full)
            if (saturated := full.saturated) is not None and saturated.rate < rate:
                found.fill = rate
                found.lengths = steps.lengths(
                    asked.workload, saturated, fill=rate, limit=asked.goal.limit, window=asked.window
                )
                if asked.window is not None:
                    steps.check_rules(asked.rules, saturated.rate, asked.window)
                each = duration_text(found.lengths.whole)
                bound = "at least " if full.at_least else ""
                self._watch(
                    f"saturated: the capacity is {bound}{saturated.rate * 60:,.1f} calls/min; a step takes {each}, and there "
                    f"are at most {asked.goal.most}"
                )
                return None
            rate *= 2
        return "not_saturated"

    def measure(self) -> Ended:
        """Measure rates until the answer is narrow; why the search is over."""
        asked, found = self._asked, self._found
        saturated, lengths = found.saturated, found.lengths
        if saturated is None or lengths is None:
            raise ValueError("not saturated yet")
        while True:
            found.last = move(found.tried, saturated, asked.goal)
            rate = found.last.rate
            if rate is None:
                return "completed"
            at_rate = steps.judging(lengths, asked.rules, rate)
            if ended := self._too_much(rate, at_rate.whole):
                return ended
            workload = steps.measuring(asked.workload, rate, at_rate, fill=found.fill, seed=self._seed())
            begins = at_rate.fill + at_rate.settle
            planned = make_plan(workload).in_window(begins, at_rate.whole) or 0
            lost = Lost(limit=asked.goal.limit, planned=planned, begins=begins)
            number = len(found.tried) + 1
            if at_rate.window > lengths.window:
                self._watch(
                    f"step {number} measures for {duration_text(at_rate.window)}: a shorter window would hold too few calls"
                )
            tried = self._step(
                Order(workload, f"step-{number}", lost),
                partial(
                    measured,
                    rate=rate,
                    rules=asked.rules,
                    beside=asked.beside,
                    limit=asked.goal.limit,
                    # A shallow bucket runs empty in between.
                    capacity=asked.capacity if saturated.depth >= _SHALLOW else None,
                ),
            )
            if tried is None:
                return "stopped"
            found.tried.append(tried)
            self._watch(_said(number, tried))

    def _seed(self) -> int:
        return self._asked.workload.seed * _SEEDS + len(self._found.full) + len(self._found.tried)

    def _patience(self, rate: float, measure: float) -> tuple[float, float]:
        """Seconds and tokens within which the first 429 must come."""
        asked, spent = self._asked, self._found.spent
        seconds = math.inf if asked.max_time is None else asked.max_time - spent.seconds - measure
        tokens = (
            math.inf if asked.max_tokens is None else asked.max_tokens - spent.tokens - self._tokens(rate) * measure
        )
        return min(steps.PATIENCE, seconds), tokens

    def _step(
        self, order: Order, read: Callable[[Path], _Read], suits: Callable[[_Read], bool] = lambda _: True
    ) -> _Read | None:
        """What a step says whose run file is there already, or is made now; None when it was stopped."""
        for path in folders.find(self._done, order.workload):
            with contextlib.suppress(MeasurementLost):  # it was no measurement: once more
                told = read(path)
                if suits(told):
                    self._found.read += 1
                    return told
        made = self._play(order)
        return None if made is None else read(made)

    def _too_much(self, rate: float, seconds: float) -> Ended | None:
        """Whether a further step would be over a bound."""
        asked, spent = self._asked, self._found.spent
        if asked.max_time is not None and spent.seconds + seconds > asked.max_time:
            return "max_time"
        if asked.max_tokens is not None and spent.tokens + self._tokens(rate) * seconds > asked.max_tokens:
            return "max_tokens"
        return None

    def _tokens(self, rate: float) -> float:
        """Tokens a second that a rate should cost: by what admitted calls have cost, else by the sizes that are asked for."""
        found = self._found
        if not found.full:
            return steps.tokens(self._asked.workload) * rate
        last = found.full[-1]
        if last.saturated is None:
            return last.spent.tokens / max(last.spent.seconds, 1.0) * rate * 60 / float(last.row["rate"])
        metrics, admitted = last.row["metrics"], last.saturated.rate
        # What is refused costs nothing, unless another deployment serves it.
        elsewhere = metrics["requests"]["spilled"] or metrics["requests"]["diverted"]
        per_call = float(metrics["tpm"]["total"] or 0.0) / 60 / admitted
        return per_call * (rate if elsewhere else min(rate, admitted))


def _rounded(seconds: float) -> str:
    return duration_text(max(0, round(seconds)))


def _waited(full: Full, *, patience: float) -> bool:
    return full.saturated is not None or full.spent.seconds > patience - _SHORT


def _said(number: int, tried: Tried) -> str:
    ratio = tried.seen.refused / max(1, tried.seen.offered)
    refused = "lost, ended early" if tried.row["lost"] else f"{ratio:.2%} refused"
    return f"step {number}: {tried.seen.rate * 60:,.1f}/min: {refused}, {'passed' if tried.passed else 'not passed'}"
