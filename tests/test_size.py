"""`ptubench size`: what is asked, which size is recommended, what is said of it, and every way to ask wrongly."""

import csv
import io
import json
import unicodedata
from datetime import date
from pathlib import Path

import pytest

import runs
from goldens import golden, shown
from ptubench.errors import UsageError
from ptubench.ptu import sizing
from ptubench.report import size as report
from ptubench.report import size_csv, size_money
from ptubench.size.answer import answer
from ptubench.size.asked import SizeOptions, ask
from running import call

TODAY = date(2026, 11, 22)
CHAT = """
name: chat
prompt_tokens: 1000
completion_tokens: 200
load: {rate: 57/min, arrivals: constant}
duration: 3m
warmup: 1m
"""
"""57 calls of 1,800 normalized tokens a minute: 34.2 PTU of gpt-4.1, and 38 at most 90 % used."""
USAGE = "minute,requests,prompt_tokens,cached_tokens,completion_tokens\n"


@pytest.fixture
def asked(tmp_path):
    """Ask with a workload of that text, or whatever else is given; lines of progress are thrown away."""

    def call(text=CHAT, **options):
        if not {"usage", "from_monitor"} & options.keys():
            path = tmp_path / "load.yaml"
            path.write_text(text, encoding="utf-8")
            options = {"workload": str(path), **options}
        return ask(SizeOptions(**{"model": "gpt-4.1", **options}), {}, say=lambda _: None)

    return call


@pytest.fixture
def sized(asked):
    """The whole answer to the same."""

    def call(text=CHAT, *, today=TODAY, **options):
        return answer(asked(text, **options), today=today)

    return call


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """The answer for `CHAT` as it is, with 100 hours a month."""
    path = tmp_path_factory.mktemp("chat") / "load.yaml"
    path.write_text(CHAT, encoding="utf-8")
    options = SizeOptions(workload=str(path), model="gpt-4.1", hours_per_month=100)
    return answer(ask(options, {}, say=lambda _: None), today=TODAY)


@pytest.fixture
def usage(tmp_path):
    """A history: an hour of 60 calls a minute, then one minute of 300."""
    path = tmp_path / "usage.csv"
    rows = [f"2026-11-20T10:{minute:02},60,60000,0,12000\n" for minute in range(59)]
    path.write_text(USAGE + "".join(rows) + "2026-11-20T10:59,300,300000,0,60000\n", encoding="utf-8")
    return path


# --- the answer -------------------------------------------------------------------------------------------------------


def test_formula_and_simulation_agree_on_calls_that_come_evenly(chat):

    assert (chat["formula"]["raw"], chat["types"]["global"]["ptu"]) == (34.2, 35)
    assert chat["types"]["global"]["ptu_headroom"] == chat["recommended"] == 40
    assert chat["by"] == "simulation"
    assert [row["ptu"] for row in chat["sizes"] if row["passed"]] == [40, 45]
    assert all(
        row["metrics"]["utilization"]["simulated"]["mean"] == pytest.approx(min(34.2 / row["ptu"], 1), rel=0.15)
        for row in chat["sizes"]
    )


def test_the_formula_comes_to_a_size_of_the_type_that_is_looked_at(chat, sized):
    assert chat["formula"]["ptu"] == chat["types"]["global"]["ptu"] == 35
    assert sized(type="regional", simulation=False)["formula"]["ptu"] == 50


def test_the_other_types_get_the_recommended_size_or_the_next_that_they_have(chat):

    assert {name: row["recommended"] for name, row in chat["types"].items()} == {
        "global": 40,
        "datazone": 40,
        "regional": 50,
    }


def test_type_narrows_what_is_looked_at(sized):
    told = sized(type="regional")

    assert list(told["types"]) == ["regional"]
    assert told["recommended"] == 50
    assert "--sku-name ProvisionedManaged --sku-capacity 50" in told["az_command"]


