"""A load worker as the parent sees it, wherever its process is: lines go in, lines come out.

Two kinds exist: `children.Child`, a process of this machine, and `shard.Shard`, one that a Dask worker started on its own.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from ptubench import record
from ptubench.engine.children import end, spawn

_LEAD = 0.1


class Link(Protocol):
    """One load worker."""

    @property
    def name(self) -> str:
        """The machine that it runs on; empty for this one."""

    @property
    def ahead(self) -> float:
        """Seconds by which the worker's clock is ahead of ours."""

    def write(self, line: bytes) -> None:
        """Say a line to it; one that has ended misses nothing."""

    async def read(self) -> bytes:
        """Some of what it said since; empty once it has ended or is lost."""

    def kill(self) -> None:
        """End it at once."""


@dataclass(frozen=True, kw_only=True)
class Team:
    """The load workers of a run. They may still be starting."""

    size: int
    lead: float
    """Seconds between the word to go and t = 0: enough for it to reach all."""
    links: Callable[[], Awaitable[list[Link]]]
    """Waits until all have started."""
    nodes: Callable[[], Awaitable[tuple[record.Node, ...]]]
    """Compares the clocks, now; empty where all workers share ours. Once the links are read."""
    drift: Callable[[], Awaitable[tuple[float | None, ...]]]
    """Compares them again after the load: `record.End.drift_s`."""
    names: tuple[str, ...] = ()
    """The machines that they run on, which reach the target by ways and with keys of their own; empty where it is this one."""

    @property
    def remote(self) -> bool:
        """Whether they run elsewhere."""
        return bool(self.names)


@contextlib.asynccontextmanager
async def local(count: int) -> AsyncIterator[Team]:
    """Worker processes of this machine. They start, and import what they need, while other things are done."""
    starting = [asyncio.create_task(spawn("ptubench.engine.worker")) for _ in range(count)]

    async def links() -> list[Link]:
        return [await task for task in starting]

    async def nothing() -> tuple[()]:
        return ()

    try:
        yield Team(size=count, lead=_LEAD, links=links, nodes=nothing, drift=nothing)
    finally:
        for task in starting:
            await end(await task)
