"""Server-sent events: bytes in, the data of each event out.

No sockets, no clock, no JSON. Reads only `data` fields, which say everything in chat completions and Responses; comments
and other fields are passed over. Lines end with LF or CRLF; a lone CR is no line end.
"""

MAX_EVENT = 32 * 2**20
"""Bytes; far above what any service sends."""
_LINE = 48
"""Bytes that a line takes beside its own: an event of a great many short ones may take no more memory than one long one."""


class EventTooLarge(ValueError):
    """An event exceeds the limit."""


class Decoder:
    """Feed it reads of any size; it returns the events that they completed.

    Its work is linear in the bytes, however they are cut and however many lines an event has: what is incomplete
    grows in place until its end arrives, and is never copied or counted again with each read.
    """

    __slots__ = ("_data", "_held", "_limit", "_line", "_started")

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._line = bytearray()  # the line that has not ended
        self._data: list[bytes] = []  # lines of the event that has not ended
        self._held = 0  # bytes that both take
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each event that `chunk` completes, in order.

        Raises:
            EventTooLarge: an unfinished event exceeds the limit.
        """
        if self._started and self._held == 0:
            line, _, rest = chunk.partition(b"\n")
            if rest == b"\n":
                if line[:6] == b"data: ":
                    return [line[6:]]  # one event in one read, as nearly every read is
            elif line[:7] == b"event: ":  # behind its name, which the data says again
                line, _, rest = rest.partition(b"\n")
                if rest == b"\n" and line[:6] == b"data: ":
                    return [line[6:]]
        return self._feed(chunk)

    def _feed(self, chunk: bytes) -> list[bytes]:
        if not self._started and (chunk or self._line):
            chunk = bytes(self._line) + chunk
            self._line.clear()
            if len(chunk) < 3 and b"\xef\xbb\xbf".startswith(chunk):
                self._line += chunk  # perhaps a byte order mark, of which one may stand at the start
                return []
            self._started = True
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        if self._line:
            chunk = bytes(self._line) + chunk
            self._held -= len(self._line)
            self._line.clear()
        lines = chunk.split(b"\n")
        events = []
        rest = lines.pop()
        for line in lines:
            text = line[:-1] if line.endswith(b"\r") else line
            if text:
                self._field(text)
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
                self._held = 0
        if rest:
            self._keep(rest)
        elif self._held > self._limit:
            raise EventTooLarge
        return events

    def close(self) -> list[bytes]:
        """The stream has ended: the event that lacks only its blank line, if any.

        Strictly such an event is void, but some servers leave the last blank line out.
        """
        if self._line or not self._data:
            return []
        event = b"\n".join(self._data)
        self._data.clear()
        self._held = 0
        return [event]

    @property
    def torn(self) -> bool:
        """Whether the bytes so far end inside a line."""
        return bool(self._line)

    def _keep(self, part: bytes) -> None:
        self._line += part
        self._held += len(part)
        if self._held > self._limit:
            raise EventTooLarge

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            data = line[6:] if line[5:6] == b" " else line[5:]
        elif line == b"data":
            data = b""
        else:
            return
        self._data.append(data)
        self._held += len(data) + _LINE
