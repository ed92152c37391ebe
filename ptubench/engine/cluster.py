"""The machines of a Dask cluster as the load workers of a run: one share each, fed and read through the scheduler.

Shares are begun by `Client.run`, not as tasks: Dask runs a lost worker's tasks again elsewhere, and load that is sent twice is no
measurement. `run` goes to the workers that it names, once, and nothing that it starts is ever moved. The token of a run
keeps even a message that is delivered twice from beginning it twice (`node`).
"""

import asyncio
import contextlib
import hashlib
import importlib.metadata
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import distributed
import msgspec

from ptubench import __version__, record
from ptubench.engine import clocks, node
from ptubench.engine.link import Link, Team
from ptubench.engine.reach import Aim
from ptubench.engine.shard import Shard
from ptubench.errors import Exit, MeasurementLost, TargetRefused, UsageError
from ptubench.secret import shown
from ptubench.target import address
from ptubench.workload.hashing import files, renamed
from ptubench.workload.model import Workload

_CONNECT = 5.0  # seconds for the scheduler to answer
_ANSWER = 15.0  # seconds for a node to answer at all
_BEGIN = 90.0  # seconds for a node to begin: a token may have to be asked for
_CLOCKS = 5.0  # seconds for the scheduler to tell its clock
_CLOSE = 2.0
_MOMENT = 0.3  # seconds in which a node that is there hears that this is the end
_LEAD = 1.0


@contextlib.asynccontextmanager
async def remote(
    on: str,
    workload: Workload,
    aims: Sequence[Aim],
    *,
    ca_file: str | None,
    say: Callable[[str], None],
) -> AsyncIterator[Team]:
    """A load worker on each worker of a Dask cluster, pinned to it.

    Args:
        on: the scheduler's address, `tcp://` or, with the TLS settings of Dask's own configuration, `tls://`.
        workload: whose files go along.
        aims: the target, and the second one if there is one; without their secrets.
        ca_file: more authorities for connections; its content goes along.
        say: takes a line for the user.

    Raises:
        UsageError: no scheduler, no workers, other versions there, or a node without what it needs; it is named.
        TargetRefused: a node got no token.
        MeasurementLost: the nodes do not begin.
    """
    quiet()
    client = await connect(on)
    sending: list[asyncio.Task[None]] = []
    shards: list[Shard] = []
    try:
        async with _answering(2 * _BEGIN):
            names = await _names(client, on, workload.max_in_flight)
            token = secrets.token_hex(8)
            for name in names:
                shard = Shard(name, say)
                await shard.open(client, token)
                # Silence would tell too that its Dask worker is gone, but later.
                client.subscribe_topic(name, node.told_of("remove-worker", shard.gone))
                shards.append(shard)
                sending.append(asyncio.create_task(shard.send()))
            await _begin(client, shards, _task(token, client.id, workload, aims, ca_file))
        _check(shards, aims)
        nodes = f"{len(names)} nodes" if len(names) > 1 else "one node"
        say(f"load is made on {nodes}: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}")
        yield _team(client, shards)
    finally:
        for shard in shards:
            shard.kill()
        if sending:
            _, late = await asyncio.wait(sending, timeout=_CLOSE)
            for task in late:
                task.cancel()
        # The others let go of their queues themselves, at their own end.
        if left := [shard for shard in shards if shard.after is None]:
            await asyncio.sleep(_MOMENT)
            for shard in left:
                shard.close()
        await client.close(timeout=_CLOSE)


@contextlib.asynccontextmanager
async def _answering(seconds: float) -> AsyncIterator[None]:
    """What the scheduler is asked before the load; that it is lost, or takes longer than so many seconds, is one sentence.

    Raises:
        MeasurementLost: it is.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except OSError:  # a TimeoutError is one too
        raise MeasurementLost("the Dask scheduler was lost before the load began; see its log, and run again") from None


def quiet() -> None:
    """Dask's log is for those who run the cluster: what matters here is said in a sentence."""
    for name in ("distributed", *(name for name in logging.root.manager.loggerDict if name.startswith("distributed"))):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


