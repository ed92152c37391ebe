"""One run, seen from the parent: start everything, keep the records, end everything.

The parent makes no load. It passes the workers' lines on to the run file and counts them for the live view;
all numbers of the report are computed from the file later, elsewhere.
"""

import asyncio
import contextlib
import math
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from ptubench import __version__, record
from ptubench.engine.crew import Crew
from ptubench.engine.keys import Keys, Tell, kept_fresh
from ptubench.engine.link import Team, local
from ptubench.engine.messages import Command, Config, Destination
from ptubench.engine.probe import Probe
from ptubench.engine.progress import Progress, before
from ptubench.engine.reach import Aim, Reached, reach, simulated_state
from ptubench.engine.stop import Ended, Signals
from ptubench.errors import MeasurementLost, TargetRefused
from ptubench.load.plan import Plan
from ptubench.ptu import catalogue
from ptubench.results import store
from ptubench.target.model import describe
from ptubench.units import duration_text
from ptubench.workload.hashing import portable, workload_hash
from ptubench.workload.model import ClosedLoop, Workload

_CONNECTING = 5.0  # seconds in which the workers are ready, as a rule
_PUNCTUAL = 0.5  # seconds by which a sleep may overshoot
_MAX_WARM = 2000
_WARM_DIVERTED = 0.25  # connections to open to a second target, as a share of those to the first


@dataclass(frozen=True, kw_only=True)
class Order:
    """What `run` is asked to do, all of it resolved."""

    workload: Workload
    plan: Plan
    aim: Aim
    divert_to: Aim | None
    """The second target of `on_429: divert`."""
    salt: str | None
    label: str | None
    place: str | None
    workers: int
    on: str | None = None
    """A Dask scheduler, whose workers make the load instead of processes of this machine."""
    folder: Path
    compress: bool
    ca_file: str | None
    say: Callable[[str], None]
    """Takes one line about what happens before the load."""
    watch: Callable[[Progress], None]
    """Called four times a second while the load runs."""
    enough: Callable[[record.Line], bool] = lambda _: False
    """Told every line of the workers; once it is true, nothing more is offered and the run is complete."""
    abort: Callable[[record.Line], record.Aborted | None] = lambda _: None
    """Told the same; once it names a rule, nothing more is offered and the run is aborted."""
    whole_minute: bool = False
    """Begin so that the window starts on a full UTC minute."""
    opening: tuple[record.Line, ...] = ()
    """What is known besides the head before the load; follows it in the file."""


@dataclass(frozen=True)
class Outcome:
    """Where the run is stored, and how it ended: `stopped` too where a signal came after all its load."""

    file: Path | None
    """None when the run was stopped before its load."""
    ended: Ended


async def run(order: Order) -> Outcome:
    """Do the whole run.

    Raises:
        TargetRefused: the probe call was refused; nothing is stored.
        MeasurementLost: the workers could not start, or the records could not be kept.
        UsageError: the results folder can't be written, or client or proxy can't be used.
    """
    this = asyncio.current_task()
    assert this is not None  # noqa: S101 - a coroutine runs in a task
    signals = Signals(this.cancel)
    with signals.caught():
        try:
            async with contextlib.AsyncExitStack() as stack:
                outcome = await _run(order, signals, stack)
        except asyncio.CancelledError:
            if signals.ended == "completed":
                raise
            return Outcome(None, "stopped")
    if outcome.ended == "completed":  # by its file; a signal came while everything was put away
        return replace(outcome, ended=signals.ended)
    return outcome


