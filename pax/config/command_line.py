"""What all programs share: flags, overrides of a config, errors in one sentence, and exit codes."""

from __future__ import annotations

import contextlib
import decimal
import difflib
import logging as python_logging
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from pax.config.files import as_named, find_config, load_config, siblings_of
from pax.config.sections import find_setting, wrong_type
from pax.errors import ConfigError, PaxError
from pax.loop.xla import use_all_cores
from pax.run.interrupt import Interrupted, end_at_once, leaving, raised
from pax.run.progress_line import CLEAR

GOES_ON = "the same command goes on where it was"


def run_program(
    work: Callable[[list[str], flags.FlagValues], int | None],
    define_flags: Callable[[flags.FlagValues], None],
    *,
    takes_arguments: bool = True,
    computes: bool | Callable[[list[str]], bool] = False,
    before_flags: Callable[[list[str]], None] | None = None,
    interrupted: str | None = None,
    leave: Callable[[int], NoReturn] = sys.exit,
) -> NoReturn:
    """Runs a program, and ends the process.

    An error that the user can correct is one sentence on stderr. The exit code is then 2 if flags are wrong
    and 1 if anything else is, 130 after Ctrl-C (128 and its number after another signal), and 141 if nobody
    reads what is printed any more. `--help` shows the text of the module of `define_flags`, and the flags
    that this defines, whichever module was started.

    Args:
        work: gets what is no flag, and the flags; returns the exit code, None for 0.
        define_flags: defines the flags in what it is given. Importing a program defines none, as programs
            that are imported together have flags of the same names.
        takes_arguments: whether there may be anything else than flags.
        computes: whether the program computes, on every core, and does not only start others that do: these
            want the accelerators to themselves. A function tells by the command line.
        before_flags: gets the command line before it is parsed.
        interrupted: what is said of a program that goes on where a signal has ended it; it ends in order on
            all of `STOP_SIGNALS`. None: on Ctrl-C only.
        leave: ends the process with the exit code of an error.
    """
    known = set(flags.FLAGS)
    define_flags(flags.FLAGS)
    for name in set(flags.FLAGS) - known:
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    # This is the text that absl shows.
    sys.modules["__main__"].__doc__ = sys.modules[define_flags.__module__].__doc__
    if computes(sys.argv) if callable(computes) else computes:
        use_all_cores()
    else:
        jax.config.update("jax_platforms", "cpu")
    # It tells of every accelerator that this machine does not have.
    python_logging.getLogger("jax._src.xla_bridge").setLevel(python_logging.WARNING)

    def parse(argv: list[str]) -> list[str]:
        if before_flags is not None:
            before_flags(argv)
        return parse_flags(argv)

    def run(argv: list[str]) -> int | None:
        logging.set_verbosity(logging.WARNING)
        if len(argv) > 1 and not takes_arguments:
            raise ConfigError(f"{argv[1]!r} is no flag: flags start with --, see --help")
        return work(argv[1:], flags.FLAGS)

    def say_interrupted(number: signal.Signals) -> int:
        told = f"; {interrupted}" if interrupted else ""
        print_end(f"Interrupted by {number.name}{told}")
        return 128 + number

    try:
        with leaving(say_interrupted), raised() if interrupted else contextlib.nullcontext():
            app.run(run, flags_parser=parse)
    except Interrupted as e:
        end_at_once(say_interrupted(e.number))
    except KeyboardInterrupt:
        end_at_once(say_interrupted(signal.SIGINT))
    except BrokenPipeError:
        # Who read it, such as head, has seen enough. What is still to be written has to go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        leave(128 + signal.SIGPIPE)
    except flags.Error as e:
        leave(print_error(one_line(e), 2))
    except PaxError as e:
        leave(print_error(one_line(e), 1))
    raise AssertionError("app.run ends the process")


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; what is wrong with it is one sentence, and exit code 2."""
    try:
        return read_flags(argv, flags.FLAGS)
    except SystemExit:
        # Help was asked for and given, which absl takes for a failure.
        sys.exit(0)
    except (flags.Error, PaxError) as e:
        sys.exit(print_error(one_line(e), 2))


def read_flags(argv: list[str], defined: flags.FlagValues, known_only: bool = False) -> list[str]:
    """Parses a command line that may have `--config`; returns what is left of it.

    Raises:
        flags.Error, PaxError: if something is wrong with it; what a config says in one sentence.
    """
    # A word for a number that nobody would guess.
    argv = [re.sub(r"^(--?config\.num_devices=)all$", r"\g<1>-1", argument) for argument in argv]
    config, path = _check_config_flags(argv)
    if config is not None:
        argv = [_as_whole_number(argument, config) for argument in argv]
    try:
        with siblings_of(path) if path else contextlib.nullcontext():
            return defined(_with_files_found(argv), known_only=known_only)
    except flags.UnrecognizedFlagError as e:
        raise _unknown_flag(e, config, defined) from e
    except flags.IllegalFlagValueError as e:
        flag = re.match(r"flag --config\.([^=]+)=(.*?): ", str(e), re.DOTALL)
        if config is None or not flag:
            raise
        key, value = flag.groups()
        raise wrong_type(key, value, find_setting(config, key)) from e


def _as_whole_number(argument: str, config: ConfigDict) -> str:
    """Returns `--config.num_iters=1000` for `--config.num_iters=1e3`, if that setting is a whole number."""
    found = re.fullmatch(r"(--?config\.([\w.]+)=)([\d.]+[eE]\+?\d+)", argument)
    if not found:
        return argument
    like = find_setting(config, found[2])
    try:
        value = decimal.Decimal(found[3])
    except decimal.InvalidOperation:
        return argument
    is_whole = value == value.to_integral_value() and value.adjusted() < 20
    is_integer = isinstance(like, int) and not isinstance(like, bool)
    return f"{found[1]}{int(value)}" if is_whole and is_integer else argument


def _unknown_flag(
    error: flags.UnrecognizedFlagError, config: ConfigDict | None, defined: flags.FlagValues
) -> Exception:
    """Returns the same error, with what may have been meant."""
    if "Did you mean" in str(error):
        return error
    name = error.flagname
    head, dot, rest = name.partition(".")
    close = difflib.get_close_matches(head, list(defined), n=1)
    if dot and close:
        return ConfigError(f"Unknown command line flag {name!r}: did you mean --{close[0]}.{rest}?")
    if config is not None and name.partition(".")[0] in config:
        return ConfigError(f"Unknown command line flag {name!r}: did you mean --config.{name}?")
    return error


def _with_files_found(argv: list[str]) -> list[str]:
    """Returns a command line in which `--config` names files by their paths, also those of Pax."""
    found, is_value = [], False
    for argument in argv:
        flag, assigned, name = ("", "", argument) if is_value else argument.partition("=")
        is_config = flag in ("--config", "-config")
        if is_value or (is_config and assigned):
            file, colon, variant = name.partition(":")
            argument = f"{flag}{assigned}{find_config(file)}{colon}{variant}"
        is_value = is_config and not assigned
        found.append(argument)
    return found


def config_name(given: flags.FlagHolder | flags.Flag) -> str:
    """Returns the file and the variant that the flag `--config` names, as users name them."""
    return as_named(config_flags.get_config_filename(given))


def flag_values(argv: list[str], name: str) -> list[str]:
    """Returns what a flag is given, before any flag is parsed."""
    values = []
    for index, argument in enumerate(argv):
        flag, is_assigned, value = argument.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            values.append(value if is_assigned else "".join(argv[index + 1 : index + 2]))
    return values


def _check_config_flags(argv: list[str]) -> tuple[ConfigDict | None, str]:
    """Returns the config that `--config` names, and its file; checks that it has the settings to override.

    `config_flags` loads it again: its own errors are tracebacks in a string, or single words.
    """
    config, file = None, ""
    for index, argument in enumerate(argv):
        flag, is_assigned, value = argument.partition("=")
        if flag in ("--config", "-config"):
            if not is_assigned:
                value = "".join(argv[index + 1 : index + 2])
            if not value:
                raise ConfigError("--config has no value: give one of those that --list shows")
            config, file = load_config(value), str(find_config(value.partition(":")[0]))
        elif override := re.fullmatch(r"--?(?:no)?config\.(.*)", flag):
            if config is None:
                raise ConfigError(
                    f"{argument} overrides a config that is not there yet: give --config=<file>:<variant> "
                    "before it"
                )
            if not override[1]:
                raise ConfigError(f"{argument} names no setting: write --config.<setting>=<value>")
            found = find_setting(config, override[1])
            if hasattr(found, "items"):
                raise wrong_type(override[1], value or "".join(argv[index + 1 : index + 2]), found)
    return config, file


def print_error(sentence: str, code: int) -> int:
    """Prints an error as every program does; returns the exit code."""
    print_end(f"Error: {sentence}")
    return code


def print_end(sentence: str) -> None:
    """Prints on stderr why a program ends."""
    # There may be a line that tells of progress.
    print(f"{CLEAR if sys.stderr.isatty() else ''}{sentence}", file=sys.stderr)


def one_line(error: Exception) -> str:
    """Returns the message of an error, without line breaks."""
    text = " ".join(str(error).split())
    # What was given by mistake may be a file's worth of digits or of text without a blank.
    return re.sub(r"\S{400,}", lambda found: f"{found[0][:200]}...", text)


def as_flags(overrides: Mapping[str, Any]) -> list[str]:
    """Returns overrides as arguments of `pax.main`."""
    return [
        f"--config.{key}={value if isinstance(value, str) else repr(value)}"
        for key, value in overrides.items()
    ]
