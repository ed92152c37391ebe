"""What `run` and `check` leave for pipelines: JUnit XML, Markdown, GitHub's step summary and annotations."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from ptubench.cli.options import OUTPUT, option
from ptubench.cli.show import print_json, print_view
from ptubench.errors import PtubenchError, UsageError

Junit = Annotated[
    Path | None,
    option("Also write checks and verdict as JUnit XML.", "--junit", metavar="FILE", panel=OUTPUT),
]
Markdown = Annotated[
    Path | None,
    option(
        "Also write checks and verdict as Markdown, of `run` its tables too.",
        "--markdown",
        metavar="FILE",
        panel=OUTPUT,
    ),
]
Github = Annotated[
    bool,
    option(
        "In GitHub Actions: the same in the step's summary, an annotation for each rule that fails.",
        "--github",
        panel=OUTPUT,
    ),
]


@dataclass(frozen=True)
class Places:
    """Where it all goes; None for what was not asked for."""

    junit: Path | None
    markdown: Path | None
    step: Path | None
    """The file of the step's summary."""

    def write(self, document: Mapping[str, Any], summaries: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write a check document, and the headline tables of the runs whose summaries are given.

        Raises:
            MeasurementLost: a file can't be written any more.
        """
        from ptubench.report import github, junit, markdown
        from ptubench.results import output

        text = "" if self.markdown is self.step is None else markdown.of_check(document, summaries)
        if self.junit is not None:
            output.write(self.junit, junit.junit(document))
        if self.markdown is not None:
            output.write(self.markdown, text)
        if self.step is not None:
            _annotate(github.annotations(document))
            github.append(self.step, text)

    def show(self, document: Mapping[str, Any], summaries: Sequence[Mapping[str, Any]] = (), *, as_json: bool) -> None:
        """Print a check document after it was written; what failed is the last thing on the screen. Raises as `write`."""
        self.write(document, summaries)
        if as_json:
            print_json(document)
        else:
            from ptubench.report import check

            print_view(check.render(document))

    def tell(self, error: PtubenchError) -> None:
        """Say what ended the command: as a test case in error, in the report's place, and as an annotation."""
        from ptubench.report import github, junit, markdown
        from ptubench.results import output

        text = markdown.refused(str(error))
        with contextlib.suppress(PtubenchError):  # the error that counts is the first one
            if self.junit is not None:
                output.write(self.junit, junit.refused(str(error), type(error).__name__))
            if self.markdown is not None:
                output.write(self.markdown, text)
            if self.step is not None:
                _annotate([github.refused(str(error))])
                github.append(self.step, text)


@contextlib.contextmanager
def asked(junit: Path | None, markdown: Path | None, *, github: bool) -> Iterator[Places]:
    """Look, before any load, whether all that is asked for can be written; an error that ends what follows is told there.

    Raises:
        UsageError: a file can't be written, or this is no step of GitHub Actions.
    """
    from ptubench.report.github import summary_file
    from ptubench.results import output

    for path, name in ((junit, "--junit"), (markdown, "--markdown")):
        if path is not None:
            output.check_writable(path, name)
    if junit is not None and markdown is not None and junit.resolve() == markdown.resolve():
        raise UsageError(f"--markdown {markdown}: is the file of --junit; name another one")
    places = Places(junit, markdown, summary_file(os.environ) if github else None)
    try:
        yield places
    except PtubenchError as exc:
        places.tell(exc)
        raise


def tell_usage(arguments: Sequence[str], message: str) -> None:
    """Say what is wrong with a command line in the places that it names, as well as they can be read in one that is wrong."""
    junit, markdown = (_named(arguments, name) for name in ("--junit", "--markdown"))
    with contextlib.suppress(PtubenchError), asked(junit, markdown, github="--github" in arguments):
        raise UsageError(message)


def _named(arguments: Sequence[str], option: str) -> Path | None:
    """The file that an option names, behind it or behind its `=`."""
    for word, following in pairwise((*arguments, "")):
        name, _, value = word.partition("=")
        value = following if word == option else value
        if name == option and value and not value.startswith("-"):
            return Path(value)
    return None


def _annotate(lines: Sequence[str]) -> None:
    """On standard error, which the runner reads too: standard output may be one JSON document."""
    for line in lines:
        typer.echo(line, err=True)
