"""The rules of a run: read and checked before it, and those that end it early watched while it goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ptubench.analysis import abort, checks, names
from ptubench.analysis.checks import Rule
from ptubench.engine import retry
from ptubench.engine.run import expected_seconds
from ptubench.errors import UsageError
from ptubench.load.plan import Plan
from ptubench.ptu.capacity import Capacity
from ptubench.record import Aborted, Line
from ptubench.secret import shown
from ptubench.target.model import Target
from ptubench.units import duration_text
from ptubench.workload.model import ClosedLoop, OpenLoop, Trace, Workload

_SIZE = "say what the deployment is, with --model and --ptu"
_NO_PTU = "it goes by PTUs, and a Standard deployment has none"
_BILLED = (
    "only a deployment of --type standard is billed by token; PTUs are paid by the hour, which `ptubench check` reckons with: "
    "hold the run against a baseline with --regression"
)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Those of a workload and those of options, the workload's first."""

    where: str
    """The workload, as messages call it."""
    checks: tuple[Rule, ...]
    aborts: tuple[Rule, ...]
    own: int
    """How many of the checks are the workload's."""

    def check_sample(self, workload: Workload, plan: Plan, *, runs: int) -> None:
        """Whether the calls that `runs` runs will measure can support every rule; of a closed loop nobody knows.

        Raises:
            UsageError: the first that they can't.
        """
        fixed = workload.warmup_rule == "fixed"
        begin = workload.warmup if fixed else 0.0  # where the window begins by another rule, it may hold fewer
        expected = plan.in_window(begin, workload.duration)
        of, each = (f" in {runs} runs", " in each") if runs > 1 else ("", "")
        if fixed and expected != plan.count:
            window = f"{duration_text(begin)} to {duration_text(workload.duration)}"
            of += f": of {plan.count or 0:,} calls{each} those due in the window, {window}"
        for number, rule in enumerate(self.checks):
            own = number < self.own
            fault = checks.unsupported(
                rule,
                None if expected is None else expected * runs,
                how="will measure about" if fixed else "will measure at most",
                of=of,
                knob=_knob(workload),
                drop=checks.DROP if own else "leave the option out",
            )
            if fault:
                raise UsageError(f"{self._place(number)}: {fault}")

    def check_measured(
        self, workload: Workload, target: Target, known: Capacity | None, *, monitored: bool = False
    ) -> None:
        """Whether this run will measure what every rule is about, and all of them can hold together.

        Args:
            workload: what is sent.
            target: where to.
            known: what the deployment takes; None where its model or size is not known.
            monitored: whether Azure Monitor is asked.

        Raises:
            UsageError: the first rule that could not be judged, or two that no run could pass.
        """
        size = (known is not None, _NO_PTU if target.type == "standard" else _SIZE)
        streamed = (workload.stream, "the answers are not streamed (`stream: false`); judge e2e")
        slo = (workload.slo is not None, "the workload has no `slo:`; add one, such as `slo: {ttft: 1s}`")
        needs = {
            "slo.": streamed if workload.slo is not None and workload.slo.ttft is not None else slo,
            **dict.fromkeys(names.STREAMED, streamed),
            "lane_wait.": (isinstance(workload.load, ClosedLoop), "only a closed loop (--concurrency) has lanes"),
            "cost.": (target.type == "standard", _BILLED),
            "utilization.simulated.": (target.simulate is not None, "only a simulated deployment tells it"),
            "utilization.monitor.": (monitored, "Azure Monitor is asked with --resource and --monitor only"),
            "utilization.estimated.": size,
            "tpm.normalized": size,
            "tpm.per_ptu": size,
            "tpm.of_published": size,
        }
        for number, rule in enumerate(self.checks):
            for prefix, (told, why) in needs.items():
                if rule.metric.startswith(prefix) and not told:
                    raise UsageError(f"{self._place(number)}: `{shown(rule.text)}`: it would not be measured: {why}")
        pair = checks.opposed(self.checks)
        if pair is not None:
            one, other = (shown(rule.text) for rule in pair)
            raise UsageError(
                f"{self._place(self.checks.index(pair[1]))}: no run could pass `{one}` and `{other}`; leave one out"
            )

    def _place(self, number: int) -> str:
        """Where a check was given."""
        return f"{self.where}: checks" if number < self.own else "--check"

    def doubts(self, workload: Workload, plan: Plan, model: str | None, *, runs: int = 1) -> tuple[str, ...]:
        """Rules that a closed loop may make too few calls for in `runs` runs, if the model is about as fast as published."""
        if not isinstance(workload.load, ClosedLoop):
            return ()
        window = workload.duration - (workload.warmup if workload.warmup_rule == "fixed" else 0.0)
        seconds = expected_seconds(plan, range(200), model) + workload.load.think_time
        guess = round(runs * workload.load.concurrency * window / seconds)
        return tuple(
            filter(
                None,
                (
                    checks.unsupported(rule, guess, how="may measure about", knob="the duration or the concurrency")
                    for rule in self.checks
                ),
            )
        )


def _knob(workload: Workload) -> str:
    """What makes more calls of a load whose number is known."""
    if isinstance(workload.load, Trace):
        return "the part of the trace"
    stages = isinstance(workload.load, OpenLoop) and len(workload.load.stages) > 1
    return "the times or the rates of the stages" if stages else "the duration or the rate"


def read(workload: Workload, where: str, *, checks_: Sequence[str], aborts: Sequence[str]) -> Rules:
    """The rules of a workload and of `--check` and `--abort`.

    Raises:
        UsageError: the first that can't be read.
    """
    return Rules(
        where=where,
        checks=(
            *(checks.parse(text, where=f"{where}: checks") for text in workload.checks),
            *(checks.parse(text, where="--check") for text in checks_),
        ),
        aborts=(
            *(abort.parse(text, where=f"{where}: abort") for text in workload.abort),
            *(abort.parse(text, where="--abort") for text in aborts),
        ),
        own=len(workload.checks),
    )


def watch(workload: Workload, aborts: Sequence[Rule], say: Callable[[str], None]) -> Callable[[Line], Aborted | None]:
    """What is told every line of a run, and says which abort rule is clearly broken, if one is."""
    if not aborts:
        return lambda _: None
    watching = abort.Watch(
        aborts,
        # Where the window is decided afterwards, everything may be in it.
        window=(workload.warmup if workload.warmup_rule == "fixed" else 0.0, workload.duration),
        is_last=partial(retry.is_last, policy=workload.throttling),
    )

    def told(line: Line) -> Aborted | None:
        found = watching(line)
        if found is not None:
            rest = f"waiting up to {duration_text(workload.drain)} for what is in flight"
            say(f"aborted: {abort.sentence(found)}; {rest}")
        return found

    return told
