"""Which runs of a sweep can be one program: those that differ in numbers at which Python does not look."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import jax

from pax.loop.numbers import Difference, Numbers
from pax.trainer import MetaTrainer


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that one program trains."""

    runs: tuple[int, ...]
    """Their places in the sequence of trainers that was grouped."""
    numbers: Numbers
    """Those in which they differ, all of which can be traced."""


def group_runs(trainers: Sequence[MetaTrainer]) -> list[Group]:
    """Returns the groups of runs that can be one program each, in the order of their first runs.

    Numbers that are 0 in some runs and not in others split them, as code may leave out what 0 makes
    superfluous. So does what Python looks at while JAX traces: sizes, and what decides which code is run.
    """
    groups: list[Group] = []
    for alike in _of_one_structure(trainers):
        numbers = _numbers(trainers, alike)
        groups += _traceable(trainers, alike, numbers)
    return sorted(groups, key=lambda group: group.runs)


def _of_one_structure(trainers: Sequence[MetaTrainer]) -> list[list[int]]:
    """Returns the runs by what they consist of but for numbers, and by which of these are 0."""
    alike: list[list[int]] = []
    for index, trainer in enumerate(trainers):
        for known in alike:
            first = trainers[known[0]]
            if sizes(first) != sizes(trainer):
                continue
            try:
                Numbers((first.parts, trainer.parts))
            except Difference:
                continue
            known.append(index)
            break
        else:
            alike.append([index])
    split = []
    for runs in alike:
        scalars = [column for column in _numbers(trainers, runs).columns if column.ndim == 1]
        zeros = [tuple(not column[place] for column in scalars) for place in range(len(runs))]
        split += _by(runs, zeros)
    return split


def sizes(trainer: MetaTrainer) -> tuple[Any, ...]:
    """Returns what all runs of a group must have in common besides what they consist of."""
    counts = dataclasses.replace(trainer.counts, seed=0)
    return counts, trainer.placement.asked, sorted(trainer.parts.evaluators)


def _traceable(trainers: Sequence[MetaTrainer], runs: list[int], numbers: Numbers) -> list[Group]:
    """Returns groups of runs whose numbers can all be traced."""
    every = range(len(numbers.columns))
    if _can_trace(trainers[runs[0]], numbers, every):
        return [Group(tuple(runs), numbers)]
    needed = [column for column in every if not _can_trace(trainers[runs[0]], numbers, [column])]
    # Each can be traced, and not all of them together.
    needed = needed or list(every)
    keys = [
        tuple(numbers.columns[at][place].tobytes() for at in needed) for place in range(len(runs))
    ]
    split = _by(runs, keys)
    return [
        group for part in split for group in _traceable(trainers, part, _numbers(trainers, part))
    ]


def _can_trace(trainer: MetaTrainer, numbers: Numbers, columns: Sequence[int]) -> bool:
    """Returns whether the loop of a run can be traced with some of its numbers."""
    if not columns:
        return True  # What is wrong with it is told when it is compiled.
    state = trainer.compiled_loop.abstract_state()

    def iterate(state: Any, traced: Sequence[jax.Array]) -> Any:
        values: list[Any] = [None] * len(numbers.columns)
        for column, value in zip(columns, traced, strict=True):
            values[column] = value
        loop = numbers.rebuild(values).loop.without_placement()
        return loop.init(state.keys), loop.run(state, 1)

    try:
        jax.eval_shape(iterate, state, [numbers.columns[column][0] for column in columns])
    except Exception:
        # Whatever the code made of a traced number, it wants to know it.
        return False
    return True


def _numbers(trainers: Sequence[MetaTrainer], runs: Sequence[int]) -> Numbers:
    return Numbers([trainers[run].parts for run in runs])


def _by(runs: Sequence[int], keys: Sequence[Hashable]) -> list[list[int]]:
    """Returns runs by their keys."""
    found: dict[Hashable, list[int]] = {}
    for run, key in zip(runs, keys, strict=True):
        found.setdefault(key, []).append(run)
    return list(found.values())
