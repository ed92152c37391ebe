"""Spillover: what the simulated resource serves elsewhere, and that a run tells it from the target's own answers."""

import contextlib
import http.client
import json

import pytest

import running
import runs
from ptubench.engine.account import Account
from ptubench.engine.progress import Progress
from ptubench.errors import UsageError
from ptubench.record import SPILLED
from ptubench.sim.deployment import Admitted, Call, Refused
from ptubench.sim.options import from_mapping, parse
from ptubench.sim.spillover import Resource
from simulated import PATIENCE, simulated

pytestmark = pytest.mark.alone

UNIT = {"model": "unit", "ptu": 1, "ratio": 1, "tpm_per_ptu": 60, "tps": 10, "latency": 1, "jitter": 0, "load": 0}


def resource(**options):
    return Resource(from_mapping({**UNIT, **options}))


# --- the pure model


def test_what_the_first_refuses_the_second_serves_slower():
    both = resource(depth=100, spill="unit:10", spill_slower=3)
    own = both.offer(0, Call(prompt=500, limit=5))
    spilled = both.offer(0, Call(prompt=500, limit=5))

    assert (own.by is both.first, own.error) == (True, None)
    assert (spilled.by is both.second, spilled.error) == (True, 429)
    assert isinstance(spilled.answer, Admitted)
    assert spilled.answer.start == pytest.approx(3 * own.answer.start)
    assert spilled.answer.per_token == pytest.approx(3 * own.answer.per_token)


def test_what_is_spilled_is_not_charged_to_the_first():
    both = resource(depth=100, spill="unit:10")
    for _ in range(5):
        offered = both.offer(0, Call(prompt=100, limit=5, asked=5))
        offered.by.complete(0, offered.answer)
    state = both.state(0)

    assert (state["admitted"], state["throttled"], state["spilled"]) == (1, 4, 4)
    assert sum(tokens for _, tokens in state["minutes"]) == 105


def test_without_spillover_only_a_request_that_asks_for_it_is_spilled():
    both = resource(level="full")
    refused = both.offer(0, Call(prompt=100))
    spilled = both.offer(0, Call(prompt=100), spill=True)

    assert isinstance(refused.answer, Refused)
    assert isinstance(spilled.answer, Admitted)


@pytest.mark.parametrize(
    ("options", "prompt", "status"),
    [({"level": "full"}, 10, 429), ({"model": "gpt-4.1"}, 128_001, 400), ({"errors": 1}, 10, 500)],
)
def test_every_refusal_of_the_service_is_a_trigger(options, prompt, status):
    offered = resource(**options).offer(0, Call(prompt=prompt), spill=True)

    assert offered.error == status
    assert isinstance(offered.answer, Admitted)


def test_errors_of_the_service_are_as_many_as_asked_and_of_two_kinds():
    both = resource(errors="10%", depth=1e9)
    statuses = [both.offer(i, Call(prompt=10, key=b"same")).answer for i in range(3000)]
    failed = [answer.status for answer in statuses if isinstance(answer, Refused)]

    assert len(failed) / 3000 == pytest.approx(0.1, abs=0.02)
    assert set(failed) == {500, 503}


def test_the_second_refuses_too_when_its_quota_is_used_up():
    both = resource(level="full", spill="unit:1")
    answers = [both.offer(0, Call(prompt=600, limit=1)).answer for _ in range(3)]

    assert [type(answer) for answer in answers] == [Admitted, Admitted, Refused]
    assert both.second.remaining(0) == 0


@pytest.mark.parametrize("spill", ["unit", "unit:0", "unit:many", ":5", "unit:99999999"])
def test_a_senseless_second_deployment_is_the_users_error(spill):
    with pytest.raises(UsageError, match="spill"):
        resource(spill=spill)


def test_spillover_can_be_asked_for_in_one_text():
    assert parse("gpt-4.1:50,spill=gpt-4.1-mini:300").second.label == "gpt-4.1-mini:standard"


# --- over HTTP


def ask(sim, prompt="one two, in 5 tokens.", **headers):
    """Status, headers and body of one exchange."""
    body = {"model": "mine", "messages": [{"role": "user", "content": prompt}], "max_tokens": 5}
    connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/openai/v1/chat/completions", json.dumps(body), named)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A deployment that refuses everything for a long time, with spillover switched on."""
    full_for_long = {"level": "full", "depth": 10_000, "ptu": 15, "spill": "gpt-4.1:300", "prefill": 1e7}
    with simulated(tmp_path_factory.mktemp("full"), **full_for_long) as running_:
        # At the brim nothing drains below it before the first call, and that one would be admitted.
        ask(running_, "word " * 20_000)
        yield running_


def test_a_spilled_answer_says_by_whom_from_whom_and_why(full):
    status, headers, _ = ask(full)

    assert status == 200
    assert headers["x-ms-spillover-from-deployment"] == "mine"
    assert headers["x-ms-deployment-name"] == "gpt-4.1-standard"
    assert headers["x-ms-spillover-error"] == "429"
    assert headers["x-ratelimit-limit-tokens"] == "300000"
    assert 0 < int(headers["x-ratelimit-remaining-tokens"]) <= 300_000


