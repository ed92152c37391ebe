import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.ptu.bucket import Bucket

steps = st.lists(st.tuples(st.floats(0, 100), st.floats(-500, 1000)), max_size=50)


def refused_share(*, load: float, cost: float, depth: float, calls: int) -> float:
    """Equal calls at `load` times the drain into a bucket that starts full; the estimate is the truth."""
    bucket = Bucket(drain=1000, depth=depth, level=depth)
    refused = 0
    for i in range(calls):
        now = i * cost / (load * bucket.drain)
        if bucket.admits(now):
            bucket.charge(cost, now)
        else:
            refused += 1
    return refused / calls


@pytest.mark.parametrize("load", [1.02, 1.05, 1.1, 1.3, 1.5, 2, 3.7, 10])
@pytest.mark.parametrize("calls_deep", [20, 57.3, 400])
def test_an_overloaded_deployment_refuses_all_that_exceeds_its_capacity(load, calls_deep):
    refused = refused_share(load=load, cost=300, depth=300 * calls_deep, calls=30_000)

    assert refused == pytest.approx(1 - 1 / load, abs=0.02)


@given(load=st.floats(0.01, 0.999), cost=st.floats(1, 1000), calls_deep=st.floats(1.001, 100))
def test_even_arrivals_below_capacity_are_never_refused(load, cost, calls_deep):
    bucket = Bucket(drain=1000, depth=cost * calls_deep)
    arrivals = [i * cost / (load * bucket.drain) for i in range(300)]
    refused = 0
    for now in arrivals:
        refused += not bucket.admits(now)
        bucket.charge(cost, now)

    assert refused == 0


@given(steps)
def test_the_level_is_never_negative(steps):
    bucket = Bucket(drain=7, depth=100)
    now = 0.0
    for wait, cost in steps:
        now += wait
        bucket.charge(cost, now)

        assert bucket.level(now) >= 0


@given(level=st.floats(0, 1e6), drain=st.floats(0.1, 1e5), first=st.floats(0, 100), second=st.floats(0, 100))
def test_it_drains_at_its_rate_whenever_it_is_looked_at(level, drain, first, second):
    bucket = Bucket(drain=drain, depth=1e6, level=level)
    bucket.charge(0, first)

    assert bucket.level(first + second) == pytest.approx(max(0, level - drain * (first + second)), abs=1e-4)


def test_a_full_bucket_refuses_and_a_nearly_full_one_takes_a_call_of_any_size():
    full, nearly = Bucket(drain=1, depth=10, level=10), Bucket(drain=1, depth=10, level=9.999)
    nearly.charge(1000, 0)

    assert not full.admits(0)
    assert nearly.share(0) == pytest.approx(100.9999)


def test_the_true_cost_replaces_the_estimate():
    bucket = Bucket(drain=1, depth=100)
    bucket.charge(60, 0)
    bucket.charge(25 - 60, 10)

    assert bucket.level(10) == 15


def test_an_answer_shorter_than_reserved_gives_back_no_more_than_there_is():
    bucket = Bucket(drain=1, depth=100)
    bucket.charge(60, 0)
    bucket.charge(10 - 60, 55)

    assert bucket.level(55) == 0


@given(above=st.floats(0, 1e7), drain=st.floats(0.5, 1e6))
def test_whoever_waits_for_retry_after_is_admitted_and_not_a_millisecond_earlier(above, drain):
    bucket = Bucket(drain=drain, depth=1000, level=1000 + above)
    wait = bucket.retry_after_ms(0)

    assert wait >= 1
    assert bucket.admits(wait / 1000)
    assert not bucket.admits((wait - 1.001) / 1000)


def test_a_stamp_from_the_past_drains_nothing():
    bucket = Bucket(drain=1, depth=100, level=50, now=10)

    assert bucket.level(5) == 50
