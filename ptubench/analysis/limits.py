"""What limits the load: signs that the client could not do what it was asked to, and what held it back.

The load generator's own lag and CPU, the connections of its client, the files and ports of the machine.
"""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from ptubench import histogram
from ptubench.analysis import stats
from ptubench.analysis.columns import Floats, Ints, Run
from ptubench.analysis.latencies import PER_REQUEST
from ptubench.analysis.rates import Window
from ptubench.analysis.requests import Requests
from ptubench.units import seconds_text, share_text

NEVER = float("inf")
_LATE = 0.050
_LATE_SHARE = 0.1
_AT_EASE = 0.5
"""Of a core: a worker that used less and was late all the same was kept from running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What the load generator says of itself in the window. Seconds and shares; None where nothing was recorded."""

    loop_lag_p50: float | None
    loop_lag_p99: float | None
    cpu_share: float | None
    """Of the busiest worker, its mean."""


class Signal(NamedTuple):
    """One sign of doubt: degraded or invalid when `measured` exceeds a limit."""

    code: str
    measured: float | None
    degraded: float
    invalid: float
    text: str


def client(run: Run, window: Window) -> Client:
    """Loop lag and CPU from the seconds that lie wholly inside the window."""
    lag = histogram_of(run.ticks.loop_lag, window)
    inside = whole_seconds(run.ticks.t, window)
    workers, cpu = run.ticks.worker[inside], run.ticks.cpu[inside]
    return Client(
        loop_lag_p50=histogram.quantile(lag, 0.5),
        loop_lag_p99=histogram.quantile(lag, 0.99),
        cpu_share=max((float(cpu[workers == worker].mean()) for worker in np.unique(workers)), default=None),
    )


def histogram_of(rows: Ints, window: Window) -> dict[int, int]:
    """One histogram of rows (second, bucket, count), from the seconds wholly inside the window."""
    rows = rows[whole_seconds(rows[:, 0], window)]
    counts = np.bincount(rows[:, 1], weights=rows[:, 2])
    return {int(bucket): int(counts[bucket]) for bucket in np.flatnonzero(counts)}


def whole_seconds(t: Ints, window: Window) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which seconds [t, t + 1) lie wholly inside the window."""
    return (t >= window[0]) & (t <= window[1] - 1)


def lateness(run: Run, requests: Requests, of: Client, typical: float | None) -> list[Signal]:
    """The generator's own lag, its loop's, and its CPU."""
    late, limit = _late(typical), _limit(run, of)
    lag = _p99(PER_REQUEST["lag"](requests))
    return [
        Signal(
            "lag",
            lag,
            0.005,
            late,
            f"lag p99 is {seconds_text(lag)}: the generator took requests up later than they were due; {limit}",
        ),
        Signal(
            "loop_lag",
            of.loop_lag_p99,
            0.005,
            late,
            f"loop lag p99 is {seconds_text(of.loop_lag_p99)}: the client came late to answers that were there, so latencies "
            f"may hold its own delay; {limit}",
        ),
        Signal(
            "cpu",
            of.cpu_share,
            0.80,
            0.95,
            f"the busiest worker used {share_text(of.cpu_share)} of a core: {limit}",
        ),
    ]


def nodes(run: Run) -> list[dict[str, Any]]:
    """The machines that made the load: {worker, name, ahead_s, uncertainty_s, drift_s}; none where it was the parent's own."""
    drift = run.end.drift_s if run.end is not None else ()
    return [
        {
            "worker": node.worker,
            "name": node.name,
            "ahead_s": node.ahead_s,
            "uncertainty_s": node.uncertainty_s,
            "drift_s": moved,
        }
        for node, moved in zip_longest(run.head.nodes, drift[: len(run.head.nodes)])
    ]


def clocks(run: Run, typical: float | None) -> list[Signal]:
    """How well the clocks of several machines are known, and whether this machine's own was set."""
    return [*_nodes_clocks(run, typical), _clock_set(run)]


