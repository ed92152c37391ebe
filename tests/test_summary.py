"""The summary as a whole: its keys, and numbers that can be reckoned by hand."""

import re
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptubench import histogram, record
from ptubench.analysis import names, rates
from ptubench.analysis.causes import CAUSES
from ptubench.analysis.gather import load
from ptubench.analysis.summary import summarize
from ptubench.failures import FAILURES
from ptubench.samples import PERCENTILES
from ptubench.waits import retry_after
from ptubench.workload.model import Class, ClosedLoop, Fixed, Messages
from runs import STARTED, cut, dropped, end, failed, head, ok, steady, summary, throttled, tick, write

DOC = Path(__file__).parent.parent / "docs" / "metrics.md"

KEYS = {
    "": "schema_version tool run workload target network metrics groups timeline latency validity monitor notes checks",
    "tool": "name version",
    "run": "id label started_at seed salt workload_hash file duration_s window_s warmup ended aborted clock",
    "network": "address private proxy round_trip_ms first_connect_ms first_tls_ms connect_ms tls_ms region place",
    "network.connect_ms": "p50 p95",
    "metrics": (
        "ttft ttfo ttft_scheduled tbt tps tps_e2e gap e2e e2e_scheduled lag connect retry_after reject lane_wait waited "
        "prompt_tokens completion_tokens requests attempts refused throttled failed slo finish rpm tpm utilization "
        "cost in_flight asked"
    ),
    "metrics.ttft": "unit count of mean std min max p50 p90 p95 p99 p999 unanswered ci95",
    "metrics.ttft.ci95": "p50 p90 p95 p99 p999",
    "metrics.gap": "unit count of mean std min max p50 p90 p95 p99 p999 unanswered ci95 events_per_token",
    "metrics.requests": "total ok throttled failed cut dropped unsent retried diverted spilled gave_up",
    "metrics.attempts": "total throttled throttled_ratio",
    "metrics.refused": "count ratio ci95",
    "metrics.throttled": "count ratio ci95 first_s by_cause",
    "metrics.failed": "count ratio ci95 by_kind",
    "metrics.slo": "ratio ci95",
    "metrics.rpm": "offered admitted completed",
    "metrics.tpm": "prompt cached completion reasoning total normalized per_ptu of_published unknown_requests",
    "metrics.utilization": "estimated monitor simulated",
    "metrics.utilization.estimated": "mean peak_minute",
    "metrics.cost": "total per_million_tokens currency source why",
    "metrics.in_flight": "mean max",
    "validity": "verdict reasons loop_lag cpu_share workers nodes",
    "validity.loop_lag": "p50 p99",
}


def at(value, path):
    for part in path.split(".") if path else ():
        value = value[part]
    return value


@pytest.mark.parametrize("path", KEYS)
def test_the_summary_has_exactly_the_documented_keys(path, tmp_path):
    result = summary(tmp_path, *steady(10))

    assert set(at(result, path)) == set(KEYS[path].split())


def test_every_path_that_a_rule_may_name_exists_and_every_number_may_be_named(tmp_path):
    account = {"minutes": [], "tpm": 3000.0, "peak_level": 0.5}
    told = record.Monitor(of="before", asked_unix=0.0, id="/a", deployment="d", span=(0, 60))
    metrics = summary(tmp_path, *steady(10), told, end(simulated=account))["metrics"]

    def leaves(value, path=""):
        if isinstance(value, dict) and path not in names.OPEN:
            return {leaf for key, part in value.items() for leaf in leaves(part, f"{path}.{key}" if path else key)}
        return {path}

    found = {path for path in leaves(metrics) if not re.search(r"ci95|unit$|unanswered$|currency$|source$|why$", path)}
    assert found - {*names.OPEN} == set(names.units())


