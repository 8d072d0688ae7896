"""Searches by Optuna: what may be suggested, and that the same command goes on."""

import json
import signal

import pytest

from pax.errors import ConfigError
from pax.sweeps import suggested
from pax.sweeps.folder import runs_of
from pax.sweeps.suggested import Suggested, choices_of
from pax.sweeps.sweep import product

RATE = "agent1.learning_rate"


def test_floats_are_ranges_and_everything_else_is_one_of_its_values():
    sweep = product(**{RATE: (0.1, 0.001, 0.01), "agent1.hidden_size": (8, 4)}, seed=range(2))
    assert choices_of(sweep) == {RATE: [0.001, 0.01, 0.1], "agent1.hidden_size": [8, 4]}
    with pytest.raises(ConfigError, match="one of each setting but the seed: give it more"):
        choices_of(product(**{RATE: (0.1,)}, seed=range(3)))
    with pytest.raises(ConfigError, match=r"run 001 of the sweep does not have a\.b, which others"):
        choices_of([{"a.b": 1}, {"c": 1}])


class Trained:
    """Trains at once: what a run comes to is best at a rate of .02 and with "b"."""

    stops_at = ""
    fails_above = 0.09

    def __init__(self, runs, config, *, side_by_side=0, say=print):
        self.runs, self.failed = runs, []

    def work(self):
        for run in self.runs:
            if run.name == self.stops_at:
                return signal.SIGTERM
            rate, kind = run.overrides[RATE], run.overrides["kind"]
            run.workdir.mkdir(exist_ok=True)
            value = -((rate - 0.02) ** 2) * 1e4 - (kind != ("b",))
            row = {"iteration": 10, "m": value}
            (run.workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
            status = {
                "state": "done",
                "iteration": 10,
                "num_iters": 10,
                "reason": None,
                "saved": [],
            }
            (run.workdir / "training.json").write_text(json.dumps(status))
            if rate > self.fails_above:
                self.failed.append(run)
        return None


def search(folder, num_runs=24, seed=0):
    sweep = product(**{RATE: (0.001, 0.1), "kind": (("a",), ("b",))})
    space = runs_of(folder, "mine.py", {}, sweep)
    options = {"metric": "m", "ascending": False, "num_runs": num_runs, "seed": seed}
    return Suggested(space, None, **options, say=lambda line: None)


def test_the_same_command_suggests_the_same_and_more_runs_begin_alike(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setattr(suggested, "OneProgram", Trained)
    straight = search(tmp_path / "straight")
    assert straight.work() is None
    settings = [run.overrides for run in straight.runs]
    assert len(settings) == 24 and all(0.001 <= each[RATE] <= 0.1 for each in settings)
    # Later ones are better than the first, which are drawn at random.
    tried = search(tmp_path / "long", num_runs=48)
    tried.work()
    assert [run.overrides for run in tried.runs][:24] == settings
    right = [run.overrides["kind"] == ("b",) for run in tried.runs]
    assert sum(right[:8]) <= 5 and sum(right[16:]) >= 24
    assert min(abs(run.overrides[RATE] - 0.02) for run in tried.runs[16:]) < 0.001
    monkeypatch.setattr(Trained, "stops_at", "012")
    stopped = search(tmp_path / "stopped")
    assert stopped.work() == signal.SIGTERM and len(stopped.runs) == 16
    monkeypatch.setattr(Trained, "stops_at", "")
    again = search(tmp_path / "stopped", num_runs=16)
    assert again.work() is None and [run.overrides for run in again.runs] == settings[:16]
    more = search(tmp_path / "stopped")
    assert more.work() is None and [run.overrides for run in more.runs] == settings
    # What was recorded is not forgotten while the first batch is at work again.
    assert search(tmp_path / "stopped", num_runs=8).work() is None
    assert len(json.loads((tmp_path / "stopped/sweep.json").read_text())["runs"]) == 24
    with pytest.raises(ConfigError, match="holds another sweep"):
        search(tmp_path / "stopped", seed=1).work()


def test_what_was_suggested_stays_though_a_run_comes_to_something_else(tmp_path, monkeypatch):
    """A run that failed is tried again, and what follows was suggested after its failure."""
    pytest.importorskip("optuna")
    monkeypatch.setattr(suggested, "OneProgram", Trained)
    monkeypatch.setattr(Trained, "fails_above", 0.001)
    first = search(tmp_path)
    assert first.work() is None and len(first.failed) == 24
    settings = [run.overrides for run in first.runs]
    monkeypatch.setattr(Trained, "fails_above", 0.09)
    again = search(tmp_path, num_runs=32)
    assert again.work() is None
    assert [run.overrides for run in again.runs][:24] == settings
    # What the kept ones came to is known: later ones are near the best.
    assert sum(run.overrides["kind"] == ("b",) for run in again.runs[24:]) >= 5


def test_what_it_needs_is_told(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    with pytest.raises(ConfigError, match="trains --num_runs runs: give how many"):
        search(tmp_path, num_runs=0)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"--search=optuna needs Optuna .*: pip install"):
        search(tmp_path)
