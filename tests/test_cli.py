"""The command line as a person or a script meets it: results to stdout, the rest to stderr, one sentence an error."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from running import call, calmly, environment, unhurried

pytestmark = pytest.mark.alone

FAST = "gpt-4.1:50,latency=0.02,tps=2000,jitter=0"
WORKLOAD = """
name: quick
prompt_tokens: 100
completion_tokens: 20
load: {rate: 40/s, arrivals: constant}
duration: 1s
warmup: 250ms
drain: 5s
"""


COMMAND = (sys.executable, "-m", "ptubench")


@dataclass(frozen=True)
class Done:
    """What a command gave back."""

    returncode: int
    stdout: str
    stderr: str


def start(*arguments, cwd, env=None, command=COMMAND):
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=cwd,
        env=environment(COLUMNS="100", **(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    said = process.communicate(timeout=60)
    return Done(process.returncode, *said)


def ptubench(*arguments, **how):
    """Run the command to its end."""
    return finish(start(*arguments, **how))


@pytest.fixture
def here(folder, monkeypatch, capsys):
    """Runs a command that starts no process of its own in this one."""

    def called(*arguments, env=None):
        monkeypatch.chdir(folder)
        for name in [name for name in os.environ if name.startswith(("AZURE_", "OPENAI_"))]:
            monkeypatch.delenv(name)
        for name, value in {"COLUMNS": "100", **(env or {})}.items():
            monkeypatch.setenv(name, value)
        return Done(call(*arguments), *capsys.readouterr())

    return called


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def workload(folder):
    path = folder / "quick.yaml"
    path.write_text(WORKLOAD)
    return path


INVALID = 4
RUNS = {
    "first": (),
    "zipped": ("--json", "--gzip", "--html", "zipped.html"),
}


@pytest.fixture(scope="module")
def runs(folder, workload):
    """All runs of this file, at once."""

    def measure():
        started = [
            start("run", workload, "--simulate", FAST, "--label", name, *options, cwd=folder)
            for name, options in RUNS.items()
        ]
        return dict(zip(RUNS, map(finish, started), strict=True))

    return calmly(measure, lambda runs: INVALID not in {run.returncode for run in runs.values()})


@pytest.fixture(scope="module")
def done(runs):
    """One finished run, shared by the tests that look at what it left."""
    return runs["first"]


@pytest.fixture(scope="module")
def file(folder, done):
    return folder / stored(done)


def stored(run):
    """The run file that a run names, relative to its folder."""
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("run file: ")]
    return line.removeprefix("run file: ")


def test_a_run_prints_its_table_and_leaves_a_run_file(done, file):
    assert done.returncode == 0, done.stderr
    assert "SIMULATED" in done.stdout
    assert "verdict  " in done.stdout
    assert file.name.endswith("-quick-first.jsonl")


def test_nothing_but_plain_text_goes_into_a_pipe(done):
    assert "\x1b" not in done.stdout + done.stderr


def test_report_shows_the_same_table_from_the_file_alone(done, file, folder):
    again = ptubench("report", file, cwd=folder)

    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_report_as_json_is_one_document_with_numbers(file, folder, here):
    summary = json.loads(here("report", file, "--format", "json").stdout)

    assert summary["schema_version"] == 1
    assert summary["target"]["kind"] == "simulated"
    assert summary["run"]["label"] == "first"
    assert summary["metrics"]["requests"]["total"] == 30
    assert summary["metrics"]["requests"]["ok"] == 30


def test_json_makes_stdout_exactly_one_document_and_gzip_a_smaller_file(folder, runs, here):
    run = runs["zipped"]
    summary = json.loads(run.stdout)

    assert run.returncode == 0
    assert summary["run"]["file"] == stored(run)
    assert stored(run).endswith("-quick-zipped.jsonl.gz")
    assert json.loads(here("report", stored(run), "--format", "json").stdout) == summary


def test_a_run_leaves_the_page_that_report_makes_of_it(folder, runs, here):
    again = here("report", stored(runs["zipped"]), "--html", "again.html")

    assert again.returncode == 0, again.stderr
    assert (folder / "zipped.html").read_text() == (folder / "again.html").read_text()


def test_a_workload_can_be_made_looked_at_and_changed_from_the_command_line(folder, here):
    made = here("init", "mine")
    looked = here(
        *("run", "mine.yaml", "--simulate", "gpt-4.1:50", "--dry-run", "--json"),
        *("--set", "prompt_tokens=500", "--rate", "60/min", "--duration", "12m"),
    )
    plan = json.loads(looked.stdout)

    assert made.returncode == 0
    assert looked.returncode == 0, looked.stderr
    assert 600 < plan["offered"]["requests"] < 840
    assert plan["tokens"]["prompt"] == 500 * plan["offered"]["requests"]
    assert not list(folder.glob("results/*mine*"))


def test_init_never_overwrites(folder, here):
    (folder / "kept.yaml").write_text("mine")
    again = here("init", "kept")

    assert again.returncode == 2
    assert again.stderr == "error: kept.yaml: exists already; name another file, or remove it first\n"
    assert (folder / "kept.yaml").read_text() == "mine"


def test_a_dry_run_sends_nothing_and_says_it_all(folder, here):
    looked = here(
        *("run", "chat", "--dry-run", "--endpoint", "https://r.openai.azure.com", "--deployment", "d"),
        *("--model", "gpt-4.1", "--ptu", "50"),
        env={"AZURE_OPENAI_API_KEY": "0" * 32},
    )

    assert looked.returncode == 0, looked.stderr
    for said in (
        "https://r.openai.azure.com/openai/v1/chat/completions",
        "from --endpoint",
        "calls/min",
        "normalized tokens/min",
        "utilization",
        "392 of these calls are due in the window, 1m to 10m, and measured: enough for p50",
    ):
        assert said in looked.stdout


def test_a_dry_run_can_send_one_probe(folder):
    looked = ptubench("run", "chat", "--dry-run", "--probe", "--simulate", FAST, cwd=folder)

    assert looked.returncode == 0, looked.stderr
    assert "the probe call was answered with status 200 by model gpt-4.1-2025-04-14" in looked.stdout


WRONG = [
    (
        ["run", "chat"],
        (
            "error: no target: name a deployment with --endpoint https://RESOURCE.openai.azure.com --deployment NAME (or "
            "AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_DEPLOYMENT), or simulate one with --simulate gpt-4.1:50\n"
        ),
    ),
    (
        ["run", "chat", "--simulate", "gpt-4.1:50", "--probe"],
        "error: --probe: goes with --dry-run only; a run sends its probe call anyway\n",
    ),
    (
        ["run", "chat", "--simulate", "gpt-4.1:50", "--html", "x.html", "--dry-run"],
        "error: --html: nothing is measured by --dry-run; leave one of them out\n",
    ),
    (
        ["run", "chat", "--simulate", "gpt-4.1:50", "--html", "x.html", "--repeat", "2"],
        "error: --html: makes the page of one run; without it, and then `ptubench report RUN RUN --html FILE`\n",
    ),
    (
        ["run", "chat", "--simulate", "gpt-4.1:50", "--alias"],
        "error: --alias: goes with --html only\n",
    ),
    (
        ["run", "chat", "--simulate", "gpt-4.1:50", "--workers", "many"],
        "error: --workers many: write a number from 1 to 64, or auto\n",
    ),
    (
        ["run", "chat", "--simulate", "gpt-4.1:50", "--set", "checks=[ttft.p99 <= 1s]", "--duration", "2m"],
        (
            "error: chat: checks: `ttft.p99 <= 1s`: ttft.p99 needs 368 measured calls; this workload will measure about 42: "
            "of 90 calls those due in the window, 1m to 2m; "
        ),
    ),
    (["report", "none.jsonl"], "error: none.jsonl: the run file can't be opened (No such file or directory)"),
    (["report", "none.jsonl", "--format", "pdf"], "error: --format pdf: unknown; write table, markdown, json or csv\n"),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(arguments, sentence, folder, here):
    asked = here(*arguments)

    assert asked.returncode == 2
    assert asked.stderr.startswith(sentence)
    assert asked.stderr.count("\n") == 1
    assert asked.stdout == ""


def test_a_results_folder_that_cannot_be_made_is_said_before_anything_is_sent(folder, workload, here):
    (folder / "a-file").write_text("")
    asked = here("run", workload, "--simulate", FAST, "--results", "a-file/results")

    assert asked.returncode == 2
    assert asked.stderr == (
        "error: --results a-file/results: can't be made (Not a directory); name a folder that can be written\n"
    )


def test_help_names_every_command_and_each_option_has_a_help_text(folder, here):
    commands = ("run", "report", "init", "simulate")
    helps = {name: here(name, "--help").stdout for name in commands}

    assert all(name in here("--help").stdout for name in commands)
    assert not any("<bool>" in text for text in helps.values())  # a flag takes no value
    assert "assumed" in helps["simulate"]
    assert all(option in helps["run"] for option in ("--dry-run", "--set", "--simulate", "--ca-file", "--workers"))


def test_version_is_that_of_the_package(folder, here):
    from ptubench import __version__

    assert here("--version").stdout == f"ptubench {__version__}\n"


def test_a_reader_that_leaves_early_is_no_crash(file, folder):
    shell = f"{sys.executable} -m ptubench report {file} --format json | head -n 1"
    run = subprocess.run(
        ["sh", "-c", shell],
        cwd=folder,
        env=unhurried(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert (run.stdout, run.stderr) == ("{\n", "")


def test_a_file_of_the_users_folder_does_not_stand_in_for_one_of_ours(tmp_path, workload):
    for name in ("msgspec", "typing_extensions", "uvloop"):
        Path(tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    script = Path(sys.executable).with_name("ptubench")
    run = calmly(
        lambda: ptubench("run", workload, "--simulate", FAST, cwd=tmp_path, command=(script,)),
        lambda run: run.returncode != INVALID,
    )

    assert run.returncode == 0, run.stderr
    assert "run file: " in run.stderr
