"""What metrics of training are called in TensorBoard, which groups them by what is before the first slash."""

from collections.abc import Iterable

STEPS, SPEED, SECONDS = "env_steps", "env_steps_per_second", "wall_time"
PROGRESS = "progress"
"""The group of how far a run is, and how fast."""
GAME = "game"
"""The group of what a game, or a callback's `probe`, reports without any."""


def training_tags(names: Iterable[str]) -> dict[str, str]:
    """Returns the tag of each metric of one report: those that would stand in a group alone share one.

    `temperature` becomes `game/temperature`, but `balance` stays beside `balance/region_1`.

    Args:
        names: all that is reported, so that a metric has the same tag in each report.
    """
    names = list(names)
    groups = {_of_metric(name).partition("/")[0] for name in names if "/" in _of_metric(name)}
    tags = {}
    for name in names:
        is_alone = "/" not in _of_metric(name) and _of_metric(name) not in groups
        group = PROGRESS if name in (STEPS, SPEED, SECONDS) else GAME
        tags[name] = f"{group}/{name}" if is_alone else name
    return tags


def _of_metric(name: str) -> str:
    """Returns the metric that a deviation over seeds is of, or the metric itself."""
    return name.removesuffix("/std")
