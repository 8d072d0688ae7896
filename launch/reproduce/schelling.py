"""Schelling diagrams of commons: returns of one more cooperator and one more defector, by the others."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from launch.reproduce.cells import Cell, PublishedTable
from pax.agents import (
    CleanUpCooperator,
    CleanUpDefector,
    HarvestCooperator,
    HarvestDefector,
)
from pax.agents.commons_players import Forager
from pax.envs import CleanUp, CommonsHarvest
from pax.envs.figures import new_figure
from pax.envs.grid_world.game import GridWorld
from pax.metrics.bootstrap import standard_error, t_quantile

# By name: the game, a cooperator, a defector, the map, and steps. In a longer Harvest, one defector among
# cooperators has time to eat all patches to the last apple, its own future among them.
GAMES: Mapping[str, tuple[type[GridWorld], type[Forager], type[Forager], str, int]] = {
    "Commons Harvest": (CommonsHarvest, HarvestCooperator, HarvestDefector, "harvest_open", 300),
    "Clean Up": (CleanUp, CleanUpCooperator, CleanUpDefector, "clean_up", 1000),
}
NUM_PLAYERS = 7
COLUMNS = ("one more cooperator", "one more defector")


@functools.cache
def make_play(game: str, num_players: int, steps: int) -> Callable[..., jax.Array]:
    """Returns a program: keys `[E]` and the number of cooperators, who sit first, to returns `[E, N]`."""
    cls, cooperator, defector, map_name, _ = GAMES[game]
    env = cls(map_name, num_players, 11, steps)
    params = env.default_params
    players = [kind.for_env(env) for kind in (cooperator, defector)]
    assert all(isinstance(player, Forager) for player in players)

    def play(key: jax.Array, number: jax.Array) -> jax.Array:
        reset_key, key = jax.random.split(key)
        seen, state = env.reset(reset_key, params)
        cooperates = jnp.arange(num_players) < number

        def step(carry: Any, key: jax.Array) -> Any:
            seen, state, total = carry
            env_key, key = jax.random.split(key)
            windows = jnp.stack(seen).astype(jnp.int32)
            first, second = (
                player.choose(windows, player.draw(key, (num_players,)))  # type: ignore[attr-defined]
                for player in players
            )
            actions = jnp.where(cooperates, first, second).astype(jnp.int32)
            seen, state, rewards, _, _ = env.step(env_key, state, tuple(actions), params)
            return (seen, state, total + jnp.stack(rewards)), None

        start = (seen, state, jnp.zeros(num_players))
        return jax.lax.scan(step, start, jax.random.split(key, steps))[0][2]

    return jax.jit(jax.vmap(play, (0, None)))


@functools.cache
def returns(
    game: str, num_players: int, number: int, seeds: int, envs: int, steps: int
) -> np.ndarray:
    """Returns what cooperators and defectors earn per episode, `[seeds, 2]`, if so many cooperate."""
    keys = jax.random.split(jax.random.key(number), (seeds, envs))
    play = make_play(game, num_players, steps)
    totals = np.stack([np.asarray(play(each, jnp.int32(number))) for each in keys]).mean(axis=1)
    # Of nobody there is no mean, and it is not asked for.
    return np.stack(
        [
            part.sum(axis=1) / max(part.shape[1], 1)
            for part in (totals[:, :number], totals[:, number:])
        ],
        axis=-1,
    )


def _point(
    game: str, num_players: int, others: int, sizes: tuple[int, int, int], folder: pathlib.Path
) -> np.ndarray:
    """Returns what one more of either kind earns if so many others cooperate, `[seeds, 2]`."""
    del folder
    cooperator = returns(game, num_players, others + 1, *sizes)[:, 0]
    defector = returns(game, num_players, others, *sizes)[:, 1]
    return np.stack([cooperator, defector], axis=-1)


def schelling(quick: bool) -> PublishedTable:
    """Describes the Schelling diagrams of both commons (Hughes et al. 2018), with scripted players."""
    sizes = (3, 2) if quick else (3, 32)
    cells = tuple(
        Cell(
            f"{game}: {others} other{'s' if others != 1 else ''} cooperate{'s' if others == 1 else ''}",
            (),
            functools.partial(_point, game, NUM_PLAYERS, others, (*sizes, steps)),
        )
        for game, (*_, steps) in GAMES.items()
        for others in range(NUM_PLAYERS)
    )
    return PublishedTable(
        "Schelling diagrams: scripted cooperators and defectors",
        "return per episode",
        "others",
        COLUMNS,
        cells,
        has_one_scale=False,
        draw=draw,
    )


def draw(results: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Draws a diagram per game, means with 95 % t intervals over seeds."""
    samples = np.array([result["samples"] for result in results])
    samples = samples.reshape(len(GAMES), NUM_PLAYERS, *samples.shape[1:])
    figure = new_figure((4.2 * len(GAMES), 3.4))
    for axes, game, own in zip(figure.subplots(1, len(GAMES)), GAMES, samples, strict=True):
        means, errors = own.mean(axis=1), standard_error(own, axis=1)
        for column, name in enumerate(COLUMNS):
            axes.errorbar(
                np.arange(NUM_PLAYERS),
                means[:, column],
                yerr=np.nan_to_num(t_quantile(own.shape[1] - 1) * errors[:, column]),
                marker="o",
                label=name,
            )
        axes.set(title=game, xlabel="others who cooperate", ylabel="return, with 95 % intervals")
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
