"""A second opinion: the same requests through httpx2, HTTP/2 included where its extra is installed.

Answers are stamped when httpx2 hands a piece over, which is later than the bytes arrived; what comes before them, by
its trace (https://www.encode.io/httpcore/extensions/, "trace"). It does not see bytes after the end of an answer, and
may take them for the next one. With HTTP/2 the streams share a connection: a call that waits for its turn is not
sent yet, and silence is judged for all of them together.
"""

import asyncio
import contextlib
import importlib.util
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import perf_counter
from typing import Any

import httpx2

from ptubench.client import judge
from ptubench.client.connect import Address, no_socket, secrets
from ptubench.client.exchange import Exchange, GapSink, fixed_headers
from ptubench.client.http1 import MAX_BODY, MAX_HEADERS
from ptubench.stream import sse
from ptubench.stream.answer import BadEvent, one_line
from ptubench.stream.apis import Api
from ptubench.workload.model import Timeouts

_ROOTS: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "dns"),
    (ConnectionRefusedError, "refused"),
)
"""What lies at the bottom of an exception of httpx2 says most."""
_BEFORE: tuple[tuple[type[Exception], str], ...] = (
    (httpx2.ConnectTimeout, "connect_timeout"),
    (httpx2.ReadTimeout, "first_byte_timeout"),
    (httpx2.WriteTimeout, "first_byte_timeout"),  # a server that does not read, does not answer
    (httpx2.ProxyError, "proxy"),
    (httpx2.ConnectError, "connect"),
)
"""Before any of the answer; the others are `closed`."""
_REFUSED_STREAM = 7
"""The server has not looked at the request (RFC 9113, 7 and 8.7)."""
_LIMIT_OF: dict[type[Exception], str] = {httpx2.ConnectTimeout: "connect", httpx2.ReadTimeout: "read"}


