"""Teams: what k copies of one player and n - k of another get in a game of n players, by hand."""

import csv

import jax
import numpy as np
import pytest

from pax.agents import Defect, Random
from pax.config.files import load_config
from pax.envs import IteratedTensorGame
from pax.envs.environment import Environment
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.evaluation import teams
from pax.evaluation.match_programs import set_up
from pax.evaluation.round_robin import Contestant, play_all
from pax.evaluation.teams import mixtures, mixtures_of_roles, play_teams

CONFIG = "configs/nplayer_ipd.py:ppo,quicktest"


class Places(Environment):
    """Three players, of whom each gets the number of its place, whatever it does."""

    num_players = 3
    num_inner_steps = 2

    def reset(self, key, params):
        return (jax.numpy.int32(0),) * 3, jax.numpy.int32(0)

    def transition(self, drawn, state, actions, params):
        rewards = tuple(jax.numpy.float32(place) for place in range(3))
        return (jax.numpy.int32(0),) * 3, state + 1, rewards, state + 1 >= 2, {}

    def observation_space(self, player=0):
        return Discrete(1)

    def action_space(self, player=0):
        return Discrete(2)


def players_of(env, *kinds):
    """Players on any seat, by the names of their classes."""
    agents = [kind.for_env(env) for kind in kinds]
    return [Contestant(type(agent).__name__, (agent, agent)) for agent in agents]


def test_cooperators_and_defectors_get_what_the_payoffs_say(tmp_path, capsys):
    setup = set_up([], "always_cooperate,defect", load_config(CONFIG), num_steps=2, of_teams=True)
    teams.crossplay_of_teams(setup, 3, 0, 0, str(tmp_path))
    with (tmp_path / "teams.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["copies_1"], row["copies_2"]) for row in rows] == [
        (str(size), str(3 - size)) for size in range(4)
    ]
    # A defector gets 1, and from each cooperator 2; a cooperator gets 2 from each other one.
    assert [row["player_1_mean"] for row in rows] == ["", "0", "2", "4"]
    assert [row["player_2_mean"] for row in rows] == ["1", "3", "5", ""]
    assert (tmp_path / "teams.png").read_bytes().startswith(b"\x89PNG")
    assert "| always_cooperate | defect | A |  | 0.000 +- 0.000 | 2.000" in capsys.readouterr().out


def test_who_sits_where_is_drawn_for_every_environment():
    env = Places()
    rewards = play_teams(env, (), players_of(env, Random, Random), num_envs=200)
    assert rewards.shape == (2, 2, 2, 2, 200)
    alone = rewards[0, 1, 0, 0]
    assert set(alone.tolist()) == {0.0, 1.0, 2.0}
    assert abs(alone.mean() - 1) < 0.2
    # All places together are always 0 + 1 + 2; and the mirrored teams are the same matches.
    np.testing.assert_allclose(rewards[:, :, 0, 0] + 2 * rewards[:, :, 0, 1], 3.0, rtol=1e-6)
    np.testing.assert_array_equal(rewards[0, 1, 1, 1], rewards[1, 0, 0, 0])


def test_ends_are_of_copies_of_one_player_alone():
    rewards = np.zeros((2, 2, 2, 2, 2))
    rewards[0, 0, 0] = [[1.0, 5.0], [4.0, 2.0]]
    found = mixtures(["a", "b"], rewards)[0]
    # Of three copies of a, one got 1 and 5, and the two others 4 and 2: 3 in both environments.
    np.testing.assert_allclose(found.rewards.mean[3, 0], 3.0)
    assert np.isnan(found.rewards.mean[0, 0])
    assert np.isnan(found.rewards.mean[3, 1])


def test_seeds_are_the_sample_of_roles():
    players = [
        Contestant(f"{role}_{seed}", (None, None), role=role, seed=seed)
        for role in ("x/a", "y/b")
        for seed in range(3)
    ]
    rewards = np.zeros((6, 6, 2, 2, 4))
    # Seed i of a gets i, whomever it meets.
    rewards[:3, 3:, :, 0] = np.arange(3.0)[:, None, None, None]
    found = {
        (each.first, each.second): each.rewards for each in mixtures_of_roles(players, rewards)
    }
    assert set(found) == {
        *(("x/a", f"x/a ({pairs})") for pairs in ("same seed", "other seeds")),
        ("x/a", "y/b"),
        *(("y/b", f"y/b ({pairs})") for pairs in ("same seed", "other seeds")),
    }
    mean, half = found["x/a", "y/b"]
    np.testing.assert_allclose(mean[1:3, 0], 1.0)
    # Student's t with two degrees of freedom: 4.303 x 1 / sqrt(3).
    np.testing.assert_allclose(half[1:3, 0], 2.484, atol=1e-3)


def test_what_has_no_teams_is_told():
    two = IteratedTensorGame(num_players=2)
    with pytest.raises(ConfigError, match="has 2 players, and teams need a game of three or more"):
        play_teams(two, two.default_params, players_of(two, Defect))
    three = IteratedTensorGame(num_players=3)
    with pytest.raises(ConfigError, match="let teams play by pax crossplay --teams"):
        play_all(three, three.default_params, players_of(three, Defect))
    with pytest.raises(ConfigError, match="num_envs is 0"):
        teams.check_teams(three, players_of(three, Defect), 0, 1)
