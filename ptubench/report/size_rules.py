"""By which rules a size is judged, on a terminal. JSON of `size.answer` in, tables out; computes nothing."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from ptubench.analysis import names
from ptubench.report.latency import in_unit
from ptubench.report.text import clean, sheet, untrusted

Answer = Mapping[str, Any]

SHORT = {
    "utilization.simulated.peak_minute": "busiest",
    "utilization.estimated.peak_minute": "busiest",
    "utilization.simulated.mean": "mean",
    "utilization.estimated.mean": "mean",
    "refused.ratio": "refused",
}
"""Rules whose figure has a column, by metric: the word over it."""


def enough(answer: Answer) -> str:
    """The rules that a size must hold, and where one passed a little above its limit."""
    rows = [row for size in answer["sizes"] for row in size["checks"] if row["passed"] is not None]
    split = (clean(row["rule"], 60).partition(" ") for row in rows)
    rules = dict.fromkeys(f"{SHORT.get(name, name)} {limit}" for name, _, limit in split)
    over = [row for row in rows if row["passed"] and row.get("tolerance") and row["measured"] > row["limit"]]
    said = (
        f"; up to {100 * over[0]['tolerance']:g} points more pass, as answers run over a minute's edge" if over else ""
    )
    return f"enough: {', '.join(rules)}{said}"


def others(answer: Answer) -> RenderableType | None:
    """The workload's rules that have no column: those judged at the answer's size, and those that no simulation can judge."""
    judged = _judged_there(answer)
    if not (answer["rules"] or judged):
        return None
    table = sheet("Other rules", "measured")
    table.add_column()
    for row, passed in judged:
        table.add_row(untrusted(row["rule"], limit=44), Text(_measured(row)), Text(passed))
    for row in answer["rules"]:
        verdict = {None: clean(row["why"] or "", 80), True: "passed in that run", False: "failed in that run"}
        table.add_row(untrusted(row["rule"], limit=44), Text(_measured(row)), Text(verdict[row["passed"]]))
    return table


def _judged_there(answer: Answer) -> list[tuple[Answer, str]]:
    """Rules that were judged and have no column, passed or not: at the answer's size, or at the largest where none is enough."""
    if answer["by"] != "simulation" or not answer["sizes"]:
        return []
    chosen = [size for size in answer["sizes"] if size["ptu"] == answer["recommended"]]
    size = (chosen or answer["sizes"][-1:])[0]
    return [
        (row, f"{'passed' if row['passed'] else 'failed'} at {size['ptu']:,} PTU")
        for row in size["checks"]
        if row["passed"] is not None and row["rule"].split()[0] not in SHORT
    ]


def _measured(row: Answer) -> str:
    if row["measured"] is None:
        return "–"
    return in_unit(row["measured"], names.units().get(row["rule"].split(maxsplit=1)[0], "count"))
