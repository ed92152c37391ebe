"""Numbers over time as one row of block characters.

A series holds one number per step of time, None where nothing was measured. Steps are put together in equal
columns, so that the heights of one row can be compared. Knows neither runs nor colours.
"""

from collections.abc import Sequence
from math import ceil

_BLOCKS = " ▁▂▃▄▅▆▇█"


def steps_per_column(steps: int, width: int) -> int:
    """The smallest whole number of steps per column with which `steps` fit into `width` columns."""
    return max(1, ceil(steps / max(1, width)))


def columns(series: Sequence[float | None], width: int) -> list[float | None]:
    """Means of `series` over equal stretches, at most `width` of them; the last one may be shorter."""
    step = steps_per_column(len(series), width)
    return [_mean(series[start : start + step]) for start in range(0, len(series), step)]


def top(values: Sequence[float | None]) -> float:
    """The largest value; 0 where there is none."""
    return max((value for value in values if value is not None), default=0.0)


def bar(values: Sequence[float | None], full: float) -> str:
    """One character per value: `full` is full height, blank is zero or nothing, and a little is never blank."""
    return "".join(_BLOCKS[min(8, ceil(value / full * 8))] if value and full else " " for value in values)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of what was measured."""
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None
