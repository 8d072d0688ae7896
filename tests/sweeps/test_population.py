"""Population-based training: who takes over what from whom, and that it is taken over."""

import json
import math
import shutil

import jax
import numpy as np
import pytest

from pax.callbacks.callback import Callback
from pax.configs import ipd
from pax.errors import ConfigError
from pax.metrics.writers import read_metrics
from pax.sweeps.exploits import Exploit, Move, read_exploits, write_exploits
from pax.sweeps.folder import claim, runs_of
from pax.sweeps.population import Population, choose_moves, explore, stops_of

RATE = "agent1.learning_rate"
METRIC = "train/reward_per_timestep/player_1"
NAN = math.nan


@pytest.mark.parametrize(
    ("values", "num", "ascending", "moves"),
    [
        ((3.0, 1.0, 2.0, 4.0), 1, False, {1: (3,)}),
        ((3.0, 1.0, 2.0, 4.0), 1, True, {3: (1,)}),
        ((3.0, 1.0, 2.0, 4.0), 2, False, {1: (0, 3), 2: (0, 3)}),
        # Whoever failed is replaced, also where fewer are.
        ((3.0, NAN, NAN, 4.0), 1, False, {1: (3,), 2: (3,)}),
        ((NAN, NAN, NAN), 1, False, {}),
        # Nothing is gained from one that is no better.
        ((2.0, 2.0, 2.0, 2.0), 2, False, {}),
        ((NAN, 1.0), 1, False, {0: (1,)}),
    ],
)
def test_the_worst_take_over_from_the_best(values, num, ascending, moves):
    sources: dict[int, set[int]] = {}
    for seed in range(20):
        chosen = choose_moves(values, num, ascending, np.random.default_rng(seed))
        assert [run for run, _ in chosen] == sorted(moves)
        for run, source in chosen:
            sources.setdefault(run, set()).add(source)
    assert {run: tuple(sorted(each)) for run, each in sources.items()} == moves


def test_numbers_are_changed_a_little_as_far_as_they_may_be():
    own, source = {"a": 1.0, "b": 0.9, "n": 4, "seed": 7}, {"a": 0.5, "b": 0.95, "n": 8, "seed": 1}
    found = set()
    for seed in range(20):
        new = explore(own, source, np.random.default_rng(seed), lambda each: each["b"] <= 1)
        assert new["n"] == 8 and new["seed"] == 7
        found.add((new["a"], new["b"]))
    assert found == {(0.4, 0.76), (0.6, 0.76)}
    # The source stays as it is.
    assert source == {"a": 0.5, "b": 0.95, "n": 8, "seed": 1}
    assert explore(own, source, np.random.default_rng(0), lambda each: False)["a"] == 0.5


def test_settings_of_a_record_are_those_that_were_written(tmp_path):
    runs = runs_of(tmp_path, "mine.py", {}, [{"env.payoff": ((0.0, 1.0), (2.0, 3.0))}, {}])
    exploits = [
        Exploit(2, (Move(1, 0, runs[0].overrides),)),
        Exploit(4, (Move(0, 1, runs[0].overrides),), is_done=False),
    ]
    write_exploits(runs, exploits)
    assert read_exploits(runs) == exploits
    # As earlier versions wrote it.
    assert "is_done" not in json.loads((tmp_path / "population.json").read_text())[0]


def test_when_runs_take_over():
    assert stops_of(100, 10, 30) == [30, 60, 90, 100]
    assert stops_of(100, 4, 0) == [12, 24, 36, 48, 60, 72, 84, 96, 100]
    with pytest.raises(ConfigError, match=r"--exploit_every is 15, .* multiple of it, such as 10"):
        stops_of(100, 10, 15)
    with pytest.raises(ConfigError, match="every 10 iterations, and have 10: give more iterations"):
        stops_of(10, 10, 0)


def small(**settings):
    config = ipd.get_config("ppo,quicktest")
    config.num_envs, config.num_iters, config.chunk = 2, 6, 2
    config.num_inner_steps = 8
    config.num_devices = 1
    config.agent1.num_minibatches, config.agent1.num_epochs = 1, 1
    config.callbacks.checkpoint.every = 2
    config.callbacks.evaluation.enabled = False
    config.update(settings)
    return config


