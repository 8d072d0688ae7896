"""What config files are made of, and the config files there are."""

import json
import pathlib
import re
import runpy

import numpy as np
import pytest
from ml_collections import ConfigDict

from pax.agents import PPO
from pax.config import sections
from pax.config.build import build_trainer, run_config
from pax.config.files import list_variants, load_config
from pax.config.sections import (
    base_config,
    check_type,
    defaults,
    find_setting,
    parse_variant,
    role,
    wrong_type,
)
from pax.configs import _helper as helper
from pax.configs import ipd
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError, nearest

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted(ROOT.glob("configs/[!_]*.py"))
VARIANTS = [
    f"{path}:{variant}" for path in CONFIGS for variant in runpy.run_path(str(path))["VARIANTS"]
]


def short(name):
    return pathlib.Path(name).name


class Example:
    def __init__(self, observation_space, needed, rate=0.5, *, sizes=(1, 2), name="x"):
        pass


def test_defaults_are_those_of_the_constructor():
    expected = {"rate": 0.5, "sizes": (1, 2), "name": "x"}
    assert defaults(Example).to_dict() == expected
    assert defaults(Example, rate=2.0).to_dict() == {**expected, "rate": 2.0}


def test_defaults_refuse_an_override_of_nothing():
    with pytest.raises(ConfigError, match="Example has no setting 'rat': did you mean rate\\?"):
        defaults(Example, rat=1.0)
    # It comes from the game.
    with pytest.raises(ConfigError, match="has no setting 'observation_space'"):
        defaults(Example, observation_space=3)


class NamedLikeAMethod:
    def __init__(self, values="uniform"):
        pass


class GameWithItems(IteratedMatrixGame):
    def make_params(self, payoff=None, items=3):
        return super().make_params()


def test_no_setting_has_the_name_of_a_method_of_configs():
    # In the shell, --config.agent1.values=... would be compared with the method.
    with pytest.raises(
        ConfigError, match="NamedLikeAMethod has a setting 'values', and configs have"
    ):
        defaults(NamedLikeAMethod)
    with pytest.raises(ConfigError, match="GameWithItems has a setting 'items'"):
        sections.game(f"{__name__}.GameWithItems")


def test_a_role_holds_how_it_learns_and_every_setting_of_its_agent():
    config = role("PPO", 1, learning_rate=0.5, reset_every=3)
    assert (config.type, config.seats, config.learner.type) == ("PPO", (1,), "gradient")
    assert (config.learning_rate, config.reset_every) == (0.5, 3)
    assert config.num_epochs == PPO.num_epochs
    assert role("TitForTat", 0).learner.type == "none"


def test_roles_do_not_share_their_settings():
    first, second = role("PPO", 0), role("PPO", 1)
    first.path = "somewhere"
    assert second.path == ""


def test_base_config_is_made_anew_each_time():
    first = base_config()
    first.callbacks.scalars.every = 7
    assert base_config().callbacks.scalars.every != 7
    assert first.to_dict().keys() == base_config().to_dict().keys()


OPTIONS = {"opponent": ["defect", "self"], "quicktest": None}