def test_every_metric_is_in_the_documentation():
    text = DOC.read_text(encoding="utf-8")
    words = set(re.findall(r"`([\w.{}, ]+)`", text))

    assert [name for name in names.DISTRIBUTIONS if name not in words] == []
    assert [path for path in names.SCALARS if path not in words] == []
    explained = (f"| `{kind}` | {meaning} |" for kind, meaning in {**FAILURES, **CAUSES}.items())
    assert [line for line in explained if line not in text] == []
    assert [name for name in (*PERCENTILES, "mean", "std", "min", "max", "count", "of") if name not in words] == []


def test_the_summary_is_plain_json_and_the_same_file_gives_the_same_bytes(tmp_path):
    path = write(tmp_path / "run.jsonl", head(), *steady(100), throttled(200, 20), end())

    first, second = (msgspec.json.encode(summarize(path)) for _ in range(2))

    assert first == second
    assert b"NaN" not in first


def test_outcomes_add_up_to_the_total(tmp_path):
    lines = (
        *steady(5),
        throttled(10, 20),
        failed(11, 21),
        failed(12, 22, "idle_timeout"),
        cut(13, 23),
        dropped(14, 24),
    )

    metrics = summary(tmp_path, *lines, end(unsent=3, unsent_in_window=2))["metrics"]

    requests = metrics["requests"]
    outcomes = ("ok", "throttled", "failed", "cut", "dropped", "unsent")
    assert [requests[name] for name in outcomes] == [5, 1, 2, 1, 1, 2]
    assert requests["total"] == 12
    assert metrics["failed"]["by_kind"] == {"broken_stream": 1, "idle_timeout": 1}
    assert metrics["failed"]["ratio"] == 0.2
    assert metrics["finish"] == {"stop": 5}
    assert metrics["throttled"]["first_s"] == pytest.approx(20.005)


def test_refusals_tell_how_fast_they_came_and_how_long_they_asked_to_wait(tmp_path):
    metrics = summary(tmp_path, *[throttled(i, 20 + i) for i in range(6)], *steady(6, first=10))["metrics"]

    assert metrics["reject"]["p50"] == pytest.approx(0.005)
    assert metrics["retry_after"]["p50"] == 1.5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:07 GMT"}, 7.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, None),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "Mon, 99 Foo 99999"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form_and_never_guessed(headers, seconds):
    assert retry_after(headers, STARTED.timestamp()) == seconds


def test_tbt_divides_by_the_intervals_between_visible_tokens(tmp_path):
    plain = ok(0, 20, ttft=0.1, e2e=2.0, completion_tokens=20)
    hidden = ok(1, 30, ttft=1.0, e2e=2.9, completion_tokens=120, reasoning_tokens=100)
    one_event = ok(2, 40, content_events=1)
    one_token = ok(3, 50, completion_tokens=1)

    metrics = summary(tmp_path, plain, hidden, one_event, one_token)["metrics"]

    assert metrics["tbt"]["count"] == 2
    assert metrics["tbt"]["min"] == metrics["tbt"]["max"] == pytest.approx(0.1)
    assert metrics["tps"]["max"] == pytest.approx(10)
    assert metrics["tps_e2e"]["max"] == pytest.approx(120 / 2.9)


def test_gaps_are_pooled_from_seconds_wholly_inside_the_window(tmp_path):
    inside, outside = histogram.bucket(0.02), histogram.bucket(5.0)
    ticks = [
        tick(9, gaps={outside: 50}),
        tick(10, gaps={inside: 50}),
        tick(69, gaps={inside: 50}),
        tick(70, gaps={outside: 9}),
    ]

    gap = summary(tmp_path, *steady(6, content_events=5), *ticks)["metrics"]["gap"]

    assert gap["count"] == 100
    assert gap["max"] == pytest.approx(0.02, rel=0.01)
    assert gap["p95"] == pytest.approx(0.02, rel=0.01)
    assert gap["ci95"] is None
    assert gap["events_per_token"] == 0.25


