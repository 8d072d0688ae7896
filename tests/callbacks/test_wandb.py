"""Weights & Biases, offline: what is written, going on with a run, failing, and doing without it."""

import importlib.util
import json
import pathlib
import struct
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from callbacks import Checkpoint, Scalars, Video, WandB
from pax import Callback, MetaTrainer
from pax.agents import Altruistic, Defect, EvilGreedy, Stay
from pax.callbacks.callback import CallbackError
from pax.checkpoints.policies import load_policy
from pax.config import base_config
from pax.envs import CoinGame, IteratedMatrixGame
from pax.errors import ConfigError
from pax.learners import Frozen
from pax.metrics.writers import metric_writers, read_metrics
from pax.roles import Role

ROOT = pathlib.Path(__file__).parents[2]
needs_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="wandb is not installed"
)
BLOCK, HEADER = 32768, 7


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def records(folder):
    """What a run has written, once it has ended: W&B's own process may take a moment longer than ours."""
    (path,) = folder.glob("*.wandb")
    for _ in range(200):
        found = parse(path.read_bytes())
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def parse(data):
    """The records of LevelDB's log format, each a protobuf message."""
    from wandb.proto import wandb_internal_pb2

    found, parts, at = [], [], HEADER
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # A block never ends with a part of a header.
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts.append(data[at + HEADER : at + HEADER + length])
        at += HEADER + length
        if at > len(data):
            break  # It is just being written.
        if kind in (1, 4):  # All of a record, or the last part of it.
            found.append(wandb_internal_pb2.Record.FromString(b"".join(parts)))
            parts = []
    return found


def history(folder):
    """The rows of a run, by step."""
    rows = {}
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            row = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items
            }
            rows[row.pop("_step")] = row
    return rows


def config(folder):
    """The settings of a run; later ones replace earlier ones."""
    found = {}
    for record in records(folder):
        kind = record.WhichOneof("record_type")
        if kind in ("run", "config"):
            update = record.run.config if kind == "run" else record.config
            for item in update.update:
                found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found


def folders(workdir):
    return sorted(workdir.joinpath("wandb").glob("offline-run-*"))


def make_trainer(workdir, *callbacks, env=None, agents=(Defect, Altruistic), num_iters=2):
    env = env or IteratedMatrixGame(4)
    roles = []
    for seat, cls in enumerate(agents):
        agent = cls.for_env(env, seat)
        learner = Frozen.of(agent.init(jax.random.key(0)))
        roles.append(Role(f"agent{seat + 1}", agent, (seat,), learner=learner))
    return MetaTrainer(
        env,
        roles,
        num_envs=2,
        num_iters=num_iters,
        chunk=1,
        callbacks=callbacks,
        default_callbacks=False,
        workdir=workdir,
    )


@needs_wandb
def test_a_run_is_written_and_gone_on_with(tmp_path, offline):
    about = {"group": "pairs", "name": "first", "job_type": "train", "tags": ("a", "b")}
    trainer = make_trainer(tmp_path, WandB(project="mine", **about), Scalars(every=1))
    trainer.fit()
    (first,) = folders(tmp_path)
    rows = history(first)
    assert sorted(rows) == [1, 2]
    # Defect against an altruist gets 0, who gets -3.
    assert rows[2]["train/reward_per_timestep/player_1"] == 0.0
    assert rows[2]["train/reward_per_timestep/player_2"] == -3.0
    # The same as elsewhere, but for what is undefined there.
    for row in read_metrics(tmp_path / "metrics.jsonl"):
        defined = {key: value for key, value in row.items() if value is not None}
        ours = {
            key: value for key, value in rows[defined.pop("iteration")].items() if key[0] != "_"
        }
        assert ours == defined
    (run,) = [r.run for r in records(first) if r.WhichOneof("record_type") == "run"][:1]
    assert (run.project, run.run_group, run.display_name) == ("mine", "pairs", "first")
    assert (run.job_type, list(run.tags)) == ("train", ["a", "b"])
    settings = config(first)
    assert settings["num_envs"] == 2
    assert settings["agent1"] == json.loads(json.dumps(trainer.hyperparameters["agent1"]))

    # Training goes on: another file there, of the same run.
    trainer.fit(3)
    (second,) = set(folders(tmp_path)) - {first}
    assert sorted(history(second)) == [3]
    # As does another process in the same folder, which has only that to tell.
    kept = (tmp_path / "wandb_run_id.txt").read_text()
    assert kept.strip() == run.run_id
    make_trainer(tmp_path, WandB()).fit(1)
    assert len(folders(tmp_path)) == 3
    assert all(run.run_id in path.name for path in folders(tmp_path))


@needs_wandb
def test_pictures_are_written(tmp_path, offline):
    env = CoinGame(num_inner_steps=3)
    trainer = make_trainer(
        tmp_path, WandB(), Video(every=1), env=env, agents=(EvilGreedy, Stay), num_iters=1
    )
    trainer.fit()
    (folder,) = folders(tmp_path)
    (video,) = history(folder)[1]["evaluation/as_trained/episode/videos"]
    kept = (folder / "files" / video["path"]).read_bytes()
    assert kept == (tmp_path / "videos" / "as_trained_000001.gif").read_bytes()


