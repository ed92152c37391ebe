"""The report on a terminal: a summary in, tables out.

Computes nothing: every number shown stands in the summary (design: "The run file and the summary"). Colour only
repeats what words say.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ptubench import failures
from ptubench.ptu.capacity import by_whom
from ptubench.report import azure, judged
from ptubench.report.heading import heading
from ptubench.report.latency import Latency, headline, in_unit
from ptubench.report.latency import cell as latency_cell
from ptubench.report.text import Encodable, bullets, clean, sheet, untrusted
from ptubench.report.throttling import GROUPS, throttling
from ptubench.report.timeline import Timeline
from ptubench.units import number_text, seconds_text, share_text

Summary = Mapping[str, Any]

OUTCOMES = {
    "ok": ("answered in full", "green"),
    "throttled": ("answered 429", "yellow"),
    "failed": ("by kind below", "red"),
    "cut": ("in flight at the end, or its worker lost", "red"),
    "dropped": ("never sent: max_in_flight was reached", "red"),
    "unsent": ("never sent: the run stopped, or its worker lost", "yellow"),
    "retried": ("more than one attempt", "yellow"),
    "diverted": ("sent to a second target after a 429", "yellow"),
    "spilled": ("answered by another deployment", "yellow"),
    "gave_up": ("no retry left", "yellow"),
}
_ALWAYS = ("ok", "throttled", "failed")
_UTILIZATIONS = {"estimated": "", "monitor": "by Azure Monitor", "simulated": ""}
_PEAKS = {"peak_minute": "busiest minute", "peak_level": "fullest bucket", "before": "before the load"}
_REMARK = 24  # columns, however long the rules are
_SHOWN_NAMES = 8
"""Finish reasons come from the server: a hostile one must not make the report long."""


def render(summary: Summary) -> RenderableType:
    """The whole report, for `text.console()`."""
    shown = (part for section in sections(summary).values() for part in (Text(), section))
    return Encodable(Group(heading(summary), *shown))


def sections(summary: Summary) -> dict[str, RenderableType]:
    """What stands under the heading, by name and in order; what would say nothing is left out."""
    makers = {
        "calls": _calls,
        "throttling": throttling,
        "latency": _latency,
        "tokens": _tokens,
        "capacity": _capacity,
        "monitor": azure.monitor,
        "asked": _asked,
        "failures": _failures,
        "classes": _classes,
        "timeline": _timeline,
        "checks": _checks,
        "notes": _notes,
    }
    return {name: section for name, make in makers.items() if (section := make(summary)) is not None}


def _calls(summary: Summary) -> RenderableType:
    """Offered, admitted, refused, and what became of each."""
    metrics = summary["metrics"]
    requests, refused, rpm, flight = metrics["requests"], metrics["refused"], metrics["rpm"], metrics["in_flight"]
    table = sheet("Calls", "count", "share", "per minute")
    table.add_column(style="dim")
    offered = requests["total"] - requests["unsent"]
    table.add_row(Text("offered"), Text(f"{offered:,}"), None, Text(number_text(rpm["offered"])))
    table.add_row(
        Text("admitted"), None, None, Text(number_text(rpm["admitted"])), Text("neither answered 429 nor spilled")
    )
    table.add_row(Text("completed"), None, None, Text(number_text(rpm["completed"])))
    table.add_row(
        Text("refused"),
        Text(f"{refused['count']:,}"),
        Text(share_text(refused["ratio"])),
        None,
        _interval(refused["ci95"]),
        style="bold yellow" if refused["count"] else "bold green",
    )
    _add_outcomes(table, metrics)
    if metrics["slo"]["ratio"] is not None:
        table.add_row(Text("slo met"), None, Text(share_text(metrics["slo"]["ratio"])))
    table.add_row(
        Text("in flight"),
        None,
        None,
        None,
        Text(f"mean {number_text(flight['mean'])}, at most {number_text(flight['max'])}"),
    )
    return table


def _add_outcomes(table: Table, metrics: Mapping[str, Any]) -> None:
    """What became of the offered requests; the first three always, since a zero there is news."""
    offered = metrics["requests"]["total"] - metrics["requests"]["unsent"]
    first_s = metrics["throttled"]["first_s"]
    for name, (meaning, style) in OUTCOMES.items():
        count = metrics["requests"][name]
        if count:
            when = f", the first at {seconds_text(first_s)}" if name == "throttled" and first_s is not None else ""
            # The unsent are no part of what was offered, so they are no share of it.
            share = share_text(count / offered) if offered and name != "unsent" else "–"
            row = (f"  {name}", f"{count:,}", share, "", f"{meaning}{when}")
            table.add_row(*map(Text, row), style=style)
        elif name in _ALWAYS:
            table.add_row(Text(f"  {name}"), Text("0"))


def _interval(interval: list[float] | None) -> Text:
    """A 95 % interval of a share."""
    if interval is None:
        return Text()
    return Text(f"95 % interval {share_text(interval[0])} to {share_text(interval[1])}", style="not bold")


def _latency(summary: Summary) -> RenderableType:
    """Percentiles with the number of answers behind them."""
    return Latency(summary["metrics"], headline(summary))


def _tokens(summary: Summary) -> RenderableType:
    """Tokens by time of the event, and as the service weighs them."""
    tpm = summary["metrics"]["tpm"]
    table = sheet("Tokens", "per minute")
    table.add_column(style="dim")
    for name, whole in (("prompt", None), ("cached", "prompt"), ("completion", None), ("reasoning", "completion")):
        if whole is None or tpm[name]:
            share = Text(f"{share_text(tpm[name] / tpm[whole])} of the {whole}" if whole and tpm[whole] else "")
            table.add_row(Text(f"  {name}" if whole else name), Text(number_text(tpm[name])), share)
    table.add_row(Text("total"), Text(number_text(tpm["total"])))
    if summary["target"].get("type") != "standard":
        table.add_row(
            Text("normalized"), Text(number_text(tpm["normalized"])), Text("input-token equivalents: what PTUs count")
        )
    cost = summary["metrics"]["cost"]
    if cost["per_million_tokens"] is None:
        return table
    total = f"{clean(cost['currency'], 10)} per million tokens, {number_text(cost['total'])} in the window"
    return Group(
        table,
        Text.assemble(("cost  ", "dim"), number_text(cost["per_million_tokens"]), f" {total}"),
        untrusted(cost["source"], "dim", limit=200),
    )


def _capacity(summary: Summary) -> RenderableType | None:
    """What the tokens are of the PTUs; None where the size is unknown and nobody else tells."""
    tpm, used, known = summary["metrics"]["tpm"], summary["metrics"]["utilization"], summary["target"]["capacity"]
    told = {name: used[name] for name in _UTILIZATIONS if used[name] and (known or name != "estimated")}
    if not known and not told:
        return None
    table = sheet("Capacity", "")
    table.add_column(style="dim")
    if known:
        each = f"{number_text(known['tpm_per_ptu'])} {by_whom(known['source'])}"
        share = f"tokens/min, {share_text(tpm['of_published'])} of {each}"
        table.add_row(Text("normalized per PTU"), Text(number_text(tpm["per_ptu"])), Text(share))
    by = _UTILIZATIONS | {"estimated": _estimate(known)}
    # Azure's figures come later than ours, and may never.
    asked = summary["monitor"] is not None
    needs = {
        "simulated": "the mean needs a full UTC minute in the window",
        "monitor": "no figure for every full UTC minute" if asked else "not asked yet for this run",
    }
    for name, values in told.items():
        peaks = [f"{words} {share_text(values[key])}" for key, words in _PEAKS.items() if values.get(key) is not None]
        missing = "" if values["mean"] is not None else needs.get(name, "")
        said = filter(None, (by[name], missing, *peaks))
        table.add_row(
            Text(f"utilization, {name}"), Text(share_text(values["mean"])), untrusted(", ".join(said), limit=160)
        )
    return table


def _estimate(known: Mapping[str, Any] | None) -> str:
    """What the estimate was reckoned with: the table's date and the output ratio."""
    if known is None:
        return ""
    by = "what was typed" if known["source"] == "as typed" else known["source"]
    return f"by {by}, output counts {known['output_weight']:g}"


