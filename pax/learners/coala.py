"""COALA-PG: policy gradients that count what an action teaches a co-player who learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import jax.numpy as jnp
from absl import logging

from pax.agents.agent import Agent
from pax.agents.ppo import PPO
from pax.checks import COUNT, COUNT_OR_NONE, SHARE, check_choice, check_number
from pax.errors import ConfigError
from pax.learners.gradient import Gradient, check_takes, join_trials
from pax.learners.learner import Experience
from pax.types import Metrics, TrainingState, Trial, take

if TYPE_CHECKING:
    from pax.roles import Role

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
        num_agents: int = 1,
        warm_up: int = 0,
        balance_after: int = 0,
        initial: TrainingState | None = None,
    ):
        """Teaches an agent that learns by PPO and remembers the trial.

        Args:
            agent: who acts; of its settings count `discount`, `gae_lambda` and `reward_scale` as in PPO.
            form: of the estimator: `coala`, `mfos` or `batch_unaware`.
            td_lambda: of the targets of the value function, as `gae_lambda` is of the advantages.
            num_agents: agents that learn side by side, each from O trials of its own: the candidates of the
                loop. In mixed pools they also meet each other.
            warm_up: updates at the start that are batch-unaware, whatever the form: an agent that cannot play
                yet learns that from its own rewards, which are less noisy than everybody's later ones.
            balance_after: updates after which, in mixed pools, the advantages of trials against learners and
                those of trials among agents are scaled to one size; 0: never. The first are up to B times as
                large, so that the second hardly count. With too few updates, agents learn to defect among
                each other before they know what there is to gain.
            initial: where to start, instead of fresh parameters.

        Raises:
            ConfigError: if the agent does not learn by PPO, or a setting is out of range.
        """
        super().__init__(agent, initial)
        if not isinstance(agent, PPO):
            raise ConfigError(
                f"{type(agent).__name__} does not learn by PPO, whose advantages coala replaces: choose "
                "Shaper or another agent that does"
            )
        name = type(self).__name__
        check_takes(agent, "update", ["advantages"], name)
        check_takes(agent, "advantages", ["last_value", "gae_lambda"], name)
        check_choice("form", form, get_args(Form), name)
        check_number("td_lambda", td_lambda, SHARE, name)
        check_number("num_agents", num_agents, COUNT, name)
        check_number("warm_up", warm_up, COUNT_OR_NONE, name)
        check_number("balance_after", balance_after, COUNT_OR_NONE, name)
        self.form = form
        self.td_lambda = td_lambda
        self.warm_up = warm_up
        self.balance_after = balance_after
        self.num_candidates = num_agents

    def init(self, key: jax.Array) -> TrainingState:
        """Returns the agents' states, `[C, ...]`."""
        return jax.vmap(super().init)(jax.random.split(key, self.num_candidates))

    def propose(self, state: TrainingState, key: jax.Array) -> tuple[TrainingState, TrainingState]:
        del key
        return state, state

    def deploy(self, state: TrainingState) -> TrainingState:
        return take(state, 0)

    def exports(self, state: TrainingState) -> dict[str, TrainingState]:
        if self.num_candidates == 1:
            return super().exports(state)
        return {f"_{index + 1}": take(state, index) for index in range(self.num_candidates)}

    def update(self, state: TrainingState, experience: Experience) -> tuple[TrainingState, Metrics]:
        if self.num_candidates == 1:
            # Beside candidates of another role, each of them is one more set of opponents.
            state, metrics = self._update(
                take(state, 0), experience.trial, experience, experience.key
            )
            return jax.tree.map(lambda leaf: leaf[None], state), metrics

        def update_one(state: TrainingState, trial: Trial, key: jax.Array) -> Any:
            trial = jax.tree.map(lambda leaf: leaf[None], trial)
            return self._update(state, trial, experience, key)

        keys = jax.random.split(experience.key, self.num_candidates)
        state, metrics = jax.vmap(update_one)(state, experience.trial, keys)
        return state, {name: values.mean() for name, values in metrics.items()}

    def _update(
        self, state: TrainingState, trial: Trial, experience: Experience, key: jax.Array
    ) -> tuple[TrainingState, Metrics]:
        """Improves one agent by its trials `[C, O, ...]`."""
        role, agent = experience.role, self.agent
        assert isinstance(agent, PPO)
        rollout, last_observations, memory = join_trials(trial, role, agent)
        num_episodes = trial.rollouts[role].rewards.shape[2]
        rows = rollout.num_seats * rollout.num_envs

        def by_episode(values: jax.Array) -> jax.Array:
            """Returns `[K T, O B]`, or `[K T, O, B]`, as `[K, T, O, B]`."""
            return values.reshape(num_episodes, -1, values[0].size // rows, rows)

        def estimate(gae_lambda: float) -> tuple[jax.Array, jax.Array]:
            # Nothing follows the end of the trial.
            nothing = jnp.zeros_like(rollout.values[0])
            return agent.advantages(
                rollout,
                last_observations,
                state,
                memory,
                last_value=nothing,
                gae_lambda=gae_lambda,
            )

        advantages, targets = estimate(agent.gae_lambda)
        if self.td_lambda != agent.gae_lambda:
            _, targets = estimate(self.td_lambda)
        own = by_episode(advantages)
        decay = agent.discount * agent.gae_lambda
        weight = {"coala": rows, "mfos": 1, "batch_unaware": None}[self.form]
        shaped = own if weight is None else learning_aware(own, weight, decay)
        if self.warm_up:
            shaped = jnp.where(state.updates < self.warm_up, own, shaped)
        apart = experience.tasks.self_play
        if experience.tasks.taken_over is not None:
            raise ConfigError(
                "a task draws which seats are taken over, and COALA counts what others learn where none is, "
                "or all are: use annealed_self_play or mixed_pool"
            )
        if apart is None:
            shaped -= shaped.mean()
        else:
            # A trial among agents: `[O]`, once more for each candidate.
            apart = jnp.tile(apart, own.shape[2] // apart.size)[:, None]
            if not experience.learns_in_self_play:
                shaped = jnp.where(apart, own, shaped)
            balances = jnp.bool_(self.balance_after) & (state.updates >= self.balance_after)
            for kind in (apart, ~apart):
                mean, deviation = _moments(shaped, kind)
                size = jnp.where(balances, deviation + 1e-8, 1.0)
                shaped = jnp.where(kind, (shaped - mean) / size, shaped)
        state, _, metrics = agent.update(
            rollout,
            last_observations,
            state,
            memory,
            key,
            advantages=(shaped.reshape(advantages.shape), targets),
        )
        return state, metrics

    def check(self, num_opps: int, num_outer_steps: int, num_steps: int, num_envs: int) -> None:
        name = type(self.agent).__name__
        # The batch-unaware form is plain PPO, which wants nothing of the kind.
        if self.form != "batch_unaware" and not self.agent.remembers_trial:
            raise ConfigError(
                f"{name} does not remember the trial, and form {self.form} teaches it to respond to what "
                "others learn there: choose Shaper, the form batch_unaware, or the learner gradient"
            )
        if self.form != "batch_unaware" and num_outer_steps == 1:
            raise ConfigError(
                f"num_outer_steps is 1, and form {self.form} is about what others learn between the episodes "
                "of a trial: use 2 or more, the form batch_unaware, or the learner gradient"
            )
        agent = self.agent
        assert isinstance(agent, PPO)
        if agent.remembers_trial and not agent.bootstrap_on_time_limit:
            raise ConfigError(
                f"bootstrap_on_time_limit is False in {name}, and coala counts all that follows an episode "
                "in its trial, and nothing after the trial: use True"
            )
        # Of several agents, each learns from its own trials.
        super().check(num_opps // self.num_candidates, num_outer_steps, num_steps, num_envs)
        reach = (agent.discount * agent.gae_lambda) ** num_steps
        if self.form != "batch_unaware" and reach < 0.01 <= agent.discount**num_steps:
            logging.warning(
                "gae_lambda is %g and discount %g in %s, and the next episode begins %d steps later, so that "
                "everybody's rewards from there on count %.1g of an own one now: with so little of them, %s "
                "does not learn to shape others; take a gae_lambda nearer 1.",
                agent.gae_lambda,
                agent.discount,
                name,
                num_steps,
                reach,
                name,
            )

    def check_others(self, role: Role, others: Sequence[Role], num_outer_steps: int) -> None:
        del num_outer_steps
        if self.balance_after and not any(each.self_play_seats for each in (role, *others)):
            raise ConfigError(
                f"balance_after is {self.balance_after} in the learner of role {role.name}, which weighs "
                "trials among agents, and no role has self_play_seats: leave it 0, or make a mixed pool"
            )
        if self.form != "batch_unaware" and not any(other.learns_in_trial for other in others):
            logging.warning(
                "Nobody learns in the trials of role %s, so that %s estimates what plain PPO does, and adds "
                "noise: set learns_in_trial of a co-player, or take form batch_unaware.",
                role.name,
                self.form,
            )


def learning_aware(advantages: jax.Array, weight: float, decay: float) -> jax.Array:
    """Returns advantages in which later episodes count by everybody's rewards instead of the own.

    Args:
        advantages: `[K, T, O, B]`, of the own return to the end of the trial, for K episodes of T steps.
        weight: of the mean over the B environments.
        decay: discount times lambda, per step.
    """
    # [K, O, B]: those of the next episode's first step; after the last one, nothing.
    following = jnp.concatenate([advantages[1:, 0], jnp.zeros_like(advantages[:1, 0])])
    everybody = weight * following.mean(axis=-1, keepdims=True)
    num_steps = advantages.shape[1]
    decays = decay ** (num_steps - jnp.arange(num_steps, dtype=advantages.dtype))
    return advantages + decays[:, None, None] * (everybody - following)[:, None]


def _moments(values: jax.Array, where: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and standard deviation of the values that are chosen, 0 if there are none."""
    number = jnp.maximum(jnp.broadcast_to(where, values.shape).sum(), 1)
    mean = jnp.where(where, values, 0.0).sum() / number
    variance = jnp.where(where, jnp.square(values - mean), 0.0).sum() / number
    return mean, jnp.sqrt(variance)
