"""Runs side by side on a terminal: a comparison in, tables out.

Computes nothing but percentages: every number shown stands in the comparison (`compare.runs`). Colour only repeats what words say.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ptubench.report.latency import in_unit
from ptubench.report.text import Encodable, badge, clean, facts, untrusted
from ptubench.units import duration_text, number_text

Comparison = Mapping[str, Any]
Row = Mapping[str, Any]

_WORD_STYLES = {"better": "green", "worse": "bold red", "no difference shown": "dim", "not comparable": "yellow"}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SECTIONS: dict[str, dict[str, str]] = {
    "Calls": {
        "ok.ratio": "answered",
        "refused.ratio": "refused",
        "throttled.ratio": "throttled",
        "failed.ratio": "failed",
        "slo.ratio": "slo met",
    },
    "Calls per minute": {f"rpm.{name}": name for name in ("offered", "admitted", "completed")},
    "Tokens per minute": {f"tpm.{name}": name for name in ("prompt", "cached", "completion", "total", "normalized")},
    "Utilization": {f"utilization.{name}.mean": name for name in ("estimated", "simulated", "monitor")},
    "Per PTU": {
        "rpm.per_ptu": "calls/min",
        "tpm.per_ptu": "normalized/min",
        "tpm.of_published": "of published",
    },
    "Cost": {"cost.per_million_tokens": "per M tokens"},
}
"""Titles, and how a metric is called under each; latencies come first, under their own names."""


def render(comparison: Comparison) -> RenderableType:
    """The whole comparison, for `text.console()`."""
    runs = comparison["runs"]
    # Somebody else may have started the simulator: not the target's kind but the run's tells.
    kinds = dict.fromkeys((run["kind"] == "real", run["clock"]) for run in runs)
    title = Text("  ").join([badge("real" if real else "simulated", clock=clock) for real, clock in kinds])
    title.append("  ").append_text(untrusted(runs[0]["workload"], "bold", limit=50)).append(f"  {len(runs)} runs")
    pairs = [
        part
        for number, run in enumerate(runs)
        if number
        for part in (Text(), _pair(number, run, comparison["metrics"]))
    ]
    return Encodable(Group(title, Text(), _runs(runs), *pairs, Text(), legend(comparison)))


def _runs(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Which run has which letter, and what it is."""
    grid = facts("bold")
    for number, run in enumerate(runs):
        target, verdict = run["target"], run["validity"]["verdict"]
        known = [clean(target["model_served"] or target["model"] or "model unknown", 40)]
        known += [f"{target['ptu']:,} PTU"] if target["ptu"] is not None else []
        known += [clean(target["type"], 20)] if target["type"] else []
        known += [f"label {clean(run['label'], 40)}"] if run["label"] else []
        known += [f"{run['requests']:,} requests", verdict]
        known += [clean(run["ended"], 20)] if run["ended"] != "completed" else []
        text = untrusted(run["file"] or run["id"], limit=150)
        text.append("  baseline" if number == 0 else "", style="dim").append(f"\n{', '.join(known)}")
        for reason in run["validity"]["reasons"]:
            text.append("\n- ").append_text(untrusted(reason["text"], "yellow", limit=300))
        if (speed := _speed(run["published_target"])) is not None:
            text.append("\n").append_text(speed)
        if run["elsewhere"]:
            text.append("\n").append(_elsewhere(run))
        grid.add_row(Text(_LETTERS[number % 26]), text)
    return grid


def _speed(told: Mapping[str, Any] | None) -> Text | None:
    """Five-minute medians of the token speed against the published target."""
    if told is None or not told["of"]:
        return None
    medians = f"{told['above']} of {told['of']} medians of {duration_text(round(told['slice_s']))}"
    text = Text(f"tps: {medians} above the published {number_text(told['target_tps'])}/s")
    return text.append(" (indicative)" if told["indicative"] else "", style="dim")


def _elsewhere(run: Mapping[str, Any]) -> str:
    """What others answered, and that it is in no latency, rate or cost of the table."""
    parts = []
    for name, told in run["elsewhere"].items():
        times = [f"{metric} p50 {in_unit(told[metric], 's')}" for metric in ("ttft", "e2e") if told[metric] is not None]
        parts.append(", ".join([f"{told['requests']:,} calls {name}, {told['ok']:,} of them answered", *times]))
    alone = "latencies and rates" if run["cost"]["per_million_tokens"] is None else "latencies, rates and cost"
    return f"{'; '.join(parts)}; {alone} below are those of the target alone"


def _pair(number: int, run: Mapping[str, Any], metrics: Sequence[Row]) -> RenderableType:
    """One run against the baseline."""
    names = (_LETTERS[0], _LETTERS[number % 26])
    how = (
        Text(f"paired: {run['common_requests']:,} requests beside each other", style="dim")
        if run["paired"]
        else Text.assemble("not paired: ", untrusted(run["unpaired_because"], limit=300), style="yellow")
    )
    parts: list[RenderableType] = [Text.assemble((f"{names[1]} against {names[0]}", "bold"), "  ", how)]
    if run["differences"]:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, style="dim")
        for place, row in enumerate(run["differences"]):
            grid.add_row(Text("" if place else "differ"), untrusted(row["text"], limit=200))
        parts.append(grid)
    return Group(*parts, Text(), against(number, metrics))


