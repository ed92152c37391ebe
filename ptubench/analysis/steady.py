"""Where the window begins when the workload leaves it open: `warmup: auto` and `until_429`, decided from the records.

In: the requests of a run and the capacity of its target. Out: a moment, and why. Decides nothing about the load, which
lasts as long either way, and knows no file.

`auto` looks for the first moment from which throughput and 429 ratio are flat. MSER-5 proposes it: of all truncations d
of a series of n batch means the one that leaves the smallest standard error,

    argmin over d of sum over j > d of (Y_j - mean of Y_j)² / (n - d)²

(White 1997, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6); in batches of
m = 5 observations, MSER-m: Spratt 1998, "Heuristics for the startup problem", University of Virginia; compared by White, Cobb
and Spratt 2000, Proceedings of the Winter Simulation Conference). What is left must have no slope that matters and that
chance does not explain. An idle bucket is flat too, at no 429s: near the capacity and above it, nothing before the first
429 is believed.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis import azure, rates, saturation
from ptubench.analysis.columns import Attempts, Floats, Run, select
from ptubench.analysis.rates import Grid
from ptubench.analysis.requests import Requests
from ptubench.analysis.saturation import AtLeast
from ptubench.ptu.capacity import Capacity
from ptubench.units import duration_text, share_text

FEWEST = 100
"""Requests below which nothing is decided: the fixed rule holds."""
NEAR = 0.9
"""Share of the capacity from which on only what follows the first 429 is believed."""
BATCHES = 60
"""Of five steps each, over the whole load."""
TOLERANCES = (0.05, 0.02)
"""Drift over a stretch that is still flat: of the mean throughput, and of the 429 ratio in points."""
CERTAIN = 2.0
"""Standard errors that a drift must exceed to be one."""
CLOSE = 0.02
"""How near what was admitted must be to what the deployment sustained between two refusals."""

_HALF = BATCHES // 2
_LONGEST = 40 * 86_400.0
_SERIES = ("tokens/min", "the 429 ratio")
_TRY = "try a higher load, such as 130 % of the capacity, or a longer run"


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """When the window begins, and why."""

    rule: str
    """`fixed`, `auto` or `until_429`."""
    start: float
    """Seconds since the start of the run."""
    reason: str
    """`fixed`, `flat`, `first_429`, `few_requests`, `not_saturated` or `never_steady`."""
    text: str
    """The reason as a sentence; empty for the rule `fixed`."""
    at_least: AtLeast | None = None
    """Where saturation was looked for and not reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What is judged: the target's own attempts, and the requests that were due before the end of the load."""

    run: Run
    attempts: Attempts
    requests: Requests
    capacity: Capacity | None
    fixed: float
    end: float
    first_429: float | None

    @property
    def served(self) -> Attempts:
        """What the target answered itself."""
        return select(self.attempts, ~self.attempts.spilled)

    @property
    def first_refusal(self) -> str:
        """What the first refusal was, in words: with spillover there may be no 429."""
        answered = self.attempts.answered[self.attempts.spilled]
        return "the first spilled call" if np.any(answered == self.first_429) else "the first 429"


def warm_up(run: Run, requests: Requests, capacity: Capacity | None, *, load_end: float) -> WarmUp:
    """When the window of a run begins.

    Args:
        run: the whole run; its head names the rule.
        requests: all of its requests.
        capacity: of the target, where it is known: by the published table, or the simulated deployment's own.
        load_end: seconds; the window ends there.
    """
    rule = run.head.workload.warmup_rule
    fixed = min(max(run.head.window[0], 0.0), _LONGEST)
    if rule not in ("auto", "until_429"):
        return WarmUp(rule="fixed", start=fixed, reason="fixed", text="")
    attempts = select(run.attempts, ~run.attempts.diverted)
    seen = _Seen(
        run=run,
        attempts=attempts,
        requests=requests.select((requests.scheduled >= 0) & (requests.scheduled < load_end)),
        capacity=capacity,
        fixed=min(fixed, load_end),
        end=load_end,
        first_429=saturation.first_refusal(attempts),
    )
    if len(seen.requests) < FEWEST:
        text = f"{len(seen.requests)} requests are too few to decide by ({FEWEST} are needed): the fixed rule holds"
        return _on_a_full_minute(WarmUp(rule=rule, start=seen.fixed, reason="few_requests", text=text), seen)
    sought = rule == "until_429" or (_offered_share(seen) or 0.0) > NEAR
    found = _on_a_full_minute(_auto(seen, near=sought) if rule == "auto" else _until_429(seen), seen)
    return _full_throughout(found, seen) if sought and found.at_least is None else found


