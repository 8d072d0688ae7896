"""Draws the animations of docs/environments: an episode of every game on a grid.

python docs/images/animations.py

Scripted players play the coin game; in the others, what `configs/<game>.py:ppo` has trained, in runs that
this program starts unless their folders are there (exp/animation-<game>).
"""

import pathlib

from pax import load_agent, play
from pax.agents.coin_players import EvilGreedy, OwnCoins
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.envs import CleanUpLite, CoinGame, InTheMatrix
from pax.metrics.tensorboard_writer import encode_gif

FOLDER = pathlib.Path(__file__).parent
STEPS = 60
FRAMES_PER_SECOND = 4
SEED = 1


def trained(game):
    """Players of a run, trained if it is not there."""
    workdir = pathlib.Path(f"exp/animation-{game}")
    if not (workdir / "policies").is_dir():
        build_trainer(load_config(f"configs/{game}.py:ppo"), str(workdir)).fit()
    return [load_agent(workdir, f"agent{seat}") for seat in (1, 2)]


if __name__ == "__main__":
    coins = CoinGame(num_inner_steps=STEPS)
    games = {
        "coin_game": (coins, [EvilGreedy.for_env(coins, 0), OwnCoins.for_env(coins, 1)]),
        "clean_up_lite": (CleanUpLite(num_inner_steps=STEPS), trained("clean_up_lite")),
        "in_the_matrix": (InTheMatrix(num_inner_steps=STEPS), trained("ipditm")),
    }
    for name, (env, players) in games.items():
        path = FOLDER / f"{name}.gif"
        path.write_bytes(encode_gif(play(env, players, seed=SEED).frames, FRAMES_PER_SECOND))
        print(path)
