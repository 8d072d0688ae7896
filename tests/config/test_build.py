"""What a user can get wrong is told in one sentence, before anything compiles or is written."""

import os
import pathlib
import re
import shutil
import sys

import jax
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from pax.agents import TitForTat
from pax.callbacks.callback import Callback
from pax.checkpoints.policies import save_policy
from pax.config.build import build_trainer
from pax.config.command_line import read_flags
from pax.config.files import load_config
from pax.config.sections import ROLE, base_config, check_section, role
from pax.errors import CheckpointError, ConfigError
from pax.learners import Frozen, Gradient
from pax.loop.iteration import Loop
from pax.run.directory import (
    default_workdir,
    describe_differences,
    jsonable,
    make_workdir,
    open_run,
    read_run,
)
from pax.run.locks import lock_run
from pax.tasks import TASKS

ROOT = pathlib.Path(__file__).parents[2]
IPD = f"--config={ROOT}/configs/ipd.py"
TABULAR = f"{IPD}:tabular,quicktest"


@pytest.fixture(scope="module")
def finished_run(app, tmp_path_factory):
    """The folder of a run that a wrong command line must not touch."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    code, stdout, stderr, _ = app(TABULAR, "--config.num_iters=2", f"--workdir={workdir}")
    assert (code, stdout.startswith("Done at iteration 2")) == (0, True), stderr
    return workdir


@pytest.fixture
def no_loop(monkeypatch):
    """Fails the test if it compiles a loop."""
    monkeypatch.setattr(Loop, "run", lambda *_: pytest.fail("a loop was compiled"))


def snapshot(folder):
    """Everything below a folder: what is there, since when, and with what in it."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in [folder, *folder.rglob("*")]
    }


def assert_refused(answer, sentence):
    """`sentence` is all that is said, as a regular expression, and no loop was compiled."""
    code, stdout, stderr, compiled = answer
    assert re.fullmatch(f"Error: {sentence}\n", stderr), stderr
    assert "\n" not in stderr.rstrip()
    assert stdout == ""
    assert code in (1, 2)
    assert int(compiled) == 0


