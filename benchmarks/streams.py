"""One worker under N streams of 50 events a second, beside an aiohttp and an httpx2 client on the same work.

    python benchmarks/streams.py [--streams 100 400 1000 1500] [--rounds 3]

A closed loop of N lanes against the stub: the first of 100 content events 100 ms after a request's arrival, then 50 a second. The
clients take turns on one core, each in a process of its own; the stub runs on another core.

- TTFT error: first content as the client stamped it, less the moment just before the stub wrote it (its log, by
  `x-request-id`; both clocks are the machine's monotonic one). For requests of the window.
- sent → arrived: from the client's stamp of sending to the stub's of receiving, the other half of what a TTFT can be wrong by.
- CPU per event: CPU seconds of the client's process in the window, kernel included, by content events of the window.
  ptubench's is that of its worker; its parent (which writes the file) shares the core, unless `--parent apart`.
"""

import argparse
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from measure import (
    CLIENT_CORE,
    HERE,
    STUB_CORE,
    Figure,
    Stub,
    conclude,
    middle,
    number,
    percentile,
    run,
    say,
    spread,
    stub,
    table,
    unvoided,
    watch,
)

PEERS = ("aiohttp", "httpx2")
KEEPS_UP = {"ptubench": 10_000, "aiohttp": 10_000, "httpx2": 400}
"""Streams up to which a client is measured in every round; beyond, once and up to 1,000, to see what happens."""
JUDGED = 1500
"""Streams up to which figures have a target; beyond, they are only told."""
SAME_WORK = 0.97
"""Share of our events a second below which a peer has not done the same work."""
WORKLOAD = """\
name: streams
prompt_tokens: 32
completion_tokens: 100
load:
  concurrency: {streams}
duration: {duration}s
warmup: {warmup}s
"""


class Seen(NamedTuple):
    """What one client did in one round. Times in seconds."""

    cpu_per_event: float
    events_per_s: float
    ttft_errors: list[float]
    sendings: list[float]


def ours(target: Stub, streams: int, options: argparse.Namespace) -> Seen:
    """One `ptubench run`."""
    text = WORKLOAD.format(streams=streams, duration=options.duration, warmup=options.warmup)
    stopping = threading.Event()
    if options.parent == "apart":
        threading.Thread(target=_move_parent, args=(stopping,), daemon=True).start()
    done = run(text, target, cores={CLIENT_CORE})
    stopping.set()
    zero = done.head.clock_start
    ticks = done.seconds()
    events = sum(tick.content_events for tick in ticks)
    answers = [
        (attempt.headers["x-request-id"], zero + attempt.sent, zero + attempt.first_content)
        for attempt in done.measured()
        if attempt.outcome == "ok" and attempt.sent is not None and attempt.first_content is not None
    ]
    if not answers or len(answers) < len(done.measured()):
        raise SystemExit(f"{len(done.measured()) - len(answers)} of {len(done.measured())} calls were not answered")
    return _seen(target, sum(tick.cpu for tick in ticks) / events, events / len(ticks), answers)


def peer(name: str, target: Stub, streams: int, options: argparse.Namespace) -> Seen:
    """The same by a peer."""
    url = f"{target.endpoint}/chat/completions"
    words = ("--url", url, "--streams", streams, "--duration", options.duration, "--warmup", options.warmup)
    words += ("--ca-file", str(target.ca_file)) if target.ca_file else ()
    done = watch([sys.executable, str(HERE / "peers" / "client.py"), name, *map(str, words)], cores={CLIENT_CORE})
    if done.code:
        raise SystemExit(f"{name} failed: {done.output}")
    said = msgspec.json.decode(done.output)
    return _seen(target, said["cpu_s"] / said["events"], said["events"] / said["wall_s"], said["answers"])


def _seen(target: Stub, cpu_per_event: float, events_per_s: float, answers: Sequence[Sequence[Any]]) -> Seen:
    log = target.log()
    return Seen(
        cpu_per_event,
        events_per_s,
        [first - log[name]["first"] for name, _, first in answers],
        [log[name]["arrived"] - sent for name, sent, _ in answers],
    )


def _move_parent(stopping: threading.Event) -> None:
    """Put `ptubench run` itself (not its worker) on the stub's core as soon as it has its worker."""
    own = os.getpid()
    while not stopping.is_set():
        for parent in _children(own):
            for worker in _children(parent):
                if b"ptubench.engine.worker" in Path(f"/proc/{worker}/cmdline").read_bytes():
                    os.sched_setaffinity(parent, {STUB_CORE})
                    return
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def measure(client: str, streams: int, options: argparse.Namespace) -> Seen | None:
    """One client, one round; None when the stub could not feed it."""

    def once() -> tuple[dict[str, Any], Seen]:
        with stub(tls=options.tls) as target:
            seen = ours(target, streams, options) if client == "ptubench" else peer(client, target, streams, options)
            return target.stats(), seen

    seen: Seen | None = unvoided(f"{client}, {streams} streams", once)
    if seen is not None:
        say(f"    {seen.cpu_per_event * 1e6:.1f} µs an event, {seen.events_per_s:,.0f} events/s")
    return seen


