"""The load worker on one node, as the parent sees it: two queues of the Dask scheduler, and a clock of its own."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import distributed

from ptubench.engine import clocks, node
from ptubench.engine.clocks import Reading

_CLOCK = 15.0  # seconds for a node to compare its clock
_LAST_WORDS = 0.2  # seconds for the rest of its words, once it is gone
_GONE = (OSError, KeyError)  # the scheduler, or the queue there: the node forgets it at its end
_SILENT = 5.0  # seconds without a word after which a node counts as lost


class Shard:
    """The load worker on one node; a `Link` to it."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self.name = name
        """The address of its Dask worker."""
        self.facts = node.Facts()
        self.before = Reading(0.0, 0.0)
        """How far its clock is ahead of ours, as it was compared before the load."""
        self.after: Reading | None = None
        """How far the scheduler's is ahead of its, at the end; None if it was lost."""
        self._say = say
        self._waiting: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._clock: asyncio.Future[Reading] | None = None
        self._patience = _SILENT
        self._waits: asyncio.Timeout | None = None
        self._ended = False

    @property
    def ahead(self) -> float:
        """Seconds by which its clock is ahead of ours."""
        return self.before.ahead

    def write(self, line: bytes) -> None:
        """Say a line to it."""
        self._waiting.put_nowait(("line", line))

    def kill(self) -> None:
        """End it at once."""
        self._waiting.put_nowait(("end", None))

    async def open(self, client: distributed.Client, token: str) -> None:
        """Make its queues."""
        self._to, self._back = await node.queues(client, token, self.name)

    async def send(self) -> None:
        """Pass on what is to be said to it, and a sign of life now and then; until cancelled."""
        said: tuple[str, Any] = ("alive", None)
        with contextlib.suppress(*_GONE):  # the node hears nothing and ends
            while said[0] != "end":
                try:
                    async with asyncio.timeout(node.BEAT):
                        said = await self._waiting.get()
                except TimeoutError:
                    said = ("alive", None)
                await self._to.put(said)

    async def read(self) -> bytes:
        """What the worker process said since; empty once it has ended or nothing was heard for some seconds."""
        while not self._ended:
            try:
                async with asyncio.timeout(self._patience) as self._waits:
                    kind, value = await self._back.get()
            except (TimeoutError, *_GONE):
                kind, value = "end", None
                self.kill()  # it may be there all the same, and send what nobody would write down
            if kind == "lines":
                return bytes(value)
            if kind == "clock" and self._clock is not None and not self._clock.done():
                self._clock.set_result(Reading(*value))
            elif kind == "alive":
                for line in value:
                    self._say(f"node {self.name}: {line}")
            elif kind == "end":
                self._ended = True
                self.after = None if value is None else Reading(*value)
        if self._clock is not None and not self._clock.done():
            self._clock.set_exception(TimeoutError())
        return b""

    def gone(self) -> None:
        """Its Dask worker is gone, as the scheduler has it: what it said before is still read."""
        self._patience = _LAST_WORDS
        if self._waits is not None:
            with contextlib.suppress(RuntimeError):  # nobody reads just now
                self._waits.reschedule(asyncio.get_running_loop().time() + _LAST_WORDS)

    async def compare(self, ours: Reading) -> Reading:
        """How far its clock is ahead of ours, by that of the scheduler; while it is read.

        Raises:
            TimeoutError: it does not tell, or was lost.
        """
        self._clock = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(("clock", None))
        async with asyncio.timeout(_CLOCK):
            return clocks.between(await self._clock, ours)

    def close(self) -> None:
        """Let the scheduler forget its queues, also those of a node that is gone."""
        node.release((self._to, self._back))
