"""What a report is about: runs, read from their folders, and the experiments that they make up."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pax.checks import MAX_INT, short
from pax.errors import ConfigError, OutputError
from pax.evaluation.results import ABOUT, EVALUATION_FILE, parse_row
from pax.metrics.writers import METRICS_FILE, SEEDS_FILE, read_metrics, read_seed_metrics
from pax.run.directory import RUN_FILE, flat, read_run
from pax.run.files import read_regular
from pax.run.remote import is_url, local_path

NOT_SET = "not set"
STEPS = "environment steps"


@dataclasses.dataclass(frozen=True)
class RecordedRun:
    """A folder, as far as it can be read."""

    path: pathlib.Path
    record: Mapping[str, Any]
    """What `run.json` holds; empty without one, as `MetaTrainer` leaves it."""
    settings: Mapping[str, Any]
    """The config, by dotted key."""
    rows: Mapping[int, Mapping[str, float]]
    """Metrics by iteration, in order; what is undefined is NaN."""
    evaluations: Mapping[str, tuple[int, Mapping[str, tuple[float, ...]]]]
    """The last result that `--mode=evaluate` wrote: by name, its iteration, and each metric of each seed."""
    seed_rows: Mapping[int, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    """Of a run with several seeds, metrics by iteration of each of them, `[S]`, as far as they are known."""

    @property
    def seeds(self) -> range:
        """Those of the runs that were trained in it."""
        first = self.settings.get("seed", 0)
        return range(first, first + self.num_seeds)

    @property
    def num_seeds(self) -> int:
        """How many seeds its metrics are means of."""
        sizes = (len(values) for row in self.seed_rows.values() for values in row.values())
        return self.settings.get("num_seeds") or next(sizes, 1)

    @property
    def has_each_seed(self) -> bool:
        """Whether each seed's own metrics are known, in every row."""
        return self.num_seeds == 1 or all(at in self.seed_rows for at in self.rows)

    def of_seeds(self, at: int, key: str) -> np.ndarray:
        """Returns a metric of each seed in an iteration, `[S]`; NaN where it is undefined or not known."""
        if self.num_seeds == 1:
            return np.array([self.rows.get(at, {}).get(key, math.nan)])
        unknown = np.full(self.num_seeds, np.nan)
        return self.seed_rows.get(at, {}).get(key, unknown)

    @property
    def last(self) -> int:
        """The last iteration that it tells of."""
        return max(self.rows)

    @property
    def steps_per_iteration(self) -> float:
        """Environment steps of one seed, NaN if it does not tell."""
        return self.rows[self.last].get("env_steps", math.nan) / max(self.last, 1)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Runs that differ in their seed only."""

    label: str
    runs: tuple[RecordedRun, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The config that its runs share, but for `seed`."""
        return self.runs[0].settings

    @property
    def num_seeds(self) -> int:
        """Of all its runs."""
        return sum(run.num_seeds for run in self.runs)

    @property
    def has_means_only(self) -> bool:
        """Whether some of its metrics are means of several seeds, of which each one's own are not known."""
        return not all(run.has_each_seed for run in self.runs)

    def metrics(self) -> list[str]:
        """Returns the metrics in the order of the rows, without deviations over seeds."""
        keys = dict.fromkeys(key for run in self.runs for row in run.rows.values() for key in row)
        return [key for key in keys if not is_deviation(key, keys)]


def is_deviation(key: str, keys: Iterable[str]) -> bool:
    """Returns whether a metric is the deviation of another one over seeds, as `train/fitness/std` is not."""
    return key.endswith("/std") and key.removesuffix("/std") in keys


