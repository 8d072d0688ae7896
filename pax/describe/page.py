"""Prints what a config is."""

from __future__ import annotations

import inspect
import math
import sys
import tempfile
from typing import Any

import jax
from clu import parameter_overview
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from pax.config.build import build_trainer
from pax.describe.cost import Cost, measure
from pax.describe.settings import list_settings
from pax.roles import Role
from pax.trainer import MetaTrainer

WIDTH = 100
"""Columns of all that is printed about configs."""


def describe(config: ConfigDict, name: str) -> None:
    """Prints the settings of a config, its roles and sizes, and then what it costs, which takes a moment.

    Args:
        config: of a run.
        name: what it is called.

    Raises:
        PaxError: if the config is wrong.
    """
    # Callbacks want to know of a folder; none is made.
    trainer = build_trainer(config, tempfile.gettempdir())
    trainer.check()
    console = Console(width=WIDTH, highlight=False)
    console.print(f"[bold]{name}[/bold]: {config.env.type}", soft_wrap=True)
    for group, settings in list_settings(config).items():
        table = Table(title=group, title_justify="left", box=None, expand=True, padding=(0, 1))
        # A name stays in one piece, to be searched for and copied.
        table.add_column("setting", no_wrap=True)
        for column, ratio in (("value", 3), ("default", 3), ("meaning", 6)):
            table.add_column(column, ratio=ratio, overflow="fold")
        for setting in settings:
            has_default = setting.default is not inspect.Parameter.empty
            table.add_row(
                f"[bold]{setting.key}[/bold]" if setting.is_changed else setting.key,
                _plain(setting.value),
                _plain(setting.default) if has_default else "",
                _escaped(setting.meaning),
            )
        console.print(table, "")
    for role in trainer.roles:
        console.print(f"[bold]{role.name}[/bold]: {_about(role)}", _overview(role), sep="\n")
        if role.name in trainer.warm_starts:
            console.print(_escaped("\n".join(trainer.warm_starts[role.name].lines())))
        console.print("")
    console.print(*_sizes(trainer), sep="\n")
    if sys.stderr.isatty():
        print("Compiling, and timing some iterations ...", file=sys.stderr)
    console.print(*_cost(measure(config)), sep="\n")


def _plain(value: Any) -> str:
    return _escaped(repr(value) if isinstance(value, str) else str(value))


def _escaped(text: str) -> str:
    """Returns text in which brackets are no markup."""
    return text.replace("[", r"\[")


def _about(role: Role) -> str:
    """Returns who plays where, and how it learns."""
    seats = ", ".join(f"player {seat + 1}" for seat in role.seats)
    if role.self_play_seats:
        others = ", ".join(f"player {seat + 1}" for seat in role.self_play_seats)
        seats = f"{seats + ', and ' if seats else ''}{others} in trials of self-play"
    learns = []
    if role.member_of:
        learns.append(f"across trials with {role.member_of}")
    if role.learner is not None:
        number = role.learner.num_candidates
        candidates = f", {number} candidates" if number > 1 else ""
        learns.append(f"across trials by {type(role.learner).__name__}{candidates}")
    if role.learns_in_trial:
        learns.append("after every episode")
    how = f"learns {' and '.join(learns)}" if learns else "does not learn"
    return f"{type(role.agent).__name__} as {seats}, {how}"


def _overview(role: Role) -> str:
    """Returns a table of the parameters, which may be any pytree, by the path to each array."""
    params = jax.eval_shape(role.agent.init, jax.random.key(0)).params
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        return "no parameters"
    by_path = {
        jax.tree_util.keystr(path, simple=True, separator="/") or "params": leaf
        for path, leaf in leaves
    }
    return str(parameter_overview.get_parameter_overview(by_path, include_stats=False))


def _sizes(trainer: MetaTrainer) -> list[str]:
    per_iteration = trainer.env_steps_per_iteration
    total = trainer.num_iters * per_iteration * trainer.num_seeds
    return [
        f"Environment steps: {per_iteration:,} per iteration and seed; in all {total:,} "
        f"({trainer.num_iters:,} iterations, {trainer.num_seeds} seed{'s' * (trainer.num_seeds > 1)})",
        f"Devices: {trainer.placement}",
    ]


def _cost(cost: Cost) -> list[str]:
    digits = max(0, 2 - math.floor(math.log10(max(cost.seconds_per_iteration, 1e-9))))
    return [
        f"Time: {_duration(cost.seconds)}: {cost.compile_seconds:.1f} s to compile, "
        f"{cost.num_iters:,} iterations of {cost.seconds_per_iteration:.{digits}f} s, "
        f"{cost.evaluation_seconds:.1f} s for evaluations",
        f"      (timed on {cost.measured})",
        f"Memory: {cost.memory / 2**20:,.0f} MiB "
        + ("of the process" if jax.default_backend() == "cpu" else "of each device"),
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"
