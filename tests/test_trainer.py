"""MetaTrainer: fitting, resuming, stopping, and what it says when something is wrong."""

import dataclasses
import itertools
import json
import logging
import shutil
import subprocess
import sys
import textwrap
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pax.training
from callbacks import Checkpoint, EarlyStop, Evaluation, Scalars
from pax import Callback, MetaTrainer, Role
from pax.agents import AGENTS, Agent
from pax.callbacks.callback import CallbackError
from pax.envs import IteratedMatrixGame
from pax.errors import CheckpointError, ConfigError, TrainingError
from pax.learners import COALA, Frozen, Gradient
from pax.metrics.writers import METRICS_FILE, read_metrics
from pax.types import TrainingState
from tests.programs import sharing

ENV = IteratedMatrixGame(num_inner_steps=4)
REWARD = "train/reward_per_timestep/player_1"
STATES = ("CC", "CD", "DC", "DD", "START")


class OptState(NamedTuple):
    hyperparams: dict[str, Any]


@dataclasses.dataclass
class Coin(Agent):
    """Defects with a probability to which each update adds `learning_rate` times the mean reward."""

    learning_rate: float = 0.05
    nan_at: int = -1
    """The update, from 0, whose loss is not a number."""

    learns = True

    def init(self, key):
        params = {"defection": jax.random.uniform(key, minval=0.3, maxval=0.7)}
        # In the state instead of in the program, which all trainers can then share.
        settings = {"learning_rate": self.learning_rate, "nan_at": self.nan_at}
        opt_state = OptState({name: jnp.float32(value) for name, value in settings.items()})
        return TrainingState(params, opt_state, jnp.int32(0))

    def policy(self, state, observations, memory, key):
        actions = jax.random.uniform(key, observations.shape) < state.params["defection"]
        return actions.astype(jnp.int32), memory

    def update(self, rollout, last_observations, state, memory, key):
        reward = rollout.rewards.mean()
        settings = state.opt_state.hyperparams
        params = {"defection": state.params["defection"] + settings["learning_rate"] * reward}
        loss = jnp.where(state.updates == settings["nan_at"], jnp.nan, -reward)
        state = dataclasses.replace(state, params=params, updates=state.updates + 1)
        return state, memory, {"loss": loss}


class Recorder(Callback):
    """Writes down what happens, and does something at a step."""

    def __init__(self, priority=30, every=None, at=None, do=None):
        self.priority = priority
        self.every = every
        self.at = at
        self.do = do
        self.events = []

    def on_chunk_end(self, trainer, state, step, metrics):
        self.events.append(("chunk", step))
        if step == self.at:
            self.do(trainer)

    def on_evaluation_end(self, trainer, step, name, metrics):
        self.events.append(("evaluation", step))

    def on_save(self, trainer, step):
        self.events.append(("save", step))

    def on_fit_end(self, trainer, state, step):
        self.events.append(("end", step))


def agent(kind, seat=0, **settings):
    return AGENTS[kind].for_env(ENV, seat, **settings)


def coin_trainer(*, num_iters=8, opponent="Random", **options):
    """A trainer that compiles fast."""
    coin = Coin.for_env(
        ENV, **{k: options.pop(k) for k in ("nan_at", "learning_rate") if k in options}
    )
    settings = {"num_envs": 4, "chunk": 2, "default_callbacks": False, **options}
    trainer = MetaTrainer(ENV, [coin, agent(opponent, 1)], num_iters=num_iters, **settings)
    if any(
        type(callback).probe is not Callback.probe for callback in settings.get("callbacks", ())
    ):
        return trainer
    sizes = {k: v for k, v in settings.items() if k not in ("callbacks", "workdir")}
    return sharing(trainer, opponent, repr(coin), *sorted(sizes.items()))


def as_numpy(tree):
    """The leaves of a tree, keys as the numbers they are made of."""
    return [
        np.asarray(
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )
        for leaf in jax.tree.leaves(tree)
    ]


