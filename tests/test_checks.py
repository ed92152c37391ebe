"""Rules: read before the run, judged after it; doubt is never good news."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import goldens
from ptubench import commands
from ptubench.analysis import checks, names
from ptubench.errors import UsageError
from ptubench.report.checks import failing
from ptubench.secret import shown
from ptubench.target.model import TargetOptions
from ptubench.workload.hashing import workload_hash
from runs import cut, failed, steady, summary, throttled


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
        ("refused.ratio <= 1", ": `1` may be 1 % or everything; write 1% or 100%"),
        ("ttft.p59 <= 1s", ": unknown metric `ttft.p59`; did you mean `ttft.p95`?"),
        ("TTFT_p95 <= 1s", ": unknown metric `TTFT_p95`; did you mean `ttft.p95`?"),
        ("p95 <= 1s", ": unknown metric `p95`; did you mean `ttft.p95`?"),
        ("ttft <= 1s", ": unknown metric `ttft`; did you mean `ttft.p95`?"),
        ("refused <= 1%", ": unknown metric `refused`; did you mean `refused.ratio`?"),
        ("latency.p99 <= 1s", ": unknown metric `latency.p99`; did you mean `e2e.p99`?"),
        ("error_rate <= 1%", ": unknown metric `error_rate`; did you mean `failed.ratio`?"),
        ("refused.ratio <= 120%", ": no share is above 100 %, so it could not fail; write a lower limit"),
        ("slo.ratio >= 150%", ": no share could pass; write a limit from 0% to 100%"),
        ("failed.ratio > 100%", ": no share could pass; write a limit from 0% to 100%"),
        ("failed.ratio < 0%", ": no share could pass; write a limit from 0% to 100%"),
        ("requests.ok >= many", ": `many` is not a number; write one such as 200, 0.5, 200k or 1.5M"),
    ],
)
def test_a_bad_rule_is_one_sentence_with_the_way_out(text, fault):
    with pytest.raises(UsageError) as caught:
        checks.parse(text, where="chat.yaml: checks")

    assert str(caught.value) == f"chat.yaml: checks: `{shown(text, most=120)}`{fault}"


def test_a_value_beyond_all_numbers_is_refused():
    with pytest.raises(UsageError, match=r"is too large$"):
        checks.parse(f"tpm.total >= {'9' * 400}", where="x")


def test_every_rule_in_the_docs_is_one():
    page = (Path(__file__).parents[1] / "docs/checks.md").read_text(encoding="utf-8")
    rules = re.findall(
        r"[`'\[] ?([a-z_0-9]+\.[a-z_0-9.]+ [<>]=? [^`'\],]+)[`'\],]|^ +- (\S+ [<>].*)$", page, re.MULTILINE
    )
    found = {one or other for one, other in rules}

    assert len(found) > 15
    assert {checks.parse(rule, where="docs").text for rule in found} == found


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
        "metric": "ttft.p95",
        "op": "<=",
        "unit": "s",
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
        ("slo.ratio >= 0%", "not measured: the workload has no `slo:`"),
        ("lane_wait.p50 <= 1s", "not measured: no lane of a closed loop had to wait"),
        (
            "utilization.simulated.mean <= 100%",
            "not measured: only a simulated deployment tells it, of full UTC minutes",
        ),
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


def test_without_any_rule_a_twentieth_of_the_requests_may_fail(tmp_path):
    good, bad = (
        summary(tmp_path, *steady(100 - count), *[failed(200 + i, 30) for i in range(count)])["checks"]
        for count in (5, 6)
    )

    assert [(row["rule"], row["default"], row["passed"]) for row in good] == [("failed.ratio <= 5%", True, True)]
    assert [row["passed"] for row in bad] == [False]


def test_any_rule_takes_the_place_of_the_default(tmp_path):
    rows = summary(tmp_path, *steady(10), *[failed(200 + i, 30) for i in range(10)], checks=("requests.ok >= 1",))

    assert [(row["rule"], row["default"], row["passed"]) for row in rows["checks"]] == [
        ("requests.ok >= 1", False, True)
    ]
    assert [row["rule"] for row in checks.rows(rows, ["failed.ratio <= 100%"])] == [
        "requests.ok >= 1",
        "failed.ratio <= 100%",
    ]


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


def prepared(**changed):
    """What `run` prepares for the `chat` workload on a simulated deployment."""
    options = {"target": TargetOptions(simulate="gpt-4.1:50")} | changed
    return commands.prepare(commands.RunOptions(workload="chat", **options), {})


STANDARD = TargetOptions(simulate="gpt-4.1:50,type=standard")
UNKNOWN = TargetOptions(endpoint="http://127.0.0.1:9/openai/v1/", deployment="d")


def test_rules_of_the_option_stand_beside_those_of_the_workload_and_name_the_option():
    asked = prepared(checks=("e2e.p95 <= 10s",), abort=("failed.ratio <= 20%",))

    assert [rule.text for rule in asked.rules][-2:] == ["failed.ratio <= 0.1%", "e2e.p95 <= 10s"]
    assert asked.workload.checks[-1] == "e2e.p95 <= 10s"
    assert asked.workload.abort == ("failed.ratio <= 20%",)
    assert workload_hash(asked.workload) == workload_hash(prepared().workload)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (
            {"checks": ("ttft.p59 <= 1s",)},
            "--check: `ttft.p59 <= 1s`: unknown metric `ttft.p59`; did you mean `ttft.p95`?",
        ),
        (
            {"checks": ("e2e.p50 >= 5s", "e2e.p50 < 5s")},
            "--check: no run could pass `e2e.p50 >= 5s` and `e2e.p50 < 5s`; leave one out",
        ),
        (
            {"checks": ("ttft.p95 > 2s",)},
            "--check: no run could pass `ttft.p95 <= 1s` and `ttft.p95 > 2s`; leave one out",
        ),
        (
            {"checks": ("slo.ratio >= 99%",)},
            "--check: `slo.ratio >= 99%`: it would not be measured: the workload has no `slo:`; add one",
        ),
        (
            {"checks": ("ttft.p50 <= 5s",), "overrides": ("stream=false", "checks=[]")},
            "--check: `ttft.p50 <= 5s`: it would not be measured: the answers are not streamed (`stream: false`); judge e2e",
        ),
        (
            {"checks": ("slo.ratio >= 99%",), "overrides": ("stream=false", "checks=[]", "slo={ttft: 1s}")},
            "--check: `slo.ratio >= 99%`: it would not be measured: the answers are not streamed (`stream: false`); judge e2e",
        ),
        (
            {"checks": ("lane_wait.p50 <= 5s",)},
            "--check: `lane_wait.p50 <= 5s`: it would not be measured: only a closed loop (--concurrency) has lanes",
        ),
        (
            {"checks": ("cost.per_million_tokens <= 3.5",)},
            "--check: `cost.per_million_tokens <= 3.5`: it would not be measured: only a deployment of --type standard",
        ),
        (
            {"checks": ("utilization.monitor.mean <= 90%",)},
            (
                "--check: `utilization.monitor.mean <= 90%`: it would not be measured: Azure Monitor is asked with "
                "--resource and --monitor only"
            ),
        ),
        (
            {"checks": ("tpm.normalized >= 10k",), "target": STANDARD},
            (
                "--check: `tpm.normalized >= 10k`: it would not be measured: it goes by PTUs, and a Standard deployment "
                "has none"
            ),
        ),
        (
            {"checks": ("tpm.normalized >= 10k",), "target": UNKNOWN},
            (
                "--check: `tpm.normalized >= 10k`: it would not be measured: say what the deployment is, with --model "
                "and --ptu"
            ),
        ),
        ({"abort": ("ttft.p50 <= 1s",)}, "--abort: `ttft.p50 <= 1s`: ttft.p50 is known only after the run; "),
        (
            {"checks": ("ttft.p999 <= 1s",)},
            (
                "--check: `ttft.p999 <= 1s`: ttft.p999 needs 3,688 measured calls; this workload will measure about 392: "
                "of 440 calls those due in the window, 1m to 10m; "
                "make the duration or the rate 9.5 times larger, or judge `ttft.p99`, or leave the option out"
            ),
        ),
        (
            {"checks": ("ttft.p999 <= 1s",), "repeat": 2},
            (
                "--check: `ttft.p999 <= 1s`: ttft.p999 needs 3,688 measured calls; this workload will measure about 784 in 2 runs: "
                "of 440 calls in each those due in the window, 1m to 10m; "
                "make the duration or the rate 4.8 times larger"
            ),
        ),
        (
            {"checks": ("ttft.p999 <= 1s",), "repeat": 2, "warmup": "0s"},
            (
                "--check: `ttft.p999 <= 1s`: ttft.p999 needs 3,688 measured calls; this workload will measure about 880 in 2 runs; "
                "make the duration or the rate 4.2 times larger"
            ),
        ),
        (
            {"checks": ("ttft.p999 <= 1s",), "warmup": "auto"},
            "--check: `ttft.p999 <= 1s`: ttft.p999 needs 3,688 measured calls; this workload will measure at most 4",
        ),
    ],
)
def test_a_bad_rule_of_an_option_is_said_before_anything_is_sent(changed, fault):
    with pytest.raises(UsageError) as caught:
        prepared(**changed)

    assert str(caught.value).startswith(fault)


def test_of_stages_and_traces_it_is_said_what_makes_more_calls(tmp_path):
    (tmp_path / "trace.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n")
    loads = {
        "the times or the rates of the stages": "stages: [{rate: 10/min, for: 30s}, {rate: 20/min, for: 30s}]",
        "the part of the trace": "trace: {file: trace.csv}",
    }
    for more, load in loads.items():
        path = tmp_path / "workload.yaml"
        sizes = "" if "trace" in load else "prompt_tokens: 100\ncompletion_tokens: 20\n"
        path.write_text(f"name: own\noutput_limit: 50\n{sizes}load:\n  {load}\nwarmup: 0s\nchecks: [ttft.p95 <= 1s]\n")
        with pytest.raises(UsageError, match=f"make {more} [0-9.]+ times larger"):
            commands.prepare(commands.RunOptions(workload=str(path), target=TargetOptions(simulate="gpt-4.1:50")), {})


def test_rules_that_can_hold_together_and_are_measured_are_accepted():
    rules = ("e2e.p50 >= 1s", "e2e.p50 <= 1s", "utilization.estimated.mean <= 120%", "slo.ratio >= 90%")

    assert prepared(checks=rules, overrides=["slo={ttft: 1s}"]).rules[-4:]


def test_what_tokens_of_ptus_cost_is_not_measured_and_it_is_said(tmp_path):
    (row,) = summary(tmp_path, *steady(10), checks=("cost.per_million_tokens <= 3.5",))["checks"]

    assert row["why"].startswith("not measured: only a deployment of type standard is billed by token; ")


def test_repeats_are_judged_as_one_and_support_more():
    assert prepared(checks=("ttft.p999 <= 1s",), repeat=10).rules


def test_a_closed_loop_that_may_make_too_few_calls_is_warned_of():
    few = prepared(concurrency=1, duration="1m", overrides=["checks=[ttft.p95 <= 1s]"]).doubts
    many = prepared(concurrency=50, duration="1m", overrides=["checks=[ttft.p95 <= 1s]"]).doubts

    assert few[0].startswith("`ttft.p95 <= 1s`: ttft.p95 needs 72 measured calls; this workload may measure about ")
    assert "make the duration or the concurrency " in few[0]
    assert many == ()


def test_what_failed_is_told_in_words_with_value_limit_and_interval(tmp_path):
    rules = ("ttft.p95 <= 80ms", "ttft.p99 <= 1s", "e2e.p50 <= 2s", "refused.ratio <= 1%")
    rows = summary(tmp_path, *steady(90), *[throttled(200 + i, 30) for i in range(10)], checks=rules)["checks"]
    view = goldens.shown(failing(rows))

    assert view == goldens.golden("failing-80", view)
    assert "\x1b[1;31m" in goldens.shown(failing(rows), terminal=True)
    assert failing(rows[2:3]) is None


def test_a_hostile_rule_does_nothing_to_the_screen(tmp_path):
    hostile = "\x1b[2Jttft.p95 \u202e[red]<= 1s" + "x" * 500
    view = goldens.shown(failing(summary(tmp_path, *steady(10), checks=(hostile,))["checks"]))

    assert not {"\x1b", "\u202e"} & set(view)
    assert max(map(len, view.splitlines())) <= 80
    assert len(view.splitlines()) < 12
