"""Warm-ups that are decided afterwards: where the window begins, from an idle deployment, a full one, and one that changes."""

from dataclasses import replace
from functools import lru_cache

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from goldens import shown
from ptubench import record
from ptubench.analysis import saturation
from ptubench.analysis.steady import BATCHES, drift, mser
from ptubench.analysis.summary import summarize, summary_of
from ptubench.engine.account import Account
from ptubench.engine.progress import before
from ptubench.load.plan import make_plan
from ptubench.load.preview import preview
from ptubench.ptu.capacity import capacity
from ptubench.report.heading import heading
from ptubench.report.live import line
from ptubench.report.preview import render
from ptubench.sim.options import SimOptions
from ptubench.virtual.run import Trial, gathered, lines
from ptubench.workload.model import Class, Fixed, Lognormal, OpenLoop, Stage, Throttling, Workload
from runs import end, head, ok, summary, throttled, write
from summaries import summary as plausible

RULES = ("auto", "until_429")
CAPACITY = capacity("gpt-4.1", 30)
PER_MINUTE = CAPACITY.tpm / CAPACITY.normalized(1000, 0, 200)
"""Calls that fill it."""


def overload(share, minutes, *, rule="auto", seed=0, arrivals="poisson", **changes):
    """1,000 tokens in, 200 out, at a share of the capacity."""
    stage = Stage(value=share * PER_MINUTE / 60, seconds=minutes * 60)
    standard = {
        "name": "overload",
        "classes": (Class(prompt=Fixed(tokens=1000), completion=Fixed(tokens=200)),),
        "load": OpenLoop(stages=(stage,), arrivals=arrivals),
        "duration": minutes * 60.0,
        "warmup": 60.0,
        "warmup_rule": rule,
        "seed": seed,
    }
    return Workload(**standard | changes)


def trial(workload, depth, **options):
    return Trial(workload=workload, options=SimOptions(model="gpt-4.1", ptu=30, depth=depth, **options))


@lru_cache
def idle_at_first(share, depth, minutes):
    """A whole run on the virtual clock."""
    return gathered(trial(overload(share, minutes), depth))


def by(rule, run):
    """The summary of a run, as if its workload had another rule."""
    workload = msgspec.structs.replace(run.head.workload, warmup_rule=rule)
    return summary_of(replace(run, head=msgspec.structs.replace(run.head, workload=workload)))


def decided(result):
    """(what was decided, admitted normalized tokens as a share of the capacity)."""
    return result["run"]["warmup"], result["metrics"]["tpm"]["of_published"]


# --- what must be shown -----------------------------------------------------------------------------------------------

LONG = [(1.05, 10, 30), (1.05, 60, 80), (1.05, 120, 120), (1.1, 10, 30), (1.1, 60, 40), (1.1, 120, 80)]
LONG += [(1.3, 10, 20), (1.3, 60, 20), (1.3, 120, 20)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("share", "depth", "minutes"), LONG)
def test_from_an_idle_deployment_a_long_run_measures_the_capacity_within_2_percent(share, depth, minutes, rule):
    found, admitted = decided(by(rule, idle_at_first(share, depth, minutes)))

    assert found["reason"] == {"auto": "flat", "until_429": "first_429"}[rule]
    if (
        depth == 10 and found["at_least"] is not None
    ):  # so near the capacity arrivals leave a shallow bucket empty at times
        assert "saturation not reached throughout" in found["text"]
        assert 0.96 <= admitted <= found["at_least"]["tpm_normalized"] / CAPACITY.tpm + 0.01 <= 1.011
    else:
        assert found["at_least"] is None
        assert abs(admitted - 1) <= 0.02


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("depth", [10, 60, 120])
@pytest.mark.parametrize("share", [1.05, 1.1, 1.3])
def test_a_short_run_measures_the_capacity_within_2_percent_or_says_that_it_was_not_reached(share, depth, rule):
    found, admitted = decided(by(rule, idle_at_first(share, depth, 10)))

    if found["at_least"] is None:
        assert abs(admitted - 1) <= 0.02
    else:
        assert "saturation not reached" in found["text"]
        assert f"capacity is at least {found['at_least']['tpm_normalized']:,.0f} normalized tokens/min" in found["text"]
        assert found["at_least"]["tpm_normalized"] <= 1.001 * CAPACITY.tpm


