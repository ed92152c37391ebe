"""Usage history: what its minutes need, what each size would have refused, its CSV, its tables."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from ptubench.errors import UsageError
from ptubench.load import traces
from ptubench.ptu.bucket import Bucket
from ptubench.ptu.capacity import capacity
from ptubench.report import text
from ptubench.report import usage as block
from ptubench.usage import csv_file, need
from ptubench.usage.columns import from_totals, longest_gap
from ptubench.workload.model import Trace

START = 1_793_000_000 - 1_793_000_000 % 86_400
GPT41 = capacity("gpt-4.1", 1)  # 3,000 normalized tokens a minute and PTU, an output token counts as 4
HEADER = "minute,requests,prompt_tokens,cached_tokens,completion_tokens"

levels = st.lists(st.sampled_from([0.0, 0.0, 10.0, 40.0, 55.0, 90.0, 300.0]), min_size=1, max_size=40).filter(any)
"""PTU that each minute needs."""


def usage(prompts, *, cached=0.0, completion=0.0, requests=10.0, source="ours.csv", **changes):
    """A history of minutes with so many prompt tokens; a minute of 0 has no row."""
    busy = {START + 60 * k: float(prompt) for k, prompt in enumerate(prompts) if prompt}
    totals = {
        "requests": dict.fromkeys(busy, requests),
        "prompt": busy,
        "cached": dict.fromkeys(busy, cached),
        "completion": dict.fromkeys(busy, completion),
    }
    made = from_totals(totals, source=source, span=(START, START + 60 * len(prompts)))
    return dataclasses.replace(made, **changes)


def needing(ptu):
    """A history whose minutes need so many PTU."""
    return usage([3000.0 * one for one in ptu])


def ratio(history, size, depth):
    return need.refused(history, GPT41, [size], [depth]).requests[0, 0] / history.requests.sum()


# --- what a minute needs


def test_a_minute_needs_its_normalized_tokens_over_those_that_a_ptu_takes():
    history = usage([60_000], cached=15_000, completion=3_750)

    assert need.ptu(history, GPT41).tolist() == [(60_000 - 15_000 + 4 * 3_750) / 3000]


def test_cached_tokens_weigh_what_the_model_says():
    sixth = capacity("gpt-6-sol", 1)
    history = usage([60_000], cached=60_000)

    assert need.ptu(history, sixth).tolist() == pytest.approx([0.1 * 60_000 / 3000])


@given(ptu=levels, share=st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_minute_without_traffic_counts_as_one_that_needs_nothing(ptu, share):
    needed = need.ptu(needing(ptu), GPT41)

    assert need.percentile(needed, share, of=len(ptu)) == pytest.approx(
        np.percentile(ptu, share * 100, method="inverted_cdf")
    )


# --- what a size refuses


def naive(ptu, size, depth):
    """PTU-minutes refused, minute by minute and one size at a time."""
    level, lost = 0.0, []
    for inflow in ptu:
        level = max(0.0, level + inflow - size)
        lost.append(max(0.0, level - size * depth / 60))
        level -= lost[-1]
    return lost


@given(ptu=levels, size=st.integers(1, 120), depth=st.sampled_from([0.0, 10.0, 60.0, 120.0]))
def test_many_sizes_and_depths_at_once_give_what_each_gives_alone(ptu, size, depth):
    history = needing(ptu)
    together = need.refused(history, GPT41, [size, 7, 200], [30.0, depth])
    lost = naive(ptu, size, depth)
    shares = [over / inflow for over, inflow in zip(lost, ptu, strict=True) if inflow]

    assert together.requests[0, 1] == pytest.approx(10 * sum(shares), abs=1e-3)
    assert together.prompt[0, 1] == pytest.approx(3000 * sum(lost), abs=1.0)


@given(ptu=levels, size=st.integers(1, 120), more=st.integers(0, 60), depth=st.sampled_from([10.0, 30.0, 60.0]))
def test_a_larger_size_or_a_deeper_bucket_never_refuses_more(ptu, size, more, depth):
    lost = need.refused(needing(ptu), GPT41, [size, size + more], [depth, depth + 30])

    assert lost.requests[1, 0] <= lost.requests[0, 0] + 1e-6
    assert lost.requests[0, 1] <= lost.requests[0, 0] + 1e-6


def test_in_the_long_run_all_but_the_capacity_is_refused():
    assert ratio(needing([150.0] * 20_000), 100, 60.0) == pytest.approx(1 - 100 / 150, abs=1e-4)


def test_what_fits_into_the_bucket_is_refused_nothing():
    assert ratio(needing([190.0, 0.0, 190.0, 10.0]), 100, 60.0) == 0


def test_a_quiet_minute_drains_the_bucket():
    assert ratio(needing([190.0, 190.0]), 100, 60.0) > 0
    assert ratio(needing([190.0, 0.0, 190.0]), 100, 60.0) == 0


@pytest.mark.parametrize("depth", [10.0, 60.0])
def test_even_calls_through_the_bucket_of_calls_are_refused_as_much(depth):
    ptu = [40.0, 130.0, 180.0, 90.0, 10.0, 220.0, 100.0, 60.0] * 3
    size, calls = 100, 1000
    bucket = Bucket(drain=3000 * size / 60, depth=3000 * size / 60 * depth)
    refused = 0
    for at, inflow in enumerate(ptu):
        for k in range(calls):
            now = 60 * (at + k / calls)
            if bucket.admits(now):
                bucket.charge(3000 * inflow / calls, now)
            else:
                refused += 1

    assert ratio(needing(ptu), size, depth) == pytest.approx(refused / (calls * len(ptu)), abs=0.002)


# --- the answer


def test_the_answer_names_minutes_without_a_row_and_the_longest_time_of_them():
    told = need.answer(usage([300_000, 0, 0, 600_000, 0, 300_000]), GPT41, [100, 200], depths=(10.0, 120.0))

    assert (told["minutes"], told["with_traffic"], told["hours"]) == (6, 3, 0.1)
    assert told["longest_gap"] == {"from": "2026-10-26T00:01Z", "minutes": 2}
    assert told["need"]["mean"] == pytest.approx(400 / 6)
    assert (told["need"]["p50"], told["need"]["max"], told["need"]["max_at"]) == (0, 200, "2026-10-26T00:03Z")
    assert told["need_with_traffic"]["p50"] == 100


def test_the_answer_says_for_each_size_what_exceeds_it_and_what_is_refused():
    told = need.answer(usage([300_000, 600_000, 900_000], completion=0.0), GPT41, [100, 300], depths=(10.0, 120.0))
    small, large = told["sizes"]

    assert small["minutes_above"] == pytest.approx(2 / 3)
    assert small["tokens_above"] == pytest.approx((100 + 200) / 600)
    assert small["utilization"] == {"mean": 2.0, "peak_minute": 3.0}
    # 100 PTU hold 60 s in the bucket: the second minute fills it, the third is refused but for 100 of 300.
    assert (small["refused"]["minutes"], small["refused"]["requests"]) == (1, pytest.approx(10 * 200 / 300))
    assert small["refused"]["prompt_tokens"] == pytest.approx(600_000)
    assert list(small["refused_by_depth"]) == ["10", "60", "120"]
    assert (large["minutes_above"], large["refused"]["ratio"]) == (0, 0)


def test_no_gap_is_none():
    assert longest_gap(usage([1, 2, 3])) is None


def test_the_answer_is_json():
    told = need.answer(usage([300_000, 0, 5], throttled=3.0, notes=("a note",)), GPT41, [15, 20])

    assert json.loads(json.dumps(told)) == told


def test_where_no_requests_were_counted_tokens_tell_what_is_refused():
    told = need.answer(usage([300_000] * 1000, requests=0.0), GPT41, [50])

    assert told["requests"] == 0
    assert told["sizes"][0]["refused"]["ratio"] == pytest.approx(0.5, abs=0.001)


def test_few_calls_a_minute_are_said_because_minutes_hide_their_bursts():
    few, many = (need.answer(usage([300_000], requests=count), GPT41, [100])["notes"] for count in (17.0, 170.0))

    assert few == [
        "17 calls in a mean minute with traffic are few for an even flow: expect some points more refused than shown"
    ]
    assert many == []


# --- CSV


def test_a_history_survives_its_csv(tmp_path):
    history = usage([0, 300, 0, 0, 600, 0], cached=100, completion=7)
    csv_file.write(history, tmp_path / "u.csv")
    again = csv_file.read(str(tmp_path / "u.csv"))

    assert again.span == history.span
    for name in ("minute", "requests", "prompt", "cached", "completion"):
        assert getattr(again, name).tolist() == getattr(history, name).tolist()


def test_the_csv_is_a_trace_too(tmp_path):
    csv_file.write(usage([300, 0, 600], requests=3), tmp_path / "u.csv")
    entries = traces.read(Trace(file=str(tmp_path / "u.csv"), format="usage"), duration=180.0, seed=0)

    assert (len(entries.offsets), entries.prompt.sum()) == (6, 900)


def test_tokens_without_a_request_are_written_with_one(tmp_path):
    csv_file.write(usage([300], requests=0), tmp_path / "u.csv")

    assert (tmp_path / "u.csv").read_text() == f"{HEADER}\n2026-10-26T00:00Z,1,300,0,0\n"


def test_no_file_is_written_over(tmp_path):
    path = tmp_path / "u.csv"
    path.touch()
    with pytest.raises(UsageError) as raised:
        csv_file.write(usage([300]), path)

    assert str(raised.value) == f"{path}: can't be written: File exists; name another file"


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "u.csv"
    path.write_text(f"{HEADER}\n2026-11-01T10:00Z,1,2,3,4\n")
    with pytest.raises(UsageError) as raised:
        csv_file.read(str(path))

    assert str(raised.value) == f"{path}:2: more cached tokens than prompt tokens"


# --- tables


def shown(told, width=80):
    console = text.console()
    console.width = width
    with console.capture() as capture:
        console.print(block.usage(told, {size["ptu"]: Text("enough") for size in told["sizes"]}))
    return capture.get()


def test_the_tables_fit_into_80_columns():
    told = need.answer(
        usage([3_000_000, 0, 6_000_000_000], requests=1e9), GPT41, [15, 2000, 100_000], depths=(10.0, 30.0, 120.0)
    )
    out = shown(told)

    assert "…" not in out
    assert "100,000 PTU" in out
    assert "1 without any, the longest time 1m from 2026-10-26 00:01" in " ".join(out.split())


def test_one_depth_needs_no_further_columns():
    assert "at 10s" not in shown(need.answer(usage([300_000]), GPT41, [100]))


def test_names_and_notes_of_others_are_only_text():
    out = shown(need.answer(usage([300_000], source="[red]\x1b[31m", notes=("a\x1b[1mb",)), GPT41, [100]))

    assert "\x1b[31m" not in out
    assert "[red]" in out
