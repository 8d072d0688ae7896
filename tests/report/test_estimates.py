"""Runs become experiments, and seeds become estimates with intervals."""

import json
import re

import numpy as np
import pytest

from pax.metrics.bootstrap import bootstrap_interval
from pax.report.data import differences, group, read_runs
from pax.report.estimates import (
    Evaluated,
    at_the_end,
    curve,
    evaluations,
    of_means,
    over_all,
)
from tests.report.runs import REWARD, add_evaluation, make_run, make_run_of_seeds

PLAYER_1 = REWARD.format(1)


def read(*paths):
    runs, problems = read_runs([str(path) for path in paths])
    assert problems == []
    return runs


def test_runs_that_differ_in_their_seed_only_are_one_experiment(tmp_path):
    paths = [make_run(tmp_path / f"s{seed}", [float(seed)], seed=seed) for seed in (2, 0, 1)]
    slow = make_run(tmp_path / "slow", [5.0], agent1={"learning_rate": 0.01})
    first, second = group(read(*paths, slow, paths[0]))
    assert [run.seeds[0] for run in first.runs] == [0, 1, 2]
    assert first.num_seeds == 3 and second.num_seeds == 1
    assert first.label == "ipd.py:ppo, agent1.learning_rate=0.1"
    assert second.label == "ipd.py:ppo, agent1.learning_rate=0.01"
    assert differences([first.runs[0], second.runs[0]]) == {"agent1.learning_rate": ["0.1", "0.01"]}


def test_runs_that_differ_in_an_empty_section_are_two_experiments(tmp_path):
    """A task without settings of its own is a section without anything in it."""
    plain = make_run(tmp_path / "plain", [0.0], seed=0, tasks={})
    shuffled = make_run(tmp_path / "shuffled", [1.0], seed=1, tasks={"shuffled_seats": {}})
    first, second = group(read(plain, shuffled))
    assert first.num_seeds == second.num_seeds == 1
    assert "tasks.shuffled_seats" in differences([first.runs[0], second.runs[0]])


def test_a_seed_counts_once(tmp_path):
    again = [make_run(tmp_path / name, [1.0], num_seeds=3, seed=0) for name in "ab"]
    overlapping = make_run(tmp_path / "c", [1.0], num_seeds=3, seed=2)
    further = make_run(tmp_path / "d", [1.0], num_seeds=3, seed=3)
    experiments = group(read(*again, overlapping, further))
    names = [[run.path.name for run in one.runs] for one in experiments]
    assert names == [["a", "d"], ["b"], ["c"]]
    assert len({one.label for one in experiments}) == 3


def test_a_run_made_from_python_stands_alone(tmp_path):
    paths = [make_run(tmp_path / name, [1.0, 2.0]) for name in "ab"]
    for path in paths:
        (path / "run.json").unlink()
    assert [one.label for one in group(read(*paths))] == ["a", "b"]


def test_few_seeds_are_summarised_by_means_and_more_by_inter_quartile_means(tmp_path):
    ends = [0.0, 1.0, 3.0, 7.0, 20.0, 6.0]
    paths = [
        make_run(tmp_path / f"s{seed}", [0.0, None if seed == 4 else 1.0 * seed, end], seed=seed)
        for seed, end in enumerate(ends)
    ]
    (experiment,) = group(read(*paths))
    x, found = curve(experiment, PLAYER_1, points=150)
    np.testing.assert_array_equal(x, [10, 20, 30])
    # In the middle, one of the six is undefined: 0, 1, 2, 3 and 5 have a mean, with four degrees of freedom.
    np.testing.assert_allclose(found.middle, [0.0, 2.2, (1 + 3 + 7 + 6) / 4])
    half = 2.77644511 * np.std([0, 1, 2, 3, 5], ddof=1) / np.sqrt(5)
    np.testing.assert_allclose([found.low[1], found.high[1]], [2.2 - half, 2.2 + half])
    low, high = bootstrap_interval(ends)
    np.testing.assert_allclose([found.low[2], found.high[2]], [low, high])
    assert 0 <= low < found.middle[2] < high <= 20
    last = at_the_end(experiment, PLAYER_1)
    assert last.middle == 17 / 4 and last.method == "inter-quartile mean, bootstrap interval"
    (fewer,) = group(read(*paths[:3]))
    last = at_the_end(fewer, PLAYER_1)
    half = 4.30265273 * np.std(ends[:3], ddof=1) / np.sqrt(3)
    np.testing.assert_allclose([last.middle, last.high - last.middle], [4 / 3, half])
    assert last.method == "mean, t interval"
    # A statistic that is undefined throughout.
    assert not curve(experiment, "cooperation_probability/CD", 150)[1].is_known


