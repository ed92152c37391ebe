"""What a run leaves behind: one frozen value for each line of a run file.

Times are seconds since the start of the run (t = 0), read from one monotonic clock; None means that it
never happened. Only what was seen is stored; everything derived is computed later, by `analysis`.
Knows neither files nor clocks nor the workload's meaning.
"""

from typing import Any, Literal

import msgspec

from ptubench.workload.model import Workload

SCHEMA = 1

Outcome = Literal["ok", "throttled", "failed", "cut"]

THROTTLED_IN_BAND = "throttled_in_band"
"""The flag of an attempt that was answered 200 and then, inside the stream, told of a rate limit."""
SPILLED = "x-ms-spillover-from-deployment"
"""The header that is present exactly when another deployment answered (Azure AI documentation, spillover-traffic-management, 2026-06-18)."""
REASONING_SUMMARY = "reasoning_summary"
"""The flag of an answer that showed a summary of its reasoning: text, and none of the reasoning tokens that it counts."""


RETRIED_INSIDE = "retried_inside"
"""The flag of a call that the user's own client had sent before, out of our sight."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="attempt", tag_field="type", gc=False):
    """One HTTP exchange for a request, from due to end."""

    index: int
    attempt: int = 0
    """0 for the first attempt of a request."""
    worker: int = 0
    lane: int | None = None
    """Closed loop only: which lane asked."""
    name: str = msgspec.field(default="", name="class")
    """The class of the mix; empty without a mix."""
    prompt_asked: int | None = None
    cached_asked: int = 0
    completion_asked: int | None = None
    limit: int | None = None
    """The output limit that was sent; None when none was."""
    scheduled: float
    """When the request was due."""
    taken: float
    """When the generator took it up; never before `scheduled`."""
    lane_wait: float = 0.0
    """Closed loop only: how long the lane had waited after a 429 or a failure before this request."""
    waited: float = 0.0
    """Seconds between the end of the attempt before and the moment this one was begun: the wait of a retry."""
    diverted: bool = False
    """Sent to `throttling.divert_to`, after the target had answered 429."""
    connect_s: float | None = None
    """Time to open the connection for this attempt (TCP, proxy, TLS); None when one was open already."""
    tls_s: float | None = None
    sent: float | None = None
    """Just before the first byte was written."""
    answered: float | None = None
    """First byte of the answer (its status line)."""
    first_content: float | None = None
    first_output: float | None = None
    """First content that is not reasoning."""
    last_content: float | None = None
    end: float | None = None
    """Last byte of the answer, or the moment of the failure."""
    status: int | None = None
    content_events: int = 0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish: str | None = None
    model: str | None = None
    headers: dict[str, str] = {}
    """The answer's headers that say something about the service (`client.KEPT_HEADERS`)."""
    failure: str | None = None
    """The failure kind; None unless the attempt failed. A 429 is no failure."""
    error: str | None = None
    """One line on the failure, from the service or from us; at most 300 characters."""
    cut: bool = False
    """Still in flight when the drain ended, the run was stopped at once, or its worker was lost."""
    gave_up: bool = False
    """The last attempt of a request: it would have been retried, but `max_retries`, `max_wait` or a wait
    that the official client does not wait forbade it."""
    streamed: bool = True
    resent: bool = False
    """Sent again on a new connection, since a reused one closed before any byte of the answer."""
    flags: tuple[str, ...] = ()
    """What is no failure: the oddities `no_done` and `bytes_after_end`, `THROTTLED_IN_BAND`, `REASONING_SUMMARY` and `RETRIED_INSIDE`."""

    @property
    def outcome(self) -> Outcome:
        """What became of it."""
        if self.cut:
            return "cut"
        if self.failure is not None:
            return "failed"
        return "throttled" if self.status == 429 or THROTTLED_IN_BAND in self.flags else "ok"


class Dropped(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="dropped", tag_field="type", gc=False):
    """A request that was never sent because `max_in_flight` was reached."""

    index: int
    scheduled: float
    worker: int = 0
    name: str = msgspec.field(default="", name="class")


class Lost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="lost", tag_field="type", gc=False):
    """A request that was due when its worker was lost, and left no record: whether it was sent is not known."""

    index: int
    scheduled: float
    worker: int = 0
    name: str = msgspec.field(default="", name="class")


