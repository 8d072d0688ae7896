"""Traced programs on disk: who gets which, and that nothing else is read."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from pax import MetaTrainer
from pax.agents import Tabular, TitForTat
from pax.configs.ipd import get_config
from pax.envs import IteratedMatrixGame
from pax.loop import kept_programs, program_key
from pax.loop.iteration import Loop
from pax.loop.kept_programs import KeptPrograms, folder_of_programs
from pax.loop.program_key import NotKeptError, key_of_run

FLAGS = ("--config=configs/ipd.py:ppo,quicktest", "--config.num_seeds=2")
ROOT = pathlib.Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "ipd.py"


def run(folder):
    """Trains two iterations; returns all numbers that come of it, and how often a loop was traced."""
    env = IteratedMatrixGame(num_inner_steps=4)
    players = [Tabular.for_env(env, num_minibatches=2), TitForTat.for_env(env, seat=1)]
    loop = MetaTrainer(env, players, num_envs=2).compiled_loop
    loop.kept = None if folder is None else KeptPrograms(folder, "the key")
    traced, plain = [], Loop.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "run", lambda *args: traced.append(1) or plain(*args))
        loop.compile(2)
        state, metrics = loop.run(loop.initial_state(), 2)
    numbers = [
        jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for leaf in jax.tree.leaves((state, metrics))
    ]
    return [np.asarray(leaf) for leaf in numbers], len(traced)


def test_the_second_run_traces_nothing_and_computes_the_same_bits(tmp_path):
    folder = tmp_path / "programs"
    plain, traced = run(None)
    first, traced_at_first = run(folder)
    second, traced_then = run(folder)
    assert traced and traced_at_first and not traced_then
    for one, two, three in zip(plain, first, second, strict=True):
        assert one.tobytes() == two.tobytes() == three.tobytes()
    # The initial state, and two iterations.
    assert len(list(folder.iterdir())) == 2
    assert folder.stat().st_mode & 0o077 == 0


def exported(number):
    return jax.export.export(jax.jit(lambda x: x + number))(jnp.float32(0))


def get(folder, number=1.0, key="key", name="name"):
    """Returns what a program of this key and name adds, and whether it was made anew."""
    made = []
    program = KeptPrograms(folder, key).get(name, lambda: made.append(1) or exported(number))
    return float(program.call(jnp.float32(0))), bool(made)


@pytest.fixture
def folder(tmp_path):
    assert get(tmp_path / "programs") == (1.0, True)
    return tmp_path / "programs"


def test_another_key_or_name_is_another_program(folder):
    assert get(folder, 2.0) == (1.0, False)
    assert get(folder, 2.0, key="another") == (2.0, True)
    assert get(folder, 3.0, name="another") == (3.0, True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:-5] + b"\0" + data[-4:],
        lambda data: b"another format" + data,
        # The program of another key, under this one's name.
        lambda data: data.replace(data[14:46], bytes(32), 1),
    ],
)
def test_what_is_damaged_or_foreign_is_made_anew(folder, damage):
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert get(folder, 2.0) == (2.0, True)
    assert get(folder, 3.0) == (2.0, False)


def test_what_others_could_have_written_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(
        kept_programs.pickle, "loads", lambda data: pytest.fail("foreign code could run")
    )
    folder.chmod(0o770)
    assert get(folder, 2.0) == (2.0, True)
    folder.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert get(folder, 2.0) == (2.0, True)


def test_a_pipe_in_its_place_is_not_waited_for(folder):
    (path,) = folder.iterdir()
    path.unlink()
    os.mkfifo(path)
    assert get(folder, 2.0) == (2.0, True)


@pytest.mark.parametrize("place", ["file", "read-only"])
def test_where_nothing_can_be_written_runs_go_on(tmp_path, place, monkeypatch):
    def fails(*args):
        raise PermissionError(30, "Read-only file system")

    if place == "file":
        (tmp_path / "file").write_text("")
    else:
        monkeypatch.setattr(kept_programs, "write_whole", fails)
    for _ in range(2):
        assert get(tmp_path / place / "programs") == (1.0, True)


def test_old_ones_make_room(folder, monkeypatch):
    monkeypatch.setattr(kept_programs, "MOST_FILES", 10)
    for number in range(10):
        get(folder, number, name=str(number))
    assert len(list(folder.iterdir())) == 10
    assert get(folder, 5.0) == (5.0, True)  # The first.
    assert get(folder, 50.0, name="9") == (9.0, False)


def test_jax_says_where_and_whether(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder_of_programs() is None  # As tests tell JAX where.
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    assert folder_of_programs() == tmp_path / "pax" / "programs"
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        assert folder_of_programs() is None
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def key(settings=None, objects=(), devices=None, callbacks_are_of_pax=True):
    settings = settings or get_config("ppo,quicktest").to_dict()
    return key_of_run(settings, CONFIG, objects, devices or jax.devices(), callbacks_are_of_pax)


def changed(**overrides):
    return {**get_config("ppo,quicktest").to_dict(), **overrides}


def test_runs_with_the_same_programs_have_the_same_key():
    assert key() == key(changed(num_iters=7, total_timesteps=1, chunk=3, seed=5, callbacks={}))


@pytest.mark.parametrize(
    "overrides",
    [{"num_envs": 7}, {"num_seeds": 3}, {"agent1": {"learning_rate": 0.1}}, {"tasks": {"x": 1}}],
)
def test_a_changed_setting_is_another_key(overrides):
    assert key() != key(changed(**overrides))


def test_code_devices_and_flags_are_in_the_key(monkeypatch, tmp_path):
    before = key()
    assert before != key(devices=[*jax.devices(), *jax.devices()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        assert before != key()
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        assert before != key()
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert before == key()
    (tmp_path / "agents").mkdir()
    source = tmp_path / "agents" / "ppo.py"
    source.write_text("clip = 0.2")
    monkeypatch.setattr(program_key, "_PAX", tmp_path)
    old = key()
    source.write_text("clip = 0.3")
    assert before != old != key()


def test_a_module_that_was_installed_anew_is_another_key(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "installed_anew.py").write_text("x = 1")
    __import__("installed_anew")
    before = key()
    os.utime(tmp_path / "installed_anew.py", (1, 1))
    assert before != key()
    monkeypatch.delitem(sys.modules, "installed_anew")


def test_callbacks_of_users_are_in_the_key():
    extra = changed(extra_callbacks=("mine.Mine",))
    assert key(extra) == key()
    assert key(extra, callbacks_are_of_pax=False) != key(callbacks_are_of_pax=False)


def test_arrays_are_not_told_by_their_text():
    with pytest.raises(NotKeptError, match="not as in JSON"):
        key(changed(env={"payoff": np.zeros(5000)}))


@pytest.mark.parametrize(
    "overrides",
    [
        {"agent1": {"network": "my_networks.Mine"}},
        {"agent2": {"path": "exp/run/policies/agent2.msgpack"}},
        {"tasks": {"mine": {"type": "my_tasks.sampler"}}},
    ],
)
def test_code_and_files_of_users_are_not_kept(overrides):
    with pytest.raises(NotKeptError):
        key(changed(**overrides))


def test_a_file_without_a_folder_is_one(monkeypatch, tmp_path):
    (tmp_path / "policy").write_text("")
    key(changed(agent2={"path": "policy"}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotKeptError, match="'policy' may be a file"):
        key(changed(agent2={"path": "policy"}))


def test_games_and_samplers_of_users_are_not_kept():
    class Mine(IteratedMatrixGame):
        pass

    assert key(objects=[IteratedMatrixGame()]) == key()
    for each in (Mine(), lambda draw, task: task):
        with pytest.raises(NotKeptError, match="which is not of Pax"):
            key(objects=[each])


@pytest.mark.slow
def test_the_app_keeps_programs_of_runs_with_as_many_devices(tmp_path):
    """The metrics of the second run are those of the first, to the bit."""

    def train(name, **environment):
        variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **environment}
        variables.pop("JAX_COMPILATION_CACHE_DIR")
        subprocess.run(
            [sys.executable, "-m", "pax.main", f"--workdir={tmp_path}/{name}", *FLAGS],
            cwd=ROOT,
            env=variables,
            check=True,
            capture_output=True,
        )
        rows = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        clock = ("wall_time", "env_steps_per_second")
        kept = {path.name for path in (tmp_path / "pax" / "programs").iterdir()}
        return [{k: v for k, v in row.items() if k not in clock} for row in rows], kept

    first, kept = train("first", JAX_NUM_CPU_DEVICES="1")
    second, kept_then = train("second", JAX_NUM_CPU_DEVICES="1")
    assert first == second and kept == kept_then and len(kept) == 2
    # Two seeds on two devices.
    _, kept_at_last = train("third", JAX_NUM_CPU_DEVICES="2")
    assert len(kept_at_last) == 4
