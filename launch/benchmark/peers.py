"""Other libraries beside ours: the same work at the same sizes, in turns in one process."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from launch.benchmark.envs import random_play, rollout
from launch.benchmark.returns import GOALS, compare_returns
from launch.benchmark.timing import Row, Sizes, compile_spread, rates, take_turns
from pax.agents.agent import Agent
from pax.envs import CoinGame, Environment, Gymnax, InTheMatrix
from pax.envs.spaces import Discrete
from pax.errors import MissingLibraryError
from pax.learners import Evolution
from pax.loop.xla import compiler_options
from pax.types import LineUp, TrainingState

DIMENSIONS, POPSIZE = 100, 128


def compare(
    name: str, unit: str, what: str, amount: float, peer: str, calls: Any, sizes: Sizes
) -> Row:
    """Returns a row of ours with that of the peer: an amount of work, per second, of both calls in turns."""
    times = take_turns(calls, sizes.repeats, sizes.min_seconds)
    row = Row("peers", name, unit, rates(amount, times["ours"]), what)
    row.peer = Row("peers", peer, unit, rates(amount, times["peer"]), what)
    return row


def compare_stepping(
    name: str, env: Environment, peer: str, step: Callable[..., Any], reset: Any, sizes: Sizes
) -> Row:
    """Compares raw stepping of two environments that are reset at the same steps.

    Args:
        name: of the row.
        env: ours.
        peer: of the other.
        step: its `(key, state, actions) -> (state, everything that it returns)`, which resets itself.
        reset: its `key -> state`.
        sizes: how much.
    """
    per_device = sizes.scaled_envs // jax.device_count()
    episodes = 1 if sizes.quick else math.ceil(sizes.num_steps / env.num_inner_steps)
    num_steps = episodes * env.num_inner_steps
    ours = rollout(env, per_device, episodes)
    theirs = random_play(env, lambda key: ((), reset(key)), step, per_device, 1, num_steps)
    calls = {"ours": compile_spread(ours)[0], "peer": compile_spread(theirs)[0]}
    steps = sizes.scaled_envs * num_steps
    what = f"{sizes.scaled_envs} environments, {num_steps} random steps, reset every {env.num_inner_steps}"
    return compare(name, "steps/s", what, steps, peer, calls, sizes)


def jaxmarl_stepping(name: str, env: Environment, sizes: Sizes) -> Row:
    """Compares with the environment of JaxMARL by that name.

    Raises:
        MissingLibraryError: if it is not installed.
    """
    try:
        import jaxmarl
    except ImportError as e:
        raise MissingLibraryError('install it by pip install -e ".[benchmark]"') from e
    other = jaxmarl.make(name, num_inner_steps=env.num_inner_steps, num_outer_steps=1)

    def step(key: jax.Array, state: Any, actions: Any) -> Any:
        if name == "coin_game":
            actions = dict(zip(other.agents, actions, strict=True))
        observations, state, rewards, dones, _ = other.step(key, state, actions)
        return state, (observations, rewards, dones)

    return compare_stepping(
        f"{name} raw", env, f"JaxMARL {name}", step, lambda key: other.reset(key)[1], sizes
    )


def gymnax_stepping(sizes: Sizes) -> Row:
    """Compares CartPole as we play it with gymnax itself."""
    import gymnax

    env = Gymnax(num_inner_steps=20 if sizes.quick else 500)
    other, params = gymnax.make("CartPole-v1")

    def step(key: jax.Array, state: Any, actions: Any) -> Any:
        observation, state, *rest, _ = other.step(key, state, actions[0], params)
        return state, (observation, rest)

    reset = lambda key: other.reset(key, params)[1]  # noqa: E731
    return compare_stepping("CartPole raw", env, "gymnax CartPole", step, reset, sizes)


def evolution(sizes: Sizes) -> Row:
    """Generations of Open-ES on Rastrigin's function, by the learner against evosax's own loop."""
    from evosax.algorithms import Open_ES
    from evosax.core.fitness_shaping import centered_rank_fitness_shaping_fn

    generations = 10 if sizes.quick else 500

    class Point(Agent):
        """No policy: what is evolved is a point."""

        def init(self, key: jax.Array) -> TrainingState:
            del key
            return TrainingState(jnp.full(DIMENSIONS, 2.0), (), jnp.int32(0))

    learner: Any = Evolution(
        Point(Discrete(1), Discrete(1)),
        popsize=POPSIZE,
        sigma=0.1,
        learning_rate=0.05,
        fitness_shaping="centered_rank",
    )
    strategy = Open_ES(
        population_size=POPSIZE,
        solution=jnp.zeros(DIMENSIONS),
        optimizer=optax.adam(0.05),
        std_schedule=optax.constant_schedule(0.1),
        fitness_shaping_fn=centered_rank_fitness_shaping_fn,
    )
    params = strategy.default_params

    def ours(state: Any, key: jax.Array) -> Any:
        ask_key, tell_key = jax.random.split(key)
        candidates, state = learner.propose(state, ask_key)
        trial = SimpleNamespace(rewards={"it": -rastrigin(candidates.params)[:, None]})
        line_up = LineUp({"it": candidates}, {"it": 0}, {"it": None})
        experience: Any = SimpleNamespace(role="it", key=tell_key, trial=trial, line_up=line_up)
        state, metrics = learner.update(state, experience)
        return state, metrics["fitness/best"]

    def theirs(state: Any, key: jax.Array) -> Any:
        ask_key, tell_key = jax.random.split(key)
        population, state = strategy.ask(ask_key, state, params)
        fitness = rastrigin(population)
        state, metrics = strategy.tell(tell_key, population, fitness, state, params)
        return state, metrics["best_fitness"]

    def program(init: Callable[..., Any], generation: Callable[..., Any]) -> Callable[[int], Any]:
        def run(key: jax.Array) -> jax.Array:
            return jax.lax.scan(generation, init(key), jax.random.split(key, generations))[1]

        compiled = jax.jit(run, compiler_options=compiler_options())
        return lambda seed: compiled(jax.random.key(seed))

    begin = lambda key: strategy.init(key, jnp.full(DIMENSIONS, 2.0), params)  # noqa: E731
    calls = {"ours": program(learner.init, ours), "peer": program(begin, theirs)}
    what = f"Open-ES, {POPSIZE} candidates of {DIMENSIONS} numbers, Rastrigin's function"
    return compare("evolution", "generations/s", what, generations, "evosax loop", calls, sizes)


def rastrigin(x: jax.Array) -> jax.Array:
    """Computes 10 d + sum x^2 - 10 cos(2 pi x), `[...]` of `[..., d]`; its minimum is 0 at 0."""
    return 10 * x.shape[-1] + jnp.sum(x**2 - 10 * jnp.cos(2 * jnp.pi * x), axis=-1)


def rows(sizes: Sizes) -> dict[str, Callable[[], Row]]:
    """Returns what there is to compare."""
    coin_game = CoinGame(num_inner_steps=8 if sizes.quick else 16)
    in_the_matrix = InTheMatrix(num_inner_steps=8 if sizes.quick else 152)
    return {
        "coin_game raw": lambda: jaxmarl_stepping("coin_game", coin_game, sizes),
        "storm_2p raw": lambda: jaxmarl_stepping("storm_2p", in_the_matrix, sizes),
        "CartPole raw": lambda: gymnax_stepping(sizes),
        **{
            f"{goal.name} to {goal.mean_return:g}": functools.partial(compare_returns, goal, sizes)
            for goal in GOALS
        },
        "evolution": lambda: evolution(sizes),
    }
