"""The peers that are libraries: the load as one would write it with aiohttp, httpx2 or the openai SDK, and as lean.

    python benchmarks/peers/client.py aiohttp --url http://127.0.0.1:8000/v1/chat/completions --streams 100

Prints one JSON document: CPU seconds and content events of the window, and for each answer of the window its
`x-request-id`, when it was sent and when its first content came (`time.perf_counter`).

The same as ptubench does: uvloop, N lanes that start spread over a second (or calls at a constant rate), keep-alive, every
event decoded into typed data, the first event with content stamped on receipt, before decoding. Less than it does: a constant
body, no prompt text, no records, no gaps between events, no token counts, no check of how the stream ended. With aiohttp
and httpx2, chunks are taken as they come, split at blank lines, since iterating over lines costs both more, and decoded by
msgspec. The SDK hands out its own objects: what it hands out is stamped, as an application would. What is there
at the start is frozen out of the garbage collector, as in ptubench's worker.
"""

import argparse
import asyncio
import gc
import json
import ssl
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
Answered = tuple[str, AsyncIterator[float]]
Post = Callable[[], AbstractAsyncContextManager[Answered]]
"""Sends the body; yields the answer's `x-request-id` and the arrival of each content event."""


@dataclass
class Seen:
    """What all lanes have seen so far."""

    events: int = 0
    answers: list[tuple[str, float, float]] = field(default_factory=list)
    """Name, sent, first content."""


async def contents(chunks: AsyncIterator[bytes]) -> AsyncIterator[float]:
    """When each event with content came."""
    rest = b""
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
                yield at


async def exchange(post: Post, seen: Seen) -> None:
    """One request and its answer."""
    sent = time.perf_counter()
    first = 0.0
    async with post() as (name, stamps):
        async for at in stamps:
            seen.events += 1
            first = first or at
    seen.answers.append((name, sent, first))


async def load(post: Post, *, streams: int, rate: float | None, duration: float, warmup: float) -> dict[str, Any]:
    """A closed loop of so many lanes, or so many calls a second; what was seen in [warmup, duration)."""
    seen = Seen()
    gc.collect()
    gc.freeze()
    start = time.perf_counter() + 0.1

    async def lane(number: int) -> None:
        await asyncio.sleep(start + number / streams - time.perf_counter())
        while time.perf_counter() < start + duration:
            await exchange(post, seen)

    async def call(number: int, rate: float) -> None:
        await asyncio.sleep(start + number / rate - time.perf_counter())
        await exchange(post, seen)

    jobs = (call(n, rate) for n in range(int(rate * duration))) if rate else (lane(n) for n in range(streams))
    lanes = asyncio.gather(*jobs)
    await asyncio.sleep(start + warmup - time.perf_counter())
    cpu, events, began = time.process_time(), seen.events, time.perf_counter()
    await asyncio.sleep(start + duration - time.perf_counter())
    cpu, events, wall = time.process_time() - cpu, seen.events - events, time.perf_counter() - began
    await lanes
    answers = [answer for answer in seen.answers if start + warmup <= answer[1] < start + duration]
    return {"cpu_s": cpu, "events": events, "wall_s": wall, "answers": answers}


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """A context that trusts the system's authorities and those in the file."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


@asynccontextmanager
async def aiohttp_client(url: str, ca_file: str | None) -> AsyncIterator[Post]:
    """A session of aiohttp without a limit of connections."""
    import aiohttp  # noqa: PLC0415 - one client at a time

    connector = aiohttp.TCPConnector(limit=0, ssl=trusting(ca_file))
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS, timeout=timeout) as session:

        @asynccontextmanager
        async def post() -> AsyncIterator[Answered]:
            async with session.post(url, data=BODY) as answer:
                answer.raise_for_status()
                yield answer.headers["x-request-id"], contents(answer.content.iter_any())

        yield post


@asynccontextmanager
async def httpx2_client(url: str, ca_file: str | None) -> AsyncIterator[Post]:
    """A client of httpx2 without a limit of connections."""
    import httpx2  # noqa: PLC0415 - one client at a time

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(
        headers=HEADERS, limits=limits, timeout=600, trust_env=False, verify=trusting(ca_file)
    ) as client:

        @asynccontextmanager
        async def post() -> AsyncIterator[Answered]:
            async with client.stream("POST", url, content=BODY) as answer:
                answer.raise_for_status()
                yield answer.headers["x-request-id"], contents(answer.aiter_raw())

        yield post


@asynccontextmanager
async def openai_client(url: str, ca_file: str | None) -> AsyncIterator[Post]:
    """The openai SDK on its own HTTP client, which takes up to 1,000 connections, without retries."""
    import openai  # noqa: PLC0415 - one client at a time

    http = openai.DefaultAsyncHttpxClient(trust_env=False, verify=trusting(ca_file))
    base = url.removesuffix("/chat/completions")
    fields: dict[str, Any] = msgspec.json.decode(BODY)
    async with openai.AsyncOpenAI(base_url=base, api_key="none", max_retries=0, http_client=http) as client:

        @asynccontextmanager
        async def post() -> AsyncIterator[Answered]:
            async with await client.chat.completions.create(**fields) as answer:
                yield answer.response.headers["x-request-id"], stamps(answer)

        yield post


async def stamps(answer: AsyncIterator[Any]) -> AsyncIterator[float]:
    """When the SDK handed out each chunk with content."""
    async for chunk in answer:
        at = time.perf_counter()
        if chunk.choices and chunk.choices[0].delta.content:
            yield at


CLIENTS = {"aiohttp": aiohttp_client, "httpx2": httpx2_client, "openai": openai_client}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """One client under load."""
    async with CLIENTS[options.client](options.url, options.ca_file) as post:
        limits = {"duration": options.duration, "warmup": options.warmup}
        return await load(post, streams=options.streams, rate=options.rate, **limits)


def main() -> None:
    """Read the command line, make the load, print what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--url", required=True, help="where chat completions are posted")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, help="an open loop of so many calls a second instead")
    parser.add_argument("--ca-file", help="PEM file with a further authority")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds, warm-up included")
    parser.add_argument("--warmup", type=float, default=4.0, help="seconds")
    json.dump(uvloop.run(run(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
