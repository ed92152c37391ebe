"""The workload file read as it was meant: forms, defaults, overrides, resolution, hash, shipped files, documentation."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.distributions import mean
from ptubench.errors import UsageError
from ptubench.load.plan import make_plan
from ptubench.ptu.capacity import capacity
from ptubench.samples import NEEDED
from ptubench.workload import shipped
from ptubench.workload.fields import KEYS
from ptubench.workload.hashing import files, workload_hash
from ptubench.workload.model import (
    Cached,
    Class,
    ClosedLoop,
    Fixed,
    Lognormal,
    OpenLoop,
    Slo,
    Stage,
    Throttling,
    Timeouts,
    Trace,
    Uniform,
    Workload,
)
from ptubench.workload.read import decode, read
from ptubench.workload.resolve import MOST_CALLS, mean_call, resolve

DOC = Path(__file__).parents[1] / "docs" / "workloads.md"
MINIMAL = """
name: tiny
prompt_tokens: 100
completion_tokens: 20
load: {rate: 30/min}
duration: 5m
"""
FULL = """
name: full
description: everything at once
prompt_tokens: {mean: 3000, p95: 6000, max: 20k}
completion_tokens: {min: 10, max: 300}
output_limit: 400
reasoning_tokens: 64
cached: {tokens: 1024, prefixes: 4}
mix:
  short: {weight: 3, completion_tokens: 5, output_limit: none, reasoning_tokens: 0}
  own: {messages: {file: own.jsonl, order: random}}
