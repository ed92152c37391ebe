"""How far two clocks are apart, from questions and answers between them. Pure but for `read`, which asks.

A question leaves at a, by our clock; the other clock shows b; the answer is back at c. Whatever the two ways took, the
other one showed b at some moment of [a, c], so that it is ahead by b − (a + c) / 2 ± (c − a) / 2. Of several exchanges the
quickest tells most (D. L. Mills, RFC 5905, section 10: the clock filter keeps the sample of least delay).
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

_EXCHANGES = 16


class Sample(NamedTuple):
    """One exchange: readings in seconds, of our clock, the other one and ours again."""

    asked: float
    told: float
    heard: float


class Reading(NamedTuple):
    """Seconds by which another clock is ahead of ours, give or take `uncertainty`."""

    ahead: float
    uncertainty: float


def best(samples: Iterable[Sample]) -> Reading:
    """What the quickest exchange tells; at least one is needed."""
    asked, told, heard = min(samples, key=lambda sample: sample.heard - sample.asked)
    return Reading(told - (asked + heard) / 2, (heard - asked) / 2)


def between(third: Reading, ours: Reading) -> Reading:
    """How far another clock is ahead of ours, where both were compared with one of a third machine.

    Args:
        third: how far the third clock is ahead of the other one.
        ours: how far the third clock is ahead of ours.
    """
    return Reading(ours.ahead - third.ahead, ours.uncertainty + third.uncertainty)


async def read(
    ask: Callable[[], Awaitable[float]],
    *,
    clock: Callable[[], float] = time.perf_counter,
    exchanges: int = _EXCHANGES,
) -> Reading:
    """Compare our clock with the one that `ask` tells of."""
    samples = []
    for _ in range(exchanges):
        asked = clock()
        told = await ask()
        samples.append(Sample(asked, told, clock()))
    return best(samples)