@pytest.mark.parametrize(
    ("argument", "name", "given"),
    [
        ("ppo", "ppo", {}),
        ("ppo,quicktest", "ppo", {"quicktest": "true"}),
        ("naive,quicktest,opponent=self", "naive", {"quicktest": "true", "opponent": "self"}),
    ],
)
def test_parse_variant(argument, name, given):
    assert parse_variant(argument, ["ppo", "naive"], OPTIONS) == (name, given)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("pop", "there is no variant 'pop': choose one of ppo, naive"),
        ("", "there is no variant '': choose one of ppo, naive"),
        ("ppo,nope", "variant ppo has no option 'nope': choose from opponent, quicktest"),
        ("ppo,", "variant ppo has no option '': choose from opponent, quicktest"),
        ("ppo,opponent=nope", "opponent is 'nope': choose one of defect, self"),
        ("ppo,opponent", "opponent is '': choose one of defect, self"),
        ("ppo,quicktest=yes", "option quicktest takes no value, and got 'yes'"),
        (
            "ppo,opponent=self,opponent=defect",
            "option opponent of variant ppo is given twice: give it once",
        ),
        ("ppo,quicktest,quicktest", "option quicktest of variant ppo is given twice: give it once"),
    ],
)
def test_parse_variant_lists_what_is_known(argument, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_variant(argument, ["ppo", "naive"], OPTIONS)


def test_nearest():
    assert nearest("sedd", ["seed", "chunk"]) == "did you mean seed?"
    assert nearest("x", ["seed", "chunk"]) == "choose one of chunk, seed"
    # What is part of longer names is near.
    metrics = ["train/reward_per_timestep/player_1", "train/reward_per_timestep/player_2", "loss"]
    assert nearest("Reward", metrics) == (
        "did you mean train/reward_per_timestep/player_1 or train/reward_per_timestep/player_2?"
    )
    assert nearest("rew", metrics).startswith("choose one of loss, ")


@pytest.mark.parametrize(
    ("value", "like"),
    [
        (3, 1),
        (3, 1.0),
        (0.5, 1.0),
        (float("inf"), 1.0),
        (True, False),
        ("b", "a"),
        ([1], ()),
        ((1,), (2, 3)),
        ({}, {"a": 1}),
        (ConfigDict(), {}),
        ("anything", None),
    ],
)
def test_types_that_fit(value, like):
    check_type("key", value, like)


@pytest.mark.parametrize(
    ("value", "like", "message"),
    [
        ("3", 1, "key is '3': give a whole number, such as 1"),
        (3.0, 1, "key is 3.0: give a whole number, such as 1"),
        (True, 1, "key is True: give a whole number, such as 1"),
        (None, 1, "key is None: give a whole number, such as 1"),
        ("0.5", 1.0, "key is '0.5': give a number, such as 1.0"),
        (False, 1.0, "key is False: give a number, such as 1.0"),
        (float("nan"), 1.0, "key is nan: give a number, such as 1.0"),
        (1, False, "key is 1: give true or false, such as False"),
        (1, "a", "key is 1: give text, such as 'a'"),
        (1, "", "key is 1: give text"),
        ("ab", (1,), "key is 'ab': give a tuple, such as (1,)"),
        (1, {"a": 2}, "key is 1, but a section: set what is in it, such as key.a"),
    ],
)
def test_types_that_do_not_fit(value, like, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_type("key", value, like)
    assert str(wrong_type("key", value, like)) == message


def test_find_setting():
    config = ConfigDict({"seed": 3, "agent1": {"rate": 0.5, "seats": (1, 2)}})
    assert find_setting(config, "seed") == 3
    assert find_setting(config, "agent1.rate") == 0.5
    for key, message in {
        "sed": "sed is no setting: the config has no 'sed', did you mean seed?",
        "agent1.rat": "agent1.rat is no setting: agent1 has no 'rat', did you mean rate?",
        "agent2.rate": "agent2.rate is no setting: the config has no 'agent2', did you mean agent1?",
        "agent1.seats[0]": "agent1.seats[0] is an item of agent1.seats: give all of it, as in "
        "--config.agent1.seats=(1, 2)",
        "seed.x": "seed.x is no setting: seed is 3 and has none of its own",
    }.items():
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            find_setting(config, key)


def test_list_names_every_variant_once_and_says_what_to_expect(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = []
    for name, text in list_variants().items():
        assert re.fullmatch(r"configs/\w+\.py:\S+", name) and len(text) > 20
        names.append(str(ROOT / name))
    assert names == VARIANTS


def test_list_leaves_out_what_is_no_config_and_names_what_is_broken(tmp_path):
    with pytest.raises(ConfigError, match="there are no configs in .*: name a folder"):
        list_variants(tmp_path)
    (tmp_path / "_shared.py").write_text("1 / 0")
    (tmp_path / "good.py").write_text("VARIANTS = {'a': 'first', 'bb': 'second'}")
    good = tmp_path / "good.py"
    assert list_variants(tmp_path) == {f"{good}:a": "first", f"{good}:bb": "second"}
    (tmp_path / "worse.py").write_text("\n1 / 0")
    with pytest.raises(ConfigError, match="worse.py' fails in line 2 with ZeroDivisionError"):
        list_variants(tmp_path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def get_config(:", "fails in line 1 with SyntaxError"),
        ("import no_such_module", "fails in line 1 with ModuleNotFoundError"),
        ("def get_config():\n  return nope", "fails in line 2 with NameError"),
        ("def get_config():\n  open('/nope')", "fails in line 2 with FileNotFoundError"),
        ("def get_config():\n  pass", "returned None: return an ml_collections.ConfigDict"),
        ("x = 1", "has no get_config"),
    ],
)
def test_a_broken_config_file_is_named_with_the_line(tmp_path, code, message):
    path = tmp_path / "mine.py"
    path.write_text(code)
    with pytest.raises(ConfigError, match="mine.py") as info:
        load_config(str(path))
    assert message in str(info.value)
    assert "\n" not in str(info.value)


def test_a_config_file_finds_its_siblings(tmp_path):
    folder = tmp_path / "my_experiments"
    folder.mkdir()
    (folder / "_shared.py").write_text("SEED = 7")
    (folder / "mine.py").write_text(
        "from ml_collections import ConfigDict\n"
        "from my_experiments._shared import SEED\n"
        "def get_config(argument='x'):\n"
        "  return ConfigDict({'seed': SEED, 'argument': argument})\n"
    )
    assert load_config(f"{folder}/mine.py").to_dict() == {"seed": 7, "argument": "x"}
    assert load_config(f"{folder}/mine.py:y,z").argument == "y,z"


# JaxMARL's own code warns as it is traced.
@pytest.mark.filterwarnings("ignore:scatter inputs have incompatible types:FutureWarning")
# A third of all variants as they are, and another third as quicktests; slow tests build all of both.
@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        pytest.param(
            name,
            suffix,
            id=short(f"{name}{suffix}"),
            marks=() if index % 3 == part else pytest.mark.slow,
        )
        for part, suffix in enumerate(("", ",quicktest"))
        for index, name in enumerate(VARIANTS)
    ],
)
def test_every_variant_builds(name, suffix, tmp_path):
    config = load_config(name + suffix)
    trainer = build_trainer(config, str(tmp_path / "run"))
    assert [role.name for role in trainer.roles] == list(config.roles)
    assert any(role.learner or role.agent.learns_within_episode for role in trainer.roles)
    usual = {"Scalars", "Progress", "Evaluation", "Checkpoint", "Curves"}
    assert set(trainer.callbacks.names) == usual
    # A run can be written down, and read back the same.
    assert json.loads(json.dumps(config.to_dict())) is not None
    assert not (tmp_path / "run").exists()
    if suffix:
        assert trainer.num_iters * trainer.env_steps_per_iteration <= 10_000


# Of the two kinds of self-play, one.
TRIAL_OPTIONS = tuple(name for name in helper.TRIAL_OPTIONS if name != "self_play_by_seat")


def matrix_game_options(strategies):
    """Every value of every option of a two-player matrix game, on top of one variant that takes it."""
    for learner in helper.AGENTS:
        for opponent in [*strategies, "self", "shared", *helper.AGENTS, "lola_dice"]:
            yield f"{learner},opponent={opponent}"
    for opponent in [*helper.AGENTS, *strategies, "self", "shared"]:
        yield f"shaper,opponent={opponent}"
    yield from (f"shaper,context={context}" for context in helper.CONTEXTS["Shaper"])
    yield from (f"shaper,strategy={strategy}" for strategy in helper.STRATEGIES)
    yield from (f"shaper,{task}" for task in helper.PAYOFF_TASKS)
    yield f"marl2,{','.join(TRIAL_OPTIONS)}"
    yield "shaper,self_play_by_seat"
    yield f"shaper,{','.join((*helper.TASK_OPTIONS, *helper.PAYOFF_TASKS))},context=att,small"


@pytest.mark.parametrize("game", ["ipd", pytest.param("imp", marks=pytest.mark.slow)])
def test_every_option_of_matrix_games_builds(game):
    path = ROOT / f"configs/{game}.py"
    for argument in matrix_game_options(runpy.run_path(str(path))["STRATEGIES"]):
        trainer = build_trainer(load_config(f"{path}:{argument},quicktest"), None)
        names = ["agent1"] if "opponent=shared" in argument else ["agent1", "agent2"]
        assert [role.name for role in trainer.roles] == names


@pytest.mark.parametrize(
    "game", ["coin_game", "infinite", "nplayer_ipd", "ipditm", "cournot", "fishery", "rice"]
)
def test_every_option_of_other_games_builds(game):
    path = ROOT / f"configs/{game}.py"
    strategies = runpy.run_path(str(path)).get("STRATEGIES", {})
    learners = ["ppo", "ppo_memory"]
    for opponent in [*strategies, *learners, "self", "shared"]:
        load = f"{path}:ppo_memory,opponent={opponent},quicktest"
        assert build_trainer(load_config(load), None).roles[0].seats[0] == 0
    for opponent in [*strategies, *learners, "self", "shared"]:
        trainer = build_trainer(load_config(f"{path}:gs,opponent={opponent},quicktest"), None)
        assert len(trainer.roles) == (1 if opponent == "shared" else trainer.env.num_players)
    for context in helper.CONTEXTS["Shaper"]:
        build_trainer(load_config(f"{path}:marl2,context={context},quicktest"), None)


# Variants of the others begin with the name of an environment.
GAMES = [path.stem for path in CONFIGS if path.stem not in ("sarl", "jaxmarl")]
ALIKE = (*helper.TASK_OPTIONS, *TRIAL_OPTIONS)


@pytest.mark.parametrize("game", GAMES)
def test_tasks_and_evaluations_are_options_of_every_game(game):
    for suffix in ("", ",quicktest"):
        config = load_config(f"{ROOT}/configs/{game}.py:shaper,{','.join(ALIKE)}{suffix}")
        learning = [name for name in config.roles if config[name].learns_in_trial]
        # One shaper, and everybody else learns within the trial, lives on, and may be played by the shaper.
        others = build_trainer(config, None).env.num_players - 1
        assert len(learning) == others
        assert config.agent1.self_play_seats == tuple(range(1, others + 1))
        assert {config[name].reset_every for name in learning} == {10}
        tasks = config.tasks.values()
        types = {name: task.get("type", name) for name, task in config.tasks.items()}
        assert sorted(types.values()) == sorted(
            ["hard_stop", "shuffled_seats", "annealed_self_play"] + ["mixed_learning_rate"] * others
        )
        rated = [task for task in tasks if task.get("type") == "mixed_learning_rate"]
        assert [task.role for task in rated] == learning
        for task in rated:
            # The rate that they have is one of those that are drawn.
            assert task.get("low", 1e-5) < config[task.role].learning_rate <= task.get("high", 1.0)
        assert config.evaluation.hard_stop.tasks.hard_stop.at == config.num_outer_steps // 2 > 0
        assert config.evaluation.blinded.tasks.blinded.num_blind == config.num_envs // 2
        assert config.tasks.annealed_self_play.horizon == config.num_iters // 2
    by_seat = load_config(f"{ROOT}/configs/{game}.py:shaper,self_play_by_seat")
    others = [seat for name in by_seat.roles[1:] for seat in by_seat[name].seats]
    assert by_seat.agent1.self_play_seats == tuple(others)
    assert by_seat.tasks.self_play_by_seat.horizon == by_seat.num_iters
    # Both follow the number of iterations, and their ends can be set.
    by_seat.num_iters = config.num_iters = 31
    assert by_seat.tasks.self_play_by_seat.to_dict() == {"start": 0.0, "end": 1.0, "horizon": 31}
    assert config.tasks.annealed_self_play.to_dict() == {"start": 1.0, "end": 0.0, "horizon": 16}
    assert run_config(by_seat, {"num_iters": 8}).tasks.self_play_by_seat.horizon == 8


@pytest.mark.slow
def test_what_trials_draw_is_learned_from_in_another_game(tmp_path):
    # Evaluations compile as much again, each.
    config = load_config(f"{ROOT}/configs/cournot.py:gs,opponent=ppo,{','.join(ALIKE)},quicktest")
    config.callbacks.evaluation.enabled = False
    metrics = build_trainer(config, str(tmp_path)).fit()
    assert {"reward_after_stop/player_1", "train/fitness/mean"} <= set(metrics)
    rewards = [value for key, value in metrics.items() if key.startswith("train/reward_per")]
    assert len(rewards) == 2 and np.isfinite(rewards).all()


def test_environments_of_jaxmarl_take_learners_shapers_and_their_options():
    def roles(argument):
        config = load_config(f"{ROOT}/configs/jaxmarl.py:{argument}")
        return {name: (config[name].type, config[name].seats) for name in config.roles}

    assert roles("storm_2p") == {"agent1": ("PPO", (0, 1))}
    assert roles("storm_2p,opponent=random") == {
        "agent1": ("PPO", (0,)),
        "agent2": ("Random", (1,)),
    }
    assert roles("storm_2p,mfos_es,hardstop") == {
        "agent1": ("MFOS", (0,)),
        "agent2": ("PPO_memory", (1,)),
    }
    # Three who chase, and one who flees and sees something else.
    assert roles("MPE_simple_tag_v3,ppo_memory") == {
        "agent1": ("PPO_memory", (0, 1, 2)),
        "agent2": ("PPO_memory", (3,)),
    }


@pytest.mark.parametrize("task", ["hardstop", "mixed_lr"])
def test_a_task_is_a_variant_of_the_shaper(task):
    for game in GAMES:
        path = f"{ROOT}/configs/{game}.py"
        assert load_config(f"{path}:{task}") == load_config(f"{path}:shaper,{task}")


def test_the_earlier_name_of_look_ahead_steps_is_accepted():
    path = f"{ROOT}/configs/ipd.py:lola_dice"
    earlier, later = (
        load_config(f"{path},{name}=3") for name in ("look_ahead", "look_ahead_steps")
    )
    assert earlier == later
    assert later.agent1.learner.look_ahead_steps == 3


def test_what_is_not_described_is_listed_all_the_same():
    lines = helper.describe((), {}, {"shaper": "wins", "unheard_of,small": "loses"})
    assert lines == {
        "shaper": "Shaper by evolution: wins",
        "unheard_of,small": "Shaper by evolution: loses",
    }


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "ipd.py:gs,context=att",
            "option context is att, and gs plays PPO: leave it out",
        ),
        (
            "coin_game.py:mfos_es,context=att",
            "option context is att, and mfos_es plays MFOS: choose from none, avg",
        ),
        ("ipd.py:shaper,opponent=grim,persistent", "persistent is about who learns in a trial"),
        ("coin_game.py:ppo,small", "option small is one of shaper, gs, .*, and not of ppo"),
        (
            "cournot.py:hardstop,opponent=self",
            "hardstop is about who learns in a trial, and .* ppo, ",
        ),
        (
            "infinite.py:shaper,eval_hard_stop,opponent=lola_exact",
            "eval_hard_stop is about who learns in a trial",
        ),
        (
            "coin_game.py:shaper,opponent=tabular,shuffled",
            "shuffled is about players that observe and act alike, and those of this variant do not: choose "
            "from hardstop, mixed_lr, persistent, eval_hard_stop, eval_blinded",
        ),
        ("rice.py:shaper,opponent=shared,self_play", "self_play is about the seats of others"),
        (
            "nplayer_ipd.py:shaper,opponent=shared,shapers=2",
            "shapers is 2, and opponent=shared has",
        ),
        (
            "coin_game.py:shaper,mixed_payoff",
            "variant shaper has no option 'mixed_payoff': choose from opponent, .*hardstop, mixed_lr, ",
        ),
        (
            "rice.py:mediator,opponent=shared",
            "opponent is 'shared': choose one of random, ppo, ppo_memory, ",
        ),
        ("fishery.py:ppo,hardstop", "option hardstop is one of shaper, .*, and not of ppo"),
        ("nplayer_ipd.py:shaper,shapers=3", "shapers is '3': choose one of 1, 2"),
        (
            "rice.py:sarl,opponent=naive",
            "variant sarl has no option 'opponent': choose from regions",
        ),
        (
            "ipd.py:shaper,self_play,self_play_by_seat",
            "self_play and self_play_by_seat are two ways of one thing",
        ),
        (
            "infinite.py:lola_exact,look_ahead_steps=2,mixed",
            "mixed changes nothing with look_ahead_steps=2",
        ),
        ("rice.py:ppo,regions=6", "regions is '6': choose one of 5, 27"),
        ("sarl.py:cartpol", "there is no variant 'cartpol': did you mean cartpole?"),
        ("sarl.py:cartpole,memroy", "variant cartpole has no option 'memroy': choose from memory"),
    ],
)
def test_options_that_do_not_go_together_are_told(argument, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        load_config(f"{ROOT}/configs/{argument}")


def check_quicktest(name, workdir, with_evaluation):
    config = load_config(f"{ROOT}/configs/{name},quicktest")
    # Compiles as much again.
    config.callbacks.evaluation.enabled = with_evaluation
    trainer = build_trainer(config, str(workdir))
    metrics = trainer.fit()
    rewards = [
        metrics[f"train/reward_per_timestep/player_{player + 1}"]
        for player in range(trainer.env.num_players)
    ]
    assert np.isfinite(rewards).all()
    if name.startswith("imp.py"):
        assert sum(rewards) == pytest.approx(0.0, abs=1e-5)
    if name.startswith("ipd.py"):
        payoff = np.asarray(trainer.env_params.payoff_matrix)
        assert all(payoff.min() <= reward <= payoff.max() for reward in rewards)
    learned = [value for key, value in metrics.items() if key.startswith("train/agent1/")]
    assert learned or config.agent1.learner.type == "none"
    assert np.isfinite(learned).all()
    policies = {path.stem for path in (workdir / "policies").iterdir()}
    expected = {name for name in config.roles if config[name].learner.type != "none"}
    evolving = {name for name in expected if config[name].learner.type == "evolution"}
    persistent = {name for name in config.roles if config[name].reset_every != 1}
    for name in tuple(expected):
        number = config[name].learner.get("num_agents", 1)
        if number > 1:
            # A file per agent of a pool.
            expected ^= {name} | {f"{name}_{index + 1}" for index in range(number)}
    assert policies == expected | {f"{name}_best" for name in evolving} | persistent


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "imp.py:ppo_memory,opponent=self",
        "ipd.py:tabular,opponent=defect",
        "imp.py:naive,opponent=tabular",
    ],
)
def test_learners_run(name, tmp_path):
    check_quicktest(name, tmp_path, with_evaluation="defect" in name)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS, ids=short)
def test_every_variant_runs(name, tmp_path):
    check_quicktest(short(name), tmp_path, with_evaluation=True)


def test_other_strategies_rank_and_move_candidates_as_is_their_own():
    config = ipd.get_config("shaper,strategy=CMA_ES,quicktest")
    learner = config.agent1.learner
    assert learner.strategy == "CMA_ES"
    assert learner.fitness_shaping == learner.optimizer == "default"
    assert ipd.get_config("shaper,strategy=PGPE,quicktest").agent1.learner.optimizer == "adam"
