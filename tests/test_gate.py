"""The gate: its grammar, its laws, repeats as one, what is refused, the document and its table."""

import json
import math
import re
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runs
from goldens import golden, shown
from ptubench import record
from ptubench.analysis import names, stats
from ptubench.analysis.gather import Gathering
from ptubench.cli import main
from ptubench.compare import runs as compared
from ptubench.compare.differences import Difference
from ptubench.compare.side import side
from ptubench.errors import UsageError
from ptubench.gate import change, document, pooled, regression
from ptubench.gate.pool import Against, Pool
from ptubench.gate.regression import METRICS, parse
from ptubench.ptu import prices
from ptubench.report import check as report

PRICES = prices.shipped()
COUNT = 200
STEP = 60 / COUNT
BROKEN = record.Aborted(rule="failed.ratio <= 1%", at=20.0, measured=0.5, ci95=(0.4, 0.6), of=100)
SIMULATED = {"kind": "simulated", "model": "gpt-4.1", "ptu": 20, "type": "global", "simulate": {"seed": 0}}
NO_SLO = "not measured: the workload has no `slo:`"
RULE, HELD = "ttft.p95 <= 1s", "ttft.p95: 10%"


def answers(luck, *, ttft=1.0, refused=0, unanswered=0, count=COUNT):
    """Requests whose size decides most of their TTFT and luck the rest; every so many is refused or unanswered."""
    lost = {*range(0, count, count // refused)} if refused else set()
    broken = {*range(1, count, count // unanswered)} if unanswered else set()
    sizes, own = np.random.default_rng(99), np.random.default_rng(luck)
    times = ttft * (0.2 + sizes.exponential(0.1, count)) * np.exp(0.1 * own.standard_normal(count))
    for i, time in enumerate(times.tolist()):
        if i in lost:
            yield runs.throttled(i, 10 + i * STEP)
        elif i in broken:
            yield runs.failed(i, 10 + i * STEP)
        else:
            yield runs.ok(i, 10 + i * STEP, ttft=time, e2e=time + 0.8 + 0.1 * own.random())


def lines(luck, *, last=None, ttft=1.0, refused=0, unanswered=0, count=COUNT, **of_head):
    head = runs.head(**{"run_id": f"run {luck}", "target": SIMULATED, "checks": (RULE,)} | of_head)
    ended = () if last == "nothing" else (last or runs.end(),)
    return [head, *answers(luck, ttft=ttft, refused=refused, unanswered=unanswered, count=count), *ended]


def made(luck, **how):
    """A run in memory, ready to be judged."""
    head, *rest = lines(luck, **how)
    gathering = Gathering(head)
    for line in rest:
        gathering.add(line)
    return side(gathering.run(), PRICES)


def written(path, luck, **how):
    """The same as a file."""
    return runs.write(path, *lines(luck, **how))


def held(run, baseline, *texts):
    """The rows of regressions."""
    found = document.judge([run], [], [baseline], [parse(text, where="--regression") for text in texts])
    return [row for row in found["checks"] if row["kind"] == "regression"]


def said(*several, **how):
    with pytest.raises(UsageError) as raised:
        document.judge(*several, **how)
    return str(raised.value)


@pytest.fixture(scope="module")
def plain():
    return made(1)


@pytest.fixture(scope="module")
def same():
    return made(2)


@pytest.fixture(scope="module")
def worse():
    return made(3, ttft=1.3, refused=20)


# --- the grammar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount", "relative"),
    [
        ("ttft.p95: 10%", 0.1, True),
        (" tps.p50 :  +2.5 % ", 0.025, True),
        ("refused.ratio: +1pt", 0.01, False),
        ("slo.ratio: 0.5 pt", 0.005, False),
        ("ttft.p999: +50ms", 0.05, False),
        ("e2e.p50: 1.5s", 1.5, False),
        ("rpm.completed: 2", 2.0, False),
        ("rpm.completed: 2/s", 120.0, False),
        ("tpm.total: 3k", 3000.0, False),
        ("tps_e2e.p50: 4", 4.0, False),
        ("cost.per_million_tokens: 0.5", 0.5, False),
    ],
)
def test_a_regression_is_a_metric_and_how_much_worse_it_may_be(text, amount, relative):
    found = parse(text, where="--regression")

    assert (found.amount, found.relative) == (pytest.approx(amount), relative)
    assert found.text == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "ttft.p95 <= 1s",
            "is no regression; write a metric, a colon and how much worse it may be, such as `ttft.p95: 10%`",
        ),
        ("ttft.p95:", "is no regression; write a metric, a colon"),
        ("tftt.p95: 10%", "unknown metric `tftt.p95`; did you mean `ttft.p95`?"),
        ("tttf: 10%", "unknown metric `tttf`; "),
        ("TTFT.P95: 10%", "unknown metric `TTFT.P95`; did you mean `ttft.p95`?"),
        ("p95: 10%", "unknown metric `p95`; did you mean `ttft.p95`?"),
        ("ttft: 10%", "unknown metric `ttft`; did you mean `ttft.p95`?"),
        ("ttft.p59: 10%", "unknown metric `ttft.p59`; did you mean `ttft.p95`?"),
        ("ttft.mean: 10%", "the change of `ttft.mean` has no interval; `ttft.p50` has one"),
        ("gap.p95: 10%", "the change of `gap.p95` has no interval; `tbt.p95` has one"),
        ("refused.count: 10", "the change of `refused.count` has no interval; `refused.ratio` has one"),
        ("requests.failed: 10", "the change of `requests.failed` has no interval; `failed.ratio` has one"),
        ("failed.by_kind.http_500: 1", "the change of `failed.by_kind.http_500` has no interval; "),
        ("utilization.simulated.mean: 10%", "has no interval; "),
        ("rpm.offered: 10%", "neither more nor less of `rpm.offered` is worse; write a rule with --check instead"),
        ("ttft.p95: 50", "`50` is no tolerance; write 10% of the baseline's value, or an amount such as 50ms"),
        ("ttft.p95: 1pt", "points are for shares; write 10% of the baseline's value, or an amount such as 50ms"),
        ("ttft.p95: -10%", "`-10%` is no tolerance; "),
        ("refused.ratio: 0.01", "`0.01` is no tolerance; write percentage points, such as 1pt"),
        (
            "refused.ratio: 1%",
            "`1%` may be of its value or of all requests; write percentage points, such as 1pt",
        ),
    ],
)
def test_what_is_no_regression_is_one_sentence_with_the_way_out(text, sentence):
    with pytest.raises(UsageError) as raised:
        parse(text, where="--regression")

    assert str(raised.value).startswith(f"--regression: `{text}`")
    assert sentence in str(raised.value)


