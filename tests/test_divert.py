"""Diverting after a 429: where the second target is, which secret goes there, and what a run makes of it."""

import json
import os
import subprocess
import sys

import pytest

import running
import virtual
from ptubench.errors import UsageError
from ptubench.target.divert import resolve_divert
from ptubench.target.model import TargetOptions
from ptubench.target.resolve import request_headers, resolve_target
from ptubench.workload.model import ClosedLoop, OpenLoop, Stage, Throttling
from simulated import simulated
from virtual import Say

pytestmark = pytest.mark.alone

ENV = {
    "AZURE_OPENAI_API_KEY": "first-key",
    "SECOND_KEY": "second-key",
    "GATEWAY": "gateway-key",
    "AZURE_OPENAI_ENDPOINT": "https://env.openai.azure.com",
    "AZURE_OPENAI_DEPLOYMENT": "of-the-environment",
}
FIRST = {"endpoint": "https://r.openai.azure.com", "deployment": "ptu"}
V1 = "/openai/v1/chat/completions"


def both(divert_to, *, file=None, **options):
    """The two targets."""
    said = TargetOptions(**options)
    target = resolve_target(said, file or {}, ENV, workload_name="chat", entra=False)
    second = resolve_divert(divert_to, target, said, file or {}, ENV, workload_name="chat", entra=False)
    return target, second


def second(divert_to, **how):
    return both(divert_to, **{**FIRST, **how})[1]


def fault(divert_to, **how):
    with pytest.raises(UsageError) as caught:
        second(divert_to, **how)
    return str(caught.value)


# --- where it is


@pytest.mark.parametrize(
    ("first", "url", "body_model"),
    [
        ({}, f"https://r.openai.azure.com{V1}", "standard"),
        (
            {"api_version": "2024-10-21"},
            "https://r.openai.azure.com/openai/deployments/standard/chat/completions?api-version=2024-10-21",
            None,
        ),
        (
            {
                "endpoint": "https://r.openai.azure.com/openai/deployments/ptu/chat/completions?api-version=2025-01-01",
                "deployment": None,
            },
            "https://r.openai.azure.com/openai/deployments/standard/chat/completions?api-version=2025-01-01",
            None,
        ),
        ({"endpoint": "https://gw.test/team", "api_style": "v1"}, f"https://gw.test/team{V1}", "standard"),
        ({"endpoint": "http://127.0.0.1:8000/v1"}, "http://127.0.0.1:8000/v1/chat/completions", "standard"),
        ({"endpoint": None, "deployment": None}, f"https://env.openai.azure.com{V1}", "standard"),
        ({"api": "responses"}, "https://r.openai.azure.com/openai/v1/responses", "standard"),
    ],
    ids=[
        *("v1", "classic", "a pasted address of the first one", "a gateway", "an OpenAI-compatible server"),
        *("the environment's endpoint", "another API"),
    ],
)
def test_a_deployment_alone_stands_beside_the_target_and_is_reached_as_it_is(first, url, body_model):
    target, diverted = both({"deployment": "standard", "type": "standard"}, **{**FIRST, **first})

    assert (diverted.url, diverted.body_model, diverted.deployment) == (url, body_model, "standard")
    assert (diverted.type, diverted.ptu, diverted.model) == ("standard", None, None)
    assert request_headers(diverted, ENV) == request_headers(target, ENV)


def test_beside_the_target_it_may_have_a_key_of_its_own():
    diverted = second({"deployment": "standard", "key_env": "SECOND_KEY"})

    assert request_headers(diverted, ENV) == {"api-key": "second-key"}


def test_headers_for_a_gateway_go_to_both_unless_the_second_one_says_its_own():
    gateway = {"header": ("x-gateway: env:GATEWAY",), "auth": "none"}

    assert request_headers(second({"deployment": "s"}, **gateway), ENV) == {"x-gateway": "gateway-key"}
    assert request_headers(second({"deployment": "s", "key_env": "SECOND_KEY"}, **gateway), ENV) == {
        "api-key": "second-key"
    }


