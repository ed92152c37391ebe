"""Tokens, and what is content, in every way in which a server may write an answer: exactly what the server says."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
import pytest

import running
from ptubench.sim import answers
from ptubench.sim.script import DONE, Action, Do, Pace, chunked, data, finish, usage
from servers import script_server

pytestmark = pytest.mark.alone


class Told(NamedTuple):
    """What usage says of an answer."""

    prompt: int | None = 20
    cached: int | None = None
    completion: int | None = None
    reasoning: int | None = None


class Case(NamedTuple):
    """A way to write an answer of N tokens, and what its usage says."""

    events: Callable[[Pace], Iterator[Action]] = answers.healthy
    write: Callable[[Iterator[Action]], Iterator[Action]] = iter
    told: Callable[[int], Told] = lambda tokens: Told(completion=tokens)


def late_end(actions):
    """What follows the content comes late: it must not make the answer longer."""
    for action in actions:
        if action in ENDS:
            yield TAIL
        yield action


def telling(**details):
    """A proper answer with a usage event of its own."""

    def events(pace):
        plain, own = usage(pace.tokens), usage(pace.tokens, prompt_tokens=1543, **details)
        return (own if action == plain else action for action in answers.healthy(pace))

    return events


def telling_always(pace):
    """Usage in every event, counting up, as some servers send it; the last one holds."""
    seen = 0
    for action in answers.healthy(pace):
        if action is Do.CONTENT:
            seen += 1
            yield action
            yield usage(seen)
        else:
            yield action


def telling_at_the_finish(pace):
    """Usage in the event that names the finish reason, and no event of its own."""
    plain, own = usage(pace.tokens), finish()
    counts = b'"usage":{"prompt_tokens":20,"completion_tokens":%d}' % pace.tokens
    told = own.replace(b'"usage":null', counts)
    return (told if action == own else action for action in answers.healthy(pace) if action != plain)


def bytewise(actions):
    """Every byte in a write of its own; only the end of a chunk, which is no byte of an event, comes with the last one."""
    for action in actions:
        if isinstance(action, bytes):
            for byte in action[:-3]:
                yield from (bytes((byte,)), 0.0)
            yield action[-3:]
        else:
            yield action


def packed(tokens_per_event):
    return lambda pace: answers.packed(pace, tokens_per_event=tokens_per_event)


def lacking(event):
    return lambda pace: answers.without(event(pace), answers.healthy(pace))


DETAILS = {"prompt_tokens_details": {"cached_tokens": 1024}, "completion_tokens_details": {"reasoning_tokens": 3}}
NO_DETAILS = {"prompt_tokens_details": None, "completion_tokens_details": None}
EMPTY_DETAILS = {"prompt_tokens_details": {}, "completion_tokens_details": {}}
CASES = {
    "one token an event": Case(),
    "two tokens an event": Case(packed(2)),
    "three tokens an event": Case(packed(3)),
    "the whole answer in one event": Case(packed(100)),
    "every byte in a write of its own": Case(write=bytewise),
    "two events a write": Case(write=lambda actions: answers.joined(actions, events=2)),
    "the whole answer in one write": Case(write=lambda actions: answers.joined(actions, events=100)),
    "CRLF": Case(lambda pace: answers.crlf(answers.healthy(pace))),
    "CRLF, every byte in a write of its own": Case(lambda pace: answers.crlf(answers.healthy(pace)), write=bytewise),
    "characters cut in two": Case(answers.cut_characters),
    "comments and other fields": Case(lambda pace: answers.commented(answers.healthy(pace))),
    "events without content, deltas null and missing": Case(answers.odd_deltas),
    "tool calls": Case(answers.tool_calls),
    "reasoning text": Case(answers.reasoning, told=lambda tokens: Told(completion=tokens, reasoning=tokens // 2)),
    "a refusal": Case(answers.refusal),
    "usage with details": Case(telling(**DETAILS), told=lambda tokens: Told(1543, 1024, tokens, 3)),
    "usage with details null": Case(telling(**NO_DETAILS), told=lambda tokens: Told(1543, None, tokens, None)),
    "usage with details empty": Case(telling(**EMPTY_DETAILS), told=lambda tokens: Told(1543, None, tokens, None)),
    "usage in every event": Case(telling_always),
    "usage with the finish reason": Case(telling_at_the_finish),
    "without [DONE]": Case(lacking(lambda _: DONE)),
    "without usage": Case(lacking(lambda pace: usage(pace.tokens)), told=lambda _: Told(prompt=None)),
}
NAMES = list(CASES)
TTFT, GAP, TAIL = 0.1, 0.01, 0.1
BRIEF = [
    data({"choices": [{"delta": {"content": " 日"}}]}),
    data({"choices": [{"delta": {"content": " 本語"}}]}),
    data({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    data({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 3}}),
    DONE,
]
CUTS = len(b"".join(chunked(BRIEF, {"x-request-id": "000000"})))
ENDS = {finish("stop"), finish("tool_calls")}
MOST = 5


def length(number: int) -> int:
    """Tokens of the answer to a request, so that neighbours differ."""
    return 1 + number // len(NAMES) % MOST


def every_case() -> Callable[..., Iterator[Action]]:
    """Each request in order of arrival gets the next case, and its number as the id."""
    numbers = count()

    def script(_ask):
        number = next(numbers)
        case = CASES[NAMES[number % len(NAMES)]]
        pace = Pace(tokens=length(number), ttft=TTFT, gap=GAP)
        return case.write(chunked(late_end(case.events(pace)), {"x-request-id": str(number)}))

    return script


def every_cut() -> Callable[..., Iterator[Action]]:
    """The answer to request N comes in two writes, cut after N bytes; N is its id. From the end on it begins anew."""
    numbers = count()

    def script(_ask):
        number = next(numbers)
        sent, ends = b"", []
        for action in chunked(BRIEF, {"x-request-id": f"{number:06}"}):
            sent += action
            if b"content" in action and not action.startswith(b"HTTP"):
                ends.append(len(sent) - 2)  # behind the event stands the end of its chunk
        cut = number % len(sent)
        before = sum(end <= cut for end in ends)
        return [sent[:cut], *[Do.CONTENT] * before, 0.001, sent[cut:], *[Do.CONTENT] * (len(ends) - before)]

    return script


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two runs: one with every case, one with every cut; each as pairs of attempt and the server's account, and the run."""
    return running.calmly(
        lambda: both(tmp_path_factory.mktemp("written")), lambda found: all(run.calm for _, run in found.values())
    )


