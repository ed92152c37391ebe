"""`--html` of `size`, `capacity` and `compare`: the page of an answer, with its charts, beside what is printed."""

import json
import re

import pytest

import runs
from ptubench import capacity_run
from ptubench.capacity_run import CapacityOptions
from ptubench.commands import RunOptions
from ptubench.page import alias, answers, short_answers
from ptubench.page.charts.size import of_size
from ptubench.ptu import prices
from ptubench.search.folder import finish
from ptubench.size import answer as sizes
from ptubench.size.asked import SizeOptions, ask
from ptubench.target.model import TargetOptions
from ptubench.units import number_text
from running import called

pytest.importorskip("plotly")
pytest.importorskip("jinja2")

MONTH = {
    "hours": 100.0,
    "pay_as_you_go": 1000.0,
    "ptu": {},
    "mix": {},
    "cheapest": {"plan": "pay_as_you_go", "term": None, "total": 1000.0},
}
HOSTILE = '"><script>alert(1)</script>\u202e\x1b[31m{{7*7}}'


def charts(page):
    return re.findall(r'<div class="plot" id="([\w-]+)"', page)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    run = RunOptions(
        workload="chat",
        target=TargetOptions(simulate="gpt-4.1:50,depth=10"),
        overrides=("checks=[]",),
        results=tmp_path_factory.mktemp("search"),
    )
    ready = capacity_run.prepare(CapacityOptions(run=run, virtual=True, steps=4, within="8%"), {})
    return capacity_run.run(ready, say=str, watch=lambda _: None)


@pytest.fixture(scope="module")
def sized():
    return sizes.answer(
        ask(SizeOptions(workload="chat", model="gpt-4.1", simulation=False), {}, say=str), today=prices.shipped().dated
    )


def test_the_page_of_a_search_has_its_rate_its_curve_and_what_it_was_of(searched):
    page = answers.capacity(searched)

    assert charts(page) == ["capacity-capacity", "capacity-capacity-latency"]
    assert page.count("SIMULATED, on a virtual clock") >= 3
    assert "curve through all steps" in page


def test_the_curve_of_an_answer_reaches_the_limit_at_its_rate(searched):
    points = searched["fit"]["curve"]
    near = min(points, key=lambda point: abs(point["rate"] - searched["result"]["rpm"]))

    assert near["refused_ratio"] == pytest.approx(0.01, abs=0.005)
    assert near["low"] <= near["refused_ratio"] <= near["high"]
    assert [point["rate"] for point in points] == sorted(point["rate"] for point in points)


def test_a_search_that_found_nothing_has_a_page_too(searched):
    nothing = searched | {"result": None, "capacity": None, "fit": None, "curve": [], "steps": [], "why": None}
    page = answers.capacity(nothing | {"ended": "not_saturated"})

    assert charts(page) == []
    assert "none known" in page


def test_what_was_only_reckoned_has_no_badge(sized):
    page = answers.size(sized)

    assert charts(page) == ["size-size-busiest", "size-size-cost"]
    assert 'class="badge' not in page


def test_without_sizes_the_page_says_that_none_is_recommended(sized):
    page = answers.size(sized | {"sizes": [], "recommended": None, "az_command": None})

    assert charts(page) == []
    assert "of the sizes looked at" in page


def test_the_page_of_a_search_says_why_its_rate_is_not_the_highest_that_passed(searched):
    rate = searched["result"]["rpm"]
    steps = [step | {"passed": True, "rate": rate + 0.5} for step in searched["steps"] if step["kind"] == "rate"][:1]
    said = short_answers.of_capacity(searched | {"steps": [*searched["steps"], *steps]})

    assert any("chance decides whether a single step passes: " in sentence for sentence in said)
    assert f"The deployment of 50 PTU sustains {number_text(rate)} calls a minute" in said[0]


def test_the_page_of_a_search_tells_what_it_does_not_show_and_how_to_repeat_it(searched):
    page = answers.capacity(searched)

    assert "What this search does not show" in page
    assert "ptubench capacity chat.yaml" in page
    assert "--virtual" in page
    assert page.count("Made by ptubench") == 1


def test_the_page_of_a_size_tells_what_paying_for_tokens_costs_and_what_the_answer_stands_on(sized):
    hours = sized | {"money": sized["money"] | {"month": MONTH}}
    told, asked = short_answers.of_size(sized), short_answers.of_size(hours)
    (tile,) = [tile for tile in answers.size_tiles(hours) if tile.label.startswith("Pay-as-you-go")]

    assert told[0].startswith("This load needs 40 PTU Global")
    assert any("Paying for the tokens instead (pay-as-you-go) costs" in sentence for sentence in told)
    assert "The cheapest of all ways is pay-as-you-go: 1,000 USD a month." in asked
    assert (tile.value, tile.detail) == ("1,000", "for a month of 100 hours of this load: the cheapest way")
    cost = next(chart for chart in of_size(sized) if chart.name == "size-cost")
    assert "pay-as-you-go, all 730 h of a month" in [trace["name"] for trace in cost.figure["data"]]


def test_sizes_that_refuse_nothing_have_no_chart_of_zeros(sized):
    size = sized["sizes"][0]
    zero = size | {"metrics": {"refused": {"ratio": 0.0, "ci95": [0.0, 0.01]}}}
    simulated = sized | {"by": "simulation", "sizes": [zero], "depths": []}
    some = simulated | {"sizes": [zero | {"metrics": {"refused": {"ratio": 0.1, "ci95": [0.0, 0.2]}}}]}

    assert [chart.name for chart in of_size(simulated)] == ["size-busiest", "size-cost"]
    assert "None of these sizes refused a call" in of_size(simulated)[0].note
    assert "size-refused" in [chart.name for chart in of_size(some)]


