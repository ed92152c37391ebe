"""Every command that the documents show is run, as it is written, and ends as it is said to.

A simulated deployment takes the place of every target. A dry run's probe reaches one over HTTP; a load is played on the
virtual clock, where ten minutes take a moment. What a command prints is compared in `test_docs`.
"""

import asyncio
import contextlib
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from typer.main import get_command

from ptubench import commands, record
from ptubench.cli.main import app
from ptubench.doctor import step
from ptubench.engine.run import Outcome
from ptubench.errors import Exit
from ptubench.results import store
from ptubench.sim.options import from_mapping
from ptubench.virtual.run import Trial, lines, play
from ptubench.workload.read import read
from ptubench.workload.resolve import resolve
from running import call
from simulated import simulated
from test_docs import SHOWN, TEXTS, blocks, folder, spans
from test_doctor import as_if

__all__ = ["folder"]

PLACEHOLDERS = ("RUN", "FILE", "BASELINE")
"""What users put the name of a run file for."""
MOST_RUNS = 6
"""That a command line has places for."""
PLACES = ("https://RESOURCE.openai.azure.com", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/openai/v1/")
"""Where the documents' targets are."""
MAY_FAIL = ("run", "check")
"""Rules decide how these end: the documents show deployments that are too small, too."""
AZURES = ("--monitor", "--from-monitor", "--resource")
"""Options that ask Azure's management: only understood here, and carried out by tests with a management of their own."""
NOT_RUN = {
    "make": "its targets are looked up in test_docs",
    "python3": "makes an environment",
    "py": "makes an environment, on Windows",
    "pip": "fills an environment",
    ".venv/bin/pip": "fills an environment",
    ".venv\\Scripts\\pip": "fills an environment, on Windows",
    "export": "sets a variable: the test's own environment has it",
    "curl": "run in test_docs",
    "dask": "starts a cluster, in test_scaling by the same lines",
    "kubectl": "asks a Kubernetes cluster",
    "az": "makes resources in Azure",
    "nslookup": "asks the name servers of a network with a private endpoint",
}
"""Programs that the documents show and this file leaves alone, with the reason."""
PROMPTS = (".venv/bin/ptubench", ".venv\\Scripts\\ptubench", "ptubench")


def in_blocks(text):
    """The command lines of all fenced blocks that show commands: continued lines joined, remarks left out."""
    shown = [block for language in ("bash", "powershell", "sh", "") for block in blocks(SHOWN.sub("", text), language)]
    lines = [line for block in shown for line in re.sub(r"[\\`]\n\s*", " ", block).splitlines()]
    return [line for line in lines if line.split() and line.split()[0] in (*PROMPTS, *NOT_RUN)]


def words(line):
    """A command line in words, without the name of the program, and without what the shell does with its output."""
    said = shlex.split(line.replace("\\Scripts\\", "/Scripts/"), comments=True)[1:]
    return said[: min([said.index(sign) for sign in (">", "|", "&&") if sign in said], default=None)]


def in_spans(text):
    """Those in running text; what holds a dash of omission is none."""
    return [words(span) for span in spans(text) if span.startswith("ptubench ") and "…" not in span]


IN_SPANS = [line for text in TEXTS.values() for line in in_spans(text)]
IN_BLOCKS = [words(line) for text in TEXTS.values() for line in in_blocks(text) if line.split()[0] in PROMPTS]
LINES = sorted({shlex.join(line) for line in (*IN_SPANS, *IN_BLOCKS)})
PRINTED = {
    shlex.join(words(what)) for text in TEXTS.values() for kind, what, *_ in SHOWN.findall(text) if kind == "output"
}
"""Those that `test_docs` runs, since their output is shown."""


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    with simulated(tmp_path_factory.mktemp("docs"), latency=0) as running_one:
        yield running_one


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Files of runs that differ by luck alone."""
    folder, chat = tmp_path_factory.mktemp("runs"), resolve(read("chat"), None)
    paths = [folder / f"{number}.jsonl" for number in range(MOST_RUNS)]
    for path in paths:
        trial = Trial(workload=chat, options=from_mapping({"model": "gpt-4.1", "ptu": 50}), salt=path.stem)
        path.write_bytes(b"".join(map(record.encode, lines(trial))))
    return paths


async def on_virtual_clock(order):
    """In place of `engine.run.run`: the same order on a simulated deployment of the target's size, if it has one."""
    target = order.aim.target
    options = from_mapping(target.simulate or {"model": target.model or "gpt-4.1", "ptu": target.ptu or 50})
    made = store.create(order.folder, order.workload.name, order.label, datetime.now(UTC), compress=order.compress)
    luck = {"label": order.label, "salt": made.path.name}
    trial = Trial(workload=order.workload, options=options, plan=order.plan, **luck)

    def enough(line):
        return order.enough(line) or order.abort(line) is not None

    with contextlib.closing(made) as file:  # in a thread, since it has a loop of its own
        await asyncio.to_thread(play, trial, lambda line: file.write(record.encode(line)), enough=enough)
    return Outcome(file.path, "completed")


def filled(line, sim, runs):
    """The words of a command line, where users have put in what is theirs: a target, and a run file at each place of one."""
    files = iter(runs)
    for word in shlex.split(line):
        if word in PLACES:
            yield f"{sim.url}/openai/v1/"
        else:
            yield str(next(files)) if word in PLACEHOLDERS else word


def runnable(line, sim, runs):
    """The command line of a user who has a target, some runs, and nobody to ask."""
    arguments = [*filled(line, sim, runs)]
    command, *rest = arguments
    if command == "simulate" or (command != "init" and all(word.startswith("--") for word in rest)):
        return [command, "--help"]  # a server; or a command or its options, only named in running text
    if set(AZURES) & set(rest):
        return [command, "--help", *rest]
    if command == "capacity":
        return [*arguments, "--steps", "2", *(["--yes"] if "--virtual" not in rest else [])]
    return arguments


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("line", [line for line in LINES if line not in PRINTED])
def test_commands_in_the_docs_do_what_they_are_shown_for(line, sim, runs, monkeypatch, capsys):
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{sim.url}/openai/v1/")
    monkeypatch.setattr(commands, "run_order", on_virtual_clock)
    monkeypatch.setattr(step, "play", as_if(2000, 80_000))
    code = call(*runnable(line, sim, runs))
    err = capsys.readouterr().err

    assert code in ((Exit.GOOD, Exit.CHECK) if line.split()[0] in MAY_FAIL else (Exit.GOOD,)), err
    assert "error:" not in err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("line", sorted({shlex.join(line) for line in IN_BLOCKS if line[0] == "simulate"}))
def test_simulated_deployments_in_the_docs_start(line):
    command = [sys.executable, "-m", "ptubench", *shlex.split(line), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = next(text for text in process.stderr if text.startswith(("Listening", "error")))
        process.terminate()

    assert said.startswith("Listening on http://127.0.0.1:")


def test_options_in_running_text_are_options_of_their_command():
    call("simulate", "--help")  # its options are known only where it is called
    known = {name: {o for given in made.params for o in given.opts} for name, made in get_command(app).commands.items()}
    named = [(command, word) for command, *rest in IN_SPANS for word in rest if word.startswith("--")]

    assert [(command, word) for command, word in named if word not in {"--help", *known[command]}] == []


@pytest.mark.parametrize("name", TEXTS)
def test_every_line_of_a_block_of_commands_is_run_or_left_alone_for_a_reason(name):
    lines = [line for block in blocks(TEXTS[name], "(?:bash|powershell|sh)") for line in block.splitlines()]
    joined = re.sub(r"[\\`]\n\s*", " ", "\n".join(lines)).splitlines()
    programs = {line.split()[0] for line in joined if line.strip() and not line.startswith("#")}

    assert programs <= {*PROMPTS, *NOT_RUN}


def test_what_is_left_alone_is_in_the_docs():
    programs = {line.split()[0] for text in TEXTS.values() for line in in_blocks(text)}

    assert sorted(NOT_RUN.keys() - programs) == []
