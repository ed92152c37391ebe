"""Run files of a search, read: what the saturating step and the measuring ones say.

Also what ends a step early, line by line: enough was seen, or the step is lost whatever follows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptubench.analysis import checks, steady
from ptubench.analysis.checks import Rule
from ptubench.analysis.columns import Run
from ptubench.analysis.gather import load
from ptubench.analysis.rates import Grid
from ptubench.analysis.requests import requests
from ptubench.analysis.stats import wilson
from ptubench.analysis.summary import summary_of
from ptubench.errors import MeasurementLost
from ptubench.ptu.capacity import Capacity
from ptubench.record import SPILLED, Attempt, Line
from ptubench.search import account
from ptubench.search.curve import Saturated, Seen
from ptubench.search.steps import check
from ptubench.units import number_text

LOST = 3.0
"""A step is ended when its refused ratio must be more than so many times the limit, whatever follows."""

_FEWEST = 4  # batches of a window that a slope needs


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
    """Drained while the bucket was full; None where the weights of tokens are not known."""
    at_least: bool = False
    """The bucket was not full all the while, so that the capacity may be higher than any refusals tell."""

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
    return attempt.attempt == 0 and (attempt.outcome == "throttled" or SPILLED in attempt.headers)


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
    found, at_least, load = None, False, check(run.head.workload)
    if summary["run"]["warmup"]["reason"] == "first_429" and admitted > 0:
        own = account.own(run)
        bucket = account.full(own, capacity, (began, ended), rate=admitted, tpm=tpm)
        tpm, at_least = bucket.tpm, bucket.at_least
        times = {"constant": 0.0, "poisson": 1.0, "gamma": 1 / load.burstiness}[load.arrivals]
        costs = account.costs(own, capacity)
        found = Saturated(rate=bucket.rate, depth=max(1.0, bucket.depth), times=times, costs=costs)
    return Full(
        saturated=found,
        spent=_spent(run, summary),
        row=_row(summary, path, rate=rate) | {"kind": "saturation", "passed": False, "checks": [], "lost": False},
        target=summary["target"],
        tpm_normalized=None if found is None else tpm,
        at_least=found is not None and at_least,
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
    unknown = [row for _, row in judged if row["measured"] is None and not str(row["why"]).startswith("unanswered")]
    unjudged = [checks.judge(rule, summary) | {"passed": None, "why": "not judged (simulated)"} for rule in beside]
    refused, offered = metrics["refused"]["count"], metrics["requests"]["total"] - metrics["requests"]["unsent"]
    passed = all(row["passed"] for _, row in judged)
    lost = summary["run"]["duration_s"] < run.head.window[1] - 0.5
    if unknown and not lost and all(row["passed"] or row in unknown for _, row in judged):
        # What was not measured is not broken either.
        raise MeasurementLost(
            f"{path}: `{unknown[0]['rule']}` can't be judged at {number_text(rate * 60)} calls/min ({unknown[0]['why']}); make "
            "the steps longer with --step, or leave the rule out with --set 'checks=[…]'"
        )
    return Tried(
        seen=Seen(rate=rate, offered=offered, refused=refused, bursts=_bursts(metrics["refused"], offered)),
        passed=passed,
        # What was ended early broke the rule on refusals, and the others were not seen to the end.
        by_others=not all(others) and not lost,
        spent=_spent(run, summary),
        row=_row(summary, path, rate=rate)
        | {"flat": _is_flat(run, summary["run"]["window_s"])}
        | {"kind": "rate", "passed": passed, "checks": [*(row for _, row in judged), *unjudged], "lost": lost},
        capacity=None if capacity is None else account.per_minute(account.account(account.own(run), capacity)),
    )


def _read(path: Path) -> tuple[Run, dict[str, Any]]:
    run = load(path)
    summary = summary_of(run)
    validity = summary["validity"]
    if validity["verdict"] == "invalid":
        short = [reason for reason in validity["reasons"] if _is_short(reason)]
        # What else a run may do about a window of few calls, a step can't.
        why = "; ".join(r["text"].partition(": " if r in short else "\n")[0] for r in validity["reasons"])
        way_out = "give longer steps with --step" if short else "mend that, and start the command again"
        raise MeasurementLost(f"{path}: this step is not valid ({why}); the steps before it are kept: {way_out}")
    return run, summary


def _is_short(reason: dict[str, Any]) -> bool:
    """Whether a longer step mends it."""
    return reason["code"] == "cached_share" or str(reason["text"]).startswith("no request was due")


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


def spent_of(path: Path) -> Spent:
    """What a step cost that did not come to its end."""
    run = load(path)
    return _spent(run, summary_of(run))


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
