"""Passes one request on to another server, and its answer back byte by byte as it comes.

The answer is parsed only to know where it ends. Knows nothing of what it carries.
"""

import asyncio

import httptools

from ptubench.sim.script import Ask

_READ = 2**18
_OURS = {"connection", "content-length", "expect", "transfer-encoding"}
"""Headers that belong to a connection and not to its request."""


async def relay(ask: Ask, upstream: tuple[str, int], writer: asyncio.StreamWriter) -> bool:
    """Pass the request to `upstream` on a connection of its own; True when the client's may be used again.

    Raises:
        OSError: either side broke off.
        httptools.HttpParserError: the upstream does not speak HTTP/1.1.
    """
    back_reader, back_writer = await asyncio.open_connection(*upstream)
    end = _End(head_only=ask.method == "HEAD")
    parser = end.parser = httptools.HttpResponseParser(end)
    try:
        back_writer.write(_encode(ask))
        while not end.reached:
            data = await back_reader.read(_READ)
            if not data or writer.is_closing():
                return False  # the client left meanwhile: uvloop raises where asyncio passes over a write to nobody
            writer.write(data)
            parser.feed_data(data)
            await writer.drain()
        return end.kept
    finally:
        back_writer.close()


def _encode(ask: Ask) -> bytes:
    headers = {name: value for name, value in ask.headers.items() if name not in _OURS}
    if ask.body or ask.method == "POST":
        headers["content-length"] = str(len(ask.body))
    lines = [f"{ask.method} {ask.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + ask.body


class _End:
    """Told by httptools when the answer is over."""

    parser: httptools.HttpResponseParser

    def __init__(self, *, head_only: bool) -> None:
        self.reached = self.kept = False
        self._head_only = head_only

    def on_headers_complete(self) -> None:
        self.reached = self._head_only

    def on_message_complete(self) -> None:
        self.reached = True
        # Asked later, the parser has forgotten.
        self.kept = self.parser.should_keep_alive()
