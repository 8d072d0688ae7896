"""What documents show is run: the Python code of every page, and what every command of it means.

A new page or block is covered without a line here, or a test fails and says what is missing.
"""

import functools
import importlib
import math
import re
import shlex
import subprocess
import sys
import threading
from unittest import mock

import pytest
from absl import flags

from pax.config.build import build_trainer
from pax.config.command_line import read_flags
from pax.config.files import load_config
from pax.config.run_arguments import parse
from pax.new.__main__ import write_project
from pax.programs import PROGRAMS
from tests.pages import PAGES, ROOT, blocks, run_page, write_files

# ml_collections loads modules in a way that Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

LANGUAGES = {"python", "bash", "text", "bibtex", ""}
"""Those of blocks. What names none is text, in which lines may be commands."""
SMALLER = {
    "README.md": {"fit(200)": "fit(2)", "num_inner_steps=150": "num_inner_steps=10"},
    "docs/concepts.md": {"fit(20)": "fit(2)"},
    "docs/own_code.md": {"fit(20)": "fit(2)", "for seed in (0, 1)": "for seed in (1,)"},
    "docs/coala.md": {
        "num_opps=48": "num_opps=2",
        "num_outer_steps=20,": "num_outer_steps=2,",
        "num_iters=200": "num_iters=1",
    },
    "docs/from_python.md": {
        "steps=100": "steps=5",
        "fit(200)": "fit(2)",
        "fit(300)": "fit(4)",
        "fit(400)": "fit(6)",
        "fit(50)": "fit(2)",
    },
    "docs/sweeps.md": {"num_iters=10": "num_iters=1"},
    "docs/performance.md": {
        "    (200, 384, 16),\n    (200, 384, 32),\n    (200, 768, 16),\n    (200, 768, 32),\n": "",
        "    (16, 384, 16),\n    (16, 768, 32),\n": "    (16, 2, 2),\n",
        "range(20)": "range(1)",
        "sorted(t)[10]": "t[0]",
    },
}
"""By page, what stands there and what is run in its place."""
BEFORE = {
    "docs/evaluation.md": "from pax.configs import ipd\nconfig = ipd.get_config('ppo')\n",
}
"""By page, what a block takes for granted."""
CHECKED_BELOW = {"README.md", "docs/from_python.md", "docs/own_code.md", "docs/sweeps.md"}
"""Pages whose code leaves something behind that has to be right."""
ELSEWHERE = {
    "pip": "installs; .ci/run does so in fresh environments",
    "pytest": "would run itself",
    "ruff": "run by .ci/run",
    "mypy": "run by .ci/run",
    "mkdocs": "run by .ci/run",
    "bash": "`bash .ci/run` runs all of this",
    "pre-commit": "runs ruff and mypy",
    "tensorboard": "a server, which does not end; tests of the writers read what it reads",
    "kubectl": "needs a cluster; tests of launch.k8s check the manifest",
    "sbatch": "needs a cluster; tests of launch.slurm check what is submitted",
    "wandb": "needs an account; tests of the callback have a stand-in",
    "cd": "is a step of the reader's",
    "source": "sets up the reader's shell",
    "export": "sets up the reader's shell",
}
"""Why some programs are not run, or only in another place."""
TRIED_ELSEWHERE = {"docs/old_experiments.md": "tests/test_old_experiments.py, by game"}
"""Pages whose commands another test tries, and which."""
BUILT: set[str] = set()
"""Configs of which a trainer was built: many pages have the same."""
MODULES_ELSEWHERE = {
    "pytest": ELSEWHERE["pytest"],
    "pax.experiment": "is the program of the Pax of 2022 to 2024, of which a page tells",
}


def with_python():
    return [page for page in PAGES if blocks(page, "python")]


def test_blocks_are_in_known_languages():
    for page, text in PAGES.items():
        fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
        assert set(fences[::2]) <= LANGUAGES and set(fences[1::2]) <= {""}, page
        found = len(blocks(page, *LANGUAGES))
        assert found == len(fences) / 2, f"{page} has an indented block, which is not found"


def test_what_is_said_of_pages_is_said_of_pages_that_have_code():
    assert {*SMALLER, *BEFORE, *CHECKED_BELOW} <= set(with_python())


@pytest.mark.parametrize("page", [page for page in with_python() if page not in CHECKED_BELOW])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """From top to bottom, in one piece; configs that it makes can be built."""
    names = run_page(
        page, tmp_path, monkeypatch, SMALLER.get(page, {}).items(), BEFORE.get(page, "")
    )
    configs = [names.get("config"), names.get("get_config", lambda: None)()]
    configs += [load_config(str(path)) for path in tmp_path.glob("*config.py")]
    for config in configs:
        if config is not None:
            build_trainer(config, None)
    assert names.get("get_sweep", lambda: [{}])()