def _nodes_clocks(run: Run, typical: float | None) -> list[Signal]:
    """How well the clocks of several machines are known: by so much the requests of one may be early or late beside the others'."""
    of = nodes(run)
    open_ = [node["uncertainty_s"] + abs(node["drift_s"] or 0.0) for node in of]
    known = max(open_, default=None)
    if known is None:
        return []
    worst = of[open_.index(known)]
    moved = worst["drift_s"] or 0.0
    seen, way_out = "", "use nodes and a scheduler that are near each other, and idle"
    if abs(moved) > worst["uncertainty_s"]:
        gained = f"gained {seconds_text(moved)} on" if moved > 0 else f"lost {seconds_text(-moved)} to"
        seen = f" (that of {clean(worst['name'])} {gained} the parent's during the load)"
        way_out = "let one time service (NTP) keep the clocks of all"
    text = (
        f"the clocks of the {len(of)} nodes are known to within {seconds_text(known)} only{seen}: the arrivals of each may be "
        f"that much early or late beside the others'; {way_out}"
    )
    return [Signal("clocks", known, 0.005, _late(typical), text)]


def _clock_set(run: Run) -> Signal:
    """Whether the wall clock of this machine was set during the run."""
    ahead = run.end.wall_ahead_s if run.end is not None else 0.0
    moved = "was set back" if ahead < 0 else "went ahead (it was set, or the machine slept)"
    text = (
        f"the wall clock of this machine {moved} by {seconds_text(abs(ahead))} during the run: times are by another clock and "
        "stand, but the UTC minutes beside them, as Azure Monitor counts, may be others; run again with a clock that is kept right"
    )
    return Signal("clock_set", abs(ahead), 1.0, NEVER, text)


def _limit(run: Run, of: Client) -> str:
    """What limits the load where the generator was late or busy, and the way out."""
    client, cores = clean(run.head.workload.client), run.head.machine.get("cores")
    if of.cpu_share is not None and of.cpu_share < _AT_EASE:
        blocks = f", or `{client}` keeps its event loop waiting (a call without await)" if ":" in client else ""
        return (
            f"the busiest worker used no more than {share_text(of.cpu_share)} of a core, so what limits the load is the "
            f"machine, busy with something else{blocks}; use a quieter or a larger one"
        )
    more = "more `--workers`"
    if run.head.nodes:
        more = "more Dask workers"
    elif isinstance(cores, int) and run.head.workers >= cores:
        more = f"a machine with more than {cores} cores"
    if client == "timed":
        return f"what limits the load is the client; use {more}, fewer streams at once, or a lower rate"
    return f"what limits the load is `client: {client}`; use `client: timed`, {more}, or fewer streams at once"


def connections(run: Run, requests: Requests, typical: float | None) -> list[Signal]:
    """Calls that a client kept back for want of a connection, and those that found no socket at all."""
    held = None
    if run.head.workload.client == "httpx":  # the only one with a pool of its own that we can see into
        connecting = np.nan_to_num(requests.of_first("connect_s"))
        held = _p99(requests.of_first("sent") - requests.of_first("taken") - connecting)
    kinds = [run.failures[code] for code in requests.attempts.failure[requests.last[requests.failed]]]
    none, total = kinds.count("no_socket"), max(len(requests), 1)
    return [
        Signal(
            "held",
            held,
            0.005,
            _late(typical),
            f"calls waited {seconds_text(held)} (p99) inside the client until a connection took them: what limits the load "
            "is the connections of `client: httpx`; use `client: timed`, more `--workers`, or fewer streams at once",
        ),
        Signal(
            "no_socket",
            none / total,
            0.0,
            0.05,
            f"{none:,} of {total:,} calls failed because this machine had no file or port left for another connection: it "
            "limits the load; raise its limit (`ulimit -n`), or use fewer streams at once",
        ),
    ]


def _late(typical: float | None) -> float:
    """From where on lateness is too much, beside what is measured."""
    return max(_LATE, _LATE_SHARE * (typical or 0.0))


def _p99(values: Floats) -> float | None:
    """Whatever the sample; NaN left out."""
    values = np.sort(values[~np.isnan(values)])
    return float(values[stats.rank(len(values), 0.99) - 1]) if len(values) else None


def clean(text: str | None) -> str:
    """What a server or a file named, fit for a sentence."""
    return "".join(c for c in text or "" if c.isprintable())[:60]
