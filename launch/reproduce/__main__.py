"""The tables of the opponent-shaping literature, beside the numbers that were published, and of libraries.

    python -m launch.reproduce mfos
    python -m launch.reproduce lola --workdir=DIR
    python -m launch.reproduce shaper --quick
    python -m launch.reproduce gymnax
    python -m launch.reproduce schelling
    python -m launch.reproduce league ipd --small

Prints the table, and writes it as CSV and, if its rows are of one scale, as a figure to the folder, with the
learning curves of runs beside it where the table has them. What is done is kept there: the same command goes
on where it was interrupted. `--quick` takes a small part of the work, to see that it runs; its numbers are
not those of the table. A league, of `ipd`, `coin_game` or `ipditm`, trains every method, has all play all,
and those who learn, and writes its own tables: docs/league.md.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import textwrap
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from matplotlib.ticker import MaxNLocator

from launch.reproduce.cells import Cell, PublishedTable
from launch.reproduce.folder import alone_in
from launch.reproduce.league import program
from launch.reproduce.published import TABLES
from pax import checks
from pax.checks import short
from pax.config.command_line import GOES_ON, run_program
from pax.config.flags import definer
from pax.envs.figures import new_figure
from pax.errors import ConfigError, OutputError, nearest
from pax.loop.xla import enable_compilation_cache
from pax.metrics.bootstrap import standard_error, t_interval, t_quantile
from pax.metrics.json_writer import read_metrics
from pax.metrics.learning_curves import marked
from pax.metrics.tables import csv_number, markdown, number
from pax.run.files import read_regular, write_rows, write_whole
from pax.run.progress_line import ProgressLine

LEAGUE = "league"
"""Named in place of a table, with a game behind it."""
QUICK = "a small part of the work, --quick: these numbers are not those of the table"
"""Follows the titles of a quick run's table and figure."""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    define("workdir", None, "Where results are kept. Default: exp/reproduce-<table>.")
    define("quick", False, "A small part of the work, to see that it runs.")
    program.define_flags(define)


def main(names: list[str], given: flags.FlagValues) -> int:
    """Measures what is not yet measured of a table, and shows it; returns the exit code."""
    enable_compilation_cache()
    if names[:1] == [LEAGUE]:
        return program.run(names[1:], given)
    for flag in program.FLAGS:
        if given[flag].present:
            raise ConfigError(f"--{flag} is of leagues only, python -m launch.reproduce league ipd")
    reproduce(names, given.workdir, given.quick)
    return 0


def reproduce(names: Sequence[str], workdir: str | None, quick: bool) -> pathlib.Path:
    """Reproduces the table that `names` names; returns the folder with its CSV and figure.

    Raises:
        ConfigError: unless `names` is one table, and the folder holds nothing else.
    """
    if len(names) != 1:
        raise ConfigError(f"give one table, one of {', '.join(TABLES)}, and not {len(names)}")
    name = names[0]
    if name not in TABLES:
        known = [*TABLES, LEAGUE]
        raise ConfigError(f"there is no table {name!r}: {nearest(name, known)}")
    default = f"exp/reproduce-{name}{'-quick' if quick else ''}"
    folder = checks.folder("--workdir", workdir or default)
    table = TABLES[name](quick)
    if quick:
        table = dataclasses.replace(table, title=f"{table.title} ({QUICK})")
    with alone_in(folder, {"table": name, "quick": quick}):
        line, results = ProgressLine("rows"), []
        for index, cell in enumerate(table.cells):
            if not _kept(cell, folder).exists():
                print(f"{index + 1}/{len(table.cells)} {cell.label}", flush=True)
            results.append(measure(cell, folder))
            line.count(index + 1, len(table.cells))
        print(to_markdown(table, results))
        write_csv(table, results, folder / f"{name}.csv")
        if table.draw is not None:
            table.draw(results, folder / f"{name}.png")
        elif table.has_one_scale:
            plot_table(table, results, folder / f"{name}.png")
        plot_curves(table, results, folder / "runs", folder / f"{name}_curves.png")
        minutes = sum(result["seconds"] for result in results) / 60
        figure = " and .png" if table.has_one_scale or table.draw is not None else ""
        print(f"\n{minutes:.1f} minutes in all. Written to {folder / name}.csv{figure}")
    return folder


def measure(cell: Cell, folder: pathlib.Path) -> dict[str, Any]:
    """Returns the samples `[seeds, players]` of a cell, from the folder if they are there."""
    path = _kept(cell, folder)
    if path.exists():
        return _read_cell(path)
    path.parent.mkdir(exist_ok=True)
    started = time.monotonic()
    samples = np.asarray(cell.measure(cell.folder(folder / "runs")))
    result = {"samples": samples.tolist(), "seconds": time.monotonic() - started}
    write_whole(path, json.dumps(result))
    return result


def _kept(cell: Cell, folder: pathlib.Path) -> pathlib.Path:
    """Returns where what was measured of a cell is."""
    return folder / "cells" / f"{cell.key}.json"