@pytest.mark.parametrize(
    ("options", "raw"),
    [
        ({"ratio": 3}, 30.4),
        ({"tpm_per_ptu": 1500}, 68.4),
        ({"headroom": "50%"}, 34.2),
        ({"model": "gpt-4o-mini"}, 57 * 1.8 / 37),
    ],
)
def test_what_is_typed_replaces_the_table(options, raw, sized):
    told = sized(simulation=False, **options)

    assert told["formula"]["raw"] == pytest.approx(raw)
    assert told["formula"]["raw_headroom"] == pytest.approx(raw / (0.5 if "headroom" in options else 0.9))


def test_without_a_simulation_the_formula_recommends(sized):
    told = sized(simulation=False)

    assert (told["by"], told["recommended"], told["depends_on_depth"]) == ("formula", 40, None)
    assert all(row["metrics"] == {} for row in told["sizes"])


def test_a_reserved_limit_that_is_not_used_asks_for_more_than_the_formula_where_the_bucket_is_shallow(sized):
    reserved = CHAT + "output_limit: 8000\n"
    told = sized(reserved, headroom="100%", assume=("depth=10s",))

    assert told["types"]["global"]["ptu_headroom"] == 35
    assert told["recommended"] > 35
    assert sizing.fits(told["recommended"], (15, 5))
    assert told["depends_on_depth"]
    assert told["recommended"] == max(told["by_depth"].values())


def test_the_workloads_own_rules_take_the_place_of_the_defaults(sized):
    told = sized(CHAT + "checks: [utilization.simulated.peak_minute <= 200%, refused.ratio <= 40%, ttft.p95 <= 1s]\n")

    assert told["recommended"] == 20
    assert [(size["ptu"], size["passed"]) for size in told["sizes"]] == [(15, False), (20, True), (25, True)]
    assert told["rules"] == [
        {
            "rule": "ttft.p95 <= 1s",
            "limit": 1.0,
            "measured": None,
            "ci95": None,
            "passed": None,
            "why": "not judged (simulated)",
        }
    ]


def test_the_formula_alone_judges_by_the_workloads_own_utilization(sized):
    told = sized(
        CHAT + "checks: [utilization.simulated.peak_minute <= 60%, refused.ratio <= 5%, ttft.p95 <= 1s]\n",
        simulation=False,
    )

    assert (told["recommended"], told["formula"]["headroom"]) == (60, 0.6)
    assert [size["ptu"] for size in told["sizes"]] == [30, 35, 40, 45, 50, 55, 60, 65]
    assert {row["rule"]: row["why"] for row in told["rules"]} == {
        "ttft.p95 <= 1s": "not judged (formula alone)",
        "refused.ratio <= 5%": "not judged (formula alone)",
    }


def test_a_measured_run_judges_latencies_and_gives_the_cached_share(sized, tmp_path):
    run = runs.write(
        tmp_path / "run.jsonl", runs.head(), *runs.steady(100, step=0.5, cached_tokens=40, ttft=0.2), runs.end()
    )
    told = sized(CHAT + "checks: [ttft.p50 <= 1s]\n", measured=run, simulation=False)

    assert [(row["source"], row["share"]) for row in told["cached"]] == [
        ("none", 0),
        ("workload", 0),
        ("measured", pytest.approx(0.4)),
    ]
    assert told["cached"][2]["raw_headroom"] == pytest.approx(57 * 1400 / 3000 / 0.9)
    assert [(row["passed"], row["measured"]) for row in told["rules"]] == [(True, pytest.approx(0.2))]


def test_calls_that_no_ptu_deployment_takes_are_left_out_and_said(sized):
    told = sized(CHAT.replace("1000", "{min: 100, max: 256000}"), simulation=False)

    assert told["formula"]["prompt_tokens"] < 128_000
    assert "prompts are over 128,000 tokens: a PTU deployment of gpt-4.1 answers them with 400" in told["notes"][0]


