"""The picture in the README: what the command prints today, legible anywhere, and small."""

import html
import os
import re
import runpy
import sys
from pathlib import Path

import pytest

from ptubench.cli import main

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/picture.svg"
SCRIPT = ROOT / "scripts/picture.py"


@pytest.fixture(scope="module")
def drawn():
    """The picture, and the script that draws it; `REWRITE_GOLDEN=1 pytest` or `make picture` draws it anew."""
    script = runpy.run_path(str(SCRIPT))
    if os.environ.get("REWRITE_GOLDEN"):
        PICTURE.write_text(script["draw"](), encoding="utf-8")
    return PICTURE.read_text(encoding="utf-8"), script


def lines(svg):
    """The lines of text in a picture, from top to bottom; a text begins at the left of its cell."""
    cell = 12.2  # pixels, of rich's export
    rows = {}
    for attributes, text in re.findall(r"<text ([^>]*)>([^<]*)</text>", svg):
        x, y = (float(re.search(rf'\b{name}="([\d.]+)"', attributes)[1]) for name in "xy")
        shown = html.unescape(text).replace("\N{NO-BREAK SPACE}", " ").rstrip("\n")
        row = rows.get(y, "").ljust(round(x / cell))
        rows[y] = row + shown
    return [rows[y].rstrip() for y in sorted(rows) if rows[y].strip()]


def test_the_picture_shows_what_the_command_prints(drawn, monkeypatch, capsys):
    svg, script = drawn
    monkeypatch.setenv("COLUMNS", str(script["COLUMNS"]))
    monkeypatch.setattr(sys, "argv", ["ptubench", "report", str(script["RUN"])])
    with pytest.raises(SystemExit):
        main()

    assert lines(svg) == [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_the_picture_is_small_and_asks_for_nothing(drawn):
    svg, _ = drawn
    addresses = set(re.findall(r"https?://[\w.]+", svg))

    assert len(svg.encode()) <= 60_000
    assert addresses == {"http://www.w3.org", "http://127.0.0.1"}
    assert "<script" not in svg


def test_every_colour_can_be_read_on_the_pictures_own_background(drawn):
    svg, script = drawn
    used = {tuple(bytes.fromhex(colour)) for colour in re.findall(r"fill: #([0-9a-f]{6})", svg)}
    background = tuple(script["_THEME"].background_color)

    assert all(contrast(colour, background) >= 3 for colour in used - {background})


def contrast(one, other):
    """The contrast ratio of two colours (WCAG 2.2)."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
