"""The table of gymnax' environments: what PPO learns in about a minute, beside random play."""

from __future__ import annotations

import functools
import pathlib

import numpy as np

from launch.reproduce.cells import Cell, PublishedTable, config_of, train
from pax.config import role

NUM_ITERS = 100
"""Iterations of 8 rollouts each, some 400,000 steps."""
NEED_DOWNLOADS = ("MNISTBandit-bsuite",)


def gymnax(quick: bool) -> PublishedTable:
    """Describes PPO on every environment of gymnax that needs no download, with the settings of `sarl.py`."""
    # Imported late, as it takes a second.
    from gymnax import registered_envs

    names = [name for name in registered_envs if name not in NEED_DOWNLOADS]
    names = names[:2] if quick else names
    return PublishedTable(
        f"PPO on the environments of gymnax: {NUM_ITERS} iterations of configs/sarl.py",
        "return of an episode",
        "environment",
        ("PPO", "random"),
        tuple(Cell(name, (), functools.partial(_returns, name, quick)) for name in names),
        has_one_scale=False,
    )


def _returns(name: str, quick: bool, folder: pathlib.Path) -> np.ndarray:
    """Returns the mean return of an episode of PPO and of random play, `[seeds, 2]`."""
    returns = []
    for agent in ("PPO", "Random"):
        config = config_of(f"configs/sarl.py:{name}", 1 if quick else 3, quick)
        if agent == "Random":
            config.agent1 = role(agent="Random", seat=0, learner="none")
        if not quick:
            config.num_iters = NUM_ITERS if agent == "PPO" else config.chunk
            horizon = config.agent1.get("learning_rate_horizon", 0)
            if horizon:
                updates = config.agent1.num_epochs * config.agent1.num_minibatches
                config.agent1.learning_rate_horizon = NUM_ITERS * updates
        returns.append(train(config, folder / agent, ("episode_return",))[:, 0])
    return np.stack(returns, axis=-1)