def test_hours_or_tokens_a_month_give_a_verdict(sized):
    hours, tokens = sized(simulation=False, hours_per_month=100), sized(simulation=False, tokens_per_month="410.4M")

    assert hours["money"]["month"] == tokens["money"]["month"]
    assert hours["money"]["month"]["cheapest"]["plan"] == "pay_as_you_go"
    assert sized(simulation=False)["money"]["month"] is None


def test_a_model_that_the_catalogue_does_not_know_is_described_by_hand(sized):
    own = {"model": "ours", "ratio": 4.0, "tpm_per_ptu": 3000.0}
    told = sized(sizes="30,37,44", assume=("tps=80",), **own)

    assert told["recommended"] == 44
    assert told["types"] == {}
    assert told["money"]["pay_as_you_go"]["why"].endswith("have no tokens of `ours`; give --prices FILE")
    assert sized(**own, simulation=False)["recommended"] is None


def test_the_model_of_the_simulated_target_is_taken_with_what_it_assumes(asked):
    found = asked(CHAT + "target: {simulate: 'gpt-4o:50,depth=2s,seed=7'}\n", model=None, assume=("latency=1s",))

    assert found.model == "gpt-4o"
    assert (found.assumed.depth, found.assumed.seed, found.assumed.latency) == (2, 7, 1)


def test_a_load_in_utilization_is_that_of_the_deployment_it_was_written_for(asked):
    relative = CHAT.replace("rate: 57/min", "utilization: 60%")
    found = asked(relative + "target: {model: gpt-4.1, ptu: 100}\n")

    assert found.load.demand.normalized(found.one).sum() / 3 == pytest.approx(0.6 * 300_000, rel=0.02)


# --- from usage -------------------------------------------------------------------------------------------------------


def test_a_usage_history_is_sized_by_its_busiest_minute(sized, usage):
    told = sized(usage=usage)

    assert (told["by"], told["formula"]["raw"], told["recommended"]) == ("history", 180, 200)
    assert told["usage"]["need"]["max"] == 180
    assert told["workload"] is None
    assert told["rules"] == []


def test_a_usage_history_is_a_month_as_it_was(sized, usage):
    told = sized(usage=usage)
    month = told["money"]["month"]

    assert month["hours"] == 730
    assert month["pay_as_you_go"] == pytest.approx(730 * (3.84e6 * 2 + 0.768e6 * 8) / 1e6)


def test_a_short_history_is_said_to_be_one(sized, usage):
    assert sized(usage=usage)["notes"] == [
        "The history is 1h long, and a month is reckoned as if it went on like that: a week or two know nights and weekends."
    ]


def test_where_more_is_allowed_a_smaller_size_is_recommended(sized, usage):
    assert sized(usage=usage, headroom="100%")["recommended"] == 180


