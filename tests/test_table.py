"""The report: what is said, and that nothing a server or a file says can do more than stand there."""

import io
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from goldens import golden, shown
from ptubench.analysis.summary import summarize
from ptubench.record import Attempt, End, Head, encode
from ptubench.report import text
from ptubench.report.bars import bar, columns
from ptubench.report.table import render
from summaries import WORKLOAD, distribution, metrics, summary

WITHHELD = "withheld: p99 needs 368 measured calls and there are 360"
HOSTILE = {
    "html": "<script>alert(1)</script>",
    "markup": "[red]markup[/red] [/nonsense] [link=http://evil]x[/link]",
    "escapes": "\x1b[2J\x1b]0;title\x07 \x9b31m \r\b\x00",
    "direction": "\u202eevil\u202c \u2066abc\u2069 \u200f",
    "invisible": "a\u200b\ufeff\u00adb \ud800 \ue000",
    "lines": "one\ntwo\r\nthree\u2028four\x85five\tsix",
    "long": "x" * 10_000,
    "wide": "漢字" * 5_000,
    "emoji": ":smile: \N{GRINNING FACE}",
}


def real_run():
    """A degraded, killed run on a deployment of which little is known, with two classes."""
    run = summary()
    run["target"] |= {
        "kind": "azure",
        "endpoint": "https://contoso.openai.azure.com",
        "url": "https://contoso.openai.azure.com/openai/deployments/chat-ptu/chat/completions?api-version=2024-10-21",
        "deployment": "chat-ptu",
        "model": None,
        "type": None,
        "ptu": None,
        "ptu_source": None,
        "capacity": None,
        "simulate": None,
    }
    run["run"]["ended"] = "killed"
    run["validity"] |= {
        "verdict": "degraded",
        "reasons": [
            {"code": "lag", "text": "Lag p99 is 7.1 ms, over 5 ms: this machine was too busy; try --workers 2."}
        ],
    }
    run["metrics"]["tpm"] |= {"normalized": None, "per_ptu": None, "of_published": None, "reasoning": 40_000.0}
    run["metrics"]["utilization"] = {
        "estimated": {"mean": None, "peak_minute": None},
        "monitor": None,
        "simulated": None,
    }
    run["groups"] = {"class:short": metrics(), "class:long": metrics() | {"ttft": distribution(count=40, of=80)}}
    run["checks"] = [
        run["checks"][0] | {"rule": "ttft.p99 <= 2s", "measured": None, "ci95": None, "passed": False, "why": WITHHELD}
    ]
    return run


def standard_run():
    """A Standard deployment with retries: what was answered at once and what was not, causes and cost."""
    run = real_run()
    run["target"] |= {"type": "standard", "model": "gpt-4.1"}
    run["workload"]["throttling"] = {"on_429": "retry", "max_retries": 3, "max_wait": 20}
    of_all = run["metrics"]
    of_all["requests"] |= {"ok": 392, "throttled": 5, "retried": 60, "gave_up": 5}
    of_all["attempts"] = {"total": 470, "throttled": 75, "throttled_ratio": 75 / 470}
    of_all["throttled"] |= {"by_cause": {"quota": 52, "high_demand": 23}}
    of_all["waited"] = distribution(middle=1.7, count=60)
    of_all["cost"] |= {
        "total": 1.29,
        "per_million_tokens": 2.99,
        "source": "Global Standard list price of 2026-11-22 (third party), USD per million tokens: 2 input, 0.5 cached, 8 output",
    }
    retried = metrics() | {"waited": distribution(middle=1.7, count=60), "ttft": distribution(count=50, of=60)}
    run["groups"] = {
        "first": metrics(),
        "retried": retried | {"requests": of_all["requests"] | {"total": 60, "ok": 55}},
    }
    return run


