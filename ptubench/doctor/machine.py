"""What this machine drives truthfully: for one worker, and for as many as `--workers auto` starts; as plain values."""

import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

import msgspec

from ptubench import __version__
from ptubench.doctor import others, step
from ptubench.doctor.limit import Limit, search
from ptubench.doctor.reach import Cost, cost, most_streams, ptu_row
from ptubench.doctor.step import Shape, Step
from ptubench.engine.children import cores
from ptubench.ptu import catalogue
from ptubench.units import share_text

SHAPES = (Shape("streams", 100), Shape("calls", 10))
"""Answers of many tokens, in which events are most of the work, and of few, in which calls are."""
MODELS = ("gpt-5.5", "gpt-5-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano")
"""Whose PTUs are counted where no model is named."""
_START, _LEAST, _MOST = 1500.0, 1.0, 40_000.0  # calls a second
_START_EVENTS = 40_000.0  # a second, at most
_REST = 1.0  # seconds of a step beside its load, about


@dataclass(frozen=True)
class Pace:
    """How thorough a measurement is."""

    window: float
    """Seconds of each load that are measured."""
    narrow: int
    """How many loads are tried between the highest that passed and the lowest that failed."""
    budget: float
    """Seconds after which no further load is begun."""

    def less(self, spent: float) -> "Pace":
        """The same after so many seconds; half of the time is always left."""
        return replace(self, budget=max(self.budget / 2, self.budget - spent))


PACE = Pace(window=0.8, narrow=1, budget=50.0)
"""Steps of about 3 and 4 s, within 10 % of the limit if the time suffices, in under a minute."""
_GROWTH = 1.2, 4.0
"""Times which load is tried after one that passed: at least, and at most; between them, what its CPU leaves room for."""
_TLS = 0.4
"""Where the search over TLS begins: the share of what plain http had; an event cost about twice as much (docs/doctor.md)."""


def describe() -> dict[str, Any]:
    """The machine and the versions: a measurement holds for the same ones only."""
    return {
        "host": platform.node(),
        "system": platform.platform(terse=True),
        "architecture": platform.machine(),
        "cores": cores(),
        "python": platform.python_version(),
        "ptubench": __version__,
    }


def open_files() -> int | None:
    """How many files a worker may have open, streams included; None for no limit that matters."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - not on Windows

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY or hard > 2**20 else hard


def measure(
    *, model: str | None, say: Callable[[str], None], pace: Pace = PACE, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Find the highest loads that are truthful, and what they mean in PTUs.

    Args:
        model: whose PTUs are counted; None for some well-known ones.
        say: takes a line about each load that was tried.
        pace: how thorough.
        clock: by which the budget is kept.

    Returns:
        {machine, measured_at, seconds, others, open_files, limits{ttft_error_p99, lag_p99, cpu}, workers[{workers, tls, servers,
        streams, calls, cost}], ptu[{model, workers, ptu, calls, events, streams}]}; streams and calls are {best, worst}, steps as
        `step.Step` or null. Raises as `step.play`.
    """
    began, meanwhile, files = clock(), others.moment(), open_files()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    crews = sorted({1, max(1, cores() - 1)})
    ends = _ends(began, pace, 2 * len(crews))
    found: list[dict[str, Any]] = []
    for workers in crews:
        for tls in (False, True):
            found.append(_crew(workers, say, tls=tls, pace=pace, clock=clock, ends=ends, before=found))
    busy = others.since(meanwhile)
    return {
        "machine": describe(),
        "measured_at": at,
        "seconds": round(clock() - began, 1),
        "others": None if busy is None else round(busy, 2),
        "open_files": files,
        "limits": {"ttft_error_p99": step.TTFT_ERROR, "lag_p99": step.LAG, "cpu": step.CPU},
        "workers": found,
        "ptu": ptu_table(found, model, files),
    }


def known(measured: Mapping[str, Any]) -> bool:
    """Whether enough loads were on time to tell what any other takes."""
    return any(crew["cost"] is not None for crew in measured["workers"])


def ptu_table(found: list[dict[str, Any]], model: str | None, files: int | None) -> list[dict[str, Any]]:
    """How many PTUs of a model, or of some, each number of workers fills over TLS; nothing where nothing passed."""
    known = [row for name in ([model] if model else MODELS) if (row := catalogue.find(name)) is not None]
    return [
        ptu_row(one, msgspec.convert(crew["cost"], Cost), workers=crew["workers"], files=files)
        for one in known
        for crew in found
        if crew["tls"] and crew["cost"] is not None
    ]


