"""PPO on CartPole in one file and one program, as single-file implementations in JAX write it.

A peer to be compared with, and no part of the library: everything is a closure of one function, environments
are vmapped with a key each, minibatches are shuffled by `jax.random.permutation`, and the optimiser is optax
(Lu et al. 2022, Discovered Policy Optimisation, arxiv.org/abs/2210.05639, made this shape known).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax


class ActorCritic(nn.Module):
    """Two tanh layers for the policy, and two for the value."""

    num_actions: int
    width: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = nn.initializers.orthogonal(jnp.sqrt(2))
        policy = value = x
        for _ in range(2):
            policy = nn.tanh(nn.Dense(self.width, kernel_init=hidden)(policy))
        for _ in range(2):
            value = nn.tanh(nn.Dense(self.width, kernel_init=hidden)(value))
        logits = nn.Dense(self.num_actions, kernel_init=nn.initializers.orthogonal(0.01))(policy)
        return logits, nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0))(value)[..., 0]


class Transition(NamedTuple):
    """Of one step of all environments."""

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    done: jax.Array
    log_prob: jax.Array
    value: jax.Array


def make_train(
    num_updates: int, num_envs: int = 8, num_steps: int = 500, epochs: int = 8, minibatches: int = 8
) -> tuple[Callable[[jax.Array], Any], Callable[[Any], tuple[Any, jax.Array]]]:
    """Makes `init(key) -> state` and `train(state) -> (state, mean lengths [updates])`, as in sarl.py."""
    env, params = gymnax.make("CartPole-v1")
    network: Any = ActorCritic(env.num_actions)
    schedule = optax.linear_schedule(2.5e-3, 0.0, 40 * epochs * minibatches)
    optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(schedule, eps=1e-5))
    discount, gae_lambda, clip, value_coeff, entropy_coeff = 0.99, 0.95, 0.2, 0.5, 0.01

    def init(key: jax.Array) -> Any:
        net_key, env_key, key = jax.random.split(key, 3)
        weights = network.init(net_key, jnp.zeros(4))
        observation, env_state = jax.vmap(env.reset, (0, None))(
            jax.random.split(env_key, num_envs), params
        )
        return weights, optimiser.init(weights), env_state, observation, key

    def env_step(carry: Any, _: None) -> Any:
        weights, env_state, observation, key = carry
        key, action_key, step_key = jax.random.split(key, 3)
        logits, value = network.apply(weights, observation)
        action = jax.random.categorical(action_key, logits)
        log_prob = jax.nn.log_softmax(logits)[jnp.arange(num_envs), action]
        following, env_state, reward, terminated, truncated, _ = jax.vmap(
            env.step, (0, 0, 0, None)
        )(jax.random.split(step_key, num_envs), env_state, action, params)
        done = terminated | truncated
        transition = Transition(observation, action, reward, done, log_prob, value)
        return (weights, env_state, following, key), transition

    def loss(weights: Any, batch: Transition, advantage: jax.Array, target: jax.Array) -> jax.Array:
        logits, value = network.apply(weights, batch.observation)
        log_probs = jax.nn.log_softmax(logits)
        log_prob = log_probs[jnp.arange(len(batch.action)), batch.action]
        ratio = jnp.exp(log_prob - batch.log_prob)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
        policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
        entropy = -(jnp.exp(log_probs) * log_probs).sum(axis=-1).mean()
        return (
            policy_loss + value_coeff * jnp.square(value - target).mean() - entropy_coeff * entropy
        )

    def update(state: Any, _: None) -> Any:
        weights, opt_state, env_state, observation, key = state
        (_, env_state, observation, key), batch = jax.lax.scan(
            env_step, (weights, env_state, observation, key), length=num_steps
        )
        _, last_value = network.apply(weights, observation)

        def gae(carry: Any, step: Transition) -> Any:
            advantage, following = carry
            going_on = 1.0 - step.done
            delta = step.reward + discount * following * going_on - step.value
            advantage = delta + discount * gae_lambda * going_on * advantage
            return (advantage, step.value), advantage

        start = (jnp.zeros_like(last_value), last_value)
        advantages = jax.lax.scan(gae, start, batch, reverse=True)[1]
        size = num_steps * num_envs
        data = (batch, advantages, advantages + batch.value)
        data = jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[2:]), data)

        def epoch(carry: Any, _: None) -> Any:
            weights, opt_state, key = carry
            key, own = jax.random.split(key)
            order = jax.random.permutation(own, size)
            parts = jax.tree.map(
                lambda leaf: leaf[order].reshape(minibatches, -1, *leaf.shape[1:]), data
            )

            def step(carry: Any, part: Any) -> Any:
                weights, opt_state = carry
                gradients = jax.grad(loss)(weights, *part)
                updates, opt_state = optimiser.update(gradients, opt_state)
                return (optax.apply_updates(weights, updates), opt_state), None

            (weights, opt_state), _ = jax.lax.scan(step, (weights, opt_state), parts)
            return (weights, opt_state, key), None

        (weights, opt_state, key), _ = jax.lax.scan(epoch, (weights, opt_state, key), length=epochs)
        # Steps per end of an episode: its length, which is its return.
        length = size / jnp.maximum(batch.done.sum(), 1)
        return (weights, opt_state, env_state, observation, key), length

    return init, lambda state: jax.lax.scan(update, state, length=num_updates)
