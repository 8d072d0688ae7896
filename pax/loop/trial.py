"""One trial: episodes against one set of opponents, some of whom learn after every episode."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.environment import Environment
from pax.loop.counts import Counts
from pax.loop.rollout import (
    Episode,
    Memories,
    States,
    first_rows,
    is_taken_over,
    playable_seats,
    rollout,
    select,
)
from pax.roles import Role
from pax.types import Metrics, PyTree, Task, TrainingState, Trial, take


@struct.dataclass
class Totals:
    """Sums over the episodes of a trial, kept in the carry of the scan: they do not grow with it."""

    rewards: jax.Array
    """By player, over steps and environments, `[num_players]`."""
    learned_from: jax.Array | None
    """As `rewards`: see `Episode`."""
    statistics: PyTree
    learning_metrics: dict[str, Metrics]
    updates: dict[str, jax.Array]
    """By role that learns in the trial, how often it did."""


class TrialRunner:
    """Plays trials of one game with one set of roles: K episodes of T steps in E environments.

    It knows of no batch axes but the environments: seeds, candidates and opponents are `vmap`s around it. All
    methods are pure.
    """

    def __init__(self, env: Environment, roles: Sequence[Role], counts: Counts):
        """Takes the game, who plays it, and of the counts E environments and K episodes."""
        self.env = env
        self.roles = tuple(roles)
        self.num_envs = counts.num_envs
        self.num_outer_steps = counts.num_outer_steps

    def play(
        self, key: jax.Array, states: States, task: Task
    ) -> tuple[Trial, dict[str, TrainingState]]:
        """Plays a trial; returns what came of it and every role's state after it.

        Args:
            key: a typed random key.
            states: what each role has learned, by name, without batch axes.
            task: what the trial is about, of one set of opponents.
        """
        states = {
            role.name: _with_hyperparameters(
                states[role.name], task.hyperparameters.get(role.name, {})
            )
            for role in self.roles
        }
        memories = {}
        for role in self.roles:
            batch = len(playable_seats(role, task)) * self.num_envs
            hidden = role.agent.initial_hidden(batch)
            # What the memory of others means is their own: that a fixed strategy was provoked, say.
            if task.told is not None and role.agent.learns:
                hidden = hidden + task.told
            memories[role.name] = role.agent.initial_memory(hidden)

        # Traced once, for the shapes and for the scan.
        play_episode = jax.jit(self._episode)

        def episode(carry: tuple[States, Memories, Totals], index: jax.Array) -> Any:
            states, memories, totals = carry
            states, totals_k, outputs = play_episode(
                jax.random.fold_in(key, index), index, states, memories, task
            )
            memories = {
                role.name: role.agent.reset_memory(
                    outputs.last_memories[role.name], False, states[role.name]
                )
                for role in self.roles
            }
            return (states, memories, jax.tree.map(jnp.add, totals, totals_k)), outputs

        shapes = jax.eval_shape(play_episode, key, jnp.int32(0), states, memories, task)[1]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (states, _, totals), episodes = jax.lax.scan(
            episode, (states, memories, zeros), jnp.arange(self.num_outer_steps)
        )

        num_rewards = self.num_outer_steps * self.env.num_inner_steps * self.num_envs
        reward_per_timestep = totals.rewards / num_rewards
        felt = reward_per_timestep
        if totals.learned_from is not None:
            felt = totals.learned_from / num_rewards
        trial = Trial(
            rollouts=episodes.rollouts,
            last_observations=episodes.last_observations,
            last_memories={
                role.name: first_rows(
                    take(episodes.last_memories[role.name], -1),
                    len(role.seats) * self.num_envs,
                )
                for role in self.roles
            },
            rewards={
                role.name: _role_reward(role, felt, task) for role in self.roles if role.seats
            },
            reward_per_timestep=reward_per_timestep,
            episode_rewards=episodes.rewards / (self.env.num_inner_steps * self.num_envs),
            statistics=totals.statistics,
            learning_metrics={
                name: {k: v / jnp.maximum(totals.updates[name], 1) for k, v in metrics.items()}
                for name, metrics in totals.learning_metrics.items()
            },
            env_states=episodes.env_states,
            actions=episodes.actions,
            env_rewards=episodes.env_rewards / self.env.num_inner_steps,
            episode_statistics=episodes.statistics,
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
        outputs = rollout(self.env, self.roles, self.num_envs, rollout_key, states, memories, task)
        states = dict(states)
        learning_metrics, updates = {}, {}
        for role_index, role in enumerate(self.roles):
            if not role.learns_in_trial:
                continue
            name = role.name
            state, _, metrics = role.agent.update(
                outputs.rollouts[name],
                outputs.last_observations[name],
                states[name],
                first_rows(outputs.last_memories[name], len(role.seats) * self.num_envs),
                jax.random.fold_in(update_key, role_index),
            )
            updates[name] = jnp.int32(1)
            learning = self._learning(role, index, task)
            if learning is not None:
                state = select(learning, state, states[name])
                metrics = {k: jnp.where(learning, v, 0.0) for k, v in metrics.items()}
                updates[name] = learning.astype(jnp.int32)
            states[name], learning_metrics[name] = state, metrics
        totals = Totals(
            outputs.rewards, outputs.learned_from, outputs.statistics, learning_metrics, updates
        )
        return states, totals, outputs

    def _learning(self, role: Role, index: jax.Array, task: Task) -> jax.Array | None:
        """Returns whether `role` learns from episode `index`, bool; None: it always does."""
        learning = None
        if task.stop is not None:
            learning = index < task.stop
        for seat in given_up_seats(role, self.roles) if task.self_play is not None else ():
            # What it would have done was not what happened.
            plays = ~is_taken_over(seat, task)
            learning = plays if learning is None else learning & plays
        return learning


def given_up_seats(role: Role, roles: Sequence[Role]) -> tuple[int, ...]:
    """Returns the seats of a role that others take over in trials of self-play."""
    taken = {seat for other in roles for seat in other.self_play_seats}
    return tuple(seat for seat in role.seats if seat in taken)


def _role_reward(role: Role, reward_per_timestep: jax.Array, task: Task) -> jax.Array:
    """Returns the mean over the seats that the role really played."""
    reward = reward_per_timestep[jnp.array(role.seats)].mean()
    if task.self_play is None or not role.self_play_seats:
        return reward
    seats = jnp.array(role.seats + role.self_play_seats)
    if task.taken_over is None:
        return jnp.where(task.self_play, reward_per_timestep[seats].mean(), reward)
    plays = jnp.array([True] * len(role.seats) + [False] * len(role.self_play_seats))
    plays |= task.self_play & task.taken_over[seats]
    return reward_per_timestep[seats].mean(where=plays)


def _with_hyperparameters(
    state: TrainingState, overrides: Mapping[str, jax.Array]
) -> TrainingState:
    """Returns the state with the optimiser's hyper-parameters replaced by those that a task has drawn."""
    if not overrides:
        return state
    hyperparams = {**state.opt_state.hyperparams, **overrides}
    return dataclasses.replace(state, opt_state=state.opt_state._replace(hyperparams=hyperparams))
