"""Reads that differ from one that was decoded in nothing but plain text: they need no second decoding.

A chat completion sends the same chunk a hundred times over, and only the text of its content is another. Such a read
is known by comparing bytes, which is as strict as decoding it, and costs a third. Knows one framing, that of nearly
every server: an event, its blank line, a chunk of its own, a read of its own.
"""

import functools

_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
"""Bytes that stand for themselves in a JSON string (RFC 8259, 7); what else is valid in one is decoded."""
FRAME = len(b"data: \n\n")
"""Bytes of an event's own line and the blank one beside its data."""
_LONGEST = 4096
"""Bytes of a read that is compared; beyond it decoding is no great part of the work."""


class Alike:
    """One event as it was read: what stands before the text of its content, and behind it."""

    __slots__ = ("_before", "_behind", "_from_text", "_sizes", "_to_text")

    def __init__(self, before: bytes, behind: bytes) -> None:
        self._before = before
        self._behind = behind
        self._to_text = len(before)
        self._from_text = -len(behind)
        self._sizes = _size_lines()

    def fits(self, read: bytes) -> bool:
        """Whether a read is this event with another text, and its chunk as long as it says."""
        length = len(read)
        if length >= _LONGEST:
            return False
        size = self._sizes[length]
        digits = len(size)
        if read.startswith(size) and read.startswith(self._before, digits) and read.endswith(self._behind):
            text = read[digits + self._to_text : self._from_text]
            return text != b"" and not text.strip(_PLAIN)
        return False


def learn(read: bytes, body: bytes, mark: bytes) -> Alike | None:
    """What a read, of which `body` was the whole payload and one event with content, has in common with the next; or None.

    Args:
        read: as it came.
        body: as the parser of chunks handed it over, once for this read; the event's data and its `FRAME`.
        mark: what the text of the content follows, its opening quote included.
    """
    before, found, rest = body.partition(mark)
    text, quote, behind = rest.partition(b'"')
    whole = (
        found
        and quote
        and mark not in rest
        and before.startswith(b"data: ")
        and body.endswith(b"\n\n")
        and body.count(b"\n") == 2  # its line's and the blank one's
        and b"\r" not in body
        and len(read) < _LONGEST
        and read == b"%s%s\r\n" % (_size_lines()[len(read)], body)
    )
    return Alike(before + mark, quote + behind + b"\r\n") if whole and text and not text.strip(_PLAIN) else None


@functools.cache
def _size_lines() -> tuple[bytes, ...]:
    """By the length of a read that is one chunk: the line that says the chunk's size (RFC 9112, 7.1)."""
    lines = [b"\0"] * _LONGEST  # no read begins so
    for size in range(1, _LONGEST):
        line = b"%x\r\n" % size
        if (length := len(line) + size + 2) < _LONGEST:
            lines[length] = line
    return tuple(lines)
