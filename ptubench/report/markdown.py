"""The report as GitHub-flavoured Markdown: for a step's summary, a pull request, a wiki.

Computes nothing: every number stands in the check document (`gate.document`) or in the summary. Whatever a server, a
file or a user has named stays plain text: no markup, no HTML, no link, nobody mentioned.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ptubench.analysis.names import DISTRIBUTIONS
from ptubench.gate.document import of_summary
from ptubench.ptu.capacity import by_whom
from ptubench.report import judged, words
from ptubench.report.latency import answered, cell, headline, in_unit
from ptubench.report.table import OUTCOMES
from ptubench.report.text import clean
from ptubench.units import duration_text, number_text, share_text
from ptubench.workload.model import Workload

Summary = Mapping[str, Any]
Document = Mapping[str, Any]

_NO_WIDTH = "\N{ZERO WIDTH SPACE}"
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", _NO_WIDTH: "&#8203;"}
_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|^(?=[#+=-])|^\d+(?=[.)])")
_LINKED = re.compile(r"(?<=[@#])(?=\w)|(?<=:)(?=//|[\w+-]+(?::|$))|(?<=www)(?=\.)|(?<=GH)(?=-\d)", re.IGNORECASE)
"""Where GitHub makes a link, a mention or an emoji of plain text."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_PERCENTILES = ("p50", "p90", "p95", "p99")
_LATENCIES = ("ttft_scheduled", "e2e", "e2e_scheduled", "tbt", "tps")
_SHOWN = 50
"""Rows of a table whose length others decide."""
_ALWAYS = ("ok", "throttled", "failed")
_UTILIZATIONS = ("estimated", "monitor", "simulated")


def escaped(value: object, limit: int = 80) -> str:
    """`value` on one line, as text that no Markdown reader takes for anything else; an en dash for None."""
    if value is None:
        return "–"
    # A blank of no width parts what would be a link; `clean` leaves none in what others wrote.
    text = _LINKED.sub(_NO_WIDTH, clean(value, limit).strip())
    text = _SPECIAL.sub(lambda found: _harmless(found[0]), text)
    return re.sub(f"[&<>{_NO_WIDTH}]", lambda found: _ENTITIES[found[0]], text)


def of_run(summary: Summary) -> str:
    """A run: its checks and verdict, then the headline tables."""
    return of_check(of_summary(summary), [summary])


