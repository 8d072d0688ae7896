"""Figures of what was learned, for TensorBoard."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from pax.agents.actor_critic import ActorCritic
from pax.agents.distributions import Categorical
from pax.callbacks.callback import Callback
from pax.callbacks.video import figure_to_array
from pax.checkpoints.policies import deployed
from pax.envs.cooperation_figures import plot_cooperation, shares
from pax.envs.environment import Environment
from pax.envs.figures import HeatMap, new_figure, plot_heat_map
from pax.envs.matrix_game_statistics import COOPERATE, StateCounts
from pax.envs.spaces import Discrete
from pax.metrics.seeds import has_interval, interval_names
from pax.metrics.tensorboard_layout import write_layout
from pax.metrics.tensorboard_tags import training_tags
from pax.metrics.tensorboard_writer import encode_png
from pax.metrics.writers import METRICS_FILE, read_metrics
from pax.run.files import write_whole
from pax.types import PyTree

if TYPE_CHECKING:
    from pax.loop.evaluator import TrialCurves
    from pax.trainer import MetaTrainer

MAX_OBSERVATIONS = 64
"""Games with more situations than this have no picture of a policy."""
NUM_TRIALS = 8
MOST_PANELS = 2
SHARES = {"prob_coop": "share of own coins among those taken", "ratio": "share of coins of type 0"}
"""Statistics by player that say which way it goes, and what they are called in pictures."""
FOLDER = "pictures"


class Pictures(Callback):
    """Draws policies, visited states and learning curves, and counts parameters and their changes.

    In TensorBoard, under `pictures/`, and the newest of each as a file in `pictures` of the run's folder: the
    policy of each role that acts on one of a few observations (of the first seed), the states visited and the
    cooperation in each of them over training, and by episode of a trial the rewards and what players did,
    which show what a shaper does to those who learn. In matrix games, policies are drawn as the probability
    of cooperation after what was played before; for each evaluation the same of all players, also of those
    with a memory, is estimated from play. Under `parameters/` and `updates/`: histograms of the first seed's
    parameters, and of their changes since the last picture. The tab "Custom scalars" puts together what
    belongs together.

    Args:
        every: iterations between pictures.
        histograms: whether to write those.
    """

    priority = 60
    strict = False
    kinds: ClassVar = {"histograms": True}

    def __init__(self, every: int = 100, histograms: bool = True):
        self.every = every
        self.histograms = histograms
        self._before: dict[str, list[np.ndarray]] = {}
        self._laid_out = False

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        if self.histograms and (trainer.step == 0 or not self._before):
            self._before = _leaves(first_policies(trainer, state))
        self._laid_out = self._laid_out and trainer.step > 0

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        policies = first_policies(trainer, state)
        figures = {}
        for role in trainer.roles:
            table = policy_table(role.agent, policies.get(role.name))
            if table is not None:
                figures[f"policy/{role.name}"] = plot_policy(role.name, table, trainer.env)
        is_matrix_game = counts_cooperation(trainer.env)
        if is_matrix_game or trainer.num_outer_steps > 1:
            for name, curves in trainer.trial_curves(NUM_TRIALS).items():
                if trainer.num_outer_steps > 1:
                    figures[f"trial/{name}"] = plot_trial(name, curves, NUM_TRIALS)
                if curves.cooperation is not None:
                    figures[f"play/{name}"] = plot_play(name, curves.cooperation)
        if trainer.workdir is not None and trainer.is_lead:
            trainer.writer.flush()
            path = trainer.workdir / METRICS_FILE
            # Somebody may have deleted it; it is written anew with the next row.
            rows = read_metrics(path) if path.exists() else []
            figures |= plot_history(rows)
            if not self._laid_out:
                names = {key for row in rows for key in row}
                tags = names | set(training_tags(names).values())
                of_seeds = {
                    name
                    for tag in tags
                    if f"{tag}/std" in tags and has_interval(tag, trainer.num_seeds)
                    for name in interval_names(tag)
                }
                write_layout(trainer.writer, tags | of_seeds)
                self._laid_out = True
        pictures = {name: figure_to_array(figure) for name, figure in figures.items()}
        trainer.writer.write_images(
            step, {f"{FOLDER}/{name}": pixels[None] for name, pixels in pictures.items()}
        )
        # Of a folder that was moved or deleted, no part is made anew.
        if trainer.workdir is not None and trainer.is_lead and not trainer.workdir_is_gone:
            folder = trainer.workdir / FOLDER
            folder.mkdir(exist_ok=True)
            for name, pixels in pictures.items():
                write_whole(folder / f"{name.replace('/', '_')}.png", encode_png(pixels))
        if self.histograms:
            self._write_histograms(trainer, policies, step)

    def _write_histograms(
        self, trainer: MetaTrainer, policies: Mapping[str, PyTree], step: int
    ) -> None:
        arrays = {}
        for role, params in policies.items():
            leaves = jax.tree_util.tree_flatten_with_path(params)[0]
            for (path, leaf), old in zip(leaves, self._before[role], strict=True):
                name = f"{role}/{jax.tree_util.keystr(path, simple=True, separator='/')}"
                arrays[f"parameters/{name}"] = leaf
                arrays[f"updates/{name}"] = leaf - old
        trainer.writer.write_histograms(step, arrays)
        self._before = _leaves(policies)

    def state_dict(self) -> dict[str, Any]:
        before = {role: [_encode(leaf) for leaf in leaves] for role, leaves in self._before.items()}
        return {"before": before, "laid_out": self._laid_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._laid_out = state.get("laid_out", False)
        before = state.get("before", {})
        self._before = {role: [_decode(leaf) for leaf in leaves] for role, leaves in before.items()}


def _encode(leaf: np.ndarray) -> list[Any]:
    """Returns an array as JSON values: its type, shape and bytes."""
    return [str(leaf.dtype), list(leaf.shape), base64.b64encode(leaf.tobytes()).decode()]


def _decode(encoded: Sequence[Any]) -> np.ndarray:
    dtype, shape, text = encoded
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def _leaves(policies: Mapping[str, PyTree]) -> dict[str, list[np.ndarray]]:
    """Returns the arrays of each role's parameters."""
    return {role: jax.tree.leaves(params) for role, params in policies.items()}