def test_normalized_tokens_follow_the_published_table(tmp_path):
    lines = [ok(i, 10 + i, prompt_tokens=1000, cached_tokens=400, completion_tokens=100) for i in range(58)]

    result = summary(tmp_path, *lines, target={"kind": "azure", "model": "gpt-4.1", "ptu": 15})

    tpm = result["metrics"]["tpm"]
    assert tpm["normalized"] == pytest.approx(58 * (600 + 4 * 100))
    assert tpm["per_ptu"] == pytest.approx(tpm["normalized"] / 15)
    assert tpm["of_published"] == result["metrics"]["utilization"]["estimated"]["mean"]
    assert tpm["of_published"] == pytest.approx(tpm["normalized"] / 45_000)
    assert result["target"]["capacity"]["tpm"] == 45_000


def test_typed_figures_replace_the_table_and_nothing_is_normalized_without_a_model(tmp_path):
    typed = {"kind": "azure", "model": "mine", "ptu": 2, "ratio": 3.0, "tpm_per_ptu": 100.0}

    known = summary(tmp_path, ok(0, 20), target=typed)
    unknown = summary(tmp_path, ok(0, 20), target={"kind": "azure"})

    assert known["metrics"]["tpm"]["normalized"] == pytest.approx(160)
    assert unknown["metrics"]["tpm"]["normalized"] is None
    assert unknown["metrics"]["tpm"]["prompt"] == pytest.approx(100)
    assert [note["code"] for note in unknown["notes"]] == ["no_capacity"]


def test_the_peak_minute_is_a_full_utc_minute(tmp_path):
    """The run starts at 12:00:30, so that only 12:01:00 to 12:02:00, seconds 30 to 90, is a full minute of it."""
    lines = [ok(i, due, ttft=0.1, e2e=0.2) for i, due in enumerate([5, 29, *range(30, 50), 89.9, 91, 95])]
    late_start = {"started_unix": STARTED.timestamp() + 30, "window": (10.0, 100.0), "duration": 100}

    estimated = summary(tmp_path, *lines, end(load_end=100.0), **late_start)["metrics"]["utilization"]["estimated"]

    # The last answer streams from 90.0 to 90.1, outside: its prompt counts and its completion does not.
    assert estimated["peak_minute"] == pytest.approx((20 * 180 + 100) / 3000)


def test_the_simulated_deployment_is_quoted_by_full_minutes(tmp_path):
    unix = int(STARTED.timestamp())
    account = {"minutes": [[unix, 600.0], [unix + 60, 1500.0], [unix + 120, 9999.0]], "tpm": 3000.0, "peak_level": 1.02}
    times = {"window": (10.0, 130.0), "duration": 130}

    used = summary(tmp_path, ok(0, 20), end(load_end=130.0, simulated=account), **times)["metrics"]["utilization"]

    assert used["simulated"] == {"mean": 0.5, "peak_minute": 0.5, "peak_level": 1.02}


@pytest.mark.parametrize("account", [{}, {"minutes": 7, "tpm": 1, "peak_level": 0}, {"minutes": [[1]], "tpm": 1}])
def test_an_account_that_cannot_be_read_is_none(account, tmp_path):
    used = summary(tmp_path, ok(0, 20), end(simulated=account))["metrics"]["utilization"]

    assert used["simulated"] is None


def test_requests_in_flight_are_those_between_sent_and_end(tmp_path):
    lines = (ok(0, 5, e2e=10.0), ok(1, 20, e2e=30.0), ok(2, 30, e2e=5.0), ok(3, 35, e2e=5.0))

    flight = summary(tmp_path, *lines)["metrics"]["in_flight"]

    assert flight["mean"] == pytest.approx((5 + 30 + 5 + 5) / 60)
    assert flight["max"] == 2


