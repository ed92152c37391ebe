"""Files that an option names: whole or not at all, and said to be impossible before anything is measured."""

import gzip
import os
import stat
import threading
from pathlib import Path

import pytest

import runs
from ptubench import record
from ptubench.errors import MeasurementLost, UsageError
from ptubench.results import output


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "new" / "report.html"
    output.check_writable(path, "--html")
    output.write(path, "one\n")
    output.write(path, "zwei ✓\r\n")

    assert path.read_bytes() == "zwei ✓\r\n".encode()
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    output.write(tmp_path / "a", "")
    (tmp_path / "b").write_text("")

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), output.writing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError

    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    output.write(tmp_path / "link", "new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_pipe_is_written_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    output.check_writable(tmp_path / "pipe", "--junit")
    output.write(tmp_path / "pipe", "through")
    reader.join(10)

    assert read == ["through"]


@pytest.mark.parametrize(
    ("place", "why"),
    [("folder", "it is a folder"), ("file/report", "File exists"), ("x" * 300, "File name too long")],
)
def test_a_place_that_cannot_be_written_is_one_sentence(place, why, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        output.check_writable(tmp_path / place, "--junit")

    assert str(caught.value) == (
        f"--junit {tmp_path / place}: can't be written ({why}); name a file in a folder that can be written to"
    )


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz"])
def test_a_run_file_is_never_written_over(name, tmp_path):
    path = tmp_path / name
    with gzip.open(path, "wb") if name.endswith(".gz") else path.open("wb") as file:
        file.write(record.encode(runs.head()))
    with pytest.raises(UsageError) as caught:
        output.check_writable(path, "--junit")

    assert str(caught.value) == f"--junit {path}: is a run file, which would be lost; name another file"
    output.check_writable(path, "--slim", over_run=True)


def test_a_full_disk_is_one_sentence():
    with pytest.raises(MeasurementLost, match=r"^/dev/full: can't be written \(No space left on device\); make room"):
        output.write(Path("/dev/full"), "text")
