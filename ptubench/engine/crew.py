"""The load workers of a run, seen from the parent: what they are told, what they say, and where it goes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import msgspec

from ptubench import record
from ptubench.engine.account import Account
from ptubench.engine.link import Link
from ptubench.engine.messages import Command, Config, Done, Ready
from ptubench.engine.progress import Progress, before
from ptubench.engine.shares import Shares
from ptubench.engine.stop import Ended
from ptubench.errors import Exit, MeasurementLost, UsageError
from ptubench.load.plan import Plan
from ptubench.results import store
from ptubench.units import duration_text

_READY = 60.0  # seconds for the workers to get ready beyond their connections
_GRACE = 5.0  # seconds for a worker to say goodbye
_FLUSH = 0.5
_SAID = (b'{"type":"ready"', b'{"type":"done"')


class Crew:
    """The workers of a run, what they said, and where it goes."""

    def __init__(
        self,
        workers: Sequence[Link],
        plan: Plan,
        watch: Callable[[Progress], None],
        *,
        enough: Callable[[record.Line], bool] = lambda _: False,
        abort: Callable[[record.Line], record.Aborted | None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._workers = workers
        self._plan = plan
        self._workload = plan.workload
        self._say = say
        self._watch = watch
        self._enough = enough
        self._abort = abort
        self.aborted: record.Aborted | None = None
        """The abort rule that ended the load."""
        self._ready: list[asyncio.Future[int]] = [asyncio.get_running_loop().create_future() for _ in workers]
        self._done: dict[int, Done] = {}
        self._lost: set[int] = set()
        self._zero = 0.0
        self._last = 0.0  # when workers are killed that are still at it
        self._file: store.Writer | None = None
        self.trouble: str | None = None
        """Why the run is lost, if it is."""
        self.unwritten: MeasurementLost | None = None
        """The same where it is the disk."""
        self._account = Account(before(plan.workload, plan.count))
        self._shares = Shares(plan, len(workers))
        self._missing = self._unsent = self._unsent_in_window = 0  # of lost workers

    def configure(self, configs: Iterable[Config]) -> None:
        """Hand each worker its configuration."""
        for link, config in zip(self._workers, configs, strict=True):
            link.write(msgspec.json.encode(config) + b"\n")

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read all workers until the block ends."""
        self._readers = [asyncio.create_task(self._read(number)) for number in range(len(self._workers))]
        try:
            yield
        finally:
            for task in self._readers:
                task.cancel()

    async def ready(self) -> list[int]:
        """Wait until every worker has its plan and its connections; how many each has opened."""
        try:
            async with asyncio.timeout(_READY + self._workload.timeouts.connect):
                return await asyncio.gather(*self._ready)
        except TimeoutError:
            raise MeasurementLost("the load workers did not get ready in time; is this machine overloaded?") from None

    def check(self) -> None:
        """Whether all are still there: clocks are compared and a full minute is waited for after they were ready.

        Raises:
            MeasurementLost: one has ended; it is named.
        """
        if self._lost:
            raise MeasurementLost(self.trouble or f"{self._name(min(self._lost))} ended before the load began")

    async def load(self, file: store.Writer, zero: float) -> None:
        """Put the load on at the clock's reading `zero`; returns when every worker is done or lost."""
        self._file, self._zero = file, zero
        self._last = self._workload.duration + self._workload.drain + _GRACE
        for link in self._workers:
            link.write(_line(Command(go=zero + link.ahead)))
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
            self._account.at(max(now, 0.0))
            self._watch(progress)
            if now - flushed >= _FLUSH and self._file is not None:
                self._keep(b"", flush=True)
                flushed = now
            if now > self._last and len(self._done) < len(self._workers):
                for link in self._workers:
                    link.kill()

    async def _read(self, number: int) -> None:
        """One worker's lines: records go to the file as they are, and into the account."""
        rest = b""
        while chunk := await self._workers[number].read():
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
                self._ready[number].set_exception(MeasurementLost(f"{self._name(number)} ended before the load began"))
            elif self._file is not None:
                self._mourn(number)

    def _name(self, number: int) -> str:
        if (name := self._workers[number].name) or len(self._workers) > 1:
            return f"load worker {number + 1} of {len(self._workers)}{name and f' on node {name}'}"
        return "the load worker"

    def _mourn(self, number: int) -> None:
        """A worker ended in mid-run: what it owes is recorded as such, and the others go on."""
        now, load_end = self._now(), self._account.progress.load_end
        missing = self._shares.lost(number, now if load_end is None else min(now, load_end))
        self._missing += len(missing.due) + missing.unsent
        self._unsent += missing.unsent
        self._unsent_in_window += missing.unsent_in_window
        self._keep(b"".join(map(record.encode, missing.due)))
        left = len(self._workers) - len(self._lost | self._done.keys())
        to_come = "what its lanes would still ask" if self._plan.count is None else f"{missing.unsent:,} still to come"
        owed = f"{len(missing.due):,} request{'' if len(missing.due) == 1 else 's'}"
        self._say(
            f"warning: {self._name(number)} was lost at {duration_text(max(0.0, round(now, 1)))}, with {owed} due and not "
            f"told of, and {to_come}{'; the others go on' if left else ''}"
        )

    def _take(self, line: record.Line) -> None:
        """Count a line; it may be the one after which nothing more need be offered."""
        self._account.add(line)
        self._shares.add(line)
        if self._account.progress.load_end is not None:
            return
        self.aborted = self._abort(line)
        if self.aborted is not None or self._enough(line):
            self.stop()

    def _hear(self, number: int, said: Ready | Done) -> None:
        if isinstance(said, Ready):
            self._ready[number].set_result(said.connections)
            return
        self._done[number] = said
        if said.problem is not None:
            problem = f"{self._name(number)} gave up: {said.problem}"
            if not self._ready[number].done():
                kind = UsageError if said.code == Exit.USAGE else MeasurementLost
                self._ready[number].set_exception(kind(problem))
            else:
                self._lost.add(number)
                self.trouble = self.trouble or problem
                self.abort()  # what the others would still send, nobody would write down

    def _keep(self, lines: bytes, *, flush: bool = False) -> None:
        if self._file is None or self.trouble:
            return
        try:
            self._file.write(lines)
            if flush:
                self._file.flush()
        except MeasurementLost as exc:
            self.unwritten, self.trouble = exc, str(exc)
            self.abort()

    def tell(self, command: Command) -> None:
        """Say something to every worker; those that have ended miss nothing."""
        for link in self._workers:
            link.write(_line(command))

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

    def end(
        self, ended: Ended, finished: float, state: dict[str, Any] | None, *, drift: tuple[float | None, ...] = ()
    ) -> record.End:
        """The last line of the file, from what the workers said."""
        done = self._done.values()
        by_rule = self.aborted if ended == "completed" else None  # a signal during the drain has the last word
        if by_rule is not None:
            ended = "aborted"
        return record.End(
            ended="lost" if self.trouble else ended,
            # Not the first to stop: what the others sent until they did is part of the load.
            load_end=max((d.load_end for d in done), default=self._workload.duration),
            finished=finished,
            unsent=sum(d.unsent for d in done) + self._unsent,
            unsent_in_window=sum(d.unsent_in_window for d in done) + self._unsent_in_window,
            lost_workers=tuple(sorted(self._lost)),
            missing=self._missing,
            drift_s=drift,
            simulated=state,
            problems=(self.trouble,) if self.trouble else (),
            aborted=by_rule,
        )


def _line(command: Command) -> bytes:
    return msgspec.json.encode(command) + b"\n"
