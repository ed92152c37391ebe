"""The user's own client code as the client: an SDK with its own retries, a gateway's library.

The function is an async generator: it gets a `Call` and yields pieces of the answer as text. What it knows of the
answer beside its text it yields as mappings (`FACTS`). It is measured as an application sees it: `sent` is the call
of the function, and a piece arrives when it is yielded.
"""

import asyncio
import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec

from ptubench import failures, secret
from ptubench.client.exchange import Exchange, GapSink
from ptubench.errors import UsageError
from ptubench.record import RETRIED_INSIDE
from ptubench.stream import refusal
from ptubench.stream.answer import OUTPUT, one_line
from ptubench.stream.apis import Api
from ptubench.workload.model import Timeouts

Pieces = AsyncGenerator[str | Mapping[str, Any], None]
FACTS: dict[str, Any] = {"headers": Mapping, "usage": Mapping, "model": str, "finish_reason": str, "retries": int}
"""What a mapping may tell: the answer's headers, the service's usage, the model that answered, why it ended, and how
often the function itself had sent the call again. A mapping with none of these names is the usage itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """What the user's function is asked to do."""

    url: str
    """Where ptubench itself would have posted the body."""
    headers: Mapping[str, str]
    """Authorization included."""
    body: dict[str, Any]
    """What ptubench would post: messages or input, output limit, parameters."""


def load_function(spec: str) -> Callable[[Call], Pieces]:
    """The function named `package.module:function`, looked for in the working folder too.

    Raises:
        UsageError: it can't be imported, or is no async generator function.
    """
    where = f"client: {spec}"
    module_name, _, name = spec.partition(":")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds texts
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - sys.path holds texts
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as exc:  # noqa: BLE001 - importing runs the user's code, which may raise anything
        kind = "" if isinstance(exc, ImportError | AttributeError) else f"{type(exc).__name__}: "
        said = one_line(f"{kind}{exc}")
        raise UsageError(f"{where}: can't be imported ({said}); give an importable package.module:function") from None
    if not inspect.isasyncgenfunction(function):
        raise UsageError(f"{where}: is no async generator function; it must be `async def` and `yield` its pieces")
    return function  # type: ignore[no-any-return] # what it is was just asked


class CustomClient:
    """Calls the user's function for each request; any exception it raises is a failed attempt."""

    def __init__(
        self,
        function: Callable[[Call], Pieces],
        *,
        url: str,
        api: Api,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        stream: bool,
    ) -> None:
        self._function = function
        self._url = url
        self._answer = api.answer
        self._total = timeouts.total
        self._stream = stream
        self.gaps = GapSink()
        self.authorize(headers)

    def authorize(self, headers: Mapping[str, str]) -> None:
        """Hand these request headers to the function from now on."""
        self._headers = dict(headers)
        self.secrets = secret.words(headers.values())

    async def warm(self, connections: int) -> int:  # noqa: ARG002 - the function owns its connections
        """Nothing can be opened from outside."""
        return 0

    async def send(self, body: bytes, exchange: Exchange) -> None:
        """One call of the function; every failure is named in the exchange."""
        call = Call(url=self._url, headers=self._headers, body=msgspec.json.decode(body))
        exchange.answer = self._answer()
        exchange.sent = perf_counter()
        limit = asyncio.timeout(self._total)
        try:
            async with limit:
                await self._collect(call, exchange)
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # by us; else by the user's code, of its own accord
            self._raised(exc, exchange)
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - the user's code may raise anything: a result like any other
            if limit.expired():
                exchange.fail("total_timeout", f"after {self._total:g} s")
            else:
                self._raised(exc, exchange)
        exchange.end = perf_counter()

    async def close(self) -> None:
        """The function's connections are its own."""

    async def _collect(self, call: Call, exchange: Exchange) -> None:
        answer, last = exchange.answer, None
        async with contextlib.aclosing(self._function(call)) as pieces:
            async for piece in pieces:
                at = perf_counter()
                # How often it was sent is no part of an answer, and there may be none.
                if exchange.answered is None and not (isinstance(piece, Mapping) and set(piece) == {"retries"}):
                    exchange.answered = at
                if isinstance(piece, str):
                    if piece:
                        answer.content(OUTPUT, at)
                        self.gaps.content(at, None if exchange.spilled else last)
                        last = at
                elif isinstance(piece, Mapping):
                    _note(exchange, piece)
                else:
                    raise TypeError(f"the function yielded a {type(piece).__name__}; it must yield text or mappings")
        exchange.status = 200
        if answer.first_content is None:
            exchange.fail("empty", "the function yielded no text")

    def _raised(self, exc: BaseException, exchange: Exchange) -> None:
        """A status that an SDK raises is what the service answered; anything else is the failure of the user's client."""
        response = getattr(exc, "response", None)
        status = getattr(exc, "status_code", getattr(response, "status_code", None))
        headers = getattr(response, "headers", None)
        if isinstance(headers, Mapping):
            _keep(exchange, headers)
        text = one_line(f"{type(exc).__name__}: {exc}")
        exchange.status = status if isinstance(status, int) else None
        if status == 429:
            exchange.error = text
        elif exchange.status is not None and exchange.status >= 300:
            exchange.refused = refusal.of_text(text) if status == 400 else None
            exchange.fail(failures.http(exchange.status), text)
        else:
            exchange.fail("client_error", text)


def _note(exchange: Exchange, told: Mapping[str, Any]) -> None:
    """Keep what the function tells of the answer; raises TypeError for what can't be meant."""
    facts = told if told.keys() & FACTS else {"usage": told}
    for name, value in facts.items():
        if name not in FACTS:
            raise TypeError(f"the function yielded `{name}`; a mapping may tell {', '.join(FACTS)}")
        if value is None:
            continue
        if not isinstance(value, FACTS[name]):
            raise TypeError(f"the function yielded `{name}` as a {type(value).__name__}")
        if name == "headers":
            _keep(exchange, value)
        elif name == "usage":
            exchange.answer.usage(value)
        elif name == "model":
            exchange.answer.model = one_line(value)
        elif name == "finish_reason":
            exchange.answer.finish = one_line(value)
        elif value > 0:
            exchange.flags += (RETRIED_INSIDE,)


def _keep(exchange: Exchange, headers: Mapping[Any, Any]) -> None:
    for name, value in headers.items():
        exchange.keep_header(str(name).encode(), str(value).encode())
