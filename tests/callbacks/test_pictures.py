"""Pictures of what was learned: the numbers that are drawn, and what TensorBoard gets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from callbacks import Pictures, Scalars
from pax import MetaTrainer
from pax.agents import PPO, Defect, Naive, PPOMemory, Tabular, TitForTat
from pax.callbacks.pictures import plot_history, plot_play, plot_policy, plot_trial, policy_table
from pax.envs import CoinGame, IteratedMatrixGame, IteratedTensorGame
from pax.envs.environment import Environment
from pax.envs.wrappers import Noise
from pax.loop.evaluator import TrialCurves
from pax.metrics.tensorboard_layout import make_layout
from pax.roles import Role

T, K = 4, 3
ENV = IteratedMatrixGame(num_inner_steps=T)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A learner against one who learns in the trial: the trainer after four iterations, and its folder."""
    workdir = tmp_path_factory.mktemp("run")
    learner = Tabular.for_env(ENV, 0, num_minibatches=2)
    victim = Tabular.for_env(ENV, 1, num_minibatches=2)
    trainer = MetaTrainer(
        ENV,
        [
            learner,
            Role("agent2", victim, (1,), learns_in_trial=True),
        ],
        num_envs=4,
        num_outer_steps=K,
        num_iters=4,
        chunk=2,
        evaluations={
            "defect": {
                "agent1": Role("agent1", TitForTat.for_env(ENV, 0), (0,)),
                "agent2": Role("agent2", Defect.for_env(ENV, 1), (1,)),
            }
        },
        callbacks=[Scalars(every=2), Pictures(every=2)],
        default_callbacks=False,
        workdir=workdir,
    )
    trainer.fit()
    events = EventAccumulator(str(workdir), size_guidance={"tensors": 0})
    events.Reload()
    return trainer, events


def test_a_policy_is_the_table_of_its_probabilities():
    agent = Tabular.for_env(ENV, 0)
    state = agent.init(jax.random.key(0))
    logits = np.log([[0.9, 0.1], [0.5, 0.5], [0.25, 0.75], [0.01, 0.99], [0.6, 0.4]])
    table = np.concatenate([logits, np.zeros((5, 1))], axis=1)
    params = {"table": jnp.asarray(table, jnp.float32)}
    assert jax.tree.structure(params) == jax.tree.structure(state.params)
    np.testing.assert_allclose(policy_table(agent, params), np.exp(logits), atol=1e-6)


def test_a_policy_of_a_network_is_what_its_actions_show():
    agent = PPO.for_env(ENV, 0)
    state = agent.init(jax.random.key(1))
    # Weights that make it differ between states.
    state = jax.tree.map(lambda leaf: leaf * 3, state)
    num = 20_000
    observations = jnp.repeat(jnp.arange(5), num)
    _, memory = agent.make_initial_state(jax.random.key(0), agent.initial_hidden(5 * num))
    actions, _ = jax.jit(agent.policy)(state, observations, memory, jax.random.key(2))
    shares = 1 - np.asarray(actions).reshape(5, num).mean(axis=1)
    np.testing.assert_allclose(policy_table(agent, state.params)[:, 0], shares, atol=0.015)


def test_policies_that_see_or_remember_too_much_are_not_drawn():
    coin = CoinGame()
    for agent in (PPOMemory.for_env(ENV, 0), PPO.for_env(coin, 0), Naive.for_env(coin, 0)):
        assert policy_table(agent, agent.init(jax.random.key(0)).params) is None
    assert policy_table(TitForTat.for_env(ENV, 0), {}) is None
    assert policy_table(PPO.for_env(ENV, 0), None) is None


def test_states_have_the_names_that_their_observations_stand_for():
    def labels(env, size):
        axes = plot_policy("agent1", np.full((size, 2), 0.5), env).axes[0]
        return [
            [each.get_text() for each in ticks]
            for ticks in (axes.get_yticklabels(), axes.get_xticklabels())
        ]

    assert labels(Noise(ENV, 0.1), 5) == [["CC", "CD", "DC", "DD", "START"], ["C", "D"]]
    states = labels(Noise(IteratedTensorGame(num_players=3), 0.1), 9)[0]
    assert states == ["CCC", "CCD", "CDC", "CDD", "DCC", "DCD", "DDC", "DDD", "START"]
    # A game of as many observations that names none of them.
    assert labels(Environment(), 5)[0] == ["0", "1", "2", "3", "4"]


