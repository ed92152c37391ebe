"""The leaky bucket that decides which calls a PTU deployment admits.

    level L in normalized tokens, drain R = PTU · TPM per PTU / 60 a second, depth D = R · T
    admit iff L < D when the call arrives, whatever its own size; admitted, its estimate is added at once
    at completion the true cost replaces the estimate; L drains at R all the time and never falls below 0
    retry after (L − D) / R

That a call is judged alone, on arrival, by the current level, and the estimate and its correction are documented
(Azure AI documentation, provisioned-get-started, 2026-09-11, and provisioned-throughput concepts, 2026-02-10). T is
not published, and that output tokens weigh here what they weigh in sizing is an inference. Costs come from
`Capacity.normalized`. No clock: `now` is an argument, in seconds of any monotonic clock.
"""

import math


class Bucket:
    """The level of one deployment; `level` is where it starts, 0 empty and `depth` full (in normalized tokens)."""

    __slots__ = ("_at", "_level", "depth", "drain")

    def __init__(self, *, drain: float, depth: float, level: float = 0.0, now: float = 0.0) -> None:
        self.drain = drain
        self.depth = depth
        self._level = level
        self._at = now

    def level(self, now: float) -> float:
        """Normalized tokens in the bucket."""
        # A stamp from before the last one (two events of the same moment) drains nothing.
        elapsed = max(0.0, now - self._at)
        return max(0.0, self._level - self.drain * elapsed)

    def share(self, now: float) -> float:
        """The level as a share of the depth; above 1 when the last call overshot."""
        return self.level(now) / self.depth

    def admits(self, now: float) -> bool:
        """Whether a call that arrives now is admitted. Its own size plays no part."""
        return self.level(now) < self.depth

    def charge(self, cost: float, now: float) -> None:
        """Add the estimate of an admitted call, or at its end the difference to its true cost (often negative)."""
        self._level = max(0.0, self.level(now) + cost)
        self._at = max(self._at, now)

    def retry_after_ms(self, now: float) -> int:
        """Milliseconds until a call is admitted again, if nothing else arrives; whole and never 0.

        Exactly at the depth nothing is admitted yet, so that a whole number of milliseconds becomes the next one.
        """
        milliseconds = 1000 * (self.level(now) - self.depth) / self.drain
        # Far above any rounding of the level, far below what a client could notice.
        return max(1, math.floor(milliseconds + 1e-6) + 1)
