"""The page of one or more runs: a section for each, and the comparison of several before them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptubench.analysis.columns import Run
from ptubench.analysis.gather import load
from ptubench.analysis.summary import summary_of
from ptubench.compare.runs import compare_runs
from ptubench.page import document
from ptubench.page.alias import aliased
from ptubench.page.charts.runs import LETTERS
from ptubench.page.comparison import comparison
from ptubench.page.model import Page
from ptubench.page.run import section
from ptubench.ptu.prices import Prices
from ptubench.report.text import clean
from ptubench.secret import shown

Say = Callable[[str], None]


def of_files(
    paths: Sequence[Path], prices: Prices, *, alias: bool = False, force: bool = False, say: Say = lambda _: None
) -> str:
    """The HTML of run files, the baseline first.

    Args:
        paths: one or more.
        prices: for the comparison of several.
        alias: whether to put other names for what says whose the runs are.
        force: whether to compare what is not alike.
        say: is told what is being done.

    Raises:
        UsageError: a file can't be read, two can't be compared (`compare.runs`), or the extra is not installed.
    """
    document.check_installed()
    runs = []
    for path in paths:
        say(f"reading {shown(path, most=120)}")
        runs.append(load(path))
    say("making the page")
    return document.render(page(runs, prices, alias=alias, force=force))


def page(runs: Sequence[Run], prices: Prices, *, alias: bool = False, force: bool = False) -> Page:
    """The page of runs in memory. Raises as `of_files`."""
    if alias:
        runs = aliased(runs)
    summaries = [summary_of(run) for run in runs]
    made = _made(summaries, alias=alias)
    if len(runs) == 1:
        name = clean(runs[0].head.workload.name, 60)
        return Page(
            title=f"{name}{_label(runs[0])}",
            sections=[section(runs[0], summaries[0], name="run", title=f"{name}{_label(runs[0])}", prices=prices)],
            made=made,
        )
    compared = compare_runs(runs, prices, force=force)
    names = [_name(run) for run in runs]
    titles = [f"{LETTERS[place % 26]}  {name}" for place, name in enumerate(names)]
    sections = [
        section(run, summary, name=f"run-{place + 1}", title=title, prices=prices)
        for place, (run, summary, title) in enumerate(zip(runs, summaries, titles, strict=True))
    ]
    title = f"{clean(runs[0].head.workload.name, 60)}: {len(runs)} runs compared"
    first = comparison(runs, summaries, compared, names=names, prices=prices)
    return Page(title=title, sections=[first, *sections], made=made)


def _name(run: Run) -> str:
    """What a run is called beside others."""
    return clean(run.head.label or (run.path.name if run.path is not None else run.head.run_id), 60)


def _label(run: Run) -> str:
    return f", {clean(run.head.label, 60)}" if run.head.label else ""


def _made(summaries: Sequence[Mapping[str, Any]], *, alias: bool) -> str:
    files = ", ".join(clean(summary["run"]["file"] or summary["run"]["id"], 200) for summary in summaries)
    hidden = (
        " Deployments, endpoints, resources, addresses, places and files have other names here, in the command too."
    )
    return f"Computed from {files}.{hidden if alias else ''}"
