"""`ptubench compare`: laws of differences, what is refused, what is said, and what the table looks like."""

import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runs
from goldens import golden, shown
from ptubench.analysis import names, stats
from ptubench.analysis.gather import Gathering, load
from ptubench.compare import differences
from ptubench.compare import runs as compare_module
from ptubench.compare.differences import Difference, Draw
from ptubench.compare.runs import (
    BETTER,
    SAME,
    UNKNOWN,
    WORDS,
    WORSE,
    aligned,
    compare,
    compare_runs,
    described,
    judge,
)
from ptubench.compare.side import FIGURES, HEADLINES, LATENCIES, RATES, SHARES, side
from ptubench.errors import UsageError
from ptubench.ptu import prices
from ptubench.report import compare as report
from ptubench.workload.model import Messages
from running import call

PRICES = prices.shipped()
COUNT = 200
STEP = 60 / COUNT
SIMULATED = {"kind": "simulated", "model": "gpt-4.1", "ptu": 20, "type": "global", "simulate": {"seed": 0}}


def answers(luck=0, *, ttft=1.0, refused=(), unanswered=()):
    """Answered requests whose size decides half of their TTFT and luck the rest."""
    sizes, own = np.random.default_rng(99), np.random.default_rng(luck)
    times = ttft * (0.2 + sizes.exponential(0.1, COUNT)) * np.exp(0.1 * own.standard_normal(COUNT))
    for i, time in enumerate(times.tolist()):
        due = 10 + i * STEP
        if i in refused:
            yield runs.throttled(i, due)
        elif i in unanswered:
            yield runs.failed(i, due)
        else:
            yield runs.ok(i, due, ttft=time, e2e=time + 0.8 + 0.1 * own.random())


def lines(luck=0, *, ttft=1.0, refused=(), unanswered=(), **of_head):
    return [
        runs.head(**{"run_id": f"run {luck}", "target": SIMULATED} | of_head),
        *answers(luck, ttft=ttft, refused=refused, unanswered=unanswered),
        runs.end(),
    ]


def made(luck=0, **how):
    """A run in memory."""
    head, *rest = lines(luck, **how)
    gathering = Gathering(head)
    for line in rest:
        gathering.add(line)
    return gathering.run()


def written(path, luck=0, **how):
    """The same as a file."""
    return runs.write(path, *lines(luck, **how))


def rows(*several, headlines=HEADLINES, **how):
    """The metrics of a comparison by name."""
    (found,) = aligned([side(run, PRICES) for run in several], **how)
    return {row["name"]: row for row in compare_module.rows(found, 1, headlines)}


def compared(*several, **how):
    """What is said of the second run."""
    (found,) = aligned([side(run, PRICES) for run in several], **how)
    return described(found.sides[1], found)


def said(*several, **how):
    with pytest.raises(UsageError) as raised:
        aligned([side(run, PRICES) for run in several], **how)
    return str(raised.value)


@pytest.fixture(scope="module")
def plain():
    return made(1)


@pytest.fixture(scope="module")
def slower():
    return made(2, ttft=1.1, refused=range(0, COUNT, 10))


# --- laws -------------------------------------------------------------------------------------------------------------


def test_a_run_compared_with_itself_shows_no_difference(plain):
    found = rows(plain, plain)

    assert {row["word"] for row in found.values()} == {SAME, UNKNOWN}
    assert {row["change"] for row in found.values() if row["word"] == SAME} == {0.0}


@pytest.mark.parametrize("seed", [0, 7], ids=["paired", "not paired"])
def test_swapping_two_runs_flips_signs_and_words(plain, seed):
    other = made(2, ttft=1.1, refused=range(0, COUNT, 10), seed=seed)
    there, back = rows(plain, other), rows(other, plain)
    flipped = {BETTER: WORSE, WORSE: BETTER}

    for name in HEADLINES:
        assert back[name]["word"] == flipped.get(there[name]["word"], there[name]["word"])
        assert back[name]["values"] == there[name]["values"][::-1]
        if there[name]["change"] is not None:
            assert back[name]["change"] == pytest.approx(-there[name]["change"])
            assert back[name]["low"] == pytest.approx(-there[name]["high"], abs=1e-9)


