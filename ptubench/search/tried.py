"""Run files of a search, read: what the saturating step and the measuring ones say.

Also what ends a step early, line by line: enough was seen, or the step is lost whatever follows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptubench.analysis import checks, rates, saturation, steady
from ptubench.analysis.checks import Rule
from ptubench.analysis.columns import Attempts, Floats, Run, select
from ptubench.analysis.gather import load
from ptubench.analysis.ledger import ledger, refusals
from ptubench.analysis.rates import Grid
from ptubench.analysis.requests import requests
from ptubench.analysis.stats import wilson
from ptubench.analysis.summary import summary_of
from ptubench.calibrate.drained import Drained, drained
from ptubench.errors import MeasurementLost
from ptubench.ptu.capacity import Capacity
from ptubench.record import SPILLED, THROTTLED_IN_BAND, Attempt, Line
from ptubench.search.curve import Saturated, Seen
from ptubench.search.steps import check

LOST = 3.0
"""A step is ended when its refused ratio must be more than so many times the limit, whatever follows."""


_FEWEST = 4  # batches of a window that a slope needs
_EMPTIED = 0.01  # share of the capacity that was idle, from which on it is accounted for


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was used up."""

    seconds: float
    tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One measured rate."""

    seen: Seen
    passed: bool
    by_others: bool
    """Another rule than that on the refused ratio was broken."""
    spent: Spent
    row: dict[str, Any]
    """As the answer shows it."""
    capacity: float | None = None
    """Normalized tokens a minute that drained during the step, as its refusals say; None where they don't."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """What a saturating step told; `saturated` is None where it did not saturate."""

    saturated: Saturated | None
    spent: Spent
    row: dict[str, Any]
    target: dict[str, Any]
    """What answered, as the summary of the run says."""
    tpm_normalized: float | None
    """Admitted while the bucket was full; None where the weights of tokens are not known."""

    @property
    def refused(self) -> float:
        """Share of the requests after the first 429."""
        return float(self.row["metrics"]["refused"]["ratio"] or 0.0)

    @property
    def offered(self) -> tuple[float, float]:
        """The rate that was offered, in calls a second, and for how many seconds."""
        return float(self.row["rate"]) / 60, self.spent.seconds


class Enough:
    """Ends a saturating step: `measure` seconds after its first 429, or when none came within `patience` or for `tokens`."""

    def __init__(self, *, patience: float, measure: float, tokens: float = math.inf) -> None:
        self._patience = patience
        self._measure = measure
        self._tokens = tokens
        self._first: float | None = None

    def __call__(self, line: Line) -> bool:
        """Whether the step may end, after one more line of it."""
        if not isinstance(line, Attempt):
            return False
        if self._first is None and is_refused(line):
            self._first = line.scheduled
        self._tokens -= (line.prompt_tokens or 0) + (line.completion_tokens or 0)
        if self._first is None:
            return line.scheduled >= self._patience or self._tokens <= 0
        return line.scheduled >= self._first + self._measure


class Lost:
    """Ends a measuring step that is lost for certain: more was refused than `LOST` times the limit of the whole window."""

    def __init__(self, *, limit: float | None, planned: int, begins: float) -> None:
        self._most = None if limit is None else LOST * limit * planned
        self._begins = begins
        self._refused = 0

    def __call__(self, line: Line) -> bool:
        """Whether the step is lost, after one more line of it."""
        if self._most is None or not isinstance(line, Attempt):
            return False
        self._refused += line.scheduled >= self._begins and is_refused(line)
        return self._refused > self._most


def is_limit(rule: Rule) -> bool:
    """Whether a rule is one on the refused ratio that the curve goes by."""
    return rule.metric == "refused.ratio" and rule.op in ("<=", "<")


def is_refused(attempt: Attempt) -> bool:
    """Whether a first attempt was not served by the target."""
    refused = attempt.status == 429 or THROTTLED_IN_BAND in attempt.flags or SPILLED in attempt.headers
    return attempt.attempt == 0 and refused


