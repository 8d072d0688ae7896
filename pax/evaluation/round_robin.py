"""Cross-play: everybody plays everybody, one compiled program per pair of architectures."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pax.agents.agent import Agent
from pax.checks import COUNT, MAX_INT, check_number
from pax.envs.environment import Environment
from pax.errors import ConfigError
from pax.loop.counts import Counts
from pax.loop.random_streams import Stream, stream
from pax.loop.trial import TrialRunner
from pax.loop.xla import compiler_options
from pax.roles import Role
from pax.types import MemoryState, PyTree, Task, TrainingState, take

SEATS = (0, 1)
STEPS_AT_ONCE = 2**23
"""Environment steps per episode of all pairs that play in one call: what is above takes several calls of
the same program, which bounds the memory. Learners, who keep what they saw, have a sixteenth of it."""


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Who takes part: an agent per seat, and what it has learned."""

    name: str
    agents: tuple[Agent | None, Agent | None]
    """By seat; None where it cannot play."""
    params: PyTree = None
    """Those of a trained policy, whatever its seat; None: an agent that has none."""
    role: str = ""
    """The run and role that it comes from, which players of other seeds share; empty: none."""
    seed: int = 0
    """Which of the seeds of its run it is."""
    file: pathlib.Path | None = None
    """Where it was exported to; None: nowhere."""
    section: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The role that it was, in the config of its run; empty if that is not known."""


@dataclasses.dataclass(frozen=True)
class Matches:
    """What came of all ordered pairs of N players; NaN where a player cannot take its seat."""

    rewards: np.ndarray
    """Mean reward per step `[N, N, 2, R, E]`: by player in seat 0 and in seat 1, seat, trial, environment.
    Against M learners, `[N, M, ...]`."""
    by_episode: np.ndarray
    """The same, for each episode of a trial, mean over environments, `[N, N, 2, R, K]`."""


@dataclasses.dataclass
class OneOf(Agent):
    """Acts as the member whose number is its parameter, so that agents without parameters are one program."""

    members: tuple[Agent, ...] = ()

    def init(self, key: jax.Array) -> TrainingState:
        del key
        return TrainingState(params=jnp.int32(0), opt_state=(), updates=jnp.int32(0))

    def policy(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, key: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        chosen = [
            member.policy(member.init(key), observations, memory, key)[0] for member in self.members
        ]
        return jnp.stack(chosen)[state.params], memory


def play_all(
    env: Environment,
    env_params: PyTree,
    players: Sequence[Contestant],
    *,
    learners: Sequence[Contestant] = (),
    num_envs: int = 100,
    num_episodes: int = 1,
    num_trials: int = 1,
    learning: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Matches:
    """Plays every ordered pair of players, each with itself too; or players against learners.

    Args:
        env: a game of two players.
        env_params: what is played for.
        players: N of them.
        learners: M who sit in seat 1 if there are any, learn after every episode of a trial, and start it
            afresh unless they have parameters; the players, in seat 0, are frozen unless `learning`.
        num_envs: environments E per trial, in which the same policies play.
        num_episodes: episodes K per trial.
        num_trials: trials R per pair, independent of each other.
        learning: whether agents that can learn do so after every episode of a trial, from their parameters
            and a fresh optimiser. All environments of a trial teach one learner.
        seed: of everything that is drawn. What a pair draws depends on its places among the players only.
        progress: is called after every compiled call.

    Raises:
        ConfigError: if this is no game of two players, a size is not positive, or a learner cannot learn
            from episodes of this size; before anything compiles.
    """
    check(env, players, num_envs, num_episodes, num_trials, learning)
    if learners:
        check(env, learners, num_envs, num_episodes, num_trials, True)
    learns = (learning, learning or bool(learners))
    sides = [
        architectures(of_seat, seat, learns[seat])
        for seat, of_seat in enumerate((players, learners or players))
    ]
    shape = (len(players), len(learners or players), 2, num_trials)
    rewards = np.full((*shape, num_envs), np.nan, np.float32)
    by_episode = np.full((*shape, num_episodes), np.nan, np.float32)
    able = [sum(len(group.places) for group in side) for side in sides]
    total, done = math.prod(able) * num_trials, 0
    for first in sides[0]:
        for second in sides[1]:
            play = _compiled(env, (first.agent, second.agent), learns, num_envs, num_episodes)
            pairs = [
                (i, j, trial)
                for i in range(len(first.places))
                for j in range(len(second.places))
                for trial in range(num_trials)
            ]
            for batch in batches(
                pairs, num_envs * env.num_inner_steps * (16 if any(learns) else 1)
            ):
                at = np.array([(first.places[i], second.places[j], t) for i, j, t in batch])
                spread = over_devices(len(batch))
                chosen = jax.device_put(np.array(batch, np.int32)[:, :2], spread)
                keys = jax.device_put(keys_of(seed, at), spread)
                by_env, by_time = play(keys, chosen, first.params, second.params, env_params)
                rewards[at[:, 0], at[:, 1], :, at[:, 2]] = by_env
                by_episode[at[:, 0], at[:, 1], :, at[:, 2]] = by_time
                done = min(done + len(batch), total)
                if progress:
                    progress(done, total)
    return Matches(rewards, by_episode)


def check(
    env: Environment,
    players: Sequence[Contestant],
    num_envs: int,
    num_episodes: int,
    num_trials: int,
    learning: bool,
) -> None:
    """Raises ConfigError unless `play_all` can play this."""
    if env.num_players != 2:
        raise ConfigError(
            f"{type(env).__name__} has {env.num_players} players, and cross-play is between two: let teams "
            "play by pax crossplay --teams, or evaluate saved policies of it by trainer.evaluate"
        )
    check_sizes(env, num_envs, num_episodes, num_trials)
    if learning:
        for agent in (agent for player in players for agent in player.agents):
            if agent is not None and agent.learns:
                agent.check_rollout(env.num_inner_steps, num_envs)


def check_sizes(env: Environment, num_envs: int, num_episodes: int, num_trials: int) -> None:
    """Raises ConfigError if a size is not positive, or a trial is too large to be counted."""
    sizes = {"num_envs": num_envs, "num_episodes": num_episodes, "num_trials": num_trials}
    for name, size in sizes.items():
        check_number(name, size, COUNT)
    steps = num_envs * num_episodes * env.num_inner_steps
    if steps > MAX_INT:
        raise ConfigError(
            f"num_envs x num_episodes x steps is {num_envs} x {num_episodes} x {env.num_inner_steps}, more "
            f"steps of a trial than the {MAX_INT} that a program can count: give fewer"
        )


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Players of one seat that one program plays, by their parameters."""

    agent: Agent
    places: tuple[int, ...]
    """Which of all players they are."""
    params: PyTree
    """`[len(places), ...]`."""


