"""What `ptubench size` answers: formula, simulation or history, money and commands, as one JSON document.

Prints nothing, and asks for no date: `today` is an argument.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import msgspec

from ptubench import __version__
from ptubench.analysis import checks
from ptubench.analysis.checks import Rule
from ptubench.calibrate import findings as calibrate
from ptubench.load import demand as load_demand
from ptubench.ptu import bill, catalogue, deploy, estimate, sizing
from ptubench.ptu.sizing import Need
from ptubench.sim.options import ASSUMED
from ptubench.size import measured as runs
from ptubench.size import sweep
from ptubench.size.asked import Asked, Load
from ptubench.size.measured import Measured
from ptubench.units import duration_text, number_text, share_text
from ptubench.virtual.run import Trial, second_target
from ptubench.virtual.sweep import HEADROOM, NOT_JUDGED, REFUSED, UTILIZATION, Judging, Step
from ptubench.workload.model import OpenLoop, Trace, Workload

SCHEMA = 1
NOT_RECKONED = "not judged (formula alone)"
OLD = 90
"""Days after which a dated table is said to be old: both change several times a year."""
CAVEATS = (
    "Quota is not capacity: a region may have none left. Deploy first, reserve after; a reservation is a price, not a place.",
    "A size without reserve has none when a region fails or an application starts anew: say who serves then, and try it.",
    "Whoever else calls the deployment takes from the same PTUs.",
)
_FAR_OFF = 0.05
_ASTRIDE = 1.4
"""More than chance makes of calls that come at one rate: 60 s that may begin anywhere are always a little busier."""
_MINUTE, _SHORT = 60.0, 3600.0
_WEEK = 168.0


def answer(asked: Asked, *, today: date, watch: Callable[[Step], None] = lambda _: None) -> dict[str, Any]:
    """Everything that is known of the size that a load needs.

    Args:
        asked: as read and checked.
        today: to tell how old the tables are.
        watch: told before each simulated run.

    Returns:
        The JSON of `ptubench size --json`; docs/choosing-a-size.md describes it.

    Raises:
        UsageError: the workload can't be simulated.
    """
    workload = asked.load.workload
    by = None if workload is None else sweep.judging(asked)
    headroom = (None if by is None else by.headroom) or asked.headroom or HEADROOM
    demand = asked.load.demand
    need = sizing.need(demand, asked.one, headroom=headroom)
    found, told = _found(asked, need, by, watch)
    recommended = found["recommended"]
    measured = None if asked.measured is None else _cached_share(asked.measured.summary)
    return {
        "schema_version": SCHEMA,
        "tool": {"name": "ptubench", "version": __version__},
        "workload": None if workload is None else msgspec.to_builtins(workload),
        "usage": told,
        "model": _model(asked),
        "type": asked.type,
        "formula": estimate.formula(demand, asked.one, headroom=headroom, sizes=asked.offered.get(asked.type))
        | {"draws": _draws(asked, headroom)},
        "types": _types(asked, need, recommended),
        "cached": estimate.cached(demand, asked.one, asked.offered, headroom=headroom, measured=measured),
        "assumptions": _assumptions(asked, headroom, REFUSED if by is None else by.refused),
        "calibration": _calibration(asked.measured),
        "by": found["by"],
        "sizes": [_size(asked, row, need) for row in found["sizes"]],
        "recommended": recommended,
        "by_depth": found["by_depth"],
        "depends_on_depth": found["depends_on_depth"],
        "depths": found["depths"],
        "rules": [] if by is None or workload is None else _rules(by, asked.measured, found["by"], workload.checks),
        "money": _money(asked, need, recommended),
        "az_command": None if recommended is None else _create(asked, asked.type, recommended),
        "quota_command": deploy.quota(asked.type),
        "notes": _notes(asked, measured) + _astride(asked, need) + _too_slow(found, by),
        "caveats": [*CAVEATS, _caveat(asked.load)],
        "warnings": _old_tables(asked, today),
    }


def _found(
    asked: Asked, need: Need, by: Judging | None, watch: Callable[[Step], None]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Which sizes are large enough, and by what that is said; what the history needs, if there is one."""
    sizes = sweep.ladder(asked, need)
    if by is None:
        told, found = sweep.recorded(asked, sizes)
        return found | {"by": "history"}, told
    if asked.assumed is not None and sizes:
        return sweep.simulated(asked, sizes, by, watch) | {"by": "simulation"}, None
    return sweep.reckoned(need, sizes, by) | {"by": "formula"}, None


def _model(asked: Asked) -> dict[str, Any]:
    row = asked.row
    return {
        "name": asked.model,
        "version": None if row is None else row.version,
        "target_tps": None if row is None else row.target_tps,
        "prompt_limit": None if row is None else row.prompt_limit,
        "source": asked.one.source,
    }