@pytest.mark.parametrize(("metric", "unit"), [("ttft.p95", "%"), ("ttft.p95", "ms"), ("refused.ratio", "pt")])
def test_a_tolerance_that_nothing_could_exceed_is_refused(metric, unit):
    with pytest.raises(UsageError, match="is too large; nothing could exceed it"):
        parse(f"{metric}: {'9' * 400}{unit}", where="--regression")


def test_every_metric_that_can_be_held_says_which_way_is_better_and_takes_an_amount():
    for name in METRICS:
        found = parse(tolerance(name, 10), where="--regression")

        assert found.better == names.better(name)
        assert parse(f"{name}: {regression._EXAMPLES[found.unit]}", where="--regression").amount > 0


def tolerance(name, percent):
    """A regression of so many per cent: of the baseline's value, of a share points."""
    return f"{name}: {percent}{'pt' if compared.unit_of(name, 'USD') == 'share' else '%'}"


def test_every_headline_of_a_comparison_that_is_better_one_way_can_be_held():
    figures = set(compared.HEADLINES) - set(compared.FIGURES)

    assert {name for name in figures if names.better(name)} <= set(METRICS)


# --- laws of judging --------------------------------------------------------------------------------------------------


def test_a_run_held_against_itself_passes_every_regression(plain):
    against = Against(Pool((plain,)), Pool((plain,)))

    for name in METRICS:
        row = change.row(parse(tolerance(name, 0), where=""), against)

        assert row["passed"] or row["measured"] is None, row


