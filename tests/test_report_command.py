"""`ptubench report` as typed: formats, several runs, slim files; and what a shell completes."""

import csv
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ptubench.cli import completion, main, show
from ptubench.report import text
from ptubench.workload import shipped
from running import unhurried
from runs import end, head, steady, throttled, write


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs a command in this process, in a folder with two run files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("one", "two"):
        write(tmp_path / f"{name}.jsonl", head(run_id=name), *steady(30), throttled(30, 20.0), end())

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["ptubench", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=exited.value.code or 0, out=out, err=err)

    return called


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_is_that_of_the_attempts_unless_the_timeline_is_asked_for(call):
    assert len(rows(call("report", "one.jsonl", "--format", "csv").out)) == 31
    assert len(rows(call("report", "one.jsonl", "--format", "csv", "--of", "timeline").out)) == 72


def test_several_runs_are_one_csv_table(call):
    found = rows(call("report", "one.jsonl", "two.jsonl", "--format", "csv").out)

    assert [row["run"] for row in found] == ["one"] * 31 + ["two"] * 31


def test_several_runs_are_one_json_document(call):
    found = json.loads(call("report", "one.jsonl", "two.jsonl", "--json").out)

    assert found["schema_version"] == 1
    assert found["runs"] == [json.loads(call("report", f"{name}.jsonl", "--json").out) for name in ("one", "two")]


def test_several_runs_are_shown_one_after_another_with_their_names(call):
    said = call("report", "one.jsonl", "two.jsonl").out
    alone = call("report", "two.jsonl").out

    assert said.startswith("one.jsonl\n")
    assert said.endswith(f"\n\n\ntwo.jsonl\n{alone}")
    assert "two.jsonl" not in alone


def test_a_slim_file_is_written_and_its_size_said(call, tmp_path):
    done = call("report", "one.jsonl", "--slim", "small.jsonl.gz")
    before, now = ((tmp_path / name).stat().st_size / 1000 for name in ("one.jsonl", "small.jsonl.gz"))

    assert (done.code, done.out) == (0, "")
    assert done.err == f"small.jsonl.gz: {before:.1f} kB before, {now:.2f} kB now\n"


