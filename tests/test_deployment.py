import itertools
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.errors import UsageError
from ptubench.sim import cache, latency
from ptubench.sim.deployment import Admitted, Call, Deployment, Refused
from ptubench.sim.options import ASSUMED, SimOptions, from_mapping, parameters, parse

# One PTU of one normalized token a second, so that a test can count.
UNIT = {"model": "unit", "ptu": 1, "ratio": 1, "tpm_per_ptu": 60, "tps": 10, "latency": 1, "prefill": 1e9, "jitter": 0}


def deployment(*, wall: float = 0.0, **options) -> Deployment:
    return Deployment(from_mapping({**UNIT, "load": 0, **options}), wall=wall)


def refusal(action) -> str:
    with pytest.raises(UsageError) as caught:
        action()
    return str(caught.value)


# --- options


def test_options_are_read_from_one_text():
    options = parse("gpt-4.1:50,depth=10s,level=full,seed=3,cache=off,latency=80ms")

    assert (options.label, options.depth, options.level, options.seed) == ("gpt-4.1:50", 10, 1, 3)
    assert (options.cache, options.latency) == (False, 0.08)


def test_options_survive_the_way_to_another_process():
    options = parse("gpt-4.1:50,depth=10,deployment=mine")

    assert from_mapping(msgspec.json.decode(msgspec.json.encode(options))) == options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpt-4.1", "--simulate: `gpt-4.1` has no size; write MODEL:PTU, such as gpt-4.1:50"),
        ("gpt-4.1:50,deph=3", "--simulate: unknown key `deph`; did you mean `depth`?"),
        ("gpt-4.1:50,depth", "--simulate: `depth` is not KEY=VALUE, such as depth=30s"),
        ("gpt-4.1:50,seed=1,seed=2", "--simulate: `seed` is given twice; keep one"),
        (
            "gpt-4.1:many",
            "--simulate: `ptu: many`: expected `int`, got `str` (provisioned throughput units; standard: thousands of tokens a minute)",
        ),
        (
            "gpt-4.1:0",
            "--simulate: `ptu: 0`: expected `int` >= 1 (provisioned throughput units; standard: thousands of tokens a minute)",
        ),
        (
            "gpt-4.1:50,depth=inf",
            "--simulate: `depth: inf`: write a finite number (depth of the bucket: seconds of full capacity that make 100 %)",
        ),
        (
            "gpt41:50",
            "--simulate: unknown model `gpt41`; did you mean `gpt-4.1`? For a model of your own give ratio, tpm_per_ptu and tps too",
        ),
        (
            "zzz:50,ratio=2,tps=5",
            "--simulate: unknown model `zzz`; for a model of your own give ratio, tpm_per_ptu and tps too",
        ),
    ],
)
def test_a_wrong_option_is_one_sentence_with_the_way_out(text, said):
    assert refusal(lambda: parse(text)) == said


@pytest.mark.parametrize(
    "values",
    [
        {"model": "gpt-4.1"},
        {"model": 5, "ptu": 3},
        {"model": "gpt-4.1", "ptu": True},
        {"model": "gpt-4.1\r\nx: y", "ptu": 5},
        {"model": "gpt-4.1", "ptu": 5, "depth": {}},
        {"model": "gpt-4.1", "ptu": 5, "depth": 0},
        {"model": "gpt-4.1", "ptu": 5, "level": 1.5},
        {"model": "gpt-4.1", "ptu": 5, "cache": []},
        {"model": "gpt-4.1", "ptu": 5, "jitter": float("nan")},
        {"model": "gpt-4.1", "ptu": 5, 7: 1},
    ],
)
def test_senseless_values_from_a_file_are_the_users_error(values):
    assert refusal(lambda: from_mapping(values)).startswith("target.simulate: ")


def test_every_parameter_has_a_help_text_and_what_is_assumed_exists():
    assert all(parameter.help for parameter in parameters())
    assert [p.name for p in parameters() if p.assumed] == list(ASSUMED)


# --- admission and charge


def test_a_call_is_judged_by_the_level_alone_and_charged_its_estimate():
    sim = deployment(depth=100)
    first = sim.offer(0, Call(prompt=500, limit=500))
    second = sim.offer(0, Call(prompt=1, limit=1))

    assert isinstance(first, Admitted)
    assert isinstance(second, Refused)
    assert (second.level, second.retry_after_ms) == (10, 900_001)


