"""Learners of the infinite matrix game that know its value and follow exact gradients.

They learn while they play: every step of the game is a joint policy, after which all players update theirs
simultaneously. The learned logits are the memory, so that each environment has a learner of its own.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

from pax.agents.agent import Agent
from pax.checks import COUNT, NOT_NEGATIVE, SHARE, check_choice
from pax.envs.environment import Environment
from pax.envs.infinite_matrix_game import InfiniteMatrixGame, slopes
from pax.envs.matrix_game_statistics import NUM_STATES
from pax.errors import ConfigError
from pax.types import MemoryState, PyTree, TrainingState

# Players observe probabilities in float32, from which larger logits cannot be recovered.
MAX_LOGIT = 16.0
OPTIMIZERS = ("sgd", "adamw")
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

    With `adamw`, the direction goes through Adam first, and the logits decay (Loshchilov and Hutter 2019,
    arxiv.org/abs/1711.05101; optax's settings). Adam's moments are remembered after the logits and the phase.

    Values are sums of rewards, V = sum_t gamma^t r_t, not means, so that rates are those of the literature.
    Logits start from N(0, 1), drawn for every environment and trial; an agent of one trial keeps them from
    episode to episode.

    Raises:
        ConfigError: if the game is not `InfiniteMatrixGame`, the rate is negative, or the optimizer unknown.
    """

    learning_rate: float = 1.0
    """Learning rate of the optimiser."""
    optimizer: str = "sgd"
    """`sgd` or `adamw`."""

    limits: ClassVar = {"learning_rate": NOT_NEGATIVE}

    seat: int = dataclasses.field(default=0, init=False)
    env_params: Any = dataclasses.field(default=None, init=False)
    """Parameters of the game; no setting of the agent."""
    learns_within_episode = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("optimizer", self.optimizer, OPTIMIZERS, type(self).__name__)
        # By hand rather than optax.sgd: without moments nothing is remembered.
        self._adamw = optax.adamw(self.learning_rate) if self.optimizer == "adamw" else None
        moments = self._adamw.init(jnp.zeros(NUM_STATES)) if self._adamw else ()
        flat, self._unravel = jax.flatten_util.ravel_pytree(moments)
        self._num_moments = flat.size

    @property
    def hidden_size_in_memory(self) -> int:  # type: ignore[override]
        return NUM_STATES + 1 + self._num_moments

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
        own, phase, moments = self._split(memory.hidden)
        seen = observations[..., NUM_STATES:]
        other = jnp.clip(jnp.log(seen) - jnp.log1p(-seen), -MAX_LOGIT, MAX_LOGIT)
        direction = jnp.vectorize(self.direction, signature="(n),(n)->(n)")(own, other)
        if self._adamw is None:
            learned, moved = own + self.learning_rate * direction, moments
        else:
            signature = "(n),(n),(m)->(n),(m)"
            learned, moved = jnp.vectorize(self._step, signature=signature)(own, direction, moments)
        own = jnp.where(phase == GOES_ON, learned, jnp.where(phase == NEW, drawn, own))
        moments = jnp.where(phase == GOES_ON, moved, moments)
        hidden = jnp.concatenate([own, jnp.full_like(phase, GOES_ON), moments], axis=-1)
        return own, MemoryState(hidden, memory.extras)

    def _step(
        self, own: jax.Array, direction: jax.Array, moments: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Takes a step of AdamW; returns the logits `[5]` and the moments."""
        assert self._adamw is not None
        # It descends.
        updates, state = self._adamw.update(-direction, self._unravel(moments), own)
        return optax.apply_updates(own, updates), jax.flatten_util.ravel_pytree(state)[0]

    def _split(self, hidden: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns logits, phase and moments."""
        own, phase, moments = jnp.split(hidden, (NUM_STATES, NUM_STATES + 1), axis=-1)
        return own, phase, moments

    def reset_memory(
        self, memory: MemoryState, new_trial: bool = False, state: TrainingState | None = None
    ) -> MemoryState:
        del state
        hidden = memory.hidden
        if new_trial:
            return self.initial_memory(jnp.zeros_like(hidden))
        own, phase, moments = self._split(hidden)
        phase = jnp.minimum(phase, BEGINS)
        return self.initial_memory(jnp.concatenate([own, phase, moments], axis=-1))


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

    With `look_ahead_share` p, the direction is p times this one and 1 - p times dV / d own, as against
    another that learns with probability p (Meulemans et al. 2025, arxiv.org/abs/2410.18636).
    """

    look_ahead_rate: float = 1.0
    """Step size that the other is taken to learn with."""
    look_ahead_steps: int = 1
    """Steps of the other that are looked ahead."""
    look_ahead_share: float = 1.0
    """Weight of looking ahead, against the plain gradient."""
    form: str = "stop_gradient"
    """Which gradient is taken through the look-ahead steps: `stop_gradient`, `full` or `taylor`."""

    limits: ClassVar = ExactLearner.limits | {
        "look_ahead_rate": NOT_NEGATIVE,
        "look_ahead_steps": COUNT,
        "look_ahead_share": SHARE,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("form", self.form, LOLA_FORMS, "LOLAExact")

    def direction(self, own: jax.Array, other: jax.Array) -> jax.Array:
        def look(following: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            step = self.slopes(own, following).theirs_by_other
            return following + self.look_ahead_rate * step, following

        ahead, path = jax.lax.scan(look, other, length=self.look_ahead_steps)

        def back(slope: jax.Array) -> jax.Array:
            """Returns the gradient of slope . (ahead - other) with respect to the own logits."""

            def turned(following: jax.Array) -> tuple[jax.Array, jax.Array]:
                theirs = self.slopes(own, following)
                return theirs.theirs_by_own, theirs.theirs_by_other

            def step(carry: tuple[jax.Array, jax.Array], following: jax.Array) -> Any:
                slope, total = carry
                # Mixed derivatives commute: those of dU / d own and dU / d other along the slope cost less.
                _, (by_own, by_other) = jax.jvp(turned, (following,), (slope,))
                by_own, by_other = (self.look_ahead_rate * by for by in (by_own, by_other))
                return (slope + by_other, total + by_own), None

            start = (slope, jnp.zeros_like(slope))
            return jax.lax.scan(step, start, path, reverse=True)[0][1]

        if self.form == "full":
            then = self.slopes(own, ahead)
            shaped = then.mine_by_own + back(then.mine_by_other)
        else:
            here = self.slopes(own, other)
            shaped = here.mine_by_own + back(here.mine_by_other)
        if self.form == "taylor":
            # The other term of d/d own [dV / d other . move] is the derivative of dV / d own along the move.
            move = ahead - other
            _, more = jax.jvp(lambda y: self.slopes(own, y).mine_by_own, (other,), (move,))
            shaped += more
        if self.look_ahead_share == 1.0:
            return shaped
        plain = self.slopes(own, other).mine_by_own
        return self.look_ahead_share * shaped + (1.0 - self.look_ahead_share) * plain


@dataclasses.dataclass
class SOSExact(ExactLearner):
    """Stable opponent shaping (Letcher et al. 2019, arxiv.org/abs/1811.08469).

    Between LookAhead, which converges, and LOLA, which shapes: xi_0 - p look_ahead_rate chi, the largest p in
    [0, 1] that never points against xi_0 (by `a`) and vanishes near fixed points (closer than `b`).
    """

    look_ahead_rate: float = 1.0
    """Step size that the other is taken to learn with."""
    a: float = 0.5
    """Share of the step without shaping that shaping may at most undo."""
    b: float = 0.1
    """Norm of the gradients below which shaping fades out."""

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
