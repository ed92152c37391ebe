"""The names of all metrics, their units and what they mean: one table for summary, rules and docs.

`docs/metrics.md` says more of each; a test keeps the two together.
"""

import re
from typing import Literal, NamedTuple

from ptubench.analysis.causes import CAUSES
from ptubench.failures import FAILURES
from ptubench.samples import PERCENTILES

Better = Literal["lower", "higher"]


class Metric(NamedTuple):
    """One distribution of the summary."""

    unit: str
    """`s`, `tokens` or `tokens/s`."""
    meaning: str
    per_request: bool = True
    """At most one value per request, so that the plan tells how many values to expect."""
    better: Better | None = None
    """Which way is better for whoever waits for the answer; None where neither is."""


DISTRIBUTIONS = {
    "ttft": Metric("s", "sent to first content", better="lower"),
    "ttfo": Metric("s", "sent to first content that is not reasoning", better="lower"),
    "ttft_scheduled": Metric("s", "due to first content", better="lower"),
    "tbt": Metric("s", "time between tokens, mean of each answer", better="lower"),
    "tps": Metric("tokens/s", "1 / TBT of each answer", better="higher"),
    "tps_e2e": Metric("tokens/s", "completion tokens / E2E of each answer", better="higher"),
    "gap": Metric("s", "between two consecutive content events, pooled", per_request=False),
    "e2e": Metric("s", "sent to last content", better="lower"),
    "e2e_scheduled": Metric("s", "due to last content", better="lower"),
    "lag": Metric("s", "due to taken up by the generator"),
    "connect": Metric("s", "opening a connection", per_request=False),
    "retry_after": Metric("s", "the wait that a 429 asked for", per_request=False),
    "reject": Metric("s", "sent to the headers of a 429", per_request=False),
    "lane_wait": Metric("s", "closed loop: a lane's wait after a 429 or a failure", per_request=False),
    "waited": Metric("s", "waits between the attempts of a request, in all", per_request=False),
    "prompt_tokens": Metric("tokens", "prompt tokens of an answered request"),
    "completion_tokens": Metric("tokens", "completion tokens of an answered request"),
}

STATISTICS = ("mean", "std", "min", "max", *PERCENTILES)
"""Of each distribution, in its unit; beside them `count` and `of`."""

_ASKED = ("prompt_tokens", "cached_tokens", "completion_tokens")
_REQUESTS = (
    "total",
    "ok",
    "throttled",
    "failed",
    "cut",
    "dropped",
    "unsent",
    "retried",
    "diverted",
    "spilled",
    "gave_up",
)

SCALARS = {
    **{f"requests.{name}": "count" for name in _REQUESTS},
    "attempts.total": "count",
    "attempts.throttled": "count",
    "attempts.throttled_ratio": "share",
    "refused.count": "count",
    "refused.ratio": "share",
    "throttled.count": "count",
    "throttled.ratio": "share",
    "throttled.first_s": "s",
    "failed.count": "count",
    "failed.ratio": "share",
    "slo.ratio": "share",
    **{f"rpm.{name}": "per minute" for name in ("offered", "admitted", "completed")},
    **{
        f"tpm.{name}": "per minute"
        for name in ("prompt", "cached", "completion", "reasoning", "total", "normalized", "per_ptu")
    },
    "tpm.of_published": "share",
    "tpm.unknown_requests": "count",
    "utilization.estimated.mean": "share",
    "utilization.estimated.peak_minute": "share",
    "utilization.monitor.mean": "share",
    "utilization.monitor.peak_minute": "share",
    "utilization.monitor.before": "share",
    "utilization.simulated.mean": "share",
    "utilization.simulated.peak_minute": "share",
    "utilization.simulated.peak_level": "share",
    "cost.total": "USD",
    "cost.per_million_tokens": "USD",
    "in_flight.mean": "count",
    "in_flight.max": "count",
    "gap.events_per_token": "count",
    **{f"asked.{name}.{side}": "tokens" for name in _ASKED for side in ("asked", "got")},
    "asked.limit": "tokens",
}
"""Every other number of `metrics` by its path, and its unit."""

