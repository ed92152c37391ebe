"""The load: requests leave when they are due, whatever the answers do.

One event loop, no process, no file: what happened goes to a sink. Lateness is never hidden (`taken` is
recorded beside `scheduled`) and a full generator drops a request rather than sending it late in silence.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter, time

from ptubench.client.exchange import Exchange
from ptubench.client.make import Client
from ptubench.load.plan import Plan, Request
from ptubench.record import Attempt, Dropped
from ptubench.waits import retry_after
from ptubench.workload.model import ClosedLoop

LANE_WAIT = 1.0
"""Seconds that a lane waits after a 429 which names no time of its own, and from one failure to the next."""
LANE_SPREAD = 1.0
"""Seconds over which the lanes of a closed loop start."""


@dataclass(slots=True)
class Load:
    """One worker's share of a run, and how far it is.

    Requests i with i mod `workers` = `worker` are its own (closed loop: lanes instead of requests).
    """

    plan: Plan
    body: Callable[[Request], bytes]
    client: Client
    sink: Callable[[Attempt | Dropped], None]
    zero: float
    """The clock's reading at t = 0."""
    worker: int = 0
    workers: int = 1
    max_in_flight: int = 10_000
    in_flight: int = 0
    sent: int = 0
    taken: int = 0
    """Own requests taken up or dropped so far: the rest is unsent."""
    exchanges: set[asyncio.Task[Attempt]] = field(default_factory=set)
    faults: list[Exception] = field(default_factory=list)
    """What a client raised that it should have named: faults of ours, whose requests left no record."""

    def now(self) -> float:
        """Seconds since the start of the run."""
        return perf_counter() - self.zero

    async def until(self, due: float) -> None:
        """Sleep until a moment of the run; never less."""
        while (wait := due - self.now()) > 0:  # noqa: ASYNC110 - waits for a time, not for an event
            # Timers have a resolution of a millisecond; rounded up, none is early.
            await asyncio.sleep(math.ceil(wait * 1000) / 1000)

    def start(
        self, request: Request, body: bytes, due: float, *, lane: int | None = None, lane_wait: float = 0.0
    ) -> asyncio.Task[Attempt]:
        """Send one request now."""
        taken = self.now()
        self.in_flight += 1
        self.sent += 1
        task = asyncio.create_task(self._exchange(request, body, due, taken, lane=lane, lane_wait=lane_wait))
        self.exchanges.add(task)
        task.add_done_callback(self.exchanges.discard)
        return task

    async def _exchange(
        self, request: Request, body: bytes, due: float, taken: float, *, lane: int | None, lane_wait: float
    ) -> Attempt:
        exchange = Exchange()
        cut = True
        try:
            await self.client.send(body, exchange)
            cut = False
        except asyncio.CancelledError:
            pass  # the drain has ended: a result like any other
        except Exception as fault:
            self.faults.append(fault)
            raise
        finally:
            self.in_flight -= 1
        exchange.hide(self.client.secrets)
        attempt = self._attempt(request, exchange, due, taken, cut=cut, lane=lane, lane_wait=lane_wait)
        self.sink(attempt)
        return attempt

    def _attempt(
        self,
        request: Request,
        exchange: Exchange,
        due: float,
        taken: float,
        *,
        cut: bool,
        lane: int | None,
        lane_wait: float,
    ) -> Attempt:
        answer = exchange.answer
        return Attempt(
            index=request.index,
            worker=self.worker,
            lane=lane,
            name=request.kind.name,
            prompt_asked=request.prompt,
            cached_asked=request.cached,
            completion_asked=request.completion,
            limit=request.limit,
            scheduled=round(due, 6),
            taken=round(taken, 6),
            lane_wait=round(lane_wait, 6),
            connect_s=exchange.connect_s and round(exchange.connect_s, 6),
            tls_s=exchange.tls_s and round(exchange.tls_s, 6),
            sent=self._moment(exchange.sent),
            answered=self._moment(exchange.answered),
            first_content=self._moment(answer.first_content) if self.plan.workload.stream else None,
            first_output=self._moment(answer.first_output) if self.plan.workload.stream else None,
            last_content=self._moment(answer.last_content) if self.plan.workload.stream else None,
            end=self._moment(exchange.end),
            status=exchange.status,
            content_events=answer.content_events,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            completion_tokens=answer.completion_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            finish=answer.finish,
            model=answer.model,
            headers=exchange.headers,
            failure=None if cut else exchange.failure,
            error=exchange.error,
            cut=cut,
            streamed=self.plan.workload.stream,
            resent=exchange.resent,
            flags=exchange.flags,
        )

    def _moment(self, reading: float | None) -> float | None:
        return None if reading is None else round(reading - self.zero, 6)


async def offer(load: Load) -> None:
    """Offer the worker's whole share, until the end of the load; exchanges may still be under way then."""
    workload = load.plan.workload
    if isinstance(workload.load, ClosedLoop):
        lanes = range(load.worker, workload.load.concurrency, load.workers)
        # When the load is over, lanes end, and what they have in flight is for the drain.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(workload.duration - load.now()):
                await asyncio.gather(*(_lane(load, workload.load, lane) for lane in lanes))
    else:
        await _open_loop(load)
    await load.until(workload.duration)


async def drain(load: Load, seconds: float) -> None:
    """Wait for what is in flight; what is left after `seconds` is cut, and recorded as such.

    Raises:
        Exception: the first fault of a client; without its record the run is lost.
    """
    if load.exchanges:
        await asyncio.wait(load.exchanges, timeout=seconds)
    left = tuple(load.exchanges)
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    if load.faults:
        raise load.faults[0]


async def _open_loop(load: Load) -> None:
    plan = load.plan
    assert plan.count is not None  # noqa: S101 - an open loop is planned
    for index in range(load.worker, plan.count, load.workers):
        request = plan.request(index)
        assert request.due is not None  # noqa: S101 - an open loop is planned
        body = load.body(request)  # ready before it is due
        await load.until(request.due)
        load.taken += 1
        if load.in_flight >= load.max_in_flight:
            load.sink(Dropped(index=index, scheduled=round(request.due, 6), worker=load.worker, name=request.kind.name))
        else:
            load.start(request, body, request.due)


async def _lane(load: Load, closed: ClosedLoop, lane: int) -> None:
    due = lane * LANE_SPREAD / closed.concurrency
    wait = 0.0
    for index in count(lane, closed.concurrency):
        if due >= load.plan.workload.duration:
            return
        request = load.plan.request(index)
        body = load.body(request)
        await load.until(due)
        load.taken += 1
        # Shielded: stopping the lane must not cut what it has in flight.
        attempt = await asyncio.shield(load.start(request, body, due, lane=lane, lane_wait=wait))
        wait = _wait_after(attempt)
        due = load.now() + wait + closed.think_time


def _wait_after(attempt: Attempt) -> float:
    """How long a lane keeps away, so that it never spins: after a 429 what the service asks for, and a lane fails once a second."""
    if attempt.outcome == "throttled":
        return retry_after(attempt.headers, time()) or LANE_WAIT
    if attempt.outcome == "failed":
        return max(0.0, LANE_WAIT - ((attempt.end or attempt.taken) - attempt.taken))
    return 0.0
