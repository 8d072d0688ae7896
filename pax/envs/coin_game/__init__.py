"""The coin game: two players and two coins on a grid."""

from pax.envs.coin_game.game import CoinGame, EnvParams, EnvState

__all__ = ["CoinGame", "EnvParams", "EnvState"]
