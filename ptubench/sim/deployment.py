"""A simulated deployment: calls in, admissions, speeds and 429s out.

A PTU deployment, or a standard one, whose bucket is its quota of tokens a minute. Puts together the leaky bucket, the prompt cache and the latency model. No sockets and no clock: `now` is an
argument, in seconds of any monotonic clock, and never goes back by more than the order of one moment's events.
"""

import math
from typing import Any

import msgspec

from ptubench.ptu.bucket import Bucket
from ptubench.sim.cache import Marks, PromptCache
from ptubench.sim.latency import chance, draw, first_token, per_token
from ptubench.sim.options import ASSUMED, SimOptions

LONGEST_ANSWER = 128_000
"""Completion tokens that no answer exceeds, whatever a prompt asks for."""


_DEMAND_WAIT_MS = 1000  # what a 429 for high demand asks to wait [assumed]


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
    """A call that is not answered: a 429, a prompt that is too long (400), or an error of the service (500, 503)."""

    level: float
    """Bucket level on arrival, as a share of its depth: 1 or more where that is the reason."""
    status: int = 429
    retry_after_ms: int | None = None
    """Of a 429."""


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
        self.served = options.served
        self._prompt_limit = options.prompt_limit  # looked up in the catalogue: once, not for each call
        depth = self.capacity.per_second * options.depth
        self._bucket = Bucket(drain=self.capacity.per_second, depth=depth, level=options.level * depth, now=now)
        self._cache = PromptCache(ttl=options.cache_ttl)
        self._wall = wall
        self._minutes: dict[int, float] = {}
        self._peak_level = options.level
        self._offered = 0
        self._admitted = 0
        self._throttled = 0

    def offer(self, now: float, call: Call) -> Admitted | Refused:
        """Judge a call that arrives now; an admitted one must be ended with `complete`."""
        level = self._bucket.share(now)
        refused = self._refused(now, call, level)
        if refused is not None:
            self._throttled += refused.status == 429
            return refused
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

    def remaining(self, now: float) -> int:
        """Tokens that are left until the bucket is full: what a standard deployment tells of its quota."""
        return max(0, math.floor(self._bucket.depth - self._bucket.level(now)))

    def _refused(self, now: float, call: Call, level: float) -> Refused | None:
        """Why a call is not answered, if it is not."""
        options = self.options
        self._offered += 1
        luck = call.key + str(self._offered).encode()  # another one for each attempt of a call
        if self._prompt_limit is not None and call.prompt > self._prompt_limit:
            return Refused(level=level, status=400)
        if options.errors and chance(options.seed, b"errors" + luck) < options.errors:
            return Refused(level=level, status=500 if self._offered % 2 else 503)
        if not self._bucket.admits(now):
            return Refused(level=level, retry_after_ms=self._bucket.retry_after_ms(now))
        if options.type == "standard" and options.demand and chance(options.seed, b"demand" + luck) < options.demand:
            return Refused(level=level, retry_after_ms=_DEMAND_WAIT_MS)
        return None

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
