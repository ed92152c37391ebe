"""A run file whose every string is hostile: whatever is made of it, nothing of it is obeyed by whoever shows it."""

import csv
import io
import json
import re
import sys

import msgspec
import pytest

import runs
from ptubench.analysis.summary import summarize
from ptubench.cli import main
from ptubench.gate.document import of_summary
from ptubench.report import github, junit
from ptubench.workload.model import Class, Fixed
from test_github import pipelines_command, read
from test_junit import cases
from test_markdown import LINKED, NO_WIDTH, OURS, Page

ESCAPES = "\x1b[2J\x1b]0;title\x07\x1b]8;;https://evil.example\x1b\\x\x1b]8;;\x1b\\ \x9b31m \x00\x08"
TURNED = "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe\N{POP DIRECTIONAL FORMATTING}\N{ZERO WIDTH SPACE}\N{LEFT-TO-RIGHT MARK}"
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    ESCAPES,
    TURNED,
    "\n::error::owned\r\n::add-mask::a\n##[error]owned\n##vso[task.setvariable variable=x]owned\n##VSO[task.complete]",
    "::stop-commands::x",
    "##vso[task.complete result=Succeeded]",
    "a | b | [x](javascript:alert(1)) ![x](https://evil.example) `code` **b** @octocat https://evil.example",
    "[red]x[/red] [link=https://evil.example]y[/link]",
    "=cmd|' /C calc'!A0",
    "]]></system-out><testcase/><!--",
    "\ufffe\uffff\x0b\x0c\u2028\u2029",
    "z" * 100_000,
    "",
)
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]")
"""What a terminal obeys or hides; a line's end is ours."""


def write(path, text):
    """A run file with `text` wherever a server, a user or a file can put one."""
    target = dict.fromkeys(("url", "endpoint", "deployment", "model", "type", "version", "resource"), text)
    target |= {"kind": "azure", "ptu": 1, "spillover": text, "content_filter": text, "left_out": [text], "region": text}
    head = runs.head(
        run_id=text,
        label=text,
        salt=text,
        workload_hash=text,
        tool_version=text,
        started_at=text or "2026-11-22T12:00:00+00:00",
        name=text,
        description=text,
        checks=("ttft.p50 <= 1ms", text),
        parameters={text: text, "reasoning_effort": text},
        classes=tuple(
            Class(name=name, prompt=Fixed(tokens=100), completion=Fixed(tokens=20)) for name in (text, "other")
        ),
        target=target,
        network={"address": text, "place": text, "proxy": text},
        warnings=(text,),
        machine={text: text},
    )
    said = {"model": text, "headers": {"x-ms-region": text, "x-request-id": text, text: text}, "finish": text}
    lines = [
        *(runs.ok(i, 10 + i, name=text, **said) for i in range(20)),
        *(runs.failed(20 + i, 30 + i, text, error=text, name=text) for i in range(3)),
        *(runs.throttled(30 + i, 40 + i, headers={text: text}) for i in range(3)),
        runs.end(problems=(text,)),
    ]
    return runs.write(path, head, *lines)


@pytest.fixture(params=HOSTILE, ids=lambda text: ascii(text)[:24])
def run_file(request, tmp_path):
    return write(tmp_path / "run.jsonl", request.param)


def printed(arguments, monkeypatch, capsys):
    """What a command prints to a pipe, on standard output and on standard error."""
    monkeypatch.setattr(sys, "argv", ["ptubench", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    said = capsys.readouterr()

    assert exited.value.code in (None, 0, 3, 4), said.err
    return said.out, said.err


def check_log(text):
    """Nothing that a terminal or a build server obeys."""
    assert OBEYED.search(text) is None
    assert [line for line in text.split("\n") if read(line) or pipelines_command(line)] == []


@pytest.mark.parametrize("command", ["report", "check"])
def test_the_tables_are_inert(run_file, command, monkeypatch, capsys):
    out, err = printed([command, run_file], monkeypatch, capsys)

    check_log(out)
    check_log(err)
    assert len(out) < 30_000


def test_a_comparison_of_two_is_inert(run_file, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other.jsonl"
    other.write_bytes(run_file.read_bytes().replace(b'"clock_start":1000', b'"clock_start":1001'))
    out, err = printed(["compare", run_file, other], monkeypatch, capsys)

    check_log(out)
    check_log(err)


@pytest.mark.parametrize("command", ["report", "check"])
def test_the_json_is_inert_and_has_every_string_as_it_was(run_file, command, monkeypatch, capsys):
    out, err = printed([command, run_file, "--json"], monkeypatch, capsys)
    told = json.loads(out)
    name = msgspec.json.decode(run_file.read_bytes().split(b"\n")[0])["workload"]["name"]

    check_log(err)
    assert not pipelines_command(out)
    assert [line for line in out.split("\n") if read(line)] == []
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", out) is None
    assert (told["workload"]["name"] if command == "report" else told["runs"][0]["workload"]) == name


@pytest.mark.parametrize(("rows", "count"), [("attempts", 26), ("timeline", 72)])
def test_the_csv_is_inert_and_computes_nothing(rows, count, run_file, monkeypatch, capsys):
    out, err = printed(["report", run_file, "--format", "csv", "--of", rows], monkeypatch, capsys)
    table = list(csv.reader(io.StringIO(out, newline="")))

    check_log(out.replace("\r\n", "\n"))
    check_log(err)
    assert [len(row) for row in table] == [len(table[0])] * (count + 1)
    assert [cell for row in table for cell in row if cell.lstrip().startswith(("=", "+", "-", "@"))] == []


STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$")
"""What a time holds between two colons is no emoji."""


def test_the_markdown_is_inert(run_file, monkeypatch, capsys):
    out, _ = printed(["report", run_file, "--format", "markdown"], monkeypatch, capsys)
    page = Page(out)

    check_log(out)
    assert page.tags <= OURS
    assert page.attributes <= {("style", "text-align:right")}
    words = [STAMP.sub("", word).replace(NO_WIDTH, "\0") for word in page.words]
    assert [word for word in words if LINKED.search(word)] == []
    assert len(out) < 50_000


def test_the_junit_file_and_the_annotations_are_inert(run_file):
    document = of_summary(summarize(run_file))
    text = junit.junit(document)

    assert len(cases(text)) >= 2
    assert len(text) < 50_000
    for line in github.annotations(document):
        assert read(line)[1].keys() == {"title"}
        check_log(line.removeprefix("::error ").removeprefix("::warning ").replace("::", " "))


def test_an_error_that_repeats_a_hostile_name_is_inert(monkeypatch, capsys):
    for text in (ESCAPES, TURNED, "::error::x", "##vso[task.complete]x", "\n::error::x"):
        for arguments in (["report", f"{text}.jsonl"], ["run", text], ["size", text], [text], ["run", "--rate", text]):
            monkeypatch.setattr(sys, "argv", ["ptubench", *(part.replace("\0", "") for part in arguments)])
            with pytest.raises(SystemExit):
                main()
            said = capsys.readouterr()

            check_log(said.err)
            check_log(said.out)
