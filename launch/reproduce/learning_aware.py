"""The table of COALA-PG: shaping learners in the prisoner's dilemma, and cooperation in mixed pools."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from launch.reproduce.cells import Cell, PublishedTable, as_name, config_of, train, trained
from pax.agents import RandomMemoryOne
from pax.config import role
from pax.config.build import build_env, build_role
from pax.learners.frozen import Frozen
from pax.learners.learner import Experience
from pax.roles import Role
from pax.trainer import MetaTrainer
from pax.types import Metrics, PyTree, TrainingState

SHAPING = "configs/ipd.py:coala,small"
FORMS = {
    "COALA-PG": SHAPING,
    "M-FOS": "configs/ipd.py:coala,mfos,small",
    "batch-unaware": "configs/ipd.py:coala,batch_unaware,small",
}
NUM_TABLES = 1000
# What the forms of the estimator, and M-FOS's own network, have in common.
SETTINGS = (
    "hidden_size",
    "sequence_length",
    "learning_rate",
    "reward_scale",
    "discount",
    "gae_lambda",
    "num_epochs",
    "num_minibatches",
    "entropy_coeff",
    "max_gradient_norm",
)
BASELINES = {"always defect": "Defect", "always cooperate": "Altruistic"}
MIXED = "configs/ipd.py:coala,mixed,small"
POOLS: Mapping[str, Mapping[str, Any]] = {
    "mixed pool": {},
    "pool without naive learners": {"tasks.mixed_pool.naive": 0.0},
}
IN_SELF_PLAY = tuple(f"reward_in_self_play/player_{player}" for player in (1, 2))
AGAINST_OTHERS = tuple(f"reward_against_others/player_{player}" for player in (1, 2))


def coala(quick: bool) -> PublishedTable:
    """Describes COALA-PG (Meulemans et al. 2025), of which only figures were published."""
    seeds = 1 if quick else 5
    panel = "Against naive learners: reward per step"
    cells = [
        trained(f"{name} - naive", (), config, seeds, quick, panel=panel)
        for name, config in FORMS.items()
    ]
    cells += [
        Cell(f"{name} - naive", (), functools.partial(_fixed, agent, quick))
        for name, agent in BASELINES.items()
    ]
    meta_policy = "M-FOS's network by PPO across trials - naive"
    cells.append(Cell(meta_policy, (), functools.partial(_meta_policy, quick)))
    best = f"best of {NUM_TABLES} random memory-one strategies - naive"
    cells.append(Cell(best, (), functools.partial(_best_table, quick)))
    panel = "Agents of a pool among themselves: reward per step"
    for name, settings in POOLS.items():
        pairs = {"among themselves": IN_SELF_PLAY}
        if not settings:
            pairs["against naive"] = AGAINST_OTHERS
        for pair, metrics in pairs.items():
            cells.append(
                trained(
                    f"{name}: {pair}",
                    (),
                    MIXED,
                    1 if quick else 3,
                    quick,
                    # Enough trials for some of each kind.
                    settings={**settings, "num_opps": 16} if quick else settings,
                    metrics=metrics,
                    panel=panel if metrics is IN_SELF_PLAY else "",
                    runs=as_name(name),
                )
            )
    return PublishedTable(
        "Shaping tabular learners in the finite IPD, 10 steps x 20 episodes; mutual cooperation pays 1",
        "reward per step",
        "pair",
        ("first", "second"),
        tuple(cells),
    )


def _fixed(agent: str, quick: bool, folder: pathlib.Path) -> np.ndarray:
    """Measures what a strategy that never learns earns against the same naive learners."""
    config = config_of(SHAPING, 1 if quick else 5, quick)
    config.agent1 = role(agent=agent, seat=0, learner="none")
    config.num_iters = config.chunk
    return train(config, SHAPING, folder)


def _meta_policy(quick: bool, folder: pathlib.Path) -> np.ndarray:
    """Trains M-FOS with its meta-policy by PPO across trials, with the settings of the others."""
    config = config_of(SHAPING, 1 if quick else 5, quick)
    config.agent1 = role(agent="MFOS", seat=0, **{name: config.agent1[name] for name in SETTINGS})
    return train(config, SHAPING, folder)


class Judged(Frozen):
    """Policies that stay as they are, and the mean reward per step of each."""

    def init(self, key: jax.Array) -> PyTree:
        return {"policies": super().init(key), "rewards": np.zeros(self.num_candidates, np.float32)}

    def propose(self, state: PyTree, key: jax.Array) -> tuple[PyTree, PyTree]:
        return state["policies"], state

    def deploy(self, state: PyTree) -> TrainingState:
        return super().deploy(state["policies"])

    def update(self, state: PyTree, experience: Experience) -> tuple[PyTree, Metrics]:
        rewards = experience.trial.rewards[experience.role].mean(axis=1)
        return {**state, "rewards": rewards}, {}


def _best_table(quick: bool, folder: pathlib.Path) -> np.ndarray:
    """Draws strategies, judges each, and measures the best anew, against other learners."""
    num_seeds, num_tables = (1, 20) if quick else (5, NUM_TABLES)
    samples = []
    for seed in range(num_seeds):
        config = config_of(SHAPING, 1, quick)
        env, env_params = build_env(config)
        naive = build_role("agent2", config.agent2, env, env_params)
        agent = RandomMemoryOne.for_env(env, 0)
        keys = jax.random.split(jax.random.key(seed), num_tables)
        drawn = jax.vmap(agent.init)(keys)
        judged = Role("agent1", agent, (0,), Judged(num_tables, drawn))
        trainer = MetaTrainer(
            env,
            [judged, naive],
            env_params=env_params,
            num_envs=config.num_envs,
            num_opps=config.num_opps,
            num_outer_steps=config.num_outer_steps,
            num_iters=1,
            chunk=1,
            seed=seed,
            quiet=True,
        )
        trainer.fit()
        state = trainer.state
        assert state is not None
        index = int(state.learners["agent1"]["rewards"][0].argmax())
        probabilities = tuple(np.asarray(drawn.params[index], float).tolist())
        config.agent1 = role(agent="MemoryOne", seat=0, learner="none")
        config.agent1.probabilities = probabilities
        config.seed, config.num_iters = num_seeds + seed, config.chunk
        samples.append(train(config, SHAPING, folder / f"seed_{seed}")[0])
    return np.array(samples)
