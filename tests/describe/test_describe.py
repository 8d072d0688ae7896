"""What is said about a config before it is run is what its classes say, and what it is."""

import dataclasses
import pathlib

import jax.numpy as jnp
import pytest

from pax.agents import Agent, TitForTat
from pax.config.build import build_trainer
from pax.config.files import load_config, load_module
from pax.config.sections import role
from pax.describe.meanings import meanings
from pax.describe.page import _about, _overview, describe
from pax.describe.settings import list_settings
from pax.envs import IteratedMatrixGame
from pax.roles import Role
from pax.types import TrainingState

CONFIGS = sorted(pathlib.Path("configs").glob("[!_]*.py"))
# What other libraries take, they explain themselves.
NOT_OURS = ("sarl.py",)


class Documented:
    """Does something.

    Args:
        one: first line
            and second.
        two, three: both.
        four (int): with a type: and a colon.

    Raises:
        five: no argument.
    """

    below: int = 1
    """Stands below
    the field."""

    def __init__(self, one=1, two=2, three=3, four=4):  # noqa: D417
        """Makes it.

        Args:
            four: what the constructor says.
        """


def test_meanings_are_read_where_they_stand():
    assert meanings(Documented) == {
        "one": "first line and second.",
        "two": "both.",
        "three": "both.",
        "four": "what the constructor says.",
        "below": "Stands below the field.",
    }
    assert meanings(role)["reset_every"].startswith("trials until a co-player")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_setting_has_a_meaning(path):
    for variant in load_module(path).VARIANTS:
        config = load_config(f"{path}:{variant}")
        for group, settings in list_settings(config).items():
            for setting in settings:
                is_ours = not (path.name in NOT_OURS and group == "game")
                # Parameters of evosax and of the calibration of Rice.
                assert setting.meaning or not is_ours, (variant, setting)


def test_a_page_tells_settings_roles_and_cost(capsys):
    config = load_config("configs/ipd.py:shaper,mixed_lr,quicktest")
    config.num_envs = 6
    describe(config, "mine")
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "mine: IteratedMatrixGame"
    (line,) = (line for line in lines if line.startswith(" num_envs "))
    # The value of this config and the default of all.
    assert line.split()[:3] == ["num_envs", "6", "100"]
    steps = 6 * config.num_inner_steps * config.num_outer_steps * config.num_opps
    steps *= config.agent1.learner.popsize
    assert f"Environment steps: {steps:,} per iteration and seed" in text
    assert "agent1: Shaper as player 1, learns across trials by Evolution" in text
    assert (
        "agent2: Tabular as player 2, learns after every episode" in text or "agent2: PPO" in text
    )
    for word in ("Time: ", "Memory: ", "tasks.mixed_lr", "callbacks.checkpoint.every"):
        assert word in text


def test_a_task_of_ones_own_is_described_by_its_docstring():
    config = load_config("configs/ipd.py:shaper")
    config.tasks.mine = {"type": "pax.tasks.noisy_opponent_payoff", "noise": 0.25}
    noise = {setting.key: setting for setting in list_settings(config)["tasks"]}["tasks.mine.noise"]
    assert (noise.value, noise.default) == (0.25, 0.5)
    assert noise.meaning == "the most that is added or taken off."


@dataclasses.dataclass
class TwoNumbers(Agent):
    learns = True

    def init(self, key):
        return TrainingState((jnp.zeros(3), [jnp.zeros((2, 4))]), (), jnp.int32(0))


def test_parameters_of_ones_own_agent_may_be_any_pytree():
    env = IteratedMatrixGame(5)
    table = _overview(Role("agent1", TwoNumbers.for_env(env), (0,)))
    assert [row.split() for row in table.splitlines() if "(" in row] == [
        ["|", "0", "|", "(3,)", "|", "float32", "|", "3", "|"],
        ["|", "1/0", "|", "(2,", "4)", "|", "float32", "|", "8", "|"],
    ]
    assert "no parameters" in _overview(Role("agent1", TitForTat.for_env(env), (0,)))


def test_a_member_of_a_pool_learns_with_it():
    trainer = build_trainer(load_config("configs/ipd.py:coala,mixed,small,quicktest"), None)
    assert [_about(each) for each in trainer.roles] == [
        "Shaper as player 1, learns across trials by COALA, 2 candidates",
        "Tabular as player 2, learns after every episode",
        "Shaper as player 2 in trials of self-play, learns across trials with agent1",
    ]
