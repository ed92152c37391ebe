"""CSV of attempts and of the timeline: complete, inert, and read by pandas and DuckDB with the right types."""

import csv
import io
import re
import unicodedata
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.analysis.summary import summarize
from ptubench.record import SPILLED
from ptubench.report import csv_columns, export
from ptubench.results import store
from runs import STARTED, cut, dropped, end, failed, head, ok, steady, throttled, write

DOCS = (Path(__file__).parents[1] / "docs/reports.md").read_text(encoding="utf-8")
LINES = (
    ok(0, 5.0, ttft=0.25, e2e=2.5, name="a", headers={"apim-request-id": "id-1", "x-ms-region": "West Europe"}),
    throttled(1, 12.0),
    ok(1, 12.0, attempt=1, sent=14.0, waited=1.5),
    failed(2, 13.0, error="it broke\nin two lines"),
    cut(3, 60.0),
    dropped(4, 61.0, name="b"),
    ok(5, 62.0, streamed=False, first_content=None, first_output=None, last_content=None, content_events=0),
    ok(6, 63.0, headers={SPILLED: "standard"}, prompt_tokens=10**30),
)


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "run.jsonl", head(label="first"), *LINES, end())


def text_of(path, of="attempts"):
    summary = summarize(path)
    if of == "timeline":
        return export.header(csv_columns.TIMELINE) + export.timeline(store.read_head(path), summary)
    return export.header(csv_columns.ATTEMPTS) + "".join(export.attempts(store.lines(path), summary["run"]["window_s"]))


def rows_of(path, of="attempts"):
    return list(csv.DictReader(io.StringIO(text_of(path, of), newline="")))


def test_every_attempt_and_every_dropped_request_is_a_row(run):
    rows = rows_of(run)

    assert [row["outcome"] for row in rows] == ["ok", "throttled", "ok", "failed", "cut", "dropped", "ok", "ok"]
    assert [row["index"] for row in rows] == ["0", "1", "1", "2", "3", "4", "5", "6"]
    assert [row["in_window"] for row in rows] == ["false", *["true"] * 7]
    assert {(row["run"], row["label"]) for row in rows} == {("known", "first")}


def test_what_is_known_of_an_attempt_stands_in_its_row(run):
    first, refused, again, broke, _, never, whole, spilled = rows_of(run)

    assert first["sent_at"] == "2026-11-22T12:00:05.000000Z"
    assert (first["ttft_s"], first["e2e_s"], first["class"], first["region"]) == ("0.25", "2.5", "a", "West Europe")
    assert (first["request_id"], first["prompt_tokens"], first["lag_s"]) == ("id-1", "100", "0.0")
    assert (refused["retry_after_s"], refused["status"], refused["ttft_s"]) == ("1.5", "429", "")
    assert (again["attempt"], again["waited_s"], again["e2e_s"], again["e2e_scheduled_s"]) == ("1", "1.5", "1.0", "3.0")
    assert (broke["failure"], broke["error"], broke["e2e_s"]) == ("broken_stream", "it broke in two lines", "")
    assert {name for name, value in never.items() if value} == {
        *("run", "label", "index", "class", "in_window", "outcome", "scheduled_s")
    }
    assert (whole["ttft_s"], whole["e2e_s"], whole["streamed"]) == ("", "1.0", "false")
    assert (spilled["spilled"], spilled["prompt_tokens"]) == ("true", "")


def test_the_csv_follows_its_standard(run):
    text = text_of(run)

    assert text.endswith("\r\n")
    assert re.search(r"(?<!\r)\n", text) is None
    assert len({len(row) for row in csv.reader(io.StringIO(text, newline=""))}) == 1


def test_pandas_reads_the_right_types_and_the_same_percentiles_as_the_report(tmp_path):
    path = write(tmp_path / "run.jsonl", head(), *(ok(i, 10 + i * 0.1, ttft=0.1 + i / 1e4) for i in range(500)), end())
    table = pd.read_csv(io.StringIO(text_of(path)), parse_dates=["sent_at"])
    chosen = table[table.in_window]

    assert chosen.ttft_s.quantile(0.95, interpolation="higher") == pytest.approx(
        summarize(path)["metrics"]["ttft"]["p95"], rel=0.01
    )
    assert {name: table[name].dtype.kind for name in ("index", "ttft_s", "in_window", "sent_at", "prompt_tokens")} == {
        "index": "i",
        "ttft_s": "f",
        "in_window": "b",
        "sent_at": "M",
        "prompt_tokens": "i",
    }


