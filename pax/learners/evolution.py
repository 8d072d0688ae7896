"""Evolution across trials: candidates are judged by what they earn, not by how."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax
from flax import struct

from pax.agents.agent import Agent
from pax.agents.standardise import standardise
from pax.agents.traced import is_on
from pax.checks import (
    COUNT,
    NOT_NEGATIVE,
    NUMBER,
    POSITIVE,
    Limit,
    check_instance,
    check_kind,
    check_limits,
    check_mapping,
    check_number,
)
from pax.errors import ConfigError, nearest
from pax.learners.learner import Experience, Learner
from pax.types import Metrics, PyTree, TrainingState

FITNESS_SHAPINGS = ("default", "centered_rank", "z_score", "none")
INITS = ("network", "zeros")
NO_CLIP = 1e10
"""A bound that no parameter reaches."""
OPTIMIZERS = {"adam": optax.adam, "sgd": optax.sgd}


@struct.dataclass
class EvolutionState:
    """What evolution knows: the strategy's whole distribution, and the best candidate that it ever had."""

    strategy: PyTree
    best_params: PyTree
    best_fitness: jax.Array
    """Mean reward per step, before shaping."""


@dataclasses.dataclass
class Evolution(Learner):
    """Any strategy of evosax, maximising the mean reward per step of whole trials.

    A candidate's fitness is its mean reward per step over episodes, steps, opponents, environments and
    seats. All candidates of a generation meet the same opponents with the same random numbers.

    Raises:
        ConfigError: if there is no such strategy or option, or the strategy cannot use it.
    """

    agent: Agent
    strategy: str = "Open_ES"
    """Name of an evosax strategy."""
    popsize: int = 128
    """Candidates per generation."""
    sigma: float = 0.04
    """Standard deviation of the first population."""
    sigma_decay: float = 1.0
    """Factor per generation, down to `sigma_limit`, in strategies that do not adapt sigma themselves."""
    sigma_limit: float = 0.01
    """Where `sigma_decay` ends."""
    optimizer: str = "adam"
    """`adam` or `sgd`, in strategies that follow an estimated gradient, or `default` for their own, with
    their own learning rate."""
    learning_rate: float = 0.1
    """Initial learning rate of the optimiser."""
    learning_rate_decay: float = 1.0
    """Factor per generation, down to `learning_rate_limit`."""
    learning_rate_limit: float = 0.001
    """Where `learning_rate_decay` ends."""
    fitness_shaping: str = "z_score"
    """`centered_rank`, `z_score`, `none`, or `default` for the strategy's own."""
    weight_decay: float = 0.0
    """Fitness taken off per unit of a candidate's squared norm."""
    mean_removal: bool = False
    """Whether the population's mean is taken off the shaped fitness."""
    init_mean: str = "network"
    """The first mean: the network's own initial parameters, or `zeros`."""
    clip_min: float = -NO_CLIP
    """The least that a parameter of a policy may be."""
    clip_max: float = NO_CLIP
    """The most that a parameter of a policy may be."""
    top_k: int = 5
    """How many of the best `fitness/top_k` averages."""
    report_members: bool = False
    """Whether the fitness of each of these is reported too, as `fitness/top_1` and so on, and
    `fitness/best_so_far`, the highest of all generations, which may have met weaker opponents."""
    params: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Parameters of the strategy itself, by their names in evosax."""
    only: str = ""
    """Which parameters Open_ES evolves: those whose path in the network holds this, such as `torso`, the
    first layers. The others stay as they start: the fewer evolve, the fewer candidates it takes."""
    initial: TrainingState | None = None
    """Where to start, instead of `init_mean`."""

    limits: ClassVar = {
        "popsize": COUNT,
        "sigma": POSITIVE,
        "sigma_decay": Limit(0, 1, is_open=True),
        "sigma_limit": NOT_NEGATIVE,
        "learning_rate": NOT_NEGATIVE,
        "learning_rate_decay": Limit(0, 1, is_open=True),
        "learning_rate_limit": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
        "clip_min": NUMBER,
        "clip_max": NUMBER,
        "top_k": COUNT,
    }

    def __post_init__(self) -> None:
        # All that it asks of an agent is fresh parameters.
        if isinstance(self.agent, type) or not hasattr(self.agent, "init"):
            check_instance(
                "the agent of Evolution", self.agent, Agent, "an agent, such as Shaper.for_env(env)"
            )
        check_limits(self, "evolution")
        check_kind("mean_removal", self.mean_removal, False, "evolution")
        check_kind("report_members", self.report_members, False, "evolution")
        known = strategies()
        for field, value, choices in (
            ("strategy", self.strategy, known),
            ("fitness_shaping", self.fitness_shaping, FITNESS_SHAPINGS),
            ("optimizer", self.optimizer, (*OPTIMIZERS, "default")),
            ("init_mean", self.init_mean, INITS),
        ):
            if not isinstance(value, str) or value not in choices:
                raise ConfigError(f"{field} is {value!r} in evolution: {nearest(value, choices)}")
        if self.popsize == 1:
            raise ConfigError(
                "popsize is 1 in evolution, which compares candidates, so that nothing would be learned: "
                "give at least 2"
            )
        if not 1 <= self.top_k <= self.popsize:
            raise ConfigError(
                f"top_k is {self.top_k} in evolution: give 1 to the popsize, {self.popsize}"
            )
        if self.clip_min >= self.clip_max:
            raise ConfigError(
                f"clip_min is {self.clip_min:g} and clip_max {self.clip_max:g} in evolution: give a clip_min "
                "below clip_max"
            )
        self.num_candidates = self.popsize
        self._change: Callable[[PyTree], PyTree] = lambda mean: mean
        self._learning_rate = _decay(
            self.learning_rate, self.learning_rate_decay, self.learning_rate_limit
        )
        self._sigma = _decay(self.sigma, self.sigma_decay, self.sigma_limit)
        self._strategy = self._make_strategy(known[self.strategy])
        self._strategy_params = self._make_strategy_params()
        if not self._has_mean:
            self.why_no_average = (
                f"{self.strategy} has a population without a mean, of which the best is deployed"
            )
        if self.only:
            self._check_only()

    @classmethod
    def subsections(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        return {"params": default_strategy_params(settings["strategy"])}

    def init(self, key: jax.Array) -> EvolutionState:
        """Returns the first distribution, around the network's own initial parameters or zeros."""
        mean_key, init_key, spread_key = jax.random.split(key, 3)
        mean = (self.initial or self.agent.init(mean_key)).params
        if self.initial is None and self.init_mean == "zeros":
            mean = jax.tree.map(jnp.zeros_like, mean)
        mean = self._change(mean)
        if self._has_mean:
            state = self._strategy.init(init_key, mean, self._strategy_params)
        else:
            flat, unravel = jax.flatten_util.ravel_pytree(mean)
            spread = jax.random.normal(spread_key, (self.popsize, flat.size))
            population = jax.vmap(unravel)(flat + self.sigma * spread)
            # No candidate was judged yet: the first one is better than none.
            unknown = jnp.full(self.popsize, jnp.inf)
            state = self._strategy.init(init_key, population, unknown, self._strategy_params)
            state = state.replace(fitness=unknown)
        state = EvolutionState(state, mean, jnp.float32(-jnp.inf))
        # Python numbers in the strategy's state would make it another type after the first iteration.
        return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)

    def starting_with(self, change: Callable[[PyTree], PyTree]) -> Learner:
        learner = copy.copy(self)
        learner._change = change
        return learner

    def propose(
        self, state: EvolutionState, key: jax.Array
    ) -> tuple[TrainingState, EvolutionState]:
        population, strategy = self._strategy.ask(key, state.strategy, self._strategy_params)
        if self.only:
            # Where candidates are as the mean, strategies leave it as it is.
            mean = self._strategy.get_mean(state.strategy)
            population = jax.tree_util.tree_map_with_path(self._if_evolved, population, mean)
        candidates = self._as_state(population, (self.popsize,))
        return candidates, dataclasses.replace(state, strategy=strategy)

    def update(
        self, state: EvolutionState, experience: Experience
    ) -> tuple[EvolutionState, Metrics]:
        candidates = experience.line_up.states[experience.role]
        fitness = experience.trial.rewards[experience.role].mean(axis=1)
        # evosax minimises.
        strategy, _ = self._strategy.tell(
            experience.key, candidates.params, -fitness, state.strategy, self._strategy_params
        )
        winner = fitness.argmax()
        improved = fitness[winner] > state.best_fitness
        best = jax.tree.map(
            lambda new, old: jnp.where(improved, new[winner], old),
            (candidates.params, fitness),
            (state.best_params, state.best_fitness),
        )
        metrics = {
            "fitness/mean": fitness.mean(),
            "fitness/best": fitness[winner],
            "fitness/std": fitness.std(),
            "fitness/top_k": jax.lax.top_k(fitness, self.top_k)[0].mean(),
        }
        if self.report_members:
            best_fitness = jax.lax.top_k(fitness, self.top_k)[0]
            metrics |= {f"fitness/top_{i + 1}": best_fitness[i] for i in range(self.top_k)}
            metrics["fitness/best_so_far"] = best[1]
        if hasattr(strategy, "std"):
            metrics["sigma"] = jnp.mean(strategy.std)
        if self._has_optimizer:
            metrics["learning_rate"] = self._learning_rate(strategy.generation_counter - 1)
        return EvolutionState(strategy, *best), metrics

    def deploy(self, state: EvolutionState) -> TrainingState:
        """Returns the mean of the distribution, or the best member where a strategy has none."""
        if not self._has_mean:
            return self._as_state(state.best_params)
        return self._as_state(self._strategy.get_mean(state.strategy))

    def exports(self, state: EvolutionState) -> dict[str, TrainingState]:
        return {"": self.deploy(state), "_best": self._as_state(state.best_params)}

    def _if_evolved(self, path: Any, leaf: jax.Array, mean: jax.Array) -> jax.Array:
        """Returns the leaf of all candidates at `path`: as drawn, or the mean's."""
        return (
            leaf if self.only in jax.tree_util.keystr(path) else jnp.broadcast_to(mean, leaf.shape)
        )

    def _as_state(self, params: PyTree, batch: tuple[int, ...] = ()) -> TrainingState:
        if self.clip_min > -NO_CLIP or self.clip_max < NO_CLIP:
            params = jax.tree.map(lambda leaf: leaf.clip(self.clip_min, self.clip_max), params)
        return TrainingState(params=params, opt_state=(), updates=jnp.zeros(batch, jnp.int32))

    def _check_only(self) -> None:
        params = jax.eval_shape(self.agent.init, jax.random.key(0)).params
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
        if not any(self.only in path for path in paths):
            raise ConfigError(
                f"only is {self.only!r} in evolution, and no parameter of {type(self.agent).__name__} has "
                f"that in its path: there are {', '.join(paths)}"
            )
        if self.strategy != "Open_ES":
            raise ConfigError(
                f"only is {self.only!r} in evolution, which keeps the others at their mean, and "
                f"{self.strategy} may move it: use Open_ES, or leave only empty"
            )

    def _make_strategy(self, cls: Any) -> Any:
        accepted = inspect.signature(cls).parameters
        arguments: dict[str, Any] = {}
        self._has_mean = hasattr(cls, "get_mean")
        self._has_optimizer = "optimizer" in accepted and self.optimizer != "default"
        if self._has_optimizer:
            arguments["optimizer"] = OPTIMIZERS[self.optimizer](self._learning_rate)
        if "std_schedule" in accepted:
            arguments["std_schedule"] = self._sigma
        arguments["fitness_shaping_fn"] = self._make_fitness_shaping(
            accepted["fitness_shaping_fn"].default
        )
        if "sampling_fn" in accepted:
            arguments["sampling_fn"] = lambda key: self.agent.init(key).params
        solution = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(self.agent.init, jax.random.key(0)).params,
        )

        def of_size(popsize: int) -> Any:
            """Returns the strategy, or why it cannot have so many candidates."""
            try:
                strategy = cls(population_size=popsize, solution=solution, **arguments)
            except AssertionError as e:
                return str(e).rstrip(".")
            proposed = _num_proposed(strategy, solution)
            return strategy if proposed == popsize else f"it proposes {proposed} candidates"

        made = of_size(self.popsize)
        if isinstance(made, str):
            larger = range(self.popsize + 1, self.popsize + 5)
            fits = next((size for size in larger if not isinstance(of_size(size), str)), "another")
            raise ConfigError(
                f"popsize is {self.popsize} in evolution, which {self.strategy} cannot use ({made}): use "
                f"{fits}, say"
            )
        return made

    def _make_fitness_shaping(self, default: Any) -> Any:
        from evosax.core import fitness_shaping

        weighs = default is fitness_shaping.weights_fitness_shaping_fn
        if weighs and (self.fitness_shaping != "default" or self.mean_removal):
            raise ConfigError(
                f"fitness_shaping is {self.fitness_shaping!r} and mean_removal {self.mean_removal} in "
                f"evolution, and {self.strategy} weighs candidates by their rank: use 'default' and False"
            )
        shaping = {
            "default": default,
            "centered_rank": fitness_shaping.centered_rank_fitness_shaping_fn,
            "z_score": _z_score,
            "none": fitness_shaping.identity_fitness_shaping_fn,
        }[self.fitness_shaping]
        if self.mean_removal:
            inner = shaping

            def shaping(*args: Any) -> jax.Array:
                shaped = inner(*args)
                return shaped - shaped.mean()

        if is_on(self.weight_decay):
            shaping = fitness_shaping.add_weight_decay(shaping, self.weight_decay)
        return shaping

    def _make_strategy_params(self) -> Any:
        params = self._strategy.default_params
        numbers = strategy_numbers(params)
        check_mapping("params", self.params, f"a dict of parameters of {self.strategy}")
        for name, value in self.params.items():
            if name not in numbers:
                raise ConfigError(
                    f"evolution.params.{name} is no parameter of {self.strategy}: "
                    f"{nearest(name, numbers) if numbers else 'it has none'}"
                )
            check_number(f"evolution.params.{name}", value, NUMBER, self.strategy)
        sigma = {"std_init": self.sigma} if "std_init" in numbers else {}
        return params.replace(**{**sigma, **self.params})


