"""A Dask cluster on this machine, started by the lines of docs/scaling.md: a scheduler and workers, each a process."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 60
PAGE = Path(__file__).parents[1] / "docs/scaling.md"
SCHEDULER, WORKER, *_ = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("dask ")]
PORT, ADDRESS = "8786", "tcp://127.0.0.1:8786"
AHEAD = 5000
"""Seconds by which the clock of a worker in a time namespace of its own is ahead."""
NAMESPACE = ("unshare", "--user", "--map-root-user", "--time", "--fork", "--kill-child", "--monotonic", str(AHEAD))


@dataclass
class Cluster:
    """One that listens on 127.0.0.1."""

    folder: Path
    workers: list[subprocess.Popen] = field(default_factory=list)
    scheduler: subprocess.Popen | None = None
    ahead: list[int] = field(default_factory=list)
    """The truth about the clock of each worker, beside this process's."""

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    @property
    def address(self) -> str:
        return json.loads(self.file.read_text())["address"]

    def listens(self) -> bool:
        """Whether the scheduler has told its address, all of it."""
        return self.file.exists() and self.file.read_text().rstrip().endswith("}")

    def start(self, line: str, *more: str, name: str, within: tuple[str, ...] = (), **other: str) -> subprocess.Popen:
        """Start a line of the page, with some of its words others, within another command."""
        program, *words = shlex.split(line)
        words = [other.get(word, word) for word in words]
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*within, sys.executable, "-m", program, *words, *more, "--dashboard-address", "127.0.0.1:0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ,
            )

    def add_workers(self, count: int) -> None:
        """Start some more, and wait until all have joined; the first has a clock of its own, where the kernel allows that."""
        for number in range(len(self.workers), len(self.workers) + count):
            name, other = f"worker-{number}", number == 0 and has_namespaces()
            place = ("--local-directory", str(self.folder / name))
            within = NAMESPACE if other else ()
            self.workers.append(self.start(WORKER, *place, name=name, within=within, **{ADDRESS: self.address}))
            self.ahead.append(AHEAD if other else 0)
        until(lambda: self.said("scheduler").count("Register worker addr") >= len(self.workers), self.said)

    def said(self, name: str = "scheduler") -> str:
        return (self.folder / f"{name}.log").read_text()

    def addresses(self) -> list[str]:
        """Of the workers, in the order in which they were started."""
        said = [self.said(f"worker-{number}") for number in range(len(self.workers))]
        return [text.partition("Start worker at:")[2].split()[0] for text in said]


def has_namespaces() -> bool:
    """Whether this kernel lets us start a process whose clock is another one."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode == 0


def until(true, said) -> None:
    """Wait for something; `said` tells what was said meanwhile."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, said()
        time.sleep(0.02)


@contextlib.contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """Start one; it ends with the block."""
    folder.mkdir()
    found = Cluster(folder)
    found.scheduler = found.start(SCHEDULER, "--scheduler-file", str(found.file), name="scheduler", **{PORT: "0"})
    try:
        until(found.listens, found.said)
        found.add_workers(workers)
        yield found
    finally:
        for process in (*found.workers, found.scheduler):
            process.kill()
            process.wait()
