"""The pipelines in examples/: their own shell steps, run as they stand in a repository like a user's, on the simulator."""

import gzip
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import yaml

from ptubench import record
from ptubench.record import Attempt, Head, Tick
from ptubench.results import store
from simulated import simulated
from test_github import read
from test_junit import cases

EXAMPLES = Path(__file__).parents[1] / "examples"
TEXTS = {name: (EXAMPLES / f"{name}.yml").read_text(encoding="utf-8") for name in ("github-actions", "azure-pipelines")}
CHAT = {
    "name": "chat",
    "prompt_tokens": 40,
    "completion_tokens": 4,
    "load": {"rate": "80/s", "arrivals": "constant"},
    "duration": "1s",
    "warmup": "0s",
    "checks": ["ttft.p95 <= 5s", "failed.ratio <= 1%"],
}


def scripts(name):
    """The steps of a pipeline that call ptubench: what each is called, and its script."""
    read_ = yaml.safe_load(TEXTS[name])
    if name == "github-actions":
        steps = ((step.get("name"), step.get("run")) for step in read_["jobs"]["performance"]["steps"])
    else:
        steps = (
            (step.get("displayName"), step.get("bash") or step.get("inputs", {}).get("inlineScript"))
            for step in read_["stages"][0]["jobs"][0]["steps"]
        )
    return {title: script for title, script in steps if script and "ptubench " in script}


def environment(folder, sim):
    """What the pipeline's variables would be; a key stands for the sign-in, which a test has none of."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AZURE", "OPENAI", "GITHUB")) and not name.upper().endswith("_PROXY")
    }
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "AZURE_OPENAI_ENDPOINT": f"{sim.url}/openai/v1/",
        "AZURE_OPENAI_DEPLOYMENT": "gpt-4.1",
        "AZURE_OPENAI_API_KEY": "not-a-key",
        "AZURE_OPENAI_MODEL": "gpt-4.1",
        "AZURE_OPENAI_PTU": "50",
        "GITHUB_STEP_SUMMARY": str(folder / "step.md"),
        "GITHUB_SHA": "0a1b2c3d",
        "BUILD_SOURCEVERSION": "0a1b2c3d",
    }


def played(name, folder, sim):
    """A folder like a user's repository in which the load was run, and its environment."""
    (folder / "perf").mkdir()
    (folder / "perf/chat.yaml").write_text(json.dumps(CHAT))
    env = environment(folder, sim)
    done = run(scripts(name)["Load"], folder, env)

    assert done.returncode == 0, done.stderr
    (run_file,) = (folder / "results").iterdir()
    rewrite(run_file, run_file, calm)
    return folder, env


