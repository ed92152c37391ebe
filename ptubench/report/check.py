"""A check on a terminal: a check document in, tables out; what failed stands last.

Computes nothing: every number shown stands in the document (`gate.document`). Colour only repeats what words say.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ptubench.report import judged
from ptubench.report.checks import closing
from ptubench.report.compare import change
from ptubench.report.latency import in_unit
from ptubench.report.text import Encodable, badge, clean, untrusted

Document = Mapping[str, Any]
Row = Mapping[str, Any]

_VIRTUAL = "simulated, on a virtual clock"
_MOST = 5
"""Runs that are shown one by one; of more, the smallest and the largest value."""
_VERDICT_STYLES = {"valid": "green", "degraded": "yellow", "invalid": "bold red"}


def render(document: Document) -> RenderableType:
    """The whole check, for `text.console()`."""
    runs, baseline = document["runs"], document["baseline"] or []
    real = runs[0]["kind"] == "real"
    title = badge("real" if real else "simulated", clock="virtual" if runs[0]["kind"] == _VIRTUAL else "real")
    title.append("  ").append_text(untrusted(runs[0]["workload"], "bold", limit=50))
    title.append(f"  {len(runs)} runs as one" if len(runs) > 1 else "  check")
    rules = [row for row in document["checks"] if row["kind"] == "rule"]
    held = [row for row in document["checks"] if row["kind"] == "regression"]
    parts: list[RenderableType] = [title, Text(), _runs(runs, baseline), Text(), _rules(rules)]
    parts += [Text(), _held(held)] if held else []
    parts += [part for part in (_by_run(document["checks"]), _notes(document)) if part is not None]
    return Encodable(Group(*parts, Text(), closing(document)))


def _runs(runs: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]) -> Table:
    """What is judged, and what it is held against."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for name, group in (("run", runs), ("baseline", baseline)):
        for number, run in enumerate(group):
            grid.add_row(Text(name if number == 0 else ""), _run(run))
    return grid


def _run(run: Mapping[str, Any]) -> Text:
    """A run: its file, its target, its verdict with reasons."""
    target = run["target"]
    known = [clean(target["model_served"] or target["model"] or "model unknown", 40)]
    known += [f"{clean(target['ptu'], 20)} PTU"] if target["ptu"] is not None else []
    known += [clean(target["type"], 20)] if target["type"] else []
    known += [f"label {clean(run['label'], 40)}"] if run["label"] else []
    text = untrusted(run["file"] or run["id"], limit=150)
    text.append(f"\n{', '.join(known)}, {run['requests']:,} requests, ")
    text.append(run["verdict"], style=_VERDICT_STYLES[run["verdict"]])
    text.append("" if run["ended"] == "completed" else f", {clean(run['ended'], 20)}")
    for reason in run["reasons"]:
        text.append("\n- ").append_text(untrusted(reason["text"], "yellow", limit=300))
    return text


def _rules(rows: Sequence[Row]) -> Table:
    """The rules: measured, limit, interval, the word."""
    table = _sheet("Rules", "measured", "limit", "95 % interval")
    for row in rows:
        if row["unit"] is None:
            table.add_row(_rule(row), Text("–"), Text("–"), Text(), _word(row))
            continue
        interval = Text(judged.interval(row), style="dim")
        table.add_row(_rule(row), Text(judged.measured(row)), Text(judged.limit(row)), interval, _word(row))
    return table


def _held(rows: Sequence[Row]) -> Table:
    """The regressions: both values, the change with its interval, the word."""
    table = _sheet("Regressions", "baseline", "now", "change", "95 % interval")
    for row in rows:
        values = [Text(in_unit(row[name], row["unit"])) for name in ("baseline", "measured")]
        table.add_row(_rule(row), *values, *_change(row), _word(row))
    return table


def _change(row: Row) -> tuple[Text, Text]:
    """The change and its interval: per cent of the baseline, points, or the metric's unit where the baseline is zero."""
    if row["change"] is None and row["low"] is None and row["high"] is None:
        return Text("–"), Text()
    scale, unit = (row["relative"], "%") if row["relative"] else (row, "pt" if row["unit"] == "share" else "")
    changed, interval = change(scale, unit)
    return Text(changed), Text(interval, style="dim")


def _sheet(title: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(Text(title, style="bold not dim"), overflow="fold")
    for name in columns:
        table.add_column(Text(name), justify="right", no_wrap=True)
    table.add_column(Text(""), no_wrap=True)
    return table


def _rule(row: Row) -> Text:
    text = untrusted(row["rule"], limit=60)
    return text.append(" (default)", style="dim") if row["default"] else text


def _word(row: Row) -> Text:
    return Text("PASS", style="bold green") if row["passed"] else Text("FAIL", style="bold red")


def _by_run(rows: Sequence[Row]) -> RenderableType | None:
    """What each of several runs measured, and their spread."""
    repeated = {row["metric"]: row for row in rows if row["by_run"] and row["unit"] is not None}
    if not repeated:
        return None
    most = max(len(row["by_run"]) for row in repeated.values())
    each = most <= _MOST
    table = _sheet("By run", *(map(str, range(1, most + 1)) if each else ("min", "max")), "std")
    for name, row in repeated.items():
        known = [value for value in row["by_run"] if value is not None]
        shown = row["by_run"] if each else [min(known, default=None), max(known, default=None)]
        table.add_row(Text(name), *(Text(in_unit(value, row["unit"])) for value in (*shown, row["spread"])))
    return Group(Text(), table)


def _notes(document: Document) -> RenderableType | None:
    """What one should know beside the numbers."""
    said = [row for row in document["checks"] if row["passed"] and row["why"]]
    notes = [*document["notes"], *(f"{row['rule']}: {row['why']}" for row in said)]
    if not notes:
        return None
    grid = Table.grid(padding=(0, 1))
    for note in notes:
        grid.add_row(Text("-"), untrusted(note, limit=400))
    return Group(Text(), Text("Notes", style="bold"), grid)
