"""Draws the frames in docs/environments/commons_harvest.md and docs/environments/clean_up.md."""

import pathlib

import jax
import jax.numpy as jnp
from PIL import Image

from pax.agents import CleanUpCooperator, HarvestDefector
from pax.envs import CleanUp, CommonsHarvest
from pax.envs.boards import framed

FOLDER = pathlib.Path(__file__).parent


def draw(name, env, player, steps):
    """Writes the frame after some steps of scripted play."""
    params = env.default_params
    seen, state = env.reset(jax.random.key(0), params)
    agent = player.for_env(env)

    @jax.jit
    def step(seen, state, key):
        env_key, key = jax.random.split(key)
        windows = jnp.stack(seen).astype(jnp.int32)
        actions = agent.choose(windows, agent.draw(key, (env.num_players,)))
        return env.step(env_key, state, tuple(actions.astype(jnp.int32)), params)[:2]

    for key in jax.random.split(jax.random.key(1), steps):
        seen, state = step(seen, state, key)
    frame = framed(env.render(state, params)[None], env.legend, first_step=steps)[0]
    Image.fromarray(frame).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    draw("commons_harvest", CommonsHarvest(), HarvestDefector, 20)
    draw("clean_up", CleanUp(), CleanUpCooperator, 200)
