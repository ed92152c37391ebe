"""One share of the load on a machine of a Dask cluster: started at most once, fed, watched. Runs inside a Dask worker.

The load itself is made by a process of its own, the same `engine.worker` as on the parent's machine. This module only hands
lines to and fro, through two queues of the scheduler: no connection but Dask's own is opened, TLS included. Secrets come from
this machine's environment, or its credential, and never travel. What is said through the queues is (kind, value):

| to the node | value | from the node | value |
|---|---|---|---|
| `line` | a line for the worker process | `lines` | some bytes of what it said |
| `clock` | – | `clock` | how far the scheduler's clock is ahead of the node's, and the uncertainty |
| `alive` | – | `alive` | lines for the user |
| `end` | – | `end` | the same |

A node ends its load when the scheduler tells that the parent is gone, and when it hears nothing for a while: nobody watches it any
more. So does the worker process, which hears each sign of life too: its Dask worker may hang.
"""

import asyncio
import contextlib
import copy
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import distributed
import msgspec
import numpy as np

from ptubench.engine import clocks
from ptubench.engine.children import Child, end, spawn
from ptubench.engine.keys import Keys, Tell, kept_fresh
from ptubench.engine.messages import Command, Config
from ptubench.engine.reach import aimed, asking
from ptubench.errors import PtubenchError
from ptubench.target.model import Target
from ptubench.target.resolve import request_headers
from ptubench.workload.hashing import renamed

SILENCE = 2.0
"""Seconds without a word after which a node ends its load."""
BEAT = 0.5
"""Seconds between two words at most."""
_AHEAD = 16  # messages that wait for the parent, at most
_HOLDS = 4  # of a queue, at most: each side's, which Dask counts when it is made and when that is awaited

# Of this process, for as long as it lives: what is told twice, whoever repeats it, is begun once.
_begun: set[str] = set()


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is told at first: everything that it needs to be ready. Names of secrets, no secret."""

    token: str
    """Of the run. A node begins a token once."""
    parent: str
    """What the scheduler calls the parent."""
    target: Target
    divert_to: Target | None
    clouds_said: tuple[bool, bool]
    """Of the two targets, whether their cloud was named."""
    files: dict[str, bytes]
    """What the workload and the connections need to read, by names that `Config` uses."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself, or why it can't make load."""

    problem: str | None = None
    """One sentence."""
    code: int = 0
    """The exit code that goes with it."""
    machine: dict[str, Any] = {}
    place: str = ""
    """The same for all who share this machine and its network."""
    numpy: str = ""


def facts() -> Facts:
    """Of the machine that this runs on."""
    machine = {"system": platform.platform(terse=True), "cores": os.cpu_count(), "python": platform.python_version()}
    return Facts(machine=machine, place=_place(), numpy=np.__version__)


def _place() -> str:
    """The boot of a kernel and the network that its processes see; a container has one of its own."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        return f"{boot.read_text('ascii').strip()} {Path('/proc/self/ns/net').readlink()}"
    except OSError:  # no Linux
        return platform.node()


def queue_names(token: str, address: str) -> tuple[str, str]:
    """What the queues of one node are called: to it, from it."""
    return f"ptubench {token} to {address}", f"ptubench {token} from {address}"


async def queues(client: distributed.Client, token: str, address: str) -> tuple[distributed.Queue, distributed.Queue]:
    """The queues of one node, made if they are not there yet."""
    to, back = queue_names(token, address)
    return await distributed.Queue(to, client=client), await distributed.Queue(back, client=client, maxsize=_AHEAD)


def release(queues_: tuple[distributed.Queue, distributed.Queue]) -> None:
    """Let the scheduler forget the queues of a node, whoever else still holds them; only at the very end."""
    for queue in queues_:
        for _ in range(_HOLDS):
            queue.close()


def told_of(action: str, what: Callable[[], Any]) -> Callable[[tuple[float, Any]], None]:
    """What hears the scheduler's events, and does something at those of one kind."""

    def told(event: tuple[float, Any]) -> None:
        _, said = event
        if isinstance(said, dict) and said.get("action") == action:
            what()

    return told


async def begin(told: bytes, dask_worker: distributed.Worker) -> bytes:
    """Start this node's worker process, and all that goes with it; returns `Facts`.

    Args:
        told: a `Task` as msgpack.
        dask_worker: filled in by Dask.
    """
    task = msgspec.msgpack.decode(told, type=Task)
    try:
        if task.token in _begun:
            return _told(Facts(problem="was told twice to begin the same load, and begins it once; run again"))
        _begun.add(task.token)
        said: list[str] = []
        keys = await _keys(task, said.append)
        child = await spawn("ptubench.engine.worker")
    except PtubenchError as exc:
        return _told(Facts(problem=str(exc), code=exc.exit_code))
    except Exception as exc:  # noqa: BLE001 - Dask would log what it was told, and that may be private
        return _told(Facts(problem=f"can't begin ({type(exc).__name__}: {exc}); see its log"))
    serving = asyncio.create_task(_Serving(task, dask_worker, child, keys, said).serve())
    _kept.add(serving)
    serving.add_done_callback(_kept.discard)
    return _told(facts())


_kept: set[asyncio.Task[None]] = set()  # a loop holds its tasks but weakly


def _told(what: Facts) -> bytes:
    return msgspec.msgpack.encode(what)


async def _keys(task: Task, say: Callable[[str], None]) -> list[Keys]:
    """What requests to each target prove themselves with, on this machine."""
    found = []
    for target, cloud_said in zip((task.target, task.divert_to), task.clouds_said, strict=True):
        if target is not None:
            aim = aimed(target, request_headers(target, os.environ), cloud_said=cloud_said, env=os.environ)
            keys = Keys(aim.headers, asking(aim.credential, target), say)
            await keys.renew()
            found.append(keys)
    return found


