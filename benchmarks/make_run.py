"""Write a plausible run file of N attempts, and report how long `summarize` takes and how much memory it needs.

    python benchmarks/make_run.py 1000000 [FILE]

The file is made by ptubench's own encoder: log-normal latencies, a tenth throttled in bursts, some failures.
"""

import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from ptubench import histogram, record
from ptubench.record import Attempt, End, Head, Tick
from ptubench.workload.model import Class, Fixed, OpenLoop, Stage, Workload

RATE = 500.0
TIMES = ("scheduled", "taken", "sent", "answered", "first_content", "first_output", "last_content", "end")
HEADERS = {"apim-request-id": "0f9c1c5e-6f0e-4d5c-9f57-6a4e0a1b2c3d", "x-ms-region": "Sweden Central"}


def head(attempts: int) -> Head:
    """The first line, for a run of so many attempts at 500 a second."""
    duration = attempts / RATE
    workload = Workload(
        name="many",
        classes=(Class(prompt=Fixed(tokens=1000), completion=Fixed(tokens=200)),),
        load=OpenLoop(stages=(Stage(value=RATE, seconds=duration),)),
        duration=duration,
        warmup=duration / 10,
        checks=("ttft.p99 <= 1s", "refused.ratio <= 20%"),
    )
    started = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
    return Head(
        tool_version="0",
        run_id="many",
        started_at=started.isoformat(),
        started_unix=started.timestamp(),
        clock_start=0.0,
        label=None,
        seed=0,
        salt="many",
        workload=workload,
        workload_hash="0",
        window=(duration / 10, duration),
        planned=attempts,
        target={"kind": "simulated", "model": "gpt-4.1", "ptu": 10_000},
        workers=1,
        machine={},
        network={"address": "127.0.0.1"},
        probe=None,
    )


def attempt(index: int, due: float, ttft: float, tail: float, luck: float) -> Attempt:
    """One attempt: throttled in every tenth second, otherwise answered, or seldom failed."""
    late = 1e-4 + 1e-3 * luck
    common = {"index": index, "scheduled": due, "taken": due + late, "sent": due + late + 1e-4, "headers": HEADERS}
    asked = {"prompt_asked": 1000, "completion_asked": 200, "limit": 200}
    if int(due) % 10 == 9:
        headers = HEADERS | {"retry-after-ms": "1200", "retry-after": "2"}
        return Attempt(**common | asked | {"headers": headers}, answered=due + 0.004, end=due + 0.004, status=429)
    if luck < 0.002:
        return Attempt(**common, **asked, end=due + 1, failure="broken_stream", status=200, error="the stream ended")
    first = due + ttft
    return Attempt(
        **common,
        **asked,
        connect_s=0.001 if luck < 0.02 else None,
        answered=first - 0.001,
        first_content=first,
        first_output=first,
        last_content=first + tail,
        end=first + tail + 0.001,
        status=200,
        content_events=200,
        prompt_tokens=1000,
        cached_tokens=0,
        completion_tokens=200,
        reasoning_tokens=0,
        finish="length",
        model="gpt-4.1-2025-04-14",
    )


def told(one: Attempt) -> Attempt:
    """The same with its times to the microsecond, as workers tell them."""
    times = {name: getattr(one, name) for name in TIMES}
    return msgspec.structs.replace(one, **{name: at and round(at, 6) for name, at in times.items()})


def write(path: Path, attempts: int) -> None:
    """The whole file, with one tick per second of one worker."""
    rng = np.random.default_rng(0)
    beginning = head(attempts)
    with path.open("xb") as file:
        file.write(record.encode(beginning))
        values = zip(
            rng.lognormal(-1.5, 0.4, attempts), rng.normal(2.5, 0.2, attempts), rng.random(attempts), strict=True
        )
        for index, (ttft, tail, luck) in enumerate(values):
            file.write(record.encode(told(attempt(index, index / RATE, float(ttft), float(tail), float(luck)))))
        for second in range(int(attempts / RATE)):
            gaps = {histogram.bucket(0.0125) + step: 50 + step for step in range(-40, 40)}
            file.write(record.encode(Tick(t=second, gaps=gaps, loop_lag={300: 95, 320: 5}, cpu=0.4, in_flight=1500)))
        file.write(record.encode(End(ended="completed", load_end=attempts / RATE, finished=attempts / RATE + 4)))


def main() -> None:
    """Make the file, then measure `summarize` in a fresh process."""
    attempts = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(folder) / "many.jsonl"
        if not path.exists():
            write(path, attempts)
        program = (
            "import sys, pathlib, msgspec; from ptubench.analysis.summary import summarize;"
            "print(len(msgspec.json.encode(summarize(pathlib.Path(sys.argv[1])))), 'bytes of JSON')"
        )
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program, str(path)], check=True)
        took = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(f"{attempts:,} attempts, {path.stat().st_size / 2**20:.0f} MB: {took:.1f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
