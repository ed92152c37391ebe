"""How true the numbers of a run are, laid beside the log of the server that caused them: the exact figures.

    python benchmarks/truth.py [--quick]

Answers come from a simulated deployment with its log, or from a script server. Every process reads the same monotonic
clock, so times are compared stamp by stamp; tokens and counts must be exact. The tests assert the same with bounds
that a busy machine keeps; this program measures for longer, one load at a time. About four minutes.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from measure import ROOT, Figure, conclude, number, say, table
from ptubench.sim.script import Ask, Pace

sys.path.insert(0, str(ROOT / "tests"))  # their helpers run the same product against the same servers
import running
from servers import script_server
from simulated import simulated

MS = 1e3
RATE = 100
"""Calls a second of the loads whose arrivals are judged."""
STALL, STALL_RATE = 3.0, 40
PROMPT, COMPLETION, OUTPUT_RATIO, CAPACITY, DEPTH_CALLS = 40, 5, 2.0, 80, 80
"""Of the law of throttling: tokens of a call, and the calls a second and at once that the deployment takes."""
FILL = 2.0


def in_ms(what: str, errors: Any, p50: float, p99: float) -> list[Figure]:
    """Median and 99th percentile of errors in seconds, beside what they may be in milliseconds."""
    values = np.asarray(errors) * MS
    note = f"of {len(values)}: {number(values.min())} to {number(values.max())} ms"
    quantiles = np.percentile(values, (50, 99))
    return [
        Figure(f"{what}, p{q}", value, limit, " ms", note)
        for q, value, limit in zip((50, 99), quantiles, (p50, p99), strict=True)
    ]


# --- answers ----------------------------------------------------------------------------------------------------------


def answers(folder: Path, seconds: float) -> list[Figure]:
    """Times and tokens of some 50 varied streams at once against the deployment's log."""
    options: Mapping[str, Any] = {"ptu": 10_000, "latency": 0.3, "tps": 60, "jitter": 0.3}
    (folder / "deployment").mkdir()
    with simulated(folder / "deployment", **options) as server:
        run = running.start(
            folder / "run",
            *running.endpoint(server.url),
            load={"rate": "40/s"},
            prompt_tokens={"min": 40, "max": 3000},
            completion_tokens={"min": 20, "max": 120},
            duration=f"{seconds}s",
        ).finish()
        log = {entry["request_id"]: entry for entry in server.log(len(run.attempts) + 1)}
    pairs = run.beside(log)
    ttft = [(a.first_content - a.sent) - (e["first_content"] - e["arrived"]) for a, e in pairs]
    e2e = [(a.last_content - a.sent) - (e["last_content"] - e["arrived"]) for a, e in pairs]
    seen = [run.clock(a.last_content) - e["last_content"] for a, e in pairs]
    return [
        *in_ms("TTFT, client − server", ttft, 5, 40),
        *in_ms("E2E, client − server", e2e, 5, 40),
        *in_ms("last content seen after it was sent", seen, 5, 40),
        *_gaps(run, pairs),
        _wrong_tokens(run, pairs),
    ]


def _gaps(run: running.Run, pairs: list[tuple[Any, Any]]) -> list[Figure]:
    """The pooled gaps of the summary beside those between the server's own stamps."""
    end = run.clock(run.head.workload.duration)
    stamps = [[entry["sent"][at] for at in entry["content"]] for _, entry in pairs]
    true = np.array([later - earlier for one in stamps for earlier, later in pairwise(one) if later < end]) * MS
    figures = []
    for name, limit in (("p50", 1), ("p99", 10)):
        truth = np.percentile(true, int(name[1:]))
        off = abs(run.metrics["gap"][name] * MS - truth)
        figures.append(Figure(f"gap {name}, off", off, limit, " ms", f"true {number(truth)} ms, of {len(true)}"))
    return figures


def _wrong_tokens(run: running.Run, pairs: list[tuple[Any, Any]]) -> Figure:
    """Answers of which any count differs from the server's or from what was asked for."""
    names = ("prompt_tokens", "cached_tokens", "completion_tokens")
    wrong = [
        attempt.index
        for attempt, entry in pairs
        if any(getattr(attempt, name) != entry[name] for name in names)
        or attempt.content_events != len(entry["content"])
        or (attempt.prompt_tokens, attempt.completion_tokens) != (attempt.prompt_asked, attempt.completion_asked)
    ]
    total = sum(entry["completion_tokens"] for _, entry in pairs)
    lost = (run.head.planned or 0) - len(pairs)
    return Figure(
        "answers with a wrong count, or lost", len(wrong) + lost, 0, "", f"of {len(pairs)}, {total} completion tokens"
    )


# --- load -------------------------------------------------------------------------------------------------------------


