"""What a run tells of a deployment whose figures nobody told, what it can't tell, and what a size makes of it."""

import re
from collections import Counter
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runs
from goldens import golden, shown
from ptubench.analysis.gather import Gathering, load
from ptubench.analysis.ledger import Ledger
from ptubench.calibrate.findings import findings, plain
from ptubench.calibrate.fit import line, of_sums
from ptubench.errors import UsageError
from ptubench.ptu.bucket import Bucket
from ptubench.record import Attempt
from ptubench.report.calibration import calibration
from ptubench.report.size import render
from ptubench.size.answer import answer
from ptubench.size.asked import SizeOptions, ask
from secrets_kept import CLAIMED, PTU, file, run, secret

WINDOW = (60.0, 600.0)
SEEDS = 24
EQUAL = {"prompt_tokens": 1000, "completion_tokens": 200}
CHAT = """
name: chat
prompt_tokens: 1000
completion_tokens: 200
load: {rate: 57/min, arrivals: constant}
duration: 5m
warmup: 1m
"""
"""57 calls of 1,800 normalized tokens a minute: 34.2 PTU as published, and 38 at most 90 % used."""


def found(options="", *, ratio=None, **keys):
    return findings(run(options, **keys), window=WINDOW, ratio=ratio)


@pytest.fixture(scope="module")
def twenty_four():
    """What as many seeds find of one deployment: 20 % less than published, 30 s deep, ratio 5."""
    return [found("tpm_per_ptu=2400,depth=30s,ratio=5", seed=seed) for seed in range(SEEDS)]


@pytest.fixture
def sized(tmp_path):
    """The answer for `CHAT` and more of it."""

    def call(text="", **options):
        path = tmp_path / "load.yaml"
        path.write_text(CHAT + text, encoding="utf-8")
        asked = ask(SizeOptions(workload=str(path), **{"model": "gpt-4.1", **options}), {}, say=lambda _: None)
        return answer(asked, today=date(2026, 11, 22))

    return call


# --- what is found ----------------------------------------------------------------------------------------------------


def test_a_capacity_that_was_changed_secretly_is_found_within_3_percent(twenty_four):

    assert [one.capacity.value for one in twenty_four] == [pytest.approx(2400 * PTU, rel=0.03)] * SEEDS
    assert {one.agrees for one in twenty_four} == {True}


def test_intervals_hold_the_truth_at_about_their_level(twenty_four):
    truths = {"capacity": 48_000, "by_retry_after": 48_000, "ratio": 5, "depth": 30}
    of_speed = {"latency": 0.25, "prefill": 20_000, "load": 0.5, "spread": 0.1, "tbt_spread": 0.1}
    held = Counter(dict.fromkeys(truths | of_speed, 0))
    for one in twenty_four:
        held.update(name for name, truth in truths.items() if getattr(one, name).holds(truth))
        held.update(name for name, truth in of_speed.items() if getattr(one.speed, name).holds(truth))

    # Fewer than 20 of 24 have a chance of 0.6 % where each holds with 95 %.
    assert {name: count for name, count in held.items() if count < 20} == {}


def test_intervals_are_no_wider_than_they_help(twenty_four):

    assert max(one.capacity.half for one in twenty_four) < 0.01
    assert max(one.by_retry_after.half for one in twenty_four) < 0.001
    assert max(one.ratio.half for one in twenty_four) < 0.01
    assert max(one.depth.half for one in twenty_four) < 0.01


@pytest.mark.parametrize(("ptu", "depth"), [(20, 60), (120, 10)])
def test_runs_in_real_time_over_http_tell_the_same(ptu, depth):
    of = load(Path(__file__).parents[1] / f"results/examples/chat-{ptu}ptu.jsonl.gz")
    told = findings(of, window=(60.0, 600.0))

    assert told.capacity.value == pytest.approx(3000 * ptu, rel=0.01)
    assert told.by_retry_after.value == pytest.approx(3000 * ptu, rel=0.001)
    assert told.depth.value == pytest.approx(depth, rel=0.01)


def test_a_ratio_that_the_run_contradicts_is_not_used(twenty_four):

    assert twenty_four[0].ratio_used == pytest.approx(5, rel=0.001)
    assert found().ratio_used == 4


def test_a_ratio_that_was_typed_stands():
    told = found("ratio=5", ratio=4.5)

    assert told.ratio_used == 4.5
    assert told.ratio.value == pytest.approx(5, rel=0.001)


