"""What one must know before reading the figures of a run: what it was, of what, from where, by which rules.

A run and its summary in, labelled sentences out. Computes nothing but ages.
"""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from ptubench.analysis.azure import last
from ptubench.analysis.columns import Run
from ptubench.compare.unlike import kind_of
from ptubench.page.model import Fact
from ptubench.ptu import catalogue, prices
from ptubench.ptu.capacity import by_whom
from ptubench.record import Resource
from ptubench.report import words
from ptubench.report.latency import headline
from ptubench.report.network import network
from ptubench.report.text import clean
from ptubench.samples import NEEDED
from ptubench.units import duration_text, number_text, seconds_text, share_text
from ptubench.workload.model import Class, Workload

_LONGEST = 400
"""Cells: whatever a server or a file has named, it stays readable."""
_APIS = {"chat": "chat completions", "responses": "Responses"}
_CLIENTS = {"timed": "ptubench's timed HTTP/1.1 client", "httpx": "httpx2"}
_RULES = {"auto": "auto", "until_429": "until the first 429"}


def facts(run: Run, summary: Mapping[str, Any]) -> list[Fact]:
    """Every fact, in the order of a page."""
    target, workload = summary["target"], run.head.workload
    said = {
        "Model": _model(target),
        "Size and type": _size(target),
        "Known from": _known_from(run, target),
        "Deployment": _deployment(target),
        "Region and client": _place(run, summary),
        "Date": _date(run, summary["run"]),
        "Window": _window(summary["run"]),
        "Warm-up": _warm_up(summary["run"]["warmup"]),
        "Load": words.load(workload.load),
        "Calls": _calls(summary["metrics"]),
        "After a 429": words.on_429(workload, target.get("divert_to")),
        "API": _api(target, workload),
        "Spillover": _spillover(run, summary),
        "Foreign traffic": _foreign(run, summary),
        "Prompts": " ".join(_prompts(workload)),
        "Parameters": _parameters(target, workload),
        "Percentiles": _percentiles(summary),
        "Tables": _tables(run.head.started_at, target),
        "Simulated": _assumed(target),
        "Made with": _made(run, summary),
        "Run file": ", ".join(_file(summary["run"])),
    }
    return [Fact(label=label, text=clean(text, _LONGEST)) for label, text in said.items() if text]


def _model(target: Mapping[str, Any]) -> str:
    """As named and as served."""
    named = " ".join(str(target[part]) for part in ("model", "version") if target.get(part)) or "not named"
    served = target.get("model_served")
    if served is None:
        return f"{named}; no answer named the model that served it"
    return str(served) if named == served else f"{named}, served as {served}"


def _size(target: Mapping[str, Any]) -> str:
    parts = [f"{target['ptu']:,} PTU"] if target.get("ptu") is not None else []
    parts += [str(target["type"])] if target.get("type") else []
    known = target["capacity"]
    each = f"; {number_text(known['tpm_per_ptu'])} input tokens/min per PTU {by_whom(known['source'])}" if known else ""
    return (", ".join(parts) or "not given (--model, --ptu, --type): no utilization") + each


def _known_from(run: Run, target: Mapping[str, Any]) -> str:
    """Who says what the deployment is."""
    if any(isinstance(line, Resource) and line.error is None for line in run.azure):
        return "Azure Resource Manager, asked before and after the load"
    if target["kind"] == "simulated":
        return "the simulated deployment itself"
    if not any(target.get(name) for name in ("model", "ptu", "type")):
        return ""
    return (
        f"what was typed ({target['ptu_source']}); Azure was not asked"
        if target.get("ptu_source")
        else "what was typed"
    )


def _deployment(target: Mapping[str, Any]) -> str:
    at = target.get("url") or target.get("endpoint")
    filtered = f", content filter {target['content_filter']}" if target.get("content_filter") else ""
    return " at ".join(str(part) for part in (target.get("deployment"), at) if part) + filtered