amounts = st.floats(min_value=0, max_value=10, allow_nan=False)


@given(values=st.tuples(amounts, amounts), half=amounts, tolerances=st.tuples(amounts, amounts), relative=st.booleans())
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_what_passes_with_a_tolerance_passes_with_a_larger_one(values, half, tolerances, relative, better):
    measured, base = values
    found = Difference(measured - base, measured - base - half, measured - base + half)

    def passed(amount):
        one = regression.Regression(text="", metric="", unit="s", better=better, amount=amount, relative=relative)
        return change.judge(one, measured, base, found)[0]

    assert passed(min(tolerances)) <= passed(max(tolerances))


@pytest.mark.parametrize(("better", "sign"), [("lower", 1), ("higher", -1)])
@pytest.mark.parametrize(
    ("worse", "half", "passed"),
    [(0.09, 0.01, True), (0.12, 0.01, False), (0.12, 0.13, True), (-0.5, 0.1, True), (0.12, None, False)],
)
def test_it_fails_when_the_change_is_beyond_the_tolerance_and_its_interval_holds_no_zero(
    worse, half, passed, better, sign
):
    one = regression.Regression(text="", metric="", unit="s", better=better, amount=0.1, relative=False)
    shift = sign * worse
    found = None if half is None else Difference(shift, shift - half, shift + half)

    assert change.judge(one, 1 + shift, 1.0, found)[0] is passed


def test_the_order_of_the_checks_does_not_matter(plain, worse):
    texts = (HELD, "refused.ratio: +1pt", "rpm.completed: 1%")
    rules = ("refused.ratio <= 1%", "e2e.p50 <= 5s")

    def judged(order, ruled):
        found = document.judge([worse], ruled, [plain], [parse(text, where="") for text in order])
        return {row["rule"]: row for row in found["checks"]}, found["exit_code"]

    first = judged(texts, rules)
    assert all(judged(order, rules[::-1]) == first for order in permutations(texts))


def test_one_run_against_one_is_judged_by_what_compare_says(plain, worse):
    (found,) = compared.aligned([plain, worse])
    rows = {row["name"]: row for row in compared.rows(found, 1)}
    mine = held(worse, plain, *(tolerance(name, 10) for name in METRICS if name in rows))

    for row in mine:
        theirs = rows[row["metric"]]
        if any(theirs["unanswered"]):
            continue
        assert [row["baseline"], row["measured"]] == theirs["values"]
        assert [row[part] for part in change.PARTS] == [theirs[part] for part in change.PARTS], row
        assert row["relative"] == theirs["relative"]


def test_a_regression_is_found_and_better_is_none(plain, worse):
    down = held(worse, plain, HELD, "refused.ratio: +1pt", "rpm.completed: 5%")
    up = held(plain, worse, HELD, "refused.ratio: +1pt", "rpm.completed: 5%")

    assert [row["passed"] for row in down] == [False] * 3
    assert [row["passed"] for row in up] == [True] * 3
    assert down[0]["op"] == "<="
    assert down[0]["limit"] == pytest.approx(1.1 * down[0]["baseline"])
    assert down[2]["op"] == ">="


def test_what_can_not_be_judged_fails_and_says_why(plain):
    never, few = made(4, unanswered=60), made(5, count=60)
    cases = [
        (never, plain, False, "unanswered: 67 of 200 requests were never answered"),
        (never, made(6, unanswered=60), False, "unanswered: 67 of 200 requests were never answered"),
        (plain, never, True, "the baseline: unanswered: 67 of 200 requests were never answered"),
        (few, plain, False, "withheld: p95 needs 72 measured calls and there are 60"),
        (plain, few, False, "the baseline: withheld: p95 needs 72 measured calls and there are 60"),
    ]
    for run, base, passed, why in cases:
        (row,) = held(run, base, HELD)

        assert (row["passed"], row["why"]) == (passed, why)
    (row,) = held(plain, made(7), "slo.ratio: 1pt")
    assert (row["passed"], row["why"]) == (False, NO_SLO)


