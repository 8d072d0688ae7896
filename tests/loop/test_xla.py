"""What JAX and XLA are asked for, and what the system must have."""

import logging as python_logging
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from absl import flags, logging

from pax import MetaTrainer, Role
from pax.agents import Altruistic, Tabular, TitForTat
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.loop import xla
from pax.loop.xla import (
    available_cores,
    cache_folder,
    compiler_options,
    enable_compilation_cache,
    use_all_cores,
)


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


def test_cores_where_the_system_has_no_limit_for_processes(monkeypatch):
    # As on macOS.
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cores() == 6
    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    for name in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    use_all_cores()
    assert updates == {"jax_num_cpu_devices": 6}


@pytest.mark.parametrize(
    ("name", "value"),
    [("JAX_NUM_CPU_DEVICES", "3"), ("XLA_FLAGS", "--xla_force_host_platform_device_count=3")],
)
def test_who_says_how_many_devices_there_are_gets_them(monkeypatch, name, value):
    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setenv(name, value)
    use_all_cores()
    assert updates == {}


def no_home():
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize(
    ("given", "home", "expected"),
    [
        ("/var/caches", no_home, pathlib.Path("/var/caches")),
        ("", lambda: pathlib.Path("/home/me"), pathlib.Path("/home/me/.cache")),
        ("caches", lambda: pathlib.Path("/home/me"), pathlib.Path("/home/me/.cache")),
        ("", no_home, None),
        (None, no_home, None),
    ],
)
def test_where_compiled_programs_are_kept(monkeypatch, given, home, expected):
    monkeypatch.setattr(pathlib.Path, "home", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_folder() == expected
    # Without a place, programs are compiled each time.
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    enable_compilation_cache()
    folder = updates.get("jax_compilation_cache_dir")
    assert folder == (None if expected is None else str(expected / "pax" / "xla"))


@pytest.mark.parametrize("setting", ["jax_enable_x64", "jax_disable_jit"])
def test_settings_of_jax_that_training_cannot_have(setting):
    env = IteratedMatrixGame(num_inner_steps=4)
    players = [Tabular.for_env(env), TitForTat.for_env(env, seat=1)]
    before = getattr(jax.config, setting)
    jax.config.update(setting, True)
    try:
        with pytest.raises(
            ConfigError, match=f"{setting.upper()} is set, and Pax trains in .*: set"
        ):
            MetaTrainer(env, players)
    finally:
        jax.config.update(setting, before)


def test_nan_checks_of_jax_let_healthy_runs_be(monkeypatch):
    # Who always cooperates is never seen after a defection: what it would do there is undefined.
    env = IteratedMatrixGame(num_inner_steps=4)
    players = [Tabular.for_env(env, num_minibatches=2), Altruistic.for_env(env, seat=1)]
    replaced = {"agent1": Role("agent1", Altruistic.for_env(env), (0,))}
    with jax.debug_nans(True), jax.debug_infs(True):
        trainer = MetaTrainer(env, players, num_envs=2, chunk=1, evaluations={"x": replaced})
        assert np.isfinite(trainer.fit(1)["train/reward_per_timestep/player_1"])
        undefined = trainer.evaluate()["x"]["cooperation_probability/DD"]
    assert np.isnan(undefined)


@pytest.mark.parametrize(
    ("first_line", "shown"),
    [
        ("", ["Compiling ...", "iteration 2 of 2"]),
        ("import logging; logging.basicConfig(level=logging.WARNING)", []),
    ],
)
def test_scripts_show_how_far_they_are(tmp_path, first_line, shown):
    script = f"""
{first_line}
from pax import MetaTrainer
from pax.agents import Altruistic, Defect
from pax.callbacks import Progress
from pax.envs import IteratedMatrixGame

env = IteratedMatrixGame(num_inner_steps=3)
players = [Altruistic.for_env(env), Defect.for_env(env, seat=1)]
trainer = MetaTrainer(env, players, chunk=2, callbacks=[Progress(seconds=0.0)])
trainer.fit(2)
trainer.fit(4)  # The same program: nothing is compiled.
"""
    environ = {**os.environ, "FORCE_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environ, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Compiling") == len(shown[:1])
    assert "\x1b" not in done.stderr and "INFO" not in done.stderr
    for line in shown:
        assert line in done.stderr


def test_quiet_lasts_until_the_next_call(monkeypatch):
    root = python_logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(xla, "_OUR_HANDLERS", set())
    monkeypatch.setattr(type(flags.FLAGS), "is_parsed", lambda self: False)
    before = logging.get_verbosity()
    try:
        for quiet in (True, False, True):
            xla.show_log_lines(quiet)
            assert logging.get_verbosity() == (logging.WARNING if quiet else logging.INFO)
        # Who sets up logging decides.
        root.addHandler(python_logging.NullHandler())
        xla.show_log_lines()
        assert logging.get_verbosity() == logging.WARNING
    finally:
        logging.set_verbosity(before)
