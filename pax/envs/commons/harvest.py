"""Commons Harvest: apples grow back the faster the more are left around, and never where none is."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.common import check_numbers
from pax.envs.commons.settings import check_beams, check_probabilities
from pax.envs.commons.statistics import Commons, commons_metrics, sum_commons
from pax.envs.grid_world import windows, words
from pax.envs.grid_world.game import OWN_STREAM, GridWorld
from pax.envs.grid_world.players import Players
from pax.envs.grid_world.side_by_side import store

APPLE_LETTER = "a"
AROUND = tuple(
    (down, right) for down in range(-2, 3) for right in range(-2, 3) if 0 < down**2 + right**2 <= 4
)
"""The 12 cells within a distance of 2."""
GROWTH = OWN_STREAM


@struct.dataclass
class EnvState:
    """Players, and where there are apples."""

    inner_t: jax.Array
    """Steps played in this episode, int32."""
    players: Players
    apples: jax.Array
    """As words `[H]`: see `pax.envs.grid_world.words`."""


@struct.dataclass
class EnvParams:
    """The numbers of the rules."""

    regrowth: Any
    """Probabilities per step that an apple grows with 0, 1, 2, and 3 or more apples around, float32 `[4]`."""
    beam_length: Any
    """Cells ahead that a zap reaches, int32."""
    out_steps: Any
    """Steps for which a player that was hit is out, int32."""


class CommonsHarvest(GridWorld):
    """Players eat the apples of a commons, which grow back only where others are left.

    A step, in this order; players do nothing while they are out:

    1. All turn or move at once. Walls and the border stop a player; of those who want one cell one is drawn;
       two who would swap stay; and who wants the cell of one who stays, stays.
    2. A player on an apple eats it, which pays 1.
    3. A zap hits everybody within `beam_length` cells ahead and on both sides of the first. Who is hit is out
       for `out_steps` steps, at the end of which it comes back on a free spawn cell, drawn at random.
    4. On an apple cell that is empty and has no player, an apple grows with probability `regrowth[n]`, n
       being the number of apples within a distance of 2 (12 cells), 3 standing for more. With `regrowth[0]`
       = 0, a patch that was eaten to the last apple is gone for the rest of the episode.

    Actions: 0 turn left, 1 turn right, 2 step left, 3 step right, 4 forward, 5 back, 6 stay, 7 zap. Players
    start on spawn cells, looking anywhere; every apple cell has an apple.

    A player observes uint8 codes `[window, window]`, an array of `Cells`, which networks read one-hot: what
    lies ahead of it, turned with it. The first axis leads from `window` - 2 cells ahead to 1 behind, the
    second from left to right. Codes: 0 empty, 1 apple, 2 wall or outside, 3 itself, and 4 to 7 others, who
    look where it does, to its right, back, to its left. While it is out it observes zeros.

    The game is Commons Harvest of Melting Pot (Agapiou et al. 2022, arxiv.org/abs/2211.13746), after Perolat
    et al. 2017 (arxiv.org/abs/1707.06600).
    """

    letters: ClassVar[Mapping[str, str]] = {**GridWorld.letters, APPLE_LETTER: "an apple"}
    folder = pathlib.Path(__file__).parent / "maps" / "harvest"

    def __init__(
        self,
        map: str = "harvest_open",
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
        self.needs("apples", APPLE_LETTER)
        self.apple_cells = self.words_of(APPLE_LETTER)

    def make_params(  # type: ignore[override]
        self,
        regrowth: tuple[float, ...] = (0.0, 0.001, 0.005, 0.025),
        beam_length: int = 2,
        out_steps: int = 1,
    ) -> EnvParams:
        """Makes the parameters.

        Args:
            regrowth: probabilities per step that an apple grows with 0, 1, 2, and 3 or more apples around.
            beam_length: cells ahead that a zap reaches.
            out_steps: steps for which who is hit is out; 0: zaps do nothing.
        """
        self.check_params(EnvParams(regrowth, beam_length, out_steps))
        return EnvParams(
            jnp.array(regrowth, jnp.float32), jnp.int32(beam_length), jnp.int32(out_steps)
        )

    def check_params(self, params: EnvParams) -> None:
        remedy = "give 4 probabilities, with 0, 1, 2, and 3 or more apples around"
        check_numbers("regrowth", params.regrowth, (4,), remedy)
        check_probabilities("regrowth", params.regrowth)
        check_beams(params)

    def begin(self, drawn: jax.Array, params: EnvParams) -> tuple[tuple[jax.Array, ...], EnvState]:
        del params
        time = jnp.zeros(drawn.shape[1:], jnp.int32)
        state = EnvState(time, self.start(drawn), jnp.asarray(self.apple_cells))
        return self.observe(state), state

    def play(
        self, drawn: jax.Array, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        turn = self.take_turn(drawn, state, actions, params)
        empty = self.apple_cells & ~turn.apples & ~turn.standing
        apples = turn.apples | (empty & self._grown(drawn, turn.apples, params.regrowth))
        apples = store(apples)
        state = EnvState(state.inner_t + 1, turn.after, apples)
        info = {**turn.info, "apples": words.count(apples)}
        done = state.inner_t >= self.num_inner_steps
        return self.observe(state), state, turn.rewards, done, info

    def things(self, state: EnvState) -> Mapping[int, windows.Sets]:
        return {windows.APPLE: state.apples}

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> Commons:
        del observations, actions
        return sum_commons(infos, {})

    def statistics_metrics(self, statistics: Commons) -> Mapping[str, jax.Array]:
        return commons_metrics(statistics)

    def _grown(self, drawn: jax.Array, apples: jax.Array, regrowth: jax.Array) -> jax.Array:
        """Draws the cells on which an apple would grow, were they empty apple cells: words `[H, E]`."""
        probability = regrowth[0]
        for sets, more in zip(words.neighbours(apples, AROUND), regrowth[1:], strict=True):
            probability = jnp.where(self.split(sets, self.apple_cells), more, probability)
        return self.cells_with(drawn, GROWTH, self.apple_cells, probability)
