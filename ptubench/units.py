"""Text to numbers and back: "45/min", "800ms", "1%", "200k".

Inside, every time is in seconds, every rate per second and every share in 0…1. A text that is not
understood raises ValueError with the way out; the caller adds the place.
"""

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PERIODS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "hour": 3600.0}
_SCALES = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}
_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_DURATION_PART = re.compile(rf"{_NUMBER}(ms|s|m|h|d)")
_RATE = re.compile(rf"{_NUMBER}\s*([kM]?)\s*/\s*([a-z]+)")
_SHARE = re.compile(rf"{_NUMBER}\s*(%?)")
_COUNT = re.compile(rf"{_NUMBER}\s*([kMB]?)")


def duration(text: object) -> float:
    """Seconds of "30s", "10m", "1h30m", "800ms". A bare number is an error: of what?"""
    if isinstance(text, str):
        compact = text.replace(" ", "")
        parts = _DURATION_PART.findall(compact)
        if parts and "".join(number + unit for number, unit in parts) == compact:
            return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
    raise ValueError(f"`{text}` is not a duration; write a number with a unit, such as 30s, 10m, 1h30m or 800ms")


def rate(text: object) -> float:
    """Events a second of "45/min", "2/s", "1k/h". A bare number is an error: per what?"""
    match = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[3] not in _PERIODS:
        raise ValueError(f"`{text}` is not a rate; write a number per period, such as 45/min, 2/s or 3k/h")
    return float(match[1]) * _SCALES[match[2]] / _PERIODS[match[3]]


def share(text: object) -> float:
    """A share in 0…1 of "1%", "0.01" or 0.01. Above 1 only with a percent sign ("110%")."""
    match = _SHARE.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    if match is not None:
        value = float(match[1])
        if match[2]:
            return value / 100
        if value <= 1:
            return value
    raise ValueError(f"`{text}` is not a share; write a percentage such as 1%, or a number from 0 to 1")


def count(text: object) -> int:
    """A whole number of "200", "200k", "1.5M", "2B" or 200."""
    match = _COUNT.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    if match is not None:
        value = float(match[1]) * _SCALES[match[2]]
        if value == int(value):
            return int(value)
    raise ValueError(f"`{text}` is not a whole number; write one such as 200, 200k, 1.5M or 2B")


def seconds_text(seconds: float | None, *, missing: str = "–") -> str:
    """A time at three significant digits with its unit: "87.5 ms", "1.24 s", "12.3 s"."""
    if seconds is None:
        return missing
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{_three(seconds * 1e3)} ms"
    return f"{_three(seconds)} s"


def duration_text(seconds: float) -> str:
    """A duration as a person would type it: "30s", "10m", "1h30m", "2.5s"."""
    if seconds < 60 or seconds != round(seconds):
        return f"{seconds:g}s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if n)


def rate_text(per_second: float) -> str:
    """A rate per minute, as in tables: "45/min"."""
    return f"{number_text(per_second * 60)}/min"


def share_text(value: float | None, *, missing: str = "–") -> str:
    """A share as a percentage with sensible digits: "0.42 %", "8.7 %", "87 %"."""
    if value is None:
        return missing
    percent = value * 100
    if percent == 0 or abs(percent) >= 99.95:
        return f"{percent:.0f} %"
    return f"{percent:.2f} %" if abs(percent) < 1 else f"{percent:.1f} %"


def number_text(value: float | None, *, missing: str = "–") -> str:
    """A count or amount with thousands separators: "12,345", "45.2", "0.318"."""
    if value is None or not math.isfinite(value):
        return missing
    if value == int(value) or abs(value) >= 999.5:
        return f"{value:,.0f}"
    return _three(value)


def size_text(size: int) -> str:
    """The size of a file, in powers of 1,000: "850 bytes", "114 kB", "2.41 MB"."""
    if size < 1000:
        return f"{size} bytes"
    return f"{_three(size / 1e3)} kB" if size < 999_500 else f"{_three(size / 1e6)} MB"


def _three(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")  # 9.999 is 10.0, and not 10.00
    digits = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{digits}f}"
