"""LOLA-DiCE: policy gradients through what the others will have learned, from samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from pax.agents.actor_critic import ActorCritic
from pax.agents.agent import Agent
from pax.agents.seats import by_environment, mean_of_other_environments
from pax.checks import COUNT_OR_NONE, NOT_NEGATIVE, check_number
from pax.errors import ConfigError
from pax.learners.gradient import Gradient
from pax.learners.learner import Experience
from pax.types import Metrics, PyTree, Sample, TrainingState, take

if TYPE_CHECKING:
    from pax.roles import Role

Params = dict[str, PyTree]


class LOLADiCE(Gradient):
    """Ascends the value that it will have once the others have learned for a few steps.

    Foerster et al. 2018, DiCE: infinitely differentiable Monte Carlo (arxiv.org/abs/1802.05098).
    A player's objective, from episodes of T steps in B environments, is

        mean_b sum_t gamma^t (box(sum_{k <= t} l_k) (r_t - m_t) + m_t),  box(x) = exp(x - stop(x)),

    with l_t the log-probability of all players' actions at step t, and m_t the mean reward of the *other*
    environments at that step. In games that begin anew within a rollout, k and t count within their episodes.
    Its derivatives of every order estimate those of the expected return. The
    others are moved `look_ahead_steps` times by `look_ahead_rate` times the gradient of their own objectives,
    each time in newly drawn episodes, and the derivative of their moves is part of the gradient. The agent's
    own optimiser takes the step. With 0 steps ahead this is a naive learner. A role on several seats has the
    mean of their rewards, and all their actions.
    """

    name = "lola_dice"
    """What a config calls it."""

    def __init__(
        self,
        agent: Agent,
        look_ahead_steps: int = 1,
        look_ahead_rate: float = 0.1,
        initial: TrainingState | None = None,
    ):
        """Looks ahead with an agent's policy.

        Args:
            agent: an actor-critic; its critic is not used.
            look_ahead_steps: how often the others are thought to learn.
            look_ahead_rate: of these steps.
            initial: where to start, instead of fresh parameters.

        Raises:
            ConfigError: if the agent has no policy that can be differentiated, or a setting is out of range.
        """
        super().__init__(agent, initial)
        if not isinstance(agent, ActorCritic) or agent.remembers_trial:
            raise ConfigError(
                f"{type(agent).__name__} cannot learn by {self.name}: choose Naive, PPO, PPO_memory or "
                "Tabular"
            )
        check_number("look_ahead_steps", look_ahead_steps, COUNT_OR_NONE, type(self).__name__)
        check_number("look_ahead_rate", look_ahead_rate, NOT_NEGATIVE, type(self).__name__)
        self.look_ahead_steps = look_ahead_steps
        self.look_ahead_rate = look_ahead_rate

    def update(self, state: TrainingState, experience: Experience) -> tuple[TrainingState, Metrics]:
        return self.ascend(state, state.params, experience, experience.key)

    def outer_penalty(self, own: PyTree, before: PyTree, rollout: Sample) -> jax.Array | float:
        """Returns what is taken off the objective for how far the policy is from the one `before`."""
        del own, before, rollout
        return 0.0

    def inner_penalty(
        self, agent: ActorCritic, other: PyTree, before: PyTree, rollout: Sample
    ) -> jax.Array | float:
        """Returns what is taken off that of another player, who looks `other`, and was `before`."""
        del agent, other, before, rollout
        return 0.0

    def ascend(
        self, state: TrainingState, before: PyTree, experience: Experience, key: jax.Array
    ) -> tuple[TrainingState, Metrics]:
        """Takes one step of the agent's optimiser.

        Args:
            state: what the agent has learned.
            before: its parameters before the update that this step is part of.
            experience: what happened in this iteration.
            key: of the episodes that are drawn.
        """
        role = experience.role
        # Of the first candidate and the first opponent, as there is one of each: see `check`.
        states = experience.line_up.first()
        task = take(experience.tasks, 0)
        agents = {
            name: agent
            for name, agent in experience.agents.items()
            if isinstance(agent, ActorCritic)
        }
        others = {name: states[name].params for name in agents if name != role}
        keys = jax.random.split(key, self.look_ahead_steps + 1)

        def sample(params: Params, key: jax.Array) -> dict[str, Sample]:
            played = {
                name: dataclasses.replace(own, params=jax.lax.stop_gradient(params[name]))
                if name in params
                else own
                for name, own in states.items()
            }
            rollouts = experience.play(key, played, task).rollouts
            # Episodes end to end side by side: [K, T, B, ...] -> [T, K B, ...].
            return jax.tree.map(
                lambda leaf: jax.lax.collapse(jnp.moveaxis(leaf, 0, 1), 1, 3), rollouts
            )

        def looked_ahead(own: PyTree) -> tuple[jax.Array, Metrics]:
            params = {**others, role: own}
            for step_key in keys[:-1]:
                episodes = sample(params, step_key)
                moved = {}
                for name in others:

                    def objective(other: PyTree, name: str = name) -> jax.Array:
                        value = dice_objective({**params, name: other}, agents, episodes, name)  # noqa: B023
                        return value - self.inner_penalty(
                            agents[name],
                            other,
                            others[name],
                            episodes[name],  # noqa: B023
                        )

                    slope = jax.grad(objective)(params[name])
                    moved[name] = jax.tree.map(
                        lambda leaf, change: leaf + self.look_ahead_rate * change,
                        params[name],
                        slope,
                    )
                params = {**params, **moved}
            episodes = sample(params, keys[-1])
            value = dice_objective(params, agents, episodes, role)
            penalty = self.outer_penalty(own, before, episodes[role])
            return penalty - value, {"looked_ahead_return": value}

        gradients, metrics = jax.grad(looked_ahead, has_aux=True)(state.params)
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        assert isinstance(self.agent, ActorCritic)  # See __init__.
        params, opt_state = self.agent.apply_gradients(gradients, state.params, state.opt_state)
        return TrainingState(params, opt_state, state.updates + 1), metrics

    def check(self, num_opps: int, num_outer_steps: int, num_steps: int, num_envs: int) -> None:
        del num_outer_steps, num_steps
        if num_opps != 1:
            raise ConfigError(
                f"there are {num_opps} opponents or candidates side by side, and {self.name} looks one "
                "ahead: use num_opps=1, and no evolution beside it"
            )
        if num_envs < 2:
            raise ConfigError(
                f"num_envs is {num_envs}, and {self.name} compares environments: give at least 2"
            )

    def check_others(self, role: Role, others: Sequence[Role], num_outer_steps: int) -> None:
        if not self.look_ahead_steps:
            return
        ahead = [other for other in others if isinstance(other.agent, ActorCritic)]
        if not ahead:
            raise ConfigError(
                f"role {role.name} looks ahead at how others learn, by {self.name}, and nobody else here "
                "has a policy that can be differentiated: let another role play Naive, PPO, PPO_memory or "
                "Tabular, or use look_ahead_steps=0"
            )
        for other in ahead:
            if other.agent.groups_environments:
                raise ConfigError(
                    f"role {other.name} mixes its memory over environments, and {self.name} compares them: "
                    "use context none"
                )
            if other.learns_in_trial and num_outer_steps > 1:
                raise ConfigError(
                    f"role {other.name} learns in the trial, of {num_outer_steps} episodes, while "
                    f"{role.name} looks ahead at how it learns, by {self.name}: use num_outer_steps=1"
                )


def dice_objective(
    params: Params,
    agents: Mapping[str, ActorCritic],
    rollouts: Mapping[str, Sample],
    role: str,
) -> jax.Array:
    """Computes the DiCE objective of `role`: mean discounted return, differentiable in all `params`.

    Args:
        params: by role, of those whose policy can be differentiated.
        agents: the same roles.
        rollouts: by role, `[T, B]`, of the same environments.
        role: whose rewards and discount count.
    """
    # By environment, `[T, N]`: all seats of a role act in it, and are paid their mean.
    rewards = by_environment(rollouts[role].rewards, rollouts[role]).mean(axis=-1)
    log_probs = jnp.zeros_like(rewards)
    for name, own in params.items():
        part = rollouts[name]
        distribution, _ = agents[name].unroll(own, part.hiddens[0], part.observations, part.dones)
        log_probs += by_environment(distribution.log_prob(part.actions), part).sum(axis=-1)
    steps = jnp.arange(len(rewards))[:, None]
    so_far = jnp.cumsum(log_probs, axis=0)
    if rollouts[role].ends is not None:
        # An episode that is over for one seat may go on for others, and their rewards count in it.
        dones = by_environment(rollouts[role].dones, rollouts[role]).all(axis=-1)
        begins = jnp.concatenate([jnp.ones_like(dones[:1]), dones[:-1]])
        first = jax.lax.cummax(jnp.where(begins, steps, 0))
        so_far -= jnp.take_along_axis(so_far - log_probs, first, axis=0)
        steps = steps - first
    weights = agents[role].discount ** steps
    others = mean_of_other_environments(rewards[..., None])[..., 0]
    box = _box(so_far)
    return (weights * (box * (rewards - others) + others)).sum(axis=0).mean()


def _box(x: jax.Array) -> jax.Array:
    """Returns 1, with the derivative of x."""
    return jnp.exp(x - jax.lax.stop_gradient(x))
