"""`ptubench compare`: runs side by side."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ptubench.cli.show import print_json, print_view

_PATIENCE = 2.0
"""Seconds after which progress is said."""


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Run files (.jsonl or .jsonl.gz), the baseline first.")
    ],
    baseline: Annotated[
        Path | None, typer.Option(help="The run that the others are compared with; default: the first.", metavar="RUN")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare unlike workloads, and simulated runs with real ones.")
    ] = False,
    prices: Annotated[
        Path | None, typer.Option(help="A table of prices instead of the list prices that ship.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Compare stored runs: every headline metric, its difference with a 95 % interval, and a word.

    Exit codes: 0 compared, whatever was found; 2 usage, an invalid run, or runs that are not alike.
    """
    from ptubench.compare.runs import compare as compared
    from ptubench.ptu import prices as list_prices

    if baseline is not None:
        # Named among the runs too, it is not one of the others.
        runs = [baseline, *(run for run in runs if run.resolve() != baseline.resolve())]
    table = list_prices.shipped() if prices is None else list_prices.load(prices)
    with _said_later() as say:
        found = compared(runs, table, force=force, say=say)
    if as_json:
        print_json(found)
        return
    from ptubench.report import compare as report

    print_view(report.render(found))


@contextmanager
def _said_later() -> Iterator[Callable[[str], None]]:
    """What is being done goes to standard error once it has taken a while."""
    from ptubench.report import text

    doing = [""]
    console = text.console(stderr=True)

    def say() -> None:
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
