"""Writes old_experiments.md from old_experiments.csv: `python docs/old_experiments.py`."""

import csv
import itertools
import pathlib

HERE = pathlib.Path(__file__).parent
TITLES = {
    "c_rice": "C-Rice-N",
    "cg": "Coin game",
    "cournot": "Cournot competition",
    "debug": "Without a game",
    "fishery": "Fishery",
    "imp": "Matching pennies",
    "impitm": "Matching pennies in the matrix",
    "ipd": "Prisoner's dilemma",
    "ipditm": "Prisoner's dilemma in the matrix",
    "multiplayer_ipd": "Prisoner's dilemma of several players",
    "rice": "Rice-N",
    "sarl": "Single-agent reinforcement learning",
}
"""By folder of the earlier Pax."""
INTRODUCTION = """# Experiments of the earlier Pax

The files of `pax/conf/experiment` of the earlier Pax, {count} of them, each with the command that does the
same here. What the commands do not say is that of the variant ([experiments](experiments.md)):
hyper-parameters of agents and of evolution are those that were measured here, and not those of the old files.
They are set by `--config.agent1.learning_rate=...`, `--config.agent1.learner.sigma=...` and so on;
[differences](differences.md) has the names of all settings. Sizes, such as `num_envs` and `popsize`, are
those of the old files where the note does not say otherwise.

An evaluation (`--mode=evaluate`) reads the run of another row, which is named by its `--workdir`: train that
with `--workdir=exp/cg-train_gs`, say. Where old files differ only in the checkpoint that they load, one per
seed, they have the same command: train with `--config.seed=1` and so on, each in a folder of its own. Old
checkpoints are not read.

This page is made from `old_experiments.csv` by `python docs/old_experiments.py`.
"""


def read() -> list[dict[str, str]]:
    """Returns the rows of the table: `old`, the name of a file; `command`; and `note`, what differs."""
    with open(HERE / "old_experiments.csv", newline="") as file:
        return list(csv.DictReader(file))


def page() -> str:
    """Returns the page: a table per folder, in which files of the same command and note share a row."""
    rows = read()
    parts = [INTRODUCTION.format(count=len(rows))]
    for folder, title in TITLES.items():
        own = [row for row in rows if row["old"].split("/")[0] == folder]
        parts.append(f"## {title}\n\n| old file | command | what differs |\n|---|---|---|\n")
        for (command, note), same in itertools.groupby(
            own, lambda row: (row["command"], row["note"])
        ):
            names = ", ".join(f"`{row['old']}`" for row in same)
            parts[-1] += f"| {names} | `{command}` | {note} |\n"
    return "\n".join(parts)


if __name__ == "__main__":
    (HERE / "old_experiments.md").write_text(page())