def run(page, tmp_path, monkeypatch):
    return run_page(page, tmp_path, monkeypatch, SMALLER[page].items())


def test_the_code_of_the_readme_prints_and_draws_what_it_says(tmp_path, monkeypatch, capsys):
    run("README.md", tmp_path, monkeypatch)
    reward, rewards = capsys.readouterr().out.splitlines()[-2:]
    assert -3 <= float(reward) <= 0 and len(rewards.strip("[]").split()) == 3
    assert (tmp_path / "curves.png").exists()


@pytest.mark.slow
def test_the_code_of_the_page_about_sweeps_trains_four_runs(tmp_path, monkeypatch):
    sweep = run("docs/sweeps.md", tmp_path, monkeypatch)["sweep"]
    assert sweep.table["learning_rate"] == [0.01, 0.01, 0.03, 0.03] and sweep.errors == {}
    assert all(-3 <= reward <= 0 for reward in sweep.table["train/reward_per_timestep/player_1"])


def test_the_code_of_the_page_about_python_writes_what_it_says(tmp_path, monkeypatch):
    names = run("docs/from_python.md", tmp_path, monkeypatch)
    # Of what was trained before it went on, it has what was reported: the end of each fit.
    assert list(names["rewards"].index) == [2, 4, 5, 6]
    assert names["played"].rewards.shape == (5, 2) and names["actions"].shape == (4,)
    assert names["against"]["reward_per_timestep/player_1"].shape == (3,)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"exp", "curves.png", "learning.png", "episode.png", "coins.gif"}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with the files of the page about code of one's own."""
    folder = tmp_path_factory.mktemp("own")
    write_files("docs/own_code.md", folder)
    return folder


def test_code_of_ones_own_runs_in_python(tmp_path, monkeypatch, capsys):
    names = run("docs/own_code.md", tmp_path, monkeypatch)
    # The checks say nothing if all is well.
    assert math.isfinite(float(capsys.readouterr().out.split()[-1]))
    assert names["trainer"].step == 2
    assert (tmp_path / "exp" / "loop-1" / "metrics.jsonl").exists()


def test_code_of_ones_own_is_trained_and_evaluated_by_the_commands_of_its_page(own, app):
    """As they stand, but for their sizes; cross-play of one's own agents is in test_new."""
    app = functools.partial(app, cwd=own)
    short = [
        shlex.split(line) for line in shell(own, "\n".join(blocks("docs/own_code.md", "bash")))
    ]
    mains = [argv[3:] for argv in short if argv[:3] == ["python", "-m", "pax.main"]]
    called, trained, bandit, search, evaluated = mains
    assert "mine.callback.MyCallback" in called[-1] and called[0] == trained[0]
    for argv in (bandit, search):
        quick = [re.sub(r"(config\.py:\w+)$", r"\1,quicktest", arg) for arg in argv]
        answer = app(*quick, "--config.num_iters=2")
        assert answer.code == 0, answer.stderr
    # Every inequality is above -1; 3 is no multiple of 2, but the last iteration.
    called = [arg.replace("'threshold': 0.2", "'threshold': -1.0, 'every': 2") for arg in called]
    sizes = {"num_iters": 3, "chunk": 1, "num_envs": 4, "callbacks.mine.enabled": False}
    small = [f"--config.{key}={value}" for key, value in sizes.items()]
    answer = app(*called, *trained[1:], *small)
    assert answer.code == 0, answer.stderr
    said = re.findall(
        r"^iteration (\d): rewards are unequal, player 1 gets ", answer.stdout, re.MULTILINE
    )
    assert said == ["2", "3"]
    answer = app(*evaluated)
    assert answer.code == 0, answer.stderr
    assert answer.stdout.startswith("evaluation/as_trained at iteration 3\n")


def test_the_launcher_of_the_page_trains_its_runs_and_reports(own, app, monkeypatch, capsys):
    """In this process; what it starts need not import Pax first."""
    one_at_a_time = threading.Lock()

    def start(command, check, **streams):
        assert command[:2] == [sys.executable, "-m"]
        with one_at_a_time:
            answer = app(*command[3:], module=command[2], cwd=own)
        assert answer.code == 0 or not check, answer.stderr
        return subprocess.CompletedProcess(command, answer.code)

    code = (own / "start.py").read_text()
    assert 'in ("ppo", "bandit") for seed in (0, 1)' in code
    code = code.replace('in ("ppo", "bandit") for seed in (0, 1)', 'in ("ppo",) for seed in (3,)')
    code = code.replace("config.py:{variant}", "config.py:{variant},quicktest")
    monkeypatch.setattr(subprocess, "run", start)
    monkeypatch.chdir(own)
    monkeypatch.setattr(sys, "argv", ["start.py", "--config.num_inner_steps=5"])
    exec(compile(code, "start.py", "exec"), {"__name__": "__main__"})
    assert "{('ppo', 3): 0}" in capsys.readouterr().out
    assert (own / "report.html").exists()


