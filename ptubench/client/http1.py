"""One HTTP/1.1 connection: a request out, its answer stamped as the bytes arrive.

Every time is read in the callback that receives the bytes, before anything is parsed. Knows nothing of
pools, retries or schedules.
"""

import asyncio
from time import perf_counter

import httptools

from ptubench.client import alike, judge
from ptubench.client.exchange import Exchange, GapSink
from ptubench.stream import sse
from ptubench.stream.answer import BadEvent, one_line
from ptubench.workload.model import Timeouts

MAX_HEADERS = 64 * 2**10
MAX_BODY = sse.MAX_EVENT
_ERROR_BODY = 64 * 2**10  # bytes kept of an error's body


class Connection(asyncio.Protocol):
    """Carries one exchange at a time; `reusable` says whether it may carry another.

    Args:
        gaps: receives the times between consecutive content events (`histogram` counts); swapped by the owner.
        timeouts: `first_byte`, `idle` and `total` are kept here.
    """

    __slots__ = (
        "_alike",
        "_at",
        "_body",
        "_body_bytes",
        "_complete",
        "_events",
        "_exchange",
        "_framed",
        "_gaps",
        "_head_bytes",
        "_header_bytes",
        "_in_head",
        "_keep",
        "_last_event",
        "_learnt",
        "_loop",
        "_more",
        "_parser",
        "_seen",
        "_spilled",
        "_stream",
        "_timeouts",
        "_timer",
        "_waiter",
        "served",
        "transport",
    )

    def __init__(self, *, gaps: GapSink, timeouts: Timeouts, stream: bool) -> None:
        self.transport: asyncio.Transport | None = None
        self.served = 0  # exchanges completed
        self._gaps = gaps
        self._timeouts = timeouts
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._exchange: Exchange | None = None
        self._reset()

    def _reset(self) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0  # arrival of the bytes being parsed
        self._head_bytes = 0  # received since the last of the body: headers, trailers, what frames chunks
        self._header_bytes = 0  # of headers that are complete
        self._in_head = True
        self._framed = False  # the answer says where it ends
        self._complete = False
        self._more = False  # bytes after the end
        self._keep = False  # the answer leaves the connection open
        self._spilled = False
        self._last_event: float | None = None  # where its gap to the next one counts
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._events: sse.Decoder | None = None
        self._seen: bytes | None = None  # the last of the read, if it was one event with content
        self._alike: alike.Alike | None = None  # what the last read has in common with the next, if it had
        self._learnt = 0  # how often that was looked for

    # what the owner calls

    @property
    def closed(self) -> bool:
        """Whether it can't carry anything any more."""
        return self.transport is None or self.transport.is_closing()

    async def perform(self, exchange: Exchange, request: bytes) -> None:
        """Send a whole request and read its answer to the end; failures are named in the exchange."""
        assert self.transport is not None  # noqa: S101 - only an open connection is asked
        self._reset()
        self._exchange = exchange
        waiter = self._waiter = self._loop.create_future()
        exchange.sent = self._at = perf_counter()
        self.transport.write(request)
        limits = self._timeouts
        self._timer = self._loop.call_later(min(limits.first_byte, limits.idle, limits.total), self._check_time)
        try:
            await waiter
        finally:
            self._timer.cancel()
            if self._exchange is not None:  # cancelled: cut in the middle
                self._settle(self._exchange)
                self._exchange = None
                self.close()

    def close(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()
            self.transport = None
        # Whoever still holds this connection does not hold an event of 32 MiB.
        self._events, self._body = None, []

    # what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and begin to parse: one that was lost before it was used may be made again."""
        self.transport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Stamp, then parse."""
        at = perf_counter()
        if self._alike is not None and self._alike.took(data, at):
            return
        exchange = self._exchange
        if exchange is None:
            self.close()  # nobody asked
            return
        self._settle(exchange)
        self._at = at
        if exchange.answered is None:
            exchange.answered = at
        self._parse(exchange, data)

    def _parse(self, exchange: Exchange, data: bytes) -> None:
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            stop = self._stopped(exc)
            if stop is not None:
                self._finish(stop.kind, stop.text)
                return
        if self._complete:
            self._conclude()
        elif self._head_bytes > MAX_HEADERS:
            self._finish("headers_too_large", f"over {MAX_HEADERS // 1024} KiB")
        elif self._seen is not None:
            self._learn(exchange, data, self._seen)
            self._seen = None

    def eof_received(self) -> None:
        """The other side is done; `connection_lost` follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Name what that means for the exchange under way."""
        self.transport = None
        del self._parser  # it knows us: a ring for the collector, of a few kilobytes with all that hangs on it
        exchange = self._exchange
        if exchange is None:
            return
        self._at = perf_counter()
        if exchange.answered is None:
            self._finish("closed", f"{type(exc).__name__}: {exc}" if exc else "closed before any byte of the answer")
        elif not self._in_head and not self._framed and exc is None:
            self._complete = True  # an answer that ends by close
            self._conclude()
        else:
            self._finish("broken_stream", "reset" if exc else "closed before the end of the answer")

    def _stopped(self, exc: Exception) -> "_Stop | None":
        """What the parser's exception means: a reason to give the answer up, or None."""
        if isinstance(exc, httptools.HttpParserCallbackError):
            stop = exc.__context__
            if not isinstance(stop, _Stop):
                raise exc  # a fault of ours
            # Its traceback leads to frames that hold it, and the event that was too large: a ring for the collector.
            stop.__context__ = None
            return stop.with_traceback(None)
        if not self._complete:
            return _Stop("bad_http", one_line(str(exc)))
        self._more = True
        return None

    # what the parser calls

    def on_message_begin(self) -> None:
        """Begin an answer; a second one was never asked for."""
        if self._complete:
            self._more = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the framing, and keep what says something."""
        if self._complete or self._exchange is None:
            return
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > MAX_HEADERS:
            raise _Stop("headers_too_large", f"over {MAX_HEADERS // 1024} KiB")
        if not self._in_head:
            return  # a trailer
        lower = name.lower()
        if lower == b"content-length" or (lower == b"transfer-encoding" and b"chunked" in value.lower()):
            self._framed = True
        elif lower == b"content-type" and value.lower().startswith(b"text/event-stream"):
            self._events = sse.Decoder()
        self._exchange.keep_header(name, value)

    def on_headers_complete(self) -> None:
        """Read the status; what it means is decided at the end."""
        if self._complete or self._exchange is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            return  # 100 Continue and its like: the answer follows
        self._exchange.status = status
        self._in_head = False
        if status != 200 or not self._stream:
            self._events = None
        self._spilled = self._exchange.spilled

    def on_body(self, body: bytes) -> None:
        """Events while they stream; anything else is kept to be read at the end."""
        exchange = self._exchange
        if exchange is None or self._complete:
            return
        self._head_bytes = 0
        decoder = self._events
        if decoder is None:
            self._body_bytes += len(body)
            if exchange.status == 200 and self._body_bytes > MAX_BODY:
                raise _Stop("event_too_large", f"a body over {MAX_BODY // 2**20} MiB")
            if exchange.status == 200 or self._body_bytes <= _ERROR_BODY:
                self._body.append(body)
            return
        try:
            for data in decoder.feed(body):
                whole = self._take(exchange, data) and len(data) + alike.FRAME == len(body)
                self._seen = body if whole else None
        except sse.EventTooLarge:
            raise _Stop("event_too_large", f"an event over {MAX_BODY // 2**20} MiB") from None

    def on_message_complete(self) -> None:
        """The last byte of the answer is here."""
        if self._exchange is not None and self._exchange.status is not None and not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()  # only here does the parser still know

    # what they have in common

    def _take(self, exchange: Exchange, data: bytes) -> bool:
        """Whether an event holds content."""
        at = self._at
        try:
            content = exchange.answer.event(data, at)
        except BadEvent as exc:
            exchange.fail("bad_event", str(exc))  # and read on: the connection may be good
            return False
        if content:
            self._gaps.content(at, self._last_event)
            if not self._spilled:
                self._last_event = at
        return content

    def _settle(self, exchange: Exchange) -> None:
        """Tell the answer of the events that were known by their bytes alone, and know none any more."""
        known, self._alike = self._alike, None
        if known is not None and known.events:
            self._last_event = known.last
            exchange.answer.more(known.events, known.last)

    def _learn(self, exchange: Exchange, read: bytes, body: bytes) -> None:
        """See what the next read may have in common with this one; seldom, where it never has."""
        answer, mark = exchange.answer, exchange.answer.text_mark
        if mark is None or answer.error is not None or answer.first_output is None or self._spilled:
            return
        if self._learnt <= 4 + answer.content_events // 8:
            self._learnt += 1
            self._alike = alike.learn(read, body, mark, self._gaps, self._at)

    def _conclude(self) -> None:
        """The answer is complete: say what it was."""
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - only called with one
        if exchange.status == 200:
            if self._events is not None:
                judge.stream(exchange, self._events, lambda data: self._take(exchange, data))
            else:
                judge.body(exchange, b"".join(self._body), self._at, stream=self._stream)
        else:
            judge.status(exchange, b"".join(self._body))
        if self._more:
            exchange.flags += ("bytes_after_end",)
        idle = self.transport is not None and self.transport.get_write_buffer_size() == 0
        keep = idle and self._framed and not self._more and self._keep
        self._finish(keep=keep)

    def _finish(self, kind: str | None = None, text: str = "", *, keep: bool = False) -> None:
        exchange, waiter = self._exchange, self._waiter
        if exchange is None or waiter is None:
            return
        self._settle(exchange)
        if kind is not None:
            judge.broken(exchange, kind, text, b"".join(self._body))
        exchange.end = self._at
        self._exchange = None
        self.served += 1
        if not keep:
            self.close()
        if not waiter.done():
            waiter.set_result(None)

    def _check_time(self) -> None:
        """One timer an exchange: it looks which limit is due and sleeps until the next, or for what may become idle time."""
        exchange, limits = self._exchange, self._timeouts
        if exchange is None or exchange.sent is None:
            return
        now = perf_counter()
        if exchange.answered is None:
            quiet = ("first_byte_timeout", exchange.sent + limits.first_byte, limits.first_byte)
        else:
            last = self._at if self._alike is None else self._alike.last
            quiet = ("idle_timeout", last + limits.idle, limits.idle)
        kind, due, limit = min(quiet, ("total_timeout", exchange.sent + limits.total, limits.total), key=lambda x: x[1])
        if now < due:
            self._timer = self._loop.call_later(min(due - now, limits.idle) + 0.001, self._check_time)
            return
        self._at = now
        self._finish(kind, f"after {limit:g} s")


class _Stop(Exception):
    """Raised inside a parser callback to give the answer up."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.text = text
