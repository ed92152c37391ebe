"""A long run against a server with every fault: memory and descriptors of each process, and whether the books balance.

    python benchmarks/soak.py [--duration 5m]

200 calls a second to a simulated deployment that plays each of its faults to 1 % of them, the client's impatience set so
that what stalls ends. Memory (RSS) and open descriptors of parent, workers and simulator are looked at once a second after
a warm-up.

- Growth: the least of the last third over the least of the first. What is held while an event of 40 MB is on its way, or
  because the machine is busy and more is in flight, is no leak. One descriptor leaked in a thousand calls would be 20 more in
  a worker after five minutes.
- Held without need: the most beyond the least and, of a worker, 32 MiB for each event of 40 MB that it was reading at that
  moment, which the run file tells. Growth is blind to what is held from one look of the collector to the next.
- Books: every request of the plan must be in the file exactly once, and the outcomes must add up.

Linux only: it reads /proc.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from measure import Figure, conclude, number, ptubench, say, table, without_targets
from ptubench import record, units
from ptubench.engine.children import MALLOC
from ptubench.results import store
from ptubench.sim.faults import FAULTS
from ptubench.stream.sse import MAX_EVENT

SHARE = 0.01
WARMUP = 60.0
"""Seconds, or a quarter of a short run: pools fill, and what is imported late is there."""
EVENT_MB = MAX_EVENT / 2**20
NEEDLESS_MB = 2 * EVENT_MB
"""What may be held without need: an event whose end is not yet in the file, and as much again for all that is small."""
LARGE = {"event_too_large", "total_timeout"}
"""How an answer with an event of 40 MB ends, the latter on a busy machine; no other fault lasts so long."""
CLOSE = 0.2
"""Seconds around such an answer in which its event may be there."""
WORKLOAD = """\
name: soak
prompt_tokens: 100
completion_tokens: 10
load: {{rate: {rate:g}/s}}
duration: {duration:g}s
warmup: 0s
drain: 15s
max_in_flight: 2000
timeouts: {{connect: 3s, first_byte: 3s, idle: 3s, total: 10s}}
"""
OUTCOMES = ("ok", "throttled", "failed", "cut", "dropped", "unsent")


class Sample(NamedTuple):
    """What a process held at a moment; seconds since the start of the run."""

    at: float
    memory_mb: float
    descriptors: int


@dataclass(frozen=True)
class Soak:
    """What came of one run."""

    code: int
    requests: dict[str, Any]
    """`metrics.requests` of its summary."""
    failures: dict[str, int]
    planned: int
    seen: Counter[int]
    """How often each request is in the file."""
    samples: dict[str, list[Sample]] = field(repr=False)
    """By process."""
    large: dict[str, list[tuple[float, float]]] = field(repr=False)
    """When each worker was reading an answer with an event of 40 MB: seconds since the start of the run."""

    @property
    def astray(self) -> int:
        """Requests of the plan that are not in the file exactly once, or were never planned."""
        once = sum(self.seen[index] == 1 for index in range(self.planned))
        return self.planned - once + sum(index >= self.planned for index in self.seen)

    @property
    def unbalanced(self) -> int:
        """By how much the outcomes differ from the total, and the total from the plan."""
        total = self.requests["total"]
        return abs(total - sum(self.requests[name] for name in OUTCOMES)) + abs(total - self.planned)


@contextmanager
def server(**options: Any) -> Iterator[tuple[int, int]]:
    """A simulated deployment of its own: its port and its process; it ends with the block."""
    command = [sys.executable, "-m", "ptubench.sim.child"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=MALLOC | os.environ)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(json.dumps(options).encode() + b"\n")
        process.stdin.flush()
        yield json.loads(process.stdout.readline())["port"], process.pid
        process.stdin.close()


def soak(folder: Path, *, duration: float, rate: float, workers: int = 2) -> Soak:
    """One run of so many seconds; whatever it leaves is in `folder`."""
    workload, results = folder / "soak.yaml", folder / "results"
    workload.write_text(WORKLOAD.format(rate=rate, duration=duration), encoding="utf-8")
    faults = dict.fromkeys(FAULTS, SHARE)
    with server(model="gpt-4.1", ptu=100_000, latency=0.1, faults=faults) as (port, simulator):
        where = ("--endpoint", f"http://127.0.0.1:{port}/v1", "--deployment", "soak", "--results", results)
        command = ptubench("run", workload, *where, "--workers", workers, "--json")
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=without_targets())
        samples = _watched(process, simulator, results, warmup=min(WARMUP, duration / 4), duration=duration)
        code = process.wait()
    if code not in (0, 3, 4):  # a good half of the calls fails, as it should
        raise SystemExit(f"ptubench run ended with {code}: {(folder / 'stderr').read_text(encoding='utf-8')}")
    summary = json.loads((folder / "stdout").read_bytes())
    head, *lines = store.lines(next(results.iterdir()))
    assert isinstance(head, record.Head)
    assert head.planned is not None
    attempts = [line for line in lines if isinstance(line, record.Attempt)]
    return Soak(
        code=code,
        requests=summary["metrics"]["requests"],
        failures=summary["metrics"]["failed"]["by_kind"],
        planned=head.planned,
        seen=Counter(line.index for line in lines if isinstance(line, record.Attempt | record.Dropped)),
        samples=samples,
        large=_large(attempts),
    )


def _large(attempts: Iterable[record.Attempt]) -> dict[str, list[tuple[float, float]]]:
    found = defaultdict(list)
    for attempt in attempts:
        if attempt.failure in LARGE and attempt.sent is not None and attempt.end is not None:
            found[_worker(attempt.worker)].append((attempt.sent, attempt.end))
    return found


def _worker(index: int) -> str:
    return f"worker {index + 1}"


def _watched(
    process: subprocess.Popen[bytes], simulator: int, results: Path, *, warmup: float, duration: float
) -> dict[str, list[Sample]]:
    """Look at each process once a second while the load lasts."""
    samples: dict[str, list[Sample]] = {}
    while process.poll() is None and not (files := list(results.glob("*.jsonl"))):
        time.sleep(0.05)
    if process.poll() is not None:
        return samples
    time.sleep(0.5)  # the head is there
    zero = store.read_head(files[0]).clock_start
    workers = children(process.pid)
    names = {"parent": process.pid, **{_worker(n): pid for n, pid in enumerate(workers)}, "simulator": simulator}
    while process.poll() is None and (now := time.perf_counter() - zero) < duration:
        if now >= warmup:
            for name, pid in names.items():
                samples.setdefault(name, []).append(_sample(pid, zero))
        time.sleep(1.0)
    return samples


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _sample(pid: int, zero: float) -> Sample:
    at = time.perf_counter() - zero
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return Sample(at, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208 - names only


def least(values: list[float]) -> tuple[float, float]:
    """The least of the first third and of the last."""
    third = max(1, len(values) // 3)
    return min(values[:third]), min(values[-third:])


def needless(samples: list[Sample], large: Iterable[tuple[float, float]] = ()) -> float:
    """The most MB beyond the least and an event for each of the `large` answers that were read at that moment."""
    least_mb = min(sample.memory_mb for sample in samples)
    return max(
        sample.memory_mb - least_mb - EVENT_MB * sum(a - CLOSE <= sample.at <= b + CLOSE for a, b in large)
        for sample in samples
    )


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--duration", type=units.duration, default=300.0, help="such as 10m (default: 5m)")
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second")
    options = parser.parse_args()
    say(f"soak.py: {options.rate:g} calls a second for {units.duration_text(options.duration)}, {len(FAULTS)} faults")
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), duration=options.duration, rate=options.rate)
    figures, rows = [], []
    for name, samples in found.samples.items():
        memory, descriptors = [s.memory_mb for s in samples], [float(s.descriptors) for s in samples]
        rows.append((name, *(number(of(v)) for v in (memory, descriptors) for of in (min, median, max))))
        (before, after), (fewer, more) = least(memory), least(descriptors)
        figures.append(Figure(f"memory of the {name}, growth", (after / before - 1) * 100, 5.0, " %"))
        held = needless(samples, found.large.get(name, ()))
        figures.append(Figure(f"memory of the {name}, held without need", held, NEEDLESS_MB, " MB"))
        figures.append(Figure(f"descriptors of the {name}, growth", more - fewer, 10.0))
    figures.append(Figure("requests not in the file exactly once", found.astray, 0.0))
    figures.append(Figure("outcomes that do not add up", found.unbalanced, 0.0))
    counted = ", ".join(f"{found.requests[name]:,} {name}" for name in OUTCOMES)
    conclude(
        f"Soak: {units.duration_text(options.duration)} with every fault",
        figures,
        f"{found.requests['total']:,} requests, each of {len(FAULTS)} faults for 1 %: {counted}; "
        f"{len(found.failures)} kinds of failure.",
        table(("process", "MB, least", "median", "most", "descriptors, least", "median", "most"), rows),
    )


if __name__ == "__main__":
    main()
