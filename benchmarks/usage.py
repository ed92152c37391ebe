"""A month of usage per minute, 43,200 rows: how long the whole answer takes, and how near minutes come to calls.

    python benchmarks/usage.py [--trace FILE] [--days 30]

The rows are made of a recorded trace, replayed end to end in minutes of its own, scaled by the hour of the day and by the
weekday: nights at a twentieth, weekends at a third of it. The answer is `ptubench size` as users run it, the start of
Python and the reading of the file included. And because a history knows minutes and no calls: the share that each size
refuses of the trace's minutes (`usage.need`), beside the share that the same bucket refuses of its calls, one by one.
"""

import argparse
import math
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from measure import ROOT, Figure, conclude, middle, ptubench, say, spread, table, watch
from ptubench.load import traces
from ptubench.ptu.bucket import Bucket
from ptubench.ptu.capacity import Capacity
from ptubench.ptu.catalogue import Weights
from ptubench.usage import csv_file, need
from ptubench.usage.columns import MINUTE, Floats, Usage

BEGIN = int(datetime(2026, 10, 5, tzinfo=UTC).timestamp())
"""A Monday."""
ONE = Capacity(ptu=1, tpm_per_ptu=3000.0, weights=Weights(output=4.0), source="gpt-4.1")
DEPTHS = (10.0, 60.0)


def month(trace: Path, days: int) -> Usage:
    """A usage history of so many days out of a trace (`TIMESTAMP,ContextTokens,GeneratedTokens`)."""
    rows = traces.lines(str(trace), "azure")
    at, prompt, _, completion, requests = np.array(rows, float).T
    minute = ((at - at[0]) // MINUTE).astype(int)
    whole = max(1, int(minute[-1]))  # the last one was cut
    totals = [np.bincount(minute, column)[:whole] for column in (requests, prompt, completion)]
    span = np.arange(days * 1440)
    scale = np.array([_busy(BEGIN + int(number) * MINUTE) for number in span])
    asked, prompts, completions = (np.rint(np.resize(column, len(span)) * scale) for column in totals)
    return Usage(
        source=trace.name,
        span=(BEGIN, BEGIN + days * 86_400),
        minute=BEGIN + span * MINUTE,
        requests=np.maximum(asked, 1),
        prompt=prompts,
        cached=np.rint(prompts * 0.3),
        completion=completions,
    )


def _busy(at: int) -> float:
    """The share of the trace's traffic at a time of the week: most at 14:00 UTC."""
    when = datetime.fromtimestamp(at, UTC)
    day = 0.525 + 0.475 * math.cos((when.hour + when.minute / 60 - 14) / 24 * 2 * math.pi)
    return day * (1 / 3 if when.weekday() >= 5 else 1)


def minutes(trace: Path) -> tuple[Usage, Floats, Floats]:
    """A trace as a history, and the arrival (s) and normalized tokens of each call."""
    rows = traces.lines(str(trace), "azure")
    at, prompt, cached, completion, requests = np.array(rows, float).T
    minute = ((at - at[0]) // MINUTE).astype(int)
    count = int(minute[-1]) + 1
    columns = [np.bincount(minute, column, count) for column in (requests, prompt, cached, completion)]
    busy = columns[0] > 0
    usage = Usage(
        source=trace.name,
        span=(0, count * MINUTE),
        minute=(np.arange(count) * MINUTE)[busy],
        **dict(zip(("requests", "prompt", "cached", "completion"), (one[busy] for one in columns), strict=True)),
    )
    return usage, at - at[0], ONE.normalized(prompt, cached, completion)


def refused_calls(at: Floats, cost: Floats, size: int, depth: float) -> float:
    """The share of calls that a bucket refuses, each charged what it cost."""
    drain = size * ONE.tpm_per_ptu / 60
    bucket = Bucket(drain=drain, depth=drain * depth)
    refused = 0
    for now, tokens in zip(at.tolist(), cost.tolist(), strict=True):
        if bucket.admits(now):
            bucket.charge(tokens, now)
        else:
            refused += 1
    return refused / len(at)


def compared(trace: Path) -> tuple[str, str]:
    """Minutes beside calls, from 40 to 120 % of the busiest minute's need."""
    usage, at, cost = minutes(trace)
    peak = float(need.ptu(usage, ONE).max())
    sizes = [max(1, round(peak * share)) for share in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)]
    by_minute = need.refused(usage, ONE, sizes, DEPTHS).requests / usage.requests.sum()
    by_call = np.array([[refused_calls(at, cost, size, depth) for depth in DEPTHS] for size in sizes])
    rows = [
        (f"{size} PTU", *(f"{one:.1%}" for pair in zip(*pairs, strict=True) for one in pair))
        for size, *pairs in zip(sizes, by_minute.tolist(), by_call.tolist(), strict=True)
    ]
    header = ("size", *(f"{depth:g} s: by {how}" for depth in DEPTHS for how in ("minute", "call")))
    apart = float(np.abs(by_minute - by_call).max()) * 100
    rate = len(at) / usage.minutes
    said = f"Refused, by minute and by call, with {rate:,.0f} calls a minute: at most {apart:.2g} points apart."
    return said, table(header, rows)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trace", type=Path, default=ROOT / "workloads" / "trace.csv", help="an Azure trace")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usage.csv"
        csv_file.write(month(options.trace, options.days), path)
        rows = len(path.read_text("utf-8").splitlines()) - 1
        say(f"usage.py: {rows:,} rows")
        command = ptubench("size", "--usage", path, "--model", "gpt-4.1", "--json")
        done = [watch(command) for _ in range(options.rounds)]
    if any(one.code not in (0, 3) for one in done):
        raise SystemExit(f"size failed ({done[0].code}): {done[0].output}")
    walls = [one.wall_s for one in done]
    note = f"{spread(walls)}; {max(one.peak_mb for one in done):.0f} MB"
    figure = Figure(f"`ptubench size`, {rows:,} rows", middle(walls), 30.0, " s", note)
    conclude("A month of usage", [figure], f"Made of {options.trace.name}.", *compared(options.trace))


if __name__ == "__main__":
    main()
