"""Run files: named, written as it happens, never overwritten, and read whatever happened to them."""

import gzip
import zlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ptubench import record
from ptubench.analysis.summary import summarize
from ptubench.errors import MeasurementLost, UsageError
from ptubench.results import store
from runs import STARTED, end, head, ok, steady, throttled, tick, write

LINES = [head(), ok(0, 12.0), throttled(1, 13.0), tick(13, gaps={500: 3}), end()]


def made(*args, **options):
    """The path of a new, empty run file."""
    writer = store.create(*args, **options)
    writer.close()
    return writer.path


def stored(path):
    return list(store.lines(path))


@pytest.mark.parametrize("compress", [False, True])
def test_what_was_written_is_read_again(compress, tmp_path):
    writer = store.create(tmp_path, "chat", None, STARTED, compress=compress)
    for line in LINES:
        writer.write(record.encode(line))
    writer.close()
    writer.close()

    assert stored(writer.path) == LINES
    assert store.read_head(writer.path) == LINES[0]


def test_the_name_tells_time_workload_and_label(tmp_path):
    east = datetime(2026, 11, 22, 14, 0, 5, tzinfo=timezone(timedelta(hours=2)))

    assert made(tmp_path, "chat", None, east).name == "20261122T120005Z-chat.jsonl"
    assert made(tmp_path, "chat", "after fix", east).name == "20261122T120005Z-chat-after-fix.jsonl"
    assert made(tmp_path, "chat", None, east, compress=True).name == "20261122T120005Z-chat.jsonl.gz"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c:d", "..", "", "\0", "x" * 400, "名前"])
def test_no_label_leads_out_of_the_folder(name, tmp_path):
    for path in (made(tmp_path, name, None, STARTED), made(tmp_path, "chat", name, STARTED)):
        assert path.resolve().parent == tmp_path.resolve()
        assert len(path.name) < 200


def test_a_result_is_never_overwritten(tmp_path):
    paths = [made(tmp_path, "chat", None, STARTED) for _ in range(3)]

    assert [path.name.removeprefix("20261122T120000Z-") for path in paths] == [
        "chat.jsonl",
        "chat-2.jsonl",
        "chat-3.jsonl",
    ]


def test_the_folder_is_made(tmp_path):
    assert made(tmp_path / "a" / "b", "chat", None, STARTED).exists()


