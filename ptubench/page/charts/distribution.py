"""Latencies as whole distributions: of one run, or of several over each other."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ptubench.analysis.columns import Floats
from ptubench.analysis.latencies import PER_REQUEST
from ptubench.analysis.requests import Requests
from ptubench.analysis.series import Curve
from ptubench.page.charts import parts
from ptubench.page.charts.model import Cell, Chart
from ptubench.page.charts.parts import Style, safe
from ptubench.samples import NEEDED, PERCENTILES
from ptubench.units import seconds_text, share_text

NAMES = {"ttft": "TTFT", "ttfo": "TTFO", "e2e": "E2E"} | {
    f"{name}_scheduled": f"{title} since due" for name, title in (("ttft", "TTFT"), ("e2e", "E2E"))
}
_LEAST = 1e-6  # seconds; a log axis knows no zero
_SHARES = (
    0.01,
    0.05,
    0.1,
    0.2,
    0.25,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.75,
    0.8,
    0.85,
    0.9,
    0.95,
    0.98,
    0.99,
    0.995,
    0.999,
    0.9995,
    0.9999,
)
"""Of the tables."""
_NINES = (0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999)
"""Of the axis on which every further nine has as much room."""


class Drawn(NamedTuple):
    """One distribution of a chart."""

    title: str
    """May be of others."""
    curve: Curve
    style: Style
    marks: Mapping[str, Any] | None = None
    """The distribution in a summary, for its percentiles with their intervals."""


def of_target(requests: Requests, name: str) -> Floats:
    """One value for each request, of those that the target answered itself."""
    values: Floats = np.where(requests.by_target, PER_REQUEST[name](requests), np.nan)
    return values


def ecdf(name: str, title: str, drawn: Sequence[Drawn], *, subject: str) -> Chart | None:
    """How many calls were at most that slow, on a log axis; what was never answered is missing at the top."""
    drawn = [one for one in drawn if one.curve.count]
    if not drawn:
        return None
    data = []
    for one in drawn:
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": safe(one.title),
                "legendgroup": safe(one.title),
                "x": parts.numbers(np.maximum(one.curve.values, _LEAST)),
                "y": parts.numbers(one.curve.shares),
                "line": parts.line(one.style.color, one.style.dash, shape="hv"),
                "hovertemplate": f"%{{y:.4~%}} within %{{x:.3s}}s<extra>{safe(one.title)}</extra>",
            }
        )
        if (marks := _marks(one)) is not None:
            data.append(marks)
    lost = [one for one in drawn if one.curve.count < one.curve.of]
    rows = _percentile_rows(drawn)
    return Chart(
        name=name,
        title=title,
        description=f"The share of calls within a time, on a logarithmic axis, of {subject}: {'; '.join(map(_curve_said, drawn))}.",
        figure=parts.figure(
            data,
            xaxis=parts.log_seconds_axis("time (log)", _ends(drawn)),
            yaxis=parts.share_axis("share of calls within that time", range=[0, 1.02]),
            hovermode="closest",
        ),
        header=("percentile", *(one.title for one in drawn)),
        rows=rows,
        note=parts.sentences(
            *(_lost_said(one) for one in lost),
            "Marks: percentiles of the summary with 95 % intervals." if any(one.marks for one in drawn) else "",
            _thinned_said(drawn),
        ),
    )


def tail(name: str, title: str, drawn: Sequence[Drawn], *, subject: str) -> Chart | None:
    """Percentiles on an axis on which every further nine takes as much room; time on a log axis."""
    drawn = [one for one in drawn if one.curve.count > 1]
    if not drawn:
        return None
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": safe(one.title),
            "x": parts.numbers(1 / (1 - one.curve.shares[below])),
            "y": parts.numbers(np.maximum(one.curve.values[below], _LEAST)),
            "customdata": parts.numbers(one.curve.shares[below]),
            "line": parts.line(one.style.color, one.style.dash),
            "hovertemplate": f"%{{customdata:.5~%}} within %{{y:.3s}}s<extra>{safe(one.title)}</extra>",
        }
        # The slowest of all has no share beyond it.
        for one in drawn
        for below in [one.curve.shares < 1]
    ]
    most = max(2, *(one.curve.of for one in drawn))
    ticks = [share for share in _NINES if 1 / (1 - share) <= most]
    return Chart(
        name=name,
        title=title,
        description=f"Time by percentile of {subject}, drawn so that the slowest calls have room: {'; '.join(map(_curve_said, drawn))}.",
        figure=parts.figure(
            data,
            xaxis=parts.axis(
                "share of calls",
                type="log",
                tickvals=parts.numbers(1 / (1 - share) for share in ticks),
                ticktext=[parts.percent(share) for share in ticks],
                tickangle=30,  # left to plotly, it turns them back and forth where there is little room
            ),
            yaxis=parts.log_seconds_axis("time (log)", _ends(drawn)),
            hovermode="closest",
        ),
        header=("share of calls", *(one.title for one in drawn)),
        rows=_tail_rows(drawn),
        note=parts.sentences(
            "The last calls of a curve are single ones: which percentiles the sample supports, the table of the run says.",
            *(_lost_said(one) for one in drawn if one.curve.count < one.curve.of),
        ),
    )


def _marks(one: Drawn) -> dict[str, Any] | None:
    """The percentiles of a summary on their curve, with their intervals across."""
    if one.marks is None:
        return None
    marked = one.marks
    found = [name for name in PERCENTILES if marked[name] is not None]
    if not found:
        return None
    values = [marked[name] for name in found]
    # An end that was never answered goes to the end of what was.
    bounds = [(marked["ci95"] or {}).get(name) or [marked[name]] * 2 for name in found]
    slowest = float(one.curve.values[-1])
    ends = [
        (low if low is not None else value, slowest if high is None else high)
        for value, (low, high) in zip(values, bounds, strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": safe(one.title),
        "legendgroup": safe(one.title),
        "showlegend": False,
        "x": parts.numbers(max(value, _LEAST) for value in values),
        "y": [PERCENTILES[name] for name in found],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": parts.numbers(max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)),
            "arrayminus": parts.numbers(max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)),
            "color": one.style.color,
            "thickness": 1.5,
        },
        "customdata": [
            f"{name} {seconds_text(value)}, 95 % interval {seconds_text(low)} to {seconds_text(high)}"
            for name, value, (low, high) in zip(found, values, ends, strict=True)
        ],
        "marker": {"color": one.style.color, "symbol": one.style.symbol, "size": 8},
        "hovertemplate": f"%{{customdata}}<extra>{safe(one.title)}</extra>",
    }


def _percentile_rows(drawn: Sequence[Drawn]) -> list[tuple[Cell, ...]]:
    """What the curves are at round shares, from their fastest call to their slowest."""
    rows: list[tuple[Cell, ...]] = [("fastest", *(parts.time_cell(float(one.curve.values[0])) for one in drawn))]
    rows += [(parts.percent(share), *(_at(one.curve, share) for one in drawn)) for share in _SHARES]
    rows.append(("slowest", *(parts.time_cell(float(one.curve.values[-1])) for one in drawn)))
    rows.append(("never answered", *(one.curve.of - one.curve.count for one in drawn)))
    rows.append(("calls", *(one.curve.of for one in drawn)))
    return rows


def _tail_rows(drawn: Sequence[Drawn]) -> list[tuple[Cell, ...]]:
    return [(parts.percent(share), *(_at(one.curve, share) for one in drawn)) for share in _SHARES if share >= 0.5]


def _at(curve: Curve, share: float) -> str | None:
    """The smallest drawn value that at least a share does not exceed; None where a share of the calls is less than one."""
    if curve.of * min(share, 1 - share) < 1:
        return None
    place = int(np.searchsorted(curve.shares, share - 1e-12))
    return "unanswered" if place >= len(curve.values) else seconds_text(float(curve.values[place]))


def _curve_said(one: Drawn) -> str:
    enough = [name for name in ("p50", "p95") if one.curve.of >= NEEDED[name]]
    said = [f"{name} {_at(one.curve, PERCENTILES[name])}" for name in enough]
    return f"{one.title} {', '.join([*said, f'of {parts.count_text(one.curve.of)}'])}"


def _ends(drawn: Sequence[Drawn]) -> list[float]:
    """The fastest and the slowest of all."""
    return [max(float(one.curve.values[place]), _LEAST) for one in drawn for place in (0, -1)]


def _lost_said(one: Drawn) -> str:
    """Why a curve ends below 100 %."""
    lost = one.curve.of - one.curve.count
    return f"{one.title} ends at {share_text(one.curve.count / one.curve.of)}: {parts.count_text(lost)} never answered."


def _thinned_said(drawn: Sequence[Drawn]) -> str:
    """That not all values are drawn, if so."""
    thinned = [len(one.curve.values) for one in drawn if len(one.curve.values) < one.curve.count]
    return (
        f"Curves are drawn by at most {max(thinned):,} of their values, the smallest and the largest among them."
        if thinned
        else ""
    )
