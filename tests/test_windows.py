"""What counts in the window, and that unanswered is never fast: each beside what a naive rule would say."""

import pytest

from ptubench.workload.model import Slo
from runs import cut, dropped, end, failed, ok, steady, summary, throttled


def test_a_request_due_in_the_window_is_followed_through_the_drain(tmp_path):
    """Naive: what ended in the window, so that slow requests leave before they are counted."""
    slow = [ok(100 + i, 69.0, e2e=8.0) for i in range(40)]

    metrics = summary(tmp_path, *steady(60), *slow)["metrics"]

    assert metrics["requests"]["ok"] == 100
    assert metrics["e2e"]["p90"] == pytest.approx(8.0)


def test_a_request_due_in_the_warm_up_is_no_latency_though_it_ended_in_the_window(tmp_path):
    """Naive: what ended in the window, so that the cold start is measured."""
    cold = [ok(i, 9.5, ttft=5.0, e2e=6.0) for i in range(20)]

    metrics = summary(tmp_path, *cold, *steady(20, first=100))["metrics"]

    assert metrics["requests"]["total"] == 20
    assert metrics["ttft"]["max"] == pytest.approx(0.1)


def test_a_request_due_in_the_window_but_sent_after_it_is_offered_and_not_admitted_in_it(tmp_path):
    """Naive: one time for both."""
    late = ok(50, 69.9, sent=70.5)

    metrics = summary(tmp_path, *steady(59), late)["metrics"]

    assert metrics["rpm"]["offered"] == 60
    assert metrics["rpm"]["admitted"] == 59
    assert metrics["requests"]["ok"] == 60


def test_what_was_due_in_the_warm_up_and_sent_in_the_window_is_admitted_in_it(tmp_path):
    """Naive: admitted of those offered."""
    metrics = summary(tmp_path, ok(0, 9.9, sent=10.2), *steady(59, first=1), throttled(70, 20))["metrics"]

    assert metrics["rpm"]["offered"] == 60
    assert metrics["rpm"]["admitted"] == 60


def test_completions_and_tokens_count_by_the_time_of_the_event_whichever_request_it_belongs_to(tmp_path):
    """Naive: tokens of the requests that were due in the window."""
    before = ok(0, 5.0, ttft=1.0, e2e=9.0)  # content from 6 to 14: half of it in the window
    after = ok(1, 64.0, ttft=2.0, e2e=18.0)  # content from 66 to 82: a quarter of it in the window
    inside = ok(2, 30.0)

    metrics = summary(tmp_path, before, after, inside)["metrics"]

    assert metrics["tpm"]["prompt"] == pytest.approx(200)
    assert metrics["tpm"]["completion"] == pytest.approx(10 + 5 + 20)
    assert metrics["rpm"]["completed"] == 2


def test_hidden_reasoning_counts_between_sent_and_first_content(tmp_path):
    """Naive: all completion tokens at the content, or at the end."""
    thinking = ok(0, 6.0, ttft=8.0, e2e=12.0, completion_tokens=100, reasoning_tokens=80)

    tpm = summary(tmp_path, thinking)["metrics"]["tpm"]

    assert tpm["reasoning"] == pytest.approx(40)  # thought from 6 to 14, half of it in the window
    assert tpm["completion"] == pytest.approx(40 + 20)


def test_shown_reasoning_is_spread_like_all_content(tmp_path):
    shown = ok(0, 6.0, ttft=2.0, e2e=6.0, first_output=11.0, completion_tokens=100, reasoning_tokens=60)

    tpm = summary(tmp_path, shown)["metrics"]["tpm"]

    assert tpm["completion"] == pytest.approx(50)  # content from 8 to 12
    assert tpm["reasoning"] == pytest.approx(30)


def test_an_answer_that_is_not_streamed_counts_at_its_end(tmp_path):
    whole = {"streamed": False, "first_content": 12.0, "first_output": 12.0, "last_content": 12.0, "content_events": 1}

    inside = ok(0, 8.0, end=12.0, **whole)
    outside = ok(1, 69.0, end=71.0, **whole | {"first_content": 71.0, "first_output": 71.0, "last_content": 71.0})
    metrics = summary(tmp_path, inside, outside, stream=False)["metrics"]

    assert metrics["tpm"]["completion"] == pytest.approx(20)
    assert metrics["tpm"]["prompt"] == pytest.approx(100)  # only the second was sent in the window
    assert metrics["ttft"]["of"] == metrics["ttft_scheduled"]["of"] == metrics["tbt"]["of"] == 0
    assert metrics["e2e"]["max"] == pytest.approx(2.0)


def test_tokens_of_refused_calls_do_not_count_and_unknown_ones_are_not_guessed(tmp_path):
    """Naive: the prompt as it was asked for."""
    silent = ok(1, 20, prompt_tokens=None, cached_tokens=None, completion_tokens=None, reasoning_tokens=None)

    tpm = summary(tmp_path, ok(0, 10), silent, throttled(2, 30), cut(3, 40), failed(4, 50, "http_400", status=400))[
        "metrics"
    ]["tpm"]

    assert tpm["prompt"] == pytest.approx(100)
    assert tpm["unknown_requests"] == 2  # the silent and the cut one; an error status was charged nothing


def test_without_any_usage_tokens_are_null(tmp_path):
    silent = ok(0, 20, prompt_tokens=None, cached_tokens=None, completion_tokens=None, reasoning_tokens=None)

    metrics = summary(tmp_path, silent)["metrics"]

    assert {value for name, value in metrics["tpm"].items() if name != "unknown_requests"} == {None}
    assert metrics["completion_tokens"]["count"] == 0
    assert metrics["tbt"]["count"] == 0
    assert metrics["utilization"]["estimated"] == {"mean": None, "peak_minute": None}


