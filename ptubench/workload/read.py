"""The workload file: found, read, overridden from the command line, checked, and decoded into a `Workload`.

Everything that can be wrong with it is a `UsageError` of one sentence. Knows no target beyond the form of `target:`,
and of the files that a workload names only that they are there.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptubench.errors import UsageError
from ptubench.secret import shown
from ptubench.units import duration_text
from ptubench.workload import fields as field
from ptubench.workload import override, shapes, shipped, yaml_file
from ptubench.workload.fields import Fields, Place
from ptubench.workload.loads import read_load
from ptubench.workload.model import OpenLoop, Slo, Throttling, Timeouts, Trace, Workload

OWN_PARAMETERS = {
    "messages": "`messages` or `prompt_tokens`",
    "input": "`messages` or `prompt_tokens`",
    "model": "`target.deployment`",
    "stream": "`stream`",
    "stream_options": "nothing: usage is always asked for",
    "max_tokens": "`output_limit`",
    "max_completion_tokens": "`output_limit`",
    "max_output_tokens": "`output_limit`",
    "n": "nothing: every call asks for one answer",
}
"""Fields of the request body that ptubench sets itself, and what to write instead of them."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_SUFFIXES = (".yaml", ".yml")


def read(
    source: str | Path,
    *,
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    divert_to: Mapping[str, Any] | None = None,
) -> Workload:
    """The workload of a file or of a shipped name.

    Args:
        source: a path, or a name such as `chat`.
        overrides: texts of `--set`, such as `load.rate=60/min`.
        options: `rate`, `concurrency`, `duration` and `seed` as given on the command line; None where not given.
        divert_to: the second target of a workload that diverts and names none; None where it must name one.

    Returns:
        The workload with defaults filled in and paths absolute; relative loads (tokens a minute, utilization) and
        the rest of a trace are still to be resolved (`resolve`).

    Raises:
        UsageError: naming the file, the key or line, and the way out.
    """
    path, where = _found(source)
    text = _text(path, where)
    return decode(text, where, path.parent, overrides=overrides, options=options or {}, divert_to=divert_to)


def decode(
    text: str,
    where: str,
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    divert_to: Mapping[str, Any] | None = None,
) -> Workload:
    """The workload of a YAML text; `where` is what messages call it, `folder` what file names are relative to."""
    place = Place(where)
    top = yaml_file.parse(text, where)
    if top is None:
        raise place.fault("is empty; `ptubench init` writes a file to begin with")
    if not isinstance(top, dict):
        raise place.fault("is not a mapping; write `key: value` lines, such as `name: chat`")
    override.replace(top, options or {})
    for assignment in overrides:
        override.override(top, assignment)
    throttling = top.get("throttling")
    if divert_to is not None and isinstance(throttling, dict) and throttling.get("on_429") == "divert":
        throttling.setdefault("divert_to", dict(divert_to))
    field.refuse_secrets(top, place)
    return _workload(field.section(top, place, "workload"), place, folder)


def _found(source: str | Path) -> tuple[Path, str]:
    """The file that is meant, and what messages call it."""
    name = str(source)
    is_path = isinstance(source, Path) or "/" in name or "\\" in name or name.endswith(_SUFFIXES)
    file = None if is_path else shipped.path(name)
    if file is not None:
        return file, f"workloads/{file.name}"
    if is_path or Path(name).is_file():
        return Path(name), shown(name, most=500)
    beside = [f"{name}{suffix}" for suffix in _SUFFIXES if Path(f"{name}{suffix}").is_file()]
    meant = beside[0] if beside else field.nearest(name, shipped.names())
    way_out = f"did you mean `{shown(meant)}`?" if meant else f"shipped are {', '.join(shipped.names())}"
    raise UsageError(f"{shown(name)}: neither a workload file nor a shipped workload; {way_out}")


