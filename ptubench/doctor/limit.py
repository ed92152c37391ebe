"""The highest load that passes: raised until one fails twice, then narrowed down. Knows nothing of what is tried."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Step = TypeVar("Step")


@dataclass(frozen=True)
class Limit(Generic[Step]):
    """What a search found."""

    best: Step | None
    """Of the highest load that passed; None when none did."""
    worst: Step | None
    """Of the lowest load that failed above it; None when the highest load of all passed, or time ran out before."""


def search(
    play: Callable[[float], Step],
    passed: Callable[[Step], bool],
    *,
    growth: Callable[[Step], float] = lambda _: 2.0,
    doubtful: Callable[[Step], bool] = lambda _: True,
    start: float,
    least: float,
    most: float,
    narrow: int,
    enough: Callable[[], bool],
) -> Limit[Step]:
    """Find the highest load that passes, within a factor of growth ** 2 ** -narrow.

    Args:
        play: tries a load.
        passed: whether it passed.
        growth: times which load is tried after one that passed.
        doubtful: whether a load that failed may have met with a hiccup of the machine, and is tried once more.
        start: the load to begin with; raised while loads pass, halved while none has.
        least: the lowest load that is tried.
        most: the highest.
        narrow: how many loads are tried between the highest that passed and the lowest that failed.
        enough: whether the time is up; asked before each try but the first.
    """
    best: tuple[float, Step] | None = None
    worst: tuple[float, Step] | None = None
    load = start
    while True:
        step = play(load)
        first = best is None and worst is None  # where nothing passes, to try all twice would take too long
        if not passed(step) and doubtful(step) and (first or best is not None) and not enough():
            step = play(load)
        if passed(step):
            best = (load, step)
        else:
            worst = (load, step)
        following = _raised(best, worst, growth, least=least, most=most)
        if following is None or enough():
            break
        load = following
    for _ in range(narrow):
        if best is None or worst is None or enough():
            break
        load = math.sqrt(best[0] * worst[0])
        step = play(load)
        best, worst = ((load, step), worst) if passed(step) else (best, (load, step))
    return Limit(best and best[1], worst and worst[1])


def _raised(
    best: tuple[float, Step] | None,
    worst: tuple[float, Step] | None,
    growth: Callable[[Step], float],
    *,
    least: float,
    most: float,
) -> float | None:
    """What to try next until there is a load that passed and one that failed; None when there is, or nothing is left."""
    if best is None and worst is not None:
        return None if worst[0] <= least else max(worst[0] / 2, least)
    if worst is None and best is not None:
        return None if best[0] >= most else min(best[0] * growth(best[1]), most)
    return None