def read_runs(paths: Sequence[str]) -> tuple[list[RecordedRun], list[str]]:
    """Reads what can be read; returns the runs, and a sentence for whatever could not be."""
    runs: dict[pathlib.Path, RecordedRun] = {}
    problems: list[str] = []
    for given in paths:
        path, told = pathlib.Path(given), list[str]()
        try:
            path = local_path("the run", given)
            if path.resolve() not in runs:
                runs[path.resolve()] = read_folder(path, told)
        except (ConfigError, OutputError) as e:
            told.append(" ".join(str(e).split()))
        except OSError as e:
            told.append(
                f"{e.filename or path} cannot be read ({e.strerror}), so {path} is left out"
            )
        except RecursionError:
            told.append(f"{path} is left out, as its {RUN_FILE} is nested too deeply")
        if is_url(given):
            # Nobody knows the path of the copy.
            told = [problem.replace(str(path), given) for problem in told]
        problems += told
    return list(runs.values()), problems


def read_folder(path: pathlib.Path, problems: list[str]) -> RecordedRun:
    """Reads the run in a folder; what can be done without is a problem, anything else an error.

    Raises:
        ConfigError: if there is no run, or its metrics are missing or damaged.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise ConfigError(f"{path} {what}: give the folder of a run")
    has_metrics = (path / METRICS_FILE).exists()
    if not has_metrics and not (path / RUN_FILE).exists():
        inside = any(path.glob(f"*/{METRICS_FILE}"))
        remedy = f"give those in it, as {path}/*" if inside else "give the folder of a run"
        raise ConfigError(f"{path} holds no run of Pax: {remedy}")
    record = read_run(path) if (path / RUN_FILE).exists() else {}
    if not has_metrics:
        raise ConfigError(f"{path} has no {METRICS_FILE}, so it is left out: train there first")
    try:
        raw = read_metrics(path / METRICS_FILE)
    except ConfigError as e:
        raise ConfigError(f"{path} is left out, as its metrics are damaged: {e}") from e
    rows = {
        row["iteration"]: {key: as_float(value) for key, value in row.items() if is_number(value)}
        for row in sorted(raw, key=lambda row: row["iteration"])
    }
    if not rows:
        raise ConfigError(f"{path} has no metrics yet, so it is left out: train there first")
    settings = flat(record.get("config", {}))
    for key, least in (("seed", 0), ("num_seeds", 1)):
        value = settings.get(key, least)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or not least <= value <= MAX_INT:
            raise ConfigError(f"{path} is left out, as its {RUN_FILE} has {key} {short(value)}")
    evaluations = read_evaluations(path / EVALUATION_FILE, problems)
    seed_rows = read_seed_rows(path, settings.get("num_seeds"), problems)
    return RecordedRun(path, record, settings, rows, evaluations, seed_rows)


def read_seed_rows(
    path: pathlib.Path, num_seeds: int | None, problems: list[str]
) -> dict[int, dict[str, np.ndarray]]:
    """Reads what each seed of a run in a folder did; if it cannot be, that is a problem, and means are left.

    Args:
        path: the folder.
        num_seeds: how many seeds there should be; None if that is not known.
        problems: gets a sentence.
    """
    file = path / SEEDS_FILE
    if num_seeds == 1 or not file.exists():
        return {}
    try:
        raw = read_seed_metrics(file)
    except ConfigError as e:
        problems.append(f"{e}; so only means over the seeds of {path} are shown")
        return {}
    rows = {
        row["iteration"]: {
            key: np.array([as_float(value) for value in values])
            for key, values in row.items()
            if key != "iteration"
        }
        for row in sorted(raw, key=lambda row: row["iteration"])
    }
    found = next((len(values) for row in rows.values() for values in row.values()), num_seeds)
    if num_seeds is not None and found != num_seeds:
        problems.append(
            f"{file} has metrics of {found} seeds, and the run has {num_seeds}, so only means are shown"
        )
        return {}
    return rows


def read_evaluations(
    path: pathlib.Path, problems: list[str]
) -> dict[str, tuple[int, dict[str, tuple[float, ...]]]]:
    """Reads the last line of each evaluation; a line that is none is a problem, and passed over."""
    found = {}
    try:
        lines = read_regular(path).splitlines() if path.exists() else []
    except OSError as e:
        problems.append(f"{path} cannot be read ({e.strerror}), so it is passed over")
        return {}
    for number, line in enumerate(lines, start=1):
        row = parse_row(line)
        per_seed = {key: _per_seed(value) for key, value in (row or {}).items() if key not in ABOUT}
        metrics = {key: values for key, values in per_seed.items() if values is not None}
        sizes = {len(values) for values in metrics.values()}
        if row is None or len(metrics) < len(per_seed) or len(sizes) > 1:
            problems.append(f"{path}, line {number} is no evaluation, so it is passed over")
        else:
            found[row["evaluation"]] = (row["iteration"], metrics)
    return found


def _per_seed(value: Any) -> tuple[float, ...] | None:
    """Returns a metric of each seed; None if it is no metric."""
    values = value if isinstance(value, list) else [value]
    return tuple(map(as_float, values)) if all(map(is_number, values)) else None


def is_number(value: Any) -> bool:
    """Returns whether it is what a metric may be: a number, or null where it is undefined."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def as_float(value: float | None) -> float:
    """Returns a metric as a float, NaN where it is undefined or not finite."""
    try:
        number = math.nan if value is None else float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def group(runs: Sequence[RecordedRun]) -> list[Experiment]:
    """Experiments in the order of their first runs.

    Two runs of one config and one seed are the same numbers twice, and would make an interval too narrow:
    the second one begins an experiment of its own, as does a run whose config is not known.
    """
    groups: list[list[RecordedRun]] = []
    for run in runs:
        for members in groups:
            first = members[0]
            is_same = run.record and first.record and without_seed(run) == without_seed(first)
            if is_same and not any(overlap(run.seeds, member.seeds) for member in members):
                members.append(run)
                break
        else:
            groups.append([run])
    for members in groups:
        members.sort(key=lambda run: run.seeds[0] if run.seeds else 0)
    labels = label([members[0] for members in groups])
    return [Experiment(name, tuple(members)) for name, members in zip(labels, groups, strict=True)]


