"""Calls over time with their 429s."""

from typing import Any

from ptubench.analysis import series
from ptubench.analysis.columns import Ints, Run
from ptubench.analysis.rates import Grid
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
    found = series.calls(run, requests, finished=finished)
    grid = found.grid
    # Without a 429 its legend says so.
    stack = [(look, found.sent[name]) for name, look in _SENT.items() if found.sent[name].any() or name == "throttled"]
    stack += [(_DROPPED, found.dropped)] if found.dropped.any() else []
    over = [(Look("offered", GREEN), found.offered, "solid")]
    over += [(Look("diverted to the second target", PURPLE), found.diverted, "dot")] if found.diverted.any() else []
    columns = {look.title: counts for look, counts, _ in over} | {"admitted": found.admitted}
    columns |= {look.title: counts for look, counts in stack}
    rows: list[tuple[Cell, ...]] = [
        (clock.text(start), *(int(counts[step]) for counts in columns.values()))
        for step, start in enumerate(steps.starts(grid))
    ]
    return Chart(
        name="calls",
        title="Calls over time",
        description=_said(found, len(requests), finished),
        figure=parts.figure(
            [*(_bars(grid, clock, *one) for one in stack), *(_levels(grid, clock, *one) for one in over)],
            xaxis=clock.axis(0.0, finished),
            yaxis=parts.axis("calls per minute", rangemode="tozero"),
            hovermode="x unified",
            **parts.phases(clock, window, finished),
        ),
        header=("from (UTC)", *columns),
        rows=parts.thinned(rows),
        note=parts.sentences(
            f"Each bar is {duration_text(grid.width)}, as a rate per minute; in brackets and in the table the calls themselves.",
            "Bars are attempts by the time they were sent, so that retries stand above what was offered.",
            parts.window_note(window, finished),
            parts.thinned_note(rows),
        ),
    )


def _bars(grid: Grid, clock: Clock, look: Look, counts: Ints) -> dict[str, Any]:
    x = [clock.at(start) for start in steps.starts(grid)]
    drawn = steps.bars(x, counts * (60 / grid.width), look, _HOVER, width=grid.width, begin=True)
    return drawn | {"customdata": counts.tolist()}


def _levels(grid: Grid, clock: Clock, look: Look, counts: Ints, dash: str) -> dict[str, Any]:
    drawn = steps.levels(grid, clock, counts * (60 / grid.width), look, _HOVER, dash=dash)
    return drawn | {"customdata": [*counts.tolist(), int(counts[-1])]}


def _said(found: series.Calls, offered: int, finished: float) -> str:
    refused = int(found.sent["throttled"].sum())
    answered = f"{parts.count_text(refused, 'attempt')} answered 429" if refused else "no 429"
    return (
        f"{parts.count_text(offered)} offered over {duration_text(round(finished))}, {answered}; calls per minute by what became "
        f"of them, in steps of {duration_text(found.grid.width)}."
    )
