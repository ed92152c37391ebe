"""The report as Markdown: what it says, and that nothing in it is taken for markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import runs
from judgements import FAILED, REASON, REGRESSION, RULE, RUN, STOPPED, UNMEASURED, document
from ptubench.analysis.summary import summarize
from ptubench.report import markdown
from ptubench.report.text import clean

EXAMPLES = Path(__file__).parents[1] / "results/examples"
OURS = {"h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "ul", "li"}
LINKED = re.compile(r"@\w|#\w|://|www\.|gh-\d|:[\w+-]+:", re.IGNORECASE)
NO_WIDTH = "\N{ZERO WIDTH SPACE}"
# As GitHub reads it, but for what `LINKED` finds: raw HTML is passed on, tables and strikes are there.
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


class Page(HTMLParser):
    """What a reader of Markdown makes of a text: elements, attributes, and the words between them."""

    def __init__(self, text) -> None:
        super().__init__()
        self.tags, self.attributes, self.words = set(), set(), []
        self.feed(READER.render(text))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= set(attributes)

    def handle_comment(self, data):
        self.tags.add(f"comment {data}")

    def handle_data(self, data):
        self.words.append(data)

    @property
    def cells(self):
        return [word for word in self.words if word.strip()]


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "a | b | c",
    "a \\| b",
    "`code` ``more``",
    "**bold** _soft_ ~~gone~~ __x__ $y$",
    "@octocat and a@b.example #12 GH-3 :tada:",
    "https://evil.example www.evil.example",
    "# heading",
    "1. list",
    "- item",
    "+ item",
    "> quote",
    "---",
    "===",
    "&lt;b&gt; &#64;x",
    "<https://evil.example>",
    "[x]: https://evil.example",
    "\\",
    "trailing \\",
    "    indented",
    "<!-- hidden",
)


@given(text=st.one_of(st.text(max_size=60), st.text("`*_~[]()<>|\\#-+.!&@:/=1a \n", max_size=30)))
def test_a_text_stays_a_text_in_a_table_and_in_a_list(text):
    check_inert(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_hostile_stays_a_text(text):
    check_inert(text)


def check_inert(text):
    escaped = markdown.escaped(text)
    shown = clean(text).split()
    for made, tags in (
        (f"| a | b |\n| --- | --- |\n| {escaped} | x |", {"table", "thead", "tbody", "tr", "th", "td"}),
        (f"- {escaped}", {"ul", "li"}),
        (f"## ✅ {escaped}: x", {"h2"}),
    ):
        page = Page(made)
        words = "".join(page.words)

        assert page.tags <= tags
        assert page.attributes == set()
        assert LINKED.search(words.replace("✅", "")) is None
        assert all(word in words.replace(NO_WIDTH, "") for word in shown)


def test_nothing_measured_is_a_dash():
    assert markdown.escaped(None) == "–"


@pytest.mark.parametrize("name", ["demo", "chat-120ptu"])
def test_a_run_has_its_headline_numbers(name):
    text = markdown.of_run(summarize(EXAMPLES / f"{name}.jsonl.gz"))
    page = Page(text)

    assert page.tags <= OURS
    assert page.attributes <= {("style", "text-align:right")}
    assert "(SIMULATED)" in page.words[0]
    assert {"offered", "refused", "ttft", "e2e", "utilization, estimated"} <= set(page.words)


def test_titles_say_how_it_went():
    def title(*checks, **of_run):
        return markdown.of_check(document(*checks, **of_run)).partition("\n")[0]

    assert title(RULE) == "## ✅ chat: the check holds"
    assert title(RULE, RULE) == "## ✅ chat: all 2 checks hold"
    assert title(RULE, FAILED) == "## ❌ chat: 1 of 2 checks failed"
    assert title(RULE, kind="simulated") == "## ✅ chat (SIMULATED): the check holds"
    assert title(RULE, verdict="invalid") == "## ❌ chat: the measurement is invalid, do not use its numbers"
    stopped = markdown.of_check(document(RULE, FAILED, **STOPPED) | {"exit_code": 130})
    assert stopped.startswith("## ❌ chat: the run was stopped after 10s of 35s: no whole measurement\n")


def test_failed_checks_stand_first_with_limit_and_interval():
    text = markdown.of_check(document(RULE, UNMEASURED, FAILED))
    lines = [line for line in text.splitlines() if "PASS" in line or "FAIL" in line]

    assert lines == [
        "| ❌ **FAIL** | ttft.p95 &lt;= 800ms | – |  | not measured |",
        "| ❌ **FAIL** | ttft.p95 &lt;= 800ms | 1.02 s | 980 ms to 1.05 s |  |",
        "| ✅ PASS | ttft.p95 &lt;= 800ms | 620 ms | 580 ms to 700 ms |  |",
    ]


def test_a_regression_has_its_baseline_and_the_change():
    text = markdown.of_check(document(REGRESSION))

    assert f"### Against the baseline\n\n{RUN['file']}" in text
    assert "| 800 ms | 920 ms | +120 ms (+15.0 %) | +90.0 ms to +150 ms |" in text


def test_reasons_and_notes_are_said_once():
    made = document(RULE, verdict="degraded", reasons=[REASON, REASON]) | {"notes": ["PTUs 50 against 100"]}

    assert markdown.of_check(made).count(REASON["text"]) == 1
    assert "- PTUs 50 against 100" in markdown.of_check(made)


def test_repeats_have_a_row_each_and_what_each_measured():
    repeated = document({**RULE, "by_run": [0.6, 0.64, None]})
    repeated["runs"] *= 3

    assert "| 620 ms | 580 ms to 700 ms | 600 ms, 640 ms, – |" in markdown.of_check(repeated)
    assert markdown.of_check(repeated).count("gpt-prod") == 3


def test_a_run_of_nothing_is_a_report_too(tmp_path):
    assert "❌" in markdown.of_run(runs.summary(tmp_path))


def test_the_size_is_bounded_whatever_a_run_file_holds():
    long = document(*[{**FAILED, "rule": "x" * 10_000, "why": "y" * 10_000}] * 5000, workload="z" * 10_000)
    long["runs"] *= 5000

    assert len(markdown.of_check(long)) < 200_000
    assert "4,950 more are not shown" in markdown.of_check(long)


def test_a_moment_is_written_as_it_is_and_figures_have_their_units_and_remarks():
    summary = summarize(EXAMPLES / "demo.jsonl.gz")
    rows = {line.split("|")[1].strip(): line for line in markdown.of_run(summary).splitlines() if line.startswith("|")}
    told = summary["run"]["started_at"][:19].replace("T", " ")

    assert f"| {told} UTC |" in markdown.of_run(summary)
    assert rows["tps tokens/s"].endswith("| 1 / TBT of each answer |")
    assert "neither answered 429 nor spilled" in rows["admitted"]
    assert "also those due before it" in rows["completed"]
