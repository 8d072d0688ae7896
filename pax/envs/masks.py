"""Masks of legal actions: the part of an observation that says which actions its player may choose.

A game whose players may not always do everything shows each of them a `Dict` with the part `action_mask`, a
`Box((n,), 0.0, 1.0)` for `n` actions: 1 where the action is legal. Policies sample and learn under it, and do
not read it as a feature, unless it is all that is shown.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pax.envs.environment import Environment
from pax.envs.spaces import Box, Dict, Discrete, Space
from pax.errors import ConfigError
from pax.types import PyTree

MASK = "action_mask"


def has_mask(space: Space) -> bool:
    """Returns whether observations of this space have a mask."""
    return isinstance(space, Dict) and any(name == MASK for name, _ in space.parts)


def mask_of(space: Space, observations: PyTree) -> jax.Array | None:
    """Returns the mask in observations `[...]` of a space, bool `[..., n]`; None if they have none."""
    return observations[MASK] > 0.5 if has_mask(space) else None


def check_mask(what: str, observation_space: Space, action_space: Space) -> None:
    """Raises ConfigError unless the mask in a space, if there is one, is of its actions.

    Args:
        what: whose spaces these are, for the message.
        observation_space: of the player.
        action_space: of the same player.
    """
    if not isinstance(observation_space, Dict) or not has_mask(observation_space):
        return
    mask = dict(observation_space.parts)[MASK]
    if not isinstance(action_space, Discrete):
        raise ConfigError(
            f"{what} has {MASK} in its observations, and its actions are {action_space}: masks are of "
            "Discrete actions, so leave it out"
        )
    expected = Box((action_space.n,), 0.0, 1.0)
    if mask != expected:
        raise ConfigError(
            f"{MASK} of {what} is {mask}, and there are {action_space.n} actions: give {expected}"
        )


def choose_legal(uniform: jax.Array, mask: jax.Array) -> jax.Array:
    """Maps uniform numbers `[...]` to legal actions `[...]`, int32, each as likely as the others.

    Where no action is legal, it is any.
    """
    count = jnp.cumsum(mask, axis=-1, dtype=jnp.int32)
    total = count[..., -1]
    # The product may round up to the total.
    chosen = jnp.minimum((uniform * total).astype(jnp.int32), total - 1)
    return jnp.minimum(
        (count <= chosen[..., None]).sum(axis=-1, dtype=jnp.int32), mask.shape[-1] - 1
    )


def find_forbidden(env: Environment, params: PyTree, num_envs: int = 64) -> str | None:
    """Plays one episode at random in several environments, to find out where nobody may do anything.

    Returns:
        A sentence about the first player and step, None if there is no such or if the game shows no masks.
    """
    spaces = [env.observation_space(player) for player in range(env.num_players)]
    if not any(map(has_mask, spaces)):
        return None

    def episode(key: jax.Array) -> jax.Array:
        reset_key, key = jax.random.split(key)

        def step(carry: PyTree, key: jax.Array) -> tuple[PyTree, jax.Array]:
            seen, state = carry
            masks = [mask_of(*each) for each in zip(spaces, seen, strict=True)]
            keys = jax.random.split(key, env.num_players + 1)
            actions = tuple(
                env.action_space(player).zeros()
                if mask is None
                else choose_legal(jax.random.uniform(keys[player]), mask)
                for player, mask in enumerate(masks)
            )
            seen, state, *_ = env.step(keys[-1], state, actions, params)
            is_stuck = [jnp.bool_(False) if mask is None else ~mask.any() for mask in masks]
            return (seen, state), jnp.stack(is_stuck)

        return jax.lax.scan(
            step, env.reset(reset_key, params), jax.random.split(key, env.num_inner_steps)
        )[1]

    stuck = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), num_envs)).any(axis=0)
    where = jnp.argwhere(stuck)
    if not len(where):
        return None
    step, player = where[0]
    return (
        f"{MASK} of player {player + 1} of {type(env).__name__} allows no action in step {step + 1} of an "
        "episode: allow one at least"
    )
