"""`examples/openai_client.py` as it is documented: the official SDK carries a run from end to end."""

import collections
import os
from pathlib import Path

import pytest

import running
from simulated import simulated

ROOT = Path(__file__).parent.parent
CLIENT = ("--set", "client=examples.openai_client:chat")
KEY = "0123456789abcdef"
LAW = {"model": "law", "ratio": 1, "tpm_per_ptu": 10 * 45 * 60, "ptu": 1, "tps": 1000, "latency": 0.02, "jitter": 0}
"""A deployment that takes 10 calls of 45 tokens a second."""


@pytest.fixture(autouse=True)
def clone(monkeypatch):
    """Where a reader of the docs stands."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LAW_KEY", KEY)


@pytest.fixture(scope="module")
def sims(tmp_path_factory):
    """Two deployments that ask for a key: one with room, and one whose bucket takes five calls and starts full."""
    folders = [tmp_path_factory.mktemp(name) for name in ("roomy", "full")]
    env = {**os.environ, "SIM_KEY": KEY}
    with (
        simulated(folders[0], env=env, key_env="SIM_KEY", **LAW | {"ptu": 100}) as roomy,
        simulated(folders[1], env=env, key_env="SIM_KEY", **LAW, depth=0.5, level="full") as full,
    ):
        yield roomy, full


def start(folder, url, *more, **keys):
    options = ("--endpoint", url, "--deployment", "law", "--key-env", "LAW_KEY", *CLIENT, *more)
    return running.start(folder, *options, **{"completion_tokens": 5, "duration": "1s", **keys})


def test_a_run_through_the_official_client_tells_what_the_answers_told(sims, tmp_path):
    roomy, full = sims
    classic, busy = running.finish(
        [
            start(tmp_path / "classic", roomy.url, "--api-version", "2024-10-21", load={"rate": "10/s"}),
            start(tmp_path / "busy", f"{full.url}/openai/v1/", load={"rate": "15/s"}),
        ]
    )
    entries = len(full.log(len(busy.attempts) + 1))
    tries = collections.Counter(bool(attempt.flags) for attempt in busy.attempts)
    notes = {note["code"]: note["text"] for note in busy.summary["notes"]}

    assert {a.outcome for a in classic.attempts} == {"ok"}
    assert {(a.prompt_tokens, a.completion_tokens, a.finish, a.model) for a in classic.attempts} == {
        (40, 5, "stop", "law")
    }
    assert all("x-ms-region" in a.headers for a in classic.attempts)
    assert classic.metrics["ttft"]["count"] == len(classic.attempts)
    assert "/deployments/law/" in classic.summary["target"]["url"]
    assert {a.outcome for a in busy.attempts} <= {"ok", "throttled"}
    assert tries[True] > 0
    assert entries > len(busy.attempts) + 1  # the probe call, and what the SDK sent again
    assert all(attempt.flags for attempt in busy.attempts if attempt.outcome == "throttled")  # the SDK had tried thrice
    assert f"it tells that it sent at least {tries[True]:,} calls more than once" in notes["own_client"]
