"""Runs beside each other as a section of a page, the first of them the baseline: in plain words, then charts, then all figures.

Runs, their summaries and what `compare.runs` says of them in; every number shown stands there, or is a list price.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from ptubench.analysis.columns import Run
from ptubench.page.charts.runs import LETTERS, of_runs
from ptubench.page.facts import first_read
from ptubench.page.model import Kind, Listing, Section, Table, Tone
from ptubench.page.short import hourly
from ptubench.page.tables import tables
from ptubench.ptu.prices import Prices
from ptubench.report import compare as report
from ptubench.report.latency import cell, in_unit
from ptubench.report.text import clean
from ptubench.units import number_text, share_text

Summary = Mapping[str, Any]
Compared = Mapping[str, Any]
Row = Mapping[str, Any]

_TONES: dict[str, Tone] = {"better": "good", "worse": "bad"}


def comparison(
    runs: Sequence[Run], summaries: Sequence[Summary], compared: Compared, *, names: Sequence[str], prices: Prices
) -> Section:
    """The section of several runs.

    Args:
        runs: the baseline first.
        summaries: of each.
        compared: of `compare.runs`.
        names: what each is called.
        prices: for what the sizes cost.
    """
    windows = [(summary["run"]["window_s"][0], summary["run"]["window_s"][1]) for summary in summaries]
    differing = [
        f"{_letter(place)} against A, {clean(row['text'], 200)}"
        for place, run in enumerate(compared["runs"])
        for row in run["differences"]
    ]
    return Section(
        name="comparison",
        title="Comparison",
        kind=_kind([str(run["kind"]) for run in compared["runs"]]),
        subtitle="; ".join(f"{_letter(place)} is {name}" for place, name in enumerate(names)),
        short=[
            sentence
            for number in range(1, len(runs))
            for sentence in (
                _differs(compared, summaries, number),
                _price(summaries, number, prices) or _price_of_tokens(compared, number, prices),
            )
            if sentence
        ],
        listings=[Listing(title="What differs besides the figures", items=differing)] if differing else [],
        charts=of_runs(runs, windows, names, compared),
        first=[_headline(names, summaries, compared, prices)],
        tables=[_against(compared, number) for number in range(1, len(runs))],
    )


# --- in short ---------------------------------------------------------------------------------------------------------

_VERBS = {
    "rpm.admitted": ("takes", "calls a minute"),
    "refused.ratio": ("refuses", "of the calls"),
    "failed.ratio": ("fails", "of the calls"),
}


def _differs(compared: Compared, summaries: Sequence[Summary], number: int) -> str:
    """How one run differs from the baseline where the 95 % interval shows that it does."""
    letter = _letter(number)
    if "invalid" in (summaries[place]["validity"]["verdict"] for place in (0, number)):
        return f"Of {letter} and A, at least one is invalid: their difference says nothing of the deployments."
    rows = _rows(compared, number)
    latency = f"{first_read(summaries[0])}.p95"
    names = dict.fromkeys((*_VERBS, latency, "e2e.p95"))
    said = [_difference(rows[name], name) for name in names if rows[name]["word"] in _TONES]
    if not said:
        return f"Between {letter} and A no difference is shown: not in calls, refusals, failures or latency."
    return f"{letter} {', '.join(said)}."


def _difference(row: Row, name: str) -> str:
    """One figure of both."""
    before, after = (
        "never" if never else in_unit(value, row["unit"])
        for value, never in zip(row["values"], row["unanswered"], strict=True)
    )
    if name in _VERBS:
        verb, what = _VERBS[name]
        return f"{verb} {after} {what} where A {verb} {before}"
    metric, percentile = name.split(".")
    how = "faster" if row["word"] == "better" else "slower"
    return f"is {how} by {metric.upper()} ({percentile} {after} instead of {before})"


def _price(summaries: Sequence[Summary], number: int, prices: Prices) -> str:
    """What one deployment costs beside the baseline's."""
    base, other = (hourly(summaries[place]["target"], prices) for place in (0, number))
    if not base or other is None:
        return ""
    listed = f"by the hour, {prices.called} of {prices.dated.isoformat()}"
    if other == base:
        return f"{_letter(number)} costs what A costs: {number_text(base)} {prices.currency} an hour ({listed})."
    more = "more" if other > base else "less"
    return (
        f"{_letter(number)} costs {share_text(abs(other / base - 1))} {more} than A: {number_text(other)} {prices.currency} an hour "
        f"instead of {number_text(base)} ({listed})."
    )


def _price_of_tokens(compared: Compared, number: int, prices: Prices) -> str:
    """The same of deployments of which not all are paid by the hour."""
    base, other = _costs(compared, number)
    if base is None or other is None:
        return ""
    return (
        f"A million tokens cost {number_text(other)} {prices.currency} from {_letter(number)} and {number_text(base)} from A ({prices.called} of "
        f"{prices.dated.isoformat()}; PTUs by the hour, as full as they were in the window)."
    )


def _costs(compared: Compared, number: int) -> tuple[float | None, float | None]:
    """What a million tokens cost from the baseline and from another run."""
    base, other = _rows(compared, number)["cost.per_million_tokens"]["values"]
    return base, other