def _types(asked: Asked, need: Need, recommended: int | None) -> dict[str, Any]:
    """The formula in each type, and the recommended size rounded to what can be deployed there, with price and command."""
    found: dict[str, Any] = {}
    for name, row in estimate.types(need, asked.offered).items():
        ptu = None if recommended is None else sizing.deployable(recommended, asked.offered[name])
        found[name] = row | {
            "recommended": ptu,
            "cost": None if ptu is None else bill.cost(ptu, asked.prices, name),
            "az_command": None if ptu is None else _create(asked, name, ptu),
        }
    return found


def _create(asked: Asked, type_: str, ptu: int) -> str:
    return deploy.create(asked.model, asked.row, type_, ptu)


def _draws(asked: Asked, headroom: float) -> dict[str, Any] | None:
    """What the busiest minute is over the draws of the load; None where nothing is drawn."""
    luck = asked.load.draws
    if luck is None:
        return None
    least, most = (tpm / asked.one.tpm / headroom for tpm in (min(luck.tpm), max(luck.tpm)))
    return {
        "seeds": [luck.seeds[0], luck.seeds[-1]],
        "count": len(luck.seeds),
        "seed": luck.seed,
        "held": luck.held,
        "mean_rpm": luck.calls,
        "own_peak_rpm": luck.rpm[0],
        "peak_rpm": [min(luck.rpm), max(luck.rpm)],
        "tpm_peak": [min(luck.tpm), max(luck.tpm)],
        "raw_headroom": [least, most],
        "ptu_headroom": {
            name: [sizing.deployable(least, sizes), sizing.deployable(most, sizes)]
            for name, sizes in asked.offered.items()
        },
    }


def _assumptions(asked: Asked, headroom: float, refused: float | None) -> dict[str, Any]:
    """What the answer stands on beside the published table."""
    simulated = {} if asked.assumed is None or asked.load.usage is not None else msgspec.to_builtins(asked.assumed)
    sources = runs.sources(asked.assumed, asked.measured, typed=asked.typed)
    return {
        "headroom": headroom,
        "refused": refused,
        "hours_per_month": asked.hours,
        "simulated": {
            name: simulated[name]
            for name in (*ASSUMED, "tps")
            if simulated.get(name) is not None and sources.get(name) != runs.LEFT_OUT
        }
        or None,
        "sources": sources,
        "divert_to": _second(asked),
    }


def _second(asked: Asked) -> dict[str, Any] | None:
    """The simulated deployment that takes what is diverted; None without a simulation, or unless the policy is `divert`."""
    if asked.assumed is None or asked.load.plan is None:
        return None
    second = second_target(Trial(workload=asked.load.plan.workload, options=asked.assumed))
    if second is None:
        return None
    return {
        "model": second.model,
        "type": second.type,
        "ptu": second.ptu,
        "tpm": second.capacity.tpm,
        "tps": second.target_tps,
    }


def _calibration(measured: Measured | None) -> dict[str, Any] | None:
    """What the run of `--from` tells, and what it can't tell."""
    if measured is None:
        return None
    run, target = measured.summary["run"], measured.summary["target"]
    about = {"file": run["file"], "started_at": run["started_at"], "kind": target["kind"], "clock": run["clock"]}
    return about | calibrate.plain(measured.findings)


def _size(asked: Asked, row: Mapping[str, Any], need: Need) -> dict[str, Any]:
    """One size: what the formula says of it, what was found, what it costs."""
    return {
        "ptu": row["ptu"],
        "formula": {"mean": need.mean / row["ptu"], "peak_minute": need.peak / row["ptu"]},
        "depth_s": row["depth_s"],
        "metrics": row["metrics"],
        "checks": row["checks"],
        "passed": row["passed"],
        "cost": bill.cost(row["ptu"], asked.prices, asked.type),
    }


def _rules(by: Judging, measured: Measured | None, how: str, own: Sequence[str]) -> list[dict[str, Any]]:
    """The rules that nothing judged here: those on latencies by a measured run, if there is one.

    Args:
        by: of a simulation.
        measured: the run of `--from`.
        how: `simulation`, or what took its place.
        own: the workload's rules as they are written.
    """
    if how == "simulation":
        return [_beside(rule, measured, NOT_JUDGED) for rule in by.beside]
    latencies = [_beside(rule, measured, NOT_RECKONED) for rule in (*by.beside, *by.measured)]
    told = [rule for rule in by.rules if rule.text in own and not rule.metric.startswith(UTILIZATION)]
    others = [rule for rule in told if rule not in by.measured]
    return [*latencies, *(_beside(rule, None, NOT_RECKONED) for rule in others)]


def _beside(rule: Rule, measured: Measured | None, why: str) -> dict[str, Any]:
    if measured is not None:
        return checks.judge(rule, dict(measured.summary))
    return {"rule": rule.text, "measured": None, "limit": rule.limit, "ci95": None, "passed": None, "why": why}


