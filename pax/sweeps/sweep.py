"""Sweeps: many runs of one config that differ in some of its settings.

A config file has one if it defines `get_sweep()`, which returns a sequence of overrides, one dict per run:

    def get_sweep():
        return product(seed=range(3), **{"agent1.learning_rate": (0.01, 0.03)})

`python -m pax.sweeps` runs it.
"""

from __future__ import annotations

import builtins
import inspect
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from pax.callbacks.checkpoint import MONITOR
from pax.callbacks.scalars import REPORTED
from pax.checks import brief, check_items, check_kind, check_mapping, short
from pax.config.build import check_run
from pax.config.files import find_config, load_module, user_code
from pax.errors import ConfigError, PaxError, nearest

Overrides = Mapping[str, Any]
"""Values by dotted key of the config."""
MAX_RUNS = 100_000
"""Runs of a sweep, and values of one axis: more are a mistake, and would fill the memory."""


def product(*sweeps: Iterable[Overrides], **axes: Iterable[Any]) -> list[dict[str, Any]]:
    """Returns every combination; the last axis varies fastest.

    Args:
        *sweeps: other sweeps, each an axis of its own, as in `product(zip(a=..., b=...), seed=range(3))`.
        **axes: by setting, its values. Keys with dots: `**{"agent1.learning_rate": (0.01, 0.03)}`.

    Raises:
        ConfigError: if an axis is empty, or a setting is on two of them.
    """
    parts: list[list[dict[str, Any]]] = [_runs(sweep) for sweep in sweeps]
    parts += [[{key: value} for value in _values(key, axes[key])] for key in axes]
    if (num_runs := math.prod(map(len, parts))) > MAX_RUNS:
        raise ConfigError(f"a sweep has {num_runs} runs: give at most {MAX_RUNS}")
    combined = []
    for choice in itertools.product(*parts):
        keys = [key for part in choice for key in part]
        for key in keys:
            if keys.count(key) > 1:
                raise ConfigError(f"{key} is on two axes of a sweep: take one away")
        combined.append({key: value for part in choice for key, value in part.items()})
    return combined


def zip(**axes: Iterable[Any]) -> list[dict[str, Any]]:
    """Returns the first values of all axes, the second ones, and so on.

    Args:
        **axes: by setting, its values.

    Raises:
        ConfigError: if an axis is empty, or they differ in length.
    """
    if not axes:
        raise ConfigError("a zip has no axes: give some, as in zip(seed=(0, 1))")
    columns = {key: _values(key, values) for key, values in axes.items()}
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise ConfigError(
            f"axes of a zip differ in their number of values ({told}): give as many to each"
        )
    return [
        dict(builtins.zip(columns, row, strict=True))
        for row in builtins.zip(*columns.values(), strict=True)
    ]


def load_sweep(name: str) -> list[dict[str, Any]]:
    """Loads the sweep of the config file that `<file>` or `<file>:<argument>` names.

    A `get_sweep` that takes an argument gets what follows the colon.

    Raises:
        ConfigError: if there is none, it fails, or it is no sequence of overrides that differ.
    """
    check_kind("the config of a sweep", name, "")
    file, colon, argument = name.partition(":")
    module = load_module(file)
    get_sweep = getattr(module, "get_sweep", None)
    if get_sweep is None:
        raise ConfigError(
            f"config file {file!r} has no get_sweep(): define one that returns a list of overrides, as in "
            'return pax.sweeps.product(**{"agent1.learning_rate": (0.01, 0.03)})'
        )
    with user_code(find_config(file)):
        takes_argument = bool(inspect.signature(get_sweep).parameters)
        found = get_sweep(argument) if takes_argument and colon else get_sweep()
        sweep = list(found) if isinstance(found, Iterable) else found
    if not sweep or not isinstance(sweep, list) or isinstance(found, str | Mapping):
        raise ConfigError(
            f"get_sweep() of {file!r} returned {short(found)}: return a list with one dict per run, as "
            "pax.sweeps.product(...) and zip(...) return it"
        )
    for index, overrides in enumerate(sweep):
        if not isinstance(overrides, Mapping) or not all(isinstance(key, str) for key in overrides):
            raise ConfigError(
                f"get_sweep() of {file!r} returned {short(overrides)} for run {index:03d}: return a dict of "
                'settings, as in {"seed": 1}'
            )
        for key in overrides:
            _check_key(key)
    plain = [{key: _plain(value) for key, value in overrides.items()} for overrides in sweep]
    for index, overrides in enumerate(plain):
        if overrides in plain[:index]:
            raise ConfigError(
                f"runs {plain.index(overrides):03d} and {index:03d} of the sweep of {file!r} have the same "
                f"overrides, {describe(overrides)}: take one away"
            )
    return plain


