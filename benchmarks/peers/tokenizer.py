"""A tokenizer of whole words in the form that aiperf and guidellm read: run by the Python of their environment.

ENVIRONMENT/bin/python benchmarks/peers/tokenizer.py FOLDER
"""

import sys
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORDS = Path(__file__).parents[2] / "ptubench" / "load" / "words.txt"
UNKNOWN = "[UNK]"
ANSWERED = ("capacity", "and", "the", "of", "latency", "tokens", "each", "measured")
"""The words of the stub."""


def main() -> None:
    """Write it."""
    words = dict.fromkeys((UNKNOWN, *ANSWERED, *WORDS.read_text(encoding="ascii").split()))
    whole = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=UNKNOWN))
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=whole, unk_token=UNKNOWN).save_pretrained(sys.argv[1])


if __name__ == "__main__":
    main()
