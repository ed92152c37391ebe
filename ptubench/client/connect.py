"""Opening a connection: TCP, the tunnel through a proxy, TLS; each failure by its name.

Knows nothing of requests. A proxy's password stays inside `Proxy.authorization`.
"""

import asyncio
import base64
import contextlib
import errno
import re
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # there, though typeshed hides it

from ptubench import secret
from ptubench.client.exchange import Exchange, Failed
from ptubench.client.http1 import Connection
from ptubench.errors import UsageError

_Made = TypeVar("_Made", bound=asyncio.BaseProtocol)
_MAX_TUNNEL_ANSWER = 64 * 2**10
_NEXT_ADDRESS = 1.5
"""Seconds for each address of a host but its last: where IPv6 leads nowhere, IPv4 has its turn."""
_OUT_OF_SOCKETS = frozenset((errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS))


class Proxy(NamedTuple):
    """An HTTP proxy that opens tunnels by CONNECT."""

    host: str
    port: int
    authorization: str | None

    @property
    def name(self) -> str:
        """Host and port, without the password."""
        return _named(self.host, self.port)

    @property
    def headers(self) -> dict[str, str]:
        """What it wants to hear beside the tunnel's target."""
        return {} if self.authorization is None else {"Proxy-Authorization": self.authorization}


