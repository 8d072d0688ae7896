"""The compiled loop: who learns when and from what, against replays in numpy."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax import Callback, MetaTrainer
from pax.agents import AGENTS, Agent, Altruistic, Defect, Tabular
from pax.envs import IteratedMatrixGame
from pax.envs.wrappers import Noise
from pax.errors import ConfigError
from pax.learners import Experience, Frozen, Gradient
from pax.loop.counts import Counts
from pax.loop.iteration import Loop
from pax.loop.trial import TrialRunner
from pax.roles import Role
from pax.tasks import compose
from pax.types import MemoryState, Sample, Task, TrainingState, Trial
from tests.programs import AS_USERS_DO

T, E, K, O = 5, 4, 3, 2  # noqa: E741
# No two numbers are alike, so that no mix-up of rows or columns goes unnoticed.
PAYOFF = np.array(((0.1, -0.2), (-0.7, 0.5), (0.3, -0.6), (-0.4, 0.8)), np.float32)
SWAPPED = np.array((0, 2, 1, 3, 4))  # A state as the other player sees it.
RATE = 0.05


class OptState(NamedTuple):
    hyperparams: dict[str, Any]


@dataclasses.dataclass
class Coin(Agent):
    """Defects with a probability to which each update adds `learning_rate` times the mean reward."""

    learns = True
    hidden_size_in_memory = 1

    def init(self, key):
        probability = jax.random.uniform(key, minval=0.3, maxval=0.7)
        return coin_state(probability, born=probability)

    def policy(self, state, observations, memory, key):
        actions = jax.random.uniform(key, observations.shape) < state.params["defection"]
        seen = observations.astype(jnp.float32)
        # The memory counts steps, and the extras tell what this act was based on.
        extras = {"log_probs": -seen, "values": seen}
        return actions.astype(jnp.int32), MemoryState(memory.hidden + 1.0, extras)

    def update(self, rollout, last_observations, state, memory, key):
        rate = state.opt_state.hyperparams["learning_rate"]
        reward = rollout.rewards.mean()
        params = {**state.params, "defection": state.params["defection"] + rate * reward}
        metrics = {
            "reward": reward,
            "batch": jnp.float32(rollout.rewards.shape[1]),
            "born": state.params["born"],
            "updates": state.updates.astype(jnp.float32),
        }
        return dataclasses.replace(state, params=params, updates=state.updates + 1), memory, metrics


def coin_state(defection, born=0.0):
    params = {"defection": jnp.float32(defection), "born": jnp.float32(born)}
    return TrainingState(params, OptState({"learning_rate": jnp.float32(RATE)}), jnp.int32(0))


class Reporting(Frozen):
    """Frozen policies that report the fitness of each, `[C, O]`, and its actions `[C, O, K, T, B]`."""

    def update(self, state, experience):
        trial, role = experience.trial, experience.role
        return state, {"fitness": trial.rewards[role], "actions": trial.rollouts[role].actions}


ENV = IteratedMatrixGame(num_inner_steps=T)
PARAMS = ENV.make_params(payoff=tuple(map(tuple, PAYOFF.tolist())))
COIN = Coin.for_env(ENV)


def fixed(name, seat=1):
    return Role(name, AGENTS[name].for_env(ENV, seat), (seat,))


def make_loop(roles, samplers=(), probes=(), num_opps=O, num_outer_steps=K):
    sample_task = compose(PARAMS, samplers)
    return Loop(
        ENV,
        roles,
        sample_task,
        Counts(E, num_opps, num_outer_steps),
        probes=probes,
    )


def run_one_by_one(loop, num_iters, seeds=(0,), compiler_options=None):
    """Returns the states before and after each iteration, and the metrics of the first seed."""
    step = jax.jit(lambda state: loop.run(state, 1), compiler_options=compiler_options)
    states, metrics = [loop.init(keys(seeds))], []
    for _ in range(num_iters):
        state, on_device = step(states[-1])
        states.append(state)
        metrics.append({name: np.asarray(values)[0, 0] for name, values in on_device.items()})
    return states, metrics


def keys(seeds):
    return jnp.stack([jax.random.key(seed) for seed in seeds])


def as_numpy(tree):
    """The leaves of a tree, keys as the numbers they are made of."""
    return [
        np.asarray(
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )
        for leaf in jax.tree.leaves(tree)
    ]


def assert_trees_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(as_numpy(actual), as_numpy(expected), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


# One trial, replayed in numpy from the actions it recorded.


@pytest.fixture(scope="module")
def runner():
    roles = [
        Role("one", COIN, (0,)),
        Role("two", COIN, (1,), learns_in_trial=True),
    ]
    return TrialRunner(ENV, roles, Counts(num_envs=E, num_outer_steps=K))


@pytest.fixture(scope="module")
def play(runner):
    """Plays a trial with a given hard stop and learning rate of player 2."""

    @jax.jit
    def play(key, states, stop, rate):
        task = Task(PARAMS, stop=stop, hyperparameters={"two": {"learning_rate": rate}})
        return runner.play(key, states, task)

    def with_defaults(stop=K, rate=RATE, key=0):
        states = {"one": coin_state(0.5), "two": coin_state(0.6)}
        return play(jax.random.key(key), states, jnp.int32(stop), jnp.float32(rate))

    return with_defaults


@pytest.fixture(scope="module")
def trial(play):
    return jax.device_get(play()[0])


def replay(actions_1, actions_2):
    """States and rewards of both players, `[2, K, T, E]`, that follow from their actions `[K, T, E]`."""
    states = np.full((2, *actions_1.shape), 4)
    rewards = np.zeros((2, *actions_1.shape), np.float32)
    for episode, step, env in np.ndindex(actions_1.shape):
        one, two = actions_1[episode, step, env], actions_2[episode, step, env]
        rewards[:, episode, step, env] = PAYOFF[2 * one + two]
        if step + 1 < actions_1.shape[1]:
            states[:, episode, step + 1, env] = 2 * one + two, 2 * two + one
    return states, rewards


def test_the_rollouts_of_a_trial_follow_from_its_actions(trial):
    one, two = trial.rollouts["one"], trial.rollouts["two"]
    states, rewards = replay(one.actions, two.actions)

    assert one.actions.shape == (K, T, E)
    assert 0 < one.actions.mean() < 1 and 0 < two.actions.mean() < 1
    for player, rollout in enumerate((one, two)):
        np.testing.assert_array_equal(rollout.observations, states[player])
        np.testing.assert_array_equal(rollout.rewards, rewards[player])
        # What the agent left in its memory when it acted, not before or after.
        np.testing.assert_array_equal(rollout.values, states[player])
        np.testing.assert_array_equal(rollout.log_probs, -states[player])
        # The memory before the step: empty at the start of every episode.
        steps = np.broadcast_to(np.arange(T)[:, None, None], (K, T, E, 1))
        np.testing.assert_array_equal(rollout.hiddens, steps)
        np.testing.assert_array_equal(
            rollout.dones, np.arange(T)[:, None] == np.full((K, 1, E), T - 1)
        )


def test_the_end_of_a_trial_is_what_follows_its_last_actions(trial):
    last_1, last_2 = (trial.rollouts[name].actions[:, -1] for name in ("one", "two"))

    np.testing.assert_array_equal(trial.last_observations["one"], 2 * last_1 + last_2)
    np.testing.assert_array_equal(trial.last_observations["two"], 2 * last_2 + last_1)
    np.testing.assert_array_equal(trial.last_memories["one"].hidden, np.full((E, 1), T))


def test_rewards_of_a_trial_are_means_over_its_steps(trial):
    _, rewards = replay(trial.rollouts["one"].actions, trial.rollouts["two"].actions)

    expected = rewards.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(trial.reward_per_timestep, expected, rtol=1e-5)
    np.testing.assert_allclose(trial.rewards["one"], expected[0], rtol=1e-5)
    np.testing.assert_allclose(trial.rewards["two"], expected[1], rtol=1e-5)


def test_rewards_of_episodes_are_means_over_their_steps(trial):
    _, rewards = replay(trial.rollouts["one"].actions, trial.rollouts["two"].actions)
    expected = rewards.mean(axis=(2, 3)).T
    assert len(np.unique(expected)) > 2
    np.testing.assert_allclose(trial.episode_rewards, expected, rtol=1e-5)


def test_statistics_of_a_trial_count_states_and_cooperation(trial):
    actions = trial.rollouts["one"].actions
    states, _ = replay(actions, trial.rollouts["two"].actions)

    visits = np.bincount(states[0].ravel(), minlength=5)
    cooperations = np.bincount(states[0][actions == 0], minlength=5)
    np.testing.assert_array_equal(trial.statistics.visits, visits)
    np.testing.assert_array_equal(trial.statistics.cooperations, cooperations)
    metrics = ENV.statistics_metrics(trial.statistics)
    for index, state in enumerate(("CC", "CD", "DC", "DD", "START")):
        assert visits[index]
        assert metrics[f"state_visitation/{state}"] == visits[index]
        np.testing.assert_allclose(
            metrics[f"state_probability/{state}"], visits[index] / (K * T * E), rtol=1e-6
        )
        np.testing.assert_allclose(
            metrics[f"cooperation_probability/{state}"],
            cooperations[index] / visits[index],
            rtol=1e-6,
        )


def test_episodes_of_a_trial_differ(trial):
    actions = trial.rollouts["one"].actions
    assert not (actions[0] == actions[1]).all() and not (actions[1] == actions[2]).all()


@pytest.mark.parametrize("stop", [0, 1, 2, K, K + 4])
def test_learning_in_a_trial_ends_at_the_hard_stop(play, stop):
    trial, states = play(stop=stop)

    happened = min(stop, K)
    rewards = np.asarray(trial.rollouts["two"].rewards).mean(axis=(1, 2))[:happened]
    np.testing.assert_allclose(
        states["two"].params["defection"], 0.6 + RATE * rewards.sum(), rtol=1e-6
    )
    assert states["two"].updates == happened
    # Averaged over the updates that happened; nothing to average is no reason to end training.
    expected = rewards.mean() if happened else 0.0
    np.testing.assert_allclose(trial.learning_metrics["two"]["reward"], expected, rtol=1e-5)
    assert "one" not in trial.learning_metrics
    assert_trees_equal(states["one"], coin_state(0.5))


def test_what_is_learned_in_an_episode_is_played_in_the_next(play):
    # One update takes the probability from 0.6 to some -1000 or +1000.
    trial, states = play(stop=1, rate=1e4)

    defection = float(states["two"].params["defection"])
    assert abs(defection) > 100
    actions = np.asarray(trial.rollouts["two"].actions)
    assert 0 < actions[0].mean() < 1
    np.testing.assert_array_equal(actions[1:], int(defection > 0))


def test_the_learning_rate_of_a_task_is_the_one_applied(play):
    trial, states = play(rate=0.002)

    rewards = np.asarray(trial.rollouts["two"].rewards).mean(axis=(1, 2))
    np.testing.assert_allclose(
        states["two"].params["defection"], 0.6 + 0.002 * rewards.sum(), rtol=1e-6
    )


def test_the_optimiser_of_an_agent_applies_the_learning_rate_of_a_task():
    agent = AGENTS["Naive"].for_env(ENV, 1, network="table", learning_rate=0.7)
    roles = [fixed("Random", 0), Role("learner", agent, (1,), learns_in_trial=True)]
    runner = TrialRunner(ENV, roles, Counts(num_envs=E, num_outer_steps=1))
    start = agent.init(jax.random.key(1))

    @jax.jit
    def learn(rate):
        task = Task(PARAMS, hyperparameters={"learner": {"learning_rate": rate}})
        states = {"Random": roles[0].agent.init(jax.random.key(0)), "learner": start}
        learned = runner.play(jax.random.key(2), states, task)[1]["learner"]
        return jax.tree.map(jnp.subtract, learned.params, start.params)

    nothing, little, much = (as_numpy(learn(rate)) for rate in (0.0, 0.01, 0.03))
    assert all((change == 0).all() for change in nothing)
    # The first step of Adam is the learning rate times the sign of the gradient, nearly.
    assert max(np.abs(change).max() for change in little) == pytest.approx(0.01, rel=0.02)
    for one, three in zip(little, much, strict=True):
        np.testing.assert_allclose(three, 3 * one, rtol=1e-3, atol=1e-7)


def test_one_role_on_two_seats_learns_from_both_as_one_batch():
    agent = AGENTS["Naive"].for_env(ENV, 0, network="table", learning_rate=0.1)
    roles = [Role("both", agent, (0, 1), learns_in_trial=True)]
    runner = TrialRunner(ENV, roles, Counts(num_envs=E, num_outer_steps=1))
    start = agent.init(jax.random.key(1))
    trial, states = jax.jit(runner.play)(jax.random.key(2), {"both": start}, Task(PARAMS))

    seen = jax.tree.map(lambda leaf: np.asarray(leaf[0]), trial.rollouts["both"])
    one, two = seen.actions[:, :E], seen.actions[:, E:]
    state, rewards = replay(one[None], two[None])
    batch = dataclasses.replace(
        seen,
        observations=np.concatenate([state[0, 0], SWAPPED[state[0, 0]]], axis=1),
        rewards=np.concatenate([rewards[0, 0], rewards[1, 0]], axis=1),
    )
    assert batch.rewards.shape == (T, 2 * E)
    np.testing.assert_array_equal(seen.observations, batch.observations)
    np.testing.assert_array_equal(seen.rewards, batch.rewards)
    assert not (one == two).all()
    np.testing.assert_allclose(trial.rewards["both"], rewards.mean(), rtol=1e-5)

    # One update, not one per seat.
    memory = agent.initial_memory(agent.initial_hidden(2 * E))
    expected, _, _ = agent.update(batch, None, start, memory, jax.random.key(0))
    assert states["both"].updates == 1
    for actual, wanted in zip(
        as_numpy(states["both"].params), as_numpy(expected.params), strict=True
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-7)


def test_a_gradient_learner_joins_episodes_end_to_end_and_opponents_side_by_side():
    class Spy(Coin):
        def update(self, rollout, last_observations, state, memory, key):
            self.seen = rollout, last_observations, memory
            return state, memory, {}

    def number(*shape):
        return jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(1, *shape)

    # [C, O, K, T, B] from left to right, so that each number tells where it comes from.
    rewards, last, hidden = number(O, K, T, E), number(O, K, E), number(O, E, 1)
    rollout = Sample(*[rewards] * 6, hiddens=rewards[..., None])
    memory = MemoryState(hidden, {})
    trial = Trial({"a": rollout}, {"a": last}, {"a": memory}, {}, rewards, rewards[None], {}, {})
    agent = Spy.for_env(ENV)
    experience = Experience("a", jax.random.key(0), trial, None, None, {}, None)
    Gradient(agent).update(coin_state(0.5), experience)

    seen, seen_last, seen_memory = agent.seen
    expected = np.zeros((K * T, O * E), np.float32)
    expected_last, expected_hidden = np.zeros((2, O * E), np.float32)
    for opponent in range(O):
        for env in range(E):
            column = opponent * E + env
            expected[:, column] = np.asarray(rewards)[0, opponent, :, :, env].ravel()
            expected_last[column] = last[0, opponent, K - 1, env]
            expected_hidden[column] = hidden[0, opponent, env, 0]
    np.testing.assert_array_equal(seen.rewards, expected)
    np.testing.assert_array_equal(seen.hiddens, expected[..., None])
    np.testing.assert_array_equal(seen_last, expected_last)
    np.testing.assert_array_equal(seen_memory.hidden[:, 0], expected_hidden)


# Several iterations.


def draw_stop(draw, task):
    return task.replace(stop=jax.random.randint(draw.key, (), 0, K + 1))


@pytest.fixture(scope="module")
def learning_loop():
    """A learner across trials against one that learns within them and lives for four."""
    naive = AGENTS["Naive"].for_env(ENV, 0, network="table")
    roles = [
        Role("naive", naive, (0,), Gradient(naive)),
        Role("inner", COIN, (1,), learns_in_trial=True, reset_every=4),
    ]
    return make_loop(roles, samplers=[draw_stop])


@pytest.fixture(scope="module")
def six_iterations(learning_loop):
    """The start of two seeds, their state after six iterations, and the metrics of these."""
    start = jax.jit(learning_loop.init)(keys((0, 1)))
    six = jax.jit(lambda state: learning_loop.run(state, 6), compiler_options=AS_USERS_DO)
    return start, *six(start)


def test_a_scan_of_six_equals_two_of_three_bit_for_bit(learning_loop, six_iterations):
    start, whole, metrics = six_iterations
    three = jax.jit(lambda state: learning_loop.run(state, 3), compiler_options=AS_USERS_DO)

    half, first = three(start)
    again, second = three(half)
    assert_trees_equal(again, whole)
    joined = {name: jnp.concatenate([first[name], second[name]]) for name in first}
    assert_trees_equal(joined, metrics)
    assert whole.step == 6
    # It did learn, and the seeds differ.
    assert not np.array_equal(as_numpy(whole.learners)[0], as_numpy(start.learners)[0])
    rewards = np.asarray(metrics["train/reward_per_timestep/player_1"])
    assert rewards.shape == (6, 2) and not np.array_equal(rewards[:, 0], rewards[:, 1])


def test_each_seed_equals_a_run_of_its_own(learning_loop, six_iterations):
    _, together, metrics = six_iterations
    run = jax.jit(lambda state: learning_loop.run(state, 6))

    for index, seed in enumerate((0, 1)):
        alone, own = run(learning_loop.init(keys((seed,))))
        for name, values in metrics.items():
            # Batched differently, sums are taken in another order: equal but for rounding.
            np.testing.assert_allclose(
                values[:, index], own[name][:, 0], rtol=1e-4, atol=1e-6, err_msg=name
            )
        for one, other in zip(
            as_numpy((together.learners, together.inner)),
            as_numpy((alone.learners, alone.inner)),
            strict=True,
        ):
            np.testing.assert_allclose(one[index], other[0], rtol=1e-4, atol=1e-6)


def probe(trial):
    return {
        "steps": jnp.float32(trial.rollouts["learner"].rewards.size),
        "defections": trial.rollouts["learner"].actions.mean(),
        "gap": trial.reward_per_timestep[0] - trial.reward_per_timestep[1],
    }


@pytest.fixture(scope="module")
def gradient_against_random():
    """The loop, its states and its metrics."""
    roles = [Role("learner", COIN, (0,), Gradient(COIN)), fixed("Random")]
    loop = make_loop(roles, probes=[probe, lambda trial: {"other": trial.rewards["Random"]}])
    return loop, *run_one_by_one(loop, 4)


def test_a_gradient_role_learns_from_every_iteration(gradient_against_random):
    _, states, metrics = gradient_against_random

    for before, after, reported in zip(states, states[1:], metrics, strict=False):
        reward = reported["train/reward_per_timestep/player_1"]
        np.testing.assert_allclose(reported["train/learner/reward"], reward, rtol=1e-5)
        assert reported["train/learner/batch"] == O * E
        np.testing.assert_allclose(
            after.learners["learner"].params["defection"],
            before.learners["learner"].params["defection"] + RATE * reward,
            rtol=1e-6,
        )
        assert after.learners["learner"].updates == before.learners["learner"].updates + 1
        assert after.step == before.step + 1
    assert set(states[-1].learners) == {"learner"} and not states[-1].inner
    rewards = [reported["train/reward_per_timestep/player_1"] for reported in metrics]
    assert len(set(rewards)) == 4


def test_scalars_of_probes_join_the_metrics(gradient_against_random):
    loop, _, (metrics, *_) = gradient_against_random

    assert O * metrics["steps"] == loop.env_steps_per_iteration == O * E * K * T
    rewards = [metrics[f"train/reward_per_timestep/player_{player}"] for player in (1, 2)]
    np.testing.assert_allclose(metrics["gap"], rewards[0] - rewards[1], rtol=1e-4)
    np.testing.assert_allclose(metrics["other"], rewards[1], rtol=1e-5)
    cooperation = sum(
        metrics[f"state_probability/{state}"] * metrics[f"cooperation_probability/{state}"]
        for state in ("CC", "CD", "DC", "DD", "START")
    )
    np.testing.assert_allclose(metrics["defections"], 1 - cooperation, rtol=1e-4)


@pytest.mark.parametrize("reset_every", [0, 1, 2])
def test_a_role_that_learns_in_trial_starts_afresh_at_multiples_of_reset_every(reset_every):
    roles = [
        Role("outer", COIN, (0,), Gradient(COIN)),
        Role("inner", COIN, (1,), learns_in_trial=True, reset_every=reset_every),
    ]
    states, metrics = run_one_by_one(make_loop(roles), 6)

    age = [iteration % reset_every if reset_every else iteration for iteration in range(6)]
    for iteration, reported in enumerate(metrics):
        # K updates per trial; the agent counts those before each.
        counts = age[iteration] * K + np.arange(K)
        assert reported["train/inner/updates"] == pytest.approx(counts.mean())
        assert reported["train/outer/updates"] == iteration
        assert reported["train/inner/batch"] == E
        if iteration:
            is_same = reported["train/inner/born"] == metrics[iteration - 1]["train/inner/born"]
            assert is_same == (age[iteration] > 0)
        if reset_every == 1:
            assert not states[iteration].inner
            continue
        before, after = (state.inner["inner"] for state in states[iteration : iteration + 2])
        assert after.params["defection"].shape == (1, 1, O)  # [S, C, O]
        np.testing.assert_array_equal(after.updates, (age[iteration] + 1) * K)
        if age[iteration]:
            np.testing.assert_array_equal(after.params["born"], before.params["born"])
        start = after.params["born"] if age[iteration] == 0 else before.params["defection"]
        np.testing.assert_allclose(
            after.params["defection"].mean(),
            start.mean() + RATE * K * reported["train/inner/reward"],
            rtol=1e-5,
        )
        # Opponents are different individuals.
        assert len(np.unique(after.params["born"])) == O


def test_frozen_candidates_play_each_their_own_trial_and_stay_as_they_are():
    # The candidates always cooperate, always cooperate and always defect.
    policies = jax.vmap(coin_state)(jnp.array([0.0, 0.0, 1.0]))
    roles = [Role("frozen", COIN, (0,), Reporting(3, policies)), fixed("Defect")]
    loop = make_loop(roles)
    states, metrics = run_one_by_one(loop, 2)

    cd, dd = PAYOFF[1], PAYOFF[3]
    fitness = metrics[0]["train/frozen/fitness"]
    np.testing.assert_allclose(fitness, [[cd[0]] * O, [cd[0]] * O, [dd[0]] * O], rtol=1e-5)
    expected = (2 * cd + dd) / 3
    for player in range(2):
        np.testing.assert_allclose(
            metrics[0][f"train/reward_per_timestep/player_{player + 1}"],
            expected[player],
            rtol=1e-5,
        )
    assert_trees_equal(states[2].learners, states[0].learners)
    # By hand: START once per episode, then CD or DD for the rest of it.
    episodes = O * K * E
    assert metrics[0]["state_visitation/START"] == 3 * episodes
    assert metrics[0]["state_visitation/CD"] == 2 * episodes * (T - 1)
    assert metrics[0]["state_visitation/DD"] == episodes * (T - 1)
    assert metrics[0]["state_visitation/CC"] == metrics[0]["state_visitation/DC"] == 0
    assert metrics[0]["cooperation_probability/START"] == pytest.approx(2 / 3)
    assert np.isnan(metrics[0]["cooperation_probability/CC"])
    assert loop.env_steps_per_iteration == 3 * episodes * T


@pytest.mark.parametrize("stop", [0, 1, K])
def test_rewards_after_the_hard_stop_are_those_of_the_episodes_after_it(stop):
    roles = [Role("one", COIN, (0,)), Role("two", COIN, (1,), learns_in_trial=True)]
    loop = make_loop(
        roles,
        samplers=[lambda draw, task: task.replace(stop=jnp.int32(stop))],
        probes=[lambda trial: {f"{k}": trial.episode_rewards[k, 1] for k in range(K)}],
    )
    (metrics,) = run_one_by_one(loop, 1)[1]

    after = [metrics[f"{k}"] for k in range(stop, K)]
    assert len(set(after)) == len(after)
    expected = np.mean(after) if after else np.nan
    np.testing.assert_allclose(metrics["reward_after_stop/player_2"], expected, rtol=1e-5)


def test_candidates_have_the_same_luck_and_co_players_of_their_own():
    policies = jax.vmap(coin_state)(jnp.array([0.5, 0.4, 0.5]))
    roles = [
        Role("frozen", COIN, (0,), Reporting(3, policies)),
        Role("inner", COIN, (1,), learns_in_trial=True, reset_every=0),
    ]
    loop = make_loop(roles, samplers=[draw_stop])
    states, metrics = run_one_by_one(loop, 3, compiler_options=AS_USERS_DO)

    for reported in metrics:
        first, other, twin = reported["train/frozen/fitness"]
        np.testing.assert_array_equal(first, twin)
        assert not np.array_equal(first, other)
        assert first[0] != first[1]  # Opponents are not equally lucky.
    assert metrics[0]["train/frozen/fitness"][0, 0] != metrics[1]["train/frozen/fitness"][0, 0]
    # All met the same co-players, who then learned from what they saw.
    (born,), (learned,) = (
        np.asarray(states[-1].inner["inner"].params[name]) for name in ("born", "defection")
    )
    assert born.shape == (3, O)
    np.testing.assert_array_equal(born[0], born[1])
    np.testing.assert_array_equal(learned[0], learned[2])
    assert not (learned[0] == learned[1]).any()


def test_samplers_see_what_those_before_them_drew_each_with_its_own_key():
    seen = []

    def first(draw, task):
        seen.append((draw, task))
        return task.replace(stop=jax.random.randint(draw.key, (), 0, 1000))

    def second(draw, task):
        seen.append((draw, task))
        payoff = task.env_params.payoff_matrix * task.stop
        return task.replace(env_params=task.env_params.replace(payoff_matrix=payoff))

    sample = compose(PARAMS, [first, second])
    own, shared = jax.random.key(3), jax.random.key(4)
    task = sample(own, shared, jnp.int32(7))

    (first_draw, start), (second_draw, between) = seen
    assert start.stop is None and between.stop == task.stop
    assert task.stop == jax.random.randint(first_draw.key, (), 0, 1000)
    np.testing.assert_array_equal(start.env_params.payoff_matrix, PAYOFF)
    np.testing.assert_allclose(task.env_params.payoff_matrix, PAYOFF * int(task.stop), rtol=1e-6)
    assert first_draw.step == second_draw.step == 7
    drawn_from = [draw.key for draw, _ in seen] + [draw.generation_key for draw, _ in seen]
    assert len({jax.random.key_data(key).tobytes() for key in drawn_from}) == 4
    # The same keys, the same task; another key, another.
    assert sample(own, shared, jnp.int32(7)).stop == task.stop
    assert sample(jax.random.key(5), shared, jnp.int32(7)).stop != task.stop


def test_every_opponent_and_iteration_has_its_own_task_and_luck():
    def draw_payoff(draw, task):
        # By column: drawn per opponent, or for all of them.
        own, shared = jax.random.uniform(draw.key), jax.random.uniform(draw.generation_key)
        payoff = jnp.tile(jnp.stack([own, shared]), (4, 1))
        return task.replace(env_params=task.env_params.replace(payoff_matrix=payoff))

    policies = jax.vmap(coin_state)(jnp.array([0.5, 0.5]))
    frozen = Role("frozen", COIN, (0,), Reporting(2, policies))
    roles = [frozen, Role("shared", COIN, (1,), Reporting(2, policies))]
    _, metrics = run_one_by_one(make_loop(roles, samplers=[draw_payoff], num_opps=3), 2)

    # [iterations, candidates, opponents]
    own = np.stack([reported["train/frozen/fitness"] for reported in metrics])
    shared = np.stack([reported["train/shared/fitness"] for reported in metrics])
    np.testing.assert_array_equal(own[:, 0], own[:, 1])
    np.testing.assert_array_equal(shared[:, 0], shared[:, 1])
    assert len(np.unique(own)) == 6
    assert len(np.unique(shared)) == 2 and (np.ptp(shared, axis=2) == 0).all()
    # And its own random numbers.
    actions = np.stack([reported["train/frozen/actions"] for reported in metrics])
    np.testing.assert_array_equal(actions[:, 0], actions[:, 1])
    assert len(np.unique(actions[:, 0].reshape(6, -1), axis=0)) == 6


def test_memory_does_not_grow_with_the_episodes_of_a_trial_if_nobody_reads_them():
    policy = AGENTS["PPO"].for_env(ENV, 0)
    frozen = Frozen.of(policy.init(jax.random.key(0)))
    learner = AGENTS["Naive"].for_env(ENV, 1, network="table")
    roles = [
        Role("frozen", policy, (0,), frozen),
        Role("inner", learner, (1,), learns_in_trial=True),
    ]

    def temporaries(num_outer_steps):
        loop = Loop(
            ENV,
            roles,
            compose(PARAMS, []),
            Counts(100, O, num_outer_steps),
        )
        state = jax.eval_shape(loop.init, keys((0,)))
        compiled = jax.jit(lambda state: loop.run(state, 1)).lower(state).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = temporaries(4), temporaries(40)
    assert few > 0
    assert many == pytest.approx(few, rel=0.05)


def test_a_policy_of_its_own_gets_a_key_where_the_base_class_draws_numbers():
    class Own(Tabular):
        def policy(self, state, observations, memory, key):
            assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
            return super().policy(state, observations, memory, jax.random.fold_in(key, 1))

    class OwnStep:
        def step(self, key, state, actions, params):
            assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
            return super().step(key, state, actions, params)

    class OwnGame(OwnStep, IteratedMatrixGame):
        pass

    class OwnNoise(OwnStep, Noise):
        pass

    env = OwnNoise(Noise(OwnGame(num_inner_steps=4), 0.5), 0.5)
    roles = [Role("own", Own.for_env(env), (0,)), Role("other", Tabular.for_env(env, 1), (1,))]
    runner = TrialRunner(env, roles, Counts(num_envs=3, num_outer_steps=1))
    states = {role.name: role.agent.init(jax.random.key(0)) for role in roles}
    trial, _ = runner.play(jax.random.key(1), states, Task(env_params=env.default_params))
    assert trial.episode_rewards.shape == (1, 2)


@pytest.mark.parametrize(
    "name",
    [
        "train/reward_per_timestep/player_1",
        "state_visitation/CC",
        "env_steps",
        "iteration",
        "evaluation/x/reward",
    ],
)
def test_a_probe_does_not_take_the_name_of_a_metric(name):
    class Peek(Callback):
        def probe(self, trial):
            return {name: trial.reward_per_timestep[0]}

    env = IteratedMatrixGame(num_inner_steps=3)
    players = [Altruistic.for_env(env), Defect.for_env(env, seat=1)]
    trainer = MetaTrainer(env, players, num_envs=2, callbacks=[Peek()])
    with pytest.raises(
        ConfigError, match=f"a probe reports '{name}', which is a metric of the run"
    ):
        trainer.metric_names()


def test_every_learner_learns_with_a_key_of_its_own():
    class Telling(Frozen):
        def update(self, state, experience):
            return state, {"key": jax.random.key_data(experience.key)}

    roles = []
    for seat in (0, 1):
        agent = Coin.for_env(ENV, seat)
        learner = Telling.of(agent.init(jax.random.key(seat)))
        roles.append(Role(f"agent{seat + 1}", agent, (seat,), learner=learner))
    _, (metrics,) = run_one_by_one(make_loop(roles), 1)
    assert (metrics["train/agent1/key"] != metrics["train/agent2/key"]).any()
