"""The load that reached a server, judged on the server's own arrival times; and what a stall of the server does to a run."""

import time
from dataclasses import dataclass
from itertools import count

import numpy as np
import pytest

import running
from ptubench.sim.script import Do, Pace
from servers import Authority, script_server

ANSWER = Pace(tokens=2)
RATE, DURATION = 100, 3.0
LOADS = [(arrivals, workers) for arrivals in ("constant", "poisson") for workers in (1, 3)]
STALL = 2.0
STALL_RATE = 30
FIRST_STALLED = 45
"""The answer before which a server stalls: by then no connection is left that was opened before the load."""


def stalling(**headers):
    """Before one of its answers the whole server stalls."""
    answer, numbers = running.numbered(ANSWER, **headers), count()

    def script(ask):
        if next(numbers) == FIRST_STALLED:
            time.sleep(STALL)  # this thread is the server: it reads, answers and shakes hands with nobody
        yield from answer(ask)
        if headers:
            yield Do.CLOSE

    return script


@dataclass(frozen=True)
class Seen:
    """A run, and what its server saw of it."""

    run: running.Run
    pairs: list
    arrivals: np.ndarray
    """Of the load in order, in seconds since the start of the run."""
    asked: int
    """Requests that came, the probe included."""


def seen(run, log, mine):
    arrived = [played.ask.arrived - run.head.clock_start for played in log if mine(played.ask)]
    return Seen(run, run.beside(running.by_number(log)), np.sort(arrived)[1:], len(arrived))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """All runs of this file at once: each kind of load with one worker and with three, and two on servers that stall."""
    folder, authority = tmp_path_factory.mktemp("load"), Authority()
    stalled = {"load": {"rate": f"{STALL_RATE}/s", "arrivals": "constant"}, "duration": "4s"}
    with (
        script_server(running.numbered(ANSWER)) as server,
        script_server(stalling()) as slow,
        script_server(stalling(connection="close"), tls=authority.serving()) as shy,
    ):
        started = [
            running.start(
                folder / f"{arrivals}-{workers}",
                *("--endpoint", f"{server.base}/{arrivals}-{workers}/v1", "--deployment", "gpt-4.1"),
                *("--workers", str(workers)),
                load={"rate": f"{RATE}/s", "arrivals": arrivals},
                duration=f"{DURATION}s",
            )
            for arrivals, workers in LOADS
        ]
        trusting = ("--ca-file", str(authority.file(folder)))
        started += [
            running.start(folder / "slow", *running.endpoint(slow.base), **stalled),
            running.start(folder / "shy", *running.endpoint(shy.base, *trusting), **stalled),
        ]
        *loads, slow_run, shy_run = running.finish(started)
        found = {
            (arrivals, workers): seen(run, server.log, lambda ask, a=arrivals, w=workers: f"/{a}-{w}/" in ask.path)
            for (arrivals, workers), run in zip(LOADS, loads, strict=True)
        }
        found |= {
            name: seen(run, its.log, lambda _: True)
            for name, run, its in (("slow", slow_run, slow), ("shy", shy_run, shy))
        }
    return found


@pytest.mark.parametrize("load", LOADS)
def test_every_request_of_the_plan_arrives_once(world, load):
    found = world[load]
    if load[0] == "constant":
        assert found.run.head.planned == RATE * DURATION

    assert found.asked == found.run.head.planned + 1  # the probe
    assert [a.index for a in found.run.attempts] == list(range(found.run.head.planned))
    assert found.run.metrics["requests"]["ok"] == found.run.head.planned


@pytest.mark.parametrize("load", LOADS)
def test_nothing_arrives_before_it_is_due_and_little_late(world, load):
    late = [played.ask.arrived - world[load].run.clock(attempt.scheduled) for attempt, played in world[load].pairs]
    p50, p99 = np.percentile(late, (50, 99))

    assert min(late) >= 0
    assert p50 <= 0.5 / RATE
    assert p99 <= 5 / RATE


