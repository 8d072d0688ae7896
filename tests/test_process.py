"""What XLA is asked for."""

import jax
import pytest

from pax import MetaTrainer
from pax.agents import Tabular, TitForTat
from pax.envs import IteratedMatrixGame
from pax.process import compiler_options


def test_who_names_an_option_in_the_environment_keeps_it(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    ours = compiler_options()
    assert ours["xla_backend_optimization_level"] > 0
    assert compiler_options(runs_once=True)["xla_backend_optimization_level"] == 0
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=3 --xla_dump_to=x")
    assert compiler_options() == {
        name: value for name, value in ours.items() if name != "xla_backend_optimization_level"
    }


def test_other_devices_get_none(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() == {}


@pytest.mark.parametrize("flags", ["", "--xla_backend_optimization_level=1"])
def test_xla_knows_them(monkeypatch, flags):
    monkeypatch.setenv("XLA_FLAGS", flags)
    env = IteratedMatrixGame(num_inner_steps=4)
    players = [Tabular.for_env(env, num_minibatches=2), TitForTat.for_env(env, seat=1)]
    compiled = MetaTrainer(env, players, num_envs=2).compiled_loop
    compiled.compile(1)
    state, _ = compiled.run(compiled.initial_state(), 1)
    assert int(state.step) == 1
