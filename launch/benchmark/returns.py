"""How long PPO trains until it has a return: ours and rejax's, each with the settings that it comes with."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from launch.benchmark.apart import quiet_config
from launch.benchmark.timing import Row, Sizes
from pax.config.build import build_trainer
from pax.errors import MissingLibraryError
from pax.types import take

NUM_EPISODES = 128
"""By which a policy is judged, which is not part of the time."""
NUM_SEEDS = 5
MOST_STEPS = 1_000_000
Policy = Callable[[Any, jax.Array, jax.Array], jax.Array]
"""Draws an action from what was learned, an observation and a key."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """What is trained, and up to where."""

    name: str
    """The environment's, of gymnax."""
    mean_return: float
    """Of an episode, by a policy that draws its actions."""
    config: str
    """Ours."""
    rejax: Mapping[str, Any]
    """The settings of PPO in rejax's `configs/gymnax`."""


_OF_BOTH = {"gae_lambda": 0.95, "clip_eps": 0.2, "vf_coef": 0.5}
GOALS = (
    Goal(
        "CartPole-v1",
        475.0,
        "configs/sarl.py:cartpole",
        {
            **{"num_envs": 5, "num_steps": 100, "num_epochs": 5, "num_minibatches": 5},
            **{"learning_rate": 0.00075, "max_grad_norm": 0.5, "gamma": 0.99, "ent_coef": 0.01},
            **{"total_timesteps": 100_000, "agent_kwargs": {"activation": "tanh"}, **_OF_BOTH},
        },
    ),
    Goal(
        "Pendulum-v1",
        -250.0,
        "configs/sarl.py:pendulum",
        {
            **{"num_envs": 100, "num_steps": 100, "num_epochs": 10, "num_minibatches": 10},
            **{"learning_rate": 0.001, "max_grad_norm": 10, "gamma": 0.995, "ent_coef": 0.0},
            **{"total_timesteps": 150_000, "agent_kwargs": {"activation": "swish"}, **_OF_BOTH},
            "normalize_observations": True,
        },
    ),
)


class Trained(NamedTuple):
    """One of the two, compiled."""

    init: Callable[[int], Any]
    """Returns the state of a seed."""
    train: Callable[[Any], Any]
    """Trains a little further; takes the state that it is given."""
    steps: int
    """Of the environment, per call of `train`."""
    policy: Policy
    """Of the state."""


class Reached(NamedTuple):
    """How long one seed has trained."""

    seconds: float
    steps: int


def compare_returns(goal: Goal, sizes: Sizes) -> Row:
    """Measures both, seed after seed in turns: hours that are as fast are as fast for both.

    Raises:
        MissingLibraryError: if rejax is not installed.
    """
    most = 20_000 if sizes.quick else MOST_STEPS
    both = {"ours": ours(goal), "peer": rejax(goal)}
    measures = {name: judge(goal, trained.policy) for name, trained in both.items()}
    for name, trained in both.items():
        # Compiles, so that no seed pays for it.
        measures[name](trained.train(trained.init(0)), jax.random.key(0))
    found: dict[str, list[Reached]] = {name: [] for name in both}
    for seed in range(1 if sizes.quick else NUM_SEEDS):
        for name, trained in both.items():
            found[name].append(time_to(goal, trained, measures[name], seed, most))
    median = {
        name: Reached(*map(statistics.median, zip(*each, strict=True)))
        for name, each in found.items()
    }
    what = (
        f"PPO until {NUM_EPISODES} episodes have a mean return of {goal.mean_return:g}, {len(found['ours'])} "
        f"seeds, without compiling: ours after {median['ours'].seconds:.1f} s and {median['ours'].steps} "
        f"steps, rejax after {median['peer'].seconds:.1f} s and {median['peer'].steps} steps (medians)"
    )
    per_minute = {name: [60 / each.seconds for each in found[name]] for name in found}
    row = Row("peers", f"{goal.name} to {goal.mean_return:g}", "runs/min", per_minute["ours"], what)
    row.peer = Row("peers", "rejax PPO", "runs/min", per_minute["peer"], what)
    return row


