"""Whether a target, and the way to it, are in order: a row for each thing, and what to do about it.

It connects, to see name, network and certificate, and sends one probe call through `engine.probe`, as a run does before its
load. Nothing else reaches the target. Entra is asked for a token only with `--auth entra`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from ptubench import loop
from ptubench.client import connect
from ptubench.client.connect import Address
from ptubench.client.exchange import Exchange, Failed, GapSink
from ptubench.client.http1 import Connection
from ptubench.client.make import Client, make_client
from ptubench.doctor import rows
from ptubench.doctor.rows import Row
from ptubench.doctor.watched import Watched
from ptubench.engine import keys, reach
from ptubench.engine.probe import Probe, probe
from ptubench.engine.ways_out import way_out
from ptubench.errors import TargetRefused, UsageError
from ptubench.ptu import catalogue
from ptubench.target import access, address
from ptubench.target.model import Target, TargetOptions
from ptubench.target.parts import VARIABLES
from ptubench.target.resolve import request_headers, resolve_target
from ptubench.units import seconds_text
from ptubench.workload.model import Class, Fixed, OpenLoop, Stage, Timeouts, Workload

NO_TARGET = (
    "no target was named: --endpoint https://RESOURCE.openai.azure.com --deployment NAME (or AZURE_OPENAI_ENDPOINT and "
    "AZURE_OPENAI_DEPLOYMENT) has one looked at too"
)
_TIMEOUTS = Timeouts(connect=5.0, first_byte=15.0, idle=10.0, total=20.0)
_PROBING = Workload(
    name="doctor",
    classes=(Class(prompt=Fixed(tokens=32), completion=Fixed(tokens=16)),),
    load=OpenLoop(stages=(Stage(value=1, seconds=1),)),
    duration=1.0,
    warmup=0.0,
    timeouts=_TIMEOUTS,
)
_ROW_OF = {
    "dns": "dns",
    "proxy": "proxy",
    "tls": "tls",
    "http_401": "key",
    "http_403": "role",
    **dict.fromkeys(("refused", "connect", "connect_timeout", "no_socket"), "network"),
}
"""Which row a failure belongs to; any other to `deployment`."""
_BY_WORDS = (
    ("key", ("authenticationtypedisabled", "key based authentication is disabled")),
    ("role", ("permissiondenied", "lacks the required data action", "does not have access to api/operation")),
    ("network", ("virtual network", "firewall", "trafficdenied", "public access is disabled", "private endpoint")),
    ("network", ("publicnetworkaccessdisabled",)),
)
"""What the words of a 401 or 403 tell better than its status (`engine.ways_out` has their sources)."""
_LATE = (("proxy", "proxy "), ("tls", "tls handshake"))
"""What the words of a connection that was not open in time tell (`client.connect`)."""
_LET_IN, _UNTOLD = "the call was let in", "no answer tells"
_ORDER = ("address", "variables", "proxy", "dns", "network", "tls", "key", "role", "deployment", "clock")


def named(options: TargetOptions, env: Mapping[str, str]) -> bool:
    """Whether anything was said of a target."""
    endpoint = any(env.get(name, "").strip() for name in VARIABLES["endpoint"])
    return endpoint or replace(options, model=None) != TargetOptions()


async def examine(options: TargetOptions, env: Mapping[str, str], *, credential: Any = None) -> dict[str, Any]:
    """Look at a target.

    Args:
        options: what the command line says of it.
        env: the environment.
        credential: where tokens are asked for with `--auth entra`; Azure's default chain when None.

    Returns:
        {endpoint, url, deployment, style, api, auth, rows[{name, status, seen, way_out}], passed}.

    Raises:
        UsageError: the options can't be understood, or contradict each other.
    """
    target, headers, fault = _resolved(options, env)
    found = {"address": rows.address(target)}
    if fault is not None:
        found["key"] = Row(name="key", status="failed", seen=fault)
    where = _where(target, options.ca_file, env, found)
    found["variables"] = rows.variables(target, where, env)
    if where is not None and await _connected(target, where, found):
        aim = _aim(target, headers, options, env, credential)
        if fault is None and (carried := await _carried(target, aim, options, found)) is not None:
            make = partial(
                make_client,
                "timed",
                url=target.url,
                api=target.api,
                headers=carried,
                timeouts=_TIMEOUTS,
                stream=True,
                ca_file=options.ca_file,
                env=env,
                max_connections=1,
            )
            await _called(target, where.proxy and where.proxy.name, make, found)
    for name in _ORDER:
        found.setdefault(name, Row(name=name, status="unknown", seen="not seen: what stands before it failed"))
    ordered = [found[name] for name in _ORDER]
    return {
        **{name: getattr(target, name) for name in ("endpoint", "url", "deployment", "style", "api", "auth")},
        "rows": [msgspec.to_builtins(row) for row in ordered],
        "passed": all(row.status != "failed" for row in ordered),
    }


def _resolved(options: TargetOptions, env: Mapping[str, str]) -> tuple[Target, dict[str, str], str | None]:
    """The target, its secrets, and what keeps it from having them; the rest is looked at all the same."""
    try:
        target = resolve_target(options, {}, env, workload_name="doctor")
        return target, request_headers(target, env), None
    except UsageError as exc:
        if options.auth not in access.AUTHS:
            raise
        bare = replace(options, auth="none", scope=None, header=())
        return resolve_target(bare, {}, env, workload_name="doctor"), {}, str(exc)


def _where(target: Target, ca_file: str | None, env: Mapping[str, str], found: dict[str, Row]) -> Address | None:
    """Host, port, proxy and TLS; None with a proxy that is none."""
    connect.tls_context(ca_file)
    try:
        where = connect.address(target.url, ca_file=ca_file, env=env)
    except UsageError as exc:
        found["proxy"] = Row(name="proxy", status="failed", seen=str(exc))
        return None
    found["proxy"] = rows.proxy(where, env)
    return where


async def _connected(target: Target, where: Address, found: dict[str, Row]) -> bool:
    """Open a connection and send nothing: rows for name, network and certificate."""
    found["dns"] = await rows.names(where, _TIMEOUTS.connect)
    if found["dns"].status == "failed":
        return False
    exchange = Exchange()
    connection = Connection(gaps=GapSink(), timeouts=_TIMEOUTS, stream=True)
    try:
        await connect.open_connection(connection, where, exchange, _TIMEOUTS.connect)
    except Failed as exc:
        exchange.fail(exc.kind, exc.text)
        if exchange.tcp_s is not None:
            found["network"] = _network(where, exchange)
        _blame(exchange, exc.text, way_out(target, exchange, proxy=where.proxy and where.proxy.name), found)
        return False
    assert connection.transport is not None  # noqa: S101 - just opened
    secured = connection.transport.get_extra_info("ssl_object")
    connection.close()
    found["network"] = _network(where, exchange)
    loopback = address.parse(target.endpoint, "target").loopback
    found["tls"] = (
        rows.plain(where, loopback=loopback) if secured is None else rows.tls(secured, where.host, now=time.time())
    )
    return True


def _network(where: Address, exchange: Exchange) -> Row:
    """That there is somebody at the other end."""
    whom = "the proxy" if where.proxy else exchange.peer
    return Row(name="network", status="ok", seen=f"connected to {whom}, round trip {seconds_text(exchange.tcp_s)}")


def _blame(exchange: Exchange, seen: str, hint: str | None, found: dict[str, Row]) -> None:
    """The row that a failure belongs to says so."""
    said = (exchange.error or "").lower()
    name = _ROW_OF.get(exchange.failure or "", "deployment")
    if name in ("key", "role"):
        name = next((row for row, words in _BY_WORDS if any(word in said for word in words)), name)
    if exchange.failure == "connect_timeout":
        name = next((row for row, words in _LATE if words in said), name)
    if exchange.status in (400, 404):
        found["role"] = Row(name="role", status="ok", seen=_LET_IN)
    elif name == "deployment" and exchange.sent is not None:
        found["role"] = Row(name="role", status="unknown", seen=_UNTOLD)
    found[name] = Row(name=name, status="failed", seen=seen, way_out=hint)


def _aim(
    target: Target, headers: dict[str, str], options: TargetOptions, env: Mapping[str, str], credential: Any
) -> reach.Aim:
    """The target with what it is asked with; Azure's credential chain only where it was asked for."""
    if target.auth != "entra" or options.auth != "entra" or credential is not None:
        return reach.Aim(target=target, headers=headers, credential=credential if target.auth == "entra" else None)
    return reach.aimed(target, headers, cloud_said=options.cloud is not None, env=env)