class Tick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tick", tag_field="type"):
    """What one worker says of one second of the run, [t, t + 1)."""

    t: int
    worker: int = 0
    gaps: dict[int, int] = {}
    """Times between consecutive content events of a stream, by the time of the later one: `histogram` counts."""
    loop_lag: dict[int, int] = {}
    """How late the event loop called a timer, a hundred times a second: `histogram` counts."""
    cpu: float = 0.0
    """CPU seconds of the worker process per second of wall time."""
    in_flight: int = 0
    sent: int = 0
    content_events: int = 0


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that made a share of the load with a worker of its own (`--on`)."""

    worker: int
    name: str
    """The address of its Dask worker."""
    machine: dict[str, Any]
    """As in `Head`."""
    ahead_s: float
    """By how much its clock was ahead of ours at the start; the times in the file are by ours."""
    uncertainty_s: float
    """Of that: half of the quickest ways there and back."""


class Head(msgspec.Struct, frozen=True, kw_only=True, tag="head", tag_field="type"):
    """The first line: everything that was known before the load."""

    schema: int = SCHEMA
    tool_version: str
    run_id: str
    started_at: str
    """UTC of t = 0, ISO 8601."""
    started_unix: float
    """The same as seconds since the epoch."""
    clock_start: float
    """The machine's monotonic clock (`time.perf_counter`) at t = 0: to lay a server's log on this machine beside the run."""
    label: str | None
    seed: int
    salt: str
    workload: Workload
    workload_hash: str
    window: tuple[float, float]
    """[end of warm-up by the rule `fixed`, end of load), as planned."""
    planned: int | None
    """Requests of the whole run; None for a closed loop."""
    target: dict[str, Any]
    """`Target.describe()`: no secrets."""
    workers: int
    machine: dict[str, Any]
    network: dict[str, Any]
    probe: dict[str, Any] | None
    """What the probe call found; None when the target did not answer it but the run went on."""
    warnings: tuple[str, ...] = ()
    divert_to: dict[str, Any] | None = None
    """The second target of `on_429: divert`, described as `target` is; None without."""
    divert_probe: dict[str, Any] | None = None
    """What the probe call to the second target found."""
    clock: Literal["real", "virtual"] = "real"
    """virtual: a clock that jumps, in one process with the simulated deployment; nothing of it says how fast a client was."""
    slim: bool = False
    """Written again by `report --slim`, without what no number needs."""
    nodes: tuple[Node, ...] = ()
    """The machines that made the load, by worker; empty where it was this one."""


class Aborted(msgspec.Struct, frozen=True, kw_only=True):
    """Which abort rule ended the load, and what had been seen by then."""

    rule: str
    """As it was written."""
    at: float
    """Seconds since the start of the run."""
    measured: float
    """The count or share that the rule is about, had all calls in flight ended well."""
    ci95: tuple[float, float] | None = None
    """Of a share."""
    of: int
    """Requests of the window that it is about, those in flight included."""


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="type"):
    """The end of the load. A file without one is a run that was killed; only what Azure says later may follow."""

    ended: Literal["completed", "stopped", "aborted", "lost"]
    """stopped: first signal, drained. aborted: an abort rule, drained, or without one a second signal. lost: a worker or the disk failed."""
    load_end: float
    """When load stopped being offered."""
    finished: float
    unsent: int = 0
    """Requests of the plan that were not sent because the run was stopped or their worker was lost."""
    unsent_in_window: int = 0
    lost_workers: tuple[int, ...] = ()
    missing: int = 0
    """Requests of the lost workers that left no record: those that were due, as `Lost` lines, and the unsent ones."""
    drift_s: tuple[float | None, ...] = ()
    """By how much the clock of each of `Head.nodes` went ahead of ours during the load; None where it was not there any more."""
    wall_ahead_s: float = 0.0
    """By how much our wall clock went ahead of the monotonic one since t = 0: it was set, or the machine slept."""
    simulated: dict[str, Any] | None = None
    """What the simulated deployment says of itself: its utilization by its own accounts."""
    problems: tuple[str, ...] = ()
    aborted: Aborted | None = None
    """The abort rule that ended the load."""


class Resource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="resource", tag_field="type"):
    """What Azure Resource Manager said of the deployment, in its own words."""

    when: Literal["before", "after"]
    """The load."""
    asked_unix: float
    id: str
    """Of the account: /subscriptions/…/accounts/NAME."""
    deployment: str
    sku: str | None = None
    capacity: int | None = None
    """PTUs; of a Standard deployment its quota, in thousands of tokens a minute."""
    model: str | None = None
    version: str | None = None
    spillover: str | None = None
    """The deployment that serves what this one refuses."""
    content_filter: str | None = None
    """The name of its content-filter policy."""
    state: str | None = None
    error: str | None = None
    """Why nothing was said; one line."""


class Series(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One time series of Azure Monitor: a metric, or its part with these dimension values."""

    metric: str
    """Its name in the REST API."""
    dimensions: dict[str, str] = {}
    """Names in lower case."""
    average: dict[int, float] = {}
    """By the start of the minute, in seconds since the epoch; in the unit of the metric, as in the rest."""
    maximum: dict[int, float] = {}
    total: dict[int, float] = {}


class Monitor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="monitor", tag_field="type"):
    """What Azure Monitor said, per UTC minute. Of several for the same `of` the last one counts."""

    of: Literal["before", "run"]
    """before: the minutes that led up to the load. run: those that the run touched."""
    asked_unix: float
    id: str
    """Of the account, as in `Resource`."""
    deployment: str
    span: tuple[int, int]
    """[from, to) in seconds since the epoch."""
    series: tuple[Series, ...] = ()
    errors: dict[str, str] = {}
    """By the metric that failed, one line each."""
    stable: bool = False
    """Two answers in a row were the same, and told of the last minute."""


Line = Head | Attempt | Dropped | Lost | Tick | End | Resource | Monitor

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode(line: Line) -> bytes:
    """One line of a run file, with its newline."""
    return _ENCODER.encode(line) + b"\n"


def decode(line: bytes) -> Line:
    """The value of one line.

    Raises:
        msgspec.DecodeError: torn, not JSON, or not a line of this schema.
    """
    return _DECODER.decode(line)