def time_to(
    goal: Goal, trained: Trained, measure: Callable[..., jax.Array], seed: int, most: int
) -> Reached:
    """Trains one seed until it has the return, or for `most` steps, which then count as what it took."""
    state, seconds, steps = trained.init(seed), 0.0, 0
    while steps < most:
        started = time.perf_counter()
        state = jax.block_until_ready(trained.train(state))
        seconds += time.perf_counter() - started
        steps += trained.steps
        if measure(state, jax.random.key(steps)) >= goal.mean_return:
            break
    return Reached(seconds, steps)


def judge(goal: Goal, policy: Policy) -> Callable[..., jax.Array]:
    """Returns a compiled function of a state and a key: the mean return of episodes."""
    env, params = make_env(goal)

    def play(state: Any, key: jax.Array) -> jax.Array:
        reset_key, key = jax.random.split(key)
        first = env.reset(reset_key, params)

        def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            observation, env_state, is_over = carry
            act_key, step_key = jax.random.split(key)
            action = policy(state, observation, act_key)
            observation, env_state, reward, terminated, truncated, _ = env.step(
                step_key, env_state, action, params
            )
            earned = jnp.where(is_over, 0.0, jnp.squeeze(reward))
            return (observation, env_state, is_over | terminated | truncated), earned

        keys = jax.random.split(key, params.max_steps_in_episode)
        return jax.lax.scan(step, (*first, jnp.bool_(False)), keys)[1].sum()

    @jax.jit
    def mean_return(state: Any, key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, NUM_EPISODES)
        return jax.vmap(play, in_axes=(None, 0))(state, keys).mean()

    return mean_return


def make_env(goal: Goal) -> tuple[Any, Any]:
    """Returns gymnax's environment, and its parameters."""
    # Imported late: it makes arrays, after which the number of devices is settled.
    import gymnax

    return gymnax.make(goal.name)


def ours(goal: Goal) -> Trained:
    """Returns our PPO: an iteration per call."""
    trainer = build_trainer(quiet_config(goal.config, {}), None)
    loop, role = trainer.compiled_loop, trainer.roles[0]
    loop.compile(1)

    def init(seed: int) -> Any:
        trainer = build_trainer(quiet_config(goal.config, {"seed": seed}), None)
        return trainer.compiled_loop.initial_state()

    def policy(state: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        agent: Any = role.agent
        params = take(state.learners[role.name], 0).params
        batch = observation[None]
        _, distribution, _ = agent.forward(params, agent.initial_hidden(1), batch)
        return distribution.sample(key)[0]

    return Trained(
        init, lambda state: loop.run(state, 1)[0], trainer.env_steps_per_iteration, policy
    )


class FiveParts:
    """An environment of gymnax 1.0 as rejax expects it: one `done` for both ways in which an episode ends."""

    def __init__(self, env: Any):
        self._env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # Asked for while a copy is made, which has nothing yet.
            raise AttributeError(name)
        return getattr(self._env, name)

    def step(self, *arguments: Any) -> tuple[Any, ...]:
        """Plays a step."""
        observation, state, reward, terminated, truncated, info = self._env.step(*arguments)
        return observation, state, reward, terminated | truncated, info


def rejax(goal: Goal) -> Trained:
    """Returns rejax's PPO: as many iterations per call as come to 2000 steps.

    Raises:
        MissingLibraryError: if it is not installed.
    """
    try:
        from rejax import get_algo
    except ImportError as e:
        raise MissingLibraryError('install it by pip install -e ".[benchmark]"') from e
    env, params = make_env(goal)
    algorithm = get_algo("ppo").create(env=FiveParts(env), env_params=params, **goal.rejax)
    per_iteration = goal.rejax["num_envs"] * goal.rejax["num_steps"]
    times = max(1, 2000 // per_iteration)

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state: Any) -> Any:
        return jax.lax.fori_loop(0, times, lambda _, each: algorithm.train_iteration(each), state)

    init = jax.jit(algorithm.init_state)

    def policy(state: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        return algorithm.make_act(state)(observation, key)

    return Trained(lambda seed: init(jax.random.key(seed)), train, times * per_iteration, policy)
