"""The prompt cache of a deployment: which part of a prompt was seen before.

As published (Azure AI documentation, prompt-caching, 2026-08-12): at least 1,024 tokens with an identical first
1,024, then hits in steps of 128. How long a prefix is kept is not published. Knows words, which are the tokens of a
simulated deployment; no clock: `now` is an argument.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import blake2b

FIRST = 1024
"""Tokens below which nothing is cached."""
STEP = 128

Marks = tuple[bytes, ...]
"""Digests of a prompt's first 1,024 tokens, its first 1,152 and so on."""


def marks(words: Sequence[str], *, overhead: int = 0) -> Marks:
    """The marks of a prompt. `overhead` tokens, equal for all prompts, stand before its words."""
    return tuple(_digests(words, overhead))


def _digests(words: Sequence[str], overhead: int) -> Iterator[bytes]:
    hashed = blake2b(digest_size=16)
    begin = 0
    for tokens in range(FIRST, len(words) + overhead + 1, STEP):
        end = max(begin, tokens - overhead)
        # The space after each word keeps "a b" and "ab" apart.
        hashed.update((" ".join(words[begin:end]) + " ").encode())
        yield hashed.copy().digest()
        begin = end


class PromptCache:
    """Prefixes that were seen within `ttl` seconds; the longest unused go first when there are `most` marks."""

    def __init__(self, *, ttl: float, most: int = 500_000) -> None:
        self._ttl = ttl
        self._most = most
        self._used: OrderedDict[bytes, float] = OrderedDict()  # the longest unused first

    def cached(self, prompt: Marks, now: float) -> int:
        """How many tokens of the prompt's beginning are in the cache: 0, or 1,024 and some steps."""
        known = 0
        for mark in prompt:
            if now - self._used.get(mark, float("-inf")) > self._ttl:
                break
            known += 1
        return FIRST + STEP * (known - 1) if known else 0

    def keep(self, prompt: Marks, now: float) -> None:
        """Remember a prompt that was read at `now`."""
        used = self._used
        for mark in prompt:
            used[mark] = now
            used.move_to_end(mark)
        while used and (len(used) > self._most or now - next(iter(used.values())) > self._ttl):
            used.popitem(last=False)

    def __len__(self) -> int:
        return len(self._used)
