"""Who sends what: workers share the work evenly, and what a lost one owes is known. And how far clocks are apart."""

import asyncio
import contextlib
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench import record
from ptubench.analysis.summary import summarize
from ptubench.engine import clocks
from ptubench.engine.account import Account
from ptubench.engine.clocks import Reading, Sample
from ptubench.engine.crew import Crew
from ptubench.engine.messages import Done, Ready
from ptubench.engine.progress import before
from ptubench.engine.shares import Shares
from ptubench.errors import MeasurementLost, UsageError
from ptubench.load.plan import make_plan
from ptubench.record import Lost
from ptubench.results import store
from ptubench.workload.model import ClosedLoop, Throttling
from runs import STARTED, WORKLOAD, end, head, ok, throttled, tick, write
from virtual import Say, Service, generate

PLAN = make_plan(WORKLOAD)
LANES = msgspec.structs.replace(WORKLOAD, load=ClosedLoop(concurrency=6, think_time=0.5))
OFFSETS = st.floats(-1e5, 1e5)
WAYS = st.floats(0, 10)


# --- even shares --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_share_an_open_loop_evenly_and_each_request_is_one_worker_s(workers):
    lines = generate(WORKLOAD, Service([[Say()]] * PLAN.count), workers=workers)
    sent = np.bincount([line.worker for line in lines], minlength=workers)

    assert [line.index for line in lines] == list(range(PLAN.count))
    assert sent.max() - sent.min() <= 1
    assert [line.scheduled for line in lines] == [round(due(i), 6) for i in range(PLAN.count)]


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_the_lanes_of_a_closed_loop_evenly(workers):
    lines = generate(LANES, Service([[Say()]] * 6), workers=workers)
    lanes = {line.lane: line.worker for line in lines}
    sent = np.bincount([line.worker for line in lines])

    assert lanes == {lane: lane % workers for lane in range(6)}
    assert len({line.index for line in lines}) == len(lines)
    assert sent.max() - sent.min() <= 6  # a request for each lane, where the load ends


# --- what a lost worker owes --------------------------------------------------------------------------------------------


def owed(workers=3, worker=1, now=30.0, plan=PLAN, lines=()):
    shares = Shares(plan, workers)
    for line in lines:
        shares.add(line)
    return shares.lost(worker, now)


def due(index):
    return float(PLAN.offsets[index])


def test_what_was_due_and_left_no_record_is_lost_and_the_rest_is_unsent():
    own = range(1, PLAN.count, 3)
    recorded = [ok(i, due(i)) for i in own if due(i) < 20]
    missing = owed(lines=recorded)

    assert [line.index for line in missing.due] == [i for i in own if 20 <= due(i) <= 30]
    assert all(line.scheduled == round(due(line.index), 6) and line.worker == 1 for line in missing.due)
    assert missing.unsent == sum(due(i) > 30 for i in own)


@given(st.integers(1, 5), st.floats(0, 80), st.sets(st.integers(0, PLAN.count - 1)))
def test_the_books_balance_whichever_worker_is_lost_and_when(workers, now, recorded):
    lines = [ok(i, due(i)) for i in recorded]
    all_lost = [owed(workers, worker, now, lines=lines) for worker in range(workers)]
    indices = [line.index for missing in all_lost for line in missing.due]

    assert len(recorded) + len(indices) + sum(missing.unsent for missing in all_lost) == PLAN.count
    assert len(set(indices)) == len(indices)
    assert not set(indices) & recorded
    assert all(missing.unsent_in_window <= missing.unsent for missing in all_lost)


def test_a_lost_lane_owes_the_request_after_its_last_one_unless_it_waited():
    plan = make_plan(LANES)
    lines = [
        ok(1, 0.2, lane=1, end=20.0),  # asks 7 at 20.5
        throttled(4, 0.7, lane=4, end=29.0),  # may come back at 31
    ]
    missing = owed(plan=plan, lines=lines)

    assert [(line.index, line.scheduled) for line in missing.due] == [(7, 20.5)]
    assert missing.unsent == 0


def test_a_lost_lane_without_any_record_owes_its_first_request():
    assert [line.index for line in owed(plan=make_plan(LANES)).due] == [1, 4]


