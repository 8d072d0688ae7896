"""What documents tell to run, runs: their commands are accepted, and README's code does what it says."""

import functools
import importlib.util
import math
import pathlib
import re
import shlex
import sys
import types
from unittest import mock

import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

import pax
from pax import MetaTrainer, main
from pax.agents import AGENTS, PPO
from pax.config import base_config, game, role
from pax.config.build import build_env, build_trainer
from pax.config.command_line import read_flags
from pax.configs import ipd
from pax.envs import ENVS
from pax.errors import ConfigError

ROOT = pathlib.Path(main.__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# ml_collections loads modules in a way that Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
PLACEHOLDER = re.compile(r"<|\.\.\.|HOST|my_module|pond|=\$")


def commands():
    """Command lines of `pax.main` with a config, in code blocks, sentences and docstrings."""
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    texts += [module.read_text(encoding="utf-8") for module in (ROOT / "configs").glob("*.py")]
    for text in texts:
        for line in re.findall(r"python -m pax\.main([^`\n#&|]*)", text.replace("\\\n", " ")):
            if "--config=configs" in line and not PLACEHOLDER.search(line):
                yield " ".join(re.split(r"[,;:.]? +(?=[a-z])|[,;:.]$", line.strip())[0].split())


COMMANDS = sorted(set(commands()))


def read(command):
    """The config of a command line, as the app reads it."""
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values)
    argv = ["main", *shlex.split(command)]
    # Where ml_collections looks for what is overridden.
    with mock.patch.object(sys, "argv", argv):
        read_flags(argv, values, known_only=True)
    return config.value


def test_documents_have_commands_and_their_parameters_are_found():
    assert len(COMMANDS) >= 20
    for page, config in (
        ("others", "sarl.py:cartpole"),
        ("rice", "rice.py:ppo"),
        ("rice", "c_rice.py:ppo"),
    ):
        text = (ROOT / f"docs/environments/{page}.md").read_text(encoding="utf-8")
        overrides = re.findall(r"`(--config\.env\.[^`]+)`", text)
        assert overrides
        for override in overrides:
            changed = read(f"--config=configs/{config} {override}")
            assert changed.env != read(f"--config=configs/{config}").env
            build_env(changed)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_documents_are_accepted(command):
    config = read(command)
    if "path=" not in command:  # That of a policy which a run has yet to write.
        build_trainer(config, None)


CONFIGS = (
    "fishery",
    "cournot",
    "rice",
    "c_rice",
    "ipd",
    "coin_game",
    "clean_up_lite",
    "infinite",
    "nplayer_ipd",
    "ipditm",
)


def test_scripts_of_documents_hide_no_module_that_they_may_import():
    """Python looks in the folder of a script first."""
    for script in (ROOT / "docs" / "images").glob("*.py"):
        assert importlib.util.find_spec(script.stem) is None, script


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_of_a_game_is_in_its_config_with_its_default(name):
    config = read(f"--config=configs/{name}.py:ppo")
    env, params = build_env(config)
    settings = env.param_settings()
    assert set(settings) <= set(config.env)
    for key in settings:
        if isinstance(settings[key], float):
            changed = read(
                f"--config=configs/{name}.py:ppo --config.env.{key}={0.97 * settings[key]}"
            )
            before, after = (getattr(own, key, None) for own in (params, build_env(changed)[1]))
            np.testing.assert_allclose(after, 0.97 * np.asarray(before), rtol=1e-5, err_msg=key)


@pytest.mark.parametrize(
    "name", ["pendulum", "acrobot", "PointRobot-misc", "DiscountingChain-bsuite"]
)
def test_every_parameter_of_gymnax_is_in_its_config(name):
    config = read(f"--config=configs/sarl.py:{name}")
    env, params = build_env(config)
    assert set(vars(params)) <= set(config.env)
    for key, default in env.param_settings().items():
        if isinstance(default, bool):
            config.env[key] = not default
        elif isinstance(default, tuple):
            config.env[key] = tuple(2 * number for number in default)
    changed = vars(build_env(config)[1])
    for key, default in env.param_settings().items():
        factor = 2 if isinstance(default, tuple) else 1
        expected = not default if isinstance(default, bool) else factor * np.asarray(default)
        np.testing.assert_allclose(changed[key], expected, rtol=1e-6)


def test_one_number_stands_for_all_regions_from_the_shell():
    config = read("--config=configs/rice.py:ppo --config.env.damage_linear=(0.01,)")
    np.testing.assert_allclose(build_env(config)[1].damage_linear, [0.01] * 5)


def test_steps_of_an_episode_have_one_place():
    config = ipd.get_config("ppo")
    with config.unlocked():
        config.env.num_inner_steps = 10
    with pytest.raises(
        ConfigError,
        match=r"env.num_inner_steps is 10: .* num_inner_steps \(150\), so take it out of env",
    ):
        build_env(config)