@needs_wandb
def test_the_writer_takes_what_the_others_take(tmp_path, offline):
    from PIL import Image

    from pax.metrics.wandb_writer import WandBWriter

    writer = WandBWriter("abc", tmp_path, project="p")
    assert isinstance(writer, metric_writers.MetricWriter)
    writer.write_hparams({"nested": {"sizes": (1, 2), "odd": {1}.__class__}})
    writer.write_scalars(5, {"a": np.float32(0.1), "nan": np.nan, "inf": np.inf})
    writer.write_scalars(5, {"b": 2})
    grey = np.linspace(0, 1, 6).reshape(2, 3, 1)
    writer.write_images(7, {"grey": grey, "two": np.zeros((2, 4, 4, 3), np.uint8)})
    # Of a step that has been, as a run that goes on writes it.
    writer.write_scalars(6, {"a": 9.0})
    with pytest.raises(ValueError, match="not a real number|shape"):
        writer.write_scalars(8, {"a": [1.0, 2.0]})
    writer.close()
    (folder,) = folders(tmp_path)
    rows = history(folder)
    assert sorted(rows) == [5, 7]
    assert {key: value for key, value in rows[5].items() if key[0] != "_"} == {"a": 0.1, "b": 2}
    assert config(folder)["nested"] == {"sizes": [1, 2], "odd": "<class 'set'>"}
    assert rows[7]["two/count"] == 2
    (path,) = rows[7]["grey/filenames"]
    with Image.open(folder / "files" / path) as image:
        np.testing.assert_array_equal(np.asarray(image), np.round(grey[..., 0] * 255))


@needs_wandb
def test_policies_are_written_as_an_artifact(tmp_path, offline):
    make_trainer(tmp_path, WandB(), Checkpoint(every=2)).fit()
    (folder,) = folders(tmp_path)
    (found,) = [
        record.request.log_artifact.artifact
        for record in records(folder)
        if record.WhichOneof("record_type") == "request"
    ] or [r.artifact for r in records(folder) if r.WhichOneof("record_type") == "artifact"]
    assert (found.type, sorted(found.aliases)) == ("policy", ["iteration-2", "latest"])
    kept = {entry.path: entry for entry in found.manifest.contents}
    assert sorted(kept) == ["agent1.msgpack", "agent2.msgpack"]
    (tmp_path / "policies" / "agent1.msgpack").unlink()
    # A copy, as the file may be replaced before it is sent.
    assert load_policy(kept["agent1.msgpack"].local_path).agent["agent"] == "Defect"


@needs_wandb
def test_a_run_that_fails_is_marked(tmp_path, offline):
    class Broken(Callback):
        def on_chunk_end(self, trainer, state, step, metrics):
            raise RuntimeError("broken")

    with pytest.raises(CallbackError):
        make_trainer(tmp_path, WandB(), Broken()).fit()
    (folder,) = folders(tmp_path)
    (end,) = [r.exit for r in records(folder) if r.WhichOneof("record_type") == "exit"]
    assert end.exit_code == 1


@needs_wandb
def test_what_keeps_it_from_beginning_is_said(tmp_path, monkeypatch):
    import wandb

    def fail(**settings):
        raise wandb.errors.UsageError("No API key\nconfigured.")

    monkeypatch.setattr(wandb, "login", lambda **settings: True)
    monkeypatch.setattr(wandb, "init", fail)
    message = (
        r"cannot be used \(No API key configured.\): type wandb login, or set WANDB_API_KEY, or"
    )
    with pytest.raises(ConfigError, match=message):
        make_trainer(tmp_path, WandB()).fit()


@needs_wandb
def test_a_project_or_mode_that_cannot_be_is_told_before_anything_is_made(
    tmp_path, offline, monkeypatch
):
    with pytest.raises(ConfigError, match=r"project is 'a/b' in WandB, and W&B refuses it \(.*'/'"):
        make_trainer(tmp_path / "run", WandB(project="a/b")).fit()
    monkeypatch.setenv("WANDB_MODE", "off")
    with pytest.raises(ConfigError, match=r"WANDB_MODE is 'off' in WandB, and W&B refuses it \(.*"):
        make_trainer(tmp_path / "run", WandB()).fit()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("leaves_a_folder", [False, True])
def test_a_missing_package_is_said_with_the_line_to_type(tmp_path, leaves_a_folder):
    # As it is without the package: nothing of that name is found, but for W&B's own folder.
    if leaves_a_folder:
        (tmp_path / "wandb").mkdir()
    hide = (
        "import importlib.util, sys; import pax.main; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: "
        f"{'importlib.machinery.ModuleSpec(name, None)' if leaves_a_folder else 'None'} "
        "if name == 'wandb' else find(name)\n"
        "pax.main.run()"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            hide,
            f"--config={ROOT}/configs/ipd.py:ppo,quicktest",
            "--config.callbacks.wandb.enabled=True",
            f"--workdir={tmp_path}/run",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: the callback WandB needs the package wandb, which is not installed: pip install -e "
        '".[wandb]"'
    )
    assert not (tmp_path / "run").exists()


def test_it_is_off_unless_asked_for():
    assert base_config().callbacks.wandb.enabled is False
    code = "import callbacks, pax.main, sys; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
