"""What the machine can do, measured, and how much of it a program asks for, counted."""

from __future__ import annotations

import collections
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr
from jax.interpreters import partial_eval

from launch.benchmark.timing import Row, Sizes, compile_spread, rates, take_turns

# What is computed by series or tables, in many operations each.
FUNCTIONS = re.compile(
    "exp|exp2|expm1|log|log1p|tanh|logistic|sin|cos|tan|asin|acos|atan|atan2|erf|erf_inv|erfc|pow|cbrt|"
    "lgamma|digamma"
)
DRAWS = frozenset({"random_bits", "random_split", "random_fold_in"})
BOUNDS = {
    "products": "floating-point operations in matrix products, at the speed of 64 x 64 ones",
    "functions": "sigmoids, tanhs, exponentials and logarithms",
    "draws": "random numbers of 32 bits, and keys",
}


def rows(sizes: Sizes) -> dict[str, Callable[[], Row]]:
    """Returns the speeds that bound everything else, on all devices at once."""
    length = 4 if sizes.quick else 400
    few = 1 + length // 100
    small, large = _products(64, 16, length), _products(1024, 1, few)
    functions, draws = "a sigmoid and a tanh of each of 16384 numbers", "random numbers of 32 bits"
    cases: dict[str, tuple[str, str, float, Callable[[jax.Array], jax.Array]]] = {
        "products": ("GFLOP/s", "64 x 64 matrix products", 16 * 2 * 64**3 * length, small),
        "large products": ("GFLOP/s", "1024 x 1024 matrix products", 2 * 1024**3 * few, large),
        "functions": ("G/s", functions, 2 * 16384 * length, _functions(length)),
        "draws": ("G/s", f"16384 {draws} by the default generator", 16384 * length, _draws(length)),
    }

    def measure(name: str) -> Row:
        unit, what, amount, run = cases[name]
        call, _ = compile_spread(run)
        seconds = take_turns({"it": call}, sizes.repeats, sizes.min_seconds)["it"]
        return Row("machine", name, unit, rates(amount * jax.device_count() / 1e9, seconds), what)

    return {name: functools.partial(measure, name) for name in cases}


def _products(size: int, batch: int, length: int) -> Callable[[jax.Array], jax.Array]:
    def run(key: jax.Array) -> jax.Array:
        x = jax.random.normal(key, (batch, size, size))
        # Neither grows nor vanishes: slow numbers would be measured.
        w = x / math.sqrt(size)
        return jax.lax.scan(lambda x, _: (x @ w, None), x, length=length)[0].sum()

    return run


def _functions(length: int) -> Callable[[jax.Array], jax.Array]:
    def run(key: jax.Array) -> jax.Array:
        x = jax.random.normal(key, (16384,))
        step = lambda x, _: (2.0 * jnp.tanh(x) - jax.nn.sigmoid(x), None)  # noqa: E731
        return jax.lax.scan(step, x, length=length)[0].sum()

    return run


def _draws(length: int) -> Callable[[jax.Array], jax.Array]:
    def run(key: jax.Array) -> jax.Array:
        def step(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            return total ^ jax.lax.reduce_xor(jax.random.bits(key, (16384,)), axes=(0,)), None

        return jax.lax.scan(step, jnp.uint32(0), jax.random.split(key, length))[0]

    return run


def count(closed: ClosedJaxpr) -> dict[str, float]:
    """Returns how much of each of `BOUNDS` a traced program asks for.

    What does not contribute to the result is not counted; of branches, the dearer one is. Rounds of loops
    whose number is not known count once.
    """
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return dict.fromkeys(BOUNDS, 0.0) | _count(jaxpr)


def _count(jaxpr: Any) -> dict[str, float]:
    total: Any = collections.Counter()
    for equation in jaxpr.eqns:
        name, size = equation.primitive.name, sum(var.aval.size for var in equation.outvars)
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total["products"] += 2.0 * size * math.prod(shape[axis] for axis in contracted)
        elif FUNCTIONS.fullmatch(name):
            total["functions"] += size
        elif name in DRAWS:
            total["draws"] += size
        elif name == "cond":
            branches = [_count(branch.jaxpr) for branch in equation.params["branches"]]
            total.update({key: max(b.get(key, 0.0) for b in branches) for key in BOUNDS})
        else:
            times = equation.params["length"] if name == "scan" else 1
            for inner in _inner(equation.params):
                total.update({key: times * value for key, value in _count(inner).items()})
    return total


def _inner(params: Mapping[str, Any]) -> Iterator[Any]:
    """Returns the programs that an operation runs."""
    for name, value in params.items():
        if name in ("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd"):
            continue
        if hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr


def seconds_for(counts: Mapping[str, float], machine: Mapping[str, float]) -> dict[str, float]:
    """Seconds that each of `BOUNDS` takes at least, at the machine's speeds (in 1e9 per second)."""
    return {name: counts[name] / (machine[name] * 1e9) for name in BOUNDS}
