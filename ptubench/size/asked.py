"""What `ptubench size` is asked: options, workload, usage history and prices, read and checked as plain data."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptubench import units
from ptubench.azure import arm, cloud, history, rest
from ptubench.client import auth
from ptubench.errors import TargetRefused, UsageError
from ptubench.load import demand, traces
from ptubench.load.plan import Plan, make_plan
from ptubench.ptu import catalogue, money, prices
from ptubench.ptu.capacity import Capacity
from ptubench.ptu.prices import Prices
from ptubench.ptu.sizing import Demand, Sizes
from ptubench.secret import shown
from ptubench.sim.options import SimOptions
from ptubench.size import facts
from ptubench.size import measured as runs
from ptubench.size.draws import Draws, draws, expected, of_seed
from ptubench.size.measured import Measured
from ptubench.usage import csv_file
from ptubench.usage.columns import Usage
from ptubench.workload.model import Trace, Workload
from ptubench.workload.read import read
from ptubench.workload.resolve import resolve

_SECOND = {"deployment": "standard", "type": "standard"}
"""Takes what is diverted where the workload names no other: nothing is sent, so that any name will do."""
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """`size` as it was asked for; None where nothing was said."""

    workload: str | None = None
    overrides: Sequence[str] = ()
    rate: str | None = None
    duration: str | None = None
    seed: int | None = None
    on_429: str | None = None
    usage: Path | None = None
    from_monitor: str | None = None
    deployment: str | None = None
    last: str | None = None
    cloud: str | None = None
    save_usage: Path | None = None
    """Where the fetched history is kept."""
    model: str | None = None
    type: str | None = None
    ratio: float | None = None
    tpm_per_ptu: float | None = None
    headroom: str | None = None
    sizes: str | None = None
    measured: Path | None = None
    """The run of `--from`."""
    simulation: bool = True
    assume: Sequence[str] = ()
    prices: Path | None = None
    hours_per_month: float | None = None
    tokens_per_month: str | None = None


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is to be served: a workload's plan or a usage history, and either way its demand minute by minute."""

    workload: Workload | None = None
    plan: Plan | None = None
    """Of the draw that is simulated and reckoned with."""
    draws: Draws | None = None
    """Where arrivals or sizes are drawn."""
    usage: Usage | None = None
    demand: Demand
    too_long: int = 0
    """Calls of the plan that no PTU deployment of the model takes, left out of the demand."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Everything that a size is answered from."""

    load: Load
    model: str
    row: catalogue.Model | None
    """None for a model that the catalogue does not know."""
    one: Capacity
    """Of a single PTU."""
    offered: dict[str, Sizes]
    """Sizes of the deployment types that are looked at; empty where they are not known."""
    type: str
    """The deployment type that is simulated and reckoned with."""
    headroom: float | None
    """The share of a size that the busiest minute may use; None where nobody said."""
    sizes: tuple[int, ...] | None
    """As typed; None for those around the need."""
    assumed: SimOptions | None
    """The simulated deployment, of any size; None where nothing is simulated."""
    measured: Measured | None
    """The run of `--from`."""
    typed: tuple[str, ...]
    """Parameters of the simulated deployment that were typed."""
    prices: Prices
    hours: float | None
    """Of this load per month."""


