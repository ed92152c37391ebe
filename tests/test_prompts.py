"""Prompts: exact lengths without a tokenizer, and no two that begin alike."""

import json
import re
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.load import prompts
from ptubench.load.plan import Request
from ptubench.load.prompts import Texts
from ptubench.workload.model import Class, ClosedLoop, Messages, Workload

WORKLOAD = Workload(name="test", classes=(Class(),), load=ClosedLoop(concurrency=1), duration=60.0, warmup=6.0)
REQUEST = Request(
    index=0, due=None, kind=Class(), prompt=100, cached=0, prefix=None, completion=200, limit=200, message=None
)
TEXTS = Texts(WORKLOAD, seed=0, salt="salt")


def content(texts=TEXTS, **changes):
    (message,) = json.loads(texts.messages(msgspec.structs.replace(REQUEST, **changes)))
    assert message["role"] == "user"
    return message["content"]


def tokens(text):
    """Tokens in o200k_base and cl100k_base of a text of our words: each with its space is one, and so are the
    space before a number and each three of its digits."""
    parts = re.findall(r" (?=\d)|\d{1,3}| [a-z]+", text)
    assert "".join(parts) == text
    return len(parts)


def test_the_words_are_512_short_plain_ones():
    assert len(set(prompts.WORDS)) == 512
    assert all(re.fullmatch(rb" [a-z]{3,10}", word) for word in prompts.WORDS)


@given(prompt=st.integers(32, 3000), completion=st.integers(1, 10**6 - 1), limit=st.none() | st.integers(1, 10**6))
def test_a_prompt_has_exactly_the_tokens_asked_for(prompt, completion, limit):
    text = content(prompt=prompt, completion=completion, limit=limit)

    assert tokens(text) + prompts.OVERHEAD == prompt
    assert 1 <= prompt - prompts.OVERHEAD - len(text.split()) <= 2  # counted as words: a number is one of them


@pytest.mark.parametrize("prompt", [65_000, 65_536, 70_000, 200_000])
def test_a_prompt_longer_than_the_pool_of_words_is_exact_too(prompt):
    assert tokens(content(prompt=prompt)) + prompts.OVERHEAD == prompt


def test_another_overhead_is_taken_off_the_text():
    assert tokens(content(Texts(WORKLOAD, seed=0, salt="salt", overhead=12))) == 88


@given(completion=st.integers(1, 10**6))
def test_the_length_asked_for_can_be_read_from_the_prompt(completion):
    assert re.search(r"(\d+) tokens", content(completion=completion))[1] == str(completion)


def test_an_answer_that_the_limit_does_not_end_is_asked_to_end_by_itself():
    assert content(limit=200).endswith("at least 200 tokens")
    assert content(limit=1200).endswith("close to 200 tokens")
    assert content(limit=None).endswith("close to 200 tokens")


def test_no_two_prompts_of_a_run_have_the_same_first_words():
    codes = {tuple(content(index=index, prompt=40).split()[:8]) for index in range(5000)}

    assert len(codes) == 5000


@given(numbers=st.lists(st.integers(0, 2**40), min_size=2, max_size=2, unique=True), salt=st.text(max_size=5))
def test_the_code_takes_no_value_twice(numbers, salt):
    texts = Texts(WORKLOAD, seed=0, salt=salt)
    first, second = (content(texts, index=index).split()[:8] for index in numbers)

    assert first != second


def test_a_shared_prefix_is_no_prompt_of_its_own():
    prefixes = {tuple(content(prompt=3000, cached=2048, prefix=k).split()[:8]) for k in range(500)}
    unshared = {tuple(content(index=index).split()[:8]) for index in range(500)}

    assert len(prefixes) == 500
    assert not prefixes & unshared


@given(seed=st.integers(0, 9), salts=st.lists(st.text(max_size=8), min_size=2, max_size=2, unique=True))
def test_another_salt_gives_other_texts_and_the_same_salt_the_same(seed, salts):
    one, other = (Texts(WORKLOAD, seed=seed, salt=salt) for salt in salts)

    assert content(one).split()[:8] != content(other).split()[:8]
    assert content(one) == content(Texts(WORKLOAD, seed=seed, salt=salts[0]))


def test_neighbours_differ_from_the_first_word_on():
    firsts = [content(index=index).split()[0] for index in range(100)]

    assert all(one != other for one, other in pairwise(firsts))


@given(cached=st.integers(1024, 5000), room=st.integers(32, 500))
def test_requests_with_a_prefix_share_its_tokens_and_nothing_behind(cached, room):
    one, other = (content(index=i, prompt=cached + room, cached=cached, prefix=3).split() for i in (1, 2))

    assert one[:cached] == other[:cached]
    assert one[cached : cached + 8] != other[cached : cached + 8]
    assert len(one) == len(other) == cached + room - prompts.OVERHEAD - 1


def test_a_shorter_prefix_is_the_beginning_of_a_longer_one():
    short, long = (content(prompt=8000, cached=cached, prefix=0).split() for cached in (1024, 4096))

    assert short[:1024] == long[:1024]


def test_own_messages_are_sent_as_they_are(tmp_path):
    own = [
        {"role": "system", "content": "Sé breve. 🙂"},
        {"role": "user", "content": [{"type": "text", "text": "¿Y?"}]},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"messages": own, "max_tokens": 5}) + "\n", encoding="utf-8")
    kind = Class(messages=Messages(file=str(path)))
    texts = Texts(msgspec.structs.replace(WORKLOAD, classes=(kind,)), seed=0, salt="salt")

    sent = texts.messages(msgspec.structs.replace(REQUEST, kind=kind, prompt=None, completion=None, message=0))

    assert json.loads(sent) == own
