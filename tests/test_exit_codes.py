"""Every exit code, by the command that gives it: what a script or a pipeline goes by.

Codes that come from a stored run file are tested on made ones; those of a run on real ones, in this process where that
is possible. What Ctrl-C does, once and twice, is in `test_stopping`.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

import judgements
import running
from ptubench.errors import Exit
from ptubench.gate.document import exit_code, of_repeats
from ptubench.results import store
from runs import dropped, end, failed, head, steady, write
from servers import Authority, fault_server, healthy_server
from simulated import simulated

pytestmark = pytest.mark.alone

WORKLOAD = """
name: quick
prompt_tokens: 100
completion_tokens: 20
load: {rate: 50/s, arrivals: constant}
duration: 600ms
warmup: 100ms
drain: 5s
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of the test's own with a workload, and an environment that names no target."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("AZURE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "quick.yaml").write_text(WORKLOAD)
    return tmp_path


@pytest.fixture
def call(capsys):
    """Runs a command in this process: its exit code, and what it printed to either stream."""

    def ptubench(*arguments):
        code = running.call(*arguments)
        return code, *capsys.readouterr()

    return ptubench


# --- a stored run


GOOD = steady(100)
LOSSY = [*GOOD, dropped(200, 20.0)]
FAILING = [*steady(80), *[failed(100 + i, 20.0) for i in range(20)]]
KILLED = ()


@pytest.mark.parametrize(
    ("lines", "options", "code"),
    [
        pytest.param(GOOD, (), Exit.GOOD, id="good"),
        pytest.param(GOOD, ("--strict",), Exit.GOOD, id="good, strict"),
        pytest.param(LOSSY, (), Exit.GOOD, id="degraded"),
        pytest.param(LOSSY, ("--strict",), Exit.INVALID, id="degraded, strict"),
        pytest.param(FAILING, (), Exit.CHECK, id="the default rule fails"),
        pytest.param(FAILING, ("--check", "failed.ratio <= 20%"), Exit.GOOD, id="another rule stands for the default"),
        pytest.param(GOOD, ("--check", "ttft.p50 <= 1ms"), Exit.CHECK, id="a rule fails"),
        pytest.param(GOOD, ("--check", "ttft.p99 <= 1s"), Exit.CHECK, id="a rule that can't be judged fails"),
        pytest.param(LOSSY, ("--check", "ttft.p50 <= 1ms"), Exit.CHECK, id="degraded and failing"),
        pytest.param(
            LOSSY, ("--check", "ttft.p50 <= 1ms", "--strict"), Exit.INVALID, id="degraded and failing, strict"
        ),
        pytest.param(None, ("--check", "ttft.p50 <= 1ms"), Exit.INVALID, id="invalid and failing"),
        pytest.param(GOOD, ("--check", "ttft.p50 <= 1"), Exit.USAGE, id="a rule that is none"),
        pytest.param(GOOD, ("--baseline", "none.jsonl"), Exit.USAGE, id="a baseline that is not there"),
    ],
)
def test_a_stored_run_is_judged(lines, options, code, here, call):
    # Without its end, a run was killed, and is invalid.
    found = (head(), *GOOD) if lines is None else (head(), *lines, end())
    write(here / "run.jsonl", *found)

    assert call("check", "run.jsonl", *options)[0] == code


@pytest.mark.parametrize(
    ("verdict", "ended", "passed", "stored", "made"),
    [
        ("valid", "completed", True, Exit.GOOD, Exit.GOOD),
        ("valid", "completed", False, Exit.CHECK, Exit.CHECK),
        ("invalid", "completed", False, Exit.INVALID, Exit.INVALID),
        ("invalid", "killed", False, Exit.INVALID, Exit.INVALID),
        ("invalid", "stopped", False, Exit.INVALID, Exit.STOPPED),
        ("valid", "stopped", True, Exit.INVALID, Exit.STOPPED),
    ],
)
def test_of_several_reasons_the_gravest_counts(verdict, ended, passed, stored, made):
    """Of a stored run, and for whoever has just made it."""
    found = judgements.document(judgements.RULE if passed else judgements.FAILED, verdict=verdict, ended=ended)

    assert exit_code(found) == stored
    assert of_repeats(found)["exit_code"] == made


# --- 2: the command line, the workload, an extra


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "quick.yaml"),
        ("run", "no-such-workload"),
        ("run", "quick.yaml", "--simulate", "gpt-4.1:50", "--no-such-option"),
        ("run", "quick.yaml", "--simulate", "gpt-4.1:50", "--check", "ttft.p59 <= 1s"),
        ("run", "quick.yaml", "--simulate", "gpt-4.1:50", "--check", "ttft.p95 <= 1s"),
        ("run", "quick.yaml", "--simulate", "gpt-4.1:50", "--abort", "ttft.p50 <= 1s"),
        ("run", "quick.yaml", "--simulate", "gpt-4.1:50", "--set", "colour=red"),
        ("report", "none.jsonl"),
        ("compare", "none.jsonl", "none.jsonl"),
        ("check", "none.jsonl"),
        ("size", "quick.yaml"),
        ("capacity", "quick.yaml"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_one_sentence_and_2(arguments, call):
    code, said, told = call(*arguments)

    assert (code, said, told.count("\n"), told[:7]) == (Exit.USAGE, "", 1, "error: ")


def test_a_missing_extra_is_2(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    target = ("--endpoint", "https://r.openai.azure.com", "--deployment", "d", "--auth", "entra")
    code, _, told = call("run", "quick.yaml", *target)

    assert code == Exit.USAGE
    assert "azure-identity is not installed" in told


# --- 3 without a run


def test_no_size_that_passes_is_3(call):
    code, said, told = call("size", "chat", "--model", "gpt-4.1", "--sizes", "15,20", "--csv")

    assert (code, told.startswith("no size passes"), len(said.splitlines())) == (Exit.CHECK, True, 3)


def test_no_rate_that_passes_is_3(call):
    search = ("capacity", "chat", "--simulate", "gpt-4.1:15,depth=10", "--virtual", "--steps", "2")
    code, said, _ = call(*search, "--set", "checks=[refused.ratio <= 1%, requests.ok >= 10M]", "--json")

    assert (code, json.loads(said)["result"]) == (Exit.CHECK, None)


# --- 5: the target


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_target_that_refuses_the_probe_is_5_with_its_own_sentence(status, call):
    with fault_server(f"http_{status}") as server:
        code, _, told = call("run", "quick.yaml", "--endpoint", f"{server.base}/v1", "--deployment", "m")

    assert code == Exit.TARGET
    assert f"HTTP status {status}" in told


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://127.0.0.1:9/v1", "refused the connection"),
        ("http://no-such-host.invalid/v1", "check the host name of --endpoint"),
    ],
)
def test_a_target_that_is_not_there_is_5(endpoint, said, here, call):
    code, _, told = call("run", "quick.yaml", "--endpoint", endpoint, "--deployment", "m")

    assert (code, told.startswith("error: http://"), told.count("\n")) == (Exit.TARGET, True, 1)
    assert said in told
    assert list(here.glob("results/*")) == []