async def _carried(
    target: Target, aim: reach.Aim, options: TargetOptions, found: dict[str, Row]
) -> dict[str, str] | None:
    """The request headers with their secrets, and the row of the key; None where there is nothing to call with."""
    if target.auth == "entra" and options.auth != "entra":
        seen = f"{target.sources['auth']}: a run would ask Entra for a token, which was not tried"
        found["key"] = Row(
            name="key", status="warning", seen=seen, way_out="say --auth entra to have it tried, or set a key"
        )
        return None
    secrets = keys.Keys(aim.headers, reach.asking(aim.credential, target), lambda _: None)
    try:
        await secrets.renew()
    except TargetRefused as exc:
        seen, _, hint = str(exc).rpartition("; ")
        found["key"] = Row(name="key", status="failed", seen=seen, way_out=hint)
        return None
    proof = {
        "key": f"the key in {target.key_env}",
        "token": f"the token in {target.key_env}",
        "entra": "Entra gave a token",
    }
    also = "".join(f", {name} from {variable}" for name, variable in target.header_env)
    found["key"] = Row(name="key", status="ok", seen=proof.get(target.auth, "none is sent") + also)
    if target.auth == "token":
        found["key"] = rows.ready_token(found["key"], secrets.headers["authorization"], now=time.time())
    return secrets.headers


