"""A report of runs: one HTML page with what was run, curves, evaluations, speed and pictures.

    pax report exp/ipd-ppo-*
    pax report exp/one exp/other --out=comparison.html

Runs that differ in their seed only are seeds of one experiment. The page opens from the disk, without a
server or a connection. What cannot be read is told in a sentence each and left out; the exit code is then 1.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from pax.config.command_line import run_program
from pax.config.flags import definer
from pax.errors import ConfigError
from pax.report.data import group, read_runs
from pax.report.page import GENERATOR, page
from pax.run.files import read_regular, write_whole


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    define("out", "report.html", "The page to write.")


def main(paths: list[str], given: flags.FlagValues) -> int:
    """Writes the page; returns the exit code."""
    problems = report(paths, pathlib.Path(given.out))
    print(f"Written to {given.out}")
    return 1 if problems else 0


def report(paths: Sequence[str], out: pathlib.Path) -> list[str]:
    """Writes the report of the runs in `paths` to `out`; returns what could not be read, a sentence each.

    Raises:
        ConfigError: if there is no run to report, or the page cannot be written.
    """
    if not paths:
        raise ConfigError("there is nothing to report: give folders of runs, such as exp/*")
    _check(out)
    runs, problems = read_runs(paths)
    for problem in problems:
        print(f"Error: {problem}", file=sys.stderr)
    if not runs:
        raise ConfigError(f"none of the runs can be reported, so {out} is not written")
    # What does not fit into a float64 is infinite, and shown as undefined.
    with np.errstate(over="ignore", invalid="ignore"):
        text = page(group(runs), problems)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text)
    except OSError as e:
        raise ConfigError(f"--out={out} cannot be written ({e.strerror}): give another file") from e
    return problems


def _check(out: pathlib.Path) -> None:
    """Raises ConfigError if something would be lost: only a report is replaced by a report."""
    if not out.name or out.is_dir():
        raise ConfigError(f"--out={out} is a folder: give a file, such as report.html")
    try:
        is_other = out.exists() and GENERATOR.encode() not in read_regular(out)[:1000]
    except OSError as e:
        raise ConfigError(f"--out={out} cannot be read ({e.strerror}): give another file") from e
    if is_other:
        raise ConfigError(f"--out={out} exists and is no report: give another file")


def run() -> None:
    """Runs the program."""
    run_program(main, define_flags)


if __name__ == "__main__":
    run()