def test_a_change_that_chance_explains_passes_and_it_is_said(plain):
    (row,) = held(made(8, refused=3), plain, "refused.ratio: +1pt")

    assert row["passed"]
    assert row["measured"] > row["limit"]
    assert row["why"] == "beyond the tolerance, but chance may explain it: the interval of the change includes 0"


def test_a_baseline_beside_which_nothing_could_fail_passes_and_it_is_said(plain, same):
    lost = made(9, refused=COUNT)
    rows = held(plain, lost, "refused.ratio: +1pt", "rpm.completed: 5%") + held(
        plain, same, "slo.ratio: 1pt", "rpm.completed: 100%"
    )

    assert [(row["passed"], row["why"]) for row in rows] == [
        (True, "beside this baseline no value could fail"),
        (True, "beside this baseline no value could fail"),
        (False, NO_SLO),
        (True, "beside this baseline no value could fail"),
    ]


# --- repeats ----------------------------------------------------------------------------------------------------------


def test_percentiles_of_repeats_are_of_all_their_requests_and_counts_add_up(plain, same, worse):
    sides = (plain, same, worse)
    found = Pool(sides).metrics
    values = np.concatenate([one.latencies("ttft") for one in sides])

    assert found["ttft"]["p95"] == stats.percentile(values, "p95")
    assert found["ttft"]["of"] == np.count_nonzero(~np.isnan(values))
    for path, unit in names.SCALARS.items():
        mapping, _, key = path.rpartition(".")
        if mapping in ("requests", "refused", "failed") and unit == "count":
            assert found[mapping][key] == sum(one.summary["metrics"][mapping][key] for one in sides)
    assert found["refused"]["ratio"] == pytest.approx(found["refused"]["count"] / found["requests"]["total"])
    rates = [one.summary["metrics"]["rpm"]["completed"] for one in sides]
    assert found["rpm"]["completed"] == pytest.approx(np.mean(rates))  # their windows are equally long
    assert found["in_flight"]["max"] == max(one.summary["metrics"]["in_flight"]["max"] for one in sides)


def test_repeats_at_different_sizes_count_each_by_its_own_size_and_price(plain):
    pool = Pool((plain, made(2, target=SIMULATED | {"ptu": 100}, refused=20)))  # as --force lets them be
    per_ptu, tokens = ([float(one.value(name)) for one in pool.sides] for name in ("tpm.per_ptu", "tpm.total"))

    assert pool.value("tpm.per_ptu") == pytest.approx(np.mean(per_ptu))
    assert pool.value("cost.per_million_tokens") == pytest.approx((20 + 100) / 60 / sum(tokens) * 1e6)


def test_repeats_of_one_and_the_same_run_have_its_numbers(plain):
    alone, found = plain.summary["metrics"], Pool((plain, plain, plain)).metrics

    for path, unit in names.units().items():
        key = path.rpartition(".")[2]
        one, all_of_them = pooled._get(alone, path), pooled._get(found, path)
        if unit != "count" and key not in ("std", "total") and one is not None:
            assert all_of_them == pytest.approx(one), path


def test_every_number_of_a_summary_is_one_of_repeats_too(plain, same):
    found = Pool((plain, same)).metrics

    for path in names.units():
        parent, _, key = path.rpartition(".")
        assert key in pooled._get(found, parent), path


