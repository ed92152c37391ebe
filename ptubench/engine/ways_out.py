"""What the user can do about a target that refused the probe call: by what failed, and by what Azure said of it.

Tables and their look-up. Azure's codes and sentences are those that users of it report, in threads read in 2026-11:
microsoft/sample-app-aoai-chatGPT#1000 (keys disabled), Azure-Samples/azure-search-openai-demo#458 and #2219 (audience),
semantic-kernel#10020 and foundry-samples#155 (role, with status 401), azure-sql-db-chatbot#3, continue#12547 and
TabularEditor3#1557 (network rules).
"""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from ptubench.azure.cloud import CLOUDS
from ptubench.client import auth
from ptubench.client.exchange import Exchange
from ptubench.stream.apis import APIS
from ptubench.target.model import Target

_BY_FAILURE = {
    "dns": "check the host name of --endpoint",
    "refused": "check host and port of --endpoint, and that the server runs",
    "connect": "check --endpoint and your network",
    "connect_timeout": "check --endpoint, a firewall, or a private endpoint that this machine does not reach",
    "proxy": "check HTTPS_PROXY, or except the host with NO_PROXY",
    "tls": "check host and port of --endpoint, and that TLS 1.2 or later is spoken there",
    "closed": "check scheme and port of --endpoint",
    "bad_http": "check scheme and port of --endpoint",
    "redirect": "give --endpoint the final address",
    "not_a_stream": "check --endpoint and --api-style: this is no {api} address",
    "client_error": "mend the function, or what it is asked with (api, parameters, --endpoint)",
    "http_400": "check the workload's parameters against what the model accepts",
    "http_401": "check the key in the environment, and that it belongs to this resource",
    "http_403": "check the key's or identity's role, and the resource's network rules",
    "http_404": "check --deployment, --endpoint and --api-style{or_version}{or_api}",
}

_TIMEOUT = re.compile(r"\w*Timeout")
"""How the exceptions begin by which the user's own client says that a busy target did not answer in time."""


class _Said(NamedTuple):
    """A refusal that Azure gives a reason for."""

    failures: tuple[str, ...]
    auths: tuple[str, ...]
    """How the target was asked (`Target.auth`; `header` for headers alone); none for any way."""
    words: tuple[str, ...]
    """Any of them stands in what the service said, in lower case; none for whatever it said."""
    way_out: str


_ROLE = "the role Cognitive Services OpenAI User on the resource"
_REFUSED = ("http_401", "http_403")
_BY_WORDS = (
    _Said(
        ("tls",),
        (),
        ("has expired", "not yet valid"),
        "check this machine's clock; if it is right, the certificate must be renewed",
    ),
    _Said(("tls",), (), ("mismatch",), "check the host name of --endpoint: the certificate is another one's"),
    _Said(
        ("tls",),
        (),
        ("was not accepted", "certificate verify failed"),  # the latter of `client: httpx`
        "name the authority that signed it with --ca-file: a private one, or that of a proxy that reads along",
    ),
    _Said(
        ("tls", "closed"),
        (),
        ("certificate required", "certificate_required"),
        "it wants a certificate of the client's own, and ptubench sends none: go through a gateway that takes a key or a token",
    ),
    _Said(("proxy",), (), ("407",), "write the login into HTTPS_PROXY, as in http://USER:PASSWORD@HOST:PORT"),
    _Said(
        ("connect_timeout",),
        (),
        ("proxy ",),
        "check HTTPS_PROXY, or except the host with NO_PROXY",
    ),
    _Said(
        ("connect_timeout",),
        (),
        ("tls handshake",),
        "check host and port of --endpoint, and whether a firewall lets TLS through",
    ),
    _Said(
        _REFUSED,
        (),
        ("authenticationtypedisabled", "key based authentication is disabled"),
        f"this resource takes no keys: use --auth entra, and give your identity {_ROLE}",
    ),
    _Said(
        ("http_400", *_REFUSED),
        ("entra", "token"),
        ("tenant provided in token does not match", "does not match resource tenant"),
        "sign in to the tenant of the resource: az login --tenant TENANT",
    ),
    _Said(
        _REFUSED,
        ("entra", "token"),
        ("permissiondenied", "lacks the required data action", "does not have access to api/operation"),
        f"give the identity {_ROLE}; it takes some minutes to count",
    ),
    _Said(
        _REFUSED,
        ("entra",),
        ("audience",),
        "the token was asked for {scope}; ask for the other one with --scope {other_scope}",
    ),
    _Said(
        _REFUSED,
        ("token",),
        ("audience", "expired"),
        "the token in {key_env} has ended or is for another audience; set a new one, from az account get-access-token "
        "--scope {scope}, or --scope {other_scope}",
    ),
    _Said(
        ("http_403",),
        (),
        (
            *("virtual network", "firewall", "trafficdenied"),
            *("public access is disabled", "publicnetworkaccessdisabled", "private endpoint"),
        ),
        "{address}; see docs/private-network.md",
    ),
    _Said(
        ("http_401",),
        ("none",),
        (),
        "no key was sent; set AZURE_OPENAI_API_KEY (or name a variable with --key-env), or use --auth entra",
    ),
    _Said(("http_401",), ("entra",), (), f"check that the identity is in the resource's tenant and has {_ROLE}"),
    _Said(("http_401",), ("token",), (), "check the token in {key_env}: when it ends, whom it is for, and its tenant"),
)


