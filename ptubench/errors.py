"""What can go wrong that a user can mend, and the exit code of each.

    PtubenchError
    ├── UsageError        2  command line, workload, missing file or extra
    ├── MeasurementLost   4  the run could not be measured or its output was lost
    ├── TargetRefused     5  the target refused before any load
    └── Stopped         130  a signal came before the load

What a service does to a request under load is no exception: it is a record.
Anything else that is raised is a fault of ours and crashes (exit code 1).
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command; where several apply, STOPPED, TARGET, INVALID, CHECK win in that order."""

    GOOD = 0
    CRASH = 1
    USAGE = 2
    CHECK = 3
    INVALID = 4
    TARGET = 5
    STOPPED = 130


class PtubenchError(Exception):
    """One sentence for the user: the place, the fault, the way out."""

    exit_code = Exit.CRASH


class UsageError(PtubenchError):
    """The command line or a file says something that can't be done."""

    exit_code = Exit.USAGE


class MeasurementLost(PtubenchError):
    """The run can't be measured, or its records can't be kept."""

    exit_code = Exit.INVALID


class TargetRefused(PtubenchError):
    """The target refused the probe: wrong name, key, address, proxy or certificate."""

    exit_code = Exit.TARGET


class Stopped(PtubenchError):
    """A signal came before the load."""

    exit_code = Exit.STOPPED

    def __init__(self) -> None:
        super().__init__("stopped before the load began; nothing was recorded")
