"""What is measured apart: configs without callbacks, and processes of their own."""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from pax.config.files import load_config
from pax.errors import ProcessError
from pax.trainer import MetaTrainer

ROOT = pathlib.Path(__file__).parents[2]
_running: set[subprocess.Popen[str]] = set()


class ApartError(ProcessError):
    """A process of its own has failed, or took too long.

    Attributes:
        printed: what it had printed by then.
        is_late: whether it took too long.
    """

    def __init__(self, sentence: str, printed: str, is_late: bool = False):
        super().__init__(sentence)
        self.printed = printed
        self.is_late = is_late


def quiet_config(config: str, overrides: Mapping[str, Any]) -> ConfigDict:
    """Returns a config of the checkout with overrides by dotted key, whose callbacks are switched off."""
    settings = load_config(str(ROOT / config))
    settings.update_from_flattened_dict(dict(overrides))
    for callback in settings.callbacks.values():
        callback.enabled = False
    return settings


def training_call(trainer: MetaTrainer, iterations: int) -> Callable[[int], Any]:
    """Returns a function that trains for so many iterations more, and returns their metrics."""
    state = trainer.compiled_loop.initial_state()

    def train(_: int) -> Any:
        nonlocal state
        state, metrics = trainer.compiled_loop.run(state, iterations)
        return metrics

    return train


def end_running() -> None:
    """Ends the processes that other threads run apart, which then have failed there."""
    for process in list(_running):
        process.kill()


def run_apart(
    *command: str, environment: Mapping[str, str | None], limit: float | None = None
) -> str:
    """Runs `python -m` with arguments in a process of its own in the checkout; returns what it prints.

    Args:
        *command: the module and its arguments.
        environment: variables that are set for it, or taken away (None).
        limit: seconds after which it is ended.

    Raises:
        ApartError: if it fails, with the last line of what it said.
    """
    variables = {**os.environ, **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={key: value for key, value in variables.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _running.add(process)
    with process:
        try:
            printed, said = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, _ = process.communicate()
            sentence = f"{command[0]} took longer than {limit:.0f} s"
            raise ApartError(sentence, printed, is_late=True) from None
        except BaseException:
            process.kill()
            raise
        finally:
            _running.discard(process)
    if process.returncode:
        last = (said.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        sentence = f"{command[0]} failed ({last}): see more by python -m {shlex.join(command)}"
        raise ApartError(sentence, printed)
    return printed
