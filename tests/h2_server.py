"""A small HTTP/2 server over TLS: it answers every request with a proper event stream, and logs when content left."""

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings

from ptubench.sim import answers
from ptubench.sim.script import EVENT_STREAM, Do, Pace
from servers import CHAT, background

_RESET = b'"reset":true'
"""In a request's body: its stream is reset after the first content."""
_REFUSED = re.compile(rb'"refused":(\d+)')
"""The same: the first one that says so is reset with this code before anything is answered."""
_GOAWAY = b'"goaway":true'
"""The same: with the first one the server goes away, and says that it has not looked at it."""


@dataclass
class Served:
    """What it did."""

    port: int = 0
    connections: int = 0
    turned_away: int = 0
    """Requests that were answered with nothing."""
    contents: list[list[float]] = field(default_factory=list)
    """Per request, in order of arrival: `time.perf_counter` before each event with content was written."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}{CHAT}"


@contextlib.contextmanager
def h2_server(
    tls: ssl.SSLContext, *, tokens: int = 8, ttft: float = 0.0, gap: float = 0.0, most_streams: int = 100
) -> Iterator[Served]:
    """Listen; `most_streams` is what it allows a connection at once."""
    tls.set_alpn_protocols(["h2"])
    served, pace = Served(), Pace(tokens=tokens, ttft=ttft, gap=gap)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            await _converse(reader, writer, served, pace, most_streams)

    with background() as thread, thread.listening(asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)) as served.port:
        yield served


async def _converse(reader, writer, served: Served, pace: Pace, most_streams: int) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.local_settings = h2.settings.Settings(
        client=False, initial_values={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: most_streams}
    )
    connection.initiate_connection()
    bodies: dict[int, bytes] = {}
    async with asyncio.TaskGroup() as streams:
        while True:
            writer.write(connection.data_to_send())
            await writer.drain()
            data = await reader.read(65536)
            if not data:
                return
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    body = bodies.pop(event.stream_id)
                    if not served.turned_away and (refused := _REFUSED.search(body) or _GOAWAY in body):
                        served.turned_away += 1
                        if refused is True:
                            connection.close_connection(last_stream_id=event.stream_id - 2)
                        else:
                            connection.reset_stream(event.stream_id, int(refused[1]))
                        continue
                    served.contents.append([])
                    reset = _RESET in body
                    streams.create_task(
                        _answer(connection, writer, event.stream_id, served.contents[-1], pace, reset=reset)
                    )


async def _answer(connection, writer, stream: int, contents: list[float], pace: Pace, *, reset: bool) -> None:
    connection.send_headers(stream, [(":status", "200"), *EVENT_STREAM.items()])
    written = 0.0
    for action in answers.healthy(pace):
        if isinstance(action, bytes):
            written = time.perf_counter()
            connection.send_data(stream, action)
        elif action is Do.CONTENT:
            contents.append(written)
            if reset:
                connection.reset_stream(stream)
                break
        else:
            await asyncio.sleep(action)
        writer.write(connection.data_to_send())
    else:
        connection.end_stream(stream)
    writer.write(connection.data_to_send())
    await writer.drain()