def test_an_interval_of_repeats_is_never_narrower_than_that_of_the_runs(plain, same, worse):
    values = [one.summary["metrics"]["ttft"]["p95"] for one in (plain, same, worse)]
    found = Pool((plain, same, worse)).metrics["ttft"]
    low, high = found["ci95"]["p95"]
    half = 4.3027 * np.std(values, ddof=1) / math.sqrt(3)

    assert low <= max(0, found["p95"] - half) + 1e-4
    assert high >= found["p95"] + half - 1e-4


def test_repeats_against_repeats_are_never_surer_than_their_runs(plain, same, worse):
    against = Against(Pool((plain, same)), Pool((made(9), worse)))
    blocks, found = against.by_blocks("ttft.p95"), against.difference("ttft.p95")

    assert against.paired
    assert found.low <= blocks.low < blocks.high <= found.high
    assert found.high - found.low > blocks.high - blocks.low


def test_repeats_of_other_seeds_are_drawn_each_by_itself(plain):
    others = [made(luck, seed=luck) for luck in (11, 12)]
    against = Against(Pool((plain,)), Pool(tuple(others)))

    assert not against.paired
    for name in ("ttft.p95", "refused.ratio", "rpm.completed"):
        found = against.difference(name)
        assert found.low <= 0 <= found.high


def test_a_baseline_of_another_seed_is_said_since_its_requests_are_others(plain, same):
    said_, silent = (document.judge([plain], [], [base], [parse(HELD, where="")]) for base in (made(11, seed=1), same))

    assert said_["notes"] == [
        "requests can't be paired, so only a larger change can be told from chance: the seeds differ (1 and 0)"
    ]
    assert silent["notes"] == []


def test_copies_of_a_run_make_nothing_surer(plain, worse):
    once, thrice = (Against(Pool((plain,) * times), Pool((worse,) * times)) for times in (1, 3))

    for name in ("ttft.p50", "ttft.p95", "tps.p50", "rpm.completed", "tpm.total"):
        one, three = once.by_blocks(name), thrice.by_blocks(name)
        assert [three.low, three.high] == pytest.approx([one.low, one.high])
    (low, high), found = plain.summary["metrics"]["ttft"]["ci95"]["p95"], Pool((plain,) * 3).metrics["ttft"]
    assert found["ci95"]["p95"][1] - found["ci95"]["p95"][0] >= 0.7 * (high - low)


@pytest.mark.parametrize(("freedom", "point"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622)])
def test_students_point_is_that_of_the_tables(freedom, point):
    assert pooled.student(freedom) == pytest.approx(point, rel=0.01)


def test_each_run_of_repeats_is_shown_with_their_spread(plain, same):
    (row,) = document.judge([plain, same])["checks"]
    values = [one.summary["metrics"]["ttft"]["p95"] for one in (plain, same)]

    assert row["by_run"] == values
    assert row["spread"] == pytest.approx(np.std(values, ddof=1))


def test_a_rule_that_is_given_twice_is_judged_once(plain):
    found = document.judge([plain], [f" {RULE}", RULE.replace(" <= ", "  <=  "), "ttft.p50 <= 1s"])

    assert [row["rule"] for row in found["checks"]] == [RULE, "ttft.p50 <= 1s"]


def test_rules_of_repeats_are_those_of_all_their_workloads_each_once(plain):
    other = made(13, checks=("e2e.p50 <= 9s", RULE))
    rows = document.judge([plain, other], ["e2e.p50 <= 9s", "refused.ratio <= 1%"])["checks"]

    assert {row["rule"] for row in rows} == {RULE, "e2e.p50 <= 9s", "refused.ratio <= 1%"}


def test_without_any_rule_the_default_holds_for_repeats_too():
    (row,) = document.judge([made(luck, checks=()) for luck in (1, 2)])["checks"]

    assert (row["rule"], row["default"]) == ("failed.ratio <= 5%", True)


# --- what is refused --------------------------------------------------------------------------------------------------

