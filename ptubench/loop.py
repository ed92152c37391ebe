"""Which event loop runs: uvloop where it exists, asyncio's own elsewhere (Windows)."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on the fastest loop there is."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - not on Windows

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(_say_once())
            return runner.run(main)
    finally:
        main.close()  # where a signal came before it began, Python would warn of it


def _say_once() -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """What becomes of exceptions in callbacks: the first of each kind is said.

    uvloop raises one inside itself for every connection that is reset during its TLS handshake.
    """
    said: set[tuple[str, str]] = set()

    def say(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        kind = (type(context.get("exception")).__name__, context["message"].partition("<")[0])
        if kind not in said:
            said.add(kind)
            loop.default_exception_handler(context)

    return say
