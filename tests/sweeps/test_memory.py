"""As many runs train at once as fit."""

import types

import pytest

from pax import MetaTrainer
from pax.agents import AGENTS
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.sweeps import memory

RUN = types.SimpleNamespace(
    placement=types.SimpleNamespace(asked=None), parts=None, seed=0, next_chunk=10, num_seeds=1
)


class Loops:
    """A run takes 100 bytes."""

    made: list = []  # noqa: RUF012 - it is set anew in each test.

    def __init__(self, parts, numbers, seeds, num_seeds, *, per_device, num_devices):
        self.num_side_by_side = per_device * num_devices
        self.made.append((per_device, num_devices))

    def bytes_needed(self, size):
        return 100 * self.num_side_by_side


@pytest.mark.parametrize(
    ("num_runs", "asked", "backend", "devices", "rollouts", "free", "made"),
    [
        # On a CPU, what a cache of 4 MiB holds.
        (64, 0, "cpu", 2, 2**22, 10**8, [(1, 2)]),
        (64, 0, "cpu", 2, 2**20, 10**8, [(4, 2)]),
        # Two rounds of five, and not one of eight and one of two.
        (10, 0, "cpu", 1, 2**19, 10**8, [(5, 1)]),
        (3, 0, "cpu", 8, 2**22, 10**8, [(1, 3)]),
        (64, 5, "cpu", 1, 2**22, 10**8, [(5, 1)]),
        # Elsewhere all, or what the memory holds: of 1000 bytes 900, for 9 runs in 8 rounds of 8.
        (64, 0, "gpu", 1, 2**22, 10**8, [(64, 1)]),
        (64, 0, "gpu", 1, 100, 1000, [(64, 1), (8, 1)]),
        (64, 0, "gpu", 1, 2**22, None, [(64, 1)]),
        (8, 0, "gpu", 4, 100, 150, [(2, 4), (1, 4), (1, 2), (1, 1)]),
    ],
)
def test_how_many_runs_train_at_once(
    num_runs, asked, backend, devices, rollouts, free, made, monkeypatch
):
    use(monkeypatch, backend, devices, rollouts, free)
    loops, needed = memory.make_loops([RUN] * num_runs, None, asked, "000 to 063")
    assert Loops.made == made
    assert needed == 100 * made[-1][0] * made[-1][1] == 100 * loops.num_side_by_side


@pytest.mark.parametrize(("rollouts", "made"), [(0, [(1, 1)]), (2, [])])
def test_no_room_for_a_single_run_is_told(rollouts, made, monkeypatch):
    """Without compiling, if what it records would already fill the memory."""
    use(monkeypatch, "gpu", 1, rollouts, 1)
    with pytest.raises(ConfigError, match=r"a run of 000 needs 0\.0 GiB of memory, and 0\.0 GiB"):
        memory.make_loops([RUN], None, 0, "000")
    assert Loops.made == made


def use(monkeypatch, backend, devices, rollouts, free):
    monkeypatch.setattr(Loops, "made", [])
    monkeypatch.setattr(memory, "LoopOfRuns", Loops)
    monkeypatch.setattr(memory.jax, "default_backend", lambda: backend)
    monkeypatch.setattr(memory.jax, "local_device_count", lambda: devices)
    monkeypatch.setattr(memory, "rollout_bytes", lambda trainer: rollouts)
    monkeypatch.setattr(memory, "free_bytes", lambda: free)


def test_the_memory_of_this_machine_is_known():
    assert memory.free_bytes() > 2**20


def test_a_run_that_finds_no_room_says_so(monkeypatch):
    env = IteratedMatrixGame(num_inner_steps=2)
    agents = [AGENTS["Random"].for_env(env, seat) for seat in range(2)]
    trainer = MetaTrainer(env, agents, num_envs=2, num_iters=1, quiet=True)
    monkeypatch.setattr("pax.loop.compiled.free_bytes", lambda: 7)
    with pytest.raises(
        ConfigError, match=r"an iteration needs .* GiB are free: make num_envs, num_"
    ):
        trainer.fit()
