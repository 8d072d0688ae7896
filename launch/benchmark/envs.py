"""Raw stepping: random actions in many environments at once, without any policy."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from launch.benchmark import loop as benchmark_loop
from launch.benchmark.timing import Row, Sizes, compile_spread, rates, take_turns
from pax.envs import ENVS, Environment
from pax.envs.spaces import Box, Dict, Discrete, Space


@dataclasses.dataclass(frozen=True)
class Case:
    """A game as it is stepped."""

    env: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments of its constructor."""
    share: float = 1.0
    """Of the environments of `Sizes`: games that step slowly take fewer."""


# Every registered game as its constructor makes it, and what else is worth telling apart.
CASES: dict[str, Case] = {
    "CoinGame, egocentric": Case("CoinGame", {"egocentric": True, "num_inner_steps": 16}),
    "IteratedTensorGame, 3 players": Case("IteratedTensorGame", {"num_players": 3}),
    "Rice, 27 regions": Case("Rice", {"num_regions": 27}, share=1 / 16),
    "JaxMARL coin_game": Case("JaxMARL", {"name": "coin_game"}, share=1 / 4),
}
# What a core computes for 256 games of many players fits into its cache; more of them step more slowly.
SHARES = {"CommonsHarvest": 1 / 2, "CleanUp": 1 / 2}
SHARES |= {
    "Rice": 1 / 4,
    "ClubRice": 1 / 4,
    "SarlRice": 1 / 4,
    "InTheMatrix": 1.0,
    "JaxMARL": 1 / 4,
}
DRAWS = "drawing the actions, and the keys of games that use them, without a game"


def cases() -> dict[str, Case]:
    """Returns every registered game and the cases above, by name."""
    plain = {name: Case(name, share=SHARES.get(name, 1.0)) for name in ENVS if name != "JaxMARL"}
    return dict(sorted({**plain, **CASES}.items()))


def measure(name: str, case: Case, sizes: Sizes) -> Row:
    """Steps per second of a game, in turns with its limit: the random numbers alone.

    Raises:
        MissingLibraryError: if that of the game is not installed.
    """
    env = ENVS[case.env](**case.settings)
    num_envs = sizes.multiple(max(1, round(sizes.num_envs * case.share)))
    episodes = math.ceil(sizes.num_steps / env.num_inner_steps)
    if sizes.quick:
        env = ENVS[case.env](**{**case.settings, "num_inner_steps": 8})
        episodes = 2
    per_device = num_envs // jax.device_count()
    steps = num_envs * episodes * env.num_inner_steps
    call, seconds = compile_spread(rollout(env, per_device, episodes))
    limit, what_limit, limit_steps = make_limit(case, env, per_device, episodes)
    times = take_turns({"ours": call, "limit": limit}, sizes.repeats, sizes.min_seconds)
    what = f"{num_envs} environments, {episodes} episodes of {env.num_inner_steps} steps"
    limit_rates = rates(limit_steps, times["limit"])
    return Row(
        "envs",
        name,
        "steps/s",
        rates(steps, times["ours"]),
        what,
        limit=Row("envs", f"{name}: limit", "steps/s", limit_rates, what_limit),
        details={"compile_seconds": seconds, "players": env.num_players},
    )


def make_limit(
    case: Case, env: Environment, num_envs: int, episodes: int
) -> tuple[Callable[[int], Any], str, int]:
    """Returns a call, what it computes, and how many steps of all devices."""
    steps = num_envs * jax.device_count() * episodes * env.num_inner_steps
    if case.env == "IteratedMatrixGame":
        try:
            # In one long episode: such a loop takes no time to begin another.
            length = episodes * env.num_inner_steps
            envs = num_envs * jax.device_count()
            loop = benchmark_loop.matrix_game(envs, length, benchmark_loop.RANDOM)
            return loop, benchmark_loop.WHAT, steps
        except ImportError:
            pass
    return compile_spread(draws(env, num_envs, episodes))[0], DRAWS, steps


def rollout(env: Environment, num_envs: int, episodes: int) -> Callable[[jax.Array], jax.Array]:
    """Returns a function of a key that plays episodes of random actions and sums all that was seen."""
    params = env.default_params

    def step(key: jax.Array, state: Any, actions: Any) -> Any:
        observations, state, rewards, done, _ = env.step(key, state, actions, params)
        return state, (observations, rewards, done)

    reset = lambda key: env.reset(key, params)  # noqa: E731
    return random_play(env, reset, step, num_envs, episodes, env.num_inner_steps)


