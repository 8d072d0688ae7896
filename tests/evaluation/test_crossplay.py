"""Cross-play: closed forms of memory-one players, policies of runs, and players that cannot play."""

import csv
import dataclasses
import pathlib

import jax
import numpy as np
import pytest

import pax.evaluation.round_robin
from pax.agents import PPO, Defect, Tabular
from pax.checkpoints.policies import save_policy
from pax.config.files import load_config
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.evaluation import crossplay as program
from pax.evaluation.crossplay import CrossplayOptions
from pax.evaluation.estimates import by_role
from pax.evaluation.match_programs import set_up
from pax.evaluation.players import Game, find_policies, load_strategies
from pax.evaluation.round_robin import Contestant, Matches, play_all
from pax.metrics.bootstrap import MeanInterval, mean_interval
from pax.run.directory import open_run

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "configs/ipd.py:tabular,quicktest"
NUM_STEPS = 40
IPD = np.array([[-1.0, -1.0], [-3.0, 0.0], [0.0, -3.0], [-2.0, -2.0]])
# P(C) after CC, CD, DC, DD, and at the start, from the definitions of the strategies.
FIXED = {
    "tit_for_tat": (1, 0, 1, 0, 1),
    "grim": (1, 0, 0, 0, 1),
    "defect": (0, 0, 0, 0, 0),
    "always_cooperate": (1, 1, 1, 1, 1),
    "random": (0.5,) * 5,
    "win_stay_lose_shift": (1, 0, 0, 1, 1),
    "memory_one:probabilities=(.9,.2,.7,.3,.6)": (0.9, 0.2, 0.7, 0.3, 0.6),
    # Press and Dyson: 1 - phi (chi - 1)(R - P), 1 - phi (P - S + chi (T - P)), phi (T - P + chi (P - S)), 0,
    # with chi = 3 and phi = 1 / 14, half of the largest.
    "zero_determinant": (6 / 7, 1 / 2, 5 / 14, 0, 0),
}
POLICIES = {
    0: (0.8, 0.1, 0.6, 0.3, 0.9),
    1: (0.2, 0.9, 0.4, 0.5, 0.1),
    2: (0.6, 0.5, 0.1, 0.9, 0.3),
}


def expected_rewards(p, q, num_steps, payoff=IPD):
    """Both players' exact mean rewards, by the distribution over outcomes of every step."""
    theirs = np.array(q)[[0, 2, 1, 3, 4]]
    p = np.array(p)
    joint = np.stack([p * theirs, p * (1 - theirs), (1 - p) * theirs, (1 - p) * (1 - theirs)])
    outcomes, total = joint[:, 4], np.zeros(4)
    for _ in range(num_steps):
        total, outcomes = total + outcomes, joint[:, :4] @ outcomes
    return total / num_steps @ payoff


def expected_matrix(vectors, num_steps=NUM_STEPS):
    return np.array([[expected_rewards(p, q, num_steps) for q in vectors] for p in vectors])


def make_run(folder, config_name, policies):
    """A run directory as training leaves it: Tabular policies with these P(C)."""
    config = load_config(config_name)
    open_run(folder, config.to_dict(), config_name)
    agent = Tabular.for_env(IteratedMatrixGame())
    for seed, cooperation in policies.items():
        p = np.array(cooperation)
        table = np.stack([np.log(p), np.log1p(-p), np.zeros(5)], axis=1).astype(np.float32)
        path = folder / "policies" / f"agent1_seed_{seed}.msgpack"
        save_policy(path, agent=agent.describe(), params={"table": table})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("a") / "tabular", CONFIG, POLICIES)


