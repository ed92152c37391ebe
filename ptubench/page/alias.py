"""Runs under other names: what says whose they are is replaced before anything is computed of them.

Deployments, endpoints, resources, subscriptions, addresses, places and files become deployment-1 and so on, the same
name everywhere the same, across all runs of a page. What comes later can't tell what it never got to know.
Free texts, such as what a service said, lose every such name, and whatever looks like a URL, an address or an ID.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ptubench.analysis.columns import Run
from ptubench.azure.cloud import CLOUDS
from ptubench.record import End, Head, Monitor, Resource
from ptubench.workload.model import Trace, Workload

_CALL = re.compile(r"(/openai)?(/v1)?(/deployments/[^/?]+)?/(chat/completions|responses)(?=\?|$)")
_VERSION = re.compile(r"api-version=[A-Za-z0-9.-]+")
_FILES = "csv|gz|html|jsonl?|pem|py|txt|ya?ml"
_SHAPES = {
    "a URL": re.compile(r"https?://[^\s\"'<>]+"),
    "an id": re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
    "a mail address": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*"),
    "an address": re.compile(
        r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])|(?<![\w:])(?:[0-9a-fA-F]{1,4}::?){3,7}[0-9a-fA-F]{0,4}(?![\w:])"
    ),
    "a path": re.compile(
        r"(?<![\w.])(?:[A-Za-z]:\\|\\\\|~[\w.-]*/|/)[^\s\"'`<>:;,()]+"
        rf"|(?<![\w.])(?:[\w.-]+[/\\])+[\w.-]+\.(?:{_FILES})\b"
    ),
    # With a port, one dot is enough; without, `refused.ratio` has one too.
    "a host": re.compile(
        r"(?<![\w.-])(?:[A-Za-z0-9-]+\.)+(?:[A-Za-z0-9-]+\.[A-Za-z]{2,}(?:\b|:\d+)|[A-Za-z]{2,}:\d+)(?![\w.])"
    ),
}
_LEAST = 3
"""Characters: what is shorter is found in any word."""


@dataclass(frozen=True)
class Names:
    """Which name stands for which, by what it names."""

    known: dict[str, dict[str, str]] = field(default_factory=dict)

    def of(self, what: str, name: Any) -> Any:
        """The other name, the same for the same, whatever its case; None stays None."""
        if not isinstance(name, str) or not name:
            return None
        told = self.known.setdefault(what, {})
        return told.setdefault(name.lower(), f"{what}-{len(told) + 1}")

    def text(self, text: str, *, public: frozenset[str]) -> str:
        """A free text without any known name but those that are `public` too, as a model's, and without what looks like one."""
        for what, shape in _SHAPES.items():
            text = shape.sub(f"({what})", text)
        pairs = [pair for told in self.known.values() for pair in told.items()]
        for name, other in sorted(pairs, key=lambda pair: -len(pair[0])):
            if len(name) >= _LEAST and name not in public:
                text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", other, text, flags=re.IGNORECASE)
        return text


def aliased(runs: Sequence[Run]) -> list[Run]:
    """The same runs under other names."""
    names = Names()
    return [_run(run, number, names) for number, run in enumerate(runs, start=1)]


