"""A CLU metric writer for TensorBoard that needs no TensorFlow."""

import contextlib
import io
import os
import pathlib
import re
import time
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from numpy.typing import ArrayLike
from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.histogram import summary_v2 as histogram_summary
from tensorboard.plugins.hparams import summary_v2 as hparams_summary
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.text import summary_v2 as text_summary
from tensorboard.summary.writer import event_file_writer
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from pax.metrics.scalar_writer import ScalarWriter, as_number
from pax.metrics.seeds import reward_intervals
from pax.metrics.tensorboard_tags import STEPS, training_tags
from pax.run.directory import flat

GIF_FRAMES_PER_SECOND = 10
# A bounded queue: when the disk is slower than training, training waits.
_MAX_QUEUE_SIZE = 100
# TensorBoard reads the event files of a folder in the order of their names, which end in this count: of two
# files of one second, `.10` would come before `.9`.
if event_file_writer._global_uid.get() < 10**6:
    event_file_writer._global_uid = event_file_writer.AtomicCounter(10**6)
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class _Worker(event_file_writer._AsyncWriterThread):
    """The thread that writes, which keeps an error for the next write, flush or close, and prints nothing."""

    def run(self) -> None:
        with contextlib.suppress(Exception):
            super().run()


event_file_writer._AsyncWriterThread = _Worker


class SummaryWriter(ScalarWriter):
    """Writes an event file that TensorBoard shows; a thread does the writing.

    Args:
        logdir: folder of the event file, made if it is missing.
        purge_step: where a run starts over: TensorBoard then drops the events of this step and of
            later ones that earlier event files in `logdir` hold.
    """

    def __init__(self, logdir: str | os.PathLike[str], *, purge_step: int | None = None) -> None:
        self._logdir = os.fspath(logdir)
        self._last_time = _newest(self._logdir)
        self._writer = _open_after(self._logdir, self._now())
        if purge_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            event = event_pb2.Event(wall_time=self._now(), step=purge_step, session_log=start)
            # Twice, as TensorBoard takes the first start it reads in a folder for that of the run,
            # and drops events at those after it only.
            self._writer.add_event(event)
            self._writer.add_event(event)

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes the scalars of a step as one event.

        Numbers that are not finite as float32, TensorBoard's type, are left out: it cannot draw
        them. What a report of training has without a group gets one: see `training_tags`.

        Args:
            step: the iteration.
            scalars: name to number, or to an array of one element.

        Raises:
            ValueError: a value is not one real number.
        """
        numbers = {key: as_number(key, value) for key, value in scalars.items()}
        # Reports of training have it; what callbacks write has the names that they give.
        tags = training_tags(numbers) if STEPS in numbers else {}
        self._add(
            step,
            [
                summary_pb2.Summary.Value(tag=tags.get(key, key), simple_value=number)
                for key, number in numbers.items()
                if abs(number) <= _FLOAT32_MAX
            ],
        )

    def write_seeds(self, step: int, per_seed: Mapping[str, ArrayLike]) -> None:
        """Writes what the seeds say of rewards: see `pax.metrics.seeds.reward_intervals`.

        All metrics of all seeds would be too many curves to look at; a run's folder has them in a file.

        Args:
            step: the iteration.
            per_seed: by name, a number of each seed, `[S]`.
        """
        self.write_scalars(step, reward_intervals(per_seed))

    def write_images(self, step: int, images: Mapping[str, ArrayLike]) -> None:
        """Writes images as PNG.

        Args:
            step: the iteration.
            images: name to image(s) `[H, W, C]` or `[N, H, W, C]`, with C of 1, 3 or 4; floats are
                in [0, 1], integers in [0, 255].

        Raises:
            ValueError: an image has another shape.
        """
        self._write_pictures(step, images, "[N, H, W, C]", encode_png)

    def write_videos(self, step: int, videos: Mapping[str, ArrayLike]) -> None:
        """Writes videos as animated GIFs, which TensorBoard shows among its images.

        Args:
            step: the iteration.
            videos: name to video(s) `[T, H, W, C]` or `[N, T, H, W, C]`, with C and the values as
                for images.

        Raises:
            ValueError: a video has another shape.
        """
        self._write_pictures(step, videos, "[N, T, H, W, C]", encode_gif)

    def _write_pictures(
        self, step: int, arrays: Mapping[str, ArrayLike], axes: str, encode: Any
    ) -> None:
        """Writes encoded pictures in the form that TensorBoard's image plugin stores them."""
        metadata = image_metadata.create_summary_metadata(display_name=None, description=None)
        values = []
        for key, value in arrays.items():
            batch = as_pixels(key, value, axes)
            height, width = (str(size).encode() for size in batch.shape[-3:-1])
            tensor = tensor_util.make_tensor_proto([width, height, *map(encode, batch)])
            values.append(summary_pb2.Summary.Value(tag=key, metadata=metadata, tensor=tensor))
        self._add(step, values)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Writes texts: name to text, which TensorBoard renders as Markdown."""
        summaries = [text_summary.text_pb(key, text.encode()) for key, text in texts.items()]
        self._add(step, [value for summary in summaries for value in summary.value])

    def write_histograms(
        self,
        step: int,
        arrays: Mapping[str, ArrayLike],
        num_buckets: Mapping[str, int] | None = None,
    ) -> None:
        """Writes histograms of the finite elements of arrays.

        Args:
            step: the iteration.
            arrays: name to array of any shape.
            num_buckets: name to number of buckets; TensorBoard's default is 30.
        """
        values: list[summary_pb2.Summary.Value] = []
        for key, array in arrays.items():
            data = np.asarray(array, dtype=np.float64)
            buckets = (num_buckets or {}).get(key)
            summary = histogram_summary.histogram_pb(key, data[np.isfinite(data)], buckets)
            values.extend(summary.value)
        self._add(step, values)

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the hyper-parameters of the run.

        Args:
            hparams: name to value. Nested mappings, and sequences that hold mappings, are flattened
                to dotted names (`agents.0.learning_rate`); values that are no string, number or
                bool are written as `str(value)`.
        """
        leaves = {key: _plain(value) for key, value in flat(hparams).items() if value != {}}
        # What the row of this run is called. Its column is narrow; runs of one name would share a row.
        folder = pathlib.Path(self._logdir).absolute()
        summary = hparams_summary.hparams_pb(leaves, trial_id=f"{folder.name} in {folder.parent}")
        self._add(0, summary.value)

    def write_summaries(
        self, step: int, values: Mapping[str, ArrayLike], metadata: Any = None
    ) -> None:
        """Writes tensors as they are, for custom TensorBoard plugins.

        Args:
            step: the iteration.
            values: name to tensor.
            metadata: a `SummaryMetadata` proto, or its bytes.
        """
        if isinstance(metadata, bytes):
            metadata = summary_pb2.SummaryMetadata.FromString(metadata)
        self._add(
            step,
            [
                summary_pb2.Summary.Value(
                    tag=key,
                    metadata=metadata,
                    tensor=tensor_util.make_tensor_proto(np.asarray(value)),
                )
                for key, value in values.items()
            ],
        )

    def write_audios(self, step: int, audios: Mapping[str, ArrayLike], *, sample_rate: int) -> None:
        """Logs once that audio is not supported, and writes nothing."""
        logging.log_first_n(logging.WARNING, "Audio is not written to TensorBoard.", 1)

    def flush(self) -> None:
        """Returns when all that was written is in the event file."""
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the event file."""
        self._writer.close()

    def _now(self) -> float:
        """Returns the time, which never runs backwards, even if somebody sets the clock back."""
        self._last_time = max(time.time(), self._last_time)
        return self._last_time

    def _add(self, step: int, values: Sequence[summary_pb2.Summary.Value]) -> None:
        if values:
            summary = summary_pb2.Summary(value=values)
            self._writer.add_event(
                event_pb2.Event(wall_time=self._now(), step=int(step), summary=summary)
            )


def _newest(logdir: str) -> float:
    """Returns a second after the time in the name of a folder's newest event file, 0 if there is none."""
    names = [path.name for path in pathlib.Path(logdir).glob("events.out.tfevents.*")]
    found = [re.match(r"events\.out\.tfevents\.(\d+)\.", name) for name in names]
    return max((int(match[1]) + 1.0 for match in found if match), default=0.0)