def test_names_of_others_are_text_in_the_page_of_an_answer(searched):
    target = searched["target"] | {"deployment": HOSTILE}
    page = answers.capacity(
        searched | {"target": target, "notes": [HOSTILE], "workload": searched["workload"] | {"name": HOSTILE}}
    )

    assert len(re.findall(r"<script", page)) == len(re.findall(r"<script", answers.capacity(searched)))
    assert not {"\x1b", "\u202e"} & set(page)
    assert "{{7*7}}" in page


def test_under_other_names_no_answer_says_whose_it_is(searched, sized):
    said = "what is at contoso.openai.azure.com is in /srv/jdoe/x"
    target = searched["target"] | {
        "kind": "azure",
        "endpoint": "https://contoso.openai.azure.com",
        "url": "https://contoso.openai.azure.com/openai/v1/chat/completions",
        "deployment": "contoso-prod",
    }
    found = searched | {
        "target": target,
        "notes": ["contoso-prod was cut"],
        "fault": said,
        "folder": "results/jdoe/contoso",
    }
    reckoned = sized | {"caveats": [said], "warnings": [said]}
    pages = [answers.capacity(found, alias=True), answers.size(reckoned, alias=True)]

    assert [name for name in ("contoso", "jdoe") for page in pages if name in page] == []
    assert "deployment-1" in pages[0]
    assert "search-1" in pages[0]


def test_histories_and_runs_lose_their_names():
    found = alias.aliased_answer({"usage": {"source": "jdoe.csv"}, "calibration": {"file": "jdoe.jsonl"}})

    assert found["usage"]["source"] == "history-1"
    assert found["calibration"]["file"] == "run-1"


@pytest.mark.parametrize("command", [("compare", "a", "b"), ("size", "chat"), ("capacity", "chat"), ("report", "a")])
def test_other_names_are_for_a_page(capfd, command):
    code, _, err = called(capfd, *command, "--alias")

    assert code == 2
    assert "go" in err
    assert "with --html only" in err


def test_size_writes_the_page_beside_what_it_prints(capfd, tmp_path):
    file = tmp_path / "size.html"
    options = ("size", "chat", "--model", "gpt-4.1", "--no-simulation", "--html", file)
    code, out, _ = called(capfd, *options, "--json")

    assert code == 0
    assert json.loads(out)["recommended"] == 40
    assert charts(file.read_text()) == ["size-size-busiest", "size-size-cost"]


@pytest.fixture
def folder(searched, tmp_path):
    finish(tmp_path, searched)
    return tmp_path


def test_the_folder_of_a_search_is_shown_again(capfd, searched, folder):
    page = folder / "page.html"
    _, table, _ = called(capfd, "report", folder)
    _, document, _ = called(capfd, "report", folder, "--json")
    code, nothing, _ = called(capfd, "report", folder, "--html", page)

    assert "highest rate" in table
    assert json.loads(document) == json.loads(json.dumps(searched))
    assert (code, nothing) == (0, "")
    assert charts(page.read_text()) == charts(answers.capacity(searched))


@pytest.mark.parametrize(
    "case",
    [
        (None, (), "no run file, and no folder of a finished search either"),
        ("{", (), "can't be read"),
        ("[]", (), "can't be read"),
        ('{"schema_version": 99}', (), "the answer of another version of ptubench"),
        ('{"schema_version": 1}', (), "its answer was changed, and can't be read any more"),
        ('{"schema_version": 1}', ("--html", "x.html"), "its answer was changed, and can't be read any more"),
        ('{"schema_version": 1}', ("--format", "csv"), "goes with --html, --alias and --json only"),
        ('{"schema_version": 1}', ("--alias",), "--alias: goes with --html only"),
    ],
)
def test_a_folder_that_has_no_answer_is_one_sentence(monkeypatch, capfd, tmp_path, case):
    text, options, sentence = case
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "answer.json").write_text(text)
    code, _, err = called(capfd, "report", tmp_path, *options)

    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1


def test_compare_writes_the_page_of_both_runs(capfd, tmp_path):
    files = [
        runs.write(tmp_path / name, runs.head(run_id=name), *runs.steady(300, step=0.2), runs.end()) for name in "ab"
    ]
    page = tmp_path / "both.html"
    code, out, _ = called(capfd, "compare", *files, "--html", page)

    assert code == 0
    assert "B against A" in out
    assert "comparison-differences-b" in charts(page.read_text())


def test_no_page_is_promised_where_nothing_is_found(capfd, tmp_path):
    options = ("capacity", "chat", "--simulate", "gpt-4.1:50", "--dry-run", "--html", tmp_path / "x.html")
    code, _, err = called(capfd, *options)

    assert (code, err) == (2, "error: --html: nothing is found by --dry-run; leave one of them out\n")


@pytest.mark.parametrize("command", [("size", "chat"), ("capacity", "chat"), ("compare", "a", "b")])
def test_a_place_that_can_not_be_written_is_said_before_anything_is_done(capfd, tmp_path, command):
    code, _, err = called(capfd, *command, "--html", tmp_path)

    assert code == 2
    assert err.startswith(f"error: --html {tmp_path}: can't be written")
