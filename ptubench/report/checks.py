"""What stands last on the screen of `run` and `check`: the rules that failed, and what else decides the exit code.

In: a check document, or rows of a summary's `checks`. Words first, colour beside them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ptubench.report import judged
from ptubench.report.text import Encodable, untrusted


def closing(document: Mapping[str, Any]) -> RenderableType:
    """The rules that failed, or that none did; last what ends the command whatever they say."""
    rows, ending = document["checks"], judged.ending(document)
    failed, count = failing(rows), len(rows)
    if failed is not None and ending is None:
        return failed
    said = Text()
    if failed is None:
        said.append(f"{'all ' if count > 1 else ''}{count} check{'s' if count > 1 else ''} passed", style="bold green")
    if ending is not None:
        said.append("but " if failed is not None else ", but ").append_text(untrusted(ending[1], "bold red", limit=200))
    elif document["verdict"] != "valid":
        said.append(f", but the measurement is {document['verdict']}", style="yellow")
    return Encodable(said if failed is None else Group(failed, said))


def failing(rows: Sequence[Mapping[str, Any]]) -> RenderableType | None:
    """Each failed rule with what was measured, its limit, the interval, and why; None where none failed."""
    failed = [row for row in rows if not row["passed"]]
    if not failed:
        return None
    parts: list[RenderableType] = [Text(f"{len(failed)} of {len(rows)} checks FAILED", style="bold red")]
    for row in failed:
        title = Text.assemble(("FAIL  ", "bold red"), untrusted(row["rule"], "bold", limit=66))
        if row.get("default"):
            title.append("  (default)", style="dim")
        title.no_wrap, title.overflow = True, "ellipsis"
        said = judged.sentence({"kind": "rule", "by_run": [], "why": None, **row})
        parts += [title, Padding(untrusted(said, limit=400), (0, 0, 0, 6))]
    return Encodable(Group(*parts))
