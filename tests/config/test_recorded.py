"""Configs that an earlier version recorded: those in `recorded` are the files that it wrote."""

import json
import pathlib

import pytest

from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.config.recorded import config_of_run, todays
from pax.errors import ConfigError
from pax.run.directory import check_run, jsonable, open_run, read_run

ROOT = pathlib.Path(__file__).parents[2]
RECORDED = {path.stem: path for path in (ROOT / "tests" / "config" / "recorded").glob("*.json")}
# What says how long, and how it is reported, and may differ.
OVERRIDES = {"num_iters": 2, "callbacks.progress.enabled": False}


def folder(path, name, change=lambda config: None):
    """A folder of a run of the earlier version that has trained."""
    run = json.loads(RECORDED[name].read_text())
    change(run["config"])
    (path / "run.json").write_text(json.dumps(run))
    (path / "metrics.jsonl").write_text('{"iteration": 1}\n')
    return path


def todays_config(name):
    config = load_config(f"{ROOT}/configs/ipd.py:{name},quicktest")
    config.update_from_flattened_dict(OVERRIDES)
    return config


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_recorded_config_is_todays_of_that_name(name):
    recorded = json.loads(RECORDED[name].read_text())["config"]
    assert isinstance(recorded["agent1"]["learner"], str)
    expected = todays_config(name).to_dict()
    # A run has the callbacks that it was started with; this one came later.
    del expected["callbacks"]["curves"]
    assert jsonable(todays(recorded)) == jsonable(expected)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_run_of_an_earlier_version_is_gone_on_with(name, tmp_path):
    workdir = folder(tmp_path, name)
    check_run(workdir, todays_config(name).to_dict(), todays)
    build_trainer(config_of_run(workdir), None)


def test_a_setting_that_a_record_lacks_has_todays_default(tmp_path):
    def take_away(config):
        for section, key in (
            (config, "num_devices"),
            (config["agent2"], "reset_every"),
            (config["agent2"], "learning_rate_horizon"),
            (config["agent1"]["evolution"], "top_k"),
            (config["env"], "show_payoff_to"),
        ):
            del section[key]

    workdir = folder(tmp_path, "shaper", take_away)
    config = config_of_run(workdir)
    assert (config.num_devices, config.agent2.reset_every) == (0, 1)
    assert config.agent2.learning_rate_horizon == 0
    assert (config.agent1.learner.popsize, config.agent1.learner.top_k) == (8, 5)
    check_run(workdir, todays_config("shaper").to_dict(), todays)


def test_a_run_whose_learner_was_named_without_settings_is_gone_on_with(tmp_path):
    """As by `--config.agent1.learner.type=coala`: its other settings are the defaults."""
    config = load_config(f"{ROOT}/configs/ipd.py:marl2,quicktest").to_dict()
    config["agent1"]["learner"] = {"type": "coala"}
    open_run(tmp_path, config, "ipd.py:marl2", upgrade=todays)
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 1}\n')
    before = (tmp_path / "run.json").read_bytes()
    open_run(tmp_path, config, "ipd.py:marl2", upgrade=todays)
    assert (tmp_path / "run.json").read_bytes() == before
    assert read_run(tmp_path)["config"]["agent1"]["learner"] == {"type": "coala"}
    config["agent1"]["learner"] = {"type": "coala", "form": "coala"}
    check_run(tmp_path, config, todays)
    config["agent1"]["learner"] = {"type": "coala", "form": "mfos"}
    with pytest.raises(ConfigError, match="another config .agent1.learner.form: coala -> mfos.: "):
        check_run(tmp_path, config, todays)


def test_what_cannot_be_read_is_left_as_it_is():
    broken = {
        "agent1": {"type": "Nobody", "seats": 3, "learner": "magic"},
        "env": {"type": "Cournot", "x": 1},
    }
    config = todays(broken)
    assert config["agent1"]["learner"] == {"type": "magic"} and config["agent1"]["seats"] == 3
    assert config["env"]["x"] == 1 and todays({"env": 3, "evaluation": 4})["env"] == 3
