"""Runs on buckets, which fsspec's memory and files stand for: what is uploaded, fetched, and refused."""

import json
import pathlib
import shutil
import sys

import fsspec
import numpy as np
import pytest
from absl import logging
from etils import epath

import pax
from pax import Callback, MetaTrainer
from pax.agents import Defect, Tabular, TitForTat
from pax.callbacks import Checkpoint, Scalars
from pax.callbacks.callback import CallbackError
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError, MissingLibraryError, OutputError
from pax.metrics.writers import read_metrics
from pax.run import remote, staging
from pax.run.remote import Remote
from pax.run.staging import Staging
from pax.run.status import read_status
from tests.programs import sharing

MEMORY = fsspec.filesystem("memory")


@pytest.fixture(autouse=True)
def bucket(tmp_path, monkeypatch):
    """An empty bucket in memory, a cache of its own, and no waiting."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(staging, "SECONDS_BETWEEN_TRIES", (0.0, 0.0))
    MEMORY.store.clear()
    yield "memory://bucket/run"
    MEMORY.store.clear()


def names(url="memory://bucket/run"):
    fs, root = fsspec.core.url_to_fs(url)
    return {path[len(root) + 1 :] for path in fs.find(root)}


def another_machine(monkeypatch, tmp_path, name="other"):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def make_trainer(url, *callbacks, every=2):
    env = IteratedMatrixGame(num_inner_steps=4)
    trainer = MetaTrainer(
        env,
        [Tabular.for_env(env), TitForTat.for_env(env, seat=1)],
        num_envs=5,
        num_iters=4,
        chunk=2,
        callbacks=[*callbacks, Scalars(every=2), Checkpoint(every=every)],
        quiet=True,
        workdir=url,
    )
    return sharing(trainer, "staging")


def fill(folder: pathlib.Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_run_goes_on_from_the_bucket_on_another_machine(bucket, tmp_path, monkeypatch):
    whole = make_trainer(tmp_path / "here")
    whole.fit(6)
    make_trainer(bucket).fit()
    first = names()
    assert {"metrics.jsonl", "training.json", "policies/agent1.msgpack"} <= first
    assert {"checkpoints/2/checksums.json", "checkpoints/4/checksums.json"} <= first
    assert not any("lock" in name or "tmp" in name for name in first)

    another_machine(monkeypatch, tmp_path)
    trainer = make_trainer(bucket)
    trainer.fit(6)
    assert (trainer.first_step, trainer.step) == (4, 6)
    # The latest two, and the best, are kept there as they are here.
    kept = {path.name for path in (trainer.workdir / "checkpoints").iterdir()}
    assert {name.split("/")[1] for name in names() if name.startswith("checkpoints/")} == kept
    # Bit for bit what a run of this machine would be.
    ours, theirs = whole.agent().state, pax.load_agent(bucket).state
    assert (
        np.asarray(ours.params["table"]).tobytes() == np.asarray(theirs.params["table"]).tobytes()
    )
    reported = [
        {key: row[key] for key in row if key.startswith("train/")} for row in read_metrics(bucket)
    ]
    assert reported == [
        {key: row[key] for key in row if key.startswith("train/")}
        for row in read_metrics(whole.workdir)
    ]
    assert [row["iteration"] for row in read_metrics(bucket)] == [2, 4, 6]
    assert json.loads(MEMORY.cat_file("/bucket/run/training.json"))["state"] == "done"
    # Without a fit, a trainer reads what is there now.
    another_machine(monkeypatch, tmp_path, "third")
    reader = make_trainer(bucket)
    assert reader.history["iteration"].tolist() == [2, 4, 6]
    assert reader.restore() and reader.step == 6


def test_a_run_that_is_killed_goes_on_from_what_was_uploaded(bucket, tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    class Kill(Callback):
        every = 2
        priority = 110

        def on_chunk_end(self, trainer, state, step, metrics):
            trainer.checkpointer.wait()
            trainer._folder._staging.push()
            if step == 2:
                # What the process does from now on never reaches the bucket.
                monkeypatch.setattr(Remote, "write", broken)
                raise KilledError

    def broken(self, path, data):
        raise ConfigError("gone")

    write = Remote.write
    with pytest.raises(CallbackError):
        make_trainer(bucket, Kill()).fit()
    monkeypatch.setattr(Remote, "write", write)
    # On this machine it goes on with what is here.
    assert "checkpoints/2/checksums.json" in names()
    shutil.rmtree(tmp_path / "cache")
    trainer = make_trainer(bucket)
    trainer.fit()
    assert (trainer.first_step, trainer.step) == (2, 4)
    assert [row["iteration"] for row in read_metrics(bucket)] == [2, 4]


def test_an_upload_that_fails_midway_leaves_a_whole_run_there_and_all_of_it_here(
    bucket, tmp_path, monkeypatch
):
    make_trainer(bucket).fit(2)
    write, written = Remote.write, []

    def broken(self, path, data):
        written.append(path)
        if path.startswith("checkpoints/4/state"):
            raise ConfigError(f"workdir is {self.url}, which cannot be written (it is full)")
        write(self, path, data)

    monkeypatch.setattr(Remote, "write", broken)
    trainer = make_trainer(bucket)
    with pytest.raises(OutputError, match=r"could not be uploaded: .* it is in .*, and the same"):
        trainer.fit()
    assert trainer.step == 4  # Training has gone on to its end.
    assert "checkpoints/4/checksums.json" not in names()
    assert json.loads(MEMORY.cat_file("/bucket/run/training.json"))["iteration"] == 2
    monkeypatch.setattr(Remote, "write", write)
    # Elsewhere, the run goes on from the last checkpoint that is whole.
    with monkeypatch.context() as patch:
        another_machine(patch, tmp_path)
        reader = make_trainer(bucket)
        assert reader.restore() and reader.step == 2
    # Here nothing is lost: the same command uploads it.
    again = make_trainer(bucket)
    again.fit()
    assert (again.first_step, again.step) == (4, 4)
    assert "checkpoints/4/checksums.json" in names()
    assert read_status(again.workdir).state == "done"


def test_training_goes_on_while_the_bucket_is_away_and_says_so_once(bucket, monkeypatch):
    stage = Staging("workdir", bucket)
    stage.open()
    monkeypatch.setattr(staging, "SECONDS_BETWEEN_UPLOADS", 0.01)
    told = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: told.append(text % args))
    fill(stage.folder, a="1")
    stage.begin()
    read = Remote.read

    def away(self, path=""):
        raise ConfigError("away")

    monkeypatch.setattr(Remote, "read", away)
    for _ in range(500):
        if told:
            break
        staging.time.sleep(0.01)
    staging.time.sleep(0.1)
    assert len(told) == 1 and told[0].startswith("away. Training goes on in ")
    monkeypatch.setattr(Remote, "read", read)
    stage.close()
    assert names() == {"a", ".owner.json"}


def test_who_begins_last_has_the_folder_and_the_other_stops(bucket, tmp_path, monkeypatch):
    first = Staging("workdir", bucket)
    first.open()
    first.begin()
    fill(first.folder, a="first")
    first.push()
    another_machine(monkeypatch, tmp_path)
    second = Staging("workdir", bucket)
    second.open()
    assert (second.folder / "a").read_text() == "first"
    second.begin()
    fill(first.folder, a="first again", **{"metrics.jsonl": "{}"})
    with pytest.raises(OutputError, match="process .* trains in memory://bucket/run since .*"):
        first.push()
    with pytest.raises(OutputError, match="so this run stopped"):
        first.check()
    first.close(is_failing=True)
    fill(second.folder, b="second")
    second.close()
    assert names() == {"a", "b", ".owner.json"}
    assert MEMORY.cat_file("/bucket/run/a") == b"first"
    # Back on the first machine: what is there counts, and what never got there is kept.
    another_machine(monkeypatch, tmp_path, "cache")
    back = Staging("workdir", bucket)
    back.open()
    assert (back.folder / "b").read_text() == "second"
    assert (back.folder.with_name("run.old") / "a").read_text() == "first again"
    back.close()


def test_a_second_process_of_this_machine_is_refused(bucket):
    stage = Staging("workdir", bucket)
    stage.open()
    with pytest.raises(OutputError, match=r"memory://bucket/run is in use: another part of this"):
        Staging("workdir", "memory://bucket/run/").open()
    stage.close()
    Staging("workdir", bucket).open()


def test_files_are_deleted_there_as_here_and_those_of_others_stay(bucket):
    MEMORY.pipe_file("/bucket/run/theirs", b"1")
    with pytest.raises(ConfigError, match=f"workdir {bucket} is not empty and holds no run of Pax"):
        Staging("workdir", bucket).open()
    MEMORY.pipe_file("/bucket/run/training.json", b"{}")
    stage = Staging("workdir", bucket)
    stage.open()
    stage.begin()
    fill(stage.folder, a="1", checkpoints__1__checksums="no name of ours")
    fill(stage.folder / "checkpoints" / "2", **{"state__x": "2"})
    stage.push()
    # A checkpoint without checksums is none.
    assert names() == {"theirs", "training.json", "a", ".owner.json"}
    fill(stage.folder / "checkpoints" / "2", **{"checksums.json": "{}"})
    MEMORY.pipe_file("/bucket/run/evaluation.jsonl", b"{}")
    stage.push()
    assert {"checkpoints/2/state/x", "checkpoints/2/checksums.json"} < names()
    shutil.rmtree(stage.folder / "checkpoints")
    (stage.folder / "a").unlink()
    stage.close()
    assert names() == {"theirs", "training.json", "evaluation.jsonl", ".owner.json"}


def test_a_checkpoint_that_is_replaced_is_none_until_all_of_it_is_there(bucket, monkeypatch):
    stage = Staging("workdir", bucket)
    stage.open()
    stage.begin()
    own = stage.folder / "checkpoints" / "2"
    fill(own, **{"state__x": "old", "checksums.json": "old"})
    stage.push()
    shutil.rmtree(own)
    fill(own, **{"state__x": "newer", "checksums.json": "newer"})
    write = Remote.write

    def checked(self, path, data):
        assert path == ".owner.json" or "checkpoints/2/checksums.json" not in names()
        write(self, path, data)

    monkeypatch.setattr(Remote, "write", checked)
    stage.close()
    assert MEMORY.cat_file("/bucket/run/checkpoints/2/checksums.json") == b"newer"


def test_a_folder_that_is_deleted_there_is_told_and_kept_here(bucket):
    stage = Staging("workdir", bucket)
    stage.open()
    stage.begin()
    fill(stage.folder, a="1", **{"metrics.jsonl": "{}"})
    stage.push()
    MEMORY.rm("/bucket/run", recursive=True)
    with pytest.raises(OutputError, match="was deleted while this run wrote to it"):
        stage.push()
    stage.close(is_failing=True)
    again = Staging("workdir", bucket)
    again.open()
    assert not list(again.folder.iterdir())
    assert (again.folder.with_name("run.old") / "a").read_text() == "1"
    # Of a run that came to nothing, nothing is kept.
    again.begin()
    fill(again.folder, a="2")
    again.close()
    MEMORY.rm("/bucket/run", recursive=True)
    Staging("workdir", bucket).refresh()
    assert sorted(path.name for path in again.folder.parent.glob("run*")) == ["run", "run.old"]


def test_a_cache_that_is_deleted_takes_nothing_away_there(bucket, tmp_path):
    stage = Staging("workdir", bucket)
    stage.open()
    stage.begin()
    fill(stage.folder, a="1", b="2")
    stage.push()
    before = names()
    (stage.folder / "a").unlink()
    # It is in the middle of being deleted, say.
    stage.push()
    assert names() == before
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(OutputError, match="was deleted or moved, so nothing is uploaded"):
        stage.push()
    with pytest.raises(OutputError, match="was deleted or moved"):
        stage.close()
    assert names() == before


def test_urls_may_be_paths_of_etils_and_are_none_of_pathlib(tmp_path, monkeypatch):
    url = remote.is_url(epath.Path("gs://bucket/run"))
    assert url and not remote.is_url(pathlib.Path("gs://bucket/run"))
    with pytest.raises(ConfigError, match="workdir is gs:/bucket/run: give the URL as text"):
        make_trainer(pathlib.Path("gs://bucket/run"))
    with pytest.raises(ConfigError, match="workdir is file:/tmp/run: give the URL as text"):
        make_trainer("file:/tmp/run")


def test_names_on_a_bucket_do_not_leave_the_folder(bucket, tmp_path, monkeypatch):
    found = {
        "/bucket/run/a": {"size": 1, "type": "file"},
        "/bucket/run/../../evil": {"size": 1, "type": "file"},
        "/bucket/run/b/../../../evil": {"size": 1, "type": "file"},
    }
    monkeypatch.setattr(type(MEMORY), "find", lambda self, path, detail: found)
    assert set(Remote("workdir", bucket).listing()) == {"a"}


def test_local_files_are_a_bucket_too(tmp_path):
    url = f"file://{tmp_path}/there/run"
    make_trainer(url).fit(2)
    shutil.rmtree(tmp_path / "cache")
    trainer = make_trainer(url)
    trainer.fit()
    assert trainer.first_step == 2
    assert (tmp_path / "there" / "run" / "checkpoints" / "4" / "checksums.json").exists()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nope://bucket/run", "workdir is nope://bucket/run: nope:// is not supported, give a"),
        ("http://host/run", "http:// is not supported"),
        ("memory://", "workdir is memory://: give a bucket and a folder in it"),
        ("memory://bucket/../run", "give the path without .. in it"),
        ("memory://a::memory://b", "give a bucket and a folder in it"),
    ],
)
def test_urls_that_are_none_are_refused_before_anything_is_made(tmp_path, url, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make_trainer(url)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("protocol", "package"), [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, protocol, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(
        MissingLibraryError, match=f"needs the package {package}: pip install {package}"
    ):
        make_trainer(f"{protocol}://bucket/run")
    assert not list(tmp_path.iterdir())


def test_a_bucket_that_cannot_be_reached_is_told_before_anything_compiles(
    bucket, tmp_path, monkeypatch
):
    def refuse(self, *args, **kwargs):
        raise PermissionError("Anonymous caller does not have access")

    trainer = make_trainer(bucket)
    trainer._compiled = None  # Nothing can be compiled.
    monkeypatch.setattr(type(MEMORY), "find", refuse)
    with pytest.raises(
        ConfigError, match=r"workdir is memory://.* cannot be read \(PermissionError: Anonymous"
    ):
        trainer.fit()
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(type(MEMORY), "find", lambda *args, **kwargs: staging.time.sleep(1))
    monkeypatch.setattr(remote, "SECONDS_TO_REACH", 0.01)
    with pytest.raises(ConfigError, match=r"did not answer within 0.01 s: check the network"):
        trainer.fit()
    assert not list(tmp_path.iterdir())


def test_a_bucket_that_cannot_be_written_is_told_before_anything_compiles(bucket, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError("read only")

    trainer = make_trainer(bucket)
    trainer._compiled = None
    monkeypatch.setattr(type(MEMORY), "pipe_file", refuse)
    with pytest.raises(ConfigError, match=r"cannot be written \(PermissionError: read only\)"):
        trainer.fit()


def test_a_trainer_does_not_go_on_where_others_went_on(bucket, tmp_path, monkeypatch):
    trainer = make_trainer(bucket)
    trainer.fit(2)
    with monkeypatch.context() as patch:
        another_machine(patch, tmp_path)
        make_trainer(bucket).fit(4)
    with pytest.raises(OutputError, match="was changed by others since this trainer wrote to it"):
        trainer.fit(6)


def test_policies_exported_by_hand_get_there(bucket):
    trainer = make_trainer(bucket)
    trainer.fit(2)
    trainer.export_policies("two")
    assert "policies/two/agent1.msgpack" in names()
    player = pax.load_agent(f"{bucket}/policies/two/agent1.msgpack")
    assert player.name == "agent1"
    env = trainer.env
    evaluated = trainer.evaluate({"agent2": Defect.for_env(env, seat=1)})
    assert np.isfinite(evaluated["opponents"]["reward_per_timestep/player_1"])
    with pytest.raises(ConfigError, match="memory://bucket/none, and there is nothing"):
        pax.load_agent("memory://bucket/none")
    with pytest.raises(ConfigError, match="policies/no.msgpack, and there is nothing"):
        pax.load_agent(f"{bucket}/policies/no.msgpack")
