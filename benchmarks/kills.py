"""`kill -9` of the parent or of a load worker at a random moment: what the run file still has, and what still reaches the server.

    python benchmarks/kills.py [--rounds 20]

Every second round kills the parent, the others one of two workers; every fourth file is compressed. The simulated
deployment's log is the truth: which calls it answered and when. Linux only: it reads /proc.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from measure import Figure, conclude, ptubench, say, table, without_targets
from ptubench import record
from ptubench.analysis.summary import summarize
from ptubench.results import store
from soak import children, server

Victim = Literal["parent", "worker"]
RATE = 200.0
WORKLOAD = """\
name: kills
prompt_tokens: 50
completion_tokens: 5
load: {{rate: {rate:g}/s}}
duration: {duration:g}s
warmup: 0s
drain: 5s
"""
AFTER = 2.0
"""Seconds for which the server is listened to after the parent's death; so long a run goes on after a worker's."""
PATIENCE = 60.0


@dataclass(frozen=True)
class Killed:
    """What was left. Seconds; 0 where nothing was lost, or nothing came."""

    victim: Victim
    moment: float
    """After the start of the load."""
    answered: int
    """Calls that the server had answered by then."""
    lost_s: float
    """How long before the death the first answer ended that is not in the file."""
    late_s: float
    """How long after the parent's death its last call reached the server."""
    astray: int
    """After a worker's death: planned requests that are not in the file exactly once, or counted as unsent."""
    reads_as: str
    """How the summary says that the run ended, and how many workers were lost."""


def kill(folder: Path, victim: Victim, moment: float, *, compress: bool = False) -> Killed:
    """One run, killed so many seconds after its load began; whatever it leaves is in `folder`."""
    workload, results, log = folder / "kills.yaml", folder / "results", folder / "server.jsonl"
    duration = moment + (30.0 if victim == "parent" else AFTER)
    workload.write_text(WORKLOAD.format(rate=RATE, duration=duration), encoding="utf-8")
    with server(model="gpt-4.1", ptu=10_000, latency=0.05, tps=500, log=str(log)) as (port, _):
        where = ("--endpoint", f"http://127.0.0.1:{port}/v1", "--deployment", "kills", "--results", results)
        more = ("--workers", "2", *(["--gzip"] if compress else []))
        command = ptubench("run", workload, *where, *more)
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, env=without_targets())
        started = _started(process, results)
        workers = children(process.pid)
        time.sleep(max(0.0, started + moment - time.perf_counter()))
        os.kill(process.pid if victim == "parent" else workers[-1], signal.SIGKILL)
        died = time.perf_counter()
        process.wait(PATIENCE)
        if victim == "parent":
            time.sleep(AFTER)
        served = _log(log)
    (file,) = results.iterdir()
    return _judge(file, served, victim, started=started, died=died)


def _started(process: subprocess.Popen[bytes], results: Path) -> float:
    """The clock's reading at the start of the load."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        for path in results.glob("*.jsonl*"):
            if path.stat().st_size:
                return store.read_head(path).clock_start
        time.sleep(0.02)
    process.kill()
    raise SystemExit(f"ptubench run did not begin; it ended with {process.wait()}")


def _log(path: Path) -> list[dict[str, Any]]:
    """What the server did so far; it may be writing."""
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.split("\n")]


def _judge(file: Path, served: list[dict[str, Any]], victim: Victim, *, started: float, died: float) -> Killed:
    head, *lines = store.lines(file)
    assert isinstance(head, record.Head)
    attempts = [line for line in lines if isinstance(line, record.Attempt)]
    known = {attempt.headers.get("x-request-id") for attempt in attempts}
    # The probe's call came before the load.
    ours = [entry for entry in served if entry["arrived"] >= started]
    ended = [entry for entry in ours if entry.get("end") and entry["end"] < died]
    missing = [entry["end"] for entry in ended if entry["request_id"] not in known]
    summary = summarize(file)
    ends = [line for line in lines if isinstance(line, record.End)]
    requests = Counter(line.index for line in lines if isinstance(line, record.Attempt | record.Dropped | record.Lost))
    unsent = sum(end.unsent for end in ends)
    return Killed(
        victim=victim,
        moment=died - started,
        answered=len(ended),
        lost_s=died - min(missing, default=died),
        late_s=max([entry["arrived"] - died for entry in ours] + [0.0]) if victim == "parent" else 0.0,
        astray=abs((head.planned or 0) - len(requests) - unsent) + sum(n > 1 for n in requests.values())
        if victim == "worker"
        else 0,
        reads_as=f"{summary['run']['ended']}, {sum(len(end.lost_workers) for end in ends)} lost",
    )


def main() -> None:
    """Read the command line, kill, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    found: list[Killed] = []
    for number in range(options.rounds):
        victim: Victim = "parent" if number % 2 == 0 else "worker"
        with tempfile.TemporaryDirectory() as folder:
            found.append(kill(Path(folder), victim, draw.uniform(0.0, 4.0), compress=number % 4 > 1))
        say(f"  {found[-1]}")
    parents = [one for one in found if one.victim == "parent"]
    workers = [one for one in found if one.victim == "worker"]
    figures = [
        Figure("lost of what was answered before a death: oldest", max(one.lost_s for one in found), 1.0, " s"),
        Figure("last call to reach the server after the parent's death", max(one.late_s for one in parents), 1.0, " s"),
        Figure("runs of a killed parent that do not read as killed", _others(parents, "killed, 0 lost"), 0.0),
        Figure("runs of a killed worker that do not say so", _others(workers, "completed, 1 lost"), 0.0),
        Figure("requests astray after a worker's death: most", max([one.astray for one in workers] + [0]), 0.0),
    ]
    rows = [
        (one.victim, f"{one.moment:.2f}", f"{one.answered:,}", f"{one.lost_s:.3f}", f"{one.late_s:.3f}", one.reads_as)
        for one in found
    ]
    columns = ("killed", "after, s", "answered", "lost, s before", "last call, s after", "reads as")
    conclude(f"kill -9, {options.rounds} times", figures, table(columns, rows))


def _others(runs: list[Killed], expected: str) -> float:
    return float(sum(one.reads_as != expected for one in runs))


if __name__ == "__main__":
    main()
