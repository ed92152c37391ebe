"""The charts of a capacity search: refused ratio and latency against the call rate."""

from collections.abc import Mapping, Sequence
from typing import Any

from ptubench.page.charts import parts
from ptubench.page.charts.model import Cell, Chart
from ptubench.page.charts.parts import BLUE, GREEN, GREY, ORANGE, RED, Style, told
from ptubench.units import number_text, share_text

Row = Mapping[str, Any]

_HIDDEN = 0.04
"""Share of the axis that a mark covers."""
_NARROW = 0.2
"""Rates at most so far from the answer are in the first view, as a share of it."""
_LATENCIES = {
    "TTFT p50": (("ttft", "p50"), Style(BLUE, "solid", "circle")),
    "TTFT p95": (("ttft", "p95"), Style(RED, "dash", "diamond")),
    "E2E p50": (("e2e", "p50"), Style(GREEN, "dot", "square")),
    "E2E p95": (("e2e", "p95"), Style(ORANGE, "dashdot", "x")),
}
_KINDS = {
    "passed": (GREEN, "circle", "passed"),
    "failed": (RED, "x", "not passed"),
    "lost": (ORANGE, "triangle-up-open", "lost (ended early)"),
}


def of_capacity(answer: Mapping[str, Any]) -> list[Chart]:
    """The charts of a search (`search.answer`); none before a rate was measured."""
    steps = [step for step in answer["steps"] if step["kind"] == "rate"]
    if not steps:
        return []
    charts = [_refused(answer, steps), _latency(answer, steps)]
    return [chart for chart in charts if chart is not None]


def _refused(answer: Mapping[str, Any], steps: Sequence[Row]) -> Chart:
    """The measured steps, the curve through them, the limit, and the rate that is the answer."""
    result, fit = answer["result"], answer.get("fit")
    data = [] if fit is None else _curve(fit)
    data += [_points(kind, [step for step in steps if _kind(step) == kind]) for kind in _KINDS if _any(steps, kind)]
    limit = _limit(steps)
    if limit is not None:
        rates = [float(step["rate"]) for step in steps] + (
            [] if fit is None else [fit["curve"][0]["rate"], fit["curve"][-1]["rate"]]
        )
        data.append(parts.level(limit, (min(rates), max(rates)), f"limit {parts.percent(limit)}"))
    shapes, annotations = _answered(answer)
    rows = sorted(steps, key=lambda step: float(step["rate"]))
    highest = max(_ratio(step)[2] or 0.0 for step in steps)
    return Chart(
        name="capacity",
        title="Refused ratio against call rate",
        description=f"{_answer_said(result)} {parts.count_text(len(steps), 'rate')} measured, each with its 95 % interval.",
        figure=parts.figure(
            data,
            height=440,
            xaxis=parts.axis("calls per minute", hoverformat=",.1f", **_view(answer, steps)),
            yaxis=parts.share_axis("refused, of the calls offered"),
            hovermode="closest",
            shapes=shapes,
            annotations=annotations,
        ),
        header=("calls/min", "refused", "95 % low", "95 % high", "calls offered", "outcome", "verdict"),
        rows=[_cells(step) for step in rows],
        note=parts.sentences(
            _grey_said(answer["result"]),
            "Bars: 95 % intervals of each step; the answer is where the curve through all of them crosses the limit."
            if fit is not None
            else "Bars: 95 % intervals of each step.",
            "A lost step was ended early, as soon as it could not pass any more: its ratio is that until then."
            if _any(steps, "lost")
            else "",
            "Where next to nothing was refused, the interval is smaller than its mark."
            if any((_ratio(step)[2] or 1.0) < _HIDDEN * highest for step in steps)
            else "",
        ),
    )


def _latency(answer: Mapping[str, Any], steps: Sequence[Row]) -> Chart | None:
    """TTFT and E2E by rate."""
    rows = sorted(steps, key=lambda step: float(step["rate"]))
    rates = parts.numbers(step["rate"] for step in rows)
    values = {title: [told(step, "metrics", *path) for step in rows] for title, (path, _) in _LATENCIES.items()}
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": title,
            "x": rates,
            "y": [None if value is None else parts.number(value) for value in values[title]],
            "line": parts.line(style.color, style.dash),
            "marker": {"color": style.color, "symbol": style.symbol, "size": 8},
            "hovertemplate": f"%{{x:,.1f}} calls/min: {title} %{{y:.3s}}s<extra></extra>",
        }
        for title, (_, style) in _LATENCIES.items()
        if any(value is not None for value in values[title])
    ]
    if not data:
        return None
    shapes, annotations = _answered(answer)
    return Chart(
        name="capacity-latency",
        title="Latency against call rate",
        description=f"TTFT and E2E at each of {parts.count_text(len(steps), 'measured rate')}.",
        figure=parts.figure(
            data,
            xaxis=parts.axis("calls per minute", **_view(answer, steps)),
            yaxis=parts.seconds_axis("time"),
            hovermode="closest",
            shapes=shapes,
            annotations=annotations,
        ),
        header=("calls/min", *_LATENCIES),
        rows=[
            (rate, *map(parts.time_cell, row))
            for rate, row in zip(rates, zip(*values.values(), strict=True), strict=True)
        ],
        note=parts.sentences(
            _grey_said(answer["result"]),
            "Of the admitted calls; a percentile is missing where the calls were too few, or where it was never answered.",
        ),
    )


def _cells(step: Row) -> tuple[Cell, ...]:
    shares = [None if value is None else share_text(value) for value in _ratio(step)]
    calls = told(step, "metrics", "requests", "total")
    return parts.number(step["rate"]), *shares, calls, _KINDS[_kind(step)][2], step["verdict"]