ONE_PAYOFF = re.escape("give 4 rows (CC, CD, DC, DD) of 2 numbers (player 1, player 2)")
WRONG_COMMANDS = {
    # Unknown keys.
    "--config.nope=1": "nope is no setting: the config has no 'nope', choose one of agent1, .*",
    "--config.num_env=1": "num_env is no setting: .* did you mean num_envs\\?",
    "--config.agent1.learning_rat=1": "agent1.learning_rat .* did you mean learning_rate\\?",
    "--config.agent3.learning_rate=1": "agent3.learning_rate is no setting: the config has no 'agent3'.*",
    "--config.seed.x=1": "seed.x is no setting: seed is 0 and has none of its own",
    "--config.env.pay=1": "env.pay is no setting: env has no 'pay', did you mean payoff\\?",
    "--config.callbacks.nope.every=1": "callbacks.nope.every .* choose one of checkpoint, .*",
    "--config.evaluation.nope.agent2.type=PPO": "evaluation.nope.* has no 'nope', choose one of .*",
    # Wrong types.
    "--config.num_envs=abc": "num_envs is 'abc': give a whole number, such as 10",
    "--config.num_envs=1.5": "num_envs is '1.5': give a whole number, such as 10",
    "--config.num_envs=": "num_envs is '': give a whole number, such as 10",
    "--config.total_timesteps=1e-6": "total_timesteps is '1e-6': give a whole number, such as 0",
    "--config.agent1.learning_rate=abc": "agent1.learning_rate is 'abc': give a number, such as 0.1",
    "--config.agent1.learning_rate=nan": "agent1.learning_rate is nan: give a number, such as .*",
    "--config.agent1.learns_in_trial=x": "agent1.learns_in_trial is 'x': give true or false, .*",
    "--config.agent1=3": "agent1 is '3', but a section: set what is in it, such as agent1.*",
    "--config.env=none": "env is 'none', but a section: set what is in it, such as env.*",
    # The payoff.
    "--config.env.payoff=abc": f"env: payoff is \\('abc',\\): {ONE_PAYOFF}",
    "--config.env.payoff=((1,2),(3,4))": f"env: payoff is .*: {ONE_PAYOFF}",
    "--config.env.payoff=((1,2,3),(0,0,0),(0,0,0),(0,0,0))": f"env: payoff is .*: {ONE_PAYOFF}",
    "--config.env.payoff=((1,2),(3,),(3,4),(5,6))": f"env: payoff is .*: {ONE_PAYOFF}",
    "--config.env.payoff=((1,2),(3,'x'),(3,4),(5,6))": f"env: payoff is .*: {ONE_PAYOFF}",
    "--config.env.payoff=((1,2),(3,float('nan')),(3,4),(5,6))": f"env: payoff is .*: {ONE_PAYOFF}",
    "--config.env.payoff=((1,2),(3,1e999),(3,4),(5,6))": "env: payoff is .*inf.*: give finite .*",
    "--config.env.payoff=((1,2),(3,4),(3,4),(5,6)": "env.payoff is .*: give a tuple, such as .*",
    # Sizes.
    "--config.num_envs=0": "num_envs is 0: give at least 1",
    "--config.num_envs=-5": "num_envs is -5: give at least 1",
    "--config.num_opps=0": "num_opps is 0: give at least 1",
    "--config.num_seeds=0": "num_seeds is 0: give at least 1",
    "--config.num_iters=0": "num_iters is 0: give at least 1",
    "--config.num_iters=-1": "num_iters is -1: give at least 1",
    "--config.num_inner_steps=0": "num_inner_steps is 0: give at least 1 .*",
    "--config.num_outer_steps=-1": "num_outer_steps is -1: give at least 1",
    "--config.chunk=0": "chunk is 0: give at least 1",
    "--config.total_timesteps=-1": "total_timesteps is -1: give environment steps, or 0 .*",
    "--config.seed=10000000000": "seed is 10000000000: give a number from 0 to 2147483646",
    "--config.seed=-1": "seed is -1: give a number from 0 to 2147483646",
    # What does not go together.
    "--config.chunk=3": "Scalars.every=2 must be a positive multiple of chunk=3, .*: use 3.",
    "--config.callbacks.checkpoint.every=3": "Checkpoint.every=3 .* chunk=2, .*: use 2 or 4.",
    "--config.callbacks.scalars.every=0": "Scalars.every=0 must be a positive multiple of .*",
    "--config.callbacks.scalars.every=-2": "Scalars.every=-2 must be a positive multiple of .*",
    "--config.callbacks.checkpoint.mode=best": "callbacks.checkpoint: mode is 'best' .* one of max, min",
    # Roles.
    "--config.roles=('agent1','nobody')": "roles names 'nobody', and the config has no role .*",
    "--config.roles=('agent1','env')": "roles names 'env', and the config has no role .*",
    "--config.roles=('agent1',3)": "roles names 3, and the config has no role of that name: .*",
    "--config.roles=('agent1','agent2','agent2')": "roles names 'agent2' twice: take one away",
    "--config.roles=('agent1',)": "seat 1 has no role: name one that plays it",
    "--config.roles=()": "seat 0 has no role: name one that plays it",
    "--config.agent1.type=PPP": "agent1.type is 'PPP', .*: did you mean PPO\\?",
    "--config.agent1.type=Defect": "agent1.* is no setting of Defect: it has none",
    "--config.env.type=Chess": "env.type is 'Chess', .*: choose one of .*IteratedMatrixGame.*",
    "--config.agent1.seats=(5,)": "agent1.seats is \\(5,\\): this game has seats 0 to 1",
    "--config.agent1.seats=()": "agent1.seats is empty: name the seats .*",
    "--config.agent1.seats=(0,1)": "roles agent1 and agent2 both sit on seat 1: .*",
    "--config.agent1.reset_every=-1": "reset_every is -1 in role agent1: give trials, or 0 .*",
    "--config.agent1.learner.type=evolve": "agent1.learner.type is 'evolve', which no learner is called: .*",
    "--config.agent1.learner.type=frozen": "agent1.learner: a frozen role has no policy: give path, .*",
    "--config.agent2.learner.type=gradient": "agent2.learner: .* does not learn: use 'none'",
    "--config.agent1.learner=frozen": "agent1.learner is 'frozen', but a section: .* agent1.learner.type",
    "--config.agent1.evolution.popsize=4": "agent1.evolution.popsize .* it is agent1.learner.popsize now",
    "--config.agent2.path=x.msgpack": "agent2.path is 'x.msgpack' and .*'none': use 'frozen' .*",
    "--config.evaluation.altruistic.agent2.type=Nope": "evaluation.altruistic.*'altruistic'.*",
    "--config.evaluation.defect.agent2.type=Nope": "evaluation.defect.agent2.type is 'Nope', .*",
    "--config.evaluation.defect.agent2.seats=(0,)": "evaluation.defect.agent2.seats is .* \\(1,\\)",
    # Callbacks.
    "--config.extra_callbacks=nope": "extra_callbacks\\[0\\] is 'nope', .* give 'module.Class' .*",
    "--config.extra_callbacks=('no_such.Thing',)": "extra_callbacks\\[0\\] .* No module named .*",
    "--config.extra_callbacks=('callbacks.Scalar',)": "extra_callbacks\\[0\\] .* has no Scalar: did you "
    "mean 'callbacks.Scalars'.*",
    "--config.extra_callbacks=('os.path',)": "extra_callbacks.* give a subclass of pax.Callback",
    "--config.extra_callbacks=(3,)": "extra_callbacks\\[0\\] is 3: give 'module.Class', or .*",
    "--config.extra_callbacks=('callbacks.Scalars',{'every':2})": "extra_callbacks\\[1\\] is {.*",
    "--config.extra_callbacks=(('callbacks.Scalars',{'evry':2}),)": (
        "extra_callbacks\\[0\\].evry is no setting of Scalars: did you mean every\\?"
    ),
    "--config.extra_callbacks=(('callbacks.Scalars',{'every':'x'}),)": (
        "extra_callbacks\\[0\\].every is 'x': give a whole number, such as 10"
    ),
    "--config.extra_callbacks=('callbacks.EarlyStop',)": (
        "extra_callbacks\\[0\\]: EarlyStop has nothing to stop for: give it a threshold, a plateau or "
        "max_seconds"
    ),
    "--config.callbacks.scalars.type=no_such.Thing": "callbacks.scalars is 'no_such.Thing', .*",
    # Policies.
    "--config.agent1.path=/no/such/file": "agent1.path: no policy file /no/such/file: .*",
    "--config.agent1.path=/no/a_{seed}": "agent1.path: no policy .*: check the path; {seed} is for .*",
    "--config.agent1.path=/": "agent1.path: / is a folder, and no policy: give a file.",
    # Ranges.
    "--config.agent1.clip_epsilon=-1": "agent1: clip_epsilon is -1.0 in Tabular: give more than 0",
    "--config.agent1.gae_lambda=2": "agent1: gae_lambda is 2.0 in Tabular: give 0 to 1",
    "--config.agent1.max_gradient_norm=0": "agent1: max_gradient_norm is 0.0 .*: give more than 0",
    "--config.agent1.adam_epsilon=-1": "agent1: adam_epsilon is -1.0 in Tabular: give 0 or more",
    "--config.agent1.value_coeff=inf": "agent1: value_coeff is inf in Tabular: give 0 or more",
    "--config.agent1.learning_rate_horizon=-1": "agent1: learning_rate_horizon is -1 .* 0 or more",
    "--config.agent1.reset_every=-2": "reset_every is -2 in role agent1: .*",
    "--config.callbacks.progress.seconds=-1": "seconds is -1.0 in Progress: give 0 or more",
    "--config.num_envs=100000000000": "num_envs is 100000000000: give at most 2147483647",
    "--config.num_inner_steps=3000000000": "num_inner_steps is 3000000000: give at most .*",
    "--config.num_opps=2000000000": "num_seeds x candidates x num_opps x num_envs is .*: give fewer",
    # Overrides that are none.
    "--config.=1": "--config.=1 names no setting: write --config.<setting>=<value>",
    "--config..x=1": ".x is no setting: the config has no '', .*",
    "--config.env.payoff[0]=1": "env.payoff\\[0\\] is an item of env.payoff: give all of it, as in .*",
    "--config.tasks.hard_stop={}": "tasks.hard_stop is no setting: tasks is empty, .* config file.*",
    "--config.num_iters=1.5e0": "num_iters is '1.5e0': give a whole number, such as .",
    "--confg.num_envs=3": "Unknown command line flag 'confg.num_envs'.*[Dd]id you mean.*",
    "--seed=3": "Unknown command line flag 'seed': did you mean --config.seed\\?",
    # Flags.
    "--wrokdir=x": "Unknown command line flag 'wrokdir'. Did you mean: workdir \\?",
    "--mode=nope": "flag --mode=nope: value should be one of <train\\|evaluate\\|export>",
    "--config": "--config has no value: give one of those that --list shows",
    "positional": "'positional' is no flag: flags start with --, see --help",
}


