"""The whole product in a test: `ptubench run` as a user starts it, and what it left behind."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from ptubench.cli.main import main
from ptubench.record import Attempt, Dropped, End, Head, Tick
from ptubench.results import store
from ptubench.sim import answers
from ptubench.sim.script import Pace, Script, chunked

Found = TypeVar("Found")
WORKLOAD = {
    "name": "truth",
    "prompt_tokens": 40,
    "completion_tokens": 4,
    "load": {"rate": "40/s", "arrivals": "constant"},
    "duration": "2s",
    "warmup": "0s",
    "drain": "10s",
}
PATIENCE = 60
TRIES = 5
PULSE = 0.01
"""Seconds between two looks at the clock of something that watches for stalls."""


@dataclass(frozen=True)
class Run:
    """A finished run: its file, line by line, and what was said of it."""

    code: int
    said: str
    """Standard error."""
    summary: dict[str, Any]
    head: Head
    attempts: list[Attempt]
    """In order of their index."""
    drops: list[Dropped]
    ticks: list[Tick]
    end: End

    @property
    def metrics(self) -> dict[str, Any]:
        return self.summary["metrics"]

    def clock(self, time: float) -> float:
        """A time of this run as a reading of `time.perf_counter`, which all processes of the machine share."""
        return self.head.clock_start + time

    @property
    def calm(self) -> bool:
        """Whether this run says of itself that it was on time: on a machine that does much else, none is."""
        return not {reason["code"] for reason in self.summary["validity"]["reasons"]} & {"lag", "loop_lag"}

    def beside(self, log: Mapping[str, Any]) -> list[tuple[Attempt, Any]]:
        """Each attempt with its entry of a server's log, found by the id that the answer carried."""
        return [(attempt, log[attempt.headers["x-request-id"]]) for attempt in self.attempts]


@dataclass(frozen=True)
class Started:
    """A run that is under way."""

    process: subprocess.Popen
    folder: Path

    def finish(self) -> Run:
        """Wait for its end, and read everything."""
        self.process.wait(PATIENCE)
        said = (self.folder / "stderr").read_text()
        assert self.process.returncode in (0, 3, 4), said
        lines = [line for path in (self.folder / "results").iterdir() for line in store.lines(path)]
        attempts = [line for line in lines if isinstance(line, Attempt)]
        (head,) = (line for line in lines if isinstance(line, Head))
        (end,) = (line for line in lines if isinstance(line, End))
        return Run(
            code=self.process.returncode,
            said=said,
            summary=json.loads((self.folder / "stdout").read_text()),
            head=head,
            attempts=sorted(attempts, key=lambda attempt: attempt.index),
            drops=[line for line in lines if isinstance(line, Dropped)],
            ticks=[line for line in lines if isinstance(line, Tick)],
            end=end,
        )


def environment(**more: str) -> dict[str, str]:
    """This process's variables without any that names a target, a key or a proxy; and what is given."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith(("AZURE", "OPENAI"))}
    return {name: value for name, value in ours.items() if not name.upper().endswith("_PROXY")} | more


def call(*arguments: object) -> int:
    """The exit code of a command line, in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["ptubench", *map(str, arguments)])
        main()
    return ended.value.code or 0


def called(captured: Any, *arguments: object) -> tuple[int, str, str]:
    """The exit code of a command line in this process, and what it printed, of which `captured` is the fixture that knows."""
    return call(*arguments), *captured.readouterr()


def unhurried(folder: Path) -> dict[str, str]:
    """The environment of a command that does not say what it is busy with, however slow the machine is."""
    (folder / "sitecustomize.py").write_text("from ptubench.cli import show\nshow._PATIENCE = 3600.0\n")
    return environment(PYTHONPATH=str(folder))


def start(folder: Path, *options: str, **keys: Any) -> Started:
    """Start `ptubench run` in a folder of its own; `keys` of the workload stand over `WORKLOAD`'s; None leaves one out."""
    folder.mkdir()
    workload = folder / "workload.yaml"
    text = {name: value for name, value in {**WORKLOAD, **keys}.items() if value is not None}
    workload.write_text(json.dumps(text))  # JSON is YAML
    command = [sys.executable, "-m", "ptubench", "run", str(workload), "--json", "--results", str(folder / "results")]
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*command, *options], stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, env=environment()
        )
    return Started(process, folder)


def endpoint(url: str, *more: str) -> tuple[str, ...]:
    """Options that name a server which speaks as Azure's v1 does."""
    return ("--endpoint", f"{url}/openai/v1/", "--deployment", "gpt-4.1", *more)


def finish(runs: Sequence[Started]) -> list[Run]:
    """Wait for several runs that are under way together."""
    return [run.finish() for run in runs]


def calmly(measure: Callable[[], Found], calm: Callable[[Found], bool]) -> Found:
    """What a measurement found, made again if a busy machine disturbed it; the last one stands whatever it was."""
    for _ in range(TRIES):
        found = measure()
        if calm(found):
            break
    return found


@contextlib.contextmanager
def watch() -> Iterator[list[tuple[float, float]]]:
    """When this process, and with it the servers in its threads, stood still: the ends by `time.perf_counter`, and how long."""
    stalls: list[tuple[float, float]] = []
    done = threading.Event()

    def look() -> None:
        due = time.perf_counter()
        while not done.is_set():
            time.sleep(PULSE)
            now, due = time.perf_counter(), due + PULSE
            if now - due > PULSE:
                stalls.append((now, now - due))
                due = now

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield stalls
    finally:
        done.set()
        thread.join()


def assert_small(errors, scale):
    """Errors are a small part of the times that they are errors of, and a client never sees what was not sent yet."""
    p50, p99 = np.percentile(errors, (50, 99))

    assert min(errors) >= 0
    assert p50 <= 0.1 * scale
    assert p99 <= 0.5 * scale


def numbered(pace: Pace, **headers: str) -> Script:
    """Proper answers whose id is the place of their request in the server's log."""
    numbers = count()
    return lambda _ask: chunked(answers.healthy(pace), {"x-request-id": str(next(numbers)), **headers})


def by_number(log: Sequence[Any]) -> dict[str, Any]:
    """The log of a server whose answers are numbered, by their ids."""
    return {str(number): entry for number, entry in enumerate(log)}
