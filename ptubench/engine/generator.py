"""The load: requests leave when they are due, whatever the answers do.

One event loop, no process, no file: what happened goes to a sink. Lateness is never hidden (`taken` is
recorded beside `scheduled`) and a full generator drops a request rather than sending it late in silence.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter, time
from typing import Any, NamedTuple

import msgspec

from ptubench.client.exchange import Exchange
from ptubench.client.make import Client
from ptubench.engine import retry
from ptubench.load.plan import Plan, Request
from ptubench.record import Attempt, Dropped
from ptubench.waits import LANE_WAIT, retry_after
from ptubench.workload.model import ClosedLoop

LANE_SPREAD = 1.0
"""Seconds over which the lanes of a closed loop start."""


class Route(NamedTuple):
    """Where an attempt is sent: a client, and what makes the bodies of its target."""

    client: Client
    body: Callable[[Request], bytes]


class Asked(NamedTuple):
    """One request as it was taken up; the same for all its attempts."""

    request: Request
    body: bytes
    due: float
    taken: float
    lane: int | None
    lane_wait: float


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
    divert: Route | None = None
    """Where a request goes after a 429; None unless the policy is `divert`."""
    clock: Callable[[], float] = perf_counter
    wall: Callable[[], float] = time
    """Seconds since the epoch, for waits that are given as a date."""
    resolution: float = 0.001
    """Of the event loop's timers, in seconds; 0 where they are exact."""
    in_flight: int = 0
    """Requests that have begun and are not over; one that waits for its next attempt is not over."""
    sent: int = 0
    """Attempts begun so far."""
    taken: int = 0
    """Own requests taken up or dropped so far: the rest is unsent."""
    under_way: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    """A task for each lane of a closed loop, for each request of an open one; in the order of their beginning."""
    waiting: set[asyncio.Task[Any]] = field(default_factory=set)
    """Those of `under_way` whose request waits for its next attempt."""
    resting: set[asyncio.Task[Any]] = field(default_factory=set)
    """Lanes that wait for their next request."""
    faults: list[Exception] = field(default_factory=list)
    """What a client raised that it should have named: faults of ours, whose requests left no record."""
    closed: bool = False
    """Lanes take up nothing more."""
    stopped: bool = False

    def now(self) -> float:
        """Seconds since the start of the run."""
        return self.clock() - self.zero

    async def until(self, due: float) -> None:
        """Sleep until a moment of the run; never less."""
        while (wait := due - self.now()) > 0:  # noqa: ASYNC110 - waits for a time, not for an event
            # Rounded up to what timers can tell apart, none is early.
            await asyncio.sleep(math.ceil(wait / self.resolution) * self.resolution if self.resolution else wait)

    async def pause(self, due: float, among: set[asyncio.Task[Any]]) -> bool:
        """Wait for a moment of the run as one of `waiting` or `resting`; False when that was ended before."""
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - a coroutine runs in a task
        among.add(this)
        try:
            await self.until(due)
        except asyncio.CancelledError:
            return False
        finally:
            among.discard(this)
        return True

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let something go on beside all else until it, or the drain, is over."""
        task = asyncio.create_task(work)
        self.under_way[task] = None
        task.add_done_callback(self.under_way.pop)
        return task

    def close(self) -> None:
        """Let lanes end with the request that they are at."""
        self.closed = True
        for lane in tuple(self.resting):
            lane.cancel()

    def stop(self) -> None:
        """Begin no further attempt: what waits for its next one ends as its last one ended."""
        self.close()
        self.stopped = True
        for task in tuple(self.waiting):
            task.cancel()

    def take(
        self, request: Request, body: bytes, due: float, *, lane: int | None = None, lane_wait: float = 0.0
    ) -> Coroutine[Any, Any, Attempt]:
        """Take a request up now; what is returned sends it, and ends with its last attempt."""
        self.in_flight += 1
        return self._attempts(Asked(request, body, due, self.now(), lane, lane_wait))

    async def _attempts(self, asked: Asked) -> Attempt:
        """All attempts of one request, as the workload's policy has it; each goes to the sink when it is over."""
        client, body, waited = self.client, asked.body, 0.0
        try:
            for number in count():
                diverted = number > 0 and self.divert is not None
                attempt = await self._attempt(asked, client, body, number=number, waited=waited, diverted=diverted)
                then = self._next(attempt)
                if then.gave_up:
                    attempt = msgspec.structs.replace(attempt, gave_up=True)
                self.sink(attempt)
                if then.wait is None:
                    break
                if self.divert is not None:
                    client, body = self.divert.client, self.divert.body(asked.request)
                    continue
                began = self.now()
                if not await self.pause(began + then.wait, self.waiting):
                    break
                waited = self.now() - began
        except Exception as fault:
            self.faults.append(fault)
            raise
        finally:
            self.in_flight -= 1
        return attempt

    def _next(self, attempt: Attempt) -> retry.Next:
        """What the workload's policy makes of how an attempt ended."""
        workload = self.plan.workload
        if self.stopped or workload.throttling.on_429 == "none":
            return retry.LEAVE
        if workload.throttling.on_429 == "divert":
            refused = attempt.status == 429 and not (attempt.cut or attempt.diverted)
            return retry.Next(0.0) if refused else retry.LEAVE
        draw = retry.jitter(workload.seed, attempt.index, attempt.attempt)
        return retry.after(attempt, workload.throttling, now_unix=self.wall(), draw=draw)

    async def _attempt(
        self, asked: Asked, client: Client, body: bytes, *, number: int, waited: float, diverted: bool
    ) -> Attempt:
        """One exchange, as it will stand in the run file."""
        exchange = Exchange()
        carried = client.secrets  # a token may be renewed before the answer repeats this one
        cut = True
        self.sent += 1
        with contextlib.suppress(asyncio.CancelledError):  # the drain has ended: a result like any other
            await client.send(body, exchange)
            cut = False
        exchange.hide(carried)
        answer, streamed = exchange.answer, self.plan.workload.stream
        request = asked.request
        return Attempt(
            index=request.index,
            attempt=number,
            worker=self.worker,
            lane=asked.lane,
            name=request.kind.name,
            prompt_asked=request.prompt,
            cached_asked=request.cached,
            completion_asked=request.completion,
            limit=request.limit,
            scheduled=round(asked.due, 6),
            taken=round(asked.taken, 6),
            lane_wait=round(asked.lane_wait, 6),
            waited=round(waited, 6),
            diverted=diverted,
            connect_s=exchange.connect_s and round(exchange.connect_s, 6),
            tls_s=exchange.tls_s and round(exchange.tls_s, 6),
            sent=self._moment(exchange.sent),
            answered=self._moment(exchange.answered),
            first_content=self._moment(answer.first_content) if streamed else None,
            first_output=self._moment(answer.first_output) if streamed else None,
            last_content=self._moment(answer.last_content) if streamed else None,
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
            streamed=streamed,
            resent=exchange.resent,
            flags=exchange.flags,
        )

    def _moment(self, reading: float | None) -> float | None:
        return None if reading is None else round(reading - self.zero, 6)


