"""What each command does, on plain values. Prints nothing: results are returned, events go to callbacks."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ptubench import loop
from ptubench.analysis import checks
from ptubench.client import auth
from ptubench.client.connect import address
from ptubench.engine.probe import Probe
from ptubench.engine.progress import Progress
from ptubench.engine.run import Order, Outcome, expected_in_flight, probe_only
from ptubench.engine.run import run as run_order
from ptubench.errors import UsageError
from ptubench.load import traces
from ptubench.load.plan import Plan, make_plan
from ptubench.load.preview import preview
from ptubench.ptu.capacity import Capacity, capacity
from ptubench.secret import shown
from ptubench.sim import options as sim_options
from ptubench.target.model import Target, TargetOptions
from ptubench.target.resolve import request_headers, resolve_target
from ptubench.workload.model import Trace, Workload
from ptubench.workload.read import read
from ptubench.workload.resolve import resolve


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """`run` as it was asked for; None where nothing was said."""

    workload: str
    target: TargetOptions
    overrides: Sequence[str] = ()
    rate: str | None = None
    concurrency: int | None = None
    duration: str | None = None
    seed: int | None = None
    salt: str | None = None
    label: str | None = None
    place: str | None = None
    workers: str = "1"
    results: Path = Path("results")
    compress: bool = False


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that could begin: everything read, checked and resolved, nothing sent."""

    options: RunOptions
    workload: Workload
    plan: Plan
    target: Target
    capacity: Capacity | None
    rules: tuple[checks.Rule, ...]
    workers: int
    headers: dict[str, str]


def prepare(options: RunOptions, env: Mapping[str, str]) -> Prepared:
    """Read and check everything that a run needs.

    Raises:
        UsageError: the first thing that is wrong.
    """
    given = {name: getattr(options, name) for name in ("rate", "concurrency", "duration", "seed")}
    workload = read(options.workload, overrides=options.overrides, options=given)
    target = _target(options, workload, env)
    known = capacity(target.model, target.ptu, ratio=target.ratio, tpm_per_ptu=target.tpm_per_ptu)
    span = traces.span(workload.load) if isinstance(workload.load, Trace) else None
    workload = resolve(workload, known, span)
    plan = make_plan(workload)
    if plan.count == 0:
        raise UsageError(f"{workload.name}: no request is due within {workload.duration:g} s; raise rate or duration")
    where = f"{options.workload}: checks"
    rules = tuple(checks.parse(text, where=where) for text in workload.checks)
    expected = plan.in_window(workload.warmup, workload.duration)
    for rule in rules:
        if fault := checks.unsupported(rule, expected):
            raise UsageError(f"{where}: {fault}")
    workers = _workers(options.workers, workload, plan, target)
    for name in ("salt", "label", "place"):
        _check_text(getattr(options, name), f"--{name}")
    # Proxy and authorities are read again by whoever connects; what is wrong with them is said now.
    address(target.url, ca_file=options.target.ca_file, env=env)
    return Prepared(
        options=options,
        workload=workload,
        plan=plan,
        target=target,
        capacity=known,
        rules=rules,
        workers=workers,
        headers=request_headers(target, env),
    )


def dry_run(prepared: Prepared) -> dict[str, Any]:
    """What the run would be, without sending anything."""
    return preview(prepared.workload, prepared.plan, prepared.capacity)


def probe_target(prepared: Prepared) -> Probe:
    """Send the one probe call of a run, and nothing else.

    Raises:
        TargetRefused: the target can't be used; one sentence says why.
    """
    return loop.run(probe_only(_order(prepared, say=lambda _: None, watch=lambda _: None)))


def run(prepared: Prepared, *, say: Callable[[str], None], watch: Callable[[Progress], None]) -> Outcome:
    """Put the load on; the outcome names the run file. Raises as `engine.run.run`."""
    _check_results(prepared.options.results)
    return loop.run(run_order(_order(prepared, say=say, watch=watch)))


def _target(options: RunOptions, workload: Workload, env: Mapping[str, str]) -> Target:
    target = resolve_target(options.target, workload.target, env, workload_name=workload.name)
    if target.simulate is None:
        return target
    simulate = sim_options.from_mapping(target.simulate, where=target.sources["simulate"])
    return msgspec.structs.replace(
        target,
        simulate=msgspec.to_builtins(simulate),
        model=simulate.model,
        ptu=simulate.ptu,
        ratio=simulate.ratio,
        tpm_per_ptu=simulate.tpm_per_ptu,
        ptu_source="the simulated deployment",
    )


def _order(prepared: Prepared, *, say: Callable[[str], None], watch: Callable[[Progress], None]) -> Order:
    options = prepared.options
    return Order(
        workload=prepared.workload,
        plan=prepared.plan,
        target=prepared.target,
        headers=prepared.headers,
        credential=auth.default_credential() if prepared.target.auth == "entra" else None,
        salt=options.salt,
        label=options.label,
        place=options.place,
        workers=prepared.workers,
        folder=options.results,
        compress=options.compress,
        ca_file=options.target.ca_file,
        say=say,
        watch=watch,
    )


_STREAMS_PER_WORKER = 400


def _workers(text: str, workload: Workload, plan: Plan, target: Target) -> int:
    """How many processes make the load; `auto` leaves a core to everything else."""
    if text == "auto":
        needed = expected_in_flight(workload, plan, target.model) // _STREAMS_PER_WORKER + 1
        return max(1, min((os.cpu_count() or 1) - 1, needed, workload.max_in_flight))
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= 64:
        raise UsageError(f"--workers {shown(text)}: write a number from 1 to 64, or auto")
    if int(text) > workload.max_in_flight:
        raise UsageError(
            f"--workers {text}: more than `max_in_flight`, {workload.max_in_flight}; lower it or raise that"
        )
    return int(text)


def _check_text(text: str | None, where: str) -> None:
    """Whether a text can be stored: the command line passes on bytes that are no text."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise UsageError(f"{where}: `{shown(text)}` is not text in UTF-8; write it another way") from None


def _check_results(folder: Path) -> None:
    """Whether run files can be written there, before anything is sent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError as exc:
        raise UsageError(
            f"--results {folder}: can't be made ({exc.strerror}); name a folder that can be written"
        ) from None
    if not writable:
        raise UsageError(f"--results {folder}: can't be written; name another folder")
