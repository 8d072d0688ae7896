"""Runs that a signal stops, or that are done, and go on: they end as one that was never stopped."""

import errno
import gc
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from callbacks import Checkpoint, EarlyStop, Evaluation, Pictures, Scalars
from pax import Callback, MetaTrainer
from pax.agents import AGENTS
from pax.checkpoints.reader import CHECKPOINTS, CheckpointReader
from pax.envs import IteratedMatrixGame
from pax.errors import CheckpointError, ConfigError, OutputError
from pax.metrics.writers import METRICS_FILE, read_metrics
from pax.roles import Role
from pax.run.locks import TRAINING_LOCK
from pax.run.status import read_status
from tests.programs import sharing
from tests.run.files import events, policies, rows

pytestmark = pytest.mark.usefixtures("signals_received")

ROOT = pathlib.Path(__file__).parents[2]
ENV = IteratedMatrixGame(num_inner_steps=4)
REWARD = "train/reward_per_timestep/player_1"


class Signal(Callback):
    """Sends this process a signal at a step, from its place among the others."""

    name = "Signal"

    def __init__(self, priority=30, at=None):
        self.priority = priority
        self._at = at

    def on_chunk_end(self, trainer, state, step, metrics):
        if step == self._at:
            os.kill(os.getpid(), signal.SIGTERM)


def make_trainer(workdir, *more, num_iters=14, patience=5, every=4):
    learner = AGENTS["Tabular"].for_env(ENV, 0, num_epochs=1, num_minibatches=2)
    trainer = MetaTrainer(
        ENV,
        [learner, AGENTS["TitForTat"].for_env(ENV, 1)],
        num_envs=4,
        num_iters=num_iters,
        chunk=2,
        evaluations={"defect": {"agent2": Role("agent2", AGENTS["Defect"].for_env(ENV, 1), (1,))}},
        callbacks=[
            Scalars(every=2, each_iteration=True),
            Evaluation(every=4),
            # Not as often as anything is saved, and once more where nobody else looks.
            Pictures(every=6),
            EarlyStop(REWARD, threshold=-100.0, patience=patience, every=2),
            Checkpoint(every=every, keep_latest=3),
            *more,
        ],
        default_callbacks=False,
        workdir=workdir,
    )
    return sharing(trainer, "test_resume")


