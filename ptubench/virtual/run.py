"""A whole run on the virtual clock: a workload and a simulated deployment in, the lines of a run file out.

The load generator, its policies and the deployment are those of a real run; only the clock jumps and the network is left
out. Nothing is measured of a client, so the lines have no ticks and the head says `virtual`. The same trial gives the
same lines on any machine.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from ptubench import __version__
from ptubench.analysis.columns import Run
from ptubench.analysis.gather import Gathering
from ptubench.analysis.summary import summary_of
from ptubench.engine.generator import Load, Route, drain, offer
from ptubench.load.plan import Plan, Request, make_plan
from ptubench.record import End, Head, Line
from ptubench.sim import options as sim_options
from ptubench.sim.described import described
from ptubench.sim.options import SimOptions
from ptubench.sim.spillover import Resource
from ptubench.target.model import Target, describe
from ptubench.virtual import clock
from ptubench.virtual.calls import Calls
from ptubench.virtual.transport import VirtualClient
from ptubench.workload.hashing import portable, workload_hash
from ptubench.workload.model import Workload

PLACE = "in this process, without a network"
"""What stands where other runs have a URL."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run on the virtual clock, before it is run."""

    workload: Workload
    """Resolved: loads are rates, and a trace has its duration."""
    options: SimOptions
    """The deployment."""
    plan: Plan | None = None
    """The workload's plan, where it was made before: several trials can share one."""
    salt: str = "virtual"
    """Prompts of another salt have other luck; the same salt and seed have the same at every size."""
    label: str | None = None


def lines(trial: Trial) -> list[Line]:
    """All lines of the run: head, attempts and drops as they ended, end.

    Raises:
        UsageError: the workload's files can't be read, or its second target is not understood.
    """
    found: list[Line] = []
    play(trial, found.append)
    return found


def gathered(trial: Trial) -> Run:
    """The run as columns, without keeping its lines: days of load fit. Raises as `lines`."""
    gathering: list[Gathering] = []

    def take(line: Line) -> None:
        if isinstance(line, Head):
            gathering.append(Gathering(line))
        else:
            gathering[0].add(line)

    play(trial, take)
    return gathering[0].run()


def summary(trial: Trial) -> dict[str, Any]:
    """The summary of the run, as of a run file. Raises as `lines`."""
    return summary_of(gathered(trial))


def play(trial: Trial, sink: Callable[[Line], None], *, enough: Callable[[Line], bool] = lambda _: False) -> None:
    """Run it; the lines go to the sink as they come. Raises as `lines`.

    Args:
        trial: what is run.
        sink: takes every line.
        enough: told each attempt and drop; once it is true, nothing more is offered and the run is complete.
    """
    plan = trial.plan or make_plan(trial.workload)
    second = second_target(trial)
    sink(_head(trial, plan, second))
    sink(clock.run(lambda loop: _run(trial, plan, second, loop, sink=sink, enough=enough)))


def second_target(trial: Trial) -> SimOptions | None:
    """The deployment that takes what is diverted; None unless the policy is `divert`.

    A workload that diverts to a real target is tried with what is assumed of one that serves spillover: a Standard
    deployment of the same model with ample quota, slower (`SimOptions.second`).

    Raises:
        UsageError: the workload's `divert_to: {simulate: …}` is not understood.
    """
    policy = trial.workload.throttling
    if policy.on_429 != "divert":
        return None
    simulate = (policy.divert_to or {}).get("simulate")
    where = f"{trial.workload.name}: throttling.divert_to.simulate"
    if isinstance(simulate, str):
        return sim_options.parse(simulate, where=where)
    return trial.options.second if simulate is None else sim_options.from_mapping(simulate, where=where)


async def _run(
    trial: Trial,
    plan: Plan,
    second: SimOptions | None,
    loop: clock.Loop,
    *,
    sink: Callable[[Line], None],
    enough: Callable[[Line], bool],
) -> End:
    """Offer the load and drain it; the end of the run file."""

    def take(line: Line) -> None:
        sink(line)
        if enough(line):
            load.close()
            offering.cancel()

    workload = trial.workload
    resource = Resource(trial.options, wall=clock.STARTED)
    load = Load(
        plan=plan,
        body=_number,
        client=_client(trial, plan, resource, loop),
        divert=None
        if second is None
        else Route(_client(trial, plan, Resource(second, wall=clock.STARTED), loop), _number),
        sink=take,
        zero=0.0,
        max_in_flight=workload.max_in_flight,
        clock=loop.time,
        wall=loop.wall,
        resolution=0.0,
    )
    offering = asyncio.ensure_future(offer(load))
    await asyncio.wait((offering,))
    load_end = load.now() if offering.cancelled() else workload.duration
    unsent = np.array([]) if plan.offsets is None else plan.offsets[load.taken :]
    if not offering.cancelled():
        offering.result()  # a fault of ours is no end of a run
    await drain(load, workload.drain)
    return End(
        ended="completed",
        load_end=load_end,
        finished=load.now(),
        unsent=len(unsent),
        unsent_in_window=int(np.count_nonzero(unsent >= workload.warmup)),
        simulated=resource.state(load.now()),
    )


def _client(trial: Trial, plan: Plan, resource: Resource, loop: clock.Loop) -> VirtualClient:
    options, workload = resource.first.options, trial.workload
    return VirtualClient(
        resource,
        Calls(plan, options, salt=trial.salt),
        clock=loop.time,
        name=_name(options),
        stream=workload.stream,
        timeouts=workload.timeouts,
    )


def _number(request: Request) -> bytes:
    """The body of a request: a virtual client needs no more."""
    return b"%d" % request.index


def _name(options: SimOptions) -> str:
    return options.deployment or options.model


def _target(options: SimOptions) -> dict[str, Any]:
    unknown = Target(kind="simulated", style="v1", endpoint="", url=PLACE, deployment=_name(options))
    return describe(described(unknown, options))


def _head(trial: Trial, plan: Plan, second: SimOptions | None) -> Head:
    workload = trial.workload
    hashed = workload_hash(workload)
    parts = (hashed, workload.seed, trial.salt, clock.STARTED, trial.options, second)
    return Head(
        tool_version=__version__,
        run_id=blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest(),
        started_at=datetime.fromtimestamp(clock.STARTED, UTC).isoformat(timespec="milliseconds"),
        started_unix=clock.STARTED,
        clock_start=0.0,
        label=trial.label,
        seed=workload.seed,
        salt=trial.salt,
        workload=portable(workload),
        workload_hash=hashed,
        window=(workload.warmup, workload.duration),
        planned=plan.count,
        target=_target(trial.options),
        workers=1,
        machine={},
        network={},
        probe=None,
        divert_to=None if second is None else _target(second),
        clock="virtual",
    )