OTHER = {"workload_hash": "1", "duration": 71}
ELSEWHERE = {"network": {"address": "127.0.0.1", "place": "vm westeurope"}}
REAL = {"target": {"kind": "azure", "model": "gpt-4.1", "ptu": 20}}


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (OTHER, "have different workloads: they differ in duration; make a baseline of this workload, or add --force"),
        ({"workload_hash": "1"}, "they differ in their hashes 1 and 0"),
        (
            ELSEWHERE,
            "was measured from nowhere named, run 2 from `vm westeurope`: latencies hold the way to the target",
        ),
    ],
)
def test_a_baseline_of_another_workload_or_place_is_refused_and_can_be_forced(plain, how, sentence):
    base, rule = made(2, **how), [parse(HELD, where="")]

    assert sentence in said([plain], [], [base], rule)
    assert document.judge([plain], [], [base], rule, force=True)["exit_code"] == 0


def test_what_was_forced_is_noted_and_rates_of_another_load_are_not_judged(plain):
    found = document.judge([plain], [], [made(2, **OTHER)], [parse("rpm.completed: 5%", where="")], force=True)

    assert "forced: the workloads differ in duration" in found["notes"]
    assert (found["checks"][-1]["passed"], found["checks"][-1]["why"]) == (False, "not the same load")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (REAL, "run 1 is simulated, run 2 is real: the figures do not mean the same"),
        ({"clock": "virtual"}, "run 2 is simulated, on a virtual clock"),
        ({"last": "nothing"}, "run 2: this run was killed and is no baseline; name one that was completed"),
        ({"last": runs.end(ended="aborted")}, "run 2: this run was aborted and is no baseline"),
        ({"last": runs.end(ended="stopped")}, "run 2: this run was stopped and is no baseline"),
        ({"last": runs.end(lost_workers=(0,))}, "run 2: this run is invalid and is no baseline: 1 of 1 workers ended"),
    ],
)
def test_a_baseline_of_another_kind_or_that_was_not_measured_well_is_refused_even_by_force(plain, how, sentence, force):
    assert sentence in said([plain], [], [made(2, **how)], [parse(HELD, where="")], force=force)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (OTHER, "run 2 and run 1 are no repeats: their workloads differ in duration; check them one at a time"),
        ({"target": SIMULATED | {"ptu": 30}}, "their targets differ in PTUs; check them one at a time, or add --force"),
        (REAL, "run 2 is real, run 1 is simulated"),
        (ELSEWHERE, "run 2 was measured from `vm westeurope`, run 1 from nowhere named"),
    ],
)
def test_runs_of_another_workload_target_kind_or_place_are_no_repeats(plain, how, sentence):
    assert sentence in said([plain, made(2, **how)])


def test_a_run_that_is_named_twice_is_refused_also_as_a_copy(tmp_path, monkeypatch):
    first = written(tmp_path / "first.jsonl", 1)
    copy = written(tmp_path / "copy.jsonl", 1)
    monkeypatch.chdir(tmp_path)

    for run, base in ((first, Path("first.jsonl")), (first, copy)):
        with pytest.raises(
            UsageError, match=r"is the same run as .*first\.jsonl, and a run does not differ from itself"
        ):
            document.check([run], baseline=[base], regressions=[HELD])
    with pytest.raises(UsageError, match="is the same run as"):
        document.check([first, copy])


def test_a_baseline_of_another_schema_is_refused(tmp_path):
    run, base = written(tmp_path / "run.jsonl", 1), written(tmp_path / "base.jsonl", 2, schema=2)

    with pytest.raises(
        UsageError, match=r"base\.jsonl: written with schema 2 by ptubench 0\.1\.0, and this ptubench reads"
    ):
        document.check([run], baseline=[base], regressions=[HELD])


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"baseline": [Path("b")]}, "--baseline: alone says nothing; add --regression 'METRIC: TOLERANCE'"),
        ({"regressions": [HELD]}, "--regression: needs a run to hold it against; add --baseline RUN"),
        ({"regressions": ["tttft.p95: 1%"]}, "--regression: `tttft.p95: 1%`: unknown metric `tttft.p95`; did you mean"),
        ({"rules": ["tttft.p95 <= 1s"]}, "--check: `tttft.p95 <= 1s`: unknown metric `tttft.p95`; did you mean"),
    ],
)
def test_options_are_read_before_any_run(how, sentence):
    with pytest.raises(UsageError) as raised:
        document.check([Path("nowhere.jsonl")], **how)

    assert str(raised.value).startswith(sentence)