def saturation_of(path: Path, *, rate: float, capacity: Capacity | None) -> Full:
    """Read a saturating step.

    Args:
        path: its run file.
        rate: calls a second that it offered.
        capacity: for the weights of tokens; None where they are not known.

    Raises:
        MeasurementLost: the run is not valid.
    """
    run, summary = _read(path)
    metrics, (began, ended) = summary["metrics"], summary["run"]["window_s"]
    admitted, tpm = (metrics["rpm"]["admitted"] or 0.0) / 60, metrics["tpm"]["normalized"]
    found, load = None, check(run.head.workload)
    if summary["run"]["warmup"]["reason"] == "first_429" and admitted > 0:
        own = select(_own(run), ~_own(run).spilled)
        # What output limits reserve of the bucket comes and goes; from refusal to refusal that is accounted for.
        full = None if capacity is None else saturation.between_refusals(own, capacity, (began, ended))
        told = None if capacity is None else _account(own, capacity)
        if full is not None and tpm:
            # A bucket so shallow that it ran empty in between has drained less than it could.
            exact = _per_minute(told) or 0.0
            charged = exact if exact > full.overall * (1 + _EMPTIED) else full.overall
            admitted, tpm = admitted * charged / tpm, charged
        if told is not None and told.depth is not None:
            absorbed = told.depth.value * admitted
        else:
            absorbed = _absorbed(np.sort(own.sent[rates.admitted(own) & (own.sent < began)]), began, drain=admitted)
        times = {"constant": 0.0, "poisson": 1.0, "gamma": 1 / load.burstiness}[load.arrivals]
        found = Saturated(rate=admitted, depth=max(1.0, absorbed), times=times, costs=_costs(own, capacity))
    return Full(
        saturated=found,
        spent=_spent(run, summary),
        row=_row(summary, path, rate=rate) | {"kind": "saturation", "passed": False, "checks": [], "lost": False},
        target=summary["target"],
        tpm_normalized=None if found is None else tpm,
    )


def measured(
    path: Path,
    *,
    rate: float,
    rules: Sequence[Rule],
    beside: Sequence[Rule],
    limit: float | None,
    capacity: Capacity | None = None,
) -> Tried:
    """Read a measuring step.

    Args:
        path: its run file.
        rate: calls a second that it offered.
        rules: what it must hold.
        beside: what nobody can judge, shown only.
        limit: the refused ratio that `rules` allow, where they do.
        capacity: for the weights of tokens; None where they are not known.

    Raises:
        MeasurementLost: the run is not valid.
    """
    run, summary = _read(path)
    metrics = summary["metrics"]
    judged = [(rule, checks.judge(rule, summary)) for rule in rules]
    others = [row["passed"] for rule, row in judged if not is_limit(rule) or limit is None]
    unjudged = [checks.judge(rule, summary) | {"passed": None, "why": "not judged (simulated)"} for rule in beside]
    refused, offered = metrics["refused"]["count"], metrics["requests"]["total"] - metrics["requests"]["unsent"]
    passed = all(row["passed"] for _, row in judged)
    lost = summary["run"]["duration_s"] < run.head.window[1] - 0.5
    return Tried(
        seen=Seen(rate=rate, offered=offered, refused=refused, bursts=_bursts(metrics["refused"], offered)),
        passed=passed,
        # What was ended early broke the rule on refusals, and the others were not seen to the end.
        by_others=not all(others) and not lost,
        spent=_spent(run, summary),
        row=_row(summary, path, rate=rate)
        | {"flat": _is_flat(run, summary["run"]["window_s"])}
        | {"kind": "rate", "passed": passed, "checks": [*(row for _, row in judged), *unjudged], "lost": lost},
        capacity=None if capacity is None else _per_minute(_account(_own(run), capacity)),
    )


