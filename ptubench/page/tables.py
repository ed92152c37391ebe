"""The tables of the terminal, as tables of a page: the same rows in the same words, told in one place.

Reads rich's tables cell by cell; what stands between them becomes a note under the one before. Knows no numbers.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text

from ptubench.page.model import Table, Tone
from ptubench.report.text import Encodable

_TONES: dict[str, Tone] = {"green": "good", "yellow": "warn", "red": "bad"}
_WIDE = 200
"""Cells: wide enough that nothing is left out."""


def tables(shown: Iterable[RenderableType | None]) -> list[Table]:
    """The tables in what `report` has made, in order; None is nothing."""
    console = Console(width=_WIDE, file=io.StringIO(), color_system=None)
    found: list[Table] = []
    for part in (part for one in shown if one is not None for part in _parts(one, console)):
        if isinstance(part, RichTable):
            found.append(_table(part))
        elif part.plain.strip():
            _add(found, part)
    return found


def _parts(shown: RenderableType, console: Console) -> Iterator[RichTable | Text]:
    """Tables and texts, out of whatever holds them."""
    if isinstance(shown, RichTable | Text):
        yield shown
    elif isinstance(shown, Group):
        for inner in shown.renderables:
            yield from _parts(inner, console)
    elif isinstance(shown, Encodable):
        yield from _parts(shown.inner, console)
    elif hasattr(shown, "__rich_console__"):
        made: Iterable[Any] = shown.__rich_console__(console, console.options)
        for inner in made:
            yield from _parts(inner, console)


def _table(table: RichTable) -> Table:
    """One table: the header of its first column is its title."""
    title, *header = (_plain(column.header) if table.show_header else "" for column in table.columns)
    lines = list(zip(*(column.cells for column in table.columns), strict=True))
    return Table(
        title=title,
        header=("", *header),
        rows=[[_plain(cell) for cell in line] for line in lines],
        numbers=[column.justify == "right" for column in table.columns],
        tones=[
            [_tone(row.style) or _tone(cell.style if isinstance(cell, Text) else None) for cell in line]
            for row, line in zip(table.rows, lines, strict=True)
        ],
    )


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def _tone(style: str | Style | None) -> Tone:
    """What a colour says."""
    return next((tone for color, tone in _TONES.items() if color in str(style or "").split()), "")


def _add(found: list[Table], text: Text) -> None:
    """A text between tables: a note under the one before."""
    if found:
        before = found[-1]
        found[-1] = replace(before, notes=(*before.notes, *text.plain.strip().splitlines()))