def test_policies_and_strategies_earn_what_the_closed_form_says(run, tmp_path, capsys, monkeypatch):
    # So that some take several calls: 8 x 8 pairs of strategies, and 3 x 8 against policies.
    monkeypatch.setattr(pax.evaluation.round_robin, "STEPS_AT_ONCE", 30 * 500 * NUM_STEPS)
    setup = set_up([str(run)], ",".join(FIXED), None, num_steps=NUM_STEPS)
    names = [f"agent1_seed_{seed}" for seed in POLICIES] + list(FIXED)
    assert [player.name for player in setup.players] == names
    assert not setup.errors
    matrix = program.crossplay(setup, CrossplayOptions(num_envs=500), str(tmp_path))
    expected = expected_matrix([*POLICIES.values(), *FIXED.values()])
    # Half of a 95 % interval of 500 samples is 1.965 standard errors. Nearly all means are within three, as
    # chance has it, and none is far off.
    distance, error = abs(matrix.mean - expected), matrix.half / 1.965
    assert (distance <= 3 * error + 1e-5).mean() >= 0.98
    assert (distance <= 5 * error + 1e-5).all()
    with (tmp_path / "crossplay.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["player_1"], row["player_2"]) for row in rows] == [
        (a, b) for a in names for b in names
    ]
    written = [[float(row[f"player_{seat}_mean"]) for seat in (1, 2)] for row in rows]
    np.testing.assert_allclose(np.reshape(written, (11, 11, 2)), matrix.mean, rtol=1e-4)
    assert rows[0]["samples"] == "500"
    assert float(rows[1]["player_2_low"]) < written[1][1] < float(rows[1]["player_2_high"])
    assert (tmp_path / "crossplay.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "| 6 defect | " in printed
    assert "| agent1 | agent1 | same seed |" in printed
    assert "| agent1 | agent1 | other seeds |" in (tmp_path / "crossplay.md").read_text()


def test_who_cannot_play_is_named_and_the_others_go_on(app, run, tmp_path):
    whole = run / "policies" / "agent1_seed_0.msgpack"
    damaged, strange, other_shape = (tmp_path / f"{name}.msgpack" for name in "abc")
    data = bytearray(whole.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    described = Tabular.for_env(IteratedMatrixGame()).describe()
    save_policy(strange, agent={**described, "agent": "PPOO"}, params={})
    save_policy(other_shape, agent=described, params={"table": np.zeros((5, 4), np.float32)})
    other_game = tmp_path / "one_hot.msgpack"
    one_hot = PPO.for_env(IteratedMatrixGame(one_hot=True))
    save_policy(other_game, agent=one_hot.describe(), params={})
    pennies = make_run(tmp_path / "imp", "configs/imp.py:tabular,quicktest", {0: POLICIES[0]})
    empty = tmp_path / "empty"
    open_run(empty, load_config(CONFIG).to_dict(), CONFIG)
    named = [damaged, strange, other_shape, other_game, pennies, empty, tmp_path / "none", run]
    done = app(
        *(*map(str, named), f"--config={CONFIG}", f"--workdir={tmp_path / 'out'}"),
        *("--strategies=defekt", "--num_envs=4", "--num_steps=5"),
        module="launch.crossplay",
        cwd=ROOT,
    )
    assert done.code == 1
    lines = done.stderr.splitlines()
    for what in (
        f"policy {damaged} is damaged: export it again",
        f"policy {strange} is one of PPOO, which is no agent of Pax",
        f"policy {other_shape} does not fit: params['table'] is float32[5, 4], expected float32[5, 3]",
        f"policy {other_game} observes Box(shape=(5,)",
        "policy "
        + str(pennies / "policies")
        + "/agent1_seed_0.msgpack was trained in another game",
        f"{empty} holds no exported policies",
        f"there is no run or policy {tmp_path / 'none'}: check the path",
        "--strategies names 'defekt': did you mean defect?",
        "8 of those named did not play",
    ):
        assert sum(line.startswith("Error: ") and what in line for line in lines) == 1, what
    assert len(lines) == 9
    with (tmp_path / "out" / "crossplay.csv").open() as file:
        names = {row["player_1"] for row in csv.DictReader(file)}
    assert names == {f"tabular/agent1_seed_{seed}" for seed in POLICIES}


def test_from_the_shell_a_whole_mistake_is_one_sentence(app):
    done = app("--strategies=all", module="launch.crossplay", cwd=ROOT)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: no run tells which game to play: give --config=<file>:<variant>\n"
    )


@pytest.mark.parametrize(
    ("strategies", "config", "message"),
    (
        ("all", "configs/nplayer_ipd.py:ppo", "has 3 players, and pairs need two"),
        ("", CONFIG, "there is nobody to play: give runs"),
        ("tft", CONFIG, "--strategies names 'tft': "),
    ),
)
def test_what_cannot_begin(strategies, config, message):
    with pytest.raises(ConfigError, match=message):
        set_up([], strategies, load_config(config))


@pytest.mark.parametrize("strategies", ("", "defect"))
def test_who_is_alone_and_wrong_is_told_once(strategies, capsys):
    with pytest.raises(ConfigError, match="zoo:ipd/nothing, which the zoo does not have"):
        set_up(["zoo:ipd/nothing"], strategies, None)
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match="nothing, which the zoo does not have"):
        set_up(["zoo:ipd/nobody", "zoo:ipd/nothing"], strategies, None)
    assert capsys.readouterr().err.count("Error: ") == 1


