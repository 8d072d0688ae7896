"""The league: who enters, what is refused, what is kept, and a whole small one."""

import csv
import itertools
import json
import pathlib
import types
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from launch.reproduce import __main__ as main
from launch.reproduce.league import exploitability, matches, prepare, program, tables, training
from launch.reproduce.league.entrants import GAMES, Entrant, Sizes
from launch.reproduce.league.matches import Field
from launch.reproduce.league.training import Plan, Trained
from pax.agents import PPO, Altruistic, Defect, Naive, Tabular
from pax.checkpoints.policies import load_policy, save_policy
from pax.config.build import build_env
from pax.config.files import load_config
from pax.envs import CoinGame, IteratedMatrixGame
from pax.errors import CheckpointError, ConfigError, OutputError, PaxError
from pax.evaluation import round_robin
from pax.evaluation.methods import Method
from pax.evaluation.players import Game, load_strategies
from pax.evaluation.round_robin import Contestant, Matches, play_all
from pax.metrics.bootstrap import MeanInterval
from pax.metrics.json_writer import read_metrics
from pax.run.directory import open_run

ROOT = pathlib.Path(__file__).parents[2]


def flags(**given):
    """The flags of a league, as they are unless they are given."""
    settings = {"workdir": None, "quick": False, "small": False, "num_seeds": 0, "methods": []}
    settings |= {"enter": (), "noise": [], "steps": [], "payoffs": [], "allow_imports": []}
    return types.SimpleNamespace(**(settings | given))


class Mine(Tabular):
    """An agent of the user's own."""


def save_table(path, cooperation, env=None, cls=Tabular):
    """Exports a table with these P(C)."""
    agent = cls.for_env(env or IteratedMatrixGame())
    p = np.array(cooperation)
    table = np.stack([np.log(p), np.log1p(-p), np.zeros(5)], axis=1).astype(np.float32)
    save_policy(path, agent=agent.describe(), params={"table": table})
    return path


@pytest.fixture
def policies(tmp_path):
    """Three seeds of a method, as a folder of policies."""
    folder = tmp_path / "mine"
    for seed, first in enumerate((0.9, 0.5, 0.1)):
        save_table(folder / f"agent1_seed_{seed}.msgpack", (0.9, 0.1, 0.9, 0.1, first))
    return folder


def test_of_several_agents_that_one_learner_teaches_the_first_enters(tmp_path):
    for name in ("agent1_1_seed_0", "agent1_1_seed_1", "agent1_2_seed_0", "agent1_average_seed_0"):
        save_table(tmp_path / f"{name}.msgpack", (0.5,) * 5)
    entrant = Entrant("pool", "configs/ipd.py:in_context,small")
    game = Game.of(load_config(str(ROOT / "configs/ipd.py:ppo")), "the league")
    players, files = matches.policies_of(Trained(entrant, str(tmp_path), 0.0), game)
    assert [file.path.stem for file in files] == ["agent1_1_seed_0", "agent1_1_seed_1"]
    assert [player.seed for player in players] == [0, 1]