@pytest.mark.parametrize("argument", WRONG_COMMANDS)
def test_wrong_command_lines(app, finished_run, argument):
    before = snapshot(finished_run)
    answer = app(TABULAR, f"--workdir={finished_run}", argument)
    assert_refused(answer, WRONG_COMMANDS[argument])
    assert snapshot(finished_run) == before


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "--config is missing: give one of those that --list shows"),
        (["--config="], "--config has no value: give one of those that --list shows"),
        (
            ["--config=nope.py"],
            "config file 'nope.py' does not exist: see python -m pax.main --list .*",
        ),
        (
            ["--config", "nope.py"],
            "config file 'nope.py' does not exist: see python -m pax.main --list .*",
        ),
        ([f"--config={ROOT}/configs"], "config file '.*/configs' does not exist: .*"),
        ([f"{IPD}:pop"], "there is no variant 'pop': choose one of ppo, .*"),
        ([f"--config={ROOT}/configs/idp.py"], "config file .* did you mean .*/configs/ipd.py\\?"),
        (
            [TABULAR, "--workdir=ftp://host/x"],
            "workdir is ftp://host/x: ftp:// is not supported, give a folder, or one of gs://, .*",
        ),
        ([TABULAR, "--workdir=" + "a" * 300], "workdir has a name of 300 bytes in it .*"),
        ([TABULAR, "--workdir=~nobody9/x"], "workdir is ~nobody9/x: there is no such home .*"),
        ([f"{IPD}:"], "there is no variant '': choose one of ppo, .*"),
        ([f"{IPD}:ppo,nope"], "variant ppo has no option 'nope': choose from opponent, quicktest"),
        ([f"{IPD}:ppo,opponent=x"], "opponent is 'x': choose one of tit_for_tat, .*"),
        (["--config.seed=1"], "--config.seed=1 overrides a config that is not there yet: .*"),
        (["--config.seed=1", TABULAR], "--config.seed=1 overrides a config .* before it"),
        ([TABULAR, "--workdir="], "--workdir is empty: name a folder, or leave it out .*"),
        ([TABULAR, "--workdir"], "Missing value for flag --workdir"),
        ([TABULAR, "--workdir=/proc/x"], "workdir /proc/x cannot be written \\(.*\\): give .*"),
        ([TABULAR, "--workdir=/etc/passwd"], "workdir is /etc/passwd, which is a file: .*"),
        (
            [TABULAR, "--workdir=/etc/passwd/x"],
            "workdir is /etc/passwd/x, and /etc/passwd is a file: .*",
        ),
        ([TABULAR, f"--workdir={ROOT}/pax"], "workdir .* is not empty and holds no run of Pax: .*"),
        (["--mode=evaluate"], "--workdir is missing: name the run to evaluate"),
        (["--mode=evaluate", "--workdir=/no/such"], "workdir /no/such holds no run of Pax: .*"),
        (["--mode=evaluate", f"--workdir={ROOT}"], "workdir .* holds no run of Pax: .*"),
        (
            ["--mode=evaluate", "--workdir=/etc/passwd"],
            "workdir is /etc/passwd, which is a file: .*",
        ),
    ],
    ids=lambda value: " ".join(value).replace(str(ROOT), "") if isinstance(value, list) else "",
)
def test_wrong_command_lines_without_a_run(app, argv, sentence):
    assert_refused(app(*argv), sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "workdir .* holds an unreadable run.json .*: give another folder"),
        ("[]", "workdir .* holds a run.json that is not of Pax: give another folder"),
        ('{"name": 3}', "workdir .* holds a run.json that is not of Pax: give another folder"),
    ],
)
def test_a_run_file_of_something_else(app, tmp_path, content, sentence):
    (tmp_path / "run.json").write_text(content)
    before = snapshot(tmp_path)
    assert_refused(app(TABULAR, f"--workdir={tmp_path}"), sentence)
    assert_refused(app("--mode=evaluate", f"--workdir={tmp_path}"), sentence)
    assert snapshot(tmp_path) == before


