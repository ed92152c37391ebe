"""The view of a run while it happens: a few rows redrawn on a terminal, a line now and then elsewhere.

`Progress` goes in, text for stderr comes out. Shows rates of the last seconds; the report's numbers come from
the run file, never from here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ptubench.engine.progress import Progress
from ptubench.report.bars import bar, top
from ptubench.report.text import Encodable, badge, untrusted
from ptubench.units import duration_text, number_text, seconds_text, share_text

_RECENT_S = 10
_REDRAW_S = 0.25
_LINE_S = 5.0


class View:
    """Shows `Progress` values on a console: redrawn on a terminal, a plain line every 5 s elsewhere.

    Args:
        console: where to; `text.console(stderr=True)`.
        title: what runs where, on one line.
        clock: seconds that never go back; only spaces the redraws.
    """

    def __init__(self, console: Console, title: Text, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._title = title
        self._clock = clock
        self._due = clock()
        # A thread that redraws by itself would compete with the run; whoever calls `update` paces it.
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._redraws = console.is_terminal and not console.is_dumb_terminal

    def __enter__(self) -> Self:
        """Take the terminal."""
        if self._redraws:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the terminal back, the view erased; also when the run was stopped."""
        if self._redraws:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Show `progress`, unless the last redraw (0.25 s) or line (5 s) is too recent."""
        now = self._clock()
        if now < self._due or (progress.phase == "probing" and not self._redraws):
            return  # in a pipe, the first line is of the load
        self._due = now + (_REDRAW_S if self._redraws else _LINE_S)
        if self._redraws:
            self._live.update(rows(self._title, progress), refresh=True)
        else:
            self._console.print(Text(line(progress)), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Recent:
    """The last complete seconds. Rates per second; None before the first second is over."""

    sent: float | None
    throttled_ratio: float | None
    """429s of all answers."""


def line(progress: Progress) -> str:
    """One plain line, in ASCII."""
    recent = _recent(progress)
    if recent.sent is None:
        return f"{progress.phase}: {_where(progress)}"
    parts = [
        f"{progress.phase}: {_where(progress)}",
        f"{_per_minute(recent.sent)} calls/min",
        f"429 {_refusals(progress, recent)}",
        f"{progress.in_flight:,} in flight",
        "{} p50 {}".format(*_latency(progress)[:2]),
        *(f"{count:,} {name}" for name, count in _losses(progress) if count),
    ]
    return "; ".join(parts).replace("µ", "u").replace("–", "-")


def rows(title: Text, progress: Progress) -> RenderableType:
    """What stands on the terminal."""
    recent = _recent(progress)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True, width=9)
    grid.add_column(ratio=1)
    grid.add_row(Text(progress.phase), _clock_row(progress))
    planned = f" of {progress.planned:,}" if progress.planned is not None else ""
    again = f" and {progress.again:,} again" if progress.again else ""
    calls = Text.assemble(
        (f"{_per_minute(recent.sent)}/min", "bold cyan"),
        f"  {progress.sent - progress.again:,}{planned} sent{again}, {progress.in_flight:,} in flight",
    )
    grid.add_row(Text("calls"), calls)
    refusals = Text(_refusals(progress, recent))
    if recent.throttled_ratio:
        refusals.stylize("bold yellow", 0, len(_share(recent.throttled_ratio)))
    grid.add_row(Text("429"), refusals)
    name, middle, count = _latency(progress)
    grid.add_row(Text(name), Text(f"{middle} p50 of the last {count} answers"))
    losses = [
        Text(
            f"{count:,} {name}", style="bold red" if count and name != "dropped" else "bold yellow" if count else "dim"
        )
        for name, count in _losses(progress)
    ]
    grid.add_row(Text("losses"), Text(", ").join(losses))
    calls_bar, throttled_bar = _history(progress)
    grid.add_row(Text("sent/s"), Text(calls_bar, style="cyan", no_wrap=True))
    grid.add_row(Text("429/s"), Text(throttled_bar, style="yellow", no_wrap=True))
    return Encodable(Group(title, grid))


def _clock_row(progress: Progress) -> RenderableType:
    """How far the load is, as a bar and in words."""
    grid = Table.grid(expand=True, padding=(0, 2))
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    done = min(max(progress.now, 0.0), progress.duration)
    grid.add_row(ProgressBar(total=progress.duration, completed=done), Text(_where(progress)))
    return grid


def _where(progress: Progress) -> str:
    """Time gone and time left, or what is being waited for."""
    if progress.phase == "probing":
        return "before the load"
    if progress.phase == "drain":
        ended = progress.duration if progress.load_end is None else progress.load_end
        left = max(0.0, ended + progress.drain - progress.now)
        return f"at most {duration_text(round(left))} for {progress.in_flight:,} in flight"
    left = max(0.0, progress.duration - progress.now)
    total = duration_text(round(progress.duration))
    later = ", warm-up decided afterwards" if progress.warmup is None else ""
    return f"{duration_text(round(progress.now))} of {total}, {duration_text(round(left))} left{later}"


def _recent(progress: Progress) -> _Recent:
    """Rates over the last complete seconds; the current one is still filling up."""
    now = int(progress.now)
    width = min(now, _RECENT_S)
    seconds = [second for second in progress.history if now - width <= second.t < now]
    if width <= 0:
        return _Recent(sent=None, throttled_ratio=None)
    throttled = sum(second.throttled for second in seconds)
    answered = throttled + sum(second.ok + second.failed for second in seconds)
    return _Recent(
        sent=sum(second.sent for second in seconds) / width,
        throttled_ratio=throttled / answered if answered else None,
    )


def _throttled_ratio(progress: Progress) -> float | None:
    """429s of all answers so far."""
    answered = progress.ok + progress.throttled + progress.failed
    return progress.throttled / answered if answered else None


def _refusals(progress: Progress, recent: _Recent) -> str:
    """429s of all answers, and what another deployment answered in the place of one."""
    spilled = f", {progress.spilled:,} spilled" if progress.spilled else ""
    ratio = _share(recent.throttled_ratio)
    return f"{ratio} of the last {_RECENT_S} s, {_share(_throttled_ratio(progress))} in all{spilled}"


def _losses(progress: Progress) -> tuple[tuple[str, int], ...]:
    """Requests without an answer, by name."""
    return (("failed", progress.failed), ("dropped", progress.dropped), ("cut", progress.cut))


def _history(progress: Progress) -> tuple[str, str]:
    """Calls sent and 429s of the last minute, a character per second, in one scale."""
    now = int(progress.now)
    by_second = {second.t: second for second in progress.history}
    seconds = [by_second.get(t) for t in range(max(0, now - 60), now)]
    sent = [float(second.sent) if second else 0.0 for second in seconds]
    throttled = [float(second.throttled) if second else 0.0 for second in seconds]
    full = max(top(sent), top(throttled))
    return bar(sent, full), bar(throttled, full)


def _latency(progress: Progress) -> tuple[str, str, int]:
    """The latency that is read first: its name, the median of the last answers' and their number."""
    name = progress.headline
    recent = progress.recent[name]
    return name, seconds_text(median(recent) if recent else None), len(recent)


def _per_minute(per_second: float | None) -> str:
    """A rate per minute."""
    return number_text(per_second * 60 if per_second is not None else None)


def _share(value: float | None) -> str:
    """A share in percent."""
    return share_text(value)


def title(kind: str, workload: str, target: str) -> Text:
    """The view's first line: SIMULATED or REAL, and what runs where."""
    return Text.assemble(badge(kind), " ", untrusted(workload, "bold"), " on ", untrusted(target))