def test_elsewhere_it_shares_nothing_with_the_target():
    diverted = second(
        {"endpoint": "https://other.openai.azure.com", "deployment": "d", "key_env": "SECOND_KEY"},
        api_version="2024-10-21",
        header=("x-gateway: env:GATEWAY",),
        trust_target=True,
    )

    assert diverted.url == f"https://other.openai.azure.com{V1}"
    assert request_headers(diverted, ENV) == {"api-key": "second-key"}


def test_on_this_machine_it_needs_no_key_and_gets_none():
    diverted = second({"endpoint": "http://127.0.0.1:8000/v1", "deployment": "d"})

    assert request_headers(diverted, ENV) == {}


def test_both_are_simulated_or_neither():
    target, diverted = both({"simulate": "gpt-4.1:15"}, simulate="gpt-4.1:50")

    assert (target.ptu, diverted.ptu, diverted.kind) == (50, 15, "simulated")


ELSEWHERE = "https://other.openai.azure.com"


@pytest.mark.parametrize(
    ("divert_to", "how", "sentence"),
    [
        ({}, {}, "chat: throttling.divert_to: needs the name of another `deployment`, or an `endpoint` of its own"),
        (
            {"deployment": "ptu"},
            {},
            "chat: throttling.divert_to: needs the name of another `deployment`, or an `endpoint` of its own",
        ),
        (
            {"endpoint": ELSEWHERE, "auth": "none"},
            {},
            "chat: throttling.divert_to.endpoint: which deployment is meant there? name it with `deployment`",
        ),
        (
            {"deployment": "standard", "api": "responses"},
            {},
            "chat: throttling.divert_to: speaks the API responses and the target chat; requests are made for one",
        ),
        (
            {"endpoint": f"{ELSEWHERE}/openai/v1/responses", "deployment": "d", "auth": "none"},
            {},
            "chat: throttling.divert_to: speaks the API responses and the target chat; requests are made for one",
        ),
        (
            {"endpoint": ELSEWHERE, "deployment": "d"},
            {},
            (
                f"chat: throttling.divert_to.endpoint: no key for {ELSEWHERE}: name the variable that holds it with "
                "`key_env`, or write `auth: entra` or `auth: none`"
            ),
        ),
        (
            {"endpoint": ELSEWHERE, "deployment": "d", "auth": "key"},
            {"trust_target": True},
            (
                f"chat: throttling.divert_to.endpoint: no key for {ELSEWHERE}: name the variable that holds it with "
                "`key_env`, or write `auth: entra` or `auth: none`"
            ),
        ),
        (
            {"endpoint": ELSEWHERE, "deployment": "d", "key_env": "SECOND_KEY"},
            {},
            (
                "chat: throttling.divert_to.endpoint: no secret is sent to an endpoint that only a workload file names; "
                "say --trust-target"
            ),
        ),
        (
            {"endpoint": "http://other.test/v1", "deployment": "d", "key_env": "SECOND_KEY"},
            {"trust_target": True},
            (
                "chat: throttling.divert_to.endpoint: the key in SECOND_KEY would cross the network readable to all; "
                "use https, or --auth none"
            ),
        ),
        (
            {"simulate": "gpt-4.1:15"},
            {},
            (
                "chat: throttling.divert_to: a real target diverts to no simulated one; name a deployment, "
                "or say --on-429 none"
            ),
        ),
        (
            {"deployment": "standard"},
            {"simulate": "gpt-4.1:50"},
            (
                "chat: throttling.divert_to: a run on a simulated deployment diverts to no real one; write "
                "`divert_to: {simulate: gpt-4.1:15}`, or say --on-429 none"
            ),
        ),
    ],
)
def test_what_cannot_be_diverted_to_is_one_sentence(divert_to, how, sentence):
    assert fault(divert_to, **how) == sentence


def test_a_key_of_the_files_choice_is_not_sent_to_a_target_that_only_the_file_names():
    file = {"endpoint": ELSEWHERE, "deployment": "ptu", "auth": "none"}
    with pytest.raises(UsageError, match="not sent to an endpoint that only a workload file names"):
        both({"deployment": "standard", "key_env": "SECOND_KEY"}, file=file)


# --- the generator


def diverting(load, duration):
    policy = Throttling(on_429="divert", divert_to={"deployment": "standard"})
    return virtual.workload(load, duration=duration, throttling=policy)


BUSY = Say(429, {"retry-after-ms": "30000"})


