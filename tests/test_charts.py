"""Charts: figures that plotly takes, numbers that are the summary's, and nothing that was measured left out in silence."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runs
from ptubench.analysis.gather import Gathering
from ptubench.analysis.summary import summary_of
from ptubench.compare.runs import compare_runs
from ptubench.page.charts import parts
from ptubench.page.charts.capacity import of_capacity
from ptubench.page.charts.run import of_run
from ptubench.page.charts.runs import of_runs
from ptubench.page.charts.size import of_size
from ptubench.page.charts.thin import MOST, extremes
from ptubench.ptu import prices
from ptubench.record import Monitor, Series
from ptubench.search.curve import Saturated, Seen, band, fit, refused
from ptubench.size import answer as sizes
from ptubench.size.asked import SizeOptions, ask
from ptubench.virtual.run import gathered as played
from trials import trial

HOSTILE = "<b>x</b>\u202e\x1b[31m&amp;%{y} ::error::"
START = round(runs.STARTED.timestamp())


def gathered(*lines, end=True, **of_head):
    found = Gathering(runs.head(**of_head))
    for line in (*lines, *([runs.end()] if end else [])):
        found.add(line)
    return found.run()


def charts(run):
    return {chart.name: chart for chart in of_run(run, summary_of(run))}


def trace(chart, name):
    return next(trace for trace in chart.figure["data"] if trace["name"] == name)


def points(trace):
    return max(len(trace["x"]), len(trace["y"]))


def assert_sound(found):
    """What holds of every chart."""
    figures = pytest.importorskip("plotly.graph_objects")
    names = [chart.name for chart in found]
    assert len(set(names)) == len(names)
    for chart in found:
        figures.Figure(chart.figure)  # raises for what plotly does not know
        json.dumps(chart.figure, allow_nan=False)
        json.dumps(chart.rows, allow_nan=False)
        assert re.fullmatch(r"[a-z0-9-]+", chart.name)
        assert chart.description.endswith(".")
        assert chart.rows
        assert len(chart.rows) <= parts.MOST_ROWS
        assert {len(row) for row in chart.rows} == {len(chart.header)}
        for trace in chart.figure["data"]:
            assert len(trace["x"]) == len(trace["y"]) <= MOST


MONITORED = Monitor(
    of="run",
    asked_unix=START + 900,
    id="/x",
    deployment="d",
    span=(START, START + 180),
    series=(Series(metric="AzureOpenAIProvisionedManagedUtilizationV2", average={START + 60: 87.0}),),
)
RUNS = {
    "mixed": lambda: gathered(
        *runs.steady(400, step=0.1),
        *(runs.throttled(1000 + k, 12 + k / 3) for k in range(40)),
        *(runs.failed(2000 + k, 20 + k) for k in range(7)),
        *(runs.cut(3000 + k, 60 + k) for k in range(3)),
        *(runs.dropped(6000 + k, 50 + k / 10) for k in range(11)),
    ),
    "without 429s": lambda: gathered(*runs.steady(200)),
    "only 429s": lambda: gathered(*(runs.throttled(k, 10.0 + k / 4) for k in range(100))),
    "only failures": lambda: gathered(*(runs.failed(k, 10.0 + k / 4) for k in range(100))),
    "one request": lambda: gathered(runs.ok(0, 12.0)),
    "one request in the warm-up": lambda: gathered(runs.ok(0, 2.0)),
    "killed": lambda: gathered(*runs.steady(100), end=False),
    "without tokens": lambda: gathered(*runs.steady(100, prompt_tokens=None, completion_tokens=None)),
    "without a known model": lambda: gathered(*runs.steady(100), target={"kind": "openai"}),
    "not streaming": lambda: gathered(
        *runs.steady(100, streamed=False, first_content=None, first_output=None, last_content=None), stream=False
    ),
    "answered at once": lambda: gathered(*runs.steady(100, ttft=0.0, e2e=0.0)),
    "reasoning": lambda: gathered(
        *(runs.ok(k, 10 + k / 4, first_output=11 + k / 4, reasoning_tokens=9) for k in range(99))
    ),
    "with Azure's figures": lambda: gathered(
        *runs.steady(300, step=0.5),
        runs.end(load_end=180.0, finished=182.0),
        MONITORED,
        end=False,
        duration=180,
        window=(0.0, 180.0),
    ),
    "in no calendar": lambda: gathered(*runs.steady(100), started_unix=1e300),
    "virtual": lambda: played(trial("gpt-4.1:15", load={"rate": "2/s"}, duration="3m")),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_run_gives_charts_that_plotly_takes(name):
    run = RUNS[name]()
    found = of_run(run, summary_of(run))

    assert found
    assert_sound(found)


def test_a_run_without_requests_has_no_charts():
    run = gathered()

    assert of_run(run, summary_of(run)) == []


def test_calls_add_up_to_the_summarys():
    run = RUNS["mixed"]()
    summary, chart = summary_of(run), charts(run)["calls"]
    told = {trace["name"]: sum(trace["customdata"]) for trace in chart.figure["data"] if trace["type"] == "bar"}

    assert told == {"answered": 400, "429": 40, "failed": 7, "cut off": 3, "dropped, never sent": 11}
    column = chart.header.index("offered")
    assert sum(row[column] for row in chart.rows) == sum(row["offered"] for row in summary["timeline"]) == 461
    assert chart.description.startswith("461 calls offered over 1m10s, ")  # the load; what follows is the drain
    assert summary["timeline"][-1]["t_s"] + summary["timeline"][-1]["width_s"] > 70


def test_without_a_429_the_legend_says_so():
    chart = charts(RUNS["without 429s"]())["calls"]

    assert sum(trace(chart, "429")["customdata"]) == 0
    assert "no 429" in chart.description


def test_a_run_of_days_says_which_day():
    day = 86_400.0
    lines = [runs.ok(k, k * 600.0) for k in range(300)]
    run = gathered(
        *lines, runs.end(load_end=2 * day, finished=2 * day), end=False, duration=2 * day, window=(0.0, 2 * day)
    )
    found = charts(run)

    assert_sound(list(found.values()))
    assert found["calls"].rows[-1][0].startswith("24 Nov ")
    assert points(found["tokens"].figure["data"][0]) <= 1000
    assert "minutes are drawn: the least and the most of every stretch." in found["tokens"].note


def test_what_is_said_on_hover_has_its_unit():
    run = RUNS["mixed"]()

    for chart in of_run(run, summary_of(run)):
        for one in chart.figure["data"]:
            said = f"{one.get('hovertemplate', 's<')} {one.get('customdata')}"
            assert re.search(r"calls/min|/min|s<|within|interval|never answered", said)


def test_grey_marks_what_the_window_leaves_out():
    (warm_up, drain) = charts(RUNS["mixed"]())["calls"].figure["layout"]["shapes"]

    assert (warm_up["x0"], warm_up["x1"]) == (START * 1000, (START + 10) * 1000)
    assert drain["x0"] == (START + 70) * 1000


def test_azures_utilization_stands_beside_the_published_capacity():
    run = RUNS["with Azure's figures"]()
    summary, chart = summary_of(run), charts(run)["tokens"]
    tpm = summary["target"]["capacity"]["tpm"]
    azure = trace(chart, "Azure Monitor: utilization")

    assert azure["y"] == [None, pytest.approx(0.87 * tpm), None]
    assert azure["customdata"] == [None, 0.87, None]
    assert trace(chart, f"published capacity: {tpm:,.0f}/min")["y"] == [tpm, tpm]


def test_unanswered_calls_keep_a_curve_below_one():
    run = gathered(*runs.steady(150), *(runs.failed(1000 + k, 10 + k / 9) for k in range(50)))
    chart = charts(run)["latency-distribution"]

    assert trace(chart, "TTFT")["y"][-1] == 0.75
    assert "TTFT ends at 75.0 %: 50 calls never answered." in chart.note


def test_percentiles_of_slices_are_withheld_where_calls_are_too_few():
    chart = charts(gathered(*runs.steady(40, step=1.0)))["ttft-over-time"]

    assert "p95 is not shown: no slice has the 72 calls that it needs." in chart.note
    assert any(row[2] == "72 calls are needed" for row in chart.rows)
    assert all(one["name"] != "p95" for one in chart.figure["data"])


def test_what_is_above_the_first_view_is_said():
    run = gathered(*runs.steady(200), runs.ok(999, 20.0, ttft=50.0, e2e=51.0))
    chart = charts(run)["ttft-over-time"]

    assert chart.figure["layout"]["yaxis"]["range"] == [0, pytest.approx(0.4)]
    assert "1 call above the view, up to 50.0 s: double-click shows all." in chart.note


def test_many_calls_are_thinned_and_it_is_said():
    chart = charts(gathered(*runs.steady(5000, step=0.01)))["ttft-over-time"]

    assert points(trace(chart, "single calls")) <= MOST
    assert re.search(
        r"Dots: [\d,]+ of 5,000 calls that were answered, the fastest and the slowest of every", chart.note
    )


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=300), st.integers(2, 60))
def test_of_every_stretch_the_smallest_and_the_largest_are_kept(pairs, most):
    at, values = (np.array(column) for column in zip(*pairs, strict=True))
    kept = extremes(at, values, most)

    assert len(kept) <= max(most, 2)
    assert np.all(np.diff(at[kept]) >= 0)
    assert (values[kept].min(), values[kept].max()) == (values.min(), values.max())
    edges = np.linspace(at.min(), at.max(), most // 2 + 1)
    for low, high in zip(edges[:-1] + 1e-6, edges[1:] - 1e-6, strict=True):
        inside, drawn = (at > low) & (at < high), (at[kept] >= low - 2e-6) & (at[kept] <= high + 2e-6)
        if len(at) > most and inside.any():
            assert values[kept][drawn].max() >= values[inside].max()
            assert values[kept][drawn].min() <= values[inside].min()


# --- several runs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair():
    return [
        gathered(
            *(runs.ok(k, 10 + k / 8, ttft=0.2 + 0.01 * (k * 7 % 13), e2e=e2e) for k in range(400)), run_id=str(e2e)
        )
        for e2e in (1.0, 1.3)
    ]


def compared(pair, names=("one", "two")):
    document = compare_runs(pair, prices.shipped())
    return document, of_runs(pair, [run["window_s"] for run in document["runs"]], names, document)


def test_runs_are_drawn_over_each_other_with_their_differences(pair):
    document, found = compared(pair)
    by_name = {chart.name: chart for chart in found}
    row = next(row for row in document["metrics"] if row["name"] == "e2e.p50")
    worse = trace(by_name["differences-b"], "worse")
    at = worse["y"].index("e2e.p50")

    assert_sound(found)
    assert worse["x"][at] == pytest.approx(100 * row["relative"]["change"], rel=1e-4)
    assert worse["x"][at] - worse["error_x"]["arrayminus"][at] == pytest.approx(100 * row["relative"]["low"], rel=1e-3)
    assert [one["name"] for one in by_name["compare-e2e"].figure["data"]] == ["A one", "B two"]


def test_what_one_run_never_answered_is_said_where_it_can_not_be_drawn(pair):
    lines = [*runs.steady(300, step=0.2), *(runs.failed(1000 + k, 10 + k / 2) for k in range(100))]
    _, found = compared([pair[0], gathered(*lines)])
    chart = found[-1]

    assert "never answered there: " in chart.note
    assert "e2e.p95 (worse)" in chart.note
    assert any(row[0] == "e2e.p95" and row[3] == "never answered" for row in chart.rows)


def test_runs_that_can_not_be_compared_have_their_distributions_all_the_same(pair):
    found = of_runs(pair, [(10.0, 70.0)] * 2, ["one", "two"])

    assert [chart.name for chart in found] == ["compare-ttft", "compare-e2e"]


def test_names_of_others_are_no_markup_in_a_figure(pair):
    _, found = compared(pair, (HOSTILE, "two"))
    drawn = [one["name"] for chart in found for one in chart.figure["data"]]

    assert not any(set("<>\x1b\u202e") & set(name) for name in drawn)
    assert any(name.startswith("A &lt;b&gt;x&lt;/b&gt;\ufffd") for name in drawn)
    templates = json.dumps([one.get("hovertemplate") for chart in found for one in chart.figure["data"]])
    assert "&amp;%{y}" not in templates


# --- capacity and size ------------------------------------------------------------------------------------------------


SATURATED = Saturated(rate=1.4, depth=80.0)
TRIED = [Seen(rate=rate, offered=3000, refused=count) for rate, count in ((1.3, 0), (1.36, 3), (1.4, 40), (1.44, 110))]


def test_the_band_reaches_the_limit_at_the_answer_and_at_the_ends_of_its_interval():
    found = fit(TRIED, SATURATED, 0.01)
    ((_, middle, _), (_, _, high), (low, _, _)) = band(TRIED, SATURATED, np.array([found.rate, found.low, found.high]))

    assert (middle, high, low) == (pytest.approx(0.01, rel=0.02),) * 3


def test_the_band_is_about_the_curve():
    for rate, (low, middle, high) in zip((1.3, 1.45), band(TRIED, SATURATED, np.array([1.3, 1.45])), strict=True):
        assert low <= middle <= high
        assert middle == pytest.approx(float(refused(np.array(rate / 1.4), np.array(80.0))), abs=0.02)


def step(rate, ratio, **changes):
    told = {"requests": {"total": 3000}, "refused": {"ratio": ratio, "ci95": [ratio / 2, 2 * ratio]}}
    latencies = {name: {"p50": 0.3, "p95": None} for name in ("ttft", "e2e")}
    checks = [{"rule": "refused.ratio <= 1%", "limit": 0.01}]
    standard = {"kind": "rate", "rate": rate, "metrics": told | latencies, "checks": checks, "verdict": "valid"}
    return standard | {"passed": ratio <= 0.01, "lost": False} | changes


def searched(**changes):
    steps = [{"kind": "saturation"}, step(78.0, 0.0), step(84.0, 0.02), step(90.0, 0.08, lost=True)]
    result = {"rpm": 82.0, "low": 81.0, "high": 83.5, "by": "curve"}
    curve = [{"rate": 77.0 + k, "refused_ratio": k / 500, "low": k / 900, "high": k / 300} for k in range(14)]
    return {"steps": steps, "result": result, "capacity": {"rpm": 83.0}, "fit": {"curve": curve}} | changes


@pytest.mark.parametrize("changes", [{}, {"fit": None}, {"result": None}, {"result": None, "capacity": None}])
def test_a_search_is_drawn_as_far_as_it_came(changes):
    found = of_capacity(searched(**changes))

    assert [chart.name for chart in found] == ["capacity", "capacity-latency"]
    assert_sound(found)
    assert [trace(found[0], name)["x"] for name in ("passed", "not passed", "lost (ended early)")] == [
        [78.0],
        [84.0],
        [90.0],
    ]


def test_before_a_rate_was_measured_there_is_no_chart():
    assert of_capacity(searched(steps=[{"kind": "saturation"}])) == []


@pytest.mark.parametrize("simulation", [True, False])
def test_sizes_are_drawn_with_what_they_refuse_and_cost(simulation):
    asked = ask(
        SizeOptions(workload="chat", model="gpt-4.1", simulation=simulation, duration="2m", sizes="15,40,60"),
        {},
        say=str,
    )
    answer = sizes.answer(asked, today=prices.shipped().dated)
    found = {chart.name: chart for chart in of_size(answer)}
    paid = trace(found["size-cost"], "paid by the hour")

    assert_sound(list(found.values()))
    assert list(found) == [*(["size-refused"] if simulation else []), "size-busiest", "size-cost"]
    assert paid["y"] == [size["cost"]["per_month"]["hour"] for size in answer["sizes"]]
    assert [row[0] for row in found["size-cost"].rows] == [15, 40, 60]


def test_without_sizes_there_is_no_chart():
    assert of_size({"sizes": []}) == []
