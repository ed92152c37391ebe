"""`ptubench compare`: runs side by side."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptubench.cli import completion
from ptubench.cli import html as pages
from ptubench.cli.show import print_json, print_view, said_later

if TYPE_CHECKING:
    from ptubench.ptu.prices import Prices


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...",
            help="Run files (.jsonl or .jsonl.gz), the baseline first.",
            autocompletion=completion.runs,
        ),
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="The run that the others are compared with; default: the first.",
            metavar="RUN",
            autocompletion=completion.runs,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare unlike workloads, and simulated runs with real ones.")
    ] = False,
    prices: Annotated[
        Path | None, typer.Option(help="A table of prices instead of the list prices that ship.", metavar="FILE")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write it as a page with charts that opens offline.", metavar="FILE"),
    ] = None,
    alias: Annotated[
        bool,
        typer.Option("--alias", help="With --html: other names for endpoints, deployments, resources, places, files."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Compare stored runs: every headline metric, its difference with a 95 % interval, and a word.

    Exit codes: 0 compared, whatever was found; 2 usage, an invalid run, or runs that are not alike.
    """
    from ptubench.compare.runs import compare as compared
    from ptubench.ptu import prices as list_prices

    pages.check(html, alias=alias)
    if baseline is not None:
        # Named among the runs too, it is not one of the others.
        runs = [baseline, *(run for run in runs if run.resolve() != baseline.resolve())]
    table = list_prices.shipped() if prices is None else list_prices.load(prices)
    with said_later() as say:
        found = compared(runs, table, force=force, say=say)
        pages.write(html, lambda: _page(runs, table, alias=alias, force=force, say=say))
    if as_json:
        print_json(found)
        return
    from ptubench.report import compare as report

    print_view(report.render(found))


def _page(runs: list[Path], prices: "Prices", *, alias: bool, force: bool, say: Callable[[str], None]) -> str:
    """The same page as `ptubench report RUN RUN --html`."""
    from ptubench.page.runs import of_files

    return of_files(runs, prices, alias=alias, force=force, say=say)
