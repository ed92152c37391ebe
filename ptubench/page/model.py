"""A page as plain data: what it says, in which order; not how it looks.

All texts are plain: they may come from anywhere, and whatever they hold is shown and never obeyed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ptubench.page.charts.model import Cell, Chart

Tone = Literal["", "good", "warn", "bad"]
Kind = Literal["real", "simulated", "simulated, on a virtual clock", "real and simulated", ""]
"""Of what was measured (`compare.unlike.kind`); empty for what was only reckoned, as sizes by the formula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """The verdict, and why."""

    word: str
    text: str
    tone: Tone
    reasons: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A headline figure with its unit, and what it is part of."""

    label: str
    value: str
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What one must know to read the figures."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a header; the first cell of a row is its name."""

    title: str
    header: Sequence[str]
    """Of all columns; that of the first is often empty, since `title` says what the rows are."""
    rows: Sequence[Sequence[Cell]]
    numbers: Sequence[bool]
    """For each column, whether it is of numbers and stands on the right."""
    tones: Sequence[Sequence[Tone]] = ()
    """For each cell of each row; empty for none."""
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Sentences under a title."""

    title: str
    lead: str = ""
    items: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """Text to be copied: a command, or a file."""

    title: str
    text: str
    lead: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A run, a comparison, or what else one thing is told of."""

    name: str
    """An id: lower-case letters, digits and dashes; unique within the page."""
    title: str
    kind: Kind
    subtitle: str = ""
    banner: Banner | None = None
    short: Sequence[str] = ()
    """What all of it says, in plain sentences."""
    tiles: Sequence[Tile] = ()
    terms: Sequence[Fact] = ()
    """What the words of the tiles mean."""
    first: Sequence[Table] = ()
    """What is read before everything else, such as the checks."""
    facts: Sequence[Fact] = ()
    listings: Sequence[Listing] = ()
    snippets: Sequence[Snippet] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole report."""

    title: str
    sections: Sequence[Section] = field(default_factory=tuple)
    made: str = ""
    """What made it from what."""
