"""Advantage alignment and LOQA: what their sums are, what they change, and that players cooperate by them."""

import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import PPO, Naive, Shaper, Tabular, TitForTat
from pax.agents.ppo import PPOMemory, Sequences
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.envs import Fishery, IteratedMatrixGame, IteratedTensorGame, Negotiation
from pax.errors import ConfigError
from pax.learners import COALA, LOQA, AdvantageAlignment, Gradient
from pax.learners.advantage_alignment import past_advantages
from pax.learners.learner import Experience
from pax.loop.counts import Counts
from pax.loop.iteration import Loop
from pax.roles import Role
from pax.tasks import compose, mixed_pool
from pax.trainer import MetaTrainer
from pax.types import LineUp, Sample, Trial

ROOT = pathlib.Path(__file__).parents[2]
ENV = IteratedMatrixGame(num_inner_steps=6)


def test_past_advantages_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    advantages = rng.normal(size=(9, 4))
    dones = np.zeros((9, 4), bool)
    # Episodes of 3 and 6 steps; one of 5, and one that goes on; one throughout; one of a single step.
    dones[[2, 8], 0] = dones[4, 1] = dones[0, 3] = True
    expected = np.zeros((9, 4))
    for env in range(4):
        start = 0
        for t in range(9):
            for k in range(start, t):
                expected[t, env] += 0.9 ** (t - k) * advantages[k, env] / (t - start)
            start = t + 1 if dones[t, env] else start
    result = past_advantages(jnp.array(advantages), jnp.array(dones), 0.9)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def learned(make_learner, agents):
    """Every parameter of both players after three iterations of two episodes."""
    roles = []
    for seat, cls in enumerate(agents):
        options = {"num_minibatches": 2, "num_epochs": 1, "learning_rate": 0.3}
        if cls is PPOMemory:
            options["sequence_length"] = 3
        agent = cls.for_env(ENV, seat, **options)
        roles.append(Role(f"agent{seat + 1}", agent, (seat,), make_learner(agent)))
    trainer = MetaTrainer(ENV, roles, num_envs=8, num_outer_steps=2, num_iters=3, chunk=3)
    trainer.fit()
    deployed = [
        role.learner.deploy(trainer.state.learners[role.name]).params for role in trainer.roles
    ]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(deployed)]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "agents",
    [
        (Tabular, Tabular),
        *(pytest.param(pair, marks=pytest.mark.slow) for pair in ((PPO, PPO), (PPOMemory, PPO))),
    ],
)
def test_weight_0_is_ppo_and_others_are_not(agents):
    plain = learned(Gradient, agents)
    assert same(plain, learned(lambda agent: AdvantageAlignment(agent, weight=0.0), agents))
    assert not same(plain, learned(lambda agent: AdvantageAlignment(agent, weight=5.0), agents))


def test_loqa_counts_steps_as_far_as_the_others_action_was_unlikely():
    probabilities = jnp.array([[0.25, 1.0], [0.5, 0.01]])
    zeros = jnp.zeros((2, 2))
    theirs = Sample(zeros, zeros, zeros, jnp.log(probabilities), zeros, zeros, zeros)
    learner = LOQA(Tabular.for_env(ENV))
    np.testing.assert_allclose(learner.influence(theirs), [[0.75, 0.0], [0.5, 0.99]], atol=1e-6)


class Recorder(PPO):
    """Tells which advantages it is to learn from."""

    def update(self, rollout, last_observations, state, memory, key, advantages=None):
        return state, memory, {"advantages": advantages[0]}


def test_alignment_with_continuous_actions_by_hand():
    """One game of three rounds, values 0, so that advantages are rewards; discount .5, weight 4."""
    env = Negotiation(3)
    own = Recorder.for_env(
        env, discount=0.5, gae_lambda=0.0, bootstrap_on_time_limit=False, num_minibatches=1
    )
    state = own.init(jax.random.key(0))
    # By step, of player 1 and player 2.
    rewards = jnp.array([[1.0, 4.0], [2.0, -1.0], [3.0, 2.0]])
    zeros = jnp.zeros((3, 2))
    rollout = Sample(
        jnp.zeros((3, 2, 15)),
        jnp.ones((3, 2, 3)),
        rewards,
        zeros,
        zeros,
        jnp.array([[False] * 2] * 2 + [[True] * 2]),
        jnp.zeros((3, 2, 0)),
        num_seats=2,
    )
    memory = own.initial_memory(own.initial_hidden(2))
    # Axes of candidates, opponents and episodes.
    rollout = jax.tree.map(lambda leaf: leaf[None, None, None], rollout)
    trial = mock.Mock(
        spec=Trial,
        rollouts={"agent1": rollout},
        last_observations={"agent1": jnp.zeros((1, 1, 1, 2, 15))},
        last_memories={"agent1": jax.tree.map(lambda leaf: leaf[None, None], memory)},
    )
    line_up = LineUp({"agent1": state}, {"agent1": None}, {"agent1": None})
    experience = Experience(
        "agent1", jax.random.key(1), trial, None, line_up, {"agent1": own}, None
    )
    learner = AdvantageAlignment(own, weight=4.0)
    _, metrics = learner.update(state, experience)
    # Past advantages are 0, 1/2, (1/4 + 2/2) / 2 of player 1, and 0, 4/2, (4/4 - 1/2) / 2 of player 2.
    expected = [
        [1, 4],
        [2 + 4 * 0.5 * 0.5 * -1, -1 + 4 * 0.5 * 2 * 2],
        [3 + 4 * 0.5 * 0.625 * 2, 2 + 4 * 0.5 * 0.25 * 3],
    ]
    np.testing.assert_allclose(metrics["advantages"], expected, rtol=1e-6)