def test_calls_that_are_all_alike_tell_no_ratio():
    told = found(**EQUAL)

    assert told.ratio is None
    assert told.capacity.value == pytest.approx(60_000, rel=0.01)
    assert "output ratio: the calls are too much alike in their mix of prompt and completion" in told.unknown


def test_a_bucket_that_runs_empty_in_between_does_not_make_the_capacity_smaller():
    stages = [{"rate": rate, "for": "100s"} for rate in ("90/min", "5/min", "90/min", "5/min", "90/min", "5/min")]
    told = found("depth=10s", load={"stages": stages})

    assert told.capacity.value == pytest.approx(60_000, rel=0.02)
    assert told.by_retry_after.value == pytest.approx(60_000, rel=0.001)


def test_a_ratio_other_than_published_is_not_taken_for_an_empty_bucket():
    stages = [{"rate": "20/min", "for": "10s"}, {"rate": "80/min", "for": "50s"}]
    told = found("tpm_per_ptu=2400,depth=10s,ratio=5", load={"stages": stages}, warmup="10s")

    assert told.ratio.value == pytest.approx(5, rel=0.001)
    assert told.capacity.value == pytest.approx(48_000, rel=0.03)


def test_a_load_that_only_now_and_then_fills_the_bucket_tells_the_capacity_all_the_same():
    told = found("depth=10s", load={"rate": "33/min"}, duration="10m")

    assert told.by_retry_after.value == pytest.approx(60_000, rel=0.001)
    assert told.depth.value == pytest.approx(10, rel=0.01)


def test_retries_that_come_at_the_same_moment_are_judged_one_after_another():
    told = found("tpm_per_ptu=2400", throttling={"on_429": "retry"})

    assert told.by_retry_after.value == pytest.approx(48_000, rel=0.001)
    assert told.depth.value == pytest.approx(60, rel=0.01)


def test_a_run_without_429s_tells_a_bound_and_says_so():
    told = found("tpm_per_ptu=9000")

    assert told.capacity is told.ratio is told.depth is None
    assert 0 < told.at_least.tpm_normalized < 9000 * PTU
    assert told.unknown[0].startswith("capacity: no 429 came, so that it is only known to be at least ")


def test_where_some_calls_had_no_limit_only_the_capacity_is_told():
    told = found(output_limit="none")

    assert told.capacity.value == pytest.approx(60_000, rel=0.03)
    assert told.ratio is told.depth is None
    assert any("some calls had no output limit" in sentence for sentence in told.unknown)


def test_without_retry_after_the_capacity_is_what_was_admitted():
    told = found(change=lambda attempt: msgspec.structs.replace(attempt, headers={}))

    assert told.capacity.value == pytest.approx(60_000, rel=0.02)
    assert told.by_retry_after is told.agrees is told.depth is None
    assert any("did not say how long to wait" in sentence for sentence in told.unknown)


def test_a_bucket_that_was_full_before_tells_no_depth():
    told = found("level=full", load={"rate": "90/min"}, duration="10m")

    assert told.depth is None
    assert any(sentence.startswith("depth of the bucket: 429s came at once") for sentence in told.unknown)


@pytest.mark.parametrize(
    ("claimed", "sentence"),
    [
        (
            CLAIMED | {"type": "standard"},
            "capacity: the run was on a Standard deployment, which has a quota and no PTUs",
        ),
        (CLAIMED | {"model": None}, "capacity: the run does not say which model it was on"),
        (CLAIMED | {"ptu": None}, "capacity of one PTU: the run does not say how many it had; run with --ptu"),
    ],
)
def test_a_target_that_says_too_little_tells_no_capacity_of_one_ptu(claimed, sentence):
    told = found(claimed=claimed)

    assert told.tpm_per_ptu is None
    assert any(one.startswith(sentence) for one in told.unknown)
    assert told.speed.latency.value == pytest.approx(0.25, rel=0.4)


def test_calls_of_others_are_noticed():
    head, *rest = secret()
    gathering = Gathering(head)
    for one in rest:
        if not (isinstance(one, Attempt) and one.outcome == "ok" and one.index % 3 == 0):
            gathering.add(one)
    told = findings(gathering.run(), window=WINDOW)

    assert any("others were calling" in sentence for sentence in told.unknown)
    assert not any("others were calling" in sentence for sentence in found().unknown)