def first_policies(trainer: MetaTrainer, state: Any) -> dict[str, PyTree]:
    """Returns the parameters of what each trained role would be judged by, by role, of the first seed."""
    roles = [role for role in trainer.roles if role.learner or role.carried]
    state = trainer.placement.local(state)
    params = {role.name: deployed(role, state).params for role in roles}
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], jax.device_get(params))


def policy_table(agent: Any, params: PyTree | None) -> np.ndarray | None:
    """Probabilities `[observations, actions]`, or None of agents that see or remember too much for that."""
    if params is None or not isinstance(agent, ActorCritic) or agent.recurrent:
        return None
    observations, actions = agent.observation_space, agent.action_space
    if not isinstance(observations, Discrete) or observations.n > MAX_OBSERVATIONS:
        return None
    if not isinstance(actions, Discrete):
        return None
    states = np.arange(observations.n)
    _, distribution, _ = agent.forward(params, agent.initial_hidden(len(states)), states)
    assert isinstance(distribution, Categorical)
    choices = jnp.broadcast_to(jnp.arange(actions.n)[:, None], (actions.n, len(states)))
    log_probs = jax.vmap(distribution.log_prob)(choices)
    return np.exp(np.asarray(log_probs)).T


def plot_policy(role: str, table: np.ndarray, env: Environment) -> Any:
    """Draws probabilities `[observations, actions]`: cooperation of a matrix game, else a heat map."""
    if counts_cooperation(env):
        return _plot_cooperation_of(role, table[:, COOPERATE])
    num_states, num_actions = table.shape
    states = env.state_names or list(map(str, range(num_states)))
    actions = env.action_names or list(map(str, range(num_actions)))
    figure = new_figure((1.6 + 0.8 * num_actions, 1.0 + 0.32 * num_states))
    axes = figure.subplots()
    shown = HeatMap(f"policy of {role}", table, states, actions, "", "action")
    picture = plot_heat_map(axes, shown, (0.0, 1.0), "{:.2f}" if table.size <= 64 else None)
    figure.colorbar(picture, ax=axes)
    return figure


def counts_cooperation(env: Environment) -> bool:
    """Returns whether it is a matrix game, of which cooperation after what was played is counted."""
    return type(env).cooperation_counts is not Environment.cooperation_counts