def _curve(fit: Row) -> list[dict[str, Any]]:
    """The curve through all steps over its 95 % band."""
    rates = parts.numbers(point["rate"] for point in fit["curve"])
    edge: dict[str, Any] = {"type": "scatter", "mode": "lines", "x": rates, "line": {"width": 0}, "hoverinfo": "skip"}
    group = {"name": "its 95 % band", "legendgroup": "band"}
    middle = parts.numbers(point["refused_ratio"] for point in fit["curve"])
    bounds = [parts.numbers(point[end] for point in fit["curve"]) for end in ("low", "high")]
    said = [f"{share_text(point['low'])} to {share_text(point['high'])}" for point in fit["curve"]]
    return [
        edge | group | {"y": bounds[0], "showlegend": False},
        edge | group | {"y": bounds[1], "fill": "tonexty", "fillcolor": "rgba(31,131,199,0.2)"},
        {
            "type": "scatter",
            "mode": "lines",
            "name": "curve through all steps",
            "x": rates,
            "y": middle,
            "customdata": said,
            "line": parts.line(BLUE),
            "hovertemplate": "%{x:,.1f} calls/min: %{y:.3~%} refused<br>95 % band %{customdata}<extra>curve</extra>",
        },
    ]


def _kind(step: Row) -> str:
    if step["lost"]:
        return "lost"
    return "passed" if step["passed"] else "failed"


def _any(steps: Sequence[Row], kind: str) -> bool:
    return any(_kind(step) == kind for step in steps)


def _ratio(step: Row) -> tuple[float | None, float | None, float | None]:
    """The refused ratio of a step and its interval."""
    ratio = told(step, "metrics", "refused", "ratio")
    low, high = told(step, "metrics", "refused", "ci95") or (None, None)
    return ratio, low, high


def _limit(steps: Sequence[Row]) -> float | None:
    """What may be refused."""
    limits = [row["limit"] for step in steps for row in step["checks"] if row["rule"].startswith("refused.ratio")]
    return min((limit for limit in limits if limit is not None), default=None)


def _points(kind: str, steps: Sequence[Row]) -> dict[str, Any]:
    """The steps of one kind with their intervals."""
    color, symbol, title = _KINDS[kind]
    ratios = [_ratio(step) for step in steps]
    values = [ratio or 0.0 for ratio, _, _ in ratios]
    lows = [value if low is None else low for value, (_, low, _) in zip(values, ratios, strict=True)]
    highs = [value if high is None else high for value, (_, _, high) in zip(values, ratios, strict=True)]
    pairs = list(zip(lows, highs, strict=True))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": title,
        "x": parts.numbers(step["rate"] for step in steps),
        "y": parts.numbers(values),
        "error_y": parts.error_bars(values, pairs, color),
        "customdata": [
            f"{told(step, 'metrics', 'requests', 'total') or 0:,} calls, 95 % interval {share_text(low)} to {share_text(high)}"
            for step, (low, high) in zip(steps, pairs, strict=True)
        ],
        "marker": {"color": color, "symbol": symbol, "size": 10, "line": {"width": 1.5, "color": color}},
        "cliponaxis": False,
        "hovertemplate": f"%{{x:,.1f}} calls/min: %{{y:.3~%}} refused<br>%{{customdata}}<extra>{title}</extra>",
    }


def _answered(answer: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The interval of the answer, the answer and the capacity as upright lines: shapes and annotations."""
    result, capacity = answer["result"], answer["capacity"]
    shapes: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    upright = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1}
    if result is not None:
        shapes.append(
            {"type": "rect", "x0": result["low"], "x1": result["high"], "fillcolor": parts.SHADE, "layer": "below"}
            | {"line": {"width": 0}}
            | upright
        )
        at = {"x0": result["rpm"], "x1": result["rpm"]}
        shapes.append({"type": "line", "line": parts.line(GREY, "solid", 1.5)} | at | upright)
        text = f"{number_text(result['rpm'])} calls/min"
        annotations.append(
            parts.label(text, xref="x", x=result["rpm"], yref="paper", y=1, xanchor="left", yanchor="top")
        )
    elif capacity is not None:
        at = {"x0": capacity["rpm"], "x1": capacity["rpm"]}
        shapes.append({"type": "line", "line": parts.line(GREY, "dot", 1.5)} | at | upright)
    return shapes, annotations


def _view(answer: Mapping[str, Any], steps: Sequence[Row]) -> dict[str, Any]:
    """The first view: near the answer, where rates that are far from it were tried too."""
    result = answer["result"]
    rates = [float(step["rate"]) for step in steps]
    if result is None or result["rpm"] <= 0:
        return {}
    low, high = result["rpm"] * (1 - _NARROW), result["rpm"] * (1 + _NARROW)
    if min(rates) >= low and max(rates) <= high:
        return {}
    return {"range": [parts.number(max(min(rates), low) * 0.98), parts.number(min(max(rates), high) * 1.02)]}


def _grey_said(result: Row | None) -> str:
    if result is None:
        return ""
    within = "its 95 % interval" if result["by"] == "curve" else "the rates between which it lies"
    return f"Line and grey: the answer, and {within}."


def _answer_said(result: Row | None) -> str:
    if result is None:
        return "No rate is known to pass."
    low, high = number_text(result["low"]), number_text(result["high"])
    how = "95 % interval" if result["by"] == "curve" else "between"
    return f"Highest rate that passes: {number_text(result['rpm'])} calls/min, {how} {low} to {high}."
