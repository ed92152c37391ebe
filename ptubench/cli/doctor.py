"""`ptubench doctor`: what this machine drives truthfully, and whether a target is in order."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ptubench.cli import options
from ptubench.cli.options import OUTPUT, option
from ptubench.cli.show import print_json, print_view

if TYPE_CHECKING:
    from ptubench.target.model import TargetOptions


@options.with_target(without=("trust_target", "ptu", "type", "ratio", "tpm_per_ptu", "simulate"))
def doctor(
    *,
    target: "TargetOptions",
    as_json: Annotated[bool, option("Print one JSON document instead of tables.", "--json", panel=OUTPUT)] = False,
) -> None:
    """What this machine drives truthfully, in PTUs; and whether a target, its key, proxy and TLS are in order.

    Takes up to a minute. A target gets one probe call and no load.

    Exit codes: 0 good; 2 usage; 4 nothing could be measured, or too few loads
    were on time; 5 the target is not in order; 130 stopped.
    """
    from ptubench.cli.play import say
    from ptubench.doctor import document, machine, stored
    from ptubench.doctor import target as looked
    from ptubench.errors import PtubenchError
    from ptubench.report import doctor as report

    began = time.monotonic()
    found = looked.look(target, os.environ) if looked.named(target, os.environ) else None
    if found is not None and not as_json:
        print_view(report.target(found))
    pace = machine.PACE.less(time.monotonic() - began)
    measured = machine.measure(model=target.model, say=say, pace=pace)
    kept = None
    try:
        kept = str(stored.keep(measured, os.environ))
    except PtubenchError as exc:
        say(f"warning: the measurement is not kept: {exc}")
    whole = document.whole(found, measured, model=target.model, kept=kept)
    if as_json:
        print_json(whole)
    else:
        print_view(report.machine(whole))
    raise typer.Exit(whole["exit_code"])