def test_a_certificate_that_nobody_vouches_for_is_5(call):
    with healthy_server(tls=Authority().serving()) as server:
        code, _, told = call("run", "quick.yaml", "--endpoint", f"{server.base}/v1", "--deployment", "m")

    assert code == Exit.TARGET
    assert "certificate" in told


# --- runs


@pytest.fixture(scope="module")
def deployments(tmp_path_factory):
    """The address of a simulated deployment that is well, and of one whose every call fails."""
    folders = [tmp_path_factory.mktemp(name) for name in ("well", "broken")]
    with simulated(folders[0], latency=0.01, tps=2000) as well, simulated(folders[1], errors=1.0) as broken:
        yield {"well": f"{well.url}/v1", "broken": f"{broken.url}/v1"}


RUNS = {
    "good": ("well", (), Exit.GOOD, None),
    "no rule was given, and every call failed": (
        "broken",
        (),
        Exit.CHECK,
        "FAIL  failed.ratio <= 5%  (default)\n      measured 100 %, limit 5 %, 95 % interval ",
    ),
    "a rule of the command line fails beside one of the workload that holds": (
        "well",
        ("--set", "checks=[failed.ratio <= 1%]", "--check", "ttft.p50 <= 1ms"),
        Exit.CHECK,
        "1 of 2 checks FAILED\nFAIL  ttft.p50 <= 1ms\n      measured ",
    ),
    "invalid, and a rule fails": (
        "well",
        ("--set", "completion_tokens=2000", "--set", "drain=0s", "--check", "ttft.p50 <= 1ms"),
        Exit.INVALID,
        "FAIL  ttft.p50 <= 1ms",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_with_its_code_and_what_failed_stands_last(name, deployments, call):
    which, options, code, last = RUNS[name]
    target = ("--endpoint", deployments[which], "--deployment", "m")
    found, said, told = running.calmly(
        lambda: call("run", "quick.yaml", *target, *options), lambda done: done[0] == code
    )

    assert found == code, told
    if last is None:
        assert "FAILED" not in said
    else:
        assert last in "\n".join(said.rstrip().splitlines()[-5:])


def test_an_aborted_run_is_kept_and_says_so_first(deployments, here, call):
    target = ("--endpoint", deployments["broken"], "--deployment", "m", "--duration", "60s")
    rules = ("--set", "abort=[failed.count <= 0]", "--check", "failed.ratio <= 100%")
    code, said, told = running.calmly(
        lambda: call("run", "quick.yaml", *target, *rules), lambda done: done[0] == Exit.CHECK
    )
    *_, path = sorted(here.glob("results/*.jsonl"))
    *_, last = store.lines(path)

    assert code == Exit.CHECK
    assert (last.ended, last.aborted.rule) == ("aborted", "failed.count <= 0")
    assert last.unsent > 1000
    assert "aborted: `failed.count <= 0` is broken at " in told
    assert said.splitlines()[1].startswith("ABORTED  `failed.count <= 0` is broken at ")
    assert "\n\n1 of 2 checks FAILED\nFAIL  failed.count <= 0\n      measured " in said


def test_sigterm_is_130_whatever_else_is_wrong(deployments, here):
    options = ("--duration", "60s", "--check", "ttft.p50 <= 0.01ms", "--set", "completion_tokens=100")
    run = start("run", "quick.yaml", "--endpoint", deployments["well"], "--deployment", "m", *options)
    for _ in range(400):
        if any(b'"attempt"' in path.read_bytes() for path in here.glob("results/*.jsonl")):
            break
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    said, told = run.communicate(timeout=60)

    assert run.returncode == Exit.STOPPED, told
    assert "FAIL  ttft.p50 <= 0.01ms" in said


def test_records_that_can_no_longer_be_kept_are_4(deployments, here):
    run = start(
        *("run", "quick.yaml", "--endpoint", deployments["well"], "--deployment", "m", "--duration", "60s"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384)),
    )
    _, told = run.communicate(timeout=60)

    assert run.returncode == Exit.INVALID, told
    assert told.splitlines()[-1].startswith("error: results/")
    assert "File too large" in told.splitlines()[-1]


def start(*arguments, **how):
    return subprocess.Popen(
        [sys.executable, "-m", "ptubench", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # No compiled modules: one that is cut by the limit of a test would stay.
        env={**os.environ, "COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
        **how,
    )