def architectures(players: Sequence[Contestant], seat: int, learning: bool) -> list[Architecture]:
    """Returns who can sit there, by what they compute: all agents without parameters or memory are one."""
    groups: dict[str, list[tuple[int, Contestant, Agent]]] = {}
    known: dict[str, str] = {}
    for place, player in enumerate(players):
        agent = player.agents[seat]
        if agent is None:
            continue
        if player.params is not None:
            shapes = jax.tree.map(lambda leaf: (np.shape(leaf), str(leaf.dtype)), player.params)
            key = json.dumps([agent.describe(), str(shapes)])
            if not learning:
                if key not in known:
                    known[key] = _computation(agent, key)
                key = known[key]
        else:
            key = player.name if agent.hidden_size_in_memory or agent.learns else ""
        groups.setdefault(key, []).append((place, player, agent))
    architectures = []
    for key, group in groups.items():
        places, members, agents = zip(*group, strict=True)
        agent, params = agents[0], [player.params for player in members]
        if not key:
            agent = OneOf(agent.observation_space, agent.action_space, agents)
            params = [np.int32(number) for number in range(len(agents))]
        elif params[0] is None:
            params = [{}]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
        architectures.append(Architecture(agent, places, stacked))
    return architectures


def _computation(agent: Agent, described: str) -> str:
    """Returns what a frozen agent computes, as text that is equal for agents who compute the same.

    They differ in how they learn: rates, say, and kinds of learners on the same network.
    """
    key = jax.random.key(0)

    def play(state: TrainingState, seen: PyTree, memory: MemoryState, key: jax.Array) -> PyTree:
        draw, act = agent.split_policy()
        action, after = act(state, seen, memory, draw(key, (1,)))
        return action, after.hidden, agent.reset_memory(after, False, state).hidden

    state = jax.eval_shape(agent.init, key)
    memory = jax.eval_shape(lambda: agent.initial_memory(agent.initial_hidden(1)))
    seen = jax.eval_shape(lambda: agent.observation_space.zeros(1))
    # What was never updated has no optimiser, whose shape would tell agents apart.
    traced = jax.make_jaxpr(play)(state.replace(opt_state=()), seen, memory, key)
    if agent.groups_environments or any(np.size(constant) > 1 for constant in traced.consts):
        return described
    constants = [np.asarray(constant).tolist() for constant in traced.consts]
    text = re.sub(r" at 0x[0-9a-f]+", "", str(traced))
    start = np.asarray(agent.initial_hidden(1)).tolist()
    return json.dumps([text, constants, start, agent.remembers_trial])


