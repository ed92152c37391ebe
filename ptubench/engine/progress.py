"""What the parent knows of a run while it happens: bounded state, for the live view and the progress line."""

from collections import deque
from dataclasses import dataclass, field

from ptubench.workload.model import Workload

LATENCIES = ("ttft", "ttfo", "e2e")


@dataclass(slots=True)
class Second:
    """One second of the run, by the time of the event."""

    t: int
    sent: int = 0
    ok: int = 0
    throttled: int = 0
    failed: int = 0


@dataclass(slots=True)
class Progress:
    """A running account. Times in seconds since the start of the run."""

    duration: float
    warmup: float | None
    """None where its end is decided afterwards."""
    drain: float
    planned: int | None
    load_end: float | None = None
    """When the load was stopped; None unless a signal ended it before `duration`."""
    now: float = 0.0
    phase: str = "warm-up"
    """`probing`, `warm-up`, `load` or `drain`."""
    sent: int = 0
    """Attempts."""
    again: int = 0
    """Attempts that are over and were not the first of their requests."""
    ok: int = 0
    throttled: int = 0
    failed: int = 0
    cut: int = 0
    dropped: int = 0
    spilled: int = 0
    """Answers of another deployment, to which the service spilled; they hide 429s."""
    in_flight: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    history: deque[Second] = field(default_factory=lambda: deque(maxlen=60))
    """The last minute, oldest first."""
    recent: dict[str, deque[float]] = field(default_factory=lambda: {name: deque(maxlen=200) for name in LATENCIES})
    """Latencies of the last answers; not for the report, which reads the file."""
    headline: str = "ttft"
    """Which of them is read first: of a model that reasons `ttfo`, of answers that are not streamed `e2e`."""
    failures: dict[str, int] = field(default_factory=dict)
    """By kind."""


def before(workload: Workload, planned: int | None) -> Progress:
    """The account of a run that has not begun."""
    return Progress(
        duration=workload.duration,
        warmup=workload.warmup if workload.warmup_rule == "fixed" else None,
        drain=workload.drain,
        planned=planned,
        phase="probing",
        headline="ttft" if workload.stream else "e2e",
    )
