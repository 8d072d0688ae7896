"""Games whose episodes end within a rollout: memories, advantages, statistics."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import PPO, PPOMemory, Shaper
from pax.agents.naive import discounted_returns
from pax.config.build import build_env, build_trainer
from pax.configs import sarl
from pax.envs import ENVS
from pax.envs.auto_reset import Adapter, EpisodeTotals, to_action_space
from pax.envs.environment import Environment
from pax.envs.gymnax import Gymnax
from pax.envs.spaces import Box, Discrete
from pax.errors import ConfigError
from pax.interface import check_game
from pax.learners import AdvantageAlignment
from pax.learners.gradient import join_trials
from pax.learners.learner import Experience
from pax.learners.lola_dice import dice_objective
from pax.loop.counts import Counts
from pax.loop.trial import TrialRunner
from pax.roles import Role
from pax.trainer import MetaTrainer
from pax.types import Ends, LineUp, Sample, Task

T, B, DISCOUNT, LAMBDA = 10, 4, 0.9, 0.8


class Countdown(Environment):
    """An episode lasts three steps and terminates, or, if the first action was 1, is cut off after two."""

    num_players = 1
    num_inner_steps = T
    auto_resets = True
    default_params = ()

    def reset(self, key, params):
        return (jnp.float32([0, 0]),), (jnp.int32(0), jnp.int32(0), jnp.int32(0))

    def step(self, key, state, actions, params):
        t, first, played = state
        first = jnp.where(t == 0, actions[0], first)
        t, played = t + 1, played + 1
        truncated, terminated = (t == 2) & (first == 1), t == 3
        final = jnp.stack([t, first]).astype(jnp.float32)
        over = truncated | terminated
        info = {"terminated": terminated, "truncated": truncated, "final_observations": (final,)}
        state = jnp.where(over, 0, t), jnp.where(over, 0, first), played
        seen = jnp.where(over, 0.0, final)
        return (seen,), state, (final.sum(),), played >= T, info

    def observation_space(self, player):
        return Box((2,))

    def action_space(self, player):
        return Discrete(2)


def numpy_advantages(rewards, values, last_value, ends, final_values):
    """Backwards from the definition: what follows a cut is the value of what was last seen."""
    advantages = np.zeros_like(rewards)
    following, advantage = last_value, np.zeros(B)
    for t in reversed(range(T)):
        after = np.where(ends["truncated"][t], final_values[t], following)
        after = np.where(ends["terminated"][t], 0.0, after)
        delta = rewards[t] + DISCOUNT * after - values[t]
        over = ends["truncated"][t] | ends["terminated"][t]
        advantage = delta + DISCOUNT * LAMBDA * np.where(over, 0.0, advantage)
        advantages[t], following = advantage, values[t]
    return advantages


@pytest.fixture(scope="module", params=[PPO, PPOMemory])
def played(request):
    env = Countdown()
    agent = request.param.for_env(
        env, discount=DISCOUNT, gae_lambda=LAMBDA, num_minibatches=1, sequence_length=5
    )
    runner = TrialRunner(env, [Role("one", agent, (0,))], Counts(num_envs=B, num_outer_steps=2))
    state = agent.init(jax.random.key(0))
    # Fresh networks see no difference between observations.
    state = state.replace(
        params=jax.tree.map(
            lambda leaf: leaf + 0.5 * jax.random.normal(jax.random.key(leaf.size), leaf.shape),
            state.params,
        )
    )
    trial, _ = jax.jit(runner.play)(jax.random.key(1), {"one": state}, Task(()))
    return agent, state, jax.device_get(trial.rollouts["one"]), trial


def test_rollouts_tell_how_episodes_ended(played):
    _, _, rollout, _ = played
    for episode, env in np.ndindex(2, B):
        t, first = 0, 0
        for step in range(T):
            at = episode, step, env
            np.testing.assert_array_equal(rollout.observations[at], [t, first if t else 0])
            first = rollout.actions[at] if t == 0 else first
            t += 1
            cut, over = t == 2 and first == 1, t == 3
            # So is a rollout, as the next begins anew.
            cut_off = cut or (step == T - 1 and not over)
            assert (rollout.ends.truncated[at], rollout.ends.terminated[at]) == (cut_off, over)
            assert rollout.dones[at] == (cut_off or over)
            np.testing.assert_array_equal(rollout.ends.final_observations[at], [t, first])
            t = 0 if cut or over else t
    assert rollout.ends.truncated.any() and rollout.ends.terminated.any()


def test_memories_are_empty_after_an_end_and_only_then(played):
    _, _, rollout, _ = played
    if not rollout.hiddens.size:
        return
    begins = np.concatenate([np.ones((2, 1, B), bool), rollout.dones[:, :-1]], axis=1)
    np.testing.assert_array_equal((rollout.hiddens == 0).all(axis=-1), begins)


def test_advantages_cut_at_ends_and_at_the_end_of_every_rollout(played):
    """What was cut off is worth the value of what was last seen in that rollout."""
    agent, state, rollouts, trial = played
    expected = []
    for k in range(2):
        rollout = jax.tree.map(lambda leaf, k=k: leaf[k], rollouts)
        final_values = np.zeros((T, B))
        for t in range(T):
            hidden, _, _ = agent.forward(state.params, rollout.hiddens[t], rollout.observations[t])
            seen = rollout.ends.final_observations[t]
            final_values[t] = agent.forward(state.params, hidden, seen)[2]
        # By the rules of the game, from what it showed.
        length, first = np.moveaxis(rollout.ends.final_observations, -1, 0)
        ends = {"truncated": (length == 2) & (first == 1), "terminated": length == 3}
        over = (ends["truncated"] | ends["terminated"])[-1]
        remembered = jnp.where(over[:, None], 0.0, hidden)
        last_value = agent.forward(state.params, remembered, trial.last_observations["one"][k])[2]
        expected.append(
            numpy_advantages(rollout.rewards, rollout.values, last_value, ends, final_values)
        )
        assert np.ptp(final_values) > 0.1 and not over.all()
    trials = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None, None], trial)
    joined, last_seen, memory = join_trials(trials, "one", agent)
    advantages, _ = agent.advantages(joined, last_seen, state, memory)
    np.testing.assert_allclose(advantages, np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_agents_that_remember_whole_trials_count_what_follows_in_them():
    rewards, values = np.random.default_rng(0).normal(size=(2, 2 * T, B)).astype(np.float32)
    agent = Shaper.for_env(Countdown(), discount=DISCOUNT, gae_lambda=LAMBDA)
    seen = jnp.zeros((2 * T, B, 2))
    over = jnp.arange(2 * T)[:, None] % 3 == jnp.zeros((1, B))
    hiddens = agent.initial_hidden(2 * T * B).reshape(2 * T, B, -1)
    ends = Ends(over, ~over, seen)
    rollout = Sample(seen, seen, rewards, rewards, values, over, hiddens, ends)
    state, memory = agent.make_initial_state(jax.random.key(0), hiddens[0])
    advantages, _ = agent.advantages(rollout, seen[0], state, memory)
    following, advantage = agent.forward(state.params, hiddens[0], seen[0])[2], 0.0
    for t in reversed(range(2 * T)):
        advantage = rewards[t] + DISCOUNT * following - values[t] + DISCOUNT * LAMBDA * advantage
        np.testing.assert_allclose(advantages[t], advantage, rtol=1e-4, atol=1e-5)
        following = values[t]


def test_returns_of_naive_learners_end_with_the_rollout(played):
    _, _, rollouts, _ = played
    joined = jax.tree.map(lambda leaf: leaf.reshape(2 * T, B), (rollouts.rewards, rollouts.dones))
    returns = discounted_returns(*joined, DISCOUNT)
    np.testing.assert_allclose(returns[T - 1], rollouts.rewards[0, -1])


def test_dice_counts_steps_within_episodes():
    """Of one player: the derivative of the objective is that of its returns, episode by episode."""
    agent = PPO.for_env(Countdown(), discount=DISCOUNT)
    rng = np.random.default_rng(1)
    rewards = rng.normal(size=(T, B)).astype(np.float32)
    seen, actions = rng.normal(size=(T, B, 2)).astype(np.float32), rng.integers(2, size=(T, B))
    dones = (np.arange(T)[:, None] + np.arange(B)) % 3 == 2
    dones[-1] = True
    rollout = Sample(
        seen,
        actions,
        rewards,
        rewards,
        rewards,
        dones,
        jnp.zeros((T, B, 0)),
        Ends(dones, ~dones, seen),
    )
    params = agent.init(jax.random.key(0)).params
    gradient = jax.grad(dice_objective)({"one": params}, {"one": agent}, {"one": rollout}, "one")

    others = (rewards.sum(axis=1, keepdims=True) - rewards) / (B - 1)
    weights = np.zeros((T, B), np.float32)
    for b in range(B):
        age = 0
        for t in range(T):
            # An action counts for the rewards from its step to the end of its episode.
            discount = DISCOUNT**age
            for k in range(t - age, t + 1):
                weights[k, b] += discount * (rewards[t, b] - others[t, b])
            age = 0 if dones[t, b] else age + 1

    def surrogate(params):
        log_probs = agent.unroll(params, rollout.hiddens[0], seen, dones)[0].log_prob(actions)
        return (weights * log_probs).sum(axis=0).mean()

    expected = jax.grad(surrogate)(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient["one"],
        expected,
    )
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 0.1


def test_replaying_a_rollout_gives_the_probabilities_it_was_played_with(played):
    agent, state, rollouts, _ = played
    rollout = jax.tree.map(lambda leaf: leaf[0], rollouts)
    distribution, values = agent.unroll(
        state.params, rollout.hiddens[0], rollout.observations, rollout.dones
    )
    np.testing.assert_allclose(
        distribution.log_prob(rollout.actions), rollout.log_probs, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(values, rollout.values, rtol=1e-4, atol=1e-5)


def test_games_that_end_by_time_only_have_no_ends():
    unused = jnp.zeros((2, 3))
    sample = Sample(*[unused] * 6, hiddens=unused[..., None])
    assert sample.ends is None
    assert jax.tree.leaves(dataclasses.replace(sample, ends=Ends(unused, unused, unused)))


def test_totals_of_episodes_are_reported_where_they_end():
    rewards = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    over = np.isin(np.arange(20), [4, 5, 16])

    def step(totals, inputs):
        return totals.add((inputs[0][0], inputs[0][1]), inputs[1])

    _, ended = jax.lax.scan(step, EpisodeTotals.zeros(2), (rewards, over))

    class Pair(Adapter):
        num_players = 2

        def __init__(self):
            pass

    game = Pair()
    infos = jax.tree.map(lambda leaf: leaf[:, None], ended)
    statistics = game.episode_statistics((), (), infos)
    metrics = game.statistics_metrics(statistics)
    assert metrics["episodes"] == 3
    assert metrics["episode_length"] == pytest.approx(17 / 3)
    np.testing.assert_allclose(
        [metrics["episode_return/player_1"], metrics["episode_return/player_2"]],
        rewards[:17].sum(axis=0) / 3,
        rtol=1e-5,
    )
    none = game.statistics_metrics(jax.tree.map(jnp.zeros_like, statistics))
    assert none["episodes"] == 0 and np.isnan(none["episode_length"])


def test_cart_pole_is_that_of_gymnax():
    import gymnax

    env = Gymnax("CartPole-v1", num_inner_steps=60)
    original, params = gymnax.make("CartPole-v1")
    (seen,), state = env.reset(jax.random.key(0), env.default_params)
    expected, inner = original.reset(jax.random.key(0), params)
    np.testing.assert_array_equal(seen, expected)
    step, reference = jax.jit(env.step), jax.jit(original.step)
    ends = 0
    for t in range(60):
        key = jax.random.key(t)
        action = jnp.int32(t % 7 == 0)
        (seen,), state, (reward,), done, info = step(key, state, (action,), env.default_params)
        expected, inner, earned, terminated, truncated, _ = reference(key, inner, action, params)
        np.testing.assert_allclose(seen, expected, rtol=1e-6)
        assert reward == earned and info["terminated"] == terminated
        assert info["truncated"] == truncated and done == (t == 59)
        ends += int(terminated)
    assert ends >= 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"is_slipery": False},
            "is_slipery is no setting of FrozenLake-misc of gymnax: did you mean is_slip",
        ),
        ({"is_slippery": 3}, "is_slippery is 3 in FrozenLake-misc of gymnax: give True or False"),
        (
            {"map_name": "9x9"},
            "gymnax cannot make FrozenLake-misc with {'map_name': '9x9'}: map_name must",
        ),
        (3, "settings is 3: give a dict of what FrozenLake-misc of gymnax takes"),
    ],
)
def test_what_a_constructor_of_gymnax_does_not_take_is_told(settings, sentence):
    with pytest.raises(ConfigError) as refused:
        Gymnax("FrozenLake-misc", 5, settings)
    assert str(refused.value).startswith(sentence)


def test_what_a_constructor_of_gymnax_takes_changes_the_game():
    # Where it is slippery, two steps out of three go elsewhere.
    env = Gymnax("FrozenLake-misc", 5, {"is_slippery": False})
    _, state = env.reset(jax.random.key(0), env.default_params)
    for seed in range(8):
        seen, *_ = env.step(jax.random.key(seed), state, (jnp.int32(2),), env.default_params)
        assert int(seen[0]) == 1
    assert Gymnax("Catch-bsuite", 5, {"columns": 7}).observation_space(0).shape == (10, 7)


def test_what_gymnax_does_not_have_is_told():
    with pytest.raises(ConfigError, match="^name is 'CartPole', .* did you mean CartPole-v1"):
        Gymnax("CartPole")
    with pytest.raises(ConfigError, match="^num_inner_steps is 0: give at least 1 step"):
        Gymnax(num_inner_steps=0)
    with pytest.raises(ConfigError, match="^gymnax cannot make Catch-bsuite with {'columns': 0}: "):
        Gymnax("Catch-bsuite", 5, {"columns": 0})
    env = Gymnax("CartPole-v1")
    with pytest.raises(
        ConfigError, match="^gravty is no parameter of CartPole-v1: did you mean gr"
    ):
        env.make_params(gravty=1.0)
    renamed = sarl.get_config("cartpole,quicktest")
    renamed.env.name = "Catch-bsuite"
    told = (
        "force_mag is no parameter of Catch-bsuite: .*; where only the name was changed, start from"
    )
    with pytest.raises(ConfigError, match=told):
        build_env(renamed)
    with pytest.raises(ConfigError, match="^gravity is 'x': give a number"):
        env.make_params(gravity="x")
    assert env.make_params(gravity=1).gravity == 1.0


CONTINUOUS = {
    "Pendulum-v1": ([-2.0], [2.0]),
    "MountainCarContinuous-v0": ([-1.0], [1.0]),
    "PointRobot-misc": ([-0.1, -0.1], [0.1, 0.1]),
    "Reacher-misc": ([-1.0, -1.0], [1.0, 1.0]),
    "Swimmer-misc": ([-1.0, -1.0], [1.0, 1.0]),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_games_of_others_never_see_an_action_outside_its_bounds(name):
    env = Gymnax(name)
    low, high = (np.float32(bound) for bound in CONTINUOUS[name])
    assert env.action_space(0) == Box(low.shape, *CONTINUOUS[name])
    step = jax.jit(lambda *args: env.step(*args, env.default_params))
    _, state = env.reset(jax.random.key(0), env.default_params)
    key = jax.random.key(1)
    for beyond, bound in ((5 * high, high), (-3 * high, low)):
        outside, at_bound = (step(key, state, (jnp.asarray(a),)) for a in (beyond, bound))
        jax.tree.map(np.testing.assert_array_equal, outside, at_bound)
    if name == "MountainCarContinuous-v0":
        assert outside[2][0] == pytest.approx(-0.1)  # The cost of full force, in gymnax' rules.


def test_bounds_that_are_parameters_follow_them():
    env = Gymnax("Pendulum-v1")
    params = env.make_params(max_torque=5.0)
    assert env.for_params(params).action_space(0) == Box((1,), -5.0, 5.0)
    assert env.action_space(0) == Box((1,), -2.0, 2.0)
    with pytest.raises(ConfigError, match=r"make agents and trainer for env.for_params\(params\)"):
        MetaTrainer(env, [PPO.for_env(env)], env_params=params, num_envs=10)
    config = sarl.get_config("pendulum,quicktest")
    # Under the library's name it is trained alike.
    assert config.to_dict() == sarl.get_config("Pendulum-v1,quicktest").to_dict()
    config.env.max_torque = 5.0
    trainer = build_trainer(config, None)
    assert trainer.roles[0].agent.action_space == Box((1,), -5.0, 5.0)


@pytest.mark.filterwarnings("ignore:max_dist_to_goal")
def test_jaxnav_keeps_the_bounds_of_each_number():
    jaxnav = pytest.importorskip("jaxmarl").make("jaxnav")
    expected = Box((2,), (0.0, -math.pi / 6), (1.0, math.pi / 6))
    space = to_action_space(jaxnav.action_space(jaxnav.agents[0]), "jaxnav")
    np.testing.assert_allclose(space.bounds, expected.bounds, rtol=1e-6)


def test_whole_numbers_of_a_box_are_no_actions():
    from gymnax.environments import spaces

    box = spaces.Box(0, 3, (2,), jnp.int32)
    with pytest.raises(ConfigError, match="some game takes whole numbers of a Box .2,. as actions"):
        to_action_space(box, "some game")
    unbounded = spaces.Box(-jnp.finfo(jnp.float32).max, jnp.array([1.0, jnp.inf]), (2,))
    assert to_action_space(unbounded, "another") == Box((2,), -math.inf, (1.0, math.inf))
    with pytest.raises(ConfigError, match="another has a Tuple space"):
        to_action_space(spaces.Tuple([box]), "another")


BOXES = {name: ENVS[name] for name in ("Fishery", "SarlRice", "InfiniteMatrixGame")}


@pytest.mark.parametrize("name", [*BOXES, "MountainCarContinuous-v0"])
def test_policies_stay_within_bounds_from_the_start(name):
    env = BOXES[name]() if name in BOXES else Gymnax(name)
    agent = PPO.for_env(env)
    memory = agent.initial_memory(agent.initial_hidden(500))
    seen = env.observation_space(0).zeros(500)
    actions, after = jax.jit(agent.policy)(
        agent.init(jax.random.key(0)), seen, memory, jax.random.key(1)
    )
    low, high = env.action_space(0).bounds
    assert actions.shape == (500, *low.shape) and ((actions >= low) & (actions <= high)).all()
    at_bound = ((actions == low) | (actions == high)).mean()
    assert (at_bound > 0.1) == bool(np.isfinite([low, high]).any())
    assert np.isfinite(after.extras["log_probs"]).all()


class OneLeavesEarly(Environment):
    """Episodes of four steps; for the first player it is over after two, and the other one goes on."""

    num_players = 2
    num_inner_steps = 8
    auto_resets = True
    default_params = ()

    def reset(self, key, params):
        return (jnp.float32([1]),) * 2, (jnp.int32(0), jnp.int32(0))

    def step(self, key, state, actions, params):
        t, played = state[0] + 1, state[1] + 1
        final = (jnp.float32(t)[None],) * 2
        info = {"terminated": (t >= 2, t == 4), "truncated": jnp.bool_(False)}
        info["final_observations"] = final
        t = jnp.where(t == 4, 0, t)
        seen = (jnp.float32(t + 1)[None],) * 2
        return seen, (t, played), (jnp.float32(1),) * 2, played >= 8, info

    def observation_space(self, player):
        return Box((1,))

    def action_space(self, player):
        return Discrete(2)


@pytest.mark.parametrize("is_shared", [False, True])
def test_an_episode_may_be_over_for_one_player_and_go_on_for_another(is_shared):
    env = OneLeavesEarly()
    check_game(env, ())
    agents = [PPOMemory.for_env(env, seat, sequence_length=8) for seat in range(2)]
    roles = (
        [Role("both", agents[0], (0, 1))]
        if is_shared
        else [
            Role(name, agent, (seat,))
            for seat, (name, agent) in enumerate(zip("ab", agents, strict=True))
        ]
    )
    runner = TrialRunner(env, roles, Counts(num_envs=3))
    states = {role.name: role.agent.init(jax.random.key(0)) for role in roles}
    trial, _ = jax.jit(runner.play)(jax.random.key(1), states, Task(()))
    by_role = [jax.tree.map(lambda leaf: leaf[0], trial.rollouts[role.name]) for role in roles]

    def of(player, get):
        """Values [T, E] of a player: rows of a shared policy are those of one seat after the other."""
        values = np.asarray(get(by_role[0] if is_shared else by_role[player]))
        return values[:, 3 * player : 3 * player + 3] if is_shared else values

    first, second = np.tile([0, 1, 1, 1], 2), np.tile([0, 0, 0, 1], 2)
    for player, expected in enumerate((first, second)):
        np.testing.assert_array_equal(
            of(player, lambda r: r.ends.terminated), np.tile(expected[:, None], 3)
        )
        np.testing.assert_array_equal(of(player, lambda r: r.dones), np.tile(expected[:, None], 3))
        # Memories begin anew after an end, and only then.
        is_empty = (of(player, lambda r: r.hiddens) == 0).all(axis=-1)
        np.testing.assert_array_equal(is_empty, np.tile(np.roll(expected, 1)[:, None], 3))


def test_dice_counts_steps_until_an_episode_is_over_for_all_seats_of_a_role():
    """Rewards of a seat that goes on count for what was done before it was over for the other."""
    agent = PPO.for_env(Countdown(), discount=DISCOUNT)
    rng = np.random.default_rng(2)
    rewards = rng.normal(size=(4, 2 * B)).astype(np.float32)
    seen = rng.normal(size=(4, 2 * B, 2)).astype(np.float32)
    actions = rng.integers(2, size=(4, 2 * B))
    params = agent.init(jax.random.key(0)).params
    no_memory = jnp.zeros((4, 2 * B, 0))

    @jax.jit
    def gradient(first_ends):
        # For the second seat, the episode is over at the end of the rollout.
        dones = jnp.stack([first_ends, jnp.arange(4) == 3], axis=1).repeat(B, axis=1)
        ends = Ends(dones, ~dones, seen)
        rollout = Sample(seen, actions, rewards, rewards, rewards, dones, no_memory, ends, 2, B)
        objective = jax.grad(dice_objective)
        return objective({"one": params}, {"one": agent}, {"one": rollout}, "one")

    both, early = (gradient(jnp.arange(4) >= step) for step in (3, 1))
    jax.tree.map(np.testing.assert_array_equal, early, both)


@pytest.mark.slow
def test_advantages_are_aligned_within_the_episode_of_each_seat(monkeypatch):
    learned = []
    monkeypatch.setattr(PPO, "update", lambda *args: learned.append(args[-1]) or (args[3], 0, {}))
    env = OneLeavesEarly()
    agent = PPO.for_env(env, gae_lambda=0.0, discount=DISCOUNT)
    learner = AdvantageAlignment(agent, weight=1.0)
    runner = TrialRunner(env, [Role("both", agent, (0, 1), learner)], Counts(num_envs=B))
    # Fresh critics see no difference between observations.
    state = agent.init(jax.random.key(0))
    state = state.replace(params=jax.tree.map(lambda leaf: leaf + 0.3, state.params))
    trial, _ = jax.jit(runner.play)(jax.random.key(1), {"both": state}, Task(()))
    trials = jax.tree.map(lambda leaf: leaf[None, None], trial)
    line_up = LineUp({"both": state}, {"both": None}, {"both": None})
    play, tasks = None, Task(())
    key, agents = jax.random.key(0), {"both": agent}
    learner.update(state, Experience("both", key, trials, tasks, line_up, agents, play))
    rollout, last_seen, memory = join_trials(trials, "both", agent)
    own, _ = agent.advantages(rollout, last_seen, state, memory)
    ends = [np.tile(each, 2) for each in ([0, 1, 1, 1], [0, 0, 0, 1])]
    expected = np.array(own)
    for player, over in enumerate(ends):
        gains, others = (np.asarray(own[:, B * seat :][:, :B]) for seat in (player, 1 - player))
        total, number = np.zeros(B), 0
        for t in range(8):
            past = total / max(number, 1)
            expected[t, B * player : B * player + B] += DISCOUNT * past * others[t]
            total = np.zeros(B) if over[t] else DISCOUNT * (total + gains[t])
            number = 0 if over[t] else number + 1
    np.testing.assert_allclose(learned[0][0], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - own).max() > 0.01
