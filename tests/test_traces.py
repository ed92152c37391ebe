"""Traces: recorded arrivals and sizes, read as they are or refused with the line's number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.errors import UsageError
from ptubench.load import traces
from ptubench.workload.model import Trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
USAGE = "minute,requests,prompt_tokens,cached_tokens,completion_tokens"
THREE = (
    AZURE,
    "2023-11-16 18:15:46.6805900,374,44",
    "2023-11-16 18:15:50.9951690,12,109",
    "2023-11-16 18:16:46.6805900,879,0",
)


def trace(tmp_path, *lines, format_="azure", start=0.0, speed=1.0, end="\r\n"):
    path = tmp_path / "trace"
    path.write_bytes(end.join(lines).encode())
    return Trace(file=str(path), format=format_, start=start, speed=speed)


def read(load, *, duration=3600.0, seed=0):
    return traces.read(load, duration=duration, seed=seed)


def test_an_azure_trace_gives_times_from_its_first_request_and_sizes(tmp_path):
    entries = read(trace(tmp_path, *THREE))

    assert entries.offsets == pytest.approx([0, 4.314579, 60], abs=2e-6)
    assert entries.prompt.tolist() == [374, 32, 879]
    assert entries.completion.tolist() == [44, 109, 1]
    assert entries.raised == 1


def test_speed_and_start_are_in_the_traces_own_time(tmp_path):
    entries = read(trace(tmp_path, *THREE, start=2.0, speed=4.0))

    assert entries.offsets == pytest.approx([2.314579 / 4, 14.5], abs=2e-6)


def test_duration_ends_a_trace(tmp_path):
    assert len(read(trace(tmp_path, *THREE), duration=60.0).offsets) == 2


@pytest.mark.parametrize(("start", "speed", "seconds"), [(0, 1, 61), (0, 4, 16), (30.5, 1, 30), (59, 2, 1)])
def test_span_is_in_whole_seconds_and_holds_the_last_request(tmp_path, start, speed, seconds):
    load = trace(tmp_path, *THREE, start=float(start), speed=float(speed))

    assert traces.span(load) == seconds
    assert read(load, duration=traces.span(load)).completion[-1] == 1


def test_jsonl_takes_seconds_or_times_and_optional_cached_tokens(tmp_path):
    lines = (
        '{"timestamp": "2026-11-01T10:00:00Z", "prompt_tokens": 2000, "completion_tokens": 7, "cached_tokens": 1024}',
        '{"timestamp": "2026-11-01T12:00:01.5+02:00", "prompt_tokens": 2000, "completion_tokens": 7, "other": true}',
    )
    entries = read(trace(tmp_path, *lines, format_="jsonl"))

    assert entries.offsets.tolist() == [0, 1.5]
    assert entries.cached.tolist() == [1024, 0]


def test_usage_keeps_every_total_of_a_minute(tmp_path):
    entries = read(
        trace(tmp_path, USAGE, "2026-11-01T10:00Z,7,10001,0,99", "2026-11-01T10:02Z,3,6001,4000,30", format_="usage")
    )
    minutes = entries.offsets // 60

    assert np.bincount(minutes.astype(int)).tolist() == [7, 0, 3]
    assert [entries.prompt[minutes == m].sum() for m in (0, 2)] == [10_001, 6001]
    assert [entries.completion[minutes == m].sum() for m in (0, 2)] == [99, 30]
    assert entries.cached[minutes == 2].tolist() == [1333, 1333, 1334]
    assert np.ptp(entries.prompt[minutes == 0]) == 1


@given(total=st.integers(0, 10**12), count=st.integers(1, 2000))
def test_the_totals_of_a_usage_minute_are_shared_out_whole(total, count):
    """By floats 45 · (13 / 45) is less than 13."""
    shares = traces._even(total, count)

    assert (len(shares), shares.sum()) == (count, total)
    assert np.ptp(shares) <= 1


def test_a_usage_minute_whose_cached_tokens_do_not_divide_evenly_is_replayed(tmp_path):
    entries = read(trace(tmp_path, USAGE, "2026-11-01T10:00Z,45,51975,13900,9495", format_="usage"))

    assert (entries.cached.sum(), (entries.cached > 0).sum()) == (13_900, 13)


def test_cached_tokens_too_few_for_every_call_are_a_prefix_of_some(tmp_path):
    entries = read(trace(tmp_path, USAGE, "2026-11-01T10:00Z,10,20000,5000,99", format_="usage"))

    assert sorted(entries.cached[entries.cached > 0]) == [1250] * 4


def test_requests_of_a_usage_minute_are_a_poisson_process_given_their_count(tmp_path):
    lines = [f"2026-11-01T{10 + m // 60}:{m % 60:02}Z,600,60000,0,6000" for m in range(100)]
    offsets = read(trace(tmp_path, USAGE, *lines, format_="usage"), duration=6000.0).offsets
    counts = np.histogram(offsets, bins=6000, range=(0, 6000))[0]
    gaps = np.diff(offsets)

    assert (np.histogram(offsets, bins=100, range=(0, 6000))[0] == 600).all()
    assert 0.9 < counts.var() / counts.mean() < 1.1
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.02


def test_where_a_usage_run_starts_does_not_move_its_requests(tmp_path):
    lines = (USAGE, "2026-11-01T10:00Z,50,5000,0,500", "2026-11-01T10:01Z,50,5000,0,500")
    whole = read(trace(tmp_path, *lines, format_="usage")).offsets
    late = read(trace(tmp_path, *lines, format_="usage", start=90.0)).offsets

    assert late == pytest.approx(whole[whole >= 90] - 90)


@pytest.mark.parametrize(
    ("format_", "lines", "sentence"),
    [
        ("azure", (), f":1: the first line must be `{AZURE}`"),
        ("azure", (AZURE,), ": the trace has no requests"),
        ("azure", ("a,b,c",), f":1: the first line must be `{AZURE}`"),
        ("azure", (*THREE, "2023-11-16 18:17:00,5"), ":5: 2 fields where 3 belong"),
        ("azure", (*THREE, "", "2023-11-16 18:17:00,-5,1"), ":6: ContextTokens: `-5` is not a whole number of 0 or more"),
        ("azure", (*THREE, "2023-11-16 18:17:00,5,1.5"), ":5: GeneratedTokens: `1.5` is not a whole number of 0 or more"),
        ("azure", (*THREE, "yesterday,5,1"), ":5: `yesterday` is not a time such as 2023-11-16 18:15:46.680"),
        ("azure", (*THREE, "2023-11-16 18:15:00,5,1"), ":5: the line is not later than the one before; sort the trace by time"),
        ("azure", (*THREE, f"2023-11-16 18:17:00,{10**30},1"), ":5: a number is too large"),
        ("jsonl", ("",), ": the trace has no requests"),
        ("jsonl", ("{",), ":1: Input data was truncated"),
        ("jsonl", ('{"timestamp": 1, "completion_tokens": 1}',), ":1: Object missing required field `prompt_tokens`"),
        ("jsonl", ('{"timestamp": 1, "prompt_tokens": -4, "completion_tokens": 1}',), ":1: a number of tokens is negative"),
        (
            "jsonl",
            ('{"timestamp": 1, "prompt_tokens": 4, "completion_tokens": 1, "cached_tokens": 5}',),
            ":1: more cached tokens than prompt tokens",
        ),
        ("usage", (USAGE, "2026-11-01T10:00:30Z,1,1,0,1"), ":2: `2026-11-01T10:00:30Z` is not the start of a minute"),
        ("usage", (USAGE, "2026-11-01T10:00Z,0,1,0,1"), ":2: tokens without requests"),
        ("usage", (USAGE, "2026-11-01T10:00Z,0,0,0,0"), ": the trace has no requests"),
        ("usage", (USAGE, f"2026-11-01T10:00Z,{10**9},1,0,1"), ":2: 1000000000 requests in a minute are more than any trace has"),
        (
            "usage",
            (USAGE, *["2026-11-01T10:00Z,1,100,0,1"] * 2),
            ":3: the minute is the same as that of the line before; add up what was used in it, and keep one line",
        ),
        ("usage", (USAGE, "2026-11-01T10:00Z,,100,0,1"), ":2: requests: `` is not a whole number of 0 or more"),
        ("usage", (USAGE, "01.11.26,1,100,0,1"), ":2: `01.11.26` is not a time such as 2026-11-22T09:15Z"),
    ],
)  # fmt: skip
def test_a_broken_trace_is_named_with_its_line(tmp_path, format_, lines, sentence):
    load = trace(tmp_path, *lines, format_=format_)

    with pytest.raises(UsageError) as caught:
        read(load)

    assert str(caught.value) == load.file + sentence


def test_a_start_behind_the_end_says_how_long_the_trace_is(tmp_path):
    load = trace(tmp_path, *THREE, start=600.0)

    with pytest.raises(UsageError) as caught:
        traces.span(load)

    assert str(caught.value) == (
        f"{load.file}: the trace lasts 1m1s, so nothing is left at `start: 10m`; start earlier"
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "the trace can't be read: No such file or directory"), (b"\xff\xfe", "the trace is not UTF-8 text")],
)
def test_a_trace_that_is_no_text_file_is_named(tmp_path, content, fault):
    path = tmp_path / "trace"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UsageError) as caught:
        read(Trace(file=str(path), format="azure"))

    assert str(caught.value) == f"{path}: {fault}"
