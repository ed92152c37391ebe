"""What a server can do wrong, or oddly, by name; and a server that does it to a share of the requests.

A test aid: behind `ptubench simulate --faults KIND:SHARE` it stands before the simulated deployment, passes
its bytes through unchanged, and plays a fault for the requests that a seeded draw picks. What goes wrong inside an
answer is written in the API that was asked; connections, statuses and 429s are the same for every API.
"""

import asyncio
import difflib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate, chain, count
from typing import NamedTuple

from ptubench import units
from ptubench.errors import UsageError
from ptubench.sim import answers
from ptubench.sim.dialects import of
from ptubench.sim.relay import relay
from ptubench.sim.script import Action, Ask, Do, Pace, Script, chunked, document
from ptubench.sim.wire import Played, converse, play

PACE = Pace(tokens=20, ttft=0.1, gap=0.02)
"""How the answers that `front` plays itself are paced."""
ABSURD_WAIT = 86_400
"""Seconds that the absurd 429 asks to wait."""


class Fault(NamedTuple):
    """One kind: what it is, and how it is played."""

    help: str
    play: Callable[[Ask, Pace], Iterator[Action]]


def _framed(help_: str, actions: Callable[[Pace], Iterator[Action]]) -> Fault:
    """A fault that writes its whole answer itself."""
    return Fault(help_, lambda _, pace: actions(pace))


def _streamed(help_: str, events: Callable[[Pace], Iterator[Action]]) -> Fault:
    """A fault inside a 200 stream, which ends properly unless the events end it."""
    return _framed(help_, lambda pace: chunked(events(pace)))


def _midway(help_: str, *ending: Action) -> Fault:
    """A fault in the middle of a 200 stream."""
    return _streamed(help_, lambda pace: answers.midway(pace, *ending))


def _plain(help_: str, *actions: Action) -> Fault:
    """The same actions always, after the time to the first token."""
    return _framed(help_, lambda pace: chain([pace.ttft], actions))


def _status(status: int, code: str, message: str, **headers: str) -> Fault:
    return _framed(
        f"answers {status}", lambda pace: chain([pace.ttft], answers.refused(status, code, message, headers))
    )


def _throttled(help_: str, answer: Callable[[], Iterator[Action]]) -> Fault:
    return _framed(f"answers 429 {help_}", lambda pace: chain([pace.ttft], answer()))


_PAGE = b"<html><body><h1>Sign in to the network</h1></body></html>"

FAULTS: dict[str, Fault] = {
    # the connection
    "reset_before_headers": _plain("resets the connection before the first byte", Do.RESET),
    "close_before_headers": _plain("closes the connection before the first byte", Do.CLOSE),
    "reset_midstream": _midway("resets the connection in the middle of the answer", Do.RESET),
    "close_midstream": _midway("closes the connection between two events", Do.CLOSE),
    "cut_chunk": _framed("closes the connection inside a chunk", answers.cut_chunk),
    "pooled_close": Fault("answers once, and closes when the next request comes", answers.pooled),
    "idle_close": _framed("answers, and closes at once", answers.closing),
    "stall_first_byte": _plain("takes the request and never answers", Do.STALL),
    "stall_headers": _plain("sends the headers and nothing more", next(chunked(())), Do.STALL),
    "stall_midstream": _midway("stops in the middle of the answer and keeps the connection", Do.STALL),
    "garbage": _plain("answers something that is not HTTP", b"\x16\x03\x01SSH-2.0-what is this\r\n\r\n", Do.CLOSE),
    "bytes_after_end": _framed("sends bytes after the end of the answer", answers.overlong),
    "huge_headers": _framed("sends more than 64 KiB of headers", answers.huge_headers),
    "by_close": _framed("ends the answer by closing, without a length", answers.by_close),
    # the status
    "http_400": _status(400, "content_filter", "The prompt was filtered."),
    "http_401": _status(401, "401", "Access denied due to invalid subscription key."),
    "http_403": _status(403, "403", "Public access is disabled. Configure a private endpoint."),
    "keys_disabled": _status(
        403, "AuthenticationTypeDisabled", "Key based authentication is disabled for this resource."
    ),
    "wrong_audience": _status(
        401,
        "401",
        "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), "
        "or have expired.",
    ),
    "no_role": _status(401, "PermissionDenied", "Principal does not have access to API/Operation."),
    "network_rule": _status(403, "403", "Access denied due to Virtual Network/Firewall rules."),
    "http_404": _status(404, "DeploymentNotFound", "The API deployment for this resource does not exist."),
    "http_408": _status(408, "Timeout", "The operation was timeout."),
    "http_500": _status(500, "InternalServerError", "The server had an error while processing your request."),
    "http_503": _status(503, "ServiceUnavailable", "The service is temporarily unable to process your request."),
    "redirect": _status(302, "302", "Moved.", location="/elsewhere"),
    "throttled_ms": _throttled(
        "with retry-after-ms", lambda: answers.throttled(retry_after_ms="1234", retry_after="2")
    ),
    "throttled_seconds": _throttled("with retry-after in seconds", lambda: answers.throttled(retry_after="2")),
    "throttled_date": _throttled("with retry-after as a date", lambda: answers.throttled_until(3)),
    "throttled_bare": _throttled("without retry-after", answers.throttled),
    "throttled_absurd": _throttled(
        "that asks to wait for a day", lambda: answers.throttled(retry_after=str(ABSURD_WAIT))
    ),
    # the body of a 200
    "html": _plain("answers 200 with a page", document(200, _PAGE, kind="text/html")),
    "json": _framed("answers 200 with a JSON document, not a stream", answers.whole),
    "empty": _framed("answers 200 with an empty event stream", lambda _: answers.empty()),
    "no_content": _streamed("answers 200 with a stream without content", answers.contentless),
    "error_event": _streamed("sends an error as an event of the stream", lambda p: answers.midway(p, of(p).error)),
    "not_json": _streamed("sends an event that is not JSON", lambda p: answers.midway(p, of(p).not_json)),
    "wrong_shape": _streamed("sends JSON of the wrong shape", lambda p: answers.midway(p, of(p).wrong_shape)),
    "half_event": _streamed(
        "ends the answer inside an event", lambda p: answers.midway(p, of(p).content(" lost")[:60])
    ),
    "huge_event": _streamed("sends an event of 40 MB", answers.huge_event),
    "no_done": _streamed("leaves out [DONE], or the last event of Responses", answers.endless),
    "no_usage": _streamed("leaves out usage", answers.uncounted),
    "after_done": _streamed("sends an event after the last one", answers.late),
    # odd, and legal
    "crlf": _streamed("ends lines with CRLF", lambda p: answers.crlf(answers.healthy(p))),
    "bytewise": _framed("writes byte by byte", lambda p: answers.bytewise(answers.by_close(p))),
    "three_per_write": _framed(
        "writes events by threes", lambda p: answers.joined(chunked(answers.healthy(p)), events=3)
    ),
    "one_write": _framed(
        "writes the whole answer at once", lambda p: answers.joined(chunked(answers.healthy(p)), events=p.tokens + 1)
    ),
    "comments": _streamed(
        "sends comments and other fields between the events", lambda p: answers.commented(answers.healthy(p))
    ),
    "cut_characters": _streamed("cuts UTF-8 inside characters", answers.cut_characters),
    "odd_deltas": _streamed("sends null, missing and empty deltas between the tokens", answers.odd_deltas),
    "tool_calls": _streamed("calls a tool", answers.tool_calls),
    "reasoning": _streamed("sends reasoning text before the answer", answers.reasoning),
    "refusal": _streamed("refuses in words", answers.refusal),
    "packed": _streamed("packs four tokens into each event", lambda p: answers.packed(p, tokens_per_event=4)),
    "one_event": _streamed("sends all tokens in one event", lambda p: answers.packed(p, tokens_per_event=p.tokens)),
}

