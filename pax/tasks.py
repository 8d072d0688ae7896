"""What is drawn per opponent and trial: samplers, and how they compose."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.checks import (
    COUNT,
    NUMBER,
    SHARE,
    WHOLE,
    check_items,
    check_kind,
    check_name,
    check_number,
    short,
)
from pax.envs.environment import Environment
from pax.errors import ConfigError
from pax.interface import check_sampler
from pax.roles import Role
from pax.types import PyTree, Task


@struct.dataclass
class Draw:
    """What a sampler may draw from."""

    key: jax.Array
    """Its own key for this opponent and trial."""
    generation_key: jax.Array
    """Its own key for this iteration, the same for all opponents."""
    step: jax.Array
    """Iterations done before this one, int32."""


Sampler = Callable[[Draw, Task], Task]
"""`sampler(draw, task)` sets one aspect of a trial: a pure function that returns a changed task."""


SampleTask = Callable[[jax.Array, jax.Array, jax.Array], Task]
"""`sample_task(key, generation_key, step)`, for one opponent."""


def compose(env_params: PyTree, samplers: Sequence[Sampler] = ()) -> SampleTask:
    """Makes one `sample_task(key, generation_key, step)` of `env_params`, then the samplers in order.

    Args:
        env_params: the game's parameters before any sampler.
        samplers: each gets keys of its own, and the task that the one before it has returned.

    Returns:
        A pure function that draws the task of one set of opponents in iteration `step`, int32.
    """

    def sample_task(key: jax.Array, generation_key: jax.Array, step: jax.Array) -> Task:
        task = Task(env_params=env_params)
        for index, sampler in enumerate(samplers):
            own, shared = (jax.random.fold_in(each, index) for each in (key, generation_key))
            task = sampler(Draw(own, shared, step), task)
        return task

    return sample_task


@dataclasses.dataclass(frozen=True)
class SizedSampler:
    """A sampler that was made for certain sizes of a run."""

    sampler: Sampler
    kind: str
    """The name in `TASKS` of what made it."""
    sizes: Mapping[str, int]
    """By the name of a setting of the run, what it was made for."""

    def __call__(self, draw: Draw, task: Task) -> Task:
        """Sets its aspect of a trial."""
        return self.sampler(draw, task)


def check_are_samplers(name: str, samplers: Any) -> None:
    """Raises ConfigError unless `samplers`, the setting `name`, is a sequence of functions."""
    check_items(name, samplers, "a list of samplers of pax.tasks")
    for index, sampler in enumerate(samplers):
        where = f"{name}[{index}]"
        for kind, make in TASKS.items():
            if sampler is make:
                arguments = ", ".join(
                    parameter.name
                    for parameter in inspect.signature(make).parameters.values()
                    if parameter.default is parameter.empty
                )
                raise ConfigError(
                    f"{where} is pax.tasks.{kind} itself, which makes samplers: call it, as in "
                    f"{kind}({arguments})"
                )
        if not callable(sampler):
            raise ConfigError(
                f"{where} is {short(sampler)}: give a function, such as "
                "pax.tasks.hard_stop(num_outer_steps)"
            )


def check_samplers(
    samplers: Mapping[str, Sampler], env_params: PyTree, env: Environment, **sizes: int
) -> None:
    """Checks by tracing what samplers return, one after the other.

    Args:
        samplers: in their order, by the names that messages call them.
        env_params: what is played for before they draw anything.
        env: the game.
        **sizes: `num_envs` and `num_outer_steps` of the run.

    Raises:
        ConfigError: in one sentence, if one returns no task of this game and these sizes.
    """
    sizes = {**sizes, "num_players": env.num_players}
    for name, sampler in samplers.items():
        if isinstance(sampler, SizedSampler):
            for size, made_for in sampler.sizes.items():
                _check(
                    made_for == sizes[size],
                    f"{name} is {sampler.kind} for {size}={made_for}, and this run has {sizes[size]}",
                    f"make it with {size}={sizes[size]}",
                )

    def draw(key: jax.Array, step: jax.Array) -> None:
        task = Task(env_params=env_params)
        for name, sampler in samplers.items():
            task = check_sampler(
                name,
                sampler,
                Draw(key, key, step),
                task,
                num_players=env.num_players,
                num_envs=sizes["num_envs"],
            )

    jax.eval_shape(draw, jax.eval_shape(lambda: jax.random.key(0)), jnp.int32(0))


def check_task(sample_task: SampleTask, roles: Sequence[Role], env: Environment) -> None:
    """Raises ConfigError if a task is about something that the roles do not have."""
    key = jax.random.key(0)
    task = jax.eval_shape(sample_task, key, key, jnp.int32(0))
    by_name = {role.name: role for role in roles}
    for name in [*task.hyperparameters, *task.blind]:
        _check(name in by_name, f"a task is about role {name!r}", f"there is {', '.join(by_name)}")
    for name, drawn in task.hyperparameters.items():
        role = by_name[name]
        _check(
            role.learns_in_trial,
            f"a task draws the {' and '.join(drawn)} of role {name}, which does not learn in the trial",
            "name one that does",
        )
        optimiser = jax.eval_shape(role.agent.init, key).opt_state
        known = getattr(optimiser, "hyperparams", {})
        for setting in drawn:
            _check(
                setting in known,
                f"a task draws the {setting} of role {name}",
                f"its optimiser has {', '.join(known) or 'nothing to draw'}",
            )
    for role in roles:
        _check(
            bool(role.seats) or task.self_play is not None,
            f"role {role.name} plays only in trials of self-play, and no task declares any",
            "add mixed_pool",
        )
    _check(
        task.self_play is None or any(role.self_play_seats for role in roles),
        "a task declares self-play, and no role has self_play_seats",
        "give one the seats that it takes over",
    )
    _check(
        task.told is None
        or any(role.agent.learns and role.agent.hidden_size_in_memory for role in roles),
        "a task tells agents something by their memory, and none that learns has one",
        "give one a memory, such as PPO_memory, or leave told False",
    )
    if task.seats is not None:
        _check(
            task.seats.shape == (env.num_players,),
            f"a task shuffles {task.seats.size} seats",
            f"this game has {env.num_players}",
        )
        _check(
            len({env.spaces(seat) for seat in range(env.num_players)}) == 1,
            "a task shuffles seats whose players observe or act differently",
            "use a game in which all are alike",
        )


def _check(ok: bool, what: str, remedy: str) -> None:
    if not ok:
        raise ConfigError(f"{what}: {remedy}")


def hard_stop(num_outer_steps: int, at: int = 0) -> Sampler:
    """Agents that learn within the trial stop at an episode: drawn from 1..num_outer_steps, or `at`.

    Args:
        num_outer_steps: episodes of a trial.
        at: the episode, 0 to draw it.

    Raises:
        ConfigError: if there is no such episode.
    """
    check_number("num_outer_steps", num_outer_steps, COUNT)
    check_number("at", at, WHOLE)
    _check(
        0 <= at <= num_outer_steps, f"at is {at}", f"give an episode up to {num_outer_steps}, or 0"
    )

    def sampler(draw: Draw, task: Task) -> Task:
        stop = jax.random.randint(draw.key, (), 1, num_outer_steps + 1) if not at else jnp.int32(at)
        return dataclasses.replace(task, stop=stop)

    return SizedSampler(sampler, "hard_stop", {"num_outer_steps": num_outer_steps})


def mixed_learning_rate(role: str, low: float = 1e-5, high: float = 1.0) -> Sampler:
    """Gives every opponent a learning rate of its own, log-uniform in [low, high].

    Args:
        role: whose learning rate it is.
        low: the least.
        high: the greatest.

    Raises:
        ConfigError: unless 0 < low <= high < infinity.
    """
    check_name("the role of a task", role)
    check_number("low", low, NUMBER)
    check_number("high", high, NUMBER)
    _check(
        0 < low <= high < math.inf, f"low is {low} and high is {high}", "give 0 < low <= high < inf"
    )

    def sampler(draw: Draw, task: Task) -> Task:
        exponent = jax.random.uniform(draw.key, (), minval=jnp.log(low), maxval=jnp.log(high))
        drawn = {**task.hyperparameters.get(role, {}), "learning_rate": jnp.exp(exponent)}
        return dataclasses.replace(task, hyperparameters={**task.hyperparameters, role: drawn})

    return sampler


def mixed_payoff(high: int = 10, per_generation: bool = False) -> Sampler:
    """Gives every opponent a game of its own: payoffs are minus integers from 0 to `high` - 1.

    Args:
        high: how many integers there are to draw from.
        per_generation: whether all opponents of an iteration play the same game.

    Raises:
        ConfigError: if the game has no `payoff_matrix` `[4, 2]`, once a trainer is made.
    """
    check_number("high", high, COUNT)
    check_kind("per_generation", per_generation, False)

    def sampler(draw: Draw, task: Task) -> Task:
        key = draw.generation_key if per_generation else draw.key
        costs = jax.random.randint(key, (4, 2), 0, high)
        return _with_payoff(task, -costs.astype(jnp.float32))

    return sampler


def mixed_ipd_payoff(scale: float = 2.0) -> Sampler:
    """Gives every opponent a prisoner's dilemma of its own.

    The costs obey T < R < P < S and 2 R < T + S: exploiting is best, and taking turns at it is worse than
    cooperating. T, R - T and T + S - 2 R are uniform and up to `scale`, and P is uniform between R and S,
    so that nothing has to be rejected.

    Args:
        scale: unit of the costs.

    Raises:
        ConfigError: if it is not positive, or, once a trainer is made, the game has no `payoff_matrix`
            `[4, 2]`.
    """
    check_number("scale", scale, NUMBER)
    _check(0 < scale < math.inf, f"scale is {scale}", "give a positive number")

    def sampler(draw: Draw, task: Task) -> Task:
        lowest, first, second, share = jax.random.uniform(draw.key, (4,), minval=0.05, maxval=0.95)
        t = scale * lowest
        r = t + scale * first
        s = 2 * r - t + scale * second
        p = r + share * (s - r)
        payoff = -jnp.array([[r, r], [s, t], [t, s], [p, p]])
        return _with_payoff(task, payoff)

    return sampler


def noisy_opponent_payoff(noise: float = 0.5) -> Sampler:
    """Adds uniform noise in [-noise, noise] to player 2's payoffs, drawn for every opponent.

    Args:
        noise: the most that is added or taken off.

    Raises:
        ConfigError: if it is negative, or, once a trainer is made, the game has no `payoff_matrix`
            `[4, 2]`.
    """
    check_number("noise", noise, NUMBER)
    _check(0 <= noise < math.inf, f"noise is {noise}", "give a number of 0 or more")

    def sampler(draw: Draw, task: Task) -> Task:
        drawn = jax.random.uniform(draw.key, (4,), minval=-noise, maxval=noise)
        # Drawn in the opponent's own frame, where what player 1 calls CD is DC.
        return _with_payoff(task, _payoff_of(task).at[:, 1].add(drawn[jnp.array([0, 2, 1, 3])]))

    return sampler


def shuffled_seats(num_players: int) -> Sampler:
    """Seats the players anew in every trial.

    Args:
        num_players: how many seats there are.

    Raises:
        ConfigError: once a trainer is made, if the game has another number of players, or these differ in
            what they observe or do.
    """
    check_number("num_players", num_players, COUNT)

    def sampler(draw: Draw, task: Task) -> Task:
        return dataclasses.replace(task, seats=jax.random.permutation(draw.key, num_players))

    return SizedSampler(sampler, "shuffled_seats", {"num_players": num_players})


def annealed_self_play(start: float = 1.0, end: float = 0.0, horizon: int = 1000) -> Sampler:
    """Roles take over their `self_play_seats` with a probability that changes linearly over iterations.

    Args:
        start: the probability in the first iteration.
        end: the probability from iteration `horizon` on.
        horizon: iterations over which it changes.

    Raises:
        ConfigError: if one is no probability, or `horizon` is less than 1.
    """
    probability_at = _line(start, end, horizon)

    def sampler(draw: Draw, task: Task) -> Task:
        self_play = jax.random.bernoulli(draw.key, probability_at(draw.step))
        return dataclasses.replace(task, self_play=self_play)

    return sampler


def self_play_by_seat(
    num_players: int, start: float = 0.0, end: float = 1.0, horizon: int = 1000
) -> Sampler:
    """Roles take over each of their `self_play_seats` by a draw of its own, with a changing probability.

    So how many of the other seats a role plays is binomial. Whoever gives up a seat does not learn in that
    trial.

    Args:
        num_players: how many seats there are.
        start: the probability in the first iteration.
        end: the probability from iteration `horizon` on.
        horizon: iterations over which it changes linearly.

    Raises:
        ConfigError: if one is no probability, or `horizon` is less than 1; once a trainer is made, if the
            game has another number of players.
    """
    check_number("num_players", num_players, COUNT)
    probability_at = _line(start, end, horizon)

    def sampler(draw: Draw, task: Task) -> Task:
        taken = jax.random.bernoulli(draw.key, probability_at(draw.step), (num_players,))
        return dataclasses.replace(task, self_play=jnp.bool_(True), taken_over=taken)

    return SizedSampler(sampler, "self_play_by_seat", {"num_players": num_players})


def _line(start: float, end: float, horizon: int) -> Callable[[jax.Array], jax.Array]:
    """Checks a line from `start` to `end` over `horizon` iterations; returns the probability by iteration."""
    check_number("start", start, NUMBER)
    check_number("end", end, NUMBER)
    check_number("horizon", horizon, WHOLE)
    _check(0 <= start <= 1, f"start is {start}", "give a probability, 0 to 1")
    _check(0 <= end <= 1, f"end is {end}", "give a probability, 0 to 1")
    _check(horizon >= 1, f"horizon is {horizon}", "give at least 1 iteration")

    def probability_at(step: jax.Array) -> jax.Array:
        return start + (end - start) * jnp.minimum(step / horizon, 1.0)

    return probability_at


def mixed_pool(naive: float = 0.75, told: bool = False, after: int = 0) -> Sampler:
    """Roles take over their `self_play_seats` in a share of 1 - `naive` of the trials.

    With a role that is a `member_of` a pool, these trials are among its members, and the others against
    whoever sits there, such as a naive learner (Meulemans et al. 2025, arxiv.org/abs/2410.18636). Agents that
    are `told` find ones in their memory when a trial among members begins. There is none in the first `after`
    iterations.

    Args:
        naive: share of the trials against others, such as naive learners or strategies.
        told: whether agents are told which trials are among themselves.
        after: iterations before the first trials among themselves.

    Raises:
        ConfigError: if the share is not in [0, 1], or `after` is negative.
    """
    check_number("naive", naive, SHARE)
    check_kind("told", told, False)
    check_number("after", after, WHOLE)
    _check(after >= 0, f"after is {after}", "give 0 or more iterations")

    def sampler(draw: Draw, task: Task) -> Task:
        self_play = ~jax.random.bernoulli(draw.key, naive) & (draw.step >= after)
        message = self_play.astype(jnp.float32) if told else task.told
        return dataclasses.replace(task, self_play=self_play, told=message)

    return sampler


def blinded(role: str, num_envs: int, num_blind: int) -> Sampler:
    """Shows `role` only the first observation of an episode in `num_blind` environments of each opponent.

    Args:
        role: who does not see.
        num_envs: environments of the run.
        num_blind: in how many of them it does not see.

    Raises:
        ConfigError: if there are not so many.
    """
    check_name("the role of a task", role)
    check_number("num_envs", num_envs, COUNT)
    check_number("num_blind", num_blind, WHOLE)
    _check(0 <= num_blind <= num_envs, f"num_blind is {num_blind}", f"give 0 to {num_envs}")

    def sampler(draw: Draw, task: Task) -> Task:
        blind = jax.random.permutation(draw.key, num_envs) < num_blind
        return dataclasses.replace(task, blind={**task.blind, role: blind})

    return SizedSampler(sampler, "blinded", {"num_envs": num_envs})


def _payoff_of(task: Task) -> jax.Array:
    """Returns the payoff matrix of a game of two players with two actions, `[4, 2]`.

    Raises:
        ConfigError: if the game has none.
    """
    payoff = getattr(task.env_params, "payoff_matrix", None)
    _check(
        payoff is not None and jnp.shape(payoff) == (4, 2),
        "it draws payoffs, and this game has no payoff_matrix of 4 outcomes for 2 players",
        "play a matrix game of two players and two actions",
    )
    return jnp.asarray(payoff, jnp.float32)


def _with_payoff(task: Task, payoff: jax.Array) -> Task:
    _payoff_of(task)
    params = dataclasses.replace(task.env_params, payoff_matrix=payoff)
    return dataclasses.replace(task, env_params=params)


TASKS: dict[str, Callable[..., Sampler]] = {
    sampler.__name__: sampler
    for sampler in (
        hard_stop,
        mixed_learning_rate,
        mixed_payoff,
        mixed_ipd_payoff,
        noisy_opponent_payoff,
        shuffled_seats,
        annealed_self_play,
        self_play_by_seat,
        mixed_pool,
        blinded,
    )
}
"""What a config can ask for, by name."""
