"""Runs on deployments whose figures nobody told: simulated, and then said to be what is published."""

from pathlib import Path

import msgspec

from ptubench import record
from ptubench.analysis.columns import Run
from ptubench.analysis.gather import Gathering
from ptubench.record import Attempt, Head, Line
from ptubench.virtual.run import lines
from trials import trial

PTU = 20
CLAIMED = {"kind": "azure", "model": "gpt-4.1", "ptu": PTU, "deployment": "d"}
"""60,000 normalized tokens a minute, and a ratio of 4."""
MIXED = {"prompt_tokens": {"mean": 1000, "p95": 2500}, "completion_tokens": {"mean": 200, "p95": 450}}
RISING = {"load": {"stages": [{"rate": "20/min", "for": "2m"}, {"rate": "70/min", "for": "8m"}]}, "duration": None}
"""From a third of what `CLAIMED` takes of such calls to far more."""


def secret(options: str = "", *, claimed=CLAIMED, change=lambda attempt: attempt, **keys) -> list[Line]:
    """The lines of ten minutes on a deployment of `PTU`, whose head says `claimed`.

    Args:
        options: of the simulated deployment, as after the size in `--simulate`.
        claimed: the target of the head.
        change: what becomes of each attempt.
        keys: of the workload.
    """
    of = trial(f"gpt-4.1:{PTU}{',' if options else ''}{options}", **MIXED | RISING | keys)
    found = []
    for line in lines(of):
        if isinstance(line, Head):
            found.append(msgspec.structs.replace(line, target=claimed, clock="real"))
        else:
            found.append(change(line) if isinstance(line, Attempt) else line)
    return found


def run(options: str = "", **more) -> Run:
    """The same as columns."""
    head, *rest = secret(options, **more)
    gathering = Gathering(head)
    for line in rest:
        gathering.add(line)
    return gathering.run()


def file(path: Path, options: str = "", **more) -> Path:
    """The same as a run file."""
    path.write_bytes(b"".join(map(record.encode, secret(options, **more))))
    return path