async def connect(on: str) -> distributed.Client:
    """A connection to a scheduler.

    Raises:
        UsageError: there is none, or its TLS settings are not ours.
    """
    client = distributed.Client(on, asynchronous=True, security=_security(on), set_as_default=False, timeout=_CONNECT)
    try:
        async with asyncio.timeout(2 * _CONNECT):  # its own does not hold where somebody listens and says nothing
            return await client
    except BaseException as exc:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2 * _CLOSE):
                await client.close(timeout=_CLOSE)
        if not isinstance(exc, Exception):  # a signal; else whatever answers there, it may be no scheduler at all
            raise
        tls = (
            "see that the certificates of Dask's TLS settings here and there are of one authority and have not expired, "
            if on.startswith("tls://")
            else ""
        )
        raise UsageError(
            f"--on {on}: no connection to a Dask scheduler there ({_first_line(exc)}); {tls}start one with "
            f"`dask scheduler`, correct the address (tls:// where it speaks TLS), or install distributed {distributed.__version__} there too"
        ) from None


def _security(on: str) -> distributed.Security:
    """The TLS settings of Dask's own configuration.

    Raises:
        UsageError: they can't be used, or there are none and the address needs some.
    """
    security, way_out = distributed.Security(), "correct Dask's TLS settings (docs/scaling.md)"
    try:
        context = security.get_connection_args("client")["ssl_context"]
    except (OSError, ValueError) as exc:  # no such file, no certificate in it, an unknown cipher
        raise UsageError(f"--on {on}: Dask's certificates can't be used ({_first_line(exc)}); {way_out}") from None
    if context is None and on.startswith("tls:"):
        raise UsageError(
            f"--on {on}: Dask's configuration lacks the authorities or the client's certificate; {way_out}"
        )
    return security


def _first_line(exc: Exception) -> str:
    """What an exception says, as far as it fits into a sentence."""
    if isinstance(exc, MemoryError):  # the first bytes of HTTP, read as a length
        return "what answers is something else"
    unsaid = "no answer in time" if isinstance(exc, TimeoutError) else type(exc).__name__
    return shown((str(exc).splitlines() or [unsaid])[0], most=200)


async def _names(client: distributed.Client, on: str, most: int) -> list[str]:
    """The addresses of all Dask workers, in an order that does not depend on when they came.

    Raises:
        UsageError: there are none or too many, or ptubench is missing or another one somewhere.
    """
    names = sorted(await client.nthreads())
    if not names:
        raise UsageError(f"--on {on}: the scheduler has no workers; start some, with `dask worker {on}`")
    if len(names) > most:
        raise UsageError(f"--on {on}: {len(names)} nodes are more than `max_in_flight`, {most}; raise it")
    # A function of Python's own: it is there whatever is installed.
    check_versions(await _asked(client, names, _ANSWER, importlib.metadata.version, "ptubench"), __version__)
    return names


async def _asked(
    client: distributed.Client, names: Sequence[str], seconds: float, function: Callable[..., Any], *told: Any
) -> dict[str, Any]:
    """What a function returns on each node; in its place what it raised, and TimeoutError of a node that does not answer in time."""

    async def ask(name: str) -> Any:
        async with asyncio.timeout(seconds):
            return (await client.run(function, *told, workers=[name], on_error="return"))[name]

    return dict(zip(names, await asyncio.gather(*map(ask, names), return_exceptions=True), strict=True))


def check_versions(versions: Mapping[str, Any], ours: str) -> None:
    """Whether all nodes have our version of ptubench: another one may draw other requests.

    Args:
        versions: by node; an exception where none is installed, or no answer came.
        ours: of this machine.

    Raises:
        UsageError: the first node, by name, that has not.
    """
    for name in sorted(versions):
        there = versions[name]
        if isinstance(there, (OSError, KeyError)):  # a TimeoutError is the former
            raise UsageError(f"node {name}: does not answer; see its log, and restart it or take it out of the cluster")
        if isinstance(there, Exception):
            raise UsageError(
                f"node {name}: ptubench is not installed there; install ptubench[dask] {ours} on every node"
            )
        if there != ours:
            raise UsageError(
                f"node {name}: has ptubench {shown(str(there))}, and here is {ours}; install the same version everywhere"
            )


