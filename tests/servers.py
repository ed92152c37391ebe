"""Servers for tests, each in a thread with a loop of its own, so that no test's loop delays what a server stamps."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from ptubench.sim import answers, faults
from ptubench.sim.script import Pace, chunked
from ptubench.sim.wire import ScriptServer

CHAT = "/openai/v1/chat/completions"
_PATIENCE = 60


class Background:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work):
        """The result of a coroutine, run over there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_PATIENCE)

    @contextlib.contextmanager
    def listening(self, starting) -> Iterator[int]:
        """The port of an asyncio server that is started and closed over there."""
        server = self.run(starting)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            self.run(_close(server))

    def close(self) -> None:
        self.run(_cancel_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_PATIENCE)
        self.loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()


async def _cancel_others() -> None:
    for _ in range(3):  # what was accepted meanwhile is under way only now
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for transport in tuple(asyncio.get_running_loop()._transports.values()):
            transport.abort()
        await asyncio.sleep(0)  # what was aborted is closed by now


@contextlib.contextmanager
def background() -> Iterator[Background]:
    thread = Background()
    try:
        yield thread
    finally:
        thread.close()


@dataclass
class Running:
    """A script server that listens."""

    server: ScriptServer
    port: int
    host: str
    scheme: str

    @property
    def base(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def url(self) -> str:
        return self.base + CHAT

    @property
    def log(self):
        return self.server.log

    @property
    def connections(self) -> int:
        return self.server.connections


@contextlib.contextmanager
def script_server(script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Running]:
    """Play a script, a fixed list of actions, or one of them for each path. `host` may be "::1"."""
    with background() as thread:
        server = ScriptServer(script)
        port = thread.run(server.start(host=host, tls=tls))
        try:
            yield Running(server, port, host, "https" if tls else "http")
        finally:
            thread.run(server.stop())


def fault_server(kind: str, *, tokens: int = 8, ttft: float = 0.0, gap: float = 0.0, tls: ssl.SSLContext | None = None):
    """Play a kind of fault to every request."""
    return script_server(faults.script(kind, tokens=tokens, ttft=ttft, gap=gap), tls=tls)


def healthy(*, tokens: int = 8, ttft: float = 0.0, gap: float = 0.0):
    """The script of a proper answer."""
    pace = Pace(tokens=tokens, ttft=ttft, gap=gap)
    return lambda _ask: chunked(answers.healthy(pace))


def healthy_server(*, tokens: int = 8, ttft: float = 0.0, gap: float = 0.0, host="127.0.0.1", tls=None):
    """Answer every request properly."""
    return script_server(healthy(tokens=tokens, ttft=ttft, gap=gap), host=host, tls=tls)


@contextlib.contextmanager
def front_server(shares, upstream: tuple[str, int], *, seed: int = 0, pace: Pace = faults.PACE):
    """`faults.front` before another server; yields (port, what it played)."""
    played = []
    starting = faults.front(shares, upstream, seed=seed, pace=pace, log=played.append)
    with background() as thread, thread.listening(starting) as port:
        yield port, played


class Authority:
    """A certificate authority nobody trusts but who is given its file."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def serving(self, *names: str) -> ssl.SSLContext:
        """A server's context with a certificate for these names; without any for 127.0.0.1, ::1 and localhost."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ("127.0.0.1", "::1", "localhost"))).configure_cert(context)
        return context

    def file(self, folder: Path) -> Path:
        """Where its certificate is written, for `--ca-file`."""
        path = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(path))
        return path


@dataclass
class Proxy:
    """A CONNECT proxy: what it was asked for, and how it answers."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    """The targets of the CONNECT requests, as sent."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """Their headers, names in lower case."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


PASS = b"HTTP/1.1 200 Connection established\r\n\r\n"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
UNAUTHENTICATED = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 9\r\n\r\nwho, you?"
)
HANG = b""


@contextlib.contextmanager
def proxy(answer: bytes = PASS, *, host: str | None = None) -> Iterator[Proxy]:
    """A CONNECT proxy that gives this answer: `PASS` tunnels, `HANG` never answers, anything else closes after it.

    All names lead to `host` if it is given, so that a test can use a name that does not exist.
    """
    seen = Proxy()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            seen.asked.append(lines[0].split()[1])
            seen.headers.append({n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:] if line)})
            writer.write(answer)
            if answer == PASS:
                name, _, port = seen.asked[-1].rpartition(":")
                await _tunnel(reader, writer, host or name.strip("[]"), int(port))
            elif answer == HANG:
                await reader.read()

    with background() as thread, thread.listening(asyncio.start_server(accept, "127.0.0.1", 0)) as seen.port:
        yield seen


@contextlib.contextmanager
def greeting_server(greeting: bytes) -> Iterator[int]:
    """The port of a server that speaks first and hangs up; before anybody has asked for anything."""

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            writer.write(greeting)

    with background() as thread, thread.listening(asyncio.start_server(accept, "127.0.0.1", 0)) as port:
        yield port


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    back_reader, back_writer = await asyncio.open_connection(host, port)
    with contextlib.closing(back_writer):
        await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
