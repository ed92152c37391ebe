"""Entra tokens for targets that take no key: asked from azure-identity, renewed before they end.

The token goes from here into request headers and nowhere else.
"""

import asyncio
from typing import Any, Protocol

from ptubench.errors import TargetRefused, UsageError
from ptubench.target.model import Target

RENEW_BEFORE = 300.0
"""Seconds before its end at which a token is renewed."""

# Microsoft's endpoints and clouds, as of 2026-11: v1 endpoints take the AI scope, classic ones the older one.
_PUBLIC_V1 = "https://ai.azure.com/.default"
_SCOPES = {
    ".azure.us": "https://cognitiveservices.azure.us/.default",
    ".azure.cn": "https://cognitiveservices.azure.cn/.default",
}
_PUBLIC_CLASSIC = "https://cognitiveservices.azure.com/.default"


class Credential(Protocol):
    """What azure-identity's credentials offer."""

    def get_token(self, *scopes: str) -> Any:
        """An object with `token` and `expires_on` (seconds since the epoch)."""


def scope(target: Target) -> str:
    """The scope whose token the target accepts."""
    host = target.url.split("/")[2].rsplit(":", 1)[0]
    for ending, value in _SCOPES.items():
        if host.endswith(ending):
            return value
    return _PUBLIC_CLASSIC if target.style == "classic" else _PUBLIC_V1


def default_credential() -> Credential:
    """Azure's default chain: environment, workload identity, managed identity, command line.

    Raises:
        UsageError: the extra is not installed.
    """
    try:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError(
            "--auth entra: azure-identity is not installed; install it with pip install 'ptubench[azure]'"
        ) from None
    credential: Credential = DefaultAzureCredential()
    return credential


async def bearer(credential: Credential, target: Target) -> tuple[dict[str, str], float]:
    """The request header for a target, and when its token ends (seconds since the epoch).

    Raises:
        TargetRefused: no token can be had.
    """
    wanted = scope(target)
    try:
        token = await asyncio.to_thread(credential.get_token, wanted)
    except Exception as exc:  # noqa: BLE001 - a credential chain may raise anything
        first = (str(exc).splitlines() or [type(exc).__name__])[0][:300]
        raise TargetRefused(
            f"Entra gave no token for {wanted}: {first}; sign in with `az login`, or set a key in AZURE_OPENAI_API_KEY"
        ) from None
    return {"Authorization": f"Bearer {token.token}"}, float(token.expires_on)
