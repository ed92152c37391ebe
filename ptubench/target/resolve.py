"""Which target is meant: options over the workload's `target:` over the environment.

The secrets that a target names are read by `request_headers`, at the last moment. Knows neither sockets nor the workload beyond its `target:` mapping.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from ptubench.azure.cloud import choose as choose_cloud
from ptubench.errors import UsageError
from ptubench.secret import shown
from ptubench.stream.apis import APIS
from ptubench.target import access, address
from ptubench.target.address import Address
from ptubench.target.model import Target, TargetOptions
from ptubench.target.parts import ENVIRONMENT, FILE, OPTION, Part, Parts, gather, of_both, one_of

TYPES = ("global", "datazone", "regional", "standard")
NO_TARGET = (
    "no target: name a deployment with --endpoint https://RESOURCE.openai.azure.com --deployment NAME "
    "(or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_DEPLOYMENT), or simulate one with --simulate gpt-4.1:50"
)
_WHAT = ("model", "ptu", "type", "ratio", "tpm_per_ptu")
_ANY_VERSION = Part("2024-10-21", "--simulate", OPTION)  # the simulated deployment asks for one and takes any
_NO_NAME = "no deployment: name it with --deployment NAME, or set AZURE_OPENAI_DEPLOYMENT"


def resolve_target(
    options: TargetOptions,
    workload_target: Mapping[str, Any],
    env: Mapping[str, str],
    *,
    workload_name: str,
    entra: bool | None = None,
) -> Target:
    """Where the load goes: options over the workload's `target:` over the environment, `--simulate` over all.

    Args:
        options: what the command line says.
        workload_target: the workload's `target:`, its form checked.
        env: the environment.
        workload_name: what a message calls the workload.
        entra: whether azure-identity is installed; looked up when None.

    Raises:
        UsageError: no target, one that can't be understood, or a secret that must not go there.
    """
    parts = given(options, workload_target, env, workload_name=workload_name)
    target = from_parts(parts, env, trust=options.trust_target, entra=entra)
    if target.simulate is not None:
        _refuse_unused(options)
    return target


def _refuse_unused(options: TargetOptions) -> None:
    """Refuse options that say how a real target is reached, where the target is started for the run."""
    said = {
        "--api-version": options.api_version,
        "--auth": options.auth if options.auth not in ("auto", "none") else None,
        "--key-env": options.key_env,
        "--header": options.header or None,
        "--ca-file": options.ca_file,
    }
    if unused := [name for name, value in said.items() if value is not None]:
        raise UsageError(
            f"{' and '.join(unused)}: a simulated deployment of the run's own is reached without; leave it out, or leave out "
            "--simulate"
        )


def from_parts(parts: Parts, env: Mapping[str, str], *, trust: bool, entra: bool | None) -> Target:
    """The target of parts that are chosen already; the rest as in `resolve_target`."""
    known = _what_it_is(parts)
    simulate, endpoint = parts.get("simulate"), parts.get("endpoint")
    if simulate is not None and endpoint is not None and simulate.level == endpoint.level == FILE:
        raise UsageError(f"{simulate.source} and {endpoint.source} name two targets; keep one")
    if simulate is not None and (endpoint is None or simulate.level == OPTION or simulate.level < endpoint.level):
        return _simulated(simulate, parts, known)
    if endpoint is None:
        raise UsageError(NO_TARGET)
    return _real(endpoint, parts, known, env, trust=trust, entra=entra)


def request_headers(target: Target, env: Mapping[str, str]) -> dict[str, str]:
    """The request headers that carry secrets, for a key, a ready token and `--header`; Entra's tokens are the engine's to add.

    Raises:
        UsageError: a variable is not set, or holds what a header can't carry.
    """
    if target.auth == "entra" and any(name.lower() == "authorization" for name, _ in target.header_env):
        raise UsageError("--header Authorization: is set already by the Entra token; leave it out, or say --auth none")
    bearer = target.auth == "token" or target.style == "openai"
    return access.headers(target.key_env, target.header_env, bearer=bearer, env=env)


def simulated(target: Target, port: int) -> Target:
    """The target of a simulated deployment that has started on this machine."""
    at = address.parse(f"http://127.0.0.1:{port}", "--simulate")
    return _addressed(target, at, _ANY_VERSION if target.style == "classic" else None)


def given(
    options: TargetOptions,
    file: Mapping[str, Any],
    env: Mapping[str, str],
    *,
    workload_name: str,
    section: str = "target",
) -> Parts:
    """Every part that is given; `section` is what messages call the mapping of the file."""
    said = {name: value for name, value in asdict(options).items() if name not in ("header", "trust_target", "ca_file")}
    if options.auth == "auto":  # is "not given"
        del said["auth"]
    parts = gather(said.keys() | {"auth"}, said, file, env, workload_name=workload_name, section=section)
    headers = [*file.get("headers", {}).items(), *map(access.split_header, options.header)]
    if headers:
        parts["header"] = Part(headers, "--header" if options.header else f"{workload_name}: {section}.headers", OPTION)
    return parts


def _what_it_is(parts: Parts) -> dict[str, Any]:
    """Model, size and type, as fields of a `Target`; without them the metrics that need them are null."""
    known: dict[str, Any] = {name: parts[name].value for name in _WHAT if name in parts}
    for name in ("ptu", "ratio", "tpm_per_ptu"):
        if name in known and not 0 < known[name] < math.inf:
            raise UsageError(f"{parts[name].source}: must be above 0, not {known[name]:g}")
    one_of(parts.get("type"), TYPES)
    if "ptu" in known and known.get("type") == "standard":
        raise UsageError(f"{parts['ptu'].source}: a standard deployment has no PTU; leave it out, or correct the type")
    if "ptu" in known:
        known["ptu_source"] = parts["ptu"].source
    return known


def _simulated(simulate: Part, parts: Parts, known: dict[str, Any]) -> Target:
    """A deployment that will be simulated; its address is known when it has started (`simulated`)."""
    settings = dict(simulate.value) if isinstance(simulate.value, dict) else _settings(simulate.value, simulate.source)
    model, ptu = settings.get("model"), str(settings.get("ptu", ""))
    if not isinstance(model, str) or not model or not ptu.isdecimal() or len(ptu) > 9:
        raise UsageError(f"{simulate.source}: model and size are missing; write MODEL:PTU, such as gpt-4.1:50")
    for said in (parts.get("cloud"), parts.get("scope")):
        if said is not None and said.level == OPTION:
            raise UsageError(f"{said.source}: a simulated deployment is in no cloud of Azure's; leave it out")
    _check_same(simulate, settings, parts)
    named = parts.get("deployment")
    name = settings.get("deployment") or (named.value if named and named.level < ENVIRONMENT else model)
    key_env = settings.get("key_env")
    return Target(
        kind="simulated",
        style=one_of(parts.get("api_style"), address.STYLES) or "v1",
        endpoint="",
        url="",
        api=_api(parts.get("api")),
        deployment=str(name),
        model=model,
        ptu=int(ptu),
        ptu_source=simulate.source,
        type=known.get("type"),
        auth="key" if key_env else "none",
        key_env=access.check_variable(str(key_env), simulate.source) if key_env else None,
        sources={"simulate": simulate.source} | ({"api": parts["api"].source} if "api" in parts else {}),
        simulate=settings,
        ratio=_number(settings, "ratio", simulate.source),
        tpm_per_ptu=_number(settings, "tpm_per_ptu", simulate.source),
    )


def _check_same(simulate: Part, settings: Mapping[str, Any], parts: Parts) -> None:
    """What is said of the target must hold for the deployment that is simulated, unless that was said over it."""
    for name in _WHAT:
        said, value = parts.get(name), settings.get(name)
        if said is None or said.level > simulate.level:
            continue
        if name == "type":
            same = (said.value == "standard") == (value == "standard")
        elif name == "model":
            same = str(said.value).lower() == str(value).lower()
        else:
            same = said.value == _number(settings, name, simulate.source)
        if not same:
            raise UsageError(
                f"{said.source}: `{shown(said.value)}` is not what {simulate.source} says; leave it out, or say it there"
            )


def _settings(text: str, source: str) -> dict[str, Any]:
    """MODEL:PTU,KEY=VALUE,… as a mapping of texts; what they mean is for the simulated deployment to say."""
    name, *rest = (part.strip() for part in text.split(","))
    model, _, ptu = name.rpartition(":")
    settings: dict[str, Any] = {"model": model, "ptu": ptu}
    for setting in rest:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"{source}: `{shown(setting)}` is not KEY=VALUE, such as depth=30s")
        if key in settings:
            raise UsageError(f"{source}: `{shown(key)}` is given twice; keep one")
        settings[key] = value
    return settings


def _number(settings: Mapping[str, Any], key: str, source: str) -> float | None:
    try:
        return None if settings.get(key) is None else float(str(settings[key]))
    except ValueError:
        raise UsageError(f"{source}: {key}: `{shown(settings[key])}` is not a number") from None


def _real(
    endpoint: Part, parts: Parts, known: dict[str, Any], env: Mapping[str, str], *, trust: bool, entra: bool | None
) -> Target:
    """A deployment or server somewhere."""
    at = address.parse(endpoint.value, endpoint.source)
    version = of_both(parts.get("api_version"), at.api_version, endpoint)
    style, version = _style(parts.get("api_style"), version, at, endpoint)
    api = of_both(parts.get("api"), at.api, endpoint)
    deployment = of_both(parts.get("deployment"), at.deployment, endpoint)
    if deployment is None and style == "openai":
        deployment = parts.get("model")
    if deployment is None:
        raise UsageError(_NO_NAME)
    name = address.check_name(str(deployment.value), deployment.source)
    headers = parts.get("header")
    header_env = access.read_headers(headers.value, headers.source) if headers else ()
    key_env = parts.get("key_env")
    chosen = access.choose(
        one_of(parts.get("auth"), access.AUTHS) or "auto",
        access.check_variable(key_env.value, key_env.source) if key_env else None,
        style=style,
        at=at,
        header_env=header_env,
        env=env,
        entra=access.entra_installed() if entra is None else entra,
    )
    scope = parts.get("scope")
    access.refuse_leak(chosen, header_env, at=at, trusted=trust or endpoint.level != FILE, where=endpoint.source)
    used = {
        **{key: parts.get(key) for key in ("api_style", "model", "ptu", "type", "scope")},
        "api_version": version,
        "api": api,
    }
    used |= {"endpoint": endpoint, "deployment": deployment}
    return _addressed(
        Target(
            kind="openai" if style == "openai" else "azure",
            style=style,
            endpoint="",
            url="",
            api=_api(api),
            deployment=name,
            auth=chosen.auth,
            key_env=chosen.key_env,
            scope=None if scope is None else access.check_scope(str(scope.value), scope.source, auth=chosen.auth),
            header_env=header_env,
            sources={key: part.source for key, part in used.items() if part is not None} | {"auth": chosen.source},
            cloud=_cloud(parts.get("cloud"), at, style),
            **known,
        ),
        at,
        version,
    )


def _api(said: Part | None) -> str:
    """The API that was asked for."""
    return one_of(said, tuple(APIS)) or "chat"


def _cloud(said: Part | None, at: Address, style: str) -> str | None:
    """The cloud that an Azure deployment is in; None where neither option nor host tells."""
    if style == "openai":
        if said is not None:
            raise UsageError(f"{said.source}: an OpenAI-compatible server is in no cloud of Azure's; leave it out")
        return None
    return choose_cloud(None if said is None else str(said.value), at.host).name if said or at.azure else None


def _style(asked: Part | None, version: Part | None, at: Address, endpoint: Part) -> tuple[str, Part | None]:
    """The URL style, and the api-version that goes with it: what is asked for, else what path, version and host tell.

    Raises:
        UsageError: they tell nothing, or contradict each other.
    """
    style = one_of(asked, address.STYLES) or at.style
    if style is None and (version is not None or at.azure):
        style = "classic" if version is not None else "v1"
    if style is None or (style == "openai" and asked is None and at.azure):
        raise UsageError(
            f"{endpoint.source}: `{shown(at.origin + at.path)}` does not tell what kind of server it is; end it with "
            "/openai/v1/ for Azure behind a gateway and for `ptubench simulate`, with /v1/ for an OpenAI-compatible "
            "server, or say --api-style v1, classic or openai"
        )
    if style == "classic" and version is None:
        raise UsageError(
            f"{endpoint.source}: a classic address needs --api-version, such as 2024-10-21, or --api-style v1"
        )
    if style != "classic" and version is not None and version.level == ENVIRONMENT and at.api_version is None:
        version = None  # set for other programs; the address says that it needs none
    if style == "openai" and version is not None:
        raise UsageError(
            f"{version.source}: an OpenAI-compatible server takes no api-version; leave it out, or say "
            "--api-style classic for Azure behind a gateway"
        )
    if version is not None:
        address.check_version(version.value, version.source)
    return style, version


def _addressed(target: Target, at: Address, version: Part | None = None) -> Target:
    """The same target with its URLs."""
    name = target.deployment or ""
    return msgspec.structs.replace(
        target,
        endpoint=address.base(at, target.style),
        url=address.url(at, target.style, target.api, name, version.value if version is not None else None),
        body_model=None if address.in_url(target.style, target.api) else name,
    )
