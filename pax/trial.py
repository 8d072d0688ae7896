"""One trial: episodes of steps against one set of opponents, some of whom learn after every episode."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.environment import Environment
from pax.roles import Role
from pax.types import MemoryState, Metrics, PyTree, Sample, Task, TrainingState, Trial

States = Mapping[str, TrainingState]
Memories = dict[str, MemoryState]


@struct.dataclass
class Totals:
    """Sums over the episodes of a trial, kept in the carry of the scan: they do not grow with it."""

    rewards: jax.Array
    """By player, over steps and environments, `[num_players]`."""
    statistics: PyTree
    learning_metrics: dict[str, Metrics]
    updates: dict[str, jax.Array]
    """By role that learns in the trial, how often it did."""


class Episode(NamedTuple):
    """What one episode leaves behind; leaves as in `Trial`, without the leading K."""

    rollouts: dict[str, Sample]
    last_observations: dict[str, PyTree]
    last_memories: Memories


class TrialRunner:
    """Plays trials of one game with one set of roles. Every method is pure."""

    def __init__(
        self, env: Environment, roles: Sequence[Role], *, num_envs: int, num_outer_steps: int
    ):
        self.env = env
        self.roles = tuple(roles)
        self.num_envs = num_envs
        self.num_outer_steps = num_outer_steps

    def play(
        self, key: jax.Array, states: States, task: Task
    ) -> tuple[Trial, dict[str, TrainingState]]:
        """Plays a trial; returns what came of it and every role's state after it."""
        states = {
            role.name: _with_hyperparameters(
                states[role.name], task.hyperparameters.get(role.name, {})
            )
            for role in self.roles
        }
        memories = {
            role.name: role.agent.initial_memory(
                role.agent.initial_hidden(len(role.seats) * self.num_envs)
            )
            for role in self.roles
        }

        def episode(carry: tuple[States, Memories, Totals], index: jax.Array) -> Any:
            states, memories, totals = carry
            states, totals_k, outputs = self._episode(
                jax.random.fold_in(key, index), index, states, memories, task
            )
            memories = {
                role.name: role.agent.reset_memory(outputs.last_memories[role.name], False)
                for role in self.roles
            }
            return (states, memories, jax.tree.map(jnp.add, totals, totals_k)), outputs

        shapes = jax.eval_shape(self._episode, key, jnp.int32(0), states, memories, task)[1]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (states, _, totals), episodes = jax.lax.scan(
            episode, (states, memories, zeros), jnp.arange(self.num_outer_steps)
        )

        num_rewards = self.num_outer_steps * self.env.num_inner_steps * self.num_envs
        reward_per_timestep = totals.rewards / num_rewards
        trial = Trial(
            rollouts=episodes.rollouts,
            last_observations=episodes.last_observations,
            last_memories=jax.tree.map(lambda leaf: leaf[-1], episodes.last_memories),
            rewards={
                role.name: reward_per_timestep[jnp.array(role.seats)].mean() for role in self.roles
            },
            reward_per_timestep=reward_per_timestep,
            statistics=totals.statistics,
            learning_metrics={
                name: {k: v / totals.updates[name] for k, v in metrics.items()}
                for name, metrics in totals.learning_metrics.items()
            },
        )
        return trial, dict(states)

    def _episode(
        self,
        key: jax.Array,
        index: jax.Array,
        states: States,
        memories: Memories,
        task: Task,
    ) -> tuple[dict[str, TrainingState], Totals, Episode]:
        """Plays episode `index` and lets the roles that learn in the trial learn from it."""
        rollout_key, update_key = jax.random.split(key)
        outputs, rewards, statistics = self._rollout(rollout_key, states, memories, task.env_params)
        states = dict(states)
        learning_metrics, updates = {}, {}
        for role_index, role in enumerate(self.roles):
            if not role.learns_in_trial:
                continue
            name = role.name
            state, memory, metrics = role.agent.update(
                outputs.rollouts[name],
                outputs.last_observations[name],
                states[name],
                outputs.last_memories[name],
                jax.random.fold_in(update_key, role_index),
            )
            updates[name] = jnp.int32(1)
            if task.stop is not None:
                learning = index < task.stop
                state = select(learning, state, states[name])
                metrics = {k: jnp.where(learning, v, 0.0) for k, v in metrics.items()}
                updates[name] = learning.astype(jnp.int32)
            states[name], learning_metrics[name] = state, metrics
            outputs.last_memories[name] = memory
        return states, Totals(rewards, statistics, learning_metrics, updates), outputs

    def _rollout(
        self, key: jax.Array, states: States, memories: Memories, env_params: PyTree
    ) -> tuple[Episode, jax.Array, PyTree]:
        """T steps of E environments; returns (episode, rewards summed by player, statistics)."""
        env, num_envs, num_steps = self.env, self.num_envs, self.env.num_inner_steps
        reset_key, step_key, act_key = jax.random.split(key, 3)
        reset = jax.vmap(env.reset, in_axes=(0, None))
        env_step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
        observations, env_state = reset(jax.random.split(reset_key, num_envs), env_params)

        def step(carry: Any, keys: tuple[jax.Array, jax.Array]) -> Any:
            observations, env_state, memories = carry
            env_keys, role_keys = keys
            actions: list[Any] = [None] * env.num_players
            acted, after = {}, {}
            for role, role_key in zip(self.roles, role_keys, strict=True):
                own = _join_seats([observations[seat] for seat in role.seats])
                memory = memories[role.name]
                chosen, after[role.name] = role.agent.policy(
                    states[role.name], own, memory, role_key
                )
                acted[role.name] = (own, chosen, after[role.name].extras, memory.hidden)
                for seat, action in zip(
                    role.seats, _split_seats(chosen, len(role.seats)), strict=True
                ):
                    actions[seat] = action
            seen = observations
            observations, env_state, rewards, done, _ = env_step(
                env_keys, env_state, tuple(actions), env_params
            )
            samples = {
                role.name: Sample(
                    observations=acted[role.name][0],
                    actions=acted[role.name][1],
                    rewards=_join_seats([rewards[seat] for seat in role.seats]),
                    log_probs=acted[role.name][2]["log_probs"],
                    values=acted[role.name][2]["values"],
                    dones=jnp.tile(done, len(role.seats)),
                    hiddens=acted[role.name][3],
                )
                for role in self.roles
            }
            return (observations, env_state, after), (samples, seen, tuple(actions), rewards)

        keys = (
            jax.random.split(step_key, (num_steps, num_envs)),
            jax.random.split(act_key, (num_steps, len(self.roles))),
        )
        (observations, _, memories), (rollouts, seen, actions, rewards) = jax.lax.scan(
            step, (observations, env_state, dict(memories)), keys
        )
        last_observations = {
            role.name: _join_seats([observations[seat] for seat in role.seats])
            for role in self.roles
        }
        totals = jnp.stack([reward.sum() for reward in rewards])
        statistics = env.episode_statistics(seen, actions)
        return Episode(rollouts, last_observations, memories), totals, statistics


def select(condition: jax.Array, if_true: PyTree, if_false: PyTree) -> PyTree:
    """`if_true` where the scalar `condition` holds, else `if_false`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def _join_seats(leaves: list[PyTree]) -> PyTree:
    """Seats of one role side by side along the batch axis: one policy sees them all at once."""
    if len(leaves) == 1:
        return leaves[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *leaves)


def _split_seats(actions: PyTree, num_seats: int) -> list[PyTree]:
    if num_seats == 1:
        return [actions]
    leaves, structure = jax.tree.flatten(actions)
    seats = zip(*(jnp.split(leaf, num_seats) for leaf in leaves), strict=True)
    return [jax.tree.unflatten(structure, parts) for parts in seats]


def _with_hyperparameters(
    state: TrainingState, overrides: Mapping[str, jax.Array]
) -> TrainingState:
    """The state with optimiser hyper-parameters replaced by those that a task has drawn."""
    if not overrides:
        return state
    hyperparams = {**state.opt_state.hyperparams, **overrides}
    return dataclasses.replace(state, opt_state=state.opt_state._replace(hyperparams=hyperparams))