SWEEP = [{RATE: rate, "seed": seed} for seed, rate in enumerate((0.01, 0.1, 1.0))]


def population(folder, sweep=SWEEP, **settings):
    runs = runs_of(folder, "mine.py", {}, sweep)
    search = Population(
        runs, small(**settings), metric=METRIC, ascending=False, exploit_every=2, say=lambda _: None
    )
    claim(runs)
    return search


def rows_of(run):
    told = ("wall_time", "env_steps_per_second")
    return [
        {key: value for key, value in row.items() if key not in told}
        for row in read_metrics(run / "metrics.jsonl")
    ]


class StopError(Exception):
    """Ends a search as a crash would."""


def end_after_a_move(monkeypatch):
    """Has a search end as soon as the first run has taken over."""
    take_over = Population._take_over

    def ends(self, *arguments):
        take_over(self, *arguments)
        raise StopError

    monkeypatch.setattr(Population, "_take_over", ends)


@pytest.mark.slow
def test_a_population_goes_on_where_it_was_whatever_happened(tmp_path, monkeypatch):
    straight = population(tmp_path / "straight")
    assert straight.work() is None and not straight.failed
    exploits = json.loads((tmp_path / "straight/population.json").read_text())
    assert [each["iteration"] for each in exploits] == [2, 4] and exploits[0]["moves"]
    # It ends when the first has taken over, which nothing but its own folder knows.
    end_after_a_move(monkeypatch)
    with pytest.raises(StopError):
        population(tmp_path / "stopped").work()
    # Who takes over is known before, and when it is done.
    begun = json.loads((tmp_path / "stopped/population.json").read_text())
    assert begun == [{**exploits[0], "is_done": False}]
    monkeypatch.undo()
    assert population(tmp_path / "stopped").work() is None
    assert json.loads((tmp_path / "stopped/population.json").read_text()) == exploits
    for name in ("000", "001", "002"):
        assert rows_of(tmp_path / "stopped" / name) == rows_of(tmp_path / "straight" / name)
    assert (tmp_path / "stopped/population.png").read_bytes()[1:4] == b"PNG"
    # One that went on alone is ahead of the others.
    stopped = tmp_path / "stopped"
    (stopped / "population.json").write_text(json.dumps(exploits[:1]))
    with pytest.raises(
        ConfigError, match=r"run 000 .* is at iteration 6, .* beyond iteration 4: a run"
    ):
        population(stopped)
    # There is nothing left to do.
    again = population(tmp_path / "straight")
    assert [run.overrides for run in again.runs] == [run.overrides for run in straight.runs]
    assert again.work() is None
    with pytest.raises(ConfigError, match="took over from each other at iteration 2: give the"):
        runs = runs_of(tmp_path / "straight", "mine.py", {}, SWEEP)
        Population(runs, small(), metric=METRIC, ascending=False, exploit_every=4)
    # Who was not there then cannot take part.
    with pytest.raises(ConfigError, match=r"run 003 .* is at iteration 0, and others took over"):
        population(tmp_path / "straight", [*SWEEP, {RATE: 0.3, "seed": 3}])
    shutil.rmtree(tmp_path / "straight/001")
    with pytest.raises(
        ConfigError, match=r"run 001 .* is at iteration 0, .* at iteration 4: a run"
    ):
        population(tmp_path / "straight")


@pytest.mark.slow
def test_a_run_takes_over_all_that_was_learned_with_random_keys_of_its_own(tmp_path, monkeypatch):
    seen = []
    take_over = Population._take_over

    def look(self, run, source, overrides, at):
        before = jax.random.key_data(self._trainers[run.index].state.keys)
        take_over(self, run, source, overrides, at)
        new, old = self._trainers[run.index], self._trainers[source.index]
        assert np.array_equal(jax.random.key_data(new.state.keys), before)
        same = jax.tree.map(np.array_equal, new.state.learners, old.state.learners)
        assert all(jax.tree.leaves(same))
        # So is what was saved, and the settings are those of the record.
        new.state = None
        assert new.restore() and new.step == at
        same = jax.tree.map(np.array_equal, new.state.learners, old.state.learners)
        assert all(jax.tree.leaves(same))
        record = json.loads((run.workdir / "run.json").read_text())
        assert record["config"]["agent1"]["learning_rate"] == overrides[RATE]
        assert f"{overrides[RATE]}" in record["history"][-1]["command"]
        seen.append(run)

    monkeypatch.setattr(Population, "_take_over", look)
    assert population(tmp_path).work() is None
    assert seen


