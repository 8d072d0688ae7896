"""The tables of the literature: how each number is measured, and what was published."""

from __future__ import annotations

import functools
import itertools
import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from launch.reproduce.cells import Cell, PublishedTable, as_name, config_of, trained
from launch.reproduce.in_context import in_context
from launch.reproduce.learning_aware import coala
from launch.reproduce.libraries import gymnax, jaxmarl
from launch.reproduce.schelling import schelling
from pax.agents import AGENTS, Agent, LOLAExact, NaiveExact, Static
from pax.config.build import build_trainer
from pax.envs import InfiniteMatrixGame
from pax.evaluation.round_robin import over_devices
from pax.loop.rollout import rollout
from pax.roles import Role
from pax.types import PyTree, Task

# The M-FOS paper's games: gamma .96 and (1 - gamma) V, but for chicken, which is played once.
GAMES: Mapping[str, tuple[tuple[tuple[float, float], ...], float]] = {
    "IPD": (((-1, -1), (-3, 0), (0, -3), (-2, -2)), 0.96),
    "IMP": (((-1, 1), (1, -1), (1, -1), (-1, 1)), 0.96),
    "chicken": (((0, 0), (-1, 1), (1, -1), (-100, -100)), 0.0),
}
# By name, a class and its settings. The published tables of M-FOS differentiate the whole first-order term.
EXACT: Mapping[str, tuple[type[Agent], Mapping[str, str]]] = {
    "static": (Static, {}),
    "NL": (NaiveExact, {}),
    "LOLA (taylor)": (LOLAExact, {"form": "taylor"}),
    "LOLA (stop_gradient)": (LOLAExact, {"form": "stop_gradient"}),
    "LOLA (full)": (LOLAExact, {"form": "full"}),
}
# Recomputed from the definitions in float64, 4 x 8192 samples.
MFOS_PUBLISHED = {
    ("IPD", "static", "static"): (-1.501, -1.499),
    ("IPD", "static", "NL"): (-2.454, -1.002),
    ("IPD", "NL", "static"): (-1.002, -2.454),
    ("IPD", "NL", "NL"): (-1.983, -1.983),
    ("IPD", "LOLA (taylor)", "LOLA (taylor)"): (-1.095, -1.095),
}
UPDATES = 100


@functools.cache
def _play_exact(first: str, second: str, num_envs: int) -> Callable[[jax.Array, PyTree], jax.Array]:
    """Returns a program: keys `[S]` and parameters of the game to mean rewards `[S, 2]` over 100 updates."""
    # Before the first update nobody has learned: what is earned then does not count.
    env = InfiniteMatrixGame(num_inner_steps=UPDATES + 1)

    def play(key: jax.Array, env_params: PyTree) -> jax.Array:
        roles = []
        for seat, name in enumerate((first, second)):
            cls, settings = EXACT[name]
            roles.append(Role(str(seat), cls.for_env(env, seat, env_params, **settings), (seat,)))
        states = {role.name: role.agent.init(key) for role in roles}
        memories = {
            role.name: role.agent.initial_memory(role.agent.initial_hidden(num_envs))
            for role in roles
        }
        task = Task(env_params=env_params)
        episode = rollout(env, roles, num_envs, key, states, memories, task)
        return jnp.stack([episode.rollouts[str(seat)].rewards[1:].mean() for seat in range(2)])

    return jax.jit(jax.vmap(play, (0, None)))


def _exact(
    game: str, first: str, second: str, num_seeds: int, num_envs: int, folder: pathlib.Path
) -> np.ndarray:
    """Samples `[seeds, 2]` of a pair; there is nothing to keep in the folder."""
    payoff, gamma = GAMES[game]
    env_params = InfiniteMatrixGame().make_params(payoff=payoff, gamma=gamma)
    play = _play_exact(first, second, num_envs)
    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
    return np.asarray(play(jax.device_put(keys, over_devices(num_seeds)), env_params))


def mfos(quick: bool) -> PublishedTable:
    """Describes model-free opponent shaping (Lu et al. 2022): exact learners, and who shapes them."""
    sizes = (2, 64) if quick else (4, 8192)
    cells = [
        Cell(
            f"{game}: {first} - {second}",
            MFOS_PUBLISHED.get((game, first, second), ()),
            functools.partial(_exact, game, first, second, *sizes),
        )
        for game in GAMES
        for first, second in itertools.product(("static", "NL", "LOLA (taylor)"), repeat=2)
    ]
    seeds = 1 if quick else 3
    for label, variant, published in (
        ("IPD: Shaper - NL", "shaper,opponent=naive_exact,small", ()),
        ("IPD: M-FOS - NL", "mfos_es,opponent=naive_exact,small", (-0.56, -2.023)),
        ("IPD: Shaper - LOLA (stop_gradient)", "shaper,opponent=lola_exact,small", ()),
    ):
        cells.append(trained(label, published, f"configs/infinite.py:{variant}", seeds, quick))
    return PublishedTable(
        "M-FOS: infinite games, exact returns",
        "(1 - gamma) V per step; chicken: V",
        "pair",
        ("first", "second"),
        tuple(cells),
    )


