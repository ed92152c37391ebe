"""Several runs in one chart: their distributions over each other, and their differences from the baseline with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptubench.analysis import requests as per_request
from ptubench.analysis import series
from ptubench.analysis.columns import Run
from ptubench.analysis.metrics import due
from ptubench.page.charts import distribution, parts
from ptubench.page.charts.distribution import NAMES, Drawn
from ptubench.page.charts.model import Chart
from ptubench.page.charts.parts import GREEN, GREY, RED, STYLES, Style

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORDS = {
    "better": Style(GREEN, "solid", "triangle-up"),
    "worse": Style(RED, "solid", "triangle-down"),
    "no difference shown": Style(GREY, "solid", "circle-open"),
    "not comparable": Style(GREY, "solid", "x-thin-open"),
}
_LEFT_OUT = ("utilization.", "tpm.of_published")
"""The same again as another figure, in other units."""
_SCALES = {"relative": "difference, % of A", "points": "difference, points"}
_UNITS = {"relative": "%", "points": " pt"}
_COLUMNS = ("change", "95 % low", "95 % high", "relative change", "verdict")
_ROW, _GAP, _BESIDE = 22, 76, 110
"""Pixels: of a metric, between two panels, and above and below all."""


def of_runs(
    runs: Sequence[Run],
    windows: Sequence[tuple[float, float]],
    names: Sequence[str],
    document: Mapping[str, Any] | None = None,
) -> list[Chart]:
    """The charts of a comparison, the baseline first.

    Args:
        runs: the runs.
        windows: of each, in seconds.
        names: what each is called, such as its label; `A`, `B`… are put before them.
        document: of `compare.runs`; without it, as of runs that can't be compared, there are no differences.
    """
    titles = [f"{LETTERS[place % 26]} {name}".strip() for place, name in enumerate(names)]
    offered = [
        due(per_request.requests(run.attempts, run.drops, streams=run.head.workload.stream), (window[0], window[1]))
        for run, window in zip(runs, windows, strict=True)
    ]
    charts: list[Chart | None] = []
    for name in ("ttft", "e2e"):
        drawn = [
            Drawn(title, series.curve(distribution.of_target(one, name)), STYLES[place % len(STYLES)])
            for place, (title, one) in enumerate(zip(titles, offered, strict=True))
        ]
        charts.append(
            distribution.ecdf(
                f"compare-{name}", f"{NAMES[name]} of the runs", drawn, subject=f"{NAMES[name]} of each run"
            )
        )
    if document is not None:
        charts += [_forest(document["metrics"], number, titles) for number in range(1, len(runs))]
    return [chart for chart in charts if chart is not None]


def _forest(metrics: Sequence[Mapping[str, Any]], number: int, titles: Sequence[str]) -> Chart | None:
    """The differences of one run from the baseline, each with its 95 % interval; None where nothing can be said."""
    rows = {row["name"]: row for row in metrics if row["run"] == number}
    known = [row for name, row in rows.items() if not _repeats(name, rows)]
    shown = [row for row in known if _told(row)]
    never = [f"{row['name']} ({row['word']})" for row in known if any(row["unanswered"]) and row not in shown]
    if not shown:
        return None
    letter = LETTERS[number % 26]
    words = [row["word"] for row in shown]
    counted = [f"{words.count(word)} {word}" for word in _WORDS if word in words]
    return Chart(
        name=f"differences-{letter.lower() if number < len(LETTERS) else number + 1}",
        title=f"{letter} against {LETTERS[0]}: differences",
        description=f"Differences of {titles[number]} from {titles[0]} with 95 % intervals: {', '.join(counted)}.",
        figure=_panels(shown),
        header=("metric", "unit", titles[0], titles[number], *_COLUMNS),
        rows=[_cells(row) for row in rows.values()],
        note=parts.sentences(
            "Bars: 95 % intervals of the difference; one that crosses 0 shows no difference.",
            "An interval without an end, as where calls were never answered, goes to the edge."
            if any(None in _interval(row) for row in shown)
            else "",
            f"Not drawn, because one of the runs never answered there: {', '.join(never)}." if never else "",
            "Each metric counts by itself: among many, about one in twenty differs by chance.",
        ),
    )


def _panels(shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Differences in per cent above those in points, as they share no axis: the figure."""
    scales = [scale for scale in _SCALES if any(_scale(row) == scale for row in shown)]
    height = _ROW * len(shown) + _GAP * (len(scales) - 1)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    top, seen = 1.0, set[str]()
    for mark, scale in zip(("", "2"), scales, strict=False):
        of = [row for row in shown if _scale(row) == scale]
        low = max(0.0, top - _ROW * len(of) / height)
        unit = {"ticksuffix": _UNITS[scale], "zeroline": True, "zerolinewidth": 2}
        layout[f"xaxis{mark}"] = parts.axis(_SCALES[scale], anchor=f"y{mark}", **unit)
        layout[f"yaxis{mark}"] = _names(of, anchor=f"x{mark}", domain=(low, top))
        for word, style in _WORDS.items():
            chosen = [row for row in of if row["word"] == word]
            if chosen:
                data.append(_differences(chosen, word, style, mark=mark, ends=_ends(of), legend=word not in seen))
                seen.add(word)
        top = low - _GAP / height
    return parts.figure(data, height=height + _BESIDE, hovermode="closest", **layout)