def test_what_an_idle_bucket_absorbs_is_no_capacity():
    found, admitted = decided(by("until_429", idle_at_first(1.1, 120, 10)))

    assert admitted > 1.05
    assert (found["reason"], found["start_s"]) == ("not_saturated", 60)
    assert 0.85 < found["at_least"]["tpm_normalized"] / CAPACITY.tpm < 1
    assert found["text"].startswith("saturation not reached; capacity is at least ")
    assert "no 429 came; up to 2m of the capacity may have gone into a bucket that was idle" in found["text"]


def test_above_90_percent_auto_believes_nothing_before_the_first_429():
    result = by("auto", idle_at_first(1.1, 120, 10))

    assert result["run"]["window_s"] == [300, 600]
    assert result["validity"]["verdict"] == "degraded"
    assert [reason["code"] for reason in result["validity"]["reasons"]] == ["never_steady"]
    assert result["run"]["warmup"]["text"].startswith("never steady: saturation not reached; capacity is at least ")


def test_below_90_percent_auto_needs_no_429():
    result = summary_of(gathered(trial(overload(0.6, 10), 60)))

    found, _ = decided(result)
    assert (found["reason"], result["validity"]["verdict"]) == ("flat", "valid")
    assert found["start_s"] < 120
    assert found["at_least"] is None


def test_a_load_that_keeps_growing_is_never_steady():
    ramp = OpenLoop(stages=(Stage(value=0.1, to=0.6, seconds=1200),))
    result = summary_of(gathered(trial(overload(0.6, 20, load=ramp), 60)))

    assert result["run"]["warmup"]["reason"] == "never_steady"
    assert result["run"]["window_s"] == [600, 1200]
    assert "tokens/min rises by " in result["run"]["warmup"]["text"]
    assert result["validity"]["verdict"] == "degraded"


def test_auto_leaves_out_the_stage_that_another_load_follows():
    stages = (Stage(value=2.0, seconds=200), Stage(value=1.0, seconds=1000))
    found, _ = decided(summary_of(gathered(trial(overload(0.6, 20, load=OpenLoop(stages=stages)), 60))))

    assert found["reason"] == "flat"
    assert 200 <= found["start_s"] < 600


def test_two_refusals_tell_the_capacity_whatever_the_limits_and_the_policy():
    loose = (Class(prompt=Fixed(tokens=1000), completion=Fixed(tokens=200), limit=Fixed(tokens=800)),)
    workload = overload(1.3, 10, classes=loose, throttling=Throttling(on_429="retry"))
    run = gathered(trial(workload, 30))

    told = saturation.between_refusals(run.attempts, CAPACITY, (0.0, 600.0))
    assert told.highest == pytest.approx(CAPACITY.tpm, rel=0.001)
    assert told.overall == pytest.approx(CAPACITY.tpm, rel=0.01)


def test_spillover_hides_the_429s_and_not_that_the_deployment_was_full():
    found, admitted = decided(
        summary_of(gathered(trial(overload(1.3, 15, rule="until_429"), 10, spill="gpt-4.1:10000")))
    )

    assert found["reason"] == "first_429"
    assert found["text"].startswith("the first spilled call came at ")
    assert abs(admitted - 1) <= 0.02 or found["at_least"]


MIXED = Lognormal(mean=1000, p95=2500)
UNLIMITED = (Class(prompt=MIXED, completion=Fixed(tokens=200), unlimited=True),)
LIMITED = (Class(prompt=MIXED, completion=Fixed(tokens=200), limit=Fixed(tokens=300)),)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("share", [1.1, 1.3])
@pytest.mark.parametrize(("classes", "options"), [(UNLIMITED, {}), (LIMITED, {"spill": "gpt-4.1:10000"})])
def test_a_full_deployment_is_not_said_to_be_unsaturated_where_limits_or_waits_are_not_known(
    classes, options, share, rule
):
    workload = overload(share, 20, rule=rule, classes=classes)
    found, admitted = decided(summary_of(gathered(trial(workload, 60, **options))))

    assert (found["reason"], found["at_least"]) == ({"auto": "flat", "until_429": "first_429"}[rule], None)
    assert abs(admitted - 1) <= 0.02


