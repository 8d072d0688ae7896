"""The callbacks that ship with Pax, mostly in runs of a trainer."""

import dataclasses
import io
import json
import re
import sys
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging as absl_logging

import pax.callbacks.progress
from callbacks import (
    Checkpoint,
    EarlyStop,
    Evaluation,
    Profile,
    Progress,
    Scalars,
    ValuesByState,
    Welfare,
    WithinATrial,
)
from pax import Callback, MetaTrainer, Role
from pax.agents import AGENTS, Agent
from pax.checkpoints.policies import load_agent_state
from pax.checkpoints.reader import CHECKPOINTS
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.learners import Frozen
from pax.metrics.writers import METRICS_FILE, read_metrics
from pax.types import TrainingState
from tests.programs import sharing

HOT = IteratedMatrixGame(one_hot=True)
ENV = IteratedMatrixGame(num_inner_steps=4)
REWARD = "train/reward_per_timestep/player_1"
MONITOR = "evaluation/nice/reward_per_timestep/player_1"


class OptState(NamedTuple):
    hyperparams: dict[str, Any]


@dataclasses.dataclass
class Coin(Agent):
    """Defects with a probability to which each update adds `learning_rate` times the mean reward."""

    learning_rate: float = 0.02

    learns = True

    def init(self, key):
        params = {"defection": jax.random.uniform(key, minval=0.6, maxval=0.9)}
        opt_state = OptState({"learning_rate": jnp.float32(self.learning_rate)})
        return TrainingState(params, opt_state, jnp.int32(0))

    def policy(self, state, observations, memory, key):
        actions = jax.random.uniform(key, observations.shape) < state.params["defection"]
        return actions.astype(jnp.int32), memory

    def update(self, rollout, last_observations, state, memory, key):
        rate = state.opt_state.hyperparams["learning_rate"]
        reward = rollout.rewards.mean()
        params = {"defection": state.params["defection"] + rate * reward}
        state = dataclasses.replace(state, params=params, updates=state.updates + 1)
        return state, memory, {"loss": -reward}


def agent(kind, seat=1):
    return AGENTS[kind].for_env(ENV, seat)


def make_trainer(stock, workdir=None, *, num_iters=8, **options):
    """A trainer whose learner cooperates more and more, because all it gets is punishment.

    Evaluated against who always cooperates, it gets less and less.
    """
    trainer = MetaTrainer(
        ENV,
        [Coin.for_env(ENV), agent("Random")],
        num_envs=64,
        num_iters=num_iters,
        chunk=2,
        evaluations={"nice": {"agent2": Role("agent2", agent("Altruistic"), (1,))}},
        callbacks=stock,
        default_callbacks=False,
        workdir=workdir,
        **options,
    )
    # That of progress tells when a program is compiled.
    if any(isinstance(callback, Progress) for callback in stock):
        return trainer
    return sharing(trainer, "test_stock", repr(options))


