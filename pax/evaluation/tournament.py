"""A tournament: everybody against everybody and against themselves, and what evolution makes of it.

    pax tournament
    pax tournament --noise=0.05 --continuation=0.99
    pax tournament RUN --strategies=tit_for_tat,defect,memory_one:probabilities=(.9,.1,.9,.1,1)

All fixed strategies play, and all policies that are named. Prints the ranking, and writes to the folder:
ranking.csv, matrix.csv, shares.csv, shares.png (replicator dynamics), matrix.png and tournament.md.
Who cannot play is named, and the exit code is 1 then.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from scipy.special import softmax

from pax.checks import Limit, check_number
from pax.config.flags import definer
from pax.envs.figures import new_figure
from pax.envs.wrappers import Continuation, Noise, steps_for
from pax.errors import ConfigError
from pax.evaluation import match_programs as matches
from pax.evaluation.estimates import (
    matrix_table,
    plot_matrix,
    write_matrix,
)
from pax.evaluation.match_programs import Setup
from pax.evaluation.round_robin import check
from pax.metrics.bootstrap import MeanInterval, mean_interval, t_quantile
from pax.metrics.tables import csv_number, markdown, number
from pax.run.files import write_rows, write_whole

GAME = "the iterated prisoner's dilemma"
"""What is played where neither a config nor a run names a game."""
GENERATIONS = Limit(1, 100_000, whole=True)
STEPS_PER_UNIT = 20
"""Of the integration, per unit of time."""


@dataclasses.dataclass(frozen=True)
class TournamentOptions:
    """How pairs play, and for how long evolution goes on."""

    num_envs: int = 100
    num_episodes: int = 0
    """0: those of the game where somebody remembers a trial, else 1."""
    noise: float = 0.0
    continuation: float | None = None
    generations: int = 200
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a tournament of N players."""

    payoffs: MeanInterval
    """`[N, N]`: what a player gets from another per step, mean over both seats."""
    scores: MeanInterval
    """`[N]`: mean over all opponents, itself among them."""
    times: np.ndarray
    """`[T]`, see `replicator`."""
    shares: np.ndarray
    """`[T, N]`, of the population."""


def tournament(setup: Setup, options: TournamentOptions, workdir: str | None) -> Outcome:
    """Plays a round robin, writes what came of it to a folder, and prints the ranking.

    Raises:
        ConfigError: if a setting does not fit the game, or a player cannot take both seats.
    """
    env = setup.game.env
    if options.noise:
        env = Noise(env, options.noise)
    if options.continuation is not None:
        env = Continuation(env, options.continuation)
    names = [player.name for player in setup.players]
    for player in setup.players:
        if None in player.agents:
            raise ConfigError(
                f"{player.name} can take one seat of this game only, and in a tournament everybody takes "
                "both: use pax crossplay"
            )
    check_number("generations", options.generations, GENERATIONS)
    num_episodes = matches.num_episodes_for(setup, options.num_episodes)
    sizes: dict[str, Any] = {
        "num_envs": options.num_envs,
        "num_episodes": num_episodes,
        "num_trials": 1,
    }
    check(env, setup.players, **sizes, learning=False)
    with matches.results_folder(workdir, "tournament") as folder:
        played, seconds = matches.play_pairs(setup, env, sizes, options.seed)
        outcome = evaluate(played.rewards[:, :, :, 0], options.generations)
        title = f"Tournament of {len(names)} in {type(setup.game.env).__name__}"
        conditions = (
            f"{num_episodes} episodes of {env.num_inner_steps} steps in {options.num_envs} environments, "
            f"noise {options.noise:g}"
        )
        if options.continuation is not None:
            conditions += f", continuation {options.continuation:g}"
        order = np.argsort(-outcome.scores.mean, kind="stable")
        parts = [
            f"{title}: {conditions}.\nReward per step, with 95 % confidence intervals over environments.",
            ranking_table(names, outcome, order),
        ]
        sorted_names = [names[place] for place in order]
        sorted_payoffs = MeanInterval(*(part[np.ix_(order, order)] for part in outcome.payoffs))
        matrix = matrix_table(sorted_names, sorted_payoffs, "gets against", wide=sys.maxsize)
        write_whole(folder / "tournament.md", "\n\n".join([*parts, matrix]) + "\n")
        pairs = mean_interval(played.rewards.reshape(len(names), len(names), 2, -1))
        write_matrix(folder / "matrix.csv", names, pairs, options.num_envs)
        write_ranking(folder / "ranking.csv", names, outcome, order)
        write_shares(folder / "shares.csv", names, outcome)
        panel = ("the row's reward, mean over both seats", sorted_payoffs.mean)
        plot_matrix(folder / "matrix.png", title, sorted_names, [panel], "against", "player")
        plot_shares(folder / "shares.png", title, names, outcome, order)
        print("\n\n".join(parts))
        print(
            f"\n{seconds:.1f} s. Written to {folder}/tournament.md, .csv and .png files beside it"
        )
    return outcome


