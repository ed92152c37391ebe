"""What `ptubench capacity` does, on plain values: what was asked for becomes a search, and its steps become runs.

Prints nothing: what happens meanwhile is told to callbacks.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ptubench import commands, record, units
from ptubench.analysis import checks
from ptubench.commands import Prepared, RunOptions
from ptubench.engine.progress import Progress
from ptubench.errors import UsageError
from ptubench.load.plan import make_plan
from ptubench.results import store
from ptubench.search import answer as answers
from ptubench.search import drive, folder, forecast, steps
from ptubench.search.next import MOST, WITHIN, Goal
from ptubench.search.tried import is_limit
from ptubench.sim import options as sim_options
from ptubench.target.model import describe
from ptubench.virtual import run as virtual
from ptubench.virtual.sweep import judging

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class CapacityOptions:
    """`capacity` as it was asked for; None where nothing was said."""

    run: RunOptions
    virtual: bool = False
    fresh: bool = False
    within: str | None = None
    steps: int | None = None
    step: str | None = None
    max_time: str | None = None
    max_tokens: str | None = None
    wanted: str | None = None
    """The load of `--for`."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A search that could begin: everything read and checked, nothing sent."""

    options: CapacityOptions
    prepared: Prepared
    asked: drive.Asked
    wanted: float | None
    folder: Path | None
    """Of an interrupted search that is continued."""
    key: str

    @property
    def simulated(self) -> bool:
        """Whether nobody else's calls can suffer."""
        return self.prepared.target.simulate is not None

    @property
    def name(self) -> str:
        """Of the target, as people know it."""
        return self.prepared.target.deployment or self.prepared.target.endpoint


def prepare(options: CapacityOptions, env: Mapping[str, str]) -> Ready:
    """Read and check everything that a search needs.

    Raises:
        UsageError: the first thing that is wrong. And as `commands.prepare`.
    """
    prepared = commands.prepare(options.run, env)
    workload, target = prepared.workload, prepared.target
    steps.check(workload)
    if options.virtual and target.simulate is None:
        raise UsageError("--virtual: a clock that jumps needs a simulated deployment; add --simulate MODEL:PTU")
    beside = judging(workload).beside if options.virtual else ()
    limits = [rule.limit for rule in prepared.rules if is_limit(rule)]
    default = () if limits else (checks.parse(f"refused.ratio <= {steps.LIMIT * 100:g}%", where="capacity"),)
    limit = min(limits, default=steps.LIMIT)
    within = _share(options.within)
    key = folder.key(workload, describe(target), virtual=options.virtual)
    asked = drive.Asked(
        workload=workload,
        rules=(*default, *(rule for rule in prepared.rules if rule not in beside)),
        beside=beside,
        # Where nothing at all may be refused there is no curve to go by, and none where almost all may.
        goal=Goal(limit=limit if 0 < limit < 0.9 else None, within=within, most=options.steps or MOST),
        capacity=prepared.capacity,
        window=_read("--step", units.duration, options.step),
        max_time=_read("--max-time", units.duration, options.max_time),
        max_tokens=_read("--max-tokens", units.count, options.max_tokens),
        lasting=target.simulate is None,
    )
    forecast.check(asked)
    return Ready(
        options=options,
        prepared=prepared,
        asked=asked,
        wanted=_read("--for", units.rate, options.wanted),
        folder=None if options.fresh else folder.unfinished(options.run.results, key, within=within),
        key=key,
    )


def dry_run(ready: Ready) -> dict[str, Any]:
    """What would be searched, without sending anything; rates in calls a minute, times in seconds."""
    asked, simulated = ready.asked, ready.prepared.target.simulate
    depth = None if simulated is None else sim_options.from_mapping(simulated).depth
    return {
        "target": describe(ready.prepared.target),
        "clock": "virtual" if ready.options.virtual else "real",
        "saturating_rpm": steps.first_rate(asked.workload, asked.capacity) * 60,
        "published_tpm": None if asked.capacity is None else asked.capacity.tpm,
        "rules": [rule.text for rule in asked.rules],
        "not_judged": [rule.text for rule in asked.beside],
        "within": asked.goal.within,
        "steps": asked.goal.most,
        "step_s": asked.window or asked.workload.duration,
        "forecast": forecast.forecast(asked, depth=depth),
        "max_time_s": asked.max_time,
        "max_tokens": asked.max_tokens,
        "continues": None if ready.folder is None else str(ready.folder),
    }


def run(ready: Ready, *, say: Say, watch: Callable[[Progress], None]) -> dict[str, Any]:
    """Search; the answer is also kept beside the run files, unless the search was interrupted.

    Raises:
        UsageError: the results can't be written, or a step is more than a run can hold.
        TargetRefused: the target can't be used.
    """
    prepared, results = ready.prepared, ready.options.run.results
    place = ready.folder or folder.new(results, prepared.workload.name, ready.key)
    say(f"{'continuing' if ready.folder else 'steps are kept in'} {place}")
    virtual_ = ready.options.virtual
    play = _virtual(prepared, place) if virtual_ else _real(prepared, place, say, watch)
    with folder.held(place):
        found = drive.search(ready.asked, place, play, say)
        told = answers.answer(
            ready.asked, found, target=describe(prepared.target), virtual=virtual_, wanted=ready.wanted
        )
        told |= {"folder": str(place)}
        if found.ended not in ("stopped", "not_valid"):
            folder.finish(place, told)
    return told


def _real(prepared: Prepared, place: Path, say: Say, watch: Callable[[Progress], None]) -> drive.Play:
    """Steps as runs like any other."""

    def play(order: drive.Order) -> Path | None:
        step = replace(
            prepared,
            options=replace(prepared.options, results=place, label=order.label),
            workload=order.workload,
            plan=make_plan(order.workload),
            aborts=(),  # a step above the capacity is meant to be refused much
        )
        outcome = commands.run(step, say=say, watch=watch, enough=order.enough)
        return outcome.file if outcome.ended == "completed" else None

    return play


def _virtual(prepared: Prepared, place: Path) -> drive.Play:
    """Steps on the virtual clock."""
    options = sim_options.from_mapping(prepared.target.simulate or {})

    def play(order: drive.Order) -> Path | None:
        trial = virtual.Trial(
            workload=order.workload, options=options, salt=f"{order.workload.seed}", label=order.label
        )
        started = datetime.now(UTC)
        made = store.create(place, order.workload.name, order.label, started, compress=prepared.options.compress)
        with contextlib.closing(made) as file:
            virtual.play(trial, lambda line: file.write(record.encode(line)), enough=order.enough)
        return file.path

    return play


def _share(text: str | None) -> float:
    within = _read("--within", units.share, text)
    if within is None:
        return WITHIN
    # Half a percent takes days of load, and half is no answer.
    if not 0.005 <= within <= 0.5:
        raise UsageError(f"--within {text}: write a share from 0.5% to 50%")
    return within


def _read(option: str, reader: Callable[[object], float], text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = reader(text)
    except ValueError as exc:
        raise UsageError(f"{option}: {exc}") from None
    if value <= 0:
        raise UsageError(f"{option} {text}: write more than 0")
    return value