def _open_after(logdir: str, now: float) -> EventFileWriter:
    """Opens a writer whose file comes after the others by name, the order in which TensorBoard reads."""
    clock = event_file_writer.time
    event_file_writer.time = types.SimpleNamespace(time=lambda: now)
    try:
        return EventFileWriter(logdir, max_queue_size=_MAX_QUEUE_SIZE)
    finally:
        event_file_writer.time = clock


def _plain(value: Any) -> bool | int | float | str:
    """Returns a setting as TensorBoard takes it."""
    if isinstance(value, (np.bool_, np.number)):
        value = value.item()
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def as_pixels(key: str, value: ArrayLike, axes: str) -> np.ndarray:
    """Returns a batch of images or videos as uint8, with the axes that `axes` names."""
    array = np.asarray(value)
    rank = axes.count(",") + 1
    batch = array[None] if array.ndim == rank - 1 else array
    if batch.ndim != rank or batch.shape[-1] not in (1, 3, 4) or 0 in batch.shape:
        raise ValueError(
            f"{key!r} has shape {array.shape}: expected {axes}, without N for a single one, C of "
            "1, 3 or 4, and no empty axis"
        )
    if batch.dtype == np.bool_:
        return batch.astype(np.uint8) * 255
    if batch.dtype.kind in "iu":
        return np.clip(batch, 0, 255).astype(np.uint8)
    unit = np.clip(np.nan_to_num(batch.astype(np.float32), nan=0.0), 0.0, 1.0)
    return np.round(unit * 255).astype(np.uint8)


def picture(frame: np.ndarray) -> Image.Image:
    """Returns a frame [H, W, C] as a picture."""
    return Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)


def encode_png(frame: np.ndarray) -> bytes:
    """Returns a frame [H, W, C] as PNG."""
    buffer = io.BytesIO()
    picture(frame).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_gif(frames: np.ndarray, frames_per_second: float = GIF_FRAMES_PER_SECOND) -> bytes:
    """Returns frames [T, H, W, C] as an animated GIF that repeats for ever."""
    first, *others = map(picture, frames)
    buffer = io.BytesIO()
    duration_ms = round(1000 / frames_per_second)
    first.save(
        buffer, format="GIF", save_all=True, append_images=others, duration=duration_ms, loop=0
    )
    return buffer.getvalue()
