"""Reports a run to Weights & Biases as well."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from absl import logging

from pax.callbacks.callback import Callback
from pax.checks import check_items, check_kind, short
from pax.errors import ConfigError
from pax.metrics.writers import METRICS_FILE, RunWriter, read_metrics
from pax.run import distributed
from pax.run.files import read_regular

if TYPE_CHECKING:
    from pax.metrics.wandb_writer import WandBWriter
    from pax.trainer import MetaTrainer

RUN_ID_FILE = "wandb_run_id.txt"
MODES = ("", "online", "offline")
REMEDY = "type wandb login, or set WANDB_API_KEY, or WANDB_MODE=offline"


class WandB(Callback):
    """Adds Weights & Biases to what `trainer.writer` writes to: scalars, images, videos and settings.

    Needs the package wandb: `pip install -e ".[wandb]"`. A run that goes on in its folder goes on at W&B too.
    What W&B needs beside the settings below comes from its environment variables.

    Args:
        project: where the run appears.
        entity: whose project that is; "" for your own.
        group: of runs that W&B shows together; "" for none.
        name: of the run; "" for that of its folder.
        job_type: what the run is among those of its group, such as "train"; "" for none.
        tags: words to find the run by.
        mode: "online", "offline" (what there is to send stays in the folder `wandb` of the run), or "" for
            what WANDB_MODE says.
        policies: whether exported policies are kept there, as an artifact of the type "policy".

    Raises:
        ConfigError: if a setting is of the wrong kind; as training begins, if wandb is not installed, or has
            no key.
    """

    # Before Scalars, which writes the settings as training starts.
    priority = -10
    kinds: ClassVar = {"policies": False}

    def __init__(
        self,
        project: str = "pax",
        entity: str = "",
        group: str = "",
        name: str = "",
        job_type: str = "",
        tags: Sequence[str] = (),
        mode: str = "",
        policies: bool = True,
    ):
        texts = {
            "project": project,
            "entity": entity,
            "group": group,
            "name": name,
            "job_type": job_type,
        }
        for key, value in texts.items():
            check_kind(key, value, "", "WandB")
        check_items("tags in WandB", tags, "a tuple of words, such as ('first', 'small')")
        for tag in tags:
            if not isinstance(tag, str) or not 0 < len(tag) <= 64:
                raise ConfigError(
                    f"tags has {short(tag)} in WandB: give words of up to 64 characters"
                )
        if mode not in MODES:
            raise ConfigError(f"mode is {short(mode)} in WandB: give 'online', 'offline' or ''")
        self.policies = policies
        self.mode = mode
        self.settings: dict[str, Any] = {key: value or None for key, value in texts.items()}
        self.settings |= {"project": project or "pax", "tags": list(tags) or None}
        self._run_id: str | None = None
        self._writer: WandBWriter | None = None
        self._last_reported = -1

    def check(self, trainer: MetaTrainer) -> None:
        # The lead alone talks to W&B, and its machine alone need have a key.
        distributed.by_lead(lambda: check_login(self.mode, self.settings["project"]))

    def setup(self, trainer: MetaTrainer) -> None:
        self._last_reported = -1
        if trainer.workdir is not None and (trainer.workdir / RUN_ID_FILE).exists():
            # What W&B was told offline is not read back; it was told what this file was told.
            rows = (trainer.workdir / METRICS_FILE).exists() and _rows(trainer.workdir)
            self._last_reported = rows[-1]["iteration"] if rows else -1

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        if not trainer.is_lead:
            return
        import wandb

        from pax.metrics.wandb_writer import WandBWriter

        self._run_id = self._run_id or run_id(trainer.workdir)
        settings = dict(self.settings)
        if settings["name"] is None and trainer.workdir is not None:
            settings["name"] = trainer.workdir.name
        if self.mode:
            settings["mode"] = self.mode
        try:
            self._writer = WandBWriter(
                self._run_id,
                trainer.workdir,
                step=trainer.step,
                last_reported=self._last_reported,
                **settings,
            )
        except wandb.errors.Error as e:
            raise _unusable(e) from e
        # The trainer closes its writer, and with it this one.
        trainer.writer = RunWriter([trainer.writer, self._writer])

    def on_export(self, trainer: MetaTrainer, step: int, paths: Sequence[str]) -> None:
        if self._writer is not None and self.policies:
            self._writer.write_policies(step, paths)

    def on_exception(self, trainer: MetaTrainer, error: BaseException) -> None:
        if self._writer is not None:
            self._writer.exit_code = 1

    def teardown(self, trainer: MetaTrainer) -> None:
        self._writer = None


def is_installed() -> bool:
    """Returns whether there is a package wandb."""
    spec = importlib.util.find_spec("wandb")
    # A folder `wandb`, as W&B leaves it, is a package of a kind, but has no origin.
    return spec is not None and spec.origin is not None


def check_login(mode: str = "", project: str = "pax") -> None:
    """Makes sure that W&B can be used: offline, or with a key that it knows.

    Args:
        mode: "online", "offline" or "" for what the environment says.
        project: where the run is to appear.

    Raises:
        ConfigError: if wandb is not installed, there is no key, or a wrong one, or W&B cannot be reached.
    """
    if not is_installed():
        raise ConfigError(
            "the callback WandB needs the package wandb, which is not installed: pip install -e "
            '".[wandb]"'
        )
    import wandb

    told_by = "mode" if mode else "WANDB_MODE"
    mode = mode or os.environ.get("WANDB_MODE", "")
    for name, key, value in (("project", "project", project), (told_by, "mode", mode)):
        setting: dict[str, Any] = {key: value} if value else {}
        try:
            wandb.Settings(**setting)
        except (wandb.errors.Error, ValueError) as e:
            told = " ".join(str(e).split())
            raise ConfigError(
                f"{name} is {short(value)} in WandB, and W&B refuses it ({told}): give another"
            ) from e
    try:
        mode = mode or wandb.setup().settings.mode
        # Without asking for one: a program that runs for hours may have nobody in front of it.
        if mode in ("online", "shared") and not wandb.login(prompt=False, verify=True):
            raise ConfigError(f"Weights & Biases cannot be used (there is no key for it): {REMEDY}")
    except wandb.errors.Error as e:
        raise _unusable(e) from e


def _unusable(error: Exception) -> ConfigError:
    told = " ".join(str(error).split())
    return ConfigError(f"Weights & Biases cannot be used ({told}): {REMEDY}")


def _rows(workdir: pathlib.Path) -> list[dict[str, Any]]:
    try:
        return read_metrics(workdir / METRICS_FILE)
    except ConfigError as e:
        # The trainer drops what is damaged in it.
        logging.warning("W&B may get rows twice: %s.", e)
        return []


def run_id(workdir: pathlib.Path | None) -> str:
    """Returns the name that W&B knows a run by: that in its folder, or a new one, which is kept there."""
    new = secrets.token_hex(8)
    if workdir is None:
        return new
    path = workdir / RUN_ID_FILE
    if not path.exists():
        path.write_text(new + "\n")
    return read_regular(path).decode().strip()
