"""How fast the virtual clock is: the same load at eight sizes, one after another in one process on one core.

    python benchmarks/virtual.py [--trace FILE]

- ten minutes of 45 calls a minute, and 58 minutes of 332; with `--trace` a recorded one in Azure's format in place of
  the second, such as the conversation trace of the Azure public dataset (19,366 requests).
- "one set of assumptions": every size at one depth of the bucket. With the depths, the size that is recommended and its
  neighbours are run at three further depths.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from measure import CORES, Figure, conclude, say, table
from ptubench.load import traces
from ptubench.ptu import catalogue
from ptubench.sim.options import SimOptions
from ptubench.virtual.run import Trial
from ptubench.virtual.sweep import Step, judging, sweep
from ptubench.workload.model import Trace, Workload
from ptubench.workload.read import read
from ptubench.workload.resolve import resolve

MODEL = "gpt-4.1"
MINUTES = """\
name: chat
prompt_tokens: 1000
completion_tokens: 200
load: {rate: 45/min}
duration: 10m
"""
HOUR = """\
name: hour
prompt_tokens: {mean: 1155, p95: 3200}
completion_tokens: {mean: 211, p95: 450}
load: {rate: 332/min}
duration: 58m
"""


def measured(workload: Workload, sizes: list[int], depths: tuple[float, ...]) -> tuple[float, dict, int]:
    """Seconds that a sweep takes, what it says, and its runs."""
    runs: list[Step] = []
    options = SimOptions(model=MODEL, ptu=sizes[0])
    begun = time.perf_counter()
    told = sweep(Trial(workload=workload, options=options), sizes, judging(workload), depths=depths, watch=runs.append)
    return time.perf_counter() - begun, told, len(runs)


def around(workload: Workload) -> list[int]:
    """Eight sizes from what the mean asks for upwards, an increment apart or more."""
    model = catalogue.find(MODEL)
    assert model is not None
    minimum, increment = model.sizes["global"]
    options = SimOptions(model=MODEL, ptu=10_000)
    used = sweep(Trial(workload=workload, options=options), [10_000], judging(workload), depths=())["sizes"][0]
    need = used["metrics"]["utilization"]["simulated"]["mean"] * 10_000
    step = max(increment, round(need / 8 / increment) * increment)
    first = max(minimum, round(need / increment) * increment)
    return [first + step * k for k in range(8)]


def loaded(text: str) -> Workload:
    """A workload file's text, read and resolved."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.yaml"
        path.write_text(text, encoding="utf-8")
        workload = read(path)
    span = traces.span(workload.load) if isinstance(workload.load, Trace) else None
    return resolve(workload, None, span)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trace", type=Path, help="a recorded hour in Azure's format, in place of one that is drawn")
    trace = parser.parse_args().trace
    os.sched_setaffinity(0, [max(CORES)])
    hour = HOUR if trace is None else f"name: trace\nload: {{trace: {{file: '{trace.resolve()}', format: azure}}}}\n"
    say("virtual.py: eight sizes of a short load and of an hour")
    figures, rows = [], []
    for what, text, limit in (("ten minutes of 45 calls a minute", MINUTES, 2.0), ("an hour", hour, 20.0)):
        workload = loaded(text)
        sizes = around(workload)
        seconds, told, _ = measured(workload, sizes, ())
        requests = told["sizes"][-1]["metrics"]["requests"]["total"]
        figures.append(Figure(f"{what}, eight sizes", seconds, limit, " s", f"{requests:,} calls in the window"))
        longer, told, runs = measured(workload, sizes, (10.0, 30.0, 60.0, 120.0))
        rows += [
            (what, str(row["ptu"]), *(f"{value:.1%}" for value in _shares(row)), "yes" if row["passed"] else "no")
            for row in told["sizes"]
        ]
        say(f"  {what}: {seconds:.2f} s; {runs} runs with four depths {longer:.2f} s; recommended {told['by_depth']}")
    columns = ("load", "PTU", "mean utilization", "busiest minute", "refused", "passed")
    conclude("The virtual clock", figures, table(columns, rows))


def _shares(row: dict) -> tuple[float, float, float]:
    used = row["metrics"]["utilization"]["simulated"]
    return used["mean"], used["peak_minute"], row["metrics"]["refused"]["ratio"]


if __name__ == "__main__":
    main()