def aliased_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of `ptubench size` or `ptubench capacity` under other names."""
    names, found = Names(), dict(answer)
    if found.get("target") is not None:
        found["target"] = _target(found["target"], names)
    if found.get("workload") is not None:
        workload = _workload(msgspec.convert(found["workload"], Workload), names)
        found["workload"] = msgspec.to_builtins(workload)
    # What a file or a history is named after, in the keys that each kind of answer has.
    for part, key, what in (("usage", "source", "history"), ("calibration", "file", "run")):
        if found.get(part) is not None:
            found[part] = {**found[part], key: names.of(what, found[part][key])}
    if found.get("folder") is not None:
        found["folder"] = names.of("search", found["folder"])
    target = found.get("target") or {}
    public = _public((target.get("model"), target.get("model_served"), (found.get("model") or {}).get("name")))
    for key in ("notes", "caveats", "warnings"):
        found[key] = [names.text(said, public=public) for said in found.get(key, ())]
    if found.get("fault") is not None:
        found["fault"] = names.text(found["fault"], public=public)
    return found


def _run(run: Run, number: int, names: Names) -> Run:
    head = _head(run.head, names)
    azure = [_azure(line, names) for line in run.azure]
    models = (run.head.target.get("model"), head.target.get("model"), *run.models)
    public = _public(models)

    def text(said: str) -> str:
        return names.text(said, public=public)

    return replace(
        run,
        path=None if run.path is None else Path(f"run-{number}.jsonl"),
        head=msgspec.structs.replace(
            head,
            label=None if head.label is None else text(head.label),
            workload=msgspec.structs.replace(head.workload, description=text(head.workload.description)),
            warnings=tuple(map(text, head.warnings)),
        ),
        end=_end(run.end, text),
        azure=[_quiet(line, text) for line in azure],
    )


def _public(models: Iterable[Any]) -> frozenset[str]:
    """Names that say nothing of whose a run is, even where a deployment has the same."""
    return frozenset(str(model).lower() for model in models if model)


def _head(head: Head, names: Names) -> Head:
    network = dict(head.network)
    for key, what in (("address", "address"), ("proxy", "proxy"), ("place", "place")):
        if network.get(key) is not None:
            network[key] = _address(network[key], what, names)
    return msgspec.structs.replace(
        head,
        workload=_workload(head.workload, names),
        target=_target(head.target, names),
        divert_to=None if head.divert_to is None else _target(head.divert_to, names),
        network=network,
        probe=_probe(head.probe),
        divert_probe=_probe(head.divert_probe),
        nodes=tuple(msgspec.structs.replace(node, name=names.of("node", node.name) or "") for node in head.nodes),
    )


def _probe(probe: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the probe found, without who answered it from where."""
    return None if probe is None else {**probe, "peer": None, "proxy": None, "headers": {}}


def _address(value: Any, what: str, names: Names) -> Any:
    """An address of this machine says nothing of anybody."""
    try:
        local = ipaddress.ip_address(str(value)).is_loopback
    except ValueError:
        local = False
    return value if local else names.of(what, str(value))


# --- targets ----------------------------------------------------------------------------------------------------------