def rounds(options: argparse.Namespace) -> dict[tuple[str, int], list[Seen | None]]:
    """All measurements, the clients taking turns, by client and streams."""
    found: dict[tuple[str, int], list[Seen | None]] = defaultdict(list)
    for number_ in range(options.rounds):
        say(f"round {number_ + 1} of {options.rounds}")
        for streams in options.streams:
            for client in ("ptubench", *options.peers):
                if streams <= KEEPS_UP[client] or (number_ == 0 and streams <= 1000):
                    found[client, streams].append(measure(client, streams, options))
    return found


def row(client: str, streams: int, all_rounds: Sequence[Seen | None]) -> tuple[str, ...]:
    """Medians over the rounds, of one client."""
    seen = [one for one in all_rounds if one is not None]
    if not seen:
        return (client, f"{streams:,}", *["void"] * 5)
    errors = [middle(percentile(one.ttft_errors, share) for one in seen) or 0.0 for share in (0.5, 0.99)]
    sending = middle(percentile(one.sendings, 0.99) for one in seen) or 0.0
    return (
        client,
        f"{streams:,}",
        number(middle(one.events_per_s for one in seen) or 0.0),
        number((middle(one.cpu_per_event for one in seen) or 0.0) * 1e6),
        *(number(error * 1e3) for error in errors),
        number(sending * 1e3),
    )


def _compared(client: str, ratios: Sequence[float], both: Sequence[tuple[Seen, Seen]]) -> str:
    """What to say beside a ratio. A client that falls behind reads more at once, which is cheaper: too kind to it."""
    share = middle(b.events_per_s / a.events_per_s for a, b in both)
    if share is None:
        return ""
    behind = f"; {client} fell behind: {share:.0%} of the events, so the ratio is an upper bound"
    return spread(ratios) + (behind if share < SAME_WORK else "")


def figures(found: dict[tuple[str, int], list[Seen | None]], options: argparse.Namespace) -> list[Figure]:
    """Everything that has a target. Ratios are taken within a round, then their median."""
    rows = []
    for streams in (number_ for number_ in options.streams if number_ <= JUDGED):
        own = found["ptubench", streams]
        for share, limit in ((0.5, 5.0), (0.99, 40.0)):
            values = [percentile(one.ttft_errors, share) * 1e3 for one in own if one is not None]
            name = f"TTFT error p{share * 100:g}, {streams:,} streams"
            rows.append(Figure(name, middle(values), limit, " ms", spread(values) if values else ""))
        for client, limit in (("aiohttp", 0.8 if options.tls else 0.6), ("httpx2", 0.3)):
            if client in options.peers and streams <= KEEPS_UP[client]:
                name = f"CPU per event, ptubench / {client}, {streams:,} streams"
                both = [(a, b) for a, b in zip(own, found[client, streams], strict=True) if a and b]
                ratios = [a.cpu_per_event / b.cpu_per_event for a, b in both]
                rows.append(Figure(name, middle(ratios), limit, "", _compared(client, ratios, both)))
    return rows


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[100, 400, 1000, 1500])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=int, default=10, help="seconds of load, warm-up included")
    parser.add_argument("--warmup", type=int, default=4, help="seconds")
    parser.add_argument("--parent", choices=("same", "apart"), default="same", help="the parent's core: the worker's?")
    parser.add_argument("--tls", action="store_true", help="over TLS: the stub feeds some 400 streams then")
    options = parser.parse_args()
    say(f"streams.py: {options.streams} streams, ptubench, {', '.join(options.peers)}; {options.rounds} rounds")
    found = rounds(options)
    columns = ("client", "streams", "events/s", "CPU per event, µs", "TTFT error p50, ms", "p99, ms")
    detail = table((*columns, "sent → arrived p99, ms"), (row(*key, seen) for key, seen in sorted(found.items())))
    where = "the worker's core" if options.parent == "same" else "the stub's core"
    over = " over TLS" if options.tls else ""
    most = " to ".join(f"{streams:,}" for streams in sorted({min(options.streams), max(options.streams)}))
    conclude(f"Streams{over}, {most} (medians of {options.rounds}; parent on {where})", figures(found, options), detail)


if __name__ == "__main__":
    main()
