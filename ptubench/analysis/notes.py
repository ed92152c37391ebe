"""What the reader should know beside the numbers: [{code, text}]. A note is no verdict."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ptubench.analysis.asked import emptied, limit_reached, shortfall
from ptubench.analysis.columns import Run, select
from ptubench.analysis.metrics import served_model
from ptubench.analysis.rates import Window
from ptubench.analysis.requests import Requests
from ptubench.azure.cloud import CLOUDS
from ptubench.ptu import catalogue
from ptubench.ptu.capacity import Capacity
from ptubench.record import Resource
from ptubench.units import number_text, seconds_text, share_text

_PTU_TYPES = ("global", "datazone", "regional")
_ALL_OF_IT = 0.95
_BUSY = 0.05
_FULL = 1.02
_SAID_SHARE = 0.01
_SAID_TOKENS = 10


def notes(
    run: Run, requests: Requests, metrics: dict[str, Any], *, window: Window, capacity: Capacity | None
) -> list[dict[str, str]]:
    """All notes on a run, given its metrics and the requests that were offered in its window."""
    found = (
        *(("warning", text) for text in run.head.warnings),
        *_of_the_run(run, window),
        *_of_sizes(requests, metrics["asked"]),
        *_of_usage(run, metrics, capacity),
        *_of_capacity(run, metrics, window=window, capacity=capacity),
        *_of_who_answered(run, metrics),
        *_of_the_client(run, requests),
        *_of_azure(run, metrics),
    )
    return [{"code": code, "text": text} for code, text in found]


def _of_the_run(run: Run, window: Window) -> Iterator[tuple[str, str]]:
    if run.broken:
        yield "broken_lines", f"{_lines(run.broken)} of the run file can't be read and are left out"
    if run.end is not None:
        yield from (("problem", text) for text in run.end.problems)
        if run.end.ended in ("stopped", "aborted"):
            length = seconds_text(max(0.0, window[1] - window[0]))
            how = "stopped" if run.end.aborted is None else "aborted by a rule"
            yield "stopped", f"the run was {how}; its window is {length} long"


def _of_sizes(requests: Requests, asked: dict[str, Any]) -> Iterator[tuple[str, str]]:
    reached = limit_reached(requests)
    if reached is not None and reached >= _ALL_OF_IT:
        text = (
            f"the answers used their whole output limit (mean {number_text(asked['limit'])} tokens): what is reserved is "
            "what is used, the best case; an application with a higher limit is refused earlier; set `output_limit` to "
            "what yours sends"
        )
        yield "limit_equals_length", text
    empty, limit = emptied(requests)
    if empty:
        text = (
            f"{empty:,} answers were empty: the reasoning used the whole output limit of {number_text(limit)}; set "
            "`reasoning_tokens`, which is added to the limit"
        )
        yield "reasoning_used_limit", text
    off = shortfall(asked["prompt_tokens"])
    prompt = asked["prompt_tokens"]
    if off is not None and (abs(off) > _SAID_SHARE or abs(prompt["got"] - prompt["asked"]) > _SAID_TOKENS):
        text = (
            f"the service counts {number_text(prompt['got'])} prompt tokens a call where "
            f"{number_text(prompt['asked'])} were asked for; all figures use its count"
        )
        yield "prompt_tokens", text
    if np.any(requests.of_last("cached_asked") > 0) and asked["cached_tokens"]["got"] is None and requests.ok.any():
        text = (
            "the service does not tell how many prompt tokens came from its cache; normalized tokens count all of them "
            "as uncached"
        )
        yield "cached_unknown", text


def _of_usage(run: Run, metrics: dict[str, Any], capacity: Capacity | None) -> Iterator[tuple[str, str]]:
    unknown = metrics["tpm"]["unknown_requests"]
    if unknown:
        text = (
            f"{unknown:,} admitted attempts came without `usage` (broken and cut ones among them); their tokens are "
            "unknown and in no rate"
        )
        yield "unknown_tokens", text
    if capacity is None and run.head.target.get("kind") != "openai" and run.head.target.get("type") != "standard":
        yield (
            "no_capacity",
            f"normalized tokens and utilization need to know what the target is; {_unknown(run.head.target)}",
        )


def _unknown(target: dict[str, Any]) -> str:
    """What is missing for a capacity."""
    model = target.get("model")
    return (None if model is None else catalogue.unknown(str(model))) or "give `--model` and `--ptu`"


def _of_capacity(
    run: Run, metrics: dict[str, Any], *, window: Window, capacity: Capacity | None
) -> Iterator[tuple[str, str]]:
    """Where the capacity is not what it seems: a bucket that was idle before, or another model than was named."""
    used = metrics["tpm"]["of_published"]
    # What was spilled came without a 429, but no less from a bucket that was full.
    spilled = run.attempts.sent[run.attempts.spilled]
    firsts = {"429 came": metrics["throttled"]["first_s"], "call was spilled": min(spilled, default=None)}
    told = [(at, what) for what, at in firsts.items() if at is not None]
    first, what = min(told, default=(None, ""))
    late = first is None or first > window[0] + _BUSY * (window[1] - window[0])
    if capacity is not None and used is not None and used > _FULL and late:
        when = f"the first {what} {seconds_text(first)} into the run" if first is not None else "no 429 came"
        text = (
            f"{share_text(used)} of the published capacity was taken up: {when}, since a deployment that was idle absorbs an "
            "overload for a while; this is no rate that it sustains, so run longer (ten minutes or more) or warm up longer"
        )
        yield "idle_bucket", text
    named = catalogue.find(str(run.head.target.get("model") or ""))
    served = catalogue.find(served_model(run, select(run.attempts, run.attempts.by_target)) or "")
    if named is not None and served is not None and named.name != served.name:
        text = f"{served.name} answered where {named.name} was named: normalized tokens and utilization are reckoned as {named.name}"
        yield "other_model", text


def _of_who_answered(run: Run, metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    target, attempts = run.head.target, run.attempts
    if attempts.spilled.any() or target.get("spillover"):
        yield "spillover", "spillover is on: 429s are hidden, judge by `refused.ratio`"
    declared = target.get("ptu") is not None or target.get("type") in _PTU_TYPES
    limited = int(np.count_nonzero(attempts.limited & attempts.by_target))
    if declared and limited:
        text = (
            f"{limited:,} answers came with `x-ratelimit-*` headers: their presence suggests that the target is not a PTU "
            "deployment; see its type in the portal, or give `--type standard`"
        )
        yield "ratelimit_headers", text
    if metrics["cost"]["why"]:
        yield "no_cost", f"no cost: {metrics['cost']['why']}"


def _of_the_client(run: Run, requests: Requests) -> Iterator[tuple[str, str]]:
    """What was measured through another client than the timed one, and what can't be seen through it."""
    function = run.head.workload.client
    if function == "httpx":
        spoken = (run.head.probe or {}).get("http")
        over = f" over {spoken}" if spoken in ("HTTP/1.1", "HTTP/2") else ""
        text = f"calls went through httpx2{over}, and were stamped when it handed the bytes over, which is later than they arrived"
        if spoken == "HTTP/1.1":
            text += "; HTTP/2 takes a target that offers it over TLS, and the extra `http2` here"
        yield "httpx_client", text
    if ":" not in function:
        return
    hidden = int(np.count_nonzero(requests.of_last("retried_inside") == 1))
    text = f"measured is what an application sees through {function}, its own waits and connections included"
    if hidden:
        text += f"; it tells that it sent at least {hidden:,} calls more than once, so more was refused than `refused.ratio` says"
    else:
        text += "; what it retries without telling is in no count"
    yield "own_client", text


