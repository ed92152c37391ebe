"""Results on standard output: as tables, or as exactly one JSON document."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import sys
from typing import Any


def show(summary: dict[str, Any], *, as_json: bool) -> None:
    """Print a summary."""
    if as_json:
        print_json(summary)
        return
    from ptubench.report import table, text

    text.console().print(table.render(summary))


def print_json(value: Any) -> None:
    """Print one JSON document."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.flush()
