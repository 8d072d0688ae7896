"""Cross-play: every policy against every other, and against fixed strategies.

    pax crossplay RUN
    pax crossplay RUN other_run/policies/agent1.msgpack --strategies=tit_for_tat,defect
    pax crossplay RUN --strategies=all --learning --num_episodes=20
    pax crossplay --config=configs/coin_game.py:ppo --strategies=all
    pax crossplay --teams RUN --strategies=random

A RUN stands for all policies that it exported. Prints who earns what against whom, and writes it to the
folder: crossplay.csv, crossplay.md, and crossplay.png. Who cannot play is named, and the exit code is 1 then.
With --teams, in games of n players, k copies of one play with n - k of another: teams.csv, .md and .png.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from pax.config.flags import definer
from pax.errors import ConfigError
from pax.evaluation import match_programs as matches
from pax.evaluation.estimates import (
    WIDE,
    Group,
    by_role,
    matrix_table,
    plot_matrix,
    write_matrix,
)
from pax.evaluation.match_programs import Setup
from pax.evaluation.round_robin import Matches, check
from pax.evaluation.teams import crossplay_of_teams
from pax.metrics.bootstrap import MeanInterval, mean_interval
from pax.metrics.tables import csv_number, markdown, number
from pax.run.files import write_rows, write_whole

LEARNING_TRIALS = 5


@dataclasses.dataclass(frozen=True)
class CrossplayOptions:
    """How pairs play."""

    num_envs: int = 100
    num_episodes: int = 0
    """0: those of the game where somebody learns or remembers a trial, else 1."""
    num_trials: int = 0
    """0: 5 with learning, else 1."""
    learning: bool = False
    seed: int = 0


def crossplay(setup: Setup, options: CrossplayOptions, workdir: str | None) -> MeanInterval:
    """Plays all pairs, writes what came of them to a folder, and prints it.

    Returns:
        Rewards per step `[N, N, 2]`, by player in seat 0, player in seat 1, and seat.
    """
    num_trials = options.num_trials or (LEARNING_TRIALS if options.learning else 1)
    num_episodes = matches.num_episodes_for(setup, options.num_episodes, options.learning)
    env = setup.game.env
    sizes: dict[str, Any] = {
        "num_envs": options.num_envs,
        "num_episodes": num_episodes,
        "num_trials": num_trials,
        "learning": options.learning,
    }
    check(env, setup.players, **sizes)
    with matches.results_folder(workdir, "crossplay") as folder:
        played, seconds = matches.play_pairs(setup, env, sizes, options.seed)
        matrix, num = pair_estimates(played, options.learning)
        names = [player.name for player in setup.players]
        groups = by_role(setup.players, matrix.mean)
        what = (
            f"{len(names)} players of {type(env).__name__}, {num_trials} x {num_episodes} episodes of "
            f"{env.num_inner_steps} steps in {options.num_envs} environments"
            + (", learning" if options.learning else "")
        )
        sample = "trials" if options.learning else "environments"
        title = (
            f"Cross-play: {what}.\nReward per step, with 95 % confidence intervals over {sample}."
        )
        seats = [(f"player {seat + 1} gets", matrix.mean[..., seat], seat) for seat in (0, 1)]

        def page(wide: int) -> str:
            tables = [
                matrix_table(names, MeanInterval(mean, matrix.half[..., seat]), corner, wide)
                for corner, mean, seat in seats
            ]
            return "\n\n".join([title, *tables, *([groups_table(groups)] if groups else [])])

        write_matrix(folder / "crossplay.csv", names, matrix, num)
        if options.learning:
            write_episodes(folder / "episodes.csv", names, played)
        write_whole(folder / "crossplay.md", page(sys.maxsize) + "\n")
        panels = [seat[:2] for seat in seats]
        plot_matrix(folder / "crossplay.png", "Cross-play: reward per step", names, panels)
        print(page(WIDE))
        print(f"\n{seconds:.1f} s. Written to {folder / 'crossplay'}.csv, .md and .png")
    return matrix


def pair_estimates(played: Matches, learning: bool) -> tuple[MeanInterval, int]:
    """Rewards per step `[N, N, 2]`, and from how many samples.

    Frozen policies play independent matches in every environment. Environments of one trial teach the same
    learner, so that with learning only trials are independent.
    """
    samples = played.rewards.mean(-1) if learning else played.rewards
    samples = samples.reshape(*samples.shape[:3], -1)
    return mean_interval(samples), samples.shape[-1]


def groups_table(groups: Sequence[Group]) -> str:
    """Means over seeds."""
    columns = ("player 1", "player 2", "pairs", "player 1 gets", "player 2 gets")
    lines = [
        [group.first, group.second, group.pairs, *map(number, group.mean, group.half)]
        for group in groups
    ]
    return f"Over seeds, with confidence intervals over them:\n\n{markdown(columns, lines)}"


def write_episodes(path: pathlib.Path, names: Sequence[str], played: Matches) -> None:
    """Writes a row per ordered pair and episode of a trial: what they get as they learn."""
    means = played.by_episode.mean(axis=3)
    rows = [["player_1", "player_2", "episode", "player_1_mean", "player_2_mean"]]
    for i, j, episode in np.ndindex(*means.shape[:2], means.shape[-1]):
        first, second = means[i, j, :, episode]
        if np.isfinite(first):
            numbers = [csv_number(first), csv_number(second)]
            rows.append([names[i], names[j], str(episode + 1), *numbers])
    write_rows(path, rows)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of both programs, and those that only cross-play has."""
    matches.define_flags(flag_values, strategies="", config="")
    define = definer(flag_values)
    define(
        "learning",
        False,
        "Policies go on learning within a trial, after every episode, if their agents can.",
    )
    define("num_trials", 0, "Independent trials per pair. 0: 5 with --learning, else 1.")
    define(
        "teams",
        False,
        "In a game of n players, k frozen copies of each play with n - k of each other, for k = 1 to n - 1.",
    )


def play(paths: Sequence[str], given: flags.FlagValues) -> Setup:
    """Plays what the flags say."""
    if given.workdir:
        matches.check_folder(given.workdir)
    if not paths and not given.strategies:
        raise ConfigError(
            "nobody is named: give runs or exported policies, or --config and --strategies=all"
        )
    if given.teams:
        for name in ("learning", "num_trials"):
            if given[name].value:
                raise ConfigError(
                    f"--{name} is given, and teams are frozen and play one trial: leave it or --teams out"
                )
    setup = matches.set_up(
        paths,
        given.strategies,
        given.config,
        num_steps=given.num_steps,
        any_game=given.any_game,
        allow_imports=given.allow_imports,
        of_teams=given.teams,
    )
    if given.teams:
        sizes = (given.num_envs, given.num_episodes, given.seed)
        crossplay_of_teams(setup, *sizes, given.workdir)
        return setup
    crossplay(setup, matches.options_of(CrossplayOptions, given), given.workdir)
    return setup


def run() -> None:
    """Runs the program."""
    matches.run(play, define_flags)


if __name__ == "__main__":
    run()