def test_a_lost_lane_that_would_have_tried_again_has_left_its_record():
    retrying = msgspec.structs.replace(LANES, throttling=Throttling(on_429="retry"))
    lines = [throttled(1, 0.2, lane=1, end=20.0), ok(4, 0.7, lane=4, end=20.0)]

    assert [line.index for line in owed(plan=make_plan(retrying), lines=lines).due] == [10]


# --- what is said of it --------------------------------------------------------------------------------------------------


class Worker:
    """A load worker that says what it was given to say, and ends."""

    name, ahead = "", 0.0

    def __init__(self, *said) -> None:
        self.said = [msgspec.json.encode(line) + b"\n" for line in said]
        self.told = asyncio.Event()

    def write(self, _line):
        self.told.set()

    def kill(self):
        """It ends by itself."""

    async def read(self):
        if self.said:
            return self.said.pop(0)
        await self.told.wait()
        return b""


def crew_of(*workers):
    said = []
    return Crew(workers, PLAN, lambda _: None, say=said.append), said


def test_the_others_go_on_only_where_there_are_some(tmp_path):
    async def play(*workers):
        crew, said = crew_of(*workers)
        with contextlib.closing(store.create(tmp_path, "w", None, STARTED)) as file:
            async with crew.reading():
                await crew.ready()
                await crew.load(file, time.perf_counter())
        return said

    (alone,) = asyncio.run(play(Worker(Ready(connections=1))))
    first, last = asyncio.run(play(Worker(Ready(connections=1)), Worker(Ready(connections=1))))

    assert alone.endswith("still to come")
    assert first.endswith("the others go on")
    assert last.endswith("still to come")


@pytest.mark.parametrize(("code", "kind"), [(2, UsageError), (0, MeasurementLost)])
def test_what_the_user_can_mend_on_a_worker_s_machine_is_no_lost_measurement(code, kind):
    async def play():
        crew, _ = crew_of(Worker(Done(problem="client: a.b:c: can't be imported", code=code)))
        async with crew.reading():
            await crew.ready()

    with pytest.raises(kind, match=r"^the load worker gave up: client: a\.b:c: can't"):
        asyncio.run(play())


def test_a_worker_that_ended_after_it_was_ready_and_before_the_load_is_named():
    async def play():
        gone = Worker(Ready(connections=1))
        gone.told.set()
        crew, _ = crew_of(Worker(Ready(connections=1)), gone)
        async with crew.reading():
            await crew.ready()
            for _ in range(100):  # turns of the loop, until its end is read
                crew.check()
                await asyncio.sleep(0)

    with pytest.raises(MeasurementLost, match=r"^load worker 2 of 2 ended before the load began"):
        asyncio.run(play())


# --- in the summary -----------------------------------------------------------------------------------------------------


@pytest.fixture
def summary(tmp_path):
    lost = [Lost(index=i, scheduled=40.0 + i / 10, worker=1) for i in (1, 3)]
    last = end(lost_workers=(1,), missing=5, unsent=3, unsent_in_window=3)
    answered = [ok(i, 40.0 + i / 10) for i in (0, 2, *range(4, 40))]
    file = write(tmp_path / "lost.jsonl", head(workers=2, planned=43), *answered, *lost, tick(40), last)
    return summarize(file)


def test_what_was_lost_with_its_worker_counts_as_cut_and_the_total_is_the_plan(summary):
    requests = summary["metrics"]["requests"]

    assert (requests["ok"], requests["cut"], requests["unsent"], requests["total"]) == (38, 2, 3, 43)


def test_the_verdict_says_how_much_is_missing(summary):
    reasons = {reason["code"]: reason for reason in summary["validity"]["reasons"]}

    assert reasons["lost_worker"]["level"] == "invalid"
    assert "5 of their requests, 11.6 % of the plan, are without a record (2 of them" in reasons["lost_worker"]["text"]
    assert "cut" not in reasons  # a longer drain would not have helped


def test_the_verdict_says_that_lost_lanes_ask_no_more(tmp_path):
    lost = Lost(index=1, scheduled=40.0, worker=1)
    last = end(lost_workers=(1,), missing=1)
    closed = head(workers=2, planned=None, load=ClosedLoop(concurrency=6))
    reasons = summarize(write(tmp_path / "lanes.jsonl", closed, ok(0, 40.0, lane=0), lost, last))["validity"]["reasons"]
    (text,) = (reason["text"] for reason in reasons if reason["code"] == "lost_worker")

    assert "what their lanes had under way (1) and would still have asked is missing" in text


