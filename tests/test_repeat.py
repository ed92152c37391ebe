"""`run --repeat`: runs one after another, judged as one."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ptubench.record import Head
from ptubench.results import store

WORKLOAD = {
    "name": "again",
    "prompt_tokens": 40,
    "completion_tokens": 4,
    "load": {"rate": "100/s"},
    "duration": "1s",
    "warmup": "0s",
    "checks": ["failed.ratio <= 1%", "ttft.p50 <= 30s"],
}


def start(folder, *options):
    (folder / "w.yaml").write_text(json.dumps(WORKLOAD))
    command = [sys.executable, "-m", "ptubench", "run", "w.yaml", "--simulate", "gpt-4.1:50", "--json", *options]
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith(("AZURE", "OPENAI"))}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=env, text=True, **pipes)


def heads(folder):
    found = (next(iter(store.lines(path))) for path in sorted((folder / "results").iterdir()))
    return [head for head in found if isinstance(head, Head)]


def test_repeats_send_the_same_requests_with_other_texts_and_are_judged_as_one(tmp_path):
    out, err = start(tmp_path, "--repeat", "2", "--markdown", "report.md").communicate(timeout=60)
    found, first_and_second = json.loads(out), heads(tmp_path)

    assert [run["ended"] for run in found["runs"]] == ["completed"] * 2, err
    assert [row["passed"] for row in found["checks"]] == [True, True]
    assert all(len(row["by_run"]) == 2 for row in found["checks"])
    assert len({head.salt for head in first_and_second}) == 2
    assert {head.seed for head in first_and_second} == {0}
    assert all(f"run {number} of 2" in err for number in (1, 2))
    assert all(run["file"] in err for run in found["runs"])
    assert (tmp_path / "report.md").read_text().count("### Latency") == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_repeats_and_what_was_made_is_judged(number, tmp_path):
    """Also one that comes between two runs, while no load is on."""
    with start(tmp_path, "--repeat", "50") as process:
        for line in process.stderr:
            if line.startswith("run 2 of 50"):
                break
        process.send_signal(number)
        out, told = process.communicate(timeout=60)
    found = json.loads(out)

    assert "Warning" not in told
    assert process.returncode == found["exit_code"] == 130
    assert found["runs"][0]["ended"] == "completed"
    assert len(found["runs"]) < 25  # two, but for a signal that comes late


def test_a_signal_that_comes_as_a_run_ends_keeps_the_next_one_from_beginning(tmp_path):
    with start(tmp_path, "--repeat", "50") as process:
        late = time.monotonic() + 60
        while not any(b'"type":"end"' in file.read_bytes() for file in tmp_path.rglob("*.jsonl")):
            assert time.monotonic() < late
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert process.returncode != 0
    assert len(list((tmp_path / "results").iterdir())) < 20


def test_a_sample_that_only_all_repeats_together_support_is_enough(tmp_path):
    alone = start(tmp_path, "--dry-run", "--check", "ttft.p99 <= 30s")
    together = start(tmp_path, "--dry-run", "--check", "ttft.p99 <= 30s", "--repeat", "5")

    assert "ttft.p99 needs 368 measured calls" in alone.communicate(timeout=60)[1]
    assert "--repeat: 5 such runs, one after another" in together.communicate(timeout=60)[1]
    assert [process.returncode for process in (alone, together)] == [2, 0]


@pytest.mark.parametrize("times", ["0", "101"])
def test_a_senseless_number_of_repeats_is_refused(times, tmp_path):
    process = start(tmp_path, "--repeat", times)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "--repeat" in err