class Probed(Callback):
    """Keeps the metrics of all chunks and evaluations, and stops if told to."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.metrics = {}
        self.evaluations = {}

    def on_chunk_end(self, trainer, state, step, metrics):
        self.metrics[step] = metrics
        if step == self.stop_at:
            trainer.request_stop("enough")

    def on_evaluation_end(self, trainer, step, name, metrics):
        self.evaluations[step, name] = dict(metrics)


# Scalars.


def rows(workdir):
    return read_metrics(workdir / METRICS_FILE)


def test_scalars_report_the_last_iteration_of_a_chunk(tmp_path):
    probed = Probed()
    trainer = make_trainer([Scalars(every=4), probed], tmp_path, num_iters=10)
    trainer.fit()

    # The last one in any case.
    assert [row["iteration"] for row in rows(tmp_path)] == [4, 8, 10]
    for row in rows(tmp_path):
        metrics = probed.metrics[row["iteration"]]
        assert row["env_steps"] == row["iteration"] * 64 * 4
        assert row.keys() == {"iteration", "env_steps", "wall_time"} | metrics.keys()
        for name, values in metrics.items():
            assert values.shape == (2,)
            if np.isfinite(values[-1]):
                assert row[name] == pytest.approx(float(values[-1]), rel=1e-6)
            else:
                assert row[name] is None


def test_scalars_report_each_iteration_of_a_chunk(tmp_path):
    probed = Probed()
    trainer = make_trainer([Scalars(every=4, each_iteration=True), probed], tmp_path, num_iters=9)
    trainer.fit()

    # Chunks of two, of which every second one is reported, and the last one.
    assert [row["iteration"] for row in rows(tmp_path)] == [3, 4, 7, 8, 9]
    for row, (step, index) in zip(
        rows(tmp_path), [(4, 0), (4, 1), (8, 0), (8, 1), (9, 0)], strict=True
    ):
        assert row[REWARD] == pytest.approx(float(probed.metrics[step][REWARD][index]), rel=1e-6)
        assert row["env_steps"] == row["iteration"] * 64 * 4
    assert len({row[REWARD] for row in rows(tmp_path)}) == 5


def test_scalars_report_the_settings_once():
    calls = []
    writer = types.SimpleNamespace(
        write_hparams=lambda settings: calls.append(("hparams", settings)),
        write_texts=lambda step, texts: calls.append((step, texts)),
    )
    settings = {"seed": 3, "agent1": {"learning_rate": 0.1}}
    trainer = types.SimpleNamespace(writer=writer, hyperparameters=settings, step=0)
    Scalars().on_fit_start(trainer, None)

    (name, reported), (step, texts) = calls
    assert (name, reported, step) == ("hparams", settings, 0)
    lines = texts["config"].splitlines()
    assert all(line.startswith("    ") for line in lines)  # Code, in Markdown.
    assert json.loads(texts["config"]) == settings


# Evaluation.


def test_evaluation_reports_every_evaluation_of_the_state_of_its_step(tmp_path):
    probed = Probed()
    trainer = make_trainer([Scalars(every=2), Evaluation(every=4), probed], tmp_path, num_seeds=2)
    trainer.fit()

    names = [key for key in rows(tmp_path)[3] if key.startswith("evaluation/")]
    assert MONITOR in names and f"{MONITOR}/std" in names
    for row in rows(tmp_path):
        assert (MONITOR in row) == (row["iteration"] in (4, 8))
    assert list(probed.evaluations) == [(4, "nice"), (8, "nice")]
    # What was reported last is what the trainer says of its present state, seed by seed.
    values = trainer.evaluate()["nice"]["reward_per_timestep/player_1"]
    assert values.shape == (2,) and values[0] != values[1]
    reported = rows(tmp_path)[-1]
    assert reported[MONITOR] == pytest.approx(values.mean(), rel=1e-6)
    assert reported[f"{MONITOR}/std"] == pytest.approx(
        abs(values[0] - values[1]) / 2**0.5, rel=1e-4
    )
    told = probed.evaluations[8, "nice"]
    assert told["reward_per_timestep/player_1"] == pytest.approx(values.mean(), rel=1e-6)
    # It is of the policy as it is: against who always cooperates, C pays -1 and D 0.
    defection = np.asarray(trainer.state.learners["agent1"].params["defection"])
    np.testing.assert_allclose(values, -(1 - defection), atol=0.1)


# Checkpoint.


def saved_steps(workdir):
    return sorted(
        int(path.name) for path in (workdir / CHECKPOINTS).iterdir() if path.name.isdigit()
    )


@pytest.mark.parametrize(("mode", "best"), [("max", 2), ("min", 10)])
def test_checkpoint_keeps_the_latest_the_best_and_every_kth(tmp_path, mode, best):
    class BestStep(Callback):
        def on_fit_end(self, trainer, state, step):
            trainer.checkpointer.wait()
            self.best = trainer.checkpointer.best_step()

    probed, best_step = Probed(), BestStep()
    checkpoint = Checkpoint(every=2, keep_latest=1, keep_every=4, monitor=MONITOR, mode=mode)
    stock = [checkpoint, Evaluation(every=2), probed, best_step]
    trainer = make_trainer(stock, tmp_path, num_iters=10)
    trainer.fit()

    values = {
        step: metrics["reward_per_timestep/player_1"]
        for (step, _), metrics in probed.evaluations.items()
    }
    assert [values[step] for step in (2, 4, 6, 8, 10)] == sorted(set(values.values()), reverse=True)
    assert best_step.best == best
    assert saved_steps(tmp_path) == sorted({best, 4, 8, 10})

    # The best checkpoint holds the very state that was evaluated.
    again = make_trainer([Checkpoint(every=2)], tmp_path)
    assert again.restore(step=best)
    evaluated = again.evaluate()["nice"]["reward_per_timestep/player_1"]
    assert evaluated == pytest.approx(values[best], rel=0, abs=0)


def test_a_state_that_was_not_evaluated_is_never_the_best(tmp_path):
    # Evaluated are 4 and 8; the checkpoint of 6 must not inherit the value of 4.
    checkpoint = Checkpoint(every=2, keep_latest=1, monitor=MONITOR)
    make_trainer([checkpoint, Evaluation(every=4)], tmp_path).fit()

    assert saved_steps(tmp_path) == [4, 8]


def test_checkpoint_exports_policies_on_the_way(tmp_path):
    whole = make_trainer([Checkpoint(every=2, export_every=4)], tmp_path / "whole", num_iters=10)
    whole.fit()
    folder = tmp_path / "whole" / "policies"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["4", "8"]
    make_trainer([Checkpoint(every=2)], tmp_path / "short", num_iters=4).fit()
    (name,) = (path.name for path in (tmp_path / "short" / "policies").iterdir())
    exported = (folder / "4" / name).read_bytes()
    assert exported == (tmp_path / "short" / "policies" / name).read_bytes()
    assert exported != (folder / name).read_bytes()


def test_checkpoint_is_judged_by_a_metric_of_training(tmp_path):
    probed = Probed()
    checkpoint = Checkpoint(every=2, keep_latest=1, mode="min")
    make_trainer([checkpoint, probed], tmp_path).fit()

    values = {step: metrics[REWARD][-1] for step, metrics in probed.metrics.items()}
    assert saved_steps(tmp_path) == sorted({min(values, key=values.get), 8})


def test_checkpoint_saves_when_a_run_is_stopped_between_two_of_them(tmp_path):
    make_trainer([Checkpoint(every=8), Probed(stop_at=4)], tmp_path, num_iters=16).fit()

    assert saved_steps(tmp_path) == [4]
    assert (tmp_path / "policies" / "agent1.msgpack").is_file()


def test_exported_policies_play_as_the_trained_ones(tmp_path):
    trainer = make_trainer([Checkpoint(every=8)], tmp_path)
    trainer.fit()
    assert [path.name for path in (tmp_path / "policies").iterdir()] == ["agent1.msgpack"]

    learner = Coin.for_env(ENV)
    policy = load_agent_state(str(tmp_path / "policies" / "agent1.msgpack"), learner)
    np.testing.assert_array_equal(
        policy.params["defection"], trainer.state.learners["agent1"].params["defection"][0]
    )
    frozen = Role("agent1", learner, (0,), Frozen.of(policy))
    loaded = MetaTrainer(ENV, [frozen, agent("Random")], num_envs=64, num_iters=1, chunk=1)
    loaded.fit()
    opponents = {"agent2": agent("Altruistic")}
    result = loaded.evaluate(opponents)
    np.testing.assert_equal(result, trainer.evaluate(opponents))
    assert result["opponents"]["reward_per_timestep/player_1"] < 0


def test_each_seed_has_a_policy_of_its_own(tmp_path):
    trainer = make_trainer([Checkpoint(every=2)], tmp_path, num_iters=2, num_seeds=2)
    trainer.fit()

    for seed in range(2):
        path = tmp_path / "policies" / f"agent1_seed_{seed}.msgpack"
        np.testing.assert_array_equal(
            load_agent_state(str(path), Coin.for_env(ENV)).params["defection"],
            trainer.state.learners["agent1"].params["defection"][seed],
        )


# Early stopping.


def test_early_stop_counts_good_looks_in_a_row():
    stops = []
    trainer = types.SimpleNamespace(request_stop=stops.append, chunk=2, num_iters=100)
    stop = EarlyStop("reward", threshold=-1.0, patience=2)

    # The mean of the chunk counts, not its last iteration.
    for values in ([-3.0, 0.0], [-1.5, -0.5], [-1.0, -2.0], [-1.0, -1.0], [0.0, -1.0]):
        assert not stops
        stop.on_chunk_end(trainer, None, 0, {"reward": np.array(values)})
    assert stops == ["reward reached -1 2 times in a row"]


def test_early_stop_can_wait_for_something_small():
    stops = []
    trainer = types.SimpleNamespace(request_stop=stops.append, chunk=2, num_iters=100)
    stop = EarlyStop("loss", threshold=0.5, mode="min", patience=1)

    stop.on_chunk_end(trainer, None, 0, {"loss": np.array([0.6])})
    stop.on_chunk_end(trainer, None, 0, {"loss": np.array([np.nan])})
    assert not stops
    stop.on_chunk_end(trainer, None, 0, {"loss": np.array([0.5])})
    assert stops


def test_early_stop_sees_that_nothing_improves_any_more():
    stops = []
    trainer = types.SimpleNamespace(request_stop=stops.append, chunk=1, num_iters=100)
    stop = EarlyStop("reward", plateau=3, min_improvement=0.5)
    # The second and the third are better by too little, the fourth by enough; then three in a row are not.
    for value in (1.0, 1.4, 1.3, 1.6, 1.7, np.nan, 2.0):
        assert not stops
        stop.on_chunk_end(trainer, None, 0, {"reward": np.array([value])})
    assert stops == ["reward did not improve 3 times in a row"]
    # What it has seen outlives an interruption.
    resumed = EarlyStop("reward", plateau=3, min_improvement=0.5)
    resumed.load_state_dict(json.loads(json.dumps(stop.state_dict())))
    assert resumed.state_dict() == stop.state_dict()


def test_early_stop_ends_when_time_is_over(tmp_path):
    def stock(seconds):
        return [Checkpoint(every=8), EarlyStop(max_seconds=seconds, every=2)]

    trainer = make_trainer(stock(1e-3), tmp_path, num_iters=20)
    trainer.fit()
    assert (trainer.step, trainer.stop_reason) == (2, "max_seconds=0.001 are over")
    # More time lets the run go on.
    resumed = make_trainer(stock(1e6), tmp_path, num_iters=20)
    resumed.fit()
    assert resumed.step == 20


def test_early_stop_wants_something_to_stop_for():
    with pytest.raises(ConfigError, match="nothing to stop for: give it a threshold, a plateau or"):
        EarlyStop()


def test_early_stop_goes_on_counting_when_a_run_is_resumed(tmp_path):
    def stock(*more):
        patient = EarlyStop(REWARD, threshold=-100.0, patience=3, every=2)
        return [Checkpoint(every=8), patient, *more]

    whole = make_trainer(stock(), tmp_path / "whole", num_iters=20)
    whole.fit()
    assert whole.step == 6
    assert whole.stop_reason == f"{REWARD} reached -100 3 times in a row"
    assert saved_steps(tmp_path / "whole") == [6]

    make_trainer(stock(Probed(stop_at=4)), tmp_path / "halves", num_iters=20).fit()
    resumed = make_trainer(stock(), tmp_path / "halves", num_iters=20)
    resumed.fit()
    assert resumed.step == 6


@pytest.mark.parametrize(
    "stock",
    [
        EarlyStop("train/rewards", threshold=0.0, every=2),
        Checkpoint(every=2, monitor="train/rewards"),
    ],
    ids=lambda callback: callback.name,
)
def test_a_metric_that_does_not_exist_is_named_with_those_that_do(stock, tmp_path):
    with pytest.raises(
        ConfigError, match=f"monitor is 'train/rewards' in {stock.name}: .*{REWARD}"
    ):
        # A seed that no other test has: what these compiled would be there.
        trainer = make_trainer([stock], tmp_path, seed=99)
        trainer.fit()
    assert not trainer.compile_seconds


# Profile.


def test_profile_writes_one_trace(tmp_path, monkeypatch):
    started = []
    start_trace = jax.profiler.start_trace
    monkeypatch.setattr(
        jax.profiler, "start_trace", lambda path: started.append(path) or start_trace(path)
    )
    trainer = make_trainer([Profile(start=2, iterations=2)], tmp_path, num_iters=8)
    trainer.fit()

    traces = list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))
    assert len(traces) == 1 and traces[0].stat().st_size > 0
    assert started == [str(tmp_path)]


def test_profile_stops_tracing_when_the_run_ends_early(tmp_path):
    stock = [Profile(start=2, iterations=100), Probed(stop_at=4)]
    make_trainer(stock, tmp_path).fit()
    assert len(list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))) == 1

    # Nothing to trace any more.
    make_trainer([Profile(start=8)], tmp_path / "late").fit()
    assert not list((tmp_path / "late").glob("plugins/**/*.pb"))


# Progress.


class Terminal(io.StringIO):
    def isatty(self):
        return True


def use_terminal(monkeypatch):
    """To be called in the test itself: pytest exchanges `sys.stderr` once the fixtures are ready."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return terminal


