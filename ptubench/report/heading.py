"""The top of a report: real or simulated, what ran where, and whether the client can be believed.

Reads `target`, `run`, `workload` and `validity` of a summary (design: "The run file and the summary").
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.report import words
from ptubench.report.network import network
from ptubench.report.text import badge, facts, untrusted
from ptubench.units import duration_text, number_text, seconds_text
from ptubench.workload.model import Workload

_UNSETTLED = {"never_steady": "never steady", "not_saturated": "saturation not reached"}
_VERDICT_STYLES = {"valid": "bold green", "degraded": "bold yellow", "invalid": "bold red"}
_VERDICTS = {
    "valid": "the client measured what it was asked to",
    "degraded": "read the numbers with the reasons in mind",
    "invalid": "do not use the numbers",
}
_SIMULATED = "all of it was simulated: there is no client whose delays could be in the numbers"
ENDED = {
    "stopped": "stopped by a signal: partial",
    "aborted": "stopped at once by a second signal: partial",
    "by_rule": "aborted by a rule: partial",
    "lost": "a worker or the output was lost: partial",
    "killed": "the run was killed: partial",
}
"""What is said of a run that did not reach its end."""


def heading(summary: Mapping[str, Any]) -> RenderableType:
    """What one must know before reading any number."""
    workload = msgspec.convert(summary["workload"], Workload)
    target, run = summary["target"], summary["run"]
    title = Text.assemble(badge(target["kind"], clock=run["clock"]), "  ", untrusted(workload.name, "bold", limit=50))
    title.append_text(Text.assemble("  ", untrusted(workload.description, "dim", limit=200)))
    title.no_wrap, title.overflow = True, "ellipsis"
    grid = facts()
    for what, name in _names(target, run).items():
        grid.add_row(Text(what), untrusted(name, limit=150))
    grid.add_row(Text("model"), _model(target))
    grid.add_row(Text("size"), _size(target))
    if isinstance(target.get("simulate"), Mapping):
        grid.add_row(Text("assumed"), Text(words.assumed(target["simulate"])))
    grid.add_row(Text("load"), Text(words.load(workload.load)))
    sent = words.parameters(
        workload.parameters, reasons=bool(target.get("reasoning")), left_out=target.get("left_out") or ()
    )
    if sent:
        grid.add_row(Text("parameters"), Text(sent))
    grid.add_row(Text("window"), _window(run))
    if run["warmup"]["rule"] != "fixed":
        grid.add_row(Text("warm-up"), _warm_up(run["warmup"]))
    grid.add_row(Text("on 429"), Text(words.on_429(workload, target.get("divert_to"))))
    if target.get("content_filter"):
        grid.add_row(Text("filter"), untrusted(target["content_filter"], limit=64))
    if target.get("spillover"):
        grid.add_row(Text("spillover"), Text.assemble("to ", untrusted(target["spillover"], limit=64)))
    if (way := network(summary["network"])) is not None:
        grid.add_row(Text("network"), way)
    if nodes := summary["validity"].get("nodes"):
        known = seconds_text(max(node["uncertainty_s"] for node in nodes))
        grid.add_row(
            Text("nodes"), Text(f"{len(nodes)} Dask workers made the load; their clocks known to within {known}")
        )
    grid.add_row(Text("verdict"), _verdict(summary["validity"], virtual=run["clock"] == "virtual"))
    if summary["checks"]:
        grid.add_row(Text("checks"), _checks(summary["checks"]))
    first = [] if run["aborted"] is None else [_aborted(run["aborted"])]
    return Group(title, *first, Text(), grid)


def _names(target: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, str]:
    """What the user called the run, and where it went."""
    found = {"label": run["label"], "target": target["url"] or "–", "deployment": target.get("deployment")}
    return {what: name for what, name in found.items() if name}


def _aborted(found: Mapping[str, Any]) -> Text:
    """By which rule the run was ended early: the first thing to know of it."""
    return Text.assemble(("ABORTED", "bold red"), "  ", untrusted(found["text"], "red", limit=400))


def _model(target: Mapping[str, Any]) -> Text:
    """The model as named by the user and by the answers."""
    named, served = target.get("model"), target.get("model_served")
    if target.get("version"):
        named = f"{named} {target['version']}"
    if served is None:
        return Text.assemble(untrusted(named), ("  no answer named it", "dim"))
    if named is None or named == served:
        return untrusted(served, limit=60)
    return Text.assemble(untrusted(named, limit=60), "  answered as ", untrusted(served, limit=60))


def _size(target: Mapping[str, Any]) -> Text:
    """PTUs and deployment type."""
    parts = [] if target.get("ptu") is None else [f"{target['ptu']:,} PTU"]
    parts += [str(target["type"])] if target.get("type") else []
    if not parts:
        return Text("not given (--model, --ptu, --type): no utilization", style="dim")
    known = target["capacity"]
    each = f"  {number_text(known['tpm_per_ptu'])} tokens/min per PTU, {known['source']}" if known else ""
    simulate = target.get("simulate")
    if target.get("type") == "standard" and isinstance(simulate, Mapping) and isinstance(simulate.get("ptu"), int):
        each = f"  a quota of {number_text(simulate['ptu'] * 1000)} tokens/min"  # its size is told in thousands
    said = "" if target["kind"] != "azure" else ", as Azure says" if target.get("resource") else ", as typed"
    return Text.assemble(untrusted(", ".join(parts)), (said, "dim"), untrusted(each, "dim"))


def _window(run: Mapping[str, Any]) -> Text:
    """The seconds that count, and when it was."""
    # A run that was stopped ends at any moment.
    start, end, whole = (duration_text(round(seconds, 1)) for seconds in (*run["window_s"], run["duration_s"]))
    window = Text(f"{start} to {end} of {whole}, begun ")
    window.append_text(untrusted(run["started_at"][:19].replace("T", " "))).append(" UTC")
    ended = "by_rule" if run["aborted"] else run["ended"]
    if ended in ENDED:
        window.append(f"  {ENDED[ended]}", style="bold red")
    return window


def _warm_up(decided: Mapping[str, Any]) -> Text:
    """By which rule the window begins where it does, and why."""
    short = _UNSETTLED.get(decided["reason"])
    said = untrusted(decided["text"], limit=500) if short is None else Text(f"{short}, see the verdict", "yellow")
    return Text.assemble(untrusted(decided["rule"]), ": ", said)


def _verdict(validity: Mapping[str, Any], *, virtual: bool) -> Text:
    """The verdict and its reasons, a line each; on a virtual clock no client took part."""
    verdict = validity["verdict"]
    style = _VERDICT_STYLES.get(verdict, "bold")
    text = Text.assemble(
        untrusted(verdict.upper(), style),
        f"  {_SIMULATED if virtual and verdict == 'valid' else _VERDICTS.get(verdict, '')}",
    )
    for reason in validity["reasons"]:
        text.append("\n- ").append_text(untrusted(reason["text"], limit=500))
    return text


def _checks(rows: Sequence[Mapping[str, Any]]) -> Text:
    """How many rules hold."""
    failed = sum(not row["passed"] for row in rows)
    if failed:
        return Text.assemble((f"{failed} of {len(rows)} FAILED", "bold red"), "  below")
    return Text(f"all {len(rows)} passed" if len(rows) > 1 else "passed", style="bold green")