def _z_score(population: PyTree, fitness: jax.Array, state: PyTree, params: PyTree) -> jax.Array:
    """Standardises the fitness; evosax adds 1e-8 to the variance, whatever the size of the fitness."""
    del population, state, params
    return standardise(fitness, jnp.abs(fitness).mean())


def _num_proposed(strategy: Any, solution: PyTree) -> int:
    """Returns how many candidates a strategy really proposes, found by tracing."""
    params = strategy.default_params

    def ask(key: jax.Array) -> PyTree:
        start = solution
        if not hasattr(strategy, "get_mean"):
            size = strategy.population_size
            start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), solution)
            return strategy.ask(key, strategy.init(key, start, jnp.zeros(size), params), params)[0]
        return strategy.ask(key, strategy.init(key, start, params), params)[0]

    return len(jax.tree.leaves(jax.eval_shape(ask, jax.random.key(0)))[0])


def strategies() -> dict[str, Any]:
    """Returns the strategies of evosax that can be used, by name."""
    # Imported late: it brings matplotlib, which nothing else needs.
    from evosax import algorithms

    return {name: cls for name, cls in algorithms.algorithms.items() if serves(cls)}


def default_strategy_params(strategy: str) -> dict[str, float]:
    """Returns what `Evolution.params` can set, and its defaults, but for the initial sigma.

    Raises:
        ConfigError: if there is no such strategy.
    """
    known = strategies()
    if strategy not in known:
        raise ConfigError(f"strategy is {strategy!r} in evolution: {nearest(strategy, known)}")
    # A population and a solution of any size: some defaults depend on them, and are left out.
    samples = "sampling_fn" in inspect.signature(known[strategy]).parameters
    more = {"sampling_fn": lambda key: jnp.zeros(8)} if samples else {}
    small, large = (
        strategy_numbers(
            known[strategy](population_size=p, solution=jnp.zeros(n), **more).default_params
        )
        for p, n in ((8, 8), (16, 12))
    )
    return {
        name: value for name, value in small.items() if name != "std_init" and large[name] == value
    }


def serves(strategy: Any) -> bool:
    """Returns whether a strategy of evosax has the interface of all of them: one mean, or one population."""
    expected = "mean" if hasattr(strategy, "get_mean") else "population"
    return list(inspect.signature(strategy.init).parameters)[2] == expected


def strategy_numbers(params: Any) -> dict[str, float]:
    """Returns the parameters of a strategy that are single numbers, by name."""
    return {
        name: float(value)
        for name, value in vars(params).items()
        if not isinstance(value, Mapping) and jnp.ndim(value) == 0
    }


def _decay(start: float, factor: float, limit: float) -> optax.Schedule:
    """Returns `start * factor ** generation`, never beyond `limit`; constant if the factor is 1."""
    if factor == 1.0:
        return optax.constant_schedule(start)
    return optax.exponential_decay(start, 1, factor, end_value=limit)