def _target(target: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """A described target; the names of secrets and what said what are left out."""
    found = dict(target)
    simulate = target.get("simulate")
    deployment = target.get("deployment")
    # Without a name of its own, what is simulated has that of its model, which is nobody's.
    if not (isinstance(simulate, Mapping) and deployment is not None and deployment == simulate.get("model")):
        deployment = names.of("deployment", deployment)
    endpoint = _endpoint(target.get("endpoint"), names)
    found |= {
        "deployment": deployment,
        "body_model": None if target.get("body_model") is None else deployment,
        "endpoint": endpoint,
        "url": _url(target.get("url"), endpoint, deployment),
        "spillover": names.of("deployment", target.get("spillover")),
        "content_filter": names.of("filter", target.get("content_filter")),
        "resource": _resource_id(target.get("resource"), names),
    }
    if isinstance(simulate, Mapping):
        found["simulate"] = {**simulate, "deployment": names.of("deployment", simulate.get("deployment"))}
    unsaid: dict[str, Any] = {"key_env": None, "scope": None, "header_env": [], "sources": {}}
    return found | {key: value for key, value in unsaid.items() if key in found}


def _endpoint(endpoint: Any, names: Names) -> str | None:
    """An address under another name; that it is Azure's stays told."""
    try:
        host = (urlsplit(str(endpoint)).hostname or "").lower()
    except ValueError:
        host = ""
    if not host:
        return None if endpoint is None else str(names.of("endpoint", str(endpoint)))
    ending = next((cloud.ending for cloud in CLOUDS.values() if host.endswith(cloud.ending)), None)
    if ending is not None:
        names.of("endpoint", host)
        return f"https://{names.of('resource', host.split('.')[0])}{ending}"
    local = host == "localhost" or _address(host, "endpoint", names) == host
    return "http://127.0.0.1" if local else f"https://{names.of('endpoint', host)}"


def _url(url: Any, endpoint: str | None, deployment: str | None) -> str | None:
    """Where requests go, by its new names; of the query only the API version."""
    if url is None or endpoint is None:
        return None
    call, version = _CALL.search(str(url)), _VERSION.search(str(url))
    path = "" if call is None else re.sub(r"(?<=/deployments/)[^/?]+", deployment or "deployment", call[0])
    return f"{endpoint}{path}{'' if version is None else f'?{version[0]}'}"


def _resource_id(resource: Any, names: Names) -> str | None:
    """The ID of an account; what is no such ID gets a name as a whole."""
    if not isinstance(resource, str) or not resource:
        return None
    parts = resource.strip("/").split("/")
    told = {key.lower(): value for key, value in zip(parts[::2], parts[1::2], strict=False)}
    if not {"subscriptions", "resourcegroups", "accounts"} <= told.keys():
        return str(names.of("resource", resource))
    subscription, group = names.of("subscription", told["subscriptions"]), names.of("group", told["resourcegroups"])
    account = names.of("resource", told["accounts"])
    return (
        f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.CognitiveServices/accounts/{account}"
    )


# --- the rest ---------------------------------------------------------------------------------------------------------


def _workload(workload: Workload, names: Names) -> Workload:
    """Files under other names, without its own target."""
    load = workload.load
    if isinstance(load, Trace):
        load = msgspec.structs.replace(load, file=f"{names.of('trace', load.file)}{Path(load.file).suffix}")
    classes = tuple(
        kind
        if kind.messages is None
        else msgspec.structs.replace(
            kind,
            messages=msgspec.structs.replace(kind.messages, file=f"{names.of('messages', kind.messages.file)}.jsonl"),
        )
        for kind in workload.classes
    )
    second = workload.throttling.divert_to
    throttling = workload.throttling
    if second is not None:
        kept = {key: second[key] for key in ("model", "ptu", "type", "api", "ratio", "tpm_per_ptu") if key in second}
        named = {"deployment": names.of("deployment", second.get("deployment"))} if second.get("deployment") else {}
        at = {"endpoint": _endpoint(second["endpoint"], names)} if second.get("endpoint") else {}
        throttling = msgspec.structs.replace(throttling, divert_to={**named, **at, **kept})
    client = workload.client
    if ":" in client:  # a module of theirs
        client = f"{names.of('client', client)}:function"
    return msgspec.structs.replace(
        workload, load=load, classes=classes, throttling=throttling, client=client, target={}
    )


def _azure(line: Resource | Monitor, names: Names) -> Resource | Monitor:
    deployment = str(names.of("deployment", line.deployment))
    line = msgspec.structs.replace(line, id=str(_resource_id(line.id, names)), deployment=deployment)
    if isinstance(line, Monitor):
        return line
    spillover = names.of("deployment", line.spillover)
    return msgspec.structs.replace(line, spillover=spillover, content_filter=names.of("filter", line.content_filter))


def _quiet(line: Resource | Monitor, text: Callable[[str], str]) -> Resource | Monitor:
    """What Azure said in its own words, under the other names."""
    if isinstance(line, Monitor):
        return msgspec.structs.replace(line, errors={name: text(why) for name, why in line.errors.items()})
    return line if line.error is None else msgspec.structs.replace(line, error=text(line.error))


def _end(end: End | None, text: Callable[[str], str]) -> End | None:
    if end is None:
        return None
    simulated = end.simulated
    if simulated is not None:
        assumed = simulated.get("assumed")
        if isinstance(assumed, Mapping):
            simulated = {**simulated, "assumed": {**assumed, "deployment": None}}
    return msgspec.structs.replace(end, problems=tuple(map(text, end.problems)), simulated=simulated)
