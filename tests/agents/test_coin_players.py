"""Players of the coin game against a search for shortest ways, in every form that observations have."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import (
    AGENTS,
    AlwaysCooperate,
    EvilGreedy,
    GoodGreedy,
    OwnCoins,
    RandomGreedy,
    Reciprocal,
    Stay,
)
from pax.envs import IteratedMatrixGame
from pax.envs.coin_game.game import DOWN, RIGHT, STAY, CoinGame, EnvState
from pax.envs.spaces import Box, Dict, Discrete
from pax.errors import ConfigError
from pax.loop.rollout import rollout
from pax.roles import Role
from pax.types import Task

KEY = jax.random.key(0)
MOVES = ((0, 1), (0, -1), (1, 0), (-1, 0), (0, 0))
FORMS = (
    (),
    ("cnn",),
    ("tabular",),
    ("egocentric",),
    ("egocentric", "cnn"),
    ("egocentric", "tabular"),
    # Told the last coins.
    ("egocentric", "told"),
)
GREEDY = (GoodGreedy, EvilGreedy, RandomGreedy)


@functools.cache
def distances(size):
    """Moves from every cell to every cell, breadth first; and where each action leads."""
    after = np.zeros((5, size * size), int)
    for action, (down, right) in enumerate(MOVES):
        for row, column in itertools.product(range(size), repeat=2):
            after[action, size * row + column] = (
                size * ((row + down) % size) + (column + right) % size
            )
    steps = np.full((size * size, size * size), -1)
    np.fill_diagonal(steps, 0)
    for far in range(2 * size):
        for action in range(4):
            # Who can get, with one more move, where nobody got so far.
            reached = steps[:, after[action]] == far
            steps[(steps == -1) & reached] = far + 1
    assert (steps >= 0).all()
    return steps, after


def situations(size, one_coin, num=4000):
    """Cells of red, blue and both coins, int32 `[4, N]`: all of the usual grid, or some."""
    cells = size * size
    if size == 3 and not one_coin:
        return np.indices((cells,) * 4).reshape(4, -1).astype(np.int32)
    rng = np.random.default_rng(size)
    positions = rng.integers(0, cells, (4, num), dtype=np.int32)
    if one_coin:
        missing = rng.integers(2, 4, num)
        positions[missing, np.arange(num)] = -1
        # Nobody is ever on a coin.
        free = ~(positions[:2, None] == positions[None, 2:]).any(axis=(0, 1))
        positions = positions[:, free]
    return positions


@functools.cache
def play_all(size, one_coin, form):
    """What each strategy does in each situation in each seat, `[N]`, from two keys if it draws."""
    told = "told" in form
    settings = {"last_coin_players": (0, 1)} if told else {}
    settings |= {name: True for name in form if name != "told"}
    env = CoinGame(size=size, one_coin=one_coin, **settings)
    cells = situations(size, one_coin)
    num = cells.shape[1]
    last = jnp.ones((num, 2), jnp.int32) if told else ()
    strategies = (*GREEDY, OwnCoins, AlwaysCooperate, *(() if one_coin else (Stay,)))

    @jax.jit
    def act(cells):
        states = EnvState(*cells, inner_t=jnp.zeros(num, jnp.int32), last_coins=last)
        observations = jax.vmap(env._observations)(states)
        chosen = {}
        for strategy, seat in itertools.product(strategies, (0, 1)):
            agent = strategy.for_env(env, seat)
            state, memory = agent.make_initial_state(KEY, agent.initial_hidden(num))
            num_draws = 2 if strategy in (RandomGreedy, AlwaysCooperate) else 1
            for draw in range(num_draws):
                key = jax.random.key(draw)
                actions, after = agent.policy(state, observations[seat], memory, key)
                assert (actions.shape, actions.dtype) == ((num,), jnp.int32)
                assert jax.tree.structure(after) == jax.tree.structure(memory)
                chosen[strategy.__name__, seat, draw] = actions
        return chosen

    return jax.tree.map(np.asarray, act(tuple(jnp.array(cells))))


def far_from(size, cells, seat):
    """Own cell, own coin and other coin, and how far they are; a missing coin is very far."""
    own, mine, other = cells[seat], cells[2 + seat], cells[3 - seat]
    steps, _ = distances(size)
    own_far = np.where(mine < 0, 1000, steps[own, mine])
    other_far = np.where(other < 0, 1000, steps[own, other])
    return own, mine, other, own_far, other_far


def assert_nearer(size, own, target, actions):
    """One move nearer to the target, or still on it."""
    steps, after = distances(size)
    now = steps[own, target]
    np.testing.assert_array_equal(steps[after[actions, own], target], np.maximum(now - 1, 0))
    np.testing.assert_array_equal(actions[now == 0], STAY)


CASES = (
    *((3, False, form) for form in FORMS),
    (3, True, ("tabular",)),
    (3, True, ("egocentric",)),
    (2, False, ("tabular",)),
    (4, False, ("egocentric",)),
    (5, True, ("egocentric", "tabular")),
    (5, False, ("cnn",)),
)


@pytest.mark.parametrize(("size", "one_coin", "form"), CASES, ids=str)
@pytest.mark.parametrize("strategy", (GoodGreedy, EvilGreedy))
def test_greedy_players_go_straight_to_the_coin_that_they_choose(strategy, size, one_coin, form):
    for seat in (0, 1):
        own, mine, other, own_far, other_far = far_from(size, situations(size, one_coin), seat)
        assert one_coin or (own_far == other_far).any()
        chooses_own = own_far <= other_far if strategy is GoodGreedy else own_far < other_far
        actions = play_all(size, one_coin, form)[strategy.__name__, seat, 0]
        assert_nearer(size, own, np.where(chooses_own, mine, other), actions)
        assert not one_coin or (actions < 4).all()


@pytest.mark.parametrize(("size", "one_coin", "form"), (*CASES, (2, True, ())), ids=str)
def test_a_player_of_own_coins_goes_straight_to_them_and_keeps_off_others(size, one_coin, form):
    for seat in (0, 1):
        own, mine, other, _, _ = far_from(size, situations(size, one_coin), seat)
        actions = play_all(size, one_coin, form)["OwnCoins", seat, 0]
        present = mine >= 0
        assert_nearer(size, own[present], mine[present], actions[present])
        _, after = distances(size)
        assert (after[actions, own] != other)[~present].all()
        assert present.all() or not one_coin or (~present).any()


@pytest.mark.parametrize(("size", "one_coin", "form"), (*CASES, (2, True, ())), ids=str)
def test_always_cooperate_leads_nearest_to_its_own_or_farthest_from_the_others(
    size, one_coin, form
):
    steps, after = distances(size)
    after = after[: 4 if one_coin else 5]
    for seat in (0, 1):
        own, mine, other, _, _ = far_from(size, situations(size, one_coin), seat)
        # What each move leads to, [moves, N]: moves to its own coin, or less moves to the other's.
        cost = np.where(mine >= 0, steps[after[:, own], mine], -steps[after[:, own], other])
        drawn = [play_all(size, one_coin, form)["AlwaysCooperate", seat, draw] for draw in (0, 1)]
        for actions in drawn:
            chosen = np.take_along_axis(cost, actions[None], axis=0)[0]
            np.testing.assert_array_equal(chosen, cost.min(axis=0))
        ties = (cost == cost.min(axis=0)).sum(axis=0) > 1
        # Two draws differ, between two or more that lead as far, at least in half of all cases.
        assert (drawn[0] != drawn[1])[ties].mean() > 0.4
        assert (drawn[0] == drawn[1])[~ties].all()


@pytest.mark.parametrize(
    ("pair", "expected"),
    (
        # Published: Aghajohari et al. 2024, table of the coin game's league.
        ((AlwaysCooperate, AlwaysCooperate), (0.347, 0.347)),
        ((EvilGreedy, AlwaysCooperate), (0.631, -0.269)),
        # Measured once over 20,000 episodes, 10 standard errors from the published ones.
        ((OwnCoins, OwnCoins), (0.338, 0.338)),
    ),
)
def test_always_cooperate_and_always_defect_earn_what_is_published(pair, expected):
    """Mean reward per step of 50; the means of 2000 episodes have standard errors up to .0023."""
    env, num_envs = CoinGame(num_inner_steps=50, one_coin=True), 2000
    roles = [Role(str(seat), cls.for_env(env, seat), (seat,)) for seat, cls in enumerate(pair)]
    states = {role.name: role.agent.init(KEY) for role in roles}
    memories = {
        role.name: role.agent.initial_memory(role.agent.initial_hidden(num_envs)) for role in roles
    }
    task = Task(env.default_params)
    play = jax.jit(lambda key: rollout(env, roles, num_envs, key, states, memories, task))
    rewards = play(KEY).env_rewards / 50
    tolerance = 0.009 if pair[0] is EvilGreedy else 0.004
    np.testing.assert_allclose(rewards.mean(axis=1), expected, atol=tolerance)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_random_greedy_takes_the_nearer_coin_and_draws_if_both_are_as_near(form):
    chosen = play_all(3, False, form)
    for seat in (0, 1):
        own, mine, other, own_far, other_far = far_from(3, situations(3, False), seat)
        tie = own_far == other_far
        nearer = np.where(own_far < other_far, mine, other)
        # Where the two ways begin with different moves, one sees which was chosen.
        good, evil = chosen["GoodGreedy", seat, 0], chosen["EvilGreedy", seat, 0]
        differ = tie & (good != evil)
        assert differ.sum() > 500
        draws = [chosen["RandomGreedy", seat, draw] for draw in (0, 1)]
        for actions in draws:
            assert_nearer(3, own[~tie], nearer[~tie], actions[~tie])
            assert ((actions == good) | (actions == evil))[differ].all()
            # Every environment draws for itself.
            assert abs((actions == good)[differ].mean() - 0.5) < 0.08
        assert abs((draws[0] == draws[1])[differ].mean() - 0.5) < 0.08


def test_who_is_good_takes_more_of_its_own():
    env = CoinGame(num_inner_steps=16)
    params = env.default_params
    num_envs = 64

    def play(key, first, second):
        agents = [cls.for_env(env, seat) for seat, cls in enumerate((first, second))]
        state_memory = [a.make_initial_state(KEY, a.initial_hidden(num_envs)) for a in agents]
        seen, state = jax.vmap(env.reset, (0, None))(jax.random.split(key, num_envs), params)

        def step(carry, key):
            seen, state = carry
            actions = tuple(
                agent.policy(own[0], observation, own[1], key)[0]
                for agent, own, observation in zip(agents, state_memory, seen, strict=True)
            )
            seen, state, _, _, info = jax.vmap(env.step, (0, 0, 0, None))(
                jax.random.split(key, num_envs), state, actions, params
            )
            return (seen, state), info

        infos = jax.lax.scan(step, (seen, state), jax.random.split(key, 16))[1]
        return env.statistics_metrics(env.episode_statistics((), (), infos))

    metrics = jax.jit(play, static_argnums=(1, 2))(KEY, GoodGreedy, EvilGreedy)
    # A coin is two moves away at most.
    assert metrics["coins_per_episode/player_1"] > 8 and metrics["coins_per_episode/player_2"] > 8
    assert metrics["prob_coop/player_1"] > 0.6 and metrics["prob_coop/player_2"] < 0.4


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_stay_stays(form):
    chosen = play_all(3, False, form)
    assert all((chosen["Stay", seat, 0] == STAY).all() for seat in (0, 1))


def test_stay_plays_games_whose_observations_have_parts():
    window = Dict((("window", Box((5, 5, 10), 0.0, 1.0)), ("inventory", Box((6,)))))
    agent = Stay(window, Discrete(5))
    state, memory = agent.make_initial_state(KEY, agent.initial_hidden(3))
    actions, _ = agent.policy(state, window.zeros(3), memory, KEY)
    assert actions.tolist() == [STAY] * 3


@pytest.mark.parametrize("strategy", GREEDY)
@pytest.mark.parametrize(
    ("observations", "actions"),
    (
        (Discrete(5), Discrete(2)),
        (Discrete(9**4), Discrete(4)),
        (Discrete(9**4 + 1), Discrete(5)),
        (Discrete(2 * 9**3), Discrete(5)),
        (Discrete(1), Discrete(5)),
        (Box((35,), 0.0, 1.0), Discrete(5)),
        (Box((4,), 0.0, 1.0), Discrete(4)),
        (Box((36,)), Discrete(5)),
        (Box((3, 4, 3), 0.0, 1.0), Discrete(5)),
        (Box((36,), 0.0, 1.0), Discrete(6)),
        (Box((36,), 0.0, 1.0), Box((1,))),
        (Dict((("window", Box((36,), 0.0, 1.0)),)), Discrete(5)),
    ),
    ids=str,
)
def test_greedy_players_refuse_other_games(strategy, observations, actions):
    with pytest.raises(ConfigError) as error:
        strategy(observations, actions)
    assert str(error.value) == (
        f"{strategy.__name__} plays the coin game only, and this game has observations {observations} and "
        f"actions {actions}: choose another agent for this seat"
    )


@pytest.mark.parametrize(
    "env", (CoinGame(one_coin=True), IteratedMatrixGame()), ids=lambda env: type(env).__name__
)
def test_stay_refuses_games_in_which_it_could_not(env):
    with pytest.raises(
        ConfigError, match="^Stay plays the coin game with two coins and in-the-matrix"
    ):
        Stay.for_env(env)


def test_they_can_be_asked_for_by_name():
    for strategy in (*GREEDY, OwnCoins, AlwaysCooperate, Stay):
        assert AGENTS[strategy.__name__] is strategy
        assert strategy.for_env(CoinGame()).describe()["agent"] == strategy.__name__


def test_reciprocal_takes_the_others_coins_after_the_other_has():
    env = CoinGame(last_coin_players=(0,))
    agent = Reciprocal.for_env(env, 0)
    memory = agent.initial_memory(agent.initial_hidden(1))
    actions = []
    # None so far, one of its own, red took one of blue's, blue took one of red's.
    for last in ((0, 0), (0, 1), (2, 1), (1, 2)):
        # Red at (0, 0), its own coin two moves away at (1, 1), and blue's to the right of red.
        cells = [jnp.int32(cell) for cell in (0, 8, 4, 1)]
        seen, _ = env._observations(EnvState(*cells, jnp.int32(0), jnp.array(last)))
        actions.append(int(agent.policy(agent.init(KEY), seen[None], memory, KEY)[0][0]))
    assert actions == [DOWN, DOWN, DOWN, RIGHT]
    with pytest.raises(ConfigError, match="Reciprocal plays the coin game with two coins, as one"):
        Reciprocal.for_env(CoinGame(), 0)