def test_duckdb_reads_the_right_types(run, tmp_path):
    file = tmp_path / "attempts.csv"
    file.write_bytes(text_of(run).encode())
    table = duckdb.read_csv(str(file))
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    ((sent,),) = table.filter("index = 0").project("epoch(sent_at)").fetchall()

    assert {name: types[name] for name in ("index", "status", "outcome", "in_window", "ttft_s", "prompt_tokens")} == {
        "index": "BIGINT",
        "status": "BIGINT",
        "outcome": "VARCHAR",
        "in_window": "BOOLEAN",
        "ttft_s": "DOUBLE",
        "prompt_tokens": "BIGINT",
    }
    assert types["sent_at"].startswith("TIMESTAMP")
    assert sent == STARTED.timestamp() + 5


@pytest.mark.parametrize("of", ["attempts", "timeline"])
def test_sql_takes_every_column_without_quotes(of, run, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes(text_of(run, of).encode())
    names = duckdb.read_csv(str(file)).columns
    rows = duckdb.read_csv(str(file)).aggregate(", ".join(f"count({name})" for name in names)).fetchall()

    assert len(rows[0]) == len(names)


def test_the_timeline_is_that_of_the_summary(run):
    rows, summary = rows_of(run, "timeline"), summarize(run)

    assert len(rows) == len(summary["timeline"])
    assert [int(row["throttled"]) for row in rows] == [step["throttled"] for step in summary["timeline"]]
    assert sum(row["in_window"] == "true" for row in rows) == 60
    assert rows[1]["begins_at"] == "2026-11-22T12:00:01.000000Z"


@given(st.text(st.characters(codec="utf-8"), max_size=400))
def test_no_text_is_a_formula_a_line_or_a_command_to_a_terminal(text):
    context = csv_columns.Context(head(), (0.0, 70.0))
    (row,) = csv.reader(
        io.StringIO("".join(export.attempts([context.head, failed(0, 1.0, error=text)], (0.0, 70.0))), newline="")
    )
    shown = row[[column.name for column in csv_columns.ATTEMPTS].index("error")]

    assert not shown.startswith(("=", "+", "-", "@"))
    assert {unicodedata.category(character)[0] for character in shown} <= set("LMNPSZ")
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= 301


def test_a_plain_text_stays_as_it_is():
    assert "it, broke" in "".join(export.attempts([head(), failed(0, 1.0, error="it, broke")], (0, 70)))


@pytest.mark.parametrize("title", ["Attempts", "Timeline"])
def test_the_docs_have_every_column(title):
    columns = csv_columns.ATTEMPTS if title == "Attempts" else csv_columns.TIMELINE
    table = DOCS.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]
    said = re.findall(r"^\| `(\w+)` \|([^|]*)\| ([^|]+) \|$", table, re.MULTILINE)

    assert [(name, unit.strip(), meaning.strip()) for name, unit, meaning in said] == [
        (column.name, column.unit, column.meaning) for column in columns
    ]


def test_attempts_are_written_as_they_are_read(tmp_path):
    path = write(tmp_path / "run.jsonl", head(), *steady(2500), end())
    read = []

    def counted():
        for line in store.lines(path):
            read.append(line)
            yield line

    next(export.attempts(counted(), (10, 70)))

    assert len(read) == 1001


def test_the_python_and_the_sql_of_the_docs_work(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("attempts.csv").write_bytes(text_of(run).encode())
    code, query = (
        re.search(rf"^```{language}\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)[1] for language in ("python", "sql")
    )
    exec(code, {})  # noqa: S102 - ours
    seconds = duckdb.sql(query.rstrip().rstrip(";")).project("calls, refused").fetchall()

    assert "ttft_s" in capsys.readouterr().out
    assert sum(calls for calls, _ in seconds) == len(rows_of(run))
    assert sum(refused for _, refused in seconds) == 1