def mser(means: Floats) -> int:
    """How many leading batch means MSER leaves out; at most half of them: fewer can be alike by chance."""
    size = len(means)
    cuts = [float(np.square(means[d:] - means[d:].mean()).sum()) / (size - d) ** 2 for d in range(size // 2 + 1)]
    # What differs by rounding only is the same.
    return int(np.argmin(np.round(np.array(cuts) / (float(np.square(means).mean()) / size or 1.0), 9)))


def drift(means: Floats) -> tuple[float, float]:
    """How much a series of batch means changes from its first to its last, by a straight line; and the standard error.

    The error allows for neighbours that are alike: its variance is scaled by (1 + r) / (1 - r), r the lag-1
    correlation of the residuals where it is positive. Needs 4 values.
    """
    size = len(means)
    place = np.arange(size) - (size - 1) / 2
    spread = float(place @ place)
    slope = float(place @ means) / spread
    rest = means - means.mean() - slope * place
    squares = float(rest @ rest)
    alike = min(max(float(rest[1:] @ rest[:-1]) / squares, 0.0), 0.9) if squares > 0 else 0.0
    variance = squares / (size - 2) / spread * (1 + alike) / (1 - alike)
    return slope * (size - 1), float(np.sqrt(variance)) * (size - 1)


def _until_429(seen: _Seen) -> WarmUp:
    first = seen.first_429
    if first is not None and np.count_nonzero(seen.requests.scheduled >= first) >= FEWEST:
        text = f"{seen.first_refusal} came at {_moment(first)}"
        return WarmUp(rule="until_429", start=first, reason="first_429", text=text)
    at_least, said = _not_saturated(seen)
    text = f"{said}; the window is that of the fixed rule; {_TRY}"
    return WarmUp(rule="until_429", start=seen.fixed, reason="not_saturated", text=text, at_least=at_least)


def _auto(seen: _Seen, *, near: bool) -> WarmUp:
    """The first batch from which all is flat, not before the first 429 where the load is near the capacity."""
    series, width = _batches(seen), seen.end / BATCHES
    first = BATCHES if seen.first_429 is None else int(np.ceil(min(seen.first_429 / width, BATCHES)))
    earliest = max(*map(mser, series), first if near else 0)
    for batch in range(earliest, _HALF + 1):
        if not _drifting(series[:, batch:]):
            after = ""
            if near and seen.first_429 is not None:
                after = f", after {seen.first_refusal} at {_moment(seen.first_429)}"
            text = f"tokens/min and 429 ratio are flat from {_moment(batch * width)} on{after}"
            return WarmUp(rule="auto", start=batch * width, reason="flat", text=text)
    at_least, why = None, " and ".join(_drifting(series[:, _HALF:])) + " in the second half"
    if near and first > _HALF:
        at_least, why = _not_saturated(seen)
    way_out = _TRY if at_least is not None else "run longer, with a load that does not change"
    text = f"never steady: {why}; the window is the second half; {way_out}"
    return WarmUp(rule="auto", start=seen.end / 2, reason="never_steady", text=text, at_least=at_least)


def _batches(seen: _Seen) -> NDArray[np.float64]:
    """Throughput as a share of its mean, and the 429 ratio, of each batch: the shape is (2, `BATCHES`)."""
    grid = Grid(start=0.0, width=seen.end / BATCHES, bins=BATCHES)
    served = seen.served
    prompt, cached, completion = rates.tokens_over(served, grid)
    amounts = prompt + completion if seen.capacity is None else seen.capacity.normalized(prompt, cached, completion)
    if not rates.told(served).any():
        amounts = grid.count(served.sent[rates.admitted(served)])
    requests = seen.requests
    offered, refused = grid.count(requests.scheduled), grid.count(requests.scheduled[requests.refused])
    known = np.flatnonzero(offered)
    # Where nothing was due, nothing changed.
    ratio = np.interp(np.arange(BATCHES), known, refused[known] / offered[known])
    return np.stack((amounts / (amounts.mean() or 1.0), ratio))


def _drifting(series: NDArray[np.float64]) -> list[str]:
    """What is not flat, in words; empty when all is."""
    found = []
    for name, means, tolerance in zip(_SERIES, series, TOLERANCES, strict=True):
        change, error = drift(means)
        if abs(change) > max(tolerance, CERTAIN * error):
            found.append(f"{name} {'rises' if change > 0 else 'falls'} by {share_text(abs(change))}")
    return found


def _offered_share(seen: _Seen) -> float | None:
    """What was offered, as a share of the capacity; None where that is not known.

    The higher of the whole load and of its second half, which every window holds: a load may grow.
    """
    known = select(seen.attempts, rates.told(seen.attempts))
    if seen.capacity is None or not len(known.sent) or seen.end <= 0:
        return None
    costs = seen.capacity.normalized(known.prompt_tokens, np.nan_to_num(known.cached_tokens), known.completion_tokens)
    calls = max(len(seen.requests), 2 * int(np.count_nonzero(seen.requests.scheduled >= seen.end / 2)))
    return calls * float(costs.mean()) / seen.end / seen.capacity.per_second


def _not_saturated(seen: _Seen) -> tuple[AtLeast, str]:
    """That there was no 429, or one that came too late, and what is known of the capacity nevertheless."""
    at_least = saturation.though_idle(seen.run, seen.served, seen.capacity, load_end=seen.end)
    first = seen.first_429
    came = (
        "no 429 came"
        if first is None
        else f"{seen.first_refusal} came at {_moment(first)} of {_moment(seen.end)}, too late"
    )
    absorbed = duration_text(saturation.depth(seen.run))
    text = (
        f"saturation not reached; capacity is at least {at_least.text} ({came}; up to {absorbed} of the capacity may have "
        "gone into a bucket that was idle)"
    )
    return at_least, text


def _full_throughout(found: WarmUp, seen: _Seen) -> WarmUp:
    """The same, or that the bucket was not full all the while: then what was admitted is less than the capacity."""
    if seen.capacity is None:
        return found
    window = (found.start, seen.end)
    admitted = rates.tpm(seen.served, window, seen.capacity)["normalized"]
    sustained = saturation.between_refusals(seen.attempts, seen.capacity, window)
    if sustained is not None and admitted is not None and abs(admitted / sustained.highest - 1) <= CLOSE:
        return found
    at_least = saturation.though_idle(seen.run, seen.served, seen.capacity, load_end=seen.end)
    overall = sustained.overall if sustained is not None and sustained.limited else 0.0
    if admitted and overall > (at_least.tpm_normalized or 0.0):
        calls = saturation.admitted_rpm(seen.served, window) * overall / admitted
        at_least = AtLeast(rpm=calls, tpm_normalized=overall)
    text = (
        f"{found.text}; saturation not reached throughout; capacity is at least {at_least.text} (the bucket was not full "
        f"all the while: the load is too near the capacity, or the window too short); {_TRY}"
    )
    return replace(found, text=text, at_least=at_least)


def _on_a_full_minute(found: WarmUp, seen: _Seen) -> WarmUp:
    """Azure Monitor counts by UTC minutes: where a run was made with it, the window begins with one."""
    if azure.last(seen.run, "before") is None:
        return found
    minutes = rates.full_minutes(seen.run.head.started_unix, (found.start, seen.end))
    if not minutes.bins or minutes.start == found.start:
        return found
    text = f"{found.text}; the window begins with the next full UTC minute, as Azure Monitor counts"
    return replace(found, start=minutes.start, text=text)


def _moment(seconds: float) -> str:
    return duration_text(round(seconds, 1) if seconds < 60 else round(seconds))