def test_only_a_429_is_diverted_at_once_and_once():
    ends = [BUSY, Say(503), Say(), BUSY, Say(429, {"x-should-retry": "false"})]
    seconds = [Say(), Say(), Say(), BUSY, Say()]
    first, other = (virtual.Service([[end] for end in rows]) for rows in (ends, seconds))
    load = OpenLoop(stages=(Stage(value=1, seconds=5),), arrivals="constant")
    attempts = virtual.generate(diverting(load, 5.0), first, divert=other)

    assert [(a.index, a.attempt, a.status, a.diverted) for a in attempts] == [
        (0, 0, 429, False),
        (0, 1, 200, True),
        (1, 0, 503, False),
        (2, 0, 200, False),
        (3, 0, 429, False),
        (3, 1, 429, True),
        (4, 0, 429, False),
        (4, 1, 200, True),
    ]
    assert other.arrived[0] == [first.arrived[0][0] + BUSY.takes]
    assert not any(a.waited or a.gave_up for a in attempts)


def test_a_lane_goes_on_after_a_diverted_answer_and_waits_after_a_second_429():
    first = virtual.Service([[BUSY]] * 2)
    other = virtual.Service([[Say()], [Say(429, {"retry-after-ms": "2000"})]])
    attempts = virtual.generate(diverting(ClosedLoop(concurrency=2), 5.0), first, divert=other)

    assert {a.lane_wait for a in attempts if a.lane == 0} == {0.0}
    assert {a.lane_wait for a in attempts if a.lane == 1} == {0.0, 2.0}


def test_after_a_stop_nothing_is_diverted_any_more():
    load = OpenLoop(stages=(Stage(value=1, seconds=2),), arrivals="constant")
    other = virtual.Service([[Say()]] * 2)
    attempts = virtual.generate(diverting(load, 2.0), virtual.Service([[BUSY]] * 2), divert=other, stop=1.1)

    assert [(a.index, a.outcome) for a in attempts] == [(0, "throttled"), (0, "ok"), (1, "throttled")]
    assert other.arrived[1] == []


# --- a whole run


DEPLOYMENT = {"model": "law", "ratio": 1, "tpm_per_ptu": 10 * 45 * 60, "ptu": 1, "tps": 2000, "jitter": 0}
"""10 calls of 45 tokens a second."""


@pytest.fixture(scope="module")
def diverted(tmp_path_factory):
    """A small deployment with a key, and a large slow one with another; the run, and what each of them logged."""
    return running.calmly(lambda: on_both(tmp_path_factory.mktemp("diverted")), lambda found: found[0].calm)


