"""A TCP server that plays scripts, byte by byte, and logs what came and when each content event left.

Parses requests, never its own answers: what a script writes is what is sent. `faults.front` uses the same
connection loop and player to put faults before a simulated deployment.
"""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import cast

import httptools

from ptubench.sim.script import Action, Ask, Do, Script

MOST_REQUEST = 64 * 2**20
"""A request may be about this long, in bytes; a longer one closes the connection."""
_READ = 2**18
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(slots=True, kw_only=True)
class Played:
    """One request and what was played for it. Times are `time.perf_counter`, taken just before the write."""

    ask: Ask
    kind: str
    contents: list[float] = field(default_factory=list)
    """When the write was made that completed each content event."""
    began: float | None = None
    ended: float | None = None
    """When the script was over, whether it ended or the client left."""


Answer = Callable[[Ask, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; False when the connection is over."""


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int, answer: Answer) -> None:
    """Answer the requests of one connection, one after the other, until either side is done with it."""
    asks = _Asks(connection)
    parser = httptools.HttpRequestParser(asks)
    asks.parser = parser
    held = 0
    try:
        while data := await reader.read(_READ):
            asks.now = time.perf_counter()
            parser.feed_data(data)
            held = 0 if asks.waiting else held + len(data)
            while asks.waiting:
                ask, kept = asks.waiting.pop(0)
                if not (await answer(ask, reader, writer) and kept):
                    return
            if held > MOST_REQUEST:
                return
    except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass  # the client left, or it does not speak HTTP/1.1: nothing to say to it
    except asyncio.CancelledError:
        pass  # the server ends; Python 3.11 would report a cancelled handler as a fault
    finally:
        writer.close()


async def play(
    actions: Iterable[Action], played: Played, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Do what the script says; True when its connection may be used again."""
    written = time.perf_counter()
    try:
        for action in actions:
            if isinstance(action, bytes):
                written = time.perf_counter()
                writer.write(action)
                played.began = played.began or written
                await writer.drain()
            elif not isinstance(action, Do):
                await asyncio.sleep(action)
            elif action is Do.CONTENT:
                played.contents.append(written)
            else:
                await _end(action, reader, writer)
                return False
            if writer.is_closing():
                return False
        return True
    finally:
        played.ended = time.perf_counter()


async def _end(how: Do, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if how is Do.RESET:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        writer.transport.abort()
    elif how is Do.STALL:
        while await reader.read(_READ):
            pass


class ScriptServer:
    """Plays one script, or one for each path, and keeps `log`, one `Played` for each request in order of arrival.

    A fixed sequence of actions is a script too. A path without a script closes the connection.
    """

    def __init__(self, script: Script | Iterable[Action] | Mapping[str, Script | Iterable[Action]]) -> None:
        paths = script if isinstance(script, Mapping) else {"": script}
        self._scripts = {path: _as_script(one) for path, one in paths.items()}
        self.log: list[Played] = []
        self.connections = 0
        """Connections accepted so far."""
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.start_server(self._accept, host, port, backlog=4096, ssl=tls)
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open.add(task)
        try:
            await converse(reader, writer, number, self._answer)
        finally:
            self._open.discard(task)

    async def _answer(self, ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        played = Played(ask=ask, kind=ask.path)
        self.log.append(played)
        script = self._scripts.get(ask.path, self._scripts.get(""))
        return script is not None and await play(script(ask), played, reader, writer)


def _as_script(script: Script | Iterable[Action]) -> Script:
    if callable(script):
        return script
    actions = list(script)
    return lambda _ask: actions


class _Asks:
    """What httptools calls while it parses the requests of one connection."""

    parser: httptools.HttpRequestParser
    now: float

    def __init__(self, connection: int) -> None:
        self.waiting: list[tuple[Ask, bool]] = []
        """Each with whether its connection may be kept; the parser knows only while it calls."""
        self._connection = connection
        self._nth = count()

    def on_message_begin(self) -> None:
        self._arrived = self.now
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        ask = Ask(
            method=self.parser.get_method().decode("latin-1"),
            target=self._target.decode("latin-1"),
            headers=self._headers,
            body=b"".join(self._body),
            connection=self._connection,
            nth=next(self._nth),
            arrived=self._arrived,
        )
        self.waiting.append((ask, self.parser.should_keep_alive()))
