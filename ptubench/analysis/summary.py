"""A run file to the summary: every number of a run, computed from its file alone (docs/metrics.md).

In: the path of a run file. Out: plain data for JSON; seconds, tokens, shares in 0…1; None for what was not
measured. Requests, outcomes and latencies are of what was *due* in the window, followed to its end; rates are
by the time of the event.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ptubench import __version__
from ptubench.analysis import asked, checks, rates, stats, timeline, validity
from ptubench.analysis import requests as per_request
from ptubench.analysis.columns import OUTCOMES, THROTTLED, Attempts, Bools, Run, load, select
from ptubench.analysis.names import DISTRIBUTIONS
from ptubench.analysis.notes import notes
from ptubench.analysis.rates import Window
from ptubench.analysis.requests import Requests
from ptubench.errors import UsageError
from ptubench.ptu.capacity import Capacity, capacity

SCHEMA_VERSION = 1

_TARGET = (
    "kind",
    "endpoint",
    "url",
    "deployment",
    "model",
    "model_served",
    "type",
    "ptu",
    "ptu_source",
    "api",
    "client",
    "spillover",
)
_NETWORK = ("address", "private", "connect_ms", "tls_ms", "region", "place")


def summarize(path: Path) -> dict[str, Any]:
    """The summary of a run (schema_version 1).

    Raises:
        UsageError: no file, no run file, or one that this version can't read.
    """
    run = load(path)
    everything = per_request.requests(run.attempts, run.drops, streamed=run.head.workload.stream)
    window, load_end, finished = _times(run, everything)
    what_it_is = _capacity(run.head.target)
    offered = _due(everything, window)
    metrics = _metrics(run, run.attempts, everything, window, what_it_is, load_end=load_end)
    rows = select(run.attempts, _due_slice(run.attempts.scheduled, window))
    summary = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "ptubench", "version": __version__},
        "run": _run(run, window, load_end),
        "workload": msgspec.to_builtins(run.head.workload),
        "target": _target(run, what_it_is),
        "network": _network(run),
        "metrics": metrics,
        "groups": _groups(run, everything, window, what_it_is, load_end=load_end),
        "timeline": timeline.timeline(run.attempts, everything, finished=finished),
        "latency": timeline.latency(everything, load_end=load_end),
        "validity": validity.assess(
            run,
            offered,
            of=validity.client(run, window),
            asked=metrics["asked"],
            typical=metrics["ttft"]["p50"] or metrics["e2e"]["p50"],
            answers=int(np.count_nonzero(rows.status)),
        ),
        "notes": notes(run, offered, metrics, window=window, capacity=what_it_is),
    }
    return summary | {"checks": [_check(text, summary) for text in run.head.workload.checks]}


def _times(run: Run, requests: Requests) -> tuple[Window, float, float]:
    """The window as it was (shorter when the run was stopped), when the load ended, and when the last thing happened."""
    head, end, ticks = run.head, run.end, run.ticks.t
    seen = [requests.scheduled, run.attempts.end, ticks + 1.0]
    last = max((float(np.nanmax(times)) for times in seen if np.any(~np.isnan(times))), default=0.0)
    if end is not None:
        load_end, finished = end.load_end, max(last, end.finished)
    else:
        load_end = finished = last
    load_end = max(0.0, min(load_end, head.window[1]))
    return (head.window[0], max(head.window[0], load_end)), load_end, max(finished, load_end)


def _due_slice(scheduled: np.ndarray[Any, np.dtype[np.float64]], window: Window) -> slice:
    """The rows, in order of due time, that were due in the window."""
    low, high = np.searchsorted(scheduled, window)
    return slice(int(low), int(high))


def _due(requests: Requests, window: Window) -> Requests:
    return select(requests, _due_slice(requests.scheduled, window))


def _metrics(
    run: Run,
    attempts: Attempts,
    requests: Requests,
    window: Window,
    what_it_is: Capacity | None,
    *,
    load_end: float,
    part: bool = False,
) -> dict[str, Any]:
    """`metrics` of the whole run, or of a part of its requests (a group).

    Args:
        run: for what is not a request's: gaps, the simulator's account, the end.
        attempts: of all the run's requests, or of the group's.
        requests: likewise.
        window: what counts.
        what_it_is: for normalized tokens.
        load_end: seconds.
        part: whether it is a group: gaps and unsent requests can't be told apart.
    """
    offered = _due(requests, window)
    tried = select(attempts, _due_slice(attempts.scheduled, window))
    blocks = stats.resampling(len(offered))
    unsent = run.end.unsent_in_window if run.end is not None and not part else 0
    throttled = offered.outcome == THROTTLED
    tpm = rates.tpm(attempts, window, what_it_is)
    return {
        **_distributions(tried, offered, blocks),
        "gap": stats.empty("s") | {"ci95": None, "events_per_token": None} if part else _gap(run, offered, window),
        "requests": _counts(offered, unsent=unsent),
        "attempts": _attempts(tried),
        "refused": stats.share(offered.refused, blocks),
        "throttled": stats.share(throttled, blocks) | {"first_s": _first_429(attempts)},
        "failed": stats.share(offered.failure_of_last, blocks)
        | {"by_kind": per_request.failures(offered, run.failures)},
        "slo": _slo(run, offered, blocks),
        "finish": per_request.finishes(offered, run.finishes),
        "rpm": _rpm(attempts, offered, window),
        "tpm": tpm,
        "utilization": {
            "estimated": rates.estimated(
                attempts,
                mean=tpm["of_published"],
                minutes=rates.full_minutes(run.head.started_unix, (0.0, load_end)),
                capacity=what_it_is,
            ),
            "monitor": None,
            "simulated": None if part else _simulated(run, window, load_end),
        },
        "in_flight": rates.in_flight(attempts, window),
        "asked": asked.asked(offered, _synthetic(run, offered)),
    }


def _distributions(tried: Attempts, offered: Requests, blocks: stats.Resampling) -> dict[str, Any]:
    """Every distribution but `gap`. What the service spilled to another deployment is not the target's latency."""
    positions = np.arange(len(offered))
    result = {}
    for name, metric in DISTRIBUTIONS.items():
        if name in per_request.PER_REQUEST:
            values = np.where(offered.own, per_request.PER_REQUEST[name](offered), np.nan)
            result[name] = stats.distribution(values, positions, blocks, unit=metric.unit)
        elif name in per_request.PER_ATTEMPT:
            places = np.searchsorted(offered.scheduled, tried.scheduled)
            result[name] = stats.distribution(per_request.PER_ATTEMPT[name](tried), places, blocks, unit=metric.unit)
    return result


