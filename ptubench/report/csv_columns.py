"""Which columns the CSV of a run has: name, unit, meaning, and where each value comes from.

docs/reports.md repeats these tables. A value is of the line that it stands in and of nothing else, so that a run can be
written line by line; None is an empty field. Knows nothing of files and of how CSV is written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ptubench.failures import RENAMED
from ptubench.record import SPILLED, Attempt, Dropped, Head
from ptubench.waits import LONGEST, retry_after

Value = str | int | float | bool | None

_MOST = 10**9
"""More than any count can be: what a server says beyond it, or below 0, is none."""
_DIGITS = 9
"""Of differences: nanoseconds, below what any clock tells."""


@dataclass(frozen=True, slots=True)
class Context:
    """The run that a row is of."""

    head: Head
    window: tuple[float, float]
    """Of due times, in seconds since the start of the run: what the report counts."""

    def utc(self, seconds: float | None) -> str | None:
        """A moment of the run, in ISO 8601."""
        if seconds is None or abs(seconds) > LONGEST:
            return None
        try:
            moment = datetime.fromtimestamp(self.head.started_unix, UTC) + timedelta(seconds=seconds)
        except (ValueError, OverflowError, OSError):
            return None  # a head that was edited by hand
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Column(NamedTuple):
    """One column; `of` takes what the row is about, and the run."""

    name: str
    unit: str
    meaning: str
    of: Callable[[Any, Context], Value]
    dropped: bool = False
    """Whether a request that was never sent has it too."""


def _said(name: str) -> Callable[[Attempt, Context], Value]:
    """What the line itself says."""
    return lambda line, _: getattr(line, name)


def _count(name: str) -> Callable[[Attempt, Context], Value]:
    """A count by the service, if it can be one."""

    def value(line: Attempt, _: Context) -> Value:
        said = getattr(line, name)
        return said if said is not None and 0 <= said <= _MOST else None

    return value


def _between(start: str, end: str) -> Callable[[Attempt, Context], Value]:
    """Seconds between two moments of a stream; None where either never came."""
    return lambda line, _: _since(getattr(line, start), getattr(line, end)) if line.streamed else None


def _whole(start: str) -> Callable[[Attempt, Context], Value]:
    """Seconds to the last content of what was answered in full, or to its last byte where it was not streamed."""

    def value(line: Attempt, _: Context) -> Value:
        if line.outcome != "ok":
            return None
        content = line.streamed and line.last_content is not None
        return _since(getattr(line, start), line.last_content if content else line.end)

    return value


def _since(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(end - start, _DIGITS)


def _asked_to_wait(line: Attempt, of: Context) -> Value:
    if line.outcome != "throttled":
        return None
    return retry_after(line.headers, of.head.started_unix + (line.answered or line.end or 0.0))


def _lag(line: Attempt, of: Context) -> Value:
    """Nobody can be late on a virtual clock, and a retry is not due."""
    if line.attempt or of.head.clock == "virtual":
        return None
    return round(max(0.0, line.taken - line.scheduled), _DIGITS)


def _in_window(line: Attempt | Dropped, of: Context) -> Value:
    return of.window[0] <= line.scheduled < of.window[1]


def _step_in_window(step: dict[str, Any], of: Context) -> Value:
    return bool(of.window[0] <= step["t_s"] and step["t_s"] + step["width_s"] <= of.window[1])


def _step(name: str) -> Callable[[dict[str, Any], Context], Value]:
    return lambda step, _: step[name]


def _request_id(line: Attempt, _: Context) -> Value:
    return line.headers.get("apim-request-id") or line.headers.get("x-request-id")


_RUN = (
    Column("run", "", "id of the run, as in its summary", lambda _, of: of.head.run_id, dropped=True),
    Column("label", "", "its `--label`", lambda _, of: of.head.label, dropped=True),
)

ATTEMPTS = (
    *_RUN,
    Column(
        "index", "", "number of the request; one that was tried again has several rows", _said("index"), dropped=True
    ),
    Column("attempt", "", "0 for its first attempt", _said("attempt")),
    Column("class", "", "its class of the mix", lambda line, _: line.name or None, dropped=True),
    Column("in_window", "", "whether it was due in the window: what the report counts", _in_window, dropped=True),
    Column(
        "outcome",
        "",
        "ok, throttled, failed or cut, of this attempt; dropped: never sent",
        lambda line, _: line.outcome if isinstance(line, Attempt) else "dropped",
        dropped=True,
    ),
    Column("status", "", "HTTP status", _said("status")),
    Column("failure", "", "kind of the failure", lambda line, _: RENAMED.get(line.failure, line.failure)),
    Column("error", "", "one line on it", _said("error")),
    Column("finish", "", "why the answer ended", _said("finish")),
    Column("model", "", "that the answer names", _said("model")),
    Column("region", "", "that the answer names", lambda line, _: line.headers.get("x-ms-region")),
    Column("request_id", "", "by which Azure's support finds the call", _request_id),
    Column("streamed", "", "asked for as a stream", _said("streamed")),
    Column("diverted", "", "sent to the second target after a 429", _said("diverted")),
    Column("spilled", "", "answered by another deployment", lambda line, _: SPILLED in line.headers),
    Column("gave_up", "", "would have been tried again, but the policy forbade it", _said("gave_up")),
    Column("scheduled_s", "s", "when the request was due", _said("scheduled"), dropped=True),
    Column("sent_s", "s", "when this attempt was sent", _said("sent")),
    Column("sent_at", "UTC", "the same", lambda line, of: of.utc(line.sent)),
    Column("answered_s", "s", "when the first byte of the answer came", _said("answered")),
    Column("end_s", "s", "when its last byte came, or the failure", _said("end")),
    Column("lag_s", "s", "how late the generator took it up; first attempts only", _lag),
    Column("connect_s", "s", "time to open a connection, where it needed a new one", _said("connect_s")),
    Column("waited_s", "s", "wait before this attempt", _said("waited")),
    Column("ttft_s", "s", "sent to first content", _between("sent", "first_content")),
    Column("ttfo_s", "s", "sent to first content that is not reasoning", _between("sent", "first_output")),
    Column("e2e_s", "s", "sent to last content, where it was answered in full", _whole("sent")),
    Column("e2e_scheduled_s", "s", "due to last content, likewise", _whole("scheduled")),
    Column("retry_after_s", "s", "how long a 429 asked to wait", _asked_to_wait),
    Column("prompt_asked", "tokens", "size of the prompt that was asked for", _said("prompt_asked")),
    Column("cached_asked", "tokens", "the part of it that is a shared prefix", _said("cached_asked")),
    Column("completion_asked", "tokens", "size of the answer that was asked for", _said("completion_asked")),
    Column("output_limit", "tokens", "that was sent", _said("limit")),
    Column("prompt_tokens", "tokens", "by the service's count, as the next three", _count("prompt_tokens")),
    Column("cached_tokens", "tokens", "the part of the prompt that came from the cache", _count("cached_tokens")),
    Column("completion_tokens", "tokens", "of the answer", _count("completion_tokens")),
    Column("reasoning_tokens", "tokens", "the part of it that is reasoning", _count("reasoning_tokens")),
    Column("content_events", "", "events of the stream that held content", _count("content_events")),
)
"""Of `record.Attempt` and `record.Dropped`."""

TIMELINE = (
    *_RUN,
    Column("t_s", "s", "where the step begins", _step("t_s")),
    Column("begins_at", "UTC", "the same", lambda step, of: of.utc(step["t_s"])),
    Column("width_s", "s", "its length: 1, or more where the run took over 15 minutes", _step("width_s")),
    Column("in_window", "", "whether it lies wholly in the window", _step_in_window),
    Column("offered", "calls", "due", _step("offered")),
    Column("sent", "calls", "sent to the target", _step("sent")),
    Column("ok", "calls", "answered in full", _step("ok")),
    Column("throttled", "calls", "answered 429", _step("throttled")),
    Column("failed", "calls", "failed", _step("failed")),
    Column("cut", "calls", "in flight when the drain ended, or lost with its worker", _step("cut")),
    Column("dropped", "calls", "never sent, since `max_in_flight` was reached", _step("dropped")),
    Column("diverted", "calls", "sent to the second target", _step("diverted")),
    Column("spilled", "calls", "answered by another deployment", _step("spilled")),
    Column("in_flight", "calls", "mean number under way", _step("in_flight")),
    Column("prompt_tokens", "tokens", "sent, if admitted", _step("prompt_tokens")),
    Column("cached_tokens", "tokens", "the part of them that came from the cache", _step("cached_tokens")),
    Column("completion_tokens", "tokens", "received", _step("completion_tokens")),
)
"""Of the rows of `timeline` in the summary."""
