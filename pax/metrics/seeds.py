"""Metrics of several seeds: their mean, their spread, and each one's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pax.metrics.bootstrap import estimate_where_defined

INTERVALS = "seeds"
"""The group of what `reward_intervals` returns."""
MOST_SEEDS = 200
"""Up to so many, intervals take milliseconds per report; with more seeds they are left to `pax.report`."""


class SeedMetrics(dict[str, np.ndarray]):
    """Metrics by name, averaged over the seeds of a run: a dict of numpy arrays `[chunk]`.

    With more than one seed, `<name>/std` is the standard deviation over seeds (n - 1 in the denominator).
    Seeds in which a metric is undefined (NaN) are left out of both.
    """

    per_seed: Mapping[str, np.ndarray]
    """The same metrics, of each seed: `[chunk, S]`."""

    def __init__(self, per_seed: Mapping[str, np.ndarray]):
        super().__init__()
        self.per_seed = per_seed
        with warnings.catch_warnings():
            # A metric that is undefined in every seed, or in all but one, is NaN here too.
            warnings.simplefilter("ignore", RuntimeWarning)
            for name, values in per_seed.items():
                self[name] = np.nanmean(values, axis=-1)
                if values.shape[-1] > 1:
                    self[f"{name}/std"] = np.nanstd(values, axis=-1, ddof=1)

    def at(self, index: int) -> dict[str, np.floating]:
        """Returns the metrics of one iteration of the chunk (-1: the last one)."""
        return {name: values[index] for name, values in self.items()}

    def per_seed_at(self, index: int) -> dict[str, np.ndarray]:
        """Returns those of each seed, `[S]`, of one iteration of the chunk."""
        return {name: values[index] for name, values in self.per_seed.items()}


def over_seeds(results: Mapping[str, Any]) -> dict[str, np.floating]:
    """Returns mean and spread over seeds of one evaluation's metrics, as `MetaTrainer.evaluate` gives them.

    Args:
        results: by name, a number, or one per seed `[S]`.
    """
    # Reduced as those of training are: one "iteration" of them.
    return SeedMetrics({key: np.atleast_1d(value)[None] for key, value in results.items()}).at(0)


def of_evaluation(name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metrics of an evaluation as they are reported, `evaluation/<name>/<metric>`."""
    return {f"evaluation/{name}/{key}": value for key, value in metrics.items()}


def has_interval(name: str, num_seeds: int) -> bool:
    """Returns whether `reward_intervals` has something to say of a metric: it is a reward, of a few seeds."""
    is_reward = any(part.startswith("reward") for part in name.split("/"))
    return is_reward and 1 < num_seeds <= MOST_SEEDS


def interval_names(name: str) -> tuple[str, str, str]:
    """Returns `seeds/<name>/estimate`, `.../low` and `.../high`."""
    estimate, low, high = (f"{INTERVALS}/{name}/{end}" for end in ("estimate", "low", "high"))
    return estimate, low, high


def reward_intervals(per_seed: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Estimates rewards from the seeds of a run, for programs that draw numbers and no samples.

    Args:
        per_seed: metrics by name, of each seed, `[S]`.

    Returns:
        `seeds/<name>/estimate`, `.../low` and `.../high` of each metric with a part of its name, between
        slashes, that begins with `reward`: see `pax.metrics.bootstrap.estimate_over_seeds`. Nothing of more
        than `MOST_SEEDS` seeds.
    """
    rewards = {
        name: np.asarray(values, np.float64)
        for name, values in per_seed.items()
        if has_interval(name, np.size(values))
    }
    if not rewards:
        return {}
    # One call for all: [S, names].
    found = estimate_where_defined(np.stack(list(rewards.values()), axis=-1))
    return {
        key: float(values[index])
        for index, name in enumerate(rewards)
        for key, values in zip(interval_names(name), found[:3], strict=True)
    }