def test_another_model_version_size_or_version_of_ptubench_is_only_said(plain):
    base = made(2, target=SIMULATED | {"ptu": 30, "version": "2025-04-14"}, tool_version="0.0.9")
    notes = document.judge([plain], [], [base], [parse(HELD, where="")])["notes"]

    assert "baseline and run differ: PTUs: 30 and 20" in notes
    assert "baseline and run differ: model version: 2025-04-14 and none" in notes
    assert any("ptubench: 0.0.9 and" in note for note in notes)


# --- the document -----------------------------------------------------------------------------------------------------

TOP = "schema_version tool runs baseline notes checks verdict passed exit_code"
RUN = "file id label started_at workload workload_hash seed kind target requests verdict reasons ended by_rule"
RUN += " lasted_s planned_s"
ROW = "rule kind metric unit op measured limit ci95 passed why default baseline change low high relative by_run spread"


def test_the_document_has_always_the_same_keys_and_is_json(plain, same, worse):
    several = document.judge([plain, same], [], [made(9), worse], [parse(HELD, where="")])
    for found in (document.of_summary(plain.summary), document.judge([worse]), several):
        assert set(found) == set(TOP.split())
        assert all(set(row) == set(ROW.split()) for row in found["checks"])
        assert all(set(run) == set(RUN.split()) for run in (*found["runs"], *(found["baseline"] or ())))
        json.dumps(found, allow_nan=False)


def test_the_document_of_a_summary_is_that_of_its_run(plain):
    assert document.of_summary(plain.summary) == document.judge([plain])


@pytest.mark.parametrize(
    ("how", "strict", "code"),
    [
        ({}, True, 0),
        ({"ttft": 9.0}, False, 3),
        ({"ttft": 9.0, "last": "nothing"}, False, 4),
        ({"last": runs.end(lost_workers=(0,))}, False, 4),
        ({"planned": 70, "last": runs.end(ended="stopped")}, False, 4),
        ({"last": runs.end(ended="aborted")}, False, 4),
        ({"ttft": 9.0, "last": runs.end(ended="aborted", aborted=BROKEN)}, False, 3),
    ],
)
def test_the_gravest_reason_decides_the_exit_code(how, strict, code):
    found = document.judge([made(1, **how)], strict=strict)

    assert (found["exit_code"], found["passed"]) == (code, code == 0)


def test_a_degraded_run_passes_unless_it_is_strict():
    summary = made(1).summary | {"validity": {"verdict": "degraded", "reasons": []}}

    assert [document.of_summary(summary, strict=strict)["exit_code"] for strict in (False, True)] == [0, 4]


def test_a_run_that_was_just_stopped_ends_as_the_signal_says_and_a_stored_one_is_no_whole_measurement():
    stopped = made(1, last=runs.end(ended="stopped", load_end=40.0))
    repeats = document.judge([made(2), stopped])

    assert document.of_summary(stopped.summary)["exit_code"] == 130
    assert [found["exit_code"] for found in (document.judge([stopped]), repeats)] == [4, 4]
    assert document.of_repeats(repeats)["exit_code"] == 130
    assert all(row["passed"] for row in repeats["checks"])


# --- on a terminal ----------------------------------------------------------------------------------------------------


def table(*judged, width=80):
    return shown(report.render(document.judge(*judged)), width=width)