def assert_trees_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(as_numpy(actual), as_numpy(expected), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def rows_but_times(workdir):
    """The lines of metrics.jsonl as text, without what differs from one run to the next."""
    rows = []
    for line in (workdir / METRICS_FILE).read_text().splitlines():
        row = json.loads(line)
        assert row.pop("wall_time") > 0 and row.pop("env_steps_per_second") > 0
        rows.append(json.dumps(row))
    return rows


# A notebook.

NOTEBOOK = """
from pax import MetaTrainer
from pax.agents import AGENTS
from pax.envs import IteratedMatrixGame
env = IteratedMatrixGame(num_inner_steps=10)
learner = AGENTS["Tabular"].for_env(env, learning_rate=0.2, num_minibatches=2)
opponent = AGENTS["Altruistic"].for_env(env, 1)
trainer = MetaTrainer(env, [learner, opponent], num_envs=32, num_iters=40)
metrics = trainer.fit()
results = trainer.evaluate()
against_defect = trainer.evaluate({"agent2": AGENTS["Defect"].for_env(env, 1)})
"""


def test_training_and_evaluation_take_fewer_than_15_lines():
    assert len(NOTEBOOK.strip().splitlines()) < 15
    cells: dict[str, Any] = {}
    exec(NOTEBOOK, cells)

    # To defect against who always cooperates pays 0 per step.
    assert cells["metrics"][REWARD] > -0.1
    assert cells["metrics"]["cooperation_probability/START"] < 0.2
    evaluated = cells["results"]["as_trained"]
    assert evaluated["reward_per_timestep/player_1"] > -0.1
    assert evaluated["reward_per_timestep/player_2"] < -2.7
    assert evaluated["state_visitation/START"] == 32
    defected = cells["against_defect"]["opponents"]
    cooperation = sum(
        defected[f"state_probability/{state}"] * defected[f"cooperation_probability/{state}"]
        for state in ("CD", "DD", "START")
    )
    # -3 for who cooperates there, and 0 for the defector.
    assert defected["reward_per_timestep/player_1"] == pytest.approx(-2 - cooperation, rel=1e-5)
    assert defected["reward_per_timestep/player_2"] == pytest.approx(-2 + 2 * cooperation, rel=1e-5)
    assert cells["trainer"].step == 40


# Resuming. What is not interrupted, a copy of its folder amid the run, and a run that is stopped.


def learning_trainer(workdir, *callbacks):
    tabular = agent("Tabular", num_epochs=1, num_minibatches=2)
    roles = [
        tabular,
        Role("inner", Coin.for_env(ENV, 1), (1,), learns_in_trial=True, reset_every=0),
    ]
    trainer = MetaTrainer(
        ENV,
        roles,
        num_envs=4,
        num_opps=2,
        num_outer_steps=2,
        num_iters=12,
        num_seeds=2,
        seed=3,
        chunk=2,
        evaluations={"defect": {"inner": Role("inner", agent("Defect", 1), (1,))}},
        callbacks=[
            Checkpoint(every=4),  # First, but its priority is the highest.
            Scalars(every=2, each_iteration=True),
            Evaluation(every=4),
            EarlyStop(REWARD, threshold=100.0, every=2),
            *callbacks,
        ],
        default_callbacks=False,
        workdir=workdir,
    )
    return sharing(trainer, "learning")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A trainer that ran to the end, its events, and its folder as `kill -9` would have left it."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    killed = tmp_path_factory.mktemp("killed") / "run"

    def copy(trainer):
        trainer.checkpointer.wait()
        shutil.copytree(trainer.workdir, killed)

    recorder = Recorder(priority=200, at=6, do=copy)
    trainer = learning_trainer(workdir, recorder)
    metrics = trainer.fit()
    return trainer, metrics, recorder.events, killed


def test_callbacks_of_a_step_see_evaluation_before_the_checkpoint(uninterrupted):
    _, _, events, _ = uninterrupted

    expected = []
    for step in range(2, 13, 2):
        if step % 4 == 0:
            expected += [("evaluation", step), ("save", step)]
        expected.append(("chunk", step))
    assert events == [*expected, ("end", 12)]


def test_metrics_have_the_names_that_users_know(uninterrupted):
    trainer, metrics, _, _ = uninterrupted
    rows = read_metrics(trainer.workdir / METRICS_FILE)

    assert [row["iteration"] for row in rows] == list(range(1, 13))
    steps = 2 * 2 * 4 * 4  # Opponents, episodes, environments and steps, of one seed.
    assert [row["env_steps"] for row in rows] == [steps * row["iteration"] for row in rows]
    times = [row["wall_time"] for row in rows]
    assert times == sorted(times) and times[0] > 0
    names = ["env_steps_per_second"]
    names += [f"train/reward_per_timestep/player_{player}" for player in (1, 2)]
    names += [f"state_visitation/{state}" for state in STATES]
    names += [f"state_probability/{state}" for state in STATES]
    names += [f"cooperation_probability/{state}" for state in STATES]
    names += [
        f"train/agent1/{loss}" for loss in ("loss_total", "loss_policy", "loss_value", "entropy")
    ]
    names += ["train/inner/loss"]
    for row in rows:
        assert set(names) <= set(row)
        assert f"{REWARD}/std" in row  # There are two seeds.
        assert ("evaluation/defect/reward_per_timestep/player_1" in row) == (
            row["iteration"] % 4 == 0
        )
    assert {name for name in names if name in metrics} == set(names)
    for name, value in metrics.items():
        assert isinstance(value, float)
        if name != "env_steps_per_second" and np.isfinite(value):
            assert rows[-1][name] == pytest.approx(value, rel=1e-6)


def test_metrics_agree_with_each_other(uninterrupted):
    trainer, _, _, _ = uninterrupted
    for row in read_metrics(trainer.workdir / METRICS_FILE):
        visits = np.array([row[f"state_visitation/{state}"] for state in STATES])
        # 2 opponents, 2 episodes and 4 environments of 4 steps each, averaged over the seeds.
        assert visits.sum() == pytest.approx(2 * 2 * 4 * 4)
        assert row["state_visitation/START"] == 2 * 2 * 4
        probability = [row[f"state_probability/{state}"] for state in STATES]
        np.testing.assert_allclose(probability, visits / visits.sum(), rtol=1e-5)


def test_a_killed_run_goes_on_bit_for_bit(uninterrupted):
    trainer, metrics, _, killed = uninterrupted
    # The lines of iterations 5 and 6 are there, and the checkpoint is of iteration 4.
    assert len(rows_but_times(killed)) == 6
    resumed = learning_trainer(killed)
    again = resumed.fit()

    assert rows_but_times(killed) == rows_but_times(trainer.workdir)
    assert_trees_equal(resumed.state, trainer.state)
    speed = {"env_steps_per_second": again["env_steps_per_second"]}
    assert again == pytest.approx(metrics | speed, rel=0, abs=0, nan_ok=True)
    assert resumed.step == 12 and resumed.state.step == 12


def test_a_stopped_run_goes_on_bit_for_bit_and_is_evaluated_anywhere(uninterrupted, tmp_path):
    trainer, _, _, _ = uninterrupted
    stopped = learning_trainer(
        tmp_path, Recorder(at=8, do=lambda trainer: trainer.request_stop("enough"))
    )
    stopped.fit()
    assert (stopped.step, stopped.stop_reason) == (8, "enough")
    rows = rows_but_times(tmp_path)
    assert rows == rows_but_times(trainer.workdir)[:8]

    # Another process, as far as a trainer can tell: nothing but the folder is left.
    resumed = learning_trainer(tmp_path)
    assert resumed.state is None
    before = resumed.evaluate()
    assert resumed.step == 8
    resumed.fit()
    assert resumed.stop_reason is None
    assert rows_but_times(tmp_path) == rows_but_times(trainer.workdir)
    assert_trees_equal(resumed.state, trainer.state)

    # Evaluated from the checkpoint of iteration 8 as it was during training.
    reported = read_metrics(tmp_path / METRICS_FILE)[7]
    rewards = before["defect"]["reward_per_timestep/player_1"]
    assert rewards.shape == (2,) and rewards[0] != rewards[1]
    key = "evaluation/defect/reward_per_timestep/player_1"
    assert reported[key] == pytest.approx(rewards.mean(), rel=1e-6)
    assert reported[f"{key}/std"] == pytest.approx(rewards.std(ddof=1), rel=1e-4)


def test_wall_time_goes_on_where_it_was(tmp_path):
    first = coin_trainer(num_iters=4, callbacks=[Checkpoint(2), Scalars(2)], workdir=tmp_path)
    first.fit()
    second = coin_trainer(num_iters=6, callbacks=[Checkpoint(2), Scalars(2)], workdir=tmp_path)
    second.fit()

    times = [row["wall_time"] for row in read_metrics(tmp_path / METRICS_FILE)]
    assert len(times) == 3 and times == sorted(times)


# Fitting.


def test_two_fits_equal_one(tmp_path):
    options = {"callbacks": [Scalars(every=2, each_iteration=True)], "num_iters": 5}
    once = coin_trainer(workdir=tmp_path / "once", **options)
    metrics = once.fit()
    twice = coin_trainer(workdir=tmp_path / "twice", **options)
    twice.fit(num_iters=2)
    assert twice.step == 2 == twice.state.step
    again = twice.fit(num_iters=5)

    assert_trees_equal(twice.state, once.state)
    assert rows_but_times(tmp_path / "twice") == rows_but_times(tmp_path / "once")
    assert len(rows_but_times(tmp_path / "once")) == 5
    for name in metrics:
        if name != "env_steps_per_second":
            np.testing.assert_equal(again[name], metrics[name])
    # There is nothing left to do: the last metrics are as they were.
    np.testing.assert_equal(twice.fit(num_iters=5), again)


def test_the_chunk_changes_nothing():
    short, long = coin_trainer(num_iters=6, chunk=2), coin_trainer(num_iters=6, chunk=4)
    short.fit()
    long.fit()

    assert_trees_equal(short.state, long.state)


def test_metrics_of_several_seeds_are_those_of_separate_runs():
    class Seeds(Callback):
        def on_chunk_end(self, trainer, state, step, metrics):
            self.metrics = metrics

    seeds = Seeds()
    together = coin_trainer(num_seeds=3, seed=5, num_iters=4, callbacks=[seeds]).fit()
    alone = [coin_trainer(seed=seed, num_iters=4).fit() for seed in (5, 6, 7)]

    for name in (REWARD, "train/agent1/loss", "state_visitation/DD"):
        values = np.array([metrics[name] for metrics in alone])
        assert len(set(values)) == 3
        # Batched differently, sums are taken in another order: equal but for rounding.
        np.testing.assert_allclose(seeds.metrics.per_seed[name][-1], values, rtol=1e-5)
        assert together[name] == pytest.approx(values.mean(), rel=1e-5)
        assert together[f"{name}/std"] == pytest.approx(
            np.sqrt(((values - values.mean()) ** 2).sum() / 2), rel=1e-3
        )
    assert not any(name.endswith("/std") for name in alone[0])


def test_env_steps_per_second_count_all_seeds_and_no_compiling(monkeypatch):
    class Speed(Callback):
        def on_chunk_end(self, trainer, state, step, metrics):
            self.speed = metrics["env_steps_per_second"]

    # A clock that is looked at before and after a chunk, and advances 1 s each time.
    clock = types.SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr(pax.training, "time", clock)
    coin_trainer(num_seeds=3, num_iters=2, callbacks=[speed := Speed()]).fit()
    # Seeds, iterations, environments and steps.
    np.testing.assert_array_equal(speed.speed, [3 * 2 * 4 * 4] * 2)


def test_env_steps_of_an_iteration_are_those_of_one_seed():
    trainer = coin_trainer(num_seeds=3, num_opps=2, num_outer_steps=5)
    assert trainer.env_steps_per_iteration == 2 * 5 * 4 * 4


def test_each_size_of_chunk_is_compiled_once():
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("jax")
    # Sizes of its own, so that nothing is compiled already.
    trainer = coin_trainer(num_iters=10, chunk=4, num_envs=3)
    logger.addHandler(handler)
    try:
        with jax.log_compiles():
            trainer.fit()
            trainer.fit(num_iters=18)
    finally:
        logger.removeHandler(handler)

    compiled = [line for line in lines if line.startswith("Finished XLA compilation of")]
    # Chunks of 4, 4 and 2, and then 4 and 4.
    assert sum("jit(_run)" in line for line in compiled) == 2, compiled
    # Besides, the initial state; nothing else, certainly not one program per iteration.
    assert sum("init_state" in line for line in compiled) == 1, compiled


def test_every_number_of_iterations_is_possible():
    trainer = coin_trainer(num_iters=1, chunk=4)
    assert np.isfinite(trainer.fit()[REWARD])
    assert trainer.step == 1


def test_probes_of_callbacks_join_the_metrics():
    class Look(Callback):
        def probe(self, trial):
            steps = trial.rollouts["agent1"].rewards.size
            return {"steps": jnp.float32(steps), "undefined": jnp.nan}

    metrics = coin_trainer(num_iters=2, callbacks=[Look()]).fit()
    assert metrics["steps"] == 4 * 4
    assert np.isnan(metrics["undefined"])  # Which is no reason to end training.


def test_samplers_draw_the_learning_rate_and_the_hard_stop():
    def sampler(draw, task):
        rate = {"inner": {"learning_rate": jnp.float32(0.5)}}
        return task.replace(stop=jnp.int32(2), hyperparameters=rate)

    roles = [
        agent("Defect"),
        Role("inner", Coin.for_env(ENV, 1), (1,), learns_in_trial=True, reset_every=0),
    ]
    trainer = MetaTrainer(
        ENV, roles, samplers=[sampler], num_envs=4, num_outer_steps=5, num_iters=1, chunk=1
    )
    metrics = trainer.fit()

    inner = trainer.state.inner["inner"]
    np.testing.assert_array_equal(inner.updates, [[[2]]])
    np.testing.assert_allclose(inner.opt_state.hyperparams["learning_rate"], 0.5)
    assert 2.0 <= metrics["train/inner/loss"] <= 3.0  # CD pays -3 and DD -2.


def test_a_stop_before_the_first_update_is_no_error():
    roles = [agent("Defect"), Role("inner", Coin.for_env(ENV, 1), (1,), learns_in_trial=True)]
    sampler = lambda draw, task: task.replace(stop=jnp.int32(0))  # noqa: E731
    trainer = MetaTrainer(ENV, roles, samplers=[sampler], num_envs=4, num_iters=2, chunk=2)

    assert trainer.fit()["train/inner/loss"] == 0.0


# Evaluating.


def test_evaluation_changes_nothing_and_repeats_itself():
    trainer = coin_trainer(num_iters=2)
    trainer.fit()
    before = as_numpy(trainer.state)

    first, second = trainer.evaluate(), trainer.evaluate()
    np.testing.assert_equal(first, second)
    for one, other in zip(as_numpy(trainer.state), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert trainer.fit(num_iters=4)


def test_evaluation_plays_what_was_learned_against_opponents_of_choice():
    # Every reward is negative, so one update ends all defection.
    trainer = coin_trainer(num_iters=2, learning_rate=100.0)
    trainer.fit()

    result = trainer.evaluate({"agent2": agent("Defect", 1)})["opponents"]
    assert result["reward_per_timestep/player_1"] == -3.0
    assert result["reward_per_timestep/player_2"] == 0.0
    assert result["state_visitation/CD"] == 4 * 3
    assert isinstance(result["reward_per_timestep/player_1"], float)

    replaced = {"agent1": agent("Defect"), "agent2": agent("TitForTat", 1)}
    result = trainer.evaluate(replaced)["opponents"]
    # Against tit-for-tat: once the temptation, 0, then punishment, -2, for three steps.
    assert result["reward_per_timestep/player_1"] == pytest.approx(-6 / 4)
    assert result["reward_per_timestep/player_2"] == pytest.approx((-3 - 6) / 4)


def test_evaluation_without_training_says_so(tmp_path):
    with pytest.raises(
        CheckpointError, match="nothing was learned yet, and no checkpoint in .*: call fit"
    ):
        coin_trainer(workdir=tmp_path).evaluate()


def test_evaluation_names_roles_that_exist():
    trainer = coin_trainer(num_iters=2)
    trainer.fit()
    with pytest.raises(ConfigError, match="'nobody': this run has agent1, agent2"):
        trainer.evaluate({"nobody": agent("Defect", 1)})


# Stopping and failing.


def test_a_stop_is_kept_with_its_first_reason_and_ends_after_the_chunk(tmp_path):
    def stop(trainer):
        trainer.request_stop("first")
        trainer.request_stop("second")

    recorder = Recorder(at=4, do=stop)
    trainer = coin_trainer(callbacks=[recorder, Checkpoint(every=8)], workdir=tmp_path)
    trainer.fit()

    assert (trainer.step, trainer.stop_reason) == (4, "first")
    # The checkpoint of iteration 8 was not to be had: the last one is saved instead.
    assert recorder.events == [("chunk", 2), ("chunk", 4), ("save", 4), ("end", 4)]
    trainer.fit()
    assert (trainer.step, trainer.stop_reason) == (8, None)


def test_a_stop_at_the_very_last_moment_is_saved(tmp_path, monkeypatch):
    recorder = Recorder()
    trainer = coin_trainer(callbacks=[recorder, Checkpoint(every=8)], workdir=tmp_path)
    on_chunk_end = trainer.callbacks.on_chunk_end

    def stop_afterwards(*args):
        on_chunk_end(*args)
        trainer.request_stop("SIGTERM")

    monkeypatch.setattr(trainer.callbacks, "on_chunk_end", stop_afterwards)
    trainer.fit(pass_on_signals=False)

    assert recorder.events == [("chunk", 2), ("save", 2), ("end", 2)]


def test_nan_in_training_names_metric_iterations_and_checkpoint(tmp_path):
    options = {"nan_at": 6, "num_iters": 12, "workdir": tmp_path}
    callbacks = lambda: [Checkpoint(every=4), Scalars(every=2)]  # noqa: E731
    with pytest.raises(TrainingError) as error:
        coin_trainer(callbacks=callbacks(), **options).fit()

    # The update after six others is that of iteration 7.
    message = str(error.value)
    assert message.startswith("train/agent1/loss is nan in iteration 7, so training stopped")
    assert f"the last good checkpoint is that of iteration 4 in {tmp_path}" in message
    rows = read_metrics(tmp_path / METRICS_FILE)
    assert [row["iteration"] for row in rows] == [2, 4, 6]

    restored = coin_trainer(callbacks=callbacks(), **options)
    assert restored.restore(step=4)
    assert restored.step == 4
    healthy = coin_trainer(num_iters=4, nan_at=6)
    healthy.fit()
    assert_trees_equal(restored.state, healthy.state)


def test_nan_without_a_checkpoint_says_so_and_training_starts_afresh():
    trainer = coin_trainer(nan_at=2)
    with pytest.raises(TrainingError, match="in iteration 3, .*: nothing was saved; lower the"):
        trainer.fit()

    with pytest.raises(TrainingError, match="in iteration 3, "):
        trainer.fit()
    with pytest.raises(CheckpointError):
        trainer.evaluate()
    trainer.fit(num_iters=2)
    assert trainer.step == 2 == trainer.state.step


def test_an_error_in_a_callback_names_hook_and_step(tmp_path):
    def fail(trainer):
        raise KeyError("oops")

    trainer = coin_trainer(
        callbacks=[Scalars(every=2), Checkpoint(every=2), Recorder(at=6, do=fail)],
        workdir=tmp_path,
    )
    with pytest.raises(
        CallbackError, match=r"Recorder.on_chunk_end failed at step 6: KeyError\('oops'\)"
    ) as error:
        trainer.fit()
    assert isinstance(error.value.__cause__, KeyError)

    rows = read_metrics(tmp_path / METRICS_FILE)
    assert [row["iteration"] for row in rows] == [2, 4, 6]
    resumed = coin_trainer(callbacks=[Scalars(every=2), Checkpoint(every=2)], workdir=tmp_path)
    assert resumed.restore() and resumed.step == 4
    resumed.fit()
    assert [row["iteration"] for row in read_metrics(tmp_path / METRICS_FILE)] == [2, 4, 6, 8]


def test_without_a_workdir_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = coin_trainer(num_iters=2, callbacks=[Scalars(every=2)])
    trainer.fit()
    assert not list(tmp_path.iterdir())
    assert trainer.restore() is False
    assert trainer.export_policies() == []
    with pytest.raises(
        ConfigError, match="nowhere to save: add the callback pax.callbacks.Checkpoint"
    ):
        trainer.save()


# Bad input.


def roles_of(*seats):
    coin = Coin.for_env(ENV)
    return [Role(f"role{index}", coin, own) for index, own in enumerate(seats)]


PPO = AGENTS["PPO"]


@pytest.mark.parametrize(
    ("roles", "options", "message"),
    [
        (roles_of((0,), (0, 1)), {}, "roles role0 and role1 both sit on seat 0: give one"),
        (roles_of((0,)), {}, "seat 1 has no role: name one that plays it"),
        (roles_of((0, 1), ()), {}, "role role1 has no seat: name the players that it plays"),
        (roles_of((0,), (2,)), {}, "role role1 sits on seat 2: this game has seats 0 to 1"),
        ([*roles_of((0,)), *roles_of((1,))], {}, "two roles are called role0: give each its own"),
        (
            [*roles_of((0,)), Role("r", Coin.for_env(ENV), (1,), reset_every=-1)],
            {},
            "reset_every is -1 in role r: give trials, or 0",
        ),
        (
            [Role(f"role{i}", Coin.for_env(ENV), (i,), Frozen(i + 2)) for i in range(2)],
            {},
            "differ in how many they have \\(role0 2, role1 3\\): give them as many, by popsize of",
        ),
        (
            [
                Role("r", agent("PPO", hidden_size=4), (0,), Gradient(agent("PPO", hidden_size=5))),
                agent("Random", 1),
            ],
            {},
            "the learner of role r was made for another PPO than the PPO of the role, with other param",
        ),
        (
            [
                Role("r", one := agent("PPO"), (0,), COALA(one, "batch_unaware", num_agents=2)),
                Role("r_2", two := agent("PPO", 1), (1,), Gradient(two)),
            ],
            {},
            "the learner of role r exports a policy called r_2, and so is another role",
        ),
        (roles_of((0,), (1,)), {"num_envs": 0}, "num_envs is 0: give at least 1"),
        (roles_of((0,), (1,)), {"num_opps": -2}, "num_opps is -2: give at least 1"),
        (roles_of((0,), (1,)), {"num_seeds": 0}, "num_seeds is 0: give at least 1"),
        (roles_of((0,), (1,)), {"chunk": 0}, "chunk is 0: give at least 1"),
        (roles_of((0,), (1,)), {"num_iters": 0}, "num_iters is 0: give at least 1"),
        (
            # 4 environments of 4 steps.
            [PPO.for_env(ENV, num_minibatches=3), agent("Random", 1)],
            {},
            "num_minibatches is 3 in PPO and does not divide the 16 steps of a rollout: change it to 2",
        ),
        (
            [PPO.for_env(ENV, num_minibatches=48), agent("Random", 1)],
            {"num_opps": 2},
            "num_minibatches is 48 in PPO and does not divide the 32 steps",
        ),
        (
            [
                agent("Random"),
                Role("inner", PPO.for_env(ENV, 1, num_minibatches=32), (1,), None, True),
            ],
            {"num_opps": 2},  # Each opponent learns on its own, from 16 steps.
            "num_minibatches is 32 in PPO and does not divide the 16 steps",
        ),
        (
            [AGENTS["PPO_memory"].for_env(ENV, sequence_length=3), agent("Random", 1)],
            {},
            "sequence_length is 3 in PPOMemory and does not divide the 4 steps",
        ),
        (
            roles_of((0,), (1,)),
            {"callbacks": [Scalars(every=3)]},
            "Scalars.every=3 must be a positive multiple of chunk=2, .*: use 2 or 4",
        ),
        (
            roles_of((0,), (1,)),
            {"callbacks": [Checkpoint(every=1)]},
            "Checkpoint.every=1 must be a positive multiple of chunk=2, .*: use 2",
        ),
        (
            roles_of((0,), (1,)),
            {"callbacks": [Scalars]},
            "callbacks\\[0\\] is .*; pass an instance",
        ),
        (
            roles_of((0,), (1,)),
            {"evaluations": {"it": {"role7": Role("role7", agent("Defect"), (1,))}}},
            "replaces the role 'role7': this run has role0, role1",
        ),
        (
            roles_of((0,), (1,)),
            {"evaluations": {"it": {"role1": Role("role1", agent("Defect"), (0,))}}},
            "roles role0 and role1 both sit on seat 0",
        ),
        (
            roles_of((0,), (1,)),
            {"env_params": ENV.default_params.replace(payoff_matrix=[[1.0, 2.0]])},
            "payoff is .*: give 4 rows",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(roles, options, message):
    with pytest.raises(ConfigError, match=message) as error:
        MetaTrainer(ENV, roles, **{"num_envs": 4, "num_iters": 4, "chunk": 2, **options})
    assert "\n" not in str(error.value)


def test_what_fits_is_not_refused():
    # Two opponents of 32 steps each make 64 for who learns across trials, two in a minibatch.
    roles = [PPO.for_env(ENV, num_minibatches=32), agent("Random", 1)]
    MetaTrainer(ENV, roles, num_envs=8, num_opps=2)
    frozen = Role(
        "frozen", Coin.for_env(ENV), (0, 1), Frozen.of(Coin.for_env(ENV).init(jax.random.key(0)))
    )
    MetaTrainer(ENV, [frozen], num_envs=4)
    both = Role("both", tabular := agent("Tabular", num_minibatches=32), (0, 1), Gradient(tabular))
    MetaTrainer(ENV, [both], num_envs=8)


@pytest.mark.parametrize("module", ["pax", "pax.agents, pax.envs, pax.learners, callbacks"])
def test_importing_pax_imports_nothing_that_is_slow(module):
    code = f"""
        import sys
        import {module}
        slow = ("tensorflow", "matplotlib", "gymnax", "evosax")
        print([name for name in slow if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
