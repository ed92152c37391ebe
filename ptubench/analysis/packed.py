"""Columns in few bytes: whole numbers as narrow as they fit, and one value where all are the same.

Nothing is lost by it. Tokens are whole numbers, and so are times: run files tell them in microseconds. -1 stands for
what never happened or was not told, so that what is below zero is kept one lower. Knows no run.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NONE = -1
_WIDTHS: tuple[np.dtype[np.signedinteger[Any]], ...] = tuple(np.dtype(kind) for kind in ("i1", "i2", "i4", "i8"))


def whole(values: Floats) -> Ints:
    """As it is kept: whole numbers of which any may be NaN."""
    kept = values - (values < 0)
    kept[np.isnan(kept)] = _NONE
    return kept.astype(np.int64)


def told(numbers: NDArray[Any]) -> Floats:
    """What `whole` was given: NaN for what there was not."""
    if numbers.strides == (0,) and len(numbers):
        return np.broadcast_to(told(numbers[:1].copy())[0], len(numbers))
    values = numbers.astype(np.float64)
    values += numbers < _NONE
    values[numbers == _NONE] = np.nan
    return values


def microseconds(seconds: Floats) -> Floats:
    """Whole microseconds, NaN where there are none; exact up to 70 years."""
    scaled = seconds * 1e6
    return np.rint(scaled, out=scaled)


class Grown:
    """A column that grows in one buffer: a million small arrays, joined in the end, would take the memory twice.

    As long as all its values are the same, it holds one: half of the columns of most runs tell the same of every attempt.
    Whole numbers are as wide as the largest of them needs.

    Args:
        kind: what is added: whole numbers, truths, or floats without NaN.
    """

    def __init__(self, kind: np.dtype[Any]) -> None:
        self._kind = _WIDTHS[0] if kind.kind == "i" else kind
        self._value: Any = None
        self._count = 0
        self._buffer: bytearray | None = None

    def add(self, part: NDArray[Any]) -> None:
        """Append some values."""
        if not len(part):
            return
        self._value = part[0] if self._value is None else self._value
        if self._buffer is None and not np.all(part == self._value):
            self._buffer = bytearray()
            self._append(self._same(self._count))
        if self._buffer is not None:
            self._append(part)
        self._count += len(part)

    def values(self) -> NDArray[Any]:
        """All of it; not to be written to where it is one value."""
        if self._buffer is None:
            return self._same(self._count)
        return np.frombuffer(self._buffer, dtype=self._kind)

    def _same(self, count: int) -> NDArray[Any]:
        value = np.zeros((), self._kind) if self._value is None else np.array(self._value)
        return np.broadcast_to(value, count)

    def _append(self, part: NDArray[Any]) -> None:
        assert self._buffer is not None  # noqa: S101 - its callers have made it
        if self._kind.kind == "i" and len(part):
            needed = _width(int(part.min()), int(part.max()))
            if needed.itemsize > self._kind.itemsize:
                self._buffer = bytearray(self.values().astype(needed).data)
                self._kind = needed
        self._buffer += part.astype(self._kind).data


def _width(low: int, high: int) -> np.dtype[Any]:
    """The narrowest whole numbers from `low` to `high`."""
    bits = max(high, ~low).bit_length()
    return next(kind for kind in _WIDTHS if bits < 8 * kind.itemsize)
