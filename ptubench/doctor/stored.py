"""The last measurement of this machine, kept in a file of the user's cache, and what is said by it of a load that is about to begin."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ptubench.doctor import reach
from ptubench.doctor.machine import describe, known, open_files
from ptubench.doctor.reach import Asked, Cost
from ptubench.errors import UsageError
from ptubench.load.plan import Plan
from ptubench.results import output
from ptubench.units import number_text

_MOST = 2**20  # bytes that are read of the file
_BUSY = 0.1
"""Share of all cores from which on what other programs took is worth a word."""
_CERTAIN = 1.1
"""Times what was measured from which on a load is worth a warning: nobody finds a limit more precisely."""


class _Crew(msgspec.Struct, frozen=True):
    """What is needed of a number of workers, over TLS or without."""

    workers: Annotated[int, msgspec.Meta(ge=1)]
    tls: bool
    cost: Cost | None


class _Stored(msgspec.Struct, frozen=True):
    """What is needed of a stored measurement."""

    machine: dict[str, Any]
    measured_at: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T")]
    others: float | None
    workers: tuple[_Crew, ...]


def place(env: Mapping[str, str]) -> Path | None:
    """Where this machine's measurement is kept: LOCALAPPDATA (Windows), XDG_CACHE_HOME, or ~/.cache; None without a home."""
    base = env.get("LOCALAPPDATA") or env.get("XDG_CACHE_HOME")
    home = env.get("HOME") or env.get("USERPROFILE")
    if not base and not home:
        return None
    folder = Path(base) if base else Path(home or "", ".cache")
    host = re.sub(r"[^\w.-]", "_", describe()["host"])[:100]
    return folder / "ptubench" / f"doctor-{host}.json"


def keep(measured: Mapping[str, Any], env: Mapping[str, str]) -> Path:
    """Write a measurement to its place, over an older one, and return the place.

    Raises:
        UsageError: it can't be written there, it tells nothing, or one of the same machine is there that fewer other programs disturbed.
        MeasurementLost: the disk is full.
    """
    file = place(env)
    if file is None:
        raise UsageError("no folder for it is known: set XDG_CACHE_HOME")
    if not known(measured):
        raise UsageError("too few loads were on time to tell what a call and an event cost")
    older = _read(env)
    if older is not None and busy(measured) and not busy(msgspec.structs.asdict(older)):
        raise UsageError(
            f"{file}: that of {older.measured_at[:10]} stays, from when other programs left the machine alone"
        )
    output.check_writable(file, "stored measurement")
    output.write(file, msgspec.json.format(msgspec.json.encode(measured), indent=2).decode() + "\n")
    return file


def busy(measured: Mapping[str, Any]) -> bool:
    """Whether other programs took so much of the machine meanwhile that they may have set its limit."""
    return bool((measured["others"] or 0.0) > _BUSY * measured["machine"]["cores"])


def doubt(plan: Plan, model: str | None, workers: int, env: Mapping[str, str], *, tls: bool) -> str | None:
    """That a load is more than this machine drives truthfully, in a sentence; None where it is not, or nothing is known.

    It is, by what was measured, or where the workers may not open a file for each stream, measured or not.

    Args:
        plan: the load.
        model: of the deployment, whose published speed tells how long answers take.
        workers: processes that will make it.
        env: where the measurement is kept.
        tls: whether the load goes over https.
    """
    load = reach.asked(plan, model)
    if (few := _few_files(load, plan, workers)) is not None:
        return few
    found = _read(env)
    if found is None:
        return None
    measured = [(crew.workers, crew.cost) for crew in found.workers if crew.tls == tls and crew.cost is not None]
    taken = reach.share(load, workers, measured)
    return _sentence(load, taken, workers, measured, found) if taken is not None and taken > _CERTAIN else None


def _few_files(load: Asked, plan: Plan, workers: int) -> str | None:
    """That streams will find no file left."""
    files = open_files()
    streams = min(load.streams, plan.workload.max_in_flight)
    if streams <= _CERTAIN * reach.most_streams(workers, files):
        return None
    return (
        f"this load asks for about {streams:,.0f} streams at once, and a worker may have {files:,} files open, of which each stream is "
        "one: calls beyond that would fail; raise the hard limit (ulimit -Hn), use more --workers, or spread the load over several "
        "machines with --on"
    )


def _sentence(load: Asked, taken: float, workers: int, measured: list[tuple[int, Cost]], found: _Stored) -> str:
    most = max(of for of, _ in measured)
    by_all = reach.share(load, most, measured)
    enough = workers < most and by_all is not None and by_all <= 1
    way_out = f"use --workers {most}" if enough else "lower the rate, or spread it over several machines with --on"
    seen = min(workers, most)
    who = "one worker" if seen == 1 else f"{seen} workers"
    when = found.measured_at[:10]
    if busy(msgspec.structs.asdict(found)):
        when += ", when other programs kept the machine busy"
        way_out = f"run `ptubench doctor` again when they do not, or {way_out}"
    return (
        f"this load asks for about {load.streams:,.0f} streams, {load.events:,.0f} events and {number_text(round(load.calls, 1))} calls a second, "
        f"{taken:.1f} times the most that {who} did truthfully on this machine (`ptubench doctor`, {when}): lateness of the client "
        f"would pass for latency; {way_out}"
    )


def _read(env: Mapping[str, str]) -> _Stored | None:
    """The measurement of this machine as it is now; None without one, of another one, or for what can't be read."""
    file = place(env)
    try:
        if file is None or not file.is_file() or file.stat().st_size > _MOST:
            return None
        found = msgspec.json.decode(file.read_bytes(), type=_Stored)
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError):
        return None
    return found if found.machine == describe() else None
