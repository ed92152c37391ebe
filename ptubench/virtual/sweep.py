"""The same requests at many sizes of one deployment: which of them are large enough, whatever the bucket's depth is.

Each size is one run on the virtual clock, judged by how much it refuses and by its busiest minute. Azure does not publish
the depth of the bucket, so the answer is tried with other depths too, and the largest answer stands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from ptubench.analysis import checks
from ptubench.analysis.checks import Rule
from ptubench.load.plan import make_plan
from ptubench.virtual.run import Trial, summary
from ptubench.workload.model import Workload

DEPTHS = (10.0, 30.0, 60.0, 120.0)
"""Seconds of full capacity: the depths that an answer is tried with."""
REFUSED, HEADROOM = 0.01, 0.90
"""What may be refused, and how full the busiest minute may be, where nothing else is said."""
EDGE = 0.002
"""By how much a busiest minute may be over its limit: parts of the answers that run over a minute's edge, which are more
in one minute and fewer in the next; the published formula counts each call in the minute in which it is due."""
NOT_JUDGED = "not judged (simulated)"

_TOLD = (
    "refused.",
    "throttled.",
    "attempts.",
    "requests.",
    "rpm.",
    "tpm.",
    "utilization.estimated.",
    "utilization.simulated.",
)
"""What a simulation can tell: what the arithmetic of the bucket makes of the requests."""
_LATENCIES = (
    "ttft.",
    "ttft_scheduled.",
    "ttfo.",
    "tbt.",
    "tps.",
    "tps_e2e.",
    "e2e.",
    "e2e_scheduled.",
    "slo.",
)
"""What it can tell where its speed was measured."""
UTILIZATION = ("utilization.estimated.", "utilization.simulated.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """By what a size is judged."""

    rules: tuple[Rule, ...]
    beside: tuple[Rule, ...]
    """The workload's rules that no simulation can judge: those on failures, and on latencies where these are assumed."""
    measured: tuple[Rule, ...] = ()
    """Those of `rules` that a simulation can judge because latencies were measured."""

    @property
    def headroom(self) -> float | None:
        """The least share of its capacity that a rule lets the busiest minute use; None where none says."""
        return min((rule.limit for rule in self.rules if _of_busiest(rule)), default=None)

    @property
    def refused(self) -> float | None:
        """The least share of the requests that a rule lets be refused; None where none says."""
        ratios = [rule.limit for rule in self.rules if rule.metric == "refused.ratio" and rule.op in {"<", "<="}]
        return min(ratios, default=None)


def _of_busiest(rule: Rule) -> bool:
    """Whether it says how much the busiest minute may use."""
    return rule.metric in {f"{kind}peak_minute" for kind in UTILIZATION} and rule.op in {"<", "<="}


class Step(NamedTuple):
    """How far a sweep is."""

    done: int
    planned: int
    """Runs in all, as far as that is known."""
    ptu: int
    depth: float


def judging(workload: Workload, *, headroom: float | None = None, latencies: bool = False) -> Judging:
    """The rules for a workload: its own, and the defaults where it has none of the kind.

    Args:
        workload: resolved; rules on `refused` take the place of `REFUSED`, rules on utilization that of the default headroom.
        headroom: the share of its capacity that a deployment may use in its busiest minute; None for the default.
        latencies: whether the simulated ones are those of a measured run, so that rules on them can be judged.

    Raises:
        UsageError: a rule of the workload that is none.
    """
    own = [checks.parse(text, where=f"{workload.name}: checks") for text in workload.checks]
    measured = [rule for rule in own if latencies and rule.metric.startswith(_LATENCIES)]
    told = [rule for rule in own if rule.metric.startswith(_TOLD) or rule in measured]
    defaults = []
    if not any(rule.metric.startswith("refused.") for rule in told):
        defaults.append(f"refused.ratio <= {REFUSED * 100:.4g}%")
    if headroom is not None or not any(rule.metric.startswith(UTILIZATION) for rule in told):
        defaults.append(
            f"utilization.simulated.peak_minute <= {(HEADROOM if headroom is None else headroom) * 100:.9g}%"
        )
    rules = (*(checks.parse(text, where="size") for text in defaults), *told)
    beside = tuple(rule for rule in own if rule not in told)
    return Judging(rules=rules, beside=beside, measured=tuple(measured))


