"""Which runs a search trains, and how far."""

import json
import signal
import types

import pytest

from pax.errors import ConfigError
from pax.sweeps.folder import claim, runs_of
from pax.sweeps.halving import Halving
from pax.sweeps.search import best_of, draw_runs, rungs_of

SWEEP = [{"a": index} for index in range(10)]


def test_runs_are_drawn_once_each_and_more_of_them_begin_alike():
    few, more = draw_runs(SWEEP, 4, seed=1), draw_runs(SWEEP, 10, seed=1)
    assert more[:4] == few and sorted(run["a"] for run in more) == list(range(10))
    assert draw_runs(SWEEP, 4, seed=2) != few
    for num in (0, 11):
        with pytest.raises(ConfigError, match=f"--num_runs is {num}, and .*: give 1 to 10"):
            draw_runs(SWEEP, num, seed=0)


@pytest.mark.parametrize(
    ("num_runs", "num_iters", "chunk", "factor", "rungs"),
    [
        (9, 90, 10, 3, [(10, 9), (30, 3), (90, 1)]),
        # 100 / 9 is 11.1, of which 20 is the next multiple of the chunk.
        (9, 100, 10, 3, [(20, 9), (40, 3), (100, 1)]),
        (64, 100, 10, 2, [(20, 64), (30, 32), (50, 16), (100, 8)]),
        (2, 100, 10, 3, [(100, 2)]),
        (9, 5, 10, 3, [(5, 9)]),
    ],
)
def test_rungs_of_halving(num_runs, num_iters, chunk, factor, rungs):
    assert rungs_of(num_runs, num_iters, chunk, factor) == rungs


def report(run, iteration, value, state="done", reason=None, num_iters=None):
    run.workdir.mkdir(exist_ok=True)
    with (run.workdir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"iteration": iteration, "m": value}) + "\n")
    status = {
        "state": state,
        "iteration": iteration,
        "num_iters": num_iters or iteration,
        "reason": reason,
        "saved": [iteration],
    }
    (run.workdir / "training.json").write_text(json.dumps(status))


def test_the_best_at_an_iteration_go_on(tmp_path):
    runs = runs_of(tmp_path, "a.py", {}, SWEEP[:4])
    claim(runs)
    for run, value in zip(runs, (1.0, 3.0, None, 2.0), strict=True):
        report(run, 10, value)
        report(run, 30, -1.0 if value is None else -value)
    names = lambda found: [run.name for run in found]  # noqa: E731
    assert names(best_of(runs, "m", False, at=10, num=2)) == ["001", "003"]
    assert names(best_of(runs, "m", True, at=10, num=2)) == ["000", "003"]
    # What came later counts later.
    assert names(best_of(runs, "m", False, at=30, num=2)) == ["000", "002"]
    assert names(best_of(runs, "m", False, at=20, num=4))[-1] == "003"


@pytest.mark.parametrize(
    ("told", "has_reached"),
    [
        ({"state": "done"}, True),
        ({"state": "done", "iteration": 20}, False),
        ({"state": "done", "iteration": 20, "reason": "EarlyStop"}, True),
        # Killed when that checkpoint was on its way, stopped before evaluations, or failed at the end.
        ({"state": "training"}, False),
        ({"state": "stopped"}, False),
        ({"state": "failed"}, False),
        # It went on from there.
        ({"state": "training", "num_iters": 90}, True),
        ({"state": "failed", "iteration": 40, "num_iters": 90}, True),
        ({"state": "training", "iteration": 20, "num_iters": 90}, False),
    ],
)
def test_a_run_has_reached_an_iteration_once_it_is_saved_there(told, has_reached, tmp_path):
    (run,) = runs_of(tmp_path, "a.py", {}, SWEEP[:1])
    assert not run.has_reached(30)
    report(run, **{"iteration": 30, "value": 1.0, **told})
    assert run.has_reached(30) == has_reached


class Trainer:
    num_iters, chunk = 90, 10


class Fake(Halving):
    """Trains at once: run i reports i."""

    trained: list

    def _build(self, run):
        return Trainer()

    def _train(self, runs):
        at = {self._trainers[run.index].num_iters for run in runs}
        self.trained.append((sorted(at), [run.index for run in runs]))
        for run in runs:
            report(run, *at, float(run.index))
        return signal.SIGTERM if self.stops and len(self.trained) == 2 else None


def test_halving_goes_on_where_it_was(tmp_path):
    runs = runs_of(tmp_path, "a.py", {}, SWEEP[:9])
    claim(runs)

    def work(stops):
        search = Fake(runs, None, metric="m", ascending=False, factor=3, say=lambda line: None)
        search.trained, search.stops = [], stops
        return search.work(), search.trained

    first = ([10], list(range(9)))
    assert work(stops=True) == (signal.SIGTERM, [first, ([30], [6, 7, 8])])
    # What was done is left alone.
    assert work(stops=False) == (None, [([], []), ([], []), ([90], [8])])
    assert work(stops=False) == (None, [([], []), ([], []), ([], [])])


def test_halving_is_of_runs_of_equal_length(tmp_path):
    class Uneven(Fake):
        def _build(self, run):
            return types.SimpleNamespace(num_iters=90 if run.index else 60, chunk=10)

    runs = runs_of(tmp_path, "a.py", {}, SWEEP[:9])
    with pytest.raises(
        ConfigError, match="--search=halving decides how .* num_iters to 60 and 90: give"
    ):
        Uneven(runs, None, metric="m", ascending=False, factor=3)


def test_halving_ends_where_all_have_failed(tmp_path):
    runs = runs_of(tmp_path, "a.py", {}, SWEEP[:9])
    claim(runs)
    lines = []

    class Fails(Fake):
        def _train(self, runs):
            self.failed += runs

    assert Fails(runs, None, metric="m", ascending=False, factor=3, say=lines.append).work() is None
    assert lines == ["Until iteration 10: 9 of 9 runs."]