def test_names_of_files_may_be_odd(tmp_path):
    long = find_policies(["x" * 300])
    assert "cannot be read (File name too long): check the path" in str(long[1][0])
    agent = Tabular.for_env(IteratedMatrixGame())
    names = ["agent1_seed_²", "²", r"$\x$", "a|b"]
    for name in names:
        table = np.zeros((5, 3), np.float32)
        save_policy(tmp_path / f"{name}.msgpack", agent=agent.describe(), params={"table": table})
    setup = set_up([str(tmp_path)], "", load_config(CONFIG))
    assert {player.name for player in setup.players} == {*names} and not setup.errors


def test_policies_of_another_game_play_if_they_may(run, tmp_path):
    pennies = make_run(tmp_path / "imp", "configs/imp.py:tabular,quicktest", {0: POLICIES[0]})
    setup = set_up([str(pennies), str(run)], "", None)
    assert len(setup.players) == 1
    assert len(setup.errors) == 3
    assert float(setup.game.env_params.payoff_matrix[0, 0]) == 1.0
    assert len(set_up([str(pennies), str(run)], "", None, any_game=True).players) == 4


def test_strategies_of_a_game():
    def all_of(config):
        game = Game.of(load_config(config), "test")
        return {player.name for player in load_strategies("all", game)[0]}

    # Those that are tit-for-tat between two players are left out.
    of_both = {"tit_for_tat", "defect", "always_cooperate", "random", "grim", "win_stay_lose_shift"}
    assert all_of(CONFIG) == of_both | {"zero_determinant"}
    # No zero-determinant strategy ties matching pennies.
    assert all_of("configs/imp.py:ppo") == of_both
    assert all_of("configs/coin_game.py:ppo") >= {"good_greedy", "evil_greedy", "stay"}


def test_who_always_cooperates_has_one_name_in_all_games():
    for config in (CONFIG, "configs/coin_game.py:ppo"):
        game = Game.of(load_config(config), "test")
        for text in ("always_cooperate", "altruistic", "Altruistic", "altruistic,always_cooperate"):
            players, errors = load_strategies(text, game)
            assert [player.name for player in players] == ["always_cooperate"] and not errors
    names = ("opponent=altruistic", "opponent=always_cooperate")
    given = [load_config(f"configs/ipd.py:ppo,{name}").to_dict() for name in names]
    assert given[0] == given[1] and given[0]["agent2"]["type"] == "Altruistic"


def test_a_strategy_that_is_drawn_is_no_strategy():
    game = Game.of(load_config(CONFIG), "test")
    players, errors = load_strategies("defect,random_memory_one", game)
    assert [player.name for player in players] == ["defect"]
    assert "--strategies names 'random_memory_one'" in str(errors[0])


