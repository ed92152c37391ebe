"""A client without a network: what goes to a simulated deployment on a virtual clock, and comes back as over HTTP.

No bytes and no event per token: each attempt is judged by the deployment, sleeps until its answer would have ended, and is
filled in with what a client would have seen by then. It takes the place of `client.timed` in the load generator.
"""

import asyncio
from collections.abc import Callable, Mapping
from itertools import pairwise

from ptubench.client import judge
from ptubench.client.exchange import Exchange, GapSink
from ptubench.sim import said
from ptubench.sim.chat import FILTER_SHARE, BadRequest
from ptubench.sim.deployment import Admitted, Deployment, Refused
from ptubench.sim.spillover import Resource
from ptubench.stream.answer import Answer
from ptubench.virtual.calls import Calls
from ptubench.workload.model import Timeouts


class VirtualClient:
    """Sends requests to one simulated deployment; a body is a request's index in decimal digits.

    Args:
        resource: the deployment, and the one that it spills to.
        calls: what the requests ask of it.
        clock: of the virtual loop, in seconds.
        name: of the deployment, as it stands in headers.
        stream: whether answers are streams.
        timeouts: of each exchange, seconds.
    """

    def __init__(
        self,
        resource: Resource,
        calls: Calls,
        *,
        clock: Callable[[], float],
        name: str,
        stream: bool,
        timeouts: Timeouts,
    ) -> None:
        options = resource.first.options
        self._resource = resource
        self._calls = calls
        self._clock = clock
        self._name = name
        self._stream = stream
        self._timeouts = timeouts
        self._common = said.common(options)
        self._packed = options.tokens_per_event
        self.gaps = GapSink()
        self.secrets: tuple[str, ...] = ()

    def authorize(self, headers: Mapping[str, str]) -> None:
        """Nothing to prove."""

    async def warm(self, connections: int) -> int:  # noqa: ARG002 - there are none
        """No connections."""
        return 0

    async def close(self) -> None:
        """Nothing is open."""

    async def send(self, body: bytes, exchange: Exchange) -> None:
        """One exchange; every failure is named in it."""
        now = exchange.sent = self._clock()
        try:
            call = self._calls.call(int(body))
        except BadRequest as exc:
            exchange.headers = self._common
            self._refuse(exchange, 400, exc.body)
            return
        offered = self._resource.offer(now, call)
        exchange.headers = self._common | said.answered_by(offered, now, name=self._name)
        if isinstance(offered.answer, Refused):
            told = said.refusal(offered.answer, call, offered.by.options)
            exchange.headers |= told.headers
            self._refuse(exchange, told.status, told.body)
        else:
            await self._answer(exchange, offered.by, offered.answer)

    def _refuse(self, exchange: Exchange, status: int, body: bytes) -> None:
        exchange.answered = exchange.end = exchange.sent
        exchange.status = status
        judge.status(exchange, body)

    async def _answer(self, exchange: Exchange, by: Deployment, admitted: Admitted) -> None:
        """Wait for an answer to its end, to where the client gives it up, or to where it is cut."""
        failure, limit, ends = _given_up(admitted, self._timeouts, stream=self._stream, packed=self._packed)
        if self._stream:
            exchange.status, exchange.answered = 200, exchange.sent
        generated = None
        try:
            await asyncio.sleep(ends)
            if failure is not None:
                generated = admitted.generated(ends)
        except asyncio.CancelledError:
            generated = admitted.generated(self._clock() - admitted.at)
            raise
        finally:
            if self._stream:
                visible = admitted.visible if generated is None else max(0, generated - admitted.reasoning)
                _show(exchange.answer, admitted, visible, packed=self._packed)
            by.complete(self._clock(), admitted, generated=generated)
        exchange.end = self._clock()
        if failure is None:
            self._tell(exchange, by, admitted)
        else:
            exchange.fail(failure, f"after {limit:g} s")

    def _tell(self, exchange: Exchange, by: Deployment, admitted: Admitted) -> None:
        """The end of a whole answer: usage, finish reason and model."""
        answer = exchange.answer
        if not self._stream:
            exchange.status, exchange.answered = 200, exchange.end
            answer.content_events = 1 if admitted.visible else 0
        answer.prompt_tokens, answer.cached_tokens = admitted.prompt, admitted.cached
        answer.completion_tokens, answer.reasoning_tokens = admitted.completion, admitted.reasoning
        answer.finish, answer.model, answer.done = admitted.finish, by.served, True
        if not admitted.visible:
            judge.empty(exchange)


def _show(answer: Answer, call: Admitted, shown: int, *, packed: int) -> None:
    """Fill in the content of a stream of which `shown` visible tokens had been generated when it ended."""
    # An event leaves when it is full; the last one, which need not be, when all is said.
    answer.content_events = -(-shown // packed) if shown == call.visible else shown // packed
    if answer.content_events:
        answer.first_content = answer.first_output = call.at + call.token(min(packed, call.visible) - 1)
        answer.last_content = call.at + call.token(min(answer.content_events * packed, call.visible) - 1)


def _given_up(call: Admitted, limits: Timeouts, *, stream: bool, packed: int) -> tuple[str | None, float, float]:
    """How an answer ends for its client: (the limit that ends it, if one does; that limit; seconds since admission)."""
    if call.end <= min(limits.first_byte, limits.idle, limits.total):
        return None, 0.0, call.end
    ends = [("total_timeout", limits.total, limits.total)]
    if not stream:
        ends.append(("first_byte_timeout", limits.first_byte, limits.first_byte))
    else:
        # Bytes come with the head, the filter event, the role, and then with the content, evenly.
        shown = [min(packed * events, call.visible) - 1 for events in (1, 2)] if call.visible else []
        moments = [0.0, FILTER_SHARE * call.start, call.ttft if shown else call.end, *map(call.token, shown)]
        quiet = (a for a, b in pairwise(moments) if b - a > limits.idle)
        ends += [("idle_timeout", limits.idle, begun + limits.idle) for begun in quiet]
    kind, limit, at = min(ends, key=lambda end: end[2])
    return (kind, limit, at) if at < call.end else (None, 0.0, call.end)
