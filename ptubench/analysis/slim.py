"""A run file that keeps what numbers are made of, and drops the rest: small enough for a repository.

Every summary, check and comparison of it is that of the whole file, number for number. Dropped are request ids and
other headers that nothing is computed from, all error texts but the first of each kind, and what the ticks repeat.
"""

import contextlib
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from ptubench import record
from ptubench.analysis.causes import LIMITS
from ptubench.errors import UsageError
from ptubench.record import THROTTLED_IN_BAND, Attempt, Head, Line, Tick
from ptubench.results import output, store

_OF_ALL = frozenset((record.SPILLED, "x-ms-region"))
"""Headers that are read of every answer; of `LIMITS` it counts whether there are any."""
_OF_REFUSALS = _OF_ALL | LIMITS | {"retry-after", "retry-after-ms"}
_UNREADABLE = b"{}\n"
"""Stands for a line that can't be read, so that those after it keep their numbers."""


def write(path: Path, small: Path) -> None:
    """Write the run file `path` again as `small`, compressed if that ends with `.gz`.

    Raises:
        UsageError: no run file; or `small` is the same file, or holds anything but a slim run file.
        MeasurementLost: it can't be written.
    """
    check(path, small)
    with output.writing(small) as raw, _packed(raw, small) as file:
        for line in _lines(path):
            file.write(line)


def check(path: Path, small: Path) -> None:
    """Make sure that nothing is lost where `small` is written.

    Raises:
        UsageError: `path` is no run file, or `small` no name of one, or what is there is not ours to replace, or it
            can't be written.
    """
    store.read_head(path)
    name = f"--slim {small}"
    if not small.name.endswith((".jsonl", ".jsonl.gz")):
        raise UsageError(f"{name}: not the name of a run file; let it end with .jsonl.gz")
    output.check_writable(small, "--slim", over_run=True)
    if small.exists() and small.samefile(path):
        raise UsageError(f"{name}: is the run itself, which would be lost; name another file")
    if small.is_file() and not _is_slim(small):
        raise UsageError(
            f"{name}: is there and no slim run file, so it is not replaced; name another file, or remove it"
        )


def _is_slim(path: Path) -> bool:
    try:
        return store.read_head(path).slim
    except UsageError:
        return False


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of the slim file, one for each of the whole."""
    broken: list[int] = []
    seen: set[str] = set()
    marked = 0
    for line in store.lines(path, broken=broken):
        yield _UNREADABLE * (len(broken) - marked)
        marked = len(broken)
        yield record.encode(_slim(line, seen))


def _slim(line: Line, seen: set[str]) -> Line:
    """A line without what no number needs; `seen` are the kinds of failure whose first text was kept."""
    match line:
        case Head():
            return msgspec.structs.replace(line, slim=True)
        case Tick():
            return msgspec.structs.replace(line, in_flight=0, sent=0, content_events=0)
        case Attempt():
            kept = line.error if line.failure is not None and line.failure not in seen else None
            seen.add(line.failure or "")
            return msgspec.structs.replace(line, headers=_headers(line), error=kept)
    return line


def _headers(attempt: Attempt) -> dict[str, str]:
    """The headers that causes, waits, regions and spillover are read from."""
    refused = attempt.status == 429 or THROTTLED_IN_BAND in attempt.flags
    limit = next((name for name in attempt.headers if name in LIMITS), "")
    names = _OF_REFUSALS if refused else _OF_ALL | {limit}
    return {name: value for name, value in attempt.headers.items() if name in names}


@contextlib.contextmanager
def _packed(raw: IO[bytes], path: Path) -> Iterator[io.BufferedIOBase | IO[bytes]]:
    """`raw`, compressed if its name says so; the same lines always make the same bytes."""
    if path.suffix != ".gz":
        yield raw
        return
    with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        yield file
