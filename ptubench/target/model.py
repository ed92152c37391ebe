"""A target as frozen data, and what the command line may say of one. Holds names of secrets, never a secret."""

from dataclasses import dataclass
from typing import Any

import msgspec


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment or endpoint, resolved from options, workload and environment."""

    kind: str
    """`azure`, `openai` or `simulated`."""
    style: str
    """`v1`, `classic` or `openai`."""
    endpoint: str
    """Scheme, host, port and prefix, as printed and stored; empty until the simulated deployment has started."""
    url: str
    """Where requests are posted, query included."""
    api: str = "chat"
    """`chat` (completions) or `responses`."""
    deployment: str | None = None
    body_model: str | None = None
    """The `model` field of the body; None where the URL names the deployment (classic chat completions)."""
    model: str | None = None
    ptu: int | None = None
    type: str | None = None
    """`global`, `datazone`, `regional` or `standard`."""
    ratio: float | None = None
    """Overrides the catalogue's output ratio."""
    tpm_per_ptu: float | None = None
    """Overrides the catalogue's input TPM per PTU."""
    ptu_source: str | None = None
    cloud: str | None = None
    """`public`, `usgov` or `china`; None where nothing needs to know."""
    resource: str | None = None
    """The Azure resource ID of the account, where Azure Resource Manager was asked what the deployment is; the rest of
    what it said of it follows, and is None otherwise."""
    version: str | None = None
    spillover: str | None = None
    """The deployment that serves what this one refuses; None for none, or where nobody was asked."""
    content_filter: str | None = None
    """The name of its content-filter policy."""
    auth: str = "none"
    """`key`, `token`, `entra` or `none`."""
    key_env: str | None = None
    """The environment variable that holds the key or the token."""
    scope: str | None = None
    """That Entra tokens are asked for; None for the one that cloud and style go by (`client.auth.scope`)."""
    header_env: tuple[tuple[str, str], ...] = ()
    """Further request headers: name, and the environment variable that holds the value."""
    sources: dict[str, str] = {}
    """Where each part came from, for the dry run: {"endpoint": "--endpoint", …}."""
    simulate: dict[str, Any] | None = None
    """Options of the simulated deployment that this run starts, not yet checked (`sim.options.from_mapping`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """What the command line says; None is "not given"."""

    endpoint: str | None = None
    deployment: str | None = None
    api_version: str | None = None
    api_style: str | None = None
    api: str | None = None
    key_env: str | None = None
    auth: str = "auto"
    header: tuple[str, ...] = ()
    model: str | None = None
    ptu: int | None = None
    type: str | None = None
    ratio: float | None = None
    tpm_per_ptu: float | None = None
    cloud: str | None = None
    scope: str | None = None
    trust_target: bool = False
    simulate: str | None = None
    ca_file: str | None = None
    """Goes to whoever connects; no part of the target."""


def describe(target: Target) -> dict[str, Any]:
    """What is stored of a target: names of variables, never their values."""
    plain: dict[str, Any] = msgspec.to_builtins(target)
    return plain
