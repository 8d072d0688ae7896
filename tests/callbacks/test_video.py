"""Pictures of episodes: as files and in TensorBoard, of games on grids and of others."""

import itertools

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
    cooperation_figures,
)
from pax.envs.cooperation_figures import plot_choices
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
    # The number of the step is another one in each.
    assert len(frames) == 6
    assert sum((a != b).any() for a, b in itertools.pairwise(expected)) > 2
    for frame, picture in zip(frames, expected, strict=True):
        # A cell of 32 pixels is shown in 96, over the legend.
        board = frame[: 3 * len(picture)]
        assert board.shape == (288, 288, 3) and len(frame) > len(board)
        assert np.abs(board[1::3, 1::3].astype(int) - picture).max() <= 8
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
        cooperation_figures,
        "plot_choices",
        lambda *what: drawn.update(zip(WHAT, what, strict=True)),
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


def test_a_figure_of_choices_shows_and_counts_them():
    # The second one defects from the second step on; the first one cooperates until the last.
    actions = np.array([[0, 0], [0, 1], [0, 1], [1, 1]])
    rewards = np.array([[-1.0, -1], [-3, 0], [-3, 0], [-2, -2]])
    figure = plot_choices(actions, ("C", "D"), rewards)
    strips, lines, bars = figure.axes
    assert strips.get_title("left") == "Actions, steps of each: CC 1, CD 2, DD 1"
    assert strips.images[0].get_array().tolist() == [[0, 0, 0, 1], [0, 1, 1, 1]]
    assert [line.get_ydata().tolist() for line in lines.lines] == rewards.T.tolist()
    assert [text.get_text() for text in strips.get_legend().get_texts()] == ["C", "D"]
    # After CC the first cooperated and the second did not, after CD (DC) neither did always.
    first, second = (
        {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in container}
        for container in bars.containers
    )
    assert first == {0: 1.0, 1: 0.5, 4: 1.0} and second == {0: 0.0, 2: 0.0, 4: 1.0}
    never = [text.get_text() for text in bars.texts].count("never")
    assert never == 4


def test_rewards_of_long_episodes_are_means_of_steps():
    rewards = np.arange(100.0)[:, None] * [1.0, 2.0]
    figure = plot_choices(np.zeros((100, 2), int), ("C", "D"), rewards)
    lines = figure.axes[1]
    assert lines.get_title("left") == "Reward, mean of the last 10 steps"
    np.testing.assert_allclose(lines.lines[1].get_ydata()[[0, 4, 50]], [0.0, 4.0, 91.0])


@pytest.mark.parametrize("num_players", (3, 6))
def test_cooperation_in_a_game_of_many_is_told_by_how_many_cooperated(num_players):
    # All cooperate as long as nobody defects; the last one defects in the third of four steps.
    actions = np.zeros((4, num_players), int)
    actions[2, -1] = 1
    actions[3] = 1
    figure = plot_choices(actions, ("C", "D"), np.zeros((4, num_players)))
    lines = {line.get_label(): line for line in figure.axes[2].lines}
    cooperators = num_players - 1 - np.arange(num_players)
    if num_players == 3:
        assert len(lines) == 3 * num_players
        after_c = dict(zip(cooperators, lines["player 1, after own C"].get_ydata(), strict=True))
        assert after_c[2] == 1.0 and after_c[1] == 0.0 and np.isnan(after_c[0])
        after_d = lines["player 3, after own D"].get_ydata()
        assert after_d[0] == 0.0 and np.isnan(after_d[1:]).all()
        assert lines["_player 3, first step"].get_ydata().tolist() == [1.0]
    else:
        assert set(lines) == {
            "mean of 6 players, after own C",
            "mean of 6 players, after own D",
            "_mean of 6 players, first step",
        }
        # Five of six always, one of them in one of two steps.
        after_c = lines["mean of 6 players, after own C"].get_ydata()
        assert after_c[0] == pytest.approx(5.5 / 6)


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
