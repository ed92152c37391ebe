"""A dry run on a terminal: everything that a run would do, said beforehand.

Reads the dictionary of `load.preview`, the workload, and `target.describe`. Computes nothing.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ptubench.analysis import checks
from ptubench.ptu import catalogue
from ptubench.report import words
from ptubench.report.text import Encodable, badge, untrusted
from ptubench.samples import NEEDED
from ptubench.units import duration_text, number_text, share_text
from ptubench.workload.model import Class, Workload

Preview = Mapping[str, Any]

_UTILIZATION_ROWS = (
    ("normalized tokens/min", "tpm_normalized", "tpm_normalized_peak_minute", number_text),
    ("utilization", "mean", "peak_minute", share_text),
    ("  if the limits are used", "reserved_mean", "reserved_peak_minute", share_text),
)
_TOKENS = ("prompt", "cached", "completion", "limit")


def render(
    preview: Preview,
    workload: Workload,
    target: Mapping[str, Any],
    divert_to: Mapping[str, Any] | None = None,
    *,
    probed: bool = False,
) -> RenderableType:
    """What would be sent where, for `text.console()`.

    Args:
        preview: see above.
        workload: resolved.
        target: described.
        divert_to: the second target, described as the first.
        probed: whether the probe call was sent.
    """
    sent = "nothing is sent" if not probed else f"one call is sent{'' if divert_to is None else ' to each target'}"
    title = Text.assemble(badge(target["kind"]), "  ", untrusted(workload.name, "bold", limit=50), f"  dry run: {sent}")
    sections = (
        _where(target),
        _what(workload, target, divert_to),
        None if divert_to is None else Group(Text("Diverted after a 429", style="bold"), _where(divert_to)),
        _rates(
            preview,
            standard=target.get("type") == "standard",
            unknown=catalogue.unknown(str(target["model"])) if target.get("model") else None,
        ),
        _amounts(preview),
        _sample(preview),
        _checks(workload),
    )
    return Encodable(Group(title, *(part for section in sections if section is not None for part in (Text(), section))))


def _grid(*rows: tuple[str, Text]) -> Table:
    """Labels and what they say."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, min_width=10)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(Text(label), text)
    return grid


def _where(target: Mapping[str, Any]) -> RenderableType:
    """The final URL, where each part came from, and what the target is."""
    simulate = target.get("simulate")
    size = "of type standard" if target["ptu"] is None else f"{target['ptu']} PTU"
    own = f"a simulated deployment of {target['model']}, {size}, started for the run"
    rows = [("url", untrusted(target["url"] or own, limit=200))]
    if simulate:
        rows.append(("assumed", Text(words.assumed(simulate))))
    if simulate and target.get("spillover"):
        rows.append(("spillover", Text.assemble("to ", untrusted(target["spillover"], limit=64))))
    for part, source in (target.get("sources") or {}).items():
        value = target.get(part)
        shown = Text() if value is None or isinstance(value, Mapping) else untrusted(value, limit=100).append("  ")
        said = "" if part == "auth" else "from "  # what decided it is a sentence, not a place
        rows.append((_label(part), shown.append_text(Text.assemble((said, "dim"), untrusted(source, "dim")))))
    return _grid(*rows)


def _label(part: str) -> str:
    """The name of a part of the target, as the command line has it."""
    return untrusted(part.replace("_", "-"), limit=20).plain


def _what(workload: Workload, target: Mapping[str, Any], divert_to: Mapping[str, Any] | None) -> RenderableType:
    """Load, duration, and the sizes and parameters of the calls."""
    ends = f"{duration_text(workload.duration)}, then up to {duration_text(workload.drain)} for what is in flight"
    window = f"{duration_text(workload.warmup)} to {duration_text(workload.duration)}"
    decided = words.WARM_UP.get(workload.warmup_rule)
    rows = [
        ("load", Text(words.load(workload.load))),
        ("duration", Text(ends)),
        ("window", Text(window)) if decided is None else ("warm-up", Text(decided)),
        ("on 429", Text(words.on_429(workload, divert_to))),
    ]
    for kind in workload.classes:
        name = untrusted(kind.name or "calls", limit=20).plain
        weight = f"weight {kind.weight:g}: " if kind.name else ""
        rows.append((name, Text(f"{weight}{_sizes(kind)}")))
    sent = words.parameters(workload.parameters, reasons=catalogue.reasons(str(target.get("model"))))
    rows += [("parameters", Text(sent))] if sent else []
    return _grid(*rows)


def _prefixes(count: int) -> str:
    return "1 prefix" if count == 1 else f"{count:,} prefixes"


def _sizes(kind: Class) -> str:
    """Sizes of one class's calls."""
    tokens = "tokens as recorded" if kind.prompt is None else f"{words.sizes(kind.prompt)} tokens"
    prompt = "your own messages" if kind.messages else f"prompt {tokens}"
    cached = f", of them shared {kind.cached.tokens:,} ({_prefixes(kind.cached.prefixes)})" if kind.cached else ""
    completion = f"; completion {words.sizes(kind.completion)}" if kind.completion else ""
    unsaid = "none" if kind.unlimited else "as each line says" if kind.messages else "the same as the completion"
    limit = words.sizes(kind.limit) if kind.limit else unsaid
    reasoning = f" + {kind.reasoning_tokens:,} for reasoning" if kind.reasoning_tokens else ""
    return f"{prompt}{cached}{completion}; output limit {limit}{reasoning}"


