"""Run files with known contents: a line by its meaning, everything else filled in. Window [10, 70) of 70 seconds."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ptubench import record
from ptubench.analysis.summary import summarize
from ptubench.record import Attempt, Dropped, End, Head, Line, Tick
from ptubench.workload.model import Class, Fixed, OpenLoop, Stage, Workload

STARTED = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
WORKLOAD = Workload(
    name="known",
    classes=(Class(prompt=Fixed(tokens=100), completion=Fixed(tokens=20)),),
    load=OpenLoop(stages=(Stage(value=1, seconds=70),)),
    duration=70,
    warmup=10,
)


def head(**changes: Any) -> Head:
    """The first line; what is no field of it is one of the workload's."""
    of_workload = {name: changes.pop(name) for name in tuple(changes) if name not in Head.__struct_fields__}
    standard = {
        "tool_version": "0.1.0",
        "run_id": "known",
        "started_at": STARTED.isoformat(),
        "started_unix": STARTED.timestamp(),
        "clock_start": 1000.0,
        "label": None,
        "seed": 0,
        "salt": "known",
        "workload": msgspec.structs.replace(WORKLOAD, **of_workload),
        "workload_hash": "0",
        "window": (10.0, 70.0),
        "planned": 70,
        "target": {"kind": "azure", "model": "gpt-4.1", "ptu": 1},
        "workers": 1,
        "machine": {},
        "network": {"address": "127.0.0.1"},
        "probe": None,
    }
    return Head(**standard | changes)


def ok(index: int, due: float, *, ttft: float = 0.1, e2e: float = 1.0, **changes: Any) -> Attempt:
    """An answered request: 100 prompt tokens, 20 completion tokens in 20 events."""
    sent = changes.pop("sent", due)
    standard = {
        "index": index,
        "scheduled": due,
        "taken": due,
        "sent": sent,
        "prompt_asked": 100,
        "completion_asked": 20,
        "limit": 50,
        "answered": sent + ttft / 2,
        "first_content": sent + ttft,
        "first_output": sent + ttft,
        "last_content": sent + e2e,
        "end": sent + e2e,
        "status": 200,
        "content_events": 20,
        "prompt_tokens": 100,
        "cached_tokens": 0,
        "completion_tokens": 20,
        "reasoning_tokens": 0,
        "finish": "stop",
        "model": "gpt-4.1-2025-04-14",
    }
    return Attempt(**standard | changes)


def throttled(index: int, due: float, **changes: Any) -> Attempt:
    """A 429 after 5 ms that asks to wait 1.5 s."""
    standard = {
        "index": index,
        "scheduled": due,
        "taken": due,
        "sent": due,
        "answered": due + 0.005,
        "end": due + 0.005,
        "status": 429,
        "headers": {"retry-after-ms": "1500", "retry-after": "2"},
    }
    return Attempt(**standard | changes)


def failed(index: int, due: float, kind: str = "broken_stream", **changes: Any) -> Attempt:
    """Sent, and failed after a second without any content."""
    standard = {"index": index, "scheduled": due, "taken": due, "sent": due, "end": due + 1.0, "failure": kind}
    return Attempt(**standard | changes)


def cut(index: int, due: float, **changes: Any) -> Attempt:
    """Still in flight when the drain ended."""
    return Attempt(**{"index": index, "scheduled": due, "taken": due, "sent": due, "end": 130.0, "cut": True} | changes)


def dropped(index: int, due: float, **changes: Any) -> Dropped:
    """Never sent."""
    return Dropped(index=index, scheduled=due, **changes)


def tick(t: int, **changes: Any) -> Tick:
    """A quiet second."""
    return Tick(t=t, **changes)


def end(**changes: Any) -> End:
    """The last line of a run that ran its course."""
    return End(**{"ended": "completed", "load_end": 70.0, "finished": 72.0} | changes)


def steady(count: int, first: int = 0, *, start: float = 10.0, step: float = 0.1, **changes: Any) -> list[Attempt]:
    """Answered requests in a row."""
    return [ok(first + i, start + i * step, **changes) for i in range(count)]


def write(path: Path, *lines: Line) -> Path:
    """A run file with these lines."""
    path.write_bytes(b"".join(map(record.encode, lines)))
    return path


def summary(folder: Path, *lines: Line, **of_head: Any) -> dict[str, Any]:
    """The summary of a whole run with these lines between head and end (unless they end with one)."""
    last = () if lines and isinstance(lines[-1], End) else (end(),)
    return summarize(write(folder / "run.jsonl", head(**of_head), *lines, *last))
