"""`--html FILE` of every command: seen to before anything is done for it, written at the end."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from ptubench.cli.options import OUTPUT, option
from ptubench.errors import UsageError

Html = Annotated[
    Path | None,
    option("Also write it as a page with charts that opens offline.", "--html", metavar="FILE", panel=OUTPUT),
]
Alias = Annotated[
    bool,
    option("With --html: other names for endpoints, deployments, resources, places, files.", "--alias", panel=OUTPUT),
]


def check(page: Path | None, *, alias: bool = False) -> None:
    """See that a page can be made and written, if one is asked for.

    Raises:
        UsageError: the extra is not installed, the file can't be written, or `alias` is asked for without a page.
    """
    if page is None:
        if alias:
            raise UsageError("--alias: goes with --html only")
        return
    from ptubench.page import document
    from ptubench.results import output

    document.check_installed()
    output.check_writable(page, "--html")


def of_runs(runs: Sequence[Path], *, alias: bool, force: bool = False) -> str:
    """The page of run files, compared where there are several."""
    from ptubench.cli.show import said_later
    from ptubench.page.runs import of_files
    from ptubench.ptu import prices

    with said_later() as say:
        return of_files(runs, prices.shipped(), alias=alias, force=force, say=say)


def write(page: Path | None, make: Callable[[], str]) -> None:
    """Write what is made, if a page is asked for, and say where.

    Raises:
        MeasurementLost: the disk is full or gone.
    """
    if page is None:
        return
    from ptubench.report import text
    from ptubench.results import output

    output.write(page, make())
    text.console(stderr=True).print(text.untrusted(f"page: {page}", limit=400), soft_wrap=True)