def _task(token: str, parent: str, workload: Workload, aims: Sequence[Aim], ca_file: str | None) -> bytes:
    """What all nodes are told at first. Names of secrets, no secret."""
    first, second = (*aims, None)[:2]
    assert first is not None  # noqa: S101 - a run has a target
    try:
        content = {_travelling(file): Path(file).read_bytes() for file in (*files(workload), *filter(None, [ca_file]))}
    except OSError as exc:
        raise UsageError(f"{shown(str(exc.filename))}: can't be read ({exc.strerror})") from None
    return msgspec.msgpack.encode(
        node.Task(
            token=token,
            parent=parent,
            target=first.target,
            divert_to=None if second is None else second.target,
            clouds_said=(first.cloud_said, second is not None and second.cloud_said),
            files=content,
        )
    )


def _travelling(file: str) -> str:
    """The name of a file on its way: the same for the same file, and no path."""
    return f"{hashlib.sha256(os.fsencode(file)).hexdigest()[:16]}-{Path(file).name}"


def travelling(workload: Workload, ca_file: str | None) -> tuple[Workload, str | None]:
    """A workload and the file with authorities, as nodes are told of them."""
    return renamed(workload, _travelling), ca_file and _travelling(ca_file)


async def _begin(client: distributed.Client, shards: list[Shard], task: bytes) -> None:
    """Start the worker processes.

    Raises:
        UsageError, TargetRefused: a node can't make load; by name, and why.
        MeasurementLost: one did not answer.
    """
    told = await _asked(client, [shard.name for shard in shards], _BEGIN, node.begin, task)
    for shard in shards:
        answer = told[shard.name]
        if not isinstance(answer, bytes):
            raise MeasurementLost(f"node {shard.name}: did not begin ({shown(repr(answer), most=200)}); see its log")
        shard.facts = msgspec.msgpack.decode(answer, type=node.Facts)
        if shard.facts.problem is not None:
            kind = TargetRefused if shard.facts.code == Exit.TARGET else UsageError
            raise kind(f"node {shard.name}: {shard.facts.problem}")


def _check(shards: list[Shard], aims: Sequence[Aim]) -> None:
    """Whether all nodes draw the same requests, and send them to the same target."""
    ours = node.facts()
    for shard in shards:
        if _minor(shard.facts.numpy) != _minor(ours.numpy):
            raise UsageError(
                f"node {shard.name}: has numpy {shown(shard.facts.numpy)}, and here is {ours.numpy}, which may draw other "
                "numbers; install the same version everywhere"
            )
        for aim in aims:
            if address.parse(aim.target.url, "target").loopback and shard.facts.place != ours.place:
                raise UsageError(
                    f"{aim.target.endpoint}: is another machine on node {shard.name} than here; name the target by an "
                    "address that all nodes reach"
                )


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _team(client: distributed.Client, shards: list[Shard]) -> Team:
    async def links() -> list[Link]:
        return list(shards)

    async def nodes() -> tuple[record.Node, ...]:
        async with _answering(_CLOCKS):
            ours = await node.scheduler_clock(client)
        readings = await asyncio.gather(*(shard.compare(ours) for shard in shards), return_exceptions=True)
        found = []
        for number, (shard, reading) in enumerate(zip(shards, readings, strict=True)):
            if isinstance(reading, BaseException):
                raise MeasurementLost(f"node {shard.name}: was lost before the load began; see its log, and run again")
            shard.before = reading
            found.append(
                record.Node(
                    worker=number,
                    name=shard.name,
                    machine=shard.facts.machine,
                    ahead_s=round(reading.ahead, 6),
                    uncertainty_s=round(reading.uncertainty, 6),
                )
            )
        return tuple(found)

    async def drift() -> tuple[float | None, ...]:
        if all(shard.after is None for shard in shards):
            return tuple(None for _ in shards)
        try:
            async with asyncio.timeout(_CLOCKS):
                ours = await node.scheduler_clock(client)
        except (TimeoutError, OSError):
            return tuple(None for _ in shards)
        return tuple(
            None if shard.after is None else round(clocks.between(shard.after, ours).ahead - shard.before.ahead, 6)
            for shard in shards
        )

    return Team(
        size=len(shards), lead=_LEAD, links=links, nodes=nodes, drift=drift, names=tuple(shard.name for shard in shards)
    )
