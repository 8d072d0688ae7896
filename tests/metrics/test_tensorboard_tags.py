"""In TensorBoard no metric of training stands in a group alone, and what others write keeps its name."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pax.metrics.tensorboard_tags import training_tags
from pax.metrics.writers import SummaryWriter


@pytest.mark.parametrize("ending", ("", "/std"))
def test_what_has_no_group_gets_one(ending):
    names = ["train/agent1/entropy", "temperature", "balance", "balance/region_1"]
    # Deviations over seeds make no group.
    names += [f"{name}/std" for name in names if ending]
    tags = training_tags(["env_steps", "wall_time", *names])
    assert tags.pop("env_steps") == "progress/env_steps"
    assert tags.pop("wall_time") == "progress/wall_time"
    assert {name for name, tag in tags.items() if tag != name} == {
        "temperature",
        f"temperature{ending}",
    }
    assert tags[f"temperature{ending}"] == f"game/temperature{ending}"


def test_only_reports_of_training_are_grouped(tmp_path):
    writer = SummaryWriter(tmp_path)
    writer.write_scalars(1, {"env_steps": 3, "apples": 0.5, "taken/player_1": 1, "dirt": np.nan})
    writer.write_scalars(1, {"mine": 2.0})
    writer.close()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]
    assert sorted(tags) == ["game/apples", "mine", "progress/env_steps", "taken/player_1"]
