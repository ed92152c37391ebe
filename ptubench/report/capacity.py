"""The answer of `ptubench capacity` on a terminal. JSON of `search.answer` in, tables out; computes nothing."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ptubench.ptu.capacity import by_whom
from ptubench.report.text import Encodable, badge, bullets, facts, sheet, untrusted
from ptubench.units import duration_text, number_text, seconds_text, share_text

Answer = Mapping[str, Any]

_ENDED = {
    "max_time": "another step would have taken more than --max-time: give a larger one, and the search goes on",
    "max_tokens": "another step would have cost more than --max-tokens: give a larger one, and the search goes on",
    "never_full": "the bound was reached before the deployment was saturated, which alone may take as long as --dry-run says: "
    "give a larger one, and the search goes on",
    "not_valid": "the last step is no measurement: the answer is what the steps before it say",
    "not_saturated": "too few 429s came up to the highest rate that was tried; where more should be, begin higher with --rate",
    "stopped": "interrupted: the same command goes on from here",
}
_NOTHING = {
    "nothing_passes": "no rate passes",
    "all_pass": "every rate passes",
}


def render(answer: Answer) -> RenderableType:
    """The whole answer, for `text.console()`."""
    parts = [_heading(answer), *sections(answer).values()]
    return Encodable(Group(*(row for part in parts for row in (part, Text()))))


def sections(answer: Answer) -> dict[str, RenderableType]:
    """What stands under the heading, by name, in order."""
    shown: dict[str, RenderableType] = {"answer": _answer(answer)}
    if answer["curve"]:
        shown["curve"] = _curve(answer)
    if answer["rules"]:
        shown["rules"] = _rules(answer)
    return shown | {"remarks": _remarks(answer)}


def planned(plan: Mapping[str, Any]) -> RenderableType:
    """What would be searched (`capacity_run.dry_run`)."""
    grid = facts()
    target, most = plan["target"], plan["steps"]
    grid.add_row("target", untrusted(f"{target['deployment'] or target['endpoint']}, {plan['clock']} clock", limit=200))
    if target["url"]:
        grid.add_row("URL", untrusted(target["url"], limit=200))
    known = (
        "" if plan["published_tpm"] is None else f", above {number_text(plan['published_tpm'])} normalized tokens/min"
    )
    grid.add_row("saturates at", Text(f"{number_text(plan['saturating_rpm'])} calls/min{known}"))
    length = duration_text(plan["step_s"])
    grid.add_row(
        "then", Text(f"at most {most} rates, until ±{share_text(plan['within'])}; each measured for {length} or more")
    )
    grid.add_row("takes", Text(_forecast(plan["forecast"])))
    for rule in plan["rules"]:
        grid.add_row("rule", untrusted(rule, limit=200))
    for rule in plan["not_judged"]:
        grid.add_row("rule", untrusted(f"{rule}: not judged (simulated)", limit=200))
    if plan["max_time_s"] is not None:
        grid.add_row("at most", Text(f"{duration_text(plan['max_time_s'])} of load"))
    if plan["max_tokens"] is not None:
        grid.add_row("at most", Text(f"{number_text(plan['max_tokens'])} tokens"))
    if plan["continues"] is not None:
        grid.add_row("continues", untrusted(plan["continues"], limit=400))
    return Encodable(grid)


def _forecast(told: Mapping[str, Any]) -> str:
    tokens = "" if told["tokens"] is None else f" and {number_text(told['tokens'])} tokens"
    times = {key: duration_text(round(told[key])) for key in ("saturating_s", "step_s", "seconds")}
    return (
        f"about {times['saturating_s']} to saturate and {times['step_s']} for each rate: with all of them {times['seconds']}, "
        f"{told['calls']:,} calls{tokens}, where an idle bucket holds {told['depth_s']:g} s of capacity; most searches end "
        "earlier"
    )


def _heading(answer: Answer) -> Text:
    target = answer["target"]
    name = untrusted(answer["workload"]["name"], "bold", limit=50)
    title = Text.assemble(badge(target["kind"], clock=answer["clock"]), "  ", name, "  which rate?  ")
    title.append_text(untrusted(target["deployment"] or target["endpoint"], limit=60))
    if target["ptu"]:
        title.append(f", {target['ptu']:,} PTU")
    return title


def _answer(answer: Answer) -> Table:
    grid = facts()
    grid.add_row("highest rate", _rate(answer))
    result, capacity = answer["result"], answer["capacity"]
    if result is not None and result["tpm_normalized"] is not None:
        grid.add_row("  admitted", Text(f"{number_text(round(result['tpm_normalized']))} normalized tokens/min"))
    if result is not None and result["per_ptu"] is not None:
        grid.add_row("  per PTU", Text(f"{number_text(result['per_ptu'])} calls/min"))
    if capacity is not None:
        grid.add_row("capacity", _capacity(capacity))
    if (wanted := answer["for"]) is not None:
        grid.add_row(f"for {number_text(wanted['rpm'])}/min", _wanted(wanted))
    spent = answer["spent"]
    read = f"; {_counted(spent['steps_read'], 'step')} read and not repeated" if spent["steps_read"] else ""
    hours = duration_text(round(spent["seconds"]))
    grid.add_row("spent", Text(f"{hours} of load, {number_text(spent['tokens'])} tokens, {_steps(answer)}{read}"))
    return grid


def _steps(answer: Answer) -> str:
    """How many steps there were, of each kind."""
    rates = sum(step["kind"] == "rate" for step in answer["steps"])
    parts = [_counted(len(answer["steps"]) - rates, "saturating step"), _counted(rates, "rate")]
    if cut := answer["spent"]["steps_interrupted"]:
        parts = parts if answer["steps"] else []
        parts.append(f"{_counted(cut, 'step')} interrupted")
    return ", ".join(parts)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _rpm(rate: float) -> str:
    """Calls a minute with a digit more than other numbers: tried rates are near each other."""
    return f"{rate:,.1f}" if rate >= 99.5 else number_text(rate)


def _rate(answer: Answer) -> Text:
    result = answer["result"]
    if result is None:
        return Text(_NOTHING.get(answer["why"], _unknown(answer)), style="bold red")
    if result["by"] == "bracket":
        between = f"passed; {_rpm(result['high'])}/min did not"
        if result["high"] == result["low"]:
            between = "passed; none that does not was tried"
    else:
        between = f"95 % interval {_rpm(result['low'])} to {_rpm(result['high'])}"
    return Text.assemble((f"{_rpm(result['rpm'])} calls/min", "bold green"), (f"  {between}", "dim"))


def _unknown(answer: Answer) -> str:
    if answer["ended"] == "completed":
        return "none found"
    rates = any(step["kind"] == "rate" for step in answer["steps"])
    return "not known yet: none that was measured passed" if rates else "not known: no rate was measured"


def _capacity(capacity: Mapping[str, Any]) -> Text:
    text = Text(f"{'at least ' if capacity['at_least'] else ''}{_rpm(capacity['rpm'])} calls/min at saturation")
    if capacity["tpm_normalized"] is not None:
        text.append(f", {number_text(round(capacity['tpm_normalized']))} normalized tokens/min")
    if capacity["tpm_per_ptu"] is not None:
        text.append(f"; {number_text(round(capacity['tpm_per_ptu']))} per PTU")
    if capacity["of_published"] is not None:
        told = f"{by_whom(capacity['source'])} {number_text(capacity['published_tpm_per_ptu'])}"
        text.append(f", {share_text(capacity['of_published'])} of the {told} (")
        text.append_text(untrusted(capacity["source"])).append(")")
    return text


def _wanted(wanted: Mapping[str, Any]) -> Text:
    if wanted["raw"] is None:
        return Text("not known, as the size of the deployment is not: give --ptu")
    deployable = "" if wanted["ptu"] is None else f"{wanted['ptu']:,} PTU"
    if wanted["ptu_high"] is not None and wanted["ptu_high"] != wanted["ptu"]:
        deployable += f", at the low end of the interval {wanted['ptu_high']:,}"
    raw = f"{wanted['raw']:,.1f} to {wanted['raw_high']:,.1f} PTU by proportion"
    # By its busiest minute and with headroom, a load that comes and goes needs more (docs/capacity.md).
    spare = "; a steady rate with nothing to spare: buy by `ptubench size`"
    return Text(f"{deployable} ({raw})" if deployable else raw).append(spare, style="dim")


def _curve(answer: Answer) -> Table:
    table = sheet("calls/min", "refused", "ttft p50", "ttft p95", "normalized/min")
    table.columns[0].justify = "right"
    table.add_column(no_wrap=True)
    for row in answer["curve"]:
        lost = row["refused_ratio"] is None
        table.add_row(
            Text(_rpm(row["rate"])),
            Text("lost" if lost else share_text(row["refused_ratio"])),
            *(Text(seconds_text(row[key])) for key in ("ttft_p50", "ttft_p95")),
            Text(number_text(row["tpm_normalized"] and round(row["tpm_normalized"]))),
            Text("passed", style="green") if row["passed"] else Text("not passed", style="red"),
        )
    return table


def _rules(answer: Answer) -> Group:
    rates = [step for step in answer["steps"] if step["kind"] == "rate"]
    judged = [row for step in rates for row in step["checks"] if not (step["lost"] and row["passed"])]
    rows = [untrusted(f"rule {rule}{_broken(rule, judged)}", limit=200) for rule in answer["rules"]]
    rows += [untrusted(f"rule {rule}: not judged (simulated)", "dim", limit=200) for rule in answer["not_judged"]]
    return Group(*rows)


def _broken(rule: str, judged: list[Mapping[str, Any]]) -> str:
    """At how many rates a rule does not hold; empty where it holds at all."""
    told = [row for row in judged if row["rule"] == rule]
    broken = [row for row in told if not row["passed"]]
    why = f", {broken[0]['why']}" if broken and broken[0]["why"] else ""
    return f": broken at {len(broken)} of {len(told)} rates{why}" if broken else ""


def _remarks(answer: Answer) -> Group:
    ended = answer["ended"]
    if ended in ("max_time", "max_tokens") and answer["capacity"] is None:
        ended = "never_full"
    said = [_ENDED[ended]] if ended in _ENDED else []
    notes = [*said, *answer["notes"], f"steps are in {answer['folder']}"]
    return Group(Text("Notes", style="bold"), bullets(notes))
