"""`ptubench simulate`: one option for each parameter of a simulated deployment."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import inspect
from pathlib import Path
from typing import Annotated

import typer


def simulate(*, host: str, port: int, log: Path | None, faults: list[str] | None, **parameters: str | None) -> None:
    """Serve a simulated PTU deployment over HTTP, for any OpenAI client."""
    from ptubench.sim import options, server
    from ptubench.sim.faults import parse

    given = {name: value for name, value in parameters.items() if value is not None}
    server.serve(
        options.from_mapping(given, where="simulate"),
        host=host,
        port=port,
        log=log,
        faults=parse(faults or ()),
        watch_stdin=False,
    )


def signature() -> inspect.Signature:
    """The options of `simulate`: those of the server, then one for each parameter of the deployment."""
    from ptubench.sim.faults import FAULTS
    from ptubench.sim.options import parameters

    defaults = {"model": "gpt-4.1", "ptu": "50"}
    own = [
        ("host", str, typer.Option(help="Address to listen on.", metavar="HOST"), "127.0.0.1"),
        ("port", int, typer.Option(help="Port to listen on; 0 picks a free one.", metavar="PORT"), 8000),
        (
            "log",
            Path | None,
            typer.Option(help="File for one JSON line a request, with true send times.", metavar="FILE"),
            None,
        ),
        (
            "faults",
            list[str] | None,
            typer.Option(
                help=f"Test aid: play KIND for a SHARE of requests, KIND:1%. Kinds: {', '.join(FAULTS)}.",
                metavar="KIND:SHARE",
            ),
            None,
        ),
    ]
    for parameter in parameters():
        default = defaults.get(parameter.name)
        said = "" if default or parameter.default is None else f" (default: {_default_text(parameter.default)})"
        assumed = " (assumed: not published)" if parameter.assumed else ""
        flag = "--" + parameter.name.replace("_", "-")
        option = typer.Option(flag, help=f"{parameter.help}{assumed}{said}", metavar="VALUE")
        own.append((parameter.name, str | None, option, default))
    return inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
            for name, kind, option, default in own
        ]
    )


def _default_text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
