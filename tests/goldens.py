"""Golden text: what a report looks like, reviewed as a diff. `REWRITE_GOLDEN=1 pytest` writes it anew."""

import io
import os
from pathlib import Path

from rich.console import Console, RenderableType

_FOLDER = Path(__file__).parent / "golden"


def shown(renderable: RenderableType, *, width: int = 80, encoding: str = "utf-8", terminal: bool = False) -> str:
    """What stands on a console of that width and encoding; a pipe unless it is a `terminal`."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    color = "truecolor" if terminal else None
    console = Console(
        file=file, width=width, force_terminal=terminal, color_system=color, markup=False, emoji=False, highlight=False
    )
    console.print(renderable)
    file.flush()
    return raw.getvalue().decode(encoding)


def golden(name: str, text: str) -> str:
    """The golden text of that name."""
    path = _FOLDER / f"{name}.txt"
    if os.environ.get("REWRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")
