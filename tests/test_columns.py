"""A run in columns: what the memory saves must not change a number."""

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ptubench.analysis import gather
from ptubench.analysis.summary import summarize
from runs import end, head, ok, tick, write

PARTS = st.lists(st.lists(st.sampled_from([0.0, 1.5, float("nan")]), max_size=4), max_size=6)


@given(PARTS)
def test_a_column_holds_what_it_was_told_whether_all_of_it_is_the_same_or_not(parts):
    grown = gather._Grown(np.dtype(np.float64))
    for part in parts:
        grown.add(np.array(part, dtype=np.float64))

    assert np.array_equal(grown.values(), np.array([*chain.from_iterable(parts)]), equal_nan=True)


def test_a_column_of_one_value_takes_no_memory():
    grown = gather._Grown(np.dtype(np.float64))
    for _ in range(3):
        grown.add(np.full(1000, np.nan))
    values = grown.values()

    assert values.shape == (3000,)
    assert values.strides == (0,)


def test_rows_are_in_order_whichever_columns_hold_one_value(tmp_path):
    lines = [ok(i, 10.0 + i / 10, completion_tokens=5 + i % 3) for i in range(200)]
    last, first = (tmp_path / "backwards.jsonl", tmp_path / "forwards.jsonl")
    write(last, head(planned=200), *reversed(lines), tick(40), end())
    write(first, head(planned=200), *lines, tick(40), end())
    backwards, forwards = summarize(last), summarize(first)
    backwards["run"]["file"] = forwards["run"]["file"]

    assert list(gather.load(last).attempts.index) == list(range(200))
    assert backwards == forwards