def test_a_prompt_that_is_too_long_for_ptu_is_spilled(full):
    status, headers, _ = ask(full, "w " * 128_001)

    assert (status, headers["x-ms-spillover-error"]) == (200, "400")


def test_an_answer_of_its_own_has_no_such_headers(tmp_path):
    with simulated(tmp_path, spill="gpt-4.1:300") as sim:
        _, headers, _ = ask(sim)

    assert not [name for name in headers if name.startswith(("x-ms-spillover", "x-ratelimit"))]
    assert headers["x-ms-deployment-name"] == "mine"


def test_one_request_may_ask_for_spillover(tmp_path):
    with simulated(tmp_path, errors=1) as sim:
        plain, _, _ = ask(sim)
        status, headers, _ = ask(sim, x_ms_spillover_deployment="other")
        unusable, _, _ = ask(sim, x_ms_spillover_deployment="no name at all")
        entries = sim.log(3)

    assert plain in {500, 503}
    assert (status, headers["x-ms-deployment-name"], headers["x-ms-spillover-error"] in {"500", "503"}) == (
        200,
        "other",
        True,
    )
    assert unusable == 400
    assert [entry["spilled"] is not None for entry in entries] == [False, True, False]


# --- a run


def stage(rate, seconds):
    return {"rate": f"{rate:.0f}/s", "for": seconds}


@pytest.fixture(scope="module")
def spilling(tmp_path_factory):
    """A deployment with spillover at 130 % of its capacity, its bucket filled in the warm-up, and the server's log."""
    return running.calmly(lambda: beyond(tmp_path_factory.mktemp("spilling")), lambda found: found[0].calm)


def beyond(folder):
    calls, prompt, completion = 60, 40, 4
    ptu, ratio = 2, 2.0
    tpm_per_ptu = calls * 60 * (prompt + ratio * completion) / ptu
    deployment = {"model": "law", "ptu": ptu, "ratio": ratio, "tpm_per_ptu": tpm_per_ptu, "tps": 400, "latency": 0.02}
    more = {"jitter": 0, "depth": 0.5, "spill": "law:10000", "spill_slower": 5}
    with simulated(folder, **deployment, **more) as server:
        run = running.start(
            folder / "run",
            *("--endpoint", f"{server.url}/openai/v1/", "--deployment", "law", "--model", "law", "--ptu", str(ptu)),
            *("--ratio", str(ratio), "--tpm-per-ptu", str(tpm_per_ptu)),
            load={"stages": [stage(3 * calls, "1s"), stage(1.3 * calls, "3s")], "arrivals": "constant"},
            prompt_tokens=prompt,
            completion_tokens=completion,
            duration=None,
            warmup="1s",
        ).finish()
        log = {entry["request_id"]: entry for entry in server.log(len(run.attempts) + 1)}
    return run, [entry for attempt, entry in run.beside(log) if attempt.scheduled >= 1.0]


def test_spillover_hides_429s_and_the_headline_says_it(spilling):
    run, log = spilling
    spilled = [entry for entry in log if entry["spilled"] is not None]

    assert run.metrics["throttled"]["ratio"] == 0
    assert run.metrics["refused"]["count"] == run.metrics["requests"]["spilled"] == len(spilled)
    assert run.metrics["refused"]["ratio"] == pytest.approx(1 - 1 / 1.3, abs=0.03)
    assert "spillover" in [note["code"] for note in run.summary["notes"]]


def test_the_live_view_counts_what_was_spilled_apart():
    progress = Progress(duration=30, warmup=0, drain=60, planned=None, now=5.0, phase="load")
    account = Account(progress)
    account.add(runs.ok(0, 1.0, ttft=0.2))
    account.add(runs.ok(1, 1.0, ttft=0.8, headers={SPILLED: "chat-ptu"}))

    assert (progress.ok, progress.spilled) == (2, 1)
    assert list(progress.recent["ttft"]) == pytest.approx([0.2])


def test_gaps_are_of_the_targets_own_streams(spilling):
    run, _ = spilling
    own = [attempt for attempt in run.attempts if "x-ms-spillover-from-deployment" not in attempt.headers]

    assert 0 < run.metrics["gap"]["count"] <= sum(attempt.content_events - 1 for attempt in own)


def test_latency_is_of_the_target_alone_and_the_others_are_apart(spilling):
    run, log = spilling
    own = [entry for entry in log if entry["spilled"] is None]
    groups = run.summary["groups"]

    assert run.metrics["ttft"]["of"] == groups["first"]["ttft"]["of"] == len(own)
    assert groups["spilled"]["ttft"]["of"] == len(log) - len(own)
    assert groups["spilled"]["ttft"]["p50"] > 2 * run.metrics["ttft"]["p50"]


def test_throughput_is_the_targets_capacity(spilling):
    run, _ = spilling

    assert run.metrics["rpm"]["admitted"] == pytest.approx(60 * 60, rel=0.03)
    assert run.metrics["tpm"]["of_published"] == pytest.approx(1, abs=0.03)
    assert run.metrics["requests"]["ok"] == run.metrics["requests"]["total"]
