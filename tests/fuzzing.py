"""What the fuzzing of readers shares: how many examples, and how a good input is spoilt.

In the suite each reader gets a few; `make fuzz` sets FUZZ, by which their number is multiplied.
"""

import copy
import json
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ptubench import failures

FACTOR = int(os.environ.get("FUZZ", "1"))
LONGEST = None if FACTOR == 1 else 20_000
"""Milliseconds that one example may take when there is time to fuzz; a busy machine would break any limit of a test."""

VALUES = st.one_of(
    st.sampled_from(("[]", "{}", "[[]]", "[null]", "[{}]", '{"":null}', "[" * 200 + "]" * 200)).map(json.loads),
    st.sampled_from(
        (
            *(None, True, False, ""),
            *(0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 429),
            *(0.0, -0.0, 0.5, -1.5, 1e-320, 1e9, 1e16, 1e308, -1e308),
            *("a", "-1", "nan", "inf", "1e999", "\x00", "\x1b[2J", "\u202e", "é", "\U0001f600", "x" * 5000),
            *("2026-11-23T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "../../etc", "=1+1"),
        )
    ),
)
"""What a hostile sender puts in the place of a value."""


def fuzzed(count):
    """So many examples, times FUZZ."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=count * FACTOR, deadline=LONGEST, suppress_health_check=slow)


@st.composite
def spoilt(draw, good, *, least=0):
    """Plain data like `good` in which some values are other ones, are missing or stand twice."""
    value = copy.deepcopy(good)
    for _ in range(draw(st.integers(least, 4))):
        value = draw(_spoilt_once(value))
    return value


@st.composite
def _spoilt_once(draw, value):
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 9)) == 0:
        return draw(VALUES)
    at = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
    what = draw(st.integers(0, 5))
    if what == 0:
        del value[at]
    elif what == 1 and isinstance(value, list):
        value.append(copy.deepcopy(value[at]))
    else:
        value[at] = draw(_spoilt_once(value[at]))
    return value


@st.composite
def torn(draw, pieces, *, most=30):
    """Bytes of some of these pieces in any order, of any bytes between them, and perhaps cut somewhere."""
    some = draw(
        st.lists(st.one_of(st.sampled_from(pieces), st.sampled_from(pieces), st.binary(max_size=6)), max_size=most)
    )
    data = b"".join(some)
    if draw(st.booleans()):
        data = data[: draw(st.integers(0, len(data)))]
    return data


@st.composite
def changed(draw, good):
    """Bytes like `good` in which some runs of bytes are replaced, taken out or repeated."""
    data = good
    for _ in range(draw(st.integers(0, 5))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 40)))
        middle = draw(st.one_of(st.binary(max_size=8), st.just(data[begin:end] * 2), st.sampled_from(ODD)))
        data = data[:begin] + middle + data[end:]
    return data


ODD = [
    *(b"\n", b"\r", b"\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x1b[2J", b"\x85", b"\xe2\x80\xa8"),
    *(b"-1", b"1e999", b"99999999999999999999", b"0x1", b"1_0", b".5", b"nan", b"\xd9\xa1", b"\xc2\xb2"),
    *(b"{", b"}", b"[", b"]", b"[" * 400, b'{"a":' * 400, b"- " * 400, b"? " * 30, b'"', b"'", b":", b",", b"#"),
    *(b"&a ", b"*a", b"!!python/object:os.system ", b"<<: ", b"%YAML 9.9\n", b"---\n", b"...\n", b"|\n", b">\n", b"\t"),
    *(b'"\\U00110000"', b'"\\ud800"', b'"\\x00"', b"2026-11-22", b"0001-01-01T00:00:00+14:00", b"x" * 5000),
]
"""What readers stumble over."""


@st.composite
def pieces(draw, data):
    """The same bytes as reads of any size."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def is_failure(kind):
    """Whether a failure has one of the names that are documented."""
    return kind in failures.FAILURES or (kind.startswith("http_") and kind[5:].isdigit())
