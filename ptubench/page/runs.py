"""The page of one or more runs: a section for each, and the comparison of several before them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ptubench.analysis.columns import Run
from ptubench.analysis.gather import load
from ptubench.analysis.summary import summary_of
from ptubench.compare.runs import compare_runs
from ptubench.page import document
from ptubench.page.alias import aliased
from ptubench.page.charts.runs import of_runs
from ptubench.page.facts import first_read
from ptubench.page.model import Kind, Listing, Page, Section, Table, Tone
from ptubench.page.run import banner, section
from ptubench.page.tables import tables
from ptubench.ptu.prices import Prices
from ptubench.report import compare as report
from ptubench.report.latency import cell
from ptubench.report.text import clean
from ptubench.secret import shown
from ptubench.units import number_text, share_text

Say = Callable[[str], None]
_WORDS = ("verdict", "checks", "deployment", "begun, UTC")
"""Columns that are no figures."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


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
            sections=[section(runs[0], summaries[0], name="run", title=f"{name}{_label(runs[0])}")],
            made=made,
        )
    compared = compare_runs(runs, prices, force=force)
    titles = [f"{_LETTERS[place % 26]}  {_name(run)}" for place, run in enumerate(runs)]
    sections = [
        section(run, summary, name=f"run-{place + 1}", title=title)
        for place, (run, summary, title) in enumerate(zip(runs, summaries, titles, strict=True))
    ]
    title = f"{clean(runs[0].head.workload.name, 60)}: {len(runs)} runs compared"
    return Page(title=title, sections=[comparison(runs, summaries, compared), *sections], made=made)


def comparison(runs: Sequence[Run], summaries: Sequence[Mapping[str, Any]], compared: Mapping[str, Any]) -> Section:
    """The runs beside each other, the first of them the baseline."""
    names = [_name(run) for run in runs]
    windows = [(summary["run"]["window_s"][0], summary["run"]["window_s"][1]) for summary in summaries]
    differing = [
        f"{_LETTERS[place % 26]} against A, {clean(row['text'], 200)}"
        for place, run in enumerate(compared["runs"])
        for row in run["differences"]
    ]
    return Section(
        name="comparison",
        title="Comparison",
        kind=_kind([str(run["kind"]) for run in compared["runs"]]),
        subtitle="; ".join(f"{_LETTERS[place % 26]} is {name}" for place, name in enumerate(names)),
        listings=[Listing(title="What differs besides the figures", items=differing)] if differing else [],
        charts=of_runs(runs, windows, names, compared),
        first=[_overview(names, summaries), *(_against(compared, number) for number in range(1, len(runs)))],
    )


def _overview(names: Sequence[str], summaries: Sequence[Mapping[str, Any]]) -> Table:
    """The runs and their headline figures."""
    first = first_read(summaries[0])
    figures = [_figures(summary, first) for summary in summaries]
    return Table(
        title="Runs",
        header=("", *figures[0]),
        rows=[
            (f"{_LETTERS[place % 26]}  {name}", *found.values())
            for place, (name, found) in enumerate(zip(names, figures, strict=True))
        ],
        numbers=[False, *(label not in _WORDS for label in figures[0])],
        tones=[_tones(summary, len(figures[0]) + 1) for summary in summaries],
    )


def _tones(summary: Mapping[str, Any], columns: int) -> list[Tone]:
    """The verdict and the checks in colour; words say the same."""
    failed = not all(row["passed"] for row in summary["checks"])
    verdict: Tone = "good" if summary["validity"]["verdict"] == "valid" else banner(summary).tone
    rest: list[Tone] = [""] * (columns - 3)
    return ["", verdict, "bad" if failed else "", *rest]


def _figures(summary: Mapping[str, Any], first: str) -> dict[str, str]:
    metrics, target, checks = summary["metrics"], summary["target"], summary["checks"]
    failed = sum(not row["passed"] for row in checks)
    what = [f"{target['ptu']:,} PTU"] if target.get("ptu") is not None else []
    what += [str(target[part]) for part in ("type", "model_served") if target.get(part)]
    return {
        "verdict": str(summary["validity"]["verdict"]),
        "checks": "–" if not checks else f"{failed} of {len(checks)} FAILED" if failed else f"all {len(checks)} passed",
        "deployment": clean(", ".join(what), 80) or "–",
        "begun, UTC": str(summary["run"]["started_at"])[:16].replace("T", " "),
        "admitted/min": number_text(metrics["rpm"]["admitted"]),
        "refused": share_text(metrics["refused"]["ratio"]),
        f"{first} p95": cell(metrics[first], "p95").plain,  # where nothing streams, e2e itself
        "e2e p95": cell(metrics["e2e"], "p95").plain,
    }


def _against(compared: Mapping[str, Any], number: int) -> Table:
    """All figures of one run against the baseline's."""
    (table,) = tables([report.against(number, compared["metrics"]), report.legend(compared)])
    run = compared["runs"][number]
    paired = (
        f"Paired: {run['common_requests']:,} requests beside each other."
        if run["paired"]
        else f"Not paired: {clean(run['unpaired_because'], 300)}."
    )
    title = f"{_LETTERS[number % 26]} against A"
    return replace(table, title=title, header=(table.title, *table.header[1:]), notes=(paired, *table.notes))


def _kind(kinds: Sequence[str]) -> Kind:
    """Of all of them together."""
    if len(set(kinds)) == 1:
        return cast("Kind", kinds[0])
    return "real and simulated" if "real" in kinds else "simulated"


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