@pytest.fixture
def log(monkeypatch):
    """Lines that went to the log."""
    lines = []
    monkeypatch.setattr(absl_logging, "info", lambda text, *args: lines.append(text % args))
    return lines


def test_progress_is_a_bar_in_a_terminal(monkeypatch):
    terminal = use_terminal(monkeypatch)
    probed = Probed()
    make_trainer([Progress(), probed]).fit()

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "compiling" in shown
    last_line = shown[shown.rindex("training") :]
    assert "8/8 ETA 0:00:00" in last_line
    rewards = [
        probed.metrics[8][f"train/reward_per_timestep/player_{player}"][-1] for player in (1, 2)
    ]
    assert "M steps/s reward {:.3f} {:.3f}".format(*rewards) in last_line


def test_progress_leaves_the_log_where_it_was(monkeypatch):
    terminal = use_terminal(monkeypatch)
    handler = absl_logging.get_absl_handler().python_handler
    file = io.StringIO()
    monkeypatch.setattr(handler, "stream", file)

    class Look(Callback):
        def on_chunk_end(self, trainer, state, step, metrics):
            self.stream = handler.stream

    look = Look()
    make_trainer([Progress(), look], num_iters=2).fit()
    assert look.stream is handler.stream is file

    # What goes to the terminal goes above the bar meanwhile.
    monkeypatch.setattr(handler, "stream", terminal)
    make_trainer([Progress(), look], num_iters=2).fit()
    assert look.stream is not terminal
    assert handler.stream is terminal is sys.stderr


