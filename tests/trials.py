"""Runs on the virtual clock for tests: a workload by what a test is about, everything else filled in."""

import json
from pathlib import Path

from ptubench.load import traces
from ptubench.record import Attempt
from ptubench.sim.options import parse
from ptubench.virtual.run import Trial, lines
from ptubench.workload.model import Trace, Workload
from ptubench.workload.read import decode
from ptubench.workload.resolve import resolve

CHAT = {
    "name": "chat",
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "load": {"rate": "45/min"},
    "duration": "10m",
    "warmup": "1m",
}
"""78,400 normalized tokens a minute: 26 PTU of gpt-4.1."""


def workload(options=None, **keys) -> Workload:
    """`CHAT` with other keys (None leaves one out), resolved for a deployment."""
    given = {name: value for name, value in {**CHAT, **keys}.items() if value is not None}
    read = decode(json.dumps(given), "test", Path())
    span = traces.span(read.load) if isinstance(read.load, Trace) else None
    return resolve(read, None if options is None else options.capacity, span)


def trial(deployment="gpt-4.1:50", **keys) -> Trial:
    """A trial on a deployment that is written as for `--simulate`."""
    options = parse(deployment)
    return Trial(workload=workload(options, **keys), options=options)


def attempts(of: Trial) -> list[Attempt]:
    """In the order of their requests."""
    found = [line for line in lines(of) if isinstance(line, Attempt)]
    return sorted(found, key=lambda attempt: (attempt.index, attempt.attempt))
