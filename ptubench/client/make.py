"""Which client carries the load, by the workload's `client:`."""

from collections.abc import Mapping
from typing import Protocol

from ptubench.client.connect import address
from ptubench.client.exchange import Exchange, GapSink
from ptubench.client.timed import TimedClient
from ptubench.stream.apis import APIS
from ptubench.workload.model import Timeouts


class Client(Protocol):
    """What the load generator needs of a client."""

    gaps: GapSink
    secrets: tuple[str, ...]
    """What no answer may give away (`Exchange.hide`)."""

    def authorize(self, headers: Mapping[str, str]) -> None:
        """Use these request headers from now on."""

    async def warm(self, connections: int) -> int:
        """Open connections before the load; how many are open."""

    async def send(self, body: bytes, exchange: Exchange) -> None:
        """One exchange; every failure is named in it."""

    async def close(self) -> None:
        """Close what is open."""


def make_client(
    kind: str,
    *,
    url: str,
    api: str = "chat",
    headers: Mapping[str, str],
    timeouts: Timeouts,
    stream: bool,
    ca_file: str | None,
    env: Mapping[str, str],
    max_connections: int,
) -> Client:
    """The client named `timed`, `httpx` or `package.module:function`.

    Args:
        kind: as in the workload.
        url: where requests are posted.
        api: a name in `stream.apis`: how answers are read.
        headers: request headers, secrets included.
        timeouts: of each exchange, seconds.
        stream: whether answers are event streams.
        ca_file: PEM file with further authorities.
        env: where proxies are named.
        max_connections: that are kept open at most, where the client has a pool of its own.

    Raises:
        UsageError: proxy, CA file or function can't be used.
    """
    where = address(url, ca_file=ca_file, env=env)
    if kind == "timed":
        return TimedClient(url, where, api=APIS[api], headers=headers, timeouts=timeouts, stream=stream)
    if kind == "httpx":
        from ptubench.client.compat import HttpxClient  # noqa: PLC0415 - heavy, and rarely asked for

        return HttpxClient(
            url,
            where,
            api=APIS[api],
            headers=headers,
            timeouts=timeouts,
            stream=stream,
            max_connections=max_connections,
        )
    from ptubench.client.custom import CustomClient, load_function  # noqa: PLC0415 - rarely asked for

    return CustomClient(load_function(kind), url=url, api=APIS[api], headers=headers, timeouts=timeouts, stream=stream)
