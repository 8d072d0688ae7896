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
from pax.envs.environment import Environment
from pax.envs.figures import HeatMap, new_figure, plot_heat_map
from pax.envs.spaces import Discrete
from pax.metrics.seeds import has_interval, interval_names
from pax.metrics.tensorboard_layout import write_layout
from pax.metrics.writers import METRICS_FILE, read_metrics
from pax.types import PyTree

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer

MAX_OBSERVATIONS = 64
"""Games with more situations than this have no picture of a policy."""


class Pictures(Callback):
    """Draws policies, visited states and learning curves, and counts parameters and their changes.

    In TensorBoard, under `pictures/`: the policy of each role that acts on one of a few observations (of the
    first seed), the states visited and the cooperation in each of them over training, and the rewards of the
    episodes of a trial, which show what a shaper does to those who learn. Under `parameters/` and `updates/`:
    histograms of the first seed's parameters, and of their changes since the last picture. The tab "Custom
    scalars" puts together what belongs together.

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
        if trainer.num_outer_steps > 1:
            for name, rewards in trainer.learning_curves().items():
                figures[f"trial/{name}"] = plot_learning_curves(name, rewards)
        if trainer.workdir is not None and trainer.is_lead:
            trainer.writer.flush()
            path = trainer.workdir / METRICS_FILE
            # Somebody may have deleted it; it is written anew with the next row.
            rows = read_metrics(path) if path.exists() else []
            figures |= plot_history(rows)
            if not self._laid_out:
                tags = {key for row in rows for key in row}
                of_seeds = {
                    name
                    for tag in tags
                    if f"{tag}/std" in tags and has_interval(tag, trainer.num_seeds)
                    for name in interval_names(tag)
                }
                write_layout(trainer.writer, tags | of_seeds)
                self._laid_out = True
        pictures = {
            f"pictures/{name}": figure_to_array(figure)[None] for name, figure in figures.items()
        }
        trainer.writer.write_images(step, pictures)
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
    """Draws a heat map of probabilities `[observations, actions]`, named as the game names them."""
    num_states, num_actions = table.shape
    states = env.state_names or list(map(str, range(num_states)))
    actions = env.action_names or list(map(str, range(num_actions)))
    figure = new_figure((1.6 + 0.8 * num_actions, 1.0 + 0.32 * num_states))
    axes = figure.subplots()
    shown = HeatMap(f"policy of {role}", table, states, actions, "", "action")
    picture = plot_heat_map(axes, shown, (0.0, 1.0), "{:.2f}" if table.size <= 64 else None)
    figure.colorbar(picture, ax=axes)
    return figure


def plot_learning_curves(name: str, rewards: np.ndarray) -> Any:
    """Rewards per step `[K, players]` of the episodes of a trial."""
    figure = new_figure((5.0, 3.0))
    axes = figure.subplots()
    for player in range(rewards.shape[1]):
        axes.plot(
            np.arange(1, len(rewards) + 1),
            rewards[:, player],
            marker="o" if len(rewards) < 20 else None,
            label=f"player {player + 1}",
        )
    axes.set(
        xlabel="episode of the trial", ylabel="reward per step", title=f"within a trial: {name}"
    )
    axes.legend(fontsize="small")
    return figure


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
        figures[prefix] = figure
    return figures
