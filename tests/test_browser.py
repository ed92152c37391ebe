"""The HTML report as a person sees it: in a browser, which must be able to do everything offline."""

import base64
import json
import re

import pytest

import browser
import runs
from ptubench.analysis.gather import load
from ptubench.page import document
from ptubench.page.runs import page
from ptubench.ptu import prices
from test_hostile import HOSTILE, write

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
TARGET = {
    "kind": "simulated",
    "model": "gpt-4.1",
    "ptu": 50,
    "deployment": "gpt-4.1",
    "endpoint": "http://127.0.0.1:40123",
    "url": "http://127.0.0.1:40123/openai/v1/chat/completions",
    "simulate": {"model": "gpt-4.1", "ptu": 50},
}
ANSWERED, REFUSED = 400, 60
LINES = (
    *(runs.ok(i, 10 + i * 0.14, ttft=0.2 + i % 7 / 50, e2e=1.1 + i % 11 / 20) for i in range(ANSWERED)),
    *(runs.throttled(ANSWERED + i, 30 + i / 5) for i in range(REFUSED)),
)
CONTRAST = """
(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *:not(svg *, script)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(".unseen, .skip")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}: ${element.textContent.slice(0, 40)}`);
  }
  return found;
})()
"""


def stored(folder, name, *lines, **of_head):
    return load(runs.write(folder / name, runs.head(target=TARGET, **of_head), *lines, runs.end()))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of one run, one of two, one on a virtual clock, and one whose every string is hostile."""
    folder = tmp_path_factory.mktemp("pages")
    one = stored(folder, "one.jsonl", *LINES, checks=("ttft.p95 <= 1s", "refused.ratio <= 1%"))
    other = stored(folder, "other.jsonl", *runs.steady(ANSWERED, ttft=0.25), run_id="other", label="other")
    virtual = stored(folder, "virtual.jsonl", *LINES, clock="virtual")
    hostile = load(write(folder / "hostile.jsonl", " ".join(text[:400] for text in HOSTILE)))
    found = {}
    for name, shown in {"one": [one], "two": [one, other], "virtual": [virtual], "hostile": [hostile]}.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(document.render(page(shown, prices.shipped())))
    return found


@pytest.fixture(scope="module")
def opened():
    with browser.tab() as found:
        yield found


@pytest.fixture
def tab(opened):
    """The tab as it is at first: a desk's screen, in the daytime."""
    opened.size(1280, 900)
    opened.prefer("light")
    return opened


def figures(path):
    """What the page was given to draw."""
    text = re.search(r'<script type="application/json" id="figures">(.*?)</script>', path.read_text(), re.DOTALL)[1]
    return json.loads(text)


@pytest.mark.parametrize("name", ["hostile", "one", "two"])
def test_the_page_asks_nothing_of_anybody_and_complains_of_nothing(tab, pages, name):
    tab.open(pages[name])
    tab.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })")

    asked = [event["request"]["url"] for event in tab.events("Network.requestWillBeSent")]
    said = [event["entry"] for event in tab.events("Log.entryAdded")]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert [entry for entry in said if entry["level"] == "error"] == []
    assert tab.events("Runtime.exceptionThrown") == []
    assert tab.events("Runtime.consoleAPICalled") == []
    assert tab.events("Page.javascriptDialogOpening") == []


