"""Files that are made to exhaust what reads them: a sentence, before the memory is."""

import gzip
import tracemalloc
import zlib

import pytest

import runs
from ptubench import record
from ptubench.errors import UsageError
from ptubench.load import messages, traces
from ptubench.ptu import prices
from ptubench.results import store
from ptubench.search import answer
from ptubench.workload import yaml_file
from ptubench.workload.model import Trace

MB = 2**20


def bomb(path, piece, megabytes):
    """A compressed run file whose head is followed by so many megabytes of one piece, without ever having them."""
    pack = zlib.compressobj(wbits=31)
    with path.open("wb") as file:
        file.write(pack.compress(record.encode(runs.head())))
        for _ in range(megabytes):
            file.write(pack.compress(piece * (MB // len(piece))))
        file.write(pack.flush())
    return path


@pytest.mark.parametrize(
    ("piece", "megabytes", "said"),
    [
        (b"x" * 1024, 64, "line 2 exceeds 16 MiB, as no run file does"),
        (b"\n", 1, "over 10,000 of its lines can't be read; it is no run file"),
        (record.encode(runs.ok(0, 10)) + b" " * 10_000 + b"\n", 32, "unpacked it exceeds 200 times its size"),
    ],
    ids=["one line", "no lines", "lines"],
)
def test_a_compressed_run_file_that_becomes_too_large_is_refused(piece, megabytes, said, tmp_path):
    path = bomb(tmp_path / "run.jsonl.gz", piece, megabytes)
    tracemalloc.start()

    with pytest.raises(UsageError, match=said):
        for _ in store.lines(path):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert path.stat().st_size < MB
    assert peak < 60 * MB  # three copies of the longest line


def test_a_compressed_run_of_many_calls_is_no_such_file(tmp_path):
    path = tmp_path / "run.jsonl.gz"
    calls = b"".join(map(record.encode, runs.steady(3000)))
    path.write_bytes(gzip.compress(record.encode(runs.head()) + calls + record.encode(runs.end())))

    assert sum(1 for _ in store.lines(path)) == 3002


def test_minutes_with_more_requests_than_memory_are_refused(tmp_path):
    path = tmp_path / "usage.csv"
    minutes = "".join(f"2026-11-22T09:{minute:02}Z,9000000,9000000,0,9000000\n" for minute in range(60))
    path.write_text(f"{traces.USAGE_HEADER}\n{minutes}")

    with pytest.raises(UsageError, match=r"540,000,000 requests, more than the 10,000,000 that one run can hold"):
        traces.read(Trace(file=str(path), format="usage"), duration=3600.0, seed=0)
    assert len(traces.lines(str(path), "usage")) == 60  # as a history for `size` it is fine


def test_a_number_of_a_thousand_digits_is_too_large(tmp_path):
    path = tmp_path / "usage.csv"
    path.write_text(f"{traces.USAGE_HEADER}\n2026-11-22T09:00Z,{'9' * 9000},1,0,1\n")

    with pytest.raises(UsageError, match=r":2: a number is too large$"):
        traces.lines(str(path), "usage")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("? &a [x]\n? &b [*a, *a]\n", r"line 2: an alias \(`\*NAME`\) is not supported; write the value out"),
        ("".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9 * (i > 0)}]\n" for i in range(40)), r"line 2: an alias"),
        ('dated: "\\U00110000"\n', "not YAML"),
        ('dated: "\\UFFFFFFFF"\n', "not YAML"),
        ("[" * 1000, "not YAML"),
        (f"dated: 2026-11-01\n{'x' * 900}: 1\n", r"Object contains unknown field `x+…"),
    ],
)
def test_a_table_of_prices_can_not_be_larger_than_its_text(text, said, tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(text)

    with pytest.raises(UsageError, match=said) as refused:
        prices.load(path)
    assert len(str(refused.value)) < 1000


def test_a_workload_has_no_more_values_than_a_page():
    with pytest.raises(UsageError, match=r"w.yaml:\d+: too many values; a workload is a page of text"):
        yaml_file.parse("- a\n" * 40_000, "w.yaml")


def test_messages_of_senseless_depth_are_refused(tmp_path):
    path = tmp_path / "messages.jsonl"
    path.write_text('{"messages":' * 100_000)

    with pytest.raises(UsageError, match=":1: not JSON"):
        messages.read(str(path))


@pytest.mark.parametrize("content", [b'{"schema_version": 1, "x": "\xff"}', b"[" * 100_000, b'{"x":' * 100_000])
def test_an_answer_of_a_search_that_is_no_text_or_too_deep_is_refused(content, tmp_path):
    (tmp_path / answer.ANSWER).write_bytes(content)

    with pytest.raises(UsageError, match=r"can't be read \(.*\); name a run file, or search again"):
        answer.read(tmp_path)
