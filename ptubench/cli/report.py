"""`ptubench report`: a stored run again."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import os
from pathlib import Path
from typing import Annotated

import typer

from ptubench.cli.show import show
from ptubench.errors import UsageError


def report(
    run_file: Annotated[Path, typer.Argument(metavar="RUN", help="A run file (.jsonl or .jsonl.gz).")],
    format_: Annotated[str, typer.Option("--format", help="table or json.", metavar="FORMAT")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    monitor: Annotated[
        bool, typer.Option("--monitor", help="First add Azure Monitor's figures of the run to its file.")
    ] = False,
    monitor_wait: Annotated[
        str | None,
        typer.Option(help="How long to wait for these figures at most; default: 0, ask once.", metavar="DURATION"),
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option(help="Azure resource ID of the account; default: what the run was given.", metavar="RESOURCE_ID"),
    ] = None,
    cloud: Annotated[
        str | None, typer.Option(help="public, usgov or china; default: that of the run.", metavar="CLOUD")
    ] = None,
) -> None:
    """Show a stored run again, computed from its file alone."""
    from ptubench.analysis.summary import summarize

    if format_ not in ("table", "json"):
        raise UsageError(f"--format {format_}: unknown; write table or json")
    if monitor:
        from ptubench import azure_run
        from ptubench.report import text

        console = text.console(stderr=True)
        options = azure_run.AzureOptions(resource=resource, monitor=True, monitor_wait=monitor_wait)
        azure_run.again(
            run_file, options, cloud, os.environ, lambda line: console.print(text.untrusted(line, limit=400))
        )
    elif not (resource is monitor_wait is cloud is None):
        raise UsageError("--resource, --cloud and --monitor-wait: go with --monitor only")
    show(summarize(run_file), as_json=as_json or format_ == "json")
