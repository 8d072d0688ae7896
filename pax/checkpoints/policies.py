"""Exported policies: one self-contained file each, to be played wherever a role is configured.

The file is a header (magic, format version, CRC-32 and length of the body) and a body in msgpack.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from pax import checks
from pax.checkpoints.elsewhere import is_elsewhere, local_policy
from pax.checkpoints.tree import describe_leaves, first_difference
from pax.checkpoints.zoo_policies import FORM, is_in_zoo
from pax.errors import CheckpointError, ConfigError
from pax.run.directory import POLICIES
from pax.run.files import read_regular, write_whole
from pax.types import take

if TYPE_CHECKING:
    from pax.agents.agent import Agent
    from pax.roles import Role
    from pax.types import RunState, TrainingState

AVERAGE = "_average"
"""What follows a name where moving averages take the place of policies: of a role, of an evaluation."""

FORMAT = 1

PyTree = Any

_MAGIC = b"PAX-POL\n"
_HEADER = struct.Struct("<8sIIQ")


class Policy(NamedTuple):
    """What `load_policy` returns."""

    agent: dict[str, Any]
    """What it takes to build the agent: its class, its spaces as text, and its hyper-parameters."""
    params: PyTree
    """Its parameters, numpy arrays in dicts."""


def save_policy(path: str | Path, *, agent: Mapping[str, Any], params: PyTree) -> None:
    """Writes a policy to a file; a file of that name is replaced in one go.

    Under several processes, call it on one of them only.

    Args:
        path: The file; its directory is created if need be.
        agent: What it takes to build the agent, type and hyper-parameters, as JSON values.
        params: Pytree of arrays that this process can read.

    Raises:
        ConfigError: `path` is no path, or `agent` is no dict.
        CheckpointError: `agent` is not JSON, `params` holds something other than arrays, or the file
            cannot be written.
    """
    if is_elsewhere(path):
        raise ConfigError(
            f"path is {path}: policies are written to this machine, give a file of it"
        )
    path = checks.file("path", path)
    checks.check_mapping(
        "agent", agent, "a dict of its type and settings, such as agent.describe()"
    )
    try:
        agent_json = json.dumps(agent)
    except (TypeError, ValueError) as e:
        raise CheckpointError(
            f"the agent of policy {path} cannot be saved as JSON ({e}): describe it with numbers, "
            "strings, lists and dicts."
        ) from e
    state = flax.serialization.to_state_dict(params)
    if not isinstance(state, (dict, jax.Array, np.ndarray)):
        raise CheckpointError(
            f"params of policy {path} is of type {type(params).__name__}: give an array, or a dict or "
            "struct of arrays."
        )
    for name, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        if not isinstance(leaf, (jax.Array, np.ndarray, np.generic, int, float, bool)) or (
            isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
        ):
            raise CheckpointError(
                f"params{jax.tree_util.keystr(name)} of policy {path} is a {type(leaf).__name__}: "
                "export arrays of numbers only."
            )
    body = flax.serialization.msgpack_serialize(
        {"agent": agent_json, "params": jax.tree.map(np.asarray, jax.device_get(state))}
    )
    header = _HEADER.pack(_MAGIC, FORMAT, zlib.crc32(body), len(body))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, header + body)
    except OSError as e:
        raise CheckpointError(f"policy {path} cannot be written: {e}.") from e


def load_policy(path: str | Path, *, like: PyTree | None = None) -> Policy:
    """Reads a policy that `save_policy` wrote.

    Args:
        path: The file, on this machine, on a bucket (`gs://...`) or at W&B (`wandb:...`).
        like: A pytree of arrays or `jax.ShapeDtypeStruct` that says which containers, shapes and
            dtypes the parameters must have. Without it they come as nested dicts, in which sequences
            and structs have become dicts as well (see `flax.serialization.to_state_dict`).

    Returns:
        The description of the agent, and its parameters as numpy arrays.

    Raises:
        ConfigError: `path` is no path, or cannot be fetched.
        CheckpointError: There is no such file, it is not an intact policy file of this format, or the
            parameters are not like `like`.
    """
    checks.file("path", path)
    file = local_policy("path", path)
    try:
        data = read_regular(file)
    except FileNotFoundError as e:
        where = path if is_elsewhere(path) else file.absolute()
        # Only there is a path one of several files.
        hint = "; {seed} is for warm_start, and not for path" if "{seed}" in str(where) else ""
        raise CheckpointError(f"no policy file {where}: check the path{hint}.") from e
    except OSError as e:
        if file.is_dir():
            inside = file / POLICIES if (file / POLICIES).is_dir() else file
            names = [each.relative_to(file).as_posix() for each in inside.glob("*.msgpack")]
            remedy = f"give one of its policies, such as {min(names)}" if names else "give a file"
            if is_in_zoo(path):
                remedy = f"give {FORM}"
            raise CheckpointError(f"{path} is a folder, and no policy: {remedy}.") from e
        raise CheckpointError(f"policy {path} cannot be read: {e}.") from e
    if not data.startswith(_MAGIC):
        raise CheckpointError(f"{path} is not a policy file: give one that Pax exported.")
    if len(data) < _HEADER.size:
        raise CheckpointError(f"policy {path} is truncated to {len(data)} bytes: export it again.")
    _, version, crc, length = _HEADER.unpack_from(data)
    if version != FORMAT:
        raise CheckpointError(
            f"policy {path} has format {version}, and this version of Pax reads format {FORMAT}: "
            "use the version that wrote it."
        )
    body = data[_HEADER.size :]
    if len(body) < length:
        raise CheckpointError(
            f"policy {path} is truncated: {len(body)} of {length} bytes are left; export it again."
        )
    if len(body) > length or zlib.crc32(body) != crc:
        raise CheckpointError(f"policy {path} is damaged: export it again.")
    agent, params = _read(path, body)
    if like is not None:
        difference = first_difference(
            describe_leaves(flax.serialization.to_state_dict(like)), describe_leaves(params)
        )
        if difference is not None:
            raise CheckpointError(
                f"policy {path} does not fit: params{difference}; configure the agent as it was "
                "when the policy was exported."
            )
        params = flax.serialization.from_state_dict(like, params)
    return Policy(agent, params)


def _read(path: str | Path, body: bytes) -> tuple[dict[str, Any], PyTree]:
    """Returns the agent's description, and its parameters: an array, or nested dicts of arrays.

    Raises:
        CheckpointError: if the body is anything else, which its checksum does not tell.
    """
    try:
        content = flax.serialization.msgpack_restore(body)
        agent, params = json.loads(content["agent"]), content["params"]
    except Exception as e:
        # From a library that promises nothing about what it raises.
        raise CheckpointError(
            f"policy {path} holds no policy ({type(e).__name__}: {e}): give a file that Pax exported."
        ) from e
    wrong = None
    if not isinstance(agent, dict):
        wrong = "its agent is not described by name and settings"
    elif not isinstance(params, (dict, np.ndarray, np.generic)) or not all(
        isinstance(leaf, (np.ndarray, np.generic)) for leaf in jax.tree.leaves(params)
    ):
        wrong = "its parameters are no arrays"
    if wrong:
        raise CheckpointError(
            f"policy {path} holds no policy ({wrong}): give a file that Pax exported."
        )
    for name, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        # Training ends where one arises; a policy with some would act, in no way that means anything.
        if jnp.issubdtype(leaf.dtype, jnp.floating) and np.isnan(leaf.astype(np.float32)).any():
            raise CheckpointError(
                f"policy {path} is of no use, as params{jax.tree_util.keystr(name)} has NaN: export it again."
            )
    return agent, params


def deployed(role: Role, state: RunState) -> TrainingState:
    """Returns the policy of a trained role in each seed, `[S, ...]`."""
    if role.learner:
        return jax.vmap(role.learner.deploy)(state.learners[role.name])
    return take(state.inner[role.name], np.s_[:, 0, 0])


def averaged(role: Role, state: RunState) -> TrainingState:
    """Returns the moving average of the policy of a role that keeps one, in each seed, `[S, ...]`."""
    return dataclasses.replace(deployed(role, state), params=state.averages[role.name])


def export_policies(directory: Any, roles: Sequence[Role], state: RunState) -> list[str]:
    """Writes one file per trained role and seed, `<role>.msgpack` or `<role>_seed_<i>.msgpack`.

    Evolution also leaves the best candidate it ever had, `<role>_best.msgpack`, and a role with `ema_decay`
    its moving average, `<role>_average.msgpack`.
    """
    num_seeds = state.keys.shape[0]
    paths = []
    for role in roles:
        if not (role.learner or role.carried):
            continue
        if role.learner:
            policies = jax.vmap(role.learner.exports)(state.learners[role.name])
        else:
            policies = {"": deployed(role, state)}
        if role.ema_decay:
            policies[AVERAGE] = averaged(role, state)
        for kind, policy in policies.items():
            params = jax.device_get(policy.params)
            for seed in range(num_seeds):
                suffix = f"_seed_{seed}" if num_seeds > 1 else ""
                path = f"{directory}/{role.name}{kind}{suffix}.msgpack"
                own = jax.tree.map(lambda leaf, seed=seed: np.asarray(leaf[seed]), params)
                save_policy(path, agent=role.agent.describe(), params=own)
                paths.append(path)
    return paths


def load_agent_state(path: str, agent: Agent) -> TrainingState:
    """Loads a fresh state of `agent` with the parameters of an exported policy.

    Raises:
        CheckpointError: if there is no such file, or it holds the policy of another kind of agent.
    """
    fresh = agent.init(jax.random.key(0))
    policy = load_policy(path, like=fresh.params)
    return dataclasses.replace(fresh, params=jax.tree.map(jnp.asarray, policy.params))
