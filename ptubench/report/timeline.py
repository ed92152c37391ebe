"""The run over time as rows of block characters, as wide as the console allows.

Reads `timeline`, `latency` and the window of a summary. Bars are a picture, not a number: the scale stands beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ptubench.report.bars import bar, columns, seconds_per_column, top
from ptubench.units import duration_text, number_text, seconds_text

_LABEL = 12
_NARROWEST = 10


@dataclass(frozen=True)
class Timeline:
    """Calls and 429s in one scale, TTFT in its own."""

    seconds: Sequence[Mapping[str, Any]]
    """`timeline`: rows with `t_s`, `sent`, `throttled`."""
    latency: Sequence[Mapping[str, Any]]
    """`latency`: rows with `t_s`, `width_s`, `ttft_p50`."""
    window: tuple[float, float]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Title, a row per series, and the axis."""
        length = ceil(max(row["t_s"] for row in self.seconds)) + 1
        width = max(_NARROWEST, options.max_width - _LABEL)
        step = seconds_per_column(length, width)
        sent = columns(self._counts("sent", length), width)
        throttled = columns(self._counts("throttled", length), width)
        ttft = columns(self._ttft(length), width)
        full, slowest = max(top(sent), top(throttled)), top(ttft)
        scale = f"full height {number_text(full * 60)} calls/min, ttft {seconds_text(slowest or None)}"
        yield Text.assemble(("Over time", "bold"), (f"  {duration_text(step)} a column, {scale}", "dim"))
        yield _row("sent", bar(sent, full), "cyan")
        yield _row("429", bar(throttled, full), "yellow")
        yield _row("ttft p50", bar(ttft, slowest), "magenta")
        start, end = self.window
        inside = "".join("─" if start <= column * step < end else "·" for column in range(len(sent)))
        yield _row(f"{duration_text(length)}", inside, "dim")

    def _counts(self, name: str, length: int) -> list[float | None]:
        """A count per second; a second without a row had none."""
        counts = [0.0] * length
        for row in self.seconds:
            counts[int(row["t_s"])] += row[name]
        return list(counts)

    def _ttft(self, length: int) -> list[float | None]:
        """The median TTFT of each second, as far as known."""
        medians: list[float | None] = [None] * length
        for row in self.latency:
            for t in range(int(row["t_s"]), min(length, ceil(row["t_s"] + row["width_s"]))):
                medians[t] = row["ttft_p50"]
        return medians


def _row(label: str, cells: str, style: str) -> Text:
    """A label and its bar."""
    return Text.assemble((f"{label:<{_LABEL}}", "dim"), (cells, style), no_wrap=True, overflow="crop")
