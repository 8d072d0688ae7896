"""Pictures of episodes: as files and in TensorBoard, of games on grids and of others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import Video
from pax import MetaTrainer
from pax.agents import Altruistic, Defect, EvilGreedy, Stay, Tabular
from pax.envs import (
    CoinGame,
    Environment,
    InfiniteMatrixGame,
    IteratedMatrixGame,
    IteratedTensorGame,
    figures,
)
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.learners import Frozen
from pax.roles import Role

WHAT = ("actions", "names", "rewards")


def make_trainer(env, agents, workdir):
    roles = []
    for seat, cls in enumerate(agents):
        agent = cls.for_env(env, seat)
        learner = Frozen.of(agent.init(jax.random.key(0)))
        roles.append(Role(f"agent{seat + 1}", agent, (seat,), learner=learner))
    return MetaTrainer(
        env,
        roles,
        num_envs=2,
        num_iters=2,
        chunk=1,
        callbacks=[Video(every=2)],
        default_callbacks=False,
        workdir=workdir,
    )


def frames_of(path):
    frames = []
    with Image.open(path) as picture:
        for index in range(picture.n_frames):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")))
    return frames


def images_in(workdir):
    events = EventAccumulator(str(workdir), size_guidance={"tensors": 0})
    events.Reload()
    return {tag: events.Tensors(tag) for tag in events.Tags()["tensors"] if "episode" in tag}


def test_a_game_on_a_grid_becomes_an_animation(tmp_path):
    env = CoinGame(num_inner_steps=6)
    trainer = make_trainer(env, [EvilGreedy, Stay], tmp_path)
    trainer.fit()

    states, _, params = trainer.record()["as_trained"]
    assert all(len(leaf) == 6 for leaf in jax.tree.leaves(states))
    expected = [
        env.render(jax.tree.map(lambda leaf, t=t: leaf[t], states), params) for t in range(6)
    ]
    frames = frames_of(tmp_path / "videos" / "as_trained_000002.gif")
    # Frames that are alike are joined by the format.
    distinct = [
        frame for t, frame in enumerate(expected) if t == 0 or (frame != expected[t - 1]).any()
    ]
    assert len(distinct) > 2
    assert len(frames) == len(distinct)
    for frame, picture in zip(frames, distinct, strict=True):
        assert np.abs(frame.astype(int) - picture).max() <= 8
    ((tag, (event,)),) = images_in(tmp_path).items()
    assert tag == "evaluation/as_trained/episode" and event.step == 2
    assert event.tensor_proto.string_val[2].startswith(b"GIF89a")
    assert not (tmp_path / "videos" / "as_trained_000001.gif").exists()


def test_other_games_become_a_figure(tmp_path):
    make_trainer(IteratedMatrixGame(4), [Defect, Altruistic], tmp_path).fit()
    (frame,) = frames_of(tmp_path / "videos" / "as_trained_000002.gif")
    assert frame.shape[-1] == 3 and len(np.unique(frame)) > 10
    ((_, (event,)),) = images_in(tmp_path).items()
    assert event.tensor_proto.string_val[2].startswith(b"\x89PNG")


@pytest.mark.parametrize("game", [IteratedMatrixGame(4), IteratedTensorGame(3, 4)])
def test_the_picture_of_a_matrix_game_shows_its_episode(monkeypatch, tmp_path, game):
    drawn = {}
    monkeypatch.setattr(
        figures, "plot_choices", lambda *what: drawn.update(zip(WHAT, what, strict=True))
    )
    others = [Altruistic] * (game.num_players - 2)
    trainer = make_trainer(game, [Altruistic, Defect, *others], None)
    trainer.state = trainer.compiled_loop.initial_state()
    states, actions, params = trainer.record()["as_trained"]
    game.render_episode(states, actions, params)
    who_defects = [0, 1, *[0] * len(others)]
    assert drawn["actions"].tolist() == [who_defects] * 4
    # A lone defector gets most; the other of two is exploited.
    first, second = drawn["rewards"][0][:2]
    assert second == drawn["rewards"].max() and first < second


def test_the_picture_of_the_infinite_game_shows_both_policies_over_time():
    game = InfiniteMatrixGame(num_inner_steps=2)
    # Certain to cooperate, indifferent, certain to defect.
    logits = np.array([[20.0] * 5, [0.0] * 5]), np.array([[-20.0] * 5, [0.0] * 5])
    figure = game.render_episode(None, logits, None)
    for axes, start in zip(figure.axes, (1.0, 0.0), strict=True):
        assert len(axes.lines) == 5
        np.testing.assert_allclose(axes.lines[0].get_ydata(), [start, 0.5], atol=1e-6)


def test_a_figure_of_choices_counts_them():
    actions = np.array([[0, 0], [0, 1], [0, 1]])
    figure = figures.plot_choices(actions, ("C", "D"), np.zeros((3, 2)))
    assert figure.axes[0].get_title().endswith("steps of each: CC 1, CD 2")
    assert figure.axes[0].images[0].get_array().tolist() == [[0, 0, 0], [0, 1, 1]]


def test_a_game_that_cannot_be_drawn_is_told_before_compiling(tmp_path):
    class Blank(Environment):
        num_players, num_inner_steps, default_params = 1, 2, ()

        def observation_space(self, player):
            return Discrete(5)

        def action_space(self, player):
            return Discrete(2)

        def reset(self, key, params):
            return (jnp.int32(0),), jnp.int32(0)

        def step(self, key, time, actions, params):
            return (jnp.int32(0),), time + 1, (jnp.float32(0),), time == 1, {}

    trainer = make_trainer(Blank(), [Defect], tmp_path)
    with pytest.raises(ConfigError, match="^callbacks.Video cannot draw Blank: leave it out"):
        trainer.fit()
    assert not trainer.compile_seconds


def test_opponents_that_learn_within_the_trial_are_recorded(tmp_path):
    env = IteratedMatrixGame(num_inner_steps=3)
    # Two minibatches of one environment's three steps there are not.
    learner = Tabular.for_env(env, 1, num_minibatches=2, num_epochs=1)
    opponent = Role("agent2", learner, (1,), learns_in_trial=True)
    shown = MetaTrainer(env, [Altruistic.for_env(env), opponent], num_envs=2, chunk=1)
    shown.fit(1)
    states = shown.record()["as_trained"].states
    assert states.inner_t.tolist() == [0, 1, 2]