@pytest.mark.parametrize("name", ["two", "one"])
def test_every_chart_is_drawn_with_all_its_points(tab, pages, name):
    given = figures(pages[name])
    tab.show(pages[name])

    assert len(given) >= 5
    for chart in given:
        drawn = tab.run(
            f"""(() => {{
                const plot = document.getElementById({json.dumps(chart["id"])});
                return {{
                    kept: plot.data.map((trace) => (trace.x ?? []).length),
                    marks: plot.querySelectorAll('.scatterlayer .point').length,
                    bars: plot.querySelectorAll('.barlayer .point').length,
                    lines: plot.querySelectorAll('.scatterlayer .js-line').length,
                    badge: plot.textContent.includes('SIMULATED'),
                }};
            }})()"""
        )
        data = [trace for trace in chart["figure"]["data"] if trace.get("visible", True) is True]
        marked = sum(
            sum(y is not None for y in trace["y"])
            for trace in data
            if trace["type"] == "scatter" and "markers" in trace.get("mode", "lines")
        )
        assert drawn["kept"] == [len(trace.get("x", [])) for trace in chart["figure"]["data"]]
        assert drawn["marks"] == marked
        assert (drawn["bars"] > 0) == any(trace["type"] == "bar" for trace in data)
        assert drawn["lines"] + drawn["marks"] + drawn["bars"] > 0
        assert drawn["badge"]


def test_a_page_that_wanted_something_from_elsewhere_would_not_get_it(tab, pages):
    tab.show(pages["one"])
    tab.run(
        "(() => { const img = new Image(); img.src = 'http://127.0.0.1:9/x'; const s = document.createElement('script');"
        " s.textContent = 'window.owned = 1'; document.body.append(s, img); })()"
    )
    refused = [event["entry"]["text"] for event in tab.events("Log.entryAdded") if event["entry"]["level"] == "error"]

    assert tab.run("window.owned === undefined")
    assert len([text for text in refused if "Content Security Policy" in text]) == 2


def test_a_call_over_time_is_a_point_for_every_call_that_was_answered(tab, pages):
    tab.show(pages["one"])
    dots = tab.run(
        "Math.max(...[...document.getElementById('run-ttft-over-time').querySelectorAll('.scatterlayer .trace')]"
        ".map((trace) => trace.querySelectorAll('.point').length))"
    )

    assert dots == ANSWERED


