"""Users' own modules: found by dotted paths, not mistaken for Pax's, and not run for a run from elsewhere."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from pax.config import base_config, defaults, role
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.config.imports import check_named, find_class, folders_to_record, named_modules
from pax.config.recorded import config_of_run
from pax.envs import Environment, IteratedMatrixGame
from pax.errors import ConfigError
from pax.evaluation.job import evaluate_checkpoint
from pax.run.directory import open_run

ROOT = pathlib.Path(__file__).parents[2]

OWN_MODULE = """
import pathlib
from pax import Callback
from pax.agents import TitForTat
from pax.envs import Environment, IteratedMatrixGame

pathlib.Path(__file__).with_suffix(".imported").touch()


class ThreePonds(IteratedMatrixGame):
    pass


class Copycat(TitForTat):
    pass


class Watch(Callback):
    pass
"""


@pytest.fixture
def clean_path(monkeypatch):
    """What a test does to the modules and their path is undone."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def own_config(module):
    config = base_config()
    config.env = defaults(IteratedMatrixGame)
    config.env.type = f"{module}.ThreePonds"
    del config.env.num_inner_steps
    config.num_inner_steps, config.num_envs, config.num_iters, config.chunk = 4, 2, 1, 1
    config.roles = ("agent1", "agent2")
    config.agent1 = role("Tabular", 0, num_minibatches=1, num_epochs=1)
    config.agent2 = role(f"{module}.Copycat", 1)
    config.extra_callbacks = (f"{module}.Watch",)
    for name in config.callbacks:
        config.callbacks[name].enabled = name == "checkpoint"
        if "every" in config.callbacks[name]:
            config.callbacks[name].every = 1
    return config


def write_module(folder, name):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.py").write_text(OWN_MODULE)


def record(workdir, config):
    open_run(workdir, config.to_dict(), "mine.py", folders_to_record(config.to_dict()))


def test_own_game_agent_and_callback_from_training_to_evaluation(
    tmp_path, clean_path, monkeypatch, capsys
):
    project, workdir = tmp_path / "project", tmp_path / "run"
    write_module(project, "mygame_a")
    sys.path.insert(0, str(project))
    config = own_config("mygame_a")
    trainer = build_trainer(config, str(workdir))
    assert [type(role.agent).__name__ for role in trainer.roles] == ["Tabular", "Copycat"]
    record(workdir, config)
    trainer.fit()
    assert json.loads((workdir / "run.json").read_text())["imports"] == {"mygame_a": str(project)}

    # Somewhere else, later: nothing of it is imported before the user has read its name.
    sys.path.remove(str(project))
    del sys.modules["mygame_a"]
    (project / "mygame_a.imported").unlink()
    with pytest.raises(ConfigError) as refused:
        evaluate_checkpoint(workdir)
    assert str(refused.value) == (
        f"run {workdir} names code that is not of Pax: mygame_a.Copycat, mygame_a.ThreePonds, "
        f"mygame_a.Watch (in {project}); if you trust it, add --allow_imports=mygame_a"
    )
    assert not (project / "mygame_a.imported").exists()
    evaluate_checkpoint(workdir, allow_imports=["mygame_a"])
    assert (project / "mygame_a.imported").exists()
    assert "evaluation/as_trained at iteration 1" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["", "inner"])
def test_nothing_is_imported_from_the_folder_of_a_run(tmp_path, clean_path, monkeypatch, place):
    workdir = tmp_path / "received"
    config = base_config()
    config.env = {"type": "mygame_b.ThreePonds"}
    record(workdir, config)
    write_module(workdir / place, "mygame_b")
    # It may also claim to be at home there.
    run = json.loads((workdir / "run.json").read_text())
    run["imports"] = {"mygame_b": str(workdir / place)}
    (workdir / "run.json").write_text(json.dumps(run))
    monkeypatch.chdir(workdir / place)
    sys.path.insert(0, "")
    sys.path.insert(0, str(workdir / place))
    with pytest.raises(ConfigError, match="mygame_b.ThreePonds .not found outside"):
        config_of_run(workdir)
    with pytest.raises(ConfigError, match="No module named 'mygame_b'"):
        build_trainer(named_game(config_of_run(workdir, ["mygame_b"])), None)
    assert not (workdir / place / "mygame_b.imported").exists()


def named_game(config):
    """The config of a run, with all that a run needs besides the game."""
    whole = base_config()
    whole.env, whole.roles = config.env, ()
    return whole


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("env", {"type": "evil_c.ThreePonds"}),
        ("agent1", {"type": "evil_c.Copycat"}),
        ("evaluation", {"x": {"agent2": {"type": "evil_c.Copycat"}}}),
        ("callbacks", {"mine": {"type": "evil_c.Watch", "enabled": True}}),
        ("extra_callbacks", ("evil_c.Watch",)),
        ("extra_callbacks", (("evil_c.Watch", {"every": 1}),)),
        ("tasks", {"mine": {"type": "evil_c.Task"}}),
    ],
)
def test_every_place_that_names_code_is_looked_at(tmp_path, key, value):
    config = base_config().to_dict() | {key: value}
    open_run(tmp_path / "run", config, "mine.py")
    with pytest.raises(ConfigError, match=r"evil_c\..*--allow_imports=evil_c"):
        config_of_run(tmp_path / "run")


