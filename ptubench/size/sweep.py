"""Which of the sizes around a need are large enough: by simulation for a workload, minute by minute for a usage history.

Both answer for several depths of the bucket, which Azure does not publish, and the largest answer stands.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ptubench.analysis import checks
from ptubench.errors import UsageError
from ptubench.ptu import sizing
from ptubench.ptu.sizing import Need, Sizes
from ptubench.size import facts
from ptubench.size.asked import Asked
from ptubench.units import duration_text
from ptubench.usage import need as usage_need
from ptubench.virtual import sweep as virtual
from ptubench.virtual.run import Trial
from ptubench.virtual.sweep import DEPTHS, HEADROOM, REFUSED, Step
from ptubench.workload.model import Workload

_ROUNDS = 4
"""How often larger sizes are tried where none passes: a round goes up by half."""


def ladder(asked: Asked, need: Need) -> list[int]:
    """The sizes to look at, ascending: those that were typed, else those around the need; none where these are not known.

    Of a usage history also those for the percentiles of what its minutes need.

    Raises:
        UsageError: a need that no deployment can have.
    """
    if need.headroom > facts.MOST_PTU:
        raise UsageError(
            f"{asked.model}: this load needs {need.headroom:,.3g} PTU, more than any deployment has ({facts.MOST_PTU:,}); "
            "look at its rate and its tokens, and at --tpm-per-ptu"
        )
    sizes = asked.offered.get(asked.type)
    if asked.sizes is not None:
        return list(asked.sizes)
    if sizes is None:
        return []
    around = sizing.around(need, sizes)
    usage = asked.load.usage
    if usage is None:
        return around
    # A single minute can be far above all others: how little is above the sizes for most of them is what has to be seen.
    needed = usage_need.ptu(usage, asked.one)
    usual = [usage_need.percentile(needed, share, of=usage.minutes) for share in usage_need.PERCENTILES.values()]
    return sorted({*around, *(sizing.deployable(ptu, sizes) for ptu in usual)})


def judging(asked: Asked) -> virtual.Judging:
    """By what a size of the workload is judged. Raises `UsageError` for a rule of the workload that is none."""
    if asked.load.workload is None:
        raise ValueError("a history has no rules")
    latencies = asked.measured is not None and asked.measured.judges_latency
    return virtual.judging(asked.load.workload, headroom=asked.headroom, latencies=latencies)


def simulated(asked: Asked, sizes: Sequence[int], by: virtual.Judging, watch: Callable[[Step], None]) -> dict[str, Any]:
    """The workload at every size on the virtual clock: as `virtual.sweep.sweep`.

    Where no size passes at each depth, larger ones are tried too, unless only latency is in the way; where the answer is far above the size before it, those
    between them. Sizes that were typed stay as they are.

    Raises:
        UsageError: no whole minute is measured.
    """
    plan, options = asked.load.plan, asked.assumed
    if plan is None or options is None:
        raise ValueError("nothing to simulate")
    _check_minutes(plan.workload)
    depths = _depths(asked)
    trial = Trial(workload=plan.workload, options=options, plan=plan)
    found = virtual.sweep(trial, sizes, by, depths=depths, watch=watch)
    offered = None if asked.sizes is not None else asked.offered.get(asked.type)
    if offered is None:
        return found
    for done in range(_ROUNDS):
        if found["recommended"] is not None or (done and unmet(found, by)):
            break
        larger = sizing.above(found["sizes"][-1]["ptu"], offered, count=4)
        found = _merged(found, virtual.sweep(trial, larger, by, depths=depths, watch=watch))
    if inner := _unseen(found, offered):
        found = _merged(found, virtual.sweep(trial, inner, by, depths=depths, watch=watch))
    return found


def unmet(found: dict[str, Any], by: virtual.Judging) -> list[str]:
    """The rules on measured latencies that the largest size fails though it meets all others: no size makes a call faster."""
    rows = found["sizes"][-1]["checks"] if found["sizes"] else []
    failed = [row["rule"] for row in rows if row["passed"] is False]
    return failed if {rule.text for rule in by.measured}.issuperset(failed) else []


def reckoned(need: Need, sizes: Sequence[int], by: virtual.Judging) -> dict[str, Any]:
    """The formula alone at every size, in the form of `simulated`: judged by the rules on utilization, all that it tells."""
    rules = [rule for rule in by.rules if rule.metric.startswith(virtual.UTILIZATION)]
    rows: list[dict[str, Any]] = []
    for ptu in sizes:
        used = {"mean": round(need.mean / ptu, 9), "peak_minute": round(need.peak / ptu, 9)}
        metrics = {"requests": {"total": 1}, "utilization": {"estimated": used, "simulated": used}}
        judged = [checks.judge(rule, {"metrics": metrics}) for rule in rules]
        passed = all(row["passed"] for row in judged)
        rows.append({"ptu": ptu, "depth_s": None, "metrics": {}, "checks": judged, "passed": passed})
    return {
        "sizes": rows,
        "recommended": virtual.smallest([(row["ptu"], row["passed"]) for row in rows]),
        "by_depth": {},
        "depends_on_depth": None,
        "depths": [],
    }


def recorded(asked: Asked, sizes: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The usage history at every size: what it needs (`usage.need.answer`), and an answer in the form of `simulated`."""
    usage = asked.load.usage
    if usage is None:
        raise ValueError("no history")
    depth = DEPTHS[2] if asked.assumed is None else asked.assumed.depth
    told = usage_need.answer(usage, asked.one, sizes, depth=depth, depths=_depths(asked))
    headroom = HEADROOM if asked.headroom is None else asked.headroom
    rows, varied = [], []
    for size in told["sizes"]:
        fits = round(size["utilization"]["peak_minute"], 9) <= headroom
        metrics = {"utilization": {"simulated": size["utilization"]}, "refused": {"ratio": size["refused"]["ratio"]}}
        passed = fits and size["refused"]["ratio"] <= REFUSED
        rows.append({"ptu": size["ptu"], "depth_s": depth, "metrics": metrics, "checks": [], "passed": passed})
        varied += [
            {"ptu": size["ptu"], "depth_s": float(at), "passed": fits and ratio <= REFUSED, "refused_ratio": ratio}
            | {"peak_minute": size["utilization"]["peak_minute"]}
            for at, ratio in size["refused_by_depth"].items()
            if float(at) != depth
        ]
    return told, virtual.answered(rows, varied)


def _depths(asked: Asked) -> tuple[float, ...]:
    """Those to try beside the assumed one: none where it was measured."""
    known = asked.measured is not None and asked.measured.findings.depth is not None and "depth" not in asked.typed
    return () if known else DEPTHS


def _check_minutes(workload: Workload) -> None:
    """Headroom is a matter of whole minutes."""
    if workload.duration < 60:
        raise UsageError(
            f"{workload.name}: the load lasts {duration_text(workload.duration)}, which is no whole minute, and a size is "
            "judged by its busiest one; give a longer load (--duration 10m, longer stages, a longer trace), or --no-simulation"
        )


def _unseen(found: dict[str, Any], offered: Sizes) -> list[int]:
    """Sizes between the recommended one and the one tried before it."""
    tried = [row["ptu"] for row in found["sizes"]]
    place = tried.index(found["recommended"]) if found["recommended"] is not None else 0
    return sizing.between(tried[place - 1], tried[place], offered) if place else []


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two sweeps of one trial as one."""
    return virtual.answered([*first["sizes"], *second["sizes"]], [*first["depths"], *second["depths"]])
