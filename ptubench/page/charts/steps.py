"""What happened in steps of time, as bars on each other, or as a line."""

from typing import Any, NamedTuple

from ptubench.analysis.columns import Floats
from ptubench.analysis.rates import Grid
from ptubench.page.charts import parts
from ptubench.page.charts.parts import Clock


class Look(NamedTuple):
    """How one kind is drawn: its name, its colour, and a pattern that tells it apart without colour."""

    title: str
    color: str
    pattern: str = ""


def starts(grid: Grid) -> list[float]:
    """When each step begins, in seconds since the start of the run."""
    return [grid.start + grid.width * step for step in range(grid.bins)]


def end(grid: Grid) -> float:
    """When the last step ends."""
    return grid.start + grid.width * grid.bins


def bars(x: list[float], values: Any, look: Look, hover: str, *, widths: Floats) -> dict[str, Any]:
    """A bar for each step.

    Args:
        x: milliseconds since the epoch, of the middle of each step.
        values: their heights.
        look: how they are drawn.
        hover: what is said on hover.
        widths: of each, in seconds.
    """
    return {
        "type": "bar",
        "name": look.title,
        "x": x,
        "y": parts.numbers(values),
        "width": parts.numbers(widths * 1000),
        "offset": parts.numbers(widths * -500),
        "marker": {
            "color": look.color,
            "line": {"width": 0},
            "pattern": {"shape": look.pattern, "fillmode": "overlay", "size": 7, "solidity": 0.25, "fgopacity": 0.4},
        },
        "hovertemplate": f"{hover}<extra>{look.title}</extra>",
    }


def levels(edges: Floats, clock: Clock, values: Any, look: Look, hover: str, *, dash: str = "solid") -> dict[str, Any]:
    """A line with a level for each step; the last one goes to its end."""
    held = parts.numbers(values)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": look.title,
        "x": clock.all_at(edges),
        "y": [*held, held[-1]],
        "line": parts.line(look.color, dash, 2, shape="hv"),
        "hovertemplate": f"{hover}<extra>{look.title}</extra>",
    }