def test_proposals_are_learned_as_one_action():
    """PPO's first gradient is -A d log pi, with log pi the sum over items, those at a bound included."""
    env = Negotiation(3)
    agent = PPO.for_env(env, standardise_advantages=False, value_coeff=0.0, entropy_coeff=0.0)
    state = agent.init(jax.random.key(0))
    observations = env.reset(jax.random.key(1), ())[0][0][None]
    actions, advantage = jnp.array([[0.0, 2.0, 5.0]]), 3.0

    def log_prob(params):
        distribution = agent.forward(params, jnp.zeros((1, 0)), observations)[1]
        mean, std = distribution.mean[0], distribution.std[0]
        below = jax.scipy.stats.norm.logcdf(0.0, mean[0], std[0])
        within = jax.scipy.stats.norm.logpdf(2.0, mean[1], std[1])
        above = jax.scipy.stats.norm.logsf(5.0, mean[2], std[2])
        return below + within + above

    one = jnp.ones((1, 1))
    batch = Sequences(
        observations[:, None],
        actions[:, None],
        one < 0,
        log_prob(state.params) * one,
        0 * one,
        advantage * one,
        0 * one,
        jnp.zeros((1, 0)),
    )
    gradients = jax.grad(lambda params: agent.loss(params, batch, 0.0)[0])(state.params)
    expected = jax.tree.map(lambda leaf: -advantage * leaf, jax.grad(log_prob)(state.params))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), gradients, expected
    )


@pytest.mark.slow
@pytest.mark.parametrize("variant", ("advantage_alignment", "loqa"))
def test_players_learn_to_reciprocate_in_the_prisoners_dilemma(variant):
    config = load_config(f"{ROOT}/configs/ipd.py:{variant}")
    config.num_iters, config.seed = 400, 5
    for callback in config.callbacks:
        config.callbacks[callback].enabled = False
    trainer = build_trainer(config, None)
    trainer.fit()
    results = trainer.evaluate()
    together, against = results["as_trained"], results["defect"]
    for player in (1, 2):
        assert together[f"reward_per_timestep/player_{player}"] > -1.05
    # Not cooperators whom everybody exploits: those would get -3 and give 0.
    assert against["reward_per_timestep/player_1"] > -2.3
    assert against["reward_per_timestep/player_2"] < -1.5


def test_only_agents_that_learn_by_ppo_can_align():
    for agent in (Naive.for_env(ENV), Shaper.for_env(ENV, context="avg")):
        for cls in (AdvantageAlignment, LOQA):
            with pytest.raises(ConfigError, match="choose PPO, PPO_memory or Tabular"):
                cls(agent)


def test_somebody_else_must_have_a_critic():
    own = Tabular.for_env(ENV, 0, num_minibatches=2)
    roles = [
        Role("agent1", own, (0,), AdvantageAlignment(own)),
        Role("agent2", TitForTat.for_env(ENV, 1), (1,)),
    ]
    with pytest.raises(ConfigError, match="nobody else here has a critic"):
        MetaTrainer(ENV, roles, num_envs=8, num_iters=1, chunk=1)


def test_who_only_takes_over_seats_is_nobody_to_align_with():
    """A pool, a learner whose seat members of it take over, and one that aligns."""
    env = IteratedTensorGame(3, num_inner_steps=2)
    settings = {"num_minibatches": 1, "num_epochs": 1}
    agents = [Tabular.for_env(env, seat, **settings) for seat in range(3)]
    pool = COALA(agents[0], "batch_unaware", num_agents=2)
    roles = [
        Role("pool", agents[0], (0,), pool),
        Role("naive", agents[1], (1,), learns_in_trial=True),
        Role("aligns", agents[2], (2,), AdvantageAlignment(agents[2])),
        Role("partner", agents[1], (), self_play_seats=(1,), member_of="pool"),
    ]
    counts = Counts(num_envs=2, num_opps=2, num_outer_steps=2)
    loop = Loop(env, roles, compose(env.default_params, [mixed_pool(0.5)]), counts)
    state = jax.eval_shape(loop.init, jax.random.key(0)[None])
    _, metrics = jax.eval_shape(lambda state: loop.run(state, 1), state)
    assert "train/aligns/loss_policy" in metrics
    with pytest.raises(ConfigError, match="nobody else here has a critic"):
        roles[2].learner.check_others(roles[2], [roles[3]], 1)


def test_loqa_refuses_continuous_actions():
    env = Fishery(num_inner_steps=4)
    agents = [PPO.for_env(env, seat, num_minibatches=1) for seat in range(2)]
    roles = [Role(f"agent{i + 1}", agent, (i,), LOQA(agent)) for i, agent in enumerate(agents)]
    with pytest.raises(ConfigError, match="agent1 chooses from Box.*Discrete actions"):
        MetaTrainer(env, roles, num_envs=8, num_iters=1, chunk=1)
