"""The rules that failed: what stands last on the screen of `run` and `check`, so that nobody has to look for it.

In: rows of a summary's `checks` or of a check document's. Words first, colour beside them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ptubench.report import judged
from ptubench.report.text import Encodable, untrusted


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
