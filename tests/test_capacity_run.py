"""`ptubench capacity`: whole searches on the virtual clock and over HTTP, what is refused, and what is said."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from ptubench import capacity_run
from ptubench.capacity_run import CapacityOptions
from ptubench.cli.capacity import _exit_code
from ptubench.commands import RunOptions
from ptubench.errors import UsageError
from ptubench.ptu.capacity import capacity
from ptubench.report import capacity as report
from ptubench.results import store
from ptubench.search import drive
from ptubench.target.model import TargetOptions
from ptubench.virtual.run import lines, play
from running import calmly, environment
from trials import trial

pytestmark = pytest.mark.alone

LONG_RUN = 77.5
"""Calls a minute of which gpt-4.1:50 with a depth of 10 s refuses 1 % in 24 hours (benchmarks/capacity.py)."""


def options(folder, *, simulate="gpt-4.1:50,depth=10", virtual=True, overrides=("checks=[]",), **more):
    target = more.pop("target", TargetOptions(simulate=simulate))
    named = {name: more.pop(name) for name in ("rate", "seed", "duration") if name in more}
    run = RunOptions(workload="chat", target=target, overrides=overrides, results=folder, **named)
    return CapacityOptions(run=run, virtual=virtual, **more)


def searched(of, env=None, said=None):
    ready = capacity_run.prepare(of, env or {})
    return capacity_run.run(ready, say=(said or []).append, watch=lambda _: None)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A search of few steps, its answer and what it said."""
    folder, said = tmp_path_factory.mktemp("search"), []
    of = options(folder, steps=6, within="8%", wanted="200/min")
    ready = capacity_run.prepare(of, {})
    return of, capacity_run.run(ready, say=said.append, watch=lambda _: None), said


# --- what is found ----------------------------------------------------------------------------------------------------


def test_the_capacity_and_the_rate_are_those_of_the_deployment(quick):
    _, answer, _ = quick

    assert answer["capacity"]["tpm_normalized"] == pytest.approx(150_000, rel=0.02)
    assert answer["capacity"]["of_published"] == pytest.approx(1, rel=0.02)
    assert answer["capacity"]["depth_s"] == pytest.approx(10, rel=0.4)
    assert answer["result"]["rpm"] == pytest.approx(LONG_RUN, rel=0.08)
    assert answer["result"]["low"] <= LONG_RUN <= answer["result"]["high"]
    assert answer["result"]["per_ptu"] == pytest.approx(answer["result"]["rpm"] / 50)


def test_every_step_is_a_run_file_that_says_the_same(quick):
    _, answer, _ = quick
    first, *rest = answer["steps"]

    assert (first["kind"], {step["kind"] for step in rest}) == ("saturation", {"rate"})
    for step in rest:
        head = store.read_head(Path(step["file"]))
        assert head.workload.load.stages[1].value * 60 == pytest.approx(step["rate"])
        assert step["passed"] == (step["metrics"]["refused"]["ratio"] <= 0.01)
        assert head.clock == "virtual"
    assert len({store.read_head(Path(step["file"])).seed for step in answer["steps"]}) == len(answer["steps"])


def test_the_answer_is_one_json_document_that_is_kept_with_the_steps(quick):
    of, answer, _ = quick
    (kept,) = of.run.results.glob("*/answer.json")
    read = json.loads(kept.read_text())

    assert read["result"] == answer["result"]
    assert set(answer["result"]) >= {"rpm", "low", "high", "tpm_normalized", "per_ptu"}
    assert [row["rate"] for row in answer["curve"]] == sorted(step["rate"] for step in answer["steps"][1:])


def test_ptu_for_another_load_is_by_proportion_and_deployable(quick):
    _, answer, _ = quick
    told = answer["for"]

    assert told["raw"] == pytest.approx(200 / answer["result"]["rpm"] * 50)
    assert told["ptu"] >= told["raw"]
    assert told["ptu"] % 5 == 0
    assert told["ptu_high"] >= told["ptu"]


def test_people_see_the_rate_the_capacity_and_that_it_is_simulated(quick):
    _, answer, _ = quick
    text = _text(answer)

    assert "SIMULATED, on a virtual clock" in text
    assert "highest rate" in text
    assert "95 % interval" in text
    assert "of the published 3,000" in text
    assert "for 200/min" in text


