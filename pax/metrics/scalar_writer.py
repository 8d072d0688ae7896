"""Base of the writers that take scalars only."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from clu.metric_writers.interface import MetricWriter
else:
    # Importing CLU's interface here would import TensorFlow. `pax.metrics.writers` registers this
    # class as a `MetricWriter` once CLU can be imported without it.
    MetricWriter = object


def as_number(key: str, value: Any) -> int | float:
    """Returns a scalar metric as a Python number.

    A float narrower than 64 bits becomes the float with its shortest decimal form (0.1, not
    0.10000000149011612), so that equal bits are written as equal, and short, text.

    Args:
        key: name of the metric, for the error message.
        value: a Python number, or a numpy or JAX array of one element.

    Raises:
        ValueError: `value` is not one real number.
    """
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(value)  # np.float64 is a float, too
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"scalar {key!r} has shape {array.shape}: write its mean, or one element")
    if array.dtype.kind in "biu":
        return array.item()
    try:
        return float(str(array.reshape(())[()]))
    except ValueError as error:
        raise ValueError(f"scalar {key!r} is {value!r}, which is not a real number") from error


class ScalarWriter(MetricWriter):
    """CLU `MetricWriter` that ignores all but `write_scalars`, which subclasses define."""

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes the scalars of a step: name to number."""
        raise NotImplementedError

    def write_summaries(
        self, step: int, values: Mapping[str, ArrayLike], metadata: Any = None
    ) -> None:
        """Does nothing."""

    def write_images(self, step: int, images: Mapping[str, ArrayLike]) -> None:
        """Does nothing."""

    def write_videos(self, step: int, videos: Mapping[str, ArrayLike]) -> None:
        """Does nothing."""

    def write_audios(self, step: int, audios: Mapping[str, ArrayLike], *, sample_rate: int) -> None:
        """Does nothing."""

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Does nothing."""

    def write_histograms(
        self,
        step: int,
        arrays: Mapping[str, ArrayLike],
        num_buckets: Mapping[str, int] | None = None,
    ) -> None:
        """Does nothing."""

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Does nothing."""

    def flush(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Flushes."""
        self.flush()
