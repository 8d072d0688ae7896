"""Tournaments: the Axelrod library, closed forms with noise and continuation, replicator dynamics."""

import csv
import functools
import importlib

import numpy as np
import pytest
from absl import flags

from pax.config.files import load_config
from pax.envs.wrappers import steps_for
from pax.errors import ConfigError
from pax.evaluation import match_programs as matches
from pax.evaluation import tournament as program
from pax.evaluation.match_programs import set_up
from pax.evaluation.tournament import TournamentOptions, evaluate, replicator

CONFIG = "configs/ipd.py:ppo"
PAYOFF = np.array([[-1.0, -1.0], [-3.0, 0.0], [0.0, -3.0], [-2.0, -2.0]])
# P(C) after CC, CD, DC, DD, and at the start.
VECTORS = {
    "tit_for_tat": (1, 0, 1, 0, 1),
    "grim": (1, 0, 0, 0, 1),
    "defect": (0, 0, 0, 0, 0),
    "always_cooperate": (1, 1, 1, 1, 1),
    "random": (0.5,) * 5,
    "win_stay_lose_shift": (1, 0, 0, 1, 1),
    "memory_one:probabilities=(.9,.2,.7,.3,1)": (0.9, 0.2, 0.7, 0.3, 1),
    "zero_determinant": (6 / 7, 1 / 2, 5 / 14, 0, 0),
}
STRATEGIES = ",".join(VECTORS)
NUM_STEPS, NUM_ENVS = 40, 400


def play(folder, **settings):
    """The outcome of a tournament of `VECTORS`."""
    w = settings.get("continuation")
    num_steps = NUM_STEPS if w is None else steps_for(w)
    setup = set_up([], STRATEGIES, None, default_game="the default", num_steps=num_steps)
    return program.tournament(setup, TournamentOptions(num_envs=NUM_ENVS, **settings), str(folder))


