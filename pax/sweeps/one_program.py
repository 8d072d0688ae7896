"""Trains the runs of a sweep in this process: those that differ in numbers only as one program."""

from __future__ import annotations

import contextlib
import functools
import shlex
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence

from ml_collections import ConfigDict

from pax.config.build import build_trainer, run_config
from pax.config.imports import folders_to_record
from pax.config.recorded import todays
from pax.errors import ConfigError, PaxError
from pax.run.directory import check_run, keep_record, open_run
from pax.sweeps.folder import SweepRun
from pax.sweeps.groups import Group, group_runs
from pax.sweeps.progress import SweepProgress
from pax.sweeps.side_by_side import train_group
from pax.sweeps.sweep import describe
from pax.trainer import MetaTrainer


class OneProgram:
    """Trains runs until all are done, have failed, or somebody asks to stop.

    Args:
        runs: those of the sweep; the ones that are done are passed over.
        config: what they have in common, with what is overridden in all of them.
        side_by_side: how many train at once; 0: see `choose_sizes`.
        say: prints a line.

    Attributes:
        failed: runs that ended with an error.

    Raises:
        ConfigError: if one cannot be built.
    """

    def __init__(
        self,
        runs: Sequence[SweepRun],
        config: ConfigDict,
        *,
        side_by_side: int = 0,
        say: Callable[[str], None] = print,
    ):
        self._say = say
        self._side_by_side = side_by_side
        self._runs = runs
        # Also of those that are done: which runs are one program must not depend on how far they are.
        has_work = any(self._is_left(run) for run in runs)
        self._configs: dict[int, ConfigDict] = {}
        self._config = config
        self._trainers = {run.index: self._build(run) for run in runs if has_work}
        self._progress = SweepProgress({run.index: run.fraction for run in runs})
        self.failed: list[SweepRun] = []

    def work(self) -> signal.Signals | None:
        """Trains them; returns the signal that ended it early, if one did."""
        left = [run for run in self._runs if self._is_left(run)]
        passed = len(self._runs) - len(left)
        if passed:
            self._tell(f"{passed} of {len(self._runs)} runs were done before.")
        try:
            return self._train(left)
        finally:
            self._progress.clear()

    def _is_left(self, run: SweepRun) -> bool:
        """Returns whether a run may have something to do."""
        return not run.is_done

    def _may_change(self) -> tuple[str, ...]:
        """Returns the settings that a run may have otherwise than when it began."""
        return ()

    @functools.cached_property
    def _groups(self) -> list[Group]:
        return group_runs([self._trainers[run.index] for run in self._runs])

    def _train(self, runs: Sequence[SweepRun]) -> signal.Signals | None:
        """Trains some runs; returns the signal that ended it early, if one did."""
        if runs and len(self._groups) > 1:
            keys = splitting([[self._runs[place] for place in each.runs] for each in self._groups])
            why = f" (they differ in {', '.join(keys)})" if keys else ""
            self._tell(f"{len(self._groups)} programs, one after the other{why}.")
        for group in self._groups if runs else ():
            own = [self._runs[place] for place in group.runs]
            chosen = [place for place, run in enumerate(own) if run in runs]
            if chosen and (stopped_by := self._train_group(group, own, chosen)):
                return stopped_by
        return None

    def _build(self, run: SweepRun) -> MetaTrainer:
        try:
            config = run_config(self._config, run.overrides)
            self._configs[run.index] = config.copy_and_resolve_references()
            # There is one line, and one picture, for all runs.
            for name in ("progress", "curves"):
                if name in config.callbacks:
                    config.callbacks[name].enabled = False
            if self._is_left(run):
                check_run(
                    run.workdir, self._configs[run.index].to_dict(), todays, self._may_change()
                )
            trainer = build_trainer(config, str(run.workdir))
            trainer.check()
        except PaxError as e:
            raise ConfigError(
                f"run {run.name} of the sweep ({describe(run.overrides)}): {e}"
            ) from e
        trainer.quiet = True
        trainer.hyperparameters = self._configs[run.index].to_dict()
        return trainer

    def _train_group(
        self, group: Group, own: Sequence[SweepRun], chosen: Sequence[int]
    ) -> signal.Signals | None:
        return train_group(
            [self._trainers[run.index] for run in self._runs],
            group,
            chosen,
            side_by_side=self._side_by_side,
            names=[own[place].name for place in chosen],
            around=lambda place: self._recorded(own[place], self._trainers[own[place].index]),
            told=Told(self, own),
            say=self._tell,
        )

    @contextlib.contextmanager
    def _recorded(self, run: SweepRun, trainer: MetaTrainer) -> Iterator[None]:
        """Keeps the folder of a run, and in it what is run, as `pax.main` does."""
        config = self._configs[run.index].to_dict()
        command = shlex.join(["python", "-m", "pax.main", *run.arguments])
        imports = folders_to_record(config)
        with trainer.claim():
            recorded = open_run(
                run.workdir, config, run.config, imports, todays, command, self._may_change()
            )
            try:
                yield
            finally:
                if not trainer.workdir_is_gone:
                    keep_record(run.workdir, recorded)

    def advanced(self, running: Mapping[int, int]) -> None:
        """Shows how far the runs are that train: the iterations of each, by its number."""
        self._progress.show(
            {run: step / self._configs[run].num_iters for run, step in running.items()}
        )

    def done(self, run: SweepRun) -> None:
        """Tells that a run is over."""
        if run.is_done:
            self._progress.done(run.index)
            self._tell(f"{run.name} done ({self._progress}): {describe(run.overrides)}")

    def fail(self, run: SweepRun, error: BaseException) -> None:
        """Tells that a run has failed, and logs how."""
        sentence = " ".join(str(error).split()) or type(error).__name__
        with contextlib.suppress(OSError), run.log.open("a") as log:
            log.write(f"Error: {sentence}\n")
        self._progress.failed(run.index)
        self.failed.append(run)
        self._tell(f"{run.name} failed: {sentence}")

    def _tell(self, line: str) -> None:
        self._progress.clear()
        self._say(line)


class Told:
    """Hears of the runs of a group."""

    def __init__(self, program: OneProgram, runs: Sequence[SweepRun]):
        self._program, self._runs = program, runs

    def advanced(self, steps: Mapping[int, int]) -> None:
        self._program.advanced({self._runs[run].index: step for run, step in steps.items()})

    def done(self, run: int) -> None:
        self._program.done(self._runs[run])

    def failed(self, run: int, error: BaseException) -> None:
        self._program.fail(self._runs[run], error)


def splitting(programs: Sequence[Sequence[SweepRun]]) -> list[str]:
    """Returns the settings by which the runs of several programs are told apart.

    These are the ones that have one value in each program, or are 0 in all of one and in none of another.

    Args:
        programs: the runs of each.
    """
    keys = dict.fromkeys(key for runs in programs for run in runs for key in run.overrides)
    found = []
    for key in keys:
        values = [{repr(run.overrides.get(key)) for run in runs} for runs in programs]
        zeros = [{not run.overrides.get(key) for run in runs} for runs in programs]
        for kinds in (values, zeros):
            if all(len(each) == 1 for each in kinds) and any(each != kinds[0] for each in kinds):
                found.append(key)
                break
    return found