def test_at_its_end_the_true_cost_replaces_the_estimate():
    sim = deployment(depth=1000)
    call = sim.offer(0, Call(prompt=100, limit=400, asked=50))
    sim.complete(0, call)

    assert call.estimate == 500
    assert sim.state(0)["level"] == 0.150
    assert sim.state(0)["peak_level"] == 0.500


def test_without_a_limit_the_estimate_is_the_assumed_one():
    assert deployment(estimate=77).offer(0, Call(prompt=100)).estimate == 177


def test_a_client_that_leaves_is_charged_for_what_was_generated():
    sim = deployment(depth=1000)
    call = sim.offer(0, Call(prompt=100, limit=400, asked=400))
    sim.complete(0, call, generated=call.generated(call.token(9) + 0.05))

    assert sim.state(0)["level"] == 0.110


@pytest.mark.parametrize("load", [1.1, 1.5, 3])
def test_throttling_follows_the_law_of_the_bucket(load):
    sim = Deployment(parse("gpt-4.1:50,depth=60,level=full,jitter=0.2"))
    cost = 1000 + 4 * 200
    running: list[tuple[float, Admitted]] = []
    refused = 0
    for i in range(10_000):
        now = i * cost / (load * sim.capacity.per_second)
        while running and running[0][0] <= now:
            end, call = running.pop(0)
            sim.complete(end, call)
        offered = sim.offer(now, Call(prompt=1000, limit=200, asked=200))
        if isinstance(offered, Admitted):
            running.append((now + offered.end, offered))
            running.sort(key=lambda pair: pair[0])
        else:
            refused += 1

    assert refused / 10_000 == pytest.approx(1 - 1 / load, abs=0.02)


# --- the answer


@pytest.mark.parametrize(
    ("reasoning", "asked", "limit", "expected"),
    [
        (0, 50, None, (50, 50, "stop")),
        (0, 50, 50, (50, 50, "stop")),
        (0, 50, 20, (20, 20, "length")),
        (0, None, None, (33, 33, "stop")),
        (100, 50, 400, (150, 50, "stop")),
        (100, 50, 120, (120, 20, "length")),
        (100, 50, 60, (60, 0, "length")),
    ],
)
def test_answers_are_as_long_as_asked_within_their_limit(reasoning, asked, limit, expected):
    call = deployment(answer=33, reasoning=reasoning).offer(0, Call(prompt=10, asked=asked, limit=limit))

    assert (call.completion, call.visible, call.finish) == expected


def test_hidden_reasoning_comes_before_the_first_visible_token():
    plain = deployment().offer(0, Call(prompt=10, asked=5))
    thinking = deployment(reasoning=20).offer(0, Call(prompt=10, asked=5))

    assert thinking.ttft - plain.ttft == pytest.approx(20 * thinking.per_token)


@given(asked=st.integers(1, 500), reasoning=st.integers(0, 100))
def test_all_tokens_are_generated_at_the_end_and_none_before_the_start(asked, reasoning):
    call = deployment(reasoning=reasoning).offer(0, Call(prompt=10, asked=asked))

    assert call.generated(call.end + 1e-9) == call.completion
    assert call.generated(call.start - 1e-9) == 0


# --- latency


def test_the_first_token_waits_for_uncached_prompt_tokens_and_for_load():
    figures = {"latency": 0.2, "prefill": 1000, "load": 1.0, "jitter": 0}

    assert latency.first_token(0, 0, 0, **figures) == 0.2
    assert latency.first_token(500, 0, 0, **figures) == pytest.approx(0.7)
    assert latency.first_token(500, 0.5, 0, **figures) == pytest.approx(1.05)
    assert latency.first_token(500, 7, 0, **figures) == pytest.approx(1.4)


def test_ninety_nine_percent_of_calls_exceed_the_published_speed():
    sim = Deployment(parse("gpt-4.1:1000"))
    speeds = [1 / sim.offer(i, Call(prompt=10, key=str(i).encode())).per_token for i in range(5000)]

    assert sum(speed > 80 for speed in speeds) / 5000 == pytest.approx(0.99, abs=0.004)


def test_luck_depends_on_seed_and_prompt_and_not_on_the_order_of_arrival():
    keys = [str(i).encode() for i in range(50)]

    def starts(order, seed):
        sim = Deployment(parse(f"gpt-4.1:1000,load=0,seed={seed}"))
        return {key: sim.offer(0, Call(prompt=10, key=key, limit=1)).start for key in order}

    shuffled = random.Random(1).sample(keys, 50)

    assert starts(keys, 1) == starts(shuffled, 1)
    assert starts(keys, 1) != starts(keys, 2)