def _gap(run: Run, offered: Requests, window: Window) -> dict[str, Any]:
    """Gaps pooled over the whole seconds of the window, and events per token of the answers offered in it."""
    which = offered.ok & offered.streamed & (offered.visible > 0)
    tokens = offered.visible[which].sum()
    return stats.pooled(validity.histogram_of(run.ticks.gaps, window), unit="s") | {
        "events_per_token": float(offered.content_events[which].sum() / tokens) if tokens else None
    }


def _counts(offered: Requests, *, unsent: int) -> dict[str, int]:
    outcomes = np.bincount(offered.outcome, minlength=len(OUTCOMES))
    retried = offered.attempts > 1
    return {
        "total": len(offered) + unsent,
        **{name: int(outcomes[code]) for code, name in enumerate(OUTCOMES)},
        "unsent": unsent,
        "retried": int(np.count_nonzero(retried)),
        "diverted": 0,
        "spilled": int(np.count_nonzero(offered.spilled)),
        "gave_up": int(np.count_nonzero(retried & (offered.outcome == THROTTLED))),
    }


def _attempts(tried: Attempts) -> dict[str, Any]:
    total, throttled = len(tried.index), int(np.count_nonzero(tried.outcome == THROTTLED))
    return {"total": total, "throttled": throttled, "throttled_ratio": throttled / total if total else None}


def _first_429(attempts: Attempts) -> float | None:
    """When the first 429 of the whole run came, warm-up included."""
    times = attempts.answered[attempts.outcome == THROTTLED]
    return float(np.nanmin(times)) if np.any(~np.isnan(times)) else None


def _slo(run: Run, offered: Requests, blocks: stats.Resampling) -> dict[str, Any]:
    """The share of offered requests that met all of the SLO."""
    slo = run.head.workload.slo
    if slo is None or (slo.ttft is not None and not run.head.workload.stream):
        return {"ratio": None, "ci95": None}
    met = stats.share(per_request.met(offered, {"ttft": slo.ttft, "e2e": slo.e2e}), blocks)
    return {"ratio": met["ratio"], "ci95": met["ci95"]}


