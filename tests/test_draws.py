"""Made-up arrivals: many draws, one of which is gone by; and what else a new user of `ptubench size` stumbled over."""

from datetime import date

import msgspec
import pytest

import runs
from goldens import shown
from ptubench.distributions import mean
from ptubench.errors import UsageError
from ptubench.load import demand
from ptubench.load.plan import make_plan
from ptubench.ptu.capacity import capacity
from ptubench.report import size as report
from ptubench.report import size_money
from ptubench.size.answer import answer
from ptubench.size.asked import SizeOptions, ask
from ptubench.size.draws import draws
from ptubench.workload.model import Lognormal
from ptubench.workload.read import read
from trials import workload

ONE = capacity("gpt-4.1", 1)
CHAT = """
name: chat
prompt_tokens: 1000
completion_tokens: 200
load: {rate: 45/min}
duration: 10m
warmup: 5m
"""
EVEN = CHAT.replace("45/min}", "75/min, arrivals: constant}").replace("10m", "3m").replace("5m", "1m")
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2026-03-02 09:{second // 60:02}:{second % 60:02}.0000000,1000,200\n"
    for second in sorted((*range(180), *[150] * 60))
)
TRACED = "name: trace\nload: {trace: {file: trace.csv, format: azure}}\nwarmup: 2m\n"
USAGE = "minute,requests,prompt_tokens,cached_tokens,completion_tokens\n"


@pytest.fixture
def sized(tmp_path):
    """The answer for a workload of that text, with a trace beside it."""
    (tmp_path / "trace.csv").write_text(TRACE, encoding="utf-8")

    def call(text=CHAT, **options):
        path = tmp_path / "load.yaml"
        path.write_text(text, encoding="utf-8")
        options = {"workload": str(path), "model": "gpt-4.1", **options}
        return answer(ask(SizeOptions(**options), {}, say=lambda _: None), today=date(2026, 11, 22))

    return call


def peak(load, seed):
    """The busiest minute of one draw."""
    plan = make_plan(msgspec.structs.replace(load, seed=seed))
    return float(demand.minutes(plan)[0].peak.normalized(ONE).max())


# --- draws ------------------------------------------------------------------------------------------------------------


def test_the_draw_to_go_by_is_one_that_nine_of_ten_do_not_exceed():
    load = workload()
    found = draws(load, ONE)

    assert found.tpm == tuple(peak(load, seed) for seed in found.seeds)
    assert found.held >= 0.9 * len(found.seeds)
    assert sum(tpm < peak(load, found.seed) for tpm in found.tpm) < 0.9 * len(found.seeds)


def test_all_draws_together_last_as_long_as_their_minutes():
    load = workload(duration="150s", warmup="30s")

    assert demand.minutes(make_plan(load))[0].lasts.tolist() == [1, 1, 0.5]
    joined = draws(load, ONE).demand
    assert len(joined.lasts) == len(joined.calls)
    assert joined.lasts.sum() == pytest.approx(joined.minutes)


def test_draws_begin_with_the_workloads_own_seed():
    assert draws(workload(seed=7), ONE).seeds[:2] == (7, 8)
    assert draws(workload(seed=7), ONE).tpm[0] == peak(workload(), 7)


@pytest.mark.parametrize(("rate", "count"), [("45/min", 100), ("4000/min", 50), ("20000/min", 20)])
def test_a_load_of_many_calls_is_drawn_less_often(rate, count):
    assert len(draws(workload(load={"rate": rate}), ONE).seeds) == count


def test_calls_that_come_evenly_with_one_size_are_not_drawn():
    assert draws(workload(load={"rate": "45/min", "arrivals": "constant"}), ONE) is None


@pytest.mark.parametrize(("before", "said"), [("150s", True), ("120s", False)])
def test_a_peak_that_two_minutes_share_is_said(sized, before, said):
    stages = f"[{{rate: 12/min, for: {before}}}, {{rate: 120/min, for: 60s}}, {{rate: 12/min, for: 2m}}]"
    text = f"name: peak\nprompt_tokens: 1000\ncompletion_tokens: 200\nload: {{stages: {stages}, arrivals: constant}}\n"

    found = sized(text, simulation=False)

    assert any("across two" in note for note in found["notes"]) is said


def test_sizes_with_a_spread_are_drawn_though_calls_come_evenly():
    spread = workload(load={"rate": "45/min", "arrivals": "constant"}, prompt_tokens={"mean": 1000, "p95": 3000})

    assert draws(spread, ONE) is not None


@pytest.mark.parametrize("seed", [0, 3, 7, 40])
def test_the_luck_of_a_seed_moves_the_answer_by_no_more_than_a_size(sized, seed):
    assert sized(seed=seed, simulation=False)["recommended"] in (40, 45)


