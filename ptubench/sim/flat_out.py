"""A flat-out server: streams chat completions as fast as asked, and proves what it delivered.

    python -m ptubench.sim.flat_out --cpu 1 --ttft 0.1 --tokens 100 --rate 50 --log flat.jsonl

What `ptubench doctor` and the benchmarks measure the client against. It simulates no deployment: no capacity, no 429.

Every POST whose body says `"stream": true` gets a chunked event stream in Azure's order: the head, the filter event
and the role at once, content event i at arrival + ttft + i / rate, one write each, then finish, usage and [DONE]; no
more events than the request's output limit.
Any other POST gets a whole completion at once. `GET /stats` says what was due and what was sent, `GET /log` has a
line for each request (`?stamps` adds the time of every content event); the answer's `x-request-id` is its name there.

The first line on stdout is {"port": …}, the last one the statistics. It ends when stdin closes or with SIGTERM.
Times are `time.perf_counter`, which every process of a machine shares; a stamp is taken just before its write. A
run in which less than 98 % of the events left within a gap (1 / rate) of their due time is void: the server was the
bottleneck. One thread, raw sockets, absolute due times in ticks of a millisecond, no garbage collection. Several may
share a port (`--port N --share`, Linux): each gets some of the connections, and a `--name` that its log goes by.
"""

import argparse
import contextlib
import gc
import json
import os
import re
import selectors
import signal
import socket
import stat
import sys
import threading
from array import array
from collections import defaultdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ptubench.sim.flat_answers import document, opening, whole, writes

TICK = 0.001
"""Seconds between two looks at what is due; an event is late by up to about this much, and stamped as it left."""
VOID_BELOW = 0.98
_LIMIT = re.compile(rb'"max_(?:completion_)?tokens": ?(\d{1,6})')


def main(make: "type[Server] | None" = None) -> None:
    """Serve until stdin closes or SIGTERM comes; print the port first and the statistics last. `make`: another kind of server."""
    options = read_options()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    _raise_file_limit()
    server = (make or Server)(ttft=options.ttft, tokens=options.tokens, rate=options.rate, name=options.name)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    signal.signal(signal.SIGINT, lambda *_: server.stop())
    port = server.listen(options.host, options.port, share=options.share)
    threading.Thread(target=_stop_with_stdin, args=(server,), daemon=True).start()
    _say({"port": port})
    gc.collect()
    gc.freeze()
    gc.disable()
    server.serve()
    if options.log is not None:
        options.log.write_bytes(server.log(stamps=True))
    _say(server.stats())


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--ttft", type=float, default=0.1, help="seconds from a request's arrival to its first content")
    parser.add_argument("--tokens", type=int, default=100, help="content events of an answer, one token each")
    parser.add_argument("--rate", type=float, default=50.0, help="content events a second, of each stream")
    parser.add_argument("--cpu", type=int, help="run on this core only (Linux)")
    parser.add_argument("--log", type=Path, help="write a JSON line for each request here, at the end")
    parser.add_argument("--share", action="store_true", help="others may listen on the same port (Linux)")
    parser.add_argument("--name", default="s", help="what the names of its requests begin with")
    return parser.parse_args()


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _stop_with_stdin(server: "Server") -> None:
    """Stop when stdin ends; a terminal or /dev/null is nobody's pipe, and does not count."""
    if stat.S_ISCHR(os.fstat(0).st_mode):
        return
    while os.read(0, 4096):
        pass
    server.stop()


def _raise_file_limit() -> None:
    """Each stream needs a descriptor."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Stream:
    """An answer on its way."""

    __slots__ = ("connection", "last", "next", "rest", "send", "stamps", "start", "writes")

    def __init__(self, connection: "Connection", start: float, writes: list[bytes]) -> None:
        self.connection = connection
        self.send = connection.socket.send
        self.start = start
        """When the first content event is due."""
        self.writes = writes
        self.last = len(writes) - 1
        """Which write ends it, and how many content events come before."""
        self.next = 0
        self.rest = b""
        """What the socket did not take of the last write."""
        self.stamps = array("d")


class Connection:
    """A client's connection and what it has sent of its next request."""

    __slots__ = ("held", "socket", "stream")

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self.held = b""
        self.stream: Stream | None = None


