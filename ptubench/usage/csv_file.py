"""Usage history as CSV: `minute,requests,prompt_tokens,cached_tokens,completion_tokens`, totals of each UTC minute.

The same file is a trace of the format `usage` (`load.traces`, which reads it).
"""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ptubench.errors import UsageError
from ptubench.load import traces
from ptubench.usage.columns import MINUTE, Usage


def read(file: str) -> Usage:
    """The history in a file, from its first line's minute to its last one's; lines may say 0.

    Raises:
        UsageError: it can't be read, or a line of it is broken or not later than the one before.
    """
    rows = traces.lines(file, "usage")
    time, prompt, cached, completion, requests = np.array(rows, float).T
    busy = (requests > 0) | (prompt > 0) | (completion > 0)
    return Usage(
        source=file,
        span=(int(time[0]), int(time[-1]) + MINUTE),
        minute=time[busy].astype(np.int64),
        requests=requests[busy],
        prompt=prompt[busy],
        cached=cached[busy],
        completion=completion[busy],
    )


def write(usage: Usage, path: Path) -> None:
    """Write the minutes with traffic, and the first and the last of the span, which say how long it was.

    Whole numbers. A minute with tokens and no request (Azure may count a call's tokens in the minute after it) is written
    with one.

    Raises:
        UsageError: the file is there already, or can't be written.
    """
    columns = np.rint([np.maximum(usage.requests, 1), usage.prompt, usage.cached, usage.completion]).astype(np.int64)
    lines = dict.fromkeys((usage.span[0], usage.span[1] - MINUTE), (0, 0, 0, 0))
    lines |= dict(zip(usage.minute.tolist(), map(tuple, columns.T.tolist()), strict=True))
    try:
        with path.open("x", encoding="utf-8") as file:
            print(traces.USAGE_HEADER, file=file)
            for at, totals in sorted(lines.items()):
                print(f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%MZ}", *totals, sep=",", file=file)
    except OSError as exc:
        raise UsageError(f"{path}: can't be written: {exc.strerror}; name another file") from None