def test_a_folder_that_cannot_be_written_is_one_sentence_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError) as caught:
        store.create(tmp_path / "file", "chat", None, STARTED)

    assert str(caught.value) == (
        f"{tmp_path}/file: results can't be written there (File exists); choose another folder with `--results DIR`"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk_in_mid_run_says_that_the_measurement_is_lost():
    writer = store.Writer.__new__(store.Writer)
    writer.path = Path("results/run.jsonl")
    writer._file = writer._raw = open("/dev/full", "wb")  # noqa: SIM115, PTH123
    writer._flushed = 0.0

    with pytest.raises(
        MeasurementLost, match=r"results/run.jsonl: the run's records can't be written any more \(No space"
    ):
        writer.write(b"{}\n")
    with pytest.raises(MeasurementLost):
        writer.close()


@pytest.mark.parametrize("compress", [False, True])
def test_lines_are_on_the_disk_after_a_flush_while_the_run_goes_on(compress, tmp_path):
    writer = store.create(tmp_path, "chat", None, STARTED, compress=compress)
    writer.write(record.encode(LINES[0]) + record.encode(LINES[1]))
    writer.flush()

    assert stored(writer.path) == LINES[:2]
    writer.close()


def test_a_torn_last_line_is_ignored_wherever_it_was_cut(tmp_path):
    whole = b"".join(map(record.encode, LINES))
    start = len(whole) - len(record.encode(LINES[-1]))
    path = tmp_path / "run.jsonl"

    for cut in range(start, len(whole) - 1):
        path.write_bytes(whole[:cut])
        broken: list[int] = []
        assert list(store.lines(path, broken=broken)) == LINES[:-1]
        assert broken == []
    path.write_bytes(whole[:-1])  # all there but the newline
    assert stored(path) == LINES


def test_broken_lines_elsewhere_are_counted_and_said(tmp_path):
    path = tmp_path / "run.jsonl"
    rubbish = [b"\n", b"{]\n", b'{"type":"attempt"}\n', b"\xff\xfe\n", b"[" * 5000 + b"\n", b'{"type":"other"}\n']
    roomy = head(target={"kind": "azure", "model": "gpt-4.1", "ptu": 1000})
    path.write_bytes(record.encode(roomy) + b"".join(rubbish) + b"".join(map(record.encode, [*steady(20), end()])))

    result = summarize(path)

    assert result["metrics"]["requests"]["ok"] == 20
    assert result["notes"] == [
        {"code": "broken_lines", "text": "6 lines (2, 3, 4, …) of the run file can't be read and are left out"}
    ]


def test_a_compressed_file_cut_anywhere_gives_what_it_has(tmp_path):
    lines = [head(), *steady(300), end()]
    whole = gzip.compress(b"".join(map(record.encode, lines)))
    path = tmp_path / "run.jsonl.gz"
    path.write_bytes(whole)
    assert stored(path) == lines

    for cut in (len(whole) - 1, len(whole) - 9, len(whole) * 3 // 4):
        path.write_bytes(whole[:cut])
        there = zlib.decompressobj(wbits=31).decompress(whole[:cut]).count(b"\n")
        assert stored(path) == lines[:there]


def test_a_compressed_file_damaged_in_the_middle_is_no_crash(tmp_path):
    whole = bytearray(gzip.compress(b"".join(map(record.encode, [head(), *steady(3000), end()]))))
    whole[len(whole) // 2 : len(whole) // 2 + 50] = bytes(50)
    path = tmp_path / "run.jsonl.gz"
    path.write_bytes(whole)

    assert summarize(path)["run"]["ended"] == "killed"


NO_RUN = "not a run file, since its first line is no head; run files are what `ptubench run` writes"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", NO_RUN),
        (b"name: chat\n", NO_RUN),
        (b"\x89PNG\r\n\x1a\n" * 100, NO_RUN),
        (record.encode(ok(0, 1.0)), NO_RUN),
        (b"[" * 100_000, NO_RUN),
        (
            b'{"type":"head","schema":7,"tool_version":"9.1","future":true}\n',
            "written with schema 7 by ptubench 9.1, and this ptubench reads schema 1; install that version of ptubench to read it",
        ),
    ],
)
def test_what_is_no_run_file_is_said_in_one_sentence(content, sentence, tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_bytes(content)

    for read in (store.read_head, stored, summarize):
        with pytest.raises(UsageError) as caught:
            read(path)
        assert str(caught.value) == f"{path}: {sentence}"


def test_a_head_without_its_parts_is_said(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_bytes(b'{"type":"head","schema":1}\n')

    with pytest.raises(UsageError, match=r"the head of the run file can't be read .*missing required field"):
        store.read_head(path)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UsageError) as caught:
        stored(tmp_path / "none.jsonl")

    assert str(caught.value) == (
        f"{tmp_path}/none.jsonl: the run file can't be opened (No such file or directory); give the path that `ptubench run` "
        "printed"
    )


def test_a_file_that_is_called_gz_and_is_not_is_said(tmp_path):
    path = write(tmp_path / "run.jsonl.gz", head(), end())

    with pytest.raises(UsageError, match="the compressed file is damaged at its beginning"):
        stored(path)


def test_two_runs_in_one_file_are_not_mixed(tmp_path):
    path = write(tmp_path / "run.jsonl", *LINES, *LINES)

    with pytest.raises(UsageError) as caught:
        stored(path)

    assert str(caught.value) == f"{path}: line 6 begins a second run; report each run from its own file"
