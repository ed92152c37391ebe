"""A workload as frozen data: what is sent, when, for how long, and what must hold.

Times in seconds, rates per second, sizes in tokens. Knows neither YAML nor the command line nor any clock.
"""

from typing import Any

import msgspec


class Fixed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="fixed", tag_field="kind"):
    """Always the same number of tokens."""

    tokens: int


class Lognormal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="lognormal", tag_field="kind"):
    """Log-normal sizes by mean and 95th percentile, truncated at `max`."""

    mean: float
    p95: float
    max: int | None = None


class Uniform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="uniform", tag_field="kind"):
    """Every whole number from `min` to `max` is equally likely."""

    min: int
    max: int


Sizes = Fixed | Lognormal | Uniform


class Cached(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A prefix shared by many prompts, as grounding documents are."""

    tokens: int
    prefixes: int = 1


class Messages(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The user's own prompts, from a JSONL file."""

    file: str
    """Absolute path."""
    order: str = "given"
    """`given` or `random`."""


class Class(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One kind of request; a workload without `mix` has one, with an empty name."""

    name: str = ""
    weight: float = 1.0
    prompt: Sizes | None = None
    """None with `messages`, and with a trace (which brings sizes)."""
    completion: Sizes | None = None
    limit: Sizes | None = None
    """What is reserved; None is "the same as the completion asked for" unless `unlimited`."""
    unlimited: bool = False
    """`output_limit: none`: no limit is sent."""
    cached: Cached | None = None
    messages: Messages | None = None
    reasoning_tokens: int = 0
    """Added to the limit."""


class Stage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A constant rate, or a ramp to another one. Unit: calls a second, tokens a second, or share of the capacity."""

    value: float
    to: float | None = None
    seconds: float
    unit: str = "rate"
    """`rate`, `tokens` or `utilization`; only `rate` once resolved."""


class OpenLoop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="open", tag_field="kind"):
    """Arrivals that do not wait for answers."""

    stages: tuple[Stage, ...]
    arrivals: str = "poisson"
    """`poisson`, `constant` or `gamma`."""
    burstiness: float = 1.0
    """Shape of the gamma distribution of the times between arrivals; 1 is Poisson, less is burstier."""


class ClosedLoop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="closed", tag_field="kind"):
    """Lanes that send their next request when the last one is answered."""

    concurrency: int
    think_time: float = 0.0


class Trace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="trace", tag_field="kind"):
    """Arrivals and sizes as they were recorded."""

    file: str
    """Absolute path."""
    format: str
    """`azure`, `jsonl` or `usage`."""
    start: float = 0.0
    """Seconds into the trace (in the trace's own time)."""
    speed: float = 1.0


Load = OpenLoop | ClosedLoop | Trace


class Slo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a good answer is; `slo.ratio` is the share of offered requests that met all of it. Seconds."""

    ttft: float | None = None
    e2e: float | None = None


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds."""

    connect: float = 5.0
    first_byte: float = 120.0
    idle: float = 60.0
    total: float = 600.0


class Throttling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happens after a 429."""

    on_429: str = "none"
    """`none`: it is the answer. `retry`: as the official Python client does. `divert`: at once to `divert_to`."""
    max_retries: int = 2
    """`retry`: attempts after the first at most."""
    max_wait: float | None = None
    """`retry`: a wait longer than this is not waited; the request is given up."""
    divert_to: dict[str, Any] | None = None
    """`divert`: the second target in the form of `target:`, checked but not yet resolved."""


class Workload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole file, resolved: defaults filled in, units read, paths absolute."""

    name: str
    description: str = ""
    classes: tuple[Class, ...]
    load: Load
    duration: float
    """How long load is offered, warm-up included."""
    warmup: float
    """How long nothing is measured by the rule `fixed`, which also holds where another rule can't decide."""
    warmup_rule: str = "fixed"
    """`fixed`, or `auto` or `until_429`: decided afterwards, from the records (`analysis.steady`)."""
    seed: int = 0
    throttling: Throttling = Throttling()
    slo: Slo | None = None
    max_in_flight: int = 10_000
    drain: float = 60.0
    timeouts: Timeouts = Timeouts()
    stream: bool = True
    parameters: dict[str, Any] = {}
    """Sent in every body as they are, beside what ptubench sets itself."""
    client: str = "timed"
    checks: tuple[str, ...] = ()
    """Rules that are judged after the run."""
    abort: tuple[str, ...] = ()
    """Rules that end the load once they are clearly broken."""
    target: dict[str, Any] = {}
    """The file's own `target:`, checked but not yet resolved."""
    pending: tuple[str, ...] = ()
    """`duration`, `warmup`: 0 until `resolve` takes them from the trace; empty once resolved."""
