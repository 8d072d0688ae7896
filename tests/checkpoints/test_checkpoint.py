"""Tests of saving and restoring train states, damage included."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging as absl_logging
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pax.checkpoints.writer import SCHEMA, Checkpointer
from pax.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parents[2]


@flax.struct.dataclass
class State:
    params: dict
    opt_state: Any
    key: jax.Array
    keys: jax.Array
    step: jax.Array
    nothing: Any = None
    no_extras: tuple = ()
    no_roles: dict = flax.struct.field(default_factory=dict)


def make_state(step=0, width=4):
    params = {
        "dense/~/0": {"w": jnp.arange(3.0 * width).reshape(3, width) / 7 + step},
        "half": jnp.array([1.5, -0.0], jnp.bfloat16),
        "no_features": jnp.zeros((3, 0)),
        "mask": jnp.array([True, False]),
        "odd": jnp.array([jnp.nan, jnp.inf]),
    }
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return State(
        params=params,
        opt_state=optimiser.init({"w": params["dense/~/0"]["w"]}),
        key=jax.random.key(step),
        keys=jax.random.split(jax.random.key(1, impl="rbg"), 3),
        step=jnp.int32(step),
    )


def abstract(state):
    return jax.eval_shape(lambda: state)


def raw(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(leaf.dtype), raw(jax.random.key_data(leaf))
    leaf = np.asarray(leaf)
    return leaf.shape, leaf.dtype, leaf.tobytes()


def assert_same_bits(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert raw(a) == raw(b)


@pytest.fixture
def open_checkpointer(tmp_path):
    """Opens checkpointers on one directory and closes them in the end."""
    opened = []

    def open_(**kwargs):
        opened.append(Checkpointer(tmp_path / "checkpoints", **kwargs))
        return opened[-1]

    yield open_
    for checkpointer in opened:
        checkpointer.close()


@pytest.fixture
def warnings_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(absl_logging, "warning", lambda text, *a: lines.append(text % a))
    return lines


def save(checkpointer, step, state=None, **kwargs):
    state = make_state(step) if state is None else state
    checkpointer.save(step, state, callbacks={"Counter": {"n": step}}, meta={"at": step}, **kwargs)


def on_disk(tmp_path):
    return sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())


def test_round_trip_is_exact(open_checkpointer):
    checkpointer = open_checkpointer()
    state = make_state(3)
    callbacks = {"EarlyStop": {"best": 0.1, "seen": [1, 2], "name": None}}
    checkpointer.save(3, state, callbacks=callbacks, meta={"env_steps": 12345678901})
    for like in (abstract(state), state):
        restored = checkpointer.restore(like)
        assert_same_bits(restored.state, state)
        assert restored.step == 3
        assert restored.callbacks == callbacks
        assert restored.meta == {"env_steps": 12345678901}
    assert isinstance(restored.state, State)
    assert isinstance(restored.state.opt_state[1][0], optax.ScaleByAdamState)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored.state))
    # In another process, which knows nothing but the directory.
    assert_same_bits(open_checkpointer().restore(abstract(state)).state, state)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"a": None, "b": (), "c": {"d": []}},
        {"a": jnp.zeros((0, 2))},
        {"keys": jax.random.split(jax.random.key(0, impl="rbg"), 0), "x": jnp.ones(1)},
        {"count": np.array([1 << 40]), "one": np.float64(0.1)},
        (jnp.ones(2), [jnp.zeros(1)]),
        jnp.arange(3),
    ],
    ids=["empty", "containers", "no_elements", "no_keys", "numpy", "sequences", "leaf"],
)
def test_unusual_states(open_checkpointer, state):
    checkpointer = open_checkpointer()
    checkpointer.save(0, state, callbacks={}, meta={})
    assert_same_bits(checkpointer.restore(state).state, state)


def test_shardings_come_from_the_abstract_state(open_checkpointer):
    mesh = jax.make_mesh((len(jax.devices()),), ("devices",), axis_types=(AxisType.Auto,))
    sharded = NamedSharding(mesh, PartitionSpec("devices"))
    replicated = NamedSharding(mesh, PartitionSpec())
    size = 2 * mesh.size
    state = {
        "x": jnp.arange(size),
        "keys": jax.random.split(jax.random.key(0), size),
        "key": jax.random.key(1),
        "none": jnp.zeros((size, 0)),
    }
    shardings = {"x": sharded, "keys": sharded, "key": replicated, "none": sharded}
    checkpointer = open_checkpointer()
    checkpointer.save(1, state, callbacks={}, meta={})
    like = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state,
        shardings,
    )
    restored = checkpointer.restore(like).state
    assert_same_bits(restored, state)
    for name, sharding in shardings.items():
        assert isinstance(restored[name].sharding, NamedSharding)
        assert restored[name].sharding.is_equivalent_to(sharding, restored[name].ndim)
    # Without one, the default device.
    assert checkpointer.restore(abstract(state)).state["x"].devices() == {jax.devices()[0]}


def test_donating_right_after_a_save_is_safe(open_checkpointer):
    checkpointer = open_checkpointer()
    original = np.arange(1 << 20, dtype=np.float32)
    x = jnp.array(original)
    keys = jax.random.split(jax.random.key(0), 1 << 16)
    key_data = np.array(jax.random.key_data(keys))
    array = np.array([1, 2])
    overwrite = jax.jit(
        lambda x, keys: (x * 0 - 1, jax.vmap(jax.random.split)(keys)[:, 1]), donate_argnums=(0, 1)
    )
    callbacks = {"Counter": {"n": 1}}
    state = {"x": x, "keys": keys, "numpy": array}
    checkpointer.save(1, state, callbacks=callbacks, meta={})
    for _ in range(3):
        donated = x
        x, keys = overwrite(x, keys)
    # JAX copies the first one instead if the save still reads it, and nothing reads the last.
    assert donated.is_deleted()
    array[:] = 0
    callbacks["Counter"]["n"] = 2
    jax.block_until_ready((x, keys))
    restored = checkpointer.restore({"x": x, "keys": keys, "numpy": array})
    np.testing.assert_array_equal(restored.state["x"], original)
    np.testing.assert_array_equal(jax.random.key_data(restored.state["keys"]), key_data)
    np.testing.assert_array_equal(restored.state["numpy"], [1, 2])
    assert restored.callbacks == {"Counter": {"n": 1}}


def test_which_checkpoints_are_kept(open_checkpointer, tmp_path):
    checkpointer = open_checkpointer(keep_latest=2, keep_every=40, keep_best=1)
    metrics = {10: 0.0, 20: 5.0, 30: 1.0, 40: None, 50: 3.0, 60: float("nan"), 70: 4.0}
    expected = {
        10: [10],
        20: [10, 20],
        30: [20, 30],
        40: [20, 30, 40],
        50: [20, 40, 50],
        60: [20, 40, 50, 60],
        70: [20, 40, 60, 70],
    }
    for step, metric in metrics.items():
        save(checkpointer, step, {"x": jnp.ones(1)}, best_metric=metric)
        assert checkpointer.steps() == expected[step]
        checkpointer.wait()
        assert on_disk(tmp_path) == expected[step]
    assert checkpointer.latest_step() == 70
    assert checkpointer.best_step() == 20
    # What another process finds.
    minimiser = open_checkpointer(keep_latest=1, maximise=False)
    assert minimiser.steps() == [20, 40, 60, 70]
    assert minimiser.best_step() == 70
    save(minimiser, 80, {"x": jnp.ones(1)}, best_metric=4.0)
    assert minimiser.best_step() == 80  # The newest among equals.
    minimiser.wait()
    assert on_disk(tmp_path) == [80]


def test_a_save_below_the_newest_step_survives(open_checkpointer, tmp_path):
    checkpointer = open_checkpointer(keep_latest=1)
    for step in (10, 20, 15):
        save(checkpointer, step)
    checkpointer.wait()
    assert on_disk(tmp_path) == [15, 20]


def test_no_checkpoints(open_checkpointer):
    checkpointer = open_checkpointer(keep_best=0)
    assert checkpointer.steps() == []
    assert checkpointer.latest_step() is None
    assert checkpointer.best_step() is None
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*checkpoints"):
        checkpointer.restore({})
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 3 .*none"):
        checkpointer.restore({}, step=3)
    save(checkpointer, 1)
    assert checkpointer.best_step() is None


def test_restoring_a_given_step(open_checkpointer):
    checkpointer = open_checkpointer(keep_latest=3)
    for step in (1, 2, 3):
        save(checkpointer, step)
    restored = checkpointer.restore(abstract(make_state()), step=2)
    assert_same_bits(restored.state, make_state(2))
    assert (restored.step, restored.meta, restored.callbacks) == (
        2,
        {"at": 2},
        {"Counter": {"n": 2}},
    )
    with pytest.raises(CheckpointError, match=r"step 7 .*\[1, 2, 3\]"):
        checkpointer.restore(abstract(make_state()), step=7)


def test_saving_a_step_again_replaces_it(open_checkpointer):
    checkpointer = open_checkpointer()
    save(checkpointer, 5, make_state(1), best_metric=1.0)
    save(checkpointer, 5, make_state(2), best_metric=2.0)
    assert checkpointer.steps() == [5]
    assert_same_bits(checkpointer.restore(abstract(make_state())).state, make_state(2))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def garble(path):
    path.write_bytes(os.urandom(path.stat().st_size))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def delete(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, empty, garble, flip, delete])
@pytest.mark.parametrize("part", ["data", "state/_METADATA", "callbacks/metadata", "meta/metadata"])
def test_damage_falls_back(open_checkpointer, tmp_path, warnings_logged, damage, part):
    checkpointer = open_checkpointer()
    for step in (10, 20):
        # Orbax keeps small arrays in the index; this one gets a data file, the largest one.
        save(checkpointer, step, {"x": jax.random.normal(jax.random.key(step), (2000,))})
    checkpointer.wait()
    directory = tmp_path / "checkpoints" / "20"
    path = directory / part
    if part == "data":
        path = max((p for p in directory.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    damage(path)
    like = {"x": jax.ShapeDtypeStruct((2000,), jnp.float32)}
    for again in (checkpointer, open_checkpointer()):
        warnings_logged.clear()
        restored = again.restore(like)
        assert restored.step == 10
        assert restored.callbacks == {"Counter": {"n": 10}}
        assert_same_bits(restored.state, {"x": jax.random.normal(jax.random.key(10), (2000,))})
        (line,) = warnings_logged
        assert line.startswith("Checkpoint 20 in ")
        assert str(path.relative_to(directory)) in line
    with pytest.raises(CheckpointError, match=r"checkpoint 20 .* is damaged .*\[10\]"):
        again.restore(like, step=20)


def test_saving_after_a_fall_back(open_checkpointer, tmp_path, warnings_logged):
    checkpointer = open_checkpointer()
    for step in (10, 20):
        save(checkpointer, step, best_metric=step)
    checkpointer.close()
    delete(tmp_path / "checkpoints" / "20" / "state" / "manifest.ocdbt")
    checkpointer = open_checkpointer()
    assert checkpointer.restore(abstract(make_state())).step == 10
    assert checkpointer.best_step() == 10
    save(checkpointer, 20, make_state(21), best_metric=1.0)
    restored = checkpointer.restore(abstract(make_state()))
    assert restored.step == 20
    assert_same_bits(restored.state, make_state(21))
    assert checkpointer.best_step() == 10
    assert len(warnings_logged) == 1


def test_damaged_checkpoints_do_not_push_out_intact_ones(
    open_checkpointer, tmp_path, warnings_logged
):
    checkpointer = open_checkpointer(keep_latest=4)
    for step in (10, 20, 30, 40):
        save(checkpointer, step)
    checkpointer.wait()
    for step in (30, 40):
        flip(tmp_path / "checkpoints" / str(step) / "meta" / "metadata")
    checkpointer = open_checkpointer(keep_latest=2)
    assert checkpointer.restore(abstract(make_state())).step == 20
    assert any("Checkpoint 30 " in line for line in warnings_logged)
    assert any("Checkpoint 40 " in line for line in warnings_logged)
    save(checkpointer, 25)
    checkpointer.wait()
    assert on_disk(tmp_path) == [20, 25]
    assert checkpointer.restore(abstract(make_state())).step == 25


def test_a_copied_folder_is_no_other_step(open_checkpointer, tmp_path, warnings_logged):
    checkpointer = open_checkpointer()
    save(checkpointer, 20)
    checkpointer.wait()
    shutil.copytree(tmp_path / "checkpoints" / "20", tmp_path / "checkpoints" / "30")
    assert open_checkpointer().restore(abstract(make_state())).step == 20
    assert any(
        "30" in line and "it is a copy of that of step 20" in line for line in warnings_logged
    )


def test_checksums_of_nothing_check_nothing(open_checkpointer, tmp_path):
    checkpointer = open_checkpointer()
    save(checkpointer, 20)
    checkpointer.wait()
    path = tmp_path / "checkpoints" / "20" / "checksums.json"
    sums = json.loads(path.read_text())
    without_state = {key: value for key, value in sums.items() if not key.startswith("state/")}
    for content in ({}, {"step": 20}, without_state):
        path.write_text(json.dumps(content))
        with pytest.raises(
            CheckpointError, match="does not name the files of state, callbacks, meta"
        ):
            checkpointer.restore(abstract(make_state()))


def test_all_damaged(open_checkpointer, tmp_path, warnings_logged):
    checkpointer = open_checkpointer()
    for step in (10, 20):
        save(checkpointer, step)
    checkpointer.wait()
    delete(tmp_path / "checkpoints" / "10" / "checksums.json")
    empty(tmp_path / "checkpoints" / "20" / "checksums.json")
    with pytest.raises(CheckpointError) as e:
        checkpointer.restore(abstract(make_state()))
    assert "20 (checksums.json is not readable)" in str(e.value)
    assert "10 (checksums.json is missing)" in str(e.value)


def test_an_empty_checkpoint_directory_is_damage(open_checkpointer, tmp_path, warnings_logged):
    checkpointer = open_checkpointer()
    save(checkpointer, 10)
    checkpointer.wait()
    (tmp_path / "checkpoints" / "20").mkdir()
    checkpointer = open_checkpointer()
    assert checkpointer.restore(abstract(make_state())).step == 10
    save(checkpointer, 20)
    assert checkpointer.restore(abstract(make_state())).step == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.replace(params=make_state(width=5).params),
            "params['dense/~/0']['w'] is float32[3, 4], expected float32[3, 5]",
        ),
        (
            lambda s: s.replace(step=jnp.float32(0)),
            "step is int32[], expected float32[]",
        ),
        (
            lambda s: s.replace(key=jax.random.key(0, impl="rbg")),
            "key is key<fry>[], expected key<rbg>[]",
        ),
        (
            lambda s: s.replace(params={**s.params, "no_features": jnp.zeros((2, 0))}),
            "params['no_features'] is float32[3, 0], expected float32[2, 0]",
        ),
        (
            lambda s: s.replace(nothing=jnp.zeros(2)),
            "nothing is missing, expected float32[2]",
        ),
        (
            lambda s: s.replace(params={k: v for k, v in s.params.items() if k != "mask"}),
            "params['mask'] is bool[2], expected no such leaf",
        ),
    ],
    ids=["shape", "dtype", "key_impl", "no_elements", "missing", "extra"],
)
def test_another_configuration_is_not_damage(open_checkpointer, warnings_logged, change, message):
    checkpointer = open_checkpointer()
    save(checkpointer, 10)
    save(checkpointer, 20)
    with pytest.raises(CheckpointError) as e:
        checkpointer.restore(abstract(change(make_state())))
    assert message in str(e.value)
    assert "checkpoint 20 " in str(e.value)
    assert warnings_logged == []


def test_another_schema_is_refused(open_checkpointer, monkeypatch):
    checkpointer = open_checkpointer()
    monkeypatch.setattr("pax.checkpoints.writer.SCHEMA", SCHEMA + 1)
    save(checkpointer, 1)
    checkpointer.wait()
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"has schema 2, .* reads schema 1"):
        checkpointer.restore(abstract(make_state()))


def test_values_that_are_not_json(open_checkpointer):
    checkpointer = open_checkpointer()
    with pytest.raises(CheckpointError, match=r"callbacks\['EarlyStop'\].*float32.*float\(\)"):
        checkpointer.save(1, {}, callbacks={"EarlyStop": {"best": np.float32(1)}}, meta={})
    with pytest.raises(CheckpointError, match=r"meta\['x'\]"):
        checkpointer.save(1, {}, callbacks={}, meta={"x": {1, 2}})
    assert checkpointer.steps() == []


@pytest.mark.parametrize("setting", [{"keep_latest": 0}, {"keep_every": -1}, {"keep_best": -1}])
def test_settings_out_of_range(tmp_path, setting):
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} is"):
        Checkpointer(tmp_path / "never", **setting)
    assert not (tmp_path / "never").exists()


def test_directory_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match="cannot create the checkpoint directory"):
            Checkpointer(path)


def test_failed_save_is_reported_and_leaves_the_others(open_checkpointer, tmp_path, monkeypatch):
    checkpointer = open_checkpointer()
    save(checkpointer, 10)
    checkpointer.wait()

    def fail(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pax.checkpoints.writer.checksum", fail)
        save(checkpointer, 20)
        with pytest.raises(CheckpointError, match=r"checkpoint 20 could not be written.*No space"):
            checkpointer.wait()
    assert checkpointer.steps() == [10]
    assert open_checkpointer().restore(abstract(make_state())).step == 10
    save(checkpointer, 20)
    assert checkpointer.restore(abstract(make_state())).step == 20


def test_sigkill_during_a_save_leaves_the_earlier_one(tmp_path):
    script = """
        import os, signal, sys
        import jax, numpy as np
        import pax.checkpoints.writer
        from pax.checkpoints.writer import Checkpointer

        assert not any(name.startswith("orbax") for name in sys.modules), "orbax must be lazy"
        checkpointer = Checkpointer(sys.argv[1])
        x = np.random.default_rng(0).normal(size=500_000).astype(np.float32)
        checkpointer.save(1, {"x": jax.numpy.array(x)}, callbacks={}, meta={})
        checkpointer.wait()
        # The last moment before the checkpoint gets its name.
        pax.checkpoints.writer.checksum = lambda path: os.kill(os.getpid(), signal.SIGKILL)
        checkpointer.save(2, {"x": jax.numpy.array(x)}, callbacks={}, meta={})
        checkpointer.wait()
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert any(p.name.startswith("2.") for p in tmp_path.iterdir()), "killed too late or too early"
    expected = np.random.default_rng(0).normal(size=500_000).astype(np.float32)
    checkpointer = Checkpointer(tmp_path)
    assert checkpointer.steps() == [1]
    like = {"x": jax.ShapeDtypeStruct(expected.shape, jnp.float32)}
    np.testing.assert_array_equal(checkpointer.restore(like).state["x"], expected)
    # The resumed run gets to the same step, in spite of what the killed one has left there.
    checkpointer.save(2, {"x": jnp.zeros(3)}, callbacks={}, meta={})
    assert checkpointer.restore({"x": jnp.ones(3)}).state["x"].tolist() == [0, 0, 0]
    checkpointer.close()