@pytest.fixture(scope="module")
def noiseless(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tournament")
    return play(folder), folder


@functools.cache
def axelrod_payoffs(noise, num_matches):
    """Payoffs `[N, N]` and their standard errors, by the library's own players."""
    import axelrod
    from axelrod.action import Action

    game = axelrod.Game(r=-1, s=-3, t=0, p=-2)
    players = [
        axelrod.TitForTat(),
        # With noise, Grudger remembers what grim, which sees one round, does not.
        axelrod.MemoryOnePlayer((1, 0, 0, 0), initial=Action.C) if noise else axelrod.Grudger(),
        axelrod.Defector(),
        axelrod.Cooperator(),
        axelrod.Random(0.5),
        axelrod.WinStayLoseShift(),
        axelrod.MemoryOnePlayer((0.9, 0.2, 0.7, 0.3), initial=Action.C),
        axelrod.MemoryOnePlayer(VECTORS["zero_determinant"][:4], initial=Action.D),
    ]
    num = len(players)
    means, errors = np.zeros((num, num)), np.zeros((num, num))
    for i in range(num):
        for j in range(i, num):
            pair = (players[i], players[j].clone())
            scores = np.zeros((num_matches, 2))
            for seed in range(num_matches):
                match = axelrod.Match(
                    pair, turns=NUM_STEPS, game=game, noise=noise, seed=1000 * i + 31 * j + seed
                )
                match.play()
                scores[seed] = match.final_score_per_turn()
                if not match._stochastic:
                    scores[:] = scores[seed]
                    break
            if i == j:
                scores = scores.mean(axis=1, keepdims=True).repeat(2, axis=1)
            for (a, b), own in zip(((i, j), (j, i)), scores.T, strict=True):
                means[a, b] = own.mean()
                errors[a, b] = own.std(ddof=1) / np.sqrt(num_matches)
    return means, errors


def errors_of(outcome):
    """Standard errors of the payoffs: half a 95 % interval of 400 samples is 1.966 of them."""
    return outcome.payoffs.half / 1.966


def assert_within_three_errors(mean, expected, error):
    distance = abs(mean - expected)
    assert (distance <= 3 * error + 1e-5).mean() >= 0.98
    assert (distance <= 5 * error + 1e-5).all()


@pytest.mark.slow
def test_payoffs_are_those_of_the_axelrod_library(noiseless):
    means, errors = axelrod_payoffs(0.0, 60)
    outcome, _ = noiseless
    assert_within_three_errors(outcome.payoffs.mean, means, np.hypot(errors, errors_of(outcome)))
    # Pairs without chance have no spread in either.
    certain = np.ix_([0, 1, 2, 3, 5], [0, 1, 2, 3, 5])
    np.testing.assert_allclose(outcome.payoffs.mean[certain], means[certain], atol=1e-5)
    assert outcome.payoffs.half[certain].max() < 1e-6


@pytest.mark.slow
def test_payoffs_with_noise_are_those_of_the_axelrod_library(tmp_path):
    outcome = play(tmp_path, noise=0.1)
    means, errors = axelrod_payoffs(0.1, 60)
    assert_within_three_errors(outcome.payoffs.mean, means, np.hypot(errors, errors_of(outcome)))


def test_continuation_and_noise_have_a_closed_form(tmp_path):
    """(1 - w) sum_t w^t v_t = (1 - w) (I - w M)^-1 v_0; noise n makes of p the vector (1 - 2 n) p + n."""
    w, noise = 0.9, 0.05
    outcome = play(tmp_path, continuation=w, noise=noise)
    expected = np.zeros((len(VECTORS), len(VECTORS)))
    for i, p in enumerate(VECTORS.values()):
        for j, q in enumerate(VECTORS.values()):
            p_played, q_played = ((1 - 2 * noise) * np.array(v) + noise for v in (p, q))
            q_played = q_played[[0, 2, 1, 3, 4]]
            joint = np.stack(
                [
                    p_played * q_played,
                    p_played * (1 - q_played),
                    (1 - p_played) * q_played,
                    (1 - p_played) * (1 - q_played),
                ]
            )
            shares = (1 - w) * np.linalg.solve(np.eye(4) - w * joint[:, :4], joint[:, 4])
            expected[i, j] = shares @ PAYOFF[:, 0]
    # The steps that are left out weigh 1e-4.
    error = errors_of(outcome) + 1e-4
    assert_within_three_errors(outcome.payoffs.mean, expected, error)


def test_what_is_written_is_what_came_out(noiseless):
    outcome, folder = noiseless
    with (folder / "ranking.csv").open() as file:
        ranking = list(csv.DictReader(file))
    assert sorted(row["player"] for row in ranking) == sorted(VECTORS)
    means = [float(row["mean"]) for row in ranking]
    assert means == sorted(means, reverse=True)
    np.testing.assert_allclose(means[0], outcome.payoffs.mean.mean(axis=1).max(), rtol=1e-5)
    with (folder / "shares.csv").open() as file:
        shares = list(csv.reader(file))
    assert shares[0] == ["generation", *VECTORS]
    assert len(shares) == 1 + 201
    np.testing.assert_allclose(np.array(shares[1][1:], float), 1 / 8, rtol=1e-5)
    np.testing.assert_allclose(np.array(shares[1:], float)[:, 1:].sum(axis=1), 1, atol=1e-4)
    with (folder / "matrix.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 64
    for name in ("shares.png", "matrix.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    text = (folder / "tournament.md").read_text()
    assert f"| 1 | {ranking[0]['player']} | {means[0]:.3f} +- " in text
    assert "| tit_for_tat |" in text


def test_both_seats_count():
    """Two players, four environments; what player i gets in seat 0 and seat 1 against j."""
    rewards = np.zeros((2, 2, 2, 4))
    rewards[0, 1] = [[1, 1, 3, 3], [10, 10, 10, 10]]
    rewards[1, 0] = [[20, 20, 20, 20], [5, 7, 5, 7]]
    rewards[0, 0] = [[0, 2, 0, 2], [2, 0, 2, 0]]
    outcome = evaluate(rewards, generations=1)
    np.testing.assert_allclose(outcome.payoffs.mean, [[1, (2 + 6) / 2], [(10 + 20) / 2, 0]])
    # 3.1824 is the quantile of three degrees of freedom; both seats have standard deviation 2 / sqrt(3).
    error = 2 / np.sqrt(3) / np.sqrt(4)
    np.testing.assert_allclose(outcome.payoffs.half[0, 1], 3.182446 * error / np.sqrt(2), rtol=1e-6)
    # Against itself, what one seat wins the other loses: there is no spread.
    assert outcome.payoffs.half[0, 0] == 0.0
    np.testing.assert_allclose(outcome.scores.mean, [2.5, 7.5])
    # Nothing else varies, so the sum has the degrees of freedom of this one mean.
    np.testing.assert_allclose(outcome.scores.half[0], 3.182446 * error / np.sqrt(2) / 2, rtol=1e-6)


@pytest.mark.parametrize("num_envs", (2, 5))
def test_intervals_of_scores_cover_the_truth(num_envs):
    rng = np.random.default_rng(num_envs)
    covered = []
    for _ in range(400):
        scores = evaluate(rng.normal(size=(3, 3, 2, num_envs)), generations=1).scores
        covered += list(np.abs(scores.mean) <= scores.half)
    assert np.mean(covered) > 0.93


def test_an_advantage_grows_exponentially():
    # A constant advantage of 1, which is the whole range of the payoffs: shares 1 : e^t.
    times, shares = replicator(np.array([[0.0, 0.0], [1.0, 1.0]]), 5)
    np.testing.assert_allclose(times, range(6))
    np.testing.assert_allclose(shares[:, 1] / shares[:, 0], np.exp(times), rtol=1e-9)
    # Neither the unit nor the zero of payoffs matters.
    again = replicator(np.array([[-7.0, -7.0], [3.0, 3.0]]), 5)[1]
    np.testing.assert_allclose(again, shares, rtol=1e-9)


def test_hawks_and_doves_come_to_rest_where_they_earn_the_same():
    # Hawks get (v - c) / 2 from hawks and v from doves, doves v / 2 from doves: v / c are hawks in the end.
    _, shares = replicator(np.array([[(1 - 4) / 2, 1.0], [0.0, 0.5]]), 200)
    np.testing.assert_allclose(shares[-1], [0.25, 0.75], atol=1e-6)


def test_rock_paper_scissors_goes_round_for_ever():
    # The product of shares is conserved; a fourth strategy, dominated, moves the start off the centre.
    game = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    with_loser = np.full((4, 4), -1.0)
    with_loser[:3, :3] = game
    with_loser[:3, 3] = [1.0, 0.5, 0.0]
    _, shares = replicator(with_loser, 400)
    assert (shares[-1, 3] < 1e-12).all()
    product = shares[200:, :3].prod(axis=1)
    assert shares[200:, 0].std() > 1e-3
    np.testing.assert_allclose(product, product[0], rtol=1e-6)


def test_equal_payoffs_change_nothing():
    np.testing.assert_allclose(replicator(np.full((3, 3), 2.0), 3)[1], 1 / 3)


@pytest.mark.parametrize(
    ("settings", "config", "message"),
    (
        ({"noise": 1.5}, CONFIG, "noise is 1.5: give a probability"),
        ({"noise": 0.1}, "configs/coin_game.py:ppo", "noise flips one of two actions"),
        ({"continuation": -1.0}, CONFIG, "continuation is -1.0"),
        ({"generations": 0}, CONFIG, "generations is 0: give 1 to 100000"),
        ({"generations": 10**9}, CONFIG, "generations is 1000000000: give 1 to 100000"),
        ({"num_envs": 0}, CONFIG, "num_envs is 0: give at least 1"),
        ({"num_envs": 10**9}, CONFIG, "num_envs x num_episodes x steps is 1000000000 x 1 x"),
    ),
)
def test_what_is_wrong_is_said_before_a_folder_is_made(settings, config, message, tmp_path):
    setup = set_up([], "all", load_config(config))
    with pytest.raises(ConfigError, match=message):
        program.tournament(setup, TournamentOptions(**settings), str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_results_go_to_folders_of_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Two that start within a second.
    assert matches.open_folder(None, "tournament") != matches.open_folder(None, "tournament")
    folder = tmp_path / "docs"
    (folder / "images").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is not empty and holds no results of such a program"):
        matches.open_folder(str(folder), "tournament")
    (folder / "crossplay.csv").touch()
    assert matches.open_folder(str(folder), "tournament") == folder


@pytest.mark.parametrize("workdir", (None, "new/results", "old"))
def test_a_folder_without_results_is_taken_away_again(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    with pytest.raises(KeyboardInterrupt), matches.results_folder(workdir, "crossplay") as folder:
        assert folder.is_dir()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]
    with pytest.raises(KeyboardInterrupt), matches.results_folder(workdir, "crossplay") as folder:
        (folder / "crossplay.csv").touch()
        raise KeyboardInterrupt
    assert (folder / "crossplay.csv").exists()


@pytest.mark.parametrize("program_name", ("crossplay", "tournament"))
def test_a_folder_is_refused_before_anybody_is_looked_for(program_name, tmp_path):
    (tmp_path / "notes").touch()
    module = importlib.import_module(f"pax.evaluation.{program_name}")
    given = flags.FlagValues()
    module.define_flags(given)
    given(["x", f"--workdir={tmp_path}"])
    with pytest.raises(ConfigError, match="is not empty and holds no results of such a program"):
        module.play(["missing"], given)