async def _run(order: Order, signals: Signals, stack: contextlib.AsyncExitStack) -> Outcome:
    workload = order.workload
    # Early, so that their imports run while the target is probed; their configuration follows.
    team = await stack.enter_async_context(local(order.workers) if order.on is None else _remote(order, order.on))
    order.watch(before(workload, order.plan.count))
    reached, diverted = await _reach(order, stack)
    target = reached.target
    for warning in _warnings(reached, diverted):
        order.say(f"warning: {warning}")
    crew = Crew(await team.links(), order.plan, order.watch, enough=order.enough, abort=order.abort, say=order.say)
    run_id = secrets.token_hex(8)
    salt = order.salt or run_id
    connections = expected_in_flight(workload, order.plan, target.model) / team.size
    to_begin = team.lead + _PUNCTUAL
    if order.whole_minute:
        await _near_the_minute(workload.warmup, _CONNECTING + to_begin, order.say)
    crew.configure(_configs(order, team, reached, diverted, salt=salt, connections=connections))
    async with crew.reading():
        opened = await crew.ready()
        if team.remote and workload.client == "timed":
            _check_ways(team.names, opened, target.url)
        nodes = await team.nodes()  # before the minute is waited for: far away it takes seconds
        if order.whole_minute:
            await _near_the_minute(workload.warmup, to_begin, order.say)
        crew.check()
        file = store.create(order.folder, workload.name, order.label, datetime.now(UTC), compress=order.compress)
        with contextlib.closing(file):
            lead = team.lead + (to_the_minute(time.time() + team.lead + workload.warmup) if order.whole_minute else 0.0)
            zero, unix = time.perf_counter() + lead, time.time() + lead
            head = _head(order, reached, diverted, run_id=run_id, salt=salt, zero=zero, unix=unix)
            head = msgspec.structs.replace(head, workers=team.size, nodes=nodes)
            file.write(b"".join(map(record.encode, (head, *order.opening))))
            file.flush()
            signals.loaded(stop=lambda: _stop(crew, order), abort=crew.abort)
            async with kept_fresh(*([] if team.remote else _telling(crew, reached, diverted))):
                await crew.load(file, zero)
            ended = signals.over()
            finished = time.perf_counter() - zero
            ahead = round(time.time() - unix - finished, 3)
            state = await simulated_state(target) if target.kind == "simulated" else None
            last = crew.end(ended, finished, state, drift=await team.drift())
            last = msgspec.structs.replace(last, wall_ahead_s=ahead)
            if not crew.trouble:
                file.write(record.encode(last))
    if crew.trouble:
        kept = "what was recorded until then can be read with `ptubench report`"
        raise crew.unwritten or MeasurementLost(f"{file.path}: {crew.trouble}; {kept}")
    return Outcome(file.path, last.ended)


async def probe_only(order: Order) -> Probe:
    """The probe call of a run without the run; of a second target too, whose answer is only looked at.

    Raises:
        TargetRefused: a target can't be used, or does not answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        reached, diverted = await _reach(order, stack)
        for which, to in _named(reached, diverted):
            if to.found.failed:
                way_out = "try again, or see how the deployment is; a run would begin all the same"
                raise TargetRefused(f"{which}{to.target.url}: {to.found.warning}; {way_out}")
        return reached.found


def _stop(crew: Crew, order: Order) -> None:
    """Offer nothing more; what is in flight may still end."""
    order.say(
        f"stopped: waiting up to {duration_text(order.workload.drain)} for what is in flight; Ctrl-C again ends it at once"
    )
    crew.stop()


def to_the_minute(unix: float) -> float:
    """Seconds from a moment (since the epoch) to the next full UTC minute; 0 on one."""
    return -round(unix, 3) % 60


async def _near_the_minute(warmup: float, spare: float, say: Callable[[str], None]) -> None:
    """Sleep until a load that begins `spare` seconds later has its window start on a full UTC minute."""
    wait = to_the_minute(time.time() + spare + warmup)
    if wait > _CONNECTING:
        say(f"waiting {wait:.0f} s, so that the window starts on a full UTC minute, as Azure Monitor counts")
    await asyncio.sleep(wait)


async def _reach(order: Order, stack: contextlib.AsyncExitStack) -> tuple[Reached, Reached | None]:
    """The target of a run, and the second one if it has one, ready for load."""
    reached = await reach(order.aim, order.workload, stack, ca_file=order.ca_file, say=order.say)
    if order.divert_to is None:
        return reached, None
    try:
        return reached, await reach(order.divert_to, order.workload, stack, ca_file=order.ca_file, say=order.say)
    except TargetRefused as exc:
        raise TargetRefused(f"throttling.divert_to: {exc}") from None


def _warnings(reached: Reached, diverted: Reached | None) -> tuple[str, ...]:
    """What was found of the targets that does not keep the load from beginning."""
    return tuple(f"{which}{warning}" for which, to in _named(reached, diverted) for warning in to.warnings)


def _named(reached: Reached, diverted: Reached | None) -> list[tuple[str, Reached]]:
    """The targets of a run, each with what a message about it begins with."""
    return [("", reached)] + ([] if diverted is None else [("throttling.divert_to: ", diverted)])


def _remote(order: Order, on: str) -> contextlib.AbstractAsyncContextManager[Team]:
    """Load workers on the machines of a Dask cluster."""
    from ptubench.engine import cluster  # noqa: PLC0415 - an extra

    aims = [order.aim] if order.divert_to is None else [order.aim, order.divert_to]
    return cluster.remote(on, order.workload, aims, ca_file=order.ca_file, say=order.say)


def _check_ways(nodes: tuple[str, ...], opened: list[int], url: str) -> None:
    """Whether each node reaches the target: only the parent's own way has been tried until now."""
    for name, connections in zip(nodes, opened, strict=True):
        if not connections:
            way_out = "see network, proxy and DNS there, or leave the node out"
            raise TargetRefused(f"node {name}: can't open a connection to {url}; {way_out}")