class Address(NamedTuple):
    """Where a client connects to, and how."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    proxy: Proxy | None


def address(url: str, *, ca_file: str | None, env: Mapping[str, str]) -> Address:
    """The address of an URL under the environment's HTTPS_PROXY and NO_PROXY.

    Raises:
        UsageError: a proxy that is none, or a CA file that can't be read.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    tls = tls_context(ca_file) if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    return Address(host, port, tls, find_proxy(parts.scheme, f"{host}:{port}", env) if tls else None)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A context that verifies name and certificate, trusting the system's authorities and those in `ca_file`.

    Raises:
        UsageError: `ca_file` can't be read or holds no certificate.
    """
    context = ssl.create_default_context()
    if sys.platform == "darwin":
        # Python from python.org finds no system certificates there.
        with contextlib.suppress(ImportError):
            import certifi  # noqa: PLC0415 - only needed on one platform

            context.load_verify_locations(certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as exc:
            raise UsageError(
                f"--ca-file {ca_file}: no certificates can be read from it ({exc}); give a PEM file"
            ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def find_proxy(scheme: str, host: str, env: Mapping[str, str]) -> Proxy | None:
    """The proxy that the environment names for a host, or None.

    Raises:
        UsageError: the variable holds no proxy that can be used.
    """
    # Where both are set, the name in lower case wins, as for curl and in urllib: it sorts last.
    set_ = {name.lower(): value.strip() for name, value in sorted(env.items()) if name.lower().endswith("_proxy")}
    proxies = {name: value for name, value in set_.items() if value}
    text = proxies.get(f"{scheme}_proxy")
    if text is None or proxy_bypass_environment(host, {"no": proxies.get("no_proxy", "")}):
        return None
    variable = f"{scheme.upper()}_PROXY"
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        host_named = bool(parts.hostname) and not re.search(r"\s", parts.hostname or "")
        usable = parts.scheme in ("", "http") and host_named and parts.port != 0
    except ValueError:
        usable = False  # and the reason may quote the password
    if not usable:
        raise UsageError(f"{variable}: only proxies of the form http://host:port can be used; unset it or correct it")
    authorization = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(login.encode()).decode()
    return Proxy(parts.hostname or "", parts.port or 80, authorization)


def secrets(headers: Mapping[str, str], where: Address) -> tuple[str, ...]:
    """What requests with these headers carry that no answer may give away."""
    values = [*headers.values()]
    if where.proxy is not None and where.proxy.authorization is not None:
        login = base64.b64decode(where.proxy.authorization.removeprefix("Basic ")).decode()
        values += [where.proxy.authorization, login, login.partition(":")[2]]
    return secret.words(values)


def no_socket(exc: OSError) -> bool:
    """Whether it is this machine that had no file or port left for another connection."""
    return exc.errno in _OUT_OF_SOCKETS


async def open_connection(connection: Connection, where: Address, exchange: Exchange, limit: float) -> None:
    """Open TCP, tunnel and TLS for a connection; the times go into the exchange.

    Args:
        connection: the protocol that will own the transport.
        where: host, port, TLS and proxy.
        exchange: receives `connect_s`, `tcp_s`, `tls_s` and `peer`.
        limit: seconds for all of it.

    Raises:
        Failed: with the kind of what went wrong.
    """
    began = perf_counter()
    try:
        async with asyncio.timeout(limit):
            await _tcp(connection, where, exchange)
            if where.tls is not None:
                secured = perf_counter()
                await _tls(connection, where.tls, where.host)
                exchange.tls_s = perf_counter() - secured
    except TimeoutError:
        late = _late(connection, where, exchange)
        connection.close()
        raise Failed("connect_timeout", f"{late} after {limit:g} s") from None
    except BaseException:
        connection.close()
        raise
    if connection.closed:
        raise Failed("closed", f"{where.host} hung up, or spoke first, before anything was sent")
    exchange.connect_s = perf_counter() - began


def _late(connection: Connection, where: Address, exchange: Exchange) -> str:
    """What is not there yet of a connection that is being opened."""
    if exchange.tcp_s is None:
        return f"proxy {where.proxy.name}" if where.proxy else _named(where.host, where.port)
    if connection.transport is None:
        return f"no tunnel through proxy {where.proxy.name if where.proxy else ''}"
    return f"no TLS handshake with {_named(where.host, where.port)}"


def _named(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _tcp(connection: Connection, where: Address, exchange: Exchange) -> None:
    host, port = (where.proxy.host, where.proxy.port) if where.proxy else (where.host, where.port)
    via = "proxy " if where.proxy else ""
    try:
        if where.proxy is None:
            await _connect(lambda: connection, host, port, exchange)
            return
        transport, tunnel = await _connect(_Tunnel, host, port, exchange)
    except (socket.gaierror, UnicodeError) as exc:
        why = exc.strerror if isinstance(exc, socket.gaierror) else "it is no host name"
        raise Failed("proxy" if via else "dns", f"{via}host name {host} could not be resolved: {why}") from None
    except ConnectionRefusedError:
        raise Failed("proxy" if via else "refused", f"{via}{_named(host, port)} refused the connection") from None
    except OSError as exc:
        kind = "no_socket" if no_socket(exc) else "proxy" if via else "connect"
        raise Failed(kind, f"{via}{_named(host, port)}: {exc.strerror or exc}") from None
    try:
        await tunnel.open(where, where.proxy)
    except BaseException:
        transport.abort()
        raise
    transport.set_protocol(connection)
    connection.connection_made(transport)


async def _connect(
    make: Callable[[], _Made], host: str, port: int, exchange: Exchange
) -> tuple[asyncio.Transport, _Made]:
    """Connect to the first address of a host that takes it; `tcp_s` is the handshake with that one alone."""
    loop = asyncio.get_running_loop()
    failed = OSError(f"{host} has no address")
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for left, (*_, at) in zip(reversed(range(len(addresses))), addresses, strict=True):
        began = perf_counter()
        try:
            async with asyncio.timeout(_NEXT_ADDRESS if left else None):
                made = await loop.create_connection(make, str(at[0]), port)
        except OSError as exc:
            failed = exc
            continue
        exchange.tcp_s, exchange.peer = perf_counter() - began, str(at[0])
        return made
    raise failed


async def _tls(connection: Connection, context: ssl.SSLContext, host: str) -> None:
    loop = asyncio.get_running_loop()
    if connection.closed or connection.transport is None:
        raise Failed("tls", f"{host} broke the handshake off")
    try:
        secure = await loop.start_tls(connection.transport, connection, context, server_hostname=host)
    except ssl.SSLCertVerificationError as exc:
        raise Failed("tls", f"the certificate of {host} was not accepted: {exc.verify_message}") from None
    except ssl.SSLError as exc:
        raise Failed("tls", f"handshake with {host} failed: {exc.reason or exc}") from None
    except (OSError, EOFError) as exc:
        raise Failed("tls", f"{host} broke the handshake off" + (f": {exc}" if str(exc) else "")) from None
    if secure is None:
        raise Failed("tls", f"{host} broke the handshake off")
    connection.transport = secure


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel and reads its answer."""

    def __init__(self) -> None:
        self._answer = bytearray()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._answer += data
        done = b"\r\n\r\n" in self._answer or len(self._answer) > _MAX_TUNNEL_ANSWER
        if done and not self._ready.done():
            self._ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - either way it is over
        if not self._ready.done():
            self._ready.set_result(None)

    async def open(self, where: Address, proxy: Proxy) -> None:
        assert self._transport is not None  # noqa: S101 - just opened
        host = f"[{where.host}]" if ":" in where.host else where.host
        lines = [f"CONNECT {host}:{where.port} HTTP/1.1", f"Host: {host}:{where.port}"]
        lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
        self._transport.write("\r\n".join((*lines, "", "")).encode("latin-1"))
        await self._ready
        status = bytes(self._answer).split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        if len(status) < 2 or not status[0].startswith("HTTP/1.") or not status[1].startswith("2"):
            said = "".join(c for c in " ".join(status[1:]) if c.isprintable())[:80] or "no HTTP answer"
            raise Failed("proxy", f"proxy {proxy.name} did not open the tunnel: {said}")
