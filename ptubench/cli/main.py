"""The command line's frame: which commands there are, and how an error ends."""

import os
import signal
import sys
from typing import Annotated, Any, cast

import typer

from ptubench import __version__, inert
from ptubench.cli import capacity, check, compare, doctor, init, pipelines, report, run, simulate, size
from ptubench.errors import Exit, PtubenchError
from ptubench.secret import shown

_HELP = ["-h", "--help"]

app = typer.Typer(
    name="ptubench",
    help="What will a PTU deployment do for your traffic? Calls and tokens a minute, latency, and how often a 429.",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": _HELP},
)


_FIRST = """\
ptubench: what will a PTU deployment do for your traffic?

  ptubench run demo                    a simulated deployment: no Azure, no key
  ptubench run chat --endpoint URL --deployment NAME
                                       yours; its key: AZURE_OPENAI_API_KEY
  ptubench size chat --model gpt-4.1   which PTU size a load needs; prices
  ptubench init                        a workload file of your own

All commands: ptubench --help. All of one: ptubench run --help.
"""
_COMPLETIONS = ("--show-completion", "--install-completion")


def _show_version(value: bool) -> None:  # noqa: FBT001 - how typer calls it
    if value:
        typer.echo(f"ptubench {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback has acted
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(_FIRST, nl=False)


_COMMANDS = (
    run.run,
    size.size,
    capacity.capacity,
    report.report,
    compare.compare,
    check.check,
    doctor.doctor,
    init.init,
)
for _command in _COMMANDS:
    app.command()(_command)


_PIPED = ("ptubench run", "ptubench check")
"""What leaves something for pipelines."""
_WrongCommandLine = cast("type[Exception]", typer.BadParameter.__bases__[0])
"""What typer raises for options and arguments that it can't take; it has no public name."""


def _usage(exc: Any) -> int:
    """Say what is wrong with a command line, in one sentence as everything else."""
    said = shown(exc.format_message().strip().rstrip("."), most=300)
    command = exc.ctx.command_path if exc.ctx is not None else "ptubench"
    message = f"{said}; see `{command} --help`"
    if command in _PIPED:
        pipelines.tell_usage(sys.argv[2:], message)
    typer.echo(f"error: {message}", err=True)
    return Exit.USAGE


def _built() -> Any:
    """The command line, in whose help a flag takes no value: newer typers write `<bool>` behind it, as if it did."""
    group: Any = typer.main.get_command(app)
    for command in (group, *group.commands.values()):
        for param in command.get_params(typer.Context(command, help_option_names=_HELP)):  # --help too
            if getattr(param, "is_flag", False):
                param.metavar = ""
    return group


def main() -> None:
    """The one place where an error becomes a message and an exit code."""
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        # What cancels a job stops it as Ctrl-C does, also where no load is on: between two runs, say.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.argv[1:2] == ["simulate"]:
        simulate.simulate.__signature__ = simulate.signature()  # type: ignore[attr-defined]
    app.command()(simulate.simulate)
    if sys.argv[1:2] in ([name] for name in _COMPLETIONS) and len(sys.argv) > 2:
        # Typer takes the name of a shell only where it can't see which one it is in, and has no other way to say so.
        os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    try:
        raise SystemExit(_built()(prog_name="ptubench", standalone_mode=False))
    except PtubenchError as exc:
        typer.echo(f"error: {inert.line(str(exc))}", err=True)
        raise SystemExit(exc.exit_code) from None
    except _WrongCommandLine as exc:
        raise SystemExit(_usage(exc)) from None
    except KeyboardInterrupt:
        raise SystemExit(Exit.STOPPED) from None
