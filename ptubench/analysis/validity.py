"""Whether the *client* measured what it was asked to: valid, degraded or invalid, with reasons in words.

What the service did is a result and never a verdict. Each reason says what was seen, what it means and what to
try. The limits are one table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptubench.analysis.asked import cached_off, shortfall
from ptubench.analysis.azure import changes
from ptubench.analysis.columns import CUT, DROPPED, Run
from ptubench.analysis.limits import NEVER, Client, Signal, clean, clocks, connections, lateness, nodes
from ptubench.analysis.monitoring import foreign
from ptubench.analysis.requests import Requests
from ptubench.analysis.steady import WarmUp
from ptubench.units import number_text, share_text

_ALWAYS = -1.0
_NAMED = 6
_UNSETTLED = ("never_steady", "not_saturated")
"""Reasons for a window that say that it is not the one that was asked for."""


def assess(
    run: Run,
    requests: Requests,
    *,
    of: Client,
    asked: dict[str, Any],
    typical: float | None,
    answers: int,
    compared: dict[str, Any] | None,
    warm_up: WarmUp,
) -> dict[str, Any]:
    """{verdict, reasons[{code, level, text}], loop_lag{p50, p99}, cpu_share, workers, nodes[…]}.

    Args:
        run: the whole file.
        requests: those offered in the window.
        of: what the generator says of itself.
        asked: `asked.asked` of these requests.
        typical: their median TTFT (E2E where nothing streams), the measure of what lateness matters.
        answers: how many of their attempts got any HTTP answer.
        compared: Azure Monitor's figures beside ours (`monitoring.comparison`).
        warm_up: where the window begins, and why.
    """
    signals = [
        *lateness(run, requests, of, typical),
        *clocks(run, typical),
        *_losses(requests),
        *connections(run, requests, typical),
        *_sizes(asked),
        *_service(run, offered=len(requests), answers=answers),
        *_azure(run, compared),
        *(Signal(code, 1, 0, NEVER, warm_up.text) for code in _UNSETTLED if warm_up.reason == code),
        *_end(run),
    ]
    reasons = []
    for signal in signals:
        if signal.measured is not None and signal.measured > min(signal.degraded, signal.invalid):
            level = "invalid" if signal.measured > signal.invalid else "degraded"
            reasons.append({"code": signal.code, "level": level, "text": signal.text})
    levels = {reason["level"] for reason in reasons}
    return {
        "verdict": next((level for level in ("invalid", "degraded") if level in levels), "valid"),
        "reasons": reasons,
        "loop_lag": {"p50": of.loop_lag_p50, "p99": of.loop_lag_p99},
        "cpu_share": of.cpu_share,
        "workers": run.head.workers,
        "nodes": nodes(run),
    }


def _losses(requests: Requests) -> list[Signal]:
    total = max(len(requests), 1)
    dropped = int(np.count_nonzero(requests.outcome == DROPPED))
    cut = int(np.count_nonzero((requests.outcome == CUT) & (requests.last >= 0)))  # the others went with their worker
    return [
        Signal(
            "dropped",
            dropped / total,
            0.0,
            0.05,
            f"{dropped:,} of {total:,} requests were never sent because `max_in_flight` was reached: it limits the "
            "load, which was lower than asked; raise `max_in_flight` or lower the rate",
        ),
        Signal(
            "cut",
            cut / total,
            0.0,
            0.05,
            f"{cut:,} of {total:,} requests were still in flight when the run ended and count as unanswered; give them "
            "a longer `drain`",
        ),
    ]


def _sizes(asked: dict[str, Any]) -> list[Signal]:
    prompt, completion = asked["prompt_tokens"], asked["completion_tokens"]
    short, off, cached = shortfall(completion), shortfall(prompt), cached_off(asked)
    return [
        Signal(
            "short_answers",
            short,
            0.1,
            0.5,
            f"answers have {number_text(completion['got'])} tokens where {number_text(completion['asked'])} were asked "
            "for: latency and capacity are those of another workload; raise `output_limit`, or set `completion_tokens` "
            "to what the model gives",
        ),
        Signal(
            "prompt_tokens",
            None if off is None else abs(off),
            0.05,
            0.25,
            f"prompts have {number_text(prompt['got'])} tokens by the service's count where "
            f"{number_text(prompt['asked'])} were asked for: the model reads the words otherwise; set `prompt_tokens` so "
            "that the count comes out right",
        ),
        Signal(
            "cached_share",
            cached,
            0.05,
            0.25,
            f"{number_text(asked['cached_tokens']['got'])} prompt tokens a call came from the cache where "
            f"{number_text(asked['cached_tokens']['asked'])} were asked for: capacity is that of another workload; warm "
            "up longer, use fewer `prefixes`, or send with a new salt",
        ),
    ]


def _service(run: Run, *, offered: int, answers: int) -> list[Signal]:
    served = [run.models[code] for code in np.unique(run.attempts.model[run.attempts.by_target]) if code]
    return [
        Signal(
            "model_changed",
            len(served),
            1,
            NEVER,
            f"the answers name {len(served)} models ({_some(served)}): the numbers mix them; see what the deployment "
            "was changed to and run again",
        ),
        Signal(
            "no_answer",
            None if answers else 1,
            NEVER,
            _ALWAYS,
            "no request in the window got any HTTP answer: nothing was measured; see the failures by kind"
            if offered
            else "no request was due in the window: nothing was measured; give the run a longer duration or a higher "
            "rate",
        ),
    ]


def _azure(run: Run, compared: dict[str, Any] | None) -> list[Signal]:
    row, changed = foreign(compared), changes(run)
    resized = "capacity" in changed or "sku" in changed
    told = "; ".join(
        f"{name.replace('_', ' ')} {clean(str(before))} before the load, {clean(str(after))} after it"
        for name, (before, after) in changed.items()
    )
    return [
        Signal(
            "foreign_traffic",
            1 if row is not None else None,
            0,
            NEVER,
            f"Azure counted {row['azure']:,.0f} requests, we sent {row['ours']:,}: others used the deployment, and a part of "
            "what was measured is theirs; run again when nobody else does"
            if row is not None
            else "",
        ),
        Signal(
            "resized" if resized else "resource_changed",
            len(changed),
            0,
            NEVER,
            f"the deployment was changed during the run ({told}): the numbers mix both; run again",
        ),
    ]


def _end(run: Run) -> list[Signal]:
    lost = run.end.lost_workers if run.end is not None else ()
    ended = run.end.ended if run.end is not None else "killed"
    cause = "their logs and the scheduler's" if run.head.nodes else "what ended them (memory?)"
    return [
        Signal(
            "lost_worker",
            len(lost),
            NEVER,
            0,
            f"{len(lost)} of {run.head.workers} workers ended in mid-run{_where(run, lost)}: {_missing(run)} missing; see "
            f"{cause}, and run again",
        ),
        Signal(
            "lost",
            1 if ended == "lost" and not lost else None,
            NEVER,
            _ALWAYS,
            "the run was lost before its end: records are missing; see the notes, mend it and run again",
        ),
        Signal(
            "killed",
            1 if ended == "killed" else None,
            NEVER,
            _ALWAYS,
            "the run file has no end: the run was killed, and what was in flight then left no record, so that the slow "
            "ones are missing; run again (Ctrl-C ends a run in good order)",
        ),
    ]


def _where(run: Run, lost: tuple[int, ...]) -> str:
    """The machines of lost workers, where they have names."""
    names = [node.name for node in run.head.nodes if node.worker in lost]
    return f" ({_some(names)})" if names else ""


def _some(names: Sequence[str]) -> str:
    """The first of some names, safe to show."""
    return ", ".join(clean(name) for name in names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _missing(run: Run) -> str:
    """What lost workers left out."""
    count = run.end.missing if run.end is not None else 0
    if not count:
        return "a part of the load and of the records is"
    due = int(np.count_nonzero(run.drops.lost))
    if not run.head.planned:  # a closed loop
        return f"what their lanes had under way ({due:,}) and would still have asked is"
    share = share_text(count / run.head.planned)
    return f"{count:,} of their requests, {share} of the plan, are without a record ({due:,} of them were due by then): a part of the load is"
