"""A run in columns: what the memory saves must not change a number."""

from itertools import chain

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.analysis import gather, packed
from ptubench.analysis.summary import summarize
from runs import end, head, ok, tick, write

WHOLE = st.sampled_from((0, -1, 5, 127, -128, 128, 40_000, -40_000, 2**31 - 1, 2**31, -(2**40)))
MOMENTS = st.none() | st.integers(-(10**7), 10**13).map(lambda microseconds: microseconds / 1e6)


@pytest.mark.parametrize(("kind", "values"), [(np.int64, WHOLE), (np.float64, st.sampled_from((0.0, 1.5)))])
@given(data=st.data())
def test_a_column_holds_what_it_was_told_however_wide_and_whether_all_of_it_is_the_same_or_not(kind, values, data):
    parts = data.draw(st.lists(st.lists(values, max_size=4), max_size=6))
    grown = packed.Grown(np.dtype(kind))
    for part in parts:
        grown.add(np.array(part, dtype=kind))

    assert grown.values().tolist() == [*chain.from_iterable(parts)]


@given(st.lists(st.none() | st.integers(-(2**50), 2**50)))
def test_what_is_kept_as_whole_numbers_comes_back_as_it_was(numbers):
    values = np.array(numbers, dtype=np.float64)

    assert np.array_equal(packed.told(packed.whole(values)), values, equal_nan=True)


@given(st.floats(0, 1e7), st.lists(MOMENTS, min_size=6, max_size=6))
def test_moments_are_those_of_the_file_to_the_last_bit(due, moments):
    names = ("sent", "answered", "first_content", "first_output", "last_content", "end")
    gathered = gather.Gathering(head())
    gathered.add(msgspec.structs.replace(ok(0, round(due, 6)), **dict(zip(names, moments, strict=True))))
    attempts = gathered.run().attempts

    found = [float(getattr(attempts, name)[0]) for name in names]
    assert np.array_equal(found, np.array(moments, dtype=np.float64), equal_nan=True)


def test_a_column_of_one_value_takes_no_memory():
    grown = packed.Grown(np.dtype(np.int64))
    for _ in range(3):
        grown.add(np.full(1000, -1))
    values = grown.values()

    assert values.shape == (3000,)
    assert values.strides == (0,)
    assert packed.told(values).strides == (0,)


@pytest.mark.parametrize(("largest", "width"), [(100, 1), (30_000, 2), (70_000, 4), (2**40, 8)])
def test_a_column_is_as_wide_as_its_largest_number_needs(largest, width):
    grown = packed.Grown(np.dtype(np.int64))
    grown.add(np.array([0, 1, 2]))
    grown.add(np.array([largest, 3]))

    assert grown.values().itemsize == width


def test_a_server_that_names_something_new_in_every_answer_fills_neither_memory_nor_page(tmp_path):
    path = tmp_path / "names.jsonl"
    named = [
        ok(
            i,
            10.0 + i / 100,
            model=f"m{i}",
            finish=f"f{i}",
            headers={"x-ms-region": f"r{i}"},
            failure=None if i % 2 else f"k{i}",
        )
        for i in range(5000)
    ]
    write(path, head(planned=5000), *named, tick(40), end())
    run, summary = gather.load(path), summarize(path)

    assert max(map(len, (run.models, run.finishes, run.regions, run.failures))) <= 1001
    metrics = summary["metrics"]
    assert sum(metrics["finish"].values()) == metrics["requests"]["ok"] == 2500
    assert sum(metrics["failed"]["by_kind"].values()) == metrics["requests"]["failed"] == 2500
    assert max(len(reason["text"]) for reason in summary["validity"]["reasons"]) < 1000


def test_rows_are_in_order_whichever_columns_hold_one_value(tmp_path):
    lines = [ok(i, 10.0 + i / 10, completion_tokens=5 + i % 3) for i in range(200)]
    last, first = (tmp_path / "backwards.jsonl", tmp_path / "forwards.jsonl")
    write(last, head(planned=200), *reversed(lines), tick(40), end())
    write(first, head(planned=200), *lines, tick(40), end())
    backwards, forwards = summarize(last), summarize(first)
    backwards["run"]["file"] = forwards["run"]["file"]

    assert list(gather.load(last).attempts.index) == list(range(200))
    assert backwards == forwards