def _place(run: Run, summary: Mapping[str, Any]) -> str:
    found = summary["network"]
    regions = ", ".join(found.get("region") or {}) or None
    if kind_of(summary) != "real":
        served = "simulated"
    else:
        served = f"answered in {regions}" if regions else "no answer told its region"
    place = run.head.network.get("place")
    client = f"client at {place}" if place else "where the client ran was not said (--place)"
    way = network(dict(found) | {"place": None, "region": {}})
    return f"{served}; {client}{'' if way is None else '; ' + '; '.join(way.plain.splitlines())}"


def _date(run: Run, told: Mapping[str, Any]) -> str:
    """UTC, from the first second to the last of the load."""
    began = _moment(told["started_at"])
    if began is None:
        return f"{told['started_at']}"
    clock = " on a virtual clock" if run.head.clock == "virtual" else ""
    until = _later(began, told["duration_s"])
    return f"{began:%A, %Y-%m-%d, %H:%M:%S}{f' to {until:%H:%M:%S}' if until else ''} UTC{clock}"


def _moment(text: Any) -> datetime | None:
    """A time stamp; None where a file that was edited by hand holds none."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def _later(began: datetime, seconds: float) -> datetime | None:
    try:
        return began + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _window(told: Mapping[str, Any]) -> str:
    start, end = (duration_text(round(seconds, 1)) for seconds in told["window_s"])
    whole = duration_text(round(told["duration_s"], 1))
    length = duration_text(round(told["window_s"][1] - told["window_s"][0], 1))
    ended = "" if told["ended"] == "completed" else f"; the run ended early: {told['ended']}"
    return f"{length}: what was due from {start} to {end} of {whole}, followed to its end{ended}"


def _warm_up(decided: Mapping[str, Any]) -> str:
    left_out = f"the first {duration_text(round(decided['start_s'], 1))} left out"
    rule = _RULES.get(decided["rule"])
    how = "a fixed time, as the workload says" if rule is None else f"decided afterwards, by the rule {rule}"
    return f"{left_out}: {decided['text'] or how}"


def _calls(metrics: Mapping[str, Any]) -> str:
    requests, refused, rpm = metrics["requests"], metrics["refused"], metrics["rpm"]
    offered = requests["total"] - requests["unsent"]
    more = (rpm["completed"] or 0.0) > (rpm["admitted"] or 0.0)
    older = " (more than were admitted: calls of the warm-up ended in the window)" if more else ""
    return (
        f"{offered:,} offered ({number_text(rpm['offered'])}/min), {number_text(rpm['admitted'])}/min admitted, "
        f"{number_text(rpm['completed'])}/min completed{older}, {refused['count']:,} refused ({share_text(refused['ratio'])})"
    )


def _api(target: Mapping[str, Any], workload: Workload) -> str:
    streamed = "streamed" if workload.stream else "not streamed"
    client = _CLIENTS.get(workload.client, workload.client)
    style = f", {target['style']} URL" if target.get("style") in ("v1", "classic") else ""
    return f"{_APIS.get(target['api'], target['api'])}, {streamed}{style}, through {client}"


def _spillover(run: Run, summary: Mapping[str, Any]) -> str:
    """Whether another deployment answers what this one refuses, and who says so."""
    spilled = summary["metrics"]["requests"]["spilled"]
    if to := summary["target"].get("spillover"):
        return f"on, to {to}; {spilled:,} calls spilled"
    if spilled:
        return f"{spilled:,} calls were answered by another deployment"
    asked = any(isinstance(line, Resource) and line.error is None for line in run.azure)
    return "off, as Azure says" if asked else "none seen: no answer said that it was spilled"


def _foreign(run: Run, summary: Mapping[str, Any]) -> str:
    """Whether others used the deployment meanwhile."""
    if kind_of(summary) != "real":
        own = bool(run.head.target.get("simulate"))
        return "none: it was simulated for this run" if own else "not known: the simulated deployment serves anybody"
    if last(run, "run") is None or summary.get("monitor") is None:
        return "not known: Azure Monitor was not asked (--monitor)"
    row = next((row for row in summary["monitor"]["rows"] if row["name"] == "requests"), None)
    if row is None or row["word"] is None:
        return "not known: Azure Monitor told no requests of a full minute"
    verdict = "seen" if row["word"] == "foreign traffic" else "none seen"
    return f"{verdict}: Azure counted {row['azure']:,.0f} requests, we sent {row['ours']:,}"


def _prompts(workload: Workload) -> Iterator[str]:
    """What was sent and asked for."""
    if len(workload.classes) == 1:
        yield _shape(workload.classes[0])
        return
    total = sum(kind.weight for kind in workload.classes) or 1
    for kind in workload.classes:
        yield f"{kind.name} ({share_text(kind.weight / total)}): {_shape(kind)}"


def _shape(kind: Class) -> str:
    """The sizes of one class in words."""
    if kind.messages is not None:
        return f"Own messages from {kind.messages.file}, in {kind.messages.order} order."
    cached = f", {kind.cached.tokens:,} of them a prefix shared by many" if kind.cached else ""
    sent = f"Synthetic text of {words.sizes(kind.prompt)} tokens{cached}, unlike any before"
    limit = "no output limit" if kind.unlimited else f"output limit {words.sizes(kind.limit or kind.completion)}"
    return f"{sent}; {words.sizes(kind.completion)} completion tokens asked for, {limit}."


def _parameters(target: Mapping[str, Any], workload: Workload) -> str:
    reasons = bool(target.get("reasoning"))
    return words.parameters(workload.parameters, reasons=reasons, left_out=target.get("left_out") or ())


def first_read(summary: Mapping[str, Any]) -> str:
    """The latency that is read first; where nothing streams, that of the whole answer."""
    return headline(summary) if summary["workload"].get("stream", True) else "e2e"


def _percentiles(summary: Mapping[str, Any]) -> str:
    """How many values are behind the two latencies that are read first, and what is withheld."""
    metrics, first = summary["metrics"], first_read(summary)
    names = dict.fromkeys((first, "e2e"))
    parts = [f"{name.upper()} n = {metrics[name]['count']:,} of {metrics[name]['of']:,}" for name in names]
    few = [name for name, needed in NEEDED.items() if metrics[first]["of"] < needed]
    withheld = "; ".join(f"p{name[1:] if name != 'p999' else '99.9'} needs {NEEDED[name]:,}" for name in few)
    return f"{', '.join(parts)}; 95 % intervals beside them{f'; withheld: {withheld}' if withheld else ''}"


def _tables(started: str, target: Mapping[str, Any]) -> str:
    """How old the published figures were at the run."""
    moment = _moment(started)
    day = None if moment is None else moment.date()
    model = f"models and capacities of {catalogue.DATED}{_age(str(catalogue.DATED), day)}"
    money = f"prices of {prices.dated()}{_age(prices.dated(), day)}"
    ratio = (
        f"; one output token counts as {target['capacity']['output_weight']:g} input tokens"
        if target["capacity"]
        else ""
    )
    return f"{model}, {money}{ratio}"


def _age(dated: str, day: date | None) -> str:
    """How many days before the run, if it is a date."""
    try:
        days = None if day is None else (day - date.fromisoformat(dated)).days
    except ValueError:
        days = None
    if days is None:
        return ""
    if days == 0:
        return " (the day of the run)"
    return f" ({abs(days):,} day{'s' if abs(days) != 1 else ''} {'before' if days > 0 else 'after'} the run)"


def _assumed(target: Mapping[str, Any]) -> str:
    simulate = target.get("simulate")
    return (
        f"assumed, since Azure does not publish it: {words.assumed(simulate)}" if isinstance(simulate, Mapping) else ""
    )


def _made(run: Run, summary: Mapping[str, Any]) -> str:
    """What measured, on what, and how well it kept time."""
    machine = run.head.machine
    cores = f", {machine['cores']} cores" if isinstance(machine.get("cores"), int) else ""
    lag = summary["metrics"]["lag"]["p99"]
    late = f", sending late by {seconds_text(lag)} at p99" if lag is not None else ""
    workers = f"{run.head.workers} load process{'es' if run.head.workers != 1 else ''}"
    workers += f" on {len(run.head.nodes)} nodes" if run.head.nodes else ""
    return f"ptubench {run.head.tool_version}, {workers}{cores}{late}"


def _file(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{told['file'] or 'none'}, run {told['id']}"
    if told["label"]:
        yield f"label {told['label']}"
    yield f"workload hash {str(told['workload_hash'])[:12]}"
