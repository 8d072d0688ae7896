"""Objects that differ in numbers are compared and rebuilt, whatever holds the numbers."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, struct

from pax.envs import CleanUp, CommonsHarvest
from pax.loop.numbers import Difference, Numbers


class Pair(NamedTuple):
    one: Any
    two: Any


@struct.dataclass
class Params:
    payoff: Any
    rounds: int = struct.field(pytree_node=False, default=3)


class Scale(linen.Module):
    factor: float

    def __call__(self, x):
        return self.factor * x


def enclosed(rate, power=2.0):
    def times(x, *, extra=power):
        return rate * x**extra

    return times


@dataclasses.dataclass
class Agent:
    rate: float

    def __post_init__(self):
        # What was derived from the setting, and refers to the agent.
        self.half = self.rate / 2
        self.loss = lambda x: self.rate * x
        self.bound = self.act

    def act(self, x):
        return self.rate + x


@pytest.mark.parametrize(
    ("make", "use"),
    [
        (Agent, lambda it: it.loss(2.0) + it.half + it.bound(1.0)),
        (enclosed, lambda it: it(3.0)),
        (lambda rate: functools.partial(enclosed(2.0), extra=rate), lambda it: it(3.0)),
        (lambda rate: {"a": [(1, rate)]}, lambda it: it["a"][0][1]),
        (lambda rate: Pair(Agent(rate), "x"), lambda it: it.one.loss(2.0)),
        (lambda rate: Params(jnp.full((2, 3), rate)), lambda it: it.payoff.sum() * it.rounds),
        (Scale, lambda it: it.apply({}, 2.0)),
    ],
    ids=("object", "closure", "partial", "containers", "named", "struct", "module"),
)
def test_an_object_is_rebuilt_with_traced_numbers(make, use):
    objects = [make(0.5), make(0.5), make(3.0)]
    numbers = Numbers(objects)
    found = jax.jit(jax.vmap(lambda columns: use(numbers.rebuild(columns))))(numbers.columns)
    np.testing.assert_allclose(found, [use(each) for each in objects], rtol=1e-6)
    # The template is as it was.
    assert use(objects[0]) == use(make(0.5))


def test_a_number_that_is_in_several_places_is_one_column_and_a_number_that_is_alike_none():
    numbers = Numbers([{"a": 1.5, "b": [1.5], "c": 7}, {"a": 2.5, "b": [2.5], "c": 7}])
    (column,) = numbers.columns
    assert column.dtype == np.float32 and column.tolist() == [1.5, 2.5]
    # Whole numbers beside others are no whole numbers.
    (column,) = Numbers([[0, 2], [0.5, 2]]).columns
    assert column.dtype == np.float32 and column.tolist() == [0.0, 0.5]


def test_what_is_shared_stays_shared():
    def make(rate):
        agent = Agent(rate)
        return {"first": agent, "second": [agent]}

    rebuilt = Numbers([make(1.0), make(2.0)]).rebuild([jnp.float32(5.0), jnp.float32(2.5)])
    assert rebuilt["first"] is rebuilt["second"][0]
    assert rebuilt["first"].loss(1.0) == 5.0 and rebuilt["first"].half == 2.5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a"], ["b"]),
        ([True], [False]),
        ([1.0], [None]),
        ([1.0], [1.0, 2.0]),
        ({"a": 1}, {"b": 1}),
        ([jnp.zeros(2)], [jnp.zeros(3)]),
        ([np.array(["a", "b"])], [np.array(["a", "c"])]),
        ([np.array(["a", "b"])], [np.array(["a"])]),
        ([lambda x: x + 1], [lambda x: x + 2]),
    ],
)
def test_objects_that_differ_in_more_are_told(one, other):
    with pytest.raises(Difference):
        Numbers([one, other])


@pytest.mark.parametrize("make", [CommonsHarvest, CleanUp, lambda: [np.array(["a", "b"])]])
def test_text_in_arrays_is_compared(make):
    """Such as the maps of games: runs in two of one kind would be two programs."""
    assert Numbers([make(), make()]).columns == []