def _text(path: Path, where: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(yaml_file.MAX_BYTES + 1)
        if len(raw) > yaml_file.MAX_BYTES:
            raise yaml_file.too_large(where)
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{where}: not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as exc:
        reason = (exc.strerror if isinstance(exc, OSError) else None) or "not a file name"
        way_out = f"name a workload file, or one of the shipped {', '.join(shipped.names())}"
        raise UsageError(f"{where}: can't be read ({reason}); {way_out}") from None


def _workload(top: Fields, place: Place, folder: Path) -> Workload:
    load, seconds = read_load(top, place, folder)
    warmup = _warmup(top, place, seconds)
    pending = [name for name, value in (("duration", seconds), ("warmup", warmup)) if value is None]
    workload = Workload(
        name=_name(top, place),
        classes=shapes.classes(top, place, folder, traced=isinstance(load, Trace)),
        load=load,
        duration=seconds or 0.0,
        warmup=warmup or 0.0,
        warmup_rule=str(top["warmup"]) if top.get("warmup") in field.DECIDED_AFTERWARDS else "fixed",
        pending=tuple(pending),
        **{key: read(top[key], place.at(key)) for key, read in _OTHERS.items() if key in top},
    )
    if isinstance(load, OpenLoop) and any(stage.unit != "rate" for stage in load.stages):
        _need_sizes(workload, place)
    return workload


def _need_sizes(workload: Workload, place: Place) -> None:
    for kind in workload.classes:
        if kind.messages is not None:
            raise place.at("load").fault(
                "a load in tokens or utilization needs `prompt_tokens` and `completion_tokens`, which `messages` "
                "don't tell; give `rate` instead"
            )


def _name(top: Fields, place: Place) -> str:
    if "name" not in top:
        raise place.fault("`name` is missing; write for example `name: chat`")
    name = top["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise place.at("name").fault(
            f"`{shown(name)}` is no name for a workload; it becomes part of file names: letters, digits, `-`, `_` and `.`"
        )
    return name


def _warmup(top: Fields, place: Place, duration: float | None) -> float | None:
    """Seconds; by default 10 % of the duration, at most 1m. None while the duration is not known."""
    at = place.at("warmup")
    seconds = field.warmup(top["warmup"], at) if "warmup" in top else None
    if seconds is None:
        return None if duration is None else min(0.1 * duration, 60.0)
    if duration is not None and seconds >= duration:
        raise at.fault(
            f"{duration_text(seconds)} is not shorter than the duration of {duration_text(duration)}: "
            f"nothing would be measured; lower it, such as --set warmup={duration_text(min(0.1 * duration, 60.0))}"
        )
    return seconds


def _seed(value: object, place: Place) -> int:
    return field.whole(value, place, least=0, most=field.MOST_SEED)


def _throttling(value: object, place: Place) -> Throttling:
    fields = field.section(value, place, "throttling")
    if fields.get("on_429") == "divert" and "divert_to" not in fields:
        raise place.fault(
            "`on_429: divert` needs `divert_to`, the second target, such as `divert_to: {deployment: standard}`"
        )
    return Throttling(**{key: _THROTTLING[key](held, place.at(key)) for key, held in fields.items()})


def _rules(value: object, place: Place) -> tuple[str, ...]:
    rules = [] if value == [] else field.items(value, place)  # `--set checks=[]` drops those of the file
    return tuple(field.text(rule, place.at(index)).strip() for index, rule in enumerate(rules))


def _slo(value: object, place: Place) -> Slo:
    fields = field.section(value, place, "slo")
    if not fields:
        raise place.fault("needs `ttft` or `e2e`, such as `slo: {ttft: 1s}`")
    return Slo(**{key: field.duration(limit, place.at(key)) for key, limit in fields.items()})


def _drain(value: object, place: Place) -> float:
    return field.duration(value, place, zero=True)


def _timeouts(value: object, place: Place) -> Timeouts:
    fields = field.section(value, place, "timeouts")
    return Timeouts(**{key: field.duration(limit, place.at(key)) for key, limit in fields.items()})


def _parameters(value: object, place: Place) -> Fields:
    fields = field.mapping(value, place)
    for key in fields:
        if key in OWN_PARAMETERS:
            raise place.at(key).fault(f"is set by ptubench itself; remove it and use {OWN_PARAMETERS[key]}")
    return fields


def _client(value: object, place: Place) -> str:
    if value in ("timed", "httpx") or (isinstance(value, str) and _FUNCTION.fullmatch(value)):
        return str(value)
    raise place.fault(f"`{shown(value)}` is neither `timed` nor `httpx` nor a function as `package.module:function`")


def _target(value: object, place: Place) -> Fields:
    """The form of `target:`; what its values mean is for `ptubench.target`."""
    fields = field.section(value, place, "target")
    for key, held in fields.items():
        at = place.at(key)
        if key == "ptu":
            field.whole(held, at)
        elif key in ("ratio", "tpm_per_ptu"):
            field.number(held, at)
        elif key == "headers":
            for name, source in field.mapping(held, at).items():
                field.text(source, at.at(name))
        elif not (key == "simulate" and isinstance(held, dict)):
            field.text(held, at)
    return fields


_THROTTLING: dict[str, Any] = {
    "on_429": lambda value, place: field.choice(value, place, field.ON_429),
    "max_retries": lambda value, place: field.whole(value, place, least=0, most=1000),
    "max_wait": field.duration,
    "divert_to": _target,
}
_OTHERS: dict[str, Any] = {
    "description": field.text,
    "seed": _seed,
    "throttling": _throttling,
    "checks": _rules,
    "abort": _rules,
    "slo": _slo,
    "max_in_flight": field.whole,
    "drain": _drain,
    "timeouts": _timeouts,
    "stream": field.flag,
    "parameters": _parameters,
    "client": _client,
    "target": _target,
}
"""Keys that stand for themselves, and what reads each of them."""