def random_play(
    env: Environment,
    reset: Callable[[jax.Array], tuple[Any, Any]],
    step: Callable[..., tuple[Any, Any]],
    num_envs: int,
    episodes: int,
    num_steps: int,
) -> Callable[[jax.Array], jax.Array]:
    """Returns a function of a key that takes random actions and sums all that was seen.

    Args:
        env: says what actions there are.
        reset: of one environment, `key -> (seen, state)`.
        step: `(key, state, actions) -> (state, seen)`.
        num_envs: environments at once.
        episodes: each begins with a reset.
        num_steps: of an episode.
    """

    def episode(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        reset_key, step_key = jax.random.split(key)
        seen, state = jax.vmap(reset)(jax.random.split(reset_key, num_envs))

        def body(carry: Any, key: jax.Array) -> Any:
            state, total = carry
            env_keys, actions = step_draws(env, key, num_envs)
            state, seen = jax.vmap(step)(env_keys, state, actions)
            return (state, total + sum_of(seen)), None

        keys = jax.random.split(step_key, num_steps)
        (_, total), _ = jax.lax.scan(body, (state, total + sum_of(seen)), keys)
        return total, None

    return lambda key: jax.lax.scan(episode, jnp.float32(0), jax.random.split(key, episodes))[0]


def draws(env: Environment, num_envs: int, episodes: int) -> Callable[[jax.Array], jax.Array]:
    """Returns a function of a key that draws what `rollout` draws, and plays nothing."""
    has_chance = uses_key(env)

    def play(key: jax.Array) -> jax.Array:
        def body(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            env_keys, actions = step_draws(env, key, num_envs)
            drawn = (jax.random.key_data(env_keys), actions) if has_chance else actions
            return total + sum_of(drawn), None

        keys = jax.random.split(key, episodes * env.num_inner_steps)
        return jax.lax.scan(body, jnp.float32(0), keys)[0]

    return play


def uses_key(env: Environment) -> bool:
    """Returns whether a step of a game depends on chance."""
    key = jax.random.key(0)
    _, state = jax.eval_shape(env.reset, key, env.default_params)
    actions = tuple(env.action_space(player).zeros() for player in range(env.num_players))
    jaxpr = jax.make_jaxpr(env.step)(key, state, actions, env.default_params).jaxpr
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return used[0]


def step_draws(
    env: Environment, key: jax.Array, num_envs: int
) -> tuple[jax.Array, tuple[Any, ...]]:
    """Keys `[E]` for the games, and uniformly random actions `[E, ...]` of every player, in one draw each."""
    env_key, action_key = jax.random.split(key)
    actions = tuple(
        random_actions(jax.random.fold_in(action_key, player), env.action_space(player), num_envs)
        for player in range(env.num_players)
    )
    return jax.random.split(env_key, num_envs), actions


def random_actions(key: jax.Array, space: Space, num: int) -> Any:
    """Draws actions `[num, ...]`, uniformly where the space is bounded, else normally."""
    if isinstance(space, Dict):
        return {
            name: random_actions(jax.random.fold_in(key, index), part, num)
            for index, (name, part) in enumerate(space.parts)
        }
    shape = (num, *space.shape)
    if isinstance(space, Discrete):
        # One number per action: jax.random.randint draws two.
        uniform = jax.random.uniform(key, shape)
        return jnp.minimum((uniform * space.n).astype(space.dtype), space.n - 1)
    assert isinstance(space, Box)
    low, high = space.bounds
    if np.isfinite([low, high]).all():
        return jax.random.uniform(key, shape, space.dtype, low, high)
    return space.clip(jax.random.normal(key, shape, space.dtype))


def sum_of(tree: Any) -> jax.Array:
    """Returns one number that depends on every entry."""
    return sum(
        (jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(tree)), jnp.float32(0)
    )


def rows(sizes: Sizes) -> dict[str, Callable[[], Row]]:
    """Returns what there is to measure."""
    return {name: functools.partial(measure, name, case, sizes) for name, case in cases().items()}