async def _called(target: Target, proxy: str | None, make: Callable[[], Client], found: dict[str, Row]) -> None:
    """Send the probe call: rows for key, role, deployment and clock."""
    client = Watched(make)
    try:
        answered = await probe(client.made, target, _PROBING, proxy=proxy)
    except TargetRefused as exc:
        hint = way_out(target, client.last, proxy=proxy)
        _blame(client.last, str(exc).removeprefix(f"{target.url}: ").removesuffix(f"; {hint}"), hint, found)
    else:
        found["role"], found["deployment"] = _let_in(answered), _deployment(target, answered)
    found["clock"] = rows.clock(client.date, now=client.ended)


def _let_in(answered: Probe) -> Row:
    """Whether the call was let in, as far as its answer tells."""
    if answered.status is None or answered.status >= 500:
        return Row(name="role", status="unknown", seen=_UNTOLD)
    return Row(name="role", status="ok", seen=_LET_IN)


def _deployment(target: Target, answered: Probe) -> Row:
    """What the deployment said."""
    if answered.warning is not None:
        status = "failed" if answered.failed else "warning"
        hint = "try again, or see how the deployment is" if answered.failed else "see what else uses it"
        return Row(name="deployment", status=status, seen=answered.warning, way_out=hint)
    model = answered.model or "a model without a name"
    seen = f"{target.deployment} answered as {model} in {seconds_text(answered.e2e_s)}"
    said, served = (catalogue.find(name) if name else None for name in (target.model, answered.model))
    if said is not None and served is not None and said is not served:
        return Row(
            name="deployment", status="warning", seen=seen, way_out=f"--model says {said.name}: correct one of them"
        )
    return Row(name="deployment", status="ok", seen=seen)


def look(options: TargetOptions, env: Mapping[str, str]) -> dict[str, Any]:
    """`examine`, from where no event loop runs."""
    return loop.run(examine(options, env))
