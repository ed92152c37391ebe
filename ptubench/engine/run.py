"""One run, seen from the parent: start everything, keep the records, end everything.

The parent makes no load. It passes the workers' lines on to the run file and counts them for the live view;
all numbers of the report are computed from the file later, elsewhere.
"""

import asyncio
import contextlib
import math
import os
import platform
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import numpy as np

from ptubench import __version__, record
from ptubench.client import auth
from ptubench.client.make import make_client
from ptubench.engine.children import Child, end, spawn
from ptubench.engine.crew import Crew
from ptubench.engine.messages import Config
from ptubench.engine.probe import Probe, probe
from ptubench.engine.progress import Progress
from ptubench.engine.stop import Ended, Signals
from ptubench.errors import MeasurementLost, TargetRefused, UsageError
from ptubench.load.plan import Plan
from ptubench.ptu import catalogue
from ptubench.results import store
from ptubench.target import address
from ptubench.target.model import Target, describe
from ptubench.target.resolve import simulated
from ptubench.workload.hashing import portable, workload_hash
from ptubench.workload.model import ClosedLoop, Workload

_LEAD = 0.1  # seconds between the word to go and t = 0
_MAX_WARM = 2000
_STATE_WAIT, _MOST_STATE = 5.0, 2**20  # seconds and bytes for the simulated deployment's account of itself
_TOKEN_AGAIN = 30.0  # seconds until a token is asked for again that could not be had


@dataclass(frozen=True, kw_only=True)
class Order:
    """What `run` is asked to do, all of it resolved."""

    workload: Workload
    plan: Plan
    target: Target
    headers: dict[str, str]
    """Request headers with the secrets; empty for a token that is asked for later."""
    credential: auth.Credential | None
    salt: str | None
    label: str | None
    place: str | None
    workers: int
    folder: Path
    compress: bool
    ca_file: str | None
    say: Callable[[str], None]
    """Takes one line about what happens before the load."""
    watch: Callable[[Progress], None]
    """Called four times a second while the load runs."""


@dataclass(frozen=True)
class Outcome:
    """Where the run is stored, and how it ended."""

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
                return await _run(order, signals, stack)
        except asyncio.CancelledError:
            if signals.ended == "completed":
                raise
            return Outcome(None, "stopped")


async def _run(order: Order, signals: Signals, stack: contextlib.AsyncExitStack) -> Outcome:
    workload, target = order.workload, order.target
    # Early, so that their imports run while the target is probed; their configuration follows.
    starting = [asyncio.create_task(spawn("ptubench.engine.worker")) for _ in range(order.workers)]
    stack.push_async_callback(_end_all, starting)
    if target.simulate is not None:
        target = await stack.enter_async_context(_simulator(target))
    keys = _Keys(order, target)
    await keys.renew()
    found = await _probe(order, target, keys.headers)
    seen = found.simulated or await _simulated_behind(workload, target)
    if seen is not None:
        target = _seen_simulated(target, seen)
    if found.warning is not None:
        order.say(f"warning: {found.warning}")
    crew = Crew([await task for task in starting], workload, order.plan.count, order.watch)
    run_id = secrets.token_hex(8)
    salt = order.salt or run_id
    connections = math.ceil(expected_in_flight(workload, order.plan, target.model) / order.workers)
    crew.configure(
        Config(
            workload=workload,
            salt=salt,
            worker=number,
            workers=order.workers,
            url=target.url,
            body_model=target.body_model,
            limit_field=found.limit_field,
            headers=keys.headers,
            ca_file=order.ca_file,
            connections=connections,
            max_in_flight=len(range(number, workload.max_in_flight, order.workers)),
        )
        for number in range(order.workers)
    )
    async with crew.reading():
        await crew.ready()
        file = store.create(order.folder, workload.name, order.label, datetime.now(UTC), compress=order.compress)
        with contextlib.closing(file):
            zero, unix = time.perf_counter() + _LEAD, time.time() + _LEAD
            file.write(record.encode(_head(order, target, found, run_id=run_id, salt=salt, zero=zero, unix=unix)))
            file.flush()
            signals.loaded(stop=crew.stop, abort=crew.abort)
            await crew.load(file, zero, keys.renewed)
            finished = time.perf_counter() - zero
            state = await _simulated_state(target) if target.kind == "simulated" else None
            last = crew.end(signals.ended, finished, state)
            if not crew.trouble:
                file.write(record.encode(last))
    if crew.trouble:
        kept = "what was recorded until then can be read with `ptubench report`"
        raise MeasurementLost(f"{file.path}: {crew.trouble}; {kept}")
    return Outcome(file.path, last.ended)


