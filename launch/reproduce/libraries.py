"""The tables of other libraries' environments: what PPO learns in some minutes, beside random play."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from launch.reproduce.cells import Cell, PublishedTable, config_of, train
from pax.config import role

NUM_ITERS = 100
"""Iterations of 8 rollouts each of gymnax, some 400,000 steps."""
QUICK = ("CartPole-v1", "Catch-bsuite", "switch_riddle,ppo_memory")
"""Those whose episodes end within the few steps of a quick run."""
NEED_DOWNLOADS = ("MNISTBandit-bsuite",)
OF_JAXMARL = (
    "MPE_simple_spread_v3",
    "overcooked",
    "HeuristicEnemySMAX",
    "hanabi",
    "switch_riddle,ppo_memory",
    "storm_2p,ppo_memory,opponent=self",
    "coin_game,ppo_memory,opponent=self",
)
"""One of each kind; jaxnav takes hours on a CPU."""


def gymnax(quick: bool) -> PublishedTable:
    """Describes PPO on every environment of gymnax that needs no download, with the settings of `sarl.py`."""
    # Imported late, as it takes a second.
    from gymnax import registered_envs

    names = [name for name in registered_envs if name not in NEED_DOWNLOADS]
    title = f"PPO on the environments of gymnax: {NUM_ITERS} iterations of configs/sarl.py"
    settings = {"num_iters": NUM_ITERS, "agent1.learning_rate_horizon": NUM_ITERS * 8 * 8}
    return _table(title, "configs/sarl.py", names, ("episode_return",), settings, quick)


def jaxmarl(quick: bool) -> PublishedTable:
    """Describes PPO on environments of JaxMARL, one of each kind, with the settings of `jaxmarl.py`."""
    title = "PPO on environments of JaxMARL: variants of configs/jaxmarl.py, returns of player 1"
    return _table(title, "configs/jaxmarl.py", OF_JAXMARL, ("episode_return/player_1",), {}, quick)


def _table(
    title: str,
    file: str,
    names: Sequence[str],
    metrics: Sequence[str],
    settings: Mapping[str, Any],
    quick: bool,
) -> PublishedTable:
    measure = functools.partial(_returns, file, metrics, settings, quick)
    return PublishedTable(
        title,
        "return of an episode",
        "environment",
        ("PPO", "random"),
        tuple(
            Cell(name, (), functools.partial(measure, name))
            for name in names
            if name in QUICK or not quick
        ),
        has_one_scale=False,
    )


def _returns(
    file: str,
    metrics: Sequence[str],
    settings: Mapping[str, Any],
    quick: bool,
    name: str,
    folder: pathlib.Path,
) -> np.ndarray:
    """Returns the mean return of an episode of PPO and of random play, `[seeds, 2]`."""
    num_seeds = 1 if quick else 3
    variant = f"{file}:{name}"
    trained = config_of(variant, num_seeds, quick, {} if quick else settings)
    random = config_of(variant, num_seeds, quick)
    for each in random.roles:
        seats = random[each].seats
        random[each] = role(agent="Random", seat=0, learner="none")
        random[each].seats = seats
    random.num_iters = random.chunk
    runs = {"PPO": trained, "random": random}
    returns = [train(config, variant, folder / who, metrics)[:, 0] for who, config in runs.items()]
    return np.stack(returns, axis=-1)
