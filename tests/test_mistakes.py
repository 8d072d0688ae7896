"""Mistakes in Python: each is refused in one sentence, before anything compiles.

Those at the command line are in `tests/config/test_build.py`.
"""

import itertools
import logging
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from pax import MetaTrainer, Role
from pax import callbacks as cb
from pax.agents import (
    PPO,
    Defect,
    LOLAExact,
    MemoryOne,
    Shaper,
    SOSExact,
    Tabular,
    TitForTat,
    ZeroDeterminant,
)
from pax.checkpoints.policies import load_policy, save_policy
from pax.config.build import build_env, build_trainer
from pax.config.build_callbacks import build_callback
from pax.config.sections import (
    base_config,
    check_type,
    defaults,
    find_setting,
    game,
    learner,
    parse_variant,
    role,
)
from pax.envs import CoinGame, Cournot, Fishery, Gymnax, InfiniteMatrixGame, IteratedMatrixGame
from pax.envs.spaces import Box, Discrete
from pax.errors import PaxError
from pax.learners import AdvantageAlignment, Evolution, Gradient, LOLADiCE
from pax.loop import compiled as compiled_loop
from pax.loop.evaluator import Evaluation
from pax.metrics.bootstrap import (
    bootstrap_interval,
    estimate_over_seeds,
    interquartile_mean,
    t_interval,
    t_quantile,
)
from pax.metrics.writers import create_writer, read_metrics
from pax.sweeps import product, sweep
from pax.tasks import (
    annealed_self_play,
    blinded,
    hard_stop,
    mixed_ipd_payoff,
    mixed_learning_rate,
    mixed_payoff,
    shuffled_seats,
)
from pax.testing import check_agent, check_environment, random_values

env = IteratedMatrixGame(num_inner_steps=4)


def two():
    return [Tabular.for_env(env), TitForTat.for_env(env, seat=1)]


def mk(num_envs=10, **settings):
    return MetaTrainer(env, two(), num_envs=num_envs, **settings)


