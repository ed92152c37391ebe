"""Azure Monitor's figures of one deployment, per UTC minute.

"Metrics - List" of the Azure Monitor REST API, version 2023-10-01; names, aggregations and dimensions from the
reference "Supported metrics for Microsoft.CognitiveServices/accounts" (2026-05-19). Values arrive after one to five
minutes and may still change, so they are asked for until two answers in a row are the same.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from urllib.parse import quote

import msgspec

from ptubench.azure import rest
from ptubench.errors import TargetRefused
from ptubench.record import Monitor, Series
from ptubench.secret import shown
from ptubench.units import duration_text

API_VERSION = "2023-10-01"
NAMESPACE = "Microsoft.CognitiveServices/accounts"
ROLE = "Monitoring Reader"
MINUTE = 60
BEFORE = 5
"""Minutes that are looked at before a load."""
INTERVAL = 20.0
"""Seconds between two questions while the figures are waited for."""

UTILIZATION = "AzureOpenAIProvisionedManagedUtilizationV2"
CACHE_MATCH = "AzureOpenAIContextTokensCacheMatchRate"
TIME_TO_RESPONSE = "AzureOpenAITimeToResponse"
PROMPT = "ProcessedPromptTokens"
GENERATED = "GeneratedTokens"
ACTIVE = "ActiveTokens"
REQUESTS = "AzureOpenAIRequests"


class Question(NamedTuple):
    """One call: metrics that have the same aggregations and are split in the same way; at most 20 go into one."""

    metrics: tuple[str, ...]
    aggregations: str
    split: tuple[str, ...] = ()
    """Dimensions by which the answer is split."""


# A metric is asked only for aggregations that it has: a call that mixes others in may be refused as a whole.
_LEVELS = Question((UTILIZATION, CACHE_MATCH, TIME_TO_RESPONSE), "Average,Maximum")
_SUMS = Question((PROMPT, GENERATED, ACTIVE), "Total")
_REQUESTS = Question((REQUESTS,), "Total", ("StatusCode", "IsSpillover"))
RUN = (_LEVELS, _SUMS, _REQUESTS)
_BUSY = (Question((UTILIZATION,), "Average,Maximum"),)
_SERIES_LIMIT = "100"  # a call with a filter answers with 10 series unless told otherwise


class _Name(msgspec.Struct):
    value: str = ""


class _Dimension(msgspec.Struct):
    name: _Name
    value: str = ""


class _Point(msgspec.Struct, rename={"time": "timeStamp"}):
    time: str
    average: float | None = None
    maximum: float | None = None
    total: float | None = None


class _TimeSeries(msgspec.Struct):
    metadatavalues: list[_Dimension] = []
    data: list[_Point] = []


class _Metric(msgspec.Struct, rename={"error_code": "errorCode", "error_message": "errorMessage"}):
    name: _Name
    error_code: str | None = None
    error_message: str | None = None
    timeseries: list[_TimeSeries] = []


class _Answer(msgspec.Struct):
    value: list[_Metric] = []


def minutes(start: float, end: float) -> tuple[int, int]:
    """The whole UTC minutes that [start, end) touches, as [from, to); seconds since the epoch."""
    return int(start // MINUTE) * MINUTE, int(-(-end // MINUTE)) * MINUTE


def ask(
    of: rest.Deployment,
    span: tuple[int, int],
    *,
    when: Literal["before", "run"] = "run",
    questions: tuple[Question, ...] = RUN,
    patience: float = rest.PATIENCE,
) -> Monitor:
    """Ask once, each question. A metric that can't be had is an error of that metric; the others stand.

    Raises:
        Failure: nothing can be had (401, 403, 404), or not now (429).
    """
    series: list[Series] = []
    errors: dict[str, str] = {}
    until = of.by.clock() + patience
    for question in questions:
        for name, found in answers(of, span, question, max(0.0, until - of.by.clock())):
            if isinstance(found, rest.Failure):
                errors[name] = str(found)
            else:
                series += found
    return Monitor(
        of=when,
        asked_unix=time.time(),
        id=of.resource,
        deployment=of.name,
        span=span,
        # In an order of our own, so that the same figures are the same value.
        series=tuple(sorted(series, key=lambda one: (one.metric, sorted(one.dimensions.items())))),
        errors=errors,
    )


def before(of: rest.Deployment, now: float) -> Monitor:
    """Utilization of the full minutes that led up to `now` (seconds since the epoch).

    Raises:
        TargetRefused: Azure Monitor may not be asked, which is better known before a load than after it.
    """
    end = int(now // MINUTE) * MINUTE
    span = (end - BEFORE * MINUTE, end)
    try:
        return ask(of, span, when="before", questions=_BUSY)
    except rest.Failure as failure:
        if failure.status != 429:
            raise TargetRefused(f"--monitor: {failure}") from None
        errors = {UTILIZATION: str(failure)}
        return Monitor(of="before", asked_unix=now, id=of.resource, deployment=of.name, span=span, errors=errors)


def settled(
    of: rest.Deployment,
    span: tuple[int, int],
    *,
    last: int | None,
    wait: float,
    say: Callable[[str], None],
) -> Monitor | None:
    """Ask until two answers in a row are the same and tell of the last minute, or the time is over.

    Args:
        of: the deployment.
        span: the minutes to ask for.
        last: the start of the last full minute in which requests were sent; None where there is none.
        wait: seconds to wait at most; 0 asks once.
        say: takes a line of progress.

    Returns:
        The last answer; None where it was interrupted (Ctrl-C) before there was one.

    Raises:
        Failure: there is no answer (401, 403, 404, 429).
    """
    by = of.by
    until = by.clock() + wait
    answer: Monitor | None = None
    try:
        while True:
            found = ask(of, span, patience=max(0.0, until - by.clock()))
            # A metric that fails in the same way twice, such as one that the account lacks, keeps nobody waiting.
            same = answer is not None and (answer.series, answer.errors) == (found.series, found.errors)
            answer = msgspec.structs.replace(found, stable=same and tells(found, last))
            left = until - by.clock()
            if answer.stable or left <= 0:
                return answer
            say(
                f"waiting for Azure Monitor's figures, at most {duration_text(round(left))} more: "
                f"{_state(answer, last)}; Ctrl-C ends the wait"
            )
            by.sleep(min(INTERVAL, left))
    except KeyboardInterrupt:
        say("the wait for Azure Monitor's figures was ended; `ptubench report RUN --monitor` asks again")
    except rest.Failure as failure:
        if answer is None:
            raise
        say(f"warning: --monitor: {failure}")
    return answer


def tells(answer: Monitor, last: int | None) -> bool:
    """Whether requests of that minute are counted in it; for no minute, whether anything is told."""
    counted = [series.total for series in answer.series if series.metric == REQUESTS]
    return any(counted) if last is None else any(totals.get(last, 0) > 0 for totals in counted)


def _state(answer: Monitor, last: int | None) -> str:
    """What is being waited for."""
    if answer.errors:
        return next(iter(answer.errors.values()))
    return "they may still change" if tells(answer, last) else "the last minute is not there yet"


def answers(
    of: rest.Deployment, span: tuple[int, int], question: Question, patience: float
) -> Iterator[tuple[str, list[Series] | rest.Failure]]:
    """Each metric of a question with its series, or with why there are none.

    A call is refused as a whole (400) for one metric or dimension that the account doesn't have: then each metric is
    asked for alone, and one alone without its last dimension.

    Raises:
        Failure: as `ask`.
    """
    try:
        yield from _once(of, span, question, patience)
    except rest.Failure as failure:
        if failure.status == 400 and len(question.metrics) > 1:
            for metric in question.metrics:
                alone = question._replace(metrics=(metric,))
                yield from answers(of, span, alone, patience)
        elif failure.status == 400 and question.split:
            fewer = question._replace(split=question.split[:-1])
            yield from answers(of, span, fewer, patience)
        elif failure.status in (401, 403, 404, 429):
            raise
        else:
            yield from ((metric, failure) for metric in question.metrics)


def _once(
    of: rest.Deployment, span: tuple[int, int], question: Question, patience: float
) -> list[tuple[str, list[Series] | rest.Failure]]:
    name = of.name.replace("'", "''")
    conditions = [f"ModelDeploymentName eq '{name}'", *(f"{dimension} eq '*'" for dimension in question.split)]
    query = {
        "api-version": API_VERSION,
        "metricnamespace": NAMESPACE,
        "metricnames": ",".join(question.metrics),
        "timespan": "/".join(datetime.fromtimestamp(edge, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for edge in span),
        "interval": "PT1M",
        "aggregation": question.aggregations,
        "$filter": " and ".join(conditions),
        "top": _SERIES_LIMIT,
    }
    path = f"{quote(of.resource)}/providers/Microsoft.Insights/metrics"
    raw = rest.get(of.by, path, query, role=ROLE, patience=patience)
    try:
        told = {metric.name.value: metric for metric in msgspec.convert(raw, _Answer).value}
    except msgspec.ValidationError as exc:
        raise rest.Failure(f"{of.by.management}: the answer holds no metrics ({exc}); check HTTPS_PROXY") from None
    return [(metric, _read(told.get(metric), metric, span)) for metric in question.metrics]


def _read(told: _Metric | None, metric: str, span: tuple[int, int]) -> list[Series] | rest.Failure:
    if told is None:
        return rest.Failure("Azure Monitor's answer does not name it")
    if told.error_code not in (None, "", "Success"):
        said = shown(f"{told.error_code}: {told.error_message or 'no reason given'}", most=300)
        return rest.Failure(f"Azure Monitor says {said}")
    return [_series(metric, one, span) for one in told.timeseries]


def _series(metric: str, told: _TimeSeries, span: tuple[int, int]) -> Series:
    """One time series, with what lies outside the span left out."""
    values: dict[str, dict[int, float]] = {"average": {}, "maximum": {}, "total": {}}
    for point in told.data:
        start = _minute(point.time)
        if start is not None and span[0] <= start < span[1]:
            for kind, by_minute in values.items():
                if (value := getattr(point, kind)) is not None:
                    by_minute[start] = value
    return Series(
        metric=metric,
        dimensions={shown(one.name.value).lower(): shown(one.value) for one in told.metadatavalues},
        **values,
    )


def _minute(text: str) -> int | None:
    """The start of a minute; None for what is no time."""
    try:
        time_ = datetime.fromisoformat(text)
    except ValueError:
        return None
    start = (time_ if time_.tzinfo else time_.replace(tzinfo=UTC)).timestamp()
    return int(start // MINUTE) * MINUTE