def against(number: int, metrics: Sequence[Row]) -> RenderableType:
    """The figures of one run against the baseline's, and why some can't be compared."""
    rows = {row["name"]: row for row in metrics if row["run"] == number}
    return Group(_table((_LETTERS[0], _LETTERS[number % 26]), rows), *_why(rows))


def _table(names: tuple[str, str], rows: Mapping[str, Row]) -> Table:
    """All metrics that at least one of the runs has."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(Text("Latency", style="bold not dim"), no_wrap=True)
    for name in (*names, "change", "95 % interval"):
        style = "dim" if "interval" in name else ""
        table.add_column(Text(name), justify="right", no_wrap=True, style=style)
    table.add_column(Text(""))
    headed = {name: label for section in _SECTIONS.values() for name, label in section.items()}
    for name, row in rows.items():
        if name not in headed and _told(row) and not _repeats(name, rows):
            table.add_row(Text(name.replace(".", " ")), *_cells(row))
    for title, labels in _SECTIONS.items():
        shown = [name for name in labels if _told(rows[name]) and not _repeats(name, rows)]
        if shown:
            table.add_row(Text(title, style="bold"))
        for name in shown:
            table.add_row(Text(labels[name]), *_cells(rows[name]))
    return table


def _told(row: Row) -> bool:
    """Whether a row would say anything; nothing is said of tokens that no run had, as cached ones."""
    return any(row["unanswered"]) or any(
        value is not None and (value or row["unit"] == "share") for value in row["values"]
    )


def _repeats(name: str, rows: Mapping[str, Row]) -> bool:
    """Without reasoning the first output is the first content, without retries every refused call throttled: the same numbers twice."""
    twin = name.replace("ttfo", "ttft").replace("throttled", "refused")
    return twin != name and rows[twin]["values"] == rows[name]["values"]


def _cells(row: Row) -> tuple[Text, ...]:
    """Both values, the change with its interval, the word."""
    values = [
        Text("never", style="bold red") if never else Text(_value(value, row))
        for value, never in zip(row["values"], row["unanswered"], strict=True)
    ]
    scale, unit = (row["relative"], "%") if row["relative"] is not None else (row, _unit(row["unit"]))
    # What is neither good nor bad needs no word for a difference.
    word = "" if row["better"] is None and row["word"] == "not comparable" else row["word"]
    if scale["low"] is None and scale["high"] is None:
        return *values, Text("–"), Text(), Text(word, style=_WORD_STYLES.get(word, ""))
    return *values, *map(Text, change(scale, unit)), Text(word, style=_WORD_STYLES.get(word, ""))


def _value(value: float | None, row: Row) -> str:
    money = row["name"].startswith("cost.") and value is not None
    return f"{value:,.2f}" if money else in_unit(value, row["unit"])


def _unit(unit: str) -> str:
    """Shares differ by percentage points; what has a baseline of zero in its own unit."""
    return "pt" if unit == "share" else ""


def change(scale: Row, unit: str) -> tuple[str, str]:
    """A change in this unit (`%`, `pt`, or none for the metric's own), and its interval; a dash where it has none."""
    value, low, high = (_signed(scale[name], percent=unit != "") for name in ("change", "low", "high"))
    return f"{value} {unit}".rstrip() if value else "–", f"{low or '-inf'} to {high or '+inf'}"


def _signed(value: float | None, *, percent: bool) -> str:
    """A change in per cent of the baseline or in points, or in the unit of the metric; empty where it has no end."""
    if value is None:
        return ""
    if not percent:
        return f"{value:+,.3g}"
    share = value * 100
    digits = 0 if abs(share) >= 99.95 else 1 if abs(share) >= 0.995 else 2
    text = f"{share:+,.{digits}f}"
    return "0" if float(text.replace(",", "")) == 0 else text


def _why(rows: Mapping[str, Row]) -> list[Text]:
    """Why some of what is shown is not comparable, each reason once."""
    reasons: dict[str, list[str]] = {}
    for row in rows.values():
        if row["word"] == "not comparable" and row["better"] is not None and _told(row):
            reasons.setdefault(row["why"], []).append(row["name"])
    return [
        Text(f"not comparable, {clean(why, 100)}: {', '.join(names)}", style="dim") for why, names in reasons.items()
    ]


def legend(comparison: Comparison) -> Text:
    """How to read it."""
    judged = sum(row["word"] != "not comparable" for row in comparison["metrics"])
    cost = comparison["runs"][0]["cost"]
    prices = any(run["cost"]["per_million_tokens"] is not None for run in comparison["runs"])
    text = Text(style="dim")
    text.append("change and interval: % of A's value; pt: percentage points. Where nothing differs, about ")
    text.append(f"one word in twenty is a chance finding; {judged} were judged. Indicative: less than an hour.")
    if any(any(row["unanswered"]) for row in comparison["metrics"]):
        text.append(" never: the percentile lands on a call that was unanswered.")
    if prices:
        text.append(
            f" Cost: {clean(cost['currency'], 10)}, list prices of {clean(cost['dated'], 20)}, PTUs by the hour."
        )
    return text
