"""A clock that jumps: an event loop whose waits take no time.

Timers fire in the order of their times, at exactly the times they were set for, so what happens on the loop depends
on nothing but itself: the same twice, on any machine.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

STARTED = 1_790_000_040.0
"""What the wall clock reads at the start: a full UTC minute, in seconds since the epoch."""
_PATIENCE = 10.0  # real seconds for a thread, which no jump can hurry

_Found = TypeVar("_Found")


class _Selector(selectors.DefaultSelector):
    """Asked to wait, it moves the clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # nothing is due: only a thread can go on
            ready = super().select(_PATIENCE)
            if not ready:
                raise RuntimeError("everything waits and nothing is due")
            return ready
        ready = super().select(0)
        if not ready:
            self.now += max(0.0, timeout)
        return ready


class Loop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which begins at 0."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds since the loop began."""
        return self._virtual.now

    def wall(self) -> float:
        """Virtual seconds since the epoch."""
        return STARTED + self._virtual.now


def run(main: Callable[[Loop], Coroutine[Any, Any, _Found]]) -> _Found:
    """The result of a coroutine function, which is given the virtual loop that it runs on."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)  # noqa: S101 - what the factory makes
        return runner.run(main(loop))
