"""Runs on the virtual clock: the same as over HTTP, the laws of the bucket, and every policy and kind of load."""

import json
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ptubench import record
from ptubench.analysis import rates
from ptubench.analysis.columns import select
from ptubench.analysis.summary import summarize
from ptubench.errors import UsageError
from ptubench.load.plan import Plan
from ptubench.record import Attempt, Dropped, End, Head
from ptubench.report import table
from ptubench.sim.options import SimOptions, parse
from ptubench.virtual import clock
from ptubench.virtual.run import Trial, gathered, lines, second_target, summary
from ptubench.workload.model import Workload
from running import calmly, finish, start
from trials import attempts, trial, workload

pytestmark = pytest.mark.alone

# as over HTTP

MIXED = {
    "prompt_tokens": None,
    "completion_tokens": None,
    "load": {"rate": "15/s", "arrivals": "constant"},
    "duration": "3s",
    "warmup": "0s",
    "mix": {
        "cached": {"prompt_tokens": 1500, "completion_tokens": 20, "cached": {"tokens": 1200, "prefixes": 2}},
        "cut": {"prompt_tokens": {"min": 40, "max": 900}, "completion_tokens": 60},
        "unlimited": {"prompt_tokens": 1003, "completion_tokens": {"min": 1, "max": 1200}, "output_limit": "none"},
    },
}
LOADED = {
    "prompt_tokens": 60,
    "completion_tokens": 10,
    "load": {"rate": "40/s"},
    "duration": "6s",
    "warmup": "1s",
}
FULL = "gpt-4.1:45,depth=4s,level=full,tps=1000,latency=0.3,jitter=0.05"
QUICK = "gpt-4.1:2000,tps=2000,jitter=0,load=0,reasoning=7,tokens_per_event=3"
SAME = ("status", "content_events", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
SAME += ("finish", "model", "failure", "limit", "completion_asked", "name", "streamed", "flags", "scheduled")


@pytest.fixture(scope="module")
def over_http(tmp_path_factory):
    """A mix, streamed and not, and a load that is refused in part, over HTTP side by side."""
    folder = tmp_path_factory.mktemp("http")
    tries = iter(range(9))

    def measure():
        here = folder / str(next(tries))
        here.mkdir()
        return finish(
            [
                start(here / "mixed", "--simulate", QUICK, **MIXED),
                start(here / "whole", "--simulate", QUICK, **MIXED, stream=False),
                start(here / "loaded", "--simulate", FULL, **LOADED),
            ]
        )

    return calmly(measure, lambda runs: all(run.calm for run in runs))


@pytest.mark.parametrize(("number", "stream"), [(0, True), (1, False)])
def test_every_attempt_says_what_it_says_over_http(over_http, number, stream):
    real = over_http[number].attempts
    virtual = attempts(trial(QUICK, **MIXED, stream=stream))

    assert [[getattr(a, name) for name in SAME] for a in virtual] == [[getattr(a, name) for name in SAME] for a in real]
    assert all(a.headers.items() <= b.headers.items() for a, b in zip(virtual, real, strict=True))


def test_its_times_are_those_of_http_without_the_network(over_http):
    real, virtual = over_http[0].attempts, attempts(trial(QUICK, **MIXED))
    late = {
        name: np.median(
            [getattr(b, name) - b.sent - getattr(a, name) + a.sent for a, b in zip(virtual, real, strict=True)]
        )
        for name in ("first_content", "first_output", "last_content", "end")
    }

    assert all(0 <= value < 0.02 for value in late.values())


def test_what_is_refused_and_how_fast_the_rest_is_agree_with_http(over_http):
    real, virtual = over_http[2].metrics, summary(trial(FULL, **LOADED))["metrics"]

    assert virtual["refused"]["ratio"] == pytest.approx(real["refused"]["ratio"], abs=0.02)
    assert virtual["tpm"]["of_published"] == pytest.approx(real["tpm"]["of_published"], abs=0.02)
    assert virtual["ttft"]["p50"] == pytest.approx(real["ttft"]["p50"], rel=0.03)
    assert 0.1 < virtual["refused"]["ratio"] < 0.9


# what it claims


def test_the_same_trial_gives_the_same_lines():
    one, other = (b"".join(map(record.encode, lines(trial("gpt-4.1:15")))) for _ in range(2))

    assert one == other


def test_the_file_of_a_virtual_run_is_read_like_any_other(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(map(record.encode, lines(trial("gpt-4.1:15")))))
    read, in_memory = summarize(path), summary(trial("gpt-4.1:15"))

    assert read["run"].pop("file") == str(path)
    assert in_memory["run"].pop("file") is None
    assert json.loads(json.dumps(in_memory)) == json.loads(json.dumps(read))


def test_it_claims_nothing_of_the_client():
    found = summary(trial("gpt-4.1:50"))

    assert found["target"]["kind"] == "simulated"
    assert found["run"]["clock"] == "virtual"
    assert (
        found["metrics"]["lag"]["p50"] is found["metrics"]["gap"]["p50"] is found["metrics"]["connect"]["p50"] is None
    )
    assert found["validity"]["loop_lag"] == {"p50": None, "p99": None}
    assert found["validity"]["cpu_share"] is None
    assert found["validity"]["verdict"] == "valid"


def test_its_report_says_so_first():
    console = Console(width=100, file=StringIO())
    console.print(table.render(summary(trial("gpt-4.1:50"))))
    said = console.file.getvalue()

    assert said.startswith(" SIMULATED, on a virtual clock   chat")
    assert "there is no client whose delays could be in the numbers" in said


def test_every_request_leaves_when_it_is_due():
    found = attempts(trial("gpt-4.1:50"))

    assert len(found) > 100
    assert [attempt.sent for attempt in found] == [attempt.scheduled for attempt in found]


# the laws of the bucket


def planned(of: Workload, offsets) -> Plan:
    """A plan of equal calls at any moments."""
    return Plan(of, offsets=np.array(offsets), trace=None, lines=[()])


@settings(max_examples=60)
@given(
    gaps=st.lists(st.floats(0, 40), min_size=1, max_size=60),
    sizes=st.lists(st.integers(3, 200).map(lambda n: 5 * n), min_size=2, max_size=2, unique=True).map(sorted),
    tokens=st.tuples(st.integers(32, 60_000), st.integers(1, 4000)),
    depth=st.floats(1, 120),
    level=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_larger_size_never_refuses_more_equal_calls_whenever_they_come(gaps, sizes, tokens, depth, level):
    of = workload(prompt_tokens=tokens[0], completion_tokens=tokens[1], duration="40m", warmup="0s")
    plan = planned(of, np.cumsum(gaps))
    refused = []
    for ptu in sizes:
        options = SimOptions(model="gpt-4.1", ptu=ptu, depth=depth, level=level)
        found = lines(Trial(workload=of, options=options, plan=plan))
        refused.append(sum(line.status == 429 for line in found if isinstance(line, Attempt)))

    assert refused[1] <= refused[0]


@pytest.mark.parametrize("load", [1.1, 1.5, 3.0])
def test_in_the_long_run_a_full_deployment_refuses_what_it_has_no_capacity_for(load):
    of = trial("gpt-4.1:50,level=full", load={"utilization": f"{load:.0%}"}, duration="1h", warmup="0s")
    found = attempts(of)
    admitted = sum(attempt.status == 200 for attempt in found)

    capacity = of.options.capacity.tpm * 60 / 1800

    # The bucket is full at the start, and nearly so at the end.
    assert 1 - admitted / len(found) == pytest.approx(1 - capacity / len(found), abs=0.003)


@settings(max_examples=25)
@given(share=st.floats(0.05, 0.999), depth=st.floats(0.5, 60))
def test_even_arrivals_below_the_capacity_are_never_refused(share, depth):
    load = {"utilization": f"{share:.3%}", "arrivals": "constant"}
    found = attempts(trial(f"gpt-4.1:15,depth={depth}", load=load, duration="5m"))

    assert {attempt.status for attempt in found} == {200}


@pytest.mark.parametrize("deployment", ["gpt-4.1:100,depth=10", "gpt-5:50,depth=10,reasoning=40"])
@pytest.mark.parametrize("load", ["60%", "120%"])
def test_our_utilization_is_the_simulators_own_in_every_minute(load, deployment):
    of = trial(deployment, load={"utilization": load}, duration="20m", reasoning_tokens=40)
    run, capacity = gathered(of), of.options.capacity
    grid = rates.full_minutes(clock.STARTED, (0.0, of.workload.duration))
    ours = capacity.normalized(*rates.tokens_over(select(run.attempts, run.attempts.by_target), grid)) / capacity.tpm
    own = np.array([tokens for _, tokens in run.end.simulated["minutes"]])[: grid.bins] / capacity.tpm

    assert grid.bins == 20
    assert np.abs(ours - own).mean() <= 0.02


# every policy and kind of load


def test_a_retry_waits_as_long_as_the_deployment_asks_for():
    found = attempts(trial("gpt-4.1:15,level=full", throttling={"on_429": "retry", "max_retries": 3}))
    pairs = [(a, b) for a, b in pairwise(found) if a.index == b.index]
    waits = [b.sent - a.end - int(a.headers["retry-after-ms"]) / 1000 for a, b in pairs]

    assert len(pairs) > 50
    assert max(map(abs, waits)) < 1e-5


def test_what_is_refused_is_diverted_to_the_second_target_at_once():
    policy = {"on_429": "divert", "divert_to": {"simulate": "gpt-4.1:100"}}
    found = attempts(trial("gpt-4.1:15,level=full", throttling=policy))
    diverted = [attempt for attempt in found if attempt.diverted]

    assert diverted
    assert len(diverted) == sum(attempt.status == 429 for attempt in found)
    assert {attempt.headers["x-ptubench-simulated"] for attempt in diverted} == {"gpt-4.1:100"}


def test_where_the_second_target_is_a_real_one_an_ample_standard_deployment_takes_its_place():
    policy = {"on_429": "divert", "divert_to": {"deployment": "chat-standard"}}
    of = trial("gpt-4.1:15,level=full", throttling=policy)

    assert second_target(of) == of.options.second
    assert summary(of)["metrics"]["requests"]["ok"] == summary(of)["metrics"]["requests"]["total"]


def test_a_second_target_that_is_not_understood_is_a_usage_error():
    policy = {"on_429": "divert", "divert_to": {"simulate": "gpt-4.1:many"}}
    with pytest.raises(UsageError, match=r"chat: throttling\.divert_to\.simulate: `ptu: many`"):
        lines(trial("gpt-4.1:15", throttling=policy))


def test_what_is_spilled_says_so_and_is_answered():
    found = attempts(trial("gpt-4.1:15,level=full,spill=gpt-4.1:1000"))
    spilled = [attempt for attempt in found if record.SPILLED in attempt.headers]

    assert spilled
    assert {attempt.status for attempt in found} == {200}
    assert {attempt.headers["x-ms-spillover-error"] for attempt in spilled} == {"429"}


def test_lanes_send_their_next_request_when_the_last_one_is_answered():
    found = attempts(trial("gpt-4.1:100", load={"concurrency": 4, "think_time": "2s"}, duration="2m", warmup="0s"))
    last = {}
    for attempt in found:
        if attempt.lane in last:
            assert attempt.sent == pytest.approx(last[attempt.lane] + 2, abs=1e-5)
        last[attempt.lane] = attempt.end

    assert len(last) == 4


def test_a_lane_that_is_refused_comes_back_when_it_may():
    load = {"concurrency": 16}
    found = attempts(trial("gpt-4.1:15,depth=5,level=full", load=load, duration="5m", warmup="0s"))
    admitted = sum(attempt.status == 200 for attempt in found)

    assert {attempt.status for attempt in found} == {200, 429}
    assert admitted == pytest.approx(45_000 * 5 / 1800, rel=0.02)


def test_shared_prefixes_come_from_the_prompt_cache():
    found = attempts(
        trial("gpt-4.1:300", prompt_tokens=3000, cached={"tokens": 2048, "prefixes": 3}, load={"rate": "2/s"})
    )
    cached = [attempt.cached_tokens for attempt in found]

    assert cached.count(0) == 3
    assert set(cached) == {0, 2048}


def test_a_usage_history_is_played_minute_by_minute(tmp_path):
    rows = [("2026-11-02T09:00:00Z", 60, 60_000, 0, 6_000), ("2026-11-02T09:01:00Z", 120, 60_000, 30_000, 12_000)]
    path = tmp_path / "usage.csv"
    header = "minute,requests,prompt_tokens,cached_tokens,completion_tokens"
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    load = {"trace": {"file": str(path), "format": "usage"}}
    keys = {"prompt_tokens": None, "completion_tokens": None, "duration": None}
    found = attempts(trial("gpt-4.1:300", **keys, load=load, warmup="0s"))

    assert [sum(60 * k <= a.sent < 60 * k + 60 for a in found) for k in (0, 1)] == [60, 120]
    assert {(a.prompt_tokens, a.completion_tokens) for a in found} == {(1000, 100), (500, 100)}


def test_messages_of_the_users_own_are_read_as_over_http(tmp_path):
    path = tmp_path / "own.jsonl"
    say = "please write about 37 tokens"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": say}]}))
    keys = {"prompt_tokens": None, "completion_tokens": None, "output_limit": 50}
    found = attempts(trial(messages={"file": str(path)}, **keys))

    assert {(a.prompt_tokens, a.completion_tokens) for a in found} == {(7 + 5 + 1, 37)}


def test_a_prompt_that_is_too_long_is_answered_400():
    found = attempts(trial("gpt-4.1:300", prompt_tokens=130_000, load={"rate": "3/min"}))

    assert {(a.status, a.failure) for a in found} == {(400, "http_400")}
    assert "prompts of up to" in found[0].error


def test_errors_of_the_service_are_failures_with_their_status():
    found = attempts(trial("gpt-4.1:50,errors=20%"))

    assert {a.failure for a in found} == {None, "http_500", "http_503"}


def test_reasoning_that_takes_the_whole_limit_leaves_no_content():
    found = attempts(trial("gpt-5:50,reasoning=500"))

    assert {(a.failure, a.finish, a.completion_tokens) for a in found} == {("empty", "length", 200)}


def test_reasoning_comes_before_the_first_content():
    without, with_it = (
        attempts(trial(f"gpt-4.1:50,jitter=0,load=0,reasoning={n}", reasoning_tokens=n))[0] for n in (0, 100)
    )
    per_token = (without.last_content - without.first_content) / 199

    assert with_it.first_content - without.first_content == pytest.approx(100 * per_token, abs=1e-5)
    assert with_it.completion_tokens == 300


def test_what_the_drain_leaves_is_cut_with_what_had_come():
    keys = {"load": {"rate": "1/s", "arrivals": "constant"}, "duration": "5s", "warmup": "0s", "drain": "1s"}
    found = attempts(trial("gpt-4.1:50,tps=10,jitter=0", **keys))

    assert all(a.cut and a.status == 200 and a.end is None for a in found)
    assert [a.content_events for a in found] == sorted((a.content_events for a in found), reverse=True)
    assert 0 < found[-1].content_events < found[0].content_events < 200


@pytest.mark.parametrize("load", [{"rate": "40/s"}, {"concurrency": 40}], ids=["open", "closed"])
def test_what_the_drain_leaves_is_cut_in_the_order_in_which_it_began(load):
    found = lines(trial("gpt-4.1:5000,latency=30", load=load, duration="3s", warmup="0s", drain="0s"))
    cut = [line.index for line in found if isinstance(line, Attempt) and line.cut]

    assert len(cut) >= 40
    assert cut == sorted(cut)


def test_what_has_no_room_is_dropped():
    found = lines(trial("gpt-4.1:50", load={"rate": "10/s"}, duration="30s", warmup="0s", max_in_flight=5))

    assert any(isinstance(line, Dropped) for line in found)
    assert isinstance(found[0], Head)
    assert isinstance(found[-1], End)


@pytest.mark.parametrize(
    ("deployment", "stream", "limits", "failure", "after"),
    [
        ("gpt-4.1:50,tps=10,jitter=0", True, {"total": "5s"}, "total_timeout", 5),
        ("gpt-4.1:50,tps=10,jitter=0", False, {"first_byte": "4s"}, "first_byte_timeout", 4),
        ("gpt-4.1:50,tps=10,jitter=0,load=0,latency=0.35,reasoning=80", True, {"idle": "6s"}, "idle_timeout", 6.1),
        (
            "gpt-4.1:50,tps=10,jitter=0,load=0,latency=0.35,tokens_per_event=70",
            True,
            {"idle": "6.9s"},
            "idle_timeout",
            14.2,
        ),
    ],
)
def test_a_client_gives_up_when_its_limits_say_so(deployment, stream, limits, failure, after):
    found = attempts(trial(deployment, stream=stream, timeouts=limits, load={"rate": "2/min"}))

    assert {a.failure for a in found} == {failure}
    assert [a.end - a.sent for a in found] == pytest.approx([after] * len(found))


def test_other_salts_and_seeds_of_the_simulator_have_other_luck_on_the_same_arrivals():
    base = trial("gpt-4.1:50")
    others = [replace(base, salt="other"), replace(base, options=parse("gpt-4.1:50,seed=1"))]
    times = [[a.first_content for a in attempts(of)] for of in (base, *others)]

    assert len(set(map(tuple, times))) == 3
    assert len({tuple(a.sent for a in attempts(of)) for of in (base, *others)}) == 1
