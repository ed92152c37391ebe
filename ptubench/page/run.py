"""A run as a section of a page: the verdict, the headline figures, what was measured and how, charts, tables.

Reads a run and its summary; every number shown stands in the summary.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from ptubench.analysis.columns import Run
from ptubench.compare.unlike import kind_of
from ptubench.page.charts.parts import count_text
from ptubench.page.charts.run import of_run
from ptubench.page.facts import facts, first_read
from ptubench.page.limits import limits
from ptubench.page.model import Banner, Kind, Listing, Section, Table, Tile, Tone
from ptubench.page.repeat import repeat
from ptubench.page.short import in_short, terms
from ptubench.page.tables import tables
from ptubench.ptu.capacity import by_whom
from ptubench.ptu.prices import Prices, shipped
from ptubench.report import table
from ptubench.report.heading import ENDED
from ptubench.report.latency import cell, in_unit
from ptubench.report.text import clean
from ptubench.units import number_text, share_text

Summary = Mapping[str, Any]

_VERDICTS: dict[str, tuple[str, Tone]] = {
    "valid": ("The client measured what it was asked to.", "good"),
    "degraded": ("Read the figures with these reasons in mind.", "warn"),
    "invalid": ("Do not use the figures of this run.", "bad"),
}
_VIRTUAL = "All of it was simulated: there is no client whose delays could be in the figures."
_ELSEWHERE = ("checks", "notes", "timeline")
"""What stands at another place of the page: the first two before the charts, the last as charts."""


def section(run: Run, summary: Summary, *, name: str, title: str, prices: Prices | None = None) -> Section:
    """The section of one run; `name` is its id, and without `prices` the list that ships holds."""
    shown = table.sections(summary)
    notes = sentences(note["text"] for note in summary["notes"])
    listings = [
        Listing(title="What this run does not show", items=limits(run, summary)),
        *([Listing(title="Notes", items=notes)] if notes else []),
    ]
    return Section(
        name=name,
        title=title,
        kind=cast("Kind", kind_of(summary)),
        subtitle=clean(run.head.workload.description, 200),
        banner=banner(summary),
        short=in_short(summary, prices or shipped()),
        tiles=tiles(summary),
        terms=terms(summary),
        first=[_answer_first(checks) for checks in tables([shown.get("checks")])],
        facts=facts(run, summary),
        listings=listings,
        snippets=repeat(run),
        charts=of_run(run, summary),
        tables=tables(part for name, part in shown.items() if name not in _ELSEWHERE),
    )


def banner(summary: Summary) -> Banner:
    """Whether the client can be believed, and whether the rules hold."""
    validity, rows = summary["validity"], summary["checks"]
    text, tone = _VERDICTS.get(validity["verdict"], ("", "bad"))
    if summary["run"]["clock"] == "virtual" and validity["verdict"] == "valid":
        text = _VIRTUAL
    early = _early(summary["run"])
    if early:
        text, tone = f"{early} {text}", "warn" if tone == "good" else tone
    failed = sum(not row["passed"] for row in rows)
    if failed:
        text += f" {failed} of {len(rows)} checks failed."
        tone = "warn" if tone == "good" else tone
    elif rows:
        text += f" All {len(rows)} checks passed." if len(rows) > 1 else " The check passed."
    reasons = sentences(reason["text"] for reason in validity["reasons"])
    return Banner(word=str(validity["verdict"]).upper(), text=text, tone=tone, reasons=reasons)


def _early(run: Mapping[str, Any]) -> str:
    """That a run did not reach its end, and why, which is the first thing to know of it; empty if it did."""
    if run["aborted"] is not None:
        return f"Aborted: {clean(run['aborted']['text'], 300)}."
    ended = ENDED.get(run["ended"])
    return "" if ended is None else f"{ended[0].upper()}{ended[1:]}."


def tiles(summary: Summary) -> Sequence[Tile]:
    """The figures that are read first."""
    metrics, first = summary["metrics"], first_read(summary)
    tpm, refused, rpm = metrics["tpm"], metrics["refused"], metrics["rpm"]
    offered = metrics["requests"]["total"] - metrics["requests"]["unsent"]
    found = [
        Tile(
            label="Admitted calls/min",
            value=number_text(rpm["admitted"]),
            detail=f"of {number_text(rpm['offered'])} offered",
        )
    ]
    if summary["target"].get("type") == "standard":
        found.append(Tile(label="Tokens/min", value=number_text(tpm["total"]), detail="prompt and completion"))
    else:
        if tpm["of_published"] is not None:
            by = by_whom(summary["target"]["capacity"]["source"])
            detail = f"{share_text(tpm['of_published'])} of the {by} capacity"
        else:
            detail = "capacity not known" if summary["target"]["capacity"] is None else "no answer told its tokens"
        found.append(Tile(label="Normalized tokens/min", value=number_text(tpm["normalized"]), detail=detail))
    found += [_latency(metrics, first, percentile) for percentile in ("p50", "p95")]
    interval = "" if refused["ci95"] is None else f"; 95 % interval {' to '.join(map(share_text, refused['ci95']))}"
    found.append(
        Tile(
            label="Refused",
            value=share_text(refused["ratio"]),
            detail=f"{count_text(refused['count'])} of {offered:,}{interval}",
            tone="warn" if refused["count"] else "good",
        )
    )
    return [*found, *_failed(summary)]


def _latency(metrics: Mapping[str, Any], name: str, percentile: str) -> Tile:
    """One percentile with its n and its interval; beside p95 that of all calls, from when they were due."""
    distribution = metrics[name]
    interval = (distribution["ci95"] or {}).get(percentile)
    said = [_behind(distribution)]
    if interval:
        ends = [in_unit(end, distribution["unit"]) if end is not None else "never answered" for end in interval]
        said.append(f"95 % interval {' to '.join(ends)}")
    due = metrics.get(f"{name}_scheduled")
    # What was refused has no latency: a percentile of the others alone flatters.
    told = due is not None and (due[percentile] is not None or percentile in due["unanswered"])
    if due is not None and told and percentile == "p95" and due["of"] > distribution["of"]:
        said.append(f"since due, of all {due['of']:,}: {cell(due, percentile).plain}")
    tone: Tone = "bad" if percentile in distribution["unanswered"] else ""
    value = cell(distribution, percentile).plain
    return Tile(label=f"{name.upper()} {percentile}", value=value, detail="; ".join(said), tone=tone)


def _behind(distribution: Mapping[str, Any]) -> str:
    """How many calls are behind a percentile."""
    never = distribution["of"] - distribution["count"]
    unanswered = f", {never:,} of them never answered" if never else ""
    return f"of {count_text(distribution['of'], 'admitted call')}{unanswered}"


def _failed(summary: Summary) -> list[Tile]:
    """What failed, where something did, or where a rule on it does not hold."""
    failed = summary["metrics"]["failed"]
    broken = any(not row["passed"] and str(row["rule"]).startswith("failed.") for row in summary["checks"])
    if not failed["count"] and not broken:
        return []
    kinds = sorted(failed["by_kind"].items(), key=lambda item: -item[1])
    said = [f"{count:,} {clean(kind, 30)}" for kind, count in kinds[:3]] or [count_text(failed["count"])]
    tone: Tone = "bad" if broken else "warn"
    return [Tile(label="Failed", value=share_text(failed["ratio"]), detail=", ".join(said), tone=tone)]


def _answer_first(checks: Table) -> Table:
    """The checks with PASS or FAIL beside the rule: where there is little room, that is what must be seen."""
    columns = len(checks.header)
    order = sorted(
        range(columns), key=lambda place: (place > 0, any(row[place] not in ("PASS", "FAIL") for row in checks.rows))
    )
    return replace(
        checks,
        header=[checks.header[place] for place in order],
        rows=[[row[place] for place in order] for row in checks.rows],
        numbers=[checks.numbers[place] and place != order[1] for place in order],
        tones=[[tones[place] for place in order] for tones in checks.tones],
    )


def sentences(texts: Iterable[object]) -> list[str]:
    """Notes as sentences, which begin with a capital and end with a full stop."""
    cleaned = (clean(text, 600) for text in texts)
    return [f"{said[:1].upper()}{said[1:]}{'' if said.endswith(('.', '!', '?')) else '.'}" for said in cleaned]
