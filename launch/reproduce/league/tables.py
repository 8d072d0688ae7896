"""What a league shows: tables as CSV and Markdown, and figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from launch.reproduce.league.entrants import SELF_PLAY
from launch.reproduce.league.training import Plan, Trained, settings_of
from pax.envs.figures import HeatMap, new_figure, number_form, plot_heat_map
from pax.evaluation.estimates import matrix_table, plot_matrix
from pax.evaluation.methods import Standing
from pax.evaluation.tournament import replicator
from pax.metrics.bootstrap import MeanInterval
from pax.metrics.learning_curves import marked
from pax.metrics.tables import csv_number, markdown, number
from pax.run.files import read_regular, write_rows

GENERATIONS = 200
STRATEGY = "a strategy"


@dataclasses.dataclass(frozen=True)
class AgainstLearners:
    """Methods against those who learn, over a trial of K episodes."""

    learners: Sequence[str]
    """Names of L of them."""
    rewards: MeanInterval
    """Of the method and of the learner, `[M, L, 2]`: mean over the trial."""
    by_episode: MeanInterval
    """`[M, L, 2, K]`."""


def ranking(
    names: Sequence[str],
    found: Standing,
    trained: Mapping[str, str],
    against: AgainstLearners | None,
    folder: pathlib.Path,
) -> str:
    """Writes ranking.csv and shares.csv and .png, and returns the ranking as Markdown.

    Args:
        names: of the methods.
        found: how they stand.
        trained: by method, against whom it was trained.
        against: what they get from learners.
        folder: where to write.
    """
    order = np.argsort(-found.scores.mean, kind="stable")
    times, shares = replicator(found.payoffs.mean, GENERATIONS)
    last = shares[-1]
    rows = [["rank", "method", "trained", "mean", "low", "high", "final_share"]]
    rows[0] += [f"probability_of_rank_{rank + 1}" for rank in range(len(names))]
    lines = []
    for rank, place in enumerate(order):
        mean, half = found.scores.mean[place], found.scores.half[place]
        chances = found.ranks[place]
        how = trained.get(names[place], STRATEGY)
        numbers = (mean, mean - half, mean + half, last[place], *chances)
        rows.append([str(rank + 1), names[place], how, *map(csv_number, numbers)])
        from_learners = ""
        if against is not None:
            of_method = against.rewards.mean[place, :, 0].mean()
            from_learners = number(of_method, np.nan)
        lines.append(
            [
                str(rank + 1),
                names[place],
                how,
                number(mean, half),
                _chance(chances[0]),
                _ranks(chances),
                f"{last[place]:.1%}",
                from_learners,
            ]
        )
    write_rows(folder / "ranking.csv", rows)
    share_rows = [["generation", *names]]
    share_rows += [
        [f"{when:g}", *map(csv_number, at)] for when, at in zip(times, shares, strict=True)
    ]
    write_rows(folder / "shares.csv", share_rows)
    _plot_shares(folder / "shares.png", names, times, shares, order)
    columns = (
        "rank",
        "method",
        "trained",
        "score",
        "P(first)",
        "95 % of ranks",
        "share at the end",
    )
    return markdown((*columns, "against learners"), lines)


def ranked(folder: pathlib.Path) -> list[str]:
    """Returns the methods of the ranking that is there, best first, without strategies; [] if none is."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_regular(folder / "ranking.csv").decode())))
        # Of a line that is cut off, what is missing is None.
        return [str(row["method"]) for row in rows if row["trained"] not in (STRATEGY, None)]
    except (OSError, ValueError, KeyError, csv.Error):  # It will be written anew.
        return []


