"""Everything that a config names may be of the user's own; and what is wrong with a name is one sentence."""

import sys

import jax
import pytest
from ml_collections import ConfigDict

from pax.config import base_config, game, role
from pax.config.build import build_env, build_trainer
from pax.config.imports import named_modules
from pax.errors import ConfigError
from pax.evaluation.players import Game, load_strategies

MODULE = '''
import dataclasses
import flax.linen as nn
import jax.numpy as jnp
from pax import Callback
from pax.agents import Tabular, TitForTat
from pax.agents.networks.actor_critic import Heads, Network
from pax.agents.networks.memory import Memory
from pax.envs import Environment
from pax.envs.spaces import Discrete
from pax.learners.gradient import Gradient


class Bank(Environment):
    """Pays both what `params` says: four methods, and nothing else."""

    num_players, num_inner_steps = 2, 3
    default_params = jnp.float32(1.0)

    def reset(self, key, params):
        return (jnp.int32(0), jnp.int32(0)), jnp.int32(0)

    def step(self, key, time, actions, params):
        return actions, time + 1, (params, params), time + 1 == self.num_inner_steps, {}

    def observation_space(self, player):
        return Discrete(2)

    def action_space(self, player):
        return Discrete(2)


class Wide(Network):
    torso: nn.Module
    num_outputs: int
    hidden_size: int
    factor: int = 3

    @nn.compact
    def __call__(self, observations):
        features = nn.relu(nn.Dense(self.factor * self.hidden_size)(self.torso(observations)))
        return Heads(self.num_outputs)(features)


class Leaky(Memory):
    @nn.compact
    def step(self, state, encoded):
        return 0.5 * state + nn.Dense(self.hidden_size)(encoded)


class Needy(Network):
    torso: nn.Module
    num_heads: int


class Slow(Gradient):
    pass


class Fixed(TitForTat):
    pass


class Eager(Tabular):
    pass


class Watch(Callback):
    def probe(self, trial):
        return {"watched": trial.reward_per_timestep.sum()}


def paid(amount: float = 2.0):
    return lambda draw, task: dataclasses.replace(task, env_params=jnp.float32(amount))


def sampler(draw, task):
    return task


def no_sampler():
    return 3


NUMBER = 3
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a module of the user's, in a folder where Python looks."""
    (tmp_path / "own_kinds.py").write_text(MODULE)
    (tmp_path / "broken_kind.py").write_text("x = 1\nimport no_such_library\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield "own_kinds"
    for name in ("own_kinds", "broken_kind"):
        sys.modules.pop(name, None)


def config_of(own):
    config = base_config()
    config.env = game(f"{own}.Bank")
    config.num_inner_steps, config.num_outer_steps, config.num_envs = 3, 2, 2
    config.num_iters, config.chunk = 1, 1
    config.roles = ("agent1", "agent2")
    small = {"hidden_size": 2, "num_epochs": 1, "num_minibatches": 1, "sequence_length": 3}
    learner = {"learner": {"type": f"{own}.Slow"}}
    config.agent1 = role("PPO", 0, network=f"{own}.Wide", **small, **learner)
    config.agent2 = role("Shaper", 1, network=f"{own}.Leaky", **small | {"sequence_length": 0})
    config.tasks.mine = {"type": f"{own}.paid", "amount": 0.25}
    config.callbacks = ConfigDict({"mine": {"type": f"{own}.Watch", "enabled": True}})
    return config


def test_game_network_memory_learner_task_and_callback(own):
    config = config_of(own)
    trainer = build_trainer(config, None)
    metrics = trainer.fit()
    # What the task draws is what the game pays.
    assert metrics["train/reward_per_timestep/player_1"] == 0.25 and metrics["watched"] == 0.5
    first, second = (role.agent for role in trainer.roles)
    assert type(trainer.roles[0].learner).__name__ == "Slow"
    # Three times as wide as its hidden size; a memory of two numbers, which lasts for the trial.
    shapes = jax.tree.map(lambda leaf: leaf.shape, first.init(jax.random.key(0)).params)
    assert shapes["Dense_0"]["kernel"] == (2, 6)
    assert second.hidden_size_in_memory == 2 and second.describe()["network"] == f"{own}.Leaky"
    assert sorted(named_modules(config.to_dict())) == [own]
    names = ("Bank", "Leaky", "Slow", "Watch", "Wide", "paid")
    assert named_modules(config.to_dict())[own] == [f"{own}.{name}" for name in names]


def test_strategies_of_cross_play(own):
    config = base_config()
    config.env, config.num_inner_steps = game("IteratedMatrixGame"), 4
    played = Game.of(config, "test")
    (player,), errors = load_strategies(f"{own}.Fixed", played)
    assert errors == [] and player.name == f"{own}.Fixed"
    assert [type(agent).__name__ for agent in player.agents] == ["Fixed"] * 2
    nobody, (error,) = load_strategies(f"{own}.Eager", played)
    assert nobody == [] and "which learns: give the run that trained it" in str(error)


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        (
            "nowhere_kind.Bank",
            [
                "env.type is 'nowhere_kind.Bank', which cannot be imported: ModuleNotFoundError: "
                "No module named 'nowhere_kind' in ",
                "{folder}",
                "start in the folder that holds it",
            ],
        ),
        (
            "own_kinds.Bnk",
            ["module own_kinds ({folder}/own_kinds.py) has no Bnk: did you mean 'own_kinds.Bank'?"],
        ),
        (
            "own_kinds.sub.Bank",
            ["package own_kinds ({folder}/own_kinds.py) holds no such module: correct"],
        ),
        (
            "broken_kind.Bank",
            [
                "{folder}/broken_kind.py, line 2, fails with ModuleNotFoundError: No module named "
                "'no_such_library'"
            ],
        ),
        (
            "own_kinds.Watch",
            ["env.type is 'own_kinds.Watch', which is no game: give a subclass of pax.envs"],
        ),
    ],
)
def test_wrong_names_are_told_with_what_was_searched(own, tmp_path, name, messages):
    config = base_config()
    config.env = {"type": name}
    with pytest.raises(ConfigError) as told:
        build_env(config)
    assert "\n" not in str(told.value)
    for message in messages:
        assert message.format(folder=tmp_path) in str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "NUMBER"}, "tasks.mine is 'own_kinds.NUMBER', which is no task: give a function"),
        ({"task": "sampler"}, "tasks.mine is .*, which is a sampler itself: give a function"),
        ({"task": "no_sampler"}, "tasks.mine: no_sampler returned 3: return a sampler"),
        ({"network": "Wide_"}, "network is 'own_kinds.Wide_', and module own_kinds .*did you mean"),
        ({"network": "Bank"}, "agent1: network is 'own_kinds.Bank' in PPO, which is none that it"),
        ({"network": "Needy"}, "whose field num_heads has no default, and agents give only torso"),
        ({"kind": "Bank"}, "agent1.type is 'own_kinds.Bank', which is no agent: give a subclass"),
        ({"learner": "Bank"}, "agent1.learner.type is .*, which is no learner: give a subclass"),
        ({"callback": "Bank"}, "callbacks.mine is .*, which is no callback: give a subclass"),
    ],
)
def test_wrong_kinds_are_told(own, change, message):
    with pytest.raises(ConfigError, match=message):
        build(own, **change)


def build(own, **changes):
    config = config_of(own)
    config.agent2 = role("PPO", 1, num_minibatches=1)
    if "network" in changes:
        config.agent1.network = f"{own}.{changes['network']}"
    if "task" in changes:
        config.tasks = ConfigDict({"mine": {"type": f"{own}.{changes['task']}"}})
    if "kind" in changes:
        config.agent1.type = f"{own}.{changes['kind']}"
    if "learner" in changes:
        config.agent1.learner.type = f"{own}.{changes['learner']}"
    if "callback" in changes:
        config.callbacks.mine.type = f"{own}.{changes['callback']}"
    return build_trainer(config, None)
