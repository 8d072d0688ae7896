"""The interface of every game."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax

from pax.envs.boards import Mark
from pax.envs.spaces import Space
from pax.errors import ConfigError

if TYPE_CHECKING:
    from pax.envs.matrix_game_statistics import StateCounts

_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Environment:
    """One game between `num_players` players, without any batch axis.

    A game defines `reset` and `step`, or, in the place of `step`, `transition` and what it draws at random,
    `draw`. They are pure functions of their arguments and work under `jax.jit`, `jax.vmap` and
    `jax.lax.scan`. Observations, actions and rewards are tuples with one entry per player. `params` is a
    pytree of numbers, so that every environment of a batch may play a different game. `done` is True on the
    last step of an (inner) episode; the reward of that step is the true one, and nothing is reset silently.
    """

    num_players: int
    num_inner_steps: int
    auto_resets = False
    """Whether episodes may end before `num_inner_steps` steps, and the next one begins at once. Then every
    info has `terminated` and `truncated`, bool, or a tuple of one per player where an episode may be over for
    some and go on for others, and `final_observations`, one per player: those at the end of the episode,
    where one ended."""
    state_names: Sequence[str] = ()
    """Names of Discrete observations; () if they have none."""
    action_names: Sequence[str] = ()
    """Names of Discrete actions."""
    legend: Sequence[Mark] = ()
    """What `render` shows, of games on a grid: it stands under the frames of animations."""
    render_mode = ""
    """The output of `render`: `rgb_array` of a single state, `figure` of a whole episode, or "" for none."""

    @classmethod
    def subsections(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        """Returns the defaults of arguments of the class that are sections of a config, by name.

        Args:
            settings: the other arguments, which they may depend on.
        """
        del settings
        return {}

    @property
    def default_params(self) -> Any:
        """Returns what `make_params` makes of no settings; `()` for a game without any."""
        if type(self).make_params is Environment.make_params:
            return ()
        parameters = inspect.signature(self.make_params).parameters.values()
        required = [
            p.name for p in parameters if p.default is p.empty and p.kind not in _COLLECTING
        ]
        if required:
            name = type(self).__name__
            raise ConfigError(
                f"make_params of {name} takes {', '.join(required)} without a default, and {name} has no "
                "default_params of its own: give a default, or the class default_params"
            )
        return self.make_params()

    def make_params(self, **settings: Any) -> Any:
        """Makes the parameters from the settings of a config; others keep their defaults.

        By default a game has its `default_params`, and no settings.

        Raises:
            ConfigError: if there is no such setting, or it does not make a valid game.
        """
        for name in settings:
            raise ConfigError(
                f"{name} is no setting of {type(self).__name__}, which has no make_params of its own: leave "
                "it out, or write one"
            )
        # Of a game that has some, and no `make_params`: of others, those that it adds to.
        own = type(self).default_params
        return () if own is Environment.default_params else self.default_params

    def param_settings(self) -> dict[str, Any]:
        """Returns what `make_params` takes, with its defaults, as values that a config can hold."""
        parameters = inspect.signature(self.make_params).parameters.values()
        return {
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.default is not parameter.empty
        }

    def check_params(self, params: Any) -> None:
        """Raises ConfigError, naming the field, unless `params` (concrete numbers) make a valid game."""
        del params

    def for_params(self, params: Any) -> Environment:
        """Returns the game with the spaces that `params` give it: itself, unless spaces depend on them."""
        del params
        return self

    def reset(self, key: jax.Array, params: Any) -> tuple[tuple[Any, ...], Any]:
        """Starts an episode; returns (observations, state)."""
        raise NotImplementedError

    def draw(self, key: jax.Array, params: Any) -> Any:
        """Draws the random numbers of one `transition`; left alone, it is the key.

        The loop has all of an episode drawn before it starts: one large draw costs a fraction of many small
        ones.
        """
        del params
        return key

    def transition(
        self, drawn: Any, state: Any, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[Any, ...], Any, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        """Plays one joint action with the numbers that `draw` has drawn; returns what `step` returns."""
        if type(self).step is Environment.step:
            raise NotImplementedError
        return self.step(drawn, state, actions, params)

    def split_step(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Returns the `draw` and the `transition` that the loop calls.

        For a class that defines `step` these are the key and that step, whatever its base class.
        """
        if type(self).step is Environment.step:
            return self.draw, self.transition
        return functools.partial(Environment.draw, self), self.step

    def step(
        self, key: jax.Array, state: Any, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[Any, ...], Any, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        """Plays one joint action; returns (observations, state, rewards, done, info)."""
        return self.transition(self.draw(key, params), state, actions, params)

    def earned(
        self, rewards: tuple[jax.Array, ...], info: Mapping[str, Any]
    ) -> tuple[jax.Array, ...]:
        """Returns what players earned in a step, for metrics, where that is not what they learn from.

        Args:
            rewards: as `step` returned them: what players learn from.
            info: as `step` returned it.
        """
        del info
        return rewards

    def observation_space(self, player: int) -> Space:
        """Returns what `player` (counted from 0) observes."""
        raise NotImplementedError

    def action_space(self, player: int) -> Space:
        """Returns what `player` (counted from 0) may do."""
        raise NotImplementedError

    def spaces(self, player: int) -> tuple[Space, Space]:
        """Returns what `player` observes and may do."""
        return self.observation_space(player), self.action_space(player)

    def episode_statistics(
        self,
        observations: tuple[Any, ...],
        actions: tuple[Any, ...],
        infos: dict[str, Any],
    ) -> Any:
        """Returns the sums that `statistics_metrics` needs, of one episode of a batch of environments.

        Called inside the compiled loop. Sums of several episodes are added up leaf by leaf, which is why
        they must be counts or totals and not means.

        Args:
            observations: one array `[T, E, ...]` per player, seen *before* the actions.
            actions: one array `[T, E, ...]` per player.
            infos: what every `step` returned as its info, `[T, E, ...]`. What is not read is not stored.
        """
        del observations, actions, infos
        return {}

    def statistics_metrics(self, statistics: Any) -> Mapping[str, jax.Array]:
        """Turns summed `episode_statistics` into named scalars; NaN where a quantity is undefined."""
        del statistics
        return {}

    def cooperation_counts(self, actions: tuple[Any, ...]) -> StateCounts | None:
        """Counts, in a matrix game, what each player did after what; None of other games.

        Args:
            actions: by player, `[T, ...]`, of whole episodes.

        Returns:
            See `pax.envs.matrix_game_statistics.count_by_player`.
        """
        del actions
        return None

    def render_episode(self, states: Any, actions: tuple[Any, ...], params: Any) -> Any:
        """Plots a whole episode as a matplotlib figure, for games whose `render_mode` is `figure`.

        Args:
            states: before each step, every leaf `[T, ...]`.
            actions: by player, `[T, ...]`, for games whose states do not hold the actions.
            params: of the game.
        """
        del actions
        return self.render(states, params)

    def render(self, state: Any, params: Any) -> Any:
        """Renders one state, not to be called inside compiled code.

        Returns:
            For games on a grid, an RGB array `[height, width, 3]` of uint8. For others, a matplotlib figure
            of what a whole episode's `state` holds, every leaf of it with a leading time axis.

        Raises:
            NotImplementedError: if the game has no picture.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be drawn")
