"""`ptubench run`: options in, a run or a dry run, exit code out."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptubench.cli import completion, options, pipelines
from ptubench.cli import html as pages
from ptubench.cli.options import LOAD, OUTPUT, RULES, TARGET, option
from ptubench.cli.show import print_json, print_view, said_later, show, show_later
from ptubench.errors import UsageError

if TYPE_CHECKING:
    from ptubench.target.model import TargetOptions


@options.with_target
def run(
    *,
    workload: options.Workload,
    rate: options.Rate = None,
    concurrency: Annotated[
        int | None, option("Closed loop of so many lanes; replaces the load.", metavar="LANES", panel=LOAD, min=1)
    ] = None,
    duration: options.Duration = None,
    warmup: Annotated[
        str | None,
        option(
            "What precedes the window: a duration, auto (until all is flat) or until_429.",
            metavar="DURATION|auto|until_429",
            panel=LOAD,
        ),
    ] = None,
    seed: options.Seed = None,
    on_429: options.On429 = None,
    salt: Annotated[
        str | None, option("Fixes the text of the prompts; default: new for every run.", metavar="TEXT", panel=LOAD)
    ] = None,
    set_: options.Set = None,
    workers: options.Workers = "1",
    on: Annotated[
        str | None,
        option(
            "Make the load on the workers of a Dask cluster, one share each (docs/scaling.md).",
            metavar="tcp://SCHEDULER:PORT",
            panel=LOAD,
        ),
    ] = None,
    target: "TargetOptions",
    resource: Annotated[
        str | None,
        option(
            "Azure resource ID of the account; asks Azure what the deployment is, before and after the run.",
            metavar="RESOURCE_ID",
            panel=TARGET,
        ),
    ] = None,
    monitor: Annotated[
        bool,
        option(
            "With --resource: Azure Monitor's figures beside ours; the window starts on a full UTC minute.",
            "--monitor",
            panel=OUTPUT,
        ),
    ] = False,
    monitor_wait: Annotated[
        str | None,
        option(
            "How long to wait for these figures after the report, at most; default: 5m; 0 asks once.",
            metavar="DURATION",
            panel=OUTPUT,
        ),
    ] = None,
    check: options.Check = None,
    abort: Annotated[
        list[str] | None,
        option(
            "Stop the run once this rule is clearly broken: --abort 'failed.ratio <= 20%'. Beside the workload's.",
            "--abort",
            metavar="RULE",
            panel=RULES,
            autocompletion=completion.aborts,
        ),
    ] = None,
    label: Annotated[
        str | None, option("A word of yours in the run file and its name.", metavar="TEXT", panel=OUTPUT)
    ] = None,
    place: options.Place = None,
    results: options.Results = Path("results"),
    gzip: options.Gzip = False,
    as_json: Annotated[
        bool, option("Print the summary as one JSON document instead of tables.", "--json", panel=OUTPUT)
    ] = False,
    html: pages.Html = None,
    alias: pages.Alias = False,
    junit: pipelines.Junit = None,
    markdown: pipelines.Markdown = None,
    github: pipelines.Github = False,
    repeat: Annotated[
        int,
        option(
            "So many runs one after another, judged as one; prints their check.",
            metavar="N",
            panel=OUTPUT,
            min=1,
            max=100,
        ),
    ] = 1,
    strict: options.Strict = False,
    dry_run: Annotated[
        bool, option("Say everything about the run and send nothing.", "--dry-run", panel=OUTPUT)
    ] = False,
    probe: Annotated[
        bool, option("With --dry-run: send one call to see that the target answers.", "--probe", panel=OUTPUT)
    ] = False,
) -> None:
    """Put the load on a target, report, store the run.

    Exit codes: 0 good, 2 usage or workload, 3 a check failed or an
    abort rule ended the run, 4 the measurement is not valid, 5 the target
    refused before any load, 130 stopped by a signal.
    """
    from ptubench import commands
    from ptubench.azure_run import AzureOptions

    asked = commands.RunOptions(
        workload=workload,
        target=target,
        overrides=tuple(set_ or ()),
        rate=rate,
        concurrency=concurrency,
        duration=duration,
        warmup=warmup,
        seed=seed,
        on_429=on_429,
        salt=salt,
        checks=tuple(check or ()),
        abort=tuple(abort or ()),
        label=label,
        place=place,
        repeat=repeat,
        workers=workers,
        on=on,
        results=results,
        compress=gzip,
        azure=AzureOptions(resource=resource, monitor=monitor, monitor_wait=monitor_wait),
    )
    with pipelines.asked(junit, markdown, github=github) as places:
        if probe and not dry_run:
            raise UsageError("--probe: goes with --dry-run only; a run sends its probe call anyway")
        if html is not None and dry_run:
            raise UsageError("--html: nothing is measured by --dry-run; leave one of them out")
        if html is not None and repeat > 1:
            raise UsageError(
                "--html: makes the page of one run; without it, and then `ptubench report RUN RUN --html FILE`"
            )
        pages.check(html, alias=alias)
        prepared = commands.prepare(asked, os.environ)
        for doubt in filter(None, (*prepared.doubts, commands.beyond_this_machine(prepared, os.environ))):
            typer.echo(f"warning: {doubt}", err=True)
        if repeat > 1 and salt is not None:
            typer.echo("warning: --salt gives every repeat the same prompts, which a cache may know by then", err=True)
        if repeat > 1 and dry_run:
            typer.echo(f"--repeat: {repeat} such runs, one after another", err=True)
        if dry_run:
            _dry_run(prepared, as_json=as_json, probe=probe)
        elif repeat > 1:
            from ptubench.cli import play

            raise typer.Exit(play.repeat(prepared, places, times=repeat, as_json=as_json, strict=strict))
        else:
            raise typer.Exit(_run(prepared, places, as_json=as_json, strict=strict, html=html, alias=alias))


def _run(
    prepared: Any,
    places: pipelines.Places,
    *,
    as_json: bool,
    strict: bool,
    html: Path | None = None,
    alias: bool = False,
) -> int:
    """One run with its live view, and its page if one is asked for; the exit code."""
    from ptubench import commands
    from ptubench.analysis.summary import summarize
    from ptubench.cli.play import play, say
    from ptubench.gate.document import of_summary
    from ptubench.report.checks import closing

    outcome = play(prepared)
    with said_later() as say_later:
        say_later(f"computing the report of {outcome.file}")
        summary = summarize(outcome.file)
    # One JSON document holds all; people read ours while Azure's figures are waited for.
    if not as_json:
        show(summary, as_json=False)
    if commands.await_monitor(prepared, outcome, say=say):
        first, summary = summary, summarize(outcome.file)
        if not as_json:
            show_later(first, summary)
    if as_json:
        show(summary, as_json=True)
    document = of_summary(summary, strict=strict)
    places.write(document, [summary])
    pages.write(html, lambda: pages.of_runs([outcome.file], alias=alias))
    if not as_json and document["exit_code"]:
        print_view("")
        print_view(closing(document))
    return int(document["exit_code"])


def _dry_run(prepared: Any, *, as_json: bool, probe: bool) -> None:
    from ptubench import commands
    from ptubench.report import preview, text
    from ptubench.report.network import network
    from ptubench.target.model import describe

    planned = commands.dry_run(prepared)
    with contextlib.redirect_stdout(sys.stderr):
        probed = commands.probe_target(prepared) if probe else None
    found = None if probed is None else probed.describe()
    described = describe(prepared.target)
    if found is not None and found["simulated"]:
        described["kind"] = "simulated"
    second = None if prepared.divert_to is None else describe(prepared.divert_to)
    if as_json:
        print_json({**planned, "target": described, "divert_to": second, "probe": found})
        return
    console = text.console()
    console.print(preview.render(planned, prepared.workload, described, second, probed=probe))
    if probed is not None and found is not None:
        answered = f"the probe call was answered with status {found['status']} by model {found['model'] or 'unknown'}"
        console.print(text.untrusted(answered, limit=400))
        if (way := network(probed.network())) is not None:
            console.print(way)
        for name in found["left_out"]:
            console.print(text.untrusted(f"the target refuses `{name}`: it would be left out", limit=400))
        if probed.warning is not None:
            console.print(text.untrusted(probed.warning, limit=400))
