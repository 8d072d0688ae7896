"""What games and agents of one's own get wrong is told before anything compiles, or by `pax.testing`."""

import dataclasses
import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax import MetaTrainer, Role
from pax.agents import PPO, Agent
from pax.envs import Environment
from pax.envs.spaces import Box, Discrete
from pax.errors import ConfigError, TrainingError
from pax.interface import check_game
from pax.learners import Gradient
from pax.testing import check_agent, check_environment
from pax.types import TrainingState

NUM_STEPS = 3


class Pennies(Environment):
    """Two players, who see the last joint action; player 1 wants them to match."""

    num_players, num_inner_steps = 2, NUM_STEPS
    default_params = ()

    def reset(self, key, params):
        return (jnp.int32(4), jnp.int32(4)), jnp.int32(0)

    def step(self, key, state, actions, params):
        seen = 2 * actions[0] + actions[1]
        reward = jnp.where(actions[0] == actions[1], 1.0, -1.0)
        done = state + 1 == self.num_inner_steps
        return (seen, seen), state + 1, (reward, -reward), done, {}

    def observation_space(self, player):
        return Discrete(5)

    def action_space(self, player):
        return Discrete(2)


def changed(**parts):
    """A game whose step returns something else in some places; functions of what it returns."""

    class Changed(Pennies):
        def step(self, key, state, actions, params):
            names = ("seen", "state", "rewards", "done", "info")
            result = dict(zip(names, super().step(key, state, actions, params), strict=True))
            return tuple(parts.get(name, lambda value: value)(result[name]) for name in names)

    return Changed


