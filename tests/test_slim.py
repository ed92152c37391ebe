"""A slim run file: smaller, the same numbers, and never in the place of anything that would be lost."""

import gzip
import random
from pathlib import Path

import msgspec
import pytest

from ptubench import record
from ptubench.analysis import slim
from ptubench.analysis.summary import summarize
from ptubench.compare.runs import compare
from ptubench.errors import UsageError
from ptubench.gate.document import check
from ptubench.ptu import prices
from ptubench.record import SPILLED, THROTTLED_IN_BAND
from ptubench.results import store
from runs import cut, dropped, end, failed, head, ok, throttled, tick, write

EXAMPLES = Path(__file__).parents[1] / "results/examples"
IDS = {"x-request-id": "c0ffee", "apim-request-id": "c0ffee", "x-ms-deployment-name": "chat"}
LIMITS = {f"x-ratelimit-{kind}-{of}": "7" for kind in ("limit", "remaining") for of in ("requests", "tokens")}
DATE = {"retry-after": "Sun, 22 Nov 2026 12:00:42 GMT"}


def numbers(path):
    summary = summarize(path)
    summary["run"].pop("file")
    return summary


def slimmed(path, folder, ending=".jsonl"):
    small = folder / f"small{ending}"
    slim.write(path, small)
    return small


def anything(seed):
    """Lines of every kind, with every header that tells something."""
    dice = random.Random(seed)
    makers = (
        lambda i, due: ok(i, due, ttft=dice.random(), headers=IDS),
        lambda i, due: ok(i, due, headers=IDS | LIMITS | {"x-ms-region": dice.choice(["Sweden Central", "East US"])}),
        lambda i, due: ok(i, due, headers=IDS | {SPILLED: "standard", "retry-after": "3"}),
        lambda i, due: ok(i, due, headers=IDS | LIMITS | {"retry-after-ms": "70"}, flags=(THROTTLED_IN_BAND,)),
        lambda i, due: ok(i, due, first_content=None, first_output=None, last_content=None, diverted=True),
        lambda i, due: throttled(i, due, headers=IDS | {"retry-after-ms": str(dice.randrange(9000))}),
        lambda i, due: throttled(i, due, headers=IDS | LIMITS | DATE),
        lambda i, due: throttled(i, due, headers=LIMITS | {f"x-ratelimit-remaining-{dice.choice(['tokens'])}": "0"}),
        lambda i, due: failed(i, due, kind=dice.choice(["broken_stream", "http_500"]), error="x" * 300, headers=IDS),
        cut,
        dropped,
    )
    lines = [dice.choice(makers)(index, 7 + index * 0.05) for index in range(1200)]
    ticks = [tick(t, gaps={500: 3, 480: t}, loop_lag={300: 99}, cpu=0.5, in_flight=3, sent=2) for t in range(70)]
    return [head(checks=("ttft.p95 <= 1s", "refused.ratio <= 1%")), *lines, *ticks, end()]


@pytest.mark.parametrize("seed", range(3))
def test_a_slim_file_has_the_same_numbers(seed, tmp_path):
    whole = write(tmp_path / "run.jsonl", *anything(seed))
    small = slimmed(whole, tmp_path)

    assert numbers(small) == numbers(whole)
    assert small.stat().st_size < 0.9 * whole.stat().st_size


@pytest.mark.parametrize("name", ["demo.jsonl.gz", "faults.jsonl.gz"])
def test_a_slim_example_has_the_same_numbers(name, tmp_path):
    small = slimmed(EXAMPLES / name, tmp_path, ".jsonl.gz")

    assert numbers(small) == numbers(EXAMPLES / name)
    assert small.stat().st_size < 0.8 * (EXAMPLES / name).stat().st_size


