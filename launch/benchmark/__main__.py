"""Measures speed: of games, training and starting, beside other libraries and the bounds of the machine.

    python -m launch.benchmark --suite=all --output=bench.json
    python -m launch.benchmark --suite=training --only="coin game" --compare=bench.json

Prints Markdown tables, and writes them beside the JSON. `--quick` takes a small part of the work, to see that
it runs; its numbers mean nothing. docs/performance.md tells how to read the tables.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from absl import flags

from launch.benchmark import envs, machine, peers, report, startup, training
from launch.benchmark.timing import Row, Sizes, describe_machine, stolen_seconds
from pax.config.command_line import print_error, run_program
from pax.config.flags import definer
from pax.errors import ConfigError, MissingLibraryError, PaxError, ProcessError, nearest
from pax.run.files import is_irregular, write_whole
from pax.run.progress_line import ProgressLine

SUITES = {
    "envs": envs.rows,
    "training": training.rows,
    "startup": startup.rows,
    "peers": peers.rows,
}
"""By suite, what returns its measurements, by name."""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    define("suite", "all", f"One of {', '.join(SUITES)}, or all.")
    define("output", None, "JSON file for all that was measured.")
    define("markdown", None, "File for the tables. Default: beside --output, as .md.")
    define("compare", None, "An earlier JSON file, for ratios to it.")
    define("only", "", "Part of the names of what is to be measured.")
    define("quick", False, "A small part of the work, to see that it runs.")
    define("repeats", 5, "Of every measurement.", low=1)
    define(
        "scale",
        1.0,
        "Factor on environments, candidates and seeds, for machines that larger batches are needed to fill.",
        low=1e-3,
    )
    define("num_envs", 1024, "Environments in raw stepping.", low=1)
    define("num_steps", 1000, "Steps in raw stepping.", low=1)


def benchmark(given: flags.FlagValues) -> dict[str, Any]:
    """Measures what the flags name; writes and prints it.

    Raises:
        ConfigError: if a flag is wrong, before anything is measured.
        PaxError: if something could not be measured; the rest is written.
    """
    if given.suite not in (*SUITES, "all"):
        raise ConfigError(f"--suite is {given.suite!r}: {nearest(given.suite, (*SUITES, 'all'))}")
    old = report.read(given.compare) if given.compare else None
    markdown = given.markdown or (
        given.output and str(pathlib.Path(given.output).with_suffix(".md"))
    )
    sizes = Sizes(given.repeats, given.scale, given.num_envs, given.num_steps)
    if given.quick:
        sizes = Sizes(repeats=2, num_envs=16, num_steps=16, min_seconds=0.0, quick=True)
    calls = plan(SUITES if given.suite == "all" else (given.suite,), sizes, given.only)
    if not calls:
        raise ConfigError(
            f"--only={given.only!r} is part of no name in --suite={given.suite}: leave it out to see all"
        )
    for flag, path in (("output", given.output), ("markdown", markdown)):
        if path:
            check_writable(flag, path)
    results: dict[str, Any] = {
        "format": report.FORMAT,
        "machine": describe_machine(),
        "settings": {"suite": given.suite, "only": given.only, **dataclasses.asdict(sizes)},
        "rows": [],
        "skipped": [],
        "failed": [],
    }
    if old is not None:
        for sentence in report.differences(results, old):
            print(f"Warning: {sentence} Ratios to --compare tell little.", file=sys.stderr)
    started, stolen, line = time.monotonic(), stolen_seconds(), ProgressLine("measured")
    for index, (name, call) in enumerate(calls.items()):
        line.count(index, len(calls), name)
        try:
            results["rows"].append(call().to_json())
        except MissingLibraryError as e:
            results["skipped"].append(f"{name} is left out: {e}")
        except (RuntimeError, ProcessError) as e:
            # The others are worth having.
            results["failed"].append(name)
            print_error(f"{name} could not be measured: {e}", 1)
        if given.output:
            # All so far: an interruption costs the rest.
            write_whole(given.output, json.dumps(results, indent=1) + "\n")
    line.clear()
    results["seconds"] = time.monotonic() - started
    cores = results["machine"]["cores"]
    results["machine"]["stolen"] = (stolen_seconds() - stolen) / cores / results["seconds"]
    text = report.to_markdown(results)
    if old is not None:
        text += f"\n\n### Beside {given.compare}\n\n{report.compared(results, old)}"
    if given.output:
        write_whole(given.output, json.dumps(results, indent=1) + "\n")
    if markdown:
        write_whole(markdown, text + "\n")
    print(text)
    if results["failed"]:
        raise PaxError(f"{len(results['failed'])} could not be measured, see above")
    return results


def plan(suites: Iterable[str], sizes: Sizes, only: str) -> dict[str, Callable[[], Row]]:
    """Returns what is to be measured, in this order: what has `only` in its name."""
    calls = {
        f"{suite}: {name}": call
        for suite in suites
        for name, call in SUITES[suite](sizes).items()
        if only.lower() in name.lower()
    }
    if any(name.startswith("training: ") for name in calls):
        # Its settings are compared with them.
        bounds = {f"machine: {name}": call for name, call in machine.rows(sizes).items()}
        calls = {**bounds, **calls}
    return calls


def check_writable(flag: str, path: str) -> None:
    """Raises ConfigError unless a file can be written there."""
    try:
        if is_irregular(pathlib.Path(path)):
            # To open a pipe could take for ever.
            raise OSError(errno.EINVAL, "it is no regular file")
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        is_new = not os.path.exists(path)
        with open(path, "a"):
            pass
        if is_new:
            # There is nothing to read in it yet.
            os.unlink(path)
    except OSError as e:
        raise ConfigError(f"--{flag}={path} cannot be written ({e.strerror}): name another") from e


def main(arguments: list[str], given: flags.FlagValues) -> None:
    """Measures what the flags name."""
    benchmark(given)


if __name__ == "__main__":
    run_program(main, define_flags, takes_arguments=False, computes=True)
