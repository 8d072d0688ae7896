"""The progress line of a sweep, and the names and settings in what it prints."""

import pathlib
import sys

import pytest

from pax.run import progress_line
from pax.sweeps.folder import runs_of
from pax.sweeps.one_program import splitting
from pax.sweeps.progress import SweepProgress
from pax.sweeps.side_by_side import in_short


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now[0])
    return now


def test_runs_that_train_side_by_side_count_as_far_as_they_are(clock):
    progress = SweepProgress({0: 0.0, 1: 0.0, 2: 1.0})
    clock[0] += 10.0
    progress.show({0: 0.25, 1: 0.25})
    # Half a run in 10 s, and one and a half are left; the run that was done before took no time.
    assert str(progress) == "1/3 runs done, 2 running, ETA 30 s"
    clock[0] += 30.0
    progress.show({0: 1.0, 1: 1.0})
    progress.done(0)
    # The other one is as far, though it is not done yet.
    assert str(progress) == "2/3 runs done, 1 running, ETA 0 s"


def test_of_a_search_only_what_it_trains_is_counted(clock):
    # Four runs of one iteration, and the best of them of four: 7 iterations are 1.75 runs.
    progress = SweepProgress(dict.fromkeys(range(4), 0.0), work=7 / 4)
    clock[0] += 10.0
    progress.show({0: 0.25, 1: 0.25, 2: 0.25, 3: 0.25})
    assert progress.eta() == "ETA 8 s"


def test_in_a_file_there_is_a_line_a_minute(clock, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    progress = SweepProgress({0: 0.0, 1: 0.0})
    for _ in range(13):
        clock[0] += 10.0
        progress.show({0: (clock[0] - 100.0) / 200.0})
    assert capsys.readouterr().err == (
        "0/2 runs done, 1 running, ETA 340 s\n0/2 runs done, 1 running, ETA 280 s\n"
    )


def test_runs_are_named_in_short():
    assert in_short(["000"]) == "000"
    assert in_short(["000", "001", "002", "008"]) == "000 to 002, 008"
    assert in_short([str(number) for number in range(0, 40, 2)]) == (
        "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, ..."
    )


def test_what_splits_a_sweep_is_named():
    sweep = [
        {"hidden_size": size, "rate": rate, "entropy": entropy}
        for size in (4, 8)
        for rate in (0.1, 0.2)
        for entropy in (0.0, 0.1, 0.2)
    ]
    runs = runs_of(pathlib.Path("exp"), "mine.py", {}, sweep)
    of_size = [[run for run in runs if run.overrides["hidden_size"] == size] for size in (4, 8)]
    of_zero = [
        [run for run in part if (run.overrides["entropy"] == 0) == is_zero]
        for part in of_size
        for is_zero in (True, False)
    ]
    assert splitting(of_size) == ["hidden_size"]
    assert splitting(of_zero) == ["hidden_size", "entropy"]
