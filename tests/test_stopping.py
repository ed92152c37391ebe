"""However a run ends, nothing is lost, nothing goes on, and the file says how it ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ptubench.analysis.summary import summarize
from ptubench.record import Attempt, End, Lost
from ptubench.results import store
from running import calmly
from simulated import simulated

pytestmark = pytest.mark.alone

WORKLOAD = """
name: long
prompt_tokens: 100
completion_tokens: {answer}
load: {{rate: 40/s, arrivals: constant}}
duration: {duration}
warmup: 200ms
drain: 20s
"""
ATTEMPT = b'"type":"attempt"'
PATIENCE = 60


class Running:
    """`ptubench run` in its own process group, against a simulated deployment of the test's own."""

    def __init__(
        self, folder: Path, url: str, *more: str, answer: int, workers: int = 1, duration: str = "60s"
    ) -> None:
        workload = folder / "long.yaml"
        workload.write_text(WORKLOAD.format(answer=answer, duration=duration))
        self.folder = folder / "results"
        command = ["run", workload, "--endpoint", f"{url}/v1", "--deployment", "m", "--results", self.folder]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ptubench", *command, "--workers", str(workers), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def file(self) -> Path:
        (path,) = self.folder.glob("*.jsonl")
        return path

    def until_recorded(self, attempts: int) -> None:
        self.until(lambda: sum(path.read_bytes().count(ATTEMPT) for path in self.folder.glob("*.jsonl")) >= attempts)

    def until(self, true: Callable[[], bool]) -> None:
        late = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > late or self.process.poll() is not None:
                self.process.kill()
                raise AssertionError(self.process.communicate())
            time.sleep(0.02)

    def end(self) -> int:
        self.output = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def lines(self):
        return list(store.lines(self.file))


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_first_signal_drains_and_reports_and_exits_with_130(tmp_path):
    with simulated(tmp_path, tps=100, ptu=500) as sim:
        run = Running(tmp_path, sim.url, answer=50)
        run.until_recorded(20)
        run.process.send_signal(signal.SIGINT)
        code = run.end()
        summary = summarize(run.file)
        requests = summary["metrics"]["requests"]
        served = {entry["request_id"] for entry in sim.log(requests["ok"])}

    assert code == 130, run.output
    assert "Calls" in run.output[0]
    assert "stopped: waiting up to 20s for what is in flight; Ctrl-C again ends it at once" in run.output[1]
    assert summary["run"]["ended"] == "stopped"
    assert requests["cut"] == 0
    assert requests["ok"] > 0
    assert requests["unsent"] > 1000
    assert requests["total"] == sum(
        requests[outcome] for outcome in ("ok", "throttled", "failed", "cut", "dropped", "unsent")
    )
    assert {line.headers["x-request-id"] for line in run.lines() if isinstance(line, Attempt)} <= served


def test_the_second_signal_stops_at_once_and_what_was_in_flight_is_cut(tmp_path):
    with simulated(tmp_path, tps=10, ptu=500) as sim:
        run = Running(tmp_path, sim.url, answer=200)  # answers take 20 s: none ends by itself
        run.until(lambda: sim.admitted > 5)
        run.process.send_signal(signal.SIGTERM)
        next(line for line in run.process.stderr if line.startswith("stopped:"))  # two at once would be one
        run.process.send_signal(signal.SIGTERM)
        code = run.end()
        *_, last = run.lines()

    assert code == 130, run.output
    assert isinstance(last, End)
    assert last.finished - last.load_end < 20  # which the drain alone would have lasted
    assert last.ended == "aborted"
    assert {line.outcome for line in run.lines() if isinstance(line, Attempt)} == {"cut"}


def test_a_signal_before_the_load_leaves_no_file(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        run = Running(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}", answer=5)
        connection, _ = silent.accept()
        with connection:
            run.process.send_signal(signal.SIGTERM)
            code = run.end()

    assert code == 130
    assert run.output[1] == "error: stopped before the load began; nothing was recorded\n"
    assert not list(run.folder.glob("*"))


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes the Linux way")
def test_when_the_parent_is_killed_its_children_end_and_nothing_more_is_sent(tmp_path):
    with simulated(tmp_path, tps=1000, ptu=500) as sim:
        run = Running(tmp_path, sim.url, answer=5, workers=2)
        run.until_recorded(20)
        children = children_of(run.process.pid)
        run.process.kill()
        run.end()
        late = time.monotonic() + 10  # of a load of 60 s
        while any(map(alive, children)) and time.monotonic() < late:
            time.sleep(0.02)
        still_there = [*map(alive, children)]
        arrived = sim.admitted
        time.sleep(0.5)
        later = sim.admitted
        summary = summarize(run.file)

    assert still_there == [False, False]
    assert later == arrived
    assert summary["run"]["ended"] == "killed"
    assert summary["metrics"]["requests"]["ok"] > 0


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes the Linux way")
def test_a_lost_worker_makes_the_run_invalid_and_loses_no_record_of_the_other(tmp_path_factory):
    def losing():
        folder = tmp_path_factory.mktemp("lost")
        with simulated(folder, tps=1000, ptu=500) as sim:
            run = Running(folder, sim.url, "--json", answer=5, workers=2, duration="2s")
            run.until_recorded(1)
            for child in children_of(run.process.pid)[1:]:
                os.kill(child, signal.SIGKILL)
            code = run.end()
        return run, code, json.loads(run.output[0])["validity"]

    def invalid(found):
        return [reason["code"] for reason in found[-1]["reasons"] if reason["level"] == "invalid"]

    found = run, code, validity = calmly(losing, lambda found: invalid(found) == ["lost_worker"])
    *_, last = run.lines()

    assert code == 4, run.output
    assert (validity["verdict"], invalid(found)) == ("invalid", ["lost_worker"])
    assert len(last.lost_workers) == 1
    assert sum(line.worker not in last.lost_workers for line in run.lines() if isinstance(line, Attempt)) == 40
    # What the lost one had in flight is recorded as such, and the books balance.
    told = [line.index for line in run.lines() if isinstance(line, Attempt | Lost)]
    assert len(told) == len(set(told)) == 80 - last.unsent
    assert last.missing == last.unsent + sum(isinstance(line, Lost) for line in run.lines())