def test_a_policy_of_a_matrix_game_is_drawn_by_what_was_played():
    table = np.array([[0.9, 0.1], [0.5, 0.5], [0.25, 0.75], [0.0, 1.0], [0.6, 0.4]])
    (axes,) = plot_policy("agent1", table, ENV).axes
    assert [bar.get_height() for bar in axes.patches] == [0.9, 0.5, 0.25, 0.0, 0.6]
    names = [label.get_text().split("\n")[0] for label in axes.get_xticklabels()]
    assert names == ["CC", "CD", "DC", "DD", "START"]
    assert axes.get_ylabel() == "P(cooperate)"


def test_a_policy_of_a_game_of_three_is_drawn_by_how_many_cooperated():
    # CCC, CCD, CDC, CDD, DCC, DCD, DDC, DDD, START.
    cooperation = np.array([1.0, 0.6, 0.4, 0.2, 0.8, 0.3, 0.5, 0.0, 0.7])
    table = np.stack([cooperation, 1 - cooperation], axis=1)
    axes = plot_policy("agent1", table, IteratedTensorGame(num_players=3)).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    own_c, own_d = lines["agent1, after own C"], lines["agent1, after own D"]
    assert own_c.get_xdata().tolist() == [2, 1, 0]
    np.testing.assert_allclose(own_c.get_ydata(), [1.0, 0.5, 0.2])
    np.testing.assert_allclose(own_d.get_ydata(), [0.8, 0.4, 0.0])
    # Each of the joint actions is a dot.
    dots = [line for line in axes.lines if line.get_marker() == "."]
    assert sorted(zip(*dots[0].get_data(), strict=True)) == [(0, 0.2), (1, 0.4), (1, 0.6), (2, 1.0)]


def test_episodes_of_a_trial_have_rewards_and_cooperation(run):
    trainer, _ = run
    curves = trainer.trial_curves(num_trials=2)["defect"]
    # Tit-for-tat cooperates in the first of T steps, and the other one never; 2 trials of 4 environments.
    visits, cooperations = curves.cooperation.visits, curves.cooperation.cooperations
    assert visits.shape == (K, 2, 5)
    np.testing.assert_array_equal(visits[:, 0], [[0, 8, 0, 8 * (T - 2), 8]] * K)
    np.testing.assert_array_equal(visits[:, 1], [[0, 0, 8, 8 * (T - 2), 8]] * K)
    np.testing.assert_array_equal(cooperations[:, 0], [[0, 0, 0, 0, 8]] * K)
    assert not cooperations[:, 1].any()
    np.testing.assert_allclose(curves.statistics["state_visitation/CD"], [8] * K)
    rewards, shares = plot_trial("defect", curves, 2).axes
    assert [line.get_label() for line in rewards.lines] == ["player 1", "player 2"]
    np.testing.assert_allclose(rewards.lines[0].get_ydata(), curves.rewards[:, 0])
    np.testing.assert_allclose(shares.lines[0].get_ydata(), [1 / T] * K)
    np.testing.assert_allclose(shares.lines[1].get_ydata(), [0.0] * K)
    bars = plot_play("defect", curves.cooperation).axes[0].containers
    # Player 1 was never in CC and DC, player 2 never in CC and CD.
    assert [[bar.get_height() for bar in bar_set] for bar_set in bars] == [[0, 0, 1], [0, 0, 0]]


def test_trials_of_other_games_show_the_shares_that_they_count():
    def of(players):
        return np.array([[0.5, 0.25], [0.75, 1.0]])[:, players]

    statistics = {"total_coins/player_1": of(0), "dirt": of(0), "prob_coop/player_1": of(1)}
    statistics |= {"total_coins/player_2": of(0), "prob_coop/player_2": of(0)}
    statistics |= {"nothing/player_1": of(0) * np.nan, "nothing/player_2": of(0) * np.nan}
    axes = plot_trial("x", TrialCurves(np.zeros((2, 2)), statistics, None), 8).axes
    assert [each.get_title("left") for each in axes] == [
        "reward per step",
        "share of own coins among those taken",
        "total coins",
    ]
    assert axes[1].lines[0].get_ydata().tolist() == [0.25, 1.0]


