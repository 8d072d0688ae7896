"""The command line, from outside: what is typed, what is shown, and what is left on disk."""

import datetime
import functools
import json
import math
import os
import pathlib
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time

import pytest
from absl import flags
from tensorboard.backend.event_processing import (
    data_provider,
    event_accumulator,
    plugin_event_multiplexer,
)
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import backend_context

from pax import main
from pax.checkpoints.policies import load_policy
from pax.errors import ConfigError
from tests.app_server import Answer
from tests.run.files import TIMES

ROOT = pathlib.Path(__file__).parents[1]
IPD = f"--config={ROOT}/configs/ipd.py"
REWARD = "train/reward_per_timestep/player_"

CALLBACKS = """
import json
import pathlib

from pax import Callback


class Recorder(Callback):
    def __init__(self, path, every=2):
        self.path = pathlib.Path(path)
        self.every = every

    def on_chunk_end(self, trainer, state, step, metrics):
        with self.path.open("a") as file:
            file.write(f"{step}\\n")
        if step == 4 and (self.path.parent / "fail").exists():
            raise ValueError("this is a bug of mine")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where commands are typed."""
    folder = tmp_path_factory.mktemp("somewhere")
    (folder / "my_module.py").write_text(CALLBACKS)
    return folder


@pytest.fixture(scope="module")
def pax(app, folder):
    """Runs a command line in a process of its own, which need not import Pax first."""
    return functools.partial(app, cwd=folder)


@pytest.fixture(scope="module")
def typed(folder):
    """Runs a command line as a shell does: a new interpreter imports all that it needs."""

    def run(*argv, timeout=120):
        done = subprocess.run(
            [sys.executable, "-m", "pax.main", *argv],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr, traced=0)

    return run


@pytest.fixture(scope="module")
def first_run(typed):
    """A run without `--workdir`: what it said, and its folder."""
    return typed(f"{IPD}:ppo,quicktest")


@pytest.fixture(scope="module")
def workdir(folder, first_run):
    assert first_run.code == 0, first_run.stderr
    (path,) = (folder / "exp").iterdir()
    return path


