"""What was refused, why, and how the others were answered: tables on 429s and on the groups of handling.

Reads `metrics` and `groups` of a summary. Computes nothing.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.analysis.causes import CAUSES
from ptubench.report.latency import cell
from ptubench.report.text import sheet, untrusted
from ptubench.units import number_text, share_text

GROUPS = {
    "first": "one attempt",
    "retried": "more than one attempt",
    "diverted": "by the second target",
    "spilled": "by another deployment",
}
"""Groups by how a request came to its answer; all others are classes of a mix."""
_SHOWN = (("ttft", "p50"), ("ttft", "p95"), ("e2e", "p50"), ("e2e", "p95"))


def throttling(summary: Mapping[str, Any]) -> RenderableType | None:
    """429s by cause, and how each way of handling them turned out; None where there is neither."""
    causes, handling = _causes(summary["metrics"]), _handling(summary["groups"])
    if causes is not None and handling is not None:
        return Group(causes, Text(), handling)
    return causes or handling


def _causes(metrics: Mapping[str, Any]) -> RenderableType | None:
    """A row for each cause of the 429s."""
    attempts, by_cause = metrics["attempts"], metrics["throttled"]["by_cause"]
    if not attempts["throttled"]:
        return None
    table = sheet("429s", "count", "of attempts")
    table.add_column(style="dim", overflow="fold")
    table.add_row(Text("all"), Text(f"{attempts['throttled']:,}"), Text(share_text(attempts["throttled_ratio"])))
    for name, count in by_cause.items():
        share = share_text(count / attempts["total"]) if attempts["total"] else ""
        meaning = untrusted(CAUSES.get(name, ""), limit=120)
        table.add_row(untrusted(f"  {name}", limit=24), Text(f"{count:,}"), Text(share), meaning)
    return table


def _handling(groups: Mapping[str, Any]) -> RenderableType | None:
    """A row for each group of handling that has requests."""
    shown = {name: groups[name] for name in GROUPS if name in groups and _tells(groups[name])}
    if not shown:
        return None
    waited = any(metrics["waited"]["of"] for metrics in shown.values())
    columns = [f"{metric} {percentile}" for metric, percentile in _SHOWN] + (["waited p50"] if waited else [])
    table = sheet("Handling", "calls", *columns)
    for name, metrics in shown.items():
        cells = [cell(metrics[metric], percentile) for metric, percentile in _SHOWN]
        cells += [cell(metrics["waited"], "p50")] if waited else []
        table.add_row(Text(name), Text(number_text(metrics["requests"]["total"])), *cells)
    meanings = ", ".join(f"{name}: {GROUPS[name]}" for name in shown)
    return Group(table, Text(meanings, style="dim"))


def _tells(metrics: Mapping[str, Any]) -> bool:
    """Whether it has any time of its own: what was only diverted has none at the target."""
    return bool(metrics["e2e"]["of"] or metrics["waited"]["of"])