# --- from a file alone ------------------------------------------------------------------------------------------------


def test_a_report_gives_the_window_that_the_run_gave(tmp_path):
    trial_ = trial(overload(1.3, 10, rule="until_429"), 10)

    stored = summarize(write(tmp_path / "run.jsonl", *lines(trial_)))

    assert stored["run"]["window_s"] == summary_of(gathered(trial_))["run"]["window_s"]
    assert stored["run"]["window_s"] == [stored["metrics"]["throttled"]["first_s"], 600]


def test_the_fixed_rule_is_as_it_was(tmp_path):
    result = summary(tmp_path, *[ok(i, 0.5 * i) for i in range(140)])

    assert result["run"]["window_s"] == [10, 70]
    assert decided(result)[0] == {"rule": "fixed", "start_s": 10, "reason": "fixed", "text": "", "at_least": None}


@pytest.mark.parametrize("rule", RULES)
def test_with_fewer_than_100_requests_the_fixed_rule_holds(rule, tmp_path):
    few = [*[ok(i, 0.7 * i) for i in range(98)], throttled(98, 68.9)]

    result = summary(tmp_path, *few, warmup_rule=rule)

    assert result["run"]["window_s"] == [10, 70]
    assert decided(result)[0]["reason"] == "few_requests"
    assert decided(result)[0]["text"] == "99 requests are too few to decide by (100 are needed): the fixed rule holds"


def test_a_first_429_that_fewer_than_100_requests_follow_came_too_late(tmp_path):
    late = [*[ok(i, 0.1 * i) for i in range(650)], *[throttled(650 + i, 65 + 0.1 * i) for i in range(50)]]

    result = summary(tmp_path, *late, warmup_rule="until_429")
    found, _ = decided(result)

    assert result["validity"]["verdict"] == "degraded"
    assert [reason["code"] for reason in result["validity"]["reasons"]] == ["not_saturated"]
    assert (found["reason"], found["start_s"]) == ("not_saturated", 10)
    assert "the first 429 came at 1m5s of 1m10s, too late" in found["text"]


def test_without_a_known_capacity_the_bound_is_in_calls(tmp_path):
    found, _ = decided(summary(tmp_path, *[ok(i, 0.1 * i) for i in range(700)], warmup_rule="until_429", target={}))

    assert found["at_least"] == {"rpm": pytest.approx(700 / (190 / 60)), "tpm_normalized": None}
    assert "capacity is at least 221 calls/min" in found["text"]


def test_a_simulated_deployment_that_is_deeper_lowers_the_bound(tmp_path):
    calls = [ok(i, 0.1 * i) for i in range(700)]

    deep = summary(tmp_path, *calls, end(simulated={"depth_s": 530.0}), warmup_rule="until_429")

    assert decided(deep)[0]["at_least"]["rpm"] == pytest.approx(70)


def test_a_run_that_was_stopped_is_decided_by_what_there_was(tmp_path):
    stopped = end(ended="stopped", load_end=30.0, finished=31.0)

    result = summary(tmp_path, *[ok(i, 0.1 * i) for i in range(300)], stopped, warmup_rule="auto", target={})

    assert decided(result)[0]["reason"] == "flat"
    assert result["run"]["window_s"][1] == 30
    assert result["run"]["window_s"][0] <= 15


@pytest.mark.parametrize("rule", RULES)
def test_a_file_without_any_request_is_no_crash(rule, tmp_path):
    result = summary(tmp_path, warmup_rule=rule)

    assert result["run"]["warmup"]["reason"] == "few_requests"
    assert result["validity"]["verdict"] == "invalid"


@pytest.mark.parametrize("rule", RULES)
def test_times_that_cannot_be_are_no_crash(rule, tmp_path):
    damaged = [*[ok(i, -5.0) for i in range(200)], *[ok(i, 0.5 * i) for i in range(200, 300)]]
    late = [throttled(300 + i, 60.0, answered=1e300, end=1e300) for i in range(120)]

    assert summary(tmp_path, *damaged, *late, warmup_rule=rule)["run"]["warmup"]["start_s"] <= 35


