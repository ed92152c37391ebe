"""A simulated deployment in its own process, for tests that need a real one."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULTS = {"model": "gpt-4.1", "ptu": 50, "latency": 0.05, "tps": 1000, "jitter": 0}


@dataclass(frozen=True)
class Simulated:
    """One that listens on 127.0.0.1."""

    process: subprocess.Popen
    port: int
    file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self, count: int) -> list[dict[str, Any]]:
        """The log once it has `count` entries: one is written just after its answer has left."""
        for _ in range(200):
            lines = self.file.read_text().splitlines()
            if len(lines) >= count:
                break
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
        process.wait(5)
