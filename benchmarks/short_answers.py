"""1,000 calls a second of streamed answers of 10 tokens: how late does one worker take them up, and is each sent once?

    python benchmarks/short_answers.py [--rate 1000] [--duration 10m]

Poisson arrivals; the stub streams the tokens at 100 a second, the first 100 ms after a call's arrival, on a core of its own. Where
parent and worker run is the system's choice, as it is a user's. `all.py` takes the ten minutes; the default, a minute, is to look.

- lag: taken up less due, of the calls of the window.
- astray: planned requests that are not in the file exactly once, and by how many calls the stub's count differs from the
  plan and the probe's one call.
"""

import argparse
from collections import Counter
from typing import Any

from measure import Figure, Run, conclude, number, percentile, run, say, stub, table, unvoided
from ptubench import units

WORKLOAD = """\
name: short_answers
prompt_tokens: 32
completion_tokens: 10
load:
  rate: {rate}/s
duration: {duration:g}s
warmup: {warmup:g}s
"""


def measure(rate: int, duration: float) -> tuple[dict[str, Any], tuple[Run, int]]:
    """One run: what the stub says, and the run with the calls that the stub had."""
    text = WORKLOAD.format(rate=rate, duration=duration, warmup=min(10.0, duration / 4))
    with stub(tokens=10, rate=100.0, ttft=0.1) as target:
        done = run(text, target)
        stats = target.stats()
    return stats, (done, stats["requests"] - 1)


def astray(done: Run, arrived: int) -> int:
    """Requests of the plan that were not recorded once, and calls that the stub had too many or too few."""
    planned = done.head.planned or 0
    seen = Counter(attempt.index for attempt in done.attempts)
    return planned - sum(seen[index] == 1 for index in range(planned)) + abs(arrived - planned)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=1000, help="calls a second")
    parser.add_argument("--duration", type=units.duration, default=60.0, help="such as 10m (default: 1m)")
    options = parser.parse_args()
    duration = units.duration_text(options.duration)
    say(f"short_answers.py: {options.rate:,} calls a second for {duration}")
    found = unvoided(f"{options.rate:,} calls/s", lambda: measure(options.rate, options.duration))
    limits = (("lag p99", 5.0, " ms"), ("calls that were not answered in full", 0.0, ""), ("requests astray", 0.0, ""))
    values: list[float | None] = [None] * len(limits)
    details = []
    if found is not None:
        done, arrived = found
        lags = [(call.taken - call.scheduled) * 1e3 for call in done.measured()]
        cpu = [tick.cpu for tick in done.seconds()]
        p50, p99, most = (percentile(lags, share) for share in (0.5, 0.99, 1.0))
        failed = sum(call.outcome != "ok" or call.completion_tokens != 10 for call in done.attempts)
        values = [p99, failed, astray(done, arrived)]
        columns = ("calls", "lag p50, ms", "p99, ms", "most, ms", "the worker, of a core")
        row = (f"{len(done.attempts):,}", *map(number, (p50, p99, most)), f"{sum(cpu) / len(cpu):.0%}")
        details.append(table(columns, [row]))
    figures = [Figure(what, value, limit, unit) for (what, limit, unit), value in zip(limits, values, strict=True)]
    conclude(f"Short answers: {options.rate:,} calls a second for {duration}", figures, *details)


if __name__ == "__main__":
    main()
