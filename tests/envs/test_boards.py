"""Every game on a grid is shown large enough, over one legend that has what is drawn."""

import jax
import numpy as np
import pytest

from pax.envs import ENVS
from pax.envs.boards import LEAST_WIDTH, Mark, framed
from pax.envs.environment import Environment
from pax.envs.in_the_matrix import InTheMatrix
from pax.envs.wrappers import Wrapper

BOARDS = [cls for cls in ENVS.values() if cls.render_mode == "rgb_array"]


def test_there_are_five_of_them():
    names = ["CleanUp", "CleanUpLite", "CoinGame", "CommonsHarvest", "InTheMatrix"]
    assert sorted(cls.__name__ for cls in BOARDS) == names


@pytest.mark.parametrize("cls", BOARDS)
def test_a_legend_has_the_colours_of_the_board(cls):
    env = cls(num_inner_steps=2)
    params = env.default_params
    _, state = env.reset(jax.random.key(0), params)
    frame = env.render(jax.device_get(state), params)
    (shown,) = framed(frame[None], env.legend)
    factor = shown.shape[1] // frame.shape[1]
    assert shown.shape[1] == factor * frame.shape[1] >= LEAST_WIDTH
    assert (factor - 1) * frame.shape[1] < LEAST_WIDTH
    height = factor * frame.shape[0]
    np.testing.assert_array_equal(shown[:height:factor, ::factor], frame)
    # A thumbnail of the whole is as good as one of the board: the legend takes less than a quarter of it.
    assert 15 < len(shown) - height < height / 4
    legend = {tuple(pixel) for pixel in shown[height:].reshape(-1, 3).tolist()}
    assert {mark.colour for mark in env.legend} <= legend
    on_board = {tuple(pixel) for pixel in frame.reshape(-1, 3).tolist()}
    named = {mark.colour for mark in env.legend}
    # What no entry of the legend is about: the ground and its lines.
    assert len(on_board - named) <= 2
    assert len({mark.label for mark in env.legend}) == len({*env.legend}) == len(env.legend)


def test_eight_players_are_eight_entries():
    labels = [mark.label for mark in InTheMatrix(num_players=8).legend]
    assert [label for label in labels if "player" in label] == [f"player {i}" for i in range(1, 9)]


def test_steps_are_numbered_and_boards_without_a_legend_stay_as_they_are():
    frames = np.full((12, 4, 4, 3), 200, np.uint8)
    shown = framed(frames, [Mark("dot", (1, 2, 3), "disc")])
    below = shown[:, 256:]
    assert len({below[step].tobytes() for step in range(12)}) == 12
    # Only the number differs.
    assert len(np.unique(below[:, :, 70:], axis=0)) == 1
    assert framed(frames, ()) is frames
    assert Environment.legend == Wrapper.legend == ()
