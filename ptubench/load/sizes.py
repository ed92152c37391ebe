"""Random draws keyed by index: the value of request i depends on seed, stream and i alone.

Drawn in blocks of 4,096, each from its own seed sequence, so a closed loop of unknown length and any number of workers
agree on every request without talking to each other, and no draw depends on how many came before.
"""

import numpy as np
from numpy.typing import NDArray

from ptubench.distributions import draw
from ptubench.workload.model import Sizes

BLOCK = 4096

ARRIVALS, CLASSES, PREFIXES, MESSAGES = range(4)
"""Streams of their own: changing one distribution leaves all other draws as they were."""
_FIRST_SIZES = 16
PROMPT, COMPLETION, LIMIT = range(3)


def generator(seed: int, stream: int, block: int = 0) -> np.random.Generator:
    """The random numbers of one block of one stream."""
    # A spawn key, and not more entropy words: those run together for seeds beyond 32 bits.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, block)))


def size_stream(number: int, what: int) -> int:
    """The stream of PROMPT, COMPLETION or LIMIT sizes of the mix's class `number`."""
    return _FIRST_SIZES + 3 * number + what


def size_block(sizes: Sizes, *, seed: int, stream: int, block: int, least: int = 1) -> NDArray[np.float64]:
    """Sizes in tokens of requests block · BLOCK to (block + 1) · BLOCK − 1."""
    return draw(sizes, generator(seed, stream, block), BLOCK, least=least)