ENDS = {
    "terminated": [jnp.bool_(False)] * 2,
    "truncated": jnp.bool_(False),
    "final_observations": (jnp.int32(0), jnp.int32(0)),
}
MISTAKES = {
    "a bare reward": (
        changed(rewards=lambda r: r[0]),
        r"Changed.step returns a float32 scalar as its rewards: return a tuple with one entry for each of "
        "the 2 players",
    ),
    "a list": (changed(rewards=list), "returns a list of 2 as its rewards: return a tuple"),
    "too many": (changed(rewards=lambda r: (*r, r[0])), "returns a tuple of 3 as its rewards"),
    "counts": (
        changed(rewards=lambda r: (r[0], jnp.int32(1))),
        "Changed.step pays player 2 an int32 scalar: give a float32 scalar",
    ),
    "a number in brackets": (
        changed(rewards=lambda r: (r[0][None], r[1])),
        r"pays player 1 a float32 of shape \(1,\): give a float32 scalar",
    ),
    "a number for an observation": (
        changed(seen=lambda s: (s[0], s[1].astype(jnp.float32))),
        r"returns a float32 scalar as observations of player 2: the space is Discrete\(n=5\), so return an "
        "int32 scalar",
    ),
    "one observation": (changed(seen=lambda s: s[:1]), "returns a tuple of 1 as its observations"),
    "another state": (
        changed(state=lambda s: s.astype(jnp.float32)),
        "turns it of the state from an int32 scalar into a float32 scalar: keep its shape and type",
    ),
    "more state": (changed(state=lambda s: (s, s)), "keep its structure"),
    "done as a number": (
        changed(done=lambda d: d * 1),
        "returns an int32 scalar as done: give a bool",
    ),
    "no info": (changed(info=lambda i: ()), "returns a tuple of 0 as its info: return a dict"),
    "nothing": (
        type("Nothing", (Pennies,), {"reset": Environment.reset}),
        "Nothing.reset is not defined: write it",
    ),
    "a bare observation": (
        type("Bare", (Pennies,), {"reset": lambda self, key, params: (jnp.int32(4), jnp.int32(0))}),
        "Bare.reset returns an int32 scalar as its observations",
    ),
    "no space": (
        type("NoSpace", (Pennies,), {"action_space": lambda self, player: 2}),
        r"NoSpace.action_space\(0\) is 2: give a Discrete, a Cells, a Box or a Dict",
    ),
    "rewards in lists": (
        changed(rewards=lambda r: ([r[0]], [r[1]])),
        "pays player 1 a list of 1: give a float32 scalar",
    ),
    "ends in a list": (
        type("Ends", (changed(info=lambda i: ENDS),), {"auto_resets": True}),
        "Ends.step returns a list of 2 as terminated: give a bool scalar",
    ),
    "begins anew": (
        type("Anew", (Pennies,), {"auto_resets": True}),
        "begins anew within a rollout, and the info of its step has no 'terminated'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_game_returns_is_checked_when_a_trainer_is_made(mistake):
    game, message = MISTAKES[mistake]
    players = [PPO.for_env(Pennies(), seat, num_minibatches=1) for seat in range(2)]
    with pytest.raises(ConfigError, match=message):
        MetaTrainer(game(), players, num_envs=2)


def test_agents_are_made_for_the_game_and_the_seat():
    three = type("Three", (Pennies,), {"action_space": lambda self, player: Discrete(3)})
    players = [PPO.for_env(three(), seat, num_minibatches=1) for seat in range(2)]
    with pytest.raises(
        ConfigError,
        match=r"role agent1 was made for the action_space Discrete\(n=3\), and that of seat 0 is "
        r"Discrete\(n=2\): make its agent with PPO.for_env\(env, 0\)",
    ):
        MetaTrainer(Pennies(), players, num_envs=2)


@dataclasses.dataclass
class Bandit(Agent):
    """Moves a table towards what paid; `spoil` and `forget` tell which parts go wrong, and how."""

    spoil: str = ""
    learns = True

    def init(self, key):
        return TrainingState(jnp.zeros(self.action_space.n), (), jnp.int32(0))

    def policy(self, state, observations, memory, key):
        actions = jax.random.categorical(key, state.params, shape=observations.shape)
        if self.spoil == "actions":
            return actions.astype(jnp.float32), memory
        if self.spoil == "no memory":
            return actions
        return (actions + 1 if self.spoil == "beyond" else actions), memory

    def update(self, rollout, last_observations, state, memory, key):
        chosen = jax.nn.one_hot(rollout.actions, self.action_space.n)
        params = state.params + (chosen * rollout.rewards[..., None]).mean((0, 1))
        if self.spoil == "params":
            params = params.astype(jnp.bfloat16)
        if self.spoil == "nan":
            params = jnp.where(state.updates == 2, jnp.nan, params)
        if self.spoil == "nan at once":
            params = params * jnp.nan
        metrics = {"best": params if self.spoil == "metrics" else jnp.float32(1.0)}
        state = state if self.spoil == "lazy" else TrainingState(params, (), state.updates + 1)
        return (state, metrics) if self.spoil == "two" else (state, memory, metrics)


def bandits(spoil):
    env = Pennies()
    return [Bandit.for_env(env, spoil=spoil), Bandit.for_env(env, 1)]


SPOILT = {
    "actions": r"Bandit.policy returns a float32 of shape \(2,\) as actions: the space is Discrete\(n=2\)",
    "no memory": r"Bandit.policy returns an int32 of shape \(2,\): return \(actions, memory\)",
    "params": r"Bandit.update turns params of the state from a float32 of shape \(2,\) into a bfloat16",
    "metrics": r"Bandit.update reports 'best' as a float32 of shape \(2,\): report scalars",
    "two": r"Bandit.update returns a tuple of 2: return \(state, memory, metrics\)",
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_an_agent_returns_is_checked_when_a_trainer_is_made(spoil):
    with pytest.raises(ConfigError, match=SPOILT[spoil]):
        MetaTrainer(Pennies(), bandits(spoil), num_envs=2)


@pytest.mark.parametrize("in_trial", [False, True])
def test_parameters_that_are_no_longer_finite_stop_training(in_trial):
    """No metric shows it: the bandit reports 1, and plays on. The third update is to blame."""
    roles = bandits("nan")
    if in_trial:
        roles[0] = Role("agent1", roles[0], (0,), learns_in_trial=True, reset_every=0)
    trainer = MetaTrainer(Pennies(), roles, num_envs=2, chunk=2, num_iters=6)
    with pytest.raises(
        TrainingError, match="^parameters of agent1 are no longer finite after iteration 4, though"
    ):
        trainer.fit()


def test_a_game_and_an_agent_that_are_right_pass():
    check_environment(Pennies())
    check_agent(bandits("")[0])


WRONG_VALUES = {
    "outside": (
        changed(seen=lambda s: (s[0], s[1] + 3)),
        r"what player 2 of Changed sees reaches from 3 to 6, outside its space Discrete\(n=5\)",
    ),
    "not finite": (
        changed(rewards=lambda r: (r[0] / 0, r[1])),
        "Changed pays player 1 what is not finite",
    ),
    "never done": (
        changed(done=lambda d: d & False),
        r"done of Changed is \[False, False, False\] over 3 steps, and num_inner_steps is 3",
    ),
}


@pytest.mark.parametrize("mistake", WRONG_VALUES)
def test_values_of_a_game_are_checked_by_playing_it(mistake):
    game, message = WRONG_VALUES[mistake]
    with pytest.raises(AssertionError, match=message):
        check_environment(game())


def test_a_game_must_not_depend_on_anything_but_its_arguments():
    rng = np.random.default_rng(0)

    class Impure(Pennies):
        def step(self, key, state, actions, params):
            seen, state, rewards, done, info = super().step(key, state, actions, params)
            noise = jax.pure_callback(
                lambda _: np.float32(rng.normal()), jnp.float32(0), state, vmap_method="sequential"
            )
            return seen, state, (rewards[0] + noise, rewards[1]), done, info

    with pytest.raises(AssertionError, match="Impure differs from itself from the same keys"):
        check_environment(Impure())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("beyond", r"what Bandit does reaches from 1 to 2, outside its space Discrete\(n=2\)"),
        ("nan at once", "what Bandit has learned, or reports of it is not finite"),
        ("lazy", "Bandit has learns = True, and its update changes nothing"),
    ],
)
def test_values_of_an_agent_are_checked_by_acting_and_learning(spoil, message):
    with pytest.raises(AssertionError, match=message):
        check_agent(bandits(spoil)[0])


def test_spaces_in_which_bounds_differ_are_checked_number_by_number():
    class Pairs(Pennies):
        def reset(self, key, params):
            return (jnp.float32([0.0, 3.0]),) * 2, jnp.int32(0)

        def step(self, key, state, actions, params):
            _, state, rewards, done, info = super().step(key, state, actions, params)
            return (jnp.float32([0.0, 3.0]),) * 2, state, rewards, done, info

        def observation_space(self, player):
            return Box((2,), 0.0, (3.0, 2.0))

    with pytest.raises(AssertionError, match="outside its space Box"):
        check_environment(Pairs())


def test_a_learner_that_takes_other_arguments_than_the_loop_gives_is_told():
    class Earlier(Gradient):
        def update(self, state, candidates, trial, world, role, key):
            return state, {}

    env = Pennies()
    agent = PPO.for_env(env)
    roles = [Role("agent1", agent, (0,), learner=Earlier(agent)), PPO.for_env(env, 1)]
    told = r"update of Earlier takes \(state, candidates, .*\), and is called as update\(state, experience\)"
    with pytest.raises(ConfigError, match=told):
        MetaTrainer(env, roles)


def test_parameters_of_a_game_that_adds_to_what_all_take():
    class Adds(Environment):
        num_players, num_inner_steps = 2, NUM_STEPS

        def make_params(self, **settings):
            return super().make_params(**settings)

    class Asks(Adds):
        def make_params(self, stake):
            return (stake,)

    assert Adds().default_params == () == Adds().make_params()
    with pytest.raises(ConfigError, match="make_params of Asks takes stake without a default"):
        Asks().default_params  # noqa: B018


@pytest.mark.parametrize(
    "condition",
    [
        "if actions[0] == actions[1]: pass",
        "int(actions[0])",
        "np.asarray(actions[0])",
        "[7][actions[0]]",
    ],
)
def test_python_that_needs_the_value_of_an_array_is_told_with_its_line(
    condition, tmp_path, monkeypatch
):
    (tmp_path / "impatient.py").write_text(
        "import numpy as np\n"
        "from pax.envs import IteratedMatrixGame\n"
        "class Impatient(IteratedMatrixGame):\n"
        "    def step(self, key, state, actions, params):\n"
        f"        {condition}\n"
        "        return super().step(key, state, actions, params)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "impatient", raising=False)
    env = importlib.import_module("impatient").Impatient()
    with pytest.raises(ConfigError) as told:
        check_game(env, env.default_params)
    assert str(told.value).startswith(
        "Impatient.step asks Python for the value of an array, as `if`"
    )
    assert f"({tmp_path}/impatient.py, line 5): use jnp" in str(told.value)
