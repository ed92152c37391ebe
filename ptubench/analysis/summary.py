"""A run file to the summary: every number of a run, computed from its file alone (docs/metrics.md).

In: the path of a run file. Out: plain data for JSON; seconds, tokens, shares in 0…1; None for what was not
measured. Requests, outcomes and latencies are of what was *due* in the window, followed to its end; rates are
by the time of the event.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ptubench import __version__
from ptubench.analysis import abort, checks, limits, monitoring, reasoning, steady, timeline, validity
from ptubench.analysis import requests as per_request
from ptubench.analysis.columns import Bools, Run, select
from ptubench.analysis.gather import load
from ptubench.analysis.metrics import By, due, due_slice, served_model
from ptubench.analysis.metrics import metrics as metrics_of
from ptubench.analysis.network import network
from ptubench.analysis.notes import notes
from ptubench.analysis.rates import Window
from ptubench.analysis.requests import Requests
from ptubench.analysis.steady import WarmUp
from ptubench.ptu.capacity import Capacity, capacity

SCHEMA_VERSION = 1

_LONGEST = 40 * 86_400.0  # seconds; a head that says more was damaged
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


def summarize(path: Path) -> dict[str, Any]:
    """The summary of a run (schema_version 1).

    Raises:
        UsageError: no file, no run file, or one that this version can't read.
    """
    return summary_of(load(path))


def summary_of(run: Run) -> dict[str, Any]:
    """The summary of a run whose lines were gathered, from a file or in memory."""
    everything = per_request.requests(run.attempts, run.drops, streams=run.head.workload.stream)
    load_end, finished = _times(run, everything)
    what_it_is = _capacity(run.head.target)
    warm_up = steady.warm_up(run, everything, what_it_is, load_end=load_end)
    window = (warm_up.start, max(warm_up.start, load_end))
    offered = due(everything, window)
    metrics = metrics_of(run, run.attempts, everything, window, what_it_is, load_end=load_end)
    rows = select(run.attempts, due_slice(run.attempts.scheduled, window))
    compared = monitoring.comparison(run, window, what_it_is)
    summary = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "ptubench", "version": __version__},
        "run": _run(run, window, load_end, warm_up),
        "workload": msgspec.to_builtins(run.head.workload),
        "target": _target(run, what_it_is, metrics["tpm"]["reasoning"]),
        "network": network(run),
        "metrics": metrics,
        "monitor": compared,
        "groups": _groups(run, everything, window, what_it_is, load_end=load_end),
        "timeline": timeline.timeline(run.attempts, everything, finished=finished),
        "latency": timeline.latency(everything, load_end=load_end),
        "validity": validity.assess(
            run,
            offered,
            of=limits.client(run, window),
            asked=metrics["asked"],
            typical=metrics["ttft"]["p50"] or metrics["e2e"]["p50"],
            answers=int(np.count_nonzero(rows.status)),
            compared=compared,
            warm_up=warm_up,
        ),
        "notes": notes(run, offered.select(offered.by_target), metrics, window=window, capacity=what_it_is),
    }
    return summary | {"checks": checks.rows(summary)}


def _times(run: Run, requests: Requests) -> tuple[float, float]:
    """When the load ended (earlier than planned when the run was stopped), and when the last thing happened."""
    head, end, ticks = run.head, run.end, run.ticks.t
    seen = [requests.scheduled, run.attempts.end, ticks + 1.0]
    last = max((float(np.nanmax(times)) for times in seen if np.any(~np.isnan(times))), default=0.0)
    if end is not None:
        load_end, finished = end.load_end, max(last, end.finished)
    else:
        load_end = finished = last
    load_end = max(0.0, min(load_end, head.window[1], _LONGEST))
    return load_end, max(finished, load_end)


def _groups(
    run: Run, requests: Requests, window: Window, what_it_is: Capacity | None, *, load_end: float
) -> dict[str, Any]:
    """The same metrics for each class of a mix; and for what was answered at once, retried, diverted and spilled."""
    chosen: dict[str, tuple[Bools, By]] = {
        f"class:{name}": (requests.name == code, "target") for code, name in enumerate(run.names) if name
    }
    if not requests.at_once.all():
        chosen |= {
            "first": (requests.at_once, "target"),
            "retried": (requests.retried, "target"),
            "diverted": (requests.diverted, "diverted"),
            "spilled": (requests.spilled, "spilled"),
        }
    return {
        name: metrics_of(
            run,
            select(run.attempts, requests.select(which).rows),
            requests.select(which),
            window,
            what_it_is if by == "target" else None,
            load_end=load_end,
            part=True,
            by=by,
        )
        for name, (which, by) in chosen.items()
        if which.any()
    }


def _run(run: Run, window: Window, load_end: float, warm_up: WarmUp) -> dict[str, Any]:
    head = run.head
    aborted = run.end.aborted if run.end is not None else None
    return {
        "id": head.run_id,
        "label": head.label,
        "started_at": head.started_at,
        "seed": head.seed,
        "salt": head.salt,
        "workload_hash": head.workload_hash,
        # A file name may be no text.
        "file": None if run.path is None else os.fsencode(run.path).decode("utf-8", "replace"),
        "duration_s": load_end,
        "window_s": list(window),
        "warmup": {
            "rule": warm_up.rule,
            "start_s": warm_up.start,
            "reason": warm_up.reason,
            "text": warm_up.text,
            "at_least": None if warm_up.at_least is None else asdict(warm_up.at_least),
        },
        "ended": run.end.ended if run.end is not None else "killed",
        "aborted": None if aborted is None else abort.as_json(aborted),
        "clock": head.clock,
    }


def _capacity(target: dict[str, Any]) -> Capacity | None:
    if target.get("type") == "standard":
        return None  # it has a quota, and no PTUs
    try:
        found = capacity(
            target.get("model"), target.get("ptu"), ratio=target.get("ratio"), tpm_per_ptu=target.get("tpm_per_ptu")
        )
        known = found is not None and found.tpm > 0
    except (AttributeError, TypeError):
        return None  # a head that was edited by hand
    return found if known else None


def _target(run: Run, what_it_is: Capacity | None, reasoning_tpm: float | None) -> dict[str, Any]:
    """What the head says of the target, what the answers tell of its model, and the capacity that was reckoned with."""
    target = dict.fromkeys(_TARGET) | {"api": "chat"} | run.head.target
    if target.get("simulate") is None and run.end is not None and run.end.simulated is not None:
        target["simulate"] = run.end.simulated.get("assumed")  # one that somebody else had started
    served = served_model(run, select(run.attempts, run.attempts.by_target))
    return target | {
        "model_served": served,
        **reasoning.said(run, model_served=served, reasoning_tpm=reasoning_tpm),
        "client": run.head.workload.client,
        "divert_to": run.head.divert_to,
        "divert_probe": _divert_probe(run),
        "capacity": None
        if what_it_is is None
        else {
            "tpm": what_it_is.tpm,
            "tpm_per_ptu": what_it_is.tpm_per_ptu,
            "output_weight": what_it_is.weights.output,
            "source": what_it_is.source,
        },
    }


def _divert_probe(run: Run) -> dict[str, Any] | None:
    """What the probe call to the second target found."""
    found = run.head.divert_probe
    if found is None:
        return None
    return {"status": found.get("status"), "model": found.get("model"), "left_out": reasoning.names_left_out(found)}
