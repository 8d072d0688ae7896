"""A new project: what is written runs, also from a wheel; and names that would not do are refused."""

import ast
import re
import subprocess
import sys
import venv
import zipfile

import pytest

from pax.errors import ConfigError
from pax.new.__main__ import TEMPLATES, check_name, write_project
from pax.programs import PROGRAMS
from tests import newcomer
from tests.test_layout import ROOT


@pytest.fixture(scope="module")
def project(tmp_path_factory, app):
    """A project that was written by its command, and trained for a moment by its own agent."""
    folder = tmp_path_factory.mktemp("new")
    made = app("ponds", module="pax.new", cwd=folder)
    assert (
        made.code == 0
        and "cd ponds && python -m pax.main --config=configs/pond.py:ppo" in made.stdout
    )
    argv = ["--config=configs/pond.py:bandit,quicktest", "--workdir=exp/bandit"]
    trained = app(*argv, cwd=folder / "ponds")
    assert trained.code == 0, trained.stderr
    assert "Done at iteration 2" in trained.stdout
    assert "Config: configs/pond.py:bandit,quicktest, of " in trained.stderr
    return folder / "ponds"


def test_its_files_are_code_with_its_name(project):
    files = {
        str(path.relative_to(project)) for path in project.rglob("*.*") if "exp/" not in str(path)
    }
    files = {name for name in files if "__pycache__" not in name}
    assert files == {
        "README.md",
        "configs/pond.py",
        "ponds/__init__.py",
        "ponds/agent.py",
        "ponds/callback.py",
        "ponds/game.py",
        "tests/test_ponds.py",
    }
    for name in files:
        text = (project / name).read_text()
        assert "my_project" not in text and text.endswith("\n")
        assert max(map(len, text.splitlines())) <= 120
        if name.endswith(".py"):
            assert ast.get_docstring(ast.parse(text)), name


def test_its_readme_names_files_and_commands_that_exist(project):
    readme = (project / "README.md").read_text()
    for name in re.findall(r"^\| `([^`]+)`", readme, re.MULTILINE):
        assert (project / name).exists(), name
    assert len(newcomer.commands(readme)) == 8


def test_the_page_about_projects_shows_what_is_written():
    page = (ROOT / "docs" / "own_project.md").read_text()
    readme = (TEMPLATES / "README.md.txt").read_text()
    shown = re.findall(r"^python -m (?!pax\.new).*", page, re.MULTILINE)
    assert len(shown) == 8 and all(line in readme for line in shown)
    for name, module in PROGRAMS.items():
        assert f"| `pax {name}` | `python -m {module.removesuffix('.__main__')}` |" in page


