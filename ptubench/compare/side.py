"""One run of a comparison: its headline figures, as its summary reports them and as resamples draw them again.

A figure that is not there comes with the reason why, and one that lands on a request that was never answered is infinite.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ptubench.analysis import latencies, rates
from ptubench.analysis import requests as per_request
from ptubench.analysis.columns import OK, THROTTLED, Bools, Floats, Run, select
from ptubench.analysis.metrics import due
from ptubench.analysis.requests import Requests
from ptubench.analysis.summary import summary_of
from ptubench.compare import differences
from ptubench.compare.differences import Draw
from ptubench.ptu.capacity import Capacity, capacity
from ptubench.ptu.prices import Prices
from ptubench.samples import NEEDED, PERCENTILES

LATENCIES = {
    "ttft": ("p50", "p95", "p99"),
    "ttfo": ("p50", "p95"),
    "ttft_scheduled": ("p50", "p95"),
    "tbt": ("p50", "p95"),
    "tps": ("p50",),
    "tps_e2e": (),
    "e2e": ("p50", "p95", "p99"),
    "e2e_scheduled": ("p50", "p95"),
}
"""Distributions, and which of their percentiles are headlines."""
OF_ALL = ("ttft_scheduled", "e2e_scheduled")
"""Those that count every call that was offered, whatever became of it, but not what others answered."""

SHARES: dict[str, Callable[["Side"], Bools]] = {
    "ok.ratio": lambda side: side.offered.ok,
    "refused.ratio": lambda side: side.offered.refused,
    "throttled.ratio": lambda side: side.offered.outcome == THROTTLED,
    "failed.ratio": lambda side: side.offered.failed,
    "slo.ratio": lambda side: side.met_slo,
}
"""For which of the offered requests it is true."""


class Rates(NamedTuple):
    """Calls and tokens per minute in the window: of the run, or one value for each resample."""

    offered: Any
    admitted: Any
    completed: Any
    prompt: Any
    cached: Any
    completion: Any

    @property
    def total(self) -> Any:
        """Prompt and completion tokens."""
        return self.prompt + self.completion


RATES: dict[str, Callable[["Side", Rates], Any]] = {
    "rpm.offered": lambda _, per_minute: per_minute.offered,
    "rpm.admitted": lambda _, per_minute: per_minute.admitted,
    "rpm.completed": lambda _, per_minute: per_minute.completed,
    "tpm.prompt": lambda _, per_minute: per_minute.prompt,
    "tpm.cached": lambda _, per_minute: per_minute.cached,
    "tpm.completion": lambda _, per_minute: per_minute.completion,
    "tpm.total": lambda _, per_minute: per_minute.total,
    "tpm.normalized": lambda side, per_minute: side.normalized(per_minute),
    "utilization.estimated.mean": lambda side, per_minute: side.normalized(per_minute) / side.known.tpm,
    "rpm.per_ptu": lambda side, per_minute: per_minute.admitted / side.target["ptu"],
    "tpm.per_ptu": lambda side, per_minute: side.normalized(per_minute) / side.known.ptu,
    "tpm.of_published": lambda side, per_minute: side.normalized(per_minute) / side.known.tpm,
    "cost.per_million_tokens": lambda side, per_minute: side.cost(per_minute),
}
"""Figures of calls and tokens per minute; some need a known capacity, the cost a price."""

NEED_TOKENS = tuple(name for name in RATES if not name.startswith("rpm."))
NEED_CAPACITY = ("tpm.normalized", "utilization.estimated.mean", "tpm.per_ptu", "tpm.of_published")

FIGURES = ("utilization.simulated.mean", "utilization.monitor.mean")
"""What others say, a figure for each minute: without an interval."""

HEADLINES = (
    *(f"{name}.{percentile}" for name, percentiles in LATENCIES.items() for percentile in percentiles),
    *SHARES,
    *RATES,
    *FIGURES,
)
"""Every figure of a comparison, in the order in which they are shown."""

_NO_SIZE = "the size is not known (--ptu)"
_TEXTS = ("kind", "endpoint", "deployment", "model", "model_served", "version", "type")


@dataclass(frozen=True)
class Side:
    """One run of a comparison."""

    run: Run
    summary: dict[str, Any]
    prices: Prices

    @cached_property
    def offered(self) -> Requests:
        """The requests that were due in the window."""
        run = self.run
        return due(per_request.requests(run.attempts, run.drops, streams=run.head.workload.stream), self.window)

    @property
    def window(self) -> tuple[float, float]:
        """What counts, in seconds since the start of the run."""
        start, end = self.summary["run"]["window_s"]
        return start, end

    @cached_property
    def target(self) -> dict[str, Any]:
        """What the summary says of the target; what is not of its kind, as in a head that was edited by hand, is None."""
        told: dict[str, Any] = self.summary["target"]
        texts = {name: told.get(name) if isinstance(told.get(name), str) else None for name in _TEXTS}
        ptu = told.get("ptu")
        return told | texts | {"ptu": ptu if isinstance(ptu, int) and ptu > 0 else None}

    @cached_property
    def known(self) -> Capacity:
        """The published capacity; only where the summary reckoned with one."""
        target = self.summary["target"]
        found = capacity(
            target["model"], target["ptu"], ratio=target.get("ratio"), tpm_per_ptu=target.get("tpm_per_ptu")
        )
        assert found is not None  # noqa: S101 - the summary found one in the same
        return found

    @cached_property
    def own(self) -> int:
        """How many of the offered requests were neither diverted nor spilled."""
        return int(np.count_nonzero(self.offered.by_target))

    @property
    def met_slo(self) -> Bools:
        """Which requests met all of the workload's SLO."""
        slo = self.run.head.workload.slo
        return latencies.met(self.offered, {} if slo is None else {"ttft": slo.ttft, "e2e": slo.e2e})

    def normalized(self, per_minute: Rates) -> Any:
        """Normalized tokens per minute."""
        return self.known.normalized(per_minute.prompt, per_minute.cached, per_minute.completion)

    def cost(self, per_minute: Rates) -> Any:
        """Money per million tokens at this load, by list price; only where `price` is one."""
        price = self.price
        assert not isinstance(price, str)  # noqa: S101 - asked before
        return price(per_minute) / per_minute.total * 1e6

    @cached_property
    def price(self) -> Callable[[Rates], Any] | str:
        """What a minute costs, by list price; or why nobody knows."""
        target, table = self.target, self.prices
        if target["type"] == "standard":
            name = target["model"] or target["model_served"]
            row = table.of_model(name) if name else None
            if row is None:
                return "no list price for the model's tokens"
            if row.cached is None and self.summary["metrics"]["tpm"]["cached"]:
                return "no list price for the model's cached tokens"
            weights = row.input, row.cached or 0.0, row.output
            return lambda of: (
                (weights[0] * (of.prompt - of.cached) + weights[1] * of.cached + weights[2] * of.completion) / 1e6
            )
        if target["ptu"] is None or target["type"] is None:
            return _NO_SIZE if target["ptu"] is None else "the type is not known (--type)"
        hour = table.ptu[target["type"]].hour if target["type"] in table.ptu else None
        if hour is None:
            return f"no list price for PTUs of type {target['type']}"
        minute = target["ptu"] * hour / 60
        return lambda _: minute

    # --- as reported --------------------------------------------------------------------------------------------------

    def value(self, name: str) -> float | str:
        """A headline as the summary reports it: infinite where it was never answered; a text says why there is none."""
        metrics = self.summary["metrics"]
        distribution, _, percentile = name.rpartition(".")
        if distribution in LATENCIES:
            return percentile_of(metrics[distribution], percentile)
        if name == "ok.ratio":
            return float(self.offered.ok.mean()) if len(self.offered) else "not measured"
        if name in SHARES:
            ratio = metrics[distribution]["ratio"]
            return "not measured" if ratio is None else float(ratio)
        if name in FIGURES:
            told = metrics["utilization"][name.split(".")[1]]
            return "not measured" if told is None or told["mean"] is None else float(told["mean"])
        return self._rate(name)

    def _rate(self, name: str) -> float | str:
        why = self._lacks(name)
        if why is not None:
            return why
        return float(RATES[name](self, self.rates))

    @property
    def rates(self) -> Rates:
        """Calls and tokens per minute as the summary reports them; no tokens where none were told."""
        rpm, tpm = self.summary["metrics"]["rpm"], self.summary["metrics"]["tpm"]
        tokens = (tpm[part] or 0.0 for part in ("prompt", "cached", "completion"))
        return Rates(rpm["offered"], rpm["admitted"], rpm["completed"], *tokens)

    def _lacks(self, name: str) -> str | None:
        """Why there is no such rate; None if there is."""
        tpm, target = self.summary["metrics"]["tpm"], self.target
        unpriced = self.price if name == "cost.per_million_tokens" else None
        told = tpm["total"] is not None and (name != "tpm.cached" or tpm["cached"] is not None)
        reasons = {
            "the window is empty": self.summary["metrics"]["rpm"]["offered"] is None,
            "no answer told its tokens": name in NEED_TOKENS and not told,
            "no PTUs": name in (*NEED_CAPACITY, "rpm.per_ptu") and target["type"] == "standard",
            "model or size is not known": name in NEED_CAPACITY and target["capacity"] is None,
            _NO_SIZE: name == "rpm.per_ptu" and target["ptu"] is None,
            str(unpriced): isinstance(unpriced, str),
            "no tokens": unpriced is not None and not tpm["total"],
        }
        return next((why for why, holds in reasons.items() if holds), None)

    # --- as drawn again -----------------------------------------------------------------------------------------------

    def drawn(self, name: str, draw: Draw, per_minute: Rates) -> Floats:
        """A headline in every resample; `per_minute` are the `drawn_rates` of the same draw."""
        distribution, _, percentile = name.rpartition(".")
        if distribution in LATENCIES:
            return differences.quantiles(self.latencies(distribution), draw, PERCENTILES[percentile])
        if name in SHARES:
            return differences.shares(SHARES[name](self), draw)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = np.broadcast_to(RATES[name](self, per_minute), len(draw.blocks.weights)).astype(np.float64)
        return found

    def drawn_rates(self, draw: Draw) -> Rates:
        """Calls and tokens per minute in every resample of stretches of time, each event where it happened."""
        low, high = self.window
        bins = draw.blocks.weights.shape[1]
        grid = rates.Grid(start=low, width=(high - low) / bins, bins=bins)
        served = select(self.run.attempts, self.run.attempts.by_target)
        counts = (
            grid.count(self.offered.scheduled),
            grid.count(served.sent[rates.admitted(served)]),
            grid.count(served.end[served.outcome == OK]),
        )
        amounts = np.vstack((*counts, rates.tokens_over(served, grid)))
        return Rates(*(differences.totals(amounts, draw) / (high - low) * 60))

    def latencies(self, name: str) -> Floats:
        """One value for each offered request, as the summary takes them: those of the target itself."""
        values = latencies.PER_REQUEST[name](self.offered)
        return np.where(self.offered.by_target, values, np.nan)


def side(run: Run, prices: Prices) -> Side:
    """A run, ready to be compared."""
    return Side(run, summary_of(run), prices)


def percentile_of(distribution: dict[str, Any], name: str) -> float | str:
    """A percentile as a summary reports it: infinite where it was never answered; a text says why there is none."""
    if name in distribution["unanswered"]:
        return np.inf
    value = distribution[name]
    if value is not None:
        return float(value)
    needed = NEEDED[name]
    return "not measured" if not distribution["of"] else f"{distribution['of']:,} values, {needed:,} are needed"
