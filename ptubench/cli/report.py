"""`ptubench report`: stored runs again, in any format."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ptubench.cli import completion, options
from ptubench.cli import html as pages
from ptubench.cli.show import print_json, print_text, print_view, said_later, show
from ptubench.errors import UsageError
from ptubench.units import size_text

Say = Callable[[str], None]

_FORMATS = ("table", "markdown", "json", "csv")
_PARTS = ("attempts", "timeline")


def report(
    runs: options.Runs,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="table, markdown, json or csv; default: table.",
            metavar="FORMAT",
            autocompletion=completion.one_of(*_FORMATS),
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            "--of",
            help="Rows of --format csv: attempts or timeline; default: attempts.",
            metavar="ROWS",
            autocompletion=completion.one_of(*_PARTS),
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    slim: Annotated[
        Path | None,
        typer.Option(
            help="Write the run file again without what no number needs (.jsonl.gz), such as for a baseline.",
            metavar="FILE",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page that holds all it shows, charts too; several runs compared.", metavar="FILE"),
    ] = None,
    alias: Annotated[
        bool,
        typer.Option("--alias", help="With --html: other names for endpoints, deployments, resources, places, files."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --html: compare unlike workloads, and simulated runs with real ones.")
    ] = False,
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
    """Show stored runs again, computed from their files alone, or the folder of a finished capacity search.

    What goes to a file (--html, --slim) is written instead of a table; with --format both.

    Exit codes: 0 shown, whatever the checks say, 2 usage, or no run file,
    4 the output was lost, 5 Azure does not give its figures.
    """
    format_ = _format(format_, of, as_json=as_json)
    if len(runs) == 1 and runs[0].is_dir():
        from ptubench.cli import search

        others = (of, slim, force, monitor, monitor_wait, resource, cloud)
        search.report(runs[0], format_, html, alias=alias, others=any(others))
        return
    if html is None and (alias or force):
        raise UsageError("--alias and --force: go with --html only")
    pages.check(html)
    if slim is not None and len(runs) > 1:
        raise UsageError("--slim: takes one RUN")
    if slim is not None:
        from ptubench.analysis import slim as slimmed

        slimmed.check(runs[0], slim)
    if monitor:
        if len(runs) > 1:
            raise UsageError("--monitor: takes one RUN")
        _ask_monitor(runs[0], resource=resource, wait=monitor_wait, cloud=cloud)
    elif not (resource is monitor_wait is cloud is None):
        raise UsageError("--resource, --cloud and --monitor-wait: go with --monitor only")
    if slim is not None:
        _slim(runs[0], slim)
    pages.write(html, lambda: pages.of_runs(runs, alias=alias, force=force))
    if format_ is not None or (slim is None and html is None):
        _show(runs, format_ or "table", of or "attempts")


def _format(given: str | None, of: str | None, *, as_json: bool) -> str | None:
    """The format that was asked for, if any."""
    if as_json and given not in (None, "json"):
        raise UsageError(f"--json: is --format json, and --format {given} another; use one of them")
    asked = "json" if as_json else given
    if asked not in (None, *_FORMATS):
        raise UsageError(f"--format {asked}: unknown; write {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}")
    if of is not None and asked != "csv":
        raise UsageError("--of: goes with --format csv only")
    if of not in (None, *_PARTS):
        raise UsageError(f"--of {of}: unknown; write {' or '.join(_PARTS)}")
    return asked


def _show(runs: Sequence[Path], format_: str, of: str) -> None:
    """Print runs one after another; of several the JSON is one document too."""
    if format_ == "csv":
        from ptubench.report import csv_columns, export
        from ptubench.results import store

        for run in runs:
            store.read_head(run)  # what is no run file is said before anything is printed
        columns = {"attempts": csv_columns.ATTEMPTS, "timeline": csv_columns.TIMELINE}[of]
        with said_later() as say:
            print_text(export.header(columns), _rows(runs, of, say))
        return
    with said_later() as say:
        summaries = [_summary(run, say) for run in runs]
    if format_ == "json":
        print_json(summaries[0] if len(runs) == 1 else {"schema_version": 1, "runs": summaries})
        return
    if format_ == "markdown":
        from ptubench.report import markdown

        print_text("\n".join(map(markdown.of_run, summaries)))
        return
    for place, (run, summary) in enumerate(zip(runs, summaries, strict=True)):
        if len(runs) > 1:
            _title(run, first=not place)
        show(summary, as_json=False)


def _title(run: Path, *, first: bool) -> None:
    """Which of several runs comes now."""
    from ptubench.report import text

    print_text("" if first else "\n\n")
    print_view(text.Encodable(text.untrusted(run, "bold underline", limit=200)))


def _rows(runs: Sequence[Path], of: str, say: Say) -> Iterator[str]:
    """The rows of all runs, as text."""
    from ptubench.report import export
    from ptubench.results import store

    for run in runs:
        summary = _summary(run, say)
        if of == "timeline":
            yield export.timeline(store.read_head(run), summary)
        else:
            say(f"writing the attempts of {run}")
            yield from export.attempts(store.lines(run), summary["run"]["window_s"])


def _summary(run: Path, say: Say) -> dict[str, Any]:
    from ptubench.analysis.summary import summarize

    say(f"reading {run}")
    return summarize(run)


def _slim(run: Path, small: Path) -> None:
    """Write the slim file, say what that has saved, and if it is no baseline."""
    from ptubench.analysis import slim
    from ptubench.gate import alike
    from ptubench.report import text

    with said_later() as say:
        say(f"writing {small}")
        slim.write(run, small)
        unfit = alike.unfit(_summary(small, say))
    sizes = f"{size_text(run.stat().st_size)} before, {size_text(small.stat().st_size)} now"
    console = text.console(stderr=True)
    console.print(text.untrusted(f"{small}: {sizes}", limit=400), soft_wrap=True)
    if unfit is not None:
        console.print(text.untrusted(f"warning: {small}: {unfit}", limit=600), soft_wrap=True)


def _ask_monitor(run: Path, *, resource: str | None, wait: str | None, cloud: str | None) -> None:
    """Add Azure Monitor's figures to the run's file."""
    from ptubench import azure_run
    from ptubench.report import text

    console = text.console(stderr=True)
    asked = azure_run.AzureOptions(resource=resource, monitor=True, monitor_wait=wait)
    azure_run.again(run, asked, cloud, os.environ, lambda line: console.print(text.untrusted(line, limit=400)))
