"""What a run has left on disk, without what tells the time: the same of two runs that did the same."""

import json

from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from pax.metrics.writers import METRICS_FILE

TIMES = ("wall_time", "env_steps_per_second")
LAYOUT = "custom_scalars__config__"


def rows(workdir):
    """Returns the lines of the metrics, as text."""
    lines = []
    for line in (workdir / METRICS_FILE).read_text().splitlines():
        row = json.loads(line)
        lines.append(json.dumps({key: row[key] for key in row if key not in TIMES}))
    return lines


def events(workdir):
    """Returns what TensorBoard shows: (step, value) by tag."""
    shown = EventAccumulator(str(workdir), size_guidance={"tensors": 0}).Reload()
    found = {
        tag: [(event.step, event.tensor_proto.SerializeToString()) for event in shown.Tensors(tag)]
        for tag in shown.Tags()["tensors"]
        # The text of the settings is only what was asked for.
        if tag.rpartition("/")[2] not in ("config", *TIMES) and not tag.startswith("_hparams_")
    }
    if LAYOUT in found:
        # Of the layouts of a page the last one counts.
        found[LAYOUT] = found[LAYOUT][-1:]
    return found


def policies(workdir):
    """Returns the exported policies, bytes by name of the file."""
    return {path.name: path.read_bytes() for path in (workdir / "policies").iterdir()}