def overlap(one: range, other: range) -> bool:
    """Returns whether two ranges have a number in common."""
    return max(one.start, other.start) < min(one.stop, other.stop)


def without_seed(run: RecordedRun) -> dict[str, Any]:
    """Returns the settings, but for `seed`."""
    return {key: value for key, value in run.settings.items() if key != "seed"}


def differences(runs: Sequence[RecordedRun]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs: by key, what each has."""
    keys = sorted({key for run in runs for key in without_seed(run)})
    table = {key: [show(run.settings.get(key, NOT_SET)) for run in runs] for key in keys}
    return {key: values for key, values in table.items() if len(set(values)) > 1}


def show(value: Any) -> str:
    """Returns a setting as text."""
    return value if isinstance(value, str) and value else json.dumps(value)


def label(runs: Sequence[RecordedRun]) -> list[str]:
    """Names each: by the config it was started from, and by what differs among those of one config."""
    names = [config_name(run) for run in runs]
    labels = []
    for run, name in zip(runs, names, strict=True):
        alike = [other for other, its in zip(runs, names, strict=True) if its == name]
        if len(alike) > 1:
            place = alike.index(run)
            told = [f"{key}={values[place]}" for key, values in differences(alike).items()]
            told = [part for part in told if not part.startswith("callbacks.")] or told
            name += f", {' '.join(told)}" if 0 < len(told) <= 2 else f" ({run.path.name})"
        labels.append(name)
    return [
        f"{name} ({run.path})" if labels.count(name) > 1 else name
        for run, name in zip(runs, labels, strict=True)
    ]


def config_name(run: RecordedRun) -> str:
    """Returns `ipd.py:ppo`, or the folder if the config is not known."""
    path, colon, variant = str(run.record.get("config_path", "")).partition(":")
    return f"{pathlib.PurePath(path).name}{colon}{variant}" or run.path.resolve().name