def test_a_policy_plays_only_where_it_sees_what_it_saw():
    env = IteratedMatrixGame(num_inner_steps=3, show_payoff_to=(0,))
    agent = PPO.for_env(env, 0)
    shapes = jax.eval_shape(agent.init, jax.random.key(0)).params
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    first = Contestant("first", (agent, None), zeros)
    second = Contestant("second", (None, Defect.for_env(env, 1)))
    rewards = play_all(env, env.default_params, [first, second], num_envs=2).rewards
    played = np.isfinite(rewards).all(axis=(2, 3, 4))
    assert played.tolist() == [[False, True], [False, False]]


def test_learners_go_on_learning():
    env = IteratedMatrixGame(num_inner_steps=20)
    agent = dataclasses.replace(Tabular.for_env(env), learning_rate=0.3, entropy_coeff=0.0)
    learner = Contestant("learner", (agent, None), {"table": np.zeros((5, 3), np.float32)})
    defect = Contestant("defect", (None, Defect.for_env(env, 1)))
    sizes = {"num_envs": 10, "num_episodes": 30, "num_trials": 2}
    matches = play_all(env, env.default_params, [learner, defect], **sizes, learning=True)
    against_defect = matches.by_episode[0, 1, 0]
    # At random it gets -2.5 from a defector, and -2 as soon as it defects too.
    np.testing.assert_allclose(against_defect[:, 0], -2.5, atol=0.15)
    assert (against_defect[:, -1] > -2.1).all()
    # Its trials are independent, and the mean over episodes is that over environments.
    assert against_defect[0, 1] != against_defect[1, 1]
    np.testing.assert_allclose(
        matches.rewards[0, 1].mean(axis=-1), matches.by_episode[0, 1].mean(axis=-1), rtol=1e-5
    )
    matrix, num = program.pair_estimates(matches, learning=True)
    assert num == 2
    assert matrix.mean[0, 1, 0] == pytest.approx(against_defect.mean(), rel=1e-5)


def test_learners_need_episodes_of_a_size_that_they_can_use(run):
    setup = set_up([str(run)], "", None, num_steps=7)
    with pytest.raises(ConfigError, match="num_minibatches is 10 in Tabular"):
        program.crossplay(setup, CrossplayOptions(num_envs=3, learning=True), None)
    with pytest.raises(ConfigError, match="num_envs is 0: give at least 1"):
        program.crossplay(setup, CrossplayOptions(num_envs=0), None)


def test_what_does_not_fit_into_one_call_takes_several_of_one_length():
    pairs = [(i, j, 0) for i in range(5) for j in range(5)]
    whole = pax.evaluation.round_robin.batches(pairs, 1)
    assert [set(batch) for batch in whole] == [set(pairs)]
    in_parts = pax.evaluation.round_robin.batches(
        pairs, pax.evaluation.round_robin.STEPS_AT_ONCE // 7
    )
    assert len(in_parts) == 4
    assert len({len(batch) for batch in in_parts}) == 1
    assert {pair for batch in in_parts for pair in batch} == set(pairs)
    alone = pax.evaluation.round_robin.batches(pairs, 2 * pax.evaluation.round_robin.STEPS_AT_ONCE)
    assert [batch[0] for batch in alone] == pairs


def test_intervals_are_those_of_student():
    # Mean 2, standard deviation 1, and 4.3027 standard errors with two degrees of freedom.
    mean, half = mean_interval(np.array([1.0, 2.0, 3.0]))
    assert mean == 2.0
    assert half == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert np.isnan(mean_interval(np.array([1.0])).half)


