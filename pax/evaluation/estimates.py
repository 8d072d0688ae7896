"""Matrices of who earns what against whom: groups of seeds, tables and heat maps."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pax.envs.figures import HeatMap, new_figure, number_form, plot_heat_map
from pax.evaluation.round_robin import Contestant
from pax.metrics.bootstrap import MeanInterval, mean_interval, t_quantile
from pax.metrics.tables import csv_number, markdown, number
from pax.run.files import write_rows

WIDE = 10
"""Players from which on a table is printed without intervals, and with fewer decimals."""


class Group(NamedTuple):
    """Two roles of runs with several seeds, and what their seeds earn from each other."""

    first: str
    second: str
    pairs: str
    """Which of them: all, those of the same seed (who trained together), or of different ones."""
    mean: np.ndarray
    """`[2]`, by seat."""
    half: np.ndarray
    """The same; NaN with too few seeds."""


def by_role(players: Sequence[Contestant], mean: np.ndarray) -> list[Group]:
    """Means over seeds, with confidence intervals that regard seeds as the sample.

    A seed takes part in many pairs, which are no independent samples. With rows i and columns j of the
    matrix x of two roles, Var(mean x) = Var_i(mean_j x) / S + Var_j(mean_i x) / S'. Where both sides are of
    one run, row i and column i are of one seed, and without the diagonal it is
    ((S - 1) / (S - 2))^2 Var_i(mean_j x_ij + mean_j x_ji) / S: the factor makes up for seed i being missing
    among those that it meets.

    Args:
        players: N of them.
        mean: rewards per step `[N, N, 2]`.
    """
    roles: dict[str, dict[int, int]] = {}
    for place, player in enumerate(players):
        if player.role:
            roles.setdefault(player.role, {})[player.seed] = place
    groups = []
    for first, rows in roles.items():
        for second, columns in roles.items():
            # Names of roles of one run begin with that run's.
            is_one_run = first.rpartition("/")[0] == second.rpartition("/")[0]
            # One that cannot play leaves its partner without one.
            common = sorted(rows.keys() & columns.keys()) if is_one_run else []
            first_seeds, second_seeds = (
                [of_role[seed] for seed in common] or [*of_role.values()]
                for of_role in (rows, columns)
            )
            x = mean[np.ix_(first_seeds, second_seeds)].astype(np.float64)
            if not common:
                groups.append(Group(first, second, "all", x.mean((0, 1)), _unrelated(x)))
                continue
            num = len(common)
            same = np.diagonal(x).T
            groups.append(Group(first, second, "same seed", *mean_interval(same, axis=0)))
            if num > 1:
                np.einsum("iik->ik", x)[:] = 0.0
                others = (x.sum(axis=1) + x.sum(axis=0)) / (num - 1)
                half = np.full(2, np.nan)
                if num > 2:
                    half = mean_interval(others, axis=0).half * (num - 1) / (num - 2)
                groups.append(Group(first, second, "other seeds", others.mean(0) / 2, half))
    return groups


def _unrelated(x: np.ndarray) -> np.ndarray:
    """Returns half widths `[2]` of the mean of `x` `[S, S', 2]`, seeds of two runs."""
    sizes = x.shape[:2]
    if min(sizes) < 2:
        return np.full(2, np.nan)
    variance = sum(x.mean(axis=1 - axis).var(axis=0, ddof=1) / sizes[axis] for axis in (0, 1))
    return np.sqrt(variance) * t_quantile(min(sizes) - 1)


def matrix_table(names: Sequence[str], matrix: MeanInterval, corner: str, wide: int = WIDE) -> str:
    """Returns a Markdown table `[N, N]`; from `wide` players on, columns are numbered, without intervals."""
    decimals, rows, columns, halves = 3, list(names), list(names), matrix.half
    if len(names) >= wide:
        decimals, halves = 2, np.full(matrix.half.shape, np.nan)
        columns = [str(index + 1) for index in range(len(names))]
        rows = [f"{column} {name}" for column, name in zip(columns, names, strict=True)]
    lines = [
        [name, *(number(*pair, decimals) for pair in zip(means, spreads, strict=True))]
        for name, means, spreads in zip(rows, matrix.mean, halves, strict=True)
    ]
    return markdown([corner, *columns], lines)


def write_matrix(path: pathlib.Path, names: Sequence[str], matrix: MeanInterval, num: int) -> None:
    """Writes a row per ordered pair: means `[N, N, 2]` by seat, with intervals, from `num` samples."""
    columns = [f"player_{seat}_{what}" for seat in (1, 2) for what in ("mean", "low", "high")]
    rows = [["player_1", "player_2", *columns, "samples"]]
    for i, j in np.ndindex(len(names), len(names)):
        mean, half = matrix.mean[i, j], matrix.half[i, j]
        numbers = np.stack([mean, mean - half, mean + half], axis=-1).ravel()
        rows.append([names[i], names[j], *map(csv_number, numbers), str(num)])
    write_rows(path, rows)


def plot_matrix(
    path: pathlib.Path,
    title: str,
    names: Sequence[str],
    panels: Sequence[tuple[str, np.ndarray]],
    column_label: str = "player 2",
    row_label: str = "player 1",
    most: int = 15,
) -> None:
    """Plots heat maps `[N, N]` side by side, on one scale; with numbers in them up to `most` players."""
    num = len(names)
    side = 1.5 + 0.32 * max(num, 5)
    figure = new_figure((len(panels) * side + 1.2, side + 0.4))
    # Longer names take the room of what they name.
    labels = [name if len(name) <= 32 else f"...{name[-29:]}" for name in names]
    values = np.stack([matrix for _, matrix in panels])
    low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0.0, 1.0)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (label, matrix) in zip(all_axes, panels, strict=True):
        table = HeatMap(label, matrix, labels, labels, row_label, column_label)
        form = number_form((low, high)) if num <= most else None
        image = plot_heat_map(axes, table, (low, high), form, aspect="equal", size=7)
        axes.tick_params(labelsize=8)
        axes.tick_params("x", labelrotation=90)
        axes.title.set_fontsize(10)
    figure.colorbar(image, ax=list(all_axes), shrink=0.7, label="reward per step")
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=120)
