"""Azure's side of a report: its figures beside ours. A summary in, a table out; computes nothing."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.report.text import sheet, untrusted
from ptubench.units import number_text, seconds_text, share_text

_NAMES = {
    "utilization": "utilization",
    "requests": "requests",
    "throttled": "  answered 429",
    "spilled": "  spilled",
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "completion tokens",
    "active_tokens": "active tokens",
    "cached_share": "cached share",
    "time_to_response": "time to response",
}
_STYLES = {"agrees": "green", "differs": "yellow", "foreign traffic": "bold yellow"}


def monitor(summary: Mapping[str, Any]) -> RenderableType | None:
    """Ours, Azure's, the difference and a word; None where Azure Monitor was not asked for the run."""
    compared = summary.get("monitor")
    if compared is None:
        return None
    minutes = compared["minutes"]
    title = f"Azure Monitor, {minutes:,} full UTC minute{'s' if minutes != 1 else ''}"
    if not compared["rows"]:
        return Text.assemble(
            (title, "bold"), "\nthe window holds no full UTC minute to compare; give the run a longer duration"
        )
    table = sheet(title, "ours", "Azure's", "difference")
    table.add_column()
    for row in compared["rows"]:
        word = row["word"] or ("no figure" if row["azure"] is None else "not measured")
        table.add_row(
            Text(_NAMES.get(row["name"], row["name"])),
            Text(_value(row["ours"], row["unit"])),
            Text(_value(row["azure"], row["unit"])),
            Text(_difference(row["difference"], row["unit"])),
            Text(word, style=_STYLES.get(word, "dim")),
        )
    return Group(table, *_said(compared))


def _said(compared: Mapping[str, Any]) -> list[Text]:
    """Who else was there, and what is missing."""
    row = next((row for row in compared["rows"] if row["word"] == "foreign traffic"), None)
    lines = []
    if row is not None:
        counted = f"Azure counted {row['azure']:,.0f} requests, we sent {row['ours']:,}"
        lines.append(Text(counted, style="bold yellow"))
    if compared["missing"]:
        lines.append(Text(f"Azure tells of no requests in {compared['missing']} of the minutes in which we sent some"))
    if not compared["settled"]:
        lines.append(Text("the figures may still change; `ptubench report RUN --monitor` asks again", style="dim"))
    shown = list(compared["errors"].items())[:3]
    lines += [Text.assemble(untrusted(name, limit=60), ": ", untrusted(why, limit=200)) for name, why in shown]
    return lines


def _value(value: float | None, unit: str) -> str:
    if unit == "share":
        return share_text(value)
    return seconds_text(value) if unit == "s" else number_text(value)


def _difference(value: float | None, unit: str) -> str:
    """Relative, of shares in points; with its sign."""
    if value is None:
        return "–"
    text = f"{value * 100:+.1f}"
    return f"{text} points" if unit == "share" else f"{text} %"
