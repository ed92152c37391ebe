"""Entra tokens for targets that take no key: asked from azure-identity, or ready in the environment.

The token goes from here into request headers and nowhere else.
"""

import asyncio
import base64
import logging
from typing import Any, Protocol

import msgspec

from ptubench.azure.cloud import CLOUDS, Cloud, cloud_of
from ptubench.errors import TargetRefused, UsageError
from ptubench.secret import shown
from ptubench.target.model import Target

_SIGN_IN = "sign in with `az login`, or set a key in AZURE_OPENAI_API_KEY"


class Credential(Protocol):
    """What azure-identity's credentials offer."""

    def get_token(self, *scopes: str) -> Any:
        """An object with `token` and `expires_on` (seconds since the epoch)."""


def scope(target: Target) -> str:
    """The scope whose token the target accepts: as it was said, else that of its cloud, for v1 or for classic endpoints."""
    cloud = _cloud(target)
    return target.scope or (cloud.classic if target.style == "classic" else cloud.v1)


def other_scope(target: Target) -> str:
    """The one to try where the target takes no tokens of `scope`."""
    for cloud in (_cloud(target), CLOUDS["public"]):
        others = [wanted for wanted in (cloud.v1, cloud.classic) if wanted != scope(target)]
        if others:
            return others[0]
    raise AssertionError  # the public cloud has two


def _cloud(target: Target) -> Cloud:
    host = target.url.split("/")[2].rsplit(":", 1)[0]
    return CLOUDS[target.cloud] if target.cloud is not None else cloud_of(host)


class _Claims(msgspec.Struct):
    exp: float | None = None


def ends(token: str) -> float | None:
    """When a token ends by its own word, in seconds since the epoch; None for one that does not tell.

    The claims of a JSON web token are the second of its three parts, base64url without padding (RFC 7519, RFC 7515).
    """
    _, _, rest = token.partition(".")
    claims = rest.partition(".")[0]
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)), type=_Claims).exp
    except (ValueError, msgspec.DecodeError):
        return None


def default_credential(authority: str | None = None, *, asked_by: str = "--auth entra") -> Credential:
    """Azure's default chain: environment, workload identity, managed identity, command line.

    Args:
        authority: the host of the sign-in; the public cloud's, or AZURE_AUTHORITY_HOST, when None.
        asked_by: the option that needs it, for the message.

    Raises:
        UsageError: the extra is not installed.
    """
    try:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError(
            f"{asked_by}: azure-identity is not installed; in the folder of ptubench: pip install -e '.[azure]'"
        ) from None
    # It logs a page on every sign-in that it has tried, which would go to standard error unasked.
    logging.getLogger("azure.identity").addHandler(logging.NullHandler())
    credential: Credential = DefaultAzureCredential(**({} if authority is None else {"authority": authority}))
    return credential


def token(credential: Credential, wanted: str, *, way_out: str, before: str = "") -> Any:
    """A token for a scope, with what `Credential.get_token` gives. Blocks.

    Raises:
        TargetRefused: none can be had; the message begins with `before` and ends in `way_out`.
    """
    try:
        return credential.get_token(wanted)
    except Exception as exc:  # noqa: BLE001 - a credential chain may raise anything
        said = f"{before}Entra gave no token for {wanted}: {shown(_reason(str(exc)) or type(exc).__name__, most=300)}; {way_out}"
        raise TargetRefused(said) from None


def _reason(said: str) -> str:
    """The line of a credential chain that says why: Entra's own (AADSTS…), which stands below that all were tried; else the first."""
    lines = said.splitlines() or [""]
    return next((line for line in lines if "AADSTS" in line), lines[0]).strip(" .\t")


async def bearer(credential: Credential, target: Target) -> tuple[dict[str, str], float]:
    """The request header for a target, and when its token ends (seconds since the epoch).

    Raises:
        TargetRefused: no token can be had.
    """
    variable, unset, _ = target.sources.get("auth", "").partition(" is not set")
    # With `--auth auto` a key was looked for first, and is what most users have.
    before = f"{variable} is not set, and " if unset else ""
    way_out = "set the key, or sign in with `az login`" if unset else _SIGN_IN
    found = await asyncio.to_thread(token, credential, scope(target), way_out=way_out, before=before)
    return {"Authorization": f"Bearer {found.token}"}, float(found.expires_on)
