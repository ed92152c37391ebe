"""Regressions: `ttft.p95: 10%`, read before any run is.

    regression = metric : tolerance
    metric     = a figure of a comparison that is better one way (docs/checks.md, "Baseline")
    tolerance  = 10%, of the baseline's value | an amount in the metric's unit, such as 50ms | of a share 1pt, percentage points;
                 a + may stand before it

Only the worse direction counts. Knows no runs.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches

from ptubench.analysis import checks, names
from ptubench.compare.runs import unit_of
from ptubench.compare.side import LATENCIES, RATES, SHARES
from ptubench.errors import UsageError
from ptubench.samples import PERCENTILES
from ptubench.secret import shown

_REGRESSION = re.compile(r"\s*([\w.]+)\s*:\s*\+?\s*(\S.*?)\s*")
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(%|pt)")
_COMPARED = (
    *(f"{name}.{percentile}" for name in LATENCIES for percentile in PERCENTILES),
    *SHARES,
    *RATES,
)
METRICS = tuple(name for name in _COMPARED if names.better(name) is not None)
"""Every metric that a baseline can be held against: its change has an interval, and one way is worse."""
_MOST = 1e12
_EXAMPLES = {"share": "1pt", "s": "50ms", "tokens/s": "5", "per minute": "20", "USD": "0.5"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """How much worse than the baseline a metric may be."""

    text: str
    metric: str
    unit: str
    better: names.Better
    amount: float
    """A share of the baseline's value where `relative`, else in the metric's unit; never negative."""
    relative: bool

    @property
    def op(self) -> str:
        """How the measured value has to stand to the limit."""
        return "<=" if self.better == "lower" else ">="

    def limit(self, baseline: float) -> float:
        """The worst value that passes beside this baseline, in the metric's unit."""
        reach = self.amount * abs(baseline) if self.relative else self.amount
        return baseline + reach if self.better == "lower" else baseline - reach


def parse(text: str, *, where: str) -> Regression:
    """Read one regression.

    Args:
        text: as the user wrote it.
        where: the option, for the message.

    Raises:
        UsageError: none, a metric that can't be held against a baseline, or a tolerance that is not in its unit.
    """
    match = _REGRESSION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{where}: `{shown(text)}` is no regression; write a metric, a colon and how much worse it may be, such as "
            "`ttft.p95: 10%` or `refused.ratio: +1pt`"
        )
    metric, tolerance = match.groups()
    better = names.better(metric)
    if metric not in METRICS or better is None:
        raise UsageError(f"{where}: `{shown(text)}`: {_refusal(metric)}")
    unit = unit_of(metric, "USD")
    amount, relative = _tolerance(tolerance, unit, where=f"{where}: `{shown(text)}`")
    if amount > _MOST:
        raise UsageError(f"{where}: `{shown(text)}`: `{shown(tolerance)}` is too large; nothing could exceed it")
    return Regression(
        text=" ".join(text.split()), metric=metric, unit=unit, better=better, amount=amount, relative=relative
    )


def _tolerance(text: str, unit: str, *, where: str) -> tuple[float, bool]:
    """The amount, and whether it is a share of the baseline's value."""
    part = _PART.fullmatch(text)
    if unit == "share":
        if part is not None and part[2] == "pt":
            return float(part[1]) / 100, False
        # Of a share of 2 % it could be 0.02 or 1 points more, and beside a baseline of 0 nothing at all.
        more = " may be of its value or of all requests" if part is not None else " is no tolerance"
        raise UsageError(f"{where}: `{shown(text)}`{more}; write percentage points, such as 1pt")
    if part is not None and part[2] == "%":
        return float(part[1]) / 100, True
    way = f"write 10% of the baseline's value, or an amount such as {_EXAMPLES[unit]}"
    if part is not None:
        raise UsageError(f"{where}: points are for shares; {way}")
    try:
        return checks.amount(text, unit), False
    except ValueError:
        pass
    raise UsageError(f"{where}: `{shown(text)}` is no tolerance; {way}")


def _refusal(metric: str) -> str:
    """Why a metric can't be held against a baseline, and what can."""
    if metric in _COMPARED:
        return f"neither more nor less of `{metric}` is worse; write a rule with --check instead"
    nearest = _nearest(metric)
    if metric in names.units() or metric.rpartition(".")[0] in names.OPEN:
        way = f"`{nearest}` has one" if nearest else "docs/checks.md lists those that have one"
        return f"the change of `{metric}` has no interval; {way}"
    meant = checks.nearest(metric, METRICS)
    hint = f"did you mean `{meant}`?" if meant else "docs/checks.md lists those that a baseline can be held against"
    return f"unknown metric `{shown(metric)}`; {hint}"


def _nearest(metric: str) -> str | None:
    """What comes nearest to a metric whose change has no interval: of the same thing, else of a like name."""
    parent, _, last = metric.rpartition(".")
    if f"{last}.ratio" in METRICS:  # requests.failed
        return f"{last}.ratio"
    if parent == "gap":
        return _nearest(f"tbt.{last}")
    if last == "mean" and f"{parent}.p50" in METRICS:
        return f"{parent}.p50"
    alike = [name for name in METRICS if name.partition(".")[0] == parent.partition(".")[0]] or METRICS
    return next(iter(get_close_matches(metric, alike, n=1, cutoff=0.0 if alike is not METRICS else 0.6)), None)
