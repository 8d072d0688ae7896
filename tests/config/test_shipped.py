"""Configs and callbacks that ship with Pax are found by the same names from every folder."""

import sys
import tomllib

import pytest

import pax
from pax.callbacks.examples.learning_curves import LearningCurves
from pax.callbacks.examples.reward_gap import RewardGap
from pax.config.build_callbacks import build_callback
from pax.config.files import SHIPPED, as_named, find_config, list_variants, load_config
from pax.config.imports import named_modules
from pax.config.run_arguments import parse
from pax.configs import _helper
from pax.errors import ConfigError
from tests.test_layout import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_links_are_the_folders_of_the_checkout():
    assert SHIPPED.resolve() == ROOT / "configs"
    assert (ROOT / "pax" / "callbacks" / "examples").resolve() == ROOT / "callbacks"
    for path in SHIPPED.glob("*.py"):
        text = path.read_text()
        # By this name, what they share is found from everywhere, and is nobody else's.
        assert "from configs" not in text and "import configs" not in text, path


def test_a_file_of_the_user_goes_before_the_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("configs/ipd.py", "./configs/ipd.py"):
        assert find_config(name) == SHIPPED / "ipd.py"
    assert (
        as_named(f"{SHIPPED / 'ipd.py'}:ppo,opponent=defect")
        == "configs/ipd.py:ppo,opponent=defect"
    )
    assert load_config("configs/ipd.py:ppo").num_iters == 1000
    with pytest.raises(
        ConfigError, match=r"'configs/ipdd.py' does not exist: did you mean configs/ipd.py"
    ):
        load_config("configs/ipdd.py")

    # A folder of that name takes nothing away, also with a module that those of Pax have as well.
    own = tmp_path / "configs"
    own.mkdir()
    (own / "_helper.py").write_text("SIZE = 7\n")
    code = "from ml_collections import ConfigDict\nfrom configs import _helper\n\n"
    code += "VARIANTS = {'a': 'mine'}\n\n\ndef get_config(argument=''):\n"
    code += "    return ConfigDict({'size': _helper.SIZE})\n"
    (own / "mine.py").write_text(code)
    assert load_config("configs/mine.py").size == 7
    assert load_config("configs/coin_game.py:ppo").num_inner_steps > 0
    assert not hasattr(sys.modules["pax.configs._helper"], "SIZE") and _helper.QUICK
    (own / "ipd.py").write_text(code)
    assert find_config("configs/ipd.py").resolve() == own / "ipd.py"
    assert load_config("configs/ipd.py").size == 7
    assert as_named(f"{SHIPPED / 'ipd.py'}:ppo") == f"{SHIPPED / 'ipd.py'}:ppo"

    names = list(list_variants())
    assert names[:2] == ["configs/ipd.py:a", "configs/mine.py:a"]
    assert "configs/imp.py:ppo" in names and "configs/ipd.py:ppo" not in names


@pytest.mark.parametrize(
    "form", [["--config=configs/ipd.py:tabular"], ["--config", "configs/ipd.py:tabular"]]
)
def test_command_lines_elsewhere_keep_the_name(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    given = parse([*form, "--config.num_envs=3"])
    assert given.config_path == "configs/ipd.py:tabular" and given.config.num_envs == 3
    assert given.command_line("w")[0] == "--config=configs/ipd.py:tabular"


def test_callbacks_to_copy_are_named_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for top in ("callbacks", "pax.callbacks.examples"):
        assert type(build_callback("x", f"{top}.reward_gap.RewardGap", {})) is RewardGap
        assert (
            type(build_callback("x", f"{top}.learning_curves.LearningCurves", {})) is LearningCurves
        )
    assert named_modules({"extra_callbacks": ("callbacks.reward_gap.RewardGap",)}) == {}
    with pytest.raises(
        ConfigError, match="'callbacks.reward_gap.RewardGab', and module pax.*did you mean"
    ):
        build_callback("x", "callbacks.reward_gap.RewardGab", {})


def test_the_version_is_written_once_more_in_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == pax.__version__
    assert set(project["urls"]) == {"Homepage", "Documentation", "Changelog"}
