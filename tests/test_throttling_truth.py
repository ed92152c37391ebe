"""The law of throttling over real HTTP: what a PTU deployment admits is its capacity, and the rest are 429s.

With equal calls, outputs equal to their limit, a bucket of at least 20 calls that starts full, and in the long run,
calls are admitted at the rate C = capacity / cost of a call, and of λ offered a share of 1 − C / λ is refused.
"""

import numpy as np
import pytest

import running
from simulated import simulated

pytestmark = pytest.mark.alone

PROMPT, COMPLETION, RATIO = 40, 5, 2.0
COST = PROMPT + RATIO * COMPLETION
CAPACITY = 80
"""Calls a second that the deployment takes."""
DEPTH_CALLS = 80
DEPLOYMENT = {
    "model": "law",
    "ptu": 2,
    "ratio": RATIO,
    "tpm_per_ptu": CAPACITY * COST * 60 / 2,
    "tps": 200,
    "latency": 0.02,
    "jitter": 0,
    "depth": DEPTH_CALLS / CAPACITY,
    "level": "full",
}
WARMUP, WINDOW = 1.0, 3.0
FILLING = 3
"""Load of the warm-up: the bucket is full again, whatever ran out before the load began."""
LOADS = {1.25: "poisson", 2.0: "constant"}
"""Offered load as a multiple of the capacity, and its arrivals."""


def stage(load, seconds):
    return {"rate": f"{load * CAPACITY * 60:.0f}/min", "for": f"{seconds}s"}


@pytest.fixture(scope="module")
def throttled(tmp_path_factory):
    """A run at each load, both at once on deployments of their own, and the deployments' logs without the probe."""
    return running.calmly(
        lambda: both(tmp_path_factory.mktemp("throttling")), lambda found: all(run.calm for run, _ in found.values())
    )


def both(folder):
    for name in ("low", "high"):
        (folder / name).mkdir()
    with simulated(folder / "low", **DEPLOYMENT) as low, simulated(folder / "high", **DEPLOYMENT) as high:
        started = [
            running.start(
                folder / f"at {load}",
                *("--endpoint", f"{server.url}/openai/v1/", "--deployment", "law", "--model", "law", "--ptu", "2"),
                *("--ratio", f"{RATIO}", "--tpm-per-ptu", str(DEPLOYMENT["tpm_per_ptu"])),
                load={"arrivals": arrivals, "stages": [stage(FILLING, WARMUP), stage(load, WINDOW)]},
                prompt_tokens=PROMPT,
                completion_tokens=COMPLETION,
                warmup=f"{WARMUP}s",
                duration=None,
            )
            for (load, arrivals), server in zip(LOADS.items(), (low, high), strict=True)
        ]
        runs = running.finish(started)
        logs = [server.log(len(run.attempts) + 1)[1:] for run, server in zip(runs, (low, high), strict=True)]
    return dict(zip(LOADS, zip(runs, logs, strict=True), strict=True))


def of_window(run, log):
    """The log's entries of the requests that were due in the window."""
    start, end = run.head.window
    by_id = {entry["request_id"]: entry for entry in log}
    return [entry for attempt, entry in run.beside(by_id) if start <= attempt.scheduled < end]


@pytest.mark.parametrize("load", LOADS)
def test_what_is_admitted_is_the_capacity(throttled, load):
    run, _ = throttled[load]

    assert run.metrics["rpm"]["admitted"] == pytest.approx(60 * CAPACITY, rel=0.02)
    assert run.metrics["tpm"]["normalized"] == pytest.approx(60 * CAPACITY * COST, rel=0.02)
    assert run.metrics["tpm"]["of_published"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("load", LOADS)
def test_the_share_of_429s_is_1_minus_capacity_over_load(throttled, load):
    run, _ = throttled[load]
    offered = run.metrics["rpm"]["offered"] / 60

    assert run.metrics["refused"]["ratio"] == pytest.approx(1 - CAPACITY / offered, abs=0.02)
    assert run.metrics["throttled"]["ratio"] == run.metrics["refused"]["ratio"]
    assert offered == pytest.approx(load * CAPACITY, rel=0.12)  # Poisson: as many as were drawn


@pytest.mark.parametrize("load", LOADS)
def test_every_429_is_the_servers_and_no_failure(throttled, load):
    run, log = throttled[load]
    statuses = [entry["status"] for entry in of_window(run, log)]
    requests = run.metrics["requests"]

    assert [a.status for a, e in run.beside({e["request_id"]: e for e in log}) if a.status != e["status"]] == []
    assert (requests["ok"], requests["throttled"]) == (statuses.count(200), statuses.count(429))
    assert requests["failed"] == requests["cut"] == requests["dropped"] == 0


@pytest.mark.parametrize("load", LOADS)
def test_tokens_are_the_servers(throttled, load):
    run, log = throttled[load]
    admitted = [entry for entry in log if entry["status"] == 200]

    assert {(e["prompt_tokens"], e["completion_tokens"]) for e in admitted} == {(PROMPT, COMPLETION)}
    assert sum(attempt.completion_tokens or 0 for attempt in run.attempts) == COMPLETION * len(admitted)
    assert sum(attempt.prompt_tokens or 0 for attempt in run.attempts) == PROMPT * len(admitted)


@pytest.mark.parametrize("load", LOADS)
def test_the_429s_stand_in_the_timeline_where_the_server_gave_them(throttled, load):
    run, log = throttled[load]
    rows = run.summary["timeline"]
    refused = [e["end"] - run.head.clock_start for e in log if e["status"] == 429]
    edges = [row["t_s"] for row in rows] + [rows[-1]["t_s"] + rows[-1]["width_s"]]
    in_place = np.histogram(refused, edges)[0]

    assert sum(row["throttled"] for row in rows) == len(refused)
    assert np.abs(in_place - [row["throttled"] for row in rows]).sum() <= 0.1 * len(
        refused
    )  # at an edge, the one or other
    assert all(row["throttled"] for row in rows if run.head.window[0] <= row["t_s"] < WARMUP + WINDOW)


@pytest.mark.parametrize("load", LOADS)
def test_the_wait_that_a_429_asks_for_is_the_servers(throttled, load):
    run, log = throttled[load]
    asked = [entry["retry_after_ms"] / 1000 for entry in of_window(run, log) if entry["status"] == 429]
    measured = run.metrics["retry_after"]

    assert measured["count"] == len(asked)
    assert measured["p50"] == pytest.approx(np.percentile(asked, 50), abs=0.001)
    assert 0 < measured["max"] == max(asked)


@pytest.mark.parametrize("load", LOADS)
def test_refused_calls_are_in_no_latency_and_unanswered_from_the_due_time(throttled, load):
    run, _ = throttled[load]
    metrics = run.metrics

    assert metrics["ttft"]["count"] == metrics["requests"]["ok"]
    assert metrics["reject"]["count"] == metrics["requests"]["throttled"]
    assert metrics["ttft"]["p95"] is not None
    assert "p95" in metrics["ttft_scheduled"]["unanswered"]
