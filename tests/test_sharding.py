"""Which axis is spread over devices, and what cannot be."""

import jax
import pytest

from pax.errors import ConfigError
from pax.sharding import Placement


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (50, 3, 1),
            r"divides none of candidates \(50\), opponents \(3\), seeds \(1\): make candidates 48",
        ),
        ((1, 9, 1), "make opponents 8, or use fewer devices"),
        ((2, 1, 1), "make candidates 4, or use fewer devices"),
    ],
)
def test_sizes_that_devices_do_not_divide_are_told_with_the_nearest_that_do(
    monkeypatch, sizes, message
):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    candidates, opponents, seeds = sizes
    with pytest.raises(ConfigError, match=f"^num_devices is 4, which .*{message}"):
        Placement(4, candidates=candidates, opponents=opponents, seeds=seeds)
