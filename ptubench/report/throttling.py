"""What was refused, why, and how the others were answered: tables on 429s and on the groups of handling.

Reads `metrics` and `groups` of a summary. Computes nothing.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.analysis.causes import CAUSES
from ptubench.report.latency import cell, headline
from ptubench.report.text import sheet, untrusted
from ptubench.units import number_text, share_text

GROUPS = {
    "first": "one attempt",
    "retried": "more than one attempt",
    "diverted": "by the second target",
    "spilled": "by another deployment",
}
"""Groups by how a request came to its answer; all others are classes of a mix."""
_REFUSED = {
    "first": "answered 429",
    "retried": "with a 429 in the end",
    "diverted": "answered 429 there too",
    "spilled": "answered 429 there too",
}
"""What is said of those of a group whose outcome is a 429."""
_ELSEWHERE = ("diverted", "spilled")


def throttling(summary: Mapping[str, Any]) -> RenderableType | None:
    """429s by cause, and how each way of handling them turned out; None where there is neither."""
    causes, handling = _causes(summary["metrics"]), _handling(summary["groups"], headline(summary))
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
    # A call that was retried or diverted has more than one attempt, and its outcome is that of the last.
    differs = attempts["throttled"] != metrics["requests"]["throttled"]
    note = Text("attempts at the target; `throttled` above counts calls by their last attempt" if differs else "")
    of_all = (Text(f"{attempts['throttled']:,}"), Text(share_text(attempts["throttled_ratio"])))
    table.add_row(Text("all"), *of_all, note, style="yellow" if attempts["throttled"] else "")
    for name, count in by_cause.items():
        share = share_text(count / attempts["total"]) if attempts["total"] else ""
        meaning = untrusted(CAUSES.get(name, ""), limit=120)
        table.add_row(untrusted(f"  {name}", limit=24), Text(f"{count:,}"), Text(share), meaning)
    return table


def _handling(groups: Mapping[str, Any], first: str) -> RenderableType | None:
    """A row for each group of handling that has requests; `first` is the latency that is read first."""
    shown = {name: groups[name] for name in GROUPS if name in groups and _tells(name, groups[name])}
    if not shown:
        return None
    waited = any(metrics["waited"]["of"] for metrics in shown.values())
    times = [(metric, percentile) for metric in (first, "e2e") for percentile in ("p50", "p95")]
    columns = [f"{metric} {percentile}" for metric, percentile in times] + (["waited p50"] if waited else [])
    table = sheet("Handling", "calls", "ok", *columns)
    for name, metrics in shown.items():
        cells = [cell(metrics[metric], percentile) for metric, percentile in times]
        cells += [cell(metrics["waited"], "p50")] if waited else []
        table.add_row(Text(name), *(Text(f"{metrics['requests'][count]:,}") for count in ("total", "ok")), *cells)
    meanings = "; ".join(f"{name}: {GROUPS[name]}{_unserved(name, metrics)}" for name, metrics in shown.items())
    prices = [line for name in _ELSEWHERE if name in shown for line in _price(name, shown[name]["cost"])]
    return Group(table, Text(meanings, style="dim"), *prices)


def _unserved(name: str, metrics: Mapping[str, Any]) -> str:
    """How many of a group ended in a 429, and whether nobody was answered."""
    throttled = metrics["requests"]["throttled"]
    refused = f", {throttled:,} {_REFUSED[name]}" if throttled else ""
    return refused + ("" if metrics["e2e"]["count"] else ", none answered")


def _price(name: str, cost: Mapping[str, Any]) -> list[Text]:
    """What it cost that others answered, or why that is not known; nothing where it is not billed per token."""
    if cost["per_million_tokens"] is None:
        return [untrusted(f"{name}: no cost: {cost['why']}", "dim", limit=200)] if cost["why"] else []
    said = f"{number_text(cost['total'])} {cost['currency']} in the window, {number_text(cost['per_million_tokens'])} per million tokens"
    return [untrusted(f"{name}: {said} ({cost['source']})", limit=200)]


def _tells(name: str, metrics: Mapping[str, Any]) -> bool:
    """Whether a row would say anything: what was only diverted has no time at the target, though more than one attempt."""
    return name in _ELSEWHERE or bool(metrics["e2e"]["of"] or metrics["waited"]["of"])
