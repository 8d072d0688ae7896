"""Checks of a game or an agent of one's own: that it does what the loop, and resuming a run, rely on.

Each returns nothing if all is well: silence is success. If not, it raises AssertionError with one sentence;
what tracing alone tells is a ConfigError, as in training.

>>> from pax.testing import check_agent, check_environment
>>> check_environment(RockPaperScissors())
>>> check_agent(Bandit.for_env(RockPaperScissors()))
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pax import interface
from pax.agents.agent import Agent
from pax.checks import COUNT, COUNT_OR_NONE, check_instance, check_kind, check_number
from pax.envs.environment import Environment
from pax.envs.masks import MASK, choose_legal, has_mask, mask_of
from pax.envs.spaces import Box, Cells, Dict, Discrete, Space
from pax.types import PyTree, Sample, take

NUM_ENVS = 3
TOLERANCE = 1e-4
"""Relative and absolute, by which results of differently compiled programs may differ."""


def random_values(key: jax.Array, space: Space, *batch: int) -> PyTree:
    """Draws from a space, `[*batch, ...]`: uniformly, or, where bounds are missing, normally and clipped.

    A mask of legal actions allows one at least.
    """
    check_instance("space", space, Space, "a space of pax.envs.spaces")
    if isinstance(space, Dict):
        values = {
            name: random_values(jax.random.fold_in(key, index), part, *batch)
            for index, (name, part) in enumerate(space.parts)
        }
        if has_mask(space):
            # Each action is legal with probability 1/2, and one of them always is.
            drawn = values[MASK]
            best = drawn == drawn.max(axis=-1, keepdims=True)
            values[MASK] = ((drawn > 0.5) | best).astype(jnp.float32)
        return values
    shape = (*batch, *space.shape)
    if isinstance(space, Discrete | Cells):
        return jax.random.randint(key, shape, 0, space.n, jnp.int32).astype(space.dtype)
    low, high = space.bounds
    if np.isfinite([low, high, high - low]).all():
        return jax.random.uniform(key, shape, space.dtype, low, high)
    return space.clip(jax.random.normal(key, shape, space.dtype))


def assert_in_space(value: PyTree, space: Space, what: str) -> None:
    """Checks values `[..., *space.shape]`: shape, type, finite, and within the bounds."""
    check_instance("space", space, Space, "a space of pax.envs.spaces")
    if isinstance(space, Dict):
        # Compiled code returns the parts of a dict in alphabetical order.
        names = sorted(name for name, _ in space.parts)
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        _require(found == names, f"{what} has the parts {found}, and its space has {names}")
        for name, part in space.parts:
            assert_in_space(value[name], part, f"{what}[{name!r}]")
        return
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    fits = shape[len(shape) - len(space.shape) :] == space.shape and dtype == space.dtype
    _require(fits, f"{what} is {dtype} of shape {shape}, and its space is {space}")
    value = np.asarray(value)
    if isinstance(space, Box):
        _require(np.isfinite(value).all(), f"{what} is not finite: {value}")
        low, high = space.bounds
    else:
        low, high = np.array(0), np.array(space.n - 1)
    _require(
        ((value >= low) & (value <= high)).all(),
        f"{what} reaches from {value.min()} to {value.max()}, outside its space {space}",
    )


def check_environment(
    env: Environment, params: PyTree = None, *, num_steps: int | None = None, seed: int = 0
) -> None:
    """Checks a game by playing episodes of random actions, compiled, in a batch and one by one.

    Observations are within their spaces, rewards finite float32, everybody always has a legal action, `done`
    is true on the last step and only then, the state keeps its types, the same keys give the same episode,
    and a batch is as many environments played alone. Statistics are scalars. Returns nothing if all this is
    so.

    Args:
        env: the game.
        params: what is played for; the game's default if None.
        num_steps: how many steps are played, at most `num_inner_steps`, which is the default.
        seed: of actions and games.

    Raises:
        ConfigError: if a shape, a type or a number of entries is wrong.
        AssertionError: if a value is.
    """
    check_instance("env", env, Environment, "a game, such as CoinGame()")
    if num_steps is not None:
        check_number("num_steps", num_steps, COUNT)
    check_number("seed", seed, COUNT_OR_NONE)
    name = type(env).__name__
    params = env.default_params if params is None else params
    interface.check_params("params", env, params)
    interface.check_game(env, params)
    steps = min(num_steps or env.num_inner_steps, env.num_inner_steps)
    reset_key, step_key, action_key = jax.random.split(jax.random.key(seed), 3)
    reset_keys = jax.random.split(reset_key, NUM_ENVS)
    step_keys = jax.random.split(step_key, (NUM_ENVS, steps))
    actions = tuple(
        random_values(
            jax.random.fold_in(action_key, player), env.action_space(player), NUM_ENVS, steps
        )
        for player in range(env.num_players)
    )

    def episode(reset_key: jax.Array, keys: PyTree, joint: PyTree) -> Any:
        first, state = env.reset(reset_key, params)

        def step(carry: PyTree, inputs: tuple[PyTree, PyTree]) -> Any:
            seen, state = carry
            legal = _legal(env, seen, *inputs)
            seen, state, *outputs = env.step(inputs[0], state, legal, params)
            return (seen, state), (seen, *outputs)

        _, (later, rewards, done, info) = jax.lax.scan(step, (first, state), (keys, joint))
        seen = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)
        return seen, rewards, done, info

    play = jax.jit(jax.vmap(episode))
    played = play(reset_keys, step_keys, actions)
    seen, rewards, done, info = jax.device_get(played)
    for player in range(env.num_players):
        space = env.observation_space(player)
        assert_in_space(seen[player], space, f"what player {player + 1} of {name} sees")
        _check_masks(f"player {player + 1} of {name}", space, seen[player])
        finite = np.isfinite(rewards[player]).all()
        _require(finite, f"{name} pays player {player + 1} what is not finite: {rewards[player]}")
        if env.auto_resets:
            final = info["final_observations"][player]
            assert_in_space(final, space, f"the final observation of player {player + 1} of {name}")
    last = np.arange(1, steps + 1) == env.num_inner_steps
    _require(
        (done == last).all(),
        f"done of {name} is {done[0].tolist()} over {steps} steps, and num_inner_steps is "
        f"{env.num_inner_steps}: it is true on the last step, and on no other",
    )
    again = jax.device_get(play(reset_keys, step_keys, actions))
    _same(again, (seen, rewards, done, info), f"{name} differs from itself from the same keys", 0.0)
    alone = jax.jit(episode)
    for index in range(NUM_ENVS):
        own = take((reset_keys, step_keys, actions), index)
        expected = take(played, index)
        _same(alone(*own), expected, f"{name} plays otherwise in a batch than alone")
    by_time = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (seen, actions, info))
    before = take(by_time[0], slice(-1))
    metrics = env.statistics_metrics(env.episode_statistics(before, by_time[1], by_time[2]))
    for metric, value in metrics.items():
        _require(
            jnp.shape(value) == (),
            f"{metric} of {name} has shape {jnp.shape(value)}: give a scalar",
        )


def _legal(env: Environment, seen: PyTree, key: jax.Array, joint: PyTree) -> tuple[PyTree, ...]:
    """Returns the actions of all players, of those who see a mask another one that is legal."""
    masks = [mask_of(env.observation_space(player), part) for player, part in enumerate(seen)]
    return tuple(
        action
        if mask is None
        else choose_legal(jax.random.uniform(jax.random.fold_in(key, player)), mask)
        for player, (action, mask) in enumerate(zip(joint, masks, strict=True))
    )


def _check_masks(who: str, space: Space, seen: PyTree) -> None:
    """Checks observations `[E, T + 1, ...]`: wherever a player acts, something is legal."""
    mask = mask_of(space, seen)
    if mask is None:
        return
    steps = np.flatnonzero(~np.asarray(mask.any(axis=-1).all(axis=0))[:-1])
    _require(
        not steps.size,
        f"{MASK} of {who} allows no action in step {[*(steps + 1), 0][0]}: allow one at least",
    )


def check_agent(
    agent: Agent, *, num_envs: int = 8, num_steps: int = 8, auto_resets: bool = False, seed: int = 0
) -> None:
    """Checks an agent by acting on random observations and, if it learns, by learning from that.

    Actions are within their space, memory and state keep their types and stay finite, the same keys give the
    same actions, and a population acts as its members do. `update` of an agent with `learns` changes its
    state, and metrics are finite scalars.

    Args:
        agent: one made for a game, by `for_env`.
        num_envs: environments that it plays at once.
        num_steps: of the rollout that it learns from; both must suit its settings.
        auto_resets: whether its game begins anew within a rollout.
        seed: of observations, rewards and agents.

    Raises:
        ConfigError: if a shape, a type or a number of entries is wrong.
        AssertionError: if a value is.
    """
    check_instance("agent", agent, Agent, "an agent, such as PPO.for_env(env)")
    check_number("num_envs", num_envs, COUNT)
    check_number("num_steps", num_steps, COUNT)
    check_kind("auto_resets", auto_resets, False)
    check_number("seed", seed, COUNT_OR_NONE)
    name = type(agent).__name__
    agent.check_rollout(num_steps, num_envs)
    interface.check_agent(
        agent,
        num_envs=num_envs,
        num_steps=num_steps if agent.learns else None,
        auto_resets=auto_resets,
    )
    init_key, seen_key, act_key, reward_key, learn_key = jax.random.split(jax.random.key(seed), 5)
    seen = random_values(seen_key, agent.observation_space, num_steps + 1, num_envs)
    first_seen, last_seen = take(seen, slice(-1)), take(seen, -1)
    init_keys = jax.random.split(init_key, NUM_ENVS)
    act_keys = jax.random.split(act_key, num_steps)
    ends = None
    if auto_resets:
        over = jax.random.bernoulli(reward_key, 0.2, (2, num_steps, num_envs))
        ends = interface.Ends(over[0], over[1] & ~over[0], first_seen)

    def act(key: jax.Array) -> Any:
        state, memory = agent.make_initial_state(key, agent.initial_hidden(num_envs))

        def step(memory: PyTree, inputs: tuple[PyTree, PyTree]) -> Any:
            actions, after = agent.policy(state, inputs[0], memory, inputs[1])
            return after, (actions, after.extras, memory.hidden)

        memory, outputs = jax.lax.scan(step, memory, (first_seen, act_keys))
        return state, memory, outputs

    play = jax.jit(jax.vmap(act))
    played = play(init_keys)
    actions, extras, _ = played[2]
    assert_in_space(jax.device_get(actions), agent.action_space, f"what {name} does")
    _finite(played, f"what {name} is and does")
    _same(play(init_keys), played, f"{name} differs from itself from the same keys", 0.0)
    first = take(played, 0)
    alone = jax.jit(act)(init_keys[0])
    _same(alone, first, f"{name} acts otherwise in a population than alone")
    if not agent.learns:
        return
    state, memory, (actions, extras, hiddens) = first
    rollout = Sample(
        observations=first_seen,
        actions=actions,
        rewards=jax.random.normal(reward_key, (num_steps, num_envs)),
        log_probs=extras["log_probs"],
        values=extras["values"],
        dones=jnp.zeros((num_steps, num_envs), bool).at[-1].set(True),
        hiddens=hiddens,
        ends=ends,
    )
    update = jax.jit(agent.update)
    learned = update(rollout, last_seen, state, memory, learn_key)
    _finite(learned, f"what {name} has learned, or reports of it")
    again = update(rollout, last_seen, state, memory, learn_key)
    _same(again, learned, f"{name} learns otherwise from the same keys", 0.0)
    changed = any(
        (np.asarray(a) != np.asarray(b)).any()
        for a, b in zip(jax.tree.leaves(learned[0]), jax.tree.leaves(state), strict=True)
    )
    _require(changed, f"{name} has learns = True, and its update changes nothing: leave learns out")


def _finite(tree: PyTree, what: str) -> None:
    for leaf in jax.tree.leaves(jax.device_get(tree)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            _require(np.isfinite(leaf).all(), f"{what} is not finite: {leaf}")


def _same(found: PyTree, expected: PyTree, what: str, tolerance: float = TOLERANCE) -> None:
    pairs = (jax.tree.leaves(jax.device_get(tree)) for tree in (found, expected))
    for a, b in zip(*pairs, strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        close = np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
        _require(close, f"{what}: {a} and {b}")


def _require(condition: Any, message: str) -> None:
    # An exception of its own: pytest rewrites the assertions of tests only, and python -O drops all.
    if not condition:
        raise AssertionError(message)
