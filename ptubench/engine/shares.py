"""Which requests of the plan have left a record, and what becomes of the others when their worker is lost.

Bounded: a byte per planned request, or a place per lane.
"""

from typing import NamedTuple

from ptubench.engine.generator import LANE_SPREAD, wait_after
from ptubench.engine.retry import is_last
from ptubench.load.plan import Plan
from ptubench.record import Attempt, Dropped, Line, Lost
from ptubench.workload.model import ClosedLoop

_OF_A_REQUEST = (Attempt, Dropped)


class Missing(NamedTuple):
    """The requests of a lost worker that left no record."""

    due: tuple[Lost, ...]
    """Those that had been due when the loss was noticed: in flight, or over and not yet told of."""
    unsent: int
    """The later ones of the plan, which nobody sends any more."""
    unsent_in_window: int


class _Lane(NamedTuple):
    """What a lane of a closed loop asks next, if all goes well."""

    request: int
    due: float


class Shares:
    """Told every line of a run, knows what each worker still owes."""

    def __init__(self, plan: Plan, workers: int) -> None:
        self._plan = plan
        self._workers = workers
        self._recorded = bytearray(plan.count or 0)
        self._lanes: dict[int, _Lane] = {}

    def add(self, line: Line) -> None:
        """Take one line."""
        if isinstance(line, Attempt) and line.lane is not None:
            self._lanes[line.lane] = self._next(line)
        elif isinstance(line, _OF_A_REQUEST) and line.index < len(self._recorded):
            self._recorded[line.index] = 1

    def lost(self, worker: int, now: float) -> Missing:
        """What a worker owes that was found to be lost `now` seconds after the start of the run."""
        load = self._plan.workload.load
        if isinstance(load, ClosedLoop):
            end = min(now, self._plan.workload.duration)
            lanes = range(worker, load.concurrency, self._workers)
            asking = (self._lanes.get(lane, _Lane(lane, lane * LANE_SPREAD / load.concurrency)) for lane in lanes)
            return Missing(tuple(self._lost(at.request, at.due, worker) for at in asking if at.due < end), 0, 0)
        offsets = self._plan.offsets
        assert offsets is not None  # noqa: S101 - an open loop is planned
        owed = [i for i in range(worker, len(offsets), self._workers) if not self._recorded[i]]
        later = [i for i in owed if offsets[i] > now]
        in_window = sum(offsets[i] >= self._plan.workload.warmup for i in later)
        due_ones = tuple(self._lost(i, float(offsets[i]), worker) for i in owed[: len(owed) - len(later)])
        return Missing(due_ones, len(later), int(in_window))

    def _next(self, attempt: Attempt) -> _Lane:
        workload = self._plan.workload
        assert isinstance(workload.load, ClosedLoop)  # noqa: S101 - only they have lanes
        if not is_last(attempt, workload.throttling):
            return _Lane(attempt.index, float("inf"))  # has left a record, whatever follows
        # Never now: a wait that was given as a date is taken for the usual one.
        wait = wait_after(attempt, float("inf")) + workload.load.think_time
        return _Lane(attempt.index + workload.load.concurrency, (attempt.end or attempt.taken) + wait)

    def _lost(self, index: int, due: float, worker: int) -> Lost:
        name = self._plan.request(index).kind.name
        return Lost(index=index, scheduled=round(due, 6), worker=worker, name=name)
