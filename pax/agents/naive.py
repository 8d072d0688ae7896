"""The naive learner: policy gradient, as if the other players did not learn."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from pax.agents.actor_critic import ActorCritic
from pax.agents.seats import mean_of_others
from pax.checks import NUMBER
from pax.types import MemoryState, Metrics, PyTree, Sample, TrainingState


@dataclasses.dataclass
class Naive(ActorCritic):
    """REINFORCE (Williams 1992) with a leave-one-out baseline; one gradient step per rollout.

    loss = -mean_{t,b} log pi(a_tb) (G_tb - mean_{b'} G_tb') - entropy_coeff H, where
    G_t = r_t + gamma (1 - d_t) G_{t+1} is the return from step t on, d_t the end of an episode, and b' are
    the rows of other environments. A single environment has no baseline.
    """

    learning_rate: float = 0.1
    entropy_coeff: float = 0.0
    """Weight of the entropy bonus."""

    limits: ClassVar = ActorCritic.limits | {"entropy_coeff": NUMBER}

    def update(
        self,
        rollout: Sample,
        last_observations: PyTree,
        state: TrainingState,
        memory: MemoryState,
        key: jax.Array,
    ) -> tuple[TrainingState, MemoryState, Metrics]:
        del last_observations, key
        gradients, metrics = jax.grad(self.loss, has_aux=True)(state.params, rollout)
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        params, opt_state = self.apply_gradients(gradients, state.params, state.opt_state)
        return TrainingState(params, opt_state, state.updates + 1), memory, metrics

    def loss(self, params: PyTree, rollout: Sample) -> tuple[jax.Array, Metrics]:
        """Returns the REINFORCE loss of a rollout `[T, B]`, and its parts."""
        returns = discounted_returns(rollout.rewards, rollout.dones, self.discount)
        # The mean of the *other* environments, which keeps the estimate unbiased.
        advantages = returns - mean_of_others(returns, rollout)
        distribution, _ = self.unroll(
            params, rollout.hiddens[0], rollout.observations, rollout.dones
        )
        loss_policy = -(distribution.log_prob(rollout.actions) * advantages).mean()
        entropy = distribution.entropy().mean()
        total = loss_policy - self.entropy_coeff * entropy
        return total, {"loss_total": total, "loss_policy": loss_policy, "entropy": entropy}


def discounted_returns(rewards: jax.Array, dones: jax.Array, discount: float) -> jax.Array:
    """Computes G_t = r_t + gamma (1 - d_t) G_{t+1}, with G_T = 0; all `[T, B]`."""

    def backwards(
        following: jax.Array, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        reward, done = inputs
        total = reward + discount * jnp.where(done, 0.0, following)
        return total, total

    return jax.lax.scan(backwards, jnp.zeros_like(rewards[0]), (rewards, dones), reverse=True)[1]