def spilling_run():
    """A PTU deployment that hides its 429s, and requests that we diverted."""
    run = summary()
    run["target"] |= {"spillover": "gpt-4.1-standard", "divert_to": {"kind": "azure", "deployment": "second"}}
    run["target"]["simulate"] |= {"spill": "gpt-4.1:300"}
    run["workload"]["throttling"] = {"on_429": "divert"}
    of_all = run["metrics"]
    of_all["requests"] |= {"ok": 389, "throttled": 9, "cut": 0, "diverted": 40, "spilled": 40}
    parts = {"first": (320, 318, 0), "diverted": (40, 31, 9), "spilled": (40, 40, 0)}
    run["groups"] = {
        name: metrics() | {"requests": of_all["requests"] | {"total": total, "ok": ok, "throttled": throttled}}
        for name, (total, ok, throttled) in parts.items()
    }
    source = (
        "Global Standard list price of 2026-11-22 (third party), USD per million tokens: 2 input, 0.5 cached, 8 output"
    )
    run["groups"]["spilled"]["cost"] = of_all["cost"] | {"total": 0.129, "per_million_tokens": 2.99, "source": source}
    run["groups"]["diverted"]["cost"] = of_all["cost"] | {
        "why": "the prices of 2026-11-22 have no list price for `mine`"
    }
    return run


def monitored_run():
    """Azure Monitor was asked, a metric failed, and somebody else uses the deployment."""
    run = summary()
    run["metrics"]["utilization"]["monitor"] = {"mean": 0.981, "peak_minute": 1.02, "before": 0.031}
    figures = [
        ("utilization", "share", 0.957, 0.981, 0.024, "differs"),
        ("requests", "count", 800, 1210.0, 0.5125, "foreign traffic"),
        ("prompt_tokens", "tokens", 801_200.0, 801_200.0, 0.0, "agrees"),
        ("cached_share", "share", 0.0, None, None, None),
        ("time_to_response", "s", 0.102, 0.1003, -0.0167, "agrees"),
    ]
    keys = ("name", "unit", "ours", "azure", "difference", "word")
    run["monitor"] = {
        "asked_at": "2026-11-22T20:35:00+00:00",
        "minutes": 1,
        "span_s": [0.0, 60.0],
        "settled": False,
        "missing": 1,
        "rows": [dict(zip(keys, row, strict=True)) for row in figures],
        "errors": {"AzureOpenAIContextTokensCacheMatchRate": "InternalServerError: try again"},
    }
    return run


def empty_run():
    """Nothing was measured: every number is null, every count 0."""
    run = summary()
    units = {name: value["unit"] for name, value in run["metrics"].items() if "unit" in value}
    run["metrics"] = _emptied(run["metrics"])
    for name, unit in units.items():
        run["metrics"][name] |= {"unit": unit, "count": 0, "of": 0, "unanswered": []}
    run["metrics"]["requests"] = dict.fromkeys(run["metrics"]["requests"], 0)
    run["metrics"]["finish"] = run["metrics"]["failed"]["by_kind"] = run["metrics"]["throttled"]["by_cause"] = {}
    run["metrics"]["refused"]["count"] = 0
    return run | {"timeline": [], "latency": [], "checks": [], "notes": []}


def _emptied(value):
    return {key: _emptied(inner) for key, inner in value.items()} if isinstance(value, dict) else None


RUNS = {
    "simulated": summary,
    "real": real_run,
    "standard": standard_run,
    "spilling": spilling_run,
    "monitored": monitored_run,
    "empty": empty_run,
}


def everywhere(hostile: str):
    """A run in which every string that is not ours is `hostile`."""
    run = monitored_run() | {"target": real_run()["target"]}
    run["monitor"] |= {"asked_at": hostile, "errors": {hostile: hostile}}
    run["workload"] |= {"name": hostile, "description": hostile}
    run["target"] |= dict.fromkeys(("url", "deployment", "model", "model_served", "type", "ptu_source"), hostile)
    run["run"]["started_at"] = hostile
    run["validity"]["reasons"] = [{"code": hostile, "text": hostile}]
    run["metrics"]["finish"] = {hostile: 3}
    run["metrics"]["failed"]["by_kind"] = {hostile: 2}
    run["metrics"]["throttled"]["by_cause"] = {hostile: 2}
    run["metrics"]["cost"] |= {"total": 1.0, "per_million_tokens": 2.0, "currency": hostile, "source": hostile}
    run["target"] |= {"spillover": hostile, "divert_to": {"deployment": hostile, "endpoint": hostile}}
    run["workload"]["throttling"] = {"on_429": "divert"}
    run["groups"] = {f"class:{hostile}": metrics()}
    run["checks"] = [run["checks"][0] | {"rule": hostile, "why": hostile}]
    run["notes"] = [{"code": hostile, "text": hostile}]
    return run


