"""The innermost scan: every seat acts, the game steps, for the length of an episode.

Seats are the places at a game's table, and `E` is how many environments are played side by side. A role that
sits on several seats acts for all of them at once, in one batch of B = seats x E rows, seat by seat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pax.envs.environment import Environment
from pax.envs.masks import MASK, has_mask
from pax.roles import Role
from pax.types import Ends, MemoryState, PyTree, Sample, Task, TrainingState, take

States = Mapping[str, TrainingState]
Memories = dict[str, MemoryState]


class Episode(NamedTuple):
    """What one episode leaves behind. The compiler removes the computation of parts that are not read."""

    rollouts: dict[str, Sample]
    """By role, `[T, B, ...]` with B = seats x E."""
    last_observations: dict[str, PyTree]
    """By role, `[B, ...]`."""
    last_memories: Memories
    """By role, of all seats that it may play; rows of seats that it takes over come last."""
    rewards: jax.Array
    """By player, summed over steps and environments, `[num_players]`: what was earned."""
    statistics: PyTree
    """See `Environment.episode_statistics`."""
    env_states: PyTree
    """Before each step, `[T, E, ...]`."""
    actions: tuple[PyTree, ...]
    """By player, `[T, E, ...]`."""
    env_rewards: jax.Array
    """By player and environment, summed over steps, `[num_players, E]`."""
    learned_from: jax.Array | None
    """As `rewards`, of what players learn from, in games where that is not what they earn."""


class Choice(NamedTuple):
    """What a role does in one step, in rows `[B, ...]` for all seats that it may play."""

    observations: PyTree
    actions: PyTree
    before: MemoryState
    after: MemoryState


class Outcome(NamedTuple):
    """What becomes of one step of all environments."""

    rewards: tuple[jax.Array, ...]
    """By seat, `[E]`."""
    done: jax.Array
    """Whether the episode is over, `[E]`, bool."""
    info: dict[str, Any]


def rollout(
    env: Environment,
    roles: Sequence[Role],
    num_envs: int,
    key: jax.Array,
    states: States,
    memories: Memories,
    task: Task,
) -> Episode:
    """Plays T steps of E environments from their start; nobody learns meanwhile.

    Args:
        env: the game.
        roles: who plays; their seats cover the game's.
        num_envs: environments E.
        key: a typed random key; the same key gives the same episode.
        states: what each role has learned, by name, without batch axes.
        memories: what each role remembers, by name, `[B, ...]` for all seats that it may play.
        task: what is played for, and who sits where.
    """
    reset_key, step_key, act_key = jax.random.split(key, 3)
    # A nested jit keeps the game one function of the traced program, the largest part of which it is: what is
    # mapped or differentiated around the scan transforms it once.
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    env_draw, transition = env.split_step()
    env_step = jax.jit(jax.vmap(transition, in_axes=(0, 0, 0, None)))
    role_draws, acts = zip(*(role.agent.split_policy() for role in roles), strict=True)
    observations, env_state = reset(jax.random.split(reset_key, num_envs), task.env_params)
    # What roles keep seeing where they are blind.
    first = reseat(task.seats, observations)
    inverse = None if task.seats is None else jnp.argsort(task.seats)
    has_own = type(env).earned is not Environment.earned

    def step(carry: Any, drawn: tuple[PyTree, list[PyTree]]) -> Any:
        seen, env_state, memories = carry
        for_env, for_roles = drawn
        choices = {
            role.name: _act(role, act, states[role.name], seen, first, memories, for_role, task)
            for role, act, for_role in zip(roles, acts, for_roles, strict=True)
        }
        actions = _actions_by_seat(env, roles, choices, task)
        # The game calls players by the seats that the task gives them.
        observations, next_state, rewards, done, info = env_step(
            for_env, env_state, reseat(inverse, actions), task.env_params
        )

        def by_player(by_seat: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            return _undefined_where_nothing_is_legal(roles, seen, reseat(task.seats, by_seat))

        outcome = Outcome(by_player(rewards), done, info)
        rollouts = {
            role.name: _sample(env, role, choices[role.name], outcome, task)
            for role in roles
            if role.seats
        }
        memories = {
            role.name: _remember(env, role, choices[role.name].after, outcome, states, task)
            for role in roles
        }
        earned = outcome.rewards
        if has_own:
            earned = by_player(env.earned(rewards, info))
        felt = outcome.rewards if has_own else None
        outputs = (rollouts, seen, actions, earned, felt, info, env_state)
        return (reseat(task.seats, observations), next_state, memories), outputs

    # All steps' draws at once: drawing one number takes nearly as many operations as drawing thousands.
    env_draw = jax.vmap(jax.vmap(env_draw, in_axes=(0, None)), in_axes=(0, None))
    step_keys = jax.random.split(step_key, (env.num_inner_steps, num_envs))
    act_keys = jax.random.split(act_key, (env.num_inner_steps, len(roles)))

    def role_draw(index: int) -> PyTree:
        batch = (len(playable_seats(roles[index], task)) * num_envs,)
        return jax.vmap(lambda key: role_draws[index](key, batch))(act_keys[:, index])

    drawn = (env_draw(step_keys, task.env_params), [role_draw(i) for i in range(len(roles))])
    (last, _, memories), outputs = jax.lax.scan(step, (first, env_state, dict(memories)), drawn)
    rollouts, seen, actions, rewards, felt, infos, env_states = outputs
    return Episode(
        rollouts=rollouts,
        last_observations={
            role.name: _seen(role, role.seats, last, first, task) for role in roles if role.seats
        },
        last_memories=memories,
        rewards=jnp.stack([reward.sum() for reward in rewards]),
        statistics=env.episode_statistics(seen, actions, infos),
        env_states=env_states,
        actions=actions,
        env_rewards=jnp.stack([reward.sum(axis=0) for reward in rewards]),
        learned_from=None if felt is None else jnp.stack([reward.sum() for reward in felt]),
    )


def _undefined_where_nothing_is_legal(
    roles: Sequence[Role], seen: tuple[PyTree, ...], rewards: tuple[jax.Array, ...]
) -> tuple[jax.Array, ...]:
    """Returns rewards by seat, NaN where a mask allowed no action: whoever reads them finds out."""
    masked = {
        seat for role in roles if has_mask(role.agent.observation_space) for seat in role.seats
    }
    return tuple(
        jnp.where((seen[seat][MASK] > 0.5).any(axis=-1), reward, jnp.nan)
        if seat in masked
        else reward
        for seat, reward in enumerate(rewards)
    )


def _act(
    role: Role,
    act: Callable[..., tuple[PyTree, MemoryState]],
    state: TrainingState,
    seen: tuple[PyTree, ...],
    first: tuple[PyTree, ...],
    memories: Memories,
    drawn: PyTree,
    task: Task,
) -> Choice:
    """Returns what a role does, given what every seat sees and what the role has drawn."""
    before = memories[role.name]
    observations = _seen(role, playable_seats(role, task), seen, first, task)
    actions, after = act(state, observations, before, drawn)
    return Choice(observations, actions, before, after)


def _seen(
    role: Role,
    seats: Sequence[int],
    observations: tuple[PyTree, ...],
    first: tuple[PyTree, ...],
    task: Task,
) -> PyTree:
    """Returns what a role sees on `seats`, `[B, ...]`: where it is blind, what each of them saw `first`.

    Which actions are legal is known to the blind, too: it is a rule of the game.
    """
    own = join_seats([observations[seat] for seat in seats])
    if role.name not in task.blind:
        return own
    blind = jnp.tile(task.blind[role.name], len(seats))
    seen = select_rows(blind, join_seats([first[seat] for seat in seats]), own)
    return {**seen, MASK: own[MASK]} if has_mask(role.agent.observation_space) else seen


def _actions_by_seat(
    env: Environment, roles: Sequence[Role], choices: Mapping[str, Choice], task: Task
) -> tuple[PyTree, ...]:
    """Returns the action of every seat, `[E, ...]`: in self-play, that of the role that takes it over."""
    actions: list[PyTree] = [None] * env.num_players
    taken_over: dict[int, PyTree] = {}
    for role in roles:
        seats = playable_seats(role, task)
        for seat, action in zip(
            seats, split_seats(choices[role.name].actions, len(seats)), strict=True
        ):
            (taken_over if seat in role.self_play_seats else actions)[seat] = action
    for seat, action in taken_over.items():
        actions[seat] = select(is_taken_over(seat, task), action, actions[seat])
    return tuple(actions)


def _sample(env: Environment, role: Role, choice: Choice, outcome: Outcome, task: Task) -> Sample:
    """Returns what a role may learn from one step: of its own seats, not of those that it takes over."""
    num_seats, num_envs = len(role.seats), len(outcome.done)
    own = first_rows(choice, num_seats * num_envs)

    def of_seats(by_seat: tuple[PyTree, ...]) -> PyTree:
        return join_seats([by_seat[seat] for seat in role.seats])

    done, ends = outcome.done, None
    if env.auto_resets:
        terminated, truncated = (
            _by_row(outcome.info[name], role.seats, task) for name in ("terminated", "truncated")
        )
        done = jnp.tile(done, num_seats)
        # The next rollout of the trial begins anew, wherever this one is.
        cut = (truncated | done) & ~terminated
        done = done | terminated | truncated
        ends = Ends(
            terminated=terminated,
            truncated=cut,
            final_observations=of_seats(reseat(task.seats, outcome.info["final_observations"])),
        )
    else:
        done = jnp.tile(done, num_seats)
    return Sample(
        observations=own.observations,
        actions=own.actions,
        rewards=of_seats(outcome.rewards),
        log_probs=own.after.extras["log_probs"],
        values=own.after.extras["values"],
        dones=done,
        hiddens=own.before.hidden,
        ends=ends,
        num_seats=num_seats,
        num_envs=num_envs,
    )


def _remember(
    env: Environment,
    role: Role,
    memory: MemoryState,
    outcome: Outcome,
    states: States,
    task: Task,
) -> MemoryState:
    """Returns the memory after a step; where an episode ended within the rollout, what outlives it."""
    if not env.auto_resets:
        return memory
    seats = playable_seats(role, task)
    terminated, truncated = (
        _by_row(outcome.info[name], seats, task) for name in ("terminated", "truncated")
    )
    forgotten = role.agent.reset_memory(memory, new_trial=False, state=states[role.name])
    return select_rows(terminated | truncated, forgotten, memory)


def _by_row(
    ends: jax.Array | tuple[jax.Array, ...], seats: tuple[int, ...], task: Task
) -> jax.Array:
    """Returns whether it is over for each row `[B]` of a role, given that for all players, or by player."""
    if isinstance(ends, tuple):
        by_seat = reseat(task.seats, ends)
        return join_seats([by_seat[seat] for seat in seats])
    return jnp.tile(ends, len(seats))


def playable_seats(role: Role, task: Task) -> tuple[int, ...]:
    """Returns the seats that a role acts on; whether on those of others counts is up to the task."""
    return role.seats if task.self_play is None else role.seats + role.self_play_seats


def is_taken_over(seat: int, task: Task) -> jax.Array:
    """Returns whether the role with `seat` among its `self_play_seats` plays it, bool."""
    assert task.self_play is not None
    return task.self_play if task.taken_over is None else task.self_play & task.taken_over[seat]


def reseat(order: jax.Array | None, values: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
    """Reorders `values`, which must be alike: entry i of the result is entry `order[i]`."""
    if order is None:
        return values
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves)[order], *values)
    return tuple(take(stacked, seat) for seat in range(len(values)))


def join_seats(leaves: list[PyTree]) -> PyTree:
    """Puts the seats of one role side by side along the batch axis: one policy sees them all at once."""
    if len(leaves) == 1:
        return leaves[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *leaves)


def split_seats(actions: PyTree, num_seats: int) -> list[PyTree]:
    """Takes what `join_seats` has put together apart again, in `num_seats` parts."""
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
