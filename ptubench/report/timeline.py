"""The run over time as rows of block characters, as wide as the console allows.

Reads `timeline`, `latency` and the window of a summary. Bars are a picture, not a number: the scale stands beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ptubench.report.bars import bar, columns, steps_per_column, top
from ptubench.units import duration_text, number_text, seconds_text

_LABEL = 12
_SERIES = {
    "sent": ("sent", "cyan"),
    "throttled": ("429", "yellow"),
    "spilled": ("spilled", "yellow"),
    "diverted": ("diverted", "yellow"),
}
_ALWAYS = ("sent", "throttled")
_NARROWEST = 10


@dataclass(frozen=True)
class Timeline:
    """Calls, 429s and what others answered in one scale, TTFT in its own."""

    steps: Sequence[Mapping[str, Any]]
    """`timeline`: equal steps without a hole, with `t_s`, `width_s` and those of `_SERIES`."""
    latency: Sequence[Mapping[str, Any]]
    """`latency`: slices with `t_s`, `width_s`, `ttft_p50`."""
    window: tuple[float, float]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Title, a row per series, and the axis."""
        width = max(_NARROWEST, options.max_width - _LABEL)
        step_s = self.steps[0]["width_s"]
        column_s = step_s * steps_per_column(len(self.steps), width)
        series = {name: columns([row[name] for row in self.steps], width) for name in _SERIES}
        ttft = columns(self._ttft(), width)
        full, slowest = max(map(top, series.values())), top(ttft)
        scale = f"full height {number_text(full / step_s * 60)} calls/min"
        scale += f", ttft {seconds_text(slowest)}" if slowest else ""
        yield Text.assemble(("Over time", "bold"), (f"  {duration_text(column_s)} a column, {scale}", "dim"))
        for name, (label, style) in _SERIES.items():
            if name in _ALWAYS or top(series[name]):
                yield _row(label, bar(series[name], full), style)
        if slowest:
            yield _row("ttft p50", bar(ttft, slowest), "magenta")
        start, end = self.window
        axis = "".join("─" if start <= column * column_s < end else "·" for column in range(len(ttft)))
        yield _row("window", axis, "dim")

    def _ttft(self) -> list[float | None]:
        """The median TTFT of the slice in which each step begins."""
        by_start = {slice_["t_s"]: slice_ for slice_ in self.latency}
        width = self.latency[0]["width_s"] if self.latency else 1
        slices = (by_start.get(row["t_s"] // width * width) for row in self.steps)
        return [slice_["ttft_p50"] if slice_ else None for slice_ in slices]


def _row(label: str, cells: str, style: str) -> Text:
    """A label and its bar."""
    return Text.assemble((f"{label:<{_LABEL}}", "dim"), (cells, style), no_wrap=True, overflow="crop")
