"""What each metric is for a request, or for an attempt.

NaN means that it is not defined for the request, and infinity that the request was never answered: unanswered is never fast.
"""

from collections.abc import Callable
from functools import wraps

import numpy as np

from ptubench.analysis.columns import PART, Attempts, Bools, Floats
from ptubench.analysis.requests import Requests, first_token, throttled_at

Metric = Callable[[Requests], Floats]


def _in_parts(metric: Metric) -> Metric:
    """The same, some requests at a time: what it needs on the way is several times its result."""

    @wraps(metric)
    def whole(of: Requests) -> Floats:
        if len(of) <= PART:
            return metric(of)
        values = np.empty(len(of))
        for start in range(0, len(of), PART):
            rows = slice(start, start + PART)
            values[rows] = metric(of.select(rows))
        return values

    return whole


def _since(start: Floats, event: Floats) -> Floats:
    """Time from start to the event; infinite where it never happened."""
    return np.where(np.isnan(event), np.inf, event - start)


def _where(defined: Bools, values: Floats) -> Floats:
    return np.where(defined, values, np.nan)


def _positive(values: Floats) -> Floats:
    return _where(values > 0, values)


@_in_parts
def ttft(of: Requests) -> Floats:
    """Sent to first content, of what was admitted."""
    return _where(of.admitted & of.streamed, _since(of.sent, of.first_content))


@_in_parts
def ttfo(of: Requests) -> Floats:
    """Sent to first content that is not reasoning, of what was admitted."""
    return _where(of.admitted & of.streamed, _since(of.sent, of.first_output))


@_in_parts
def ttft_scheduled(of: Requests) -> Floats:
    """Due to first content, of everything offered."""
    return _where(of.streamed, _since(of.scheduled, of.first_content))


@_in_parts
def e2e(of: Requests) -> Floats:
    """Sent to last content, of what was admitted."""
    return _where(of.admitted, np.where(of.ok, of.done - of.sent, np.inf))


@_in_parts
def e2e_scheduled(of: Requests) -> Floats:
    """Due to last content, of everything offered."""
    return np.where(of.ok, of.done - of.scheduled, np.inf)


@_in_parts
def tbt(of: Requests) -> Floats:
    """Mean time between the tokens that were shown, of answers in which it can be told."""
    visible = of.visible
    defined = of.ok & of.streamed & (of.of_last("content_events") >= 2) & (visible >= 2)
    defined &= ~of.summarized | (of.last_content > of.first_output)  # of the events some are the summary's
    return _where(defined, (of.last_content - first_token(of)) / np.where(defined, visible - 1, 1))


@_in_parts
def tps(of: Requests) -> Floats:
    """1 / TBT."""
    between = tbt(of)
    return _where(between > 0, 1 / np.where(between > 0, between, 1))


@_in_parts
def tps_e2e(of: Requests) -> Floats:
    """Completion tokens / E2E, of what was answered."""
    whole = _where(of.ok, of.done - of.sent)
    return _where(whole > 0, of.completion_tokens / np.where(whole > 0, whole, 1))


PER_REQUEST: dict[str, Metric] = {
    "ttft": ttft,
    "ttfo": ttfo,
    "ttft_scheduled": ttft_scheduled,
    "tbt": tbt,
    "tps": tps,
    "tps_e2e": tps_e2e,
    "e2e": e2e,
    "e2e_scheduled": e2e_scheduled,
    "lag": _in_parts(lambda of: np.maximum(of.of_first("taken") - of.scheduled, 0)),
    "lane_wait": _in_parts(lambda of: _positive(of.of_first("lane_wait"))),
    "waited": lambda of: of.waited,
    "prompt_tokens": _in_parts(lambda of: _where(of.ok, of.of_last("prompt_tokens"))),
    "completion_tokens": _in_parts(lambda of: _where(of.ok, of.completion_tokens)),
}
"""One value per offered request."""

OURS = ("lag", "lane_wait", "waited")
"""What we did with a request, whoever answered it; the others are how it was answered."""

PER_ATTEMPT: dict[str, Callable[[Attempts], Floats]] = {
    "connect": lambda of: of.connect_s,
    "retry_after": lambda of: of.retry_after,
    "reject": lambda of: throttled_at(of) - of.sent,
}
"""One value per attempt of an offered request."""


def met(of: Requests, limits: dict[str, float | None]) -> Bools:
    """Which requests met all of an SLO {"ttft": seconds or None, "e2e": …}; what was never answered does not."""
    good = of.ok
    for name, limit in limits.items():
        if limit is not None:
            good = good & (PER_REQUEST[name](of) <= limit)
    return good