def test_the_mean_of_evaluations_covers_the_truth():
    # Five seeds, each evaluated eight times: what differs between seeds is the same in all evaluations.
    rng, covered = np.random.default_rng(0), []
    for _ in range(1000):
        seeds, tasks = rng.normal(size=5), rng.normal(size=8)
        results = seeds + tasks[:, None] + 0.3 * rng.normal(size=(8, 5))
        found = {str(i): Evaluated((1,), {}, {"reward": row}) for i, row in enumerate(results)}
        overall = over_all(found, "reward")
        covered.append(overall.low <= tasks.mean() <= overall.high)
    assert 0.92 < np.mean(covered) < 0.98


def test_long_curves_are_averages_of_neighbours(tmp_path):
    rewards = np.arange(100.0)
    (experiment,) = group(read(make_run(tmp_path / "long", list(rewards))))
    x, found = curve(experiment, PLAYER_1, points=10)
    np.testing.assert_array_equal(x, np.arange(100, 1001, 100))
    np.testing.assert_allclose(found.middle, rewards.reshape(10, 10).mean(axis=1))
    assert np.isnan(found.low).all(), "one seed has no interval"
    np.testing.assert_allclose(at_the_end(experiment, PLAYER_1).middle, rewards[90:].mean())


def test_seeds_that_ended_early_are_left_out_of_the_rest(tmp_path):
    paths = [
        make_run(tmp_path / str(seed), [float(seed)] * length, seed=seed, num_iters=30)
        for seed, length in enumerate((3, 3, 1))
    ]
    (experiment,) = group(read(*paths))
    np.testing.assert_allclose(curve(experiment, PLAYER_1, 150)[1].middle, [1.0, 0.5, 0.5])


def test_means_over_seeds_have_t_intervals(tmp_path):
    path = make_run(tmp_path / "three", [2.0, 2.0], std=1.0, num_seeds=3)
    (experiment,) = group(read(path))
    assert PLAYER_1 in experiment.metrics()
    assert not any(key.endswith("/std") for key in experiment.metrics())
    _, found = curve(experiment, PLAYER_1, 150)
    np.testing.assert_allclose(found.middle, 2.0)
    half = 4.30265273 / np.sqrt(3)
    np.testing.assert_allclose(found.low, 2 - half)
    np.testing.assert_allclose(found.high, 2 + half)


def test_several_runs_of_several_seeds_are_pooled_exactly():
    values = np.random.default_rng(0).normal(size=(2, 3, 4))
    found = of_means(values.mean(axis=1), values.std(axis=1, ddof=1), [3, 3])
    pooled = values.reshape(6, 4)
    np.testing.assert_allclose(found.middle, pooled.mean(axis=0))
    half = 2.57058184 * pooled.std(axis=0, ddof=1) / np.sqrt(6)
    np.testing.assert_allclose(found.high - found.middle, half)


def test_evaluations_take_each_seeds_own_numbers_where_there_are_any(tmp_path):
    path = make_run(tmp_path / "four", [1.0], std=0.1, num_seeds=4)
    add_evaluation(path, 5, "defect", reward=[9.0, 9.0, 9.0, 9.0])
    add_evaluation(path, 10, "defect", reward=[0.0, 1.0, 2.0, 9.0], prob=[None, None, None, 1.0])
    add_evaluation(path, 10, "tit_for_tat", reward=[4.0, 4.0, 4.0, 4.0])
    (experiment,) = group(read(path))
    found = evaluations(experiment)
    assert found["defect"].iterations == (10,)
    assert found["defect"].metrics["reward"].middle == 3.0
    assert found["defect"].metrics["prob"].middle == 1.0
    # Means of 0 4, 1 4, 2 4 and 9 4.
    assert over_all(found, "reward").middle == np.mean([2.0, 2.5, 3.0, 6.5])
    assert over_all(found, "prob") is None