@pytest.mark.parametrize(
    ("names", "given", "message"),
    (
        ([], {}, "give one game, league ipd or league coin_game or league ipditm, and not 0"),
        (["ipdd"], {}, "there is no league of 'ipdd': did you mean ipd"),
        (["ipd"], {"small": True, "quick": True}, "--small and --quick are both given"),
        (
            ["coin_game"],
            {"methods": ["lola_dice"]},
            "'lola_dice', which is one of ipd only: choose one of",
        ),
        (["ipd"], {"methods": ["loqqa"]}, "'loqqa', which is no method of ipd: did you mean loqa?"),
        (["coin_game"], {"methods": ["mfos_rl"], "small": True}, "too slow for --small"),
        (
            ["coin_game"],
            {"methods": ["gs"]},
            "names gs, which starts from the policies of ppo: name",
        ),
        (["ipd"], {"enter": ("mine",)}, "write <name>=<config file>:<variant>"),
        (["ipd"], {"enter": ("loqa=exp",)}, "there is a loqa in this league"),
        (["ipd"], {"enter": ("grim=exp",)}, "there is a grim in this league"),
        (["ipd"], {"enter": ("learning ppo=exp",)}, "there is a learning ppo in this league"),
        (["ipd"], {"enter": ("mine=nowhere.py:ppo",)}, "there is no config .*nowhere.py"),
        (["ipd"], {"enter": ("mine=exp/nowhere",)}, "there is no run or policy .*exp/nowhere"),
        (
            ["ipd"],
            {"enter": ("mine=configs/coin_game.py:ppo",)},
            "is of another game than league ipd: it has 2 players, observations and actions Box",
        ),
        (["ipd"], {"enter": ("mine=configs/ipd.py:pppo",)}, "pppo"),
        (["ipd"], {"enter": ("a|b=exp",)}, "the method of --enter is called 'a|b': give a name of"),
        (["ipd"], {"enter": (f"{'x' * 300}=exp",)}, "give a name of letters, digits"),
        (["ipd"], {"enter": ("mine=zoo:ipd",)}, "several methods .ipd/advantage_alignment, "),
        (["ipd"], {"noise": ["much"]}, "--noise has 'much': give probabilities, as in .02,.05"),
        (["ipd"], {"noise": ["2"]}, "--noise has 2: give probabilities, from 0 to 1"),
        (["ipd"], {"noise": ["nan"]}, "--noise has nan: give probabilities, from 0 to 1"),
        (["ipd"], {"noise": [".02", "0.020"]}, "twice with noise 0.02: give it once"),
        (["coin_game"], {"noise": [".1"], "methods": ["loqa"]}, "noise flips one of two actions"),
        (["ipd"], {"steps": ["0"]}, "--steps has 0: give 1 to 100000"),
        (["ipd"], {"payoffs": ["chiken"]}, "--payoffs has 'chiken': did you mean chicken?"),
        (["coin_game"], {"payoffs": ["ipd"], "methods": ["loqa"]}, "is no matrix game"),
    ),
)
def test_what_cannot_be_is_said_before_anything_is_trained(names, given, message):
    if "methods" not in given and names == ["ipd"]:
        given = given | {"methods": ["naive"]}
    with pytest.raises(PaxError, match=message):
        prepare.prepare(names, flags(**given))


def test_flags_of_a_league_are_no_flags_of_tables(app):
    done = app("lola", "--small", module="launch.reproduce", cwd=ROOT)
    assert done.code == 1
    assert "--small is of leagues only" in done.stderr
    done = app("league", "ipdd", module="launch.reproduce", cwd=ROOT)
    assert done.stderr == "Error: there is no league of 'ipdd': did you mean ipd?\n"


def test_policies_enter_from_files_and_must_be_of_the_game(policies, tmp_path):
    prepared = prepare.prepare(["ipd"], flags(methods=["naive"], enter=(f"mine={policies}",)))
    assert [each.name for each in prepared.entrants] == ["naive", "mine"]
    trained = Trained(prepared.entrants[1], str(policies), 0.0)
    field, errors = matches.assemble([trained], "defect,tit_for_tat", prepared.game)
    assert not errors
    assert field.names == ["mine", "defect", "tit_for_tat"]
    assert [method.places for method in field.methods] == [(0, 1, 2), (3,), (4,)]
    # Whoever changes is somebody else.
    before = field.digest()
    save_table(policies / "agent1_seed_2.msgpack", (0.5,) * 5)
    assert field.digest() != before
    other = PPO.for_env(CoinGame())
    path = tmp_path / "coins.msgpack"
    save_policy(path, agent=other.describe(), params=other.init(jax.random.key(0)).params)
    with pytest.raises(CheckpointError, match="it was trained for another game"):
        prepare.prepare(["ipd"], flags(methods=["naive"], enter=(f"mine={path}",)))
    path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged|cannot be read|is no"):
        prepare.prepare(["ipd"], flags(methods=["naive"], enter=(f"mine={path}",)))


