"""The history is a table of everything reported, and its picture has a line for each metric."""

import numpy as np
import pytest
from absl import logging

from pax.errors import ConfigError
from pax.metrics.bootstrap import estimate_over_seeds
from pax.metrics.history import History
from pax.metrics.json_writer import JsonLinesWriter, SeedLinesWriter
from pax.metrics.learning_curves import plot_history
from pax.metrics.writers import METRICS_FILE, SEEDS_FILE

REWARD = "train/reward_per_timestep/player_{}"


def filled(num_seeds=2, num_chunks=2, **options):
    """Chunks of two iterations, in which seed s gets 10 s + iteration."""
    history = History(num_seeds, 5, **options)
    for chunk in range(num_chunks):
        at = 2 * chunk + np.array([1, 2])
        rewards = at[:, None] + 10.0 * np.arange(num_seeds)
        history.add_chunk(2 * chunk + 2, {REWARD.format(1): rewards, "speed": at * 100.0})
    return history


def test_a_row_is_an_iteration_and_a_seed():
    history = filled()
    # As Scalars and Evaluation report: means of what is known already, and what is new.
    history.write_scalars(2, {REWARD.format(1): 7.0, f"{REWARD.format(1)}/std": 1.0, "mine": 0.5})
    history.write_scalars(4, {"evaluation/a/x": 1.5, "evaluation/a/x/std": 0.1})
    history.write_seeds(4, {"evaluation/a/x": [1.0, 2.0]})
    nan = np.nan
    expected = {
        "iteration": [1, 1, 2, 2, 3, 3, 4, 4],
        "seed": [5, 6] * 4,
        REWARD.format(1): [1, 11, 2, 12, 3, 13, 4, 14],
        "speed": [100, 100, 200, 200, 300, 300, 400, 400],
        "mine": [nan, nan, 0.5, 0.5, nan, nan, nan, nan],
        "evaluation/a/x": [nan] * 6 + [1.0, 2.0],
    }
    table = history.table()
    assert list(table) == list(expected)
    for name, column in expected.items():
        np.testing.assert_array_equal(table[name], column, err_msg=name)
    history.go_back(None, 2)
    assert history.table()["iteration"].tolist() == [1, 1, 2, 2]
    assert "evaluation/a/x" not in history.table()


def test_an_empty_history_has_no_rows():
    history = History(2, 0)
    assert history.is_empty
    assert {name: len(column) for name, column in history.table().items()} == {
        "iteration": 0,
        "seed": 0,
    }
    with pytest.raises(ConfigError, match=r"nothing was reported: call fit\(\) first"):
        plot_history(history.table())


def test_a_very_long_history_drops_every_second_iteration():
    # Two seeds and two metrics: four numbers per iteration.
    history = filled(num_chunks=8, max_values=30)
    assert history.table()["iteration"].tolist()[::2] == [4, 8, 12, 16]
    assert history.table()[REWARD.format(1)].tolist()[:2] == [4, 14]


@pytest.mark.parametrize("num_seeds", (1, 2))
def test_a_run_that_goes_on_has_what_its_folder_has(tmp_path, num_seeds):
    means, seeds = JsonLinesWriter(tmp_path / METRICS_FILE), None
    if num_seeds > 1:
        seeds = SeedLinesWriter(tmp_path / SEEDS_FILE)
    for step in (10, 20, 30):
        means.write_scalars(step, {"a": step + 0.5, "a/std": 0.5, "wall_time": 1.0 * step})
        if seeds:
            seeds.write_seeds(step, {"a": [1.0 * step, np.nan]})
    for writer in filter(None, (means, seeds)):
        writer.close()
    history = History(num_seeds, 0)
    history.go_back(tmp_path, 20)
    history.add_chunk(21, {"a": np.full((1, num_seeds), 7.0)})
    table = history.table()
    if num_seeds == 1:
        assert table["iteration"].tolist() == [10, 20, 21]
        assert table["a"].tolist() == [10.5, 20.5, 7.0]
    else:
        assert table["iteration"].tolist() == [10, 10, 20, 20, 21, 21]
        np.testing.assert_array_equal(table["a"], [10, np.nan, 20, np.nan, 7, 7])
        assert table["wall_time"].tolist()[:4] == [10, 10, 20, 20] and "a/std" not in table


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (METRICS_FILE, "nothing\nof the kind\n", "line 1 is not an object"),
        (
            SEEDS_FILE,
            '{"iteration": 1, "a": [1, 2, 3]}\n',
            "has a run of 3 seeds, and this trainer 2",
        ),
    ],
)
def test_a_folder_of_another_kind_is_told_and_passed_over(
    tmp_path, monkeypatch, name, text, message
):
    told = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: told.append(text % args))
    (tmp_path / METRICS_FILE).touch()
    (tmp_path / name).write_text(text)
    history = History(2, 0)
    history.go_back(tmp_path, 2)
    assert len(history.table()["iteration"]) == 0
    assert len(told) == 1 and message in told[0]


def test_lines_are_estimates_and_bands_their_intervals():
    history = filled(num_seeds=3, num_chunks=3)
    history.write_seeds(6, {"evaluation/a/reward/player_1": [1.0, 2.0, 3.0]})
    figure = plot_history(history.table())
    train, evaluation = figure.axes
    assert train.get_title() == "train/reward per timestep"
    assert evaluation.get_title() == "evaluation/a/reward"
    (line,) = train.lines
    found = estimate_over_seeds(np.arange(1, 7.0) + 10.0 * np.arange(3)[:, None])
    np.testing.assert_array_equal(line.get_xdata(), range(1, 7))
    np.testing.assert_allclose(line.get_ydata(), found.middle)
    (band,) = train.collections
    corners = band.get_paths()[0].vertices[:, 1]
    assert corners.min() == pytest.approx(found.low.min())
    assert corners.max() == pytest.approx(found.high.max())
    assert figure._repr_png_().startswith(b"\x89PNG")
    # One seed has no band, one point no line.
    (alone,) = plot_history(filled(num_seeds=1, num_chunks=1).table(), "speed").axes
    assert not alone.collections and alone.lines[0].get_marker() == "o"


def test_metrics_are_named_one_by_one_or_as_a_group():
    history = History(1, 0)
    names = ["train/agent1/loss", "train/agent1/entropy", "state/CC", "state/DD"]
    history.add_chunk(1, {name: np.zeros((1, 1)) for name in names})
    table = history.table()
    titles = lambda *given: [axes.get_title() for axes in plot_history(table, *given).axes]  # noqa: E731
    # What an agent reports has a chart each, what belongs together one.
    assert titles("train/agent1") == ["train/agent1/loss", "train/agent1/entropy"]
    assert titles(["state", "train/agent1/loss"]) == ["state", "train/agent1/loss"]
    assert titles("state/DD") == ["state"]
    # Without any reward, everything.
    assert len(titles()) == 3
    for given, message in (
        ("state/CD", "metrics names 'state/CD', which was not reported: did you mean state/"),
        (3, "metrics is 3: give the name of a metric, or a list of names"),
        ([3], "metrics names 3, which was not reported: give text"),
    ):
        with pytest.raises(ConfigError, match=message):
            plot_history(table, given)
