"""What counts as content, as tokens and as an error in the answer of a chat completion."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.stream.answer import BadEvent, error_of_body
from ptubench.stream.chat import Answer, BodyMaker


def answer(*events):
    """An answer whose events arrive one second apart, the first at 1."""
    seen = Answer()
    for at, event in enumerate(events, 1):
        seen.event(event if isinstance(event, bytes) else json.dumps(event).encode(), float(at))
    return seen


def delta(**fields):
    return {"choices": [{"delta": fields}]}


NO_CONTENT = [
    {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    delta(role="assistant", content=""),
    {"choices": [{"content_filter_offsets": {}, "finish_reason": None}]},
    {"choices": [{"delta": None}]},
    {"choices": [None]},
    {"choices": None},
    {},
    delta(content=None, refusal=None, tool_calls=None),
    delta(tool_calls=[{"index": 0, "id": "x", "function": {"name": "f", "arguments": ""}}]),
    delta(tool_calls=[None, {"function": None}]),
    delta(annotations=[{"type": "url"}]),
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    b"[DONE]",
]


@pytest.mark.parametrize("event", NO_CONTENT, ids=str)
def test_an_event_without_text_is_no_content(event):
    seen = answer(event)

    assert (seen.content_events, seen.first_content, seen.last_content) == (0, None, None)


CONTENT = [
    delta(content="Hi"),
    delta(content=" "),
    delta(refusal="I can't"),
    delta(tool_calls=[{"function": {"arguments": '{"a'}}]),
    delta(function_call={"arguments": "{"}),
    {"choices": [{"delta": {"content": "x"}, "finish_reason": "length"}]},
    {"choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "second choice"}}]},
]


@pytest.mark.parametrize("event", CONTENT, ids=str)
def test_an_event_with_text_refusal_or_tool_arguments_is_content_and_output(event):
    seen = answer({"choices": []}, event)

    assert (seen.content_events, seen.first_content, seen.first_output, seen.last_content) == (1, 2.0, 2.0, 2.0)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_content_but_not_yet_output(field):
    seen = answer(delta(**{field: "hmm"}), delta(**{field: "so"}), delta(content="42"))

    assert (seen.first_content, seen.first_output, seen.last_content, seen.content_events) == (1.0, 3.0, 3.0, 3)


def test_usage_and_done_do_not_extend_the_end_of_the_answer():
    seen = answer(delta(content="a"), delta(content="b"), {"choices": [], "usage": {"completion_tokens": 2}}, b"[DONE]")

    assert seen.last_content == 2.0
    assert seen.done


def test_tokens_are_the_services_own_count_never_the_events():
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 64,
        "prompt_tokens_details": {"cached_tokens": 896},
        "completion_tokens_details": {"reasoning_tokens": 10},
    }
    seen = answer(delta(content="many tokens in one event"), {"choices": [], "usage": usage})

    assert (seen.prompt_tokens, seen.cached_tokens, seen.completion_tokens, seen.reasoning_tokens) == (
        1000,
        896,
        64,
        10,
    )


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens_details": None}])
def test_missing_usage_stays_unknown(usage):
    seen = answer(delta(content="x"), {"choices": [], "usage": usage})

    assert (seen.prompt_tokens, seen.cached_tokens, seen.completion_tokens) == (None, None, None)


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"{",
        b"nothing",
        b"[1]",
        b'{"choices": 7}',
        b'{"choices": [{"delta": {"content": 7}}]}',
        b"\xff\xfe",
        b'{"usage": {"completion_tokens": -1}}',
        b"[" * 100000,
    ],
    ids=lambda event: repr(event[:20]),
)
def test_what_is_no_chat_completion_is_a_bad_event(event):
    with pytest.raises(BadEvent):
        Answer().event(event, 1.0)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_any_bytes_are_an_event_or_a_bad_event(data):
    with contextlib.suppress(BadEvent):
        Answer().event(data, 1.0)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ({"error": {"code": "429", "message": "Too\nmany"}}, "429: Too many"),
        ({"error": "plain"}, "plain"),
        ({"error": {"odd": 1}}, "{'odd': 1}"),
    ],
)
def test_an_error_event_is_told_in_one_line(error, text):
    assert answer(delta(content="x"), error).error == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": {"code": "DeploymentNotFound", "message": "no such"}}', "DeploymentNotFound: no such"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b"<html>\x1b[31m Busy </html>", "<html> [31m Busy </html>"),
        (b"", ""),
    ],
)
def test_an_error_body_is_told_in_one_line(body, text):
    assert error_of_body(body) == text


def test_a_body_carries_messages_limit_stream_and_parameters():
    maker = BodyMaker(model="d", limit_field="max_tokens", stream=True, parameters={"temperature": 0.5})

    assert json.loads(maker.body(b'[{"role":"user","content":"x"}]', 20)) == {
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 20,
        "model": "d",
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_body_without_limit_model_or_stream_says_nothing_of_them():
    maker = BodyMaker(model=None, limit_field="max_tokens", stream=False, parameters={})

    assert json.loads(maker.body(b"[]", None)) == {"messages": []}