# What is done, and how the sentence begins.
MISTAKES = [
    (
        lambda: MetaTrainer(IteratedMatrixGame, two()),
        "env is the class IteratedMatrixGame: give a game, such as",
    ),
    (
        lambda: MetaTrainer("IteratedMatrixGame", two()),
        "env is 'IteratedMatrixGame': give a game, such as IteratedMatrixGame()",
    ),
    (lambda: MetaTrainer(None, two()), "env is None: give a game, such as IteratedMatrixGame()"),
    (lambda: MetaTrainer(env, None), "roles is None: give a list of agents and roles"),
    (lambda: MetaTrainer(env, "PPO"), "roles is 'PPO': give a list of agents and roles"),
    (
        lambda: MetaTrainer(env, Tabular.for_env(env)),
        "roles is Tabular(observation_space=Discrete(n=5),",
    ),
    (
        lambda: MetaTrainer(env, [Tabular, TitForTat]),
        "roles[0] is the class Tabular: give an agent, such as",
    ),
    (
        lambda: MetaTrainer(env, ["PPO", "TitForTat"]),
        "roles[0] is 'PPO': give an agent, such as PPO.for_env(env), or a",
    ),
    (
        lambda: MetaTrainer(env, {"agent1": Tabular.for_env(env)}),
        "roles is {'agent1': Tabular(observation_space=Discrete(n=5),",
    ),
    (lambda: MetaTrainer(env, []), "seat 0 has no role: name one that plays it"),
    (
        lambda: MetaTrainer(env, [Tabular.for_env(env)]),
        "seat 1 has no role: name one that plays it",
    ),
    (
        lambda: MetaTrainer(env, two() + two()),
        "role agent3 sits on seat 2: this game has seats 0 to 1",
    ),
    (
        lambda: MetaTrainer(env, two(), env_params=3),
        "env_params is 3, which IteratedMatrixGame cannot be played for ('int'",
    ),
    (
        lambda: MetaTrainer(env, two(), env_params="x"),
        "env_params is 'x', which IteratedMatrixGame cannot be played for",
    ),
    (
        lambda: MetaTrainer(env, two(), samplers=3),
        "samplers is 3: give a list of samplers of pax.tasks",
    ),
    (
        lambda: MetaTrainer(env, two(), samplers=["hard_stop"]),
        "samplers[0] is 'hard_stop': give a function, such as",
    ),
    (
        lambda: MetaTrainer(env, two(), samplers="hard_stop"),
        "samplers is 'hard_stop': give a list of samplers of pax.tasks",
    ),
    (
        lambda: mk(samplers=[lambda: None]),
        "samplers[0] cannot be called with (draw, task) (too many positional arguments): a sampler",
    ),
    (lambda: mk(samplers=[lambda draw, task: None]), "samplers[0] returns a NoneType: a sampler"),
    (
        lambda: mk(samplers=[mixed_payoff(3), lambda draw, task: mixed_payoff(3)]),
        "samplers[1] returns a function: call it first, as a sampler takes (draw, task)",
    ),
    (
        lambda: mk(samplers=[hard_stop]),
        "samplers[0] is pax.tasks.hard_stop itself, which makes samplers: call it, as in "
        "hard_stop(num_outer_steps)",
    ),
    (
        lambda: mk(samplers=[blinded]),
        "samplers[0] is pax.tasks.blinded itself, which makes samplers: call it, as in "
        "blinded(role, num_envs, num_blind)",
    ),
    (
        lambda: mk(samplers=[lambda draw, task: 1 / 0]),
        "samplers[0] fails (ZeroDivisionError: division by zero): a sampler takes (draw, task)",
    ),
    (
        lambda: mk(samplers=[lambda draw, task: task.replace(stop=jnp.ones(3))]),
        "samplers[0] returns a float32 of shape (3,) as stop: return an int32 scalar, or None",
    ),
    (
        lambda: mk(samplers=[lambda draw, task: task.replace(stop="soon")]),
        "samplers[0] returns a str as stop: return an int32 scalar, or None",
    ),
    (
        lambda: mk(samplers=[lambda draw, task: task.replace(self_play=1.0)]),
        "samplers[0] returns a float as self_play: return a bool scalar, or None",
    ),
    (
        lambda: mk(samplers=[lambda draw, task: task.replace(seats=jnp.arange(3))]),
        "samplers[0] returns an int32 of shape (3,) as seats: return a permutation of 2 players",
    ),
    (
        lambda: mk(samplers=[lambda draw, task: task.replace(hyperparameters=0.1)]),
        "samplers[0] returns a float as hyperparameters: return a dict of dicts of float32 scalars",
    ),
    (
        lambda: mk(samplers=[lambda draw, task: task.replace(hyperparameters={"agent1": 0.1})]),
        "samplers[0] returns a float as hyperparameters of agent1: return a dict of float32 scalars",
    ),
    (
        lambda: mk(samplers=[lambda draw, task: task.replace(blind={"agent1": True})]),
        "samplers[0] returns a bool as blind of agent1: return a bool for each of the 10",
    ),
    (
        lambda: mk(samplers=[lambda draw, task: task.replace(env_params=None)]),
        "samplers[0] returns env_params as PyTreeDef(None), and they were PyTreeDef(",
    ),
    (
        lambda: mk(
            samplers=[
                lambda draw, task: task.replace(
                    env_params=task.env_params.replace(payoff_matrix=jnp.zeros((2, 2)))
                )
            ]
        ),
        "samplers[0] turns a float32 of shape (4, 2) of env_params into a float32 of shape (2, 2)",
    ),
    (
        lambda: mk(samplers=[blinded("agent1", 5, 1)]),
        "samplers[0] is blinded for num_envs=5, and this run has 10: make it with num_envs=10",
    ),
    (
        lambda: mk(samplers=[shuffled_seats(3)]),
        "samplers[0] is shuffled_seats for num_players=3, and this run has 2: make it with",
    ),
    (
        lambda: mk(num_outer_steps=2, samplers=[hard_stop(5)]),
        "samplers[0] is hard_stop for num_outer_steps=5, and this run has 2: make it with",
    ),
    (
        lambda: MetaTrainer(
            CoinGame(4), [PPO.for_env(CoinGame(4))] * 2, samplers=[mixed_ipd_payoff()]
        ),
        "samplers[0]: it draws payoffs, and this game has no payoff_matrix of 4 outcomes for 2",
    ),
    (lambda: mixed_learning_rate(3), "the role of a task is called 3: give a name"),
    (lambda: Evaluation(samplers=3), "samplers is 3: give a list of samplers of pax.tasks"),
    (lambda: Evaluation(samplers=[hard_stop]), "samplers[0] is pax.tasks.hard_stop itself"),
    (lambda: Evaluation(3), "an evaluation is 3: give a dict of roles by the name of who they"),
    (
        lambda: mk(evaluations={"x": Evaluation(samplers=[lambda draw, task: 3])}),
        "evaluations['x'].samplers[0] returns an int: a sampler takes (draw, task)",
    ),
    (
        lambda: mk(evaluations={"x": Evaluation(samplers=[blinded("agent1", 3, 1)])}),
        "evaluations['x'].samplers[0] is blinded for num_envs=3, and this run has 10: make it",
    ),
    (lambda: mk(num_envs=4.0), "num_envs is 4.0: give a whole number, at least 1"),
    (lambda: mk(num_envs="4"), "num_envs is '4': give a whole number, at least 1"),
    (lambda: mk(num_envs=0), "num_envs is 0: give at least 1"),
    (lambda: mk(num_envs=True), "num_envs is True: give a whole number, at least 1"),
    (lambda: mk(num_envs=None), "num_envs is None: give a whole number, at least 1"),
    (lambda: mk(num_envs=10**11), "num_envs is 100000000000: give at most 2147483647"),
    (lambda: mk(num_opps=2.5), "num_opps is 2.5: give a whole number, at least 1"),
    (lambda: mk(num_opps=-1), "num_opps is -1: give at least 1"),
    (lambda: mk(num_opps=10**12), "num_opps is 1000000000000: give at most 2147483647"),
    (lambda: mk(num_outer_steps="1"), "num_outer_steps is '1': give a whole number, at least 1"),
    (lambda: mk(num_outer_steps=0), "num_outer_steps is 0: give at least 1"),
    (lambda: mk(num_iters=1e3), "num_iters is 1000.0: give a whole number, at least 1"),
    (lambda: mk(num_iters=0), "num_iters is 0: give at least 1"),
    (lambda: mk(num_iters=2**40), "num_iters is 1099511627776: give at most 2147483647"),
    (lambda: mk(num_seeds=1.5), "num_seeds is 1.5: give a whole number, at least 1"),
    (lambda: mk(num_seeds=2**33), "num_seeds is 8589934592: give at most 2147483647"),
    (lambda: mk(seed=-1), "seed is -1: give 0 to 2147483646"),
    (lambda: mk(seed=2**40), "seed is 1099511627776: give 0 to 2147483646"),
    (lambda: mk(seed="0"), "seed is '0': give a whole number, 0 to 2147483646"),
    (lambda: mk(seed=0.5), "seed is 0.5: give a whole number, 0 to 2147483646"),
    (lambda: mk(seed=None), "seed is None: give a whole number, 0 to 2147483646"),
    (lambda: mk(chunk=0), "chunk is 0: give at least 1"),
    (lambda: mk(chunk=2.0), "chunk is 2.0: give a whole number, at least 1"),
    (lambda: mk(chunk="all"), "chunk is 'all': give a whole number, at least 1"),
    (lambda: mk(num_devices=0), "num_devices is 0: give at least 1"),
    (lambda: mk(num_devices="all"), "num_devices is 'all': give a whole number, at least 1"),
    (lambda: mk(num_devices=1.0), "num_devices is 1.0: give a whole number, at least 1"),
    (lambda: mk(num_devices=-2), "num_devices is -2: give at least 1"),
    (
        lambda: mk(evaluations="defect"),
        "evaluations is 'defect': give a dict of evaluations by name",
    ),
    (
        lambda: mk(evaluations=[Role("agent2", Defect.for_env(env, 1), (1,))]),
        "evaluations is [Role(name='agent2',",
    ),
    (
        lambda: mk(evaluations={"x": Defect.for_env(env, 1)}),
        "evaluations['x'] is Defect(observation_space=Discrete(n=5),",
    ),
    (
        lambda: mk(evaluations={"x": {"agent2": Defect.for_env(env, 1)}}),
        "what replaces agent2 is Defect(observation_space=Discrete(n=5),",
    ),
    (
        lambda: mk(evaluations={"x": {"nobody": Role("nobody", Defect.for_env(env, 1), (1,))}}),
        "an evaluation replaces the role 'nobody': this run has agent1, agent2",
    ),
    (
        lambda: mk(evaluations={"a/b": {}}),
        "an evaluation is called 'a/b': give a name of letters, digits, _, -,",
    ),
    (lambda: mk(evaluations={3: {}}), "evaluations is {3: {}}: give a dict of evaluations by name"),
    (
        lambda: mk(evaluations={"": {}}),
        "an evaluation is called '': give a name of letters, digits, _, -, .",
    ),
    (lambda: mk(callbacks=cb.Scalars()), "callbacks is <pax.callbacks.scalars.Scalars object"),
    (
        lambda: mk(callbacks=[cb.Scalars]),
        "callbacks[0] is <class 'pax.callbacks.scalars.Scalars'>, which is not",
    ),
    (lambda: mk(callbacks="scalars"), "callbacks is 'scalars': give a list of callbacks"),
    (lambda: mk(callbacks=[3]), "callbacks[0] is 3, which is not a pax.Callback."),
    (
        lambda: mk(callbacks={"scalars": cb.Scalars()}),
        "callbacks is {'scalars': <pax.callbacks.scalars.Scalars object",
    ),
    (lambda: mk(workdir=3), "workdir is 3: give the path of a folder"),
    (lambda: mk(workdir="/etc/passwd"), "workdir is /etc/passwd, which is a file: give a folder"),
    (lambda: mk(workdir=""), "workdir is '': give the path of a folder"),
    (
        lambda: mk(workdir="/etc/passwd/x").fit(1),
        "workdir is /etc/passwd/x, and /etc/passwd is a file: give a folder",
    ),
    (lambda: mk(hyperparameters="x"), "hyperparameters is 'x': give a dict of settings by name"),
    (
        lambda: mk(hyperparameters=["x"]),
        "hyperparameters is ['x']: give a dict of settings by name",
    ),
    (lambda: mk().fit("3"), "num_iters is '3': give a whole number, 0 or more"),
    (lambda: mk().fit(2.5), "num_iters is 2.5: give a whole number, 0 or more"),
    (lambda: mk().fit(-1), "num_iters is -1: give 0 or more"),
    (lambda: mk().fit(2**40), "num_iters is 1099511627776: give at most 2147483647"),
    (lambda: mk().fit(True), "num_iters is True: give a whole number, 0 or more"),
    (lambda: mk().evaluate(), "nothing was learned yet: call fit() first"),
    (
        lambda: mk().evaluate("defect"),
        "opponents is 'defect': give a dict of agents by the name of the role",
    ),
    (
        lambda: mk().evaluate({"nobody": Defect.for_env(env, 1)}),
        "an evaluation replaces the role 'nobody': this run has agent1, agent2",
    ),
    (
        lambda: mk().evaluate({"agent2": Defect}),
        "agent of role agent2 is the class Defect: give an agent, such as",
    ),
    (
        lambda: mk().evaluate({"agent2": "Defect"}),
        "agent of role agent2 is 'Defect': give an agent, such as",
    ),
    (lambda: mk().evaluate(names=["nope"]), "one of names is 'nope': choose one of as_trained"),
    (lambda: mk().evaluate(names="training"), "names is 'training': give a list of evaluations"),
    (lambda: mk().restore("x"), "step is 'x': give a whole number, 0 or more"),
    (lambda: mk(workdir="/tmp").restore(-1), "step is -1: give 0 or more"),
    (lambda: mk().save(), "there is nowhere to save: add the callback pax.callbacks.Checkpoint"),
    (lambda: mk().learning_curves(0), "num_trials is 0: give at least 1"),
    (lambda: mk().learning_curves("8"), "num_trials is '8': give a whole number, at least 1"),
    (lambda: mk().request_stop(3), "reason is 3: give text"),
    (
        lambda: Role("agent1", Tabular, (0,)),
        "agent of role agent1 is the class Tabular: give an agent, such as",
    ),
    (
        lambda: Role("agent1", "PPO", (0,)),
        "agent of role agent1 is 'PPO': give an agent, such as PPO.for_env(env)",
    ),
    (
        lambda: Role(3, Tabular.for_env(env), (0,)),
        "a role is called 3: give a name of letters, digits, _, -, . and =, up",
    ),
    (
        lambda: Role("", Tabular.for_env(env), (0,)),
        "a role is called '': give a name of letters, digits, _, -, . and =,",
    ),
    (
        lambda: Role("a/../../b", Tabular.for_env(env), (0,)),
        "a role is called 'a/../../b': give a name of letters, digits, _, -, .",
    ),
    (
        lambda: Role("a b\nc", Tabular.for_env(env), (0,)),
        "a role is called 'a b\\nc': give a name of letters, digits, _, -, .",
    ),
    (
        lambda: Role("agent1", Tabular.for_env(env), 0),
        "seats of role agent1 is 0: give a tuple of players, such as (0,)",
    ),
    (
        lambda: Role("agent1", Tabular.for_env(env), ("0",)),
        "seats is '0' in role agent1: give a whole number",
    ),
    (
        lambda: Role("agent1", Tabular.for_env(env), [0.5]),
        "seats is 0.5 in role agent1: give a whole number",
    ),
    (
        lambda: Role("agent1", Tabular.for_env(env), (0,), learner="gradient"),
        "learner of role agent1 is 'gradient': give a learner, such as",
    ),
    (
        lambda: Role("agent1", Tabular.for_env(env), (0,), learner=Gradient),
        "learner of role agent1 is the class Gradient: give a learner, such as",
    ),
    (
        lambda: Role("agent1", Tabular.for_env(env), (0,), learns_in_trial="yes"),
        "learns_in_trial is 'yes' in role agent1: give True or False",
    ),
    (
        lambda: Role("agent1", Tabular.for_env(env), (0,), reset_every=1.5),
        "reset_every is 1.5 in role agent1: give a whole number",
    ),
    (
        lambda: Role("agent1", Tabular.for_env(env), (0,), self_play_seats=1),
        "self_play_seats of role agent1 is 1: give a tuple of players, such as",
    ),
    (
        lambda: MetaTrainer(
            env, [Role("agent1", Tabular.for_env(env), (0, 0)), TitForTat.for_env(env, 1)]
        ),
        "roles agent1 and agent1 both sit on seat 0: give one of them another",
    ),
    (
        lambda: MetaTrainer(
            env, [Role("agent1", Tabular.for_env(env), (7,)), TitForTat.for_env(env, 1)]
        ),
        "role agent1 sits on seat 7: this game has seats 0 to 1",
    ),
    (lambda: Tabular.for_env(env, seat=5), "seat is 5 in IteratedMatrixGame: give 0 to 1"),
    (
        lambda: Tabular.for_env(env, seat="0"),
        "seat is '0' in IteratedMatrixGame: give a whole number, 0 to 1",
    ),
    (lambda: Tabular.for_env("ipd"), "env is 'ipd': give a game, such as IteratedMatrixGame()"),
    (
        lambda: Tabular.for_env(IteratedMatrixGame),
        "env is the class IteratedMatrixGame: give a game, such as",
    ),
    (
        lambda: Tabular.for_env(env, learnng_rate=1),
        "learnng_rate is no setting of Tabular: did you mean learning_rate?",
    ),
    (
        lambda: Tabular.for_env(env, learning_rate="fast"),
        "learning_rate is 'fast' in Tabular: give a number, 0 or more",
    ),
    (
        lambda: Tabular.for_env(env, learning_rate=-1.0),
        "learning_rate is -1.0 in Tabular: give 0 or more",
    ),
    (
        lambda: Tabular.for_env(env, learning_rate=float("nan")),
        "learning_rate is nan in Tabular: give 0 or more",
    ),
    (
        lambda: Tabular.for_env(env, num_minibatches=2.0),
        "num_minibatches is 2.0 in Tabular: give a whole number, at least 1",
    ),
    (lambda: Tabular.for_env(env, num_epochs=0), "num_epochs is 0 in Tabular: give at least 1"),
    (lambda: PPO.for_env(env, clip_epsilon=-1), "clip_epsilon is -1 in PPO: give more than 0"),
    (lambda: PPO.for_env(env, gae_lambda=2), "gae_lambda is 2 in PPO: give 0 to 1"),
    (
        lambda: PPO.for_env(env, max_gradient_norm=0),
        "max_gradient_norm is 0 in PPO: give more than 0",
    ),
    (lambda: PPO.for_env(env, adam_epsilon=-1), "adam_epsilon is -1 in PPO: give 0 or more"),
    (lambda: PPO.for_env(env, value_coeff=-1), "value_coeff is -1 in PPO: give 0 or more"),
    (lambda: PPO.for_env(env, entropy_coeff="x"), "entropy_coeff is 'x' in PPO: give a number"),
    (lambda: Discrete("x"), "n is 'x' in Discrete: give a whole number"),
    (lambda: Discrete(0), "n is 0 in Discrete: give at least 1"),
    (lambda: Box(shape="x"), "shape is 'x': give a tuple"),
    (lambda: Box((-2,)), "a size in shape is -2 in a Box: give 0 or more"),
    (lambda: Box((2,), low="a"), "low is 'a' in a Box: give one number"),
    (
        lambda: PPO(Discrete(2), Box((2,), -3.4e38, 3.4e38)),
        "PPO: actions are Box(shape=(2,), low=-3.4e+38, high=3.4e+38), whose bounds are too far",
    ),
    (
        lambda: check_environment(IteratedMatrixGame),
        "env is the class IteratedMatrixGame: give a game",
    ),
    (lambda: check_environment(env, num_steps=0), "num_steps is 0: give at least 1"),
    (lambda: check_environment(env, seed="x"), "seed is 'x': give a whole number"),
    (lambda: check_agent(Tabular), "agent is the class Tabular: give an agent"),
    (lambda: PPO.for_env(env, learning_rate=10**400), "learning_rate is 1"),
    (lambda: PPO.for_env(env, learning_rate=1e300), "learning_rate is 1e+300 in PPO: give"),
    (lambda: hard_stop("x"), "num_outer_steps is 'x': give a whole number"),
    (lambda: hard_stop(3, at=1.5), "at is 1.5: give a whole number"),
    (lambda: mixed_learning_rate("agent1", "x"), "low is 'x': give a number"),
    (lambda: mixed_payoff(2**40), "high is 1099511627776: give at most"),
    (lambda: mixed_payoff(3, "x"), "per_generation is 'x'"),
    (lambda: shuffled_seats("x"), "num_players is 'x': give a whole number"),
    (lambda: blinded("agent1", 2.5, 1), "num_envs is 2.5: give a whole number"),
    (lambda: annealed_self_play(1.0, 0.0, 2**40), "horizon is 1099511627776: give at most"),
    (
        lambda: PPO.for_env(env, entropy_coeff_horizon=-1),
        "entropy_coeff_horizon is -1 in PPO: give 0 or more",
    ),
    (
        lambda: PPO.for_env(env, learning_rate_horizon=-5),
        "learning_rate_horizon is -5 in PPO: give 0 or more",
    ),
    (lambda: PPO.for_env(env, hidden_size=0), "hidden_size is 0 in PPO: give at least 1"),
    (
        lambda: PPO.for_env(env, hidden_size=16.0),
        "hidden_size is 16.0 in PPO: give a whole number, at least 1",
    ),
    (lambda: PPO.for_env(env, conv_channels=16), "conv_channels is 16 in PPO: give a tuple"),
    (lambda: PPO.for_env(env, conv_channels=(-1,)), "conv_channels is -1 in PPO: give at least 1"),
    (lambda: PPO.for_env(env, clip_value="yes"), "clip_value is 'yes' in PPO: give True or False"),
    (
        lambda: PPO.for_env(env, network="cnn"),
        "network is 'cnn' in PPO: choose one of mlp, table, gru",
    ),
    (lambda: PPO.for_env(env, network=3), "network is 3 in PPO: give text"),
    (lambda: PPO.for_env(env, discount=2), "discount is 2 in PPO: give 0 to 1"),
    (lambda: PPO("a", "b"), "observation_space of PPO is 'a': give a space of pax.envs.spaces, or"),
    (lambda: PPO(3, 4), "observation_space of PPO is 3: give a space of pax.envs.spaces, or"),
    (
        lambda: Shaper.for_env(env, context="max"),
        "context is 'max' in Shaper: choose one of none, avg, att",
    ),
    (
        lambda: MemoryOne.for_env(env, probabilities=(1, 2)),
        "probabilities is (1, 2) in MemoryOne: give five numbers from 0 to 1,",
    ),
    (
        lambda: MemoryOne.for_env(env, probabilities=3),
        "probabilities is 3 in MemoryOne: give a tuple",
    ),
    (
        lambda: MemoryOne.for_env(env, probabilities="CCDD"),
        "probabilities is 'CCDD' in MemoryOne: give a tuple",
    ),
    (lambda: ZeroDeterminant.for_env(env, chi="x"), "chi is 'x' in ZeroDeterminant: give a number"),
    (
        lambda: ZeroDeterminant.for_env(env, chi=float("nan")),
        "chi is nan in ZeroDeterminant: give a finite number",
    ),
    (
        lambda: LOLAExact.for_env(InfiniteMatrixGame(), look_ahead_steps=1.5),
        "look_ahead_steps is 1.5 in LOLAExact: give a whole number, at least 1",
    ),
    (
        lambda: LOLAExact.for_env(InfiniteMatrixGame(), look_ahead_rate=-1),
        "look_ahead_rate is -1 in LOLAExact: give 0 or more",
    ),
    (lambda: SOSExact.for_env(InfiniteMatrixGame(), a=2), "a is 2 in SOSExact: give 0 to 1"),
    (
        lambda: Evolution(Tabular.for_env(env), popsize=0),
        "popsize is 0 in evolution: give at least 1",
    ),
    (
        lambda: Evolution(Tabular.for_env(env), popsize=4.0),
        "popsize is 4.0 in evolution: give a whole number, at least 1",
    ),
    (
        lambda: Evolution(Tabular.for_env(env), sigma=-1),
        "sigma is -1 in evolution: give more than 0",
    ),
    (
        lambda: Evolution(Tabular.for_env(env), strategy="CMA"),
        "strategy is 'CMA' in evolution: did you mean CMA_ES?",
    ),
    (
        lambda: Evolution(Tabular.for_env(env), strategy=[]),
        "strategy is [] in evolution: choose one of",
    ),
    (
        lambda: Evolution(Tabular.for_env(env), params=3),
        "params is 3: give a dict of parameters of Open_ES",
    ),
    (
        lambda: Evolution(
            Tabular.for_env(env),
            strategy="CMA_ES",
            fitness_shaping="default",
            params={"c_mean": "x"},
        ),
        "evolution.params.c_mean is 'x' in CMA_ES: give a number",
    ),
    (
        lambda: Evolution(Tabular.for_env(env), learning_rate=-1),
        "learning_rate is -1 in evolution: give 0 or more",
    ),
    (
        lambda: Evolution(Tabular.for_env(env), weight_decay=-1),
        "weight_decay is -1 in evolution: give 0 or more",
    ),
    (lambda: Evolution("PPO"), "the agent of Evolution is 'PPO': give an agent, such as"),
    (lambda: Gradient("PPO"), "the agent of Gradient is 'PPO': give an agent, such as"),
    (lambda: Gradient(PPO), "the agent of Gradient is the class PPO: give an agent, such as"),
    (
        lambda: LOLADiCE(Tabular.for_env(env), look_ahead_steps="x"),
        "look_ahead_steps is 'x' in LOLADiCE: give a whole number, 0 or more",
    ),
    (
        lambda: LOLADiCE(Tabular.for_env(env), look_ahead_rate=float("nan")),
        "look_ahead_rate is nan in LOLADiCE: give 0 or more",
    ),
    (
        lambda: AdvantageAlignment(Tabular.for_env(env), weight="x"),
        "weight is 'x' in AdvantageAlignment: give a number",
    ),
    (
        lambda: AdvantageAlignment(Tabular.for_env(env), weight=float("inf")),
        "weight is inf in AdvantageAlignment: give a finite number",
    ),
    (
        lambda: IteratedMatrixGame(num_inner_steps=0),
        "num_inner_steps is 0: give at least 1 step per episode",
    ),
    (
        lambda: IteratedMatrixGame(num_inner_steps=4.0),
        "num_inner_steps is 4.0: give a whole number, at least 1 step per",
    ),
    (
        lambda: IteratedMatrixGame(num_inner_steps="4"),
        "num_inner_steps is '4': give a whole number, at least 1 step per",
    ),
    (
        lambda: IteratedMatrixGame(num_inner_steps=2**40),
        "num_inner_steps is 1099511627776: give at most 2147483647",
    ),
    (lambda: IteratedMatrixGame(3, 4), "one_hot is 4: give True or False"),
    (
        lambda: CoinGame(num_inner_steps=2.5),
        "num_inner_steps is 2.5: give a whole number, at least 1 step per",
    ),
    (lambda: CoinGame(size=0), "size is 0: give 2 to 255 rows"),
    (lambda: CoinGame(size="3"), "size is '3': give a whole number"),
    (lambda: CoinGame(cnn="yes"), "cnn is 'yes': give True or False"),
    (lambda: Gymnax("Nope-v1", 5), "name is 'Nope-v1', which gymnax does not have: choose one of"),
    (lambda: Gymnax(3, 5), "name is 3, which gymnax does not have: choose one of Acrobot-v1,"),
    (lambda: Gymnax("CartPole-v1", 0), "num_inner_steps is 0: give at least 1 step per episode"),
    (lambda: Cournot(num_players=0), "num_players is 0: give at least 1"),
    (lambda: Cournot(num_players="2"), "num_players is '2': give a whole number, at least 1"),
    (
        lambda: Fishery(num_inner_steps=-1),
        "num_inner_steps is -1: give at least 1 step per episode",
    ),
    (
        lambda: InfiniteMatrixGame().make_params(gamma=2),
        "gamma is 2: give a number from 0 to less than 1 (as float32)",
    ),
    (
        lambda: mk(callbacks=[cb.Scalars(every=0)]),
        "Scalars.every=0 must be a positive multiple of chunk=10, because",
    ),
    (
        lambda: mk(callbacks=[cb.Scalars(every="x")]),
        "Scalars.every='x' must be a whole number of iterations that is a",
    ),
    (
        lambda: mk(callbacks=[cb.Scalars(every=3)]),
        "Scalars.every=3 must be a positive multiple of chunk=10, because",
    ),
    (
        lambda: mk(callbacks=[cb.Scalars(each_iteration="yes")]),
        "each_iteration is 'yes' in Scalars: give True or False",
    ),
    (lambda: mk(callbacks=[cb.Progress(seconds=-1)]), "seconds is -1 in Progress: give 0 or more"),
    (
        lambda: mk(callbacks=[cb.Progress(seconds="x")]),
        "seconds is 'x' in Progress: give a number, 0 or more",
    ),
    (lambda: cb.Checkpoint(every=0), "every is 0 in Checkpoint: give at least 1"),
    (lambda: cb.Checkpoint(keep_latest=0), "keep_latest is 0 in Checkpoint: give at least 1"),
    (
        lambda: cb.Checkpoint(keep_latest="2"),
        "keep_latest is '2' in Checkpoint: give a whole number, at least 1",
    ),
    (lambda: cb.Checkpoint(mode="avg"), "mode is 'avg' in Checkpoint: choose one of max, min"),
    (lambda: cb.Checkpoint(monitor=3), "monitor is 3 in Checkpoint: give text"),
    (lambda: cb.EarlyStop("x", "y"), "threshold is 'y' in EarlyStop: give a number"),
    (lambda: cb.EarlyStop("x", 1.0, patience=0), "patience is 0 in EarlyStop: give at least 1"),
    (
        lambda: cb.EarlyStop("x", float("nan")),
        "threshold is nan in EarlyStop: give a finite number",
    ),
    (lambda: cb.Profile(start=0), "start is 0 in Profile: give at least 1"),
    (lambda: cb.Profile(start=1.5), "start is 1.5 in Profile: give a whole number, at least 1"),
    (
        lambda: mk(callbacks=[cb.Video(every="x")]),
        "Video.every='x' must be a whole number of iterations that is a",
    ),
    (
        lambda: mk(callbacks=[cb.Pictures(every=-1)]),
        "Pictures.every=-1 must be a positive multiple of chunk=10, because",
    ),
    (
        lambda: mk(callbacks=[cb.Pictures(histograms="yes")]),
        "histograms is 'yes' in Pictures: give True or False",
    ),
    (lambda: cb.WandB(project=3), "project is 3 in WandB: give text"),
    (
        lambda: mk(callbacks=[cb.Evaluation(every=None)]),
        "Evaluation.every=None must be a whole number of iterations that is a multiple of chunk=10",
    ),
    (
        lambda: mk(evaluations={"x": {}, "X": {}}),
        "evaluations x and X differ by case alone: give one of them another name",
    ),
    (
        lambda: MetaTrainer(
            env,
            [
                Role("straße", Tabular.for_env(env), (0,)),
                Role("STRASSE", TitForTat.for_env(env, 1), (1,)),
            ],
        ),
        "roles straße and STRASSE differ by case alone: give one of them another name",
    ),
    (lambda: read_metrics(3), "path is 3: give the path of a file"),
    (lambda: read_metrics(""), "path is '': give the path of a file"),
    (
        lambda: read_metrics("/nope"),
        "metrics /nope cannot be read (No such file or directory): give the folder of a run, or",
    ),
    (
        lambda: read_metrics("/etc/passwd"),
        "/etc/passwd, line 1 is not an object with an 'iteration'",
    ),
    (lambda: create_writer(3), "workdir is 3: give the path of a folder"),
    (lambda: load_policy(3), "path is 3: give the path of a file"),
    (lambda: load_policy(None), "path is None: give the path of a file"),
    (lambda: save_policy([], agent={}, params={}), "path is []: give the path of a file"),
    (
        lambda: save_policy("/nope/p", agent=3, params={}),
        "agent is 3: give a dict of its type and settings, such as agent.describe()",
    ),
    (
        lambda: save_policy("/nope/p", agent={}, params=3),
        "params of policy /nope/p is of type int: give an array, or a dict or struct of arrays",
    ),
    (lambda: t_quantile(0), "degrees is 0: give at least 1"),
    (lambda: t_quantile([2, 0.5]), "degrees is [2, 0.5]: give at least 1"),
    (lambda: t_quantile(None), "degrees is None: give numbers"),
    (lambda: t_interval(1.0, 1.0, 0), "num is 0: give at least 1"),
    (lambda: t_interval(1.0, -1.0, 3), "std is array(-1.): give standard deviations, 0 or more"),
    (lambda: t_interval([1, 2], [1, 2, 3], 3), "std has shape (3,), and mean has (2,): give one"),
    (lambda: estimate_over_seeds([]), "samples is [], which is empty: give at least one number"),
    (lambda: estimate_over_seeds(np.ones((6, 0))), "samples is array([], shape=(6, 0),"),
    (lambda: estimate_over_seeds([[1, 2], [3]]), "samples is [[1, 2], [3]]: give as many numbers"),
    (lambda: estimate_over_seeds("x"), "samples is 'x': give numbers, one or more per seed"),
    (lambda: estimate_over_seeds(None), "samples is None: give numbers, one or more per seed"),
    (lambda: estimate_over_seeds(3), "samples is 3: give numbers, one or more per seed"),
    (lambda: estimate_over_seeds([1 + 2j]), "samples is [(1+2j)]: give numbers, one or more per"),
    (lambda: bootstrap_interval([1, 2, 3], repetitions=0), "repetitions is 0: give at least 1"),
    (lambda: bootstrap_interval([1, 2, 3], seed=-1), "seed is -1: give 0 or more"),
    (lambda: interquartile_mean([]), "values is [], which is empty: give at least one number"),
    (lambda: interquartile_mean([1, 2, 3], axis=5), "axis is 5: give -1 to 0"),
    (lambda: product(3), "a sweep is 3: give a list of dicts, as product(...) and zip(...) return"),
    (lambda: product([]), "a sweep is []: give a list of dicts"),
    (lambda: product({"seed": [1]}), "a sweep is {'seed': [1]}: give a list of dicts"),
    (lambda: product([3]), "a run of a sweep is 3: give a dict of settings"),
    (lambda: product([{3: 1}]), "a run of a sweep is {3: 1}: give a dict of settings"),
    (lambda: product(**{"a\nb": [1]}), "a sweep changes the setting 'a\\nb': give a dotted key"),
    (
        lambda: product(seed=itertools.count()),
        "the axis seed of a sweep has more than 100000 values: give fewer",
    ),
    (
        lambda: product(a=range(1000), b=range(1000)),
        "a sweep has 1000000 runs: give at most 100000",
    ),
    (lambda: sweep.zip(), "a zip has no axes: give some"),
    (lambda: sweep.load_sweep(3), "the config of a sweep is 3: give text"),
    (lambda: sweep.check_sweep(base_config(), 3), "sweep is 3: give a list of dicts, one per run"),
    (lambda: sweep.check_sweep(base_config(), [3]), "run 000 of the sweep is 3: give a dict"),
    (lambda: defaults(3), "constructor is 3: give a class, such as pax.callbacks.Scalars"),
    (
        lambda: defaults(Tabular, learning_rate="x"),
        "learning_rate of Tabular is 'x': give a number, such as",
    ),
    (lambda: role("PPO", "x"), "seat is 'x' in the role of PPO: give a whole number, 0 or more"),
    (lambda: role("PPO", -1), "seat is -1 in the role of PPO: give 0 or more"),
    (lambda: role("PPO", 0, type="Naive"), "type is 'Naive' in the role of PPO: it is the first"),
    (lambda: role("PPO", 0, learner=3), "learner of the role of PPO is 3: give the name of one"),
    (lambda: role("PPO", 0, seats="x"), "seats of the role of PPO is 'x': give a tuple"),
    (
        lambda: role("PPO", 0, learner={"type": "evolution", "popsiz": 3}),
        "evolution has no setting 'popsiz': did you mean popsize?",
    ),
    (lambda: learner("evolution", params=3), "params of evolution is 3, but a section: set what"),
    (
        lambda: learner("evolution", strategy="CMA_ES", params={"c_men": 1.0}),
        "params of evolution has no setting 'c_men': did you mean c_mean?",
    ),
    (lambda: learner("lola"), "the learner is 'lola', which no learner is called: did you mean"),
    (
        lambda: game("CoinGame", num_inner_steps=7),
        "num_inner_steps is 7 in game('CoinGame'): it is a setting of the run, so set config.num",
    ),
    (lambda: game("CoinGame", size="x"), "size of CoinGame is 'x': give a whole number, such as 3"),
    (lambda: game("Gymnax", gravity="x"), "gravity of Gymnax is 'x': give a number, such as 9.8"),
    (lambda: parse_variant(3, {}, {}), "the argument of a config is 3: give text"),
    (lambda: parse_variant("x", {}, {}), "there is no variant 'x': this config has none"),
    (lambda: parse_variant("x,y", ["x"], {}), "variant x has no option 'y': it has none"),
    (lambda: build_trainer(3, None), "config is 3: give what pax.config.base_config() returns"),
    (
        lambda: find_setting(base_config(), "callbacks.vido.every"),
        "callbacks.vido.every is no setting: callbacks has no 'vido', did you mean video?; one that "
        "the config does not have is added by --config.extra_callbacks=\"(('my_module.MyCallback', {",
    ),
    (
        lambda: find_setting(base_config(), "callbacks.zz.type"),
        "callbacks.zz.type is no setting: callbacks has no 'zz', choose one of checkpoint,",
    ),
    (
        lambda: build_callback("callbacks.mine", "", {}),
        "callbacks.mine has no type: give the dotted path of a class, 'module.Class'",
    ),
    (
        lambda: build_callback("callbacks.mine", "Scalrs", {}),
        "callbacks.mine is 'Scalrs', which is no dotted path: did you mean 'pax.callbacks.Scalars'?",
    ),
    (
        lambda: build_callback("callbacks.mine", "pax.callbacks.Scalrs", {}),
        "callbacks.mine is 'pax.callbacks.Scalrs', and module pax.callbacks (",
    ),
    (
        lambda: check_environment(env, params=3),
        "params is 3, which IteratedMatrixGame cannot be played for ('int'",
    ),
    (
        lambda: check_agent(Defect.for_env(env), num_envs="x"),
        "num_envs is 'x': give a whole number, at least 1",
    ),
    (lambda: check_agent(Defect.for_env(env), num_steps=0), "num_steps is 0: give at least 1"),
    (lambda: random_values(None, 3), "space is 3: give a space of pax.envs.spaces"),
    (
        lambda: mk(callbacks=[cb.Checkpoint()]).fit(1),
        "Checkpoint has nowhere to save: give the trainer a workdir",
    ),
]


