"""Scripted players of commons: what they do in windows made by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import CleanUpCooperator, CleanUpDefector, HarvestCooperator, HarvestDefector
from pax.envs import CleanUp, CoinGame, CommonsHarvest
from pax.envs.grid_world.players import (
    BACK,
    FORWARD,
    STEP_LEFT,
    STEP_RIGHT,
    TURN_LEFT,
    TURN_RIGHT,
)
from pax.errors import ConfigError

APPLE, WALL, OTHER, RIVER, DIRT = 1, 2, 4, 8, 9
CLEAN = 8
SIZE, LAST, MIDDLE = 7, 5, 3
HARVEST = CommonsHarvest("harvest_small", 2, SIZE)
CLEAN_UP = CleanUp("clean_up_small", 2, SIZE)


def acts(kind, cells, numbers=(0.0, 0.0, 0.0)):
    """The action where the window holds these codes at (ahead, right)."""
    game = HARVEST if kind in (HarvestCooperator, HarvestDefector) else CLEAN_UP
    window = np.zeros((1, SIZE, SIZE), np.int32)
    window[0, LAST, MIDDLE] = 3
    for (ahead, right), code in cells.items():
        window[0, LAST - ahead, MIDDLE + right] = code
    drawn = jnp.array(numbers, jnp.float32)[:, None]
    return int(kind.for_env(game).choose(jnp.asarray(window), drawn)[0])


@pytest.mark.parametrize(
    ("cells", "numbers", "action"),
    [
        ({(2, 0): APPLE}, (0.0, 0.0, 0.0), FORWARD),
        ({(-1, 0): APPLE}, (0.0, 0.0, 0.0), BACK),
        ({(0, 2): APPLE}, (0.0, 0.0, 0.0), STEP_RIGHT),
        ({(0, -1): APPLE, (4, 0): APPLE}, (0.0, 0.0, 0.0), STEP_LEFT),
        ({(1, 1): APPLE}, (0.4, 0.0, 0.0), FORWARD),
        ({(1, 1): APPLE}, (0.6, 0.0, 0.0), STEP_RIGHT),
        ({(1, 1): APPLE, (1, 0): OTHER}, (0.4, 0.0, 0.0), STEP_RIGHT),
        ({(2, 0): APPLE, (1, 0): WALL}, (0.0, 0.0, 0.4), TURN_LEFT),
        ({}, (0.0, 0.5, 0.0), FORWARD),
        ({}, (0.0, 0.9, 0.6), TURN_RIGHT),
    ],
)
def test_a_forager_goes_to_the_nearest_apple(cells, numbers, action):
    assert acts(HarvestDefector, cells, numbers) == action


def test_a_cooperator_spares_the_last_apples_of_a_patch():
    last = {(1, 0): APPLE, (2, 0): APPLE, (2, 1): APPLE}
    assert acts(HarvestDefector, last) == FORWARD
    # It does not even step on it.
    assert acts(HarvestCooperator, last) == TURN_LEFT
    assert acts(HarvestCooperator, {**last, (1, 1): APPLE}) == FORWARD


def test_a_cooperator_cleans_a_dirty_river_and_eats_beside_a_clean_one():
    dirty = {(2, 0): DIRT, (2, 1): RIVER, (2, 2): RIVER, (0, 1): APPLE}
    assert acts(CleanUpCooperator, dirty) == CLEAN
    assert acts(CleanUpDefector, dirty) == STEP_RIGHT
    assert acts(CleanUpCooperator, {(3, 0): DIRT, (0, 1): APPLE}) == FORWARD
    clean = {(2, 0): DIRT, (0, 1): APPLE, **{(3, right): RIVER for right in range(-3, 4)}}
    assert acts(CleanUpCooperator, clean) == STEP_RIGHT


@pytest.mark.parametrize("kind", [HarvestCooperator, CleanUpDefector])
def test_other_games_are_refused(kind):
    with pytest.raises(ConfigError, match=f"{kind.__name__} plays {kind.game.__name__} only"):
        kind.for_env(CoinGame())


def test_a_cooperator_that_cannot_count_is_refused():
    with pytest.raises(ConfigError, match="window is 3, .* give at least 5"):
        HarvestCooperator.for_env(CommonsHarvest("harvest_small", 2, 3))
    assert HarvestDefector.for_env(CommonsHarvest("harvest_small", 2, 3)).size == 3