# --- tables -----------------------------------------------------------------------------------------------------------


def _headline(names: Sequence[str], summaries: Sequence[Summary], compared: Compared, prices: Prices) -> Table:
    """The handful of figures that are read first, in plain words; of two runs also which is better."""
    first = first_read(summaries[0])
    told = [_told(summary, first, prices) for summary in summaries]
    costs = [_costs(compared, 1)[0], *(_costs(compared, number)[1] for number in range(1, len(summaries)))]
    for one, cost in zip(told, costs, strict=True):
        one[_PER_MILLION] = "–" if cost is None else f"{number_text(cost)} {prices.currency}"
    labels = [label for label in told[0] if any(one[label] != "–" for one in told)]
    words = _rows(compared, 1) if len(summaries) == 2 else {}
    of = _LABELS | _latencies(first)
    ending = [words[of[label]]["word"] if label in of and words else "" for label in labels]
    return Table(
        title="Headline figures",
        header=("", *(f"{_letter(place)}  {name}" for place, name in enumerate(names)), *(["B is"] if words else [])),
        rows=[
            (label, *(one[label] for one in told), *([word] if words else []))
            for label, word in zip(labels, ending, strict=True)
        ],
        numbers=[False, *(True for _ in told), *([False] if words else [])],
        tones=[
            ("", *(_tone(one[label]) for one in told), *([_TONES.get(word, "")] if words else []))
            for label, word in zip(labels, ending, strict=True)
        ],
    )


_PER_MILLION = "price of a million tokens"
_LABELS = {
    "calls a minute that it took": "rpm.admitted",
    "refused": "refused.ratio",
    "failed": "failed.ratio",
    _PER_MILLION: "cost.per_million_tokens",
}
"""Which rows of the headline figures a comparison judges, by the metric; latencies come with `_latencies`."""


def _latencies(first: str) -> dict[str, str]:
    """The latencies of the headline figures in plain words, by the metric."""
    begun = {
        f"half began to answer within ({first.upper()} p50)": f"{first}.p50",
        f"95 of 100 began to answer within ({first.upper()} p95)": f"{first}.p95",
    }
    return ({} if first == "e2e" else begun) | {"95 of 100 were answered in full within (E2E p95)": "e2e.p95"}


def _told(summary: Summary, first: str, prices: Prices) -> dict[str, str]:
    """One run in plain words; an en dash for what is not known."""
    metrics, target, checks = summary["metrics"], summary["target"], summary["checks"]
    failed = sum(not row["passed"] for row in checks)
    what = [f"{target['ptu']:,} PTU"] if target.get("ptu") is not None else []
    what += [str(target["type"])] if target.get("type") else []
    hour = hourly(target, prices)
    said = {
        "size": clean(", ".join(what), 80) or "–",
        "model": clean(target.get("model_served") or "–", 60),
        "begun, UTC": str(summary["run"]["started_at"])[:16].replace("T", " "),
        "was it measured well?": str(summary["validity"]["verdict"]),
        "do its checks hold?": "–"
        if not checks
        else f"{failed} of {len(checks)} FAILED"
        if failed
        else f"all {len(checks)} hold",
        "calls a minute offered": number_text(metrics["rpm"]["offered"]),
        "calls a minute that it took": number_text(metrics["rpm"]["admitted"]),
        "refused": share_text(metrics["refused"]["ratio"]),
        "failed": share_text(metrics["failed"]["ratio"]),
    }
    for label, name in _latencies(first).items():
        metric, percentile = name.split(".")
        said[label] = cell(metrics[metric], percentile).plain
    said["of the published (or typed) capacity used"] = share_text(metrics["tpm"]["of_published"])
    said["price by the hour"] = "–" if hour is None else f"{number_text(hour)} {prices.currency}"
    return said


def _tone(value: str) -> Tone:
    """What is bad in itself; the words say the same."""
    if value in ("invalid", "unanswered") or value.endswith("FAILED"):
        return "bad"
    return "warn" if value == "degraded" else ""


def _against(compared: Compared, number: int) -> Table:
    """All figures of one run against the baseline's."""
    (table,) = tables([report.against(number, compared["metrics"]), report.legend(compared)])
    run = compared["runs"][number]
    paired = (
        f"Paired: {run['common_requests']:,} requests beside each other."
        if run["paired"]
        else f"Not paired: {clean(run['unpaired_because'], 300)}."
    )
    title = f"{_letter(number)} against A"
    return replace(table, title=title, header=(table.title, *table.header[1:]), notes=(paired, *table.notes))


def _rows(compared: Compared, number: int) -> dict[str, Row]:
    return {row["name"]: row for row in compared["metrics"] if row["run"] == number}


def _kind(kinds: Sequence[str]) -> Kind:
    """Of all of them together."""
    if len(set(kinds)) == 1:
        return cast("Kind", kinds[0])
    return "real and simulated" if "real" in kinds else "simulated"


def _letter(place: int) -> str:
    return LETTERS[place % 26]
