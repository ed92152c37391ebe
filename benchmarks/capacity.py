"""Whether `ptubench capacity` finds what is true: searches of deployments whose long run is known.

    python benchmarks/capacity.py [--seeds N] [--hours N] [--searches N] [--no-http]

- on the virtual clock: gpt-4.1:50 with buckets of 10, 30 and 60 s, three seeds each. The capacity is the deployment's own; the
  rate at which it refuses 1 % is that of 24 hours at each of five rates around it, with the same arrivals and sizes.
- the interval: a hundred searches each of bare buckets of 14, 42 and 83 calls, which are the depths above.
- over HTTP, in real time: a small, fast deployment whose bucket holds 18 calls; the truth again from the virtual clock.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from measure import Figure, conclude, say, table
from ptubench import capacity_run
from ptubench.analysis.summary import summary_of
from ptubench.capacity_run import CapacityOptions
from ptubench.commands import RunOptions
from ptubench.search.curve import Saturated, Seen, memory
from ptubench.search.next import Goal, move
from ptubench.search.tried import Spent, Tried
from ptubench.sim.options import SimOptions, parse
from ptubench.target.model import TargetOptions
from ptubench.units import duration_text
from ptubench.virtual.run import Trial, gathered
from ptubench.workload.model import OpenLoop, Stage, Workload
from ptubench.workload.read import read

LIMIT = 0.01
DEPTHS = {10: 0.925, 30: 0.99, 60: 1.0}
"""Depth of the bucket in seconds, and about the share of the capacity at which 1 % is refused."""
SECONDS = {14: 10, 42: 30, 83: 60}
"""Calls that fit into the bucket, and its depth."""
SHORTEST = 833
"""Calls of a window of ten minutes."""
AROUND = (0.97, 0.985, 1.0, 1.015, 1.03)
HTTP = "gpt-4.1:50,tpm_per_ptu=4000,depth=0.3,latency=1,tps=5000,jitter=0"
SMALL = ("prompt_tokens=40", "completion_tokens=4", "output_limit=4", "checks=[]", "drain=5s")
HTTP_LOAD = 0.955
TRIES = 5
"""How often a search goes on that a busy machine has interrupted."""


def long_run(options: SimOptions, workload: Workload, *, near: float, hours: float) -> float:
    """Calls a minute of which 1 % is refused in the long run: between the two of five rates that enclose it, in logarithms."""
    (kind,) = workload.classes
    per_call = options.capacity.normalized(kind.prompt.tokens, 0, kind.completion.tokens)
    rates, ratios = [], []
    for share in AROUND:
        rate = near * share * options.capacity.per_second / per_call
        load = OpenLoop(stages=(Stage(value=rate, seconds=hours * 3600),))
        longer = msgspec.structs.replace(workload, load=load, duration=hours * 3600, warmup=hours * 180, seed=99)
        told = summary_of(gathered(Trial(workload=longer, options=options)))["metrics"]["refused"]
        rates.append(rate * 60)
        ratios.append(told["ratio"])
        say(f"  long run at {rate * 60:,.1f}/min: {told['ratio']:.3%}")
    if not ratios[0] < LIMIT < ratios[-1]:
        raise SystemExit(f"1 % lies outside of {ratios}: look further around")
    return float(np.interp(np.log(LIMIT), np.log(np.maximum(ratios, 1e-9)), rates))


def searched(spec: str, seed: int) -> dict:
    """The answer of `capacity chat --simulate SPEC --virtual --seed SEED`."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunOptions(
            workload="chat",
            target=TargetOptions(simulate=spec),
            overrides=("checks=[]",),
            seed=seed,
            results=Path(folder),
        )
        ready = capacity_run.prepare(CapacityOptions(run=run, virtual=True), {})
        return capacity_run.run(ready, say=lambda _: None, watch=lambda _: None)


def bucket(depth: int, load: float, *, settle: int, calls: int, rng: np.random.Generator) -> int:
    """How many of `calls` equal calls a bucket refuses that starts full and has settled."""
    level, lost = float(depth), 0
    for number, gap in enumerate(rng.exponential(1 / load, settle + calls)):
        level = max(0.0, level - gap)
        if level < depth:
            level += 1
        else:
            lost += number >= settle
    return lost


def bare_truth(depth: int, rng: np.random.Generator) -> float:
    """The load of which a bucket refuses 1 %: eight million calls at each of five loads."""
    loads, ratios = [share * DEPTHS[SECONDS[depth]] for share in AROUND], []
    for load in loads:
        level, lost = np.zeros(400), 0
        for number in range(25_000):
            level = np.maximum(level - rng.exponential(1 / load, len(level)), 0)
            admitted = level < depth
            level += admitted
            lost += int(np.count_nonzero(~admitted)) if number >= 5_000 else 0
        ratios.append(lost / (20_000 * len(level)))
    return float(np.interp(np.log(LIMIT), np.log(ratios), loads))


