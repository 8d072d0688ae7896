"""The same arithmetic as a training setting, in bare kernels: networks and their gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from launch.benchmark.parts import Part
from pax.agents.networks.gru import unroll

Params = dict[str, Any]


def bare_iteration(parts: Sequence[Part]) -> Callable[[jax.Array], jax.Array]:
    """Returns a function of a key that does what the networks of an iteration do, and nothing else.

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