def test_the_folder_of_a_project_hides_no_package_of_the_same_name_in_it(
    tmp_path, clean_path, monkeypatch
):
    """From the folder that holds the project, its name is first of all that of a folder."""
    write_module(tmp_path / "ponds_d" / "ponds_d", "game")
    (tmp_path / "ponds_d" / "ponds_d" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    sys.path.insert(0, "")
    named, recorded = {"type": "ponds_d.game.ThreePonds"}, {"ponds_d": str(tmp_path / "ponds_d")}
    with pytest.raises(ConfigError, match=f"ponds_d.game.ThreePonds .in {tmp_path}/ponds_d."):
        check_named("it", named, (), tmp_path / "run", recorded)
    check_named("it", named, ["ponds_d"], tmp_path / "run", recorded)
    assert find_class("env.type", named["type"], Environment, "", {}).__name__ == "ThreePonds"
    # Where that folder has the modules, it is what is meant.
    write_module(tmp_path / "ponds_e", "game")
    elsewhere = {"ponds_e": str(tmp_path / "ponds_d")}
    with pytest.raises(ConfigError, match=f"ponds_e.game.ThreePonds .in {tmp_path}.;"):
        check_named("it", {"type": "ponds_e.game.ThreePonds"}, (), tmp_path / "run", elsewhere)


def test_what_ships_with_pax_needs_no_leave():
    assert named_modules(load_config(f"{ROOT}/configs/ipd.py:ppo").to_dict()) == {}
    assert named_modules({"extra_callbacks": ("callbacks.Profile", "pax.callbacks.Video")}) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [("callbacks.py", "configs.py", "launch.py"), ("callbacks/", "configs/", "launch/")]
)
def test_files_and_folders_of_the_user_break_nothing(tmp_path, names):
    for name in names:
        path = tmp_path / (f"{name}__init__.py" if name.endswith("/") else name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("class Mine:\n    pass\n\n\nWHOSE = 'mine'\n")
    code = f"""
from pax.config.files import load_config
from pax.config.build import build_trainer
config = load_config({str(ROOT / "configs" / "ipd.py")!r} + ":shaper,quicktest")
config.extra_callbacks = ("callbacks.Profile",)
config.callbacks.checkpoint.every = 2
trainer = build_trainer(config, "run")
print(*(type(callback).__module__ for callback in trainer.callbacks))
import callbacks, configs, launch
print(callbacks.WHOSE, configs.WHOSE, launch.WHOSE)
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert told.returncode == 0, told.stderr
    callbacks, modules = told.stdout.splitlines()
    assert all(name.startswith("pax.callbacks.") for name in callbacks.split())
    assert "pax.callbacks.profile" in callbacks and modules == "mine mine mine"


def test_an_own_class_goes_before_a_stock_one_of_that_name(tmp_path, clean_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "callbacks"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "callbacks.py").write_text(
        "from pax import Callback\n\n\nclass Video(Callback):\n    pass\n"
    )
    sys.path.insert(0, str(tmp_path))
    config = load_config(f"{ROOT}/configs/ipd.py:tabular,quicktest")
    config.extra_callbacks = ("callbacks.Video", "callbacks.Profile")
    modules = {type(each).__module__ for each in build_trainer(config, str(tmp_path)).callbacks}
    assert {"callbacks", "pax.callbacks.profile"} <= modules
    # A run from elsewhere may mean either, so it is asked about.
    assert named_modules(config.to_dict()) == {
        "callbacks": ["callbacks.Profile", "callbacks.Video"]
    }


def test_a_module_beside_a_config_elsewhere_is_found_from_its_folder_or_by_the_path(tmp_path):
    """What is imported is what Python finds from here: the folder of a config file is not added."""
    (tmp_path / "beside.py").write_text(
        "from pax import Callback\n\n\nclass Mine(Callback):\n    pass\n"
    )
    (tmp_path / "own.py").write_text(
        "from pax.configs import ipd\n\n\ndef get_config():\n"
        "    config = ipd.get_config('tabular,quicktest')\n"
        "    config.extra_callbacks = ('beside.Mine',)\n"
        "    return config\n"
    )
    command = [sys.executable, "-m", "launch.local", "--num_processes=1", "--dry_run", "--"]
    command += [f"--config={tmp_path / 'own.py'}"]

    def start(folder, *path):
        paths = os.pathsep.join([str(ROOT), *path])
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )

    refused = start("/")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "extra_callbacks[0] is 'beside.Mine', which cannot be imported" in refused.stderr
    assert "start in the folder that holds it, or put that on PYTHONPATH" in refused.stderr
    assert start(tmp_path).returncode == 0
    assert start("/", str(tmp_path)).returncode == 0