def test_each_class_of_a_mix_is_reported_apart_and_together_they_are_the_whole(tmp_path):
    short = [ok(i, 10 + i, name="short") for i in range(20)]
    long = [ok(100 + i, 10.5 + i, e2e=5.0, completion_tokens=90, name="long") for i in range(10)]
    classes = (Class(name="short", prompt=Fixed(tokens=100)), Class(name="long", prompt=Fixed(tokens=100)))

    result = summary(
        tmp_path, *short, *long, throttled(200, 50, name="long"), dropped(201, 51, name="short"), classes=classes
    )

    groups = result["groups"]
    assert set(groups) == {"class:short", "class:long"}
    assert set(groups["class:long"]) == set(result["metrics"])
    assert [groups[name]["requests"]["total"] for name in ("class:short", "class:long")] == [21, 11]
    assert groups["class:long"]["e2e"]["p50"] == pytest.approx(5.0)
    assert groups["class:long"]["refused"]["ratio"] == pytest.approx(1 / 11)
    for path in ("rpm.offered", "rpm.admitted", "tpm.total", "tpm.normalized"):
        assert sum(at(group, path) for group in groups.values()) == pytest.approx(at(result["metrics"], path))


def test_the_timeline_shows_when_things_happened(tmp_path):
    rows = summary(tmp_path, ok(0, 20.5, ttft=0.5, e2e=2.5), throttled(1, 30.2), failed(2, 31.0), dropped(3, 33.3))[
        "timeline"
    ]

    assert len(rows) == 72
    assert rows[20]["offered"] == rows[20]["sent"] == 1
    assert rows[20]["prompt_tokens"] == 100
    assert [rows[t]["completion_tokens"] for t in (20, 21, 22, 23)] == [0, 10, 10, 0]
    assert [rows[t]["in_flight"] for t in (20, 21, 22, 23)] == [0.5, 1, 1, 0]
    assert [rows[23]["ok"], rows[30]["throttled"], rows[32]["failed"], rows[33]["dropped"]] == [1, 1, 1, 1]


def test_what_was_cut_is_in_flight_to_the_last(tmp_path):
    result = summary(tmp_path, *steady(10), cut(20, 60.5, end=None))

    rows = result["timeline"]
    assert [row["in_flight"] for row in rows[59:63]] == [0, 0.5, 1, 1]
    assert rows[-1]["cut"] == 1
    assert result["metrics"]["in_flight"]["mean"] == pytest.approx((10 * 1.0 + 9.5) / 60)


def test_a_long_run_has_wider_steps_and_loses_nothing(tmp_path):
    lines = [ok(i, 10.0 * i, e2e=25.0) for i in range(360)]
    result = summary(tmp_path, *lines, end(load_end=3600.0, finished=3620.0), window=(10.0, 3600.0), duration=3600)

    rows = result["timeline"]
    assert {row["width_s"] for row in rows} == {5}
    assert sum(row["ok"] for row in rows) == 360
    assert sum(row["completion_tokens"] for row in rows) == pytest.approx(360 * 20)
    assert 30 <= len(result["latency"]) <= 60
    assert sum(part["count"] for part in result["latency"]) == 360


def test_latency_slices_withhold_what_their_sample_cannot_support(tmp_path):
    slices = summary(tmp_path, *steady(600, start=10.0, step=0.02), *steady(5, first=700, start=24.0))["latency"]

    assert slices[5]["t_s"] == 10
    assert slices[5]["ttft_p95"] == pytest.approx(0.1)
    assert (slices[12]["count"], slices[12]["ttft_p50"]) == (5, None)


def test_latency_slices_of_few_calls_are_long_enough_for_a_median(tmp_path):
    slices = summary(tmp_path, *steady(60, start=0.0, step=1.0))["latency"]

    assert [part["width_s"] for part in slices] == [15] * 5
    assert all(part["ttft_p50"] == pytest.approx(0.1) for part in slices[:4])


def test_lane_waits_and_connections_are_counted_where_they_happened(tmp_path):
    lanes = [
        ok(i, 10 + i, lane=i % 2, lane_wait=1.5 if i % 3 == 0 else 0.0, connect_s=0.04 if i < 6 else None)
        for i in range(30)
    ]
    tls = [ok(100 + i, 50 + i, connect_s=0.05, tls_s=0.03) for i in range(6)]

    result = summary(tmp_path, *lanes, *tls, load=ClosedLoop(concurrency=2))

    assert (result["metrics"]["lane_wait"]["count"], result["metrics"]["lane_wait"]["p50"]) == (10, 1.5)
    assert (result["metrics"]["connect"]["count"], result["metrics"]["connect"]["max"]) == (12, 0.05)
    assert result["network"]["tls_ms"]["p50"] == 30
    assert result["network"]["connect_ms"]["p50"] == pytest.approx(20)