def test_the_mean_is_that_of_the_rate_and_the_busiest_minute_that_of_the_draw(sized):
    told = sized(simulation=False)
    drawn = told["formula"]["draws"]

    assert (told["formula"]["mean_rpm"], told["formula"]["tpm_mean"]) == pytest.approx((45, 81_000))
    assert drawn["peak_rpm"][0] <= told["formula"]["peak_rpm"] < drawn["peak_rpm"][1]
    assert drawn["ptu_headroom"]["global"] == [35, 45]
    assert drawn["held"] >= 90
    assert told["money"]["pay_as_you_go"]["per_hour"] == pytest.approx(45 * 60 * (1000 * 2 + 200 * 8) / 1e6)


def test_mean_cached_share_and_price_are_over_all_draws_and_not_of_the_busy_one(sized):
    text = CHAT.replace("prompt_tokens: 1000", "prompt_tokens: {mean: 4000, p95: 9000}\ncached: {tokens: 2048}")
    told = sized(text, simulation=False)
    formula = told["formula"]
    prompt = mean(Lognormal(mean=4000, p95=9000), least=2048 + 32)
    like = workload(prompt_tokens={"mean": 4000, "p95": 9000}, cached={"tokens": 2048})

    assert formula["prompt_tokens"] == pytest.approx(prompt, rel=0.01)
    assert formula["cached_share"] == pytest.approx(2048 / prompt, rel=0.01)
    assert formula["tpm_mean"] == pytest.approx(45 * (prompt - 2048 + 4 * 200), rel=0.01)
    assert told["cached"][1]["share"] == formula["cached_share"]
    assert formula["tpm_peak"] == pytest.approx(peak(like, formula["draws"]["seed"]))
    assert told["money"]["pay_as_you_go"]["per_hour"] == pytest.approx(
        45 * 60 * ((prompt - 2048) * 2 + 2048 * 0.5 + 200 * 8) / 1e6, rel=0.01
    )


def test_where_the_formula_says_another_size_the_report_says_which_decides(sized):
    told = sized(f"{CHAT}checks: [utilization.simulated.peak_minute <= 70%]\n")
    said = told["types"]["global"]["ptu_headroom"]
    other = told | {"types": {"global": told["types"]["global"] | {"ptu_headroom": told["recommended"] + 5}}}

    assert {told["recommended"], said} <= {size["ptu"] for size in told["sizes"]}
    assert f"the simulation decides: {told['recommended']} PTU, where the formula says" in shown(
        report.render(other), width=400
    )
    assert ("the simulation decides" in shown(report.render(told), width=400)) == (told["recommended"] != said)


def test_refusals_that_depend_on_the_depth_are_said_where_headroom_decides(sized, tmp_path):
    busy = "".join(
        f"2026-11-20T10:{minute:02},{calls},{calls}000,0,{calls}00\n" for minute, calls in enumerate((60, 160, 60))
    )
    (tmp_path / "usage.csv").write_text(USAGE + busy, encoding="utf-8")
    told = sized(workload=None, usage=tmp_path / "usage.csv")
    view = shown(report.render(told), width=400)

    assert told["depends_on_depth"] is False
    assert "; the headroom of the busiest minute decides, and what is refused does depend on the depth: 0 % to " in view
    assert view.count("too small") == sum(not size["passed"] for size in told["sizes"])


def test_a_headroom_without_its_percent_sign_is_understood_in_the_message(sized):
    with pytest.raises(UsageError, match="did you mean `90%`"):
        sized(headroom="90")


def test_a_usage_file_that_is_not_there_is_not_called_a_trace(sized, tmp_path):
    with pytest.raises(UsageError, match="the usage file can't be read"):
        sized(workload=None, usage=tmp_path / "none.csv")


def test_the_spread_stands_beside_the_answer(sized):
    view = shown(report.render(sized(simulation=False)), width=400)

    assert "drawn: over 100 draws of this load (seeds 0 to 99) the busiest minute has 47 to 64 calls" in view
    assert "asks for 35 to 45 PTU Global; above is the draw of seed" in view


def test_a_trace_and_a_history_are_not_drawn(sized, tmp_path):
    (tmp_path / "usage.csv").write_text(USAGE + "2026-11-20T10:00,60,60000,0,12000\n", encoding="utf-8")
    traced, recorded = sized(TRACED, simulation=False), sized(workload=None, usage=tmp_path / "usage.csv")

    assert traced["formula"]["draws"] is recorded["formula"]["draws"] is None
    assert not [line for line in (*traced["caveats"], *recorded["caveats"]) if "size for your real trace" in line]


