"""Masks of legal actions: what is played and learned under them, in a game of one's own and in JaxMARL's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax import Callback, MetaTrainer
from pax.agents import AGENTS
from pax.agents.distributions import MaskedCategorical
from pax.envs.environment import Environment
from pax.envs.masks import MASK, check_mask, choose_legal
from pax.envs.spaces import Box, Dict, Discrete
from pax.errors import ConfigError, TrainingError
from pax.interface import check_game
from pax.learners import Evolution
from pax.roles import Role
from pax.tasks import blinded
from pax.testing import check_agent, check_environment

NUM_ACTIONS = 4


class Turns(Environment):
    """Action i is legal where the step is i or i + 1 modulo 4; the larger one pays 1, an illegal one -100."""

    num_players = 2

    def __init__(self, num_inner_steps=4, num_legal=2):
        self.num_inner_steps, self.num_legal = num_inner_steps, num_legal

    def _seen(self, t):
        ahead = (t - jnp.arange(NUM_ACTIONS)) % NUM_ACTIONS
        mask = (ahead < self.num_legal).astype(jnp.float32)
        return ({MASK: mask, "clock": jax.nn.one_hot(t % NUM_ACTIONS, NUM_ACTIONS)},) * 2

    def reset(self, key, params):
        del key, params
        return self._seen(jnp.int32(0)), jnp.int32(0)

    def step(self, key, state, actions, params):
        del key, params
        mask = self._seen(state)[0][MASK]
        best = (NUM_ACTIONS - 1 - jnp.argmax(mask[::-1])).astype(jnp.int32)
        rewards = tuple(
            jnp.where(mask[action] > 0, (action == best).astype(jnp.float32), -100.0)
            for action in actions
        )
        state = state + 1
        return self._seen(state), state, rewards, state >= self.num_inner_steps, {}

    def observation_space(self, player):
        return Dict(
            ((MASK, Box((NUM_ACTIONS,), 0.0, 1.0)), ("clock", Box((NUM_ACTIONS,), 0.0, 1.0)))
        )

    def action_space(self, player):
        return Discrete(NUM_ACTIONS)


def test_a_masked_distribution_is_the_softmax_of_what_is_legal():
    logits = jnp.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    mask = jnp.array([[True, False, True, False], [False, False, False, True]])
    own = MaskedCategorical.from_masked(logits, mask)
    first = np.exp([1.0, 3.0]) / np.exp([1.0, 3.0]).sum()
    np.testing.assert_allclose(jnp.exp(own.log_probs[0]), [first[0], 0, first[1], 0], atol=1e-6)
    np.testing.assert_allclose(own.log_prob(jnp.array([2, 3])), [np.log(first[1]), 0], atol=1e-6)
    np.testing.assert_allclose(own.entropy(), [-(first * np.log(first)).sum(), 0], atol=1e-6)


def test_gradients_under_a_mask_are_finite_and_none_of_what_is_illegal():
    mask = jnp.array([True, False, True, False])

    def objective(logits):
        own = MaskedCategorical.from_masked(logits, mask)
        return own.log_prob(jnp.int32(2)) + 0.5 * own.entropy()

    def by_hand(pair):
        log_probs = jax.nn.log_softmax(pair)
        return log_probs[1] - 0.5 * (jnp.exp(log_probs) * log_probs).sum()

    gradient = jax.grad(objective)(jnp.array([1.0, 2.0, 3.0, 4.0]))
    expected = jax.grad(by_hand)(jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(gradient, [expected[0], 0, expected[1], 0], atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_drawn_is_legal_also_at_the_ends_of_the_interval(seed):
    keys = jax.random.split(jax.random.key(seed))
    logits = 20 * jax.random.normal(keys[0], (2000, 9))
    mask = jax.random.bernoulli(keys[1], 0.4, (2000, 9)).at[:, seed].set(True)
    own = MaskedCategorical.from_masked(logits, mask)
    for uniform in (0.0, 0.5, np.nextafter(np.float32(1), np.float32(0))):
        numbers = jnp.full(2000, uniform)
        for actions in (own.transform(numbers), choose_legal(numbers, mask)):
            assert jnp.take_along_axis(mask, actions[:, None], axis=1).all()


def test_uniform_choice_is_uniform():
    mask = jnp.array([False, True, True, False, True])
    uniform = (jnp.arange(3000) + 0.5) / 3000
    chosen = choose_legal(uniform, jnp.broadcast_to(mask, (3000, 5)))
    assert np.bincount(chosen, minlength=5).tolist() == [0, 1000, 1000, 0, 1000]


def test_who_is_blind_knows_what_is_legal():
    env = Turns()
    agents = [AGENTS["Random"].for_env(env, seat) for seat in range(2)]
    trainer = MetaTrainer(
        env,
        agents,
        num_envs=4,
        num_iters=1,
        samplers=[blinded("agent1", 4, 3), blinded("agent2", 4, 3)],
        quiet=True,
        default_callbacks=False,
    )
    last = trainer.fit()
    # A single illegal action would cost 100 over 16 steps.
    assert last["train/reward_per_timestep/player_1"] >= 0
    assert last["train/reward_per_timestep/player_2"] >= 0


@pytest.mark.parametrize(
    "name",
    [
        "PPO",
        "Naive",
        "Random",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("PPO_memory", "Shaper", "MFOS")),
    ],
)
def test_agents_keep_to_the_interface_under_masks(name):
    env = Turns()
    settings = {} if name in ("Naive", "Random") else {"num_minibatches": 2, "num_epochs": 1}
    if name == "PPO_memory":
        settings["sequence_length"] = 4
    check_agent(AGENTS[name].for_env(env, **settings))


@pytest.mark.parametrize("name", ["PPO", "PPO_memory"])
def test_agents_learn_what_is_best_of_what_is_legal(name):
    env = Turns()
    settings = {"sequence_length": 4} if name == "PPO_memory" else {}
    settings |= {"learning_rate": 0.02, "num_minibatches": 2, "num_epochs": 4}
    agent = AGENTS[name].for_env(env, **settings)
    other = AGENTS["Random"].for_env(env, 1)
    trainer = MetaTrainer(
        env,
        [agent, other],
        num_envs=16,
        num_iters=30,
        chunk=10,
        quiet=True,
        default_callbacks=False,
    )
    last = trainer.fit()
    # Of two legal actions, one pays 1. A single illegal one would cost 100 over 64 steps.
    assert last["train/reward_per_timestep/player_1"] > 0.9
    assert 0.3 < last["train/reward_per_timestep/player_2"] < 0.7


def test_candidates_of_evolution_play_under_masks():
    env = Turns()
    agent = AGENTS["PPO"].for_env(env)
    shaper = Role("agent1", agent, (0,), Evolution(agent, popsize=4, top_k=2))
    trainer = MetaTrainer(
        env,
        [shaper, AGENTS["Random"].for_env(env, 1)],
        num_envs=4,
        num_iters=2,
        chunk=1,
        quiet=True,
        default_callbacks=False,
    )
    assert trainer.fit()["train/reward_per_timestep/player_1"] >= 0


class MaskOnly(Turns):
    def observation_space(self, player):
        return Dict(super().observation_space(player).parts[:1])


def test_networks_read_the_mask_if_there_is_nothing_else():
    agent = AGENTS["PPO"].for_env(MaskOnly())

    @jax.jit
    def values(key, mask):
        params = jax.tree.map(lambda leaf: leaf + 0.1, agent.init(key).params)
        return agent.forward(params, agent.initial_hidden(NUM_ACTIONS), {MASK: mask})[2]

    assert len(set(values(jax.random.key(0), jnp.eye(NUM_ACTIONS)).tolist())) > 1


class ClockFirst(Turns):
    def observation_space(self, player):
        return Dict(super().observation_space(player).parts[::-1])


def test_a_game_with_masks_is_checked_by_legal_play():
    check_environment(Turns())
    # The parts of an observation may be in any order.
    check_environment(ClockFirst())
    with pytest.raises(AssertionError) as told:
        check_environment(Turns(num_legal=0))
    assert (
        str(told.value)
        == "action_mask of player 1 of Turns allows no action in step 1: allow one at least"
    )


@pytest.mark.parametrize(
    ("mask", "actions", "sentence"),
    [
        (
            Box((3,), 0.0, 1.0),
            Discrete(4),
            "action_mask of player 1 of G is Box(shape=(3,), low=0.0, high=1.0), and there are 4 actions: "
            "give Box(shape=(4,), low=0.0, high=1.0)",
        ),
        (
            Box((4,)),
            Discrete(4),
            "action_mask of player 1 of G is Box(shape=(4,), low=-inf, high=inf), and",
        ),
        (
            Box((2,), 0.0, 1.0),
            Box((2,)),
            "player 1 of G has action_mask in its observations, and its actions are Box(shape=(2,),",
        ),
    ],
)
def test_a_mask_that_is_not_of_the_actions_is_refused(mask, actions, sentence):
    with pytest.raises(ConfigError) as told:
        check_mask("player 1 of G", Dict(((MASK, mask),)), actions)
    assert str(told.value).startswith(sentence)


def short_run(env):
    """A trainer of one iteration of PPO against random play."""
    return MetaTrainer(
        env,
        [AGENTS["PPO"].for_env(env, num_minibatches=2), AGENTS["Random"].for_env(env, 1)],
        num_envs=4,
        num_iters=1,
        quiet=True,
        default_callbacks=False,
    )


def test_training_where_nothing_is_legal_ends_with_the_player_and_the_step():
    env = Turns(num_legal=0)
    trainer = short_run(env)
    with pytest.raises(TrainingError) as told:
        trainer.fit()
    assert "action_mask of player 1 of Turns allows no action in step 1 of an episode" in str(
        told.value
    )


def test_evolution_finds_out_too_where_nothing_is_legal():
    """It reads no log-probability, which would be undefined, but rewards."""
    env = Turns(num_legal=0)
    agent = AGENTS["PPO"].for_env(env)
    shaper = Role("agent1", agent, (0,), Evolution(agent, popsize=2, top_k=1))
    trainer = MetaTrainer(
        env,
        [shaper, AGENTS["Random"].for_env(env, 1)],
        num_envs=2,
        num_iters=1,
        quiet=True,
        default_callbacks=False,
    )
    with pytest.raises(TrainingError, match="allows no action in step 1 of an episode: allow one"):
        trainer.fit()


def test_a_policy_that_acts_on_its_own_keeps_to_the_mask():
    env = Turns()
    trainer = short_run(env)
    trainer.fit()
    player = trainer.agent()
    clock = np.zeros(4, np.float32)
    for action in range(4):
        assert player.act({MASK: np.eye(4, dtype=np.float32)[action], "clock": clock}) == action
    with pytest.raises(
        ConfigError, match="action_mask of the observation allows no action: allow one"
    ):
        player.act({MASK: clock, "clock": clock})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["hanabi", pytest.param("HeuristicEnemySMAX", marks=pytest.mark.slow)]
)
def test_masks_of_jaxmarl_are_those_that_it_tells(name):
    pytest.importorskip("jaxmarl")
    from pax.envs.jaxmarl import JaxMARL

    env = JaxMARL(name, 8, {"num_colors": 2} if name == "hanabi" else None)
    check_game(env, {})
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    seen, state = reset(jax.random.key(0), {})
    for index in range(6):
        legal = env._legal_actions(state.inner)
        masks = [part[MASK] for part in seen]
        for agent, mask in zip(env._agents, masks, strict=True):
            np.testing.assert_array_equal(mask, legal[agent])
        uniform = jax.random.uniform(jax.random.key(index), (len(masks),))
        actions = tuple(choose_legal(u, m > 0.5) for u, m in zip(uniform, masks, strict=True))
        seen, state, *_ = step(jax.random.key(index), state, actions, {})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_hundred_thousand_steps_of_hanabi_are_legal():
    pytest.importorskip("jaxmarl")
    from pax.envs.jaxmarl import JaxMARL

    env = JaxMARL("hanabi", 128)

    class Illegal(Callback):
        def probe(self, trial):
            # Told by the game itself, from its states: [K, T, E, actions].
            states = trial.env_states.inner
            tell = env._legal_actions
            for _ in range(3):
                tell = jax.vmap(tell)
            legal = tell(states)
            illegal, num_steps = 0, 0
            for agent, actions in zip(env._agents, trial.actions, strict=True):
                allowed = jnp.take_along_axis(legal[agent], actions[..., None], axis=-1)
                illegal += (allowed < 0.5).sum()
                num_steps = actions.size
            share = legal[env._agents[0]].mean()
            return {"illegal": illegal, "steps": jnp.float32(num_steps), "legal_share": share}

    roles = [AGENTS["PPO"].for_env(env, num_minibatches=4), AGENTS["Random"].for_env(env, 1)]
    trainer = MetaTrainer(
        env, roles, num_envs=100, num_iters=8, chunk=8, callbacks=[Illegal()], quiet=True
    )
    trainer.fit()
    assert trainer.history["steps"].sum() == 8 * 128 * 100
    assert trainer.history["illegal"].sum() == 0
    # Half of the time it is the other one's turn, and nothing but waiting is legal.
    assert 0.1 < trainer.history["legal_share"].mean() < 0.6
