"""Somebody to play with: an agent, what it has learned, and what it remembers from step to step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pax.agents.agent import Agent
from pax.checks import COUNT_OR_NONE, check_instance, check_kind, check_number, short
from pax.envs.masks import MASK, mask_of
from pax.envs.spaces import Box, Cells, Dict, Discrete, Space
from pax.errors import ConfigError
from pax.learners.frozen import Frozen
from pax.loop.xla import compiler_options
from pax.roles import Role
from pax.types import MemoryState, PyTree, TrainingState


class Player:
    """An agent that acts on one observation after the other, and learns nothing.

    >>> player = pax.load_agent("exp/mine", "agent1")
    >>> player.act(4)
    0

    Attributes:
        agent: how it acts.
        state: what it has learned.
        name: what it is called in figures and messages.
    """

    def __init__(
        self, agent: Agent, state: TrainingState | None = None, *, name: str = "", seed: int = 0
    ):
        """Takes an agent and what it has learned; None: what a new one knows.

        Args:
            agent: made for the game, such as `TitForTat.for_env(env)`.
            state: its parameters.
            name: what it is called.
            seed: of the actions that it draws.
        """
        check_instance("agent", agent, Agent, "an agent, such as TitForTat.for_env(env)")
        check_number("seed", seed, COUNT_OR_NONE)
        self.agent = agent
        self.state = agent.init(jax.random.key(seed)) if state is None else state
        self.name = name or type(agent).__name__
        self._key = jax.random.key(seed)
        self._num_acts = 0
        self._memory: MemoryState | None = None
        self._step = jax.jit(self._draw_and_act, compiler_options=compiler_options())

    def act(self, observation: PyTree) -> PyTree:
        """Acts on what it sees, and remembers it.

        Args:
            observation: of one game, as the agent's `observation_space` says; or of B games side by side,
                `[B, ...]`, which stay the same ones until `reset`.

        Returns:
            The action as numpy has it, or B of them, `[B, ...]`; a Discrete one of one game is an int.

        Raises:
            ConfigError: if the observation is none of this agent's game.
        """
        rows, is_one = _rows(observation, self.agent.observation_space)
        num_games = len(jax.tree.leaves(rows)[0])
        memory = self._memory
        if memory is None:
            memory = self.agent.initial_memory(self.agent.initial_hidden(num_games))
        elif memory.hidden.shape[0] != num_games:
            raise ConfigError(
                f"observation is of {num_games} games, and {self.name} remembers "
                f"{memory.hidden.shape[0]}: call reset() before others begin"
            )
        key = jax.random.fold_in(self._key, self._num_acts)
        self._num_acts += 1
        actions, self._memory = self._step(self.state, rows, memory, key)
        actions = jax.tree.map(np.asarray, actions)
        if not is_one:
            return actions
        action = jax.tree.map(lambda leaf: leaf[0], actions)
        return int(action) if isinstance(self.agent.action_space, Discrete) else action

    def reset(self, new_trial: bool = True) -> None:
        """Forgets the games so far; agents that remember a trial keep that for its next episode if told so.

        Args:
            new_trial: False: only the episode is over, and the next one of the same trial begins.
        """
        check_kind("new_trial", new_trial, False)
        if new_trial or self._memory is None:
            self._memory = None
        else:
            self._memory = self.agent.reset_memory(self._memory, False, self.state)

    def as_role(self, name: str, seats: tuple[int, ...]) -> Role:
        """Returns the role that plays this policy, frozen, on some seats of a game."""
        return Role(name, self.agent, seats, Frozen.of(self.state))

    def _draw_and_act(
        self, state: TrainingState, rows: PyTree, memory: MemoryState, key: jax.Array
    ) -> tuple[PyTree, MemoryState]:
        draw, act = self.agent.split_policy()
        return act(state, rows, memory, draw(key, memory.hidden.shape[:1]))

    def __repr__(self) -> str:
        return f"Player({self.name}, {type(self.agent).__name__})"


def _rows(observation: PyTree, space: Space) -> tuple[PyTree, bool]:
    """Returns observations `[B, ...]` as the space has them, and whether there was one only, without B."""
    if isinstance(space, Dict):
        names = [name for name, _ in space.parts]
        if not isinstance(observation, dict) or sorted(observation) != sorted(names):
            raise ConfigError(f"observation is {short(observation)}: give a dict of {names}")
        parts = {name: _rows(observation[name], part) for name, part in space.parts}
        kinds = {(is_one, len(jax.tree.leaves(rows)[0])) for rows, is_one in parts.values()}
        if len(kinds) > 1:
            raise ConfigError("observation has parts of different numbers of games: give as many")
        rows = {name: rows for name, (rows, _) in parts.items()}
        mask = mask_of(space, rows)
        if mask is not None and not np.asarray(mask).any(axis=-1).all():
            raise ConfigError(f"{MASK} of the observation allows no action: allow one at least")
        return rows, kinds.pop()[0]
    return _array(observation, space)


def _array(observation: PyTree, space: Discrete | Cells | Box) -> tuple[jax.Array, bool]:
    try:
        array = np.asarray(observation)
    except ValueError:
        array = np.array(None)
    is_whole = isinstance(space, Discrete | Cells)
    if array.dtype.kind not in ("iu" if is_whole else "iufb"):
        what = "a whole number" if isinstance(space, Discrete) else "numbers"
        raise ConfigError(f"observation is {short(observation)}: give {what} of {space}")
    is_one = array.shape == space.shape
    fits = is_one or (array.shape[1:] == space.shape and array.ndim > 0 and len(array) > 0)
    if not fits:
        raise ConfigError(
            f"observation has shape {array.shape}: give {space.shape}, or [B, ...] of B games, of {space}"
        )
    if isinstance(space, Discrete | Cells) and not ((array >= 0) & (array < space.n)).all():
        raise ConfigError(f"observation is {short(observation)}: give 0 to {space.n - 1}")
    rows = array[None] if is_one else array
    return jnp.asarray(rows, space.dtype), is_one
