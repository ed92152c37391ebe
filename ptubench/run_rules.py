"""The rules of a run: read and checked before it, and those that end it early watched while it goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ptubench.analysis import abort, checks
from ptubench.analysis.checks import Rule
from ptubench.engine import retry
from ptubench.engine.run import expected_seconds
from ptubench.errors import UsageError
from ptubench.load.plan import Plan
from ptubench.record import Aborted, Line
from ptubench.units import duration_text
from ptubench.workload.model import ClosedLoop, Workload


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Those of a workload and those of options, the workload's first."""

    where: str
    """The workload, as messages call it."""
    checks: tuple[Rule, ...]
    aborts: tuple[Rule, ...]
    own: int
    """How many of the checks are the workload's."""

    def check_sample(self, expected: int | None, *, at_most: bool = False) -> None:
        """Whether so many calls (None: not known) can support every rule.

        Args:
            expected: requests that the window will hold.
            at_most: whether it may hold fewer, since it is decided afterwards.

        Raises:
            UsageError: the first that they can't.
        """
        for number, rule in enumerate(self.checks):
            own = number < self.own
            fault = checks.unsupported(
                rule,
                expected,
                how="will measure at most" if at_most else "will measure about",
                drop=checks.DROP if own else "leave the option out",
            )
            if fault:
                raise UsageError(f"{f'{self.where}: checks' if own else '--check'}: {fault}")

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
                (checks.unsupported(rule, guess, how="may measure about", knob="concurrency") for rule in self.checks),
            )
        )


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