def test_orbax_is_quiet(open_checkpointer, caplog):
    caplog.set_level("INFO", logger="absl")
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.INFO)
    try:
        checkpointer = open_checkpointer()
        save(checkpointer, 1)
        checkpointer.restore(abstract(make_state()))
        absl_logging.info("ours")
    finally:
        absl_logging.set_verbosity(verbosity)
    assert [record.getMessage() for record in caplog.records if record.name == "absl"] == ["ours"]


def test_layout_on_disk(open_checkpointer, tmp_path):
    """Other tools may read the JSON items: a change needs another schema number."""
    checkpointer = open_checkpointer()
    save(checkpointer, 7, {"x": jnp.ones((2, 3)), "none": jnp.ones((0,))}, best_metric=0.5)
    checkpointer.wait()
    directory = tmp_path / "checkpoints" / "7"
    assert json.loads((directory / "callbacks" / "metadata").read_text()) == {"Counter": {"n": 7}}
    assert json.loads((directory / "meta" / "metadata").read_text()) == {
        "schema": 1,
        "metric": 0.5,
        "leaves": {
            "['none']": {"shape": [0], "dtype": "float32"},
            "['x']": {"shape": [2, 3], "dtype": "float32", "number": "0"},
        },
        "meta": {"at": 7},
    }


@pytest.mark.parametrize("name", ("state/_METADATA", "checksums.json", "meta/metadata", "other"))
def test_a_pipe_in_a_checkpoint_is_damage_and_nobody_waits_for_it(tmp_path, name):
    with contextlib.closing(Checkpointer(tmp_path)) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, {"x": jnp.ones(2) * step}, callbacks={}, meta={})
    path = tmp_path / "2" / name
    assert path.exists() or name == "other"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with contextlib.closing(Checkpointer(tmp_path)) as checkpointer:
        assert checkpointer.find_damage(2) == f"{name} is no regular file"
        restored = checkpointer.restore({"x": jnp.ones(2)})
    assert restored.step == 1 and restored.state["x"].tolist() == [1.0, 1.0]
