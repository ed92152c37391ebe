"""What the published formula says of a load, on a terminal. JSON of `size.answer` in, tables out; computes nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.ptu.sizing import TYPES
from ptubench.report.text import sheet
from ptubench.units import number_text, share_text

Answer = Mapping[str, Any]

_CACHED = {"none": "none", "workload": "as asked for", "measured": "as measured", "history": "as recorded"}


def formula(answer: Answer) -> RenderableType:
    """Azure's own arithmetic, of the mean and of the busiest minute."""
    formula, types = answer["formula"], answer["types"]
    table = sheet("Formula, per minute", "calls", "normalized", "raw PTU", *(TYPES[name] for name in types))
    rows = (
        ("mean", formula["mean_rpm"], formula["tpm_mean"], formula["raw_mean"], "ptu_mean"),
        ("busiest minute", formula["peak_rpm"], formula["tpm_peak"], formula["raw"], "ptu"),
        (f"  at most {100 * formula['headroom']:g} % used", None, None, formula["raw_headroom"], "ptu_headroom"),
    )
    for label, calls, tokens, raw, key in rows:
        cells = [number_text(value, missing="") for value in (calls, tokens)]
        sizes = [f"{row[key]:,}" for row in types.values()]
        table.add_row(*map(Text, (label, *cells, f"{raw:,.1f}", *sizes)))
    steps = "; ".join(
        f"{TYPES[name]} from {row['minimum']} in steps of {row['increment']}" for name, row in types.items()
    )
    lines = [steps or "which sizes can be deployed is not known", *_draws(answer)]
    return Group(table, *(Text(line, style="dim") for line in lines))


def _draws(answer: Answer) -> list[str]:
    """What the busiest minute is over many draws of the load, and which of them was taken."""
    formula = answer["formula"]
    drawn = formula["draws"]
    if drawn is None:
        return []
    calls = _range(drawn["peak_rpm"], number_text)
    sizes = drawn["ptu_headroom"].get(answer["type"])
    asked = (
        f"{_range(drawn['raw_headroom'], '{:,.1f}'.format)} raw PTU"
        if sizes is None
        else f"{_range(sizes, '{:,}'.format)} PTU {TYPES[answer['type']]}"
    )
    said = (
        f"drawn: over {drawn['count']} draws of this load (seeds {drawn['seeds'][0]} to {drawn['seeds'][1]}) the busiest minute "
        f"has {calls} calls ({number_text(drawn['own_peak_rpm'])} with the workload's own), at most {100 * formula['headroom']:g} % used asks for {asked}; above is the draw of seed "
        f"{drawn['seed']}, which {drawn['held']} of the {drawn['count']} do not exceed"
    )
    return [said]


def _range(ends: Sequence[float], text: Callable[[Any], str]) -> str:
    least, most = map(text, ends)
    return least if least == most else f"{least} to {most}"


def cached(answer: Answer) -> RenderableType:
    """Often the largest lever."""
    table = sheet("Prompt tokens cached", "share", "raw PTU", *(TYPES[name] for name in answer["types"]))
    for row in answer["cached"]:
        sizes = [f"{ptu:,}" for ptu in row["ptu"].values()]
        recorded = row["source"] == "workload" and answer["usage"] is not None
        cells = (
            _CACHED["history" if recorded else row["source"]],
            share_text(row["share"]),
            f"{row['raw_headroom']:,.1f}",
            *sizes,
        )
        table.add_row(*map(Text, cells))
    return table
