"""`--junit`, `--markdown` and `--github` of `run` and `check`: written at the end, looked at before any load."""

import json
from functools import partial
from pathlib import Path

import pytest

import running
from ptubench.errors import Exit
from ptubench.report.github import VARIABLE
from test_github import read
from test_junit import cases

EXAMPLE = Path(__file__).parents[1] / "results/examples/chat-120ptu.jsonl.gz"
SHORT = {
    "name": "short",
    "prompt_tokens": 50,
    "completion_tokens": 2,
    "load": {"rate": "20/s", "arrivals": "constant"},
    "duration": "1s",
    "warmup": "0s",
    "checks": ["ttft.p50 <= 1ms", "failed.ratio <= 5%"],
}


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Call a command in a step of GitHub Actions; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "step.md"))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "not-a-key")
    Path("short.yaml").write_text(json.dumps(SHORT))

    return partial(running.called, capfd)


def titles(err):
    return [told["title"] for _, told, _ in filter(None, map(read, err.splitlines()))]


def failed(path):
    """The cases of a JUnit file that don't hold."""
    return [name for name, fault in cases(Path(path).read_text()).items() if fault is not None]


def test_a_check_leaves_all_three_beside_one_json_document(call):
    code, out, err = call(
        "check", EXAMPLE, "--json", "--junit", "new/junit.xml", "--markdown", "new/report.md", "--github"
    )

    assert code == Exit.CHECK
    assert json.loads(out)["exit_code"] == Exit.CHECK
    assert failed("new/junit.xml") == ["refused.ratio <= 1%"]
    assert Path("new/report.md").read_text() == Path("step.md").read_text()[:-1]
    assert titles(err) == ["ptubench (SIMULATED): refused.ratio <= 1%"]


def test_a_run_leaves_all_three_beside_its_summary(call):
    code, out, err = call(
        *("run", "short.yaml", "--simulate", "gpt-4.1:50", "--json"),
        *("--junit", "junit.xml", "--markdown", "report.md", "--github"),
    )
    told = json.loads(out)

    assert code in {Exit.CHECK, Exit.INVALID}  # the latter on a machine that does much else
    assert "ttft.p50 <= 1ms" in failed("junit.xml")
    assert "### Latency" in Path("report.md").read_text()
    assert f"| offered | {told['metrics']['requests']['total']} |" in Path("step.md").read_text()
    assert "ptubench (SIMULATED): ttft.p50 <= 1ms" in titles(err)


@pytest.mark.parametrize("command", [("run", "short.yaml", "--simulate", "gpt-4.1:50"), ("check", EXAMPLE)])
@pytest.mark.parametrize("option", ["--junit", "--markdown", "--github"])
def test_what_can_not_be_written_is_said_before_any_load(command, option, call, monkeypatch):
    Path("file").write_text("")
    monkeypatch.setenv(VARIABLE, "file/step.md")
    code, out, err = call(*command, option, *([] if option == "--github" else ["file/x"]))

    assert code == Exit.USAGE
    assert out == ""
    assert err.startswith(f"error: {option}")
    assert "can't be written" in err
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--junit", "run.jsonl.gz"), "--junit run.jsonl.gz: is a run file, which would be lost; name another file"),
        (
            ("--markdown", "run.jsonl.gz"),
            "--markdown run.jsonl.gz: is a run file, which would be lost; name another file",
        ),
        (("--junit", "x", "--markdown", "./x"), "--markdown x: is the file of --junit; name another one"),
    ],
)
def test_nothing_is_written_over_a_run_or_over_each_other(options, said, call):
    Path("run.jsonl.gz").write_bytes(EXAMPLE.read_bytes())
    code, out, err = call("check", "run.jsonl.gz", *options)

    assert (code, out, err) == (Exit.USAGE, "", f"error: {said}\n")
    assert Path("run.jsonl.gz").read_bytes() == EXAMPLE.read_bytes()


def test_outside_of_github_actions_its_option_is_one_sentence(call, monkeypatch):
    monkeypatch.delenv(VARIABLE)
    code, out, err = call("run", "short.yaml", "--simulate", "gpt-4.1:50", "--github")

    assert (code, out) == (Exit.USAGE, "")
    assert err.startswith("error: --github: GITHUB_STEP_SUMMARY is not set")
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("command", "code", "kind"),
    [
        (
            ("run", "short.yaml", "--endpoint", "http://127.0.0.1:9/v1", "--deployment", "x"),
            Exit.TARGET,
            "TargetRefused",
        ),
        (("run", "short.yaml", "--rate", "fast"), Exit.USAGE, "UsageError"),
        (("check", EXAMPLE, "--check", "ttft"), Exit.USAGE, "UsageError"),
        (("run", "short.yaml", "--simulat", "gpt-4.1:50"), Exit.USAGE, "UsageError"),
        (("run", "short.yaml", "--simulate", "gpt-4.1:50", "--probe"), Exit.USAGE, "UsageError"),
        (("check", EXAMPLE, "--stict"), Exit.USAGE, "UsageError"),
        (("check", EXAMPLE, "--baseline", "missing.jsonl.gz", "--regression", "e2e.p50: 9%"), Exit.USAGE, "UsageError"),
    ],
)
def test_an_error_is_told_to_the_pipeline_too(command, code, kind, call):
    Path("report.md").write_text("of the run before")
    found, _, err = call(*command, "--junit", "junit.xml", "--markdown", "report.md", "--github")
    (told,) = filter(None, map(read, err.splitlines()))

    assert found == code
    assert told[:2] == ("error", {"title": "ptubench"})
    assert err.splitlines()[-1] == f"error: {told[2]}"
    assert cases(Path("junit.xml").read_text())["verdict"].get("type") == kind
    assert Path("report.md").read_text().startswith("## ❌ ptubench\n\n")
    assert Path("step.md").read_text().startswith(Path("report.md").read_text())
