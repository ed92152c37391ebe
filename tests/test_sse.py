"""Server-sent events, however the network cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.stream.sse import Decoder, EventTooLarge

STREAM = (
    b": a comment\n\ndata: one\n\nevent: x\nid: 7\ndata: two\ndata: lines\n\r\ndata:tight\r\n\r\n\n\n"
    b"data\n\ndata: \xc3\xa4\xe2\x82\xac\n\ndata: last\n\n"
)
EVENTS = [b"one", b"two\nlines", b"tight", b"", "ä€".encode(), b"last"]


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_events_do_not_depend_on_where_the_network_cuts(cut):
    decoder = Decoder()

    assert decoder.feed(STREAM[:cut]) + decoder.feed(STREAM[cut:]) == EVENTS


def test_events_arrive_byte_by_byte():
    decoder = Decoder()

    assert [event for byte in STREAM for event in decoder.feed(bytes([byte]))] == EVENTS


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_yield_the_same_events_whole_or_in_pieces(pieces):
    whole, cut = Decoder(), Decoder()

    assert whole.feed(b"".join(pieces)) == [event for piece in pieces for event in cut.feed(piece)]


@given(st.lists(st.text("abc \N{EURO SIGN}", min_size=1), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read(texts, end):
    stream = "".join(f"data: {text}{end}{end}" for text in texts).encode()

    assert Decoder().feed(stream) == [text.encode() for text in texts]


def test_an_event_over_the_limit_is_a_named_error_in_one_read_or_many():
    for size in (1, 7, 1000):
        decoder = Decoder(limit=100)
        stream = b"data: " + b"x" * 1000

        with pytest.raises(EventTooLarge):
            for at in range(0, len(stream), size):
                decoder.feed(stream[at : at + size])


def test_many_small_lines_of_one_event_count_together():
    decoder = Decoder(limit=100)

    with pytest.raises(EventTooLarge):
        for _ in range(100):
            decoder.feed(b"data: abc\n")


def test_long_streams_of_small_events_never_reach_the_limit():
    decoder = Decoder(limit=100)

    assert sum(len(decoder.feed(b"data: abc\n\n: ping\n\n")) for _ in range(1000)) == 1000


def test_a_byte_order_mark_at_the_start_is_passed_over_even_when_cut():
    decoder = Decoder()
    stream = b"\xef\xbb\xbfdata: x\n\n"

    assert [event for byte in stream for event in decoder.feed(bytes([byte]))] == [b"x"]


def test_an_event_that_lacks_only_its_blank_line_counts_at_the_end():
    decoder = Decoder()

    assert decoder.feed(b"data: x\n") == []
    assert not decoder.torn
    assert decoder.close() == [b"x"]


def test_a_line_that_was_cut_is_torn_and_no_event():
    decoder = Decoder()
    decoder.feed(b'data: {"a"')

    assert decoder.torn
    assert decoder.close() == []


def test_a_large_event_in_many_reads_costs_linear_work():
    decoder = Decoder()
    reads = 20_000  # of 1 KiB: joining each time would copy 200 GB

    assert decoder.feed(b"data: ") == []
    for _ in range(reads):
        assert decoder.feed(b"x" * 1024) == []
    events = decoder.feed(b"\n\n")

    assert [len(event) for event in events] == [reads * 1024]
