"""What Azure said in a run file, read for comparison: figures of the full UTC minutes of a window, and what changed meanwhile."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ptubench.analysis import rates
from ptubench.analysis.columns import Run, select
from ptubench.analysis.rates import Window
from ptubench.record import Monitor, Resource, Series

# Names in the REST API, as `azure.monitor` asks for them.
UTILIZATION = "AzureOpenAIProvisionedManagedUtilizationV2"
CACHE_MATCH = "AzureOpenAIContextTokensCacheMatchRate"
TIME_TO_RESPONSE = "AzureOpenAITimeToResponse"
REQUESTS = "AzureOpenAIRequests"
PROMPT = "ProcessedPromptTokens"
GENERATED = "GeneratedTokens"
ACTIVE = "ActiveTokens"

Values = Mapping[int, float]
"""By the start of the minute, in seconds since the epoch."""

_MOST = 1e15
"""More than any figure of a minute can be: what a server says beyond it, or below 0, is no figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The full UTC minutes that are compared."""

    window: Window
    """In seconds since the start of the run."""
    minutes: list[int]
    """Their starts, in seconds since the epoch."""
    busy: set[int]
    """Those in which requests were sent: Azure's figures are not complete without them."""


def last(run: Run, of: str) -> Monitor | None:
    """The last of Azure Monitor's answers of one kind."""
    return next((line for line in reversed(run.azure) if isinstance(line, Monitor) and line.of == of), None)


def changes(run: Run) -> dict[str, tuple[Any, Any]]:
    """What Azure Resource Manager said otherwise after the load than before it, by field."""
    said = {line.when: line for line in run.azure if isinstance(line, Resource) and line.error is None}
    if len(said) < 2:
        return {}
    before, after = said["before"], said["after"]
    fields = ("sku", "capacity", "model", "version", "spillover", "content_filter")
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in fields}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def span_of(run: Run, window: Window) -> Span:
    """The full UTC minutes of a window."""
    grid = rates.full_minutes(run.head.started_unix, window)
    first = round(run.head.started_unix + grid.start)
    own = select(run.attempts, ~run.attempts.diverted)
    minutes = [first + 60 * k for k in range(grid.bins)]
    sent = grid.count(own.sent)
    return Span(
        window=(grid.start, grid.start + 60.0 * grid.bins),
        minutes=minutes,
        busy={minute for minute, count in zip(minutes, sent, strict=True) if count},
    )


def utilization(told: Monitor | None) -> dict[int, float]:
    """Shares by minute; what was not asked for is empty."""
    return {} if told is None else _levels(told, UTILIZATION, scale=100)


def missing(told: Monitor, span: Span) -> int:
    """In how many minutes we sent requests of which Azure tells nothing."""
    return len(span.busy - _totals(told, REQUESTS).keys())


def figures(told: Monitor, span: Span) -> dict[str, float | None]:
    """Azure's figures over the minutes; None for one that is not there, or not complete."""
    prompt, answered = _totals(told, PROMPT), _totals(told, REQUESTS, statuscode="200")
    return {
        "utilization": complete_mean(utilization(told), span),
        "requests": _total(_totals(told, REQUESTS), span),
        "throttled": _part(told, span, statuscode="429"),
        "spilled": _part(told, span, isspillover="true"),
        "prompt_tokens": _total(prompt, span),
        "completion_tokens": _total(_totals(told, GENERATED), span),
        "active_tokens": _total(_totals(told, ACTIVE), span),
        "cached_share": _weighted(_levels(told, CACHE_MATCH, scale=100), span, prompt),
        "time_to_response": _weighted(_levels(told, TIME_TO_RESPONSE, scale=1000), span, answered),
    }


def complete_mean(values: Values, span: Span) -> float | None:
    """The mean over the minutes; None where one in which we sent has no figure."""
    if span.busy - values.keys():
        return None
    return mean(values[minute] for minute in span.minutes if minute in values)


def mean(values: Iterable[float]) -> float | None:
    """The mean of any; None of none."""
    found = list(values)
    return math.fsum(found) / len(found) if found else None


def _chosen(told: Monitor, metric: str, dimensions: Mapping[str, str]) -> list[Series]:
    """The series of a metric with these dimension values."""
    return [
        one
        for one in told.series
        if one.metric == metric
        and all(one.dimensions.get(name, "").lower() == value for name, value in dimensions.items())
    ]


def _totals(told: Monitor, metric: str, **dimensions: str) -> dict[int, float]:
    """Totals by minute, over all series of a metric with these dimension values."""
    totals: dict[int, float] = {}
    for series in _chosen(told, metric, dimensions):
        for minute, value in _possible(series.total):
            totals[minute] = totals.get(minute, 0.0) + value
    return totals


def _levels(told: Monitor, metric: str, *, scale: float) -> dict[int, float]:
    """Averages by minute; a level is not split, so there is one series."""
    return {minute: value / scale for one in _chosen(told, metric, {})[:1] for minute, value in _possible(one.average)}


def _possible(values: Values) -> list[tuple[int, float]]:
    """The minutes whose figure can be one."""
    return [(minute, value) for minute, value in values.items() if 0 <= value <= _MOST]


def _total(values: Values, span: Span) -> float | None:
    """The sum over the minutes; None where one in which we sent has no figure."""
    if not values or span.busy - values.keys():
        return None
    return math.fsum(values.get(minute, 0.0) for minute in span.minutes)


def _part(told: Monitor, span: Span, **dimensions: str) -> float | None:
    """The total of a part of the requests, where they were split and are complete; a part that nobody names is 0."""
    split = any(dimensions.keys() <= one.dimensions.keys() for one in _chosen(told, REQUESTS, {}))
    if not split or _total(_totals(told, REQUESTS), span) is None:
        return None
    values = _totals(told, REQUESTS, **dimensions)
    return math.fsum(values.get(minute, 0.0) for minute in span.minutes)


def _weighted(values: Values, span: Span, weights: Values) -> float | None:
    """The mean over the minutes, each with its weight; all alike where no weight is known."""
    known = [minute for minute in span.minutes if minute in values]
    weight = math.fsum(weights.get(minute, 0.0) for minute in known)
    if not weight:
        return mean(values[minute] for minute in known)
    return math.fsum(values[minute] * weights.get(minute, 0.0) for minute in known) / weight
