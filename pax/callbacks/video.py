"""Pictures of how the policies play."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from pax.callbacks.callback import Callback
from pax.envs.boards import framed
from pax.envs.environment import Environment
from pax.errors import ConfigError
from pax.metrics.tensorboard_writer import encode_gif
from pax.types import PyTree, take

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer


class Video(Callback):
    """Records an episode of every evaluation, for TensorBoard and as a file in `videos` of the workdir.

    Of a game on a grid an animated GIF, frame by frame; of others a figure of the whole episode, as PNG.

    Args:
        every: iterations between recordings.

    Raises:
        ConfigError: if the game cannot be drawn.
    """

    priority = 60

    def __init__(self, every: int = 100):
        self.every = every

    def check(self, trainer: MetaTrainer) -> None:
        if not trainer.env.render_mode:
            raise ConfigError(
                f"callbacks.Video cannot draw {type(trainer.env).__name__}: leave it out"
            )

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        for name, recording in trainer.record().items():
            tag = f"evaluation/{name}/episode"
            frames = draw_episode(trainer.env, *recording)
            if trainer.env.render_mode == "figure":
                trainer.writer.write_images(step, {tag: frames})
            else:
                trainer.writer.write_videos(step, {tag: frames[None]})
            if trainer.workdir is not None and trainer.is_lead:
                folder = trainer.workdir / "videos"
                folder.mkdir(exist_ok=True)
                (folder / f"{name}_{step:06d}.gif").write_bytes(encode_gif(frames))


def draw_episode(
    env: Environment, states: PyTree, actions: tuple[PyTree, ...], params: PyTree
) -> np.ndarray:
    """Draws an episode of a game that can be drawn.

    Args:
        env: the game.
        states: before each step, `[T, ...]`.
        actions: by player, `[T, ...]`.
        params: what was played for.

    Returns:
        uint8 `[T, height, width, 3]` of a game on a grid, over its legend; of others one picture,
        `[1, height, width, 3]`.
    """
    if env.render_mode == "figure":
        return figure_to_array(env.render_episode(states, actions, params))[None]
    length = len(jax.tree.leaves(states)[0])
    frames = np.stack([env.render(take(states, t), params) for t in range(length)])
    return framed(frames, env.legend)


def figure_to_array(figure: Any) -> np.ndarray:
    """Returns the pixels of a matplotlib figure, uint8 `[height, width, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
