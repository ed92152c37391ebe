"""The peers: the closed loop of `streams.py` as one would write it with aiohttp or httpx2, and as lean.

    python benchmarks/peers_client.py aiohttp --url http://127.0.0.1:8000/v1/chat/completions --streams 100

Prints one JSON document: CPU seconds and content events of the window, and for each answer of the window its
`x-request-id`, when it was sent and when its first content came (`time.perf_counter`).

The same as ptubench does: uvloop, N lanes that start spread over a second, keep-alive, every event decoded by
msgspec into typed data, the first event with content stamped on receipt, before decoding. Less than it does: a constant
body, no prompt text, no records, no gaps between events, no token counts, no check of how the stream ended. Chunks are taken
as they come and split at blank lines, since iterating over lines costs both clients more. What is there at the
start is frozen out of the garbage collector, as in ptubench's worker.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvloop

BODY = msgspec.json.encode(
    {
        "messages": [{"role": "user", "content": " word" * 32}],
        "max_completion_tokens": 100,
        "model": "stub",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
)
HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream"}


class Delta(msgspec.Struct):
    """What a choice adds."""

    content: str | None = None


class Choice(msgspec.Struct):
    """One choice of an event."""

    delta: Delta


class Chunk(msgspec.Struct):
    """One event."""

    choices: list[Choice]


decode = msgspec.json.Decoder(Chunk).decode
Answered = tuple[str, AsyncIterator[bytes]]
Post = Callable[[], AbstractAsyncContextManager[Answered]]
"""Sends the body; yields the answer's `x-request-id` and its chunks."""


@dataclass
class Seen:
    """What all lanes have seen so far."""

    events: int = 0
    answers: list[tuple[str, float, float]] = field(default_factory=list)
    """Name, sent, first content."""


async def exchange(post: Post, seen: Seen) -> None:
    """One request and its answer."""
    sent = time.perf_counter()
    first = 0.0
    rest = b""
    async with post() as (name, chunks):
        async for chunk in chunks:
            at = time.perf_counter()
            events = (rest + chunk).split(b"\n\n")
            rest = events.pop()
            for event in events:
                data = event[6:]
                if data == b"[DONE]":
                    continue
                choices = decode(data).choices
                if choices and choices[0].delta.content:
                    seen.events += 1
                    first = first or at
    seen.answers.append((name, sent, first))


async def load(post: Post, *, streams: int, duration: float, warmup: float) -> dict[str, Any]:
    """A closed loop of so many lanes; what was seen in [warmup, duration)."""
    seen = Seen()
    gc.collect()
    gc.freeze()
    start = time.perf_counter() + 0.1

    async def lane(number: int) -> None:
        await asyncio.sleep(start + number / streams - time.perf_counter())
        while time.perf_counter() < start + duration:
            await exchange(post, seen)

    lanes = asyncio.gather(*(lane(number) for number in range(streams)))
    await asyncio.sleep(start + warmup - time.perf_counter())
    cpu, events, began = time.process_time(), seen.events, time.perf_counter()
    await asyncio.sleep(start + duration - time.perf_counter())
    cpu, events, wall = time.process_time() - cpu, seen.events - events, time.perf_counter() - began
    await lanes
    answers = [answer for answer in seen.answers if start + warmup <= answer[1] < start + duration]
    return {"cpu_s": cpu, "events": events, "wall_s": wall, "answers": answers}


@asynccontextmanager
async def aiohttp_client(url: str) -> AsyncIterator[Post]:
    """A session of aiohttp without a limit of connections."""
    import aiohttp  # noqa: PLC0415 - one client at a time

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=HEADERS, timeout=aiohttp.ClientTimeout(total=600)
    ) as session:

        @asynccontextmanager
        async def post() -> AsyncIterator[Answered]:
            async with session.post(url, data=BODY) as answer:
                answer.raise_for_status()
                yield answer.headers["x-request-id"], answer.content.iter_any()

        yield post


@asynccontextmanager
async def httpx2_client(url: str) -> AsyncIterator[Post]:
    """A client of httpx2 without a limit of connections."""
    import httpx2  # noqa: PLC0415 - one client at a time

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(headers=HEADERS, limits=limits, timeout=600, trust_env=False) as client:

        @asynccontextmanager
        async def post() -> AsyncIterator[Answered]:
            async with client.stream("POST", url, content=BODY) as answer:
                answer.raise_for_status()
                yield answer.headers["x-request-id"], answer.aiter_raw()

        yield post


CLIENTS = {"aiohttp": aiohttp_client, "httpx2": httpx2_client}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """One client under load."""
    async with CLIENTS[options.client](options.url) as post:
        return await load(post, streams=options.streams, duration=options.duration, warmup=options.warmup)


def main() -> None:
    """Read the command line, make the load, print what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--url", required=True, help="where chat completions are posted")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--duration", type=float, default=10.0, help="seconds, warm-up included")
    parser.add_argument("--warmup", type=float, default=4.0, help="seconds")
    json.dump(uvloop.run(run(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
