"""The answer of `ptubench size` on a terminal. JSON of `size.answer` in, tables out; computes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.ptu.sizing import TYPES
from ptubench.report import calibration, size_formula, size_money, size_rules, words
from ptubench.report import usage as usage_report
from ptubench.report.text import Encodable, bullets, clean, facts, sheet, untrusted
from ptubench.units import duration_text, number_text, seconds_text, share_text
from ptubench.workload.model import Workload

Answer = Mapping[str, Any]

_FOUND = {
    "simulation": "simulated on a virtual clock: the same calls at each size, the whole load",
    "formula": "by the formula alone: nothing was simulated",
}


def render(answer: Answer) -> RenderableType:
    """The whole answer, for `text.console()`."""
    shown = sections(answer).values()
    return Encodable(Group(_title(answer), *(part for section in shown for part in (Text(), section))))


def sections(answer: Answer) -> dict[str, RenderableType]:
    """What stands under the heading, by name, in order; what there is nothing to say of is left out."""
    makers = {
        "answer": _facts,
        "formula": size_formula.formula,
        "cached": size_formula.cached,
        "calibration": _calibration,
        "history": _history,
        "sizes": _sizes,
        "rules": size_rules.others,
        "money": size_money.money,
        "deploy": _deploy,
        "remarks": _remarks,
    }
    return {name: section for name, make in makers.items() if (section := make(answer)) is not None}


def _title(answer: Answer) -> Text:
    title = Text.assemble((" SIMULATED ", "bold black on yellow"), "  ") if answer["by"] == "simulation" else Text()
    of = Text("usage history") if answer["workload"] is None else untrusted(answer["workload"]["name"], limit=50)
    of.stylize("bold")
    return title.append_text(of).append("  which PTU size?")


def _facts(answer: Answer) -> RenderableType:
    """What was asked, and the answer."""
    formula, model = answer["formula"], answer["model"]
    grid = facts()
    if answer["workload"] is not None:
        workload = msgspec.convert(answer["workload"], Workload)
        grid.add_row(Text("load"), Text(f"{words.load(workload.load)}, {duration_text(round(workload.duration, 1))}"))
        grid.add_row(Text("on 429"), Text(words.on_429(workload)))
    weights = formula["weights"]
    counted = f" (each counts {weights['cached']:g})" if weights["cached"] else ""
    grid.add_row(
        Text("calls"),
        Text(
            f"{number_text(formula['prompt_tokens'])} prompt tokens, {share_text(formula['cached_share'])} of them cached"
            f"{counted}; {number_text(formula['completion_tokens'])} completion tokens × {weights['output']:g}"
        ),
    )
    of_model = f"{model['name']} {model['version'] or ''}".strip()
    per_ptu = f"{number_text(formula['tpm_per_ptu'])} normalized tokens/min per PTU"
    grid.add_row(Text("model"), Text.assemble(untrusted(of_model), f"  {per_ptu}, ", untrusted(formula["source"])))
    grid.add_row(Text("answer"), _answer(answer))
    return grid


def _answer(answer: Answer) -> Text:
    if answer["recommended"] is None:
        every = " at every depth of the bucket" if any(size["passed"] for size in answer["sizes"]) else ""
        return Text(f"none of the sizes below is enough{every}", style="bold red")
    of_types = [f"{row['recommended']:,} PTU {TYPES[name]}" for name, row in answer["types"].items()]
    return Text(", ".join(of_types) or f"{answer['recommended']:,} PTU", style="bold green")


def _history(answer: Answer) -> RenderableType | None:
    return None if answer["usage"] is None else usage_report.usage(answer["usage"], _verdicts(answer))


def _verdicts(answer: Answer) -> dict[int, Text]:
    """What is said of each size."""
    said = answer["recommended"]
    return {size["ptu"]: _verdict(size, recommended=size["ptu"] == said) for size in answer["sizes"]}


def _calibration(answer: Answer) -> RenderableType | None:
    return None if answer["calibration"] is None else calibration.calibration(answer["calibration"])


def _sizes(answer: Answer) -> RenderableType | None:
    """What each size makes of the load."""
    if answer["by"] == "history":  # whose own table has them
        return _judged(answer)
    if not answer["sizes"]:
        return None
    told = [size["metrics"] for size in answer["sizes"]]
    waits = any((metrics.get("waited") or {}).get("mean") is not None for metrics in told)
    diverts = any((metrics.get("requests") or {}).get("diverted") for metrics in told)
    admits = any("tpm" in metrics for metrics in told)
    extra = [name for name, shown in (("mean wait", waits), ("diverted", diverts), ("admitted/min", admits)) if shown]
    table = sheet("Sizes", "mean", "busiest", "refused", *extra)
    table.add_column()
    for size in answer["sizes"]:
        cells = [*_used(size), *(_extra(size["metrics"], name) for name in extra)]
        fits = size["ptu"] == answer["recommended"]
        label = Text(f"{size['ptu']:,} PTU", style="bold green" if fits else "")
        table.add_row(label, *map(Text, cells), _verdict(size, recommended=fits))
    return Group(
        table, *(Text(line, style="dim") for line in (_legend(extra), size_rules.enough(answer), *_how(answer)))
    )


def _legend(extra: Sequence[str]) -> str:
    """What the columns are of."""
    said = ["mean, busiest: utilization over the whole load and in its busiest minute"]
    if extra:
        said.append("refused: of the calls, at their first attempt")
    return "; ".join([*said, *(_COLUMNS[name] for name in extra)])


_COLUMNS = {
    "mean wait": "mean wait: of the calls that waited for another attempt",
    "diverted": "diverted: of the calls",
    "admitted/min": "admitted: normalized tokens",
}


def _judged(answer: Answer) -> RenderableType:
    """By what the recorded sizes are judged."""
    assumed = answer["assumptions"]
    rules = f"at most {100 * assumed['refused']:g} % refused, and {100 * assumed['headroom']:g} % used in the busiest minute"
    ptu = answer["recommended"]
    said = (
        "none of these sizes is enough" if ptu is None else f"{ptu:,} PTU is the smallest of these sizes that is enough"
    )
    style = "bold red" if ptu is None else "bold green"
    return Group(Text.assemble((said, style), f": {rules}"), *(Text(line, style="dim") for line in _depths(answer)))


def _used(size: Answer) -> list[str]:
    """Utilization and refusals: as found, or as the formula says."""
    metrics = size["metrics"]
    used = (metrics.get("utilization") or {}).get("simulated") or size["formula"]
    ratio = (metrics.get("refused") or {}).get("ratio")
    return [share_text(used["mean"]), share_text(used["peak_minute"]), share_text(ratio)]


def _extra(metrics: Answer, name: str) -> str:
    if name == "mean wait":
        return seconds_text((metrics.get("waited") or {}).get("mean"))
    if name == "diverted":
        requests = metrics["requests"]
        return share_text(requests["diverted"] / requests["total"] if requests["total"] else None)
    return number_text(metrics["tpm"]["normalized"])


def _verdict(size: Answer, *, recommended: bool) -> Text:
    """Whether it is enough; if not, by which rules."""
    if recommended:
        return Text("recommended", style="bold green")
    if size["passed"]:
        return Text("enough")
    failed = [clean(row["rule"].split()[0], 40) for row in size["checks"] if row["passed"] is False]
    short = {size_rules.SHORT.get(name, name): None for name in failed}
    return Text(f"too small: {', '.join(short)}" if short else "too small", style="red")


def _how(answer: Answer) -> list[str]:
    """Where the figures come from, and whether what is assumed matters."""
    simulated, sources = answer["assumptions"]["simulated"] or {}, answer["assumptions"]["sources"]
    by_source: dict[str, list[str]] = {}
    for name in dict.fromkeys((*simulated, *sources)):
        if name in sources:
            by_source.setdefault(sources[name], []).append(name)
    typed = by_source.pop("as typed", [])
    assumed = {name: value for name, value in simulated.items() if name in typed or name not in sources}
    drawn = answer["formula"]["draws"]
    which = (
        ""
        if drawn is None or answer["by"] != "simulation"
        else f", those of seed {drawn['seed']} ({number_text(drawn['mean_rpm'])} calls/min)"
    )
    lines = [_FOUND[answer["by"]] + which, *([f"assumed: {words.assumed(assumed)}"] if assumed else [])]
    if answer["by"] == "simulation":
        lines += [f"{clean(source, 200)}: {', '.join(names)}" for source, names in by_source.items()]
        lines += _second(answer["assumptions"]["divert_to"])
    if any(_hidden(size) for size in answer["sizes"]):
        lines.append(
            "a bucket that is empty at the start absorbs an overload for minutes: in the long run, sizes used over 100 % refuse the rest"
        )
    return [*lines, *_decides(answer), *_depths(answer)]


def _decides(answer: Answer) -> list[str]:
    """Which of two answers stands where simulation and formula differ, and why they may."""
    ptu, row = answer["recommended"], answer["types"].get(answer["type"])
    if answer["by"] != "simulation" or row is None or ptu in (None, row["ptu_headroom"]):
        return []
    why = (
        "the formula counts a call whole in the minute in which it is due, the simulation what is charged in each minute, and what "
        "refusals, retries and the rules ask for"
    )
    return [f"the simulation decides: {ptu:,} PTU, where the formula says {row['ptu_headroom']:,}; {why}"]


def _second(target: Answer | None) -> list[str]:
    """What serves what is diverted."""
    if target is None:
        return []
    quota = f", {number_text(target['tpm'])} tokens/min" if target["type"] == "standard" else ""
    return [f"diverted to, assumed: {clean(target['model'], 60)} {target['type']}{quota}"]


def _hidden(size: Answer) -> bool:
    """Whether a size is overloaded and its 429s were still to come when the load ended."""
    used = (size["metrics"].get("utilization") or {}).get("simulated")
    return (
        size["formula"]["mean"] > 1
        and used is not None
        and size["metrics"]["refused"]["ratio"] < 1 - 1 / size["formula"]["mean"]
    )


def _depths(answer: Answer) -> list[str]:
    by_depth = answer["by_depth"]
    if len(by_depth) < 2:
        return []
    if not answer["depends_on_depth"]:
        same = f"the answer is the same with a bucket of {_listed(list(by_depth))} s: Azure does not publish how deep it is"
        return [same + _refusals(answer)]
    sizes = [f"{depth} s: {'none' if ptu is None else f'{ptu:,} PTU'}" for depth, ptu in by_depth.items()]
    return [f"by the depth of the bucket, which Azure does not publish: {', '.join(sizes)}; the largest stands"]


def _refusals(answer: Answer) -> str:
    """What is refused where that depends on the depth though the answer does not; by what the answer is decided then."""
    found: dict[int, list[float]] = {}
    for row in answer["depths"]:
        found.setdefault(row["ptu"], []).append(row["refused_ratio"])
    for size in answer["sizes"]:
        if size["ptu"] in found:
            found[size["ptu"]].append(size["metrics"]["refused"]["ratio"])
    ptu, ratios = max(found.items(), key=lambda item: max(item[1]) - min(item[1]))
    least, most = share_text(min(ratios)), share_text(max(ratios))
    if least == most:
        return ""
    headroom = answer["recommended"] is not None and ptu < answer["recommended"] and _too_busy(answer, ptu)
    why = "; the headroom of the busiest minute decides, and" if headroom else "; but"
    return f"{why} what is refused does depend on the depth: {least} to {most} at {ptu:,} PTU"


def _too_busy(answer: Answer, ptu: int) -> bool:
    """Whether the busiest minute is too much for a size at the assumed depth."""
    rows = [row for size in answer["sizes"] if size["ptu"] == ptu for row in size["checks"]]
    if not rows:  # a history, whose sizes have no rules of their own
        used = next(size["metrics"]["utilization"]["simulated"] for size in answer["sizes"] if size["ptu"] == ptu)
        return bool(used["peak_minute"] > answer["assumptions"]["headroom"])
    return any(row["passed"] is False and size_rules.SHORT.get(row["rule"].split()[0]) == "busiest" for row in rows)


def _listed(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _deploy(answer: Answer) -> RenderableType | None:
    """The commands to paste."""
    if answer["az_command"] is None:
        return None
    others = [TYPES[name] for name in answer["types"] if name != answer["type"]]
    also = f" (the commands for {' and '.join(others)} are in --json)" if others else ""
    return Group(
        Text.assemble(("Deploy", "bold"), (f"  as {TYPES[answer['type']]}; replace what is in capitals{also}", "dim")),
        Text(_pasteable(answer["quota_command"]), no_wrap=True),
        Text(_pasteable(answer["az_command"]), no_wrap=True),
    )


def _pasteable(command: str, width: int = 76) -> str:
    """A command on lines that a shell reads as one."""
    lines = [""]
    for number, part in enumerate(command.split(" --")):
        word = part if not number else f"--{part}"
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(f"  {word}")
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip(" ") if len(lines) == 1 else f"{lines[-1]} {word}"
    return " \\\n".join(lines)


def _remarks(answer: Answer) -> RenderableType:
    """What must be known to read the answer, and before anything is bought."""
    return Group(Text("Before you buy", style="bold"), bullets((*answer["notes"], *answer["caveats"])))
