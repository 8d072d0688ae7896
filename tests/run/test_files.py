"""Files that are written whole, and the line that tells of progress."""

import os
import pathlib
import sys

import pytest

from pax.run import progress_line
from pax.run.files import write_rows, write_whole


def test_a_file_is_as_it_was_or_as_it_should_be(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("before")
    # Another process is in the middle of writing it: each has a temporary file of its own.
    (tmp_path / f".file.{os.getpid() + 1}.tmp").write_text("theirs")
    write_whole(path, "after, \u00e4")
    assert path.read_bytes() == b"after, \xc3\xa4"
    for error in (OSError("the disk is full"), KeyboardInterrupt()):

        def fail(descriptor, error=error):
            raise error

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(type(error)):
            write_whole(path, "x" * 1000)
    assert path.read_bytes() == b"after, \xc3\xa4"
    others = [other.name for other in tmp_path.iterdir() if other != path]
    assert others == [f".file.{os.getpid() + 1}.tmp"]


def test_rows_are_written_as_csv(tmp_path):
    write_rows(tmp_path / "rows.csv", [["a", 'b"c'], ["1,5", "two\nlines"]])
    text = (tmp_path / "rows.csv").read_bytes().decode()
    assert text == 'a,"b""c"\r\n"1,5","two\nlines"\r\n'


def test_one_line_tells_of_progress_on_a_terminal(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now[0])
    line = progress_line.ProgressLine("matches")
    line.count(0, 4)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line.count(0, 4, "the first")
    now[0] += 6.0
    line.count(1, 4)
    line.count(4, 4)
    line.clear()
    clear = "\r\033[K"
    # One in 6 s, so that three more take 18 s.
    assert capsys.readouterr().err == (
        f"{clear}0/4 matches, the first {clear}1/4 matches, ETA 18 s {clear}"
    )


def test_progress_with_a_limit_of_time_tells_no_longer_eta(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now[0])
    line = progress_line.ProgressLine("measured", limit=20.0)
    now[0] += 6.0
    assert line.eta(1, 4) == "ETA 14 s"
    assert line.eta(3, 4) == "ETA 2 s"
    now[0] += 20.0
    assert line.eta(2, 4) == "ETA 0 s"


def test_nothing_else_writes_whole_files():
    """There is one place for it: others forget the flush, or leave what they could not finish."""
    root = pathlib.Path(__file__).parents[2]
    found = {
        path.relative_to(root).as_posix()
        for folder in ("pax", "launch", "callbacks", "configs")
        for path in (root / folder).rglob("*.py")
        if "os.replace(" in path.read_text()
    }
    # Writers of metrics move a file of an earlier run out of the way.
    assert found == {"pax/run/files.py", "pax/metrics/json_writer.py", "pax/metrics/writers.py"}
