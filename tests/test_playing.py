"""From Python: a trainer shows, saves and remembers; its policies are loaded, act, and play."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import pax
from pax import MetaTrainer, Player, load_agent, play
from pax.agents import AGENTS, Agent
from pax.callbacks import Checkpoint, Curves, Progress, Scalars
from pax.checkpoints.policies import save_policy
from pax.envs import ENVS, CoinGame, IteratedMatrixGame
from pax.envs.environment import Environment
from pax.envs.spaces import Box, Dict, Discrete, parse_space
from pax.errors import CheckpointError, ConfigError

ENV = IteratedMatrixGame(num_inner_steps=5)
REWARD = "train/reward_per_timestep/player_1"


def agent(kind, seat=0, env=ENV, **settings):
    return AGENTS[kind].for_env(env, seat, **settings)


def make_trainer(workdir=None, num_iters=4, **settings):
    players = [agent("Tabular", num_epochs=1, num_minibatches=2), agent("TitForTat", 1)]
    settings = {"num_envs": 4, "num_seeds": 2, "seed": 7, "chunk": 2, **settings}
    return MetaTrainer(ENV, players, num_iters=num_iters, workdir=workdir, **settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    trainer = make_trainer(tmp_path_factory.mktemp("run") / "run", quiet=True)
    trainer.fit()
    return trainer


# What a trainer does without being asked.


def names(**settings):
    return [type(each) for each in make_trainer(**settings).callbacks]


def test_a_trainer_shows_its_progress_and_saves_if_it_has_a_folder(tmp_path):
    assert names() == [Progress]
    assert names(quiet=True) == names(default_callbacks=False) == []
    assert names(workdir=tmp_path) == [Scalars, Progress, Checkpoint, Curves]
    assert names(workdir=tmp_path, quiet=True) == [Scalars, Checkpoint, Curves]
    assert names(workdir=tmp_path, default_callbacks=False) == []
    own = [Scalars(every=2), Checkpoint(every=6), Curves()]
    trainer = make_trainer(tmp_path, callbacks=own, quiet=True)
    assert list(trainer.callbacks) == own
    # Those that are added fit any chunk.
    added = make_trainer(tmp_path, chunk=7, quiet=True).callbacks
    assert [each.every for each in added if each.every is not None] == [14, 105]
    for name in ("quiet", "default_callbacks"):
        with pytest.raises(ConfigError, match=f"{name} is 3: give True or False"):
            make_trainer(**{name: 3})


def test_a_quiet_trainer_says_nothing(tmp_path, caplog, capfd):
    make_trainer(tmp_path, quiet=True).fit()
    make_trainer(tmp_path, num_iters=6, quiet=True).fit()
    assert not [record for record in caplog.records if record.levelname == "INFO"]
    assert capfd.readouterr() == ("", "")


def test_what_is_saved_is_gone_on_with_and_remembered(trained, tmp_path):
    files = {path.name for path in trained.workdir.iterdir()}
    assert {"metrics.jsonl", "metrics_seeds.jsonl", "checkpoints", "policies"} <= files
    history = trained.history
    assert history["iteration"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert history["seed"].tolist() == [7, 8] * 4
    assert history[REWARD].shape == (8,) and np.isfinite(history[REWARD]).all()
    # Every metric of training is a column; speed and steps are those of all seeds.
    assert set(trained.metric_names()) - {name for name in history} == {
        name for name in trained.metric_names() if name.endswith("/std")
    }
    again = make_trainer(trained.workdir, quiet=True)
    # Before it trains: what the folder has, the last iteration of each report.
    assert again.history["iteration"].tolist() == [4, 4]
    np.testing.assert_allclose(again.history[REWARD], history[REWARD][-2:], rtol=1e-6)
    figure = again.plot()
    assert [axes.get_title() for axes in figure.axes] == ["train/reward per timestep"]


# Acting.


def test_a_loaded_policy_acts_as_the_trained_one(trained):
    policies = trained.workdir / "policies"
    for seed in (0, 1):
        loaded = load_agent(trained.workdir, "agent1", seed=seed)
        assert loaded.name == f"agent1_seed_{seed}"
        same = load_agent(policies / f"agent1_seed_{seed}.msgpack")
        own = trained.agent("agent1", seed=seed)
        for other in (same, own):
            jax.tree.map(np.testing.assert_array_equal, loaded.state.params, other.state.params)
            observations = np.arange(5).repeat(20)
            np.testing.assert_array_equal(loaded.act(observations), other.act(observations))
            loaded.reset()
            loaded._num_acts = 0
    assert load_agent(trained.workdir).name == load_agent(policies).name == "agent1_seed_0"
    result = trained.evaluate({"agent2": load_agent(trained.workdir)})["opponents"]
    assert result["reward_per_timestep/player_2"].shape == (2,)


def test_one_observation_has_one_action_and_several_have_several():
    player = Player(agent("TitForTat"))
    # START, CC, CD, DC, DD: 4, 0, 1, 2, 3; it does what the other did.
    assert [player.act(each) for each in (4, 0, 1, np.int32(2), jnp.int32(3))] == [0, 0, 1, 0, 1]
    assert isinstance(player.act(0), int)
    player.reset()
    np.testing.assert_array_equal(player.act([0, 1, 3]), [0, 1, 1])


@dataclasses.dataclass
class Anybody(Agent):
    """Acts at random in any game."""

    def policy(self, state, observations, memory, key):
        return jax.random.randint(key, memory.hidden.shape[:1], 0, self.action_space.n), memory


@dataclasses.dataclass
class Counter(Agent):
    """Acts 1 from the third step of an episode on; remembers for a trial how many episodes there were."""

    hidden_size_in_memory = 2

    def policy(self, state, observations, memory, key):
        steps = memory.hidden[:, 0] + 1
        hidden = memory.hidden.at[:, 0].set(steps)
        return (steps >= 3).astype(jnp.int32), dataclasses.replace(memory, hidden=hidden)

    def reset_memory(self, memory, new_trial=False, state=None):
        hidden = memory.hidden.at[:, 0].set(0.0).at[:, 1].add(1.0)
        return dataclasses.replace(memory, hidden=hidden)


def test_a_player_has_a_memory_of_its_own():
    one, other = (Player(Counter.for_env(ENV)) for _ in range(2))
    assert [one.act(0) for _ in range(4)] == [0, 0, 1, 1]
    assert other.act(0) == 0
    one.reset(new_trial=False)
    assert (one.act(0), one._memory.hidden[0, 1]) == (0, 1.0)
    one.reset()
    assert (one.act(0), one._memory.hidden[0, 1]) == (0, 0.0)
    with pytest.raises(ConfigError, match=r"of 2 games, and Counter remembers 1: call reset\(\)"):
        one.act([0, 0])
    # As in the loop: nobody is disturbed by a game in between.
    play(ENV, [one, agent("TitForTat", 1)])
    assert [one.act(0) for _ in range(2)] == [0, 1]


@pytest.mark.parametrize(
    ("space", "observation", "message"),
    [
        (Discrete(5), 5, "observation is 5: give 0 to 4"),
        (Discrete(5), [0, -1], r"observation is \[0, -1\]: give 0 to 4"),
        (Discrete(5), 0.5, "observation is 0.5: give a whole number"),
        (Discrete(5), "CC", "observation is 'CC': give a whole number"),
        (Discrete(5), None, "observation is None: give a whole number"),
        (Discrete(5), [[0]], r"has shape \(1, 1\): give \(\), or \[B, ...\] of B games"),
        (Box((2,)), [1.0], r"has shape \(1,\): give \(2,\)"),
        (Box((2,)), [[1.0], [1.0, 2.0]], "give numbers"),
        (Dict((("a", Discrete(2)),)), 0, r"observation is 0: give a dict of \['a'\]"),
    ],
)
def test_an_observation_of_another_game_is_refused(space, observation, message):
    player = Player(Anybody(space, Discrete(2)))
    with pytest.raises(ConfigError, match=message):
        player.act(observation)


def test_parts_of_an_observation_are_of_as_many_games():
    space = Dict((("a", Discrete(2)), ("b", Box((3,)))))
    player = Player(Anybody(space, Discrete(2)))
    assert player.act({"a": 1, "b": np.zeros(3)}) in (0, 1)
    player.reset()
    assert player.act({"a": [1, 0], "b": np.zeros((2, 3))}).shape == (2,)
    with pytest.raises(ConfigError, match="parts of different numbers of games"):
        player.act({"a": 1, "b": np.zeros((2, 3))})


# Loading.


@pytest.mark.parametrize("name", sorted(ENVS))
def test_a_space_is_read_from_its_description(name):
    try:
        env = ENVS[name]()
    except (TypeError, ConfigError):
        pytest.skip("it is made by name")
    for seat in range(env.num_players):
        for space in env.spaces(seat):
            assert parse_space(str(space)) == space


@pytest.mark.parametrize(
    "text",
    ["", "Discrete", "Discrete(n=0)", "print(1)", "Discrete(n=len('a'))", "5", "[1]", "(" * 999],
)
def test_what_describes_no_space_is_told(text):
    with pytest.raises(ConfigError):
        parse_space(text)


def test_folders_and_names_that_do_not_fit_are_one_sentence(trained, tmp_path):
    run, file = trained.workdir, trained.workdir / "policies" / "agent1_seed_0.msgpack"
    two = tmp_path / "two"
    two.mkdir()
    for name in ("agent1", "agent1_best", "agent2"):
        (two / f"{name}.msgpack").write_bytes(file.read_bytes())
    assert load_agent(two, "agent1_best").name == "agent1_best"
    (tmp_path / "text.msgpack").write_text("nothing")
    cases = [
        (lambda: load_agent(tmp_path / "none"), "there is no run or policy .*none: check the path"),
        (lambda: load_agent(3), "path is 3: give the path of a file"),
        (lambda: load_agent(tmp_path / "text.msgpack"), "is not a policy file"),
        (lambda: load_agent(run / "checkpoints"), "holds no exported policies: give a run"),
        (
            lambda: load_agent(run, "agent2"),
            "name is 'agent2', which .* no policy of: did you mean",
        ),
        (
            lambda: load_agent(run, seed=2),
            "seed is 2, .* no such policy of agent1: choose one of 0, 1",
        ),
        (lambda: load_agent(run, seed=-1), "seed is -1: give 0 or more"),
        (lambda: load_agent(two), "has policies of agent1, agent2: give name, one of them"),
        (lambda: load_agent(two, "agent2", seed=0), "it is of one seed only, so leave it out"),
        (lambda: load_agent(file, "agent1"), "is one policy: leave out name and seed"),
        (lambda: load_agent(file, allow_imports="my_module"), "give a list of modules"),
        (lambda: trained.agent("agent2"), "name is 'agent2'"),
        (lambda: trained.agent(seed=2), "seed is 2: give 0 to 1"),
    ]
    for call, message in cases:
        with pytest.raises((ConfigError, CheckpointError), match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


AGENT = """
import pathlib
from pax.agents.fixed import Defect

