"""What the command line changes in a workload file, on its plain data, before it is checked.

`--set load.rate=60/min` changes one key; `--rate` and `--concurrency` replace the kind of load as a whole;
`--on-429` names one of the policies and leaves what the file says of each.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ptubench.errors import UsageError
from ptubench.secret import shown
from ptubench.units import duration as seconds_of
from ptubench.units import duration_text
from ptubench.workload import fields as field
from ptubench.workload.fields import MOST_SEED, Fields, Place
from ptubench.workload.loads import KINDS
from ptubench.workload.yaml_file import MAX_DEPTH, parse

_DROPPED = {
    "rate": (*KINDS, "think_time"),
    "concurrency": (*KINDS, "arrivals", "burstiness"),
}
"""What a load loses when its kind is replaced: the old kind, and what does not describe the new one."""
_READERS: dict[str, Callable[[Any, Place], object]] = {
    "rate": field.rate,
    "concurrency": field.whole,
    "duration": field.duration,
    "warmup": field.warmup,
    "seed": lambda value, place: field.whole(value, place, least=0, most=MOST_SEED),
    "on-429": lambda value, place: field.choice(value, place, field.ON_429),
}


def override(top: Fields, text: str) -> None:
    """Apply one `--set KEY=VALUE` in place; KEY is a dotted path, list items by number, VALUE is YAML.

    Raises:
        UsageError: not of that form, or the path leads through something that has no keys.
    """
    path, equals, value_text = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(f"--set {shown(text)}: not of the form KEY=VALUE, such as load.rate=60/min")
    if len(keys) > MAX_DEPTH:
        raise UsageError(f"--set {shown(path)}: nested more than {MAX_DEPTH} levels deep; no workload needs that")
    where = f"--set {shown(path)}"
    value = parse(value_text, where)
    below: Any = top
    for key in keys[:-1]:
        below = _enter(below, key, where)
    _put(below, keys[-1], value, where)


def replace(top: Fields, options: Mapping[str, Any]) -> None:
    """Apply the options that have names of their own, in place; what is None was not given.

    Args:
        top: the top level of the file.
        options: `rate`, `concurrency`, `duration`, `warmup`, `seed`, `on_429`, as typed.
    """
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    for name, value in given.items():
        _READERS[name](value, Place(f"--{name}"))  # a typo is named after the option, not the file
    if "rate" in given and "concurrency" in given:
        raise UsageError("--rate and --concurrency are two kinds of load; give one of them")
    for kind in ("rate", "concurrency"):
        if kind in given:
            _replace_load(top, kind, given[kind])
    for name in ("duration", "warmup", "seed"):
        if name in given:
            top[name] = given[name]
    if "duration" in given and "warmup" not in given and _outlasts(top.get("warmup"), given["duration"]):
        del top["warmup"]  # a short try of a long workload: the default fits any duration
    if "on-429" in given:
        old = top.get("throttling")
        top["throttling"] = {**(old if isinstance(old, dict) else {}), "on_429": given["on-429"]}


def _outlasts(warmup: object, duration: object) -> bool:
    """Whether a warm-up would leave nothing of the duration; what is no duration is for others to refuse."""
    try:
        return seconds_of(warmup) >= seconds_of(duration)
    except ValueError:
        return False


def _replace_load(top: Fields, kind: str, value: object) -> None:
    old = top.get("load")
    old = old if isinstance(old, dict) else {}
    if "stages" in old and "duration" not in top:
        # What the stages lasted stays: only the kind of load is replaced.
        total = _stages_last(old["stages"])
        if total:
            top["duration"] = total
    kept = {key: held for key, held in old.items() if key not in _DROPPED[kind]}
    top["load"] = {**kept, kind: value}


def _stages_last(stages: Any) -> str | None:
    """How long the stages last, as a text; None where they are not as they should be."""
    try:
        return duration_text(sum(seconds_of(stage["for"]) for stage in stages))
    except (TypeError, KeyError, ValueError):
        return None


def _enter(below: Any, key: str, where: str) -> Any:
    """The mapping or list behind a key; a missing key becomes an empty mapping."""
    if isinstance(below, list):
        return below[_index(below, key, where)]
    if isinstance(below, dict):
        if below.get(key) is None:
            below[key] = {}
        return below[key]
    raise UsageError(
        f"{where}: `{shown(key)}` has nothing to stand in: what is above it is neither a mapping nor a list"
    )


def _put(below: Any, key: str, value: object, where: str) -> None:
    if isinstance(below, list):
        below[_index(below, key, where)] = value
    elif isinstance(below, dict):
        below[key] = value
    else:
        _enter(below, key, where)


def _index(below: list[Any], key: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", key) or int(key) >= len(below):
        raise UsageError(f"{where}: `{shown(key)}` is no item of the list; its items are 0 to {len(below) - 1}")
    return int(key)
