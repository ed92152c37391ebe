"""The client of the probe call, watched: how its last exchange ended, and the date of the answer, which no run file needs."""

import email.utils
import time
from collections.abc import Callable, Mapping

from ptubench.client.exchange import Exchange
from ptubench.client.make import Client


class _Dated(Exchange):
    """An exchange that keeps the date of its answer too."""

    __slots__ = ("date",)

    def __init__(self) -> None:
        self.date: float | None = None
        super().__init__()

    def keep_header(self, name: bytes, value: bytes) -> None:
        """As of any exchange; the date is kept aside."""
        super().keep_header(name, value)
        if name.lower() == b"date":
            try:
                self.date = email.utils.parsedate_to_datetime(value.decode("latin-1")).timestamp()
            except (ValueError, OverflowError, OSError):
                self.date = None


class Watched:
    """Clients, one after another, whose last exchange can be looked at afterwards.

    Args:
        make: a new client, for each call.
    """

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make
        self._client = make()
        self.gaps = self._client.gaps
        self.secrets = self._client.secrets
        self.last = Exchange()
        self.date: float | None = None
        """Of the last answer, in whole seconds since the epoch; None where it had none."""
        self.ended = 0.0
        """The wall clock at the end of the last exchange."""

    def made(self) -> Client:
        """A client for one call."""
        self._client = self._make()
        return self

    def authorize(self, headers: Mapping[str, str]) -> None:
        """Use these request headers from now on."""
        self._client.authorize(headers)

    async def warm(self, connections: int) -> int:
        """Open connections; how many are open."""
        return await self._client.warm(connections)

    async def send(self, body: bytes, exchange: Exchange) -> None:
        """One exchange; what is seen of it goes into the one that was handed in."""
        own = _Dated()
        await self._client.send(body, own)
        self.ended = time.time()
        for name in Exchange.__slots__:
            setattr(exchange, name, getattr(own, name))
        self.last, self.date = exchange, own.date

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()