def test_the_window_ends_where_a_stopped_run_stopped(tmp_path):
    """Naive: the planned window, in which the rate is halved."""
    stopped = end(ended="stopped", load_end=40.0, finished=41.0, unsent=30, unsent_in_window=30)

    result = summary(tmp_path, *[ok(i, 10.0 + i) for i in range(30)], stopped)

    assert result["run"]["window_s"] == [10.0, 40.0]
    assert result["metrics"]["rpm"]["offered"] == 60
    assert result["metrics"]["requests"]["total"] == 60
    assert result["metrics"]["requests"]["unsent"] == 30
    assert result["metrics"]["refused"]["ratio"] == 0
    assert result["metrics"]["e2e_scheduled"]["of"] == 30
    assert result["validity"]["verdict"] == "valid"


def test_cut_and_failed_requests_are_slower_than_any_answer(tmp_path):
    """Naive: percentiles over the answers that survived, p90 of 0.1 s."""
    lost = [
        cut(100, 60),
        failed(101, 61),
        failed(102, 62, "first_byte_timeout"),
        failed(103, 63, "http_500", status=500),
    ]

    metrics = summary(tmp_path, *steady(36), *lost, *[cut(110 + i, 65) for i in range(4)])["metrics"]

    for name in ("ttft", "ttfo", "e2e", "ttft_scheduled", "e2e_scheduled"):
        assert (metrics[name]["count"], metrics[name]["of"]) == (36, 44)
        assert metrics[name]["p90"] is None
        assert metrics[name]["unanswered"] == ["p90"]
        assert metrics[name]["p50"] is not None


def test_a_stream_that_broke_after_its_first_content_has_a_ttft_and_no_e2e(tmp_path):
    """Naive: a broken stream counted as a fast success, or forgotten."""
    broken = failed(50, 30, first_content=30.4, first_output=30.4, last_content=30.6, content_events=5)

    metrics = summary(tmp_path, *steady(9), broken)["metrics"]

    assert (metrics["ttft"]["count"], metrics["ttft"]["max"]) == (10, pytest.approx(0.4))
    assert (metrics["e2e"]["count"], metrics["e2e"]["of"]) == (9, 10)


def test_throttled_and_dropped_requests_are_unanswered_only_from_the_moment_they_were_due(tmp_path):
    """Naive: 429s in milliseconds make the latency look good; or are forgotten."""
    refused = [throttled(100 + i, 30 + i) for i in range(4)]
    unconnected = failed(120, 50, "refused", sent=None)

    metrics = summary(tmp_path, *steady(36), *refused, dropped(110, 40), unconnected)["metrics"]

    assert metrics["e2e"]["of"] == metrics["ttft"]["of"] == 36
    for name in ("ttft_scheduled", "e2e_scheduled"):
        assert (metrics[name]["count"], metrics[name]["of"], metrics[name]["p90"]) == (36, 42, None)


def test_a_request_that_waited_to_be_sent_shows_it_from_the_moment_it_was_due(tmp_path):
    """Naive: latency from the moment of sending, in which a stall of the client disappears."""
    late = [ok(100 + i, 30, sent=33.0, taken=32.9) for i in range(10)]

    metrics = summary(tmp_path, *late)["metrics"]

    assert metrics["ttft"]["p50"] == pytest.approx(0.1)
    assert metrics["ttft_scheduled"]["p50"] == pytest.approx(3.1)
    assert metrics["lag"]["p50"] == pytest.approx(2.9)


def test_unanswered_requests_never_meet_the_slo(tmp_path):
    lines = (*steady(6), ok(20, 30, ttft=3.0, e2e=4.0), throttled(21, 31), cut(22, 32), dropped(23, 33))

    metrics = summary(tmp_path, *lines, slo=Slo(ttft=1.0, e2e=10.0))["metrics"]

    assert metrics["slo"]["ratio"] == 0.6


def test_a_retried_request_is_one_request_whose_waits_are_in_the_scheduled_metrics_only(tmp_path):
    """Naive: two requests, and a retry that hides the 429."""
    first = throttled(0, 20)
    second = ok(0, 20, sent=22.0, attempt=1)

    metrics = summary(tmp_path, second, first, *steady(9, first=10))["metrics"]

    assert metrics["requests"]["total"] == metrics["requests"]["ok"] == 10
    assert metrics["requests"]["retried"] == 1
    assert metrics["attempts"] == {"total": 11, "throttled": 1, "throttled_ratio": 1 / 11}
    assert metrics["refused"]["ratio"] == 0.1
    assert metrics["throttled"]["ratio"] == 0
    assert metrics["e2e"]["max"] == pytest.approx(1.0)
    assert metrics["e2e_scheduled"]["max"] == pytest.approx(3.0)


def test_spilled_answers_are_refused_by_the_target_and_not_its_latency(tmp_path):
    """Naive: a spilled call is a 200 like any other."""
    spilled = ok(50, 30, ttft=4.0, e2e=9.0, headers={"x-ms-spillover-from-deployment": "ptu"})

    metrics = summary(tmp_path, *steady(9), spilled)["metrics"]

    assert metrics["requests"]["ok"] == 10
    assert metrics["requests"]["spilled"] == metrics["refused"]["count"] == 1
    assert metrics["ttft"]["max"] == pytest.approx(0.1)
    assert metrics["e2e_scheduled"]["of"] == 9