def _plot_cooperation_of(role: str, each: np.ndarray) -> Any:
    """Draws the probability of cooperation after each joint action of n players, `[2^n + 1]`."""
    num_players = (len(each) - 1).bit_length() - 1
    joint = np.arange(len(each) - 1)
    bits = joint[:, None] >> np.arange(num_players) & 1
    groups = num_players * bits[:, -1] + bits[:, :-1].sum(axis=1)
    means = [each[:-1][groups == group].mean() for group in range(2 * num_players)]
    values = np.array([[*means, each[-1]]])
    dots = each if num_players > 2 else None
    return plot_cooperation(f"policy of {role}", values, [role], dots)


def plot_play(name: str, counts: StateCounts) -> Any:
    """Draws how often players cooperated after what, estimated from counts `[K, players, 2 n + 1]`."""
    total = StateCounts(counts.visits.sum(axis=0), counts.cooperations.sum(axis=0))
    values = shares(total)
    labels = [f"player {player + 1}" for player in range(len(values))]
    return plot_cooperation(f"as played: {name}", values, labels)


def plot_trial(name: str, curves: TrialCurves, num_trials: int) -> Any:
    """Draws rewards, statistics and cooperation by episode of a trial, of everybody who plays in it."""
    panels = {"reward per step": curves.rewards, **_behaviour(curves)}
    figure = new_figure((6.4, 0.5 + 1.9 * len(panels)))
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False).ravel()
    episodes = np.arange(1, len(curves.rewards) + 1)
    for axes, (title, values) in zip(all_axes, panels.items(), strict=True):
        for player in range(values.shape[1]):
            # One that lies under another is seen beside it.
            width = max(2.8 - 1.0 * player, 1.2)
            marker = "o" if len(values) < 20 else None
            label = f"player {player + 1}"
            axes.plot(episodes, values[:, player], marker=marker, linewidth=width, label=label)
        axes.set_title(title.replace("_", " "), fontsize=10, loc="left")
        axes.grid(alpha=0.3, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
    all_axes[-1].set_xlabel("episode of the trial")
    all_axes[-1].locator_params(axis="x", integer=True)
    figure.suptitle(f"within a trial: {name} (over {num_trials} trials)", fontsize=10)
    return figure


def _behaviour(curves: TrialCurves) -> dict[str, np.ndarray]:
    """Returns what players did by episode, `[K, players]`, by title: few of what the game counts."""
    if curves.cooperation is not None:
        counts = curves.cooperation
        visits, cooperations = np.asarray(counts.visits), np.asarray(counts.cooperations)
        return {"share of C": cooperations.sum(axis=-1) / visits.sum(axis=-1)}
    num_players = curves.rewards.shape[1]
    groups = {}
    for key in curves.statistics:
        group = key.removesuffix("/player_1")
        names = [f"{group}/player_{player + 1}" for player in range(num_players)]
        if group != key and all(name in curves.statistics for name in names):
            values = np.stack([curves.statistics[name] for name in names], axis=-1)
            if np.isfinite(values).any():
                groups[group] = values
    # Which of two ways they choose comes before how much of either they do.
    chosen = sorted(groups, key=lambda group: group not in SHARES)[:MOST_PANELS]
    return {SHARES.get(group, group): groups[group] for group in chosen}


def plot_history(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """States visited, and cooperation in each of them, over training, as far as they were counted."""
    figures = {}
    for prefix, title in (
        ("state_probability", "share of steps in each state"),
        ("cooperation_probability", "P(C) in each state"),
    ):
        keys = [key for key in (rows[-1] if rows else {}) if re.match(f"{prefix}/(?!.*/std$)", key)]
        reported = [row for row in rows if all(key in row for key in keys)]
        if len(keys) < 2 or len(reported) < 2:
            continue
        values = np.array([[row[key] for key in keys] for row in reported], float).T
        iterations = [row["iteration"] for row in reported]
        labels = [key.removeprefix(f"{prefix}/") for key in keys]
        figure = new_figure((6.0, 1.2 + 0.3 * len(keys)))
        axes = figure.subplots()
        if prefix == "state_probability" and len(keys) <= 10:
            axes.stackplot(iterations, np.nan_to_num(values), labels=labels)
            axes.set_ylim(0.0, 1.0)
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
        else:
            edges = (iterations[0], iterations[-1], len(keys) - 0.5, -0.5)
            picture = axes.imshow(
                values, vmin=0.0, vmax=1.0, aspect="auto", extent=edges, interpolation="nearest"
            )
            axes.set_yticks(range(len(keys)), labels)
            figure.colorbar(picture, ax=axes)
        axes.set(xlabel="iteration", title=title)
        axes.locator_params(axis="x", integer=True, nbins=6)
        figures[prefix] = figure
    return figures