def _chance(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


def _ranks(chances: np.ndarray) -> str:
    """Returns the ranks between the 2.5 % and the 97.5 % quantile."""
    if np.isnan(chances).any():
        return ""
    total = np.cumsum(chances)
    low, high = (int(np.searchsorted(total, at - 1e-12)) + 1 for at in (0.025, 0.975))
    return f"{low}" if low == high else f"{low} to {min(high, len(chances))}"


def zero_shot(names: Sequence[str], found: Standing, title: str, folder: pathlib.Path) -> str:
    """Writes zero_shot.csv and .png, the best method first, and returns the table as Markdown."""
    order = np.argsort(-found.scores.mean, kind="stable")
    payoffs = MeanInterval(*(part[np.ix_(order, order)] for part in found.payoffs))
    ordered = [names[place] for place in order]
    rows = [["method", "against", "mean", "low", "high"]]
    for i, j in np.ndindex(payoffs.mean.shape):
        mean, half = payoffs.mean[i, j], payoffs.half[i, j]
        numbers = map(csv_number, (mean, mean - half, mean + half))
        rows.append([ordered[i], ordered[j], *numbers])
    write_rows(folder / "zero_shot.csv", rows)
    panel = ("the row's reward per step", payoffs.mean)
    plot_matrix(folder / "zero_shot.png", title, ordered, [panel], "against", "method", most=40)
    return matrix_table(ordered, payoffs, "gets against", sys.maxsize)


def against_learners(
    names: Sequence[str],
    order: np.ndarray,
    found: AgainstLearners,
    title: str,
    folder: pathlib.Path,
) -> str:
    """Writes learners.csv and .png and learners_by_episode.csv and .png; returns the table as Markdown."""
    rows = [["method", "learner", "who", "mean", "low", "high"]]
    episodes = [["method", "learner", "who", "episode", "mean", "low", "high"]]
    lines = []
    for place in order:
        line = [names[place]]
        for column, learner in enumerate(found.learners):
            for who, text in enumerate(("method", "learner")):
                mean, half = (part[place, column, who] for part in found.rewards)
                line.append(number(mean, half))
                numbers = map(csv_number, (mean, mean - half, mean + half))
                rows.append([names[place], learner, text, *numbers])
                curve = zip(*(part[place, column, who] for part in found.by_episode), strict=True)
                for episode, (mean, half) in enumerate(curve):
                    numbers = map(csv_number, (mean, mean - half, mean + half))
                    episodes.append([names[place], learner, text, str(episode + 1), *numbers])
        lines.append(line)
    write_rows(folder / "learners.csv", rows)
    write_rows(folder / "learners_by_episode.csv", episodes)
    plot_learners(folder / "learners.png", names, order, found, title)
    plot_curves(folder / "learners_by_episode.png", names, order, found, title)
    columns = ["method"]
    for learner in found.learners:
        columns += [f"gets from {learner}", "which gets"]
    return markdown(columns, lines)


def plot_learners(
    path: pathlib.Path,
    names: Sequence[str],
    order: np.ndarray,
    found: AgainstLearners,
    title: str,
) -> None:
    """Plots what methods and learners get from each other, side by side on one scale."""
    values = found.rewards.mean[order]
    figure = new_figure((3.0 + 1.7 * len(found.learners), 1.8 + 0.3 * len(names)))
    scale = (float(np.nanmin(values)), float(np.nanmax(values)))
    all_axes = figure.subplots(1, 2, sharey=True)
    for who, (axes, label) in enumerate(
        zip(all_axes, ("the method gets", "the learner gets"), strict=True)
    ):
        rows = [names[place] for place in order]
        # In two lines there is room for them without turning them.
        columns = [learner.replace(" ", "\n", 1) for learner in found.learners]
        table = HeatMap(label, values[:, :, who], rows, columns, "", "against")
        image = plot_heat_map(axes, table, scale, number_form(scale, least=2), size=7)
        axes.tick_params(labelsize=8)
        axes.title.set_fontsize(10)
    figure.colorbar(image, ax=list(all_axes), shrink=0.7, label="reward per step")
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=120)