def test_ten_per_cent_are_found_and_worse_is_said(plain):
    row = rows(plain, made(2, ttft=1.1), headlines=["ttft.p50"])["ttft.p50"]

    assert row["word"] == WORSE
    assert 0.02 < row["relative"]["change"] < 0.2
    assert 0 < row["low"] < row["change"] < row["high"]


def test_more_429s_are_worse_and_fewer_calls_are_too(plain, slower):
    found = rows(plain, slower)

    assert found["refused.ratio"]["word"] == found["rpm.admitted"]["word"] == WORSE
    assert found["refused.ratio"]["change"] == 0.1
    assert found["refused.ratio"]["relative"] is None
    assert found["rpm.offered"]["word"] == SAME


def test_other_luck_alone_is_no_difference(plain):
    found = rows(plain, made(3))

    assert {found[name]["word"] for name in ("ttft.p50", "ttft.p95", "e2e.p95", "refused.ratio", "rpm.completed")} == {
        SAME
    }


def test_a_percentile_that_one_run_never_answered_is_worse_whatever_it_was(plain):
    row = rows(plain, made(2, unanswered=range(0, COUNT, 8)), headlines=["e2e.p95"])["e2e.p95"]

    assert row["word"] == WORSE
    assert row["values"][1] is None
    assert row["unanswered"] == [False, True]
    assert row["change"] is row["low"] is row["high"] is row["relative"] is None


def test_a_percentile_that_neither_answered_is_not_comparable():
    found = rows(made(1, unanswered=range(0, COUNT, 8)), made(2, unanswered=range(0, COUNT, 4)))

    assert (found["e2e.p95"]["word"], found["e2e.p95"]["why"]) == (UNKNOWN, "both unanswered")
    assert found["failed.ratio"]["word"] == WORSE


def diverting(every=3, luck=2):
    """A run whose every third call got a 429 and was answered by a second target, slowly."""
    head, *rest = lines(luck, refused=range(0, COUNT, every), **policy("divert"))
    gathering = Gathering(head)
    for line in rest:
        gathering.add(line)
        if getattr(line, "status", None) == 429:
            due = line.scheduled
            gathering.add(runs.ok(line.index, due, attempt=2, sent=due + 0.01, ttft=2.0, e2e=3.0, diverted=True))
    return gathering.run()


def test_what_a_policy_is_for_has_a_row():
    found = rows(made(1, refused=range(0, COUNT, 3)), diverting())

    assert found["ok.ratio"]["values"] == [133 / 200, 1]
    assert found["throttled.ratio"]["values"] == [67 / 200, 0]
    assert found["ok.ratio"]["word"] == found["throttled.ratio"]["word"] == BETTER
    assert found["refused.ratio"]["word"] == SAME


@pytest.mark.parametrize("swap", [False, True])
def test_latencies_of_everything_offered_are_not_compared_with_those_of_a_part(plain, swap):
    found = rows(*([diverting(), plain] if swap else [plain, diverting()]))
    own = ["200 of 200 calls", "133 of 200 calls"]

    for name in ("ttft_scheduled.p50", "e2e_scheduled.p95"):
        assert found[name]["word"] == UNKNOWN
        assert found[name]["why"] == f"{' beside '.join(own[:: -1 if swap else 1])}, the diverted and spilled left out"
    assert found["ttft.p50"]["word"] != UNKNOWN


def test_what_others_answered_is_said_with_its_latency(plain):
    found = compare_runs([plain, diverting()], PRICES)
    text = " ".join(shown(report.render(found)).split())

    assert [run["elsewhere"] for run in found["runs"]] == [
        {},
        {"diverted": {"requests": 67, "ok": 67, "ttft": pytest.approx(2), "e2e": pytest.approx(3)}},
    ]
    assert "67 calls diverted, 67 of them answered, ttft p50 2.00 s, e2e p50 3.00 s; latencies, rates and cost" in text
    assert max(map(len, shown(report.render(found)).splitlines())) <= 80


