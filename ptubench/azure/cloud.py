"""Azure's clouds: where each has its sign-in, its management, and what tokens are for. A table and its look-ups.

Sources, as of 2026-11: `azure.identity.AzureAuthorityHosts` (azure-identity 1.27) for the sign-ins; Microsoft's
documentation for the public cloud; third parties for the scopes of the other two.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ptubench.errors import UsageError
from ptubench.secret import shown


class Cloud(NamedTuple):
    """One of them."""

    name: str
    ending: str
    """What the host names of its resources end in."""
    authority: str
    """Host of its sign-in."""
    management: str
    """Address of its Azure Resource Manager, which is also where Azure Monitor is asked."""
    v1: str
    """The scope of tokens for v1 endpoints, and below for classic ones."""
    classic: str

    @property
    def management_scope(self) -> str:
        """The scope of tokens for `management`."""
        return f"{self.management}/.default"


CLOUDS = {
    cloud.name: cloud
    for cloud in (
        Cloud(
            "public",
            ".azure.com",
            "login.microsoftonline.com",
            "https://management.azure.com",
            "https://ai.azure.com/.default",
            "https://cognitiveservices.azure.com/.default",
        ),
        Cloud(
            "usgov",
            ".azure.us",
            "login.microsoftonline.us",
            "https://management.usgovcloudapi.net",
            "https://cognitiveservices.azure.us/.default",
            "https://cognitiveservices.azure.us/.default",
        ),
        Cloud(
            "china",
            ".azure.cn",
            "login.chinacloudapi.cn",
            "https://management.chinacloudapi.cn",
            "https://cognitiveservices.azure.cn/.default",
            "https://cognitiveservices.azure.cn/.default",
        ),
    )
}


def cloud_of(host: str) -> Cloud:
    """The cloud that a host is in by its name; the public one for a host that tells nothing, as a gateway's."""
    return next((cloud for cloud in CLOUDS.values() if host.lower().endswith(cloud.ending)), CLOUDS["public"])


def choose(said: str | None, host: str) -> Cloud:
    """The cloud that was named with `--cloud`, else that of the endpoint's host.

    Raises:
        UsageError: no such cloud, or the host is in another one.
    """
    if said is None:
        return cloud_of(host)
    if said not in CLOUDS:
        raise UsageError(f"--cloud: `{shown(said)}` is not one of {', '.join(CLOUDS)}")
    chosen, found = CLOUDS[said], cloud_of(host)
    if host.lower().endswith(found.ending) and found != chosen:
        raise UsageError(
            f"--cloud {said}: the endpoint `{shown(host)}` is in the cloud {found.name}; leave --cloud out"
        )
    return chosen


def authority(cloud: Cloud, *, said: bool, env: Mapping[str, str]) -> str:
    """Where a credential signs in: that of a cloud which was `said`, else AZURE_AUTHORITY_HOST, else that of the host's cloud."""
    return cloud.authority if said else env.get("AZURE_AUTHORITY_HOST", "").strip() or cloud.authority