def plot_curves(
    path: pathlib.Path,
    names: Sequence[str],
    order: np.ndarray,
    found: AgainstLearners,
    title: str,
) -> None:
    """Plots rewards over the episodes of a trial, a panel per method; its own with 95 % bands over seeds."""
    columns = 5
    height = -(-len(names) // columns)
    figure = new_figure((13.0, 1.2 + 2.0 * height))
    all_axes = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False)
    episodes = np.arange(1, found.by_episode.mean.shape[-1] + 1)
    for axes, place in zip(all_axes.flat, order, strict=False):
        axes.set_title(names[place], fontsize=9)
        for column, learner in enumerate(found.learners):
            color = f"C{column}"
            mean, half = (part[place, column] for part in found.by_episode)
            style = {"color": color, "lw": 1.0, **marked(len(episodes))}
            axes.plot(episodes, mean[0], "-", label=f"the method, against {learner}", **style)
            axes.plot(episodes, mean[1], "--", label=learner, **style)
            if np.isfinite(half[0]).all():
                band = (mean[0] - half[0], mean[0] + half[0])
                axes.fill_between(episodes, *band, color=color, alpha=0.12, linewidth=0)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in all_axes.flat[len(names) :]:
        axes.set_visible(False)
    # Those at the bottom of their column, whether or not that is the last row.
    for axes in all_axes.flat[max(len(names) - columns, 0) : len(names)]:
        axes.set_xlabel("episode of the trial", fontsize=9)
        axes.tick_params("x", labelbottom=True)
    low, high = np.nanmin(found.by_episode.mean), np.nanmax(found.by_episode.mean)
    margin = 0.05 * (high - low) + 1e-6
    # Bands of three seeds that differ would take all of the room.
    all_axes[0, 0].set_ylim(low - margin, high + margin)
    for axes in all_axes[:, 0]:
        axes.set_ylabel("reward per step", fontsize=9)
    figure.suptitle(title, fontsize=11)
    handles, labels = all_axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(found.learners), fontsize="small"
    )
    figure.savefig(path, dpi=110)


def _plot_shares(
    path: pathlib.Path,
    names: Sequence[str],
    times: np.ndarray,
    shares: np.ndarray,
    order: np.ndarray,
) -> None:
    figure = new_figure((7.5, 4.0))
    axes = figure.subplots()
    for rank, place in enumerate(order):
        style = ("-", "--", ":", "-.")[rank // 10 % 4]
        axes.plot(times, shares[:, place], style, label=names[place])
    axes.set(xlabel="generation", ylabel="share of the population", ylim=(0.0, 1.0))
    axes.set_title("Replicator dynamics over methods, from equal shares", fontsize=11)
    figure.legend(loc="outside right upper", fontsize="x-small")
    figure.savefig(path, dpi=120)


def robustness(names: Sequence[str], found: Mapping[str, Standing], folder: pathlib.Path) -> str:
    """Writes robustness.csv and returns scores and ranks under each condition as Markdown."""
    rows = [["method", "condition", "rank", "mean", "low", "high", "probability_of_rank_1"]]
    first = next(iter(found.values()))
    lines = {place: [names[place]] for place in np.argsort(-first.scores.mean, kind="stable")}
    for condition, each in found.items():
        order = np.argsort(-each.scores.mean, kind="stable")
        for rank, place in enumerate(order):
            mean, half = each.scores.mean[place], each.scores.half[place]
            numbers = map(csv_number, (mean, mean - half, mean + half, each.ranks[place, 0]))
            rows.append([names[place], condition, str(rank + 1), *numbers])
            lines[place].append(f"{rank + 1}: {number(mean, half)}")
    write_rows(folder / "robustness.csv", rows)
    return markdown(("method", *found), list(lines.values()))


def training(trained: Sequence[Trained], seeds: Mapping[str, int], plan: Plan) -> str:
    """Returns what was trained, as Markdown."""
    settings = [{} if plan.quick else settings_of(each.entrant, plan) for each in trained]
    lines = [
        [
            each.entrant.name,
            f"`{each.entrant.config}`",
            ", ".join(f"`{name}={value}`" for name, value in own.items()),
            each.entrant.starts_from,
            each.entrant.trained,
            str(seeds.get(each.entrant.name, 0)),
            f"{each.seconds:.0f}",
        ]
        for each, own in zip(trained, settings, strict=True)
    ]
    header = ("method", "config", "settings", "starts from", "trained", "seeds", "seconds")
    return markdown(header, lines)


def how_trained(trained: Sequence[Trained]) -> dict[str, str]:
    """Returns by method against whom it was trained."""
    return {each.entrant.name: each.entrant.trained or SELF_PLAY for each in trained}