def _when(offered: dict[str, Any]) -> str:
    """Where the busiest minute lies: the last one is the 60 seconds before the end."""
    if offered["duration_s"] < 60:
        return f"{duration_text(offered['duration_s'])}, scaled to a minute"
    last = offered["duration_s"] - 60
    return f"from {duration_text(round(min(offered['peak_minute'] * 60, last)))} on" if last else ""


def _rates(preview: Preview, *, standard: bool, unknown: str | None) -> RenderableType:
    """Per minute, on average and in the busiest minute; `unknown` says that the model is."""
    offered, tokens, used = preview["offered"], preview["tokens"], preview["utilization"]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(Text("Offered", style="bold not dim"), no_wrap=True)
    table.add_column(Text("mean"), justify="right", no_wrap=True)
    table.add_column(Text("busiest minute"), justify="right", no_wrap=True)
    table.add_column(style="dim")
    if offered["rpm_mean"] is None:
        return Text.assemble(("Offered", "bold"), "  what a closed loop offers depends on the answers")
    table.add_row(
        Text("calls/min"),
        Text(number_text(offered["rpm_mean"])),
        Text(number_text(offered["rpm_peak_minute"])),
        Text(_when(offered)),
    )
    table.add_row(
        Text("tokens/min"), Text(number_text(tokens["tpm_mean"])), Text(number_text(tokens["tpm_peak_minute"]))
    )
    for label, mean, peak, write in _UTILIZATION_ROWS if used else ():
        note = f"of {number_text(used['capacity_tpm'])}, " if mean == "tpm_normalized" else ""
        source = untrusted(used["source"], limit=40) if note else Text()
        style = "bold red" if mean == "mean" and (used[mean] or 0) > 1 else ""
        table.add_row(
            Text(label), Text(write(used[mean]), style=style), Text(write(used[peak])), Text(note).append_text(source)
        )
    if used is None:
        why = "a Standard deployment has none" if standard else f"not known: {unknown or 'give --model and --ptu'}"
        return Group(table, untrusted(f"utilization: {why}", "dim", limit=200))
    return table


def _amounts(preview: Preview) -> RenderableType | None:
    """The whole run in calls and tokens: what it takes from a quota or a bill."""
    offered, tokens = preview["offered"], preview["tokens"]
    if offered["requests"] is None:
        return None
    parts = [f"{offered['requests']:,} calls"]
    parts += [f"{tokens[name]:,} {_TOKEN_WORDS[name]}" for name in _TOKENS if tokens[name]]
    rows = [("in all", Text(", ".join(parts)))]
    if tokens["prompts_raised"]:
        raised = f"{tokens['prompts_raised']:,} prompts of the trace are shorter than 32 tokens and are sent with 32"
        rows.append(("", Text(raised, style="yellow")))
    if preview["cost"] is not None:
        rows.append(("cost", _cost(preview["cost"])))
    return _grid(*rows)


def _cost(cost: Mapping[str, Any]) -> Text:
    """What the whole run costs where tokens are billed, and by which prices; or why nobody knows."""
    total, most = cost["total"], cost["at_most"]
    if total is None:
        return untrusted(f"not known: {cost['why']}", "dim", limit=200)
    more = (
        f", at most {number_text(most)}: every limit used, nothing cached" if most is not None and most > total else ""
    )
    text = Text(f"{number_text(total)} {cost['currency']} for answers as asked{more}\n")
    return text.append_text(untrusted(cost["source"], "dim", limit=200))


_TOKEN_WORDS = {
    "prompt": "prompt tokens",
    "cached": "of them shared prefixes",
    "completion": "completion tokens",
    "limit": "tokens reserved by output limits",
}


def _sample(preview: Preview) -> RenderableType:
    """What the number of calls is good for."""
    sample = preview["sample"]
    if sample["expected"] is None and preview["offered"]["requests"] is not None:
        return _grid(
            ("sample", Text(f"at most {preview['offered']['requests']:,} calls: the window is decided afterwards"))
        )
    if sample["expected"] is None:
        return _grid(("sample", Text("how many calls there will be depends on the answers")))
    good = [name for name, supported in sample["percentiles"].items() if supported]
    short = [f"{name} (needs {NEEDED[name]:,})" for name, supported in sample["percentiles"].items() if not supported]
    begin, end = map(duration_text, preview["offered"]["window_s"])
    text = Text(f"{sample['expected']:,} of these calls are due in the window, {begin} to {end}, and measured: ")
    text.append(f"enough for {', '.join(good) or 'no percentile'}")
    if short:
        text.append(f"; too few for {', '.join(short)}", style="yellow")
    return _grid(("sample", text))


def _checks(workload: Workload) -> RenderableType:
    """The rules that the run will be judged by."""
    rules, default = checks.wanted(workload.checks)
    rows = [("checks", Text("\n").join(untrusted(rule) for rule in rules))]
    if default:
        rows[0][1].append("  the default, as no rule was given", style="dim")
    if workload.abort:
        rows.append(("abort", Text("\n").join(untrusted(rule) for rule in workload.abort)))
    return _grid(*rows)