def test_evaluations_in_training_count_if_they_are_later(tmp_path):
    paths = [make_run(tmp_path / str(seed), [1.0, 1.0], seed=seed) for seed in range(2)]
    for seed, path in enumerate(paths):
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        rows[1]["evaluation/defect/reward"] = float(seed)
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    add_evaluation(paths[0], 10, "defect", reward=50.0)
    add_evaluation(paths[1], 20, "defect", reward=3.0)
    (experiment,) = group(read(*paths))
    found = evaluations(experiment)["defect"]
    assert found.iterations == (20, 20)
    assert found.metrics["reward"].middle == pytest.approx((0.0 + 3.0) / 2)


def test_one_run_of_ten_seeds_is_as_good_as_ten_runs(tmp_path):
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(30, 10)).round(3).tolist()
    rewards[3][4] = rewards[7][2] = None
    rewards[12] = [None] * 10
    one = make_run_of_seeds(tmp_path / "one", rewards)
    ten = [
        make_run(tmp_path / f"s{seed}", [row[seed] for row in rewards], seed=seed, num_iters=30)
        for seed in range(10)
    ]
    (first,), (second,) = group(read(one)), group(read(*ten))
    assert first.num_seeds == second.num_seeds == 10 and not first.has_means_only
    for points in (150, 7):
        for key in first.metrics():
            if "/" in key:
                found, expected = (curve(each, key, points) for each in (first, second))
                np.testing.assert_array_equal(found[0], expected[0])
                assert found[1].method == expected[1].method
                np.testing.assert_allclose(found[1][:3], expected[1][:3], err_msg=key)
    assert curve(first, PLAYER_1, 150)[1].method == "inter-quartile mean, bootstrap interval"
    found, expected = at_the_end(first, PLAYER_1), at_the_end(second, PLAYER_1)
    np.testing.assert_allclose(found[:3], expected[:3])
    # Over the last three of thirty rows, by hand.
    ends = np.sort(np.mean(rewards[27:], axis=0))
    assert found.middle == pytest.approx(ends[2:8].mean())


def test_seeds_that_are_not_all_known_are_means(tmp_path):
    rewards = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    path = make_run_of_seeds(tmp_path / "run", rewards)
    file = path / "metrics_seeds.jsonl"
    # The run began with a version that kept means only.
    file.write_text(file.read_text().splitlines(keepends=True)[1])
    (experiment,) = group(read(path))
    assert experiment.has_means_only
    _, found = curve(experiment, PLAYER_1, 150)
    half = 4.30265273 * 0.5 / np.sqrt(3)
    np.testing.assert_allclose(found.high - found.middle, half)
    for text, message in (
        ('{"iteration": 10, "a": [1, 2]}\n', "has metrics of 2 seeds, and the run has 3"),
        ('{"iteration": 10, "a": 1}\n', "no list of numbers.*; so only means over the seeds"),
    ):
        file.write_text(text)
        (run,), (problem,) = read_runs([str(path)])
        assert re.search(message, problem) and run.seed_rows == {}


def test_a_run_made_from_python_has_as_many_seeds_as_it_says(tmp_path):
    path = make_run_of_seeds(tmp_path / "run", [[1.0, 2.0, 3.0]])
    (path / "run.json").unlink()
    (experiment,) = group(read(path))
    assert experiment.num_seeds == 3
    half = 4.30265273 / np.sqrt(3)
    found = at_the_end(experiment, PLAYER_1)
    np.testing.assert_allclose([found.middle, found.high], [2.0, 2.0 + half])


def test_an_evaluation_in_training_has_each_seeds_own_numbers(tmp_path):
    path = make_run_of_seeds(tmp_path / "run", [[1.0, 2.0, 3.0]])
    for name, value, std in (("metrics.jsonl", 2.0, 1.0), ("metrics_seeds.jsonl", [1, 2, 3], None)):
        row = json.loads((path / name).read_text())
        row["evaluation/defect/reward"] = value
        if std is not None:
            row["evaluation/defect/reward/std"] = std
        (path / name).write_text(json.dumps(row) + "\n")
    (experiment,) = group(read(path))
    found = evaluations(experiment)["defect"]
    np.testing.assert_array_equal(found.per_seed["reward"], [1.0, 2.0, 3.0])
    assert found.metrics["reward"].middle == 2.0
