"""A read that differs from a decoded one in plain text alone is known by its bytes, and no other is."""

import pytest

from ptubench.client import alike

MARK = b'"content":"'
EVENT = b'data: {"choices":[{"delta":{"content":"%b"},"index":0}],"id":"c"}\n\n'


def read(text, event=EVENT, size=0):
    body = event % text
    return b"%x\r\n%b\r\n" % (len(body) + size, body)


def learnt(text=b" and", event=EVENT):
    return alike.learn(read(text, event), event % text, MARK)


@pytest.mark.parametrize("text", [b" of", b"0", b" and", b"{}[]:,/'" * 20, b"~ !#", b"x" * 3000])
def test_another_text_of_any_length_fits(text):
    assert learnt().fits(read(text))


@pytest.mark.parametrize(
    "text", [b"", b'"', b"\\", b"a\\n", b'a" b', b"a\x1fb", b"\n", b"\x7f", "é".encode(), b"\xff", b"x" * 5000]
)
def test_what_would_have_to_be_decoded_does_not_fit(text):
    assert not learnt().fits(read(text))


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\0",
        read(b" of", size=1),
        read(b" of", size=-1),
        read(b" of") + read(b" of"),
        read(b" of")[:-1],
        read(b" of")[1:],
        b"0" + read(b" of"),
        read(b" of").upper(),
        read(b" of", EVENT.replace(b'"c"', b'"d"')),
        read(b" of", EVENT.replace(b"0", b"1")),
        read(b" of", EVENT.replace(b"\n\n", b"\n")),
        EVENT % b" of",
    ],
)
def test_nothing_else_fits(other):
    assert not learnt().fits(other)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (b"", EVENT),
        (b"a\\n", EVENT),
        (b" and", EVENT.replace(b"content", b"reasoning")),
        (b" and", EVENT.replace(b'"c"', b'"c","content":"x"')),
        (b" and", b"event: x\n" + EVENT),
        (b" and", EVENT + b"data: {}\n\n"),
        (b" and", EVENT.replace(b"\n\n", b"\r\n\r\n")),
        (b" and", EVENT.replace(b"data: ", b"data:")),
        (b"x" * 5000, EVENT),
    ],
)
def test_nothing_is_learnt_of_an_event_of_another_make(text, event):
    assert learnt(text, event) is None


def test_nothing_is_learnt_of_a_read_that_is_more_or_less_than_the_chunk():
    assert alike.learn(EVENT % b" and", EVENT % b" and", MARK) is None
    assert alike.learn(read(b" and") + b"0\r\n\r\n", EVENT % b" and", MARK) is None
    assert alike.learn(read(b" and")[3:], EVENT % b" and", MARK) is None