def test_rules_on_latency_are_not_judged_where_latency_is_assumed(tmp_path):
    answer = searched(options(tmp_path, steps=1, overrides=("checks=['ttft.p95 <= 1ms']",)))

    assert answer["not_judged"] == ["ttft.p95 <= 1ms"]
    assert answer["rules"] == ["refused.ratio <= 1%"]
    assert answer["steps"][1]["checks"][-1]["why"] == "not judged (simulated)"


def test_a_rule_of_the_workload_takes_the_place_of_the_default(tmp_path):
    answer = searched(options(tmp_path, steps=4, within="50%", overrides=("checks=['refused.ratio <= 10%']",)))

    assert answer["rules"] == ["refused.ratio <= 10%"]
    assert answer["result"]["rpm"] > 85


# --- an interrupted search --------------------------------------------------------------------------------------------


def test_an_interrupted_search_goes_on_and_finds_the_same(tmp_path, quick):
    of, whole, _ = quick
    again = replace(of, run=replace(of.run, results=tmp_path))
    ready = capacity_run.prepare(again, {})
    place = capacity_run.folder.new(tmp_path, "chat", ready.key)
    real, played = capacity_run._virtual(ready.prepared, place), []

    def stopping(order):
        played.append(order.label)
        return None if len(played) == 4 else real(order)

    stopped = drive.search(ready.asked, place, stopping, lambda _: None)
    torn = max(place.glob("*.jsonl"))
    (place / "torn.jsonl").write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    ready = capacity_run.prepare(again, {})
    answer = capacity_run.run(ready, say=lambda _: None, watch=lambda _: None)

    assert stopped.ended == "stopped"
    assert ready.folder == place
    assert answer["spent"]["steps_read"] == 3
    assert answer["result"] == whole["result"]


def test_a_step_that_was_no_measurement_is_made_again(tmp_path):
    ready = capacity_run.prepare(options(tmp_path, steps=1), {})
    place = capacity_run.folder.new(tmp_path, "chat", ready.key)
    real = capacity_run._virtual(ready.prepared, place)

    def failing(order):
        path = real(order)
        lines = path.read_bytes().splitlines(keepends=True)
        end = lines[-1].replace(b'"lost_workers":[]', b'"lost_workers":[0]')
        path.write_bytes(b"".join((*lines[:-1], end)))
        return path

    found = drive.search(ready.asked, place, failing, lambda _: None)
    answer = capacity_run.run(capacity_run.prepare(options(tmp_path, steps=1), {}), say=print, watch=lambda _: None)

    assert found.ended == "not_valid"
    assert re.search("this step is not valid .* mend that, and start the command again", found.fault)
    assert answer["folder"] == str(place)
    assert (len(answer["steps"]), answer["spent"]["steps_read"]) == (2, 0)


def test_a_finished_search_is_not_continued(quick):
    of, _, _ = quick

    assert capacity_run.prepare(of, {}).folder is None


def test_another_seed_is_another_search(tmp_path):
    keys = {capacity_run.prepare(options(tmp_path, seed=seed), {}).key for seed in (0, 1)}

    assert len(keys) == 2


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_no_step_is_begun_that_would_go_beyond_a_bound(tmp_path):
    answer = searched(options(tmp_path, max_time="45m"))
    other = searched(options(tmp_path, max_tokens="3M"))

    assert (answer["ended"], other["ended"]) == ("max_time", "max_tokens")
    assert answer["spent"]["seconds"] <= 45 * 60
    assert other["spent"]["tokens"] <= 3e6
    assert answer["result"] is not None
    assert any("the interval is wider" in note for note in answer["notes"])


def test_where_saturation_does_not_fit_nothing_is_claimed(tmp_path):
    answer = searched(options(tmp_path, simulate="gpt-4.1:50,depth=100", max_time="11m"))

    assert (answer["ended"], answer["result"], answer["capacity"]) == ("max_time", None, None)
    assert _exit_code(answer) == 4
    assert "not known: no rate was measured" in _text(answer)
    assert "the bound was reached before the deployment was saturated" in _text(answer)