@pytest.fixture
def pairs(tmp_path):
    """Two runs, and the same two as slim files."""
    wholes = [EXAMPLES / "chat-120ptu.jsonl.gz", EXAMPLES / "chat-150ptu.jsonl.gz"]
    smalls = [tmp_path / whole.name for whole in wholes]
    for whole, small in zip(wholes, smalls, strict=True):
        slim.write(whole, small)
    return wholes, smalls


def nameless(document):
    """A document without the paths of its runs."""
    for run in [*document["runs"], *(document.get("baseline") or [])]:
        run.pop("file")
    return msgspec.json.encode(document)


def test_slim_files_compare_as_whole_ones_do(pairs):
    found, again = (nameless(compare(runs, prices.shipped(), force=True)) for runs in pairs)

    assert again == found


def test_slim_files_are_judged_as_whole_ones_are(pairs):
    regressions = ("ttft.p95: 10%", "refused.ratio: +1pt")
    found, again = (nameless(check([now], baseline=[before], regressions=regressions)) for before, now in pairs)

    assert again == found


def test_lines_that_cannot_be_read_keep_their_numbers(tmp_path):
    path = write(tmp_path / "run.jsonl", *anything(0))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"no line\n", b"{}\n", *lines[1:5], b"[1]\n", *lines[5:], b'{"type":"att']))
    notes = [note["text"] for note in numbers(path)["notes"] if note["code"] == "broken_lines"]

    assert notes
    assert numbers(slimmed(path, tmp_path)) == numbers(path)


def test_a_run_without_an_end_stays_one(tmp_path):
    path = write(tmp_path / "run.jsonl", *anything(0)[:-1])

    assert numbers(slimmed(path, tmp_path))["run"]["ended"] == "killed"


def test_request_ids_are_dropped_and_the_first_error_of_each_kind_is_kept(tmp_path):
    lines = [failed(i, 20.0 + i, kind=f"http_50{i % 2}", error=f"{i}", headers=IDS) for i in range(4)]
    small = slimmed(write(tmp_path / "run.jsonl", head(), *lines, end()), tmp_path)
    kept = [line for line in store.lines(small) if isinstance(line, record.Attempt)]

    assert [line.error for line in kept] == ["0", "1", None, None]
    assert [line.headers for line in kept] == [{}] * 4
    assert b"c0ffee" not in small.read_bytes()


def test_the_same_run_makes_the_same_bytes_whatever_the_name(tmp_path):
    path = write(tmp_path / "run.jsonl", *anything(0))
    slim.write(path, tmp_path / "a.jsonl.gz")
    slim.write(path, tmp_path / "b.jsonl.gz")
    slim.write(tmp_path / "a.jsonl.gz", tmp_path / "c.jsonl")

    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == (tmp_path / "c.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("run.jsonl", "is the run itself, which would be lost; name another file"),
        ("other.jsonl", "is there and no slim run file, so it is not replaced; name another file, or remove it"),
        ("run.txt", "not the name of a run file; let it end with .jsonl.gz"),
    ],
)
def test_nothing_is_lost(name, why, tmp_path):
    path = write(tmp_path / "run.jsonl", head(), ok(0, 20.0), end())
    write(tmp_path / "other.jsonl", head(), end())
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        slim.write(path, tmp_path / name)

    assert str(caught.value) == f"--slim {tmp_path / name}: {why}"
    assert path.read_bytes() == before


def test_a_run_that_is_not_there_is_said_and_replaces_nothing(tmp_path):
    small = slimmed(write(tmp_path / "run.jsonl", head(), end()), tmp_path)
    with pytest.raises(UsageError, match="the run file can't be opened"):
        slim.write(tmp_path / "none.jsonl", small)

    assert store.read_head(small).slim


def test_a_slim_file_is_replaced(tmp_path):
    slimmed(write(tmp_path / "run.jsonl", head(), end()), tmp_path)
    small = slimmed(write(tmp_path / "next.jsonl", head(run_id="next"), end()), tmp_path)

    assert store.read_head(small).run_id == "next"
