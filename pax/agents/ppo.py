"""Proximal policy optimisation, for every network."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from absl import logging
from flax import struct

from pax.agents.actor_critic import ActorCritic
from pax.agents.gae import generalised_advantage_estimation
from pax.agents.shuffle import random_permutation
from pax.agents.standardise import standardise
from pax.agents.traced import is_on
from pax.checks import COUNT, COUNT_OR_NONE, NOT_NEGATIVE, NUMBER, POSITIVE, SHARE
from pax.errors import ConfigError
from pax.types import MemoryState, Metrics, PyTree, Sample, TrainingState, take


@struct.dataclass
class Sequences:
    """N stretches of L consecutive steps, `[N, L, ...]`, as PPO learns from them."""

    observations: PyTree
    actions: PyTree
    dones: jax.Array
    log_probs: jax.Array
    values: jax.Array
    advantages: jax.Array
    targets: jax.Array
    hidden: jax.Array
    """Memory before the first step of each, `[N, H]`."""


@dataclasses.dataclass
class PPO(ActorCritic):
    """PPO with a clipped ratio and a clipped value loss (Schulman et al. 2017, arxiv.org/abs/1707.06347).

    total = L_policy + value_coeff L_value - entropy_coeff H, where with ratio = pi / pi_behaviour
    L_policy = -mean min(ratio A, clip(ratio, 1 - eps, 1 + eps) A), A standardised within the minibatch unless
    `standardise_advantages` says otherwise, and
    L_value = mean max((target - V)^2, (target - V_b - clip(V - V_b, -eps, eps))^2).

    A recurrent network learns by back-propagation through time, truncated to `sequence_length` steps, from
    the memory that was stored at the first of them. Where the memory outlives an episode, so must the
    sequences: what happens between two episodes gets its gradient from the steps that follow it.
    """

    reward_scale: float = 1.0
    """Factor of the rewards in the loss, so that values have a size that a network learns quickly."""
    gae_lambda: float = 0.95
    """Factor per step of the errors of value that advantages sum: lower is less noisy and more biased."""
    clip_epsilon: float = 0.2
    """How far the ratio of probabilities, and a value, may move from what they were in the rollout."""
    value_coeff: float = 0.5
    """Weight of the value loss."""
    clip_value: bool = True
    """Whether the value loss is clipped too."""
    entropy_coeff: float = 0.02
    """Weight of the entropy bonus, at the start."""
    entropy_coeff_end: float = 0.02
    """Its weight after `entropy_coeff_horizon` steps."""
    entropy_coeff_horizon: int = 0
    """Environment steps of this agent over which the entropy coefficient moves linearly from `entropy_coeff`
    to `entropy_coeff_end`; 0 keeps the first."""
    standardise_advantages: bool = True
    """Whether advantages are centred and divided by their standard deviation, minibatch by minibatch."""
    num_epochs: int = 4
    """Passes over each rollout."""
    num_minibatches: int = 10
    """Parts of a rollout, each of which makes one step of the optimiser per epoch."""
    sequence_length: int = 10
    """Steps per sequence of a recurrent network, 0 for the whole rollout; others learn from single steps."""
    bootstrap_on_time_limit: bool = True
    """Whether an episode that reached its time limit counts as continuing: with its successor in the rollout,
    the next episode of the trial, or else with the value of the last observation. Actions in one episode
    matter in the next one where others learn in between, even for agents without memory.

    Games whose episodes restart within a rollout report how each ended, and ignore this setting: nothing
    follows a terminated episode, and a truncated one, by the game or by the end of a rollout, is worth the
    value of its last observation. Only agents that remember whole trials count all that follows."""

    limits: ClassVar = ActorCritic.limits | {
        "reward_scale": POSITIVE,
        "gae_lambda": SHARE,
        "clip_epsilon": POSITIVE,
        "value_coeff": NOT_NEGATIVE,
        "entropy_coeff": NUMBER,
        "entropy_coeff_end": NUMBER,
        "entropy_coeff_horizon": COUNT_OR_NONE,
        "num_epochs": COUNT,
        "num_minibatches": COUNT,
        "sequence_length": COUNT_OR_NONE,
    }

    def check_rollout(
        self, num_steps: int, num_envs: int, num_opps: int = 1, num_episodes: int = 1
    ) -> None:
        batch_size = num_opps if self.groups_environments else num_opps * num_envs
        name, length = type(self).__name__, self._length(num_steps)
        spans = self.remembers_trial and num_episodes > 1
        if num_steps % length:
            shortest = num_steps // num_episodes + 1 if spans else 1
            lengths = [steps for steps in divisors(num_steps) if steps >= shortest]
            raise ConfigError(
                f"sequence_length is {length} in {name} and does not divide the {num_steps} steps of a "
                f"rollout: change sequence_length to {_nearest(lengths, length)}, or the steps"
            )
        if spans:
            self._check_trial(num_steps, num_episodes)
        sequences = num_steps // length * batch_size
        samples = sequences * length * (num_envs if self.groups_environments else 1)
        # A minibatch of one sample cannot be standardised.
        numbers = [number for number in divisors(sequences) if samples // number > 1]
        if sequences % self.num_minibatches:
            what = (
                f"{sequences} sequences of {length} steps" if length > 1 else f"{sequences} steps"
            )
            raise ConfigError(
                f"num_minibatches is {self.num_minibatches} in {name} and does not divide the {what} of "
                f"a rollout: change it to {_nearest(numbers or [1], self.num_minibatches)}, or change "
                "num_envs, num_opps or num_inner_steps"
            )
        if self.num_minibatches not in numbers:
            raise ConfigError(
                f"num_minibatches is {self.num_minibatches} in {name} and leaves 1 step in each, whose "
                "advantage, standardised within the minibatch, is always 0, so that nothing is learned: "
                "use fewer minibatches, or more environments or steps"
            )

    def _check_trial(self, num_steps: int, num_episodes: int) -> None:
        """Checks that sequences span the episodes of a trial, and that returns do."""
        name, episode = type(self).__name__, num_steps // num_episodes
        if self._length(num_steps) <= episode:
            spans = [steps for steps in divisors(num_steps) if steps > episode]
            raise ConfigError(
                f"sequence_length is {self.sequence_length} in {name}, whose memory outlives the episodes of "
                f"{episode} steps, and what it keeps between them is learned from sequences that span "
                f"their ends: use {spans[0]} or more steps that divide {num_steps}, or 0 for the whole trial"
            )
        reach = self.discount**episode
        if not self.bootstrap_on_time_limit:
            logging.warning(
                "bootstrap_on_time_limit is False in %s: nothing that follows an episode counts, and %s does "
                "not learn to shape others; leave it True.",
                name,
                name,
            )
        elif reach < 0.01:
            logging.warning(
                "discount is %g in %s: of a reward in the next episode, which begins %d steps later, %.1g "
                "counts, and %s does not learn to shape others; take a discount nearer 1.",
                self.discount,
                name,
                episode,
                reach,
                name,
            )

    def _length(self, num_steps: int) -> int:
        """Steps per sequence of a rollout of `num_steps`."""
        if not self.recurrent:
            return 1
        return self.sequence_length or num_steps

    def update(
        self,
        rollout: Sample,
        last_observations: PyTree,
        state: TrainingState,
        memory: MemoryState,
        key: jax.Array,
        advantages: tuple[jax.Array, jax.Array] | None = None,
    ) -> tuple[TrainingState, MemoryState, Metrics]:
        """Runs one round of PPO, on other advantages and targets `[T, B]` than its own if they are given."""
        if self.groups_environments and rollout.rewards.ndim == 2:
            rollout = jax.tree.map(lambda leaf: leaf[:, None], rollout)
            last_observations, memory_before = jax.tree.map(
                lambda leaf: leaf[None], (last_observations, memory)
            )
        else:
            memory_before = memory
        batch = self._prepare(rollout, last_observations, state, memory_before, advantages)
        entropy_coeff = self._entropy_coeff(state.updates, rollout.rewards.size)
        size = batch.actions.shape[0]
        shape = (self.num_minibatches, size // self.num_minibatches)

        def minibatch_step(carry: tuple[PyTree, PyTree], chosen: jax.Array) -> Any:
            params, opt_state = carry
            minibatch = take(batch, chosen)
            gradients, metrics = jax.grad(self.loss, has_aux=True)(params, minibatch, entropy_coeff)
            metrics["gradient_norm"] = optax.tree.norm(gradients)
            return self.apply_gradients(gradients, params, opt_state), metrics

        def epoch(carry: tuple[PyTree, PyTree], key: jax.Array) -> Any:
            # The inputs of a scan are stored. A permutation outside of it would be recomputed for every
            # leaf, as part of its gather.
            order = random_permutation(key, size)
            return jax.lax.scan(minibatch_step, carry, order.reshape(shape))

        (params, opt_state), metrics = jax.lax.scan(
            epoch, (state.params, state.opt_state), jax.random.split(key, self.num_epochs)
        )
        metrics = {name: values.mean() for name, values in metrics.items()}
        metrics["entropy_coeff"] = entropy_coeff
        return TrainingState(params, opt_state, state.updates + 1), memory, metrics

    def loss(
        self, params: PyTree, batch: Sequences, entropy_coeff: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Returns the PPO loss of a minibatch of sequences, and its parts."""
        # Time comes first only here: shuffling and minibatches need the sequences first.
        observations, actions, dones, log_probs, values_b, advantages, targets = jax.tree.map(
            lambda leaf: jnp.swapaxes(leaf, 0, 1),
            (
                batch.observations,
                batch.actions,
                batch.dones,
                batch.log_probs,
                batch.values,
                batch.advantages,
                batch.targets,
            ),
        )
        distribution, values = self.unroll(params, batch.hidden, observations, dones)
        new_log_probs = distribution.log_prob(actions)
        log_ratio = new_log_probs - log_probs
        ratio = jnp.exp(log_ratio)
        if self.standardise_advantages:
            advantages = standardise(advantages, jnp.abs(targets).mean() + jnp.abs(values_b).mean())
        clipped = jnp.clip(ratio, 1.0 - self.clip_epsilon, 1.0 + self.clip_epsilon)
        loss_policy = -jnp.minimum(ratio * advantages, clipped * advantages).mean()

        error = jnp.square(targets - values)
        if self.clip_value:
            change = jnp.clip(values - values_b, -self.clip_epsilon, self.clip_epsilon)
            error = jnp.maximum(error, jnp.square(targets - values_b - change))
        loss_value = error.mean()

        if is_on(self.entropy_coeff) or (
            is_on(self.entropy_coeff_horizon) and is_on(self.entropy_coeff_end)
        ):
            entropy = distribution.entropy().mean()
        else:
            # Only reported: the unbiased estimate from the actions is free, while the entropy of
            # clipped actions is expensive.
            entropy = -jax.lax.stop_gradient((ratio * new_log_probs).mean())
        total = loss_policy + self.value_coeff * loss_value - entropy_coeff * entropy
        return total, {
            "loss_total": total,
            "loss_policy": loss_policy,
            "loss_value": loss_value,
            "entropy": entropy,
            "approx_kl": (ratio - 1.0 - log_ratio).mean(),
            "clip_fraction": (jnp.abs(ratio - 1.0) > self.clip_epsilon).mean(),
        }

    def advantages(
        self,
        rollout: Sample,
        last_observations: PyTree,
        state: TrainingState,
        memory: MemoryState,
        *,
        last_value: jax.Array | None = None,
        gae_lambda: float | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Computes generalised advantages and targets `[T, B]` of a rollout.

        What follows it is worth `last_value`, `[B]`, or else the value of the last observations; `gae_lambda`
        replaces that of the agent.
        """
        if last_value is None:
            _, _, last_value = self.forward(state.params, memory.hidden, last_observations)
        if gae_lambda is None:
            gae_lambda = self.gae_lambda
        ended = jnp.zeros_like(rollout.dones) if self.bootstrap_on_time_limit else rollout.dones
        rewards = self.reward_scale * rollout.rewards
        if rollout.ends is not None and not self.remembers_trial:
            # The value of the final observation of a truncated episode is added to its last reward.
            cut_off = rollout.ends.truncated & ~rollout.ends.terminated
            following = self._value_of_final(rollout, state)
            rewards += self.discount * jnp.where(cut_off, following, 0.0)
            ended = ended | rollout.ends.terminated | rollout.ends.truncated
        return generalised_advantage_estimation(
            rewards, rollout.values, ended, last_value, self.discount, gae_lambda
        )

    def _prepare(
        self,
        rollout: Sample,
        last_observations: PyTree,
        state: TrainingState,
        memory: MemoryState,
        advantages: tuple[jax.Array, jax.Array] | None = None,
    ) -> Sequences:
        """Returns the rollout `[T, B]` cut into sequences `[T / L * B, L]`, with advantages and targets."""
        if advantages is None:
            advantages = self.advantages(rollout, last_observations, state, memory)
        found, targets = advantages

        def cut(leaf: jax.Array) -> jax.Array:
            steps, envs = leaf.shape[:2]
            length = self._length(steps)
            leaf = leaf.reshape(steps // length, length, envs, *leaf.shape[2:])
            return jax.lax.collapse(jnp.swapaxes(leaf, 1, 2), 0, 2)

        return Sequences(
            observations=jax.tree.map(cut, rollout.observations),
            actions=jax.tree.map(cut, rollout.actions),
            dones=cut(rollout.dones),
            log_probs=cut(rollout.log_probs),
            values=cut(rollout.values),
            advantages=cut(found),
            targets=cut(targets),
            hidden=cut(rollout.hiddens)[:, 0],
        )

    def _value_of_final(self, rollout: Sample, state: TrainingState) -> jax.Array:
        """Returns the values `[T, B]` of the final observations after each step."""
        assert rollout.ends is not None
        hidden, _, _ = self.forward(state.params, rollout.hiddens, rollout.observations)
        return self.forward(state.params, hidden, rollout.ends.final_observations)[2]

    def _entropy_coeff(self, updates: jax.Array, steps_per_update: int) -> jax.Array:
        if not is_on(self.entropy_coeff_horizon):
            return jnp.asarray(self.entropy_coeff, jnp.float32)
        fraction = updates.astype(jnp.float32) * steps_per_update / self.entropy_coeff_horizon
        difference = self.entropy_coeff_end - self.entropy_coeff
        return self.entropy_coeff + difference * jnp.minimum(fraction, 1.0)


@dataclasses.dataclass
class PPOMemory(PPO):
    """PPO with a recurrent network, whose memory lasts for an episode: `PPO_memory` in configs.

    `network` names the memory, `gru`, `linear` or `module.Class` of your own, of `hidden_size` numbers.
    """

    network: str = "gru"


@dataclasses.dataclass
class Tabular(PPO):
    """PPO with a table over the observations: a row of logits and a value for each, all 0 at first.

    Raises:
        ConfigError: if observations or actions are not integers (`Discrete`).
    """

    network: str = "table"


def _nearest(numbers: list[int], wanted: int) -> int:
    return min(numbers, key=lambda number: (abs(number - wanted), number))


def divisors(number: int) -> list[int]:
    """Returns the numbers that divide another one, the smallest first."""
    # In pairs: a rollout may have a billion steps.
    small = [each for each in range(1, math.isqrt(number) + 1) if number % each == 0]
    return sorted({*small, *(number // each for each in small)})