def evaluate(rewards: np.ndarray, generations: int) -> Outcome:
    """Payoffs, scores and dynamics from rewards `[N, N, 2, E]` of ordered pairs in E environments.

    A player's payoff against another is the mean of both seats: a game that is not symmetric is played in
    either seat equally often. Of a match against oneself, both seats count, in each environment together.
    """
    num = len(rewards)
    first, second = rewards[:, :, 0], rewards[:, :, 1].swapaxes(0, 1)
    pooled = mean_interval((first + second) / 2)
    # Against others, (i, j) and (j, i) are matches of their own; against itself, there is one match.
    apart = [mean_interval(part) for part in (first, second)]
    half = np.hypot(apart[0].half, apart[1].half) / 2
    np.fill_diagonal(half, np.diagonal(pooled.half))
    payoffs = MeanInterval(pooled.mean, half)
    total = half_of_sum(half, rewards.shape[-1]) / num
    times, shares = replicator(payoffs.mean, generations)
    return Outcome(payoffs, MeanInterval(payoffs.mean.mean(axis=1), total), times, shares)


def half_of_sum(half: np.ndarray, num_envs: int) -> np.ndarray:
    """Returns half the width of the interval of a sum of independent means, along the last axis.

    Degrees of freedom are those of Welch and Satterthwaite, (sum v)^2 / sum(v^2 / d) for squared errors v
    with d = `num_envs` - 1 degrees each: with few environments, a normal interval would be too narrow.

    Args:
        half: half widths of the means' own intervals, `[..., N]`.
        num_envs: samples behind each mean.
    """
    if num_envs < 2:
        return np.full(half.shape[:-1], np.nan)
    squares = np.square(half / t_quantile(num_envs - 1))
    total = squares.sum(axis=-1)
    # Without any spread it does not matter how many there are.
    degrees = (num_envs - 1) * total**2 / np.maximum((squares**2).sum(axis=-1), 1e-300)
    return np.sqrt(total) * t_quantile(np.maximum(degrees, num_envs - 1))


def replicator(payoffs: np.ndarray, generations: int) -> tuple[np.ndarray, np.ndarray]:
    """Runs replicator dynamics from equal shares (Taylor and Jonker 1978, 10.1016/0025-5564(78)90077-9).

    dx_i / dt = x_i ((A x)_i - x . A x), for shares x of a population in which everybody meets everybody, and
    payoffs A. Integrated by the fourth-order Runge-Kutta method in u with x = softmax(u) and du / dt = A x,
    which is the same and keeps shares positive and their sum 1. A is divided by its range, max - min, so
    that a unit of time, a generation, is one in which the largest possible advantage multiplies a share by e.

    Args:
        payoffs: A, `[N, N]`, row against column.
        generations: units of time.

    Returns:
        Times `[generations + 1]`, and shares `[generations + 1, N]`.
    """
    spread = np.ptp(payoffs)
    scaled = (payoffs - payoffs.min()) / (spread if spread > 0.0 else 1.0)

    def slope(u: np.ndarray) -> np.ndarray:
        return scaled @ softmax(u)

    u, step = np.zeros(len(payoffs)), 1.0 / STEPS_PER_UNIT
    shares = [softmax(u)]
    for _ in range(generations):
        for _ in range(STEPS_PER_UNIT):
            k1 = slope(u)
            k2 = slope(u + step / 2 * k1)
            k3 = slope(u + step / 2 * k2)
            k4 = slope(u + step * k3)
            u = u + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        shares.append(softmax(u))
    return np.arange(generations + 1.0), np.array(shares)