def _compiled(
    env: Environment,
    agents: tuple[Agent, Agent],
    learns: tuple[bool, bool],
    num_envs: int,
    num_episodes: int,
) -> Callable[..., tuple[Any, Any]]:
    """Compiles one program for all pairs `[P]`: rewards `[P, 2, E]` per step, and by episode `[P, 2, K]`."""
    roles = [
        Role(str(seat), agent, (seat,), learns_in_trial=learns[seat] and agent.learns)
        for seat, agent in enumerate(agents)
    ]
    runner = TrialRunner(env, roles, Counts(num_envs, num_outer_steps=num_episodes))

    def play(
        key: jax.Array, pair: jax.Array, first: PyTree, second: PyTree, env_params: PyTree
    ) -> tuple[jax.Array, jax.Array]:
        play_key, *init_keys = jax.random.split(key, 3)
        states = states_of(roles, init_keys, (first, second), pair)
        trial, _ = runner.play(play_key, states, Task(env_params=env_params))
        assert trial.env_rewards is not None
        return trial.env_rewards.mean(axis=0), trial.episode_rewards.T

    return jax.jit(jax.vmap(play, (0, 0, None, None, None)), compiler_options=compiler_options())


def states_of(
    roles: Sequence[Role], keys: Sequence[jax.Array], params: Sequence[PyTree], pair: jax.Array
) -> dict[str, Any]:
    """Returns the state of each of two roles: fresh, with the parameters of the player in its place.

    Args:
        roles: both.
        keys: to initialise them with.
        params: of all players of the role's architecture, stacked; without leaves: it has none.
        pair: which of these plays, `[2]`.
    """
    states = {}
    for role, of_all, own, key in zip(roles, params, pair, keys, strict=True):
        state = role.agent.init(key)
        if jax.tree.leaves(of_all):
            state = dataclasses.replace(state, params=take(of_all, own))
        states[role.name] = state
    return states


def batches(
    pairs: Sequence[tuple[int, int, int]], steps_each: int
) -> list[list[tuple[int, int, int]]]:
    """Returns the pairs in lists of one length, for one program; the first pairs fill up the last list."""
    size = max(1, min(len(pairs), STEPS_AT_ONCE // steps_each))
    size = math.ceil(len(pairs) / math.ceil(len(pairs) / size))
    devices = jax.device_count()
    if size > devices:
        size = math.ceil(size / devices) * devices
    padded = [pairs[index % len(pairs)] for index in range(math.ceil(len(pairs) / size) * size)]
    return [padded[start : start + size] for start in range(0, len(padded), size)]


def over_devices(size: int) -> NamedSharding:
    """Returns how an axis of a size is spread over as many devices as it can be."""
    devices = jax.devices()[: math.gcd(size, jax.device_count())]
    return NamedSharding(Mesh(np.array(devices), ("pairs",)), PartitionSpec("pairs"))


def keys_of(seed: int, at: np.ndarray) -> jax.Array:
    """Returns a key per pair and trial, from their places `[P, 3]`."""

    def fold(row: jax.Array) -> jax.Array:
        key = stream(jax.random.key(seed), Stream.CROSS_PLAY)
        for number in row:
            key = jax.random.fold_in(key, number)
        return key

    return jax.vmap(fold)(jnp.asarray(at))