def test_only_a_search_that_is_over_says_that_no_rate_passes(quick):
    _, answer, _ = quick
    none = answer | {"result": None}

    assert [_exit_code(none | {"ended": ended}) for ended in ("completed", "max_time", "not_valid")] == [3, 4, 4]
    assert _exit_code(answer | {"ended": "max_tokens"}) == 0


def test_a_dry_run_says_what_it_may_take(tmp_path):
    plan = capacity_run.dry_run(capacity_run.prepare(options(tmp_path, steps=6), {}))
    whole = searched(options(tmp_path, steps=6, within="0.5%"))

    assert plan["forecast"]["depth_s"] == 10
    assert plan["forecast"]["seconds"] == pytest.approx(whole["spent"]["seconds"], rel=0.2)
    assert plan["forecast"]["tokens"] == pytest.approx(whole["spent"]["tokens"], rel=0.2)


def test_a_search_that_a_bound_ended_goes_on_with_a_larger_one(tmp_path):
    some, more = (searched(options(tmp_path, max_time=time)) for time in ("20m", "50m"))

    assert some["folder"] == more["folder"]
    assert len(some["steps"]) == 1
    assert len(more["steps"]) > 2
    assert (some["spent"]["steps_read"], more["spent"]["steps_read"]) == (0, 1)


def test_a_narrower_answer_is_searched_for_in_the_steps_of_the_wider_one(tmp_path):
    wide = searched(options(tmp_path, within="8%"))
    ready = [capacity_run.prepare(options(tmp_path, within=within), {}) for within in ("8%", "3%")]

    assert [one.folder for one in ready] == [None, Path(wide["folder"])]


def test_a_saturation_that_a_bound_cut_short_is_made_again(tmp_path):
    deep = {"simulate": "gpt-4.1:50,depth=100"}
    short, whole = searched(options(tmp_path, max_time="11m", **deep)), searched(options(tmp_path, steps=1, **deep))

    assert short["capacity"] is None
    assert whole["folder"] == short["folder"]
    assert whole["capacity"]["depth_s"] == pytest.approx(100, rel=0.02)
    assert [step["kind"] for step in whole["steps"]] == ["saturation", "rate"]


def test_two_searches_do_not_share_a_folder(tmp_path):
    searched(options(tmp_path, max_time="12m"))
    ready = capacity_run.prepare(options(tmp_path, max_time="1h"), {})

    with (
        capacity_run.folder.held(ready.folder),
        pytest.raises(UsageError, match="another search of this workload and target is running there"),
    ):
        capacity_run.run(ready, say=print, watch=lambda _: None)


# --- deployments that are not as they should be -----------------------------------------------------------------------


def test_a_deployment_that_changes_meanwhile_is_noticed(tmp_path):
    ready = capacity_run.prepare(options(tmp_path, steps=3), {})
    place = capacity_run.folder.new(tmp_path, "chat", ready.key)
    smaller = capacity_run.prepare(options(tmp_path, simulate="gpt-4.1:45,depth=10"), {})
    before, after = (capacity_run._virtual(one.prepared, place) for one in (ready, smaller))
    found = drive.search(
        ready.asked, place, lambda order: (before if order.label == "saturate" else after)(order), print
    )
    told = capacity_run.answers.answer(ready.asked, found, target={}, virtual=True, wanted=None)

    assert any("took 150,000 normalized tokens/min at saturation and 135,000 at" in note for note in told["notes"])


def test_a_bucket_that_runs_empty_between_429s_is_not_taken_for_a_smaller_one(tmp_path):
    answer = searched(options(tmp_path, simulate="gpt-4.1:5,depth=10", rate="6/min", steps=1))

    assert answer["capacity"]["of_published"] == pytest.approx(1, rel=0.01)


def test_a_bucket_of_less_than_a_call_is_bounded_by_what_its_429s_tell(tmp_path):
    of = options(tmp_path, simulate="gpt-4.1:60,depth=1", steps=1, step="2m")
    answer = searched(replace(of, run=replace(of.run, workload="rag")))
    capacity = answer["capacity"]

    assert capacity["tpm_admitted"] < 120_000
    assert 150_000 < capacity["tpm_normalized"] < 184_000
    assert capacity["at_least"]
    assert "at least" in _text(answer)
    assert any("the bucket was not full all the while" in note for note in answer["notes"])