def _read_cell(path: pathlib.Path) -> dict[str, Any]:
    try:
        result = json.loads(read_regular(path))
        samples = np.asarray(result["samples"], np.float64)
        if samples.ndim == 2 and samples.size and isinstance(result["seconds"], int | float):
            return result
        reason = "it holds no samples"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        reason = " ".join(str(e).split())
    raise OutputError(f"{path} cannot be used ({short(reason)}): take it away to measure it anew")


def summary(result: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, int]:
    """Means, standard errors and number of seeds."""
    samples = np.asarray(result["samples"], np.float64)
    return samples.mean(axis=0), standard_error(samples, axis=0), len(samples)


def to_markdown(table: PublishedTable, results: Sequence[dict[str, Any]]) -> str:
    """Returns the table as people read it: mean and standard error per player, and what was published."""
    lines = []
    for cell, result in zip(table.cells, results, strict=True):
        means, errors, num = summary(result)
        ours = [*map(number, means, errors)]
        ours += [""] * (len(table.columns) - len(ours))
        known = ", ".join("-" if value is None else f"{value:g}" for value in cell.published)
        published = [known] if table.is_published else []
        lines.append([cell.label, *ours, *published, str(num), f"{result['seconds']:.0f}"])
    published = ["published"] if table.is_published else []
    columns = (table.first, *table.columns, *published, "seeds", "seconds")
    title = f"{table.title}. {table.unit}, mean +- standard error over seeds."
    return f"{title}\n\n{markdown(columns, lines)}"


def write_csv(table: PublishedTable, results: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes a row per cell and column."""
    published = ["published"] if table.is_published else []
    rows = [[table.first, "column", "mean", "standard_error", *published, "seeds"]]
    for cell, result in zip(table.cells, results, strict=True):
        means, errors, num = summary(result)
        of_columns = [*cell.published, *[None] * len(means)]
        for column, mean, error, known in zip(
            table.columns, means, errors, of_columns, strict=False
        ):
            told = ["" if known is None else str(known)] if table.is_published else []
            rows.append([cell.label, column, csv_number(mean), csv_number(error), *told, str(num)])
    write_rows(path, rows)


def plot_table(
    table: PublishedTable, results: Sequence[dict[str, Any]], path: pathlib.Path
) -> None:
    """Plots means with 95 % t intervals over seeds, and crosses where something was published."""
    longest = max(len(cell.label) for cell in table.cells)
    width = 4.5 + 0.075 * longest
    title = textwrap.fill(table.title, round(10 * width))
    height = 1.0 + 0.2 * len(title.splitlines()) + 0.28 * len(table.cells)
    figure = new_figure((width, height))
    axes = figure.subplots()
    for row, (cell, result) in enumerate(zip(table.cells, results, strict=True)):
        means, errors, num = summary(result)
        for column, (mean, error) in enumerate(zip(means, errors, strict=True)):
            axes.errorbar(
                mean,
                -row + 0.12 - 0.24 * column,
                xerr=0.0 if np.isnan(error) else t_quantile(num - 1) * error,
                fmt="o",
                markersize=4,
                color=f"C{column}",
                label=table.columns[column] if row == 0 else None,
            )
        for column, known in enumerate(cell.published):
            if known is not None:
                axes.plot(known, -row + 0.12 - 0.24 * column, "kx", markersize=7)
    axes.set_yticks(-np.arange(len(table.cells)), [cell.label for cell in table.cells])
    crosses = " (crosses: published)" if table.is_published else ""
    axes.set_xlabel(f"{table.unit}, 95 % intervals over seeds{crosses}")
    figure.suptitle(title, fontsize="medium")
    axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=120)


def plot_curves(
    table: PublishedTable,
    results: Sequence[dict[str, Any]],
    runs: pathlib.Path,
    path: pathlib.Path,
) -> None:
    """Plots learning curves of the rows that have one, means with 95 % t intervals over seeds.

    Args:
        table: what is shown.
        results: of its rows.
        runs: the folder of all runs.
        path: the figure; none is written of a table without curves.
    """
    curves = [
        (cell, cell.curve, len(result["samples"]))
        for cell, result in zip(table.cells, results, strict=True)
        if cell.curve is not None
    ]
    panels = list(dict.fromkeys(curve.panel for _, curve, _ in curves))
    if not panels:
        return
    figure = new_figure((6 * len(panels), 4))
    plots = dict(zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True))
    for cell, curve, num in curves:
        rows, axes = read_metrics(cell.folder(runs)), plots[curve.panel]
        iterations = [row["iteration"] for row in rows]
        mean = np.array([row[curve.metric] for row in rows], float)
        (line,) = axes.plot(iterations, mean, label=cell.label, **marked(len(mean)))
        if num > 1:
            std = np.array([row[f"{curve.metric}/std"] for row in rows], float)
            axes.fill_between(
                iterations, *t_interval(mean, std, num), color=line.get_color(), alpha=0.2
            )
    for panel, axes in plots.items():
        axes.set_title(panel, fontsize="medium")
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    run_program(main, define_flags, computes=True, interrupted=GOES_ON)