# --- asked wrongly ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"model": "gpt-41"}, "--model: `gpt-41` is not in the catalogue of 2026-09-23; did you mean `gpt-4.1` or"),
        ({"model": "gpt-4"}, "--model: what PTUs of `gpt-4` take is not proportional to tokens (models before gpt-4o)"),
        ({"model": "gpt-35-turbo"}, "models before gpt-4o"),
        ({"model": None}, "no model: name it with --model"),
        (
            {"sizes": "47"},
            "--sizes: 47 PTU of gpt-4.1 can't be deployed as global: from 15 in steps of 5; write 45 or 50",
        ),
        ({"sizes": "10"}, "write 15"),
        ({"sizes": "60", "type": "regional"}, "from 50 in steps of 50; write 50 or 100"),
        ({"sizes": "many"}, "--sizes: `many` is no list of sizes in PTU"),
        ({"type": "standard"}, "--type: `standard` is not bought in PTU; write global, datazone, regional"),
        ({"model": "Llama-3.3-70B", "type": "regional"}, "--type regional: Llama-3.3-70B is not offered there"),
        ({"headroom": "0%"}, "--headroom: 0% is no share of a deployment"),
        ({"headroom": "0.0001%"}, "write one from 1% to 100%"),
        ({"headroom": "much"}, "--headroom: `much` is not a share"),
        ({"ratio": 0.0}, "--ratio: must be above 0, not 0"),
        ({"assume": ("dept=3s",)}, "--assume: unknown key `dept`; did you mean `depth`?"),
        ({"assume": ("ptu=3",)}, "--assume: `ptu=3` is no KEY=VALUE of a simulated deployment"),
        ({"assume": ("depth=3s",), "simulation": False}, "--assume and --no-simulation"),
        ({"model": "ours", "ratio": 4.0, "tpm_per_ptu": 3000.0}, "give --assume tps=50"),
        ({"hours_per_month": 800.0}, "--hours-per-month: write more than 0 and at most the 730 hours of a month"),
        ({"hours_per_month": 1.0, "tokens_per_month": "1M"}, "say the same twice; keep one"),
        ({"tokens_per_month": "9999M"}, "--tokens-per-month: at 4,104,000 tokens an hour this load makes"),
        ({"tokens_per_month": "some"}, "--tokens-per-month: `some` is not a whole number"),
        ({"last": "3d"}, "--last: goes with --from-monitor only"),
    ],
)
def test_what_is_wrong_is_one_sentence(options, fault, asked):
    with pytest.raises(UsageError) as caught:
        asked(**options)

    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            CHAT.replace("rate: 57/min, arrivals: constant", "concurrency: 5"),
            "a closed loop sends as fast as it is answered",
        ),
        (CHAT.replace("rate: 57/min", "utilization: 60%"), "load.utilization is relative to a size"),
        (CHAT.replace("1000", "200000"), "every prompt is over the 128,000 tokens"),
        (CHAT.replace("3m", "59s").replace("1m", "5s"), "the load lasts 59s, which is no whole minute"),
    ],
)
def test_a_workload_that_has_no_size_is_one_sentence(text, fault, sized):
    with pytest.raises(UsageError) as caught:
        sized(text)

    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (SizeOptions(), "nothing to size: name one of a workload, --usage FILE or --from-monitor RESOURCE_ID"),
        (SizeOptions(workload="chat", usage=Path("u.csv")), "WORKLOAD and --usage are given"),
        (SizeOptions(usage=Path("u.csv"), rate="1/s"), "--rate: goes with a workload only"),
        (SizeOptions(from_monitor="/x"), "--from-monitor: which deployment of the resource?"),
        (SizeOptions(from_monitor="/x", deployment="d", cloud="mars"), "--cloud: `mars` is not one of"),
        (SizeOptions(from_monitor="/x", deployment="d"), "--from-monitor: `/x` is not the resource ID of an account"),
    ],
)
def test_there_is_one_thing_to_size(options, fault):
    with pytest.raises(UsageError) as caught:
        ask(options, {}, say=lambda _: None)

    assert fault in str(caught.value)


def test_a_need_beyond_all_deployments_is_one_sentence(sized):
    with pytest.raises(UsageError, match=r"gpt-4\.1: this load needs 1\.14e\+15 PTU, more than any deployment has"):
        sized(tpm_per_ptu=1e-10, simulation=False)


def test_a_history_takes_no_option_that_it_has_no_use_for(asked, usage):
    with pytest.raises(UsageError, match="--assume: `latency=3` tells nothing of a usage history"):
        asked(usage=usage, assume=("depth=30s", "latency=3"))


@pytest.mark.parametrize("sizes", [None, "40,50"])
def test_the_history_of_a_model_of_ones_own_goes_through_the_depth_that_was_typed(sizes, sized, usage):
    told = sized(usage=usage, model="ours", ratio=4.0, tpm_per_ptu=3000.0, sizes=sizes, assume=("depth=7s",))

    assert told["usage"]["depth_s"] == 7
    assert [size["ptu"] for size in told["sizes"]] == ([] if sizes is None else [40, 50])
    assert "PTU needed per minute" in shown(report.render(told))