def test_a_percentile_at_the_edge_of_the_answered_has_an_open_interval(plain):
    other = made(2, unanswered=range(0, COUNT, 21))
    row = rows(plain, other, headlines=["e2e.p95"])["e2e.p95"]

    assert row["values"][1] is not None
    assert row["low"] is not None
    assert row["high"] is None
    assert "+inf" in shown(report.render(compare_runs([plain, other], PRICES)))


def test_every_headline_has_a_unit_and_a_direction_or_none_on_purpose():
    neutral = {"rpm.offered", "tpm.cached", "utilization.estimated.mean", "utilization.simulated.mean"}
    neutral |= {"utilization.monitor.mean"}
    units = names.units() | {"rpm.per_ptu": "per minute", "ok.ratio": "share"}

    assert [name for name in HEADLINES if name not in units] == []
    assert {name for name in HEADLINES if names.better(name) is None} == neutral
    assert [name for name in names.BETTER if name not in HEADLINES] == []


def test_the_page_says_which_way_each_headline_is_better():
    page = (Path(__file__).parents[1] / "docs/comparing-runs.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| (`[^|]+) \| (lower|higher|neither)\b", page, re.MULTILINE))
    told = {name: way for cell, way in table.items() for name in re.findall(r"`([\w.]+)`", cell)}
    shown = {name if name in RATES or name in SHARES or name in FIGURES else name.split(".")[0] for name in HEADLINES}

    assert told.keys() == shown
    assert [n for n, way in told.items() if way != (names.better(n) or names.better(f"{n}.p50") or "neither")] == []


@pytest.mark.parametrize(
    ("low", "high", "better", "word"),
    [
        (-1, 1, "lower", SAME),
        (0, 1, "lower", SAME),
        (0.1, 1, "lower", WORSE),
        (-1, -0.1, "lower", BETTER),
        (0.1, 1, "higher", BETTER),
        (-1, -0.1, "higher", WORSE),
        (0.1, 1, None, UNKNOWN),
        (-1, 1, None, SAME),
        (np.inf, np.inf, "lower", WORSE),
        (-np.inf, np.inf, "lower", SAME),
    ],
)
def test_the_word_follows_the_interval_and_the_direction(low, high, better, word):
    assert judge(Difference(0.0, low, high), better) == word


def test_values_are_those_of_the_summaries(plain):
    one = side(plain, PRICES)
    metrics = one.summary["metrics"]

    assert one.value("ttft.p95") == metrics["ttft"]["p95"]
    for name in ("rpm.admitted", "rpm.completed", "tpm.total", "tpm.normalized", "tpm.per_ptu", "tpm.of_published"):
        group, key = name.split(".")
        assert one.value(name) == pytest.approx(metrics[group][key])


def test_rates_are_drawn_from_what_happened_in_the_window(plain):
    one = side(plain, PRICES)
    every = stats.Resampling(COUNT, np.ones((1, COUNT), dtype=np.float32), 50)
    per_minute = one.drawn_rates(Draw(every, np.arange(COUNT)))

    known = {name: value for name in RATES if isinstance(value := one.value(name), float)}
    assert known
    for name, value in known.items():
        assert one.drawn(name, Draw(every, np.arange(COUNT)), per_minute)[0] == pytest.approx(value)


@given(
    values=st.lists(st.floats(0, 10) | st.just(np.inf) | st.just(np.nan), min_size=20, max_size=90),
    share=st.sampled_from([0.5, 0.9, 0.95]),
)
@settings(max_examples=40)
def test_a_drawn_quantile_is_that_of_the_requests_drawn(values, share):
    values = np.array(values)
    blocks = stats.resampling(len(values), resamples=7)
    found = differences.quantiles(values, Draw(blocks, np.arange(len(values))), share)

    for times, quantile in zip(blocks.weights.astype(int), found, strict=True):
        drawn = np.repeat(values, times)
        drawn = np.sort(drawn[~np.isnan(drawn)])
        expected = drawn[stats.rank(len(drawn), share) - 1] if len(drawn) else np.nan
        assert quantile == expected or (np.isnan(quantile) and np.isnan(expected))


