"""Reports a run to Weights & Biases as well."""

from __future__ import annotations

import importlib.util
import pathlib
import secrets
from typing import TYPE_CHECKING, Any

from pax.callbacks.callback import Callback
from pax.checks import check_kind
from pax.errors import ConfigError
from pax.metrics.writers import RunWriter
from pax.run.files import read_regular

if TYPE_CHECKING:
    from pax.metrics.wandb_writer import WandBWriter
    from pax.trainer import MetaTrainer

RUN_ID_FILE = "wandb_run_id.txt"


class WandB(Callback):
    """Adds Weights & Biases to what `trainer.writer` writes to: scalars, images, videos and settings.

    Needs the package wandb: `pip install -e ".[wandb]"`. Its own settings come from the environment, such as
    `WANDB_MODE=offline`. A run that goes on in its folder goes on at W&B too.

    Args:
        project: where the run appears.
        entity: whose project that is; "" for your own.
        group: of runs that W&B shows together; "" for none.

    Raises:
        ConfigError: if wandb is not installed, or cannot begin.
    """

    # Before Scalars, which writes the settings as training starts.
    priority = -10

    def __init__(self, project: str = "pax", entity: str = "", group: str = ""):
        for name, value in {"project": project, "entity": entity, "group": group}.items():
            check_kind(name, value, "", "WandB")
        spec = importlib.util.find_spec("wandb")
        # A folder `wandb`, as W&B leaves it, is a package of a kind, but has no origin.
        if spec is None or spec.origin is None:
            raise ConfigError(
                'callbacks.WandB needs the package wandb, which is not installed: pip install -e ".[wandb]"'
            )
        self.settings = {"project": project, "entity": entity or None, "group": group or None}
        self._run_id: str | None = None
        self._writer: WandBWriter | None = None

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        if not trainer.is_lead:
            return
        import wandb

        from pax.metrics.wandb_writer import WandBWriter

        self._run_id = self._run_id or run_id(trainer.workdir)
        name = trainer.workdir.name if trainer.workdir else None
        try:
            self._writer = WandBWriter(self._run_id, trainer.workdir, name=name, **self.settings)
        except wandb.errors.Error as e:
            raise ConfigError(
                f"Weights & Biases cannot be used ({' '.join(str(e).split())}): type wandb login, or set "
                "WANDB_MODE=offline"
            ) from e
        # The trainer closes its writer, and with it this one.
        trainer.writer = RunWriter([trainer.writer, self._writer])

    def on_exception(self, trainer: MetaTrainer, error: BaseException) -> None:
        if self._writer is not None:
            self._writer.exit_code = 1

    def teardown(self, trainer: MetaTrainer) -> None:
        self._writer = None


def run_id(workdir: pathlib.Path | None) -> str:
    """Returns the name that W&B knows a run by: that in its folder, or a new one, which is kept there."""
    new = secrets.token_hex(8)
    if workdir is None:
        return new
    path = workdir / RUN_ID_FILE
    if not path.exists():
        path.write_text(new + "\n")
    return read_regular(path).decode().strip()
