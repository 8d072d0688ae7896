"""Roles: who sits where, and when and how they learn."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import jax

from pax.agents.agent import Agent
from pax.checkpoints.policies import AVERAGE
from pax.checks import (
    SHARE,
    WHOLE,
    check_distinct,
    check_instance,
    check_items,
    check_kind,
    check_name,
    check_number,
)
from pax.envs.environment import Environment
from pax.errors import ConfigError
from pax.interface import check_spaces
from pax.learners.gradient import Gradient
from pax.learners.learner import Learner

MAX_INITIAL_STATES = 1_000_000
"""Their random keys are drawn all at once."""


@dataclasses.dataclass(frozen=True)
class Role:
    """An agent, its seats, and how it learns.

    Raises:
        ConfigError: if a setting is of the wrong kind; whether it fits the game is checked by `MetaTrainer`.
    """

    name: str
    agent: Agent
    seats: tuple[int, ...]
    """Players (from 0) that this role plays; several share one policy, updated as one batch."""
    learner: Learner | None = None
    """Improves the role across trials; None: nothing does."""
    learns_in_trial: bool = False
    """Whether `agent.update` runs after every episode."""
    reset_every: int = 1
    """For a role without a learner: the trials after which it starts afresh; 0 = it lives for ever."""
    self_play_seats: tuple[int, ...] = ()
    """Seats of other roles that it takes over in trials that a task declares self-play."""
    member_of: str = ""
    """The name of a role with several candidates: this role begins every trial with the parameters of another
    of them than the one in the trial, drawn for every opponent. It may have no seats but those that it takes
    over."""
    num_initial_states: int = 0
    """From how many states, the same in all trials, one that starts afresh in a trial draws; 0: a new one."""
    ema_decay: float = 0.0
    """The decay per update of the exponential moving average of the policy that its learner trains: from 0
    (no average) to less than 1. See `pax.loop.averages`."""
    warm_start: str | os.PathLike[str] = ""
    """An exported policy of which the learner takes, to begin with, every parameter that has the name and the
    shape of one of its own; the others are fresh. `{seed}` in the path is the number of the seed, from 0,
    and in one of the zoo from 1, as policies are numbered there."""
    warm_start_parts: str = ""
    """Patterns with commas in between: of `warm_start` only parameters of such names, as in
    `cell*,heads/value`; all if empty."""

    def __post_init__(self) -> None:
        """Checks the kinds of all this; `check_roles` checks how it fits a game."""
        check_name("a role", self.name)
        where = f"role {self.name}"
        remedy = "an agent, such as PPO.for_env(env)"
        check_instance(f"agent of {where}", self.agent, Agent, remedy)
        if self.learner is not None:
            remedy = "a learner, such as pax.learners.Gradient(agent), or None"
            check_instance(f"learner of {where}", self.learner, Learner, remedy)
        for field in ("seats", "self_play_seats"):
            seats = getattr(self, field)
            check_items(f"{field} of {where}", seats, "a tuple of players, such as (0,)")
            for seat in seats:
                check_number(field, seat, WHOLE, where)
            object.__setattr__(self, field, tuple(seats))
        check_kind("learns_in_trial", self.learns_in_trial, False, where)
        check_kind("member_of", self.member_of, "", where)
        check_number("num_initial_states", self.num_initial_states, WHOLE, where)
        check_number("reset_every", self.reset_every, WHOLE, where)
        remedy = "the path of an exported policy"
        check_instance(f"warm_start of {where}", self.warm_start, (str, os.PathLike), remedy)
        object.__setattr__(self, "warm_start", os.fspath(self.warm_start))
        check_kind("warm_start_parts", self.warm_start_parts, "", where)
        check_number("ema_decay", self.ema_decay, SHARE, where)

    @property
    def carried(self) -> bool:
        """Whether its state outlives an iteration without a learner."""
        return self.learner is None and self.reset_every != 1 and self.learns_in_trial


def as_role(role: Role | Agent, seat: int) -> Role:
    """Returns a role as it is; a bare agent as the role `agent<seat + 1>` on that seat."""
    if isinstance(role, Role):
        return role
    return Role(f"agent{seat + 1}", role, (seat,), Gradient(role) if role.learns else None)


def check_roles(roles: Sequence[Role], env: Environment) -> None:
    """Raises ConfigError unless every seat has exactly one role, whose agent was made for it."""
    names = [role.name for role in roles]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two roles are called {name}: give each its own name")
    check_distinct("roles", names)
    owner: dict[int, str] = {}
    for role in roles:
        if role.reset_every < 0:
            raise ConfigError(
                f"reset_every is {role.reset_every} in role {role.name}: give trials, or 0 for never"
            )
        if role.num_initial_states:
            _check_initial_states(role)
        if role.ema_decay:
            _check_average(role, names)
        if role.warm_start or role.warm_start_parts:
            _check_warm_start(role)
        if role.member_of:
            check_member(role, roles)
        if not role.seats and not (role.member_of and role.self_play_seats):
            raise ConfigError(
                f"role {role.name} has no seat: name the players that it plays, such as (0,)"
            )
        if role.learns_in_trial and not role.seats:
            raise ConfigError(
                f"learns_in_trial is True in role {role.name}, which only takes over seats of others, and "
                "roles learn from seats of their own: use False"
            )
        _check_learner(role)
        for seat in role.seats:
            if not 0 <= seat < env.num_players:
                raise ConfigError(
                    f"role {role.name} sits on seat {seat}: this game has seats 0 to "
                    f"{env.num_players - 1}"
                )
            if seat in owner:
                raise ConfigError(
                    f"roles {owner[seat]} and {role.name} both sit on seat {seat}: give one of them "
                    "another seat"
                )
            owner[seat] = role.name
    takers: dict[int, str] = {}
    for role in roles:
        for seat in role.self_play_seats:
            if seat in takers:
                raise ConfigError(
                    f"self_play_seats of role {role.name} names seat {seat}, which is taken over by "
                    f"{takers[seat]} already: give it to one of them, and once"
                )
            takers[seat] = role.name
            if not 0 <= seat < env.num_players:
                raise ConfigError(
                    f"self_play_seats of role {role.name} names seat {seat}: this game has seats 0 to "
                    f"{env.num_players - 1}"
                )
            other = next((r for r in roles if seat in r.seats), None)
            if other is None or other is role or other.learner:
                raise ConfigError(
                    f"self_play_seats of role {role.name} names seat {seat}: give seats of a role that does "
                    "not learn across trials"
                )
    for role in roles:
        playable = role.seats + role.self_play_seats
        if len({env.spaces(seat) for seat in playable}) > 1:
            raise ConfigError(
                f"role {role.name} plays seats {playable}, whose players observe or act differently: give "
                "each of them a role of its own"
            )
        if role.learns_in_trial and role.agent.learns_between_episodes:
            raise ConfigError(
                f"learns_in_trial is True in role {role.name}, and {type(role.agent).__name__} learns from "
                "several episodes at once what to carry from one to the next: let it learn across trials, by "
                "learner gradient or evolution"
            )
        check_spaces(role.agent, env, playable, role.name)
        if role.agent.groups_environments and len(playable) > 1:
            raise ConfigError(
                f"role {role.name} plays seats {playable} and mixes its memory over environments, so that "
                "one seat would look into another: use context none, or one seat"
            )
    for seat in range(env.num_players):
        if seat not in owner:
            raise ConfigError(f"seat {seat} has no role: name one that plays it")


def _check_learner(role: Role) -> None:
    """Raises ConfigError if the learner was made for an agent with other parameters."""
    taught = getattr(role.learner, "agent", None)
    if not isinstance(taught, Agent) or taught is role.agent:
        return
    own, theirs = (
        jax.eval_shape(agent.init, jax.random.key(0)).params for agent in (role.agent, taught)
    )
    if own != theirs:
        raise ConfigError(
            f"the learner of role {role.name} was made for another {type(taught).__name__} than the "
            f"{type(role.agent).__name__} of the role, with other parameters: give both the same agent"
        )


def _check_initial_states(role: Role) -> None:
    where = f"num_initial_states is {role.num_initial_states} in role {role.name}"
    if not 0 < role.num_initial_states <= MAX_INITIAL_STATES:
        raise ConfigError(f"{where}: give 0, for a new state each time, to {MAX_INITIAL_STATES}")
    if role.learner:
        raise ConfigError(
            f"{where}, which a learner improves across trials, so that it never starts afresh: leave it 0"
        )


def _check_average(role: Role, names: Sequence[str]) -> None:
    where = f"ema_decay is {role.ema_decay:g} in role {role.name}"
    if role.ema_decay == 1:
        raise ConfigError(
            f"{where}, with which the average never moves: give less, such as 0.99, or 0 for no average"
        )
    if role.learner is None:
        raise ConfigError(
            f"{where}, which no learner trains across trials, so that there is nothing to average: leave it 0"
        )
    if role.learner.why_no_average:
        raise ConfigError(f"{where}, and {role.learner.why_no_average}: leave it 0")
    taken = f"{role.name}{AVERAGE}"
    if taken in names:
        raise ConfigError(
            f"{where}, whose average is called {taken}, and so is another role: give that another name"
        )


def _check_warm_start(role: Role) -> None:
    if not role.warm_start:
        raise ConfigError(
            f"warm_start_parts is {role.warm_start_parts!r} in role {role.name}, and warm_start names no "
            "policy: give one, or leave both empty"
        )
    where = f"warm_start is {role.warm_start!r} in role {role.name}"
    if role.learner is None:
        raise ConfigError(
            f"{where}, which no learner trains across trials: give it one that does, such as gradient, or "
            "frozen and a path to play a whole policy"
        )
    if getattr(role.learner, "initial", None) is not None:
        raise ConfigError(
            f"{where}, whose learner starts from a whole policy already: give one of path and warm_start"
        )
    try:
        role.learner.starting_with(lambda params: params)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from e


def check_member(role: Role, roles: Sequence[Role]) -> Role:
    """Returns the role that another one is a member of.

    Raises:
        ConfigError: unless there is one, and the member can play its candidates.
    """
    pool = next((other for other in roles if other.name == role.member_of), None)
    if pool is None or pool is role:
        others = ", ".join(other.name for other in roles if other is not role)
        raise ConfigError(
            f"member_of is {role.member_of!r} in role {role.name}, which no other role is called: there is "
            f"{others or 'no other'}"
        )
    number = pool.learner.num_candidates if pool.learner else 1
    if number < 2:
        raise ConfigError(
            f"role {role.name} plays other members of {pool.name}, which has {number}: let it have several, "
            "such as num_agents=4 of the learner coala"
        )
    if role.learner or role.reset_every != 1 or role.num_initial_states:
        raise ConfigError(
            f"role {role.name} begins every trial as a member of {pool.name}: give it no learner, and no "
            "reset_every or num_initial_states"
        )
    own, theirs = (
        jax.eval_shape(each.agent.init, jax.random.key(0)).params for each in (role, pool)
    )
    if own != theirs:
        raise ConfigError(
            f"role {role.name} begins with parameters of {pool.name}, whose agent has others: give both the "
            "same network"
        )
    return pool


def check_is_evaluated(role: Role, roles: Sequence[Role]) -> None:
    """Raises ConfigError if a role that an evaluation is to replace plays in no evaluation.

    Args:
        role: one of training.
        roles: all of them.
    """
    if not role.seats:
        seated = ", ".join(each.name for each in roles if each.seats)
        raise ConfigError(
            f"an evaluation replaces the role {role.name!r}, which only takes over seats of others in "
            f"training, and plays in no evaluation: replace one with a seat of its own, of {seated}"
        )


def check_candidates(roles: Sequence[Role]) -> int:
    """Returns how many candidates are tried at once.

    Raises:
        ConfigError: unless roles that try several try as many, since these are paired.
    """
    several = {
        role.name: role.learner.num_candidates
        for role in roles
        if role.learner and role.learner.num_candidates > 1
    }
    if len(set(several.values())) > 1:
        sizes = ", ".join(f"{name} {size}" for name, size in several.items())
        raise ConfigError(
            f"roles are paired candidate by candidate and differ in how many they have ({sizes}): give them "
            "as many, by popsize of evolution or num_agents of coala"
        )
    return max(several.values(), default=1)
