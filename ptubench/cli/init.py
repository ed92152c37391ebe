"""`ptubench init`: a workload file to start from."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import shutil
from pathlib import Path
from typing import Annotated

import typer

from ptubench.errors import UsageError


def init(
    name: Annotated[
        str,
        typer.Argument(help="The file is NAME.yaml; a shipped workload's name begins with that shape.", metavar="NAME"),
    ] = "chat",
) -> None:
    """Write a commented workload file to start from."""
    from ptubench.workload import shipped

    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    text = shipped.template(path.stem)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path}: exists already; name another file, or remove it first") from None
    except OSError as exc:
        raise UsageError(f"{path}: can't be written ({exc.strerror}); name another place") from None
    for companion in shipped.companions(path.stem):
        beside = path.with_name(companion.name)
        if not beside.exists():
            shutil.copyfile(companion, beside)
            typer.echo(f"{beside} written.")
    typer.echo(f"{path} written. See what it would do:  ptubench run {path} --simulate gpt-4.1:50 --dry-run")
