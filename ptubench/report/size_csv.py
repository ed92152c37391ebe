"""The sizes of `ptubench size --json` as CSV: a line each; empty where nothing is known. Computes nothing."""

import csv
import io
from collections.abc import Mapping
from typing import Any

COLUMNS = {
    "ptu": ("ptu",),
    "passed": ("passed",),
    "formula_mean": ("formula", "mean"),
    "formula_peak_minute": ("formula", "peak_minute"),
    "depth_s": ("depth_s",),
    "utilization_mean": ("metrics", "utilization", "simulated", "mean"),
    "utilization_peak_minute": ("metrics", "utilization", "simulated", "peak_minute"),
    "refused_ratio": ("metrics", "refused", "ratio"),
    "waited_s": ("metrics", "waited", "mean"),
    "diverted": ("metrics", "requests", "diverted"),
    "tpm_normalized": ("metrics", "tpm", "normalized"),
    "cost_per_hour": ("cost", "per_hour"),
    "cost_per_month_by_the_hour": ("cost", "per_month", "hour"),
    "cost_per_month_1_month_reservation": ("cost", "per_month", "month"),
    "cost_per_month_1_year_reservation": ("cost", "per_month", "year"),
}
"""Names of the columns, and where in a size the value stands."""


def render(answer: Mapping[str, Any]) -> str:
    """Head and lines, each ended; whether a size is the recommended one, its type and the currency stand in every line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["type", *COLUMNS, "currency", "recommended"])
    for size in answer["sizes"]:
        recommended = size["ptu"] == answer["recommended"]
        values = [_cell(size, path) for path in COLUMNS.values()]
        writer.writerow([answer["type"], *values, answer["money"]["currency"], _text(recommended)])
    return out.getvalue()


def _cell(size: Mapping[str, Any], path: tuple[str, ...]) -> str:
    value: Any = size
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.10g}"