def _names(of: Sequence[Mapping[str, Any]], *, anchor: str, domain: tuple[float, float]) -> dict[str, Any]:
    """The axis of the metrics, the first on top."""
    return {
        "domain": parts.numbers(domain),
        "anchor": anchor,
        "type": "category",
        "categoryorder": "array",
        "categoryarray": [row["name"] for row in reversed(of)],
        "range": [-0.6, len(of) - 0.4],
        "dtick": 1,  # each of them, also on a phone
        "automargin": True,
        "tickfont": {"size": 11},
    }


def _told(row: Mapping[str, Any]) -> bool:
    """Whether there is a difference to draw: not where there is no value, or always none of it."""
    if row["change"] is None or _scale(row) is None or row["name"].startswith(_LEFT_OUT):
        return False
    return bool(any(row["values"]))


def _repeats(name: str, rows: Mapping[str, Any]) -> bool:
    """Without reasoning the first output is the first content, without retries every refused call throttled: the same twice."""
    twin = name.replace("ttfo", "ttft").replace("throttled", "refused")
    return twin != name and twin in rows and rows[twin]["values"] == rows[name]["values"]


def _scale(row: Mapping[str, Any]) -> str | None:
    if row["relative"] is not None and row["relative"]["change"] is not None:
        return "relative"
    return "points" if row["unit"] == "share" else None


def _interval(row: Mapping[str, Any]) -> tuple[float | None, float, float | None]:
    """Low, change and high in per cent or points."""
    of = row["relative"] if _scale(row) == "relative" else row
    low, high = (None if of[part] is None else 100 * float(of[part]) for part in ("low", "high"))
    return low, 100 * float(of["change"]), high


def _ends(of: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Where an interval without an end is drawn to."""
    told = [value for row in of for value in _interval(row) if value is not None]
    reach = 1.2 * max(*map(abs, told), 1e-9)
    return -reach, reach


def _differences(
    of: Sequence[Mapping[str, Any]], word: str, style: Style, *, mark: str, ends: tuple[float, float], legend: bool
) -> dict[str, Any]:
    """The differences that have one word."""
    intervals = [_interval(row) for row in of]
    lows = [change - (ends[0] if low is None else low) for low, change, _ in intervals]
    highs = [(ends[1] if high is None else high) - change for _, change, high in intervals]
    unit = _UNITS[_scale(of[0]) or "points"]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": word,
        "legendgroup": word,
        "showlegend": legend,
        "xaxis": f"x{mark}",
        "yaxis": f"y{mark}",
        "x": parts.numbers(change for _, change, _ in intervals),
        "y": [row["name"] for row in of],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": parts.numbers(np.maximum(highs, 0)),
            "arrayminus": parts.numbers(np.maximum(lows, 0)),
            "color": style.color,
            "thickness": 2,
            "width": 5,
        },
        "marker": {
            "color": style.color,
            "symbol": style.symbol,
            "size": 10,
            "line": {"width": 1.5, "color": style.color},
        },
        "customdata": [_said(interval, unit) for interval in intervals],
        "hovertemplate": f"%{{y}}: %{{customdata}}<extra>{word}</extra>",
    }


def _said(interval: tuple[float | None, float, float | None], unit: str) -> str:
    low, change, high = interval
    ends = ["no end" if end is None else f"{end:+.2f}{unit}" for end in (low, high)]
    return f"{change:+.2f}{unit}, 95 % interval {ends[0]} to {ends[1]}"


def _cells(row: Mapping[str, Any]) -> tuple[Any, ...]:
    values = [
        "never answered" if never else value for value, never in zip(row["values"], row["unanswered"], strict=True)
    ]
    relative = (
        None
        if row["relative"] is None or row["relative"]["change"] is None
        else f"{100 * row['relative']['change']:+.2f} %"
    )
    word = row["word"] if row["why"] is None else f"{row['word']}: {row['why']}"
    return (row["name"], row["unit"], *values, row["change"], row["low"], row["high"], relative, word)
