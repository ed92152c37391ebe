"""What the requests of a plan ask of a simulated deployment, without their texts.

A prompt of our own making has as many tokens as were asked for by construction (`load.prompts`), so its text is never
written: only what a deployment would read out of it is. The user's own messages are read as over HTTP.
"""

from functools import cache

import msgspec

from ptubench.load.plan import Plan, Request
from ptubench.load.prompts import OVERHEAD
from ptubench.sim import chat
from ptubench.sim.cache import FIRST, STEP, Marks
from ptubench.sim.deployment import Call
from ptubench.sim.options import SimOptions


class Calls:
    """The calls of one run at one deployment.

    Args:
        plan: of the run.
        options: of the deployment.
        salt: of the run. Prompts of another salt or seed have another luck, as their texts would.
    """

    def __init__(self, plan: Plan, options: SimOptions, *, salt: str) -> None:
        self._plan = plan
        self._options = options
        self._luck = f"{plan.workload.seed} {salt} ".encode()
        self._numbers = {kind.name: number for number, kind in enumerate(plan.workload.classes)}
        self._own = cache(self._read)
        self._marks = cache(_marks)

    def call(self, index: int) -> Call:
        """The call of request `index`.

        Raises:
            chat.BadRequest: messages of the user's own that the deployment does not take.
        """
        request = self._plan.request(index)
        if request.message is not None:
            own = self._own(self._numbers[request.kind.name], request.message)
            return msgspec.structs.replace(own, limit=request.limit)
        assert request.prompt is not None  # noqa: S101 - only the user's own messages are of unknown length
        return Call(
            prompt=request.prompt - OVERHEAD + self._options.overhead,
            asked=request.completion,
            limit=request.limit,
            key=self._luck + str(index).encode(),
            marks=self._prefix(request),
        )

    def _prefix(self, request: Request) -> Marks:
        """The marks of the prefix that the prompt shares with others; what is its own is never seen again."""
        if request.prefix is None or not self._options.cache:
            return ()
        return self._marks(request.prefix, request.cached + self._options.overhead)

    def _read(self, number: int, message: int) -> Call:
        """The call of one line of the user's own messages."""
        body = b'{"messages":%b}' % self._plan.lines[number][message].messages
        return chat.call(chat.read(body, reasoning=False), self._options)


def _marks(prefix: int, tokens: int) -> Marks:
    """The marks of the first `tokens` of a shared prefix; a longer part of it begins with the marks of a shorter one."""
    return tuple(b"%d %d" % (prefix, mark) for mark in range(FIRST, tokens + 1, STEP))
