"""What two runs do not have in common: what forbids comparing them, what only has to be said, and what forbids pairing."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ptubench.compare.side import Side
from ptubench.units import number_text
from ptubench.workload.hashing import BESIDE, files

FAR = 20.0
"""Milliseconds of round trip: clients that far apart do not measure the same latency."""
_POLICY = "throttling"
_FILE_NAMES = {
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "limit": "output_limit",
    "unlimited": "output_limit",
}
"""What the workload file calls them."""
_NESTED = ("classes", _POLICY)

_Told = Callable[[Side], Any]


def _target(name: str) -> _Told:
    return lambda side: side.target.get(name)


def _where(side: Side) -> Any:
    """The host; a simulated deployment that the run started itself is everywhere."""
    return None if side.target["kind"] == "simulated" else side.target["endpoint"]


def _second(side: Side) -> Any:
    """Where a 429 is diverted to: host, deployment, model, size and type."""
    second = side.run.head.divert_to
    if second is None:
        return None
    parts = (
        ("model", "ptu", "type")
        if second.get("kind") == "simulated"
        else ("endpoint", "deployment", "model", "ptu", "type")
    )
    return " ".join(str(second[part]) for part in parts if second.get(part) is not None)


NAMED: dict[str, _Told] = {
    "model": _target("model"),
    "model served": _target("model_served"),
    "model version": _target("version"),
    "PTUs": _target("ptu"),
    "type": _target("type"),
    "endpoint": _where,
    "deployment": _target("deployment"),
    "API": _target("api"),
    "spillover": _target("spillover"),
    "content filter": _target("content_filter"),
    "429 policy": lambda side: side.run.head.workload.throttling.on_429,
    "diverted to": _second,
    "place": lambda side: side.summary["network"].get("place"),
    "run file schema": lambda side: side.run.head.schema,
    "ptubench": lambda side: side.run.head.tool_version,
}
"""What is said where it differs, in this order."""


def kind(side: Side) -> str:
    """What was measured: figures of two kinds are never mixed without a word."""
    return kind_of(side.summary)


def kind_of(summary: Mapping[str, Any]) -> str:
    """The same by a summary."""
    if summary["target"]["kind"] != "simulated" and summary["target"].get("simulate") is None:
        return "real"
    return "simulated, on a virtual clock" if summary["run"]["clock"] == "virtual" else "simulated"


def keys(first: Side, second: Side) -> list[str]:
    """The keys of the workload file in which two workloads differ; empty where they are the same."""
    if first.run.head.workload_hash == second.run.head.workload_hash:
        return []
    leaves = [_leaves(side.summary["workload"]) for side in (first, second)]
    missing = object()
    found = [key for key in {**leaves[0], **leaves[1]} if leaves[0].get(key, missing) != leaves[1].get(key, missing)]
    # Without files the same data is the same load: another version of ptubench may hash it otherwise.
    named = any(files(side.run.head.workload) for side in (first, second))
    return found or (["the content of the files that they name"] if named else [])


def unlike(found: list[str]) -> list[str]:
    """Those of the differing keys that make another load; how a 429 is handled does not."""
    return [key for key in found if key.partition(".")[0] != _POLICY]


def differences(first: Side, second: Side) -> list[dict[str, Any]]:
    """{key, values, text} of everything that has to be said: target, policy, place, what it was measured with."""
    rows = [(name, *(of(side) for side in (first, second))) for name, of in NAMED.items()]
    rows += [("kind", kind(first), kind(second))]
    rows += _simulated(first, second)
    found = [_difference(name, a, b) for name, a, b in rows if a != b]
    trips = [round_trip(side) for side in (first, second)]
    if None not in trips and abs(trips[0] - trips[1]) > FAR:  # type: ignore[operator] # no None in them
        texts = [f"{number_text(trip)} ms" for trip in trips]
        found.append(_difference("round trip", *texts) | {"values": trips})
    return found


def round_trip(side: Side) -> float | None:
    """Milliseconds to the target and back: as the probe saw it, else the median time to open a TCP connection."""
    network = side.summary["network"]
    told = network.get("round_trip_ms")
    if not isinstance(told, int | float):
        told = network["connect_ms"]["p50"]
    return float(told) if told is not None and math.isfinite(told) else None


def unpaired_because(first: Side, second: Side, *, common: int, found: list[str]) -> str | None:
    """Why request i of one run is not laid beside request i of the other; None where it is.

    Args:
        first: one run.
        second: the other.
        common: how many indices both offered in their windows.
        found: the keys in which their workloads differ.
    """
    if unlike(found):
        return f"the workloads differ in {', '.join(found)}"
    if found and any(files(side.run.head.workload) for side in (first, second)):
        # Only the hash knows what was in the files, and the policy is a part of it.
        return f"the workloads differ in {', '.join(found)}, and whether their files held the same is not stored"
    seeds = [side.run.head.seed for side in (first, second)]
    if seeds[0] != seeds[1]:
        return f"the seeds differ ({seeds[0]} and {seeds[1]})"
    offered = max(len(first.offered), len(second.offered))
    if common < 0.95 * offered:
        return f"the windows have only {common:,} of {offered:,} requests in common"
    return None


def _simulated(first: Side, second: Side) -> list[tuple[str, Any, Any]]:
    """The options of two simulated deployments that differ, what is said anyway left out."""
    told: list[Any] = [side.target.get("simulate") for side in (first, second)]
    if not all(isinstance(options, Mapping) for options in told):
        return []
    names = [name for name in {**told[0], **told[1]} if name not in ("model", "ptu", "type")]
    return [(f"simulated {name}", *(options.get(name) for options in told)) for name in names]


def _difference(name: str, first: Any, second: Any) -> dict[str, Any]:
    texts = [_text(value) for value in (first, second)]
    return {"key": name, "values": [first, second], "text": f"{name}: {texts[0]} and {texts[1]}"}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def _leaves(workload: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the load, by the names that the workload file has for it."""
    found: dict[str, Any] = {name: value for name, value in workload.items() if name not in (*BESIDE, *_NESTED)}
    for key, value in workload.get(_POLICY, {}).items():
        if key != "divert_to":  # a target, and no part of the load
            found[f"{_POLICY}.{key}"] = value
    for class_ in workload.get("classes", ()):
        where = f"mix.{class_['name']}." if class_.get("name") else ""
        for key, value in class_.items():
            called = f"{where}{_FILE_NAMES.get(key, key)}"
            found[called] = (*found.get(called, ()), key, value)
    # The order decides which request is of which class.
    return found | {"mix": [class_.get("name") for class_ in workload.get("classes", ())]}
