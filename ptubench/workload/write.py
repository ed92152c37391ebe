"""A workload as YAML again: what a run stored of it, to be run once more.

`read.decode` makes the same workload of it, so it sends the same; `target:` is left out, since the command line says it. Files are
named as the workload names them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import yaml

from ptubench import units
from ptubench.workload.model import Class, ClosedLoop, Fixed, Lognormal, OpenLoop, Sizes, Stage, Trace, Workload

_DEFAULTS = Workload(name="defaults", classes=(), load=ClosedLoop(concurrency=1), duration=1, warmup=0)
_KEPT = ("max_in_flight", "stream", "parameters", "client")
_LEVELS = {"rate": "rate", "tokens": "tokens_per_minute", "utilization": "utilization"}


def as_yaml(workload: Workload) -> str:
    """The text of a workload file."""
    top: dict[str, Any] = {"name": workload.name}
    if workload.description:
        top["description"] = workload.description
    top |= _shapes(workload.classes)
    top["load"] = _load(workload.load, workload.duration)
    if "stages" not in top["load"]:
        top["duration"] = _seconds(workload.duration)
    top["warmup"] = _seconds(workload.warmup) if workload.warmup_rule == "fixed" else workload.warmup_rule
    top |= _others(workload)
    return yaml.dump(top, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes everything out where it stands: a workload file has no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """No two parts of a file are one."""
        del data
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """A text in quotes where a reader may take it for a number: `0E0` is one to some."""
        try:
            float(data)
        except ValueError:
            return super().represent_str(data)
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="'")


_Dumper.add_representer(str, _Dumper.represent_str)


def _others(workload: Workload) -> dict[str, Any]:
    """What is not as it would be if nothing were said."""
    found: dict[str, Any] = {}
    if workload.throttling != _DEFAULTS.throttling:
        found["throttling"] = _told(workload.throttling, _DEFAULTS.throttling, ("max_wait",))
    if workload.slo is not None:
        found["slo"] = _told(workload.slo, type(workload.slo)(), ("ttft", "e2e"))
    if workload.drain != _DEFAULTS.drain:
        found["drain"] = _seconds(workload.drain)
    if workload.timeouts != _DEFAULTS.timeouts:
        found["timeouts"] = _told(workload.timeouts, _DEFAULTS.timeouts, workload.timeouts.__struct_fields__)
    found |= {key: getattr(workload, key) for key in _KEPT if getattr(workload, key) != getattr(_DEFAULTS, key)}
    return found | {key: list(rules) for key in ("checks", "abort") if (rules := getattr(workload, key))}


def _told(value: msgspec.Struct, default: msgspec.Struct, times: tuple[str, ...]) -> dict[str, Any]:
    """The fields that differ from the default; `times` are in seconds."""
    differing = {name: getattr(value, name) for name in value.__struct_fields__}
    return {
        name: _seconds(held) if name in times else held
        for name, held in differing.items()
        if held != getattr(default, name)
    }


# --- shapes -----------------------------------------------------------------------------------------------------------


def _shapes(classes: tuple[Class, ...]) -> dict[str, Any]:
    """Sizes at the top level, or a mix of classes."""
    if len(classes) == 1 and not classes[0].name:
        return _shape(classes[0])
    return {"mix": {kind.name: {"weight": _plain(kind.weight), **_shape(kind)} for kind in classes}}


def _shape(kind: Class) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if kind.messages is not None:
        found["messages"] = {"file": kind.messages.file, "order": kind.messages.order}
    if kind.prompt is not None:
        found["prompt_tokens"] = _sizes(kind.prompt)
    if kind.completion is not None:
        found["completion_tokens"] = _sizes(kind.completion)
    if kind.unlimited:
        found["output_limit"] = "none"
    elif kind.limit is not None:
        found["output_limit"] = _sizes(kind.limit)
    if kind.cached is not None:
        found["cached"] = {"tokens": kind.cached.tokens, "prefixes": kind.cached.prefixes}
    return found | ({"reasoning_tokens": kind.reasoning_tokens} if kind.reasoning_tokens else {})


def _sizes(sizes: Sizes) -> Any:
    if isinstance(sizes, Fixed):
        return sizes.tokens
    if isinstance(sizes, Lognormal):
        found = {"mean": _plain(sizes.mean), "p95": _plain(sizes.p95)}
        return found | ({"max": sizes.max} if sizes.max is not None else {})
    return {"min": sizes.min, "max": sizes.max}


# --- load -------------------------------------------------------------------------------------------------------------


def _load(load: OpenLoop | ClosedLoop | Trace, duration: float) -> dict[str, Any]:
    if isinstance(load, ClosedLoop):
        pause = {"think_time": _seconds(load.think_time)} if load.think_time else {}
        return {"concurrency": load.concurrency} | pause
    if isinstance(load, Trace):
        start = {"start": _seconds(load.start)} if load.start else {}
        speed = {"speed": _plain(load.speed)} if load.speed != 1 else {}
        return {"trace": {"file": load.file, "format": load.format, **start, **speed}}
    arrivals: dict[str, Any] = {"arrivals": load.arrivals}
    if load.arrivals == "gamma":
        arrivals["burstiness"] = _plain(load.burstiness)
    (first, *others) = load.stages
    if others or first.to is not None or first.seconds != duration or not first.value:
        return {"stages": [_stage(stage) for stage in load.stages]} | arrivals
    return {_LEVELS[first.unit]: _level(first.value, first.unit)} | arrivals


def _stage(stage: Stage) -> dict[str, Any]:
    to = {} if stage.to is None else {"to": _level(stage.to, stage.unit)}
    return {_LEVELS[stage.unit]: _level(stage.value, stage.unit), **to, "for": _seconds(stage.seconds)}


def _level(value: float, unit: str) -> Any:
    if unit == "utilization":
        return _exact(value, {"%": 100}, units.share)
    if unit == "tokens":
        return round(value * 60)
    return _exact(value, {"/min": 60, "/s": 1}, units.rate)


def _seconds(value: float) -> str:
    """A duration that reads as it was."""
    text = units.duration_text(value) if value >= 1 else ""
    return text if text and units.duration(text) == value else f"{_digits(value)}s"


def _exact(value: float, scales: Mapping[str, float], read: Callable[[object], float]) -> str:
    """A number with a unit: the first in which a few digits say it exactly, else all digits of the last."""
    for unit, scale in scales.items():
        text = f"{value * scale:.10g}{unit}"
        if "e" not in text and read(text) == value:
            return text
    unit, scale = list(scales.items())[-1]
    return f"{_digits(value * scale)}{unit}"


def _plain(value: float) -> float | int:
    """A number without a fraction where it has none."""
    return int(value) if float(value).is_integer() else value


def _digits(value: float) -> str:
    """All digits of a number, without an exponent."""
    text = repr(float(value))
    return f"{value:.20f}".rstrip("0") if "e" in text else text.removesuffix(".0")
