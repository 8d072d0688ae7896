"""The folder of a run: whose it is, what may lie in it, and what may change."""

import concurrent.futures
import json
import os
import pathlib
import threading

import pytest

from pax.errors import CheckpointError, ConfigError
from pax.evaluation.results import Results
from pax.run import files
from pax.run.directory import check_run, describe_differences, make_workdir, open_run, read_run
from pax.run.files import contents, make_new_folder, write_whole
from pax.run.locks import TRAINING_LOCK
from pax.run.status import read_status

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = {"seed": 0, "num_iters": 4, "chunk": 2, "callbacks": {"scalars": {"every": 2}}}


def begin(workdir, config=None):
    """A run that has reported something."""
    open_run(workdir, config or CONFIG, "ipd.py:ppo")
    (workdir / "metrics.jsonl").write_text('{"iteration": 2}\n')


@pytest.mark.parametrize(
    "left",
    [
        # By a kill while they were written: now, and by older versions.
        ".run.json.tmp",
        ".run.json",
        ".training.json",
        TRAINING_LOCK,
        # By others than us.
        ".gitkeep",
        ".DS_Store",
        "lost+found/",
    ],
)
def test_what_nobody_put_there_is_no_content(tmp_path, left):
    if left.endswith("/"):
        (tmp_path / left).mkdir()
    else:
        (tmp_path / left).write_text('{"conf')
    assert contents(tmp_path) == []
    open_run(tmp_path, CONFIG, "ipd.py:ppo")
    assert read_run(tmp_path)["config"] == CONFIG


@pytest.mark.parametrize("name", ["notes.md", ".bashrc", "data", "run.json.bak", ".gitkeep2"])
def test_what_somebody_put_there_is_content(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="is not empty and holds no run of Pax"):
        open_run(tmp_path, CONFIG, "ipd.py:ppo")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_kill_amid_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_whole(path, "old")

    class Killed(BaseException):
        pass

    def kill(*args):
        raise Killed

    monkeypatch.setattr(files.os, "replace", kill)
    with pytest.raises(Killed):
        write_whole(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert contents(tmp_path) == ["run.json"]
    write_whole(path, b"newer")
    assert path.read_text() == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_programs_that_start_together_get_folders_of_their_own(tmp_path):
    number = 8
    base = tmp_path / "exp" / "run"
    barrier = threading.Barrier(number)

    def make():
        barrier.wait(20)
        return str(make_new_folder(base))

    with concurrent.futures.ThreadPoolExecutor(number) as threads:
        made = [each.result(30) for each in [threads.submit(make) for _ in range(number)]]
    assert len(set(made)) == number
    assert sorted(made) == sorted(str(path) for path in base.parent.iterdir())


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "exp").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be made .*: name a folder .* with --workdir"):
        make_workdir(tmp_path / "exp" / "run")


def test_what_leaves_the_numbers_as_they_are_may_change_and_is_recorded(tmp_path):
    begin(tmp_path)
    started = read_run(tmp_path)["started"]
    longer = {**CONFIG, "num_iters": 8, "chunk": 4}
    open_run(tmp_path, longer, "ipd.py:ppo")
    other = {**longer, "callbacks": {"scalars": {"every": 4}, "video": {"every": 8}}}
    open_run(tmp_path, other, "ipd.py:ppo")
    # The same again changes nothing.
    before = (tmp_path / "run.json").read_bytes()
    open_run(tmp_path, other, "ipd.py:ppo")
    assert (tmp_path / "run.json").read_bytes() == before
    run = read_run(tmp_path)
    assert (run["config"], run["started"]) == (other, started)
    assert [entry["changes"] for entry in run["history"]] == [
        ["chunk: 2 -> 4", "num_iters: 4 -> 8"],
        ["callbacks.scalars.every: 2 -> 4", "callbacks.video.every: not set -> 8"],
    ]
    assert all(entry["time"] >= started and entry["command"] for entry in run["history"])


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"num_iters": 8, "num_seeds": 2}, "num_seeds: not set -> 2"),
        # Only whole names count.
        ({"callbacks_of_mine": 1}, "callbacks_of_mine: not set -> 1"),
    ],
)
def test_what_would_make_another_run_may_not_change(tmp_path, change, difference):
    begin(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    message = f"holds a run with another config \\({difference}\\)"
    for check in (
        lambda config: check_run(tmp_path, config),
        lambda config: open_run(tmp_path, config, "ipd.py:ppo"),
    ):
        with pytest.raises(ConfigError, match=message):
            check({**CONFIG, **change})
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_run_that_has_done_nothing_may_become_another(tmp_path):
    """A mistake that is found as late as in the first compilation does not cost the folder."""
    open_run(tmp_path, CONFIG, "ipd.py:ppo")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "metrics.jsonl").touch()
    other = {**CONFIG, "seed": 1}
    open_run(tmp_path, other, "ipd.py:ppo")
    run = read_run(tmp_path)
    assert run["config"] == other
    assert json.dumps(run["history"]).count("seed: 0 -> 1") == 1
    # What was saved belongs to a config.
    (tmp_path / "checkpoints" / "2").mkdir()
    with pytest.raises(ConfigError, match="another config"):
        open_run(tmp_path, CONFIG, "ipd.py:ppo")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("metrics.jsonl", "no regular file"),
        ("run.json", "no regular file"),
        ("training.json", "no regular file"),
        ("evaluation.jsonl", "no regular file"),
        ("checkpoints", "no folder"),
        ("policies", "no folder"),
    ],
)
def test_a_pipe_among_the_files_of_a_run_is_refused_unread(tmp_path, name, wrong):
    begin(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ConfigError, match=f"holds {name}, which is {wrong}: take it away"):
        open_run(tmp_path, CONFIG, "ipd.py:ppo")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    if name == "run.json":
        with pytest.raises(ConfigError, match="unreadable run.json .*no regular file"):
            read_run(tmp_path)
    if name == "training.json":
        assert read_status(tmp_path) is None
    if name == "evaluation.jsonl":
        with pytest.raises(CheckpointError, match="cannot be read .it is no regular file."):
            Results(tmp_path).rows()


CALLBACK = """
import pathlib
from pax import Callback

class Delete(Callback):
    def on_chunk_end(self, trainer, state, step, metrics):
        (pathlib.Path(trainer.workdir) / "run.json").unlink(missing_ok=True)
"""


def test_a_record_that_is_deleted_while_the_run_goes_on_is_written_anew(app, tmp_path):
    (tmp_path / "deleter.py").write_text(CALLBACK)
    command = [
        f"--config={ROOT}/configs/ipd.py:tabular,quicktest",
        *("--config.num_iters=2", "--config.chunk=2", f"--workdir={tmp_path / 'run'}"),
        "--config.extra_callbacks=('deleter.Delete',)",
    ]
    for _ in range(2):
        done = app(*command, cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert "run.json in" in done.stderr or "Nothing was left to do" in done.stdout
        assert read_run(tmp_path / "run")["config"]["num_iters"] == 2


@pytest.mark.parametrize(
    ("old", "new", "differences"),
    [
        ({}, {"shuffled_seats": {}}, ["tasks.shuffled_seats: not set -> {}"]),
        ({"shuffled_seats": {}}, {}, ["tasks.shuffled_seats: {} -> not set"]),
        ({}, {"hard_stop": {"at": 2}}, ["tasks.hard_stop.at: not set -> 2"]),
        ({"hard_stop": {}}, {"hard_stop": {}}, []),
    ],
)
def test_a_task_without_settings_is_a_difference_too(old, new, differences):
    assert describe_differences({"tasks": old}, {"tasks": new}) == differences
