"""Draw the report of the demo as the README shows it: docs/picture.svg.

    python scripts/picture.py [FILE]

What a terminal would print at 90 columns, exported by rich: text, not pixels, in whatever monospaced font the reader has.
The window has a dark background of its own, so that it can be read on a light page and on a dark one.
"""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from ptubench.analysis.summary import summarize
from ptubench.report import table

ROOT = Path(__file__).parents[1]
RUN = ROOT / "results/examples/demo.jsonl.gz"
PICTURE = ROOT / "docs/picture.svg"
COLUMNS = 90
_THEME = TerminalTheme(
    (22, 27, 34),
    (214, 222, 230),
    # Black, red, green, yellow, blue, magenta, cyan, white: each with a contrast of at least 4.5 to the background.
    [
        (22, 27, 34),
        (255, 123, 114),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (214, 222, 230),
    ],
)
_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="What ptubench run demo prints">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; white-space: pre;
}}
.{unique_id}-title {{ display: none; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def draw() -> str:
    """The picture."""
    console = Console(
        record=True,
        file=io.StringIO(),
        width=COLUMNS,
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
    )
    console.print(table.render(summarize(RUN)))
    return console.export_svg(title="", theme=_THEME, code_format=_FORMAT, unique_id="p")


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else PICTURE).write_text(draw(), encoding="utf-8")