@pytest.mark.parametrize("depth", [10, 30])
def test_a_bucket_is_as_deep_as_the_first_429_says(tmp_path, depth):
    answer = searched(options(tmp_path, simulate=f"gpt-4.1:50,depth={depth}", steps=1, step="1m"))

    assert answer["capacity"]["depth_s"] == pytest.approx(depth, rel=0.01)


def test_steps_at_low_rates_are_long_enough_for_the_rules(tmp_path):
    simulate = TargetOptions(simulate="gpt-4.1:60,depth=1,jitter=0")
    of = options(tmp_path, target=simulate, steps=1, step="1m", overrides=("checks=['e2e.p95 <= 60s']",))
    ready = capacity_run.prepare(of, {})
    asked = replace(ready.asked, rules=(*ready.asked.rules, *ready.asked.beside), beside=())
    place = capacity_run.folder.new(tmp_path, "chat", ready.key)
    said = []
    found = drive.search(asked, place, capacity_run._virtual(ready.prepared, place), said.append)

    assert found.fault is None
    assert found.tried[0].row["checks"][-1]["measured"] is not None
    assert any("a shorter window would hold too few calls" in line for line in said)


def test_a_step_too_short_to_be_a_measurement_ends_the_search_with_what_is_known(tmp_path):
    of = options(tmp_path, simulate="gpt-4.1:80,depth=1", step="30s")
    answer = searched(replace(of, run=replace(of.run, workload="rag")))
    rates = [step for step in answer["steps"] if step["kind"] == "rate"]

    assert (answer["ended"], _exit_code(answer)) == ("not_valid", 4)
    assert "came from the cache" in answer["fault"]
    assert answer["fault"].endswith("the steps before it are kept: give longer steps with --step")
    assert "salt" not in answer["fault"]
    assert len(answer["curve"]) == len(rates) > 0
    assert f"1 saturating step, {len(rates)} rate" in _text(answer)


def test_what_an_interrupted_step_cost_is_counted(tmp_path):
    ready = capacity_run.prepare(options(tmp_path, steps=1), {})
    place = capacity_run.folder.new(tmp_path, "chat", ready.key)
    real = capacity_run._virtual(ready.prepared, place)

    def stopped(order):
        path = real(order)
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-100]))

    found = drive.search(ready.asked, place, stopped, print)
    told = capacity_run.answers.answer(ready.asked, found, target={}, virtual=True, wanted=None)

    assert (found.ended, told["spent"]["steps_interrupted"]) == ("stopped", 1)
    assert told["spent"]["seconds"] > 60
    assert told["spent"]["tokens"] > 100_000


def test_a_burst_that_is_refused_is_no_saturation(tmp_path):
    ready = capacity_run.prepare(options(tmp_path, rate="40/min", steps=1), {})
    asked = replace(ready.asked, capacity=None)
    place = capacity_run.folder.new(tmp_path, "chat", ready.key)
    found = drive.search(asked, place, capacity_run._virtual(ready.prepared, place), print)
    first, second = found.full

    assert 0 < first.refused < 0.05
    assert (first.saturated, second.row["rate"]) == (None, pytest.approx(160))
    assert second.saturated.rate * 60 == pytest.approx(83.3, rel=0.02)


def test_a_rule_that_asks_for_refusals_is_not_the_limit(tmp_path):
    answer = searched(options(tmp_path, steps=2, overrides=("checks=['refused.ratio >= 5%']",)))

    assert answer["result"] is None
    assert "rule refused.ratio >= 5%: broken at 2 of 2 rates" in _text(answer)


def _text(answer):
    console = Console(width=200, file=io.StringIO(), markup=False)
    console.print(report.render(answer))
    return console.file.getvalue()


