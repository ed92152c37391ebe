"""Options that several commands share: the load, the target, and where results go."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ptubench.cli import completion

LOAD = "Load"
TARGET = "Target"
RULES = "Rules"
OUTPUT = "Output"


def option(help_: str, *names: str, panel: str, **more: Any) -> Any:
    """One option of a command, with its help and the panel that it stands in."""
    return typer.Option(*names, help=help_, rich_help_panel=panel, **more)


Workload = Annotated[
    str,
    typer.Argument(
        help="A workload file, or the name of a shipped one (chat, demo, …).",
        metavar="WORKLOAD",
        autocompletion=completion.workloads,
    ),
]
Runs = Annotated[
    list[Path],
    typer.Argument(help="Run files (.jsonl or .jsonl.gz).", metavar="RUN", autocompletion=completion.runs),
]
Rate = Annotated[
    str | None, option("Open loop at this rate, such as 45/min; replaces the load.", metavar="RATE", panel=LOAD)
]
Duration = Annotated[
    str | None, option("How long load is offered, warm-up included, such as 10m.", metavar="DURATION", panel=LOAD)
]
Seed = Annotated[int | None, option("Fixes due times, classes and sizes.", metavar="N", panel=LOAD, min=0)]
On429 = Annotated[
    str | None,
    option("none, retry or divert: what happens after a 429.", "--on-429", metavar="POLICY", panel=LOAD),
]
Set = Annotated[
    list[str] | None,
    option("Override any key of the workload: --set load.rate=60/min.", "--set", metavar="KEY=VALUE", panel=LOAD),
]
Check = Annotated[
    list[str] | None,
    option(
        "A rule that must hold: --check 'ttft.p95 <= 800ms'. Beside the workload's; may be given again.",
        "--check",
        metavar="RULE",
        panel=RULES,
        autocompletion=completion.rules,
    ),
]
Strict = Annotated[bool, option("Exit with 4 also when the verdict is degraded.", "--strict", panel=RULES)]
Workers = Annotated[str, option("Processes that make load: a number, or auto.", metavar="N|auto", panel=LOAD)]
Endpoint = Annotated[
    str | None,
    option("URL of the resource, gateway or server. (env: AZURE_OPENAI_ENDPOINT)", metavar="URL", panel=TARGET),
]
Deployment = Annotated[
    str | None,
    option(
        "Deployment name, or model of an OpenAI-compatible server. (env: AZURE_OPENAI_DEPLOYMENT)",
        metavar="NAME",
        panel=TARGET,
    ),
]
ApiVersion = Annotated[
    str | None,
    option("Use the classic Azure URL with this version. (env: OPENAI_API_VERSION)", metavar="VERSION", panel=TARGET),
]
ApiStyle = Annotated[str | None, option("v1, classic or openai; default: by the URL.", metavar="STYLE", panel=TARGET)]
Api = Annotated[
    str | None,
    option("chat (completions) or responses; default: by the URL, else chat.", metavar="API", panel=TARGET),
]
Auth = Annotated[str, option("auto, key, token, entra or none.", metavar="HOW", panel=TARGET)]
KeyEnv = Annotated[
    str | None,
    option(
        "Environment variable with key or token; default: AZURE_OPENAI_API_KEY, with --auth token "
        "AZURE_OPENAI_AD_TOKEN.",
        metavar="VAR",
        panel=TARGET,
    ),
]
Scope = Annotated[
    str | None,
    option("Scope of Entra tokens; default: by cloud and URL style.", metavar="SCOPE", panel=TARGET),
]
Header = Annotated[
    list[str] | None,
    option("Further request header, its value from the environment: 'Name: env:VAR'.", metavar="HEADER", panel=TARGET),
]
TrustTarget = Annotated[
    bool, option("Send the key to an endpoint that only the workload file names.", "--trust-target", panel=TARGET)
]
CaFile = Annotated[str | None, option("PEM file with further certificate authorities.", metavar="FILE", panel=TARGET)]
Model = Annotated[str | None, option("The deployed model, such as gpt-4.1.", metavar="MODEL", panel=TARGET)]
Ptu = Annotated[int | None, option("Provisioned throughput units of the deployment.", metavar="N", panel=TARGET, min=1)]
Type = Annotated[str | None, option("global, datazone, regional or standard.", "--type", metavar="TYPE", panel=TARGET)]
Ratio = Annotated[
    float | None,
    option("Input tokens that one output token counts as; default: published.", metavar="X", panel=TARGET),
]
TpmPerPtu = Annotated[
    float | None, option("Input tokens a minute of one PTU; default: published.", metavar="TOKENS", panel=TARGET)
]
Simulate = Annotated[
    str | None,
    option(
        "Run against a simulated deployment, MODEL:PTU,KEY=VALUE,…; keys: `ptubench simulate --help`.",
        metavar="SPEC",
        panel=TARGET,
    ),
]
Cloud = Annotated[
    str | None, option("public, usgov or china; default: by the endpoint.", metavar="CLOUD", panel=TARGET)
]
Place = Annotated[
    str | None, option("Where this client runs, such as 'vm westeurope'; stored.", metavar="TEXT", panel=OUTPUT)
]
Results = Annotated[Path, option("Folder for run files.", metavar="FOLDER", panel=OUTPUT)]
Gzip = Annotated[bool, option("Write the run file compressed (.jsonl.gz).", "--gzip", panel=OUTPUT)]


_TARGET: dict[str, Any] = {
    "endpoint": Endpoint,
    "deployment": Deployment,
    "api_version": ApiVersion,
    "api_style": ApiStyle,
    "api": Api,
    "auth": Auth,
    "key_env": KeyEnv,
    "scope": Scope,
    "header": Header,
    "trust_target": TrustTarget,
    "ca_file": CaFile,
    "model": Model,
    "ptu": Ptu,
    "type": Type,
    "ratio": Ratio,
    "tpm_per_ptu": TpmPerPtu,
    "simulate": Simulate,
    "cloud": Cloud,
}
"""The options that say what the target is, as the fields of `TargetOptions` are called."""
_DEFAULTS = {"auth": "auto", "trust_target": False}
"""Those of them that are not None."""


def with_target(command: Callable[..., None] | None = None, *, without: tuple[str, ...] = ()) -> Callable[..., Any]:
    """A command of keywords only, with these options in the place of its parameter `target`, a `TargetOptions`.

    Args:
        command: to be decorated.
        without: names of options that would do nothing for it.
    """
    if command is None:
        return partial(with_target, without=without)
    offered = {name: annotation for name, annotation in _TARGET.items() if name not in without}

    def called(**given: Any) -> None:
        from ptubench.target.model import TargetOptions

        told = {name: given.pop(name) for name in offered}
        command(**given, target=TargetOptions(**told | {"header": tuple(told["header"] or ())}))

    ours = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=annotation)
        for name, annotation in offered.items()
    ]
    own = inspect.signature(command)
    parameters = [each for one in own.parameters.values() for each in (ours if one.name == "target" else [one])]
    called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # what typer reads
    called.__name__, called.__doc__ = command.__name__, command.__doc__
    return called
