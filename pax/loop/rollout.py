"""The innermost scan: every seat acts, the game steps, for the length of an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pax.envs.environment import Environment
from pax.roles import Role
from pax.types import Ends, MemoryState, PyTree, Sample, Task, TrainingState, take

States = Mapping[str, TrainingState]
Memories = dict[str, MemoryState]


class Episode(NamedTuple):
    """What one episode leaves behind. The compiler removes whatever computes a part that nobody reads."""

    rollouts: dict[str, Sample]
    """By role, `[T, B, ...]` with B = seats x E."""
    last_observations: dict[str, PyTree]
    """By role, `[B, ...]`."""
    last_memories: Memories
    """By role, of all seats that it may play."""
    rewards: jax.Array
    """By player, summed over steps and environments, `[num_players]`."""
    statistics: PyTree
    env_states: PyTree
    """Before each step, `[T, E, ...]`."""
    actions: tuple[PyTree, ...]
    """By player, `[T, E, ...]`."""
    env_rewards: jax.Array
    """By player and environment, summed over steps, `[num_players, E]`."""


def rollout(
    env: Environment,
    roles: Sequence[Role],
    num_envs: int,
    key: jax.Array,
    states: States,
    memories: Memories,
    task: Task,
) -> Episode:
    """Plays T steps of E environments from their start."""
    reset_key, step_key, act_key = jax.random.split(key, 3)
    # Functions of their own in the program: a game is the largest part of it, and transformed once then,
    # instead of whenever a scan around it is.
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    env_draw, transition = env.split_step()
    env_step = jax.jit(jax.vmap(transition, in_axes=(0, 0, 0, None)))
    role_draws, acts = zip(*(role.agent.split_policy() for role in roles), strict=True)
    observations, env_state = reset(jax.random.split(reset_key, num_envs), task.env_params)
    first = reseat(task.seats, observations)
    inverse = None if task.seats is None else jnp.argsort(task.seats)

    def step(carry: Any, drawn: tuple[PyTree, list[PyTree]]) -> Any:
        seen, env_state, memories = carry
        for_env, for_roles = drawn
        actions: list[Any] = [None] * env.num_players
        chosen, after, samples = {}, {}, {}
        taken_over: dict[int, Any] = {}
        for role, act, for_role in zip(roles, acts, for_roles, strict=True):
            name, seats = role.name, playable_seats(role, task)
            own = join_seats([seen[seat] for seat in seats])
            own = blindfold(task, name, own, [first[seat] for seat in seats])
            chosen[name], after[name] = act(states[name], own, memories[name], for_role)
            for seat, action in zip(seats, split_seats(chosen[name], len(seats)), strict=True):
                (taken_over if seat in role.self_play_seats else actions)[seat] = action
            samples[name] = (own, chosen[name], after[name].extras, memories[name].hidden)
        if task.self_play is not None:
            for seat, action in taken_over.items():
                actions[seat] = select(task.self_play, action, actions[seat])
        observations, env_state_after, rewards, done, info = env_step(
            for_env, env_state, reseat(inverse, tuple(actions)), task.env_params
        )
        observations, rewards = reseat(task.seats, observations), reseat(task.seats, rewards)
        final: tuple[PyTree, ...] = ()
        if env.auto_resets:
            final = reseat(task.seats, info["final_observations"])
            over = info["terminated"] | info["truncated"]
            # The next rollout of the trial begins anew, wherever this one is.
            cut = (info["truncated"] | done) & ~info["terminated"]
            done = done | over
            for role in roles:
                forgets = role.agent.reset_memory(after[role.name], False, states[role.name])
                again = jnp.tile(over, len(playable_seats(role, task)))
                after[role.name] = select_rows(again, forgets, after[role.name])
        rollouts = {}
        for role in roles:
            size = len(role.seats) * num_envs
            own, action, extras, hidden = first_rows(samples[role.name], size)
            ends = None
            if env.auto_resets:
                ends = Ends(
                    terminated=jnp.tile(info["terminated"], len(role.seats)),
                    truncated=jnp.tile(cut, len(role.seats)),
                    final_observations=join_seats([final[seat] for seat in role.seats]),
                )
            rollouts[role.name] = Sample(
                observations=own,
                actions=action,
                rewards=join_seats([rewards[seat] for seat in role.seats]),
                log_probs=extras["log_probs"],
                values=extras["values"],
                dones=jnp.tile(done, len(role.seats)),
                hiddens=hidden,
                ends=ends,
                num_seats=len(role.seats),
                num_envs=num_envs,
            )
        outputs = (rollouts, seen, tuple(actions), rewards, info, env_state)
        return (observations, env_state_after, after), outputs

    num_steps = env.num_inner_steps
    # All of it before the scan: what a step draws, it would draw in a loop of many small operations.
    env_draw = jax.vmap(jax.vmap(env_draw, in_axes=(0, None)), in_axes=(0, None))
    act_keys = jax.random.split(act_key, (num_steps, len(roles)))

    def role_draw(index: int) -> PyTree:
        batch = (len(playable_seats(roles[index], task)) * num_envs,)
        return jax.vmap(lambda key: role_draws[index](key, batch))(act_keys[:, index])

    drawn = (
        env_draw(jax.random.split(step_key, (num_steps, num_envs)), task.env_params),
        [role_draw(index) for index in range(len(roles))],
    )
    (observations, _, memories), outputs = jax.lax.scan(
        step, (first, env_state, dict(memories)), drawn
    )
    rollouts, seen, actions, rewards, infos, env_states = outputs

    def last_seen(role: Role) -> PyTree:
        own = join_seats([observations[seat] for seat in role.seats])
        return blindfold(task, role.name, own, [first[seat] for seat in role.seats])

    return Episode(
        rollouts=rollouts,
        last_observations={role.name: last_seen(role) for role in roles},
        last_memories=memories,
        rewards=jnp.stack([reward.sum() for reward in rewards]),
        statistics=env.episode_statistics(seen, actions, infos),
        env_states=env_states,
        actions=actions,
        env_rewards=jnp.stack([reward.sum(axis=0) for reward in rewards]),
    )


def blindfold(task: Task, name: str, seen: PyTree, first: list[PyTree]) -> PyTree:
    """Returns what a role sees: in environments in which it is blind, what each of its seats saw `first`."""
    if name not in task.blind:
        return seen
    return select_rows(jnp.tile(task.blind[name], len(first)), join_seats(first), seen)


def playable_seats(role: Role, task: Task) -> tuple[int, ...]:
    """Returns the seats that a role acts on; whether on those of others counts is up to the task."""
    return role.seats if task.self_play is None else role.seats + role.self_play_seats


def reseat(order: jax.Array | None, values: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
    """Reorders `values`, which must be alike: entry i of the result is entry `order[i]`."""
    if order is None:
        return values
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves)[order], *values)
    return tuple(take(stacked, seat) for seat in range(len(values)))


def join_seats(leaves: list[PyTree]) -> PyTree:
    """Seats of one role side by side along the batch axis: one policy sees them all at once."""
    if len(leaves) == 1:
        return leaves[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *leaves)


def split_seats(actions: PyTree, num_seats: int) -> list[PyTree]:
    """Undoes `join_seats`."""
    if num_seats == 1:
        return [actions]
    leaves, structure = jax.tree.flatten(actions)
    seats = zip(*(jnp.split(leaf, num_seats) for leaf in leaves), strict=True)
    return [jax.tree.unflatten(structure, parts) for parts in seats]


def first_rows(tree: PyTree, size: int) -> PyTree:
    """Returns the first `size` rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[:size], tree)


def select(condition: jax.Array, if_true: PyTree, if_false: PyTree) -> PyTree:
    """Returns `if_true` where the scalar `condition` holds, else `if_false`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)


def select_rows(condition: jax.Array, if_true: PyTree, if_false: PyTree) -> PyTree:
    """Selects row by row of `[B, ...]` leaves, for a condition `[B]`."""
    return jax.tree.map(
        lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b), if_true, if_false
    )