async def probe_only(order: Order) -> Probe:
    """The probe call of a run without the run.

    Raises:
        TargetRefused: the target can't be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        target = order.target
        if target.simulate is not None:
            target = await stack.enter_async_context(_simulator(target))
        keys = _Keys(order, target)
        await keys.renew()
        return await _probe(order, target, keys.headers)


async def _end_all(starting: list[asyncio.Task[Child]]) -> None:
    for task in starting:
        await end(await task)


class _Keys:
    """The request headers of a run; a token among them is renewed before it ends."""

    def __init__(self, order: Order, target: Target) -> None:
        self.headers = order.headers
        self._fixed = order.headers
        self._credential = order.credential
        self._target = target
        self._say = order.say
        self._expires = 0.0
        self._again = 0.0

    async def renewed(self) -> dict[str, str] | None:
        """Like `renew`, under load: no token is no reason to end; the answers will tell."""
        if time.time() < self._again:
            return None
        try:
            return await self.renew()
        except TargetRefused as exc:
            self._say(f"warning: {exc}")
            self._again = time.time() + _TOKEN_AGAIN
            return None

    async def renew(self) -> dict[str, str] | None:
        """Fresh headers, or None while the old ones hold."""
        if self._credential is None or time.time() < self._expires - auth.RENEW_BEFORE:
            return None
        token, self._expires = await auth.bearer(self._credential, self._target)
        self.headers = {**self._fixed, **token}
        return self.headers


@contextlib.asynccontextmanager
async def _simulator(target: Target) -> AsyncIterator[Target]:
    """Start the simulated deployment of this run, and end it afterwards."""
    child = await spawn("ptubench.sim.child", msgspec.json.encode(target.simulate))
    try:
        line = await child.stdout.readline()
        if not line:
            raise MeasurementLost("the simulated deployment did not start")
        said = msgspec.json.decode(line)
        if "error" in said:
            raise UsageError(said["error"])
        yield simulated(target, said["port"])
    finally:
        await end(child)


async def _probe(order: Order, target: Target, headers: dict[str, str]) -> Probe:
    workload = order.workload
    return await probe(
        lambda: make_client(
            workload.client,
            url=target.url,
            headers=headers,
            timeouts=workload.timeouts,
            stream=workload.stream,
            ca_file=order.ca_file,
            env=os.environ,
            max_connections=1,
        ),
        target,
        workload,
    )


def _seen_simulated(target: Target, text: str) -> Target:
    """An endpoint whose answers say that they are simulated is reported so, however it was named."""
    model, _, ptu = text.partition(":")
    known = msgspec.structs.replace(target, kind="simulated", model=target.model or model)
    if known.ptu is None and re.fullmatch(r"[1-9][0-9]{0,8}", ptu):
        known = msgspec.structs.replace(known, ptu=int(ptu), ptu_source="the simulated deployment says so")
    return known


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
    tokens = float(np.mean([plan.request(i).completion or plan.request(i).limit or 200 for i in some]))
    known = catalogue.find(model) if model else None
    seconds = 1.0 + tokens / (known.target_tps if known else 50.0)
    return max(1, min(math.ceil(float(rate) * seconds * 1.25), workload.max_in_flight, _MAX_WARM))


def _head(
    order: Order, target: Target, found: Probe, *, run_id: str, salt: str, zero: float, unix: float
) -> record.Head:
    workload = order.workload
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
        warnings=(found.warning,) if found.warning else (),
    )


async def _simulated_behind(workload: Workload, target: Target) -> str | None:
    """MODEL:PTU of a simulated deployment on this machine behind the user's own client, which shows no headers."""
    if ":" not in workload.client or not address.parse(target.url, "target").loopback:
        return None
    state = await _simulated_state(target) or {}
    return f"{state['model']}:{state['ptu']}" if state.keys() >= {"model", "ptu"} else None


async def _simulated_state(target: Target) -> dict[str, Any] | None:
    """A simulated deployment's own account; None where it gives none that can be read."""
    url = httpx2.URL(target.url).copy_with(path="/simulator/state", query=None)
    said = b""
    try:
        async with (
            asyncio.timeout(_STATE_WAIT),
            httpx2.AsyncClient(trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            async for piece in answer.aiter_bytes():
                said += piece
                if len(said) > _MOST_STATE:
                    return None
        state: dict[str, Any] = msgspec.json.decode(said, type=dict[str, Any])
    except Exception:  # noqa: BLE001 - whatever it answers, a finished run is not lost for it
        return None
    return state