def test_a_run_is_over_when_it_is_enough():
    of = trial("gpt-4.1:50", duration="10m", warmup="1m")
    found = []
    play(of, found.append, enough=lambda line: line.scheduled >= 300)
    *attempts, end = found[1:]

    assert end.ended == "completed"
    assert 300 <= end.load_end < 320
    assert all(attempt.outcome == "ok" for attempt in attempts)
    assert len(attempts) + end.unsent == len(lines(of)) - 2
    assert end.unsent == end.unsent_in_window > 150


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_capacity_that_was_typed_is_not_called_published(quick):
    _, answer, _ = quick
    ratio, rate = (capacity("gpt-4.1", 1, **given).source for given in ({"ratio": 3.0}, {"tpm_per_ptu": 3000.0}))
    told = [
        _text(answer | {"capacity": answer["capacity"] | {"source": source}}) for source in (ratio, rate, "as typed")
    ]

    assert "of the published 3,000 (catalogue of" in _text(answer)
    assert f"of the published 3,000 ({ratio})" in " ".join(told[0].split())
    assert f"of the typed 3,000 ({rate})" in " ".join(told[1].split())
    assert "of the typed 3,000 (as typed)" in told[2]


def test_a_real_target_is_not_driven_to_its_limit_unasked(tmp_path):
    command = (
        "capacity",
        "chat",
        "--endpoint",
        "http://127.0.0.1:9/openai/v1/",
        "--deployment",
        "prod",
        "--auth",
        "none",
    )
    done = started(tmp_path, *command, "--set", "checks=[]")

    assert done.returncode == 2
    assert "error: this drives prod to 100 %; other callers will get 429; add --yes" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"simulate": None, "target": TargetOptions(endpoint="http://127.0.0.1:9/v1", deployment="m")}, "--virtual: a clock"),
        ({"within": "90%"}, "--within 90%: write a share from 0.5% to 50%"),
        ({"step": "10"}, "--step: `10` is not a duration"),
        ({"max_tokens": "many"}, "--max-tokens: `many` is not a whole number"),
        ({"max_time": "1m"}, "--max-time 1m: saturating the deployment alone takes 10m after the first 429, and may"),
        ({"max_tokens": "10k"}, "--max-tokens 10,000: saturating the deployment alone takes about 1,300,000 after"),
        ({"step": "30s", "simulate": None, "overrides": ("checks=['ttft.p95 <= 1s']",), "virtual": False,
          "target": TargetOptions(simulate="gpt-4.1:50")},
         "--step 30s: `ttft.p95 <= 1s` needs 72 calls, and a step will measure about 42; give --step 1m11s or leave"),
        ({"wanted": "45"}, "--for: `45` is not a rate"),
        ({"overrides": ("load={concurrency: 4}", "checks=[]")}, "a capacity is searched at constant call rates"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_sentence(tmp_path, more, said):
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        capacity_run.prepare(options(tmp_path, **more), {})

    assert "\n" not in str(caught.value)


# --- over HTTP --------------------------------------------------------------------------------------------------------


def test_a_search_over_http_finds_the_capacity_of_a_small_fast_deployment(tmp_path):
    """5,357 calls a minute of 40 + 4 · 4 tokens; a bucket of 27 calls."""
    spec = "gpt-4.1:50,tpm_per_ptu=6000,depth=0.3,latency=0.2,tps=5000,jitter=0"
    sizes = ("prompt_tokens=40", "completion_tokens=4", "output_limit=4", "checks=[]", "drain=5s")
    tries = count()

    def measure():
        (folder := tmp_path / str(next(tries))).mkdir()
        return started(
            folder,
            *("capacity", "chat", "--simulate", spec, "--step", "1s", "--steps", "1", "--json", "--rate", "60/s"),
            *(part for setting in sizes for part in ("--set", setting)),
        )

    done = calmly(measure, lambda done: done.returncode != 4)
    if re.search(r"this step is not valid \((loop )?lag p99", done.stderr):
        pytest.skip("the machine was too busy for a valid step")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)

    assert answer["target"]["kind"] == "simulated"
    assert answer["clock"] == "real"
    assert answer["capacity"]["rpm"] == pytest.approx(5357, rel=0.1)
    assert answer["result"]["low"] < answer["result"]["rpm"] < answer["result"]["high"]
    assert answer["steps"][0]["window_s"][1] < 60  # and not the seven minutes that it might have waited


def started(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "ptubench", *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