def _configs(
    order: Order, team: Team, reached: Reached, diverted: Reached | None, *, salt: str, connections: float
) -> Iterator[Config]:
    """What each worker is told at first; without secrets, and with files by the names that they travel by, if it is elsewhere."""
    workload, ca_file = order.workload, order.ca_file
    if team.remote:
        from ptubench.engine import cluster  # noqa: PLC0415 - an extra

        workload, ca_file = cluster.travelling(workload, ca_file)
    for number in range(team.size):
        yield Config(
            workload=workload,
            salt=salt,
            worker=number,
            workers=team.size,
            target=_destination(reached, connections, secret=not team.remote),
            divert_to=None
            if diverted is None
            else _destination(diverted, connections * _WARM_DIVERTED, secret=not team.remote),
            ca_file=ca_file,
            max_in_flight=len(range(number, workload.max_in_flight, team.size)),
        )


def _destination(to: Reached, connections: float, *, secret: bool) -> Destination:
    return Destination(
        url=to.target.url,
        api=to.target.api,
        body_model=to.target.body_model,
        limit_field=to.found.limit_field,
        left_out=tuple(to.found.left_out),
        headers=to.keys.headers if secret else {},
        connections=math.ceil(connections),
    )


def _telling(crew: Crew, reached: Reached, diverted: Reached | None) -> list[tuple[Keys, Tell]]:
    """The keys of each target, and how the workers of this machine hear of renewed ones; others keep their own fresh."""
    telling: list[tuple[Keys, Tell]] = [(reached.keys, lambda headers: crew.tell(Command(headers=headers)))]
    if diverted is not None:
        telling.append((diverted.keys, lambda headers: crew.tell(Command(divert_headers=headers))))
    return telling


def expected_in_flight(workload: Workload, plan: Plan, model: str | None) -> int:
    """How many connections to open before the load: Little's law at the busiest ten seconds, or the lanes.

    The answer time is guessed from the published tokens per second (50 where unknown) and a second more; a
    wrong guess only means that some connections open under load.
    """
    if isinstance(workload.load, ClosedLoop):
        return min(workload.load.concurrency, _MAX_WARM)
    if plan.offsets is None or not len(plan.offsets):
        return 1
    span = min(10.0, workload.duration)
    rate = np.bincount((plan.offsets / span).astype(int)).max() / span
    some = range(0, len(plan.offsets), max(1, len(plan.offsets) // 200))
    seconds = expected_seconds(plan, some, model)
    return max(1, min(math.ceil(float(rate) * seconds * 1.25), workload.max_in_flight, _MAX_WARM))


def expected_seconds(plan: Plan, some: range, model: str | None) -> float:
    """How long an answer takes, guessed from some requests: at the published tokens per second, and a second more."""
    tokens = float(np.mean([plan.request(i).completion or plan.request(i).limit or 200 for i in some]))
    known = catalogue.find(model) if model else None
    return 1.0 + tokens / (known.target_tps if known else 50.0)


def _head(
    order: Order, reached: Reached, diverted: Reached | None, *, run_id: str, salt: str, zero: float, unix: float
) -> record.Head:
    workload, target, found = order.workload, reached.target, reached.found
    return record.Head(
        tool_version=__version__,
        run_id=run_id,
        started_at=datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds"),
        started_unix=unix,
        clock_start=zero,
        label=order.label,
        seed=workload.seed,
        salt=salt,
        workload=portable(workload),
        workload_hash=workload_hash(workload),
        window=(workload.warmup, workload.duration),
        planned=order.plan.count,
        target=describe(target),
        workers=order.workers,
        machine={
            "system": platform.platform(terse=True),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        network={**found.network(), "place": order.place},
        probe=found.describe(),
        warnings=_warnings(reached, diverted),
        divert_to=None if diverted is None else describe(diverted.target),
        divert_probe=None if diverted is None else diverted.found.describe(),
    )