def _asked(summary: Summary) -> RenderableType:
    """What the workload asked for beside what came: means, and the middle and end of what came."""
    metrics = summary["metrics"]
    asked = metrics["asked"]
    table = sheet("Tokens per call", "asked", "got", "got p50", "got p95")
    for name in ("prompt_tokens", "cached_tokens", "completion_tokens"):
        distribution = metrics.get(name)
        told = distribution and not (name == "completion_tokens" and summary["target"].get("reasoning"))
        spread = [latency_cell(distribution, part) for part in ("p50", "p95")] if told else []
        table.add_row(
            Text(name.replace("_", " ")), *(Text(number_text(asked[name][side])) for side in ("asked", "got")), *spread
        )
    table.add_row(Text("output limit"), Text(number_text(asked["limit"])))
    parts = [table]
    return Group(*parts, *_finish(metrics))


def _finish(metrics: Mapping[str, Any]) -> list[Text]:
    """Why answers ended, and how many events carried their tokens."""
    reasons = sorted(metrics["finish"].items(), key=lambda item: -item[1])
    shown = [f"{clean(reason, 20)} {count:,}" for reason, count in reasons[:_SHOWN_NAMES]]
    more = [f"{len(reasons) - _SHOWN_NAMES:,} other reasons"] if len(reasons) > _SHOWN_NAMES else []
    lines = [Text.assemble(("finished by  ", "dim"), ", ".join(shown + more))] if reasons else []
    per_token = metrics["gap"].get("events_per_token")
    if per_token is not None:
        lines.append(Text.assemble(("events per token  ", "dim"), number_text(per_token)))
    return lines


