"""`ptubench size`: options in; formula, simulation and price out, and whether any size will do."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ptubench.cli import completion
from ptubench.cli import html as pages
from ptubench.cli.show import print_json, print_text, print_view
from ptubench.errors import Exit, UsageError

_LOAD = "Load"
_SIZE = "Size"
_PRICE = "Price"
_OUTPUT = "Output"
_PATIENCE = 2.0
"""Seconds after which progress is said, and between two lines of it."""


def _option(help_: str, *names: str, panel: str, **more: Any) -> Any:
    return typer.Option(*names, help=help_, rich_help_panel=panel, **more)


def size(
    workload: Annotated[
        str | None,
        typer.Argument(
            help="A workload file, or the name of a shipped one (chat, rag, …).",
            metavar="WORKLOAD",
            autocompletion=completion.workloads,
        ),
    ] = None,
    rate: Annotated[
        str | None, _option("Calls at this rate, such as 45/min; replaces the load.", metavar="RATE", panel=_LOAD)
    ] = None,
    duration: Annotated[
        str | None, _option("How long load is offered, such as 1h.", metavar="DURATION", panel=_LOAD)
    ] = None,
    seed: Annotated[int | None, _option("Fixes due times, classes and sizes.", metavar="N", panel=_LOAD, min=0)] = None,
    on_429: Annotated[
        str | None,
        _option("none, retry or divert: what happens after a 429.", "--on-429", metavar="POLICY", panel=_LOAD),
    ] = None,
    set_: Annotated[
        list[str] | None,
        _option(
            "Override any key of the workload: --set prompt_tokens=2000.", "--set", metavar="KEY=VALUE", panel=_LOAD
        ),
    ] = None,
    usage: Annotated[
        Path | None,
        _option(
            "Instead of a workload: totals per minute, a CSV with minute, requests, prompt_tokens, cached_tokens, completion_tokens.",
            metavar="FILE",
            panel=_LOAD,
        ),
    ] = None,
    from_monitor: Annotated[
        str | None,
        _option(
            "Instead of a workload: what a deployment of this Azure resource was used for, by Azure Monitor.",
            metavar="RESOURCE_ID",
            panel=_LOAD,
        ),
    ] = None,
    deployment: Annotated[
        str | None, _option("With --from-monitor: the deployment's name.", metavar="NAME", panel=_LOAD)
    ] = None,
    last: Annotated[
        str | None,
        _option("With --from-monitor: how far back; default: 14d; at most 93d.", metavar="DURATION", panel=_LOAD),
    ] = None,
    cloud: Annotated[
        str | None,
        _option("With --from-monitor: public, usgov or china; default: public.", metavar="CLOUD", panel=_LOAD),
    ] = None,
    save_usage: Annotated[
        Path | None,
        _option("With --from-monitor: keep the history, as a CSV for --usage.", metavar="FILE", panel=_LOAD),
    ] = None,
    model: Annotated[
        str | None, _option("The model, such as gpt-4.1; default: the workload's.", metavar="MODEL", panel=_SIZE)
    ] = None,
    type_: Annotated[
        str | None, _option("global, datazone or regional; default: all.", "--type", metavar="TYPE", panel=_SIZE)
    ] = None,
    headroom: Annotated[
        str | None,
        _option("How much of a size its busiest minute may use; default: 90%.", metavar="SHARE", panel=_SIZE),
    ] = None,
    sizes: Annotated[
        str | None,
        _option("Sizes to look at, such as 50,100; default: those around the need.", metavar="PTU,…", panel=_SIZE),
    ] = None,
    ratio: Annotated[
        float | None,
        _option("Input tokens that one output token counts as; default: published.", metavar="X", panel=_SIZE),
    ] = None,
    tpm_per_ptu: Annotated[
        float | None, _option("Input tokens a minute of one PTU; default: published.", metavar="TOKENS", panel=_SIZE)
    ] = None,
    from_: Annotated[
        Path | None,
        _option(
            "A measured run: its capacity, depth, latencies and cached share replace what is assumed.",
            "--from",
            metavar="RUN",
            autocompletion=completion.runs,
            panel=_SIZE,
        ),
    ] = None,
    assume: Annotated[
        list[str] | None,
        _option(
            "What the simulated deployment assumes: --assume depth=30s; keys: `ptubench simulate --help`.",
            metavar="KEY=VALUE",
            panel=_SIZE,
        ),
    ] = None,
    no_simulation: Annotated[bool, _option("Formula and price only.", "--no-simulation", panel=_SIZE)] = False,
    prices: Annotated[
        Path | None, _option("Your prices (YAML) instead of the list prices.", metavar="FILE", panel=_PRICE)
    ] = None,
    hours_per_month: Annotated[
        float | None, _option("Hours of this load in a month: gives a verdict.", metavar="HOURS", panel=_PRICE)
    ] = None,
    tokens_per_month: Annotated[
        str | None,
        _option("Or its tokens in a month (prompt + completion), such as 400M or 2B.", metavar="TOKENS", panel=_PRICE),
    ] = None,
    html: pages.Html = None,
    alias: pages.Alias = False,
    as_json: Annotated[bool, _option("Print one JSON document instead of tables.", "--json", panel=_OUTPUT)] = False,
    as_csv: Annotated[bool, _option("Print the sizes as CSV instead of tables.", "--csv", panel=_OUTPUT)] = False,
) -> None:
    """Which PTU size does this load need, and what does it cost?

    Exit codes: 0 a size is recommended, 2 usage or workload, 3 no size passes,
    5 Azure does not give the history.
    """
    from datetime import UTC, datetime

    from ptubench.size import answer as answers
    from ptubench.size.asked import SizeOptions, ask

    if as_json and as_csv:
        raise UsageError("--json and --csv: standard output can be one of them; keep one")
    pages.check(html, alias=alias)
    options = SizeOptions(
        workload=workload,
        overrides=tuple(set_ or ()),
        rate=rate,
        duration=duration,
        seed=seed,
        on_429=on_429,
        usage=usage,
        from_monitor=from_monitor,
        deployment=deployment,
        last=last,
        cloud=cloud,
        save_usage=save_usage,
        model=model,
        type=type_,
        ratio=ratio,
        tpm_per_ptu=tpm_per_ptu,
        headroom=headroom,
        sizes=sizes,
        measured=from_,
        simulation=not no_simulation,
        assume=tuple(assume or ()),
        prices=prices,
        hours_per_month=hours_per_month,
        tokens_per_month=tokens_per_month,
    )
    say = _speaker()
    asked = ask(options, os.environ, say=say)
    answer = answers.answer(asked, today=datetime.now(UTC).date(), watch=_progress(say))
    pages.write(html, lambda: _page(answer, alias=alias))
    _print(answer, as_json=as_json, as_csv=as_csv, say=say)
    if answer["recommended"] is None:
        if not as_json:
            say(_none(answer))
        raise typer.Exit(Exit.CHECK)


def _speaker() -> Callable[[str], None]:
    """Says lines on standard error."""
    from ptubench.report import text

    console = text.console(stderr=True)
    return lambda line: console.print(text.untrusted(line, limit=400), soft_wrap=True)


def _progress(say: Callable[[str], None]) -> Callable[[Any], None]:
    """Says how far a longer simulation is."""
    last = time.monotonic()

    def watch(step: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= _PATIENCE:
            last = time.monotonic()
            say(f"simulated {step.done} of {step.planned} runs; now {step.ptu} PTU with a depth of {step.depth:g} s")

    return watch


def _print(answer: dict[str, Any], *, as_json: bool, as_csv: bool, say: Callable[[str], None]) -> None:
    from ptubench.report import size as report
    from ptubench.report import size_csv

    if as_json:
        print_json(answer)
        return
    for warning in answer["warnings"]:
        say(f"warning: {warning}")
    if as_csv:
        print_text(size_csv.render(answer))
    else:
        print_view(report.render(answer))


def _page(answer: dict[str, Any], *, alias: bool) -> str:
    from ptubench.page import answers

    return answers.size(answer, alias=alias)


def _none(answer: dict[str, Any]) -> str:
    if not answer["sizes"]:
        return "no size is recommended: which sizes can be deployed is not known; name them with --sizes"
    return "no size passes: look at the sizes above, allow more with --headroom or `checks`, or try larger ones with --sizes"
