"""What improves a role across trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax

from pax.agents.agent import Agent
from pax.types import Metrics, PyTree, Task, TrainingState, Trial

if TYPE_CHECKING:
    from pax.roles import Role


class World(NamedTuple):
    """What a learner may ask besides what happened: what *would* happen."""

    play: Callable[[jax.Array, dict[str, TrainingState], Task], Trial]
    """`play(key, states_by_role, task)`: one trial against one set of opponents; differentiable in the
    states wherever the game and the agents are."""
    tasks: Task
    """The tasks of this iteration, `[O, ...]`."""
    states: dict[str, TrainingState]
    """Every role's state at the start of the trials, with the axes `[C, O]` where it has them."""
    axes: dict[str, int]
    """How many of these axes every role's state has."""
    agents: dict[str, Agent]
    """Who acts, by role."""


class Learner:
    """Proposes candidates for a role, sees how their trials went, and improves. All methods are pure."""

    num_candidates: int = 1
    """C."""
    reads_rollouts: bool = False
    """Whether `update` looks at the role's rollouts; where no one does, they are never stored."""

    def init(self, key: jax.Array) -> PyTree:
        """Returns the learner's first state."""
        raise NotImplementedError

    def propose(self, state: PyTree, key: jax.Array) -> tuple[TrainingState, PyTree]:
        """Returns what the role plays in this iteration's trials, `[C, ...]`, and the state to update."""
        raise NotImplementedError

    def update(
        self,
        state: PyTree,
        candidates: TrainingState,
        trial: Trial,
        world: World,
        role: str,
        key: jax.Array,
    ) -> tuple[PyTree, Metrics]:
        """Learns from the trials `[C, O, ...]` of `role`; returns the new state and named scalars."""
        raise NotImplementedError

    def deploy(self, state: PyTree) -> TrainingState:
        """Returns the one policy that this learner would be judged by: evaluated, and exported."""
        raise NotImplementedError

    def exports(self, state: PyTree) -> dict[str, TrainingState]:
        """Returns the policies worth keeping, by what is added to the role's name in a file name."""
        return {"": self.deploy(state)}

    def check(self, num_opps: int, num_outer_steps: int, num_steps: int, num_envs: int) -> None:
        """Raises ConfigError unless it can learn from trials of this size."""
        del num_opps, num_outer_steps, num_steps, num_envs

    def check_others(self, role: Role, others: Sequence[Role], num_outer_steps: int) -> None:
        """Raises ConfigError unless it can improve `role` beside the other roles of the game."""
        del role, others, num_outer_steps
