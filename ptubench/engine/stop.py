"""Stopping a run by signals."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Literal

Ended = Literal["completed", "stopped", "aborted", "lost"]


class Signals:
    """What SIGINT, SIGTERM and SIGHUP do while a run goes on.

    Before the load: `give_up`. Then the first one calls `stop`, the second `abort`. After it, one is only kept in mind:
    what was to follow does not begin.
    """

    def __init__(self, give_up: Callable[[], object]) -> None:
        self.ended: Ended = "completed"
        self._next: list[tuple[Ended, Callable[[], object]]] = [("stopped", give_up)]

    def loaded(self, *, stop: Callable[[], None], abort: Callable[[], None]) -> None:
        """The load has begun: from now on signals end it in order."""
        self._next = [("stopped", stop), ("aborted", abort)]

    def over(self) -> Ended:
        """The load has ended, as is returned; a signal that comes now changes `ended` alone."""
        self._next = [("stopped", lambda: None)] if self.ended == "completed" else []
        return self.ended

    def _on_signal(self) -> None:
        if self._next:
            self.ended, call = self._next.pop(0)
            call()

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals inside the block; as before after it."""
        names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        numbers = [getattr(signal, name) for name in names]
        running = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            try:
                running.add_signal_handler(number, self._on_signal)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: running.call_soon_threadsafe(self._on_signal))
        try:
            yield
        finally:
            for number in numbers:
                with contextlib.suppress(NotImplementedError):
                    running.remove_signal_handler(number)
                signal.signal(number, before[number])
