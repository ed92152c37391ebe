"""What the run of `ptubench size --from` told, on a terminal. JSON of `calibrate.findings.plain` in; computes nothing."""

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.report.text import bullets, sheet, untrusted
from ptubench.units import number_text, seconds_text, share_text

_LINE = 74
"""Cells that a path may take."""
_ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("capacity_tpm", "capacity, tokens/min", number_text),
    ("capacity_tpm_by_retry_after", "  by retry-after", number_text),
    ("tpm_per_ptu", "  of one PTU", number_text),
    ("ratio", "output ratio", lambda value: f"{value:.2f}"),
    ("depth_s", "depth of the bucket", seconds_text),
    ("latency_s", "TTFT", seconds_text),
    ("prefill", "  prompt tokens read/s", number_text),
    ("load", "  growth to a full bucket", share_text),
    ("ttft_spread", "  spread", share_text),
    ("tbt_s", "time between tokens", seconds_text),
    ("tbt_spread", "  spread", share_text),
    ("output_of_asked", "output, of asked for", share_text),
    ("cached_share", "cached, of the prompt", share_text),
)


def calibration(told: Mapping[str, Any]) -> RenderableType:
    """A line for each figure that was found, beside what is published or what the run was told, and what the run can't tell."""
    published = told["published"]
    by = "published or typed" if published is not None and "typed" in published["source"] else "published"
    table = sheet("Measured by --from", "found", "95 % interval", by)
    beside = {} if published is None else {"ratio": published["ratio"], "tpm_per_ptu": published["tpm_per_ptu"]}
    if published is not None and told["ptu"] is not None:
        beside["capacity_tpm"] = published["tpm"]
    for key, label, text in _ROWS:
        found = told["found"][key]
        if found is not None:
            low, high = found["ci95"]
            other = text(beside[key]) if key in beside else ""
            table.add_row(*map(Text, (label, text(found["value"]), f"{text(low)} to {text(high)}", other)))
    return Group(table, *_lines(told))


def _lines(told: Mapping[str, Any]) -> list[RenderableType]:
    """Which run it was, and a sentence for each thing that it can't tell."""
    lines: list[RenderableType] = [
        Text.assemble(("of ", "dim"), untrusted(_place(str(told["file"])), "dim", limit=_LINE), (_basis(told), "dim"))
    ]
    if told["found"]["depth_s"] is not None:
        before = "the depth is right if nobody had called for a while when the run began; else it is deeper"
        lines.append(Text(before, style="dim"))
    if told["unknown"]:
        lines += [Text("It can't tell", style="dim"), bullets(told["unknown"])]
    return lines


def _place(file: str) -> str:
    """The path of the run; where it is longer than a line only its name, which else would be broken in two."""
    return file if len(file) <= _LINE else f"…/{PurePath(file).name}"


def _basis(told: Mapping[str, Any]) -> str:
    clock = ", on a virtual clock" if told["clock"] == "virtual" else ""
    kind = ", simulated" if told["kind"] == "simulated" else ""
    refusals = f", {told['refusals']:,} of its 429s" if told["refusals"] else ""
    agreed = {None: "", True: "; retry-after agrees", False: "; retry-after does not agree"}[told["agrees"]]
    return f"{kind}{clock}: {told['answers']:,} answers{refusals}{agreed}"
