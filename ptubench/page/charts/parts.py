"""What all charts share: colours by meaning, axes with units, texts that plotly can't obey, times as UTC.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with any kind of colour vision can tell
apart; the blue is lighter, so that it shows on dark as well as on light. A dash, a symbol or a pattern says the same again.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptubench import inert
from ptubench.page.charts.model import Cell
from ptubench.units import number_text, seconds_text

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#1F83C7",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#8C8C8C",
)
SHADE = "rgba(128,128,128,0.14)"
MOST_ROWS = 240
"""Of a chart's table."""
_ROOM, _ROOM_ON_A_PHONE = 0.06, 0.2
"""Share of an axis from which a phase has room for its name."""
_A_DAY = 86_400.0
_LAST_YEAR = 253_402_214_400.0  # 9999-12-31, UTC


class Style(NamedTuple):
    """How one of several runs is drawn."""

    color: str
    dash: str
    symbol: str


STYLES = (
    Style(BLUE, "solid", "circle"),
    Style(ORANGE, "dash", "square"),
    Style(GREEN, "dot", "diamond"),
    Style(PURPLE, "dashdot", "triangle-up"),
    Style(SKY, "longdash", "triangle-down"),
    Style(RED, "longdashdot", "x"),
)


def safe(value: object, limit: int = 60) -> str:
    """A text of others for plotly, which reads a few HTML tags: on one line, nothing of it a tag or an entity."""
    text = inert.line(str(value)[: 4 * limit])
    return html.escape(text if len(text) <= limit else f"{text[: limit - 1]}…", quote=False)


def number(value: Any) -> float | None:
    """A number for JSON at six digits; None for NaN and infinity."""
    found = float(value)
    return float(f"{found:.6g}") if math.isfinite(found) else None


def numbers(values: Iterable[Any]) -> list[float | None]:
    """The same of each."""
    return [number(value) for value in values]


def thinned(rows: Sequence[tuple[Cell, ...]], most: int = MOST_ROWS) -> list[tuple[Cell, ...]]:
    """At most `most` of the rows, evenly chosen, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]


def thinned_note(rows: Sequence[Any], most: int = MOST_ROWS) -> str:
    """That not all rows are in the table, if so."""
    return f"The table has {most} of {len(rows):,} points." if len(rows) > most else ""


def sentences(*parts: str) -> str:
    """Those that are not empty, as one text."""
    return " ".join(part for part in parts if part)


# --- time -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clock:
    """Moments of a run as plotly's dates, which are milliseconds since the epoch and shown as UTC."""

    started: float
    """Seconds since the epoch."""
    virtual: bool = False
    days: bool = False
    """Whether a time alone does not say which day."""

    def at(self, seconds: float) -> float:
        """A moment, in milliseconds since the epoch."""
        return float(round((self.started + seconds) * 1000))

    def all_at(self, seconds: NDArray[Any]) -> list[float]:
        """The same of many."""
        return [float(at) for at in np.round((self.started + seconds) * 1000)]

    def text(self, seconds: float) -> str:
        """A moment as HH:MM:SS, with its day before it where that is needed."""
        moment = datetime.fromtimestamp(self.started + seconds, UTC)
        return moment.strftime("%d %b %H:%M:%S" if self.days else "%H:%M:%S")

    def axis(self, start: float, end: float) -> dict[str, Any]:
        """The axis of moments between two of them."""
        beside = 0.01 * (end - start)
        day = "%d %b " if self.days else ""
        return {
            "title": {"text": "UTC, on a virtual clock" if self.virtual else "UTC", "standoff": 8},
            "range": [self.at(start - beside), self.at(end + beside)],
            "type": "date",
            "hoverformat": f"{day}%H:%M:%S UTC",
            "tickformatstops": [
                {"dtickrange": [None, 1000], "value": "%H:%M:%S.%L"},
                {"dtickrange": [1000, 60_000], "value": "%H:%M:%S"},
                {"dtickrange": [60_000, 86_400_000], "value": "%H:%M\n%d %b" if self.days else "%H:%M"},
                {"dtickrange": [86_400_000, None], "value": "%d %b"},
            ],
        }


def clock_of(started_unix: float, *, virtual: bool, lasts: float) -> Clock:
    """The clock of a run; one that no calendar has, as of a damaged file, begins with the epoch.

    Args:
        started_unix: seconds since the epoch.
        virtual: whether it was run on the virtual clock.
        lasts: seconds.
    """
    told = isinstance(started_unix, int | float) and 0 <= started_unix <= _LAST_YEAR
    return Clock(float(started_unix) if told else 0.0, virtual, days=lasts > _A_DAY)


# --- layout -----------------------------------------------------------------------------------------------------------


def figure(data: list[dict[str, Any]], *, height: int = 380, **layout: Any) -> dict[str, Any]:
    """A figure with the layout that all share, and its own."""
    shared = {
        "height": height,
        "margin": {"l": 72, "r": 24, "t": 48, "b": 56},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        "hovermode": "x unified",
        "barmode": "stack",
        "bargap": 0,
    }
    return {"data": data, "layout": shared | layout}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis; wide numbers get room."""
    return {"title": {"text": title, "standoff": 8}, "automargin": True} | more


def seconds_axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis of times from 0: 300ms, 1.5s."""
    return axis(title, tickformat="~s", ticksuffix="s", hoverformat=".3s", rangemode="tozero", **more)