def test_own_messages_have_no_asked_size(tmp_path):
    own = (Class(messages=Messages(file="/prompts.jsonl")),)

    asked = summary(tmp_path, *steady(10), classes=own)["metrics"]["asked"]

    assert asked["prompt_tokens"] == {"asked": None, "got": None}
    assert asked["limit"] == 50


def test_a_killed_run_keeps_what_it_had(tmp_path):
    path = write(tmp_path / "run.jsonl", head(), *[ok(i, 10.0 + i) for i in range(30)], tick(39))

    result = summarize(path)

    assert result["run"]["ended"] == "killed"
    assert result["run"]["window_s"] == [10.0, 40.0]
    assert result["metrics"]["rpm"]["offered"] == 60


@pytest.mark.parametrize("lines", [(), (end(ended="aborted", load_end=4.0, finished=4.0),)])
def test_a_run_that_ended_before_its_window_is_no_crash_and_no_number(lines, tmp_path):
    result = summarize(write(tmp_path / "run.jsonl", head(), ok(0, 1.0), *lines))

    assert result["metrics"]["requests"]["total"] == 0
    assert result["metrics"]["rpm"] == {"offered": None, "admitted": None, "completed": None}
    assert result["metrics"]["refused"]["ratio"] is None
    assert result["validity"]["verdict"] == "invalid"


def test_absurd_numbers_in_a_file_are_no_crash(tmp_path):
    absurd = ok(10**30, 20, prompt_tokens=10**400, completion_tokens=-5, limit=10**25, worker=10**30)

    result = summary(tmp_path, absurd, tick(10**15, gaps={10**9: 5, -3: 2}), tick(20, gaps={10**9: 5}))

    assert result["metrics"]["requests"]["ok"] == 1
    assert result["metrics"]["gap"]["count"] == 0


@given(
    st.lists(
        st.tuples(st.floats(-5, 25), st.one_of(st.just(0.0), st.floats(1e-6, 30)), st.floats(0, 1000)), max_size=30
    ),
    st.sampled_from([0.5, 1.0, 7.0]),
)
@settings(max_examples=80)
def test_what_is_spread_over_bins_is_what_overlaps_each_of_them(pieces, width):
    begin, length, amounts = np.array(pieces, dtype=float).reshape(-1, 3).T
    grid = rates.Grid(start=2.0, width=width, bins=10)

    got = grid.spread(begin, begin + length, amounts)

    edges = [2.0 + width * k for k in range(11)]
    expected = [(amounts * rates.overlap(begin, begin + length, window)).sum() for window in pairwise(edges)]
    assert got == pytest.approx(np.array(expected), abs=1e-6)


@given(st.permutations(range(12)))
@settings(max_examples=10)
def test_the_order_of_lines_does_not_matter(order):
    lines = [*steady(6), throttled(20, 30), failed(21, 31), cut(22, 32), dropped(23, 33), tick(20), tick(21)]
    path = Path("run.jsonl")

    def metrics(some):
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            return summarize(write(Path(folder) / path, head(), *some, end()))["metrics"]

    assert metrics([lines[i] for i in order]) == metrics(lines)


def test_columns_hold_what_the_lines_say(tmp_path):
    lines = [ok(2, 12.0, model=None), throttled(1, 11.0), ok(0, 10.0, finish="length")]
    run = load(write(tmp_path / "run.jsonl", head(), *lines, dropped(3, 13.0), end()))

    assert run.attempts.index.tolist() == [0, 1, 2]
    assert [run.finishes[code] for code in run.attempts.finish] == ["length", None, "stop"]
    assert run.attempts.status.tolist() == [200, 429, 200]
    assert run.drops.index.tolist() == [3]
    assert record.decode(record.encode(lines[0])) == lines[0]