@pytest.mark.parametrize("index", range(len(MISTAKES)))
def test_mistakes_in_python(monkeypatch, index):
    monkeypatch.setattr(
        compiled_loop.CompiledLoop, "compile", lambda *_: pytest.fail("it compiles")
    )
    mistake, sentence = MISTAKES[index]
    with pytest.raises(PaxError) as refused:
        mistake()
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("is_attribute", [True, False])
def test_steps_of_a_game_of_ones_own_that_the_run_replaces_are_told(
    tmp_path, monkeypatch, caplog, is_attribute
):
    steps = "num_inner_steps = 50" if is_attribute else ""
    init = "" if is_attribute else "def __init__(self, num_inner_steps=50):"
    body = "" if is_attribute else "    super().__init__(num_inner_steps)"
    name = f"steps_of_my_own_{is_attribute}"
    (tmp_path / f"{name}.py").write_text(
        "from pax.envs import IteratedMatrixGame\n"
        "class Mine(IteratedMatrixGame):\n"
        f"    {steps or init}\n"
        f"    {body or 'def __init__(self): self.one_hot, self.show_payoff_to = False, ()'}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = base_config()
    config.env = game(f"{name}.Mine")
    with caplog.at_level(logging.INFO, logger="absl"):
        played, _ = build_env(config)
    assert played.num_inner_steps == config.num_inner_steps == 150
    assert [record.getMessage() for record in caplog.records] == [
        f"{name}.Mine has num_inner_steps=50, and is played for the 150 steps of the run: set "
        "config.num_inner_steps to change that."
    ]
    caplog.clear()
    config.num_inner_steps = 50
    with caplog.at_level(logging.INFO):
        build_env(config)
    assert not caplog.records


def test_there_are_enough_of_them():
    assert len(MISTAKES) > 100


def test_the_home_directory_is_meant_by_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert mk(workdir="~/runs/a").workdir == pathlib.Path("/home/me/runs/a")


HUGE = 10**5000
"""Python writes no number of more than 4300 digits, also not into an error."""


class Nameless:
    def __repr__(self):
        raise RuntimeError("no name")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: mk(HUGE), "num_envs is about 2^16610: give at most 2147483647"),
        (lambda: mk((1, HUGE)), "num_envs is <a tuple>: give a whole number"),
        (lambda: mk(Nameless()), "num_envs is <a Nameless>: give a whole number"),
        (lambda: mk(10**4000), "num_envs is 1" + "0" * 76 + "...: give at most"),
        (lambda: CoinGame(num_inner_steps=4, size=HUGE), "size is about 2^16610: give at most"),
        (lambda: sweep.product(seed=HUGE), "the axis seed of a sweep is about 2^16610: give"),
        (lambda: sweep._plain(HUGE), "a sweep sets something to about 2^16610: use"),
        (lambda: check_type("chunk", (HUGE,), 1), "chunk is <a tuple>: give a whole number"),
    ],
)
def test_huge_numbers_are_told_in_short(mistake, message):
    with pytest.raises(PaxError) as caught:
        mistake()
    assert str(caught.value).startswith(message) and len(str(caught.value)) < 300
