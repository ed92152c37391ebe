"""What each command does, on plain values. Prints nothing: results are returned, events go to callbacks."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import structs

from ptubench import azure_run, loop, run_rules
from ptubench.analysis import checks
from ptubench.azure import rest
from ptubench.azure_run import AzureOptions, Beside
from ptubench.client.connect import address
from ptubench.doctor import stored as doctor
from ptubench.engine.children import cores
from ptubench.engine.on import check as check_on
from ptubench.engine.probe import Probe
from ptubench.engine.progress import Progress
from ptubench.engine.reach import Aim, aimed
from ptubench.engine.run import Order, Outcome, expected_in_flight, probe_only
from ptubench.engine.run import run as run_order
from ptubench.errors import UsageError
from ptubench.load import fit, traces
from ptubench.load.plan import Plan, make_plan
from ptubench.load.preview import preview
from ptubench.ptu import catalogue
from ptubench.ptu.capacity import Capacity, capacity
from ptubench.record import Aborted, Line
from ptubench.secret import shown
from ptubench.sim import options as sim_options
from ptubench.sim.described import described
from ptubench.stream.apis import APIS
from ptubench.target.divert import resolve_divert
from ptubench.target.model import Target, TargetOptions
from ptubench.target.resolve import request_headers, resolve_target
from ptubench.units import duration_text
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
    warmup: str | None = None
    seed: int | None = None
    on_429: str | None = None
    salt: str | None = None
    checks: Sequence[str] = ()
    """Rules beside the workload's own."""
    abort: Sequence[str] = ()
    label: str | None = None
    place: str | None = None
    repeat: int = 1
    """How many runs will be judged as one."""
    workers: str = "1"
    on: str | None = None
    results: Path = Path("results")
    compress: bool = False
    azure: AzureOptions = field(default_factory=AzureOptions)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that could begin: everything read, checked and resolved, nothing sent."""

    options: RunOptions
    workload: Workload
    plan: Plan
    target: Target
    divert_to: Target | None
    """The second target of `on_429: divert`."""
    capacity: Capacity | None
    rules: tuple[checks.Rule, ...]
    """Those that were given; `checks.wanted` says what holds without any."""
    aborts: tuple[checks.Rule, ...]
    """Those that end the load once they are clearly broken."""
    workers: int
    headers: dict[str, str]
    """The secrets of the target, as request headers."""
    divert_headers: dict[str, str]
    """The same of the second one."""
    doubts: tuple[str, ...]
    """What the user may not have meant, a sentence each; no reason not to begin."""
    beside: Beside | None
    """What Azure is asked around the run; None without `--resource`."""
    whole_minute: bool
    """Whether the load waits so that the window starts on a full UTC minute, as with `--monitor`."""


def prepare(options: RunOptions, env: Mapping[str, str], *, azure: rest.Access | None = None) -> Prepared:
    """Read and check everything that a run needs; with `--resource`, look the deployment up.

    Args:
        options: as they were given.
        env: the environment.
        azure: how Azure's management is reached; as the target's cloud and Azure's default credential say when None.

    Raises:
        UsageError: the first thing that is wrong.
        TargetRefused: Azure does not say what the deployment is.
    """
    given = {name: getattr(options, name) for name in ("rate", "concurrency", "duration", "warmup", "seed", "on_429")}
    workload = read(options.workload, overrides=options.overrides, options=given)
    target = _described(resolve_target(options.target, workload.target, env, workload_name=workload.name))
    target, beside = azure_run.find(
        options.azure,
        target,
        env,
        cloud_said=options.target.cloud is not None,
        ca_file=options.target.ca_file,
        access=azure,
    )
    divert_to = _divert_to(options, workload, target, env)
    known = capacity(target.model, target.ptu, ratio=target.ratio, tpm_per_ptu=target.tpm_per_ptu)
    span = traces.span(workload.load) if isinstance(workload.load, Trace) else None
    workload = resolve(workload, known, span)
    targets = [target] if divert_to is None else [target, divert_to]
    plan = make_plan(workload, least_limit=max(APIS[to.api].least_limit for to in targets))
    for to in targets:
        fit.check(plan, APIS[to.api])
    if plan.count == 0:
        raise UsageError(f"{workload.name}: no request is due within {workload.duration:g} s; raise rate or duration")
    rules = run_rules.read(workload, options.workload, checks_=options.checks, aborts=options.abort)
    rules.check_measured(workload, target, known, monitored=options.azure.monitor)
    # Where the window begins later by another rule, at most all calls can be measured.
    warmup = workload.warmup if workload.warmup_rule == "fixed" else 0.0
    expected = plan.in_window(warmup, workload.duration)
    if expected == 0:
        raise UsageError(
            f"{workload.name}: no request is due between the warm-up's end ({duration_text(workload.warmup)}) and the end "
            f"({duration_text(workload.duration)}): nothing would be measured; change warmup, rate or duration"
        )
    rules.check_sample(workload, plan, runs=options.repeat)
    # In the run file they all stand beside the workload's own.
    workload = structs.replace(
        workload, checks=(*workload.checks, *options.checks), abort=(*workload.abort, *options.abort)
    )
    check_on(options.on, workers=options.workers, targets=targets)
    workers = _workers(options.workers, workload, plan, target)
    for name in ("salt", "label", "place"):
        _check_text(getattr(options, name), f"--{name}")
    # Proxy and authorities are read again by whoever connects; what is wrong with them is said now.
    for to in targets:
        address(to.url, ca_file=options.target.ca_file, env=env)
    return Prepared(
        options=options,
        workload=workload,
        plan=plan,
        target=target,
        divert_to=divert_to,
        capacity=known,
        rules=rules.checks,
        aborts=rules.aborts,
        workers=workers,
        headers=request_headers(target, env),
        divert_headers={} if divert_to is None else request_headers(divert_to, env),
        doubts=tuple(
            filter(
                None,
                (
                    _unknown_model(target, known),
                    fit.small_limit(plan, target.model),
                    *rules.doubts(workload, plan, target.model, runs=options.repeat),
                ),
            )
        ),
        beside=beside,
        whole_minute=options.azure.monitor and workload.warmup_rule == "fixed",
    )


def beyond_this_machine(prepared: Prepared, env: Mapping[str, str]) -> str | None:
    """That the load is more than `ptubench doctor` has measured here, in a sentence; None where it is not, or nothing is known."""
    if prepared.options.on is not None or ":" in prepared.workload.client:
        return None  # other machines make it, or the user's own client
    tls = prepared.target.url.startswith("https:")
    return doctor.doubt(prepared.plan, prepared.target.model, prepared.workers, env, tls=tls)


def dry_run(prepared: Prepared) -> dict[str, Any]:
    """What the run would be, without sending anything.

    Raises:
        UsageError: it would need an extra that is not installed.
    """
    _order(prepared)  # raises what a run would
    target = prepared.target
    standard = target.type == "standard"
    return preview(prepared.workload, prepared.plan, prepared.capacity, standard=standard, model=target.model)


def probe_target(prepared: Prepared) -> Probe:
    """Send the one probe call of a run, and nothing else.

    Raises:
        TargetRefused: the target can't be used; one sentence says why.
    """
    return loop.run(probe_only(_order(prepared)))


def run(
    prepared: Prepared,
    *,
    say: Callable[[str], None],
    watch: Callable[[Progress], None],
    enough: Callable[[Line], bool] = lambda _: False,
) -> Outcome:
    """Put the load on, until its end or until it is `enough`; the outcome names the run file.

    Raises as `engine.run.run`, and as `azure_run.opening`.
    """
    _check_results(prepared.options.results)
    opening = () if prepared.beside is None else azure_run.opening(prepared.beside, say)
    order = _order(
        prepared,
        say=say,
        watch=watch,
        enough=enough,
        abort=run_rules.watch(prepared.workload, prepared.aborts, say),
        opening=opening,
    )
    outcome = loop.run(run_order(order))
    if prepared.beside is not None and outcome.file is not None:
        azure_run.closing(prepared.beside, outcome.file, say)
    return outcome


def await_monitor(prepared: Prepared, outcome: Outcome, *, say: Callable[[str], None]) -> bool:
    """Wait for Azure Monitor's figures of a run, if they were asked for; whether any went into its file."""
    beside = prepared.beside
    if beside is None or not beside.monitor or outcome.file is None:
        return False
    if outcome.ended != "completed":
        say("Azure Monitor is not asked, since the run was stopped; `ptubench report RUN --monitor` asks it")
        return False
    return azure_run.settle(beside, outcome.file, say)