load: {rate: 2/s, arrivals: gamma, burstiness: 0.5}
duration: 1h30m
warmup: 90s
seed: 7
throttling: {on_429: retry, max_retries: 5, max_wait: 10s, divert_to: {deployment: standard, key_env: SECOND_KEY}}
checks: [ttft.p95 <= 1s]
slo: {ttft: 800ms, e2e: 10s}
max_in_flight: 1k
drain: 0s
timeouts: {connect: 1s, first_byte: 2s, idle: 3s, total: 4s}
stream: false
parameters: {temperature: 0.5, stop: ["\\n"], logit_bias: {"50256": -100}}
client: mine.client:send
target: {endpoint: "https://r.openai.azure.com", deployment: d, ptu: 50, headers: {x-gateway: "env:GATEWAY"}}
"""
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:18:46.6805900,374,44"
SHIPPED = [
    "balanced",
    "chat",
    "classification",
    "context",
    "demo",
    "generation",
    "messages",
    "rag",
    "smoke",
    "summarization",
    "trace",
]


def tiny(*overrides, **options):
    return decode(MINIMAL, "tiny.yaml", Path(), overrides=overrides, options=options)


def test_a_minimal_file_gets_the_documented_defaults():
    assert tiny() == Workload(
        name="tiny",
        classes=(Class(prompt=Fixed(tokens=100), completion=Fixed(tokens=20)),),
        load=OpenLoop(stages=(Stage(value=0.5, seconds=300),)),
        duration=300,
        warmup=30,
    )


def test_every_key_is_decoded(tmp_path):
    (tmp_path / "own.jsonl").write_text("[]\n")

    workload = decode(FULL, "full.yaml", tmp_path)

    short, own = workload.classes
    assert short == Class(
        name="short",
        weight=3,
        prompt=Lognormal(mean=3000, p95=6000, max=20_000),
        completion=Fixed(tokens=5),
        unlimited=True,
        cached=Cached(tokens=1024, prefixes=4),
    )
    assert own.messages is not None
    assert (own.messages.file, own.messages.order) == (str(tmp_path / "own.jsonl"), "random")
    assert (own.prompt, own.completion, own.cached, own.limit) == (None, None, None, Fixed(tokens=400))
    assert own.reasoning_tokens == 64
    assert workload.load == OpenLoop(stages=(Stage(value=2, seconds=5400),), arrivals="gamma", burstiness=0.5)
    assert (workload.duration, workload.warmup, workload.drain) == (5400, 90, 0)
    assert (workload.seed, workload.max_in_flight, workload.stream) == (7, 1000, False)
    assert workload.slo == Slo(ttft=0.8, e2e=10)
    assert workload.timeouts == Timeouts(connect=1, first_byte=2, idle=3, total=4)
    assert workload.parameters == {"temperature": 0.5, "stop": ["\n"], "logit_bias": {"50256": -100}}
    assert workload.client == "mine.client:send"
    assert workload.checks == ("ttft.p95 <= 1s",)
    assert workload.target["headers"] == {"x-gateway": "env:GATEWAY"}
    assert workload.throttling == Throttling(
        on_429="retry", max_retries=5, max_wait=10, divert_to={"deployment": "standard", "key_env": "SECOND_KEY"}
    )


def test_a_workload_survives_the_run_file(tmp_path):
    (tmp_path / "own.jsonl").write_text("[]\n")
    workload = decode(FULL, "full.yaml", tmp_path)

    assert msgspec.json.decode(msgspec.json.encode(workload), type=Workload) == workload


@pytest.mark.parametrize(
    ("written", "sizes"),
    [
        ("200", Fixed(tokens=200)),
        ("2k", Fixed(tokens=2000)),
        ("{mean: 100, p95: 386}", Lognormal(mean=100, p95=386)),
        ("{mean: 100.5, p95: 101, max: 101}", Lognormal(mean=100.5, p95=101, max=101)),
        ("{min: 32, max: 32}", Uniform(min=32, max=32)),
    ],
)
def test_sizes_have_three_forms(written, sizes):
    assert tiny(f"prompt_tokens={written}").classes[0].prompt == sizes


@pytest.mark.parametrize(
    ("written", "stage"),
    [
        ("{rate: 45/min}", Stage(value=0.75, seconds=300)),
        ("{tokens_per_minute: 60k}", Stage(value=1000, seconds=300, unit="tokens")),
        ("{utilization: 90%}", Stage(value=0.9, seconds=300, unit="utilization")),
        ("{utilization: 1.0}", Stage(value=1.0, seconds=300, unit="utilization")),
    ],
)
def test_an_open_loop_has_three_units(written, stage):
    load = tiny(f"load={written}").load

    assert load == OpenLoop(stages=(stage,))


def test_stages_fix_the_duration():
    text = MINIMAL.replace("duration: 5m\n", "").replace(
        "{rate: 30/min}", "{stages: [{rate: 0/min, to: 60/min, for: 2m}, {utilization: 110%, for: 30s}]}"
    )

    workload = decode(text, "tiny.yaml", Path())

    assert (workload.duration, workload.warmup) == (150, 15)
    assert workload.load == OpenLoop(
        stages=(Stage(value=0, to=1, seconds=120), Stage(value=1.1, seconds=30, unit="utilization"))
    )


def test_a_closed_loop_has_lanes_and_think_time():
    assert tiny("load={concurrency: 8, think_time: 500ms}").load == ClosedLoop(concurrency=8, think_time=0.5)


@pytest.mark.parametrize(
    ("name", "first", "kind"),
    [
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens", "azure"),
        ("a.csv", "minute,requests,prompt_tokens,cached_tokens,completion_tokens", "usage"),
        ("a.jsonl", "anything", "jsonl"),
        ("a.log", '{"timestamp": 0, "prompt_tokens": 50, "completion_tokens": 5}', "jsonl"),
    ],
)
def test_the_format_of_a_trace_is_told_by_name_or_first_line(tmp_path, name, first, kind):
    (tmp_path / name).write_text("\ufeff" + first + "\n", encoding="utf-8")
    text = f"name: t\nload: {{trace: {{file: {name}, start: 1m, speed: 4}}}}\nduration: 1m"

    load = decode(text, "t.yaml", tmp_path).load

    assert load == Trace(file=str(tmp_path / name), format=kind, start=60, speed=4)


def test_the_rest_of_a_trace_is_the_duration_and_decides_the_warmup(tmp_path):
    (tmp_path / "t.csv").write_text(TRACE)
    workload = decode("name: t\nload: {trace: {file: t.csv}}", "t.yaml", tmp_path)

    resolved = resolve(workload, None, trace_seconds=180.0)

    assert workload.pending == ("duration", "warmup")
    assert (resolved.duration, resolved.warmup, resolved.pending) == (180, 18, ())


@pytest.mark.parametrize("rule", ["auto", "until_429"])
def test_a_warmup_that_is_decided_afterwards_keeps_the_fixed_rule_for_where_it_cannot_decide(rule, tmp_path):
    workload = tiny(f"warmup={rule}")
    (tmp_path / "t.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    traced = resolve(
        decode(f"name: t\nwarmup: {rule}\nload: {{trace: {{file: t.csv}}}}", "t.yaml", tmp_path), None, 180.0
    )

    assert (workload.warmup_rule, workload.warmup) == (rule, 0.1 * workload.duration)
    assert (traced.warmup_rule, traced.warmup) == (rule, 18)
    assert tiny().warmup_rule == "fixed"


def test_a_warmup_as_long_as_the_rest_of_the_trace_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text(TRACE)
    workload = decode("name: t\nwarmup: 3m\nload: {trace: {file: t.csv}}", "t.yaml", tmp_path)

    with pytest.raises(UsageError) as caught:
        resolve(workload, None, trace_seconds=180.0)

    assert str(caught.value) == (
        "t: the warm-up of 3m is not shorter than the 3m that are left of the trace: nothing would be measured"
    )


def test_rate_replaces_the_kind_of_load_and_keeps_the_arrivals():
    assert tiny("load.arrivals=constant", rate="2/s").load == OpenLoop(
        stages=(Stage(value=2, seconds=300),), arrivals="constant"
    )
    assert tiny(concurrency=4).load == ClosedLoop(concurrency=4)


@pytest.mark.parametrize(
    ("options", "load", "duration"),
    [
        ({"rate": "2/s"}, OpenLoop(stages=(Stage(value=2, seconds=30),)), 30),
        ({"concurrency": "8"}, ClosedLoop(concurrency=8), 30),
        ({"rate": "2/s", "duration": "10s"}, OpenLoop(stages=(Stage(value=2, seconds=10),)), 10),
    ],
)
def test_replaced_stages_leave_their_duration(options, load, duration):
    workload = read("demo", options=options)

    assert (workload.load, workload.duration) == (load, duration)


def test_options_are_not_given_when_none():
    assert tiny(rate=None, concurrency=None, duration=None, seed=None, on_429=None) == tiny()


def test_on_429_replaces_the_policy_and_leaves_what_is_said_of_each():
    said = "throttling: {on_429: retry, max_retries: 4, divert_to: {deployment: d}}\n"
    diverting = decode(MINIMAL + said, "tiny.yaml", Path(), options={"on_429": "divert"})

    assert tiny(on_429="retry").throttling == Throttling(on_429="retry")
    assert diverting.throttling == Throttling(on_429="divert", max_retries=4, divert_to={"deployment": "d"})


def test_a_set_changes_any_key_also_in_lists_and_new_mappings():
    workload = read(
        "demo", overrides=["load.stages.0.utilization=50%", "slo.ttft=1s", "seed=9", "mix.a.weight=2", "name=other"]
    )

    assert isinstance(workload.load, OpenLoop)
    assert workload.load.stages[0].value == 0.5
    assert workload.slo == Slo(ttft=1)
    assert (workload.seed, workload.name, workload.classes[0].weight) == (9, "other", 2)


def test_tokens_a_minute_become_calls_by_the_expected_sizes():
    workload = resolve(tiny("load={tokens_per_minute: 12k}"), None)

    assert workload.load == OpenLoop(stages=(Stage(value=200 / 120, seconds=300),))


def test_utilization_becomes_calls_by_capacity_and_normalized_tokens():
    deployment = capacity("gpt-4.1", 50)
    workload = resolve(tiny("load={utilization: 90%}"), deployment)

    assert isinstance(workload.load, OpenLoop)
    assert workload.load.stages[0].value == pytest.approx(0.9 * 50 * 3000 / 60 / (100 + 4 * 20))


def test_utilization_without_a_size_says_what_is_missing():
    with pytest.raises(UsageError) as caught:
        resolve(tiny("load={utilization: 90%}"), None)

    assert str(caught.value) == (
        "tiny: load.utilization needs the model and size: give --model and --ptu, or `target: {model, ptu}`, "
        "with `ratio` and `tpm_per_ptu` for a model that the catalogue doesn't know; for a Standard deployment, which has "
        "no PTU, write `rate` or `tokens_per_minute`"
    )


def test_more_calls_than_a_run_can_hold_are_refused():
    with pytest.raises(UsageError) as caught:
        resolve(tiny("load.rate=100k/s"), None)

    assert str(caught.value) == (
        f"tiny: the load is about 30,000,000 calls, more than the {MOST_CALLS:,} that one run can hold; "
        "lower `load` or `duration`"
    )


def test_resolving_twice_changes_nothing():
    deployment = capacity("gpt-4.1", 50)
    once = resolve(tiny("load={utilization: 90%}"), deployment)

    assert resolve(once, None) == once


def test_cached_tokens_count_nothing_in_a_relative_load():
    deployment = capacity("gpt-4.1", 50)
    sizes = ["prompt_tokens=3000", "cached.tokens=2000", "load={utilization: 100%}"]
    workload = resolve(tiny(*sizes), deployment)

    assert isinstance(workload.load, OpenLoop)
    assert workload.load.stages[0].value == pytest.approx(2500 / (1000 + 4 * 20))


@given(
    weights=st.lists(st.integers(1, 100), min_size=1, max_size=4),
    prompts=st.lists(st.integers(32, 9999), min_size=4, max_size=4),
)
def test_the_mean_call_is_the_weighted_mean_of_the_classes(weights, prompts):
    pairs = list(zip(weights, prompts, strict=False))
    mix = ", ".join(f"c{i}: {{weight: {w}, prompt_tokens: {p}}}" for i, (w, p) in enumerate(pairs))

    call = mean_call(tiny(f"mix={{{mix}}}"))

    assert call.prompt == pytest.approx(sum(w * p for w, p in pairs) / sum(w for w, _ in pairs))


def test_answers_end_at_their_limit_so_the_mean_does_too():
    workload = tiny("completion_tokens={mean: 200, p95: 500}", "output_limit=300")

    assert mean_call(workload).completion == mean(Lognormal(mean=200, p95=500, max=300))


@pytest.mark.parametrize(
    "override",
    [
        *("name=other", "description=other", "checks=[a]", "seed=5", "target={deployment: d}", "warmup=30s"),
        "throttling.divert_to.deployment=d",
        *("drain=60s", "throttling.on_429=none", "timeouts.idle=60s", "max_in_flight=10k", "load.arrivals=poisson"),
    ],
)
def test_the_hash_ignores_what_does_not_change_the_load(override):
    assert workload_hash(tiny(override)) == workload_hash(tiny())


@pytest.mark.parametrize(
    "override",
    [
        "prompt_tokens=101",
        "output_limit=21",
        "load.rate=31/min",
        "load.arrivals=constant",
        "duration=6m",
        "warmup=0s",
        "warmup=auto",
        "stream=false",
        "parameters.temperature=0",
        "drain=1s",
        "throttling.on_429=retry",
    ],
)
def test_the_hash_changes_with_what_is_sent(override):
    assert workload_hash(tiny(override)) != workload_hash(tiny())


def test_a_relative_load_hashes_as_the_rate_that_it_is():
    relative = resolve(tiny("load={tokens_per_minute: 3600}"), None)

    assert workload_hash(relative) == workload_hash(tiny())


def test_files_count_by_content_and_not_by_path(tmp_path):
    def with_file(name, content):
        (tmp_path / name).write_text(content)
        return decode(
            f"name: t\noutput_limit: 9\nmessages: {{file: {name}}}\nload: {{rate: 1/s}}\nduration: 1m", "t", tmp_path
        )

    one, same, other = with_file("a", "[1]"), with_file("b", "[1]"), with_file("c", "[2]")

    assert workload_hash(one) == workload_hash(same) != workload_hash(other)
    assert files(one) == [str(tmp_path / "a")]


def test_a_file_that_has_gone_is_a_usage_error(tmp_path):
    (tmp_path / "a").write_text("x")
    workload = decode("name: t\noutput_limit: 9\nmessages: {file: a}\nload: {rate: 1/s}\nduration: 1m", "t", tmp_path)
    (tmp_path / "a").unlink()

    with pytest.raises(UsageError, match="can't be read"):
        workload_hash(workload)


def test_the_shipped_workloads_are_these():
    assert shipped.names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_the_checks_of_a_shipped_workload_are_supported_by_its_sample(name):
    workload = resolve(read(name), capacity("gpt-4.1", 300))
    measured = make_plan(workload).in_window(workload.warmup, workload.duration)

    percentiles = re.findall(r"\.(p\d+)", " ".join(workload.checks))
    assert all(measured >= NEEDED[percentile] for percentile in percentiles)
    assert workload.name == name


def test_the_smoke_workload_judges_no_latency():
    metrics = [rule.split()[0] for rule in read("smoke").checks]

    assert sorted(metrics) == ["failed.ratio", "refused.ratio"]


def test_the_demo_offers_enough_for_percentiles_in_half_a_minute():
    demo = read("demo")
    plan = make_plan(resolve(demo, capacity("gpt-4.1", 300)))

    assert demo.duration == 30
    assert plan.count is not None
    assert plan.count >= 400
    assert plan.in_window(demo.warmup, demo.duration) >= NEEDED["p95"]


def test_a_template_is_a_commented_file_under_the_name_that_was_asked_for():
    rag = shipped.path("rag").read_text(encoding="utf-8")
    chat = shipped.path("chat").read_text(encoding="utf-8").replace("name: chat", "name: mine", 1)

    assert shipped.template("rag") == rag.replace("ptubench run rag ", "ptubench run rag.yaml ")
    assert shipped.template("mine") == chat.replace("ptubench run chat ", "ptubench run mine.yaml ")


def test_a_template_is_refused_under_a_name_that_no_workload_can_have():
    with pytest.raises(UsageError) as caught:
        shipped.template("a/b")

    assert str(caught.value) == "`a/b` can't be the name of a workload; use letters, digits, dots and dashes"


def test_a_file_in_this_folder_is_found_by_its_bare_name(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)

    assert read("mine") == tiny()


def documented():
    """The keys of each section of the document."""
    sections = re.findall(
        r"^## Keys of `(\w+)`$(.*?)(?=^## )", DOC.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return {name: sorted(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) for name, text in sections}


def test_every_key_is_documented_and_every_documented_key_exists():
    assert documented() == {name: sorted(keys) for name, keys in KEYS.items()}


def test_every_shipped_workload_is_documented():
    listed = re.findall(
        r"^\| `(\w+)` \| .* \|$", DOC.read_text(encoding="utf-8").partition("## Shipped")[2], re.MULTILINE
    )

    assert listed == SHIPPED
