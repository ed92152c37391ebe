"""A scripted service on a clock that jumps, without a socket."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import httpx2

from ptubench.client.make import Client, make_client
from ptubench.engine.generator import Load, Route, drain, offer
from ptubench.load.plan import Request, make_plan
from ptubench.record import Attempt, Dropped
from ptubench.virtual import clock
from ptubench.workload.model import Class, ClosedLoop, Fixed, Timeouts, Workload


def run(main: Callable[[], Any]) -> Any:
    """The result of a coroutine function on a virtual clock."""
    return clock.run(lambda _: main())


def now() -> float:
    """Virtual seconds since the loop began."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Say:
    """One answer of a scripted service."""

    status: int = 200
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = field(default_factory=dict)
    takes: float = 0.25
    """Seconds until it comes."""
    date: float | None = None
    """Seconds from then on: `retry-after` is that moment as a date."""
    fault: type[httpx2.TransportError] | None = None
    """Raised in place of an answer."""
    broken: bool = False
    """The answer breaks off in its body."""


def workload(load: Any, *, duration: float, **more: Any) -> Workload:
    """Calls of 32 tokens and answers of 8, all of them measured."""
    kind = Class(prompt=Fixed(tokens=32), completion=Fixed(tokens=8))
    return Workload(name="w", classes=(kind,), load=load, duration=duration, warmup=0.0, **more)


def client(service: "Service", *, stream: bool = True) -> Client:
    """ptubench's own client on the transport of a scripted service."""
    made = make_client(
        "httpx",
        url="http://service.invalid/v1/chat/completions",
        headers={},
        timeouts=Timeouts(total=100_000),
        stream=stream,
        ca_file=None,
        env={},
        max_connections=10_000,
    )
    made._client = httpx2.AsyncClient(transport=service)
    return made


def generate(
    workload: Workload,
    service: "Service",
    *,
    workers: int = 1,
    stop: float | None = None,
    divert: "Service | None" = None,
) -> list[Attempt | Dropped]:
    """What the load generator leaves behind, in the order of requests and attempts; row N is request N, or lane N.

    Args:
        workload: resolved.
        service: the target.
        workers: as many generators, side by side on one clock.
        stop: when the run is stopped, in virtual seconds; None for never.
        divert: the second target.
    """
    lines: list[Attempt | Dropped] = []
    lanes = workload.load.concurrency if isinstance(workload.load, ClosedLoop) else None

    def body(request: Request) -> bytes:
        row = request.index if lanes is None else request.index % lanes
        return json.dumps({"stream": workload.stream, "messages": f"row {row}"}).encode()

    async def one(worker: int) -> None:
        loop = asyncio.get_running_loop()
        load = Load(
            plan=make_plan(workload),
            body=body,
            client=client(service, stream=workload.stream),
            divert=None if divert is None else Route(client(divert, stream=workload.stream), body),
            sink=lines.append,
            zero=0.0,
            worker=worker,
            workers=workers,
            max_in_flight=workload.max_in_flight,
            clock=loop.time,
            wall=loop.wall,
        )
        offering = asyncio.create_task(offer(load))
        if stop is not None:
            await load.until(stop)
            load.stop()
            offering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await offering
        await drain(load, workload.drain)
        assert load.in_flight == 0

    async def all_of_them() -> None:
        await asyncio.gather(*map(one, range(workers)))

    run(all_of_them)
    return sorted(lines, key=lambda line: (line.index, getattr(line, "attempt", 0)))


class Service(httpx2.AsyncBaseTransport):
    """A service without a socket: request `row` is answered by its script, whose last line is repeated.

    Requests tell their row as `row N` in their text.
    """

    def __init__(self, scripts: Sequence[Sequence[Say]]) -> None:
        self._scripts = scripts
        self.arrived: list[list[float]] = [[] for _ in scripts]
        """Per row: when each of its requests came, in virtual seconds."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = (await request.aread()).decode()
        row = int(body.partition("row ")[2].partition('"')[0])
        script = self._scripts[row]
        say = script[min(len(self.arrived[row]), len(script) - 1)]
        self.arrived[row].append(now())
        await asyncio.sleep(say.takes)
        if say.fault is not None:
            raise say.fault("scripted", request=request)
        headers = [*(say.headers.items() if isinstance(say.headers, Mapping) else say.headers)]
        if say.date is not None:
            headers.append(("retry-after", formatdate(asyncio.get_running_loop().wall() + say.date, usegmt=True)))
        streamed = '"stream":true' in body.replace(" ", "")
        kind = "text/event-stream" if say.status == 200 and streamed else "application/json"
        content = _answer(streamed=streamed) if say.status == 200 else b'{"error": {"message": "scripted"}}'
        stream = _Pieces((content[:40], content[40:]), broken=say.broken)
        return httpx2.Response(say.status, headers=[("content-type", kind), *headers], stream=stream)


class _Pieces(httpx2.AsyncByteStream):
    """A body in pieces, which may break off before the last one."""

    def __init__(self, pieces: Iterable[bytes], *, broken: bool) -> None:
        self._pieces = list(pieces)[: -1 if broken else None]
        self._broken = broken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._broken:
            raise httpx2.ReadError("scripted")


def _answer(*, streamed: bool) -> bytes:
    named = '"id":"c","created":1,"model":"m"'
    if not streamed:
        message = '{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}'
        return f'{{{named},"object":"chat.completion","choices":[{message}]}}'.encode()
    delta = '{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}'
    return f'data: {{{named},"object":"chat.completion.chunk","choices":[{delta}]}}\n\ndata: [DONE]\n\n'.encode()