def test_calls_without_usage_are_said_to_hide_capacity():
    def forget(attempt):
        lost = attempt.index % 5 == 0 and attempt.outcome == "ok"
        return msgspec.structs.replace(attempt, prompt_tokens=None) if lost else attempt

    assert any("of the admitted calls told no usage" in sentence for sentence in found(change=forget).unknown)


def test_latency_is_told_by_prompt_length_and_load_or_said_not_to_be():
    far = found("tpm_per_ptu=90000", **EQUAL)

    assert far.speed.latency.value == pytest.approx(0.25 + 1000 / 20_000, rel=0.03)
    assert far.speed.prefill is far.speed.load is None
    assert {one.partition(":")[0] for one in far.unknown} >= {"TTFT by prompt length", "TTFT by load"}


def test_output_and_cached_share_are_told_with_intervals():
    def shorten(attempt):
        if attempt.outcome != "ok":
            return attempt
        return msgspec.structs.replace(
            attempt, completion_tokens=attempt.completion_tokens // 2, cached_tokens=attempt.prompt_tokens // 4
        )

    told = found(change=shorten)

    assert told.output_of_asked.value == pytest.approx(0.5, abs=0.01)
    assert told.cached_share.value == pytest.approx(0.25, abs=0.001)


# --- the arithmetic ---------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.integers(-500, 2000)).filter(lambda step: step[1] != 0),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 200),
)
def test_the_level_of_the_account_is_that_of_the_bucket(steps, drain):
    at = np.cumsum([float(wait) for wait, _ in steps])
    charges = np.array([float(tokens) for _, tokens in steps])
    bucket, levels = Bucket(drain=drain, depth=1e9), []
    for now, tokens in zip(at, charges, strict=True):
        levels.append(bucket.level(now))
        bucket.charge(tokens, now)
    account = Ledger(at=at, prompt=charges, completion=np.zeros(len(at)))

    assert account.level(at, drain=drain, ratio=4.0) == pytest.approx(levels, abs=1e-6)


@given(
    st.lists(st.integers(-1000, 1000), min_size=8, max_size=40, unique=True),
    st.integers(1, 50),
    st.integers(-1000, 1000),
)
def test_a_line_is_found_whatever_its_stretches_begin_with(places, slope, jump):
    x = np.sort(np.array(places, dtype=np.float64))
    stretch = (np.arange(len(x)) >= len(x) // 2).astype(np.int64)
    fitted = line(x[:, None], slope * x + jump * stretch, stretch)

    assert fitted.slopes == pytest.approx([slope])
    assert fitted.error([1.0]) == pytest.approx(0, abs=1e-6)


def test_columns_that_say_the_same_are_not_told_apart():
    x = np.arange(20.0)

    assert line(np.stack((x, 3 * x), axis=1), x, np.zeros(20, dtype=np.int64)) is None


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.6]))
def test_residuals_that_are_alike_make_intervals_wider(seed, alike):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(400)
    for i in range(1, 400):
        noise[i] += alike * noise[i - 1]
    x = np.arange(400.0)
    fitted = line(x[:, None], x + noise, np.zeros(400, dtype=np.int64))
    usual = 1.96 * noise.std() / np.sqrt(np.square(x - x.mean()).sum())

    assert fitted.error([1.0]) > (1.5 if alike else 0.9) * usual


def test_a_ratio_of_sums_needs_something_to_divide_by():
    assert of_sums(np.zeros(3), np.zeros(3)) is None
    assert of_sums(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])).value == 0.5


# --- what a size makes of it ------------------------------------------------------------------------------------------


def test_the_size_by_a_measured_run_is_that_of_the_true_figures(sized, tmp_path):
    told = sized(measured=file(tmp_path / "run.jsonl", "tpm_per_ptu=2400,depth=30s,ratio=5"))
    truth = sized(tpm_per_ptu=2400.0, ratio=5.0, assume=("depth=30s",))

    assert told["recommended"] == truth["recommended"] == 55
    assert told["formula"]["raw"] == pytest.approx(truth["formula"]["raw"], rel=0.03)
    assert told["formula"]["source"] == "measured in run.jsonl"
    assert sized()["recommended"] == 40


def test_a_measured_depth_is_not_varied(sized, tmp_path):
    told = sized(measured=file(tmp_path / "run.jsonl", "depth=30s"))

    assert list(told["by_depth"]) == [f"{told['assumptions']['simulated']['depth']:g}"]
    assert told["assumptions"]["simulated"]["depth"] == pytest.approx(30, rel=0.01)
    assert told["assumptions"]["sources"]["depth"] == "measured in run.jsonl"


