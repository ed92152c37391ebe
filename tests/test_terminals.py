"""Where there is no terminal there are no control characters, and where there is one NO_COLOR is kept."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ptubench.cli import main

EXAMPLES = Path(__file__).parents[1] / "results/examples"
RUNS = tuple(str(EXAMPLES / f"chat-{size}ptu.jsonl.gz") for size in (120, 150))
TINY = {
    "name": "tiny",
    "prompt_tokens": 500,
    "completion_tokens": 100,
    "load": {"rate": "60/min"},
    "duration": "2m",
    "warmup": "10s",
    "checks": ["ttft.p50 <= 1ms"],
}
SHORT = {
    **TINY,
    "prompt_tokens": 50,
    "completion_tokens": 5,
    "load": {"rate": "30/s"},
    "duration": "1s",
    "warmup": "0s",
}
SIMULATE = ("--simulate", "gpt-4.1:15,depth=5")
COMMANDS = {
    "alone": (),
    "help": ("run", "--help"),
    "version": ("--version",),
    "dry run": ("run", "tiny.yaml", *SIMULATE, "--dry-run"),
    "report": ("report", RUNS[0]),
    "report as markdown": ("report", RUNS[0], "--format", "markdown"),
    "report as JSON": ("report", RUNS[0], "--json"),
    "compare": ("compare", *RUNS),
    "check": ("check", RUNS[0], "--baseline", RUNS[1], "--regression", "ttft.p95: 10%"),
    "size": ("size", "tiny.yaml", "--model", "gpt-4.1", "--no-simulation"),
    "capacity": ("capacity", "tiny.yaml", *SIMULATE, "--virtual", "--steps", "1"),
    "init": ("init", "new.yaml"),
    "unknown command": ("rnu",),
    "unknown option": ("run", "--rat", "1/s"),
    "no workload": ("run", "nowhere"),
    "no target": ("run", "tiny.yaml"),
    "no run file": ("report", "nowhere.jsonl"),
    "no rule": ("check", RUNS[0], "--check", "ttft"),
}
COLOURED = ("report", "compare", "check", "dry run")
CONTROLS = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]")
STYLES = re.compile(rb"\x1b\[[0-9;]*m")
COLOURS = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:[34][0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")


class Stream(io.TextIOWrapper):
    """Standard output or standard error, into memory: a terminal, or none."""

    def __init__(self, *, tty: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    @property
    def written(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Call a command as on a terminal or as in a pipe; what it wrote, both streams in one."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(json.dumps(TINY))
    for name in tuple(os.environ):
        if name.startswith(("AZURE", "OPENAI")) or name in {
            "NO_COLOR",
            "FORCE_COLOR",
            "CI",
            "GITHUB_ACTIONS",
            "COLORTERM",
        }:
            monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm-256color")

    def called(name, *, tty, **env):
        for variable, value in env.items():
            monkeypatch.setenv(variable, value)
        streams = Stream(tty=tty), Stream(tty=tty)
        monkeypatch.setattr(sys, "argv", ["ptubench", *COMMANDS[name]])
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", streams[0])
            patched.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit):
                main()
        written = b"".join(stream.written for stream in streams)
        assert written
        return written

    return called


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_gets_no_control_character(name, call):
    assert CONTROLS.findall(call(name, tty=False)) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_terminal_gets_no_colour_with_no_color(name, call):
    written = call(name, tty=True, NO_COLOR="1")

    assert COLOURS.findall(written) == []
    # What shows options is typer's, which keeps bold letters; ours has no styles at all.
    assert name == "help" or STYLES.findall(written) == []


@pytest.mark.parametrize("name", COLOURED)
def test_a_terminal_gets_colours_otherwise(name, call):
    assert COLOURS.search(call(name, tty=True))


@pytest.mark.parametrize("name", COLOURED)
def test_a_dumb_terminal_gets_no_control_character(name, call):
    assert CONTROLS.findall(call(name, tty=True, TERM="dumb")) == []


@pytest.mark.parametrize("name", COLOURED)
def test_a_pipe_gets_colours_where_they_are_forced(name, call):
    assert COLOURS.search(call(name, tty=False, FORCE_COLOR="1"))


def test_a_run_writes_no_control_character_to_pipes_and_no_colour_to_a_terminal_without(tmp_path):
    (tmp_path / "short.yaml").write_text(json.dumps(SHORT))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "OPENAI"))}
    command = [sys.executable, "-m", "ptubench", "run", "short.yaml", *SIMULATE]
    piped = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path, env=env
    )
    ours, theirs = pty.openpty()
    shown = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env={**env, "NO_COLOR": "1", "TERM": "xterm"}
    )
    os.close(theirs)
    on_terminal = b"".join(_pieces(ours))
    in_pipe, _ = piped.communicate(timeout=60)

    assert (shown.wait(60), piped.returncode) in {(3, 3), (4, 4), (3, 4), (4, 3)}
    assert CONTROLS.findall(in_pipe) == []
    assert STYLES.findall(on_terminal) == []
    assert b"FAIL" in on_terminal
    assert b"FAIL" in in_pipe


def _pieces(terminal):
    """What is written to a terminal, until nobody holds it any more."""
    with os.fdopen(terminal, "rb", buffering=0) as file:
        while True:
            try:
                piece = file.read(65536)
            except OSError:  # how Linux says that the other side is closed
                return
            if not piece:
                return
            yield piece


def test_the_simulator_says_where_it_listens_without_control_characters(tmp_path):
    command = [sys.executable, "-m", "ptubench", "simulate", "--model", "gpt-4.1", "--ptu", "50", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path) as process:
        said = next(line for line in process.stdout if b"Listening" in line)
        process.terminate()
        said += process.stdout.read()

    assert CONTROLS.findall(said) == []
