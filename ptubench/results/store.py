"""Run files: a new one is written as the run happens, an old one is read line by line.

Knows files and `record`'s lines, not what they mean. A file is never overwritten; a torn last line is ignored,
since a run that was killed keeps what it had.
"""

import gzip
import io
import math
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import IO

from ptubench import record
from ptubench.errors import MeasurementLost, UsageError
from ptubench.record import Head, Line
from ptubench.results import head

_FLUSH_EVERY = 1.0
_LINE_LIMIT = 16 * 2**20
"""Bytes; far above what any line has. A compressed file of some megabytes can say that it has one of gigabytes."""
_EXPANSION = 200
"""How many times its size a compressed file may become; run files become 10 to 20 times theirs, and what was made to exhaust
a reader up to 1,000 times."""
_MOST_BROKEN = 10_000


class Writer:
    """One new run file, open for writing.

    Args:
        path: a file that does not exist yet; with the ending `.gz` it is compressed.

    Raises:
        FileExistsError: it does exist.
        OSError: it can't be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = path.open("xb")
        self._file: io.BufferedIOBase = raw if path.suffix != ".gz" else gzip.GzipFile(fileobj=raw, mode="wb")
        self._raw = raw
        self._flushed = time.monotonic()

    def write(self, lines: bytes) -> None:
        """Append whole lines; they are on their way to the disk within a second if writing goes on.

        Raises:
            MeasurementLost: the disk is full or gone.
        """
        try:
            self._file.write(lines)
        except OSError as exc:
            raise self._lost(exc) from exc
        if time.monotonic() - self._flushed >= _FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Hand everything written so far to the operating system.

        Raises:
            MeasurementLost: the disk is full or gone.
        """
        try:
            self._file.flush()
            self._raw.flush()
        except OSError as exc:
            raise self._lost(exc) from exc
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush and close; a second time does nothing.

        Raises:
            MeasurementLost: the disk is full or gone.
        """
        try:
            self._file.close()
            self._raw.close()
        except OSError as exc:
            # What could not be written stays in the buffers, and closing would try again for ever.
            with suppress(OSError):
                self._raw.close()
            raise self._lost(exc) from exc

    def _lost(self, exc: OSError) -> MeasurementLost:
        return MeasurementLost(
            f"{self.path}: the run's records can't be written any more ({exc.strerror}); "
            "what was written before stays readable; make room, or choose another folder with `--results DIR`"
        )


def create(folder: Path, workload: str, label: str | None, started: datetime, *, compress: bool = False) -> Writer:
    """Open `<UTC time>-<workload>[-<label>].jsonl[.gz]` in `folder`, which is made if need be.

    Where the name is taken, `-2`, `-3`, … is added. In the name, whatever is not a letter, a digit, a dot, an
    underscore or a dash becomes a dash.

    Raises:
        UsageError: the folder can't be made or written to.
    """
    time_part = started.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    stem = "-".join((time_part, _slug(workload) or "run", *filter(None, [_slug(label or "")])))
    ending = ".jsonl.gz" if compress else ".jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            with suppress(FileExistsError):
                return Writer(folder / f"{stem}{f'-{number}' if number > 1 else ''}{ending}")
    except OSError as exc:
        raise UsageError(
            f"{folder}: results can't be written there ({exc.strerror}); choose another folder with `--results DIR`"
        ) from None
    raise AssertionError


def lines(path: Path, *, broken: list[int] | None = None) -> Iterator[Line]:
    """The lines of a run file in order, the head first.

    Args:
        path: a `.jsonl` or `.jsonl.gz` file; a compressed one may have been cut anywhere.
        broken: gets the numbers of lines that can't be read, except for a torn last one.

    Raises:
        UsageError: no file, no run file, a newer schema, more than a run can have, or a second run in the same file.
    """
    unreadable: int | None = None
    count = 0
    with _open(path) as file:
        yield head.decode(_first(path, file), path)
        for number, raw in enumerate(_checked(path, file), start=2):
            if unreadable is not None and broken is not None:
                broken.append(unreadable)
            unreadable = None
            try:
                line = record.decode(raw)
            except head.NO_LINE:
                # Only what follows tells whether it was the torn end of the file.
                unreadable = number
                count += 1
                if count > _MOST_BROKEN:
                    raise UsageError(
                        f"{path}: over {_MOST_BROKEN:,} of its lines can't be read; it is no run file"
                    ) from None
                continue
            if isinstance(line, Head):
                raise UsageError(f"{path}: line {number} begins a second run; report each run from its own file")
            yield line


def append(path: Path, *more: Line) -> None:
    """Add lines to the end of a run file, which keeps every byte that it has.

    A torn last line is ended first, and from then on is one that can't be read.

    Raises:
        UsageError: no file, it can't be written, or it is compressed and was cut.
    """
    written = b"".join(map(record.encode, more))
    torn = _ending(path)
    try:
        # What is compressed gets a member of its own, which readers take for one file with the rest.
        with gzip.open(path, "ab") if path.suffix == ".gz" else path.open("ab") as file:
            file.write(b"\n" * torn + written)
    except OSError as exc:
        raise UsageError(f"{path}: can't be added to ({exc.strerror}); make room, or make it writable") from None


def _ending(path: Path) -> bool:
    """Whether the last line of a run file is torn."""
    last = b"\n"
    try:
        with _open(path) as file:
            if path.suffix != ".gz":
                file.seek(-1, io.SEEK_END)
            while chunk := file.read(2**20):
                last = chunk[-1:]
    except (EOFError, OSError, zlib.error):
        raise UsageError(
            f"{path}: the compressed file was cut, so that nothing can follow; `gunzip` what is left of it, and use that"
        ) from None
    return last != b"\n"


def read_head(path: Path) -> Head:
    """The first line of a run file.

    Raises:
        UsageError: no file, no run file, or a newer schema.
    """
    with _open(path) as file:
        return head.decode(_first(path, file), path)


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    try:
        if path.suffix == ".gz":
            # Not buffered once more: a buffer asks for more than a cut file has, and loses what it has.
            return gzip.open(path)
        return path.open("rb")
    except OSError as exc:
        raise UsageError(
            f"{path}: the run file can't be opened ({exc.strerror}); give the path that `ptubench run` printed"
        ) from None


def _first(path: Path, file: IO[bytes] | gzip.GzipFile) -> bytes:
    try:
        return file.readline(_LINE_LIMIT)
    except (EOFError, OSError, zlib.error):
        raise UsageError(f"{path}: the compressed file is damaged at its beginning; the run is lost") from None


def _checked(path: Path, file: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    """The lines behind the first, unless they are more than a run file can have."""
    most = _EXPANSION * path.stat().st_size + _LINE_LIMIT if path.suffix == ".gz" else math.inf
    size = 0
    for number, raw in enumerate(_whole(file), start=2):
        size += len(raw)
        if size > most or (len(raw) >= _LINE_LIMIT and not raw.endswith(b"\n")):
            what = (
                f"line {number} exceeds 16 MiB" if size <= most else f"unpacked it exceeds {_EXPANSION} times its size"
            )
            raise UsageError(f"{path}: {what}, as no run file does; it was damaged, or made to exhaust what reads it")
        yield raw


def _whole(file: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    """Lines up to the end, or up to where a compressed file was cut or damaged; of an endless one a part."""
    with suppress(EOFError, OSError, zlib.error):
        while line := file.readline(_LINE_LIMIT):
            yield line


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:60].strip("-.")
