"""Which rate is tried next, and what the tried ones say: without a load, by laws and by buckets that are known."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ptubench.errors import UsageError
from ptubench.ptu.capacity import capacity
from ptubench.record import Attempt
from ptubench.search.curve import Saturated, Seen, fit, load_at, memory, refused
from ptubench.search.next import Goal, move
from ptubench.search.steps import Lengths, beside, first_rate, lengths, measuring, remembers, saturating
from ptubench.search.tried import Enough, Lost, Spent, Tried
from trials import workload

LIMIT = 0.01
depths = st.floats(1, 5000)
loads = st.floats(0.2, 3)


def tried(rate, ratio, *, offered=1000, limit=LIMIT, others=False):
    """A step at a rate, in which a share of its calls was refused."""
    seen = Seen(rate=rate, offered=offered, refused=round(ratio * offered))
    passed = (limit is None or ratio <= limit) and not others
    return Tried(seen=seen, passed=passed, by_others=others, spent=Spent(seconds=600, tokens=1), row={})


def searched(answer, saturated, goal):
    """All steps of a search on a target that answers a rate with a `Tried`, and its last move."""
    steps = []
    while (found := move(steps, saturated, goal)).rate is not None:
        steps.append(answer(found.rate))
    return steps, found


def bucket(depth, load, *, calls, rng):
    """Refused calls of a bucket that starts full and is offered equal calls at random, after it has settled."""
    settle = round(2 * memory(load, depth))
    level, lost = float(depth), 0
    for number, gap in enumerate(rng.exponential(1 / load, settle + calls)):
        level = max(0.0, level - gap)
        if level < depth:
            level += 1
        else:
            lost += number >= settle
    return lost


def unknown(*loads):
    """How far the curve is known at these loads: next to the capacity its exponent is the difference of equal numbers."""
    return 1e-9 if min(abs(load - 1) for load in loads) > 1e-5 else 1e-5


# --- the curve --------------------------------------------------------------------------------------------------------


@given(depths, loads, loads)
def test_more_load_is_never_refused_less(depth, one, other):
    low, high = sorted((one, other))
    less, more = refused(np.array([low, high]), np.array(depth))

    assert 0 <= less <= more * (1 + unknown(low, high)) + 1e-12
    assert more <= 1


@given(depths, loads)
def test_more_than_the_capacity_is_refused_at_least_by_what_is_too_much(depth, load):
    ratio = float(refused(np.array(load), np.array(depth)))

    assert ratio >= 1 - 1 / load - 1e-12


@given(depths, st.floats(0.001, 0.3))
def test_the_load_at_a_limit_is_refused_just_that(depth, limit):
    load = load_at(limit, np.array([depth]))
    assume(load[0] > 0.01)

    assert refused(load, np.array([depth]))[0] == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize("depth", [14, 42])
def test_the_curve_is_that_of_a_bucket(depth):
    rng = np.random.default_rng(depth)
    calls = 30_000

    for load in (0.95, 1.0, 1.05):
        told = float(refused(np.array(load), np.array(depth)))
        assert bucket(depth, load, calls=calls, rng=rng) / calls == pytest.approx(told, abs=0.008)


@pytest.mark.parametrize("depth", [1.4, 2.8])
def test_the_curve_is_that_of_a_bucket_of_few_calls_far_below_the_capacity_too(depth):
    rng = np.random.default_rng(1)
    calls = 20_000

    for load in (0.3, 0.6, 0.9):
        told = float(refused(np.array(load), np.array(depth + 0.88)))  # what the last admitted call overshoots
        assert bucket(depth, load, calls=calls, rng=rng) / calls == pytest.approx(told, abs=0.01)


@given(depths, loads, st.floats(0, 8), st.floats(0, 4))
def test_uneven_calls_are_not_refused_less(depth, load, times, costs):
    less, more = (
        float(refused(np.array(load), np.array(depth), times + extra, costs + extra / 2)) for extra in (0.0, 1.0)
    )

    assert 0 <= less <= more * (1 + unknown(load)) + 1e-12
    assert more <= 1


def test_without_any_step_the_curve_is_what_saturation_told():
    found = fit([], Saturated(rate=2.0, depth=50.0), LIMIT)

    assert found.rate == pytest.approx(2.0, rel=0.03)
    assert found.low < found.rate < found.high


def test_more_calls_make_the_interval_narrower():
    saturated = Saturated(rate=1.0, depth=40.0)
    few, many = (
        fit([tried(rate, float(refused(np.array(rate), np.array(40.0))), offered=calls).seen for rate in (0.96, 1.0, 1.03)],
            saturated, LIMIT)
        for calls in (1000, 50_000)
    )  # fmt: skip

    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_steps_that_scatter_make_the_interval_wider():
    saturated = Saturated(rate=1.0, depth=40.0)
    calm = [tried(rate, 0.010, offered=20_000).seen for rate in (0.99, 0.995, 1.0, 1.0)]
    wild = [
        tried(rate, ratio, offered=20_000).seen for rate, ratio in ((0.99, 0.04), (0.995, 0), (1.0, 0), (1.0, 0.04))
    ]
    one, other = fit(calm, saturated, LIMIT), fit(wild, saturated, LIMIT)

    assert other.high - other.low > 1.5 * (one.high - one.low)


# --- the search -------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.floats(10, 400), st.floats(0.5, 20), st.floats(0.7, 1.4), st.integers(0, 2**32 - 1))
def test_a_search_always_ends_near_the_truth_whatever_the_bucket(depth, rate, guess, seed):
    rng = np.random.default_rng(seed)
    true = float(load_at(LIMIT, np.array([depth]))[0]) * rate

    def answer(at):
        ratio = float(refused(np.array(at / rate), np.array(depth)))
        return tried(at, rng.binomial(3000, ratio) / 3000, offered=3000)

    steps, last = searched(answer, Saturated(rate=rate, depth=depth * guess), Goal(limit=LIMIT))

    assert len(steps) <= 16
    assert last.why in ("narrow", "steps")
    assert last.result.low <= last.result.rate <= last.result.high
    assert last.result.rate == pytest.approx(true, rel=0.08)


@settings(max_examples=40)
@given(st.floats(0.05, 1.3))
def test_a_rule_on_latency_that_breaks_first_is_bracketed(breaks):
    goal = Goal(limit=LIMIT, within=0.03, most=40)
    steps, last = searched(
        lambda rate: tried(rate, max(0.0, 1 - 1 / rate), others=rate > breaks), Saturated(rate=1.0, depth=500.0), goal
    )
    highest = min(breaks, 1.02)

    assert last.why == "narrow"
    assert last.result.low <= highest * 1.03
    assert last.result.high >= highest * 0.97
    assert len(steps) <= 40


def test_where_a_bucket_of_a_call_or_two_does_not_fit_the_curve_the_rate_is_bracketed():
    """Its refusals grow in proportion to the rate, from far below the capacity on."""
    found = 0.03
    _, last = searched(
        lambda rate: tried(rate, LIMIT * rate / found),
        Saturated(rate=1.2, depth=2.0, costs=0.14),
        Goal(limit=LIMIT, within=0.03, most=16),
    )

    assert last.result.by == "bracket"
    assert last.result.low <= found * 1.001
    assert last.result.high == pytest.approx(found, rel=0.07)


def test_where_nothing_passes_there_is_no_rate():
    steps, last = searched(
        lambda rate: tried(rate, 0, others=True), Saturated(rate=1.0, depth=10.0), Goal(limit=LIMIT, most=40)
    )

    assert last.why == "nothing_passes"
    assert last.result is None
    assert min(step.seen.rate for step in steps) < 0.05


def test_where_nothing_may_be_refused_the_rate_is_bracketed():
    _, last = searched(
        lambda rate: tried(rate, 0.0 if rate < 0.9 else 0.1, limit=0.0),
        Saturated(rate=1.0, depth=10.0),
        Goal(limit=None),
    )

    assert last.result.by == "bracket"
    assert last.result.low < 0.9 <= last.result.high


def test_a_lucky_step_does_not_decide():
    saturated = Saturated(rate=1.0, depth=40.0)
    honest = [tried(rate, float(refused(np.array(rate), np.array(40.0)))) for rate in (0.95, 0.98, 1.02, 1.05, 1.1)]
    lucky = [*honest, tried(1.05, 0.0)]
    before, after = (move(steps, saturated, Goal(limit=LIMIT)).result for steps in (honest, lucky))

    assert after.rate == pytest.approx(before.rate, rel=0.03)


# --- the steps --------------------------------------------------------------------------------------------------------


def test_a_step_fills_settles_and_measures():
    of = workload(None)
    saturated = Saturated(rate=1.4, depth=42.0)
    found = lengths(of, saturated, fill=1.8, limit=LIMIT, window=None)
    step = measuring(of, 1.3, found, fill=1.8, seed=5)

    assert found.fill >= 42 / 0.4
    assert found.settle == pytest.approx(2 * memory(1.0, 42) / 1.4, rel=0.1)
    assert found.window == pytest.approx(3 * memory(1.0, 42) / 1.4, rel=0.1)
    assert step.warmup == found.fill + found.settle
    assert step.duration == found.whole
    assert [stage.value for stage in step.load.stages] == [1.8, 1.3]
    assert (step.seed, step.classes) == (5, of.classes)


def test_a_deep_bucket_makes_long_steps_and_short_ones_are_told():
    of, saturated = workload(None), Saturated(rate=1.4, depth=84.0)
    short = lengths(of, saturated, fill=1.8, limit=LIMIT, window=60.0)
    found = lengths(of, saturated, fill=1.8, limit=LIMIT, window=None)

    assert found.window > 2 * of.duration
    assert remembers(found, saturated, LIMIT) is None
    assert "rather low; leave --step out" in remembers(short, saturated, LIMIT)


def test_where_few_calls_are_counted_a_step_still_ends():
    found = lengths(workload(None), Saturated(rate=0.1, depth=1.0), fill=0.13, limit=LIMIT, window=None)

    assert found.window == 7200


def test_what_a_step_before_left_in_the_bucket_belongs_to_its_depth():
    one = Saturated(rate=1.0, depth=20.0)

    assert beside(one, [(0.5, 400.0), (1.1, 400.0)]).depth == pytest.approx(60)
    assert beside(one, [(1.1, 400.0), (0.5, 400.0)]).depth == 20


def test_saturation_begins_above_the_published_capacity_where_it_is_known():
    known = capacity("gpt-4.1", 50)

    assert first_rate(workload(None), known) == pytest.approx(1.3 * 150_000 / 1800 / 60)
    assert first_rate(workload(None), None) == pytest.approx(2 * 45 / 60)
    assert saturating(workload(None), 2.0, measure=600, seed=1).warmup_rule == "until_429"


@pytest.mark.parametrize("load", [{"concurrency": 4}, {"trace": {"file": "workloads/trace.csv", "format": "azure"}}])
def test_what_has_no_rate_can_not_be_searched(load):
    with pytest.raises(UsageError, match="a capacity is searched at constant call rates"):
        first_rate(workload(None, load=load, prompt_tokens=None, completion_tokens=None)
                   if "trace" in load else workload(None, load=load), None)  # fmt: skip


def attempt(scheduled, *, status=200, number=0):
    return Attempt(index=0, attempt=number, scheduled=scheduled, taken=scheduled, status=status)


def test_a_step_is_lost_once_nothing_can_save_it():
    lost = Lost(limit=0.01, planned=100, begins=10.0)

    assert not any(lost(attempt(5.0, status=429)) for _ in range(50))
    assert not any(lost(attempt(20.0, status=429, number=1)) for _ in range(50))
    assert [lost(attempt(20.0, status=429)) for _ in range(4)] == [False, False, False, True]


def test_saturation_has_seen_enough_some_time_after_the_first_429():
    enough = Enough(patience=100.0, measure=30.0)

    assert not enough(attempt(20.0))
    assert not enough(attempt(40.0, status=429))
    assert not enough(attempt(69.0))
    assert enough(attempt(70.0))
    assert Enough(patience=100.0, measure=30.0)(attempt(100.0))


def test_saturation_without_a_429_ends_when_its_tokens_are_spent():
    enough = Enough(patience=100.0, measure=30.0, tokens=25.0)
    used = msgspec.structs.replace(attempt(1.0), prompt_tokens=8, completion_tokens=2)

    assert [enough(used) for _ in range(3)] == [False, False, True]


def test_lengths_add_up():
    assert math.isclose(Lengths(fill=1, settle=2, window=3).whole, 6)
