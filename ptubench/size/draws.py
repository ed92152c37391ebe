"""The luck of made-up arrivals: what the busiest minute is over many draws of one workload, and which draw to go by.

A rate says how many calls come on average. Which of them meet in one minute is drawn, by the seed, and one draw says little
of the next: 45 Poisson calls a minute have a busiest minute of 50 in one draw of ten minutes, and of 63 in another. So
the sizes of all calls and their arrivals are drawn anew for further seeds, and the draw to go by is one that most do not exceed.
It is chosen for its busiest minute, so that its mean tells nothing: means and prices are over all draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from ptubench.load import arrivals, demand
from ptubench.load.plan import Plan, make_plan
from ptubench.ptu.capacity import Capacity
from ptubench.ptu.sizing import Demand
from ptubench.usage.need import percentile
from ptubench.workload.model import OpenLoop, Workload

LEAST, MOST = 20, 100
"""Draws: many where they are cheap, which are the loads of few calls, where luck is great too."""
_CALLS = 2_000_000
"""Of all draws together, about: a second."""
SHARE = 0.9
"""Of the draws, that do not exceed the one to go by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Each draw by its busiest minute; the columns have one length. The first is the workload's own."""

    seeds: tuple[int, ...]
    rpm: tuple[float, ...]
    """Calls of the busiest minute."""
    tpm: tuple[float, ...]
    """Its normalized tokens."""
    seed: int
    """Of the draw to go by: the least busy one that `SHARE` of all do not exceed; of several the one nearest to the rate."""
    calls: float
    """Of that draw, per minute on average."""
    demand: Demand
    """All draws one after another, scaled to the calls of the rate; the busiest minute is that of the draw to go by."""

    @property
    def held(self) -> int:
        """How many draws are no busier than the one to go by."""
        return sum(tpm <= self.tpm[self.seeds.index(self.seed)] for tpm in self.tpm)


def draws(workload: Workload, one: Capacity, *, prompt_limit: int | None = None) -> Draws | None:
    """The busiest minutes of the workload with its own seed and the next ones; None where all draws are alike.

    Args:
        workload: resolved, with sizes. A trace is a recording and no draw.
        one: the capacity of a single PTU, for what a minute weighs.
        prompt_limit: tokens; longer prompts are left out, as in `load.demand`.
    """
    if not isinstance(workload.load, OpenLoop):
        return None
    calls = float(arrivals.cumulative(workload.load.stages)[-1])
    count = int(min(max(_CALLS / max(calls, 1.0), LEAST), MOST))
    seeds = tuple(range(workload.seed, workload.seed + count))
    plans = [make_plan(of_seed(workload, seed)) for seed in seeds]
    found = [demand.minutes(plan, prompt_limit=prompt_limit)[0] for plan in plans]
    tpm = [float(load.peak.normalized(one).max()) for load in found]
    if np.ptp(tpm) <= 1e-9 * max(tpm):
        return None
    chosen = percentile(np.array(tpm), SHARE, of=count)
    likely = float(np.mean([load.calls.sum() for load in found]))
    alike = [number for number, busiest in enumerate(tpm) if busiest == chosen]
    best = min(alike, key=lambda number: abs(float(found[number].calls.sum()) - likely))
    return Draws(
        seeds=seeds,
        rpm=tuple(float(load.peak.calls.max()) for load in found),
        tpm=tuple(tpm),
        seed=seeds[best],
        calls=float(found[best].calls.sum()) / found[best].minutes,
        demand=_joined(found, best, scale=calls * count / sum(plan.count or 0 for plan in plans)),
    )


def _joined(found: Sequence[Demand], best: int, *, scale: float) -> Demand:
    """All draws one after another, of which `best` is the one whose busiest minute counts."""
    return Demand(
        calls=np.concatenate([load.calls for load in found]),
        prompt=np.concatenate([load.prompt for load in found]),
        cached=np.concatenate([load.cached for load in found]),
        completion=np.concatenate([load.completion for load in found]),
        minutes=sum(load.minutes for load in found),
        lasts=np.concatenate([np.ones(len(load.calls)) if load.lasts is None else load.lasts for load in found]),
        scale=scale,
        judged=found[best].judged,
    )


def of_seed(workload: Workload, seed: int) -> Workload:
    """The same workload, drawn by another seed."""
    return msgspec.structs.replace(workload, seed=seed)


def expected(load: Demand, plan: Plan) -> Demand:
    """The same minutes, scaled to the calls that the rate asks for on average; those of a trace as they are."""
    asked = plan.workload.load
    if not isinstance(asked, OpenLoop) or not plan.count:
        return load
    return replace(load, scale=float(arrivals.cumulative(asked.stages)[-1]) / plan.count)