def sweep(
    trial: Trial,
    sizes: Sequence[int],
    by: Judging,
    *,
    depths: Sequence[float] = DEPTHS,
    watch: Callable[[Step], None] = lambda _: None,
) -> dict[str, Any]:
    """Run a trial at every size, and around the answer at other depths, one run after another.

    All of the load counts: nothing is measured of a client that would have to warm up, and a size must do from the start.

    Args:
        trial: what is run, without its warm-up; of its deployment only `ptu` and `depth` are varied, and its `depth` is
            the assumed one.
        sizes: deployable sizes, in PTU.
        by: what a size must hold.
        depths: of the bucket, in seconds.
        watch: told before each run.

    Returns:
        `sizes`: a row each (`tried`), ascending, at the assumed depth. `by_depth`: for each depth the smallest size that passes
        with all larger ones of the list; None for none. `recommended`: the largest of these, None if one of them is None.
        `depths`: what the runs at other depths gave. `depends_on_depth`: whether the depths disagree.

    Raises:
        UsageError: as `virtual.run.lines`.
    """
    ladder = sorted(set(sizes))
    if trial.plan is None:
        trial = replace(trial, plan=make_plan(trial.workload))
    trial = replace(trial, workload=msgspec.structs.replace(trial.workload, warmup=0.0, warmup_rule="fixed"))
    assumed = trial.options.depth
    others = [depth for depth in sorted(set(depths)) if depth != assumed]
    progress = _Progress(watch, len(ladder))

    def run(ptu: int, depth: float) -> dict[str, Any]:
        progress.step(ptu, depth)
        return tried(replace(trial, options=msgspec.structs.replace(trial.options, ptu=ptu, depth=depth)), by)

    rows = [run(ptu, assumed) for ptu in ladder]
    varied: list[dict[str, Any]] = []
    if (found := smallest([(row["ptu"], row["passed"]) for row in rows])) is not None:
        place = ladder.index(found)
        near = ladder[max(0, place - 1) : place + 2]
        progress.planned += len(near) * len(others)
        for depth in others:
            varied += [_short(run(ptu, depth)) for ptu in near]
            for ptu in ladder[place + 2 :]:
                if varied[-1]["passed"]:
                    break
                progress.planned += 1
                varied.append(_short(run(ptu, depth)))
    return answered(rows, varied)


def answered(sizes: Sequence[dict[str, Any]], depths: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `sweep` returns, out of its runs: {ptu, depth_s, passed} and more of each, at the assumed depth and at others."""
    rows: dict[float, list[tuple[int, bool]]] = {}
    for row in (*sizes, *depths):
        rows.setdefault(row["depth_s"], []).append((row["ptu"], row["passed"]))
    answers = {depth: smallest(sorted(found)) for depth, found in sorted(rows.items())}
    told = [answer for answer in answers.values() if answer is not None]
    return {
        "sizes": sorted(sizes, key=lambda row: int(row["ptu"])),
        "recommended": max(told) if told and len(told) == len(answers) else None,
        "by_depth": {f"{depth:g}": answer for depth, answer in answers.items()},
        "depths": list(depths),
        "depends_on_depth": len(set(answers.values())) > 1,
    }


def tried(trial: Trial, by: Judging) -> dict[str, Any]:
    """One run, judged: {ptu, depth_s, metrics, checks, passed}; what was not measured does not pass.

    A row of the busiest minute has its `tolerance`, `EDGE`, beside its limit.
    """
    told = summary(trial)
    rows = [_judged(rule, told) for rule in by.rules]
    beside = [checks.judge(rule, told) | {"passed": None, "why": NOT_JUDGED} for rule in by.beside]
    return {
        "ptu": trial.options.ptu,
        "depth_s": trial.options.depth,
        "metrics": told["metrics"],
        "checks": [*rows, *beside],
        "passed": all(row["passed"] for row in rows),
    }


def _judged(rule: Rule, told: dict[str, Any]) -> dict[str, Any]:
    if not _of_busiest(rule):
        return checks.judge(rule, told)
    return checks.judge(replace(rule, limit=rule.limit + EDGE), told) | {"limit": rule.limit, "tolerance": EDGE}


class _Progress:
    def __init__(self, watch: Callable[[Step], None], planned: int) -> None:
        self.planned = planned
        self._watch = watch
        self._done = 0

    def step(self, ptu: int, depth: float) -> None:
        self._watch(Step(self._done, self.planned, ptu, depth))
        self._done += 1


def smallest(sizes: Sequence[tuple[int, bool]]) -> int | None:
    """The smallest size that passes with all larger ones: of mixed calls a larger one can refuse more by luck."""
    found = None
    for ptu, passed in reversed(sizes):
        if not passed:
            break
        found = ptu
    return found


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run at another depth."""
    metrics = row["metrics"]
    return {
        "ptu": row["ptu"],
        "depth_s": row["depth_s"],
        "passed": row["passed"],
        "refused_ratio": metrics["refused"]["ratio"],
        "peak_minute": (metrics["utilization"]["simulated"] or {}).get("peak_minute"),
    }
