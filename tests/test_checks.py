"""Rules: read before the run, judged after it; doubt is never good news."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.analysis import checks, names
from ptubench.errors import UsageError
from runs import cut, steady, summary, throttled


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("ttft.p95 <= 1s", 1.0),
        ("ttft.p95<=800ms", 0.8),
        ("e2e.mean < 1m30s", 90.0),
        ("refused.ratio <= 1%", 0.01),
        ("refused.ratio <= 0.01", 0.01),
        ("utilization.estimated.mean >= 110%", 1.1),
        ("rpm.admitted >= 45/min", 45.0),
        ("rpm.admitted >= 2/s", 120.0),
        ("rpm.admitted >= 45", 45.0),
        ("tpm.total > 1.5M", 1_500_000.0),
        ("tps.p50 >= 30/s", 30.0),
        ("tps.p50 >= 30", 30.0),
        ("completion_tokens.p50 >= 200", 200.0),
        ("requests.ok >= 10k", 10_000.0),
        ("failed.by_kind.http_503 <= 3", 3.0),
        ("finish.content_filter < 1", 1.0),
    ],
)
def test_values_are_read_in_the_units_of_their_metric(text, limit):
    rule = checks.parse(text, where="x")

    assert rule.limit == pytest.approx(limit)


NO_RULE = " is not a rule; write a metric, one of < <= > >=, and a value, such as `ttft.p95 <= 1s`"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("refused.rato <= 1%", ": unknown metric `refused.rato`; did you mean `refused.ratio`?"),
        ("finish.lenght < 1", ": unknown metric `finish.lenght`; did you mean `finish.length`?"),
        ("failed.by_kind.tsl < 1", ": unknown metric `failed.by_kind.tsl`; did you mean `failed.by_kind.tls`?"),
        ("zzz <= 1s", ": unknown metric `zzz`; docs/metrics.md lists all of them"),
        ("ttft.p95 == 1s", NO_RULE),
        ("ttft.p95 <=", NO_RULE),
        ("", NO_RULE),
        (
            "ttft.p95 <= 1",
            ": `1` is not a duration; write a number with a unit, such as 30s, 10m, 1h30m or 800ms",
        ),
        (
            "refused.ratio <= 5",
            ": `5` is not a share; write a percentage such as 1%, or a number from 0 to 1",
        ),
        ("requests.ok >= many", ": `many` is not a number; write one such as 200, 0.5, 200k or 1.5M"),
    ],
)
def test_a_bad_rule_is_one_sentence_with_the_way_out(text, fault):
    with pytest.raises(UsageError) as caught:
        checks.parse(text, where="chat.yaml: checks")

    assert str(caught.value) == f"chat.yaml: checks: `{text}`{fault}"


@given(st.text(max_size=40))
def test_any_text_is_a_rule_or_a_usage_error(text):
    try:
        rule = checks.parse(text, where="x")
    except UsageError:
        return

    assert rule.op in ("<", "<=", ">", ">=")


@pytest.mark.parametrize("path", names.units())
def test_every_metric_can_be_named_in_a_rule(path):
    value = {"s": "1s", "share": "1%"}.get(names.units()[path], "1")

    assert checks.parse(f"{path} <= {value}", where="x").metric == path


def judge(text, result):
    return checks.judge(checks.parse(text, where="x"), result)


def test_rules_judge_the_point_estimate_and_quote_its_interval(tmp_path):
    result = summary(tmp_path, *steady(100), *[throttled(200 + i, 30) for i in range(10)])

    assert judge("ttft.p95 <= 1s", result) == {
        "rule": "ttft.p95 <= 1s",
        "measured": pytest.approx(0.1),
        "limit": 1.0,
        "ci95": result["metrics"]["ttft"]["ci95"]["p95"],
        "passed": True,
        "why": None,
    }
    assert judge("refused.ratio <= 1%", result)["passed"] is False
    assert judge("refused.ratio <= 1%", result)["ci95"] == result["metrics"]["refused"]["ci95"]
    assert judge("failed.by_kind.http_503 <= 0", result)["passed"] is True


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("ttft.p99 <= 1s", "withheld: p99 needs 368 measured calls and there are 40"),
        ("ttft.p90 <= 100s", "unanswered: 10 of 40 requests were never answered"),
        ("e2e.max <= 100s", "unanswered: 10 of 40 requests were never answered"),
        ("slo.ratio >= 0%", "not measured"),
        ("lane_wait.p50 <= 1s", "not measured"),
        ("utilization.simulated.mean <= 100%", "not measured"),
    ],
)
def test_what_was_not_measured_fails_and_says_why(rule, why, tmp_path):
    result = summary(tmp_path, *steady(30), *[cut(100 + i, 40) for i in range(10)])

    row = judge(rule, result)

    assert (row["measured"], row["passed"], row["why"]) == (None, False, why)


def test_an_empty_run_opens_no_gate(tmp_path):
    result = summary(tmp_path)

    for rule in ("failed.ratio <= 100%", "requests.failed <= 5", "failed.by_kind.tls <= 0", "ttft.p50 <= 100s"):
        assert judge(rule, result)["passed"] is False


def test_the_workloads_own_rules_are_judged_in_the_summary(tmp_path):
    rows = summary(tmp_path, *steady(100), checks=("ttft.p95 <= 1s", "e2e.p50 < 1ms", "future.metric < 1"))["checks"]

    assert [row["passed"] for row in rows] == [True, False, False]
    assert rows[2]["why"].startswith("checks: `future.metric < 1`: unknown metric `future.metric`")


def test_a_rule_that_the_planned_sample_cannot_support_is_refused_with_the_way_out():
    rule = checks.parse("ttft.p99 <= 2s", where="x")

    assert checks.unsupported(rule, 100) == (
        "`ttft.p99 <= 2s`: ttft.p99 needs 368 measured calls; this workload will measure about 100; make the duration or "
        "the rate 3.7 times larger, or judge `ttft.p95`, or drop the rules with --set 'checks=[]'"
    )
    assert checks.unsupported(rule, 4) == (
        "`ttft.p99 <= 2s`: ttft.p99 needs 368 measured calls; this workload will measure about 4; make the duration or "
        "the rate 92 times larger, or drop the rules with --set 'checks=[]'"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ttft.p99 <= 2s", 368),
        ("ttft.p99 <= 2s", None),
        ("refused.ratio <= 1%", 3),
        ("ttft.mean <= 1s", 3),
        ("gap.p99 <= 1s", 3),
    ],
)
def test_a_rule_that_the_sample_can_support_or_might_is_accepted(text, expected):
    assert checks.unsupported(checks.parse(text, where="x"), expected) is None
