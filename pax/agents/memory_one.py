"""Memory-one strategies of two-player matrix games: any five probabilities, and zero-determinant ones."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from pax.agents.agent import Agent
from pax.agents.fixed import Reactive
from pax.checks import NUMBER, Limit, check_choice
from pax.envs.environment import Environment
from pax.envs.infinite_matrix_game import InfiniteMatrixGame
from pax.envs.iterated_matrix_game import IteratedMatrixGame
from pax.envs.matrix_game_statistics import NUM_STATES
from pax.envs.spaces import Box
from pax.errors import ConfigError
from pax.types import MemoryState, PyTree, TrainingState

CERTAIN = 20.0
"""The logit that stands for certainty: a probability of 1 - 2e-9."""


@dataclasses.dataclass
class MemoryOne(Reactive):
    """Cooperates with a probability that depends on the last round alone.

    In an iterated game it draws actions, and in the infinite game it plays the logits of its probabilities,
    with those of 0 and 1 clipped to -20 and 20.

    Raises:
        ConfigError: if these are not five probabilities, or the game is no two-player matrix game.
    """

    probabilities: tuple[float, ...] = (1.0, 0.0, 1.0, 0.0, 1.0)
    """P(C | CC), P(C | CD), P(C | DC), P(C | DD), P(C | START), own action first: tit-for-tat by default."""

    def __post_init__(self) -> None:
        if self._plays_policies:
            Agent.__post_init__(self)
        else:
            super().__post_init__()
        given = tuple(self.probabilities)
        numbers = all(isinstance(p, int | float) and 0.0 <= p <= 1.0 for p in given)
        if len(given) != NUM_STATES or not numbers:
            raise ConfigError(
                f"probabilities is {given} in {type(self).__name__}: give five numbers from 0 to 1, of C "
                "after CC, CD, DC, DD and at the start"
            )
        self.probabilities = tuple(float(p) for p in given)

    @property
    def _plays_policies(self) -> bool:
        return self.action_space == Box((NUM_STATES,))

    @property
    def cooperation(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.probabilities

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        if not self._plays_policies:
            return super().act(state, observations, memory, drawn)
        p = np.clip(self.probabilities, 1e-30, 1.0)
        with np.errstate(divide="ignore"):
            logits = np.clip(np.log(p) - np.log1p(-p), -CERTAIN, CERTAIN)
        batch = observations.shape[:-1]
        return jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (*batch, NUM_STATES)), memory


@dataclasses.dataclass
class RandomMemoryOne(Reactive):
    """Plays a memory-one strategy that is drawn when it starts afresh.

    Its five probabilities are its parameters, `[5]`, in the order of `MemoryOne.probabilities`.
    """

    concentration: float = 1.0
    """c of Beta(c, c), from which each probability is drawn: 1 is uniform, near 0 nearly deterministic."""

    limits: ClassVar = {"concentration": Limit(0.01, 100)}

    def init(self, key: jax.Array) -> TrainingState:
        """Draws the strategy."""
        c = self.concentration
        if c == 1.0:
            probabilities = jax.random.uniform(key, (NUM_STATES,))
        else:
            probabilities = jax.random.beta(key, c, c, (NUM_STATES,))
        return dataclasses.replace(super().init(key), params=probabilities)

    def cooperation_after(self, observations: jax.Array, state: TrainingState) -> jax.Array:
        return state.params[observations]


@dataclasses.dataclass
class WinStayLoseShift(MemoryOne):
    """Starts with C, and changes its action whenever the other defected (Pavlov)."""

    probabilities: tuple[float, ...] = (1.0, 0.0, 0.0, 1.0, 1.0)


@dataclasses.dataclass
class ZeroDeterminant(MemoryOne):
    """Enforces a linear relation between the values of both players, whatever the other one does.

    With S and S' the payoffs of this player and of the other per round, and l and l' those of both in the
    baseline, it enforces S - l = chi (S' - l') (Press and Dyson 2012, doi.org/10.1073/pnas.1206569109; with
    discounting, Hilbe, Traulsen and Sigmund 2015, doi.org/10.1016/j.geb.2015.05.005). The baseline
    "punishment" (DD) with chi > 1 extorts: it gains chi times as much over mutual defection as the other.
    "reward" (CC) is generous: it loses chi times as much against mutual cooperation.

    The relation is exact in the infinite game. Iterated games are treated as infinite and undiscounted, which
    `num_inner_steps` rounds approximate. The payoffs are those of the config, also where tasks draw others.

    Raises:
        ConfigError: if the game is no two-player matrix game, or has no such strategy.
    """

    chi: float = 3.0
    """Ratio of its own gain to the gain of the other player."""
    baseline: str = "punishment"
    """Payoff that gains are measured from: `punishment` (DD) or `reward` (CC)."""
    strength: float = 0.5
    """How strongly it reacts, as a share of the most that probabilities allow."""

    limits: ClassVar = {"chi": NUMBER, "strength": Limit(0, 1, is_open=True)}
    """Where phi lies between the least (0, excluded) and the most (1) that probabilities allow."""
    probabilities: tuple[float, ...] = dataclasses.field(default=(0.5,) * NUM_STATES, init=False)
    """Computed from these settings and the payoffs: see `for_env`."""

    @classmethod
    def for_env(
        cls, env: Environment, seat: int = 0, env_params: Any = None, **hyperparameters: Any
    ) -> Agent:
        if not isinstance(env, InfiniteMatrixGame | IteratedMatrixGame):
            raise ConfigError(
                f"{cls.__name__} plays two-player matrix games only, and this is {type(env).__name__}: "
                "choose another agent for this seat"
            )
        env_params = env.default_params if env_params is None else env_params
        payoff = np.asarray(env_params.payoff_matrix, np.float64)
        gamma = float(getattr(env_params, "gamma", 1.0))
        agent = super().for_env(env, seat, **hyperparameters)
        assert isinstance(agent, ZeroDeterminant)
        if seat:
            # In its own frame: CD and DC are swapped, as are the two columns.
            payoff = payoff[[0, 2, 1, 3], ::-1]
        agent.probabilities = agent._enforce(payoff, gamma)
        return agent

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("baseline", self.baseline, ("punishment", "reward"), type(self).__name__)

    def _enforce(self, payoff: np.ndarray, gamma: float) -> tuple[float, ...]:
        """Returns the five probabilities, given payoffs `[4, 2]` in the player's own frame.

        With u = S - l - chi (S' - l') per outcome, gamma p + (1 - gamma) p_start - [own action was C] = phi u
        in every outcome makes the discounted mean of u vanish. phi is free as far as p stays in [0, 1].
        """
        start = float(self.baseline == "reward")
        own, other = (payoff - payoff[0 if start else 3]).T
        tie = own - self.chi * other
        constant = np.array([1.0, 1.0, 0.0, 0.0]) - (1.0 - gamma) * start
        # Bounds on phi from 0 <= constant + phi tie <= gamma, up to rounding.
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = np.stack([-constant, gamma - constant]) / tie
        fixed = np.abs(tie) < 1e-9
        least, most = bounds.min(axis=0)[~fixed], bounds.max(axis=0)[~fixed]
        low, high = max(least.max(initial=0.0), 0.0), most.min(initial=np.inf)
        at_rest = (constant >= -1e-9) & (constant <= gamma + 1e-9)
        if not at_rest[fixed].all() or low > high + 1e-12 or not 0.0 < high < np.inf:
            raise ConfigError(
                f"chi is {self.chi}, and no ZeroDeterminant strategy with baseline {self.baseline!r} ties "
                f"these payoffs that way at gamma {gamma:g}: give another chi (above 1), baseline or gamma"
            )
        phi = low + self.strength * (high - low)
        return (*np.clip((constant + phi * tie) / gamma, 0.0, 1.0).tolist(), start)