def test_what_was_typed_comes_before_what_was_measured(sized, tmp_path):
    path = file(tmp_path / "run.jsonl", "tpm_per_ptu=2400,depth=30s")
    told = sized(measured=path, tpm_per_ptu=1500.0, assume=("depth=20s", "latency=0.1s"), sizes="70,80")

    assert told["formula"]["tpm_per_ptu"] == 1500
    assert told["assumptions"]["simulated"]["depth"] == 20
    assert told["assumptions"]["sources"]["latency"] == "as typed"
    assert told["by_depth"].keys() == {"10", "20", "30", "60", "120"}


def test_latency_rules_are_judged_by_measured_latencies(sized, tmp_path):
    path = file(tmp_path / "run.jsonl", "latency=0.4,prefill=4000,load=0")
    fast, slow = (sized(f"checks: [ttft.p50 <= {limit}]\n", measured=path) for limit in ("900ms", "500ms"))

    assert fast["recommended"] == 40
    assert fast["rules"] == []
    assert re.search(r"ttft\.p50 <= 900ms +6\d\d ms +passed at 40 PTU", shown(render(fast)))
    assert [row["rule"] for row in fast["sizes"][-1]["checks"] if row["passed"]][-1] == "ttft.p50 <= 900ms"
    assert fast["sizes"][-1]["metrics"]["ttft"]["p50"] == pytest.approx(0.65, rel=0.05)
    assert slow["recommended"] is None
    assert any("`ttft.p50 <= 500ms` fails at every size" in note for note in slow["notes"])


def test_without_429s_the_published_capacity_stands_and_the_bound_is_said(sized, tmp_path):
    told = sized(measured=file(tmp_path / "run.jsonl", "tpm_per_ptu=9000"))

    assert told["formula"]["tpm_per_ptu"] == 3000
    assert told["recommended"] == 40
    assert told["calibration"]["unknown"][0].startswith("capacity: no 429 came, so that it is only known to be")


def test_a_run_of_another_model_says_nothing_of_this_one(sized, tmp_path):
    with pytest.raises(UsageError, match=r"run\.jsonl: the run was on gpt-4\.1, and the size is looked for of gpt-5;"):
        sized(model="gpt-5", measured=file(tmp_path / "run.jsonl"))


def test_a_run_whose_client_was_late_is_refused(sized, tmp_path):
    late = [runs.ok(i, 10 + i, taken=11 + i) for i in range(50)]
    path = runs.write(tmp_path / "run.jsonl", runs.head(), *late, runs.end())

    with pytest.raises(UsageError, match=r"run\.jsonl: that run is invalid \(.*\); measure again"):
        sized(measured=path)


def test_a_path_longer_than_a_line_is_shown_by_its_name_in_one_piece(twenty_four):
    place = "results/" + "a-folder-of-runs/" * 5 + "2026-11-22-chat.jsonl"
    told = {"file": place, "kind": "azure", "clock": "real"} | plain(twenty_four[0])

    assert "of …/2026-11-22-chat.jsonl: " in shown(calibration(told))


def test_a_capacity_that_was_typed_is_not_called_published(twenty_four):
    told = {"file": "run.jsonl", "kind": "azure", "clock": "real"} | plain(twenty_four[0])
    typed = told | {"published": told["published"] | {"source": "as typed"}}

    assert "published" in shown(calibration(told)).splitlines()[0]
    assert "typed" not in shown(calibration(told)).splitlines()[0]
    assert "published or typed" in shown(calibration(typed)).splitlines()[0]


def test_the_findings_look_as_reviewed(twenty_four):
    told = {"file": "run.jsonl", "kind": "azure", "clock": "real"} | plain(twenty_four[0])
    bound = {"file": "idle.jsonl", "kind": "simulated", "clock": "virtual"} | plain(found("tpm_per_ptu=9000", **EQUAL))
    view = f"{shown(calibration(told))}\n{shown(calibration(bound))}"

    assert view == golden("calibration-80", view)
    assert max(map(len, view.splitlines())) <= 80


def test_the_answer_says_what_was_measured_and_what_is_assumed(sized, tmp_path):
    view = shown(render(sized(measured=file(tmp_path / "run.jsonl"))))

    assert "Measured by --from" in view
    assert "assumed: estimate=1000, cache_ttl=300" in view
    assert "measured in run.jsonl: depth, latency, prefill, load, jitter, tps" in view
    assert "left out" not in view
