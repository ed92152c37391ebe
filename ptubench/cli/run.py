"""`ptubench run`: options in, a run or a dry run, exit code out."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ptubench.cli.show import print_json, show, show_later
from ptubench.errors import Exit, Stopped, UsageError

_LOAD = "Load"
_TARGET = "Target"
_OUTPUT = "Output"


def _option(help_: str, *names: str, panel: str, **more: Any) -> Any:
    return typer.Option(*names, help=help_, rich_help_panel=panel, **more)


def run(
    workload: Annotated[
        str, typer.Argument(help="A workload file, or the name of a shipped one (chat, demo, …).", metavar="WORKLOAD")
    ],
    rate: Annotated[
        str | None, _option("Open loop at this rate, such as 45/min; replaces the load.", metavar="RATE", panel=_LOAD)
    ] = None,
    concurrency: Annotated[
        int | None, _option("Closed loop of so many lanes; replaces the load.", metavar="LANES", panel=_LOAD, min=1)
    ] = None,
    duration: Annotated[
        str | None, _option("How long load is offered, warm-up included, such as 10m.", metavar="DURATION", panel=_LOAD)
    ] = None,
    seed: Annotated[int | None, _option("Fixes due times, classes and sizes.", metavar="N", panel=_LOAD, min=0)] = None,
    on_429: Annotated[
        str | None,
        _option("none, retry or divert: what happens after a 429.", "--on-429", metavar="POLICY", panel=_LOAD),
    ] = None,
    salt: Annotated[
        str | None, _option("Fixes the text of the prompts; default: new for every run.", metavar="TEXT", panel=_LOAD)
    ] = None,
    set_: Annotated[
        list[str] | None,
        _option("Override any key of the workload: --set load.rate=60/min.", "--set", metavar="KEY=VALUE", panel=_LOAD),
    ] = None,
    workers: Annotated[
        str, _option("Processes that make load: a number, or auto.", metavar="N|auto", panel=_LOAD)
    ] = "1",
    endpoint: Annotated[
        str | None,
        _option("URL of the resource, gateway or server. (env: AZURE_OPENAI_ENDPOINT)", metavar="URL", panel=_TARGET),
    ] = None,
    deployment: Annotated[
        str | None,
        _option(
            "Deployment name, or model of an OpenAI-compatible server. (env: AZURE_OPENAI_DEPLOYMENT)",
            metavar="NAME",
            panel=_TARGET,
        ),
    ] = None,
    api_version: Annotated[
        str | None,
        _option(
            "Use the classic Azure URL with this version. (env: OPENAI_API_VERSION)", metavar="VERSION", panel=_TARGET
        ),
    ] = None,
    api_style: Annotated[
        str | None, _option("v1, classic or openai; default: by the URL.", metavar="STYLE", panel=_TARGET)
    ] = None,
    api: Annotated[
        str | None,
        _option("chat (completions) or responses; default: by the URL, else chat.", metavar="API", panel=_TARGET),
    ] = None,
    auth: Annotated[str, _option("auto, key, token, entra or none.", metavar="HOW", panel=_TARGET)] = "auto",
    key_env: Annotated[
        str | None,
        _option(
            "Environment variable with key or token; default: AZURE_OPENAI_API_KEY, with --auth token "
            "AZURE_OPENAI_AD_TOKEN.",
            metavar="VAR",
            panel=_TARGET,
        ),
    ] = None,
    scope: Annotated[
        str | None,
        _option("Scope of Entra tokens; default: by cloud and URL style.", metavar="SCOPE", panel=_TARGET),
    ] = None,
    header: Annotated[
        list[str] | None,
        _option(
            "Further request header, its value from the environment: 'Name: env:VAR'.", metavar="HEADER", panel=_TARGET
        ),
    ] = None,
    trust_target: Annotated[
        bool, _option("Send the key to an endpoint that only the workload file names.", "--trust-target", panel=_TARGET)
    ] = False,
    ca_file: Annotated[
        str | None, _option("PEM file with further certificate authorities.", metavar="FILE", panel=_TARGET)
    ] = None,
    model: Annotated[
        str | None, _option("The deployed model, such as gpt-4.1.", metavar="MODEL", panel=_TARGET)
    ] = None,
    ptu: Annotated[
        int | None, _option("Provisioned throughput units of the deployment.", metavar="N", panel=_TARGET, min=1)
    ] = None,
    type_: Annotated[
        str | None, _option("global, datazone, regional or standard.", "--type", metavar="TYPE", panel=_TARGET)
    ] = None,
    ratio: Annotated[
        float | None,
        _option("Input tokens that one output token counts as; default: published.", metavar="X", panel=_TARGET),
    ] = None,
    tpm_per_ptu: Annotated[
        float | None, _option("Input tokens a minute of one PTU; default: published.", metavar="TOKENS", panel=_TARGET)
    ] = None,
    simulate: Annotated[
        str | None,
        _option(
            "Run against a simulated deployment, MODEL:PTU,KEY=VALUE,…; keys: `ptubench simulate --help`.",
            metavar="SPEC",
            panel=_TARGET,
        ),
    ] = None,
    resource: Annotated[
        str | None,
        _option(
            "Azure resource ID of the account; asks Azure what the deployment is, before and after the run.",
            metavar="RESOURCE_ID",
            panel=_TARGET,
        ),
    ] = None,
    cloud: Annotated[
        str | None, _option("public, usgov or china; default: by the endpoint.", metavar="CLOUD", panel=_TARGET)
    ] = None,
    monitor: Annotated[
        bool,
        _option(
            "With --resource: Azure Monitor's figures beside ours; the window starts on a full UTC minute.",
            "--monitor",
            panel=_OUTPUT,
        ),
    ] = False,
    monitor_wait: Annotated[
        str | None,
        _option(
            "How long to wait for these figures after the report, at most; default: 5m; 0 asks once.",
            metavar="DURATION",
            panel=_OUTPUT,
        ),
    ] = None,
    label: Annotated[
        str | None, _option("A word of yours in the run file and its name.", metavar="TEXT", panel=_OUTPUT)
    ] = None,
    place: Annotated[
        str | None, _option("Where this client runs, such as 'vm westeurope'; stored.", metavar="TEXT", panel=_OUTPUT)
    ] = None,
    results: Annotated[Path, _option("Folder for run files.", metavar="FOLDER", panel=_OUTPUT)] = Path("results"),
    gzip: Annotated[bool, _option("Write the run file compressed (.jsonl.gz).", "--gzip", panel=_OUTPUT)] = False,
    as_json: Annotated[
        bool, _option("Print the summary as one JSON document instead of tables.", "--json", panel=_OUTPUT)
    ] = False,
    strict: Annotated[
        bool, _option("Exit with 4 also when the verdict is degraded.", "--strict", panel=_OUTPUT)
    ] = False,
    dry_run: Annotated[
        bool, _option("Say everything about the run and send nothing.", "--dry-run", panel=_OUTPUT)
    ] = False,
    probe: Annotated[
        bool, _option("With --dry-run: send one call to see that the target answers.", "--probe", panel=_OUTPUT)
    ] = False,
) -> None:
    """Put the load on a target, report, store the run.

    Exit codes: 0 good, 2 usage or workload, 3 a check failed,
    4 the measurement is not valid, 5 the target refused before any load,
    130 stopped by a signal.
    """
    from ptubench import commands
    from ptubench.azure_run import AzureOptions
    from ptubench.target.model import TargetOptions

    if probe and not dry_run:
        raise UsageError("--probe: goes with --dry-run only; a run sends its probe call anyway")
    options = commands.RunOptions(
        workload=workload,
        target=TargetOptions(
            endpoint=endpoint,
            deployment=deployment,
            api_version=api_version,
            api_style=api_style,
            api=api,
            key_env=key_env,
            auth=auth,
            header=tuple(header or ()),
            model=model,
            ptu=ptu,
            type=type_,
            ratio=ratio,
            tpm_per_ptu=tpm_per_ptu,
            cloud=cloud,
            scope=scope,
            trust_target=trust_target,
            simulate=simulate,
            ca_file=ca_file,
        ),
        overrides=tuple(set_ or ()),
        rate=rate,
        concurrency=concurrency,
        duration=duration,
        seed=seed,
        on_429=on_429,
        salt=salt,
        label=label,
        place=place,
        workers=workers,
        results=results,
        compress=gzip,
        azure=AzureOptions(resource=resource, monitor=monitor, monitor_wait=monitor_wait),
    )
    prepared = commands.prepare(options, os.environ)
    if dry_run:
        _dry_run(prepared, as_json=as_json, probe=probe)
    else:
        raise typer.Exit(_run(prepared, as_json=as_json, strict=strict))


def _run(prepared: Any, *, as_json: bool, strict: bool) -> int:
    """One run with its live view; the exit code."""
    from ptubench import commands
    from ptubench.analysis.summary import summarize
    from ptubench.report import live, text

    console = text.console(stderr=True)

    def say(line: str) -> None:
        # A path or a sentence that is broken in two is no use to a script.
        console.print(text.untrusted(line, limit=400), soft_wrap=True)

    kind = "simulated" if prepared.target.simulate is not None else prepared.target.kind
    title = live.title(kind, prepared.workload.name, prepared.target.deployment or prepared.target.endpoint)
    # Standard output is for the results alone, whatever the user's own client prints.
    with live.View(console, title) as view, contextlib.redirect_stdout(sys.stderr):
        outcome = commands.run(prepared, say=say, watch=view.update)
    if outcome.file is None:
        raise Stopped
    say(f"run file: {outcome.file}")
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
    return _exit_code(summary, outcome.ended, strict=strict)


def _exit_code(summary: dict[str, Any], ended: str, *, strict: bool) -> int:
    verdict = summary["validity"]["verdict"]
    reached = (
        (ended in ("stopped", "aborted"), Exit.STOPPED),
        (verdict == "invalid" or (strict and verdict == "degraded"), Exit.INVALID),
        (not all(row["passed"] for row in summary["checks"]), Exit.CHECK),
    )
    return next((code for reason, code in reached if reason), Exit.GOOD)


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
    console.print(preview.render(planned, prepared.workload, described, second))
    if probed is not None and found is not None:
        answered = f"the probe call was answered with status {found['status']} by model {found['model'] or 'unknown'}"
        console.print(text.untrusted(answered, limit=400))
        if (way := network(probed.network())) is not None:
            console.print(way)
        for name in found["left_out"]:
            console.print(text.untrusted(f"the target refuses `{name}`: it would be left out", limit=400))
