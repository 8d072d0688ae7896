"""What is drawn per opponent and trial: samplers, and how they compose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

from pax.types import PyTree, Task

Sampler = Callable[[jax.Array, Task], Task]
"""`sampler(key, task)` draws one aspect of a trial: a pure function that returns `task.replace(...)`."""


def compose(env_params: PyTree, samplers: Sequence[Sampler]) -> Callable[[jax.Array], Task]:
    """One function `sample_task(key)` that starts from `env_params` and applies the samplers in order."""

    def sample_task(key: jax.Array) -> Task:
        task = Task(env_params=env_params)
        for sampler, sampler_key in zip(
            samplers, jax.random.split(key, max(len(samplers), 1)), strict=False
        ):
            task = sampler(sampler_key, task)
        return task

    return sample_task
