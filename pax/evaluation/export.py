"""Exporting the policies of checkpoints of a run: of one, or of all that it has kept."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from absl import logging
from ml_collections import ConfigDict

from pax.checkpoints.policies import export_policies
from pax.checkpoints.reader import CHECKPOINTS, CheckpointReader
from pax.errors import CheckpointError, OutputError
from pax.evaluation.job import trainer_of_run
from pax.run.directory import POLICIES


def export_checkpoints(
    workdir: pathlib.Path,
    config: ConfigDict | None = None,
    step: int | None = None,
    allow_imports: Sequence[str] = (),
) -> list[str]:
    """Writes the policies of checkpoints to `policies/<iteration>/` of the run directory.

    Args:
        workdir: the run directory.
        config: of the run; None: the one that the run has recorded.
        step: the iteration of the checkpoint; None for all there are, but for damaged ones, which are logged.
        allow_imports: modules that the recorded config may have imported: see `config_of_run`.

    Returns:
        The paths of the policies.

    Raises:
        ConfigError: if there is no such run.
        CheckpointError: if there is no such checkpoint, all are damaged, or they are of another config.
        OutputError: if the folder cannot be written.
    """
    trainer = trainer_of_run(workdir, config, allow_imports)
    reader = CheckpointReader(workdir / CHECKPOINTS)
    steps = reader.steps() if step is None else [step]
    if not steps:
        raise CheckpointError(f"there is no checkpoint in {workdir}: train there first")
    paths: list[str] = []
    for each in steps:
        damage = reader.find_damage(each) if step is None else None
        if damage:
            logging.warning("Checkpoint %d is passed over: %s.", each, damage)
            continue
        trainer.restore(each)
        assert trainer.state is not None
        state = trainer.placement.local(trainer.state)
        directory = workdir / POLICIES / str(each)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            paths += export_policies(directory, trainer.roles, state)
        except OSError as e:
            raise OutputError(
                f"{directory} cannot be written ({e.strerror or e}): policies are exported to the folder of "
                "the run, so copy it to where you may write"
            ) from e
    if not paths:
        raise CheckpointError(
            f"all checkpoints in {workdir} are damaged: {', '.join(map(str, steps))}"
        )
    return paths
