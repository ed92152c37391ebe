"""The load that reached a server, judged on the server's own arrival times; and what a stall of the server does to a run."""

import time
from dataclasses import dataclass
from itertools import count

import numpy as np
import pytest

import running
from ptubench.sim.script import Do, Pace
from servers import Authority, script_server

pytestmark = pytest.mark.alone

ANSWER = Pace(tokens=2)
RATE, WARMUP, DURATION = 100, 0.6, 3.6
LOADS = [(arrivals, workers) for arrivals in ("constant", "poisson") for workers in (1, 3)]
STALL = 2.0
STALL_RATE = 30
FIRST_STALLED = 45
"""The answer before which a server stalls: by then no connection is left that was opened before the load."""


def stalling(**headers):
    """Before one of its answers the whole server stalls; with headers each of them ends its connection."""
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
    stood: float
    """For how long the server stood still at worst while the load came, in seconds."""

    @property
    def late(self):
        """How long after its due time each request arrived."""
        return [played.ask.arrived - self.run.clock(attempt.scheduled) for attempt, played in self.pairs]

    @property
    def settled(self):
        """Which requests were due once all runs had begun: before, each is disturbed by the start of the others."""
        return np.array([attempt.scheduled >= WARMUP for attempt, _ in self.pairs])

    @property
    def lag(self):
        """How much of that the run admits itself."""
        return [attempt.taken - attempt.scheduled for attempt, _ in self.pairs]

    @property
    def hidden(self):
        """How much of it the generator would not admit: between taking a request up and sending it, connecting apart."""
        return [attempt.sent - attempt.taken - (attempt.connect_s or 0.0) for attempt, _ in self.pairs]

    @property
    def steady(self):
        """What arrived once all runs had begun."""
        return self.arrivals[self.arrivals >= WARMUP]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """All runs of this file at once: each kind of load with one worker and with three, and two on servers that stall."""
    authority = Authority()
    return running.calmly(lambda: everything(tmp_path_factory.mktemp("load"), authority), undisturbed)


def undisturbed(found):
    """Whether generator and server were both on time."""
    late = [np.percentile(np.array(found[load].late)[found[load].settled], 99) for load in LOADS]
    return all(seen.run.calm for seen in found.values()) and max(late) < 2 / RATE


def everything(folder, authority):
    stalled = {"load": {"rate": f"{STALL_RATE}/s", "arrivals": "constant"}, "duration": "4s"}
    trusting = ("--ca-file", str(authority.file(folder)))
    with (
        script_server(running.numbered(ANSWER)) as server,
        script_server(stalling()) as slow,
        script_server(stalling(connection="close"), tls=authority.serving()) as shy,
        running.watch() as stalls,
    ):
        loads = [
            running.start(
                folder / f"{arrivals}-{workers}",
                *("--endpoint", f"{server.base}/{arrivals}-{workers}/v1", "--deployment", "gpt-4.1"),
                *("--workers", str(workers)),
                load={"rate": f"{RATE}/s", "arrivals": arrivals},
                warmup=f"{WARMUP}s",
                duration=f"{DURATION}s",
            )
            for arrivals, workers in LOADS
        ]
        stalled_runs = [
            running.start(folder / "slow", *running.endpoint(slow.base), **stalled),
            running.start(folder / "shy", *running.endpoint(shy.base, *trusting), **stalled),
        ]
        slow_run, shy_run = running.finish(stalled_runs)
        return {"slow": seen(slow_run, slow.log, stalls), "shy": seen(shy_run, shy.log, stalls)} | {
            load: seen(run, server.log, stalls, path=f"/{load[0]}-{load[1]}/")
            for load, run in zip(LOADS, running.finish(loads), strict=True)
        }


def seen(run, log, stalls, *, path=""):
    arrived = [played.ask.arrived - run.head.clock_start for played in log if path in played.ask.path]
    stood = [length for end, length in stalls if WARMUP <= end - run.head.clock_start < DURATION + length]
    return Seen(run, run.beside(running.by_number(log)), np.sort(arrived)[1:], len(arrived), max(stood, default=0.0))


@pytest.mark.parametrize("load", LOADS)
def test_every_request_of_the_plan_arrives_once(world, load):
    found = world[load]
    if load[0] == "constant":
        assert found.run.head.planned == RATE * DURATION

    assert found.asked == found.run.head.planned + 1  # the probe
    assert [a.index for a in found.run.attempts] == list(range(found.run.head.planned))
    assert {attempt.outcome for attempt in found.run.attempts} == {"ok"}


@pytest.mark.parametrize("load", LOADS)
def test_nothing_arrives_before_it_is_due(world, load):
    found = world[load]

    assert min(found.lag) >= 0
    assert all(late >= lag for late, lag in zip(found.late, found.lag, strict=True))


@pytest.mark.parametrize("load", LOADS)
def test_what_arrives_late_was_sent_late(world, load):
    hidden = world[load].hidden

    assert np.percentile(hidden, 25) <= 0.2 / RATE
    assert np.median(hidden) <= 0.5 / RATE


