"""The request headers of a target; a token among them is renewed ahead of its end, for as long as the load lasts.

Knows neither workers nor targets: it is told where tokens come from, and tells whoever sends requests.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from ptubench.errors import TargetRefused
from ptubench.units import duration_text

Ask = Callable[[], Awaitable[tuple[dict[str, str], float]]]
"""A fresh token as a request header, and when it ends, in seconds since the epoch; raises TargetRefused."""
Tell = Callable[[dict[str, str]], None]
"""Takes the headers that requests carry from now on."""

_AHEAD = 300.0
"""Seconds before its end at which a token is renewed, as azure-identity does; one that lives short, at half of its life."""
_LEAST = 1.0  # seconds between two renewals, however short tokens live
_AGAIN = (5.0, 30.0)  # seconds until a token is asked for again that could not be had
_PATIENCE = 60.0  # seconds for one to come: a sign-in that hangs must not use up the time that is left
_STEP = 30.0  # seconds of sleep at most: the wall clock may be set, or the machine sleep


class Keys:
    """What requests to a target prove themselves with.

    Args:
        headers: with their secrets; without a token that is asked for.
        ask: where tokens come from; None where no token is asked for.
        say: takes a line for the user.
        wall: the wall clock, by which tokens end.
        clock: one that is never set back.
        sleep: as `asyncio.sleep`.
    """

    def __init__(
        self,
        headers: dict[str, str],
        ask: Ask | None,
        say: Callable[[str], None],
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.headers = headers
        self._fixed = headers
        self._ask = ask
        self._say = say
        self._wall = wall
        self._clock = clock
        self._sleep = sleep
        self._expires = 0.0
        self._due = (0.0, 0.0)

    async def renew(self) -> None:
        """Put a fresh token into the headers, where one is needed at all.

        Raises:
            TargetRefused: none can be had; the headers stay as they are.
        """
        if self._ask is None:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                token, self._expires = await self._ask()
        except TimeoutError:
            raise TargetRefused(f"Entra gave no token within {_PATIENCE:g} s; try `az login`, or use a key") from None
        self.headers = {**self._fixed, **token}
        left = self._expires - self._wall()
        self._due = self._after(max(left - _AHEAD, left / 2, _LEAST))

    async def keep(self, tell: Tell) -> None:
        """Renew the token ahead of its end, for ever; without one, return. What can't be renewed is asked for again."""
        trouble = ""
        while self._ask is not None:
            while (early := self._early()) > 0:
                await self._sleep(min(early, _STEP))
            try:
                await self.renew()
            except TargetRefused as exc:
                # Not the end: the old token holds until its own, and after that the answers will tell.
                if str(exc) != trouble:
                    trouble = str(exc)
                    self._say(f"warning: {trouble}; {self._left()}")
                self._due = self._after(min(max((self._expires - self._wall()) / 4, _AGAIN[0]), _AGAIN[1]))
            else:
                tell(self.headers)
                if trouble:
                    trouble = ""
                    self._say("the token was renewed after all")

    def _after(self, seconds: float) -> tuple[float, float]:
        """So many seconds from now, by the wall clock and by the monotonic one."""
        return self._wall() + seconds, self._clock() + seconds

    def _early(self) -> float:
        """Seconds to wait yet: by the clock that is further, since one may be set back and the other sleeps with the machine."""
        return min(self._due[0] - self._wall(), self._due[1] - self._clock())

    def _left(self) -> str:
        left = self._expires - self._wall()
        if left < 1:
            return "the old token has ended; another one is asked for until it comes"
        return f"the old token holds for {duration_text(float(int(left)))}, and until then another one is asked for"


@contextlib.asynccontextmanager
async def kept_fresh(*keys: tuple[Keys, Tell]) -> AsyncIterator[None]:
    """Keep the tokens of some targets fresh until the block ends."""
    tasks = [asyncio.create_task(one.keep(tell)) for one, tell in keys]
    try:
        yield
    finally:
        for task in tasks:
            if not task.cancel() and not task.cancelled():
                task.result()  # a fault of ours is raised