def test_another_config_is_refused_with_the_difference(app, finished_run):
    before = snapshot(finished_run)
    # What may change is not what is wrong.
    arguments = ("--config.seed=3", "--config.num_iters=4")
    answer = app(TABULAR, f"--workdir={finished_run}", *arguments)
    assert_refused(
        answer,
        f"workdir {finished_run} holds a run with another config \\(seed: 0 -> 3\\): give another "
        "workdir, or the old settings to go on with it",
    )
    assert snapshot(finished_run) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [TABULAR, "--config.callbacks.checkpoint.monitor=train/reward_per_timestp"],
        [
            TABULAR,
            "--config.extra_callbacks=(('callbacks.EarlyStop', {'monitor': 'x', 'threshold': 0.0}),)",
        ],
        [f"--config={ROOT}/configs/sarl.py:cartpole", "--config.callbacks.video.enabled=True"],
    ],
    ids=["checkpoint", "early_stop", "video"],
)
def test_a_mistake_in_a_callback_is_found_before_the_folder_is_touched(app, tmp_path, arguments):
    workdir = tmp_path / "run"
    code, stdout, stderr, _ = app(*arguments, f"--workdir={workdir}")
    assert (code, stdout) == (1, "")
    assert re.fullmatch(r"Error: .*\n", stderr), stderr
    assert not workdir.exists()