def test_what_never_happened_may_still_happen():
    never = np.zeros(100, dtype=bool)
    found = differences.between_shares(Difference(0.0, 0.0, 0.0), (never, never), paired=True)

    assert found.low < -0.03
    assert found.high > 0.03


def test_a_handful_of_requests_says_nothing():
    assert differences.between((1.0, 2.0), (np.ones(9), np.ones(9)), 4) is None


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_pairs_are_of_the_same_index_in_whatever_order_they_were_due(plain):
    found = compared(plain, made(2))

    assert (found["paired"], found["unpaired_because"], found["common_requests"]) == (True, None, COUNT)


@pytest.mark.parametrize(
    ("other", "because"),
    [
        ({"seed": 3}, "the seeds differ (0 and 3)"),
        ({"window": (30.0, 70.0)}, "the windows have only 133 of 200 requests in common"),
    ],
)
def test_why_requests_are_not_paired_is_said(plain, other, because):
    assert compared(plain, made(2, **other))["unpaired_because"] == because


def policy(on_429, **changes):
    """What makes it another workload file by its policy alone."""
    return {
        "workload_hash": on_429,
        "throttling": msgspec.structs.replace(runs.WORKLOAD.throttling, on_429=on_429),
    } | changes


def test_another_policy_sends_the_same_calls_and_they_are_paired(plain):
    found = compared(plain, made(2, **policy("retry")))

    assert (found["paired"], found["unpaired_because"]) == (True, None)
    assert found["workload_keys"] == ["throttling.on_429"]


def test_another_policy_with_files_of_unknown_content_is_not_paired():
    own = {"classes": (msgspec.structs.replace(runs.WORKLOAD.classes[0], messages=Messages(file="prompts.jsonl")),)}

    assert compared(made(1, **own), made(2, **policy("retry", **own)))["unpaired_because"] == (
        "the workloads differ in throttling.on_429, and whether their files held the same is not stored"
    )


def test_pairing_makes_the_interval_of_alike_requests_narrower(plain):
    paired, apart = (rows(plain, made(2, seed=seed), headlines=["ttft.p50"])["ttft.p50"] for seed in (0, 1))

    assert paired["high"] - paired["low"] < apart["high"] - apart["low"]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_one_run_is_no_comparison(plain):
    assert said(plain) == "compare: one run is no comparison; name two or more run files, the baseline first"


def test_unlike_workloads_are_refused_and_their_keys_named(plain):
    other = made(
        2, workload_hash="1", classes=(msgspec.structs.replace(runs.WORKLOAD.classes[0], prompt=None),), duration=71
    )

    assert said(plain, other) == (
        "run 2 and run 1 have unlike workloads, which differ in duration, prompt_tokens; compare runs of one workload, or "
        "add --force"
    )


def test_the_same_workload_hashed_by_another_version_is_the_same(plain):
    assert compared(plain, made(2, workload_hash="1"))["paired"]


def test_the_same_file_name_with_other_content_is_another_workload():
    own = (msgspec.structs.replace(runs.WORKLOAD.classes[0], messages=Messages(file="prompts.jsonl")),)

    assert "differ in the content of the files that they name; compare" in said(
        made(1, classes=own), made(2, classes=own, workload_hash="1")
    )


def test_forced_unlike_workloads_keep_their_latencies_and_lose_their_rates(plain):
    found = rows(plain, made(2, workload_hash="1", duration=71), force=True)

    assert found["ttft.p95"]["word"] == SAME
    assert {found[name]["why"] for name in RATES if found[name]["values"][0] is not None} == {"not the same load"}


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        ({"target": {"kind": "azure", "model": "gpt-4.1"}}, "real"),
        ({"clock": "virtual"}, "simulated, on a virtual clock"),
    ],
)
def test_runs_of_two_kinds_are_never_mixed_silently(plain, other, kind):
    other = made(2, **other)

    assert said(plain, other) == (
        f"run 2 is {kind}, run 1 is simulated: the figures do not mean the same; compare runs of one kind, or add --force"
    )
    assert f"kind: simulated and {kind}" in [row["text"] for row in compared(plain, other, force=True)["differences"]]


