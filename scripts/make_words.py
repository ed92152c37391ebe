r"""Make ptubench/load/words.txt: 512 common, harmless English words, each one token in every encoding given.

    python scripts/make_words.py --dictionary /usr/share/dict/words o200k_base.tiktoken cl100k_base.tiktoken \
        > ptubench/load/words.txt

A rank file is what the `tiktoken` library downloads: one token per line, as base64 of its bytes, a space and its rank.
Ranks grow as tokens get rarer, so a word's largest rank over the encodings stands in for how common it is. The dictionary
has one word per line (Debian: package wamerican). The words of the instruction of `ptubench.load.prompts` are checked too.
"""

import argparse
import base64
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from ptubench.load import prompts

COUNT = 512
SHAPE = re.compile("[a-z]{4,10}")
# Looked over by a person: what could meet a content filter in an unlucky order (people and their bodies, violence, love,
# illness, politics, religion, money troubles, breaking in), and scraps that only a dictionary calls words.
EXCLUDED = """
account anal android assert await black body break camp care cell cent char child children comb comm community cons
cont control cost country cult dating elect employ extends face fall family favor feel fore free friend friends front
fund govern government hand hard head health heart high hold hope human inter intern invest join kind land lead live
load love mark mass media member members mill mind money need network null offer parent pass password people person
personal popular poss power pres press price private process prof prom prop protect protected relations report require
self send service services sever single social spec stat state status stop strong stud students style support target
temp term terms test throw throws trans treat valid video void well women writ young
"""


def read_ranks(path: Path) -> dict[bytes, int]:
    """Token bytes to rank, from a rank file in tiktoken's format."""
    pairs = (line.split() for line in path.read_text(encoding="ascii").splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def rarity(word: str, encodings: list[Mapping[bytes, int]]) -> int | None:
    """The largest rank of `word` with its leading space; None where it is more than one token."""
    token = b" " + word.encode()
    return max(ranks[token] for ranks in encodings) if all(token in ranks for ranks in encodings) else None


def choose(dictionary: list[str], encodings: list[Mapping[bytes, int]]) -> list[str]:
    """The commonest harmless words, in alphabetical order."""
    found = {word: rarity(word, encodings) for word in set(dictionary) - set(EXCLUDED.split()) if SHAPE.fullmatch(word)}
    common = sorted((rank, word) for word, rank in found.items() if rank is not None)
    return sorted(word for _, word in common[:COUNT])


def main() -> None:
    """Write the list to standard output, or say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dictionary", type=Path, required=True, help="one word per line")
    parser.add_argument("ranks", type=Path, nargs="+", help="rank files in tiktoken's format")
    arguments = parser.parse_args()
    encodings: list[Mapping[bytes, int]] = [read_ranks(path) for path in arguments.ranks]
    split = [word for word in prompts.INSTRUCTION_WORDS if rarity(word, encodings) is None]
    if split:
        sys.exit(f"words of the instruction that are more than one token: {' '.join(split)}")
    words = choose(arguments.dictionary.read_text(encoding="utf-8").split(), encodings)
    if len(words) < COUNT:
        sys.exit(f"{arguments.dictionary}: only {len(words)} words are one token in each encoding; {COUNT} are needed")
    sys.stdout.write("\n".join(words) + "\n")


if __name__ == "__main__":
    main()
