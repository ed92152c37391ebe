"""The client that carries the load: a pool of timed HTTP/1.1 connections to one target.

Knows nothing of schedules, workloads or retries on a 429. A reused connection that closes before any byte of
the answer is no news of the service (it had closed an idle connection): the request is sent once more on a
new one, stamped anew and flagged.
"""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from ptubench.client.connect import Address, open_connection, secrets
from ptubench.client.exchange import Exchange, Failed, GapSink, fixed_headers
from ptubench.client.http1 import Connection
from ptubench.stream.apis import APIS, Api
from ptubench.workload.model import Timeouts

_AT_ONCE = 32  # handshakes in parallel while warming


class TimedClient:
    """Sends requests to one URL.

    Args:
        url: where requests are posted.
        where: host, port, TLS and proxy of that URL.
        api: how answers are read.
        headers: request headers, secrets included; replaced by `authorize` when a token is renewed.
        timeouts: of each exchange, seconds.
        stream: whether answers are event streams.
    """

    def __init__(
        self,
        url: str,
        where: Address,
        *,
        api: Api = APIS["chat"],
        headers: Mapping[str, str],
        timeouts: Timeouts,
        stream: bool,
    ) -> None:
        parts = urlsplit(url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host = parts.netloc
        self._where = where
        self._answer = api.answer
        self._timeouts = timeouts
        self._stream = stream
        self._idle: list[Connection] = []
        self.gaps = GapSink()
        self.authorize(headers)

    def authorize(self, headers: Mapping[str, str]) -> None:
        """Use these request headers from now on."""
        sent = fixed_headers(stream=self._stream) | {name.lower(): value for name, value in headers.items()}
        lines = [f"POST {self._path} HTTP/1.1", f"host: {self._host}", *(f"{name}: {sent[name]}" for name in sent)]
        self._head = "\r\n".join((*lines, "content-length: ")).encode("latin-1")
        self.secrets = secrets(headers, self._where)

    async def warm(self, connections: int) -> int:
        """Open so many connections before the load; returns how many are open. What fails will fail under load."""
        gate = asyncio.Semaphore(_AT_ONCE)
        failed = 0

        async def one() -> None:
            nonlocal failed
            async with gate:
                if failed >= _AT_ONCE:
                    return  # the target takes no more; to try them all could take minutes
                try:
                    self._idle.append(await self._open(Exchange()))
                except Failed:
                    failed += 1

        await asyncio.gather(*(one() for _ in range(connections)))
        return len(self._idle)

    async def send(self, body: bytes, exchange: Exchange) -> None:
        """One exchange; every failure is named in it."""
        exchange.answer = self._answer()
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        try:
            connection = self._reuse()
            if connection is not None:
                await connection.perform(exchange, request)
                if exchange.failure != "closed":
                    self._keep(connection)
                    return
                exchange.restart()
                exchange.resent = True
            connection = await self._open(exchange)
            await connection.perform(exchange, request)
            self._keep(connection)
        except Failed as failed:
            exchange.fail(failed.kind, failed.text)

    async def close(self) -> None:
        """Close every idle connection."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)

    def _reuse(self) -> Connection | None:
        while self._idle:
            # Last in, first out: few connections stay busy and the others may go.
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        if not connection.closed:
            self._idle.append(connection)

    async def _open(self, exchange: Exchange) -> Connection:
        connection = Connection(gaps=self.gaps, timeouts=self._timeouts, stream=self._stream)
        await open_connection(connection, self._where, exchange, self._timeouts.connect)
        return connection