def test_a_simulator_that_somebody_else_started_is_simulated_too(plain):
    other = made(2, target={"kind": "openai", "model": "gpt-4.1", "simulate": {"seed": 1}})

    assert compared(plain, other)["kind"] == "simulated"


def test_invalid_runs_are_refused_even_by_force(plain):
    lost = made(2)
    object.__setattr__(lost, "end", None)

    for pair in ((plain, lost), (lost, plain)):
        assert said(*pair, force=True).startswith(
            "run 2: this run is invalid and can't be compared: the run file has no end: the run was killed"
        )


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        ({}, {"target": SIMULATED | {"ptu": 30}}, "PTUs: 20 and 30"),
        ({}, {"target": SIMULATED | {"type": "standard"}}, "type: global and standard"),
        ({}, {"target": SIMULATED | {"version": "2025-04-14"}}, "model version: none and 2025-04-14"),
        ({}, {"target": SIMULATED | {"content_filter": "strict"}}, "content filter: none and strict"),
        ({}, {"target": SIMULATED | {"simulate": {"seed": 3}}}, "simulated seed: 0 and 3"),
        ({}, {"tool_version": "0.2.0"}, "ptubench: 0.1.0 and 0.2.0"),
        ({}, {"schema": 0}, "run file schema: 1 and 0"),
        ({"network": {"place": "home"}}, {"network": {"place": "westeurope"}}, "place: home and westeurope"),
        ({"network": {"round_trip_ms": 4.0}}, {"network": {"round_trip_ms": 24.1}}, "round trip: 4 ms and 24.1 ms"),
        (
            {},
            {"workload_hash": "1", "throttling": msgspec.structs.replace(runs.WORKLOAD.throttling, on_429="retry")},
            "429 policy: none and retry",
        ),
    ],
)
def test_differences_that_are_not_the_loads_are_named(one, other, text):
    found = compared(made(1, **one), made(2, **other))["differences"]

    assert text in [row["text"] for row in found]


def test_clients_at_the_same_distance_are_not_named():
    found = compared(made(1, network={"round_trip_ms": 4.0}), made(2, network={"round_trip_ms": 23.9}))

    assert found["differences"] == []


def test_another_model_that_answers_is_named(plain):
    head, *rest = lines(2)
    gathering = Gathering(head)
    for line in rest:
        gathering.add(msgspec.structs.replace(line, model="gpt-4.1-2026-01-01") if hasattr(line, "model") else line)

    (row,) = compared(plain, gathering.run())["differences"]

    assert row["text"] == "model served: gpt-4.1-2025-04-14 and gpt-4.1-2026-01-01"


def test_medians_of_five_minutes_are_laid_against_the_published_target():
    slow = [runs.ok(i, 10 + i, e2e=0.1 + (0.2 if i < 300 else 0.3)) for i in range(650)]  # 95 and 63 tokens/s
    gathering = Gathering(runs.head(window=(10.0, 660.0)))
    for line in (*slow, runs.end(load_end=660.0, finished=662.0)):
        gathering.add(line)
    run = gathering.run()

    found = compared(run, run)["published_target"]

    assert [round(median) for median in found["medians"]] == [95, 63]
    assert (found["target_tps"], found["above"], found["of"], found["indicative"]) == (80, 1, 2, True)


def test_a_window_shorter_than_five_minutes_is_one_indicative_median(plain):
    found = compared(plain, plain)["published_target"]

    assert (len(found["medians"]), found["of"], found["indicative"]) == (1, 1, True)


def test_a_standard_deployment_has_no_published_target(plain):
    standard = made(2, target=SIMULATED | {"type": "standard"})

    assert compared(plain, standard)["published_target"] is None


def test_no_target_is_published_for_what_nobody_calls_a_ptu_deployment(plain):
    unknown = made(2, target={"kind": "openai", "model": "gpt-4.1", "simulate": {}})

    assert compared(plain, unknown)["published_target"] is None