pathlib.Path(__file__).with_suffix(".imported").touch()


class Mean(Defect):
    pass
"""


def test_an_agent_of_somebody_else_is_imported_only_if_that_is_allowed(tmp_path, monkeypatch):
    run, mine = tmp_path / "run", tmp_path / "mine"
    path = run / "policies" / "agent1.msgpack"
    described = {**agent("Defect").describe(), "agent": "Mean"}
    save_policy(path, agent=described, params={})
    mine.mkdir()
    for folder in (run, mine):
        (folder / "mean_agents.py").write_text(AGENT)
    # Wherever Python was started: what lies beside the policy is not run.
    monkeypatch.chdir(run)
    monkeypatch.setattr(sys, "path", [str(run), "", *sys.path, str(mine)])
    monkeypatch.delitem(sys.modules, "mean_agents", raising=False)
    with pytest.raises(ConfigError, match=r"one of Mean, .* as in allow_imports=\['my_module'\]"):
        load_agent(path)
    assert not list(tmp_path.rglob("*.imported"))
    assert load_agent(path, allow_imports=["mean_agents"]).act(0) == 1
    assert [each.parent for each in tmp_path.rglob("*.imported")] == [mine]
    for modules, message in (
        (["json"], "nor one of json: name the module that has it"),
        (["no_such_module"], r"no_such_module cannot be imported: ModuleNotFoundError"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_agent(path, allow_imports=modules)


def test_a_description_that_does_not_fit_is_told(tmp_path):
    good = agent("Random").describe()
    for changed, message in (
        ({"hunger": 1}, "has the setting 'hunger', which Random does not"),
        ({"action_space": "os.system('x')"}, "describes an agent that cannot be made"),
        ({"action_space": None}, "describes an agent that cannot be made"),
    ):
        path = tmp_path / "agent.msgpack"
        save_policy(path, agent=json.loads(json.dumps({**good, **changed})), params={})
        with pytest.raises(CheckpointError, match=message):
            load_agent(path)


# Playing.


def test_a_game_is_played_and_drawn(tmp_path):
    out = tmp_path / "pictures" / "game.png"
    played = play(ENV, [agent("TitForTat"), Player(agent("Defect", 1))], num_episodes=2, save=out)
    # Sucker first, then both defect.
    np.testing.assert_array_equal(played.rewards, [[-3, 0], *[[-2, -2]] * 4] * 2)
    assert [actions.tolist() for actions in played.actions] == [[0, 1, 1, 1, 1] * 2, [1] * 10]
    # A matrix game has a picture of an episode.
    assert played.frames.shape[0] == 1 and played.frames.dtype == np.uint8
    with Image.open(out) as picture:
        np.testing.assert_array_equal(np.asarray(picture), played.frames[0])


def test_a_game_on_a_grid_is_an_animation(tmp_path):
    env = CoinGame(num_inner_steps=3)
    players = [Anybody.for_env(env, seat) for seat in (0, 1)]
    played = play(env, players, save=tmp_path / "game.gif", seed=3)
    assert played.rewards.shape == (3, 2) and len(played.frames) == 3
    with Image.open(tmp_path / "game.gif") as picture:
        assert picture.size == played.frames.shape[2:0:-1]
    again = play(env, players, seed=3)
    np.testing.assert_array_equal(again.frames, played.frames)


class Blank(Environment):
    """A game that cannot be drawn."""

    num_players, num_inner_steps = 1, 2

    def reset(self, key, params):
        return (jnp.int32(0),), jnp.int32(0)

    def step(self, key, state, actions, params):
        return (jnp.int32(0),), state + 1, (jnp.float32(1.0),), state == 1, {}

    def observation_space(self, player):
        return Discrete(1)

    def action_space(self, player):
        return Discrete(2)


def test_what_cannot_be_played_is_one_sentence(tmp_path):
    blank = Blank()
    alone = [Anybody.for_env(blank)]
    assert play(blank, alone).frames is None
    two = [agent("TitForTat"), agent("Defect", 1)]
    for call, message in (
        (lambda: play(blank, alone, save="x.gif"), "Blank cannot be drawn: leave it out"),
        (lambda: play(None, two), "env is None: give a game"),
        (lambda: play(ENV, two[0]), "give a list of agents, one per seat"),
        (lambda: play(ENV, two[:1]), "agents has 1 entries: this game has 2 seats"),
        (lambda: play(ENV, [two[0], "TitForTat"]), r"agents\[1\] is 'TitForTat': give an agent"),
        (lambda: play(ENV, two, num_episodes=0), "num_episodes is 0: give"),
        (lambda: play(ENV, two, seed=-1), "seed is -1: give 0 or more"),
        (
            lambda: play(ENV, two, save="x.jpg"),
            r"save is 'x.jpg': give a file that ends in .gif or .png",
        ),
        (lambda: play(ENV, two, env_params=3), "env_params"),
        (lambda: play(ENV, [Anybody.for_env(CoinGame()), two[1]]), "player_1"),
        (lambda: play(ENV, two, save=__file__ + "/x.png"), "which cannot be written"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_all_of_it_is_found_where_it_is_looked_for():
    assert {"load_agent", "play", "Player", "MetaTrainer"} <= set(pax.__all__)
