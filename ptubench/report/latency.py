"""Distributions as rows: a percentile is a number, `unanswered`, or withheld with the count it would need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from ptubench.analysis.names import DISTRIBUTIONS
from ptubench.samples import NEEDED
from ptubench.units import number_text, seconds_text, share_text

SHOWN = ("p50", "p90", "p95", "p99")
_ELSEWHERE = ("prompt_tokens", "completion_tokens")
_ROOM_FOR_MEANINGS = 116
_LEGEND = "answered n of m: m should have a value. (n<N): withheld, N values are needed."


@dataclass(frozen=True)
class Latency:
    """A row for each distribution that says something in `metrics`, the headline first; on a wide console also what it is."""

    metrics: Mapping[str, Any]
    headline: str = "ttft"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table and its legend."""
        wide = options.max_width >= _ROOM_FOR_MEANINGS
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
        table.add_column(Text("Latency", style="bold not dim"), no_wrap=True)
        for percentile in SHOWN:
            table.add_column(Text(percentile), justify="right", no_wrap=True)
        # These two give way where it gets narrow: a percentile is never cut short.
        table.add_column(Text("answered"), justify="right")
        if wide:
            table.add_column(style="dim")
        for name in (self.headline, *(name for name in DISTRIBUTIONS if name != self.headline)):
            metric = DISTRIBUTIONS[name]
            if not self._tells(name):
                continue
            distribution = self.metrics[name]
            unit = "" if metric.unit == "s" else f" {metric.unit}"
            table.add_row(
                Text.assemble(name, (unit, "dim")),
                *(cell(distribution, percentile) for percentile in SHOWN),
                answered(distribution),
                *([Text(metric.meaning)] if wide else []),
            )
        yield table
        yield Text(_LEGEND, style="dim")

    def _tells(self, name: str) -> bool:
        """Whether a row would say anything."""
        if name in _ELSEWHERE or not self.metrics[name]["of"]:
            return False
        # Without reasoning the first output is the first content: the same numbers twice.
        return name != "ttfo" or self.headline == "ttfo" or bool(self.metrics["tpm"]["reasoning"])


def headline(summary: Mapping[str, Any]) -> str:
    """The latency that is read first: of a model that reasons, the time until its answer begins."""
    return "ttfo" if summary["target"].get("reasoning") else "ttft"


def cell(distribution: Mapping[str, Any], percentile: str) -> Text:
    """One percentile of one distribution."""
    if percentile in distribution["unanswered"]:
        return Text("unanswered", style="bold red")
    value = distribution[percentile]
    if value is not None:
        return Text(in_unit(value, distribution["unit"]))
    few = distribution["of"] < NEEDED[percentile]
    return Text(f"– (n<{NEEDED[percentile]:,})" if distribution["of"] and few else "–", style="dim")


def in_unit(value: float | None, unit: str) -> str:
    """A value in the unit of its metric (`analysis.names`)."""
    if unit == "s":
        return seconds_text(value)
    return share_text(value) if unit == "share" else number_text(value)


def answered(distribution: Mapping[str, Any]) -> Text:
    """How many of those that should have a value have one."""
    count, of = distribution["count"], distribution["of"]
    return Text(f"{count:,}" if count == of else f"{count:,} of {of:,}", style="" if count == of else "yellow")
