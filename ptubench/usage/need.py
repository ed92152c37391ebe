"""What a usage history needs: PTU per minute, and what each size would have refused. Pure arithmetic.

Inside a minute the history says nothing, so the tokens of a minute flow evenly through it (a fluid), into the leaky
bucket of `ptu.bucket`: depth D = T seconds of capacity, drain R a minute, empty at the start. A minute's inflow A makes

    of the level L:   min(D, max(0, L + A − R))        refused:   max(0, L + A − R − D)

which is exact for an even flow. Real calls come in bursts inside the minute and reserve their output limit, not their
output: that refuses more. A call that finds room is admitted however large it is: a few large ones are refused less.
With hundreds of calls a minute the two are close (`benchmarks/usage.py` lays them side by side).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ptubench.ptu.capacity import Capacity
from ptubench.usage.columns import MINUTE, Floats, Usage, longest_gap

MODEL = (
    "even flow inside each minute; bursts inside a minute and reserved output limits refuse more, "
    "a few large calls a minute are refused less"
)
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
FEW = 100
"""Calls in a mean minute with traffic: with fewer of them, an even flow hides refusals of some points."""
_BLOCK = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What would have been refused, by each size and depth: all of shape (sizes, depths)."""

    minutes: Floats
    """Minutes in which something was refused."""
    requests: Floats
    prompt: Floats
    cached: Floats
    completion: Floats


def ptu(usage: Usage, capacity: Capacity) -> Floats:
    """PTU that each minute with traffic needs, neither rounded up nor with headroom; `capacity.ptu` plays no part."""
    return capacity.normalized(usage.prompt, usage.cached, usage.completion) / capacity.tpm_per_ptu


def percentile(values: Floats, share: float, *, of: int) -> float:
    """The smallest value that at least `share` of all reach or stay below; `of` in all, those not in `values` are 0."""
    rank = max(1, math.ceil(share * of - 1e-9)) - (of - len(values))
    return 0.0 if rank <= 0 else float(np.partition(values, rank - 1)[rank - 1])