def test_where_429s_are_diverted_to_is_named(plain):
    second = {"kind": "azure", "endpoint": "https://b.example", "deployment": "spare", "type": "standard"}
    found = compared(plain, made(2, divert_to=second))["differences"]

    assert [row["text"] for row in found] == ["diverted to: none and https://b.example spare standard"]


def test_the_order_of_a_mix_decides_which_request_is_of_which_class():
    one, other = (msgspec.structs.replace(runs.WORKLOAD.classes[0], name=name) for name in ("one", "other"))

    assert "which differ in mix; compare" in said(
        made(1, classes=(one, other)), made(2, classes=(other, one), workload_hash="1")
    )


@pytest.mark.parametrize(
    "edited", [{"type": ["global"]}, {"type": 3}, {"ptu": "many"}, {"ptu": -5}, {"model": 7}, {"kind": ["simulated"]}]
)
def test_a_head_that_was_edited_by_hand_is_no_crash(plain, edited):
    other = made(2, target=SIMULATED | edited)

    for several in ([plain, other], [other, plain]):
        found = compare_runs(several, PRICES)
        assert json.loads(msgspec.json.encode(found))["metrics"]
        assert "ttft p50" in shown(report.render(found))


# --- per PTU and money ------------------------------------------------------------------------------------------------


def test_cost_of_ptus_is_their_hours_over_what_they_answered(plain):
    one = side(plain, PRICES)
    per_hour = one.summary["metrics"]["tpm"]["total"] * 60

    assert one.value("cost.per_million_tokens") == pytest.approx(20 * PRICES.ptu["global"].hour / per_hour * 1e6)


def test_cost_of_a_standard_deployment_is_that_of_its_summary():
    one = side(made(1, target=SIMULATED | {"type": "standard", "ptu": None}), PRICES)

    assert one.value("cost.per_million_tokens") == pytest.approx(one.summary["metrics"]["cost"]["per_million_tokens"])


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ({"ptu": None}, "the size is not known (--ptu)"),
        ({"type": None}, "the type is not known (--type)"),
        ({"type": "standard", "model": "gpt-5.3-codex"}, "no list price for the model's tokens"),
    ],
)
def test_a_price_that_nobody_knows_is_not_guessed(plain, target, why):
    found = compared(plain, made(2, target=SIMULATED | target))["cost"]

    assert (found["per_million_tokens"], found["why"]) == (None, why)


def test_calls_per_ptu_need_no_published_capacity():
    own = made(1, target=SIMULATED | {"model": "our-own"})

    assert side(own, PRICES).value("rpm.per_ptu") == COUNT / 20
    assert side(own, PRICES).value("tpm.per_ptu") == "model or size is not known"


def test_money_is_in_the_currency_of_the_table(plain):
    euros = msgspec.structs.replace(PRICES, currency="EUR")
    found = compare_runs([plain, plain], euros)
    (row,) = [row for row in found["metrics"] if row["name"] == "cost.per_million_tokens"]

    assert row["unit"] == "EUR"
    assert f"{row['values'][0]:,.2f}" in shown(report.render(found))


def test_twice_the_ptus_at_the_same_load_cost_twice_as_much(plain):
    found = rows(plain, made(2, target=SIMULATED | {"ptu": 40}))

    assert found["cost.per_million_tokens"]["relative"]["change"] == pytest.approx(1, abs=0.01)
    assert found["cost.per_million_tokens"]["word"] == found["tpm.per_ptu"]["word"] == WORSE
    assert found["utilization.estimated.mean"]["word"] == UNKNOWN


# --- JSON, table, command line ----------------------------------------------------------------------------------------


def test_the_document_holds_what_the_design_says(plain, slower):
    found = json.loads(msgspec.json.encode(compare_runs([plain, slower, plain], PRICES)))

    assert [len(run["file"] or "") for run in found["runs"]] == [0, 0, 0]
    assert [(row["name"], row["run"]) for row in found["metrics"]] == [(n, i) for i in (1, 2) for n in HEADLINES]
    for row in found["metrics"]:
        assert {"name", "values", "change", "low", "high", "word", "unit", "better", "run", "relative"} <= set(row)
        assert row["word"] in WORDS
        assert (row["why"] is None) == (row["word"] != UNKNOWN)
        assert len(row["values"]) == 2
    assert set(SHARES) | set(RATES) | {f"{n}.{p}" for n, ps in LATENCIES.items() for p in ps} < set(HEADLINES)


