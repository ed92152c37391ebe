"""One GET of Azure's management: a token, waits where it asks for them, and an answer or one line that says why not.

What comes back is untrusted: at most `_LARGEST` bytes are read, and no text of it is longer than a line. The token goes
into the request and nowhere else.
"""

import functools
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec

from ptubench.azure.cloud import Cloud
from ptubench.client import auth
from ptubench.client.connect import tls_context
from ptubench.errors import TargetRefused
from ptubench.secret import shown
from ptubench.stream.answer import error_of_body
from ptubench.target import address
from ptubench.waits import retry_after

PATIENCE = 30.0
"""Seconds that a look-up may wait in all where it is told to come again."""
_LARGEST = 16 * 2**20
_TIMEOUT = 30.0
_BACKOFF = 2.0
_AGAIN = (408, 429, 500, 502, 503, 504)
_SIGN_IN = "sign in with `az login` to the tenant of the subscription, or name its cloud with --cloud"
_WAYS_OUT = {
    400: "check the resource ID and the name of the deployment",
    401: _SIGN_IN,
    404: "check the resource ID, the name of the deployment and --cloud",
    429: "ask again later",
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """How Azure's management is reached."""

    management: str
    """Its address, such as https://management.azure.com."""
    credential: auth.Credential
    scope: str
    """Of the tokens that it takes."""
    ca_file: str | None = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    """Seconds that never go back."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One deployment, and how to ask about it."""

    by: Access
    resource: str
    """The resource ID of its account, checked (`arm.check_id`)."""
    name: str


class Failure(Exception):
    """No answer: one sentence, with the service's words and the way out."""

    def __init__(self, text: str, *, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        """None where there was no HTTP answer."""
        self.wait = wait
        """Seconds after which it makes sense to ask again; None where it makes none."""


def access(cloud: Cloud, credential: auth.Credential, *, ca_file: str | None) -> Access:
    """The management of a cloud."""
    return Access(management=cloud.management, credential=credential, scope=cloud.management_scope, ca_file=ca_file)


def get(by: Access, path: str, query: Mapping[str, str], *, role: str, patience: float = PATIENCE) -> Any:
    """The JSON of an answer.

    Args:
        by: where, and as whom.
        path: below `management`, quoted.
        query: names and values, not quoted.
        role: the role that the identity needs, for the message of a 403.
        patience: seconds to wait in all where the service says to come again (429, 5xx).

    Raises:
        Failure: there is none.
    """
    until = by.clock() + patience
    tries = 0
    while True:
        try:
            return _once(by, path, query, role)
        except Failure as failure:
            if failure.wait is None:
                raise
            wait = max(failure.wait, _BACKOFF * 2**tries)
            if by.clock() + wait > until:
                raise
            tries += 1
            by.sleep(wait)


def _once(by: Access, path: str, query: Mapping[str, str], role: str) -> Any:
    try:
        token = auth.token(by.credential, by.scope, way_out=_SIGN_IN).token
    except TargetRefused as exc:
        raise Failure(str(exc), status=401) from None
    url = f"{by.management}{path}"
    # A proxy of the environment is for the world outside.
    outside = not address.parse(by.management, "management").loopback
    try:
        with (
            httpx2.Client(verify=_tls(by.ca_file), timeout=_TIMEOUT, trust_env=outside) as client,
            client.stream("GET", url, params=dict(query), headers={"Authorization": f"Bearer {token}"}) as answer,
        ):
            body = _body(answer)
            if answer.status_code == 200:
                return msgspec.json.decode(body)
            raise _refused(by, answer, body, role)
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        said = shown(f"{type(exc).__name__}: {exc}", most=200)
        raise Failure(f"{by.management}: can't be reached ({said}); check the network and HTTPS_PROXY") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Failure(f"{by.management}: the answer is no JSON; check HTTPS_PROXY") from None


@functools.cache
def _tls(ca_file: str | None) -> ssl.SSLContext:
    """Made once: it takes 20 ms, and a usage history is hundreds of answers."""
    return tls_context(ca_file)


def _body(answer: httpx2.Response) -> bytes:
    body = bytearray()
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > _LARGEST:
            raise Failure("the answer is too large to be one of Azure's; check HTTPS_PROXY")
    return bytes(body)


def _refused(by: Access, answer: httpx2.Response, body: bytes, role: str) -> Failure:
    status = answer.status_code
    said = shown(error_of_body(body), most=300)
    needed = f"give your identity the role {role} on the resource; a new role takes some minutes to hold"
    way_out = (
        needed
        if status == 403
        else _WAYS_OUT.get(status, "ask again later" if status >= 500 else "check the resource ID")
    )
    asked = retry_after(dict(answer.headers), time.time())
    return Failure(
        f"{by.management}: answered {status}{f' ({said})' if said else ''}; {way_out}",
        status=status,
        wait=(asked or 0.0) if status in _AGAIN else None,
    )