def rows(workdir):
    """The lines of `metrics.jsonl`, read as strictly as JSON is defined."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (workdir / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def without_times(rows):
    return [{key: row[key] for key in row if key not in TIMES} for row in rows]


def test_help(typed):
    result = typed("--help")
    assert re.search(
        r"^Train: +python -m pax.main --config=configs/ipd.py:ppo$", result.stdout, re.M
    )
    for flag in ("--config:", "--workdir:", "--mode: <train|evaluate|export>:", "--[no]list:"):
        assert f"\n  {flag} " in result.stdout
    assert "--config.num_envs=50" in result.stdout
    assert result.stderr == "" and result.code == 0


def test_list(pax, folder):
    (folder / "configs").symlink_to(ROOT / "configs")
    result, some = pax("--list"), pax("--list", "Coin", "loqa")
    none = pax("--list", "no such thing")
    (folder / "configs").unlink()
    assert (result.code, result.stderr) == (0, "")
    expected = {}
    for path in ROOT.glob("configs/[!_]*.py"):
        for variant, text in runpy.run_path(str(path))["VARIANTS"].items():
            expected[f"configs/{path.name}:{variant}"] = text
    assert len(expected) > 150
    assert max(map(len, result.stdout.splitlines())) <= 100
    found, file, name = {}, "", ""
    for line in result.stdout.splitlines():
        head, _, text = line.partition("  ") if line[:1] != " " else ("", "", line)
        if head:
            file = head
        elif line.startswith("  :"):
            name, _, text = line[3:].partition(" ")
            found[f"{file}:{name}"] = text.strip()
        elif line.startswith("     "):
            found[f"{file}:{name}"] += f" {text.strip()}"
    assert {name: text.strip() for name, text in found.items()} == expected
    listed = [line.split()[0] for line in some.stdout.splitlines() if line.startswith("  :")]
    assert listed == [":loqa"] and some.stdout.startswith("configs/coin_game.py  The coin game:")
    assert (none.code, none.stdout) == (1, "")
    assert "no variant has 'no such thing' in its name or text" in none.stderr


def test_what_a_run_says(first_run, workdir):
    assert re.fullmatch(r"ipd-ppo-quicktest-\d{8}-\d{6}", workdir.name)
    # The result is on stdout, in one line, and all else is not.
    assert re.fullmatch(
        r"Done at iteration 4 after \d+\.\d s. Reward per step: player_1 -\d\.\d{3}, player_2 "
        rf"-\d\.\d{{3}}. Look at it: exp/{workdir.name}/curves.png, or tensorboard "
        rf"--logdir=exp/{workdir.name}\n",
        first_run.stdout,
    )
    for part in (f"Run directory: exp/{workdir.name}", "Compiling", "Compiled 2 iterations in"):
        assert part in first_run.stderr
    assert re.search(r"iteration 2 \| train/reward_per_timestep player_1 -\d", first_run.stderr)
    assert "Traceback" not in first_run.stderr
    assert "Warning" not in first_run.stderr


def test_what_a_run_leaves(workdir):
    events = [path.name for path in workdir.glob("events.out.tfevents.*")]
    assert len(events) == 1
    assert {path.name for path in workdir.iterdir()} - set(events) == {
        ".training.lock",
        "run.json",
        "training.json",
        "metrics.jsonl",
        "curves.png",
        "checkpoints",
        "policies",
    }
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"2", "4"}
    assert [path.name for path in (workdir / "policies").iterdir()] == ["agent1.msgpack"]
    policy = load_policy(workdir / "policies" / "agent1.msgpack")
    assert policy.agent["agent"] == "PPO"
    run = json.loads((workdir / "run.json").read_text())
    assert run["config_path"] == f"{ROOT}/configs/ipd.py:ppo,quicktest"
    assert run["command"] == f"python -m pax.main {IPD}:ppo,quicktest"
    assert run["config"]["env"]["payoff"] == [[-1, -1], [-3, 0], [0, -3], [-2, -2]]
    assert run["config"]["agent1"]["learning_rate"] == 0.01
    assert set(run["versions"]) >= {"python", "jax", "numpy"}


def test_metrics_have_the_promised_names(workdir):
    lines = rows(workdir)
    assert [line["iteration"] for line in lines] == [2, 4]
    states = ("CC", "CD", "DC", "DD", "START")
    names = {
        "iteration",
        "env_steps",
        "wall_time",
        "env_steps_per_second",
        f"{REWARD}1",
        f"{REWARD}2",
        *(f"state_visitation/{state}" for state in states),
        *(f"state_probability/{state}" for state in states),
        *(f"cooperation_probability/{state}" for state in states),
    }
    evaluated = {"reward_per_timestep/player_1", "state_probability/CC"}
    for line in lines:
        assert names <= set(line)
        assert {f"evaluation/as_trained/{name}" for name in evaluated} <= set(line)
        assert {f"evaluation/defect/{name}" for name in evaluated} <= set(line)
        assert any(name.startswith("train/agent1/loss") for name in line)
        # 10 environments, 20 steps.
        assert line["env_steps"] == line["iteration"] * 200
        assert sum(line[f"state_visitation/{state}"] for state in states) == 200
        assert line["state_visitation/START"] == 10
        # Against one who always defects nobody gets to CC.
        assert line["evaluation/defect/state_probability/CC"] == 0
        assert line["evaluation/defect/cooperation_probability/CC"] is None
    assert 0 < lines[0]["wall_time"] < lines[1]["wall_time"]


def test_tensorboard_shows_scalars_and_the_config(workdir):
    accumulator = event_accumulator.EventAccumulator(
        str(workdir), size_guidance={event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0}
    )
    accumulator.Reload()
    lines = rows(workdir)
    for key in (
        f"{REWARD}1",
        "state_probability/CC",
        "evaluation/defect/reward_per_timestep/player_2",
    ):
        shown = [(event.step, event.value) for event in accumulator.Scalars(key)]
        assert shown == [(line["iteration"], pytest.approx(line[key])) for line in lines]
    named = {key for line in lines for key in line if key != "iteration" and line[key] is not None}
    alone = {"env_steps", "env_steps_per_second", "wall_time"}
    # In one group, beside those that names make.
    expected = named - alone | {f"progress/{key}" for key in alone}
    assert set(accumulator.Tags()["scalars"]) == expected
    (event,) = accumulator.Tensors("config")
    text = event.tensor_proto.string_val[0].decode()
    assert json.loads(text)["num_envs"] == 10


def test_tensorboard_shows_hyper_parameters(workdir):
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(workdir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(workdir))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = RequestContext()
    metadata = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(
        request, "", True, metadata, context.hparams_from_data_provider(request, "", 100)
    )
    shown = {info.name for info in experiment.hparam_infos}
    assert {"agent1.learning_rate", "num_envs", "seed", "env.payoff"} <= shown


def test_the_same_command_on_a_finished_run(pax, workdir, folder):
    before = (workdir / "metrics.jsonl").read_bytes()
    checkpoints = sorted((workdir / "checkpoints").rglob("*"))
    result = pax(f"{IPD}:ppo,quicktest", f"--workdir={workdir}")
    assert result.code == 0, result.stderr
    assert re.fullmatch(
        r"Done at iteration 4 .*\. Nothing was left to do. Look at it: .*\n", result.stdout
    )
    assert "Resuming at iteration 4 of 4." in result.stderr
    assert (workdir / "metrics.jsonl").read_bytes() == before
    assert sorted((workdir / "checkpoints").rglob("*")) == checkpoints


def test_evaluate(pax, workdir):
    result = pax("--mode=evaluate", f"--workdir={workdir}")
    assert result.code == 0, result.stderr
    assert "evaluation/as_trained at iteration 4\n" in result.stdout
    assert "evaluation/defect at iteration 4\n" in result.stdout
    lines = [json.loads(line) for line in (workdir / "evaluation.jsonl").read_text().splitlines()]
    assert [(line["iteration"], line["evaluation"]) for line in lines] == [
        (4, "as_trained"),
        (4, "defect"),
    ]
    # What training reported of the same policies.
    last = rows(workdir)[-1]
    for line in lines:
        # The one is read once the checkpoint was written, and the other before.
        assert line.pop("wall_time") == pytest.approx(last["wall_time"], abs=2)
        assert line.pop("seconds") > 0
        assert datetime.datetime.fromisoformat(line.pop("evaluated_at")).tzinfo
        prefix = f"evaluation/{line['evaluation']}/"
        reported = {
            key.removeprefix(prefix): value for key, value in last.items() if key.startswith(prefix)
        }
        assert reported == {
            key: value for key, value in line.items() if key not in ("iteration", "evaluation")
        }
    shown = re.findall(r"reward_per_timestep/player_1 +(-\d\.\d+)", result.stdout)
    assert [float(value) for value in shown] == [
        pytest.approx(line["reward_per_timestep/player_1"], abs=1e-4) for line in lines
    ]


def test_evaluate_a_step(pax, workdir):
    result = pax("--mode=evaluate", f"--workdir={workdir}", "--step=2", "--evaluations=defect")
    assert result.code == 0, result.stderr
    assert re.findall(r"^evaluation/.*", result.stdout, re.M) == [
        "evaluation/defect at iteration 2"
    ]
    lines = [json.loads(line) for line in (workdir / "evaluation.jsonl").read_text().splitlines()]
    (line,) = [line for line in lines if line["iteration"] == 2]
    tag = "evaluation/defect/reward_per_timestep/player_1"
    assert line["reward_per_timestep/player_1"] == rows(workdir)[0][tag]
    events = event_accumulator.EventAccumulator(str(workdir / "evaluation")).Reload()
    assert (2, pytest.approx(rows(workdir)[0][tag])) in [
        (event.step, event.value) for event in events.Scalars(tag)
    ]


def main_with(monkeypatch, argv):
    """Runs the app in this process."""
    monkeypatch.setattr(main, "enable_compilation_cache", lambda: None)
    monkeypatch.setattr(main.logging, "set_verbosity", lambda level: None)
    given = flags.FlagValues()
    main.define_flags(given)
    given(["main", "--workdir=somewhere", *argv])
    main.main([], given)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--mode=evaluate", "--step=2", "--follow"],
            "--step=2 is one checkpoint, and --follow all",
        ),
        (["--step=2"], "--step is of no use in training: add --mode=evaluate"),
        (["--follow"], "--follow is of no use in training: add --mode=evaluate"),
    ],
)
def test_flags_of_evaluation(monkeypatch, argv, message):
    with pytest.raises(ConfigError, match=message):
        main_with(monkeypatch, argv)


def test_ctrl_c_ends_a_follower(monkeypatch, capsys, tmp_path, ctrl_c_works):
    waits = []

    def wait(seconds):
        # The process gets the signal while it waits for a run that is not there.
        waits.append(seconds)
        os.kill(os.getpid(), signal.SIGINT)
        assert len(waits) < 100, "the signal does nothing"

    monkeypatch.setattr(time, "sleep", wait)
    argv = ["--mode=evaluate", "--follow", f"--workdir={tmp_path}/run"]
    with pytest.raises(SystemExit) as end:
        main_with(monkeypatch, argv)
    assert end.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "Stopped by SIGINT; the same command goes on where it was."
    )
    assert not (tmp_path / "run").exists()


def test_total_timesteps_and_payoff_from_the_shell(pax, tmp_path):
    result = pax(
        f"{IPD}:tabular,opponent=defect,quicktest",
        "--config.total_timesteps=1_000_000",
        "--config.num_inner_steps=100",
        "--config.num_envs=300",
        "--config.callbacks.evaluation.enabled=False",
        "--config.env.payoff=((-2,-2),(0,-3),(-3,0),(-1,-1))",
        f"--workdir={tmp_path}/run",
    )
    assert result.code == 0, result.stderr
    assert (
        "total_timesteps=1000000 makes 34 iterations of 30000 environment steps, 1020000 in all."
    ) in result.stderr
    lines = rows(tmp_path / "run")
    assert lines[-1]["env_steps"] == 1_020_000
    for line in lines:
        first, second = line[f"{REWARD}1"], line[f"{REWARD}2"]
        # The opponent always plays D: with a share p of C, CD pays (0, -3) and DD (-1, -1), which makes
        # p - 1 for player 1 and -1 - 2 p for player 2.
        assert -1 <= first <= 0
        assert second == pytest.approx(-1 - 2 * (first + 1), abs=1e-5)
    # C is what pays here.
    assert lines[-1][f"{REWARD}1"] > lines[0][f"{REWARD}1"]


def test_a_frozen_policy_plays_as_it_did(pax, workdir, tmp_path):
    policy = workdir / "policies" / "agent1.msgpack"
    result = pax(
        f"{IPD}:ppo,quicktest",
        f"--config.agent1.path={policy}",
        "--config.agent1.learner.type=frozen",
        f"--workdir={tmp_path}/run",
    )
    assert result.code == 0, result.stderr
    # An evaluation draws the same in every run of one seed: whoever plays the same gets the same.
    expected = {
        key: value for key, value in rows(workdir)[-1].items() if key.startswith("evaluation/")
    }
    for line in rows(tmp_path / "run"):
        assert {
            key: value for key, value in line.items() if key.startswith("evaluation/")
        } == expected
    assert (tmp_path / "run/policies/agent1.msgpack").read_bytes() == policy.read_bytes()


def test_training_goes_on_from_a_policy(pax, workdir, tmp_path):
    policy = workdir / "policies" / "agent1.msgpack"
    result = pax(
        f"{IPD}:ppo,quicktest",
        f"--config.agent1.path={policy}",
        # So that it stays where it starts.
        "--config.agent1.learning_rate=0",
        "--config.callbacks.evaluation.enabled=False",
        f"--workdir={tmp_path}/run",
    )
    assert result.code == 0, result.stderr
    start, end = (
        load_policy(policy).params,
        load_policy(tmp_path / "run/policies/agent1.msgpack").params,
    )
    assert repr(start) == repr(end)


def test_a_callback_of_ones_own_that_fails(pax, workdir, folder, tmp_path):
    steps = tmp_path / "steps"
    settings = {"path": str(steps)}
    command = [
        f"{IPD}:ppo,quicktest",
        f"--config.extra_callbacks=(('my_module.Recorder', {settings}),)",
        f"--workdir={tmp_path}/run",
    ]
    (tmp_path / "fail").touch()
    result = pax(*command)
    assert result.code == 1
    assert result.stdout == ""
    *_, last = result.stderr.splitlines()
    assert last == "Error: Recorder.on_chunk_end failed at step 4: this is a bug of mine"
    # Where in the user's own code, but nothing of ours.
    assert 'my_module.py", line ' in result.stderr
    assert steps.read_text() == "2\n4\n"
    # All that was done is on disk, and readable.
    expected = without_times(rows(workdir))
    assert without_times(rows(tmp_path / "run"))[0] == expected[0]
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    event_accumulator.EventAccumulator(str(tmp_path / "run")).Reload().Scalars(f"{REWARD}1")
    # With the bug fixed, the same command goes on.
    (tmp_path / "fail").unlink()
    result = pax(*command)
    assert result.code == 0, result.stderr
    assert "Resuming at iteration 2 of 4." in result.stderr
    assert steps.read_text() == "2\n4\n4\n"
    assert without_times(rows(tmp_path / "run")) == expected


def test_several_seeds(pax, tmp_path):
    result = pax(
        f"{IPD}:tabular,quicktest",
        "--config.num_seeds=2",
        "--config.callbacks.progress.enabled=False",
        f"--workdir={tmp_path}/run",
    )
    assert result.code == 0, result.stderr
    last = rows(tmp_path / "run")[-1]
    assert last[f"{REWARD}1/std"] >= 0
    policies = {path.name for path in (tmp_path / "run" / "policies").iterdir()}
    assert policies == {"agent1_seed_0.msgpack", "agent1_seed_1.msgpack"}
    result = pax("--mode=evaluate", f"--workdir={tmp_path}/run")
    assert result.code == 0, result.stderr
    assert re.search(r"reward_per_timestep/player_1 +\S+ \[\S+, \S+\] +seeds \[", result.stdout)
    line = json.loads((tmp_path / "run" / "evaluation.jsonl").read_text().splitlines()[0])
    rewards = line["reward_per_timestep/player_1"]
    assert len(rewards) == 2
    assert sum(rewards) / 2 == pytest.approx(
        last["evaluation/as_trained/reward_per_timestep/player_1"], abs=1e-6
    )
    assert all(math.isfinite(reward) for reward in rewards)


def test_not_a_number_stops_training(pax, tmp_path):
    result = pax(
        f"{IPD}:tabular,quicktest",
        "--config.agent1.learning_rate=3e38",
        "--config.callbacks.evaluation.enabled=False",
        f"--workdir={tmp_path}/run",
    )
    assert result.code == 1
    assert "Traceback" not in result.stderr
    assert re.search(
        r"\nError: train/agent1/\w+ is \S+ in iteration [12], so training stopped: there is no "
        r"checkpoint yet; lower the learning rate.*\n$",
        result.stderr,
    ), result.stderr


def test_the_command_is_recorded_as_it_can_be_typed(workdir):
    command = json.loads((workdir / "run.json").read_text())["command"]
    assert shlex.split(command)[:3] == ["python", "-m", "pax.main"]
