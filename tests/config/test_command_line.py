"""The frame of all programs: help, flags, errors and exit codes, through either entry point."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]

# A flag that only this program has, and words of its text.
PROGRAMS = {
    "pax.main": ("poll_seconds", "Pax: learning among learners."),
    "pax.report": ("out", "A report of runs"),
    "launch.report": ("out", "A report of runs"),
    "pax.sweeps": ("max_parallel", "Sweeps: all runs"),
    "launch.sweep": ("gpus_per_node", "As `python -m pax.sweeps`, with Slurm besides."),
    "pax.evaluation.crossplay": ("learning", "Cross-play: every policy"),
    "launch.crossplay": ("learning", "Cross-play: every policy"),
    "pax.evaluation.tournament": ("continuation", "A tournament: everybody"),
    "launch.tournament": ("continuation", "A tournament: everybody"),
    "launch.reproduce": ("quick", "The tables of the opponent-shaping literature"),
    "launch.benchmark": ("suite", "How fast it is"),
    "launch.scaling": ("quick", "How the cost of an iteration grows"),
    "launch.slurm": ("array", "A run, or a sweep, as a job of Slurm"),
    "launch.k8s": ("image", "A run on Kubernetes"),
    "launch.local": ("num_processes", "One run over several processes"),
}

# Importing takes longer than all the rest: each command line is run by a fork.
FRAME = """
import json, os, signal, sys, warnings
from absl import flags
from pax.config.command_line import run_program
from pax.errors import ConfigError

def work(arguments, given):
    print(arguments, given.number)
    if given.number == 1:
        raise ConfigError("one is\\n  odd")
    if given.number == 2:
        os.kill(os.getpid(), signal.SIGINT)
    if given.number == 4:
        nobody_reads, end = os.pipe()
        os.close(nobody_reads)
        os.dup2(end, 1)
        print("x" * 100_000)
    return given.number

def define_flags(flag_values):
    flags.DEFINE_integer("number", 0, "A number.", flag_values=flag_values)

warnings.simplefilter("ignore")
for index, arguments in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if not child:
        for stream in (1, 2):
            os.dup2(os.open(f"{index}-{stream}", os.O_WRONLY | os.O_CREAT), stream)
        sys.argv = ["frame.py", *arguments]
        run_program(work, define_flags, takes_arguments="words" in arguments, interrupted="stopped")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(f"{index}-code", "w") as file:
        file.write(str(code))
"""


def start(arguments, cwd):
    path = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=path, capture_output=True, text=True
    )


# Importing Pax takes seconds: those that are only another name of one that is tried are slow tests.
@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("launch.report", "launch.sweep", "pax.evaluation.crossplay")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in PROGRAMS
    ],
)
def test_help_shows_text_and_flags_from_any_folder(name, app, tmp_path):
    flag, text = PROGRAMS[name]
    typed = start(["-m", name, "--help"], tmp_path)
    assert (typed.returncode, typed.stderr) == (0, "")
    full = app("--helpfull", module=name, cwd=tmp_path)
    assert (full.code, full.stderr) == (0, "")
    for told in (typed, full):
        assert told.stdout.startswith(text) or f"\n{text}\n" in told.stdout
        assert f"--{flag}:" in told.stdout or f"--[no]{flag}:" in told.stdout


CASES = [
    ([], 0, "[] 0\n", ""),
    (["--number=3"], 3, "[] 3\n", ""),
    (["--number=1"], 1, "[] 1\n", "Error: one is odd\n"),
    (["--number=2"], 130, "[] 2\n", "Error: stopped\n"),
    (["--number=4"], 141, "", ""),
    (["--number=x"], 2, "", "Error: flag --number=x: invalid literal"),
    (["--numbr=1"], 2, "", "Error: Unknown command line flag 'numbr'. Did you mean: number ?"),
    (["number"], 1, "", "Error: 'number' is no flag: flags start with --, see --help\n"),
    (["words", "more"], 0, "['words', 'more'] 0\n", ""),
]


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c_works")
def test_exit_codes(tmp_path):
    cases = json.dumps([arguments for arguments, *_ in CASES])
    told = start(["-c", FRAME, cases], tmp_path)
    assert told.returncode == 0, told.stderr
    for index, (arguments, code, printed, error) in enumerate(CASES):
        out, err, end = ((tmp_path / f"{index}-{what}").read_text() for what in (1, 2, "code"))
        assert (arguments, int(end), out) == (arguments, code, printed)
        assert err.startswith(error) and (error or err == "")
