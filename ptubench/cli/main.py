"""The command line's frame: which commands there are, and how an error ends."""

import sys
from typing import Annotated, Any, cast

import typer

from ptubench import __version__
from ptubench.cli import capacity, compare, init, report, run, simulate, size
from ptubench.errors import Exit, PtubenchError
from ptubench.secret import shown

app = typer.Typer(
    name="ptubench",
    help="What will a PTU deployment do for your traffic? Calls and tokens a minute, latency, and how often a 429.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:  # noqa: FBT001 - how typer calls it
    if value:
        typer.echo(f"ptubench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


for _command in (run.run, size.size, capacity.capacity, report.report, compare.compare, init.init):
    app.command()(_command)


_WrongCommandLine = cast("type[Exception]", typer.BadParameter.__bases__[0])
"""What typer raises for options and arguments that it can't take; it has no public name."""


def _usage(exc: Any) -> int:
    """Say what is wrong with a command line, in one sentence as everything else; without any arguments, help."""
    said = shown(exc.format_message().strip().rstrip("."), most=300)
    command = exc.ctx.command_path if exc.ctx is not None else "ptubench"
    if len(sys.argv) == 1:
        exc.show()
    else:
        typer.echo(f"error: {said}; see `{command} --help`", err=True)
    return Exit.USAGE


def main() -> None:
    """The one place where an error becomes a message and an exit code."""
    if sys.argv[1:2] == ["simulate"]:
        simulate.simulate.__signature__ = simulate.signature()  # type: ignore[attr-defined]
    app.command()(simulate.simulate)
    try:
        raise SystemExit(app(prog_name="ptubench", standalone_mode=False))
    except PtubenchError as exc:
        typer.echo(f"error: {exc}", err=True)
        raise SystemExit(exc.exit_code) from None
    except _WrongCommandLine as exc:
        raise SystemExit(_usage(exc)) from None
    except KeyboardInterrupt:
        raise SystemExit(Exit.STOPPED) from None
