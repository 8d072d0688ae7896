"""Each run leaves a page of its learning curves, however it ended, and none fails for want of one."""

import subprocess
import sys

import numpy as np
import pytest
from absl import logging
from PIL import Image

from pax import Callback, MetaTrainer
from pax.agents import Tabular, TitForTat
from pax.callbacks import Checkpoint, Curves, Scalars, curves
from pax.envs import IteratedMatrixGame
from pax.errors import TrainingError
from tests.programs import sharing

ENV = IteratedMatrixGame(num_inner_steps=4)
FIRST, LAST = "train/reward_per_timestep/player_1", "train/agent1/entropy"


@pytest.fixture
def drawn(monkeypatch):
    """The table and the title of each page that is drawn."""
    pages = []
    draw = curves.plot_page

    def note(table, title):
        pages.append((table, title))
        return draw(table, title)

    monkeypatch.setattr(curves, "plot_page", note)
    return pages


def trainer(workdir, *callbacks, num_iters=4, seeds=1, curves=True):
    learner = Tabular.for_env(ENV, 0, num_minibatches=2)
    callbacks = [*callbacks, Scalars(every=2), Checkpoint(every=2)]
    made = MetaTrainer(
        ENV,
        [learner, TitForTat.for_env(ENV, 1)],
        num_envs=2,
        num_iters=num_iters,
        num_seeds=seeds,
        chunk=2,
        callbacks=[*callbacks, Curves()] if curves else callbacks,
        default_callbacks=False,
        quiet=True,
        workdir=workdir,
    )
    return sharing(made, "curves", seeds)


class Stopping(Callback):
    def __init__(self, reason):
        self.reason = reason

    def on_chunk_end(self, trainer, state, step, metrics):
        trainer.request_stop(self.reason)


@pytest.mark.draws_curves
def test_a_page_shows_what_was_reported_also_when_a_run_goes_on(tmp_path, drawn):
    trainer(tmp_path, seeds=2).fit()
    with Image.open(tmp_path / "curves.png") as image:
        width, height = image.size
        assert width == 1280 and 600 < height < 2000
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10
    ((table, title),) = drawn
    assert title == f"{tmp_path.name}, iteration 4 of 4"
    assert table["iteration"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert np.isfinite(table[FIRST]).all() and np.isfinite(table[LAST]).all()
    # Nothing is left to do, so nothing is drawn anew.
    trainer(tmp_path, seeds=2).fit()
    assert len(drawn) == 1
    longer = trainer(tmp_path, seeds=2, num_iters=6)
    longer.fit()
    # Those before are what was reported of them.
    assert drawn[1][0]["iteration"].tolist()[::2] == [2, 4, 5, 6]


@pytest.mark.draws_curves
@pytest.mark.parametrize("reason", ("SIGTERM", "reward reached -1"))
def test_a_run_that_is_stopped_has_a_page(tmp_path, drawn, reason):
    stopped = trainer(tmp_path, Stopping(reason))
    stopped.fit(pass_on_signals=False)
    assert stopped.step == 2 and (tmp_path / "curves.png").exists()
    assert drawn[0][1].endswith(f"iteration 2 of 4, stopped: {reason}")


@pytest.mark.draws_curves
def test_a_run_that_diverges_has_a_page_of_what_was_before(tmp_path, drawn):
    failing = trainer(tmp_path)
    run = failing._run_chunk

    def fail(size):
        if failing.step:
            raise TrainingError("loss is nan")
        return run(size)

    failing._run_chunk = fail
    with pytest.raises(TrainingError):
        failing.fit()
    assert drawn[0][0]["iteration"].tolist() == [1, 2] and (tmp_path / "curves.png").exists()


@pytest.mark.draws_curves
def test_a_page_that_fails_is_told_and_fails_no_run(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: told.append(text % args))
    monkeypatch.setattr(curves, "plot_page", lambda table, title: 1 / 0)
    trainer(tmp_path).fit()
    path = tmp_path / "curves.png"
    assert told == [
        f"The learning curves {path} were not drawn (ZeroDivisionError: division by zero)."
    ]
    assert not path.exists() and not list(tmp_path.glob(".curves*"))


@pytest.mark.draws_curves
def test_a_run_without_the_callback_or_a_folder_has_no_page(tmp_path, drawn):
    trainer(tmp_path, curves=False).fit()
    assert not (tmp_path / "curves.png").exists()
    unseen = MetaTrainer(
        ENV, [Tabular.for_env(ENV, 0), TitForTat.for_env(ENV, 1)], callbacks=[Curves()], chunk=2
    )
    unseen.callbacks.on_fit_end(unseen, None, 2)
    assert not drawn


def test_training_does_not_import_matplotlib():
    code = "import sys, pax.main, pax.callbacks; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
