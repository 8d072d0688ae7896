"""Evaluating checkpoints of a run: which, once, and what is left on disk."""

import json
import os
import shutil
import signal
import time

import jax
import pytest
from absl import logging as absl_logging
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import Checkpoint
from pax import Callback, MetaTrainer
from pax.agents import AGENTS
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.envs import IteratedMatrixGame
from pax.errors import CheckpointError, ConfigError
from pax.evaluation.export import export_checkpoints
from pax.evaluation.follower import Follower, Waiting
from pax.evaluation.job import choose, evaluate_checkpoint, follow, trainer_of_run
from pax.evaluation.results import Results, mirroring
from pax.roles import Role
from pax.run.status import Status, read_status

ENV = IteratedMatrixGame(num_inner_steps=4)
NAMES = ("as_trained", "defect")
TAG = "evaluation/defect/reward_per_timestep/player_1"


class Act(Callback):
    """Does something at a step."""

    def __init__(self):
        self.at, self.do = None, None

    def on_chunk_end(self, trainer, state, step, metrics):
        if step == self.at:
            self.do(trainer)


def make_trainer(workdir, callbacks=()):
    learner = AGENTS["Naive"].for_env(ENV, 0)
    opponents = {name: AGENTS[name].for_env(ENV, 1) for name in ("Random", "Defect")}
    return MetaTrainer(
        ENV,
        [learner, opponents["Random"]],
        num_envs=4,
        num_iters=4,
        chunk=2,
        evaluations={
            "as_trained": {},
            "defect": {"agent2": Role("agent2", opponents["Defect"], (1,))},
        },
        callbacks=callbacks,
        default_callbacks=False,
        workdir=workdir,
    )


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """A trainer that was resumed, stopped and resumed until iteration 12, and what it said then."""
    act = Act()
    checkpoint = Checkpoint(every=2, keep_latest=1, keep_every=2)
    trainer = make_trainer(tmp_path_factory.mktemp("run"), [checkpoint, act])
    says = {}

    def fit(what, num_iters, at=None, do=None):
        act.at, act.do = at, do
        try:
            trainer.fit(num_iters, pass_on_signals=False)
        except ConfigError:
            # Back to the last checkpoint.
            trainer.state = None
        says[what] = read_status(trainer.workdir)

    def listen(trainer):
        says["in between"] = read_status(trainer.workdir)

    def fail(trainer):
        raise ConfigError("this will\nnot do")

    fit("all done", 4)
    fit("longer", 8, at=6, do=listen)
    fit("nothing left to do", 8)
    fit("stopped early", 14, at=10, do=lambda trainer: trainer.request_stop("it is good enough"))
    fit("signal", 14, at=12, do=lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    fit("error", 16, at=14, do=fail)
    fit("rolled back", 12)
    return trainer, says


@pytest.fixture
def trained(life):
    return life[0]


@pytest.fixture(scope="module")
def judge():
    """Evaluates the checkpoints of any such trainer; compiled once."""
    return make_trainer("nowhere", [Checkpoint(every=2), Act()])


@pytest.fixture
def warnings_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(absl_logging, "warning", lambda text, *a: lines.append(text % a))
    return lines


@pytest.fixture
def evaluated(monkeypatch, judge):
    """The steps and names that the judge evaluates, as it does."""
    calls = []
    evaluate = judge.evaluate

    def spy(*, names):
        calls.extend((judge.step, name) for name in names)
        return evaluate(names=names)

    monkeypatch.setattr(judge, "evaluate", spy)
    return calls


def copy_of(trained, tmp_path):
    """Its run directory, to be spoilt."""
    return shutil.copytree(trained.workdir, tmp_path / "run")


def run_follower(judge, workdir, names=NAMES):
    judge.workdir = workdir
    return Follower(judge, names, Waiting(0.05)).run()


def say(workdir, **changes):
    """Lets training say something else."""
    path = workdir / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def keys(workdir):
    lines = (workdir / "evaluation.jsonl").read_text().splitlines()
    return [(row["iteration"], row["evaluation"]) for row in map(json.loads, lines)]


def shown(workdir, tag=TAG):
    events = EventAccumulator(str(workdir / "evaluation")).Reload().Scalars(tag)
    return [(event.step, event.value) for event in events]


# What training says.


def test_training_says_when_it_is_done_and_takes_it_back(life):
    _, says = life
    assert says == {
        "all done": Status("done", 4, 4, None, (2, 4)),
        "in between": Status("training", 4, 8, None, (2, 4)),
        "longer": Status("done", 8, 8, None, (2, 4, 6, 8)),
        "nothing left to do": Status("done", 8, 8, None, (2, 4, 6, 8)),
        "stopped early": Status("done", 10, 14, "it is good enough", (2, 4, 6, 8, 10)),
        # A signal is no end: the run is to go on.
        "signal": Status("stopped", 12, 14, "SIGTERM", (2, 4, 6, 8, 10, 12)),
        "error": Status("failed", 14, 16, "this will not do", (2, 4, 6, 8, 10, 12)),
        "rolled back": Status("done", 12, 12, None, (2, 4, 6, 8, 10, 12)),
    }


def test_a_status_that_is_not_readable_says_nothing(tmp_path):
    assert read_status(tmp_path) is None
    for text in ("", "{", "[]", '{"state": "done"}', '{"saved": 3}', '{"saved": [], "more": 1}'):
        (tmp_path / "training.json").write_text(text)
        assert read_status(tmp_path) is None


# Results on disk.


def row(iteration, reward, name="defect"):
    return {"iteration": iteration, "evaluation": name, "wall_time": 1.0, "r": reward}


@pytest.mark.parametrize("tail", ["", '{"iteration": 4, "eval', json.dumps(row(4, 0.5)), "3\n"])
def test_results_after_a_kill(tmp_path, tail, warnings_logged):
    path = tmp_path / "evaluation.jsonl"
    path.write_text(json.dumps(row(2, -1.0)) + "\n" + tail)
    expected = [row(2, -1.0), row(4, 0.5)] if "0.5" in tail else [row(2, -1.0)]
    results = Results(tmp_path)
    assert list(results.rows().values()) == expected
    results.record([row(6, [1.0, None]), row(6, None, "as_trained")])
    expected += [row(6, [1.0, None]), row(6, None, "as_trained")]
    assert [json.loads(line) for line in path.read_text().splitlines()] == expected
    assert list(results.rows().values()) == expected
    # Another process; the new result of an evaluation replaces the old one.
    Results(tmp_path).record([row(2, -2.0)])
    assert list(results.rows().values()) == [*expected[1:], row(2, -2.0)]


def test_the_mirror_shows_every_row_once(tmp_path):
    results = Results(tmp_path)
    with mirroring(tmp_path, results) as mirror:
        results.record([row(2, -1.0), row(4, [1.0, None, 2.0])])
        mirror.sync()
        # An older one, and one that is new.
        results.record([row(3, 0.25)])
        results.record([row(4, -4.0)])
        mirror.sync()
        assert shown(tmp_path, "evaluation/defect/r") == [(2, -1), (3, 0.25), (4, -4)]
        with mirroring(tmp_path, results) as other:
            assert other is None
    # Killed before it was shown: the next one shows it.
    results.record([row(5, [1.0, None, 2.0]), row(6, None)])
    with mirroring(tmp_path, Results(tmp_path)) as mirror:
        mirror.sync()
        mirror.sync()
    assert shown(tmp_path, "evaluation/defect/r") == [(2, -1), (3, 0.25), (4, -4), (5, 1.5)]
    # With n - 1 in the denominator, over the two seeds in which it is defined.
    assert shown(tmp_path, "evaluation/defect/r/std") == [(5, pytest.approx(0.5**0.5))]


def test_results_that_cannot_be_written(tmp_path):
    (tmp_path / "evaluation.jsonl").mkdir()
    with pytest.raises(CheckpointError, match="could not be written to"):
        Results(tmp_path).record([row(2, 1.0)])


# Following.


def test_each_checkpoint_once_and_compiled_once(trained, judge, tmp_path, evaluated):
    workdir = copy_of(trained, tmp_path)
    assert run_follower(judge, workdir, ("defect",)) == (
        "Training ended at iteration 12. Evaluated 6 checkpoints. "
        f"Look at it: tensorboard --logdir={workdir}"
    )
    steps = [2, 4, 6, 8, 10, 12]
    assert evaluated == keys(workdir) == [(step, "defect") for step in steps]
    assert [step for step, _ in shown(workdir)] == steps

    # Only what is lacking.
    lines = (workdir / "evaluation.jsonl").read_text().splitlines()
    (workdir / "evaluation.jsonl").write_text("\n".join([*lines[1:4], *lines[5:]]) + "\n")
    evaluated.clear()
    run_follower(judge, workdir, ("defect",))
    assert evaluated == [(2, "defect"), (10, "defect")]
    assert sorted(keys(workdir)) == [(step, "defect") for step in steps]
    assert [step for step, _ in shown(workdir)] == steps

    # Both programs have been compiled after one checkpoint.
    compiled = []

    def listen(event, seconds, **kwargs):
        if "backend_compile" in event:
            compiled.append(len(evaluated))

    jax.monitoring.register_event_duration_secs_listener(listen)
    evaluated.clear()
    (workdir / "evaluation.jsonl").unlink()
    try:
        run_follower(judge, workdir)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert evaluated == [(step, name) for step in steps for name in NAMES]
    assert compiled and max(compiled) <= len(NAMES)

    # Against an opponent who always defects, its own share of defection, d, is all that varies: both
    # defecting pays -2 and being exploited -3, which makes d - 3.
    for _, value in shown(workdir):
        assert -3 <= value <= -2


def test_what_is_damaged_or_deleted_is_told_once(
    trained, judge, tmp_path, evaluated, warnings_logged
):
    workdir = copy_of(trained, tmp_path)
    checkpoints = workdir / "checkpoints"
    # In use, at the end: deleted before it was seen; being written; damaged; not a checkpoint at all.
    os.rename(checkpoints / "2", checkpoints / "2.orbax-checkpoint-tmp-7")
    (checkpoints / "4" / "checksums.json").unlink()
    (checkpoints / "note").touch()
    for step in ("6", "8", "10"):
        os.rename(checkpoints / step, tmp_path / step)
    text = run_follower(judge, workdir, ("defect",))
    assert evaluated == [(12, "defect")]
    assert text.startswith(
        "Training ended at iteration 12. Evaluated 1 checkpoints, 4 were deleted before, 1 are damaged."
    )
    deleted, damaged = warnings_logged
    assert deleted.startswith(
        "Deleted before they were evaluated: the checkpoints of the iterations 2, 6, 8, 10."
    )
    assert damaged == "Checkpoint 4 is damaged (checksums.json is missing): not evaluated."


def test_a_checkpoint_that_is_deleted_while_it_is_read(
    trained, judge, tmp_path, evaluated, monkeypatch, warnings_logged
):
    workdir = copy_of(trained, tmp_path)
    monkeypatch.setattr("pax.evaluation.follower.SECONDS_TO_DELETE", 0.01)
    restore, rounds = judge.restore, []

    def delete_some(step):
        if step == 4:
            # As late as can be: it was read, who knows when.
            restored = restore(step)
            shutil.rmtree(workdir / "checkpoints" / "4")
            return restored
        if step == 6:
            shutil.rmtree(workdir / "checkpoints" / "6" / "state")
            shutil.rmtree(workdir / "checkpoints" / "6")
        if step == 8 and not rounds:
            # Replaced by one of the same step.
            rounds.append(step)
            shutil.copytree(workdir / "checkpoints" / "8", tmp_path / "8")
            shutil.rmtree(workdir / "checkpoints" / "8")
            os.rename(tmp_path / "8", workdir / "checkpoints" / "8")
        return restore(step)

    monkeypatch.setattr(judge, "restore", delete_some)
    run_follower(judge, workdir, ("defect",))
    assert evaluated == [(step, "defect") for step in (2, 8, 10, 12)]
    assert [line.split(". ")[0] for line in warnings_logged] == [
        "Deleted before they were evaluated: the checkpoints of the iterations 4",
        "Deleted before they were evaluated: the checkpoints of the iterations 6",
    ]


def test_it_waits_for_training_that_stopped(trained, judge, tmp_path, evaluated, monkeypatch):
    workdir = copy_of(trained, tmp_path)
    says = [
        {"state": "training", "iteration": 10},
        {"state": "failed", "reason": "a bug"},
        {"state": "stopped", "reason": "SIGINT"},
        {"state": "done", "reason": None},
    ]
    say(workdir, **says.pop(0))
    lines = []

    def sleep(seconds):
        say(workdir, **says.pop(0))

    monkeypatch.setattr(absl_logging, "info", lambda text, *a: lines.append(text % a))
    monkeypatch.setattr("pax.evaluation.follower.time.sleep", sleep)
    (workdir / "evaluation.jsonl").write_text(
        "".join(
            json.dumps({**row(step, 0.0, name), "wall_time": step / 2}) + "\n"
            for step in (2, 4, 6, 8, 10, 12)
            for name in NAMES
        )
    )
    run_follower(judge, workdir)
    assert evaluated == []
    assert [line for line in lines if "Waiting" in line] == [
        # 12 iterations took 6 s.
        "Waiting for the next checkpoint: training was at iteration 10 of 12, ETA 1 s.",
        "Waiting for training to go on: it failed at iteration 10 of 12 (a bug).",
        "Waiting for training to go on: it was stopped at iteration 10 of 12 (SIGINT).",
    ]


def test_two_do_not_follow_one_run(trained, judge, tmp_path):
    workdir = copy_of(trained, tmp_path)
    with (
        mirroring(workdir, Results(workdir)),
        pytest.raises(ConfigError, match="another process evaluates .* already .*: end it first"),
    ):
        run_follower(judge, workdir)


def test_a_checkpoint_of_another_configuration_is_an_error(trained, tmp_path):
    workdir = copy_of(trained, tmp_path)
    learner = AGENTS["Naive"].for_env(IteratedMatrixGame(num_inner_steps=4), 0)
    other = MetaTrainer(ENV, [learner, learner], num_seeds=2, workdir=workdir)
    with pytest.raises(
        CheckpointError, match="is of a run with num_seeds 1, and num_seeds is 2 here"
    ):
        Follower(other, ("as_trained",), Waiting(0.05)).run()


# What is asked for.


def test_a_step_that_is_not_there(trained, judge):
    judge.workdir = trained.workdir
    with pytest.raises(CheckpointError, match=r"step 3 .*: choose one of \[2, 4, 6, 8, 10, 12\]"):
        judge.restore(3)


def test_names_of_evaluations():
    assert choose(None, NAMES) == NAMES
    assert choose(["defect", "defect"], NAMES) == ("defect",)
    with pytest.raises(ConfigError, match=r"names 'defects', and .*: did you mean defect\?$"):
        choose(["defects"], NAMES)
    with pytest.raises(ConfigError, match=r"--evaluations is empty"):
        choose([], NAMES)


def test_a_run_without_evaluations_is_compiled_once(trained, tmp_path):
    plain = MetaTrainer(ENV, trained.roles, num_envs=4, workdir=trained.workdir)
    assert plain.evaluations == ("as_trained",)
    assert plain._evaluations.by_name["as_trained"] is plain._evaluations.by_name["as_trained"]


def test_a_run_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="holds no run of Pax: train one there first"):
        evaluate_checkpoint(tmp_path / "run")

    def sleep(seconds):
        assert seconds == 7
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.json").write_text("{")

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(ConfigError, match="unreadable run.json"):
        follow(tmp_path / "run", poll_seconds=7)


def test_fewer_devices_than_training_had(tmp_path):
    config = load_config("configs/ipd.py:ppo,quicktest")
    config.num_devices = jax.device_count() + 1
    trainer = trainer_of_run(tmp_path, config)
    assert trainer.placement.num_devices <= jax.device_count()
    assert config.num_devices == jax.device_count() + 1


@pytest.mark.slow
def test_policies_of_checkpoints_are_exported_later(tmp_path):
    """They are those that a run exports when it is there."""
    config = load_config("configs/ipd.py:ppo,quicktest")
    config.update(num_envs=4, num_inner_steps=5, num_iters=4, chunk=1, num_seeds=2)
    config.callbacks.checkpoint.update(every=1, keep_every=1, export_every=2)
    config.callbacks.evaluation.enabled = config.callbacks.curves.enabled = False
    config.agent1.num_minibatches = 1
    run = tmp_path / "run"
    build_trainer(config, str(run)).fit()
    exported = {path: path.read_bytes() for path in sorted(run.glob("policies/[24]/*"))}
    assert len(exported) == 4
    shutil.rmtree(run / "policies")

    paths = export_checkpoints(run, config, step=3)
    assert [os.path.relpath(path, run) for path in paths] == [
        f"policies/3/agent1_seed_{seed}.msgpack" for seed in (0, 1)
    ]
    (run / "checkpoints/1/state/_METADATA").unlink()
    export_checkpoints(run, config)
    assert {path: path.read_bytes() for path in exported} == exported
    with pytest.raises(CheckpointError, match="9"):
        export_checkpoints(run, config, step=9)
    other = config.copy_and_resolve_references()
    other.agent1.hidden_size = 3
    with pytest.raises(CheckpointError, match="configuration"):
        export_checkpoints(run, other)
    for path in run.glob("checkpoints/*/state/_METADATA"):
        path.write_text("{")
    with pytest.raises(CheckpointError, match="all checkpoints in .* are damaged: 1, 2, 3, 4"):
        export_checkpoints(run, config)