def test_a_slim_file_and_a_format_are_both_made(call):
    done = call("report", "one.jsonl", "--slim", "small.jsonl.gz", "--json")
    again = call("report", "small.jsonl.gz", "--json")

    assert json.loads(done.out)["metrics"] == json.loads(again.out)["metrics"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "json", "--of", "timeline"], "--of: goes with --format csv only"),
        (["--format", "csv", "--of", "calls"], "--of calls: unknown; write attempts or timeline"),
        (["--format", "csv", "--json"], "--json: is --format json, and --format csv another; use one of them"),
        (
            ["none.jsonl", "--format", "csv"],
            "none.jsonl: the run file can't be opened (No such file or directory); give the path that `ptubench run` printed",
        ),
        (["two.jsonl", "--slim", "s.jsonl"], "--slim: takes one RUN"),
        (["two.jsonl", "--monitor"], "--monitor: takes one RUN"),
        (["--slim", "one.jsonl"], "--slim one.jsonl: is the run itself, which would be lost; name another file"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(arguments, said, call):
    done = call("report", "one.jsonl", *arguments)

    assert (done.code, done.out, done.err) == (2, "", f"error: {said}\n")


def test_a_reader_that_leaves_ends_the_csv_in_silence(call, tmp_path):
    write(tmp_path / "long.jsonl", head(), *steady(5000, step=0.01), end())
    shell = f"{sys.executable} -m ptubench report long.jsonl --format csv | head -n 1"
    done = subprocess.run(
        ["bash", "-c", shell],
        cwd=tmp_path,
        env=unhurried(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.startswith("run,label,index,")
    assert done.stderr == ""


# --- what is said without a command, and what a shell completes -------------------------------------------------------


def test_ptubench_alone_says_what_to_do_first(call):
    done = call()

    assert (done.code, done.err) == (0, "")
    assert "ptubench run demo" in done.out
    assert "ptubench --help" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "pwsh"])
def test_completion_is_shown_for_every_shell(shell, call, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "")
    done = call("--show-completion", shell)

    assert done.code == 0
    assert "_PTUBENCH_COMPLETE" in done.out


def test_an_unknown_shell_is_one_sentence(call, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "")
    done = call("--show-completion", "nosuch")

    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def test_workloads_are_completed_by_name_and_as_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat-of-ours.yaml").write_text("")
    (tmp_path / "chat.txt").write_text("")

    assert completion.workloads("chat") == ["chat", "chat-of-ours.yaml"]
    assert completion.workloads("")[:-1] == shipped.names()


def test_runs_are_completed_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/.hidden").mkdir(parents=True)
    for name in ("a.jsonl", "b.jsonl.gz", "c.txt", ".hidden/d.jsonl"):
        (tmp_path / "results" / name).write_text("")

    assert completion.runs("") == completion.runs("res") == ["results/a.jsonl", "results/b.jsonl.gz"]
    assert completion.runs("results/b") == ["results/b.jsonl.gz"]
    assert completion.runs(f"{tmp_path}/results/") == [
        f"{tmp_path}/results/{name}" for name in ("a.jsonl", "b.jsonl.gz")
    ]
    assert completion.runs("nowhere/") == completion.runs("results/c") == []


def test_completion_is_asked_for_by_a_shell_without_what_is_slow_to_import(tmp_path):
    write(tmp_path / "one.jsonl", head(), end())
    code = "import sys; from ptubench.cli import main\ntry: main()\nfinally: print(*sorted(sys.modules))"
    environment = os.environ | {
        "_PTUBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "ptubench report o",
        "COMP_CWORD": "2",
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    first, modules = done.stdout.splitlines()

    assert first == "one.jsonl"
    assert not {"numpy", "httpx2", "uvicorn", "ptubench.record"} & set(modules.split())


# --- one look ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["simulated", "azure"])
def test_only_the_badge_itself_has_its_colour(kind):
    title = text.badge(kind).append("  a name")
    (span,) = title.spans

    assert (title.style, title.plain[span.start : span.end].strip()) == (
        "",
        "SIMULATED" if kind == "simulated" else "REAL",
    )


@pytest.mark.parametrize(("columns", "widest"), [("60", 60), ("80", 80), ("500", 120)])
def test_every_width_is_kept_and_none_is_stretched(columns, widest, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    said = [call(*line.split()).out for line in ("report one.jsonl", "check one.jsonl", "compare one.jsonl two.jsonl")]
    said.append(call("size", "chat", "--model", "gpt-4.1", "--no-simulation").out)

    assert all(said)
    assert max(len(line) for out in said for line in out.splitlines()) <= widest


@pytest.mark.parametrize(
    ("complete", "begun", "offered"),
    [
        (completion.rules, "ttft.p9", ["ttft.p90", "ttft.p95", "ttft.p99", "ttft.p999"]),
        (completion.aborts, "fa", ["failed.ratio", "failed.count"]),
        (completion.regressions, "refu", ["refused.ratio:"]),
        (completion.one_of("table", "csv"), "", ["table", "csv"]),
        (completion.rules, "nothing", []),
    ],
)
def test_metrics_and_words_are_completed(complete, begun, offered):
    assert sorted(complete(begun)) == sorted(offered)


@pytest.mark.parametrize("part", ["--format", "--of"])
def test_the_words_that_an_option_takes_are_those_that_are_offered(part, call):
    told = call("report", "one.jsonl", "--format", "csv", part, "x").err

    assert "unknown; write " in told


@pytest.mark.parametrize(
    ("last", "warned"),
    [
        (end(), None),
        (end(ended="stopped"), "this run was stopped and is no baseline; name one that was completed"),
        (end(lost_workers=(0,)), "this run is invalid and is no baseline: 1 of 1 workers ended in mid-run"),
    ],
)
def test_a_slim_file_that_can_be_no_baseline_is_warned_of(last, warned, call, tmp_path):
    write(tmp_path / "run.jsonl", head(), *steady(30), last)
    said = call("report", "run.jsonl", "--slim", "small.jsonl.gz")

    assert said.code == 0
    assert ("warning: small.jsonl.gz: " in said.err) is (warned is not None)
    assert (warned or "") in said.err


def test_a_page_that_was_written_is_said(call):
    said = call("report", "one.jsonl", "--html", "page.html")

    assert (said.code, said.out, said.err) == (0, "", "page: page.html\n")


def test_what_takes_a_while_says_what_it_is_busy_with_and_only_on_standard_error(call, tmp_path, monkeypatch):
    monkeypatch.setattr(show, "_PATIENCE", 0.0)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "small.jsonl", head(), *steady(500, step=0.1), end())
    done = call("report", "small.jsonl", "--format", "csv")

    assert (done.code, done.out[:4]) == (0, "run,")
    assert "writing the attempts of small.jsonl" in done.err.splitlines()
    assert set(done.err.splitlines()) <= {"reading small.jsonl", "writing the attempts of small.jsonl"}