def refused(usage: Usage, capacity: Capacity, sizes: Sequence[int], depths: Sequence[float]) -> Refused:
    """Send the history through a bucket of each size and depth.

    Args:
        usage: the history.
        capacity: of the model; its `ptu` plays no part.
        sizes: PTU; 0 refuses everything.
        depths: seconds of full capacity.

    Returns:
        Totals; a minute's requests and tokens are refused in the same share as its normalized tokens.
    """
    flow = ptu(usage, capacity)  # in PTU-minutes, so that a size drains itself
    drain = np.repeat(np.array(sizes, float), len(depths))
    depth = drain * np.tile(np.array(depths, float), len(sizes)) / MINUTE
    quiet = np.diff(usage.minute, prepend=usage.minute[:1]) // MINUTE - 1
    columns = np.array([usage.requests, usage.prompt, usage.cached, usage.completion])
    level, totals, minutes = np.zeros(len(drain)), np.zeros((4, len(drain))), np.zeros(len(drain))
    for begin in range(0, len(flow), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        over = np.zeros((len(flow[block]), len(drain)))
        for row, (inflow, gap) in enumerate(zip(flow[block].tolist(), quiet[block].tolist(), strict=True)):
            if gap > 0:
                level = np.maximum(level - gap * drain, 0.0)
            level = np.maximum(level + (inflow - drain), 0.0)
            np.subtract(level, depth, out=over[row])
            np.minimum(level, depth, out=level)
        # Below a millionth of what the size takes it is rounding, and no refusal.
        over[over < 1e-6 * (drain + 1e-6)] = 0.0
        minutes += (over > 0).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.nan_to_num(over / flow[block, None])
        totals += columns[:, block] @ np.minimum(shares, 1.0)
    shape = (len(sizes), len(depths))
    requests, prompt, cached, completion = totals
    return Refused(
        minutes=minutes.reshape(shape),
        requests=requests.reshape(shape),
        prompt=prompt.reshape(shape),
        cached=cached.reshape(shape),
        completion=completion.reshape(shape),
    )


def answer(
    usage: Usage, capacity: Capacity, sizes: Sequence[int], *, depth: float = 60.0, depths: Sequence[float] = ()
) -> dict[str, Any]:
    """All that a history tells of these sizes, as JSON.

    Args:
        usage: the history.
        capacity: of the model; its `ptu` plays no part.
        sizes: PTU to judge, at least 1.
        depth: assumed depth of the bucket, in seconds of full capacity.
        depths: further depths, for `refused_by_depth`.

    Returns:
        Tokens, requests, hours, shares; `need` in PTU over all minutes of the span and `need_with_traffic` over those with
        traffic; for each of `sizes` the shares of minutes, and of normalized tokens that exceed it in their minute.
    """
    needed = ptu(usage, capacity)
    gap = longest_gap(usage)
    all_depths = sorted({depth, *depths})
    lost = refused(usage, capacity, sizes, all_depths)
    chosen = all_depths.index(depth)
    requests = float(usage.requests.sum())
    ratios = _ratio(lost, usage, capacity).tolist()
    return {
        "source": usage.source,
        "from": _iso(usage.span[0]),
        "to": _iso(usage.span[1]),
        "minutes": usage.minutes,
        "with_traffic": len(usage.minute),
        "hours": usage.hours,
        "longest_gap": None if gap is None else {"from": _iso(gap[0]), "minutes": (gap[1] - gap[0]) // MINUTE},
        "requests": requests,
        "prompt_tokens": float(usage.prompt.sum()),
        "cached_tokens": float(usage.cached.sum()),
        "completion_tokens": float(usage.completion.sum()),
        "normalized_tokens": float(needed.sum()) * capacity.tpm_per_ptu,
        "throttled": usage.throttled,
        "need": _need(usage, needed, usage.minutes),
        "need_with_traffic": _need(usage, needed, len(needed)),
        "depth_s": depth,
        "model": MODEL,
        "sizes": [
            _size(size, usage, needed)
            | {
                "refused": {
                    "ratio": ratios[row][chosen],
                    "minutes": int(lost.minutes[row, chosen]),
                    "requests": float(lost.requests[row, chosen]),
                    "prompt_tokens": float(lost.prompt[row, chosen]),
                    "cached_tokens": float(lost.cached[row, chosen]),
                    "completion_tokens": float(lost.completion[row, chosen]),
                },
                "refused_by_depth": {f"{at:g}": ratio for at, ratio in zip(all_depths, ratios[row], strict=True)},
            }
            for row, size in enumerate(sizes)
        ],
        "notes": [*usage.notes, *_few(requests / len(needed))],
    }


def _need(usage: Usage, needed: Floats, of: int) -> dict[str, Any]:
    found: dict[str, Any] = {"mean": float(needed.sum()) / of}
    found |= {name: percentile(needed, share, of=of) for name, share in PERCENTILES.items()}
    return found | {"max_at": _iso(int(usage.minute[needed.argmax()]))}


def _few(calls: float) -> list[str]:
    said = "calls in a mean minute with traffic are few for an even flow: expect some points more refused than shown"
    return [f"{calls:,.0f} {said}"] if 0 < calls < FEW else []


def _size(size: int, usage: Usage, needed: Floats) -> dict[str, Any]:
    """How much of the history exceeds a size, minute by minute: no bucket yet."""
    over = np.maximum(needed - size, 0.0)
    total = float(needed.sum())
    return {
        "ptu": size,
        "minutes_above": float((over > 0).sum()) / usage.minutes,
        "tokens_above": float(over.sum()) / total if total else 0.0,
        "utilization": {"mean": total / usage.minutes / size, "peak_minute": float(needed.max()) / size},
    }


def _ratio(lost: Refused, usage: Usage, capacity: Capacity) -> Floats:
    """Refused requests as a share of all, by size and depth; of normalized tokens where no requests were counted."""
    asked = float(usage.requests.sum())
    tokens = float(capacity.normalized(usage.prompt, usage.cached, usage.completion).sum())
    of_tokens = capacity.normalized(lost.prompt, lost.cached, lost.completion) / max(tokens, 1.0)
    return lost.requests / asked if asked else of_tokens


def _iso(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%MZ}"