def check_sweep(config: ConfigDict, sweep: Sequence[Overrides]) -> None:
    """Raises ConfigError unless every run of a sweep can be built."""
    check_items("sweep", sweep, "a list of dicts, one per run")
    for index, overrides in enumerate(sweep):
        check_mapping(f"run {index:03d} of the sweep", overrides, 'a dict, as in {"seed": 1}')
        try:
            check_run(config, overrides)
        except PaxError as e:
            raise ConfigError(f"run {index:03d} of the sweep ({describe(overrides)}): {e}") from e


def check_metric(config: ConfigDict, sweep: Sequence[Overrides], metric: str) -> None:
    """Checks that some run of a sweep reports a metric, by tracing those that may differ in what they report.

    Raises:
        ConfigError: if none does, unless callbacks that are not of Pax may report it.
    """
    # Every game has it, which is not worth tracing an iteration.
    if metric == MONITOR:
        return
    known: set[str] = set()
    seen: list[dict[str, Any]] = []
    for overrides in sweep:
        # Numbers are no part of names, but for whether there are several seeds.
        kind = {
            key: value
            for key, value in overrides.items()
            if isinstance(value, str | bool | tuple) or key == "num_seeds"
        }
        if kind in seen:
            continue
        seen.append(kind)
        trainer = check_run(config, overrides)
        if not trainer.callbacks.are_of_pax:
            return
        known |= {*REPORTED, *trainer.metric_names()}
        for name in trainer.evaluations:
            known |= {f"evaluation/{name}/{key}" for key in trainer.evaluation_metric_names(name)}
        if metric in known:
            return
    raise ConfigError(f"no run reports --metric={brief(metric)}: {nearest(metric, known)}")


def describe(overrides: Overrides) -> str:
    """Overrides as people read them, `seed=1 agent1.learning_rate=0.01`."""
    return " ".join(f"{key}={brief(value)}" for key, value in overrides.items()) or "no overrides"


def _runs(sweep: Any) -> list[dict[str, Any]]:
    """Returns the runs of a sweep that is given as an argument."""
    is_list = isinstance(sweep, Iterable) and not isinstance(sweep, str | Mapping)
    runs = list(sweep) if is_list else []
    if not runs:
        raise ConfigError(
            f"a sweep is {short(sweep)}: give a list of dicts, as product(...) and zip(...) return it"
        )
    for run in runs:
        check_mapping("a run of a sweep", run, 'a dict of settings, as in {"seed": 1}')
        for key in run:
            _check_key(key)
    return [dict(run) for run in runs]


def _check_key(key: str) -> None:
    if not key.isprintable() or not key.strip():
        raise ConfigError(f"a sweep changes the setting {key!r}: give a dotted key of the config")


def _values(key: str, values: Iterable[Any]) -> list[Any]:
    _check_key(key)
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise ConfigError(f"the axis {key} of a sweep is {short(values)}: give a list of values")
    # An iterator may have no end.
    found = list(itertools.islice(values, MAX_RUNS + 1))
    if len(found) > MAX_RUNS:
        raise ConfigError(f"the axis {key} of a sweep has more than {MAX_RUNS} values: give fewer")
    if not found:
        raise ConfigError(f"the axis {key} of a sweep has no values: give some, or take it away")
    # An array of JAX has arrays without axes for elements, where one of NumPy has numbers.
    return [
        value.item() if isinstance(value, jax.Array) and value.ndim == 0 else value
        for value in found
    ]


def _plain(value: Any) -> Any:
    """Returns a value without types of NumPy and JAX, which say their type when they are printed."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    try:
        json.dumps(value)
    except (TypeError, ValueError) as e:
        raise ConfigError(
            f"a sweep sets something to {short(value)}: use numbers, text and tuples only"
        ) from e
    return value