async def offer(load: Load) -> None:
    """Offer the worker's whole share, until the end of the load; exchanges may still be under way then.

    To end it before, close the load, and cancel this.
    """
    workload = load.plan.workload
    if isinstance(workload.load, ClosedLoop):
        numbers = range(load.worker, workload.load.concurrency, load.workers)
        lanes = [load.begin(_lane(load, workload.load, number)) for number in numbers]
        if lanes:  # each ends by itself; what they have in flight then is for the drain
            limit = workload.duration - load.now()
            ended, _ = await asyncio.wait(lanes, timeout=limit, return_when=asyncio.FIRST_EXCEPTION)
            for lane in ended:
                lane.result()
    else:
        await _open_loop(load)
    await load.until(workload.duration)


async def drain(load: Load, seconds: float) -> None:
    """Wait for what is in flight; what is left after `seconds` is cut, and recorded as such.

    Raises:
        Exception: the first fault of a client; without its record the run is lost.
    """
    if load.under_way:
        await asyncio.wait(load.under_way, timeout=seconds)
    left = tuple(load.under_way)
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
            load.begin(load.take(request, body, request.due))


async def _lane(load: Load, closed: ClosedLoop, lane: int) -> None:
    end, due, wait = load.plan.workload.duration, lane * LANE_SPREAD / closed.concurrency, 0.0
    for index in count(lane, closed.concurrency):
        if due >= end or load.closed:
            return
        request = load.plan.request(index)
        body = load.body(request)
        if not await load.pause(due, load.resting) or load.now() >= end:
            return
        load.taken += 1
        # In the lane's own task: one more for each call would cost as much as a dozen events.
        attempt = await load.take(request, body, due, lane=lane, lane_wait=wait)
        wait = wait_after(attempt, load.wall())
        due = load.now() + wait + closed.think_time


def wait_after(attempt: Attempt, now_unix: float) -> float:
    """How long a lane keeps away, so that it never spins: after a 429 what the service asks for, and a lane fails once a second."""
    if attempt.outcome == "throttled":
        return retry_after(attempt.headers, now_unix) or LANE_WAIT
    if attempt.outcome == "failed":
        return max(0.0, LANE_WAIT - ((attempt.end or attempt.taken) - attempt.taken))
    return 0.0