RECORD = r"""
record() { local IFS; printf '%s\t' "${@@Q}"; printf '\n'; }
command_not_found_handle() { record "$@"; }
cd() { record cd "$@"; }
source() { record source "$@"; }
export() { record export "$@"; }
PATH=/nonexistent
"""
"""Has a shell tell each command in place of running it, quoted, a line each."""


def shell(folder, script):
    """The command lines of a script, as a shell understands it, without running any of them."""
    done = subprocess.run(
        ["bash", "-c", f"{RECORD}\nset -r\n{script}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, f"{script}: {done.stderr}"
    return [line.replace("\t", " ").strip() for line in done.stdout.splitlines()]


PLACEHOLDER = re.compile(r"<|\.\.\.|HOST|RUN\b|=\$|=$")
SPAN = re.compile(r"`((?:python -m (?:pax|launch)|pax (?:--|\w))[^`]*)`")


def scripts(page):
    """What a page would have a shell run: blocks, lines of text that are commands, and code in sentences."""
    yield from blocks(page, "bash")
    prose = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    for text in [*blocks(page, ""), prose]:
        joined = text.replace("\\\n", " ")
        yield from re.findall(r"^(?: {4})?((?:python|pax) .*)", joined, re.MULTILINE)
    for span in SPAN.findall(prose):
        line = " ".join(span.split())
        if not PLACEHOLDER.search(line) and "|" not in line:
            yield line


@pytest.mark.parametrize("page", [page for page in PAGES if page not in TRIED_ELSEWHERE])
def test_the_commands_of_a_page_are_accepted(page, tmp_path, monkeypatch):
    """Programs and files exist, flags and settings too; what is not run says why."""
    folder = tmp_path
    write_files(page, folder)
    if page == "docs/own_project.md":
        folder = tmp_path / "my_project"
        write_project(folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    for line in dict.fromkeys(line for script in scripts(page) for line in shell(folder, script)):
        accept(shlex.split(line), folder)


VARIANT = re.compile(r"`(?:--config=)?(configs/(?!pond)\w+\.py:[^`\s<|.]*)`")
# tests/config/test_experiments.py has those of the page that lists all of them.
OTHERS = [PAGES[page] for page in PAGES if page != "docs/experiments.md"]
SHIPPED = sorted({name for text in OTHERS for name in VARIANT.findall(text)})


def test_variants_that_pages_name_are_there():
    assert len(SHIPPED) >= 20
    for name in SHIPPED:
        load_config(name)


def accept(argv, folder):
    """Fails unless a command line names a program, and settings, that there are."""
    program, *arguments = argv
    if program == "pax":
        is_named = bool(arguments) and not arguments[0].startswith("-")
        accept_flags(PROGRAMS[arguments[0]] if is_named else "pax.main", arguments[is_named:])
    elif program == "python" and arguments[0] == "-m":
        if arguments[1] not in MODULES_ELSEWHERE:
            accept_flags(arguments[1], arguments[2:])
    elif program == "python":
        assert (ROOT / arguments[0]).exists() or (folder / arguments[0]).exists(), argv
    else:
        assert program in ELSEWHERE, (
            f"{shlex.join(argv)}: run it in a test, or say in ELSEWHERE why not"
        )


def accept_flags(module, arguments):
    """Reads a command line as the program does, and builds what it would train."""
    found = importlib.util.find_spec(module)
    assert found, f"there is no module {module}"
    if found.submodule_search_locations:
        module = f"{module}.__main__"
    values = flags.FlagValues()
    importlib.import_module(module).define_flags(values)
    # Where ml_collections looks for what is overridden.
    with mock.patch.object(sys, "argv", ["program", *arguments]):
        rest = read_flags(["program", *arguments], values)[1:]
    if "--" in arguments:
        parse(rest)  # It builds the trainer.
    config = values.config if "config" in values and module == "pax.main" else None
    # A policy that another command has yet to write cannot be loaded.
    has_policy = any(re.search("path=|warm_start=", argument) for argument in arguments)
    if config is not None and not has_policy and str(config) not in BUILT:
        build_trainer(config, None)
        BUILT.add(str(config))
