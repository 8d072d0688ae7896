"""Runs on buckets are read as those of this machine: evaluated, followed, reported, played against."""

import json

import fsspec
import pytest

from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.config.recorded import todays
from pax.errors import ConfigError
from pax.evaluation.job import evaluate_checkpoint, follow, kept_alike
from pax.evaluation.players import find_policies
from pax.report.data import read_runs
from pax.run.directory import open_run
from pax.run.remote import Copy, named_by

MEMORY = fsspec.filesystem("memory")
URL = "memory://bucket/exp/run"
NAME = "configs/ipd.py:tabular,quicktest"


@pytest.fixture(scope="module", autouse=True)
def run(tmp_path_factory):
    """The files of a run that another machine has trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("theirs")))
        config = load_config(NAME)
        trainer = build_trainer(config, URL)
        with trainer.claim():
            open_run(trainer.workdir, config.to_dict(), NAME, {}, todays)
            trainer.fit()
    return dict(MEMORY.store)


@pytest.fixture(autouse=True)
def cache(run, tmp_path, monkeypatch):
    """Has the bucket as it was then, and nothing of it on this machine."""
    MEMORY.store.clear()
    MEMORY.store.update(run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "ours"))
    yield
    MEMORY.store.clear()


def test_they_are_evaluated_reported_and_played_against(capsys):
    copy = Copy("workdir", URL)
    with kept_alike(copy):
        evaluate_checkpoint(copy.path, names=["defect"])
    rows = MEMORY.cat_file("/bucket/exp/run/evaluation.jsonl").decode().splitlines()
    assert [(row["iteration"], row["evaluation"]) for row in map(json.loads, rows)] == [
        (4, "defect")
    ]
    # What was evaluated is not evaluated again, and the rest is.
    follow(copy.path, poll_seconds=0.01, copy=copy)
    assert "Training ended at iteration 4. Evaluated 2 checkpoints" in capsys.readouterr().out
    rows = MEMORY.cat_file("/bucket/exp/run/evaluation.jsonl").decode().splitlines()
    found = sorted((row["iteration"], row["evaluation"]) for row in map(json.loads, rows))
    assert found == [(step, name) for step in (2, 4) for name in ("as_trained", "defect")]
    assert MEMORY.glob("/bucket/exp/run/evaluation/events*")

    (read,), problems = read_runs([URL])
    assert not problems and read.path.name == "run" and max(read.rows) == 4
    _, problems = read_runs(["memory://bucket/none"])
    assert problems == [
        "the run is memory://bucket/none, and there is nothing: check the path",
    ]
    # The copies are not what somebody has named.
    (problem,) = read_runs(["memory://bucket/exp"])[1]
    assert problem.startswith("memory://bucket/exp holds no run of Pax: ")
    (error,) = find_policies(["memory://bucket/exp"])[1]
    assert str(error).startswith("memory://bucket/exp holds no ")
    (policy,), errors = find_policies([f"{URL}/policies/agent1.msgpack"])
    assert not errors and policy.config["env"]["type"] == "IteratedMatrixGame"
    (same,), errors = find_policies([URL])
    assert not errors and same.path.read_bytes() == policy.path.read_bytes()
    # For these nothing else was fetched.
    assert not list(policy.path.parents[1].glob("events*"))


def test_another_config_is_refused_with_the_name_of_the_bucket():
    config = load_config(NAME)
    config.num_envs = 50
    trainer = build_trainer(config, URL)
    before = dict(MEMORY.store)
    with (
        pytest.raises(ConfigError, match=f"workdir {URL} holds a run with another config"),
        trainer.claim(),
        named_by(trainer.workdir, trainer.url),
    ):
        open_run(trainer.workdir, config.to_dict(), NAME, {}, todays)
    assert MEMORY.store == before


def test_a_policy_on_a_bucket_is_where_a_role_begins():
    config = load_config(NAME)
    config.agent1.path = f"{URL}/policies/agent1.msgpack"
    build_trainer(config, None)
    config.agent1.path = f"{URL}/policies/agent3.msgpack"
    with pytest.raises(ConfigError, match=r"agent1\.path: path is memory://.*, and there is nothi"):
        build_trainer(config, None)
