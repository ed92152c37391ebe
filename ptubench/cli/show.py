"""Results on standard output: as tables, or as exactly one JSON document."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ptubench.errors import MeasurementLost

_PATIENCE = 2.0
"""Seconds after which progress is said."""
_WIDEST = 120
"""Columns: longer lines of prose are hard to read, and no table needs more."""
_OBEYED = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]|#(?=#\\w*\\[)")
"""What JSON lets stand and others obey: terminals more control characters and changes of direction, build servers `##vso[`."""


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
    safe = _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
    with _written():
        sys.stdout.buffer.write(safe.encode() + b"\n")
        sys.stdout.flush()


def print_text(text: str, more: Iterable[str] = ()) -> None:
    """Print texts that end their own lines, such as CSV, as they are; of `more` no more is made than is read."""
    with _written():
        sys.stdout.buffer.write(text.encode())
        for part in more:
            sys.stdout.buffer.write(part.encode())
        sys.stdout.flush()


def print_view(view: Any) -> None:
    """Print what `report` has made for people."""
    from ptubench.report import text

    console = text.console()
    with _written():
        console.print(view, width=min(console.width, _WIDEST))


@contextlib.contextmanager
def said_later() -> Iterator[Callable[[str], None]]:
    """What is being done goes to standard error once it has taken a while."""
    from ptubench.report import text

    doing = [""]
    console = text.console(stderr=True)

    def say() -> None:
        if doing[0]:
            console.print(text.untrusted(doing[0], limit=200), soft_wrap=True)

    timer = threading.Timer(_PATIENCE, say)
    timer.daemon = True

    def step(what: str) -> None:
        doing[0] = what
        if timer.finished.is_set():
            say()

    timer.start()
    try:
        yield step
    finally:
        timer.cancel()


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
