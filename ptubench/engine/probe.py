"""One call before the load, through the client that will carry it: is the target there, and what does it accept?"""

from collections.abc import Callable
from typing import Any

import msgspec

from ptubench import failures
from ptubench.client.exchange import Exchange
from ptubench.client.make import Client
from ptubench.engine.accepted import Accepted, learn, sentence
from ptubench.engine.ways_out import private, way_out
from ptubench.errors import TargetRefused
from ptubench.record import THROTTLED_IN_BAND
from ptubench.stream.apis import APIS
from ptubench.target.model import Target
from ptubench.workload.model import Workload

_LIMIT = 16
_MESSAGES = b'[{"role":"user","content":" Say hello."}]'


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe call found."""

    limit_field: str
    left_out: dict[str, str] = {}
    """Names of body fields that the target refused and the run goes without, and what it said of each."""
    status: int | None
    model: str | None
    simulated: str | None
    """`MODEL:PTU` where the answer says that a simulated deployment gave it."""
    peer: str | None
    """The address at the other end of the connection: of the target, or of the proxy."""
    proxy: str | None = None
    """Host and port of the proxy between, if there is one."""
    http: str | None = None
    """The version that was spoken, from a client that has more than one."""
    tcp_s: float | None = None
    connect_s: float | None
    tls_s: float | None
    e2e_s: float | None
    headers: dict[str, str]
    warning: str | None = None
    failed: bool = False
    """It was neither answered nor refused with a 429: a run begins all the same."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not keep the load from beginning, a sentence each."""
        left_out = tuple(sentence(name, said) for name, said in self.left_out.items())
        return left_out if self.warning is None else (*left_out, self.warning)

    def describe(self) -> dict[str, Any]:
        """For the run file."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if name not in ("warning", "failed")}

    def network(self) -> dict[str, Any]:
        """Which address answered (of a proxy: its own), and how long its connection took to open."""
        connect_s = None if self.connect_s is None else self.connect_s - (self.tls_s or 0.0)
        times = {"round_trip_ms": self.tcp_s, "first_connect_ms": connect_s, "first_tls_ms": self.tls_s}
        return {
            "address": self.peer,
            "private": private(self.peer),
            "proxy": self.proxy,
            **{name: None if seconds is None else seconds * 1000 for name, seconds in times.items()},
        }


async def probe(make: Callable[[], Client], target: Target, workload: Workload, *, proxy: str | None = None) -> Probe:
    """Send one small call.

    Args:
        make: the client that will carry the load.
        target: where to.
        workload: what the calls of the load will have.
        proxy: host and port of the proxy that the client goes through; None without one.

    Raises:
        TargetRefused: no load makes sense; one sentence with the service's words and the way out.
    """

    async def call(known: Accepted) -> tuple[bytes, Exchange]:
        return await _call(make(), target, workload, known)

    accepted, exchange = await learn(call, APIS[target.api].limit_fields, _LIMIT)
    hint = way_out(target, exchange, proxy=proxy)
    if hint is not None:
        raise TargetRefused(_sentence(target, exchange, hint))
    return Probe(
        limit_field=accepted.limit_field,
        left_out=accepted.left_out,
        status=exchange.status,
        model=exchange.answer.model,
        simulated=exchange.headers.get("x-ptubench-simulated"),
        peer=exchange.peer,
        proxy=proxy,
        http=exchange.http,
        tcp_s=exchange.tcp_s,
        connect_s=exchange.connect_s,
        tls_s=exchange.tls_s,
        e2e_s=exchange.end - exchange.sent if exchange.end and exchange.sent else None,
        headers=exchange.headers,
        warning=_warning(exchange),
        failed=exchange.failure not in (None, "empty"),
    )


async def _call(client: Client, target: Target, workload: Workload, known: Accepted) -> tuple[bytes, Exchange]:
    exchange = Exchange()
    maker = APIS[target.api].body_maker(
        model=target.body_model,
        limit_field=known.limit_field,
        stream=workload.stream,
        parameters=workload.parameters,
        left_out=known.left_out,
    )
    body = maker.body(_MESSAGES, _LIMIT)
    try:
        await client.send(body, exchange)
    finally:
        await client.close()
    exchange.hide(client.secrets)
    return body, exchange


def _sentence(target: Target, exchange: Exchange, hint: str) -> str:
    return f"{target.url}: {_said(exchange)}; {hint}"


def _said(exchange: Exchange) -> str:
    """What failed, and the service's words for it; a code that only repeats the status is left out."""
    said = failures.explain(exchange.failure or "")
    words = (exchange.error or "").removeprefix(f"{exchange.status}: ")
    return f"{said} ({words})" if words else said


def _warning(exchange: Exchange) -> str | None:
    if exchange.status == 429 or THROTTLED_IN_BAND in exchange.flags:
        return "the probe call was answered 429: the deployment is busy before the load has begun"
    if exchange.failure in (None, "empty"):
        return None
    return f"the probe call failed: {_said(exchange)}"
