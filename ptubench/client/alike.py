"""Reads that differ from one that was decoded in nothing but plain text: they need no second decoding.

A chat completion sends the same chunk a hundred times over, and only the text of its content is another. Such a read
is known by comparing bytes, which is as strict as decoding it, and costs a third. Knows one framing, that of nearly
every server: an event, its blank line, a chunk of its own, a read of its own.
"""

import functools

from ptubench.client.exchange import GapSink

_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
"""Bytes that stand for themselves in a JSON string (RFC 8259, 7); what else is valid in one is decoded."""
FRAME = len(b"data: \n\n")
"""Bytes of an event's own line and the blank one beside its data."""
_LONGEST = 4096
"""Bytes of a read that is compared; beyond it decoding is no great part of the work."""


class Alike:
    """One event as it was read, what stands before the text of its content and behind it; and how many like it came since.

    With thousands of streams each object that a read touches is a miss of the caches, and misses are most of what an
    event costs in Python. So what a read needs is here, and its answer learns of it later, all at once.
    """

    __slots__ = ("_before", "_behind", "_gaps", "_sizes", "events", "last")

    def __init__(self, before: bytes, behind: bytes, gaps: GapSink, at: float) -> None:
        self._before = before
        self._behind = behind
        self._gaps = gaps
        self._sizes = _size_lines()
        self.events = 0  # not counted by the answer yet
        self.last = at  # when the last of them came

    def took(self, read: bytes, at: float) -> bool:
        """Whether a read that came `at` is this event with another text, and its chunk as long as it says; then it is counted."""
        length = len(read)
        if length >= _LONGEST:
            return False
        event = read.removeprefix(self._sizes[length])
        rest = event.removeprefix(self._before)
        text = rest.removesuffix(self._behind)
        if length > len(event) > len(rest) > len(text) > 0 and not text.strip(_PLAIN):
            self._gaps.content(at, self.last)
            self.events += 1
            self.last = at
            return True
        return False


def learn(read: bytes, body: bytes, mark: bytes, gaps: GapSink, at: float) -> Alike | None:
    """What a read, of which `body` was the whole payload and one event with content, has in common with the next; or None.

    Args:
        read: as it came.
        body: as the parser of chunks handed it over, once for this read; the event's data and its `FRAME`.
        mark: what the text of the content follows, its opening quote included.
        gaps: counts the next ones, and the times between them.
        at: when the read came.
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
    if not whole or not text or text.strip(_PLAIN):
        return None
    return Alike(before + mark, _shared(quote + behind + b"\r\n"), gaps, at)


@functools.lru_cache(64)
def _shared(behind: bytes) -> bytes:
    """Equal bytes as one object: what all streams share stays in the caches."""
    return behind


@functools.cache
def _size_lines() -> tuple[bytes, ...]:
    """By the length of a read that is one chunk: the line that says the chunk's size (RFC 9112, 7.1)."""
    lines = [b"\0"] * _LONGEST  # no read begins so
    for size in range(1, _LONGEST):
        line = b"%x\r\n" % size
        if (length := len(line) + size + 2) < _LONGEST:
            lines[length] = line
    return tuple(lines)