def assert_same(workdir, other):
    assert rows(workdir) == rows(other)
    shown, expected = events(workdir), events(other)
    assert shown.keys() == expected.keys()
    for tag in expected:
        assert shown[tag] == expected[tag], tag
    assert policies(workdir) == policies(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that early stopping ended after five looks, at iteration 10."""
    workdir = tmp_path_factory.mktemp("whole")
    trainer = make_trainer(workdir)
    trainer.fit()
    assert (trainer.step, trainer.is_done) == (10, True)
    assert len(rows(workdir)) == 10
    # Pictures at 6, and at the last iteration.
    tags = [tag for tag in events(workdir) if tag.startswith("updates/")]
    assert tags and [step for step, _ in events(workdir)[tags[0]]] == [6, 10]
    return workdir


# Before anything is reported; before the evaluation; between early stopping and the checkpoint. Where nothing
# but scalars is due; where all is; where it ends.
@pytest.mark.parametrize(
    ("priority", "at"),
    [
        (40, 8),
        (-20, 10),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((-20, 2), (95, 4), (95, 10))),
    ],
)
def test_a_signal_changes_nothing_that_is_reported(tmp_path, whole, priority, at):
    stopped = make_trainer(tmp_path, Signal(priority, at))
    stopped.fit(pass_on_signals=False)
    if (priority, at) == (95, 10):
        # It came when all was done but saving.
        assert stopped.is_done
    else:
        assert (stopped.step, stopped.stop_reason) == (at, "SIGTERM")
        assert read_status(tmp_path).state == "stopped"
        assert (tmp_path / "checkpoints" / str(at)).is_dir()
        # What a run that is not stopped does not report is not reported either.
        assert rows(tmp_path) == [
            row for row in map(_without_evaluation(rows(tmp_path)), rows(whole)[:at])
        ]
    resumed = make_trainer(tmp_path, Signal(priority))
    resumed.fit()
    assert (resumed.step, resumed.is_done) == (10, True)
    assert_same(tmp_path, whole)


def _without_evaluation(found):
    """Takes what is evaluated away from the last of the rows, if it was not found there."""
    last = json.loads(found[-1])

    def take(line):
        row = json.loads(line)
        if row["iteration"] == last["iteration"]:
            row = {key: row[key] for key in row if key in last or "evaluation/" not in key}
        return json.dumps(row)

    return take


def test_what_is_saved_at_a_signal_is_saved_before_it_is_evaluated(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, Signal(40, at=4))
    monkeypatch.setattr(
        trainer, "evaluate", lambda **_: pytest.fail("evaluated before it was saved")
    )
    trainer.fit(pass_on_signals=False)
    assert (tmp_path / "checkpoints" / "4").is_dir()


def test_a_signal_during_an_evaluation_puts_the_rest_of_it_off(tmp_path, monkeypatch, whole):
    trainer = make_trainer(tmp_path)
    evaluate, calls = trainer.evaluate, []

    def slow(names):
        calls.append((trainer.step, *names))
        if trainer.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(names=names)

    monkeypatch.setattr(MetaTrainer, "evaluations", ("defect", "defect"))
    monkeypatch.setattr(trainer, "evaluate", slow)
    trainer.fit(pass_on_signals=False)
    monkeypatch.undo()
    assert (calls, trainer.step) == ([(4, "defect")], 4)
    assert "evaluation" not in rows(tmp_path)[-1]
    make_trainer(tmp_path).fit()
    assert_same(tmp_path, whole)


def test_a_run_that_ended_early_is_done_until_it_is_asked_for_more(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    run = tmp_path / "run"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.tfevents.*")}
    last = read_metrics(run / METRICS_FILE)[-1]
    for _ in range(2):
        again = make_trainer(run)
        metrics = again.fit()
        assert (again.first_step, again.step) == (10, 10)
        assert again.stop_reason == f"{REWARD} reached -100 5 times in a row"
        # The metrics of the last iteration, as they were reported.
        assert metrics[REWARD] == pytest.approx(last[REWARD], rel=1e-6)
        assert read_status(run).state == "done"
    assert rows(run) == rows(whole)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.tfevents.*")} == before

    # Two more good looks were to be had.
    patient = make_trainer(run, patience=7)
    patient.fit()
    assert (patient.first_step, patient.step) == (10, 14)

    shutil.copytree(whole, tmp_path / "longer")
    longer = make_trainer(tmp_path / "longer", num_iters=16)
    longer.fit()
    assert (longer.first_step, longer.step) == (10, 16)


def test_a_run_that_another_callback_ended_is_done(tmp_path):
    class Enough(Callback):
        # After it was saved.
        priority = 150

        def __init__(self, at):
            self.at = at

        def on_chunk_end(self, trainer, state, step, metrics):
            if step >= self.at:
                trainer.request_stop("enough")

    for _ in range(2):
        trainer = make_trainer(tmp_path, Enough(4))
        trainer.fit()
        assert (trainer.step, trainer.stop_reason) == (4, "enough")
    trainer = make_trainer(tmp_path, Enough(6))
    trainer.fit()
    assert (trainer.step, trainer.stop_reason) == (6, "enough")


def test_what_is_trained_for_longer_ends_as_if_it_had_been_asked_for_at_once(tmp_path):
    """Also where the first part ends between two chunks: those after it begin where they would."""
    once, twice = tmp_path / "once", tmp_path / "twice"
    make_trainer(once, num_iters=8, patience=100).fit()
    make_trainer(twice, num_iters=3, patience=100).fit()
    make_trainer(twice, num_iters=8, patience=100).fit()
    # The last iteration is always evaluated, and reported with its chunk.
    keys = ("iteration", REWARD, "train/agent1/loss_total")
    of_both = [[[row[k] for k in keys] for row in map(json.loads, rows(w))] for w in (once, twice)]
    assert of_both[0] == of_both[1]
    assert policies(once) == policies(twice)


# The lock.


def test_two_trainers_of_one_process_do_not_share_a_folder(tmp_path):
    inner = make_trainer(tmp_path)
    told = []

    class Second(Callback):
        def on_chunk_end(self, trainer, state, step, metrics):
            with pytest.raises(OutputError, match="is in use: another part of this process trains"):
                inner.fit()
            told.append(step)

    make_trainer(tmp_path, Second(), num_iters=4).fit()
    assert told == [2, 4]
    # Each iteration once, and once the first has ended the second may.
    assert [row["iteration"] for row in read_metrics(tmp_path / METRICS_FILE)] == [1, 2, 3, 4]
    inner.fit(6)
    assert inner.step == 6


def test_another_number_of_seeds_is_named(tmp_path, whole):
    reader = CheckpointReader(whole / CHECKPOINTS)
    of_three = MetaTrainer(
        ENV,
        [AGENTS["Tabular"].for_env(ENV, 0, num_minibatches=2), AGENTS["TitForTat"].for_env(ENV, 1)],
        num_envs=4,
        num_seeds=3,
    )
    told = (
        "of a run with num_seeds 1, and num_seeds is 3 here: set it to 1, or start in another dir"
    )
    with pytest.raises(CheckpointError, match=told):
        reader.restore(of_three.compiled_loop.abstract_state())


HOLD = """
import pathlib, sys, time
from pax.run.locks import lock_run
lock = lock_run(pathlib.Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(120)
"""


@pytest.mark.parametrize(
    "kind", ["of a file", pytest.param("of a process", marks=pytest.mark.slow)]
)
def test_a_lock_is_kept_while_its_file_is_read_or_another_is_refused(tmp_path, monkeypatch, kind):
    """Where locks belong to processes, whoever closes the file anywhere in one gives it back."""
    from pax.run import locks

    if kind == "of a process":
        monkeypatch.delattr(locks.fcntl, "F_OFD_SETLK", raising=False)
    lock = locks.lock_run(tmp_path)
    if kind == "of a file":
        (tmp_path / TRAINING_LOCK).read_bytes()
    with pytest.raises(OutputError, match="another part of this process"):
        locks.lock_run(tmp_path)
    code = HOLD.replace("time.sleep(120)", "")
    if kind == "of a process":
        code = code.replace("import lock_run", "import fcntl, lock_run\ndel fcntl.F_OFD_SETLK")
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert f"is in use: process {os.getpid()} on " in answer.stderr
    lock.release()
    subprocess.run(command, env=environment, timeout=60, check=True, stdout=subprocess.DEVNULL)


def test_another_process_is_named_and_what_it_held_is_free_when_it_is_killed(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    end = threading.Timer(60, other.kill)
    end.start()
    assert other.stdout.readline() == "locked\n"
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OutputError, match=f"is in use: process {other.pid} on .*, since 20") as e:
        make_trainer(tmp_path).fit()
    assert "\n" not in str(e.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before == [TRAINING_LOCK]
    other.kill()
    other.communicate(timeout=60)
    end.cancel()
    make_trainer(tmp_path, num_iters=2).fit()


def test_without_locks_it_is_said_and_the_run_goes_on(tmp_path, monkeypatch):
    from pax.run import locks

    def refuse(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    said = []
    monkeypatch.setattr(locks.logging, "warning", lambda text, *a: said.append(text % a))
    monkeypatch.setattr(locks.fcntl, "fcntl", refuse)
    monkeypatch.setattr(locks.fcntl, "lockf", refuse)
    with make_trainer(tmp_path).claim():
        pass
    monkeypatch.setattr(locks, "fcntl", None)
    with make_trainer(tmp_path).claim():
        pass
    path = tmp_path / TRAINING_LOCK
    assert said == [
        f"{path} cannot be locked (No locks available): start one process.",
        f"{path} cannot be locked on this system: start one process.",
    ]


# The folder.


def test_a_folder_that_is_deleted_ends_the_run(tmp_path):
    class Delete(Callback):
        def on_chunk_end(self, trainer, state, step, metrics):
            if step == 4:
                shutil.rmtree(trainer.workdir)

    workdir = tmp_path / "run"
    with pytest.raises(
        OutputError, match="workdir .*run was deleted or moved while .* stopped at iteration 4: put"
    ):
        make_trainer(workdir, Delete()).fit()
    assert not (workdir / "training.json").exists()


# Threads of the libraries that write checkpoints complain of a folder that is gone.
ignore_threads = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def complains_here():
    """What is left of such threads is collected while their test runs: otherwise a later one would fail."""
    yield
    gc.collect()


class Do(Callback):
    """Does something to the folder of the run, once nothing is being saved, or while it is."""

    def __init__(self, at, waits, what):
        self._at, self._waits, self._what = at, waits, what

    def on_chunk_end(self, trainer, state, step, metrics):
        if step == self._at:
            if self._waits:
                trainer.checkpointer.wait()
            self._what(trainer.workdir)


@ignore_threads
@pytest.mark.usefixtures("complains_here")
@pytest.mark.parametrize("waits", [True, False])
def test_a_folder_that_was_moved_is_not_made_again(tmp_path, waits):
    def move(workdir):
        shutil.move(workdir, tmp_path / "elsewhere")

    with pytest.raises(OutputError, match="was deleted or moved"):
        make_trainer(tmp_path / "run", Do(6, waits, move)).fit()
    assert list(tmp_path.rglob("run*/**/*")) == []


@ignore_threads
@pytest.mark.usefixtures("complains_here")
@pytest.mark.parametrize("waits", [True, False])
def test_checkpoints_that_are_moved_away_are_written_anew(tmp_path, waits, whole):
    """The run ends as one that nobody touched, and goes on from what was saved since."""

    def move(workdir):
        shutil.move(workdir / "checkpoints", tmp_path / "elsewhere")

    workdir = tmp_path / "run"
    trainer = make_trainer(workdir, Do(6, waits, move))
    trainer.fit()
    steps = sorted(
        int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*") if path.name.isdigit()
    )
    # A checkpoint on its way may be of step 4.
    assert steps and steps[0] > 2 and steps[-1] == trainer.step
    resumed = make_trainer(workdir)
    assert resumed.restore() and resumed.step == trainer.step


def test_checkpoints_outlive_the_file_of_the_lock(tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(OutputError, match="was deleted or moved"):
        make_trainer(
            workdir, Do(8, False, lambda workdir: (workdir / TRAINING_LOCK).unlink())
        ).fit()
    resumed = make_trainer(workdir)
    assert resumed.restore() and resumed.step in (4, 8)
    assert (workdir / "checkpoints" / str(resumed.step)).is_dir()


def test_metrics_that_are_deleted_are_written_from_then_on(tmp_path):
    workdir = tmp_path / "run"
    make_trainer(workdir, Do(6, True, lambda workdir: (workdir / METRICS_FILE).unlink())).fit()
    iterations = [row["iteration"] for row in read_metrics(workdir)]
    last = read_status(workdir).iteration
    assert iterations == list(range(iterations[0], last + 1)) and 5 <= iterations[0] <= 7


def test_no_folder_of_checkpoints_is_left_by_a_run_that_came_to_nothing(tmp_path):
    class Fails(Callback):
        priority = 200

        def setup(self, trainer):
            assert (trainer.workdir / "checkpoints").exists()
            raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        make_trainer(tmp_path / "run", Fails()).fit()
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("moved", [True, False])
def test_a_folder_that_gives_way_to_another_ends_the_run(tmp_path, moved):
    class Replace(Callback):
        def on_chunk_end(self, trainer, state, step, metrics):
            if step == 2:
                shutil.move(trainer.workdir, tmp_path / "elsewhere")
                if not moved:
                    trainer.workdir.mkdir()

    with pytest.raises(OutputError, match="was deleted or moved"):
        make_trainer(tmp_path / "run", Replace()).fit()


def test_nothing_is_written_before_callbacks_have_checked_their_settings(tmp_path):
    trainer = make_trainer(
        tmp_path / "run", EarlyStop("train/reward_per_timestp", threshold=0.0, every=2)
    )
    with pytest.raises(ConfigError, match="did you mean train.reward_per_timestep.player"):
        trainer.fit()
    assert not (tmp_path / "run").exists()


def _fail_to_flush(self, *args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "target",
    [
        "pax.metrics.json_writer.JsonLinesWriter._emit",
        "tensorboard.summary.writer.record_writer.RecordWriter.flush",
        # In a thread of Orbax.
        "pax.checkpoints.writer.checksum",
    ],
)
def test_a_full_disk_is_one_sentence_and_with_room_the_run_goes_on(
    tmp_path, monkeypatch, whole, target, capfd
):
    class Fill(Callback):
        priority = -5

        def on_chunk_end(self, trainer, state, step, metrics):
            if step == 8:
                monkeypatch.setattr(target, _fail_to_flush)

    workdir = tmp_path / "run"
    with pytest.raises(
        OutputError, match=f"there is no room left for workdir {workdir} .*: make"
    ) as e:
        make_trainer(workdir, Fill(), every=2).fit()
    assert "\n" not in str(e.value)
    assert "Traceback" not in capfd.readouterr().err
    assert (workdir / "checkpoints" / "4").is_dir()
    monkeypatch.undo()
    make_trainer(workdir, every=2).fit()
    assert_same(workdir, whole)


def test_pictures_have_a_state_of_json_values(whole):
    pictures = Pictures()
    pictures._before = {"agent1": [np.float32([[0.1, np.nan]]), np.zeros((0, 2), np.int32)]}
    other = Pictures()
    other.load_state_dict(json.loads(json.dumps(pictures.state_dict())))
    for one, two in zip(pictures._before["agent1"], other._before["agent1"], strict=True):
        np.testing.assert_array_equal(one, two, strict=True)
