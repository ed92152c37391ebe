"""Files that an option names, such as `--junit FILE`: complete, or not there at all.

A file is written beside its place under a passing name and then moved, so that nobody ever reads half of one, and what
was there before stays until the new one is whole. What is no regular file, such as a pipe, is written as it is.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

from ptubench.errors import MeasurementLost, UsageError

_NUMBERS = count(1)
_HEAD = b'{"type":"head",'
"""How every run file begins."""


def check_writable(path: Path, option: str, *, over_run: bool = False) -> None:
    """Make sure that `path` can be written, before anything is measured for it; folders are made if need be.

    Args:
        path: the file to be written.
        option: what named it, such as `--junit`, for the message.
        over_run: whether it may take the place of a run file, which nothing can make again.

    Raises:
        UsageError: it can't be written there.
    """
    if not over_run and _is_run(path):
        raise UsageError(f"{option} {path}: is a run file, which would be lost; name another file")
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        if _is_special(path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "the file there is not writable")
        beside = _beside(path)
        os.close(_made(beside))
        beside.unlink()
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(
            f"{option} {path}: can't be written ({why}); name a file in a folder that can be written to"
        ) from None


def write(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all; line ends stay as they are.

    Raises:
        MeasurementLost: the disk is full or gone.
    """
    with writing(path) as file:
        file.write(text.encode())


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes `path` when all has been written, and vanishes if anything is raised.

    Raises:
        MeasurementLost: the disk is full or gone.
    """
    special = _is_special(path)
    # A link stays one: what it leads to is replaced.
    whole = path if special else path.resolve()
    beside = path if special else _beside(whole)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY) if special else _made(beside), "wb") as file:
            yield file
        if not special:
            beside.replace(whole)
    except OSError as exc:
        raise MeasurementLost(f"{path}: can't be written ({exc.strerror}); make room, or name another file") from None
    finally:
        if not special:
            with suppress(OSError):
                beside.unlink()


def _is_special(path: Path) -> bool:
    """Whether it is there and no regular file: a pipe, `/dev/stdout`."""
    return path.exists() and not path.is_file()


def _is_run(path: Path) -> bool:
    """Whether there is a run file."""
    try:
        if not path.is_file():
            return False  # nobody knows how long a pipe would let us wait
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(len(_HEAD)) == _HEAD
    except (OSError, ValueError, EOFError, zlib.error):
        return False


def _beside(path: Path) -> Path:
    """A name in the same folder that nobody has."""
    return path.resolve().parent / f".ptubench-{os.getpid()}-{next(_NUMBERS)}.tmp"


def _made(path: Path) -> int:
    """A new file with the permissions of any new file."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
