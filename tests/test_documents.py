"""Settings and commands that configs and pages of games name are found; other pages: test_pages."""

import importlib.util
import pathlib
import re
import shlex
import sys
from unittest import mock

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from pax import main
from pax.config import game, role
from pax.config.build import build_env, build_trainer
from pax.config.command_line import read_flags
from pax.configs import ipd
from pax.errors import ConfigError

ROOT = pathlib.Path(main.__file__).parent.parent
# ml_collections loads modules in a way that Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
PLACEHOLDER = re.compile(r"<|\.\.\.|HOST|my_module|pond|=\$")


def commands():
    """Command lines of `pax.main` in the docstrings of configs."""
    for module in (ROOT / "configs").glob("*.py"):
        text = module.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"python -m pax\.main([^`\n#&|]*)", text):
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


def test_parameters_that_pages_of_games_name_are_found():
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
def test_commands_in_configs_are_accepted(command):
    config = read(command)
    if "path=" not in command:  # That of a policy which a run has yet to write.
        build_trainer(config, None)


CONFIGS = (
    "fishery",
    "cournot",
    "negotiation",
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
        ("docs/running.md", 4, "Heads_0/policy/bias [2] (not asked for)"),
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