def test_the_table_of_two_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "small.jsonl", 1, refused=range(0, COUNT, 9), ttft=1.3)
    written(tmp_path / "large.jsonl", 2, target=SIMULATED | {"ptu": 40})
    found = compare([Path("small.jsonl"), Path("large.jsonl")], PRICES)
    text = shown(report.render(found))

    assert max(map(len, text.splitlines())) <= 80
    assert text == golden("compare", text)


def test_the_table_of_an_unanswered_percentile_still_fits(plain):
    text = shown(report.render(compare_runs([plain, made(2, unanswered=range(0, COUNT, 8))], PRICES)))

    assert "never: the percentile lands on a call that was unanswered" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_the_table_of_two_unanswered_percentiles_wraps_no_word():
    both = [made(luck, refused=range(0, COUNT, 9), ttft=1 + luck) for luck in (1, 2)]
    text = shown(report.render(compare_runs(both, PRICES)))

    assert re.search(r"^ttft_scheduled p95 +never +never +– +not comparable$", text, re.MULTILINE)
    assert not re.search(r"^ +(shown|comparable)$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80


def test_names_from_a_file_do_nothing_to_the_terminal(plain):
    evil = "\x1b[31m[bold]evil\u202e"
    other = made(2, label=evil, target=SIMULATED | {"version": evil, "deployment": evil, "model": evil})
    text = shown(report.render(compare_runs([plain, other], PRICES)))

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]evil" in text


@pytest.fixture
def files(tmp_path):
    return written(tmp_path / "a.jsonl", 1), written(tmp_path / "b.jsonl", 2, ttft=1.1)


def test_the_command_prints_one_json_document(files, monkeypatch, capsys):
    code = call("compare", *files, "--json")
    found = json.loads(capsys.readouterr().out)

    assert code == 0
    assert [run["file"] for run in found["runs"]] == list(map(str, files))
    assert {row["name"]: row["word"] for row in found["metrics"]}["ttft.p50"] == WORSE


def test_the_baseline_may_be_any_of_them(files, monkeypatch, capsys):
    monkeypatch.chdir(files[0].parent)
    call("compare", *files, "--baseline", "b.jsonl", "--json")
    found = json.loads(capsys.readouterr().out)

    assert [run["file"] for run in found["runs"]] == ["b.jsonl", str(files[0])]


def test_a_baseline_that_stands_among_the_runs_is_taken_once(files, monkeypatch, capsys):
    monkeypatch.chdir(files[0].parent)
    call("compare", "a.jsonl", "b.jsonl", "--baseline", "a.jsonl", "--json")
    found = json.loads(capsys.readouterr().out)

    assert [run["file"] for run in found["runs"]] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.jsonl"], "error: compare: one run is no comparison; name two or more run files, the baseline first\n"),
        (["a.jsonl", "gone.jsonl"], "gone.jsonl"),
        (
            ["a.jsonl", "./a.jsonl"],
            "error: compare: a.jsonl is named twice, and a run does not differ from itself; name each run file once\n",
        ),
        (["a.jsonl", "other.jsonl"], "unlike workloads, which differ in duration; compare runs of one workload"),
    ],
)
def test_what_can_not_be_compared_is_one_sentence_and_exit_code_2(files, arguments, sentence, monkeypatch, capsys):
    folder = files[0].parent
    monkeypatch.chdir(folder)
    written(folder / "other.jsonl", 2, workload_hash="1", duration=71)
    code = call("compare", *arguments)
    captured = capsys.readouterr()

    assert (code, captured.out) == (2, "")
    assert sentence in captured.err
    assert captured.err.count("\n") == 1


def test_reading_a_file_gives_the_same_comparison_as_having_it_in_memory(files):
    loaded = [load(path) for path in files]

    assert compare(files, PRICES)["metrics"] == compare_runs(loaded, PRICES)["metrics"]
