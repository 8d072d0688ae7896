"""A matrix game as a plain compiled loop: what rules, a policy's table and random numbers cost at least."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

WHAT = "tables of P(cooperate), a random number per player and payoffs, in a loop of numba on all cores"

TIT_FOR_TAT, RANDOM = (1.0, 0.0, 1.0, 0.0, 1.0), (0.5,) * 5


def matrix_game(
    num_envs: int, num_steps: int, opponent: tuple[float, ...] = TIT_FOR_TAT
) -> Callable[[int], float]:
    """Returns a function of a seed: episodes of the iterated prisoner's dilemma, and the sum of all rewards.

    Args:
        num_envs: environments, spread over the cores.
        num_steps: of each.
        opponent: P(C) of the second player after CC, CD, DC, DD as it sees it, and at the start; the first
            one acts at random.

    Raises:
        ImportError: without numba.
    """
    import numba

    payoffs = np.array([[-1.0, -1.0], [-3.0, 0.0], [0.0, -3.0], [-2.0, -2.0]], np.float32)
    policies = np.array([RANDOM, opponent], np.float32)

    @numba.njit(parallel=True, fastmath=True)
    def play(seed: int, payoffs: np.ndarray, policies: np.ndarray) -> float:
        total: Any = 0.0
        for env in numba.prange(num_envs):
            # xorshift64* (Vigna 2016), a generator of a few operations.
            random = np.uint64(seed * num_envs + env + 1) * np.uint64(0x9E3779B97F4A7C15)
            state = other = 4
            earned = np.float32(0.0)
            for _ in range(num_steps):
                random ^= random >> np.uint64(12)
                random ^= random << np.uint64(25)
                random ^= random >> np.uint64(27)
                drawn = random * np.uint64(0x2545F4914F6CDD1D)
                u = np.float32(drawn >> np.uint64(40)) * np.float32(2.0**-24)
                v = np.float32((drawn >> np.uint64(16)) & np.uint64(0xFFFFFF)) * np.float32(
                    2.0**-24
                )
                a = 0 if u < policies[0, state] else 1
                b = 0 if v < policies[1, other] else 1
                state, other = 2 * a + b, 2 * b + a
                earned += payoffs[state, 0] + payoffs[state, 1]
            total += earned
        return total

    return lambda seed: play(seed, payoffs, policies)