def _failures(summary: Summary) -> RenderableType | None:
    """Failures by kind, most frequent first, with what each means."""
    by_kind = summary["metrics"]["failed"]["by_kind"]
    if not by_kind:
        return None
    table = sheet("Failures", "count")
    table.add_column(overflow="fold")
    for kind, count in sorted(by_kind.items(), key=lambda item: -item[1]):
        table.add_row(
            untrusted(kind, "red", limit=30), Text(f"{count:,}"), untrusted(failures.explain(kind), limit=120)
        )
    return table


def _classes(summary: Summary) -> RenderableType | None:
    """A row per class of the mix."""
    classes = {name: metrics for name, metrics in summary["groups"].items() if name not in GROUPS}
    if not classes:
        return None
    first = headline(summary)
    table = sheet("Groups", "offered", "refused", f"{first} p50", f"{first} p95", "e2e p50", "e2e p95")
    for name, metrics in classes.items():
        table.add_row(
            untrusted(name, limit=24),
            Text(f"{metrics['requests']['total']:,}"),
            Text(share_text(metrics["refused"]["ratio"])),
            *(latency_cell(metrics[metric], percentile) for metric in (first, "e2e") for percentile in ("p50", "p95")),
        )
    return table


def _timeline(summary: Summary) -> RenderableType | None:
    """The run second by second."""
    start, end = summary["run"]["window_s"]
    return Timeline(summary["timeline"], summary["latency"], (start, end)) if summary["timeline"] else None


def _checks(summary: Summary) -> RenderableType | None:
    """Each rule with what was measured, or why nothing was."""
    rows = summary["checks"]
    if not rows:
        return None
    table = sheet("Checks", "measured", "95 % interval", "")
    table.add_column(style="dim", overflow="fold", min_width=_REMARK if any(row["why"] for row in rows) else None)
    for row in rows:
        default = "the default, as no rule was given" if row["default"] else None
        table.add_row(
            untrusted(row["rule"], limit=44),
            Text(in_unit(row["measured"], row["unit"] or "count")),
            Text(judged.interval(row) if row["unit"] else "", style="dim"),
            Text("PASS", style="bold green") if row["passed"] else Text("FAIL", style="bold red"),
            untrusted("; ".join(filter(None, (default, row["why"]))), limit=200),
        )
    return table


def _notes(summary: Summary) -> RenderableType | None:
    """What one should know beside the numbers."""
    notes = summary["notes"]
    if not notes:
        return None
    return Group(Text("Notes", style="bold"), bullets(note["text"] for note in notes))