def test_what_config_helpers_do_not_know_is_told():
    with pytest.raises(
        ConfigError, match="is 'Tabula', which no agent is called: did you mean Tabular"
    ):
        role("Tabula", 0)
    with pytest.raises(
        ConfigError, match="is 'Fischery', which no game is called: did you mean Fishery"
    ):
        game("Fischery")
    with pytest.raises(ConfigError, match="Fishery has no setting 'growth': choose one of P, e, g"):
        game("Fishery", growth=1.0)


def code_blocks(heading, language):
    """The code of a section of README in one language."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split(f"## {heading}\n")[1]
    return re.findall(rf"```{language}\n(.*?)```", section.split("\n## ")[0], re.DOTALL)


def python_blocks(heading):
    """The Python code of a section of README."""
    return code_blocks(heading, "python")


def test_the_environment_and_the_agent_of_the_readme_work_as_they_say(monkeypatch, capsys):
    """In a notebook, by the checks of `pax.testing`, and, once registered, from a config."""
    module = types.ModuleType("my_module")
    names = vars(module)
    game_code, _ = python_blocks("Write your own environment")
    agent_code, checks = python_blocks("Write your own agent")
    monkeypatch.setitem(sys.modules, "my_module", module)
    for code in (game_code, agent_code, checks):
        exec(code, names)
    # The checks say nothing if all is well.
    assert capsys.readouterr().out == ""
    kind, bandit = names["RockPaperScissors"], names["Bandit"]
    env = kind()
    MetaTrainer(env, [PPO.for_env(env), bandit.for_env(env, 1)], num_envs=10)

    monkeypatch.setitem(ENVS, "RockPaperScissors", kind)
    monkeypatch.setitem(AGENTS, "Bandit", bandit)
    config = base_config()
    config.env = game("RockPaperScissors")
    config.num_inner_steps, config.num_envs, config.num_iters, config.chunk = 20, 10, 2, 1
    config.roles = ("agent1", "agent2")
    config.agent1, config.agent2 = role("PPO", 0), role("Bandit", 1, temperature=0.5)
    config.callbacks = ConfigDict()
    trainer = build_trainer(config, None)
    assert (trainer.env.num_inner_steps, trainer.roles[1].agent.temperature) == (20, 0.5)
    assert math.isfinite(trainer.fit()["train/agent2/best"])
    with config.unlocked():
        config.env.stake = 2.0
    with pytest.raises(
        ConfigError, match="env.stake is no setting of make_params|stake is no setting"
    ):
        build_trainer(config, None)


def test_the_notebook_code_of_the_readme_runs(monkeypatch, capsys, tmp_path):
    (code,) = python_blocks("In a notebook")
    monkeypatch.chdir(tmp_path)
    small = {
        "fit(200)": "fit(2)",
        "fit(400)": "fit(4)",
        "num_inner_steps=150": "num_inner_steps=10",
    }
    for before, after in small.items():
        assert before in code
        code = code.replace(before, after)

    def small_trainer(*args, **settings):
        return MetaTrainer(*args, chunk=2, num_envs=20, **settings)

    monkeypatch.setattr(pax, "MetaTrainer", small_trainer)
    exec(code, {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert len(re.findall(r"^-?\d+\.\d+$", printed, re.MULTILINE)) == 1


def test_the_code_of_the_page_about_coala_runs(monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "coala.md").read_text(), re.DOTALL)
    small = {"num_opps=48": "num_opps=2", "num_outer_steps=20": "num_outer_steps=2"}
    code = "\n".join(blocks).replace("num_iters=200", "num_iters=1")
    for before, after in small.items():
        assert before in code
        code = code.replace(before, after)
    names: dict = {}
    exec(code, names)
    assert "train/meta/entropy" in names["metrics"]
    config = base_config()
    config.env, config.roles = game("IteratedMatrixGame"), ("agent1", "agent2")
    names["add_players"](config)
    config.callbacks = {}
    build_trainer(config, None)


def test_the_code_of_the_page_about_python_runs(tmp_path, monkeypatch):
    """From top to bottom, in one piece, but for its sizes."""
    text = (ROOT / "docs" / "from_python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = "\n".join(blocks)
    assert len(blocks) == text.count("```") / 2 >= 8
    small = {
        "steps=100": "steps=5",
        "fit(200)": "fit(2)",
        "fit(300)": "fit(4)",
        "fit(400)": "fit(6)",
        "fit(50)": "fit(2)",
    }
    for before, after in small.items():
        assert before in code
        code = code.replace(before, after)

    class SmallTrainer(MetaTrainer):
        def __init__(self, *args, **settings):
            super().__init__(*args, chunk=2, num_envs=20, **settings)

    monkeypatch.setattr(pax, "MetaTrainer", SmallTrainer)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    exec(code, names)
    # Of what was trained before it went on, it has what was reported: the end of each fit.
    assert list(names["rewards"].index) == [2, 4, 5, 6]
    assert names["played"].rewards.shape == (5, 2) and names["actions"].shape == (4,)
    assert names["against"]["reward_per_timestep/player_1"].shape == (3,)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"exp", "curves.png", "learning.png", "episode.png", "coins.gif"}


@pytest.mark.slow
def test_the_commands_of_averages_run(app, tmp_path):
    """One after the other in an empty folder, at their quick sizes."""
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (block,) = re.findall(
        r"```bash\n(.*?)```", text.split("## Moving averages")[1].split("\n## ")[0], re.DOTALL
    )
    train, evaluate, crossplay = (
        shlex.split(line) for line in block.replace("\\\n", "").splitlines()
    )
    trained = app(
        *(arg + ",quicktest" * arg.startswith("--config=") for arg in train[3:]), cwd=tmp_path
    )
    assert trained.code == 0, trained.stderr
    evaluated = app(*evaluate[3:], cwd=tmp_path)
    assert evaluated.code == 0, evaluated.stderr
    assert re.findall(r"^evaluation/(\w+) at", evaluated.stdout, re.MULTILINE) == [
        "as_trained",
        "as_trained_average",
    ]
    played = app(*crossplay[2:], "--num_envs=2", cwd=tmp_path, module="pax.evaluation.crossplay")
    assert played.code == 0, played.stderr
    assert "agent2_average_seed_2" in played.stdout


@pytest.mark.parametrize(
    ("document", "taken", "fresh"),
    [
        ("README.md", 4, "Heads_0/policy/bias [2] (not asked for)"),
        ("docs/environments/coin_game.md", 9, "torso/Dense_0/kernel [42, 16] (there [36, 16])"),
    ],
)
def test_commands_of_warm_starts_find_what_they_name(document, taken, fresh, tmp_path):
    """The command that starts from another run's policy, and the one before that trains it."""
    text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", "")
    lines = re.findall(r"^ *python -m pax\.main (.*?)(?: +#.*)?$", text, re.MULTILINE)
    (warm,) = [line for line in lines if "warm_start=" in line]
    source = re.search(r"warm_start=(\S+)/policies/", warm)[1]
    first = next(line for line in lines if f"--workdir={source}" in line)
    trainer = build_trainer(read(re.sub(r" *--workdir=\S+", "", first)), str(tmp_path))
    trainer.state = trainer.compiled_loop.initial_state()
    trainer.export_policies()
    warm = re.sub(r" *--workdir=\S+", "", warm).replace(source, str(tmp_path))
    start = build_trainer(read(warm), None).warm_starts["agent1"]
    assert len(start.params) == taken
    assert fresh in start.lines()[2]


