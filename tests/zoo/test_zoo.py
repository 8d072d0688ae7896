"""The zoo: its policies by name, their cards, and the program that adds and verifies them."""

import json
import pathlib
import re

import numpy as np
import pytest
from absl import flags

import pax
from launch.reproduce.league.entrants import GAMES
from pax.agents import Tabular
from pax.checkpoints import zoo_policies
from pax.checkpoints.policies import load_policy, save_policy
from pax.checkpoints.warm_start import load_warm_starts
from pax.checkpoints.zoo_policies import read_card, zoo_entries
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.config.sections import role
from pax.envs import IteratedMatrixGame
from pax.errors import CheckpointError, ConfigError
from pax.evaluation.best_response import best_response
from pax.evaluation.match_programs import set_up
from pax.learners import Gradient
from pax.roles import Role
from pax.run.directory import open_run
from pax.run.status import STATUS_FILE
from pax.zoo import __main__ as program
from pax.zoo.scores import differences

CONFIG = "configs/ipd.py:tabular,opponent=self,quicktest"


def make_run(folder, num_seeds=2, state="done", names=("agent1", "agent2"), start=0.9, **settings):
    """A run as training leaves it, whose policies cooperate after C and else seldom."""
    config = load_config(CONFIG)
    config.update_from_flattened_dict(settings)
    open_run(folder, config.to_dict(), CONFIG)
    (folder / STATUS_FILE).write_text(
        json.dumps({"state": state, "iteration": 4, "num_iters": 4, "saved": [4]})
    )
    (folder / "metrics.jsonl").write_text(json.dumps({"iteration": 4, "env_steps": 800}) + "\n")
    agent = Tabular.for_env(IteratedMatrixGame())
    for seed in range(num_seeds):
        p = np.array([0.9, 0.1, 0.9, 0.1, start - 0.3 * seed])
        table = np.stack([np.log(p), np.log1p(-p), np.zeros(5)], axis=1).astype(np.float32)
        for name in names:
            path = folder / "policies" / f"{name}_seed_{seed}.msgpack"
            save_policy(path, agent=agent.describe(), params={"table": table})
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zoo with two policies."""
    folder = tmp_path_factory.mktemp("zoo")
    run = make_run(tmp_path_factory.mktemp("runs") / "run")
    assert program.add(folder, str(run), "", "", 50, 0) == ["ipd/tabular/1", "ipd/tabular/2"]
    return folder


@pytest.fixture
def zoo(made, tmp_path, monkeypatch):
    """The same, which a test may change."""
    folder = tmp_path / "zoo"
    for file in made.rglob("*.*"):
        place = folder / file.relative_to(made)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    monkeypatch.setattr(zoo_policies, "ZOO", folder)
    return folder


def test_a_card_says_how_a_policy_was_trained(zoo):
    card = read_card(zoo / "ipd" / "tabular" / "2.msgpack")
    about = {
        key: card[key] for key in ("game", "method", "role", "seed", "iterations", "env_steps")
    }
    assert about == {
        "game": "ipd",
        "method": "tabular",
        "role": "agent1",
        "seed": 1,
        "iterations": 4,
        "env_steps": 800,
    }
    assert card["config"]["env"]["type"] == "IteratedMatrixGame"
    against = card["scores"]["against"]
    assert set(against) >= {"itself", "tit_for_tat", "defect"}
    # It cooperates a tenth of the time with a defector, but in the first of 20 steps more often: .6.
    share = (0.6 + 19 * 0.1) / 20
    assert against["defect"]["reward"] == pytest.approx(-2 - share, abs=0.05)
    assert against["defect"]["other"] == pytest.approx(-2 + 2 * share, abs=0.1)


def test_names_of_the_zoo_stand_for_policies(zoo):
    config = load_config(CONFIG)
    config.agent2 = role("Tabular", 1, learner="frozen", path="zoo:ipd/tabular/1")
    trainer = build_trainer(config, None)
    initial = trainer.roles[1].learner.initial.params["table"][0]
    own = load_policy("zoo:ipd/tabular/1").params["table"]
    np.testing.assert_array_equal(initial, own)
    assert pax.load_agent("zoo:ipd/tabular/2").act(4) in (0, 1)
    setup = set_up(["zoo:ipd/tabular"], "defect", None)
    assert [player.name for player in setup.players] == ["ipd/tabular/1", "ipd/tabular/2", "defect"]
    assert [(player.role, player.seed) for player in setup.players[:2]] == [
        ("ipd/tabular/agent1", 0),
        ("ipd/tabular/agent1", 1),
    ]
    assert setup.game.env.num_inner_steps == 20
    found = best_response("zoo:ipd/tabular/1")
    # It is all but tit-for-tat, so cooperation is best: against P(C) = .9, per step.
    assert found.is_exact
    assert found.response_reward == pytest.approx(-0.9 - 0.1 * 3 + 0.1, abs=0.1)


def test_each_seed_begins_with_a_policy_of_the_zoo_of_its_own(zoo):
    agent = Tabular.for_env(IteratedMatrixGame())
    path = "zoo:ipd/tabular/{seed}"
    warm = Role("agent1", agent, (0,), learner=Gradient(agent), warm_start=path)
    tables = load_warm_starts([warm], 2)["agent1"].params["table"]
    for number, table in enumerate(tables):
        own = load_policy(f"zoo:ipd/tabular/{number + 1}").params["table"]
        np.testing.assert_array_equal(table, own)
    told = "agent1: path is zoo:ipd/tabular/3, which the zoo does not have: of that method it has"
    with pytest.raises(ConfigError, match=told):
        load_warm_starts([warm], 3)


@pytest.mark.parametrize(
    ("path", "message"),
    (
        ("zoo:ipd/tabluar/1", "which the zoo does not have: did you mean zoo:ipd/tabular/1"),
        ("zoo:ipd/tabular/7", "of that method it has zoo:ipd/tabular/1, zoo:ipd/tabular/2"),
        ("zoo:IPD/TABULAR/2", "did you mean zoo:ipd/tabular/2?"),
        ("zoo:IPD/Tabular", "did you mean zoo:ipd/tabular?"),
        ("zoo:ipd/tablar", "did you mean zoo:ipd/tabular?"),
        ("zoo:", "give zoo:<game>/<method>/<number>, as in zoo:ipd/loqa/1"),
        ("zoo:../../secret", "give zoo:<game>/<method>/<number>"),
        ("zoo:ipd/tabular/1/2", "give zoo:<game>/<method>/<number>"),
        (f"zoo:{'x' * 300}/tabular/1", "is too long: give zoo:<game>/<method>/<number>"),
        # File systems count bytes, of which each of these has three.
        (f"zoo:ipd/tabular/{'字' * 90}", "is too long: give zoo:<game>/<method>/<number>"),
        ("zoo:ipd/tabular/²", "of that method it has zoo:ipd/tabular/1, zoo:ipd/tabular/2"),
    ),
)
def test_names_that_it_does_not_have(zoo, path, message):
    with pytest.raises(ConfigError, match=message.replace("?", "[?]").replace(".", "[.]")):
        load_policy(path)


@pytest.mark.parametrize(
    ("change", "message"),
    (
        (None, "has no card 1.json beside it"),
        ("{", "is damaged, as it is no JSON object"),
        ({"format": 7}, "has format 7, and this version of Pax reads format 1"),
        ({"config": 3}, "is damaged, as it has no proper 'config'"),
        ({"config": {"env": 5}}, "is damaged, as its config has no proper 'env'"),
        ({"role": "num_seeds"}, "is damaged, as the role num_seeds of its config has no proper"),
        ({"scores": {"against": [1]}}, "is damaged, as it has no proper scores"),
        ({"scores": {"against": {"itself": None}}}, "is damaged, as it has no proper scores"),
        ({"sha256": "0"}, "is not the one that its card is of"),
    ),
)
def test_cards_that_are_missing_or_damaged(zoo, change, message):
    card = zoo / "ipd" / "tabular" / "1.json"
    if change is None:
        card.unlink()
    elif isinstance(change, str):
        card.write_text(change)
    else:
        card.write_text(json.dumps({**json.loads(card.read_text()), **change}))
    with pytest.raises(CheckpointError, match=message):
        read_card(card.with_suffix(".msgpack"))
    setup = set_up(["zoo:ipd/tabular/2"], "", None)
    assert [player.name for player in setup.players] == ["ipd/tabular/2"]
    errors = program.list_entries(zoo, ())
    assert len(errors) == 1


def test_a_game_of_the_zoo_is_no_policy(zoo):
    for several in ("zoo:ipd", "zoo:ipd/tabular"):
        with pytest.raises(CheckpointError, match=f"{several} is a folder.*: give zoo:<game>/<m"):
            load_policy(several)
    with pytest.raises(ConfigError, match="path is zoo:ipd, which are all policies of a game"):
        pax.load_agent("zoo:ipd")


def test_policies_of_another_folder_are_named_by_their_paths(made, capsys):
    assert program.list_entries(made, ["ipd"]) == []
    (name,) = re.findall(r"\S*/tabular/2\S*", capsys.readouterr().out)
    assert pax.load_agent(name).act(4) in (0, 1)


def test_cards_are_verified_by_playing(zoo, capsys):
    assert program.verify(zoo, ["zoo:ipd/tabular/1"], 0, 1) == []
    assert "zoo:ipd/tabular/1: 8 matches as on its card" in capsys.readouterr().out
    card = zoo / "ipd" / "tabular" / "1.json"
    content = json.loads(card.read_text())
    content["scores"]["against"]["defect"]["reward"] += 0.2
    card.write_text(json.dumps(content))
    (error,) = program.verify(zoo, ["ipd/tabular/1"], 0, 1)
    assert "zoo:ipd/tabular/1: it is not as on its card: its reward against defect is -1." in str(
        error
    )
    with pytest.raises(ConfigError, match="'ipd/tabular/3' is no policy of the zoo: did you mean"):
        program.verify(zoo, ["ipd/tabular/3"], 0, 1)


def test_what_differs_between_scores():
    match = {"reward": 1.0, "other": 0.5, "reward_error": 0.01, "other_error": 0.0}
    old = {"against": {"a": match, "b": match}}
    assert differences(old, old) == []
    # Four standard errors of the difference of two, .057, and a hundredth.
    assert differences(old, {"against": {"a": {**match, "reward": 1.06}, "b": match}}) == []
    assert differences(old, {"against": {"a": {**match, "reward": 1.07}, "b": match}}) == [
        "its reward against a is 1 on its card and 1.07 now"
    ]
    assert differences(old, {"against": {"a": match}}) == [
        "it plays against b, which this version of Pax does not have"
    ]
    assert differences({"against": {"a": match}}, old) == ["it has no score against b"]
    assert differences({"against": {"a": {"reward": "x"}}}, {"against": {"a": match}}) == [
        "its reward against a is no number",
        "its other against a is no number",
    ]
    assert differences({}, old) == ["it has no scores"]
    for huge in (10**400, np.inf, -np.inf, np.nan):
        edited = {**match, "other": huge}
        assert differences({"against": {"a": edited}}, {"against": {"a": match}}) == [
            "its other against a is no number"
        ]


@pytest.mark.parametrize("error", (1e9, -1e9, np.inf, np.nan))
def test_a_card_cannot_say_that_it_knows_nothing(error):
    match = {"reward": 1.0, "other": 0.5, "reward_error": 0.01, "other_error": 0.0}
    edited = {**match, "reward": 7.0, "reward_error": error}
    (told,) = differences({"against": {"a": edited}}, {"against": {"a": match}})
    assert f"the error of its reward against a is {error:.4g} on its card" in told
    # In a quarter of the environments, errors are twice as large.
    new = {"num_envs": 400, "against": {"a": match}}
    old = {"num_envs": 100, "against": {"a": {**match, "reward_error": 0.06}}}
    assert differences(old, new) == []


def test_a_policy_that_is_not_a_number_is_refused(tmp_path):
    described = Tabular.for_env(IteratedMatrixGame()).describe()
    table = np.zeros((5, 3), np.float32)
    table[2, 1] = np.nan
    save_policy(tmp_path / "a.msgpack", agent=described, params={"table": table})
    with pytest.raises(CheckpointError, match="is of no use, as params.'table'. has NaN"):
        pax.load_agent(tmp_path / "a.msgpack")


def test_of_several_agents_the_first_is_added(zoo, tmp_path):
    run = make_run(tmp_path / "run", names=("agent1_1", "agent1_2"), start=0.7)
    assert program.add(zoo, str(run), "ipd/several", "", 10, 0) == [
        "ipd/several/1",
        "ipd/several/2",
    ]
    file = zoo / "ipd" / "several" / "2.msgpack"
    assert file.read_bytes() == (run / "policies" / "agent1_1_seed_1.msgpack").read_bytes()
    assert (read_card(file)["role"], read_card(file)["seed"]) == ("agent1", 1)
    assert program.verify(zoo, ["ipd/several"], 0, 1) == []


def test_what_was_interrupted_is_added_by_the_same_call(zoo, tmp_path, capsys):
    run = make_run(tmp_path / "run", start=0.7)
    whole = (run / "policies" / "agent1_seed_1.msgpack").read_bytes()
    (run / "policies" / "agent1_seed_1.msgpack").write_bytes(whole[:50])
    with pytest.raises(CheckpointError, match="truncated"):
        program.add(zoo, str(run), "ipd/my.python", "", 10, 0)
    assert not (zoo / "ipd" / "my.python").exists()
    (run / "policies" / "agent1_seed_1.msgpack").write_bytes(whole)
    assert len(program.add(zoo, str(run), "ipd/my.python", "", 10, 0)) == 2
    for ending in (".msgpack", ".json"):
        (zoo / "ipd" / "my.python" / f"2{ending}").unlink()
    capsys.readouterr()
    assert program.add(zoo, str(run), "ipd/my.python", "", 10, 0) == ["ipd/my.python/2"]
    assert "in the zoo already, as zoo:ipd/my.python/1" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="already, as zoo:ipd/my.python/1"):
        program.add(zoo, str(run), "ipd/my.python", "", 10, 0)


def test_a_card_names_the_policy_of_the_zoo_that_its_own_began_with(zoo, tmp_path):
    first = make_run(tmp_path / "first")  # Both policies are in the zoo.
    settings = {
        "agent1.warm_start": str(first / "policies" / "agent1_seed_{seed}.msgpack"),
        "agent2.warm_start": str(first / "policies" / "agent9_seed_{seed}.msgpack"),
    }
    run = make_run(tmp_path / "run", start=0.7, **settings)
    for number, entry in enumerate(program.add(zoo, str(run), "ipd/later", "", 10, 0), 1):
        config = read_card(zoo / f"{entry}.msgpack")["config"]
        assert config["agent1"]["warm_start"] == f"zoo:ipd/tabular/{number}"
        # Of what is not there, nothing is known.
        assert config["agent2"]["warm_start"] == settings["agent2.warm_start"]


def test_runs_that_cannot_be_added(zoo, tmp_path):
    run = make_run(tmp_path / "run", state="stopped")
    with pytest.raises(ConfigError, match="is not done: train it to its end"):
        program.add(tmp_path, str(run), "", "", 10, 0)
    with pytest.raises(ConfigError, match="holds no run of Pax"):
        program.add(tmp_path, str(tmp_path), "", "", 10, 0)
    run = make_run(tmp_path / "other")
    with pytest.raises(ConfigError, match="is in the zoo already, as zoo:ipd/tabular/1"):
        program.add(zoo, str(run), "ipd/again", "", 10, 0)
    with pytest.raises(CheckpointError, match="no policy of 'agent3': did you mean agent"):
        program.add(tmp_path, str(run), "", "agent3", 10, 0)
    with pytest.raises(ConfigError, match="--name=ipd: give <game>/<method>"):
        program.add(tmp_path, str(run), "ipd", "", 10, 0)
    with pytest.raises(ConfigError, match="is too long: give 100 letters to a part"):
        program.add(tmp_path, str(run), f"ipd/{'x' * 101}", "", 10, 0)


def test_a_number_of_the_zoo_may_be_any_text(zoo):
    folder = zoo / "ipd" / "tabular"
    for ending in (".msgpack", ".json"):
        (folder / f"1{ending}").rename(folder / f"²{ending}")
    assert zoo_entries(zoo) == ["ipd/tabular/²", "ipd/tabular/2"]
    assert load_policy("zoo:ipd/tabular/²").agent["agent"] == "Tabular"


def test_the_zoo_of_pax_is_whole_and_small():
    entries = zoo_entries()
    # All who enter the leagues of which the full size was run, five seeds each.
    methods = {
        f"{game}/{entrant.name}"
        for game in ("ipd", "coin_game")
        for entrant in GAMES[game].entrants
    }
    expected = [f"{method}/{number}" for method in methods for number in range(1, 6)]
    assert sorted(entries) == sorted(expected)
    folder = pathlib.Path(pax.__file__).parent / "zoo"
    sizes = [file.stat().st_size for file in folder.rglob("*.*") if file.suffix != ".py"]
    assert sum(sizes) < 10_000_000
    for entry in entries:
        card = read_card(folder / f"{entry}.msgpack")
        assert entry.startswith(f"{card['game']}/{card['method']}/")
        assert len(card["scores"]["against"]) >= 4
        # Others do not have the files of the machine where it was trained.
        for name in card["config"]["roles"]:
            section = card["config"][name]
            for path in (section["path"], section["warm_start"]):
                assert not path or path.removeprefix("zoo:") in entries


@pytest.mark.slow
def test_the_cards_of_pax_agree_with_what_its_policies_earn():
    assert program.verify(zoo_policies.ZOO, [], 0, 1) == []


def test_one_environment_is_too_few():
    given = flags.FlagValues()
    program.define_flags(given)
    given(["zoo", "--num_envs=1"])
    with pytest.raises(ConfigError, match="--num_envs is 1: give 2 or more"):
        program.main(["verify", "ipd/naive/1"], given)


def test_a_folder_that_is_none_is_told(tmp_path):
    given = flags.FlagValues()
    program.define_flags(given)
    given(["zoo", f"--folder={tmp_path / 'none'}"])
    with pytest.raises(ConfigError, match="none is no folder: check the path"):
        program.main(["list"], given)
