"""JUnit XML: valid for its common schema, and every case says what it must."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from judgements import FAILED, REASON, REGRESSION, RULE, RUN, STOPPED, UNMEASURED, document
from ptubench.report import junit


@cache
def schema():
    return etree.XMLSchema(etree.parse(Path(__file__).parent / "junit.xsd"))


def suite(text):
    """The one suite of a file that is valid."""
    root = etree.fromstring(text.encode())
    schema().assertValid(root)
    (found,) = root
    return found


def cases(text):
    """What each case says: nothing, or the element that tells its fault."""
    return {case.get("name"): next(iter(case), None) for case in suite(text).findall("testcase")}


@pytest.mark.parametrize(
    ("checks", "of_run", "failures", "errors"),
    [
        ((), {}, 0, 0),
        ((RULE,), {}, 0, 0),
        ((RULE, FAILED, UNMEASURED), {}, 2, 0),
        ((REGRESSION, RULE), {}, 1, 0),
        ((RULE,), {"verdict": "degraded", "reasons": [REASON]}, 0, 0),
        ((FAILED,), {"verdict": "invalid", "reasons": [REASON]}, 1, 1),
    ],
)
def test_a_file_is_valid_and_counts_its_cases(checks, of_run, failures, errors):
    found = suite(junit.junit(document(*checks, **of_run)))

    assert [int(found.get(name)) for name in ("tests", "failures", "errors")] == [1 + len(checks), failures, errors]


def test_a_failure_has_what_was_measured_the_limit_and_the_interval():
    told = cases(junit.junit(document(FAILED)))

    assert told["verdict"] is None
    assert told["ttft.p95 <= 800ms"].tag == "failure"
    assert told["ttft.p95 <= 800ms"].get("message") == ("measured 1.02 s, limit 800 ms, 95 % interval 980 ms to 1.05 s")


def test_a_regression_has_its_baseline_and_the_change():
    told = cases(junit.junit(document(REGRESSION)))

    assert told["ttft.p95: 10%"].get("type") == "regression"
    assert told["ttft.p95: 10%"].get("message") == (
        "measured 920 ms, baseline 800 ms, change +120 ms (+15.0 %), 95 % interval +90.0 ms to +150 ms"
    )


def test_what_was_not_measured_says_why():
    assert cases(junit.junit(document(UNMEASURED)))["ttft.p95 <= 800ms"].get("message") == "not measured"


def test_an_invalid_measurement_is_an_error_and_says_why():
    told = cases(junit.junit(document(RULE, verdict="invalid", reasons=[REASON])))

    assert told["verdict"].tag == "error"
    assert told["verdict"].get("message") == f"the measurement is invalid, do not use its numbers; {REASON['text']}"


def test_a_degraded_measurement_is_an_error_where_it_ends_the_command():
    strict = document(RULE, verdict="degraded", reasons=[REASON]) | {"exit_code": 4}

    assert cases(junit.junit(strict))["verdict"].tag == "error"


def test_a_run_that_was_stopped_is_an_error():
    stopped = document(RULE, FAILED, **STOPPED) | {"exit_code": 130}
    fault = cases(junit.junit(stopped))["verdict"]

    assert fault.get("type") == "stopped"
    assert fault.get("message") == "the run was stopped after 10s of 35s: no whole measurement"


def test_repeats_that_were_stopped_between_two_runs_are_an_error():
    fault = cases(junit.junit(document(RULE) | {"exit_code": 130}))["verdict"]

    assert fault.get("message") == "stopped after run 1, before all runs that were asked for were made"


def test_what_could_not_be_measured_is_one_case_in_error():
    told = cases(junit.refused("https://example.invalid: name or service not known; check it", "TargetRefused"))

    assert told.keys() == {"verdict"}
    assert "1970" not in junit.refused("x", "UsageError")
    assert told["verdict"].get("type") == "TargetRefused"


def test_simulated_or_real_is_a_property():
    of = suite(junit.junit(document(RULE, kind="simulated"))).find("properties")

    assert {each.get("name"): each.get("value") for each in of}["kind"] == "simulated"


@given(text=st.text(st.characters(codec=None)), many=st.integers(0, 3))
def test_no_text_makes_a_file_invalid(text, many):
    target = {**RUN["target"], "deployment": text, "model_served": text}
    of_run = {"file": text, "workload": text, "started_at": text, "target": target, "ended": text}
    checks = [{**FAILED, "rule": text, "why": text}] * many
    made = document(*checks, **of_run, verdict="invalid", reasons=[{**REASON, "text": text}]) | {"notes": [text]}

    assert int(suite(junit.junit(made)).get("tests")) == 1 + many
    assert len(suite(junit.refused(text, "UsageError"))) == 4


def test_the_size_is_bounded_whatever_a_run_file_holds():
    long = document(*[{**FAILED, "rule": "x" * 100_000, "why": "y" * 100_000}] * 5000, workload="z" * 100_000)

    assert len(junit.junit(long)) < 5_000_000
