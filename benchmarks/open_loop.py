"""Open loop: 500 quick calls a second; how late does one worker take them up, and does the live view make it later?

    python benchmarks/open_loop.py [--rounds 3]

Poisson arrivals, whole answers from the stub at once. Runs with and without a terminal take turns: with one, ptubench
draws its live view four times a second; without, it prints a line every five seconds. The stub has a core of its own; where
parent and worker run is the system's choice, as it is a user's.

- lag: taken up less due, of the calls of the window.
- arrived late: the moment the stub had received a call (its log, by `x-request-id`) less the moment it was due.
"""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

from measure import Figure, Run, Stub, conclude, middle, number, percentile, run, say, spread, stub, table

WORKLOAD = """\
name: open_loop
prompt_tokens: 32
completion_tokens: 10
stream: false
load:
  rate: {rate}/s
duration: {duration}s
warmup: {warmup}s
"""


class Seen(NamedTuple):
    """One run. Times in seconds."""

    lags: list[float]
    late: list[float]
    cpu_per_call: float


def measure(options: argparse.Namespace, *, live: bool) -> Seen:
    """One run, with the live view or without."""
    text = WORKLOAD.format(rate=options.rate, duration=options.duration, warmup=options.warmup)
    with stub(tokens=10) as target:
        seen = _seen(run(text, target, terminal=live), target)
    say(f"  {'with' if live else 'without'} live view: lag p99 {percentile(seen.lags, 0.99) * 1e3:.2f} ms")
    return seen


def _seen(done: Run, target: Stub) -> Seen:
    zero, log = done.head.clock_start, target.log()
    calls = done.measured()
    if any(call.outcome != "ok" for call in calls):
        raise SystemExit("not every call was answered")
    ticks = done.seconds()
    return Seen(
        [call.taken - call.scheduled for call in calls],
        [log[call.headers["x-request-id"]]["arrived"] - zero - call.scheduled for call in calls],
        sum(tick.cpu for tick in ticks) / sum(tick.sent for tick in ticks),
    )


def row(name: str, rounds: Sequence[Seen]) -> tuple[str, ...]:
    """Medians over the rounds."""
    values: list[Any] = [percentile(one.lags, share) * 1e3 for share in (0.5, 0.99) for one in rounds]
    lags = (middle(values[: len(rounds)]), middle(values[len(rounds) :]))
    late = middle(percentile(one.late, 0.99) * 1e3 for one in rounds)
    cpu = middle(one.cpu_per_call * 1e6 for one in rounds)
    return (name, *(number(value or 0.0) for value in (*lags, late, cpu)))


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=500, help="calls a second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", type=int, default=15, help="seconds of load, warm-up included")
    parser.add_argument("--warmup", type=int, default=3, help="seconds")
    options = parser.parse_args()
    say(f"open_loop.py: {options.rate} calls a second for {options.duration} s, {options.rounds} rounds of two runs")
    plain, live = [], []
    for _ in range(options.rounds):
        plain.append(measure(options, live=False))
        live.append(measure(options, live=True))
    without, with_ = ([percentile(one.lags, 0.99) * 1e3 for one in rounds] for rounds in (plain, live))
    base = middle(without) or 0.0
    columns = ("live view", "lag p50, ms", "p99, ms", "arrived late p99, ms", "CPU per call, µs")
    conclude(
        f"Open loop, {options.rate} calls a second (medians of {options.rounds})",
        [
            Figure("lag p99", base, 3.0, " ms", spread(without)),
            Figure(
                "lag p99, with / without live view",
                (middle(with_) or 0.0) / base,
                1.2,
                "",
                f"with: {spread(with_)} ms" if len(with_) > 1 else "",
            ),
        ],
        table(columns, (row("off", plain), row("on", live))),
    )


if __name__ == "__main__":
    main()