def _ends(began: float, pace: Pace, crews: int) -> Iterator[float]:
    """Until when each search may begin further loads, by how long its steps take; what one leaves over is for those after it."""
    steps = [math.ceil(shape.e2e + pace.window) + _REST for _ in range(crews) for shape in SHAPES]
    return (began + pace.budget * until / sum(steps) for until in accumulate(steps))


def _crew(
    workers: int,
    say: Callable[[str], None],
    *,
    tls: bool,
    pace: Pace,
    clock: Callable[[], float],
    ends: Iterator[float],
    before: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The limits of so many workers; what was found before tells where to begin."""
    limits = {}
    for shape in SHAPES:
        start, end = _start(shape, workers, before, tls=tls), next(ends)
        limits[shape.name] = Limit[Step](None, None)
        if start is not None:
            limits[shape.name] = _limit(shape, workers, say, tls=tls, start=start, pace=pace, clock=clock, end=end)
    streams, calls = (limits[shape.name].best for shape in SHAPES)
    both = None
    if streams is not None and calls is not None:
        both = cost((streams.calls, streams.events), (calls.calls, calls.events))
    plain = {
        name: {"best": msgspec.to_builtins(limit.best), "worst": msgspec.to_builtins(limit.worst)}
        for name, limit in limits.items()
    }
    servers = step.servers_for(workers)
    return {"workers": workers, "tls": tls, "servers": servers, **plain, "cost": msgspec.to_builtins(both)}


def _start(shape: Shape, workers: int, before: Sequence[Mapping[str, Any]], *, tls: bool) -> float | None:
    """The load to begin with, in calls a second; None where plain http had nothing on time, and TLS would not either."""
    known = [crew for crew in before if crew["tls"] == tls and crew[shape.name]["best"] is not None]
    if known:
        return float(known[-1][shape.name]["best"]["calls"] * max(1.0, workers / known[-1]["workers"] / 2))
    if tls:
        best = before[-1][shape.name]["best"]
        return None if best is None else float(best["calls"] * _TLS)
    return min(_START, _START_EVENTS / shape.tokens)


def _growth(found: Step) -> float:
    """By how much a load that passed may be raised, by the CPU that its busiest worker had left."""
    least, most = _GROWTH
    return min(most, max(least, 0.9 * step.CPU / max(found.cpu, 0.01)))


def _limit(
    shape: Shape,
    workers: int,
    say: Callable[[str], None],
    *,
    tls: bool,
    start: float,
    pace: Pace,
    clock: Callable[[], float],
    end: float,
) -> Limit[Step]:
    """The highest load of a shape that so many workers drive truthfully."""

    def play(calls: float) -> Step:
        found = step.play(shape, round(calls, 1), tls=tls, workers=workers, window=pace.window)
        say(sentence(found))
        return found

    most = max(_LEAST, min(_MOST, most_streams(workers, open_files()) / shape.e2e))
    return search(
        play,
        lambda found: found.outcome == "ok",
        growth=_growth,
        doubtful=lambda found: found.cpu <= step.CPU,
        start=min(start, most),
        least=_LEAST,
        most=most,
        narrow=pace.narrow,
        enough=lambda: clock() >= end,
    )


_OUTCOMES = {"ok": "on time", "client": "too much", "server": "the server fell behind"}


def sentence(found: Step) -> str:
    """A load and what became of it, in a line."""
    late = ", ".join(f"{name} p99 {_ms(value)}" for name, value in _lateness(found))
    who = ("one worker" if found.workers == 1 else f"{found.workers} workers") + (" over TLS" if found.tls else "")
    load = f"{found.streams:,.0f} streams, {found.events:,.0f} events and {found.calls:,.0f} calls a second"
    return f"{who}: {load}: {_OUTCOMES[found.outcome]} ({late}, {share_text(found.cpu)} of a core)"


def _lateness(found: Step) -> tuple[tuple[str, float | None], ...]:
    return ("TTFT error", found.ttft_error_p99), ("lag", found.lag_p99)


def _ms(seconds: float | None) -> str:
    return "unanswered" if seconds is None else f"{seconds * 1000:.1f} ms"
