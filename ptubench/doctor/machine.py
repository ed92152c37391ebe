"""What this machine drives truthfully: for one worker, and for as many as `--workers auto` starts; as plain values."""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from ptubench import __version__
from ptubench.doctor import step
from ptubench.doctor.limit import Limit, search
from ptubench.doctor.reach import Cost, cost, ptu_row
from ptubench.doctor.step import Shape, Step
from ptubench.ptu import catalogue

SHAPES = (Shape("streams", 50), Shape("calls", 10))
"""Answers of many tokens, in which events are most of the work, and of few, in which calls are."""
MODELS = ("gpt-5.5", "gpt-5-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano")
"""Whose PTUs are counted where no model is named."""
_START, _LEAST, _MOST = 200.0, 1.0, 40_000.0  # calls a second


@dataclass(frozen=True)
class Pace:
    """How thorough a measurement is."""

    window: float
    """Seconds of each load that are measured."""
    narrow: int
    """How many loads are tried between the highest that passed and the lowest that failed."""
    budget: float
    """Seconds after which no further load is begun."""


PACE = Pace(window=1.0, narrow=3, budget=48.0)
"""Steps of 1.4 and 2.2 s, within 9 % of the limit, in under a minute."""


def describe() -> dict[str, Any]:
    """The machine and the versions: a measurement holds for the same ones only."""
    return {
        "host": platform.node(),
        "system": platform.platform(terse=True),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "ptubench": __version__,
    }


def busy() -> float | None:
    """How many programs compete for each core, by the system's load average of the last minute; None where it has none."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None


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
        {machine, measured_at, seconds, load_average, open_files, limits{ttft_error_p99, lag_p99}, workers[{workers, servers,
        streams, calls, cost}], ptu[{model, workers, ptu, calls, events, streams}]}; streams and calls are {best, worst}, steps as
        `step.Step` or null. Raises as `step.play`.
    """
    began, load_average, files = clock(), busy(), open_files()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    crews = sorted({1, max(1, (os.cpu_count() or 1) - 1)})
    ends = _ends(began, pace.budget, len(crews) * len(SHAPES))
    found = [_crew(workers, say, pace, clock, ends) for workers in crews]
    return {
        "machine": describe(),
        "measured_at": at,
        "seconds": round(clock() - began, 1),
        "load_average": None if load_average is None else round(load_average, 2),
        "open_files": files,
        "limits": {"ttft_error_p99": step.TTFT_ERROR, "lag_p99": step.LAG},
        "workers": found,
        "ptu": ptu_table(found, model, files),
    }


def ptu_table(found: list[dict[str, Any]], model: str | None, files: int | None) -> list[dict[str, Any]]:
    """How many PTUs of a model, or of some, each number of workers fills; nothing where nothing passed."""
    known = [row for name in ([model] if model else MODELS) if (row := catalogue.find(name)) is not None]
    return [
        ptu_row(one, msgspec.convert(crew["cost"], Cost), workers=crew["workers"], files=files)
        for one in known
        for crew in found
        if crew["cost"] is not None
    ]


def _ends(began: float, budget: float, searches: int) -> Iterator[float]:
    """Until when each search may begin further loads: what one leaves over is for those after it."""
    return (began + budget * (number + 1) / searches for number in range(searches))


def _crew(
    workers: int, say: Callable[[str], None], pace: Pace, clock: Callable[[], float], ends: Iterator[float]
) -> dict[str, Any]:
    """The limits of so many workers."""
    limits = {shape.name: _limit(shape, workers, say, pace=pace, clock=clock, end=next(ends)) for shape in SHAPES}
    streams, calls = (limits[shape.name].best for shape in SHAPES)
    both = None
    if streams is not None and calls is not None:
        both = cost((streams.calls, streams.events), (calls.calls, calls.events))
    plain = {
        name: {"best": msgspec.to_builtins(limit.best), "worst": msgspec.to_builtins(limit.worst)}
        for name, limit in limits.items()
    }
    return {"workers": workers, "servers": step.servers_for(workers), **plain, "cost": msgspec.to_builtins(both)}


def _limit(
    shape: Shape, workers: int, say: Callable[[str], None], *, pace: Pace, clock: Callable[[], float], end: float
) -> Limit[Step]:
    """The highest load of a shape that so many workers drive truthfully."""

    def play(calls: float) -> Step:
        found = step.play(shape, round(calls, 1), workers=workers, window=pace.window)
        say(sentence(found))
        return found

    return search(
        play,
        lambda found: found.outcome == "ok",
        start=_START * workers,
        least=_LEAST,
        most=_MOST,
        narrow=pace.narrow,
        enough=lambda: clock() >= end,
    )


_OUTCOMES = {"ok": "on time", "client": "too late", "server": "the server fell behind"}


def sentence(found: Step) -> str:
    """A load and what became of it, in a line."""
    late = ", ".join(f"{name} p99 {_ms(value)}" for name, value in _lateness(found))
    who = "one worker" if found.workers == 1 else f"{found.workers} workers"
    load = f"{found.streams:,.0f} streams, {found.events:,.0f} events and {found.calls:,.0f} calls a second"
    return f"{who}: {load}: {_OUTCOMES[found.outcome]} ({late})"


def _lateness(found: Step) -> tuple[tuple[str, float | None], ...]:
    return ("TTFT error", found.ttft_error_p99), ("lag", found.lag_p99)


def _ms(seconds: float | None) -> str:
    return "unanswered" if seconds is None else f"{seconds * 1000:.1f} ms"
