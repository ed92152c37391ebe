"""Two Dask workers on loopback: is their load that of one machine, and what does it cost to lose one of them?

    python benchmarks/scaling.py [--rounds 3]

The same Poisson load, with the same seed, from one process and from two Dask workers (`--on`), by turns, on the stub, which has a core of its
own and whose log tells what arrived when. Then the same, and one of the workers is killed at half time. All processes of a machine
share a clock, so that the truth about the clocks of the nodes is 0.

- dispersion: variance over mean of the arrivals in 100 ms; 1 for Poisson, give or take 0.14 (a standard deviation) for ten seconds.
- sent twice: what arrived, less what the run file has as sent or lost.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from measure import Figure, Run, conclude, middle, number, percentile, run, say, spread, stub, table

WORKLOAD = """\
name: scaling
seed: 7
prompt_tokens: 32
completion_tokens: 10
load:
  rate: {rate}/s
duration: {duration}s
warmup: 0s
drain: 20s
"""
BIN = 0.1  # seconds
LOCAL = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")


@contextmanager
def cluster(workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and so many workers on this machine: the scheduler's address, and the workers' processes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        dask = (sys.executable, "-m", "dask")
        log = (Path(folder) / "log").open("wb")
        own = ("--nthreads", "1", "--no-nanny", "--local-directory", folder)
        commands = [(*dask, "scheduler", "--port", "0", "--scheduler-file", str(file), *LOCAL)]
        commands += [(*dask, "worker", "--scheduler-file", str(file), *own, *LOCAL)] * workers
        processes = []
        try:
            for command in commands:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log))
                while not (file.exists() and file.read_text(encoding="utf-8").endswith("}")):
                    time.sleep(0.05)
            while (Path(folder) / "log").read_bytes().count(b"Register worker addr") < workers:
                time.sleep(0.05)
            yield json.loads(file.read_text(encoding="utf-8"))["address"], processes[1:]
        finally:
            for process in processes:
                process.kill()
                process.wait()
            log.close()


class Seen(NamedTuple):
    """One run, and what its target saw of it. Times in seconds."""

    done: Run
    arrived: list[float]
    """Since the start of the run, by the stub's log."""

    @property
    def ttft(self) -> float:
        """Its median."""
        return percentile([a.first_content - a.sent for a in self.done.attempts if a.first_content and a.sent], 0.5)

    @property
    def dispersion(self) -> float:
        """Variance over mean of the arrivals in bins."""
        counts = [0] * round(self.done.head.workload.duration / BIN)
        for at in self.arrived:
            counts[min(int(at / BIN), len(counts) - 1)] += 1
        mean = sum(counts) / len(counts)
        return sum((count - mean) ** 2 for count in counts) / (len(counts) - 1) / mean

    @property
    def schedule(self) -> list[tuple[int, float]]:
        """Index and due time of every request that was sent."""
        return sorted((attempt.index, attempt.scheduled) for attempt in self.done.attempts)


def measure(options: argparse.Namespace, *more: str, at_half: Callable[[], object] = lambda: None) -> Seen:
    """One run; something may happen when half of it has arrived."""
    with stub(tokens=10) as target:

        def wait() -> None:
            while target.stats()["requests"] < options.rate * options.duration / 2:
                time.sleep(0.1)
            at_half()

        threading.Thread(target=wait, daemon=True).start()
        done = run(WORKLOAD.format(rate=options.rate, duration=options.duration), target, options=more)
        log = sorted(row["arrived"] - done.head.clock_start for row in target.log().values())
    return Seen(done, log[1:])  # the first is the probe


def lost(options: argparse.Namespace) -> Seen:
    """A run of two nodes, of which one is killed at half time."""
    with cluster(2) as (address, workers):
        return measure(options, "--on", address, at_half=workers[1].kill)


def figures(options: argparse.Namespace, one: Sequence[Seen], two: Sequence[Seen], killed: Seen) -> list[Figure]:
    """What must hold."""
    planned = one[0].done.head.planned or 0
    same = sum(alone.schedule == shared.schedule for alone, shared in zip(one, two, strict=True))
    off = [abs(len(seen.arrived) - planned) for seen in (*one, *two)]
    ratios = [shared.ttft / alone.ttft for alone, shared in zip(one, two, strict=True)]
    wrong = [abs(node.ahead_s) - node.uncertainty_s for seen in two for node in seen.done.head.nodes]
    open_ = [node.uncertainty_s * 1e3 for seen in two for node in seen.done.head.nodes]
    end = killed.done.end
    owed = planned - len(killed.done.attempts) - end.missing
    twice = len(killed.arrived) - len(killed.done.attempts) - (end.missing - end.unsent)
    return [
        Figure("arrivals off the plan", max(off), 0.0, "", f"of {planned:,} in each of {len(off)} runs"),
        Figure("rounds with another schedule", options.rounds - same, 0.0, "", "index and due time of every request"),
        Figure("dispersion off 1, two nodes", abs((middle(s.dispersion for s in two) or 0.0) - 1), 0.42, "", ""),
        Figure("TTFT p50, two nodes / one machine", middle(ratios) or 0.0, 1.05, "", spread(ratios)),
        Figure("uncertainty of the clocks", max(open_), 5.0, " ms", "the truth inside" if max(wrong) <= 0 else "WRONG"),
        Figure("killed: requests unaccounted for", abs(owed), 0.0, "", f"{end.missing:,} missing, and said"),
        Figure("killed: sent twice", max(0, twice), 0.0, "", f"{len(killed.arrived):,} arrived"),
    ]


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=100, help="calls a second")
    parser.add_argument("--duration", type=int, default=10, help="seconds of load")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    say(
        f"scaling.py: {options.rate} calls a second for {options.duration} s, {options.rounds} rounds of two runs, one more"
    )
    one, two = [], []
    with cluster(2) as (address, _):
        for _ in range(options.rounds):
            one.append(measure(options))
            two.append(measure(options, "--on", address))
            say(
                f"  TTFT p50 {one[-1].ttft * 1e3:.1f} and {two[-1].ttft * 1e3:.1f} ms, dispersion {two[-1].dispersion:.2f}"
            )
    killed = lost(options)
    rows = [
        (name, number(middle(s.dispersion for s in of) or 0.0), number((middle(s.ttft for s in of) or 0.0) * 1e3))
        for name, of in (("one machine", one), ("two nodes", two))
    ]
    conclude(
        f"Two Dask workers on loopback (medians of {options.rounds})",
        figures(options, one, two, killed),
        table(("load from", "dispersion", "TTFT p50, ms"), rows),
    )


if __name__ == "__main__":
    main()
