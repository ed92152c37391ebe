"""`ptubench check`: stored runs judged by rules and against a baseline."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from ptubench.cli import completion, options, pipelines
from ptubench.cli.options import OUTPUT, RULES, option
from ptubench.cli.show import said_later


def check(
    runs: options.Runs,
    rules: options.Check = None,
    baseline: Annotated[
        list[Path] | None,
        option(
            "A run to hold them against, with --regression; given again, repeats of it.",
            metavar="RUN",
            panel=RULES,
            autocompletion=completion.runs,
        ),
    ] = None,
    regression: Annotated[
        list[str] | None,
        option(
            "How much worse than the baseline a metric may be: 'ttft.p95: 10%' or 'refused.ratio: +1pt'.",
            metavar="'METRIC: TOLERANCE'",
            panel=RULES,
            autocompletion=completion.regressions,
        ),
    ] = None,
    force: Annotated[
        bool, option("Also against a baseline of another workload or place.", "--force", panel=RULES)
    ] = False,
    strict: options.Strict = False,
    as_json: Annotated[bool, option("Print one JSON document instead of tables.", "--json", panel=OUTPUT)] = False,
    junit: pipelines.Junit = None,
    markdown: pipelines.Markdown = None,
    github: pipelines.Github = False,
) -> None:
    """Judge a stored run by rules and by a baseline; several runs are repeats, and judged as one.

    Exit codes: 0 good, 2 usage, or runs that can't be judged together,
    3 a check failed, 4 the measurement is not valid, or was cut short.
    """
    from ptubench.gate import document

    with pipelines.asked(junit, markdown, github=github) as places:
        with said_later() as say:
            found = document.check(
                runs,
                rules=rules or (),
                baseline=baseline or (),
                regressions=regression or (),
                force=force,
                strict=strict,
                say=say,
            )
        places.show(found, as_json=as_json)
    raise typer.Exit(found["exit_code"])
