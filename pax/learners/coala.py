"""COALA-PG: policy gradients that count what an action teaches a co-player who learns from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.agents.gae import generalised_advantage_estimation
from pax.agents.ppo import PPO
from pax.checks import SHARE, check_choice, check_number
from pax.errors import ConfigError
from pax.learners.gradient import Gradient, join_trials
from pax.learners.learner import Experience
from pax.types import Metrics, TrainingState

if TYPE_CHECKING:
    pass

Form = Literal["coala", "mfos", "batch_unaware"]


class COALA(Gradient):
    """PPO on advantages over whole trials, in which a co-player learns from all B environments.

    An action of one environment changes what the co-player learns from all of them, and so everybody's
    rewards in later episodes. Up to one factor, the forms of the estimator (Meulemans et al. 2025,
    arxiv.org/abs/2410.18636) weight a step of environment b by

    coala: own rewards to the end of the episode + rewards of *all* environments in later episodes,
    mfos: own rewards to the end of the episode + *mean* reward of all environments in later episodes,
    batch_unaware: own rewards to the end of the trial.

    The first is an unbiased gradient of the mean return of the environments; the second gives what an action
    teaches too little weight by the factor B; the third is right where the co-player does not learn. With
    B = 1 all are the same. PPO's mean over steps makes of the first the gradient of the return per step.

    One value function V serves all forms: that of the own return to the end of the trial, after which nothing
    follows. With A_l the advantages of that return (GAE over the whole trial, through the ends of episodes)
    and A' those of the first step of the next episode, s steps later, the advantage of a step is

    A_l + (discount lambda)^s (w mean_b A'_b - A'),  w = B for coala, 1 for mfos,

    in which the own A' is what is replaced at the end of the episode by everybody's. It is centred over all
    trials; whether it is scaled too, minibatch by minibatch, is up to the agent's `standardise_advantages`.
    """

    def __init__(
        self,
        agent: Agent,
        form: Form = "coala",
        td_lambda: float = 1.0,
        initial: TrainingState | None = None,
    ):
        """Teaches an agent that learns by PPO and remembers the trial.

        Args:
            agent: who acts; of its settings count `discount`, `gae_lambda` and `reward_scale` as in PPO.
            form: of the estimator: `coala`, `mfos` or `batch_unaware`.
            td_lambda: of the targets of the value function, as `gae_lambda` is of the advantages.
            initial: where to start, instead of fresh parameters.

        Raises:
            ConfigError: if the agent does not learn by PPO, or a setting is out of range.
        """
        if not isinstance(agent, PPO):
            raise ConfigError(
                f"{type(agent).__name__} does not learn by PPO, whose advantages coala replaces: choose "
                "Shaper or another agent that does"
            )
        super().__init__(agent, initial)
        name = type(self).__name__
        check_choice("form", form, get_args(Form), name)
        check_number("td_lambda", td_lambda, SHARE, name)
        self.form = form
        self.td_lambda = td_lambda

    def update(self, state: TrainingState, experience: Experience) -> tuple[TrainingState, Metrics]:
        role, trial = experience.role, experience.trial
        assert isinstance(self.agent, PPO)
        agent = self.agent
        rollout, last_observations, memory = join_trials(trial, role, agent)
        num_episodes = trial.rollouts[role].rewards.shape[2]
        rows = rollout.num_seats * rollout.num_envs

        def by_episode(values: jax.Array) -> jax.Array:
            """`[K T, O B]`, or `[K T, O, B]`, as `[K, T, O, B]`."""
            return values.reshape(num_episodes, -1, values[0].size // rows, rows)

        rewards = agent.reward_scale * rollout.rewards

        def estimate(gae_lambda: float) -> tuple[jax.Array, jax.Array]:
            # The end of the trial is one: whatever is last seen is worth nothing.
            return generalised_advantage_estimation(
                rewards,
                rollout.values,
                jnp.zeros_like(rollout.dones),
                jnp.zeros_like(rollout.values[0]),
                agent.discount,
                gae_lambda,
            )

        advantages, targets = estimate(agent.gae_lambda)
        if self.td_lambda != agent.gae_lambda:
            _, targets = estimate(self.td_lambda)
        weight = {"coala": rows, "mfos": 1, "batch_unaware": None}[self.form]
        shaped = learning_aware(by_episode(advantages), weight, agent.discount * agent.gae_lambda)
        shaped -= shaped.mean()
        state, _, metrics = agent.update(
            rollout,
            last_observations,
            state,
            memory,
            experience.key,
            advantages=(shaped.reshape(advantages.shape), targets),
        )
        return state, metrics


def learning_aware(advantages: jax.Array, weight: float | None, decay: float) -> jax.Array:
    """Returns advantages in which later episodes count by everybody's rewards instead of the own.

    Args:
        advantages: `[K, T, O, B]`, of the own return to the end of the trial, for K episodes of T steps.
        weight: of the mean over the B environments; None leaves the own later rewards in place.
        decay: discount times lambda, per step.
    """
    if weight is None:
        return advantages
    # [K, O, B]: those of the next episode's first step; after the last one, nothing.
    following = jnp.concatenate([advantages[1:, 0], jnp.zeros_like(advantages[:1, 0])])
    everybody = weight * following.mean(axis=-1, keepdims=True)
    num_steps = advantages.shape[1]
    decays = decay ** (num_steps - jnp.arange(num_steps, dtype=advantages.dtype))
    return advantages + decays[:, None, None] * (everybody - following)[:, None]
