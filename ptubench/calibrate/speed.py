"""How fast a run was answered, as a model that holds for other calls too: in `sim.latency`'s terms.

    TTFT = (b + u / p) · (1 + g · level) · exp(s · z)

with u uncached prompt tokens, the level of the bucket as a share of its depth, and z standard normal. Fitted in logarithms by
least squares (Gauss and Newton); a term that the run does not tell from 0 is left out. The time between tokens is
lognormal, whatever the load.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptubench.analysis.columns import Bools, Floats
from ptubench.analysis.latencies import tbt, ttft
from ptubench.analysis.requests import Requests, hidden_tokens
from ptubench.analysis.stats import Z95
from ptubench.calibrate.fit import Found, inflation

FEWEST = 30
"""Answers from which anything is told."""
_ALIKE = 0.01  # what varies by less says nothing of its effect
_ROUNDS = 50
_SETTLED = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Seconds and tokens a second; None where the run does not tell. A term that is None is left out of the others."""

    latency: Found | None
    """b: to the first content of a tiny prompt on an idle deployment; of the prompts and at the load of the run, where these
    have no term."""
    prefill: Found | None
    """p: uncached prompt tokens read a second."""
    load: Found | None
    """g: growth of the TTFT from idle to full."""
    spread: Found | None
    """s: standard deviation of the TTFT's logarithm, that the model leaves."""
    tbt: Found | None
    """The middle one."""
    tbt_spread: Found | None
    """Standard deviation of its logarithm."""
    answers: int


def speed(of: Requests, level: Floats | None) -> Speed:
    """Fit the model to answered requests.

    Args:
        of: those that the target answered, of the window.
        level: of the bucket when each was sent, as a share of its depth; None where that is not known.
    """
    first, visible = ttft(of), hidden_tokens(of) == 0
    uncached = of.of_last("prompt_tokens") - np.nan_to_num(of.of_last("cached_tokens"))
    known = of.ok & visible & np.isfinite(first) & (first > 0) & (uncached >= 0)
    offered = {"prefill": uncached[known], "load": None if level is None else np.clip(level[known], 0, 1)}
    terms = {name: values for name, values in offered.items() if values is not None and _varies(values)}
    terms = {"latency": np.ones(np.count_nonzero(known))} | terms
    found = _first_token(terms, first[known]) if np.count_nonzero(known) >= FEWEST else {}
    prefill = found.get("prefill")
    middle, spread = _lognormal(tbt(of))
    return Speed(
        latency=found.get("latency"),
        prefill=None if prefill is None else Found(value=1 / prefill.value, low=1 / prefill.high, high=1 / prefill.low),
        load=found.get("load"),
        spread=found.get("spread"),
        tbt=middle,
        tbt_spread=spread,
        answers=int(np.count_nonzero(known)),
    )


def _first_token(terms: dict[str, Floats], seconds: Floats) -> dict[str, Found]:
    """Latency, prefill as seconds per token, load and spread; without the terms that may as well be 0."""
    found = _fit(terms, np.log(seconds))
    unsure = {name: one.half for name, one in found.items() if name in ("prefill", "load") and one.low <= 0}
    if not unsure:
        return found
    weakest = max(unsure, key=lambda name: unsure[name])
    return _first_token({name: values for name, values in terms.items() if name != weakest}, seconds)


def _varies(values: Floats) -> bool:
    return len(values) > 1 and float(values.std()) > _ALIKE * float(values.mean())


def _fit(terms: dict[str, Floats], logs: Floats) -> dict[str, Found]:
    """The terms with their intervals; one that never varies, or only with another, has an endless one."""
    names = list(terms)
    scale = np.array([max(float(np.abs(terms[name]).mean()), 1e-12) for name in names])
    columns = np.stack([terms[name] for name in names], axis=1) / scale
    at_load = np.array([name == "load" for name in names])
    values = np.zeros(len(names))
    values[0] = float(np.exp(logs.mean()))
    for _ in range(_ROUNDS):
        slopes, rest = _slopes(columns, values, at_load, logs)
        step = np.linalg.lstsq(slopes, rest, rcond=None)[0]
        # The time for nothing is above 0, and so is what the load multiplies by.
        after = np.maximum(values + step, np.where(at_load, -0.5, -0.5 * values[0]))
        after[0] = max(float(after[0]), values[0] / 4)
        settled = np.abs(after - values).max() <= _SETTLED * np.abs(after).max()
        values = after
        if settled:
            break
    slopes, rest = _slopes(columns, values, at_load, logs)
    free = max(1, len(logs) - len(names))
    variance = float(rest @ rest) / free
    halves = _halves(slopes, variance * inflation(rest)) / scale
    found = {
        name: Found(value=value, low=value - half, high=value + half)
        for name, value, half in zip(names, (values / scale).tolist(), halves.tolist(), strict=True)
    }
    return found | {"spread": _deviation(float(np.sqrt(variance)), free)}


def _slopes(
    columns: NDArray[np.float64], values: Floats, at_load: Bools, logs: Floats
) -> tuple[NDArray[np.float64], Floats]:
    """Derivatives of the logarithm by each value, and what it leaves of the measured ones."""
    base = np.maximum(columns[:, ~at_load] @ values[~at_load], 1e-9)
    grown = 1 + columns[:, at_load] @ values[at_load]
    slopes = np.where(at_load, columns / grown[:, None], columns / base[:, None])
    return slopes, logs - np.log(base) - np.log(grown)


def _halves(slopes: NDArray[np.float64], variance: float) -> Floats:
    """Half of the interval of each value; infinite for all where two can't be told apart."""
    normal = slopes.T @ slopes
    if np.linalg.cond(normal) > 1e10:
        return np.full(len(normal), np.inf)
    halves: Floats = Z95 * np.sqrt(np.diag(np.linalg.inv(normal)) * variance)
    return halves


def _lognormal(values: Floats) -> tuple[Found | None, Found | None]:
    """The middle of positive values and the standard deviation of their logarithms."""
    logs = np.log(values[np.isfinite(values) & (values > 0)])
    if len(logs) < FEWEST:
        return None, None
    middle, rest = float(logs.mean()), logs - logs.mean()
    deviation = float(logs.std(ddof=1))
    half = Z95 * deviation * np.sqrt(inflation(rest) / len(logs))
    return (
        Found(value=float(np.exp(middle)), low=float(np.exp(middle - half)), high=float(np.exp(middle + half))),
        _deviation(deviation, len(logs) - 1),
    )


def _deviation(value: float, free: int) -> Found:
    """A standard deviation of normal values, by its large-sample error."""
    half = Z95 * value / np.sqrt(2 * free)
    return Found(value=value, low=float(value - half), high=float(value + half))
