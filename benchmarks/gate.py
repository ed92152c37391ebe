"""Whether `ptubench check --baseline` can be trusted: how often it fails a run for nothing, and lets a regression pass.

    python benchmarks/gate.py [--pairs 100] [--groups 60]

Every run is a stored file of about 2,100 measured calls (or 7,000), made by a simulated deployment on the virtual clock (Poisson arrivals,
prompts of mean 1,000 and p95 3,000 tokens), and is judged as a user's would be, file against file. Runs of a pair differ in the
simulator's seed, pairs also in the workload's.

- first token: `ttft.p95: 10%`, without and with a deployment that takes 15 % longer to the first token;
- refused: `refused.ratio: +1pt`, on a deployment that refuses calls at random, 0.5 % of them, and 0.5 % against 3 %;
- full bucket: the same rule on PTUs whose bucket is too shallow for some bursts, about 0.5 %, and 0.5 % against 3 %. The arrivals decide how much
  is refused, so that some pairs differ by less than a point in truth; also with other arrivals in each run of a pair, and with
  the same ones for half an hour, 7,000 calls.

A false alarm is a failed rule where nothing differs, a miss one that passed where something does. Repeats: one run against one and three
against three, where the service itself is somewhat faster or slower in each run; how often the interval of the change of `ttft.p95` leaves out
zero although nothing lasting differs, as it is judged and by resampled blocks of requests alone. Intervals are Wilson's 95 % binomial ones. About
ten minutes on two cores.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from measure import CORES, Figure, conclude, say, table
from ptubench import record
from ptubench.analysis.gather import load
from ptubench.analysis.stats import wilson
from ptubench.compare.side import Side, side
from ptubench.gate.document import check
from ptubench.gate.pool import Against, Pool
from ptubench.load.plan import make_plan
from ptubench.ptu import prices
from ptubench.sim import options as sim_options
from ptubench.virtual.run import Trial, lines
from ptubench.workload.model import Class, Fixed, Lognormal, OpenLoop, Stage, Workload

WORKLOAD = Workload(
    name="gate",
    classes=(Class(prompt=Lognormal(mean=1000, p95=3000), completion=Fixed(tokens=200)),),
    load=OpenLoop(stages=()),
    duration=0,
    warmup=60,
)
AMPLE = "gpt-4.1:175"
AT_RANDOM = "gpt-4.1:1000000,type=standard,demand={}"
SHALLOW = "gpt-4.1:{},depth=3s"
SLOWER = 1.15
TTFT, REFUSED, OTHER, BUCKET, LONG = CASES = (
    "first token",
    "refused",
    "full bucket, other arrivals",
    "full bucket",
    "full bucket, half an hour",
)
RULES = {name: "ttft.p95: 10%" if name == TTFT else "refused.ratio: +1pt" for name in CASES}
DRIFTS = (0.0, 0.05)
"""Standard deviation, on a logarithmic scale, of how fast a service is from run to run."""
SHAPES = (1, 3)
"""How many runs are held against as many."""


def stored(
    folder: Path, name: str, deployment: str, *, luck: int, seed: int, slower: float = 1.0, seconds: float = 600
) -> Path:
    """One run in a file; `luck` is the simulator's seed, `seed` the workload's."""
    options = sim_options.parse(deployment)
    options = msgspec.structs.replace(
        options, seed=luck, latency=options.latency * slower, prefill=options.prefill / slower
    )
    load = OpenLoop(stages=(Stage(value=4, seconds=seconds),))
    workload = msgspec.structs.replace(WORKLOAD, seed=seed, load=load, duration=seconds)
    trial = Trial(workload=workload, options=options, plan=make_plan(workload), salt=f"salt {luck}")
    path = folder / f"{name}-{luck}.jsonl"
    path.write_bytes(b"".join(map(record.encode, lines(trial))))
    return path


def failed(run: list[Path], baseline: list[Path], rule: str) -> dict[str, Any]:
    """The row of a regression, judged by the command's own code."""
    document = check(run, baseline=baseline, regressions=[rule])
    row: dict[str, Any] = document["checks"][-1]
    assert document["verdict"] == "valid", document["runs"]
    assert all(told["requests"] >= 2000 for told in document["runs"]), document["runs"]
    return row


def deployments(case: str) -> tuple[str, str, float]:
    """The deployment without and with a regression, and how much slower that one is."""
    return {
        TTFT: (AMPLE, AMPLE, SLOWER),
        REFUSED: (AT_RANDOM.format(0.005), AT_RANDOM.format(0.03), 1.0),
    }.get(case, (SHALLOW.format(172), SHALLOW.format(150), 1.0))


