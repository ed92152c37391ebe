"""Gaps between events are put into buckets all at once: the same as one by one."""

from array import array
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ptubench import histogram
from ptubench.client.exchange import GapSink

TIMES = st.lists(st.floats(0, 1e6), max_size=200)


@given(TIMES)
def test_times_counted_at_once_lie_in_the_buckets_of_each_alone(times):
    counted = histogram.counts(array("d", times))
    apart = Counter(map(histogram.bucket, times))

    assert sum(counted.values()) == len(times)
    # Logarithms of two libraries may differ in the last bit: on an edge, by one bucket.
    assert all(any(near in apart for near in (index - 1, index, index + 1)) for index in counted)


def test_a_gap_is_counted_for_each_content_event_but_the_first_of_its_stream():
    gaps = GapSink()
    gaps.content(1.0, None)
    gaps.content(1.5, 1.0)

    assert (gaps.events, gaps.counts) == (2, {histogram.bucket(0.5): 1})


def test_a_sink_that_was_cleared_begins_at_nothing():
    gaps = GapSink()
    gaps.content(1.5, 1.0)
    gaps.clear()

    assert (gaps.events, gaps.counts) == (0, {})
