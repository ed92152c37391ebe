"""`ptubench report FOLDER`: the answer of a finished capacity search again."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptubench.cli import html as pages
from ptubench.cli.show import print_json, print_view
from ptubench.errors import UsageError


def report(folder: Path, format_: str | None, page: Path | None, *, alias: bool, others: bool) -> None:
    """Print the answer, and write its page if one is asked for.

    Args:
        folder: of the search.
        format_: table or json; None for a table, unless there is a page.
        page: the file of the page.
        alias: whether that is under other names.
        others: whether options were given that only run files have.

    Raises:
        UsageError: no answer that can be read, or what only run files have.
    """
    if others or format_ in ("markdown", "csv"):
        raise UsageError(
            f"{folder}: the folder of a search goes with --html, --alias and --json only; other options take a run file"
        )
    from ptubench.search import answer as searches

    pages.check(page, alias=alias)
    answer = searches.read(folder)
    with _read(folder):
        if page is not None:
            from ptubench.page import answers

            pages.write(page, lambda: answers.capacity(answer, alias=alias))
        if format_ == "json":
            print_json(answer)
        elif page is None or format_ == "table":
            from ptubench.report import capacity

            print_view(capacity.render(answer))


@contextmanager
def _read(folder: Path) -> Iterator[None]:
    """An answer that was edited by hand lacks what every answer has."""
    import msgspec

    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, msgspec.ValidationError):
        raise UsageError(f"{folder}: its answer was changed, and can't be read any more; search again") from None
