"""GitHub Actions: annotations as workflow commands, and the step's summary.

The commands are lines of a log (docs.github.com: "Workflow commands for GitHub Actions"). They go to standard error,
where the runner reads them as well, since with --json standard output is one document.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptubench.errors import MeasurementLost, UsageError
from ptubench.report import judged
from ptubench.report.text import clean

VARIABLE = "GITHUB_STEP_SUMMARY"
MOST_SUMMARY = 1024 * 1024
"""Bytes of a step's summary; GitHub refuses all of a larger one."""
MOST_ANNOTATIONS = 10
"""Of each level that GitHub shows for a step."""
_SHORTENED = "\n\n(shortened: GitHub takes no more)\n"


def summary_file(env: Mapping[str, str]) -> Path:
    """The file whose text GitHub shows below the job.

    Raises:
        UsageError: this is no step of GitHub Actions, or the file can't be written.
    """
    name = env.get(VARIABLE)
    if not name:
        raise UsageError(
            f"--github: {VARIABLE} is not set, so this is no step of GitHub Actions; leave --github out, "
            "or write the same with --markdown FILE"
        )
    path = Path(name)
    try:
        path.open("ab").close()
    except (OSError, ValueError):
        raise UsageError(
            f"--github: {VARIABLE} names a file that can't be written, {clean(path, 200)}; see the runner"
        ) from None
    return path


def append(path: Path, markdown: str) -> None:
    """Add to the step's summary what still has room there.

    Raises:
        MeasurementLost: the disk is full or gone.
    """
    try:
        room = MOST_SUMMARY - (path.stat().st_size if path.exists() else 0)
        with path.open("ab") as file:
            file.write(within(f"{markdown}\n", room).encode())
    except OSError as exc:
        raise MeasurementLost(f"--github: {VARIABLE} can't be written ({exc.strerror}); the run file is kept") from None


def within(text: str, most: int) -> str:
    """`text`, or as many of its whole lines as fit into `most` bytes."""
    if len(text.encode()) <= most:
        return text
    kept = text.encode()[: max(0, most - len(_SHORTENED))].rpartition(b"\n")[0].decode()
    return f"{kept}{_SHORTENED}" if kept else ""


def annotations(document: Mapping[str, Any]) -> list[str]:
    """A line for each rule that does not hold, and one for a run that is no whole measurement or not `valid`."""
    where = "" if all(run["kind"] == "real" for run in document["runs"]) else " (SIMULATED)"
    failed = [row for row in document["checks"] if not row["passed"]]
    first = _of_the_whole(document, where)
    room = MOST_ANNOTATIONS - len(first)
    lines = [
        _command("error", f"ptubench{where}: {clean(row['rule'], 120)}", judged.sentence(row)) for row in failed[:room]
    ]
    if len(failed) > room:
        lines[-1] = _command(
            "error", f"ptubench{where}", f"{len(failed) - room + 1} more checks failed, see the summary"
        )
    return [*first, *lines]


def refused(message: str) -> str:
    """The line for an error that ended the command."""
    return _command("error", "ptubench", message)


def _of_the_whole(document: Mapping[str, Any], where: str) -> list[str]:
    """At most one line: what ends the command whatever the rules say, or else a verdict that is not `valid`."""
    ending, verdict = judged.ending(document), document["verdict"]
    if ending is None and verdict == "valid":
        return []
    said = f"the measurement is {verdict}" if ending is None else clean(ending[1], 200)
    reasons = dict.fromkeys(reason["text"] for run in document["runs"] for reason in run["reasons"])
    return [_command("warning" if ending is None else "error", f"ptubench{where}: {said}", "; ".join(reasons))]


def _command(level: str, title: str, message: str) -> str:
    """One workflow command; what is said in it can't end it, nor begin another."""
    data = _escaped(clean(message, 1000) or "see the summary")
    name = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={name}::{data}"


def _escaped(text: str) -> str:
    """As the runner reads it back."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
