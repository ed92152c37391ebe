"""A simulated PTU deployment: calls in, admissions, speeds and 429s out.

Puts together the leaky bucket, the prompt cache and the latency model. No sockets and no clock: `now` is an
argument, in seconds of any monotonic clock, and never goes back by more than the order of one moment's events.
"""

import math
from typing import Any

import msgspec

from ptubench.ptu.bucket import Bucket
from ptubench.sim.cache import Marks, PromptCache
from ptubench.sim.latency import draw, first_token, per_token
from ptubench.sim.options import ASSUMED, SimOptions

LONGEST_ANSWER = 128_000
"""Completion tokens that no answer exceeds, whatever a prompt asks for."""


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request asks of the deployment, in tokens."""

    prompt: int
    asked: int | None = None
    """Completion tokens that the prompt asks for, without reasoning; None if it does not say."""
    limit: int | None = None
    """The output limit; None when none was sent."""
    key: bytes = b""
    """Text or digest of the prompt: what the jitter of its latency depends on."""
    marks: Marks = ()
    """The prompt's marks in the prompt cache."""


class Refused(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A 429."""

    level: float
    """Bucket level on arrival, as a share of its depth: 1 or more."""
    retry_after_ms: int


class Admitted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A call that will be answered, and how. Times in seconds since its admission."""

    at: float
    """When it was admitted, by the caller's clock."""
    level: float
    """Bucket level on arrival, as a share of its depth."""
    prompt: int
    cached: int
    completion: int
    """Completion tokens, the hidden reasoning included."""
    reasoning: int
    finish: str
    """`stop`, or `length` when the limit cut the answer."""
    estimate: float
    """Normalized tokens charged on admission."""
    start: float
    """When the first token is generated, reasoning or not."""
    per_token: float
    """From one token to the next."""

    @property
    def visible(self) -> int:
        """Completion tokens that are sent."""
        return self.completion - self.reasoning

    def token(self, index: int) -> float:
        """When the visible token `index` (from 0) is generated."""
        return self.start + (self.reasoning + index) * self.per_token

    @property
    def ttft(self) -> float:
        """When the first visible token is generated."""
        return self.token(0)

    @property
    def end(self) -> float:
        """When the last token is generated."""
        return self.token(self.visible - 1)

    def generated(self, elapsed: float) -> int:
        """Tokens generated after `elapsed` seconds, reasoning included."""
        return min(self.completion, max(0, math.floor((elapsed - self.start) / self.per_token) + 1))


class Deployment:
    """One simulated deployment. `wall` is what turns `now` into seconds since the epoch, for the UTC minutes."""

    def __init__(self, options: SimOptions, *, now: float = 0.0, wall: float = 0.0) -> None:
        self.options = options
        self.capacity = options.capacity
        self.target_tps = options.target_tps
        depth = self.capacity.per_second * options.depth
        self._bucket = Bucket(drain=self.capacity.per_second, depth=depth, level=options.level * depth, now=now)
        self._cache = PromptCache(ttl=options.cache_ttl)
        self._wall = wall
        self._minutes: dict[int, float] = {}
        self._peak_level = options.level
        self._admitted = 0
        self._throttled = 0

    def offer(self, now: float, call: Call) -> Admitted | Refused:
        """Judge a call that arrives now; an admitted one must be ended with `complete`."""
        level = self._bucket.share(now)
        if not self._bucket.admits(now):
            self._throttled += 1
            return Refused(level=level, retry_after_ms=self._bucket.retry_after_ms(now))
        admitted = self._answer(now, call, level)
        self._admitted += 1
        self._bucket.charge(admitted.estimate, now)
        self._peak_level = max(self._peak_level, self._bucket.share(now))
        self._account(self.capacity.normalized(call.prompt, admitted.cached, 0), now, now)
        if self.options.cache:
            self._cache.keep(call.marks, now)
        return admitted

    def complete(self, now: float, call: Admitted, *, generated: int | None = None) -> None:
        """End a call: its true cost replaces its estimate.

        `generated` says how many of its tokens there were when its client went away; None is all. That Azure stops
        generating and charging then is assumed.
        """
        completion = call.completion if generated is None else generated
        cost = self.capacity.normalized(call.prompt, call.cached, completion)
        self._bucket.charge(cost - call.estimate, now)
        began = call.at + call.start
        ended = began + max(0, completion - 1) * call.per_token
        self._account(self.capacity.normalized(0, 0, completion), began, ended)

    def state(self, now: float) -> dict[str, Any]:
        """What the deployment says of itself; JSON. Levels are shares of the depth.

        `minutes` are pairs of a UTC minute's start (seconds since the epoch) and the normalized tokens charged in it:
        prompts when admitted, completions spread evenly over their generation, once they are complete.
        """
        options = self.options
        return {
            "model": options.model,
            "ptu": options.ptu,
            "tpm": self.capacity.tpm,
            "depth_s": options.depth,
            "level": self._bucket.share(now),
            "peak_level": self._peak_level,
            "minutes": [[minute * 60, tokens] for minute, tokens in sorted(self._minutes.items())],
            "admitted": self._admitted,
            "throttled": self._throttled,
            "assumed": {name: getattr(options, name) for name in ASSUMED},
        }

    def _answer(self, now: float, call: Call, level: float) -> Admitted:
        options = self.options
        luck = draw(options.seed, call.key)
        cached = min(call.prompt, self._cache.cached(call.marks, now)) if options.cache else 0
        wanted = options.reasoning + min(LONGEST_ANSWER, max(1, call.asked or options.answer))
        completion = wanted if call.limit is None else min(wanted, call.limit)
        reserved = options.estimate if call.limit is None else call.limit
        return Admitted(
            at=now,
            level=level,
            prompt=call.prompt,
            cached=cached,
            completion=completion,
            reasoning=min(options.reasoning, completion),
            finish="stop" if completion == wanted else "length",
            estimate=self.capacity.normalized(call.prompt, cached, reserved),
            start=first_token(
                call.prompt - cached,
                level,
                luck.first,
                latency=options.latency,
                prefill=options.prefill,
                load=options.load,
                jitter=options.jitter,
            ),
            per_token=per_token(luck.speed, target_tps=self.target_tps, jitter=options.jitter),
        )

    def _account(self, tokens: float, began: float, ended: float) -> None:
        """Book normalized tokens on the UTC minutes in [began, ended], evenly."""
        if not tokens:
            return
        began, ended = began + self._wall, ended + self._wall
        first, last = math.floor(began / 60), math.floor(ended / 60)
        for minute in range(first, last + 1):
            within = min(ended, 60 * minute + 60) - max(began, 60 * minute)
            part = 1.0 if first == last else within / (ended - began)
            self._minutes[minute] = self._minutes.get(minute, 0.0) + tokens * part
