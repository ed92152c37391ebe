"""What `ptubench doctor` found, on a terminal. JSON of `doctor.document` in, tables out; computes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ptubench.doctor.machine import SHAPES
from ptubench.report.text import Encodable, bullets, clean, facts, sheet, untrusted
from ptubench.units import number_text, seconds_text, share_text

Found = Mapping[str, Any]

_TOO_MUCH = {"client": "too much", "server": "server behind"}

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "unknown": "dim"}


def target(found: Found) -> RenderableType:
    """Whether a target is in order: a row for each thing, and the way out below it."""
    grid = facts()
    grid.add_column(overflow="fold")
    title = Text.assemble(("Target ", "bold"), clean(found["deployment"] or found["endpoint"], 60))
    for row in found["rows"]:
        status = row["status"]
        grid.add_row(
            untrusted(row["name"]),
            Text(status, style=_STYLES.get(status, "")),
            untrusted(row["seen"], limit=400),
        )
        if row["way_out"]:
            grid.add_row("", "", untrusted(row["way_out"], "bold", limit=400))
    verdict = ("in order", "green") if found["passed"] else ("not in order", "bold red")
    return Encodable(Group(title, grid, Text.assemble("the target is ", verdict), Text()))


def machine(document: Found) -> RenderableType:
    """What the machine drives, in PTUs too, and what to know."""
    found = document["machine"]
    parts: list[RenderableType] = [_heading(found, document["stored"]), Text(), _loads(found), Text()]
    if found["ptu"]:
        parts += [_ptus(found), Text()]
    return Encodable(Group(*parts, bullets(document["notes"])))


def _heading(found: Found, stored: str | None) -> RenderableType:
    about = found["machine"]
    grid = facts()
    cores = f"{about['cores']} core{'s' if about['cores'] > 1 else ''}"
    grid.add_row("machine", untrusted(f"{about['host']}, {cores}, {about['system']}", limit=200))
    grid.add_row("versions", untrusted(f"ptubench {about['ptubench']}, Python {about['python']}"))
    if stored is not None:
        grid.add_row("stored in", untrusted(stored, limit=400))
    return grid


def _who(workers: int) -> str:
    return "one worker" if workers == 1 else f"{workers} workers"


def _loads(found: Found) -> RenderableType:
    """The highest truthful loads, and what became of the next one."""
    limits = found["limits"]
    columns = ("streams", "events/s", "calls/s", "TTFT error", "lag", "CPU")
    table = sheet("Truthful up to", *columns)
    for crew in found["workers"]:
        table.add_row(f"{_who(crew['workers'])}, {'https' if crew['tls'] else 'plain http'}", style="bold")
        for shape in SHAPES:
            limit = crew[shape.name]
            for row in _load(shape.tokens, limit["best"], limit["worst"], len(columns)):
                table.add_row(*row)
    said = (
        f"TTFT error: first content as stamped here − as the server wrote it, p99 below {seconds_text(limits['ttft_error_p99'])}; "
        f"lag: p99 below {seconds_text(limits['lag_p99'])}; CPU: of the busiest worker, up to {share_text(limits['cpu'])} of a core"
    )
    return Group(table, Text(said, style="dim"))


def _load(tokens: int, best: Found | None, worst: Found | None, columns: int) -> Iterator[Sequence[str]]:
    """A kind of load: the highest that was truthful, and what became of the next one; 80 cells have room for no more."""
    name = f"  {tokens} tokens"
    if best is None:
        yield name, *["–"] * columns
        return
    rates = (number_text(round(best[key])) for key in ("streams", "events", "calls"))
    lateness = (seconds_text(best[key], missing="unanswered") for key in ("ttft_error_p99", "lag_p99"))
    yield name, *rates, *lateness, share_text(best["cpu"])
    if worst is not None:
        more = f"{worst['calls'] / best['calls'] - 1:.0%}".replace("%", " %")
        yield (f"  +{more}: {_TOO_MUCH[worst['outcome']]}",)


def _ptus(found: Found) -> RenderableType:
    """What that is in PTUs."""
    table = sheet("Enough for", "calls/s", "tokens/s", "streams")
    for row in found["ptu"]:
        rates = (number_text(round(row[key])) for key in ("calls", "events", "streams"))
        table.add_row(f"{_who(row['workers'])}: up to {row['ptu']:,} PTU of {clean(row['model'], 40)}", *rates)
    said = "calls of 1,000 tokens in and 200 out over https, at the published capacity and speed"
    return Group(table, Text(said, style="dim"))
