"""A run against a server that is not ours and knows nothing of Azure: aiohttp, a plain `/v1/chat/completions`."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from aiohttp import web

import running
from servers import background

USUAL_LENGTH = 30
"""Tokens of an answer without a limit that the server knows."""


@dataclass
class Plain:
    """Knows `max_tokens` and no other limit: it refuses requests with another one, or passes over it."""

    refuses: bool
    counted: dict[str, int] = field(default_factory=dict)
    """Completion tokens by request id."""
    bodies: list[dict] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    async def complete(self, request):
        body = await request.json()
        self.bodies.append(body)
        if self.refuses and "max_completion_tokens" in body:
            said = {"error": {"message": "Unrecognized request argument supplied: max_completion_tokens"}}
            return web.json_response(said, status=400)
        name, tokens = f"plain-{next(self.numbers)}", body.get("max_tokens", USUAL_LENGTH)
        self.counted[name] = tokens
        answer = web.StreamResponse(headers={"content-type": "text/event-stream", "x-request-id": name})
        await answer.prepare(request)
        for _ in range(tokens):
            await asyncio.sleep(0.002)
            await answer.write(event([{"index": 0, "delta": {"content": " word"}}]))
        await answer.write(event([{"index": 0, "delta": {}, "finish_reason": "length"}]))
        words = sum(len(message["content"].split()) for message in body["messages"])
        await answer.write(event([], usage={"prompt_tokens": words, "completion_tokens": tokens}))
        await answer.write(b"data: [DONE]\n\n")
        return answer


def event(choices, **more):
    return b"data: " + json.dumps({"model": "plain-7b", "choices": choices, **more}).encode() + b"\n\n"


@contextlib.contextmanager
def listening(plain):
    """The port of a server in a thread of its own."""

    async def start():
        application = web.Application()
        application.router.add_post("/v1/chat/completions", plain.complete)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    with background() as thread:
        runner = thread.run(start())
        try:
            yield runner.addresses[0][1]
        finally:
            thread.run(runner.cleanup())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run against each server, both at once: {refuses: (run, server)}."""
    folder = tmp_path_factory.mktemp("plain")
    servers = {refuses: Plain(refuses) for refuses in (True, False)}
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(listening(server)) for server in servers.values()]
        started = [
            running.start(
                folder / f"at {port}",
                *("--endpoint", f"http://127.0.0.1:{port}/v1", "--deployment", "plain-7b"),
                completion_tokens={"min": 2, "max": 12},
                duration="600ms",
            )
            for port in ports
        ]
        finished = running.finish(started)
    return dict(zip(servers, zip(finished, servers.values(), strict=True), strict=True))


@pytest.mark.parametrize("refuses", [True, False])
def test_the_limit_goes_by_the_name_that_the_server_knows(runs, refuses):
    run, server = runs[refuses]

    assert run.head.probe["limit_field"] == "max_tokens"
    assert [("max_tokens" in body, "max_completion_tokens" in body) for body in server.bodies[1:]] == [
        (True, False)
    ] * (run.head.planned + 1)


@pytest.mark.parametrize("refuses", [True, False])
def test_tokens_are_those_that_the_server_counted(runs, refuses):
    run, server = runs[refuses]
    counted = run.beside(server.counted)

    assert len(counted) == run.head.planned == run.metrics["requests"]["ok"]
    assert [a.completion_tokens for a, _ in counted] == [tokens for _, tokens in counted]
    assert [a.content_events for a, _ in counted] == [tokens for _, tokens in counted]
    assert [a.completion_tokens for a, _ in counted] == [a.completion_asked for a, _ in counted]


@pytest.mark.parametrize("refuses", [True, False])
def test_what_only_azure_could_tell_is_not_invented(runs, refuses):
    run, _ = runs[refuses]
    target = run.summary["target"]

    assert (target["kind"], target["model_served"], target["ptu"]) == ("openai", "plain-7b", None)
    assert run.metrics["tpm"]["per_ptu"] is run.metrics["tpm"]["of_published"] is None
    assert run.metrics["utilization"]["estimated"] is None or run.metrics["utilization"]["estimated"]["mean"] is None
    assert run.metrics["tpm"]["completion"] > 0