# --- the whole load counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", ["2m", "auto", "until_429"])
def test_the_whole_load_is_simulated_whatever_the_warm_up(sized, warmup):
    told = sized(TRACED.replace("2m", warmup), sizes="60")
    size = told["sizes"][-1]["metrics"]

    assert size["requests"]["total"] == 240
    assert size["tpm"]["normalized"] <= told["formula"]["tpm_mean"] * 1.0001


def test_calls_that_fill_a_size_to_the_headroom_by_the_formula_fit_it_in_the_simulation(sized):
    told = sized(EVEN)
    busiest = next(
        row for row in next(size for size in told["sizes"] if size["ptu"] == 50)["checks"] if "peak" in row["rule"]
    )

    assert told["formula"]["raw_headroom"] == pytest.approx(50)
    assert told["recommended"] == 50
    assert busiest["limit"] == 0.9 < busiest["measured"] < 0.9 + busiest["tolerance"]
    assert sized(EVEN, simulation=False)["recommended"] == 50


# --- what is said -----------------------------------------------------------------------------------------------------


def test_by_what_a_size_is_enough_is_said_and_where_a_little_more_passed(sized):
    found = sized(EVEN, sizes="45,50,55")
    said = " ".join(shown(report.render(found)).split())

    assert "enough: refused <= 1%, busiest <= 90%" in said
    over = [row["measured"] > row["limit"] for size in found["sizes"] for row in size["checks"] if row["passed"]]
    assert ("0.2 points more pass" in said) is any(over)


def test_what_is_inside_the_latency_is_not_said_to_be_assumed(sized, tmp_path):
    run = runs.write(tmp_path / "run.jsonl", runs.head(), *runs.steady(100, step=0.5, ttft=0.2), runs.end())
    told = sized(EVEN, measured=run)

    assert "prefill" not in told["assumptions"]["simulated"]
    assert told["assumptions"]["sources"]["prefill"] == "not separable from the base latency, left out"
    assert "not separable from the base latency, left out: prefill" in shown(report.render(told))


def test_a_mixed_plan_that_does_not_pay_is_said(sized):
    few = shown(size_money.money(sized(EVEN, simulation=False, hours_per_month=100)))
    many = shown(size_money.money(sized(EVEN, simulation=False, hours_per_month=730)))

    assert "mixed: no number of PTUs pays\n" in few
    assert "mixed, by the hour: no number of PTUs pays\n" in many
    assert "mixed, 1-year reservation: nothing to divert, 45 PTU take every minute in full\n" in many


def test_refused_is_null_where_the_workloads_rules_say_otherwise(sized):
    assert sized(CHAT, simulation=False)["assumptions"]["refused"] == 0.01
    assert sized(CHAT + "checks: [refused.ratio <= 5%]\n", simulation=False)["assumptions"]["refused"] == 0.05
    assert sized(CHAT + "checks: [refused.count <= 5]\n", simulation=False)["assumptions"]["refused"] is None


def test_prices_of_ones_own_are_not_called_list_prices(sized, tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("dated: 2026-11-22\nptu: {global: {hour: 1, source: ours}}\n", encoding="utf-8")
    own, shipped = sized(simulation=False, prices=path), sized(simulation=False)

    assert (own["money"]["prices"], shipped["money"]["prices"]) == ("your prices", "list prices")
    assert "list price" not in shown(size_money.money(own)).lower()
    assert own["money"]["pay_as_you_go"]["why"].startswith("your prices of 2026-11-22 have no tokens of `gpt-4.1`")


def test_billions_of_tokens_a_month_can_be_written(sized):
    billions, millions = (sized(simulation=False, tokens_per_month=text)["money"]["month"] for text in ("0.3B", "300M"))

    assert billions == millions


def test_divert_needs_no_second_target_where_nothing_is_sent(sized):
    told = sized(EVEN, on_429="divert")

    assert told["assumptions"]["divert_to"]["type"] == "standard"
    assert "diverted to, assumed: gpt-4.1 standard, 1,000,000,000 tokens/min" in shown(report.render(told))
    with pytest.raises(UsageError, match="`on_429: divert` needs `divert_to`"):
        read("chat", options={"on_429": "divert"})


def test_saving_a_history_goes_with_fetching_one(sized, tmp_path):
    there = tmp_path / "there.csv"
    there.touch()
    monitored = {"workload": None, "from_monitor": "/x", "deployment": "d"}

    with pytest.raises(UsageError, match="--save-usage: goes with --from-monitor only"):
        sized(save_usage=tmp_path / "new.csv")
    with pytest.raises(UsageError, match=r"--save-usage: .*there\.csv is there already; name another file"):
        sized(**monitored, save_usage=there)
