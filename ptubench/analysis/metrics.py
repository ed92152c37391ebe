"""`metrics` of the summary: of the whole run, or of a group of its requests.

Requests, outcomes and latencies are of what was *due* in the window, followed to its end; rates are by the time
of the event, whichever request it belongs to. Latencies, tokens and rates are those of the target itself, or
of whoever else answered: what was diverted or spilled is never mixed with them.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ptubench.analysis import asked, latencies, limits, monitoring, rates, stats
from ptubench.analysis import requests as per_request
from ptubench.analysis.columns import OUTCOMES, THROTTLED, Attempts, Bools, Floats, Run, select
from ptubench.analysis.cost import cost, no_cost
from ptubench.analysis.names import DISTRIBUTIONS
from ptubench.analysis.rates import Window
from ptubench.analysis.requests import Requests
from ptubench.ptu.capacity import Capacity

By = Literal["target", "diverted", "spilled"]
"""Who answered: the target itself, the second target of `divert`, or where the service spilled it."""

_SENT: dict[By, Callable[[Attempts], Bools]] = {
    "target": lambda attempts: ~attempts.diverted,
    "diverted": lambda attempts: attempts.diverted,
    "spilled": lambda attempts: attempts.spilled,
}
"""The attempts that were sent there, or came from there."""


def due_slice(scheduled: Floats, window: Window) -> slice:
    """The rows, in order of due time, that were due in the window."""
    low, high = np.searchsorted(scheduled, window)
    return slice(int(low), int(high))


def due(requests: Requests, window: Window) -> Requests:
    """The requests that were due in the window."""
    return requests.select(due_slice(requests.scheduled, window))


def metrics(
    run: Run,
    attempts: Attempts,
    requests: Requests,
    window: Window,
    what_it_is: Capacity | None,
    *,
    load_end: float,
    part: bool = False,
    by: By = "target",
) -> dict[str, Any]:
    """`metrics` of the whole run, or of a part of its requests (a group).

    Args:
        run: for what is not a request's: gaps, the simulator's account, the end.
        attempts: of all the run's requests, or of the group's.
        requests: likewise.
        window: what counts.
        what_it_is: for normalized tokens; the target's, so None for what others answered.
        load_end: seconds.
        part: whether it is a group: gaps and unsent requests can't be told apart.
        by: whose latencies, tokens and rates.
    """
    offered = due(requests, window)
    sent = select(attempts, _SENT[by](attempts))
    served = select(sent, ~sent.spilled) if by == "target" else sent
    own = offered.select(offered.by_target) if by == "target" else offered
    tried = select(sent, due_slice(sent.scheduled, window))
    blocks = stats.resampling(len(offered))
    unsent = run.end.unsent_in_window if run.end is not None and not part else 0
    throttled = offered.outcome == THROTTLED
    tpm = rates.tpm(served, window, what_it_is)
    return {
        **_distributions(tried, offered, blocks, own=offered.by_target | (by != "target")),
        "gap": stats.empty("s") | {"ci95": None, "events_per_token": None} if part else _gap(run, own, window),
        "requests": _counts(offered, unsent=unsent),
        "attempts": _attempts(tried),
        "refused": stats.share(offered.refused, blocks),
        "throttled": stats.share(throttled, blocks)
        | {"first_s": _first_429(sent), "by_cause": per_request.by_name(tried.cause[tried.cause > 0], run.causes)},
        "failed": stats.share(offered.failed, blocks) | {"by_kind": per_request.failures(offered, run.failures)},
        "slo": _slo(run, offered, blocks),
        "finish": per_request.finishes(offered, run.finishes),
        "rpm": _rpm(served, offered, window),
        "tpm": tpm,
        "utilization": {
            "estimated": rates.estimated(
                served,
                mean=tpm["of_published"],
                minutes=rates.full_minutes(run.head.started_unix, (0.0, load_end)),
                capacity=what_it_is,
            ),
            "monitor": None if part else monitoring.utilization(run, window, (0.0, load_end)),
            "simulated": None if part else _simulated(run, window, load_end),
        },
        "cost": _cost(run, tpm, window, by=by, model=served_model(run, served)),
        "in_flight": rates.in_flight(sent, window),
        "asked": asked.asked(own, _synthetic(run, own)),
    }


def served_model(run: Run, attempts: Attempts) -> str | None:
    """The model that most answers name."""
    named = np.bincount(attempts.model, minlength=len(run.models))
    named[0] = 0
    return run.models[int(named.argmax())]


def _cost(run: Run, tpm: dict[str, Any], window: Window, *, by: By, model: str | None) -> dict[str, Any]:
    """By list price, where who answered is billed per token."""
    described = {"target": run.head.target, "diverted": run.head.divert_to or {}, "spilled": {"type": "standard"}}[by]
    if described.get("type") != "standard":
        return no_cost()
    return cost(tpm, window[1] - window[0], described.get("model") or model)


def _distributions(tried: Attempts, offered: Requests, blocks: stats.Resampling, *, own: Bools) -> dict[str, Any]:
    """Every distribution but `gap`; how a request was answered only where `own`."""
    positions, all_own = np.arange(len(offered), dtype=np.int32), bool(own.all())

    def shown(name: str) -> Floats:
        values = latencies.PER_REQUEST[name](offered)
        return values if all_own or name in latencies.OURS else np.where(own, values, np.nan)

    result = {}
    for name, metric in DISTRIBUTIONS.items():
        if name in latencies.PER_REQUEST:
            # Bound to no name: while the next metric is computed nobody needs this one's million values.
            result[name] = stats.distribution(shown(name), positions, blocks, unit=metric.unit)
        elif name in latencies.PER_ATTEMPT:
            places = np.searchsorted(offered.scheduled, tried.scheduled)
            result[name] = stats.distribution(latencies.PER_ATTEMPT[name](tried), places, blocks, unit=metric.unit)
    return result


def _gap(run: Run, offered: Requests, window: Window) -> dict[str, Any]:
    """Gaps pooled over the whole seconds of the window, and events per token of the answers offered in it."""
    visible = offered.visible
    which = offered.ok & offered.streamed & (visible > 0)
    tokens = visible[which].sum()
    return stats.pooled(limits.histogram_of(run.ticks.gaps, window), unit="s") | {
        "events_per_token": float(offered.of_last("content_events")[which].sum() / tokens) if tokens else None
    }


def _counts(offered: Requests, *, unsent: int) -> dict[str, int]:
    outcomes = np.bincount(offered.outcome, minlength=len(OUTCOMES))
    flags = ("retried", "diverted", "spilled", "gave_up")
    return {
        "total": len(offered) + unsent,
        **{name: int(outcomes[code]) for code, name in enumerate(OUTCOMES)},
        "unsent": unsent,
        **{name: int(np.count_nonzero(getattr(offered, name))) for name in flags},
    }


def _attempts(tried: Attempts) -> dict[str, Any]:
    total, throttled = len(tried.index), int(np.count_nonzero(tried.outcome == THROTTLED))
    return {"total": total, "throttled": throttled, "throttled_ratio": throttled / total if total else None}


def _first_429(attempts: Attempts) -> float | None:
    """When the first 429 of the whole run came, warm-up included."""
    times = per_request.throttled_at(attempts)
    return float(np.nanmin(times)) if np.any(~np.isnan(times)) else None


def _slo(run: Run, offered: Requests, blocks: stats.Resampling) -> dict[str, Any]:
    """The share of offered requests that met all of the SLO."""
    slo = run.head.workload.slo
    if slo is None or (slo.ttft is not None and not run.head.workload.stream):
        return {"ratio": None, "ci95": None}
    met = stats.share(latencies.met(offered, {"ttft": slo.ttft, "e2e": slo.e2e}), blocks)
    return {"ratio": met["ratio"], "ci95": met["ci95"]}


def _rpm(attempts: Attempts, offered: Requests, window: Window) -> dict[str, float | None]:
    """Calls per minute: due, admitted by the time sent, completed by the time of the end."""
    minutes = (window[1] - window[0]) / 60
    if minutes <= 0:
        return dict.fromkeys(("offered", "admitted", "completed"))

    def within(times: Floats, which: Bools) -> float:
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
    # A quota of tokens is no utilization.
    standard = run.head.target.get("type") == "standard"
    said = run.end.simulated if run.end is not None and not standard else None
    return rates.simulated(said, run.head.started_unix, window=window, load=(0.0, load_end))
