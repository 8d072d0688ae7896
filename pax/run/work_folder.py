"""The folder of a run, on this machine or a bucket, while a trainer works in it."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

import jax

from pax.checks import folder
from pax.errors import ConfigError, OutputError
from pax.run import distributed
from pax.run.files import is_full
from pax.run.locks import FileLock, lock_run
from pax.run.staging import staging_of


class WorkFolder:
    """A run's folder: who works in it, whether it is still there, and its copy on a bucket if it has one.

    Args:
        workdir: the folder, or its URL on a bucket; None: nothing is written.

    Attributes:
        path: of the folder on this machine, or None.

    Raises:
        ConfigError: if it cannot be a folder.
    """

    def __init__(self, workdir: str | os.PathLike[str] | None):
        self._staging = staging_of("workdir", workdir)
        self.path: pathlib.Path | None = None
        if workdir is not None:
            staged = self._staging.folder if self._staging else None
            self.path = staged or folder("workdir", workdir)
        self._lock: FileLock | None = None
        self._is_claimed = False

    @property
    def url(self) -> str | None:
        """Where the folder is on a bucket, or None if it is not on one."""
        return None if self._staging is None else self._staging.url

    @property
    def is_gone(self) -> bool:
        """Whether the folder that is being written to is no longer where it was."""
        return self._lock is not None and not self._lock.is_in_place()

    @contextlib.contextmanager
    def claim(self, has_begun: bool) -> Iterator[None]:
        """Keeps others from training in the folder, made if missing, within the context.

        Every process of a run must do so. Nothing happens without a folder, or within another claim.

        Args:
            has_begun: whether there is something learned already, to which what is there has to fit.

        Raises:
            OutputError: if somebody else trains there, or it cannot be written.
        """
        if self.path is None or self._is_claimed:
            yield
            return
        distributed.by_lead(lambda: self._take(has_begun))
        self._check_sharing()
        self._is_claimed = True
        try:
            yield
        except BaseException:
            self._give_back(is_failing=True)
            raise
        self._give_back()

    def _take(self, has_begun: bool) -> None:
        """Takes the locks of the folder."""
        assert self.path is not None
        if self._staging is None:
            self._lock = lock_run(self.path)
            return
        is_changed = self._staging.open()
        try:
            if is_changed and has_begun:
                raise OutputError(
                    f"workdir {self._staging.url} was changed by others since this trainer wrote to it: make "
                    "a new trainer, which goes on from what is there"
                )
            self._lock = lock_run(self.path)
        except BaseException:
            self._staging.close(is_failing=True)
            raise

    def _give_back(self, is_failing: bool = False) -> None:
        """Gives the locks back, once all is where it belongs."""
        self._is_claimed = False
        try:
            if self._staging is not None:
                self._staging.close(is_failing)
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _check_sharing(self) -> None:
        """Raises ConfigError unless all processes of a run see the folder that stands for one on a bucket."""
        if self._staging is None:
            return
        is_seen = distributed.from_lead(self._staging.nonce) == self._staging.nonce
        folder = distributed.from_lead(str(self.path))
        if distributed.agree(None if is_seen and folder == str(self.path) else "not shared"):
            if distributed.is_lead():
                self._staging.close(is_failing=True)
            raise ConfigError(
                f"workdir is {self._staging.url}, and not all processes share {folder}, where the run works: "
                "set XDG_CACHE_HOME to a folder that all of them see, or give one as the workdir"
            )

    @property
    def is_read_only(self) -> bool:
        """Whether it is on a bucket, and nobody has claimed it: what is written would not get there."""
        return self._staging is not None and not self._is_claimed

    def upload_from_now_on(self) -> None:
        """Keeps the bucket, if there is one, like the folder until the claim ends."""
        if self._staging is not None:
            distributed.by_lead(self._staging.begin)

    def refresh(self) -> None:
        """Fetches what is new on the bucket, unless it is this process that writes there."""
        # Of several processes, which may not all ask, each sees what the last fit has left.
        if self._staging is not None and not self._is_claimed and jax.process_count() == 1:
            self._staging.refresh()

    def check(self, step: int) -> None:
        """Raises OutputError if the folder is gone, or others train on the bucket, after iteration `step`."""
        if self.is_gone:
            raise self._gone(step)
        if self._staging is not None:
            self._staging.check()

    def explain(self, error: BaseException, step: int) -> BaseException:
        """Returns the error that says what to do about another one, or that one.

        Args:
            error: what went wrong while training.
            step: iterations done.
        """
        if distributed.is_lost(error):
            return distributed.lost(error)
        if self.path is not None and not isinstance(error, OutputError):
            if self.is_gone:
                return self._gone(step)
            if is_full(error):
                return OutputError(
                    f"there is no room left for workdir {self.path} (the disk or a quota is full): make "
                    "room, and the same command goes on from the newest checkpoint"
                )
        return error

    def _gone(self, step: int) -> OutputError:
        return OutputError(
            f"workdir {self.path} was deleted or moved while this run wrote to it, so training stopped "
            f"at iteration {step}: put it back to go on from its newest checkpoint, or start again"
        )
