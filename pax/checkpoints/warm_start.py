"""Warm starts: parameters of another policy to begin with, those that fit by name and shape."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from pax.checkpoints.policies import load_policy
from pax.checkpoints.zoo_policies import is_in_zoo
from pax.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from pax.roles import Role

SEED = "{seed}"
"""What stands for the number of a seed in the path of a policy: each seed begins with its own. Seeds count
from 0, as in names of exported policies, but in the zoo from 1, as its policies do."""

PyTree = Any
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """What a role takes from another policy, and what not."""

    role: str
    path: str
    params: Mapping[str, np.ndarray]
    """What is taken, by name; of several policies `[S, ...]`."""
    is_per_seed: bool
    """Whether each seed has a policy of its own."""
    own: Mapping[str, Shape]
    """The shapes of all parameters of the role, by name."""
    theirs: Mapping[str, Shape]
    """The same of the other policy."""

    def lines(self) -> list[str]:
        """Returns what was taken and what was not, with shapes, line by line."""
        taken = [_named(name, self.own[name]) for name in self.params]
        fresh = [
            f"{_named(name, shape)}{self._why(name)}"
            for name, shape in self.own.items()
            if name not in self.params
        ]
        unused = [
            _named(name, shape) for name, shape in self.theirs.items() if name not in self.params
        ]
        lines = [
            f"Warm start of {self.role}: {len(taken)} of {len(self.own)} parameters are those of {self.path}",
            f"  taken: {', '.join(taken)}",
        ]
        if fresh:
            lines.append(f"  fresh: {', '.join(fresh)}")
        if unused:
            lines.append(f"  left there: {', '.join(unused)}")
        return lines

    def _why(self, name: str) -> str:
        if name not in self.theirs:
            return " (not there)"
        shape = self.theirs[name]
        return f" (there {_shown(shape)})" if shape != self.own[name] else " (not asked for)"


def load_warm_starts(roles: Sequence[Role], num_seeds: int) -> dict[str, WarmStart]:
    """Loads what roles begin with, by role that has a warm start.

    Args:
        roles: all of a run.
        num_seeds: of the run, for paths with `{seed}`.

    Raises:
        ConfigError: if a role cannot begin so, or nothing fits.
        CheckpointError: if there is no such policy, or it is damaged.
    """
    return {role.name: _load(role, num_seeds) for role in roles if role.warm_start}


def replace_params(params: PyTree, by_name: Mapping[str, jax.Array]) -> PyTree:
    """Returns parameters of which some, by name, have another value; types stay as they are."""
    state = flax.serialization.to_state_dict(params)
    leaves, structure = jax.tree.flatten_with_path(state)
    new = [
        jnp.asarray(by_name[name], leaf.dtype) if (name := _name(path)) in by_name else leaf
        for path, leaf in leaves
    ]
    return flax.serialization.from_state_dict(params, jax.tree.unflatten(structure, new))


def _load(role: Role, num_seeds: int) -> WarmStart:
    where = f"warm_start of role {role.name}"
    fresh = _leaves(jax.eval_shape(role.agent.init, jax.random.key(0)).params)
    path = os.fspath(role.warm_start)
    is_per_seed = SEED in path
    first = 1 if is_in_zoo(path) else 0
    numbers = range(first, first + (num_seeds if is_per_seed else 1))
    files = [path.replace(SEED, str(number)) for number in numbers]
    policies = []
    for file in files:
        try:
            policies.append(_leaves(load_policy(file).params))
        except (ConfigError, CheckpointError) as e:
            raise type(e)(f"{where}: {e}") from e
    shapes = [{name: leaf.shape for name, leaf in policy.items()} for policy in policies]
    for file, other in zip(files, shapes, strict=True):
        if other != shapes[0]:
            raise CheckpointError(
                f"{where}: {file} has other parameters ({_listed(other)}) than {files[0]} "
                f"({_listed(shapes[0])}): give policies of one kind"
            )
    fitting = [
        name
        for name, leaf in fresh.items()
        if name in policies[0] and _fits(policies[0][name], leaf)
    ]
    own = {name: leaf.shape for name, leaf in fresh.items()}
    patterns = [each.strip() for each in role.warm_start_parts.split(",") if each.strip()]
    if not fitting:
        raise ConfigError(
            f"{where}: no parameter of {role.name}, which has {_listed(own)}, has the name and the shape of "
            f"one in {files[0]}, which has {_listed(shapes[0])}: give the policy of a similar network"
        )
    for pattern in patterns:
        if not any(_is_like(name, pattern) for name in fitting):
            raise ConfigError(
                f"warm_start_parts of role {role.name} names {pattern!r}, and nothing of that name fits: "
                f"{role.name} has {_listed(own)}, and {files[0]} has {_listed(shapes[0])}; give patterns for "
                f"some of {', '.join(fitting)}"
            )
    taken = [
        name
        for name in fitting
        if not patterns or any(_is_like(name, pattern) for pattern in patterns)
    ]
    params = {
        name: np.stack([policy[name] for policy in policies]) if is_per_seed else policies[0][name]
        for name in taken
    }
    return WarmStart(role.name, path, params, is_per_seed, own, shapes[0])


def _leaves(params: PyTree) -> dict[str, Any]:
    """Returns the parameters by name, such as `heads/policy/kernel`."""
    state = flax.serialization.to_state_dict(params)
    return {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/") or "params"


def _fits(theirs: Any, own: Any) -> bool:
    same_kind = jnp.issubdtype(theirs.dtype, jnp.inexact) == jnp.issubdtype(own.dtype, jnp.inexact)
    return theirs.shape == own.shape and same_kind


def _is_like(name: str, pattern: str) -> bool:
    """Returns whether a pattern is that of a parameter, or of what it is a part of: `heads` of all in it."""
    parts = name.split("/")
    return any(
        fnmatch.fnmatchcase("/".join(parts[:number]), pattern)
        for number in range(1, len(parts) + 1)
    )


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(_named(name, shape) for name, shape in shapes.items()) or "none"


def _named(name: str, shape: Shape) -> str:
    return f"{name} {_shown(shape)}"


def _shown(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"