def _divert_to(options: RunOptions, workload: Workload, target: Target, env: Mapping[str, str]) -> Target | None:
    """The second target; None unless the policy is `divert`, whatever the file says of it."""
    policy = workload.throttling
    if policy.on_429 != "divert" or policy.divert_to is None:
        return None
    return _described(
        resolve_divert(policy.divert_to, target, options.target, workload.target, env, workload_name=workload.name)
    )


def _aim(target: Target, headers: dict[str, str], options: TargetOptions) -> Aim:
    return aimed(target, headers, cloud_said=options.cloud is not None, env=os.environ)


def _described(target: Target) -> Target:
    """The same target; a simulated one is checked, and knows its size."""
    if target.simulate is None:
        return target
    return described(target, sim_options.from_mapping(target.simulate, where=target.sources["simulate"]))


def _order(
    prepared: Prepared,
    *,
    say: Callable[[str], None] = lambda _: None,
    watch: Callable[[Progress], None] = lambda _: None,
    enough: Callable[[Line], bool] = lambda _: False,
    abort: Callable[[Line], Aborted | None] = lambda _: None,
    opening: tuple[Line, ...] = (),
) -> Order:
    options = prepared.options
    return Order(
        workload=prepared.workload,
        plan=prepared.plan,
        aim=_aim(prepared.target, prepared.headers, options.target),
        divert_to=None
        if prepared.divert_to is None
        else _aim(prepared.divert_to, prepared.divert_headers, options.target),
        salt=options.salt,
        label=options.label,
        place=options.place,
        workers=prepared.workers,
        on=options.on,
        folder=options.results,
        compress=options.compress,
        ca_file=options.target.ca_file,
        say=say,
        watch=watch,
        enough=enough,
        abort=abort,
        whole_minute=prepared.whole_minute,
        opening=opening,
    )


def _unknown_model(target: Target, known: Capacity | None) -> str | None:
    """That the model is not in the catalogue, where that is all that is missing for a utilization."""
    asked = target.kind == "azure" or target.ptu is not None
    described = target.ratio is not None and target.tpm_per_ptu is not None
    if known is not None or target.model is None or target.type == "standard" or described or not asked:
        return None
    return catalogue.unknown(target.model)


_STREAMS_PER_WORKER = 400


def _workers(text: str, workload: Workload, plan: Plan, target: Target) -> int:
    """How many processes make the load; `auto` leaves a core to everything else."""
    if text == "auto":
        needed = expected_in_flight(workload, plan, target.model) // _STREAMS_PER_WORKER + 1
        return max(1, min(cores() - 1, needed, workload.max_in_flight))
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
