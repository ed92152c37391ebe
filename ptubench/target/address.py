"""What people paste as an endpoint, read apart: a resource, a portal's target URI, a gateway, any OpenAI-compatible server.

Text in, parts out. Knows neither options nor environment nor keys, and repeats nothing of an address that may hold one.
"""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from ptubench.errors import UsageError
from ptubench.secret import looks_secret, shown
from ptubench.stream.apis import APIS

STYLES = ("v1", "classic", "openai")
_AZURE = (".azure.com", ".azure.us", ".azure.cn")
_CALL = re.compile(r"/(chat/completions|completions|responses|embeddings)/?$")
_DEPLOYMENT = re.compile(r"^(?P<prefix>.*?)/openai/deployments/(?P<name>[^/]+)$")
_PROJECT = re.compile(r"/api/projects/[^/]+")
_FOUNDRY = re.compile(r"(/api/projects/[^/]+|/models)?")
_AZURE_V1 = re.compile(r"^(?P<prefix>.*?)/openai/v1$")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}")
_EXAMPLE = "write one such as https://RESOURCE.openai.azure.com or http://127.0.0.1:8000/v1"
_HOST = re.compile(r"[A-Za-z0-9._-]+")


class Address(NamedTuple):
    """An endpoint, read apart."""

    origin: str
    """Scheme, host and port: "https://r.openai.azure.com"."""
    host: str
    """Lower case, without brackets."""
    secure: bool
    """Over https."""
    prefix: str
    """The path before Azure's own part, as gateways have; "" for none."""
    path: str
    """The whole path without the call's own part: the base of an OpenAI-compatible server."""
    style: str | None
    """`v1`, `classic` or `openai` where the path tells."""
    deployment: str | None
    api_version: str | None
    api: str | None
    """A name in `stream.apis` where the path ends in its address."""

    @property
    def azure(self) -> bool:
        """A host of Azure's own."""
        return self.host.endswith(_AZURE)

    @property
    def loopback(self) -> bool:
        """This machine: what is sent there can't be read on the way."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse(text: str, where: str) -> Address:
    """Read an endpoint apart.

    Args:
        text: as pasted.
        where: what a message calls it: "--endpoint", "AZURE_OPENAI_ENDPOINT", "chat.yaml: target.endpoint".

    Raises:
        UsageError: no http address, or one that carries a user name, a key or something that would be lost.
    """
    text = text.strip()
    if looks_secret(text):
        raise UsageError(f"{where}: holds what looks like a key; take it out and set AZURE_OPENAI_API_KEY instead")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{where}: not a valid address; {_EXAMPLE}") from None
    if "@" in text:
        raise UsageError(f"{where}: holds a user name or password; take it out, and give keys by environment variables")
    if parts.scheme not in ("http", "https") or not host or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"{where}: `{shown(re.split('[?#]', text)[0])}` is not a valid address; {_EXAMPLE}")
    if not (_HOST.fullmatch(host) or _is_ipv6(host)):
        raise UsageError(f"{where}: `{shown(host)}` is not a host name; {_EXAMPLE}")
    if parts.fragment:
        raise UsageError(f"{where}: ends in a `#` part, which a server never sees; take it out")
    netloc = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{netloc}" + (f":{port}" if port is not None else "")
    return _by_path(parts, origin, host, where)


def url(address: Address, style: str, api: str, deployment: str, api_version: str | None) -> str:
    """Where requests are posted."""
    query = f"?api-version={api_version}" if api_version else ""
    call = APIS[api].path
    if style == "classic":
        name = f"/deployments/{quote(deployment, safe='')}" if in_url(style, api) else ""
        return f"{address.origin}{address.prefix}/openai{name}{call}{query}"
    if style == "v1":
        return f"{address.origin}{address.prefix}/openai/v1{call}{query}"
    return f"{address.origin}{address.path or '/v1'}{call}"


def in_url(style: str, api: str) -> bool:
    """Whether the URL names the deployment, and not the body: classic addresses do, but those of Responses don't."""
    return style == "classic" and api == "chat"


def base(address: Address, style: str) -> str:
    """The endpoint as printed and stored: what is left of it when deployment and query are gone."""
    return address.origin + (address.prefix if style != "openai" else address.path or "/v1")


def check_version(value: str, where: str) -> str:
    """An api-version, which goes into the query as it is."""
    if not _VERSION.fullmatch(value):
        raise UsageError(f"{where}: `{shown(value)}` is not an API version; write one such as 2024-10-21")
    return value


def check_name(value: str, where: str) -> str:
    """The name of a deployment or model, which goes into the URL or the body."""
    name = value.strip()
    if looks_secret(name):
        raise UsageError(f"{where}: looks like a key and not like a name; set AZURE_OPENAI_API_KEY instead")
    if not name or len(name) > 200 or not name.isprintable():
        raise UsageError(f"{where}: `{shown(name)}` is not the name of a deployment")
    return name


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _api_version(query: str, where: str) -> str | None:
    """The only query that is understood."""
    version = None
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.lower() != "api-version":
            raise UsageError(
                f"{where}: only `api-version` is understood after the `?` of an address; take the rest out, "
                "and send keys for gateways with --header 'NAME: env:VAR'"
            )
        version = check_version(value, where)
    return version


def _by_path(parts: SplitResult, origin: str, host: str, where: str) -> Address:
    """The parts of the path."""
    path = parts.path.rstrip("/")
    base_path = _CALL.sub("", path)
    api = next((name for name, api in APIS.items() if path.endswith(api.path)), None)
    version = _api_version(parts.query, where)
    prefix, style, deployment = base_path, None, None
    if host.endswith(".services.ai.azure.com") and _FOUNDRY.fullmatch(base_path):
        # Addresses of a project or of another API of the same resource, whose models answer at its root.
        prefix, version = "", None
    elif match := _DEPLOYMENT.match(base_path):
        prefix, style, deployment = match["prefix"], "classic", unquote(match["name"])
    elif match := _AZURE_V1.match(base_path):
        prefix, style = match["prefix"], "v1"
    elif base_path.endswith("/openai"):
        prefix = base_path.removesuffix("/openai")
    elif base_path != path or base_path.endswith("/v1"):
        style = "openai"
    if "/openai/deployments" in prefix:
        raise UsageError(
            f"{where}: `{shown(path)}` is not the address of a deployment; end it with the deployment's name"
        )
    if _PROJECT.fullmatch(prefix) and host.endswith(".services.ai.azure.com"):
        prefix = ""
    return Address(origin, host, parts.scheme == "https", prefix, base_path, style, deployment, version, api)