def test_of_a_run_without_agent1_the_first_role_enters(tmp_path):
    run = tmp_path / "run"
    config = load_config("configs/ipd.py:tabular,opponent=self,quicktest")
    config.roles = ("zoe", "bob")
    open_run(run, config.to_dict(), "the test")
    for name in ("bob_seed_0", "bob_seed_1", "zoe_seed_0", "zoe_seed_1"):
        save_table(run / "policies" / f"{name}.msgpack", (0.5,) * 5)
    prepared = prepare.prepare(["ipd"], flags(methods=["naive"], enter=(f"mine={run}",)))
    trained = Trained(prepared.entrants[1], str(run), 0.0)
    players, files = matches.policies_of(trained, prepared.game)
    assert [file.path.stem for file in files] == ["zoe_seed_0", "zoe_seed_1"]
    assert [player.name for player in players] == ["mine/0", "mine/1"]


def test_policies_of_agents_of_somebody_else_enter_if_they_may(tmp_path):
    path = save_table(tmp_path / "mine.msgpack", (0.5,) * 5, cls=Mine)
    top = __name__.partition(".")[0]
    given = {"methods": ["naive"], "enter": (f"mine={path}",)}
    with pytest.raises(
        ConfigError, match=f"not of Pax.*if you trust it, add --allow_imports={top}"
    ):
        prepare.prepare(["ipd"], flags(**given))
    prepared = prepare.prepare(["ipd"], flags(**given, allow_imports=[top]))
    assert prepared.allow_imports == [top]


OWN = """
from ml_collections import ConfigDict
from pax.config.files import load_config

def get_config(argument=""):
    config = load_config("configs/ipd.py:tabular,opponent=self,quicktest")
    {}
    return config
"""


