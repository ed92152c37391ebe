"""Calls over time with their 429s."""

from typing import Any

import numpy as np

from ptubench.analysis import series
from ptubench.analysis.columns import Floats, Ints, Run
from ptubench.analysis.requests import Requests
from ptubench.page.charts import parts, steps
from ptubench.page.charts.model import Cell, Chart
from ptubench.page.charts.parts import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, Clock
from ptubench.page.charts.steps import Look
from ptubench.units import duration_text

_SENT = {
    "ok": Look("answered", BLUE),
    "spilled": Look("answered elsewhere (spilled)", SKY, "\\"),
    "failed": Look("failed", RED, "x"),
    "cut": Look("cut off", PURPLE, "."),
    "throttled": Look("429", ORANGE, "/"),
}
"""From the bottom of the stack: what was admitted, then what was not."""
_DROPPED = Look("dropped, never sent", GREY, "-")
_HOVER = "%{y:,.4~g} calls/min (%{customdata:,})"


def calls(run: Run, requests: Requests, *, clock: Clock, window: tuple[float, float], finished: float) -> Chart | None:
    """Attempts a minute by what became of them, and what was offered; None where nothing was."""
    if not len(requests):
        return None
    found = series.calls(run, requests, load_end=window[1], finished=finished)
    edges = found.edges
    # Without a 429 its legend says so.
    stack = [(look, found.sent[name]) for name, look in _SENT.items() if found.sent[name].any() or name == "throttled"]
    stack += [(_DROPPED, found.dropped)] if found.dropped.any() else []
    over = [(Look("offered", GREEN), found.offered, "solid")]
    over += [(Look("diverted to the second target", PURPLE), found.diverted, "dot")] if found.diverted.any() else []
    columns = {look.title: counts for look, counts, _ in over} | {"admitted": found.admitted}
    columns |= {look.title: counts for look, counts in stack}
    rows: list[tuple[Cell, ...]] = [
        (clock.text(start), *(int(counts[step]) for counts in columns.values()))
        for step, start in enumerate(edges[:-1].tolist())
    ]
    return Chart(
        name="calls",
        title="Calls over time",
        description=_said(found, len(requests), window[1]),
        figure=parts.figure(
            [*(_bars(edges, clock, *one) for one in stack), *(_levels(edges, clock, *one) for one in over)],
            xaxis=clock.axis(0.0, finished),
            yaxis=parts.axis("calls per minute", rangemode="tozero"),
            hovermode="x unified",
            **parts.phases(clock, window, finished),
        ),
        header=("from (UTC)", *columns),
        rows=parts.thinned(rows),
        note=parts.sentences(
            f"Each bar is {duration_text(found.width)}, the last one up to the end of the load, as a rate per minute; in brackets and in "
            "the table the calls themselves.",
            "Bars are attempts by the time they were sent, so that retries stand above what was offered.",
            parts.window_note(window, finished),
            parts.thinned_note(rows),
        ),
    )


def _bars(edges: Floats, clock: Clock, look: Look, counts: Ints) -> dict[str, Any]:
    widths = np.diff(edges)
    drawn = steps.bars(clock.all_at(edges[:-1] + widths / 2), counts * 60 / widths, look, _HOVER, widths=widths)
    return drawn | {"customdata": counts.tolist()}


def _levels(edges: Floats, clock: Clock, look: Look, counts: Ints, dash: str) -> dict[str, Any]:
    drawn = steps.levels(edges, clock, counts * 60 / np.diff(edges), look, _HOVER, dash=dash)
    return drawn | {"customdata": [*counts.tolist(), int(counts[-1])]}


def _said(found: series.Calls, offered: int, load_end: float) -> str:
    refused = int(found.sent["throttled"].sum())
    answered = f"{parts.count_text(refused, 'attempt')} answered 429" if refused else "no 429"
    return (
        f"{parts.count_text(offered)} offered over {duration_text(round(load_end))}, {answered}; calls per minute by what became "
        f"of them, in steps of {duration_text(found.width)}."
    )
