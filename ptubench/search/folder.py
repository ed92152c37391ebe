"""The folder of a search: its run files, and once it is over its answer. An interrupted search is found again by its key.

A step is known by its whole workload, rate and seed included: which steps were done is read from the run files alone.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from ptubench.errors import UsageError
from ptubench.record import End
from ptubench.results import store
from ptubench.workload.hashing import portable, workload_hash
from ptubench.workload.model import Workload

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ANSWER = "answer.json"
_LOCK = ".searching"
_ENDINGS = ("*.jsonl", "*.jsonl.gz")


class _Result(msgspec.Struct):
    low: float
    high: float


class _Answer(msgspec.Struct):
    """What of an answer tells whether it is the last."""

    ended: str
    why: str | None
    result: _Result | None


def key(workload: Workload, target: Mapping[str, Any], *, virtual: bool) -> str:
    """What makes two searches the same: workload, seed, rules and target, and the clock."""
    named = {name: target.get(name) for name in ("kind", "url", "deployment", "model", "ptu", "type", "simulate")}
    parts = (workload_hash(workload), workload.seed, workload.checks, named, virtual)
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:8]


def unfinished(results: Path, name: str, *, within: float) -> Path | None:
    """The latest folder of a search of this key, if that was interrupted, or ended by a bound or wider than asked for now.

    Args:
        results: where folders are.
        name: the search's key.
        within: half the interval that is asked for, as a share of the rate.
    """
    found = sorted(path for path in results.glob(f"*-capacity-{name}*") if path.is_dir()) if results.is_dir() else []
    return found[-1] if found and not _is_over(found[-1] / ANSWER, within) else None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other searches out of a folder for as long as this process lives, even if it is killed.

    Raises:
        UsageError: another one is there.
    """
    with (folder / _LOCK).open("ab") as file:
        try:
            _lock(file.fileno())
        except OSError:
            raise UsageError(
                f"{folder}: another search of this workload and target is running there; wait until it is over, since two "
                "would refuse each other's calls"
            ) from None
        yield


if sys.platform == "win32":  # pragma: no cover

    def _lock(number: int) -> None:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)

else:

    def _lock(number: int) -> None:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def new(results: Path, workload: str, name: str) -> Path:
    """A new folder, `<UTC time>-<workload>-capacity-<key>`.

    Raises:
        UsageError: it can't be made.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", workload)[:60].strip("-.") or "run"
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-capacity-{name}"
    try:
        for number in count(1):
            with suppress(FileExistsError):
                path = results / f"{stem}{f'-{number}' if number > 1 else ''}"
                path.mkdir(parents=True)
                return path
    except OSError as exc:
        raise UsageError(
            f"--results {results}: can't be written ({exc.strerror}); name a folder that can be written"
        ) from None
    raise AssertionError


def done(folder: Path) -> list[tuple[Workload, Path]]:
    """The steps in a folder that came to their end, each with its run file."""
    return [(workload, path) for workload, path, completed in _runs(folder) if completed]


def cut(folder: Path) -> list[Path]:
    """The run files in a folder that did not come to their end."""
    return [path for _, path, completed in _runs(folder) if not completed]


def find(steps: list[tuple[Workload, Path]], workload: Workload) -> list[Path]:
    """The run files of a step that was done."""
    wanted = portable(workload)
    return [path for made, path in steps if made == wanted]


def finish(folder: Path, answer: Mapping[str, Any]) -> None:
    """Keep the answer: the search is over.

    Raises:
        UsageError: it can't be written.
    """
    try:
        (folder / ANSWER).write_bytes(msgspec.json.format(msgspec.json.encode(answer), indent=2) + b"\n")
    except OSError as exc:
        raise UsageError(f"{folder / ANSWER}: can't be written ({exc.strerror}); make room") from None


def _is_over(path: Path, within: float) -> bool:
    """Whether an answer is one that the same question, perhaps with larger bounds, would not make any better."""
    try:
        answer = msgspec.json.decode(path.read_bytes(), type=_Answer)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # none yet, or the disk was full
        return False
    if answer.ended == "not_saturated":
        return True
    found = answer.result
    wide = found is not None and answer.why == "narrow" and found.high > found.low * (1 + 2 * within) * (1 + 1e-9)
    return answer.ended == "completed" and answer.why != "steps" and not wide


def _runs(folder: Path) -> Iterator[tuple[Workload, Path, bool]]:
    """Workload and path of each run file, and whether the run came to its end."""
    for path in sorted(path for ending in _ENDINGS for path in folder.glob(ending)):
        with suppress(UsageError):  # a file that is none, or that was cut at its beginning, is no step
            yield store.read_head(path).workload, path, _completed(path)


def _completed(path: Path) -> bool:
    last = None
    for line in store.lines(path):
        last = line
        if isinstance(line, End):
            return line.ended == "completed"
    return isinstance(last, End)
