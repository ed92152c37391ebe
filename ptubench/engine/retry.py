"""What the official Python client does after an attempt: send it again and when, leave it, or give up.

The decisions and the numbers are those of openai 3.54.0, `_base_client.py` (`_should_retry`, `_calculate_retry_timeout`,
`request`), where they are the same for every service. Pure: what the wall clock reads and the luck of the draw come in.
"""

import math
import random
from typing import NamedTuple

from ptubench import waits
from ptubench.record import Attempt
from ptubench.workload.model import Throttling

LONGEST_WAIT = 120.0
"""Seconds. The client waits as long as it is asked to, up to this; asked for more it does not retry at all."""
FIRST_BACKOFF, MOST_BACKOFF, JITTER = 0.5, 8.0, 0.25
"""Seconds of its own wait after the first attempt, doubled after each further one up to the most, less up to a quarter."""
_STATUSES = (408, 409, 429)
"""Retried, as everything from 500 on is."""


class Next(NamedTuple):
    """What comes after an attempt."""

    wait: float | None
    """Seconds until the next attempt; None for none."""
    gave_up: bool = False
    """It would have been retried, but a limit forbade it."""


LEAVE = Next(None)
GIVE_UP = Next(None, gave_up=True)


def after(attempt: Attempt, policy: Throttling, *, now_unix: float, draw: float) -> Next:
    """The client's decision after an attempt whose body had not begun, under `max_retries` and `max_wait`.

    Args:
        attempt: how it ended; its number counts the retries before it.
        policy: the limits.
        now_unix: seconds since the epoch, for a wait that is given as a date.
        draw: the luck of the jitter, in [0, 1).
    """
    if not _retryable(attempt):
        return LEAVE
    named = None if attempt.status is None else waits.asked(attempt.headers, now_unix)
    if named is not None and named > LONGEST_WAIT:
        return GIVE_UP
    # Nothing named, 0, the past, or no sense at all: the client's own wait.
    wait = named if named is not None and 0 < named <= LONGEST_WAIT else _backoff(attempt.attempt, draw)
    late = policy.max_wait is not None and wait > policy.max_wait
    return GIVE_UP if late or attempt.attempt >= policy.max_retries else Next(wait)


def is_last(attempt: Attempt, policy: Throttling) -> bool:
    """Whether no further attempt follows one, as its record tells; that of a run that was stopped meanwhile may not."""
    if policy.on_429 == "divert":
        return attempt.diverted or attempt.cut or attempt.status != 429
    return policy.on_429 == "none" or attempt.gave_up or not _retryable(attempt)


def jitter(seed: int, index: int, attempt: int) -> float:
    """The luck of one attempt of one request, in [0, 1): the same for any number of workers."""
    return random.Random(f"{seed} {index} {attempt}").random()


def _retryable(attempt: Attempt) -> bool:
    """Whether the client retries such an end at all, whatever wait was named."""
    if attempt.cut:
        return False
    if attempt.status is None:  # a timeout or a broken connection before the status line was there
        return attempt.failure not in (None, "client_error") and attempt.content_events == 0
    if 200 <= attempt.status < 300:
        return False  # its body has begun, however it ended
    said = attempt.headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return attempt.status in _STATUSES or attempt.status >= 500


def _backoff(retries: int, draw: float) -> float:
    """Seconds that the client waits when it is told nothing, after so many retries."""
    return min(FIRST_BACKOFF * math.ldexp(1.0, min(retries, 1000)), MOST_BACKOFF) * (1 - JITTER * draw)
