"""The same requests at many sizes: which is large enough, by which rules, and whether the depth of the bucket matters."""

import json
from dataclasses import replace

import msgspec
import pytest

from ptubench.errors import UsageError
from ptubench.virtual.run import Trial, summary
from ptubench.virtual.sweep import NOT_JUDGED, judging, sweep, tried
from trials import trial


def texts(*rules: str) -> list[str]:
    return [rule.text for rule in judging(trial(checks=list(rules)).workload).rules]


def swept(of: Trial, sizes, **options):
    return sweep(of, sizes, judging(of.workload), **options)


def test_each_size_is_the_same_requests_on_another_deployment():
    told = swept(trial("gpt-4.1:15"), [30, 20, 25], depths=())
    alone = summary(trial("gpt-4.1:25", warmup="0s"))["metrics"]

    assert [row["ptu"] for row in told["sizes"]] == [20, 25, 30]
    assert told["sizes"][1]["metrics"] == alone
    assert len({row["metrics"]["requests"]["total"] for row in told["sizes"]}) == 1


def test_the_smallest_size_that_refuses_little_and_has_headroom_is_recommended():
    told = swept(trial("gpt-4.1:15"), [20, 25, 30, 35, 40], depths=(10.0,))
    passed = {row["ptu"]: row["passed"] for row in told["sizes"]}
    peaks = {row["ptu"]: row["metrics"]["utilization"]["simulated"]["peak_minute"] for row in told["sizes"]}

    assert passed == {ptu: peak <= 0.9 for ptu, peak in peaks.items()}
    assert told["recommended"] == min(ptu for ptu in passed if passed[ptu]) == told["by_depth"]["60"]


def test_without_a_size_that_passes_none_is_recommended():
    told = swept(trial("gpt-4.1:15"), [15, 20])

    assert told["recommended"] is told["by_depth"]["60"] is None
    assert told["depths"] == []


def test_a_size_that_passes_below_one_that_fails_is_no_answer():
    checks = ["refused.ratio <= 100%", "utilization.simulated.mean <= 200%", "rpm.admitted <= 40"]
    told = swept(trial("gpt-4.1:15", checks=checks), [15, 30], depths=())

    assert [row["passed"] for row in told["sizes"]] == [True, False]
    assert told["recommended"] is None


def test_where_the_depth_decides_the_larger_size_stands_and_both_are_told():
    of = trial("gpt-4.1:15", checks=["utilization.simulated.mean <= 200%"])
    told = swept(of, [20, 25, 30, 35], depths=(10.0, 60.0, 120.0))

    assert told["depends_on_depth"]
    assert told["by_depth"]["10"] > told["by_depth"]["120"]
    assert told["recommended"] == max(told["by_depth"].values())
    near = {(row["ptu"], row["depth_s"]): row for row in told["depths"]}
    assert not near[told["by_depth"]["120"], 10.0]["passed"]
    assert near[told["by_depth"]["120"], 10.0]["refused_ratio"] > 0.01


def test_every_run_is_announced():
    steps = []
    told = swept(trial("gpt-4.1:15"), [30, 35, 40], depths=(10.0, 60.0), watch=steps.append)

    assert [step.done for step in steps] == list(range(len(steps)))
    assert steps[-1].planned == len(steps) == 3 + len(told["depths"])
    assert {(step.ptu, step.depth) for step in steps} >= {(ptu, 60.0) for ptu in (30, 35, 40)}


def test_rules_of_the_workload_take_the_place_of_the_default_of_their_kind():
    refused, busiest = "refused.ratio <= 1%", "utilization.simulated.peak_minute <= 90%"

    assert texts() == [refused, busiest]
    assert texts("refused.ratio <= 5%") == [busiest, "refused.ratio <= 5%"]
    assert texts("utilization.estimated.peak_minute <= 80%") == [refused, "utilization.estimated.peak_minute <= 80%"]
    assert texts("tpm.total >= 1k") == [refused, busiest, "tpm.total >= 1k"]


def test_a_headroom_that_is_asked_for_stands_beside_the_workloads_rules():
    rules = judging(trial(checks=["utilization.estimated.peak_minute <= 80%"]).workload, headroom=0.7).rules

    assert [rule.text for rule in rules][1] == "utilization.simulated.peak_minute <= 70%"


@pytest.mark.parametrize("rule", ["ttft.p95 <= 1ms", "e2e_scheduled.p50 <= 1ms", "tps.p50 >= 9000", "slo.ratio >= 99%"])
def test_latencies_are_told_and_not_judged(rule):
    of = trial("gpt-4.1:100", checks=[rule])
    row = tried(of, judging(of.workload))

    assert row["passed"]
    assert (row["checks"][-1]["rule"], row["checks"][-1]["passed"], row["checks"][-1]["why"]) == (
        rule,
        None,
        NOT_JUDGED,
    )


def test_what_was_not_measured_does_not_pass():
    of = trial("gpt-4.1:100", duration="50s", warmup="0s")  # no full minute
    row = tried(of, judging(of.workload))

    assert not row["passed"]
    assert [check["why"] for check in row["checks"] if not check["passed"]] == [
        "not measured: only a simulated deployment tells it, of full UTC minutes"
    ]


def test_retries_and_diversions_are_in_the_metrics_of_each_size():
    policies = {"retry": {"on_429": "retry"}, "divert": {"on_429": "divert", "divert_to": {"simulate": "gpt-4.1:100"}}}
    retried, diverted = (
        tried(of, judging(of.workload))["metrics"]
        for of in (trial("gpt-4.1:20,level=full", throttling=policy) for policy in policies.values())
    )

    assert retried["requests"]["retried"] > 0
    assert retried["waited"]["mean"] > 0
    assert diverted["requests"]["diverted"] == diverted["refused"]["count"] > 0


def test_the_answer_is_plain_data():
    told = swept(trial("gpt-4.1:15"), [30, 35], depths=(10.0,))

    assert json.loads(json.dumps(told)) == told


def test_a_rule_that_is_none_is_named():
    of = trial().workload
    with pytest.raises(UsageError, match=r"chat: checks: `ttft\.p96 <= 1s`: unknown metric"):
        judging(msgspec.structs.replace(of, checks=("ttft.p96 <= 1s",)))


def test_trials_share_a_plan_and_are_not_changed():
    of = trial("gpt-4.1:15")
    before = replace(of)
    swept(of, [30], depths=())

    assert of == before
