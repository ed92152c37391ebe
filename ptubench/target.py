"""Where the load is sent, and what is known of it.

A `Target` holds no secret: it names the environment variables that do. `headers` reads them at the last
moment. Knows neither sockets nor the workload beyond its `target:` mapping.
"""

from typing import Any

import msgspec


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment or endpoint, resolved from options, workload and environment."""

    kind: str
    """`azure`, `openai` or `simulated`."""
    style: str
    """`v1`, `classic` or `openai`."""
    endpoint: str
    """Scheme, host, port and prefix, as printed and stored."""
    url: str
    """Where chat completions are posted, query included."""
    deployment: str | None = None
    body_model: str | None = None
    """The `model` field of the body; None where the URL names the deployment (classic)."""
    model: str | None = None
    ptu: int | None = None
    type: str | None = None
    """`global`, `datazone`, `regional` or `standard`."""
    ratio: float | None = None
    """Overrides the catalogue's output ratio."""
    tpm_per_ptu: float | None = None
    """Overrides the catalogue's input TPM per PTU."""
    ptu_source: str | None = None
    auth: str = "none"
    """`key`, `entra` or `none`."""
    key_env: str | None = None
    header_env: tuple[tuple[str, str], ...] = ()
    """Further request headers: name, and the environment variable that holds the value."""
    sources: dict[str, str] = {}
    """Where each part came from, for the dry run: {"endpoint": "--endpoint", …}."""
    simulate: dict[str, Any] | None = None
    """Options of the simulated deployment that this run starts (`sim.options`)."""
