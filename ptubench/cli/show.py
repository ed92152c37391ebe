"""Results on standard output: as tables, or as exactly one JSON document."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from ptubench.errors import MeasurementLost

_NOT_FOR_TERMINALS = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that JSON lets stand and terminals obey: more control characters, and changes of direction."""


def show(summary: dict[str, Any], *, as_json: bool) -> None:
    """Print a summary."""
    if as_json:
        print_json(summary)
        return
    from ptubench.report import table

    print_view(table.render(summary))


def show_later(first: dict[str, Any], summary: dict[str, Any]) -> None:
    """Print what has come since the `first` summary was shown: Azure Monitor's figures, and all again if they change more."""
    from ptubench.report import azure, text

    same = first["validity"]["verdict"] == summary["validity"]["verdict"] and first["checks"] == summary["checks"]
    if same and (section := azure.monitor(summary)) is not None:
        print_view(text.Encodable(section))
    else:
        show(summary, as_json=False)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    import msgspec

    document = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    safe = _NOT_FOR_TERMINALS.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
    with _written():
        sys.stdout.buffer.write(safe.encode() + b"\n")
        sys.stdout.flush()


def print_text(text: str) -> None:
    """Print a text that ends its own lines, such as CSV, as it is."""
    with _written():
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()


def print_view(view: Any) -> None:
    """Print what `report` has made for people."""
    from ptubench.report import text

    with _written():
        text.console().print(view)


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Say that standard output can't be written; a reader that has left, as `head` does, is no news."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as exc:
        raise MeasurementLost(
            f"standard output can't be written ({exc.strerror}); a run is kept in its file: see `ptubench report`"
        ) from None
