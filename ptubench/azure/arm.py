"""What a deployment is, as Azure Resource Manager says: type, size, model, version, spillover, content filter.

One GET: "Deployments - Get" of the Azure AI Services account management REST API, version 2025-06-01, the first
stable one whose deployments have `spilloverDeploymentName` (azure-rest-api-specs; checked 2026-11 in
Azure/bicep-types-az, microsoft.cognitiveservices/2025-06-01).
"""

import re
import time
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec

from ptubench.azure import rest
from ptubench.errors import TargetRefused, UsageError
from ptubench.record import Resource
from ptubench.secret import shown
from ptubench.target.model import Target

API_VERSION = "2025-06-01"
ROLE = "Reader"
SAID_BY = "Azure Resource Manager"
TYPES = {
    "GlobalProvisionedManaged": "global",
    "DataZoneProvisionedManaged": "datazone",
    "ProvisionedManaged": "regional",
    "GlobalStandard": "standard",
    "DataZoneStandard": "standard",
    "Standard": "standard",
}
"""Deployment types by the name of their SKU."""

_EXAMPLE = "/subscriptions/…/resourceGroups/…/providers/Microsoft.CognitiveServices/accounts/NAME"
_ID = re.compile(
    r"/subscriptions/[A-Za-z0-9-]{1,64}/resourceGroups/[\w.()-]{1,90}"
    r"/providers/Microsoft\.CognitiveServices/accounts/[A-Za-z0-9][A-Za-z0-9_.-]{1,63}",
    re.IGNORECASE,
)
_Text = Annotated[str, msgspec.Meta(max_length=200)] | None


class _Sku(msgspec.Struct):
    name: _Text = None
    capacity: Annotated[int, msgspec.Meta(ge=0, le=10**9)] | None = None


class _Model(msgspec.Struct):
    name: _Text = None
    version: _Text = None


class _Properties(msgspec.Struct, rename="camel"):
    model: _Model | None = None
    rai_policy_name: _Text = None
    spillover_deployment_name: _Text = None
    provisioning_state: _Text = None


class _Deployment(msgspec.Struct):
    sku: _Sku | None = None
    properties: _Properties | None = None


def check_id(text: str, *, option: str = "--resource") -> str:
    """The resource ID of an account; `option` is where it was typed, for the message.

    Raises:
        UsageError: it is none.
    """
    found = text.strip().rstrip("/")
    if not _ID.fullmatch(found):
        raise UsageError(f"{option}: `{shown(text, most=160)}` is not the resource ID of an account; write {_EXAMPLE}")
    return found


def account(resource: str) -> str:
    """The name of the account in a resource ID."""
    return resource.rsplit("/", 1)[-1]


def look_up(of: rest.Deployment, when: Literal["before", "after"]) -> Resource:
    """What the deployment is now, before or after the load.

    Raises:
        Failure: Azure does not say.
    """
    path = f"{quote(of.resource)}/deployments/{quote(of.name, safe='')}"
    answer = rest.get(of.by, path, {"api-version": API_VERSION}, role=ROLE)
    try:
        found = msgspec.convert(answer, _Deployment)
    except msgspec.ValidationError as exc:
        raise rest.Failure(f"{of.by.management}: the answer is no deployment ({exc}); check --resource") from None
    sku, properties = found.sku or _Sku(), found.properties or _Properties()
    model = properties.model or _Model()
    return Resource(
        when=when,
        asked_unix=time.time(),
        id=of.resource,
        deployment=of.name,
        sku=_clean(sku.name),
        capacity=sku.capacity,
        model=_clean(model.name),
        version=_clean(model.version),
        spillover=_clean(properties.spillover_deployment_name),
        content_filter=_clean(properties.rai_policy_name),
        state=_clean(properties.provisioning_state),
    )


def before(of: rest.Deployment) -> Resource:
    """What it is before the load.

    Raises:
        TargetRefused: Azure does not say, so that nothing is known of what would be loaded.
    """
    try:
        return look_up(of, "before")
    except rest.Failure as failure:
        raise TargetRefused(f"--resource: {failure}") from None


def after(of: rest.Deployment) -> Resource:
    """What it is after the load; what can't be had is a line that says so, since the run is done."""
    try:
        return look_up(of, "after")
    except rest.Failure as failure:
        error = f"{SAID_BY} did not say what the deployment was after the load: {failure}"
        return Resource(when="after", asked_unix=time.time(), id=of.resource, deployment=of.name, error=error)


def filled(target: Target, said: Resource) -> Target:
    """The target with what Azure says of it.

    Raises:
        UsageError: what was typed differs from it.
    """
    kind = TYPES.get(said.sku or "")
    ptu = said.capacity if kind is not None and kind != "standard" else None
    _agree(target, "type", target.type, kind, said)
    if target.ptu is not None and kind == "standard":
        raise UsageError(_contradiction(target, "ptu", f"{target.ptu:,} PTU", f"{said.sku}, which has no PTU", said))
    _agree(target, "ptu", target.ptu, ptu, said)
    if target.model is not None and said.model is not None and not _same_model(target.model, said.model, said.version):
        raise UsageError(_contradiction(target, "model", target.model, said.model, said))
    told = {
        "model": said.model,
        "version": said.version,
        "type": kind,
        "ptu": ptu,
        "spillover": said.spillover,
        "content_filter": said.content_filter,
    }
    known = {part: value for part, value in told.items() if value}
    return msgspec.structs.replace(
        target,
        resource=said.id,
        ptu_source=SAID_BY if ptu is not None else target.ptu_source,
        sources={**dict.fromkeys(known, SAID_BY), **target.sources},
        **known,
    )


def _agree(target: Target, part: str, typed: Any, found: Any, said: Resource) -> None:
    if typed is not None and found is not None and typed != found:
        raise UsageError(_contradiction(target, part, str(typed), str(found), said))


def _contradiction(target: Target, part: str, typed: str, found: str, said: Resource) -> str:
    where = target.sources.get(part, f"--{part}")
    return (
        f"{where}: `{shown(typed)}` contradicts what {SAID_BY} says of {shown(said.deployment)}: `{shown(found)}`; "
        "leave it out, or check --resource and --deployment"
    )


def _same_model(typed: str, name: str, version: str | None) -> bool:
    """Whether a name means this model, with its version or without."""
    return typed.lower() in (name.lower(), f"{name}-{version}".lower())


def _clean(text: str | None) -> str | None:
    return None if text is None else shown(text, most=100)
