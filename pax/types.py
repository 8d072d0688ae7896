"""The structs that flow between the loop, the agents and the learners."""

from __future__ import annotations

from typing import Any

import jax
from flax import struct

PyTree = Any
Metrics = dict[str, jax.Array]


def take(tree: PyTree, index: Any) -> PyTree:
    """Returns the entry `index` of the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


@struct.dataclass
class TrainingState:
    """What an agent has learned. It holds no random key: whoever calls an agent passes one."""

    params: PyTree
    opt_state: PyTree
    updates: jax.Array
    """Calls of `Agent.update` so far, int32."""


@struct.dataclass
class MemoryState:
    """What an agent remembers from step to step, for a batch of B environments."""

    hidden: jax.Array
    """Recurrent carry `[B, H]`; H is 0 where there is none."""
    extras: dict[str, jax.Array]
    """Of the last act: `log_probs` `[B]` and `values` `[B]`, float32."""


@struct.dataclass
class Ends:
    """How episodes ended that are over before the rollout is."""

    terminated: jax.Array
    """Nothing follows: no reward after this step counts, bool."""
    truncated: jax.Array
    """Cut off, and not `terminated`: what would have followed has the value of the final observation, bool.
    So is the last step of every rollout, as the next rollout begins anew."""
    final_observations: PyTree
    """After the step, before the next episode began; of no meaning where none was over or cut off."""


@struct.dataclass
class Sample:
    """One step of an agent's experience, or a rollout of them with time axes in front: `[T, B, ...]`."""

    observations: PyTree
    """Seen before the action."""
    actions: PyTree
    rewards: jax.Array
    log_probs: jax.Array
    """Log-probability of the action under the policy that took it."""
    values: jax.Array
    """Value of the observation under the policy that acted."""
    dones: jax.Array
    """True on the last step of an episode, bool."""
    hiddens: jax.Array
    """Memory *before* the step, `[..., H]`."""
    ends: Ends | None = None
    """In games that begin anew within a rollout, how episodes ended; None in others."""
    num_seats: int = struct.field(pytree_node=False, default=1)
    """Of the role. The batch consists of blocks of seats x environments: see `pax.agents.seats`."""
    num_envs: int = struct.field(pytree_node=False, default=1)
    """Environments in such a block."""


@struct.dataclass
class Task:
    """What is drawn per opponent and trial. Samplers (see `pax.tasks`) fill it in."""

    env_params: PyTree
    stop: jax.Array | None = None
    """Episode from which on agents no longer learn within the trial, int32; None: they never stop."""
    hyperparameters: dict[str, dict[str, jax.Array]] = struct.field(default_factory=dict)
    """Optimiser hyper-parameters by role that replace the configured ones, such as `learning_rate`."""
    seats: jax.Array | None = None
    """The player of the game that each seat plays in this trial, a permutation `[num_players]`; None: its
    own. Observations and rewards go from players to seats, and actions back."""
    self_play: jax.Array | None = None
    """Whether roles take over their `self_play_seats`, bool; None: they do not."""
    taken_over: jax.Array | None = None
    """Which of these they take over in trials of self-play, by seat, bool `[num_players]`; None: all."""
    told: jax.Array | None = None
    """What is added to every number of the memory with which agents that learn begin the trial, float32: a
    message that those with a memory can read; None: nothing."""
    blind: dict[str, jax.Array] = struct.field(default_factory=dict)
    """By role, the environments `[E]` in which it keeps seeing the first observation, bool."""


@struct.dataclass
class Trial:
    """What came of a trial: K episodes of T steps in E environments against one set of opponents.

    A part that is not read is neither computed nor stored. Outside one trial every leaf has the axes
    `[C, O]` (candidates, opponents) in front.
    """

    rollouts: dict[str, Sample]
    """By role, `[K, T, B, ...]` with B = seats x E."""
    last_observations: dict[str, PyTree]
    """By role, after the last step of each episode, `[K, B, ...]`."""
    last_memories: dict[str, MemoryState]
    """By role, after the last step of the trial, `[B, ...]`."""
    rewards: dict[str, jax.Array]
    """By role, mean reward per step over its seats, steps and environments: the fitness."""
    reward_per_timestep: jax.Array
    """By player, `[num_players]`."""
    episode_rewards: jax.Array
    """The same for each episode, `[K, num_players]`."""
    statistics: PyTree
    """Summed over episodes: see `Environment.episode_statistics`."""
    learning_metrics: dict[str, Metrics]
    """By role that learns in the trial, what its updates reported, averaged over them; 0 if none happened."""
    env_states: PyTree = None
    """The game's states before each step, `[K, T, E, ...]`."""
    actions: tuple[PyTree, ...] | None = None
    """By player, `[K, T, E, ...]`."""
    env_rewards: jax.Array | None = None
    """`episode_rewards` of every environment, `[K, num_players, E]`."""
    episode_statistics: PyTree = None
    """`statistics` of each episode, `[K, ...]`."""


@struct.dataclass
class RunState:
    """Everything a run needs to go on; a checkpoint is one of these."""

    step: jax.Array
    """Iterations done, int32."""
    keys: jax.Array
    """One typed key per seed, `[S]`, never changed: keys of an iteration are derived from it and `step`."""
    learners: dict[str, PyTree]
    """By role that learns across trials, the learner's state, `[S, ...]`."""
    inner: dict[str, TrainingState]
    """By role that lives on from trial to trial without a learner, `[S, C, O, ...]`."""
    averages: dict[str, PyTree] = struct.field(default_factory=dict)
    """By role that keeps one, the moving average of the parameters of the policy that its learner deploys,
    `[S, ...]`."""


@struct.dataclass
class LineUp:
    """Who meets whom in an iteration: every role's state before its trials, by role.

    In front, a state has the axis C if every candidate has one of its own, and then the axis O if every set
    of opponents has one of its own.
    """

    states: dict[str, TrainingState]
    candidate_axes: dict[str, int | None] = struct.field(pytree_node=False)
    """0 where a state has the axis C, else None: the `in_axes` of a `vmap`."""
    opponent_axes: dict[str, int | None] = struct.field(pytree_node=False)
    """The same for the axis O."""

    def first(self) -> dict[str, TrainingState]:
        """Returns the states in the trial of the first candidate against the first opponent."""
        axes = {name: [self.candidate_axes[name], self.opponent_axes[name]] for name in self.states}
        return {
            name: take(state, tuple(axis for axis in axes[name] if axis is not None))
            for name, state in self.states.items()
        }
