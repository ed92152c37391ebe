"""What other programs take of this machine meanwhile: it is missing in whatever is measured."""

import os
import time
from pathlib import Path
from typing import NamedTuple


class Moment(NamedTuple):
    """CPU time until then, in seconds."""

    clock: float
    machine: float | None
    """Of all cores, what a virtual machine was kept waiting included; None where the system does not tell (Linux does)."""
    own: float
    """Of this process and its children that have ended."""
    load: float | None
    """The system's load average of the last minute; None where it has none."""


def moment() -> Moment:
    """Now."""
    own = sum(os.times()[:4])
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Moment(time.monotonic(), _machine(), own, load)


def _machine() -> float | None:
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:9]
        user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, words)
    except (OSError, ValueError):
        return None
    return (user + nice + system + interrupts + soft + stolen) / float(os.sysconf("SC_CLK_TCK"))


def since(then: Moment) -> float | None:
    """Cores that other programs kept busy since then; where the system does not tell, as many as ran before."""
    now = moment()
    if now.machine is None or then.machine is None:
        return then.load
    seconds = max(now.clock - then.clock, 1e-9)
    return max(0.0, (now.machine - then.machine) - (now.own - then.own)) / seconds
