"""Text that is safe to show: no markup, no control characters, nothing that the console can't encode.

Every string that came from a server or a file goes through `clean`. Everything is shown as `rich.text.Text`,
which never reads markup, on a console that doesn't either. Knows no numbers and no layout.
"""

import os
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ptubench import inert

_PLAINER = {
    "–": "-",
    "—": "-",
    "…": "~",
    "µ": "u",
    "·": ".",
    "─": "=",
    "×": "x",
    "→": ">",
    "✓": "+",
    "✗": "!",
} | dict(zip("▁▂▃▄▅▆▇█", ".:-=+*#@", strict=True))


def clean(value: object, limit: int = 80) -> str:
    """`value` as `inert.line` shows it, in at most `limit` cells; a longer text keeps its beginning and its end."""
    text = str(value)
    if len(text) > 2 * limit:
        text = text[:limit] + text[-limit:]  # not one of the characters between could be shown
    # The quick way is for a million request ids: of printable ASCII every character is one cell that does nothing.
    text = inert.defused(text) if text.isascii() and text.isprintable() else inert.line(text)
    if len(text) <= limit and (text.isascii() or _cells(text) <= limit):
        return text
    tail = limit // 3
    return f"{_fitting(text, limit - tail - 1)}…{_fitting(text[::-1], tail)[::-1]}"


def _fitting(text: str, limit: int) -> str:
    """The longest beginning of at most `limit` cells and as many characters."""
    return text[: bisect_right(list(accumulate(map(cell_len, text[:limit]))), limit)]


def _cells(text: str) -> int:
    """Cells of each character by itself: never fewer than those of the text."""
    return sum(map(cell_len, text))


def untrusted(value: object, style: str = "", *, limit: int = 80) -> Text:
    """`clean(value)` as a renderable; an en dash for None."""
    return Text("–" if value is None else clean(value, limit), style=style)


def badge(kind: str, *, clock: str = "real") -> Text:
    """SIMULATED or REAL, and which clock: what nobody who looks at a number may overlook."""
    words, style = "REAL", "bold white on blue"
    if kind == "simulated":
        words = "SIMULATED, on a virtual clock" if clock == "virtual" else "SIMULATED"
        style = "bold black on yellow"
    return Text.assemble((f" {words} ", style))  # the words alone: what is appended has its own style


def sheet(title: str, *columns: str) -> Table:
    """An empty table: names on the left, numbers on the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(Text(title, style="bold not dim"), no_wrap=True)
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=True)
    return table


def facts(style: str = "dim") -> Table:
    """An empty grid: what it is on the left, in this style, and what is said of it on the right."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style=style)
    grid.add_column(overflow="fold")
    return grid


def bullets(sentences: Iterable[str], style: str = "") -> Table:
    """Sentences under each other, each behind a dash: the second line of one stands under its first."""
    grid = Table.grid(padding=(0, 1))
    for sentence in sentences:
        grid.add_row(Text("-", style=style), untrusted(sentence, style, limit=400))
    return grid


class _Console(Console):
    """A console whose reader may leave: rich would end the program then, as if it had crashed."""

    def on_broken_pipe(self) -> None:
        """Standard output is the business of whoever prints there."""
        if self.stderr:
            super().on_broken_pipe()
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A console for reports: markup is never read, and with `NO_COLOR` no style code is written at all."""
    return _Console(
        stderr=stderr,
        # NO_COLOR alone would leave rich's bold and dim codes in the output.
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        markup=False,
        emoji=False,
        highlight=False,
    )


@dataclass(frozen=True)
class Encodable:
    """Anything, with the characters that the console's encoding lacks replaced by plainer ones of the same width."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of `inner` without trailing blanks; rich itself chooses ASCII for boxes and rules."""
        for line in console.render_lines(self.inner, options, pad=False):
            yield from _ended([_in_encoding(segment, options) for segment in line])
            yield Segment.line()


def _in_encoding(segment: Segment, options: ConsoleOptions) -> Segment:
    """`segment` in characters that the console has."""
    if not options.ascii_only:
        return segment
    return segment._replace(text="".join(_plain(character, options.encoding) for character in segment.text))


def _ended(line: list[Segment]) -> list[Segment]:
    """`line` up to its last character that is no blank."""
    while line and not line[-1].text.strip():
        line.pop()
    if line:
        line[-1] = line[-1]._replace(text=line[-1].text.rstrip())
    return line


@cache
def _plain(character: str, encoding: str) -> str:
    """`character` if it can be encoded, else what stands for it."""
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _PLAINER.get(character, "?" * cell_len(character))
    return character