def _rpm(attempts: Attempts, offered: Requests, window: Window) -> dict[str, float | None]:
    """Calls per minute: due, admitted by the time sent, completed by the time of the end."""
    minutes = (window[1] - window[0]) / 60
    if minutes <= 0:
        return dict.fromkeys(("offered", "admitted", "completed"))

    def within(times: np.ndarray[Any, np.dtype[np.float64]], which: Bools) -> float:
        return float(np.count_nonzero(which & (times >= window[0]) & (times < window[1])) / minutes)

    return {
        "offered": len(offered) / minutes,
        "admitted": within(attempts.sent, rates.admitted(attempts)),
        "completed": within(attempts.end, attempts.outcome == OUTCOMES.index("ok")),
    }


def _synthetic(run: Run, offered: Requests) -> Bools:
    """Which requests have a prompt of our own making, whose size was asked for."""
    own_messages = {kind.name for kind in run.head.workload.classes if kind.messages is not None}
    codes = [code for code, name in enumerate(run.names) if name in own_messages]
    return ~np.isin(offered.name, codes)


def _simulated(run: Run, window: Window, load_end: float) -> dict[str, Any] | None:
    said = run.end.simulated if run.end is not None else None
    return rates.simulated(said, run.head.started_unix, window=window, load=(0.0, load_end))


def _groups(
    run: Run, requests: Requests, window: Window, what_it_is: Capacity | None, *, load_end: float
) -> dict[str, Any]:
    """The same metrics for each class of a mix."""
    return {
        f"class:{name}": _metrics(
            run,
            select(run.attempts, run.attempts.name == code),
            select(requests, requests.name == code),
            window,
            what_it_is,
            load_end=load_end,
            part=True,
        )
        for code, name in enumerate(run.names)
        if name and np.any(requests.name == code)
    }


def _run(run: Run, window: Window, load_end: float) -> dict[str, Any]:
    head = run.head
    return {
        "id": head.run_id,
        "label": head.label,
        "started_at": head.started_at,
        "seed": head.seed,
        "salt": head.salt,
        "workload_hash": head.workload_hash,
        "file": str(run.path),
        "duration_s": load_end,
        "window_s": list(window),
        "ended": run.end.ended if run.end is not None else "killed",
    }


def _capacity(target: dict[str, Any]) -> Capacity | None:
    try:
        return capacity(
            target.get("model"), target.get("ptu"), ratio=target.get("ratio"), tpm_per_ptu=target.get("tpm_per_ptu")
        )
    except (AttributeError, TypeError):
        return None  # a head that was edited by hand


def _target(run: Run, what_it_is: Capacity | None) -> dict[str, Any]:
    """What the head says of the target, the model that the answers name, and the capacity that was reckoned with."""
    served = np.bincount(run.attempts.model, minlength=len(run.models))
    served[0] = 0
    target = dict.fromkeys(_TARGET) | {"api": "chat"} | run.head.target
    return target | {
        "model_served": run.models[int(served.argmax())],
        "client": run.head.workload.client,
        "capacity": None
        if what_it_is is None
        else {
            "tpm": what_it_is.tpm,
            "tpm_per_ptu": what_it_is.tpm_per_ptu,
            "output_weight": what_it_is.weights.output,
            "source": what_it_is.source,
        },
    }


def _network(run: Run) -> dict[str, Any]:
    """What the head says of the way to the target; connect (TCP and proxy) and TLS times of the whole run, in ms."""
    tls = run.attempts.tls_s
    connect = run.attempts.connect_s - np.nan_to_num(tls)
    times = {
        name: {key: _milliseconds(stats.percentile(values, key)) for key in ("p50", "p95")}
        for name, values in (("connect_ms", connect), ("tls_ms", tls))
    }
    return dict.fromkeys(_NETWORK) | run.head.network | times


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _check(text: str, summary: dict[str, Any]) -> dict[str, Any]:
    """A rule of the workload, judged; one that this version does not understand fails."""
    try:
        return checks.judge(checks.parse(text, where="checks"), summary)
    except UsageError as exc:
        return {"rule": text, "measured": None, "limit": None, "ci95": None, "passed": False, "why": str(exc)}
