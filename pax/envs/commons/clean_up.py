"""Clean Up: apples grow in an orchard while somebody, at its own cost, cleans the river."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from pax.checks import short
from pax.envs.common import real_number
from pax.envs.commons.settings import MAX_STEPS, check_beams, check_probabilities, check_whole
from pax.envs.commons.statistics import Commons, commons_metrics, sum_commons
from pax.envs.grid_world import chance, players, windows, words
from pax.envs.grid_world.game import OWN_STREAM, GridWorld
from pax.envs.grid_world.players import ZAP, Players
from pax.envs.grid_world.side_by_side import store
from pax.errors import ConfigError

CLEAN = ZAP + 1
"""The action that games without a river do not have."""
RIVER_LETTER, DIRT_LETTER, WATER_LETTER, ORCHARD_LETTER = "r", "d", "~", "o"
RIVER = windows.NUM_CODES
"""The code of a cell of the river, dirt being one more."""
GROWTH, DIRT = OWN_STREAM, OWN_STREAM + 1


@struct.dataclass
class EnvState:
    """Players, apples, and dirt."""

    inner_t: jax.Array
    """Steps played in this episode, int32."""
    players: Players
    apples: jax.Array
    """As words `[H]`: see `pax.envs.grid_world.words`."""
    dirt: jax.Array
    """As words `[H]`."""


@struct.dataclass
class EnvParams:
    """The numbers of the rules."""

    apple_rate: Any
    """Probability per step that an apple grows on a cell while the river is clean, float32."""
    dirt_threshold: Any
    """The dirty share of the river from which on no apple grows, float32."""
    dirt_restored: Any
    """The dirty share up to which they grow at the full rate, float32."""
    dirt_rate: Any
    """Probability per step that a cell of the river becomes dirty, float32."""
    dirt_delay: Any
    """Steps at the start of an episode without new dirt, int32."""
    beam_length: Any
    """Cells ahead that a zap reaches, int32."""
    clean_length: Any
    """Cells ahead that cleaning reaches, int32."""
    out_steps: Any
    """Steps for which a player that was hit is out, int32."""


class CleanUp(GridWorld):
    """Players eat the apples of an orchard, or clean the river without which none grow.

    A step, in this order; players do nothing while they are out:

    1. All turn or move at once. Walls and the border stop a player; of those who want one cell one is drawn;
       two who would swap stay; and who wants the cell of one who stays, stays. The river stops nobody.
    2. A player on an apple eats it, which pays 1.
    3. A zap hits everybody within `beam_length` cells ahead and on both sides of the first. Who is hit is out
       for `out_steps` steps, at the end of which it comes back on a free spawn cell, drawn at random.
       Cleaning removes the dirt from `clean_length` cells ahead and from both sides of the first.
    4. After the first `dirt_delay` steps, with probability `dirt_rate`, one of the clean cells of the river
       becomes dirty.
    5. With d the dirty share of the river, an apple grows on each cell of the orchard that is empty and has
       no player with probability `apple_rate` * clip((`dirt_threshold` - d) / (`dirt_threshold` -
       `dirt_restored`), 0, 1).

    Actions: 0 turn left, 1 turn right, 2 step left, 3 step right, 4 forward, 5 back, 6 stay, 7 zap, 8 clean.
    Players start on spawn cells, looking anywhere, with the dirt of the map and without apples.

    A player observes uint8 codes `[window, window]`, an array of `Cells`, which networks read one-hot: what
    lies ahead of it, turned with it. The first axis leads from `window` - 2 cells ahead to 1 behind, the
    second from left to right. Codes: 0 empty, 1 apple, 2 wall or outside, 3 itself, 4 to 7 others, who look
    where it does, to its right, back, to its left, 8 river, 9 dirt. While it is out it observes zeros.

    The game is Clean Up of Melting Pot (Agapiou et al. 2022, arxiv.org/abs/2211.13746), after Hughes et al.
    2018 (arxiv.org/abs/1803.08884).
    """

    letters: ClassVar[Mapping[str, str]] = {
        **GridWorld.letters,
        RIVER_LETTER: "river, clean at first",
        DIRT_LETTER: "river, dirty at first",
        WATER_LETTER: "water that stays clean",
        ORCHARD_LETTER: "orchard",
    }
    folder = pathlib.Path(__file__).parent / "maps" / "clean_up"
    code_names = windows.names_of(("river", "dirt"))
    action_names = (*players.ACTION_NAMES, "clean")

    def __init__(
        self,
        map: str = "clean_up",
        num_players: int = 7,
        window: int = 11,
        num_inner_steps: int = 1000,
    ):
        """Makes the game.

        Args:
            map: name of a map, or the path of a file that ends with .txt.
            num_players: how many play, 2 to 16.
            window: cells that a player sees along a side of its window, odd, 3 to 15.
            num_inner_steps: steps of an episode.
        """
        super().__init__(map, num_players, window, num_inner_steps)
        self.needs("river", RIVER_LETTER, DIRT_LETTER)
        self.needs("orchard", ORCHARD_LETTER)
        self.first_dirt = self.words_of(DIRT_LETTER)
        self.river = self.words_of(RIVER_LETTER) | self.first_dirt
        self.water = self.river | self.words_of(WATER_LETTER)
        self.orchard = self.words_of(ORCHARD_LETTER)
        self.river_size = int(
            (self.cells == RIVER_LETTER).sum() + (self.cells == DIRT_LETTER).sum()
        )

    def make_params(  # type: ignore[override]
        self,
        apple_rate: float = 0.05,
        dirt_threshold: float = 0.4,
        dirt_restored: float = 0.0,
        dirt_rate: float = 0.5,
        dirt_delay: int = 50,
        beam_length: int = 2,
        clean_length: int = 2,
        out_steps: int = 1,
    ) -> EnvParams:
        """Makes the parameters.

        Args:
            apple_rate: probability per step that an apple grows on a cell while the river is clean.
            dirt_threshold: dirty share of the river from which on no apple grows.
            dirt_restored: dirty share up to which they grow at the full rate.
            dirt_rate: probability per step that a cell of the river becomes dirty.
            dirt_delay: steps at the start of an episode without new dirt.
            beam_length: cells ahead that a zap reaches.
            clean_length: cells ahead that cleaning reaches.
            out_steps: steps for which who is hit is out; 0: zaps do nothing.
        """
        shares = (apple_rate, dirt_threshold, dirt_restored, dirt_rate)
        counts = (dirt_delay, beam_length, clean_length, out_steps)
        self.check_params(EnvParams(*shares, *counts))
        return EnvParams(*map(jnp.float32, shares), *map(jnp.int32, counts))

    def check_params(self, params: EnvParams) -> None:
        names = ("apple_rate", "dirt_threshold", "dirt_restored", "dirt_rate")
        rounded = {
            name: real_number(name, getattr(params, name), "give a number from 0 to 1")
            for name in names
        }
        for name in names:
            check_probabilities(name, getattr(params, name))
        # As float32 holds them: their difference divides.
        if not rounded["dirt_restored"] < rounded["dirt_threshold"]:
            raise ConfigError(
                f"dirt_restored is {short(params.dirt_restored)} and dirt_threshold "
                f"{short(params.dirt_threshold)}: give a smaller share at which apples grow at the full rate"
            )
        check_whole("dirt_delay", params.dirt_delay, 0, MAX_STEPS)
        check_beams(params, "clean_length")

    def begin(self, drawn: jax.Array, params: EnvParams) -> tuple[tuple[jax.Array, ...], EnvState]:
        del params
        time = jnp.zeros(drawn.shape[1:], jnp.int32)
        dirt = jnp.asarray(self.first_dirt)
        state = EnvState(time, self.start(drawn), jnp.zeros_like(dirt), dirt)
        return self.observe(state), state

    def play(
        self, drawn: jax.Array, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        turn = self.take_turn(drawn, state, actions, params)
        cleans = (turn.actions == CLEAN) & state.players.plays
        beams = players.beam_cells(turn.moved, cleans, params.clean_length, self.height, self.width)
        dirt = state.dirt & ~words.union(store(beams))
        cleaned = words.count(state.dirt) - words.count(dirt)
        dirt |= self._new_dirt(drawn, dirt, state.inner_t, params)
        share = words.count(dirt) / self.river_size
        room = params.dirt_threshold - params.dirt_restored
        rate = params.apple_rate * jnp.clip((params.dirt_threshold - share) / room, 0.0, 1.0)
        empty = self.orchard & ~turn.apples & ~turn.standing
        apples = turn.apples | (empty & self.cells_with(drawn, GROWTH, self.orchard, rate))

        apples, dirt = store((apples, dirt))
        state = EnvState(state.inner_t + 1, turn.after, apples, dirt)
        info = {
            **turn.info,
            "apples": words.count(apples),
            "dirt": words.count(dirt),
            "cleans": cleans.astype(jnp.int32),
            "cleaned": cleaned,
        }
        done = state.inner_t >= self.num_inner_steps
        return self.observe(state), state, turn.rewards, done, info

    def things(self, state: EnvState) -> Mapping[int, windows.Sets]:
        # Dirt is on the river and apples are not, so that one of each is told by the ground.
        return {1: state.apples | state.dirt, RIVER: self.water}

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> Commons:
        del observations, actions
        own = {
            "dirt_share": infos["dirt"].mean(axis=0).sum() / self.river_size,
            "cleaned": infos["cleaned"].sum(dtype=jnp.float32),
            "cleans": infos["cleans"].sum(axis=(0, 1), dtype=jnp.float32),
        }
        return sum_commons(infos, own)

    def statistics_metrics(self, statistics: Commons) -> Mapping[str, jax.Array]:
        return commons_metrics(statistics)

    def _new_dirt(
        self, drawn: jax.Array, dirt: jax.Array, time: jax.Array, params: EnvParams
    ) -> jax.Array:
        """Draws the cell that becomes dirty, if any does, as words `[H, E]`."""
        happens, which = chance.uniform(drawn, DIRT, (2,))
        appears = (time >= params.dirt_delay) & (happens < params.dirt_rate)
        clean = self.river & ~dirt
        number = jnp.minimum((which * words.count(clean)).astype(jnp.int32), words.count(clean) - 1)
        row, column = words.find(clean, number[None])
        # Where all is dirty, there is no such cell.
        cell = words.of_cells(row, column, (number >= 0)[None], self.height)
        return jnp.where(appears, cell, 0)
