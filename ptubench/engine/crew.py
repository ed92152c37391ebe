"""The load workers of a run, seen from the parent: what they are told, what they say, and where it goes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec

from ptubench import record
from ptubench.engine.account import Account
from ptubench.engine.children import Child
from ptubench.engine.messages import Command, Config, Done, Ready
from ptubench.engine.progress import Progress, before
from ptubench.engine.stop import Ended
from ptubench.errors import MeasurementLost
from ptubench.results import store
from ptubench.workload.model import Workload

_READY = 60.0  # seconds for the workers to get ready beyond their connections
_GRACE = 5.0  # seconds for a worker to say goodbye
_FLUSH = 0.5
_SAID = (b'{"type":"ready"', b'{"type":"done"')


class Crew:
    """The workers of a run, what they said, and where it goes."""

    def __init__(
        self,
        workers: list[Child],
        workload: Workload,
        planned: int | None,
        watch: Callable[[Progress], None],
        enough: Callable[[record.Line], bool],
    ) -> None:
        self._workers = workers
        self._workload = workload
        self._watch = watch
        self._enough = enough
        self._ready: list[asyncio.Future[int]] = [asyncio.get_running_loop().create_future() for _ in workers]
        self._done: dict[int, Done] = {}
        self._lost: set[int] = set()
        self._zero = 0.0
        self._last = 0.0  # when workers are killed that are still at it
        self._file: store.Writer | None = None
        self.trouble: str | None = None
        """Why the run is lost, if it is."""
        self._account = Account(before(workload, planned))

    def configure(self, configs: Iterable[Config]) -> None:
        """Hand each worker its configuration."""
        for child, config in zip(self._workers, configs, strict=True):
            child.stdin.write(msgspec.json.encode(config) + b"\n")

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read all workers until the block ends."""
        self._readers = [asyncio.create_task(self._read(number)) for number in range(len(self._workers))]
        try:
            yield
        finally:
            for task in self._readers:
                task.cancel()

    async def ready(self) -> None:
        """Wait until every worker has its plan and its connections."""
        try:
            async with asyncio.timeout(_READY + self._workload.timeouts.connect):
                await asyncio.gather(*self._ready)
        except TimeoutError:
            raise MeasurementLost("the load workers did not get ready in time; is this machine overloaded?") from None

    async def load(self, file: store.Writer, zero: float) -> None:
        """Put the load on at the clock's reading `zero`; returns when every worker is done or lost."""
        self._file, self._zero = file, zero
        self._last = self._workload.duration + self._workload.drain + _GRACE
        self.tell(Command(go=zero))
        try:
            await self._until_done()
        finally:
            self._file = None

    def _now(self) -> float:
        return time.perf_counter() - self._zero

    async def _until_done(self) -> None:
        """Watch and flush until every worker is done or lost."""
        progress = self._account.progress
        flushed = 0.0
        readers = set(self._readers)
        while readers:
            done, readers = await asyncio.wait(readers, timeout=0.25)
            for reader in done:
                reader.result()  # a worker that says what nobody understands is a fault of ours
            now = self._now()
            self._account.at(now)
            self._watch(progress)
            if now - flushed >= _FLUSH and self._file is not None:
                self._keep(b"", flush=True)
                flushed = now
            if now > self._last and len(self._done) < len(self._workers):
                for child in self._workers:
                    with contextlib.suppress(ProcessLookupError):
                        child.process.kill()

    async def _read(self, number: int) -> None:
        """One worker's lines: records go to the file as they are, and into the account."""
        rest = b""
        stdout = self._workers[number].stdout
        while chunk := await stdout.read(2**20):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            kept = []
            for line in lines:
                if line.startswith(_SAID):
                    self._hear(number, msgspec.json.decode(line, type=Ready | Done))
                else:
                    kept.append(line)
                    self._take(record.decode(line))
            if kept:
                self._keep(b"\n".join((*kept, b"")))
        if number not in self._done:
            self._lost.add(number)
            if not self._ready[number].done():
                self._ready[number].set_exception(MeasurementLost("a load worker ended before the load began"))

    def _take(self, line: record.Line) -> None:
        """Count a line; it may be the one after which nothing more need be offered."""
        self._account.add(line)
        if self._enough(line) and self._account.progress.load_end is None:
            self.stop()

    def _hear(self, number: int, said: Ready | Done) -> None:
        if isinstance(said, Ready):
            self._ready[number].set_result(said.connections)
            return
        self._done[number] = said
        if said.problem is not None:
            problem = MeasurementLost(f"a load worker gave up: {said.problem}")
            if not self._ready[number].done():
                self._ready[number].set_exception(problem)
            else:
                self._lost.add(number)
                self.trouble = self.trouble or str(problem)

    def _keep(self, lines: bytes, *, flush: bool = False) -> None:
        if self._file is None or self.trouble:
            return
        try:
            self._file.write(lines)
            if flush:
                self._file.flush()
        except MeasurementLost as exc:
            self.trouble = str(exc)
            self.abort()

    def tell(self, command: Command) -> None:
        """Say something to every worker; those that have ended miss nothing."""
        line = msgspec.json.encode(command) + b"\n"
        for child in self._workers:
            with contextlib.suppress(OSError, RuntimeError):
                child.stdin.write(line)

    def stop(self) -> None:
        """Offer nothing more; what is in flight may end."""
        self._account.stop()
        self._last = min(self._last, self._now() + self._workload.drain + _GRACE)
        self.tell(Command(halt=1.0))

    def abort(self) -> None:
        """Offer nothing more, and cut what is in flight."""
        self._account.stop()
        self._last = min(self._last, self._now() + _GRACE)
        self.tell(Command(halt=0.0))

    def end(self, ended: Ended, finished: float, state: dict[str, Any] | None) -> record.End:
        """The last line of the file, from what the workers said."""
        done = self._done.values()
        return record.End(
            ended="lost" if self.trouble else ended,
            # Not the first to stop: what the others sent until they did is part of the load.
            load_end=max((d.load_end for d in done), default=self._workload.duration),
            finished=finished,
            unsent=sum(d.unsent for d in done),
            unsent_in_window=sum(d.unsent_in_window for d in done),
            lost_workers=tuple(sorted(self._lost)),
            simulated=state,
            problems=(self.trouble,) if self.trouble else (),
        )
