"""The text of a request: N prompt tokens without a tokenizer.

Each word of `words.txt` is one token with its leading space in o200k_base and cl100k_base, so a text of such words,
a space before each, has as many tokens as words. A prompt is

    [shared prefix] 8 code words, words, instruction

and with the message's overhead (7 tokens: role, separators, start of the answer) its tokens are exactly the ones
asked for, if the service keeps to these encodings. Counted as overhead + whitespace-separated words it comes out lower by the number of
digit groups in the instruction (1 for lengths under 1,000, 2 under a million): a number is a token per three digits and
so is the space before it.

The code makes every prompt different within its first 8 words, so that no prompt cache answers for the service: 512 words
are 9 bits each; the first bit tells shared prefixes from prompts, the other 71 are (hash(seed, salt) + number · odd) mod
2^71, which takes no value twice. Another salt, which every run has, gives other texts.
"""

import hashlib
import itertools
from importlib import resources

import numpy as np

from ptubench.load import messages
from ptubench.load.plan import Request
from ptubench.workload.model import Workload

OVERHEAD = 7
"""Tokens of a chat prompt with one message beyond its text: 3 for the message, 1 for the role, 3 that start the answer
(OpenAI cookbook, "How to count tokens with tiktoken", 2024)."""
CODE_WORDS = 8
WORDS = tuple(
    b" " + word.encode() for word in resources.files("ptubench.load").joinpath("words.txt").read_text("ascii").split()
)
_CODE_MODULUS = 1 << 71
_SHARED = 1 << 71
_ODD = 0x4F1BBCDCBFA53E0AEB  # 2^71 / golden ratio, made odd: neighbours differ from the first word on
_POOL_WORDS = 1 << 16
_CUT = " ignore these words and write a long story of at least"
_FREE = " ignore these words and write a long story of close to"
INSTRUCTION_WORDS = tuple(sorted({*_CUT.split(), *_FREE.split(), "tokens"}))
_HEAD = b'[{"role":"user","content":"'
_TAIL = b'"}]'


def instruction(completion: int, *, cut: bool) -> tuple[bytes, int]:
    """The end of a prompt, which asks for `completion` tokens, and its own number of tokens (14 to 16).

    `cut`: the output limit ends the answer at that length, so it must not stop before; else the answer must end there by itself.
    """
    words = _CUT if cut else _FREE
    digits = str(completion)
    # One token per word, one for the space before the number, one for each three digits.
    return f"{words} {digits} tokens".encode(), len(words.split()) + 1 + -(-len(digits) // 3) + 1


class Texts:
    """What the requests of one run say. Made once per process; `messages` is called for each request."""

    def __init__(self, workload: Workload, *, seed: int, salt: str, overhead: int = OVERHEAD) -> None:
        digest = hashlib.sha512(f"{seed} {salt}".encode()).digest()
        self._overhead = overhead
        self._first_code = int.from_bytes(digest[:16])
        self._first_place = int.from_bytes(digest[16:24])
        rng = np.random.default_rng(int.from_bytes(digest[24:]))
        pool = [WORDS[number] for number in rng.integers(len(WORDS), size=_POOL_WORDS)]
        self._pool = b"".join(pool)
        self._starts = [0, *itertools.accumulate(map(len, pool))]
        files = {kind.messages.file for kind in workload.classes if kind.messages is not None}
        self._lines = {file: messages.read(file) for file in files}

    def messages(self, request: Request) -> bytes:
        """A JSON array of messages, ready to be put into a body."""
        own = request.kind.messages
        if own is not None and request.message is not None:
            return self._lines[own.file][request.message].messages
        return b"".join((_HEAD, *self._content(request), _TAIL))

    def _content(self, request: Request) -> list[bytes]:
        text: list[bytes] = []
        if request.prefix is not None and request.cached:
            text += self._unique(request.prefix, request.cached, shared=True)
        ending, tokens = b"", 0
        if request.completion is not None:
            cut = request.limit is not None and request.limit <= request.completion
            ending, tokens = instruction(request.completion, cut=cut)
        rest = (request.prompt or 0) - self._overhead - request.cached - tokens
        return [*text, *self._unique(request.index, rest, shared=False), ending]

    def _unique(self, number: int, count: int, *, shared: bool) -> list[bytes]:
        """`count` words, at least the code's, that begin with the code of `number`."""
        code = (self._first_code + number * _ODD) % _CODE_MODULUS + (_SHARED if shared else 0)
        words = [WORDS[code >> shift & 511] for shift in range(63, -1, -9)]
        left = max(count - CODE_WORDS, 0)
        place = (self._first_place + number * 40_503) % _POOL_WORDS
        while left:
            taken = min(left, _POOL_WORDS - place)
            words.append(self._pool[self._starts[place] : self._starts[place + taken]])
            left -= taken
            place = 0
        return words
