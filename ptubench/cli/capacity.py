"""`ptubench capacity`: options in; the highest call rate that a target sustains out, and whether there is one."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptubench.cli import html as pages
from ptubench.cli import options
from ptubench.cli.options import LOAD, OUTPUT, option
from ptubench.cli.show import print_json, print_view
from ptubench.errors import Exit, UsageError

if TYPE_CHECKING:
    from ptubench.target.model import TargetOptions

_SEARCH = "Search"


@options.with_target
def capacity(
    *,
    workload: options.Workload,
    rate: options.Rate = None,
    duration: Annotated[
        str | None, option("The shortest that a step measures, such as 10m.", metavar="DURATION", panel=LOAD)
    ] = None,
    seed: options.Seed = None,
    on_429: options.On429 = None,
    set_: options.Set = None,
    workers: options.Workers = "1",
    virtual: Annotated[
        bool, option("On a virtual clock, in seconds; needs --simulate.", "--virtual", panel=_SEARCH)
    ] = False,
    yes: Annotated[bool, option("Don't ask before a real target is driven to 100 %.", "--yes", panel=_SEARCH)] = False,
    within: Annotated[
        str | None,
        option("How near the answer must be: half its interval; default: 3%.", metavar="SHARE", panel=_SEARCH),
    ] = None,
    steps: Annotated[
        int | None,
        option("Rates to measure at most; default: 16.", "--steps", metavar="N", panel=_SEARCH, min=1, max=100),
    ] = None,
    step: Annotated[
        str | None,
        option(
            "How long each step measures; default: the workload's duration, or as long as the bucket asks for.",
            "--step",
            metavar="DURATION",
            panel=_SEARCH,
        ),
    ] = None,
    max_time: Annotated[
        str | None, option("Begin no step that would make the load longer.", metavar="DURATION", panel=_SEARCH)
    ] = None,
    max_tokens: Annotated[
        str | None,
        option("Begin no step that would cost more tokens in all, such as 5M.", metavar="TOKENS", panel=_SEARCH),
    ] = None,
    for_: Annotated[
        str | None, option("Also say how many PTUs this load needs.", "--for", metavar="RATE", panel=_SEARCH)
    ] = None,
    fresh: Annotated[
        bool, option("Begin anew, though a search like this one could go on.", "--fresh", panel=_SEARCH)
    ] = False,
    target: "TargetOptions",
    place: options.Place = None,
    results: options.Results = Path("results"),
    gzip: options.Gzip = False,
    html: pages.Html = None,
    alias: pages.Alias = False,
    dry_run: Annotated[bool, option("Say what would be searched and send nothing.", "--dry-run", panel=OUTPUT)] = False,
    as_json: Annotated[bool, option("Print one JSON document instead of tables.", "--json", panel=OUTPUT)] = False,
) -> None:
    """Find the highest call rate that the target sustains.

    Saturates it first, then measures one rate after the other. An
    interrupted search goes on where it stopped.

    Exit codes: 0 a rate was found, 2 usage or workload, 3 no rate passes,
    4 nothing was measured that tells, 5 the target refused, 130 stopped by a signal.
    """
    from ptubench import capacity_run
    from ptubench.commands import RunOptions

    if dry_run and html is not None:
        raise UsageError("--html: nothing is found by --dry-run; leave one of them out")
    pages.check(html, alias=alias)
    asked = RunOptions(
        workload=workload,
        target=target,
        overrides=tuple(set_ or ()),
        rate=rate,
        duration=duration,
        seed=seed,
        on_429=on_429,
        place=place,
        workers=workers,
        results=results,
        compress=gzip,
    )
    ready = capacity_run.prepare(
        capacity_run.CapacityOptions(
            run=asked,
            virtual=virtual,
            fresh=fresh,
            within=within,
            steps=steps,
            step=step,
            max_time=max_time,
            max_tokens=max_tokens,
            wanted=for_,
        ),
        os.environ,
    )
    for doubt in ready.prepared.doubts:
        typer.echo(f"warning: {doubt}", err=True)
    if dry_run:
        _dry_run(ready, as_json=as_json)
        return
    _agree(ready, yes=yes)
    answer = _run(ready)
    pages.write(html, lambda: _page(answer, alias=alias))
    if as_json:
        print_json(answer)
    else:
        from ptubench.report import capacity as report

        print_view(report.render(answer))
    if answer["fault"] is not None:
        from ptubench.report import text

        text.console(stderr=True).print(text.untrusted(f"error: {answer['fault']}", limit=1000), soft_wrap=True)
    if code := _exit_code(answer):
        raise typer.Exit(code)


def _dry_run(ready: Any, *, as_json: bool) -> None:
    from ptubench import capacity_run
    from ptubench.report import capacity as report

    planned = capacity_run.dry_run(ready)
    if as_json:
        print_json(planned)
    else:
        print_view(report.planned(planned))


def _agree(ready: Any, *, yes: bool) -> None:
    """Ask before others are hurt."""
    if ready.simulated or yes:
        return
    from ptubench.report import text

    said = f"this drives {text.clean(ready.name)} to 100 %; other callers will get 429"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{said}; add --yes to go on without being asked")
    if not typer.confirm(f"{said}. Go on?", err=True):
        raise UsageError("not begun, as you said no; nothing was sent")


def _run(ready: Any) -> dict[str, Any]:
    """The search with its live view."""
    from ptubench import capacity_run
    from ptubench.report import live, text

    console = text.console(stderr=True)

    def say(line: str) -> None:
        console.print(text.untrusted(line, limit=400), soft_wrap=True)

    if ready.options.virtual:
        return capacity_run.run(ready, say=say, watch=lambda _: None)
    kind = "simulated" if ready.simulated else ready.prepared.target.kind
    title = live.title(kind, ready.prepared.workload.name, ready.name)
    # Standard output is for the results alone, whatever the user's own client prints.
    with live.View(console, title) as view, contextlib.redirect_stdout(sys.stderr):
        return capacity_run.run(ready, say=say, watch=view.update)


def _page(answer: dict[str, Any], *, alias: bool) -> str:
    from ptubench.page import answers

    return answers.capacity(answer, alias=alias)


def _exit_code(answer: dict[str, Any]) -> int:
    if answer["ended"] == "stopped":
        return Exit.STOPPED
    if answer["ended"] == "not_valid":
        return Exit.INVALID
    if answer["result"] is not None:
        return Exit.GOOD
    # That no rate passes is only known once the search was over.
    return Exit.CHECK if answer["ended"] == "completed" else Exit.INVALID