def test_a_run_is_trained_for_longer(app, finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    argv = (TABULAR, "--config.num_iters=4", "--config.callbacks.scalars.every=4")
    code, stdout, stderr, _ = app(*argv, f"--workdir={run}")
    assert code == 0, stderr
    assert (
        "The run goes on with other settings: callbacks.scalars.every: 2 -> 4; num_iters" in stderr
    )
    assert "Resuming at iteration 2 of 4." in stderr
    assert stdout.startswith("Done at iteration 4 ")
    # Once more, and there is nothing to do; the numbers are those of the last iteration.
    before = snapshot(run / "checkpoints"), (run / "metrics.jsonl").read_bytes()
    code, again, stderr, compiled = app(*argv, f"--workdir={run}")
    assert (code, int(compiled)) == (0, 0), stderr
    rewards = r"(Reward per step: player_1 -\d\.\d{3}, player_2 -\d\.\d{3}\. )"
    found = re.search(rewards, stdout)
    assert f"{found[1]}Nothing was left to do. " in again
    assert (snapshot(run / "checkpoints"), (run / "metrics.jsonl").read_bytes()) == before


def test_a_run_in_use_is_not_touched(app, finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    lock = lock_run(run)
    before = snapshot(run)
    answer = app(TABULAR, "--config.num_iters=4", f"--workdir={run}")
    assert_refused(
        answer,
        rf"workdir {run} is in use: process {os.getpid()} on \S+, since \S+ trains in it; wait until "
        "that has ended, or give another workdir",
    )
    assert snapshot(run) == before
    lock.release()


def test_evaluating_without_a_checkpoint(app, finished_run, tmp_path):
    (tmp_path / "run.json").write_bytes((finished_run / "run.json").read_bytes())
    before = snapshot(tmp_path)
    answer = app("--mode=evaluate", f"--workdir={tmp_path}")
    assert_refused(answer, f"there is no checkpoint in {tmp_path}: train there first")
    assert snapshot(tmp_path) == before


def test_policies_that_cannot_be_loaded(app, finished_run, tmp_path, no_loop):
    policy = finished_run / "policies" / "agent1.msgpack"
    damaged = tmp_path / "damaged.msgpack"
    damaged.write_bytes(policy.read_bytes()[:-1])
    foreign = tmp_path / "foreign.msgpack"
    foreign.write_text("something else")
    for path, agent, message in (
        (damaged, "tabular", "policy .*damaged.msgpack is truncated: .* export it again."),
        (foreign, "tabular", ".*foreign.msgpack is not a policy file: give one that Pax exported."),
        (policy, "ppo", "policy .*agent1.msgpack does not fit: .*; configure the agent as .*"),
    ):
        for learner in ("gradient", "frozen"):
            config = load_config(f"{ROOT}/configs/ipd.py:{agent},quicktest")
            config.agent1.path, config.agent1.learner.type = str(path), learner
            with pytest.raises(CheckpointError, match=f"^agent1.path: {message}$"):
                build_trainer(config, None)
    answer = app(TABULAR, f"--config.agent1.path={damaged}", f"--workdir={tmp_path}/run")
    assert_refused(answer, "agent1.path: policy .* is truncated: .*")
    assert not (tmp_path / "run").exists()


def test_minibatches_that_do_not_divide(app, finished_run):
    before = snapshot(finished_run)
    answer = app(
        f"{IPD}:ppo,quicktest", "--config.agent1.num_minibatches=7", f"--workdir={finished_run}"
    )
    assert_refused(answer, "num_minibatches is 7 in PPO and does not divide the 200 steps .*")
    assert snapshot(finished_run) == before


@pytest.mark.parametrize(
    "content", ["import sys\nsys.exit()", "import sys\n\n\ndef get_config():\n    sys.exit(0)"]
)
def test_a_config_that_ends_the_program(app, tmp_path, content):
    (tmp_path / "mine.py").write_text(content)
    answer = app(f"--config={tmp_path}/mine.py")
    assert_refused(
        answer, "config file '.*mine.py' fails in line [25] with SystemExit .*: correct it"
    )


@pytest.mark.parametrize(
    ("monitor", "sentence"),
    [
        (
            "evaluation/defct/x",
            "the evaluation of monitor is 'defct' .*: choose one of as_trained, defect",
        ),
        (
            "evaluation/defect/rward",
            "what monitor takes of evaluation 'defect' is 'rward' .*: choose one of",
        ),
    ],
)
def test_a_monitor_that_no_evaluation_reports(config, tmp_path, monitor, sentence):
    config.callbacks.checkpoint.monitor = monitor
    with pytest.raises(ConfigError, match=sentence):
        build_trainer(config, str(tmp_path)).fit()
    assert not list(tmp_path.glob("checkpoints/*"))


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_numbers_as_people_write_them():
    told = read_flags_of(f"{TABULAR}", "--config.num_iters=1e3", "--config.agent1.seats=[0]")
    assert told.num_iters == 1000 and tuple(told.agent1.seats) == (0,)


def read_flags_of(*argv):
    own = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=own, sys_argv=["x", *argv])
    read_flags(["x", *argv], own)
    return own.config


def test_a_callback_that_does_not_compile(app, tmp_path):
    # A module beside the configs is found, from wherever Pax is started.
    (tmp_path / "broken_module.py").write_text("class Mine(:")
    config = tmp_path / "configs" / "mine.py"
    config.parent.mkdir()
    config.write_text(
        "from pax.config.files import load_config\n"
        f"def get_config():\n  return load_config('{ROOT}/configs/ipd.py:tabular,quicktest')\n"
    )
    answer = app(f"--config={config}", "--config.extra_callbacks=broken_module.Mine")
    assert_refused(
        answer,
        "extra_callbacks\\[0\\] is 'broken_module.Mine', .*/broken_module.py, line 1, fails with "
        "SyntaxError: .*: correct it",
    )


# What only a config file can get wrong.


@pytest.fixture
def config():
    return load_config(f"{ROOT}/configs/ipd.py:tabular,quicktest")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_env": 3}, "num_env is no setting of a run: did you mean num_envs?"),
        ({"agent7": {"type": "PPO"}}, "agent7 is no setting of a run: choose one of"),
        ({"num_envs": "ten"}, "num_envs is 'ten': give a whole number, such as 100"),
        ({"num_envs": True}, "num_envs is True: give a whole number"),
        ({"num_iters": 1e3}, "num_iters is 1000.0: give a whole number"),
        ({"seed": None}, "seed is None: give a whole number"),
        ({"roles": "agent1"}, "roles is 'agent1': give a tuple"),
        ({"roles": (("agent1",), "agent2")}, "roles names ('agent1',), and the config has no role"),
        ({"env": 3}, "env is 3, but a section"),
        ({"env.type": 3}, "env.type is 3: give text"),
        ({"env.pay": 3}, "env.pay is no setting of make_params: did you mean payoff?"),
        ({"env.one_hot": 3}, "env.one_hot is 3: give true or false"),
        ({"env.payoff": 3}, "env.payoff is 3: give a tuple"),
        ({"agent1": 3}, "agent1 is 3, but a section"),
        ({"agent1.type": 3}, "agent1.type is 3: give text"),
        ({"agent1.seats": 0}, "agent1.seats is 0: give a tuple"),
        ({"agent1.reset_every": "x"}, "agent1.reset_every is 'x': give a whole number"),
        ({"agent1.path": 3}, "agent1.path is 3: give text"),
        (
            {"agent1.learning_rat": 0.1},
            "agent1.learning_rat is no setting of Tabular: did you mean",
        ),
        ({"agent1.learning_rate": "x"}, "agent1.learning_rate is 'x': give a number"),
        ({"agent1.num_epochs": 2.5}, "agent1.num_epochs is 2.5: give a whole number"),
        ({"evaluation": 3}, "evaluation is 3, but a section"),
        ({"evaluation.defect": 3}, "evaluation.defect is 3, but a section"),
        ({"evaluation.defect.agent2": 3}, "evaluation.defect.agent2 is 3, but a section"),
        (
            {"evaluation.defect.agent9": {}},
            "evaluation.defect.agent9 replaces no role: did you mean",
        ),
        (
            {"evaluation.as_trained.agent2": {}},
            "evaluation.as_trained.agent2 has no 'type': make it",
        ),
        ({"callbacks": 3}, "callbacks is 3, but a section"),
        ({"callbacks.mine": 3}, "callbacks.mine is 3, but a section"),
        ({"callbacks.mine": {}}, "callbacks.mine has no type: give the dotted path"),
        ({"callbacks.mine": {"type": 3}}, "callbacks.mine is 3, which is no dotted path"),
        (
            {"callbacks.scalars.enabled": "no"},
            "callbacks.scalars.enabled is 'no': give true or false",
        ),
        ({"callbacks.scalars.evry": 2}, "callbacks.scalars.evry is no setting of Scalars: did you"),
        ({"extra_callbacks": "a.B"}, "extra_callbacks is 'a.B': give a tuple"),
        ({"tasks": 3}, "tasks is 3, but a section"),
        ({"tasks.hard_stop": 3}, "tasks.hard_stop is 3, but a section"),
        (
            {"tasks.hard_stp": {}},
            "tasks.hard_stp is 'hard_stp', which no task is called: did you mean",
        ),
        ({"tasks.mine": {"type": 3}}, "tasks.mine is 3, which no task is called: choose one of"),
        (
            {"tasks.hard_stop": {"att": 3}},
            "tasks.hard_stop.att is no setting of hard_stop: did you",
        ),
        ({"tasks.hard_stop": {"at": "x"}}, "tasks.hard_stop.at is 'x': give a whole number"),
        ({"tasks.mixed_learning_rate": {}}, "tasks.mixed_learning_rate has no role, which"),
        (
            {"tasks.mixed_learning_rate": {"role": "agent3"}},
            "tasks.mixed_learning_rate.role is 'agent3': did you mean agent",
        ),
        ({"evaluation.as_trained.tasks": 3}, "evaluation.as_trained.tasks is 3, but a section"),
        (
            {"evaluation.as_trained.tasks": {"nope": {}}},
            "evaluation.as_trained.tasks.nope is 'nope', which no task is called: choose one of",
        ),
        ({"num_devices": -2}, "num_devices is -2: "),
        ({"num_devices": 1000}, "num_devices is 1000: "),
        (
            {"agent1.learner": 3},
            "agent1.learner is 3, but a sec",
        ),
        (
            {"agent1.learner": {"type": "evolution", "params": 3}},
            "agent1.learner: params is 3: give a dict of parameters of Open_ES",
        ),
        (
            {"agent1.learner": {"type": "evolution", "popsiz": 3}},
            "agent1.learner.popsiz is no setting of Evolution: did you mean popsize?",
        ),
        (
            {"agent1.learner": {"type": "evolution", "popsize": "x"}},
            "agent1.learner.popsize is 'x': give a whole number",
        ),
        (
            {"agent1.learner": {"type": "evolution", "popsize": 0}},
            "agent1.learner: ",
        ),
        (
            {"agent1.learner": {"type": "evolution", "strategy": "Open_E"}},
            "agent1.learner: strategy is 'Open_E' in evolution: did you mean Open_ES?",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_config_files(config, change, message, no_loop):
    settings = config.to_dict()
    for key, value in change.items():
        section = settings
        *path, last = key.split(".")
        for name in path:
            section = section[name]
        section[last] = value
    with pytest.raises(ConfigError) as info:
        build_trainer(ConfigDict(settings), None)
    assert str(info.value).startswith(message)
    assert "\n" not in str(info.value)


def test_an_evaluation_cannot_replace_who_only_takes_over_seats(no_loop):
    config = load_config("configs/ipd.py:coala,mixed,small,quicktest")
    config.evaluation.against_learners.partner = role("Defect", seat=1)
    with pytest.raises(ConfigError) as info:
        build_trainer(config, None)
    told = "evaluation.against_learners: an evaluation replaces the role 'partner', which only takes over "
    assert str(info.value).startswith(told)


@pytest.mark.parametrize("key", [*base_config(), "env", "roles"])
def test_a_config_file_that_lacks_a_setting(config, key):
    with config.unlocked():
        del config[key]
    with pytest.raises(ConfigError, match=f"the config has no '{key}': start from pax.config"):
        build_trainer(config, None)


@pytest.mark.parametrize("key", ROLE)
def test_a_role_that_lacks_a_setting(config, key):
    del config.agent2[key]
    with pytest.raises(ConfigError, match=f"agent2 has no '{key}': make it with pax.config.role"):
        build_trainer(config, None)


class Picky(Callback):
    def __init__(self, **settings):
        raise RuntimeError("I do not like it")


def test_a_callback_that_cannot_be_made(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "picky", sys.modules[__name__])
    config.extra_callbacks = (("picky.Picky", {"a": 1}),)
    with pytest.raises(ConfigError) as info:
        build_trainer(config, None)
    assert str(info.value) == (
        "extra_callbacks[0]: picky.Picky cannot be made with {'a': 1} (RuntimeError: I do not like it): "
        "change its settings"
    )


# What is right is built as it is written.


def test_the_trainer_is_what_the_config_says(config):
    config.update({"num_seeds": 3, "seed": 5, "chunk": 2, "num_opps": 4, "num_outer_steps": 2})
    config.env.payoff = ((1, 2), (3, 4), (5, 6), (7, 8.5))
    config.agent1.learning_rate = 0.25
    trainer = build_trainer(config, "somewhere")
    assert (trainer.num_seeds, trainer.seed, trainer.chunk, trainer.num_iters) == (3, 5, 2, 4)
    assert str(trainer.workdir) == "somewhere"
    # 10 environments, 4 sets of opponents, 2 episodes of 20 steps.
    assert trainer.env_steps_per_iteration == 10 * 4 * 2 * 20
    assert trainer.env_params.payoff_matrix.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8.5]]
    first, second = trainer.roles
    assert (first.name, first.seats, first.agent.learning_rate) == ("agent1", (0,), 0.25)
    assert isinstance(first.learner, Gradient)
    assert isinstance(second.agent, TitForTat)
    assert second.learner is None
    assert trainer.hyperparameters == config.to_dict()