# --- prompt cache


@pytest.mark.parametrize(
    ("length", "same", "expected"),
    [
        (1023, 1023, 0),
        (1024, 1024, 1024),
        (2000, 1023, 0),
        (2000, 1024, 1024),
        (2000, 1151, 1024),
        (2000, 1152, 1152),
        (2000, 2000, 1920),
    ],
)
@pytest.mark.parametrize("overhead", [0, 7])
def test_hits_start_at_1024_equal_tokens_and_come_in_steps_of_128(length, same, expected, overhead):
    old = [f"w{i}" for i in range(length - overhead)]
    new = old[: same - overhead] + [f"other{i}" for i in range(length - same)]
    seen = cache.PromptCache(ttl=10)
    seen.keep(cache.marks(old, overhead=overhead), 0)

    assert seen.cached(cache.marks(new, overhead=overhead), 1) == expected


def test_words_are_told_apart_wherever_their_spaces_are():
    together, apart = ["ab", "c"] * 1000, ["a", "bc"] * 1000

    assert cache.marks(together) != cache.marks(apart)


def test_a_prefix_is_forgotten_when_unused_and_kept_while_used():
    marks = cache.marks(["word"] * 1024)
    seen = cache.PromptCache(ttl=10)
    seen.keep(marks, 0)
    seen.keep(marks, 9)

    assert seen.cached(marks, 18) == 1024
    assert seen.cached(marks, 20) == 0


def test_the_cache_forgets_the_longest_unused_when_it_is_full_or_they_are_too_old():
    full, old = cache.PromptCache(ttl=10, most=3), cache.PromptCache(ttl=10)
    for now, seen in itertools.product(range(100), (full, old)):
        seen.keep((str(now).encode(),), now)

    assert len(full) == 3
    assert len(old) == 11


def test_cached_tokens_are_not_charged_and_not_read():
    sim = deployment(depth=1e6, prefill=1000)
    marks = cache.marks(["word"] * 2000)
    cold = sim.offer(0, Call(prompt=2000, marks=marks, limit=10))
    warm = sim.offer(1, Call(prompt=2000, marks=marks, limit=10))

    assert (cold.cached, warm.cached) == (0, 1920)
    assert (cold.estimate, warm.estimate) == (2010, 90)
    assert cold.start - warm.start == pytest.approx(1.92)


def test_a_switched_off_cache_never_hits():
    sim = deployment(cache="off", depth=1e6)
    marks = cache.marks(["word"] * 2000)

    assert [sim.offer(now, Call(prompt=2000, marks=marks)).cached for now in (0, 1)] == [0, 0]


# --- its own accounts


def test_prompts_are_booked_on_admission_and_completions_where_they_were_generated():
    sim = deployment(depth=1e6, tps=1, latency=10, wall=6000)
    call = sim.offer(30, Call(prompt=100, limit=61, asked=61))
    sim.complete(30 + call.end, call)

    # Generated from 40 to 100 s: 20 of these 60 seconds lie in the first minute.
    assert sim.state(200)["minutes"] == [[6000, pytest.approx(100 + 61 / 3)], [6060, pytest.approx(61 * 2 / 3)]]


@given(st.lists(st.tuples(st.floats(0, 300), st.integers(1, 5000), st.integers(1, 900)), max_size=30))
def test_the_minutes_add_up_to_what_was_charged(calls):
    sim = deployment(depth=1e9, wall=1234.5)
    charged = 0.0
    for at, prompt, asked in sorted(calls):
        call = sim.offer(at, Call(prompt=prompt, asked=asked))
        sim.complete(at + call.end, call)
        charged += prompt + asked

    assert sum(tokens for _, tokens in sim.state(0)["minutes"]) == pytest.approx(charged)


def test_its_state_is_json_and_says_what_is_assumed():
    sim = deployment(depth=10, level="full")
    sim.offer(0, Call(prompt=10))
    sim.offer(0, Call(prompt=10))
    state = msgspec.json.decode(msgspec.json.encode(sim.state(0)))

    assert (state["model"], state["ptu"], state["tpm"], state["depth_s"]) == ("unit", 1, 60, 10)
    assert (state["admitted"], state["throttled"], state["peak_level"]) == (0, 2, 1)
    assert set(state["assumed"]) == set(ASSUMED)
    assert isinstance(sim.options, SimOptions)
