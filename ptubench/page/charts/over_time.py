"""A latency over time: single calls, and percentiles in slices."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptubench.analysis import series
from ptubench.analysis.columns import Floats
from ptubench.analysis.requests import Requests
from ptubench.analysis.series import Slice
from ptubench.page.charts import parts
from ptubench.page.charts.distribution import NAMES, of_target
from ptubench.page.charts.model import Cell, Chart
from ptubench.page.charts.parts import BLUE, GREY, ORANGE, RED, Clock, Style
from ptubench.page.charts.thin import MOST, extremes
from ptubench.samples import NEEDED
from ptubench.units import duration_text, number_text, seconds_text

MEANINGS = {
    "ttft": "from sent to the first content",
    "ttfo": "from sent to the first content that is not reasoning",
    "e2e": "from sent to the last content",
}
_PERCENTILES = {"p50": Style(BLUE, "solid", "circle"), "p95": Style(RED, "dash", "diamond")}
_FAR = 4.0
"""How far the slowest may be above the highest p95 of a slice before the first view is cut."""


def over_time(
    requests: Requests, name: str, *, clock: Clock, window: tuple[float, float], finished: float
) -> Chart | None:
    """A latency over the whole load: single calls, and p50 and p95 in slices; None where it is defined for no call."""
    values = of_target(requests, name)
    defined = ~np.isnan(values)
    if not defined.any():
        return None
    values, due = values[defined], requests.scheduled[defined]
    title = NAMES[name]
    answered = np.isfinite(values)
    sliced = {at: series.slices(values, due, at, window=window) for at in _PERCENTILES}
    data, thinned = [], ""
    if answered.any():
        dots, thinned = _dots(clock, due[answered], values[answered], title)
        data.append(dots)
    data += [
        _slices(clock, sliced[at], at, title) for at in _PERCENTILES if any(s.value is not None for s in sliced[at])
    ]
    lost = int(np.count_nonzero(~answered))
    if lost:
        data.append(_never(clock, due[~answered]))
    above, yaxis = _view(values[answered], sliced, title)
    rows = [_row(clock, at, one) for at, of in sliced.items() for one in of]
    return Chart(
        name=f"{name.replace('_', '-')}-over-time",
        title=f"{title} over time",
        description=_over_time_said(title, name, sliced, len(values), lost),
        figure=parts.figure(
            data,
            xaxis=clock.axis(0.0, finished),
            yaxis=yaxis,
            yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
            hovermode="closest",
            **parts.phases(clock, window, finished),
        ),
        header=("slice (UTC)", "percentile", title, "calls", "unanswered"),
        rows=parts.thinned(rows),
        note=parts.sentences(
            thinned,
            *(_width_said(at, sliced[at]) for at in _PERCENTILES),
            "A slice with too few calls, or whose percentile was never answered, is a gap."
            if any(one.value is None for of in sliced.values() for one in of)
            else "",
            above,
            parts.window_note(window, finished),
            parts.thinned_note(rows),
        ),
    )


def _dots(clock: Clock, due: Floats, values: Floats, title: str) -> tuple[dict[str, Any], str]:
    """Single calls, and what was left out of them."""
    kept = extremes(due, values)
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": "single calls",
        "x": clock.all_at(due[kept]),
        "y": parts.numbers(values[kept]),
        "marker": {"color": GREY, "size": 3.5, "opacity": 0.55},
        "hovertemplate": f"due %{{x|%H:%M:%S.%L}} UTC<br>{title} %{{y:.3s}}s<extra></extra>",
    }
    if len(kept) == len(values):
        return dots, f"Dots: all {parts.count_text(len(values))} that were answered."
    step = (float(due.max()) - float(due.min())) / (MOST // 2)
    return dots, (
        f"Dots: {len(kept):,} of {parts.count_text(len(values))} that were answered, the fastest and the slowest of every "
        f"{seconds_text(step)}."
    )


def _slices(clock: Clock, of: Sequence[Slice], name: str, title: str) -> dict[str, Any]:
    """A level for each slice, broken where one has none; what it is of is said on hover."""
    x, y, said = [], [], []
    for one in of:
        x += [clock.at(one.start), clock.at(one.end)]
        y += [None if one.value is None else parts.number(one.value)] * 2
        said += [f"{clock.text(one.start)} to {clock.text(one.end)} UTC, {parts.count_text(one.of)}"] * 2
    style = _PERCENTILES[name]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": y,
        "customdata": said,
        "connectgaps": False,
        "line": parts.line(style.color, style.dash, 2.5),
        "hovertemplate": f"{title} {name} %{{y:.3s}}s<br>%{{customdata}}<extra></extra>",
    }


def _never(clock: Clock, due: Floats) -> dict[str, Any]:
    """Calls that were never answered, at the upper edge: no value is theirs."""
    kept = extremes(due, np.zeros(len(due)))
    shown = "" if len(kept) == len(due) else f" (one mark for several: {len(due):,} in all)"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"never answered{shown}",
        "x": clock.all_at(due[kept]),
        "y": [0.985] * len(kept),
        "yaxis": "y2",
        "marker": {"color": ORANGE, "symbol": "triangle-up", "size": 8},
        "hovertemplate": "due %{x|%H:%M:%S} UTC<br>never answered<extra></extra>",
    }


def _view(values: Floats, sliced: Mapping[str, Sequence[Slice]], title: str) -> tuple[str, dict[str, Any]]:
    """The axis, and what is above its first view: a single call that took a minute must not flatten all others."""
    yaxis = parts.seconds_axis(title)
    told = [one.value for of in sliced.values() for one in of if one.value is not None]
    if not told or not len(values):
        return "", yaxis
    top, slowest = max(told) * _FAR, float(values.max())
    if slowest <= top or top <= 0:
        return "", yaxis
    above = parts.count_text(int(np.count_nonzero(values > top)))
    said = f"{above} above the view, up to {seconds_text(slowest)}: double-click shows all."
    return said, yaxis | {"range": [0, parts.number(top)]}


def _row(clock: Clock, name: str, one: Slice) -> tuple[Cell, ...]:
    value = parts.time_cell(one.value)
    if value is None:
        value = "unanswered" if one.enough else f"{NEEDED[name]} calls are needed"
    return f"{clock.text(one.start)} to {clock.text(one.end)}", name, value, one.of, one.unanswered


def _width_said(name: str, of: Sequence[Slice]) -> str:
    if not any(one.value is not None for one in of):
        return f"{name} is not shown: no slice has the {NEEDED[name]} calls that it needs."
    lacking = sum(not one.enough for one in of)
    where = f", {lacking} of {len(of)} with too few calls" if lacking else ""
    return f"{name}: slices of {duration_text(round(of[0].end - of[0].start, 1))} of the window{where}."


def _over_time_said(title: str, name: str, sliced: Mapping[str, Sequence[Slice]], size: int, lost: int) -> str:
    said = []
    for at, of in sliced.items():
        values = [one.value for one in of if one.value is not None]
        if values:
            where = "" if len(values) == len(of) else f" in the {len(values)} of {len(of)} slices that tell it"
            least, most = (seconds_text(end) for end in (min(values), max(values)))
            between = least if least == most else f"between {least} and {most}"
            said.append(f"{at} {between}{where}")
    never = f", {number_text(lost)} of them never answered" if lost else ""
    shown = f": {'; '.join(said)}" if said else ""
    return f"{title}, {MEANINGS[name]}, of {parts.count_text(size)} by the time they were due{never}{shown}."