def test_the_table_of_a_check():
    base, run = made(1, label="last week"), made(3, ttft=1.3, refused=20, target=SIMULATED | {"version": "2"})
    texts = [HELD, "refused.ratio: +1pt", "tps.p50: 5%", "slo.ratio: 1pt", "e2e.p50: +2s"]
    text = table([run], ["refused.ratio <= 1%"], [base], [parse(one, where="") for one in texts])

    assert text == golden("check", text)


def test_the_table_of_repeats():
    text = table([made(luck) for luck in (1, 2, 3)], ["refused.ratio <= 1%"])

    assert text == golden("check-repeats", text)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_table_fits_and_what_failed_stands_last(plain, worse, width):
    text = table([worse], [], [plain], [parse(HELD, where="")], width=width)
    lines_ = text.splitlines()

    assert max(map(len, lines_)) <= width
    failed = next(number for number, line in enumerate(lines_) if "1 of 2 checks FAILED" in line)
    assert "FAIL  ttft.p95: 10%" in lines_[failed + 1]


def test_what_ends_a_check_whatever_its_rules_say_is_its_last_line(plain):
    stopped, killed = made(4, last=runs.end(ended="stopped", load_end=40.0)), made(5, ttft=9, last="nothing")
    invalid = made(6, last=runs.end(lost_workers=(0,)))

    def last(run):
        return table([run]).splitlines()[-1]

    assert last(plain) == "1 check passed"
    assert last(stopped) == "1 check passed, but the run was stopped after 40s of 1m10s: no whole measurement"
    assert last(killed).startswith("but the run was killed after ")
    assert last(invalid) == "1 check passed, but the measurement is invalid, do not use its numbers"


def test_what_the_interval_of_repeats_does_not_know_is_said(plain, same):
    few = [made(luck, count=40, checks=("ttft.p95 <= 9s", "e2e.p50 <= 9s")) for luck in (1, 2, 3)]
    (said_,) = document.judge(few)["notes"]

    assert said_.startswith("ttft.p95: the runs have no values of their own (too few calls, or unanswered)")
    assert document.judge([plain, same])["notes"] == ["two runs say little of how much runs differ; take three or more"]
    assert document.judge([plain])["notes"] == document.judge([plain, same, made(9)])["notes"] == []


def test_of_many_repeats_the_smallest_and_the_largest_value_are_shown():
    text = table([made(luck) for luck in range(1, 8)])
    values = [made(luck).summary["metrics"]["ttft"]["p95"] for luck in range(1, 8)]

    assert re.search(r"By run\s+min\s+max\s+std", text)
    assert f"{min(values) * 1000:.0f} ms {max(values) * 1000:.0f} ms" in text


# --- the command ------------------------------------------------------------------------------------------------------


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["ptubench", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    return exited.value.code


def test_the_command_judges_files_and_its_exit_code_says_what_it_found(tmp_path, monkeypatch, capfd):
    base, good = written(tmp_path / "base.jsonl", 1), written(tmp_path / "good.jsonl", 2)
    bad = written(tmp_path / "bad.jsonl", 3, ttft=1.3)
    killed = written(tmp_path / "killed.jsonl", 4, ttft=9, last="nothing")
    against = ("--baseline", base, "--regression", HELD)

    assert call(monkeypatch, good, *against) == 0
    assert "all 2 checks passed" in capfd.readouterr().out
    assert call(monkeypatch, bad, *against) == 3
    assert "FAIL  ttft.p95: 10%" in capfd.readouterr().out
    assert call(monkeypatch, killed, *against, "--json") == 4
    assert json.loads(capfd.readouterr().out)["exit_code"] == 4
    assert call(monkeypatch, good, "--baseline", tmp_path / "first.jsonl.gz", "--regression", HELD) == 2
    assert "is not there yet; `ptubench report RUN --slim` makes it of a good run" in capfd.readouterr().err
    assert call(monkeypatch, good, "--baseline", killed, "--regression", HELD) == 2
    assert "killed and is no baseline" in capfd.readouterr().err
    assert call(monkeypatch, base, good, "--json") == 0
    assert len(json.loads(capfd.readouterr().out)["runs"]) == 2