def pair(number: int, cases: Sequence[str] = CASES) -> list[tuple[str, bool, dict[str, Any]]]:
    """Case, whether something differs, and the row: of a baseline, one more run of the same, and one with the regression."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases:
            good, bad, slower = deployments(case)
            lucks = [1000 * CASES.index(case) + 3 * number + k for k in range(3)]
            seconds = 1800 if case == LONG else 600
            base = stored(folder, "baseline", good, luck=lucks[0], seed=number, seconds=seconds)
            seeds = (1000 + number, 2000 + number) if case == OTHER else (number, number)
            same = stored(folder, "same", good, luck=lucks[1], seed=seeds[0], seconds=seconds)
            worse = stored(folder, "worse", bad, luck=lucks[2], seed=seeds[1], slower=slower, seconds=seconds)
            found += [
                (case, differs, failed([run], [base], RULES[case])) for differs, run in ((False, same), (True, worse))
            ]
    return found


def group(number: int) -> list[tuple[float, int, str]]:
    """Drift, shape, and by which way the interval leaves out zero, of one set of runs that differ in nothing that lasts."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        for drift in DRIFTS:
            speeds = np.exp(drift * np.random.default_rng(number).standard_normal(6)).tolist()
            paths = [
                stored(Path(name), f"drift-{drift}", AMPLE, luck=10_000 + 6 * number + k, seed=number, slower=speed)
                for k, speed in enumerate(speeds)
            ]
            for shape in SHAPES:
                runs, baseline = paths[:shape], paths[3 : 3 + shape]
                row = failed(runs, baseline, RULES[TTFT])
                if not row["low"] <= 0 <= row["high"]:
                    found.append((drift, shape, "as judged"))
                blocks = Against(*(Pool(tuple(map(read, part))) for part in (baseline, runs))).by_blocks("ttft.p95")
                if not blocks.low <= 0 <= blocks.high:
                    found.append((drift, shape, "by blocks alone"))
    return found


def read(path: Path) -> Side:
    """A stored run, as the gate reads it."""
    return side(load(path), prices.shipped())


def told(times: int, of: int) -> str:
    """A share with its binomial interval."""
    low, high = wilson(times, of)
    return f"{times / of:.1%} ({low:.1%} to {high:.1%})"


def progress(results: Iterator[Any], of: int, what: str) -> Iterator[Any]:
    """The results as they come, and how many there are by now."""
    for done, result in enumerate(results, start=1):
        yield from result
        if done % 20 == 0:
            say(f"  {done} of {of} {what}")


def main() -> None:
    """Judge them all, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100, help="pairs without and pairs with a regression; default 100")
    parser.add_argument("--groups", type=int, default=40, help="sets of six runs for the repeats; default 40")
    options = parser.parse_args()
    with ProcessPoolExecutor(len(CORES)) as pool:
        rows = list(progress(pool.map(pair, range(options.pairs)), options.pairs, "pairs"))
        drifts = Counter(progress(pool.map(group, range(options.groups)), options.groups, "sets of repeats"))
    figures, values = [], []
    for case in CASES:
        for differs in (False, True):
            judged = [row for name, other, row in rows if name == case and other is differs]
            wrong = sum(row["passed"] is differs for row in judged)
            what, limit = ("misses", 10) if differs else ("false alarms", 5)
            if case in (TTFT, REFUSED, LONG):
                measured = 100 * wrong / len(judged)
                figures.append(Figure(f"{case}, {what}", measured, limit, " %", told(wrong, len(judged))))
            means = [f"{np.mean([row[name] for row in judged]):.4g}" for name in ("baseline", "measured")]
            changes = [row["change"] for row in judged]
            between = f"{min(changes):+.3g} to {max(changes):+.3g}"
            values.append((case, f"`{RULES[case]}`", *means, between, what, told(wrong, len(judged))))
    ways = [(drift, way) for drift in DRIFTS for way in ("as judged", "by blocks alone")]
    repeats = [
        (f"{shape} against {shape}", *(told(drifts[drift, shape, way], options.groups) for drift, way in ways))
        for shape in SHAPES
    ]
    conclude(
        "Gate",
        figures,
        f"{options.pairs} pairs of stored runs of each kind, with and without a difference; means over them, the changes "
        "from the smallest to the largest, and the wrong answers with their binomial interval:",
        table(("case", "rule", "baseline", "run", "changes", "", "wrong"), values),
        f"How often the interval of the change of `ttft.p95` leaves out zero in {options.groups} sets of runs that differ in nothing "
        "that lasts (5 % is right), by how much the service itself differs from run to run:",
        table(("runs", *(f"{drift:.0%}, {way}" for drift, way in ways)), repeats),
    )


if __name__ == "__main__":
    main()
