"""Learners of the infinite matrix game that know its value and follow exact gradients.

They learn while they play: every step of the game is a joint policy, after which all players update theirs
simultaneously. The learned logits are the memory, so that each environment has a learner of its own.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.checks import COUNT, NOT_NEGATIVE, SHARE, check_choice
from pax.envs.environment import Environment
from pax.envs.infinite_matrix_game import InfiniteMatrixGame, slopes
from pax.envs.matrix_game_statistics import NUM_STATES
from pax.errors import ConfigError
from pax.types import MemoryState, PyTree, TrainingState

# Players observe probabilities in float32, from which larger logits cannot be recovered.
MAX_LOGIT = 16.0
LOLA_FORMS = ("stop_gradient", "taylor", "full")
# The phase, in the memory after the logits: no logits yet, start of an episode, or within one.
NEW, BEGINS, GOES_ON = 0.0, 1.0, 2.0


class Slopes(NamedTuple):
    """Gradients `[5]` of the own value (mine) and of the other player's (theirs)."""

    mine_by_own: jax.Array
    mine_by_other: jax.Array
    theirs_by_own: jax.Array
    theirs_by_other: jax.Array


@dataclasses.dataclass
class ExactLearner(Agent):
    """Moves its logits of P(C | CC, CD, DC, DD, START) by `learning_rate` times `direction` after each step.

    Values are sums of rewards, V = sum_t gamma^t r_t, not means, so that rates are those of the literature.
    Logits start from N(0, 1), drawn for every environment and trial; an agent of one trial keeps them from
    episode to episode.

    Raises:
        ConfigError: if the game is not `InfiniteMatrixGame`, or the rate is negative.
    """

    learning_rate: float = 1.0

    limits: ClassVar = {"learning_rate": NOT_NEGATIVE}

    hidden_size_in_memory = NUM_STATES + 1
    seat: int = dataclasses.field(default=0, init=False)
    env_params: Any = dataclasses.field(default=None, init=False)
    """Parameters of the game; no setting of the agent."""
    learns_within_episode = True

    @classmethod
    def for_env(
        cls, env: Environment, seat: int = 0, env_params: Any = None, **hyperparameters: Any
    ) -> Agent:
        if not isinstance(env, InfiniteMatrixGame):
            raise ConfigError(
                f"{cls.__name__} knows the value of the infinite matrix game only, and this is "
                f"{type(env).__name__}: choose another agent for this seat"
            )
        agent = super().for_env(env, seat, **hyperparameters)
        assert isinstance(agent, ExactLearner)
        agent.seat = seat
        agent.env_params = env.default_params if env_params is None else env_params
        return agent

    def slopes(self, own: jax.Array, other: jax.Array) -> Slopes:
        """Returns the gradients of both values with respect to the own and the other's logits `[5]`."""
        game = (jnp.asarray(self.env_params.payoff_matrix, jnp.float32), self.env_params.gamma)
        if self.seat == 0:
            _, by_own, by_other = slopes(own, other, *game)
            mine, theirs = 0, 1
        else:
            _, by_other, by_own = slopes(other, own, *game)
            mine, theirs = 1, 0
        return Slopes(by_own[mine], by_other[mine], by_own[theirs], by_other[theirs])

    def direction(self, own: jax.Array, other: jax.Array) -> jax.Array:
        """Returns the direction in which the logits `[5]` move, given those of the other player."""
        raise NotImplementedError

    def draw(self, key: jax.Array, batch: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, (*batch, NUM_STATES))

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state
        own, phase = memory.hidden[..., :NUM_STATES], memory.hidden[..., NUM_STATES:]
        seen = observations[..., NUM_STATES:]
        other = jnp.clip(jnp.log(seen) - jnp.log1p(-seen), -MAX_LOGIT, MAX_LOGIT)
        direction = jnp.vectorize(self.direction, signature="(n),(n)->(n)")(own, other)
        learned = own + self.learning_rate * direction
        own = jnp.where(phase == GOES_ON, learned, jnp.where(phase == NEW, drawn, own))
        hidden = jnp.concatenate([own, jnp.full_like(phase, GOES_ON)], axis=-1)
        return own, MemoryState(hidden, memory.extras)

    def reset_memory(
        self, memory: MemoryState, new_trial: bool = False, state: TrainingState | None = None
    ) -> MemoryState:
        del state
        hidden = memory.hidden
        if new_trial:
            return self.initial_memory(jnp.zeros_like(hidden))
        phase = jnp.minimum(hidden[..., NUM_STATES:], BEGINS)
        return self.initial_memory(jnp.concatenate([hidden[..., :NUM_STATES], phase], axis=-1))