def run(script, folder, env):
    """A step's script, as the runners start it."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """For each pipeline what its load step left behind; the two loads run side by side."""
    with simulated(tmp_path_factory.mktemp("sim"), latency=0.2) as sim, ThreadPoolExecutor() as pool:
        folders = [tmp_path_factory.mktemp(name) for name in TEXTS]
        yield dict(zip(TEXTS, pool.map(played, TEXTS, folders, [sim, sim]), strict=True))


@pytest.mark.parametrize("name", TEXTS)
def test_a_pipeline_measures_checks_and_leaves_what_it_says(name, repositories):
    folder, env = repositories[name]
    steps = scripts(name)
    assert list(steps) == ["Load", "Check", "Candidate for the next baseline"]
    done = run(steps["Check"], folder, env)

    assert done.returncode == 0, done.stderr
    assert "no perf/baseline.jsonl.gz yet: " in done.stdout
    assert set(cases((folder / "junit.xml").read_text()).values()) == {None}

    baseline(folder, slower=1.0)
    done = run(steps["Check"], folder, env)

    assert done.returncode == 0, done.stderr
    assert set(cases((folder / "junit.xml").read_text()).values()) == {None}
    assert "✅ chat (SIMULATED): all 4 checks hold" in summary(folder)

    done = run(steps["Candidate for the next baseline"], folder, env)
    (candidate,) = (path for path in folder.rglob("baseline.jsonl.gz") if path.parent.name != "perf")

    assert done.returncode == 0, done.stderr
    assert store.read_head(candidate).label == "0a1b2c3d"
    assert store.read_head(candidate).target["ptu"] == 50
    if candidate.parent != folder:  # what is published lies in one folder
        candidate.rename(folder / candidate.name)


@pytest.mark.parametrize("name", TEXTS)
def test_a_pipeline_goes_red_when_answers_get_slower(name, repositories):
    folder, env = repositories[name]
    baseline(folder, slower=0.5)
    done = run(scripts(name)["Check"], folder, env)
    told = cases((folder / "junit.xml").read_text())

    assert done.returncode == 3, done.stderr
    assert [rule for rule, fault in told.items() if fault is not None] == ["ttft.p95: 10%"]
    assert "❌ chat (SIMULATED): 1 of 4 checks failed" in summary(folder)
    if name == "github-actions":
        (annotation,) = filter(None, map(read, done.stderr.splitlines()))

        assert annotation[1]["title"] == "ptubench (SIMULATED): ttft.p95: 10%"


def baseline(folder, *, slower):
    """Put a run of another day into the repository: the same, with so many times its time to first token."""
    (run_file,) = (folder / "results").glob("*.jsonl.gz")

    def changed(line):
        if isinstance(line, Head):
            return msgspec.structs.replace(line, run_id="another", started_at="2026-11-22T03:17:00+00:00")
        if isinstance(line, Attempt) and line.first_content is not None:
            first = line.sent + slower * (line.first_content - line.sent)
            return msgspec.structs.replace(line, first_content=first, first_output=first)
        return line

    rewrite(run_file, folder / "perf/baseline.jsonl.gz", changed)


def calm(line):
    """A line as it were on a machine that does nothing else: what is judged here is not this one."""
    if isinstance(line, Attempt):
        return msgspec.structs.replace(line, taken=line.scheduled)
    return msgspec.structs.replace(line, loop_lag={}, cpu=0.0) if isinstance(line, Tick) else line


def rewrite(path, to, changed):
    """Write a run file with each of its lines changed."""
    lines = [changed(line) for line in store.lines(path)]
    to.write_bytes(gzip.compress(b"".join(map(record.encode, lines))))


def summary(folder):
    """What people see: the step's summary, or the tab."""
    return "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.md"))


@pytest.mark.parametrize(
    ("code", "goes_on"), [(0, True), (1, False), (2, False), (3, True), (4, True), (5, False), (130, False)]
)
@pytest.mark.parametrize("name", TEXTS)
def test_only_what_the_check_judges_again_lets_a_pipeline_go_on_after_the_load(name, code, goes_on, tmp_path):
    stub = tmp_path / "ptubench"
    stub.write_text(f"#!/bin/sh\nexit {code}\n")
    stub.chmod(0o755)
    done = run(scripts(name)["Load"], tmp_path, {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})

    assert done.returncode == (0 if goes_on else code)


@pytest.mark.parametrize("name", TEXTS)
def test_a_load_that_was_not_put_on_leaves_its_reason(name, tmp_path):
    (tmp_path / "perf").mkdir()
    (tmp_path / "perf/chat.yaml").write_text(json.dumps(CHAT))
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ours = {"AZURE_OPENAI_ENDPOINT": "", "AZURE_OPENAI_PTU": "many", "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md")}
    done = run(scripts(name)["Load"], tmp_path, {**env, **ours, "GITHUB_SHA": "0", "BUILD_SOURCEVERSION": "0"})
    shown = tmp_path / ("step.md" if name == "github-actions" else "summary.md")

    assert done.returncode == 2
    assert cases((tmp_path / "junit.xml").read_text())["verdict"].get("type") == "UsageError"
    assert "--ptu" in shown.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TEXTS)
def test_no_script_of_a_pipeline_holds_what_others_have_typed(name):
    """A branch's name that is put into a script is run by it; variables of the environment are not."""
    for script in scripts(name).values():
        assert "${{" not in script
        assert "$(" not in script


def test_the_pipelines_need_no_secret_and_put_no_load_on_behalf_of_forks():
    github, azure = TEXTS.values()
    job = yaml.safe_load(github)["jobs"]["performance"]

    assert "secrets." not in github
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    assert yaml.safe_load(github)["permissions"] == {}
    assert "pull_request_target" not in github
    assert "head.repo.full_name == github.repository" in job["if"]
    assert "System.PullRequest.IsFork" in yaml.safe_load(azure)["stages"][0]["condition"]
