"""A prepared run played with its live view: once, or again and again to see how much runs differ."""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

import contextlib
import sys
from typing import Any

from ptubench.cli import pipelines
from ptubench.errors import Stopped


def say(line: str) -> None:
    """Progress, on standard error."""
    from ptubench.report import text

    # A path or a sentence that is broken in two is no use to a script.
    text.console(stderr=True).print(text.untrusted(line, limit=400), soft_wrap=True)


def play(prepared: Any) -> Any:
    """One run; its outcome, which names a file.

    Raises:
        Stopped: a signal came before the load. Raises also as `commands.run`.
    """
    from ptubench import commands
    from ptubench.report import live, text

    kind = "simulated" if prepared.target.simulate is not None else prepared.target.kind
    title = live.title(kind, prepared.workload.name, prepared.target.deployment or prepared.target.endpoint)
    # Standard output is for the results alone, whatever the user's own client prints.
    with live.View(text.console(stderr=True), title) as view, contextlib.redirect_stdout(sys.stderr):
        outcome = commands.run(prepared, say=say, watch=view.update)
    if outcome.file is None:
        raise Stopped
    say(f"run file: {outcome.file}")
    return outcome


def repeat(prepared: Any, places: pipelines.Places, *, times: int, as_json: bool, strict: bool) -> int:
    """Several runs one after another, until one of them does not reach its end; then all of them checked as one.

    Returns:
        The exit code. Raises as `play`; the runs before it are kept in their files.
    """
    from ptubench import commands
    from ptubench.gate import document

    outcomes: list[Any] = []
    for number in range(1, times + 1):
        try:
            say(f"run {number} of {times}")
            outcomes.append(play(prepared))
        except (Stopped, KeyboardInterrupt):  # the latter between two runs
            if not outcomes:
                raise
            break
        if outcomes[-1].ended != "completed":
            break
    for outcome in outcomes:
        commands.await_monitor(prepared, outcome, say=say)
    sides = document.read([outcome.file for outcome in outcomes])
    found = document.of_repeats(document.judge(sides, strict=strict), strict=strict, stopped=len(outcomes) < times)
    places.show(found, [side.summary for side in sides], as_json=as_json)
    return int(found["exit_code"])
