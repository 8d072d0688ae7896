"""Random permutations are permutations, and random: statistics against what chance gives."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents.shuffle import MIN_ROWS, SMALL, _grid, random_permutation

SIZES = (1, 2, SMALL - 1, SMALL, 67, 101, 248, 997, 15000)
NUM_KEYS = 20_000
# Sizes on a square grid, on an odd one, with "cycle walking" (a prime), and below the grids.
SAMPLED = (SMALL - 1, SMALL, 100, 101)
# All statistics below are standardised; the keys are fixed, so that they are the same in every run.
LIMIT = 5.0


@functools.cache
def permutations(size):
    """`[NUM_KEYS, size]`."""
    keys = jax.random.split(jax.random.key(size), NUM_KEYS)
    sample = jax.jit(jax.vmap(lambda key: random_permutation(key, size)))
    return np.asarray(sample(keys))


def chi_square(counts, expected, degrees):
    """Standardised: about normal, 0 +- 1, where every cell is as probable as expected."""
    statistic = ((counts - expected) ** 2 / expected).sum()
    return (statistic - degrees) / math.sqrt(2 * degrees)


@pytest.mark.parametrize("size", SIZES)
def test_every_number_comes_once(size):
    permutation = jax.jit(random_permutation, static_argnums=1)(jax.random.key(0), size)
    assert (permutation.shape, permutation.dtype) == ((size,), jnp.int32)
    np.testing.assert_array_equal(np.sort(permutation), np.arange(size))


def test_every_size_has_a_grid_that_is_little_larger():
    for size in (*range(SMALL, 2000), 15000, 15013):
        rows, columns = _grid(size)
        assert rows >= MIN_ROWS and columns >= MIN_ROWS
        assert size <= rows * columns < 1.2 * size
        assert rows * columns < 2**32 and columns < 2**16  # What the arithmetic and the hash reach.


@pytest.mark.parametrize("size", (30, 101))
def test_the_same_from_the_same_key_with_and_without_jit_and_vmap(size):
    keys = jax.random.split(jax.random.key(1), 4)
    one_by_one = np.stack([random_permutation(key, size) for key in keys])
    compiled = jax.jit(random_permutation, static_argnums=1)
    np.testing.assert_array_equal([compiled(key, size) for key in keys], one_by_one)
    batch = jax.jit(jax.vmap(lambda key: random_permutation(key, size)))(keys)
    np.testing.assert_array_equal(batch, one_by_one)


@pytest.mark.parametrize("size", SAMPLED)
def test_other_keys_give_other_permutations(size):
    assert len(np.unique(permutations(size), axis=0)) == NUM_KEYS


@pytest.mark.parametrize("size", SAMPLED)
def test_every_element_is_as_often_in_every_place(size):
    cells = np.arange(size) * size + permutations(size)
    counts = np.bincount(cells.ravel(), minlength=size**2)
    assert abs(chi_square(counts, NUM_KEYS / size, (size - 1) ** 2)) < LIMIT


@pytest.mark.parametrize("inverse", (False, True))
@pytest.mark.parametrize("size", SAMPLED)
def test_neighbours_do_not_stay_neighbours(size, inverse):
    """All distances between elements that started at a given distance are equally frequent."""
    sample = permutations(size)
    if inverse:
        sample = np.argsort(sample, axis=1)
    for lag in (1, 2, 6, 8, 10, 16, 17, size // 2):
        distances = (sample[:, lag:] - sample[:, :-lag]) % size
        counts = np.bincount(distances.ravel(), minlength=size)[1:]
        statistic = chi_square(counts, counts.sum() / (size - 1), size - 2)
        assert abs(statistic) < LIMIT, (lag, statistic)


@pytest.mark.parametrize("size", (64, 100))
def test_any_two_elements_share_a_minibatch_as_often_as_chance_has_it(size):
    """Two elements are among the same m of N with probability (m - 1) / (N - 1)."""
    length = {64: 8, 100: 10}[size]
    minibatches = permutations(size).reshape(-1, length)
    first, second = np.triu_indices(length, 1)
    cells = size * minibatches[:, first] + minibatches[:, second]
    together = np.bincount(cells.ravel(), minlength=size**2).reshape(size, size)
    pairs = (together + together.T)[np.triu_indices(size, 1)]
    probability = (length - 1) / (size - 1)
    variance = NUM_KEYS * probability * (1 - probability)
    standardised = (pairs - NUM_KEYS * probability) / math.sqrt(variance)
    # The squares average 1 exactly; they are nearly independent.
    excess = (standardised**2).sum() - pairs.size
    assert abs(excess) / math.sqrt(2 * pairs.size) < LIMIT
    assert np.abs(standardised).max() < LIMIT + 1


def hypergeometric(number, size, marked, drawn):
    return (
        math.comb(marked, number)
        * math.comb(size - marked, drawn - number)
        / math.comb(size, drawn)
    )


GROUPS = {
    "row": lambda index, size: index < 10,
    "column": lambda index, size: index % 10 == 0,
    "even": lambda index, size: index % 2 == 0,
    "half": lambda index, size: index < size // 2,
}


@pytest.mark.parametrize("group", GROUPS)
def test_members_of_a_group_in_a_minibatch_are_hypergeometric(group):
    """As many of one time, or one environment, in the first minibatch as chance puts there."""
    size, drawn = 100, 20
    marked = GROUPS[group](np.arange(size), size)
    numbers = marked[permutations(size)[:, :drawn]].sum(axis=1)
    highest = min(marked.sum(), drawn)
    expected = NUM_KEYS * np.array(
        [hypergeometric(k, size, int(marked.sum()), drawn) for k in range(highest + 1)]
    )
    counts = np.bincount(numbers, minlength=highest + 1)
    assert counts.size == highest + 1
    likely = expected >= 10  # Chi-square needs a few in every cell: the others become one.
    counts, expected = (
        np.append(values[likely], values[~likely].sum()) for values in (counts, expected)
    )
    assert abs(chi_square(counts, expected, counts.size - 1)) < LIMIT


def test_a_whole_rollout_is_mixed_evenly():
    """15000 steps in 10 minibatches: as many of each tenth in each as chance puts there."""
    size, parts, num_keys = 15000, 10, 200
    keys = jax.random.split(jax.random.key(2), num_keys)
    sample = np.asarray(jax.jit(jax.vmap(lambda key: random_permutation(key, size)))(keys))
    share = size // parts
    # Hypergeometric variance of the members of one tenth in another.
    variance = share * (1 / parts) * (1 - 1 / parts) * (size - share) / (size - 1)
    for tenth in (np.arange(size) // share, np.arange(size) % parts):
        members = np.eye(parts, dtype=np.int32)[tenth[sample]].reshape(
            num_keys, parts, share, parts
        )
        standardised = (members.sum(axis=2) - share / parts) / math.sqrt(variance)
        # The 10 x 10 table has 81 free cells, and the squares of all average 1.
        excess = (standardised**2).sum() - num_keys * parts**2
        scale = parts**2 / (parts - 1) ** 2 * math.sqrt(2 * num_keys * (parts - 1) ** 2)
        assert abs(excess) / scale < LIMIT
        assert abs(standardised.mean(axis=0)).max() * math.sqrt(num_keys) < LIMIT
