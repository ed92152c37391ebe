"""What charts show of a run beyond its summary: nothing is lost, nothing is invented, and percentiles are the summary's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runs
from ptubench.analysis import latencies, series
from ptubench.analysis import requests as per_request
from ptubench.analysis.gather import Gathering, load
from ptubench.analysis.metrics import due
from ptubench.analysis.summary import summary_of
from ptubench.ptu.capacity import capacity
from ptubench.record import Monitor, Series
from ptubench.samples import PERCENTILES

times = st.floats(0, 1e4, allow_nan=False)
samples = st.lists(st.one_of(times, st.just(float("inf")), st.just(float("nan"))), max_size=80)


def gathered(*lines, **of_head):
    found = Gathering(runs.head(**of_head))
    for line in (*lines, runs.end()):
        found.add(line)
    return found.run()


def joined(run):
    return per_request.requests(run.attempts, run.drops, streams=run.head.workload.stream)


@pytest.fixture(scope="module")
def mixed():
    """A run in which everything happened."""
    lines = [
        *runs.steady(300, step=0.15),
        *(runs.throttled(1000 + k, 12 + k / 3) for k in range(40)),
        *(runs.failed(2000 + k, 20 + k) for k in range(7)),
        *(runs.cut(3000 + k, 60 + k) for k in range(3)),
        *(runs.ok(4000 + k, 30 + k, headers={"x-ms-spillover-from-deployment": "d"}) for k in range(4)),
        *(runs.failed(5000 + k, 40 + k, "connect", sent=None) for k in range(2)),
        *(runs.dropped(6000 + k, 50 + k / 10) for k in range(11)),
        runs.throttled(7000, 66.0),
        runs.ok(7000, 66.0, sent=68.0, attempt=1),
        runs.throttled(7001, 66.5),
        runs.ok(7001, 66.5, attempt=1, diverted=True),
    ]
    return gathered(*lines)


def test_every_attempt_and_every_request_is_in_one_step(mixed):
    requests = joined(mixed)
    found = series.calls(mixed, requests, load_end=70.0, finished=72.0)
    totals = {name: int(counts.sum()) for name, counts in found.sent.items()}

    assert totals == {"ok": 301, "spilled": 4, "throttled": 42, "failed": 9, "cut": 3}
    assert (int(found.offered.sum()), int(found.dropped.sum()), int(found.diverted.sum())) == (len(requests), 11, 1)


def test_the_counts_are_those_of_the_summarys_timeline(mixed):
    found = series.calls(mixed, joined(mixed), load_end=70.0, finished=72.0)
    timeline = summary_of(mixed)["timeline"]

    for name in ("ok", "spilled", "throttled", "failed", "cut"):
        assert found.sent[name].sum() == sum(row[name] for row in timeline)
    assert found.offered.sum() == sum(row["offered"] for row in timeline)


@given(st.lists(st.floats(-10, 1e5), max_size=60), st.floats(0, 1e5), st.floats(0, 1e5))
def test_no_attempt_is_lost_whenever_it_was_sent(moments, load_end, finished):
    run = gathered(*(runs.ok(k, 10.0, sent=at) for k, at in enumerate(moments)))
    found = series.calls(run, joined(run), load_end=load_end, finished=finished)

    assert found.sent["ok"].sum() == found.offered.sum() == len(moments)
    assert len(found.edges) <= series.STEPS + 2
    assert (np.diff(found.edges) > 0).all()


@pytest.mark.parametrize("load_end", [41.0, 45.0, 48.0, 50.0])
def test_a_step_ends_where_the_load_does_so_that_an_even_load_is_even_to_its_end(load_end):
    run = gathered(*runs.steady(round(load_end * 4), start=0.0, step=0.25))
    found = series.calls(run, joined(run), load_end=load_end, finished=load_end + 3)
    rates = found.offered / np.diff(found.edges)

    assert load_end in found.edges
    assert rates[found.edges[:-1] < load_end] == pytest.approx(4.0)


@given(st.floats(0.001, 4e6), st.integers(0, 10**7), st.floats(1, 200), st.integers(4, 300))
def test_a_step_is_never_so_short_that_there_are_too_many(span, count, each, most):
    assert span / series.step_width(span, count, each=each, most=most) <= most


def test_tokens_of_the_minutes_add_up_to_those_of_the_answers():
    run = gathered(*runs.steady(200, start=60.0, step=0.5), duration=240, window=(0.0, 240.0))
    found = series.tokens(run, load_end=240.0)

    assert found.minutes
    assert found.grid.bins == 4
    assert (found.prompt.sum(), found.completion.sum()) == (pytest.approx(200 * 100), pytest.approx(200 * 20))


def test_kinds_of_tokens_add_up_to_the_normalized_tokens():
    run = gathered(*runs.steady(200, cached_tokens=30), duration=240)
    found = series.tokens(run, load_end=240.0)
    known = capacity("gpt-4.1", 15)

    total = sum(series.by_kind(found, known).values())

    assert total == pytest.approx(known.normalized(found.prompt, found.cached, found.completion))
    assert sum(series.by_kind(found, None).values()) == pytest.approx(found.prompt + found.completion)


def test_a_load_without_two_full_minutes_is_told_by_steps():
    found = series.tokens(gathered(*runs.steady(200, step=0.2)), load_end=70.0)

    assert not found.minutes
    assert found.prompt.mean() * found.grid.bins * found.grid.width / 60 == pytest.approx(200 * 100)


def test_without_usage_there_are_no_tokens():
    lines = [runs.ok(k, 10.0 + k, prompt_tokens=None, completion_tokens=None) for k in range(9)]

    assert series.tokens(gathered(*lines), load_end=70.0) is None


def test_azures_figure_stands_at_its_own_minute():
    start = round(runs.STARTED.timestamp())
    told = Series(metric="AzureOpenAIProvisionedManagedUtilizationV2", average={start + 60: 87.0, start + 6000: 1.0})
    monitor = Monitor(
        of="run", asked_unix=start + 900, id="/x", deployment="d", span=(start, start + 180), series=(told,)
    )
    run = gathered(*runs.steady(200, step=0.5), monitor, duration=180)

    assert series.tokens(run, load_end=180.0).azure == {1: 0.87}


@pytest.mark.parametrize("said", [None, {}, {"minutes": 3}, {"minutes": [["x", 1]]}, {"minutes": [[1e400, 2]]}])
def test_an_account_of_the_simulator_that_can_not_be_read_is_none(said):
    found = Gathering(runs.head())
    for line in (*runs.steady(20, step=6.0), runs.end(simulated=said)):
        found.add(line)

    assert series.tokens(found.run(), load_end=180.0).simulated == {}


def test_a_slice_with_too_few_or_unanswered_calls_has_no_value():
    values = np.array([1.0] * 50 + [np.inf] * 50 + [1.0] * 3)
    at = np.concatenate((np.linspace(0, 9, 50), np.linspace(30, 39, 50), [55, 56, 57]))
    found = series.slices(values, at, "p50", window=(0.0, 60.0))

    assert sum(one.of for one in found) == len(values)
    assert sum(one.unanswered for one in found) == 50
    assert all(one.value is None for one in found if one.start >= 30 or not one.enough)
    assert found[0].value == 1.0


def test_slices_cover_the_window_and_each_holds_enough_even_where_few_calls_were_answered():
    at = np.concatenate((np.linspace(0, 240, 200), np.linspace(241, 599, 120)))
    found = series.slices(np.ones(len(at)), at, "p95", window=(60.0, 600.0))

    assert (found[0].start, found[-1].end) == (60.0, 600.0)
    assert [before.end for before in found[:-1]] == [after.start for after in found[1:]]
    assert len(found) > 1
    assert all(one.enough and one.value == 1.0 for one in found)
    assert sum(one.of for one in found) == np.count_nonzero(at >= 60.0)


def test_the_curve_goes_through_the_percentiles_of_the_summary():
    rng = np.random.default_rng(0)
    lines = [runs.ok(k, 10 + k / 100, ttft=float(t)) for k, t in enumerate(rng.lognormal(-1, 0.5, 5000))]
    lines += [runs.failed(9000 + k, 30.0) for k in range(30)]
    run = gathered(*lines)
    told = summary_of(run)["metrics"]["ttft"]
    found = series.curve(latencies.ttft(due(joined(run), (10.0, 70.0))))

    for name, share in PERCENTILES.items():
        if told[name] is not None:
            assert found.values[np.searchsorted(found.shares, share - 1e-9)] == told[name]
    assert (found.values[0], found.count, found.of) == (told["min"], told["count"], told["of"])
    assert told["p999"] is None
    assert len(found.values) < 1300


@given(samples, st.integers(4, 200))
def test_a_curve_is_the_sample_itself_or_a_part_of_it_with_both_ends(sample, most):
    found = series.curve(np.array(sample), most=most)
    finite = sorted(value for value in sample if np.isfinite(value))

    assert (found.count, found.of) == (len(finite), sum(not np.isnan(value) for value in sample))
    assert set(found.values.tolist()) <= set(finite)
    if finite:
        assert (found.values[0], found.values[-1]) == (finite[0], finite[-1])
        assert found.shares[-1] == pytest.approx(found.count / found.of)
    if len(finite) <= most:
        assert found.values.tolist() == finite


def test_a_run_file_gives_the_same_series(tmp_path, mixed):
    lines = [*runs.steady(50), runs.throttled(99, 12.0)]
    read = load(runs.write(tmp_path / "run.jsonl", runs.head(), *lines, runs.end()))
    found = series.calls(read, joined(read), load_end=70.0, finished=72.0)

    assert found.sent["throttled"].sum() == 1
