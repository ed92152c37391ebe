"""The preview: what a run will offer, said before anything is sent."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.load.plan import Plan, make_plan
from ptubench.load.preview import preview
from ptubench.ptu import prices
from ptubench.ptu.capacity import Capacity
from ptubench.ptu.catalogue import Weights
from ptubench.workload.model import Cached, Class, ClosedLoop, Fixed, Messages, OpenLoop, Stage, Trace, Workload

CAPACITY = Capacity(ptu=10, tpm_per_ptu=3000.0, weights=Weights(output=4.0), source="as typed")
PLAIN = Class(prompt=Fixed(tokens=1000), completion=Fixed(tokens=200), limit=Fixed(tokens=300))


def shown(kind=PLAIN, *, load=None, duration=600.0, capacity=CAPACITY, **target):
    load = load or OpenLoop(stages=(Stage(value=0.25, seconds=duration),), arrivals="constant")
    workload = Workload(name="test", classes=(kind,), load=load, duration=duration, warmup=0.1 * duration)
    made = preview(workload, make_plan(workload), capacity, **target)
    json.dumps(made)  # numbers and null only
    return made


def test_a_constant_load_is_told_exactly():
    made = shown()

    assert made["offered"] == {
        "requests": 150,
        "measured": 135,
        "rpm_mean": 15.0,
        "rpm_peak_minute": 15.0,
        "peak_minute": 0,
        "lanes": None,
        "duration_s": 600.0,
        "window_s": [60.0, 600.0],
    }
    assert made["tokens"] == {
        "prompt": 150_000,
        "cached": 0,
        "completion": 30_000,
        "limit": 45_000,
        "tpm_mean": 18_000.0,
        "tpm_peak_minute": 18_000.0,
        "prompts_raised": 0,
    }
    assert made["sample"] == {
        "expected": 135,
        "percentiles": {"p50": True, "p90": True, "p95": True, "p99": False, "p999": False},
    }
    assert made["cost"] is None


def test_utilization_counts_answers_as_asked_and_as_reserved():
    assert shown()["utilization"] == {
        "mean": 15 * 1800 / 30_000,
        "peak_minute": 15 * 1800 / 30_000,
        "reserved_mean": 15 * 2200 / 30_000,
        "reserved_peak_minute": 15 * 2200 / 30_000,
        "tpm_normalized": 27_000.0,
        "tpm_normalized_peak_minute": 27_000.0,
        "capacity_tpm": 30_000.0,
        "source": "as typed",
    }


def test_cached_tokens_are_not_charged():
    kind = Class(prompt=Fixed(tokens=3000), completion=Fixed(tokens=200), cached=Cached(tokens=2048))

    assert shown(kind)["utilization"]["tpm_normalized"] == 15 * (3000 - 2048 + 4 * 200)


def test_the_busiest_minute_is_found():
    stages = (Stage(value=0.5, seconds=180), Stage(value=2.0, seconds=60), Stage(value=0.5, seconds=360))

    offered = shown(load=OpenLoop(stages=stages, arrivals="constant"))["offered"]

    assert (offered["rpm_peak_minute"], offered["peak_minute"]) == (120.0, 3)


def test_a_load_that_ends_within_a_minute_has_its_last_full_one_too():
    """Ten seconds at the end are no minute: the quiet part before them belongs to it."""
    stages = (Stage(value=0.5, seconds=60), Stage(value=3.0, seconds=10))

    offered = shown(load=OpenLoop(stages=stages, arrivals="constant"), duration=70.0)["offered"]

    assert offered["rpm_mean"] == pytest.approx(60 / 70 * 60)
    assert (offered["rpm_peak_minute"], offered["peak_minute"]) == (25 + 30, 1)


@pytest.mark.parametrize("rate", [7, 1000, 1009])
def test_calls_that_come_evenly_are_the_same_number_each_minute(rate):
    offered = shown(load=OpenLoop(stages=(Stage(value=rate / 60, seconds=600),), arrivals="constant"))["offered"]

    assert offered["rpm_peak_minute"] == rate == pytest.approx(offered["rpm_mean"])


MILLISECONDS = st.integers(0, 199_999).map(lambda value: value / 1000)


@given(due=st.lists(MILLISECONDS, min_size=1), duration=st.sampled_from([200.0, 225.5, 240.0, 299.9]))
def test_full_minutes_are_counted_from_the_start_and_back_from_the_end(due, duration):
    workload = Workload(name="test", classes=(PLAIN,), load=ClosedLoop(concurrency=1), duration=duration, warmup=0.0)
    plan = Plan(workload, offsets=np.sort(due), trace=None, lines=())
    begins = [*range(0, int(np.ceil(duration - 60)), 60), duration - 60]

    sums = plan.whole_minutes(np.ones(len(due)))

    assert sums.tolist() == [sum(begin <= at < begin + 60 for at in due) for begin in begins]
    assert sums.max() <= plan.any_minute(np.ones(len(due))).max()
    assert plan.per_minute(np.ones(len(due))).sum() == len(due)


def test_a_run_under_a_minute_is_scaled_to_one():
    offered = shown(duration=30.0)["offered"]

    assert offered["rpm_mean"] == pytest.approx(16)  # 8 calls, the first at once
    assert offered["rpm_peak_minute"] == pytest.approx(16)


def test_without_a_capacity_there_is_no_utilization():
    assert shown(capacity=None)["utilization"] is None


def test_no_limit_leaves_the_reservation_unknown():
    made = shown(Class(prompt=Fixed(tokens=1000), completion=Fixed(tokens=200), unlimited=True))

    assert made["tokens"]["limit"] is None
    assert made["utilization"]["reserved_mean"] is None
    assert made["utilization"]["mean"] is not None


def test_own_messages_leave_prompt_tokens_unknown(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text('[{"role": "user", "content": "Hi"}]', encoding="utf-8")

    made = shown(Class(messages=Messages(file=str(file)), limit=Fixed(tokens=50)))

    assert made["offered"]["requests"] == 150
    assert made["tokens"]["prompt"] is None
    assert made["tokens"]["limit"] == 50 * 150
    assert made["utilization"]["mean"] is None


def test_a_closed_loop_tells_its_lanes_and_nothing_that_answers_decide():
    made = shown(load=ClosedLoop(concurrency=8))

    assert made["offered"]["lanes"] == 8
    assert {made["offered"][key] for key in ("requests", "measured", "rpm_mean", "rpm_peak_minute")} == {None}
    assert made["sample"]["expected"] is None
    assert set(made["sample"]["percentiles"].values()) == {None}


def test_tokens_of_a_standard_deployment_have_a_price_and_a_bound():
    cached = msgspec.structs.replace(PLAIN, prompt=Fixed(tokens=3000), cached=Cached(tokens=2048, prefixes=1))
    cost = shown(cached, standard=True, model="gpt-4.1-2025-04-14")["cost"]
    price = prices.find("gpt-4.1")

    assert cost["total"] == pytest.approx(150 * (952 * price.input + 2048 * price.cached + 200 * price.output) / 1e6)
    assert cost["at_most"] == pytest.approx(150 * (3000 * price.input + 300 * price.output) / 1e6)
    assert (cost["currency"], cost["why"]) == ("USD", None)
    assert prices.dated() in cost["source"]


@pytest.mark.parametrize(
    ("model", "load", "why"),
    [
        (None, None, "a model that nobody named (give `--model`)"),
        ("nobodys", None, "no list price for `nobodys`"),
        ("gpt-4.1", ClosedLoop(concurrency=8), "not known beforehand"),
    ],
)
def test_a_cost_that_nobody_knows_has_a_sentence(model, load, why):
    cost = shown(load=load, standard=True, model=model)["cost"]

    assert (cost["total"], cost["at_most"]) == (None, None)
    assert why in cost["why"]


def test_ptus_are_paid_by_the_hour_and_not_by_the_run():
    assert shown(model="gpt-4.1")["cost"] is None


def test_prompts_that_had_to_be_raised_are_counted(tmp_path):
    file = tmp_path / "trace.jsonl"
    lines = [f'{{"timestamp": {t}, "prompt_tokens": {10 + t}, "completion_tokens": 5}}' for t in range(30)]
    file.write_text("\n".join(lines), encoding="utf-8")

    assert shown(Class(), load=Trace(file=str(file), format="jsonl"))["tokens"]["prompts_raised"] == 22
