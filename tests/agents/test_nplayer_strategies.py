"""Strategies of n-player games against tables and games written out by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import (
    AGENTS,
    Altruistic,
    Defect,
    Grim,
    Random,
    TitForTat,
    TitForTatCooperate,
    TitForTatDefect,
    TitForTatHarsh,
    TitForTatSoft,
    TitForTatStrictStay,
    TitForTatStrictSwitch,
)
from pax.envs import IteratedMatrixGame, IteratedTensorGame
from pax.envs.spaces import Box, Discrete
from pax.errors import ConfigError

C, D = 0, 1
KEY = jax.random.key(0)
STRATEGIES = (
    TitForTatStrictStay,
    TitForTatStrictSwitch,
    TitForTatCooperate,
    TitForTatDefect,
    TitForTatHarsh,
    TitForTatSoft,
)
# What is done after CCC, CCD, CDC, CDD, DCC, DCD, DDC, DDD and at the start, own action first.
THREE_PLAYERS = {
    TitForTatStrictStay: "CCCDCDDDC",
    TitForTatStrictSwitch: "CDDDCCCDC",
    TitForTatCooperate: "CCCDCCCDC",
    TitForTatDefect: "CDDDCDDDC",
    TitForTatHarsh: "CDDDCDDDC",
    TitForTatSoft: "CCCDCCCDC",
    Altruistic: "CCCCCCCCC",
    Defect: "DDDDDDDDD",
}


def act(strategy, num_players, states, one_hot=False, key=KEY):
    """What is done after joint actions such as "CDC" or "START", as a string."""
    env = IteratedTensorGame(num_players, 5, one_hot)
    agent = strategy.for_env(env)
    numbers = [
        2**num_players if s == "START" else int(s.replace("C", "0").replace("D", "1"), 2)
        for s in states
    ]
    observations = jnp.array(numbers)
    if one_hot:
        observations = jax.nn.one_hot(observations, 2**num_players + 1)
    state, memory = agent.make_initial_state(key, agent.initial_hidden(len(states)))
    actions, after = jax.jit(agent.policy)(state, observations, memory, key)
    assert (actions.shape, actions.dtype) == ((len(states),), jnp.int32)
    assert jax.tree.structure(after) == jax.tree.structure(memory)
    return "".join("CD"[action] for action in actions)


def joint_actions(num_players):
    return ["".join(actions) for actions in itertools.product("CD", repeat=num_players)]


@pytest.mark.parametrize("one_hot", (False, True))
@pytest.mark.parametrize("strategy", THREE_PLAYERS)
def test_three_players(strategy, one_hot):
    states = [*joint_actions(3), "START"]
    assert act(strategy, 3, states, one_hot) == THREE_PLAYERS[strategy]


def test_four_players():
    harsh = {"CCCC": "C", "DCCC": "C", "DCCD": "D", "CCDC": "D", "DDDD": "D", "START": "C"}
    assert act(TitForTatHarsh, 4, list(harsh)) == "".join(harsh.values())
    soft = {"CCCC": "C", "DCCC": "C", "DCCD": "C", "CCDC": "C", "DDDD": "D", "DDDC": "D"}
    soft["START"] = "C"
    assert act(TitForTatSoft, 4, list(soft)) == "".join(soft.values())


@pytest.mark.parametrize("num_players", (2, 4, 5, 7))
def test_rules_for_any_number_of_players(num_players):
    rules = {
        TitForTatStrictStay: lambda own, others: others[0] if len({*others}) == 1 else own,
        TitForTatStrictSwitch: lambda own, others: (
            others[0] if len({*others}) == 1 else {"C": "D", "D": "C"}[own]
        ),
        TitForTatCooperate: lambda own, others: "D" if {*others} == {"D"} else "C",
        TitForTatDefect: lambda own, others: "C" if {*others} == {"C"} else "D",
        TitForTatHarsh: lambda own, others: "C" if "D" not in others else "D",
        TitForTatSoft: lambda own, others: "C" if others.count("D") <= len(others) / 2 else "D",
        Altruistic: lambda own, others: "C",
        Defect: lambda own, others: "D",
    }
    states = joint_actions(num_players)
    for strategy, rule in rules.items():
        expected = "".join(rule(state[0], state[1:]) for state in states)
        assert act(strategy, num_players, states) == expected, strategy


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_of_two_players_all_are_tit_for_tat(strategy):
    env = IteratedMatrixGame(5)
    states = jnp.arange(5)
    answers = []
    for cls in (strategy, TitForTat):
        agent = cls.for_env(env)
        state, memory = agent.make_initial_state(KEY, agent.initial_hidden(5))
        answers.append(agent.policy(state, states, memory, KEY)[0].tolist())
    assert answers[0] == answers[1] == [C, D, C, D, C]


def test_a_game_of_three():
    """One of three defects twice: harsh partners then do so for ever, soft and staying ones do not answer."""
    env = IteratedTensorGame(3, 6)
    params = env.default_params
    played = {}
    for strategy in (TitForTatHarsh, TitForTatSoft, TitForTatStrictStay):
        script = [C, D, D, C, C, C]
        agents = [strategy.for_env(env, seat) for seat in (0, 1)]
        started = [agent.make_initial_state(KEY, agent.initial_hidden(1)) for agent in agents]
        observations, state = env.reset(KEY, params)
        actions_t = []
        for t in range(6):
            actions = [
                int(agent.policy(learned, observations[seat][None], memory, KEY)[0][0])
                for seat, (agent, (learned, memory)) in enumerate(zip(agents, started, strict=True))
            ]
            observations, state, _, _, _ = env.step(KEY, state, (*actions, script[t]), params)
            actions_t.append("".join("CD"[action] for action in actions))
        played[strategy] = actions_t
    assert played[TitForTatHarsh] == ["CC", "CC", "DD", "DD", "DD", "DD"]
    assert played[TitForTatSoft] == ["CC"] * 6
    assert played[TitForTatStrictStay] == ["CC"] * 6


@pytest.mark.parametrize("num_players", (3, 5))
def test_random_is_even_after_every_joint_action(num_players):
    states = [*joint_actions(num_players), "START"]
    repeats = 1000
    drawn = np.array(list(act(Random, num_players, states * repeats))) == "D"
    # Standard deviation .016.
    np.testing.assert_allclose(drawn.reshape(repeats, -1).mean(axis=0), 0.5, atol=0.07)
    again = np.array(list(act(Random, num_players, states * repeats, key=jax.random.key(1)))) == "D"
    assert abs((drawn == again).mean() - 0.5) < 0.03


OTHER_GAMES = (
    (Discrete(8), Discrete(2)),
    (Discrete(3), Discrete(2)),
    (Discrete(1), Discrete(2)),
    (Discrete(9), Discrete(3)),
    (Discrete(9), Box((1,))),
    (Box((9,)), Discrete(2)),
    (Box((3, 9), 0.0, 1.0), Discrete(2)),
    (Box((), 0.0, 1.0), Discrete(2)),
)


@pytest.mark.parametrize(("observations", "actions"), OTHER_GAMES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_other_games_are_refused(strategy, observations, actions):
    with pytest.raises(ConfigError) as error:
        strategy(observations, actions)
    assert str(error.value) == (
        f"{strategy.__name__} plays n-player games with two actions only, and this game has "
        f"observations {observations} and actions {actions}: choose another agent for this seat"
    )


@pytest.mark.parametrize("strategy", (Altruistic, Defect))
def test_what_never_reacts_plays_with_any_number_but_no_other_game(strategy):
    strategy(Discrete(2**5 + 1), Discrete(2))
    for observations, actions in OTHER_GAMES:
        with pytest.raises(
            ConfigError,
            match=f"^{strategy.__name__} plays two-player matrix games and n-player ones",
        ):
            strategy(observations, actions)


@pytest.mark.parametrize("strategy", (TitForTat, Grim))
def test_what_is_for_two_refuses_three(strategy):
    with pytest.raises(
        ConfigError, match=f"^{strategy.__name__} plays two-player matrix games only"
    ):
        strategy.for_env(IteratedTensorGame(3, 5))


def test_their_names():
    assert {AGENTS[strategy.__name__] for strategy in STRATEGIES} == set(STRATEGIES)
    assert not any(strategy.learns for strategy in STRATEGIES)
