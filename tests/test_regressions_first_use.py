"""What a new user found in finished parts, each as it was found."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

import runs
from goldens import shown
from ptubench import commands
from ptubench.client import auth
from ptubench.client.exchange import Exchange
from ptubench.engine.ways_out import way_out
from ptubench.errors import TargetRefused, UsageError
from ptubench.ptu import catalogue
from ptubench.report import table
from ptubench.sim import chat, effort, responses
from ptubench.target.model import Target, TargetOptions
from ptubench.workload.read import read
from running import call, called
from simulated import simulated
from summaries import summary as made_up

AZURE = {"endpoint": "https://r.openai.azure.com", "deployment": "d"}
KEY = {"AZURE_OPENAI_API_KEY": "fake"}


def prepare(*overrides, workload="chat", env=KEY, **options):
    asked = commands.RunOptions(workload=workload, target=TargetOptions(**options), overrides=overrides)
    return commands.prepare(asked, env)


# --- 429s that the user's own client shows only at their end


@pytest.fixture
def hidden(tmp_path):
    """A load of 200 calls of which every other one is refused from the middle on, by a client that shows no first byte."""
    own = {"client": "mine:ask", "target": {"kind": "azure", "model": "gpt-4.1", "ptu": 1}}

    def of(**changes):
        fine = [runs.ok(i, 0.2 * i, answered=None) for i in range(100)]
        mixed = [
            (runs.throttled if i % 2 else runs.ok)(i, 0.2 * i, answered=None, end=0.2 * i + 1.0)
            for i in range(100, 340)
        ]
        return runs.summary(tmp_path, *fine, *mixed, **own | changes)

    return of


def test_the_first_429_came_at_the_end_of_its_attempt_where_nothing_else_is_known(hidden):
    found = hidden()
    texts = " ".join(note["text"] for note in found["notes"])

    assert found["metrics"]["throttled"]["first_s"] == pytest.approx(0.2 * 101 + 1)
    assert found["metrics"]["reject"]["p50"] == pytest.approx(1.0)
    assert "no 429 came" not in texts
    assert "no 429 came" not in found["run"]["warmup"]["text"]


def test_the_window_of_until_429_begins_there_too(hidden):
    warm_up = hidden(warmup_rule="until_429")["run"]["warmup"]

    assert warm_up["reason"] == "first_429"
    assert warm_up["start_s"] == pytest.approx(0.2 * 101 + 1)


# --- a client function that can't do what it is asked


@pytest.mark.parametrize(
    ("said", "goes_on"),
    [
        ("TypeError: Missing required arguments", False),
        ("APIConnectionError: Connection error.", False),
        ("APITimeoutError: Request timed out.", True),
        ("TimeoutError: ", True),
    ],
)
def test_a_function_that_raises_in_the_probe_ends_the_run_unless_it_only_waited_too_long(said, goes_on):
    exchange = Exchange()
    exchange.fail("client_error", said)
    target = Target(kind="azure", style="v1", endpoint="http://127.0.0.1:9", url="http://127.0.0.1:9/v1")

    assert (way_out(target, exchange, proxy=None) is None) == goes_on


def test_a_run_with_such_a_function_sends_no_load(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_client.py").write_text("async def ask(call):\n    raise TypeError('no messages')\n    yield\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with simulated(tmp_path) as sim:
        code, _, said = called(
            capsys,
            *("run", "smoke", "--endpoint", f"{sim.url}/v1", "--deployment", "m"),
            *("--set", "client=broken_client:ask", "--results", tmp_path / "results"),
        )

    assert code == 5
    assert said.splitlines()[-1] == (
        f"error: {sim.url}/v1/chat/completions: the user's own client function raised an exception (TypeError: no messages); "
        "mend the function, or what it is asked with (api, parameters, --endpoint)"
    )
    assert list((tmp_path / "results").glob("*")) == []


# --- a probe call that is not answered


def test_a_dry_run_whose_probe_fails_exits_with_5_and_a_run_only_warns(tmp_path, capsys):
    with simulated(tmp_path, errors=1.0) as sim:
        where = ("--endpoint", f"{sim.url}/v1", "--deployment", "m", "--results", tmp_path / "results")
        probed = called(capsys, "run", "smoke", *where, "--dry-run", "--probe")
        code, _, warned = called(capsys, "run", "smoke", *where, "--duration", "1s", "--set", "checks=[]")

    assert probed[0] == 5
    assert "the probe call failed: the target answered with HTTP status 50" in probed[2]
    assert probed[2].strip().endswith("try again, or see how the deployment is; a run would begin all the same")
    assert code != 5
    assert "warning: the probe call failed: the target answered with HTTP status 50" in warned


def test_a_code_that_repeats_the_status_is_not_said_twice(tmp_path, capsys):
    env = {**os.environ, "SIM_KEY": "fake"}
    with simulated(tmp_path, env=env, key_env="SIM_KEY") as sim:
        where = ("--endpoint", f"{sim.url}/v1", "--deployment", "m")
        code, _, said = called(capsys, "run", "smoke", *where, "--dry-run", "--probe")

    assert code == 5
    assert "HTTP status 401 (" in said
    assert "(401: " not in said


def test_a_dry_run_with_a_probe_says_that_a_call_is_sent(tmp_path, capsys):
    with simulated(tmp_path) as sim:
        where = ("--endpoint", f"{sim.url}/v1", "--deployment", "m")
        _, probed, _ = called(capsys, "run", "smoke", *where, "--dry-run", "--probe")
        _, plain, _ = called(capsys, "run", "smoke", *where, "--dry-run")

    assert "dry run: one call is sent" in probed
    assert "dry run: nothing is sent" in plain


# --- models


def test_a_model_that_is_not_in_the_catalogue_is_named_with_what_may_be_meant():
    said = f"`gpt4.1` is not in the catalogue of {catalogue.DATED}; did you mean `gpt-4.1`?"

    assert prepare(**AZURE, model="gpt4.1", ptu=50).doubts == (said,)
    assert prepare(**AZURE, model="mine", ptu=50, ratio=4.0, tpm_per_ptu=3000.0).doubts == ()
    assert prepare(**AZURE, model="gpt-4.1", ptu=50).doubts == ()


@pytest.mark.parametrize(
    ("overrides", "warned"),
    [
        ((), True),
        (("reasoning_tokens=2000",), False),
        (("output_limit=none",), False),
        (("output_limit=8000",), False),
        (("parameters.reasoning_effort=none",), False),
    ],
)
def test_a_small_limit_on_a_model_that_reasons_is_doubted(overrides, warned):
    doubts = prepare(*overrides, simulate="gpt-5.2:50").doubts

    assert bool(doubts) == warned
    assert prepare(*overrides, simulate="gpt-4.1:50").doubts == ()


def test_reasoning_that_used_the_whole_limit_is_said_to_have(tmp_path):
    nothing = {"status": 200, "limit": 20, "prompt_tokens": 100, "completion_tokens": 20, "reasoning_tokens": 20}
    found = runs.summary(tmp_path, *(runs.failed(i, 20.0 + i, "empty", **nothing) for i in range(20)))
    notes = {note["code"]: note["text"] for note in found["notes"]}

    assert found["metrics"]["asked"]["limit"] == 20
    assert notes["reasoning_used_limit"] == (
        "20 answers were empty: the reasoning used the whole output limit of 20; set `reasoning_tokens`, which is added to "
        "the limit"
    )


@pytest.mark.parametrize(
    ("model", "asked", "code"),
    [
        ("o4-mini", "extreme", "unsupported_value"),
        ("o4-mini", "minimal", "unsupported_value"),
        ("o4-mini", "high", None),
        ("gpt-5", "minimal", None),
        ("gpt-5.1", "none", None),
        ("gpt-5.1", "xhigh", "unsupported_value"),
        ("gpt-4.1", "low", "unsupported_parameter"),
        ("mine", "extreme", None),
    ],
)
def test_a_simulated_model_takes_the_efforts_that_it_has(model, asked, code):
    by_api = {
        "reasoning_effort": chat.read(
            json.dumps({"messages": [{"role": "user", "content": "x"}], "reasoning_effort": asked}).encode(),
            reasoning=True,
        ),
        "reasoning.effort": responses.read(
            json.dumps({"input": "x", "reasoning": {"effort": asked}}).encode(), reasoning=True
        ),
    }
    for field, request in by_api.items():
        refused = {"code": None, "param": field}
        try:
            effort.check(model, request)
        except chat.BadRequest as exc:
            refused = json.loads(exc.body)["error"]

        assert (refused["code"], refused["param"]) == (code, field)


# --- what is typed


def test_a_missing_key_is_named_before_entra():
    @dataclass
    class Silent:
        def get_token(self, *_scopes):
            raise RuntimeError("DefaultAzureCredential failed.\nAttempted credentials:\n\tEnvironmentCredential: none")

    target = Target(
        kind="azure",
        style="v1",
        endpoint="https://r.openai.azure.com",
        url="https://r.openai.azure.com/openai/v1/chat/completions",
        auth="entra",
        sources={"auth": "AZURE_OPENAI_API_KEY is not set, azure-identity is installed"},
    )
    with pytest.raises(TargetRefused) as caught:
        asyncio.run(auth.bearer(Silent(), target))

    assert str(caught.value) == (
        "AZURE_OPENAI_API_KEY is not set, and Entra gave no token for https://ai.azure.com/.default: DefaultAzureCredential "
        "failed; set the key, or sign in with `az login`"
    )


@pytest.mark.parametrize(
    ("text", "rule", "seconds"), [("auto", "auto", 60.0), ("until_429", "until_429", 60.0), ("90s", "fixed", 90.0)]
)
def test_the_warm_up_has_an_option(text, rule, seconds):
    found = read("chat", options={"warmup": text})

    assert (found.warmup_rule, found.warmup) == (rule, seconds)


def test_a_warm_up_that_was_typed_is_not_dropped_for_a_short_duration():
    with pytest.raises(UsageError, match="not shorter than the duration"):
        read("chat", options={"warmup": "2m", "duration": "1m"})
    with pytest.raises(
        UsageError, match=r"^--warmup: `soon` is neither a duration such as 1m nor `auto` nor `until_429`"
    ):
        read("chat", options={"warmup": "soon"})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"auth": "entra"}, "--auth"),
        ({"header": ("X-Key: env:X",)}, "--header"),
        ({"ca_file": "ca.pem", "api_version": "2024-10-21"}, "--api-version and --ca-file"),
    ],
)
def test_options_for_a_real_target_are_refused_beside_a_simulated_one(given, named):
    with pytest.raises(UsageError) as caught:
        prepare(simulate="gpt-4.1:50", **given)

    assert str(caught.value) == (
        f"{named}: a simulated deployment of the run's own is reached without; leave it out, or leave out --simulate"
    )


def test_json_is_an_option_of_report_too(tmp_path, capfdbinary):
    runs.summary(tmp_path, *runs.steady(10))
    for said in (("--json",), ("--format", "json")):
        call("report", tmp_path / "run.jsonl", *said)

        assert json.loads(capfdbinary.readouterr().out)["schema_version"] == 1


# --- what is shown


def test_a_simulated_standard_deployment_tells_its_quota():
    run = made_up()
    run["target"] |= {"type": "standard", "ptu": None, "capacity": None}
    run["target"]["simulate"] |= {"type": "standard", "ptu": 300}

    assert "standard  a quota of 300,000 tokens/min" in shown(table.render(run), width=100)


def test_an_interrupt_while_it_imports_is_no_traceback(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'ptubench.cli.main':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ptubench", "run", "chat"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )

    assert done.returncode == 130
    assert done.stderr == ""
