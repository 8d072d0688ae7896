"""No key of one purpose is a key of another, nor one that is derived from it."""

import itertools

import jax
import numpy as np

from pax.evaluation.round_robin import keys_of
from pax.loop.random_streams import Stream, stream


def words(keys):
    return set(map(tuple, np.asarray(jax.random.key_data(keys)).reshape(-1, 2).tolist()))


def descendants(key, depth, width=5):
    """All keys that are made from `key` by up to `depth` splits or folds with small numbers."""
    found = [jax.random.key_data(key).reshape(1, 2)]
    for _ in range(depth):
        parents = jax.random.wrap_key_data(found[-1])
        split = jax.vmap(lambda key: jax.random.split(key, width))(parents)
        folded = jax.vmap(
            lambda key: jax.vmap(lambda number: jax.random.fold_in(key, number))(np.arange(width))
        )(parents)
        keys = np.concatenate(
            [jax.random.key_data(each).reshape(-1, 2) for each in (split, folded)]
        )
        found.append(np.unique(keys, axis=0))
    return set(map(tuple, np.concatenate(found).tolist()))


def test_streams_of_one_seed_have_no_key_in_common():
    key = jax.random.key(3)
    trees = [descendants(stream(key, purpose), depth=3) for purpose in Stream]
    for one, other in itertools.combinations(trees, 2):
        assert not one & other


def test_cross_play_takes_no_key_of_training():
    places = np.array(list(itertools.product(range(4), range(4), range(3))))
    cross_play = words(keys_of(3, places))
    assert len(cross_play) == len(places)
    key = jax.random.key(3)
    # Two folds from the key of a seed are the initial states, iterations and evaluations of its training.
    assert not cross_play & set().union(
        *(descendants(jax.random.fold_in(key, number), depth=3) for number in range(4))
    )
