"""Arrivals of an open loop: counts, spacing and the laws of the processes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.load import arrivals
from ptubench.workload.model import OpenLoop, Stage


def offered(*stages, arrivals_="poisson", burstiness=1.0, duration=None, seed=0):
    """Offsets of a load of `stages`: (rate, seconds) or (rate, to, seconds)."""
    made = tuple(Stage(value=s[0], to=s[1] if len(s) == 3 else None, seconds=s[-1]) for s in stages)
    load = OpenLoop(stages=made, arrivals=arrivals_, burstiness=burstiness)
    return arrivals.offsets(load, duration=duration or sum(stage.seconds for stage in made), seed=seed)


def dispersion(offsets, *, seconds, bins):
    """Variance over mean of the counts in equal bins: 1 for a Poisson process."""
    counts = np.histogram(offsets, bins=bins, range=(0, seconds))[0]
    return counts.var() / counts.mean()


def test_constant_45_a_minute_for_10_minutes_is_450_calls_from_the_first_moment():
    offsets = offered((45 / 60, 600), arrivals_="constant")

    assert len(offsets) == 450
    assert offsets[0] == 0
    assert np.abs(offsets - np.arange(450) * 4 / 3).max() < 1e-9


@given(per_minute=st.integers(1, 3000), minutes=st.integers(1, 60))
def test_constant_arrivals_are_exactly_rate_times_duration(per_minute, minutes):
    offsets = offered((per_minute / 60, minutes * 60), arrivals_="constant")

    assert len(offsets) == per_minute * minutes
    assert np.allclose(np.diff(offsets), 60 / per_minute)


@pytest.mark.parametrize("kind", ["constant", "poisson", "gamma"])
@given(
    stages=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(0.5, 30)), min_size=1, max_size=4),
    cut=st.floats(0.1, 1),
)
def test_offsets_ascend_and_lie_in_the_duration(kind, stages, cut):
    duration = cut * sum(stage[-1] for stage in stages)

    offsets = offered(*stages, arrivals_=kind, burstiness=0.5, duration=duration)

    assert (np.diff(offsets) >= 0).all()
    assert ((offsets >= 0) & (offsets < duration)).all()


def test_poisson_counts_have_dispersion_one():
    offsets = offered((100, 600))

    assert len(offsets) == pytest.approx(60_000, rel=0.015)
    assert 0.9 < dispersion(offsets, seconds=600, bins=3000) < 1.1


def test_poisson_gaps_do_not_know_each_other():
    gaps = np.diff(offered((100, 600)))

    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.015
    assert gaps.std() / gaps.mean() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("shape", [0.25, 1, 4])
def test_gamma_gaps_have_the_burstiness_asked_for(shape):
    gaps = np.diff(offered((100, 600), arrivals_="gamma", burstiness=shape))

    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(shape**-0.5, rel=0.03)


def test_gamma_of_shape_one_is_poisson():
    assert np.array_equal(offered((5, 100), arrivals_="gamma"), offered((5, 100)))


def test_a_ramp_has_the_area_under_it_in_each_part():
    offsets = offered((0, 60, 100), arrivals_="constant")  # 60 · t²/200

    assert len(offsets) == 3000
    assert [int((offsets < t).sum()) for t in (10, 50, 100)] == [30, 750, 3000]


def test_stages_follow_each_other_and_keep_their_rates():
    counts = np.histogram(offered((10, 60), (10, 40, 60), (0, 30), (20, 60)), bins=[0, 60, 120, 150, 210])[0]

    assert counts[2] == 0
    assert counts[[0, 1, 3]] == pytest.approx([600, 1500, 1200], rel=0.1)


def test_a_load_that_starts_silent_begins_with_the_next_stage():
    assert offered((0, 60), (1, 10), arrivals_="constant")[0] == 60


def test_poisson_on_a_ramp_stays_poisson():
    # Mapped back by the cumulative rate, the offsets are a process of constant rate.
    offsets = offered((0, 200, 600))

    assert 0.9 < dispersion(offsets**2 / 600, seconds=600, bins=3000) < 1.1


def test_twice_the_rate_is_the_same_process_in_half_the_time():
    slow, fast = offered((10, 600)), offered((20, 300))

    assert np.allclose(slow, 2 * fast)


def test_a_longer_run_begins_with_the_same_arrivals():
    short, long = offered((10, 60)), offered((10, 600))

    assert np.allclose(short, long[: len(short)])


def test_seeds_give_different_arrivals_and_each_always_the_same():
    assert np.array_equal(offered((10, 60), seed=7), offered((10, 60), seed=7))
    assert not np.array_equal(offered((10, 60), seed=7)[:50], offered((10, 60), seed=8)[:50])


def test_no_rate_means_no_arrivals():
    assert len(offered((0, 60))) == 0
