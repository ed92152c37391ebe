"""`network` of the summary: the way to the target, and the regions that answered. Times in milliseconds."""

from typing import Any

import numpy as np

from ptubench.analysis import stats
from ptubench.analysis.columns import Run

_KEYS = (
    *("address", "private", "proxy", "round_trip_ms", "first_connect_ms", "first_tls_ms"),
    *("connect_ms", "tls_ms", "region", "place"),
)
_MOST_REGIONS = 12
"""Their names come from the server; what is rarer is counted together."""


def network(run: Run) -> dict[str, Any]:
    """What the head says of the way; connect and TLS times, and regions, of the whole run."""
    tls = run.attempts.tls_s
    connect = run.attempts.connect_s - np.nan_to_num(tls)
    times = {
        name: {key: _milliseconds(stats.percentile(values, key)) for key in ("p50", "p95")}
        for name, values in (("connect_ms", connect), ("tls_ms", tls))
    }
    return dict.fromkeys(_KEYS) | run.head.network | times | {"region": _regions(run)}


def _regions(run: Run) -> dict[str, int]:
    """How many answers of the target itself named which region, most frequent first; `other` are the rarest."""
    counts = np.bincount(run.attempts.region[run.attempts.by_target], minlength=len(run.regions))
    named = sorted(
        ((name, int(count)) for name, count in zip(run.regions, counts, strict=True) if name and count),
        key=lambda item: (-item[1], item[0]),
    )
    found, rare = dict(named[:_MOST_REGIONS]), sum(count for _, count in named[_MOST_REGIONS:])
    return found | {"other": found.get("other", 0) + rare} if rare else found


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
