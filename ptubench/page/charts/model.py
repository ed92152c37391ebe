"""A chart as plain data: a plotly figure, and the same as a table.

Knows no page: `page.document` gives it its colours for light and dark, and puts REAL or SIMULATED on it.
"""

from dataclasses import dataclass
from typing import Any

Cell = str | float | int | None
"""Of a table; None for what was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart of a report.

    Texts are as they came from files and servers, except in `figure`, where `safe` has been applied to them, since
    plotly reads some HTML tags.
    """

    name: str
    """An id: lower-case letters, digits and dashes; unique within the functions that make charts of one document."""
    title: str
    description: str
    """One sentence: what it shows, with the figures that matter. Its accessible name."""
    figure: dict[str, Any]
    """{data, layout} for plotly: plain lists and numbers, without NaN, and without the colours of a theme."""
    header: tuple[str, ...]
    """Of the table, with units."""
    rows: list[tuple[Cell, ...]]
    note: str = ""
    """What a reader has to know: what was thinned, withheld or is an estimate; may be empty."""