def _money(asked: Asked, need: Need, recommended: int | None) -> dict[str, Any]:
    sizes = asked.offered.get(asked.type)
    case = bill.Case(demand=asked.load.demand, one=asked.one, model=asked.model, type=asked.type, hours=asked.hours)
    possible = list(asked.sizes or ()) if sizes is None else sizing.all_up_to(need.peak, sizes)
    return bill.bill(case, asked.prices, ptu=recommended, sizes=possible)


def _cached_share(measured: Mapping[str, Any]) -> float:
    tpm = measured["metrics"]["tpm"]
    return float(tpm["cached"] / tpm["prompt"])


def _caveat(load: Load) -> str:
    """What this kind of load does not show."""
    bursts = "Calls of very different sizes, or bursts within a minute, refuse more than their mean tells"
    if load.usage is not None:
        return f"{bursts}, and the totals of minutes do not show them: leave room, or size for a trace of single calls."
    if load.workload is not None and isinstance(load.workload.load, Trace):
        return "A trace is one recording: a busier day or more callers ask for more."
    return f"{bursts}: size for your real trace."


def _notes(asked: Asked, measured: float | None) -> list[str]:
    """What must be known to read this answer, a sentence each."""
    row, load, demand = asked.row, asked.load, asked.load.demand
    notes = []
    if load.too_long and load.plan is not None and row is not None and row.prompt_limit is not None:
        notes.append(
            f"{load.too_long:,} of {load.plan.count:,} prompts are over {row.prompt_limit:,} tokens: a "
            f"PTU deployment of {row.name} answers them with 400 (or spills them), so they are left out of the need and of the prices."
        )
    if asked.one.weights.cached:
        notes.append(
            "Cache writes and long prompts of this model count more (1.25 and 2 instead of 1); from when on is not published, "
            "so that it is not reckoned with."
        )
    if row is not None and row.reasoning:
        notes.append("Hidden reasoning tokens count as completion tokens: the lengths given here must include them.")
    if not asked.offered and asked.sizes is None:
        notes.append(f"Which sizes of {asked.model} can be deployed is not known: name those to look at with --sizes.")
    if (
        isinstance(load.workload, Workload)
        and isinstance(load.workload.load, OpenLoop)
        and load.workload.duration < _SHORT
    ):
        of = "taken" if load.workload.duration >= _MINUTE else "scaled"
        notes.append(
            f"The busiest minute is {of} from {duration_text(load.workload.duration)} of made-up arrivals; your busiest hour decides: "
            "--usage or --from-monitor sizes by what was used."
        )
    if load.usage is not None and load.usage.hours < _WEEK:
        notes.append(
            f"The history is {duration_text(load.usage.hours * 3600)} long, and a month is reckoned as if it went on like that: a "
            "week or two know nights and weekends."
        )
    said = float(demand.cached.sum() / max(demand.prompt.sum(), 1.0))
    if measured is not None and measured < said - _FAR_OFF:
        notes.append(
            f"Only {share_text(measured)} of the prompt tokens were cached when it was measured, and {share_text(said)} are "
            "asked for: the size for what was measured is the safe one."
        )
    if asked.measured is not None and asked.measured.summary["target"]["kind"] == "simulated":
        notes.append("The run of --from was simulated: it measured what was assumed there.")
    return notes


def _astride(asked: Asked, need: Need) -> list[str]:
    """A peak that full minutes cut in two."""
    plan, row = asked.load.plan, asked.row
    if plan is None:
        return []
    sliding = load_demand.sliding(plan, prompt_limit=None if row is None else row.prompt_limit)
    most = sizing.need(sliding, asked.one, headroom=1.0).peak
    if most < _ASTRIDE * need.peak:
        return []
    said = (
        "Minutes are counted from the start of the load, and its peak lies across two of them: the busiest 60 s, whenever they "
        f"begin, need {number_text(most)} PTU instead of {number_text(need.peak)}. Begin the peak on a full minute to size for it."
    )
    return [said]


def _too_slow(found: dict[str, Any], by: Judging | None) -> list[str]:
    """Rules on latency that a larger size would not help."""
    if by is None or found["by"] != "simulation" or found["recommended"] is not None:
        return []
    return [
        f"`{rule}` fails at every size: single calls are not faster on a larger one than they were in the run of --from."
        for rule in sweep.unmet(found, by)
    ]


def _old_tables(asked: Asked, today: date) -> list[str]:
    tables = {
        f"the catalogue ({catalogue.SOURCE})": date.fromisoformat(catalogue.DATED),
        f"the table of {asked.prices.called}": asked.prices.dated,
    }
    return [
        f"{name} is of {dated}, {(today - dated).days} days old: check it against today's, and override what has changed"
        for name, dated in tables.items()
        if (today - dated).days > OLD
    ]