def test_while_azures_figures_are_waited_for_the_report_says_that_they_are_not_there_yet():
    run = monitored_run() | {"monitor": None}
    run["metrics"]["utilization"]["monitor"] = {"mean": None, "peak_minute": None, "before": 0.031}

    assert "by Azure Monitor, not asked yet for this run, before the load 3.1 %" in shown(render(run), width=120)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", RUNS)
def test_the_report_looks_as_reviewed(name, width):
    report = shown(render(RUNS[name]()), width=width)

    assert report == golden(f"report-{name}-{width}", report)


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("name", RUNS)
def test_no_line_is_wider_than_the_console(name, width):
    lines = shown(render(RUNS[name]()), width=width).splitlines()

    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("kind", "word"), [("simulated", "SIMULATED"), ("azure", "REAL"), ("openai", "REAL")])
def test_the_first_word_says_whether_the_target_is_real(kind, word):
    run = summary()
    run["target"]["kind"] = kind

    assert shown(render(run)).split()[0] == word


def test_a_percentile_beyond_the_answers_is_unanswered():
    run = summary()
    run["metrics"]["ttft"] = distribution(count=90, of=100)

    row = next(line for line in shown(render(run)).splitlines() if line.startswith("ttft "))

    assert row.split() == ["ttft", "100", "ms", "147", "ms", "unanswered", "–", "(n<368)", "90", "of", "100"]


def test_unanswered_is_never_cut_short():
    run = summary()
    run["metrics"]["e2e"] = distribution(count=600_000, of=1_000_000) | {"unanswered": ["p90", "p95", "p99", "p999"]}

    assert shown(render(run)).count("unanswered") == 9  # three here, three in each *_scheduled


def test_a_rule_that_was_not_measured_is_shown_as_failed():
    report = " ".join(shown(render(real_run())).split())

    assert f"ttft.p99 <= 2s – FAIL {WITHHELD}" in report


def test_a_verdict_stands_with_its_reasons():
    report = " ".join(shown(render(real_run())).split())

    assert "DEGRADED read the numbers with the reasons in mind - Lag p99 is 7.1 ms, over 5 ms: this machine" in report


def test_many_finish_reasons_do_not_make_the_report_long():
    run = summary()
    run["metrics"]["finish"] = {f"reason{i}": 1 for i in range(1000)}

    assert "reason7 1, 992 other reasons" in " ".join(shown(render(run)).split())


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_strings_of_others_are_inert(hostile):
    report = shown(render(everywhere(hostile)))

    assert [c for c in report if c != "\n" and unicodedata.category(c).startswith("C")] == []
    assert len(report.splitlines()) < 130


@pytest.mark.parametrize("hostile", [HOSTILE["html"], HOSTILE["markup"][:20]])
def test_markup_of_others_is_shown_as_it_is(hostile):
    report = shown(render(everywhere(hostile)), terminal=True, width=120)

    assert hostile in report


def test_what_a_simulation_assumes_is_said():
    said = " ".join(shown(render(summary())).split())

    assert "assumed depth=60, estimate=1000, latency=0.25, prefill=20000, load=0.5, jitter=0.1" in said


def test_a_pipe_gets_no_control_characters():
    report = shown(render(summary()))

    assert "\x1b" not in report


