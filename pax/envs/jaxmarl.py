"""Multi-agent environments of JaxMARL (Rutherford et al. 2024, arxiv.org/abs/2311.10090), if installed."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pax.checks import NUMBER, check_mapping, check_number
from pax.envs.auto_reset import (
    Adapter,
    EnvState,
    EpisodeTotals,
    StepDraw,
    clip_actions,
    strong_types,
    to_action_space,
)
from pax.envs.common import check_steps
from pax.envs.constructors import changed_settings, plain_settings
from pax.envs.masks import MASK
from pax.envs.spaces import Box, Dict, Discrete, Space
from pax.errors import ConfigError, MissingLibraryError, nearest

SHAPED = "shaped_reward"
"""Where the info of a step has rewards for what leads to the reward, such as putting onions into a pot."""
PLAYER_AXES: dict[str, Any] = {"storm": {"observations": 0, "inventory": 1}, "storm_np": 0}
"""Environments whose observations are arrays of all players, and the axis of players, from their source."""


class JaxMARL(Adapter):
    """Any environment of JaxMARL, by name; players in the order of its `agents`.

    Where it tells which actions are legal, they are part of the observations, see `pax.envs.masks`. It does
    not distinguish time limits from other ends, so that every end counts as terminal; one that is over for a
    single agent ends the episode for that player only. `settings` go to its constructor. The only parameter
    is `shaped_reward`, the weight of the rewards for what leads to the reward, where there are such;
    returns of episodes are counted without.
    """

    def __init__(
        self,
        name: str = "coin_game",
        num_inner_steps: int = 100,
        settings: dict[str, Any] | None = None,
    ):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            name: of the environment in JaxMARL.
            settings: what its constructor takes, by name.
        """
        jaxmarl = _library()
        check_steps(num_inner_steps)
        known = jaxmarl.registered_envs
        if name not in known:
            raise ConfigError(
                f"name is {name!r}, which JaxMARL does not have: {nearest(name, known)}"
            )
        self.name = name
        self.num_inner_steps = num_inner_steps
        settings = {} if settings is None else settings
        check_mapping("settings", settings, f"a dict of what {name} of JaxMARL takes")
        # What its code warns of, as it is made and traced, is nothing that users of Pax can change.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._make(settings)

    def _make(self, settings: Mapping[str, Any]) -> None:
        """Makes the environment, and finds out what it shows and takes."""
        import jaxmarl

        name = self.name
        usual, changed = _made(name), dict(settings)
        if usual is not None and not _passes_on(name):
            changed = changed_settings(type(usual), f"{name} of JaxMARL", settings)
        given = _looked_up(name, changed)
        try:
            self._env = jaxmarl.make(name, **given)
            if changed:
                # Some take anything, and fail as they are played.
                jax.eval_shape(self._env.reset, jax.random.key(0))
        except Exception as e:
            # Each environment refuses in its own way what it cannot be made of.
            told = f"JaxMARL cannot make {name} with {changed} ({type(e).__name__}: {e})"
            raise ConfigError(f"{told}: correct env.settings, or leave it as it is") from e
        self._agents = list(self._env.agents)
        self.num_players = len(self._agents)
        # Declared spaces are not always those of the observations.
        shown = jax.eval_shape(lambda key: self._parts(self._env.reset(key)[0]), jax.random.key(0))
        self._observation_spaces: list[Dict | Box] = [
            _observation_space(part, name) for part in shown
        ]
        self._action_spaces = [
            to_action_space(self._env.action_space(agent), name) for agent in self._agents
        ]
        self._legal_actions = self._find_legal_actions()
        if self._legal_actions is not None:
            self._observation_spaces = [
                _with_mask(space, actions.n)
                for space, actions in zip(
                    self._observation_spaces, self._action_spaces, strict=True
                )
                if isinstance(actions, Discrete)
            ]
        self._has_shaped_reward = self._finds_shaped_reward()

    @classmethod
    def subsections(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        usual = _made(settings["name"])
        own = {} if usual is None else plain_settings(type(usual))
        # Tables, which a config holds by their names.
        own |= {"layout": "cramped_room"} if settings["name"] == "overcooked" else {}
        return {"settings": own}

    def make_params(self, shaped_reward: float = 0.0, **others: Any) -> dict[str, Any]:
        """Makes the parameters.

        Args:
            shaped_reward: weight of the rewards for what leads to the reward, such as an onion in a pot.
            **others: there are none; what an environment takes is in `settings`.
        """
        given = others if self._has_shaped_reward else {"shaped_reward": shaped_reward, **others}
        for key, value in given.items():
            if key != "shaped_reward" or value:
                raise ConfigError(
                    f"{key} is no setting of JaxMARL: put what {self.name} takes in settings"
                )
        check_number("shaped_reward", shaped_reward, NUMBER, self.name)
        return {"shaped_reward": jnp.float32(shaped_reward)} if self._has_shaped_reward else {}

    def param_settings(self) -> dict[str, Any]:
        return {"shaped_reward": 0.0} if self._has_shaped_reward else {}

    def reset(self, key: jax.Array, params: Any) -> tuple[tuple[Any, ...], EnvState]:
        del params
        shown, inner = self._env.reset(key)
        totals = EpisodeTotals.zeros(self.num_players)
        return self._observations(shown, inner), EnvState(strong_types(inner), totals, jnp.int32(0))

    def transition(
        self, drawn: StepDraw, state: EnvState, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[Any, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        actions = clip_actions(actions, self._action_spaces)
        joint = self._joint(actions)
        shown, inner, rewards, dones, info = self._env.step_env(drawn.key, state.inner, joint)
        over = jnp.asarray(dones["__all__"], bool)
        final = self._observations(shown, inner)
        observations, inner = drawn.unless(
            over, final, strong_types(inner), lambda key: self.reset(key, params)
        )
        counted = earned = tuple(
            jnp.asarray(reward, jnp.float32) for reward in self._by_player("rewards", rewards)
        )
        if self._has_shaped_reward:
            shaped = self._by_player("shaped rewards", info[SHAPED])
            weight = params["shaped_reward"]
            earned = tuple(
                reward + weight * jnp.asarray(more, jnp.float32)
                for reward, more in zip(earned, shaped, strict=True)
            )
        own_ends = None
        if self.num_players > 1 and all(agent in dones for agent in self._agents):
            own_ends = tuple(over | jnp.asarray(dones[agent], bool) for agent in self._agents)
        ends = (over, jnp.zeros_like(over))
        seen = (observations, inner)
        return self._outcome(state, seen, earned, ends, final, own_ends, counted)

    def _find_legal_actions(self) -> Callable[[Any], Any] | None:
        """Returns the function of a state that tells all agents' legal actions; None if all always are."""
        if not all(isinstance(space, Discrete) for space in self._action_spaces):
            return None
        for name in ("get_legal_moves", "get_avail_actions"):
            found = getattr(self._env, name, None)
            is_abstract = found is None or found.__func__.__module__.endswith("multi_agent_env")
            if not is_abstract:
                return found
        return None

    def _finds_shaped_reward(self) -> bool:
        """Returns whether the info of a step has rewards for what leads to the reward, by agent."""

        def info_of_a_step(key: jax.Array) -> Any:
            actions = [space.zeros() for space in self._action_spaces]
            _, state = self._env.reset(key)
            return self._env.step_env(key, state, self._joint(actions))[4]

        return SHAPED in jax.eval_shape(info_of_a_step, jax.random.key(0))

    def _joint(self, actions: Sequence[Any]) -> Any:
        """Returns the actions of all players as the environment takes them."""
        # Where agents are numbers, some environments take actions in that order and some by number.
        if all(isinstance(agent, int) for agent in self._agents):
            return tuple(actions)
        return dict(zip(self._agents, actions, strict=True))

    def _observations(self, shown: Any, inner: Any) -> tuple[Any, ...]:
        """Returns what each player sees in a state of the environment, with the actions that are legal."""
        parts = self._parts(shown)
        if self._legal_actions is None:
            return parts
        masks = self._by_player("legal actions", self._legal_actions(inner))
        return tuple(
            {MASK: jnp.asarray(mask, jnp.float32), **_by_name(part)}
            for part, mask in zip(parts, masks, strict=True)
        )

    def _parts(self, shown: Any) -> tuple[Any, ...]:
        """Returns what each player sees, of observations as the environment gives them."""
        if self.name in PLAYER_AXES:
            shown = self._apart(shown, PLAYER_AXES[self.name])
        return tuple(
            jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), part)
            for part in self._by_player("observations", shown)
        )

    def _apart(self, shown: Any, axes: Any) -> list[Any]:
        """Returns the observation of each player, given arrays with an axis of players."""
        return [
            jax.tree.map(lambda axis, leaf, i=index: jnp.take(leaf, i, axis=axis), axes, shown)
            for index in range(self.num_players)
        ]

    def _by_player(self, what: str, values: Any) -> list[Any]:
        """Returns one entry per player, given a dict by agent or a sequence of as many.

        Raises:
            ConfigError: if it is neither, so that entries cannot be assigned to players.
        """
        if hasattr(values, "keys"):
            if all(agent in values for agent in self._agents):
                return [values[agent] for agent in self._agents]
            found = f"under {', '.join(map(str, values.keys()))}"
        elif isinstance(values, tuple | list):
            if len(values) == self.num_players:
                return list(values)
            found = f"as a {type(values).__name__} of {len(values)}"
        else:
            found = f"as an array of shape {jnp.shape(values)}"
            if what == "rewards" and jnp.shape(values) == (self.num_players,):
                return [values[index] for index in range(self.num_players)]
        raise ConfigError(
            f"{self.name} of JaxMARL gives {what} {found}, and its players are "
            f"{', '.join(map(str, self._agents))}: Pax takes one entry per player, choose another environment"
        )

    def observation_space(self, player: int) -> Space:
        return self._observation_spaces[player]

    def action_space(self, player: int) -> Space:
        return self._action_spaces[player]


def _library() -> Any:
    """Returns JaxMARL, which not everybody has.

    Raises:
        MissingLibraryError: if it cannot be imported.
    """
    try:
        import jaxmarl
    except ImportError as e:
        raise MissingLibraryError(
            f'JaxMARL cannot be imported ({e}): pip install -e ".[jaxmarl]"'
        ) from e
    return jaxmarl


def _made(name: str) -> Any:
    """Returns an environment as JaxMARL makes it of no settings; None if it does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _make(_library().make, name)


@functools.cache
def _make(make: Callable[[str], Any], name: str) -> Any:
    try:
        return make(name)
    except Exception:
        # It needs settings, or further packages: what is missing is told once it is made with the settings.
        return None


def _passes_on(name: str) -> bool:
    """Returns whether an environment holds another one, to which it passes on what it does not know."""
    return any(hasattr(part, "reset") for part in vars(_made(name)).values())


def _looked_up(env: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings in which names of kitchens and battles have become what they name."""
    found = dict(settings)
    tables = {"scenario": _scenarios} | ({"layout": _layouts} if env == "overcooked" else {})
    for key, table in tables.items():
        name = found.get(key)
        if isinstance(name, str):
            known = table()
            if name not in known:
                raise ConfigError(f"{key} is {name!r} in {env} of JaxMARL: {nearest(name, known)}")
            found[key] = known[name]
    return found


def _layouts() -> Mapping[str, Any]:
    from jaxmarl.environments.overcooked import overcooked_layouts

    return overcooked_layouts


def _scenarios() -> Mapping[str, Any]:
    from jaxmarl.environments.smax import smax_env

    return smax_env.MAP_NAME_TO_SCENARIO


def _by_name(shown: Any) -> dict[str, Any]:
    return dict(shown) if hasattr(shown, "items") else {"observation": shown}


def _observation_space(shown: Any, name: str) -> Dict | Box:
    """Returns the space of an observation, given as arrays or their shapes."""
    if hasattr(shown, "items"):
        return Dict(tuple((key, Box(part.shape)) for key, part in sorted(shown.items())))
    if hasattr(shown, "shape"):
        return Box(shown.shape)
    raise ConfigError(
        f"{name} shows {type(shown).__name__}, and Pax plays arrays and dicts of arrays"
    )


def _with_mask(space: Dict | Box, num_actions: int) -> Dict:
    parts = space.parts if isinstance(space, Dict) else (("observation", space),)
    return Dict(((MASK, Box((num_actions,), 0.0, 1.0)), *parts))