@pytest.mark.slow
def test_a_run_that_was_killed_before_it_was_saved_trains_before_others_take_it_over(tmp_path):
    straight = population(tmp_path / "straight")
    assert straight.work() is None
    stopped = population(tmp_path / "stopped")
    assert stopped._train_until(2) is None
    for name in ("000", "001", "002"):
        # What is told of a checkpoint is told before it is there.
        shutil.rmtree(tmp_path / "stopped" / name / "checkpoints")
        path = tmp_path / "stopped" / name / "training.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "state": "training"}))
    assert population(tmp_path / "stopped").work() is None
    records = [
        (tmp_path / each / "population.json").read_text() for each in ("straight", "stopped")
    ]
    assert records[0] == records[1]
    for name in ("000", "001", "002"):
        assert rows_of(tmp_path / "stopped" / name) == rows_of(tmp_path / "straight" / name)


class Breaks(Callback):
    """Ends a run at once that learns too fast."""

    every = 2

    def on_chunk_end(self, trainer, state, step, metrics):
        if trainer.hyperparameters["agent1"]["learning_rate"] > 1:
            raise ValueError("too fast")


@pytest.mark.slow
def test_a_run_that_failed_goes_on_from_one_that_did_not(tmp_path, monkeypatch):
    sweep = [{RATE: 5.0}, {RATE: 0.01}, {RATE: 0.1}]
    settings = {"extra_callbacks": (f"{__name__}.Breaks",)}
    search = population(tmp_path / "straight", sweep, **settings)
    assert search.work() is None and not search.failed
    exploits = json.loads((tmp_path / "straight/population.json").read_text())
    assert 0 in [move["run"] for move in exploits[0]["moves"]]
    folder = tmp_path / "straight/000"
    assert json.loads((folder / "training.json").read_text())["state"] == "done"
    assert [row["iteration"] for row in rows_of(folder)][-1] == 6
    # The same if it ends when that one has begun to go on, which then has failed no more.
    end_after_a_move(monkeypatch)
    with pytest.raises(StopError):
        population(tmp_path / "stopped", sweep, **settings).work()
    monkeypatch.undo()
    assert population(tmp_path / "stopped", sweep, **settings).work() is None
    assert json.loads((tmp_path / "stopped/population.json").read_text()) == exploits
    assert rows_of(tmp_path / "stopped/000") == rows_of(folder)


@pytest.mark.slow
@pytest.mark.parametrize("rates", [(5.0, 0.01, 0.1), (5.0, 6.0, 7.0)])
def test_a_run_that_failed_waits_for_one_to_take_over_from(rates, tmp_path):
    """Nobody reports the metric, or all have failed."""
    sweep = [{RATE: rate} for rate in rates]
    runs = runs_of(tmp_path, "mine.py", {}, sweep)
    claim(runs)
    config = small(extra_callbacks=(f"{__name__}.Breaks",))
    failed = [run for run, rate in zip(runs, rates, strict=True) if rate > 1]
    # The same command goes on.
    for _ in range(2):
        search = Population(
            runs, config, metric="none", ascending=False, exploit_every=2, say=lambda _: None
        )
        assert search.work() is None
        assert [run.name for run in search.failed] == [run.name for run in failed]
    assert {run.name for run in runs if not run.is_done} == {run.name for run in failed}


def test_runs_that_are_not_one_program_are_no_population(tmp_path):
    with pytest.raises(ConfigError, match=r"these differ in more than numbers \(000; 001\)"):
        population(tmp_path, [{"agent1.hidden_size": 4}, {"agent1.hidden_size": 8}])
    with pytest.raises(ConfigError, match="take over from each other, and the sweep has 1"):
        population(tmp_path, SWEEP[:1])
    with pytest.raises(
        ConfigError, match="--search=pbt decides .* sets num_iters to 4 and 6: give"
    ):
        population(tmp_path, [{"num_iters": 4}, {"num_iters": 6}])
    assert list(tmp_path.iterdir()) == []
