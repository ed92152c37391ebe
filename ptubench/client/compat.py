"""A second opinion: the same requests through httpx2, HTTP/2 included where its extra is installed.

Stamps when httpx2 hands a piece over, which is later than the bytes arrived.
"""

import asyncio
import contextlib
import importlib.util
import socket
import ssl
from collections.abc import Mapping
from time import perf_counter

import httpx2

from ptubench.client import judge
from ptubench.client.connect import Address, secrets
from ptubench.client.exchange import Exchange, GapSink, fixed_headers
from ptubench.client.http1 import MAX_BODY
from ptubench.stream import sse
from ptubench.stream.answer import BadEvent, one_line
from ptubench.stream.apis import Api
from ptubench.workload.model import Timeouts

_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (httpx2.ConnectTimeout, "connect_timeout"),
    (httpx2.ReadTimeout, "idle_timeout"),
    (httpx2.PoolTimeout, "connect_timeout"),
    (httpx2.ProxyError, "proxy"),
    (httpx2.ConnectError, "connect"),
    (httpx2.RemoteProtocolError, "broken_stream"),
    (httpx2.TransportError, "broken_stream"),
)


class HttpxClient:
    """Sends requests to one URL through one `httpx2.AsyncClient`. Connection times are inside its own pool: null."""

    def __init__(
        self,
        url: str,
        where: Address,
        *,
        api: Api,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        stream: bool,
        max_connections: int,
    ) -> None:
        self._url = url
        self._where = where
        self._answer = api.answer
        self._stream = stream
        self._total = timeouts.total
        self.gaps = GapSink()
        self._client = httpx2.AsyncClient(
            http2=importlib.util.find_spec("h2") is not None,
            verify=where.tls or True,
            # Its own reading of the environment would send plain requests, key and all, through HTTP_PROXY.
            trust_env=False,
            proxy=where.proxy and httpx2.Proxy(f"http://{where.proxy.name}", headers=where.proxy.headers),
            timeout=httpx2.Timeout(timeouts.idle, connect=timeouts.connect, pool=None),
            limits=httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            follow_redirects=False,
        )
        self.authorize(headers)

    def authorize(self, headers: Mapping[str, str]) -> None:
        """Use these request headers from now on."""
        self._client.headers.update({**fixed_headers(stream=self._stream), **headers})
        self.secrets = secrets(headers, self._where)

    async def warm(self, connections: int) -> int:  # noqa: ARG002 - its pool opens them on demand
        """It has no way to open a connection without a request."""
        return 0

    async def send(self, body: bytes, exchange: Exchange) -> None:
        """One exchange; every failure is named in it."""
        exchange.answer = self._answer()
        exchange.sent = perf_counter()
        try:
            async with asyncio.timeout(self._total), self._client.stream("POST", self._url, content=body) as answer:
                await self._read(exchange, answer)
        except TimeoutError:
            judge.broken(exchange, "total_timeout", f"after {self._total:g} s")
        except Exception as exc:  # noqa: BLE001 - more gets out of it than it names, and no attempt may be lost
            judge.broken(exchange, self._kind(exc, exchange), one_line(f"{type(exc).__name__}: {exc}"))
        if exchange.end is None:
            exchange.end = perf_counter()

    async def close(self) -> None:
        """Close its pool."""
        with contextlib.suppress(RuntimeError):
            await self._client.aclose()

    async def _read(self, exchange: Exchange, answer: httpx2.Response) -> None:
        exchange.answered = perf_counter()
        exchange.status = answer.status_code
        for name, value in answer.headers.raw:
            exchange.keep_header(name, value)
        kind = answer.headers.get("content-type", "").lower()
        if exchange.status == 200 and self._stream and kind.startswith("text/event-stream"):
            await self._read_events(exchange, answer)
            return
        parts: list[bytes] = []
        size = 0
        async for piece in answer.aiter_raw():
            size += len(piece)
            if size <= MAX_BODY:
                parts.append(piece)
        exchange.end = perf_counter()
        if size > MAX_BODY:
            exchange.fail("event_too_large", f"a body over {MAX_BODY // 2**20} MiB")
        elif exchange.status == 200:
            judge.body(exchange, b"".join(parts), exchange.end, stream=self._stream)
        else:
            judge.status(exchange, b"".join(parts))

    async def _read_events(self, exchange: Exchange, answer: httpx2.Response) -> None:
        decoder, last, at = sse.Decoder(), None, 0.0

        def take(data: bytes) -> None:
            nonlocal last
            try:
                content = exchange.answer.event(data, at)
            except BadEvent as exc:
                exchange.fail("bad_event", str(exc))
                return
            if content:
                self.gaps.content(at, None if exchange.spilled else last)
                last = at

        try:
            async for piece in answer.aiter_raw():
                at = perf_counter()
                for data in decoder.feed(piece):
                    take(data)
        except sse.EventTooLarge:
            exchange.fail("event_too_large", f"an event over {MAX_BODY // 2**20} MiB")
            return
        exchange.end = at = perf_counter()
        judge.stream(exchange, decoder, take)

    def _kind(self, exc: Exception, exchange: Exchange) -> str:
        cause: BaseException | None = exc
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                return "tls"
            if isinstance(cause, socket.gaierror):
                return "proxy" if self._where.proxy else "dns"
            if isinstance(cause, ConnectionRefusedError):
                return "proxy" if self._where.proxy else "refused"
            cause = cause.__cause__ or cause.__context__
        if exchange.answered is None and isinstance(exc, httpx2.ReadTimeout):
            return "first_byte_timeout"
        if exchange.answered is None and isinstance(exc, httpx2.RemoteProtocolError | httpx2.ReadError):
            return "closed"
        unknown = "closed" if exchange.answered is None else "broken_stream"
        return next((kind for known, kind in _KINDS if isinstance(exc, known)), unknown)
