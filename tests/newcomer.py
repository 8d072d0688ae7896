"""What a newcomer does: makes a project with an installed Pax, and runs every command that its README shows.

    python tests/newcomer.py <the programs of an environment> <an empty folder>

Opens nothing else, and stops at the first command that fails.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

NAME = "ponds"


def commands(readme: str) -> list[str]:
    """Returns the command lines of a README, without their comments and TensorBoard, which does not end."""
    block = re.search(r"```bash\n(.*?)```", readme, re.DOTALL)[1]
    lines = [line.partition("#")[0].strip() for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("tensorboard")]


def start(line: str, programs: pathlib.Path, folder: pathlib.Path) -> None:
    """Runs a command line with the programs of an environment."""
    names = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    started = time.monotonic()
    done = subprocess.run(
        line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    print(f"{time.monotonic() - started:6.1f} s  {line}", flush=True)
    if done.returncode:
        sys.exit(f"{line}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")


def main(programs: pathlib.Path, folder: pathlib.Path) -> None:
    """Makes a project, and runs its commands, each also in its short form."""
    start(f"pax new {NAME}", programs, folder)
    project = folder / NAME
    for line in commands((project / "README.md").read_text()):
        start(line, programs, project)
    # From another folder, and in short: what ships with Pax is there, and the project's modules are found.
    start("pax --list", programs, folder)
    start("pax --config=configs/ipd.py:tabular,quicktest --workdir=exp/ipd", programs, folder)
    start(
        f"pax crossplay {NAME}/exp/bandit --allow_imports={NAME} --num_envs=5 --workdir=exp/crossplay",
        programs,
        folder,
    )
    for path in ("exp/ppo/policies/agent1.msgpack", "exp/rates/sweep.csv", "report.html"):
        if not (project / path).exists():
            sys.exit(f"{project / path} was not written")


if __name__ == "__main__":
    main(*(pathlib.Path(argument).absolute() for argument in sys.argv[1:3]))
