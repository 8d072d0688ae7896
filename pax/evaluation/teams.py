"""Teams: in a game of n players, k copies of one player and n - k of another, for every pair and every k."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pax.agents.agent import Agent
from pax.envs.environment import Environment
from pax.envs.figures import new_figure
from pax.errors import ConfigError
from pax.evaluation import match_programs as matches
from pax.evaluation.estimates import by_role
from pax.evaluation.match_programs import Setup
from pax.evaluation.round_robin import (
    Contestant,
    architectures,
    batches,
    check_sizes,
    keys_of,
    over_devices,
    states_of,
)
from pax.loop.counts import Counts
from pax.loop.trial import TrialRunner
from pax.loop.xla import compiler_options
from pax.metrics.bootstrap import MeanInterval, mean_interval
from pax.metrics.tables import csv_number, markdown, number
from pax.roles import Role
from pax.run.files import write_rows, write_whole
from pax.run.progress_line import ProgressLine
from pax.types import PyTree, Task

MOST_CHARTS = 12
"""Pairs that the picture shows; the files have all of them."""
MOST_PRINTED = 15
"""Pairs that are printed where roles sum them up."""


class Mixture(NamedTuple):
    """Rewards of two players, or two roles, by the number of copies of the first one."""

    first: str
    second: str
    rewards: MeanInterval
    """Per step and copy, `[n + 1, 2]`, by copies of the first and by who gets it; NaN of no copies."""


def play_teams(
    env: Environment,
    env_params: PyTree,
    players: Sequence[Contestant],
    *,
    num_envs: int = 100,
    num_episodes: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Plays k frozen copies of a player and n - k of another, for every ordered pair and k = 1 to n - 1.

    Every environment is an independent match, for which is drawn who sits where.

    Args:
        env: a game of n >= 3 players, who all observe and act alike.
        env_params: what is played for.
        players: N of them.
        num_envs: environments E.
        num_episodes: episodes per match.
        seed: of everything that is drawn.
        progress: is called after every compiled call.

    Returns:
        Mean rewards per step and copy, `[N, N, n - 1, 2, E]`: by player of the first team and of the second
        one, copies of the first, team, and environment.

    Raises:
        ConfigError: if this is no such game, a size is not positive, or a player cannot have copies.
    """
    check_teams(env, players, num_envs, num_episodes)
    num = env.num_players
    rewards = np.full((len(players), len(players), num - 1, 2, num_envs), np.nan, np.float32)
    groups = architectures(players, 0, learning=False)
    sizes = range(1, num // 2 + 1)
    total, done = len(players) ** 2 * len(sizes), 0
    for size in sizes:
        for first in groups:
            for second in groups:
                play = _compiled(env, (first.agent, second.agent), size, num_envs, num_episodes)
                pairs = [
                    (i, j, size)
                    for i in range(len(first.places))
                    for j in range(len(second.places))
                ]
                for batch in batches(pairs, num_envs * num_episodes * env.num_inner_steps):
                    at = np.array([(first.places[i], second.places[j], size) for i, j, _ in batch])
                    spread = over_devices(len(batch))
                    chosen = jax.device_put(np.array(batch, np.int32)[:, :2], spread)
                    keys = jax.device_put(keys_of(seed, at), spread)
                    of_teams = play(keys, chosen, first.params, second.params, env_params)
                    rewards[at[:, 0], at[:, 1], size - 1] = of_teams
                    done = min(done + len(batch), total)
                    if progress:
                        progress(done, total)
        if size < num - size:
            # The same matches, with the other team called the first.
            rewards[:, :, num - size - 1] = rewards[:, :, size - 1].swapaxes(0, 1)[:, :, ::-1]
    return rewards


def check_teams(
    env: Environment, players: Sequence[Contestant], num_envs: int, num_episodes: int
) -> None:
    """Raises ConfigError unless `play_teams` can play this."""
    name = type(env).__name__
    if env.num_players < 3:
        raise ConfigError(
            f"{name} has {env.num_players} players, and teams need a game of three or more: leave out --teams"
        )
    if any(env.spaces(seat) != env.spaces(0) for seat in range(env.num_players)):
        raise ConfigError(
            f"players of {name} observe or act differently, and a team has copies of one policy on any seat: "
            "evaluate saved policies of it by trainer.evaluate"
        )
    check_sizes(env, num_envs, num_episodes, 1)
    for player in players:
        agent = player.agents[0]
        assert agent is not None  # All seats are alike.
        if agent.groups_environments:
            raise ConfigError(
                f"{player.name} mixes its memory over environments, so that one copy would look into "
                "another: leave it out"
            )


def _compiled(
    env: Environment,
    agents: tuple[Agent, Agent],
    size: int,
    num_envs: int,
    num_episodes: int,
) -> Callable[..., Any]:
    """Compiles one program for all pairs `[P]` with `size` copies of the first: rewards `[P, 2, E]`."""
    seats = (tuple(range(size)), tuple(range(size, env.num_players)))
    roles = [Role(str(team), agent, seats[team]) for team, agent in enumerate(agents)]
    # A match by itself, as who sits where is of all environments of a trial.
    runner = TrialRunner(env, roles, Counts(1, num_outer_steps=num_episodes))

    def play(
        key: jax.Array, pair: jax.Array, first: PyTree, second: PyTree, env_params: PyTree
    ) -> jax.Array:
        play_key, *init_keys = jax.random.split(key, 3)
        states = states_of(roles, init_keys, (first, second), pair)

        def match(key: jax.Array) -> jax.Array:
            seat_key, trial_key = jax.random.split(key)
            order = jax.random.permutation(seat_key, env.num_players)
            trial, _ = runner.play(trial_key, states, Task(env_params=env_params, seats=order))
            return trial.reward_per_timestep

        by_seat = jax.vmap(match)(jax.random.split(play_key, num_envs))
        return jnp.stack([by_seat[:, jnp.array(own)].mean(axis=1) for own in seats])

    return jax.jit(jax.vmap(play, (0, 0, None, None, None)), compiler_options=compiler_options())


def mixtures(names: Sequence[str], rewards: np.ndarray) -> list[Mixture]:
    """Returns what every pair of players gets, with intervals over environments.

    Args:
        names: of N players.
        rewards: see `play_teams`.
    """
    num = rewards.shape[2] + 1
    # Everybody is a copy of one player, whatever team it is counted to.
    alone = [(own[0, 0] + (num - 1) * own[0, 1]) / num for own in _diagonal(rewards)]
    found = []
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            samples = np.full((num + 1, 2, rewards.shape[-1]), np.nan)
            samples[1:num] = rewards[i, j]
            samples[num, 0], samples[0, 1] = alone[i], alone[j]
            found.append(Mixture(names[i], names[j], mean_interval(samples)))
    return found


def _diagonal(rewards: np.ndarray) -> np.ndarray:
    """Returns what players get among copies of themselves, `[N, n - 1, 2, E]`."""
    places = np.arange(len(rewards))
    return rewards[places, places]


def mixtures_of_roles(players: Sequence[Contestant], rewards: np.ndarray) -> list[Mixture]:
    """Returns what pairs of roles with several seeds get, with intervals over seeds; see `by_role`.

    Args:
        players: N of them.
        rewards: see `play_teams`.
    """
    num = rewards.shape[2] + 1
    means = rewards.mean(axis=-1, dtype=np.float64)  # [N, N, n - 1, 2]
    found: dict[tuple[str, str, str], MeanInterval] = {}
    for size in range(1, num):
        for group in by_role(players, means[:, :, size - 1]):
            if (group.second, group.first, group.pairs) in found and group.first != group.second:
                continue  # The same teams, with the other one called the first.
            key = (group.first, group.second, group.pairs)
            nothing = np.full((2, num + 1, 2), np.nan)
            of_pair = found.setdefault(key, MeanInterval(*nothing))
            of_pair.mean[size], of_pair.half[size] = group.mean, group.half
    return [
        Mixture(first, second if pairs == "all" else f"{second} ({pairs})", of_pair)
        for (first, second, pairs), of_pair in found.items()
    ]


def crossplay_of_teams(
    setup: Setup, num_envs: int, num_episodes: int, seed: int, workdir: str | None
) -> list[Mixture]:
    """Plays all pairs of teams, writes what came of them to a folder, and prints it."""
    env = setup.game.env
    if len(setup.players) < 2:
        raise ConfigError(
            f"{setup.players[0].name} is the only one who plays, and teams are of two players: name another"
        )
    num_episodes = matches.num_episodes_for(setup, num_episodes)
    check_teams(env, setup.players, num_envs, num_episodes)
    names = [player.name for player in setup.players]
    with matches.results_folder(workdir, "crossplay") as folder:
        rewards = play_teams(
            env,
            setup.game.env_params,
            setup.players,
            num_envs=num_envs,
            num_episodes=num_episodes,
            seed=seed,
            progress=ProgressLine("matches").count,
        )
        found, of_roles = mixtures(names, rewards), mixtures_of_roles(setup.players, rewards)
        title = (
            f"Teams of {len(names)} players of {type(env).__name__}: k copies of A and {env.num_players} - k "
            f"of B, {num_episodes} x {env.num_inner_steps} steps in {num_envs} environments.\n"
            "Reward per step and copy, with 95 % confidence intervals over environments."
        )
        parts = [table(found)]
        if of_roles:
            parts += ["Over seeds, with confidence intervals over them:", table(of_roles)]
        write(folder / "teams.csv", found, num_envs)
        write_whole(folder / "teams.md", "\n\n".join([title, *parts]) + "\n")
        plot(folder / "teams.png", found)
        if len(found) > MOST_PRINTED and of_roles:
            parts[0] = f"The {len(found)} pairs of players are in {folder / 'teams.md'}."
        print("\n\n".join([title, *parts]))
        print(f"\nWritten to {folder / 'teams'}.csv, .md and .png")
    return found


def table(found: Sequence[Mixture]) -> str:
    """Returns two rows per pair as Markdown: what either player gets, by copies of the first one."""
    num = len(found[0].rewards.mean) - 1
    rows = []
    for each in found:
        for who, name in enumerate("AB"):
            estimates = zip(*(part[:, who] for part in each.rewards), strict=True)
            names = [each.first, each.second] if who == 0 else ["", ""]
            rows.append([*names, name, *(number(*pair) for pair in estimates)])
    return markdown(("A", "B", "gets", *(f"{size} A" for size in range(num + 1))), rows)


def write(path: pathlib.Path, found: Sequence[Mixture], num: int) -> None:
    """Writes a row per pair and number of copies, with intervals, from `num` samples."""
    columns = [f"player_{who}_{what}" for who in (1, 2) for what in ("mean", "low", "high")]
    rows = [["player_1", "player_2", "copies_1", "copies_2", *columns, "samples"]]
    for each in found:
        last = len(each.rewards.mean) - 1
        for size, (mean, half) in enumerate(zip(*each.rewards, strict=True)):
            numbers = np.stack([mean, mean - half, mean + half], axis=-1).ravel()
            copies = [str(size), str(last - size)]
            rows.append([each.first, each.second, *copies, *map(csv_number, numbers), str(num)])
    write_rows(path, rows)


def plot(path: pathlib.Path, found: Sequence[Mixture]) -> None:
    """Plots, for each pair, what a copy of either player gets over the number of copies of the first."""
    found = found[:MOST_CHARTS]
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure((3.6 * columns, 2.8 * rows))
    all_axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, each in zip(all_axes, found, strict=False):
        sizes = np.arange(len(each.rewards.mean))
        for who, name in enumerate((each.first, each.second)):
            mean, half = (part[:, who] for part in each.rewards)
            axes.errorbar(sizes, mean, np.nan_to_num(half), marker=".", capsize=2, label=name)
        axes.set_xlabel(f"copies of {each.first[-24:]}", fontsize=8)
        axes.set_ylabel("reward per step", fontsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=7)
    for axes in all_axes[len(found) :]:
        axes.remove()
    figure.savefig(path, dpi=120)
