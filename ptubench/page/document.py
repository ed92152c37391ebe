"""A page as HTML: one file without any reference to another, that runs nothing but its own two scripts.

What came from servers and files is text wherever it stands: the template escapes it, and the charts' data is JSON in which no
character can end its element. A policy in the page forbids the browser every request and every script that is not
ours by its hash, so that nothing of what was measured can leave it.
"""

import base64
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from ptubench import __version__, inert
from ptubench.errors import UsageError
from ptubench.page.charts.model import Cell, Chart
from ptubench.page.model import Page, Section

_NEEDED = ("plotly", "jinja2")
_FIGURES = re.compile(r"(?<=\d) (?=(?:%|ms|s|µs|PTU|USD|tokens)(?!\w))")
_NAMES = re.compile(r"`([^`]{1,200})`|(?<![\w-])(--[a-z][a-z0-9-]*)")
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&'\u2028\u2029\x7f"}


def check_installed() -> None:
    """Make sure that what a page needs is there, before anything is done for it.

    Raises:
        UsageError: the extra is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise UsageError("--html: an HTML report needs the extra `report`: pip install 'ptubench[report]'")


def render(page: Page) -> str:
    """The page as HTML.

    Raises:
        UsageError: the extra is not installed.
    """
    check_installed()
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only with the extra
    from markupsafe import Markup  # noqa: PLC0415 - only with the extra
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - only with the extra

    environment = Environment(
        autoescape=True, finalize=_inert, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": cell, "badge": badge, "fluent": _fluent}
    scripts = [as_element(get_plotlyjs()), as_element(_read("page.js"))]
    drawn = [_drawn(section, chart) for section in page.sections for chart in section.charts]
    return environment.from_string(_read("page.html")).render(
        page=page,
        version=__version__,
        policy=_policy(scripts),
        style=Markup(_read("page.css")),  # noqa: S704 - ours
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - ours, and the library's
        data=Markup(_json(drawn)),  # noqa: S704 - escaped there
    )


def as_element(script: str) -> str:
    """A script as it can stand in an element: nothing in it ends one, and the browser, which reads every line end as one, finds its hash."""
    return script.replace("\r\n", "\n").replace("\r", "\n").replace("</script", r"<\/script")


def _policy(scripts: Sequence[str]) -> str:
    """What the browser may do: run these scripts, show pictures that they draw. Nothing from anywhere."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    # plotly sets styles on what it draws; a style can't send anything where there is nowhere to send it.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _drawn(section: Section, chart: Chart) -> dict[str, Any]:
    """What the page's script draws: the figure, and what it is of, which must stay on it when it is taken elsewhere."""
    return {
        "id": f"{section.name}-{chart.name}",
        "badge": badge(section.kind),
        "figure": chart.figure,
    }


def _json(value: Any) -> str:
    """JSON that can stand inside any element: no character of it ends one, or begins anything."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)


@functools.cache
def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _inert(value: Any) -> Any:
    """What the template writes: of a text no character that turns, hides or breaks others. Markup is ours."""
    return inert.line(value) if type(value) is str else value


def _fluent(text: str) -> Any:
    """A sentence: figures stay with their units, `names` and --options look like what is typed."""
    from markupsafe import Markup, escape  # noqa: PLC0415 - only with the extra

    bound = _FIGURES.sub("\N{NO-BREAK SPACE}", inert.line(text))
    return Markup(_NAMES.sub(_typed, str(escape(bound))))  # noqa: S704 - escaped before


def _typed(found: re.Match[str]) -> str:
    name, option = found.groups()
    return f"<code>{name}</code>" if option is None else f'<code class="option">{option}</code>'


def cell(value: Cell) -> str:
    """A cell of a chart's table."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value


def badge(kind: str) -> str:
    """REAL or SIMULATED: what nobody who looks at a number may overlook."""
    word, comma, rest = kind.partition(",")
    return f"{word.upper().replace(' AND ', ' and ')}{comma}{rest}"
