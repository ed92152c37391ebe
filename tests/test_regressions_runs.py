"""What whole runs once got wrong, each as it was found."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import runs
from ptubench.cli.show import print_json, print_view
from ptubench.errors import MeasurementLost, UsageError
from ptubench.load import messages, traces
from ptubench.record import Attempt, End, Head
from ptubench.report import table, text
from ptubench.results import store
from ptubench.sim import answers
from ptubench.sim.script import Pace, chunked, document
from ptubench.workload.model import Class, Fixed, Trace, Workload
from ptubench.workload.resolve import resolve
from running import called, calmly, environment
from servers import script_server

pytestmark = pytest.mark.alone

WORKLOAD = {
    "name": "odd",
    "prompt_tokens": 40,
    "completion_tokens": 4,
    "load": {"rate": "20/s", "arrivals": "constant"},
    "duration": "1s",
    "warmup": "0s",
    "drain": "20s",
}
PATIENCE = 60
FAST = "gpt-4.1:50,latency=0.01,tps=2000,jitter=0"
TALKATIVE = """
async def call(call):
    print("to standard output", flush=True)
    yield "hello"
"""
needs_proc = pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes the Linux way")


def start(folder, *options, **keys):
    folder.mkdir(exist_ok=True)
    (folder / "workload.yaml").write_text(json.dumps({**WORKLOAD, **keys}))
    (folder / "talkative.py").write_text(TALKATIVE)
    return subprocess.Popen(
        [sys.executable, "-m", "ptubench", "run", "workload.yaml", *map(str, options), "--json"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    said = process.communicate(timeout=PATIENCE)
    return process.returncode, *said


def valid(folder, *options, **keys):
    """A run to its end, made again where the machine was too busy for it: its file is then the last one."""
    return calmly(lambda: finish(start(folder, *options, **keys)), lambda done: done[0] != 4)


def lines(folder):
    *_, path = sorted((folder / "results").glob("*.jsonl"))
    return list(store.lines(path))


def children_of(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def until(true, patience=20.0):
    for _ in range(int(patience / 0.02)):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def boasting(ask):
    """Says that it is a simulated deployment of no size, and gives an account of itself that nobody can read."""
    if ask.method == "GET":
        return [document(200, b'{"minutes":' + b"[" * 5000)]
    return chunked(answers.healthy(Pace()), {"x-ptubench-simulated": "gpt-4.1:0"})


def test_a_server_that_says_odd_things_of_itself_costs_no_run(tmp_path):
    with script_server(boasting) as server:
        run = start(tmp_path / "a", "--endpoint", f"{server.base}/v1", "--deployment", "m")
        code, said, told = finish(run)
    summary = json.loads(said)

    assert code == 4, told
    assert "prompt_tokens" in [reason["code"] for reason in summary["validity"]["reasons"]]
    assert (summary["target"]["kind"], summary["target"]["ptu"]) == ("simulated", None)
    assert summary["metrics"]["requests"]["ok"] == 20


def test_what_the_users_client_prints_is_neither_a_record_nor_a_result(tmp_path):
    code, said, told = valid(tmp_path / "a", "--simulate", FAST, client="talkative:call")

    assert code == 0, told
    assert json.loads(said)["metrics"]["requests"]["ok"] == 20
    assert told.count("to standard output") == 21  # the probe, too
    assert len([line for line in lines(tmp_path / "a") if isinstance(line, Attempt)]) == 20


@needs_proc
def test_a_signal_to_the_whole_group_drains_and_every_request_is_accounted_for(tmp_path):
    folder = tmp_path / "a"
    run = start(folder, "--simulate", FAST, "--workers", 3, duration="60s", load={"rate": "100/s"}, warmup="300ms")
    until(lambda: any(b'"type":"attempt"' in path.read_bytes() for path in folder.glob("results/*.jsonl")))
    time.sleep(0.5)
    os.killpg(run.pid, signal.SIGTERM)  # as `timeout` does, or a closed terminal
    code, said, told = finish(run)
    head, *_, end = found = lines(folder)
    recorded = [line.index for line in found if isinstance(line, Attempt)]
    requests = json.loads(said)["metrics"]["requests"]

    assert code == 130, told
    assert isinstance(head, Head)
    assert isinstance(end, End)
    assert (end.ended, end.lost_workers) == ("stopped", ())
    assert len(set(recorded)) == len(recorded) == head.planned - end.unsent
    assert requests["ok"] > 0
    assert requests["total"] == expected_in_window(folder, head)


def expected_in_window(folder, head):
    """Requests that the plan of a run has in its window, by a dry run of the same workload."""
    dry = subprocess.run(
        [sys.executable, "-m", "ptubench", "run", "workload.yaml", "--simulate", FAST, "--dry-run", "--json"],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    planned = json.loads(dry.stdout)

    assert planned["offered"]["requests"] == head.planned
    return planned["sample"]["expected"]


@needs_proc
def test_ctrl_c_while_the_children_start_is_one_sentence(tmp_path):
    run = start(tmp_path / "a", "--simulate", FAST, "--workers", 2, duration="60s")
    until(lambda: len(children_of(run.pid)) >= 2)
    os.killpg(run.pid, signal.SIGINT)
    code, said, told = finish(run)

    assert (code, said) == (130, "")
    assert told == "error: stopped before the load began; nothing was recorded\n"


def test_a_run_file_of_a_target_without_size_is_no_crash(tmp_path):
    summary = runs.summary(tmp_path, *runs.steady(10), target={"kind": "azure", "model": "gpt-4.1", "ptu": 0})

    assert summary["metrics"]["tpm"]["normalized"] is None


# --- the command line, in this process


DRY = ("run", "chat", "--simulate", "gpt-4.1:50", "--dry-run")
WRONG = [
    (("run",), "Missing argument 'WORKLOAD'; see `ptubench run --help`"),
    (("run", "chat", "--bogus"), "No such option: --bogus; see `ptubench run --help`"),
    (("nothing",), "No such command 'nothing'; see `ptubench --help`"),
    ((*DRY, "--workers", "0"), "--workers 0: write a number from 1 to 64, or auto"),
    ((*DRY, "--workers", "²"), "--workers ²: write a number from 1 to 64, or auto"),
    (
        (*DRY, "--workers", "3", "--set", "max_in_flight=2"),
        "--workers 3: more than `max_in_flight`, 2; lower it or raise that",
    ),
    ((*DRY, "--ratio", "nan"), "--ratio: must be above 0, not nan"),
    ((*DRY, "--tpm-per-ptu", "inf"), "--tpm-per-ptu: must be above 0, not inf"),
    ((*DRY, "--label", "\udcff"), "--label: `` is not text in UTF-8; write it another way"),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_command_line_is_one_sentence(arguments, sentence, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert called(capsys, *arguments) == (2, "", f"error: {sentence}\n")


@needs_proc
def test_a_folder_that_cannot_be_written_is_one_sentence_also_for_root(capsys):
    said = called(capsys, "run", "chat", "--simulate", "gpt-4.1:50", "--results", "/proc/self")

    assert said == (2, "", "error: --results /proc/self: can't be written; name another folder\n")


def test_a_key_that_was_typed_is_not_repeated(capsys):
    code, _, said = called(capsys, "run", "chat", "sk-made-up-0123456789abcdef")

    assert (code, said) == (2, "error: (not shown); see `ptubench run --help`\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("say", [print_json, print_view])
def test_a_standard_output_that_is_full_is_one_sentence(monkeypatch, say):
    with contextlib.suppress(OSError), Path("/dev/full").open("w") as full:  # closing it fails, too
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(MeasurementLost) as raised:
            say("a result")

    assert str(raised.value) == (
        "standard output can't be written (No space left on device); a run is kept in its file: see `ptubench report`"
    )


@pytest.mark.parametrize("say", [print_json, print_view])
def test_a_reader_that_has_left_is_no_crash(monkeypatch, say):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as left:
        monkeypatch.setattr(sys, "stdout", left)

        say("a result")


# --- files


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'[{"role":"user","content":"\xff"}]', ":1: not UTF-8 text; save the file as UTF-8"),
        (
            b'{"messages":[{"role":"user"}],"max_tokens":99999999999999999999}',
            ":1: `max_tokens` must be at most 10,000,000 tokens",
        ),
    ],
)
def test_messages_that_nobody_could_send_are_named_by_their_line(line, sentence, tmp_path):
    file = tmp_path / "m.jsonl"
    file.write_bytes(line)
    with pytest.raises(UsageError) as raised:
        messages.read(str(file))

    assert str(raised.value) == f"{file}{sentence}"


def test_a_trace_of_requests_larger_than_any_model_takes_is_named_by_its_line(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,374000000000,44\n")
    with pytest.raises(UsageError) as raised:
        traces.read(Trace(file=str(file), format="azure"), duration=10.0, seed=0)

    assert str(raised.value) == f"{file}:2: a number is too large"


def test_a_trace_longer_than_a_run_can_be_asks_for_a_duration():
    workload = Workload(
        name="long",
        classes=(Class(prompt=Fixed(tokens=40)),),
        load=Trace(file="t.csv", format="azure"),
        duration=0.0,
        warmup=0.0,
        pending=("duration", "warmup"),
    )
    with pytest.raises(UsageError) as raised:
        resolve(workload, None, 32 * 86_400.0)

    assert str(raised.value) == (
        "long: what is left of the trace lasts 768h, longer than the 31 days of a run; give `duration`, or a higher `speed`"
    )


@pytest.mark.parametrize(
    "damage",
    [
        {"window": (1e300, 1e308)},
        {"window": (0.0, float(2**63))},
        {"window": (-5.0, -1.0)},
        {"started_unix": 1e300},
        {"target": {"kind": "simulated", "url": "", "simulate": 5}},
    ],
    ids=str,
)
def test_a_damaged_head_is_no_crash_and_takes_no_memory(damage, tmp_path):
    account = {"tpm": 1000.0, "peak_level": 0.5, "minutes": [[0, 1.0]]}
    last = runs.end(load_end=1e300, finished=1e300, simulated=account)
    summary = runs.summary(tmp_path, *runs.steady(8), last, **damage)
    console = text.console()
    with console.capture() as shown:
        console.print(table.render(summary))

    assert summary["metrics"]["requests"]["total"] in (0, 8)
    assert "Calls" in shown.get()


def test_a_short_try_of_a_long_workload_takes_the_default_warm_up():
    from ptubench.workload.read import read

    assert (read("chat", options={"duration": "30s"}).warmup, read("chat", options={"duration": "5m"}).warmup) == (
        3,
        60,
    )


def test_init_writes_commands_for_the_file_it_makes():
    from ptubench.workload import shipped

    assert "ptubench run mine.yaml" in shipped.template("mine")
    assert "ptubench run chat" not in shipped.template("mine")
