"""A usage history and what it needs, as tables. JSON of `usage.need.answer` in, tables out; computes nothing."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.report.text import sheet, untrusted
from ptubench.units import duration_text, number_text, share_text

_NEEDS = {"need": "all minutes", "need_with_traffic": "minutes with traffic"}
_FIGURES = ("mean", "p50", "p95", "p99", "max")


def usage(told: Mapping[str, Any], verdicts: Mapping[int, Text]) -> RenderableType:
    """Where it comes from, what was asked for, the PTU it needs, and what each size (PTU) would have refused, with its verdict."""
    sizes = [Text(), _sizes(told, verdicts)] if told["sizes"] else []
    return Group(*_heading(told), Text(), _needs(told), *sizes, *_remarks(told))


def _heading(told: Mapping[str, Any]) -> list[Text]:
    gap = told["longest_gap"]
    quiet = told["minutes"] - told["with_traffic"]
    minutes = f"{told['minutes']:,} minutes, {told['with_traffic']:,} with traffic"
    if gap is not None:
        lasting = duration_text(gap["minutes"] * 60)
        minutes += f"; {quiet:,} without any, the longest time {lasting} from {_utc(gap['from'])}"
    cached = told["cached_tokens"] / told["prompt_tokens"] if told["prompt_tokens"] else None
    tokens = (
        f"{told['requests']:,.0f} requests, {_millions(told['prompt_tokens'])} prompt tokens "
        f"({share_text(cached)} cached), {_millions(told['completion_tokens'])} completion tokens"
    )
    return [
        Text.assemble(("Usage", "bold"), "  ", untrusted(told["source"], limit=100)),
        Text(f"{_utc(told['from'])} to {_utc(told['to'])} UTC: {minutes}"),
        Text(tokens),
    ]


def _needs(told: Mapping[str, Any]) -> RenderableType:
    table = sheet("PTU needed per minute", *_FIGURES)
    for key, name in _NEEDS.items():
        table.add_row(Text(name), *(Text(number_text(told[key][figure])) for figure in _FIGURES))
    return Group(table, Text(f"busiest minute: {_utc(told['need']['max_at'])} UTC", style="dim"))


def _sizes(told: Mapping[str, Any], verdicts: Mapping[int, Text]) -> RenderableType:
    others = _others(told)
    table = sheet("Sizes", "minutes", "tokens", "mean", "peak", "refused", *(f"at {depth}s" for depth in others))
    table.add_column(overflow="fold")
    for size in told["sizes"]:
        cells = (
            share_text(size["minutes_above"]),
            share_text(size["tokens_above"]),
            share_text(size["utilization"]["mean"]),
            share_text(size["utilization"]["peak_minute"]),
            share_text(size["refused"]["ratio"]),
            *(share_text(size["refused_by_depth"][depth]) for depth in others),
        )
        table.add_row(Text(f"{size['ptu']:,} PTU"), *map(Text, cells), verdicts[size["ptu"]])
    return table


def _others(told: Mapping[str, Any]) -> list[str]:
    """The least and the greatest of the further depths: between them lies what the others give."""
    depths = [depth for depth in told["sizes"][0]["refused_by_depth"] if float(depth) != told["depth_s"]]
    return depths[:1] + depths[1:][-1:]


def _remarks(told: Mapping[str, Any]) -> list[Text]:
    """How the figures came about, and what must be known to read them."""
    said = (
        "minutes, tokens: the share that exceeds the size in its minute; mean, peak: utilization; "
        f"refused: requests, bucket of an assumed depth of {told['depth_s']:g}s, {told['model']}"
    )
    return [Text(said, style="dim"), *(untrusted(note, limit=200) for note in told["notes"])]


def _utc(iso: str) -> str:
    return iso.replace("T", " ").removesuffix("Z")


def _millions(count: float) -> str:
    return f"{number_text(count / 1e6)} M" if count >= 1e6 else number_text(count)
