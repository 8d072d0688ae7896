"""Drawings of matrix games: who cooperates after what, and what was played in an episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pax.envs.figures import new_figure
from pax.envs.matrix_game_statistics import STATES, StateCounts, count_by_player

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#009988", "#cc3311")
"""Of C and of D, which differ to the colour-blind too."""
MOST_PLAYERS = 4
"""Of more, an n-player game shows the mean."""
FEW_STEPS = 40
"""Up to so many steps, each is told from the next."""


def plot_cooperation(
    title: str, probabilities: np.ndarray, labels: Sequence[str], each: np.ndarray | None = None
) -> Figure:
    """Draws how probable cooperation is after what was played the step before.

    Args:
        title: of the figure.
        probabilities: by player (or policy) and state `[P, 2 n + 1]`, as `count_by_player` orders states; NaN
            where nobody knows.
        labels: what the players are called, `[P]`.
        each: of one policy that tells apart who of the others defected, `[2^n + 1]`: drawn as dots.
    """
    figure = new_figure((5.4, 3.2))
    axes = figure.subplots()
    draw_cooperation(axes, probabilities, labels, each)
    axes.set_title(title, fontsize=10, loc="left")
    return figure


def draw_cooperation(
    axes: Axes, probabilities: np.ndarray, labels: Sequence[str], each: np.ndarray | None = None
) -> None:
    """Draws into axes: see `plot_cooperation`. Bars of two players, else lines by who cooperated."""
    num_states = probabilities.shape[1]
    if num_states == len(STATES):
        _bars(axes, probabilities, labels)
    else:
        _lines(axes, probabilities, labels, each)
    axes.set_ylim(-0.04, 1.12)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.set_ylabel("P(cooperate)")
    axes.grid(axis="y", alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _bars(axes: Axes, probabilities: np.ndarray, labels: Sequence[str]) -> None:
    width = 0.8 / len(probabilities)
    for index, (values, label) in enumerate(zip(probabilities, labels, strict=True)):
        at = np.arange(len(STATES)) - 0.4 + (index + 0.5) * width
        known = np.isfinite(values)
        axes.bar(at[known], values[known], 0.92 * width, label=label)
        for x, value in zip(at, values, strict=True):
            text = f"{value:.2f}".replace("1.00", "1").replace("0.00", "0").replace("0.", ".")
            told, colour = (text, "black") if np.isfinite(value) else ("never", "grey")
            height = value if np.isfinite(value) else 0.0
            rotation = 0 if np.isfinite(value) else 90
            style: dict[str, Any] = {"fontsize": 7, "color": colour, "rotation": rotation}
            axes.text(x, height + 0.02, told, ha="center", va="bottom", **style)
    names = [f"{name}\n{told}" for name, told in zip(STATES, TOLD, strict=True)]
    axes.set_xticks(range(len(STATES)), names, fontsize=8)
    axes.set_xlim(-0.5, len(STATES) - 0.5)
    if len(probabilities) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)


TOLD = ("both C", "exploited", "exploiting", "both D", "first step")
"""What the states of two players mean, own last action first."""


def _lines(
    axes: Axes, probabilities: np.ndarray, labels: Sequence[str], each: np.ndarray | None
) -> None:
    num_players = (probabilities.shape[1] - 1) // 2
    if len(probabilities) > MOST_PLAYERS:
        known = np.isfinite(probabilities)
        sums = np.where(known, probabilities, 0.0).sum(axis=0)
        counts = known.sum(axis=0)
        mean = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
        probabilities, labels = mean[None], [f"mean of {len(labels)} players"]
    cooperators = num_players - 1 - np.arange(num_players)
    styles = ("-", "--", ":", "-.")
    for style, values, label in zip(styles, probabilities, labels, strict=False):
        for own, colour in enumerate(COLOURS):
            part = values[own * num_players : (own + 1) * num_players]
            name = f"{label}, after own {'CD'[own]}"
            axes.plot(cooperators, part, style, color=colour, marker="o", label=name)
        # Its place says what it is, so that it is no line of the legend.
        axes.plot(-1, values[-1], "s", color="grey", label=f"_{label}, first step")
    if each is not None:
        states = np.arange(len(each) - 1)
        bits = states[:, None] >> np.arange(num_players) & 1
        of_own, others = bits[:, -1], bits[:, :-1].sum(axis=1)
        for action, colour in enumerate(COLOURS):
            here = of_own == action
            x = num_players - 1 - others[here]
            axes.plot(x, each[:-1][here], ".", color=colour, alpha=0.5)
    axes.set_xticks([-1, *range(num_players)], ["start", *map(str, range(num_players))])
    axes.set_xlabel("others who cooperated before")
    small = "xx-small" if len(probabilities) > 2 else "x-small"
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=small)


def plot_choices(actions: np.ndarray, names: Sequence[str], rewards: np.ndarray) -> Figure:
    """Draws an episode of a matrix game: actions and rewards over its steps, and who cooperated after what.

    Args:
        actions: `[T, players]`, each an index into `names`.
        names: of the two actions.
        rewards: `[T, players]`.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    num_steps, num_players = actions.shape
    players = [f"player {player + 1}" for player in range(num_players)]
    figure = new_figure((11.0, 1.6 + 0.35 * num_players + 2.2))
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.25, 1))
    upper, lower = left.subplots(2, 1, sharex=True, height_ratios=(0.6 + 0.35 * num_players, 2.2))
    upper.imshow(
        actions.T,
        vmin=0,
        vmax=1,
        cmap=ListedColormap(COLOURS),
        aspect="auto",
        interpolation="none",
        extent=(0.5, num_steps + 0.5, num_players - 0.5, -0.5),
    )
    upper.set_yticks(range(num_players), players)
    upper.hlines(np.arange(num_players - 1) + 0.5, 0.5, num_steps + 0.5, color="white", linewidth=3)
    if num_steps <= FEW_STEPS:
        upper.vlines(np.arange(1, num_steps) + 0.5, -0.5, num_players - 0.5, color="white")
    upper.spines[:].set_visible(False)
    upper.legend(
        [Patch(color=colour) for colour in COLOURS],
        names,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        frameon=False,
        fontsize=8,
        handlelength=1,
    )
    upper.set_title(f"Actions{_told(actions, names)}", fontsize=10, loc="left")
    window = 1 if num_steps <= FEW_STEPS else num_steps // 10
    sums = np.cumsum(np.concatenate([np.zeros((1, num_players)), rewards]), axis=0)
    steps = np.arange(1, num_steps + 1)
    since = np.maximum(steps - window, 0)
    means = (sums[steps] - sums[since]) / (steps - since)[:, None]
    for index, player in enumerate(players):
        # One that lies under another is seen beside it.
        width = max(3.0 - 1.2 * index, 1.2)
        marker = "o" if num_steps == 1 else ""
        lower.plot(steps, means[:, index], marker=marker, linewidth=width, label=player)
    title = "Reward" if window == 1 else f"Reward, mean of the last {window} steps"
    lower.set_title(title, fontsize=10, loc="left")
    lower.set(xlabel="step", xlim=(0.5, num_steps + 0.5))
    lower.locator_params(axis="x", integer=True)
    lower.grid(alpha=0.3, linewidth=0.5)
    lower.spines[["top", "right"]].set_visible(False)
    lower.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8, handlelength=1)
    axes = right.subplots()
    draw_cooperation(axes, shares(count_by_player(list(actions.T))), players)
    axes.set_title("After what each cooperated", fontsize=10, loc="left")
    return figure


def shares(counts: StateCounts) -> np.ndarray:
    """Returns the shares of cooperation among what was counted, NaN where a state was never visited."""
    visits = np.asarray(counts.visits, float)
    cooperations = np.asarray(counts.cooperations, float)
    return np.divide(cooperations, visits, out=np.full(visits.shape, np.nan), where=visits > 0)


def _told(actions: np.ndarray, names: Sequence[str]) -> str:
    """Returns how often which joint action was played, if there are few kinds."""
    joint, counts = np.unique(actions, axis=0, return_counts=True)
    if len(joint) > 4:
        return ""
    told = [
        f"{''.join(names[action] for action in row)} {count}"
        for row, count in zip(joint.tolist(), counts.tolist(), strict=True)
    ]
    return f", steps of each: {', '.join(told)}"
