"""What the load generator does between the attempts of a request: on a virtual clock, and in a whole run."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import running
import virtual
from ptubench.engine import retry
from ptubench.record import Attempt, Dropped
from ptubench.virtual import clock
from ptubench.workload.model import ClosedLoop, OpenLoop, Stage, Throttling
from simulated import simulated
from virtual import Say

pytestmark = pytest.mark.alone

TICK = 0.002
"""A timer's millisecond, and the generator's rounding up to it."""
TAKES = Say().takes


def workload(load, *, duration=10.0, on_429="retry", **more):
    policy = {name: more.pop(name) for name in ("max_retries", "max_wait") if name in more}
    return virtual.workload(load, duration=duration, throttling=Throttling(on_429=on_429, **policy), **more)


def each_second(count, **more):
    """So many requests, a second apart, of an open loop."""
    load = OpenLoop(stages=(Stage(value=1, seconds=count),), arrivals="constant")
    return workload(load, duration=float(count), **more)


def busy(**headers):
    """A 429; `retry_after_ms=…` is a header."""
    return Say(429, {name.replace("_", "-"): str(value) for name, value in headers.items()})


def outcomes(lines):
    """Request by request, that of its last line."""
    return {line.index: line.outcome for line in lines}


# --- the decision


THROTTLED = Attempt(index=0, scheduled=0, taken=0, status=429)


@given(
    status=st.integers(100, 599) | st.none(),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry"]), st.text() | st.floats().map(str)
    ),
    number=st.integers(0, 2000),
    max_wait=st.floats(0, 200) | st.none(),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_whatever_a_service_says_a_wait_is_short_enough_and_over_once(status, headers, number, max_wait, draw):
    failure = "closed" if status is None else None
    attempt = Attempt(index=0, scheduled=0, taken=0, attempt=number, status=status, headers=headers, failure=failure)
    policy = Throttling(on_429="retry", max_retries=5, max_wait=max_wait)
    then = retry.after(attempt, policy, now_unix=clock.STARTED, draw=draw)

    assert then.wait is None or 0 < then.wait <= min(retry.LONGEST_WAIT, 200 if max_wait is None else max_wait)
    assert then.wait is None or number < 5
    assert not (then.gave_up and then.wait is not None)


@pytest.mark.parametrize(
    "final",
    [
        Attempt(index=0, scheduled=0, taken=0, status=200),
        Attempt(index=0, scheduled=0, taken=0, status=200, failure="broken_stream"),
        Attempt(index=0, scheduled=0, taken=0, status=429, cut=True),
        Attempt(index=0, scheduled=0, taken=0, failure="client_error"),
        Attempt(index=0, scheduled=0, taken=0, failure="total_timeout", content_events=3),
    ],
    ids=["answered", "broken in the body", "cut", "the user's own client", "content and then a timeout"],
)
def test_an_answer_that_had_begun_and_what_nobody_understands_are_final(final):
    then = retry.after(final, Throttling(on_429="retry"), now_unix=0, draw=0)

    assert then == (None, False)


def test_jitter_depends_on_seed_request_and_attempt_alone():
    drawn = {(seed, i, n): retry.jitter(seed, i, n) for seed in (1, 12) for i in (3, 23) for n in (0, 1, 2)}

    assert len(set(drawn.values())) == len(drawn)
    assert all(retry.jitter(*key) == value for key, value in drawn.items())
    assert all(0 <= value < 1 for value in drawn.values())


# --- the generator


@pytest.mark.parametrize("workers", [2, 3])
def test_waits_are_the_same_for_any_number_of_workers(workers):
    planned = each_second(12, seed=5)
    scripts = [[busy(), busy(), Say()]] * 12
    alone, shared = (virtual.generate(planned, virtual.Service(scripts), workers=n) for n in (1, workers))

    assert [a.waited for a in shared] == pytest.approx([a.waited for a in alone], abs=TICK)
    assert len({round(a.waited, 4) for a in alone if a.attempt}) > 18  # of 24
    assert {a.worker for a in shared} == set(range(workers))


def test_lanes_retry_like_arrivals_do():
    planned = workload(ClosedLoop(concurrency=4), duration=3.0)
    scripts = [[busy(retry_after_ms=400), Say(), busy(retry_after_ms=400), busy(), Say()]] * 4
    alone, shared = (virtual.generate(planned, virtual.Service(scripts), workers=n) for n in (1, 2))

    assert [(a.index, a.attempt, a.lane) for a in shared] == [(a.index, a.attempt, a.lane) for a in alone]
    assert [a.waited for a in shared] == pytest.approx([a.waited for a in alone], abs=TICK)
    assert {a.lane_wait for a in alone} == {0.0}


def test_a_wait_longer_than_max_wait_is_given_up():
    service = virtual.Service([[busy(retry_after_ms=1500), Say()], [busy(retry_after_ms=900), Say()], [busy(), Say()]])
    lines = virtual.generate(each_second(3, max_wait=1.0), service)

    assert [(a.index, a.attempt, a.gave_up) for a in lines] == [
        (0, 0, True),
        (1, 0, False),
        (1, 1, False),
        (2, 0, False),
        (2, 1, False),
    ]


def test_a_request_keeps_its_place_in_flight_while_it_waits():
    service = virtual.Service([[busy(retry_after_ms=1200), Say()], [Say()], [Say()]])
    lines = virtual.generate(each_second(3, max_in_flight=1), service)

    assert [(line.index, type(line)) for line in lines] == [(0, Attempt), (0, Attempt), (1, Dropped), (2, Attempt)]


def test_retries_go_on_in_the_drain_and_a_wait_beyond_it_leaves_the_last_outcome():
    service = virtual.Service([[busy(retry_after_ms=2000), Say()], [busy(retry_after_ms=9000), Say()]])
    lines = virtual.generate(each_second(2, drain=3.0), service)

    assert outcomes(lines) == {0: "ok", 1: "throttled"}
    assert [len(arrived) for arrived in service.arrived] == [2, 1]
    assert not any(a.gave_up for a in lines)


def test_a_stop_ends_the_waits_and_nothing_more_is_sent():
    scripts = [
        [busy(retry_after_ms=1000), Say()],
        [busy(retry_after_ms=3000), Say()],
        [busy(retry_after_ms=3000), Say()],
    ]
    service = virtual.Service(scripts)
    lines = virtual.generate(each_second(3, drain=60.0), service, stop=2.1)

    assert outcomes(lines) == {0: "ok", 1: "throttled", 2: "throttled"}  # the last one was under way
    assert max(itertools.chain(*service.arrived)) < 2.1
    assert not any(a.gave_up or a.cut for a in lines)


def test_an_attempt_in_flight_when_the_drain_ends_is_cut():
    service = virtual.Service([[busy(retry_after_ms=500), Say(takes=100)]])
    lines = virtual.generate(each_second(1, drain=3.0), service)

    assert [(a.attempt, a.outcome) for a in lines] == [(0, "throttled"), (1, "cut")]


def test_lanes_against_a_saturated_deployment_get_as_many_429s_as_the_waits_allow():
    lanes, asked, duration = 16, 2.0, 60.0
    load = workload(ClosedLoop(concurrency=lanes), duration=duration, on_429="none")
    lines = virtual.generate(load, virtual.Service([[busy(retry_after_ms=2000)]] * lanes))
    cycle = TAKES + asked
    per_lane = [1 + (duration - lane / lanes) // cycle for lane in range(lanes)]

    assert len(lines) == sum(per_lane)
    assert {a.outcome for a in lines} == {"throttled"}
    assert {a.lane_wait for a in lines} == {0.0, asked}


def test_a_lane_that_is_told_no_time_waits_the_stated_second():
    load = workload(ClosedLoop(concurrency=1), duration=9.9, on_429="none")
    lines = virtual.generate(load, virtual.Service([[busy()]]))

    assert len(lines) == 1 + 9.9 // (TAKES + 1.0)
    assert {a.lane_wait for a in lines[1:]} == {1.0}


def test_a_lane_whose_request_gave_up_waits_as_after_any_429():
    load = workload(ClosedLoop(concurrency=1), duration=8.0, max_retries=1)
    lines = virtual.generate(load, virtual.Service([[busy(retry_after_ms=1000)]]))

    assert [a.gave_up for a in lines] == [False, True] * (len(lines) // 2)
    assert {a.lane_wait for a in lines if a.index} == {1.0}
    assert len(lines) == 2 * (1 + 8.0 // (2 * (TAKES + 1.0)))


# --- a whole run


LAW = {"model": "law", "ratio": 1, "tpm_per_ptu": 10 * 45 * 60, "ptu": 1, "tps": 1000}
"""A deployment that takes 10 calls of 45 tokens a second."""


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    """Retried arrivals and saturating lanes, both at once: each run, and what its deployment logged without the probe."""
    return running.calmly(
        lambda: both(tmp_path_factory.mktemp("retried")), lambda found: all(run.calm for run, _ in found.values())
    )


def both(folder):
    for name in ("arrivals", "saturated"):
        (folder / name).mkdir()
    with (
        simulated(folder / "arrivals", **LAW, depth=0.5, latency=0.02) as server,
        simulated(folder / "saturated", **LAW, depth=0.5, level="full") as saturated,
    ):
        policy = ("--on-429", "retry", "--set", "throttling.max_retries=4")
        retried = running.start(
            folder / "retried",
            *running.endpoint(server.url, "--workers", "2", *policy),
            load={"rate": "15/s", "arrivals": "gamma", "burstiness": 0.3},
            completion_tokens=5,
        )
        lanes = running.start(
            folder / "lanes",
            *running.endpoint(saturated.url, "--workers", "2", "--concurrency", "16"),
            completion_tokens=5,
            duration="3s",
        )
        runs = {"retried": (retried.finish(), server), "lanes": (lanes.finish(), saturated)}
        return {name: (run, at.log(len(run.attempts) + 1)[1:]) for name, (run, at) in runs.items()}


def test_a_retried_run_tells_first_attempts_from_last_ones(whole_runs):
    """A bucket of 5 calls that starts full takes 10 calls a second; 15 come for two seconds, in bursts."""
    run, log = whole_runs["retried"]
    by_request = [list(group) for _, group in itertools.groupby(run.attempts, key=lambda a: a.index)]
    requests, retried = run.metrics["requests"], [tries for tries in by_request if len(tries) > 1]

    assert [a.attempt for tries in by_request for a in tries] == [n for tries in by_request for n in range(len(tries))]
    assert len(run.attempts) == len(log)
    assert run.metrics["attempts"]["throttled"] == sum(entry["status"] == 429 for entry in log)
    assert (
        requests["total"]
        == len(by_request)
        == sum(requests[outcome] for outcome in ("ok", "throttled", "failed", "cut", "dropped", "unsent"))
    )
    assert requests["retried"] == len(retried) > 0
    assert any(tries[-1].outcome == "ok" for tries in retried)
    assert requests["gave_up"] == sum(tries[-1].gave_up for tries in by_request)
    assert run.metrics["refused"]["count"] == sum(tries[0].status == 429 for tries in by_request)
    for tries in retried:
        for before, after in itertools.pairwise(tries):
            asked = int(before.headers["retry-after-ms"]) / 1000
            assert before.end + asked - 0.000_01 <= after.sent
            assert after.waited >= asked


def test_lanes_of_a_run_come_back_no_sooner_than_a_saturated_deployment_asks(whole_runs):
    """16 lanes on a deployment that takes 10 calls a second: without the waits each lane would ask it hundreds of times."""
    run, _ = whole_runs["lanes"]
    by_lane = [[a for a in run.attempts if a.lane == lane] for lane in range(16)]
    pairs = [pair for attempts in by_lane for pair in itertools.pairwise(attempts) if pair[0].status == 429]
    asked = [int(before.headers["retry-after-ms"]) / 1000 for before, _ in pairs]

    assert len(pairs) > 16
    assert [after.lane_wait for _, after in pairs] == asked
    assert all(after.sent - before.end >= wait - 0.000_01 for (before, after), wait in zip(pairs, asked, strict=True))
    assert len(pairs) <= 16 * 3 / (sum(asked) / len(asked))