@pytest.fixture
def on_time(world):
    """The runs, if this machine can show how even arrivals are: none of them says that it was late, and the server was not."""
    if not all(world[load].run.calm for load in LOADS):
        pytest.skip("the machine was too busy to send anything on time")
    stood = max(world[load].stood for load in LOADS)
    if stood > 5 / RATE:
        pytest.skip(f"the server itself stood still for {stood:.2f} s")
    return world


@pytest.mark.parametrize("load", LOADS)
def test_nothing_is_later_than_half_a_period(on_time, load):
    found = on_time[load]
    late, hidden, lag = (np.array(of)[found.settled] for of in (found.late, found.hidden, found.lag))

    assert np.percentile(hidden, 99) <= 20 / RATE
    assert np.percentile(late - lag, 25) <= 0.2 / RATE
    assert np.median(late) <= 0.5 / RATE
    assert np.percentile(late, 99) <= 20 / RATE


@pytest.mark.parametrize("workers", [1, 3])
def test_constant_arrivals_are_evenly_spaced(on_time, workers):
    found = on_time["constant", workers]
    gaps = np.diff(found.steady)
    slope = np.polyfit(np.arange(len(found.steady)), found.steady, 1)[0]

    assert slope == pytest.approx(1 / RATE, rel=0.005)  # no drift
    assert np.median(gaps) == pytest.approx(1 / RATE, rel=0.05)
    assert np.std(gaps) < 0.5 / RATE  # of exponential gaps it is 1 / RATE


@pytest.mark.parametrize("workers", [1, 3])
def test_poisson_arrivals_have_an_index_of_dispersion_of_about_1(on_time, workers):
    found = on_time["poisson", workers]
    counts = np.histogram(found.steady, bins=60, range=(WARMUP, DURATION))[0]

    # Two standard deviations are 0.37; one process drawn by every worker alike would give their number.
    assert 0.6 < np.var(counts, ddof=1) / np.mean(counts) < 1.6


@pytest.mark.parametrize("workers", [1, 3])
def test_poisson_gaps_are_exponential_and_forget_the_last_one(on_time, workers):
    found = on_time["poisson", workers]
    gaps = np.diff(found.steady)
    correlation = np.corrcoef(gaps[:-1], gaps[1:])[0, 1]

    assert 0.8 < np.std(gaps) / np.mean(gaps) < 1.2
    assert abs(correlation) < 0.18  # three standard deviations


@pytest.fixture(params=["slow", "shy"])
def stalled(world, request):
    """A run whose server stalled, and how long each request had to wait for it: from its due time to the end of the stall."""
    found = world[request.param]
    ended = found.arrivals[FIRST_STALLED - 1] + STALL  # number 0 was the probe
    due = np.array([attempt.scheduled for attempt, _ in found.pairs])
    answered = np.array([played.contents[0] - found.run.head.clock_start for _, played in found.pairs])
    return found, np.where(answered >= ended, np.maximum(ended - due, 0.0), 0.0)


def test_a_stall_of_the_server_shows_in_the_scheduled_latencies(stalled):
    found, waits = stalled
    measured = found.run.metrics["ttft_scheduled"]
    true = [played.contents[0] - found.run.clock(attempt.scheduled) for attempt, played in found.pairs]

    assert np.count_nonzero(waits) >= STALL * STALL_RATE - 2
    assert all(a.first_content - a.scheduled >= wait for a, wait in zip(found.run.attempts, waits, strict=True))
    assert measured["p90"] >= np.percentile(waits, 90) > 0.7 * STALL
    for percentile in ("p50", "p90", "p95"):
        assert measured[percentile] == pytest.approx(np.percentile(true, int(percentile[1:])), rel=0.1, abs=0.05)


def test_a_stall_that_delays_connections_is_not_in_ttft_but_in_all_that_counts_from_the_due_time(world):
    run = world["shy"].run
    metrics, delayed = run.metrics, [a for a in run.attempts if (a.connect_s or 0.0) > 0.25 * STALL]
    ttft = [attempt.first_content - attempt.sent for attempt in run.attempts]

    assert len(delayed) > 0.2 * len(run.attempts)
    assert all(a.sent - a.taken > a.connect_s - 1e-5 for a in delayed)
    assert metrics["ttft"]["max"] <= max(ttft) + 1e-6
    assert metrics["connect"]["p90"] > 0.5 * STALL
    assert metrics["ttft_scheduled"]["p95"] > 0.75 * STALL
    assert metrics["e2e_scheduled"]["p95"] >= metrics["ttft_scheduled"]["p95"]


def test_a_stall_does_not_change_the_load(stalled):
    run = stalled[0].run

    assert [attempt.scheduled for attempt in run.attempts] == [
        round(i / STALL_RATE, 6) for i in range(run.head.planned)
    ]
    assert np.percentile(stalled[0].lag, 75) < 0.1 * STALL
