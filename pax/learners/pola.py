"""POLA-DiCE: LOLA-DiCE that moves policies, not parameters, by a limited distance."""

from __future__ import annotations

import dataclasses

import jax

from pax.agents.actor_critic import ActorCritic
from pax.agents.agent import Agent
from pax.agents.distributions import Categorical
from pax.checks import COUNT, NOT_NEGATIVE, check_number
from pax.errors import ConfigError
from pax.learners.learner import Experience
from pax.learners.lola_dice import LOLADiCE
from pax.types import Metrics, PyTree, Sample, TrainingState


class POLA(LOLADiCE):
    """Ascends LOLA-DiCE's objective for many steps per update, near the policies that everybody had before.

    Zhao et al. 2022, Proximal learning with opponent-learning awareness (arxiv.org/abs/2210.10125). Steps of
    gradient ascent in parameters mean one thing for a table and another for a network. Here an update
    approximates the proximal step

        argmax_own V(own, others(own)) - outer_beta KL(own before || own),

    by `outer_steps` steps of the agent's optimiser, each of which looks ahead anew: the others take
    `look_ahead_steps` steps from what they were before towards argmax V_other - inner_beta KL(other before ||
    other). Divergences are means over the states of episodes that are drawn for each step. Baselines are
    those of LOLADiCE: the other environments' mean instead of a critic.
    """

    name = "pola"

    def __init__(
        self,
        agent: Agent,
        look_ahead_steps: int = 2,
        look_ahead_rate: float = 0.005,
        outer_steps: int = 200,
        outer_beta: float = 100.0,
        inner_beta: float = 10.0,
        initial: TrainingState | None = None,
    ):
        """Looks ahead with an agent's policy; the defaults are those published for the iterated game.

        Args:
            agent: an actor-critic with discrete actions; its critic is not used.
            look_ahead_steps: how often the others are thought to learn.
            look_ahead_rate: of these steps.
            outer_steps: steps of the optimiser per update.
            outer_beta: weight of the divergence of the agent's policy.
            inner_beta: weight of the divergence of the others' policies.
            initial: where to start, instead of fresh parameters.

        Raises:
            ConfigError: if the agent has no such policy, or a setting is out of range.
        """
        super().__init__(agent, look_ahead_steps, look_ahead_rate, initial)
        check_number("outer_steps", outer_steps, COUNT, "POLA")
        for name, beta in (("outer_beta", outer_beta), ("inner_beta", inner_beta)):
            check_number(name, beta, NOT_NEGATIVE, "POLA")
        self.outer_steps = outer_steps
        self.outer_beta = outer_beta
        self.inner_beta = inner_beta

    def update(self, state: TrainingState, experience: Experience) -> tuple[TrainingState, Metrics]:
        before = state.params

        def step(state: TrainingState, key: jax.Array) -> tuple[TrainingState, Metrics]:
            return self.ascend(state, before, experience, key)

        keys = jax.random.split(experience.key, self.outer_steps)
        new, metrics = jax.lax.scan(step, state, keys)
        return dataclasses.replace(new, updates=state.updates + 1), {
            name: values[-1] for name, values in metrics.items()
        }

    def outer_penalty(self, own: PyTree, before: PyTree, rollout: Sample) -> jax.Array:
        assert isinstance(self.agent, ActorCritic)  # See __init__.
        return self.outer_beta * policy_divergence(self.agent, own, before, rollout)

    def inner_penalty(
        self, agent: ActorCritic, other: PyTree, before: PyTree, rollout: Sample
    ) -> jax.Array:
        return self.inner_beta * policy_divergence(agent, other, before, rollout)


def policy_divergence(
    agent: ActorCritic, params: PyTree, before: PyTree, rollout: Sample
) -> jax.Array:
    """Returns KL(before || now), the mean over the states of a rollout `[T, B]`; `before` is held fixed.

    Raises:
        ConfigError: if actions are not discrete.
    """

    def policy(params: PyTree) -> Categorical:
        of_states, _ = agent.unroll(params, rollout.hiddens[0], rollout.observations, rollout.dones)
        if not isinstance(of_states, Categorical):
            raise ConfigError(
                f"{type(agent).__name__} acts in {agent.action_space}, and pola compares policies over "
                "discrete actions: use lola_dice"
            )
        return of_states

    return policy(jax.lax.stop_gradient(before)).divergence_from(policy(params)).mean()
