"""One million attempts: how long each form of `ptubench report` takes, and how much memory the parent of such a run needs.

    python benchmarks/million.py [--attempts 1000000] [--real] [--parent]

The run file comes from `make_run.py`. For the parent, the same lines go through what keeps the records of a run
(`engine.crew`: decode, count, write) and then, as at the end of `ptubench run`, into the summary and the table; a
player in place of the load workers writes them as fast as they are taken. With `--real` also a whole `ptubench run` sends that many
quick calls to the stub, 2,500 a second: 7 minutes for a million. Peaks are high-water marks of the one process (VmHWM).
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import make_run
from measure import Figure, conclude, middle, ptubench, say, spread, stub, watch
from ptubench import loop, record
from ptubench.analysis.summary import summarize
from ptubench.cli.show import show
from ptubench.engine.children import Child, end
from ptubench.engine.crew import Crew
from ptubench.engine.messages import Done, Ready
from ptubench.load.plan import Plan, make_plan
from ptubench.report import live, text
from ptubench.results import store

REPORTS = (
    ((), 10.0),
    (("--html", "page.html"), 30.0),
    (("--format", "csv"), 60.0),
    (("--slim", "slim.jsonl.gz"), 30.0),
)
"""Forms of `ptubench report` by their arguments, and the seconds that each may take."""
SIZES = {"page.html": 10.0, "slim.jsonl.gz": 60.0}
"""Megabytes that a file may have."""
PEAK = Path("/proc/self/status")
REAL_RATE = 2500
WORKLOAD = """\
name: many
prompt_tokens: 32
completion_tokens: 2
stream: false
load:
  rate: {rate}/s
  arrivals: constant
duration: {duration}s
warmup: 5s
"""


def play(path: Path) -> None:
    """Be the worker: ready, and when told to go every line of the file but the first and the last, then done."""
    out = sys.stdout.buffer
    duration = store.read_head(path).workload.duration
    out.write(msgspec.json.encode(Ready(connections=1)) + b"\n")
    out.flush()
    sys.stdin.buffer.readline()
    with path.open("rb") as file:
        file.readline()
        for line in file:
            if not line.startswith(b'{"type":"end"'):
                out.write(line)
    out.write(msgspec.json.encode(Done(load_end=duration, finished=duration)) + b"\n")
    out.flush()


async def keep(path: Path, plan: Plan, folder: Path) -> Path:
    """Be the parent: read the player, write a run file; its path."""
    head = store.read_head(path)
    command = [sys.executable, __file__, "--role", f"play:{path}"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    child = Child(process, process.stdin, process.stdout)
    with live.View(text.console(stderr=True), live.title("simulated", "many", "player")) as view:
        crew = Crew([child], plan, view.update)
        async with crew.reading():
            await crew.ready()
            with contextlib.closing(store.create(folder, head.workload.name, None, datetime.now(UTC))) as file:
                file.write(record.encode(head))
                await crew.load(file, time.perf_counter())
                file.write(record.encode(crew.end("completed", head.workload.duration, None)))
    await end(child)
    return file.path


def be_parent(path: Path) -> None:
    """Record everything, then report it, as `ptubench run` does in one process that holds its plan to the end."""
    plan = make_plan(store.read_head(path).workload)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        kept = loop.run(keep(path, plan, Path(folder)))
        if PEAK.exists():
            print(next(line for line in PEAK.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM")))
        show(summarize(kept), as_json=False)
        with kept.open("rb") as file:
            attempts = sum(line.startswith(b'{"type":"attempt"') for line in file)
    print(f"recorded {attempts}")


def recorded(path: Path, attempts: int) -> list[Figure]:
    """Peak memory of the parent, fed by the player: while it records, and with the report after it."""
    done = watch([sys.executable, __file__, "--role", f"parent:{path}"])
    if done.code or f"recorded {attempts}" not in done.output:
        raise SystemExit(f"the parent failed ({done.code}): {done.output}")
    recording = int(done.output.partition("VmHWM:")[2].split()[0]) / 1024 if PEAK.exists() else float("nan")
    say(f"  parent: {recording:.0f} MB while it records, {done.peak_mb:.0f} MB with the report, {done.wall_s:.1f} s")
    rate = attempts / done.wall_s
    most = 200.0 + 100.0 * attempts / 1e6  # the report holds columns of all attempts
    return [
        Figure("parent's memory while it records, fed", recording, 500.0, " MB", "the plan of all requests included"),
        Figure("parent's memory, fed", done.peak_mb, most, " MB", f"{rate:,.0f} attempts/s, report included"),
    ]


def reported(path: Path, rounds: int) -> list[Figure]:
    """Wall time of `ptubench report` in each of its forms, the memory that the largest needs, the size of its files."""
    figures, peaks = [], []
    for arguments, limit in REPORTS:
        files = [path.parent / part for part in arguments if part in SIZES]
        given = [path.parent / part if part in SIZES else part for part in arguments]
        # What is printed need not go through a pipe of ours.
        command = ["sh", "-c", 'exec "$@" >/dev/null', "sh", *ptubench("report", path, *given)]
        done = []
        for _ in range(rounds):
            for file in files:
                file.unlink(missing_ok=True)
            done.append(watch(command))
        if any(one.code for one in done):
            raise SystemExit(f"report {arguments} failed: {done[0].output}")
        walls = [one.wall_s for one in done]
        peaks += [one.peak_mb for one in done]
        name = " ".join(("report", *arguments))
        note = f"{spread(walls)}; {max(one.peak_mb for one in done):.0f} MB"
        figures.append(Figure(f"`{name}`", middle(walls), limit, " s", note))
        figures += [
            Figure(f"size of `{file.name}`", file.stat().st_size / 1e6, SIZES[file.name], " MB") for file in files
        ]
        say(f"  {name}: {walls} s, {note}")
    return [*figures, Figure("memory of any of them", max(peaks), 1500.0, " MB")]


def real(attempts: int) -> Figure:
    """Peak memory of the parent of a real run."""
    duration = attempts / REAL_RATE
    say(f"  a real run of {duration:.0f} s")
    with tempfile.TemporaryDirectory() as folder, stub(tokens=2) as target:
        file = Path(folder) / "many.yaml"
        file.write_text(WORKLOAD.format(rate=REAL_RATE, duration=f"{duration:g}"), encoding="utf-8")
        where = ("--endpoint", target.endpoint, "--deployment", "stub", "--results", folder)
        done = watch(ptubench("run", file, *where))
        received = target.stats()["requests"]
    if done.code not in (0, 4) or received < attempts:
        raise SystemExit(f"ptubench run ended with {done.code}, {received:,} calls arrived: {done.output}")
    note = f"{received:,} calls in {done.wall_s:.0f} s, report included"
    return Figure("parent's memory, real run", done.peak_mb, 400.0, " MB", note)


def main() -> None:
    """Read the command line, measure, print; or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--attempts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="of the report")
    parser.add_argument("--parent", action="store_true", help="only the parent")
    parser.add_argument("--real", action="store_true", help="also send that many calls")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        role, _, path = options.role.partition(":")
        {"play": play, "parent": be_parent}[role](Path(path))
        return
    say(f"million.py: a run file of {options.attempts:,} attempts, its report, its parent")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.jsonl"
        make_run.write(path, options.attempts)
        size = f"A run file of {options.attempts:,} attempts, {path.stat().st_size / 1e6:,.0f} MB."
        figures = recorded(path, options.attempts)
        if not options.parent:
            figures += reported(path, options.rounds)
    if options.real:
        figures.append(real(options.attempts))
    conclude("One million attempts", figures, size)


if __name__ == "__main__":
    main()