def test_no_color_writes_no_codes_even_on_a_terminal(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    console = text.console()
    console.file = file

    console.print(render(summary()))

    assert "SIMULATED" in file.getvalue()
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_a_console_without_unicode_gets_the_same_lines(encoding):
    plain, full = shown(render(real_run()), encoding=encoding), shown(render(real_run()))

    assert [len(line) for line in plain.splitlines()] == [len(line) for line in full.splitlines()]


@given(st.text(st.characters(), max_size=300), st.integers(10, 200))
def test_cleaned_text_is_one_short_line_of_visible_characters(value, limit):
    cleaned = text.clean(value, limit)

    assert len(cleaned) <= limit
    assert cell_len(cleaned) <= limit
    assert not any(unicodedata.category(character)[0] == "C" or character in "\u2028\u2029" for character in cleaned)


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=400), st.integers(1, 100))
def test_a_row_of_bars_fits_and_keeps_its_total(series, width):
    measured = [value or 0.0 for value in series]
    means = columns(measured, width)
    step = -(-len(series) // width) or 1
    lengths = [min(step, len(series) - start) for start in range(0, len(series), step)]

    assert len(columns(series, width)) <= width
    assert sum(mean * length for mean, length in zip(means, lengths, strict=True)) == pytest.approx(sum(measured))


def test_a_little_is_never_blank_and_nothing_always_is():
    assert bar([0.0, 1e-9, None, 8.0], 8.0) == " ▁ █"


def test_the_load_of_every_kind_is_told_in_words():
    from ptubench.report import words
    from ptubench.workload.model import ClosedLoop, OpenLoop, Stage, Trace

    told = [
        words.load(WORKLOAD.load),
        words.load(OpenLoop(stages=(Stage(value=0.75, seconds=600),), arrivals="constant")),
        words.load(
            OpenLoop(stages=(Stage(value=0.9, seconds=60, unit="utilization"),), arrivals="gamma", burstiness=0.5)
        ),
        words.load(OpenLoop(stages=(Stage(value=100, seconds=60, unit="tokens"),) * 6)),
        words.load(ClosedLoop(concurrency=20, think_time=1.5)),
        words.load(Trace(file="/data/trace.csv", format="azure", start=600, speed=4)),
        words.load(Trace(file="/data/week.csv", format="usage")),
    ]

    assert told == [
        "open loop, poisson: 600/min for 10s, 1,200/min for 10s, 600/min to 300/min for 10s",
        "open loop, constant, 45/min",
        "open loop, gamma of shape 0.5, 90.0 %",
        "open loop, poisson: " + "6,000 tokens/min for 1m, " * 3 + "6,000 tokens/min for 1m, 2 more",
        "closed loop, 20 at once, 1.5s between an answer and the next",
        "open loop, trace trace.csv from 10m at 4 times its speed",
        "open loop, trace week.csv: Poisson inside each minute, sizes at its mean",
    ]


def test_the_factory_and_a_real_summary_have_the_same_shape(tmp_path):
    assert _shape(summary()) == _shape(summarize(_run_file(tmp_path)))


def _run_file(folder):
    """The smallest run file that has everything: one answer, one 429, one failure."""
    of_simulation = {"tpm": 1.5e6, "peak_level": 1.0, "minutes": []}
    head = Head(
        tool_version="0",
        run_id="r",
        started_at="2026-11-22T20:30:00Z",
        started_unix=1_795_379_400.0,
        clock_start=0.0,
        label=None,
        seed=0,
        salt="s",
        workload=WORKLOAD,
        workload_hash="h",
        window=(3.0, 30.0),
        planned=3,
        target={key: value for key, value in summary()["target"].items() if key != "capacity"},
        workers=1,
        machine={},
        network={},
        probe=None,
    )
    answer = {"sent": 4.0, "answered": 4.1, "first_content": 4.1, "last_content": 5.0, "end": 5.0, "status": 200}
    attempts = [
        Attempt(index=0, scheduled=4.0, taken=4.0, content_events=9, prompt_tokens=9, completion_tokens=9, **answer),
        Attempt(index=1, scheduled=4.0, taken=4.0, **answer | {"status": 429}),
        Attempt(index=2, scheduled=4.0, taken=4.0, failure="broken_stream", **answer),
    ]
    end = End(ended="completed", load_end=30.0, finished=30.0, simulated=of_simulation)
    path = folder / "run.jsonl"
    path.write_bytes(b"".join(map(encode, (head, *attempts, end))))
    return path


def _shape(value, where=""):
    """Paths of all names of a summary, but for those that a run chooses. Lists count as their items."""
    if isinstance(value, list):
        return {where}.union(*(_shape(inner, where) for inner in value))
    if not isinstance(value, dict) or where.endswith(
        (".workload", ".simulate", ".by_kind", ".by_cause", ".finish", ".region")
    ):
        return {where}
    inner = {key: item for key, item in value.items() if key not in ("ci95", "notes", "reasons")}
    return {where}.union(*(_shape(item, f"{where}.{key}") for key, item in inner.items()))


def test_the_workload_of_a_summary_may_come_from_json():
    run = msgspec.json.decode(msgspec.json.encode(summary()))

    assert shown(render(run)) == shown(render(summary()))
