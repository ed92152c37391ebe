"""Rules: `ttft.p95 <= 1s`, read before the run and judged after it (docs/checks.md).

    rule   = metric op value
    metric = a dotted path into `metrics` of the summary (`names.units`, docs/metrics.md)
    op     = < | <= | > | >=
    value  = in the metric's unit: 800ms, 1.5s; 1% or 0.01; 45/min or 45; 200k

What was not measured, was withheld or was never answered fails: an empty run must not open a gate.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations
from typing import Any

from ptubench import units
from ptubench.analysis import names
from ptubench.errors import UsageError
from ptubench.failures import RENAMED
from ptubench.samples import NEEDED
from ptubench.secret import shown

DEFAULT = "failed.ratio <= 5%"
"""What holds where no rule was given: a run of errors must not open a gate."""

DROP = "drop the rules with --set 'checks=[]'"
"""How rules of a workload file are left out for one run."""

_BY_THE_HOUR = (
    "only a deployment of type standard is billed by token; `compare` and --regression reckon PTUs by the hour"
)
_NO_CALLS = f"{names.NOT_MEASURED}: no call was due in the window"
_LONGEST = 120  # characters of a rule in a message
_RULE = re.compile(r"\s*([\w.]+)\s*(<=|>=|<|>)\s*([^\s<>=].*?)\s*")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _number(text: str) -> float:
    """A plain number, also with k or M."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([kM]?)", text)
    if match is None:
        raise ValueError(f"`{text}` is not a number; write one such as 200, 0.5, 200k or 1.5M")
    return float(match[1]) * {"": 1.0, "k": 1e3, "M": 1e6}[match[2]]


def _per(period: str, text: str) -> float:
    """A rate per `s` or `min`, with its period or without."""
    return units.rate(text) * {"s": 1.0, "min": 60.0}[period] if "/" in text else _number(text)


def _share(text: str) -> float:
    """A share; not a bare 1, which some write for 1 % and others for everything."""
    if units.share(text) == 1 and "%" not in text:
        raise ValueError(f"`{text}` may be 1 % or everything; write 1% or 100%")
    return units.share(text)


_READERS: dict[str, Callable[[str], float]] = {
    "s": units.duration,
    "share": _share,
    "tokens": _number,
    "count": _number,
    "USD": _number,
    "tokens/s": lambda text: _per("s", text),
    "per minute": lambda text: _per("min", text),
}


