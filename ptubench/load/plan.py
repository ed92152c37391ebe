"""The plan of a run: request i, when it is due and how large it is, from workload and seed alone.

Knows no text (`prompts`), no clock and no worker: whoever asks for request i gets the same answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from ptubench.distributions import LEAST_CACHED, LEAST_PROMPT
from ptubench.errors import UsageError
from ptubench.load import arrivals, messages, sizes, traces
from ptubench.load.sizes import BLOCK, generator
from ptubench.workload.model import Class, OpenLoop, Sizes, Trace, Workload

Floats = NDArray[np.float64]


class Request(msgspec.Struct, frozen=True, gc=False):
    """One logical call. Sizes in tokens; None where nothing is asked or sent."""

    index: int
    due: float | None
    """Seconds from the start of the run; None in a closed loop."""
    kind: Class
    prompt: int | None
    """None with the user's own messages, whose tokens nobody has counted."""
    cached: int
    """Leading tokens of the prompt's text that it shares with others; part of `prompt`."""
    prefix: int | None
    """Which shared prefix, counted over all classes of the mix; None without."""
    completion: int | None
    limit: int | None
    """The output limit to send; None for none."""
    message: int | None
    """Which line of the class's messages file, from 0; None for a synthetic prompt."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Some consecutive requests as arrays of one length; NaN where a request has None."""

    kinds: NDArray[np.int64]
    """Position in the workload's classes."""
    prompt: Floats
    cached: Floats
    prefix: Floats
    completion: Floats
    limit: Floats
    message: Floats


