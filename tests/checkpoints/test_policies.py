"""Tests of exported policies."""

import os
import struct
import zlib

import flax.serialization
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.checkpoints.policies import load_policy, save_policy
from pax.errors import CheckpointError

AGENT = {"type": "pax.agents.ppo:PPO", "hidden_size": 16, "clip": 0.2, "sizes": [1, 2], "x": None}


@flax.struct.dataclass
class Params:
    table: jax.Array
    layers: tuple


def arrays():
    return {
        "params": {
            "dense": {"kernel": jnp.arange(6.0).reshape(2, 3) / 7, "bias": jnp.array([-0.0] * 3)},
            "half": jnp.array([1.5, -2.25], jnp.bfloat16),
            "count": jnp.int32(7),
            "mask": np.array([True, False]),
            "nothing": jnp.zeros((3, 0)),
        },
        "empty": {},
    }


def assert_same_bits(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "policies" / "shaper.policy"
    save_policy(path, agent=AGENT, params=arrays())
    return path


def test_round_trip(path):
    policy = load_policy(path)
    assert policy.agent == AGENT
    assert_same_bits(policy.params, arrays())
    assert_same_bits(load_policy(path, like=jax.eval_shape(arrays)).params, arrays())


def test_a_policy_in_the_home_directory_is_found(path, monkeypatch):
    """Shells leave `~` as it is within `--config.agent1.path=~/policy`."""
    monkeypatch.setenv("HOME", str(path.parents[1]))
    assert load_policy("~/policies/shaper.policy").agent == AGENT


@pytest.mark.parametrize(
    ("folder", "remedy"),
    [("run", "one of its policies, such as policies/a.msgpack"), ("run/empty", "a file")],
)
def test_a_folder_is_no_policy(tmp_path, folder, remedy):
    for name in "ab":
        save_policy(tmp_path / "run/policies" / f"{name}.msgpack", agent=AGENT, params=arrays())
    (tmp_path / "run/empty").mkdir()
    with pytest.raises(CheckpointError) as told:
        load_policy(tmp_path / folder)
    assert str(told.value) == f"{tmp_path / folder} is a folder, and no policy: give {remedy}."


def test_other_containers_come_back_with_like(tmp_path):
    params = Params(jnp.arange(3), (jnp.ones(2), [jnp.zeros(1)]))
    save_policy(tmp_path / "p", agent={}, params=params)
    assert set(load_policy(tmp_path / "p").params) == {"table", "layers"}
    restored = load_policy(tmp_path / "p", like=params).params
    assert isinstance(restored, Params)
    assert_same_bits(restored, params)


def test_parameters_may_be_one_array(tmp_path):
    save_policy(tmp_path / "p", agent={}, params=jnp.arange(3.0))
    for like in (None, jnp.zeros(3), jax.ShapeDtypeStruct((3,), np.float32)):
        assert_same_bits(load_policy(tmp_path / "p", like=like).params, jnp.array([0.0, 1.0, 2.0]))
    with pytest.raises(CheckpointError, match=r"params is float32\[3\], expected float32\[4\]"):
        load_policy(tmp_path / "p", like=jnp.zeros(4))


def test_like_that_does_not_fit(path):
    like = arrays()
    like["params"]["dense"]["kernel"] = jnp.zeros((2, 4))
    with pytest.raises(CheckpointError) as e:
        load_policy(path, like=like)
    assert "params['params']['dense']['kernel'] is float32[2, 3], expected float32[2, 4]" in str(
        e.value
    )


def test_overwriting_is_atomic_and_leaves_nothing_behind(path, monkeypatch):
    save_policy(path, agent={"type": "new"}, params={"w": jnp.ones(1)})
    assert load_policy(path).agent == {"type": "new"}

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        save_policy(path, agent={}, params={})
    assert load_policy(path).agent == {"type": "new"}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=f"no policy file {tmp_path}/none"):
        load_policy(tmp_path / "none")
    with pytest.raises(CheckpointError, match="is a folder, and no policy"):
        load_policy(tmp_path)


def test_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_policy(tmp_path / "file" / "p", agent={}, params={})


@pytest.mark.parametrize("content", [b"", b"PAX", b'{"json": 1}', b"\x80\x04pickle" * 100])
def test_not_a_policy_file(tmp_path, content):
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a policy file"):
        load_policy(tmp_path / "p")


@pytest.mark.parametrize("length", [8, 15, 24, 25, 200, -1])
def test_truncated_file(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="truncated"):
        load_policy(path)


def test_damaged_file(path):
    data = path.read_bytes()
    for position in (16, 24, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"damaged|truncated"):
            load_policy(path)
    path.write_bytes(data + b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        load_policy(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        [1, 2],
        {},
        {"agent": "{}"},
        {"params": {}},
        {"agent": "{", "params": {}},
        {"agent": "[]", "params": {}},
        {"agent": 3, "params": {}},
        {"agent": "{}", "params": 3},
        {"agent": "{}", "params": {"kernel": "text"}},
        {"agent": "{}", "params": {"kernel": {"deep": 1.5}}},
    ],
)
def test_an_intact_file_of_something_else(path, content):
    if not isinstance(content, bytes):
        content = flax.serialization.msgpack_serialize(content)
    # The header of docs/design.md: magic, format, CRC-32 and length of what follows.
    header = struct.pack("<8sIIQ", b"PAX-POL\n", 1, zlib.crc32(content), len(content))
    path.write_bytes(header + content)
    for like in (None, arrays()):
        with pytest.raises(
            CheckpointError, match="shaper.policy holds no policy .*: give a file"
        ) as e:
            load_policy(path, like=like)
        assert "\n" not in str(e.value)


def test_other_format(path):
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"format 2.*reads format 1"):
        load_policy(path)


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(CheckpointError, match="JSON"):
        save_policy(tmp_path / "p", agent={"lr": jnp.ones(())}, params={})
    with pytest.raises(CheckpointError, match=r"params\['key'\]"):
        save_policy(tmp_path / "p", agent={}, params={"key": jax.random.key(0)})
    with pytest.raises(CheckpointError, match=r"params\['f'\].*builtin"):
        save_policy(tmp_path / "p", agent={}, params={"f": len})
    assert list(tmp_path.iterdir()) == []


def test_a_policy_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(
            CheckpointError,
            match="cannot be read.*it is no regular file|is a folder, and no policy",
        ):
            load_policy(path)
