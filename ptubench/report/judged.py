"""A check of a check document (`gate.document`) in words: what was measured, where the limit is, how sure that is.

Plain text of our own; the rule itself is the user's and is not touched here. Knows no format.
"""

import re
from collections.abc import Mapping
from typing import Any

from ptubench.errors import Exit
from ptubench.report.latency import in_unit
from ptubench.units import duration_text, number_text, seconds_text

Check = Mapping[str, Any]
Document = Mapping[str, Any]

_ENDED = {"aborted": "stopped at once"}


def ending(document: Document) -> tuple[str, str] | None:
    """What ends the command whatever the rules say: a word for it, and a sentence; None where nothing does."""
    if document["exit_code"] in (0, 3):
        return None
    partial = next((run for run in document["runs"] if run["ended"] != "completed" and not run["by_rule"]), None)
    if partial is not None:
        lasted, planned = (duration_text(round(partial[name])) for name in ("lasted_s", "planned_s"))
        ended = partial["ended"]
        return ended, f"the run was {_ENDED.get(ended, ended)} after {lasted} of {planned}: no whole measurement"
    if document["exit_code"] == Exit.STOPPED:
        return "stopped", f"stopped after run {len(document['runs'])}, before all runs that were asked for were made"
    way = "do not use its numbers" if document["verdict"] == "invalid" else "--strict takes no such"
    return document["verdict"], f"the measurement is {document['verdict']}, {way}"


def measured(check: Check) -> str:
    """The value, or a dash."""
    return in_unit(check["measured"], check["unit"])


def limit(check: Check) -> str:
    """Where the limit is, with no more digits than it needs: "800 ms", "1 %"."""
    return re.sub(
        r"\.(\d*?)0+(?= |$)", lambda found: f".{found[1]}".rstrip("."), in_unit(check["limit"], check["unit"])
    )


def interval(check: Check) -> str:
    """Its 95 % interval: "0.5 % to 2.1 %"; empty where there is none."""
    if check["ci95"] is None:
        return ""
    low, high = check["ci95"]
    return f"{'-inf' if low is None else in_unit(low, check['unit'])} to {'+inf' if high is None else in_unit(high, check['unit'])}"


def spread(check: Check) -> str:
    """What each of the repeats measured: "1.01 s, 1.05 s"; empty for a single run."""
    return ", ".join(in_unit(value, check["unit"]) for value in check["by_run"])


def change(check: Check) -> str:
    """How far a regression's metric is from its baseline: "+120 ms (+15.0 %)"; a dash where that is not known."""
    if check["change"] is None:
        return "–"
    text, relative = difference(check["change"], check["unit"]), check["relative"]
    # A share of a share would only confuse: points say it.
    if check["unit"] == "share" or relative is None or relative["change"] is None:
        return text
    return f"{text} ({relative['change'] * 100:+.1f} %)"


def change_interval(check: Check) -> str:
    """The 95 % interval of the change: "+90 ms to +150 ms"; empty where there is none."""
    low, high = check["low"], check["high"]
    if low is None and high is None:
        return ""
    lower = "-inf" if low is None else difference(low, check["unit"])
    return f"{lower} to {'+inf' if high is None else difference(high, check['unit'])}"


def difference(value: float, unit: str) -> str:
    """A signed difference in a metric's unit; shares differ by percentage points."""
    if unit == "share":
        points = value * 100
        return f"{points:+.{1 if abs(points) >= 0.995 else 2}f} pt"
    sign = "-" if value < 0 else "+"
    return f"{sign}{seconds_text(abs(value)) if unit == 's' else number_text(abs(value))}"


def sentence(check: Check) -> str:
    """Why a check failed, or that it holds, in one line without its rule."""
    if check["measured"] is None:
        return str(check["why"] or "not measured")
    parts = [f"measured {measured(check)}"]
    if check["kind"] == "regression":
        parts += [f"baseline {in_unit(check['baseline'], check['unit'])}", f"change {change(check)}"]
        between = change_interval(check)
    else:
        parts += [f"limit {limit(check)}"]
        between = interval(check)
    parts += [f"95 % interval {between}"] if between else []
    parts += [f"by run {spread(check)}"] if check["by_run"] else []
    parts += [str(check["why"])] if check["why"] else []
    return ", ".join(parts)