OWN = ("Write your own environment", "Write your own agent", "Write your own callback")
SMALL = {
    "num_iters": 4,
    "chunk": 2,
    "num_inner_steps": 5,
    "num_envs": 4,
    "callbacks.scalars.every": 2,
    "callbacks.progress.enabled": False,
    "callbacks.evaluation.every": 2,
    "callbacks.checkpoint.every": 2,
}


def test_own_modules_and_commands_of_the_readme_run_from_a_folder_of_ones_own(app, tmp_path):
    """The files that README has users write, and its commands as they stand, but for their sizes."""
    (game_code, config), (agent, _), (callback,) = map(python_blocks, OWN)
    (tmp_path / "my_module.py").write_text("\n\n".join([game_code, agent, callback]))
    (tmp_path / "my_config.py").write_text(config)
    blocks = "".join(block for heading in OWN for block in code_blocks(heading, "bash"))
    commands = [
        shlex.split(line, comments=True) for line in blocks.replace("\\\n", "").splitlines()
    ]
    apps = [argv[3:] for argv in commands if argv[:3] == ["python", "-m", "pax.main"]]
    trained, evaluated, bandit, called = apps
    small = [f"--config.{key}={value}" for key, value in SMALL.items()]
    app = functools.partial(app, cwd=tmp_path)
    for argv in (trained, bandit):
        answer = app(*argv, *small)
        assert answer.code == 0, answer.stderr
    answer = app(*evaluated)
    assert answer.code == 0, answer.stderr
    assert answer.stdout.startswith("evaluation/as_trained at iteration 4\n")
    answer = app(*[arg for arg in evaluated if "allow_imports" not in arg])
    assert (answer.code, answer.stdout) == (1, "")
    assert "--allow_imports=my_module" in answer.stderr
    # Every inequality is above -1; 6 is no multiple of 4, but the last iteration.
    called = [arg.replace("'threshold': 0.2", "'threshold': -1.0, 'every': 4") for arg in called]
    answer = app(*called, *small, "--config.num_iters=6")
    assert answer.code == 0, answer.stderr
    said = re.findall(
        r"^iteration (\d): rewards are unequal, player 1 gets ", answer.stdout, re.MULTILINE
    )
    assert said == ["4", "6"]

    (cross_play,) = [argv for argv in commands if argv[2:3] == ["pax.evaluation.crossplay"]]
    assert len(commands) == len(apps) + 1
    module = cross_play[2]
    played = app(*cross_play[3:], "--num_envs=4", f"--workdir={tmp_path}/played", module=module)
    assert played.code == 0, played.stderr
    assert "2 players of RockPaperScissors" in played.stdout