@pytest.mark.parametrize(
    ("is_notebook", "has_widgets"), [(True, True), (True, False), (False, True)]
)
def test_progress_is_a_widget_in_a_notebook_that_has_the_package(
    monkeypatch, is_notebook, has_widgets
):
    spec = types.SimpleNamespace() if has_widgets else None
    console = types.SimpleNamespace(is_jupyter=is_notebook)
    monkeypatch.setattr("pax.callbacks.progress.Console", lambda **settings: console)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    found = pax.callbacks.progress.find_console()
    assert found == (console if is_notebook and has_widgets else None)


def test_progress_is_lines_in_the_log_without_a_terminal(log, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    make_trainer([Progress(seconds=0.0)]).fit()

    lines = [line for line in log if "Compil" in line or line.startswith("iteration")]
    assert lines[0] == "Compiling ..."
    progress = [line for line in lines if line.startswith("iteration")]
    assert len(progress) == 4
    assert progress[-1].startswith("iteration 8 of 8, ETA 0 s, ")
    assert progress[-1].endswith(" M steps/s")


def fake_run(monkeypatch, progress, times, *, is_lead=True, step=0):
    """Chunks of two iterations that end at the given times; the first time is the start."""
    clock = iter(times)
    monkeypatch.setattr(
        pax.callbacks.progress, "time", types.SimpleNamespace(monotonic=lambda: next(clock))
    )
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    trainer = types.SimpleNamespace(
        is_lead=is_lead,
        num_iters=10,
        step=step,
        chunk=2,
        compiled_loop=types.SimpleNamespace(is_compiled=lambda size: False),
    )
    progress.on_fit_start(trainer, None)
    for chunk in range(1, len(times)):
        metrics = {"env_steps_per_second": np.array([1.0, 2.5e6])}
        progress.on_chunk_end(trainer, None, step + 2 * chunk, metrics)


def test_the_time_that_is_left_does_not_count_compiling(log, monkeypatch):
    # 100 s to compile, then 3 s per chunk of two.
    fake_run(monkeypatch, Progress(seconds=5.0), [0.0, 100.0, 103.0, 106.0])

    assert log[1:] == [
        "iteration 2 of 10, 2.50 M steps/s",
        # No line 3 s later; another 3 s later, 4 iterations of 1.5 s are left.
        "iteration 6 of 10, ETA 6 s, 2.50 M steps/s",
    ]


def test_progress_of_a_resumed_run_counts_from_there(log, monkeypatch):
    fake_run(monkeypatch, Progress(seconds=0.0), [0.0, 50.0, 53.0], step=4)

    assert log[-1] == "iteration 8 of 10, ETA 3 s, 2.50 M steps/s"


def test_progress_is_shown_by_one_process(log, monkeypatch):
    fake_run(monkeypatch, Progress(seconds=0.0), [0.0, 1.0, 2.0], is_lead=False)

    assert log == []


# Bad input.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Checkpoint(mode="best"), "mode is 'best' in Checkpoint: choose one of max, min"),
        (
            lambda: Checkpoint(every=10, keep_every=15),
            "keep_every is 15 in Checkpoint, which saves every 10 iterations: give a multiple of 10",
        ),
        (
            lambda: Checkpoint(every=10, export_every=5),
            "export_every is 5 in Checkpoint, which saves every 10 iterations: give a multiple of 10",
        ),
        (
            lambda: EarlyStop("x", 0.0, mode="up"),
            "mode is 'up' in EarlyStop: choose one of max, min",
        ),
        (
            lambda: ValuesByState().check(
                MetaTrainer(HOT, [AGENTS["Random"].for_env(HOT, seat) for seat in (0, 1)])
            ),
            "ValuesByState names the states of a matrix game, and IteratedMatrixGame does not",
        ),
        (
            # Its learner trains no critic.
            lambda: ValuesByState().check(MetaTrainer(ENV, [Coin.for_env(ENV), agent("Random")])),
            "ValuesByState reports what critics say, and no role here trains one: leave it out",
        ),
        (lambda: EarlyStop("x", 0.0, patience=0), "patience is 0 in EarlyStop: give at least 1"),
        (
            lambda: Profile(start=0),
            "start is 0 in Profile: give at least 1",
        ),
        (
            lambda: make_trainer([Checkpoint(every=2)]).fit(),
            "Checkpoint has nowhere to save: give the trainer a workdir",
        ),
        (
            lambda: make_trainer([Profile()]).fit(),
            "Profile has nowhere to write: give the trainer a workdir",
        ),
        (
            lambda: make_trainer([Evaluation(every=3)]),
            "Evaluation.every=3 must be a positive multiple of chunk=2, .*: use 2 or 4",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_values_by_state_and_welfare():
    env = IteratedMatrixGame(num_inner_steps=4)
    agent = AGENTS["PPO"].for_env(env, num_minibatches=1)
    trainer = MetaTrainer(
        env,
        [agent, AGENTS["Defect"].for_env(env, 1)],
        num_envs=4,
        num_iters=2,
        num_seeds=2,
        chunk=1,
        callbacks=[ValuesByState(every=2), Welfare()],
    )
    trainer.fit()
    rewards = sum(
        trainer.history[f"train/reward_per_timestep/player_{player}"] for player in (1, 2)
    )
    np.testing.assert_allclose(trainer.history["welfare_per_timestep"], rewards, rtol=1e-6)
    of_seed = {seed: trainer.agent(seed=seed).state.params for seed in (0, 1)}
    for state, name in enumerate(env.state_names):
        values = trainer.history[f"value/player_1/{name}"]
        assert np.isnan(values[:2]).all()  # Of the first iteration.
        for seed, params in of_seed.items():
            _, value = agent._module.apply({"params": params}, jnp.array([state]))
            np.testing.assert_allclose(values[2 + seed], value[0], rtol=1e-5)


def test_within_a_trial_tells_its_two_ends_apart():
    class ByHand(Callback):
        def probe(self, trial):
            both = (trial.actions[0] == 0) & (trial.actions[1] == 0)  # [K, T, E]
            # After the last step nothing is seen any more.
            visits = both[:, :-1].sum((1, 2)).astype(float)
            rewards = trial.episode_rewards[:, 1]
            ends = {"first": slice(0, 2), "last": slice(8, 10)}
            return {f"visits/{name}": visits[at].sum() for name, at in ends.items()} | {
                f"reward/{name}": rewards[at].mean() for name, at in ends.items()
            }

    env = IteratedMatrixGame(num_inner_steps=6)
    learner = AGENTS["Tabular"].for_env(env, 1, learning_rate=0.5, num_minibatches=1)
    roles = [
        Role("one", AGENTS["Random"].for_env(env), (0,)),
        Role("two", learner, (1,), learns_in_trial=True),
    ]
    sizes = {"num_envs": 8, "num_outer_steps": 10, "num_iters": 1, "num_seeds": 1}
    trainer = MetaTrainer(env, roles, callbacks=[WithinATrial(), ByHand()], **sizes)
    metrics = trainer.fit()
    for name in ("first", "last"):
        assert metrics[f"{name}_fifth/state_visitation/CC"] == metrics[f"visits/{name}"] > 0
        np.testing.assert_allclose(
            metrics[f"{name}_fifth/reward_per_timestep/player_2"],
            metrics[f"reward/{name}"],
            rtol=1e-6,
        )
    assert metrics["reward/last"] > metrics["reward/first"] + 0.1