def test_a_config_of_ones_own_is_checked_before_anything_is_trained(tmp_path):
    path = tmp_path / "mine.py"

    def ready(line, **given):
        path.write_text(OWN.format(line))
        return prepare.prepare(["ipd"], flags(methods=["naive"], enter=(f"mine={path}",), **given))

    assert ready("assert argument == ''").entrants[1].name == "mine"
    assert ready("assert argument == 'quicktest'", quick=True).entrants[1].name == "mine"
    for line, message in (
        ("config = ConfigDict()", "mine.*the config has no "),
        ("config.roles = ('agent2',)", "has no role 'agent1', only agent2"),
        ("config.agent1.learner = ConfigDict({'type': 'none'})", "does not learn, and leaves no"),
        ("config.agent1.seats = ()", "mine: .*agent1.seats is empty"),
        ("config.agent1.learning_rate = -1.0", "mine: .*learning_rate is -1.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            ready(line)
    path.write_text(OWN.format("pass").replace('argument=""', ""))
    with pytest.raises(ConfigError, match="mine: --quick takes the option quicktest"):
        prepare.prepare(["ipd"], flags(methods=["naive"], enter=(f"mine={path}",), quick=True))


def test_what_a_config_of_ones_own_names_is_known_when_its_policies_are_loaded(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN.format(f"config.agent1.type = '{__name__}.Mine'"))
    entrant = training.entered(f"mine={path}", [])
    done = tmp_path / "trained" / "mine.json"
    done.parent.mkdir()
    done.write_text(json.dumps({"config": entrant.config, "seconds": 3.5}))
    policy = tmp_path / "runs" / "mine" / "policies" / "agent1.msgpack"
    config = training.config_for(entrant, Plan(1)).to_dict()
    open_run(policy.parents[1], config, entrant.config)
    save_table(policy, (0.5,) * 5, cls=Mine)
    found = training.train(entrant, Plan(1), tmp_path)
    game = Game.of(load_config(str(ROOT / "configs/ipd.py:ppo")), "the league")
    (player,), _ = matches.policies_of(found, game)
    assert type(player.agents[0]).__name__ == "Mine"


def test_every_entrant_is_a_config_of_its_game():
    for game in GAMES.values():
        names = [each.name for each in game.entrants]
        assert len(set(names)) == len(names)
    # One with settings of each kind; the slow test builds all.
    for name in ("coala", "shaper", "in_context"):
        entrant = next(each for each in GAMES["ipd"].entrants if each.name == name)
        config = training.config_for(entrant, Plan(3, small=True))
        assert config.num_seeds == 3
        assert {key: config[key] for key in entrant.small if "." not in key} == {
            key: value for key, value in entrant.small.items() if "." not in key
        }
        assert config.num_iters % config.chunk == 0


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("small", (False, True))
def test_all_entrants_observe_and_act_as_their_league_does(game, small):
    names = [each.name for each in GAMES[game].entrants if not small or each.small is not None]
    prepared = prepare.prepare([game], flags(small=small))
    assert [each.name for each in prepared.entrants] == names
    for entrant in prepared.entrants:
        config = training.config_for(entrant, prepared.plan)
        assert config.num_iters % config.chunk == 0
        assert build_env(config)[0].spaces(0) == prepared.game.env.spaces(0)


def test_a_line_that_fits_no_config_is_named():
    wrong = Entrant("mine", "configs/ipd.py:ppo", settings={"agent1.rate": 1.0})
    with pytest.raises(ConfigError, match="mine, configs/ipd.py:ppo: agent1.rate is no setting"):
        training.config_for(wrong, Plan(3))
    wrong = Entrant("mine", "configs/ipd.py:ppo", role="agent3")
    with pytest.raises(ConfigError, match="has no role 'agent3', only agent1, agent2"):
        training.config_for(wrong, Plan(3))


def test_a_method_that_is_trained_is_not_trained_again(tmp_path, monkeypatch):
    entrant = Entrant("mine", "configs/ipd.py:ppo")
    done = tmp_path / "trained" / "mine.json"
    done.parent.mkdir()
    done.write_text(json.dumps({"config": entrant.config, "seconds": 3.5}))
    run = tmp_path / "runs" / "mine"
    open_run(run, training.config_for(entrant, Plan(3)).to_dict(), entrant.config)
    # Who lacks the policy of a seed is trained again, or what its run has is exported once more.
    for seed in range(3):
        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(training, "build_trainer", Mock(side_effect=InterruptedError))
            training.train(entrant, Plan(3), tmp_path)
        save_table(run / "policies" / f"agent1_seed_{seed}.msgpack", (0.5,) * 5)
    assert training.train(entrant, Plan(3), tmp_path).seconds == 3.5
    config = training.config_for(entrant, Plan(3))
    config.agent1.learning_rate = 0.5
    open_run(run, config.to_dict(), entrant.config)
    (run / "metrics.jsonl").write_text('{"iteration": 1}\n')
    with pytest.raises(ConfigError, match="another config .agent1.learning_rate: 0.5 -> "):
        training.train(entrant, Plan(3), tmp_path)
    done.write_text(json.dumps({"config": "configs/ipd.py:naive", "seconds": 3.5}))
    with pytest.raises(ConfigError, match="is of 'configs/ipd.py:naive', and mine is"):
        training.train(entrant, Plan(3), tmp_path)
    number = f"1{'0' * 400}"
    for text in ("{", *(f'{{"config": "a", "seconds": {each}}}' for each in ("NaN", number))):
        done.write_text(text)
        with pytest.raises(OutputError, match="take it away, and its run goes on"):
            training.train(entrant, Plan(3), tmp_path)


def test_a_method_may_start_from_the_policies_of_another_seed_by_seed(tmp_path):
    starts = [
        save_table(
            tmp_path / f"runs/first/policies/agent1_seed_{seed}.msgpack", (0.1 + seed / 10,) * 5
        )
        for seed in range(3)
    ]
    settings = {"agent1.learning_rate": 0.0, "num_iters": 1, "num_envs": 10, "num_inner_steps": 2}
    second = Entrant("second", "configs/ipd.py:tabular", settings=settings, starts_from="first")
    found = training.train(second, Plan(3), tmp_path).policies
    for start in starts:
        table = load_policy(f"{found}/{start.name}").params["table"]
        np.testing.assert_array_equal(table, load_policy(start).params["table"])


def test_the_seconds_of_training_are_those_before_an_interruption_too(tmp_path):
    settings = {"num_iters": 1, "chunk": 1, "num_envs": 10, "num_inner_steps": 2}
    for num_iters in (1, 2):
        mine = Entrant(
            "mine", "configs/ipd.py:tabular", settings={**settings, "num_iters": num_iters}
        )
        seconds = training.train(mine, Plan(3), tmp_path).seconds
        # As if it had been interrupted before it was done.
        (tmp_path / "trained" / "mine.json").unlink()
    rows = read_metrics(tmp_path / "runs" / "mine")
    assert [row["iteration"] for row in rows] == [1, 2]
    assert seconds > rows[1]["wall_time"] > rows[0]["wall_time"]


def test_the_page_tells_with_which_settings_a_method_was_trained():
    plans = {"small": Plan(3, small=True), "quick": Plan(3, quick=True)}
    entrant = Entrant("b", "c.py:d", settings={"x": 1, "y": 2}, small={"y": 3}, starts_from="a")
    trained = [Trained(entrant, "", 60.4)]
    page = {name: tables.training(trained, {"b": 3}, plan) for name, plan in plans.items()}
    row = "| b | `c.py:d` | `x=1`, `y=3` | a | self-play | 3 | 60 |"
    assert page["small"].splitlines()[-1] == row
    assert page["quick"].splitlines()[-1] == row.replace("`x=1`, `y=3`", "")


def test_matches_are_kept_for_those_who_played_them(tmp_path, monkeypatch):
    calls = []

    def play(env, env_params, players, **sizes):
        calls.append(sizes["num_envs"])
        return Matches(np.ones((1, 1, 2, 1, 4)), np.ones((1, 1, 2, 1, 2)))

    monkeypatch.setattr(matches, "play_all", play)
    path, sizes = tmp_path / "matches" / "a.npz", Sizes(4, 2)
    for key in ({"who": "a"}, {"who": "a"}, {"who": "b"}):
        played = matches.play_kept(path, key, None, None, [], sizes)
        assert played.rewards.shape == (1, 1, 2, 1, 1)
    assert calls == [4, 4]
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(ConfigError, match="is damaged .*: take it away"):
        matches.play_kept(path, {"who": "b"}, None, None, [], sizes)
    np.save(tmp_path / "a.npy", np.ones(3))
    path.write_bytes((tmp_path / "a.npy").read_bytes())
    with pytest.raises(ConfigError, match="is damaged .*: take it away"):
        matches.play_kept(path, {"who": "b"}, None, None, [], sizes)
    # The first bit of the flags in the directory of the file's parts: these are encrypted.
    data = bytearray(whole)
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="is damaged .*: take it away"):
        matches.play_kept(path, {"who": "b"}, None, None, [], sizes)


def test_both_seats_count_in_what_a_player_gets():
    rewards = np.zeros((2, 2, 2, 1, 1))
    rewards[0, 1, :, 0, 0] = (1.0, 2.0)
    rewards[1, 0, :, 0, 0] = (4.0, 8.0)
    np.testing.assert_allclose(matches.symmetric(rewards), [[0.0, 4.5], [3.0, 0.0]])


def test_those_who_learn_start_afresh_and_the_others_stay_as_they_are():
    env = IteratedMatrixGame(num_inner_steps=10)
    params = env.default_params
    fixed = [
        Contestant(agent.__name__, (agent.for_env(env, 0), agent.for_env(env, 1)))
        for agent in (Altruistic, Defect)
    ]
    rates = {"learning_rate": 1.0, "num_epochs": 2, "num_minibatches": 2, "sequence_length": 5}
    learner = Contestant("table", (None, Tabular.for_env(env, 1, **rates)))
    played = play_all(
        env, params, fixed, learners=[learner], num_envs=8, num_episodes=10, num_trials=3
    )
    assert played.by_episode.shape == (2, 1, 2, 3, 10)
    first, last = played.by_episode[0, 0, 1, :, 0], played.by_episode[0, 0, 1, :, -1]
    # A table that knows nothing cooperates half of the time, and one that has learned hardly does.
    np.testing.assert_allclose(first.mean(), -0.5, atol=0.15)
    assert (last > -0.2).all()
    # Each trial has its own learner.
    assert len({tuple(row) for row in played.by_episode[1, 0, 1].tolist()}) == 3


def test_frozen_agents_that_compute_the_same_are_one_program():
    env = IteratedMatrixGame(num_inner_steps=10)
    agents = {
        "slow": Naive.for_env(env, network="table", learning_rate=0.1),
        "fast": Naive.for_env(env, network="table", learning_rate=1.0, optimizer="sgd"),
        "wide": Naive.for_env(env, hidden_size=8),
    }
    players = [
        Contestant(name, (agent, agent), jax.device_get(agent.init(jax.random.key(0)).params))
        for name, agent in agents.items()
    ]
    groups = round_robin.architectures(players, 0, learning=False)
    assert [group.places for group in groups] == [(0, 1), (2,)]
    groups = round_robin.architectures(players, 0, learning=True)
    assert [group.places for group in groups] == [(0,), (1,), (2,)]


@pytest.mark.parametrize(("num", "learners"), ((7, 3), (5, 2), (2, 1)))
def test_pictures_of_learners_can_be_read(num, learners, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: shown.append(figure))
    names = [f"method_{i}" for i in range(num)]
    shape = (num, learners, 2, 4)
    by_episode = MeanInterval(np.arange(np.prod(shape)).reshape(shape) / 10, np.full(shape, 0.1))
    rewards = MeanInterval(by_episode.mean.mean(axis=-1), by_episode.half.mean(axis=-1))
    against = [f"learning ppo_{i}" for i in range(learners)]
    found = tables.AgainstLearners(against, rewards, by_episode)
    tables.plot_curves(tmp_path / "a.png", names, np.arange(num), found, "A league")
    tables.plot_learners(tmp_path / "b.png", names, np.arange(num), found, "A league")
    curves, cells = shown
    curves.canvas.draw()
    for place, axes in enumerate(curves.axes[:num]):
        # Whatever has nothing below it has the numbers of its episodes.
        is_lowest = place + 5 >= num
        assert any(label.get_visible() for label in axes.get_xticklabels()) == is_lowest
        assert bool(axes.get_xlabel()) == is_lowest
    labels = [text.get_text() for text in curves.legends[0].get_texts()]
    assert labels[:2] == ["the method, against learning ppo_0", "learning ppo_0"]
    cells.canvas.draw()
    for axes in cells.axes[:2]:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert all(label.get_rotation() == 0 for label in axes.get_xticklabels())
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_exploitability_is_that_of_the_closed_forms(tmp_path):
    prepared = prepare.prepare(["ipd"], flags(methods=["naive"]))
    players, _ = load_strategies("tit_for_tat,altruistic,zero_determinant", prepared.game)
    methods = [Method(player.name, (place,), is_fixed=True) for place, player in enumerate(players)]
    field = Field(players, methods, [None] * 3)
    rewards, how, errors = exploitability.measure(field, prepared.game, tmp_path / "e", 0, 1)
    assert not errors and how == ["exact"] * 3
    # Tit-for-tat in 100 steps: cooperate, and defect in the last. Always cooperating: defect.
    np.testing.assert_allclose(rewards[:2, 0], [-0.99, 0.0], atol=1e-6)
    np.testing.assert_allclose(rewards[:2, 3], [0.01, 1.0], atol=1e-6)
    kept = tmp_path / "e" / "tit_for_tat.json"
    whole = json.loads(kept.read_text())
    for change in ({"rewards": [1]}, {"rewards": [np.nan] * 4}, {"how": {"a": 1}}):
        kept.write_text(json.dumps({**whole, **change}))
        _, _, errors = exploitability.measure(field, prepared.game, tmp_path / "e", 0, 1)
        assert [name for name, _ in errors] == ["tit_for_tat"]
        assert "take it away" in str(errors[0][1])


def test_tables_of_other_methods_are_not_replaced_without_a_word(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "play", lambda prepared, folder: 0)

    def printed(*methods):
        given = flags(workdir=str(tmp_path / "out"), methods=list(methods))
        assert program.run(["ipd"], given) == 0
        return capsys.readouterr().out

    assert printed("naive") == ""
    rows = "rank,method,trained\n1,loqa,self-play\n2,grim,a strategy\n3,naive,self-play\n"
    (tmp_path / "out" / "ranking.csv").write_text(rows)
    assert printed("naive", "loqa") == ""
    told = printed("naive")
    assert "of loqa, naive, will be replaced by those of naive: runs, matches" in told
    for text in ("", "a\n1", '"', "rank,method,trained\n1", "rank,method,trained\n1,lo"):
        (tmp_path / "out" / "ranking.csv").write_text(text)
        assert printed("naive") == ""


@pytest.mark.slow
def test_a_whole_league_goes_on_where_it_was(tmp_path, policies, monkeypatch, capsys):
    folder = tmp_path / "league"
    given = flags(
        quick=True,
        workdir=str(folder),
        methods=["naive", "loqa", "lola_dice"],
        enter=(f"mine={policies}",),
        noise=[".05"],
        steps=["5"],
        payoffs=["chicken"],
    )
    trained = []
    real = program.train

    def train(entrant, *arguments):
        if entrant.name == "loqa" and not trained:
            trained.append(entrant.name)
            raise RuntimeError("a fault of its own")
        return real(entrant, *arguments)

    monkeypatch.setattr(program, "train", train)
    assert program.run(["ipd"], given) == 1
    assert "loqa: RuntimeError: a fault of its own" in capsys.readouterr().err
    assert program.run(["ipd"], given) == 0
    names = {"naive", "loqa", "lola_dice", "mine"}
    with (folder / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert names < {row["method"] for row in rows} and len(rows) == 11
    for row in rows:
        chances = [float(row[f"probability_of_rank_{rank + 1}"]) for rank in range(11)]
        np.testing.assert_allclose(sum(chances), 1.0, atol=1e-6)
    for name in ("zero_shot", "learners", "learners_by_episode", "shares"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.csv").exists()
    played = sorted(path.name for path in (folder / "matches").iterdir())
    fewer = flags(quick=True, workdir=str(folder), methods=["naive"])
    assert program.run(["ipd"], fewer) == 0
    assert {*played} < {path.name for path in (folder / "matches").iterdir()}
    monkeypatch.setattr(matches, "play_all", lambda *_, **__: pytest.fail("these are kept"))
    assert program.run(["ipd"], given) == 0
    page = (folder / "league.md").read_text()
    assert "| method | as it is | noise 0.05 | 5 steps | payoffs chicken |" in page
    told = r"of league with other settings .num_seeds: 3 -> 2.: name another folder"
    with pytest.raises(ConfigError, match=f"holds the results {told}"):
        program.run(["ipd"], flags(quick=True, workdir=str(folder), num_seeds=2, methods=["naive"]))
    with pytest.raises(ConfigError, match="holds the results of .*league.*: name another folder"):
        main.reproduce(["lola"], str(folder), False)
