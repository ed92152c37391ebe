"""Abort rules: lines of a run in, while it goes on; out, the rule that is clearly broken (docs/checks.md).

A rule says what must hold, as those of `checks` do. It is about the requests due in the window, and what is in flight
counts as if it ended well, so that answers which take longer than refusals can't make a run look lost. State is a few
counts for each worker, whatever the length.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ptubench.analysis import checks
from ptubench.analysis.checks import Rule
from ptubench.analysis.stats import wilson
from ptubench.errors import UsageError
from ptubench.record import SPILLED, Aborted, Attempt, Dropped, Line, Tick
from ptubench.units import duration_text, number_text, share_text

FEWEST = 20
"""Requests below which no share is judged: of the first two calls one may fail."""
GROWTH = 1.25
"""A share is looked at again once so many times the attempts are over. Looked at with each one, the interval of a run that is
just within its limit would be left by chance some time or other."""

METRICS: Mapping[str, tuple[str, bool]] = {
    "failed.ratio": ("failed", True),
    "refused.ratio": ("refused", True),
    "throttled.ratio": ("throttled", True),
    "failed.count": ("failed", False),
    "refused.count": ("refused", False),
    "throttled.count": ("throttled", False),
    "requests.failed": ("failed", False),
    "requests.throttled": ("throttled", False),
    "requests.dropped": ("dropped", False),
}
"""What is known while a run goes on: which count, and whether it is its share of the requests."""


def parse(text: str, *, where: str) -> Rule:
    """Read one abort rule.

    Raises:
        UsageError: as `checks.parse`; a metric that is known only after the run; a rule that a good run would break.
    """
    rule = checks.parse(text, where=where)
    if rule.metric not in METRICS:
        known = ", ".join(METRICS)
        raise UsageError(
            f"{where}: `{rule.text}`: {rule.metric} is known only after the run; an abort rule can be on {known}"
        )
    if rule.op.startswith(">"):
        turned = rule.text.replace(rule.op, {">": "<=", ">=": "<"}[rule.op])
        raise UsageError(
            f"{where}: `{rule.text}`: an abort rule says what must hold, as a check does; to stop where it does not, "
            f"write `{turned}`"
        )
    if not checks.holds(rule, 0.0):
        raise UsageError(f"{where}: `{rule.text}`: every run would be aborted; write a limit above 0, or `<= 0`")
    return rule


def as_json(found: Aborted) -> dict[str, Any]:
    """`run.aborted` of the summary: {rule, at_s, measured, ci95, of, text}."""
    return {
        "rule": found.rule,
        "at_s": found.at,
        "measured": found.measured,
        "ci95": None if found.ci95 is None else list(found.ci95),
        "of": found.of,
        "text": sentence(found),
    }


def sentence(found: Aborted) -> str:
    """What was broken, when, and how clearly."""
    if found.ci95 is None:
        return f"`{found.rule}` is broken at {duration_text(found.at)}: {number_text(found.measured)}"
    low, high = map(share_text, found.ci95)
    return (
        f"`{found.rule}` is clearly broken at {duration_text(found.at)}: {share_text(found.measured)} of {found.of:,} requests, "
        f"95 % interval {low} to {high}"
    )


@dataclass(slots=True)
class _Seen:
    """What one worker's lines have told of the requests due in the window."""

    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("failed", "refused", "throttled", "dropped"), 0)
    )
    lines: int = 0
    """Attempts that are over, and drops."""
    over: int = 0
    waiting: int = 0
    """Requests whose last attempt so far is not their last."""

    def add(self, attempt: Attempt, *, last: bool) -> None:
        """One more attempt."""
        outcome = attempt.outcome
        self.lines += 1
        if attempt.attempt == 0:
            self.counts["refused"] += outcome == "throttled" or SPILLED in attempt.headers
        else:
            self.waiting -= 1
        if not last:
            self.waiting += 1
            return
        self.over += 1
        if outcome in self.counts:
            self.counts[outcome] += 1


class Watch:
    """Told every line of a run as it comes, says when a rule is clearly broken.

    Args:
        rules: read by `parse`.
        window: [begin, end) in seconds: what is due before is not judged, and after the end there is nothing to abort.
        is_last: whether an attempt is the last of its request.
    """

    def __init__(
        self, rules: Sequence[Rule], *, window: tuple[float, float], is_last: Callable[[Attempt], bool]
    ) -> None:
        self._rules = rules
        self._begin, self._end = window
        self._is_last = is_last
        self._seen: defaultdict[int, _Seen] = defaultdict(_Seen)
        # Each worker's counts as of its last tick, with what was in flight then: between two ticks they would not agree.
        self._told: dict[int, tuple[dict[str, int], int]] = {}
        self._next = 1.0

    def __call__(self, line: Line) -> Aborted | None:
        """The rule that is clearly broken after one more line; None if none is."""
        if isinstance(line, Attempt) and line.scheduled >= self._begin:
            self._seen[line.worker].add(line, last=self._is_last(line))
        elif isinstance(line, Dropped) and line.scheduled >= self._begin:
            seen = self._seen[line.worker]
            seen.counts["dropped"] += 1
            seen.lines += 1
            seen.over += 1
        elif isinstance(line, Tick) and line.t + 1 < self._end:
            seen = self._seen[line.worker]
            self._told[line.worker] = (dict(seen.counts), seen.over + max(0, seen.waiting) + line.in_flight)
            return self._judge(at=line.t + 1.0)
        return None

    def _judge(self, *, at: float) -> Aborted | None:
        requests = sum(requests for _, requests in self._told.values())
        known = sum(seen.lines for seen in self._seen.values())
        look = requests >= FEWEST and known >= self._next
        if look:
            self._next = known * GROWTH
        for rule in self._rules:
            name, share = METRICS[rule.metric]
            count = sum(counts.get(name, 0) for counts, _ in self._told.values())
            if share and look:
                low, high = wilson(min(count, requests), requests)
                if not checks.holds(rule, low):
                    return Aborted(
                        rule=rule.text, at=at, measured=min(count, requests) / requests, ci95=(low, high), of=requests
                    )
            elif not share and not checks.holds(rule, count):
                return Aborted(rule=rule.text, at=at, measured=count, of=requests)
        return None
