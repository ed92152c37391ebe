"""What parent and worker say to each other, one JSON line each, beside the records."""

import msgspec

from ptubench.workload.model import Workload


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """One target, as a worker needs it: what a client and its bodies are made of."""

    url: str
    api: str
    """A name in `stream.apis`."""
    body_model: str | None
    limit_field: str
    left_out: tuple[str, ...] = ()
    """Names of body fields that the target refuses."""
    headers: dict[str, str]
    """Secrets included: this is never written anywhere but into the pipe."""
    connections: int
    """To open before the load."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Parent to worker, first line."""

    workload: Workload
    """Resolved: loads are rates."""
    salt: str
    worker: int
    workers: int
    target: Destination
    divert_to: Destination | None
    """Where requests go after a 429; None unless the policy is `divert`."""
    ca_file: str | None
    max_in_flight: int
    silence: float | None = None
    """Seconds without a word after which it ends, also while its input is open; None where what feeds it can't hang apart from us."""


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Parent to worker, at any time after; an empty one is a sign of life."""

    go: float | None = None
    """The clock's reading at t = 0, shortly ahead."""
    halt: float | None = None
    """Stop offering; 1 drains what is in flight, 0 cuts it."""
    headers: dict[str, str] | None = None
    """Use these from now on (a renewed token)."""
    divert_headers: dict[str, str] | None = None
    """The same for the second target."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready", tag_field="type"):
    """Worker to parent: waiting for `go`."""

    connections: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done", tag_field="type"):
    """Worker to parent, last line. Times in seconds since the start of the run."""

    load_end: float = 0.0
    finished: float = 0.0
    unsent: int = 0
    unsent_in_window: int = 0
    stopped: bool = False
    problem: str | None = None
    """Why it gave up."""
    code: int = 0
    """The exit code that goes with it, if it is nothing of ours."""