@dataclasses.dataclass
class Static(ExactLearner):
    """Draws a policy once and keeps it."""

    learning_rate: float = 0.0

    def direction(self, own: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.zeros_like(own)


@dataclasses.dataclass
class NaiveExact(ExactLearner):
    """The naive learner: dV / d own, as if the other player did not learn."""

    def direction(self, own: jax.Array, other: jax.Array) -> jax.Array:
        return self.slopes(own, other).mine_by_own


@dataclasses.dataclass
class LOLAExact(ExactLearner):
    """Learning with opponent-learning awareness (Foerster et al. 2018, arxiv.org/abs/1709.04326).

    Looks `look_ahead_steps` naive steps of the other player ahead, other' = other + look_ahead_rate times
    dV_other / d other, and differentiates through them. `form`:

    `stop_gradient`: d/d own [V(own, other) + stop(dV / d other) . (other' - other)], the update of that
    paper, dV / d own + rate (d2V_other / d own d other) dV / d other with one step.
    `taylor`: the same, and dV / d other is differentiated as well: with one step and equal rates, that of the
    published tables of M-FOS.
    `full`: d/d own V(own, other'(own)), without the approximation.
    """

    look_ahead_rate: float = 1.0
    look_ahead_steps: int = 1
    form: str = "stop_gradient"

    limits: ClassVar = ExactLearner.limits | {
        "look_ahead_rate": NOT_NEGATIVE,
        "look_ahead_steps": COUNT,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("form", self.form, LOLA_FORMS, "LOLAExact")

    def direction(self, own: jax.Array, other: jax.Array) -> jax.Array:
        def move(own: jax.Array) -> jax.Array:
            following = other
            for _ in range(self.look_ahead_steps):
                step = self.slopes(own, following).theirs_by_other
                following = following + self.look_ahead_rate * step
            return following - other

        def back(slope: jax.Array) -> jax.Array:
            """Returns the gradient of slope . move(own)."""
            if self.look_ahead_steps > 1:
                return jax.vjp(move, own)[1](slope)[0]
            # Mixed derivatives commute: the derivative of dU / d own along the slope costs less.
            _, turned = jax.jvp(lambda y: self.slopes(own, y).theirs_by_own, (other,), (slope,))
            return self.look_ahead_rate * turned

        moved = move(own)
        if self.form == "full":
            ahead = self.slopes(own, other + moved)
            return ahead.mine_by_own + back(ahead.mine_by_other)
        here = self.slopes(own, other)
        shaped = here.mine_by_own + back(here.mine_by_other)
        if self.form == "stop_gradient":
            return shaped
        # The other term of d/d own [dV / d other . move] is the derivative of dV / d own along the move.
        _, turned = jax.jvp(lambda y: self.slopes(own, y).mine_by_own, (other,), (moved,))
        return shaped + turned


@dataclasses.dataclass
class SOSExact(ExactLearner):
    """Stable opponent shaping (Letcher et al. 2019, arxiv.org/abs/1811.08469).

    Between LookAhead, which converges, and LOLA, which shapes: xi_0 - p look_ahead_rate chi, the largest p in
    [0, 1] that never points against xi_0 (by `a`) and vanishes near fixed points (closer than `b`).
    """

    look_ahead_rate: float = 1.0
    a: float = 0.5
    b: float = 0.1

    limits: ClassVar = ExactLearner.limits | {
        "look_ahead_rate": NOT_NEGATIVE,
        "a": SHARE,
        "b": SHARE,
    }

    def direction(self, own: jax.Array, other: jax.Array) -> jax.Array:
        rate = self.look_ahead_rate
        here = self.slopes(own, other)

        def turned(moves: jax.Array, of: str, by_own: bool) -> jax.Array:
            """Returns the directional derivative of a slope as one player's logits move."""
            if by_own:
                return jax.jvp(lambda x: getattr(self.slopes(x, other), of), (own,), (moves,))[1]
            return jax.jvp(lambda y: getattr(self.slopes(own, y), of), (other,), (moves,))[1]

        plain = jnp.concatenate([here.mine_by_own, here.theirs_by_other])
        # The two terms of d/dx [dV/dy . dU/dy]: LookAhead differentiates dV/dy, and shaping dU/dy.
        looks = (
            turned(here.theirs_by_other, "mine_by_own", by_own=False),
            turned(here.mine_by_own, "theirs_by_other", by_own=True),
        )
        shapes = (
            turned(here.mine_by_other, "theirs_by_own", by_own=False),
            turned(here.theirs_by_own, "mine_by_other", by_own=True),
        )
        stable = plain + rate * jnp.concatenate(looks)
        shaping = rate * jnp.concatenate(shapes)
        against = shaping @ stable
        room = self.a * (stable @ stable) / jnp.where(against < 0, -against, 1.0)
        by_direction = jnp.where(against >= 0, 1.0, jnp.minimum(1.0, room))
        size = jnp.linalg.norm(plain)
        by_distance = jnp.where(size < self.b, size**2, 1.0)
        share = jnp.minimum(by_direction, by_distance)
        return stable[:NUM_STATES] + share * shaping[:NUM_STATES]
