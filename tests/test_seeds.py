"""Equal runs: what a seed fixes, what a salt fixes, and that no run is answered from another one's prompt cache."""

import json
from operator import attrgetter

import pytest

import running
from ptubench.sim.script import Pace
from servers import script_server
from simulated import simulated

pytestmark = pytest.mark.alone

MIXED = {
    "load": {"rate": "60/s", "arrivals": "gamma", "burstiness": 0.5},
    "mix": {
        "short": {"weight": 3, "prompt_tokens": {"min": 40, "max": 80}, "completion_tokens": 10},
        "long": {"weight": 1, "prompt_tokens": 300, "completion_tokens": {"mean": 20, "p95": 40}},
    },
    "duration": "1500ms",
    "seed": 7,
}
CACHEABLE = {
    "load": {"rate": "30/s", "arrivals": "constant"},
    "mix": {
        "own": {"weight": 1, "prompt_tokens": 1500, "completion_tokens": 4},
        "shared": {"weight": 1, "prompt_tokens": 1500, "completion_tokens": 4, "cached": {"tokens": 1152}},
    },
    "duration": "1s",
    "seed": 7,
}
UNMIXED = {"prompt_tokens": None, "completion_tokens": None}
EQUAL = {
    "one worker": ("--workers", "1"),
    "three workers": ("--workers", "3"),
    "salted": ("--salt", "a"),
    "salted, three workers": ("--salt", "a", "--workers", "3"),
    "another seed": ("--seed", "8", "--salt", "a"),
}
planned = attrgetter("index", "scheduled", "name", "prompt_asked", "cached_asked", "completion_asked", "limit")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Equal runs on a server that keeps what it is sent, and on a deployment with a prompt cache; all by name."""
    folder = tmp_path_factory.mktemp("equal")
    (folder / "server").mkdir()
    with (
        script_server(running.numbered(Pace(tokens=1))) as server,
        simulated(folder / "server", ptu=10_000, latency=0.01) as deployment,
    ):

        def cacheable(name, *options):
            return running.start(folder / name, *running.endpoint(deployment.url, *options), **UNMIXED, **CACHEABLE)

        equal = [
            running.start(folder / name, *running.endpoint(server.base, *options), **UNMIXED, **MIXED)
            for name, options in EQUAL.items()
        ]
        first, second = running.finish([cacheable("first"), cacheable("second")])
        repeated = cacheable("repeated", "--salt", first.head.salt).finish()
        named = dict(zip(EQUAL, running.finish(equal), strict=True))
        log = running.by_number(server.log)
    texts = {name: [text(played) for _, played in run.beside(log)] for name, run in named.items()}
    return named | {"first": first, "second": second, "repeated": repeated}, texts


def text(played):
    (message,) = json.loads(played.ask.body)["messages"]
    return message["content"]


def plan(run):
    return [planned(attempt) for attempt in run.attempts]


def cached(run, kind):
    return [attempt.cached_tokens for attempt in run.attempts if attempt.name == kind]


@pytest.mark.parametrize("name", [name for name in EQUAL if name != "another seed"])
def test_equal_runs_have_equal_due_times_classes_and_sizes(runs, name):
    run = runs[0][name]

    assert plan(run) == plan(runs[0]["one worker"])
    assert run.head.workload_hash == runs[0]["one worker"].head.workload_hash
    assert len(run.attempts) == run.head.planned > 60
    assert {attempt.worker for attempt in run.attempts} == set(range(run.head.workers))


def test_another_seed_has_other_due_times_and_sizes(runs):
    ours, theirs = plan(runs[0]["salted"]), plan(runs[0]["another seed"])

    assert not {scheduled for _, scheduled, *_ in ours} & {scheduled for _, scheduled, *_ in theirs}
    assert [sizes for _, _, *sizes in ours] != [sizes for _, _, *sizes in theirs]


def test_texts_differ_between_runs_and_within_them(runs):
    _, texts = runs
    said = [text for name in ("one worker", "three workers", "salted") for text in texts[name]]

    assert len({" ".join(text.split()[:8]) for text in said}) == len(said)


def test_with_the_salt_texts_are_the_same_for_any_number_of_workers(runs):
    _, texts = runs

    assert texts["salted"] == texts["salted, three workers"]
    assert not set(texts["salted"]) & set(texts["another seed"])


def test_no_run_is_answered_from_the_prompt_cache_of_an_equal_one(runs):
    first, second = runs[0]["first"], runs[0]["second"]

    assert plan(first) == plan(second)
    assert set(cached(first, "own")) == set(cached(second, "own")) == {0}
    assert cached(first, "shared") == cached(second, "shared") == [0, *[1152] * (len(cached(first, "shared")) - 1)]
    assert first.metrics["tpm"]["cached"] > 0


def test_with_the_same_salt_it_would_be(runs):
    first, repeated = runs[0]["first"], runs[0]["repeated"]

    assert plan(first) == plan(repeated)
    assert min(cached(repeated, "own")) >= 1408
    assert min(cached(repeated, "shared")) >= 1408
