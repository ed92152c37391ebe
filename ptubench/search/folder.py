"""The folder of a search: its run files, and once it is over its answer. An interrupted search is found again by its key.

A step is known by its whole workload, rate and seed included: which steps were done is read from the run files alone.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
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

ANSWER = "answer.json"
_ENDINGS = ("*.jsonl", "*.jsonl.gz")


def key(workload: Workload, target: Mapping[str, Any], *, virtual: bool) -> str:
    """What makes two searches the same: workload, seed, rules and target, and the clock."""
    named = {name: target.get(name) for name in ("kind", "url", "deployment", "model", "ptu", "type", "simulate")}
    parts = (workload_hash(workload), workload.seed, workload.checks, named, virtual)
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:8]


def unfinished(results: Path, name: str) -> Path | None:
    """The latest folder of a search of this key that has no answer yet.

    Args:
        results: where folders are.
        name: the search's key.
    """
    found = sorted(results.glob(f"*-capacity-{name}*")) if results.is_dir() else []
    found = [path for path in found if path.is_dir() and not (path / ANSWER).exists()]
    return found[-1] if found else None


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
    found = []
    for path in sorted(path for ending in _ENDINGS for path in folder.glob(ending)):
        with suppress(UsageError):  # a file that is none, or that was cut at its beginning, is no step
            if _completed(path):
                found.append((store.read_head(path).workload, path))
    return found


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


def _completed(path: Path) -> bool:
    last = None
    for line in store.lines(path):
        last = line
        if isinstance(line, End):
            return line.ended == "completed"
    return isinstance(last, End)