@pytest.mark.parametrize(
    ("total_timesteps", "num_iters"), [(0, 4), (1, 1), (200, 1), (201, 2), (1_000_000, 5000)]
)
def test_total_timesteps_count_iterations(config, total_timesteps, num_iters):
    config.total_timesteps = total_timesteps
    assert build_trainer(config, None).num_iters == num_iters


def test_callbacks_can_be_switched_off_and_added(config):
    config.callbacks.progress.enabled = False
    config.extra_callbacks = ("callbacks.Profile", ("callbacks.Scalars", {"every": 4}))
    trainer = build_trainer(config, None)
    assert sorted(trainer.callbacks.names) == [
        "Checkpoint",
        "Curves",
        "Evaluation",
        "Profile",
        "Scalars",
        "Scalars_2",
    ]
    assert [c.every for c in trainer.callbacks if type(c).__name__ == "Scalars"] == [2, 4]
    config.callbacks.curves.enabled = False
    assert "Curves" not in build_trainer(config, None).callbacks.names


def test_a_role_that_plays_no_part_may_stay(config):
    with config.unlocked():
        config.spare = role("PPO", 1)
    assert [role.name for role in build_trainer(config, None).roles] == ["agent1", "agent2"]


def test_a_config_read_back_from_json_builds_the_same(config):
    config.extra_callbacks = (("callbacks.EarlyStop", {"monitor": "x", "threshold": 1.0}),)
    again = build_trainer(ConfigDict(jsonable(config.to_dict())), None)
    trainer = build_trainer(config, None)
    assert again.callbacks.names == trainer.callbacks.names
    assert [role.agent.describe() for role in again.roles] == [
        role.agent.describe() for role in trainer.roles
    ]
    assert again.env_params.payoff_matrix.tolist() == trainer.env_params.payoff_matrix.tolist()


