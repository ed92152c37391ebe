"""Whether `ptubench size --from RUN` finds what a deployment really takes, and how often its intervals hold the truth.

    python benchmarks/calibration.py [--seeds N] [--sizes N] [--minutes N]

- Deployments whose capacity, ratio and depth are other than published, on the virtual clock; the run files say what is
  published. Each seed is a run of ten minutes, from a third of the published capacity to far more.
- The size that is recommended by each of these runs, beside the one for the true figures.
- One such run in real time, over HTTP, against a simulated deployment in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from measure import Figure, conclude, percentile, ptubench, say, table, watch
from ptubench import record
from ptubench.analysis.gather import load
from ptubench.calibrate.findings import Findings, findings
from ptubench.calibrate.fit import Found
from ptubench.record import Head
from ptubench.sim.options import SimOptions
from ptubench.size.answer import answer
from ptubench.size.asked import SizeOptions, ask
from ptubench.virtual.run import Trial, lines
from ptubench.workload.read import read
from ptubench.workload.resolve import resolve

PTU = 20
PUBLISHED = {"kind": "azure", "model": "gpt-4.1", "ptu": PTU, "deployment": "secret"}
"""What the run files say of the target."""
DEPLOYMENTS = (
    SimOptions(model="gpt-4.1", ptu=PTU, tpm_per_ptu=2400, depth=30, ratio=5),
    SimOptions(model="gpt-4.1", ptu=PTU, tpm_per_ptu=3600, depth=10),
    SimOptions(model="gpt-4.1", ptu=PTU, depth=60, latency=0.5, prefill=8000, load=1, jitter=0.2),
)
MIXED = """\
name: rising
prompt_tokens: {mean: 1000, p95: 2500}
completion_tokens: {mean: 200, p95: 450}
load: {stages: [{rate: 20/min, for: %ds}, {rate: 80/min, for: %ds}]}
warmup: 60s
"""
CHAT = """\
name: chat
prompt_tokens: 1000
completion_tokens: 200
load: {rate: 57/min}
duration: 10m
"""
"""The load that a size is looked for."""
WINDOW = (60.0, 600.0)


def secret(options: SimOptions, seed: int, path: Path) -> Path:
    """A run file of a deployment with these options that says what is published."""
    file = path.with_suffix(".yaml")
    file.write_text(MIXED % (120, 480), encoding="utf-8")
    workload = resolve(msgspec.structs.replace(read(str(file)), seed=seed), None, None)
    of = lines(Trial(workload=workload, options=options))
    told = (
        msgspec.structs.replace(one, target=PUBLISHED, clock="real") if isinstance(one, Head) else one for one in of
    )
    path.write_bytes(b"".join(map(record.encode, told)))
    return path


def figures(found: Findings) -> dict[str, Found | None]:
    """What is found, by the name of what it should be."""
    fast = found.speed
    of_speed = {"latency": fast.latency, "prefill": fast.prefill, "load": fast.load, "jitter": fast.spread}
    return {"capacity": found.capacity, "by retry-after": found.by_retry_after, "ratio": found.ratio} | {
        "depth": found.depth,
        **of_speed,
    }


def truths(options: SimOptions) -> dict[str, float]:
    """What it should be."""
    capacity = options.capacity
    of_speed = {name: float(getattr(options, name)) for name in ("latency", "prefill", "load", "jitter")}
    return {
        "capacity": capacity.tpm,
        "by retry-after": capacity.tpm,
        "ratio": capacity.weights.output,
        "depth": options.depth,
    } | of_speed


def size(folder: Path, **options: Any) -> int | None:
    """The size that is recommended for `CHAT`."""
    path = folder / "chat.yaml"
    path.write_text(CHAT, encoding="utf-8")
    asked = ask(SizeOptions(workload=str(path), model="gpt-4.1", **options), {}, say=lambda _: None)
    recommended: int | None = answer(asked, today=datetime.now(UTC).date())["recommended"]
    return recommended


def true_size(folder: Path, options: SimOptions) -> int | None:
    """The same, told all that is true."""
    assume = tuple(f"{name}={getattr(options, name):g}" for name in ("depth", "latency", "prefill", "load", "jitter"))
    one = options.capacity
    return size(folder, tpm_per_ptu=one.tpm_per_ptu, ratio=one.weights.output, assume=assume)


def virtual(folder: Path, *, seeds: int, sizes: int) -> tuple[list[Figure], str]:
    """Every deployment with every seed."""
    held: Counter[str] = Counter()
    known: Counter[str] = Counter()
    errors: dict[str, list[float]] = {}
    widths: dict[str, list[float]] = {}
    other = []
    for number, options in enumerate(DEPLOYMENTS):
        true = true_size(folder, options)
        for seed in range(seeds):
            path = secret(options, seed, folder / f"{number}-{seed}.jsonl")
            found, truth = figures(findings(load(path), window=WINDOW)), truths(options)
            for name, one in found.items():
                if one is not None:
                    known[name] += 1
                    held[name] += one.holds(truth[name])
                    errors.setdefault(name, []).append(abs(one.value / truth[name] - 1))
                    widths.setdefault(name, []).append(one.half)
            if seed < sizes and (by_run := size(folder, measured=path)) != true:
                other.append(f"{by_run} for {true} PTU")
        say(f"calibration.py: {number + 1} of {len(DEPLOYMENTS)} deployments")
    runs = seeds * len(DEPLOYMENTS)
    rows = [
        (
            name,
            f"{known[name]} of {runs}",
            f"{held[name] / known[name]:.1%}",
            *map(_percent, (percentile(widths[name], 0.5), percentile(errors[name], 0.5), max(errors[name]))),
        )
        for name in known
    ]
    header = ("figure", "told", "interval holds the truth", "half of the interval", "median error", "largest error")
    missed = min(held[name] / known[name] for name in known)
    compared = min(sizes, seeds) * len(DEPLOYMENTS)
    return [
        Figure("capacity: largest error", 100 * max(errors["capacity"]), 3, " %", f"{runs} runs"),
        Figure("intervals that miss the truth: most often", 100 * (1 - missed), 10, " %", "by figure, at a 95 % level"),
        Figure("other sizes than for the true figures", len(other), 0, f" of {compared}", "; ".join(other)),
    ], f"On the virtual clock, three deployments.\n\n{table(header, rows)}"


def real(folder: Path, *, minutes: float) -> list[Figure]:
    """One run over HTTP, which is told what is published."""
    options = msgspec.structs.replace(DEPLOYMENTS[0], depth=10)
    workload, results = folder / "real.yaml", folder / "real"
    workload.write_text(MIXED % (round(minutes * 10), round(minutes * 50)), encoding="utf-8")
    with served(options) as port:
        where = ("--endpoint", f"http://127.0.0.1:{port}/openai/v1", "--deployment", "secret")
        what = ("--model", "gpt-4.1", "--ptu", PTU, "--results", results, "--set", "warmup=10s")
        done = watch(ptubench("run", workload, *where, *what))
    files = list(results.glob("*.jsonl"))
    if done.code not in (0, 3, 4) or not files:
        say(done.output)
        raise SystemExit(f"ptubench run ended with {done.code}")
    found, truth = figures(findings(load(files[0]), window=(10.0, minutes * 60))), truths(options)
    said = [
        f"{name} {one.value:,.4g} ({one.low:,.4g} to {one.high:,.4g}) for {truth[name]:g}"
        for name, one in found.items()
        if one is not None
    ]
    error = None if found["capacity"] is None else 100 * abs(found["capacity"].value / truth["capacity"] - 1)
    by_run, true = size(folder, measured=files[0]), true_size(folder, options)
    return [
        Figure(f"over HTTP, {minutes:g} min: error of the capacity", error, 3, " %", "; ".join(said)),
        Figure(
            "over HTTP: other size than for the true figures", float(by_run != true), 0, "", f"{by_run}, {true} PTU"
        ),
    ]


@contextmanager
def served(options: SimOptions) -> Iterator[int]:
    """A simulated deployment in a process of its own, until the block ends: its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ptubench.sim.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(json.dumps(msgspec.to_builtins(options)).encode() + b"\n")
        process.stdin.flush()
        yield json.loads(process.stdout.readline())["port"]
        process.stdin.close()  # it ends with its stdin


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--sizes", type=int, default=10, help="of how many seeds the size is looked for")
    parser.add_argument("--minutes", type=float, default=3.0, help="of the run over HTTP; 0 for none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found, details = virtual(folder, seeds=options.seeds, sizes=options.sizes)
        if options.minutes:
            found += real(folder, minutes=options.minutes)
    conclude("Calibration", found, details)


if __name__ == "__main__":
    main()