class Plan:
    """All requests of a run. `request` is cheap enough for the hot path: draws are made 4,096 at a time and kept."""

    def __init__(
        self,
        workload: Workload,
        *,
        offsets: Floats | None,
        trace: traces.Entries | None,
        lines: Sequence[tuple[messages.Line, ...]],
        least_limit: int = 1,
    ) -> None:
        self.workload = workload
        self.offsets = offsets
        """When each request is due, ascending, in seconds from the start; None for a closed loop."""
        self.raised = 0 if trace is None else trace.raised
        """Prompts of a trace that were shorter than a prompt can be, and were raised to 32 tokens."""
        self._trace = trace
        self._least_limit = least_limit
        self.lines = lines
        """Of each class its messages file; empty for synthetic prompts."""
        # Lanes of a closed loop drift apart, so that more than one block is in use; an open loop goes through them in order.
        self._table = lru_cache(maxsize=32 if offsets is None else 4)(self._draw_table)

    @property
    def count(self) -> int | None:
        """Requests of the whole run; None for a closed loop."""
        return None if self.offsets is None else len(self.offsets)

    def request(self, index: int) -> Request:
        """Request `index`, from 0. In a closed loop any index is good, else those below `count`."""
        block, at = divmod(index, BLOCK)
        kinds, table = self._table(block)
        prompt, cached, prefix, completion, limit, message = [
            None if value != value else int(value)  # noqa: PLR0124 (NaN is what differs from itself)
            for value in table[at].tolist()
        ]
        due = None if self.offsets is None else float(self.offsets[index])
        kind = self.workload.classes[kinds[at]]
        return Request(index, due, kind, prompt, cached or 0, prefix, completion, limit, message)

    def in_window(self, start: float, end: float) -> int | None:
        """How many requests are due in [start, end) seconds; None for a closed loop."""
        if self.offsets is None:
            return None
        first, last = np.searchsorted(self.offsets, [start, end])
        return int(last - first)

    def columns(self, block: int) -> Columns:
        """Requests block · BLOCK and the next BLOCK − 1, fewer where the plan ends."""
        seed, classes = self.workload.seed, self.workload.classes
        length = BLOCK if self.count is None else max(0, min(BLOCK, self.count - block * BLOCK))
        kinds = np.zeros(BLOCK, np.int64)
        if len(classes) > 1:
            shares = np.cumsum([kind.weight for kind in classes])
            drawn = generator(seed, sizes.CLASSES, block).random(BLOCK) * shares[-1]
            kinds = np.searchsorted(shares[:-1], drawn, side="right")
        table = np.full((6, BLOCK), np.nan)
        for number in range(len(classes)):
            table = np.where(kinds == number, self._class_columns(number, block), table)
        return Columns(kinds[:length], *table[:, :length])

    def whole(self, *names: str) -> dict[str, Floats]:
        """These columns of all requests; not of a closed loop, which has no end."""
        blocks = [self.columns(block) for block in range(-(-(self.count or 0) // BLOCK))]
        return {name: np.concatenate([np.empty(0), *(getattr(part, name) for part in blocks)]) for name in names}

    def per_minute(self, amounts: Floats) -> Floats:
        """Sums of `amounts`, one for each request, over the minutes of the load; one under a minute is scaled to it.

        The last may be a part of a minute, so that nothing is counted twice: for totals.
        """
        due, length = self._due, self.workload.duration
        sums = np.bincount((due // 60).astype(np.int64), weights=amounts, minlength=max(1, int(np.ceil(length / 60))))
        return sums.astype(float) * max(1.0, 60 / length)

    def whole_minutes(self, amounts: Floats) -> Floats:
        """The same over full minutes, one of which is the busiest: the last is the 60 seconds before the end."""
        due, length = self._due, self.workload.duration
        last = max(0.0, length - 60)
        begin = np.append(np.arange(0.0, last, 60), last)
        sums = np.append(0.0, np.cumsum(amounts))
        edges = np.searchsorted(due, [begin, np.append(begin[:-1] + 60, np.inf)])
        whole: Floats = np.diff(sums[edges], axis=0)[0] * max(1.0, 60 / length)
        return whole

    def any_minute(self, amounts: Floats) -> Floats:
        """The same over the 60 seconds from each request on."""
        sums = np.append(0.0, np.cumsum(amounts))
        found: Floats = sums[np.searchsorted(self._due, self._due + 60)] - sums[:-1]
        return found

    @property
    def _due(self) -> Floats:
        """The offsets to the microsecond: one computed as 59.999999999999 belongs to the second minute."""
        return np.empty(0) if self.offsets is None else self.offsets.round(6)

    def _draw_table(self, block: int) -> tuple[list[int], Floats]:
        columns = self.columns(block)
        rows = (columns.prompt, columns.cached, columns.prefix, columns.completion, columns.limit, columns.message)
        return columns.kinds.tolist(), np.ascontiguousarray(np.array(rows).T)

    def _class_columns(self, number: int, block: int) -> Floats:
        """The columns of a block as if all its requests were of class `number`; shape (6, BLOCK)."""
        kind = self.workload.classes[number]
        message = self._messages(number, block)
        prompt = self._sizes(kind.prompt, number, sizes.PROMPT, block, self._least(kind))
        cached = np.full(BLOCK, float(kind.cached.tokens if kind.cached else 0))
        completion = self._sizes(kind.completion, number, sizes.COMPLETION, block)
        if self._trace is not None:
            prompt, cached, completion = self._trace_sizes(self._trace, kind, block)
        limit = completion if kind.limit is None else self._sizes(kind.limit, number, sizes.LIMIT, block)
        # An answer longer than its limit can't be had, so it is not asked for either.
        completion = np.where(limit < completion, limit, completion)
        limit = np.full(BLOCK, np.nan) if kind.unlimited else limit + kind.reasoning_tokens
        if kind.messages is not None:
            own = self._own_limits(number, message)
            completion = np.where(own < completion, own, completion)
            limit = np.where(np.isnan(own), limit, own)
        limit = np.maximum(limit, self._least_limit)  # NaN, for no limit, stays
        return np.array([prompt, cached, self._prefixes(number, block, cached), completion, limit, message])

    def _least(self, kind: Class) -> int:
        # A shared prefix is as long as it is: a prompt drawn shorter is raised to hold it and a minimal text of its own.
        return LEAST_PROMPT + (kind.cached.tokens if kind.cached else 0)

    def _sizes(self, asked: Sizes | None, number: int, what: int, block: int, least: int = 1) -> Floats:
        if asked is None:
            return np.full(BLOCK, np.nan)
        return sizes.size_block(
            asked, seed=self.workload.seed, stream=sizes.size_stream(number, what), block=block, least=least
        )

    def _trace_sizes(self, trace: traces.Entries, kind: Class, block: int) -> tuple[Floats, Floats, Floats]:
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        prompt, cached, completion = (
            _padded(column[part]) for column in (trace.prompt, trace.cached, trace.completion)
        )
        if kind.cached is not None:
            cached = np.full(BLOCK, float(kind.cached.tokens))
        cached = np.minimum(cached, prompt - LEAST_PROMPT)
        return prompt, np.where(cached >= LEAST_CACHED, cached, 0.0), completion

    def _prefixes(self, number: int, block: int, cached: Floats) -> Floats:
        """Which shared prefix each request begins with; those of the classes before come first."""
        counts = [kind.cached.prefixes if kind.cached else 1 for kind in self.workload.classes]
        drawn = generator(self.workload.seed, sizes.PREFIXES, block).integers(counts[number], size=BLOCK)
        return np.where(cached > 0, sum(counts[:number]) + drawn, np.nan)

    def _messages(self, number: int, block: int) -> Floats:
        kind = self.workload.classes[number]
        if kind.messages is None:
            return np.full(BLOCK, np.nan)
        lines = len(self.lines[number])
        if kind.messages.order == "random":
            return generator(self.workload.seed, sizes.MESSAGES, block).integers(lines, size=BLOCK).astype(float)
        return (np.arange(block * BLOCK, (block + 1) * BLOCK) % lines).astype(float)

    def _own_limits(self, number: int, message: Floats) -> Floats:
        """The limits that the lines themselves bring; a line's own wins over the workload's."""
        limits = [np.nan if line.limit is None else line.limit for line in self.lines[number]]
        own: Floats = np.array(limits, float)[message.astype(int)]
        return own


def make_plan(workload: Workload, *, least_limit: int = 1) -> Plan:
    """The plan of a workload whose stages are resolved to rates.

    Args:
        workload: as resolved.
        least_limit: the smallest output limit that the target's API accepts, in tokens; smaller ones are raised to it.

    Raises:
        UsageError: the trace or the messages can't be read, or a line has no output limit and the workload neither.
    """
    lines = [_read_messages(kind) for kind in workload.classes]
    offsets, trace = None, None
    match workload.load:
        case OpenLoop() as load:
            offsets = arrivals.offsets(load, duration=workload.duration, seed=workload.seed)
        case Trace() as load:
            trace = traces.read(load, duration=workload.duration, seed=workload.seed)
            offsets = trace.offsets
    return Plan(workload, offsets=offsets, trace=trace, lines=lines, least_limit=least_limit)


def _read_messages(kind: Class) -> tuple[messages.Line, ...]:
    if kind.messages is None:
        return ()
    lines = messages.read(kind.messages.file)
    if kind.limit is None and kind.completion is None and not kind.unlimited:
        for line in lines:
            if line.limit is None:
                raise UsageError(
                    f"{kind.messages.file}:{line.number}: no output limit; add `max_completion_tokens` to the line "
                    "or `output_limit` to the workload"
                )
    return lines


def _padded(column: Floats) -> Floats:
    return np.pad(column, (0, BLOCK - len(column)), constant_values=np.nan)