def test_an_exported_policy_is_what_the_role_starts_from(config, tmp_path):
    agent = build_trainer(config, None).roles[0].agent
    params = jax.tree.map(lambda leaf: leaf + 0.5, agent.init(jax.random.key(3)).params)
    path = str(tmp_path / "policy.msgpack")
    save_policy(path, agent=agent.describe(), params=params)
    config.agent1.path = path
    for learner, cls in {"gradient": Gradient, "frozen": Frozen}.items():
        config.agent1.learner.type = learner
        built = build_trainer(config, None).roles[0].learner
        assert isinstance(built, cls)
        deployed = built.deploy(built.init(jax.random.key(0))).params
        jax.tree.map(np.testing.assert_array_equal, deployed, params)


# The folder of a run.


def test_default_workdir_is_named_after_config_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir = default_workdir("configs/ipd.py:ppo,opponent=defect")
    assert re.fullmatch(r"exp/ipd-ppo-opponent=defect-\d{8}-\d{6}", str(workdir))
    assert re.fullmatch(r"exp/mine-\d{8}-\d{6}", str(default_workdir("/a/b/mine.py")))


def test_two_runs_that_start_together_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = set()
    for _ in range(3):
        workdir = make_workdir(default_workdir("ipd.py:ppo"))
        open_run(workdir, {"seed": 0}, "ipd.py:ppo")
        folders.add(str(workdir))
    assert len(folders) == 3


