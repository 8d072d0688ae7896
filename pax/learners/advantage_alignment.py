"""Advantage alignment and LOQA: PPO that prefers actions that benefit co-players who benefited it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.agents.ppo import PPO
from pax.agents.seats import by_environment, by_row
from pax.checks import NUMBER, check_number
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.learners.gradient import Gradient, check_takes, join_trials
from pax.learners.learner import Experience
from pax.types import Metrics, Sample, TrainingState

if TYPE_CHECKING:
    from pax.roles import Role


class AdvantageAlignment(Gradient):
    """PPO on A_t + weight gamma S_t B_t, where S_t = sum_{k < t} gamma^(t - k) A_k / t.

    A are the player's own advantages in this episode and B the other's, from its own critic. An action that
    is good for the other counts for more after steps that were good for oneself, and for less after those
    that were not: reciprocity (Duque et al. 2024, arxiv.org/abs/2406.14662, equation 11). Sums are divided by
    the steps in them, so that late steps do not drown early ones. With several others, B is their mean; other
    seats of the same role are others too.

    In the tabular prisoner's dilemma it wants advantages that tell who did what, `gae_lambda` = 0: with long
    estimates, which credit a step with all the noise after it, players cooperate and defect in turns.
    """

    def __init__(self, agent: Agent, weight: float = 10.0, initial: TrainingState | None = None):
        """Aligns an agent that learns by PPO.

        Args:
            agent: one that learns by PPO.
            weight: how much the others' advantages count; 0 is PPO.
            initial: where to start, instead of fresh parameters.

        Raises:
            ConfigError: if the agent does not learn by PPO, or mixes environments.
        """
        super().__init__(agent, initial)
        if not isinstance(agent, PPO) or agent.groups_environments:
            raise ConfigError(
                f"{type(agent).__name__} cannot take others' advantages into account: choose PPO, PPO_memory "
                "or Tabular, which learn by them"
            )
        check_takes(agent, "update", ["advantages"], type(self).__name__)
        check_number("weight", weight, NUMBER, type(self).__name__)
        self.weight = weight

    def update(self, state: TrainingState, experience: Experience) -> tuple[TrainingState, Metrics]:
        role, trial = experience.role, experience.trial
        assert isinstance(self.agent, PPO)
        discount = self.agent.discount
        rollout, last_observations, memory = join_trials(trial, role, self.agent)
        others = {
            name: agent
            for name, agent in experience.agents.items()
            # Who only takes over seats of others has no rollouts of its own.
            if name != role and name in trial.rollouts and _has_critic(agent)
        }

        states = experience.line_up.first()

        def shape(advantages: jax.Array) -> jax.Array:
            # Players by seat, `[T, N]` each: their advantages, and how far an own gain is put down to them.
            own = _by_player(advantages, self.influence(rollout), rollout)
            theirs = []
            for name, agent in others.items():
                played, last_seen, remembered = join_trials(trial, name, agent)
                found, _ = agent.advantages(played, last_seen, states[name], remembered)
                theirs += _by_player(found, self.influence(played), played)
            dones = by_environment(rollout.dones, rollout)
            shaped = []
            for seat, (gains, _) in enumerate(own):
                players = [*own[:seat], *own[seat + 1 :], *theirs]
                total = gains
                for found, influence in players:
                    past = past_advantages(gains * influence, dones[..., seat], discount)
                    total += self.weight / len(players) * discount * past * found
                shaped.append(total)
            return by_row(jnp.stack(shaped, axis=-1), rollout)

        advantages, targets = self.agent.advantages(rollout, last_observations, state, memory)
        state, _, metrics = self.agent.update(
            rollout,
            last_observations,
            state,
            memory,
            experience.key,
            advantages=(shape(advantages), targets),
        )
        return state, metrics

    def influence(self, theirs: Sample) -> jax.Array:
        """Returns how far an own gain at each step is put down to the other, `[T, B]`."""
        return jnp.ones_like(theirs.rewards)

    def check_others(self, role: Role, others: Sequence[Role], num_outer_steps: int) -> None:
        del num_outer_steps
        if len(role.seats) == 1 and not any(
            _has_critic(each.agent) for each in others if each.seats
        ):
            raise ConfigError(
                f"role {role.name} takes the advantages of others into account, and nobody else here has a "
                "critic: let another role play PPO, PPO_memory or Tabular, or learn by gradient"
            )


class LOQA(AdvantageAlignment):
    """Learning with opponent Q-learning awareness (Aghajohari et al. 2024, arxiv.org/abs/2405.01035).

    The other is thought to choose by a softmax over what its actions are worth to it. What one does later
    changes that worth, and with it the probability of b_k by 1 - pi(b_k) times the change. So the own
    advantage of step k counts as far as the other's action was unlikely, and all else is advantage alignment.
    Here pi is the policy that the other played, where the paper takes a softmax of learned values, and the
    steps are PPO's.
    """

    def check_others(self, role: Role, others: Sequence[Role], num_outer_steps: int) -> None:
        super().check_others(role, others, num_outer_steps)
        for other in (role, *others):
            if _has_critic(other.agent) and not isinstance(other.agent.action_space, Discrete):
                raise ConfigError(
                    f"role {other.name} chooses from {other.agent.action_space}, and loqa takes a softmax "
                    "over what others can do: choose a game with Discrete actions, or advantage_alignment"
                )

    def influence(self, theirs: Sample) -> jax.Array:
        return 1.0 - jnp.exp(theirs.log_probs)


def _has_critic(agent: Agent) -> TypeGuard[PPO]:
    return isinstance(agent, PPO) and getattr(agent, "critic", True)


def _by_player(
    advantages: jax.Array, influence: jax.Array, rollout: Sample
) -> list[tuple[jax.Array, jax.Array]]:
    """Advantages and influence of each seat of a role, `[T, N]`."""
    seats = range(rollout.num_seats)
    advantages, influence = (by_environment(part, rollout) for part in (advantages, influence))
    return [(advantages[..., seat], influence[..., seat]) for seat in seats]


def past_advantages(advantages: jax.Array, dones: jax.Array, discount: float) -> jax.Array:
    """Computes sum_{k < t} discount^(t - k) A_k / t within an episode, 0 at its first step.

    Args:
        advantages: `[T, B]`.
        dones: whether the episode ended with the step, `[T, B]`.
        discount: per step.
    """

    def step(
        carry: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        total, number = carry
        advantage, done = inputs
        following = jnp.where(done, 0.0, discount * (total + advantage))
        return (following, jnp.where(done, 0.0, number + 1.0)), total / jnp.maximum(number, 1.0)

    zeros = jnp.zeros_like(advantages[0])
    return jax.lax.scan(step, (zeros, zeros), (advantages, dones))[1]