def covers(depth: int, truth: float, rng: np.random.Generator) -> bool:
    """Whether a search of a bare bucket has the truth inside its interval."""
    saturated = Saturated(rate=1.0, depth=depth * rng.lognormal(sigma=0.2))
    remembered = memory(truth, saturated.depth)
    settle, window = round(2 * remembered), round(max(SHORTEST, 3 * remembered))
    tried: list[Tried] = []
    while (rate := move(tried, saturated, Goal(limit=LIMIT)).rate) is not None:
        lost = bucket(depth, rate, settle=settle, calls=window, rng=rng)
        passed = lost <= LIMIT * window
        seen = Seen(rate=rate, offered=window, refused=lost)
        tried.append(Tried(seen=seen, passed=passed, by_others=False, spent=Spent(seconds=0, tokens=0), row={}))
    found = move(tried, saturated, Goal(limit=LIMIT)).result
    return found is not None and found.low <= truth <= found.high


def covered(searches: int) -> Figure:
    """How many of many searches miss the truth."""
    rng = np.random.default_rng(1)
    outside = {}
    for depth in SECONDS:
        truth = bare_truth(depth, rng)
        outside[depth] = sum(not covers(depth, truth, rng) for _ in range(searches))
        say(f"  bare bucket of {depth} calls, 1 % at {truth:.4f}: {outside[depth]} of {searches} outside")
    missed = 100 * sum(outside.values()) / (searches * len(outside))
    note = ", ".join(f"{count} of {searches} with {depth} calls" for depth, count in outside.items())
    return Figure("bare buckets: truth outside the interval", missed, 7.5, " %", note)


def over_http() -> dict:
    """The answer of a search in real time, as a user starts it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ptubench", "capacity", "chat", "--simulate", HTTP, "--rate", "60/s", "--json"]
        command += ["--duration", "10s", "--set", "warmup=1s", "--steps", "10", "--results", folder]
        command += [part for setting in SMALL for part in ("--set", setting)]
        for _ in range(TRIES):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return json.loads(done.stdout)
            say(f"  over HTTP: {done.stderr.splitlines()[-1]}")
    raise SystemExit(f"over HTTP: no search in {TRIES} tries")


def row(name: str, answer: dict, *, capacity: float, truth: float) -> tuple[str, ...]:
    """A search beside the truth."""
    found = answer["result"]
    return (
        name,
        f"{answer['capacity']['tpm_normalized'] / capacity - 1:+.2%}",
        f"{truth:,.1f}",
        f"{found['rpm']:,.1f}",
        f"{found['low']:,.1f} to {found['high']:,.1f}",
        f"{found['rpm'] / truth - 1:+.1%}",
        "yes" if found["low"] <= truth <= found["high"] else "no",
        f"{len(answer['steps'])}",
        duration_text(round(answer["spent"]["seconds"])),
    )


def judged(name: str, answers: list[tuple[dict, float, float]]) -> list[Figure]:
    """The worst of some searches: each with its true capacity and its true rate."""
    off = [abs(a["capacity"]["tpm_normalized"] / capacity - 1) for a, capacity, _ in answers]
    rates = [abs(a["result"]["rpm"] / truth - 1) for a, _, truth in answers]
    outside = sum(not a["result"]["low"] <= truth <= a["result"]["high"] for a, _, truth in answers)
    many = f"the worst of {len(answers)}"
    return [
        Figure(f"{name}: capacity, off", 100 * max(off), 2.0, " %", many),
        Figure(f"{name}: 1 %-rate, off", 100 * max(rates), 5.0, " %", many),
        Figure(f"{name}: long run outside the interval", outside, len(answers) // 9, "", f"of {len(answers)}"),
    ]


def main() -> None:
    """Read the command line, search, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="searches of each deployment")
    parser.add_argument("--hours", type=float, default=24.0, help="of the long run, at each rate")
    parser.add_argument("--searches", type=int, default=100, help="of each bare bucket")
    parser.add_argument("--no-http", action="store_true", help="leave out the search in real time")
    options = parser.parse_args()
    say("capacity.py: searches beside the long run of the same deployment")
    rows, found = [], []
    for depth, near in DEPTHS.items():
        spec = f"gpt-4.1:50,depth={depth}"
        deployment = parse(spec)
        truth = long_run(deployment, read("chat"), near=near, hours=options.hours)
        for seed in range(options.seeds):
            begun = time.perf_counter()
            answer = searched(spec, seed)
            rows.append(row(f"{depth} s, seed {seed}", answer, capacity=deployment.capacity.tpm, truth=truth))
            found.append((answer, deployment.capacity.tpm, truth))
            say(f"  {depth} s, seed {seed}: {time.perf_counter() - begun:.1f} s")
    figures = [*judged("virtual", found), covered(options.searches)]
    if not options.no_http:
        deployment = parse(HTTP)
        workload = read("chat", overrides=SMALL)
        truth = long_run(deployment, workload, near=HTTP_LOAD, hours=options.hours / 24)
        answer = over_http()
        rows.append(row("HTTP, 0.3 s", answer, capacity=deployment.capacity.tpm, truth=truth))
        figures += judged("HTTP", [(answer, deployment.capacity.tpm, truth)])
    columns = ("bucket", "capacity", "true 1 %-rate", "found", "95 % interval", "off", "inside", "steps", "load")
    conclude("Capacity", figures, table(columns, rows))


if __name__ == "__main__":
    main()
