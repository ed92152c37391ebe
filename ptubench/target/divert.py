"""The second target of `on_429: divert`: another deployment of the same resource, or one elsewhere with a key of its own.

Neither options nor environment name it: only `throttling.divert_to` does, so that a run never diverts by accident.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ptubench.errors import UsageError
from ptubench.target import address
from ptubench.target.model import Target, TargetOptions
from ptubench.target.parts import ENVIRONMENT, Part, Parts, gather
from ptubench.target.resolve import from_parts, given

SECTION = "throttling.divert_to"
_ACCESS = ("auth", "key_env", "header")


def resolve_divert(
    divert_to: Mapping[str, Any],
    target: Target,
    options: TargetOptions,
    workload_target: Mapping[str, Any],
    env: Mapping[str, str],
    *,
    workload_name: str,
    entra: bool | None = None,
) -> Target:
    """Where requests go after a 429.

    Without an endpoint it is another deployment at the target's own, reached as the target is. With one it shares
    nothing with the target, its key least of all.

    Args:
        divert_to: the workload's mapping, its form checked.
        target: as `resolve_target` found it.
        options: what the command line says of `target`, and whether endpoints of files are trusted.
        workload_target: the workload's `target:`.
        env: the environment, where keys are looked for.
        workload_name: what a message calls the workload.
        entra: whether azure-identity is installed; looked up when None.

    Raises:
        UsageError: it can't be understood, a secret must not go there, or one of the two targets is real and the other not.
    """
    where = f"{workload_name}: {SECTION}"
    parts = given(TargetOptions(), divert_to, {}, workload_name=workload_name, section=SECTION)
    simulate, endpoint = parts.get("simulate"), parts.get("endpoint")
    if target.simulate is not None and simulate is None:
        raise UsageError(
            f"{where}: a run on a simulated deployment diverts to no real one; write "
            "`divert_to: {simulate: gpt-4.1:15}`, or say --on-429 none"
        )
    if target.simulate is None and simulate is not None:
        raise UsageError(f"{where}: a real target diverts to no simulated one; name a deployment, or say --on-429 none")
    if endpoint is not None and simulate is None:
        parts = _elsewhere(parts, endpoint, trust=options.trust_target)
    elif simulate is None:
        first = gather(("endpoint",), {"endpoint": options.endpoint}, workload_target, env, workload_name=workload_name)
        parts = _beside(target, first["endpoint"], parts, where)
    # Of all that may name an API the last: an address that ends in another one's path says what it is.
    parts.setdefault("api", Part(target.api, "the target", ENVIRONMENT))
    found = from_parts(parts, env, trust=options.trust_target, entra=entra)
    if found.api != target.api:
        raise UsageError(f"{where}: speaks the API {found.api} and the target {target.api}; requests are made for one")
    return found


def _beside(target: Target, endpoint: Part, own: Parts, where: str) -> Parts:
    """Another deployment at the target's endpoint: what the second target does not say is the first one's."""
    if "deployment" not in own or own["deployment"].value == target.deployment:
        raise UsageError(f"{where}: needs the name of another `deployment`, or an `endpoint` of its own")
    version = parse_qs(urlsplit(target.url).query).get("api-version", [None])[0]
    headers = [(name, f"env:{variable}") for name, variable in target.header_env]
    place = {"endpoint": target.endpoint, "api_style": target.style, "api_version": version, "cloud": target.cloud}
    access = {"auth": target.auth, "key_env": target.key_env, "header": headers or None, "scope": target.scope}
    inherited = place if any(name in own for name in _ACCESS) else place | access
    shared = {name: endpoint._replace(value=value) for name, value in inherited.items() if value is not None}
    return shared | own


def _elsewhere(own: Parts, endpoint: Part, *, trust: bool) -> Parts:
    """A target of its own: the access that it names, and none that it does not."""
    at = address.parse(endpoint.value, endpoint.source)
    if at.deployment is None and not {"deployment", "model"} & own.keys():
        raise UsageError(f"{endpoint.source}: which deployment is meant there? name it with `deployment`")
    how = own["auth"].value if "auth" in own else "auto"
    if "key_env" in own or "header" in own or how in ("token", "entra"):
        if not trust:
            raise UsageError(
                f"{endpoint.source}: no secret is sent to an endpoint that only a workload file names; say --trust-target"
            )
        # A header may be all that it needs: the key in the environment is the target's.
        alone = how == "auto" and "key_env" not in own
        return own | {"auth": endpoint._replace(value="none")} if alone else own
    if how == "none" or (how == "auto" and at.loopback):
        return own | {"auth": endpoint._replace(value="none")}
    raise UsageError(
        f"{endpoint.source}: no key for {at.origin}: name the variable that holds it with `key_env`, "
        "or write `auth: entra` or `auth: none`"
    )
