"""The plan: request i is the same for whoever asks, and has the sizes that its class asks for."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.errors import UsageError
from ptubench.load.plan import make_plan
from ptubench.workload.model import (
    Cached,
    Class,
    ClosedLoop,
    Fixed,
    Lognormal,
    Messages,
    OpenLoop,
    Stage,
    Trace,
    Uniform,
    Workload,
)

SIZED = Class(prompt=Lognormal(mean=1000, p95=3000), completion=Uniform(min=1, max=400))
MIX = (
    msgspec.structs.replace(SIZED, name="chat", weight=3.0),
    Class(name="rag", prompt=Fixed(tokens=4000), completion=Fixed(tokens=50), cached=Cached(tokens=2048, prefixes=8)),
)


def plan(*classes, load=None, duration=600.0, seed=0):
    load = load or OpenLoop(stages=(Stage(value=10.0, seconds=duration),))
    return make_plan(
        Workload(name="test", classes=classes or (SIZED,), load=load, duration=duration, warmup=60.0, seed=seed)
    )


def requests(a_plan, count=None):
    return [a_plan.request(index) for index in range(count or a_plan.count)]


def messages_file(tmp_path, *lines):
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("load", [None, ClosedLoop(concurrency=7)])
def test_requests_are_the_same_for_any_number_of_workers(workers, load):
    whole = requests(plan(*MIX, load=load), 5000)

    shares = [plan(*MIX, load=load) for _ in range(workers)]
    split = [shares[index % workers].request(index) for index in range(5000)]

    assert split == whole


@given(seed=st.integers(0, 2**40), indexes=st.lists(st.integers(0, 300_000), min_size=1, max_size=10))
def test_a_request_does_not_depend_on_which_were_asked_before(seed, indexes):
    one = plan(*MIX, load=ClosedLoop(concurrency=2), seed=seed)
    asked = [one.request(index) for index in indexes]

    again = plan(*MIX, load=ClosedLoop(concurrency=2), seed=seed)

    assert [again.request(index) for index in reversed(indexes)] == asked[::-1]


def test_another_seed_gives_another_run():
    one, two = plan(*MIX, seed=1), plan(*MIX, seed=2)

    assert [request.prompt for request in requests(one, 100)] != [request.prompt for request in requests(two, 100)]
    assert one.request(0).due != two.request(0).due


def test_open_loop_requests_are_due_at_the_offsets():
    one = plan()

    assert [request.due for request in requests(one)] == one.offsets.tolist()
    assert one.in_window(60, 600) == int((one.offsets >= 60).sum())


def test_a_closed_loop_has_no_due_times_and_no_end():
    one = plan(load=ClosedLoop(concurrency=4))

    assert one.count is None
    assert one.in_window(60, 600) is None
    assert one.request(10_000_000).due is None


def test_classes_come_by_weight():
    names = [request.kind.name for request in requests(plan(*MIX), 5000)]

    assert names.count("chat") == pytest.approx(3750, rel=0.05)


def test_a_plain_request_has_its_sizes_and_the_limit_it_asks_for():
    asked = requests(plan())

    assert np.mean([request.prompt for request in asked]) == pytest.approx(1000, rel=0.1)
    assert min(request.prompt for request in asked) >= 32
    assert all(request.limit == request.completion for request in asked)
    assert {(request.cached, request.prefix, request.message) for request in asked} == {(0, None, None)}


def test_the_limit_holds_the_allowance_for_reasoning():
    kind = Class(prompt=Fixed(tokens=100), completion=Fixed(tokens=50), limit=Fixed(tokens=80), reasoning_tokens=1000)

    request = plan(kind).request(0)

    assert (request.completion, request.limit) == (50, 1080)


def test_no_limit_is_none():
    assert plan(msgspec.structs.replace(SIZED, unlimited=True)).request(0).limit is None


def test_an_answer_is_not_asked_to_be_longer_than_its_limit():
    asked = requests(plan(msgspec.structs.replace(SIZED, limit=Fixed(tokens=100))))

    assert {request.limit for request in asked} == {100}
    assert max(request.completion for request in asked) == 100


def test_prefixes_are_drawn_evenly_and_not_shared_between_classes():
    asked = requests(plan(MIX[1], msgspec.structs.replace(MIX[1], name="rag2")))
    used = {name: {request.prefix for request in asked if request.kind.name == name} for name in ("rag", "rag2")}

    assert used == {"rag": set(range(8)), "rag2": set(range(8, 16))}


def test_a_prompt_has_room_for_its_prefix_and_a_text_of_its_own():
    kind = msgspec.structs.replace(SIZED, cached=Cached(tokens=1024))

    assert min(request.prompt for request in requests(plan(kind))) == 1024 + 32


@pytest.mark.parametrize("order", ["given", "random"])
def test_own_messages_come_in_the_order_asked_for(tmp_path, order):
    file = messages_file(tmp_path, *['[{"role": "user", "content": "Hi"}]'] * 3)
    kind = Class(messages=Messages(file=file, order=order), limit=Fixed(tokens=20))
    taken = [request.message for request in requests(plan(kind), 300)]

    given_order = [0, 1, 2] * 100

    assert (taken == given_order) == (order == "given")
    assert set(taken) == {0, 1, 2}


def test_a_line_of_own_messages_may_bring_its_limit(tmp_path):
    file = messages_file(
        tmp_path,
        '{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 7}',
        '{"custom_id": "a", "method": "POST", "url": "/chat/completions", '
        '"body": {"messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 9}}',
        '[{"role": "user", "content": "Hi"}]',
    )
    asked = requests(plan(Class(messages=Messages(file=file), limit=Fixed(tokens=20))), 3)

    assert [request.limit for request in asked] == [7, 9, 20]
    assert {(request.prompt, request.completion) for request in asked} == {(None, None)}


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ((), ": the file is empty; "),
        (("", "  "), ": the file is empty; "),
        (("[]",), ":1: messages must be a list of objects with a `role`, and not empty"),
        (('{"messages": [], "max_tokens": 5}',), ":1: messages must be a list of objects with a `role`, and not empty"),
        (('{"messages": ["Hi"], "max_tokens": 5}',), ":1: messages must be a list of objects with a `role`, and not empty"),
        (('{"prompt": "Hi"}',), ":1: no messages; "),
        (('{"body": 3}',), ":1: no messages; "),
        (("", "{"), ":2: not JSON; "),
        (("[" * 100_000 + "]",), ":1: not JSON; "),
        (('{"messages": [{"role": "user"}], "max_tokens": 0}',), ":1: `max_tokens` must be a whole number of tokens, 1 or more"),
        (
            ('{"messages": [{"role": "user"}], "max_tokens": 1}', '{"messages": [{"role": "user"}]}'),
            ":2: no output limit; add `max_completion_tokens` to the line or `output_limit` to the workload",
        ),
    ],
)  # fmt: skip
def test_a_broken_messages_file_is_named_with_its_line(tmp_path, lines, sentence):
    file = messages_file(tmp_path, *lines)

    with pytest.raises(UsageError) as caught:
        plan(Class(messages=Messages(file=file)))

    if sentence.endswith("; "):
        sentence += 'write {"messages": […]}, an OpenAI batch line or an array of messages'
        sentence += " on each line" if "empty" in sentence else ""
    assert str(caught.value) == file + sentence


def test_a_messages_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError) as caught:
        plan(Class(messages=Messages(file=str(tmp_path / "none.jsonl"))))

    assert str(caught.value) == f"{tmp_path / 'none.jsonl'}: the messages can't be read: No such file or directory"


def test_a_trace_brings_times_and_sizes(tmp_path):
    file = tmp_path / "trace.jsonl"
    file.write_text(
        '{"timestamp": 5, "prompt_tokens": 3000, "completion_tokens": 40, "cached_tokens": 2048}\n'
        '{"timestamp": 6.5, "prompt_tokens": 500, "completion_tokens": 0, "cached_tokens": 384}\n',
        encoding="utf-8",
    )
    asked = requests(plan(Class(), load=Trace(file=str(file), format="jsonl"), duration=10.0))

    assert [(r.due, r.prompt, r.cached, r.prefix, r.completion, r.limit) for r in asked] == [
        (0.0, 3000, 2048, 0, 40, 40),
        (1.5, 500, 0, None, 1, 1),  # under 1,024 tokens nothing is ever cached
    ]
