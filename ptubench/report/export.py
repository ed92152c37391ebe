"""Runs as CSV, one row per attempt or per step of the timeline: for pandas, DuckDB and spreadsheets.

RFC 4180 in UTF-8: a header, lines that end with CRLF, quotes where they are needed. What there is not is an empty field.
Attempts are read and written line by line, so that a million of them need no more memory than ten.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from ptubench.record import Attempt, Dropped, Head, Line
from ptubench.report.csv_columns import ATTEMPTS, TIMELINE, Column, Context, Value
from ptubench.report.text import clean

_FORMULAS = ("=", "+", "-", "@")
"""First characters of a text that a spreadsheet would compute (OWASP, "CSV Injection")."""
_Field = str | int | float | None
_LONGEST = 300
_AT_ONCE = 1000
"""Rows that are handed on together."""


def header(columns: Sequence[Column]) -> str:
    """The first line."""
    return _text([[column.name for column in columns]])


def attempts(lines: Iterable[Line], window: Sequence[float]) -> Iterator[str]:
    """The rows of a run's attempts and of what was dropped, in the order of the file; a piece of text at a time.

    Args:
        lines: of a run file, the head first.
        window: [from, to) in seconds, as in the summary.
    """
    lines = iter(lines)
    of = _context(next(lines), window)
    rows = (line for line in lines if isinstance(line, Attempt | Dropped))
    while part := list(islice(rows, _AT_ONCE)):
        yield _text([_row(line, of) for line in part])


def timeline(head: Head, summary: dict[str, Any]) -> str:
    """The rows of a run's timeline."""
    of = _context(head, summary["run"]["window_s"])
    return _text([_field(column.of(step, of)) for column in TIMELINE] for step in summary["timeline"])


def _context(head: Line, window: Sequence[float]) -> Context:
    assert isinstance(head, Head)  # noqa: S101 - what comes first
    return Context(head, (window[0], window[1]))


def _row(line: Attempt | Dropped, of: Context) -> list[_Field]:
    if isinstance(line, Attempt):
        return [_field(column.of(line, of)) for column in ATTEMPTS]
    return [_field(column.of(line, of)) if column.dropped else None for column in ATTEMPTS]


def _text(rows: Iterable[Sequence[_Field]]) -> str:
    """Rows as CSV, which writes numbers with all of their digits and None as nothing."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _field(value: Value) -> _Field:
    if value is True or value is False:
        return "true" if value else "false"
    return _inert(value) if type(value) is str else value


@lru_cache
def _inert(text: str) -> str:
    """A text on one line, and nothing that a terminal obeys or a spreadsheet computes."""
    text = clean(text, _LONGEST)
    return f"'{text}" if text.lstrip().startswith(_FORMULAS) else text
