"""How long a 429 asked to wait. Headers are the service's word: anything may stand in them."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str], now_unix: float) -> float | None:
    """Seconds that the service asked to wait: `retry-after-ms`, else `retry-after` in seconds or as a date.

    None where neither can be read as a time that is not in the past.
    """
    candidates: Iterable[Callable[[], float]] = (
        lambda: float(headers["retry-after-ms"]) / 1000,
        lambda: float(headers["retry-after"]),
        lambda: parsedate_to_datetime(headers["retry-after"]).astimezone(UTC).timestamp() - now_unix,
    )
    for candidate in candidates:
        try:
            seconds = candidate()
        except (KeyError, ValueError, OverflowError, TypeError, IndexError):
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None
