"""Entra tokens for targets that take no key: asked from azure-identity, renewed before they end.

The token goes from here into request headers and nowhere else.
"""

import asyncio
from typing import Any, Protocol

from ptubench.azure.cloud import CLOUDS, cloud_of
from ptubench.errors import TargetRefused, UsageError
from ptubench.secret import shown
from ptubench.target.model import Target

RENEW_BEFORE = 300.0
"""Seconds before its end at which a token is renewed."""


class Credential(Protocol):
    """What azure-identity's credentials offer."""

    def get_token(self, *scopes: str) -> Any:
        """An object with `token` and `expires_on` (seconds since the epoch)."""


def scope(target: Target) -> str:
    """The scope whose token the target accepts: that of its cloud, for v1 or for classic endpoints."""
    host = target.url.split("/")[2].rsplit(":", 1)[0]
    cloud = CLOUDS[target.cloud] if target.cloud is not None else cloud_of(host)
    return cloud.classic if target.style == "classic" else cloud.v1


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
            f"{asked_by}: azure-identity is not installed; install it with pip install 'ptubench[azure]'"
        ) from None
    credential: Credential = DefaultAzureCredential(**({} if authority is None else {"authority": authority}))
    return credential


def token(credential: Credential, wanted: str, *, way_out: str) -> Any:
    """A token for a scope, with what `Credential.get_token` gives. Blocks.

    Raises:
        TargetRefused: none can be had; the message ends in `way_out`.
    """
    try:
        return credential.get_token(wanted)
    except Exception as exc:  # noqa: BLE001 - a credential chain may raise anything
        first = (str(exc).splitlines() or [""])[0] or type(exc).__name__
        raise TargetRefused(f"Entra gave no token for {wanted}: {shown(first, most=300)}; {way_out}") from None


async def bearer(credential: Credential, target: Target) -> tuple[dict[str, str], float]:
    """The request header for a target, and when its token ends (seconds since the epoch).

    Raises:
        TargetRefused: no token can be had.
    """
    way_out = "sign in with `az login`, or set a key in AZURE_OPENAI_API_KEY"
    found = await asyncio.to_thread(token, credential, scope(target), way_out=way_out)
    return {"Authorization": f"Bearer {found.token}"}, float(found.expires_on)
