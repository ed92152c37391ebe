"""Azure Monitor's figures beside ours, over the full UTC minutes of the window.

Azure does not say whether it counts a call in the minute in which it began or ended. So what we sent is known only
between two bounds, that which lies wholly inside the minutes and that which touches them, and a figure between them
agrees. Only what exceeds the upper bound is somebody else's.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from ptubench.analysis import azure as said
from ptubench.analysis import rates
from ptubench.analysis.columns import Attempts, Bools, Floats, Run, select
from ptubench.analysis.rates import Window
from ptubench.ptu.capacity import Capacity

TOLERANCE = 0.02
"""Figures that differ by no more agree: of ours, or, of shares, in points."""
FOREIGN = "foreign traffic"
SETTLED_S = 600.0
"""Seconds after the run from which on Azure's figures are taken as final."""


ROWS = {
    "utilization": "share",
    "requests": "count",
    "throttled": "count",
    "spilled": "count",
    "prompt_tokens": "tokens",
    "completion_tokens": "tokens",
    "active_tokens": "tokens",
    "cached_share": "share",
    "time_to_response": "s",
}
"""What is compared, and its unit."""


class Ours(NamedTuple):
    """One figure by our account, and the bounds between which Azure's may lie if it counts the same calls."""

    value: float | None
    low: float
    high: float


def comparison(run: Run, window: Window, capacity: Capacity | None) -> dict[str, Any] | None:
    """{asked_at, minutes, span_s, settled, missing, rows[{name, unit, ours, azure, difference, word}], errors}; None if nobody asked.

    `difference` is Azure's / ours - 1, of shares Azure's - ours; `word` is agrees, differs, foreign traffic, or None
    where one of the two is missing. `missing` counts the minutes in which we sent and for which Azure counts no requests.
    """
    told = said.last(run, "run")
    if told is None:
        return None
    span = said.span_of(run, window)
    ended = run.head.started_unix + (run.end.finished if run.end is not None else span.window[1])
    ours, azure = _ours(run, span, capacity), said.figures(told, span)
    rows = [_row(name, unit, ours[name], azure[name]) for name, unit in ROWS.items()] if span.minutes else []
    return {
        "asked_at": _utc(told.asked_unix),
        "minutes": len(span.minutes),
        "span_s": list(span.window) if span.minutes else None,
        "settled": told.stable or told.asked_unix - ended >= SETTLED_S,
        "missing": said.missing(told, span),
        # Without spilled calls there is nothing to say of them.
        "rows": [row for row in rows if row["name"] != "spilled" or row["ours"] or row["azure"]],
        "errors": dict(told.errors),
    }


def utilization(run: Run, window: Window, load: Window) -> dict[str, Any] | None:
    """Azure's own figure: {mean, peak_minute, before}; None where Azure Monitor was not asked.

    `mean` is over the full minutes of the window, `peak_minute` of those of the load the highest, `before` the mean of
    the five minutes that led up to the load.
    """
    told, earlier = said.last(run, "run"), said.last(run, "before")
    if told is None and earlier is None:
        return None
    shares = said.utilization(told)
    peak = [shares[minute] for minute in said.span_of(run, load).minutes if minute in shares]
    return {
        "mean": said.complete_mean(shares, said.span_of(run, window)),
        "peak_minute": max(peak, default=None),
        "before": said.mean(said.utilization(earlier).values()),
    }