class _Serving:
    """The worker process of this node, from its start to its end."""

    def __init__(
        self, task: Task, dask_worker: distributed.Worker, child: Child, keys: list[Keys], said: list[str]
    ) -> None:
        self._task = task
        self._dask_worker = dask_worker
        self._child = child
        self._keys = keys
        self._said = said
        self._folder: Path | None = None
        self._configured = False

    async def serve(self) -> None:
        """Hand lines to and fro until either side ends, or the parent is silent."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                worker = self._dask_worker
                client = await stack.enter_async_context(
                    distributed.Client(
                        worker.scheduler.address,
                        asynchronous=True,
                        security=_security(worker.security),
                        set_as_default=False,
                    )
                )
                orphaned = asyncio.Event()
                client.subscribe_topic(self._task.parent, told_of("remove-client", orphaned.set))
                inbox, outbox = await queues(client, self._task.token, worker.address)
                stack.callback(release, (inbox, outbox))
                stack.push_async_callback(end, self._child)  # first of all: a scheduler that is gone is not waited for
                async with kept_fresh(*zip(self._keys, self._tells(), strict=False)):
                    await self._hand_over(client, inbox, outbox, orphaned)
        finally:
            await end(self._child)
            self._clear()

    async def _hand_over(
        self,
        client: distributed.Client,
        inbox: distributed.Queue,
        outbox: distributed.Queue,
        orphaned: asyncio.Event,
    ) -> None:
        clock_asked = asyncio.Event()
        jobs = [
            asyncio.create_task(job)
            for job in (
                self._hear(inbox, clock_asked),
                self._pass_on(client, outbox),
                self._beat(outbox),
                self._tell_clock(client, outbox, clock_asked),
                orphaned.wait(),
            )
        ]
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            # The scheduler is gone, or the parent with its queues: the end.
            with contextlib.suppress(OSError, KeyError):
                for job in done:
                    job.result()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.wait(jobs)

    def _tells(self) -> list[Tell]:
        """How the worker process hears of renewed tokens of each target."""
        return [
            lambda headers: self._renew(Command(headers=headers)),
            lambda headers: self._renew(Command(divert_headers=headers)),
        ]

    def _renew(self, command: Command) -> None:
        if self._configured:  # before, the configuration will have them
            self._child.write(_line(command))

    async def _hear(self, inbox: distributed.Queue, clock_asked: asyncio.Event) -> None:
        """Do as the parent says, until it says no more."""
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    kind, value = await inbox.get()
            except TimeoutError:
                return
            if kind == "end":
                return
            if kind == "clock":
                clock_asked.set()
            elif kind == "line":
                self._child.write(value if self._configured else self._configure(value))
                self._configured = True
            elif self._configured:
                self._child.write(_line(Command()))  # it ends by itself should this Dask worker hang

    def _configure(self, line: bytes) -> bytes:
        """The worker's configuration with what only this machine has: headers, and the files that came along."""
        there = self._unpack()
        config = msgspec.json.decode(line, type=Config)
        first, *second = [keys.headers for keys in self._keys]
        second_target = config.divert_to
        return _line(
            msgspec.structs.replace(
                config,
                workload=renamed(config.workload, lambda file: str(there / file)),
                target=msgspec.structs.replace(config.target, headers=first),
                divert_to=second_target and msgspec.structs.replace(second_target, headers=second[0]),
                ca_file=config.ca_file and str(there / config.ca_file),
                silence=SILENCE,
            )
        )

    def _unpack(self) -> Path:
        """Write the files that came along, if any, where only we may read them."""
        if not self._task.files:
            return Path()
        self._folder = Path(tempfile.mkdtemp(prefix="ptubench-"))
        for name, content in self._task.files.items():
            (self._folder / Path(name).name).write_bytes(content)
        return self._folder

    def _clear(self) -> None:
        """Remove them: a Dask worker that is killed later leaves nothing behind."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def _pass_on(self, client: distributed.Client, outbox: distributed.Queue) -> None:
        """Pass on what the worker process says; once it has said anything, it has read its files."""
        while lines := await self._child.read():
            self._clear()
            await outbox.put(("lines", lines))
        await outbox.put(("end", tuple(await scheduler_clock(client))))
        await asyncio.get_running_loop().create_future()  # the queues are there until the parent has read them

    async def _beat(self, outbox: distributed.Queue) -> None:
        while True:
            said = list(self._said)
            self._said.clear()
            await outbox.put(("alive", said))
            await asyncio.sleep(BEAT)

    async def _tell_clock(
        self, client: distributed.Client, outbox: distributed.Queue, clock_asked: asyncio.Event
    ) -> None:
        while await clock_asked.wait():
            clock_asked.clear()
            await outbox.put(("clock", tuple(await scheduler_clock(client))))


def _security(of_worker: distributed.Security) -> distributed.Security:
    """A worker's TLS settings, for a client: its certificate is its only one where `dask worker --tls-cert` named it."""
    security = copy.copy(of_worker)
    security.tls_client_cert = security.tls_client_cert or security.tls_worker_cert
    security.tls_client_key = security.tls_client_key or security.tls_worker_key
    return security


def scheduler_clock(client: distributed.Client) -> Awaitable[clocks.Reading]:
    """How far the scheduler's clock is ahead of this machine's."""
    ask: Callable[[], Awaitable[float]] = lambda: client.run_on_scheduler(time.perf_counter)  # noqa: E731
    return clocks.read(ask)


def _line(what: Config | Command) -> bytes:
    return msgspec.json.encode(what) + b"\n"