def _read(path: Path) -> tuple[Run, dict[str, Any]]:
    run = load(path)
    summary = summary_of(run)
    validity = summary["validity"]
    if validity["verdict"] == "invalid":
        why = "; ".join(reason["text"] for reason in validity["reasons"])
        raise MeasurementLost(
            f"{path}: this step is not valid ({why}); the steps before it are kept: mend that, and start the command again"
        )
    return run, summary


def _row(summary: dict[str, Any], path: Path, *, rate: float) -> dict[str, Any]:
    return {
        "rate": rate * 60,
        "window_s": summary["run"]["window_s"],
        "verdict": summary["validity"]["verdict"],
        "metrics": summary["metrics"],
        "file": str(path),
    }


def _is_flat(run: Run, window: Sequence[float]) -> bool:
    """Whether the refused ratio neither rose nor fell over the window, by more than matters and than chance explains."""
    width = (window[1] - window[0]) / steady.BATCHES
    if width <= 0:
        return True
    everything = requests(run.attempts, run.drops, streams=run.head.workload.stream)
    grid = Grid(start=window[0], width=width, bins=steady.BATCHES)
    offered = grid.count(everything.scheduled)
    refused = grid.count(everything.scheduled[everything.refused])
    ratio = refused[offered > 0] / offered[offered > 0]
    if len(ratio) < _FEWEST:
        return True
    change, error = steady.drift(ratio)
    return abs(change) <= max(steady.TOLERANCES[1], steady.CERTAIN * error)


def _absorbed(sent: Floats, until: float, *, drain: float) -> float:
    """Calls that are in a bucket which drains so many a second, and was empty at 0 s and perhaps later."""
    before = np.arange(len(sent)) - drain * sent
    return len(sent) - drain * until - min(0.0, float(before.min(initial=0.0)))


def _own(run: Run) -> Attempts:
    """What was sent to the target itself."""
    return select(run.attempts, ~run.attempts.diverted)


def _account(own: Attempts, capacity: Capacity) -> Drained | None:
    """What refusals say with their retry-after; None where they don't, or what was admitted does not agree with it."""
    if np.isnan(own.limit[rates.admitted(own)]).any():
        return None  # what is reserved for these is not published
    found = drained(
        ledger(own, capacity.weights), refusals(own), ratio=capacity.weights.output, typed=True, limited=True
    )
    return found if found is not None and found.by_retry_after is not None and found.agrees else None


def _per_minute(found: Drained | None) -> float | None:
    """Normalized tokens a minute by the retry-after of refusals."""
    return None if found is None or found.by_retry_after is None else found.by_retry_after.value * 60


def _costs(own: Attempts, capacity: Capacity | None) -> float:
    """How uneven the costs of calls are: their variance by their mean squared."""
    served = select(own, rates.admitted(own) & rates.told(own))
    prompt, completion = served.prompt_tokens, served.completion_tokens
    if capacity is None:
        cost = prompt + completion
    else:
        weights, cached = capacity.weights, np.nan_to_num(served.cached_tokens)
        cost = weights.input * (prompt - cached) + weights.cached * cached + weights.output * completion
    mean = float(cost.mean()) if len(cost) else 0.0
    return float(cost.var()) / mean**2 if mean > 0 else 0.0


def _spent(run: Run, summary: dict[str, Any]) -> Spent:
    attempts = run.attempts
    tokens = np.nansum(attempts.prompt_tokens) + np.nansum(attempts.completion_tokens)
    return Spent(seconds=summary["run"]["duration_s"], tokens=float(tokens))


def _bursts(refused: dict[str, Any], offered: int) -> float:
    """How much more than independent refusals these vary: by their interval, which resamples stretches of the step."""
    if not refused["count"] or refused["ci95"] is None:
        return 1.0
    alone = wilson(refused["count"], offered)
    low, high = refused["ci95"]
    return float(max(1.0, ((high - low) / (alone[1] - alone[0])) ** 2))
