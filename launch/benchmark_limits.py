"""The same arithmetic as a training setting, in bare kernels: networks and their gradients, a plain loop."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pax.agents.actor_critic import ActorCritic
from pax.agents.gru import unroll
from pax.agents.networks import is_image
from pax.agents.ppo import PPO
from pax.agents.shaper import MFOS
from pax.envs.spaces import Dict, Discrete, Space
from pax.roles import Role
from pax.trainer import MetaTrainer

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Part:
    """The network of one role: how often it acts, and what it learns from, in one iteration of one device."""

    groups: int
    """Policies side by side, each with its own parameters."""
    rows: int
    """What each acts on at once: environments, opponents and seats."""
    steps: int
    episodes: int
    distinct: int
    """Observations, where they are integers; else 0."""
    features: int
    """Numbers that an observation has, pixels of images that go through convolutions left out."""
    patches: tuple[int, int, int] | None
    """Of a layer of convolutions: how many, numbers in each, and channels."""
    layers: tuple[int, ...]
    """Widths of dense layers before the output or the GRU."""
    stacks: int
    """How often there are these layers."""
    hidden: int
    """Of the GRU, or 0."""
    cells: int
    """GRUs."""
    outputs: int
    choices: int
    """Actions to choose from; 0: they are numbers."""
    gradient_steps: tuple[int, int, int] | None = None
    """Epochs, minibatches of each, and steps per sequence, of who learns."""


def parts_of(trainer: MetaTrainer, sizes: dict[str, int]) -> list[Part]:
    """The networks of a trainer's roles as they are on one of its devices; tables and strategies too.

    Args:
        trainer: with one dense or convolutional torso per network.
        sizes: `num_envs`, `num_opps` and `num_outer_steps`.
    """
    candidates = max([r.learner.num_candidates for r in trainer.roles if r.learner], default=1)
    found = []
    for role in trainer.roles:
        if isinstance(role.agent, ActorCritic):
            found.append(_part(role, role.agent, trainer, sizes, candidates))
    return found


def _part(
    role: Role, agent: ActorCritic, trainer: MetaTrainer, sizes: dict[str, int], candidates: int
) -> Part:
    if role.learner:
        groups, rows = role.learner.num_candidates, sizes["num_opps"] * sizes["num_envs"]
        learns = not role.learner.num_candidates > 1
    else:
        groups, rows = candidates * sizes["num_opps"], sizes["num_envs"]
        learns = role.learns_in_trial
    space, actions = agent.observation_space, agent.action_space
    features, patches = _inputs(space, agent.conv_channels)
    layers: tuple[int, ...] = ()
    if agent.network == "mlp":
        layers = (agent.hidden_size,) * agent.num_layers
    elif agent.embed or isinstance(agent, MFOS):
        layers = (agent.hidden_size,)
    if agent.network == "table":
        patches = None
    cells = 0
    if agent.recurrent:
        cells = (3 if getattr(agent, "critic", True) else 2) if isinstance(agent, MFOS) else 1
    steps = None
    if learns and isinstance(agent, PPO):
        length = agent.sequence_length if agent.recurrent else 1
        steps = (agent.num_epochs, agent.num_minibatches, length)
    choices = actions.n if isinstance(actions, Discrete) else 0
    return Part(
        groups=max(1, groups * trainer.num_seeds // trainer.placement.num_devices),
        rows=rows * len(role.seats),
        steps=trainer.env.num_inner_steps,
        episodes=sizes["num_outer_steps"],
        distinct=space.n if isinstance(space, Discrete) else 0,
        features=features,
        patches=patches,
        layers=layers,
        stacks=2 if agent.separate_critic else max(cells, 1),
        hidden=agent.hidden_size if agent.recurrent else 0,
        cells=cells,
        outputs=(choices or _size(actions)) + 1,
        choices=choices,
        gradient_steps=steps,
    )


def _size(space: Space) -> int:
    if isinstance(space, Dict):
        return sum(_size(part) for _, part in space.parts)
    return space.n if isinstance(space, Discrete) else math.prod(space.shape)


def _inputs(space: Space, channels: Sequence[int]) -> tuple[int, tuple[int, int, int] | None]:
    features, patches = 0, None
    for part in [part for _, part in space.parts] if isinstance(space, Dict) else [space]:
        if is_image(part) and channels:
            height, width, depth = part.shape
            height, width = (size if size < 5 else size - 2 for size in (height, width))
            patches = (height * width, 9 * depth, channels[0])
        else:
            features += _size(part)
    return features, patches


def bare_iteration(parts: Sequence[Part]) -> Callable[[jax.Array], jax.Array]:
    """A function of a key that does what the networks of an iteration do, and nothing else.

    Each acts on random inputs that depend on its last action, draws one number per action, and whoever
    learns takes as many gradient steps on as many samples. There is no game, no shuffling, no advantage, no
    optimiser but plain descent, and nobody is told anything.
    """

    def run(key: jax.Array) -> jax.Array:
        total = jnp.float32(0)
        for index, part in enumerate(parts):
            keys = jax.random.split(jax.random.fold_in(key, index), part.groups)
            total += jax.vmap(lambda key, part=part: _play(part, key))(keys).sum()
        return total

    return run


def _play(part: Part, key: jax.Array) -> jax.Array:
    init_key, input_key, play_key = jax.random.split(key, 3)
    params = _init(part, init_key)
    shape = (part.rows, part.features)
    if part.distinct:
        inputs = jax.random.randint(input_key, (part.rows,), 0, part.distinct)
    else:
        inputs = jax.random.normal(input_key, shape)
    images = None
    if part.patches:
        images = jax.random.normal(input_key, (part.rows, *part.patches[:2]))

    def episode(carry: tuple[Params, jax.Array], key: jax.Array) -> Any:
        params, hidden = carry
        table = _encode(part, params, jnp.arange(part.distinct)) if part.distinct else None

        def act(carry: tuple[jax.Array, jax.Array], key: jax.Array) -> Any:
            hidden, action = carry
            if part.distinct:
                seen = (inputs + action.astype(jnp.int32)) % part.distinct
                encoded = table[seen]
            else:
                seen = inputs + action[:, None]
                encoded = _encode(part, params, seen, images)
            after, outputs = _decode(part, params, hidden, encoded)
            chosen = _choose(part, outputs, key)
            return (after, chosen), (seen, hidden, chosen)

        keys = jax.random.split(key, part.steps)
        (hidden, _), taken = jax.lax.scan(act, (hidden, jnp.zeros(part.rows)), keys)
        if part.gradient_steps:
            params = _learn(part, params, taken, images)
        return (params, hidden), taken[2].sum()

    # One number where there is no memory: nothing can be cut into parts of no size.
    hidden = jnp.zeros((part.rows, part.hidden * part.cells or 1))
    (params, _), actions = jax.lax.scan(
        episode, (params, hidden), jax.random.split(play_key, part.episodes)
    )
    return actions.sum() + sum(leaf.sum() for leaf in jax.tree.leaves(params))


def _init(part: Part, key: jax.Array) -> Params:
    """Kernels without biases, of `stacks` networks."""
    keys = iter(jax.random.split(key, 32))

    def kernel(n: int, m: int) -> jax.Array:
        return jax.random.normal(next(keys), (n, m)) / math.sqrt(n)

    width = part.distinct or part.features
    params: Params = {"stacks": []}
    if part.patches:
        params["convolution"] = kernel(*part.patches[1:])
        width += part.patches[0] * part.patches[2]
    for _ in range(part.stacks):
        sizes = [width, *part.layers, *([3 * part.hidden] if part.hidden else [])]
        params["stacks"].append([kernel(n, m) for n, m in itertools.pairwise(sizes)])
    params["recurrent"] = [kernel(part.hidden, 3 * part.hidden) for _ in range(part.cells)]
    last = part.hidden or (part.layers[-1] if part.layers else width)
    params["output"] = kernel(last, part.outputs)
    return params


def _encode(
    part: Part, params: Params, seen: jax.Array, images: jax.Array | None = None
) -> jax.Array:
    """All that does not depend on the memory, `[B, stacks x width]`."""
    if part.distinct and not part.layers and not part.hidden:
        return params["output"][seen]
    features = jax.nn.one_hot(seen, part.distinct) if part.distinct else seen
    if images is not None:
        maps = jax.nn.relu((images + features[:, None, :1]) @ params["convolution"])
        features = jnp.concatenate([features, maps.reshape(len(maps), -1)], axis=-1)
    outputs = []
    for kernels in params["stacks"]:
        x = features
        for index, kernel in enumerate(kernels):
            x = x @ kernel
            if not part.hidden or index + 1 < len(kernels):
                x = jnp.tanh(x)
        outputs.append(x)
    if part.hidden:
        return jnp.concatenate(outputs, axis=-1)
    out = outputs[0] @ params["output"]
    # The last output is the value, of its own layers where it has them.
    return jnp.concatenate([out[:, :-1], (outputs[-1] @ params["output"])[:, -1:]], axis=-1)


def _decode(
    part: Part, params: Params, hidden: jax.Array, encoded: jax.Array
) -> tuple[jax.Array, jax.Array]:
    if not part.hidden:
        return hidden, encoded
    states = []
    for index, kernel in enumerate(params["recurrent"]):
        h = hidden[:, index * part.hidden : (index + 1) * part.hidden]
        own = encoded[:, 3 * index * part.hidden : 3 * (index + 1) * part.hidden]
        states.append(_gru(h, own, kernel))
    return jnp.concatenate(states, axis=-1), states[0] @ params["output"]


def _gru(hidden: jax.Array, encoded: jax.Array, kernel: jax.Array) -> jax.Array:
    recurrent, size = hidden @ kernel, hidden.shape[-1]
    gates = jax.nn.sigmoid(encoded[:, : 2 * size] + recurrent[:, : 2 * size])
    candidate = jnp.tanh(encoded[:, 2 * size :] + gates[:, :size] * recurrent[:, 2 * size :])
    return candidate + gates[:, size:] * (hidden - candidate)


def _choose(part: Part, outputs: jax.Array, key: jax.Array) -> jax.Array:
    if not part.choices:
        return (outputs[:, :-1] + jax.random.normal(key, outputs[:, :-1].shape)).sum(axis=-1)
    below = jnp.cumsum(jax.nn.softmax(outputs[:, :-1]), axis=-1)[:, :-1]
    return (below < jax.random.uniform(key, (len(outputs), 1))).sum(axis=-1).astype(jnp.float32)


def _learn(part: Part, params: Params, taken: Any, images: jax.Array | None) -> Params:
    """Gradient steps over all that was seen, `[T, B, ...]`, in sequences of some steps."""
    epochs, minibatches, length = part.gradient_steps or (0, 1, 1)

    def cut(leaf: jax.Array) -> jax.Array:
        parts = leaf.reshape(part.steps // length, length, *leaf.shape[1:])
        return jnp.swapaxes(parts, 1, 2).reshape(
            minibatches, -1, length, *leaf.shape[2:]
        )  # [M, N, L, ...]

    seen, hiddens, targets = (cut(leaf) for leaf in taken)

    def loss(params: Params, seen: jax.Array, hiddens: jax.Array, targets: jax.Array) -> jax.Array:
        flat = jnp.swapaxes(seen, 0, 1).reshape(-1, *seen.shape[2:])
        own = None
        if images is not None:
            own = jnp.resize(images, (len(flat), *images.shape[1:]))
        if part.distinct:
            every = _encode(part, params, jnp.arange(part.distinct))
            encoded = every[flat]
        else:
            encoded = _encode(part, params, flat, own)
        if part.hidden:
            encoded = encoded.reshape(length, -1, encoded.shape[-1])
            # The gradient that is written by hand: the one of a scan takes twice as long.
            states = [
                unroll(
                    kernel,
                    jnp.zeros(part.hidden),
                    hiddens[:, 0, part.hidden * index : part.hidden * (index + 1)],
                    encoded[..., 3 * part.hidden * index : 3 * part.hidden * (index + 1)],
                    jnp.zeros(encoded.shape[:-1], bool),
                )
                for index, kernel in enumerate(params["recurrent"])
            ]
            encoded = states[0].reshape(-1, part.hidden) @ params["output"]
        error = encoded - jnp.swapaxes(targets, 0, 1).reshape(-1, 1)
        return jnp.square(error).mean()

    def step(params: Params, batch: Any) -> tuple[Params, None]:
        gradients = jax.grad(loss)(params, *batch)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradients), None

    def epoch(params: Params, _: None) -> tuple[Params, None]:
        return jax.lax.scan(step, params, (seen, hiddens, targets))

    return jax.lax.scan(epoch, params, length=epochs)[0]
