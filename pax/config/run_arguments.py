"""The part of a command line after `--`: arguments of `pax.main`, for a run that is to be elsewhere."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from pax.checks import brief, short
from pax.config.build import check_run
from pax.config.command_line import as_flags, config_name, read_flags
from pax.errors import CheckpointError, ConfigError, nearest


@dataclasses.dataclass(frozen=True)
class RunArguments:
    """What they say."""

    config: ConfigDict
    """With its overrides."""
    config_path: str
    overrides: dict[str, Any]
    workdir: str | None
    others: list[str]
    """Flags that are none of these."""

    def command_line(self, workdir: str) -> list[str]:
        """Returns the arguments of `pax.main` for a run in a folder."""
        config = [f"--config={self.config_path}", *as_flags(self.overrides)]
        return [*config, f"--workdir={workdir}", *self.others]


OTHERS = (
    "mode",
    "step",
    "evaluations",
    "follow",
    "poll_seconds",
    "allow_imports",
    "list",
    "completion",
)
"""The flags of `pax.main` besides `--config`, `--workdir` and `--distributed`."""


def check_others(others: Sequence[str]) -> None:
    """Raises ConfigError unless these are flags of `pax.main`, written as `--flag=value`."""
    by_module = flags.FLAGS.flags_by_module_dict().items()
    # Those of absl, such as --verbosity, are flags of every program.
    of_absl = [flag.name for module, own in by_module if module.startswith("absl.") for flag in own]
    known = {*OTHERS, *of_absl}
    for argument in others:
        if not argument.startswith("--"):
            raise ConfigError(
                f"{short(argument)} is no flag of pax.main: flags start with --, and are written --flag=value"
            )
        name = argument[2:].partition("=")[0]
        if re.match(r"distributed\b", name):
            raise ConfigError(f"{argument} is set here: take it away")
        if name not in known and name.removeprefix("no") not in known:
            raise ConfigError(f"{brief(argument)} is no flag of pax.main: {nearest(name, OTHERS)}")


def parse(arguments: Sequence[str], same_files: bool = True) -> RunArguments:
    """Reads the arguments of `pax.main`; what is wrong with the config is found before anything is submitted.

    Args:
        arguments: as on the command line.
        same_files: whether the run will see the files of this machine, and policies can be looked for.

    Raises:
        flags.Error: if flags are written wrongly.
        ConfigError: if there is no config, or one that cannot be built.
    """
    if not arguments:
        raise ConfigError("nothing is to be run: give the arguments of pax.main after --")
    argv = ["pax.main", *arguments]
    own = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=own, sys_argv=argv)
    flags.DEFINE_string("workdir", None, "", flag_values=own)
    others = read_flags(argv, own, known_only=True)[1:]
    if own.config is None:
        raise ConfigError("--config is missing after --: give one of those that --list shows")
    check_others(others)
    try:
        check_run(own.config, {})
    except CheckpointError:
        if same_files:
            raise
    if own.workdir == "":
        raise ConfigError("--workdir is empty: name a folder, or leave it out")
    return RunArguments(
        own.config,
        config_name(own["config"]),
        dict(config_flags.get_override_values(own["config"])),
        own.workdir,
        others,
    )
