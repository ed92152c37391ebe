"""A Dask cluster on this machine, started by the lines of docs/scaling.md: a scheduler and workers, each a process."""

import contextlib
import json
import os
import shlex
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


@dataclass
class Cluster:
    """One that listens on 127.0.0.1."""

    folder: Path
    workers: list[subprocess.Popen] = field(default_factory=list)
    scheduler: subprocess.Popen | None = None

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    @property
    def address(self) -> str:
        return json.loads(self.file.read_text())["address"]

    def listens(self) -> bool:
        """Whether the scheduler has told its address, all of it."""
        return self.file.exists() and self.file.read_text().rstrip().endswith("}")

    def start(self, line: str, *more: str, name: str, **other: str) -> subprocess.Popen:
        """Start a line of the page, with some of its words others."""
        program, *words = shlex.split(line)
        words = [other.get(word, word) for word in words]
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", program, *words, *more, "--dashboard-address", "127.0.0.1:0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ,
            )

    def add_workers(self, count: int) -> None:
        """Start some more, and wait until all have joined."""
        for _ in range(count):
            name = f"worker-{len(self.workers)}"
            place = ("--local-directory", str(self.folder / name))
            self.workers.append(self.start(WORKER, *place, name=name, **{ADDRESS: self.address}))
        until(lambda: self.said("scheduler").count("Register worker addr") >= len(self.workers), self.said)

    def said(self, name: str = "scheduler") -> str:
        return (self.folder / f"{name}.log").read_text()

    def addresses(self) -> list[str]:
        """Of the workers, in the order in which they were started."""
        said = [self.said(f"worker-{number}") for number in range(len(self.workers))]
        return [text.partition("Start worker at:")[2].split()[0] for text in said]


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