def on_both(folder):
    env = {**os.environ, "FIRST_KEY": "first", "SECOND_KEY": "second"}
    for name in ("first", "second"):
        (folder / name).mkdir()
    with (
        simulated(folder / "first", env=env, **DEPLOYMENT, depth=0.5, latency=0.02, key_env="FIRST_KEY") as first,
        simulated(folder / "second", env=env, **{**DEPLOYMENT, "ptu": 90}, latency=0.3, key_env="SECOND_KEY") as second,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("FIRST_KEY", "first")
        patch.setenv("SECOND_KEY", "second")
        elsewhere = {"endpoint": f"{second.url}/v1", "deployment": "large", "key_env": "SECOND_KEY"}
        run = running.start(
            folder / "run",
            *running.endpoint(first.url, "--key-env", "FIRST_KEY", "--trust-target", "--workers", "2"),
            *("--model", "law", "--ptu", "1", "--ratio", "1", "--tpm-per-ptu", str(DEPLOYMENT["tpm_per_ptu"])),
            load={"rate": "30/s", "arrivals": "poisson"},
            completion_tokens=5,
            throttling={"on_429": "divert", "divert_to": elsewhere},
        ).finish()
        calls = sum(attempt.diverted for attempt in run.attempts)
        logs = first.log(len(run.attempts) - calls + 1)[1:], second.log(calls + 1)[1:]
    return run, *logs


def test_every_429_is_sent_to_the_second_target_with_its_own_key_and_answered_there(diverted):
    run, first, second = diverted
    requests = run.metrics["requests"]

    assert requests["ok"] == requests["total"] == run.head.planned
    assert requests["diverted"] == len(second) == sum(entry["status"] == 429 for entry in first) > 0
    assert {entry["status"] for entry in second} == {200}
    assert run.metrics["refused"]["count"] == len(second)
    assert run.metrics["throttled"]["count"] == requests["gave_up"] == 0


def test_both_attempts_stay_and_the_second_begins_when_the_429_has_come(diverted):
    run, _, _ = diverted
    again = {attempt.index: attempt for attempt in run.attempts if attempt.diverted}

    for attempt in run.attempts:
        if attempt.status == 429:
            after = again[attempt.index]
            assert (attempt.attempt, after.attempt, attempt.diverted) == (0, 1, False)
            assert after.sent - after.connect_s >= attempt.end if after.connect_s else after.sent >= attempt.end
            assert (after.scheduled, after.taken, after.waited) == (attempt.scheduled, attempt.taken, 0)


def test_the_targets_own_latency_and_throughput_are_without_what_was_diverted(diverted):
    run, first, _ = diverted
    served = sum(entry["status"] == 200 for entry in first)
    in_window = [a for a in run.attempts if a.status == 200 and not a.diverted and a.sent < run.head.window[1]]
    group = run.summary["groups"]["diverted"]

    assert run.metrics["ttft"]["count"] == served
    assert run.metrics["ttft"]["p50"] < 0.3 <= group["ttft"]["min"]
    assert run.metrics["rpm"]["admitted"] == pytest.approx(30 * len(in_window))
    assert 3 * served < run.metrics["gap"]["count"] <= 4 * served  # late ones fall out of the window


def test_the_second_target_stands_in_the_file_without_its_key(diverted):
    run, _, _ = diverted

    assert run.head.divert_to["deployment"] == "large"
    assert run.head.divert_to["key_env"] == "SECOND_KEY"
    assert "second" not in json.dumps({**run.head.divert_to, "sources": None}).replace("SECOND_KEY", "")


def test_a_simulated_run_diverts_to_a_second_one_which_is_asked_for_what_it_takes(tmp_path):
    run = running.start(
        tmp_path / "run",
        *("--simulate", "gpt-4.1:1,depth=0.5s,latency=0.02,tps=500"),
        load={"rate": "20/s", "arrivals": "constant"},
        throttling={"on_429": "divert", "divert_to": {"simulate": "o3:50,latency=0.1"}},
        parameters={"temperature": 0.5},  # a model that reasons takes none
    ).finish()

    assert run.metrics["requests"]["ok"] == 40
    assert {a.headers["x-ptubench-simulated"] for a in run.attempts if a.diverted} == {"o3:50"}
    assert run.head.divert_to["kind"] == "simulated"
    assert (list(run.head.probe["left_out"]), list(run.head.divert_probe["left_out"])) == ([], ["temperature"])
    assert "throttling.divert_to: the target refuses `temperature`" in run.said
    assert run.summary["target"]["divert_probe"] == {
        "status": 200,
        "model": "o3-2025-04-16",
        "left_out": ["temperature"],
    }


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("wrong", "error: throttling.divert_to: http://127.0.0.1:"),
        (None, "error: SECOND_KEY is not set; set it to the key of the target, or name another with --key-env"),
    ],
)
def test_a_second_target_that_refuses_ends_the_run_before_any_load(tmp_path, key, said):
    env = {**os.environ, "SECOND_KEY": "second"}
    workload = tmp_path / "w.yaml"
    with simulated(tmp_path, env=env, **DEPLOYMENT, key_env="SECOND_KEY") as server:
        elsewhere = {"endpoint": f"{server.url}/v1", "deployment": "d", "key_env": "SECOND_KEY"}
        policy = {"on_429": "divert", "divert_to": elsewhere}
        workload.write_text(json.dumps({**running.WORKLOAD, "throttling": policy}))
        done = subprocess.run(
            [sys.executable, "-m", "ptubench", "run", workload, *running.endpoint(server.url), "--trust-target"],
            env={name: value for name, value in os.environ.items() if "KEY" not in name}
            | ({"SECOND_KEY": key} if key else {})
            | {"AZURE_OPENAI_API_KEY": "second"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == (5 if key else 2), done.stderr
    assert done.stderr.splitlines()[-1].startswith(said)
    assert not list(tmp_path.glob("results/*"))
