"""Draws the figures of docs/environments: an episode of untrained players, of games that are not on a grid.

In the iterated matrix game player 2 plays tit-for-tat.

python docs/images/games.py
"""

import pathlib

from pax import play
from pax.agents import PPO, TitForTat
from pax.envs import (
    Cournot,
    Fishery,
    IteratedMatrixGame,
    IteratedTensorGame,
    Negotiation,
    Rice,
)
from pax.metrics.tensorboard_writer import picture

FOLDER = pathlib.Path(__file__).parent
GAMES = {
    "cournot": Cournot(num_inner_steps=20),
    "fishery": Fishery(num_inner_steps=100),
    "iterated_matrix_game": IteratedMatrixGame(),
    "iterated_tensor_game": IteratedTensorGame(),
    "negotiation": Negotiation(num_inner_steps=20),
    "rice": Rice(),
}
# What is a usual action.
SCALES = {Cournot: 30.0, Fishery: 2.0}


def players(env):
    """Those who play a game."""
    settings = {
        "head_init": "orthogonal",
        "symlog": True,
        "action_scale": SCALES.get(type(env), 1.0),
    }
    agents = [PPO.for_env(env, player, **settings) for player in range(env.num_players)]
    return [agents[0], TitForTat.for_env(env, 1)] if isinstance(env, IteratedMatrixGame) else agents


if __name__ == "__main__":
    for name, env in GAMES.items():
        path = FOLDER / f"{name}.png"
        picture(play(env, players(env)).frames[-1]).save(path, optimize=True)
        print(path)
