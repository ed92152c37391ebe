"""How long a service asked to wait, as the official client reads it. Headers are the service's word: anything may stand in them."""

import math
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz

LONGEST = 1e9
"""Seconds: thirty years. A server may name any number, and sums and timers must hold it."""
LANE_WAIT = 1.0
"""Seconds that a lane of a closed loop waits after a 429 which names no time of its own, and from one failure to the next."""
_INFINITIES = ("inf", "+inf", "infinity", "+infinity")


def asked(headers: Mapping[str, str], now_unix: float) -> float | None:
    """Seconds as they stand there: `retry-after-ms`, else `retry-after` in seconds or as a date; None where neither can be read.

    Any number goes: a date in the past is negative, infinity is a wait too long to count, and NaN is no wait at all.
    After `_parse_retry_after_header` of openai 3.54.0, `_base_client.py`: a number in `retry-after-ms` counts even where
    it makes no sense, and an infinity that is spelt out is malformed while a number too large for a float is not.
    """
    for name, scale in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            number = float(headers[name])
        except (KeyError, ValueError):
            continue
        spelt_out = number == math.inf and headers[name].strip().lower() in _INFINITIES
        return math.nan if spelt_out else number / scale
    try:
        date = parsedate_tz(headers.get("retry-after", ""))
        return None if date is None else mktime_tz(date) - now_unix
    except (TypeError, ValueError, OverflowError, OSError, IndexError):
        return None


def retry_after(headers: Mapping[str, str], now_unix: float) -> float | None:
    """Seconds that the service asked to wait, `LONGEST` at most; None where it asked for none, or one past or not finite."""
    seconds = asked(headers, now_unix)
    return min(seconds, LONGEST) if seconds is not None and math.isfinite(seconds) and seconds >= 0 else None
