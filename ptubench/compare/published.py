"""Token speed against Azure's published target, as Azure states it: the median of each five minutes.

The target is a speed that 99 % of calls exceed (SIZING, 2026-09-23); it holds for PTU deployments only.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from ptubench.analysis import latencies, stats
from ptubench.compare.side import Side
from ptubench.ptu import catalogue

SLICE = 300.0
"""Seconds."""
ENOUGH = 12
"""Medians, an hour of them: fewer are only indicative."""


def published(side: Side) -> dict[str, Any] | None:
    """{target_tps, slice_s, medians[], above, of, indicative} of a run; None where no target is published for it, or nobody says that it has PTUs.

    `medians` are of `tps` of the requests that were due in each whole five minutes of the window, of a shorter window in
    all of it; None where a slice has too few answers, and then it is no part of `of`.
    """
    target = side.target
    known = catalogue.find(target["model"]) if target["model"] else None
    if known is None or target["type"] == "standard" or (target["ptu"] is None and target["type"] is None):
        return None
    low, high = side.window
    whole = int((high - low) // SLICE)
    edges = low + np.arange(whole + 1) * SLICE if whole else np.array([low, high])
    values = np.where(side.offered.by_target, latencies.tps(side.offered), np.nan)
    cuts = np.searchsorted(side.offered.scheduled, edges)
    medians = [stats.percentile(values[first:last], "p50") for first, last in pairwise(cuts)]
    told = [median for median in medians if median is not None]
    return {
        "target_tps": known.target_tps,
        "slice_s": SLICE if whole else high - low,
        "medians": medians,
        "above": sum(median > known.target_tps for median in told),
        "of": len(told),
        "indicative": whole == 0 or len(told) < ENOUGH,
    }
