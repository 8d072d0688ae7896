"""The command `pax` is every program under its name, and finds the modules of the current folder."""

import importlib
import sys
import types

import pytest

from pax import programs
from tests.test_layout import ROOT


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What is started, by module, with the arguments that it gets."""
    started = []

    def load(module):
        return types.SimpleNamespace(run=lambda: started.append((module, sys.argv[1:])))

    monkeypatch.setattr(programs, "importlib", types.SimpleNamespace(import_module=load))
    monkeypatch.setattr(sys, "path", [str(ROOT)])
    monkeypatch.chdir(tmp_path)
    return started


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        ([], "pax.main"),
        (["--config=configs/ipd.py:ppo", "--list"], "pax.main"),
        (["new", "my_project"], "pax.new.__main__"),
        (["report", "exp/a", "--out=x"], "pax.report.__main__"),
        (["crossplay", "exp/a"], "pax.evaluation.crossplay"),
        (["tournament"], "pax.evaluation.tournament"),
        (["exploit", "exp/a"], "pax.evaluation.exploit"),
        (["zoo", "list"], "pax.zoo.__main__"),
        (["sweep", "--config=x.py"], "pax.sweeps.__main__"),
    ],
)
def test_a_name_starts_its_program_with_the_rest(started, monkeypatch, tmp_path, arguments, module):
    monkeypatch.setattr(sys, "argv", ["pax", *arguments])
    programs.run()
    rest = arguments if module == "pax.main" else arguments[1:]
    assert started == [(module, rest)]
    assert sys.path == [str(tmp_path), str(ROOT)]
    monkeypatch.setattr(sys, "argv", ["pax"])
    programs.run()
    assert sys.path == [str(tmp_path), str(ROOT)]


def test_an_unknown_name_is_told(started, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pax", "reprt", "exp/a"])
    with pytest.raises(SystemExit) as ended:
        programs.run()
    assert ended.value.code == 2 and started == []
    assert capsys.readouterr().err == "Error: pax has no command 'reprt': did you mean report?\n"


def test_every_program_is_there_and_the_command_is_the_one_that_is_installed():
    for module in [*programs.PROGRAMS.values(), "pax.main"]:
        assert callable(importlib.import_module(module).run)
    assert 'pax = "pax.programs:run"' in (ROOT / "pyproject.toml").read_text()


def test_the_help_of_training_names_the_other_programs():
    from pax import main

    (line,) = [line for line in main.__doc__.splitlines() if line.startswith("Other programs: ")]
    named = line.removeprefix("Other programs: pax ").partition(";")[0].split(", ")
    assert named == [*programs.PROGRAMS]
