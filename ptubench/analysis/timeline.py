"""The run as it went: events per step of time, and latency in slices by the time the requests were due."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from ptubench.analysis import rates, stats
from ptubench.analysis.columns import CUT, DROPPED, FAILED, OK, THROTTLED, Attempts, select
from ptubench.analysis.latencies import ttft
from ptubench.analysis.rates import Grid
from ptubench.analysis.requests import Requests
from ptubench.analysis.series import step_width
from ptubench.samples import NEEDED

_STEPS = 900
_SLICES = 60
_CALLS = 2 * NEEDED["p50"]  # of a slice: room for chance, so that few are without a median


def timeline(attempts: Attempts, requests: Requests, *, finished: float) -> list[dict[str, Any]]:
    """Per second of the whole run, drain included (longer steps when it took over 15 minutes): what happened when.

    What was sent to the target, and the tokens that it answered itself; what was diverted or spilled is only counted.

    Args:
        attempts: of the whole run.
        requests: likewise.
        finished: seconds at which the last thing happened.
    """
    width = max(1, math.ceil(finished / _STEPS))
    grid = Grid(start=0.0, width=float(width), bins=max(1, min(_STEPS, math.ceil(finished / width))))
    sent = select(attempts, ~attempts.diverted)
    prompt, cached, completion = rates.tokens_over(select(sent, ~sent.spilled), grid)
    # What was cut has no end of its own: it was in flight to the last.
    ended = np.fmin(sent.end, np.nextafter(finished, 0))
    in_flight = grid.spread(sent.sent, ended, ended - sent.sent) / width
    outcome = sent.outcome
    counts = {
        "offered": grid.count(requests.scheduled),
        "sent": grid.count(sent.sent),
        "ok": grid.count(ended[(outcome == OK) & ~sent.spilled]),
        "throttled": grid.count(ended[outcome == THROTTLED]),
        "failed": grid.count(ended[outcome == FAILED]),
        "cut": grid.count(ended[outcome == CUT]),
        "spilled": grid.count(ended[(outcome == OK) & sent.spilled]),
        "diverted": grid.count(attempts.sent[attempts.diverted]),
        "dropped": grid.count(requests.scheduled[requests.outcome == DROPPED]),
    }
    amounts = {
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "completion_tokens": completion,
        "in_flight": in_flight,
    }
    return [
        {
            "t_s": step * width,
            "width_s": width,
            **{name: int(values[step]) for name, values in counts.items()},
            **{name: round(max(0.0, float(values[step])), 3) for name, values in amounts.items()},
        }
        for step in range(grid.bins)
    ]


def latency(requests: Requests, *, load_end: float) -> list[dict[str, Any]]:
    """TTFT of the requests that were due in each slice of the load, of the target itself, by the sample and unanswered rules.

    At most 60 slices; fewer where the calls would be too few for a median in most of them.
    """
    width = int(step_width(load_end, len(requests.scheduled), each=_CALLS, most=_SLICES))
    edges = np.arange(0, max(1, math.ceil(load_end / width)) + 1) * float(width)
    values = np.where(requests.by_target, ttft(requests), np.nan)
    cuts = np.searchsorted(requests.scheduled, edges)
    slices = [values[low:high] for low, high in pairwise(cuts)]
    return [
        {
            "t_s": step * width,
            "width_s": width,
            "count": int(np.count_nonzero(np.isfinite(part))),
            "ttft_p50": stats.percentile(part, "p50"),
            "ttft_p95": stats.percentile(part, "p95"),
        }
        for step, part in enumerate(slices)
    ]
