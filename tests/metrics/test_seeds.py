"""Every seed of a run is kept, and what the seeds say together is what rliable says of as many runs."""

import json

import numpy as np
import pytest

from pax import MetaTrainer
from pax.agents import AGENTS
from pax.callbacks import Checkpoint, Evaluation, Scalars
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.metrics import bootstrap
from pax.metrics.bootstrap import (
    bootstrap_interval,
    estimate_over_seeds,
    estimate_over_tasks,
    interquartile_mean,
)
from pax.metrics.json_writer import SeedLinesWriter
from pax.metrics.seeds import MOST_SEEDS, interval_names, reward_intervals
from pax.metrics.tensorboard_layout import make_layout
from pax.metrics.writers import SEEDS_FILE, read_metrics, read_seed_metrics
from tests.run.files import events

# Ten runs of three tasks. What rliable 1.2.0 says of them (with pandas below 3, which the other test
# dependencies do not allow, so that it is none of them) comes from
#   pip install rliable==1.2.0 "pandas<3"
#   np.random.seed(0)
#   rliable.library.get_interval_estimates(
#       {"a": scores}, lambda s: np.array([rliable.metrics.aggregate_iqm(s)]), reps=reps)
# for the whole table, and for one of its columns, SCORES[:, m:m + 1].
SCORES = np.array(
    [
        [0.001, 1.597, -4.371],
        [-0.891, 0.091, -7.958],
        [0.06, 3.68, -5.461],
        [-0.62, 1.98, -1.216],
        [0.105, -0.861, -3.146],
        [0.695, -1.688, -5.288],
        [-1.901, -1.579, -12.209],
        [-0.235, -1.535, -1.644],
        [0.157, 0.626, -15.584],
        [-0.539, 0.903, -2.433],
    ]
)
# By task: the inter-quartile mean, its interval with reps=2000, and with reps=50000.
OF_TASKS = [
    (
        -0.2046666666666667,
        (-0.707, 0.11285416666666655),
        (-0.7233333333333335, 0.11433333333333333),
    ),
    (0.13683333333333336, (-1.0613624999999998, 1.499), (-1.0771666666666666, 1.4991666666666665)),
    (-4.776166666666667, (-8.864, -2.671966666666667), (-8.923499999999999, -2.6933333333333334)),
]
OF_ALL = (-0.9303125, (-1.4825328125, -0.5144078125), (-1.4698125, -0.5017484375))


class Draws:
    """Draws as rliable does: numpy's old generator, seeded with 0."""

    def integers(self, num, size):
        return np.random.RandomState(0).choice(num, size)


@pytest.mark.parametrize("task", range(3))
def test_seeds_have_the_estimates_of_rliable(task, monkeypatch):
    middle, ends, more = OF_TASKS[task]
    samples = SCORES[:, task]
    assert interquartile_mean(samples) == pytest.approx(middle)
    assert estimate_over_seeds(samples).middle == pytest.approx(middle)
    # Other draws: the ends differ by what is left to chance with 2000 and 50,000 of them.
    width = more[1] - more[0]
    np.testing.assert_allclose(bootstrap_interval(samples), more, atol=0.06 * width)
    monkeypatch.setattr(bootstrap.np.random, "default_rng", lambda seed: Draws())
    np.testing.assert_allclose(bootstrap_interval(samples), ends)


def test_several_tasks_have_the_estimate_of_rliable(monkeypatch):
    middle, ends, more = OF_ALL
    found = estimate_over_tasks(SCORES)
    assert found.middle == pytest.approx(middle)
    np.testing.assert_allclose([found.low, found.high], more, atol=0.06 * (more[1] - more[0]))
    monkeypatch.setattr(bootstrap.np.random, "default_rng", lambda seed: Draws())
    np.testing.assert_allclose(estimate_over_tasks(SCORES)[1:3], ends)
    assert np.isnan(estimate_over_tasks(SCORES[:1]).low), "one run has no interval"
    with pytest.raises(
        ConfigError, match=r"scores has shape \(10,\): give a table \[runs, tasks\]"
    ):
        estimate_over_tasks(SCORES[:, 0])


def test_rewards_have_intervals_where_there_are_several_seeds():
    found = reward_intervals({"train/reward/a": SCORES[:, 0], "train/loss": SCORES[:, 1]})
    assert list(found) == [f"seeds/train/reward/a/{end}" for end in ("estimate", "low", "high")]
    np.testing.assert_allclose(list(found.values()), estimate_over_seeds(SCORES[:, 0])[:3])
    assert reward_intervals({"reward": [1.0]}) == {}
    assert reward_intervals({"reward": np.zeros(MOST_SEEDS + 1)}) == {}