def both(folder):
    with script_server(every_case()) as cases, script_server(every_cut()) as cuts:
        loads = [
            ("cases", cases, {"load": {"rate": "80/s", "arrivals": "constant"}, "duration": "1650ms"}),
            ("cuts", cuts, {"load": {"rate": f"{CUTS}/s", "arrivals": "constant"}, "duration": "1100ms"}),
        ]
        runs = running.finish(
            [running.start(folder / name, *running.endpoint(server.base), **keys) for name, server, keys in loads]
        )
        logs = [{f"{i:0{digits}}": played for i, played in enumerate(s.log)} for s, digits in ((cases, 1), (cuts, 6))]
    return {name: (run.beside(log), run) for name, run, log in zip(("cases", "cuts"), runs, logs, strict=True)}


def told(attempt):
    return Told(attempt.prompt_tokens, attempt.cached_tokens, attempt.completion_tokens, attempt.reasoning_tokens)


def of_case(written, name):
    pairs, _ = written["cases"]
    of_it = [(a, p) for a, p in pairs if NAMES[int(a.headers["x-request-id"]) % len(NAMES)] == name]
    assert of_it
    return of_it


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_that_the_server_told(written, name):
    for attempt, _ in of_case(written, name):
        tokens = length(int(attempt.headers["x-request-id"]))

        assert (attempt.outcome, told(attempt)) == ("ok", CASES[name].told(tokens))


@pytest.mark.parametrize("name", NAMES)
def test_content_is_what_the_server_wrote_as_content(written, name):
    _, run = written["cases"]
    for attempt, played in of_case(written, name):
        assert attempt.content_events == len(played.contents)
        assert run.clock(attempt.first_content) >= played.contents[0]
        assert run.clock(attempt.last_content) >= played.contents[-1]


def test_neither_filter_and_role_nor_finish_usage_and_done_are_content(written):
    pairs, run = written["cases"]

    running.assert_small([run.clock(a.first_content) - p.contents[0] for a, p in pairs], TTFT)
    running.assert_small([run.clock(a.last_content) - p.contents[-1] for a, p in pairs], TAIL)


def test_the_sums_are_the_servers(written):
    pairs, run = written["cases"]
    expected = [
        CASES[NAMES[number % len(NAMES)]].told(length(number))
        for number in (int(attempt.headers["x-request-id"]) for attempt, _ in pairs)
    ]
    known = [one for one in expected if one.completion is not None]
    in_window = [told for told, (attempt, _) in zip(expected, pairs, strict=True) if attempt.sent < run.head.window[1]]

    assert run.metrics["tpm"]["unknown_requests"] == sum(told.completion is None for told in in_window) > 0
    assert run.metrics["prompt_tokens"]["mean"] == pytest.approx(np.mean([one.prompt for one in known]))
    assert run.metrics["completion_tokens"]["mean"] == pytest.approx(np.mean([one.completion for one in known]))
    assert run.metrics["requests"]["ok"] == len(expected) == run.head.planned


def test_an_answer_is_the_same_wherever_its_bytes_are_cut(written):
    pairs, _ = written["cuts"]
    cuts = {int(attempt.headers["x-request-id"]) % CUTS for attempt, _ in pairs}

    assert cuts == set(range(CUTS))
    assert {(a.outcome, told(a), a.content_events, a.flags) for a, _ in pairs} == {("ok", Told(completion=3), 2, ())}


def test_no_cut_lets_content_be_seen_before_it_is_whole(written):
    pairs, run = written["cuts"]

    assert min(run.clock(a.first_content) - p.contents[0] for a, p in pairs) >= 0
    assert min(run.clock(a.last_content) - p.contents[-1] for a, p in pairs) >= 0