def test_seeds_are_the_sample():
    def players(run):
        return [Contestant(f"{run}a_seed_{s}", (None, None), {}, f"{run}/a", s) for s in range(3)]

    x = np.array([[1.0, 2, 6], [4, 3, 8], [0, 7, 5]])
    mean = np.stack([x, -x], axis=-1)
    same, others = by_role(players("r"), mean)
    assert (same.pairs, others.pairs) == ("same seed", "other seeds")
    np.testing.assert_allclose(same.mean, (3, -3))  # of 1, 3, 5
    assert same.half[0] == pytest.approx(4.302653 * 2 / np.sqrt(3), rel=1e-6)
    np.testing.assert_allclose(others.mean, (4.5, -4.5))
    # Per seed, the mean of its row and that of its column, itself left out, add up to 6, 10.5, 10.5.
    # Each misses one of three seeds, so that what is its own shows by half only.
    spread = 2 * np.std([4 + 2, 6 + 4.5, 3.5 + 7], ddof=1)
    np.testing.assert_allclose(others.half, 4.302653 * spread / np.sqrt(3), rtol=1e-6)
    # Two runs: rows and columns are samples of their own.
    both = np.zeros((6, 6, 2))
    both[:3, 3:] = mean
    first = next(g for g in by_role(players("r") + players("s"), both) if g.pairs == "all")
    rows, columns = x.mean(axis=1).var(ddof=1) / 3, x.mean(axis=0).var(ddof=1) / 3
    assert (first.first, first.second) == ("r/a", "s/a")
    np.testing.assert_allclose(first.mean, (4, -4))
    np.testing.assert_allclose(first.half, 4.302653 * np.sqrt(rows + columns), rtol=1e-6)


def test_who_trained_together_is_found_whatever_the_order_and_whoever_is_missing():
    def player(role, seed):
        return Contestant(f"{role}_seed_{seed}", (None, None), {}, role, seed)

    players = [player("a", 1), player("a", 0), player("a", 2), player("b", 0), player("b", 1)]
    mean = np.zeros((5, 5, 2))
    # Of a (rows) with b (columns): 1 of those who trained together, 3 of others, 100 of who has no partner.
    mean[:3, 3:] = np.array([[3.0, 1.0], [1.0, 3.0], [100.0, 100.0]])[..., None]
    of_pair = [
        group for group in by_role(players, mean) if (group.first, group.second) == ("a", "b")
    ]
    assert [(group.pairs, group.mean[0]) for group in of_pair] == [
        ("same seed", 1.0),
        ("other seeds", 3.0),
    ]


def test_who_cannot_take_a_seat_is_no_warning(tmp_path, recwarn):
    by_episode = np.full((2, 2, 2, 3, 2), np.nan)
    by_episode[0, 1] = 1.0
    program.write_episodes(tmp_path / "a.csv", ["x", "y"], Matches(by_episode, by_episode))
    assert not recwarn.list
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 3


def test_two_seeds_are_needed_for_an_interval_over_them():
    player = Contestant("a_seed_0", (None, None), {}, "a", 0)
    (group,) = by_role([player], np.ones((1, 1, 2)))
    assert group.pairs == "same seed"
    assert np.isnan(group.half).all()
    assert by_role([Contestant("b", (None, None))], np.ones((1, 1, 2))) == []


def test_intervals_over_seeds_hold_what_they_promise():
    """Rewards are a row's effect, a column's effect, which go together, and luck: 1000 runs of 5 seeds."""
    rng = np.random.default_rng(0)
    players = [Contestant(f"a_seed_{s}", (None, None), {}, "a", s) for s in range(5)]
    held = []
    for _ in range(1000):
        row = rng.normal(size=5)
        column = 0.5 * row + rng.normal(size=5)
        x = row[:, None] + column + 0.2 * rng.normal(size=(5, 5))
        group = by_role(players, np.stack([x, x], axis=-1))[1]
        held.append(abs(group.mean[0]) <= group.half[0])
    assert 0.93 <= np.mean(held) <= 0.97


def test_large_tables_are_numbered():
    from pax.evaluation.estimates import matrix_table

    matrix = MeanInterval(np.ones((2, 2)), np.full((2, 2), 0.25))
    assert "| b | 1.000 +- 0.250 |" in matrix_table(["a", "b"], matrix, "gets")
    assert "| gets | 1 | 2 |" in matrix_table(["a", "b"], matrix, "gets", wide=2)
    assert "| 2 b | 1.00 | 1.00 |" in matrix_table(["a", "b"], matrix, "gets", wide=2)
