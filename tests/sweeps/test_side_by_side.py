"""Runs of a sweep that are one program are the runs that they would be alone."""

import contextlib

import jax
import numpy as np
import pytest

from pax.callbacks.callback import Callback
from pax.config.build import build_trainer, run_config
from pax.configs import ipd
from pax.errors import TrainingError
from pax.loop.loop_of_runs import LoopOfRuns
from pax.sweeps import product
from pax.sweeps.groups import group_runs
from pax.sweeps.side_by_side import SideBySide

RATE, ENTROPY = "agent1.learning_rate", "agent1.entropy_coeff"


def small(**settings):
    config = ipd.get_config("ppo,quicktest")
    config.num_envs, config.num_iters, config.chunk = 2, 4, 2
    config.num_inner_steps = 8
    config.agent1.num_minibatches, config.agent1.num_epochs = 1, 1
    for callback in ("progress", "curves"):
        config.callbacks[callback].enabled = False
    config.callbacks.checkpoint.every = 2
    config.update(settings)
    return config


def trainers_of(config, sweep, folder=None):
    return [
        build_trainer(run_config(config, overrides), folder and str(folder / str(index)))
        for index, overrides in enumerate(sweep)
    ]


class Told:
    def __init__(self):
        self.over, self.errors, self.steps = [], {}, []

    def advanced(self, steps):
        self.steps.append(dict(steps))

    def done(self, run):
        self.over.append(run)

    def failed(self, run, error):
        self.errors[run] = error


def train(trainers, **sizes):
    (group,) = group_runs(trainers)
    loops = LoopOfRuns(
        [trainer.parts for trainer in trainers],
        group.numbers,
        [trainer.seed for trainer in trainers],
        trainers[0].num_seeds,
        **sizes,
    )
    told = Told()
    around = lambda run: contextlib.nullcontext()  # noqa: E731 - a line says it.
    SideBySide(trainers, loops, around, told).train()
    return told


def leaves(state):
    is_key = lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return [jax.random.key_data(x) if is_key(x) else x for x in jax.tree.leaves(state)]


def assert_same(one, other, **tolerance):
    for ours, theirs in zip(leaves(one.state), leaves(other.state), strict=True):
        np.testing.assert_allclose(ours, theirs, **tolerance)
    mine, its = one.history, other.history
    assert mine.keys() == its.keys()
    for name in mine:
        if name not in ("env_steps_per_second", "wall_time"):
            np.testing.assert_allclose(mine[name], its[name], err_msg=name, **tolerance)


def test_settings_that_differ_in_numbers_are_one_group_and_others_are_not(tmp_path):
    sweep = [
        {RATE: 0.01},
        {RATE: 0.02, ENTROPY: 0.1},
        {RATE: 0.02, "seed": 3},
        # Without a bonus, other code is run.
        {ENTROPY: 0.0},
        # Sizes.
        {"num_envs": 3},
    ]
    groups = group_runs(trainers_of(small(), sweep, tmp_path))
    assert [group.runs for group in groups] == [(0, 1, 2), (3,), (4,)]


@pytest.mark.slow
def test_numbers_at_which_python_looks_split_the_runs(tmp_path):
    sweep = [{RATE: 0.01}, {"agent1.hidden_size": 4}, {"agent1.num_epochs": 2}, {RATE: 0.02}]
    groups = group_runs(trainers_of(small(), sweep, tmp_path))
    assert [group.runs for group in groups] == [(0, 3), (1,), (2,)]


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", (1, 3))
def test_each_run_is_bit_for_bit_the_run_alone(num_seeds, tmp_path):
    """One at a time, so that programs are of the same operations."""
    sweep = product(**{RATE: (0.01, 0.1), ENTROPY: (0.02, 0.2)})
    config = small(num_seeds=num_seeds, num_devices=1)
    together = trainers_of(config, sweep, tmp_path / "together")
    told = train(together)
    assert told.over == [0, 1, 2, 3] and not told.errors
    alone = trainers_of(config, sweep[1:3], tmp_path / "alone")
    for one, other in zip(together[1:3], alone, strict=True):
        other.fit()
        assert_same(one, other, rtol=0, atol=0)


@pytest.mark.slow
def test_runs_side_by_side_are_the_runs_alone_up_to_rounding(tmp_path):
    """With another seed each, numbers that are combined before they are used, and one place too many."""
    sweep = [
        {RATE: 0.01, "seed": 5, "agent1.clip_epsilon": 0.1},
        {RATE: 0.1, "seed": 1, "agent1.discount": 0.9},
        {RATE: 0.05, "seed": 2, "env.payoff": ((-1, -1), (-3, 0.5), (0, -3), (-2, -2))},
    ]
    config = small(num_iters=2, num_devices=1)
    together = trainers_of(config, sweep, tmp_path / "together")
    assert not train(together, per_device=4).errors
    for one, other in zip(together, trainers_of(config, sweep, tmp_path / "alone"), strict=True):
        other.fit()
        assert_same(one, other, rtol=2e-4, atol=1e-5)


class Fails(Callback):
    """Ends one run in a way of its own."""

    def __init__(self, how, at=2):
        self.every, self.how, self.at = at, how, at

    def on_chunk_end(self, trainer, state, step, metrics):
        if step == self.at and self.how == "stop":
            trainer.request_stop("enough")
        elif step == self.at and self.how == "nan":
            trainer.state = jax.tree.map(
                lambda leaf: leaf * np.nan if leaf.dtype == np.float32 else leaf, trainer.state
            )
        elif step == self.at:
            raise ValueError("a bug")


@pytest.mark.slow
def test_a_run_that_ends_leaves_the_others_alone(tmp_path):
    from pax.callbacks.callback_list import CallbackList

    sweep = [{RATE: rate} for rate in (0.01, 0.02, 0.03, 0.04)]
    trainers = trainers_of(small(num_devices=1), sweep, tmp_path)
    for trainer, how in zip(trainers, ("nan", "stop", "bug"), strict=False):
        trainer.callbacks = CallbackList([*trainer.callbacks, Fails(how)])
    told = train(trainers, per_device=4)
    assert told.over == [1, 3] and sorted(told.errors) == [0, 2]
    assert isinstance(told.errors[0], TrainingError)
    assert "stopped: the last good checkpoint is that of iteration 2" in str(told.errors[0])
    assert "a bug" in str(told.errors[2])
    assert [trainer.step for trainer in trainers] == [2, 2, 2, 4]
    assert trainers[1].stop_reason == "enough" and trainers[1].is_done
    # What is left goes on alone.
    other = trainers_of(small(num_devices=1), sweep[3:], tmp_path / "alone")[0]
    other.fit()
    assert_same(trainers[3], other, rtol=2e-4, atol=1e-5)
    assert trainers[3].fit(num_iters=6)
