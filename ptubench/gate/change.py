"""A regression judged: how a figure of the runs stands to the baseline's.

It fails when the figure is worse by more than the tolerance and the 95 % interval of the change holds no zero: neither a
difference that matters to nobody nor one that chance explains closes a gate. What can't be judged fails.
"""

import math
from typing import Any

from ptubench.analysis import checks, names
from ptubench.compare.differences import Difference
from ptubench.compare.side import LATENCIES, RATES
from ptubench.gate import pooled
from ptubench.gate.pool import Against, Pool
from ptubench.gate.regression import Regression

PARTS = ("change", "low", "high")

_BY_CHANCE = "beyond the tolerance, but chance may explain it: the interval of the change includes 0"
_TOO_FEW = "beyond the tolerance, and too few requests to tell whether by chance"
_BLIND = "beside this baseline no value could fail"


def row(one: Regression, against: Against) -> dict[str, Any]:
    """A row of the check document; `why` says what keeps it from being judged, or what a pass leaves open."""
    measured, missing = _value(against.runs, one.metric)
    base, base_missing = _value(against.baseline, one.metric)
    missing = missing or _incomparable(one, against)
    if measured is None or missing is not None:
        passed, why, found = False, missing, None
    elif base is None:
        # From never to some time is no regression; beside nothing at all there is none to see.
        passed, why, found = against.baseline.value(one.metric) == math.inf, f"the baseline: {base_missing}", None
    else:
        found = against.difference(one.metric)
        passed, why = judge(one, measured, base, found)
    told = {part: None if found is None else _finite(getattr(found, part)) for part in PARTS}
    by_run = against.runs.by_run(one.metric) if len(against.runs.sides) > 1 else []
    money = one.metric.startswith("cost.")
    return {
        "rule": one.text,
        "kind": "regression",
        "metric": one.metric,
        "unit": against.runs.sides[0].prices.currency if money else one.unit,
        "op": one.op,
        "measured": measured,
        "limit": None if base is None else one.limit(base),
        "ci95": None,
        "passed": passed,
        "why": why,
        "default": False,
        "baseline": base,
        **told,
        "relative": _relative(told, base) if one.unit != "share" else None,
        "by_run": by_run,
        "spread": pooled.spread(by_run),
    }


def judge(one: Regression, measured: float, base: float, found: Difference | None) -> tuple[bool, str | None]:
    """Whether a change passes, and what has to be said of it.

    Args:
        one: the tolerance.
        measured: the figure of the runs.
        base: that of the baseline.
        found: the difference of the two with its interval; None where that can't be told.
    """
    limit = one.limit(base)
    if measured <= limit if one.better == "lower" else measured >= limit:
        worst = 0.0 if one.better == "higher" else 1.0 if one.unit == "share" else math.inf
        blind = limit >= worst if one.better == "lower" else limit <= worst
        return True, _BLIND if blind else None
    if found is None:
        return False, _TOO_FEW
    if found.low > 0 if one.better == "lower" else found.high < 0:
        return False, None
    return True, _BY_CHANCE


def _relative(told: dict[str, float | None], base: float | None) -> dict[str, float | None] | None:
    """A change as shares of the baseline's value; None where that is none or zero."""
    if not base or told["change"] is None:
        return None
    return {part: None if value is None else value / base for part, value in told.items()}


def _value(pool: Pool, name: str) -> tuple[float | None, str | None]:
    """A figure, or why there is none."""
    found = pool.value(name)
    if isinstance(found, float) and math.isfinite(found):
        return found, None
    distribution, _, statistic = name.rpartition(".")
    # As a rule on the same figure says it.
    why = checks.missing(pool.metrics[distribution], statistic) if distribution in LATENCIES else str(found)
    return None, names.untold(name) if why == names.NOT_MEASURED else why


def _incomparable(one: Regression, against: Against) -> str | None:
    """Why figures that both may have can't be compared."""
    if one.metric in RATES and against.load_differs:
        return "not the same load"
    return against.runs.lacks(one.metric) or against.baseline.lacks(one.metric)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
