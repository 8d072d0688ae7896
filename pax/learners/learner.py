"""What improves a role across trials."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from pax.agents.agent import Agent
from pax.errors import ConfigError
from pax.types import LineUp, Metrics, PyTree, Task, TrainingState, Trial

if TYPE_CHECKING:
    from pax.roles import Role


class Experience(NamedTuple):
    """What a learner learns from: what happened in an iteration, and what it may ask, what *would* happen.

    C candidates have met O opponents in K episodes of T steps, in E environments.
    """

    role: str
    """Who learns."""
    key: jax.Array
    """Of this update."""
    trial: Trial
    """What came of the trials, every leaf with the axes `[C, O]` in front."""
    tasks: Task
    """What they were about, `[O, ...]`."""
    line_up: LineUp
    """Who played them. States of the role that learns are its candidates."""
    agents: dict[str, Agent]
    """Who acts, by role."""
    play: Callable[[jax.Array, dict[str, TrainingState], Task], Trial]
    """`play(key, states_by_role, task)`: one trial against one set of opponents; differentiable in the
    states wherever the game and the agents are."""
    learns_in_self_play: bool = False
    """Whether somebody learns within the trials of self-play, too: on a seat that nobody takes over."""


class Learner:
    """Proposes candidates for a role, sees how their trials went, and improves. All methods are pure.

    The constructor takes the agent, the settings in the section `learner` of a role, and `initial`, the
    policy to start from.
    """

    num_candidates: int = 1
    """C."""
    reads_rollouts: bool = False
    """Whether `update` looks at the role's rollouts; where no one does, they are never stored."""
    why_no_average: str = ""
    """Why a moving average of what it deploys makes no sense, as a clause; empty where it does."""

    @classmethod
    def for_agent(
        cls, agent: Agent, initial: TrainingState | None = None, **settings: Any
    ) -> Learner:
        """Returns a learner that improves an agent.

        Args:
            agent: who acts.
            initial: the exported policy that the role names, if it names one.
            **settings: of the constructor.

        Raises:
            ConfigError: if the agent or the settings do not suit it.
        """
        if initial is None:
            return cls(agent, **settings)  # type: ignore[call-arg]
        if "initial" not in inspect.signature(cls).parameters:
            raise ConfigError(f"{cls.__name__} starts from no policy: leave path empty")
        return cls(agent, **settings, initial=initial)  # type: ignore[call-arg]

    @classmethod
    def subsections(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        """Returns the defaults of settings that are sections, by name; they may depend on the others."""
        del settings
        return {}

    def init(self, key: jax.Array) -> PyTree:
        """Returns the learner's first state."""
        raise NotImplementedError

    def starting_with(self, change: Callable[[PyTree], PyTree]) -> Learner:
        """Returns this learner with other parameters to start from.

        Here it is a copy of a learner that gets them from `self.agent.init`; other learners override it.

        Args:
            change: takes fresh parameters of the agent, and returns some of the same shapes.

        Raises:
            ConfigError: if it starts from no fresh parameters.
        """
        agent = getattr(self, "agent", None)
        if not isinstance(agent, Agent):
            raise ConfigError(
                f"{type(self).__name__} keeps no agent of which to change the first parameters: have it keep "
                "the one that it is given as self.agent, or define starting_with"
            )
        init = agent.init

        def changed(key: jax.Array) -> TrainingState:
            state = init(key)
            return dataclasses.replace(state, params=change(state.params))

        learner: Any = copy.copy(self)
        learner.agent = copy.copy(agent)
        # An attribute of the copy, which comes before the method of its class.
        object.__setattr__(learner.agent, "init", changed)
        return learner

    def propose(self, state: PyTree, key: jax.Array) -> tuple[TrainingState, PyTree]:
        """Returns what the role plays in this iteration's trials, `[C, ...]`, and the state to update."""
        raise NotImplementedError

    def update(self, state: PyTree, experience: Experience) -> tuple[PyTree, Metrics]:
        """Learns from the trials of an iteration; returns the new state and named scalars."""
        raise NotImplementedError

    def deploy(self, state: PyTree) -> TrainingState:
        """Returns the one policy that this learner would be judged by: evaluated, and exported."""
        raise NotImplementedError

    def exports(self, state: PyTree) -> dict[str, TrainingState]:
        """Returns the policies worth keeping, by what is added to the role's name in a file name."""
        return {"": self.deploy(state)}

    def check(self, num_opps: int, num_outer_steps: int, num_steps: int, num_envs: int) -> None:
        """Raises ConfigError unless it can learn from trials of this size.

        Args:
            num_opps: sets of opponents, those of all candidates together.
            num_outer_steps: episodes of a trial.
            num_steps: of an episode.
            num_envs: environments, side by side for each seat.
        """
        del num_opps, num_outer_steps, num_steps, num_envs

    def check_others(self, role: Role, others: Sequence[Role], num_outer_steps: int) -> None:
        """Raises ConfigError unless it can improve `role` beside the other roles of the game."""
        del role, others, num_outer_steps
