"""The charts of one run."""

from collections.abc import Mapping
from typing import Any

from ptubench.analysis import requests as per_request
from ptubench.analysis import series
from ptubench.analysis.columns import Run
from ptubench.analysis.metrics import due
from ptubench.analysis.requests import Requests
from ptubench.page.charts import calls, distribution, over_time, parts, tokens
from ptubench.page.charts.distribution import NAMES, Drawn
from ptubench.page.charts.model import Chart
from ptubench.page.charts.parts import BLUE, GREEN, ORANGE, PURPLE, RED, Style
from ptubench.ptu.capacity import Capacity, capacity

_STYLES = {
    "ttft": Style(BLUE, "solid", "circle"),
    "ttfo": Style(GREEN, "dot", "diamond"),
    "e2e": Style(RED, "dash", "square"),
    "ttft_scheduled": Style(PURPLE, "dashdot", "triangle-up"),
    "e2e_scheduled": Style(ORANGE, "dot", "triangle-down"),
}


def of_run(run: Run, summary: Mapping[str, Any]) -> list[Chart]:
    """The charts of a run and its summary, in the order of a report; those for which nothing was measured are left out."""
    requests = per_request.requests(run.attempts, run.drops, streams=run.head.workload.stream)
    window = (summary["run"]["window_s"][0], summary["run"]["window_s"][1])
    last = summary["timeline"][-1]
    # A step of the timeline may go beyond the last event.
    finished = max(window[1], last["t_s"] + last["width_s"])
    clock = parts.clock_of(run.head.started_unix, virtual=summary["run"]["clock"] == "virtual", lasts=finished)
    offered = due(requests, window)
    latencies = [name for name in ("ttft", "ttfo", "e2e") if name != "ttfo" or _reasons(summary)]
    charts = [
        calls.calls(run, requests, clock=clock, window=window, finished=finished),
        tokens.tokens(run, clock=clock, window=window, capacity=known_capacity(summary)),
        *(over_time.over_time(requests, name, clock=clock, window=window, finished=finished) for name in latencies),
        *_distributions(offered, summary, latencies),
    ]
    return [chart for chart in charts if chart is not None]


def known_capacity(summary: Mapping[str, Any]) -> Capacity | None:
    """The published capacity that the summary reckoned with."""
    target = summary["target"]
    if target["capacity"] is None:
        return None
    return capacity(target["model"], target["ptu"], ratio=target.get("ratio"), tpm_per_ptu=target.get("tpm_per_ptu"))


def _reasons(summary: Mapping[str, Any]) -> bool:
    """Whether first content and first output are two things."""
    metrics = summary["metrics"]
    return bool(metrics["ttfo"]["min"] is not None and metrics["ttfo"] != metrics["ttft"])


def _distributions(offered: Requests, summary: Mapping[str, Any], names: list[str]) -> list[Chart | None]:
    """The whole distributions of what was due in the window, and their tails."""
    metrics = summary["metrics"]
    # Since due: where waits, retries and what was refused made a difference.
    late = [f"{name}_scheduled" for name in names if f"{name}_scheduled" in metrics]
    chosen = [*names, *(name for name in late if _differs(metrics, name))]
    drawn = [
        Drawn(NAMES[name], series.curve(distribution.of_target(offered, name)), _STYLES[name], metrics[name])
        for name in chosen
    ]
    subject = "the calls that were due in the window"
    return [
        distribution.ecdf("latency-distribution", "Distribution of the latencies", drawn, subject=subject),
        distribution.tail("latency-percentiles", "Latency by percentile", drawn, subject=subject),
    ]


def _differs(metrics: Mapping[str, Any], scheduled: str) -> bool:
    """Whether a latency since due is another than since sent by more than what the generator takes."""
    since_due, since_sent = metrics[scheduled], metrics[scheduled.removesuffix("_scheduled")]
    if since_due["of"] != since_sent["of"] or since_due["count"] != since_sent["count"]:
        return bool(since_due["count"])
    pairs = [(since_due[at], since_sent[at]) for at in ("p50", "p95")]
    return any(None not in pair and pair[0] > 1.02 * pair[1] for pair in pairs)