def test_pointing_at_a_chart_tells_its_figures_with_units(tab, pages):
    tab.show(pages["one"])
    where = tab.run(
        "(() => { const plot = document.getElementById('run-ttft-over-time');"
        " plot.scrollIntoView({block: 'center', behavior: 'instant'});"
        " const box = plot.querySelectorAll('.scatterlayer .point')[200].getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    tab.point_at(*where)
    tab.until("document.querySelector('#run-ttft-over-time .hoverlayer text') !== null")
    text = tab.run("document.querySelector('#run-ttft-over-time .hoverlayer').textContent")

    assert "UTC" in text
    assert re.search(r"\d\s?m?s", text)


def test_colours_follow_the_reader_and_the_button(tab, pages):
    ground = "getComputedStyle(document.body).backgroundColor"
    letters = "getComputedStyle(document.querySelector('.xtick text')).fill"
    tab.show(pages["one"])
    light = (tab.run(ground), tab.run(letters))
    tab.prefer("dark")
    tab.until(f"{letters} !== {json.dumps(light[1])}")
    dark = (tab.run(ground), tab.run(letters))
    tab.run("document.getElementById('theme').click()")
    tab.until(f"{letters} === {json.dumps(light[1])}")

    assert light[0] != dark[0]
    assert tab.run(ground) == light[0]


def test_on_paper_charts_are_whole_and_the_page_is_white(tab, pages):
    tab.prefer("dark")
    tab.show(pages["one"])
    dark = tab.run("getComputedStyle(document.body).backgroundColor")
    paper = base64.b64decode(tab.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
    tab.prefer("dark", media="print")
    tab.run("window.dispatchEvent(new Event('beforeprint'))")
    tab.until("document.querySelector('.plot .main-svg').getAttribute('width') === '660'")

    assert paper.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 9
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.run(
        "[...document.querySelectorAll('.plot')].every((plot) => plot.clientHeight >= plot.querySelector('.main-svg').clientHeight)"
    )
    assert tab.run("getComputedStyle(document.querySelector('.top')).display") == "none"
    # A head is repeated on the next page only where no grid is around the table.
    assert tab.run("getComputedStyle(document.querySelector('.tables')).display") == "block"

    tab.prefer("dark")
    tab.run("window.dispatchEvent(new Event('afterprint'))")
    assert tab.run("getComputedStyle(document.body).backgroundColor") == dark


def test_all_that_can_be_done_can_be_done_with_the_keyboard(tab, pages):
    tab.show(pages["one"])
    reached = tab.run(
        "[...document.querySelectorAll('button:not([hidden]), summary, .scroll, pre')].every((element) => {"
        " element.closest('details')?.setAttribute('open', ''); element.focus(); return document.activeElement === element; })"
    )

    assert reached
    assert tab.run("document.querySelectorAll('.chart details table tbody tr').length") > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(tab, pages, scheme):
    tab.prefer(scheme)
    tab.show(pages["two"])
    tab.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })")

    assert tab.run(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize("name", ["two", "hostile"])
def test_on_a_phone_nothing_sticks_out(tab, pages, name, width):
    tab.size(width, 800, mobile=True)
    tab.show(pages[name])

    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run(
        "[...document.querySelectorAll('.plot')].every((plot) => plot.scrollWidth <= plot.parentElement.clientWidth)"
    )
    assert tab.events("Runtime.consoleAPICalled") == []


def test_on_a_phone_a_table_that_goes_on_says_so_and_what_a_row_is_of_stays_in_sight(tab, pages):
    tab.size(390, 800, mobile=True)
    tab.open(pages["two"])
    wide = "[...document.querySelectorAll('.tables .scroll')].find((table) => table.scrollWidth > table.clientWidth)"

    assert tab.run(f"getComputedStyle({wide}).backgroundImage.includes('gradient')")
    assert tab.run(
        f"{wide}.scrollLeft = 60, {wide}.querySelector('tbody th').getBoundingClientRect().x"
    ) == pytest.approx(tab.run(f"{wide}.getBoundingClientRect().x"), abs=2)
    assert tab.run("document.getElementById('run-1-ttft-over-time').textContent.includes('warm-up')") is False


@pytest.mark.parametrize("width", [390, 1280])
def test_the_stamp_of_a_chart_hides_no_word_of_its_axis(tab, pages, width):
    tab.size(width, 800, mobile=width < 600)
    tab.open(pages["virtual"])
    hidden = """
        [...document.querySelectorAll('.plot')].flatMap((plot) => {
            const box = (element) => element.getBoundingClientRect();
            const stamps = [...plot.querySelectorAll('.annotation-text')].filter((text) => text.textContent.includes('SIMULATED'));
            const words = [...plot.querySelectorAll('.xtitle, .xtick text')];
            return stamps.flatMap((stamp) => words.filter((word) => box(word).right > box(stamp).left
                && box(word).left < box(stamp).right && box(word).bottom > box(stamp).top && box(word).top < box(stamp).bottom));
        }).map((word) => word.textContent)
    """

    assert tab.run("document.querySelectorAll('.plot .annotation-text').length") >= len(figures(pages["virtual"]))
    assert tab.run(hidden) == []


def test_on_a_phone_each_metric_of_a_comparison_has_its_name(tab, pages):
    tab.size(390, 800, mobile=True)
    tab.open(pages["two"])
    axes = {
        chart["id"]: [name for name, of in chart["figure"]["layout"].items() if of and "categoryarray" in str(of)]
        for chart in figures(pages["two"])
    }
    (place,) = [place for place, named in axes.items() if named]
    (layout,) = [chart["figure"]["layout"] for chart in figures(pages["two"]) if chart["id"] == place]
    names = {name for axis in axes[place] for name in layout[axis]["categoryarray"]}

    assert (
        set(
            tab.run(
                f"[...document.querySelectorAll('#{place} .yaxislayer-above text')].map((text) => text.textContent)"
            )
        )
        >= names
    )
