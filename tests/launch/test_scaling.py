"""What ten times as much costs, and what devices send each other."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from launch.benchmark.apart import quiet_config
from launch.benchmark.hlo import Collective, collectives, loops
from launch.scaling import __main__ as scaling
from launch.scaling import worker as scaling_worker
from pax.config.build import build_trainer

ROWS = range(len(scaling.growth_jobs(scaling.QUICK)))
QUICK_ROWS = (1,)  # Opponents of the shaper.


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [row if row in QUICK_ROWS else pytest.param(row, marks=pytest.mark.slow) for row in ROWS]
)
def test_ten_times_as_much_needs_at_most_as_many_times_the_memory(row):
    specifications, num_devices = scaling.growth_jobs(scaling.QUICK)[row]
    before, after = (
        scaling_worker.num_bytes(
            build_trainer(quiet_config(**specification), None).compiled_loop.compile(1)
        )
        for specification in specifications
    )
    assert 1 < after / before <= 10.5
    assert num_devices is None


def test_collectives_are_found_with_the_loops_around_them():
    text = """
%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %s = f32[] add(%a, %b)
}
%body (p: (s32[], f32[8,2])) -> (s32[], f32[8,2]) {
  %x = f32[8,2]{1,0} all-reduce(%y), channel_id=1, to_apply=%add
}
%cond (p: (s32[], f32[8,2])) -> pred[] {
  ROOT %c = pred[] compare(%i, %n), direction=LT
}
ENTRY %main (p: f32[8,2]) -> f32[8,2] {
  %w = (s32[], f32[8,2]) while(%t), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %g = (bf16[4]{0}, pred[3]{0}) all-gather-start(%z), dimensions={0}
}
"""
    assert collectives(text) == [
        Collective("all-reduce", 64, (7,)),
        Collective("all-gather", 4 * 2 + 3, ()),
    ]
    assert loops(text) == [7]
    assert [found.times for found in collectives(text)] == [7, 1]


def test_a_program_of_jax_is_read():
    # One device is enough for a program that sends something: it is read, not run.
    mesh = Mesh(jax.devices()[:1], ("devices",))

    def rounds(x):
        def body(_, total):
            return total + jax.lax.psum(x * total, "devices")

        return jax.lax.fori_loop(0, 5, body, x)

    spread = jax.shard_map(
        rounds,
        mesh=mesh,
        in_specs=PartitionSpec("devices"),
        out_specs=PartitionSpec("devices"),
        check_vma=False,
    )
    x = jax.device_put(jnp.ones((4, 3)), NamedSharding(mesh, PartitionSpec("devices")))
    assert loops(jax.jit(spread).lower(x).compile().as_text()) == [5]


def test_tables_say_what_grew_by_how_much():
    jobs = [([{"config": "configs/a.py:b", "overrides": {"num_envs": n}} for n in (2, 20)], None)]
    costs = [[{"seconds": [0.1, 0.2], "bytes": 1e6}, {"seconds": [0.9, 1.8], "bytes": 4e6}]]
    last = scaling.growth_table(jobs, costs).splitlines()[-1]
    assert last == "| `a.py:b` | environments, 2 to 20 | 150 to 1.35e+03 | 9.0 | 1 to 4 | 4.0 |"
    sent = [
        {"kind": "all-gather", "bytes": 500, "loops": [3]},
        {"kind": "x", "bytes": 1, "loops": []},
    ]
    cost = {
        "placement": "seeds (8) over 2 of 2 devices",
        "seconds": [0.5],
        "bytes": 2e6,
        "sent": sent,
    }
    last = scaling.device_table([([{}], 2)], [[cost]]).splitlines()[-1]
    assert last == "| seeds (8) | 2 | 500 | 2 | 4 | 1.5 |"
