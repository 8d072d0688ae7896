"""Draws the pictures of docs/environments: an episode of untrained players, of every game that has one.

python docs/images/games.py
"""

import pathlib

import jax
import matplotlib.image
import numpy as np

from pax.agents import PPO
from pax.callbacks.video import figure_to_array
from pax.envs import (
    CleanUpLite,
    CoinGame,
    Cournot,
    Fishery,
    InTheMatrix,
    IteratedMatrixGame,
    IteratedTensorGame,
    Rice,
)

FOLDER = pathlib.Path(__file__).parent
GAMES = {
    "coin_game": CoinGame(),
    "clean_up_lite": CleanUpLite(),
    "in_the_matrix": InTheMatrix(),
    "cournot": Cournot(num_inner_steps=20),
    "fishery": Fishery(num_inner_steps=100),
    "iterated_matrix_game": IteratedMatrixGame(),
    "iterated_tensor_game": IteratedTensorGame(),
    "rice": Rice(),
}
# What is a usual action.
SCALES = {Cournot: 30.0, Fishery: 2.0}


def picture(env) -> np.ndarray:
    """uint8 `[height, width, 3]`: the last state on a grid, the whole episode of other games."""
    params = env.default_params
    settings = {
        "head_init": "orthogonal",
        "symlog": True,
        "action_scale": SCALES.get(type(env), 1.0),
    }
    agents = [PPO.for_env(env, player, **settings) for player in range(env.num_players)]

    def step(carry, key):
        observations, state = carry
        env_key, *keys = jax.random.split(key, 1 + env.num_players)
        actions = []
        for agent, seen, own in zip(agents, observations, keys, strict=True):
            one = jax.tree.map(lambda leaf: leaf[None], seen)
            memory = agent.initial_memory(agent.initial_hidden(1))
            actions.append(agent.policy(agent.init(own), one, memory, own)[0][0])
        return env.step(env_key, state, tuple(actions), params)[:2], state

    first = env.reset(jax.random.key(0), params)
    keys = jax.random.split(jax.random.key(1), env.num_inner_steps)
    (_, last), states = jax.jit(lambda: jax.lax.scan(step, first, keys))()
    if env.render_mode == "figure":
        return figure_to_array(env.render(states, params))
    return np.asarray(env.render(last, params))


if __name__ == "__main__":
    for name, env in GAMES.items():
        path = FOLDER / f"{name}.png"
        matplotlib.image.imsave(path, picture(env))
        print(path)
