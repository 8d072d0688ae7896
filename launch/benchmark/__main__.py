"""Measures speed: of games, training and starting, beside other libraries and the bounds of the machine.

    python -m launch.benchmark --suite=all --output=bench.json
    python -m launch.benchmark --suite=training --only="coin game" --compare=bench.json
    python -m launch.benchmark --suite=gpu --output=gpu.json

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
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import flags

from launch.benchmark import devices, envs, gpu, machine, peers, report, startup, training
from launch.benchmark.timing import Row, Sizes, TimeIsUpError, describe_machine, stolen_seconds
from pax.config.command_line import one_line, print_error, run_program
from pax.config.flags import definer
from pax.errors import ConfigError, MissingLibraryError, PaxError, nearest
from pax.run.files import is_irregular, write_whole
from pax.run.progress_line import ProgressLine

Suite = Callable[[Sizes], Mapping[str, Callable[[], Row | list[Row]]]]

SUITES: dict[str, Suite] = {
    "envs": envs.rows,
    "training": training.rows,
    "startup": startup.rows,
    "peers": peers.rows,
}
"""By suite, what returns its measurements, by name."""
OTHERS: dict[str, Suite] = {"devices": devices.rows, "gpu": gpu.rows}
"""Those that `all` leaves out, as they need a machine of their kind: idle cores, or a GPU."""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    define("suite", "all", f"One of {', '.join(SUITES)}, or all of these; or {', '.join(OTHERS)}.")
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
    define(
        "minutes", 10.0, "With --suite=gpu: for all of it; what does not fit is left out.", low=0.1
    )
    define(
        "rehearse",
        False,
        "With --suite=gpu: do all of it with CPU devices and small sizes, to see that it runs; the numbers "
        "mean nothing.",
    )


def benchmark(given: flags.FlagValues) -> dict[str, Any]:
    """Measures what the flags name; writes and prints it.

    Raises:
        ConfigError: if a flag is wrong, before anything is measured.
        PaxError: if something could not be measured; the rest is written.
    """
    known = (*SUITES, *OTHERS, "all")
    if given.suite not in known:
        raise ConfigError(f"--suite is {given.suite!r}: {nearest(given.suite, known)}")
    for flag in ("minutes", "rehearse"):
        if given[flag].present and given.suite != "gpu":
            raise ConfigError(f"--{flag} is of no use with --suite={given.suite}: add --suite=gpu")
    old = report.read(given.compare) if given.compare else None
    markdown = given.markdown or (
        given.output and str(pathlib.Path(given.output).with_suffix(".md"))
    )
    sizes = Sizes(given.repeats, given.scale, given.num_envs, given.num_steps)
    if given.quick or given.rehearse:
        sizes = Sizes(repeats=2, num_envs=16, num_steps=16, min_seconds=0.0, quick=True)
    sizes = dataclasses.replace(
        sizes, only=given.only, minutes=given.minutes, rehearse=given.rehearse
    )
    # What this process measures needs little of a GPU, and those that it starts most of it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if given.suite == "gpu":
        gpu.check_devices(sizes)
    calls = plan(SUITES if given.suite == "all" else (given.suite,), sizes)
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
        "settings": {"suite": given.suite, **dataclasses.asdict(sizes)},
        "rows": [],
        "skipped": [],
        "waiting": [*calls],
        "failed": [],
    }
    if old is not None:
        for sentence in report.differences(results, old):
            print(f"Warning: {sentence} Ratios to --compare tell little.", file=sys.stderr)
    started, stolen = time.monotonic(), stolen_seconds()
    line = ProgressLine("measured", 60.0 * given.minutes if given.suite == "gpu" else None)
    for index, (name, call) in enumerate(calls.items()):
        if sys.stderr.isatty() or given.suite != "gpu":
            line.count(index, len(calls), name)
        else:
            # Each of them, for a file that somebody follows.
            parts = [f"{index} of {len(calls)} measured", line.eta(index, len(calls)), name]
            print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)
        try:
            measured = call()
        except (MissingLibraryError, TimeIsUpError) as e:
            results["skipped"].append(f"{name} is left out: {e}")
        except (RuntimeError, OSError, PaxError, ValueError, LookupError) as e:
            # The others are worth having.
            fail(results, f"{name} could not be measured: {one_line(e)}")
        else:
            found = [measured] if isinstance(measured, Row) else measured
            results["rows"] += [row.to_json() for row in found]
            for row in found:
                if "problem" in row.details:
                    fail(results, f"{name}: {row.details['problem']}")
        results["waiting"].remove(name)
        # All so far: an interruption costs the rest.
        write(results, given.output, markdown)
    line.clear()
    results["seconds"] = time.monotonic() - started
    cores = results["machine"]["cores"]
    results["machine"]["stolen"] = (stolen_seconds() - stolen) / cores / results["seconds"]
    text = report.to_markdown(results)
    if old is not None:
        text += f"\n\n### Beside {given.compare}\n\n{report.compared(results, old)}"
    write(results, given.output, markdown, text)
    print(text)
    if results["failed"]:
        raise PaxError(f"{len(results['failed'])} failed, see above")
    return results


def fail(results: dict[str, Any], sentence: str) -> None:
    """Writes down and prints what has failed."""
    results["failed"].append(sentence)
    print_error(sentence, 1)


def write(
    results: dict[str, Any], output: str | None, markdown: str | None, text: str | None = None
) -> None:
    """Writes what was measured to those files that there are to be; `text` are its tables, if made."""
    if output:
        write_whole(output, json.dumps(results, indent=1) + "\n")
    if markdown:
        write_whole(markdown, (text or report.to_markdown(results)) + "\n")


def plan(suites: Iterable[str], sizes: Sizes) -> dict[str, Callable[[], Row | list[Row]]]:
    """Returns what is to be measured, in this order."""
    calls = {
        f"{suite}: {name}": call
        for suite in suites
        for name, call in {**SUITES, **OTHERS}[suite](sizes).items()
        if sizes.names(name)
    }
    if any(name.startswith(("training: ", "gpu: training ")) for name in calls):
        # Its settings are compared with them.
        bounds: dict[str, Callable[[], Row | list[Row]]] = {
            f"machine: {name}": call for name, call in machine.rows(sizes).items()
        }
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
