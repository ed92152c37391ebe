"""The published sizing formula, the sizes that can be deployed, and what they cost."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ptubench.errors import UsageError
from ptubench.ptu import bill, catalogue, deploy, estimate, money, prices, sizing
from ptubench.ptu.capacity import capacity
from ptubench.ptu.prices import Price, Prices, PtuPrice
from ptubench.ptu.sizing import Demand, Need

amounts = st.lists(st.integers(1, 500), min_size=1, max_size=30)
sizes = st.sampled_from([(15, 5), (50, 50), (25, 25), (25, 50), (100, 100)])
raws = st.floats(0.01, 5000)
MODEL = catalogue.find("gpt-4.1")
LIST = Prices(
    dated=date(2026, 11, 22),
    ptu={"global": PtuPrice(hour=1.0, month=260.0, year=2652.0, source="test")},
    standard={"global": 1.0},
    models={"gpt-4.1": Price(input=2.0, cached=0.5, output=8.0, source="test")},
)


def load(calls, *, prompt=1000, cached=0, completion=200):
    """A demand of equal calls, so many in each minute."""
    count = np.array(calls, float)
    return Demand(
        calls=count, prompt=count * prompt, cached=count * cached, completion=count * completion, minutes=len(calls)
    )


# --- the formula ------------------------------------------------------------------------------------------------------


# The published examples (Azure AI documentation, how-to-provisioned-throughput-sizing and older pages), recomputed.
@pytest.mark.parametrize(
    ("model", "type_", "calls", "raw", "ptu"),
    [
        ("gpt-5.2", "datazone", {"calls": [1000], "prompt": 200, "cached": 0, "completion": 20}, 105.88, 110),
        ("gpt-5.2", "datazone", {"calls": [1000], "prompt": 200, "cached": 100, "completion": 20}, 76.47, 80),
        ("gpt-5.2", "regional", {"calls": [1000], "prompt": 100, "cached": 0, "completion": 50}, 147.06, 150),
        ("gpt-4o-mini", "global", {"calls": [30], "prompt": 800, "cached": 0, "completion": 150}, 1.14, 15),
    ],
)
def test_published_sizing_examples_come_out(model, type_, calls, raw, ptu):
    offered = catalogue.find(model).sizes[type_]
    told = estimate.formula(load(**calls), capacity(model, 1), headroom=1, sizes=offered)

    assert (round(told["raw"], 2), told["ptu"]) == (raw, ptu)


def test_one_ptu_used_fully_for_30_days_processes_what_is_published():
    minutes = 30 * 24 * 60

    assert capacity("gpt-6-astra", 1).tpm * minutes == 25.92e6
    assert capacity("gpt-6-sol", 1).tpm * minutes == 129.6e6
    assert prices.find("gpt-6-astra").of(25.92e6, 0, 0) == pytest.approx(259.20)


@given(amounts, st.integers(0, 4000), st.integers(0, 2000), st.floats(1, 20), st.floats(1, 20))
def test_another_ratio_moves_the_need_by_the_output_tokens_alone(calls, prompt, completion, one, other):
    demand = load(calls, prompt=prompt, completion=completion)
    small, large = (sizing.need(demand, capacity("gpt-4.1", 1, ratio=ratio), headroom=0.9) for ratio in (one, other))

    moved = (other - one) * max(calls) * completion / 3000
    assert large.peak - small.peak == pytest.approx(moved, abs=1e-6)


@given(amounts, st.integers(1, 4000), st.floats(0, 1))
def test_the_cached_share_takes_its_part_of_the_prompt_off_the_need(calls, prompt, share):
    one = capacity("gpt-4.1", 1)
    whole, part = (sizing.need(load(calls, prompt=prompt).with_cached(at), one, headroom=1) for at in (0, share))

    assert whole.mean - part.mean == pytest.approx(share * sum(calls) / len(calls) * prompt / 3000)


@given(amounts, st.floats(0.1, 1))
def test_half_the_capacity_per_ptu_doubles_the_need_and_headroom_divides_it(calls, headroom):
    full, half = (
        sizing.need(load(calls), capacity("gpt-4.1", 1, tpm_per_ptu=tpm), headroom=headroom) for tpm in (3000, 1500)
    )

    assert half.peak == pytest.approx(2 * full.peak)
    assert full.headroom == pytest.approx(full.peak / headroom)
    assert full.mean <= full.peak * (1 + 1e-12)


@given(raws, sizes)
def test_a_deployable_size_is_the_smallest_that_is_enough_and_can_be_deployed(raw, offered):
    minimum, increment = offered
    ptu = sizing.deployable(raw, offered)

    assert ptu >= raw - 1e-6
    assert ptu == minimum or (ptu % increment == 0 and ptu - increment < raw)
    assert sizing.fits(ptu, offered)


@given(st.integers(1, 600), sizes)
def test_a_size_off_the_increment_lies_between_its_neighbours(ptu, offered):
    assume(not sizing.fits(ptu, offered))
    near = sizing.neighbours(ptu, offered)

    assert all(sizing.fits(size, offered) for size in near)
    assert near[-1] > ptu
    assert len(near) == 1 or near[0] < ptu
    assert len(near) == 2 or ptu < offered[0]


def test_a_need_that_is_a_size_is_not_rounded_up_by_the_last_digit():
    assert sizing.deployable(0.1 * 3 / 0.3 * 35, (15, 5)) == 35
    assert sizing.deployable(35 * (1 + 1e-12), (15, 5)) == 35
    assert sizing.deployable(35.001, (15, 5)) == 40


@given(raws, st.floats(0.1, 1), st.floats(0.5, 1), sizes)
def test_the_sizes_around_a_need_hold_the_formulas_answer_and_its_neighbours(peak, mean, headroom, offered):
    need = Need(mean=peak * mean, peak=peak, headroom=peak / headroom)
    found = sizing.around(need, offered)
    centre = sizing.deployable(need.headroom, offered)

    assert found == sorted(set(found))
    assert all(sizing.fits(size, offered) for size in found)
    assert len(found) <= sizing.MOST_SIZES
    assert {centre, sizing.deployable(centre + 1, offered)} <= set(found)
    assert found[0] <= sizing.deployable(need.mean, offered)


@given(st.integers(15, 500), sizes)
def test_sizes_above_and_between_can_be_deployed(ptu, offered):
    low = sizing.deployable(ptu, offered)
    above = sizing.above(low, offered, count=4)

    assert all(sizing.fits(size, offered) for size in above)
    assert above == sorted({*above})
    assert above[0] > low
    assert all(
        low < size < above[-1] and sizing.fits(size, offered) for size in sizing.between(low, above[-1], offered)
    )


def test_the_formula_tells_its_inputs_as_the_calculator_asks_for_them():
    told = estimate.formula(load([40, 60], cached=250), capacity("gpt-4.1", 1), headroom=0.9)

    assert (told["mean_rpm"], told["peak_rpm"]) == (50, 60)
    assert (told["prompt_tokens"], told["cached_share"], told["completion_tokens"]) == (1000, 0.25, 200)
    assert (told["raw_mean"], told["raw"]) == pytest.approx((50 * 1550 / 3000, 31))


def test_the_types_stand_side_by_side():
    told = estimate.types(Need(mean=20, peak=31, headroom=46), MODEL.sizes)

    assert {name: (row["ptu_mean"], row["ptu"], row["ptu_headroom"]) for name, row in told.items()} == {
        "global": (20, 35, 50),
        "datazone": (20, 35, 50),
        "regional": (50, 50, 50),
    }


def test_the_formula_answers_with_a_size_as_the_calculator_does():
    demand, one = load([1000, 900]), capacity("gpt-5.2", 1)
    told = estimate.formula(demand, one, headroom=0.9, sizes=(50, 50))

    assert (
        told["ptu"]
        == sizing.deployable(told["raw"], (50, 50))
        == estimate.types(sizing.need(demand, one, headroom=0.9), {"regional": (50, 50)})["regional"]["ptu"]
    )
    assert estimate.formula(demand, one, headroom=0.9)["ptu"] is None


def test_tokens_without_calls_have_no_mean_call():
    nothing = np.zeros(1)
    demand = sizing.Demand(calls=nothing, prompt=nothing + 6000, cached=nothing, completion=nothing, minutes=1)
    told = estimate.formula(demand, capacity("gpt-4.1", 1), headroom=0.9)

    assert (told["prompt_tokens"], told["completion_tokens"], told["raw"]) == (None, None, 2)


def test_three_cached_shares_are_compared():
    told = estimate.cached(
        load([100], cached=500), capacity("gpt-4.1", 1), {"global": (15, 5)}, headroom=1, measured=0.2
    )

    assert [(row["source"], row["share"], row["ptu"]["global"]) for row in told] == [
        ("none", 0.0, 60),
        ("workload", 0.5, 45),
        ("measured", 0.2, 55),
    ]


# --- money ------------------------------------------------------------------------------------------------------------


def test_a_month_of_ptus_costs_what_each_term_says():
    assert money.per_month(50, LIST.ptu["global"]) == {"hour": 36_500, "month": 13_000, "year": 11_050}


def test_tokens_cost_what_the_price_says_with_the_cached_share():
    paid = money.as_you_go(load([10, 0], cached=400), LIST.models["gpt-4.1"], 1.1)

    assert paid.tolist() == pytest.approx([1.1 * 10 * (600 * 2 + 400 * 0.5 + 200 * 8) / 1e6, 0])


def test_break_even_is_where_both_cost_the_same():
    hours = money.break_even(13_000, 26)

    assert hours * 26 == 13_000
    assert money.break_even(None, 26) is None
    assert money.break_even(13_000, 0) is None


@given(amounts, st.integers(0, 900), st.floats(10, 730))
def test_the_best_mix_is_never_dearer_than_ptus_for_all_or_for_none(calls, cached, hours):
    demand, one = load(calls, cached=cached), capacity("gpt-4.1", 1)
    paid = money.as_you_go(demand, LIST.models["gpt-4.1"], 1.0)
    largest = sizing.deployable(sizing.need(demand, one, headroom=1).peak, (15, 5))
    mix = money.best_mix(demand, paid, one, hours=hours, sizes=sizing.all_up_to(largest, (15, 5)), ptu_month=221)
    alone = float(paid.sum()) * hours * 60 / demand.minutes

    assert mix.total <= alone * (1 + 1e-9)
    assert mix.total <= largest * 221 * (1 + 1e-9)
    assert 0 <= mix.diverted <= 1


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.floats(0, 400), st.sampled_from([(15, 5), (25, 50)]))
def test_no_other_size_mixes_cheaper(calls, ptu_month, offered):
    demand, one = load([*calls, 1]), capacity("gpt-4.1", 1)
    paid = money.as_you_go(demand, LIST.models["gpt-4.1"], 1.0)
    sizes = sizing.all_up_to(sizing.need(demand, one, headroom=1).peak, offered)

    def best(of):
        return money.best_mix(demand, paid, one, hours=730, sizes=of, ptu_month=ptu_month)

    assert best(sizes).total == pytest.approx(min(best([ptu]).total for ptu in sizes))


def test_a_base_load_with_a_peak_is_cheapest_mixed():
    demand = load([66] * 9 + [600], cached=900)  # 20 PTU all the time, 180 for a tenth of it
    one = capacity("gpt-4.1", 1)
    paid = money.as_you_go(demand, LIST.models["gpt-4.1"], 1.0)
    mix = money.best_mix(demand, paid, one, hours=730, sizes=sizing.all_up_to(180, (15, 5)), ptu_month=221)

    assert mix.ptu == 20
    assert mix.diverted == pytest.approx((600 * 900 - 60_000) / (1194 * 900))


def test_half_a_minute_at_the_end_has_half_a_minutes_capacity():
    whole = load([100, 100])
    part = replace(load([100, 100, 50]), minutes=2.5, lasts=np.array([1, 1, 0.5]))
    one = capacity("gpt-4.1", 1)

    def best(demand):
        paid = money.as_you_go(demand, LIST.models["gpt-4.1"], 1.0)
        return money.best_mix(demand, paid, one, hours=730, sizes=[30], ptu_month=1)

    assert best(part).ptu == 30
    assert best(part).diverted == pytest.approx(best(whole).diverted)
    assert best(part).total == pytest.approx(best(whole).total)


def test_a_bill_without_hours_gives_no_verdict():
    told = bill.bill(case(hours=None), LIST, ptu=35, sizes=[15])

    assert told["month"] is None
    assert told["pay_as_you_go"]["per_hour"] == pytest.approx(50 * 60 * (1000 * 2 + 200 * 8) / 1e6)
    assert told["ptu"]["break_even_hours"]["year"] == pytest.approx(35 * 221 / 10.8)


def test_a_bill_with_hours_names_the_cheapest_way():
    told = bill.bill(case(hours=100), LIST, ptu=35, sizes=[15, 20, 25, 30])

    assert told["month"]["cheapest"] == {"plan": "pay_as_you_go", "term": None, "total": pytest.approx(1080)}


@pytest.mark.parametrize(
    ("table", "part", "why"),
    [
        (
            {"models": {}},
            "pay_as_you_go",
            "your prices of 2026-11-22 have no tokens of `gpt-4.1`; add it to the file of --prices",
        ),
        (
            {"models": {"gpt-4.1": Price(input=2.0, output=8.0, source="test")}},
            "pay_as_you_go",
            "your prices of 2026-11-22 have no price for cached tokens of `gpt-4.1`; add it to the file of --prices",
        ),
        ({"ptu": {}}, "ptu", "your prices of 2026-11-22 have no PTUs of type global; add it to the file of --prices"),
        (
            {"standard": {}},
            "pay_as_you_go",
            "your prices of 2026-11-22 have no Standard deployments of type global; add it to the file of --prices",
        ),
    ],
)
def test_what_has_no_price_is_null_and_says_why(table, part, why):
    fields = {"dated": LIST.dated, "ptu": LIST.ptu, "standard": LIST.standard, "models": LIST.models}
    told = bill.bill(case(hours=100, cached=100), Prices(**fields | table), ptu=35, sizes=[15])

    assert told[part]["why"] == why
    assert told["ptu"]["break_even_hours"] == dict.fromkeys(money.TERMS)
    assert told["month"]["cheapest"] is None


def case(*, hours, cached=0):
    """Fifty calls a minute."""
    demand = load([50, 50], cached=cached)
    return bill.Case(demand=demand, one=capacity("gpt-4.1", 1), model="gpt-4.1", type="global", hours=hours)


# --- prices -----------------------------------------------------------------------------------------------------------


def test_the_prices_that_ship_are_dated_and_cover_every_type():
    shipped = prices.shipped()

    assert (shipped.dated, shipped.currency) == (date(2026, 11, 22), "USD")
    assert set(shipped.ptu) == set(shipped.standard) == set(sizing.TYPES)
    assert all(None not in (row.hour, row.month, row.year) for row in shipped.ptu.values())


def test_a_table_of_ones_own_replaces_the_prices(tmp_path):
    own = written(tmp_path, "dated: 2026-12-01\ncurrency: EUR\nptu: {regional: {hour: 1.5, source: contract}}\n")

    assert own.currency == "EUR"
    assert own.ptu["regional"] == PtuPrice(hour=1.5, source="contract")
    assert own.of_model("gpt-4.1") is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("models: {}", "Object missing required field `dated`"),
        ("dated: yesterday", "Invalid RFC3339 encoded date - at `$.dated`"),
        ("dated: 2026-12-01\ncurrency: dollars", "Expected `str` matching regex '^[A-Za-z]{3}$' - at `$.currency`"),
        ("dated: 2026-12-01\nmodels: {m: {input: nan, output: 1, source: me}}", "Expected `float` >= 0.0"),
        ("dated: 2026-12-01\nmodels: {m: {input: -1, output: 1, source: me}}", "Expected `float` >= 0.0"),
        (
            "dated: 2026-12-01\nptu: {word: {hour: 1, source: me}}",
            "`word` is no deployment type; write global, datazone",
        ),
        ("dated: 2026-12-01\nprices: {}", "Object contains unknown field `prices`"),
        ("dated: [", "not YAML"),
        ("dated: *x", "an alias"),
        ("- 1", "Expected `object`, got `array`"),
    ],
)
def test_a_table_of_prices_that_is_none_is_one_sentence(text, fault, tmp_path):
    with pytest.raises(UsageError) as caught:
        written(tmp_path, text)

    assert str(caught.value).startswith(f"--prices {tmp_path / 'prices.yaml'}: ")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ptu: {regional: {hour: -1, source: me}}", "ptu.regional: Expected `float` >= 0.0 - at `$.hour`"),
        ("models: {gpt-5: {input: 1, source: me}}", "models.gpt-5: Object missing required field `output`"),
        ("ptu: {global: {hour: 1, hour: 2, source: me}}", "line 2: `hour` stands twice"),
    ],
)
def test_a_broken_price_is_named(text, place, tmp_path):
    with pytest.raises(UsageError) as caught:
        written(tmp_path, f"dated: 2026-12-01\n{text}\n")

    assert f": {place}; docs/" in str(caught.value)


@pytest.mark.parametrize("name", ["gpt-4.1", "GPT-4.1", "gpt-4.1-2025-04-14"])
def test_a_price_is_found_by_every_name_of_its_model(name, tmp_path):
    own = written(tmp_path, f"dated: 2026-12-01\nmodels: {{{name}: {{input: 1, output: 2, source: me}}}}\n")

    assert own.of_model("gpt-4.1") == own.of_model("gpt-4.1-2025-04-14") == Price(input=1, output=2, source="me")


def test_prices_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"can't be read \(No such file or directory\)"):
        prices.load(tmp_path / "none.yaml")


def written(folder: Path, text: str) -> Prices:
    """A table of prices, read."""
    path = folder / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    return prices.load(path)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_the_command_names_sku_capacity_and_version():
    assert deploy.create("gpt-4.1", MODEL, "datazone", 45) == (
        "az cognitiveservices account deployment create --name RESOURCE --resource-group GROUP --deployment-name NAME "
        "--model-name gpt-4.1 --model-version 2025-04-14 --model-format OpenAI --sku-name DataZoneProvisionedManaged "
        "--sku-capacity 45"
    )


def test_what_is_not_known_of_a_model_is_left_to_fill_in():
    llama = deploy.create("x", catalogue.find("Llama-3.3-70B"), "global", 100)

    assert "--model-version VERSION --model-format PUBLISHER" in llama
    assert "--model-name our-model --model-version VERSION --model-format PUBLISHER" in deploy.create(
        "our-model", None, "global", 100
    )


@pytest.mark.parametrize("name", ["a b;rm -rf", "$(id)", "x\x1b[31m", "-x", "é", ""])
def test_a_name_that_does_something_in_a_shell_is_left_to_fill_in(name):
    assert "--model-name MODEL --model-version VERSION" in deploy.create(name, None, "global", 100)
