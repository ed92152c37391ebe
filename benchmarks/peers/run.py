"""ptubench beside its peers: the same load on the same stub, from the same core, one after another.

    python benchmarks/peers/run.py [PEER ...] [--streams 100 400 1000] [--rate 50] [--rounds 5] [--readme]
    python benchmarks/peers/run.py --install aiperf guidellm        # each into an environment of its own

The first of 100 content events 100 ms after a request's arrival, then 50 a second: a closed loop of N streams, or an open loop of
50 calls a second. What the stub wrote down is the truth: its log says when each request came and when each event left.

- TTFT as the tool reports it, beside the true one of the same calls, from their arrival to their first content.
- CPU per event: CPU of all the tool's processes in the window, kernel included, by the content events that left in it. The
  window begins --warmup seconds after the first request and ends with the load: start-up and reports are not in it. Of ptubench, once
  all its processes, and once its worker alone, as a client has no parent that writes a file.
- Wall time over the duration that was asked for, from start of the process to its end.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import isnan, nan
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from tools import ENVIRONMENTS, OWN_ENVIRONMENT, PEERS, Work, install, installed, there

from measure import CLIENT_CORE, CORES, Figure, number, others, percentile, say, spread, stub, table, unvoided
from ptubench import record
from ptubench.results import store

HERE = Path(__file__).parent
GRACE = 40.0
"""Seconds that a tool may take beyond its duration, before it is ended without a report."""


# --- one measurement --------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What one tool did in one round: seconds, and ms for what it reports."""

    cpu_per_event: float
    worker_per_event: float | None
    events_per_s: float
    reported: list[float] | None
    true: list[float]
    beyond_s: float
    calls: int