@pytest.mark.slow
def test_runs_of_its_own_code_are_evaluated_and_play_if_one_allows_it(project, app):
    evaluate = ["--mode=evaluate", "--workdir=exp/bandit"]
    refused = app(*evaluate, cwd=project)
    assert refused.code == 1 and refused.stderr.count("\n") == 1
    names = "ponds.agent.Bandit, ponds.agent.Modest, ponds.callback.Inequality, ponds.game.Pond"
    assert f"names code that is not of Pax: {names} (in {project})" in refused.stderr
    assert refused.stderr.endswith("if you trust it, add --allow_imports=ponds\n")
    done = app(*evaluate, "--allow_imports=ponds", cwd=project)
    assert done.code == 0 and "evaluation/modest at iteration 2" in done.stdout

    crossplay = ["exp/bandit", "--num_envs=2", "--workdir=exp/crossplay"]
    refused = app(*crossplay, module="pax.evaluation.crossplay", cwd=project)
    assert refused.code == 1 and "--allow_imports=ponds" in refused.stderr
    done = app(*crossplay, "--allow_imports=ponds", module="pax.evaluation.crossplay", cwd=project)
    assert done.code == 0, done.stderr
    rows = (project / "exp" / "crossplay" / "crossplay.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2 and rows[1].startswith("agent1,agent1,")


def test_a_policy_of_an_own_agent_without_its_run_asks_for_leave_too(project, app, tmp_path):
    policy = project / "exp" / "bandit" / "policies" / "agent1.msgpack"
    (tmp_path / "alone.msgpack").write_bytes(policy.read_bytes())
    argv = [
        "--config=configs/pond.py:ppo",
        str(tmp_path / "alone.msgpack"),
        f"--workdir={tmp_path / 'x'}",
    ]
    refused = app(*argv, module="pax.evaluation.crossplay", cwd=project)
    assert refused.code == 1 and not (tmp_path / "x").exists()
    assert "alone.msgpack names code that is not of Pax: ponds.agent.Bandit" in refused.stderr


def test_a_run_of_a_game_that_is_gone_is_told_in_a_sentence(project, app, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    text = (project / "exp" / "bandit" / "run.json").read_text()
    (run / "run.json").write_text(text.replace("ponds.game.Pond", "ponds.gone.Pond"))
    argv = ["--mode=evaluate", f"--workdir={run}", "--allow_imports=ponds"]
    refused = app(*argv, cwd=project)
    assert refused.code == 1 and refused.stderr.count("\n") == 1 and refused.traced == 0
    assert (
        "env.type is 'ponds.gone.Pond', which cannot be imported: ModuleNotFoundError"
        in refused.stderr
    )
    assert "as package ponds (" in refused.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-project", "'my-project' cannot be the name of a Python module: use letters"),
        ("7ponds", "cannot be the name of a Python module"),
        ("class", "'class' cannot be the name of a Python module"),
        ("json", "json is the name of a module (of Python), which the project would hide"),
        ("numpy", "numpy is the name of a module ("),
        ("pax", "pax is the name of a module ("),
        ("tests", "tests is what a part of the project is called: give another name"),
        ("__main__", "__main__ is the name of a module"),
        ("full", "full is not empty (it holds it): name a folder that does not exist yet"),
        ("file", "file cannot be written (Not a directory): name a folder that you may write to"),
        ("file/inner", "inner cannot be written (Not a directory)"),
    ],
)
def test_names_that_will_not_do_are_refused_and_nothing_is_written(tmp_path, name, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "it").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError) as refused:
        write_project(tmp_path / name)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_of_that_name_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    (tmp_path / "puddles").mkdir()
    check_name("puddles", tmp_path / "puddles")
    (tmp_path / "lakes.py").touch()
    with pytest.raises(ConfigError, match="lakes is the name of a module .*lakes.py., which"):
        check_name("lakes", tmp_path / "elsewhere" / "lakes")


@pytest.mark.parametrize("argv", [(), ("",), ("a", "b")])
def test_one_project_at_a_time(app, tmp_path, argv):
    refused = app(*argv, module="pax.new", cwd=tmp_path)
    assert refused.code == 1 and "named: give one folder, as in python -m pax.new" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_newcomer_with_a_wheel(tmp_path):
    """A wheel, installed beside the libraries that these tests have, is all that a newcomer needs."""
    source, wheels, environment = (tmp_path / name for name in ("source", "wheels", "environment"))
    parts = ("pyproject.toml", "README.md", "LICENSE", "pax", "configs", "callbacks")
    source.mkdir()
    # From a copy: a build folder left in the checkout would end up in the wheel.
    subprocess.run(["cp", "-r", *(ROOT / name for name in parts), source], check=True)
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", f"--wheel-dir={wheels}", source], check=True)
    (wheel,) = wheels.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"pax"}
    templates = {
        f"pax/new/project/{path.relative_to(TEMPLATES)}" for path in TEMPLATES.rglob("*.txt")
    }
    shipped = {f"pax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    examples = {f"pax/callbacks/examples/{path.name}" for path in (ROOT / "callbacks").glob("*.py")}
    assert templates | shipped | examples <= set(names)

    venv.create(environment, with_pip=False)
    (site,) = environment.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries))
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    assert {path.name.split("-")[0] for path in site.iterdir()} == {
        "pax",
        "pax_rl",
        "libraries.pth",
    }
    folder = tmp_path / "empty"
    folder.mkdir()
    newcomer.main(environment / "bin", folder)