def test_a_lost_request_has_no_lag_and_no_latency_that_could_flatter(summary):
    metrics = summary["metrics"]

    assert metrics["lag"]["count"] == metrics["ttft"]["count"] == 38
    assert metrics["e2e_scheduled"]["of"] == 40  # two of them never answered


def test_of_many_lost_nodes_the_verdict_names_some_and_says_where_to_look(tmp_path):
    nodes = [record.Node(worker=n, name=f"tcp://n:{n}", machine={}, ahead_s=0, uncertainty_s=0) for n in range(9)]
    of_run = head(nodes=tuple(nodes), planned=90, workers=9)
    file = write(tmp_path / "n.jsonl", of_run, ok(0, 10.0), end(lost_workers=tuple(range(9)), missing=89))
    texts = {reason["code"]: reason["text"] for reason in summarize(file)["validity"]["reasons"]}

    assert "(tcp://n:0, tcp://n:1, tcp://n:2, tcp://n:3, tcp://n:4, tcp://n:5, …)" in texts["lost_worker"]
    assert texts["lost_worker"].endswith("is missing; see their logs and the scheduler's, and run again")


# --- clocks -------------------------------------------------------------------------------------------------------------


@given(OFFSETS, st.lists(st.tuples(WAYS, WAYS), min_size=1, max_size=20))
def test_the_other_clock_is_where_the_reading_says_give_or_take_its_uncertainty(ahead, ways):
    samples = [Sample(at := 100.0 * n, at + there + ahead, at + there + back) for n, (there, back) in enumerate(ways)]
    found = clocks.best(samples)

    assert abs(found.ahead - ahead) <= found.uncertainty + 1e-6
    assert found.uncertainty == pytest.approx(min(map(sum, ways)) / 2, abs=1e-6)


@given(OFFSETS, OFFSETS)
def test_two_clocks_are_compared_by_a_third(ours, theirs):
    found = clocks.between(third=Reading(-theirs, 0.25), ours=Reading(-ours, 0.5))

    assert found.ahead == pytest.approx(theirs - ours, abs=1e-6)
    assert found.uncertainty == 0.75


def test_the_quickest_of_some_exchanges_is_believed():
    readings = iter([0.0, 5.0, 10.0, 10.2, 20.0, 22.0])
    told = iter([99.0, 60.1, 77.0])

    async def ask():
        return next(told)

    found = asyncio.run(clocks.read(ask, clock=lambda: next(readings), exchanges=3))

    assert found.ahead == pytest.approx(50.0)
    assert found.uncertainty == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("uncertainty", "drift", "level", "says"),
    [
        (0.004, 0.0, None, ""),
        (0.004, -0.002, "degraded", "6.00 ms only: the arrivals of each may"),
        (0.2, None, "invalid", "near each other, and idle"),
        (0.001, 0.006, "degraded", "7.00 ms only (that of tcp://n:1 gained 6.00 ms on the parent's during the load): "),
        (0.001, -10.0, "invalid", "tcp://n:1 lost 10.0 s to the parent's"),
    ],
)
def test_clocks_that_are_not_known_well_are_a_reason(tmp_path, uncertainty, drift, level, says):
    node = record.Node(worker=0, name="tcp://n:1", machine={}, ahead_s=3.0, uncertainty_s=uncertainty)
    lines = [ok(i, 10 + i / 2) for i in range(100)]
    file = write(tmp_path / "n.jsonl", head(nodes=(node,), planned=100), *lines, end(drift_s=(drift,)))
    reasons = {reason["code"]: reason for reason in summarize(file)["validity"]["reasons"]}
    found = reasons.get("clocks", {"level": None, "text": ""})

    assert found["level"] == level
    assert says in found["text"]


# --- bounded ------------------------------------------------------------------------------------------------------------


def test_what_the_parent_keeps_of_a_long_run_does_not_grow_with_it():
    account, shares = Account(before(LANES, None)), Shares(make_plan(LANES), 2)

    def size_after(first, count):
        for i in range(first, first + count):
            line = ok(i, float(i), lane=i % 6)
            account.add(line)
            shares.add(line)
        progress = account.progress
        return [len(of) for of in (progress.history, progress.recent["ttft"], progress.failures, shares._lanes)]

    assert size_after(0, 1000) == size_after(1000, 5000)