def test_tensorboard_draws_them_as_bands():
    names = interval_names("train/reward/a")
    layout = make_layout(["train/reward/a", *names, *interval_names("evaluation/x/reward")[1:]])
    (charts,) = [category.chart for category in layout.category if category.title == "Rewards"]
    (series,) = charts[-1].margin.series
    assert (series.value, series.lower, series.upper) == names
    assert not make_layout(["train/reward/a"]).category


def test_a_line_has_a_number_of_each_seed(tmp_path):
    path = tmp_path / SEEDS_FILE
    writer = SeedLinesWriter(path)
    writer.write_seeds(1, {"a": np.array([0.1, np.nan], np.float32), "n": np.array([3, 4])})
    writer.write_scalars(1, {"a": 0.1})
    writer.write_seeds(1, {"b": [0.5, 1.5]})
    writer.write_seeds(2, {"a": np.array([1e-7, np.inf])})
    writer.close()
    assert path.read_text() == (
        '{"iteration": 1, "a": [0.1, null], "n": [3, 4], "b": [0.5, 1.5]}\n'
        '{"iteration": 2, "a": [1e-07, null]}\n'
    )
    assert read_seed_metrics(tmp_path)[1] == {"iteration": 2, "a": [1e-07, None]}
    # What a killed run wrote after its checkpoint is written again.
    writer = SeedLinesWriter(path, resume_at=1)
    writer.write_seeds(2, {"a": [5.0, 6.0]})
    writer.close()
    assert [row["a"] for row in read_seed_metrics(path)] == [[0.1, None], [5.0, 6.0]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"iteration": 2, "a": 0.5}, "iteration 2 has a metric that is no list of numbers"),
        ({"iteration": 2, "a": [0.5, "b"]}, "iteration 2 has a metric that is no list of numbers"),
        ({"iteration": 2, "a": [0.5]}, "has metrics of 1 and 2 seeds"),
    ],
)
def test_a_file_that_is_damaged_is_told(tmp_path, row, message):
    lines = [json.dumps(each) for each in ({"iteration": 1, "a": [1.0, 2.0]}, row)]
    (tmp_path / SEEDS_FILE).write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=message):
        read_seed_metrics(tmp_path)


def trainer(workdir, num_iters):
    env = IteratedMatrixGame(num_inner_steps=4)
    agents = [
        AGENTS["Tabular"].for_env(env, 0, num_epochs=1, num_minibatches=2),
        AGENTS["TitForTat"].for_env(env, 1),
    ]
    return MetaTrainer(
        env,
        agents,
        num_envs=4,
        num_seeds=3,
        chunk=2,
        num_iters=num_iters,
        callbacks=[Scalars(every=2), Evaluation(every=4), Checkpoint(every=4)],
        quiet=True,
        workdir=workdir,
    )


def test_a_run_keeps_its_seeds_and_a_killed_one_ends_as_if_it_had_not_been(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    trainer(whole, 8).fit()
    means, seeds = read_metrics(whole), read_seed_metrics(whole)
    assert [row["iteration"] for row in seeds] == [2, 4, 6, 8]
    for mean, own in zip(means, seeds, strict=True):
        assert {f"{key}/std" for key in own if key != "iteration"} == {
            key for key in mean if key.endswith("/std")
        }
        for key in set(own) - {"iteration"}:
            values = np.array([np.nan if value is None else value for value in own[key]])
            if np.isfinite(values).all():
                assert mean[key] == pytest.approx(values.mean(), abs=1e-5)
                assert mean[f"{key}/std"] == pytest.approx(values.std(ddof=1), abs=1e-5)
    key = "evaluation/as_trained/reward_per_timestep/player_1"
    assert [key in row for row in seeds] == [False, True, False, True]

    first = trainer(killed, 4)
    first.fit()
    # A row that was written after the checkpoint, and half of another one.
    with (killed / SEEDS_FILE).open("a") as file:
        file.write('{"iteration": 6, "a": [1, 2, 3]}\n{"iteration": 8, "a": [')
    trainer(killed, 8).fit()
    assert (killed / SEEDS_FILE).read_bytes() == (whole / SEEDS_FILE).read_bytes()

    shown = events(whole)
    name = "train/reward_per_timestep/player_1"
    assert [step for step, _ in shown[f"seeds/{name}/low"]] == [2, 4, 6, 8]
    assert [step for step, _ in shown[f"seeds/{key}/high"]] == [4, 8]
    assert not any(tag.startswith("seeds/train/agent1") for tag in shown)