def log_seconds_axis(title: str, values: Sequence[float], **more: Any) -> dict[str, Any]:
    """A logarithmic axis of times, its marks as close as the span of the values asks for."""
    low, high = min(values), max(values)
    steps = next(steps for most, steps in _LOG_STEPS if high <= low * most)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    marks = [step * 10.0**decade for decade in decades for step in steps]
    beyond = 0.02 * max(math.log10(high / low), 0.1)
    view = [number(math.log10(low) - beyond), number(math.log10(high) + beyond)]
    ticks = {"tickvals": numbers(marks), "ticktext": [_tick(mark) for mark in marks]}
    return axis(title, type="log", range=view, hoverformat=".3s", **ticks, **more)


_LOG_STEPS = (
    (2.5, (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)),
    (8.0, (1, 1.5, 2, 3, 4, 5, 7)),
    (300.0, (1, 2, 5)),
    (math.inf, (1,)),
)


def _tick(seconds: float) -> str:
    """A time without needless zeros: 1.5 s, 200 ms."""
    scale, unit = next(
        (scale, unit) for scale, unit in ((1.0, "s"), (1e-3, "ms"), (0.0, "µs")) if seconds >= 0.9999 * scale
    )
    return f"{seconds / (scale or 1e-6):.4g} {unit}"


def share_axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis of shares as percentages, from 0."""
    return axis(title, tickformat=".3~%", rangemode="tozero", **more)


def line(color: str, dash: str = "solid", width: float = 2, **more: Any) -> dict[str, Any]:
    """A line."""
    return {"color": color, "dash": dash, "width": width} | more


def error_bars(values: Sequence[float], intervals: Iterable[Sequence[float]], color: str) -> dict[str, Any]:
    """Of points whose intervals are (low, high): plotly wants the distances, which rounding may make negative."""
    around = [
        (max(0.0, value - low), max(0.0, high - value)) for value, (low, high) in zip(values, intervals, strict=True)
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": numbers(above for _, above in around),
        "arrayminus": numbers(below for below, _ in around),
        "color": color,
        "thickness": 1.5,
    }


def level(value: float, ends: tuple[float, float], title: str, hover: str = "") -> dict[str, Any]:
    """A limit as a line right across, which the legend names.

    Args:
        value: its height.
        ends: where it begins and ends.
        title: of the legend.
        hover: what is said on hover; nothing by default.
    """
    said = {"hovertemplate": f"{hover}<extra>{title}</extra>"} if hover else {"hoverinfo": "skip"}
    return {
        "type": "scatter",
        "mode": "lines",
        "name": title,
        "x": list(ends),
        "y": [number(value)] * 2,
        "line": line(RED, "longdash", 1.5),
    } | said


def label(text: str, **place: Any) -> dict[str, Any]:
    """A text without an arrow."""
    return {"text": text, "showarrow": False, "font": {"size": 11}} | place


def phases(clock: Clock, window: tuple[float, float], finished: float) -> dict[str, Any]:
    """What lies beside the window in grey, with its name: {shapes, annotations}."""
    parts = [("warm-up", 0.0, window[0]), ("drain", window[1], finished)]
    # A name needs room.
    shown = [(name, low, high) for name, low, high in parts if high > low]
    named = [(name, low, high) for name, low, high in shown if high - low > _ROOM * finished]
    return {
        "shapes": [
            {
                "type": "rect",
                "xref": "x",
                "x0": clock.at(low),
                "x1": clock.at(high),
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "fillcolor": SHADE,
                "line": {"width": 0},
                "layer": "below",
            }
            for _, low, high in shown
        ],
        "annotations": [
            label(name, xref="x", x=clock.at((low + high) / 2), yref="paper", y=1, yanchor="top")
            # So the page knows which to leave out on a phone.
            | {"name": "phase" if high - low > _ROOM_ON_A_PHONE * finished else "short-phase"}
            for name, low, high in named
        ],
    }


def window_note(window: tuple[float, float], finished: float) -> str:
    """What the grey means, if there is any."""
    parts = ["warm-up"] if window[0] > 0 else []
    parts += ["drain"] if finished > window[1] else []
    return f"Grey: {' and '.join(parts)}, which the figures of the run leave out." if parts else ""


# --- words ------------------------------------------------------------------------------------------------------------


def time_cell(value: float | None) -> str | None:
    """A time for a table, with its unit."""
    return None if value is None else seconds_text(value)


def percent(share: float) -> str:
    """A share as it was written: 1 %, 99.95 %."""
    return f"{100 * share:.6g} %"


def count_text(count: int, what: str = "call") -> str:
    """A count of things: `1 call`, `1,234 calls`."""
    return f"{number_text(count)} {what}{'' if count == 1 else 's'}"


def told(mapping: Mapping[str, Any], *path: str) -> Any:
    """What stands under a path of keys; None where anything on it is missing."""
    found: Any = mapping
    for key in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found
