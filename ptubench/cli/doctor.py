"""`ptubench doctor`: what this machine drives truthfully, and whether a target is in order."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import os
from typing import Annotated

import typer

from ptubench.cli import options
from ptubench.cli.options import OUTPUT, option
from ptubench.cli.show import print_json, print_view


def doctor(
    endpoint: options.Endpoint = None,
    deployment: options.Deployment = None,
    api_version: options.ApiVersion = None,
    api_style: options.ApiStyle = None,
    api: options.Api = None,
    auth: options.Auth = "auto",
    key_env: options.KeyEnv = None,
    scope: options.Scope = None,
    header: options.Header = None,
    ca_file: options.CaFile = None,
    model: options.Model = None,
    cloud: options.Cloud = None,
    as_json: Annotated[bool, option("Print one JSON document instead of tables.", "--json", panel=OUTPUT)] = False,
) -> None:
    """What this machine drives truthfully, in PTUs; and whether a target, its key, proxy and TLS are in order.

    Takes up to a minute. A target gets one probe call and no load.

    Exit codes: 0 good; 2 usage; 5 the target is not in order; 130 stopped.
    """
    from ptubench.cli.play import say
    from ptubench.doctor import document, machine, stored, target
    from ptubench.errors import PtubenchError
    from ptubench.report import doctor as report
    from ptubench.target.model import TargetOptions

    asked = TargetOptions(
        endpoint=endpoint,
        deployment=deployment,
        api_version=api_version,
        api_style=api_style,
        api=api,
        key_env=key_env,
        auth=auth,
        header=tuple(header or ()),
        model=model,
        cloud=cloud,
        scope=scope,
        ca_file=ca_file,
    )
    found = target.look(asked, os.environ) if target.named(asked, os.environ) else None
    if found is not None and not as_json:
        print_view(report.target(found))
    measured = machine.measure(model=model, say=say, pace=machine.PACE)
    kept = None
    try:
        kept = str(stored.keep(measured, os.environ))
    except PtubenchError as exc:
        say(f"warning: the measurement is not kept: {exc}")
    whole = document.whole(found, measured, model=model, stored=kept)
    if as_json:
        print_json(whole)
    else:
        print_view(report.machine(whole))
    raise typer.Exit(whole["exit_code"])
