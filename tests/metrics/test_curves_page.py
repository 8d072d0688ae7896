"""A page of a run: what it chooses, what it says is left out, and what its axes show."""

import io

import numpy as np
import pytest
from PIL import Image

from pax.errors import ConfigError
from pax.metrics.bootstrap import estimate_over_seeds
from pax.metrics.curves_page import MOST_OTHERS, MOST_POINTS, choose, plot_page
from pax.metrics.history import History
from pax.metrics.learning_curves import plot_history, tick_labels

REWARD = "train/reward_per_timestep/player_1"


def table(columns, num_seeds=1):
    """A history of columns by name, `[n, S]` or `[n]`."""
    history = History(num_seeds, 0)
    columns = {name: np.asarray(values, float) for name, values in columns.items()}
    columns = {
        name: values[:, None] if values.ndim == 1 and num_seeds == 1 else values
        for name, values in columns.items()
    }
    history.add_chunk(len(next(iter(columns.values()))), columns)
    return history.table()


def axes_of(figure):
    return {axes.get_title("left").replace("\n", ""): axes for axes in figure.axes}


def texts_of(figure):
    return " ".join(text.get_text() for text in figure.texts)


def labels_of(axes):
    axes.figure.canvas.draw()
    return [label.get_text() for label in axes.get_yticklabels()]


def test_rewards_come_first_and_what_says_nothing_new_is_left_out():
    given = table(
        {
            "env_steps": [1, 2],
            "env_steps_per_second": [5, 6],
            "train/agent1/entropy": [1, 2],
            "state_visitation/CC": [3, 4],
            "state_probability/CC": [0.3, 0.4],
            "train/fitness/mean": [1, 2],
            "train/fitness/std": [1, 2],
            "evaluation/a/reward_per_timestep/player_1": [1, 2],
            "evaluation/a/reward_per_timestep/player_1/std": [1, 2],
            REWARD: [1, 2],
            "wall_time": [1, 2],
            "prob_coop/player_2": [np.nan, np.inf],
        }
    )
    shown = choose(given)
    assert list(shown.rewards) == [
        "train/reward_per_timestep",
        "evaluation/a/reward_per_timestep",
    ]
    assert list(shown.others) == [
        "train/fitness",
        "state_probability",
        "train/agent1/entropy",
        "env_steps_per_second",
    ]
    assert shown.left_out == [] and shown.undefined == ["prob_coop/player_2"]
    assert "Undefined in all reports (1): prob_coop/player_2" in texts_of(plot_page(given, "x"))


def test_of_many_metrics_some_of_each_kind_are_drawn_and_the_others_named():
    columns = {f"train/agent1/metric_{i}": [i, i + 1] for i in range(60)}
    columns |= {f"statistic_{i}/x": [1, 2] for i in range(10)} | {REWARD: [1, 2]}
    figure = plot_page(table(columns), "many")
    titles = list(axes_of(figure))
    assert titles[0] == "train/reward per timestep" and len(titles) == 1 + MOST_OTHERS
    assert sum(title.startswith("statistic") for title in titles) == 10
    assert sum("/metric " in title for title in titles) == 6
    told = texts_of(figure)
    assert "Not drawn, for lack of room (54): train/agent1/metric_6, " in told
    # The page ends below its last line, and nothing is beyond its edges.
    width, height = figure.get_size_inches()
    assert width == 12.8 and 8 < height < 16
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    with Image.open(picture) as image:
        assert image.size == (1280, round(100 * height))
        pixels = np.asarray(image.convert("L"))
    assert (pixels[:, :4] == 255).all() and (pixels[-4:] == 255).all()


@pytest.mark.parametrize("num_seeds", (1, 3, 7))
def test_lines_and_bands_are_estimates_of_means_in_a_row(num_seeds):
    num = 3 * MOST_POINTS - 1
    values = np.random.default_rng(0).normal(size=(num, num_seeds))
    figure = plot_page(table({REWARD: values}, num_seeds), "x")
    (axes,) = figure.axes
    (line,) = axes.lines
    # The last two stand alone.
    blocks = [values[start : start + 3].mean(axis=0) for start in range(0, num, 3)]
    found = estimate_over_seeds(np.array(blocks).T)
    np.testing.assert_allclose(line.get_ydata(), found.middle)
    np.testing.assert_allclose(line.get_xdata()[[0, -1]], [2, num - 0.5])
    assert len(axes.collections) == (num_seeds > 1)
    told = {1: "Seed 0.", 3: "means over 3 seeds", 7: "inter-quartile means over 7 seeds"}
    assert told[num_seeds] in texts_of(figure)
    assert "A point is the mean of up to 3 iterations." in texts_of(figure)