def _of_azure(run: Run, metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for line in run.azure:
        if isinstance(line, Resource) and line.error is not None:
            yield "resource_unknown", line.error
    before = (metrics["utilization"]["monitor"] or {}).get("before")
    if before is not None and before > _BUSY:
        text = (
            f"the deployment was busy before the load (utilization {share_text(before)} in the five minutes before it, by "
            "Azure Monitor): others use it, or an earlier run was still being served"
        )
        yield "busy_before", text
    host = _host(run.head.target.get("endpoint"))
    account = str(run.head.target.get("resource") or "").rsplit("/", 1)[-1].lower()
    if account and host.endswith(tuple(cloud.ending for cloud in CLOUDS.values())) and host.split(".")[0] != account:
        text = (
            f"the endpoint is {host} and `--resource` names the account {account}: see that they are one, since what the "
            "deployment is was asked of the account"
        )
        yield "other_account", text


def _host(endpoint: object) -> str:
    """The host of an endpoint; empty where a file that was edited by hand holds none."""
    try:
        return (urlsplit(str(endpoint)).hostname or "").lower()
    except ValueError:
        return ""


def _lines(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"line {numbers[0]:,}"
    shown = ", ".join(f"{number:,}" for number in numbers[:3])
    return f"{len(numbers):,} lines ({shown}{', …' if len(numbers) > 3 else ''})"