def test_a_history_with_one_extreme_minute_shows_the_sizes_that_serve_the_others(sized, tmp_path):
    calls = [100] * 90 + [200] * 9 + [300] * 100 + [200_000]  # of 600 tokens, 0.2 PTU
    path = tmp_path / "spike.csv"
    lines = [
        f"2026-11-01T{minute // 60:02}:{minute % 60:02}Z,{n},{200 * n},0,{100 * n}\n" for minute, n in enumerate(calls)
    ]
    path.write_text(USAGE + "".join(lines))
    told = sized(usage=path)
    money = shown(size_money.money(told))

    assert {60, 40_000} < {size["ptu"] for size in told["sizes"]}
    assert told["recommended"] == 44_445
    assert "cheapest" in money
    assert "…" not in money


def test_a_history_says_itself_how_much_there_is_in_a_month(asked, usage):
    with pytest.raises(UsageError, match="--hours-per-month: the history says itself"):
        asked(usage=usage, hours_per_month=10.0)


def test_a_run_that_told_no_tokens_teaches_nothing(asked, tmp_path):
    run = runs.write(tmp_path / "run.jsonl", runs.head(), runs.throttled(0, 20.0), runs.end())

    with pytest.raises(UsageError, match="no answer in its window told its tokens"):
        asked(measured=run)


def test_tables_older_than_90_days_are_said(sized):
    day = date(2026, 12, 23)

    assert sized(simulation=False, today=date(2026, 12, 22))["warnings"] == []
    assert sized(simulation=False, today=day)["warnings"] == [
        (
            "the catalogue (Azure AI documentation, how-to-provisioned-throughput-sizing) is of 2026-09-23, 91 days old: "
            "check it against today's, and override what has changed"
        )
    ]


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_the_answer_looks_as_reviewed(chat):
    view = shown(report.render(chat))

    assert view == golden("size-80", view)
    assert max(map(len, view.splitlines())) <= 80


def test_the_answer_of_a_history_looks_as_reviewed(sized, usage, monkeypatch):
    monkeypatch.chdir(usage.parent)
    view = shown(report.render(sized(usage=Path(usage.name))))

    assert view == golden("size-usage-80", view)
    assert max(map(len, view.splitlines())) <= 80


def test_the_command_of_the_table_is_that_of_the_json_on_several_lines(sized):
    told = sized(simulation=False)
    view = shown(report.render(told))

    assert told["az_command"] in view.replace(" \\\n ", "")
    assert told["quota_command"] in view.replace(" \\\n ", "")


def test_strings_of_others_are_inert(sized):
    hostile = "\x1b[2J[red]\u202ex"
    told = sized(model=hostile, ratio=4.0, tpm_per_ptu=3000.0, sizes="40", simulation=False)
    told["model"]["name"] = told["money"]["pay_as_you_go"]["source"] = told["notes"][0] = hostile
    view = shown(report.render(told))

    assert [c for c in view if c != "\n" and unicodedata.category(c).startswith("C")] == []


def test_csv_has_a_line_for_each_size(chat):
    rows = list(csv.DictReader(io.StringIO(size_csv.render(chat))))

    assert [int(row["ptu"]) for row in rows] == [size["ptu"] for size in chat["sizes"]]
    assert [row["ptu"] for row in rows if row["recommended"] == "true"] == ["40"]
    assert [float(row["cost_per_month_1_year_reservation"]) for row in rows] == [
        size["ptu"] * 221 for size in chat["sizes"]
    ]


def test_the_command_prints_one_json_document(tmp_path, capsysbinary):
    (tmp_path / "load.yaml").write_text(CHAT, encoding="utf-8")
    code = call("size", tmp_path / "load.yaml", "--model", "gpt-4.1", "--json")

    told = json.loads(capsysbinary.readouterr().out)
    assert code == 0
    assert told["schema_version"] == 1
    assert {"formula", "types", "assumptions", "sizes", "recommended", "az_command"} <= told.keys()