def shaper(quick: bool) -> PublishedTable:
    """Describes shaping in the finite IPD by evolution (Khan et al. 2024), over whole lifetimes."""
    seeds = 1 if quick else 3
    rows = (
        ("Shaper", "configs/ipd.py:shaper,small"),
        ("M-FOS", "configs/ipd.py:mfos_es,small"),
        ("GS (no memory)", "configs/ipd.py:gs,small"),
    )
    return PublishedTable(
        "Shaping a tabular PPO learner in the finite IPD, 100 steps x 100 episodes",
        "reward per step",
        "shaper",
        ("shaper", "learner"),
        tuple(trained(label, (), config, seeds, quick) for label, config in rows),
    )


def lola(quick: bool) -> PublishedTable:
    """Describes LOLA with exact values: both players naive, or both aware of each other's learning."""
    sizes = (2, 64) if quick else (4, 8192)
    exact = (
        ("naive", "NL", (-1.98, -1.98)),
        ("LOLA (stop_gradient), 1 step", "LOLA (stop_gradient)", (-1.05, -1.05)),
        ("LOLA (taylor), 1 step", "LOLA (taylor)", ()),
        ("LOLA (full), 1 step", "LOLA (full)", ()),
    )
    cells = [
        Cell(f"exact: {label}", published, functools.partial(_exact, "IPD", name, name, *sizes))
        for label, name, published in exact
    ]
    sampled = (
        (0, "naive", -1.991),
        (1, "1 step", -1.182),
        (2, "2 steps", -1.123),
        (3, "3 steps", -1.105),
    )
    cells += [
        trained(
            f"LOLA-DiCE: {label}",
            (published, published),
            f"configs/ipd.py:lola_dice,look_ahead_steps={steps}",
            1 if quick else 5,
            quick,
        )
        for steps, label, published in sampled
    ]
    columns = ("first", "second")
    return PublishedTable(
        "LOLA in the IPD, self-play", "reward per step", "learner", columns, tuple(cells)
    )


COIN_LEARNERS = {
    "Advantage Alignment": "advantage_alignment",
    "LOQA": "loqa",
    "PPO_memory": "ppo_memory,one_coin",
}
COIN_PUBLISHED = {
    ("Advantage Alignment", "itself"): (0.269, 0.290),
    ("LOQA", "itself"): (0.291, 0.304),
    ("LOQA", "always defect"): (-0.054, 0.123),
    ("always cooperate", "itself"): (0.347, 0.347),
    ("always defect", "always cooperate"): (0.631, -0.269),
}
ALWAYS = {"always cooperate": "AlwaysCooperate", "always defect": "EvilGreedy"}


def coin_game(quick: bool) -> PublishedTable:
    """Describes the coin game with one coin (Aghajohari et al. 2024; Duque et al. 2024), after training."""
    pairs = [(name, other) for name in COIN_LEARNERS for other in ("itself", *ALWAYS)]
    pairs += [("always cooperate", "itself"), ("always defect", "always cooperate")]
    cells = []
    for first, second in pairs:
        config = COIN_LEARNERS.get(first, "ppo_memory,one_coin")
        measure = functools.partial(
            _coin_game, config, ALWAYS.get(first), ALWAYS.get(second, ALWAYS.get(first)), quick
        )
        cells.append(Cell(f"{first} - {second}", COIN_PUBLISHED.get((first, second), ()), measure))
    return PublishedTable(
        "Coin game, one coin at a time, 3 x 3, 50 steps",
        "reward per step",
        "pair",
        ("first", "second"),
        tuple(cells),
    )


def _coin_game(
    variant: str, first: str | None, second: str | None, quick: bool, folder: pathlib.Path
) -> np.ndarray:
    """Measures a pair, one episode per environment; None is who was trained for the variant."""
    config = config_of(f"configs/coin_game.py:{variant}", 1 if quick else 3, quick)
    if not quick:
        config.num_inner_steps, config.num_envs = 50, 128
        for name in config.roles:
            config[name].sequence_length = 10
    trainer = build_trainer(config, str(folder.parent / as_name(variant)))
    trainer.fit()
    replaced = {
        name: AGENTS[kind].for_env(trainer.env, seat)
        for seat, (name, kind) in enumerate((("agent1", first), ("agent2", second)))
        if kind is not None
    }
    metrics = trainer.evaluate(replaced)["opponents"]
    rewards = [metrics[f"reward_per_timestep/player_{player}"] for player in (1, 2)]
    return np.stack([np.atleast_1d(reward) for reward in rewards], axis=-1)


TABLES: Mapping[str, Callable[[bool], PublishedTable]] = {
    "mfos": mfos,
    "lola": lola,
    "shaper": shaper,
    "coin_game": coin_game,
    "coala": coala,
    "in_context": in_context,
    "gymnax": gymnax,
    "jaxmarl": jaxmarl,
    "schelling": schelling,
}
