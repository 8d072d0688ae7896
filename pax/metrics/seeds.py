"""Metrics of several seeds: their mean, their spread, and each one's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np


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


def over_seeds(results: Mapping[str, Any]) -> dict[str, np.floating]:
    """Returns mean and spread over seeds of one evaluation's metrics, as `MetaTrainer.evaluate` gives them.

    Args:
        results: by name, a number, or one per seed `[S]`.
    """
    # Reduced as those of training are: one "iteration" of them.
    return SeedMetrics({key: np.atleast_1d(value)[None] for key, value in results.items()}).at(0)