class HttpxClient:
    """Sends requests to one URL through one `httpx2.AsyncClient`, whose pool opens and keeps the connections."""

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
        self._timeouts = timeouts
        self.gaps = GapSink()
        self._client = httpx2.AsyncClient(
            http2=importlib.util.find_spec("h2") is not None,
            verify=where.tls or True,
            # Its own reading of the environment would send plain requests, key and all, through HTTP_PROXY.
            trust_env=False,
            proxy=where.proxy and httpx2.Proxy(f"http://{where.proxy.name}", headers=where.proxy.headers),
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
        """One exchange; every failure is named in it. A stale connection is replaced as the timed client does."""
        exchange.answer = self._answer()
        if await self._once(body, exchange):
            exchange.restart()
            exchange.resent = True
            await self._once(body, exchange)

    async def _once(self, body: bytes, exchange: Exchange) -> bool:
        """Whether it failed in a way that says nothing of the service, so that it may be sent once more."""
        limits = self._timeouts
        # One object all along, whose `read` goes with what is waited for: a proxy's tunnel, the headers, the rest.
        timeout = {"connect": limits.connect, "read": limits.connect, "write": limits.first_byte, "pool": None}

        def at_sending() -> None:
            timeout["read"] = limits.first_byte

        again = False
        extensions = {"timeout": timeout, "trace": _watch(exchange, at_sending)}
        try:
            async with (
                asyncio.timeout(limits.total),
                self._client.stream("POST", self._url, content=body, extensions=extensions) as answer,
            ):
                timeout["read"] = limits.idle
                await self._read(exchange, answer)
        except TimeoutError:
            judge.broken(exchange, "total_timeout", f"after {limits.total:g} s")
        except Exception as exc:  # noqa: BLE001 - more gets out of it than it names, and no attempt may be lost
            *_, bottom = _causes(exc)
            said = str(bottom) or str(exc)  # httpx2 itself may say no more than that it failed
            if isinstance(exc, httpx2.TimeoutException):
                said = f"after {timeout[_LIMIT_OF.get(type(exc), 'write')]:g} s"
            judge.broken(
                exchange,
                self._kind(exc, exchange),
                one_line(f"{type(exc).__name__}: {said}" if said else type(exc).__name__),
            )
            again = exchange.failure == "closed" and _unheard(exc, exchange)
        if exchange.end is None:
            exchange.end = perf_counter()
        return again

    async def close(self) -> None:
        """Close its pool."""
        with contextlib.suppress(RuntimeError):
            await self._client.aclose()

    async def _read(self, exchange: Exchange, answer: httpx2.Response) -> None:
        exchange.answered = perf_counter()
        exchange.http = answer.http_version
        if sum(len(name) + len(value) + 4 for name, value in answer.headers.raw) > MAX_HEADERS:
            exchange.fail("headers_too_large", f"over {MAX_HEADERS // 1024} KiB")
            return
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
        """The failure kind of what httpx2 raised."""
        late = isinstance(exc, httpx2.TimeoutException)
        kind = None if late else self._root(exc, exchange)
        if kind is not None:
            return kind
        if exchange.sent is None and late:
            return "connect_timeout"
        if exchange.sent is None and exchange.connect_s is not None and self._where.tls and not self._where.proxy:
            return "tls"  # the other side left in the handshake
        if exchange.answered is not None:
            return "idle_timeout" if isinstance(exc, httpx2.ReadTimeout) else "broken_stream"
        return next((kind for known, kind in _BEFORE if isinstance(exc, known)), "closed")

    def _root(self, exc: Exception, exchange: Exchange) -> str | None:
        """The failure kind by what lies at the bottom of it; None where that says nothing."""
        for cause in _causes(exc):
            kind = next((kind for known, kind in _ROOTS if isinstance(cause, known)), None)
            if kind is not None:
                return "proxy" if self._where.proxy else kind
            if isinstance(cause, ssl.SSLError) and exchange.sent is None:
                return "tls"  # later, it only tells how a connection ended
            if isinstance(cause, OSError) and no_socket(cause):
                return "no_socket"
            hint = getattr(cause, "error_status_hint", None)  # h11's word on what it could not parse
            if exchange.answered is None and hint is not None:
                return "headers_too_large" if hint == 431 else "bad_http"
        return None


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and what led to it, down to the bottom."""
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _unheard(exc: Exception, exchange: Exchange) -> bool:
    """Whether a request that was sent, and not answered, may be sent again.

    Over HTTP/1.1, where its connection had carried others: the server had closed an idle one. Over HTTP/2, where the
    server says so: there every connection has carried others, and is idle no more.
    """
    if exchange.http == "HTTP/2":
        events = (cause.args[0] for cause in _causes(exc) if cause.args)
        return any(getattr(event, "error_code", None) == _REFUSED_STREAM for event in events)
    return exchange.sent is not None and exchange.connect_s is None


def _watch(exchange: Exchange, at_sending: Callable[[], None]) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
    """What httpx2 calls while it works: fills in when the request left, and how its connection was opened."""
    began = secured = 0.0

    async def see(event: str, info: Mapping[str, Any]) -> None:
        nonlocal began, secured
        at = perf_counter()
        layer, _, step = event.partition(".")
        if step == "connect_tcp.started":
            began = at
        elif step == "connect_tcp.complete":
            exchange.connect_s = at - began
            peer = info["return_value"].get_extra_info("server_addr")
            exchange.peer = str(peer[0]) if peer else None
        elif step == "start_tls.started":
            secured = at
        elif step == "start_tls.complete":
            exchange.connect_s, exchange.tls_s = at - began, at - secured
        elif step == "send_request_headers.started" and info["request"].method != b"CONNECT":
            exchange.resent |= exchange.sent is not None  # a server that goes away had not looked at it
            exchange.http = "HTTP/2" if layer == "http2" else None
            exchange.sent = at
            at_sending()

    return see