def test_differences():
    old = {"a": 1, "b": {"c": [1, 2], "d": 3}}
    new = {"a": 1, "b": {"c": [1, 3]}, "e": True}
    assert describe_differences(old, new) == [
        "b.c: [1, 2] -> [1, 3]",
        "b.d: 3 -> not set",
        "e: not set -> True",
    ]
    assert describe_differences(old, old) == []


def test_what_is_recorded_of_a_run(tmp_path):
    workdir = tmp_path / "a" / "run"
    config = {"seats": (0, 1), "env": {"payoff": ((1, 2),)}}
    open_run(workdir, config, "ipd.py:ppo")
    run = read_run(workdir)
    assert run["config"] == {"seats": [0, 1], "env": {"payoff": [[1, 2]]}}
    assert run["config_path"] == "ipd.py:ppo"
    assert run["versions"]["jax"] == jax.__version__
    assert run["command"].startswith("python -m pax.main")
    assert [path.name for path in workdir.iterdir()] == ["run.json"]
    # The same again is the same run.
    before = snapshot(workdir)
    open_run(workdir, config, "ipd.py:ppo")
    assert snapshot(workdir) == before


def test_an_empty_folder_may_become_a_run(tmp_path):
    open_run(tmp_path, {}, "ipd.py")
    assert read_run(tmp_path)["config"] == {}


def test_a_config_that_cannot_be_written_down(tmp_path):
    with pytest.raises(
        ConfigError, match="the config cannot be written down .*: use numbers, text"
    ):
        open_run(tmp_path / "run", {"a": np.zeros(2)}, "ipd.py")
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_default_must_be_given():
    with pytest.raises(
        ConfigError, match="^tasks.mine has no role, which mixed_learning_rate needs"
    ):
        check_section("tasks.mine", {}, TASKS["mixed_learning_rate"])


def test_a_role_may_have_several_seats_from_the_start():
    assert role("PPO", (0, 1)).seats == (0, 1) == tuple(role("PPO", seat=[0, 1]).seats)
    assert role("PPO", 1).seats == (1,)
    for seats in ((0, "1"), (), -1):
        with pytest.raises(ConfigError, match="seat is .* in the role of PPO"):
            role("PPO", seats)
