"""`ptubench report`: a stored run again."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from ptubench.cli.show import show
from ptubench.errors import UsageError


def report(
    run_file: Annotated[Path, typer.Argument(metavar="RUN", help="A run file (.jsonl or .jsonl.gz).")],
    format_: Annotated[str, typer.Option("--format", help="table or json.", metavar="FORMAT")] = "table",
) -> None:
    """Show a stored run again, computed from its file alone."""
    from ptubench.analysis.summary import summarize

    if format_ not in ("table", "json"):
        raise UsageError(f"--format {format_}: unknown; write table or json")
    show(summarize(run_file), as_json=format_ == "json")