def way_out(target: Target, exchange: Exchange, *, proxy: str | None) -> str | None:
    """What to do about a refused exchange; None where it is no reason not to begin.

    Args:
        target: as it was asked.
        exchange: as it ended.
        proxy: host and port of the proxy that it went through; None without one.
    """
    kind = exchange.failure or ""
    if kind not in _BY_FAILURE or (kind == "client_error" and _TIMEOUT.match(exchange.error or "")):
        return None
    asked = "header" if target.auth == "none" and target.header_env else target.auth
    said = (exchange.error or "").lower()
    text = next((row.way_out for row in _BY_WORDS if _fits(row, kind, asked, said)), _BY_FAILURE[kind])
    return text.format(
        api=APIS[target.api].title,
        or_version=", and --api-version" if target.style == "classic" else "",
        or_api="" if target.api == "chat" else ", and that model, region and API version offer Responses",
        key_env=target.key_env,
        scope=auth.scope(target),
        other_scope=_other_scope(target, said),
        address=_address(target, exchange.peer, proxy),
    )


def private(address: str | None) -> bool | None:
    """Whether an IP address is one of a private network; None where it is unknown."""
    try:
        return None if address is None else ipaddress.ip_address(address).is_private
    except ValueError:
        return None


def _fits(row: _Said, kind: str, asked: str, said: str) -> bool:
    return (
        kind in row.failures
        and (not row.auths or asked in row.auths)
        and (not row.words or any(words in said for words in row.words))
    )


def _other_scope(target: Target, said: str) -> str:
    """The scope to try: the one that the service names, if it is one of Azure's, else the other kind's."""
    known = (wanted for cloud in CLOUDS.values() for wanted in (cloud.v1, cloud.classic))
    named = (wanted for wanted in known if wanted.removesuffix("/.default") in said and wanted != auth.scope(target))
    return next(named, auth.other_scope(target))


def _address(target: Target, peer: str | None, proxy: str | None) -> str:
    """Where the request went, and what that means for who may come."""
    host = urlsplit(target.url).hostname
    if proxy is not None:
        return f"{host} was reached through the proxy {proxy}, so that rules see the proxy's address"
    if peer is None:
        return f"check which address {host} resolves to, and whether the resource's rules let this machine in"
    went = f"the call went to {peer}" if host == peer else f"{host} resolved to {peer}"
    if private(peer):
        return f"{went}, a private address; check the rules of the resource, and its private endpoint"
    return (
        f"{went}, a public address; run where the name leads to the private endpoint, or let this machine's address in"
    )