def ranking_table(names: Sequence[str], outcome: Outcome, order: np.ndarray) -> str:
    """Returns the ranking as a table, the best first."""
    lines = []
    for rank, place in enumerate(order):
        score = number(outcome.scores.mean[place], outcome.scores.half[place])
        lines.append([str(rank + 1), names[place], score, f"{outcome.shares[-1, place]:.1%}"])
    return markdown(("rank", "player", "reward per step", "share at the end"), lines)


def write_ranking(
    path: pathlib.Path, names: Sequence[str], outcome: Outcome, order: np.ndarray
) -> None:
    """Writes a row per player, the best first."""
    rows = [["rank", "player", "mean", "low", "high", "final_share"]]
    for rank, place in enumerate(order):
        mean, half = outcome.scores.mean[place], outcome.scores.half[place]
        numbers = (mean, mean - half, mean + half, outcome.shares[-1, place])
        rows.append([str(rank + 1), names[place], *map(csv_number, numbers)])
    write_rows(path, rows)


def write_shares(path: pathlib.Path, names: Sequence[str], outcome: Outcome) -> None:
    """Writes a row per generation."""
    rows = [["generation", *names]]
    for when, shares in zip(outcome.times, outcome.shares, strict=True):
        rows.append([f"{when:g}", *map(csv_number, shares)])
    write_rows(path, rows)


def plot_shares(
    path: pathlib.Path, title: str, names: Sequence[str], outcome: Outcome, order: np.ndarray
) -> None:
    """Plots shares of the population over time, the best of the ranking first in the legend."""
    figure = new_figure((7.5, 4.0))
    axes = figure.subplots()
    for rank, place in enumerate(order):
        style = ("-", "--", ":", "-.")[rank // 10 % 4]
        axes.plot(outcome.times, outcome.shares[:, place], style, label=names[place])
    axes.set(xlabel="generation", ylabel="share of the population", ylim=(0.0, 1.0))
    axes.set_title(f"{title}: replicator dynamics", fontsize=11)
    figure.legend(loc="outside right upper", fontsize="x-small", ncols=1 + len(names) // 24)
    figure.savefig(path, dpi=120)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of both programs, and those that only a tournament has."""
    matches.define_flags(flag_values, strategies="all", config=GAME)
    define = definer(flag_values)
    define("noise", 0.0, "Probability that an action is the other one.")
    define(
        "continuation",
        None,
        "Probability that a match goes on after each step, in place of a number of steps: rewards are "
        "weighted by the probability that their step is played.",
        kind=float,
    )
    define("generations", 200, "Time that evolution has.")


def play(paths: Sequence[str], given: flags.FlagValues) -> Setup:
    """Plays what the flags say."""
    if given.workdir:
        matches.check_folder(given.workdir)
    num_steps = given.num_steps
    if given.continuation is not None:
        if num_steps:
            raise ConfigError(
                f"--num_steps is {num_steps} and --continuation {given.continuation:g}: give one of them"
            )
        num_steps = steps_for(given.continuation)
    setup = matches.set_up(
        paths,
        given.strategies,
        given.config,
        default_game=GAME,
        num_steps=num_steps,
        any_game=given.any_game,
        allow_imports=given.allow_imports,
    )
    tournament(setup, matches.options_of(TournamentOptions, given), given.workdir)
    return setup


def run() -> None:
    """Runs the program."""
    matches.run(play, define_flags)


if __name__ == "__main__":
    run()
