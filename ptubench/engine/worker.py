"""One worker process: it makes load and does nothing else.

Standard input brings its configuration, then commands, one JSON line each; standard output takes the records,
as the lines that the run file will hold, in batches. It ends when standard input does: a thread is blocked in
reading it, so that not even a stuck event loop outlives the parent.

`python -m ptubench.engine.worker`
"""

import asyncio
import contextlib
import gc
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import msgspec

from ptubench import histogram, loop, record
from ptubench.client.make import Client, make_client
from ptubench.engine.generator import Load, Route, drain, offer
from ptubench.engine.messages import Command, Config, Destination, Done, Ready
from ptubench.errors import PtubenchError
from ptubench.load.plan import Request, make_plan
from ptubench.load.prompts import Texts
from ptubench.stream.apis import APIS

_FLUSH = 0.2  # seconds between batches to the parent
_LAG_EVERY = 0.01
_COLLECT_EVERY = 20_000
"""Objects between two looks of the collector, instead of 700: thousands of calls that begin together are no garbage."""
_EXIT_ORPHANED = 3


def main() -> None:
    """Run one worker to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; Ctrl-C reaches the whole group
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the parent gave up before the load
    config = msgspec.json.decode(line, type=Config)
    _raise_file_limit()
    with _output(_own_stdout()) as write:
        try:
            loop.run(_Worker(config, write).run())
        except PtubenchError as exc:
            write(msgspec.json.encode(Done(problem=str(exc), code=exc.exit_code)) + b"\n")
        except Exception:  # noqa: BLE001 - the parent must hear of it, whatever it is
            write(msgspec.json.encode(Done(problem=traceback.format_exc(limit=-3))) + b"\n")
    # The listening thread is blocked in a read, which an orderly end of the interpreter would stumble over.
    os._exit(0)


class _Worker:
    def __init__(self, config: Config, write: Callable[[bytes], None]) -> None:
        self._config = config
        self._write = write
        self._lines: list[bytes] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lags: dict[int, int] = {}
        self._offering: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._go: asyncio.Future[float] | None = None
        self._under_way: Load | None = None
        self._halted: float | None = None
        self._heard = threading.Event()

    async def run(self) -> None:
        config = self._config
        self._go = asyncio.get_running_loop().create_future()
        threading.Thread(target=self._listen, args=(asyncio.get_running_loop(),), daemon=True).start()
        if config.silence is not None:
            threading.Thread(target=self._watch, args=(config.silence,), daemon=True).start()
        targets = [to for to in (config.target, config.divert_to) if to is not None]
        plan = make_plan(config.workload, least_limit=max(APIS[to.api].least_limit for to in targets))
        texts = Texts(config.workload, seed=config.workload.seed, salt=config.salt)
        routes = [(to, Route(_client(config, to), _bodies(config, to, texts))) for to in targets]
        (_, first), *others = routes
        load = self._under_way = Load(
            plan=plan,
            body=first.body,
            client=first.client,
            divert=others[0][1] if others else None,
            sink=lambda line: self._lines.append(record.encode(line)),
            zero=0.0,
            worker=config.worker,
            workers=config.workers,
            max_in_flight=config.max_in_flight,
        )
        opened = [await route.client.warm(to.connections) for to, route in routes]
        self._say(Ready(connections=sum(opened)))
        load.zero = await self._go
        # What exists now lives to the end: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_EVERY)
        for job in (self._flush(), self._measure_lag(), self._tick(load)):
            self._background(job)
        done = await self._load(load)
        for _, route in routes:
            await route.client.close()
        self._empty()
        self._say(done)

    async def _load(self, load: Load) -> Done:
        """Offer and drain, until done or told otherwise."""
        self._offering = asyncio.create_task(offer(load))
        if self._halted is not None:
            self._offering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._offering
        stopped = self._offering.cancelled()
        load_end = load.now() if stopped else load.plan.workload.duration
        unsent = unsent_in_window = 0
        if load.plan.count is not None:
            own = range(load.worker, load.plan.count, load.workers)[load.taken :]
            unsent = len(own)
            if load.plan.offsets is not None and unsent:
                unsent_in_window = int((load.plan.offsets[own.start :: own.step] >= load.plan.workload.warmup).sum())
        limit = 0.0 if self._halted == 0.0 else load.plan.workload.drain
        self._draining = asyncio.create_task(drain(load, limit))
        with contextlib.suppress(asyncio.CancelledError):
            await self._draining
        if self._draining.cancelled():
            await drain(load, 0.0)
        return Done(
            load_end=load_end,
            finished=load.now(),
            unsent=unsent,
            unsent_in_window=unsent_in_window,
            stopped=stopped,
        )

    # what the parent says

    def _listen(self, running: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin.buffer:
            self._heard.set()
            command = msgspec.json.decode(line, type=Command)
            running.call_soon_threadsafe(self._obey, command)
        os._exit(_EXIT_ORPHANED)  # the parent is gone: nothing more may reach the target

    def _watch(self, silence: float) -> None:
        """Ends this process when nobody says anything any more, although its input is open: what feeds it may hang itself."""
        # Asked twice: a word that came while this process stood still is heard before it is missed.
        while self._heard.wait(silence / 2) or self._heard.wait(silence / 2):
            self._heard.clear()
        os._exit(_EXIT_ORPHANED)

    def _obey(self, command: Command) -> None:
        load = self._under_way
        if load is None or self._go is None:
            return  # the parent speaks when all are ready
        if command.headers is not None:
            load.client.authorize(command.headers)
        if command.divert_headers is not None and load.divert is not None:
            load.divert.client.authorize(command.divert_headers)
        if command.go is not None:
            self._go.set_result(command.go)
        if command.halt is not None:
            self._halted = command.halt
            load.stop()
            if self._offering is not None and not self._offering.done():
                self._offering.cancel()
            if command.halt == 0.0 and self._draining is not None:
                self._draining.cancel()

    # what it says

    def _say(self, message: Ready | Done) -> None:
        self._write(msgspec.json.encode(message) + b"\n")

    def _empty(self) -> None:
        if self._lines:
            self._write(b"".join(self._lines))
            self._lines.clear()

    def _background(self, job: Any) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._failed)

    def _failed(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            traceback.print_exception(fault)
            os._exit(1)  # a worker that can't measure itself is a lost one

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH)
            self._empty()

    async def _measure_lag(self) -> None:
        while True:
            due = time.perf_counter() + _LAG_EVERY
            await asyncio.sleep(_LAG_EVERY)
            index = histogram.bucket(time.perf_counter() - due)
            self._lags[index] = self._lags.get(index, 0) + 1

    async def _tick(self, load: Load) -> None:
        gaps = load.client.gaps
        second, sent = 0, 0
        await load.until(0.0)
        cpu, wall = time.process_time(), time.perf_counter()
        while True:
            await load.until(second + 1.0)
            cpu_now, wall_now = time.process_time(), time.perf_counter()
            tick = record.Tick(
                t=second,
                worker=load.worker,
                gaps=gaps.counts,
                loop_lag=self._lags,
                cpu=round((cpu_now - cpu) / (wall_now - wall), 4),
                in_flight=load.in_flight - len(load.waiting),
                sent=load.sent - sent,
                content_events=gaps.events,
            )
            self._lines.append(record.encode(tick))
            self._lags = {}
            gaps.clear()
            sent, cpu, wall = load.sent, cpu_now, wall_now
            second = max(second + 1, int(load.now()))


def _client(config: Config, to: Destination) -> Client:
    """What sends to one target."""
    return make_client(
        config.workload.client,
        url=to.url,
        api=to.api,
        headers=to.headers,
        timeouts=config.workload.timeouts,
        stream=config.workload.stream,
        ca_file=config.ca_file,
        env=os.environ,
        max_connections=config.max_in_flight,
    )


def _bodies(config: Config, to: Destination, texts: Texts) -> Callable[[Request], bytes]:
    """What makes the bodies of the requests to one target."""
    bodies = APIS[to.api].body_maker(
        model=to.body_model,
        limit_field=to.limit_field,
        stream=config.workload.stream,
        parameters=config.workload.parameters,
        left_out=to.left_out,
    )
    return lambda request: bodies.body(texts.messages(request), request.limit)


def _own_stdout() -> BinaryIO:
    """Standard output for the records alone; what the user's own client prints goes to standard error."""
    records = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return records


@contextmanager
def _output(records: BinaryIO) -> Iterator[Callable[[bytes], None]]:
    """Write to the parent from a thread: one that is slow to read must not stop the load."""
    pending: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def work() -> None:
        while (batch := pending.get()) is not None:
            try:
                records.write(batch)
                records.flush()
            except OSError:
                os._exit(_EXIT_ORPHANED)

    writer = threading.Thread(target=work, daemon=True)
    writer.start()
    yield pending.put
    pending.put(None)
    writer.join()


def _raise_file_limit() -> None:
    """Thousands of connections need thousands of descriptors."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
