"""One call before the load, through the client that will carry it: is the target there, and what does it accept?"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ptubench import failures
from ptubench.client.exchange import Exchange
from ptubench.client.make import Client
from ptubench.errors import TargetRefused
from ptubench.record import THROTTLED_IN_BAND
from ptubench.stream.apis import APIS
from ptubench.target.model import Target
from ptubench.workload.model import Workload

_LIMIT = 16
_MESSAGES = b'[{"role":"user","content":" Say hello."}]'

_WAYS_OUT = {
    "dns": "check the host name of --endpoint",
    "refused": "check host and port of --endpoint, and that the server runs",
    "connect": "check --endpoint and your network",
    "connect_timeout": "check --endpoint, a firewall, or a private endpoint that this machine does not reach",
    "proxy": "check HTTPS_PROXY, or except the host with NO_PROXY",
    "tls": "check the host name; name a private authority with --ca-file",
    "closed": "check scheme and port of --endpoint",
    "bad_http": "check scheme and port of --endpoint",
    "redirect": "give --endpoint the final address",
    "not_a_stream": "check --endpoint and --api-style: this is no {api} address",
    "http_400": "check the workload's parameters against what the model accepts",
    "http_401": "check the key in the environment, and that it belongs to this resource",
    "http_403": "check the key's or identity's role, and the resource's network rules",
    "http_404": "check --deployment, --endpoint and --api-style{or_api}",
}


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe call found."""

    limit_field: str
    status: int | None
    model: str | None
    simulated: str | None
    """`MODEL:PTU` where the answer says that a simulated deployment gave it."""
    peer: str | None
    connect_s: float | None
    tls_s: float | None
    e2e_s: float | None
    headers: dict[str, str]
    warning: str | None = None

    def describe(self) -> dict[str, Any]:
        """For the run file."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if name != "warning"}

    def network(self) -> dict[str, Any]:
        """Which address answered, and whether it is a private one."""
        try:
            private = self.peer and ipaddress.ip_address(self.peer).is_private
        except ValueError:
            private = None
        return {"address": self.peer, "private": private}


async def probe(make: Callable[[], Client], target: Target, workload: Workload) -> Probe:
    """Send one small call.

    Raises:
        TargetRefused: no load makes sense; one sentence with the service's words and the way out.
    """
    exchange = Exchange()
    names = APIS[target.api].limit_fields
    for limit_field in names:
        exchange = await _call(make(), target, workload.parameters, limit_field, stream=workload.stream)
        if not _limit_refused(exchange, names):
            break
    else:
        limit_field = names[0]
    refused = exchange.failure in _WAYS_OUT
    if refused:
        raise TargetRefused(_sentence(target, exchange))
    return Probe(
        limit_field=limit_field,
        status=exchange.status,
        model=exchange.answer.model,
        simulated=exchange.headers.get("x-ptubench-simulated"),
        peer=exchange.peer,
        connect_s=exchange.connect_s,
        tls_s=exchange.tls_s,
        e2e_s=exchange.end - exchange.sent if exchange.end and exchange.sent else None,
        headers=exchange.headers,
        warning=_warning(exchange),
    )


async def _call(
    client: Client, target: Target, parameters: Mapping[str, Any], limit_field: str, *, stream: bool
) -> Exchange:
    exchange = Exchange()
    maker = APIS[target.api].body_maker(
        model=target.body_model, limit_field=limit_field, stream=stream, parameters=parameters
    )
    try:
        await client.send(maker.body(_MESSAGES, _LIMIT), exchange)
    finally:
        await client.close()
    exchange.hide(client.secrets)
    return exchange


def _limit_refused(exchange: Exchange, names: tuple[str, ...]) -> bool:
    """Whether the target wants its output limit under another of its names, or has passed over this one."""
    if exchange.failure == "http_400":
        return any(name in (exchange.error or "") for name in names)
    # An event holds at least a token: without usage their number tells enough.
    got = max(exchange.answer.completion_tokens or 0, exchange.answer.content_events)
    return exchange.failure is None and got > _LIMIT


def _sentence(target: Target, exchange: Exchange) -> str:
    kind = exchange.failure or ""
    said = failures.explain(kind)
    if exchange.error:
        said += f" ({exchange.error})"
    way_out = _WAYS_OUT[kind]
    if kind == "http_401" and target.auth == "none" and not target.header_env:
        way_out = "no key was sent; set AZURE_OPENAI_API_KEY (or name a variable with --key-env), or use --auth entra"
    or_api = "" if target.api == "chat" else ", and that model, region and API version offer Responses"
    return f"{target.url}: {said}; {way_out.format(api=APIS[target.api].title, or_api=or_api)}"


def _warning(exchange: Exchange) -> str | None:
    if exchange.status == 429 or THROTTLED_IN_BAND in exchange.flags:
        return "the probe call was answered 429: the deployment is busy before the load has begun"
    if exchange.failure in (None, "no_content"):
        return None
    said = f"the probe call failed: {failures.explain(exchange.failure)}"
    return said + (f" ({exchange.error})" if exchange.error else "")