def load(folder: Path, arrivals: str, workers: int, seconds: float) -> list[Figure]:
    """What arrived at a server of one kind of load."""
    with script_server(running.numbered(Pace(tokens=2))) as server:
        run = running.start(
            folder / f"{arrivals}-{workers}",
            *running.endpoint(server.base, "--workers", str(workers)),
            load={"rate": f"{RATE}/s", "arrivals": arrivals},
            duration=f"{seconds}s",
        ).finish()
        log = running.by_number(server.log)
    late = [played.ask.arrived - run.clock(attempt.scheduled) for attempt, played in run.beside(log)]
    stamps = np.sort([played.ask.arrived - run.head.clock_start for played in log.values()])[1:]  # without the probe
    gaps = np.diff(stamps)
    what = f"{arrivals}, {workers} worker{'s' if workers > 1 else ''}"
    wrong = abs(len(stamps) - (run.head.planned or 0)) + sum(value < 0 for value in late)
    figures = [
        Figure(f"{what}: lost, doubled or early", int(wrong), 0, "", f"of {run.head.planned}"),
        *in_ms(f"{what}: arrival after due time", late, 5, 20),
    ]
    if arrivals == "constant":
        slope = np.polyfit(np.arange(len(stamps)), stamps, 1)[0]
        spread = np.std(gaps) * MS
        return [
            *figures,
            Figure(f"{what}: drift of the rate", abs(slope * RATE - 1) * 100, 0.1, " %"),
            Figure(
                f"{what}: standard deviation of gaps",
                spread,
                500 / RATE,
                " ms",
                f"mean {number(np.mean(gaps) * MS)} ms",
            ),
        ]
    counts = np.histogram(stamps, bins=int(seconds * 10), range=(0, seconds))[0]
    dispersion = np.var(counts, ddof=1) / np.mean(counts)
    correlation = np.corrcoef(gaps[:-1], gaps[1:])[0, 1]
    # What chance allows: three standard deviations.
    wide, narrow = round(3 * np.sqrt(2 / (len(counts) - 1)), 3), round(3 / np.sqrt(len(gaps)), 3)
    return [
        *figures,
        Figure(f"{what}: index of dispersion, off 1", abs(dispersion - 1), wide, "", f"is {dispersion:.3f}"),
        Figure(f"{what}: lag-1 correlation of gaps", abs(correlation), narrow, "", f"is {correlation:+.3f}"),
    ]


def stall(folder: Path) -> tuple[list[Figure], str]:
    """A server that does nothing for some seconds, and each percentile beside its truth."""
    answer, numbers = running.numbered(Pace(tokens=2)), count()

    def script(ask: Ask) -> Iterator[Any]:
        if next(numbers) == 2 * STALL_RATE:
            time.sleep(STALL)
        yield from answer(ask)

    with script_server(script) as server:
        keys = {"load": {"rate": f"{STALL_RATE}/s", "arrivals": "constant"}, "duration": f"{STALL + 8}s"}
        run = running.start(folder / "stall", *running.endpoint(server.base), **keys).finish()
        pairs = run.beside(running.by_number(server.log))
    true = [played.contents[0] - run.clock(attempt.scheduled) for attempt, played in pairs]
    shown, plain = run.metrics["ttft_scheduled"], run.metrics["ttft"]
    rows, figures = [], []
    for name in ("p50", "p90", "p95", "p99"):
        truth = float(np.percentile(true, int(name[1:]), method="inverted_cdf"))
        rows.append((name, f"{truth:.3f} s", f"{shown[name]:.3f} s", f"{plain[name]:.3f} s"))
        figures.append(Figure(f"stall: ttft_scheduled {name}, off", abs(shown[name] - truth) * MS, 50, " ms"))
    return figures, table((f"stall of {STALL:g} s", "due to content, server", "ttft_scheduled", "ttft"), rows)


# --- throttling -------------------------------------------------------------------------------------------------------


def law(folder: Path, times: float, seconds: float) -> tuple[Figure, tuple[str, ...]]:
    """Equal calls at a multiple of the capacity: the measured share of 429s beside 1 − C / λ."""
    cost = PROMPT + OUTPUT_RATIO * COMPLETION
    tpm = CAPACITY * cost * 60
    place = folder / f"law{times:g}"
    place.mkdir()
    options = {"ratio": OUTPUT_RATIO, "tpm_per_ptu": tpm, "tps": 200, "latency": 0.02, "jitter": 0, "level": "full"}
    with simulated(place, model="law", ptu=1, depth=DEPTH_CALLS / CAPACITY, **options) as server:
        stages = [
            {"rate": f"{value * CAPACITY * 60:.0f}/min", "for": f"{long}s"}
            for value, long in ((3, FILL), (times, seconds))
        ]
        run = running.start(
            place / "run",
            *("--endpoint", f"{server.url}/openai/v1/", "--deployment", "law", "--model", "law", "--ptu", "1"),
            *("--ratio", str(OUTPUT_RATIO), "--tpm-per-ptu", str(tpm)),
            load={"stages": stages},
            prompt_tokens=PROMPT,
            completion_tokens=COMPLETION,
            warmup=f"{FILL}s",
            duration=None,
        ).finish()
    offered, admitted = (run.metrics["rpm"][name] / 60 for name in ("offered", "admitted"))
    expected, measured = 1 - CAPACITY / offered, run.metrics["refused"]["ratio"]
    row = (f"{times:g} C", f"{offered:.1f}/s", f"{admitted:.2f}/s", f"{expected:.2%}", f"{measured:.2%}")
    return Figure(f"429 ratio at {times:g} C, off 1 − C / λ", abs(measured - expected) * 100, 2, " points"), row


def main() -> None:
    """Measure everything, one load after the other, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short runs, to see that it works")
    seconds = 5.0 if parser.parse_args().quick else 20.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps: dict[str, Callable[[], list[Figure]]] = {"answers": lambda: answers(folder, seconds)}
        for arrivals in ("constant", "poisson"):
            for workers in (1, 3):
                steps[f"{arrivals}, {workers}"] = lambda a=arrivals, w=workers: load(folder, a, w, seconds)  # type: ignore[misc]
        figures: list[Figure] = []
        for what, measure in steps.items():
            say(f"truth.py: {what}")
            figures += measure()
        say("truth.py: a stall")
        stalled, stall_table = stall(folder)
        say("truth.py: throttling")
        laws = [law(folder, times, seconds) for times in (1.1, 1.25, 1.5, 2.0, 3.0)]
    figures += [*stalled, *(figure for figure, _ in laws)]
    columns = ("load", "offered λ", f"admitted (C = {CAPACITY}/s)", "1 − C / λ", "measured 429 ratio")
    conclude("Truth", figures, stall_table, table(columns, (row for _, row in laws)))


if __name__ == "__main__":
    main()