def amount(text: str, unit: str) -> float:
    """A value in the unit of a metric, as a rule's; ValueError with the way out where it is none."""
    return _READERS[unit](text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; `limit` in the metric's unit as in the summary."""

    text: str
    metric: str
    op: str
    limit: float

    @property
    def unit(self) -> str:
        """Of metric and limit (`names.units`)."""
        return names.units().get(self.metric, "count")


def wanted(texts: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The rules that a run is judged by, each once, and whether that is the default because none was given."""
    return (tuple(dict.fromkeys(" ".join(text.split()) for text in texts)), False) if texts else ((DEFAULT,), True)


def parse(text: str, *, where: str) -> Rule:
    """Read one rule.

    Args:
        text: as the user wrote it.
        where: file or option, for the message.

    Raises:
        UsageError: no rule, a metric that does not exist, or a value that is not in the metric's unit.
    """
    match = _RULE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{where}: `{shown(text, most=_LONGEST)}` is not a rule; write a metric, one of < <= > >=, and a value, such as `ttft.p95 <= 1s`"
        )
    metric, op, value = match.groups()
    mapping, _, kind = metric.rpartition(".")
    if mapping == "failed.by_kind" and kind in RENAMED:
        metric = f"{mapping}.{RENAMED[kind]}"
    try:
        limit = _READERS[_unit(metric, where, text)](value)
    except ValueError as exc:
        raise UsageError(f"{where}: `{shown(text, most=_LONGEST)}`: {exc}") from None
    if not math.isfinite(limit):
        raise UsageError(f"{where}: `{shown(text, most=_LONGEST)}`: `{shown(value)}` is too large")
    rule = Rule(text=" ".join(text.split()), metric=metric, op=op, limit=limit)
    if metric.endswith("ratio"):
        fault = _beyond_shares(rule)
        if fault is not None:
            raise UsageError(f"{where}: `{shown(text, most=_LONGEST)}`: {fault}")
    return rule


def _beyond_shares(rule: Rule) -> str | None:
    """Why a rule on a share of the requests is none, since these lie from 0 to 100 %; None where it is one."""
    if not holds(rule, 0.0) and not holds(rule, 1.0):
        return "no share could pass; write a limit from 0% to 100%"
    return "no share is above 100 %, so it could not fail; write a lower limit" if rule.limit > 1 else None


def opposed(rules: Sequence[Rule]) -> tuple[Rule, Rule] | None:
    """Two rules that no value of their metric could pass together; None where there are none."""
    for one, other in combinations(rules, 2):
        low, high = (one, other) if one.op.startswith(">") else (other, one)
        if one.metric == other.metric and one.op[0] != other.op[0]:
            strict = "=" not in low.op or "=" not in high.op
            if low.limit > high.limit or (strict and low.limit == high.limit):
                return one, other
    return None


def judge(rule: Rule, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `checks`: {rule, metric, op, unit, measured, limit, ci95, passed, why}.

    `why` says why there is nothing to judge.
    """
    metrics = summary["metrics"]
    # Without any request every count is 0, and says nothing.
    measured, ci95, why = _find(rule.metric, metrics) if metrics["requests"]["total"] else (None, None, _NO_CALLS)
    if why == names.NOT_MEASURED:
        why = names.untold(rule.metric, streamed=summary.get("workload", {}).get("stream", True))
    passed = measured is not None and holds(rule, measured)
    return {
        "rule": rule.text,
        "metric": rule.metric,
        "op": rule.op,
        "unit": rule.unit,
        "measured": measured,
        "limit": rule.limit,
        "ci95": ci95,
        "passed": passed,
        "why": why,
    }


def rows(summary: Mapping[str, Any], more: Sequence[str] = ()) -> list[dict[str, Any]]:
    """All checks of a run: rows of `judge`, each with `default`, whether it is `DEFAULT` because no rule was given.

    An abort rule that ended the run is the first of them, and failed; a rule that this version does not understand fails.

    Args:
        summary: with `run`, `workload` and `metrics`.
        more: rules beside the workload's own.
    """
    texts, default = wanted((*summary["workload"].get("checks", ()), *more))
    aborted = summary["run"]["aborted"]
    found = [] if aborted is None else [_aborted(aborted)]
    return [
        *(row | {"default": False} for row in found),
        *(_row(text, summary) | {"default": default} for text in texts),
    ]


def _row(text: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return judge(parse(text, where="checks"), summary)
    except UsageError as exc:
        return _NOTHING | {"rule": text, "why": str(exc)}


def _aborted(found: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the abort rule that ended a run: what was seen by then."""
    seen = {
        "rule": found["rule"],
        "measured": found["measured"],
        "ci95": found["ci95"],
        "why": f"aborted at {units.duration_text(found['at_s'])}",
    }
    try:
        rule = parse(found["rule"], where="abort")
    except UsageError:
        return _NOTHING | seen
    return _NOTHING | {"metric": rule.metric, "op": rule.op, "unit": rule.unit, "limit": rule.limit} | seen


_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("rule", "metric", "op", "unit", "measured", "limit", "ci95")),
    "passed": False,
    "why": None,
}
"""A row of which nothing is known."""


def holds(rule: Rule, value: float) -> bool:
    """Whether a value, in the metric's unit, is within the limit."""
    return _OPERATORS[rule.op](value, rule.limit)


def unsupported(
    rule: Rule,
    expected: int | None,
    *,
    how: str = "will measure about",
    of: str = "",
    knob: str = "the duration or the rate",
    drop: str = DROP,
) -> str | None:
    """A sentence if the planned sample can't support the rule; None if it can, or if that can't be told.

    Args:
        rule: a rule on anything.
        expected: requests that the window will hold; None where the plan does not tell (a closed loop).
        how: how surely so many.
        of: which of all that are sent these are, where that is known.
        knob: what makes more of them.
        drop: how the user leaves the rule out.
    """
    name = rule.metric.rpartition(".")[0]
    needed = calls_needed(rule)
    if expected is None or expected >= needed:
        return None
    possible = [percentile for percentile in NEEDED if NEEDED[percentile] <= expected]
    lower = f", or judge `{name}.{possible[-1]}`" if possible else ""
    times = f"{math.ceil(10 * needed / expected) / 10:g} times " if expected else ""
    return (
        f"`{rule.text}`: {rule.metric} needs {needed:,} measured calls; this workload {how} {expected:,}{of}; "
        f"make {knob} {times}larger{lower}, or {drop}"
    )


def calls_needed(rule: Rule) -> int:
    """Measured calls without which the rule can't be judged; 0 where any number will do."""
    name, _, statistic = rule.metric.rpartition(".")
    known = names.DISTRIBUTIONS.get(name)
    return NEEDED.get(statistic, 0) if known is not None and known.per_request else 0


def _unit(metric: str, where: str, text: str) -> str:
    known = names.units()
    if metric in known:
        return known[metric]
    mapping, _, key = metric.rpartition(".")
    if mapping in names.OPEN and names.OPEN[mapping].fullmatch(key):
        return "count"
    meant = nearest(metric, names.suggestions())
    hint = f"did you mean `{meant}`?" if meant else "docs/metrics.md lists all of them"
    rule = shown(text, most=_LONGEST)
    raise UsageError(f"{where}: `{rule}`: unknown metric `{shown(metric)}`; {hint}")


def nearest(metric: str, known: Sequence[str]) -> str | None:
    """Which of the known paths was probably meant; None if none is near."""
    first, dot, rest = metric.lower().partition(".")
    ours = names.OTHERS.get(first, first)
    if "." in ours and ours in known:
        return ours
    word = f"{ours}{dot}{rest}"
    # A percentile of nothing, and nothing but a distribution.
    meant = [path for path in (word, f"ttft.{word}", f"{word}.p95") if path in known]
    if meant:
        return meant[0]
    name = word.rpartition(".")[0]
    of_it = [path for path in known if name not in names.DISTRIBUTIONS or path.startswith(f"{name}.")]
    close = get_close_matches(word, of_it, n=6, cutoff=0.5)
    # Of p50, p90, p95 and p99 p59 is as near to one as to another, but two digits are easily swapped.
    swapped = [path for path in close if sorted(path) == sorted(word)]
    return next(iter(swapped or close), None)


def _find(metric: str, metrics: Mapping[str, Any]) -> tuple[float | None, Any, str | None]:
    """The measured value, its interval, and why there is no value."""
    parent, _, key = metric.rpartition(".")
    holder: Any = metrics
    for part in parent.split("."):
        holder = holder.get(part) if isinstance(holder, Mapping) else None
    if not isinstance(holder, Mapping):
        return None, None, names.NOT_MEASURED
    if parent in names.OPEN:
        return holder.get(key, 0), None, None
    value = holder.get(key)
    intervals = holder.get("ci95")
    interval = intervals.get(key) if isinstance(intervals, Mapping) else intervals if key == "ratio" else None
    if parent == "cost" and value is None:
        return None, None, f"{names.NOT_MEASURED}: {holder.get('why') or _BY_THE_HOUR}"
    return value, interval, None if value is not None else missing(holder, key)


def missing(holder: Mapping[str, Any], statistic: str) -> str:
    """Why a number is None: of a distribution, or of what has no counts."""
    of, count = holder.get("of"), holder.get("count")
    if of is None or count is None:
        return names.NOT_MEASURED
    if statistic in holder.get("unanswered", ()) or (of > count > 0 and statistic not in NEEDED):
        return f"unanswered: {of - count:,} of {of:,} requests were never answered"
    if 0 < of < NEEDED.get(statistic, 0):
        return f"withheld: {statistic} needs {NEEDED[statistic]:,} measured calls and there are {of:,}"
    return names.NOT_MEASURED
