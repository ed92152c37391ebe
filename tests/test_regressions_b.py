"""What throttling, spillover and Azure's figures once got wrong, each as it was found."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

import runs
from azure_server import ACCOUNT, NAME, azure_server
from ptubench.analysis.summary import summarize
from ptubench.azure_run import AzureOptions, again
from ptubench.cli.show import print_json
from ptubench.client.exchange import Exchange
from ptubench.engine.reach import Aim, reach
from ptubench.errors import UsageError
from ptubench.record import Monitor, Series
from ptubench.sim.options import from_mapping
from ptubench.target.model import Target, TargetOptions
from ptubench.target.resolve import request_headers, resolve_target
from ptubench.waits import LONGEST, retry_after
from simulated import simulated

START = int(runs.STARTED.timestamp())
IMPOSSIBLE = [1e308, -1e308, -5.0]


@pytest.mark.parametrize("value", IMPOSSIBLE)
@pytest.mark.parametrize("metric", ["AzureOpenAIRequests", "AzureOpenAIProvisionedManagedUtilizationV2"])
def test_a_figure_of_azures_that_can_be_none_is_no_figure(tmp_path: Path, metric: str, value: float) -> None:
    values = {START + 60 * k: value for k in range(2)}
    series = Series(metric=metric, average=values, total=values)
    told = Monitor(
        of="run", asked_unix=START + 200, id="/x", deployment="d", span=(START, START + 120), series=(series,)
    )
    head = runs.head(window=(0.0, 120.0), duration=120, warmup=0)
    path = runs.write(tmp_path / "run.jsonl", head, runs.ok(0, 1.0), runs.end(load_end=120.0, finished=122.0), told)
    found = {row["name"]: row for row in summarize(path)["monitor"]["rows"]}

    assert (found["requests"]["azure"], found["utilization"]["azure"]) == (None, None)


def test_a_cloud_said_for_a_simulated_deployment_is_refused() -> None:
    options = TargetOptions(simulate="gpt-4.1:15", cloud="moon")

    with pytest.raises(UsageError, match="--cloud: a simulated deployment is in no cloud"):
        resolve_target(options, {}, {}, workload_name="w")


def test_an_exchange_knows_that_it_was_spilled() -> None:
    exchange = Exchange()
    before = exchange.spilled
    exchange.keep_header(b"X-MS-Spillover-From-Deployment", b"ptu")

    assert (before, exchange.spilled) == (False, True)


@pytest.mark.parametrize("named", ["1e306", "9" * 190])
def test_an_absurd_wait_is_one_that_timers_and_sums_can_hold(named: str) -> None:
    assert retry_after({"retry-after": named}, 0.0) == LONGEST


def test_a_part_of_the_tokens_that_exceeds_the_whole_is_not_told(tmp_path: Path) -> None:
    answers = [runs.ok(i, 10.0 + i / 2, cached_tokens=10**9, reasoning_tokens=10**9) for i in range(100)]
    tpm = summarize(runs.write(tmp_path / "run.jsonl", runs.head(), *answers, runs.end()))["metrics"]["tpm"]

    assert (tpm["cached"], tpm["reasoning"]) == (None, None)
    assert tpm["normalized"] == pytest.approx(100 * (100 + 4 * 20))


def test_a_header_of_ones_own_does_not_stand_beside_the_entra_token() -> None:
    options = TargetOptions(
        endpoint="https://x.openai.azure.com", deployment="d", auth="entra", header=("authorization: env:GATEWAY",)
    )
    target = resolve_target(options, {}, {}, workload_name="w")

    with pytest.raises(UsageError, match="is set already by the Entra token"):
        request_headers(target, {"GATEWAY": "word"})


@pytest.mark.parametrize("said", [{"ptu": 100}, {"model": "gpt-4o"}, {"type": "standard"}, {"ratio": 9.0}])
def test_options_that_contradict_what_is_simulated_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is not what --simulate says"):
        resolve_target(TargetOptions(simulate="gpt-4.1:50", **said), {}, {}, workload_name="w")


def test_options_that_agree_with_what_is_simulated_are_fine_and_the_files_target_gives_way() -> None:
    options = TargetOptions(simulate="gpt-4.1:50,ratio=9", ptu=50, model="GPT-4.1", type="global", ratio=9.0)
    found = resolve_target(options, {"model": "gpt-4o", "tpm_per_ptu": 7.0}, {}, workload_name="w")

    assert (found.model, found.ptu, found.tpm_per_ptu) == ("gpt-4.1", 50, None)


def test_high_demand_of_a_ptu_deployment_is_refused() -> None:
    with pytest.raises(UsageError, match="say type=standard too"):
        from_mapping({"model": "gpt-4.1", "ptu": 50, "demand": "5%"})


def test_json_on_a_terminal_obeys_no_character_of_a_server(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    told = {"model": "\x9b31m\x7f\u202egpt\u2028ü"}
    print_json(told)
    printed = capsysbinary.readouterr().out.decode()

    assert json.loads(printed) == told
    assert {char for char in printed if not char.isprintable()} <= {"\n"}


def test_a_declared_ptu_that_is_answered_by_a_standard_simulation_stays_as_declared(tmp_path: Path) -> None:
    async def reached(url: str) -> Target:
        options = TargetOptions(endpoint=url, deployment="d", api_version="v", model="gpt-4.1", ptu=50)
        aim = Aim(target=resolve_target(options, {}, {}, workload_name="w"), headers={}, credential=None)
        async with contextlib.AsyncExitStack() as stack:
            return (await reach(aim, runs.WORKLOAD, stack, ca_file=None, say=print)).target

    with simulated(tmp_path, type="standard") as server:
        target = asyncio.run(reached(server.url))

    assert (target.kind, target.ptu, target.type) == ("simulated", 50, None)


@pytest.mark.parametrize("said", [{"ptu": "many"}, {"kind": ["azure"]}, {"type": ["global"]}, {"model": 4}])
def test_a_target_that_was_edited_by_hand_is_no_crash(tmp_path: Path, said: dict[str, Any]) -> None:
    head = runs.head(target={"kind": "azure", "model": "gpt-4.1", "ptu": 1, **said})
    path = runs.write(tmp_path / "run.jsonl", head, runs.ok(0, 20.0), runs.throttled(1, 21.0), runs.end())

    assert summarize(path)["metrics"]["requests"]["total"] == 2


@pytest.mark.parametrize(
    ("of_target", "of_head", "sentence"),
    [
        ({"cloud": []}, {}, "is not one of public"),
        ({}, {"started_unix": 1e308}, "does not tell a possible time"),
        ({}, {"started_unix": -1e18}, "does not tell a possible time"),
    ],
)
def test_azure_is_not_asked_about_a_damaged_file(
    tmp_path: Path, of_target: dict[str, Any], of_head: dict[str, Any], sentence: str
) -> None:
    target = {"kind": "azure", "deployment": NAME, "resource": ACCOUNT, **of_target}
    path = runs.write(tmp_path / "run.jsonl", runs.head(target=target, **of_head), runs.ok(0, 20.0), runs.end())

    with azure_server() as azure, pytest.raises(UsageError, match=sentence):
        again(path, AzureOptions(monitor=True), None, {}, print, access=azure.access())


def test_azure_is_asked_about_a_run_whose_damaged_file_makes_it_endless(tmp_path: Path) -> None:
    head = runs.head(target={"kind": "azure", "deployment": NAME, "resource": ACCOUNT})
    path = runs.write(tmp_path / "run.jsonl", head, runs.ok(0, 20.0), runs.end(load_end=1e300, finished=1e300))
    with azure_server() as azure:
        again(path, AzureOptions(monitor=True), None, {}, print, access=azure.access())

    assert summarize(path)["monitor"] is not None
