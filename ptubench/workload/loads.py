"""When requests are sent: the `load` key, of exactly one kind, and the duration that some kinds fix."""

from pathlib import Path
from typing import Any, NamedTuple

from ptubench.units import duration_text
from ptubench.workload import fields as field
from ptubench.workload.fields import Fields, Place
from ptubench.workload.model import ClosedLoop, Load, OpenLoop, Stage, Trace
from ptubench.workload.shapes import existing

KINDS = ("rate", "tokens_per_minute", "utilization", "stages", "concurrency", "trace")
_UNITS = {
    "rate": ("rate", field.rate),
    "tokens_per_minute": ("tokens", field.tokens_per_minute),
    "utilization": ("utilization", field.share),
}
"""Key of a level of load -> its unit in the model, its reader."""
_ARRIVALS = ("poisson", "constant", "gamma")
_FORMATS = ("azure", "jsonl", "usage")
_COMPANIONS = {
    "arrivals": (*_UNITS, "stages"),
    "burstiness": (*_UNITS, "stages"),
    "think_time": ("concurrency",),
}
"""Further keys of `load`, and the kinds that they go with."""


class Timed(NamedTuple):
    """A load and how long it is offered; None is the rest of the trace."""

    load: Load
    seconds: float | None


def read_load(top: Fields, place: Place, folder: Path) -> Timed:
    """The load of a workload file and its duration in seconds, from `load` and `duration`.

    Raises:
        UsageError: no kind of load or several, keys that don't go together, or a value that makes no sense.
    """
    at = place.at("load")
    if "load" not in top:
        raise place.fault("`load` is missing; write for example `load: {rate: 45/min}`")
    fields = field.section(top["load"], at, "load")
    kind = _kind(fields, at)
    seconds = field.duration(top["duration"], place.at("duration")) if "duration" in top else None
    if kind == "stages":
        stages = _stages(fields["stages"], at.at("stages"))
        return Timed(_open(fields, at, stages), _fixed(stages, seconds, place))
    if kind == "trace":
        return Timed(_trace(fields["trace"], at.at("trace"), folder), seconds)
    if seconds is None:
        raise place.fault("`duration` is missing; write for example `duration: 10m`")
    if kind == "concurrency":
        return Timed(_closed(fields, at), seconds)
    unit, read = _UNITS[kind]
    stage = Stage(value=read(fields[kind], at.at(kind)), seconds=seconds, unit=unit)
    return Timed(_open(fields, at, (stage,)), seconds)


def _kind(fields: Fields, place: Place) -> str:
    """The one kind of load that is given; what else is given must go with it."""
    kinds = [key for key in KINDS if key in fields]
    if not kinds:
        raise place.fault(f"says no kind of load; give one of {field.words(KINDS)}")
    if len(kinds) > 1:
        raise place.fault(
            f"{field.words(kinds)} are {len(kinds)} kinds of load; keep one (--rate and --concurrency replace it)"
        )
    for key, goes_with in _COMPANIONS.items():
        if key in fields and kinds[0] not in goes_with:
            raise place.at(key).fault(f"does not go with `{kinds[0]}`; it goes with {field.words(goes_with)}")
    return kinds[0]


def _open(fields: Fields, place: Place, stages: tuple[Stage, ...]) -> OpenLoop:
    arrivals = field.choice(fields.get("arrivals", "poisson"), place.at("arrivals"), _ARRIVALS)
    if arrivals != "gamma":
        if "burstiness" in fields:
            raise place.at("burstiness").fault(f"goes with `arrivals: gamma`, not with `{arrivals}`")
        return OpenLoop(stages=stages, arrivals=arrivals)
    if "burstiness" not in fields:
        raise place.fault("`arrivals: gamma` needs `burstiness`, its shape: 1 is Poisson, less is burstier")
    burstiness = field.number(fields["burstiness"], place.at("burstiness"))
    if not 0.01 <= burstiness <= 1000:
        raise place.at("burstiness").fault(f"must be from 0.01 to 1000, not {burstiness:g}")
    return OpenLoop(stages=stages, arrivals=arrivals, burstiness=burstiness)


def _closed(fields: Fields, place: Place) -> ClosedLoop:
    lanes = field.whole(fields["concurrency"], place.at("concurrency"), most=100_000)
    pause = field.duration(fields.get("think_time", "0s"), place.at("think_time"), zero=True)
    return ClosedLoop(concurrency=lanes, think_time=pause)


def _trace(value: object, place: Place, folder: Path) -> Trace:
    fields = field.section(value, place, "trace")
    path = existing(fields, place, folder)
    kind = fields["format"] if "format" in fields else _format(path)
    if kind is None:
        raise place.at("file").fault(
            f"its first line is not that of a known trace; say which it is with `format`, {field.words(_FORMATS)}"
        )
    kind = field.choice(kind, place.at("format"), _FORMATS)
    start = field.duration(fields.get("start", "0s"), place.at("start"), zero=True)
    speed = field.number(fields.get("speed", 1), place.at("speed"))
    if not 0.001 <= speed <= 1000:
        raise place.at("speed").fault(f"must be from 0.001 to 1000, not {speed:g}")
    return Trace(file=path, format=kind, start=start, speed=speed)


def _format(path: str) -> str | None:
    """What kind of trace a file holds, by its extension or its first line; None when they don't tell."""
    with Path(path).open("rb") as file:
        first = file.readline(4096).decode("utf-8-sig", "replace").strip()
    if path.endswith((".jsonl", ".ndjson")) or first.startswith("{"):
        return "jsonl"
    columns = first.split(",")
    return "azure" if "ContextTokens" in columns else "usage" if "minute" in columns else None


def _stages(value: object, place: Place) -> tuple[Stage, ...]:
    stages = tuple(_stage(item, place.at(index)) for index, item in enumerate(field.items(value, place)))
    if not any(stage.value or stage.to for stage in stages):
        raise place.fault("all stages are 0: nothing would be sent")
    return stages


def _stage(value: object, place: Place) -> Stage:
    fields = field.section(value, place, "stage")
    levels = [key for key in _UNITS if key in fields]
    if len(levels) != 1:
        raise place.fault(f"needs exactly one of {field.words(_UNITS)}, such as `{{rate: 10/min, for: 2m}}`")
    if "for" not in fields:
        raise place.fault("`for` is missing; write how long, such as `{rate: 10/min, for: 2m}`")
    key = levels[0]
    unit, read = _UNITS[key]
    given: dict[str, Any] = {"value": read(fields[key], place.at(key), zero=True), "unit": unit}
    if "to" in fields:
        given["to"] = read(fields["to"], place.at("to"), zero=True)
    return Stage(seconds=field.duration(fields["for"], place.at("for")), **given)


def _fixed(stages: tuple[Stage, ...], seconds: float | None, place: Place) -> float:
    """The duration that the stages add up to; another one beside it is a contradiction."""
    total = sum(stage.seconds for stage in stages)
    if seconds is not None and abs(seconds - total) > 1e-9:
        raise place.at("duration").fault(
            f"{duration_text(seconds)} contradicts the stages, which last {duration_text(total)} in all; "
            "leave it out, or change the stages"
        )
    return total