def play(name: str, work: Work) -> Seen:
    """One tool, one load."""
    began = time.perf_counter()
    own = os.sched_getaffinity(0)
    command = PEERS[name].command(work)
    os.sched_setaffinity(0, {CLIENT_CORE})  # inherited by all that it starts
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ENVIRONMENTS
        )
    finally:
        os.sched_setaffinity(0, own)
    looks: list[tuple[float, float]] = []
    watching = threading.Thread(target=_watch, args=(process, looks))
    watching.start()
    try:
        printed, errors = process.communicate(timeout=work.duration + GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, errors = process.communicate()
    wall = time.perf_counter() - began
    watching.join()
    log = [row for row in work.stub.log(stamps=True).values() if row["n"]]
    if not log:
        said = (printed + errors).decode(errors="replace")
        raise SystemExit(f"{name} sent nothing: {said[-2000:]}")
    first = min(row["arrived"] for row in log)
    start, end = first + work.warmup, first + work.duration
    events = sum(start <= stamp < end for row in log for stamp in row["stamps"])
    answers = [row for row in log if start <= row["arrived"] < end and row["first"] is not None]
    cpu = _at(looks, end) - _at(looks, start)
    true = [1e3 * (row["first"] - row["arrived"]) for row in answers]
    return Seen(
        cpu / events if events else nan,
        _worker(work) if name == "ptubench" else None,
        events / (end - start),
        PEERS[name].reported(work, printed.decode(errors="replace")) if process.returncode in (0, 4) else None,
        [percentile(true, 0.5), percentile(true, 0.99)] if true else [nan, nan],
        wall - work.duration,
        len(answers),
    )


def _worker(work: Work) -> float:
    """CPU per event of ptubench's worker, by its own account."""
    lines = list(store.lines(next(work.folder.glob("*.jsonl"))))
    ticks = [line for line in lines if isinstance(line, record.Tick) and work.warmup <= line.t < work.duration]
    return sum(tick.cpu for tick in ticks) / sum(tick.content_events for tick in ticks)


def _watch(process: "subprocess.Popen[bytes]", looks: list[tuple[float, float]]) -> None:
    """Note the CPU seconds of a process and all its descendants, until it ends."""
    while process.poll() is None:
        looks.append((time.perf_counter(), _cpu(process.pid)))
        time.sleep(0.2)


def _cpu(pid: int) -> float:
    """CPU seconds of a process, of its children that have ended, and of those that live."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        children = [
            int(word) for task in Path(f"/proc/{pid}/task").glob("*/children") for word in task.read_text().split()
        ]
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(_cpu, children))


def _at(looks: Sequence[tuple[float, float]], moment: float) -> float:
    """CPU seconds at a moment between two looks; after the last one, what that saw."""
    for (t0, cpu0), (t1, cpu1) in pairwise(looks):
        if moment <= t1:
            return cpu0 + (cpu1 - cpu0) * max(0.0, moment - t0) / (t1 - t0)
    return looks[-1][1]


def measure(name: str, options: argparse.Namespace, *, streams: int | None, rate: float | None) -> Seen | None:
    """One tool, one round; None when the stub could not feed it."""

    def once() -> tuple[dict[str, Any], Seen]:
        with stub() as target, tempfile.TemporaryDirectory() as folder:
            seen = play(name, Work(target, streams, rate, options.duration, options.warmup, Path(folder)))
            return target.stats(), seen

    seen: Seen | None = unvoided(f"{name}, {streams or rate}", once)
    if seen is not None:
        say(f"    {seen.cpu_per_event * 1e6:.1f} µs an event, {seen.events_per_s:,.0f} events/s")
    return seen


# --- tables -----------------------------------------------------------------------------------------------------------


def row(name: str, load: str, rounds: Sequence[Seen | None]) -> tuple[str, ...]:
    """Medians of one tool under one load."""
    seen = [one for one in rounds if one is not None]
    if not seen:
        return (load, name, *["void"] * 7)
    reported = [one.reported for one in seen if one.reported]
    worker = [one.worker_per_event for one in seen if one.worker_per_event is not None]
    cpu = _told([1e6 * one.cpu_per_event for one in seen])
    return (
        load,
        name,
        number(median(one.events_per_s for one in seen)),
        f"{cpu} (worker {number(1e6 * median(worker))})" if worker else cpu,
        *(_told([one[i] for one in reported]) for i in (0, 1)),
        *(_told([one.true[i] for one in seen]) for i in (0, 1)),
        number(median(one.beyond_s for one in seen)),
    )


def _told(values: Sequence[float]) -> str:
    """A median; a dash where there is none: too few calls for this percentile (ptubench: 368 for p99), or none in the window."""
    return "-" if not values or any(map(isnan, values)) else number(median(values))


LIMITS = {"wrk": 1.8, "hey": 1.0}


def figures(found: dict[tuple[str, str], list[Seen | None]]) -> list[Figure]:
    """Ratios of CPU per event at the largest closed loop, taken within a round."""
    loads = [load for load, name in found if name == "ptubench" and load.endswith("streams")]
    rows = []
    for peer, limit in LIMITS.items():
        for load in loads[-1:]:
            both = [
                (a, b)
                for a, b in zip(found[load, "ptubench"], found.get((load, peer), ()), strict=False)
                if a is not None and b is not None and a.worker_per_event is not None
            ]
            ratios = [a.worker_per_event / b.cpu_per_event for a, b in both if a.worker_per_event]
            name = f"CPU per event, ptubench's worker / {peer}, {load}"
            rows.append(Figure(name, median(ratios) if ratios else None, limit, "", spread(ratios) if ratios else ""))
    return rows


COLUMNS = ("load", "tool", "events/s", "CPU per event, µs", "TTFT reported p50, ms", "p99")
COLUMNS += ("true TTFT p50, ms", "p99", "wall beyond the load, s")


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help=f"some of {', '.join(PEERS)}; default: all that are there"
    )
    parser.add_argument("--streams", type=int, nargs="*", default=[100, 400, 1000])
    parser.add_argument("--rate", type=float, default=50.0, help="of the open loop, calls a second; 0 for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=int, default=10, help="seconds of load, warm-up included")
    parser.add_argument("--warmup", type=int, default=4, help="seconds")
    parser.add_argument("--install", action="store_true", help="install the named tools first (aiperf, guidellm)")
    parser.add_argument("--readme", action="store_true", help="write the results into the README beside this program")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"unknown peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if options.install:
        install([name for name in options.peers if name in OWN_ENVIRONMENT])
    ENVIRONMENTS.mkdir(exist_ok=True)
    names = [name for name in options.peers or PEERS if there(name)]
    loads = [(f"{streams:,} streams", streams, None) for streams in options.streams]
    loads += [(f"{options.rate:g} calls/s", None, options.rate)] if options.rate else []
    found: dict[tuple[str, str], list[Seen | None]] = defaultdict(list)
    for turn in range(options.rounds):
        say(f"round {turn + 1} of {options.rounds}")
        # Each follows another one in turn: what a tool leaves behind touches all alike.
        first = turn % max(1, len(names))
        for load, streams, rate in loads:
            for name in names[first:] + names[:first]:
                if rate is None or PEERS[name].open_loop:
                    found[load, name].append(measure(name, options, streams=streams, rate=rate))
    told = [
        f"Medians of {options.rounds}; meanwhile other programs kept {others():.2f} of {len(CORES)} cores busy.",
        table(COLUMNS, (row(name, load, rounds) for (load, name), rounds in found.items())),
        table(("tool", "version", "installed"), ((name, *installed(PEERS[name].package)) for name in names)),
    ]
    rows = figures(found)
    if rows:
        told.append(table(("figure", "target", "measured", "verdict", "note"), (figure.row() for figure in rows)))
    print("\n\n".join(told))
    if options.readme:
        _keep("\n\n".join(told))
    raise SystemExit(0 if all(figure.verdict == "PASS" for figure in rows) else 1)


def _keep(told: str) -> None:
    """Put the results into the README, in place of the last ones."""
    readme = HERE / "README.md"
    before, mark, _ = readme.read_text(encoding="utf-8").partition("<!-- results: written by run.py -->")
    readme.write_text(f"{before}{mark}\n\n{told}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
