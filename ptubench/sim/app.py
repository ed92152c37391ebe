"""The simulated deployment over HTTP, as an ASGI application.

Takes chat completions and Responses at both URL families of Azure OpenAI and at the plain one, and keeps a log of what
was really sent when. Times are `time.perf_counter`, so on one machine they can be laid beside a client's.
"""

import asyncio
import hmac
import os
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from ptubench.errors import UsageError
from ptubench.sim import chat, effort, responses, said
from ptubench.sim.deployment import Admitted, Call, Deployment, Refused
from ptubench.sim.options import SimOptions
from ptubench.sim.spillover import Resource

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BODY = 32 * 2**20
"""A longer request body is refused with 413."""
REGION = "Simulated"

_CLASSIC = re.compile(r"/openai/deployments/([^/]+)/chat/completions")
_RESPONSES = {"/openai/responses", "/openai/v1/responses", "/v1/responses"}
_CHAT = {"/openai/v1/chat/completions", "/v1/chat/completions"}
_V1 = ("/openai/v1/", "/v1/")
_MODELS = {"/openai/v1/models", "/v1/models"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_JSON = "application/json"
_EVENT_STREAM = "text/event-stream; charset=utf-8"


class Entry(msgspec.Struct, kw_only=True):
    """One request in the log, written at its end. Times are `time.perf_counter` seconds."""

    request_id: str
    arrived: float
    """When its headers had come."""
    status: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    sent: list[float] = []
    """Just before each event of the answer was written; one for an answer that is not streamed."""
    content: list[int] = []
    """Which of them had content."""
    first_content: float | None = None
    last_content: float | None = None
    end: float | None = None
    level: float | None = None
    """Bucket level on arrival, as a share of its depth."""
    retry_after_ms: int | None = None
    spilled: int | None = None
    """The status for which it was spilled."""
    gone: bool = False
    """The client left before the end."""


Log = Callable[[Entry], None]
Request = chat.Request | responses.Request


class Reply(Exception):
    """An answer that is not a completion: status, body and headers of its own."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers or {}


def app(options: SimOptions, log: Log | None = None) -> App:
    """An ASGI application that serves one simulated deployment; `log` is told of each completion request at its end.

    Raises:
        UsageError: a key is to be asked for and the environment has none.
    """
    key = None if options.key_env is None else os.environ.get(options.key_env, "")
    if key == "":
        raise UsageError(
            f"simulated deployment: the environment has no {options.key_env}; set it to the key to ask for"
        )
    return _Front(options, key, log)


class _Exchange:
    """One request and the way back: what all answers to it have in common."""

    def __init__(self, receive: Receive, send: Send, headers: Mapping[str, str]) -> None:
        self.receive = receive
        self._send = send
        self._headers = dict(headers)

    def say(self, name: str, value: str) -> None:
        """Add a header to the answer."""
        self._headers[name] = value

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        raw = [(name.encode(), value.encode()) for name, value in {**self._headers, **headers}.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        await self.start(status, {"content-type": _JSON, "content-length": str(len(body)), **(headers or {})})
        await self.write(body, more=False)


class _Front:
    def __init__(self, options: SimOptions, key: str | None, log: Log | None) -> None:
        now = time.perf_counter()
        self._options = options
        self._resource = Resource(options, now=now, wall=time.time() - now)
        self._reasoning = options.published is not None and options.published.reasoning
        self._key = key
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = time.perf_counter()
        path = scope["path"]
        exchange = _Exchange(receive, send, {"x-ms-region": REGION, **said.common(self._options)})
        if path in _RESPONSES or path in _CHAT or _CLASSIC.fullmatch(path):
            await self._answer(Entry(request_id=str(uuid.uuid4()), arrived=arrived), scope, exchange)
        elif path == "/simulator/state":
            await exchange.reply(200, msgspec.json.encode(self._resource.state(arrived)))
        elif path in _MODELS:
            model = {"id": self._options.deployment or self._options.model, "object": "model", "owned_by": "simulated"}
            await exchange.reply(200, msgspec.json.encode({"object": "list", "data": [model]}))
        else:
            await exchange.reply(404, chat.error("Resource not found", code="404"))

    async def _answer(self, entry: Entry, scope: Scope, exchange: _Exchange) -> None:
        """Answer one request of either API, whatever it is, and log it."""
        exchange.say("x-request-id", entry.request_id)
        exchange.say("apim-request-id", entry.request_id)
        try:
            body = await _body(exchange.receive)
            self._check_access(scope)
            api = responses if scope["path"] in _RESPONSES else chat
            request: Request = api.read(body, reasoning=self._reasoning)
            effort.check(self._options.model, request)
            name = self._deployment_name(scope, request.model)
            call = chat.call(request, self._options)
            by, answer = self._offer(entry, call, name, scope, exchange)
            if isinstance(answer, Refused):
                raise _refusal(answer, call, by.options, entry, request)
            await self._complete(entry, by, answer, request, exchange)
        except Reply as exc:
            entry.status = exc.status
            await exchange.reply(exc.status, exc.body, exc.headers)
        except chat.BadRequest as exc:
            entry.status = 400
            await exchange.reply(400, exc.body)
        except _Gone:
            entry.gone = True
        finally:
            entry.end = time.perf_counter()
            if entry.content:
                entry.first_content, entry.last_content = entry.sent[entry.content[0]], entry.sent[entry.content[-1]]
            if self._log is not None:
                self._log(entry)

    def _offer(
        self, entry: Entry, call: Call, name: str, scope: Scope, exchange: _Exchange
    ) -> tuple[Deployment, Admitted | Refused]:
        """Judge a call; who answers it is said in headers, and what is left of a quota."""
        asked = dict(scope["headers"]).get(b"x-ms-spillover-deployment", b"").decode("latin-1")
        if asked and not _NAME.fullmatch(asked):
            raise chat.BadRequest("The spillover deployment does not exist.", code="DeploymentNotFound")
        now = time.perf_counter()
        offered = self._resource.offer(now, call, spill=bool(asked))
        answer = offered.answer
        entry.level, entry.prompt_tokens, entry.spilled = answer.level, call.prompt, offered.error
        entry.retry_after_ms = answer.retry_after_ms if isinstance(answer, Refused) else None
        for header, value in said.answered_by(offered, now, name=name, asked=asked).items():
            exchange.say(header, value)
        return offered.by, answer

    async def _complete(
        self,
        entry: Entry,
        by: Deployment,
        admitted: Admitted,
        request: Request,
        exchange: _Exchange,
    ) -> None:
        """Send the answer of an admitted call at its due times, and end the call, also when its client leaves."""
        entry.status, entry.cached_tokens = 200, admitted.cached
        answer = request.answer(entry.request_id, int(time.time()), by.options.served, admitted)
        left = asyncio.ensure_future(exchange.receive())  # after the body nothing comes but the end of the connection
        generated: int | None = None
        try:
            if request.stream:
                events = answer.events(tokens_per_event=self._options.tokens_per_event)
                await _stream(entry, events, admitted.at, left, exchange)
            else:
                await _until(admitted.at + admitted.end, left)
                entry.sent.append(time.perf_counter())
                entry.content.append(0)
                await exchange.reply(200, answer.document())
        except (_Gone, asyncio.CancelledError):
            generated = admitted.generated(time.perf_counter() - admitted.at)
            entry.gone = True
            raise
        finally:
            left.cancel()
            entry.completion_tokens = admitted.completion if generated is None else generated
            by.complete(time.perf_counter(), admitted, generated=generated)

    def _check_access(self, scope: Scope) -> None:
        """Method, api-version and key, in the order in which a gateway looks at them."""
        if scope["method"] != "POST":
            raise Reply(405, chat.error("Method not allowed", code="405"), {"allow": "POST"})
        if not scope["path"].startswith(_V1) and not parse_qs(scope["query_string"]).get(b"api-version"):
            raise Reply(404, chat.error("Resource not found", code="404"))
        if self._key is None:
            return
        given = dict(scope["headers"])
        bearer = given.get(b"authorization", b"").removeprefix(b"Bearer ")
        if not any(hmac.compare_digest(one, self._key.encode()) for one in (given.get(b"api-key", b""), bearer)):
            message = "Access denied due to invalid subscription key or wrong API endpoint."
            raise Reply(401, chat.error(message, code="401"))

    def _deployment_name(self, scope: Scope, model: str | None) -> str:
        """Whom the request is for: in the path (classic) or in the body."""
        classic = _CLASSIC.fullmatch(scope["path"])
        name = classic[1] if classic else model
        if name is None:
            raise chat.BadRequest("You must provide a model parameter.", param="model")
        # The name goes back in a header: one of any other form can't exist.
        if not _NAME.fullmatch(name) or self._options.deployment not in {None, name}:
            message = "The API deployment for this resource does not exist."
            raise Reply(404, chat.error(message, code="DeploymentNotFound"))
        return name


class _Gone(Exception):
    """The client closed the connection."""


async def _stream(
    entry: Entry, events: Iterable[chat.Event], started: float, left: asyncio.Future[Any], exchange: _Exchange
) -> None:
    """Send events at their due times, and note when each was really sent."""
    await exchange.start(200, {"content-type": _EVENT_STREAM})
    for event in events:
        await _until(started + event.due, left)
        if event.content:
            entry.content.append(len(entry.sent))
        entry.sent.append(time.perf_counter())
        await exchange.write(event.body, more=True)
    await exchange.write(b"", more=False)


async def _body(receive: Receive) -> bytes:
    """The whole body. One that is too long is read to its end and thrown away: only then is the answer heard."""
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size <= MOST_BODY:
            chunks.append(chunk)
    if size > MOST_BODY:
        raise Reply(413, chat.error("The request body is too large.", code="413"))
    return b"".join(chunks)


async def _until(due: float, left: asyncio.Future[Any]) -> None:
    """Wait until `due`, by an absolute time, so that late events do not delay later ones. Never early."""
    while (delay := due - time.perf_counter()) > 0 and not left.done():
        if delay > 0.1:
            # Dear, but in a long wait it tells at once when the client leaves.
            await asyncio.wait([left], timeout=delay)
        else:
            # uvloop rounds to whole milliseconds: half of one more makes that rounding up.
            await asyncio.sleep(delay + 0.0005)
    if left.done():
        raise _Gone


def _refusal(refused: Refused, call: Call, options: SimOptions, entry: Entry, request: Request) -> Exception:
    """The answer to a call that is not answered."""
    told = said.refusal(refused, call, options)
    if options.in_band and told.status == 429 and request.stream and isinstance(request, responses.Request):
        stream = responses.refusal(entry.request_id, int(time.time()), options.served, told.message)
        return Reply(200, stream, {**told.headers, "content-type": _EVENT_STREAM})
    return Reply(told.status, told.body, told.headers)