def ask(options: SizeOptions, env: Mapping[str, str], *, say: Say, azure: rest.Access | None = None) -> Asked:
    """Read and check everything; with `--from-monitor`, fetch the history.

    Args:
        options: as they were given.
        env: the environment.
        say: takes a line of progress.
        azure: how Azure's management is reached; as the cloud and Azure's default credential say when None.

    Raises:
        UsageError: the first thing that is wrong.
        TargetRefused: Azure does not give the history.
    """
    _check_together(options)
    workload, usage, found_model = _source(options, env, say, azure)
    file = {} if workload is None else workload.target
    base = facts.simulated_in(file, workload)
    model = options.model or found_model or file.get("model") or (None if base is None else base.model)
    if model is None:
        raise UsageError(
            "no model: name it with --model, such as --model gpt-4.1, or `target: {model}` in the workload"
        )
    measured = None if options.measured is None else runs.read(options.measured, model=model, ratio=options.ratio)
    known = None if options.tpm_per_ptu is not None else measured  # what was typed leaves no use for what was measured
    ratio = _first(options.ratio, None if known is None else known.ratio, file.get("ratio"))
    tpm_per_ptu = _first(options.tpm_per_ptu, None if known is None else known.tpm_per_ptu, file.get("tpm_per_ptu"))
    one = runs.capacity_of(facts.capacity_of_one(model, ratio, tpm_per_ptu), known)
    row = catalogue.find(model)
    load = _load(workload, usage, base, row, one)
    offered, type_ = facts.types(options.type, file.get("type"), row)
    assumed = _assumed(options, base, load, model=model, ratio=ratio, tpm_per_ptu=tpm_per_ptu)
    typed = tuple(text.partition("=")[0].strip() for text in options.assume)
    return Asked(
        load=load,
        model=model if row is None else row.name,
        row=row,
        one=one,
        offered=offered,
        type=type_,
        headroom=None if options.headroom is None else facts.headroom(options.headroom),
        sizes=facts.sizes(options.sizes, offered.get(type_), type_, model),
        assumed=assumed if assumed is None or measured is None else runs.assumed(assumed, measured, typed=typed),
        measured=measured,
        typed=typed,
        prices=prices.shipped() if options.prices is None else prices.load(options.prices),
        hours=_hours(options, load),
    )


def _check_together(options: SizeOptions) -> None:
    """Which options go together."""
    sources = {"WORKLOAD": options.workload, "--usage": options.usage, "--from-monitor": options.from_monitor}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} are given" if given else "nothing to size"
        raise UsageError(f"{said}: name one of a workload, --usage FILE or --from-monitor RESOURCE_ID")
    of_workload = {
        "--rate": options.rate,
        "--duration": options.duration,
        "--seed": options.seed,
        "--on-429": options.on_429,
        "--set": options.overrides or None,
    }
    of_monitor = {
        "--deployment": options.deployment,
        "--last": options.last,
        "--cloud": options.cloud,
        "--save-usage": options.save_usage,
    }
    for belongs, names in (("WORKLOAD", of_workload), ("--from-monitor", of_monitor)):
        wrong = [name for name, value in names.items() if value is not None]
        if wrong and belongs not in given:
            raise UsageError(f"{wrong[0]}: goes with {'a workload' if belongs == 'WORKLOAD' else belongs} only")
    if options.save_usage is not None and options.save_usage.exists():
        raise UsageError(f"--save-usage: {options.save_usage} is there already; name another file")
    if options.from_monitor is not None and options.deployment is None:
        raise UsageError("--from-monitor: which deployment of the resource? name it with --deployment NAME")


def _source(
    options: SizeOptions, env: Mapping[str, str], say: Say, azure: rest.Access | None
) -> tuple[Workload | None, Usage | None, str | None]:
    """The workload or the history, and the model where Azure says it."""
    if options.workload is not None:
        given = {name: getattr(options, name) for name in ("rate", "duration", "seed", "on_429")}
        workload = read(options.workload, overrides=options.overrides, options=given, divert_to=_SECOND)
        return workload, None, None
    if options.usage is not None:
        return None, csv_file.read(str(options.usage)), None
    if options.cloud is not None and options.cloud not in cloud.CLOUDS:
        raise UsageError(f"--cloud: `{shown(options.cloud)}` is not one of {', '.join(cloud.CLOUDS)}")
    which = cloud.CLOUDS[options.cloud or "public"]
    resource = arm.check_id(options.from_monitor or "", option="--from-monitor")
    try:
        last = units.duration(options.last or "14d")
    except ValueError as exc:
        raise UsageError(f"--last: {exc}") from None
    authority = cloud.authority(which, said=options.cloud is not None, env=env)
    by = azure or rest.access(which, auth.default_credential(authority, asked_by="--from-monitor"), ca_file=None)
    deployment = rest.Deployment(by=by, resource=resource, name=options.deployment or "")
    model = options.model or _model_of(deployment)
    folder = history.cache_folder(env)
    say(f"whole days of the history are kept in {folder}")
    usage = history.fetch(deployment, last=last, now=time.time(), cache=folder, say=say)
    if options.save_usage is not None:
        csv_file.write(usage, options.save_usage)
        say(
            f"the history is in {options.save_usage}: size it again with --usage, or replay it as a trace of format usage"
        )
    return None, usage, model