def of_check(document: Document, summaries: Sequence[Summary] = ()) -> str:
    """What `check` found, and the headline tables of the runs whose summaries are given."""
    parts = [
        f"## {_title(document)}",
        _runs(document["runs"]),
        *_reasons(document),
        *_checks(document),
        *(part for summary in summaries for part in _tables(summary, named=len(summaries) > 1)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def refused(message: str) -> str:
    """The error that ended a command before anything could be judged."""
    return f"## ❌ ptubench\n\n{escaped(message, 1000)}\n"


def _harmless(found: str) -> str:
    """A special character behind a backslash, or a number at the start that would begin a list."""
    return f"{found}\\" if found.isdigit() else f"\\{found}"


def _title(document: Document) -> str:
    """The answer, in words and as a sign."""
    simulated = any(run["kind"] != "real" for run in document["runs"])
    name = f"{escaped(document['runs'][0]['workload'], 50)}{' (SIMULATED)' if simulated else ''}"
    rows = document["checks"]
    failed = sum(not row["passed"] for row in rows)
    ending = judged.ending(document)
    if ending is not None:
        return f"❌ {name}: {escaped(ending[1], 200)}"
    if failed:
        return f"❌ {name}: {failed} of {_counted(len(rows), 'check')} failed"
    return f"✅ {name}: {'the check holds' if len(rows) == 1 else f'all {len(rows)} checks hold'}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _runs(runs: Sequence[Mapping[str, Any]]) -> str:
    """What was measured, a row for each run."""
    rows = [
        (
            escaped(run["file"] or run["id"], 120) + (f", label {escaped(run['label'], 40)}" if run["label"] else ""),
            f"**{_kind(run['kind'])}**",
            escaped(_model(run["target"]), 120),
            escaped(run["target"].get("deployment")),
            f"{run['requests']:,}",
            _verdict(run),
            f"{_moment(run['started_at'])} UTC",
        )
        for run in runs
    ]
    return _table(("run", "", "model", "deployment", "calls-", "verdict", "begun"), rows)


def _moment(text: str) -> str:
    """A time stamp; what is one holds nothing that needs to be parted."""
    told = text[:19].replace("T", " ")
    return told if _STAMP.fullmatch(told) else escaped(told)


def _kind(kind: str) -> str:
    """REAL, SIMULATED, SIMULATED, on a virtual clock."""
    first, comma, rest = kind.partition(",")
    return f"{escaped(first).upper()}{comma}{escaped(rest)}"


def _verdict(run: Mapping[str, Any]) -> str:
    """The verdict, and how the run ended if not by itself."""
    said = escaped(run["verdict"])
    return said if run["ended"] == "completed" else f"{said}, {escaped(run['ended'])}"


def _model(target: Mapping[str, Any]) -> str:
    """Model, size and type in a few words."""
    size = f"{target['ptu']:,} PTU" if target.get("ptu") is not None else None
    said = (target.get("model_served") or target.get("model") or "model unknown", size, target.get("type"))
    return ", ".join(str(part) for part in said if part)


def _reasons(document: Document) -> list[str]:
    """Why a verdict is not `valid`, and what else one should know."""
    texts = [reason["text"] for run in document["runs"] for reason in run["reasons"]]
    lines = dict.fromkeys(f"- {escaped(text, 500)}" for text in (*texts, *document["notes"]))
    return ["\n".join(list(lines)[:_SHOWN])] if lines else []


def _checks(document: Document) -> list[str]:
    """Rules, and what is compared with the baseline; what failed stands first."""
    rows = sorted(document["checks"], key=lambda row: row["passed"])
    rules = [row for row in rows if row["kind"] == "rule"]
    regressions = [row for row in rows if row["kind"] == "regression"]
    repeated = any(row["by_run"] for row in document["checks"])
    found = []
    if rules:
        head = ("", "check", "measured-", "95 % interval-", *(("by run",) if repeated else ()), "")
        found += ["### Checks", _table(head, [_rule(row, repeated=repeated) for row in rules])]
    if regressions:
        baseline = ", ".join(escaped(run["file"] or run["id"], 120) for run in document["baseline"] or ())
        head = ("", "check", "baseline-", "measured-", "change-", "95 % interval-", "")
        found += [f"### Against the baseline\n\n{baseline}", _table(head, map(_regression, regressions))]
    return found


def _rule(row: Mapping[str, Any], *, repeated: bool) -> tuple[str, ...]:
    spread = (judged.spread(row),) if repeated else ()
    return _result(row), escaped(row["rule"]), judged.measured(row), judged.interval(row), *spread, _why(row)


def _regression(row: Mapping[str, Any]) -> tuple[str, ...]:
    base = in_unit(row["baseline"], row["unit"])
    changed = (judged.change(row), judged.change_interval(row))
    return _result(row), escaped(row["rule"]), base, judged.measured(row), *changed, _why(row)


def _result(row: Mapping[str, Any]) -> str:
    return "✅ PASS" if row["passed"] else "❌ **FAIL**"


def _why(row: Mapping[str, Any]) -> str:
    return escaped(row["why"], 200) if row["why"] else ""


def _tables(summary: Summary, *, named: bool) -> list[str]:
    """The headline numbers of one run, `named` where there are several."""
    metrics = summary["metrics"]
    made = {"Calls": _calls(metrics), "Latency": _latency(summary), "Tokens": _tokens(summary)}
    kinds = sorted(metrics["failed"]["by_kind"].items(), key=lambda item: -item[1])
    if kinds:
        made["Failures"] = _table(("kind", "count-"), [(escaped(kind, 40), f"{count:,}") for kind, count in kinds])
    notes = "\n".join(f"- {escaped(note['text'], 400)}" for note in summary["notes"])
    head = [f"## {escaped(summary['run']['file'] or summary['run']['id'], 120)}"] if named else []
    sections = [part for title, table in made.items() for part in (f"### {title}", table)]
    return [*head, _setup(summary), *sections, *(["### Notes", notes] if notes else [])]


def _setup(summary: Summary) -> str:
    """What was sent when, and from where."""
    workload, run = msgspec.convert(summary["workload"], Workload), summary["run"]
    start, end, whole = (duration_text(round(seconds, 1)) for seconds in (*run["window_s"], run["duration_s"]))
    place = summary["network"].get("place")
    said = (
        f"load: {words.load(workload.load)}",
        f"window: {start} to {end} of {whole}",
        f"on 429: {words.on_429(workload, summary['target'].get('divert_to'))}",
        *((f"place: {place}",) if place else ()),
    )
    return "\n".join(f"- {escaped(line, 300)}" for line in said)


def _calls(metrics: Mapping[str, Any]) -> str:
    """Offered, admitted, refused, and what became of each."""
    requests, refused, rpm = metrics["requests"], metrics["refused"], metrics["rpm"]
    offered = requests["total"] - requests["unsent"]
    low, high = (share_text(bound) for bound in refused["ci95"] or (None, None))
    between = f"95 % interval {low} to {high}" if refused["ci95"] else ""
    rows = [
        ("offered", f"{offered:,}", "", number_text(rpm["offered"]), ""),
        ("admitted", "", "", number_text(rpm["admitted"]), "neither answered 429 nor spilled"),
        ("completed", "", "", number_text(rpm["completed"]), "ended in the window, also those due before it"),
        ("**refused**", f"**{refused['count']:,}**", f"**{share_text(refused['ratio'])}**", "", between),
    ]
    for name in OUTCOMES:
        if requests[name] or name in _ALWAYS:
            share = share_text(requests[name] / offered) if offered and requests[name] and name != "unsent" else ""
            rows.append(
                (name.replace("_", " "), f"{requests[name]:,}", share, "", OUTCOMES[name][0] if requests[name] else "")
            )
    if metrics["slo"]["ratio"] is not None:
        rows.append(("slo met", "", share_text(metrics["slo"]["ratio"]), "", ""))
    return _table(("", "count-", "share-", "per minute-", ""), rows)


def _latency(summary: Summary) -> str:
    """Percentiles with the number of answers behind them."""
    metrics, first = summary["metrics"], headline(summary)
    names = [name for name in (first, *_LATENCIES) if metrics[name]["of"]]
    rows = [
        (
            f"{name} {DISTRIBUTIONS[name].unit}" if DISTRIBUTIONS[name].unit != "s" else name,
            *(_cell(metrics[name], each) for each in _PERCENTILES),
            answered(metrics[name]).plain,
            DISTRIBUTIONS[name].meaning,
        )
        for name in names
    ]
    return _table(("", *(f"{each}-" for each in _PERCENTILES), "answered-", ""), rows)


def _cell(distribution: Mapping[str, Any], percentile: str) -> str:
    """A percentile; a withheld one says `(n<72)`."""
    return cell(distribution, percentile).plain.replace("<", "&lt;")


def _tokens(summary: Summary) -> str:
    """Tokens a minute, and what they are of the PTUs."""
    tpm, used = summary["metrics"]["tpm"], summary["metrics"]["utilization"]
    rows = [
        (f"{name}, per minute", number_text(tpm[name]))
        for name in ("prompt", "cached", "completion", "reasoning", "total", "normalized", "per_ptu")
        if tpm[name]
    ]
    if tpm["of_published"] is not None:
        by = by_whom(summary["target"]["capacity"]["source"])
        rows.append((f"of the {by} capacity", share_text(tpm["of_published"])))
    rows += [
        (f"utilization, {name}", share_text(used[name]["mean"]))
        for name in _UTILIZATIONS
        if (used[name] or {}).get("mean") is not None
    ]
    return _table(("", "-"), [(name.replace("per_ptu", "normalized per PTU"), value) for name, value in rows])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of escaped cells; a column whose title ends in a dash stands to the right."""
    lines = [tuple(title.removesuffix("-") for title in header), [_rule_of(title) for title in header], *rows]
    more = len(lines) - 2 - _SHOWN
    shown = [f"| {' | '.join(line)} |" for line in lines[: _SHOWN + 2]]
    return "\n".join(shown + ([f"\n{more:,} more are not shown"] if more > 0 else []))


def _rule_of(title: str) -> str:
    return "---:" if title.endswith("-") else "---"