@pytest.mark.parametrize("rule", RULES)
def test_failures_without_usage_are_no_crash(rule, tmp_path):
    lost = [
        record.Attempt(index=i, scheduled=0.1 * i, taken=0.1 * i, sent=0.1 * i, end=9.0, failure="closed")
        for i in range(600)
    ]

    assert summary(tmp_path, *lost, warmup_rule=rule)["run"]["warmup"]["start_s"] <= 35


@pytest.mark.parametrize("rule", RULES)
def test_beside_azure_monitor_the_window_begins_with_a_full_utc_minute(rule, tmp_path):
    asked = record.Monitor(of="before", asked_unix=0.0, id="/a", deployment="d", span=(0, 60))
    calls = [throttled(i, 0.5 * i) if i % 7 == 1 else ok(i, 0.5 * i) for i in range(600)]
    of_head = {"window": (30.0, 300.0), "duration": 300, "warmup_rule": rule, "started_unix": 1_000_000_007.0}

    result = summary(tmp_path, asked, *calls, end(load_end=300.0, finished=301.0), **of_head)

    start, finish = result["run"]["window_s"]
    assert (1_000_000_007 + start) % 60 == 0
    assert finish == 300
    assert "the window begins with the next full UTC minute" in result["run"]["warmup"]["text"]


# --- the test of flatness ---------------------------------------------------------------------------------------------


def test_mser_leaves_out_a_start_that_is_unlike_the_rest():
    means = np.concatenate((np.full(10, 5.0), np.tile([0.9, 1.1], 25)))

    assert mser(means) == 10


def test_mser_leaves_out_nothing_of_a_constant():
    assert mser(np.full(BATCHES, 0.1)) == 0


@given(means=arrays(float, BATCHES, elements=st.floats(0, 1000)), scale=st.floats(0.1, 10))
@settings(max_examples=50)
def test_mser_leaves_half_at_least_and_knows_no_unit(means, scale):
    assert 0 <= mser(means) <= BATCHES // 2
    assert drift(scale * means)[0] == pytest.approx(scale * drift(means)[0], abs=1e-6)


@given(level=st.floats(-10, 10), change=st.floats(-10, 10))
@settings(max_examples=50)
def test_the_drift_of_a_straight_line_is_its_change(level, change):
    found, error = drift(np.linspace(level, level + change, 31))

    assert found == pytest.approx(change, abs=1e-9)
    assert error == pytest.approx(0, abs=1e-6)


def test_chance_is_seldom_taken_for_a_drift():
    rng = np.random.default_rng(0)
    drifts = [drift(rng.poisson(20, 60) / 20) for _ in range(300)]  # 5 % of them by two standard errors

    assert sum(abs(change) > 2 * error for change, error in drifts) <= 24


# --- what is said before, meanwhile and after -------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_dry_run_says_that_the_warm_up_is_decided_afterwards(rule):
    workload = overload(1.1, 10, rule=rule)

    said = preview(workload, make_plan(workload), CAPACITY)
    view = shown(render(said, workload, {"kind": "azure", "url": "https://a.example", "ptu": 50, "model": "gpt-4.1"}))

    assert said["offered"]["window_s"] == [None, 600]
    assert said["offered"]["measured"] is said["sample"]["expected"] is None
    assert f"{rule}: decided afterwards" in view
    assert f"at most {said['offered']['requests']:,} calls: the window is decided afterwards" in view


def test_the_live_view_calls_nothing_a_warm_up():
    progress = before(overload(1.1, 10), 900)
    Account(progress).at(1.0)

    assert line(progress).startswith("load: 1s of 10m, 9m59s left, warm-up decided afterwards")


def said(reason, text):
    """The heading, without its line breaks, where this was decided."""
    result = plausible()
    result["run"]["warmup"] |= {"rule": "auto", "reason": reason, "text": text}
    return " ".join(shown(heading(result), width=120).split())


def test_the_heading_says_what_was_decided():
    assert "warm-up auto: flat from 50s on" in said("flat", "flat from 50s on")
    assert "warm-up auto: never steady, see the verdict" in said(
        "never_steady", "never steady: tokens/min rises by 12 %"
    )
    assert "warm-up" not in " ".join(shown(heading(plausible()), width=120).split())


def test_the_head_of_a_file_by_another_rule_is_read_back():
    line_ = record.encode(head(warmup_rule="auto"))

    assert record.decode(line_).workload.warmup_rule == "auto"
