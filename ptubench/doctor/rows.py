"""What can be said of a target before anything is sent there, a row each: its address, the environment, proxy, names, certificate."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # there, though typeshed hides it

import msgspec

from ptubench.client import auth
from ptubench.client.connect import Address
from ptubench.engine.ways_out import private
from ptubench.target.access import AD_TOKEN, AZURE_KEY, OPENAI_KEY
from ptubench.target.model import Target
from ptubench.target.parts import VARIABLES

_SOON = 14
"""Days before its end at which a certificate is worth a warning."""
_SKEW = 2.0
"""Seconds that clocks may differ by; answers take some of it."""
_LONG_ENOUGH = 900.0  # seconds that a token should hold: for a run of ten minutes, and what precedes it
_SHOWN = 4  # addresses of a name
_SIGN_IN = (
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
)
_TRUST = ("SSL_CERT_DIR", "SSL_CERT_FILE")
_PROXIES = tuple(
    name for upper in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY") for name in (upper, upper.lower())
)
_READ = (*(name for names in VARIABLES.values() for name in names), AZURE_KEY, AD_TOKEN, OPENAI_KEY)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must be in order."""

    name: str
    status: str
    """`ok`, `warning`, `failed`, or `unknown` where nothing could be seen of it."""
    seen: str
    way_out: str | None = None
    """What to do about it; None where there is nothing to do."""


def address(target: Target) -> Row:
    """Where the calls go, and where that was said."""
    said = ", ".join(
        f"{name} by {target.sources[name]}" for name in ("endpoint", "deployment") if name in target.sources
    )
    return Row(name="address", status="ok", seen=f"{target.url} ({said})" if said else target.url)


def variables(target: Target, where: Address | None, env: Mapping[str, str]) -> Row:
    """Which variables of the environment say something here: names, never values."""
    known = {name for name in (*_READ, *_SIGN_IN, *_TRUST, *_PROXIES) if env.get(name)}
    used = set(target.sources.values()) | {variable for _, variable in target.header_env} | {target.key_env or ""}
    used |= set(_SIGN_IN) if target.auth == "entra" else set()
    if where is not None and where.tls is not None:
        used |= {*_TRUST, "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"}
    held = known | {name for name in used if env.get(name)}
    parts = [f"used: {_names(held & used)}"] if held & used else ["none is used"]
    parts += [f"set, and not used here: {_names(held - used)}"] if held - used else []
    return Row(name="variables", status="ok", seen="; ".join(parts))


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def proxy(where: Address, env: Mapping[str, str]) -> Row:
    """Whether a proxy stands between, and which variable says so."""
    values = {name.lower(): value for name, value in sorted(env.items()) if name in _PROXIES and value}
    if where.proxy is not None:
        seen = f"calls go through {where.proxy.name}, as HTTPS_PROXY says"
    elif where.tls is None:
        seen = "none: plain http never goes through one"
    elif "https_proxy" not in values:
        seen = "none: HTTPS_PROXY is not set"
    elif proxy_bypass_environment(f"{where.host}:{where.port}", {"no": values.get("no_proxy", "")}):
        seen = f"none: NO_PROXY excepts {where.host}"
    else:
        seen = "none"
    return Row(name="proxy", status="ok", seen=seen)


async def names(where: Address, limit: float) -> Row:
    """The addresses that the host's name leads to.

    Args:
        where: the target.
        limit: seconds.
    """
    if _is_address(where.host):
        return Row(name="dns", status="ok", seen=f"{where.host} is an address{_kind(where.host)}")
    if where.proxy is not None:
        return Row(name="dns", status="ok", seen=f"{where.host} is looked up by the proxy, not here")
    try:
        async with asyncio.timeout(limit):
            found = await asyncio.get_running_loop().getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    except (TimeoutError, OSError, UnicodeError) as exc:
        why = "no answer" if isinstance(exc, TimeoutError) else getattr(exc, "strerror", None) or str(exc)
        return Row(
            name="dns",
            status="failed",
            seen=f"{where.host} could not be resolved: {why}",
            way_out="check the host name of --endpoint; the name of a private endpoint resolves in its own network only "
            "(docs/private-network.md)",
        )
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    shown = ", ".join(f"{one}{_kind(one)}" for one in addresses[:_SHOWN])
    more = f" and {len(addresses) - _SHOWN} more" if len(addresses) > _SHOWN else ""
    return Row(name="dns", status="ok", seen=f"{where.host} is {shown}{more}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _kind(text: str) -> str:
    if ipaddress.ip_address(text.partition("%")[0]).is_loopback:
        return " (this machine)"
    known = private(text.partition("%")[0])
    return "" if known is None else " (private)" if known else " (public)"


def plain(where: Address, *, loopback: bool) -> Row:
    """What stands in for TLS where the target is reached without."""
    if loopback:
        return Row(name="tls", status="ok", seen="plain http to this machine, where nobody reads it on the way")
    return Row(
        name="tls",
        status="warning",
        seen=f"plain http: all between here and {where.host} can read what is sent",
        way_out="use https",
    )


def tls(secured: ssl.SSLObject, host: str, *, now: float) -> Row:
    """Version, issuer and end of a certificate that was accepted.

    Args:
        secured: the connection; its certificate was verified.
        host: whose certificate it is.
        now: seconds since the epoch.
    """
    certificate: Mapping[str, Any] = secured.getpeercert() or {}
    issuer = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    by = issuer.get("organizationName") or issuer.get("commonName") or "an authority without a name"
    seen = f"{secured.version()}, certificate of {host} by {by}"
    if "notAfter" not in certificate:
        return Row(name="tls", status="ok", seen=seen)
    days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - now) // 86400)
    seen = f"{seen}, ends in {days} days"
    if days >= _SOON:
        return Row(name="tls", status="ok", seen=seen)
    return Row(name="tls", status="warning", seen=seen, way_out="have it renewed: from its end on nothing connects")


def clock(date: float | None, *, now: float) -> Row:
    """This machine's clock beside the service's.

    Args:
        date: of the answer, in whole seconds since the epoch; None where it had none.
        now: this machine's, when the answer came.
    """
    if date is None:
        return Row(name="clock", status="unknown", seen="no answer with a date came")
    ahead = now - date - 0.5  # the date is cut to the second
    if abs(ahead) <= _SKEW:
        return Row(name="clock", status="ok", seen="agrees with the date of the answer, to about a second")
    return Row(
        name="clock",
        status="warning",
        seen=f"this machine's clock is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the service's",
        way_out="synchronize it (NTP): tokens end by it, and Azure Monitor's minutes are not ours otherwise",
    )


def ready_token(row: Row, authorization: str, *, now: float) -> Row:
    """The row of a token that nobody renews, with its end by its own word.

    Args:
        row: without.
        authorization: the header that carries it.
        now: seconds since the epoch.
    """
    end = auth.ends(authorization.removeprefix("Bearer "))
    if end is None:
        return row
    left = end - now
    if left > _LONG_ENOUGH:
        return msgspec.structs.replace(row, seen=f"{row.seen}, which ends in {left / 3600:.1f} h")
    when = f"ends in {max(0.0, left) / 60:.0f} min" if left > 0 else "has ended"
    hint = "set a new one (az account get-access-token), or use --auth entra, which renews it"
    return msgspec.structs.replace(row, status="warning", seen=f"{row.seen}, which {when}", way_out=hint)