def test_a_constant_has_an_axis_without_an_offset():
    # What float32 makes of it differs in the last digit.
    values = np.where(np.arange(50) % 2, np.float32(0.02), np.nextafter(np.float32(0.02), 1))
    figure = plot_page(table({"train/agent1/entropy_coeff": values, REWARD: [0.0] * 50}), "x")
    axes = axes_of(figure)
    constant = axes["train/agent1/entropy coeff"]
    assert "0.02" in labels_of(constant) and not constant.yaxis.get_offset_text().get_text()
    low, high = constant.get_ylim()
    assert low == pytest.approx(0.018) and high == pytest.approx(0.022)
    assert axes["train/reward per timestep"].get_ylim() == (-0.5, 0.5)


def test_a_single_report_and_gaps_are_drawn():
    (axes,) = plot_page(table({REWARD: [3.0]}), "x").axes
    assert axes.lines[0].get_marker() == "o" and axes.get_xlim() == (0.5, 1.5)
    (axes,) = plot_page(table({REWARD: [np.nan, 1, np.inf, 2]}), "x").axes
    assert axes.lines[0].get_xdata().tolist() == [2, 4]
    # A band over one point would have no width.
    (axes,) = plot_page(table({REWARD: np.array([[3.0, 4.0, 5.0]])}, 3), "x").axes
    (interval,) = axes.collections
    low, high = interval.get_segments()[0][:, 1]
    assert low < 3 and high > 5
    with pytest.raises(ConfigError, match=r"nothing was reported: call fit\(\) first"):
        plot_page(History(1, 0).table(), "x")


def test_names_of_lines_and_what_is_left_out_have_room():
    columns = {f"train/reward_per_timestep/player_{i}": [i, i + 1] for i in range(6)}
    columns |= {f"apples/player_{i}": [i, i + 1] for i in range(16)}
    columns |= {f"train/agent1/some_long_name_{i}": [1, 2] for i in range(60)}
    columns |= {f"undefined_here/some_long_name_{i}": [np.nan, np.nan] for i in range(60)}
    figure = plot_page(table(columns), "x")
    figure.canvas.draw()
    for text in figure.texts:
        assert text.get_window_extent().x1 < figure.bbox.x1
    axes = axes_of(figure)
    for name, num in (("train/reward per timestep", 6), ("apples", 16)):
        legend = axes[name].get_legend()
        assert len(legend.get_texts()) == num
        chart, box = axes[name].get_window_extent(), legend.get_window_extent()
        assert box.y0 >= chart.y1 - 1 and box.x1 < chart.x1 + 0.5 * figure.dpi
        assert axes[name]._left_title.get_window_extent().y0 > box.y1 - 3
    # Where nothing reserves room above, names of many stand beside the chart.
    (axes,) = plot_history(table(columns), "train/reward_per_timestep").axes
    axes.figure.canvas.draw()
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1


def test_a_name_has_one_colour_on_a_page():
    states = ("CC", "CD", "DC", "DD", "START")
    columns = {f"{kind}/{state}": [0.1, 0.2] for kind in ("a", "b") for state in states}
    columns["a/CD"] = [np.nan, np.nan]
    columns |= {f"{REWARD[:-1]}{player}": [0, 1] for player in (2, 1)}
    colours = {}
    for axes in plot_page(table(columns), "x").axes:
        for line in axes.lines:
            colours.setdefault(line.get_label(), set()).add(line.get_color())
    assert all(len(found) == 1 for found in colours.values())
    assert len({colours[state].pop() for state in states}) == 5
    assert colours["player 2"] != colours["player 1"]


def test_labels_are_short_and_differ():
    assert tick_labels([0.1998, 0.19985, 0.1999]) == ["0.1998", "0.19985", "0.1999"]
    assert tick_labels([0.0, 2e6, 2.5e6]) == ["0", "2 M", "2.5 M"]
    assert tick_labels([-0.0, 9000, 12000]) == ["0", "9000", "12 k"]
