"""A simulated deployment in its own process, for tests that need a real one."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULTS = {"model": "gpt-4.1", "ptu": 50, "latency": 0.05, "tps": 1000, "jitter": 0}
PATIENCE = 20
"""Seconds that what is only a matter of a moment may take on a machine that does much else."""


@dataclass(frozen=True)
class Simulated:
    """One that listens on 127.0.0.1."""

    process: subprocess.Popen
    port: int
    file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admitted(self) -> int:
        """Calls so far by its own account, which it gives after it has read what came before the question."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", "/simulator/state")
            return json.loads(connection.getresponse().read())["admitted"]

    def log(self, count: int) -> list[dict[str, Any]]:
        """The log once it has `count` entries: one is written just after its answer has left."""
        until = time.monotonic() + PATIENCE
        while len(lines := self.file.read_text().splitlines()) < count and time.monotonic() < until:
            time.sleep(0.02)
        return [json.loads(line) for line in lines]


@contextlib.contextmanager
def simulated(folder: Path, *, env: dict[str, str] | None = None, **options: Any) -> Iterator[Simulated]:
    """Start one with these options over `DEFAULTS`, and end it by closing its standard input."""
    file = folder / "server.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "ptubench.sim.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    )
    with process:
        process.stdin.write(json.dumps({**DEFAULTS, "log": str(file), **options}).encode() + b"\n")
        process.stdin.flush()
        said = json.loads(process.stdout.readline())
        yield Simulated(process, said["port"], file)
        process.stdin.close()
        process.wait(PATIENCE)
