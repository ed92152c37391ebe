"""Sizes: the distributions that a workload asks for, drawn by index."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ptubench import distributions
from ptubench.load import sizes
from ptubench.workload.model import Fixed, Lognormal, Uniform


def drawn(asked, count=200_000, *, least=1):
    return distributions.draw(asked, np.random.default_rng(1), count, least=least)


@given(mean=st.floats(1, 1e5), ratio=st.floats(1.01, 3.86))
def test_lognormal_parameters_give_back_mean_and_p95(mean, ratio):
    mu, sigma = distributions.lognormal(mean, mean * ratio)

    assert np.exp(mu + sigma**2 / 2) == pytest.approx(mean)
    assert np.exp(mu + 1.6448536269514722 * sigma) == pytest.approx(mean * ratio)


@pytest.mark.parametrize(("mean", "p95"), [(1000, 1000), (1000, 900), (1000, 3900), (0, 10), (-5, 10)])
def test_an_impossible_lognormal_is_refused_with_the_way_out(mean, p95):
    with pytest.raises(ValueError, match="lognormal") as caught:
        distributions.lognormal(mean, p95)

    assert (
        str(caught.value)
        == f"no lognormal has mean {mean} and p95 {p95}; choose p95 above the mean and at most 3.86 times it"
    )


def test_lognormal_draws_have_mean_and_p95():
    values = drawn(Lognormal(mean=1000, p95=3000))

    assert values.mean() == pytest.approx(1000, rel=0.02)
    assert np.percentile(values, 95) == pytest.approx(3000, rel=0.02)


def test_max_cuts_draws_and_leaves_the_p95_below_it():
    values = drawn(Lognormal(mean=1000, p95=3000, max=4000))

    assert values.max() == 4000
    assert np.percentile(values, 95) == pytest.approx(3000, rel=0.02)


def test_uniform_draws_reach_both_ends_equally():
    values, counts = np.unique(drawn(Uniform(min=5, max=9)), return_counts=True)

    assert values.tolist() == [5, 6, 7, 8, 9]
    assert counts == pytest.approx([40_000] * 5, rel=0.03)


@given(
    asked=st.one_of(
        st.builds(Fixed, tokens=st.integers(1, 10_000)),
        st.tuples(st.integers(1, 500), st.integers(0, 5000)).map(lambda t: Uniform(min=t[0], max=t[0] + t[1])),
        st.tuples(st.floats(20, 5000), st.floats(1.05, 2.5), st.none() | st.integers(1, 9000)).map(
            lambda t: Lognormal(mean=t[0], p95=t[0] * t[1], max=t[2])
        ),
    ),
    least=st.sampled_from([1, 32]),
)
def test_the_expected_mean_is_the_mean_of_the_draws(asked, least):
    values = drawn(asked, 40_000, least=least)

    assert (values >= least).all()
    assert (values == np.rint(values)).all()
    assert distributions.mean(asked, least=least) == pytest.approx(values.mean(), abs=5 * values.std() / 200 + 0.05)


@given(seed=st.integers(0, 2**70), block=st.integers(0, 10**6))
def test_a_block_depends_on_seed_stream_and_number_alone(seed, block):
    asked = Uniform(min=1, max=10**6)
    same = [sizes.size_block(asked, seed=seed, stream=3, block=block) for _ in range(2)]
    other = [
        sizes.size_block(asked, seed=seed + 1, stream=3, block=block),
        sizes.size_block(asked, seed=seed, stream=4, block=block),
        sizes.size_block(asked, seed=seed, stream=3, block=block + 1),
    ]

    assert np.array_equal(*same)
    assert not any(np.array_equal(same[0], another) for another in other)


@given(numbers=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2)), min_size=2, max_size=2, unique=True))
def test_every_class_and_size_has_a_stream_of_its_own(numbers):
    streams = [sizes.size_stream(number, what) for number, what in numbers]

    assume(numbers[0] != numbers[1])
    assert streams[0] != streams[1]
    assert min(streams) > sizes.MESSAGES
