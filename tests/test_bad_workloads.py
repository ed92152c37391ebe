"""Every way in which a workload file can be wrong, and the whole sentence that the user reads."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptubench.errors import UsageError
from ptubench.workload.fields import KEYS
from ptubench.workload.model import Workload
from ptubench.workload.read import decode, read
from ptubench.workload.yaml_file import MAX_BYTES

GOOD = {
    "name": "name: chat",
    "prompt_tokens": "prompt_tokens: 1000",
    "completion_tokens": "completion_tokens: 200",
    "load": "load: {rate: 45/min}",
    "duration": "duration: 10m",
}
NO_SIZES = {"prompt_tokens": "", "completion_tokens": ""}
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
ENCODED_KEY = "aB3" * 28
SECRETS = {
    "api_key: abc": "api_key",
    "target: {api-key: abc}": "target.api-key",
    "parameters: {token: 12345}": "parameters.token",
    "target: {headers: {Authorization: Bearer abcdefghijk}}": "target.headers.Authorization",
    "target: {headers: {x-gateway: Bearer abcdefghijk}}": "target.headers.x-gateway",
    "parameters: {user: sk-abcdefghijklmnop1234}": "parameters.user",
    "parameters: {sk-abcdefghijklmnop1234: 1}": "parameters.(not shown)",
    "description: 0f23456789abcdef0f23456789abcdef": "description",
    f"target: {{endpoint: 'https://r.openai.azure.com/?k={ENCODED_KEY}'}}": "target.endpoint",
    f"checks: [{ENCODED_KEY}]": "checks.0",
    f"duration: {ENCODED_KEY}": "duration",
    "name: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0": "name",
}

# What is changed in GOOD (an empty text leaves the line out), and what is said after the file's name.
FAULTS = [
    ({"rat": "rat: 1"}, ": unknown key `rat`; did you mean `load.rate`?"),
    ({"load": "load: {rat: 45/min}"}, ": unknown key `load.rat`; did you mean `load.rate`?"),
    (
        {"x": "colour: red"},
        ": unknown key `colour`; known are `name`, `description`, `prompt_tokens`, `completion_tokens`, `output_limit`, `reasoning_tokens`, `cached`, `messages`, `mix`, `load`, `duration`, `warmup`, `seed`, `throttling`, `checks`, `abort`, `slo`, `max_in_flight`, `drain`, `timeouts`, `stream`, `parameters`, `client`, `target`",
    ),
    ({"name": ""}, ": `name` is missing; write for example `name: chat`"),
    (
        {"name": "name: a/b"},
        ": name: `a/b` is no name for a workload; it becomes part of file names: letters, digits, `-`, `_` and `.`",
    ),
    (
        {"name": "name: 3"},
        ": name: `3` is no name for a workload; it becomes part of file names: letters, digits, `-`, `_` and `.`",
    ),
    ({"load": ""}, ": `load` is missing; write for example `load: {rate: 45/min}`"),
    (
        {"load": "load: 45/min"},
        ": load: `45/min` is not a mapping; write `rate: 45/min` below it, or --set load.rate=45/min",
    ),
    (
        {"load": "load: {arrivals: poisson}"},
        ": load: says no kind of load; give one of `rate`, `tokens_per_minute`, `utilization`, `stages`, `concurrency`, `trace`",
    ),
    (
        {"load": "load: {rate: 45/min, concurrency: 3}"},
        ": load: `rate`, `concurrency` are 2 kinds of load; keep one (--rate and --concurrency replace it)",
    ),
    (
        {"load": "load: {rate: 45}"},
        ": load.rate: `45` is not a rate; write a number per period, such as 45/min, 2/s or 3k/h",
    ),
    ({"load": "load: {rate: 0/min}"}, ": load.rate: must be above 0"),
    (
        {"load": "load: {rate: -3/min}"},
        ": load.rate: `-3/min` is not a rate; write a number per period, such as 45/min, 2/s or 3k/h",
    ),
    ({"load": "load: {tokens_per_minute: 0}"}, ": load.tokens_per_minute: must be at least 1, not 0"),
    (
        {"load": "load: {utilization: 90}"},
        ": load.utilization: `90` is not a share; write a percentage such as 1%, or a number from 0 to 1",
    ),
    ({"load": "load: {concurrency: 0}"}, ": load.concurrency: must be at least 1, not 0"),
    (
        {"load": "load: {concurrency: 2.5}"},
        ": load.concurrency: `2.5` is not a whole number; write one such as 200, 200k, 1.5M or 2B",
    ),
    (
        {"load": "load: {concurrency: 2, arrivals: poisson}"},
        ": load.arrivals: does not go with `concurrency`; it goes with `rate`, `tokens_per_minute`, `utilization`, `stages`",
    ),
    (
        {"load": "load: {rate: 1/s, think_time: 1s}"},
        ": load.think_time: does not go with `rate`; it goes with `concurrency`",
    ),
    (
        {"load": "load: {rate: 1/s, arrivals: poison}"},
        ": load.arrivals: `poison` is not one of `poisson`, `constant`, `gamma`; did you mean `poisson`?",
    ),
    (
        {"load": "load: {rate: 1/s, arrivals: gamma}"},
        ": load: `arrivals: gamma` needs `burstiness`, its shape: 1 is Poisson, less is burstier",
    ),
    (
        {"load": "load: {rate: 1/s, burstiness: 2}"},
        ": load.burstiness: goes with `arrivals: gamma`, not with `poisson`",
    ),
    ({"load": "load: {rate: 1/s, arrivals: gamma, burstiness: 0}"}, ": load.burstiness: must be above 0"),
    (
        {"load": "load: {rate: 1/s, arrivals: gamma, burstiness: 5000}"},
        ": load.burstiness: must be from 0.01 to 1000, not 5000",
    ),
    ({"duration": ""}, ": `duration` is missing; write for example `duration: 10m`"),
    (
        {"duration": "duration: 600"},
        ": duration: `600` is not a duration; write a number with a unit, such as 30s, 10m, 1h30m or 800ms",
    ),
    ({"duration": "duration: 0s"}, ": duration: must be above 0"),
    ({"duration": "duration: 400d"}, ": duration: `400d` is longer than 31 days"),
    (
        {"duration": "duration: -5s"},
        ": duration: `-5s` is not a duration; write a number with a unit, such as 30s, 10m, 1h30m or 800ms",
    ),
    (
        {"load": "load: {stages: []}"},
        ": load.stages: must be a list with at least one item, each on a line that begins with `- `",
    ),
    (
        {"load": "load: {stages: [{rate: 1/s}]}"},
        ": load.stages.0: `for` is missing; write how long, such as `{rate: 10/min, for: 2m}`",
    ),
    (
        {"load": "load: {stages: [{for: 1m}]}"},
        ": load.stages.0: needs exactly one of `rate`, `tokens_per_minute`, `utilization`, such as `{rate: 10/min, for: 2m}`",
    ),
    (
        {"load": "load: {stages: [{rate: 1/s, for: 1m}]}"},
        ": duration: 10m contradicts the stages, which last 1m in all; leave it out, or change the stages",
    ),
    ({"load": "load: {stages: [{rate: 0/s, for: 10m}]}"}, ": load.stages: all stages are 0: nothing would be sent"),
    (
        {"load": "load: {stages: [{rate: 1/s, for: 10m, too: 3/s}]}"},
        ": unknown key `load.stages.0.too`; did you mean `load.stages.0.to`?",
    ),
    ({"prompt_tokens": ""}, ": `prompt_tokens` is missing; write for example `prompt_tokens: 500`"),
    ({"completion_tokens": ""}, ": `completion_tokens` is missing; write for example `completion_tokens: 500`"),
    ({"prompt_tokens": "prompt_tokens: 31"}, ": prompt_tokens: must be at least 32, not 31"),
    (
        {"prompt_tokens": "prompt_tokens: many"},
        ": prompt_tokens: `many` is not a whole number; write one such as 200, 200k, 1.5M or 2B",
    ),
    (
        {"prompt_tokens": "prompt_tokens: {mean: 100}"},
        ": prompt_tokens: must be a number, {mean, p95} with or without max (lognormal), or {min, max} (uniform)",
    ),
    (
        {"prompt_tokens": "prompt_tokens: {mean: 100, p95: 100}"},
        ": prompt_tokens: no lognormal has mean 100 and p95 100; p95 must be above the mean and at most 3.86 times it",
    ),
    (
        {"prompt_tokens": "prompt_tokens: {mean: 100, p95: 387}"},
        ": prompt_tokens: no lognormal has mean 100 and p95 387; p95 must be above the mean and at most 3.86 times it",
    ),
    (
        {"prompt_tokens": "prompt_tokens: {mean: 100, p95: 300, max: 90}"},
        ": prompt_tokens.max: 90 is below the mean 100; raise it or lower the mean",
    ),
    ({"prompt_tokens": "prompt_tokens: {min: 100, max: 90}"}, ": prompt_tokens.max: must be at least 100, not 90"),
    (
        {"prompt_tokens": "prompt_tokens: {mean: 20, p95: 30}"},
        ": prompt_tokens.mean: must be from 32 to 10,000,000, not 20",
    ),
    ({"completion_tokens": "completion_tokens: 0"}, ": completion_tokens: must be at least 1, not 0"),
    ({"completion_tokens": "completion_tokens: -1"}, ": completion_tokens: must be at least 1, not -1"),
    (
        {"completion_tokens": "completion_tokens: .nan"},
        ":3: `.nan` is read differently by different YAML readers; put it in quotes if it is text, else write it another way",
    ),
    (
        {"completion_tokens": "completion_tokens: true"},
        ": completion_tokens: `true` is not a whole number; write one such as 200, 200k, 1.5M or 2B",
    ),
    (
        {"completion_tokens": "completion_tokens: 99999999"},
        ": completion_tokens: must be at most 10,000,000, not 99999999",
    ),
    (
        {"x": "output_limit: 100"},
        ": output_limit: 100 is less than the 200 of `completion_tokens`: an answer ends at its limit; raise it or ask for less",
    ),
    (
        {"x": "output_limit: lots"},
        ": output_limit: `lots` is not a whole number; write one such as 200, 200k, 1.5M or 2B",
    ),
    ({"x": "output_limit: [1]"}, ": output_limit: `[1]` is neither a number of tokens nor `none`"),
    ({"x": "output_limit: 0"}, ": output_limit: must be at least 1, not 0"),
    (
        {"x": "cached: {tokens: 1000}"},
        ": cached.tokens: 1000 is too few: Azure caches nothing under 1,024 tokens; raise it or remove `cached`",
    ),
    (
        {"x": "cached: {tokens: 2000}"},
        ": cached.tokens: 2000 does not fit into prompts of 1,000 tokens, which need 32 of their own; lower it or raise `prompt_tokens`",
    ),
    ({"x": "cached: {prefixes: 3}"}, ": cached: `tokens` is missing; write for example `tokens: 2048`"),
    (
        {"x": "cached: 2048"},
        ": cached: `2048` is not a mapping; write `tokens: 2048` below it, or --set cached.tokens=2048",
    ),
    (
        {"x": "warmup: 10m"},
        (
            ": warmup: 10m is not shorter than the duration of 10m: nothing would be measured; "
            "lower it, such as --set warmup=1m"
        ),
    ),
    (
        {"x": "warmup: until_492"},
        ": warmup: `until_492` is neither a duration such as 1m nor `auto` nor `until_429`",
    ),
    (
        {"x": "warmup: 60"},
        ": warmup: `60` is not a duration; write a number with a unit, such as 30s, 10m, 1h30m or 800ms",
    ),
    (
        {"x": "throttling: {max_retries: -1}"},
        ": throttling.max_retries: must be at least 0, not -1",
    ),
    (
        {"x": "throttling: {on_429: divert}"},
        ": throttling: `on_429: divert` needs `divert_to`, the second target, such as `divert_to: {deployment: standard}`",
    ),
    (
        {"x": "throttling: {retries: 2}"},
        ": unknown key `throttling.retries`; did you mean `throttling.max_retries`?",
    ),
    (
        {"x": "throttling: {on_429: wait}"},
        ": throttling.on_429: `wait` is not one of `none`, `retry`, `divert`",
    ),
    (
        {"x": "throttling: {max_wait: 10}"},
        ": throttling.max_wait: `10` is not a duration; write a number with a unit, such as 30s, 10m, 1h30m or 800ms",
    ),
    (
        {"x": "throttling: {divert_to: {endpiont: x}}"},
        ": unknown key `throttling.divert_to.endpiont`; did you mean `throttling.divert_to.endpoint`?",
    ),
    (
        {"x": "throttling: {divert_to: {api_key: abc}}"},
        ": throttling.divert_to.api_key: a secret has no place in a workload file; set the environment variable AZURE_OPENAI_API_KEY, or name another one with `target.key_env`",
    ),
    ({"x": "seed: -1"}, ": seed: must be at least 0, not -1"),
    ({"x": "seed: 1.5"}, ": seed: `1.5` is not a whole number; write one such as 200, 200k, 1.5M or 2B"),
    ({"x": "max_in_flight: 0"}, ": max_in_flight: must be at least 1, not 0"),
    (
        {"x": "drain: 60"},
        ": drain: `60` is not a duration; write a number with a unit, such as 30s, 10m, 1h30m or 800ms",
    ),
    ({"x": "stream: 1"}, ": stream: `1` is neither true nor false"),
    ({"x": "timeouts: {total: 0s}"}, ": timeouts.total: must be above 0"),
    ({"x": "timeouts: {idel: 5s}"}, ": unknown key `timeouts.idel`; did you mean `timeouts.idle`?"),
    ({"x": "slo: {}"}, ": slo: needs `ttft` or `e2e`, such as `slo: {ttft: 1s}`"),
    (
        {"x": "slo: {ttft: 1}"},
        ": slo.ttft: `1` is not a duration; write a number with a unit, such as 30s, 10m, 1h30m or 800ms",
    ),
    (
        {"x": "checks: ttft.p95 <= 1s"},
        ": checks: must be a list with at least one item, each on a line that begins with `- `",
    ),
    ({"x": "checks: [1]"}, ": checks.0: `1` is not text; put it in quotes"),
    ({"x": "description: 3"}, ": description: `3` is not text; put it in quotes"),
    (
        {"x": "parameters: {max_tokens: 5}"},
        ": parameters.max_tokens: is set by ptubench itself; remove it and use `output_limit`",
    ),
    ({"x": "parameters: {stream: true}"}, ": parameters.stream: is set by ptubench itself; remove it and use `stream`"),
    ({"x": "parameters: []"}, ": parameters: `[]` is not a mapping; write `key: value` lines below it"),
    (
        {"x": "client: curl"},
        ": client: `curl` is neither `timed` nor `httpx` nor a function as `package.module:function`",
    ),
    ({"x": "mix: {}"}, ": mix: needs at least one class, such as `short: {weight: 1, prompt_tokens: 500}`"),
    ({"x": "mix: {a b: {weight: 1}}"}, ": mix: `a b` is no name for a class; use letters, digits, `-` and `_`"),
    ({"x": "mix: {a: {weight: 0}}"}, ": mix.a.weight: must be above 0"),
    ({"x": "mix: {a: {wight: 1}}"}, ": unknown key `mix.a.wight`; did you mean `mix.a.weight`?"),
    ({"x": "mix: {a: {prompt_tokens: 3}}"}, ": mix.a.prompt_tokens: must be at least 32, not 3"),
    ({"x": "mix: [1]"}, ": mix: `[1]` is not a mapping; write `key: value` lines below it"),
    (
        {"x": "messages: {file: none.jsonl}", "prompt_tokens": "", "completion_tokens": ""},
        ": messages.file: `none.jsonl` can't be read (No such file or directory); relative names start at the workload file",
    ),
    (
        {"x": "messages: {file: empty.jsonl}", "prompt_tokens": "", "completion_tokens": ""},
        ": messages.file: `empty.jsonl` is empty; it needs at least one line",
    ),
    (
        {"x": "messages: {file: some.jsonl}"},
        ": prompt_tokens: does not go with `messages`, which are the prompts; remove one of them",
    ),
    (
        {"x": "messages: {file: some.jsonl, order: any}", "prompt_tokens": "", "completion_tokens": ""},
        ": messages.order: `any` is not one of `given`, `random`",
    ),
    (
        {"x": "messages: {}", "prompt_tokens": "", "completion_tokens": ""},
        ": messages: `file` is missing; name the file, relative to the workload file",
    ),
    (
        {
            "x": "messages: {file: some.jsonl}",
            "prompt_tokens": "",
            "completion_tokens": "",
            "load": "load: {utilization: 90%}",
        },
        ": load: a load in tokens or utilization needs `prompt_tokens` and `completion_tokens`, which `messages` don't tell; give `rate` instead",
    ),
    (
        {"load": "load: {trace: {file: none.csv}}", "prompt_tokens": "", "completion_tokens": ""},
        ": load.trace.file: `none.csv` can't be read (No such file or directory); relative names start at the workload file",
    ),
    (
        {"load": "load: {trace: {file: other.csv}}", "prompt_tokens": "", "completion_tokens": ""},
        ": load.trace.file: its first line is not that of a known trace; say which it is with `format`, `azure`, `jsonl`, `usage`",
    ),
    (
        {"load": "load: {trace: {file: t.csv, format: xml}}", "prompt_tokens": "", "completion_tokens": ""},
        ": load.trace.format: `xml` is not one of `azure`, `jsonl`, `usage`",
    ),
    (
        {"load": "load: {trace: {file: t.csv}}"},
        ": prompt_tokens: a trace brings its own sizes; remove this key, or `load.trace`",
    ),
    (
        {"load": "load: {trace: {file: t.csv, speed: 0}}", "prompt_tokens": "", "completion_tokens": ""},
        ": load.trace.speed: must be above 0",
    ),
    (
        {"load": "load: {trace: {file: .}}", "prompt_tokens": "", "completion_tokens": ""},
        ": load.trace.file: `.` is not a file",
    ),
    ({"x": "target: {endpoit: x}"}, ": unknown key `target.endpoit`; did you mean `target.endpoint`?"),
    ({"x": "target: {ptu: 0}"}, ": target.ptu: must be at least 1, not 0"),
    (
        {"x": "target: {ptu: 15.5}"},
        ": target.ptu: `15.5` is not a whole number; write one such as 200, 200k, 1.5M or 2B",
    ),
    ({"x": "target: {model: 4.1}"}, ": target.model: `4.1` is not text; put it in quotes"),
    (
        {"x": "target: {ratio: 4:1}"},
        ":6: `4:1` is read differently by different YAML readers; put it in quotes if it is text, else write it another way",
    ),
    (
        {"x": "target: https://x"},
        ": target: `https://x` is not a mapping; write `endpoint: https://x` below it, or --set target.endpoint=https://x",
    ),
]

# YAML that is no plain data, with the line.
NOT_YAML = [
    ("a: 1\na: 2", ":2: the key `a` is given twice; keep one"),
    ("load:\n  rate: 1/s\n  rate: 2/s", ":3: the key `rate` is given twice; keep one"),
    ("a: &x 1", ":1: an anchor (`&NAME`) is not supported; remove it"),
    ("a: 1\nb: *x", ":2: an alias (`*NAME`) is not supported; write the value out"),
    ("a: !!python/name:os 1", ":1: a tag (`!NAME`) is not supported; remove it"),
    ("a: " + "[" * 30, ":1: nested more than 20 levels deep; no workload needs that"),
    ("name: x\n---\nname: y", ":3: a second document begins here; a workload file holds one"),
    ("{[1]: 2}", ":1: a key must be a single word"),
    ("a: {b", ":1: not valid YAML: expected ',' or '}', but got '<stream end>'"),
    ("a: 1\n\tb: 2", ":2: not valid YAML: found character '\\t' that cannot start any token"),
    ('a: "\\ud800"', ":1: half a surrogate pair is no character; write the character itself"),
    ('a: "\\U00110000"', ": not valid YAML: it holds a character that is not allowed in text"),
    ("a: \x00", ": not valid YAML: it holds a character that is not allowed in text"),
    ("", ": is empty; `ptubench init` writes a file to begin with"),
    ("# nothing", ": is empty; `ptubench init` writes a file to begin with"),
    ("- 1", ": is not a mapping; write `key: value` lines, such as `name: chat`"),
    ("just words", ": is not a mapping; write `key: value` lines, such as `name: chat`"),
    ("#" * (MAX_BYTES + 1), ": larger than 1 MiB; a workload is a page of text, prompts go into a messages file"),
]
AMBIGUOUS = ["on", "Yes", "off", "1:30", "2026-11-22", "010", "0x1F", "1_000", ".inf", ".nan", "1e999", "9" * 20, "<<"]


def fault(text, folder=Path(), **kwargs):
    """What is said of a text."""
    with pytest.raises(UsageError) as caught:
        decode(text, "chat.yaml", folder, **kwargs)
    return str(caught.value)


def changed(**lines):
    return "\n".join(line for line in {**GOOD, **lines}.values() if line)


@pytest.fixture
def folder(tmp_path):
    """Where messages and traces are."""
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "some.jsonl").write_text('{"messages": []}\n')
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "t.csv").write_text(TRACE)
    return tmp_path


@pytest.mark.parametrize(("lines", "sentence"), FAULTS, ids=lambda value: str(value)[:60])
def test_a_fault_is_one_sentence_with_place_and_way_out(lines, sentence, folder):
    assert fault(changed(**lines), folder) == f"chat.yaml{sentence}"


@pytest.mark.parametrize(("text", "sentence"), NOT_YAML, ids=lambda value: str(value)[:40])
def test_what_is_not_plain_yaml_is_named_with_its_line(text, sentence):
    assert fault(text) == f"chat.yaml{sentence}"


@pytest.mark.parametrize("word", AMBIGUOUS)
@pytest.mark.parametrize("text", ["description: {}", "{}: 1", "checks: [{}]"])
def test_what_yaml_readers_disagree_on_asks_for_quotes(text, word):
    sentence = f"`{word}` is read differently by different YAML readers; put it in quotes if it is text, else write it another way"

    assert fault(text.replace("{}", word)) == f"chat.yaml:1: {sentence}"


@pytest.mark.parametrize("word", AMBIGUOUS)
def test_in_quotes_any_word_is_text(word):
    workload = decode(changed(x=f'description: "{word}"'), "chat.yaml", Path())

    assert workload.description == word


@pytest.mark.parametrize(("line", "place"), SECRETS.items(), ids=SECRETS.values())
def test_a_secret_in_the_file_is_refused_and_not_repeated(line, place):
    said = fault(changed(**{line.partition(":")[0]: line}))

    assert said == (
        f"chat.yaml: {place}: a secret has no place in a workload file; set the environment variable "
        "AZURE_OPENAI_API_KEY, or name another one with `target.key_env`"
    )


@pytest.mark.parametrize("secret", [ENCODED_KEY, "sk-abcdefghijklmnop1234", "0f23456789abcdef0f23456789abcdef"])
@pytest.mark.parametrize(
    "text", ["name: @", "@: 1", "a: &@ 1", "a: *@", "a: !@ 1", "a: 1\n@: [", "@: 1\n@: 2", "x: [@: {@: @}]"]
)
def test_no_message_repeats_a_secret_wherever_it_stands(text, secret):
    assert secret not in fault(text.replace("@", secret))


def test_a_missing_file_is_named_with_the_shipped_ones(tmp_path):
    with pytest.raises(UsageError) as caught:
        read(tmp_path / "none.yaml")

    assert str(caught.value).startswith(
        f"{tmp_path}/none.yaml: can't be read (No such file or directory); name a workload"
    )


def test_a_misspelt_name_is_answered_with_the_nearest_shipped_one():
    with pytest.raises(UsageError) as caught:
        read("chatt")

    assert str(caught.value) == "chatt: neither a workload file nor a shipped workload; did you mean `chat`?"


def test_a_file_that_is_not_utf_8_is_said_to_be_so(tmp_path):
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"name: caf\xe9")

    with pytest.raises(UsageError) as caught:
        read(file)

    assert str(caught.value) == f"{file}: not UTF-8 text; save it as UTF-8"


def test_a_huge_file_is_refused_without_reading_it_all(tmp_path):
    file = tmp_path / "huge.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)

    with pytest.raises(UsageError) as caught:
        read(file)

    assert (
        str(caught.value) == f"{file}: larger than 1 MiB; a workload is a page of text, prompts go into a messages file"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_the_place_of_messages_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")

    said = fault(changed(**NO_SIZES, x="messages: {file: pipe.jsonl}\noutput_limit: 9"), tmp_path)

    assert said == "chat.yaml: messages.file: `pipe.jsonl` is not a file"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("load.rate", "--set load.rate: not of the form KEY=VALUE, such as load.rate=60/min"),
        ("=3", "--set =3: not of the form KEY=VALUE, such as load.rate=60/min"),
        ("load..rate=3", "--set load..rate=3: not of the form KEY=VALUE, such as load.rate=60/min"),
        ("load.rate=[", "--set load.rate:1: not valid YAML: expected the node content, but found '<stream end>'"),
        ("checks.5=a", "--set checks.5: `5` is no item of the list; its items are 0 to 0"),
        ("checks.x=a", "--set checks.x: `x` is no item of the list; its items are 0 to 0"),
        ("name.x=a", "--set name.x: `x` has nothing to stand in: what is above it is neither a mapping nor a list"),
        ("name.x.y=a", "--set name.x.y: `x` has nothing to stand in: what is above it is neither a mapping nor a list"),
        ("lod.rate=3/s", "chat.yaml: unknown key `lod`; did you mean `load`?"),
        (
            "load.rate=3",
            "chat.yaml: load.rate: `3` is not a rate; write a number per period, such as 45/min, 2/s or 3k/h",
        ),
        (
            "load.concurrency=3",
            "chat.yaml: load: `rate`, `concurrency` are 2 kinds of load; keep one (--rate and --concurrency replace it)",
        ),
        (
            ".".join("a" * 30) + "=1",
            "--set " + "a." * 29 + "a: nested more than 20 levels deep; no workload needs that",
        ),
    ],
)
def test_a_faulty_override_is_named_as_it_was_typed(override, sentence):
    assert fault(changed(x="checks: [ttft.p50 <= 1s]"), overrides=[override]) == sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rate": "45"}, "--rate: `45` is not a rate; write a number per period, such as 45/min, 2/s or 3k/h"),
        ({"on_429": "wait"}, "--on-429: `wait` is not one of `none`, `retry`, `divert`"),
        ({"concurrency": 0}, "--concurrency: must be at least 1, not 0"),
        (
            {"duration": "30"},
            "--duration: `30` is not a duration; write a number with a unit, such as 30s, 10m, 1h30m or 800ms",
        ),
        ({"seed": -1}, "--seed: must be at least 0, not -1"),
        ({"rate": "1/s", "concurrency": 3}, "--rate and --concurrency are two kinds of load; give one of them"),
    ],
)
def test_a_faulty_option_is_named_and_not_the_file(options, sentence):
    assert fault(changed(), options=options) == sentence


WORDS = sorted({key for keys in KEYS.values() for key in keys})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["45/min", "10m", "200k", "90%", "1%", "none", "poisson", "gamma", "auto", "env:X", "a.b:c", "9" * 400]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), below, max_size=4)
    ),
    max_leaves=12,
)


@given(text=st.text(max_size=300) | st.text("abc:-[]{}&*!|>'\"%@`#,? \n\t0.~", max_size=60))
def test_any_text_is_a_workload_or_a_usage_error(text):
    assert is_workload_or_refused(text)


@given(lines=st.dictionaries(st.sampled_from(KEYS["workload"]), VALUES, max_size=6))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_values_are_a_workload_or_a_usage_error(lines):
    import yaml

    assert is_workload_or_refused(changed(**{key: yaml.safe_dump({key: value}) for key, value in lines.items()}))


@given(override=st.text(max_size=40) | st.builds("{}={}".format, st.sampled_from(WORDS), st.text(max_size=20)))
def test_any_override_is_applied_or_a_usage_error(override):
    assert is_workload_or_refused(changed(), overrides=[override])


def is_workload_or_refused(text, **kwargs):
    try:
        workload = decode(text, "any.yaml", Path(), **kwargs)
    except UsageError as exc:
        return "\n" not in str(exc)
    return isinstance(workload, Workload)
