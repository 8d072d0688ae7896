"""Metrics for Weights & Biases. Imports wandb, an optional package: see `callbacks.WandB`."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import wandb
from numpy.typing import ArrayLike

from pax.metrics.scalar_writer import ScalarWriter, as_number
from pax.metrics.seeds import reward_intervals
from pax.metrics.tensorboard_writer import as_pixels, encode_gif, picture


class WandBWriter(ScalarWriter):
    """CLU `MetricWriter` of a run of Weights & Biases, with iterations as its steps.

    What is written for one step is one row there. A row that W&B has is passed over: a run that goes on from
    a checkpoint writes the same numbers again. Online, W&B says how far it is; offline, nobody reads what an
    earlier process has left.

    Args:
        run_id: the run to begin, or to go on with if there is one.
        directory: where W&B keeps its files, in a folder `wandb`; None: the current folder.
        step: the iteration that the run goes on from: rows for it are none of those that came before.
        last_reported: the last iteration that was written before; offline, later ones are new.
        settings: further arguments of `wandb.init`: project, entity, group, name, job_type, tags, mode.

    Raises:
        wandb.errors.Error: if there is no connection to W&B, or no key for it.
    """

    def __init__(
        self,
        run_id: str,
        directory: str | os.PathLike[str] | None = None,
        *,
        step: int = 0,
        last_reported: int = -1,
        **settings: Any,
    ) -> None:
        self.exit_code = 0
        """What W&B is told when the run ends; not 0 marks it as failed."""
        self._run = wandb.init(
            id=run_id,
            resume="allow",
            dir=None if directory is None else os.fspath(directory),
            # The terminal belongs to the progress bar, and is not recorded.
            settings=wandb.Settings(console="off"),
            **settings,
        )
        self._step = step
        self._last_reported = last_reported if self._run.offline else -1

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes the scalars of a step; those that are not finite are left out.

        Args:
            step: the iteration.
            scalars: name to number, or to an array of one element.

        Raises:
            ValueError: a value is not one real number.
        """
        numbers = {key: as_number(key, value) for key, value in scalars.items()}
        self._log(step, {key: value for key, value in numbers.items() if math.isfinite(value)})

    def write_seeds(self, step: int, per_seed: Mapping[str, ArrayLike]) -> None:
        """Writes what the seeds say of rewards, as `SummaryWriter` does."""
        self.write_scalars(step, reward_intervals(per_seed))

    def write_images(self, step: int, images: Mapping[str, ArrayLike]) -> None:
        """Writes images, of the shapes and values that `SummaryWriter` takes."""
        batches = {key: as_pixels(key, value, "[N, H, W, C]") for key, value in images.items()}
        self._log(
            step,
            {
                key: [wandb.Image(picture(image)) for image in batch]
                for key, batch in batches.items()
            },
        )

    def write_videos(self, step: int, videos: Mapping[str, ArrayLike]) -> None:
        """Writes videos as animated GIFs, of the shapes and values that `SummaryWriter` takes."""
        batches = {key: as_pixels(key, value, "[N, T, H, W, C]") for key, value in videos.items()}
        self._log(
            step,
            {
                key: [wandb.Video(io.BytesIO(encode_gif(video)), format="gif") for video in batch]
                for key, batch in batches.items()
            },
        )

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the settings of the run as its config; what JSON has no word for becomes text."""
        settings = json.loads(json.dumps(dict(hparams), default=str))
        self._run.config.update(settings, allow_val_change=True)

    def write_policies(self, step: int, paths: Sequence[str]) -> None:
        """Writes exported policies: all of them are one artifact, with a version per export.

        Its name is `policies-<run>`, its type "policy", and its aliases are `latest` and `iteration-<step>`.

        Args:
            step: the iteration.
            paths: of the files.
        """
        if not paths:
            return
        artifact = wandb.Artifact(
            f"policies-{self._run.id}", type="policy", metadata={"iteration": int(step)}
        )
        for path in paths:
            artifact.add_file(path, name=os.path.basename(path))
        self._run.log_artifact(artifact, aliases=["latest", f"iteration-{int(step)}"])

    def close(self) -> None:
        """Ends the run, when all of it is written."""
        self._run.finish(exit_code=self.exit_code)

    def _log(self, step: int, row: dict[str, Any]) -> None:
        is_new = step > self._last_reported or step == self._step
        if row and is_new and step >= self._run.step:
            self._run.log(row, step=int(step))