def test_rewards_within_a_trial_are_those_of_its_episodes(run):
    trainer, _ = run
    curves = trainer.learning_curves(num_trials=2)
    # Tit-for-tat is exploited once per episode: (-3 - 2 (T - 1)) / T and (0 - 2 (T - 1)) / T.
    expected = [[(-3 - 2 * (T - 1)) / T, -2 * (T - 1) / T]] * K
    np.testing.assert_allclose(curves["defect"], expected, atol=1e-6)


def test_tensorboard_gets_pictures_histograms_and_a_layout(run):
    trainer, events = run
    tags = set(events.Tags()["tensors"])
    for name in (
        "pictures/policy/agent1",
        "pictures/trial/defect",
        "pictures/play/defect",
        "pictures/state_probability",
        "pictures/cooperation_probability",
    ):
        assert name in tags
        width, height, picture = events.Tensors(name)[-1].tensor_proto.string_val
        assert picture.startswith(b"\x89PNG") and int(width) > 100 and int(height) > 100
    assert "pictures/policy/agent2" not in tags  # It is new in every trial.
    # The newest of each is a file too, the same picture, and there is none twice.
    pixels = set()
    for name in filter(lambda tag: tag.startswith("pictures/"), tags):
        newest = events.Tensors(name)[-1].tensor_proto.string_val[2]
        file = (
            trainer.workdir / "pictures" / f"{name.removeprefix('pictures/').replace('/', '_')}.png"
        )
        assert file.read_bytes() == newest
        pixels.add(newest)
        steps = [event.step for event in events.Tensors(name)]
        assert len({*steps}) == len(steps)
    assert len(pixels) == len([tag for tag in tags if tag.startswith("pictures/")]) == 5
    assert {event.step for event in events.Tensors("pictures/policy/agent1")} == {2, 4}

    # Three numbers per bucket: from, to, how many. All 15 parameters are counted, and most have moved.
    parameters = _histogram(events, "parameters/agent1/table")
    updates = _histogram(events, "updates/agent1/table")
    assert parameters[:, 2].sum() == updates[:, 2].sum() == 5 * 3
    learned = np.asarray(trainer.state.learners["agent1"].params["table"])[0]
    assert parameters[0, 0] == pytest.approx(learned.min()) and parameters[-1, 1] == pytest.approx(
        learned.max()
    )
    assert updates[-1, 1] > 0

    layout = layout_pb2.Layout.FromString(
        events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    )
    charts = {chart.title for category in layout.category for chart in category.chart}
    assert {"training", "share of steps", "cooperation", "policy loss"} <= charts
    assert "fitness" not in charts


def _histogram(events, tag):
    from tensorboard.util import tensor_util

    return tensor_util.make_ndarray(events.Tensors(tag)[-1].tensor_proto)


def test_a_layout_has_only_charts_with_something_in_them():
    layout = make_layout(["train/reward_per_timestep/player_1", "game/episode_return", "nothing"])
    (rewards,) = layout.category
    assert rewards.title == "Rewards"
    assert [chart.title for chart in rewards.chart] == ["training", "episode return"]
    assert make_layout([]).category == layout_pb2.Layout().category


def test_history_leaves_out_what_was_not_counted():
    rows = [
        {"iteration": 1, "state_probability/CC": 0.25, "state_probability/DD": 0.75, "x": 1.0},
        {"iteration": 2, "evaluation/x/reward_per_timestep/player_1": 0.0},
        {"iteration": 3, "state_probability/CC": 0.5, "state_probability/DD": None, "x": 2.0},
    ]
    figures = plot_history(rows)
    assert set(figures) == {"state_probability"}
    (axes,) = figures["state_probability"].axes
    assert axes.get_xlim()[0] <= 1 and axes.get_xlim()[1] >= 3
    assert plot_history([]) == {} and plot_history([{"iteration": 1}]) == {}
