"""When a run says that answers came, against the log of the server that gave them."""

from itertools import pairwise

import numpy as np
import pytest

import running
from simulated import simulated

pytestmark = pytest.mark.alone

LATENCY = 0.2
TOKENS = 20
SPEED = 60
"""Tokens per second that nearly every answer exceeds."""


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """Attempts of a run on a simulated deployment of varied latency, each with the server's own account, and the run."""
    return running.calmly(lambda: on_deployment(tmp_path_factory.mktemp("timed")), lambda found: found[1].calm)


def on_deployment(folder):
    with simulated(folder, ptu=1000, latency=LATENCY, tps=SPEED, jitter=0.3) as server:
        load = {"rate": "40/s", "arrivals": "poisson"}
        run = running.start(
            folder / "run", *running.endpoint(server.url), load=load, completion_tokens=TOKENS, duration="2s"
        ).finish()
        entries = server.log(len(run.attempts) + 1)  # and the probe
    return run.beside({entry["request_id"]: entry for entry in entries}), run


def test_ttft_is_the_servers(timed):
    pairs, _ = timed
    errors = [(a.first_content - a.sent) - (e["first_content"] - e["arrived"]) for a, e in pairs]

    running.assert_small(errors, LATENCY)


def test_e2e_is_the_servers(timed):
    pairs, _ = timed
    errors = [(a.last_content - a.sent) - (e["last_content"] - e["arrived"]) for a, e in pairs]

    running.assert_small(errors, LATENCY)


def test_content_is_stamped_when_it_arrives(timed):
    pairs, run = timed
    first = [run.clock(a.first_content) - e["first_content"] for a, e in pairs]
    last = [run.clock(a.last_content) - e["last_content"] for a, e in pairs]

    running.assert_small(first + last, 1 / SPEED * TOKENS)


def test_the_ttft_of_each_request_follows_its_own_answer(timed):
    pairs, _ = timed
    ours = [a.first_content - a.sent for a, _ in pairs]
    theirs = [e["first_content"] - e["arrived"] for _, e in pairs]

    assert np.corrcoef(ours, theirs)[0, 1] > 0.9


def test_percentiles_in_the_summary_are_the_servers(timed):
    pairs, run = timed
    true = {
        "ttft": [e["first_content"] - e["arrived"] for _, e in pairs],
        "e2e": [e["last_content"] - e["arrived"] for _, e in pairs],
        "tbt": [(e["last_content"] - e["first_content"]) / (TOKENS - 1) for _, e in pairs],
    }
    for name, values in true.items():
        for percentile in ("p50", "p90"):
            measured = run.metrics[name][percentile]

            assert measured == pytest.approx(np.percentile(values, int(percentile[1:])), rel=0.15)


def test_gaps_in_the_summary_are_the_servers(timed):
    pairs, run = timed
    gaps = []
    for _, entry in pairs:
        stamps = [entry["sent"][at] - run.head.clock_start for at in entry["content"]]
        gaps += [later - earlier for earlier, later in pairwise(stamps) if later < run.head.workload.duration]
    p50, p99 = np.percentile(gaps, (50, 99))

    assert run.metrics["gap"]["count"] == pytest.approx(len(gaps), rel=0.02)
    assert run.metrics["gap"]["p50"] == pytest.approx(p50, rel=0.15, abs=0.05 / SPEED)
    assert p99 * 0.7 <= run.metrics["gap"]["p99"] <= p99 * 2