def foreign(compared: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The row of requests, if Azure counted more of them than we can have sent."""
    rows = compared["rows"] if compared is not None else []
    return next((row for row in rows if row["word"] == FOREIGN), None)


def _utc(unix: float) -> str | None:
    """A moment, as UTC; None for one in no calendar, which only a file that was edited by hand holds."""
    try:
        return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def _row(name: str, unit: str, ours: Ours, azure: float | None) -> dict[str, Any]:
    difference = word = None
    if ours.value is not None and azure is not None:
        points = unit == "share"
        margins = (TOLERANCE, TOLERANCE) if points else (TOLERANCE * ours.low, TOLERANCE * ours.high)
        difference = azure - ours.value if points else _relative(azure, ours.value)
        if azure > ours.high + margins[1]:
            word = FOREIGN if name == "requests" else "differs"
        else:
            word = "differs" if azure < ours.low - margins[0] else "agrees"
    return {"name": name, "unit": unit, "ours": ours.value, "azure": azure, "difference": difference, "word": word}


def _relative(azure: float, ours: float) -> float | None:
    return azure / ours - 1 if ours else 0.0 if not azure else None


def _ours(run: Run, span: said.Span, capacity: Capacity | None) -> dict[str, Ours]:
    """Every figure of `ROWS` by our account."""
    own = select(run.attempts, ~run.attempts.diverted)
    served = select(own, ~own.spilled)
    amounts = rates.tokens_within(served, span.window)
    uncached = amounts.prompt - (amounts.cached or 0.0)
    prompt, cached, completion = (
        counts.astype(np.float64) for counts in (served.prompt_tokens, served.cached_tokens, served.completion_tokens)
    )
    active = None if amounts.cached is None else uncached + amounts.completion
    return {
        "utilization": _exactly(_share(amounts, span, capacity)),
        "requests": _requests(own, span.window),
        "throttled": _counted(own, span.window, own.status == 429, (own.status == 429) | own.spilled),
        "spilled": _counted(own, span.window, own.spilled, own.spilled),
        "prompt_tokens": _tokens(served, span, prompt, amounts.prompt),
        "completion_tokens": _tokens(served, span, completion, amounts.completion),
        "active_tokens": _tokens(served, span, prompt - np.nan_to_num(cached) + completion, active),
        "cached_share": _exactly(
            amounts.cached / amounts.prompt if amounts.cached is not None and amounts.prompt else None
        ),
        "time_to_response": _exactly(_mean_ttft(served, span.window)),
    }


def _share(amounts: rates.Amounts, span: said.Span, capacity: Capacity | None) -> float | None:
    """Utilization by the published table."""
    if capacity is None:
        return None
    charged = capacity.normalized(amounts.prompt, amounts.cached or 0.0, amounts.completion)
    return float(charged / capacity.tpm / len(span.minutes)) if span.minutes else None


def _exactly(value: float | None) -> Ours:
    return Ours(value, value or 0.0, value or 0.0)


def _touching(attempts: Attempts, window: Window) -> Bools:
    """Attempts that were under way at any time in the window."""
    end = np.where(np.isnan(attempts.end), np.inf, attempts.end)
    touching: Bools = (attempts.sent < window[1]) & (end >= window[0])
    return touching


def _inside(attempts: Attempts, window: Window) -> Bools:
    """Attempts that were answered, and wholly inside the window."""
    inside: Bools = (attempts.sent >= window[0]) & (attempts.end <= window[1]) & (attempts.status > 0)
    return inside


def _sent(attempts: Attempts, window: Window) -> Bools:
    sent: Bools = (attempts.sent >= window[0]) & (attempts.sent < window[1])
    return sent


def _counted(attempts: Attempts, window: Window, sure: Bools, possible: Bools) -> Ours:
    """How many attempts count: those that surely do, and those that may."""
    return Ours(
        int(np.count_nonzero(_sent(attempts, window) & sure)),
        int(np.count_nonzero(_inside(attempts, window) & sure)),
        int(np.count_nonzero(_touching(attempts, window) & possible)),
    )


def _requests(own: Attempts, window: Window) -> Ours:
    # What was spilled may count here, where it was served, or at both.
    ours = _counted(own, window, np.ones(len(own.sent), dtype=bool), np.ones(len(own.sent), dtype=bool))
    spilled = int(np.count_nonzero(own.spilled & _touching(own, window)))
    return ours._replace(low=max(0.0, ours.low - spilled), high=ours.high + spilled)


def _tokens(served: Attempts, span: said.Span, amounts: Floats, value: float | None) -> Ours:
    """Tokens of the answers; without an upper bound where some came without `usage`."""
    touching = _touching(served, span.window) & rates.admitted(served)
    known = rates.told(served)
    unknown = np.any(touching & ~known & (served.status < 400))
    return Ours(
        value if np.any(known & touching) else None,
        float(np.nansum(amounts[_inside(served, span.window) & known])),
        math.inf if unknown else float(np.nansum(amounts[touching & known])),
    )


def _mean_ttft(served: Attempts, window: Window) -> float | None:
    times = (served.first_content - served.sent)[_sent(served, window)]
    return said.mean(times[~np.isnan(times)].tolist())