def _model_of(deployment: rest.Deployment) -> str | None:
    """The deployed model, asked only where nobody typed one."""
    try:
        return arm.look_up(deployment, "before").model
    except rest.Failure as failure:
        raise TargetRefused(f"--from-monitor: {failure}; or name the model with --model") from None


def _load(
    workload: Workload | None, usage: Usage | None, base: SimOptions | None, row: catalogue.Model | None, one: Capacity
) -> Load:
    if usage is not None:
        columns = Demand(
            calls=usage.requests,
            prompt=usage.prompt,
            cached=usage.cached,
            completion=usage.completion,
            minutes=float(usage.minutes),
        )
        return Load(usage=usage, demand=columns)
    if workload is None:
        raise ValueError("neither a workload nor a history")
    span = traces.span(workload.load) if isinstance(workload.load, Trace) else None
    workload = resolve(workload, facts.written_for(workload, base), span)
    plan = make_plan(workload)
    if plan.count == 0:
        raise UsageError(f"{workload.name}: no request is due within {workload.duration:g} s; raise rate or duration")
    limit = None if row is None else row.prompt_limit
    columns, too_long = demand.demand(plan, prompt_limit=limit)
    luck = draws(workload, one, prompt_limit=limit)
    if luck is not None and luck.seed != workload.seed:
        plan = make_plan(of_seed(workload, luck.seed))
        columns, too_long = demand.demand(plan, prompt_limit=limit)
    whole = expected(columns, plan) if luck is None else luck.demand
    return Load(workload=workload, plan=plan, draws=luck, demand=whole, too_long=too_long)


def _assumed(
    options: SizeOptions,
    base: SimOptions | None,
    load: Load,
    *,
    model: str,
    ratio: float | None,
    tpm_per_ptu: float | None,
) -> SimOptions | None:
    """The simulated deployment; a usage history has no calls to simulate, but goes through a bucket of its depth."""
    if not options.simulation:
        if options.assume:
            raise UsageError(
                "--assume and --no-simulation: one says what to simulate, the other that nothing is; keep one"
            )
        return None
    if load.usage is not None:
        other = [text for text in options.assume if text.partition("=")[0].strip() != "depth"]
        if other:
            raise UsageError(
                f"--assume: `{shown(other[0])}` tells nothing of a usage history, which has no single calls; only depth does"
            )
        # No call of a history takes time, so that any speed will do.
        return facts.assumed([*options.assume, "tps=50"], None, model=model, ratio=ratio, tpm_per_ptu=tpm_per_ptu)
    return facts.assumed(options.assume, base, model=model, ratio=ratio, tpm_per_ptu=tpm_per_ptu)


def _first(*values: float | None) -> float | None:
    """The first that is known."""
    return next((value for value in values if value is not None), None)


def _hours(options: SizeOptions, load: Load) -> float | None:
    """Hours of this load in a month; a usage history is a month as it was."""
    hours, tokens = options.hours_per_month, options.tokens_per_month
    if hours is None and tokens is None:
        return None if load.usage is None else money.HOURS
    name = "--hours-per-month" if hours is not None else "--tokens-per-month"
    if load.usage is not None:
        raise UsageError(f"{name}: the history says itself how much there is in a month; leave it out")
    if hours is not None and tokens is not None:
        raise UsageError("--hours-per-month and --tokens-per-month say the same twice; keep one")
    if tokens is not None:
        try:
            count = units.count(tokens)
        except ValueError as exc:
            raise UsageError(f"--tokens-per-month: {exc}") from None
        per_hour = load.demand.tokens_per_hour
        hours = count / per_hour
        if hours > money.HOURS:
            raise UsageError(
                f"--tokens-per-month: at {per_hour:,.0f} tokens an hour this load makes {per_hour * money.HOURS:,.0f} in a whole "
                "month; raise its rate, or lower the tokens"
            )
    if hours is None or not 0 < hours <= money.HOURS:
        raise UsageError(f"{name}: write more than 0 and at most the {money.HOURS:g} hours of a month")
    return hours