class Server:
    """The server. `ttft` in seconds, `rate` in content events a second and stream."""

    def __init__(self, *, ttft: float, tokens: int, rate: float, name: str = "s") -> None:
        self._name = name
        self._ttft, self._tokens, self._gap = ttft, tokens, 1 / rate
        self._opening, self._whole = opening(), whole(tokens)
        self._writes = {tokens: writes(tokens)}
        self._wheel: defaultdict[int, list[Stream]] = defaultdict(list)
        self._tick = int(perf_counter() / TICK)
        self._blocked: list[Stream] = []
        self._arrived, self._quick = array("d"), array("d")
        self._streams: dict[int, Stream] = {}
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._stopping = False
        self._abandoned = 0

    def listen(self, host: str, port: int, *, share: bool = False) -> int:
        """Listen, beside others on the same port if asked to, and return the port."""
        self._listener = socket.create_server((host, port), backlog=4096, reuse_port=share)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        return int(self._listener.getsockname()[1])

    def stop(self) -> None:
        """Leave `serve` within a twentieth of a second."""
        self._stopping = True

    def serve(self) -> None:
        """Send what is due, read what came, sleep a tick; over and over."""
        select = self._selector.select
        while not self._stopping:
            self._send_due(int(perf_counter() / TICK))
            for key, _ in select(TICK if self._wheel or self._blocked else 0.05):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)

    def _send_due(self, now: int) -> None:
        """Everything that is due up to this tick, the oldest first."""
        blocked, self._blocked = self._blocked, []
        for stream in blocked:
            self._send(stream, stream.rest)
        wheel = self._wheel
        for tick in range(self._tick, now + 1):
            # What a late stream owes next goes into the following tick: it catches up, and starves nobody.
            self._tick = tick + 1
            for stream in wheel.pop(tick, ()):
                self._send(stream, stream.writes[stream.next])

    def _send(self, stream: Stream, data: bytes) -> None:
        """Write, stamp, and put the stream where its next event is due."""
        stamp = perf_counter()
        try:
            taken = stream.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._close(stream.connection)
            return
        if taken < len(data):
            stream.rest = data[taken:]
            self._blocked.append(stream)
            return
        if stream.next == stream.last:
            stream.connection.stream = None
            return
        stream.stamps.append(stamp)
        stream.next += 1
        due = int((stream.start + stream.next * self._gap) / TICK) + 1
        self._wheel[max(self._tick, due)].append(stream)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # none is left, or there is no file for another one
            while self._listener is not None:
                client, _ = self._listener.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client = self.secured(client)
                self._selector.register(client, selectors.EVENT_READ, Connection(client))

    def secured(self, client: socket.socket) -> socket.socket:
        """What a connection is spoken over: as it is, unless a subclass puts something around it."""
        return client

    def _read(self, connection: Connection) -> None:
        """Take what came; answer when a request is whole."""
        arrived = perf_counter()
        try:
            data = connection.socket.recv(2**18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.held += data
        head, gap, body = connection.held.partition(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r")[0]
        if gap and len(body) >= int(length or 0):
            connection.held = b""
            try:
                self._answer(connection, head.partition(b"\r\n")[0], body, arrived)
            except OSError:
                self._close(connection)

    def _answer(self, connection: Connection, line: bytes, body: bytes, arrived: float) -> None:
        if not line.startswith(b"POST "):
            log = (
                self.log(stamps=b"?stamps" in line)
                if line.startswith(b"GET /log")
                else json.dumps(self.stats()).encode()
            )
            connection.socket.setblocking(True)
            connection.socket.sendall(b"HTTP/1.1 200 OK" + document(log))
            connection.socket.setblocking(False)
            return
        number = len(self._arrived)
        self._arrived.append(arrived)
        head = b"HTTP/1.1 200 OK\r\nx-request-id: %s%d" % (self._name.encode(), number)
        streamed = b'"stream":true' in body or b'"stream": true' in body
        self._quick.append(0.0 if streamed else perf_counter())
        connection.socket.send(head + (self._opening if streamed else self._whole))
        if streamed:
            stream = Stream(connection, arrived + self._ttft, self._writes_for(body))
            connection.stream = self._streams[number] = stream
            self._wheel[max(self._tick, int(stream.start / TICK) + 1)].append(stream)

    def _writes_for(self, body: bytes) -> list[bytes]:
        """What is written to a request, after the opening."""
        limit = _LIMIT.search(body)
        tokens = self._tokens if limit is None else min(self._tokens, int(limit[1]))
        if tokens not in self._writes:
            self._writes[tokens] = writes(tokens)
        return self._writes[tokens]

    def _close(self, connection: Connection) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()
        if connection.stream is not None:
            self._abandoned += 1
            connection.stream = None

    # --- what became of it --------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Offered against delivered, so far; times in seconds. Streams that their client left count up to there."""
        now = perf_counter()
        due = 0
        lates = [np.zeros(0)]
        for stream in self._streams.values():
            stamps = np.frombuffer(stream.stamps, dtype=np.float64).copy()
            lates.append(stamps - stream.start - np.arange(len(stamps)) * self._gap)
            living = stream.connection.stream is stream
            due += (
                max(len(stamps), min(stream.last, int((now - stream.start) / self._gap) + 1)) if living else len(stamps)
            )
        late = np.concatenate(lates)
        in_time = int(np.count_nonzero(late <= self._gap))
        p50, p99, worst = (np.percentile(late, (50, 99, 100)) if len(late) else np.zeros(3)).round(6).tolist()
        share = in_time / due if due else 1.0
        return {
            "requests": len(self._arrived),
            "streams": len(self._streams),
            "abandoned": self._abandoned,
            "due": due,
            "sent": len(late),
            "in_time": in_time,
            "delivered": round(share, 5),
            "void": share < VOID_BELOW,
            "late_p50": p50,
            "late_p99": p99,
            "late_max": worst,
            "cpu_s": round(sum(os.times()[:2]), 3),
        }

    def log(self, *, stamps: bool) -> bytes:
        """A JSON line for each request, in order of arrival; `first` and `last` are when its content left."""
        lines = []
        for number, arrived in enumerate(self._arrived):
            stream = self._streams.get(number)
            times = stream.stamps if stream else array("d", [self._quick[number]])
            row = {"id": f"{self._name}{number}", "arrived": arrived, "n": len(stream.stamps) if stream else 0}
            row |= {"first": times[0], "last": times[-1]} if times else {"first": None, "last": None}
            if stamps and stream:
                row["stamps"] = list(times)
            lines.append(json.dumps(row))
        return "\n".join([*lines, ""]).encode()


if __name__ == "__main__":
    main()