BETTER: dict[str, Better] = {
    "ok.ratio": "higher",
    "refused.ratio": "lower",
    "throttled.ratio": "lower",
    "failed.ratio": "lower",
    "slo.ratio": "higher",
    "rpm.admitted": "higher",
    "rpm.completed": "higher",
    "rpm.per_ptu": "higher",
    "tpm.prompt": "higher",
    "tpm.completion": "higher",
    "tpm.total": "higher",
    "tpm.normalized": "higher",
    "tpm.per_ptu": "higher",
    "tpm.of_published": "higher",
    "cost.per_million_tokens": "lower",
}
"""Which way is better, of those of `SCALARS` where one is; `ok.ratio` and `rpm.per_ptu` are figures of comparisons only."""

FINISHES = ("stop", "length", "content_filter", "tool_calls", "function_call", "none")

OPEN = {
    "failed.by_kind": re.compile("|".join((*FAILURES, r"http_[1-5]\d\d"))),
    "finish": re.compile("|".join(FINISHES)),
    "throttled.by_cause": re.compile("|".join(CAUSES)),
}
"""Mappings that hold a count for each name that occurred, and the names that can occur."""

OTHERS = {
    "latency": "e2e",
    "http_req_duration": "e2e",
    "tpot": "tbt",
    "itl": "gap",
    "errors": "failed.ratio",
    "error_rate": "failed.ratio",
    "throttle_rate": "throttled.ratio",
    "http_req_failed": "failed.ratio",
    "rps": "rpm.completed",
    "qps": "rpm.completed",
    "throughput": "rpm.completed",
    "tokens_per_second": "tps",
    "goodput": "slo.ratio",
}
"""Words of other tools, and ours."""

STREAMED = ("ttft.", "ttfo.", "ttft_scheduled.", "tbt.", "tps.", "gap.")
"""How the paths begin that only streamed answers have a value for."""

NOT_MEASURED = "not measured"
_SIZE = "it needs the model and the size of a PTU deployment (--model, --ptu)"
_UNTOLD = {
    "slo.": "the workload has no `slo:`",
    "tpm.normalized": _SIZE,
    "tpm.per_ptu": _SIZE,
    "tpm.of_published": _SIZE,
    "utilization.estimated.mean": _SIZE,
    "utilization.estimated.": f"{_SIZE} and a full UTC minute in the window",
    "utilization.simulated.peak_level": "only a simulated deployment tells it",
    "utilization.simulated.": "only a simulated deployment tells it, of full UTC minutes",
    "utilization.monitor.": "Azure Monitor told nothing of it (--resource, --monitor)",
    "lane_wait.": "no lane of a closed loop had to wait",
    "waited.": "no request was tried again",
    "retry_after.": "no 429 said how long to wait",
    "reject.": "no call was answered 429",
}
"""Why what begins so has no value in a run that made calls."""


def untold(path: str, *, streamed: bool = True) -> str:
    """That a metric was not measured, and why where that is known; `streamed`: answers were asked for as streams."""
    why = next((why for begin, why in _UNTOLD.items() if path.startswith(begin)), None)
    if not streamed and path.startswith((*STREAMED, "slo.")):
        why = "the answers were not streamed" + (f", or {why}" if why else "")
    return NOT_MEASURED if why is None else f"{NOT_MEASURED}: {why}"


def units() -> dict[str, str]:
    """Every path that a rule may name (those in `OPEN` apart), and its unit."""
    statistics = {f"{name}.{stat}": metric.unit for name, metric in DISTRIBUTIONS.items() for stat in STATISTICS}
    counts = {f"{name}.{stat}": "count" for name in DISTRIBUTIONS for stat in ("count", "of")}
    return {**statistics, **counts, **SCALARS}


def better(path: str) -> Better | None:
    """Which way a metric is better (`ttft.p95`: lower); None where neither is."""
    of = DISTRIBUTIONS.get(path.rpartition(".")[0])
    return BETTER.get(path) if of is None else of.better


def suggestions() -> list[str]:
    """Every path worth suggesting for one that does not exist."""
    open_ = {"failed.by_kind": FAILURES, "finish": FINISHES, "throttled.by_cause": CAUSES}
    return [*units(), *(f"{mapping}.{name}" for mapping, known in open_.items() for name in known)]
