"""Two deployments of one resource: the one that is called, and the standard one that serves what it refuses.

Whatever `Refused` can be spills: 429, 400 for a prompt that is too long, 500 and 503; where the deployment has it
switched on, or a request asks for it (Azure AI documentation, spillover-traffic-management, 2026-06-18). No sockets
and no clock.
"""

from typing import Any, NamedTuple

from ptubench.sim.deployment import Admitted, Call, Deployment, Refused
from ptubench.sim.options import SimOptions


class Offered(NamedTuple):
    """What became of a call, and whose doing it is."""

    by: Deployment
    """To be told of the end of an admitted call."""
    answer: Admitted | Refused
    error: int | None = None
    """The status of the first deployment, where the call was spilled."""


class Resource:
    """A simulated deployment with its spillover. `wall` is what turns `now` into seconds since the epoch."""

    def __init__(self, options: SimOptions, *, now: float = 0.0, wall: float = 0.0) -> None:
        self.first = Deployment(options, now=now, wall=wall)
        self.second = Deployment(options.second, now=now, wall=wall)
        self._spills = options.spill is not None
        self._spilled = 0

    def offer(self, now: float, call: Call, *, spill: bool = False) -> Offered:
        """Judge a call that arrives now; an admitted one must be ended with `complete` of who answers it.

        `spill` says that the request asks for spillover, also of a deployment that has it switched off.
        """
        answer = self.first.offer(now, call)
        if isinstance(answer, Admitted) or not (spill or self._spills):
            return Offered(self.first, answer)
        self._spilled += 1
        return Offered(self.second, self.second.offer(now, call), answer.status)

    def state(self, now: float) -> dict[str, Any]:
        """What the first deployment says of itself, and how many calls were spilled; JSON."""
        return {**self.first.state(now), "spilled": self._spilled}