KINDS: dict[str, str] = {kind: fault.help for kind, fault in FAULTS.items()}
"""Each kind, and a sentence on it without its subject: "the server …"."""


def script(kind: str, *, tokens: int = 8, ttft: float = 0.0, gap: float = 0.0) -> Script:
    """The script of a kind, in the API of each request: so many tokens, the first after `ttft` seconds, the others `gap` seconds apart."""
    pace = Pace(tokens=tokens, ttft=ttft, gap=gap)
    return lambda ask: FAULTS[kind].play(ask, replace(pace, api=ask.api))


def parse(texts: Iterable[str], *, where: str = "--faults") -> dict[str, float]:
    """The shares of "KIND:SHARE" texts, such as "reset_midstream:1%".

    Raises:
        UsageError: no such kind, no share, or more than every request.
    """
    shares: dict[str, float] = {}
    for text in texts:
        kind, _, share = text.partition(":")
        if kind not in FAULTS:
            near = difflib.get_close_matches(kind, FAULTS, n=1)
            way_out = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(FAULTS)}"
            raise UsageError(f"{where} {text}: unknown fault `{kind}`; {way_out}")
        try:
            shares[kind] = units.share(share)
        except ValueError as exc:
            raise UsageError(f"{where} {text}: {exc}") from None
    if sum(shares.values()) > 1:
        total = units.share_text(sum(shares.values()))
        raise UsageError(f"{where}: the shares add up to {total}; keep them at 100 % or below")
    return shares


async def front(
    shares: Mapping[str, float],
    upstream: tuple[str, int],
    *,
    seed: int,
    host: str = "127.0.0.1",
    port: int = 0,
    pace: Pace = PACE,
    log: Callable[[Played], None] | None = None,
) -> asyncio.Server:
    """Listen, play faults for the shares of the POST requests, and pass everything else on to `upstream`.

    The k-th request to arrive meets the same fault for the same seed. `log` is told of each fault when it is over.
    `pooled_close` lets the first request of a connection pass: what it hits is the reuse.
    """
    draw = random.Random(seed).random
    bounds = list(zip(accumulate(shares.values()), shares, strict=True))
    numbers = count()

    async def answer(ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        drawn = draw() if ask.method == "POST" else 1.0
        kind = next((kind for bound, kind in bounds if drawn < bound), None)
        if kind is None or (kind == "pooled_close" and ask.nth == 0):
            return await relay(ask, upstream, writer)
        played = Played(ask=ask, kind=kind)
        try:
            return await play(FAULTS[kind].play(ask, replace(pace, api=ask.api)), played, reader, writer)
        finally:
            if log is not None:
                log(played)

    # A connection and its handler know only each other: without us the collector would take those that wait.
    handlers: set[asyncio.Task[None] | None] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        handlers.add(this)
        try:
            await converse(reader, writer, next(numbers), answer)
        finally:
            handlers.discard(this)

    return await asyncio.start_server(accept, host, port, backlog=4096)
