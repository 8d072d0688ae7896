"""REINFORCE against an implementation in numpy, float64, with plain loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pax.agents import Naive
from pax.agents.naive import discounted_returns
from pax.envs.spaces import Discrete
from pax.types import Sample

NUM_OBSERVATIONS, NUM_ACTIONS = 5, 3
NUM_STEPS = 7


def agent_of(**options):
    spaces = (Discrete(NUM_OBSERVATIONS), Discrete(NUM_ACTIONS))
    return Naive(*spaces, network="table", **options)


def random_rollout(seed, num_envs):
    rng = np.random.default_rng(seed)
    shape = (NUM_STEPS, num_envs)
    dones = rng.random(shape) < 0.2
    dones[-1] = True
    return {
        "observations": rng.integers(0, NUM_OBSERVATIONS, shape),
        "actions": rng.integers(0, NUM_ACTIONS, shape),
        "rewards": rng.normal(size=shape),
        "dones": dones,
    }


def as_sample(rollout):
    observations, actions = (
        jnp.array(rollout[name], jnp.int32) for name in ("observations", "actions")
    )
    rewards = jnp.array(rollout["rewards"], jnp.float32)
    # What the policy that acted thought of its actions is of no interest here.
    unused = jnp.full(rewards.shape, jnp.nan)
    dones = jnp.array(rollout["dones"])
    hiddens = jnp.zeros((*rewards.shape, 0))
    return Sample(observations, actions, rewards, unused, unused, dones, hiddens)


def returns_of(rollout, discount):
    """G_t as the sum over k of gamma^k r_{t+k}, up to the end of the episode."""
    num_steps, num_envs = rollout["rewards"].shape
    returns = np.zeros((num_steps, num_envs))
    for env in range(num_envs):
        for start in range(num_steps):
            for t in range(start, num_steps):
                returns[start, env] += discount ** (t - start) * rollout["rewards"][t, env]
                if rollout["dones"][t, env]:
                    break
    return returns


def reference(table, rollout, agent):
    """(total loss, policy loss, entropy, gradient by the table)."""
    returns = returns_of(rollout, agent.discount)
    num_steps, num_envs = returns.shape
    gradient = np.zeros_like(table)
    policy_loss = entropy = 0.0
    for t in range(num_steps):
        for env in range(num_envs):
            others = [returns[t, other] for other in range(num_envs) if other != env]
            baseline = sum(others) / len(others) if others else 0.0
            advantage = returns[t, env] - baseline
            observation, action = rollout["observations"][t, env], rollout["actions"][t, env]
            weights = [math.exp(x) for x in table[observation, :-1]]
            probabilities = [w / sum(weights) for w in weights]
            policy_loss -= math.log(probabilities[action]) * advantage
            own_entropy = -sum(p * math.log(p) for p in probabilities)
            entropy += own_entropy
            for other in range(NUM_ACTIONS):
                p = probabilities[other]
                # d log pi(a) / d logit = [a = other] - p;  dH / d logit = -p (log p + H)
                gradient[observation, other] -= advantage * ((action == other) - p)
                gradient[observation, other] += (
                    agent.entropy_coeff * p * (math.log(p) + own_entropy)
                )
    num = num_steps * num_envs
    total = policy_loss - agent.entropy_coeff * entropy
    return total / num, policy_loss / num, entropy / num, gradient / num


@pytest.mark.parametrize("discount", (0.0, 0.9, 1.0))
def test_returns_are_discounted_sums_to_the_end_of_the_episode(discount):
    rollout = random_rollout(0, num_envs=6)
    assert rollout["dones"][:-1].sum() > 0
    sample = as_sample(rollout)
    returns = jax.jit(discounted_returns)(sample.rewards, sample.dones, discount)
    np.testing.assert_allclose(returns, returns_of(rollout, discount), rtol=1e-5, atol=1e-5)


def test_returns_by_hand():
    rewards = jnp.array([[1.0], [2.0], [4.0], [8.0]])
    dones = jnp.array([[False], [True], [False], [False]])
    returns = discounted_returns(rewards, dones, 0.5)
    np.testing.assert_allclose(returns[:, 0], [2.0, 2.0, 8.0, 8.0])


@pytest.mark.parametrize(("num_envs", "entropy_coeff"), ((5, 0.0), (5, 0.3), (2, 0.0), (1, 0.0)))
def test_the_update_is_that_of_numpy(num_envs, entropy_coeff):
    """Loss, gradient, and one step of Adam; a single environment has no baseline."""
    agent = agent_of(
        discount=0.9, entropy_coeff=entropy_coeff, learning_rate=0.05, max_gradient_norm=1e6
    )
    rollout = random_rollout(num_envs, num_envs)
    table = np.random.default_rng(9).normal(size=(NUM_OBSERVATIONS, NUM_ACTIONS + 1))
    total, policy_loss, entropy, gradient = reference(table, rollout, agent)
    state, memory = agent.make_initial_state(jax.random.key(0), agent.initial_hidden(num_envs))
    state = state.replace(params={"table": jnp.array(table, jnp.float32)})
    after, _, metrics = jax.jit(agent.update)(
        as_sample(rollout), jnp.zeros(num_envs, jnp.int32), state, memory, jax.random.key(1)
    )
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(metrics["loss_total"], total, **close)
    np.testing.assert_allclose(metrics["loss_policy"], policy_loss, **close)
    np.testing.assert_allclose(metrics["entropy"], entropy, **close)
    np.testing.assert_allclose(metrics["gradient_norm"], np.sqrt((gradient**2).sum()), **close)
    # After one step, Adam's running mean is a tenth of the gradient; the value takes no part.
    mean = optax.tree.get(after.opt_state, "mu")["table"]
    np.testing.assert_allclose(10.0 * mean, gradient, **close)
    assert abs(gradient).max() > 0.05 and (gradient[:, -1] == 0).all()
    # Adam's first step is lr g / (|g| + epsilon), where rounding counts for g near epsilon.
    step = 0.05 * gradient / (abs(gradient) + agent.adam_epsilon)
    clear = (abs(gradient) > 1e-3) | (gradient == 0)
    moved = np.asarray(after.params["table"])[clear]
    np.testing.assert_allclose(moved, (table - step)[clear], **close)
    assert int(after.updates) == 1


def test_the_baseline_is_that_of_the_other_environments():
    """Two environments with returns 3 and 1: advantages 2 and -2. One alone has its return."""
    table = {"table": jnp.zeros((NUM_OBSERVATIONS, NUM_ACTIONS + 1))}
    rollout = {
        "observations": np.array([[0, 1]]),
        "actions": np.array([[0, 0]]),
        "rewards": np.array([[3.0, 1.0]]),
        "dones": np.array([[True, True]]),
    }
    agent = agent_of()
    gradient = jax.grad(lambda params, sample: agent.loss(params, sample)[0])
    both = gradient(table, as_sample(rollout))["table"]
    # d log pi(0) / d logits = (2/3, -1/3, -1/3) for a uniform policy; the loss is a mean over two.
    np.testing.assert_allclose(both[0], [-2 / 3, 1 / 3, 1 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(both[1], [2 / 3, -1 / 3, -1 / 3, 0], atol=1e-6)
    alone = gradient(table, as_sample({k: v[:, :1] for k, v in rollout.items()}))["table"]
    np.testing.assert_allclose(alone[0], [-2, 1, 1, 0], atol=1e-6)


def test_adding_a_constant_to_all_rewards_changes_nothing():
    """What all environments share is no one's merit."""
    agent = agent_of()
    table = {"table": jnp.array(np.random.default_rng(1).normal(size=(5, 4)), jnp.float32)}
    rollout = random_rollout(3, num_envs=4)
    rollout["dones"][:-1] = False
    loss = jax.jit(lambda rewards: agent.loss(table, sample.replace(rewards=rewards))[0])
    sample = as_sample(rollout)
    np.testing.assert_allclose(loss(sample.rewards + 5.0), loss(sample.rewards), atol=1e-5)