@pytest.mark.parametrize("load", LOADS)
def test_lag_is_not_hidden(world, load):
    """What the run says of its own lateness is most of what the server sees of it."""
    late = [played.ask.arrived - world[load].run.clock(attempt.scheduled) for attempt, played in world[load].pairs]
    lag = [attempt.taken - attempt.scheduled for attempt, _ in world[load].pairs]

    assert min(lag) >= 0
    assert np.median(late) - np.median(lag) <= 0.5 / RATE


@pytest.mark.parametrize("workers", [1, 3])
def test_constant_arrivals_are_evenly_spaced(world, workers):
    arrivals = world["constant", workers].arrivals
    gaps = np.diff(arrivals)
    slope = np.polyfit(np.arange(len(arrivals)), arrivals, 1)[0]

    assert slope == pytest.approx(1 / RATE, rel=0.005)  # no drift
    assert np.median(gaps) == pytest.approx(1 / RATE, rel=0.05)
    assert np.std(gaps) < 0.5 / RATE  # of exponential gaps it is 1 / RATE


@pytest.mark.parametrize("workers", [1, 3])
def test_poisson_arrivals_have_an_index_of_dispersion_of_about_1(world, workers):
    counts = np.histogram(world["poisson", workers].arrivals, bins=60, range=(0, DURATION))[0]

    assert 0.6 < np.var(counts, ddof=1) / np.mean(counts) < 1.6  # two standard deviations are 0.37


@pytest.mark.parametrize("workers", [1, 3])
def test_poisson_gaps_are_exponential_and_forget_the_last_one(world, workers):
    gaps = np.diff(world["poisson", workers].arrivals)
    correlation = np.corrcoef(gaps[:-1], gaps[1:])[0, 1]

    assert 0.8 < np.std(gaps) / np.mean(gaps) < 1.2
    assert abs(correlation) < 0.18  # three standard deviations


def due_in_stall(found):
    """How long each request had to wait for the server at least: from its due time to the end of the stall; 0 outside."""
    began = found.arrivals[FIRST_STALLED - 1]  # number 0 was the probe
    return np.array(
        [max(0.0, began + STALL - a.scheduled) if a.scheduled >= began else 0.0 for a in found.run.attempts]
    )


@pytest.mark.parametrize("name", ["slow", "shy"])
def test_a_stall_of_the_server_shows_in_the_scheduled_latencies(world, name):
    found = world[name]
    waits = due_in_stall(found)
    true = [played.contents[0] - found.run.clock(attempt.scheduled) for attempt, played in found.pairs]
    measured = found.run.metrics["ttft_scheduled"]

    assert np.count_nonzero(waits) == pytest.approx(STALL * STALL_RATE, abs=2)
    assert all(a.first_content - a.scheduled >= wait for a, wait in zip(found.run.attempts, waits, strict=True))
    for percentile in ("p50", "p90", "p95"):
        assert measured[percentile] == pytest.approx(np.percentile(true, int(percentile[1:])), rel=0.1, abs=0.05)
    assert measured["p90"] >= np.percentile(waits, 90) > 0.7 * STALL


def test_a_stall_that_delays_only_connections_is_not_in_ttft_but_in_what_counts_from_the_due_time(world):
    metrics = world["shy"].run.metrics

    assert metrics["ttft"]["p95"] < 0.25 * STALL
    assert metrics["connect"]["p90"] > 0.5 * STALL
    assert metrics["ttft_scheduled"]["p95"] > 0.75 * STALL
    assert metrics["e2e_scheduled"]["p95"] >= metrics["ttft_scheduled"]["p95"]


@pytest.mark.parametrize("name", ["slow", "shy"])
def test_a_stall_does_not_change_the_load(world, name):
    attempts = world[name].run.attempts
    lag = [attempt.taken - attempt.scheduled for attempt in attempts]

    assert [attempt.scheduled for attempt in attempts] == [round(i / STALL_RATE, 6) for i in range(len(attempts))]
    assert len(attempts) == world[name].run.head.planned
    assert np.percentile(lag, 99) < 0.05 * STALL
