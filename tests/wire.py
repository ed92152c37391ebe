"""A connection of the timed client without a network: what it reads, and when it is lost, is said by hand."""

import asyncio

from ptubench.client import http1
from ptubench.client.exchange import Exchange, GapSink
from ptubench.workload.model import Timeouts


class Wire(asyncio.Transport):
    """A transport that takes everything and goes nowhere."""

    aborted = False

    def write(self, data):
        pass

    def abort(self):
        self.aborted = True

    def is_closing(self):
        return self.aborted

    def get_write_buffer_size(self):
        return 0


def connected(*, timeouts: Timeouts | None = None, gaps: GapSink | None = None, stream: bool = True):
    """A connection that is open; in a running loop."""
    connection = http1.Connection(gaps=gaps or GapSink(), timeouts=timeouts or Timeouts(), stream=stream)
    connection.connection_made(Wire())
    return connection


async def asked(connection: http1.Connection, exchange: Exchange) -> asyncio.Task:
    """Send a request; what waits for the end of its answer."""
    under_way = asyncio.create_task(connection.perform(exchange, b"POST"))
    await asyncio.sleep(0)
    return under_way
